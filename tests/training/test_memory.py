"""A memory bound: sizes as typed, passes that are tried, what is foretold, and real processes that
keep to theirs."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convscope import machine
from convscope.data.loader import Batch
from convscope.errors import BadArgument
from convscope.recipe import Train
from convscope.training import memory

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is weighed on Linux only")


@pytest.mark.parametrize(
    ("text", "size"),
    [("800MB", 8e8), ("2GB", 2e9), ("1.5 GiB", 1.5 * 2**30), ("64k", 64e3), (10**9, 1e9)],
)
def test_a_size_as_it_is_typed(text, size):
    assert memory.bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1GB", "much", "2TB", "GB", 0, "1e9"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(BadArgument, match="max_memory=.*: must be a size; write 800MB or 2GB"):
        memory.bytes_of(text)


@pytest.mark.parametrize("sizes", [[100], [100, 100, 37], [101, 100], [64, 33], [7], [2], [1], [3]])
@pytest.mark.parametrize("least", [1, 2])
def test_no_pass_has_fewer_images_than_the_network_can_learn_from(sizes, least):
    tried = memory.passes(sizes, least)
    assert tried[0] == 0 and tried[1:] == sorted(set(tried[1:]), reverse=True)
    for size in tried[1:]:
        for batch in sizes:
            rest = batch % size
            assert rest == 0 or rest >= least or batch < least
    if least == 1:
        assert tried[-1] == 1 or max(sizes) == 1
        evenly = {math.ceil(max(sizes) / n) for n in range(2, max(sizes) + 1)}
        assert set(tried[1:]) == evenly


def test_batch_norm_needs_two_images():
    assert memory.least_images(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))) == 2
    assert memory.least_images(nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2))) == 1


def test_what_is_foretold_lies_on_the_line_and_above():
    weighed = {n: 20 + 3 * n for n in (2, 4, 8, 16)}
    assert memory.foretold(weighed, 16) == 68
    assert memory.foretold(weighed, 10) == 68  # not more than the next that was weighed
    assert memory.foretold(weighed, 64) / memory.MARGIN == pytest.approx(20 + 3 * 64)
    flat = {2: 100, 4: 100}  # noise hides what an image needs: half of what all of them took each
    assert memory.foretold(flat, 8) / memory.MARGIN == pytest.approx(100 + 4 * 12.5)
    assert memory.foretold({2: 100}, 4) / memory.MARGIN == pytest.approx(200)


class Weighed:
    """A rehearsal of a network of which ``an_image`` and ``always`` are known."""

    def __init__(self, batch: int = 100, norm: bool = True) -> None:
        self.train, self.loader, self.state = Train(batch_size=batch), self, self
        self.model = nn.Sequential(nn.BatchNorm2d(1)) if norm else nn.Sequential()
        self.batch, self.weighed = batch, []

    def sizes(self) -> list[int]:
        return [self.batch, self.batch // 2]


@pytest.fixture
def scales(monkeypatch):
    """A process of 1000 bytes, in which a pass takes 100 bytes and 10 an image."""

    def weigh(rehearsal: Weighed, images: int, whole: bool = False) -> int:
        rehearsal.weighed.append(images)
        return 100 + 10 * images

    monkeypatch.setattr(memory, "weigh", weigh)
    monkeypatch.setattr(memory, "resident", lambda: 1000)
    monkeypatch.setattr(memory, "SPARE", 0)


@pytest.mark.parametrize(
    ("bound", "found"),
    [
        (10_000, (0, 100)),  # the whole batch
        (2_400, (0, 100)),  # 2,100 and what is taken as more
        (2_200, (50, 50)),  # 2,100 would do, but that is foretold from 64 images
        (1_250, (10, 10)),
        (1_150, (2, 2)),
    ],
)
def test_as_many_images_a_pass_as_fit(scales, bound, found):
    rehearsal = Weighed()
    assert memory.fit(bound, rehearsal) == found
    chosen = found[0] or 100
    assert rehearsal.weighed[-1] == chosen  # what is chosen was weighed itself
    assert all(1000 + 100 + 10 * images <= bound for images in rehearsal.weighed)


def test_what_is_needed_besides_is_kept_free(scales):
    assert memory.fit(1_650, Weighed(), reserved=400) == memory.fit(1_250, Weighed()) == (10, 10)


def test_what_lies_beyond_a_bound_serves_to_find_out(scales):
    """What a step takes in any case hides what an image takes, until several were weighed."""
    assert memory.fit(1_200, Weighed()) == (2, 2)
    assert memory.fit(1_200, rehearsal := Weighed(), beyond=100) == (8, 8)
    assert rehearsal.weighed == [2, 2, 4, 8, 8]


def test_a_pass_that_turns_out_larger_is_not_taken(scales, monkeypatch):
    monkeypatch.setattr(memory, "weigh", lambda _, n, **more: 100 + 10 * n + 700 * (n > 40))
    assert memory.fit(1_700, Weighed()) == (34, 34)


def test_a_bound_below_the_least_is_refused(scales):
    with pytest.raises(
        BadArgument,
        match="max_memory=0 MB: is too little: the process has 0 MB before it learns, and learning "
        "from 2 images at a time takes 0 MB more; try 0 MB",
    ):
        memory.fit(1_119, Weighed())
    with pytest.raises(BadArgument, match="learning from 1 image at a time"):
        memory.fit(1_109, Weighed(norm=False))
    assert memory.fit(1_115, Weighed(norm=False)) == (1, 1)


def test_a_run_that_goes_on_keeps_its_passes_or_is_refused(scales):
    rehearsal = Weighed()
    memory.check(2_100, rehearsal)
    with pytest.raises(BadArgument, match="is less than this run needs, .* 100 images a pass"):
        memory.check(2_099, rehearsal)


def test_a_system_that_cannot_be_weighed_says_so(monkeypatch):
    def no_proc(what: str = "") -> int:
        raise FileNotFoundError("no /proc")

    monkeypatch.setattr(memory, "resident", no_proc)
    monkeypatch.setattr(memory, "weigh", lambda *_, **more: 0)
    with pytest.raises(BadArgument, match="this system does not allow .*; set micro_batch and"):
        memory.fit(10**9, Weighed())


@linux
def test_growth_is_the_peak_and_not_what_stays():
    with machine.at_work():  # where what is freed is kept
        for _ in range(2):  # the second time round there is room in what the first left
            grown = memory.growth(lambda: np.ones(8_000_000).sum())
            assert 60e6 < grown < 90e6
        assert memory.growth(lambda: None) < 10e6


def test_what_a_batch_takes_is_foretold_from_one_image():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    batch = Batch({"image": torch.zeros(8, 1, 8, 8)}, {"label": torch.zeros(8, dtype=torch.long)})
    of_one = 4 * (144 + 144 + 144 + 2)
    assert memory.estimate(network, batch, 10, free=1000) == 1.25 * of_one * 8
    assert memory.estimate(network, batch, 1000, free=1000) == 2 * 4 * 144 * 1000
    assert memory.estimate(network, batch, 10, free=10**9) == 0  # no network takes so much
    assert memory.estimate(nn.Linear(3, 2), batch, 10, free=1000) == 0  # its trial says why
    halfway = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(77, 2))
    assert memory.estimate(halfway, batch, 10, free=1000) == 0
    network.kept = network[0].weight * 2  # which is not to be copied
    assert memory.estimate(network, batch, 10, free=1000) == 0
    assert network.training


@linux
def test_what_is_free_is_no_more_than_a_container_has(monkeypatch):
    assert 0 < memory.free() < machine.memory()
    monkeypatch.setattr(machine, "memory", lambda: memory.resident() + 10**6)
    assert memory.free() <= 10**6
    monkeypatch.setattr(machine, "memory", lambda: 10)
    assert memory.free() == 0


@linux
def test_mapped_pages_are_let_go(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(4_000_000))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="c")
    before = memory.resident("RssFile")
    assert mapped.sum() == 4_000_000
    assert memory.resident("RssFile") - before > 25e6
    memory.let_go([mapped, np.ones(3)])
    assert memory.resident("RssFile") - before < 8e6
    assert mapped.sum() == 4_000_000


CHILD = """
import sys, convscope as cs
bound, model, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
try:
    run = cs.train("mnist", model=model, batch_size=batch, steps=3, max_memory=bound, shift=2,
                   precision="float32", memory_format="channels_last", kernels="plain",
                   out=sys.argv[4])
except cs.BadArgument as why:
    sys.exit(str(why))
print(run.recipe.train.micro_batch)
open(sys.argv[4] + "/done", "w").close()  # from here on the process only ends
"""


def peak(*args: str) -> tuple[int, int, str]:
    """Exit code and peak resident size of a training process, looked at from outside, and what it
    said."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ},
    )
    most = 0
    while process.poll() is None and not (Path(args[3]) / "done").exists():
        try:
            text = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        for found in re.findall(r"(?:VmRSS|VmHWM):\s+(\d+)", text):
            most = max(most, int(found) * 1024)
        time.sleep(0.002)
    out, err = process.communicate()
    return process.returncode, most, out + err


@linux
def test_a_process_keeps_to_its_bound(tmp_path):
    """Told too little it says how much it needs; told a little more than that it stays below."""
    code, _, said = peak("1MB", "cnn", "3000", str(tmp_path / "a"))
    assert code == 1 and "is too little: the process has" in said, said
    number, unit = re.search(r"try ([\d.]+) (MB|GB)", said).groups()
    bound = float(number) * {"MB": 1e6, "GB": 1e9}[unit] + 100e6
    code, most, said = peak(f"{bound / 1e6:.0f}MB", "cnn", "3000", str(tmp_path / "b"))
    assert code == 0, said
    assert most < bound
    assert 0 < int(said.split()[0]) < 3000  # it had to go in passes
