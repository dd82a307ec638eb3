"""Paper with writing on it, whose pixels are known."""

import functools

import numpy as np
from scipy import ndimage

from convscope.data import sources


@functools.cache
def digit(label: int, at: int = 0) -> np.ndarray:
    """A test digit of MNIST, uint8 [28,28], light on dark."""
    test = sources.open_data("mnist").splits["test"]
    return np.asarray(test.images[np.flatnonzero(test.labels == label)[at], 0])


def enlarged(small: np.ndarray, times: int) -> np.ndarray:
    """Ink of an image, 0 to 1, smoothly so many times as large."""
    return ndimage.zoom(small / 255.0, times, order=1).clip(0, 1)


def sheet(height: int = 240, width: int = 320) -> np.ndarray:
    """Ink, 0 to 1, of an empty sheet."""
    return np.zeros((height, width))


def put(ink: np.ndarray, small: np.ndarray, top: int, left: int, times: int = 5) -> np.ndarray:
    """A sheet with one digit more."""
    large = enlarged(small, times)
    ink = ink.copy()
    part = ink[top : top + large.shape[0], left : left + large.shape[1]]
    np.maximum(part, large, out=part)
    return ink


def photographed(ink: np.ndarray, lines: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    """Dark ink on paper in a slanting light and half a shadow, with noise, uint8 [H,W];
    ``lines`` are the share of light that is left by what is printed on it."""
    height, width = ink.shape
    y, x = np.mgrid[:height, :width]
    light = 225 - 60 * x / width - 30 * y / height
    light = light * (1 - 0.45 / (1 + np.exp(-(x + y - 0.7 * width) / 12)))
    paper = light * (1 if lines is None else lines) * (1 - 0.75 * ink)
    noise = np.random.default_rng(seed).normal(0, 2, ink.shape)
    return (paper + noise).clip(0, 255).astype(np.uint8)


def ruled(ink: np.ndarray, step: int = 30, share: float = 0.75, slope: float = 0.06) -> np.ndarray:
    """The share of light that leaning ruled lines of two pixels leave."""
    y, x = np.mgrid[: ink.shape[0], : ink.shape[1]]
    return np.where((y + slope * x) % step < 2, share, 1.0)
