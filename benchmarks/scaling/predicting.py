"""A million images predicted into a folder, killed twice: each exactly once, and in what memory.

    python benchmarks/scale.py predicting [--run RUN] [--images 1000000] [--kills 2] [--seed 0]
                                          [--paired 200000] [--pairs 3] [--json FILE]

The images are a pack of MNIST's test images, repeated; the network is that of ``mnist-cnn`` as an
ONNX file, so that no process imports PyTorch. ``convscope predict FILE --data PACK --into DIR`` is
ended by SIGKILL, its first process alone, at random moments of its progress, and typed again; those
that it had begun must be gone then by themselves. In the end every image has to be in exactly one
part, with the answer that its first copy has. Resident memory is that of all its processes, seen
twice a second; a tenth is one of the images.

Then as many images as are ``paired`` go, in turn, through the command and through the loop that
one would write instead: ONNX Runtime with all cores, 256 images of the mapped array at a time, a
row each of the likeliest class and its probability into a CSV (``--top-k 1``). Seconds are of whole
processes, imports and all, which are compiled.

Two cores of an AMD EPYC (family 25, model 17, Zen 4), 2026-12-01: 1,000,000 images in 43 s, killed
twice, each exactly once; 323 MiB of two processes in the first tenth, 321 in the last, at most 330;
what the killed process had begun ended within 2.0 s. 200,000 images: 23,995 a second, the loop
28,594, in 5 pairs 0.84 times (0.80 to 1.02), starts and all.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from convscope import files, machine
from convscope.data import sources
from convscope.data.columns import image_and_label
from convscope.data.pack_writer import Chunk, write_stream
from convscope.predicting.manifest import shard_of

PEER = """
import csv, sys
import numpy as np, onnxruntime
file, images, out = sys.argv[1:]
session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
images = np.load(images, mmap_mode="r")
with open(out, "w", newline="") as opened:
    writer = csv.writer(opened)
    writer.writerow(["file", "label", "p"])
    for at in range(0, len(images), 256):
        [p] = session.run(["probabilities"], {"images": images[at : at + 256]})
        best = p.argmax(axis=1)
        writer.writerows(
            (at + i, k, f"{p[i, k]:.6f}") for i, k in enumerate(best.tolist())
        )
"""


def repeated(folder: Path, count: int) -> Path:
    """A pack of so many of MNIST's test images, one after the other, again and again."""
    mnist = sources.open_data("mnist")
    split = mnist.splits["test"]

    def chunks() -> Iterator[Chunk]:
        for at in range(0, count, len(split)):
            some = min(len(split), count - at)
            yield Chunk({"image": split.images[:some], "label": split.labels[:some]})

    columns = image_and_label(split.images.shape[1:], mnist.classes)
    write_stream(folder, "repeated", columns, {"test": chunks()}, {"test": count}, {})
    return folder


def tree(root: int) -> list[int]:
    """A process and all that it has begun."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it ended
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for one in found:
        found += parents.get(one, [])
    return found


def resident(processes: list[int]) -> int:
    """Their resident memory in bytes."""
    total = 0
    for one in processes:
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
    return total * os.sysconf("SC_PAGE_SIZE")


def command(file: Path, pack: Path, out: Path) -> list[str]:
    """What is typed."""
    words = [sys.executable, "-m", "convscope", "predict", file, "--data", pack, "--into", out]
    return [*map(str, words), "--json"]


def attempt(words: list[str], out: Path, shards: int, until: float) -> dict[str, Any]:
    """One process, ended by SIGKILL once so large a share of the shards is done; what was seen of
    its memory by the share that was done, and how long those that it had begun outlived it."""
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seen: list[tuple[float, int]] = []
    began, alive = time.perf_counter(), [child.pid]
    while child.poll() is None:
        marks = out / "shards"
        done = len(list(marks.glob("0*.json"))) / shards if marks.is_dir() else 0.0
        alive = tree(child.pid)
        seen.append((done, resident(alive)))
        if done >= until:
            time.sleep(random.random())
            alive = tree(child.pid)
            child.send_signal(signal.SIGKILL)
            child.wait()
            break
        time.sleep(0.5)
    seconds = time.perf_counter() - began
    ended = time.perf_counter()
    while any(Path(f"/proc/{one}").exists() for one in alive[1:]):
        if time.perf_counter() - ended > 60:
            raise SystemExit("a process outlived the one that began it by a minute")
        time.sleep(0.02)
    outlived = time.perf_counter() - ended
    return {"code": child.returncode, "seconds": seconds, "seen": seen, "outlived": outlived}


def checked(out: Path, count: int, period: int) -> None:
    """Raise AssertionError unless every image is in one part, with the answer of its first copy."""
    times, first = np.zeros(count, np.int64), []
    for part in sorted((out / "predictions").iterdir()):
        with part.open(newline="") as file:
            for row in csv.DictReader(file):
                n, answer = int(row["file"]), (row["label_1"], row["label_2"])
                times[n] += 1
                if n < period:
                    first.append(answer)
                assert answer == first[n % period], (part, row)
    assert (times == 1).all(), f"{(times != 1).sum():,} images are not there once"
    assert not list(out.rglob(f"{files.TEMPORARY}*")), "something unfinished was left"


def killed(file: Path, pack: Path, out: Path, count: int, kills: int) -> dict[str, Any]:
    """The million, killed so many times at random."""
    shards = -(-count // shard_of(count))
    bounds = np.linspace(0, 1, kills + 1)
    moments = [random.uniform(low, high) for low, high in itertools.pairwise(bounds)]
    attempts = []
    for until in [*moments, 2.0]:
        attempts.append(attempt(command(file, pack, out), out, shards, until))
        done, took = len(list((out / "shards").iterdir())), attempts[-1]["seconds"]
        print(f"{done} of {shards} shards after {took:.0f} s", file=sys.stderr)
    assert attempts[-1]["code"] == 0
    checked(out, count, min(count, 10_000))
    seen = [one for tried in attempts for one in tried["seen"]]
    first = [used for done, used in seen if 0 < done <= 0.1]
    last = [used for done, used in seen if 0.9 <= done < 1]
    return {
        "images": count,
        "seconds": sum(one["seconds"] for one in attempts),
        "killed_at": moments,
        "outlived": [one["outlived"] for one in attempts[:-1]],
        "first_tenth": statistics.median(first),
        "last_tenth": statistics.median(last),
        "peak": max(used for _, used in seen),
    }


def paired(file: Path, pack: Path, root: Path, pairs: int) -> dict[str, list[float]]:
    """Seconds of both sides, in turn."""
    found: dict[str, list[float]] = {"ours": [], "peer": []}
    images, out = pack / "test-image.npy", root / "paired"
    peer = [sys.executable, "-c", PEER, *map(str, (file, images, root / "peer.csv"))]
    best = [*command(file, pack, out), "--top-k", "1"]
    for _ in range(pairs):
        for side, words in (("ours", best), ("peer", peer)):
            shutil.rmtree(out, ignore_errors=True)
            began = time.perf_counter()
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            found[side].append(time.perf_counter() - began)
    return found


def exported(root: Path, run: Path | None) -> Path:
    """The ONNX file of a run, one that is trained here if there is none."""
    import convscope as cs

    if run is None:
        run = cs.train("mnist", recipe="mnist-cnn", out=root / "run", look=False).path
    if not (run / "model.onnx").exists():
        cs.export(run)
    return run / "model.onnx"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--run", type=Path, help="of MNIST, else one is trained")
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--paired", type=int, default=200_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(argv)
    random.seed(asked.seed)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # starts are those of an installed program
    before = os.getloadavg()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        file = exported(root, asked.run)
        pack = repeated(root / "pack", asked.images)
        found = killed(file, pack, root / "out", asked.images, asked.kills)
        shutil.rmtree(pack)
        shutil.rmtree(root / "out")
        sides = paired(file, repeated(root / "few", asked.paired), root, asked.pairs)
    moved = (found["last_tenth"] - found["first_tenth"]) / 2**20
    print(
        f"{asked.images:,} images, killed {asked.kills} times: each exactly once; "
        f"{found['seconds']:.0f} s; memory {found['first_tenth'] / 2**20:.0f} MiB in the first "
        f"tenth, {moved:+.0f} MiB in the last, at most {found['peak'] / 2**20:.0f} MiB; processes "
        f"outlived their first by at most {max(found['outlived'], default=0):.1f} s"
    )
    if asked.pairs:
        ratios = [b / a for a, b in zip(sides["ours"], sides["peer"], strict=True)]
        rates = {name: asked.paired / statistics.median(took) for name, took in sides.items()}
        print(
            f"{asked.paired:,} images: {rates['ours']:,.0f} images/s, the loop "
            f"{rates['peer']:,.0f}, in pairs {statistics.median(ratios):.2f} times "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )
    load = [*before, *os.getloadavg()]
    print(f"load {load[0]:.1f} before, {load[3]:.1f} after; {machine.processor()}")
    if asked.json:
        files.write_json(asked.json, found | {"paired": sides})


if __name__ == "__main__":
    main()
