"""All run folders below a folder, a row each: what was trained, how it did, and how it stands.

Few files of each are read, and none again that has not changed since. A folder that is half written
or damaged is a row, too, which says what is wrong with it.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from convscope.errors import BadArgument, RunError, nearest
from convscope.run import ANEW, RunFolder

DEPTH = 4  # folders below the root that are gone down into; a sweep's runs lie three below it
OTHERS = frozenset({  # two of them make a folder without a recipe a run that has lost it
    *("split.json", "history.jsonl", "model.json", "model.safetensors", "metrics.json"),
    "predictions.csv",
})  # fmt: skip
ASIDE = ("sets",)  # folders of the root without runs: the images that the studio's classes have
PAGES = ("report.html", "explain/index.html", "summary.html", "README.md")  # for people to read
LOCKS = Path("/proc/locks")  # of Linux: which process holds which lock
AGAIN = 10.0  # seconds until a lock is tried again, which is to hold it for a moment
FINISHED, TRAINING, INTERRUPTED, DAMAGED = "finished", "training", "interrupted", "damaged"

Held = Mapping[tuple[int, int, int], int]  # device and inode of a locked file -> the process


@dataclass(frozen=True)
class ListedRun:
    """A run folder as a row: ``name`` is its path below the root; ``state`` is finished, training,
    interrupted or damaged.

    ``problem`` says what is wrong, with which ``file``, and ``command`` goes on with what was
    interrupted. ``accuracy`` and its 95 % interval ``ci95`` are those of ``n`` test images; where
    the classes are skewed they are those of the balanced accuracy, which leads then (``measure``).
    ``val_accuracy`` is that of the last epoch so far. ``seconds`` are those of training, ``date``
    is when the network was written, else when anything was. ``pid`` is the process that trains it,
    where that can be known; ``pages`` are its files for people to read.
    """

    name: str
    state: str = INTERRUPTED
    problem: str = ""
    file: str = ""
    command: str = ""
    pid: int | None = None
    data: str = ""
    network: str = ""
    measure: str = "accuracy"
    accuracy: float | None = None
    ci95: tuple[float, float] | None = None
    n: int | None = None
    val_accuracy: float | None = None
    epoch: int = 0
    epochs: int | None = None
    seconds: float | None = None
    parameters: int | None = None
    date: str = ""
    pages: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """All of it; what of a file name is no text is replaced."""
        found = {name: _text(value) for name, value in vars(self).items()}
        return found | {"ci95": self.ci95 and list(self.ci95), "pages": list(self.pages)}


SORTS: Mapping[str, Callable[[ListedRun], Any]] = {
    "name": lambda one: _natural(one.name),
    "data": lambda one: one.data or None,
    "network": lambda one: one.network or None,
    "state": lambda one: one.state,
    "accuracy": lambda one: None if one.accuracy is None else -one.accuracy,
    "seconds": lambda one: one.seconds,
    "parameters": lambda one: one.parameters,
    "date": lambda one: -datetime.datetime.fromisoformat(one.date).timestamp(),
}


@dataclass
class Listing:
    """The run folders below ``root``; what was read of each is kept while its files are the same.

    Raises BadArgument where there is no such folder, and for one that is itself a run.

    >>> Listing(Path("nowhere"))
    Traceback (most recent call last):
    ...
    convscope.errors.BadArgument: ROOT=nowhere: is no folder; name one that has run folders in it
    """

    root: Path
    kept: dict[Path, tuple[Any, ListedRun]] = field(default_factory=dict, repr=False)
    free: dict[Path, float] = field(default_factory=dict, repr=False)  # when nobody held its lock
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            remedy = "name one that has run folders in it"
            raise BadArgument("ROOT", self.root, "is no folder", remedy)
        if (self.root / "recipe.toml").is_file():
            remedy = f"name the folder that it is in, {self.root.absolute().parent}"
            raise BadArgument("ROOT", self.root, "is itself a run folder", remedy)

    def rows(self, sort: str = "date") -> list[ListedRun]:
        """A row a run folder, by name, then sorted: the best, the latest, the least first, and last
        what has no such value. Raises BadArgument for what is nothing to sort by."""
        if sort not in SORTS:
            raise BadArgument("sort", sort, "is nothing to sort by", nearest(sort, SORTS))
        places, held, key = list(folders(self.root)), _held(), SORTS[sort]
        with self.lock:
            for path in self.kept.keys() - set(places):
                del self.kept[path]
            found = sorted((self._row(path, held) for path in places), key=SORTS["name"])
        values = [(key(row), row) for row in found]
        there = sorted((pair for pair in values if pair[0] is not None), key=lambda pair: pair[0])
        return [row for _, row in there] + [row for value, row in values if value is None]

    def find(self, name: str) -> Path | None:
        """The folder of a run by its name; nothing where there is none, or behind a link."""
        path = below(self.root, name)
        return path if path is not None and path != self.root and _is_run(path) else None

    def row(self, name: str) -> ListedRun | None:
        """The row of one run by its name; nothing where there is none."""
        path = self.find(name)
        with self.lock:
            return None if path is None else self._row(path, _held())

    def _row(self, path: Path, held: Held) -> ListedRun:
        place, stamp = RunFolder(path), _stamp(path)
        if path not in self.kept or self.kept[path][0] != stamp:
            self.kept[path] = stamp, _read(place, path.relative_to(self.root).as_posix())
            self.free.pop(path, None)
        found = self.kept[path][1]
        if found.state != INTERRUPTED:
            return found
        pid = self._holder(place, held)
        if pid is None:
            return found
        return replace(found, state=TRAINING, pid=pid or None, problem="", command="")

    def _holder(self, place: RunFolder, held: Held) -> int | None:
        """The process that trains into a run: 0 where it is not known which, None where none."""
        try:
            lock = place.lock.stat()
            key = os.major(lock.st_dev), os.minor(lock.st_dev), lock.st_ino
            if key in held:
                return held[key]
            if time.monotonic() - self.free.get(place.path, -AGAIN) < AGAIN:
                return None
            if place.at_work():  # as by a process in another container
                return 0
            self.free[place.path] = time.monotonic()
        except (OSError, AttributeError):  # no lock; no such numbers on this system
            pass
        return None


def folders(root: Path) -> Iterator[Path]:
    """The run folders below a folder; no link is followed, and hidden ones are passed over."""

    def walk(folder: Path, depth: int) -> Iterator[Path]:
        try:
            with os.scandir(folder) as entries:
                inner = [one for one in entries if one.name[0] != "."]
        except OSError:  # one that may not be read, or is gone by now
            return
        if depth and _are_of_a_run({one.name for one in inner}):
            yield folder
        elif depth < DEPTH:
            for one in inner:
                if one.is_dir(follow_symlinks=False) and (depth or one.name not in ASIDE):
                    yield from walk(folder / one.name, depth + 1)

    return walk(root, 0)


def below(root: Path, name: str) -> Path | None:
    """What is meant by a name with slashes below a folder; nothing where a part of it is hidden, a
    way out or a link, whether or not anything is there.

    >>> below(Path("runs"), "a/report.html")
    PosixPath('runs/a/report.html')
    >>> below(Path("runs"), "a/../../secret") is below(Path("runs"), "/etc/passwd") is None
    True
    """
    path = root
    for part in name.split("/"):
        if part[:1] in ("", ".") or "\0" in part or Path(part).name != part:
            return None
        path /= part
        try:
            if path.is_symlink():
                return None
        except OSError:  # a name that is too long
            return None
    return path


def _is_run(path: Path) -> bool:
    try:
        return path.is_dir() and _are_of_a_run({one.name for one in path.iterdir()})
    except OSError:
        return False


def _are_of_a_run(names: set[str]) -> bool:
    return "recipe.toml" in names or len(names & OTHERS) > 1


def _held() -> dict[tuple[int, int, int], int]:
    """The locks that are held, as far as the system tells: a shared look that takes none."""
    try:
        text = LOCKS.read_text()
    except OSError:
        return {}
    found = re.findall(r"^\d+: (?!->).* (-?\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) ", text, re.M)
    return {(int(a, 16), int(b, 16), int(c)): max(0, int(pid)) for pid, a, b, c in found}


def _stamp(path: Path) -> list[tuple[int, int] | None]:
    """What changes with the files that a row is read from."""
    found: list[tuple[int, int] | None] = []
    for name in ("recipe.toml", *sorted(OTHERS), *PAGES):
        try:
            one = (path / name).stat()
            found.append((one.st_mtime_ns, one.st_size))
        except OSError:
            found.append(None)
    return found


def _read(place: RunFolder, name: str) -> ListedRun:
    """The row of a run that nobody trains; what is known is there, whatever is damaged."""
    path, judged = place.path, place.metrics.exists()
    pages = tuple(page for page in PAGES if (path / page).is_file())
    facts: dict[str, Any] = {"name": name, "pages": pages, "date": _latest(path)}
    problem, file = "", ""
    for at, take, needed in (
        (place.recipe, _of_recipe, True),
        (place.history, _of_history, judged),
        (place.weights, _of_weights, judged or place.model.exists()),
        (place.model, _of_model, judged),
        (place.metrics, _of_metrics, judged),
        (place.predictions, _of_predictions, judged),
    ):
        if needed or at.exists():
            try:
                if not at.is_file():
                    raise RunError(f"{at}: is not there; {ANEW}")
                facts |= take(place)
            except RunError as why:
                problem, file = problem or str(why), file or at.name
            except OSError as why:
                problem, file = problem or f"{at}: cannot be read ({why.strerror})", file or at.name
    try:
        if not problem and not (judged and "report.html" in pages):
            facts["command"] = place.resume_command()
            text = f"{path}: has no report; write it with: {facts['command']}"
            facts["problem"] = text if judged else place.stopped()
    except RunError as why:
        problem, file = str(why), place.recipe.name
    if problem:
        return ListedRun(**facts, state=DAMAGED, problem=problem, file=file)
    return ListedRun(**facts, state=FINISHED if judged else INTERRUPTED)


def _of_recipe(place: RunFolder) -> dict[str, Any]:
    try:
        tables = tomllib.loads(place.recipe.read_text(encoding="utf-8"))
        data, model, epochs = tables["data"]["name"], tables["model"], tables["train"]["epochs"]
        network = model["layers"] if model["name"] == "layers" else model["name"]
        if not all((isinstance(data, str), isinstance(network, str), isinstance(epochs, int))):
            raise ValueError("a value of another kind")
    except KeyError as why:
        raise RunError(f"{place.recipe}: was edited or damaged (it lacks {why}); {ANEW}") from None
    except (ValueError, TypeError) as why:
        raise RunError(f"{place.recipe}: was edited or damaged ({why}); {ANEW}") from None
    return {"data": data, "network": network, "epochs": epochs}


def _of_history(place: RunFolder) -> dict[str, Any]:
    rows = place.read_history()
    if not rows:
        return {}
    last = rows[-1]
    so_far = {"val_accuracy": last["val_accuracy"], "seconds": sum(row["seconds"] for row in rows)}
    return {"epoch": last["epoch"], **so_far}


def _of_weights(place: RunFolder) -> dict[str, Any]:
    """Nothing; raise RunError where the file is not as long as its head says."""
    whole = place.weights.stat().st_size
    try:
        with place.weights.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            head = json.loads(file.read(min(size, whole)))
        ends = [one["data_offsets"][1] for name, one in head.items() if name != "__metadata__"]
        if 8 + size + max(ends, default=0) != whole:
            raise ValueError("cut short")
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        raise RunError(f"{place.weights}: is damaged (cut short, or no weights); {ANEW}") from None
    return {}


def _of_model(place: RunFolder) -> dict[str, Any]:
    found = place.read_model()
    try:
        datetime.datetime.fromisoformat(found["created"])
    except ValueError as why:
        raise RunError(f"{place.model}: was edited or damaged ({why}); {ANEW}") from None
    return {"parameters": found["parameters"], "date": found["created"]}


def _of_metrics(place: RunFolder) -> dict[str, Any]:
    found = place.read_metrics()
    measure = "balanced_accuracy" if found.get("skewed") else "accuracy"
    ends = found[f"{measure}_ci95"]
    if len(ends) != 2 or not all(isinstance(end, int | float) for end in ends):
        raise RunError(f"{place.metrics}: was edited or damaged ({measure}_ci95 is {ends!r:.40})")
    said = {"accuracy": found[measure], "ci95": tuple(ends), "n": found["n"]}
    return {"measure": measure, **said, "seconds": found["train_seconds"]}


def _of_predictions(place: RunFolder) -> dict[str, Any]:
    """Nothing; raise RunError where the last row is cut short."""
    with place.predictions.open("rb") as file:
        file.seek(max(0, place.predictions.stat().st_size - 1))
        if file.read() != b"\n":
            remedy = f"write it anew with: convscope eval {place.path}"
            raise RunError(f"{place.predictions}: is damaged (cut short); {remedy}")
    return {}


def _latest(path: Path) -> str:
    """When something in a folder was last written, in UTC."""
    times = [one[0] for one in _stamp(path) if one is not None]
    at = datetime.datetime.fromtimestamp(max(times, default=0) / 1e9, datetime.UTC)
    return at.isoformat(timespec="seconds")


def _natural(name: str) -> list[tuple[int, str]]:
    """A name as people sort it: numbers by their value.

    >>> sorted(["a-10", "a-9", "b-1"], key=_natural)
    ['a-9', 'a-10', 'b-1']
    """
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


def _text(value: Any) -> Any:
    return value.encode(errors="replace").decode() if isinstance(value, str) else value
