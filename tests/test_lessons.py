"""The lessons: every command and every snippet runs, and prints what the page says."""

from __future__ import annotations

import doctest
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import diagrams
import documents
import notebooks
import numpy as np
import pytest
from markdown_it import MarkdownIt

from convscope import recipe
from convscope.data import pack_writer, pairs, sources
from convscope.data.pack import Pack

LESSONS = notebooks.LESSONS
ENGLISH = [path for path in notebooks.lessons() if path.parent == LESSONS]
PAGES = sorted(LESSONS.rglob("*.md"))

# What a command is run as: a few steps on a few images, and nothing is timed to choose kernels. The
# first that is in it; a fitted last layer takes no steps.
PLAIN = " --threads 1 --precision float32 --memory-format channels_last --kernels plain"
SHORT = {
    "--freeze features": PLAIN,
    "convscope learning-curve ": " --steps 2" + PLAIN,
    "convscope train ": " --steps 3" + PLAIN,
    "convscope sweep --study batch-size": " --quick" + PLAIN,
    "convscope sweep --study ": " --quick --batch-size 10" + PLAIN,
    "convscope sweep ": " --steps 2 --seeds 1" + PLAIN,
}


def short(command: str) -> str:
    """The command as it is run here: the first of the above that is in it is added."""
    command += next((more for words, more in SHORT.items() if words in command), "")
    again = Path(command.partition("--save ")[2].partition(" ")[0]).is_file()
    again = again or Path(command.partition("--write ")[2].partition(" ")[0]).is_file()
    return command + " --force" * again


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pack]:
    """A few images in the place of each data set: digits, and noise in colour."""
    folder = tmp_path_factory.mktemp("few")
    mnist = sources.open_data("mnist")
    digits = {
        split: (np.array(images.images[:n]), np.array(images.labels[:n]))
        for (split, images), n in zip(mnist.splits.items(), (300, 60), strict=True)
    }
    random = np.random.default_rng(0)
    noise = {
        split: (random.integers(0, 256, (n, 3, 32, 32), np.uint8), np.arange(n) % 10)
        for split, n in (("train", 300), ("test", 60))
    }
    names = "airplane automobile bird cat deer dog frog horse ship truck"
    two = {
        split: [pairs.paired(pack_writer.Chunk({"image": images, "label": labels}), random)]
        for split, (images, labels) in digits.items()
    }
    about = {"source": "cut", "read_from": {}}
    counts = {split: len(labels) for split, (_, labels) in digits.items()}
    return {
        "mnist-pairs": pack_writer.write_stream(
            folder / "pairs", "mnist-pairs", pairs.COLUMNS, two, counts, about
        ),
        "fashion-mnist": pack_writer.write_pack(
            folder / "fashion", "fashion-mnist", mnist.classes, digits, "cut"
        ),
        "mnist": pack_writer.write_pack(folder / "mnist", "mnist", mnist.classes, digits, "cut"),
        "cifar10": pack_writer.write_pack(
            folder / "cifar10", "cifar10", tuple(names.split()), noise, "noise"
        ),
    }


@pytest.fixture
def reader(few, workplace, monkeypatch) -> Iterator[Callable[[documents.Block], str]]:
    """Runs a block where its pictures and runs may be left; data as they are where they are only
    looked at, and a few of them where a network is trained."""
    import matplotlib

    matplotlib.use("agg")
    real = sources.open_data

    def opened(name: str, *rest: object, **named: object) -> Pack:
        taken = name in few and (learning or name != "mnist")
        return few[name] if taken else real(name, *rest, **named)

    learning = False
    someone = documents.Reader()

    def read(block: documents.Block) -> str:
        nonlocal learning
        learning = any(
            word in block.text for word in ("convscope train", "sweep", "eval", "compare", "export")
        )
        with mock.patch.object(sources, "open_data", opened):
            return someone.run(block, short)

    yield read
    import matplotlib.pyplot as plt

    plt.close("all")


def test_there_is_a_lesson_for_each_system():
    assert [path.stem[0] for path in ENGLISH] == list("abcdefghi")


@pytest.mark.parametrize("page", ENGLISH, ids=lambda page: page.stem)
def test_every_block_runs_and_prints_what_it_says(page: Path, reader):
    """And in Chinese, on the page in Chinese, what commands print that is compared."""
    text = page.read_text(encoding="utf-8")
    found = documents.blocks(text)
    chinese = documents.blocks((LESSONS / "zh" / page.name).read_text(encoding="utf-8"))
    assert len(found) > 10
    for block, other in zip(found, chinese, strict=True):
        assert block.language in ("sh", "python", "toml"), block
        printed = reader(block)
        if block.said is not None:
            assert documents.agrees(block.said, printed), f"{block.text}\n{printed}"
            if block.language == "sh":
                with mock.patch.dict(os.environ, CONVSCOPE_LANG="zh"):
                    printed = reader(other)
                assert documents.agrees(other.said, printed), f"{other.text}\n{printed}"
    for picture in re.findall(r"\(pictures/(.*?)\)", text):  # each is made on its page, or drawn
        assert Path(picture).is_file() or Path(picture).stem in diagrams.DIAGRAMS, picture


def test_each_picture_is_there_and_is_shown():
    shown = set()
    for page in PAGES:
        for target in re.findall(r"!\[.+?\]\((.*?)\)", page.read_text(encoding="utf-8")):
            shown.add((page.parent / target).resolve())
    assert shown == {path.resolve() for path in LESSONS.rglob("pictures/*")}
    assert sum(path.stat().st_size for path in shown) < 1_000_000


def test_each_diagram_is_what_its_script_draws():
    for path, text in diagrams.drawn().items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run python scripts/diagrams.py"


@pytest.mark.parametrize("page", notebooks.lessons(), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_each_notebook_is_what_its_lesson_says(page: Path):
    made = notebooks.notebook(page.read_text(encoding="utf-8"), notebooks.language(page))
    kept = page.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert kept == made, f"{page.with_suffix('.ipynb')}: run python scripts/notebooks.py"
    cells = json.loads(made)["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells) > 10
    assert "<details>" not in "".join(
        "".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"
    )


def test_a_stale_notebook_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(notebooks, "LESSONS", tmp_path)
    (tmp_path / "one.md").write_text("# One\n\n```sh\nconvscope data\n```\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"run python scripts/notebooks\.py"):
        notebooks.main(check=True)
    assert capsys.readouterr().out == "one.ipynb: is stale\n"
    assert not (tmp_path / "one.ipynb").exists()
    notebooks.main(check=False)
    (cell,) = json.loads((tmp_path / "one.ipynb").read_text())["cells"][1:]
    assert cell["source"] == ["!convscope data"]
    notebooks.main(check=True)


def _said(block: documents.Block) -> str | bool | None:
    """What code prints; of commands, which print in the reader's language, whether they do."""
    return block.said if block.language == "python" else block.said is not None


@pytest.mark.parametrize("page", ENGLISH, ids=lambda page: page.stem)
def test_both_languages_hold_the_same_code(page: Path):
    """And the same pictures, headings of the same depth, and as many folded answers."""
    other = LESSONS / "zh" / page.name
    texts = [p.read_text(encoding="utf-8") for p in (page, other)]
    one, two = ([(b.language, b.text, _said(b)) for b in documents.blocks(t)] for t in texts)
    assert one == two
    for pattern in (r"^#+ ", r"pictures/([\w.-]+)", r"<details>", r"\d[\d,.]*\d"):
        found = [re.findall(pattern, _prose(text), re.M) for text in texts]
        assert sorted(found[0]) == sorted(found[1]), pattern


@pytest.mark.parametrize("page", ENGLISH, ids=lambda page: page.stem)
def test_a_recipe_reaches_what_a_lesson_says(page: Path):
    found = re.findall(r"recipe\s`([\w-]+)`\s\((\d+\.\d+)\s%", page.read_text(encoding="utf-8"))
    assert found or page.stem[0] in "dfh"
    for name, accuracy in found:
        claim = recipe.load(name).claim
        assert claim and f"{100 * claim.accuracy:.2f}" == accuracy, name


def _prose(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_what_a_page_points_to_is_there(page: Path):
    prose = _prose(page.read_text(encoding="utf-8"))
    for target in re.findall(r"(?<!!)\[[^]]+\]\((?!http)(.*?)\)", prose):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("folder", (LESSONS, LESSONS / "zh"), ids=lambda folder: folder.name)
def test_each_lesson_leads_back_and_on(folder: Path):
    """To the list of lessons, its notebook, the other language, and to its neighbours."""
    pages = [folder / page.name for page in ENGLISH]
    other = "../" if folder.name == "zh" else "zh/"
    for at, page in enumerate(pages):
        found = re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
        wanted = ["README.md", f"{page.stem}.ipynb", f"{other}{page.name}"]
        wanted += [near.name for near in pages[max(0, at - 1) : at + 2] if near != page]
        assert set(wanted) <= set(found), page
        assert found[0] == found[-1] == "README.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_no_mark_is_left_where_a_page_is_rendered(page: Path):
    """Emphasis beside Chinese punctuation is easily written so that its asterisks stay."""
    rendered = MarkdownIt().enable("table").render(_prose(page.read_text(encoding="utf-8")))
    assert not re.findall(r".*[*`|].*", re.sub(r"<code>.*?</code>", "", rendered))


def test_the_examples_of_the_scripts():
    for module in (documents, notebooks):
        failed, tried = doctest.testmod(module)
        assert tried and not failed
