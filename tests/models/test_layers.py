"""Networks in one line: what each word makes, the published networks as lines, and what is
refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import convscope as cs
from convscope.errors import BadArgument
from convscope.models import build
from convscope.models.layers import ACTIVATIONS
from convscope.words import ACTIVATIONS as NAMED
from convscope.words import KNOWN, WORDS

LINES = {  # the sequential published networks
    "mlp": "flatten fc500 relu fc10",
    "cnn": "c5-16 bn relu mp2 c5-32 bn relu mp2 flatten fc10",
    "keras_cnn": "c3-32p0 relu mp2 c3-64p0 relu mp2 flatten fc10",
    "cifar_cnn": "c3-32 relu drop0.3 c3-32 relu mp2 flatten fc512 relu drop0.5 fc10",
}


def made(line: str, classes: int = 10, channels: int = 1, size: tuple[int, int] = (28, 28)):
    torch.manual_seed(0)
    return build("layers", classes, channels, size, {"layers": line})


@pytest.mark.parametrize("name", LINES)
def test_a_published_network_is_its_line_weight_for_weight(name):
    """The same names and values of weights, outputs, dropout and gradients."""
    channels, size = (3, (32, 32)) if name == "cifar_cnn" else (1, (28, 28))
    line = made(LINES[name], 10, channels, size)
    torch.manual_seed(0)
    network = build(name, 10, channels, size)
    one, two = line.state_dict(), network.state_dict()
    assert list(one) == list(two)
    assert all(torch.equal(one[key], two[key]) for key in one)
    images, found = torch.rand(4, channels, *size), []
    for model in (line, network):
        torch.manual_seed(1)
        logits = model(images)
        logits.square().sum().backward()
        found.append([logits, model.eval()(images), *(p.grad for p in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_an_even_kernel_is_that_of_cnn():
    torch.manual_seed(0)
    network = build("cnn", 10, 1, (28, 28), {"kernel_size": (4, 3), "widths": (6,)})
    line = made("c4x3-6 bn mp2 relu flatten fc")
    images = torch.rand(2, 1, 28, 28)
    assert torch.equal(line(images), network(images))


@pytest.mark.parametrize(
    ("words", "layer", "shape"),
    [
        ("c5-8", nn.Conv2d(3, 8, 5, padding=2), (8, 12, 13)),
        ("c5x3-8", nn.Conv2d(3, 8, (5, 3), padding=(2, 1)), (8, 12, 13)),
        ("c3-8s2", nn.Conv2d(3, 8, 3, 2, padding=1), (8, 6, 7)),
        ("c3-8p0s2x1", nn.Conv2d(3, 8, 3, (2, 1)), (8, 5, 11)),
        ("c3-6g3p2x0", nn.Conv2d(3, 6, 3, padding=(2, 0), groups=3), (6, 14, 11)),
        ("c3-8d2", nn.Conv2d(3, 8, 3, padding=2, dilation=2), (8, 12, 13)),
        ("c3x2-8d1x2s2", nn.Conv2d(3, 8, (3, 2), 2, padding=1, dilation=(1, 2)), (8, 6, 7)),
        ("c3-8p0d3", nn.Conv2d(3, 8, 3, dilation=3), (8, 6, 7)),
        ("mp2", nn.MaxPool2d(2), (3, 6, 6)),
        ("mp3s2p1", nn.MaxPool2d(3, 2, 1), (3, 6, 7)),
        ("ap2x3", nn.AvgPool2d((2, 3)), (3, 6, 4)),
        ("gmp", nn.AdaptiveMaxPool2d(1), (3, 1, 1)),
        ("gap", nn.AdaptiveAvgPool2d(1), (3, 1, 1)),
        ("bn", nn.BatchNorm2d(3), (3, 12, 13)),
        ("drop0.3", nn.Dropout(0.3), (3, 12, 13)),
        ("relu", nn.ReLU(), (3, 12, 13)),
        ("leaky", nn.LeakyReLU(), (3, 12, 13)),
    ],
)
def test_a_word_is_its_layer(words, layer, shape):
    model = made(f"{words} bn flatten fc", 4, 3, (12, 13))
    parts = [*(model.features or ()), *model.head]
    found = parts[0]
    if not list(layer.parameters()):  # torch writes one number or two for the same window
        x = torch.randn(2, 3, 12, 13)
        assert torch.equal(found.eval()(x), layer.eval()(x)) and type(found) is type(layer)
    else:
        assert repr(found) == repr(layer)
    x = torch.rand(2, 3, 12, 13)
    assert tuple(found(x).shape[1:]) == shape
    assert model(x).shape == (2, 4)


def test_a_residual_adds_what_went_in():
    model = made("c3-4 [ relu [ c3-4 ]+ bn ]+ gap flatten fc").eval()
    x = torch.randn(2, 4, 5, 5)
    before = x.clone()
    outer = model.features[1]
    inner = outer.branch[1]
    assert torch.equal(inner(x), x + inner.branch(x))
    relu = torch.relu(x)
    assert torch.allclose(outer(x), x + outer.branch[2](relu + inner.branch(relu)))
    assert torch.equal(x, before)  # no layer of a branch works in place on what is added


def test_a_residual_of_vectors():
    assert made("flatten fc8 [ relu fc8 bn ]+ fc")(torch.rand(3, 1, 28, 28)).shape == (3, 10)


def test_features_are_maps_and_the_head_begins_with_the_last_pool():
    model = made("c3-8 relu mp2 c1-6 gap flatten fc")
    assert model.feature_maps(torch.rand(2, 1, 28, 28)).shape == (2, 6, 14, 14)
    assert [type(m).__name__ for m in model.head] == ["AdaptiveAvgPool2d", "Flatten", "Linear"]
    assert made("flatten fc").features is None


def test_every_documented_word_is_one():
    assert tuple(ACTIVATIONS) == NAMED
    says = re.findall(r"[^\s,;:.]+(?:\.\d)?", " ".join([*WORDS, *WORDS.values()]))
    documented = [word for words in WORDS for word in words.split(", ") if "[" not in word]
    for word in [*documented, *KNOWN, "c5x3-16", "mp3s2p1"]:
        after = "c1-4 flatten {} fc" if word.startswith("fc") else "c1-4 {} flatten fc"
        made(after.format(word) if word != "flatten" else after.format("relu"))
        assert word in says or word == "fc10"


@pytest.mark.parametrize(
    ("line", "token", "text"),
    [
        ("c5-16 relo mp2", 1, r"relo: is no layer, and \[B,16,28,28\] arrived .* mean relu\?"),
        ("c5_16 relu", 0, r"c5_16: is no layer, and \[B,1,28,28\] arrived there; did you mean c5-"),
        ("mp2 mp2 mp2 mp2 mp2 flatten fc", 4, r"mp2: is larger than what .*: \[B,1,1,1\] arrived"),
        ("mp4 c9-4p0 flatten fc", 1, r"c9-4p0: is larger than .*: \[B,1,7,7\] arrived; take a sm"),
        ("mp4 c9-4p0x1 flatten fc", 1, r"\[B,1,7,7\] arrived, 7x9 with its padding"),
        ("c3-8 fc10", 1, r"fc10: takes a vector, and \[B,8,28,28\] arrived; write flatten before"),
        ("flatten c3-8 fc", 1, r"c3-8: takes maps \[B,C,h,w\], and \[B,784\] arrived; put it befo"),
        ("flatten mp2 fc", 1, "mp2: takes maps"),
        ("flatten gap fc", 1, "gap: takes maps"),
        ("flatten flatten fc", 1, "flatten: takes maps"),
        ("c3-8 [ c3-9 ]+ gap flatten fc", 3, r"\[B,8,28,28\] went in at \[ and \[B,9,28,28\] came"),
        ("c3-8 [ mp2 ]+ gap flatten fc", 3, r"\[B,8,28,28\] went in at \[ and \[B,8,14,14\] came"),
        ("c3-8 [ relu gap flatten fc", 1, r"\[: is never closed; write \]\+ where"),
        ("c3-8 relu ]+ gap flatten fc", 2, r"\]\+: closes a bracket that was never opened"),
        ("c3-8 [ relu ] flatten fc", 3, r"\]: does not say how .*write \]\+ to add"),
        ("c3-8 [ ]+ flatten fc", 2, r"closes an empty residual"),
        ("c3-9g2 flatten fc", 0, r"c3-9g2: has groups that do not divide 1 channels.* and 9"),
        ("c3-8 c3-6g4 flatten fc", 1, "do not divide 8 channels, which arrived, and 6"),
        ("mp4 c3-8p0d4 flatten fc", 1, r"c3-8p0d4: is larger than .*: \[B,1,7,7\] arrived; take"),
        ("c3-8d0 flatten fc", 0, "c3-8d0: has a kernel, stride, dilation, group or channel of 0"),
        ("c5 flatten fc", 0, "c5: does not say to how many channels; write them after a dash, as"),
        ("c3-8g2x2 flatten fc", 0, "is no layer"),
        ("c3-8p1p2 flatten fc", 0, "c3-8p1p2: says one thing twice; leave one of them out"),
        ("c0-8 flatten fc", 0, "c0-8: has a kernel, stride, dilation, group or channel of 0"),
        ("c3-0 flatten fc", 0, "c3-0: has a kernel, stride, dilation, group or channel of 0"),
        ("c3-8s0 flatten fc", 0, "c3-8s0: has a kernel, stride, dilation, group or channel of 0"),
        ("mp0 flatten fc", 0, "mp0: has a window or stride of 0"),
        ("mp2p2 flatten fc", 0, "mp2p2: has a padding of more than half its window"),
        ("drop0 flatten fc", 0, "drop0: must drop a share between 0 and 1"),
        ("drop1.5 flatten fc", 0, "drop1.5: must drop a share between 0 and 1"),
        ("flatten fc0", 1, "fc0: has no outputs"),
        ("flatten fc999999999", 1, "would have 783,999,999,216 weights, with .*B,784"),
        ("c3-99999999 gap flatten fc", 0, r"would have 899,999,991 weights, with \[B,1,28,28\] a"),
        (
            "flatten fc12",
            1,
            r"fc12: leaves \[B,12\] at the end, where 10 classes need \[B,10\]; en",
        ),
        ("c3-8 relu", 1, r"relu: leaves \[B,8,28,28\] at the end, .*; end with flatten fc"),
        ("c3-8²", 0, "is no layer"),
        ("", None, "layers='': names no layer; try c5-16"),
        ("  \n ", None, "names no layer"),
    ],
)
def test_what_does_not_fit_is_pointed_at(line, token, text):
    with pytest.raises(BadArgument, match=text) as why:
        made(line)
    if token is not None:
        shown, marks = str(why.value).splitlines()[1:]
        words = shown.split()
        at = [m.start() for m in re.finditer(r"\S+", shown)][token]
        assert shown.strip() == line and marks == " " * at + "^" * len(words[token])


PLAIN = {
    "kernels": "plain",
    "precision": "float32",
    "memory_format": "contiguous",
    "batch_size": 60,
}
LINE = "c3-4 bn relu [ c3-4 bn ]+ mp2 flatten fc"


def test_a_run_of_a_line_is_judged_loaded_and_resumed(bars):
    run = cs.train("mnist", layers=LINE, epochs=1, out="a", **PLAIN)
    assert run.recipe.model.name == "layers" and run.recipe.model.arguments == {"layers": LINE}
    assert run.recipe.origin["model.layers"] == "typed"
    images = bars.splits["test"].images
    guesses = cs.load("a").predict(images)
    labels = [bars.classes[i] for i in bars.splits["test"].labels]
    share = sum(g.label == label for g, label in zip(guesses, labels, strict=True)) / len(labels)
    assert share == pytest.approx(run.metrics.accuracy)
    assert cs.evaluate("a")["accuracy"] == pytest.approx(run.metrics.accuracy)
    weights = Path("a/model.safetensors").read_bytes()
    for name in ("model.safetensors", "model.json", "metrics.json", "report.html"):
        (run.path / name).unlink()
    again = cs.train("mnist", layers=LINE, out="a", resume=True)
    assert Path("a/model.safetensors").read_bytes() == weights
    assert again.metrics.accuracy == run.metrics.accuracy
    with pytest.raises(BadArgument, match="is not what this run was begun with"):
        cs.train("mnist", layers="flatten fc", out="a", resume=True)
    copied = cs.train(recipe="a/recipe.toml", out="b")
    assert (copied.path / "model.safetensors").read_bytes() == weights


def test_a_line_and_a_name_are_two_networks(bars):
    with pytest.raises(
        BadArgument, match="layers=fc: is a network of its own, and so is model=cnn"
    ):
        cs.train("mnist", layers="fc", model="cnn")
    assert not Path("runs").exists()


def test_a_torchvision_network_is_trained_and_loaded(bars):
    run = cs.train("mnist", model="tv:squeezenet1_1", small_stem=True, epochs=1, **PLAIN)
    assert run.path.name == "mnist-squeezenet1_1-1"
    guesses = cs.load(run.path).predict(bars.splits["test"].images)
    assert len(guesses) == 60 and cs.load(run.path).network.features is None
