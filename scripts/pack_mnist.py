"""Make ``convscope/data/mnist.zlib`` from the official MNIST files.

    python scripts/pack_mnist.py FOLDER [TARGET]

FOLDER holds the four IDX files, gzipped or not. The same files and the same zlib give the same
bytes.
"""

import sys
from pathlib import Path

import numpy as np

from convscope.data import mnist
from convscope.data.published import PUBLISHED, files_in, parse, read_bytes


def main(folder: Path, target: Path) -> None:
    """Read the files of ``folder``, write ``target``, and read it back."""
    paths = [path for path in files_in(PUBLISHED["mnist"], folder) if path]
    if len(paths) != 4:
        sys.exit(f"{folder}: holds {len(paths)} of the four IDX files of MNIST")
    contents = {path.name.removesuffix(".gz"): read_bytes(path) for path in paths}
    splits = parse(PUBLISHED["mnist"], contents)
    images = np.concatenate([splits[split][0] for split in ("train", "test")])[:, 0]
    labels = np.concatenate([splits[split][1] for split in ("train", "test")])
    packed = mnist.squeeze(images, labels)
    again = mnist.expand(packed, len(images))
    if not (np.array_equal(images, again[0]) and np.array_equal(labels, again[1])):
        sys.exit("the packed file does not give the images back; nothing was written")
    target.write_bytes(packed)
    print(f"{target}: {len(images):,} images in {len(packed):,} bytes")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    beside = Path(mnist.__file__).with_suffix(".zlib")
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else beside)
