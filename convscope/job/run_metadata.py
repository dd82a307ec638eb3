"""What the run folder says: what a run was begun as, what its network is, how it did."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from convscope import files, machine, models, run
from convscope.data.pack import Pack
from convscope.errors import DataError, RunError
from convscope.evaluation import targets
from convscope.evaluation.calibration import Calibration
from convscope.evaluation.targets import main_target
from convscope.job.prepare import Job
from convscope.models import store
from convscope.run import RunFolder
from convscope.training.checkpoint import Position


def begin(job: Job, place: RunFolder) -> None:
    """Write ``split.json``, or hold the job against the one that a resumed run was begun as.

    Raises DataError or RunError where that was with other data, another recipe or another source
    file.
    """
    files.clear_unfinished(place.path)
    pack, recipe = job.pack, job.recipe
    begun = {
        "format_version": run.FORMAT_VERSION,
        "seed": recipe.data.split_seed,
        "fingerprint": pack.fingerprint,
        "digest": pack.digest,
        "recipe_sha256": files.sha256(place.recipe),
        "source_sha256": _architecture(job).get("source_sha256"),
        "start_sha256": job.weights and job.weights.sha256,
        "train": len(job.loader.indices),
        "val": job.val.tolist(),
    }
    if recipe.data.share < 1:
        begun["learnt"] = job.loader.indices.tolist()
    if not place.split.exists():
        files.write_json(place.split, begun)
        return
    before = place.read_split()
    same_data(pack, before["fingerprint"])
    for key, what in (
        ("recipe_sha256", f"{place.recipe} was edited"),
        ("source_sha256", f"{recipe.model.name} was edited"),
        ("start_sha256", f"the weights of {recipe.train.start} were changed"),
        ("digest", f"the images of {pack.name} are in another order"),
        ("val", "the validation split is another"),
    ):
        if before.get(key) != begun[key]:
            raise RunError(
                f"{place.path}: cannot go on as it was begun: {what} since; put it back as it "
                "was, or train anew into another folder"
            )


def same_data(pack: Pack, wanted: str) -> None:
    """Raise DataError unless the data are those that a run was made with."""
    if pack.fingerprint != wanted:
        raise DataError(
            f"{pack.name}: has fingerprint {pack.fingerprint[:12]}, and the run was made with "
            f"{wanted[:12]}; put that data back"
        )


def _architecture(job: Job) -> dict[str, Any]:
    model = job.recipe.model
    return store.architecture(
        model.name, dict(model.arguments), job.pack.columns, model.shared_trunk
    )


def save_model(
    job: Job, place: RunFolder, calibration: Calibration, temperatures: Mapping[str, float]
) -> None:
    """Write the weights and ``model.json``."""
    pack, asked = job.pack, job.recipe
    image = pack.main_image
    several = len(pack.columns) > 2
    own = ["--model", asked.model.name] if models.is_own(asked.model.name) else []
    info = {
        "format_version": run.FORMAT_VERSION,
        "architecture": _architecture(job),
        "classes": list(pack.main_classes),
        "preprocessing": {
            "channels": image.channels,
            "size": list(image.size),
            "fit": image.fit,
            "memory_format": asked.train.memory_format,
            "scale": "uint8 / 255; mean and standard deviation are the network's first layer",
        },
        **calibration.as_json(),
        **({"temperatures": dict(temperatures)} if several else {}),
        "start": job.weights and {"from": job.weights.said, "sha256": job.weights.sha256},
        "parameters": sum(p.numel() for p in job.model.parameters()),
        "versions": machine.versions(),
        "machine": machine.describe(),
        "data": {
            "name": pack.name,
            "fingerprint": pack.fingerprint,
            "train": len(job.loader.indices),
            "val": len(job.judged),
            "test": len(pack.splits["test"]),
            **({"learnt_from_val": True} if job.learnt_from_val else {}),
        },
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["convscope", "train", "--recipe", str(place.recipe), *own]),
    }
    store.save(place, job.model, info)


def write_metrics(
    job: Job,
    place: RunFolder,
    found: Mapping[str, NDArray[Any]],
    calibration: Calibration,
    temperatures: Mapping[str, float],
    eval_seconds: float,
    at: Position,
    forgetting: Mapping[str, Any] | None,
) -> None:
    """Write ``metrics.json``: what the outputs for the test records say, and how long it took."""
    pack = job.pack
    truth, main = pack.splits["test"].targets, main_target(pack.columns)
    trained = sum(row["seconds"] for row in at.history)
    learnt = sum(row["seconds"] * row["images_per_second"] for row in at.history)  # images
    files.write_json(
        place.metrics,
        {
            "split": "test",
            **targets.figures(pack.columns, found, truth, temperatures),
            **calibration.measure(found[main], truth[main]),
            "duplicates": job.duplicates.as_json(found[main].argmax(axis=1) == truth[main]),
            "test_looks": 1,
            "train_seconds": at.train_seconds,
            "eval_seconds": eval_seconds,
            "images_per_second": learnt / trained,
            **({"start_kept": True} if at.start_kept else {}),
            **({"ended_at_step": at.ended_at} if at.ended_at else {}),
            **({"forgetting": forgetting} if forgetting else {}),
        },
    )
