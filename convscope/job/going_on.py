"""A run that goes on: with new classes besides its own, or further, by its own recipe, on its data,
without the records that it held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from convscope import run
from convscope.data.pack import Pack
from convscope.errors import BadArgument, DataError, RunError
from convscope.formatting import listed
from convscope.job.prepare import Job
from convscope.job.run_metadata import same_data
from convscope.models.pretrained import NAMED
from convscope.recipe import Recipe, options
from convscope.recipe.rules import checked
from convscope.run import RunFolder

SLOWER = 0.1  # times the learning rate of the run


def further(start: str | None, more_epochs: int) -> RunFolder:
    """The run that is trained further. Raises BadArgument where none is named, RunError where it
    is not finished."""
    checked("more_epochs", more_epochs, options()["epochs"])
    if start is None:
        rule = "needs the run that goes on"
        raise BadArgument("more_epochs", more_epochs, rule, "name it: --from RUN (start=RUN)")
    place = run.find(Path(start))
    if why := place.unfinished():
        raise RunError(why)
    return place


def with_classes(typed: Mapping[str, Any]) -> dict[str, Any]:
    """What is typed, for a run that goes on with new classes besides its own: with its last layer.
    Raises BadArgument where no run is named, or that layer is to be new."""
    if typed.get("start") is None:
        rule = "needs the run that knows the other classes"
        raise BadArgument("add_class", True, rule, "name it: --from RUN (start=RUN)")
    if typed.get("last_layer") == "new":
        rule = "is not used with add_class, which keeps the rows of what the run knew"
        raise BadArgument("last_layer", "new", rule, "leave one of them out")
    return {**typed, "last_layer": "kept"}


def under(kept: Recipe) -> Recipe:
    """What a run's recipe says of a training that goes on from it, under what is typed."""
    return replace(kept, claim=None, train=replace(kept.train, steps=0))


def onward(asked: Recipe, kept: Recipe) -> Recipe:
    """The recipe of a training that goes on from a run of the recipe ``kept``: all of its weights
    at a tenth of its learning rate, the best on validation kept; but for what is typed. Raises
    BadArgument for other data, or another network, than the run's."""
    for key, origin in asked.origin.items():
        section, name = key.split(".", 1)
        if origin != "typed" or section not in ("data", "model"):
            continue
        new, old = (_value(getattr(one, section), name) for one in (asked, kept))
        if new != old:
            rule = f"is not what the run has that goes on ({old})"
            remedy = "leave it out, or begin from the run without --continue"
            raise BadArgument(section if name == "name" else name, new, rule, remedy)
    assert asked.train.lr is not None
    norm = kept.train.batch_norm if kept.train.started else "learning"
    values: dict[str, Any] = {"last_layer": "kept", "batch_norm": norm, "keep": "accuracy"}
    values |= {"lr": asked.train.lr * SLOWER}
    free = {n: v for n, v in values.items() if asked.origin.get(f"train.{n}") != "typed"}
    return asked.measured(**free)


def _value(section: Any, name: str) -> Any:
    found = getattr(section, name, None)
    if found is None:
        found = section.arguments.get(name)
    return tuple(found) if isinstance(found, list) else found


def adding(job: Job) -> Job:
    """The job of a run that has a class more. Raises BadArgument where it has none."""
    known, classes = job.weights.classes if job.weights else (), job.pack.main_classes
    if set(classes) <= set(known):
        rule = (
            "needs a class that the run does not have: the run has "
            f"{listed(known, NAMED)}; the data have {listed(classes, NAMED)}"
        )
        raise BadArgument("add_class", True, rule, "add its images, or leave it out")
    return job


def held_out(place: RunFolder, pack: Pack) -> list[int]:
    """Which training images a run held out for validation. Raises DataError where the data are not
    those it was made with, or are in another order."""
    before = place.read_split()
    same_data(pack, before["fingerprint"])
    if before["digest"] != pack.digest:
        raise DataError(
            f"{pack.name}: its images are in another order than when {place.path} was made, so "
            "that it cannot be told which of them that held out; put that copy back"
        )
    val: list[int] = before["val"]
    return val


def held_to(job: Job, val: list[int]) -> Job:
    """The job. Raises RunError where it holds out other images than these."""
    if job.val.tolist() != val:
        raise RunError(
            f"{job.recipe.train.start}: held out other images for validation than this version "
            "does, which would learn from some of them; train anew"
        )
    return job
