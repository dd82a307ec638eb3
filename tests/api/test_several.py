"""Several inputs and several targets, from a table to the report."""

from __future__ import annotations

import csv
import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import convscope as cs
from convscope import api, console
from convscope.errors import BadArgument, ConvscopeError, Interrupted, RunError
from convscope.evaluation import targets
from convscope.events import EpochEnd
from convscope.run import RunFolder

pytestmark = pytest.mark.usefixtures("workplace")
QUICK = {"model": "cnn", "epochs": 3, "batch_size": 10, "precision": "float32"}
QUICK |= {"kernels": "plain", "memory_format": "contiguous"}
OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, targets):
        super().__init__()
        self.heads = nn.ModuleDict({n: nn.Linear(2 * 64 + 1, k) for n, k in targets.items()})

    def forward(self, left, right, weight):
        x = torch.cat([left.flatten(1), right.flatten(1), weight], 1)
        return {name: head(x) for name, head in self.heads.items()}
"""


def table(root: Path, count: int = 120) -> Path:
    """Bars that lie or stand, left and right; whether both are alike, and how bright they are."""
    root.mkdir()
    random = np.random.default_rng(0)
    lines = [
        "left:image,right:image,weight:numbers,first:class,alike:class,is:labels,bright:number"
    ]
    lines[0] += ",split"
    for n in range(count):
        ways = random.integers(0, 2, 2)
        value = int(random.integers(100, 256))
        for name, way in zip("lr", ways, strict=True):
            pixels = np.zeros((8, 8), np.uint8)
            at = int(random.integers(1, 7))
            pixels[at, :] = value
            Image.fromarray(pixels.T if way else pixels).save(root / f"{n}{name}.png")
        split = ("train", "train", "train", "test")[n % 4]
        kinds = "flat" if not ways.any() else "up" if ways.all() else "flat up"
        alike = "yes" if ways[0] == ways[1] else "no"
        lines.append(
            f"{n}l.png,{n}r.png,{value / 100},{'fu'[ways[0]]},{alike},{kinds},{value},{split}"
        )
    path = root / "bars.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> cs.Run:
    path = table(tmp_path_factory.mktemp("several") / "bars")
    return cs.train(path, **QUICK | {"epochs": 12, "lr": 0.01}, out=path.parent / "run")


def test_it_learns_every_target_and_says_how_well(run):
    found = RunFolder(run.path).read_metrics()["targets"]
    kinds = {name: one["kind"] for name, one in found.items()}
    assert kinds == {"first": "class", "alike": "class", "is": "labels", "bright": "number"}
    assert run.metrics.accuracy == found["first"]["accuracy"] >= 0.9
    assert found["is"]["all_right"] > 0.5 and found["bright"]["r2"] > 0.5
    info = RunFolder(run.path).read_model()
    assert info["temperatures"].keys() == {"first", "alike"}
    assert info["temperature"] == info["temperatures"]["first"]


def test_predictions_have_columns_for_each(run):
    with (run.path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30 and rows[0]["file_or_index"] == "3l.png"
    right = [row["label"] == row["predicted"] for row in rows]
    assert sum(right) / 30 == run.metrics.accuracy
    alike = [row["alike_label"] == row["alike_predicted"] for row in rows]
    assert sum(alike) / 30 == run.metrics.targets["alike"]["accuracy"]
    off = [abs(float(row["bright_label"]) - float(row["bright_predicted"])) for row in rows]
    assert np.mean(off) == pytest.approx(run.metrics.targets["bright"]["mae"], rel=1e-3)


def test_what_is_predicted_is_what_was_judged(run):
    path = Path(run.recipe.data.name)
    found = {one.file: one for one in cs.predict(run.path, [path], emit=cs.silent)}
    assert len(found) == 120
    with (run.path / "predictions.csv").open() as file:
        for row in csv.DictReader(file):
            one = found[row["file_or_index"]]
            assert one.files["right"] == one.file.replace("l.png", "r.png")
            assert one.label == row["predicted"] == one.targets["first"].text
            assert one.p == pytest.approx(float(row["p_predicted"]), abs=1e-5)
            assert one.targets["alike"].text == row["alike_predicted"]
            p = dict(one.targets["alike"].top)[row["alike_predicted"]]
            assert p == pytest.approx(float(row["alike_p_predicted"]), abs=1e-5)
            assert one.targets["is"].text == row["is_predicted"]
            bright = float(row["bright_predicted"])
            assert one.targets["bright"].number == pytest.approx(bright, rel=1e-4)
    pair = {"left": path.parent / "3l.png", "right": path.parent / "3r.png"}
    [one] = cs.predict(run.path, [{**pair, "weight": 2.0}], emit=cs.silent)
    assert one.files["left"] == str(pair["left"]) and len(one.targets) == 4
    with pytest.raises(BadArgument, match="is no table of records, and the network takes left, ri"):
        cs.predict(run.path, [path.parent], emit=cs.silent)


def test_report_and_card_have_every_target(run):
    page = (run.path / "report.html").read_text()
    section = re.search(r'<section id="targets".*?</section>', page, re.S)
    assert section is not None
    assert all(f'<th scope="row">{name}' in section[0] for name in ("first", "alike", "bright"))
    assert "several inputs or targets" in page  # why there is no look inside
    card = (run.path / "README.md").read_text()
    assert "| bright | mean absolute error" in card and "First: which answers are unsure" in card


def test_the_card_says_what_such_a_run_can_do(run, monkeypatch, capsys):
    card = (run.path / "README.md").read_text()
    assert "```sh\nconvscope eval .\n```" in card and "predict" not in card.split("get started")[1]
    monkeypatch.chdir(run.path)
    exec(re.search(r"```python\n(.*?)```", card, re.S)[1])
    assert capsys.readouterr().out == f"{run.metrics.accuracy}\n"


def test_eval_gives_the_same_figures(run, capsys):
    again = cs.evaluate(run.path)
    console.figures(again)
    said = capsys.readouterr().out
    for name, words in targets.lines(again):
        assert f"{name:13} {words}" in said
        assert f"<dt>{name}</dt><dd>{words}</dd>" in again._repr_html_()
    named = [name for name, _ in targets.lines(again)]
    assert named == ["first", "alike", "is", "bright", "all of them"]
    assert again["targets"] == run.metrics.targets and again["all_right"] == run.metrics.all_right
    assert cs.evaluate(run.path, split="val")["n"] == 8


def test_a_run_that_was_stopped_goes_on_to_the_bit(run):
    whole = cs.train(run.recipe.data.name, **QUICK, out="whole")

    def stop(event):
        if isinstance(event, EpochEnd) and event.epoch == 2:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        cs.train(run.recipe.data.name, **QUICK, out="begun", emit=stop)
    again = cs.train(out="begun", resume=True)
    both = [(one.path / "model.safetensors").read_bytes() for one in (whole, again)]
    assert both[0] == both[1]


def test_what_needs_one_image_says_so(run):
    for call in (cs.script, cs.explain, lambda path: cs.embed(path, ["3l.png"])):
        with pytest.raises(RunError, match="several inputs or targets, and this needs one image"):
            call(run.path)


def test_it_is_loaded_as_what_predicts_its_records(run):
    path = Path(run.recipe.data.name)
    loaded = cs.load(run.path, abstain=0.5)
    asked = {"abstain": 0.5, "emit": cs.silent}
    assert loaded.predict(path) == cs.predict(run.path, [path], **asked)
    assert list(loaded.targets) == ["first", "alike", "is", "bright"]


def test_its_anatomy_has_a_trunk_an_input_and_a_head_a_target(run):
    rows = {row.name: row for row in cs.summary(run.path).rows}
    parts = {".".join(name.split(".")[:2]) for name in rows}
    assert {"trunks.left", "trunks.right", "trunks.weight", "heads.bright"} <= parts
    assert rows["heads.alike"].output_shape[-1] == 2 and rows["heads.is"].output_shape[-1] == 2


def test_a_users_class_for_several(run):
    Path("mine.py").write_text(OWN)
    data = run.recipe.data.name
    made = cs.train(data, **QUICK | {"model": "mine.py:Net", "epochs": 8, "lr": 0.01})
    assert made.metrics.accuracy > 0.7
    assert cs.evaluate(made.path, model="mine.py:Net")["accuracy"] == made.metrics.accuracy
    Path("wrong.py").write_text(
        OWN.replace(
            "return {name: head(x) for name, head in", "return [head(x) for _, head in"
        ).replace("items()}\n", "items()]\n")
    )
    with pytest.raises(BadArgument, match="gives list in training mode, not one output a target"):
        cs.train(data, **QUICK | {"model": "wrong.py:Net"})
    Path("few.py").write_text(OWN.replace("(2 * 64 + 1, k)", "(2 * 64 + 1, k + 1)"))
    with pytest.raises(BadArgument, match=r"gives \[\d+, 3\] for first in training mode"):
        cs.train(data, **QUICK | {"model": "few.py:Net"})


def test_mixed_images_go_with_one_image_and_one_class(run):
    with pytest.raises(BadArgument, match=r"mixup=0\.2: goes with one image and one class"):
        cs.train(run.recipe.data.name, **QUICK, mixup=0.2)


def test_data_info_names_the_columns(run):
    found = api.describe_data(run.recipe.data.name)
    assert found["columns"]["weight"] == {"kind": "numbers", "names": ("weight",)}
    assert json.loads(json.dumps(found))["images"] == {"train": 90, "test": 30}
    assert found["counts"]["train"].keys() == {"f", "u"}


def test_a_table_without_a_class_is_refused():
    path = table(Path("bars"), 20)
    path.write_text(path.read_text().replace("first:class,alike:class", "first:skip,alike:skip"))
    with pytest.raises(ConvscopeError, match="none of them is a class, and a classifier needs one"):
        cs.train(path, **QUICK)
