"""Does a recipe end as well in bfloat16 as in float32? Both trained over several seeds, in turn.

    python benchmarks/precisions.py mnist-cnn --seeds 1 2 3 4 5

Prints the mean test accuracy of either with the 95 % interval of the mean (Student's t over the
seeds), seconds of training, and whether each mean lies within the other's interval; writes
benchmarks/results/precisions.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import shlex
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from scipy.stats import t as student

from convscope import api, machine

RESULTS = Path(__file__).resolve().parent / "results" / "precisions.json"
FORMATS = ("float32", "bfloat16")


def interval(values: list[float]) -> tuple[float, float]:
    """The 95 % interval of the mean."""
    middle, count = statistics.mean(values), len(values)
    if count < 2:
        return middle, middle
    half = student.ppf(0.975, count - 1) * statistics.stdev(values) / math.sqrt(count)
    return middle - half, middle + half


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--threads", type=int, default=0, help="0: one a core")
    args = parser.parse_args()
    runs: dict[str, list[dict[str, Any]]] = {form: [] for form in FORMATS}
    for seed in args.seeds:
        for form in FORMATS:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "run"
                asked = {"recipe": args.recipe, "seed": seed, "threads": args.threads}
                run = api.train(**asked, precision=form, out=out)
                found = run.metrics.accuracy, run.metrics.train_seconds
            runs[form].append(dict(zip(("accuracy", "seconds"), found, strict=True)))
            print(f"seed {seed}, {form}: {found[0]:.2%}, {found[1]:.1f} s", file=sys.stderr)
    table = {}
    for form, each in runs.items():
        values = [one["accuracy"] for one in each]
        low, high = interval(values)
        table[form] = {
            "mean": statistics.mean(values),
            "sd": statistics.stdev(values) if len(values) > 1 else 0.0,
            "low": low,
            "high": high,
            "seconds": statistics.median(one["seconds"] for one in each),
        }
        print(
            f"{form}: {table[form]['mean']:.3%} (sd {100 * table[form]['sd']:.3f}, interval "
            f"{low:.3%} to {high:.3%}), {table[form]['seconds']:.1f} s"
        )
    one, two = table["float32"], table["bfloat16"]
    within = one["low"] <= two["mean"] <= one["high"] and two["low"] <= one["mean"] <= two["high"]
    print("each mean within the other's interval:", "yes" if within else "no")
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept[args.recipe] = {
        **{"runs": runs, "table": table, "within": within, "machine": machine.describe()},
        **{"versions": machine.versions(), "date": datetime.date.today().isoformat()},
        "command": shlex.join(["python", *sys.argv]),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
