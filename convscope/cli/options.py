"""The options of `train`, made from the fields of a recipe and the arguments of networks: tables,
no signature to keep in step."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import fields
from typing import Annotated, Any

from typer.core import TyperCommand

from convscope.cli.shared import under
from convscope.errors import BadArgument
from convscope.recipe import SECTIONS

# heading -> option -> help; an option is a field of a recipe
FIELDS: dict[str, dict[str, str]] = {
    "Data": {
        "image_size": "N or HxW: the size that a folder's images are brought to.",
        "val": "Share held out for validation; 0 trains on everything.",
        "split_seed": "Seed of that split.",
        "normalise": "Bring pixels to mean 0, deviation 1 (the default), or leave them 0 to 1.",
    },
    "Training": {
        "epochs": "Passes over the training images.",
        "steps": "End after so many steps; 0 is whole epochs.",
        "batch_size": "Images a step.",
        "optimizer": "sgd, adam or adamw.",
        "lr": "Highest learning rate; --find-lr searches for one.",
        "schedule": "constant, cosine or one-cycle.",
        "warmup": "Share of the steps in which the rate rises.",
        "momentum": "sgd: momentum.",
        "nesterov": "sgd: Nesterov's momentum (the default), or the plain one.",
        "weight_decay": "On weights; biases and normalisation are spared.",
        "label_smoothing": "0 is off.",
        "clip_grad": "Largest norm of a gradient; 0 is off.",
        "ema": "Decay of the weights' moving average, which is judged and kept; 0 is off.",
        "early_stopping": "End after so many epochs without a better validation loss, and keep the "
        "best weights; 0 is off.",
        "seed": "Of weights, order and augmentation.",
    },
    "Augmentation": {
        "crop": "A random part of at least this share of the area, brought to size.",
        "rotate": "Degrees each way.",
        "scale": "Larger or smaller by up to this share.",
        "shear": "Degrees each way.",
        "shift": "Pixels each way.",
        "padding": "What lies beyond the edge: black, reflect or edge.",
        "flip": "Mirror left to right, half of the time.",
        "alternating_flip": "Mirror each image every other epoch.",
        "brightness": "Factor of up to 1 +- this.",
        "contrast": "Factor of up to 1 +- this.",
        "saturation": "Factor of up to 1 +- this.",
        "hue": "Turn by up to this share of the circle.",
        "randaugment": "Random operations an image.",
        "magnitude": "Their strength, 0 to 30.",
        "cutout": "Side of a blacked-out square.",
        "erase": "Probability of a rectangle of noise.",
        "mixup": "Blend two images: alpha of the Beta distribution.",
        "cutmix": "Patch an image with another: alpha of the Beta distribution.",
    },
    "This machine": {
        "precision": "auto (measured), float32, bfloat16, or tf32 on an NVIDIA GPU.",
        "memory_format": "auto (measured), channels_last or contiguous.",
        "kernels": "auto (measured) or plain: how layers are computed.",
        "micro_batch": "Images a forward and backward pass; 0 is the batch.",
        "eval_batch": "Images that are judged at once.",
        "device": "auto, cpu, cuda, ...",
        "threads": "CPU threads; 0 is all cores.",
        "checkpoint_seconds": "At most so much work is lost to a power cut.",
    },
}
JOB: dict[str, tuple[type, str, str]] = {  # what every training is asked for -> type, heading, help
    "recipe": (str, "Network", "A recipe by name (see `recipes`) or a .toml file."),
    "model": (str, "Network", "A network by name (see `models`), tv:NAME, or file.py:Class."),
    "augment": (
        bool,
        "Augmentation",
        "The data set's own (the default), or none but what is typed.",
    ),
}
ARGUMENTS: dict[str, tuple[type, str]] = {  # of networks -> type, help
    "kernel_size": (str, "cnn: kernel of each convolution."),
    "widths": (str, "cnn: channels of each stage."),
    "hidden": (int, "mlp: hidden units."),
    "depth": (int, "preact_resnet, densenet, wide_resnet: layers."),
    "width": (int, "resnet18_small, preact_resnet: channels; wide_resnet: times 16."),
    "growth": (int, "densenet: maps that a layer adds."),
    "bottleneck": (bool, "densenet: 1x1 before 3x3."),
    "compression": (float, "densenet: share of maps kept between blocks."),
    "small_stem": (bool, "tv:NAME: fit the stem to images of up to 64 pixels."),
    "layers": (str, 'A network in one line, "c5-16 bn relu mp2 flatten fc"; its words are below.'),
}
WORDS = {  # of --layers -> what it stands for
    "c5-16": "Convolution, 5x5 to 16 channels, that keeps the size; c5x3-16: 5 high, 3 wide.",
    "c5-16p0s2g4d2": "With padding 0, stride 2, in 4 groups, dilation 2; each may be left out.",
    "mp2, ap2": "Max- or average-pool over 2x2; mp3s2p1: with a stride and a padding.",
    "gmp, gap": "Global max- or average-pool.",
    "bn": "Batch normalisation.",
    "relu": "Activation; also gelu, silu, elu, leaky, tanh, sigmoid.",
    "drop0.5": "Dropout of half of the values.",
    "[ ... ]+": "Residual: what comes out is added to what went in.",
    "flatten": "Maps to vectors.",
    "fc500, fc": "Linear layer to 500 values; fc alone: as many as there are classes.",
}
HEADINGS = ("Arguments", "Sweep", "Network", *FIELDS, "Limits", "Run")  # what has none comes last
FLAGS = {"batch_size": ("--batch-size", "-b"), "optimizer": ("--optimizer", "--opt")}
SIZES = {  # arguments of several numbers -> how they are written, what stands between, an example
    "kernel_size": ("N|HxW", "x", "5 or 5x3"),
    "widths": ("N,N,...", ",", "16,32"),
}


class Headed(TyperCommand):
    """A command whose help lists its options under headings, and the words of --layers."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write each group of options under its heading."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                kind = "Arguments" if param.param_type_name == "argument" else "Options"
                heading = getattr(param, "rich_help_panel", None) or kind
                groups.setdefault(heading, []).append(record)
        for heading in (*HEADINGS, "Options"):
            if heading in groups:
                with formatter.section(heading):
                    formatter.write_dl(groups[heading])
        with formatter.section("Words of --layers"):
            formatter.write_dl(list(WORDS.items()))


def with_fields(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command an option for what every training is asked for, every field of a recipe and
    every argument of a network, in the place of its ``**fields``."""
    types_of = {
        f.name: typing.get_type_hints(kind)[f.name]
        for kind in SECTIONS.values()
        for f in fields(kind)
    }
    job = [(name, kind, text, heading) for name, (kind, heading, text) in JOB.items()]
    wanted = [
        (name, types_of[name], text, heading)
        for heading, group in FIELDS.items()
        for name, text in group.items()
    ]
    return _with(command, [*job, *_arguments(), *wanted])


def with_arguments(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command an option for every argument of a network, in the place of its
    ``**arguments``."""
    return _with(command, _arguments())


def _arguments() -> list[tuple[str, Any, str, str]]:
    return [(name, kind, text, "Network") for name, (kind, text) in ARGUMENTS.items()]


def _with(
    command: Callable[..., Any], wanted: list[tuple[str, Any, str, str]]
) -> Callable[..., Any]:
    """Give a command options: name, type, help, heading. It gets sizes as numbers, and augmentation
    unless it was switched off."""
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    made = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=_option(name, hint, text, heading),
        )
        for name, hint, text, heading in wanted
    ]

    @functools.wraps(command)
    def called(**typed: Any) -> Any:
        typed |= {name: numbers(name, typed[name]) for name in SIZES}
        if "augment" in typed:
            typed["augment"] = typed["augment"] is not False
        return command(**typed)

    called.__signature__ = signature.replace(parameters=[*own, *made])  # type: ignore[attr-defined]
    return called


def numbers(argument: str, text: str | None) -> int | list[int] | None:
    """The kernel, '5' or '5x3', or the widths, '16,32', as numbers; None is not typed. Raises
    BadArgument.

    >>> numbers("kernel_size", "5"), numbers("kernel_size", "5x3"), numbers("widths", "16")
    (5, [5, 3], [16])
    """
    if text is None:
        return None
    _, between, example = SIZES[argument]
    try:
        found = [int(part) for part in text.split(between)]
    except ValueError:
        remedy = f"write them as {example}"
        raise BadArgument(argument, text, "must be whole numbers", remedy) from None
    return found[0] if len(found) == 1 and argument == "kernel_size" else found


def _option(name: str, hint: Any, text: str, heading: str) -> Any:
    (kind,) = (t for t in typing.get_args(hint) or (hint,) if t is not types.NoneType)
    flag = f"--{name.replace('_', '-')}"
    flags = FLAGS.get(name, (f"{flag}/--no-{flag[2:]}",) if kind is bool else (flag,))
    written = SIZES[name][0] if name in SIZES else None
    return Annotated[kind | None, under(heading, *flags, metavar=written, help=text)]
