"""Data sets by name: inside the package, on this machine, from their publishers, or a folder.

``open_data`` hands out a pack from the cache and makes it on first use. Where the images of a
published data set come from is settled in this order: the package (MNIST), every folder in
``CONVSCOPE_DATA``, the cache, Debian's ``/usr/share/datasets``, the publisher. Any other name is
that of a folder of images, if it is one or has a slash in it.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import tarfile
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from convscope import files
from convscope.data import cache, folder, mnist
from convscope.data.pack import FORMAT_VERSION, Pack, pack_in_memory, read_meta, write_pack
from convscope.data.published import (
    SOURCES,
    Download,
    Source,
    Splits,
    files_in,
    parse,
    read_bytes,
    read_members,
)
from convscope.errors import BadArgument, DataError, nearest
from convscope.events import Emit, Notice, Progress, silent
from convscope.formatting import binary_size

__all__ = ["DEBIAN", "SOURCES", "Place", "is_folder", "locate", "open_data", "roots"]

DEBIAN = Path("/usr/share/datasets")  # where its packages put data


@dataclass(frozen=True)
class Place:
    """Where a data set comes from: ``kind``, and ``where`` in words."""

    kind: Literal["package", "disk", "pack", "download"]
    where: str

    def __str__(self) -> str:
        return self.where


def open_data(
    name: str | Path,
    emit: Emit = silent,
    download: bool = True,
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    fit: str = "pad",
) -> Pack:
    """The pack of a data set, made in the cache on first use and again when its files change.

    ``name`` is a published data set or a folder; ``size`` (height, width), ``channels`` and ``fit``
    are for folders, see :func:`convscope.data.folder.open_folder`. A pack whose files have gone is
    used as it is. Raises BadArgument for an unknown name, and DataError where the data is nowhere
    to be had, is damaged, or cannot be written to the cache.

    >>> open_data("mnist").splits["test"].images.shape  # doctest: +SKIP
    (10000, 1, 28, 28)
    """
    if is_folder(name):
        return folder.open_folder(Path(name), emit, size=size, channels=channels, fit=fit)
    name = str(name)
    source = _known(name)
    for argument, value, own in (
        ("size", size, source.image_shape[1:]),
        ("channels", channels, source.image_shape[0]),
        ("fit", fit, "pad"),
    ):
        if value is not None and value != own:
            rule = f"is for folders; {name} has {argument} {own}"
            raise BadArgument(argument, value, rule, "leave it out")
    place = _pack_folder(name)
    paths, passed_over = _on_disk(name)

    def make() -> None:
        if name == "mnist":
            where, stamps, splits = str(locate(name)), {}, _mnist()
        else:
            for text in passed_over:
                emit(Notice(f"{name}: {text}", warning=True))
            found = paths or _fetch(name, passed_over, emit, download)
            where, stamps, splits = str(_place(found)), _stamps(found), _read(name, found)
        cache.remove(place)
        with cache.taking_data():
            write_pack(place, name, source.classes, splits, where, read_from=stamps)
        emit(Notice(f"{name}: packed into {place} (from {where})"))

    try:
        pack = cache.opened(place, name, lambda: _is_current(name, place, paths), make, emit)
    except cache.Unwritable as why:
        if name != "mnist":
            raise
        if text := files.first_time(f"{name}: unpacked into memory, and nothing is kept: {why}"):
            emit(Notice(text, warning=True))
        pack = pack_in_memory(name, source.classes, _mnist(), source.fingerprint)
    counts = {split: len(data) for split, data in pack.splits.items()}
    differs = (source.fingerprint or pack.fingerprint) != pack.fingerprint
    if place.is_dir() and (counts != source.counts or differs):
        text = f"the images from {read_meta(place).get('source')} are not the published data set"
        emit(Notice(f"{name}: {text}; used as they are", warning=True))
    return pack


def is_folder(name: str | Path) -> bool:
    """Whether a name means a folder of images: it is one, or it is written as a path.

    A published data set goes before a folder of its name, which is meant by ``./mnist``.

    >>> is_folder("mnist"), is_folder("./mnist"), is_folder("photos/pets")
    (False, True, True)
    """
    if isinstance(name, Path):
        return True
    if not name or name in SOURCES:
        return False
    return "/" in name or os.sep in name or Path(name).is_dir()


def unread(name: str | Path) -> dict[str, int]:
    """How many files in the class folders of a folder of images are of a kind that is not read, by
    their suffix; none for a published data set."""
    return folder.unread(Path(name)) if is_folder(name) else {}


def locate(name: str) -> Place:
    """Where ``open_data`` would take a data set from now; nothing is read, fetched or written."""
    if is_folder(name):
        root, place = folder.absolute(Path(name)), folder.pack_folder(Path(name))
        if root.is_dir():
            return Place("disk", str(root))
        if place.is_dir():
            return Place("pack", f"{place} (its source files are gone)")
        raise folder.not_there(root)
    source = _known(name)
    if name == "mnist":
        return Place("package", "inside the package")
    if paths := _on_disk(name)[0]:
        return Place("disk", str(_place(paths)))
    if _pack_folder(name).is_dir():
        return Place("pack", f"{_pack_folder(name)} (its source files are gone)")
    size = binary_size(sum(file.size for file in source.downloads), 0)
    return Place("download", f"download of {size} from {_address(source)}")


def roots() -> dict[Path, str]:
    """The folders that are searched, in order, and why."""
    chosen = filter(None, os.environ.get("CONVSCOPE_DATA", "").split(os.pathsep))
    here = files.cache_root()
    return {
        **{Path(root).expanduser(): "CONVSCOPE_DATA" for root in chosen},
        here: "cache",
        here / "downloads": "cache",
        DEBIAN: "Debian",
    }


def _known(name: str) -> Source:
    if name not in SOURCES:
        remedy = f"{nearest(str(name), SOURCES)}; a folder of images is named by its path"
        raise BadArgument("data", name, "is not a known data set", remedy)
    return SOURCES[name]


def _pack_folder(name: str) -> Path:
    return cache.pack_folder(f"{name}-{FORMAT_VERSION}")


def _address(source: Source) -> str:
    """The one file to fetch, or the folder of several."""
    first = source.downloads[0].url
    return first if len(source.downloads) == 1 else first.rpartition("/")[0]


def _place(paths: Sequence[Path]) -> Path:
    """The archive, or the folder of several files."""
    return paths[0] if len(paths) == 1 else paths[0].parent


def _on_disk(name: str) -> tuple[list[Path], list[str]]:
    """The files of the first complete copy on this machine, and what was passed over before."""
    passed_over: list[str] = []
    if name == "mnist":
        return [], passed_over
    for root, why_searched in roots().items():
        try:
            if why_searched == "CONVSCOPE_DATA" and not root.is_dir():
                passed_over.append(f"{root}, named in CONVSCOPE_DATA, is not a folder")
            if paths := _under(root, SOURCES[name], passed_over):
                return paths, passed_over
        except OSError as why:
            passed_over.append(f"{root} cannot be searched ({why.strerror})")
    return [], passed_over


def _under(root: Path, source: Source, passed_over: list[str]) -> list[Path]:
    """The files of a complete copy under this root; says in ``passed_over`` what is no use."""
    for layout in source.folders:
        found = files_in(source, root / layout)
        paths = [path for path in found if path]
        if len(paths) == len(found):
            return paths
        if paths:
            text = f"{root / layout} is incomplete ({len(paths)} of {len(found)} files)"
            passed_over.append(text)
    if source.archive and (root / source.archive).is_file():
        return [root / source.archive]
    passed_over += [
        f"{root / pickle} was found, but pickles are never read; get the binary version"
        for pickle in source.pickles
        if (root / pickle).exists()
    ]
    return []


def _stamps(paths: Sequence[Path]) -> dict[str, list[int]]:
    """Size and modification time of each file: what tells that it was changed."""
    stats = {str(path.absolute()): path.stat() for path in paths}
    return {path: [stat.st_size, stat.st_mtime_ns] for path, stat in stats.items()}


def _is_current(name: str, place: Path, paths: Sequence[Path]) -> bool:
    """Whether a pack is what these files, or the package, would give again."""
    meta = read_meta(place)
    if name == "mnist":
        return bool(meta.get("fingerprint") == SOURCES[name].fingerprint)
    return not paths or bool(meta.get("read_from") == _stamps(paths))


def _mnist() -> Splits:
    """MNIST from the file beside this module."""
    path = Path(__file__).with_name("mnist.zlib")
    counts = SOURCES["mnist"].counts
    try:
        images, labels = mnist.expand(path.read_bytes(), sum(counts.values()))
    except (OSError, ValueError) as why:
        raise DataError(f"{path}: is missing or damaged ({why}); install convscope again") from None
    images = images[:, None]  # [N,1,28,28]
    train = counts["train"]
    return {"train": (images[:train], labels[:train]), "test": (images[train:], labels[train:])}


def _read(name: str, paths: Sequence[Path]) -> Splits:
    """Read a data set's files, packed or not."""
    source = SOURCES[name]
    try:
        if source.archive and paths[0].name == source.archive:
            wanted = {name for split in source.files.values() for name in split}
            contents = read_members(paths[0], wanted)
        else:
            contents = {path.name.removesuffix(".gz"): read_bytes(path) for path in paths}
        return parse(source, contents)
    except (ValueError, OSError, EOFError, zlib.error, tarfile.TarError) as why:
        place = _place(paths)
        text = f"{place}: is damaged ({why}); copy it again, or remove it to have it fetched"
        raise DataError(text) from None


def _fetch(name: str, passed_over: list[str], emit: Emit, allowed: bool) -> list[Path]:
    """Download what is missing of a data set into the cache."""
    source = SOURCES[name]
    downloads = files.cache_root() / "downloads"
    if source.archive is None:
        downloads /= source.folders[-1]
    targets = [downloads / file.name for file in source.downloads]
    for file, target in zip(source.downloads, targets, strict=True):
        if target.is_file():
            continue
        if not allowed:
            raise _nowhere(name, "downloading was not allowed", downloads, passed_over)
        request = urllib.request.Request(file.url, headers={"User-Agent": "convscope"})
        try:
            response = urllib.request.urlopen(request, timeout=30)
        except (OSError, http.client.HTTPException) as why:
            reason = f"{file.url} cannot be reached ({str(why).strip('<>')})"
            raise _nowhere(name, reason, downloads, passed_over) from None
        with cache.taking_data(), response, files.whole_file(target) as out:
            for chunk in _checked(response, file, f"download {name}", emit):
                out.write(chunk)
    return targets


def _checked(response: Any, file: Download, stage: str, emit: Emit) -> Iterator[bytes]:
    """The chunks of a response; DataError at the end if they are not the published file."""
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdigit() else file.size
    unzip = zlib.decompressobj(wbits=31) if file.inside else None
    found, done = hashlib.sha256(), 0
    try:
        while chunk := response.read(1 << 18):
            found.update(unzip.decompress(chunk) if unzip else chunk)
            done += len(chunk)
            emit(Progress(stage, done, total, "bytes", file.name))
            yield chunk
    except (OSError, http.client.HTTPException, zlib.error) as why:
        raise DataError(f"{file.url}: broke off after {done:,} bytes ({why}); run again") from None
    if done < total:
        raise DataError(f"{file.url}: broke off after {done:,} of {total:,} bytes; run again")
    if found.hexdigest() != file.sha256:
        raise DataError(
            f"{file.url}: is not the published file (SHA-256 {found.hexdigest()}, published "
            f"{file.sha256}); nothing was kept. Run again, or fetch it from elsewhere"
        )


def _nowhere(name: str, reason: str, downloads: Path, passed_over: list[str]) -> DataError:
    """No network and nothing on disk: the ways out."""
    source = SOURCES[name]
    layouts = [f"ROOT/{layout}/" for layout in source.folders]
    layouts += [f"ROOT/{source.archive}"] if source.archive else []
    urls = " ".join(file.url for file in source.downloads)
    lines = [
        f"{name}: is not on this machine, and {reason}",
        *passed_over,
        f"Ways out: set CONVSCOPE_DATA=ROOT, a folder with {' or '.join(layouts)}",
        f"or fetch {urls} elsewhere and put it into {downloads}",
        "or take mnist, which is inside the package and needs no network",
    ]
    return DataError("\n  ".join(lines))
