"""A run as one plain PyTorch file: network, weights, prediction and training, without convscope.

What is written is read off the network itself: the layers it is made of, called with the arguments
they keep, the source of convscope's own blocks, and the shapes that a forward pass has. There is no
second description of any network that could come to differ from the first. A block that computes
nothing of its own, such as a frozen convolution, is written as the PyTorch layer that it is.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import os
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convscope.errors import BadArgument
from convscope.models import is_own, store, tv
from convscope.models.parts import Classifier, Normalise
from convscope.run import RunFolder

WIDTH = 100  # columns
HIDDEN = ("inplace", "device", "dtype")  # arguments that change no value
FEW = 3  # so many layers alike, one after another, are a loop; so many at most stand on one line


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
    shapes = _shapes(network, (channels, height, width))
    body = "\n\n\n".join(_source(kind) for kind in _blocks(network))
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
        fitted=_FITTED[info["preprocessing"]["fit"]].format(size=(width, height)),
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


if __name__ == "__main__":
    image = ImageOps.exif_transpose(Image.open(*sys.argv[1:2] or sys.exit(__doc__))).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("{mode}")
    image = {fitted}
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    p = predict(load(), pixels.view(1, {height}, {width}, {channels}).permute(0, 3, 1, 2))[0]
    print(*(f"{{CLASSES[i]}}  {{p[i]:.1%}}" for i in p.topk({best}).indices), sep="\\n")
'''


_FITTED = {  # as convscope.data.resize brings an image to a size
    "pad": "ImageOps.pad(image, {size}, Image.Resampling.BILINEAR, image.getpixel((0, 0)))",
    "crop": "ImageOps.fit(image, {size}, Image.Resampling.BILINEAR)",
    "stretch": "image.resize({size}, Image.Resampling.BILINEAR)",
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


def _shapes(network: nn.Module, shape: tuple[int, int, int]) -> dict[nn.Module, tuple[int, ...]]:
    """What each part of a network in evaluation mode gives for one image."""
    found: dict[nn.Module, tuple[int, ...]] = {}

    def note(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            found[module] = tuple(output.shape[1:])

    hooks = [module.register_forward_hook(note) for module in network.modules()]
    try:
        with torch.inference_mode():
            network(torch.zeros(1, *shape))
    finally:
        for hook in hooks:
            hook.remove()
    found[network] = shape
    return found


def _shape(shape: tuple[int, ...]) -> str:
    return f"[B,{','.join(map(str, shape))}]"


def _blocks(network: Classifier) -> list[type]:
    """convscope's own layers that a network is made of, but for the first, which is written out."""
    kinds = dict.fromkeys(_plainest(type(m)) for m in network.modules() if m is not network)
    return [kind for kind in kinds if kind is not Normalise and not _is_torchs(kind)]


def _is_torchs(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in ("torch", "torchvision")


def _plainest(kind: type) -> type:
    """The class that computes what this one does: the first of its line with a ``forward``."""
    return next(k for k in kind.__mro__ if _is_torchs(k) or "forward" in vars(k))


def _said(kind: type) -> str:
    """The first paragraph of a block's docstring."""
    return inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0]


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
        if not _is_torchs(kind):
            yield from (f"        # {line}" for line in _said(kind).splitlines())
        at, space = found[0], "        "
        if len(found) > 1:
            at, space = "i", "            "
            yield f"        for i in ({', '.join(found)}):"
        yield f"{space}self.{part}[{at}].{weight}.requires_grad = False"


def _source(kind: type) -> str:
    """The source of a block: what it is, how it is made, what it computes."""
    text = inspect.getsource(kind)
    (tree,) = ast.parse(text).body
    assert isinstance(tree, ast.ClassDef)
    lines = text.splitlines()
    kept = [lines[0], f'    """{textwrap.indent(_said(kind), "    ").strip()}"""']
    methods = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    for node in methods:
        if node.name in ("__init__", "forward"):
            unused = {n for part in node.body if _is_unused(part, methods) for n in _lines(part)}
            rows = [n for n in _lines(node) if n not in unused]
            kept += ["", *(lines[n - 1] for n in rows)]
    return "\n".join(kept)


def _lines(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _is_unused(part: ast.stmt, methods: list[ast.FunctionDef]) -> bool:
    """Whether a statement keeps arguments under names that nothing in the block reads."""
    if not isinstance(part, ast.Assign):
        return False
    value = part.value.elts if isinstance(part.value, ast.Tuple) else [part.value]
    read = {
        node.attr
        for method in methods
        for node in ast.walk(method)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    names = {n.attr for n in ast.walk(part.targets[0]) if isinstance(n, ast.Attribute)}
    return all(isinstance(v, ast.Name) for v in value) and not names & read


def _made(
    network: Classifier, built: Mapping[str, Any], shapes: Mapping[nn.Module, tuple[int, ...]]
) -> Iterator[str]:
    """The lines that make ``features`` and ``head``."""
    if built["name"].startswith(tv.PREFIX):
        yield from _torchvisions(built)
        return
    before = shapes[network]
    for place in ("features", "head"):
        part = getattr(network, place)
        if part is None:
            continue
        one = f"        self.{place} = {_call(part).text}"
        comment = f"# {', '.join(dict.fromkeys(_shape(shapes[layer]) for layer in part))}"
        above = len(one) + 2 + len(comment) > WIDTH
        if len(part) <= FEW and not above:
            yield f"{one}  {comment}"
        elif len(part) <= FEW and place == "head" and len(one) <= WIDTH:
            yield from (f"        {comment}", one)
        else:
            yield f"        self.{place} = nn.Sequential("
            yield from _layers(part, 12, before, shapes)
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
        code = _call(value).text if isinstance(value, nn.Module) else repr(value)
        yield f"        self.head{path} = {code}"


@dataclass(frozen=True)
class _Call:
    """A call that makes a layer: its arguments by position ('0', '1', ...) or by name."""

    name: str
    arguments: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The call as code."""
        return f"{self.name}({', '.join(self.words())})"

    def words(self, step: _Call | None = None) -> list[str]:
        """Each argument as code; with ``step``, the next call of a loop over i, as it runs."""
        words = []
        for key, value in self.arguments.items():
            word = value.text if isinstance(value, _Call) else repr(value)
            if step is not None and step.arguments[key] != value:
                word = f"{value} + {step.arguments[key] - value} * i"
            words.append(word if key.isdigit() else f"{key}={word}")
        return words


def _call(module: nn.Module) -> _Call:
    """The call that makes a layer as it is; every layer keeps its arguments under their names."""
    kind = _plainest(type(module))
    name = f"nn.{kind.__name__}" if _is_torchs(kind) else kind.__name__
    if kind is nn.Sequential:
        assert isinstance(module, nn.Sequential)
        return _Call(name, {str(i): _call(child) for i, child in enumerate(module)})
    arguments: dict[str, Any] = {}
    for i, (key, parameter) in enumerate(inspect.signature(kind).parameters.items()):
        if key in HIDDEN or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        value = getattr(module, key)
        if key == "bias":
            value = value is not None
        if isinstance(value, tuple) and len(set(value)) == 1:
            value = value[0]
        if isinstance(value, nn.Module):
            arguments[str(i)] = _call(value)
        elif parameter.default is parameter.empty or key == "p":
            arguments[str(i)] = value
        elif value != parameter.default and not (key == "stride" and _pools(module, value)):
            arguments[key] = value
    return _Call(name, arguments)


def _pools(module: nn.Module, stride: Any) -> bool:
    """Whether it is a pool whose stride is its window, as without one."""
    window = getattr(module, "kernel_size", None)
    return isinstance(module, nn.MaxPool2d | nn.AvgPool2d) and stride in (window, (window, window))


def _layers(
    sequence: nn.Sequential,
    indent: int,
    before: tuple[int, ...],
    shapes: Mapping[nn.Module, tuple[int, ...]],
) -> Iterator[str]:
    """A line a layer, its shape where it changes; layers alike, one after another, as a loop."""
    layers = list(sequence)
    at = 0
    while at < len(layers):
        calls = [_call(layer) for layer in layers[at:]]
        alike = _run(calls)
        count = alike if alike >= FEW else 1
        after = shapes[layers[at + count - 1]]
        comment = f"  # {_shape(after)}" if after != before else ""
        if count > 1:
            words = calls[0].words(calls[1])
            i = "i" if words != calls[0].words() else "_"
            code = f"*[{calls[0].name}({', '.join(words)}) for {i} in range({count})],"
            yield " " * indent + code + comment
        else:
            yield from _broken(layers[at], indent, comment, before, shapes)
        at, before = at + count, after


def _run(calls: list[_Call]) -> int:
    """How many calls from the first on differ by the same step in each whole number, and in nothing
    else."""
    count = 1
    for one, two in itertools.pairwise(calls):
        first, second = calls[0].arguments, calls[1].arguments
        if one.name != two.name or list(one.arguments) != list(two.arguments):
            break
        for key, value in two.arguments.items():
            last = one.arguments[key]
            steps = type(value) is int and type(last) is int
            wanted = second[key] - first[key] if steps else 0
            if (value - last != wanted) if steps else (value != last):
                return count
        count += 1
    return count


def _broken(
    layer: nn.Module,
    indent: int,
    comment: str,
    before: tuple[int, ...],
    shapes: Mapping[nn.Module, tuple[int, ...]],
) -> Iterator[str]:
    """A layer on one line, or its parts on lines of their own where one is too short."""
    call, space = _call(layer), " " * indent
    line = f"{space}{call.text},{comment}"
    inner = [value for value in call.arguments.values() if isinstance(value, _Call)]
    if len(line) <= WIDTH or not inner:
        yield line
        return
    yield f"{space}{call.name}("
    if isinstance(layer, nn.Sequential):
        yield from _layers(layer, indent + 4, before, shapes)
    else:
        for child in layer.children():
            yield from _broken(child, indent + 4, "", before, shapes)
    yield f"{space}),{comment}"
