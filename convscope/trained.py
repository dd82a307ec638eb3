"""A trained network with all that goes with it, and what it makes of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from convscope import devices, run
from convscope.data import decode
from convscope.data.scan import find_images
from convscope.errors import BadArgument, ImageError
from convscope.evaluation import metrics, predictions
from convscope.events import Emit, Progress, silent
from convscope.models import store
from convscope.models.parts import Classifier

LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
UNSURE = 0.5  # a best guess below this probability is marked as unsure


@dataclass(frozen=True)
class Guess:
    """What a network makes of one image: labels and probabilities, the likeliest first."""

    top: tuple[tuple[str, float], ...]
    file: str = ""
    error: str | None = None

    @property
    def label(self) -> str:
        """The likeliest class; empty for an image that could not be read."""
        return self.top[0][0] if self.top else ""

    @property
    def p(self) -> float:
        """Its probability, after temperature scaling; 0 for an image that could not be read."""
        return self.top[0][1] if self.top else 0.0

    @property
    def unsure(self) -> bool:
        """Whether even the likeliest class has less than an even chance."""
        return self.error is None and self.p < UNSURE

    def as_json(self) -> dict[str, Any]:
        """``{file, top: [{label, p}], unsure, error}``."""
        top = [{"label": label, "p": p} for label, p in self.top]
        return {"file": self.file, "top": top, "unsure": self.unsure, "error": self.error}


@dataclass(frozen=True)
class Trained:
    """A trained network with its class names, preprocessing and temperature."""

    network: Classifier
    classes: tuple[str, ...]
    channels: int
    size: tuple[int, int]
    fit: str
    temperature: float
    memory_format: torch.memory_format = torch.channels_last

    def logits(
        self, images: NDArray[np.uint8], emit: Emit = silent, stage: str = "predict"
    ) -> NDArray[np.float32]:
        """Raw logits float32 [N,K] for uint8 [N,C,H,W] of the network's own size, laid out as it
        was trained."""
        return predictions.logits_of(
            self.network,
            images,
            device=self.network.normalise.mean.device,
            memory_format=self.memory_format,
            emit=emit,
            stage=stage,
        )

    def predict(
        self,
        images: NDArray[np.uint8] | Sequence[Any],
        top_k: int = 5,
        invert: bool = False,
        emit: Emit = silent,
    ) -> list[Guess]:
        """A guess an image.

        ``images`` is uint8 [N,C,H,W] or [N,H,W] of the network's own size, or any mix of paths,
        bytes, Pillow images and folders, which go through the one preprocessing. An image that
        cannot be read gets a guess that holds its ``error``; the others go on. Raises BadArgument
        for an array of another shape.
        """
        if top_k < 1:
            raise BadArgument("top_k", top_k, "must be a whole number of at least 1", "try 5")
        names, errors, pixels = self.fitted(images, invert, emit)
        readable = [p for p in pixels if p is not None]
        probabilities = np.empty((0, len(self.classes)))
        if readable:
            logits = self.logits(np.stack(readable), emit)
            probabilities = metrics.softmax(logits / self.temperature)
        rows = iter(probabilities)
        return [
            Guess(self._top(next(rows), top_k) if p is not None else (), name, error)
            for name, error, p in zip(names, errors, pixels, strict=True)
        ]

    def _top(self, row: NDArray[np.float64], k: int) -> tuple[tuple[str, float], ...]:
        best = np.argsort(-row, kind="stable")[:k]
        return tuple((self.classes[i], float(row[i])) for i in best)

    def fitted(
        self, images: Any, invert: bool = False, emit: Emit = silent
    ) -> tuple[list[str], list[str | None], list[NDArray[np.uint8] | None]]:
        """Names, errors and pixels uint8 [C,H,W] of each image, as :meth:`predict` gives them to
        the network."""
        if isinstance(images, np.ndarray | Tensor):
            array = np.asarray(images)
            array = array[:, None] if array.ndim == 3 else array
            wanted = (self.channels, *self.size)
            if array.dtype != np.uint8 or array.shape[1:] != wanted:
                raise BadArgument(
                    "images",
                    f"{array.dtype} {list(array.shape)}",
                    f"must be uint8 [N,{','.join(map(str, wanted))}]",
                    "give files or Pillow images, which are fitted",
                )
            array = 255 - array if invert else array
            return [str(i) for i in range(len(array))], [None] * len(array), list(array)
        alone = isinstance(images, str | Path | bytes | Image.Image)
        items = [item for given in ([images] if alone else images) for item in _expanded(given)]
        names = [
            item.name if isinstance(item, ImageError) else str(item) if _is_path(item) else str(i)
            for i, item in enumerate(items)
        ]
        errors: list[str | None] = []
        pixels: list[NDArray[np.uint8] | None] = []
        for done, (item, name) in enumerate(zip(items, names, strict=True)):
            try:
                if isinstance(item, ImageError):
                    raise item
                fitted = decode.decode(
                    item,
                    channels=self.channels,
                    size=self.size,
                    fit=self.fit,
                    invert=invert,
                    name=name,
                )
                pixels.append(fitted)
                errors.append(None)
            except ImageError as why:
                pixels.append(None)
                errors.append(f"{why.problem}; {why.remedy}")
            emit(Progress("read", done + 1, len(items), "images"))
        return names, errors, pixels


def load(path: str | Path, *, model: str | None = None, device: str = "cpu") -> Trained:
    """The trained network of a run on a ``device`` ("auto", "cpu", "cuda", ...); ``model`` names
    the user's own ``file.py:ClassName`` again, if it is one.

    Raises RunError for a missing, cut or edited file, BadArgument where ``model`` is needed, or the
    device is not there.
    """
    where = devices.of(device)
    place = run.find(Path(path))
    info = place.read_model()
    preprocessing = info["preprocessing"]
    return Trained(
        store.load(place, model).to(where),
        tuple(info["classes"]),
        preprocessing["channels"],
        tuple(preprocessing["size"]),
        preprocessing["fit"],
        info["temperature"],
        LAYOUTS[preprocessing.get("memory_format", "channels_last")],
    )


def _is_path(item: object) -> bool:
    return isinstance(item, str | Path)


def _expanded(given: Any) -> list[Any]:
    """A folder's images; whatever else as it is; what is not there as the error that it is."""
    if not _is_path(given):
        return [given]
    try:
        return list(find_images([Path(given)]))
    except ImageError as why:
        return [why]
