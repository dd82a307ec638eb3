"""What came of a search: its trials as rows, the best, the front of accuracy against seconds, what
mattered; and the recipe of the best."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope import files, notebook
from convscope import recipe as recipes
from convscope.formatting import percent, plural
from convscope.recipe import Recipe
from convscope.studies.tuning import storage
from convscope.studies.tuning.spec import Spec
from convscope.studies.tuning.trials import Trials, ended

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

Row = dict[str, Any]
FEW = 10  # whole trials, below which nothing is said of what mattered
HERE = ("device", "threads", "precision", "memory_format", "kernels")  # found out by whoever trains
COLUMNS = ("trial", "validation", "seconds", "epochs", "parameters")


@dataclass(frozen=True)
class Tuned:
    """A search as far as it has come: its folder, what it searched, how many trials it is for, a
    row a trial that has ended, and the share that each field has in what makes trials good."""

    path: Path
    spec: Spec
    wanted: int
    rows: tuple[Row, ...]
    importance: Mapping[str, float]

    @property
    def whole(self) -> list[Row]:
        """The trials that were trained to their end, the best first; of equals the fastest."""
        found = [row for row in self.rows if row["state"] == "complete"]
        return sorted(found, key=lambda row: (-row["val_accuracy"], row["seconds"]))

    @property
    def best(self) -> Row:
        """The best trial."""
        return self.whole[0]

    @property
    def front(self) -> list[Row]:
        """The trials that no other beats in both accuracy and seconds, the fastest first."""
        found: list[Row] = []
        for row in sorted(self.whole, key=lambda row: (row["seconds"], -row["val_accuracy"])):
            if not found or row["val_accuracy"] > found[-1]["val_accuracy"]:
                found.append(row)
        return found

    @property
    def recipe(self) -> Path:
        """The recipe of the best trial; what it reaches is to be measured."""
        return self.path / "best.toml"

    @property
    def page(self) -> Path:
        """What the search showed, as a page."""
        return self.path / "tune.html"

    @property
    def left(self) -> int:
        """How many trials are still to finish."""
        return self.wanted - len(self.rows)

    @property
    def sentences(self) -> list[str]:
        """What there is to say, in words."""
        count = {s: sum(row["state"] == s for row in self.rows) for s in ("pruned", "failed")}
        said = [
            f"{plural(len(self.whole), 'trial')} trained to the end, {count['pruned']} ended early "
            "because others were better after as many epochs"
            + (f", {count['failed']} could not be trained" if count["failed"] else "")
            + "."
        ]
        if self.left:
            left = f"{self.left} of {self.wanted} trials are still to finish"
            said.append(f"{left}; --resume goes on.")
        accuracy = percent(self.best["val_accuracy"])
        said.append(
            f"The best, trial {self.best['trial']}, has {accuracy} on validation. Validation chose "
            "it among many, so that this is too good by a little; the test split was not looked at."
        )
        if self.importance:
            first = next(iter(self.importance))
            said.append(f"What matters most is {first} ({self.importance[first]:.0%}).")
        return said

    @property
    def commands(self) -> list[tuple[str, str]]:
        """What comes next: what it does, and the command."""
        return [
            ("train the best", f"convscope train --recipe {self.recipe}"),
            ("measure what it reaches", f"convscope sweep --recipe {self.recipe}"),
        ]

    def as_json(self) -> dict[str, Any]:
        """What ``convscope tune --json`` prints."""
        return {
            "tune": str(self.path),
            "trials": self.wanted,
            "space": self.spec.space.as_json(),
            "best": self.best,
            "front": [row["trial"] for row in self.front],
            "importance": dict(self.importance),
            "rows": list(self.rows),
        }

    def _repr_html_(self) -> str:
        rows = [cells(row) for row in self.whole[:10]]
        table = notebook.table([*COLUMNS, "values"], rows, "The best trials")
        said = map(notebook.line, self.sentences)
        return notebook.card("Search", table, *said, notebook.link(self.page, "The page"))


def tuned(
    folder: Path, spec: Spec, trials: Trials, recipe_of: Callable[[Mapping[str, Any]], Recipe]
) -> Tuned | None:
    """What came of a search so far, and the files ``best.toml`` and ``results.json`` of its folder;
    None where no trial was trained to its end."""
    found = trials.all()
    rows = tuple(_row(one, spec) for one in ended(found))
    if not any(row["state"] == "complete" for row in rows):
        return None
    done = Tuned(folder, spec, trials.wanted, rows, _importance(trials, rows))
    best = next(one for one in found if one.number + 1 == done.best["trial"])
    recipe = recipe_of(spec.space.values(best.params))
    files.write_whole(done.recipe, _toml(recipe, done))
    files.write_json(folder / "results.json", done.as_json())
    return done


def _row(one: FrozenTrial, spec: Spec) -> Row:
    about = one.user_attrs
    state = "complete" if one.state.name == "COMPLETE" else "pruned"
    if "failure" in about:
        state = "failed"
    values = {name: one.params[name] for name in spec.space.fields if name in one.params}
    row: Row = {"trial": one.number + 1, "state": state, "values": values}
    row["val_accuracy"] = one.value
    row["epochs"] = about.get("epochs", one.last_step or 0)
    row |= {name: about[name] for name in ("seconds", "parameters", "failure") if name in about}
    return row


def _importance(trials: Trials, rows: Sequence[Row]) -> dict[str, float]:
    """PED-ANOVA's (Watanabe, Bansal, Hutter 2023, arXiv 2304.10255), of the trials that were
    trained to their end: nothing where these are few, or all alike."""
    import optuna

    values = [row["val_accuracy"] for row in rows if row["state"] == "complete"]
    if len(values) < FEW or max(values) == min(values):
        return {}
    with storage.quietly():
        found = optuna.importance.get_param_importances(
            trials.study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
        )
    return {name: round(share, 4) for name, share in found.items()}


def shown(value: Any) -> str:
    """A value of a trial in a table.

    >>> shown(0.00123456), shown("16-32"), shown(8)
    ('0.00123', '16-32', '8')
    """
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def cells(row: Row) -> list[str]:
    """A trial below :data:`COLUMNS`, and its values."""
    return [
        str(row["trial"]),
        percent(row["val_accuracy"]),
        f"{row.get('seconds', 0):.1f}",
        str(row["epochs"]),
        f"{row['parameters']:,}" if "parameters" in row else "",
        ", ".join(f"{name} {shown(value)}" for name, value in row["values"].items()),
    ]


def _toml(recipe: Recipe, done: Tuned) -> str:
    """The recipe as `train` takes it: what is no default, was given, or was searched; so that no
    default that suits the data takes the place of what is left open."""
    kept: dict[str, dict[str, Any]] = {}
    for section, kind in recipes.SECTIONS.items():
        part, default = getattr(recipe, section), kind()
        for f in fields(kind):
            value = getattr(part, f.name)
            if f.name in ("arguments", *HERE) or value is None:
                continue
            searched = ("model" if f.name == "name" else f.name) in done.best["values"]
            named = f.name == "name" and section in ("data", "model")
            given = recipe.origin.get(f"{section}.{f.name}", "default") != "default"
            if searched or named or given or value != getattr(default, f.name):
                kept.setdefault(section, {})[f.name] = value
    kept["model"] |= {k: v for k, v in recipe.model.arguments.items() if v is not None}
    import tomli_w

    return (
        f"# Found by convscope tune: the best of {plural(len(done.rows), 'trial')}, "
        f"{percent(done.best['val_accuracy'])} on validation, which chose it.\n"
        "# What it reaches on the test split is to be measured, and is then its claim:\n"
        f"#   convscope sweep --recipe {done.recipe.name}\n{tomli_w.dumps(kept)}"
    )
