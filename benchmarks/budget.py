"""Does a job end when its budget ends, and is the time left told rightly?

    python benchmarks/budget.py [--seconds 20 60] [--rows mnist:cnn cifar10:cnn] [--repeat 1]
        [--no-record]

Each row is a process of its own that trains with ``time_budget`` from a cache in which data and
what was measured of this machine are there already, as from the second run on. Printed and written
to ``results/budget.json``: how long the job took, from the beginning of ``convscope.train`` to the
end of the report, against its budget (within 10 % is the aim), and by how much the time left that
was told first, after some twenty steps, was wrong, as a share of what was left then (within 15 %).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

CHILD = """
import json, sys, time
import convscope as cs
from convscope import machine
data, model, budget, out = sys.argv[1:]
told = []
began = time.perf_counter()

def emit(event):
    if isinstance(event, cs.Progress) and event.left is not None:
        told.append((time.perf_counter(), event.left))

run = cs.train(data, model=model, out=out, time_budget=budget, emit=emit)
ended = time.perf_counter()
at, left = told[0] if told else (began, float("nan"))
middle = told[len(told) // 2] if told else (began, float("nan"))
print(json.dumps({
    "seconds": ended - began,
    "steps": run.recipe.train.steps,
    "epochs": run.recipe.train.epochs,
    "accuracy": run.metrics.accuracy,
    "told_first": left, "was_left_first": ended - at,
    "told_midway": middle[1], "was_left_midway": ended - middle[0],
    "machine": machine.describe(), "versions": machine.versions(),
}))
"""


def main() -> None:
    """Run every row and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, nargs="+", default=[20, 60])
    parser.add_argument("--rows", nargs="+", default=["mnist:cnn", "cifar10:cnn"])
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--no-record", dest="record", action="store_false")
    args = parser.parse_args()
    found = []
    print(f"{'row':26} {'took':>8} {'/ budget':>9} {'ETA off by':>11} {'midway':>8} {'steps':>7}")
    for row in args.rows:
        data, model = row.split(":")
        warm(data, model)
        for seconds in [s for s in args.seconds for _ in range(args.repeat)]:
            one = {"row": row, "budget": seconds, **train(data, model, f"{seconds}s")}
            one["share"] = one["seconds"] / seconds
            one["eta_error"] = one["told_first"] / one["was_left_first"] - 1
            one["eta_error_midway"] = one["told_midway"] / one["was_left_midway"] - 1
            found.append(one)
            print(
                f"{f'{row}, {seconds} s':26} {one['seconds']:7.1f}s {one['share']:9.3f} "
                f"{one['eta_error']:+10.1%} {one['eta_error_midway']:+8.1%} {one['steps']:7,}",
                flush=True,
            )
    if args.record:
        path = HERE / "results" / "budget.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), "rows": found}, indent=1))


def warm(data: str, model: str) -> None:
    """Pack the data and measure the machine, once."""
    with tempfile.TemporaryDirectory() as folder:
        code = "import sys, convscope as cs; "
        code += "cs.train(sys.argv[1], model=sys.argv[2], steps=1, out=sys.argv[3])"
        run(code, data, model, str(Path(folder) / "run"))


def train(data: str, model: str, budget: str) -> dict[str, Any]:
    """Train in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = run(CHILD, data, model, budget, str(Path(folder) / "run"))
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def run(code: str, *args: str) -> str:
    """Run Python code; stop with what it says if it fails."""
    words = [sys.executable, "-c", code, *args]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


if __name__ == "__main__":
    main()
