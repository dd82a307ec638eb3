"""The Open Inference Protocol, version 2, over HTTP: tensors in JSON, or in bytes after it.

A request is JSON, or JSON of as many bytes as the header ``Inference-Header-Content-Length`` says
and the bytes of its tensors after it (the extension `binary_tensor_data`). See
https://github.com/open-inference/open-inference-protocol and Triton's `extension_binary_data.md`.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convscope.server.batching import Computed
from convscope.server.limits import Limits, Refusal

if TYPE_CHECKING:
    from convscope.server.repository import Model

INPUT, OUTPUTS = "images", ("probabilities", "logits")
HEADER_LENGTH = "inference-header-content-length"


class Answer(NamedTuple):
    """A body, and how many bytes of it are JSON where others follow."""

    body: bytes
    json_bytes: int | None


@dataclass
class Infer:
    """A request to `/infer`: a tensor ``images``, uint8 [N,C,H,W] of any N, H and W, and what is to
    be told of it, as bytes or not."""

    model: Model
    limits: Limits
    body: bytes
    json_bytes: int | None = None  # of the body; None is all of it
    id: str | None = None
    outputs: tuple[tuple[str, bool], ...] = ()
    top: int = 1  # no label is asked for

    @property
    def size(self) -> int:
        """Bytes to read."""
        return len(self.body)

    def read(self) -> NDArray[np.uint8]:
        """The tensor. Raises Refusal for whatever is not as the protocol and the network have
        it."""
        length = len(self.body) if self.json_bytes is None else self.json_bytes
        if not 0 <= length <= len(self.body):
            raise _wrong(f"{HEADER_LENGTH}: is more than the body has, {len(self.body):,} bytes")
        if length > self.limits.json_body:
            text = f"JSON of more than {self.limits.json_body:,} bytes; send tensors as bytes"
            raise Refusal(413, "json", text, self.limits.json_body)
        try:
            asked = json.loads(self.body[:length])
        except (ValueError, RecursionError) as why:
            raise _wrong(f"the body is no JSON ({why})") from None
        raw, self.body = self.body[length:], b""
        if not isinstance(asked, dict):
            raise _wrong("the body is no JSON object")
        self.id = _field(asked, "id", str, None)
        self.outputs = _outputs(asked)
        given = _field(asked, "inputs", list, [])
        if len(given) != 1 or not isinstance(given[0], dict) or given[0].get("name") != INPUT:
            raise _wrong(f"inputs: must be one tensor, {INPUT}")
        return self._tensor(given[0], raw)

    def _tensor(self, given: dict[str, Any], raw: bytes) -> NDArray[np.uint8]:
        if given.get("datatype") != "UINT8":
            raise _wrong(f"{INPUT}.datatype={given.get('datatype')!r}: must be 'UINT8'")
        shape, channels = given.get("shape"), self.model.predictor.channels
        whole = isinstance(shape, list) and all(type(n) is int and n > 0 for n in shape)
        if not isinstance(shape, list) or not whole or len(shape) != 4 or shape[1] != channels:
            rule = f"must be [N,{channels},H,W], whole numbers of at least 1"
            raise _wrong(f"{INPUT}.shape={shape}: {rule}")
        if shape[0] > self.limits.images:
            most = self.limits.images
            raise Refusal(413, "images", f"there are more than {most:,} images; send fewer", most)
        if shape[2] * shape[3] > self.limits.pixels:
            most = self.limits.pixels
            raise Refusal(413, "pixels", f"an image has more than {most:,} pixels", most)
        size = _field(_field(given, "parameters", dict, {}), "binary_data_size", int, None)
        if size is None:
            flat = _numbers(given.get("data"))
        elif size != len(raw):
            raise _wrong(f"binary_data_size={size}: {len(raw):,} bytes follow the JSON")
        else:
            flat = np.frombuffer(raw, np.uint8)
        if flat.size != math.prod(shape):
            raise _wrong(
                f"{INPUT}: has {flat.size:,} values, and its shape {shape} other than that"
            )
        return flat.reshape(shape)

    def answer(self, computed: Computed, rows: slice) -> Answer:
        """The response."""
        values = {"logits": computed.logits, "probabilities": computed.probabilities}
        outputs: list[dict[str, Any]] = []
        parts: list[bytes] = []
        for name, binary in self.outputs:
            found = values[name][rows]
            said: dict[str, Any] = {"name": name, "datatype": "FP32", "shape": list(found.shape)}
            if binary:
                parts.append(np.ascontiguousarray(found, "<f4").tobytes())
                said["parameters"] = {"binary_data_size": len(parts[-1])}
            else:
                said["data"] = found.ravel().tolist()
            outputs.append(said)
        head = {"model_name": self.model.name, "model_version": self.model.version}
        head |= {} if self.id is None else {"id": self.id}
        text = json.dumps({**head, "outputs": outputs}).encode()
        return Answer(b"".join([text, *parts]), len(text) if parts else None)


def metadata(model: Model) -> dict[str, Any]:
    """What `/v2/models/NAME` says."""
    predictor = model.predictor
    k = len(predictor.classes)
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, predictor.channels, -1, -1]}],
        "outputs": [{"name": name, "datatype": "FP32", "shape": [-1, k]} for name in OUTPUTS],
    }


def _outputs(asked: dict[str, Any]) -> tuple[tuple[str, bool], ...]:
    """Which outputs are asked for, and whether as bytes; all, if none is named."""
    parameters = _field(asked, "parameters", dict, {})
    binary = _field(parameters, "binary_data_output", bool, False)
    found = []
    for one in _field(asked, "outputs", list, [{"name": name} for name in OUTPUTS]):
        name = one.get("name") if isinstance(one, dict) else None
        if name not in OUTPUTS:
            raise _wrong(f"outputs: there are {' and '.join(OUTPUTS)}, and no {name!r}")
        own = _field(one, "parameters", dict, {})
        if other := set(own) & {"classification", "shared_memory_region"}:
            raise _wrong(f"outputs.{name}.{min(other)}: is not offered; leave it out")
        found.append((name, _field(own, "binary_data", bool, binary)))
    return tuple(found)


def _numbers(data: object) -> NDArray[np.uint8]:
    """The values of a tensor in JSON, nested or not, as one line."""
    try:
        found = np.asarray(data)
    except ValueError:  # lists of different lengths
        found = np.empty(0)
    if found.size and found.dtype.kind in "iu" and found.min() >= 0 and found.max() <= 255:
        return found.astype(np.uint8).ravel()
    raise _wrong(
        f"{INPUT}.data: must be whole numbers from 0 to 255, in a list or in lists of one length"
    )


def _field(table: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    """A field of a request, of its kind; the default where it is not there, or null."""
    value = table.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _wrong(f"{name}: is no {kind.__name__}")
    return value


def _wrong(message: str) -> Refusal:
    return Refusal(400, "request", message)
