"""Heat lies where a network looks, and the scores are what they are said to be."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn

from convscope.errors import BadArgument
from convscope.insight.explain import heat
from convscope.insight.explain.map_layers import Stage, opened, stage_of, stages
from convscope.models import build
from convscope.models.parts import Classifier


class Patch(nn.Module):
    """Logits (0, the sum of the rows 8 to 11 and the columns 2 to 5)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = x[:, :, 8:12, 2:6].sum((1, 2, 3))
        return torch.stack([torch.zeros_like(z), z], 1)


def pictures(n: int = 3, size: int = 16) -> torch.Tensor:
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", ["ig", "occlusion"])
def test_a_network_that_looks_at_one_patch_has_its_heat_there(method: str) -> None:
    images = pictures()
    images[:, :, 8:12, 2:6] = 1
    images[:, :, 7, :] = images[:, :, :, 6] = 0  # so that blurring the patch takes from it
    maps = heat.heat_maps(Patch(), images, torch.ones(3, dtype=torch.int64), method)
    assert maps.shape == (3, 16, 16)
    reach = 0 if method == "ig" else 3  # windows of 4x4
    outside = torch.ones(16, 16, dtype=torch.bool)
    outside[8 - reach : 12 + reach, 2 - min(2, reach) : 6 + reach] = False
    assert maps[:, outside].abs().max() < 1e-5
    for own in maps:
        row, column = divmod(int(own.argmax()), 16)
        assert 8 <= row < 12 and 2 <= column < 6 and own.max() > 0.1
    against = heat.heat_maps(Patch(), images, torch.zeros(3, dtype=torch.int64), method)
    assert against.abs().max() < 1e-5  # the first logit is always 0


def spotting() -> Classifier:
    """A 3x3 cross is found by the one kernel, and the class is whether there is one."""
    features = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU(inplace=True))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    with torch.no_grad():
        kernel = torch.tensor([[-1.0, 1, -1], [1, 1, 1], [-1, 1, -1]])
        features[0].weight.copy_(kernel[None, None])
        features[0].bias.fill_(-4)
        head[2].weight.copy_(torch.tensor([[-9.0], [9.0]]))
        head[2].bias.zero_()
    return Classifier(1, features, head)


SPOT = Stage("features.1", "ReLU", (1, 16, 16))


def test_gradcam_is_hot_where_the_pattern_is() -> None:
    network, images = spotting(), torch.zeros(1, 1, 12, 12)
    images[0, 0, 3:6, 7] = images[0, 0, 4, 6:9] = 1  # a cross about (4, 7)
    images[0, 0, 9, :] = 1  # and a line, which is none
    stage = stage_of(stages(network, (1, 12, 12)), "features.1")
    maps = heat.gradcam(network, images, torch.tensor([1]), stage)
    assert maps.shape == (1, 12, 12)
    assert (maps > 0).nonzero().tolist() == [[0, 4, 7]]
    assert heat.gradcam(network, images, torch.tensor([0]), stage).max() == 0


def test_gradcam_before_a_layer_in_place_is_the_one_by_hand() -> None:
    """What a ReLU after a pool does in place does not reach the pool's maps."""
    network, images = build("keras_cnn", 3, 1, (16, 16)).eval(), pictures()
    name = "features.4"
    stage = stage_of(stages(network, (1, 16, 16)), name)
    found = heat.gradcam(network, images, torch.tensor([0, 1, 2]), stage)
    before = network.features[:5](network.normalise(images)).detach().requires_grad_()
    # the same by hand: what follows, on a copy
    logits = network.head(network.features[5:](before.clone()))
    (slopes,) = torch.autograd.grad(logits[[0, 1, 2], [0, 1, 2]].sum(), before)
    by_hand = (slopes.mean((2, 3), keepdim=True) * before).sum(1).relu()
    torch.testing.assert_close(found, by_hand.detach())


@pytest.mark.parametrize(
    ("model", "name"),
    [("cnn", "features.5"), ("resnet", "features.6"), ("inception", "features.0"),
     ("tv:googlenet", "network.inception4a")],
)  # fmt: skip
def test_gradcam_is_captums(model: str, name: str) -> None:
    from captum.attr import LayerGradCam

    images, targets = pictures(4, 32), torch.tensor([0, 2, 1, 2])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = build(model, 3, 1, (32, 32)).eval()
    known = stages(network, (1, 32, 32))
    stage = next((s for s in known if s.name == name), known[len(known) // 2])
    found = heat.gradcam(network, images, targets, stage)
    made, layer = opened(network, stage.name)
    theirs = (
        LayerGradCam(made, layer)
        .attribute(images.clone().requires_grad_(), targets, relu_attributions=True)[:, 0]
        .detach()
    )
    assert found.shape == (4, *stage.size) and found.max() > 0 and not found.requires_grad
    torch.testing.assert_close(found, theirs, rtol=1e-5, atol=1e-5 * float(theirs.max()))


def test_gradcam_where_no_gradient_passes_is_refused() -> None:
    class Frozen(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return super().forward(x)

    network = spotting()
    network.features = Frozen(*network.features)
    stage = stage_of(stages(network, (1, 16, 16)), "features.1")
    with pytest.raises(BadArgument, match=r"method=gradcam: needs gradients, and none reaches"):
        heat.gradcam(network, pictures(), torch.tensor([0, 1, 0]), stage)


def test_deletion_and_insertion_of_a_linear_network_by_hand() -> None:
    random = np.random.default_rng(0)
    weights = random.normal(size=(6, 6)).astype(np.float32)
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 2, bias=False))
    with torch.no_grad():
        network[1].weight.copy_(torch.stack([torch.zeros(36), torch.from_numpy(weights).view(-1)]))
    image = torch.from_numpy(random.random((1, 1, 6, 6)).astype(np.float32))
    base, target = heat.blurred(image), torch.tensor([1])
    for function, begin, end in (
        (heat.deletion, image, base),
        (heat.insertion, base, image),
    ):
        found = function(network, image, target, torch.from_numpy(weights)[None])
        pixels, expected = begin[0, 0].clone(), []
        order = [divmod(int(at), 6) for at in np.argsort(-weights.ravel())]
        for step in range(heat.STEPS + 1):
            for row, column in order[: round(36 * step / heat.STEPS)]:
                pixels[row, column] = end[0, 0, row, column]
            z = float((pixels * torch.from_numpy(weights)).sum())
            expected.append(1 / (1 + np.exp(-z)))
        np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    assert heat.area(np.array([[1.0, 1.0, 0.0]])).tolist() == [0.75]


def test_random_weights_are_drawn_anew_and_normalise_as_before() -> None:
    network = build("record", 3, 1, (32, 32), {"widths": [4, 4, 4]}).eval()
    network.normalise.set([0.3], [0.2])
    before = {key: value.clone() for key, value in network.state_dict().items()}
    one, two, other = (heat.randomised(network, seed) for seed in (0, 0, 1))
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])
        assert torch.equal(one.state_dict()[key], two.state_dict()[key])
    assert float(one.normalise.mean) == pytest.approx(0.3)
    for name in ("features.2.weight", "head.1.weight"):
        assert not torch.equal(one.state_dict()[name], before[name])
        assert not torch.equal(one.state_dict()[name], other.state_dict()[name])


def test_doubt_is_small_where_the_maps_are_right() -> None:
    images = pictures(6)
    images[:, :, 8:12, 2:6] = 1
    target = torch.ones(6, dtype=torch.int64)

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mixing = nn.Linear(256, 2)
            with torch.no_grad():
                self.mixing.weight.zero_()
                self.mixing.bias.zero_()
                self.mixing.weight.view(2, 16, 16)[1, 8:12, 2:6] = 1

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.mixing(x.flatten(1)) - torch.tensor([0.0, 12.0])

    network = Scaled()
    found = heat.doubt(
        network, images, target, lambda one: heat.heat_maps(one, images, target, "ig")
    ).better()
    assert found["images"] == 6 and found["random_networks"] == 3
    assert found["deletion_better"] == 1.0 and found["deletion_better_ci95"][0] > 0.5
    assert found["deletion"] < found["deletion_random"]
    assert found["insertion"] > found["insertion_random"]


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    images, target = pictures(1), torch.tensor([0])
    with pytest.raises(BadArgument, match="method=grad-cam: is no kind .* did you mean gradcam"):
        heat.heat_maps(Patch(), images, target, "grad-cam")
    with pytest.raises(BadArgument, match="method=gradcam: needs feature maps"):
        heat.heat_maps(Patch(), images, target, "gradcam")
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(BadArgument, match=r"pip install 'convscope\[explain\]'"):
        heat.heat_maps(Patch(), images, target, "ig")
    assert heat.heat_maps(spotting(), images, target, "gradcam", SPOT).shape == (1, 16, 16)
