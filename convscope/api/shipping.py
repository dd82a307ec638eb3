"""Write a run in a form in which it can be used elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope import files, run
from convscope.api.arguments import fresh
from convscope.data.columns import of_model
from convscope.errors import BadArgument, nearest
from convscope.evaluation.targets import main_target
from convscope.events import Emit, silent
from convscope.models import store
from convscope.predicting.onnx_file import OnnxFile, need
from convscope.run import RunFolder

NAMES = {"onnx": "model.onnx"}  # format -> what a file of it is called in the run folder


@dataclass(frozen=True)
class Exported:
    """What was written: where, in which format, how many bytes, and how long it took."""

    path: Path
    format: str
    bytes: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "path": str(self.path)}


def export(
    path: str | Path,
    format: str = "onnx",
    *,
    out: str | Path | None = None,
    model: str | None = None,
    force: bool = False,
    emit: Emit = silent,
) -> Exported:
    """Write a run's network as a file that works without PyTorch: from pixels of any size to
    probabilities by the names of classes.

    It is written to ``out``, else into the run folder; ``model`` names the user's own
    ``file.py:ClassName`` again, if it is one. Raises BadArgument for an unknown format, and where
    ``out`` is there already and ``force`` is not given; RunError; ConvscopeError for a network that
    cannot be exported.

    >>> export("runs/a").path  # doctest: +SKIP
    PosixPath('runs/a/model.onnx')
    """
    if format not in NAMES:
        rule = "is not a format of a network"
        raise BadArgument("format", format, rule, nearest(format, NAMES))
    began = time.perf_counter()
    place = run.find(Path(path))
    target = fresh(place.path / NAMES[format] if out is None else Path(out), force)
    file = _onnx(place, target, model)
    with files.explained(target):
        files.write_whole(target, file.content)
    return Exported(target, format, len(file.content), time.perf_counter() - began)


def _onnx(place: RunFolder, target: Path, own: str | None) -> OnnxFile:
    """The run as an ONNX file, not yet written."""
    need("onnx", "onnxscript", "onnxruntime")
    from convscope.shipping import onnx as graphs

    info = place.read_model()
    columns = of_model(info)
    temperatures = info.get("temperatures") or {main_target(columns): info["temperature"]}
    card = place.card.read_text(encoding="utf-8") if place.card.exists() else ""
    model = graphs.graph_of(store.load_network(place, own), columns, temperatures)
    graphs.describe(model, columns, info, card)
    return OnnxFile(target, model.SerializeToString(), {"model": info, "card": card})
