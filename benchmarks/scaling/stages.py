"""Bytes and images a second of every stage, and what they promise for ImageNet.

    python benchmarks/scale.py stages PHOTOS [--count 600] [--json FILE]
    python benchmarks/scale.py stages FILE.json

PHOTOS is a folder of class folders. Its photos are brought to 500 x 375 pixels, with a camera's
noise, and to files of about 110 KB, as ImageNet's are, and go through the house: decoded, packed,
read back in random order with nothing kept in memory, augmented, learnt from by three networks of
224 pixels, judged, exported and predicted. Besides: a checkpoint written through to the disk, and
gradients added up over two processes on one machine. Each figure is the median of ``--repeats``.

Then, of these or of a FILE that was kept, days of 90 epochs of ImageNet: a step of 1,024 images
takes the time of its images on one of M machines, and that in which a ring of them adds up the
gradients (each sends and gets 2 (M - 1) / M times their bytes) over a network of so many bytes a
second, one after the other, which is the worst case.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import convscope as cs
from convscope import files, machine, models
from convscope.data import ahead, decode, sources
from convscope.data.loader import Loader, tensor_of
from convscope.data.pack import Pack
from convscope.data.resample import resized
from convscope.models import store
from convscope.recipe import AUGMENT_BY_NAME

PARAMETERS = {"tv:resnet18": 11_689_512, "tv:resnet50": 25_557_032, "efficientnet_lite0": 4_652_008}
IMAGENET, EPOCHS, STEP = 1_281_167, 90, 1024  # images to learn from, passes, images a step
MACHINES = 1, 8, 64
NETWORK_SPEEDS = {"1 Gbit/s": 125e6, "10 Gbit/s": 1.25e9}
SIZE = 224
PIXELS = 3 * SIZE * SIZE  # bytes of an image in a pack
NOISE = 10  # of 255, the standard deviation


def median(repeats: int, work: Callable[[], object]) -> float:
    """Seconds of some work."""
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def written(photos: Path, count: int, place: Path) -> list[Path]:
    """Photos of ImageNet's size: nine of ten to learn from, the others to judge."""
    found = sorted(one for one in photos.glob("*/*") if one.is_file())
    chosen = np.random.default_rng(0).permutation(len(found))[:count]
    paths = []
    for at, number in enumerate(chosen):
        folder = place / ("test" if at % 10 == 0 else "train") / found[number].parent.name
        folder.mkdir(parents=True, exist_ok=True)
        paths.append(folder / f"{at:05}.jpg")
        with Image.open(found[number]) as image:
            large = image.convert("RGB").resize((500, 375), Image.Resampling.BICUBIC)
        noise = np.random.default_rng(at).normal(0, NOISE, (375, 500, 3))
        pixels = np.clip(np.asarray(large) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(paths[-1], quality=95)
    return paths


def decoded(path: Path) -> None:
    """One photo as a pack has it."""
    decode.decode(path, channels=3, size=(SIZE, SIZE), fit="crop", resize=resized)


def forgotten(pack: Pack) -> None:
    """Let the system keep nothing of a pack in memory."""
    assert pack.folder is not None
    for path in pack.folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_at_random(pack: Pack) -> None:
    """Every training image once, in random order, copied."""
    images = pack.splits["train"].images
    for number in np.random.default_rng(0).permutation(len(images)):
        images[number].copy()


def augmented(pack: Pack) -> Callable[[], None]:
    """An epoch of batches, without a network."""
    train = pack.splits["train"]
    every = torch.arange(len(train))
    images, labels = tensor_of(train.images), torch.from_numpy(train.labels)
    loader = Loader.of_images(
        images, labels, every, 64, 0, AUGMENT_BY_NAME["light"], classes=len(pack.classes)
    )

    def run() -> None:
        for _ in loader.epoch(0):
            pass

    return run


def fitted(data: Path, name: str, out: Path, steps: int) -> dict[str, float]:
    """Images a second learnt from and judged by a network, as `convscope train` has it."""
    options: dict[str, Any] = {"batch_size": 32, "eval_batch": 32, "val": 0, "look": False}
    asked = {"start": "none", "image_size": str(SIZE), "resize_mode": "crop", "augment": "light"}
    run = cs.train(data, model=name, steps=steps, out=out, **asked, **options)
    found = json.loads((run.path / "metrics.json").read_text())
    return {
        "learnt": found["images_per_second"],
        "judged": found["n"] / found["eval_seconds"],
    }


def added(rank: int, port: int, numbers: int, repeats: int, told: Any) -> None:
    """One of two processes that add up gradients."""
    torch.set_num_threads(1)
    where = f"tcp://127.0.0.1:{port}"
    torch.distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
    values = torch.ones(numbers)
    torch.distributed.all_reduce(values)
    seconds = median(repeats, lambda: torch.distributed.all_reduce(values))
    if rank == 0:
        told.put(seconds)
    torch.distributed.destroy_process_group()


def all_reduce(numbers: int, repeats: int) -> float:
    """Bytes of gradients a second that two processes on this machine add up."""
    processes = multiprocessing.get_context("spawn")
    told = processes.Queue()
    with contextlib.closing(__import__("socket").socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [
        processes.Process(target=added, args=(rank, port, numbers, repeats, told))
        for rank in range(2)
    ]
    for one in both:
        one.start()
    seconds = told.get(timeout=120)
    for one in both:
        one.join()
    return 4 * numbers / seconds


def saved(place: Path, repeats: int) -> tuple[float, int]:
    """Bytes a second of a checkpoint that is on the disk when it is there, and its bytes."""
    tensors = dict(models.build("tv:resnet50", 1000, 3, (SIZE, SIZE), {}).state_dict())
    size = sum(one.numel() * one.element_size() for one in tensors.values())

    def work() -> None:
        target = place / f"{time.time_ns()}"
        with files.whole_folder(target) as unfinished:
            store.write(unfinished / "state.safetensors", tensors)

    return size / median(repeats, work), size


def rows(photos: Path, count: int, repeats: int, steps: int) -> Iterator[tuple[str, float, float]]:
    """Stages: what, images a second, bytes of them a second."""
    with tempfile.TemporaryDirectory() as where:
        place = Path(where)
        os.environ["CONVSCOPE_CACHE"] = str(place / "cache")
        paths = written(photos, count, place / "photos")
        size = sum(path.stat().st_size for path in paths) / count
        yield "a photo, bytes", 1, size

        decoded(paths[0])  # its kernels are compiled

        def one_by_one() -> None:
            for path in paths:
                decoded(path)

        rate = count / median(repeats, one_by_one)
        yield "decoded and resized, one core", rate, rate * size

        def all_cores() -> None:
            with ahead.workers(count, size) as pool:
                for _ in ahead.in_order(pool, decoded, paths, 32):
                    pass

        rate = count / median(repeats, all_cores)
        yield "the same, all cores", rate, rate * size
        began = time.perf_counter()
        asked = {"size": (SIZE, SIZE), "fit": "crop"}
        pack = sources.open_data(place / "photos", **asked)
        rate = count / (time.perf_counter() - began)
        yield "packed: looked at, decoded, hashed, written", rate, rate * PIXELS
        learnt = len(pack.splits["train"])
        forgotten(pack)
        began = time.perf_counter()
        read_at_random(pack)
        rate = learnt / (time.perf_counter() - began)
        yield "read at random, nothing in memory", rate, rate * PIXELS
        rate = learnt / median(repeats, lambda: read_at_random(pack))
        yield "read at random, all in memory", rate, rate * PIXELS
        batches = augmented(pack)
        batches()  # likewise
        rate = learnt / median(repeats, batches)
        yield "batches: crop, flip, bytes to numbers", rate, rate * PIXELS
        for name in PARAMETERS:
            run = place / name.replace(":", "-")
            found = fitted(place / "photos", name, run, steps)
            yield f"learnt from, {name}", found["learnt"], found["learnt"] * PIXELS
            yield f"judged, {name}", found["judged"], found["judged"] * PIXELS
        exported = cs.export(place / "tv-resnet18")
        predictor = cs.load_onnx(exported.path)
        rate = count / median(1, lambda: predictor.predict(paths))
        yield "predicted from files, tv:resnet18 as ONNX", rate, rate * size
        speed, size = saved(place, repeats)
        yield "checkpoint written, tv:resnet50", speed / size, speed
        speed = all_reduce(size // 4, repeats)
        yield "gradients added up, two processes", speed / size, speed


def days(rate: float, parameters: int, machines: int, speed: float) -> float:
    """Days of 90 epochs of ImageNet on so many machines of ``rate`` images a second each."""
    ring = 2 * (machines - 1) / machines * 4 * parameters / speed
    return EPOCHS * IMAGENET / STEP * (STEP / machines / rate + ring) / 86_400


def promise(found: list[dict[str, Any]]) -> None:
    """Print what the figures promise for ImageNet."""
    rates = {row["what"]: row["rate"] for row in found}
    print(f"\n{'days of 90 epochs of ImageNet':32}" + "".join(f"{m:>10}" for m in MACHINES))
    for name, parameters in PARAMETERS.items():
        for network, speed in NETWORK_SPEEDS.items():
            rate = rates[f"learnt from, {name}"]
            told = [f"{days(rate, parameters, m, speed):10.1f}" for m in MACHINES]
            print(f"{name + ', ' + network:32}" + "".join(told))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    if asked.photos.is_file():
        promise(json.loads(asked.photos.read_text()))
        return 0
    print(machine.describe(), flush=True)
    found = []
    for what, rate, speed in rows(asked.photos, asked.count, asked.repeats, asked.steps):
        print(f"{what:48} {rate:10,.1f} a second  {speed / 1e6:10,.2f} MB/s", flush=True)
        found.append({"what": what, "rate": rate, "bytes_per_second": speed})
    if asked.json:
        files.write_json(asked.json, found)
    promise(found)
    return 0
