"""Whole batches of training images, changed as a recipe says: pure functions of a generator.

Images are uint8, or float from 0 to 1, [B,C,H,W], on any device; what comes out has the same shape
and type, in rows (contiguous), and what goes in is left as it is. Random numbers are drawn on the
CPU wherever the images are, so that a seed means the same everywhere. :func:`augment` does what a
recipe asks for in this order: flip or alternating flip, shift, warp (crop, then scale, shear and
rotate; :mod:`convscope.data.warp`), colour (brightness, contrast and saturation, then hue),
randaugment or trivialaugment, cutout, erase, mixup or cutmix. :func:`draw` makes its beginning a
part of copying a batch from its source. What is off draws no random numbers, so switching it on
changes what those after it draw. The number of threads changes nothing.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from convscope.data.colour import colour
from convscope.data.draws import Draws
from convscope.data.flip_shift_cutout import cutout, drawn
from convscope.data.mixing import erase, mixed
from convscope.data.randaugment import randaugment, trivialaugment
from convscope.data.warp import warp
from convscope.errors import BadArgument
from convscope.recipe import Augment


def augment(
    images: Tensor,
    targets: tuple[Tensor, ...],
    spec: Augment,
    generator: Draws,
    *,
    indices: Tensor | None = None,
    epoch: int = 0,
    classes: int | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A batch as the recipe wants it; the same tensors where everything is off.

    ``indices`` [B] are the images' places in their data set (else in the batch) and ``epoch`` the
    pass over it, both for the alternating flip. ``targets`` int64 [B] each become float
    [B,classes] with mixup and cutmix.

    >>> images, labels = torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    >>> generator = torch.Generator().manual_seed(0)
    >>> _, (mixed,) = augment(images, (labels,), Augment(mixup=0.2), generator, classes=10)
    >>> mixed.shape, mixed.sum(1).tolist()
    (torch.Size([4, 10]), [1.0, 1.0, 1.0, 1.0])
    """
    early = _early(spec)
    if spec.shift or spec.flip or spec.alternating_flip or early:
        each = torch.arange(len(images))
        places = each if indices is None else indices
        images = drawn(images, each, places, spec, generator, epoch, early)
    if spec.crop or spec.rotate or spec.scale or spec.shear:
        images = warp(images, spec, generator)
    if spec.brightness or spec.contrast or spec.saturation or spec.hue:
        images = colour(images, spec, generator)
    if spec.randaugment:
        images = randaugment(images, spec.randaugment, spec.magnitude, generator, spec.padding)
    if spec.trivialaugment:
        images = trivialaugment(images, generator, spec.padding)
    if spec.cutout and not early:
        images = cutout(images, spec.cutout, generator)
    if spec.erase:
        images = erase(images, spec.erase, generator)
    if spec.mixup or spec.cutmix:
        images, targets = mixed(images, targets, spec, generator, classes)
    return images, targets


def draw(source: Tensor, chosen: Tensor, spec: Augment, generator: Draws, epoch: int = 0) -> Tensor:
    """The images ``chosen`` [B] of ``source`` [N,C,H,W], mirrored, shifted and, if nothing comes in
    between, cut out, while they are copied: the beginning of what :func:`augment` would make of
    ``source[chosen]``, to the bit.

    ``chosen`` are also the indices of the alternating flip. ``source`` may be a memory map. What is
    left to do afterwards is ``augment(images, targets, rest(spec), generator, ...)``.

    >>> source = torch.arange(32, dtype=torch.uint8).view(2, 1, 4, 4)
    >>> generator = torch.Generator().manual_seed(0)
    >>> draw(source, torch.tensor([1, 0, 1]), Augment(shift=1, flip=True), generator).shape
    torch.Size([3, 1, 4, 4])
    """
    return drawn(source, chosen, chosen, spec, generator, epoch, _early(spec))


def rest(spec: Augment) -> Augment:
    """What a recipe leaves to do once :func:`draw` is done.

    >>> rest(Augment(shift=4, flip=True, cutout=8, mixup=1.0)) == Augment(mixup=1.0)
    True
    >>> rest(Augment(shift=4, flip=True, hue=0.1, cutout=8)) == Augment(hue=0.1, cutout=8)
    True
    """
    left = spec.cutout - _early(spec)
    return replace(spec, shift=0, flip=False, alternating_flip=False, cutout=left)


def _early(spec: Augment) -> int:
    """The pixels of a cutout that nothing comes before but shift and flip; else 0."""
    warped = spec.crop or spec.rotate or spec.scale or spec.shear
    coloured = spec.brightness or spec.contrast or spec.saturation or spec.hue
    drawn = spec.randaugment or spec.trivialaugment
    return 0 if warped or coloured or drawn else spec.cutout


def check(spec: Augment, image_size: tuple[int, int], channels: int | None = None) -> None:
    """Refuse what these images cannot bear, and what excludes each other. Raises BadArgument.

    >>> check(Augment(shift=2), (28, 28), channels=1)
    """
    smallest = min(image_size)
    for name, value in (("shift", spec.shift), ("cutout", spec.cutout)):
        if value >= smallest:
            raise BadArgument(
                name,
                value,
                f"must be smaller than the image, {image_size[0]}x{image_size[1]}",
                f"try {max(1, smallest // 8)}",
            )
    if spec.flip and spec.alternating_flip:
        raise BadArgument(
            "alternating_flip", True, "takes the place of flip", "leave one of them out"
        )
    if spec.randaugment and spec.trivialaugment:
        rule = "draws an image's operation, and so does randaugment"
        raise BadArgument("trivialaugment", True, rule, "leave one of them out")
    for name, share in (("saturation", spec.saturation), ("hue", spec.hue)):
        if share and channels == 1:
            raise BadArgument(name, share, "needs colour, and these images are grey", "try 0")
