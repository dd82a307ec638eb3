"""The search space of `convscope tune`: fields of a recipe and arguments of a network with the
ranges or values that they are searched over, as they are typed, or as they suit the data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from convscope import models
from convscope import recipe as recipes
from convscope.data.pack import Pack
from convscope.errors import BadArgument
from convscope.job.preflight import LR, PASS
from convscope.recipe import Recipe
from convscope.recipe.sections import as_typed
from convscope.studies import grid

if TYPE_CHECKING:
    from optuna.trial import Trial

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\s*\.\.\s*({_NUMBER})(?:\s+(log)|\s+step\s+({_NUMBER}))?")
_DOTS = re.compile(r"\.{3,}")  # of which a number may seem to have one
JUDGES = "decides which images are learnt from or judge: trials could not be compared"
NO_MATTER = "is no part of the arithmetic that is searched"
HYPERBAND = "is what trials are given more or less of (Hyperband)"
NOT_VARIED: dict[str, str] = {
    **dict.fromkeys(("labels", "group", "skip_bad", "fold", "val", "split_seed", "share"), JUDGES),
    **dict.fromkeys(("epochs", "steps"), HYPERBAND),
    **dict.fromkeys(("precision", "memory_format", "kernels", "device", "threads"), NO_MATTER),
    **dict.fromkeys(("micro_batch", "eval_batch", "checkpoint_seconds", "abstain"), NO_MATTER),
}
ELSEWHERE: dict[str, tuple[str, str]] = {  # what is no setting, and what to do instead
    "seed": ("is luck and no setting", "give one value: --seed; sweep --seeds N shows its spread"),
    "data": ("is what a search is of", "search each data set on its own"),
    "recipe": ("is what a search begins from", "search from each recipe on its own"),
}
SMALL = 5000  # training images, below which batches are small and augmentation matters most


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both among them: whole ones, evenly in their logarithm, or
    in steps, where it says so."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def __str__(self) -> str:
        more = " log" if self.log else f" step {as_typed(self.step)}" if self.step else ""
        return f"{as_typed(self.low)}..{as_typed(self.high)}{more}"

    @property
    def ends(self) -> list[Any]:
        """What is checked of it."""
        return [self.low, self.high]

    def suggest(self, trial: Trial, name: str) -> Any:
        """A number of it, as the sampler has it."""
        if self.whole:
            step = int(self.step or 1)
            return trial.suggest_int(name, int(self.low), int(self.high), step=step, log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def kept(self, value: Any) -> Any:
        """A value as a trial keeps it; None where it lies outside."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if not self.low <= value <= self.high or (self.whole and value != int(value)):
            return None
        return int(value) if self.whole else float(value)

    def value(self, kept: Any) -> Any:
        """The value that a trial keeps so."""
        return kept


@dataclass(frozen=True)
class Choice:
    """One of several ``values``."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return ", ".join(self.names)

    @property
    def names(self) -> list[str]:
        """As a trial keeps them."""
        return [grid.label(value) for value in self.values]

    @property
    def ends(self) -> list[Any]:
        """What is checked of it."""
        return list(self.values)

    def suggest(self, trial: Trial, name: str) -> Any:
        """One of them, as the sampler has it."""
        return self.value(trial.suggest_categorical(name, self.names))

    def kept(self, value: Any) -> Any:
        """A value as a trial keeps it; None where it is none of them."""
        name = grid.label(list(value) if isinstance(value, tuple) else value)
        return name if name in self.names else None

    def value(self, kept: Any) -> Any:
        """The value that a trial keeps so."""
        return self.values[self.names.index(kept)]


@dataclass(frozen=True)
class Space:
    """Fields and what each is searched over. A field that is not used with what others have, such
    as ``momentum`` without sgd, or an argument that a network has not, is left out of a trial."""

    fields: Mapping[str, Range | Choice]

    def suggest(self, trial: Trial, base: Recipe) -> dict[str, Any]:
        """The values of a trial; what others depend on comes first."""
        found: dict[str, Any] = {}
        for name in sorted(self.fields, key=lambda one: one not in ("model", *_CHOOSERS)):
            if self._used(name, found, base):
                found[name] = self.fields[name].suggest(trial, name)
        return found

    def _used(self, name: str, found: Mapping[str, Any], base: Recipe) -> bool:
        """Whether a field has a meaning beside what was found before it."""
        option = recipes.options().get(name)
        if option is None:
            network = str(found.get("model", base.model.name))
            varied = "model" in self.fields and not models.is_own(network)
            return not varied or name in models.arguments_of(network)
        if option.by is None or option.by[0] not in found:
            return True
        return found[option.by[0]] in option.by[1]

    def values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """What a trial keeps, as options of ``train``."""
        return {name: self.fields[name].value(kept) for name, kept in params.items()}

    def kept(self, base: Recipe) -> dict[str, Any] | None:
        """What the recipe has, as a trial keeps it; None where it lies outside of the space."""
        found = {}
        has = {name: _value_of(base, name) for name in _CHOOSERS}
        for name, where in self.fields.items():
            if self._used(name, has, base):
                kept = where.kept(_value_of(base, name))
                if kept is None:
                    return None
                found[name] = kept
        return found

    def corners(self, base: Recipe) -> Iterable[dict[str, Any]]:
        """Options that try each end and value of each field, the others as in the recipe."""
        for name, where in self.fields.items():
            for value in where.ends:
                yield {**self._beside(name, base), name: value}

    def _beside(self, name: str, base: Recipe) -> dict[str, Any]:
        """What another field has to be where this one is used, if that is varied, too."""
        for other in ("model", *_CHOOSERS):
            for value in self.fields[other].ends if other in self.fields and other != name else ():
                if self._used(name, {other: value}, base):
                    return {other: value}
        return {}

    def as_json(self) -> dict[str, Any]:
        """What :func:`of_json` reads."""
        return {
            name: asdict(one) if isinstance(one, Range) else {"values": _plain(one.values)}
            for name, one in self.fields.items()
        }


_CHOOSERS = ("optimizer", "schedule")  # fields that others are used with, or not


def of_json(value: Mapping[str, Any]) -> Space:
    """A space as it is kept.

    >>> of_json({"lr": {"low": 0.001, "high": 0.1, "log": True}}).fields["lr"]
    Range(low=0.001, high=0.1, log=True, step=None, whole=False)
    """
    return Space(
        {
            name: Choice(tuple(one["values"])) if "values" in one else Range(**one)
            for name, one in value.items()
        }
    )


def typed(vary: Mapping[str, Any] | Iterable[str], network: str) -> dict[str, Range | Choice]:
    """What is to be searched, as it is typed: ``lr=1e-4..1e-1 log``, ``hidden=16..256 step 16``,
    or values as `sweep` takes them; a mapping has the same behind the names, or lists of values.
    Raises BadArgument.

    >>> {n: str(one) for n, one in typed(["lr=1e-4..0.1 log", "widths=8,16;16,32"], "cnn").items()}
    {'lr': '0.0001..0.1 log', 'widths': '8-16, 16-32'}
    """
    found: dict[str, Range | Choice] = {}
    texts: dict[str, str] = {}
    pairs = vary.items() if isinstance(vary, Mapping) else map(_parted, vary)
    for said, given in pairs:
        name = said.strip().lstrip("-").replace("-", "_")
        if name in found:
            raise BadArgument("vary", name, "is given twice", "leave one of them out")
        if name in ELSEWHERE:
            raise BadArgument("vary", name, *ELSEWHERE[name])
        if name in NOT_VARIED:
            raise BadArgument("vary", name, NOT_VARIED[name], f"give one value: --{name}")
        texts[name] = text = f"{name}={given}"
        two = _DOTS.sub("..", str(given)).strip()
        if _DOTS.search(str(given)) and _RANGE.fullmatch(two):
            rule = "has more than the two dots of a range"
            raise BadArgument("vary", text, rule, f"write {name}={two}")
        if isinstance(given, str) and (match := _RANGE.fullmatch(given.strip())):
            found[name] = _range(name, text, match, network)
            continue
        values = grid.typed(text)[1] if isinstance(given, str) else list(given)
        if len({grid.label(value) for value in values}) < max(2, len(values)):
            rule = "must be a range or several values, each once"
            raise BadArgument("vary", text, rule, "write lr=1e-4..1e-1 log, or flip=true,false")
        found[name] = Choice(tuple(values))
    _check_known(found, texts, network)
    return found


def _check_known(
    found: Mapping[str, Range | Choice], texts: Mapping[str, str], network: str
) -> None:
    """Raise BadArgument, with what was typed, for what is neither a field nor an argument of a
    network that is tried."""
    tried = [network, *(str(one) for one in found["model"].ends)] if "model" in found else [network]
    if any(map(models.is_own, tried)):
        return
    known = {*recipes.options(), "augment", "layers"}
    known |= {key for one in tried for key in models.arguments_of(one)}
    for name in found:
        if name not in known:
            why = models.no_argument(name, texts[name], network, recipes.options())
            raise BadArgument("vary", texts[name], why.rule, why.remedy)


def _parted(text: str) -> tuple[str, str]:
    name, equals, rest = text.partition("=")
    if not equals or not name.strip() or not rest.strip():
        rule = "must be a field and what it is searched over"
        raise BadArgument("vary", text, rule, "write lr=1e-4..1e-1 log, or widths=8,16;16,32")
    return name, rest


def _range(name: str, text: str, match: re.Match[str], network: str) -> Range:
    """A range in the kind of its field, or of its network's argument. Raises BadArgument."""
    low, high, log, step = match.groups()
    option = recipes.options().get(name)
    if option is not None:
        kind: type = option.kind
    elif models.is_own(network) or name not in models.arguments_of(network):
        kind = float if any(set(word) & set(".eE") for word in (low, high)) else int
    else:
        kind = type(models.arguments_of(network)[name])
    if kind not in (int, float):
        raise BadArgument("vary", text, "is no number, so has no range", "name its values: A,B,C")
    try:
        numbers = [kind(word) for word in (low, high, step) if word is not None]
    except ValueError:
        rule = "must be whole numbers"
        raise BadArgument("vary", text, rule, f"write {name}=1..10, or {name}=1,5,10") from None
    first, last = numbers[:2]
    if first == last:
        flag = name.replace("_", "-")
        raise BadArgument("vary", text, "has two ends that are the same", f"give --{flag} {low}")
    if not first < last:
        raise BadArgument("vary", text, "must rise", f"write {name}={low}..{high} the other way")
    if log and first <= 0:
        raise BadArgument("vary", text, "must begin above 0 to be log", "leave out log")
    if step is not None and not 0 < numbers[2] <= last - first:
        raise BadArgument("vary", text, "has a step outside of it", "leave out the step")
    given = numbers[2] if step is not None else None
    return Range(first, last, bool(log), given, kind is int)


def default(base: Recipe, pack: Pack) -> dict[str, Range | Choice]:
    """The space that suits the data and the recipe: the learning rate and weight decay of its
    optimiser, smoothing, batches, and augmentation that leaves every class what it is."""
    train, images = base.train, len(pack.splits["train"])
    centre = LR[train.optimizer] if train.started else train.lr or 0.001
    decays = Range(1e-5, 1e-2, log=True) if train.optimizer == "sgd" else Range(1e-4, 0.3, log=True)
    small = images < SMALL
    batches = (PASS // 2, PASS, 2 * PASS) if train.started or small else (50, 100, 200)
    fields: dict[str, Range | Choice] = {
        "lr": Range(centre / 10, centre * 10, log=True),
        "weight_decay": decays,
        "label_smoothing": Range(0.0, 0.2),
        "batch_size": Choice(tuple(one for one in batches if one <= max(images // 4, batches[0]))),
        **_augmentation(base, pack),
    }
    varied = {name: one for name, one in fields.items() if len(one.ends) > 1}
    if len(pack.inputs) > 1 or len(pack.targets) > 1:
        varied = {name: one for name, one in varied.items() if name not in ("mixup", "cutmix")}
    return varied


def _augmentation(base: Recipe, pack: Pack) -> dict[str, Range | Choice]:
    """Digits and letters are moved a little, and never mirrored; what is in colour is cropped,
    cut out, or changed at random, and mirrored as the recipe has it."""
    side = min(pack.main_image.size)
    if pack.main_image.channels == 1:
        found: dict[str, Range | Choice] = {
            "shift": Range(0, max(1, side // 8), whole=True),
            "rotate": Range(0.0, 15.0),
            "scale": Range(0.0, 0.15),
        }
        return found | ({"cutout": Range(0, side // 2, whole=True)} if base.augment.flip else {})
    mixed: dict[str, Range | Choice] = {
        "trivialaugment": Choice((False, True)),
        "mixup": Choice((0.0, 0.1, 0.2, 0.4)),
    }
    if base.augment.shift:  # small images, which are shifted and not cropped
        return {"cutout": Range(0, side // 2, whole=True), **mixed}
    return {"crop": Range(0.3, 1.0), **mixed}


def merged(fields: Mapping[str, Range | Choice], more: Mapping[str, Any]) -> Space:
    """A space without the fields that are given one value."""
    both = sorted(set(fields) & set(more))
    if both:
        rule = "is searched, and given as well"
        raise BadArgument(both[0], more[both[0]], rule, "leave one of them out")
    return Space(fields)


def _value_of(base: Recipe, name: str) -> Any:
    """What a recipe has for a field, or an argument of its network."""
    option = recipes.options().get(name)
    if option is not None:
        return getattr(getattr(base, option.section), option.name)
    if name in base.model.arguments or models.is_own(base.model.name):
        return base.model.arguments.get(name)
    return models.arguments_of(base.model.name).get(name)


def _plain(values: Sequence[Any]) -> list[Any]:
    return [list(one) if isinstance(one, tuple) else one for one in values]
