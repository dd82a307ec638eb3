"""Several ranks of one training: that they learn what one process learns, how fast, what becomes of
them where one is killed or cut off.

    python benchmarks/scaling/ranks.py same       weights of 1, 2 and 4 ranks after 50 steps
    python benchmarks/scaling/ranks.py sequence   what is seen over 1 -> 2 -> 1 ranks with resume
    python benchmarks/scaling/ranks.py speed      resnet18_small: 2 ranks of a thread by 1 of two
    python benchmarks/scaling/ranks.py kill       kill -9 of a random rank at 20 moments
    python benchmarks/scaling/ranks.py hosts      four hosts (network namespaces; root), one cut off

Needs no data: images are drawn. Exits 0 where the target is reached; prints what was measured. The
last results are in docs/distributed.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

FAST = ["--precision", "float32", "--memory-format", "channels_last", "--no-look"]
PLAIN = ["--layers", "c5-16 relu mp2 c5-32 relu mp2 flatten fc"]  # cnn without batch norm
HERE = Path(__file__).resolve()


def drawn(folder: Path, counts: tuple[int, int], shape: tuple[int, int, int]) -> Path:
    """A pack of images of noise around a mean of its class."""
    from convscope.data import pack_writer

    numbers = np.random.default_rng(0)

    def some(count: int) -> tuple[Any, Any]:
        labels = numbers.integers(0, 10, count)
        images = numbers.integers(0, 150, (count, *shape)) + 10 * labels[:, None, None, None]
        return images.astype(np.uint8), labels.astype(np.int64)

    splits = {"train": some(counts[0]), "test": some(counts[1])}
    names = tuple("abcdefghij")
    pack_writer.write_pack(folder / "pack", "noise", names, splits, "drawn by the benchmark")
    return folder / "pack"


def port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def train(
    ranks: int, pack: Path, out: Path, words: Sequence[str], restarts: int = 0, **more: Any
) -> subprocess.Popen[str]:
    """`convscope train` on the pack: by one process, or under torchrun."""
    command = [sys.executable]
    if ranks > 1:
        command += ["-m", "torch.distributed.run", f"--nproc-per-node={ranks}"]
        command += [f"--master-port={port()}", f"--max-restarts={restarts}"]
        command += ["--monitor-interval=0.1"]
    command += [str(HERE), "worker", str(pack), "train", "mnist", *FAST, *words, "--out", str(out)]
    shown: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, **more}
    return subprocess.Popen(command, **shown)


def ended(job: subprocess.Popen[str]) -> str:
    """What it said on its way to a good end."""
    _, said = job.communicate()
    if job.returncode:
        raise SystemExit(f"failed with {job.returncode}:\n{said}")
    return said


def worker(arguments: Sequence[str]) -> None:
    """A process of `train`: the pack in the place of the data, what it sees noted if that is asked
    for."""
    from convscope import cli
    from convscope.data import sources
    from convscope.data.pack import open_pack
    from convscope.training import loop

    pack, *words = arguments
    sources.open_data = lambda *_, **__: open_pack(Path(pack))
    if (note := os.environ.get("NOTE")) is not None:
        rank, update = os.environ.get("RANK", "0"), loop.update
        stop = int(os.environ.get("STOP", "0"))

        def noted(state: Any, batch: Any, train: Any, losses: Any, done: int, *rest: Any) -> None:
            (images,) = batch.inputs.values()
            sums = [zlib.crc32(one.contiguous().numpy().tobytes()) for one in images]
            with Path(f"{note}-{rank}").open("a") as file:
                file.write(json.dumps([done, sums]) + "\n")
            if done + 1 == stop:
                signal.raise_signal(signal.SIGINT)
            update(state, batch, train, losses, done, *rest)

        loop.update = noted
    if (slow := float(os.environ.get("SLOW", "0"))) > 0:
        from convscope.training.team import Team

        reduce = Team.reduce

        def slowly(self: Any, *given: Any) -> Any:
            time.sleep(slow)
            return reduce(self, *given)

        Team.reduce = slowly  # type: ignore[method-assign]
    sys.argv[1:] = words
    cli.main()


def far(one: Path, two: Path) -> float:
    """The largest difference of any weight, or of a running statistic as a share of the largest of
    its layer."""
    from safetensors.numpy import load_file

    a, b = (load_file(path / "model.safetensors") for path in (one, two))
    apart = [0.0]
    for name, values in a.items():
        size = float(np.abs(values).max()) if "running" in name else 1.0
        found = float(np.abs(values.astype(float) - b[name].astype(float)).max())
        apart.append(found / max(1.0, size))
    return max(apart)


def same(folder: Path, asked: argparse.Namespace) -> bool:
    """All by the same kernels and a thread each, by both optimizers, over several seeds. Where sums
    are taken in another order, a difference in the last bit lets another value win a max-pool now
    and then, and Adam makes steps of the learning rate's size even of gradients that are rounding
    alone. Where all learn from parts of 25 images, it is the same sum."""
    pack = drawn(folder, (3000, 500), (1, 28, 28))
    words = ["--epochs", "2", "--steps", "50", "-b", "100", "--shift", "1", "--kernels", "fused"]
    words += ["--threads", "1"]
    whole, parts = "without batch norm", "without batch norm, in parts of 25"
    rows: list[tuple[str, list[str], float]] = [
        (parts, [*PLAIN, "--micro-batch", "25"], 1e-5),
        (whole, PLAIN, 1e-5),
        ("batch norm synchronised", ["--model", "cnn", "--sync-batch-norm"], 1e-4),
    ]
    good = True
    for name, network, most in rows:
        for optimizer in ("sgd", "adamw"):
            found: dict[int, list[float]] = {2: [], 4: []}
            for seed in range(asked.seeds):
                typed = [*network, *words, "--optimizer", optimizer, "--seed", str(seed)]
                runs = {n: folder / f"{name}-{optimizer}-{seed}-{n}" for n in (1, *found)}
                for ranks, out in runs.items():
                    ended(train(ranks, pack, out, typed))
                for ranks, apart in found.items():
                    apart.append(far(runs[1], runs[ranks]))
            print(f"{name}, {optimizer} ({most:g} is wanted):", flush=True)
            for ranks, apart in found.items():
                print(f"  {ranks} ranks {' '.join(f'{one:.1e}' for one in apart)}", flush=True)
            good &= max(max(apart) for apart in found.values()) < most
    for optimizer in ("sgd", "adamw"):
        ones = [[folder / f"{name}-{optimizer}-{seed}-1" for name in (whole, parts)]
                for seed in range(asked.seeds)]  # fmt: skip
        print(f"one process, a batch at once against parts of 25, {optimizer}:")
        print(f"  {' '.join(f'{far(*both):.1e}' for both in ones)}", flush=True)
    return good


def sequence(folder: Path, _: argparse.Namespace) -> bool:
    pack = drawn(folder, (1003, 100), (3, 16, 16))
    words = [*PLAIN, "--epochs", "3", "-b", "64", "--kernels", "plain", "--flip", "--shift", "2"]
    words += ["--rotate", "10", "--erase", "0.3", "--mixup", "0.2", "--val", "0.1"]

    def run(ranks: int, out: str, stop: int = 0) -> dict[int, list[int]]:
        note = folder / f"{out}-{ranks}-{stop}"
        env = os.environ | {"NOTE": str(note), "STOP": str(stop)}
        again = ["--resume"] if (folder / out).exists() else []
        train(ranks, pack, folder / out, [*words, *again], env=env).communicate()
        found: dict[int, list[int]] = {}
        for rank in range(ranks):
            for line in Path(f"{note}-{rank}").read_text().splitlines():
                done, sums = json.loads(line)
                found.setdefault(done, []).extend(sums)
        return found

    whole = run(1, "whole")
    parts = [run(1, "parts", 11), run(2, "parts", 27), run(1, "parts")]
    together: dict[int, list[int]] = {}
    for part in parts:
        together |= part
    print("steps of each part:", [f"{min(one) + 1}-{max(one) + 1}" for one in parts])
    print(f"{sum(map(len, whole.values())):,} images seen in {len(whole)} steps:",
          "equal" if whole == together else "another sequence")  # fmt: skip
    print(f"weights: {far(folder / 'whole', folder / 'parts'):.1e} apart")
    return whole == together


def speed(folder: Path, asked: argparse.Namespace) -> bool:
    pack = drawn(folder, (2000, 40), (3, 32, 32))
    words = ["--model", "resnet18_small", "-b", "100", "--steps", "40", "--val", "0"]
    rows: dict[int, list[float]] = {1: [], 2: []}
    for pair in range(asked.pairs + 1):  # the first measures what is kept
        for ranks, threads in ((1, 2), (2, 1)):
            out = folder / f"{ranks}-{pair}"
            ended(train(ranks, pack, out, [*words, "--threads", str(threads)]))
            lines = [json.loads(one) for one in (out / "history.jsonl").read_text().splitlines()]
            if pair:
                rows[ranks].append(lines[-1]["images_per_second"])
    ratios = [two / one for one, two in zip(rows[1], rows[2], strict=True)]
    for ranks, found in rows.items():
        print(f"{ranks} process(es): {statistics.median(found):.1f} images a second")
    print(f"ratio {statistics.median(ratios):.3f} ({', '.join(f'{one:.3f}' for one in ratios)})")
    return statistics.median(ratios) >= 0.9


def kill(folder: Path, asked: argparse.Namespace) -> bool:
    pack = drawn(folder, (1000, 100), (1, 12, 12))
    words = ["--layers", "c3-8 bn relu mp2 c3-8 bn relu flatten fc", "--kernels", "plain"]
    words += ["--epochs", "4", "-b", "64", "--checkpoint-seconds", "0.3", "--shift", "1"]
    env, chance = os.environ | {"SLOW": "0.05"}, random.Random(asked.seed)
    began = time.perf_counter()
    ended(train(2, pack, folder / "whole", words, env=env))
    seconds = time.perf_counter() - began
    good = struck = 0
    while struck < asked.kills:
        rank, out = chance.randrange(2), f"kill-{struck}"
        job = train(2, pack, folder / out, words, restarts=3, env=env, start_new_session=True)
        while _worker(job.pid, rank) is None and job.poll() is None:
            time.sleep(0.05)
        moment = chance.uniform(0, 0.9) * seconds  # of its life, its imports and its end included
        time.sleep(moment)
        if (process := _worker(job.pid, rank)) is None:  # it has ended
            job.communicate()
            shutil.rmtree(folder / out)
            continue
        os.kill(process, signal.SIGKILL)
        struck += 1
        _, said = job.communicate()
        alike = (folder / out / "model.safetensors").exists() and not job.returncode
        alike = alike and far(folder / "whole", folder / out) == 0
        messages = sum(line.startswith("error:") for line in said.splitlines())
        good += alike and messages <= 1 and "Traceback" not in said
        print(f"{struck:3} rank {rank} after {moment:5.1f} s: "
              + ("same weights" if alike else "OTHER WEIGHTS") + f", {messages} message(s)"
              + (", resumed" if "resumed at" in said else ""), flush=True)  # fmt: skip
    print(f"{good} of {struck} ended with the weights of the run that was not killed")
    return good == struck


def _worker(launcher: int, rank: int) -> int | None:
    """The process of a launcher that has this rank."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children")
    for child in children.read_text().split() if children.exists() else ():
        place = Path(f"/proc/{child}/environ")
        if place.exists() and f"\0RANK={rank}\0".encode() in b"\0" + place.read_bytes():
            return int(child)
    return None


def hosts(folder: Path, asked: argparse.Namespace) -> bool:
    """Four hosts, each a network namespace with an address of its own on one bridge."""
    pack = drawn(folder, (1000, 100), (1, 12, 12))
    words = ["--layers", "c3-8 relu mp2 c3-8 relu flatten fc", "--kernels", "plain", "-b", "64"]
    words += ["--epochs", "12", "--checkpoint-seconds", "0.3", "--optimizer", "sgd", "--lr", "0.01"]
    names, bridge = [f"csrank{n}" for n in range(1, 5)], "csrank0"

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True)

    jobs: list[subprocess.Popen[bytes]] = []
    try:
        ip("link", "add", bridge, "type", "bridge")
        ip("link", "set", bridge, "up")
        for n, name in enumerate(names, 1):
            ip("netns", "add", name)
            ip("link", "add", f"v{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"v{name}", "master", bridge, "up")
            for words_ in (("addr", "add", f"10.77.0.{n}/24", "dev", "eth0"),
                           ("link", "set", "eth0", "up"), ("link", "set", "lo", "up")):  # fmt: skip
                ip("-n", name, *words_)
        out = folder / "run"
        more = {"GLOO_SOCKET_IFNAME": "eth0", "CONVSCOPE_RANK_TIMEOUT": "10", "SLOW": "0.2"}
        for n, name in enumerate(names, 1):
            command = ["ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run"]
            command += ["--nnodes=3:4", "--nproc-per-node=1", "--max-restarts=3", "--rdzv-id=one"]
            command += ["--rdzv-backend=c10d", "--rdzv-endpoint=10.77.0.1:29400"]
            command += [f"--rdzv-conf=is_host={int(n == 1)}"]  # all have this machine's own name
            command += [f"--local-addr=10.77.0.{n}", str(HERE), "worker", str(pack), "train"]
            command += ["mnist", *FAST, *words, "--out", str(out)]
            jobs.append(
                subprocess.Popen(
                    command,
                    env=os.environ | more,
                    stdout=subprocess.DEVNULL,
                    stderr=(folder / f"{name}.log").open("w"),
                    start_new_session=True,
                )
            )
        wanted = time.monotonic() + 300
        while not list((out / "checkpoint").glob("step-*")):
            if time.monotonic() > wanted or any(job.poll() is not None for job in jobs):
                print((folder / f"{names[0]}.log").read_text())
                return False
            time.sleep(0.1)
        time.sleep(3)
        ip("-n", names[2], "link", "set", "eth0", "down")
        cut = time.perf_counter()
        print("four hosts learn; the third is cut off")
        for at in (0, 1, 3):
            jobs[at].wait(timeout=600)
        os.killpg(jobs[2].pid, signal.SIGKILL)
        jobs[2].wait()
        said = "".join((folder / f"{names[at]}.log").read_text() for at in (0, 1, 3))
        errors = [one for one in said.splitlines() if one.startswith("error:")]
        print(*errors, *[one for one in said.splitlines() if "resumed" in one], sep="\n")
        print(f"the others ended {time.perf_counter() - cut:.0f} s later with",
              [jobs[at].returncode for at in (0, 1, 3)])  # fmt: skip
        whole = folder / "whole"
        ended(train(1, pack, whole, [*words]))
        print(f"weights: {far(whole, out):.1e} from those of one process")
        return far(whole, out) < 1e-4 and len(errors) == 1
    finally:
        for job in jobs:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGTERM)
        for name in names:
            subprocess.run(["ip", "link", "del", f"v{name}"], check=False)
            subprocess.run(["ip", "netns", "del", name], check=False)
        subprocess.run(["ip", "link", "del", bridge], check=False)


def main(argv: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["worker"]:
        worker(given[1:])
        return 0
    proofs = {"same": same, "sequence": sequence, "speed": speed, "kill": kill, "hosts": hosts}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("proof", choices=proofs)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a new folder that stays, with all runs")
    asked = parser.parse_args(given)
    with tempfile.TemporaryDirectory(prefix="convscope-ranks-") as temporary:
        folder = asked.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        return 0 if proofs[asked.proof](folder, asked) else 1


if __name__ == "__main__":
    sys.exit(main())
