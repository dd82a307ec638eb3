"""What page and card are written from: the files of a run folder, read and checked; and the words
and numbers that both write them in."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope import formatting
from convscope.errors import RunError
from convscope.markup import esc
from convscope.run import ANEW, MAYBE, NUMBER, RunFolder, checked

_CLASS: Mapping[str, Any] = {
    "class": str, "support": int, **dict.fromkeys(("precision", "recall", "f1"), MAYBE),
}  # fmt: skip
_COPIES = ("test_in_train", "val_in_train", "test_repeated", "two_labels", "n_without")
_DUPLICATES: Mapping[str, Any] = {**dict.fromkeys(_COPIES, int), "accuracy_without": MAYBE}
_ABSTAIN: Mapping[str, Any] = {
    **{"error": NUMBER, "threshold": MAYBE},
    **{"answered": int, "wrong": int},
}
_FORGETTING: Mapping[str, Any] = {
    **dict.fromkeys(("accuracy_before", "accuracy_after", "difference", "p"), NUMBER),
    **{"n": int, "taken_for_new": int, "difference_ci95": list, "per_class": list},
}
_KNOWN: Mapping[str, Any] = {
    **dict.fromkeys(("images", "a_right", "b_right"), int),
    **{"class": str, "p_holm": NUMBER},
}


HOW = ("padding", "magnitude")  # of augmentation: how it is done, where it is


@dataclass(frozen=True)
class RunFiles:
    """What the page and the card are written from, read and checked."""

    name: str
    recipe: dict[str, Any]
    model: dict[str, Any]
    history: list[dict[str, Any]]
    metrics: dict[str, Any]

    @property
    def network(self) -> str:
        return str(self.model["architecture"].get("name", "network"))

    @property
    def data(self) -> str:
        return str(self.model["data"].get("name", "data"))

    @property
    def classes(self) -> list[str]:
        return list(self.model["classes"])

    @property
    def augmented(self) -> bool:
        """Whether the training images were changed on the way."""
        changes = {k: v for k, v in self.table("augment").items() if k not in HOW}
        return any(changes.values())

    @property
    def fitted(self) -> bool:
        """Whether its last layer was fitted to features, and nothing else learnt."""
        return len(self.history) == 1 and self.history[0]["lr"] == 0

    @property
    def smoothing(self) -> float:
        return float(self.table("train").get("label_smoothing") or 0)

    @property
    def wrong(self) -> int:
        """How many images of the split got another class than their own."""
        confusion = self.metrics["confusion"]
        return int(self.metrics["n"] - sum(row[i] for i, row in enumerate(confusion)))

    @property
    def duplicates(self) -> dict[str, Any]:
        """Images that are there more than once; empty for a run from before they were counted."""
        return self.metrics.get("duplicates") or {}

    @property
    def several(self) -> bool:
        """Whether the network has several inputs or targets, which `predict` does not take."""
        return "columns" in self.model["architecture"]

    @property
    def leading(self) -> str:
        """The name of the leading target, where there are several; else nothing."""
        found = self.metrics.get("targets") or {}
        return next((name for name, one in found.items() if one["kind"] == "class"), "")

    def table(self, name: str) -> dict[str, Any]:
        """A part of the recipe, such as ``train``."""
        table = self.recipe.get(name)
        return table if isinstance(table, dict) else {}


def read(folder: Path) -> RunFiles:
    place = RunFolder(folder)
    for path in (place.recipe, place.model, place.history, place.metrics):
        if not path.is_file():
            raise RunError(f"{path}: is not there; {ANEW}")
    path = place.recipe
    try:
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as why:
        raise RunError(f"{path}: is damaged ({why}); {ANEW}") from None
    history, model, metrics = place.read_history(), place.read_model(), place.read_metrics()
    for row in metrics["per_class"]:
        checked(place.metrics, row, _CLASS)
    for row in (metrics.get("forgetting") or {}).get("per_class") or ():
        checked(place.metrics, row, _KNOWN)
    for key, kinds in (
        ("duplicates", _DUPLICATES),
        ("abstain", _ABSTAIN),
        ("ood", {"flagged": int}),
        ("forgetting", _FORGETTING),
    ):
        if metrics.get(key) is not None:
            checked(place.metrics, metrics[key], kinds, f"{key} is no")
    k, confusion = len(model["classes"]), metrics["confusion"]
    if (
        len(confusion) != k
        or len(metrics["per_class"]) != k
        or len(metrics["accuracy_ci95"]) != 2
        or any(not isinstance(row, list) or len(row) != k for row in confusion)
        or sum(map(sum, confusion)) != metrics["n"]
    ):
        raise RunError(
            f"{place.metrics}: does not belong to the {k} classes of {place.model.name}, or its "
            "confusion matrix does not add up to n; write it anew with: convscope eval RUN"
        )
    return RunFiles(
        name=folder.resolve().name,
        recipe=recipe,
        model=model,
        history=history,
        metrics=metrics,
    )


def typeset(text: str) -> str:
    """A number in words as it stands on a page: a narrow space, which does not break, between it
    and its unit.

    >>> typeset(">99.9%"), typeset("1 min 05 s")
    ('>99.9\u202f%', '1\u202fmin 05\u202fs')
    """
    return re.sub(r"(?<=\d) ?(?=[%smh])", "\u202f", text)


def percent(share: float | None, digits: int = 2) -> str:
    return "–" if share is None else typeset(formatting.percent(share, digits))


def digits_for(n: int) -> int:
    """As many decimals of a percentage as n images can tell apart."""
    return 2 if n >= 2000 else 1


def probability(p: float) -> str:
    return typeset(formatting.probability(p))


def duration(seconds: float) -> str:
    return typeset(formatting.measured_duration(seconds))


def looks(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def value_text(value: Any) -> str:
    """A value of the recipe as its reader would type it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(value_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} = {value_text(item)}" for key, item in value.items())
    return str(value)


def count_text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else esc(value)
