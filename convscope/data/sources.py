"""Data sets by name: inside the package, on this machine, or from their publishers.

``open_data`` hands out a pack from the cache and makes it on first use. Where the images come from
is settled in this order: the package (MNIST), every folder in ``CONVSCOPE_DATA``, the cache,
Debian's ``/usr/share/datasets``, the publisher.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import os
import shutil
import tarfile
import urllib.request
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from convscope import files
from convscope.data import mnist
from convscope.data.pack import FORMAT_VERSION, Pack, open_pack, read_meta, write_pack
from convscope.errors import BadArgument, ConvscopeError, DataError, nearest
from convscope.events import Emit, Notice, Progress, silent

Bytes = npt.NDArray[np.uint8]
Splits = dict[str, tuple[Bytes, Bytes]]

DEBIAN = Path("/usr/share/datasets")  # where its packages put data


@dataclass(frozen=True)
class Download:
    """A published file: its size in bytes; the SHA-256 of it, or of what is ``inside`` its gzip."""

    url: str
    size: int
    sha256: str
    inside: bool = False

    @property
    def name(self) -> str:
        """The file's name without the address."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A published data set: what it is, and how its files are named and laid out.

    ``files`` names the files of each split, ``folders`` where they stand under a root.
    ``label_bytes`` is None for IDX files; for CIFAR's records it says how many values each byte
    before the pixels may take, the last being the label.
    """

    title: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]  # [C,H,W]
    counts: Mapping[str, int]
    licence: str
    home_page: str
    files: Mapping[str, tuple[str, ...]]
    folders: tuple[str, ...]
    label_bytes: tuple[int, ...] | None = None
    downloads: tuple[Download, ...] = ()
    pickles: tuple[str, ...] = ()
    fingerprint: str | None = None

    @property
    def archive(self) -> str | None:
        """The name of the one archive that holds every file, if it is published so."""
        return self.downloads[0].name if self.label_bytes else None


@dataclass(frozen=True)
class Place:
    """Where a data set comes from: ``kind``, and ``where`` in words."""

    kind: Literal["package", "disk", "pack", "download"]
    where: str

    def __str__(self) -> str:
        return self.where


_IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_FASHION = "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot"
_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile
cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp
lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom
oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake
spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
_ZALANDO = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
_TORONTO = "https://www.cs.toronto.edu/~kriz"

SOURCES: dict[str, Source] = {
    "mnist": Source(
        title="MNIST: handwritten digits",
        classes=tuple("0123456789"),
        image_shape=(1, 28, 28),
        counts={"train": 60_000, "test": 10_000},
        licence="CC BY-SA 3.0, Yann LeCun, Corinna Cortes, Christopher J.C. Burges",
        home_page="http://yann.lecun.com/exdb/mnist/",
        files=_IDX_FILES,
        folders=("MNIST/raw",),
        fingerprint="a659a129c030dc2699965dd294a8a2e971bc52a9c8877a8002057e63d00572dc",
    ),
    "fashion-mnist": Source(
        title="Fashion-MNIST: articles of clothing",
        classes=tuple(_FASHION.split(", ")),
        image_shape=(1, 28, 28),
        counts={"train": 60_000, "test": 10_000},
        licence="MIT, Zalando SE",
        home_page="https://github.com/zalandoresearch/fashion-mnist",
        files=_IDX_FILES,
        folders=("FashionMNIST/raw", "fashion-mnist"),
        downloads=(
            Download(
                f"{_ZALANDO}/train-images-idx3-ubyte.gz",
                26_421_880,
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                inside=True,
            ),
            Download(
                f"{_ZALANDO}/train-labels-idx1-ubyte.gz",
                29_515,
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                inside=True,
            ),
            Download(
                f"{_ZALANDO}/t10k-images-idx3-ubyte.gz",
                4_422_102,
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                inside=True,
            ),
            Download(
                f"{_ZALANDO}/t10k-labels-idx1-ubyte.gz",
                5_148,
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
                inside=True,
            ),
        ),
        fingerprint="6991ab73a70a5ae41687f0799fbb79ffa983029551b85839c404d99cce7b871c",
    ),
    "cifar10": Source(
        title="CIFAR-10: small photographs, 10 classes",
        classes=tuple(_CIFAR10.split()),
        image_shape=(3, 32, 32),
        counts={"train": 50_000, "test": 10_000},
        licence="none stated; Alex Krizhevsky asks to be cited (2009)",
        home_page="https://www.cs.toronto.edu/~kriz/cifar.html",
        files={
            "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
            "test": ("test_batch.bin",),
        },
        folders=("cifar-10-batches-bin",),
        label_bytes=(10,),
        downloads=(
            Download(
                f"{_TORONTO}/cifar-10-binary.tar.gz",
                170_052_171,
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ),
        ),
        pickles=("cifar-10-batches-py", "cifar-10-python.tar.gz"),
        fingerprint="c503ed42f78ab8798ccab451f408eea16cf2ec6cbcc5b7f3c1bdf8d92b3334fc",
    ),
    "cifar100": Source(
        title="CIFAR-100: small photographs, 100 classes",
        classes=tuple(_CIFAR100.split()),
        image_shape=(3, 32, 32),
        counts={"train": 50_000, "test": 10_000},
        licence="none stated; Alex Krizhevsky asks to be cited (2009)",
        home_page="https://www.cs.toronto.edu/~kriz/cifar.html",
        files={"train": ("train.bin",), "test": ("test.bin",)},
        folders=("cifar-100-binary",),
        label_bytes=(20, 100),  # superclass, class
        downloads=(
            Download(
                f"{_TORONTO}/cifar-100-binary.tar.gz",
                168_513_733,
                "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            ),
        ),
        pickles=("cifar-100-python", "cifar-100-python.tar.gz"),
    ),
}


def open_data(name: str, emit: Emit = silent, download: bool = True) -> Pack:
    """The pack of a data set, made in the cache on first use and again when its files change.

    A pack whose files have gone is used as it is. Raises BadArgument for an unknown name, and
    DataError where the data is nowhere to be had, is damaged, or cannot be written to the cache.
    """
    source = _known(name)
    folder = _pack_folder(name)
    paths, passed_over = _on_disk(name)
    if not (folder.is_dir() and _is_current(name, folder, paths)):
        if name == "mnist":
            where, stamps, splits = str(locate(name)), {}, _mnist()
        else:
            for text in passed_over:
                emit(Notice(f"{name}: {text}", warning=True))
            paths = paths or _fetch(name, passed_over, emit, download)
            where, stamps, splits = str(_place(paths)), _stamps(paths), _read(name, paths)
        try:
            files.clear_unfinished(folder.parent, older_than=24 * 3600)
            if folder.is_dir() and not _is_current(name, folder, paths):
                _remove(folder)
            write_pack(folder, name, source.classes, splits, where, read_from=stamps)
        except DataError:
            raise
        except (ConvscopeError, OSError) as why:
            raise _cache_error(why) from why
        emit(Notice(f"{name}: packed into {folder} (from {where})"))
    pack = open_pack(folder)
    counts = {split: len(data) for split, data in pack.splits.items()}
    if counts != source.counts or (source.fingerprint or pack.fingerprint) != pack.fingerprint:
        text = f"the images from {read_meta(folder).get('source')} are not the published data set"
        emit(Notice(f"{name}: {text}; used as they are", warning=True))
    return pack


def locate(name: str) -> Place:
    """Where ``open_data`` would take a data set from now; nothing is read, fetched or written."""
    source = _known(name)
    if name == "mnist":
        return Place("package", "inside the package")
    if paths := _on_disk(name)[0]:
        return Place("disk", str(_place(paths)))
    if _pack_folder(name).is_dir():
        return Place("pack", f"{_pack_folder(name)} (its source files are gone)")
    size = sum(file.size for file in source.downloads) / 2**20
    return Place("download", f"download of {size:.0f} MiB from {_address(source)}")


def roots() -> dict[Path, str]:
    """The folders that are searched, in order, and why."""
    chosen = filter(None, os.environ.get("CONVSCOPE_DATA", "").split(os.pathsep))
    cache = files.cache_root()
    return {
        **{Path(root).expanduser(): "CONVSCOPE_DATA" for root in chosen},
        cache: "cache",
        cache / "downloads": "cache",
        DEBIAN: "Debian",
    }


def files_in(source: Source, folder: Path) -> list[Path | None]:
    """The data set's files in ``folder``, in the order of ``source.files``.

    None stands for one that is missing; IDX files may be gzipped.
    """
    endings = ("", ".gz") if source.label_bytes is None else ("",)
    names = [name for split in source.files.values() for name in split]
    candidates = [[folder / (name + ending) for ending in endings] for name in names]
    return [next(filter(Path.is_file, paths), None) for paths in candidates]


def parse(source: Source, contents: Mapping[str, bytes]) -> Splits:
    """The splits in the bytes of the files, given by name: images ``[N,C,H,W]``, labels ``[N]``.

    Formats: http://yann.lecun.com/exdb/mnist/ (IDX) and https://www.cs.toronto.edu/~kriz/cifar.html
    (binary version). Raises ValueError, naming the file, for whatever is not exactly in the format.
    """
    splits = {}
    for split, names in source.files.items():
        if source.label_bytes is None:
            images, labels = (_idx(name, contents[name]) for name in names)
            if images.shape[1:] != source.image_shape[1:]:
                raise ValueError(f"{names[0]} holds {list(images.shape)}, not [N,28,28]")
            splits[split] = images.reshape(-1, *source.image_shape), labels
        else:
            records = np.concatenate([_records(source, name, contents[name]) for name in names])
            at = len(source.label_bytes)
            images = records[:, at:].reshape(-1, *source.image_shape)
            splits[split] = images, records[:, at - 1]
    return splits


def _idx(name: str, content: bytes) -> Bytes:
    """The array in an IDX file of unsigned bytes."""
    dimensions = 3 if "idx3" in name else 1
    start = 4 + 4 * dimensions
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) < start:
        raise ValueError(f"{name} does not begin as an IDX file of {dimensions} dimensions")
    shape = [int(number) for number in np.frombuffer(content[4:start], ">u4")]
    if len(content) - start != np.prod(shape, dtype=object):
        raise ValueError(
            f"{name} has {len(content) - start:,} bytes of data, its head says {shape}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _records(source: Source, name: str, content: bytes) -> Bytes:
    """The records of a CIFAR file, ``[N, label bytes + 3072]``."""
    limits = source.label_bytes or ()
    length = len(limits) + int(np.prod(source.image_shape))
    if not content or len(content) % length:
        raise ValueError(f"{name} has {len(content):,} bytes, not a multiple of {length:,}")
    records = np.frombuffer(content, np.uint8).reshape(-1, length)
    for at, limit in enumerate(limits):
        if records[:, at].max() >= limit:
            index = int(records[:, at].argmax())
            label = records[index, at]
            raise ValueError(f"{name} has label {label} in record {index}, outside 0..{limit - 1}")
    return records


def _known(name: str) -> Source:
    if name not in SOURCES:
        raise BadArgument("data", name, "is not a known data set", nearest(str(name), SOURCES))
    return SOURCES[name]


def _pack_folder(name: str) -> Path:
    return files.cache_root() / "packs" / f"{name}-{FORMAT_VERSION}"


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
    for folder in source.folders:
        found = files_in(source, root / folder)
        paths = [path for path in found if path]
        if len(paths) == len(found):
            return paths
        if paths:
            text = f"{root / folder} is incomplete ({len(paths)} of {len(found)} files)"
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


def _is_current(name: str, folder: Path, paths: Sequence[Path]) -> bool:
    """Whether a pack is what these files, or the package, would give again."""
    meta = read_meta(folder)
    if name == "mnist":
        return bool(meta.get("fingerprint") == SOURCES[name].fingerprint)
    return not paths or bool(meta.get("read_from") == _stamps(paths))


def _remove(folder: Path) -> None:
    """Remove an outdated pack; whoever has it open keeps it."""
    aside = folder.with_name(f"{files.TEMPORARY}{folder.name}-old-{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _cache_error(why: Exception) -> DataError:
    cache = files.cache_root()
    return DataError(
        f"the cache {cache} cannot take the data ({why}); set CONVSCOPE_CACHE to a folder that can"
    )


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
            contents = _members(paths[0], wanted)
        else:
            contents = {path.name.removesuffix(".gz"): read_bytes(path) for path in paths}
        return parse(source, contents)
    except (ValueError, OSError, EOFError, zlib.error, tarfile.TarError) as why:
        place = _place(paths)
        text = f"{place}: is damaged ({why}); copy it again, or remove it to have it fetched"
        raise DataError(text) from None


def read_bytes(path: Path) -> bytes:
    """What is in a file, or inside a gzipped one; ValueError names one that cannot be read."""
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as why:
        raise ValueError(f"{path.name}: {why}") from None


def _members(archive: Path, wanted: set[str]) -> dict[str, bytes]:
    """The wanted files of a tar archive by base name, wherever they stand; none is extracted."""
    contents: dict[str, bytes] = {}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            name = member.name.rpartition("/")[2]
            if name in wanted and member.isfile() and (file := tar.extractfile(member)):
                contents[name] = file.read()
    if missing := sorted(wanted - contents.keys()):
        raise ValueError(f"it holds no {', '.join(missing)}")
    return contents


def _fetch(name: str, passed_over: list[str], emit: Emit, allowed: bool) -> list[Path]:
    """Download what is missing of a data set into the cache."""
    source = SOURCES[name]
    folder = files.cache_root() / "downloads"
    if source.archive is None:
        folder /= source.folders[-1]
    targets = [folder / file.name for file in source.downloads]
    for file, target in zip(source.downloads, targets, strict=True):
        if target.is_file():
            continue
        if not allowed:
            raise _nowhere(name, "downloading was not allowed", folder, passed_over)
        request = urllib.request.Request(file.url, headers={"User-Agent": "convscope"})
        try:
            response = urllib.request.urlopen(request, timeout=30)
        except (OSError, http.client.HTTPException) as why:
            reason = f"{file.url} cannot be reached ({str(why).strip('<>')})"
            raise _nowhere(name, reason, folder, passed_over) from None
        try:
            with response, files.whole_file(target) as out:
                for chunk in _checked(response, file, f"download {name}", emit):
                    out.write(chunk)
        except DataError:
            raise
        except (ConvscopeError, OSError) as why:
            raise _cache_error(why) from why
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
    layouts = [f"ROOT/{folder}/" for folder in source.folders]
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
