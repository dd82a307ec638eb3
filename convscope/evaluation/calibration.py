"""What validation says of a network's answers: how sure they are, which are unsure, and which
images look like nothing it was trained on; kept in ``model.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from convscope import files
from convscope.errors import RunError
from convscope.evaluation import metrics, selective
from convscope.evaluation.ood import OutOfDistribution, detector
from convscope.evaluation.scaling import Scaling, scale
from convscope.evaluation.selective import Selective
from convscope.events import Notice
from convscope.formatting import plural

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    Logits = Float[np.ndarray, "n k"]
    Probabilities = Float[np.ndarray, "n k"]
    Labels = Int[np.ndarray, " n"]
    Confidence = Float[np.ndarray, " n"]
    Flags = Bool[np.ndarray, " n"]


T = TypeVar("T", Selective, OutOfDistribution)


class Answers(NamedTuple):
    """Of each image: its probabilities ``p`` [n,k], after the temperature; its ``confidence`` [n],
    the top one, -1 for an image that is unlike those of training; whether it is that, and whether
    its answer is unsure, [n] each, None where that is not known."""

    p: Probabilities
    confidence: Confidence
    ood: Flags | None
    unsure: Flags | None


@dataclass(frozen=True)
class Calibration:
    """A temperature, why it is kept, from which top probability on an answer is not unsure, and
    what tells an image that is unlike those of training; None is what is not known."""

    temperature: float = 1.0
    scaling: Scaling | None = None
    selective: Selective | None = None
    ood: OutOfDistribution | None = None

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Calibration:
        """As a ``model.json`` keeps it, which lacks all but the temperature where the run is older,
        or has no validation split."""
        temperature = info["temperature"]
        scaling, abstain, ood = (info.get(key) for key in ("scaling", "abstain", "ood"))
        return cls(
            temperature,
            scaling and Scaling.of(scaling, temperature),
            abstain and _by_name(Selective, abstain),
            ood and _by_name(OutOfDistribution, ood),
        )

    def as_json(self) -> dict[str, Any]:
        """Its part of ``model.json``."""
        return {
            "temperature": self.temperature,
            "scaling": self.scaling and self.scaling.as_json(),
            "abstain": self.selective and asdict(self.selective),
            "ood": self.ood and asdict(self.ood),
        }

    def answers(self, logits: Logits) -> Answers:
        """What the network says of each image, and what is to be said of that."""
        p = metrics.softmax(logits, self.temperature)
        confidence: Confidence = p.max(axis=1)
        ood = unsure = None
        if self.ood is not None:
            ood = self.ood.flags(logits)
            confidence = np.where(ood, selective.NEVER, confidence)
        if self.selective is not None and self.selective.known:
            unsure = self.selective.unsure(confidence)
        return Answers(p, confidence, ood, unsure)

    def bounded(
        self, logits: Logits, labels: Labels, error: float, asked: bool = True
    ) -> Calibration:
        """The same with the threshold for another error, found on validation. Raises BadArgument
        where it is ``asked`` for, and there are too few images."""
        if asked:
            selective.check(error, len(labels))
        right = np.argmax(logits, axis=1) == labels
        found = selective.select(self.answers(logits).confidence, right, error, asked)
        return replace(self, selective=found)

    def notice(self, unknown: str) -> Notice | None:
        """What is to be told before answers are: that it is ``unknown`` which of them are unsure,
        or what the bound on their errors says of itself."""
        if self.selective is None:
            return Notice(f"which answers are unsure is not known of {unknown}")
        return self.selective.notice

    def measure(self, logits: Logits, labels: Labels) -> dict[str, Any]:
        """What ``metrics.json`` says of it on a split: the cross-entropy after the temperature; how
        many images are answered, and how many of them wrongly; how many look like nothing it was
        trained on. None is what is not known."""
        found, abstain, ood = self.answers(logits), None, None
        if found.unsure is not None and self.selective is not None:
            wrong = np.argmax(logits, axis=1) != labels
            abstain = {
                "error": self.selective.error,
                "threshold": self.selective.threshold,
                "answered": int((~found.unsure).sum()),
                "wrong": int((wrong & ~found.unsure).sum()),
            }
        if found.ood is not None:
            ood = {"flagged": int(found.ood.sum())}
        after = metrics.cross_entropy(logits, labels, self.temperature)
        return {"loss_calibrated": after, "abstain": abstain, "ood": ood}


def _by_name(kind: type[T], kept: Mapping[str, Any]) -> T:
    """A dataclass from the fields that a ``model.json`` keeps of it."""
    return kind(**{one.name: kept[one.name] for one in fields(kind)})


def calibrate(
    logits: Logits,
    labels: Labels,
    of_outliers: Sequence[Logits] | None,
    error: float,
    asked: bool,
) -> Calibration:
    """All of it from the logits and labels of the validation images, and the logits of each kind
    of :func:`~convscope.evaluation.ood.outliers`, if there are enough to make them of. ``asked``
    says whether the bound on the error is the user's own.

    >>> random = np.random.default_rng(0)
    >>> labels = random.integers(0, 3, 600)
    >>> logits = random.normal(size=(600, 3)) + 4 * np.eye(3)[labels]
    >>> found = calibrate(logits, labels, None, 0.05, True)
    >>> found.measure(logits, labels)["abstain"]["wrong"] <= 0.05 * 600
    True
    >>> Calibration.of(found.as_json()) == found
    True
    """
    scaling = scale(logits, labels)
    ood = None if of_outliers is None else detector(logits, of_outliers)
    found = Calibration(scaling.temperature, scaling, None, ood)
    return found.bounded(logits, labels, error, asked)


def write(path: Path, logits: Logits, labels: Labels) -> None:
    """Write the logits float32 [n,k] and labels of the validation images, from which every
    threshold follows."""
    from safetensors.numpy import save

    tensors: dict[str, np.ndarray] = {
        "logits": np.ascontiguousarray(logits, np.float32),
        "labels": np.ascontiguousarray(labels, np.int64),
    }
    files.write_whole(path, save(tensors))


def read(path: Path, k: int) -> tuple[Logits, Labels]:
    """Logits float32 [n,k] and labels [n] of the validation images, as :func:`write` left them, of
    ``k`` classes. Raises RunError, naming the file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    anew = "write it anew with: convscope eval RUN --split val"
    remedy = f"remove it, and {anew}"
    try:
        found = load(path.read_bytes())
        logits, labels = found["logits"], found["labels"]
    except FileNotFoundError:  # a run of an older version
        raise RunError(f"{path}: is not there; {anew}") from None
    except OSError as why:
        raise RunError(f"{path}: cannot be read ({why.strerror}); {remedy}") from None
    except (SafetensorError, KeyError) as why:
        raise RunError(f"{path}: is damaged ({why}); {remedy}") from None
    kinds = logits.dtype == np.float32 and labels.dtype == np.int64
    fits = kinds and labels.ndim == 1 and logits.shape == (len(labels), k)
    if not fits or not ((labels >= 0) & (labels < k)).all() or not np.isfinite(logits).all():
        rule = f"no finite logits [n,{k}] and labels [n] of {plural(k, 'class', 'classes')}"
        raise RunError(f"{path}: is damaged ({rule}); {remedy}")
    return logits, labels
