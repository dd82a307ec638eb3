"""The run folder: which files it has, and how one is made, opened and told from something else."""

from __future__ import annotations

import itertools
import json
import math
import shlex
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from convscope import files, recipe
from convscope.errors import BadArgument, RunError
from convscope.recipe import Recipe

FORMAT_VERSION = 1
ANEW = "restore it from a copy, or train again into a new folder"
NUMBER = (int, float)
NONE = type(None)
MAYBE = (*NUMBER, NONE)

MODEL: Mapping[str, Any] = {
    "architecture": {
        "name": str,
        "arguments": dict,
        "num_classes": int,
        "in_channels": int,
        "image_size": list,
    },
    "classes": list,
    "preprocessing": {"channels": int, "size": list, "fit": str},
    "temperature": NUMBER,
    "parameters": int,
    "weights_sha256": str,
    "versions": dict,
    "machine": dict,
    "data": {"name": str, "fingerprint": str},
    "created": str,
    "command": str,
}
CALIBRATED: Mapping[str, Any] = {  # what older runs lack, and is null where it is not known
    "scaling": {"n": int, "fitted": MAYBE, "loss": (list, NONE), "ece": (list, NONE), "p": MAYBE},
    "abstain": {
        **{"error": NUMBER, "n": int, "threshold": MAYBE},
        **{"answered": int, "wrong": int, "asked": bool},
    },
    "ood": {
        "score": frozenset({"energy", "max_softmax"}),
        "threshold": NUMBER,
        "n": int,
        "auroc": dict,
        "caught": dict,
    },
}
METRICS: Mapping[str, Any] = {
    "split": str,
    "n": int,
    "accuracy": NUMBER,
    "accuracy_ci95": list,
    "loss": NUMBER,
    "ece": NUMBER,
    "ece_raw": NUMBER,
    "per_class": list,
    "confusion": list,
    "test_looks": int,
    "train_seconds": NUMBER,
    "eval_seconds": NUMBER,
    "images_per_second": NUMBER,
}
EPOCH: Mapping[str, Any] = {
    "epoch": int,
    **dict.fromkeys(("train_loss", "train_accuracy"), NUMBER),
    **dict.fromkeys(("val_loss", "val_accuracy"), MAYBE),
    **dict.fromkeys(("lr", "seconds", "images_per_second"), NUMBER),
}
BALANCED: Mapping[str, Any] = {"balanced_accuracy": NUMBER, "balanced_accuracy_ci95": list}
SPLIT: Mapping[str, Any] = {
    "fingerprint": str,
    "digest": str,
    "recipe_sha256": str,
    "source_sha256": (str, type(None)),
    "val": list,
}


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run; nothing is read until asked for. One that is not ``kept`` goes with its
    process: neither the state nor the history of its training is written."""

    path: Path
    kept: bool = True

    @property
    def recipe(self) -> Path:
        """The resolved recipe; its being there is what makes a folder a run."""
        return self.path / "recipe.toml"

    @property
    def weights(self) -> Path:
        """The trained weights; beside them ``model.json`` says what they are."""
        return self.path / "model.safetensors"

    @property
    def model(self) -> Path:
        """Architecture, class names, preprocessing, versions, data fingerprint; temperature, and
        what else validation says of the answers."""
        return self.path / "model.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of the latest resumable states."""
        return self.path / "checkpoint"

    @property
    def tensorboard(self) -> Path:
        """Curves for TensorBoard, if they were asked for."""
        return self.path / "tensorboard"

    @property
    def profile(self) -> Path:
        """Where the time of a step goes, if that was asked for; ``profile.png`` is its figure."""
        return self.path / "profile.json"

    @property
    def split(self) -> Path:
        """Which training image went to validation."""
        return self.path / "split.json"

    @property
    def validation(self) -> Path:
        """Logits and labels of the validation images."""
        return self.path / "validation.safetensors"

    @property
    def lock(self) -> Path:
        """What a process locks that trains into this folder."""
        return self.path / ".lock"

    @property
    def stop(self) -> Path:
        """What ends training at the next step once it is there: the run is judged as it is then."""
        return self.path / "stop"

    @property
    def history(self) -> Path:
        """A JSON line an epoch."""
        return self.path / "history.jsonl"

    @property
    def metrics(self) -> Path:
        """The figures on the test split."""
        return self.path / "metrics.json"

    @property
    def predictions(self) -> Path:
        """A row a test image."""
        return self.path / "predictions.csv"

    @property
    def report(self) -> Path:
        """The run in pictures."""
        return self.path / "report.html"

    @property
    def summary(self) -> Path:
        """What its network is made of."""
        return self.path / "summary.html"

    @property
    def explanation(self) -> Path:
        """What its network has learnt, if that was asked for."""
        return self.path / "explain" / "index.html"

    @property
    def page(self) -> Path:
        """Its network to try, if that was exported."""
        return self.path / "page.html"

    @property
    def pages(self) -> list[tuple[Path, str]]:
        """The pages that lead to each other, by their names."""
        return [
            (self.page, "Try it"),
            (self.report, "Report"),
            (self.explanation, "Explained"),
            (self.summary, "Layers"),
        ]

    @property
    def card(self) -> Path:
        """The model card."""
        return self.path / "README.md"

    def read_recipe(self) -> Recipe:
        """The resolved recipe. Raises RunError."""
        return recipe.of_run(self.path)

    def read_model(self) -> dict[str, Any]:
        """``model.json``, checked to hold what everything relies on. Raises RunError."""
        return _calibrated(self.model, self._read(self.model, MODEL))

    def read_metrics(self) -> dict[str, Any]:
        """``metrics.json``, checked likewise. Raises RunError."""
        found = self._read(self.metrics, METRICS)
        return checked(self.metrics, found, BALANCED) if found.get("skewed") else found

    def read_split(self) -> dict[str, Any]:
        """``split.json``, checked likewise. Raises RunError."""
        return self._read(self.split, SPLIT)

    def read_history(self) -> list[dict[str, Any]]:
        """A table an epoch, checked likewise; none before the first. Raises RunError."""
        try:
            lines = self.history.read_text(encoding="utf-8").splitlines()
            rows = [json.loads(line) for line in lines]
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as why:
            raise RunError(f"{self.history}: is damaged ({why}); {ANEW}") from None
        return [checked(self.history, row, EPOCH) for row in rows]

    def write_history(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write the whole history anew: a resumed run cuts it back to what its checkpoint knows."""
        if not self.kept:
            return
        lines = [json.dumps(row, allow_nan=False) + "\n" for row in rows]
        files.write_whole(self.history, "".join(lines))

    def unfinished(self) -> str:
        """How far a run came that was not judged yet, and how it goes on; nothing for one that
        was, and where there is no run. Raises RunError for a damaged recipe."""
        if self.metrics.exists() or not self.recipe.exists():
            return ""
        if self.at_work():
            return f"{self.path}: another process is training into it; wait for its report"
        return self.stopped()

    def stopped(self) -> str:
        """How far a run came that nobody trains, and how it goes on. Raises RunError."""
        epochs, done = self.read_recipe().train.epochs, 0
        if self.history.exists():
            done = len(self.history.read_text(encoding="utf-8").splitlines())
        where = f"after epoch {done} of {epochs}" if done else f"in the first epoch of {epochs}"
        where = "after its last epoch, before it was judged" if self.model.exists() else where
        return f"{self.path}: training was stopped {where}; go on with: {self.resume_command()}"

    def resume_command(self) -> str:
        """The command line that goes on with a run. Raises RunError."""
        name = self.read_recipe().model.name
        own = ["--model", name] if ".py:" in name else []
        return shlex.join(["convscope", "train", "--out", str(self.path), "--resume", *own])

    def at_work(self) -> bool:
        """Whether a process holds the lock of this run: it is taken for a moment, to see."""
        lock = FileLock(self.lock, timeout=0)
        try:
            with lock:
                return False
        except Timeout:
            return True
        except (OSError, NotImplementedError):  # a folder that cannot be written, or without locks
            return False

    def _read(self, path: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
        if path in (self.model, self.metrics) and not path.exists() and (why := self.unfinished()):
            raise RunError(why)
        value = checked(path, files.read_json(path, RunError), wanted)
        if value.get("format_version", FORMAT_VERSION) != FORMAT_VERSION:
            raise RunError(
                f"{path}: has format_version {value['format_version']}, and this convscope reads "
                f"{FORMAT_VERSION}; open it with the version that wrote it"
            )
        return value


def checked_model(path: Path, value: Any) -> dict[str, Any]:
    """What a ``model.json`` says, checked to hold what everything relies on; ``path`` is where it
    was found. Raises RunError."""
    return _calibrated(path, checked(path, value, MODEL))


def _calibrated(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    for key, kinds in CALIBRATED.items():
        if found.get(key) is not None:
            checked(path, found[key], kinds, f"{key} is no")
    if (by_target := found.get("temperatures")) is not None:  # where there are several columns
        kinds = dict.fromkeys(by_target, NUMBER) if isinstance(by_target, dict) else {}
        checked(path, by_target, kinds, "temperatures is no")
    return found


def checked(path: Path, value: Any, wanted: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """A table that holds every wanted key with a value of its kind; a kind may be a table of kinds,
    or a set of words.

    Raises RunError naming the file and the key.
    """
    if not isinstance(value, dict):
        raise RunError(f"{path}: is damaged ({at or 'no'} table of names and values); {ANEW}")
    for key, kind in wanted.items():
        item = value.get(key, ...)
        if isinstance(kind, Mapping):
            checked(path, item if item is not ... else {}, kind, f"{key} is no")
        elif isinstance(kind, frozenset) and isinstance(item, str) and item in kind:
            continue
        elif (
            isinstance(kind, frozenset)
            or not isinstance(item, kind)
            or (isinstance(item, float) and not math.isfinite(item))
        ):
            found = "is not there" if item is ... else f"is {item!r:.40}"
            raise RunError(f"{path}: was edited or damaged ({key} {found}); {ANEW}")
    return value


def create(data: str, model: str, out: Path | None, root: Path) -> RunFolder:
    """A new, empty run folder: ``out``, or the first free ``root/<data>-<model>-<n>``.

    Raises BadArgument where ``out`` holds a run or something else already; nothing is ever
    overwritten.
    """
    if out is None:
        return RunFolder(_first_free(root, f"{data}-{model}"))
    check_free(out, root)
    with files.explained(out):
        files.make_folder(out)
    files.clear_unfinished(out)
    return RunFolder(out)


def check_free(out: Path | None, root: Path) -> None:
    """Raise BadArgument where ``out`` is a file, or holds a run or something else already; and
    where nothing can be written there, or, without it, into ``root``."""
    if out is not None:
        _check_empty(out)
    wanted = root if out is None else out
    there = next(folder for folder in (wanted, *wanted.absolute().parents) if folder.exists())
    try:
        Path(tempfile.mkdtemp(prefix=files.TEMPORARY, dir=there)).rmdir()
    except OSError as why:
        rule = f"cannot be made, {there} takes no folder ({why.strerror})"
        remedy = "name a folder of your own (--out)"
        raise BadArgument("out", wanted, rule, remedy) from None


def _check_empty(out: Path) -> None:
    """Raise BadArgument for a file, and for a folder that holds something."""
    new = "name a folder that is new or empty"
    if out.exists() and not out.is_dir():
        raise BadArgument("out", out, "is a file", new)
    if (out / "recipe.toml").exists():
        remedy = "add --resume to go on with it, or name another folder"
        raise BadArgument("out", out, "holds a run already", remedy)
    if out.is_dir() and any(not p.name.startswith(files.TEMPORARY) for p in out.iterdir()):
        raise BadArgument("out", out, "holds something else", new)


def _first_free(root: Path, name: str) -> Path:
    """Make the first of ``name-1``, ``name-2``, ... that is not there; two at once get two."""
    with files.explained(root):
        files.make_folder(root)
        for n in itertools.count(1):
            path = root / f"{name}-{n}"
            try:
                path.mkdir()
                break
            except FileExistsError:
                continue
    return path


def find(path: Path) -> RunFolder:
    """The run in this folder. Raises RunError where there is none."""
    if not (path / "recipe.toml").is_file():
        near = "there is no such folder" if not path.exists() else "it holds no recipe.toml"
        raise RunError(f"{path}: is no run folder ({near}); name one that `convscope train` made")
    return RunFolder(path)
