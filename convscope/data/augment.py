"""Whole batches of training images, changed as a recipe says: pure functions of a generator.

Images are uint8, or float from 0 to 1, [B,C,H,W], on the CPU; what comes out has the same shape and
type, in rows (contiguous), and what goes in is left as it is. :func:`augment` does what a recipe
asks for in this order: flip or alternating flip, shift, warp (crop, then scale, shear and rotate;
:mod:`convscope.data.warp`), colour (brightness, contrast and saturation, then hue), randaugment,
cutout, erase, mixup or cutmix. :func:`draw` makes the beginning of it a part of copying a batch
from its source. What is off draws no random numbers, so switching it on changes what those after it
draw. The number of threads changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial, reduce
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from convscope import kernels
from convscope.data.warp import as_before, sample, uniform, warp
from convscope.errors import BadArgument
from convscope.recipe import Augment

LUMA = (0.299, 0.587, 0.114)  # what red, green and blue weigh in grey (ITU-R BT.601, 2.5.1)


def augment(
    images: Tensor,
    targets: tuple[Tensor, ...],
    spec: Augment,
    generator: torch.Generator,
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
        images = _drawn(images, each, places, spec, generator, epoch, early)
    if spec.crop or spec.rotate or spec.scale or spec.shear:
        images = warp(images, spec, generator)
    if spec.brightness or spec.contrast or spec.saturation or spec.hue:
        images = colour(images, spec, generator)
    if spec.randaugment:
        images = randaugment(images, spec.randaugment, spec.magnitude, generator, spec.padding)
    if spec.cutout and not early:
        images = cutout(images, spec.cutout, generator)
    if spec.erase:
        images = erase(images, spec.erase, generator)
    if spec.mixup or spec.cutmix:
        images, targets = _mixed(images, targets, spec, generator, classes)
    return images, targets


def draw(
    source: Tensor, chosen: Tensor, spec: Augment, generator: torch.Generator, epoch: int = 0
) -> Tensor:
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
    return _drawn(source, chosen, chosen, spec, generator, epoch, _early(spec))


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
    return 0 if warped or coloured or spec.randaugment else spec.cutout


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
    for name, share in (("saturation", spec.saturation), ("hue", spec.hue)):
        if share and channels == 1:
            raise BadArgument(name, share, "needs colour, and these images are grey", "try 0")


def shift(
    images: Tensor, pixels: int, generator: torch.Generator, padding: str = "black"
) -> Tensor:
    """Each image moved by up to ``pixels`` each way, every place as likely; ``padding`` comes in at
    the edge: black, the outermost pixel (edge) or the mirror image about it (reflect).

    >>> row = torch.tensor([[[[1, 2, 3], [4, 5, 6]]]], dtype=torch.uint8)
    >>> shift(row, 1, torch.Generator().manual_seed(2), "edge").tolist()
    [[[[1, 1, 2], [1, 1, 2]]]]
    """
    each = torch.arange(len(images))
    return _drawn(images, each, each, Augment(shift=pixels, padding=padding), generator)


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image mirrored left to right, half of the time.

    >>> flip(torch.tensor([[[[1, 2, 3]]]]), torch.Generator().manual_seed(1)).tolist()
    [[[[3, 2, 1]]]]
    """
    each = torch.arange(len(images))
    return _drawn(images, each, each, Augment(flip=True), generator)


def alternating_flip(images: Tensor, indices: Tensor, epoch: int) -> Tensor:
    """Each image mirrored every other epoch, which of the two being a hash of its index [B]
    (Jordan 2024, arXiv 2404.00498, section 3.6).

    >>> image = torch.tensor([[[[1, 2, 3]]]])
    >>> [alternating_flip(image, torch.tensor([3]), epoch).tolist() for epoch in (0, 1)]
    [[[[[1, 2, 3]]]], [[[[3, 2, 1]]]]]
    """
    each, spec = torch.arange(len(images)), Augment(alternating_flip=True)
    return _drawn(images, each, indices, spec, torch.Generator(), epoch)


def cutout(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """A square of ``pixels`` blacked out in each image, its middle anywhere in it (DeVries & Taylor
    2017, arXiv 1708.04552, section 3.2).

    >>> images = torch.full((1, 1, 3, 3), 9, dtype=torch.uint8)
    >>> cutout(images, 2, torch.Generator().manual_seed(2)).tolist()
    [[[[9, 9, 9], [9, 0, 0], [9, 0, 0]]]]
    """
    each = torch.arange(len(images))
    return _drawn(images, each, each, Augment(), generator, cut=pixels)


def _drawn(
    source: Tensor,
    chosen: Tensor,
    indices: Tensor,
    spec: Augment,
    generator: torch.Generator,
    epoch: int = 0,
    cut: int = 0,
) -> Tensor:
    """``source[chosen]`` as a new tensor, mirrored, shifted and cut out.

    Bytes go through a compiled kernel. Elsewhere it is few passes over the pixels, in pieces as
    large as can be, with the same result to the bit: nothing is padded with black, but an image is
    copied from a little before its place in the source or after it, in one piece, and what came
    from another row, channel or image is blacked out together with the square of cutout, eight
    bytes at a time.
    """
    batch, (_, height, width), size = len(chosen), source.shape[1:], source.element_size()
    mirrored, offset = np.zeros(batch, np.int64), None
    if spec.flip:
        mirrored = torch.randint(2, (batch,), generator=generator).numpy()  # [B]
    if spec.alternating_flip:
        mirrored = mirrored ^ _phases(indices, epoch).numpy()
    place = middle = None
    if spec.shift:
        place = torch.randint((2 * spec.shift + 1) ** 2, (batch,), generator=generator)
    if cut:
        middle = torch.randint(height * width, (batch,), generator=generator)
    fits = source.dtype is torch.uint8 and source.is_contiguous() and kernels.available()
    if fits and (spec.shift or cut or mirrored.any()):
        return _compiled(source, chosen, mirrored, place, middle, spec, cut)
    black = spec.shift if spec.padding == "black" else 0
    if black and place is not None:
        offset = _offsets(black, width)[mirrored, place]
    images = _gathered(source, chosen, offset)
    if spec.flip or spec.alternating_flip:
        (which,) = mirrored.nonzero()
        rows = images.flatten(1)  # [B,C*H*W]: whole images are copied faster as one row
        turned = rows.index_select(0, torch.from_numpy(which)).view(-1, *images.shape[1:]).flip(3)
        rows.numpy()[which] = turned.flatten(1).numpy()
    if place is not None and not black:
        images = _padded(images, place.numpy(), spec.shift, spec.padding)
    masks = []
    if black and place is not None:
        masks.append(_frames(black, height, width, size).at(place))
    if middle is not None:
        masks.append(_holes(cut, height, width, size).at(middle))
    if masks:
        kept = reduce(torch.bitwise_and, masks)  # [B,words]
        images.flatten(2).view(kept.dtype).bitwise_and_(kept[:, None])
    return images


def _compiled(
    source: Tensor,
    chosen: Tensor,
    mirrored: NDArray[np.int64],
    place: Tensor | None,
    middle: Tensor | None,
    spec: Augment,
    cut: int,
) -> Tensor:
    """What :func:`_drawn` makes of what was drawn, uint8 images in one pass of a kernel."""
    batch, (channels, height, width) = len(chosen), source.shape[1:]
    if batch and not 0 <= int(chosen.min()) <= int(chosen.max()) < len(source):
        raise IndexError(f"images {chosen.tolist()} of {len(source)}")
    plan = np.zeros((batch, 6), np.int64)
    plan[:, 0], plan[:, 1] = chosen.numpy(), mirrored
    if place is not None:
        plan[:, 2], plan[:, 3] = np.divmod(place.numpy(), 2 * spec.shift + 1)
        plan[:, 2:4] -= spec.shift
    if middle is not None:  # the last pixel first
        row, column = np.divmod(middle.numpy(), width)
        plan[:, 4], plan[:, 5] = height - 1 - row - cut // 2, width - 1 - column - cut // 2
    images = torch.empty(batch, channels, height, width, dtype=torch.uint8)
    edge = {"black": kernels.BLACK, "edge": kernels.EDGE, "reflect": kernels.REFLECT}[spec.padding]
    sizes = batch, channels, height, width, spec.shift, edge, cut
    kernels.gather(source, images, torch.from_numpy(plan), *sizes)
    return images


def _phases(indices: Tensor, epoch: int) -> Tensor:
    """0 or 1 for each index [B]: half of either, scattered, and the other one in the next epoch."""
    for factor in (-0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15):  # odd; products wrap at 64 bits
        indices = (indices ^ (indices >> 29)) * factor
    return (indices >> 40) + epoch & 1


@lru_cache(maxsize=8)
def _offsets(pixels: int, width: int) -> NDArray[np.int64]:
    """How many pixels after an image's first one its first one is at each place of a shift,
    [2,(2p+1)**2]; in the second row, for images that are mirrored afterwards."""
    down, right = np.indices((2 * pixels + 1, 2 * pixels + 1)).reshape(2, -1) - pixels
    return np.stack([down * width + right, down * width - right])


def _gathered(source: Tensor, chosen: Tensor, offset: NDArray[np.int64] | None) -> Tensor:
    """``source[chosen]`` in rows, each image read from ``offset`` [B] pixels past its start on."""
    if offset is None:
        return source.index_select(0, chosen)
    size = math.prod(source.shape[1:])
    start = chosen.numpy() * size + offset
    last = source.numel() - size
    if not source.is_contiguous() or start.min() < 0 or start.max() > last:
        roomy = source.new_empty(len(chosen) + 2, *source.shape[1:])
        roomy[1:-1] = source.index_select(0, chosen)
        source, start = roomy, np.arange(1, len(chosen) + 1) * size + offset
    windows = source.as_strided((source.numel() - size + 1, size), (1, 1))
    return windows.index_select(0, torch.from_numpy(start)).view(-1, *source.shape[1:])


def _padded(images: Tensor, place: NDArray[np.int64], pixels: int, padding: str) -> Tensor:
    """Images in rows, each padded and cut back to size at its ``place`` [B]."""
    mode = {"edge": "replicate", "reflect": "reflect"}[padding]
    padded = functional.pad(images, (pixels,) * 4, mode=mode)  # [B,C,H+2p,W+2p]
    down, right = np.divmod(place, 2 * pixels + 1)
    start = np.arange(len(images)) * padded[0].numel() + down * padded.shape[3] + right
    return _windows(padded, tuple(images.shape[1:])).index_select(0, torch.from_numpy(start))


def _windows(canvas: Tensor, shape: tuple[int, ...]) -> Tensor:
    """All pieces of ``shape`` of a contiguous canvas, one from each element on: a view
    [n,*shape]."""
    strides = canvas.stride()[-len(shape) :]
    reach = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    return canvas.as_strided((canvas.numel() - reach, *shape), (1, *strides))


class _Masks(NamedTuple):
    """Windows [n,H,W] on a canvas of pixels to keep (all bits 1) and others (all 0); of each
    ``pitch`` windows the first ``columns`` count."""

    windows: Tensor
    columns: int
    pitch: int

    def at(self, place: Tensor) -> Tensor:
        """The masks [B,words] that stand at ``place`` [B] among those that count, in words of eight
        bytes if their size allows it."""
        if self.pitch > self.columns:
            place = place // self.columns * self.pitch + place % self.columns
        kept = self.windows.index_select(0, place).flatten(1)  # [B,H*W]
        whole = kept.shape[1] * kept.element_size() % 8 == 0
        return kept.view(torch.int64) if whole else kept


WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by their bytes


@lru_cache(maxsize=8)
def _frames(pixels: int, height: int, width: int, size: int) -> _Masks:
    """What a shift by up to ``pixels`` leaves of an image in sight; ``size`` is a pixel's bytes."""
    inside = torch.full((height, width), -1, dtype=WHOLE[size])
    return _masks(functional.pad(inside, (pixels,) * 4), height, width)


@lru_cache(maxsize=8)
def _holes(pixels: int, height: int, width: int, size: int) -> _Masks:
    """All but a square of ``pixels``, its middle at each pixel in turn, the last pixel first."""
    around = torch.full((2 * height - 1, 2 * width - 1), -1, dtype=WHOLE[size])
    top, left = height - 1 - pixels // 2, width - 1 - pixels // 2
    around[max(top, 0) : top + pixels, max(left, 0) : left + pixels] = 0
    return _masks(around, height, width)


def _masks(canvas: Tensor, height: int, width: int) -> _Masks:
    """All windows on a canvas; written out, five times as fast to read, if that is 4 MB or less."""
    rows, columns = canvas.shape[0] - height + 1, canvas.shape[1] - width + 1
    windows = _windows(canvas, (height, width))
    if rows * columns * height * width * canvas.element_size() > 1 << 22:
        return _Masks(windows, columns, canvas.shape[1])
    start = torch.arange(rows)[:, None] * canvas.shape[1] + torch.arange(columns)
    return _Masks(windows.index_select(0, start.flatten()), columns, columns)


def colour(images: Tensor, spec: Augment, generator: torch.Generator) -> Tensor:
    """Each image brighter or darker, with more or less contrast, more or less colourful, each by a
    factor of its own between 1 - v and 1 + v; then its hues turned by up to +-v of the circle.

    >>> grey = torch.full((1, 3, 2, 2), 100, dtype=torch.uint8)
    >>> spec = Augment(contrast=0.5, saturation=0.5, hue=0.5)
    >>> torch.equal(colour(grey, spec, torch.Generator().manual_seed(0)), grey)
    True
    """
    batch = len(images)
    brightness, contrast, saturation = (
        uniform(1 - v, 1 + v, batch, generator) if v else torch.ones(batch)
        for v in (spec.brightness, spec.contrast, spec.saturation)
    )
    pixels = _recoloured(images, brightness, contrast, saturation)
    if spec.hue:
        pixels = _turned(pixels, uniform(-spec.hue, spec.hue, batch, generator))
    return as_before(pixels, images)


def _recoloured(images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Float pixels x of each image, blended with black by its ``brightness`` b [B], with its mean
    grey by its ``contrast`` c, and with their own grey by its ``saturation`` s:

    c b (s x + (1 - s) grey(x)) + (1 - c) b grey(mean), cut off at black and white once, at the end.
    """
    channels = images.shape[1]
    luma = LUMA if channels == 3 else (1 / channels,) * channels
    scale, added = contrast * brightness * saturation, torch.zeros(len(images), 1, 1, 1)
    pixels = images.to(torch.float32)
    if bool((saturation != 1).any()):
        share = contrast * brightness * (1 - saturation)
        grey = sum(weight * pixels[:, [c]] for c, weight in enumerate(luma))
        added = share[:, None, None, None] * grey  # [B,1,H,W]
    if bool((contrast != 1).any()):
        kind = torch.int64 if images.dtype == torch.uint8 else torch.float64
        means = images.sum((2, 3), dtype=kind) / images[0, 0].numel()  # [B,C]
        mean = sum(weight * means[:, c] for c, weight in enumerate(luma))
        added = added + ((1 - contrast) * brightness * mean)[:, None, None, None].to(torch.float32)
    return (pixels * scale[:, None, None, None]).add_(added).clamp_(0, _white(images))


def _white(images: Tensor) -> int:
    return 1 if images.is_floating_point() else 255


def _turned(pixels: Tensor, turn: Tensor) -> Tensor:
    """Float pixels [B,3,H,W] with their hues turned by ``turn`` [B] (1 is the whole circle), value
    and saturation as they were (HSV: Smith 1978)."""
    value, chroma = pixels.amax(1), pixels.amax(1) - pixels.amin(1)  # [B,H,W]
    red, green, blue = pixels.unbind(1)
    hue = torch.where(
        value == red,
        green - blue,
        torch.where(value == green, blue - red + 2 * chroma, red - green + 4 * chroma),
    )
    hue = hue / torch.where(chroma == 0, 1, chroma) + 6 * turn[:, None, None]  # red 0, green 2
    sectors = [(hue + n).remainder_(6) for n in (5, 3, 1)]  # of 6
    darker = torch.stack([torch.minimum(n, 4 - n).clamp_(0, 1) for n in sectors], 1)
    return value[:, None] - chroma[:, None] * darker


# RandAugment's operations; the i-th has two keys, 2i for weaker or leftwards, 2i + 1 for the other.
OPERATIONS = (
    "identity",
    "shear-x",
    "shear-y",
    "translate-x",
    "translate-y",
    "rotate",
    "brightness",
    "contrast",
    "saturation",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)


def randaugment(
    images: Tensor,
    operations: int,
    magnitude: int,
    generator: torch.Generator,
    padding: str = "black",
) -> Tensor:
    """On each image, one after the other, ``operations`` of the fourteen :data:`OPERATIONS`, drawn
    with repetition, of strength ``magnitude``, 0 to 30 (RandAugment: Cubuk et al. 2019, arXiv
    1909.13719, section 3).

    The strengths are torchvision's, the interpolation is bilinear. Images that are drawn alike go
    through an operation together. Floats are rounded to steps of 1/255.

    >>> images = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8)
    >>> randaugment(images, 2, 9, torch.Generator().manual_seed(0)).shape
    torch.Size([8, 3, 32, 32])
    """
    from torchvision.transforms.v2 import functional as vision

    if images.is_floating_point():
        pixels = (images * 255).round_().to(torch.uint8)
        return randaugment(pixels, operations, magnitude, generator, padding).to(images.dtype) / 255
    strength = magnitude / 30
    groups: tuple[tuple[int, Callable[[Tensor, Tensor], Tensor]], ...] = (  # first key, operation
        (0, lambda images, keys: images),
        (2, partial(_slanted, strength=strength, padding=padding)),
        (12, partial(_tinted, strength=strength)),
        (18, lambda images, keys: vision.adjust_sharpness(images, 1 - 0.9 * strength)),
        (19, lambda images, keys: vision.adjust_sharpness(images, 1 + 0.9 * strength)),
        (20, lambda images, keys: vision.posterize(images, round(8 - 4 * strength))),
        (22, lambda images, keys: vision.solarize(images, 255 * (1 - strength))),
        (24, lambda images, keys: vision.autocontrast(images)),
        (26, lambda images, keys: vision.equalize(images)),
    )
    firsts = torch.tensor([first for first, _ in groups[1:]])
    for _ in range(operations):
        drawn = torch.randint(2 * len(OPERATIONS), (len(images),), generator=generator)
        keys, order = drawn.sort(stable=True)
        members = order.tensor_split(torch.searchsorted(keys, firsts))
        done = [
            operation(images.index_select(0, those), drawn[those])
            for those, (_, operation) in zip(members, groups, strict=True)
            if len(those)
        ]
        images = torch.cat(done).index_select(0, order.argsort())
    return images


def _signed(keys: Tensor, operation: str, strength: float) -> Tensor:
    """+-strength where the key [B] is the operation's, else 0."""
    sign = torch.where(keys % 2 == 1, strength, -strength)
    return torch.where(keys // 2 == OPERATIONS.index(operation), sign, 0)


def _slanted(images: Tensor, keys: Tensor, *, strength: float, padding: str) -> Tensor:
    """Shear by up to 0.3 from the top left corner, translate by up to 150/331 of the size in whole
    pixels, rotate by up to 30 degrees."""
    _, _, height, width = images.shape
    lean_x, lean_y, right, down, turn = (_signed(keys, name, strength) for name in OPERATIONS[1:6])
    lean_x, lean_y, turn = 0.3 * lean_x, 0.3 * lean_y, turn * (torch.pi / 6)
    right = (150 / 331 * width * right).trunc_() + lean_x * height / 2
    down = (150 / 331 * height * down).trunc_() + lean_y * width / 2
    rows = [turn.cos(), lean_x - turn.sin(), right, lean_y + turn.sin(), turn.cos(), down]
    return sample(images, torch.stack(rows, 1).view(-1, 2, 3), padding)


def _tinted(images: Tensor, keys: Tensor, *, strength: float) -> Tensor:
    """Brightness, contrast or saturation by a factor of up to 1 +- 0.9."""
    factors = (1 + 0.9 * _signed(keys, name, strength) for name in OPERATIONS[6:9])
    return as_before(_recoloured(images, *factors), images)


def erase(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """A rectangle of noise over some of the images (random erasing: Zhong et al. 2017, arXiv
    1708.04896, algorithm 1).

    Its area is 0.02 to 0.33 of the image's, its aspect 0.3 to 3.3, each value as likely; what would
    be longer than the image is as long as the image. Noise is any value of 256 for each pixel and
    channel.

    >>> images = torch.zeros(1, 1, 32, 32)
    >>> share = (erase(images, 1.0, torch.Generator().manual_seed(0)) > 0).float().mean()
    >>> 0.01 < float(share) < 0.34
    True
    """
    batch, channels, height, width = images.shape
    hit = torch.rand(batch, generator=generator) < probability
    area = uniform(0.02, 0.33, batch, generator) * (height * width)
    aspect = uniform(0.3, 3.3, batch, generator)
    spans = []
    for length, n in ((area * aspect).sqrt(), height), ((area / aspect).sqrt(), width):
        length = length.round().clamp(1, n)  # noqa: PLW2901
        first = (torch.rand(batch, generator=generator) * (n - length + 1)).floor()
        offset = torch.arange(n) - first[hit, None]
        spans.append((offset >= 0) & (offset < length[hit, None]))  # [hit,n]
    rows, columns = spans
    inside = rows[:, None, :, None] & columns[:, None, None, :]  # [hit,1,H,W]
    values = channels * height * width
    words = torch.empty(len(rows), -(-values // 8), dtype=torch.int64)
    words.random_(-(2**63), None, generator=generator)
    noise = words.view(torch.uint8)[:, :values].view(len(rows), channels, height, width)
    if images.is_floating_point():
        noise = noise.to(images.dtype) / 255
    out = images.clone(memory_format=torch.contiguous_format)
    out[hit] = torch.where(inside, noise, images[hit])
    return out


def mixup(images: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, float]:
    """Each image blended with the one before it in the batch, and the share that is its own: one
    draw a batch from Beta(alpha, alpha) (Zhang et al. 2018, arXiv 1710.09412, section 2).

    >>> images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    >>> blended, own = mixup(images, 1.0, torch.Generator().manual_seed(0))
    >>> torch.allclose(blended.flatten(), torch.tensor([1 - own, own]))
    True
    """
    own = _beta(alpha, generator)
    pixels = images.to(torch.float32)
    return as_before(pixels.roll(1, 0).lerp_(pixels, own), images), own


def cutmix(images: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, float]:
    """A rectangle of each image taken from the one before it in the batch, and the share of pixels
    that is its own (Yun et al. 2019, arXiv 1905.04899, section 3.1 and equation 2).

    The rectangle has the image's aspect and 1 - Beta(alpha, alpha) of its area, and its middle
    anywhere; the share counts the pixels that are left once it is cut off at the edge.

    >>> images = torch.tensor([0, 1]).view(2, 1, 1, 1).expand(2, 1, 10, 10)
    >>> cut, own = cutmix(images, 1.0, torch.Generator().manual_seed(0))
    >>> round(own * 100) == int((cut[1] == 1).sum())
    True
    """
    _, _, height, width = images.shape
    side = (1 - _beta(alpha, generator)) ** 0.5
    edges = []
    for n in (height, width):
        middle, half = int(torch.randint(n, (), generator=generator)), int(n * side) // 2
        edges.append(slice(max(middle - half, 0), min(middle + half, n)))
    rows, columns = edges
    out = images.clone(memory_format=torch.contiguous_format)
    out[:, :, rows, columns] = images[:, :, rows, columns].roll(1, 0)
    taken = (rows.stop - rows.start) * (columns.stop - columns.start)
    return out, 1 - taken / (height * width)


def _beta(alpha: float, generator: torch.Generator) -> float:
    """One draw from Beta(alpha, alpha); PyTorch's own takes no generator."""
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def _mixed(
    images: Tensor,
    targets: tuple[Tensor, ...],
    spec: Augment,
    generator: torch.Generator,
    classes: int | None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Mixup or cutmix, each half of the time where both are on, of images and targets alike."""
    both = bool(spec.mixup and spec.cutmix)
    cut = bool(torch.rand((), generator=generator) < 0.5) if both else bool(spec.cutmix)
    mix, alpha = (cutmix, spec.cutmix) if cut else (mixup, spec.mixup)
    images, own = mix(images, alpha, generator)
    if targets and classes is None:
        raise BadArgument("classes", None, "must be given with mixup and cutmix", "say how many")
    sure = [functional.one_hot(target, classes or -1).to(torch.float32) for target in targets]
    return images, tuple(target.roll(1, 0).lerp_(target, own) for target in sure)
