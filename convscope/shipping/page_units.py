"""What the channels of a page's maps answer to most, among the test images of the run: those images
as one small picture, and where on each map the strongest unit is."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.predicting.onnx_file import IMAGES, OnnxFile
from convscope.shipping.page_graph import Graph
from convscope.shipping.page_stages import Stage

MOST_IMAGES = 2_000  # that are searched
MOST_WORK = 40_000_000_000  # multiply-adds of the search: some seconds
MOST_BYTES = 110_000  # of the picture; in the page it is a third more
LONGEST = 64  # pixels of an image's longer side; larger ones are scaled down
CHANNELS = 12  # of a stage: as many as the page shows at first
EACH = (6, 5, 4, 3, 2, 1)  # images a channel, as many as there is room for
Best = dict[int, dict[int, list[tuple[int, int, float]]]]


def best_images(
    file: OnnxFile, graph: Graph, stages: Sequence[Stage], images: Any
) -> dict[str, Any] | None:
    """The images uint8 [N,C,h,w] that the channels of maps answer to most, as JSON; None where
    there is no room for one a channel.

    ``stages`` are by the number of a stage and of a channel lists of ``[image, place, value]``: a
    place in the picture, that of the strongest unit in the stage's value, and its number; the
    strongest first. ``data`` is the picture in base64, of the ``kind`` that browsers call it,
    ``across`` the images in a row of its ``tiles``, ``searched`` the number of all.
    """
    count = min(len(images), MOST_IMAGES, max(100, MOST_WORK // max(1, graph.multiply_adds)))
    rows = np.arange(count)
    wanted = {
        n: stage
        for n, stage in enumerate(stages)
        if len(stage["shape"]) == 3 and n > 0 and stage["does"] != "moved"
    }
    strongest = _strongest(file, wanted, images, rows)
    order = {n: np.argsort(-values, axis=0, kind="stable") for n, (values, _) in strongest.items()}
    for each in EACH:
        chosen = sorted({int(row) for ranks in order.values() for row in ranks[:each].flat})
        if len(chosen) > MOST_BYTES // 40:
            continue
        kind, data, across = _picture([np.asarray(images[row]) for row in chosen])
        if len(data) <= MOST_BYTES:
            break
    else:
        return None
    tile = {row: n for n, row in enumerate(chosen)}
    found: Best = {}
    for n, ranks in order.items():
        values, places = strongest[n]
        area = math.prod(wanted[n]["shape"][1:])
        found[n] = {
            c: [
                (tile[row], c * area + int(places[row, c]), round(float(values[row, c]), 6))
                for row in ranks[:each, c].tolist()
            ]
            for c in range(ranks.shape[1])
        }
    text = base64.b64encode(data).decode()
    shown = {"kind": kind, "data": text, "across": across, "tiles": len(chosen)}
    return {**shown, "stages": found, "searched": count}


def _strongest(
    file: OnnxFile, wanted: dict[int, Stage], images: Any, rows: NDArray[np.int64]
) -> dict[int, tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """By stage the strongest unit of its first channels: its number and its place on the map, both
    [N,c]."""
    names = [stage["value"] for stage in wanted.values()]
    session = file.session(also=names)
    parts: list[list[tuple[Any, Any]]] = []
    for batch in _batches(images, rows, file.batch):
        maps = session.run(names, {IMAGES: batch})
        flat = [
            one[:, :CHANNELS].reshape(len(batch), min(CHANNELS, one.shape[1]), -1) for one in maps
        ]
        parts.append([(one.max(axis=2), one.argmax(axis=2)) for one in flat])
    joined = (
        [np.concatenate(one) for one in zip(*stage, strict=True)]
        for stage in zip(*parts, strict=True)
    )
    return {n: (values, places) for n, (values, places) in zip(wanted, joined, strict=True)}


def _batches(images: Any, rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(rows), size):
        yield np.ascontiguousarray(images[rows[start : start + size]])


def _picture(images: Sequence[NDArray[np.uint8]]) -> tuple[str, bytes, int]:
    """Images [C,h,w] side by side, about a square, as a file of the kind that suits them; how many
    there are in a row."""
    channels, high, wide = images[0].shape
    scale = min(1, LONGEST / max(high, wide))
    size = max(1, round(wide * scale)), max(1, round(high * scale))
    across = max(1, round(math.sqrt(len(images) * size[1] / size[0])))
    mode, kind = ("L", "PNG") if channels == 1 else ("RGB", "JPEG")
    sheet = Image.new(mode, (across * size[0], -(-len(images) // across) * size[1]))
    for n, image in enumerate(images):
        one = Image.fromarray(image[0] if channels == 1 else image.transpose(1, 2, 0))
        y, x = divmod(n, across)
        sheet.paste(one.resize(size, Image.Resampling.BOX), (x * size[0], y * size[1]))
    out = io.BytesIO()
    sheet.save(out, kind, optimize=True, quality=85)
    return f"image/{kind.lower()}", out.getvalue(), across
