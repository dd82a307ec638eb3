"""A network in 8-bit integers: static quantisation (QDQ, weights by channel), by ONNX Runtime.

The last layer gives its logits in float32, so that no two classes are tied by rounding.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime import quantization
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType

from convscope.errors import ConvscopeError
from convscope.predicting.onnx_file import IMAGES, OnnxFile
from convscope.shipping.preprocessing import IR
from convscope.shipping.verify import LOST

CALIBRATED_ON, BATCH = 256, 32  # images, of the validation split
_OPERATORS = (
    *("Conv", "Gemm", "MatMul", "Add", "Concat", "Relu", "Clip"),
    *("MaxPool", "AveragePool", "GlobalAveragePool"),
)


@dataclass(frozen=True)
class Quantized:
    """How an int8 file does beside the float32 one: the accuracy of each on ``n`` test images, its
    bytes, its median milliseconds for one image on one core."""

    n: int
    accuracy: tuple[float, float]
    bytes: tuple[int, int]
    milliseconds: tuple[float, float]

    @property
    def ok(self) -> bool:
        """Whether it loses no more than it may."""
        return self.accuracy[0] - self.accuracy[1] <= LOST + 1e-12

    def as_json(self) -> dict[str, Any]:
        """``{n, float32: {accuracy, bytes, milliseconds}, int8: ...}``."""
        both = zip(self.accuracy, self.bytes, self.milliseconds, strict=True)
        keys = ("accuracy", "bytes", "milliseconds")
        each = [dict(zip(keys, values, strict=True)) for values in both]
        return {"n": self.n, "float32": each[0], "int8": each[1]}

    def __str__(self) -> str:
        one = [
            f"{accuracy:.2%} right, {size / 1e3:,.0f} kB, {took:.3f} ms an image"
            for accuracy, size, took in zip(
                self.accuracy, self.bytes, self.milliseconds, strict=True
            )
        ]
        return f"of {self.n:,} test images: float32 {one[0]}; int8 {one[1]}"


def quantized(file: OnnxFile, images: Sequence[Any] | NDArray[np.uint8]) -> onnx.ModelProto:
    """The file's network in int8, its ranges those that calibration images, uint8 [N,C,h,w],
    have; without metadata. Raises ConvscopeError for a network that cannot be quantised."""
    rows = np.unique(np.linspace(0, len(images) - 1, CALIBRATED_ON).round().astype(int))
    model = onnx.load_model_from_string(file.content)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        before, after = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(file.content)
        try:
            quantization.quantize_static(
                before,
                after,
                _Reader(np.asarray(images[rows])),  # type: ignore[call-overload]
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_OPERATORS),
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=[node.name for node in model.graph.node if _before(node)],
                extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
            )
        except Exception as why:  # the quantiser's own have no common base
            raise ConvscopeError(
                f"quantize=int8: {file.path} cannot be quantised ({type(why).__name__}: "
                f"{why!s:.200}); leave it out"
            ) from why
        found = onnx.load(after)
    found.ir_version = IR
    del found.metadata_props[:]
    return found


def compared(files: tuple[OnnxFile, OnnxFile], right: tuple[Any, Any]) -> Quantized:
    """Both files, float32 and int8, with which test images each gets ``right``, bool [n]."""
    accuracy = float(np.mean(right[0])), float(np.mean(right[1]))
    sizes = len(files[0].content), len(files[1].content)
    return Quantized(len(right[0]), accuracy, sizes, _milliseconds(files))


def _milliseconds(files: tuple[OnnxFile, OnnxFile]) -> tuple[float, float]:
    """The median time of one image on one core, the two in turn."""
    column = next(one for one in files[0].columns.values() if one.is_input)
    given: Mapping[str, Any] = {IMAGES: np.zeros((1, *column.shape), np.uint8)}
    sessions = [file.session(threads=1) for file in files]
    took: list[list[float]] = [[], []]
    for turn in range(60):
        for session, times in zip(sessions, took, strict=True):
            began = time.perf_counter()
            session.run(None, given)
            if turn >= 10:
                times.append(1e3 * (time.perf_counter() - began))
    return float(np.median(took[0])), float(np.median(took[1]))


def _before(node: onnx.NodeProto) -> bool:
    """Whether a node is of the preprocessing or the answer, which stay as they are."""
    return not any(one.key == "namespace" for one in node.metadata_props)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Calibration images, a batch at a time."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.batches = iter(images[start : start + BATCH] for start in range(0, len(images), BATCH))

    def get_next(self) -> dict[str, Any] | None:
        """The next batch, or None."""
        batch = next(self.batches, None)
        return None if batch is None else {IMAGES: batch}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drop what the quantiser logs by the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
