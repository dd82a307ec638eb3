"""Two runs compared by what their folders say of the same images, and what cannot be compared."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from convscope import files, recipe
from convscope.data.columns import Class
from convscope.errors import BadArgument, DataError, RunError
from convscope.evaluation import metrics
from convscope.evaluation.compare import Changed, compare, read
from convscope.evaluation.paired import Pairs
from convscope.evaluation.predictions_file import write_predictions
from convscope.run import RunFolder

CLASSES = ("cat", "dog", "[cow]")
LABELS = [0, 0, 1, 1, 2, 2]
A = [0, 1, 1, 1, 2, 0]
B = [0, 0, 1, 2, 1, 1]


def logits_for(predicted: list[int], sure: list[float]) -> np.ndarray:
    """Logits whose softmax gives the predicted class that probability."""
    return np.array([
        [math.log(p if k == one else (1 - p) / 2) for k in range(3)]
        for one, p in zip(predicted, sure, strict=True)
    ])  # fmt: skip


def made(
    folder: Path, predicted: list[int], names: list[str] | None = None, **more: object
) -> Path:
    """A run folder as training leaves it, as far as a comparison reads it."""
    sure = more.get("sure", [0.9, 0.8, 0.7, 0.6, 0.95, 0.5])
    data, shape, mark = (more.get(k, d) for k, d in (
        ("data", "mnist"), ("shape", [4, 4]), ("mark", "f" * 64)
    ))  # fmt: skip
    folder.mkdir()
    place, logits = RunFolder(folder), logits_for(predicted, sure)
    place.recipe.write_text(recipe.dumps(recipe.resolve({"data": data})))
    found, truth = {"label": logits}, {"label": np.array(LABELS)}
    columns = {"label": Class(tuple(CLASSES))}
    write_predictions(place.predictions, found, truth, columns, {}, names=names)
    measured = metrics.measure(logits, np.array(LABELS), CLASSES)
    files.write_json(place.metrics, {
        "split": "test", **measured, "test_looks": 1,
        "train_seconds": 1.0, "eval_seconds": 1.0, "images_per_second": 1.0,
    })  # fmt: skip
    files.write_json(place.model, {
        "architecture": {"name": "mlp", "arguments": {}, "num_classes": 3, "in_channels": 1,
                         "image_size": shape},
        "classes": list(CLASSES),
        "preprocessing": {"channels": 1, "size": shape, "fit": "pad"},
        "temperature": 1.0, "parameters": 1, "weights_sha256": "", "versions": {}, "machine": {},
        "data": {"name": "animals", "fingerprint": mark}, "created": "", "command": "",
    })  # fmt: skip
    return folder


def compared(one: Path, two: Path):
    return compare(read(RunFolder(one)), read(RunFolder(two)))


def test_two_runs(tmp_path):
    found = compared(made(tmp_path / "a", A), made(tmp_path / "b", B))
    assert found.counts == Pairs(2, 2, 1, 1) and found.n == 6
    assert (found.a.accuracy, found.b.accuracy) == (4 / 6, 3 / 6)
    assert found.difference == pytest.approx(-1 / 6) and found.p == 1
    assert found.a_right == [
        Changed("4", "[cow]", "[cow]", "dog", 0.95),
        Changed("3", "dog", "dog", "[cow]", 0.6),
    ]  # the surest mistake first
    assert found.b_right == [Changed("1", "cat", "dog", "cat", 0.8)]
    assert [row.wrong for row in found.a_right + found.b_right] == ["dog", "[cow]", "dog"]
    assert [(r["class"], r["a_right"], r["b_right"]) for r in found.per_class] == [
        *(("cat", 1, 2), ("dog", 2, 1), ("[cow]", 1, 0)),
    ]
    shown = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert list(shown) == [
        *("a", "b", "n", "counts", "difference", "difference_ci95", "p", "finding"),
        *("verdict", "note", "per_class", "a_right", "b_right", "figure"),
    ]
    assert shown["counts"] == {"both": 2, "only_a": 2, "only_b": 1, "neither": 1}
    assert shown["a"]["accuracy_ci95"] == pytest.approx(metrics.wilson_interval(4, 6))
    back = compared(tmp_path / "b", tmp_path / "a")
    assert back.a_right == [row._replace(a=row.b, b=row.a) for row in found.b_right]
    assert (back.p, back.difference) == (found.p, -found.difference)


def test_classes_in_another_order_and_images_too_are_handled_by_name(tmp_path):
    made(tmp_path / "a", A), made(tmp_path / "b", B)
    before = compared(tmp_path / "a", tmp_path / "b").as_json()
    model = json.loads((tmp_path / "b/model.json").read_text())
    model["classes"].reverse()
    (tmp_path / "b/model.json").write_text(json.dumps(model))
    head, *rows = (tmp_path / "b/predictions.csv").read_text().splitlines(keepends=True)
    (tmp_path / "b/predictions.csv").write_text(head + "".join(rows[::-1]))
    assert compared(tmp_path / "a", tmp_path / "b").as_json() == before


def test_runs_of_other_images_are_not_compared(tmp_path):
    a = made(tmp_path / "a", A)
    with pytest.raises(BadArgument, match="RUN=.*a: is the same run twice; name two runs"):
        compared(a, tmp_path / "a" / ".." / "a")
    text = r"a and .*b: cannot be compared: they were made with different data \(fingerprints fff"
    with pytest.raises(DataError, match=text + ".* trained on the same data"):
        compared(a, made(tmp_path / "b", B, mark="0" * 64))
    made(tmp_path / "c", B)
    text = (tmp_path / "c/predictions.csv").read_text()
    (tmp_path / "c/predictions.csv").write_text(text.replace("\n5,", "\n9,"))
    with pytest.raises(DataError, match=r"2 test images were judged by one of them alone \(5, 9\)"):
        compared(a, tmp_path / "c")
    (tmp_path / "c/predictions.csv").write_text(text.replace("\n5,[cow],dog", "\n5,cat,dog"))
    with pytest.raises(DataError, match=r"1 test images have another class in each \(5\)"):
        compared(a, tmp_path / "c")
    model = (tmp_path / "c/model.json").read_text()
    (tmp_path / "c/predictions.csv").write_text(text.replace("dog", "fox"))
    (tmp_path / "c/model.json").write_text(model.replace("dog", "fox"))
    with pytest.raises(DataError, match=r"their classes differ \(dog, fox\); compare runs that"):
        compared(a, tmp_path / "c")


def test_files_seen_at_two_sizes_are_the_same_images_by_their_names(tmp_path):
    """The fingerprint is over pixels, so that another size has another one."""
    names, data = [f"x/{i}.png" for i in range(6)], {"data": str(tmp_path / "animals")}
    a = made(tmp_path / "a", A, names, **data)
    b = made(tmp_path / "b", B, names, **data, shape=[8, 8], mark="0" * 64)
    assert "only the names of the files say that" in compared(a, b).note
    assert compared(a, made(tmp_path / "c", B, names, **data)).note == ""
    for i, other in enumerate(({"data": str(tmp_path / "others"), "shape": [8, 8]}, data)):
        with pytest.raises(DataError, match="different data"):
            compared(a, made(tmp_path / f"d{i}", B, names, mark="0" * 64, **other))
    with pytest.raises(DataError, match="different data"):  # positions say nothing of files
        compared(made(tmp_path / "e", A), made(tmp_path / "f", B, shape=[8, 8], mark="0" * 64))


@pytest.mark.parametrize(
    ("gone", "text"),
    [
        (
            ("metrics.json",),
            "a: training was stopped after its last epoch, .* go on with: convscope",
        ),
        (
            ("metrics.json", "model.json"),
            "a: training was stopped in the first epoch of .*--resume",
        ),
        (("model.json",), "model.json: is not there; restore it"),
        (("predictions.csv",), "predictions.csv: cannot be read"),
    ],
)
def test_an_unfinished_run_says_how_it_goes_on(tmp_path, gone, text):
    folder = made(tmp_path / "a", A)
    for name in gone:
        (folder / name).unlink()
    with pytest.raises(RunError, match=text):
        read(RunFolder(folder))


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("\n5,", "\n4,", "it has 4 more than once"),
        ("\n0,cat,cat", "\n0,cat,cow", "it has the class cow, which the run does not know"),
        ("\n0,cat,cat,0.9,0.9", "", "it has 5 images, and metrics.json 6"),
        ("\n0,cat,cat", "\n0,cat,dog", "3 of its images are right, and metrics.json says other"),
        ("p_label", "p", "is damaged"),
    ],
)
def test_a_damaged_run_is_named(tmp_path, old, new, text):
    path = made(tmp_path / "a", A) / "predictions.csv"
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(RunError, match=rf"predictions\.csv: .*{text}.*convscope eval RUN"):
        read(RunFolder(tmp_path / "a"))
