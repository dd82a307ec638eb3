"""Every speed that convscope claims, each a ratio to a named peer in one run on one machine.

A row has two sides, convscope and a script written as its tutorial or project publishes it
(benchmarks/peers), each a process of its own with two threads. They take turns, A B A B: one works,
the other waits for its next line. A turn is so many training steps as take that side a few seconds,
data loading included; the ratio of a pair is that of the images a second, and the row's figure is
the median over the pairs. Calibration comes first and warms both sides up. Where convscope's own
measurement picks bfloat16, a third side runs it in float32, for a row of its own.

Every row of training has two peers, one after the other: the script as it is published, and what a
good engineer writes instead of installing convscope (`a-expert` and so on, peers/expert.py), in the
number format and the way, eager or compiled, that it finds to be the fastest here. Against the
expert, convscope trains with the same optimiser at the same rates, without augmentation.

    python benchmarks/run.py --quick               every row, in about ten minutes: turns are as
                                                   long as that allows, one to six seconds; the
                                                   expert compiles nothing
    python benchmarks/run.py                       longer turns, seven pairs
    python benchmarks/run.py --only a e memory-e   some rows; --list names all
    python benchmarks/run.py --busy                the same with another process that keeps one core
                                                   busy half of the time during the turns
    python benchmarks/run.py --show                the last results again
    python benchmarks/run.py --accuracy --seeds 1 2 3 4 5 --only a c   trains both sides to the
                                                   end, for the published epochs (long)

How fast is images a second of training (rows a to record: system A to E, ResNet-18, the record's
network), of batches made (augmentation, folder-*) or of judging the test split (evaluate-*).
memory-* is the peak of resident memory above that of the process after its imports, over the
training turns; less is better there. It is that of every run but the first on a machine, which
measures what is fastest there and compiles kernels.

Some things are so that the comparison is no better for convscope than it is: it trains on all
training images as the scripts do, writes a checkpoint at the end of each epoch that a turn reaches,
and its step in the row `record` has an optimiser and data loading, where the peer only goes forward
and backward over a batch in memory; so has `resnet18` the loading. Neither side's validation or
test between epochs counts.

Prints a table; writes benchmarks/results/run.json, row by row, unless --no-record.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.metadata
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import busy
import copies
import keras_venv
from pairs import Answer, Side, WorkerFailed, calibrated, in_turn, ratios, speed, summary
from rows import COUPLES, ROWS, Couple, Row
from tables import accuracy_table, table

from convscope import machine
from convscope.errors import ConvscopeError

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "run.json"
BUSY = "; another process kept one core busy half of the time (benchmarks/busy.py)"


@dataclass(frozen=True)
class Plan:
    """How much is measured: ``pairs`` of turns of so many ``seconds``, or, where these are None, as
    long as ``within`` seconds for all rows allow; ``warm_up`` rounds more before, beyond the
    calibration. ``busy``: another process keeps one core busy half of the time meanwhile."""

    mode: str
    pairs: int
    seconds: float | None
    warm_up: int
    jpegs: int
    within: float = 0.0
    precision: str = "auto"
    busy: bool = False

    def turn(self, deadline: float, sides: int, more: bool) -> float:
        """Seconds a turn, so that so many sides end by the deadline; ``more`` if other turns come
        after them."""
        if self.seconds is not None:
            return self.seconds
        left = deadline - time.monotonic() - (OTHER_TURNS if more else 0)
        return min(LONGEST, max(SHORTEST, left / sides / (self.pairs + CALIBRATION)))


SHORTEST, LONGEST = 1.0, 6.0  # seconds a turn in --quick
CALIBRATION = 2  # turns that calibration takes, about
OTHER_TURNS = 25.0  # seconds that judging the test split takes, about, all rounds
QUICK = Plan("quick", pairs=5, seconds=None, warm_up=0, jpegs=1000, within=600.0)
FULL = Plan("full", pairs=7, seconds=10.0, warm_up=1, jpegs=4000)


class Data:
    """The copies that the peers read, each written when it is first needed."""

    def __init__(self, root: Path, jpegs: int) -> None:
        self.root, self.jpegs, self.written = root, jpegs, set[str]()

    def need(self, couple: Couple) -> Path:
        """The root, with everything that this couple reads. Raises ConvscopeError."""
        for write in couple.data:
            if write.__name__ not in self.written:
                if write is copies.jpegs:
                    write(self.root / couple.folder, self.jpegs)
                else:
                    write(self.root)
                self.written.add(write.__name__)
        return self.root


def say(text: str) -> None:
    """Tell of progress."""
    print(text, file=sys.stderr, flush=True)


def resume_row(rows: Sequence[Row], plan: Plan) -> list[str]:
    """Print what `kill.py --everything` finds of runs that are killed and resumed, if that row is
    among these; it is also what is returned where one ended with other weights."""
    if not any(row.kind == "resume" for row in rows):
        return []
    kills = "2" if plan.mode == "quick" else "8"
    command = [str(HERE / "kill.py"), "--everything", "--kills", kills, "--no-record"]
    done = subprocess.run([sys.executable, *command], check=False, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines() or [done.stderr.strip()[-500:]]
    text = f"resumed against uninterrupted, every augmentation and EMA on: {lines[-1]}"
    print(text, flush=True)
    return [] if lines[-1].startswith(f"{kills} of {kills} bit-identical") else [text]


def measure(
    rows: Sequence[Row],
    plan: Plan,
    deadline: float,
    data: Data,
    keras_python: Callable[[], str],
) -> list[dict[str, Any]]:
    """The rows of one couple, from one set of processes. Raises WorkerFailed, ConvscopeError or
    NoKeras."""
    couple = COUPLES[rows[0].couple]
    kinds = {row.kind for row in rows}
    with ExitStack() as closing:
        root = data.need(couple)
        chosen = ("--precision", plan.precision) if couple.ours[0] == "train" else ()

        def start(name: str, command: list[str]) -> Side:
            side = Side(name, command)
            closing.callback(side.close)
            return side

        more = couple.quick if plan.mode == "quick" else ()
        sides = {
            "peer": start(couple.script, couple.peer_command(root, keras_python, "--turns", *more)),
            "ours": start("ours.py", couple.our_command(root, "--turns", *chosen)),
        }
        if kinds & {"steps", "memory"} and not couple.expert:
            exact = ("--turns", "--precision", "float32")
            if sides["peer"].about.get("precision") == "bfloat16":
                command = couple.peer_command(root, keras_python, *exact)
                sides["peer float32"] = start(f"{couple.script} in float32", command)
            narrow = sides["ours"].about.get("precision") == "bfloat16"
            if narrow:
                command = couple.our_command(root, *exact)
                sides["ours float32"] = start("ours.py in float32", command)
            if "memory" in kinds:  # anew, now that this machine was measured and kernels are kept
                for name in ("ours", "ours float32") if narrow else ("ours",):
                    sides[name].stop()
                    sides[name] = start(sides[name].name, sides[name].command)
        return measured(rows, plan, deadline, sides)


def measured(
    rows: Sequence[Row], plan: Plan, deadline: float, sides: dict[str, Side]
) -> list[dict[str, Any]]:
    """The rows of sides that are ready; memory is read after training and before judging."""
    kinds = {row.kind for row in rows}
    for name, side in sides.items():
        if name.startswith("ours"):
            same_network(side.about, sides["peer"].about)
    rounds: dict[str, list[dict[str, Answer]]] = {}
    steps: dict[str, int] = {}
    peaks: dict[str, int] = {}

    def told(kind: str) -> Callable[[int, dict[str, Answer]], None]:
        def tell(number: int, answers: dict[str, Answer]) -> None:
            each = ", ".join(f"{name} {speed(answer):,.0f}" for name, answer in answers.items())
            ratio = speed(answers["ours"]) / speed(answers["peer"])
            say(f"  {kind} {number + 1}/{plan.pairs}: {each} images/s; {ratio:.2f}x")

        return tell

    if kinds & {"steps", "memory"}:
        seconds = plan.turn(deadline, len(sides), more="evaluate" in kinds)
        steps = {name: calibrated(side, seconds) for name, side in sides.items()}
        pairs, warm_up = (plan.pairs, plan.warm_up) if "steps" in kinds else (1, 0)
        with busy.one_core(plan.busy):
            rounds["steps"] = in_turn(
                sides, lambda name: ("steps", steps[name]), pairs, warm_up, told("steps")
            )
        peaks = {name: side.peak_bytes for name, side in sides.items()}
    two = {name: sides[name] for name in ("peer", "ours")}
    for kind in ("first", "later", "evaluate"):
        if kind in kinds:
            with busy.one_core(plan.busy):
                rounds[kind] = in_turn(
                    two, lambda name, kind=kind: (kind, True), plan.pairs, 1, told(kind)
                )
    for side in sides.values():
        side.stop()
    about = {name: side.about for name, side in sides.items()}
    found = []
    for row in rows:
        found.append(line(row, "ours", "peer", rounds, peaks, steps, about))
        if len(sides) > 2 and row.kind in ("steps", "memory"):
            ours = "ours float32" if "ours float32" in sides else "ours"
            peer = "peer float32" if "peer float32" in sides else "peer"
            found.append(line(row, ours, peer, rounds, peaks, steps, about, " float32"))
    return found


def line(
    row: Row,
    ours: str,
    peer: str,
    rounds: dict[str, list[dict[str, Answer]]],
    peaks: dict[str, int],
    steps: dict[str, int],
    about: dict[str, dict[str, Any]],
    suffix: str = "",
) -> dict[str, Any]:
    """One row's figures."""
    found: dict[str, Any] = {
        "row": row.name + suffix,
        "what": row.what,
        "peer": row.peer,
        "reach": row.reach,
        "dream": row.dream,
    }
    if row.kind == "memory":
        ratio = peaks[ours] / peaks[peer]
        found |= {"ratio": summary([ratio]), "reached": ratio <= row.reach}
        found |= {"peer_bytes": peaks[peer], "our_bytes": peaks[ours]}
    else:
        values = ratios(rounds[row.kind], ours, peer)
        found |= {"ratio": summary(values), "ratios": values}
        found["reached"] = found["ratio"]["median"] >= row.reach
        for key, side in (("peer", peer), ("our", ours)):
            speeds = [speed(answers[side]) for answers in rounds[row.kind]]
            found[f"{key}_images_per_second"] = statistics.median(speeds)
            found[f"{key}_turns"] = [answers[side] for answers in rounds[row.kind]]
            if row.kind == "steps":
                found[f"{key}_steps_a_turn"] = steps[side]
    for key, side in (("peer", peer), ("our", ours)):
        found[f"{key}_about"] = {
            k: v for k, v in about[side].items() if k not in ("ready", "peak_bytes")
        }
    return found


def same_network(ours: dict[str, Any], peer: dict[str, Any]) -> None:
    """Raise WorkerFailed where the two sides train networks of different size."""
    key = "trained" if "trained" in peer else "parameters"
    if key in peer and ours.get(key) != peer[key]:
        raise WorkerFailed(f"other networks: {key} {ours.get(key)} against the peer's {peer[key]}")


def accuracy(
    name: str, seeds: Sequence[int], epochs: int | None, data: Data, keras_python: Callable[[], str]
) -> dict[str, Any]:
    """Both sides trained to the end, seed by seed, in turn."""
    couple = COUPLES[name]
    root = data.need(couple)
    runs: dict[str, list[dict[str, Any]]] = {"peer": [], "ours": []}
    for seed in seeds:
        more = ("--epochs", str(epochs or couple.epochs), "--seed", str(seed))
        for side, command in (
            ("peer", couple.peer_command(root, keras_python, *more)),
            ("ours", couple.our_command(root, *more)),
        ):
            began = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                last = "\n    ".join(done.stderr.splitlines()[-12:])
                raise WorkerFailed(
                    f"{shlex.join(command)} ended with {done.returncode}:\n    {last}"
                )
            answer = json.loads(done.stdout.splitlines()[-1])
            whole = time.perf_counter() - began
            runs[side].append({"seed": seed, "process_seconds": whole, **answer})
            say(f"  {name}, seed {seed}, {side}: {answer['accuracy']:.2%}, {whole:.1f} s")
    found: dict[str, Any] = {"row": name, "epochs": epochs or couple.epochs, **runs}
    for side, each in runs.items():
        values = [run["accuracy"] for run in each]
        sd = statistics.stdev(values) if len(values) > 1 else 0.0
        found[f"{side}_accuracy"] = {
            "mean": statistics.mean(values),
            "sd": sd,
            "seeds": len(values),
        }
    for key in ("train_seconds", "process_seconds"):
        pairs = zip(runs["peer"], runs["ours"], strict=True)
        found[f"ratio_{key}"] = summary([peer[key] / ours[key] for peer, ours in pairs])
    return found


def origin(plan: Plan | None) -> dict[str, Any]:
    """Where, when, with what and how a figure was measured."""
    others = {name: importlib.metadata.version(name) for name in ("torchvision", "pillow")}
    found = {
        "machine": machine.describe(),
        "versions": machine.versions() | others,
        "date": datetime.date.today().isoformat(),
        "command": shlex.join(["python", *sys.argv]),
    }
    if plan is not None:
        found["plan"] = dataclasses.asdict(plan)
    return found


def record(part: str, found: Sequence[dict[str, Any]], where: dict[str, Any]) -> None:
    """Put these rows in the place of those of the same name in that part of run.json."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept.setdefault(part, {}).update({row["row"]: row | where for row in found})
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


def show() -> None:
    """Print the last results, a table for each machine, day and command; those that were measured
    with one core busy come after the others."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    order = [row.name for row in ROWS]
    for part, told in (("rows", table), ("busy", table), ("accuracy", accuracy_table)):
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in kept.get(part, {}).values():
            where = f"{row['command']}, {row['date']}, {row['machine']}"
            groups.setdefault(where, []).append(row)
        for where, found in groups.items():
            found.sort(key=lambda row: order.index(row["row"].removesuffix(" float32")))
            print(f"{where}{BUSY if part == 'busy' else ''}\n\n{told(found)}\n")


def arguments() -> argparse.Namespace:
    """The command line."""
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        epilog=__doc__.split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="short turns, five pairs")
    parser.add_argument("--only", nargs="+", choices=names, metavar="ROW", default=names)
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--seconds", type=float, help="of a turn")
    parser.add_argument(
        "--precision", choices=["auto", "float32", "bfloat16"], default="auto", help="of convscope"
    )
    parser.add_argument(
        "--busy", action="store_true", help="one core is busy half of the time meanwhile"
    )
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    parser.add_argument("--show", action="store_true", help="print the last results and stop")
    parser.add_argument("--accuracy", action="store_true", help="train both sides to the end")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--epochs", type=int, help="with --accuracy, instead of the published ones")
    parser.add_argument("--keras-python", metavar="PATH", help="a Python with keras and tensorflow")
    parser.add_argument("--no-record", action="store_true", help="leave the last results alone")
    return parser.parse_args()


def compare(args: argparse.Namespace) -> list[str]:
    """Measure, print and record the rows that were asked for; what could not be measured."""
    base = QUICK if args.quick else FULL
    plan = dataclasses.replace(
        base,
        pairs=args.pairs or base.pairs,
        seconds=args.seconds or base.seconds,
        precision=args.precision,
        busy=args.busy,
    )
    rows = [row for row in ROWS if row.name in args.only]
    couples = list(dict.fromkeys(row.couple for row in rows if row.couple))
    found: list[dict[str, Any]] = []
    failed: list[str] = []

    def keras_python() -> str:
        return keras_venv.python(args.keras_python)

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        data = Data(Path(folder), plan.jpegs)
        for number, name in enumerate(couples):
            left = began + plan.within - time.monotonic()
            deadline = time.monotonic() + left / (len(couples) - number)
            its = [row for row in rows if row.couple == name]
            say(f"{name}: {', '.join(row.name for row in its)}")
            try:
                if not args.accuracy:
                    found += measure(its, plan, deadline, data, keras_python)
                elif COUPLES[name].epochs:
                    found.append(accuracy(name, args.seeds, args.epochs, data, keras_python))
            except (WorkerFailed, ConvscopeError, keras_venv.NoKeras) as why:
                failed.append(f"not measured: {', '.join(row.name for row in its)}: {why}")
                say(f"  {failed[-1]}")
    if not args.accuracy:
        failed += resume_row(rows, plan)
    order = {row.name: number for number, row in enumerate(ROWS)}
    found.sort(key=lambda row: order[row["row"].removesuffix(" float32")])
    if found:
        print((accuracy_table if args.accuracy else table)(found))
    if found and plan.busy and not args.accuracy:
        print(f"\nmeanwhile{BUSY.removeprefix(';')}")
    for text in failed:
        print(f"\n{text}")
    if found and not args.no_record:
        part = "accuracy" if args.accuracy else "busy" if plan.busy else "rows"
        record(part, found, origin(None if args.accuracy else plan))
        print(f"\nwritten to {RESULTS}")
    say(f"{time.monotonic() - began:.0f} s")
    return failed


def main() -> None:
    args = arguments()
    if args.list:
        for row in ROWS:
            print(f"{row.name:22} {row.what:40} {row.peer:40} {row.reach:g}x, {row.dream:g}x")
    elif args.show:
        show()
    else:
        sys.exit(bool(compare(args)))


if __name__ == "__main__":
    main()
