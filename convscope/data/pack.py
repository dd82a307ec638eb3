"""A data set on disk as plain arrays: memory-mapped, checked, opened in milliseconds.

A pack is a folder: ``<split>-images.npy`` (uint8 ``[N,C,H,W]``), ``<split>-labels.npy`` (int64
``[N]``) and ``<split>-hashes.npy`` (uint64 ``[N]``, by which identical images are found) for each
split, ``<split>-files.json`` where each image has a file of its own, and ``meta.json``, which says
what they must be. It is written as the images come and read where they lie, so that it may be
larger than memory.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convscope import files
from convscope.data.duplicates import Hashes, image_hashes
from convscope.errors import DataError

BUFFER = 8 << 20  # bytes that go to the system at once: small pieces are slower to read back
FORMAT_VERSION = 1
SPLITS = ("train", "val", "test")
_NO_COMMITMENT = 1455  # Windows: the paging file is too small

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Splits = Mapping[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]


@dataclass(frozen=True)
class Split:
    """Images uint8 ``[N,C,H,W]`` and labels int64 ``[N]``, memory-mapped, copied on write.

    What the system will not promise copies of, such as an array larger than memory, is read-only.
    """

    images: Images
    labels: Labels
    listing: Path | None = None
    kept: Hashes | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def hashes(self) -> Hashes:
        """What :func:`~convscope.data.duplicates.image_hashes` gives of the images, uint64 ``[N]``;
        computed where they are of a pack that keeps none."""
        return image_hashes(self.images) if self.kept is None else self.kept

    @cached_property
    def files(self) -> tuple[str, ...] | None:
        """The file of each image, with "/" between its folders; None where images have none."""
        if self.listing is None:
            return None
        folder = self.listing.parent
        found = files.read_json(self.listing, lambda text: _damaged(text, folder))
        if not isinstance(found, list) or len(found) != len(self):
            raise _damaged(f"{self.listing}: does not name {len(self):,} files", folder)
        return tuple(map(str, found))


@dataclass(frozen=True)
class Pack:
    """An opened data set; ``splits`` holds at least one of "train", "val" and "test".

    ``fingerprint`` is that of the images and labels in whatever order, ``digest`` that of the
    arrays as they lie, so that positions in them mean the same images. ``fit`` says how the images
    were brought to their size, and so how another one is. ``folder`` is None for a pack that is in
    memory alone."""

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    fingerprint: str
    digest: str
    folder: Path | None
    fit: str = "pad"

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
    return _combined(
        {
            split: (images.shape[1:], list(record_hashes(images, labels)))
            for split, (images, labels) in splits.items()
        }
    )


_fingerprint = fingerprint  # where an argument has its name


def record_hashes(images: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Iterator[bytes]:
    """The SHA-256 of each label and its image."""
    for label, image in zip(np.asarray(labels, "<i8"), images, strict=True):
        found = hashlib.sha256(label.tobytes())
        found.update(np.ascontiguousarray(image).data)
        yield found.digest()


def _combined(hashes: Mapping[str, tuple[Sequence[int], list[bytes]]]) -> str:
    """The fingerprint of image shape and record hashes of each split."""
    whole = hashlib.sha256()
    for split, (shape, records) in sorted(hashes.items()):
        whole.update(f"{split} {list(shape)} {len(records)}\n".encode())
        whole.update(b"".join(sorted(records)))
    return whole.hexdigest()


class Chunk(NamedTuple):
    """Some images of a split, uint8 ``[n,C,H,W]``, their labels ``[n]``, the file of each, and what
    :func:`record_hashes` and ``image_hashes`` give, where that is known already."""

    images: Images
    labels: npt.NDArray[Any]
    files: Sequence[str] = ()
    hashes: Sequence[bytes] = ()
    image_hashes: Hashes | None = None


def write_pack(
    folder: Path,
    name: str,
    classes: Sequence[str],
    splits: Splits,
    source: str,
    *,
    read_from: Mapping[str, Any] | None = None,
) -> Pack:
    """Write a pack whole or not at all, and open it.

    ``splits`` holds images uint8 ``[N,C,H,W]`` and whole-numbered labels ``[N]``; ``source`` says
    in words where they came from, and ``read_from`` gives size and modification time (ns) of each
    file they were read from. A folder that is there already stays as it is. Raises DataError where
    the arrays do not fit each other.
    """
    _check(splits, classes, f"{name} ({source})")
    streams = {split: [Chunk(images, labels)] for split, (images, labels) in splits.items()}
    counts = {split: len(labels) for split, (_, labels) in splits.items()}
    shape = next(iter(splits.values()))[0].shape[1:]
    about = {"source": source, "read_from": dict(read_from or {})}
    return write_stream(folder, name, classes, shape, streams, counts, about)


def write_stream(
    folder: Path,
    name: str,
    classes: Sequence[str],
    shape: Sequence[int],
    splits: Mapping[str, Iterable[Chunk]],
    counts: Mapping[str, int],
    about: Mapping[str, Any],
) -> Pack:
    """Write a pack as its images ``[C,H,W]`` come, whole or not at all, and open it.

    ``counts`` says how many images a split is expected to have; it may turn out to have fewer.
    ``about`` is what else ``meta.json`` says, and is looked at once all images are there. A folder
    that is there already stays as it is.
    """
    with files.whole_folder(folder) as unfinished:
        described, hashes = {}, {}
        for split, chunks in splits.items():
            written = _write_split(unfinished, split, shape, counts[split], chunks)
            described[split], hashes[split] = written[0], (shape, written[1])
        meta = {
            "format_version": FORMAT_VERSION,
            "name": name,
            "classes": list(classes),
            "fingerprint": _combined(hashes),
            **about,
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
        splits = {
            split: Split(*pair, *_beside(folder, split, meta["splits"][split]))
            for split, pair in arrays.items()
        }
        digest = _digest(
            described[part]["sha256"]
            for _, described in sorted(meta["splits"].items())
            for part in ("images", "labels")
        )
        name, fit = str(meta["name"]), str(meta.get("fit", "pad"))
        return Pack(name, classes, splits, str(meta["fingerprint"]), digest, folder, fit)
    except DataError as why:
        raise _damaged(str(why), folder) from None
    except (KeyError, TypeError, ValueError, AttributeError) as why:
        raise _damaged(f"{folder / 'meta.json'}: is damaged ({why!r})", folder) from None


def pack_in_memory(
    name: str, classes: Sequence[str], splits: Splits, fingerprint: str | None = None
) -> Pack:
    """The pack of these arrays with nothing written: that which :func:`write_pack` would give, but
    for its folder. ``fingerprint`` is that of the splits, where it is known."""
    _check(splits, classes, name)
    held = {
        split: Split(np.ascontiguousarray(images), np.asarray(labels, np.int64))
        for split, (images, labels) in splits.items()
    }
    arrays = [array for _, split in sorted(held.items()) for array in (split.images, split.labels)]
    sums = (hashlib.sha256(_head(a.shape, a.dtype) + a.tobytes()).hexdigest() for a in arrays)
    known = fingerprint or _fingerprint(splits)
    return Pack(name, tuple(classes), held, known, _digest(sums), None)


def _digest(sums: Iterable[str]) -> str:
    """The digest of a pack whose arrays have these SHA-256."""
    return hashlib.sha256(" ".join(sums).encode()).hexdigest()


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
        for part, values in described.items():
            path = folder / _file(split, part)
            if files.sha256(path) != values["sha256"]:
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


def _file(split: str, part: str) -> str:
    """The name of the file that holds a split's images, labels, hashes or files."""
    return f"{split}-{part}.{'json' if part == 'files' else 'npy'}"


def _write_split(
    folder: Path, split: str, shape: Sequence[int], expected: int, chunks: Iterable[Chunk]
) -> tuple[dict[str, Any], list[bytes]]:
    """Write the files of one split; what they are, and the hash of every record."""
    hashes: list[bytes] = []
    labels: list[npt.NDArray[np.int64]] = []
    same: list[Hashes] = []
    names: list[str] = []
    path = folder / _file(split, "images")
    head = _head((expected, *shape), np.uint8)
    found = hashlib.sha256(head)
    with path.open("wb", buffering=BUFFER) as file:
        file.write(head)
        for chunk in chunks:
            images = np.ascontiguousarray(chunk.images, np.uint8)
            file.write(images.data)  # which says that a disk is full, where np.save does not
            found.update(images.data)
            labels.append(np.asarray(chunk.labels, np.int64))
            names += chunk.files
            hashes += chunk.hashes or record_hashes(images, labels[-1])
            same.append(image_hashes(images) if chunk.image_hashes is None else chunk.image_hashes)
        if len(hashes) != expected:  # the head has room for any number
            file.seek(0)
            file.write(_head((len(hashes), *shape), np.uint8))
    sha256 = found.hexdigest() if len(hashes) == expected else files.sha256(path)
    described = {"images": _described(path, (len(hashes), *shape), "uint8", sha256)}
    for part, content in (("labels", np.concatenate(labels)), ("hashes", np.concatenate(same))):
        path = folder / _file(split, part)
        path.write_bytes(_head(content.shape, content.dtype) + content.tobytes())
        described[part] = _described(path, content.shape, str(content.dtype), files.sha256(path))
    if names:
        path = folder / _file(split, "files")
        path.write_text(json.dumps(names, indent=0), encoding="ascii")  # \u for all but ASCII
        described["files"] = _described(path, (len(names),), "str", files.sha256(path))
    return described, hashes


def _head(shape: tuple[int, ...], dtype: npt.DTypeLike) -> bytes:
    """The head of a .npy file, which is as long for any number of images."""
    out = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    about = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, about)
    return out.getvalue()


def _described(path: Path, shape: Sequence[int], dtype: str, sha256: str) -> dict[str, Any]:
    """What ``meta.json`` says of a file."""
    size = path.stat().st_size
    return {"shape": list(shape), "dtype": dtype, "bytes": size, "sha256": sha256}


def _beside(
    folder: Path, split: str, described: Mapping[str, Any]
) -> tuple[Path | None, Hashes | None]:
    """The list of the images' files and the images' hashes, where these are there; DataError unless
    they have their sizes."""
    listing = folder / _file(split, "files") if "files" in described else None
    if listing is not None:
        _check_size(listing, described["files"])
    if "hashes" not in described:
        return listing, None
    return listing, _open_array(folder / _file(split, "hashes"), described["hashes"])


def _check_size(path: Path, described: Mapping[str, Any]) -> None:
    """Raise DataError unless a file is there with as many bytes as were written."""
    try:
        size = path.stat().st_size
    except OSError as why:
        raise DataError(f"{path}: cannot be read ({why})") from None
    if size != described["bytes"]:
        raise DataError(f"{path}: has {size:,} bytes, not {described['bytes']:,}")


def _open_array(path: Path, described: Mapping[str, Any]) -> npt.NDArray[Any]:
    """Memory-map one .npy file whose size, shape and type are as described."""
    _check_size(path, described)
    array: npt.NDArray[Any]
    try:
        try:
            array = np.load(path, mmap_mode="c", allow_pickle=False)
        except OSError as why:  # room for a copy of every page is promised, or refused, at once
            if why.errno != errno.ENOMEM and getattr(why, "winerror", 0) != _NO_COMMITMENT:
                raise
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as why:
        raise DataError(f"{path}: cannot be read ({why})") from None
    if list(array.shape) != described["shape"] or str(array.dtype) != described["dtype"]:
        raise DataError(
            f"{path}: holds {array.dtype} {list(array.shape)}, "
            f"not {described['dtype']} {described['shape']}"
        )
    return array
