"""Several processes of one training, as a launcher would start them: a worker's code in each."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quick import ROOT

import convscope as cs
from convscope.data import sources
from convscope.data.pack import open_pack
from convscope.events import Progress

PLAIN = {"layers": "c3-4 relu mp2 c3-8 relu mp2 flatten fc", "epochs": 2, "batch_size": 32}
PLAIN |= {"lr": 0.01, "precision": "float32", "memory_format": "contiguous", "kernels": "plain"}
PLAIN |= {"look": False, "threads": 1}
PARTS = {"micro_batch": 8, "steps": 6}  # of whole batches: a quarter each
NORM = {**PLAIN, "layers": "c3-4 bn relu mp2 c3-8 bn relu mp2 flatten fc"}
NORM |= {"optimizer": "sgd"}  # Adam would take the rounding of a bias before batch norm to its rate

BEGIN = "import sys; from ranks import *; here, pack = map(Path, sys.argv[1:3]); use(pack)\n"
RANK = int(os.environ.get("RANK", "0"))


def use(pack: Path) -> None:
    """Take the pack for every data set."""
    sources.open_data = lambda *_, **__: open_pack(pack)


def learn(out: Path, options: dict[str, Any] = PLAIN, **more: Any) -> cs.Run:
    """A short training."""
    run: cs.Run = cs.train("mnist", out=out, **{**options, **more})
    return run


def stopped(at: int, out: Path, **more: Any) -> tuple[int, str]:
    """One that is interrupted at a step; its exit code, and what is said of it."""

    def stop(event: object) -> None:
        if isinstance(event, Progress) and event.unit == "steps" and event.done == at:
            signal.raise_signal(signal.SIGINT)

    try:
        learn(out, emit=stop, **more)
    except (KeyboardInterrupt, SystemExit) as why:
        return getattr(why, "exit_code", getattr(why, "code", None)), str(why)
    raise AssertionError("it was not stopped")


def tried(**more: Any) -> tuple[str, str]:
    """The error that a training ends with, and its text."""
    try:
        learn(**more)
    except (cs.ConvscopeError, SystemExit) as why:
        return type(why).__name__, str(why)
    raise AssertionError("it was not refused")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def environment(**more: str) -> dict[str, str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"} | more


def launch(
    code: str, here: Path, pack: Path, ranks: int = 2, **more: str
) -> list[subprocess.CompletedProcess[str]]:
    """The code in so many processes that find each other; what each printed, and how it ended."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    place |= {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", BEGIN + code, str(here), str(pack)],
            env=environment(**place, RANK=str(rank), LOCAL_RANK=str(rank), **more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    ended = [(one, *one.communicate(timeout=300)) for one in started]
    return [
        subprocess.CompletedProcess(one.args, one.returncode, out, err) for one, out, err in ended
    ]


def results(done: Sequence[subprocess.CompletedProcess[str]]) -> list[Any]:
    """What each process printed last, as JSON."""
    assert [one.returncode for one in done] == [0] * len(done), [one.stderr for one in done]
    return [json.loads(one.stdout.splitlines()[-1]) for one in done]


def torchrun(arguments: Sequence[str], ranks: int = 2, restarts: int = 0) -> list[str]:
    """The command line of PyTorch's launcher, on this machine alone."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}"]
    command += [f"--max-restarts={restarts}", f"--master-port={free_port()}"]
    return [*command, "--monitor-interval=0.1", *arguments]
