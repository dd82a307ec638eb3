"""What validation says of a trained network's answers: temperature, what is unsure, or unlike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from convscope.data.columns import Class
from convscope.data.pack import Split
from convscope.evaluation import calibration, ood, scaling
from convscope.evaluation.calibration import Calibration
from convscope.evaluation.targets import main_target
from convscope.events import Notice
from convscope.formatting import plural
from convscope.job.prepare import Job
from convscope.run import RunFolder
from convscope.training.probe import FEW


def calibrate(
    job: Job, place: RunFolder, outputs_of: Callable[[Split], Mapping[str, NDArray[Any]]]
) -> tuple[Calibration, dict[str, float]]:
    """Judge validation, keep the logits of the leading target, say what follows from them; and the
    temperature of each target that is a class."""
    classes = [name for name, one in job.pack.targets.items() if isinstance(one, Class)]
    if not len(job.judged):
        job.emit(Notice("no validation split: probabilities are not calibrated", warning=True))
        return Calibration(), dict.fromkeys(classes, 1.0)
    main, held = main_target(job.pack.columns), job.judged
    outputs, truth = outputs_of(held), held.targets
    unlike = None
    if job.outliers:
        (image,) = held.inputs
        unlike = [
            outputs_of(replace(held, values={image: images}))[main]
            for images in ood.outliers(held.inputs[image], job.outliers)
        ]
    asked, error = job.recipe.asked("train.abstain"), job.recipe.train.abstain
    found = calibration.calibrate(outputs[main], truth[main], unlike, error, asked)
    if place.kept:
        calibration.write(place.validation, outputs[main], truth[main])
    if found.scaling is not None and found.scaling.n < scaling.FEWEST:
        job.emit(Notice(found.scaling.said))
    if found.selective is not None and (notice := found.selective.notice) is not None:
        job.emit(notice)
    if (notice := _too_good(job)) is not None:
        job.emit(notice)
    others = {n: scaling.scale(outputs[n], truth[n]).temperature for n in classes if n != main}
    return found, {main: found.temperature, **others}


def _too_good(job: Job) -> Notice | None:
    """That new images may be answered worse than those of validation, if training used these."""
    why, copies = [], job.duplicates.val_in_train
    if job.recipe.train.early_stopping:
        why.append("early stopping chose the weights by it")
    elif job.recipe.train.keeps_best:
        why.append("the weights are those of the epoch that was best on it")
    elif job.head is not None and len(job.judged) >= FEW:
        why.append("the penalty of the last layer was chosen by it")
    if copies:
        of = "of its images is a training image", "of its images are training images"
        why.append(f"{plural(copies, *of)}, too")
    said = "what validation says of the answers is likely too good: "
    return Notice(said + " and ".join(why), warning=bool(copies)) if why else None
