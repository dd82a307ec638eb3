"""Is the candidate that convscope chooses on a busy machine the best one on a quiet one?

    python benchmarks/choice.py [--probes 20] [--only resnet] [--no-record]

For each network: so many probes, each a process of its own with an empty cache (but for packed data
and compiled kernels, which are no measurements), while another process keeps one core busy half of
the time (busy.py). What each chooses is noted, and whether that was measured. Then, that process
ended: all candidates that were chosen and all that a probe has to choose from are timed against
each other, in turn, some seconds of real training steps each, by convscope's own loop (ours.py);
and every chosen one that is 5 % slower or more once more, longer, against the fastest. Prints for
how many probes the chosen one is within 10 % of that; writes benchmarks/results/choice.json. Takes
about 40 minutes: a look is ``--probes 3 --only cnn``.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import busy
from pairs import Side, WorkerFailed, calibrated, in_turn, ratios, summary

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "choice.json"
NETWORKS = {"resnet": ("mnist", 64), "cnn": ("mnist", 100), "cifar_cnn": ("cifar10", 32)}
NEAR = 0.9  # of the fastest's speed
SURE = 0.95  # from where on a first, short look is enough
GROUP = 4  # candidates that are timed together against another one
FORMATS, THREADS = ("float32", "bfloat16"), 2
# What a probe has to choose from besides the kernels that it chose layer by layer.
OTHERS = ("channels_last fused", "channels_last plain", "contiguous fused", "contiguous plain")


def probe(network: str, precision: str) -> None:
    """Choose as training does; print what was chosen as one JSON line."""
    from convscope import machine
    from convscope.api.arguments import given, resolved
    from convscope.data.sources import of_recipe
    from convscope.job.prepare import prepare
    from convscope.job.tune import tune

    data, batch = NETWORKS[network]
    options = {"batch_size": batch, "val": 0.0, "precision": precision, "threads": THREADS}
    asked = resolved(*given(data, network, options), None, False)
    said: list[str] = []
    with machine.at_work(THREADS):
        pack = of_recipe(asked, lambda event: None)
        began = time.perf_counter()
        job = tune(prepare(asked, pack, lambda event: said.append(str(event))))
    train, origin = job.recipe.train, job.recipe.origin
    names = ("precision", "memory_format", "kernels")
    found = {
        "candidate": " ".join(getattr(train, name) for name in names),
        "origin": {name: origin.get(f"train.{name}", "default") for name in names},
        "seconds": time.perf_counter() - began,
        "said": said,
    }
    print(json.dumps(found))


def chosen(network: str, cache: Path, precision: str = "auto") -> dict[str, Any]:
    """What one probe with this cache chooses. Raises WorkerFailed."""
    command = [sys.executable, str(Path(__file__).resolve()), "--probe", network]
    env = {**os.environ, "CONVSCOPE_CACHE": str(cache)}
    done = subprocess.run(
        [*command, "--precision", precision], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = "\n    ".join(done.stderr.splitlines()[-12:])
        raise WorkerFailed(f"{shlex.join(command)} ended with {done.returncode}:\n    {last}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def anew(network: str, warm: Path) -> dict[str, Any]:
    """What a probe chooses that has the data and kernels of ``warm``, and none of its
    measurements."""
    with tempfile.TemporaryDirectory() as folder:
        furnish(Path(folder), warm)
        return chosen(network, Path(folder))


def furnish(cache: Path, other: Path) -> None:
    """Give a cache what another one has of data, by links, and of compiled kernels, as a copy."""
    for part in ("packs", "downloads"):
        (other / part).mkdir(parents=True, exist_ok=True)
        (cache / part).symlink_to((other / part).resolve())
    if (other / "kernels").exists():
        shutil.copytree(other / "kernels", cache / "kernels")


def field(network: str, warm: Path) -> list[str]:
    """The candidates that a probe has to choose from, measured in quiet where they are measured."""
    best = [chosen(network, warm, precision)["candidate"] for precision in FORMATS]
    return list(dict.fromkeys([*best, *(f"{p} {rest}" for p in FORMATS for rest in OTHERS)]))


def worker(network: str, candidate: str) -> list[str]:
    """The command of a side that trains so."""
    data, batch = NETWORKS[network]
    precision, memory_format, kernels = candidate.split(maxsplit=2)
    return [
        *(sys.executable, str(HERE / "ours.py"), "train", data, network, "--turns"),
        *(f"--batch-size={batch}", "--no-recipe", "--no-augment", f"--threads={THREADS}"),
        f"--precision={precision}",
        *(f"--set=memory_format={memory_format}", f"--set=kernels={kernels}"),
    ]


def against(
    network: str, one: str, candidates: Sequence[str], pairs: int, seconds: float
) -> dict[str, list[float]]:
    """How many times as fast as ``one`` each of the ``candidates`` trains, pair by pair."""
    found: dict[str, list[float]] = {}
    others = [candidate for candidate in candidates if candidate != one]
    for at in range(0, len(others), GROUP):
        with ExitStack() as closing:
            sides = {}
            for candidate in (one, *others[at : at + GROUP]):
                sides[candidate] = Side(candidate, worker(network, candidate))
                closing.callback(sides[candidate].close)
            steps = {candidate: calibrated(side, seconds) for candidate, side in sides.items()}
            rounds = in_turn(
                sides, lambda candidate, steps=steps: ("steps", steps[candidate]), pairs
            )
            found |= {
                candidate: ratios(rounds, candidate, one) for candidate in others[at : at + GROUP]
            }
    return found


def judged(network: str, probes: Sequence[dict[str, Any]], known: Sequence[str]) -> dict[str, Any]:
    """Every probe's choice against the fastest there is."""
    counts = collections.Counter(probe["candidate"] for probe in probes)
    first = counts.most_common(1)[0][0]
    candidates = list(dict.fromkeys([*counts, *known]))
    rough = {first: 1.0} | {
        candidate: statistics.median(each)
        for candidate, each in against(network, first, candidates, pairs=3, seconds=2.0).items()
    }
    best = max(rough, key=rough.__getitem__)
    shares = {candidate: rough[candidate] / rough[best] for candidate in counts}
    unsure = [candidate for candidate in counts if shares[candidate] < SURE]
    told = against(network, best, unsure, pairs=5, seconds=3.0)
    shares |= {candidate: statistics.median(each) for candidate, each in told.items()}
    return {
        "network": network,
        "best": best,
        "against_the_commonest": rough,
        "share_of_best": shares,
        "looked_at_again": {candidate: summary(each) for candidate, each in told.items()},
        "probes": list(probes),
        "count": len(probes),
        "distinct": len(counts),
        "origins": dict(collections.Counter(probe["origin"]["precision"] for probe in probes)),
        "near": sum(count for candidate, count in counts.items() if shares[candidate] >= NEAR),
        "worst": min(shares.values()),
    }


def table(found: Sequence[dict[str, Any]]) -> str:
    """A line a network, and one of all."""
    lines = [
        "| network | probes | distinct choices | number format came from | within 10 % of the best "
        "| the worst choice's speed, of the best's |",
        "|---|---|---|---|---|---|",
    ]
    for row in found:
        origins = ", ".join(f"{count} {origin}" for origin, count in row["origins"].items())
        cells = (row["network"], row["count"], row["distinct"], origins, row["near"])
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} | {row['worst']:.2f} |")
    near, count = (sum(row[key] for row in found) for key in ("near", "count"))
    return "\n".join([*lines, f"\n{near} of {count} within 10 % of the best"])


def measure(network: str, probes: int, warm: Path) -> dict[str, Any]:
    """One network's row."""

    def say(text: str) -> None:
        print(f"{network}: {text}", file=sys.stderr, flush=True)

    known = field(network, warm)
    found = []
    with busy.one_core():
        for number in range(probes):
            found.append(anew(network, warm))
            say(f"{number + 1}/{probes}: {found[-1]['candidate']} ({found[-1]['seconds']:.1f} s)")
    row = judged(network, found, known)
    say(f"{row['near']} of {probes} within 10 % of {row['best']}")
    return row


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--probes", type=int, default=20)
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--no-record", dest="record", action="store_false")
    parser.add_argument("--probe", choices=NETWORKS, help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="auto", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.probe:
        probe(args.probe, args.precision)
        return
    from convscope import files, machine

    with tempfile.TemporaryDirectory() as warm:
        furnish(Path(warm), files.cache_root())
        found = [measure(network, args.probes, Path(warm)) for network in args.only]
    print(table(found))
    if args.record:
        origin = {
            "machine": machine.describe(),
            "versions": machine.versions(),
            "date": datetime.date.today().isoformat(),
            "command": shlex.join(["python", *sys.argv]),
        }
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps({"rows": found, **origin}, indent=1) + "\n")
        print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
