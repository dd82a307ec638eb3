"""A run as one plain file: over the whole registry, it predicts what the run predicts."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import convscope as cs
from convscope.data.columns import image_and_label
from convscope.data.decode import decode
from convscope.data.published import PUBLISHED
from convscope.errors import BadArgument
from convscope.models import MODELS, build, store
from convscope.run import RunFolder
from convscope.shipping.script import script

SMALLER = {
    "resnet18_small": {"width": 4},
    "preact_resnet": {"depth": 26, "width": 4},
    "densenet": {"depth": 40, "growth": 4},
    "wide_resnet": {"depth": 28, "width": 1},
}
LONG = "c2-8s2 [ bn relu c3-8 bn relu c3-8 bn relu c3-8 bn relu c3-8 ]+ mp3s2 gmp flatten bn fc"
CASES = [
    *((name, SMALLER.get(name, {})) for name in MODELS),
    ("layers", {"layers": LONG}),
    ("layers", {"layers": "flatten fc9 leaky [ elu fc9 ]+ drop0.25 fc"}),
    ("cnn", {"kernel_size": (4, 3), "widths": (5,)}),
    ("densenet", {"depth": 22, "growth": 3, "bottleneck": False}),
    ("densenet", {"depth": 10, "growth": 1}),
    ("preact_resnet", {"depth": 8, "width": 1}),
    ("preact_resnet", {"depth": 14, "width": 2}),
    ("wide_resnet", {"depth": 10, "width": 1}),
    ("record", {"widths": (4,)}),
    ("tv:squeezenet1_1", {}),
    ("tv:mobilenet_v3_small", {"small_stem": True}),
    *(
        pytest.param(f"tv:{name}", {"small_stem": True}, marks=pytest.mark.slow)
        for name in ("googlenet", "inception_v3", "densenet121", "convnext_tiny", "vit_b_16")
    ),
    *(pytest.param(name, {}, marks=pytest.mark.slow) for name in SMALLER),
]


RUFF = Path(sys.executable).with_name("ruff")
CLOTHES = PUBLISHED["fashion-mnist"].classes  # the longest names of ten: three lines of their own


def saved(folder: Path, name: str, arguments: dict, classes=CLOTHES, data="mnist"):
    """A run folder with a network whose every weight and statistic is its own."""
    channels, size = (3, (32, 32)) if name in ("cifar_cnn", "record") else (1, (28, 28))
    torch.manual_seed(3)
    model = build(name, len(classes), channels, size, arguments)
    model.normalise.set([0.3] * channels, [0.6] * channels)
    with torch.no_grad():
        model.train()(torch.rand(8, channels, *size))  # moves batch normalisation's statistics
    info = {
        "architecture": store.architecture(
            name, arguments, image_and_label((channels, *size), classes)
        ),
        "classes": list(classes),
        "preprocessing": {"channels": channels, "size": list(size), "fit": "pad"},
        "temperature": 1.7,
        "parameters": 1,
        "versions": {},
        "machine": {},
        "data": {"name": data, "fingerprint": ""},
        "created": "",
        "command": "",
    }
    folder.mkdir(exist_ok=True)
    store.save(RunFolder(folder), model, info)
    return model.eval(), torch.randint(0, 256, (5, channels, *size), dtype=torch.uint8)


def executed(text: str, file: Path) -> dict:
    space = {"__name__": "net", "__file__": str(file)}
    exec(compile(text, str(file), "exec"), space)
    return space


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_it_predicts_exactly_what_the_run_predicts(tmp_path, name, arguments):
    model, images = saved(tmp_path / "run", name, arguments)
    text = script(RunFolder(tmp_path / "run"), tmp_path / "net.py")
    net = executed(text, tmp_path / "net.py")
    loaded = net["load"]()
    assert list(loaded.state_dict()) == list(model.state_dict())
    with torch.inference_mode():
        logits = model(images / 255)
        assert torch.equal(loaded(images / 255), logits)
    found = net["predict"](loaded, images)
    torch.testing.assert_close(found, (logits / 1.7).softmax(1), rtol=1e-5, atol=1e-6)
    frozen = {key for key, p in model.named_parameters() if not p.requires_grad}
    assert {key for key, p in loaded.named_parameters() if not p.requires_grad} == frozen
    modules = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    allowed = {"sys", "pathlib", "PIL", "torch", "safetensors"} | (
        {"torchvision"} if name[:3] == "tv:" else set()
    )
    assert modules == allowed
    lines = text.splitlines()
    most = 160 if name.startswith("efficientnet") else 120
    assert max(map(len, lines)) <= 100 and len(lines) < most
    for order in (("format", "--check"), ("check", "--select=E,F,W")):
        words = [str(RUFF), *order, "--isolated", "--line-length=100", "--quiet", "-"]
        done = subprocess.run(words, input=text, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["mlp", "cifar_cnn"])
@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_an_image_is_prepared_as_the_run_prepares_it(tmp_path, name, fit):
    """To the bit, whatever its size, mode and way up, and where its decoder halves it."""
    _, images = saved(tmp_path / "run", name, {})
    info = json.loads((tmp_path / "run/model.json").read_text())
    info["preprocessing"]["fit"] = fit
    (tmp_path / "run/model.json").write_text(json.dumps(info))
    text = script(RunFolder(tmp_path / "run"), tmp_path / "net.py")
    read = executed(text, tmp_path / "net.py")["read"]
    channels, *size = images.shape[1:]
    random = np.random.default_rng(0)
    shapes = ((*size, 1), (*size, 6), (90, 45, 1), (91, 44, 1), (20, 40, 8), (3, 200, 1))
    shapes += ((400, 600, 1), (400, 600, 6), (401, 600, 1), (1600, 808, 3))  # halved as JPEG
    for mode, shape in (("L", ()), ("RGB", (3,)), ("RGBA", (4,)), ("LA", (2,))):
        for height, width, turned in shapes:
            pixels = random.integers(0, 256, (height // 10 + 1, width // 10 + 1, *shape), np.uint8)
            drawn = Image.fromarray(pixels).resize((width, height))
            drawn.getexif()[0x0112] = turned
            for kind in ("png", "jpg") if mode in ("L", "RGB") else ("png",):
                image = tmp_path / f"image.{kind}"
                drawn.save(image, exif=drawn.getexif())
                expected = decode(image, channels=channels, size=tuple(size), fit=fit)
                found = read(str(image))
                assert np.array_equal(found, expected), (mode, kind, height, width, turned)


def test_shapes_stand_where_they_change(tmp_path):
    saved(tmp_path / "run", "cnn", {})
    lines = [line.strip() for line in script(RunFolder(tmp_path / "run")).splitlines()]
    for line in (
        "nn.Conv2d(1, 16, 5, padding=2),  # [B,16,28,28]",
        "nn.BatchNorm2d(16),",
        "nn.MaxPool2d(2),  # [B,16,14,14]",
        "self.head = nn.Sequential(nn.Flatten(), nn.Linear(1568, 10))  # [B,1568], [B,10]",
    ):
        assert line in lines


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("resnet18_small", {"width": 4}), ("record", {"widths": (4, 8)}), ("densenet", {"depth": 10})],
)
def test_every_shape_is_that_of_its_line(tmp_path, name, arguments):
    model, images = saved(tmp_path / "run", name, arguments)
    text = script(RunFolder(tmp_path / "run"), tmp_path / "net.py")
    between = text.partition("self.features = nn.Sequential(\n")[2].partition("\n        )\n")[0]
    lines, shape = between.splitlines(), f"[B,{','.join(map(str, images.shape[1:]))}]"
    x = images / 255
    assert len(lines) == len(model.features) > 8
    for line, layer in zip(lines, model.features, strict=True):
        x = layer(x)
        before, shape = shape, f"[B,{','.join(map(str, x.shape[1:]))}]"
        assert line.partition("  # ")[2] == (shape if shape != before else ""), line


def test_a_frozen_layer_is_pytorchs_own_and_says_what_it_is(tmp_path):
    saved(tmp_path / "run", "record", {"widths": (4, 8)})
    text = script(RunFolder(tmp_path / "run"))
    assert "nn.Conv2d(3, 24, 2),  # [B,24,31,31]\n" in text and "Whitening" not in text
    assert "nn.BatchNorm2d(4, eps=1e-12, momentum=0.4),\n" in text and "BiasNorm" not in text
    assert (
        "        # A frozen 2x2 convolution to whitened patches, both signs: [B,C,H,W] -> "
        "[B,8C,H-1,W-1].\n        self.features[0].weight.requires_grad = False\n" in text
    )
    assert (
        "        for i in (4, 7, 11, 14):\n            self.features[i].weight.requires_g" in text
    )


def test_layers_alike_are_a_loop(tmp_path):
    saved(tmp_path / "run", "densenet40", {})
    text = script(RunFolder(tmp_path / "run"))
    assert "*[DenseLayer(16 + 12 * i, 12) for i in range(12)],  # [B,160,28,28]" in text
    saved(tmp_path / "two", "preact_resnet", {"depth": 26})
    text = script(RunFolder(tmp_path / "two"))
    assert "*[PreactBlock(16, 16) for _ in range(3)],\n" in text


def test_names_are_text_and_no_code(tmp_path):
    """Class names and data come from folders and files: whatever they hold stays a string."""
    names = ('"""', "it's", 'a"b', "back\\slash", "new\nline", "\u2028", "é") + ("long" * 9,) * 6
    saved(tmp_path / "run", "mlp", {"hidden": 2}, names, '"""\nraise SystemExit\n"""')
    text = script(RunFolder(tmp_path / "run"), tmp_path / "net.py")
    assert executed(text, tmp_path / "net.py")["CLASSES"] == names
    assert [line for line in text.split("\n") if len(line) > 100] == []


def test_a_single_class_is_a_tuple_too(tmp_path):
    saved(tmp_path / "run", "mlp", {"hidden": 2}, ("all",))
    assert executed(script(RunFolder(tmp_path / "run")), tmp_path)["CLASSES"] == ("all",)


def test_it_trains_on(tmp_path):
    saved(tmp_path / "run", "cnn", {"widths": (4, 4)})
    net = executed(script(RunFolder(tmp_path / "run"), tmp_path / "net.py"), tmp_path / "net.py")
    labels = torch.arange(300) % 10
    images = (torch.rand(300, 1, 28, 28) * 100).byte()
    images[torch.arange(300), 0, labels * 2] = 255  # a row a class
    model = net["load"]()
    before = net["predict"](model, images)[torch.arange(300), labels].log().mean()
    net["train"](model, images, labels, epochs=3, lr=0.01)
    assert net["predict"](model, images)[torch.arange(300), labels].log().mean() > before + 0.5


def test_a_run_is_written_and_runs_from_everywhere(bars, workplace):
    run = cs.train(
        *("mnist",),
        **{"model": "cnn", "widths": (4,), "epochs": 1, "batch_size": 60, "kernels": "plain"},
        **{"precision": "float32", "memory_format": "contiguous"},
    )
    (workplace / "code").mkdir()
    text = cs.script(run.path, "code/net.py")
    assert Path("code/net.py").read_text(encoding="utf-8") == text
    with pytest.raises(BadArgument, match=r"out=code/net.py: is there already; .*\(--force\)"):
        cs.script(run.path, "code/net.py")
    assert cs.script(run.path, "code/net.py", force=True) == text
    image = workplace / "bar.png"
    Image.fromarray(bars.splits["test"].images[0, 0]).save(image)
    command = [sys.executable, "-I", str(workplace / "code" / "net.py")]
    done, idle = (
        subprocess.run(words, capture_output=True, text=True, check=False, cwd="/")
        for words in ([*command, str(image)], command)
    )
    assert done.returncode == 0, done.stderr
    [guess] = cs.load(run.path).predict([image])
    assert done.stdout.splitlines() == [f"{label}  {p:.1%}" for label, p in guess.top]
    assert idle.returncode == 1 and idle.stderr.endswith("; name an image to predict.\n")
    net = executed(cs.script(run.path), Path("elsewhere.py"))  # its path is from here
    images = bars.splits["test"].images
    found = net["predict"](net["load"](), torch.from_numpy(np.array(images)))
    for row, guess in zip(found, cs.load(run.path).predict(images), strict=True):
        expected = dict(guess.top)
        assert [float(p) for p in row] == pytest.approx(
            [expected[c] for c in bars.classes], abs=1e-6
        )


def test_a_users_own_class_is_code_already(bars, workplace):
    code = "from torch import nn\nclass Net(nn.Sequential):\n    def __init__(self, num_classes):\n"
    code += "        super().__init__(nn.Flatten(), nn.LazyLinear(num_classes))"
    Path("mine.py").write_text(code)
    cs.train("mnist", model="mine.py:Net", epochs=1, out="a", kernels="plain")
    text = "RUN=a: its network is the class Net of mine.py, which is plain PyTorch already; .*"
    with pytest.raises(BadArgument, match=text + "; import Net from there and load into it"):
        cs.script("a", "net.py")
    assert not Path("net.py").exists()
