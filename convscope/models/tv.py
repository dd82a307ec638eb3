"""torchvision's classifiers by name, ``tv:resnet50``, untrained; their stems fitted to small images
on request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from convscope.errors import BadArgument, nearest
from convscope.models.parts import Classifier
from convscope.uncompiled import uncompiled

PREFIX = "tv:"
AUXILIARY = ("googlenet", "inception_v3")  # have heads that are for training alone
PATCH = 4  # pixels; what a vision transformer fitted to small images takes as one token


@dataclass(frozen=True)
class Plan:
    """How ``torchvision.models.NAME`` is called, and what takes the place of what in it."""

    arguments: Mapping[str, Any]
    changes: Mapping[str, Any]


def _torchvision() -> Any:
    """Its networks."""
    with uncompiled():
        from torchvision import models
    return models


def names() -> list[str]:
    """The classifiers that torchvision has.

    >>> "resnet18" in names()
    True
    """
    models = _torchvision()
    found: list[str] = models.list_models(module=models)
    return found


def builder(name: str) -> Callable[..., Classifier]:
    """The builder of ``tv:NAME``. Raises BadArgument for a name that torchvision has not.

    >>> model = builder("tv:resnet18")(10, 3, (32, 32), small_stem=True)
    >>> sum(p.numel() for p in model.parameters())
    11173962
    """
    bare = name.removeprefix(PREFIX)
    if bare not in names():
        remedy = nearest(bare, names(), listed=False).replace("mean ", f"mean {PREFIX}")
        remedy += "torchvision.models.list_models() lists them"
        raise BadArgument("model", name, "is no classifier of torchvision", remedy)

    def torchvision(
        num_classes: int,
        in_channels: int,
        image_size: tuple[int, int],
        small_stem: bool = False,
    ) -> Classifier:
        """Any classifier of torchvision, untrained, without auxiliary heads.

        ``small_stem``: fit the stem to images of up to about 64 pixels: the first convolution
        becomes 3x3 at stride 1, and the max-pool after it goes.

        Its parts are torchvision's own, so that it names no feature maps.
        """
        network, _ = make(bare, num_classes, in_channels, image_size, small_stem)
        return Classifier(in_channels, None, network)

    return torchvision


@dataclass(frozen=True)
class Published:
    """What torchvision publishes of weights: their parameters, an auxiliary head's with them where
    they have one, multiply-adds in units of 10**9, and the size of the images, (C, H, W)."""

    parameters: int
    giga: float
    size: tuple[int, int, int]


def published(bare: str, size: tuple[int, ...] | None = None) -> Published | None:
    """The figures of the weights for images of a size, None where there are none; without a size
    those of the default weights.

    >>> published("resnet50")
    Published(parameters=25557032, giga=4.089, size=(3, 224, 224))
    """
    weights: Any = _torchvision().get_model_weights(bare)
    for one in [weights.DEFAULT] if size is None else weights:
        side: int = one.transforms.keywords["crop_size"]
        if size in (None, (3, side, side)):
            return Published(one.meta["num_params"], one.meta["_ops"], (3, side, side))
    return None


def auxiliary(bare: str) -> int:
    """The parameters of the heads that are for training alone, which :func:`make` leaves out.

    >>> auxiliary("inception_v3"), auxiliary("resnet18")
    (3326696, 0)
    """
    if bare not in AUXILIARY:
        return 0
    with uncompiled(), torch.device("meta"):
        network = _torchvision().get_model(bare, weights=None, init_weights=True, aux_logits=True)
    heads = [module for name, module in network.named_children() if name.lower().startswith("aux")]
    return sum(p.numel() for head in heads for p in head.parameters())


def make(
    bare: str,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    small_stem: bool = False,
) -> tuple[nn.Module, Plan]:
    """The network, and how it was made. Raises BadArgument where it cannot take such images."""
    arguments: dict[str, Any] = {"num_classes": num_classes}
    if bare in AUXILIARY:  # one output, in training too
        arguments |= {"aux_logits": False, "init_weights": True}
    if bare.startswith("vit_"):
        arguments["image_size"] = _side(bare, image_size, small_stem)
    if bare == "maxvit_t":
        arguments["input_size"] = image_size
    try:
        network: nn.Module = _torchvision().get_model(bare, weights=None, **arguments)
        changes = _changes(bare, network, in_channels, image_size, small_stem)
        for place, value in changes.items():
            owner, _, attribute = place.rpartition(".")
            setattr(network.get_submodule(owner), attribute, value)
        if next(network.parameters()).device.type != "meta":  # what has no weights is not tried
            training = network.training
            with torch.inference_mode():
                network.eval()(torch.zeros(2, in_channels, *image_size))
            network.train(training)
    except BadArgument:
        raise
    except (RuntimeError, ValueError, AssertionError) as why:
        rule = f"cannot take images of {image_size[0]}x{image_size[1]} pixels ({why})"
        keeps = small_stem or bare.startswith(("vgg", "maxvit"))
        remedy = "take larger images" + ("" if keeps else ", or small_stem=True (--small-stem)")
        raise BadArgument("model", PREFIX + bare, rule, remedy) from None
    return network, Plan(arguments, changes)


def _side(bare: str, image_size: tuple[int, int], small_stem: bool) -> int:
    """The side of the images of a vision transformer, which are cut into whole patches."""
    patch = PATCH if small_stem else int(bare.rpartition("_")[2])
    height, width = image_size
    if height != width or height % patch:
        rule = f"cuts square images into patches of {patch}x{patch}, and these are {height}x{width}"
        raise BadArgument("model", PREFIX + bare, rule, f"take a square size that {patch} divides")
    return height if not small_stem else height // patch * int(bare.rpartition("_")[2])


def _changes(
    bare: str,
    network: nn.Module,
    in_channels: int,
    image_size: tuple[int, int],
    small_stem: bool,
) -> dict[str, Any]:
    """Place in the network -> what is put there, for these channels and this stem."""
    place, stem = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
    if bare.startswith("vit_") and small_stem:
        return {
            "image_size": image_size[0],
            "patch_size": PATCH,
            place: nn.Conv2d(in_channels, stem.out_channels, PATCH, PATCH),
        }
    bias = stem.bias is not None
    if not small_stem:
        if stem.in_channels == in_channels:
            return {}
        kernel: Any = stem.kernel_size
        stride: Any = stem.stride
        padding: Any = stem.padding
        return {
            place: nn.Conv2d(in_channels, stem.out_channels, kernel, stride, padding, bias=bias)
        }
    if stem.stride == (1, 1):
        rule = f"is of no use: the stem of {PREFIX}{bare} keeps the size of the image already"
        raise BadArgument("small_stem", small_stem, rule, "leave it out")
    changes: dict[str, Any] = {
        place: nn.Conv2d(in_channels, stem.out_channels, 3, padding=1, bias=bias)
    }
    for pool, module in network.named_modules():
        if isinstance(module, nn.MaxPool2d):
            return {**changes, pool: nn.Identity()}
    return changes
