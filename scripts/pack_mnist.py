"""Make ``convscope/data/mnist.zlib`` from the official MNIST files.

    python scripts/pack_mnist.py FOLDER

FOLDER holds the four IDX files, gzipped or not. The same files and the same zlib give the same bytes.
"""

import sys
import zlib
from pathlib import Path

from convscope.data import sources


def main(folder: Path) -> None:
    mnist = sources.SOURCES["mnist"]
    splits = sources.read_splits(mnist, sources.contents(mnist, folder))
    content = sources.squeeze_mnist(splits)
    target = Path(sources.__file__).with_name("mnist.zlib")
    target.write_bytes(content)
    print(f"{target}: {len(content):,} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
