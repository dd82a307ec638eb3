"""The same network over the same files by ``convscope predict --into``, in Ray Data and in Spark.

    PYTHON benchmarks/scaling/engines.py FILE.onnx [--images 20000] [--json FILE]

PYTHON has ray and pyspark beside convscope, and Java for Spark; no PyTorch is needed. The files are
MNIST's test digits as PNG in one folder, the network is that of ``mnist-cnn``, exported. Ray and
Spark run the blocks of ``docs/batch.md`` as they are written, each in a process of its own. Seconds
are of whole processes; the images a second are of what so many images take more than a twentieth
of them, so that the start of an engine is not in them.

Two cores of an AMD EPYC (family 25, model 17, Zen 4), 2026-11-30, Ray 2.60.0, PySpark 4.3.0, Java
17: 7,815 images a second by the command, 2,820 by Ray, 438 by Spark; 3, 18 and 62 s from start to
end.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from convscope import files, machine
from convscope.data import sources

PAGE = Path(__file__).resolve().parents[2] / "docs" / "batch.md"


def sides() -> dict[str, list[str]]:
    """The command of each, to be typed beside ``photos`` and ``model.onnx``."""
    found = {"convscope": ["-m", "convscope", "predict", "model.onnx", "photos", "--into", "out"]}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S):
        for name in ("ray", "pyspark"):
            if f"import {name}" in block or f"from {name}" in block:
                found[name] = ["-W", "ignore", "-c", block]
    return found


def seconds(words: list[str], place: Path) -> float:
    """How long a process takes there, by two cores; what it wrote is removed."""
    for name in ("out", "ray-answers", "spark-answers"):
        shutil.rmtree(place / name, ignore_errors=True)
    began = time.perf_counter()
    own = {**os.environ, "PYSPARK_PYTHON": sys.executable}
    subprocess.run(
        [sys.executable, *words],
        check=True, cwd=place, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - began


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("file", type=Path, help="of a network of MNIST, see `convscope export`")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(argv)
    before, took = os.getloadavg(), {}
    counts = asked.images // 20, asked.images
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        images = sources.open_data("mnist").splits["test"].images
        for count in counts:
            place = root / str(count)
            (place / "photos").mkdir(parents=True)
            shutil.copy(asked.file, place / "model.onnx")
            for n in range(count):
                Image.fromarray(images[n % len(images), 0]).save(place / f"photos/{n:06}.png")
        for name, words in sides().items():
            took[name] = few, many = [seconds(words, root / str(count)) for count in counts]
            rate = (counts[1] - counts[0]) / (many - few)
            print(f"{name}: {many:.0f} s, {counts[0]:,} images {few:.0f} s: {rate:,.0f} images/s")
    load = [*before, *os.getloadavg()]
    print(f"load {load[0]:.1f} before, {load[3]:.1f} after; {machine.processor()}")
    if asked.json:
        files.write_json(asked.json, took)


if __name__ == "__main__":
    main()
