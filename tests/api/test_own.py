"""The user's own network, and code from a stranger."""

from __future__ import annotations

from pathlib import Path

import pytest

import convscope as cs
from convscope.errors import BadArgument, RunError
from convscope.events import EpochEnd

OWN = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self, num_classes, width=8):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.Dropout(0.1),
                                 nn.Linear(width, num_classes))
    def forward(self, x):
        return self.net(x)
class Wrong(Net):
    def forward(self, x):
        return super().forward(x)[:, :2]
class Breaks(Net):
    def forward(self, x):
        return self.net(x.reshape(7, -1))
"""


def test_the_users_own_network(bars, workplace):
    Path("mine.py").write_text(OWN)
    own = {"model": "mine.py:Net", "epochs": 2, "batch_size": 40}
    run = cs.train("mnist", **own, width=6)
    assert run.path == Path("runs/mnist-Net-1")
    with pytest.raises(
        BadArgument, match="no code is loaded that you do not name; add --model mine.py"
    ):
        cs.load(run.path)
    assert cs.load(run.path, model="mine.py:Net").predict(bars.splits["test"].images)
    assert cs.evaluate(run.path, model="mine.py:Net")["n"] == 60
    with pytest.raises(BadArgument, match="is not the class this run was made with; name .*:Net"):
        cs.load(run.path, model="mine.py:Wrong")
    assert cs.train(**own, width=6, out=run.path, resume=True).metrics == run.metrics
    with pytest.raises(BadArgument, match="no code is loaded that you do not name; add --model"):
        cs.train(out=run.path, resume=True)
    Path("mine.py").write_text(OWN + "# another version")
    with pytest.raises(RunError, match="mine.py: was edited since this run was made with it"):
        cs.load(run.path, model="mine.py:Net")


def test_a_recipe_from_a_stranger_runs_no_code(bars, workplace):
    Path("evil.py").write_text("raise SystemExit('imported')")
    Path("gift.toml").write_text("[model]\nname = 'evil.py:Net'\n")
    with pytest.raises(BadArgument, match="the recipe names the class evil.py:Net, and no code is"):
        cs.train("mnist", recipe="gift.toml")
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda: edit("a/recipe.toml", "seed = 0", "seed = 1"), "recipe.toml was edited since"),
        (lambda: edit("mine.py", "0.1", "0.2"), "mine.py:Net was edited since"),
        (lambda: edit("a/split.json", '"digest": "', '"digest": "0'), "are in another order since"),
        (lambda: edit("a/split.json", '"val": [', '"val": [9999,'), "validation split is another"),
    ],
)
def test_a_run_goes_on_only_as_it_was_begun(bars, workplace, change, text):
    class Power(Exception):
        pass

    def cut(event: object) -> None:
        if isinstance(event, EpochEnd):
            raise Power

    Path("mine.py").write_text(OWN)
    own = {"model": "mine.py:Net", "epochs": 2, "batch_size": 40, "out": "a"}
    with pytest.raises(Power):
        cs.train("mnist", **own, emit=cut)
    change()
    with pytest.raises(RunError, match=text):
        cs.train(model="mine.py:Net", out="a", resume=True)


def edit(path: str, old: str, new: str) -> None:
    text = Path(path).read_text()
    assert old in text
    Path(path).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("this is no Python", "mine.py cannot be imported: SyntaxError"),
        ("import gone_module", "mine.py cannot be imported: ModuleNotFoundError"),
        (OWN + "\n    def __init__(self): 1 / 0\nNet = Breaks", "Breaks cannot be made"),
        (
            OWN.replace("return self.net(x)", "return x.nothing"),
            "fails .*AttributeError",
        ),
        (
            OWN.replace("nn.ReLU()", "nn.BatchNorm1d(width)"),
            r"batch_size=1: leaves 1 image for a pass, and mine.py:Net fails in net.2 "
            r"\(BatchNorm1d\), in batch_norm, where \[1,8\] and \[8\] met: .*; let every pass have "
            "2 images at least",
        ),
    ],
)
def test_a_users_file_that_fails_is_named(bars, workplace, code, text):
    Path("mine.py").write_text(code.replace("Net = Breaks", ""))
    name = "Breaks" if "Net = Breaks" in code else "Net"
    with pytest.raises(BadArgument, match=text):
        cs.train("mnist", model=f"mine.py:{name}", batch_size=1, epochs=1)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "Wrong",
            r"gives \[16, 2\] in training mode for a batch of 16 images of 3 classes; make it give "
            r"\[B,3\]",
        ),
        (
            "Breaks",
            r"fails in Breaks, in reshape, which got \[2,1,12,12\]: .* on a batch \[2, .*; "
            "mend the class; it gets float",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_refused_before_anything_is_written(bars, name, text):
    Path("mine.py").write_text(OWN)
    with pytest.raises(BadArgument, match=text):
        cs.train("mnist", model=f"mine.py:{name}")
    assert not Path("runs").exists()
