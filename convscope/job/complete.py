"""From a tuned run to its report: training, judging, calibration, pages."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import nn

from convscope import files, report, webpage
from convscope.data.pack import Pack, Split
from convscope.data.split import part
from convscope.errors import RunError, text_of
from convscope.evaluation import paired
from convscope.evaluation.calibration import Calibration
from convscope.evaluation.predictions_file import write_predictions
from convscope.evaluation.targets import main_target
from convscope.events import Emit, Notice
from convscope.formatting import plural
from convscope.insight import anatomy
from convscope.job import ranked, run_metadata
from convscope.job.calibrate import calibrate
from convscope.job.prepare import Job
from convscope.models import pretrained
from convscope.models.parts import Classifier
from convscope.run import RunFolder
from convscope.training import losses, memory, sync_batch_norm
from convscope.training.checkpoint import Position
from convscope.training.loop import fit

if TYPE_CHECKING:
    from convscope.insight.explain import Overview

T = TypeVar("T")


def complete(job: Job, place: RunFolder) -> None:
    """Fit, judge and write everything; a stage that is already done is not done again.

    Raises DataError or RunError where the run was begun with other data, another recipe or another
    source file, RunError where another process is at work on it.
    """
    lock = FileLock(place.lock, timeout=2)  # who looks whether it is held holds it for a moment
    try:
        with lock:
            run_metadata.begin(job, place)
            _go_through(job, place)
    except Timeout:
        raise RunError(
            f"{place.path}: another process is training into it; wait for it or stop it"
        ) from None


def _go_through(job: Job, place: RunFolder) -> None:
    job, at = fitted(job, place)
    apart = job.head is None or not job.head.whole  # the ranks judge together
    judges = not place.metrics.exists()
    job.ranks.tell(judges and apart)
    if judges:
        _judge(job, place, at)
    write_pages(place, job.model.cpu(), job.pack, job.emit, job.limits.unseen)
    if job.limits.memory is not None:
        memory.trim()  # the end of a process that imported torch takes 120 MB once more


def fitted(job: Job, place: RunFolder) -> tuple[Job, Position]:
    """The job with its network trained, judged on validation after each epoch, and where it ended;
    the test split is not looked at."""
    counts = len(job.judged), job.finally_judged
    at = _begun(job)
    if job.head is not None and job.head.whole:
        job.emit(job.head.end)
        place.write_history(at.history)
    else:
        train, ranks, validate = job.recipe.train, job.ranks, functools.partial(_validated, job)
        at = fit(job.engine, job.loader, validate, train, place, job.emit, counts, at, ranks)
        sync_batch_norm.undo(job.model)
    place.stop.unlink(missing_ok=True)  # there is nothing more to end
    if at.start_kept:
        job.emit(Notice("no epoch is better on validation than what it began with: that is kept"))
        if job.head is not None:
            job = replace(job, head=job.head._replace(whole=True))
    if job.engine is not job.model:  # a buffer that forward put in another's place
        job.model.load_state_dict(job.engine.state_dict())
    return job, at


def follow(job: Job, place: RunFolder) -> None:
    """What the other ranks do of a job that rank 0 completes: their part of each batch, and of what
    is judged."""
    validate = functools.partial(_validated, job)
    fit(job.engine, job.loader, validate, job.recipe.train, place, job.emit, ranks=job.ranks)
    if job.ranks.tell():
        for split in (job.judged, job.pack.splits["test"]):
            if len(split):
                ranked.outputs(job, job.engine, split, "judge")


def _validated(job: Job, model: nn.Module) -> tuple[float | None, float | None]:
    """Loss and accuracy on validation, which all ranks judge and rank 0 tells."""
    if not len(job.judged):
        return None, None
    found = ranked.outputs(job, model, job.judged, "validate")
    told = None
    if job.ranks.leads:
        told = losses.judged(job.recipe.train, job.loader, found, job.judged.targets)
    loss, accuracy = job.ranks.tell(told)
    return loss, accuracy


def _begun(job: Job) -> Position:
    """Where a run stands before its first step; the whole of one that only fits its head."""
    if job.begins_judged:
        loss, accuracy = _validated(ranked.alone(job), job.engine)  # as yet, others have no weights
        return Position(best_loss=loss, best_accuracy=accuracy, best_epoch=-1)
    if job.head is None:
        return Position()
    end = job.head.end
    if job.head.whole:
        return Position(epoch=1, train_seconds=end.seconds, history=[asdict(end)])
    if not job.recipe.train.keeps_best:
        return Position()
    return Position(best_loss=end.val_loss, best_accuracy=end.val_accuracy, best_epoch=-1)


def _judged(job: Job, split: Split, stage: str) -> dict[str, NDArray[Any]]:
    """What the network gives of images: from features that are computed once, where these do not
    change."""
    head, tests = job.head, job.pack.splits.get("test")
    if head is None or not head.whole:
        together = split is job.judged or split is tests
        return ranked.outputs(job if together else ranked.alone(job), job.engine, split, stage)
    if split is tests:
        found = head.features("test")
    elif split is job.judged:
        found = (
            head.features("val") if "val" in job.pack.splits else head.features("train")[job.val]
        )
    else:
        found = head.of_images(split.main_images, stage)
    return {main_target(job.pack.columns): head.logits(found)}


def _forgetting(job: Job, found: NDArray[Any]) -> dict[str, Any] | None:
    """Where a run's last layer was kept and has new classes besides: how the test images of the old
    ones are told by that run, over its own classes, and by this one, over all. None elsewhere, and
    where there are no such images."""
    weights, classes = job.weights, job.pack.main_classes
    if weights is None or not job.adds_classes:
        return None
    target, test = main_target(job.pack.columns), job.pack.splits["test"]
    old = [classes.index(name) for name in weights.classes]
    chosen = np.flatnonzero(np.isin(test.targets[target], old))
    if not len(chosen):
        job.emit(Notice("forgetting is not measured: no test image is of a class that was known"))
        return None
    assert isinstance(job.model, Classifier)
    before = pretrained.restored(job.model, weights)
    told = ranked.outputs(ranked.alone(job), before, part(test, chosen), "judge the start")[target]
    labels, after = ([classes[i] for i in one[chosen]] for one in (test.targets[target], found))
    was = [weights.classes[i] for i in told.argmax(axis=1)]
    figures = paired.forgetting(labels, was, after, weights.classes)
    return {"from": weights.start, **figures}


def calibrated(job: Job, place: RunFolder) -> tuple[Job, Calibration, dict[str, float]]:
    """What validation says of the answers of the fitted network, and the temperature of each target
    that is a class; the job, whose fitted last layer may have learnt from validation since. The
    test split is not looked at."""

    def validate(split: Split) -> dict[str, NDArray[Any]]:
        return _judged(job, split, "validate")

    calibration, temperatures = calibrate(job, place, validate)
    if job.head is not None and job.head.whole and job.head.again is not None:
        job = replace(job, head=job.head.again())
        few = plural(len(job.judged), "image")
        job.emit(Notice(f"the {few} of validation are learnt from, too, now that they were judged"))
    return job, calibration, temperatures


def _judge(job: Job, place: RunFolder, at: Position) -> None:
    """Calibrate on validation, then look at the test split, once."""
    job, calibration, temperatures = calibrated(job, place)
    run_metadata.save_model(job, place, calibration, temperatures)
    began = time.perf_counter()
    test = job.pack.splits["test"]
    found = _judged(job, test, "judge")
    took = time.perf_counter() - began
    write_predictions(
        place.predictions, found, test.targets, job.pack.columns, temperatures, names=test.files
    )
    said = found[main_target(job.pack.columns)].argmax(axis=1)
    forgotten = _forgetting(job, said)
    run_metadata.write_metrics(job, place, found, calibration, temperatures, took, at, forgotten)


def write_pages(
    place: RunFolder, network: nn.Module, pack: Pack, emit: Emit, unseen: str = ""
) -> None:
    """The model card, the report and the summary, from the run's files and, unless ``unseen`` says
    why not, from a look into the network. What fails of it is a notice: the run is judged by
    then."""

    def looked(what: str, work: Callable[[], T]) -> T | str:
        try:
            return work()
        except Exception as why:  # a user's class may raise anything
            said = f"{what} could not be made: {text_of(why)}"
            emit(Notice(f"{place.path}: {said}", warning=True))
            return said

    sizes = [one.shape for one in pack.inputs.values()]
    found = looked(
        "the anatomy",
        lambda: anatomy.summarise(network, sizes, name=place.read_model()["architecture"]["name"]),
    )
    if not isinstance(network, Classifier):
        unseen = "Left out: the network has several inputs or targets."

    def look(images: NDArray[np.uint8], classes: Sequence[int]) -> Overview | str:
        from convscope.insight.explain import overview

        work = 0 if isinstance(found, str) else found.total.multiply_adds or 0
        count = len(pack.main_classes)
        assert isinstance(network, Classifier)
        return looked(
            "the look into the network",
            lambda: overview(network, images, classes, num_classes=count, work=work),
        )

    looked("the model card", lambda: report.write_card(place.path))
    if not isinstance(found, str):
        looked("the summary", lambda: files.write_whole(place.summary, found.html()))
    looked(
        "the report",
        lambda: report.write_report(
            place.path,
            test_images=pack.splits["test"].main_images,
            anatomy=found,
            look=None if unseen else look,
            unseen=unseen,
        ),
    )
    looked("links from page to page", lambda: webpage.link(place.pages))
