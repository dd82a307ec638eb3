"""Several ranks learn what one process learns, judge what it judges, and end together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from ranks import BEGIN, NORM, PARTS, environment, launch, learn, results, stopped, torchrun, use
from safetensors.torch import load_file

from convscope.data import pack_writer, sources
from convscope.data.pack import Pack
from convscope.data.split import Part
from convscope.errors import BadArgument
from convscope.job import ranked
from convscope.training import ranks


@pytest.fixture(scope="module")
def odd(tiny: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """239 training images and 59 to judge, which no two ranks have as many of."""
    folder = tmp_path_factory.mktemp("odd") / "bars"
    _write(folder, tiny, {"train": 239, "test": 59})
    return folder


def _write(folder: Path, tiny: Pack, counts: dict[str, int]) -> None:
    splits = {
        name: tuple(np.array(values[:count]) for values in (one.images, one.labels))
        for name, count in counts.items()
        for one in (tiny.splits[name],)
    }
    pack_writer.write_pack(folder, "mnist", ("flat", "upright", "spot"), splits, "by the tests")


@pytest.fixture
def by_one(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process takes that pack, too."""
    monkeypatch.setattr(sources, "open_data", sources.open_data)
    use(odd)


def far(one: Path, two: Path) -> float:
    """The largest difference of any weight of two runs."""
    a, b = (load_file(path / "model.safetensors") for path in (one, two))
    assert a.keys() == b.keys()
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


def test_they_learn_and_judge_what_one_process_does(odd, by_one, tmp_path):
    """Together in one start of two processes, which takes seconds: the same weights, with batch
    norm of the whole batch as well, and to the bit where all learn from the same parts; a run that
    one process began, two went on with, and one ends; every test image judged once, in its
    place."""
    one = learn(tmp_path / "plain-1")
    learn(tmp_path / "norm-1", NORM)
    learn(tmp_path / "parts-1", **PARTS)
    assert stopped(5, tmp_path / "over")[0] == 130
    done = launch(
        """
two = learn(here / "plain-2")
learn(here / "norm-2", NORM, sync_batch_norm=True)
learn(here / "norm-apart", NORM)
learn(here / "parts-2", **PARTS)
print(json.dumps(stopped(9, here / "over", resume=True)))
""",
        tmp_path,
        odd,
    )
    (code, text), other = results(done)
    assert code == 130
    assert "step-000000010" in text  # what the ranks agree on is agreed on with the next step
    assert other == [130, "130"]
    assert not done[1].stderr
    learn(tmp_path / "over", resume=True)
    assert far(one.path, tmp_path / "plain-2") < 1e-5
    assert far(one.path, tmp_path / "over") < 1e-5
    assert far(tmp_path / "parts-1", tmp_path / "parts-2") == 0
    assert far(tmp_path / "norm-1", tmp_path / "norm-2") < 1e-4
    assert far(tmp_path / "norm-1", tmp_path / "norm-apart") > 1e-4
    figures, ours = (json.loads((tmp_path / n / "metrics.json").read_text())
                     for n in ("plain-1", "plain-2"))  # fmt: skip
    assert ours["n"] == 59
    assert ours["confusion"] == figures["confusion"]
    assert ours["loss"] == pytest.approx(figures["loss"], abs=1e-5)
    rows = [(tmp_path / n / "predictions.csv").read_text().splitlines() for n in
            ("plain-1", "plain-2")]  # fmt: skip
    first, second = ([row.split(",")[:3] for row in one] for one in rows)
    assert first == second and len(first) == 60


def test_what_ranks_do_not_share_is_one_error(odd, tiny, tmp_path):
    """Of rank 0, which names who has what."""
    _write(tmp_path / "bars", tiny, {"train": 238, "test": 59})
    done = launch(
        """
from convscope import machine
found = [tried(out=here / "no", **more) for more in
         ({"seed": RANK}, {"batch_size": 3}, {"time_budget": 9})]
from convscope.job import ranked
slots, ranked.slots = ranked.slots, lambda whole, rank, ranks: range(whole // 2)
found.append(tried(out=here / "twice"))
ranked.slots = slots
versions, machine.versions = machine.versions, lambda: {"torch": f"2.{RANK}"}
found.append(tried(out=here / "no"))
machine.versions = versions
use(here / "bars" if RANK else pack)
found.append(tried(out=here / "no"))
def gone(*_, **__):
    raise cs.DataError("bars: was never here")
sources.open_data = gone if RANK else sources.open_data
print(json.dumps([*found, tried(out=here / "no")]))
""",
        tmp_path,
        odd,
    )
    first, second = results(done)
    assert [kind for kind, _ in second] == ["SystemExit"] * 7
    texts, host = [text for _, text in first], os.uname().nodename
    who = f"on rank 0 ({host}); {{}} on rank 1 ({host}): must be the same on all ranks"
    assert texts[0].startswith("seed=0 " + who.format(1))
    assert texts[1].startswith("batch_size=3: is too small for 2 ranks")
    assert texts[2].startswith("time_budget=9: is measured by one process")
    assert texts[3] == "the ranks judged other records than 0 to 23, each once"
    assert texts[4].startswith("version of torch=2.0 " + who.format("2.1"))
    assert texts[5].startswith("fingerprint of mnist=")
    assert texts[6] == f"rank 1 ({host}): bars: was never here"
    assert not (tmp_path / "no").exists()


WORDS = """
import os, time
from convscope import cli
from convscope.training import team
reduced = team.Team.reduce
def slowly(*given):  # so that a signal comes in the middle
    time.sleep(0.1)
    return reduced(*given)
team.Team.reduce = slowly
sys.argv[1:] = sys.argv[3:]
(here / f"pid-{RANK}").write_text(str(os.getpid()))
cli.main()
"""
COMMAND = ["train", "mnist", "--layers", "c3-4 relu mp2 flatten fc", "--epochs", "4", "-b", "32"]
COMMAND += ["--precision", "float32", "--memory-format", "contiguous", "--kernels", "plain"]
COMMAND += ["--no-look", "--checkpoint-seconds", "0.3", "--threads", "1"]


def test_one_that_is_killed_ends_all_with_one_message_and_the_launcher_goes_on(
    odd, by_one, tmp_path
):
    worker = tmp_path / "worker.py"
    worker.write_text(BEGIN + WORDS)
    words = [str(worker), str(tmp_path), str(odd), *COMMAND, "--out", str(tmp_path / "k")]
    job = subprocess.Popen(
        torchrun(words, restarts=1),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    saved = tmp_path / "k" / "checkpoint"
    while not list(saved.glob("step-*")) and job.poll() is None:
        time.sleep(0.05)
    os.kill(int((tmp_path / "pid-1").read_text()), signal.SIGKILL)
    out, err = job.communicate(timeout=300)
    assert job.returncode == 0, err
    said = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(said) == 1 and "rank 1 died, so that all ranks end" in said[0]
    assert "Traceback" not in err and "resumed at epoch" in err
    assert out.startswith("test accuracy")
    whole = learn(tmp_path / "w", layers="c3-4 relu mp2 flatten fc", epochs=4, lr=None)
    assert far(whole.path, tmp_path / "k") < 1e-5


@pytest.mark.parametrize("said", ["soon", "0", "inf"])
def test_patience_is_seconds(monkeypatch, said):
    monkeypatch.setenv("CONVSCOPE_RANK_TIMEOUT", said)
    with pytest.raises(BadArgument, match="must be seconds, at least 1; try 60"):
        ranks.patience()


def test_what_is_judged_is_read_where_it_lies():
    images = np.arange(12, dtype=np.uint8).reshape(6, 1, 1, 2)
    assert ranked._rows(images, range(6)) is images
    some = ranked._rows(images, range(2, 5))
    assert isinstance(some, Part) and np.array_equal(some[0:2], images[2:4])
    assert np.array_equal(ranked._rows(images[:, 0, 0], range(2, 5)), images[2:5, 0, 0])
