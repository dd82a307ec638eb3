"""Building by name, with arguments, and from a user's own file."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convscope.errors import BadArgument
from convscope.models import MODELS, build, tv
from convscope.models.densenet import DenseLayer
from convscope.models.parts import ParallelBranches
from convscope.models.plain import cnn
from convscope.models.preact import PreactBlock
from convscope.models.wide_resnet import WideBlock


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.fixture
def torch_seeded() -> None:
    torch.manual_seed(0)


def test_pooling_before_the_relu_is_the_published_network():
    """Values and gradients of conv, batch norm, ReLU, pool, in that order, in float64."""
    torch.manual_seed(0)
    ours = cnn(10, 1, (28, 28)).double()
    f = list(ours.features)
    published = nn.Sequential(f[0], f[1], nn.ReLU(), f[2], f[4], f[5], nn.ReLU(), f[6], ours.head)
    images = torch.rand(8, 1, 28, 28, dtype=torch.float64)
    grads = []
    for model in (ours, published):
        ours.zero_grad()
        logits = model(images)
        logits.square().sum().backward()
        grads.append([logits, *(p.grad.clone() for p in ours.parameters())])
    for one, two in zip(*grads, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 7, (5, 3), (2, 5), (3, 4)])
def test_any_kernel_keeps_the_size(kernel):
    model = build("cnn", 10, 1, (28, 28), {"kernel_size": kernel})
    assert model.feature_maps(torch.rand(2, 1, 28, 28)).shape == (2, 32, 7, 7)


def test_widths_make_stages():
    model = build("cnn", 10, 3, (32, 32), {"widths": [8, 16, 24]})
    assert model.feature_maps(torch.rand(2, 3, 32, 32)).shape == (2, 24, 4, 4)


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("cmn", {}, "model=cmn: is no registered network; did you mean cnn?"),
        (
            "cnn",
            {"kernelsize": 3},
            "kernelsize=3: is no argument of cnn; did you mean kernel_size?",
        ),
        (
            "mlp",
            {"kernel_size": 3},
            "kernel_size=3: is no argument of mlp but of cnn; .*takes hidden",
        ),
        (
            "cnn",
            {"kernel_size": 0},
            "kernel_size=0: must be one or two whole numbers of at least 1",
        ),
        ("cnn", {"kernel_size": [3, 3, 3]}, "kernel_size=.*: must be one or two whole numbers"),
        (
            "cnn",
            {"kernel_size": 2.5},
            "kernel_size=2.5: must be a whole number or several whole numbers",
        ),
        ("cnn", {"widths": 16}, "widths=16: must be several whole numbers; try 16,32"),
        ("cnn", {"widths": [16, -1]}, "widths=.*: must be whole numbers of at least 1"),
        ("cnn", {"widths": []}, "widths=.*: must be whole numbers of at least 1"),
        (
            "cnn",
            {"widths": [8] * 6},
            "has more stages than a 28x28 image can be halved; give at most 4",
        ),
        ("mlp", {"hidden": 0}, "hidden=0: must be a whole number of at least 1"),
        ("mlp", {"hidden": "many"}, "hidden=many: must be a whole number; try 16"),
        ("cmn", {}, "Known: .*wide_resnet, tv:NAME of torchvision, or file.py:ClassName"),
        ("preact_resnet", {"depth": 21}, "depth=21: must be 6n [+] 2, n from 1; try 20, 32"),
        ("preact_resnet", {"depth": 2}, "depth=2: must be 6n [+] 2"),
        ("preact_resnet20", {"width": 0}, "width=0: must be a whole number of at least 1"),
        ("wide_resnet", {"depth": 20}, "depth=20: must be 6n [+] 4, n from 1; try 16, 28 or 40"),
        ("wide_resnet", {"width": -1}, "width=-1: must be a whole number of at least 1"),
        ("densenet", {"depth": 41}, "depth=41: must be 6n [+] 4 with bottleneck, n from 1"),
        (
            "densenet",
            {"depth": 39, "bottleneck": False},
            "depth=39: must be 3n [+] 4 without bottleneck",
        ),
        ("densenet", {"growth": 0}, "growth=0: must be a whole number of at least 1"),
        ("densenet", {"compression": 1.5}, "compression=1.5: must be a share of the maps"),
        ("densenet", {"compression": "half"}, "compression=half: must be a number; try 0.5"),
        ("densenet", {"bottleneck": 1}, "bottleneck=1: must be true or false; write true"),
        ("layers", {"layers": 3}, "layers=3: must be a line of words; write it in quotes"),
        ("tv:resnet19", {}, "model=tv:resnet19: is no classifier of torchvision; did you mean"),
        (
            "tv:resnet18",
            {"depth": 3},
            "depth=3: is no argument of tv:resnet18 but .*takes small_stem",
        ),
        ("tv:vgg11", {"small_stem": True}, "small_stem=True: is of no use: the stem of tv:vgg11"),
        (
            "tv:alexnet",
            {},
            r"tv:alexnet: cannot take images of 28x28 pixels .*small_stem=True \(--small-stem\)",
        ),
        ("tv:vit_b_16", {}, "cuts square images into patches of 16x16, and these are 28x28"),
    ],
)
def test_what_does_not_fit_is_refused(name, arguments, text):
    with pytest.raises(BadArgument, match=text):
        build(name, 10, 1, (28, 28), arguments)


OWN = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, width=4):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.Linear(width, num_classes))
    def forward(self, x):
        return self.net(x)

class Needs(nn.Module):
    def __init__(self, what):
        super().__init__()

NotOne = 3
"""


def test_the_users_own_class(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    model = build(f"{tmp_path / 'mine.py'}:Net", 10, 1, (28, 28), {"width": 6})
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    assert model.features is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gone.py:Net", "names no file that is there; give path/to/file.py:ClassName"),
        ("mine.py", "names no class; give .*mine.py:ClassName"),
        ("mine.py:Nett", "has no nn.Module Nett; did you mean Net?"),
        ("mine.py:NotOne", "has no nn.Module NotOne"),
        ("mine.py:Needs", "Needs needs what, which convscope does not know"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, name, text):
    (tmp_path / "mine.py").write_text(OWN)
    with pytest.raises(BadArgument, match=text):
        build(f"{tmp_path}/{name}", 10, 1, (28, 28))


STAGES = {  # on the data of its publication: parameters, then the shape after every stage
    "mlp": (1, 28, 397_510, [], [784, 500, 500, 10]),
    "cnn": (1, 28, 29_034, ["16x28x28", "16x14x14", "32x14x14", "32x7x7"], [1568, 10]),
    "inception": (
        *(1, 28, 97_298),
        ["10x24x24", "10x12x12", "88x12x12", "20x8x8", "20x4x4", "88x4x4"],
        [1408, 10],
    ),
    "resnet": (1, 28, 41_514, ["16x24x24", "16x12x12", "32x8x8", "32x4x4"], [512, 10]),
    "keras_cnn": (1, 28, 34_826, ["32x26x26", "32x13x13", "64x11x11", "64x5x5"], [1600, 10]),
    "cifar_cnn": (3, 32, 4_210_090, ["32x32x32", "32x16x16"], [8192, 512, 512, 512, 10]),
}


@pytest.mark.parametrize("name", STAGES)
def test_a_published_network_has_its_published_shapes(name):
    channels, size, count, stages, ends = STAGES[name]
    model = build(name, 10, channels, (size, size))
    assert parameters(model) == count
    x, maps = torch.rand(2, channels, size, size), []
    for layer in model.features or ():
        x = layer(x)
        shape = "x".join(map(str, x.shape[1:]))
        maps += [shape] if shape not in maps[-1:] else []
    assert maps == stages
    found = []
    for layer in model.head:
        x = layer(x)
        found.append(*x.shape[1:])
    assert found == ends


@pytest.mark.parametrize("name", STAGES)
def test_a_published_network_takes_other_images(name):
    """Twice as many pixels and another number of channels: only the layers that see them grow."""
    channels, size, *_ = STAGES[name]
    usual, other = (
        build(name, 10, c, (s, s)) for c, s in ((channels, size), (4 - channels, size * 2))
    )
    assert other(torch.rand(2, 4 - channels, 2 * size, 2 * size)).shape == (2, 10)
    shapes = [{k: v.shape for k, v in m.named_parameters()} for m in (usual, other)]
    assert list(shapes[0]) == list(shapes[1])
    changed = [key for key in shapes[0] if shapes[0][key] != shapes[1][key]]
    assert 1 <= len(changed) <= 2 and all(key.endswith("weight") for key in changed)


@pytest.mark.parametrize(
    ("name", "arguments", "count", "maps"),
    [
        ("resnet18_small", {}, 11_173_962, (512, 4, 4)),
        ("record", {}, 1_972_792, (256, 1, 1)),
        ("preact_resnet", {"depth": 110}, 1_727_962, (64, 8, 8)),
        ("preact_resnet20", {}, 269_722, (64, 8, 8)),
        ("densenet40", {"growth": 12}, 1_019_722, (448, 8, 8)),
        ("densenet", {"depth": 100, "growth": 12}, 769_162, (342, 8, 8)),
        ("wide_resnet", {"depth": 28, "width": 10}, 36_479_194, (640, 8, 8)),
    ],
)
def test_sizes_on_cifar10_are_those_of_the_papers(name, arguments, count, maps):
    with torch.device("meta"):  # shapes without values
        model = build(name, 10, 3, (32, 32), arguments)
        assert parameters(model) == count
        assert model.feature_maps(torch.rand(2, 3, 32, 32)).shape[1:] == maps


def test_a_preactivation_shortcut_is_free(torch_seeded):
    """With a residual of zero a block is its shortcut: subsampled, padded with zeros, no weight."""
    block = PreactBlock(4, 8, stride=2)
    nn.init.zeros_(block.residual[-1].weight)
    x = torch.randn(2, 4, 7, 6)
    y = block(x)
    assert torch.equal(y[:, :4], x[:, :, ::2, ::2])
    assert y.shape == (2, 8, 4, 3) and not y[:, 4:].any()


def test_a_dense_layer_keeps_what_it_got(torch_seeded):
    x = torch.randn(2, 5, 6, 6)
    for bottleneck, count in ((False, 10 + 5 * 3 * 9), (True, 10 + 5 * 12 + 24 + 12 * 3 * 9)):
        layer = DenseLayer(5, 3, bottleneck)
        assert parameters(layer) == count
        y = layer(x)
        assert y.shape == (2, 8, 6, 6) and torch.equal(y[:, :5], x)


def test_a_wide_shortcut_is_of_what_is_activated(torch_seeded):
    same, wider = WideBlock(4, 4), WideBlock(4, 8, 2)
    for block in (same, wider):
        nn.init.zeros_(block.residual[-1].weight)
    x = torch.randn(2, 4, 6, 6)
    assert torch.equal(same(x), x)
    y = wider(x)
    assert torch.allclose(y, wider.shortcut(wider.activate(x))) and y.shape == (2, 8, 3, 3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_are_left_out(name, channels):
    with torch.device("meta"):
        model = build(f"tv:{name}", 5, channels, (75, 75))
        assert model.train()(torch.rand(2, channels, 75, 75)).shape == (2, 5)
        assert not [key for key in model.state_dict() if "aux" in key.lower()]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("resnet18", {"conv1": "3, 64, kernel_size=(3, 3)", "maxpool": ""}),
        ("densenet121", {"features.conv0": "3, 64, kernel_size=(3, 3)", "features.pool0": ""}),
        ("mobilenet_v2", {"features.0.0": "3, 32, kernel_size=(3, 3)"}),
        ("squeezenet1_1", {"features.0": "3, 64, kernel_size=(3, 3)", "features.2": ""}),
        ("convnext_tiny", {"features.0.0": "3, 96, kernel_size=(3, 3)"}),
    ],
)
def test_a_small_stem_keeps_the_size(name, changes):
    with torch.device("meta"):
        model = build(f"tv:{name}", 5, 3, (32, 32), {"small_stem": True})
        plain = build(f"tv:{name}", 5, 3, (32, 32))
        assert model(torch.rand(2, 3, 32, 32)).shape == (2, 5)
    found = dict(model.head.named_modules())
    differ = [k for k, v in plain.head.named_modules() if type(v) is not type(found[k])]
    assert set(differ) <= set(changes)
    for place, text in changes.items():
        assert text in repr(found[place])
        assert not text or (found[place].stride, found[place].padding) == ((1, 1), (1, 1))
        assert text or type(found[place]) is nn.Identity


def test_a_vision_transformer_is_cut_into_small_patches():
    with torch.device("meta"):
        model = build("tv:vit_b_16", 5, 1, (28, 28), {"small_stem": True})
        assert model(torch.rand(2, 1, 28, 28)).shape == (2, 5)
    assert model.head.encoder.pos_embedding.shape[1] == 7 * 7 + 1


@pytest.mark.slow
@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("name", tv.names())
def test_every_classifier_of_torchvision_is_built_or_refused(name, small):
    """At 64 pixels, at which all but a few work; what is refused says what would do."""
    try:
        model = build(f"tv:{name}", 5, 3, (64, 64), {"small_stem": small})
    except BadArgument as why:
        assert name.startswith(("vgg", "maxvit", "vit_h", "inception"))
        assert str(why).endswith("leave it out") or "take" in why.remedy
    else:
        assert model(torch.rand(2, 3, 64, 64)).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "least"), [("inception", 16), ("resnet", 16), ("keras_cnn", 10), ("record", 25)]
)
def test_an_image_that_would_shrink_to_nothing_is_refused(name, least):
    build(name, 3, 1, (least, least))(torch.rand(2, 1, least, least))
    with pytest.raises(
        BadArgument, match=f"model={name}: needs images of at least {least}x{least}"
    ):
        build(name, 3, 1, (least - 1, 40))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_parallel_branches_are_what_a_block_concatenates(name):
    size = (3, (32, 32))
    arguments = {"layers": "c3-8 relu gap flatten fc"} if name == "layers" else {}
    network = build(name, 4, *size, arguments)
    found = [m for m in network.modules() if isinstance(m, ParallelBranches)]
    assert bool(found) == (name == "inception")
    for block in found:
        maps = torch.randn(2, block.channels, 8, 8)
        parts = [getattr(block, branch)(maps) for branch in block.branch_names()]
        assert torch.equal(block(maps), torch.cat(parts, 1))


def test_whitening_makes_patches_white():
    """Over the images it learnt from, each pair of outputs is +-1 or 0 correlated, each of
    variance near one."""
    torch.manual_seed(0)
    images = torch.nn.functional.avg_pool2d(torch.randn(400, 3, 18, 18), 3, 1)  # neighbours alike
    layer = build("record", 10, 3, (32, 32)).features[0]
    layer.init_from_images(images)
    outputs = layer(images) - layer.bias.view(1, -1, 1, 1)
    outputs = outputs.transpose(0, 1).flatten(1)  # [24,n]
    assert torch.allclose(outputs[:12], -outputs[12:], atol=1e-4)
    covariance = outputs[:12] @ outputs[:12].T / outputs.shape[1]
    assert torch.allclose(covariance, torch.eye(12), atol=0.05)
    assert not layer.weight.requires_grad


def test_an_image_too_small_for_the_stages_that_nobody_typed_is_named():
    with pytest.raises(BadArgument, match="image_size=1x9: is too small .* take at least 4x4"):
        build("cnn", 10, 1, (1, 9))
    with pytest.raises(BadArgument, match="widths=.* has more stages than a 1x9 image"):
        build("cnn", 10, 1, (1, 9), {"widths": [8]})
    assert build("cnn", 10, 1, (4, 4))
