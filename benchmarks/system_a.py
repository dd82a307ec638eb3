"""System A: convscope's recipe against the published script, and what both reach.

Both train the same network for 5 epochs on MNIST, each in a process of its own, in turn (A B A B
...), two threads each. The time compared is the whole process, from its start to its end, imports
and test included; beside it stands the time of training alone. convscope's process also reads its
validation split every epoch, fits the temperature, writes the run folder with a checkpoint an
epoch, and draws the report. The seeds are 1, 2, 3, ..., one a pair.

    python benchmarks/system_a.py                five pairs, then mnist-mlp over five seeds, then
    start-up times
    python benchmarks/system_a.py --pairs 1 --seeds 1        a short one
    python benchmarks/system_a.py --only cnn     one part: cnn, mlp or start

Prints a table; writes benchmarks/results/system_a.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

from copies import mnist_idx

from convscope import machine

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "system_a.json"


def timed(*command: str) -> tuple[float, str]:
    """Seconds from start to end of a command, and what it printed."""
    began = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - began, done.stdout


def ours(recipe: str, seed: int, out: Path, *more: str) -> dict[str, float]:
    """One run of a recipe through the command line."""
    command = [sys.executable, "-m", "convscope", "train", "--recipe", recipe, "--threads", "2"]
    seconds, printed = timed(*command, "--seed", str(seed), "--out", str(out), "--json", *more)
    figures = json.loads(printed)
    return {
        "seconds": seconds,
        "train_seconds": figures["train_seconds"],
        "accuracy": figures["accuracy"],
        "precision": tomllib.loads((out / "recipe.toml").read_text())["train"]["precision"],
    }


def theirs(root: Path, seed: int) -> dict[str, float]:
    """One run of the published script."""
    seconds, printed = timed(
        sys.executable, str(HERE / "peers" / "system_a.py"), str(root), "--seed", str(seed)
    )
    return {"seconds": seconds, **json.loads(printed)}


def spread(values: list[float], unit: str = "") -> str:
    """Median and range."""
    median = statistics.median(values)
    return f"{median:.2f}{unit} ({min(values):.2f} to {max(values):.2f})"


def accuracy(runs: list[dict[str, float]]) -> str:
    """Mean and sample standard deviation, in percent."""
    values = [100 * run["accuracy"] for run in runs]
    sd = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.2f} % (sd {sd:.2f}, {len(values)} seeds)"


def compare_cnn(pairs: int, folder: Path) -> dict[str, object]:
    """The recipe and the script, in turn."""
    mnist_idx(folder)
    rows = []
    for pair in range(pairs):
        a = theirs(folder, pair + 1)
        b = ours("mnist-cnn", pair + 1, folder / f"cnn-{pair}")
        rows.append({"script": a, "convscope": b})
        print(
            f"pair {pair + 1}: script {a['seconds']:.1f} s, {a['accuracy']:.2%}; "
            f"convscope {b['seconds']:.1f} s, {b['accuracy']:.2%}; "
            f"ratio {b['seconds'] / a['seconds']:.2f}",
            flush=True,
        )
    whole = [row["convscope"]["seconds"] / row["script"]["seconds"] for row in rows]
    training = [row["convscope"]["train_seconds"] / row["script"]["train_seconds"] for row in rows]
    print("\n| 5 epochs of system A's network on MNIST | script | convscope |")
    print("|---|---|---|")
    for key, name in (("seconds", "whole process, s"), ("train_seconds", "training, s")):
        cells = [spread([row[side][key] for row in rows]) for side in ("script", "convscope")]
        print(f"| {name} | {' | '.join(cells)} |")
    cells = [accuracy([row[side] for row in rows]) for side in ("script", "convscope")]
    print(f"| test accuracy, mean | {' | '.join(cells)} |")
    print(f"| convscope / script, whole process, median of pairs | | {spread(whole)} |")
    print(f"| convscope / script, training, median of pairs | | {spread(training)} |\n", flush=True)
    return {"pairs": rows, "ratio_whole": whole, "ratio_training": training}


def measure_mlp(seeds: int, folder: Path) -> dict[str, object]:
    """The recipe mnist-mlp over several seeds."""
    runs = [ours("mnist-mlp", seed + 1, folder / f"mlp-{seed}") for seed in range(seeds)]
    seconds = spread([run["seconds"] for run in runs], " s")
    print(f"mnist-mlp, 10 epochs: test accuracy {accuracy(runs)}, {seconds}\n", flush=True)
    return {"runs": runs}


def measure_start(pairs: int = 9) -> dict[str, object]:
    """`convscope --help` against `import torch`, in turn."""
    rows = []
    for _ in range(pairs + 1):
        help_seconds, _ = timed(sys.executable, "-m", "convscope", "--help")
        torch_seconds, _ = timed(sys.executable, "-c", "import torch")
        rows.append((help_seconds, torch_seconds))
    rows = rows[1:]  # the first pair fills the disk cache
    ratios = [a / b for a, b in rows]
    print(
        f"convscope --help {spread([a for a, _ in rows], ' s')}, import torch "
        f"{spread([b for _, b in rows], ' s')}, ratio {spread(ratios)}\n"
    )
    return {"seconds": rows, "ratio": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=["cnn", "mlp", "start"])
    args = parser.parse_args()
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    parts = {
        "start": lambda folder: measure_start(),
        "mlp": lambda folder: measure_mlp(args.seeds, folder),
        "cnn": lambda folder: compare_cnn(args.pairs, folder),
    }
    with tempfile.TemporaryDirectory() as name:
        for part, measure in parts.items():
            if args.only in (None, part):
                found[part] = measure(Path(name)) | {
                    "machine": machine.describe(),
                    "versions": machine.versions(),
                    "date": datetime.date.today().isoformat(),
                    "command": " ".join(["python", *sys.argv]),
                }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
