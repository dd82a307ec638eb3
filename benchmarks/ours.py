"""convscope's side of the benchmarks: the whole of ``convscope.train``, driven by turns.

    python benchmarks/ours.py train DATA MODEL --batch-size 100 --epochs 5     train to the end and
    print one JSON line
    python benchmarks/ours.py train DATA MODEL --batch-size 100 --turns
    python benchmarks/ours.py augment --turns
    python benchmarks/ours.py folder FOLDER --turns

With ``--turns`` it speaks the protocol of peers/turns.py. What is measured then is the product
itself: ``train`` tells its caller of every step, and the caller is where a turn ends, the next line
is read, and the next turn begins. Its data, loader, loop, checkpoints and precision are those that
a user gets: the recipe ``<data>-<model>`` where there is one and not ``--no-recipe``, else the
defaults, augmentation included unless ``--no-augment``. By turns it trains on all training images,
as the peers do (``--val`` says otherwise), and never comes to an end, so that the schedule stands
near its beginning; the first step belongs to the set-up, since control comes with its end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convscope import api, machine, recipe
from convscope.data import sources
from convscope.data.loader import Loader
from convscope.engine import tuned_network
from convscope.evaluation import metrics, predictions
from convscope.events import Event, Progress

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))
import turns

FOREVER = 100_000  # epochs


class Enough(BaseException):
    """Ends a training that nobody needs any longer."""


class Turns:
    """The caller of ``train``: counts its steps, and between two of them does as it is told."""

    def __init__(self, args: argparse.Namespace, out: Path, networks: list[nn.Module]) -> None:
        self.args, self.out, self.networks = args, out, networks
        self.channel = turns.Channel()
        self.train_images = 0
        self.until = 1  # the step at whose end the turn ends
        self.begin_at = 0
        self.began = 0.0

    def __call__(self, event: Event) -> None:
        """Take an event of the training."""
        if not (isinstance(event, Progress) and event.unit == "steps" and event.done >= self.until):
            return
        seconds, done = time.perf_counter() - self.began, event.done
        if self.began:
            images = self.seen(done) - self.seen(self.begin_at)
            self.channel.answer(seconds=seconds, images=images)
        else:
            self.channel.answer(ready=True, **self.about())
        while True:
            verb, value = self.channel.take()
            if verb == "stop":
                self.channel.answer(stopped=True)
                raise Enough
            if verb == "steps":
                self.until, self.begin_at, self.began = done + value, done, time.perf_counter()
                return
            self.began = time.perf_counter()
            found = judge(self.networks[-1], self.args)
            self.channel.answer(seconds=time.perf_counter() - self.began, **found)

    def about(self) -> dict[str, Any]:
        """What is being trained, from the run's own recipe."""
        resolved = tomllib.loads((self.out / "recipe.toml").read_text())["train"]
        begun = json.loads((self.out / "split.json").read_text())
        self.train_images = begun["train"]
        parameters = list(self.networks[-1].parameters())
        return {
            "parameters": sum(p.numel() for p in parameters),
            "trained": sum(p.numel() for p in parameters if p.requires_grad),
            "precision": resolved["precision"],
            "memory_format": resolved["memory_format"],
            "train_images": self.train_images,
        }

    def seen(self, steps: int) -> int:
        """Images that so many steps saw; the last batch of an epoch is what is left."""
        batch, images = self.args.batch_size, self.train_images
        epochs, rest = divmod(steps, -(-images // batch))
        return epochs * images + min(rest * batch, images)


def judge(network: nn.Module, args: argparse.Namespace) -> dict[str, Any]:
    """Judge the test split as ``train`` does at its end."""
    split = sources.open_data(args.data).splits["test"]
    layout = next(
        (
            torch.channels_last
            for p in network.parameters()
            if p.ndim == 4 and p.is_contiguous(memory_format=torch.channels_last)
        ),
        torch.contiguous_format,
    )
    logits = predictions.logits_of(network, split.images, memory_format=layout)
    return {"images": len(split), "accuracy": float(metrics.accuracy(logits, split.labels))}


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """What ``convscope.train`` is asked for."""
    name = f"{args.data}-{args.model}"
    known = {name, name.replace("_", "-")} & set(recipe.names()) if args.recipe else set()
    asked: dict[str, Any] = {
        "recipe": known.pop() if known else None,
        "model": args.model,
        "batch_size": args.batch_size,
        "augment": args.augment,
        "precision": args.precision,
        "seed": args.seed,
        "threads": args.threads,
        "val": args.val,
        "epochs": args.epochs,
        **{key: _value(text) for key, _, text in (one.partition("=") for one in args.set)},
    }
    if args.turns:  # a wait for the next turn is no time at work that a checkpoint would save
        asked |= {"epochs": FOREVER, "checkpoint_seconds": 3600.0, "val": args.val or 0.0}
    return asked


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


@contextlib.contextmanager
def kept_networks() -> Iterator[list[nn.Module]]:
    """The networks that are made ready meanwhile, so that the last one, which is trained, can be
    judged between two steps."""
    kept: list[nn.Module] = []
    engine = tuned_network.engine

    def keeping(*args: Any, **named: Any) -> nn.Module:
        kept.append(engine(*args, **named))
        return kept[-1]

    tuned_network.engine = keeping
    try:
        yield kept
    finally:
        tuned_network.engine = engine


def train(args: argparse.Namespace) -> None:
    """Train by turns, or to the end and print one JSON line."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        if args.turns:
            with kept_networks() as networks, contextlib.suppress(Enough):
                emit = Turns(args, out, networks)
                api.train(args.data, out=out, emit=emit, **options_of(args))
            return
        run = api.train(args.data, out=out, **options_of(args))
        resolved = tomllib.loads((out / "recipe.toml").read_text())["train"]
        found = {
            "accuracy": run.metrics.accuracy,
            "train_seconds": run.metrics.train_seconds,
            "eval_seconds": run.metrics.eval_seconds,
            "images_per_second": run.metrics.images_per_second,
            "precision": resolved["precision"],
            "memory_format": resolved["memory_format"],
            "peak_bytes": turns.peak_bytes(),
        }
        print(json.dumps(found))


def augment(args: argparse.Namespace) -> None:
    """Augmented CIFAR-10 batches, ready for a network: shift 4, flip, cutout 8."""
    split = sources.open_data("cifar10").splits["train"]
    spec = recipe.Augment(shift=4, flip=True, cutout=8)
    loader = loader_of(split, args, spec)
    count = 0

    def epoch() -> Iterator[tuple[int, None]]:
        nonlocal count
        for batch in loader.epoch(count):
            yield len(batch), None
        count += 1

    with machine.at_work(args.threads):
        turns.run(args, epoch)


def folder(args: argparse.Namespace) -> None:
    """A folder of JPEGs at 224 pixels: a first epoch with an empty cache, which packs it; later
    ones, each opened anew."""
    name = Path(args.root).resolve()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["CONVSCOPE_CACHE"] = cache

        def epoch(_: object) -> dict[str, Any]:
            images = 0
            for split in folder_pack(name).splits.values():
                for batch in loader_of(split, args, recipe.Augment()).epoch(0):
                    images += len(batch)
            return {"images": images, "shape": list(batch.inputs["image"].shape[1:])}

        def first(_: object) -> dict[str, Any]:
            for path in Path(cache).iterdir():
                shutil.rmtree(path)
            return epoch(_)

        with machine.at_work(args.threads):
            turns.serve(verbs={"first": first, "later": epoch})


def folder_pack(folder: Path) -> Any:
    """The pack of a folder of class folders; every split of it counts, as every file does for the
    peer."""
    return sources.open_data(folder, size=(224, 224), fit="crop")


def loader_of(split: Any, args: argparse.Namespace, spec: recipe.Augment) -> Loader:
    """The training loader over a whole split."""
    return Loader.of_images(
        torch.from_numpy(split.images),
        torch.from_numpy(split.labels),
        torch.arange(len(split.labels)),
        args.batch_size,
        args.seed,
        spec,
        memory_format=tuned_network.FORMATS["channels_last"],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    jobs = parser.add_subparsers(required=True)
    for job, batch in ((train, 100), (augment, 128), (folder, 32)):
        options = jobs.add_parser(job.__name__, help=job.__doc__.splitlines()[0])
        options.set_defaults(job=job)
        options.add_argument("--batch-size", type=int, default=batch)
        options.add_argument("--epochs", type=int, default=1)
        options.add_argument("--threads", type=int, default=2)
        options.add_argument("--seed", type=int, default=0)
        options.add_argument("--turns", action="store_true")
        if job is train:
            options.add_argument("data")
            options.add_argument("model")
            options.add_argument("--no-augment", dest="augment", action="store_false")
            options.add_argument(
                "--no-recipe", dest="recipe", action="store_false", help="defaults, whole network"
            )
            options.add_argument("--precision", default="auto")
            options.add_argument(
                "--set", action="append", default=[], metavar="OPTION=VALUE", help="of train"
            )
            options.add_argument("--val", type=float)
        if job is folder:
            options.add_argument("root")
    turns.memory_begins()
    args = parser.parse_args()
    args.job(args)


if __name__ == "__main__":
    main()
