"""The trained network of a run as a predictor whose logits PyTorch computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope import devices, run
from convscope.evaluation import calibration, conformal, metrics, predictions, selective
from convscope.events import Emit, silent
from convscope.models import store
from convscope.models.parts import Classifier
from convscope.predicting.inputs import Input
from convscope.predicting.predictor import Predictor
from convscope.run import RunFolder

LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


@dataclass(frozen=True)
class TorchProvider:
    """Logits by PyTorch. The weights are read when they are first needed; pickled or
    copied, it is the path of its run, so that each process reads its own."""

    place: RunFolder
    own: str | None = None  # the user's own file.py:ClassName
    device: str = "cpu"
    memory_format: torch.memory_format = torch.channels_last

    @cached_property
    def network(self) -> Classifier:
        """The network with its weights, on its device. Raises as :func:`load`."""
        return store.load(self.place, self.own).to(self.device)

    def __call__(self, images: NDArray[np.uint8], emit: Emit = silent) -> NDArray[np.float32]:
        """Raw logits float32 [N,K] for uint8 [N,C,H,W] of the network's own size, laid out as it
        was trained."""
        return predictions.logits_of(
            self.network,
            images,
            device=self.network.normalise.mean.device,
            memory_format=self.memory_format,
            emit=emit,
            stage="predict",
        )

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value for name, value in vars(self).items() if name != "network"}
        own = self.own and str(Path(self.own).absolute())
        return kept | {"place": RunFolder(self.place.path.absolute()), "own": own}


@dataclass(frozen=True)
class Trained(Predictor):
    """A trained network with its class names, its preprocessing, and what validation says of its
    answers."""

    logits: TorchProvider

    @property
    def network(self) -> Classifier:
        """The PyTorch module."""
        return self.logits.network

    def inputs(
        self,
        images: NDArray[np.uint8] | Tensor | Sequence[Any],
        invert: bool = False,
        emit: Emit = silent,
        digits: bool | None = False,
    ) -> list[Input]:
        """As for any predictor, and of a tensor like that of an array."""
        given = np.asarray(images) if isinstance(images, Tensor) else images
        return super().inputs(given, invert, emit, digits)


def load(
    path: str | Path,
    *,
    model: str | None = None,
    device: str = "cpu",
    abstain: float | None = None,
    coverage: float | None = None,
) -> Trained:
    """The trained network of a run on a ``device`` ("auto", "cpu", "cuda", ...); ``model`` names
    the user's own ``file.py:ClassName`` again, if it is one.

    ``abstain`` bounds the error of the answers that are not unsure, instead of the bound that the
    run has; with a ``coverage`` each prediction has a conformal set of classes that holds the right
    one at least as often. Both are found on the validation images, whose logits the run keeps.

    Raises RunError for a missing, cut or edited file, BadArgument where ``model`` is needed, the
    device is not there, or there are too few validation images for what is asked.
    """
    where = devices.of(device)
    place = run.find(Path(path))
    info = place.read_model()
    layout = LAYOUTS[info["preprocessing"].get("memory_format", "channels_last")]
    trained = Trained.of(info, TorchProvider(place, model, where, layout))
    _ = trained.network  # what is damaged is found here
    if abstain is None and coverage is None:
        return trained
    held = info["data"].get("val", 0)
    if abstain is not None:
        selective.check(abstain, held)
    if coverage is not None:
        conformal.check(coverage, held)
    logits, labels = calibration.read(place.validation, len(trained.classes))
    if abstain is not None:
        trained = replace(trained, calibration=trained.calibration.bounded(logits, labels, abstain))
    if coverage is not None:
        lowest = conformal.threshold(metrics.softmax(logits), labels, coverage)
        trained = replace(trained, set_threshold=lowest)
    return trained
