"""The data sets as the peers' scripts read them, written from convscope's own copies.

MNIST as IDX files for torchvision and as ``mnist.npz`` for Keras; CIFAR-10 as the pickles of its
'python version', which torchvision's class reads; and a folder of JPEG files of the size and weight
of small photographs, drawn from CIFAR-10's images, the same ones each time.
"""

from __future__ import annotations

import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.data import sources


def mnist_idx(root: Path) -> None:
    """``root/MNIST/raw``, as torchvision expects it."""
    pack = sources.open_data("mnist")
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split, prefix in (("train", "train"), ("test", "t10k")):
        part = pack.splits[split]
        count, _, height, width = part.images.shape
        header = b"".join(n.to_bytes(4, "big") for n in (0x803, count, height, width))
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(header + part.images.tobytes())
        header = b"".join(n.to_bytes(4, "big") for n in (0x801, count))
        labels = part.labels.astype("uint8").tobytes()
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(header + labels)


def mnist_npz(root: Path) -> None:
    """``root/mnist.npz``, as ``keras.datasets.mnist`` has it."""
    splits = sources.open_data("mnist").splits
    arrays = {}
    for split in ("train", "test"):
        arrays[f"x_{split}"] = splits[split].images[:, 0]  # [N,28,28]
        arrays[f"y_{split}"] = splits[split].labels.astype(np.uint8)
    root.mkdir(parents=True, exist_ok=True)
    np.savez(root / "mnist.npz", **arrays)


def cifar_pickles(root: Path) -> None:
    """``root/cifar-10-batches-py``, as torchvision's CIFAR10 expects it but for the check sums."""
    pack = sources.open_data("cifar10")
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    train, test = pack.splits["train"], pack.splits["test"]
    parts = {
        f"data_batch_{number + 1}": (images, labels)
        for number, (images, labels) in enumerate(
            zip(np.split(train.images, 5), np.split(train.labels, 5), strict=True)
        )
    }
    for name, (images, labels) in {**parts, "test_batch": (test.images, test.labels)}.items():
        content = {"data": np.array(images).reshape(len(images), -1), "labels": labels.tolist()}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(pack.classes)}))


def jpegs(root: Path, count: int) -> None:
    """``root/<class>/<number>.jpg``: ``count`` JPEGs of about 400 x 300 pixels and 35 kB.

    An image of CIFAR-10 gives each its large shapes and its class; noise at several scales gives it
    the texture that makes a photograph as slow to decode as it is.
    """
    pack = sources.open_data("cifar10")
    images, labels = pack.splits["train"].images[:count], pack.splits["train"].labels[:count]
    for name in pack.classes:
        (root / name).mkdir(parents=True)

    def write(index: int) -> None:
        where = root / pack.classes[labels[index]] / f"{index:05}.jpg"
        where.write_bytes(photograph(images[index], index))

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(len(labels))))


def photograph(image: NDArray[np.uint8], seed: int) -> bytes:
    """A JPEG of about 400 x 300 pixels from an image [3,32,32]."""
    random = np.random.default_rng(seed)
    width, height = int(random.integers(360, 441)), int(random.integers(270, 331))
    large = Image.fromarray(image.transpose(1, 2, 0)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    texture = np.zeros((height, width), np.float32)
    for scale, strength in ((1, 4.0), (2, 6.0), (4, 8.0), (8, 8.0)):
        noise = random.standard_normal((height // scale + 1, width // scale + 1), np.float32)
        grown = Image.fromarray(noise * strength).resize((width, height), Image.Resampling.BILINEAR)
        texture += np.asarray(grown)
    pixels = np.asarray(large, np.float32) + texture[:, :, None]  # [H,W,3]
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=88)
    return file.getvalue()
