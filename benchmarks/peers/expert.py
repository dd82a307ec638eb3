"""What a good engineer writes in twenty lines, for each network of the other scripts here.

All images lie in memory as one normalised tensor, channels last, and a batch is one indexing of it;
float32 or bf16 autocast (the images then bf16 as well), eager or through ``torch.compile``, a fused
optimiser of the kind and rates of the tutorial, denormals flushed to zero. No augmentation; the
batch that would be smaller than the others is left out, as it would be compiled anew.

Which of these ways is fastest here is tried first, some seconds in all: every way takes its turns,
round by round, and its best round counts; compiling does not. What was tried, what was left out and
why, and what was taken stand in the first answer (``precision``, ``compiled``, ``tried``,
``left_out``). A way that is not compiled within ``--compile-seconds`` is left out. Prints one JSON
line.

    python benchmarks/peers/expert.py DATA_ROOT --model cnn|inception|resnet|keras_cnn|cifar_cnn
        |resnet18|record [--formats float32 bfloat16] [--no-compile] [--epochs 1]
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torchvision
import turns
from cifar import CIFAR10
from record import RecordNet
from resnet18 import ResNet18
from system_a import ConvNet
from system_b import InceptionNet, ResNet
from system_e import CifarCNN
from torch import nn
from torch.nn import functional

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
MNIST_PIXELS = ((0.1307,), (0.3081,))  # mean and standard deviation of each channel
CIFAR_PIXELS = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


class KerasCNN(nn.Sequential):
    """System C's network, whose script is Keras."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 32, kernel_size=3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, kernel_size=3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(1600, 10),
        )


@dataclass(frozen=True)
class Task:
    """A network, its data and batch, and the optimiser that its script trains it with."""

    data: str
    batch: int
    network: Callable[[torch.Tensor], nn.Module]  # from some normalised images [N,C,H,W]
    optimizer: Callable[..., torch.optim.Optimizer]
    rates: dict[str, float]
    smoothing: float = 0.0


def plain(network):
    """A network that looks at no images when it is made."""
    return lambda images: network()


SGD, ADAM = torch.optim.SGD, torch.optim.Adam
TASKS = {
    "cnn": Task("mnist", 100, plain(ConvNet), ADAM, {"lr": 1e-3}),
    "inception": Task("mnist", 64, plain(InceptionNet), SGD, {"lr": 0.01, "momentum": 0.5}),
    "resnet": Task("mnist", 64, plain(ResNet), SGD, {"lr": 0.01}),
    "keras_cnn": Task("mnist", 128, plain(KerasCNN), ADAM, {"lr": 1e-3}),
    "cifar_cnn": Task("cifar", 32, plain(CifarCNN), SGD, {"lr": 0.001, "momentum": 0.9}),
    "resnet18": Task(
        "cifar", 128, plain(ResNet18), SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
    ),
    "record": Task(
        "cifar", 500, RecordNet, SGD, {"lr": 0.05, "momentum": 0.85, "nesterov": True}, 0.2
    ),
}


def load(task, root):
    """The training images as normalised floats [N,H,W,C], and their labels [N]."""
    if task.data == "mnist":
        data = torchvision.datasets.MNIST(root, train=True)
        pixels, labels, (mean, std) = data.data.unsqueeze(-1), data.targets, MNIST_PIXELS
    else:
        data = CIFAR10(root, train=True)
        pixels, labels = torch.from_numpy(data.data), torch.tensor(data.targets)
        mean, std = CIFAR_PIXELS
    images = pixels.float().div_(255).sub_(torch.tensor(mean)).div_(torch.tensor(std))
    return images, labels


class Way:
    """One way to train: the network in a precision, eager or compiled, with its optimiser."""

    def __init__(self, task, images, labels, precision, seed):
        self.task, self.precision, self.compiled = task, precision, False
        torch.manual_seed(seed)
        some = images[:5000].float().permute(0, 3, 1, 2)
        self.model = task.network(some).to(memory_format=torch.channels_last).train()
        moved = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = task.optimizer(moved, **task.rates, fused=True)
        self.images, self.labels = images.to(DTYPES[precision]), labels
        self.loss = self.eager_loss
        self.endless = turns.endless(self.epoch)

    def eager_loss(self, inputs, labels):
        """Forward."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16"):
            logits = self.model(inputs)
        return functional.cross_entropy(logits.float(), labels, label_smoothing=self.task.smoothing)

    def epoch(self):
        """One epoch, a step at a time."""
        batch = min(self.task.batch, len(self.labels))
        for chosen in torch.randperm(len(self.labels)).split(batch):
            if len(chosen) == batch:
                inputs = self.images[chosen].permute(0, 3, 1, 2)  # channels last
                loss = self.loss(inputs, self.labels[chosen])
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                self.optimizer.step()
                yield len(chosen), loss

    def compile(self):
        """Compile forward and backward, at the first step."""
        self.loss, self.compiled = torch.compile(self.eager_loss, dynamic=False), True
        next(self.endless)

    def speed(self, seconds):
        """Images a second over about so many seconds."""
        began, images = time.perf_counter(), 0
        while time.perf_counter() < began + seconds:
            images += next(self.endless)[0]
        return images / (time.perf_counter() - began)

    def __str__(self):
        return f"{self.precision} {'compiled' if self.compiled else 'eager'}"


class TooLong(BaseException):
    """The time is up."""


@contextlib.contextmanager
def time_limit(seconds):
    """Raise TooLong in what takes longer."""

    def cut(number, frame):
        raise TooLong

    before = signal.signal(signal.SIGALRM, cut)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def no_compiler():
    """Why nothing can be compiled here, if so."""
    default = "clang++" if sys.platform == "darwin" else "g++"
    name = os.environ.get("CXX", default)
    return None if shutil.which(name) else f"torch.compile needs a C++ compiler; no {name} here"


def ways(args, task, images, labels):
    """All ways that can be tried, each ready to go, and why others are left out."""
    found, left_out = [], {}
    stored = {name: images.to(DTYPES[name]) for name in args.formats}

    def way(precision):
        return Way(task, stored[precision], labels, precision, args.seed)

    for precision in args.formats:
        found.append(way(precision))
        next(found[-1].endless)
    reason = no_compiler() if args.compile else "--no-compile"
    for precision in args.formats:
        if reason:
            left_out[f"{precision} compiled"] = reason
            continue
        candidate = way(precision)
        try:
            with time_limit(args.compile_seconds):
                candidate.compile()
            found.append(candidate)
        except TooLong:
            left_out[f"{precision} compiled"] = f"takes over {args.compile_seconds:g} s to compile"
        except Exception as why:
            first = str(why).strip().splitlines() or [""]
            left_out[f"{precision} compiled"] = f"{type(why).__name__}: {first[0][:200]}"
    return found, left_out


def fastest(candidates, seconds, rounds=4):
    """The way whose best round is fastest, and the images a second of each's; the first round warms
    up."""
    best = dict.fromkeys(candidates, 0.0)
    for number in range(rounds + 1):
        for way in candidates:
            speed = way.speed(seconds / rounds / len(candidates))
            best[way] = max(best[way], speed) if number else 0.0
    return max(best, key=best.get), {str(way): round(speed) for way, speed in best.items()}


def main():
    parser = turns.parser(__doc__, epochs=1)
    parser.add_argument("--model", choices=TASKS, required=True)
    parser.add_argument("--formats", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--compile-seconds", type=float, default=120.0)
    parser.add_argument("--try-seconds", type=float, default=8.0, help="of all ways together")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)

    task = TASKS[args.model]
    images, labels = load(task, args.root)
    candidates, left_out = ways(args, task, images, labels)
    del images
    best, tried = fastest(candidates, args.try_seconds)
    candidates.clear()
    parameters = list(best.model.parameters())
    turns.run(
        args,
        best.epoch,
        parameters=sum(p.numel() for p in parameters),
        trained=sum(p.numel() for p in parameters if p.requires_grad),
        precision=best.precision,
        compiled=best.compiled,
        tried=tried,
        left_out=left_out,
    )


if __name__ == "__main__":
    main()
