"""Test images side by side in one picture, of which the page shows one at a time: each is there
once, however often it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from convscope.insight.tiles import jpeg, png, shown
from convscope.markup import esc

LONGEST = 64  # pixels of the longer side; larger images are scaled down
MOST_BYTES = 2_400_000  # of a report, so that it stays below 6 MB
MOST = 1_200  # images
SIDE = 112  # pixels on the page that the longer side should come near to


@dataclass(frozen=True)
class Sprites:
    """The picture [rows * h, columns * w], and the place of each image in it."""

    picture: np.ndarray
    crisp: bool  # the images are there pixel for pixel, not scaled down
    size: tuple[int, int]  # of an image: height and width
    places: Mapping[int, tuple[int, int]]  # by the number of the image: column and row

    def style(self) -> str:
        """The picture, and the size at which an image of it is shown."""
        high, wide = self.size
        zoom = max(1, round(SIDE / max(high, wide)))
        whole_high, whole_wide = self.picture.shape[:2]
        return (
            f".tile {{ width: {zoom * wide}px; height: {zoom * high}px; "
            f"background-image: url({(png if self.crisp else jpeg)(self.picture)}); "
            f"background-size: {zoom * whole_wide}px {zoom * whole_high}px; "
            f"background-position: calc(var(--x) * -{zoom * wide}px) "
            f"calc(var(--y) * -{zoom * high}px); }}\n"
        )

    def tile(self, image: int, said: str) -> str:
        """An image with what is said of it, if it is in the picture."""
        if image not in self.places:
            return ""
        x, y = self.places[image]
        return (
            f'<span class="tile" role="img" aria-label="{esc(said)}" '
            f'style="--x:{x};--y:{y}"></span>'
        )


def sprites(images: np.ndarray, wanted: Iterable[int], most_bytes: int = MOST_BYTES) -> Sprites:
    """The first of the wanted images uint8 [N,C,h,w], as many as the page has room for; ``wanted``
    may name one more than once. ``most_bytes`` are of all pixels together.

    >>> made = sprites(np.zeros((9, 1, 28, 28), np.uint8), [7, 3, 7, 5])
    >>> made.picture.shape, made.places[5]
    ((56, 56), (0, 1))
    >>> photos = sprites(np.zeros((2, 3, 224, 224), np.uint8), [0, 1])  # scaled down
    >>> "image/png" in made.style(), "image/jpeg" in photos.style()
    (True, True)
    """
    first = shown(images[0], LONGEST)
    high, wide = first.shape[:2]
    chosen = list(dict.fromkeys(wanted))[: min(MOST, most_bytes // first.size)]
    columns = max(1, round((len(chosen) * high / wide) ** 0.5))
    rows = max(1, -(-len(chosen) // columns))
    picture = np.zeros((rows * high, columns * wide, *first.shape[2:]), np.uint8)
    places = {}
    for at, image in enumerate(chosen):
        y, x = divmod(at, columns)
        tile = shown(images[image], LONGEST)
        picture[y * high : (y + 1) * high, x * wide : (x + 1) * wide] = tile
        places[image] = (x, y)
    return Sprites(picture, max(images.shape[2:]) <= LONGEST, (high, wide), places)
