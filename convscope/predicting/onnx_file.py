"""A network as an ONNX file: what it says of itself, and ONNX Runtime as what computes its logits.

Nothing here imports torch. A file is read whole and checked before any of it is run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from convscope import machine, run
from convscope.data import columns as typed
from convscope.data.columns import Array, Columns, Image, Number
from convscope.errors import BadArgument, RunError
from convscope.events import Emit, Progress, silent
from convscope.predicting.predictor import Predictor
from convscope.predicting.records import RecordPredictor

if TYPE_CHECKING:
    import onnx
    import onnxruntime

FORMAT_VERSION = 1
METADATA = "convscope"  # the key of ours
IMAGES, LOGITS, PROBABILITIES = "images", "logits", "probabilities"
FITTED = "fitted"  # uint8 [N,C,h,w], behind the preprocessing
OURS = "name a file that convscope export wrote"
EXTRA = "pip install 'convscope[ship]'"
MEMORY = 64 << 20  # bytes that the maps of a batch may take


class Names(NamedTuple):
    """What a file calls the inputs of the data, what it gives for each target, and, of classes and
    labels, their probabilities; ``alone`` is one image and one target."""

    alone: bool
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    probabilities: Mapping[str, str]

    @classmethod
    def of(cls, columns: Columns) -> Self:
        """Of one image and one class ``images``, ``logits`` and ``probabilities``; else the inputs'
        own names, ``TARGET.logits`` and ``TARGET.probabilities``, or ``TARGET``, a number.

        >>> Names.of(typed.image_and_label((1, 2, 2), ["a", "b"])).outputs
        {'label': 'logits'}
        """
        alone = len(columns) == 2
        before = {name: "" if alone else f"{name}." for name in columns}
        told = {name: one for name, one in columns.items() if not one.is_input}
        classes = [name for name, one in told.items() if not isinstance(one, Number)]
        return cls(
            alone,
            {name: IMAGES if alone else name for name, one in columns.items() if one.is_input},
            {name: before[name] + LOGITS if name in classes else name for name in told},
            {name: before[name] + PROBABILITIES for name in classes},
        )


class Checked(NamedTuple):
    """A file that was opened: the SHA-256 of its bytes, what it says of itself, and how many
    records it computes at once."""

    sha256: str
    info: Mapping[str, Any]
    batch: int


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file that ``convscope export`` wrote: its bytes, which were checked, and the JSON of
    its metadata: ``format_version``, ``model`` (the run's ``model.json``) and ``card`` (its model
    card, Markdown).
    """

    path: Path
    content: bytes
    info: Mapping[str, Any]

    @classmethod
    def open(cls, path: str | Path, known: Checked | None = None) -> Self:
        """The file at a path, which is not checked again if it is the one that is ``known``. Raises
        BadArgument for what is no such file, is damaged, has a newer format, keeps weights in other
        files, or has operators that are not ONNX's own."""
        path = Path(path)
        try:
            content = path.read_bytes()
        except OSError as why:
            rule = f"cannot be read ({why.strerror})"
            raise BadArgument(
                "FILE", path, rule, "name a file that convscope export wrote"
            ) from None
        if known is not None and hashlib.sha256(content).hexdigest() == known.sha256:
            info, batch = known.info, known.batch
        else:
            model = _model(path, content)
            info, batch = _info(path, model), _batch(model)
        found = cls(path, content, info)
        vars(found)["batch"] = batch
        return found

    @property
    def checked(self) -> Checked:
        """What another process need not find out again."""
        return Checked(hashlib.sha256(self.content).hexdigest(), self.info, self.batch)

    @property
    def model(self) -> Mapping[str, Any]:
        """The run's ``model.json``."""
        found: Mapping[str, Any] = self.info["model"]
        return found

    @property
    def quantized(self) -> bool:
        """Whether it computes in int8."""
        return "quantized" in self.info

    @property
    def columns(self) -> Columns:
        """The columns of the data that the network is for."""
        return typed.of_model(self.model)

    @cached_property
    def batch(self) -> int:
        """How many records are computed at once, so that their maps keep to ``MEMORY``."""
        return _batch(_model(self.path, self.content))

    def session(
        self, threads: int | None = None, also: Sequence[str] = ()
    ) -> onnxruntime.InferenceSession:
        """The file in ONNX Runtime on the CPU; ``threads`` compute an operator, all cores if that
        is None; values that are ``also`` given are outputs, too. Raises BadArgument for a graph
        that cannot be run.

        Threads sleep while they wait: spinning ones would take the cores from whoever else is at
        work, for at most 4 % of a small network's time (``benchmarks/shipping.py threads``).
        """
        need("onnxruntime")
        import onnxruntime as runtime

        options = runtime.SessionOptions()
        options.intra_op_num_threads = machine.cores() if threads is None else threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # an exception says it
        content = self.content
        if also:
            model = _model(self.path, content)
            model.graph.output.extend(type(model.graph.output[0])(name=name) for name in also)
            content = model.SerializeToString()
        try:
            return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as why:  # ONNX Runtime's own have no common base
            first = str(why).partition("\n")[0]
            rule = f"cannot be run by ONNX Runtime ({first:.200})"
            raise BadArgument("FILE", self.path, rule, "export the run again") from None

    def outputs(self, inputs: Mapping[str, Any], emit: Emit = silent) -> dict[str, Array]:
        """Everything that the file gives, by its names, for inputs by the names of their columns:
        images uint8 [N,C,H,W], numbers float32 [N,d]; records are read a batch at a time. Reports
        Progress in images."""
        session, names = self._all_cores, Names.of(self.columns)
        total = len(next(iter(inputs.values())))
        found: dict[str, list[Array]] = {one.name: [] for one in session.get_outputs()}
        for start in range(0, total, self.batch):
            given = {
                names.inputs[name]: np.array(values[start : start + self.batch])
                for name, values in inputs.items()
            }
            for name, value in zip(found, session.run(list(found), given), strict=True):
                found[name].append(value)
            emit(Progress("run the file", min(start + self.batch, total), total, "images"))
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def fitted(self, column: str, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What the file's own preprocessing makes of images [N,C,H,W] for a column: [N,C,h,w]."""
        names = Names.of(self.columns)
        value = "fitted" if names.alone else f"{column}.fitted"
        given: dict[str, Array] = {names.inputs[column]: images}
        for name, one in self.columns.items():
            if one.is_input and name != column:
                given[names.inputs[name]] = np.zeros((len(images), *one.shape), one.dtype)
        pixels: NDArray[np.uint8] = self._with_fitted.run([value], given)[0]
        return pixels

    @cached_property
    def _all_cores(self) -> onnxruntime.InferenceSession:
        return self.session()

    @cached_property
    def _with_fitted(self) -> onnxruntime.InferenceSession:
        names = [name for name, one in self.columns.items() if isinstance(one, Image)]
        alone = Names.of(self.columns).alone
        return self.session(also=["fitted" if alone else f"{name}.fitted" for name in names])


@dataclass(frozen=True)
class _Opened:
    """An ONNX file that is opened when it is first needed; pickled or copied, it is its path and
    what was found there, so that each process opens its own."""

    path: Path
    threads: int | None = None
    known: Checked | None = field(default=None, repr=False, compare=False)

    @cached_property
    def file(self) -> OnnxFile:
        """The file, checked. Raises as :meth:`OnnxFile.open`."""
        return OnnxFile.open(self.path, self.known)

    def __getstate__(self) -> dict[str, Any]:
        known = self.file.checked if "file" in vars(self) else self.known
        return {"path": Path(self.path).absolute(), "threads": self.threads, "known": known}


class OnnxProvider(_Opened):
    """Logits by ONNX Runtime, an operator by so many ``threads``."""

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        """The file in ONNX Runtime. Raises as :meth:`OnnxFile.session`."""
        return self.file.session(self.threads)

    def __call__(self, images: NDArray[np.uint8], emit: Emit = silent) -> NDArray[np.float32]:
        """Raw logits float32 [N,K] for uint8 [N,C,H,W] of the network's own size."""
        found, size = [], self.file.batch
        for start in range(0, len(images), size):
            part = np.ascontiguousarray(images[start : start + size])
            found.append(self.session.run([LOGITS], {IMAGES: part})[0])
            emit(Progress("predict", start + len(part), len(images), "images"))
        return np.concatenate(found)


class OnnxOutputs(_Opened):
    """The outputs of a network of several inputs or targets by ONNX Runtime."""

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs float32 [N,K] by target for inputs by name."""
        found = self.file.outputs(inputs)
        return {name: found[end] for name, end in Names.of(self.file.columns).outputs.items()}


def load_onnx(path: str | Path, threads: int | None = None) -> Predictor:
    """The classifier that an ONNX file of ``convscope export`` is, without PyTorch; ``threads``
    compute an operator, all cores if that is None. Pickled, it is the path of its file, which each
    process opens by itself: as engines of many processes need it.

    Raises BadArgument as :meth:`OnnxFile.open`, and for a network of several inputs or targets.

    >>> load_onnx("runs/a/model.onnx").predict(["seven.png"])[0].label  # doctest: +SKIP
    '7'
    """
    provider = OnnxProvider(Path(path), threads)
    file = provider.file
    if len(file.columns) > 2:
        rule = "has several inputs or targets, and this needs one image and one class"
        raise BadArgument("FILE", path, rule, "convscope predict takes it, with a table")
    _ = provider.session  # what cannot be run is found here
    return Predictor.of(file.model, provider)


def predictor_of(
    path: str | Path,
    *,
    model: str | None = None,
    device: str = "auto",
    abstain: float | None = None,
    coverage: float | None = None,
    emit: Emit = silent,
) -> Predictor | RecordPredictor:
    """What predicts by an ONNX file, of any number of inputs and targets, for the options of
    ``convscope predict``; a Notice says what is not known of its answers. Raises BadArgument as
    :meth:`OnnxFile.open`, and for options that need the run."""
    needs = {"model": model, "abstain": abstain, "coverage": coverage}
    needs["device"] = None if device in ("auto", "cpu") else device
    for name, value in needs.items():
        if value is not None:
            rule = f"is for a run, and {path} is a file that was exported"
            raise BadArgument(name, value, rule, "leave it out, or name the run")
    outputs = OnnxOutputs(Path(path))
    several = len(outputs.file.columns) > 2
    found = RecordPredictor.of(outputs.file.model, outputs) if several else load_onnx(path)
    if (notice := found.calibration.notice("this file; export the run again")) is not None:
        emit(notice)
    return found


def is_file(path: str | Path) -> bool:
    """Whether a path is that of an ONNX file, not of a run."""
    return Path(path).suffix.lower() == ".onnx"


def largest_maps(model: onnx.ModelProto) -> int:
    """The bytes of the largest values that are there at once for an image: the four largest."""
    sizes = [1]
    weights = {one.name for one in model.graph.initializer}
    for value in model.graph.value_info:
        if value.name in weights:
            continue
        sides = [side.dim_value for side in value.type.tensor_type.shape.dim][1:]
        sizes.append(4 * int(np.prod(sides, dtype=np.int64)) if sides else 1)
    return sum(sorted(sizes)[-4:])


def _batch(model: onnx.ModelProto) -> int:
    """How many records are computed at once, so that their maps keep to ``MEMORY``."""
    return max(1, min(256, MEMORY // largest_maps(model)))


def _model(path: Path, content: bytes) -> onnx.ModelProto:
    """The model in the file, which has no other file and no operator of others. Raises
    BadArgument."""
    need("onnx")
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception as why:  # protobuf's own
        rule = f"is no ONNX file, or is damaged ({type(why).__name__})"
        raise BadArgument("FILE", path, rule, OURS) from None
    for tensor in _tensors(model.graph):
        if onnx.external_data_helper.uses_external_data(tensor):
            where = {one.key: one.value for one in tensor.external_data}.get("location", "")
            rule = f"keeps weights in another file ({where!r}), which is never opened"
            raise BadArgument("FILE", path, rule, "save it as one file")
    own = {"", "ai.onnx"}
    others = {node.domain for node in _nodes(model.graph)} - own
    if others or model.functions:
        rule = f"has operators that are not ONNX's own ({', '.join(sorted(others)) or 'functions'})"
        raise BadArgument("FILE", path, rule, "export the run again")
    return model


def _info(path: Path, model: onnx.ModelProto) -> dict[str, Any]:
    """What our metadata say, checked. Raises BadArgument."""
    text = {one.key: one.value for one in model.metadata_props}.get(METADATA)
    if text is None:
        rule = "is an ONNX file of another program: its metadata do not name classes and size"
        raise BadArgument("FILE", path, rule, OURS)
    try:
        info = json.loads(text)
        version = info["format_version"]
        if version != FORMAT_VERSION:
            rule = f"has format_version {version}, and this convscope reads {FORMAT_VERSION}"
            raise BadArgument("FILE", path, rule, "open it with the version that wrote it")
        run.checked_model(path, info["model"])
        if not isinstance(info["card"], str):
            raise ValueError("card is no text")
    except (ValueError, KeyError, TypeError, RunError) as why:
        if isinstance(why, BadArgument):
            raise
        raise BadArgument("FILE", path, f"is damaged (its metadata: {why})", OURS) from None
    return dict(info)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of subgraphs, too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every constant, those of nodes and subgraphs, too."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def need(*names: str) -> None:
    """Raise RunError, which names the extra, for a package that is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise RunError(f"ONNX files need {name}, which is not installed: {EXTRA}")
