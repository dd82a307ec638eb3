"""The published data sets as sources: inside the package, on this machine, from their publishers.

Where their images come from is settled in this order: the package (MNIST), every folder in
``CONVSCOPE_DATA``, the cache, Debian's ``/usr/share/datasets``, the publisher.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import tarfile
import urllib.request
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from convscope import files
from convscope.data import cache, mnist
from convscope.data import columns as typed
from convscope.data.columns import IMAGE, LABEL
from convscope.data.pack import FORMAT_VERSION, Pack, check, read_meta
from convscope.data.pack_writer import Chunk
from convscope.data.published import (
    PUBLISHED,
    Download,
    Published,
    Splits,
    files_in,
    parse,
    read_bytes,
    read_members,
)
from convscope.data.source import Contents, Place
from convscope.errors import DataError
from convscope.events import Emit, Notice, Progress
from convscope.formatting import binary_size

DEBIAN = Path("/usr/share/datasets")  # where its packages put data


class PublishedSource:
    """A published data set, from the first complete copy there is, else from its publisher."""

    too_large = True
    has_test = True

    def __init__(self, name: str, download: bool = True) -> None:
        self.name, self.download, self.published = name, download, PUBLISHED[name]
        self.place = cache.pack_folder(f"{name}-{FORMAT_VERSION}")

    @cached_property
    def _found(self) -> tuple[list[Path], list[str]]:
        """The files of the first complete copy on this machine, and what was passed over before."""
        return _on_disk(self.published)

    def locate(self) -> Place:
        """See :class:`~convscope.data.source.Source`."""
        if paths := self._found[0]:
            return Place("disk", str(_place(paths)))
        if self.place.is_dir():
            return Place("pack", f"{self.place} (its source files are gone)")
        size = binary_size(sum(file.size for file in self.published.downloads), 0)
        return Place("download", f"download of {size} from {_address(self.published)}")

    def stamp(self, emit: Emit) -> Any:
        """Size and modification time of each file."""
        return _stamps(self._found[0]) if self._found[0] else None

    @contextlib.contextmanager
    def chunks(self, emit: Emit) -> Iterator[Contents]:
        """The whole of each split at once; downloaded where no copy is here."""
        paths, passed_over = self._found
        for text in passed_over:
            emit(Notice(f"{self.name}: {text}", warning=True))
        paths = paths or _fetch(self.name, passed_over, emit, self.download)
        splits = _read(self.published, paths)
        yield self._contents(splits, _stamps(paths), str(_place(paths)))

    def _contents(self, splits: Splits, stamp: Any, where: str) -> Contents:
        columns = typed.image_and_label(self.published.image_shape, self.published.classes)
        values = {split: {IMAGE: x, LABEL: y} for split, (x, y) in splits.items()}
        check(columns, values, f"{self.name} ({where})")
        counts = {split: len(labels) for split, (_, labels) in splits.items()}
        chunks = {split: [Chunk(one)] for split, one in values.items()}
        return Contents(columns, counts, chunks, stamp, where)

    def remarks(self, pack: Pack) -> Iterable[Notice]:
        """Whether these are the published images."""
        counts = {split: len(data) for split, data in pack.splits.items()}
        differs = (self.published.fingerprint or pack.fingerprint) != pack.fingerprint
        if pack.folder is not None and (counts != self.published.counts or differs):
            where = read_meta(pack.folder).get("source")
            text = f"the images from {where} are not the published data set; used as they are"
            yield Notice(f"{self.name}: {text}", warning=True)


class PackagedSource(PublishedSource):
    """MNIST, which is inside the package."""

    too_large = False

    def locate(self) -> Place:
        """See :class:`~convscope.data.source.Source`."""
        return Place("package", "inside the package")

    def stamp(self, emit: Emit) -> Any:
        """The fingerprint of what is inside."""
        return {"fingerprint": self.published.fingerprint}

    @contextlib.contextmanager
    def chunks(self, emit: Emit) -> Iterator[Contents]:
        """The whole of each split at once."""
        yield self._contents(_mnist(self.published), self.stamp(emit), str(self.locate()))


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


def _address(source: Published) -> str:
    """The one file to fetch, or the folder of several."""
    first = source.downloads[0].url
    return first if len(source.downloads) == 1 else first.rpartition("/")[0]


def _place(paths: Sequence[Path]) -> Path:
    """The archive, or the folder of several files."""
    return paths[0] if len(paths) == 1 else paths[0].parent


def _on_disk(source: Published) -> tuple[list[Path], list[str]]:
    """The files of the first complete copy on this machine, and what was passed over before."""
    passed_over: list[str] = []
    for root, why_searched in roots().items():
        try:
            if why_searched == "CONVSCOPE_DATA" and not root.is_dir():
                passed_over.append(f"{root}, named in CONVSCOPE_DATA, is not a folder")
            if paths := _under(root, source, passed_over):
                return paths, passed_over
        except OSError as why:
            passed_over.append(f"{root} cannot be searched ({why.strerror})")
    return [], passed_over


def _under(root: Path, source: Published, passed_over: list[str]) -> list[Path]:
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


def _mnist(source: Published) -> Splits:
    """MNIST from the file beside this module."""
    path = Path(__file__).with_name("mnist.zlib")
    counts = source.counts
    try:
        images, labels = mnist.expand(path.read_bytes(), sum(counts.values()))
    except (OSError, ValueError) as why:
        raise DataError(f"{path}: is missing or damaged ({why}); install convscope again") from None
    images = images[:, None]  # [N,1,28,28]
    train = counts["train"]
    return {"train": (images[:train], labels[:train]), "test": (images[train:], labels[train:])}


def _read(source: Published, paths: Sequence[Path]) -> Splits:
    """Read a data set's files, packed or not."""
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
    source = PUBLISHED[name]
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
    source = PUBLISHED[name]
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
