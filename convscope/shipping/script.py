"""A run as one plain PyTorch file: network, weights, prediction and training, without convscope.

What is written is read off the network itself: the layers it is made of, called with the arguments
they keep, the source of convscope's own blocks, and the shapes that a forward pass has. There is no
second description of any network that could come to differ from the first. A block that computes
nothing of its own, such as a frozen convolution, is written as the PyTorch layer that it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from convscope.errors import BadArgument
from convscope.evaluation.hooks import output_shapes
from convscope.models import is_own, store, tv
from convscope.models.parts import Classifier, Normalise
from convscope.run import RunFolder
from convscope.shipping.source import (
    FEW,
    WIDTH,
    Shapes,
    call_of,
    is_torchs,
    lines_of,
    plainest,
    said,
    shape_text,
    source_of,
)


def script(place: RunFolder, out: Path | None = None) -> str:
    """The file's text; its path to the weights is from ``out``, else from the working folder.

    Raises BadArgument for a run whose network is a user's own class, RunError for a damaged run.
    """
    info = place.read_model()
    name = info["architecture"]["name"]
    if is_own(name):
        file, _, kind = name.rpartition(":")
        raise BadArgument(
            "RUN",
            place.path,
            f"its network is the class {kind} of {file}, which is plain PyTorch already; only its "
            "author can say what else that file needs",
            f"import {kind} from there and load into it what {place.weights.name} has under "
            "`head.` (it takes images * (1 / 255), minus normalise.mean, over normalise.std)",
        )
    return _text(store.load(place), info, _path(place.weights, out))


def _path(weights: Path, out: Path | None) -> str:
    """The code that finds the weights."""
    folder = Path.cwd() if out is None else out.parent
    try:
        relative = Path(os.path.relpath(weights.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive
        return f"Path({_quoted(str(weights.resolve()))})"
    return ("Path({})" if out is None else "Path(__file__).parent / {}").format(_quoted(relative))


def _text(network: Classifier, info: Mapping[str, Any], weights: str) -> str:
    built = info["architecture"]
    channels, (height, width) = built["in_channels"], built["image_size"]
    size, classes = f"{channels},{height},{width}", len(info["classes"])
    given = output_shapes(network, (channels, height, width))
    shapes = {network.get_submodule(name): shape[1:] for name, shape in given.items()}
    shapes[network] = channels, height, width  # of what it takes
    body = "\n\n\n".join(source_of(kind) for kind in _blocks(network))
    made = list(_made(network, built, shapes))
    last = "x" if network.features is None else "self.features(x)"
    code = "\n".join(
        [
            *([body, "", ""] if body else []),
            "class Net(nn.Module):",
            f'    """Float 0..1 [B,{size}] -> logits [B,{classes}]."""',
            "",
            "    def __init__(self) -> None:",
            "        super().__init__()",
            "        self.normalise = nn.Module()  # of the pixels, kept with the weights",
            f'        self.normalise.register_buffer("mean", torch.zeros(1, {channels}, 1, 1))',
            f'        self.normalise.register_buffer("std", torch.ones(1, {channels}, 1, 1))',
            *made,
            *_frozen(network),
            "",
            "    def forward(self, x: Tensor) -> Tensor:",
            "        x = (x - self.normalise.mean) / self.normalise.std",
            f"        return self.head({last})  # [B,{classes}]",
        ]
    )
    fit = info["preprocessing"]["fit"]
    most = "min" if fit == "pad" else "max"
    uses = "from torchvision import models\n" if "models." in code else ""
    count = sum(p.numel() for p in network.parameters())
    return HEAD.format(
        title=f"{_plain(built['name'])} on {_plain(info['data']['name'])}: {count:,} parameters",
        uses=uses,
        weights=weights,
        classes=_listed(info["classes"]),
        temperature=float(info["temperature"]),
        code=code,
        size=size,
        channels=channels,
        height=height,
        width=width,
        mode="L" if channels == 1 else "RGB",
        most=most,
        fitted=_FITTED[fit].format(most=most),
        framed=_FRAMED[fit].format(channels=channels),
        k=classes,
        best=min(3, classes),
    )


HEAD = '''"""{title}; name an image to predict."""

import sys
from pathlib import Path

import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch import Tensor, nn
{uses}
WEIGHTS = {weights}
CLASSES = {classes}
TEMPERATURE = {temperature!r}  # divides the logits: makes probabilities honest


{code}


def load(path: Path = WEIGHTS) -> Net:
    (net := Net()).load_state_dict(load_file(path))
    return net.eval()


@torch.inference_mode()
def predict(net: Net, images: Tensor) -> Tensor:
    """uint8 [N,{size}] -> probabilities [N,{k}]."""
    return (net.eval()(images * (1 / 255)) / TEMPERATURE).softmax(1)


def train(net: Net, images: Tensor, labels: Tensor, epochs: int = 1, lr: float = 1e-3) -> None:
    optimizer = torch.optim.AdamW([p for p in net.train().parameters() if p.requires_grad], lr)
    for rows in torch.cat([torch.randperm(len(images)) for _ in range(epochs)]).split(100):
        loss = nn.functional.cross_entropy(net(images[rows] * (1 / 255)), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def read(path: str) -> Tensor:
    """An image file of 8 bits -> uint8 [{size}]: upright, on white, as the run was trained."""
    image, (width, height) = Image.open(path), ({width}, {height})
    sides = image.size[::-1] if image.getexif().get(274, 1) > 4 else image.size
    scale = {most}(width / sides[0], height / sides[1])
    for part in (8, 4, 2) if image.format in ("JPEG", "MPO") else ():  # halved while it is decoded
        if image.width % part == image.height % part == 0 and scale * part * 3 <= 1:
            image.draft(None, (image.width // part, image.height // part))
            break
    image = ImageOps.exif_transpose(image).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("{mode}")
{fitted}
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
{framed}

if __name__ == "__main__":
    p = predict(load(), read(*sys.argv[1:2] or sys.exit(__doc__))[None])[0]
    print(*(f"{{CLASSES[i]}}  {{p[i]:.1%}}" for i in p.topk({best}).indices), sep="\\n")
'''


_SCALE = """\
    scale = {most}(width / image.width, height / image.height)
"""
_RESIZE = "    image = image.resize({to}, Image.Resampling.BILINEAR)"
_FITTED = {  # as convscope.data.resize brings an image to a size
    "pad": _SCALE
    + "    inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))\n"
    + _RESIZE.format(to="inner"),
    "crop": _SCALE
    + """\
    w, h = max(1, round(width / scale)), max(1, round(height / scale))
    left, top = (image.width - w) // 2, (image.height - h) // 2
    image = image.crop((left, top, left + w, top + h))
"""
    + _RESIZE.format(to="(width, height)"),
    "stretch": _RESIZE.format(to="(width, height)"),
}
_PLANES = "pixels.view(image.height, image.width, {channels}).permute(2, 0, 1)"
_FRAMED = {
    "pad": f"""\
    x = {_PLANES}
    edge = torch.cat([x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]], 1).double().quantile(0.5, 1)
    canvas = edge.round().to(torch.uint8)[:, None, None].repeat(1, height, width)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas[:, top : top + inner[1], left : left + inner[0]] = x
    return canvas
""",
    "crop": f"    return {_PLANES}\n",
    "stretch": f"    return {_PLANES}\n",
}


def _plain(name: str) -> str:
    """A name that is safe within a docstring, and no longer than there is room for."""
    return re.sub(r"[^\w .:/+-]", "_", name[:22], flags=re.ASCII)


def _quoted(text: str) -> str:
    """A string as code, in double quotes where it holds none."""
    code = repr(text)
    return f'"{code[1:-1]}"' if code[0] == "'" and '"' not in text else code


def _listed(names: list[str]) -> str:
    """A tuple of strings, broken into lines where one is too short."""
    items = [f"{_quoted(str(name))}," for name in names]
    one = f"({' '.join(items)[: None if len(items) == 1 else -1]})"
    if len(one) <= WIDTH - len("CLASSES = "):
        return one
    lines = [""]
    for item in items:
        if lines[-1] and len(lines[-1]) + 1 + len(item) > WIDTH - 4:
            lines.append("")
        lines[-1] = f"{lines[-1]} {item}".strip()
    return "(\n" + "".join(f"    {line}\n" for line in lines) + ")  # fmt: skip"


def _blocks(network: Classifier) -> list[type]:
    """convscope's own layers that a network is made of, but for the first, which is written out."""
    kinds = dict.fromkeys(plainest(type(m)) for m in network.modules() if m is not network)
    return [kind for kind in kinds if kind is not Normalise and not is_torchs(kind)]


def _frozen(network: Classifier) -> Iterator[str]:
    """The lines that keep weights from being trained, each below what its layer is."""
    places: dict[tuple[str, type, str], list[str]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            layer, _, weight = name.rpartition(".")
            part, _, place = layer.partition(".")
            kind = type(network.get_submodule(layer))
            places.setdefault((part, kind, weight), []).append(place)
    for (part, kind, weight), found in places.items():
        if not is_torchs(kind):
            yield from (f"        # {line}" for line in said(kind).splitlines())
        at, space = found[0], "        "
        if len(found) > 1:
            at, space = "i", "            "
            yield f"        for i in ({', '.join(found)}):"
        yield f"{space}self.{part}[{at}].{weight}.requires_grad = False"


def _made(network: Classifier, built: Mapping[str, Any], shapes: Shapes) -> Iterator[str]:
    """The lines that make ``features`` and ``head``."""
    if built["name"].startswith(tv.PREFIX):
        yield from _torchvisions(built)
        return
    before = shapes[network]
    for place in ("features", "head"):
        part = getattr(network, place)
        if part is None:
            continue
        one = f"        self.{place} = {call_of(part).text}"
        comment = f"# {', '.join(dict.fromkeys(shape_text(shapes[layer]) for layer in part))}"
        above = len(one) + 2 + len(comment) > WIDTH
        if len(part) <= FEW and not above:
            yield f"{one}  {comment}"
        elif len(part) <= FEW and place == "head" and len(one) <= WIDTH:
            yield from (f"        {comment}", one)
        else:
            yield f"        self.{place} = nn.Sequential("
            yield from lines_of(part, 12, before, shapes)
            yield "        )"
        before = shapes[part]


def _torchvisions(built: Mapping[str, Any]) -> Iterator[str]:
    """The call of torchvision, and what is put in place of what."""
    bare = built["name"].removeprefix(tv.PREFIX)
    size = (built["image_size"][0], built["image_size"][1])
    _, plan = tv.make(bare, built["num_classes"], built["in_channels"], size, **built["arguments"])
    given = ", ".join(f"{key}={value!r}" for key, value in plan.arguments.items())
    yield f"        self.head = models.{bare}({given})"
    for place, value in plan.changes.items():
        path = re.sub(r"\.(\d+)", r"[\1]", f".{place}")
        code = call_of(value).text if isinstance(value, nn.Module) else repr(value)
        yield f"        self.head{path} = {code}"
