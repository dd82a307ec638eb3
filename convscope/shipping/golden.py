"""Golden records of an exported network: inputs, and what the run gives for them, beside the file,
so that it can be held against them anywhere."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope import files
from convscope.data.columns import Columns, Image, Numbers
from convscope.data.decode import decode
from convscope.errors import BadArgument

Array = NDArray[Any]
COUNT = 16  # records
_PARTS = ("inputs", "outputs", "odd", "fitted")


@dataclass(frozen=True)
class Golden:
    """``inputs`` of the file by name, records of the network's own size, and the run's ``outputs``
    for them by the names that the file has for them; of each input of images others of ``odd``
    sizes, uint8 [C,H,W], and ``fitted`` [n,C,h,w], what the one preprocessing makes of them."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    odd: Mapping[str, list[Array]]
    fitted: Mapping[str, Array]

    def write(self, path: Path) -> None:
        """Write it as one ``.npz``, whole or not at all; arrays are called ``PART/NAME``."""
        arrays = {
            f"{part}/{name}": value
            for part in ("inputs", "outputs", "fitted")
            for name, value in getattr(self, part).items()
        }
        for name, images in self.odd.items():
            arrays |= {f"odd/{name}/{i}": image for i, image in enumerate(images)}
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)
        files.write_whole(path, content.getvalue())


def path_of(file: Path) -> Path:
    """Where the golden records of an ONNX file are: ``model.golden.npz`` of ``model.onnx``."""
    return file.with_suffix(".golden.npz")


def read(path: Path) -> Golden:
    """The golden records in a file. Raises BadArgument, naming it, where it is damaged."""
    found: dict[str, Any] = {part: {} for part in _PARTS}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            for key in arrays.files:
                part, name, *at = key.split("/")
                if part == "odd":
                    found["odd"].setdefault(name, []).append((int(at[0]), arrays[key]))
                else:
                    found[part][name] = arrays[key]
    except Exception as why:  # a damaged archive makes NumPy raise nearly anything
        rule = f"is damaged ({type(why).__name__}: {why})"
        raise BadArgument("FILE", path, rule, "export the run again") from None
    found["odd"] = {
        name: [one for _, one in sorted(images, key=lambda pair: pair[0])]
        for name, images in found["odd"].items()
    }
    return Golden(**found)


def odd_images(columns: Columns) -> tuple[dict[str, list[Array]], dict[str, Array]]:
    """Images of odd sizes for each column of images, and what
    :func:`~convscope.data.decode.decode` makes of them."""
    odd: dict[str, list[Array]] = {}
    fitted: dict[str, Array] = {}
    for name, column in columns.items():
        if not isinstance(column, Image):
            continue
        h, w = column.size
        sizes = [(1, 1), (3, 2), (97, 131), (4 * h + 1, 2)]
        sizes += [(h, w + 1), (2 * h, 2 * w), (2 * h + 3, w), (h, 3 * w + 1)]
        shapes = [(1, column.channels, *size) for size in sizes]
        odd[name] = [patterns(shape, seed)[0] for seed, shape in enumerate(shapes)]
        fitted[name] = np.stack([
            decode(
                image[0] if column.channels == 1 else image.transpose(1, 2, 0),
                channels=column.channels,
                size=column.size,
                fit=column.fit,
            )
            for image in odd[name]
        ])  # fmt: skip
    return odd, fitted


def rows_of(count: int) -> NDArray[np.int64]:
    """Which records of so many are golden: ``COUNT`` of them, evenly spread."""
    return np.unique(np.linspace(0, count - 1, COUNT).round().astype(np.int64))


def made_up(columns: Columns) -> dict[str, Array]:
    """Records for the inputs where there are no data: patterns, and numbers around nought."""
    found: dict[str, Array] = {}
    for seed, (name, column) in enumerate(columns.items()):
        if isinstance(column, Image):
            found[name] = patterns((COUNT, *column.shape), seed)
        elif isinstance(column, Numbers):
            random = np.random.default_rng(seed)
            found[name] = random.normal(size=(COUNT, *column.shape)).astype(np.float32)
    return found


def patterns(shape: tuple[int, ...], seed: int) -> NDArray[np.uint8]:
    """Images uint8 [N,C,H,W]: waves along both axes, and noise."""
    random = np.random.default_rng(seed)
    n, channels, height, width = shape
    waves = random.uniform(-4, 4, (2, n, channels, 1, 1))
    rows, columns = np.linspace(0, np.pi, height)[:, None], np.linspace(0, np.pi, width)
    smooth = 128 + 90 * np.sin(waves[0] * rows + waves[1] * columns)
    noisy = smooth + random.normal(0, 20, shape)
    return np.asarray(noisy.clip(0, 255).round(), np.uint8)
