"""Photographs of digits on paper, made by a seed: what benchmarks/photographed_digits.py shows to
networks.

A digit is a letter of a font, or strokes through points that are moved at random, as by a hand. It
is drawn on plain, ruled or squared paper, white or coloured, in the colour of a pen, photographed
at an angle, in the shadow of something, out of focus, with a sensor's noise, and kept as a JPEG.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy import ndimage
from scipy.interpolate import CubicSpline

# matplotlib's own fonts, and Pillow's; no family is in both.
TUNING = ("DejaVuSans", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSansMono")
FINAL = ("STIXGeneral", "STIXGeneralItalic", "cmr10", "cmss10", "cmtt10", "Aileron")
SIZE = 640, 480  # width and height of a photograph
PENS = {
    "black": (35, 33, 38), "blue": (30, 45, 140), "red": (175, 35, 45), "green": (25, 105, 60),
    "pencil": (95, 93, 98),
}  # fmt: skip
RULINGS = ("plain", "plain", "ruled", "squared")
SHEETS = {
    "yellow": (250, 238, 160), "pink": (246, 205, 212), "blue": (192, 216, 240),
    "green": (202, 232, 200), "brown": (208, 180, 142), "grey": (206, 204, 200),
}  # fmt: skip

# The strokes of each digit through points (x, y) in a box of 1 x 1; several ways to write one.
Hands = dict[str, tuple[tuple[tuple[tuple[float, float], ...], ...], ...]]
HANDS: Hands = {
    "0": ((((0.55, 0.0), (0.15, 0.2), (0.05, 0.55), (0.3, 0.98), (0.7, 0.9), (0.93, 0.5),
            (0.8, 0.12), (0.5, 0.0)),),),
    "1": ((((0.5, 0.0), (0.5, 0.5), (0.48, 1.0)),),
          (((0.25, 0.25), (0.4, 0.14), (0.55, 0.0)), ((0.55, 0.0), (0.54, 0.5), (0.52, 1.0))),),
    "2": ((((0.12, 0.25), (0.3, 0.03), (0.7, 0.03), (0.85, 0.28), (0.6, 0.6), (0.1, 1.0)),
           ((0.1, 1.0), (0.5, 0.97), (0.95, 0.98))),
          (((0.12, 0.22), (0.4, 0.0), (0.78, 0.1), (0.75, 0.4), (0.4, 0.8), (0.15, 0.95),
            (0.1, 0.85), (0.3, 0.82), (0.6, 0.95), (0.95, 0.92)),),),
    "3": ((((0.12, 0.12), (0.45, 0.0), (0.8, 0.15), (0.7, 0.4), (0.4, 0.47)),
           ((0.4, 0.47), (0.8, 0.55), (0.9, 0.78), (0.6, 1.0), (0.1, 0.9))),),
    "4": ((((0.35, 0.0), (0.2, 0.35), (0.08, 0.6)), ((0.08, 0.6), (0.5, 0.6), (0.95, 0.57)),
           ((0.68, 0.2), (0.66, 0.6), (0.65, 1.0))),
          (((0.65, 0.0), (0.35, 0.35), (0.05, 0.68)), ((0.05, 0.68), (0.5, 0.67), (0.95, 0.67)),
           ((0.66, 0.0), (0.66, 0.5), (0.65, 1.0))),),
    "5": ((((0.25, 0.03), (0.22, 0.25), (0.18, 0.45)),
           ((0.18, 0.45), (0.5, 0.36), (0.85, 0.5), (0.88, 0.78), (0.55, 1.0), (0.1, 0.93)),
           ((0.25, 0.03), (0.55, 0.03), (0.88, 0.02))),),
    "6": ((((0.75, 0.02), (0.4, 0.2), (0.15, 0.6), (0.25, 0.93), (0.6, 1.0), (0.85, 0.8),
            (0.7, 0.56), (0.4, 0.55), (0.18, 0.72)),),),
    "7": ((((0.08, 0.06), (0.5, 0.04), (0.92, 0.04)), ((0.92, 0.04), (0.6, 0.5), (0.38, 1.0))),
          (((0.08, 0.06), (0.5, 0.04), (0.92, 0.04)), ((0.92, 0.04), (0.6, 0.5), (0.38, 1.0)),
           ((0.35, 0.52), (0.6, 0.5), (0.85, 0.49))),),
    "8": ((((0.8, 0.14), (0.5, 0.0), (0.2, 0.15), (0.35, 0.4), (0.7, 0.58), (0.85, 0.82),
            (0.5, 1.0), (0.15, 0.82), (0.35, 0.56), (0.7, 0.36), (0.8, 0.14)),),),
    "9": ((((0.82, 0.2), (0.5, 0.0), (0.18, 0.2), (0.3, 0.45), (0.65, 0.42), (0.82, 0.2)),
           ((0.82, 0.2), (0.78, 0.6), (0.65, 1.0))),
          (((0.8, 0.15), (0.45, 0.02), (0.15, 0.25), (0.4, 0.48), (0.8, 0.2)),
           ((0.8, 0.2), (0.8, 0.6), (0.6, 0.95), (0.25, 0.95))),),
}  # fmt: skip


@dataclass(frozen=True)
class Photo:
    """A photograph as a JPEG's bytes, what is written on it, and how it was made."""

    jpeg: bytes
    text: str
    writer: str  # a font's name, or "hand"
    ruling: str
    pen: str
    sheet: str  # "white", or the colour of the paper


def photos(count: int, seed: int, fonts: tuple[str, ...], hands: Hands = HANDS) -> list[Photo]:
    """So many photographs of one digit each, the ten digits in turn; two of three by a hand."""
    made = []
    for at in range(count):
        random = np.random.default_rng([seed, at])
        writer = "hand" if at % 3 else fonts[at // 3 % len(fonts)]
        made.append(photo(str(at % 10), writer, random, hands))
    return made


def photo(text: str, writer: str, random: np.random.Generator, hands: Hands = HANDS) -> Photo:
    """One photograph of a row of digits."""
    ruling = str(random.choice(RULINGS))
    pen = str(random.choice(list(PENS)))
    sheet = str(random.choice(["white"] * len(SHEETS) + list(SHEETS)))
    ink = _ink(text, writer, random, hands)
    scene = _paper(ruling, sheet, random)
    strength = random.uniform(0.75, 1.0) * ink[..., None]
    scene = scene * (1 - strength) + np.array(PENS[pen]) * strength
    return Photo(_photographed(scene, random), text, writer, ruling, pen, sheet)


def _ink(text: str, writer: str, random: np.random.Generator, hands: Hands) -> np.ndarray:
    """How much ink there is at each pixel, 0 to 1, [H,W]; digits in the middle half or so."""
    width, height = SIZE
    tall = random.uniform(0.14, 0.5 if len(text) == 1 else 0.25) * height
    drawn = Image.new("L", (width * 2, height * 2))
    x = width * random.uniform(0.25, 0.55) if len(text) == 1 else 0.15 * width
    y = (height - tall) * random.uniform(0.4, 0.6)
    thick = max(3.0, random.uniform(0.04, 0.13) * tall)
    slant = random.uniform(-0.1, 0.35)
    for digit in text:
        if writer == "hand":
            wide = tall * random.uniform(0.5, 0.8)
            place = (x, y, wide, tall, slant, thick)
            _strokes(ImageDraw.Draw(drawn), hands[digit], place, random)
            x += wide + tall * random.uniform(0.3, 0.5)
        else:
            font = _font(writer, 2 * tall / 0.72)
            left, top, right, _ = font.getbbox(digit)
            ImageDraw.Draw(drawn).text((2 * x - left, 2 * y - top), digit, 255, font)
            x += (right - left) / 2 + 0.2 * tall
    small = np.asarray(drawn.resize(SIZE, Image.Resampling.BOX), np.float64) / 255
    worn = ndimage.gaussian_filter(random.normal(size=small.shape), 3)
    return small * (1 - 0.25 * np.clip(worn / worn.std(), 0, 2) / 2)


def _font(name: str, size: float) -> ImageFont.FreeTypeFont:
    if name == "Aileron":  # Pillow's own
        return ImageFont.load_default(size)
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{name}.ttf"), size)


def _strokes(
    draw: ImageDraw.ImageDraw,
    ways: tuple[tuple[tuple[tuple[float, float], ...], ...], ...],
    place: tuple[float, float, float, float, float, float],
    random: np.random.Generator,
) -> None:
    """One digit by a hand, at twice the size: splines through points that are moved at random,
    those at one place together."""
    x, y, wide, tall, slant, thick = place
    way = ways[random.integers(len(ways))]
    moved = {point: random.normal(0, 0.035, 2) for stroke in way for point in stroke}
    for stroke in way:
        points = np.array([np.add(point, moved[point]) for point in stroke])
        along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T) + 1e-3)])
        line = CubicSpline(along, points)(np.linspace(0, along[-1], 160))
        line[:, 0] += slant * (1 - line[:, 1])
        press = thick * (1 + 0.2 * np.sin(np.linspace(*random.uniform(0, 6, 2), 160)))
        for (u, v), radius in zip(line, press, strict=True):
            middle = 2 * (x + u * wide), 2 * (y + v * tall)
            draw.ellipse([c - radius for c in middle] + [c + radius for c in middle], 255)


def _paper(ruling: str, sheet: str, random: np.random.Generator) -> np.ndarray:
    """Paper of a tint, with fibres, and its lines, [H,W,3] from 0 to 255."""
    width, height = SIZE
    tint = np.array([random.uniform(215, 250)] * 3) - random.uniform(0, 1) * np.array([0, 4, 28])
    if sheet != "white":
        tint = np.array(SHEETS[sheet]) * random.uniform(0.9, 1.0)
    fibres = ndimage.gaussian_filter(random.normal(size=(height, width)), 1.5)
    scene = tint + 1.5 * (fibres / fibres.std())[..., None]
    if ruling == "plain":
        return scene
    step = random.uniform(24, 52) if ruling == "ruled" else random.uniform(16, 32)
    colour = np.array([(120, 150, 205), (150, 150, 155), (190, 140, 150)][random.integers(3)])
    thick = random.uniform(1.0, 2.2)
    faint = random.uniform(0.5, 0.9)
    for axis, length in ((0, height), (1, width))[: 1 if ruling == "ruled" else 2]:
        near = (np.arange(length) - random.uniform(0, step)) % step
        line = faint * np.clip(thick - np.minimum(near, step - near) * 2, 0, 1)
        line = line[:, None, None] if axis == 0 else line[None, :, None]
        scene = scene * (1 - line) + colour * line
    return scene


def _photographed(scene: np.ndarray, random: np.random.Generator) -> bytes:
    """Paper as a camera sees it: tilted, in light and shadow, blurred, noisy, compressed."""
    width, height = SIZE
    flat = Image.fromarray(scene.clip(0, 255).astype(np.uint8))
    turn = np.radians(random.uniform(-8, 8))
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) - 0.5
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    seen = 0.78 * (corners * SIZE) @ rotation.T * random.uniform(0.94, 1.06, (4, 2))
    source = seen + np.array(SIZE) / 2  # where the photograph's corners lie on the paper
    equations, wanted = [], []
    for (u, v), (a, b) in zip((corners + 0.5) * SIZE, source, strict=True):
        equations += [[u, v, 1, 0, 0, 0, -a * u, -a * v], [0, 0, 0, u, v, 1, -b * u, -b * v]]
        wanted += [a, b]
    map_ = np.linalg.solve(np.array(equations), np.array(wanted))
    tilted = flat.transform(
        SIZE, Image.Transform.PERSPECTIVE, tuple(map_), Image.Resampling.BICUBIC
    )
    y, x = np.mgrid[:height, :width] / [[[height]], [[width]]]
    angle = random.uniform(0, 2 * np.pi)
    along = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)
    light = 1 - random.uniform(0.1, 0.5) * (along + 0.7) / 1.4
    edge = random.uniform(-0.3, 0.3) + 0.15 * np.sin(6 * (x * np.sin(angle) - y * np.cos(angle)))
    shadow = 1 / (1 + np.exp(-(along - edge) / random.uniform(0.006, 0.08)))
    light = light * (1 - random.uniform(0, 0.5) * shadow)
    cast = 1 + random.uniform(-0.06, 0.06, 3)
    lit = np.asarray(tilted, np.float64) * light[..., None] * cast
    blurred = ndimage.gaussian_filter(lit, (random.uniform(0.4, 1.6),) * 2 + (0,))
    noisy = blurred + random.normal(0, random.uniform(1, 6), blurred.shape)
    file = io.BytesIO()
    image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    image.filter(ImageFilter.SHARPEN).save(file, "JPEG", quality=int(random.integers(60, 93)))
    return file.getvalue()
