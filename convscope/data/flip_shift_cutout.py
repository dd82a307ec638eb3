"""Random flip, shift and cutout of a batch in the one pass that copies its images from their
source; see :mod:`convscope.data.augment`."""

from __future__ import annotations

import math
from functools import lru_cache, reduce
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from convscope import devices, kernels
from convscope.data.draws import Draws, randint
from convscope.recipe import Augment


def cutout(images: Tensor, pixels: int, generator: Draws) -> Tensor:
    """A square of ``pixels`` blacked out in each image, its middle anywhere in it (DeVries & Taylor
    2017, arXiv 1708.04552, section 3.2).

    >>> images = torch.full((1, 1, 3, 3), 9, dtype=torch.uint8)
    >>> cutout(images, 2, torch.Generator().manual_seed(2)).tolist()
    [[[[9, 9, 9], [9, 0, 0], [9, 0, 0]]]]
    """
    each = torch.arange(len(images))
    return drawn(images, each, each, Augment(), generator, cut=pixels)


def drawn(
    source: Tensor,
    chosen: Tensor,
    indices: Tensor,
    spec: Augment,
    generator: Draws,
    epoch: int = 0,
    cut: int = 0,
) -> Tensor:
    """``source[chosen]`` as a new tensor, where ``source`` is: mirrored left to right half of the
    time or every other epoch, moved by up to ``spec.shift`` pixels each way, every place as likely,
    and a square of ``cut`` pixels blacked out.

    Bytes on the CPU go through a compiled kernel; other devices read each pixel by its index. Other
    numbers take few passes over the pixels, in pieces as large as can be, with the same result to
    the bit: nothing is padded with black, but an image is copied from a little before its place in
    the source or after it, in one piece, and what came from another row, channel or image is
    blacked out together with the square of cutout, eight bytes at a time.
    """
    if not (spec.flip or spec.alternating_flip or spec.shift or cut):
        return source.index_select(0, devices.sent(chosen, source.device))
    batch, (_, height, width), size = len(chosen), source.shape[1:], source.element_size()
    mirrored, offset = np.zeros(batch, np.int64), None
    if spec.flip:
        mirrored = randint(2, batch, generator).numpy()  # [B]
    if spec.alternating_flip:
        mirrored = mirrored ^ _phases(indices, epoch).numpy()
    place = middle = None
    if spec.shift:
        place = randint((2 * spec.shift + 1) ** 2, batch, generator)
    if cut:
        middle = randint(height * width, batch, generator)
    away = source.device.type != "cpu"
    fits = source.dtype is torch.uint8 and source.is_contiguous() and kernels.available()
    if away or (fits and (spec.shift or cut or mirrored.any())):
        plan = _planned(chosen, mirrored, place, middle, (height, width), spec, cut)
        return (_indexed if away else _compiled)(source, plan, spec, cut)
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


def _planned(
    chosen: Tensor,
    mirrored: NDArray[np.int64],
    place: Tensor | None,
    middle: Tensor | None,
    size: tuple[int, int],
    spec: Augment,
    cut: int,
) -> Tensor:
    """What was drawn for each image, int64 [B,6]: which it is, whether it is mirrored, how far down
    and right its pixels come from, and the first row and column of its square."""
    height, width = size
    plan = np.zeros((len(chosen), 6), np.int64)
    plan[:, 0], plan[:, 1] = chosen.numpy(), mirrored
    if place is not None:
        plan[:, 2], plan[:, 3] = np.divmod(place.numpy(), 2 * spec.shift + 1)
        plan[:, 2:4] -= spec.shift
    if middle is not None:  # the last pixel first
        row, column = np.divmod(middle.numpy(), width)
        plan[:, 4], plan[:, 5] = height - 1 - row - cut // 2, width - 1 - column - cut // 2
    return torch.from_numpy(plan)


def _compiled(source: Tensor, plan: Tensor, spec: Augment, cut: int) -> Tensor:
    """The images of a plan, uint8 on the CPU, in one pass of a kernel."""
    batch, (channels, height, width) = len(plan), source.shape[1:]
    chosen = plan[:, 0]
    if batch and not 0 <= int(chosen.min()) <= int(chosen.max()) < len(source):
        raise IndexError(f"images {chosen.tolist()} of {len(source)}")
    images = torch.empty(batch, channels, height, width, dtype=torch.uint8)
    edge = {"black": kernels.BLACK, "edge": kernels.EDGE, "reflect": kernels.REFLECT}[spec.padding]
    sizes = batch, channels, height, width, spec.shift, edge, cut
    kernels.gather(source, images, plan, *sizes)
    return images


def _indexed(source: Tensor, plan: Tensor, spec: Augment, cut: int) -> Tensor:
    """The images of a plan on any device: each pixel by its index."""
    where, (channels, height, width) = source.device, source.shape[1:]
    image, turned, down, right, top, left = devices.sent(plan, where).unbind(1)  # [B] each
    lines, columns = (torch.arange(n, device=where) for n in (height, width))
    y, x = lines + down[:, None], columns + right[:, None]  # [B,H], [B,W]
    hidden = torch.zeros((), dtype=torch.bool, device=where)
    if spec.padding == "black":
        outside = [(at < 0) | (at >= n) for at, n in ((y, height), (x, width))]
        hidden = outside[0][:, :, None] | outside[1][:, None, :]
    elif spec.padding == "reflect":
        y, x = ((n - 1) - ((n - 1) - at.abs()).abs() for at, n in ((y, height), (x, width)))
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    x = torch.where(turned[:, None] != 0, width - 1 - x, x)
    if cut:
        inside = [
            (at >= first[:, None]) & (at < first[:, None] + cut)
            for at, first in ((lines, top), (columns, left))
        ]
        hidden = hidden | (inside[0][:, :, None] & inside[1][:, None, :])
    each = torch.arange(channels, device=where)
    found = source[
        image[:, None, None, None], each[:, None, None], y[:, None, :, None], x[:, None, None, :]
    ].contiguous()
    return found.masked_fill_(hidden[:, None], 0) if hidden.ndim else found


def _phases(indices: Tensor, epoch: int) -> Tensor:
    """0 or 1 for each index [B]: half of either, scattered by a hash, and the other one in the next
    epoch (Jordan 2024, arXiv 2404.00498, section 3.6)."""
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
