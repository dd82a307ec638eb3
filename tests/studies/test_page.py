"""An analysed study as a table, figures and sentences."""

from __future__ import annotations

from study_rows import CLEAR, analysed

from convscope.studies import grid, page
from convscope.studies.analysis import analyse


def test_the_page_has_table_sentences_and_pictures():
    part = analysed(CLEAR, ["bad", "good"])
    study = grid.Study("kernels", (), (1, 2, 3), "Which is better?")
    text = page.markdown(study, [part])
    assert text.startswith("# Kernels\n\nWhich is better?\n\n## part\n")
    assert "| **good** | 3 | 95.00% | 94.75% to 95.25% | 0.10 | 94.00% |" in text
    assert "Chosen on validation: **good**." in text and "![figure](figure.svg)" in text
    for sentence in part.sentences:
        assert f"- {sentence}\n" in text


def test_work_that_cannot_be_counted_is_not_nought():
    part = analysed(
        [*CLEAR[:3], *(row | {"multiply_adds": None} for row in CLEAR[3:])], ["good", "bad"]
    )
    assert [line.multiply_adds for line in part.lines] == [20, None]
    assert [page.cells(line)[-1] for line in part.lines] == ["20", "-"]
    labels = [axes.get_xlabel() for axes in page.drawn(part)["figure"].axes]
    assert labels == ["seconds of training", "parameters"]


def test_each_grid_of_a_study_has_figures_of_its_own(tmp_path):
    parts = [analysed(CLEAR, ["bad", "good"]), analyse("second", ["bad", "good"], CLEAR, (), 1)]
    page.write(tmp_path, grid.Study("kernels", (), (1, 2, 3)), parts)
    names = {f"figure{suffix}.{kind}" for suffix in ("", "-2") for kind in ("png", "svg")}
    assert {path.name for path in tmp_path.iterdir()} == names | {"README.md"}
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.index("(figure.svg)") < text.index("## second") < text.index("(figure-2.svg)")
