"""Small data sets in the forms that their publishers have."""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np

from convscope.data.published import PUBLISHED
from convscope.data.sources import open_data

IDX_NAMES = [name for names in PUBLISHED["fashion-mnist"].files.values() for name in names]


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return head + array.astype(np.uint8).tobytes()


def small_fashion(seed=0) -> dict[str, bytes]:
    """Four IDX files of 20 and 10 images."""
    random = np.random.default_rng(seed)
    arrays = []
    for count in (20, 10):
        arrays += [random.integers(0, 256, (count, 28, 28)), np.arange(count) % 10]
    return dict(zip(IDX_NAMES, map(idx, arrays), strict=True))


def small_cifar(label_bytes=(10,), counts=(4, 4, 4, 4, 4, 5), seed=0) -> list[bytes]:
    """CIFAR files of so many records."""
    random = np.random.default_rng(seed)
    labels = [np.stack([np.arange(n) % limit for limit in label_bytes], 1) for n in counts]
    pixels = [random.integers(0, 256, (n, 3072)) for n in counts]
    pairs = zip(labels, pixels, strict=True)
    return [np.hstack(pair).astype(np.uint8).tobytes() for pair in pairs]


def cifar100_archive(**changed) -> bytes:
    """A tar.gz as the publisher's, but small; ``changed`` replaces or (None) drops members."""
    train, test = small_cifar((20, 100), (150, 30))
    members = {"train.bin": train, "test.bin": test, "fine_label_names.txt": b"apple\n"}
    members |= {name.replace("_", "."): content for name, content in changed.items()}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in members.items():
            if content is not None:
                info = tarfile.TarInfo(f"cifar-100-binary/{name}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def put(folder: Path, contents: dict[str, bytes], gzipped=False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if gzipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, 1))
        else:
            (folder / name).write_bytes(content)


def opened(name, **options):
    """A pack and the events that came with it."""
    events: list = []
    return open_data(name, events.append, **options), events
