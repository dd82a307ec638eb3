"""What a field of a recipe is beside its value: the rule that it keeps, the remedy that an error
names, its help, its heading; and the check of a value by them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from convscope.errors import BadArgument, nearest

KINDS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a name"}


@dataclass(frozen=True)
class Rule:
    """What a value must be: whether it ``holds``, and the same in words, in which ``{name}`` is the
    field's; ``names`` are the values where there are only so many."""

    holds: Callable[[Any], bool]
    text: str
    names: tuple[str, ...] = ()


def at_least(low: float, text: str = "a whole number of at least {low}") -> Rule:
    """No upper bound; that a number is finite is part of its type.

    >>> at_least(1).text, at_least(0, "a finite number >= {low} (0: off)").text
    ('a whole number of at least 1', 'a finite number >= 0 (0: off)')
    """
    return Rule(lambda value: value >= low, text.replace("{low}", str(low)))


def below(high: float, text: str = "{range}") -> Rule:
    """0 <= value < high.

    >>> below(1, "a decay, {range} (0: off)").text
    'a decay, 0 <= {name} < 1 (0: off)'
    """
    return Rule(lambda value: 0 <= value < high, text.replace("{range}", f"0 <= {{name}} < {high}"))


def up_to(high: float, text: str) -> Rule:
    """0 <= value <= high."""
    within = f"0 <= {{name}} <= {high}"
    return Rule(lambda value: 0 <= value <= high, text.replace("{range}", within))


def one_of(*names: str) -> Rule:
    """One of these names.

    >>> one_of("sgd", "adam", "adamw").text
    'sgd, adam or adamw'
    """
    return Rule(lambda value: value in names, f"{', '.join(names[:-1])} or {names[-1]}", names)


@dataclass(frozen=True)
class Option:
    """A field of a recipe as a caller may type it, with all that there is to say of it: heading,
    default and text for the help, rule and remedy for errors.

    ``{values}`` in the text stands for the rule. ``by`` is another field, and what the default is
    for each of its values; with a value that is not there this field is not used. A claim is about
    what is ``claimed``. Section, name there and type without None are those of the dataclass.
    """

    heading: str
    default: Any
    text: str
    rule: Rule | None = None
    remedy: str = "correct it"
    by: tuple[str, Mapping[str, Any]] | None = None
    claimed: bool = True
    section: str = ""
    name: str = ""
    kind: type = str

    @property
    def values(self) -> str:
        """What the value must be, in words."""
        return KINDS[self.kind] if self.rule is None else self.rule.text.format(name=self.name)

    @property
    def help(self) -> str:
        """What the field is, in a sentence."""
        return self.text.format(values=self.values)


def option(heading: str, default: Any, *about: Any, **more: Any) -> Any:
    """A field of a dataclass, and the :class:`Option` that it is."""
    return field(default=default, metadata={"option": Option(heading, default, *about, **more)})


def checked(argument: str, value: Any, option: Option) -> Any:
    """The value in its field's type, or BadArgument, which names the ``argument``."""
    kind, rule = option.kind, option.rule
    if value is None and option.by is not None:
        return None
    if kind is float and type(value) in (int, float) and not math.isnan(value):
        value = float(value)
    fits = type(value) is kind and value not in (math.inf, -math.inf)
    if fits and (rule is None or rule.holds(value)):
        return value
    meant = nearest(value, rule.names, listed=False) if fits and rule and rule.names else ""
    shown = repr(value) if isinstance(value, str) and _reads_as(kind, value) else value
    raise BadArgument(argument, shown, f"must be {option.values}", meant.strip() or option.remedy)


def _reads_as(kind: type, text: str) -> bool:
    """Whether a text looks like a value of another type, which it is not.

    >>> _reads_as(int, "3"), _reads_as(bool, "true"), _reads_as(float, "fast"), _reads_as(str, "3")
    (True, True, False, False)
    """
    if kind not in (int, float):
        return kind is bool and text.lower() in ("true", "false")
    try:
        kind(text)
    except ValueError:
        return False
    return True
