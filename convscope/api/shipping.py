"""Write a run in a form in which it can be used elsewhere, once it is held against the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch import nn

from convscope import files, run, webpage
from convscope.api.judging import records_of
from convscope.data.columns import Array, Columns, of_model
from convscope.data.pack import Pack
from convscope.errors import BadArgument, ConvscopeError, nearest
from convscope.evaluation import predictions
from convscope.evaluation.targets import main_target
from convscope.events import Emit, silent
from convscope.job.complete import write_pages
from convscope.models import store
from convscope.predicting.onnx_file import FORMAT_VERSION, Names, OnnxFile, need
from convscope.run import RunFolder
from convscope.shipping import golden
from convscope.shipping.golden import Golden
from convscope.shipping.verify import LOST, Check, against_golden, answers, data_of, differences

if TYPE_CHECKING:
    import onnx

    from convscope.shipping.quantize import Quantized


class Format(NamedTuple):
    """A form of a network: what it is called in the run folder, and what writes it there."""

    name: str
    write: Callable[[RunFolder, OnnxFile, Golden, Path], None]


def _write_onnx(place: RunFolder, file: OnnxFile, records: Golden, target: Path) -> None:
    records.write(golden.path_of(target))
    files.write_whole(target, file.content)


def _write_triton(place: RunFolder, file: OnnxFile, records: Golden, target: Path) -> None:
    from convscope.shipping import triton

    triton.write(file, records, triton.name_of(place.path.resolve().name), target)


def _write_page(place: RunFolder, file: OnnxFile, records: Golden, target: Path) -> None:
    from convscope.shipping.page import page_of

    pack = data_of(place)
    images = pack.splits["test"].main_images if isinstance(pack, Pack) else None
    files.write_whole(target, page_of(file, run=place, images=images).encode())
    if target == place.page:
        webpage.link(place.pages)


FORMATS = {
    "onnx": Format("model.onnx", _write_onnx),
    "page": Format("page.html", _write_page),
    "triton": Format("triton", _write_triton),
}


@dataclass(frozen=True)
class Exported:
    """What was written: where, in which format, how long it took, what it was held against before,
    and what it could not be held against; of int8, how it does beside float32."""

    path: Path
    format: str
    seconds: float
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    quantized: Quantized | None = None

    def as_json(self) -> dict[str, Any]:
        """All of it; a check as :meth:`convscope.shipping.verify.Verified.as_json` has it."""
        checks = [vars(one) | {"ok": one.ok} for one in self.checks]
        small = self.quantized and self.quantized.as_json()
        return vars(self) | {"path": str(self.path), "checks": checks, "quantized": small}


def export(
    path: str | Path,
    format: str = "onnx",
    *,
    quantize: str | None = None,
    out: str | Path | None = None,
    model: str | None = None,
    force: bool = False,
    emit: Emit = silent,
) -> Exported:
    """Write a run's network in a form that works without PyTorch: from pixels of any size to
    probabilities by the names of classes. ``onnx`` is one file, ``page`` an HTML file that answers
    in a browser, with those of up to 2,000 test images that its channels answer to most, ``triton``
    a model repository.

    First it is held against the run's network: on the whole test split, where the data are there,
    the same top-1 but for ties and probabilities within 1e-4, and on golden records, which are
    written beside it. With ``quantize="int8"`` the network is one of 8-bit integers, calibrated on
    the validation images; that looks at the test split, which is counted, and is refused where more
    than 0.3 points of accuracy are lost.

    It is written to ``out``, else into the run folder; ``model`` names the user's own
    ``file.py:ClassName`` again, if it is one. Raises BadArgument for an unknown format, and where
    ``out`` is there already and ``force`` is not given; RunError; ConvscopeError, with the figures,
    for a file that is not the run, and, naming the layer, for a network that cannot be exported.

    >>> export("runs/a").path  # doctest: +SKIP
    PosixPath('runs/a/model.onnx')
    """
    if format not in FORMATS:
        rule = "is not a form of a network"
        raise BadArgument("format", format, rule, nearest(format, FORMATS))
    if quantize not in (None, "int8"):
        rule = "is not a number format that a network can be quantised to"
        raise BadArgument("quantize", quantize, rule, "try int8, or leave it out")
    need("onnx", "onnxscript", "onnxruntime")
    began = time.perf_counter()
    place = run.find(Path(path))
    target = _free(place.path / FORMATS[format].name if out is None else Path(out), force)
    found = _proved(place, target, model, emit)
    small = None
    if quantize is not None:
        found, small = _quantised(place, found, emit)
    FORMATS[format].write(place, found.file, found.records, target)
    took = time.perf_counter() - began
    return Exported(target, format, took, found.checks, found.notes, small)


def _free(target: Path, force: bool) -> Path:
    """Where it goes. Raises BadArgument where something is there: files make way by ``force``, a
    folder never does."""
    if target.is_dir():
        raise BadArgument("out", target, "is a folder that is there already", "name a new one")
    for one in (target, golden.path_of(target)):
        files.fresh(one, force)
    return target


@dataclass(frozen=True)
class _Proved:
    """An ONNX file that was held against its run, and is not yet written. ``told`` is what it says
    of the test images of ``pack``, where that is there."""

    file: OnnxFile
    network: nn.Module
    records: Golden
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    pack: Pack | None
    told: Mapping[str, Array]


def _proved(place: RunFolder, target: Path, own: str | None, emit: Emit) -> _Proved:
    """The run as an ONNX file, held against the run's network. Raises ConvscopeError, with the
    figures, where they differ."""
    info = place.read_model()
    columns = of_model(info)
    temperatures = info.get("temperatures") or {main_target(columns): info["temperature"]}
    network = store.load_network(place, own)

    def said(inputs: Mapping[str, Any], emit: Emit) -> dict[str, Array]:
        targets = Names.of(columns).outputs
        found = predictions.outputs(
            network, inputs, targets, batch_size=256, emit=emit, stage="run the network"
        )
        return answers(columns, temperatures, found)

    file = _file(place, target, network, columns, temperatures)
    pack = data_of(place, emit)
    inputs, told, notes = golden.made_up(columns), {}, []
    checks: list[Check] = []
    if isinstance(pack, Pack):
        test = pack.splits["test"]
        told = file.outputs(test.inputs, emit)
        checks = differences("test split", columns, told, said(test.inputs, emit))
        rows = golden.rows_of(len(test))
        inputs = {name: np.array(values[rows]) for name, values in test.inputs.items()}
    else:
        notes = [f"{pack}: held against the run on golden records alone, which are made up"]
    records = Golden(inputs, said(inputs, silent), *golden.odd_images(columns))
    checks += against_golden(file, records)
    if wrong := [str(one) for one in checks if not one.ok]:
        raise ConvscopeError(
            f"{place.path}: the ONNX file is not the run and was not written ({'; '.join(wrong)}); "
            "take the network as PyTorch with: convscope script"
        )
    there = pack if isinstance(pack, Pack) else None
    return _Proved(file, network, records, tuple(checks), tuple(notes), there, told)


def _file(
    place: RunFolder,
    target: Path,
    network: nn.Module,
    columns: Columns,
    temperatures: Mapping[str, float],
) -> OnnxFile:
    """The run as an ONNX file."""
    from convscope.shipping import onnx as graphs

    return _described(place, target, graphs.graph_of(network, columns, temperatures), {})


def _described(
    place: RunFolder, target: Path, model: onnx.ModelProto, also: Mapping[str, Any]
) -> OnnxFile:
    """A model with the metadata of its run, and what is ``also`` to be said."""
    from convscope.shipping import onnx as graphs

    card = place.card.read_text(encoding="utf-8") if place.card.exists() else ""
    ours = {"format_version": FORMAT_VERSION, "model": place.read_model(), "card": card, **also}
    graphs.describe(model, ours)
    return OnnxFile(target, model.SerializeToString(), ours)


def _quantised(place: RunFolder, found: _Proved, emit: Emit) -> tuple[_Proved, Quantized]:
    """The same in int8. The look at the test split is counted before its figure is shown. Raises
    BadArgument where the data are not there, ConvscopeError where too much accuracy is lost."""
    from convscope.shipping import quantize

    columns, pack = found.file.columns, found.pack
    if pack is None or not Names.of(columns).alone:
        rule = "needs the images of the run, for its ranges and its accuracy"
        if pack is not None:
            rule = "is for networks of one image and one class"
        raise BadArgument("quantize", "int8", rule, "leave it out")
    val, test = records_of(pack, place, "val"), pack.splits["test"]
    model = quantize.quantized(found.file, val.main_images)
    small = _described(place, found.file.path, model, {"quantized": {}})
    p, (labels,) = Names.of(columns).probabilities[main_target(columns)], test.targets.values()
    told = small.outputs(test.inputs, emit)
    right = tuple(one[p].argmax(axis=1) == labels for one in (found.told, told))
    metrics = place.read_metrics()
    files.write_json(place.metrics, metrics | {"test_looks": metrics["test_looks"] + 1})
    write_pages(place, found.network, pack, emit)
    beside = quantize.compared((found.file, small), (right[0], right[1]))
    if not beside.ok:
        rule = f"loses more than {LOST:.1%} of the accuracy, and was not written ({beside})"
        raise ConvscopeError(f"quantize=int8: {rule}; leave it out")
    small = _described(place, found.file.path, model, {"quantized": beside.as_json()})
    records = replace(found.records, outputs=small.outputs(found.records.inputs))
    return replace(found, file=small, records=records, told=told), beside
