"""Images as vectors by no network: gradients, and colours, of their parts.

What an audit takes where no trained network is at hand; any function of images ``[n,C,H,W]`` to
``[n,d]`` can stand in its place, and one that was trained on photos sees more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from convscope.data.audit.samples import shrunk
from convscope.data.pack import Images

SIDE, CELL, BINS = 64, 8, 9  # pixels, pixels of a cell, directions
CLIP = 0.2

Vectors = npt.NDArray[np.float32]


def descriptors(images: Images) -> Vectors:
    """Histograms of oriented gradients (Dalal and Triggs 2005, CVPR) of 8 x 8 cells, in blocks of
    2 x 2, and the mean colour of each cell: images ``[n,C,H,W]`` -> ``[n,d]``.

    >>> descriptors(np.zeros((2, 3, 48, 64), np.uint8)).shape
    (2, 1956)
    """
    pixels = shrunk(images, SIDE).astype(np.float32) / 255  # [n,C,64,64]
    n = len(pixels)
    down, across = np.gradient(pixels.mean(axis=1), axis=(1, 2))  # [n,64,64]
    strength = np.hypot(down, across)
    direction = np.arctan2(down, across) % np.pi * (BINS / np.pi)  # 0..BINS
    low = direction.astype(np.intp)
    share = direction - low
    cells = SIDE // CELL
    histograms = np.empty((n, BINS, cells, cells), np.float32)
    for one in range(BINS):
        weight = (low % BINS == one) * (1 - share) + ((low + 1) % BINS == one) * share
        histograms[:, one] = _by_cell(strength * weight).sum(axis=(2, 4))
    corners = [histograms[:, :, i : cells - 1 + i, j : cells - 1 + j] for i, j in np.ndindex(2, 2)]
    blocks = np.concatenate(corners, axis=1)  # [n,36,7,7]
    blocks = _unit(np.minimum(_unit(blocks), CLIP))
    colours = _by_cell(pixels.reshape(-1, SIDE, SIDE)).mean(axis=(2, 4))  # [n*C,8,8]
    return np.concatenate([blocks.reshape(n, -1), colours.reshape(n, -1)], axis=1)


def _by_cell(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``[n,64,64]`` -> ``[n,8,CELL,8,CELL]``."""
    return values.reshape(len(values), SIDE // CELL, CELL, SIDE // CELL, CELL)


def _unit(blocks: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Blocks ``[n,k,h,w]``, each of length 1, or 0."""
    length = np.sqrt(np.square(blocks).sum(axis=1, keepdims=True) + 1e-6)
    found: npt.NDArray[np.float32] = blocks / length
    return found
