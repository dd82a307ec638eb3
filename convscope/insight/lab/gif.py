"""Figures that move, as GIFs."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from convscope.insight.canvas import matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def of_figures(figures: Iterable[Figure], pace: int) -> bytes:
    """A GIF of figures of one size, ``pace`` milliseconds each."""
    return _encoded([_pixels(_drawn(figure)) for figure in figures], pace)


def of_moving(figure: Figure, moving: Sequence[Any], frames: Iterable[Any], pace: int) -> bytes:
    """A GIF of a figure of which some artists move: what each frame gives is drawn, all the rest
    once. ``pace`` is milliseconds a frame."""
    for artist in moving:
        artist.set_animated(True)
    canvas = _drawn(figure)
    still = canvas.copy_from_bbox(figure.bbox)
    pictures = []
    for artists in frames:
        canvas.restore_region(still)
        for artist in artists:
            (artist.axes or figure).draw_artist(artist)
        pictures.append(_pixels(canvas))
    return _encoded(pictures, pace)


def _drawn(figure: Figure) -> Any:
    canvas: Any = matplotlib().backends.backend_agg.FigureCanvasAgg(figure)
    canvas.draw()
    return canvas


def _pixels(canvas: Any) -> Image.Image:
    return Image.fromarray(np.array(canvas.buffer_rgba())).convert("RGB")


def _encoded(pictures: Sequence[Image.Image], pace: int) -> bytes:
    """A GIF that rests on its last picture and begins again."""
    colours = (pictures[-1].quantize(127, dither=Image.Dither.NONE).getpalette() or [])[: 127 * 3]
    colours += [0] * (127 * 3 - len(colours)) + [255, 255, 255]  # the 128th is white, untouched
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours)
    coded = []
    for picture in pictures:
        numbers = np.array(picture.quantize(palette=palette, dither=Image.Dither.NONE))
        numbers[(np.asarray(picture) == 255).all(axis=2)] = 127
        coded.append(Image.fromarray(numbers))
        coded[-1].putpalette(colours)
    file = io.BytesIO()
    times = [pace] * (len(coded) - 1) + [2000]
    coded[0].save(file, "GIF", save_all=True, append_images=coded[1:], duration=times, loop=0)
    return file.getvalue()
