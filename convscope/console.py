"""What a person at a terminal sees: the live table of a run on stderr, tables of results on
stdout."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from convscope.events import EpochEnd, Event, Notice
from convscope.events import Progress as Done
from convscope.formatting import (
    answers,
    balanced,
    decimals,
    duration,
    p_value,
    percent,
    plural,
    printable,
)
from convscope.language import told

if TYPE_CHECKING:
    from convscope.data.audit.findings import Audit
    from convscope.evaluation.compare import Comparison
    from convscope.predicting.listing import Tally
    from convscope.predicting.prediction import Prediction


EVERY = 30.0  # seconds between two lines of a long job that has no steps


class Left(TimeRemainingColumn):
    """The time left as the job itself foretells it: for the whole of it, not for the bar alone.

    A stage that foretells nothing, such as a download, is left to rich.
    """

    def render(self, task: Task) -> Text:
        """The time left in words."""
        left = task.fields.get("left")
        if left is not None:
            return Text(told(duration(left)), style="progress.remaining")
        if task.fields["unit"] == "steps":
            return Text("...", style="progress.remaining")
        return super().render(task)


class Count(TextColumn):
    """How much is done, of how much where that is known; how fast, where the job says so."""

    def render(self, task: Task) -> Text:
        """Both in words."""
        whole = "" if task.total is None else f" of {task.total:,.0f}"
        speed = f", {detail}" if (detail := task.fields.get("detail")) else ""
        return Text(told(f"{task.completed:,.0f}{whole} {task.fields['unit']}") + speed)


class Monitor:
    """Draws events: a live table with a progress bar and the time left on a terminal; elsewhere one
    plain line an epoch, and one that says how long it takes once that is known.

    ``results`` says that stdout is for results: what a user's class prints then goes to stderr.
    """

    def __init__(self, results: bool = True) -> None:
        self.results = results
        self.err = Console(stderr=True, highlight=False)
        self.epochs: list[EpochEnd] = []
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            Count(""),
            TimeElapsedColumn(),
            TextColumn(told("left")),
            Left(),
            console=self.err,
        )
        self.began: tuple[float, int] | None = None  # when the first step ended, and which it was
        self.foretold = False
        self.logged = time.monotonic()  # when it was last said how far it is
        self.tasks: dict[str, TaskID] = {}
        self.aside = contextlib.ExitStack()
        self.live = Live(
            get_renderable=self._draw, console=self.err, refresh_per_second=4, transient=False
        )

    def __enter__(self) -> Monitor:
        if self.results:
            self.aside.enter_context(contextlib.redirect_stdout(sys.stderr))
        if self.err.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None
    ) -> None:
        if self.live.is_started:
            self.live.stop()
        self.aside.close()

    def __call__(self, event: Event) -> None:
        """Take one event."""
        match event:
            case Notice(text, warning):
                self.err.print(
                    told(f"warning: {text}" if warning else text),
                    style="yellow" if warning else "dim",
                    markup=False,
                    soft_wrap=True,
                )
            case EpochEnd():
                self.epochs.append(event)
                if not self.live.is_started:
                    self.err.print(plain(event), soft_wrap=True)
            case Done() if self.live.is_started:
                self._advance(event)
            case Done() if event.unit == "steps" and not self.foretold:
                self._foretell(event)
            case Done(detail=detail, left=left) if detail and left is not None:
                self._log(event, left)
            case _:
                pass

    def _foretell(self, event: Done) -> None:
        """Say once how long it takes."""
        now = time.perf_counter()
        if self.began is None:
            self.began = now, event.done
        elif event.left is not None and event.done > self.began[1]:
            step = (now - self.began[0]) / (event.done - self.began[1])
            text = f"about {duration(event.left)} to go ({step * 1e3:.0f} ms a step)"
            self.err.print(told(text), style="dim", markup=False, soft_wrap=True)
            self.foretold = True

    def _log(self, event: Done, left: float) -> None:
        """Say now and then how far it is, how fast and how long it takes."""
        now = time.monotonic()
        if now - self.logged >= EVERY:
            text = f"{event.done:,} of {event.total:,} {event.unit}, {event.detail}"
            self.err.print(told(f"{text}, about {duration(left)} to go"), style="dim", markup=False)
            self.logged = now

    def _advance(self, event: Done) -> None:
        """Move the bar of a stage; that of training stays through all its epochs."""
        stage = "train" if event.unit == "steps" else event.stage
        if stage not in self.tasks:
            self.tasks[stage] = self.bar.add_task("", total=event.total, unit=event.unit, left=None)
        task = self.tasks[stage]
        self.bar.update(
            task,
            completed=event.done,
            total=event.total,
            description=told(event.stage),
            unit=event.unit,
            left=event.left,
            detail=told(event.detail),
        )
        if event.done == event.total:
            self.bar.remove_task(self.tasks.pop(stage))

    def _draw(self) -> Group | Progress:
        if not self.epochs:
            return self.bar
        table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
        for name in EPOCH:
            table.add_column(told(name), justify="right", style=COLOURS.get(name[:3], ""))
        for end in self.epochs[-20:]:
            table.add_row(*cells(end))
        return Group(table, self.bar)


COLOURS = {"tra": "dark_orange3", "val": "dodger_blue2"}  # of curves on every page
EPOCH = ("epoch", "train loss", "train acc", "val loss", "val acc", "lr", "seconds", "img/s")


def cells(end: EpochEnd) -> list[str]:
    """An epoch as a row below :data:`EPOCH`."""
    return [
        f"{end.epoch}/{end.epochs}",
        f"{end.train_loss:.4f} {end.counted}".strip(),
        percent(end.train_accuracy),
        decimals(end.val_loss),
        percent(end.val_accuracy),
        f"{end.lr:.2e}",
        f"{end.seconds:.1f}",
        f"{end.images_per_second:,.0f}",
    ]


def plain(end: EpochEnd) -> str:
    """An epoch as one line of a log."""
    names = ("epoch", "train loss", "acc", "val loss", "acc", "lr", "seconds", "images/s")
    return "  ".join(f"{told(name)} {cell}" for name, cell in zip(names, cells(end), strict=True))


def out(width: int = 100) -> Console:
    """The console that results go to, so wide where that is no terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else width)


def say(text: str, **style: Any) -> None:
    """Print a result in words, in the reader's language."""
    out().print(told(text), markup=False, **style)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "", width: int = 100
) -> None:
    """Print a table of results; columns whose cells are all numbers are set right. It is so wide
    where it goes to no terminal."""
    rows = [list(row) for row in rows]
    drawn = Table(title=told(title) or None, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for i, name in enumerate(columns):
        numbers = all(isinstance(row[i], int | float) for row in rows)
        drawn.add_column(told(name), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(f"{v:,}" if isinstance(v, int) else str(v)) for v in row))
    out(width).print(drawn)


def without_copies(duplicates: Mapping[str, Any] | None) -> str:
    """The accuracy on the test images that are no training images; nothing where all are none."""
    if not duplicates or not duplicates["test_in_train"]:
        return ""
    share, n = duplicates["accuracy_without"], duplicates["n_without"]
    which = f"the {n:,} test images that are not training images, too"
    return f"{'no accuracy' if share is None else f'{share:.2%}'} on {which}"


def figures(values: Mapping[str, Any]) -> None:
    """Print the figures of a run on a split: the headline, then a row a class."""
    from convscope.evaluation import targets

    low, high = values["accuracy_ci95"]
    ratios = ("precision", "recall", "f1")
    if text := balanced(values):
        say(f"{values['split']} balanced accuracy {text}", style="bold")
    say(
        f"{values['split']} accuracy {values['accuracy']:.2%} "
        f"(95% interval {low:.2%} to {high:.2%}, {values['n']:,} images)",
        style="bold",
    )
    if text := without_copies(values.get("duplicates")):
        say(text, style="bold")
    say(
        f"loss {values['loss']:.4f}, calibration error {values['ece']:.4f} "
        f"(before temperature {values['ece_raw']:.4f}), "
        f"test split looked at {plural(values['test_looks'], 'time')}"
    )
    for name, said in targets.lines(values):
        out().print(f"{told(name):13} {told(said)}", markup=False)
    if values.get("abstain"):
        say(answers(values["abstain"], values["n"]))
    table(
        ("class", "images", "precision", "recall", "F1"),
        [
            (row["class"], row["support"], *(decimals(row[k]) for k in ratios))
            for row in values["per_class"]
        ],
    )


def predictions(found: Tally, shown: Sequence[Prediction]) -> None:
    """Print the predictions that are ``shown``, a line each, and where there are more how many
    there are of each class."""
    from convscope.predicting.prediction import string_of

    for file, group in itertools.groupby(shown, lambda one: one.file):
        rows = list(group)
        for one in rows:
            names = printable(", ".join((one.files or {"": file}).values()))
            at = "" if one.box is None else " [{},{} to {},{}]".format(*one.box)
            fixed = ("not read", f"({one.marks})")  # all else names classes, which stay as they are
            said = "   ".join(told(part) if part in fixed else part for part in one.said)
            print(f"{names}{at}: {said}")
        if len(rows) > 1 and all(one.box for one in rows):
            print(f"{printable(file)}: {string_of(rows)}")
    if (count := sum(found.classes.values()) + found.failures) > len(shown):
        left_out = f", of which {len(shown):,} are shown (--show N, --csv FILE)" if shown else ""
        say(f"{plural(count, 'answer')}{left_out}", style="italic")
        lines = [(name, n, found.unsure[name]) for name, n in found.classes.most_common()]
        lines += [(told("not read"), found.failures, 0)] if found.failures else []
        table(("class", "images", "unsure"), lines)


def comparison(found: Comparison, show: int) -> None:
    """Print how two runs differ: accuracies, the table of who is right, what it means; then classes
    and images that changed, the first ``show`` of each."""
    low, high = found.difference_ci95
    rows = [
        (name, str(run.path), *map(told, run.accuracy_in_words), run.test_looks)
        for name, run in (("A", found.a), ("B", found.b))
    ]
    table(("", "run", "accuracy", "95% interval", "looks at the test split"), rows)
    say(
        f"\nB - A {100 * found.difference:+.2f} points (95% interval {100 * low:+.2f} to "
        f"{100 * high:+.2f}; McNemar's exact test {p_value(found.p, 'p')}; {found.n:,} images)",
        style="bold",
    )
    table(("", "B right", "B wrong"), [(told(name), *row) for name, *row in found.counts.rows])
    say(f"\n{found.verdict}", soft_wrap=True)
    say(
        "These are two trained networks; another seed of a recipe gives another network.",
        style="dim",
    )
    if found.note:
        say(found.note, style="dim", soft_wrap=True)
    changed = [row for row in found.per_class if row["only_a"] or row["only_b"]]
    changed.sort(key=lambda row: (row["p"], -abs(row["difference"])))
    columns: tuple[str, ...] = ("class", "images", "A right", "B right", "B - A", "p", "p (Holm)")
    cells = [
        (row["class"], row["images"], row["a_right"], row["b_right"],
         f"{100 * row['difference']:+.2f}", *(p_value(row[key]) for key in ("p", "p_holm")))
        for row in changed[:show]
    ]  # fmt: skip
    _headed("Classes in which an image changed", columns, cells, len(changed), "the most changed")
    for right, wrong, images in (("A", "B", found.a_right), ("B", "A", found.b_right)):
        columns = ("image", "class", "A says", "B says", f"{wrong} is sure")
        cells = [(*row[:4], row.sure) for row in images[:show]]
        title = f"Only {right} is right: {len(images):,}"
        _headed(title, columns, cells, len(images), f"the surest mistakes of {wrong}")
    if found.figure:
        say(f"\nfigure   {found.figure}", soft_wrap=True)


def _headed(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], count: int, which: str
) -> None:
    """A table below a title, which says how many of its ``count`` rows are left out."""
    left_out = f"; {len(rows)} shown, {which} (--show N, or --json)" if len(rows) < count else ""
    if rows:
        say(f"\n{title}{left_out}", style="italic")
        table(columns, rows)


def audit(found: Audit, show: int) -> None:
    """Print what an audit found: how much of each kind, then the first ``show`` of each."""
    from convscope.data.audit.findings import KINDS

    for split, by_class in found.counts.items():
        named = ", ".join(f"{name} {count:,}" for name, count in by_class.items())
        say(f"{split}: {sum(by_class.values()):,} images ({named})")
    rows = [
        (told(KINDS[kind].title), len(some), told(KINDS[kind].remedy) if some else "")
        for kind, some in found.findings.items()
    ]
    out().print()
    table(("looked for", "found", "what to do"), rows)
    for check, why in found.left_out.items():
        say(f"not looked at: {check}: {why}", soft_wrap=True)
    for kind, some in found.findings.items():
        lines = []
        for number, one in enumerate(some[:show], 1):
            for at, entry in enumerate(one.entries[:show] or (None,)):
                of = ("", "", "") if entry is None else (entry.file, entry.label, told(entry.split))
                lines.append(
                    (f"{number}" if at == 0 else "", *of, told(one.why) if at == 0 else "")
                )
            if (left := len(one.entries) - show) > 0:
                lines.append(("", told(f"and {left:,} more"), "", "", ""))
        columns = ("", "file", "class", "split", "why")
        kept = [i for i in range(5) if any(line[i] for line in lines)]
        cells = [[line[i] for i in kept] for line in lines]
        if lines:
            left_out = f"; {show} shown (--show N, or --json)" if len(some) > show else ""
            title = f"{KINDS[kind].title}: {len(some):,}{left_out}"
            say(f"\n{title}", style="italic")
            table([columns[i] for i in kept], cells)


ASIDE = ("seeds", "sd", "test loss", "an epoch")  # what a study's page has, a terminal not


def study(parts: Sequence[Any]) -> None:
    """Print what a sweep says: for each of its grids a table and its sentences."""
    from convscope.studies import page

    for part in parts:
        rows = [list(map(told, page.cells(line))) for line in part.lines]
        kept = [i for i, name in enumerate(page.COLUMNS) if name not in ASIDE]
        columns = [page.COLUMNS[i] for i in kept]
        table(columns, [[row[i] for i in kept] for row in rows], part.title)
        for sentence in part.sentences:
            say(f"- {sentence}", soft_wrap=True)
        if part.chosen is not None:
            say(f"Chosen on validation: {part.chosen}")
        out().print()
