"""An epoch of ``resnet18_small`` on CIFAR-10 on a GPU: convscope against plain PyTorch.

The peer is what a good engineer writes: all images on the GPU as bytes, whole batches by their
index, channels-last, bfloat16 autocast, a fused optimiser, no wait in the loop. Both train the same
network on the same images, without augmentation, and take turns, epoch by epoch, after one each
that warms up; the ratio is that of the median epochs.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --device cuda:1 --pairs 5 --batch 256
    python benchmarks/gpu.py --device cpu --images 1000 --pairs 1   the code alone, on the CPU

Says so, and ends with 2, where there is no such device.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from convscope import devices, machine, models, recipe
from convscope.data import sources
from convscope.data.loader import Loader, seed_of, tensor_of
from convscope.data.split import statistics as pixels_of
from convscope.engine import choice, tuned_network
from convscope.errors import BadArgument
from convscope.events import silent
from convscope.models.parts import Classifier
from convscope.training import optim
from convscope.training.checkpoint import Position, State
from convscope.training.loop import update
from convscope.training.losses import losses_of, mean_loss


def network(images: torch.Tensor) -> Classifier:
    torch.manual_seed(0)
    model = models.build("resnet18_small", 10, 3, (32, 32), {})
    model.normalise.set(*pixels_of(images, torch.arange(len(images))))
    return model


def ours(
    images: torch.Tensor, labels: torch.Tensor, args: argparse.Namespace
) -> tuple[Callable[[int], float], str]:
    """An epoch of convscope's loop, and what its probe chose."""
    model = network(images).to(args.device)
    asked = recipe.resolve({"batch_size": args.batch, "lr": 0.1, "optimizer": "sgd", "epochs": 100})
    asked = asked.measured(device=args.device)
    source = devices.resident({"": images}, args.device)[""]

    def loader(layout: torch.memory_format) -> Loader:
        every, plain = torch.arange(len(images)), recipe.Augment()
        return Loader.of_images(source, labels, every, args.batch, 0, plain, args.device, layout)

    batch = next(loader(torch.contiguous_format).epoch(0))
    losses = losses_of(loader(torch.contiguous_format), asked.train)
    loss = functools.partial(mean_loss, losses)
    asked = choice.choose(asked, model, batch, loss, silent).recipe
    train = asked.train
    layout = tuned_network.FORMATS[train.memory_format]
    engine = tuned_network.engine(model.to(memory_format=layout), train.kernels, train.precision)
    state = State.of(engine, optim.optimizer(engine, train), train)
    batches, sums = loader(layout), Position().sums(args.device)
    total = 100 * len(batches.sizes())

    def epoch(number: int) -> float:
        devices.wait(args.device)
        began = time.perf_counter()
        engine.train()
        for step, one in enumerate(batches.epoch(number)):
            done = number * len(batches.sizes()) + step
            seed = seed_of(0, number, step, 1)
            update(
                state, one, train, losses, done, optim.learning_rate(train, done, total), seed, sums
            )
        devices.wait(args.device)
        return time.perf_counter() - began

    return epoch, f"{train.precision}, {train.memory_format}"


def peer(
    images: torch.Tensor, labels: torch.Tensor, args: argparse.Namespace
) -> Callable[[int], float]:
    """An epoch of plain PyTorch."""
    device = torch.device(args.device)
    model: nn.Module = network(images).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=True)
    x, y = images.to(device), labels.to(device)

    def epoch(number: int) -> float:
        devices.wait(device)
        began = time.perf_counter()
        order = torch.randperm(len(x), device=device)
        for chosen in order.split(args.batch):
            batch = x[chosen].float().div_(255).contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16):
                loss = functional.cross_entropy(model(batch), y[chosen])
            loss.backward()
            optimizer.step()
        devices.wait(device)
        return time.perf_counter() - began

    return epoch


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--images", type=int, default=50_000)
    args = parser.parse_args()
    try:
        devices.of(args.device)
    except BadArgument as why:
        print(f"There is no such GPU here, and nothing was measured: {why}")
        return 2
    split = sources.open_data("cifar10").splits["train"]
    images, labels = tensor_of(split.images)[: args.images], torch.tensor(split.labels)
    labels = labels[: args.images]
    with machine.at_work():
        mine, chosen = ours(images, labels, args)
        sides = {f"convscope ({chosen})": mine, "plain PyTorch": peer(images, labels, args)}
        taken: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(args.pairs + 1):
            for name, epoch in sides.items():
                seconds = epoch(number)
                if number:  # the first warms up
                    taken[name].append(seconds)
    found = {name: statistics.median(each) for name, each in taken.items()}
    for name, seconds in found.items():
        print(f"{name}: {seconds:.2f} s an epoch, {len(images) / seconds:,.0f} images/s")
    one, other = found.values()
    where = machine.describe().get("gpu", args.device)
    print(f"{other / one:.2f}x, {where}, torch {torch.__version__}, batch {args.batch}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
