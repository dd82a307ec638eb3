"""A data set on disk as plain arrays: memory-mapped, checked, opened in milliseconds.

A pack is a folder: ``<split>-images.npy`` (uint8 ``[N,C,H,W]``) and ``<split>-labels.npy`` (int64
``[N]``) for each split, and ``meta.json``, which says what they must be. It may be larger than
memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convscope import files
from convscope.errors import DataError

FORMAT_VERSION = 1
SPLITS = ("train", "val", "test")

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Splits = Mapping[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]


@dataclass(frozen=True)
class Split:
    """Images uint8 ``[N,C,H,W]`` and labels int64 ``[N]``, memory-mapped, copied on write."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Pack:
    """An opened data set; ``splits`` holds at least one of "train", "val" and "test".

    ``fingerprint`` is that of the images and labels in whatever order, ``digest`` that of the
    arrays as they lie, so that positions in them mean the same images."""

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    fingerprint: str
    digest: str
    folder: Path

    @property
    def channels(self) -> int:
        """How many channels an image has: 1 or 3."""
        return int(next(iter(self.splits.values())).images.shape[1])

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of an image."""
        _, _, height, width = next(iter(self.splits.values())).images.shape
        return height, width


def fingerprint(splits: Splits) -> str:
    """The SHA-256 of the images and labels of each split, whatever their order within it.

    Every record (label as 8 bytes, little end first, then pixels) is hashed; the sorted hashes of a
    split are hashed after its name and image shape.

    >>> a, b = np.zeros((2, 1, 1, 2), np.uint8), np.array([3, 5])
    >>> fingerprint({"train": (a, b)}) == fingerprint({"train": (a, b[::-1])})
    True
    >>> fingerprint({"train": (a, b)}) == fingerprint({"test": (a, b)})
    False
    """
    whole = hashlib.sha256()
    for split, (images, labels) in sorted(splits.items()):
        records = zip(np.asarray(labels, "<i8"), images, strict=True)
        hashes = sorted(
            hashlib.sha256(label.tobytes() + image.tobytes()).digest() for label, image in records
        )
        whole.update(f"{split} {list(images.shape[1:])} {len(hashes)}\n".encode())
        whole.update(b"".join(hashes))
    return whole.hexdigest()


def write_pack(
    folder: Path,
    name: str,
    classes: Sequence[str],
    splits: Splits,
    source: str,
    *,
    read_from: Mapping[str, list[int]] | None = None,
) -> Pack:
    """Write a pack whole or not at all, and open it.

    ``splits`` holds images uint8 ``[N,C,H,W]`` and whole-numbered labels ``[N]``; ``source`` says
    in words where they came from, and ``read_from`` gives size and modification time (ns) of each
    file they were read from. A folder that is there already stays as it is. Raises DataError where
    the arrays do not fit each other.
    """
    _check(splits, classes, f"{name} ({source})")
    with files.whole_folder(folder) as unfinished:
        described: dict[str, Any] = {}
        for split, (images, labels) in splits.items():
            described[split] = {
                "images": _write_array(unfinished / f"{split}-images.npy", images, np.uint8),
                "labels": _write_array(unfinished / f"{split}-labels.npy", labels, np.int64),
            }
        meta = {
            "format_version": FORMAT_VERSION,
            "name": name,
            "classes": list(classes),
            "fingerprint": fingerprint(splits),
            "source": source,
            "read_from": dict(read_from or {}),
            "splits": described,
        }
        files.write_json(unfinished / "meta.json", meta)
    return open_pack(folder)


def open_pack(folder: Path) -> Pack:
    """Open a pack without reading its images.

    Raises DataError, naming the file, where sizes, shapes, types or labels are not what
    ``meta.json`` says.
    """
    meta = read_meta(folder)
    try:
        classes = tuple(str(name) for name in meta["classes"])
        arrays = {
            split: (
                _open_array(folder / f"{split}-images.npy", described["images"]),
                _open_array(folder / f"{split}-labels.npy", described["labels"]),
            )
            for split, described in meta["splits"].items()
        }
        _check(arrays, classes, str(folder))
        splits = {split: Split(*pair) for split, pair in arrays.items()}
        sums = [
            described[part]["sha256"]
            for _, described in sorted(meta["splits"].items())
            for part in ("images", "labels")
        ]
        digest = hashlib.sha256(" ".join(sums).encode()).hexdigest()
        return Pack(str(meta["name"]), classes, splits, str(meta["fingerprint"]), digest, folder)
    except DataError as why:
        raise _damaged(str(why), folder) from None
    except (KeyError, TypeError, ValueError, AttributeError) as why:
        raise _damaged(f"{folder / 'meta.json'}: is damaged ({why!r})", folder) from None


def read_meta(folder: Path) -> dict[str, Any]:
    """What ``meta.json`` says; DataError where it is missing, damaged or of another version."""
    path = folder / "meta.json"
    meta = files.read_json(path, lambda text: _damaged(text, folder))
    if not isinstance(meta, dict) or meta.get("format_version") != FORMAT_VERSION:
        raise _damaged(f"{path}: is no pack of format {FORMAT_VERSION}", folder)
    return meta


def verify(folder: Path) -> None:
    """Read a pack to its last byte; DataError names the file whose SHA-256 is not as written."""
    open_pack(folder)
    for split, described in read_meta(folder)["splits"].items():
        for part in ("images", "labels"):
            path = folder / f"{split}-{part}.npy"
            if files.sha256(path) != described[part]["sha256"]:
                raise _damaged(f"{path}: was changed after it was written", folder)


def _damaged(text: str, folder: Path) -> DataError:
    return DataError(f"{text}. Delete the folder {folder}; it is made anew")


def _check(splits: Splits, classes: Sequence[str], name: str) -> None:
    """Raise DataError unless the arrays are labelled images of these classes, all of one shape."""
    for split, (images, labels) in splits.items():
        where = f"{name}: {split}"
        if split not in SPLITS:  # it becomes part of a file's name
            raise DataError(f"{where}: must be one of {', '.join(SPLITS)}")
        if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape:
            raise DataError(
                f"{where}: images are {images.dtype} {list(images.shape)}, "
                "must be uint8 [N,C,H,W], none of them 0"
            )
        if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
            raise DataError(
                f"{where}: labels are {labels.dtype} {list(labels.shape)}, "
                f"must be whole numbers [{len(images)}]"
            )
        if labels.min() < 0 or labels.max() >= len(classes):
            index = int(np.flatnonzero((labels < 0) | (labels >= len(classes)))[0])
            raise DataError(
                f"{where}: label {labels[index]} of image {index} is outside 0..{len(classes) - 1}"
            )
    if len({images.shape[1:] for images, _ in splits.values()}) != 1:
        raise DataError(f"{name}: must have splits, and images of one shape in all of them")


def _write_array(path: Path, array: npt.NDArray[Any], dtype: npt.DTypeLike) -> dict[str, Any]:
    """Write one .npy file and describe it."""
    array = np.ascontiguousarray(array, dtype)
    with path.open("wb") as file:
        # np.save on a full disk says how much it wrote but not that the disk is full; write() does.
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)
    return {
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "bytes": path.stat().st_size,
        "sha256": files.sha256(path),
    }


def _open_array(path: Path, described: Mapping[str, Any]) -> npt.NDArray[Any]:
    """Memory-map one .npy file whose size, shape and type are as described."""
    try:
        size = path.stat().st_size
        if size != described["bytes"]:
            raise DataError(f"{path}: has {size:,} bytes, not {described['bytes']:,}")
        array: npt.NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as why:
        raise DataError(f"{path}: cannot be read ({why})") from None
    if list(array.shape) != described["shape"] or str(array.dtype) != described["dtype"]:
        raise DataError(
            f"{path}: holds {array.dtype} {list(array.shape)}, "
            f"not {described['dtype']} {described['shape']}"
        )
    return array
