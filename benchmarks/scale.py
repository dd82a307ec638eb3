"""What happens beyond one laptop, a part at a time.

    python benchmarks/scale.py stages PHOTOS     bytes and images a second of every stage
    python benchmarks/scale.py ranks             one, two and four processes, killed and gone on
    python benchmarks/scale.py packs             a pack ten times as large as memory may be
    python benchmarks/scale.py tuning            one study of two processes
    python benchmarks/scale.py predicting        a million images, killed twice
    python benchmarks/scale.py estimator         scikit-learn's contract, and what it costs

Each part is a module of ``benchmarks/scaling``, with its own options (``--help``) and its last
result beside it.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    folder = Path(__file__).resolve().parent
    parts = sorted(path.stem for path in (folder / "scaling").glob("[a-z]*.py"))
    if not arguments or arguments[0] not in parts:
        print(f"{__doc__}\nparts: {', '.join(parts)}", file=sys.stderr)
        return 2
    sys.path.insert(0, str(folder))
    return importlib.import_module(f"scaling.{arguments[0]}").main(arguments[1:]) or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
