"""How error falls with the number of training images, and what more of them promise: runs on 1/8,
1/4, 1/2 and all of them, and a power law through their errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convscope import files, notebook
from convscope import recipe as recipes
from convscope.api import arguments
from convscope.data import sources
from convscope.data.columns import Class
from convscope.data.pack import Pack
from convscope.data.split import held_out
from convscope.errors import BadArgument, DataError, RunError
from convscope.evaluation.predictions_file import read_predictions
from convscope.evaluation.targets import main_target
from convscope.events import Emit, silent
from convscope.formatting import percent
from convscope.insight import figures
from convscope.job import preflight
from convscope.run import RunFolder
from convscope.studies.grid import Grid, Setting, Study
from convscope.studies.page import rows_of
from convscope.studies.plan import PlannedSweep, runs_of
from convscope.studies.sweep import begun, train_all

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = tuple(Fraction(1, parts) for parts in (8, 4, 2, 1))
DRAWS = 500  # of the bootstrap
FURTHER = 2  # times the images there are: further than that nothing is said
EXPONENTS = np.geomspace(0.05, 2, 120)
TENTH = 0.9  # of today's error

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """The test error of all images, or of one class, after training on so many ``images``, and what
    is foretold with :data:`FURTHER` times the most of them: ``twice``, its 95 % band.

    error(n) = ``floor`` + ``scale`` (n / n_max) ** -``exponent``. ``most`` is the share of the
    bootstrap's draws in which no other class promises to take more off the error.
    """

    name: str
    images: tuple[int, ...]
    errors: tuple[float, ...]
    scale: float
    exponent: float
    floor: float
    twice: float
    twice_ci95: tuple[float, float]
    most: float | None = None

    def at(self, images: float) -> float:
        """The error of the power law with so many images."""
        fallen: float = (images / self.images[-1]) ** -self.exponent
        return self.floor + self.scale * fallen


@dataclass(frozen=True)
class LearningCurve:
    """A finished learning curve: its folder, that of all images, those of the classes, what they
    say. ``error`` says which error it is. ``band`` is where the error lies at each of ``along``."""

    path: Path
    error: str
    whole: Curve
    classes: tuple[Curve, ...]
    sentences: tuple[str, ...]
    along: tuple[float, ...]
    band: tuple[tuple[float, float], ...]

    @property
    def page(self) -> Path:
        """Table, figure and sentences, as Markdown."""
        return self.path / "README.md"

    def as_json(self) -> dict[str, Any]:
        """What ``convscope learning-curve --json`` prints."""
        return {
            "learning_curve": str(self.path),
            "error": self.error,
            "whole": asdict(self.whole),
            "classes": [asdict(one) for one in self.classes],
            "sentences": list(self.sentences),
        }

    def _repr_html_(self) -> str:
        table = notebook.table(self.columns, self.rows)
        said = map(notebook.line, self.sentences)
        return notebook.card("Learning curve", table, *said, notebook.link(self.page, "The page"))

    @property
    def columns(self) -> list[str]:
        """Of the table."""
        return ["", "images", *(f"error with {share}" for share in SHARES), "with twice as many"]

    @property
    def rows(self) -> list[list[str]]:
        """A row for all images, then one a class."""
        return [
            [
                one.name or "all",
                f"{one.images[-1]:,}",
                *(percent(error, 1) for error in one.errors),
                f"{one.twice:.1%} ({one.twice_ci95[0]:.1%} to {one.twice_ci95[1]:.1%})",
            ]
            for one in (self.whole, *self.classes)
        ]


def learning_curve(
    data: str | Path | None = None,
    *,
    seeds: int = 1,
    model: str | None = None,
    recipe: str | Path | None = None,
    augment: bool | str = True,
    out: str | Path | None = None,
    resume: bool = False,
    emit: Emit = silent,
    **options: Any,
) -> LearningCurve:
    """Train on 1/8, 1/4, 1/2 and all of the training images, as many steps each, and say what more
    images promise, and of which class most; leave a run a folder, a page, a figure and JSON.

    The images of a smaller share are among those of a larger one, of each class alike. Data and
    ``options`` are those of :func:`convscope.train`. Errors are of the test split, and balanced
    where its classes are skewed; the test split is looked at once a run, and chooses nothing. The
    band is a bootstrap's over test images, and over ``seeds`` where there are several; it holds
    nothing of another choice of training images with one seed. With ``resume`` and ``out`` what was
    stopped goes on. Raises BadArgument, DataError, and RunError where a run failed.
    """
    if type(seeds) is not int or seeds < 1:
        raise BadArgument("seeds", seeds, "must be how many, at least 1", "try 1")
    if "share" in options:
        raise BadArgument("share", options["share"], "is varied, and given as well", "leave it out")
    folder = None if out is None else Path(out)
    going_on = begun(folder, resume, what="learning curve")
    place = None if data is None else arguments.full(data)
    given: dict[str, Any] = {
        "data": place,
        "model": model,
        "recipe": None if recipe is None else str(recipe),
    }
    given |= {**options, "augment": None if augment is True else augment}
    planned = _planned({k: v for k, v in given.items() if v is not None}, seeds, emit)
    folder, rows = train_all(planned, folder, going_on, "learning-curve", emit)
    for row in rows:
        if "failure" in row:
            raise RunError(f"{folder}: {row['failure']}; mend it, then --resume tries it again")
    found = _analysed(folder, rows, planned.runs[0].pack)
    for kind in ("png", "svg"):
        with files.whole_file(folder / f"figure.{kind}") as file:
            _drawn(found).savefig(file, format=kind, dpi=120)
    files.write_whole(found.page, _markdown(found))
    files.write_json(folder / "results.json", found.as_json() | {"rows": rows})
    return found


def _planned(shared: dict[str, Any], seeds: int, emit: Emit) -> PlannedSweep:
    """A run a share and seed, each of as many steps, or of none where only a layer is fitted.
    Raises BadArgument, DataError."""
    if "data" not in shared and "recipe" not in shared:
        raise BadArgument(
            "DATA", "(not given)", "is needed, or a recipe", "name a folder of images"
        )
    plain = {k: v for k, v in shared.items() if k not in ("data", "model", "recipe", "augment")}
    asked = arguments.resolved(
        *arguments.given(shared.get("data"), shared.get("model"), plain),
        recipes.load(shared["recipe"]) if "recipe" in shared else None,
        shared.get("augment", True),
    )
    asked = preflight.settle(asked, silent)
    pack = sources.of_recipe(asked, emit)
    images = len(pack.splits["train"]) - len(held_out(asked, pack))
    if images * SHARES[0] < 2:
        raise DataError(f"{pack.name}: {images} images to learn from, 16 at least; add some")
    train = asked.train
    fitted = train.started and train.freeze == "features" and train.last_layer == "new"
    steps = train.epochs * math.ceil(images / train.batch_size)
    steps = min(steps, train.steps or steps)
    settings = tuple(
        Setting(
            {"share": str(share)},
            {"share": float(share)}
            | ({} if fitted else {"epochs": math.ceil(train.epochs / share), "steps": steps}),
        )
        for share in SHARES
    )
    rest = {k: v for k, v in shared.items() if k not in ("epochs", "steps")}
    study = Study("learning curve", (Grid("", rest, settings),), tuple(range(1, seeds + 1)))
    return PlannedSweep(study, rest, tuple(runs_of(study, emit)))


def _analysed(folder: Path, rows: Sequence[Mapping[str, Any]], pack: Pack) -> LearningCurve:
    """What the runs of a learning curve say."""
    target = main_target(pack.columns)
    column, learnt = pack.columns[target], pack.splits["train"].values[target]
    assert isinstance(column, Class)
    wrong: dict[str, list[NDArray[np.bool_]]] = {}  # by share, a row a seed
    images: dict[str, NDArray[np.int64]] = {}  # by share, of each class
    for row in rows:
        place, share = RunFolder(folder / row["run"]), row["values"]["share"]
        told = read_predictions(place.predictions)
        labels = np.array([column.classes.index(one.label) for one in told])
        wrong.setdefault(share, []).append(np.array([r.label != r.predicted for r in told]))
        split = place.read_split()
        chosen = split.get("learnt", np.setdiff1d(np.arange(len(learnt)), split["val"]))
        images[share] = np.bincount(learnt[chosen], minlength=len(column.classes))
    skewed = bool(place.read_metrics().get("skewed"))
    names = [str(share) for share in SHARES]
    order = np.argsort(labels, kind="stable")
    met, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    table = np.stack([np.stack(wrong[name]) for name in names])[:, :, order]  # [S,R,n]
    sizes = np.stack([images[name] for name in names], 1)  # [K,S]
    total = sizes.sum(0)
    weights = np.full(len(met), 1 / len(met)) if skewed else counts / len(labels)
    errors = bootstrap(table, starts, counts)  # [1 + draws,K,S]
    errors = np.concatenate([np.einsum("k,dks->ds", weights, errors)[:, None], errors], 1)
    law = fit(total / total[-1], errors)  # [3,1 + draws,1 + K]
    twice, now = error_at(law, FURTHER), error_at(law, 1)
    gains = (weights * (now - twice)[:, 1:])[1:]
    first = gains.argmax(axis=1)[gains.max(axis=1) > 0]
    most = np.bincount(first, minlength=len(met)) / DRAWS
    edges = np.quantile(twice[1:], (0.025, 0.975), axis=0)
    curves = [
        Curve(
            column.classes[met[k - 1]] if k else "",
            tuple((sizes[met[k - 1]] if k else total).tolist()),
            tuple(errors[0, k].tolist()),
            **dict(zip(("scale", "exponent", "floor"), law[:, 0, k].tolist(), strict=True)),
            twice=float(twice[0, k]),
            twice_ci95=(float(edges[0, k]), float(edges[1, k])),
            most=float(most[k - 1]) if k else None,
        )
        for k in range(len(met) + 1)
    ]
    along = np.geomspace(total[0], FURTHER * total[-1], 40)
    lines = np.stack([error_at(law, n / total[-1])[1:, 0] for n in along])
    band = np.quantile(lines, (0.025, 0.975), axis=1).T.tolist()
    falls = float(np.quantile(errors[1:, 0, -2] - errors[1:, 0, -1], 0.025)) > 0
    error = "balanced error (1 - mean recall)" if skewed else "error (1 - accuracy)"
    said = sentences(curves[0], curves[1:], falls)
    bands = tuple((low, high) for low, high in band)
    return LearningCurve(
        folder, error, curves[0], tuple(curves[1:]), tuple(said), tuple(along.tolist()), bands
    )


def bootstrap(wrong: NDArray[np.bool_], starts: NDArray[Any], counts: NDArray[Any]) -> Array:
    """The errors of each class at each share, [1 + :data:`DRAWS`,K,S]: as they are, then with the
    images of each class, and the seeds, drawn anew with repetition.

    ``wrong`` [S,R,n] are images sorted by class, from ``starts`` [K] on ``counts`` [K] of each.
    """
    random = np.random.default_rng(0)
    _, seeds, n = wrong.shape
    first, many = np.repeat(starts, counts), np.repeat(counts, counts)
    found = []
    which: NDArray[Any] = np.arange(n)
    runs: NDArray[Any] = np.arange(seeds)
    for draw in range(1 + DRAWS):
        if draw:
            which = first + (random.random(n) * many).astype(np.int64)
            runs = (random.random(seeds) * seeds).astype(np.int64)
        some = wrong[:, runs][:, :, which].mean(axis=1)  # [S,n]
        found.append(np.add.reduceat(some, starts, axis=1).T / counts[:, None])
    return np.stack(found)


def fit(sizes: Array, errors: Array) -> Array:
    """Scale, exponent and floor, [3,...], of the power law through ``errors`` [...,S] at ``sizes``
    [S], shares of the most, with the least sum of squares; scale and floor are at least 0.

    Exponents are tried one by one, since with one given the others follow.

    >>> sizes = np.array([0.125, 0.25, 0.5, 1.0])
    >>> [round(float(part), 2) for part in fit(sizes, 0.05 + 0.1 * sizes**-0.5)]
    [0.1, 0.5, 0.05]
    """
    best = np.full(errors.shape[:-1], np.inf)
    law = np.zeros((3, *errors.shape[:-1]))
    mean = errors.mean(axis=-1)
    for exponent in EXPONENTS:
        x = sizes**-exponent
        scale = (errors @ (x - x.mean())) / ((x - x.mean()) ** 2).sum()
        floor = mean - scale * x.mean()
        scale = np.where(floor < 0, errors @ x / (x @ x), scale)
        scale, floor = np.maximum(scale, 0), np.where(floor < 0, 0, floor)
        floor = np.where(scale > 0, floor, mean)
        off = ((errors - floor[..., None] - scale[..., None] * x) ** 2).sum(axis=-1)
        better = off < best
        best = np.where(better, off, best)
        law = np.where(better, np.stack(np.broadcast_arrays(scale, exponent, floor)), law)
    return law


def error_at(law: Array, size: float) -> Array:
    """The error of power laws [3,...] at a share of the most images."""
    scale, exponent, floor = law
    found: Array = floor + scale * size**-exponent
    return found


def sentences(whole: Curve, classes: Sequence[Curve], falls: bool) -> list[str]:
    """What a learning curve says; ``falls`` is whether the error with all images is below that with
    half of them beyond chance in the test images."""
    half, now = whole.errors[-2:]
    n, (low, high) = whole.images[-1], whole.twice_ci95
    said = [f"With half of the {n:,} images {half:.1%} are wrong, with all of them {now:.1%}."]
    if not falls:
        said.append(
            "The difference is within chance: more images of these kinds are not shown to help."
        )
        return said
    said.append(
        f"Twice as many would take it to {whole.twice:.1%} (95 % band {low:.1%} to {high:.1%}), if "
        "it goes on falling as it fell."
    )
    wanted = (TENTH * whole.at(n) - whole.floor) / whole.scale if whole.scale else 0.0
    more = n * wanted ** (-1 / whole.exponent) - n if wanted > 0 else math.inf
    said.append(
        f"To take a tenth off the error takes about {math.ceil(more):,} more images."
        if more <= (FURTHER - 1) * n
        else f"To take a tenth off the error takes more than {(FURTHER - 1) * n:,} more images."
    )
    first = max(classes, key=lambda one: one.most or 0.0)
    if (first.most or 0.0) >= 0.5:
        said.append(
            f"Most of it is to be had of {first.name}: {first.errors[-1]:.1%} of it are wrong with "
            f"{first.images[-1]:,} images (first in {first.most:.0%} of the bootstrap's draws)."
        )
    else:
        said.append("No class promises more than the others, beyond chance.")
    return said


def _drawn(found: LearningCurve) -> Figure:
    whole = found.whole
    heights = [whole.at(n) for n in found.along]
    return figures.learning_curve(
        whole.images, whole.errors, found.along, heights, found.band, found.error
    )


def _markdown(found: LearningCurve) -> str:
    """The page: table, figure, sentences."""
    lines = rows_of(found.columns, found.rows)
    said = [f"- {sentence}" for sentence in found.sentences]
    return "\n".join([
        "# Learning curve", "", *lines, "", *said, "", "![learning curve](figure.svg)", "",
        f"What is wrong is the {found.error} on the test split, which chose nothing. Every size is "
        "trained as many steps; the images of a smaller one are among those of a larger one, of "
        "each class alike. The line is a power law with a floor, the band that of 95 % of "
        f"{DRAWS} draws of the test images, and of the seeds where there are several: what another "
        "choice of training images would change is not in it with one seed. Nothing is said of "
        "more than twice the images.",
    ]) + "\n"  # fmt: skip
