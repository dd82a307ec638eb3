"""What is varied: fields and their values as settings, typed or from a study that is ready."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope import recipe as recipes
from convscope.errors import BadArgument, nearest
from convscope.studies import measures

READY = Path(__file__).parent / "ready"
NETWORK = "network"  # the field of a setting whose values have names of their own


@dataclass(frozen=True)
class Setting:
    """One point of a grid: what is shown of it, and the options of ``train`` that make it."""

    values: Mapping[str, str]
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        """As it is spoken of.

        >>> Setting({"kernel_size": "3", "lr": "0.1"}, {}).name, Setting({NETWORK: "mlp"}, {}).name
        ('kernel_size 3, lr 0.1', 'mlp')
        """
        return ", ".join(
            label if field == NETWORK else f"{field} {label}"
            for field, label in self.values.items()
        )


@dataclass(frozen=True)
class Grid:
    """A grid of settings with the options that they share; ``measures`` are asked of each run."""

    title: str
    options: Mapping[str, Any]
    settings: tuple[Setting, ...]
    measures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """A question, put as one grid or several, each setting over ``seeds``."""

    title: str
    parts: tuple[Grid, ...]
    seeds: tuple[int, ...]
    question: str = ""


def typed(text: str) -> tuple[str, list[Any]]:
    """A field and its values as they are typed: ``lr=0.01,0.1``, or ``widths=8,16;16,32`` where a
    value holds a comma. Raises BadArgument.

    >>> typed("kernel_size=1,3,5x3"), typed("widths=8,16;16,32")
    (('kernel_size', [1, 3, [5, 3]]), ('widths', [[8, 16], [16, 32]]))
    """
    name, equals, rest = text.partition("=")
    name = name.strip().lstrip("-").replace("-", "_")
    words = [word.strip() for word in rest.split(";" if ";" in rest else ",")]
    if not equals or not name or not all(words):
        rule = "must be a field and its values"
        raise BadArgument("vary", text, rule, "write lr=0.01,0.1 or widths=8,16;16,32")
    if name in ("seed", "data"):
        other = "--seeds N" if name == "seed" else "a sweep for each data set"
        raise BadArgument("vary", text, f"cannot vary {name}", f"use {other}")
    if len(set(words)) < len(words):
        raise BadArgument("vary", text, "names a value twice", "leave one of them out")
    return name, [_value(name, word) for word in words]


def _value(name: str, word: str) -> Any:
    """A value in the type of its recipe's field; of a network's argument, in the one it looks
    like."""
    option = recipes.options().get(name)
    if option is None:
        return word if name == "layers" else _looks_like(word)
    kind: type = option.kind
    if kind is bool and word.lower() in ("true", "false"):
        return word.lower() == "true"
    try:
        return word if kind in (str, bool) else kind(word)
    except ValueError:
        return word  # the recipe's own rule says what it must be


def _looks_like(word: str) -> Any:
    if re.fullmatch(r"-?\d+(,\s*-?\d+)+|\d+x\d+", word):
        return [int(part) for part in re.split("[,x]", word)]
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def settings(varied: Iterable[tuple[str, Sequence[Any] | Mapping[str, Any]]]) -> list[Setting]:
    """Every combination of the values of every field; a mapping names its values.

    >>> [s.name for s in settings([("lr", [0.1, 0.2]), ("layers", {"deep": "fc9 fc"})])]
    ['lr 0.1, deep', 'lr 0.2, deep']
    """
    axes = [
        [(NETWORK, label, name, value) for label, value in given.items()]
        if isinstance(given, Mapping)
        else [(name, label(value), name, value) for value in given]
        for name, given in varied
    ]
    return [
        Setting(
            {shown: label for shown, label, _, _ in one},
            {name: value for _, _, name, value in one},
        )
        for one in itertools.product(*axes)
    ]


def label(value: Any) -> str:
    """
    >>> label([8, 16]), label(0.001), label(True)
    ('8-16', '0.001', 'true')
    """
    if isinstance(value, list | tuple):
        return "-".join(map(str, value))
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def names() -> list[str]:
    """The studies that are ready.

    >>> "kernel-size" in names()
    True
    """
    return sorted(path.stem for path in READY.glob("*.toml"))


def load(name: str) -> Study:
    """A study that is ready, by its name. Raises BadArgument."""
    if name not in names():
        raise BadArgument("study", name, "is no study that is ready", nearest(name, names()))
    table = tomllib.loads((READY / f"{name}.toml").read_text(encoding="utf-8"))
    parts = []
    for one in table["part"]:
        grid = [] if "network" in one else settings(one.get("vary", {}).items())
        for network in one.get("network", ()):
            label = network.pop("label")
            grid.append(Setting({NETWORK: label}, network))
        asked = tuple(one.get("measures", ()))
        assert set(asked) <= set(measures.MEASURES), asked
        parts.append(Grid(one["title"], one["options"], tuple(grid), asked))
    seeds = tuple(range(1, table["seeds"] + 1))
    return Study(table["title"], tuple(parts), seeds, table["question"])
