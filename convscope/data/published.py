"""The published data sets: what each is, how its files are laid out, and how they are read."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Splits = dict[str, tuple[Bytes, Bytes]]


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
class Published:
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

PUBLISHED: dict[str, Published] = {
    "mnist": Published(
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
    "fashion-mnist": Published(
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
    "cifar10": Published(
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
    "cifar100": Published(
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


def files_in(source: Published, folder: Path) -> list[Path | None]:
    """The data set's files in ``folder``, in the order of ``source.files``.

    None stands for one that is missing; IDX files may be gzipped.
    """
    endings = ("", ".gz") if source.label_bytes is None else ("",)
    names = [name for split in source.files.values() for name in split]
    candidates = [[folder / (name + ending) for ending in endings] for name in names]
    return [next(filter(Path.is_file, paths), None) for paths in candidates]


def parse(source: Published, contents: Mapping[str, bytes]) -> Splits:
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


def _records(source: Published, name: str, content: bytes) -> Bytes:
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


def read_bytes(path: Path) -> bytes:
    """What is in a file, or inside a gzipped one; ValueError names one that cannot be read."""
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as why:
        raise ValueError(f"{path.name}: {why}") from None


def read_members(archive: Path, wanted: set[str]) -> dict[str, bytes]:
    """The wanted files of a tar archive by base name, wherever they stand; none is extracted.

    ValueError says what it does not hold.
    """
    contents: dict[str, bytes] = {}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            name = member.name.rpartition("/")[2]
            if name in wanted and member.isfile() and (file := tar.extractfile(member)):
                contents[name] = file.read()
    if missing := sorted(wanted - contents.keys()):
        raise ValueError(f"it holds no {', '.join(missing)}")
    return contents
