"""What `benchmarks/run.py` compares: the two sides of each comparison, and the rows of its table
with the ratios to reach."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import copies

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Couple:
    """Two sides that do the same work: a peer's script and ours.py, what they are called with, and
    the copies of data that the script reads. ``epochs`` are the published ones. ``quick`` is what
    the script is called with besides in a quick run; an ``expert`` has chosen its own number format
    and is held against convscope's choice alone."""

    script: str
    ours: tuple[str, ...]
    data: tuple[Callable[..., None], ...]
    options: tuple[str, ...] = ()
    epochs: int = 0
    folder: str = ""  # below the data root, what the script is given
    quick: tuple[str, ...] = ()
    expert: bool = False

    def peer_command(self, root: Path, keras_python: Callable[[], str], *more: str) -> list[str]:
        """How the peer is run."""
        python = keras_python() if self.script == "system_c.py" else sys.executable
        script = str(HERE / "peers" / self.script)
        return [python, script, str(root / self.folder), *self.options, *more]

    def our_command(self, root: Path, *more: str) -> list[str]:
        """How convscope's side is run."""
        own = [str(root / self.folder) if word == "FOLDER" else word for word in self.ours]
        return [sys.executable, str(HERE / "ours.py"), *own, *more]


MNIST, CIFAR = (copies.mnist_idx,), (copies.cifar_pickles,)
PLAIN = ("--no-augment",)
SGD = tuple(  # the script's optimiser with a schedule, in place of the default, AdamW
    f"--set={option}"
    for option in (
        *("optimizer=sgd", "momentum=0.9", "nesterov=true", "lr=0.01", "weight_decay=0.0001"),
        "shift=2",
    )
)


def expert(
    model: str, batch: int, data: tuple[Callable[..., None], ...], options: str, name: str = ""
) -> Couple:
    """The twenty lines of peers/expert.py against convscope's network ``name``, trained by the same
    optimiser with the same ``options``, without augmentation."""
    same = ("schedule=constant", "warmup=0", "weight_decay=0", *options.split())
    which = "mnist" if data is MNIST else "cifar10"
    words = ("train", which, name or model, f"--batch-size={batch}", "--no-recipe", *PLAIN)
    return Couple(
        "expert.py",
        (*words, *(f"--set={option}" for option in same)),
        data,
        ("--model", model),
        quick=("--no-compile", "--try-seconds=3"),
        expert=True,
    )


ADAM = "optimizer=adam lr=0.001"
STEEP = "optimizer=sgd nesterov=false"
COUPLES = {
    "a": Couple("system_a.py", ("train", "mnist", "cnn", "--batch-size=100"), MNIST, epochs=5),
    "b-inception": Couple(
        "system_b.py",
        ("train", "mnist", "inception", "--batch-size=64"),
        MNIST,
        ("--model", "inception"),
        epochs=10,
    ),
    "b-resnet": Couple(
        "system_b.py",
        ("train", "mnist", "resnet", "--batch-size=64"),
        MNIST,
        ("--model", "resnet"),
        epochs=10,
    ),
    "c": Couple(
        "system_c.py",
        ("train", "mnist", "keras_cnn", "--batch-size=128"),
        (copies.mnist_npz,),
        epochs=15,
    ),
    "e": Couple(
        "system_e.py",
        ("train", "cifar10", "cifar_cnn", "--batch-size=32", *SGD),
        CIFAR,
        epochs=10,
    ),
    "resnet18": Couple(
        "resnet18.py", ("train", "cifar10", "resnet18_small", "--batch-size=128", *PLAIN), CIFAR
    ),
    "record": Couple(
        "record.py",
        # the recipe of that name trains a smaller form of the network
        ("train", "cifar10", "record", "--no-recipe", "--batch-size=500", *PLAIN),
        CIFAR,
    ),
    "a-expert": expert("cnn", 100, MNIST, ADAM),
    "b-inception-expert": expert("inception", 64, MNIST, f"{STEEP} lr=0.01 momentum=0.5"),
    "b-resnet-expert": expert("resnet", 64, MNIST, "optimizer=sgd lr=0.01 momentum=0"),
    "c-expert": expert("keras_cnn", 128, MNIST, ADAM),
    "e-expert": expert("cifar_cnn", 32, CIFAR, f"{STEEP} lr=0.001 momentum=0.9"),
    "resnet18-expert": expert(
        "resnet18",
        128,
        CIFAR,
        f"{STEEP} lr=0.1 momentum=0.9 weight_decay=0.0005",
        "resnet18_small",
    ),
    "record-expert": expert(
        "record",
        500,
        CIFAR,
        "optimizer=sgd lr=0.05 momentum=0.85 nesterov=true label_smoothing=0.2",
    ),
    "augmentation": Couple("augmentation.py", ("augment", "--batch-size=128"), CIFAR),
    "folder": Couple("folder.py", ("folder", "FOLDER"), (copies.jpegs,), folder="jpegs"),
}


@dataclass(frozen=True)
class Row:
    """A line of the table: whose couple is measured at what, and the ratios to reach.

    ``kind`` is the turns' verb, or ``memory``, or ``resume``.
    """

    name: str
    what: str
    peer: str
    reach: float
    dream: float
    couple: str
    kind: str = "steps"


OWN_LOOP = "the script's own test loop"
SCRIPT, EXPERT = "its script, PyTorch fp32", "twenty lines of PyTorch, its best"
TRAINING = (  # couple, what, its peer, the ratios to reach and to dream of, and against the expert
    ("a", "A: cnn on MNIST, batch 100", SCRIPT, 3, 5, 2.0),
    ("b-inception", "B: inception on MNIST, batch 64", SCRIPT, 3, 5, 1.4),
    ("b-resnet", "B: resnet on MNIST, batch 64", SCRIPT, 3, 5, 1.3),
    ("c", "C: keras_cnn on MNIST, batch 128", "its script, Keras on TensorFlow", 2, 3, 1.5),
    ("e", "E: cifar_cnn on CIFAR-10, batch 32", SCRIPT, 4, 7, 3.0),
    ("resnet18", "ResNet-18 at 32 pixels, batch 128", "plain PyTorch fp32", 2.5, 3.5, 1.4),
    (
        "record",
        "the 94 % record's network, 500 images",
        "one batch, eager, channels-last",
        *(1.7, 2.2, 1.3),
    ),
)
ROWS = [
    *(
        row
        for name, what, peer, reach, dream, over in TRAINING
        for row in (
            Row(name, what, peer, reach, dream, name),
            Row(f"{name}-expert", what, EXPERT, over, over, f"{name}-expert"),
        )
    ),
    Row(
        "augmentation",
        "CIFAR-10: shift, flip, cutout",
        "torchvision v2, DataLoader, 2 workers",
        50,
        200,
        "augmentation",
    ),
    Row(
        "folder-first",
        "224-pixel JPEGs, first epoch",
        "ImageFolder, DataLoader, 2 workers",
        1.5,
        2,
        "folder",
        "first",
    ),
    Row(
        "folder-later",
        "224-pixel JPEGs, later epochs",
        "ImageFolder, DataLoader, 2 workers",
        15,
        40,
        "folder",
        "later",
    ),
    *(
        Row(f"evaluate-{name}", f"test split, {what}", OWN_LOOP, 5, 10, name, "evaluate")
        for name, what in (
            ("a", "A: cnn"),
            ("b-inception", "B: inception"),
            ("b-resnet", "B: resnet"),
            ("e", "E: cifar_cnn"),
        )
    ),
    *(
        Row(
            f"memory-{name}",
            f"peak memory of training, {what}",
            "its script",
            1,
            0.7,
            name,
            "memory",
        )
        for name, what in (("a", "A: cnn"), ("e", "E: cifar_cnn"))
    ),
    Row("resume", "resumed against uninterrupted", "bit-identical weights", 1, 1, "", "resume"),
]
