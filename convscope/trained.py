"""The trained network of a run as a predictor whose logits PyTorch computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convscope import devices, run
from convscope.data.columns import of_model
from convscope.engine import tuned_network
from convscope.errors import BadArgument, ImageError
from convscope.evaluation import calibration, conformal, metrics, predictions, selective
from convscope.events import Emit, silent
from convscope.models import store, surgery
from convscope.models.parts import Classifier
from convscope.predicting import onnx_file
from convscope.predicting.inputs import Input
from convscope.predicting.predictor import Predictor
from convscope.predicting.records import RecordPredictor
from convscope.run import RunFolder

P = TypeVar("P", "Trained", RecordPredictor)

MANY = 1000  # images that are worth compiled kernels
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


@dataclass(frozen=True)
class _Weights:
    """Those of a run, which are read when they are first needed; pickled or copied, it is the path
    of the run, so that each process reads its own."""

    place: RunFolder
    own: str | None = None  # the user's own file.py:ClassName
    device: str = "cpu"
    memory_format: torch.memory_format = torch.channels_last

    def __getstate__(self) -> dict[str, Any]:
        loaded = ("network", "engine")
        kept = {name: value for name, value in vars(self).items() if name not in loaded}
        own = self.own and str(Path(self.own).absolute())
        return kept | {"place": RunFolder(self.place.path.absolute()), "own": own}


@dataclass(frozen=True)
class TorchProvider(_Weights):
    """Logits by PyTorch; from ``MANY`` images on by the network as it was judged, with the
    machine's compiled kernels, which take a moment to load."""

    seen: list[int] = field(default_factory=list, compare=False, repr=False)  # images a call

    @cached_property
    def network(self) -> Classifier:
        """The network with its weights, on its device. Raises as :func:`load`."""
        return store.load(self.place, self.own).to(self.device)

    @cached_property
    def engine(self) -> nn.Module:
        """The network as it is run here: see :func:`~convscope.engine.tuned_network.engine`."""
        asked = self.place.read_recipe().train
        algorithms = asked.kernels if self.device == "cpu" else "plain"
        return tuned_network.engine(self.network, algorithms, asked.precision)

    def __call__(self, images: NDArray[np.uint8], emit: Emit = silent) -> NDArray[np.float32]:
        """Raw logits float32 [N,K] for uint8 [N,C,H,W] of the network's own size, laid out as it
        was trained."""
        self.seen[:] = [sum(self.seen) + len(images)]
        return predictions.logits_of(
            self.engine if self.seen[0] >= MANY else self.network,
            images,
            device=self.network.normalise.mean.device,
            memory_format=self.memory_format,
            emit=emit,
            stage="predict",
        )


@dataclass(frozen=True)
class TorchOutputs(_Weights):
    """The outputs of a network of several inputs or targets by PyTorch."""

    @cached_property
    def network(self) -> nn.Module:
        """The network with its weights, on its device. Raises as :func:`load`."""
        return store.load_network(self.place, self.own).to(self.device)

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Outputs float32 [N,K] by target for inputs by name."""
        columns = of_model(self.place.read_model())
        return predictions.outputs(
            self.network,
            inputs,
            [name for name, one in columns.items() if not one.is_input],
            device=self.device,
            memory_format=self.memory_format,
        )


@dataclass(frozen=True)
class Trained(Predictor):
    """A trained network with its class names, its preprocessing, and what validation says of its
    answers."""

    logits: TorchProvider

    @property
    def network(self) -> Classifier:
        """The PyTorch module."""
        return self.logits.network

    def read(
        self,
        images: NDArray[np.uint8] | Tensor | Iterable[Any],
        invert: bool = False,
        emit: Emit = silent,
        digits: bool | None = False,
    ) -> Iterator[list[Input]]:
        """As for any predictor, and of a tensor like that of an array."""
        given = np.asarray(images) if isinstance(images, Tensor) else images
        return super().read(given, invert, emit, digits)

    def embed(
        self,
        images: NDArray[np.uint8] | Tensor | Sequence[Any],
        invert: bool = False,
        emit: Emit = silent,
    ) -> NDArray[np.float32]:
        """What the last layer gets of each image, float32 [N,F]; ``images`` as for ``predict``.

        Raises ImageError for an image that cannot be read, BadArgument for a network whose logits
        no linear layer gives.
        """
        network = surgery.backbone(self.network)
        if network is None:
            rule = "gives its logits by a convolution, so that there are no features before them"
            raise BadArgument("run", self.logits.place.path, rule, "cut(model, LAYER) gives maps")
        found = self.inputs(images, invert, emit)
        if unread := next((one for one in found if one.pixels is None), None):
            raise ImageError(unread.name, str(unread.error), "leave it out")
        return predictions.logits_of(
            network,
            np.stack([one.pixels for one in found if one.pixels is not None]),
            device=network.normalise.mean.device,
            memory_format=self.logits.memory_format,
            emit=emit,
            stage="embed",
        )


def load(
    path: str | Path,
    *,
    model: str | None = None,
    device: str = "cpu",
    abstain: float | None = None,
    coverage: float | None = None,
) -> Trained | RecordPredictor:
    """The trained network of a run on a ``device`` ("auto", "cpu", "cuda", ...), of several inputs
    or targets as a :class:`~convscope.predicting.records.RecordPredictor`; ``model`` names the
    user's own ``file.py:ClassName`` again, if it is one.

    ``abstain`` bounds the error of the answers that are not unsure, instead of the bound that the
    run has; with a ``coverage`` each prediction has a conformal set of classes that holds the right
    one at least as often. Both are found on the validation images, whose logits the run keeps.

    Raises RunError for a missing, cut or edited file; BadArgument where ``model`` is needed, the
    device is not there, or there are too few validation images for what is asked.
    """
    place, info, given = _opened(path, model, device)
    if "columns" not in info["architecture"]:
        trained = Trained.of(info, TorchProvider(*given))
        _ = trained.network  # what is damaged is found here
        return _held_to(trained, place, info, abstain, coverage)
    outputs = TorchOutputs(*given)
    _ = outputs.network
    return _held_to(RecordPredictor.of(info, outputs), place, info, abstain, coverage)


def load_classifier(path: str | Path, *, model: str | None = None, device: str = "cpu") -> Trained:
    """The trained network of a run as :func:`load` gives it, if it tells one class by one image;
    else RunError."""
    _, info, given = _opened(path, model, device)
    trained = Trained.of(info, TorchProvider(*given))
    _ = trained.network
    return trained


def _opened(
    path: str | Path, model: str | None, device: str
) -> tuple[RunFolder, dict[str, Any], tuple[RunFolder, str | None, str, torch.memory_format]]:
    """A run, its ``model.json``, and what its weights are read by."""
    if onnx_file.is_file(path):
        rule = "is a file that was exported, not a run"
        raise BadArgument("path", path, rule, "open it with convscope.load_onnx")
    where = devices.of(device)
    place = run.find(Path(path))
    info = place.read_model()
    layout = LAYOUTS[info["preprocessing"].get("memory_format", "channels_last")]
    return place, info, (place, model, where, layout)


def _held_to(
    predictor: P,
    place: RunFolder,
    info: dict[str, Any],
    abstain: float | None,
    coverage: float | None,
) -> P:
    """The same with the thresholds that keep to this error and coverage on validation."""
    if abstain is None and coverage is None:
        return predictor
    held = info["data"].get("val", 0)
    if abstain is not None:
        selective.check(abstain, held)
    if coverage is not None:
        conformal.check(coverage, held)
    logits, labels = calibration.read(place.validation, len(predictor.classes))
    if abstain is not None:
        bounded = predictor.calibration.bounded(logits, labels, abstain)
        predictor = replace(predictor, calibration=bounded)
    if coverage is not None:
        lowest = conformal.threshold(metrics.softmax(logits), labels, coverage)
        predictor = replace(predictor, set_threshold=lowest)
    return predictor


def embed(
    path: str | Path,
    images: NDArray[np.uint8] | Tensor | Sequence[Any],
    *,
    model: str | None = None,
    device: str = "cpu",
) -> NDArray[np.float32]:
    """What the last layer of a run's network gets of each image, float32 [N,F].

    Raises as :func:`load_classifier` and :meth:`Trained.embed`.

    >>> embed("runs/a", ["cat.jpg"]).shape  # doctest: +SKIP
    (1, 1280)
    """
    return load_classifier(path, model=model, device=device).embed(images)
