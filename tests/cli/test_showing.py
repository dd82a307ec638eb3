"""`convscope models`, `recipes` and `script` as a stranger types them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from convscope import recipe
from convscope.engine import measurements
from convscope.models import MODELS


def test_models_and_recipes_are_listed(run):
    found = json.loads(run("models", "--json").out)
    assert found["cnn"]["arguments"] == {"kernel_size": 5, "widths": [16, 32]}
    assert found["cnn"]["parameters"] == {"mnist": 29_034, "cifar10": 34_634}
    assert set(found) == {*MODELS, "tv:NAME"} and all(one["about"] for one in found.values())
    assert found["tv:NAME"]["parameters"] == {"mnist": None, "cifar10": None}
    assert re.search("preact_resnet +depth=110, width=16 +1,727,674 +1,727,962", run("models").out)
    assert "mnist-cnn" in json.loads(run("recipes", "--json").out)
    assert "kernel_size=5" in run("models").out
    wanted = r"mnist-resnet +10 .*99.53% \+/- 0.03% *\n +loss 0.0344, 90 s +loss 0.0152, 134 s"
    assert re.search(wanted, run("recipes").out)


def test_a_recipe_stands_beside_what_it_is_better_than(run, monkeypatch):
    claim = {"seeds": 5, "seconds": 9.0, "machine": "", "date": "", "command": "", "sd": 0.001}
    known = {
        "d-net": recipe.Recipe(claim=recipe.Claim(accuracy=0.99, **claim)),
        "d-net-published": recipe.Recipe(
            claim=recipe.Claim(accuracy=0.98, published=0.97, **claim)
        ),
        "d-old-published": recipe.Recipe(claim=recipe.Claim(accuracy=0.5, loss=1.5, **claim)),
    }
    monkeypatch.setattr(recipe, "names", lambda: list(known))
    monkeypatch.setattr(recipe, "load", known.__getitem__)
    lines = run("recipes").out.splitlines()
    assert re.fullmatch(r"d-net +5 +97.00% +98.00% \+/- 0.10% +99.00% \+/- 0.10% *", lines[1])
    assert re.fullmatch(r" +9 s +9 s *", lines[2])
    assert re.fullmatch(r"d-old-published +5 +- +50.00% \+/- 0.10% +- *", lines[3])
    assert re.fullmatch(r" +loss 1.5000, 9 s *", lines[4]) and len(lines) == 5


def test_a_line_of_layers_is_trained_and_written_as_code(bars, run):
    words = ["train", "mnist", "--layers", "c3-4 relu mp2 flatten fc3", "--epochs", "1"]
    assert run(*words, "--out", "a", "--kernels", "plain", "--precision", "float32").code == 0
    said = run("script", "a")
    assert said.code == 0 and "nn.Conv2d(1, 4, 3, padding=1),  # [B,4,12,12]" in said.out
    assert said.out.endswith("\n") and not said.out.endswith("\n\n")
    assert run("script", "a", "-o", "net.py").out == "net.py\n"
    assert "class Net(nn.Module):" in Path("net.py").read_text().splitlines()
    said = run("script", "a", "-o", "net.py")
    assert said.code == 2 and "--out net.py: is there already" in said.err
    assert run("script", "a", "-o", "net.py", "--force").code == 0
    assert run("script", "a", "-o", "code/net.py").code == 0
    assert 'Path(__file__).parent / "../a/model.safetensors"' in Path("code/net.py").read_text()


def test_the_machine_says_what_was_measured_on_it(run, monkeypatch, tmp_path):
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path))
    out = run("machine").out
    assert "Nothing is measured yet" in out and "taken unmeasured" in out
    plain, half = "float32 channels_last plain", "bfloat16 channels_last plain"
    read = measurements.Candidate.read
    one = measurements.Measurement(
        *("cnn", {}, 10, (100, 1, 28, 28), "cpu", ("auto",) * 3, 100),
        {read(plain): 0.02, read(half): 0.01},
        *(
            (measurements.Candidate.read(f"{plain}x"),),
            measurements.Candidate.read(half),
            0.875,
            measurements.today(),
            {},
        ),
    )
    measurements.write("k", one)
    out = run("machine").out
    words = ("cnn", "100x1x28x28", "88%", "10.0", "bfloat16, 2.0x as fast as float32 here")
    assert all(word in out for word in words) and "wrong: float32 channels_last" in out
    assert json.loads(run("machine", "--json").out)["measurements"][0]["chosen"] == half
