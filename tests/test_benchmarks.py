"""The benchmarks' turns: who works when, what is divided by what, and what a dead worker leaves."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"

# A worker whose turns take no time but say that they did: a step is one image, `speed` a second.
# Every turn is noted in a file that all workers share.
WORKER = f"""
import sys
sys.path.insert(0, {str(BENCHMARKS / "peers")!r})
import turns
name, speed, log, lasts = sys.argv[1], float(sys.argv[2]), sys.argv[3], int(sys.argv[4])
turns.memory_begins()
held = bytearray(20_000_000)
channel = turns.Channel()
print("a library that talks")
channel.answer(ready=True, parameters=7)
taken = 0
while (request := channel.take())[0] != "stop":
    verb, value = request
    with open(log, "a") as file:
        file.write(f"{{name}} {{verb}} {{value}}\\n")
    taken += 1
    if taken > lasts:
        sys.exit("out of memory, perhaps")
    images = value if verb == "steps" else 100
    channel.answer(seconds=images / (speed * (1 + taken % 2)), images=images)
channel.answer(stopped=True)
"""


@pytest.fixture
def worker(tmp_path: Path) -> Callable[..., list[str]]:
    """The command of a worker of that name and speed."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)

    def command(name: str, speed: float, lasts: int = 1000) -> list[str]:
        log = str(tmp_path / "log.txt")
        return [sys.executable, str(script), name, str(speed), log, str(lasts)]

    return command


def test_two_sides_take_turns_and_the_median_ratio_counts(benchmarks, worker, tmp_path):
    import pairs

    sides = {"peer": pairs.Side("peer", worker("peer", 10)), "ours": None}
    sides["ours"] = pairs.Side("ours", worker("ours", 40))
    steps = {"peer": 5, "ours": 20}
    rounds = pairs.in_turn(sides, lambda name: ("steps", steps[name]), pairs=3, warm_up=1)
    assert [side.stop()["stopped"] for side in sides.values()] == [True, True]
    log = (tmp_path / "log.txt").read_text().splitlines()
    assert log == ["peer steps 5", "ours steps 20"] * 4
    assert [round(answers["ours"]["images"]) for answers in rounds] == [20, 20, 20]
    assert pairs.ratios(rounds, "ours", "peer") == pytest.approx([4, 4, 4])
    assert pairs.summary([3.0, 9.0, 4.0]) == {"median": 4.0, "low": 3.0, "high": 9.0}


def test_a_turn_is_as_many_steps_as_take_the_wanted_time(benchmarks, worker):
    import pairs

    for speed in (0.1, 7, 50_000):
        side = pairs.Side("worker", worker("worker", speed))
        steps = pairs.calibrated(side, 2.0)
        assert max(1, speed * 2 / 2.1) <= steps <= max(1, speed * 2 * 2.1)
        side.stop()


def test_a_worker_that_dies_is_named_with_its_last_words(benchmarks, worker):
    import pairs

    side = pairs.Side("system_x.py", worker("peer", 10, lasts=2))
    side.ask("steps", 1)
    side.ask("steps", 1)
    with pytest.raises(pairs.WorkerFailed) as caught:
        side.ask("steps", 1)
    side.close()
    assert "system_x.py: ended with exit code 1 over 'steps'" in str(caught.value)
    assert "out of memory, perhaps" in str(caught.value)
    with pytest.raises(pairs.WorkerFailed, match="ended with exit code 3 over 'start'"):
        pairs.Side("system_y.py", [sys.executable, "-c", "raise SystemExit(3)"])


def test_a_worker_that_hangs_is_ended(benchmarks):
    import pairs

    with pytest.raises(pairs.WorkerFailed, match=r"took longer than 0.3 s over 'start'"):
        pairs.Side("asleep", [sys.executable, "-c", "import time; time.sleep(60)"], time_limit=0.3)


SCRIPT = f"""
import sys
sys.path.insert(0, {str(BENCHMARKS / "peers")!r})
import turns
def epoch():
    for images in (100, 100, 50):
        yield images, None
args = turns.parser("Trains.", epochs=2).parse_args()
turns.run(args, epoch, lambda: (0.75, 10), test_every_epoch=True, parameters=7)
"""


def test_a_script_goes_on_where_its_last_turn_ended_or_runs_to_its_end(benchmarks, tmp_path):
    import pairs

    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), "nowhere"]
    side = pairs.Side("script", [*command, "--turns"])
    assert side.about["parameters"] == 7
    assert [side.ask("steps", n)["images"] for n in (2, 2, 5)] == [200, 150, 400]
    assert side.ask("evaluate")["accuracy"] == 0.75
    side.stop()
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    found = json.loads(done.stdout)
    assert found["accuracy_by_epoch"] == [0.75, 0.75] and found["parameters"] == 7
    assert found["images_per_second"] * found["train_seconds"] == pytest.approx(500)


def test_our_side_counts_the_images_of_an_epochs_last_batch(benchmarks):
    import ours

    turns = SimpleNamespace(args=SimpleNamespace(batch_size=100), train_images=250)
    assert [ours.Turns.seen(turns, steps) for steps in (1, 2, 3, 4)] == [100, 200, 250, 350]


def test_rows_hold_one_side_against_the_other(benchmarks, worker, tmp_path):
    import pairs
    import run
    import tables

    rows = [row for row in run.ROWS if row.couple == "a"]
    assert {row.kind for row in rows} == {"steps", "evaluate", "memory"}
    sides = {
        "peer": pairs.Side("peer", worker("peer", 1000)),
        "ours": pairs.Side("ours", worker("ours", 3500)),
        "ours float32": pairs.Side("ours float32", worker("exact", 2000)),
    }
    plan = run.Plan("quick", pairs=3, seconds=0.1, warm_up=0, jpegs=0)
    found = {row["row"]: row for row in run.measured(rows, plan, 0.0, sides)}
    assert set(found) == {"a", "a float32", "evaluate-a", "memory-a", "memory-a float32"}
    assert found["a"]["ratio"]["median"] / found["a float32"]["ratio"]["median"] > 1.2
    assert found["a"]["reached"] is (found["a"]["ratio"]["median"] >= 3)
    assert len(found["evaluate-a"]["ratios"]) == 3
    assert found["memory-a"]["ratio"]["median"] > 0
    log = [line.split()[0] for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert log[-8:] == ["peer", "ours"] * 4  # judging, after one round to warm up
    assert log[-17:-8] == ["peer", "ours", "exact"] * 3
    shown = tables.table(found.values()).splitlines()
    assert len(shown) == 2 + 3
    assert len({line.count("|") for line in shown}) == 1
    assert f"| {found['a float32']['ratio']['median']:.2f}x |" in shown[2]


def test_one_core_is_busy_while_the_turns_last_if_that_is_asked_for(
    benchmarks, worker, tmp_path, monkeypatch
):
    import busy
    import pairs
    import run

    log = tmp_path / "log.txt"

    @contextlib.contextmanager
    def one_core(wanted):
        with log.open("a") as file:
            file.write(f"busy {wanted}\n")
        yield
        with log.open("a") as file:
            file.write("end\n")

    monkeypatch.setattr(busy, "one_core", one_core)
    rows = [row for row in run.ROWS if row.name in ("a", "evaluate-a")]
    for wanted in (True, False):
        log.write_text("")
        sides = {name: pairs.Side(name, worker(name, 1000)) for name in ("peer", "ours")}
        plan = run.Plan("quick", pairs=2, seconds=0.1, warm_up=0, jpegs=0, busy=wanted)
        run.measured(rows, plan, 0.0, sides)
        words = [line.split()[0] for line in log.read_text().splitlines()]
        assert f"busy {wanted}" in log.read_text()
        first, last = words.index("busy"), len(words) - words[::-1].index("busy") - 1
        assert words[first:last] == ["busy", *["peer", "ours"] * 2, "end"]
        assert words[last:] == ["busy", *["peer", "ours"] * 3, "end"]


def test_what_is_measured_with_one_core_busy_is_kept_apart_and_said_to_be(
    benchmarks, monkeypatch, capsys
):
    import run

    kept = []
    monkeypatch.setattr(run, "measure", lambda rows, *rest: [{"row": rows[0].name}])
    monkeypatch.setattr(run, "record", lambda part, found, where: kept.append(part))
    monkeypatch.setattr(run, "table", lambda found: "the table")
    for words in (["--busy"], []):
        monkeypatch.setattr(sys, "argv", ["run.py", "--quick", "--only", "a", *words])
        assert run.compare(run.arguments()) == []
        assert ("another process kept one core busy" in capsys.readouterr().out) is bool(words)
    assert kept == ["busy", "rows"]


def test_one_core_is_busy_half_of_the_time_until_its_parent_ends(benchmarks):
    import busy
    import pairs

    began = time.process_time()
    busy.keep(0.02, 0.02, 1.0, os.getppid())
    assert 0.05 < time.process_time() - began < 0.75
    with busy.one_core(False) as nobody:
        assert nobody is None
    with busy.one_core() as process:
        assert _runs(process.pid)
    assert not _runs(process.pid)
    with pytest.raises(pairs.WorkerFailed, match="ended early"), busy.one_core() as process:
        process.kill()
        process.wait()
    parent = (
        "import subprocess, sys, os\n"
        "command = [sys.executable, sys.argv[1], '--seconds=60', '--parent', str(os.getpid())]\n"
        "print(subprocess.Popen(command, stdout=subprocess.DEVNULL).pid)"
    )
    command = [sys.executable, "-c", parent, str(benchmarks / "busy.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    until = time.monotonic() + 30
    while _runs(int(done.stdout)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _runs(int(done.stdout))  # its parent is gone


def _runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_other_networks_are_no_comparison(benchmarks, worker):
    import pairs
    import run

    rows = [row for row in run.ROWS if row.name == "record"]
    sides = {name: pairs.Side(name, worker(name, 1000)) for name in ("peer", "ours")}
    sides["peer"].about["trained"] = 8
    sides["ours"].about["trained"] = 7
    plan = run.Plan("quick", pairs=1, seconds=0.1, warm_up=0, jpegs=0)
    with pytest.raises(pairs.WorkerFailed, match="trained 7 against the peer's 8"):
        run.measured(rows, plan, 0.0, sides)
    for side in sides.values():
        side.stop()
    run.same_network({"parameters": 8}, {"parameters": 8})


def test_quick_turns_are_as_long_as_the_time_allows(benchmarks, monkeypatch):
    import run

    monkeypatch.setattr(run.time, "monotonic", lambda: 100.0)
    assert run.QUICK.turn(100 + 2 * 7 * 3.0, sides=2, more=False) == pytest.approx(3.0)
    assert run.QUICK.turn(100 + 25 + 3 * 7 * 2.0, sides=3, more=True) == pytest.approx(2.0)
    assert run.QUICK.turn(0.0, sides=2, more=False) == 1.0
    assert run.QUICK.turn(9999.0, sides=2, more=False) == 6.0
    assert run.FULL.turn(0.0, sides=2, more=False) == run.FULL.seconds


def test_every_row_is_listed_and_has_its_scripts(benchmarks):
    import run

    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "run.py"), "--list"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == [row.name for row in run.ROWS]
    assert len(set(names)) == len(names)
    for couple in run.COUPLES.values():
        assert (BENCHMARKS / "peers" / couple.script).is_file()


def test_results_are_put_in_the_place_of_the_last_ones(benchmarks, tmp_path, monkeypatch):
    import run

    monkeypatch.setattr(run, "RESULTS", tmp_path / "results" / "run.json")
    run.record("rows", [{"row": "a", "ratio": 1}, {"row": "e", "ratio": 2}], {"date": "one"})
    run.record("rows", [{"row": "a", "ratio": 3}], {"date": "two"})
    kept = json.loads((tmp_path / "results" / "run.json").read_text())["rows"]
    assert kept["a"] == {"row": "a", "ratio": 3, "date": "two"}
    assert kept["e"] == {"row": "e", "ratio": 2, "date": "one"}


def test_the_last_results_are_shown_again_by_where_they_are_from(
    benchmarks, tmp_path, monkeypatch, capsys
):
    import run

    monkeypatch.setattr(run, "RESULTS", tmp_path / "results" / "run.json")
    run.show()
    assert capsys.readouterr().out == ""

    def row(name, ratio):
        return {
            "row": name,
            "what": "E",
            "peer": "its script",
            "reach": 4,
            "ratio": {"median": ratio, "low": ratio, "high": ratio},
            "peer_images_per_second": 1000.0,
            "our_images_per_second": 1000.0 * ratio,
            "our_about": {"precision": "bfloat16"},
        }

    here = {"command": "python run.py", "machine": "two cores", "date": "one"}
    run.record("rows", [row("e", 3.5), row("e float32", 1.5)], here)
    run.record("rows", [row("a", 2.5)], here | {"date": "two"})
    run.show()
    first, second = capsys.readouterr().out.split("python run.py, ")[1:]
    assert first.startswith("one, two cores\n") and second.startswith("two, two cores\n")
    assert "kept one core busy" not in first + second
    run.record("busy", [row("e", 3.0)], here)
    run.show()
    shown = capsys.readouterr().out
    assert "| 4x | **3.50x** |" in shown  # the quiet ones stand
    assert "two cores; another process kept one core busy half of the time" in shown
    assert shown.index("**3.50x**") < shown.index("kept one core busy") < shown.index("**3.00x**")
    cells = "E (bfloat16) | its script | 4x | **3.50x** | 3.50 to 3.50 | 1.50x | 1,000 images/s"
    assert cells in first and first.count("\n| E") == 1
    assert "**2.50x** | 2.50 to 2.50 |  | 1,000 images/s" in second


def test_where_there_is_no_gpu_the_benchmark_says_so():
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu.py"), "--device", "cuda:99"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(BENCHMARKS.parent)},
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith("There is no such GPU here, and nothing was measured: device=")
