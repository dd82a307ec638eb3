"""An exported file held against what its run said: golden records, the test split, one by one.

Nothing here imports torch, so that it can be repeated wherever the file has gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope import run
from convscope.data import sources
from convscope.data.columns import Class, Columns, Labels
from convscope.data.pack import Pack
from convscope.errors import BadArgument, ConvscopeError, DataError
from convscope.evaluation import metrics
from convscope.evaluation.predictions_file import PredictionRow, read_predictions
from convscope.evaluation.targets import main_target
from convscope.events import Emit, silent
from convscope.predicting.onnx_file import Names, OnnxFile
from convscope.run import RunFolder
from convscope.shipping import golden
from convscope.shipping.golden import Golden

Array = NDArray[Any]
TOLERANCE = 1e-4  # of a probability; of a number, or of a logit, in relation to its size
LOOSE = 2e-2  # the same of int8, whose sums other processors round otherwise
LOST = 0.003  # of the accuracy, which int8 may lose
TIE = 1e-5  # classes whose probabilities are so near to each other are tied
LEVELS = 1  # of 255, by which fitted pixels may differ


@dataclass(frozen=True)
class Check:
    """One thing that was held against another: of how many records, the ``worst`` difference, and
    the ``limit`` that it must keep to."""

    what: str
    n: int
    worst: float
    limit: float

    @property
    def ok(self) -> bool:
        """Whether it keeps to the limit; what is no number does not."""
        return self.worst <= self.limit

    def __str__(self) -> str:
        kept = "within" if self.ok else "NOT within"
        return f"{self.what}: {kept} {self.limit:g} ({self.worst:.3g}, of {self.n:,})"


@dataclass(frozen=True)
class Verified:
    """What a file was held against; ``notes`` say what could not be held against anything."""

    path: Path
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every check keeps to its limit."""
        return all(one.ok for one in self.checks)

    def as_json(self) -> dict[str, Any]:
        """``{path, ok, checks: [{what, n, worst, limit, ok}], notes}``; a difference that is no
        number is null."""
        checks = [
            asdict(one) | {"ok": one.ok, "worst": one.worst if np.isfinite(one.worst) else None}
            for one in self.checks
        ]
        return {"path": str(self.path), "ok": self.ok, "checks": checks, "notes": list(self.notes)}


def verify(path: str | Path, folder: str | Path | None = None, *, emit: Emit = silent) -> Verified:
    """Hold an ONNX file of ``convscope export`` against the golden records beside it and, with the
    ``folder`` of its run, against that: its weights, and its ``predictions.csv`` on the test images
    where the data are there.

    Needs no torch. Raises BadArgument for a file that is none of ours or is damaged, or where there
    is nothing to hold it against; RunError.

    >>> verify("runs/a/model.onnx").ok  # doctest: +SKIP
    True
    """
    file = OnnxFile.open(path)
    well_formed(file)
    beside = golden.path_of(file.path)
    checks: list[Check] = []
    notes: list[str] = []
    if beside.is_file():
        checks += against_golden(file, golden.read(beside))
    elif folder is None:
        rule = f"has no golden records beside it ({beside.name})"
        raise BadArgument("FILE", path, rule, "put them there, or name its run, too")
    else:
        notes.append(f"{beside} is not there: golden records were not repeated")
    if folder is not None:
        found = against_run(file, run.find(Path(folder)), emit)
        checks, notes = [*checks, *found[0]], [*notes, *found[1]]
    return Verified(file.path, tuple(checks), tuple(notes))


def well_formed(file: OnnxFile) -> None:
    """Raise BadArgument unless ONNX's own checker takes the file."""
    import onnx

    try:
        onnx.checker.check_model(file.content, full_check=True)
    except Exception as why:  # the checker's, and shape inference's
        first = str(why).strip().partition("\n")[0]
        rule = f"is no valid ONNX ({first:.200})"
        raise BadArgument("FILE", file.path, rule, "export the run again") from None


def against_golden(file: OnnxFile, records: Golden) -> list[Check]:
    """The outputs for golden records, and the pixels that the preprocessing makes of images of odd
    sizes."""
    try:
        found = file.outputs(records.inputs)
        limit = LOOSE if file.quantized else TOLERANCE
        checks = differences("golden records", file.columns, found, records.outputs, limit)
        for name, images in records.odd.items():
            fitted = [file.fitted(name, image[None])[0].astype(int) for image in images]
            worst = float(np.abs(np.stack(fitted) - records.fitted[name]).max())
            checks.append(Check(f"fitted pixels of {name}", len(images), worst, LEVELS))
    except BadArgument:
        raise
    except Exception as why:  # names and shapes of another file; ONNX Runtime's have no common base
        beside = golden.path_of(file.path)
        rule = f"is not of this file ({why})"
        raise BadArgument("FILE", beside, rule, "export the run again") from None
    return checks


def differences(
    what: str,
    columns: Columns,
    found: Mapping[str, Array],
    wanted: Mapping[str, Array],
    limit: float = TOLERANCE,
) -> list[Check]:
    """Outputs against what the run gave, by the names of the file's outputs: top-1 but for ties,
    probabilities, numbers, logits; with a looser ``limit`` without top-1."""
    names, checks = Names.of(columns), []
    for target, end in names.outputs.items():
        of = "" if names.alone else f" of {target}"
        kind = target
        if (said := names.probabilities.get(target)) is not None:
            kind, p, q = f"logits{of}", found[said], wanted[said]
            if isinstance(columns[target], Class) and limit <= TOLERANCE:
                other = mistaken(p, q.argmax(axis=1))
                checks.append(Check(f"{what}, another top-1{of}", len(p), other, 0))
            off = float(np.abs(p - q).max())
            checks.append(Check(f"{what}, probabilities{of}", len(p), off, limit))
        worst = _relative(found[end], wanted[end])
        checks.append(Check(f"{what}, {kind} (relative)", len(found[end]), worst, limit))
    return checks


def mistaken(p: Array, labels: Array) -> int:
    """Of how many records the likeliest class is another one, and not tied with that."""
    rows = np.arange(len(p))
    return int((p.max(axis=1) - p[rows, labels] > TIE).sum())


def _relative(found: Array, wanted: Array) -> float:
    """The largest difference, in relation to the largest value of its record, at least 1."""
    size = np.maximum(1, np.abs(wanted).max(axis=1, keepdims=True))
    return float((np.abs(found - wanted) / size).max())


def answers(
    columns: Columns, temperatures: Mapping[str, float], outputs: Mapping[str, Array]
) -> dict[str, Array]:
    """What a run says of records, by the names of the file's outputs, from its network's
    ``outputs`` of each target."""
    names = Names.of(columns)
    found: dict[str, Array] = {}
    for target, given in outputs.items():
        found[names.outputs[target]] = given
        column, heat = columns[target], temperatures.get(target, 1.0)
        if isinstance(column, Class):
            found[names.probabilities[target]] = metrics.softmax(given, heat)
        elif isinstance(column, Labels):
            found[names.probabilities[target]] = 1 / (1 + np.exp(-given.astype(np.float64) / heat))
    return found


def data_of(place: RunFolder, emit: Emit = silent) -> Pack | str:
    """The data that a run was made with, or why they are not to be had here."""
    wanted = place.read_model()["data"]
    try:
        pack = sources.of_recipe(place.read_recipe(), emit, download=False)
    except (DataError, BadArgument) as why:
        return f"the data of the run, {wanted['name']}, are not there ({why})"
    if pack.fingerprint != wanted["fingerprint"]:
        return f"{wanted['name']} is not the data any more that the run was made with"
    return pack


def against_run(file: OnnxFile, place: RunFolder, emit: Emit) -> tuple[list[Check], list[str]]:
    """The file against its run: that it is of its weights, and says of the test images what
    ``predictions.csv`` says."""
    info = place.read_model()
    same = ("weights_sha256", "temperature", "classes", "preprocessing", "architecture")
    others = [key for key in same if info[key] != file.model[key]]
    checks = [Check(f"parts of model.json that differ ({', '.join(others) or 'none'})",
                    len(same), len(others), 0)]  # fmt: skip
    pack = data_of(place, emit)
    if isinstance(pack, str):
        return checks, [f"{pack}: its predictions were not repeated"]
    rows, main = read_predictions(place.predictions), main_target(file.columns)
    test = pack.splits["test"]
    if len(rows) != len(test):
        rule = f"has {len(rows):,} rows for {len(test):,} test images"
        raise ConvscopeError(f"{place.predictions}: {rule}; write it anew with: convscope eval RUN")
    p = file.outputs(test.inputs, emit)[Names.of(file.columns).probabilities[main]]
    if file.quantized:
        told = np.array([pack.main_classes[i] for i in p.argmax(axis=1)])
        before, after = (np.mean([row.label == one for row, one in zip(rows, said, strict=True)])
                         for said in ([row.predicted for row in rows], told))  # fmt: skip
        lost = Check("accuracy lost against predictions.csv", len(p), float(before - after), LOST)
        return [*checks, lost], []
    return [*checks, *_against_rows(p, rows, pack.main_classes)], []


def _against_rows(p: Array, rows: Iterable[PredictionRow], classes: Sequence[str]) -> list[Check]:
    """Probabilities against what ``predictions.csv`` has of them."""
    at = {name: i for i, name in enumerate(classes)}
    told = [(at.get(r.predicted, 0), at.get(r.label, 0), r.p_predicted, r.p_label) for r in rows]
    predicted, label, *known = (np.array(values) for values in zip(*told, strict=True))
    each = np.arange(len(p))
    off = [p[each, at] - value for at, value in zip((predicted, label), known, strict=True)]
    return [
        Check("predictions.csv, another top-1", len(p), mistaken(p, predicted), 0),
        Check("predictions.csv, probabilities", len(p), float(np.abs(off).max()), TOLERANCE),
    ]
