"""Parts of networks: cut out, joined to others, frozen; and the layer that gives the logits."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from convscope.errors import BadArgument, nearest
from convscope.models.parts import Classifier, Normalise

WHERE = "features, stem, stage:N or a layer's name"


def output_layer(model: nn.Module) -> tuple[str, nn.Module]:
    """The layer that gives the logits, and its name: the last linear one, or convolution.

    Raises BadArgument for a network that has neither.

    >>> output_layer(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    ('1', Linear(in_features=4, out_features=2, bias=True))
    """
    found: list[tuple[str, nn.Module]] = [
        one for one in model.named_modules() if isinstance(one[1], nn.Linear | nn.Conv2d)
    ]
    if not found:
        rule = "has no linear layer and no convolution"
        raise BadArgument("model", type(model).__name__, rule, "take a network that ends in one")
    return found[-1]


def backbone(model: Classifier) -> Classifier | None:
    """The network without its last linear layer, images [B,C,H,W] -> what that one gets, [B,F],
    over the same weights; None where a convolution gives the logits."""
    name, layer = output_layer(model)
    if not isinstance(layer, nn.Linear):
        return None
    shared = {id(t): t for t in [*model.parameters(), *model.buffers()]}
    twin = copy.deepcopy(model, shared)
    owner, _, attribute = name.rpartition(".")
    setattr(twin.get_submodule(owner), attribute, nn.Identity())
    return twin


def folded(network: nn.Module) -> nn.Module:
    """A copy, in evaluation mode, that computes the same but for rounding, each batch norm folded
    into the convolution before it in a sequence.

    >>> folded(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)))
    Sequential(
      (0): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1))
      (1): Identity()
    )
    """
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    twin = copy.deepcopy(network).eval()
    for sequence in [one for one in twin.modules() if type(one) is nn.Sequential]:
        for at, (first, second) in enumerate(pairwise(sequence)):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                sequence[at] = fuse_conv_bn_eval(first, second)
                sequence[at + 1] = nn.Identity()
    return twin


def stages(model: Classifier, size: tuple[int, int]) -> list[int]:
    """Where each stage of ``features`` ends: how many of its layers there are up to the last one
    that gives maps of one size, for images of ``size`` (height, width).

    Raises BadArgument for a network whose features are no sequence.

    >>> from convscope.models import build
    >>> stages(build("cnn", 10, 1, (28, 28)), (28, 28))
    [2, 6, 8]
    """
    layers, found = _layers(model), list[int]()
    mean, before = model.normalise.mean, None
    x = torch.zeros(1, mean.shape[1], *size, device=mean.device)
    with torch.no_grad():
        for at, layer in enumerate(copy.deepcopy(layers).eval()):
            x = layer(x)
            if before is not None and x.shape[2:] == before:
                found.pop()
            found.append(at + 1)
            before = x.shape[2:]
    return found


def _layers(model: Classifier) -> nn.Sequential:
    if not isinstance(model.features, nn.Sequential):
        kind = "none" if model.features is None else type(model.features).__name__
        rule = "needs a network whose `features` are a sequence of layers, and this one has "
        raise BadArgument("where", "stem, stage:N", rule + kind, "take features, or a layer's name")
    return model.features


def _count(model: Classifier, where: str, size: tuple[int, int]) -> int:
    """How many layers of ``features`` a stem or a stage goes up to. Raises BadArgument."""
    layers = _layers(model)
    if where == "stem":  # up to the second layer that has weights of more than one dimension
        heavy = [n for n, one in enumerate(layers) if any(p.ndim > 1 for p in one.parameters())]
        return heavy[1] if len(heavy) > 1 else len(layers)
    ends, wanted = stages(model, size), int(where.removeprefix("stage:"))
    if not 1 <= wanted <= len(ends):
        rule = f"is not there: the network has stages 1 to {len(ends)}"
        raise BadArgument("where", where, rule, f"try stage:{len(ends)}")
    return ends[wanted - 1]


def is_place(where: str) -> bool:
    """Whether this is how a part from the beginning of a network is called.

    >>> is_place("stage:2"), is_place("features"), is_place("layer3")
    (True, True, False)
    """
    return where in ("features", "stem") or re.fullmatch(r"stage:[1-9]\d*", where) is not None


def _size_of(model: Any, size: tuple[int, int] | None) -> tuple[int, int]:
    height, width = size or getattr(model, "size", None) or (224, 224)
    return height, width


def cut(model: Any, where: str = "features", size: tuple[int, int] | None = None) -> nn.Module:
    """A part of a network, over copies of its weights. ``features``, ``stem`` and ``stage:N`` are
    its beginning, images float 0..1 [B,C,H,W] -> maps [B,F,h,w], with its normalisation; a stage
    is what gives maps of one size. A layer's name is that layer alone.

    ``model`` is a network or what :func:`convscope.load` gives; ``size`` (height, width) of its
    images, where they are not known, matters for stages alone. Raises BadArgument for a part that
    is not there.

    >>> from convscope.models import build
    >>> part = cut(build("cnn", 10, 1, (28, 28)), "features")
    >>> part(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 32, 7, 7])
    """
    network = getattr(model, "network", model)
    if not is_place(where):
        named = dict(network.named_modules())
        if where not in named or not where:
            raise BadArgument(
                "where", where, f"must be {WHERE}", nearest(where, filter(None, named))
            )
        layer: nn.Module = copy.deepcopy(named[where])
        return layer
    if not isinstance(network, Classifier) or network.features is None:
        rule = "needs a network with `features`, and this one has none"
        raise BadArgument("where", where, rule, f"name a layer of {type(network).__name__}")
    features: nn.Module = network.features
    if where != "features":
        layers = _layers(network)
        features = layers[: _count(network, where, _size_of(model, size))]
    return copy.deepcopy(nn.Sequential(network.normalise, features))


def join(
    *parts: nn.Module, classes: int, size: tuple[int, int, int], freeze: Sequence[int] = ()
) -> Classifier:
    """A network of parts, one after another, and a new head: global average pooling of maps, then
    a linear layer to ``classes``. ``size`` (channels, height, width) is that of the images, by
    which the shapes are checked; the parts whose positions, from 0, are in ``freeze`` stay as they
    are.

    What a first part has of normalisation is the network's. Raises BadArgument where a part cannot
    take what the one before it gives, naming both shapes.

    >>> from convscope.models import build
    >>> trunk = cut(build("cnn", 10, 1, (28, 28)), "stem")
    >>> join(trunk, nn.Conv2d(16, 8, 3), classes=3, size=(1, 28, 28)).head[2]
    Linear(in_features=8, out_features=3, bias=True)
    """
    if not parts:
        raise BadArgument("parts", "none", "must be one module or more", "join(cut(model), ...)")
    layers = [copy.deepcopy(part) for part in parts]
    for at in freeze:
        _still(layers[at])
    first = next(layers[0].children(), None)
    if isinstance(first, Normalise) and first.mean.shape[1] != size[0]:  # which would broadcast
        rule = f"takes images of {first.mean.shape[1]} channels, and these have {size[0]}"
        raise BadArgument("parts", "part 0", rule, "give size=(channels, height, width) of those")
    x = torch.zeros(2, *size)
    with torch.no_grad():
        for at, layer in enumerate(layers):
            try:
                y = layer.eval()(x)
            except Exception as why:  # a user's part may raise anything
                came = f"images {list(x.shape)}" if at == 0 else f"{list(x.shape)} of part {at - 1}"
                rule = f"cannot take the {came} ({str(why).splitlines()[0]})"
                remedy = "put a layer in between that makes its shape"
                raise BadArgument("parts", f"part {at}", rule, remedy) from None
            if not isinstance(y, Tensor) or y.ndim not in (2, 4):
                given = list(y.shape) if isinstance(y, Tensor) else type(y).__name__
                rule = f"gives {given}, where maps [B,F,h,w] or features [B,F] are needed"
                raise BadArgument("parts", f"part {at}", rule, "join other parts")
            x = y
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if x.ndim == 4 else []
    head = nn.Sequential(*pooled, nn.Linear(x.shape[1], classes))
    joined = Classifier(size[0], None, head)
    if isinstance(first, Normalise):
        joined.normalise, (_, layers[0]) = first, layers[0].children()
    joined.features = nn.Sequential(*layers)
    return joined.train()


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that stays in evaluation mode: its statistics are those that it came with."""

    def train(self, mode: bool = True) -> FrozenBatchNorm2d:
        super().train(False)
        return self


def keep_statistics(module: nn.Module) -> None:
    """Let every batch norm in a module stay in evaluation mode, in place."""
    for layer in module.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = FrozenBatchNorm2d
            layer.train(False)


def _still(module: nn.Module) -> None:
    module.requires_grad_(False)
    keep_statistics(module)


def freeze(model: Classifier, where: str, size: tuple[int, int]) -> None:
    """Freeze the beginning of a network for images of ``size`` (height, width), in place: no
    gradient reaches its weights, and its batch norms keep their statistics. ``features`` of a
    network that names none are all but its last layer. Raises BadArgument.

    >>> from convscope.models import build
    >>> model = build("cnn", 10, 1, (28, 28))
    >>> freeze(model, "features", (28, 28))
    >>> [name for name, p in model.named_parameters() if p.requires_grad]
    ['head.1.weight', 'head.1.bias']
    """
    for part in _beginning(model, where, size):
        _still(part)
    if where == "features" and model.features is None:
        _, layer = output_layer(model)
        _still(model.head)
        layer.requires_grad_(True)


def _beginning(model: Classifier, where: str, size: tuple[int, int]) -> Iterator[nn.Module]:
    if where == "features" and model.features is not None:
        yield model.features
    elif where not in ("none", "features"):
        yield from list(_layers(model))[: _count(model, where, size)]


def depths(model: nn.Module) -> dict[str, int]:
    """How many layers of ``features`` that have weights of more than one dimension begin after the
    one of each parameter, and the head: what a layer-wise rate goes by.

    >>> from convscope.models import build
    >>> found = depths(build("cnn", 10, 1, (28, 28)))
    >>> found["features.0.weight"], found["features.5.bias"], found["head.1.weight"]
    (2, 1, 0)
    """
    features = getattr(model, "features", None)
    tops = features if isinstance(features, nn.Sequential) else ()
    heavy = [any(p.ndim > 1 for p in layer.parameters()) for layer in tops]
    place = {f"features.{n}": 1 + sum(heavy[n + 1 :]) for n in range(len(heavy))}
    names = [name for name, _ in model.named_parameters()]
    return {name: place.get(".".join(name.split(".")[:2]), 0) for name in names}
