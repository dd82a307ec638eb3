"""Rows of runs -> a line a setting, a choice on validation, and the sentences that the numbers
support, no more."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convscope.studies import measures
from convscope.studies.grid import Setting, Study

LEVEL = 0.95
SHIFTED = (2, 4)  # pixels of shift that are spoken of

Row = Mapping[str, Any]
Settings = Mapping[str, Sequence[Row]]  # the rows of each


@dataclass(frozen=True)
class Line:
    """A setting over its seeds: means, sample standard deviations, and the 95 % interval of the
    mean test accuracy (Student's t), None with one seed."""

    name: str
    seeds: int
    accuracy: float
    sd: float | None
    interval: tuple[float, float] | None
    val_accuracy: float | None
    loss: float
    train_loss: float
    seconds: float
    seconds_an_epoch: float
    parameters: int
    multiply_adds: int | None


@dataclass(frozen=True)
class Analysis:
    """What the rows of one grid of a study say."""

    title: str
    index: int
    rows: tuple[dict[str, Any], ...]
    lines: tuple[Line, ...]
    chosen: str | None
    sentences: tuple[str, ...]
    measures: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Lines, choice and sentences."""
        lines = [vars(line) for line in self.lines]
        return {"title": self.title, "settings": lines, "chosen": self.chosen,
                "sentences": list(self.sentences)}  # fmt: skip

    @property
    def by_setting(self) -> dict[str, list[Row]]:
        """The rows of finished runs, by the settings of ``lines``."""
        finished = [row for row in self.rows if "failure" not in row]
        return _by_setting(finished, [line.name for line in self.lines])

    @property
    def suffix(self) -> str:
        """What its figures are told by from those of a study's first grid."""
        return f"-{self.index + 1}" if self.index else ""


def analyse(
    title: str, names: Sequence[str], rows: Sequence[dict[str, Any]], measures: Sequence[str],
    index: int = 0,
) -> Analysis:  # fmt: skip
    """What the rows of one grid say; ``names`` are its settings in order."""
    by_setting = _by_setting([row for row in rows if "failure" not in row], names)
    lines = tuple(_line(name, each) for name, each in by_setting.items() if each)
    judged = [line for line in lines if line.val_accuracy is not None]
    chosen = max(judged, key=lambda line: line.val_accuracy or 0.0).name if judged else None
    sentences = failure_sentences(_by_setting(rows, names))
    by_setting = {name: each for name, each in by_setting.items() if each}
    sentences += accuracy_sentences(by_setting) + time_sentences(by_setting)
    for measure in measures if by_setting else ():
        sentences += SAID[measure](by_setting)
    return Analysis(title, index, tuple(rows), lines, chosen if len(lines) > 1 else None,
                tuple(sentences), tuple(measures))  # fmt: skip


def analyse_all(study: Study, rows: Sequence[dict[str, Any]]) -> tuple[Analysis, ...]:
    """What the rows of a study say, a grid at a time."""
    found = []
    for index, part in enumerate(study.parts):
        names = [setting.name for setting in part.settings]
        mine = [row for row in rows if row["part"] == part.title]
        found.append(analyse(part.title, names, mine, part.measures, index))
    return tuple(found)


def _by_setting(rows: Sequence[Row], names: Sequence[str]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {name: [] for name in names}
    for row in rows:
        found[Setting(row["values"], {}).name].append(row)
    return found


def _line(name: str, rows: Sequence[Row]) -> Line:
    values = [row["accuracy"] for row in rows]
    judged = [row["val_accuracy"] for row in rows if row["val_accuracy"] is not None]
    several = len(values) > 1

    def mean(key: str) -> float:
        return float(statistics.mean(row[key] for row in rows))

    return Line(
        name,
        len(rows),
        statistics.mean(values),
        statistics.stdev(values) if several else None,
        interval(values) if several else None,
        statistics.mean(judged) if judged else None,
        mean("loss"),
        mean("train_loss"),
        statistics.median(row["seconds"] for row in rows),
        statistics.median(row["seconds"] / row["epochs"] for row in rows),
        rows[0]["parameters"],
        rows[0]["multiply_adds"],
    )


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean of at least two shares (Student's t), within 0 and 1.

    >>> [round(end, 3) for end in interval([0.4, 0.5, 0.6])], interval([0.1, 0.9])
    ([0.252, 0.748], (0.0, 1.0))
    """
    from scipy.stats import t

    middle = statistics.mean(values)
    half = t.ppf((1 + LEVEL) / 2, len(values) - 1) * statistics.stdev(values)
    half = float(half / math.sqrt(len(values)))
    return max(0.0, middle - half), min(1.0, middle + half)


def difference(
    one: Sequence[float], two: Sequence[float], comparisons: int = 1
) -> tuple[float, float, float] | None:
    """The mean of ``one`` less that of ``two``, and its interval (Welch's t; Welch 1947), at a
    level of 1 - 0.05/comparisons (Bonferroni); None where neither side varies or has two values.

    >>> [round(x, 2) for x in difference([3.0, 4.0, 5.0], [1.0, 2.0, 3.0])]
    [2.0, -0.27, 4.27]
    """
    from scipy.stats import ttest_ind

    if min(len(one), len(two)) < 2 or len(set(one)) == len(set(two)) == 1:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of one side that does not vary
        test = ttest_ind(one, two, equal_var=False)
    ends = test.confidence_interval(1 - (1 - LEVEL) / comparisons)
    return statistics.mean(one) - statistics.mean(two), float(ends.low), float(ends.high)


def accuracy_sentences(by_setting: Settings) -> list[str]:
    """The most accurate setting against each of the others."""
    values = {name: [row["accuracy"] for row in rows] for name, rows in by_setting.items() if rows}
    means = {name: statistics.mean(each) for name, each in values.items()}
    if not values:
        return []
    if len(values) == 1:
        ((name, each),) = values.items()
        called = f"{name}: test" if name else "Test"
        if len(each) == 1:
            return [f"{called} accuracy {each[0]:.2%} with one seed."]
        low, high = interval(each)
        return [f"{called} accuracy {means[name]:.2%} (95 % interval of the mean {low:.2%} to "
                f"{high:.2%}, {len(each)} seeds)."]  # fmt: skip
    best = max(means, key=lambda name: means[name])
    seeds = min(len(each) for each in values.values())
    if seeds < 2:
        return ["With one seed a setting, nothing tells chance from a difference."]
    others = sorted((name for name in values if name != best), key=lambda name: -means[name])
    alike, behind = [], []
    for name in others:
        found = difference(values[best], values[name], len(others))
        if found is None or found[1] <= 0:
            alike.append(name)
            continue
        by, low, high = (100 * x for x in found)
        behind.append(f"{name} by {by:.2f} points ({low:.2f} to {high:.2f})")
    sentences = []
    if behind:
        how = "interval" if len(others) == 1 else f"intervals, for all {len(others)} comparisons"
        sentences.append(
            f"{best}, at {means[best]:.2%}, is more accurate than {_listed(behind)}: 95 % {how}, "
            f"{seeds} seeds."
        )
    if alike:
        sentences.append(f"{seeds} seeds do not tell {best}, the best, from {_listed(alike)}.")
    return sentences


def time_sentences(by_setting: Settings) -> list[str]:
    """How long training takes, against the fastest, where every seed says the same."""
    seconds = {name: [row["seconds"] for row in rows] for name, rows in by_setting.items() if rows}
    if len(seconds) < 2 or min(len(each) for each in seconds.values()) < 2:
        return []
    middle = {name: statistics.median(each) for name, each in seconds.items()}
    fast = min(middle, key=lambda name: middle[name])
    slower = [
        f"{name} takes {middle[name] / middle[fast]:.2f} times as long"
        for name in sorted(middle, key=lambda name: middle[name])
        if min(seconds[name]) > max(seconds[fast])
    ]
    if not slower:
        return [f"The time of training tells no setting from {fast}, the fastest in the median."]
    return [f"{fast} is the fastest ({middle[fast]:.1f} s); {_listed(slower)}."]


def failure_sentences(by_setting: Settings) -> list[str]:
    """Which runs failed, and why the first of each setting did."""
    said = []
    for name, rows in by_setting.items():
        failed = [row for row in rows if "failure" in row]
        if failed:
            which = ", ".join(str(row["seed"]) for row in failed)
            some = "every run" if len(failed) == len(rows) else f"seed {which}"
            said.append(f"{name or 'as given'} failed ({some}): {failed[0]['failure']}.")
    return said


def shift_sentences(by_setting: Settings) -> list[str]:
    """What a shift of the test images costs each setting, and whose predictions change least."""
    said, kept = [], {}
    for name, rows in by_setting.items():
        curves = [row["shift"] for row in rows]
        pixels = curves[0]["pixels"]
        near, far = (pixels.index(p) for p in SHIFTED)
        at = [statistics.mean(c["accuracy"][i] for c in curves) for i in (0, near, far)]
        kept[name] = [c["unchanged"][near] for c in curves]
        said.append(
            f"{name}: {at[0]:.1%} unshifted, {at[1]:.1%} shifted by {SHIFTED[0]} pixels, "
            f"{at[2]:.1%} by {SHIFTED[1]}; {1 - statistics.mean(kept[name]):.1%} of the "
            f"predictions change at {SHIFTED[0]}."
        )
    if min(map(len, kept.values())) < 2 or len(kept) < 2:
        return said
    best = max(kept, key=lambda name: statistics.mean(kept[name]))
    others = [name for name in kept if name != best]
    worse = [
        name
        for name in others
        if (found := difference(kept[best], kept[name], len(others))) and found[1] > 0
    ]
    if worse:
        said.append(f"The predictions of {best} change less than those of {_listed(worse)}.")
    most = max(statistics.mean(values) for values in kept.values())
    if most < 1:
        said.append(f"None of them is invariant: {1 - most:.1%} change at best.")
    return said


def gradient_sentences(by_setting: Settings) -> list[str]:
    """How large the gradient at the first layer is beside that at the last."""
    said = []
    for name, rows in by_setting.items():
        shares = []
        for when in ("begun", "trained"):
            each = [row["gradients"][when] for row in rows]
            ratios = [norms[0] / norms[-1] if norms[-1] else math.nan for norms in each]
            good = [math.log(r) for r in ratios if math.isfinite(r) and r > 0]
            shares.append(math.exp(statistics.mean(good)) if good else math.nan)
        begun, trained = ("no number" if math.isnan(s) else f"{s:.2g}" for s in shares)
        said.append(
            f"{name}: the gradient at the first layer is {begun} of that at the last before "
            f"training, {trained} after (geometric mean over seeds)."
        )
    return said


def branch_sentences(by_setting: Settings) -> list[str]:
    """What each network loses with each of its branches."""
    said = []
    for name, rows in by_setting.items():
        intact = statistics.mean(row["branches"]["intact"] for row in rows)
        lost = [
            f"{branch} {100 * statistics.mean(losses):.2f}"
            for branch, losses in branch_losses(rows)
        ]
        called = f"{name}: " if name else ""
        said.append(
            f"{called}{intact:.2%} of {measures.JUDGED:,} test images with every branch; points "
            f"lost with one silenced (mean of {len(rows)}): {', '.join(lost)}."
        )
    return said


def branch_losses(rows: Sequence[Row]) -> list[tuple[str, list[float]]]:
    """Accuracy lost with each branch, a value a seed."""
    each = [row["branches"] for row in rows]
    return [
        (branch, [found["intact"] - found["without"][i] for found in each])
        for i, branch in enumerate(each[0]["branches"])
    ]


SAID = {
    "shift": shift_sentences,
    "gradients": gradient_sentences,
    "branches": branch_sentences,
}


def _listed(words: Sequence[str]) -> str:
    """
    >>> _listed(["a"]), _listed(["a", "b", "c"]), _listed(["lr 1, a", "lr 2, b", "lr 3, c"])
    ('a', 'a, b and c', 'lr 1, a; lr 2, b; and lr 3, c')
    """
    if len(words) < 2:
        return words[0]
    if any("," in word for word in words):
        return "; ".join([*words[:-1], f"and {words[-1]}"])
    return f"{', '.join(words[:-1])} and {words[-1]}"
