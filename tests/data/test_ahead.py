"""Many small files are read by processes: the same pixels in the same order, and no caller's script
is run again."""

import os
import signal
import subprocess
import sys

import pytest
from photos import opened, photos

from convscope import machine
from convscope.data import ahead
from convscope.data.pack import read_meta
from convscope.errors import DataError
from convscope.predicting import inputs


@pytest.fixture
def by_processes(monkeypatch):
    """Any files are many and small, and there are two cores."""
    monkeypatch.setattr(machine, "cores", lambda: 2)
    for name, value in {"MANY": 1, "SMALL": 1e9}.items():
        monkeypatch.setattr(ahead, name, value)


def killed(number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.usefixtures("own_cache", "by_processes")
def test_folders_and_lists_are_the_same_by_processes(tmp_path, monkeypatch):
    root = photos(tmp_path / "photos", count=6)
    (root / "cat" / "000.png").write_bytes(b"no image")
    table = tmp_path / "list.csv"
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    table.write_text("\n".join(["file,label,group", *(f"{n},{n[:3]},{n[-7:]}" for n in names)]))
    found = {}
    for many in (1, 10_000):
        monkeypatch.setattr(ahead, "MANY", many)
        monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / str(many)))
        packs = [opened(root, **options)[0] for options in ({}, {"labels": table})]
        packs.append(opened(root, group="stem")[0])
        found[many] = [(one.digest, read_meta(one.folder)["skipped"]) for one in packs]
        found[many] += [(one.splits["train"].files, one.splits["train"].groups) for one in packs]
    assert found[1] == found[10_000]


@pytest.mark.usefixtures("by_processes")
def test_predicting_goes_on_by_processes(tmp_path, monkeypatch):
    root = photos(tmp_path / "photos", count=20)
    (root / "cat" / "005.png").write_bytes(b"no image")
    asked = {"channels": 3, "size": (8, 8), "fit": "pad"}
    expected = [one for some in inputs.stream([root], **asked) for one in some]
    monkeypatch.setattr(inputs, "FIRST", 20)
    monkeypatch.setattr(inputs, "MANY", 1)
    found = [one for some in inputs.stream([root], **asked) for one in some]
    assert len(found) == 60 and [one.name for one in found] == [one.name for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert (one.error, one.pixels is None) == (other.error, other.pixels is None)
        assert one.pixels is None or (one.pixels == other.pixels).all()


@pytest.mark.usefixtures("by_processes")
@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_a_process_that_is_killed_ends_it_in_words():
    with ahead.workers(1, 1) as pool, pytest.raises(DataError, match=r"was killed, .* try again"):
        list(ahead.in_order(pool, killed, range(3), 2))


def test_a_script_without_a_guard_is_run_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "print('begun')\nfrom convscope.data import ahead\nfrom convscope import machine\n"
        "machine.cores = lambda: 2\n"
        "with ahead.workers(10**6, 10) as pool:\n"
        "    print(list(ahead.each_in_order(pool, abs, range(-3, 3), 2, 2)))\n"
    )
    found = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=100, check=True
    )
    assert found.stdout.splitlines() == ["begun", "[3, 2, 1, 0, 1, 2]"]
