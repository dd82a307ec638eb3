"""Many small images predicted: seconds and memory, against a loop of a DataLoader's.

    python benchmarks/predicting.py [--run RUN] [--images 20000] [--pairs 5] [--json FILE]

The images are MNIST's test digits as PNG files in one folder. Both sides write a CSV of the
likeliest class of each, by the same run's network, in processes of their own and in turn: ours is
``convscope predict RUN FOLDER --csv FILE`` in Python, the peer's a Dataset that opens a file with
Pillow, a DataLoader with a worker a core, and the network in channels-last. Seconds count from the
loaded network to the written file; memory is the highest resident size above that after imports.

Two cores of an AMD EPYC (family 25, model 17, Zen 4), 2026-11-30, ``--images 20000 --pairs 3``:
5,591 images a second against 6,860, in pairs 0.81 to 0.93 times; 65 MiB, of 1,000 images 52 MiB.
The first 2,000 images are decoded by threads, which share one Python, before processes go on;
where threads decoded them all it was 4,673 against 6,465, 0.69 to 0.73.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

import convscope as cs
from convscope import files, machine
from convscope.data import sources

BEGIN = """
import csv, json, resource, sys, time
from pathlib import Path
import numpy as np, torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from convscope import api, trained
from convscope.predicting import listing
run, folder, out = sys.argv[1:]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
imported = peak()
"""
END = """
print(json.dumps([time.perf_counter() - began, peak() - imported]))
"""
SIDES = {
    "ours": """
predictor = api.predictor_of(run)
began = time.perf_counter()
predictions = predictor.stream([folder], 1, digits=False)
listing.write(out, predictor, predictions, top_k=1, digits=False)
""",
    "peer": """
class Files(Dataset):
    def __init__(self):
        self.paths = sorted(Path(folder).glob("*.png"))
    def __len__(self):
        return len(self.paths)
    def __getitem__(self, at):
        with Image.open(self.paths[at]) as image:
            return torch.from_numpy(np.array(image.convert("L")))[None]

loaded = trained.load(run)
network, classes = loaded.network.to(memory_format=torch.channels_last), loaded.classes
began = time.perf_counter()
data = Files()
loader = DataLoader(data, batch_size=256, num_workers=torch.get_num_threads())
with open(out, "w", newline="") as file, torch.inference_mode():
    writer, at = csv.writer(file), 0
    writer.writerow(["file", "label", "p"])
    for images in loader:
        x = images.float().div_(255).to(memory_format=torch.channels_last)
        p, label = network(x).softmax(1).max(1)
        for one, k in zip(p.tolist(), label.tolist()):
            writer.writerow([data.paths[at], classes[k], f"{one:.6f}"])
            at += 1
""",
}


def write(folder: Path, count: int) -> None:
    """So many files."""
    folder.mkdir(parents=True, exist_ok=True)
    images = sources.open_data("mnist").splits["test"].images
    for at in range(count):
        Image.fromarray(images[at % len(images), 0]).save(folder / f"{at:06}.png")


def measure(side: str, run: Path, folder: Path, out: Path) -> tuple[float, float]:
    """Seconds, and bytes above those after imports."""
    words = [sys.executable, "-c", BEGIN + SIDES[side] + END, *map(str, (run, folder, out))]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    seconds, used = json.loads(done.stdout)
    return seconds, used


def same(one: Path, two: Path) -> bool:
    """Whether two files name the same class of each image."""
    tables = [[line.split(",")[:2] for line in path.read_text().splitlines()[1:]]
              for path in (one, two)]  # fmt: skip
    return tables[0] == tables[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--run", type=Path, help="of MNIST, else one is trained")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        run = asked.run or cs.train("mnist", model="cnn", epochs=1, out=root / "run").path
        counts = (asked.images // 20, asked.images)
        for count in counts:
            write(root / str(count), count)
        outs = {side: root / f"{side}.csv" for side in SIDES}
        before, found = os.getloadavg(), {side: [] for side in SIDES}
        few = 0.0
        for _ in range(asked.pairs):
            for side, out in outs.items():
                out.unlink(missing_ok=True)
                found[side].append(measure(side, run, root / str(asked.images), out))
                print(f"{side}: {asked.images / found[side][-1][0]:,.0f} images/s", file=sys.stderr)
            assert same(*outs.values())
        outs["ours"].unlink()
        few = measure("ours", run, root / str(counts[0]), outs["ours"])[1]
    rates = {
        side: statistics.median(asked.images / one for one, _ in some)
        for side, some in found.items()
    }
    ratios = [peer[0] / ours[0] for ours, peer in zip(found["ours"], found["peer"], strict=True)]
    memory = statistics.median(used for _, used in found["ours"])
    print(
        f"{asked.images:,} images: {rates['ours']:,.0f} images/s, peer {rates['peer']:,.0f}, ratio "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); memory "
        f"{memory / 2**20:.0f} MiB, of {counts[0]:,} images {few / 2**20:.0f} MiB"
    )
    load = [*before, *os.getloadavg()]
    print(f"load {load[0]:.1f} before, {load[3]:.1f} after; {machine.processor()}")
    if asked.json:
        files.write_json(asked.json, {"rates": rates, "ratios": ratios, "memory": [few, memory]})


if __name__ == "__main__":
    main()
