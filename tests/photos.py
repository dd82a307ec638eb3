"""Folders of images, small."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from convscope.data.columns import image_and_label
from convscope.data.pack import Pack
from convscope.data.pack_writer import Chunk, pack_in_memory
from convscope.data.sources import open_data


def image_file(seed=0, size=(24, 16), mode="RGB", form="PNG", **options) -> bytes:
    """An image of its own (width, height)."""
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form, **options)
    return out.getvalue()


def scene(seed=0, size=(64, 48), tint=(128, 128, 128)) -> Image.Image:
    """A picture (width, height) of soft shapes around a tint, as photos have and noise has not."""
    random = np.random.default_rng(seed)
    shapes = np.clip(np.array(tint) + random.normal(0, 60, (6, 8, 3)), 0, 255).astype(np.uint8)
    return Image.fromarray(shapes).resize(size, Image.Resampling.BICUBIC)


def photos(root: Path, classes=("cat", "dog", "cow"), count=8, **options) -> Path:
    """Class folders of so many images, all different."""
    for at, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for n in range(count):
            (root / name / f"{n:03}.png").write_bytes(image_file(100 * at + n, **options))
    return root


def opened(root: Path, **options):
    """A pack and the events that came with it."""
    events: list = []
    return open_data(root, events.append, **options), events


def left_in_cache(cache: Path) -> list[str]:
    """What is in the cache but for packs and locks."""
    return [path.name for path in (cache / "packs").iterdir() if path.name[0] == "."]


def put(root: Path, *paths: str) -> Path:
    """Files of one byte; a path that ends in "/" is an empty folder."""
    for path in paths:
        if path.endswith("/"):
            (root / path).mkdir(parents=True)
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(b"x")
    return root


def several(*folders: str, count=3) -> list[str]:
    return [f"{folder}/{n}.png" for folder in folders for n in range(count)]


def held(name: str, classes, splits) -> Pack:
    """A pack in memory of images and labels by split."""
    shape = next(iter(splits.values()))[0].shape[1:]
    chunks = {split: [Chunk({"image": x, "label": y})] for split, (x, y) in splits.items()}
    return pack_in_memory(name, image_and_label(shape, classes), chunks)
