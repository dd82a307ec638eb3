"""Kill -9 a training run at seeded moments, resume it, and compare the weights to the bit.

A reference run is never killed. Each other run is killed once with SIGKILL, then run again with the
same command and `--resume`, and must end with a model.safetensors of the same bytes. Half of the
kills come from outside after a seeded delay; the other half strike inside a save, at a seeded one
of its file operations: the run traces every operation of every save to a file, and the trace, which
ends inside an open save, is the proof.

    python benchmarks/kill.py                20 kills, about twelve minutes on two cores
    python benchmarks/kill.py --kills 4
    python benchmarks/kill.py --short        on a tenth of the images, a save at every step
    python benchmarks/kill.py --everything   on CIFAR-10 with every augmentation, the average of the
                                             weights, clipping, dropout and micro-batches

Exits 0 if every run ended bit-identical and at least a quarter of the kills struck inside a save;
prints a line a kill and writes benchmarks/results/kill.json."""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from convscope import machine

RESULTS = Path(__file__).resolve().parent / "results" / "kill.json"
TRAIN = ["train", "mnist", "--model", "cnn", "--widths", "4,8", "--epochs", "2", "-b", "600"]
TRAIN += ["--checkpoint-seconds", "0.05", "--shift", "1", "--seed", "3", "--threads", "2"]
TRAIN += ["--precision", "float32", "--memory-format", "channels_last"]

SHORT = ["--share", "0.1", "--checkpoint-seconds", "0", "--no-look"]

EVERYTHING = ["train", "cifar10", "--model", "cifar_cnn", "--steps", "50", "-b", "64"]
EVERYTHING += ["--checkpoint-seconds", "0.3", "--seed", "3", "--threads", "2", "--ema", "0.99"]
EVERYTHING += ["--clip-grad", "1", "--micro-batch", "24", "--crop", "0.6", "--rotate", "10"]
EVERYTHING += ["--scale", "0.1", "--shear", "5", "--shift", "3", "--padding", "reflect"]
EVERYTHING += ["--no-flip", "--alternating-flip", "--brightness", "0.2", "--contrast", "0.2"]
EVERYTHING += ["--saturation", "0.2", "--hue", "0.05", "--randaugment", "2", "--magnitude", "9"]
EVERYTHING += ["--cutout", "8", "--erase", "0.25", "--mixup", "0.2", "--cutmix", "1"]

# Runs in the child: traces each file operation of each save; kills itself at operation `at` where
# `at` is not 0.
TRACED = """
import os, signal, sys
trace, at = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND), int(sys.argv[2])
from convscope.training import checkpoint
inside, count = False, 0
def operation(name):
    global count
    if inside:
        count += 1
        os.write(trace, f"{name}\\n".encode())
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)
def traced(function, name):
    def call(*args, **named):
        operation(name)
        result = function(*args, **named)
        operation(name + " done")
        return result
    return call
for name in ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir", "chmod"):
    setattr(os, name, traced(getattr(os, name), name))
def save(*args, **named):
    global inside
    os.write(trace, b"begin save\\n")
    inside = True
    try:
        return whole(*args, **named)
    finally:
        inside = False
        os.write(trace, b"end save\\n")
whole, checkpoint.save = checkpoint.save, save
sys.argv = ["convscope", *sys.argv[3:]]
from convscope.cli import main
main()
"""


def start(out: Path, trace: Path, at: int, *more: str) -> subprocess.Popen[bytes]:
    """A traced training run into ``out``."""
    command = [sys.executable, "-c", TRACED, str(trace), str(at), *TRAIN, "--out", str(out), *more]
    log = open(trace.with_suffix(".log"), "ab")  # noqa: SIM115
    return subprocess.Popen(command, stdout=log, stderr=log)


def weights(out: Path) -> str:
    """The SHA-256 of the trained weights."""
    return hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()


def killed_inside(trace: Path) -> bool:
    """Whether the trace ends inside a save."""
    lines = trace.read_text().splitlines() if trace.exists() else []
    return lines.count("begin save") > lines.count("end save")


def steps(out: Path) -> int:
    """Steps done at the latest checkpoint."""
    found = sorted(path.name for path in (out / "checkpoint").glob("step-*"))
    return int(found[-1].removeprefix("step-")) if found else 0


def kill_once(number: int, folder: Path, fit_at: tuple[float, float]) -> dict[str, object]:
    """Start and kill, at another moment if the run had ended before; resume; what happened."""
    picks = random.Random(number)
    out, trace = folder / f"run-{number}", folder / f"trace-{number}.txt"
    code = 0
    while code != -signal.SIGKILL:
        shutil.rmtree(out, ignore_errors=True)
        trace.unlink(missing_ok=True)
        at = 0 if number % 2 else picks.randrange(1, 400)
        process = start(out, trace, at)
        if not at:
            time.sleep(picks.uniform(*fit_at))
            process.send_signal(signal.SIGKILL)
        code = process.wait(timeout=300)
    inside, reached = killed_inside(trace), steps(out)
    again = start(out, trace.with_name(f"resumed-{number}.txt"), 0, "--resume")
    resumed = again.wait(timeout=300)
    return {
        "kill": number,
        "inside_a_save": inside,
        "operation": at,
        "saved_steps": reached,
        "resume_exit": resumed,
        "weights": weights(out) if resumed == 0 else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--no-record", action="store_true", help="leave the last result alone")
    parser.add_argument("--short", action="store_true", help="train on a tenth of the images")
    parser.add_argument("--everything", action="store_true", help="with all that draws numbers")
    args = parser.parse_args()
    if args.everything:
        TRAIN[:] = EVERYTHING
    if args.short:
        TRAIN.extend(SHORT)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.setdefault("CONVSCOPE_CACHE", str(folder / "cache"))
        began = time.monotonic()
        reference = start(folder / "whole", folder / "whole.txt", 0)
        first = None
        while reference.poll() is None:
            if first is None and (folder / "whole" / "checkpoint").exists():
                first = time.monotonic() - began
            time.sleep(0.01)
        assert reference.returncode == 0, (folder / "whole.log").read_text()
        last = time.monotonic() - began
        expected = weights(folder / "whole")
        rows = []
        for number in range(args.kills):
            row = kill_once(number, folder, ((first or 1) * 0.8, last))
            row["identical"] = row["weights"] == expected
            rows.append(row)
            where = "inside a save" if row["inside_a_save"] else "outside"
            print(
                f"kill {number + 1:2}: {where}, "
                f"{row['saved_steps']} steps saved; resumed: exit {row['resume_exit']}, "
                f"{'bit-identical' if row['identical'] else 'DIFFERENT'}",
                flush=True,
            )
    identical = sum(bool(row["identical"]) for row in rows)
    inside = sum(bool(row["inside_a_save"]) for row in rows)
    print(f"{identical} of {len(rows)} bit-identical; {inside} kills struck inside a save")
    RESULTS.parent.mkdir(exist_ok=True)
    found = {
        "identical": identical,
        "inside_a_save": inside,
        "kills": rows,
        "machine": machine.describe(),
        "versions": machine.versions(),
        "date": datetime.date.today().isoformat(),
        "command": " ".join(["python", *sys.argv]),
    }
    if not args.no_record:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(identical < len(rows) or inside < len(rows) / 4)


if __name__ == "__main__":
    main()
