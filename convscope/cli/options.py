"""The options of `train`, made from the table of a recipe's fields and the arguments of networks:
no signature to keep in step."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

from typer.core import TyperCommand

from convscope.cli import builders, completing
from convscope.cli.shared import under
from convscope.errors import BadArgument
from convscope.recipe.sections import HEADINGS, default_as_typed, options
from convscope.words import WORDS

NETWORK, AUGMENTATION = HEADINGS[0], HEADINGS[3]
MOST_USED = "Most used"  # the heading of what comes first, in this order
TEN = (
    *("model", "recipe", "epochs", "batch_size", "optimizer", "lr", "augment", "time_budget"),
    *("seed", "out"),
)
FLAGS = {
    "batch_size": ("--batch-size", "-b"),
    "optimizer": ("--optimizer", "--opt"),
    "start": ("--from",),
    "augment": ("--augment", "--aug"),
    "no_augment": ("--no-augment",),
}
JOB: dict[str, tuple[type, str, str]] = {  # no field of a recipe -> type, heading, help
    "recipe": (str, NETWORK, "A recipe by name (see `recipes`) or a .toml file."),
    "augment": (
        str,
        AUGMENTATION,
        "none, light (flip, small crop) or strong (TrivialAugment besides), under what is typed "
        "[default: the data set's own; light for your own colour images]",
    ),
    "no_augment": (bool, AUGMENTATION, "The same as --aug none"),
}
KINDS = {"int": int, "float": float, "bool": bool, "str": str}  # as a builder has them
SIZES = {  # several numbers, as a builder has them -> how they are written, between them, example
    "int | tuple[int, int]": ("N|HxW", "x", "5 or 5x3"),
    "Sequence[int]": ("N,N,...", ",", "16,32"),
}


class Headed(TyperCommand):
    """A command whose help lists its options under headings, and the words of --layers."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write each group of options under its heading."""
        groups: dict[str, dict[str, tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                kind = "Arguments" if param.param_type_name == "argument" else "Options"
                heading = getattr(param, "rich_help_panel", None) or kind
                groups.setdefault(heading, {})[param.name or ""] = record
        first = groups.pop(MOST_USED, {})
        groups[MOST_USED] = dict(sorted(first.items(), key=lambda item: TEN.index(item[0])))
        rest = [heading for heading in groups if heading != "Options"]
        for heading in dict.fromkeys(
            ["Arguments", "Sweep", "Search", MOST_USED, *HEADINGS, *rest, "Options"]
        ):
            if groups.get(heading):
                with formatter.section(heading):
                    formatter.write_dl(list(groups[heading].values()))
        with formatter.section("Words of --layers"):
            formatter.write_dl(list(WORDS.items()))


def with_fields(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command an option for what every training is asked for, every field of a recipe and
    every argument of a network, in the place of its ``**fields``."""
    return _with(command, {**_fields(), **_arguments()})


def with_arguments(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command an option for every argument of a network, in the place of its
    ``**arguments``."""
    return _with(command, _arguments())


@functools.cache
def _fields() -> dict[str, Any]:
    """Option -> its annotation: the table, but for the data, which is an argument."""
    made = {name: _option(name, *about) for name, about in JOB.items()}
    for name, of in options().items():
        if name != "data":
            text = f"{of.help.removesuffix('.')} [default: {default_as_typed(name)}]"
            made[name] = _option(name, of.kind, of.heading, text)
    return made


@functools.cache
def _networks() -> dict[str, list[builders.Argument]]:
    """Argument -> the same of each network that has it."""
    having: dict[str, list[builders.Argument]] = {}
    for one in builders.arguments():
        having.setdefault(one.name, []).append(one)
    return having


def _arguments() -> dict[str, Any]:
    """Option -> its annotation: the arguments of all networks."""
    made = {}
    for name, of in _networks().items():
        kind = of[0].annotation
        written = SIZES[kind][0] if kind in SIZES else None
        made[name] = _option(
            name, str if kind in SIZES else KINDS[kind], NETWORK, builders.helps(of), written
        )
    return made


def _with(command: Callable[..., Any], wanted: dict[str, Any]) -> Callable[..., Any]:
    """Give a command options, by name and annotation. It gets sizes as numbers, and augmentation
    by one name, True where none is typed."""
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    made = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in wanted.items()
    ]
    sizes = {name: of[0].annotation for name, of in _networks().items()}

    @functools.wraps(command)
    def called(**typed: Any) -> Any:
        for name, kind in sizes.items():
            if kind in SIZES and typed[name] is not None:
                typed[name] = numbers(name, typed[name], kind)
        if "augment" in typed:
            off, name = typed.pop("no_augment"), typed["augment"]
            if off and name not in (None, "none"):
                rule = "cannot be given together with --no-augment, which is none"
                raise BadArgument("augment", name, rule, "leave one of them out")
            none = off or name == "none"
            typed["augment"] = False if none else True if name is None else name
        return command(**typed)

    called.__signature__ = signature.replace(parameters=[*own, *made])  # type: ignore[attr-defined]
    return called


def numbers(argument: str, text: str, kind: str) -> int | list[int]:
    """A size, '5' or '5x3', or several, '16,32', as numbers. Raises BadArgument.

    >>> size, several = SIZES
    >>> numbers("k", "5", size), numbers("k", "5x3", size), numbers("w", "16", several)
    (5, [5, 3], [16])
    """
    _, between, example = SIZES[kind]
    try:
        found = [int(part) for part in text.split(between)]
    except ValueError:
        remedy = f"write them as {example}"
        raise BadArgument(argument, text, "must be whole numbers", remedy) from None
    return found[0] if len(found) == 1 and between == "x" else found


def _option(name: str, kind: type, heading: str, text: str, written: str | None = None) -> Any:
    flag = f"--{name.replace('_', '-')}"
    flags = FLAGS.get(name, (f"{flag}/--no-{flag[2:]}",) if kind is bool else (flag,))
    heading = MOST_USED if name in TEN else heading
    known = completing.of_field(name)
    of = under(heading, *flags, metavar=written, help=text, autocompletion=known)
    return Annotated[kind | None, of]
