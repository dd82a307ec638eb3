"""How long a data set of many small files takes to start: CIFAR-10 as 60,000 PNG files.

    python benchmarks/many_files.py [--repeats 3] [--folder KEPT] [--json FILE]

Written once as class folders under train/ and test/, and as a list (CSV) of all files. Each figure
is the median over processes of their own, with a cache of their own, from ``open_data`` to the
opened pack; what a training looks at before it begins (copies, validation, suspected groups) is
timed beside it. The load of the machine is printed with the figures.

Two cores of an AMD EPYC (family 25, model 17, Zen 4), 2026-11-30, quiet, four packs: 19.4 s the
first time, then 9.7 to 9.9 s; second start 0.5 s of the folder, 0.9 s of the list. By threads,
which share one Python, it was 22.1 s.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from convscope import files
from convscope.data import sources

START = """
import json, sys, time
import torch
from convscope.data import duplicates, groups, split
from convscope.data.sources import open_data
from convscope.recipe import Recipe
began, busy = time.perf_counter(), time.process_time()
pack = open_data(sys.argv[1], **({"labels": sys.argv[2]} if len(sys.argv) > 2 else {}))
opened, busy = time.perf_counter(), time.process_time() - busy
held = split.held_out(Recipe(), pack)
duplicates.found_in(pack), groups.torn(pack, held)
counts = {name: len(one) for name, one in pack.splits.items()}
print(json.dumps([opened - began, busy, time.perf_counter() - opened, counts]))
"""


def write(root: Path) -> None:
    """The files and their list, ``root/cifar10`` and ``root/labels.csv``."""
    pack = sources.open_data("cifar10")
    rows = [
        (f"{split}/{pack.classes[label]}/{at:05}.png", pack.classes[label], split, image)
        for split, held in pack.splits.items()
        for at, (label, image) in enumerate(zip(held.labels, held.images, strict=True))
    ]
    for folder in {Path(file).parent for file, *_ in rows}:
        (root / "cifar10" / folder).mkdir(parents=True)

    def save(row: tuple[str, str, str, object]) -> None:
        Image.fromarray(row[3].transpose(1, 2, 0)).save(root / "cifar10" / row[0])  # type: ignore[attr-defined]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(save, rows))
    lines = ["file,label,split", *(",".join(row[:3]) for row in rows)]
    (root / "labels.csv").write_text("\n".join(lines) + "\n")


def start(cache: Path, *given: Path) -> tuple[float, float, float, dict[str, int]]:
    """Seconds to the opened pack, of all cores' time for it, and that a training looks at it; and
    its counts."""
    done = subprocess.run(
        [sys.executable, "-c", START, *map(str, given)],
        env={**os.environ, "CONVSCOPE_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    opened, busy, looked, counts = json.loads(done.stdout)
    return opened, busy, looked, counts


def measured(root: Path, repeats: int) -> list[dict[str, object]]:
    """A row for the folder and one for the list, in turn."""
    given = {"folder": [root / "cifar10"], "list": [root / "cifar10", root / "labels.csv"]}
    found: dict[str, list[list[float]]] = {name: [] for name in given}
    for _ in range(repeats):
        for name, arguments in given.items():
            with tempfile.TemporaryDirectory(dir=root) as cache:
                first, packing, _, counts = start(Path(cache), *arguments)
                second, again, looked, _ = start(Path(cache), *arguments)
            assert counts == {"train": 50_000, "test": 10_000}, counts
            found[name].append([first, packing, second, again, looked])
            print(f"{name}: pack {first:.1f} s, second start {second:.2f} s", file=sys.stderr)
    columns = ("pack", "pack_cpu", "second_start", "second_start_cpu", "look_before_training")
    return [
        {
            "what": name,
            **dict(zip(columns, map(statistics.median, zip(*of, strict=True)), strict=True)),
        }
        for name, of in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the files are kept, or are already")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = asked.folder or Path(temporary)
        if not (root / "labels.csv").exists():
            write(root)
        before = os.getloadavg()
        rows = measured(root, asked.repeats)
        load = [*before, *os.getloadavg()]
    for row in rows:
        print(
            f"{row['what']:7} pack {row['pack']:.1f} s (processors {row['pack_cpu']:.1f} s)   "
            f"second start {row['second_start']:.2f} s ({row['second_start_cpu']:.2f} s)   "
            f"look before training {row['look_before_training']:.2f} s"
        )
    print(f"load {load[0]:.1f} before, {load[3]:.1f} after, {os.cpu_count()} cores")
    if asked.json:
        files.write_json(asked.json, {"rows": rows, "load": load})


if __name__ == "__main__":
    main()
