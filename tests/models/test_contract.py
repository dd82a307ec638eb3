"""The contract of a network, over the whole registry: what every other part of convscope relies
on."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from convscope.data.columns import image_and_label
from convscope.errors import ConvscopeError
from convscope.models import MODELS, arguments_of, build, store
from convscope.models.parts import Classifier
from convscope.run import RunFolder

SIZES = {"record": ((28, 28), (32, 32), (27, 41))}  # it needs 25 pixels
SMALLEST = {  # of a family: what is tested in every run; the whole ones are slow
    "resnet18_small": {"width": 8},
    "preact_resnet": {"depth": 8},
    "densenet": {"depth": 10, "growth": 4},
    "wide_resnet": {"depth": 10, "width": 1},
}
WHOLE = ("preact_resnet20", "densenet40", "efficientnet_lite2", *SMALLEST)
NETWORKS = [
    *((name, SMALLEST.get(name, {}), ()) for name in MODELS if name not in WHOLE[:3]),
    ("layers", {"layers": "c3x2-6s2 [ bn gelu c3-6g2 ]+ ap2 drop0.1 c1-9 gmp flatten fc"}, ()),
    ("tv:squeezenet1_1", {"small_stem": True}, ()),
    *((name, {}, pytest.mark.slow) for name in WHOLE),
]


def cases(name, arguments, marks):
    """Each size with one and with three channels; of what is large, each size and each number."""
    sizes = SIZES.get(name, ((28, 28), (32, 32), (19, 31)))
    both = [(channels, size) for channels in (1, 3) for size in sizes]
    for channels, size in both if name in STAGED else [both[0], both[-1]]:
        label = f"{name}{'-small' if arguments else ''}-{channels}x{size[0]}x{size[1]}"
        yield pytest.param((name, arguments, channels, size), id=label, marks=marks)


STAGED = ("mlp", "cnn", "inception", "resnet", "keras_cnn", "cifar_cnn", "record")
CASES = [case for network in NETWORKS for case in cases(*network)]


@pytest.fixture(params=CASES)
def built(request: pytest.FixtureRequest) -> tuple[Classifier, torch.Tensor]:
    name, arguments, channels, size = request.param
    torch.manual_seed(0)
    return build(name, 7, channels, size, arguments), torch.rand(4, channels, *size)


def test_gives_a_logit_a_class(built):
    model, images = built
    for training in (True, False):
        logits = model.train(training)(images)
        assert logits.shape == (4, 7)
        assert logits.isfinite().all()


def test_a_gradient_reaches_every_parameter(built):
    model, images = built
    torch.nn.functional.cross_entropy(model(images), torch.arange(4)).backward()
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    assert len(trained) == len(list(model.parameters())) or "record" in str(type(model.features[0]))
    for name, parameter in trained:
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_channels_last_computes_the_same(built):
    model, images = built
    model, images = copy.deepcopy(model).eval().double(), images.double()  # rounding is no reason
    expected = model(images)
    model.to(memory_format=torch.channels_last)
    found = model(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_has_feature_maps_or_says_that_it_has_none(built):
    model, images = built
    if model.features is None:
        with pytest.raises(ConvscopeError, match="this network has no feature maps; use one with"):
            model.feature_maps(images)
    else:
        maps = model.eval().feature_maps(images)
        assert maps.ndim == 4 and len(maps) == 4
        torch.testing.assert_close(model.head(maps), model(images))


def test_normalises_in_its_first_layer(built):
    model, images = built
    model.eval()
    before = model(images)
    channels = images.shape[1]
    model.normalise.set([0.25] * channels, [0.5] * channels)
    torch.testing.assert_close(model(images * 0.5 + 0.25), before, rtol=1e-4, atol=1e-5)


def test_is_saved_and_loaded_as_it_is(built, tmp_path: Path, request: pytest.FixtureRequest):
    model, images = built
    name, arguments, channels, size = request.node.callspec.params["built"]
    model.normalise.set([0.3] * channels, [0.6] * channels)
    model(images)  # moves batch normalisation's statistics
    info = {
        "architecture": store.architecture(
            name, arguments, image_and_label((channels, *size), "abcdefg")
        ),
        "classes": list("abcdefg"),
        "preprocessing": {"channels": channels, "size": list(size), "fit": "pad"},
        "temperature": 1.0,
        "parameters": 1,
        "versions": {},
        "machine": {},
        "data": {"name": "mnist", "fingerprint": ""},
        "created": "",
        "command": "",
    }
    folder = RunFolder(tmp_path)
    store.save(folder, model, info)
    again = store.load(folder)
    assert not again.training
    assert torch.equal(again(images), model.eval()(images))


@pytest.mark.parametrize("name", MODELS)
def test_says_what_it_is_and_what_it_takes(name):
    assert MODELS[name].__doc__
    with torch.device("meta"):  # shapes without values
        for key, default in arguments_of(name).items():
            assert build(name, 3, 1, (28, 28), {key: default})


def test_exports_to_a_graph(built):
    """A network that torch can export whole can be shipped: no control flow that depends on the
    pixels."""
    model, images = built
    exported = torch.export.export(model.eval(), (images,))
    torch.testing.assert_close(exported.module()(images), model(images))
