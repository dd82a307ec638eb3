"""`POST /predict`: image files in a body -> what the network says of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray

from convscope.data.decode import decode, head
from convscope.data.digits import SMALLEST
from convscope.errors import BadArgument, ImageError
from convscope.predicting.inputs import Input
from convscope.predicting.prediction import Prediction, string_of
from convscope.server.batching import Computed
from convscope.server.limits import Limits, Refusal

if TYPE_CHECKING:
    from convscope.server.repository import Model

PLAIN = ("", "application/octet-stream", "application/x-www-form-urlencoded")  # the last: curl's
FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass
class Upload:
    """The images of a request to `/predict`, and what it asks of them: ``top`` labels each, dark
    and light swapped, digits cut out of photographs (see :meth:`Predictor.predict`)."""

    model: Model
    limits: Limits
    body: bytes
    content_type: str
    top: int = 5
    invert: bool = False
    digits: bool | None = None
    inputs: list[Input] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes to read."""
        return len(self.body)

    def read(self) -> NDArray[np.uint8]:
        """The images as the network takes them. Raises Refusal where none can be read."""
        parts = files_of(self.body, self.content_type, self.limits.images)
        problem: Exception | None = None
        for name, data in parts:
            try:
                found = self._inputs(data, name)
            except BadArgument as why:
                raise Refusal(400, "argument", str(why)) from None
            except (ImageError, Refusal) as why:
                problem = problem or why
                said = why.message if isinstance(why, Refusal) else f"{why.problem}; {why.remedy}"
                found = [Input(name, None, said)]
            self.inputs += [one._replace(name=name) for one in found]
        self.body = b""
        if len(self.inputs) > self.limits.images:
            raise _too_many(self.limits.images)
        pixels = [one.pixels for one in self.inputs if one.pixels is not None]
        if not pixels:
            if isinstance(problem, Refusal):
                raise problem
            first = self.inputs[0]
            raise Refusal(422, "image", f"{first.name or 'the image'}: {first.error}")
        return np.stack(pixels)

    def _inputs(self, data: bytes, name: str) -> list[Input]:
        """What an image gives: the one preprocessing, without what the predictor does for lists of
        anything; what may be a photograph of digits goes there."""
        predictor = self.model.predictor
        side = _shorter_side(data, name, self.limits)
        if self.digits or (self.digits is None and side >= SMALLEST):
            return predictor.inputs([data], self.invert, digits=self.digits)
        pixels = decode(
            data,
            channels=predictor.channels,
            size=predictor.size,
            fit=predictor.fit,
            invert=self.invert,
            name=name or None,
        )
        return [Input(name, pixels)]

    def answer(self, computed: Computed, rows: slice) -> bytes:
        """JSON: of one image its prediction, of several a list ``results``; of a photograph of
        digits that and their ``text``."""
        found = iter(computed.predictions[rows])
        predictions = [
            Prediction((), error=one.error) if one.pixels is None else next(found)
            for one in self.inputs
        ]
        results = [one.as_json() for one in predictions]
        for said, given in zip(results, self.inputs, strict=True):
            said["file"], said["top"] = given.name, said["top"][: self.top]
            if given.box is not None:
                said["box"] = list(given.box)
        whole: dict[str, Any] = {"model": self.model.name, "version": self.model.version}
        if len(results) == 1:
            return json.dumps(whole | results[0]).encode()
        whole["results"] = results
        if all(one.box for one in self.inputs):
            whole["text"] = string_of(predictions)
        return json.dumps(whole).encode()


def upload_of(model: Model, query: bytes, content_type: str, body: bytes, limits: Limits) -> Upload:
    """The request of a query string and a body. Raises Refusal."""
    asked = Upload(model, limits, body, content_type)
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=9):
        if name == "top":
            if not value.isascii() or not value.isdigit() or not 1 <= int(value[:5]) <= 1000:
                raise Refusal(400, "argument", f"top={value}: must be from 1 to 1000; try top=5")
            asked.top = int(value[:5])
        elif name in ("invert", "digits"):
            if value.lower() not in FLAGS:
                raise Refusal(400, "argument", f"{name}={value}: must be true or false")
            setattr(asked, name, FLAGS[value.lower()])
        elif name != "model":
            rule = "is no argument; there are model, top, invert and digits"
            raise Refusal(400, "argument", f"{name}: {rule}")
    return asked


def files_of(body: bytes, content_type: str, most: int) -> list[tuple[str, bytes]]:
    """The files in a body by their names: one without a name, or those of a form. Raises
    Refusal."""
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    if kind == "multipart/form-data":
        found = _parts(body, parameters, most)
        if not found:
            raise Refusal(400, "multipart", "the form has no part; send an image as one")
        return found
    if kind in PLAIN or kind.startswith("image/"):
        return [("", body)]
    text = f"a body of {kind} is no image; send the bytes of a file, or a form of such files"
    raise Refusal(415, "content_type", text)


def _shorter_side(data: bytes, name: str, limits: Limits) -> int:
    """The shorter side of an image, by its head, which is looked at once. Raises Refusal where it
    claims too many pixels, and ImageError for what is no image."""
    height, width = head(data, name or "the image").size
    if height * width > limits.pixels:
        text = f"claims {width} x {height} pixels, more than {limits.pixels:,}; make it smaller"
        raise Refusal(413, "pixels", f"{name or 'the image'}: {text}", limits.pixels)
    return min(height, width)


def _parts(body: bytes, parameters: str, most: int) -> list[tuple[str, bytes]]:
    """The parts of a form and the names of their files, in memory."""
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    boundary = parse_options_header(f"a;{parameters}")[1].get(b"boundary")
    if not boundary:
        raise Refusal(400, "multipart", "the Content-Type of the form names no boundary")
    found: list[tuple[str, bytes]] = []
    headers: dict[bytes, bytes] = {}
    key, value, data = bytearray(), bytearray(), bytearray()

    def begin() -> None:
        if len(found) >= most:
            raise _too_many(most)
        headers.clear()

    def header() -> None:
        headers[bytes(key).lower()] = bytes(value)
        key.clear()
        value.clear()

    def end() -> None:
        said = parse_options_header(headers.get(b"content-disposition", b""))[1]
        name = said.get(b"filename", said.get(b"name", b""))
        found.append((name.decode("utf-8", "replace"), bytes(data)))
        data.clear()

    ended = False

    def over() -> None:
        nonlocal ended
        ended = True

    callbacks: Mapping[str, Any] = {
        "on_part_begin": begin,
        "on_header_field": lambda came, a, b: key.extend(came[a:b]),
        "on_header_value": lambda came, a, b: value.extend(came[a:b]),
        "on_header_end": header,
        "on_part_data": lambda came, a, b: data.extend(came[a:b]),
        "on_part_end": end,
        "on_end": over,
    }
    try:
        parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except FormParserError as why:
        raise Refusal(400, "multipart", f"the form is damaged: {why}") from None
    if not ended:
        raise Refusal(400, "multipart", "the form is cut short: its last boundary is missing")
    return found


def _too_many(most: int) -> Refusal:
    return Refusal(413, "images", f"there are more than {most:,} images; send fewer at once", most)
