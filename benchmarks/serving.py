"""What `convscope serve` bears: memory, throughput, batching, overload, slow clients, bad images.

    python benchmarks/serving.py [memory throughput batching overload slow mutations] [--quick]
                                 [--keep FOLDER]

The server is `convscope serve` in a process of its own, the load comes from this one (raw HTTP over
asyncio, `http_load.py`), and both share the machine's cores. Two networks: `cnn` on MNIST, trained
for a moment, and one of about ten milliseconds an image, `resnet18_small` without training; their
files are made in FOLDER, once, if one is named.

memory      RSS after 10,000 requests, against a plain FastAPI and PyTorch process (peers/
            torch_server.py) that serves the same network; the drift over the last 9,000
            (at most 0.25x; under 20 MB)
throughput  32 clients: `/predict` of the cnn against `/v2/health/live`, a route that does nothing,
            in turn (at least 0.6x)
batching    32 clients: the slower network, batched against `--batch 1` (at least 1.5x); 20,000
            tagged requests, none swapped, each within 1e-5 of what it is alone
overload    the slower network at ten times its peak for 60 s: answers a second (at least 90 % of
            the peak), time of a refusal (under 50 ms at the 99th percentile), of a health check
            meanwhile (99th percentile under 100 ms)
slow        200 clients that send a byte a second, beside 8 normal ones: when they are cut off
            (15 s), the 99th percentile of the normal ones beside that without them (at most 2x)
mutations   20,000 damaged copies of the files in CONVSCOPE_TEST_IMAGES: no crash, no 5xx, every
            refusal in JSON, and the verdict of `convscope predict` on the same files

Two cores of an AMD EPYC (family 25, model 17), 2026-11-30, quiet: memory 0.211x (125 MB), drift 4.2
MB; throughput 0.38x (3,300 a second against 8,738; 0.63x with both cores busy, where the load's own
share counts less); batching 1.50x (1.46 to 1.53), none of 20,000 swapped, difference 0; overload
goodput 71 % (ten times the peak is 2,280 requests a second, whose sender shares the two cores), a
refusal in 7.3 ms, health in 12.6 ms; slow clients cut off after 10 s, 1.01x; mutations: 13,930
refused, 6,070 answered, no crash, no 5xx, no other verdict.

Prints a line a figure; writes benchmarks/results/serving.json. --quick takes a tenth of it all.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import io
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from http_load import Load, closed, opened, request
from PIL import Image

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "serving.json"
CLIENTS = 32
PREDICT = "/predict?top=5"


@dataclasses.dataclass
class Plan:
    """How much is done, and where files lie."""

    folder: Path
    share: float  # of the full counts and seconds

    def count(self, full: int) -> int:
        return max(100, int(full * self.share))

    def seconds(self, full: float) -> float:
        return max(3.0, full * self.share)


# What is served


def run_of(folder: Path) -> Path:
    """The cnn on MNIST as a run with its ONNX file."""
    import convscope as cs

    run = folder / "mnist-cnn"
    if not (run / "model.onnx").exists():
        plain = {"precision": "float32", "memory_format": "contiguous", "kernels": "plain"}
        cs.train("mnist", model="cnn", epochs=1, **plain, out=run, look=False)
        cs.export(run)
    return run


def slower_of(folder: Path) -> Path:
    """A file of a network that takes longer, with the classes and the size of the run's."""
    from convscope.data.columns import of_model
    from convscope.evaluation.targets import main_target
    from convscope.models import build
    from convscope.predicting.onnx_file import FORMAT_VERSION
    from convscope.shipping import onnx as graphs

    path = folder / "slower.onnx"
    if not path.exists():
        info = json.loads((run_of(folder) / "model.json").read_text())
        network = build("resnet18_small", num_classes=10, in_channels=1, image_size=(28, 28)).eval()
        info["architecture"]["name"] = "resnet18_small"
        columns = of_model(info)
        model = graphs.graph_of(network, columns, {main_target(columns): 1.0})
        graphs.describe(model, {"format_version": FORMAT_VERSION, "model": info, "card": ""})
        path.write_bytes(model.SerializeToString())
    return path


def script_of(folder: Path) -> Path:
    """The cnn as one plain PyTorch file, for the peer."""
    path = folder / "cnn.py"
    if not path.exists():
        command = [sys.executable, "-m", "convscope", "script", str(run_of(folder))]
        subprocess.run([*command, "-o", str(path)], check=True, stdout=subprocess.DEVNULL)
    return path


def digits(count: int) -> list[bytes]:
    """Test images of MNIST as PNG files."""
    import convscope as cs

    images = cs.open_data("mnist").splits["test"].main_images[:count]
    return [encoded(image[0]) for image in np.asarray(images)]


def encoded(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@contextlib.contextmanager
def served(file: Path, *options: str) -> Iterator[tuple[int, int]]:
    """`convscope serve`: its port and its process."""
    command = [sys.executable, "-m", "convscope", "serve", f"net={file}", "--port", "0", "--json"]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    try:
        lines = iter(process.stdout.readline, "}\n")  # type: ignore[union-attr]
        said = json.loads("".join([*lines, "}"]))
        port = int(said["url"].rpartition(":")[2])
        answering(port, "/v2/health/ready")
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(60)


@contextlib.contextmanager
def peer(folder: Path) -> Iterator[tuple[int, int]]:
    """The plain FastAPI and PyTorch server."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = HERE / "peers" / "torch_server.py"
    command = [sys.executable, str(script), str(script_of(folder)), str(port)]
    process = subprocess.Popen(command)
    try:
        answering(port, "/openapi.json")
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(60)


def answering(port: int, path: str) -> None:
    """Wait until it answers."""
    import urllib.request

    for _ in range(600):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).read()
            return
        time.sleep(0.1)
    raise SystemExit(f"nothing answers at port {port}")


def resident(pid: int) -> float:
    """Megabytes of a process in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit(f"process {pid} has no VmRSS")


def requests_of(images: list[bytes], path: str = PREDICT) -> Callable[[int], bytes]:
    made = [request(path, data) for data in images]
    return lambda n: made[n % len(made)]


# What is measured


def memory(plan: Plan) -> dict[str, Any]:
    made = requests_of(digits(100))
    count = plan.count(10_000)

    def grown(port: int, pid: int) -> tuple[float, float]:
        asyncio.run(closed(port, made, CLIENTS, count=count // 10))
        before = resident(pid)
        load = asyncio.run(closed(port, made, CLIENTS, count=count - count // 10))
        assert set(load.counts) == {200}, load.counts
        return resident(pid), resident(pid) - before

    with served(run_of(plan.folder) / "model.onnx") as (port, pid):
        ours, drift = grown(port, pid)
    with peer(plan.folder) as (port, pid):
        theirs, their_drift = grown(port, pid)
    return {
        "requests": count,
        "ours_mb": round(ours, 1),
        "peer_mb": round(theirs, 1),
        "ratio": round(ours / theirs, 3),
        "drift_mb": round(drift, 1),
        "peer_drift_mb": round(their_drift, 1),
    }


def throughput(plan: Plan) -> dict[str, Any]:
    made = requests_of(digits(100))
    nothing = request("/v2/health/live", method="GET")
    seconds, pairs = plan.seconds(5), []
    with served(run_of(plan.folder) / "model.onnx") as (port, _):
        asyncio.run(closed(port, made, CLIENTS, seconds=1))
        for _ in range(5):
            none = asyncio.run(closed(port, lambda n: nothing, CLIENTS, seconds=seconds))
            some = asyncio.run(closed(port, made, CLIENTS, seconds=seconds))
            pairs.append((none, some))
    ratios = sorted(some.rate() / none.rate() for none, some in pairs)
    return {
        "ratio": round(ratios[2], 3),
        "ratios": [round(one, 3) for one in ratios],
        "nothing": pairs[-1][0].as_json(),
        "predict": pairs[-1][1].as_json(),
    }


def batching(plan: Plan) -> dict[str, Any]:
    slower, made = slower_of(plan.folder), requests_of(digits(100))
    seconds = plan.seconds(10)
    rates: dict[str, list[float]] = {"batched": [], "single": []}
    with served(slower) as (batched, _), served(slower, "--batch", "1") as (single, _):
        for _ in range(5):
            for name, port in (("batched", batched), ("single", single)):
                load = asyncio.run(closed(port, made, CLIENTS, seconds=seconds / 5))
                rates[name].append(load.rate())
        alone = asyncio.run(closed(single, made, 1, count=50))
    ratios = sorted(a / b for a, b in zip(rates["batched"], rates["single"], strict=True))
    return {
        "alone_ms": round(1000 * alone.percentile(0.5), 2),
        "ratio": round(ratios[2], 2),
        "ratios": [round(one, 2) for one in ratios],
        **{f"{name}_per_second": round(max(each), 1) for name, each in rates.items()},
        **tagged(plan),
    }


def tagged(plan: Plan) -> dict[str, Any]:
    """Requests whose answer tells which image it is of, all at once; against each alone."""
    images, count = digits(500), plan.count(20_000)
    expected: dict[int, list[tuple[str, float]]] = {}
    off, swapped = 0.0, 0

    def top(body: bytes) -> list[tuple[str, float]]:
        return [(one["label"], one["p"]) for one in json.loads(body)["top"]]

    def first(n: int, asked: bytes, status: int, body: bytes) -> None:
        expected[n] = top(body)

    def again(n: int, asked: bytes, status: int, body: bytes) -> None:
        nonlocal off, swapped
        if status != 200:
            swapped += 1
            return
        one, other = dict(top(body)), dict(expected[n % len(images)])
        far = max(abs(one.get(label, 0) - other.get(label, 0)) for label in {*one, *other})
        swapped += far > 1e-3
        off = max(off, far)

    made = requests_of(images, "/predict?top=10")
    with served(run_of(plan.folder) / "model.onnx") as (port, _):
        asyncio.run(closed(port, made, 1, count=len(images), check=first))
        asyncio.run(closed(port, made, 64, count=count, check=again))
    apart = len({tuple(one) for one in expected.values()})
    return {"tagged": count, "told_apart": apart, "swapped": swapped, "largest_difference": off}


def overload(plan: Plan) -> dict[str, Any]:
    made = requests_of(digits(100))
    health = request("/v2/health/live", method="GET")
    with served(slower_of(plan.folder), "--queue", "64") as (port, _):
        peak = asyncio.run(closed(port, made, CLIENTS, seconds=plan.seconds(10))).rate()

        async def both() -> tuple[Load, Load]:
            seconds = plan.seconds(60)
            probes = Load(lasted=seconds)

            async def probing() -> None:
                end = time.perf_counter() + seconds
                while time.perf_counter() < end:
                    one = await closed(port, lambda n: health, 1, count=1)
                    for status, each in one.seconds.items():
                        for value in each:
                            probes.add(status, value)
                    await asyncio.sleep(0.05)

            flood, _ = await asyncio.gather(opened(port, made, 10 * peak, seconds), probing())
            return flood, probes

        flood, probes = asyncio.run(both())
    return {
        "peak_per_second": round(peak, 1),
        "goodput": round(flood.rate() / peak, 3),
        "refused_p99_ms": round(1000 * flood.percentile(0.99, 503), 1),
        "health_p99_ms": round(1000 * probes.percentile(0.99), 1),
        "offered": round(sum(flood.counts.values()) / flood.lasted / peak, 1),
        "flood": flood.as_json(),
    }


def slow(plan: Plan) -> dict[str, Any]:
    made, n = requests_of(digits(100)), 200
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n".encode()
    begun = (b"", b"POST ", head, head + b"x")

    async def dripping(port: int, sent: bytes) -> float:
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)

        async def drip() -> None:
            while True:
                await asyncio.sleep(1)
                writer.write(b"/" if sent[:1] and sent[-1:] != b"\n" else b"")

        dropping = asyncio.create_task(drip())
        with contextlib.suppress(OSError):
            while await reader.read(4096):
                pass
        dropping.cancel()
        writer.close()
        return time.perf_counter() - began

    async def beside(port: int) -> tuple[Load, list[float]]:
        clients = [asyncio.create_task(dripping(port, begun[i % len(begun)])) for i in range(n)]
        normal = await closed(port, made, 8, seconds=12)
        return normal, await asyncio.gather(*clients)

    with served(run_of(plan.folder) / "model.onnx") as (port, _):
        asyncio.run(closed(port, made, 8, seconds=1))
        before = asyncio.run(closed(port, made, 8, seconds=12))
        during, ended = asyncio.run(beside(port))
    return {
        "slow_clients": n,
        "cut_off_after_s": round(max(ended), 1),
        "p99_ms": [round(1000 * one.percentile(0.99), 2) for one in (before, during)],
        "p99_ratio": round(during.percentile(0.99) / before.percentile(0.99), 2),
        "answers": [dict(one.counts) for one in (before, during)],
    }


def damaged(folder: Path, seed: int) -> bytes:
    """A file of the corpus with bytes changed, left out, doubled, or cut off."""
    draw = random.Random(seed)
    files = corpus(folder)
    data = bytearray(files[seed % len(files)].read_bytes())
    for _ in range(draw.randint(0, 3)):
        at = draw.randrange(len(data) + 1)
        match draw.randrange(6):
            case 0:
                data[at : at + 1] = bytes([draw.randrange(256)])
            case 1:
                data[at : at + draw.randint(1, 40)] = b""
            case 2:
                data[at:at] = data[at : at + draw.randint(1, 40)]
            case 3:
                data[at : at + 4] = draw.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"])
            case 4:
                del data[at:]
            case 5:
                data += bytes(draw.randrange(256) for _ in range(40))
    return bytes(data)


def corpus(folder: Path, known: dict[Path, list[Path]] = {}) -> list[Path]:  # noqa: B006
    if folder not in known:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        known[folder] = [one for one in files if one.stat().st_size < 1_000_000]
    return known[folder]


def mutations(plan: Plan) -> dict[str, Any]:
    named = os.environ.get("CONVSCOPE_TEST_IMAGES")
    if not named:
        raise SystemExit("mutations: set CONVSCOPE_TEST_IMAGES to a folder of image files")
    count = plan.count(20_000)
    file = run_of(plan.folder) / "model.onnx"
    answers: dict[int, tuple[int, bytes]] = {}

    def check(n: int, asked: bytes, status: int, body: bytes) -> None:
        answers[n] = status, body

    with tempfile.TemporaryDirectory() as scratch:
        for n in range(count):
            (Path(scratch) / f"{n:06}.png").write_bytes(damaged(Path(named), n))

        def made(n: int) -> bytes:
            return request("/predict?top=3", (Path(scratch) / f"{n:06}.png").read_bytes())

        with served(file) as (port, pid):
            asyncio.run(closed(port, made, 8, count=count, check=check))
            alive = Path(f"/proc/{pid}").exists()
        command = [sys.executable, "-m", "convscope", "predict", str(file), scratch, "--json"]
        said = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
        )
    verdicts: dict[int, list[dict[str, Any]]] = {}
    for one in json.loads(said.stdout)["results"]:
        verdicts.setdefault(int(Path(one["file"]).stem), []).append(one)
    differing = [n for n in range(count) if not same(answers[n], verdicts.get(n, []))]
    statuses: dict[str, int] = {}
    for status, _ in answers.values():
        statuses[str(status)] = statuses.get(str(status), 0) + 1
    return {
        "files": count,
        "statuses": statuses,
        "crashes": 0 if alive else 1,
        "of_5xx": sum(n for status, n in statuses.items() if status[0] in "05"),
        "differing": len(differing),
        "first_differing": differing[:5],
    }


def same(answer: tuple[int, bytes], verdict: list[dict[str, Any]]) -> bool:
    """Whether an answer says what `predict` said of the file."""
    status, body = answer
    found = json.loads(body)
    if status != 200:
        return {"code", "message"} <= set(found["error"]) and all(one["error"] for one in verdict)
    results = found.get("results", [found])
    if len(results) != len(verdict) or any(one["error"] for one in verdict):
        return False
    return all(
        [top["label"] for top in one["top"]] == [top["label"] for top in other["top"]]
        and np.allclose([t["p"] for t in one["top"]], [t["p"] for t in other["top"]], atol=1e-5)
        and (one["unsure"], one["ood"]) == (other["unsure"], other["ood"])
        for one, other in zip(results, verdict, strict=True)
    )


PARTS = {one.__name__: one for one in (memory, throughput, batching, overload, slow, mutations)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    parser.add_argument("--quick", action="store_true", help="a tenth of it all")
    parser.add_argument("--keep", type=Path, help="where the networks' files are kept")
    asked = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with contextlib.ExitStack() as stack:
        folder = asked.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        plan = Plan(folder, 0.1 if asked.quick else 1.0)
        for name in asked.parts or PARTS:
            found = PARTS[name](plan)
            kept[name] = {**found, "quick": asked.quick, "load": os.getloadavg()[0]}
            print(f"{name}: {json.dumps(found)}", flush=True)
            RESULTS.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
