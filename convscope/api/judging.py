"""Judge a run's network on a split of its data, and two against each other."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope import devices, files, machine, run
from convscope.api.arguments import draw, figure_path
from convscope.api.results import Evaluation
from convscope.data import duplicates
from convscope.data.pack import Pack, Split
from convscope.data.sources import of_recipe
from convscope.data.split import part
from convscope.engine import tuned_network
from convscope.errors import BadArgument, DataError
from convscope.evaluation import calibration, predictions, selective, targets
from convscope.evaluation import compare as comparing
from convscope.evaluation.calibration import Calibration
from convscope.evaluation.compare import Comparison
from convscope.evaluation.predictions_file import write_predictions
from convscope.evaluation.targets import main_target
from convscope.events import Emit, Notice, silent
from convscope.insight import figures
from convscope.job.complete import write_pages
from convscope.job.run_metadata import same_data
from convscope.models import store
from convscope.run import RunFolder

OF_TRAINING = (
    "forgetting",
    "start_kept",
    "ended_at_step",
)  # figures that another look does not change


def evaluate(
    path: str | Path,
    split: str = "test",
    *,
    abstain: float | None = None,
    model: str | None = None,
    device: str = "auto",
    emit: Emit = silent,
) -> Evaluation:
    """The figures of a run on a split of its data, as ``metrics.json`` holds them, and ``run``.

    Each look at the test split is counted in ``metrics.json``, in the model card and in the report,
    which are written anew, as is ``predictions.csv``, before it is shown. ``abstain`` bounds the
    error of the answers that are not unsure; on the test split the run keeps it, and predictions go
    by it from then on. The logits of validation are written if they are not there. Raises
    BadArgument, RunError, and DataError where the data are not those the run was made with.
    """
    if split not in ("train", "val", "test"):
        raise BadArgument("split", split, "must be train, val or test", "try test")
    place = run.find(Path(path))
    kept, info, stored = place.read_recipe(), place.read_model(), place.read_metrics()
    network = store.load_network(place, model)
    pack = of_recipe(kept, emit)
    same_data(pack, info["data"]["fingerprint"])
    records = records_of(pack, place, split)
    if split == "val" and info["data"].get("learnt_from_val"):
        text = "in the end its last layer was fitted to these images, too: the figures are too good"
        emit(Notice(f"{place.path}: {text}", warning=True))
    began = time.perf_counter()
    where, layout = devices.of(device), tuned_network.FORMATS[kept.train.memory_format]
    calibrated, main = Calibration.of(info), main_target(pack.columns)
    with machine.at_work(kept.train.threads):
        network.to(where).to(memory_format=layout)
        algorithms = kept.train.kernels if where == "cpu" else "plain"
        engine = tuned_network.engine(network, algorithms, kept.train.precision)

        def outputs_of(records: Split) -> dict[str, NDArray[Any]]:
            return predictions.outputs(
                engine,
                records.inputs,
                pack.targets,
                batch_size=kept.train.eval_batch,
                device=where,
                memory_format=layout,
                emit=emit,
            )

        if abstain is not None:
            selective.check(abstain, info["data"].get("val", 0))
            if not place.validation.exists():  # a run of an older version
                held = records_of(pack, place, "val")
                calibration.write(place.validation, outputs_of(held)[main], held.targets[main])
            known = calibration.read(place.validation, len(pack.main_classes))
            calibrated = calibrated.bounded(*known, abstain)
            if calibrated.selective is not None and calibrated.selective.notice is not None:
                emit(calibrated.selective.notice)
        outputs = outputs_of(records)
    if split == "val" and not place.validation.exists():
        calibration.write(place.validation, outputs[main], records.targets[main])
    temperatures = info.get("temperatures") or {main: calibrated.temperature}
    found = {
        "split": split,
        **targets.figures(pack.columns, outputs, records.targets, temperatures),
        **calibrated.measure(outputs[main], records.targets[main]),
        "test_looks": place.read_metrics()["test_looks"] + (split == "test"),
        "train_seconds": stored["train_seconds"],
        "eval_seconds": time.perf_counter() - began,
        "images_per_second": stored["images_per_second"],
    }
    if split == "test":
        right = outputs[main].argmax(axis=1) == records.targets[main]
        found |= {name: stored[name] for name in OF_TRAINING if name in stored}
        found["duplicates"] = duplicates.found_in(pack).as_json(right)
        write_predictions(
            place.predictions,
            outputs,
            records.targets,
            pack.columns,
            temperatures,
            names=pack.splits["test"].files,
        )
        if abstain is not None:
            files.write_json(place.model, info | calibrated.as_json())
        files.write_json(place.metrics, found)  # from here on nothing keeps its figures back
        write_pages(place, network.cpu(), pack, emit)
    return Evaluation(run=str(place.path), **found)


def records_of(pack: Pack, place: RunFolder, split: str) -> Split:
    """A split as the run divided its data. Raises BadArgument, DataError."""
    whole = pack.splits.get(split)
    if whole is not None and split != "train":
        return whole
    begun = place.read_split()
    if begun["digest"] != pack.digest:
        raise DataError(
            f"{pack.name}: its images are in another order than when the run was made, so that "
            f"its {split} split cannot be told; put that copy back, or use the test split"
        )
    val = np.array(begun["val"], dtype=np.int64)
    if split == "val" and not val.size:
        raise BadArgument("split", split, "is empty: the run was trained with val=0", "try test")
    train = pack.splits["train"]
    learnt = begun.get("learnt", np.setdiff1d(np.arange(len(train)), val))
    return part(train, val if split == "val" else np.array(learnt, dtype=np.int64))


def compare(
    a: str | Path,
    b: str | Path,
    *,
    save: str | Path | None = None,
    show: int = 16,
    force: bool = False,
    emit: Emit = silent,
) -> Comparison:
    """Two runs on the test images that both judged, from ``predictions.csv`` and ``metrics.json``:
    the difference of their accuracies, B minus A, with its interval, whether it is more than
    chance, which classes and which images changed. The images are not looked at again.

    ``save`` draws the images that only one of the two gets right, the first ``show`` of each, from
    the data that A was made with. Raises BadArgument, RunError, and DataError for runs that were
    not judged on the same images.
    """
    if show < 1:
        raise BadArgument("show", show, "must be a whole number of at least 1", "try 16")
    path = None if save is None else figure_path(save, "changed.png", force, "save")
    found = comparing.compare(*(comparing.read(run.find(Path(folder))) for folder in (a, b)))
    if path is None:
        return found
    if not found.a_right + found.b_right:
        emit(Notice("both get the same images right, so that there is none to draw"))
        return found
    pack = of_recipe(run.find(Path(a)).read_recipe(), emit)
    same_data(pack, found.a.fingerprint)
    draw(figures.labelled_grids(_changed(found, pack.splits["test"], show)), path)
    return replace(found, figure=path)


def _changed(
    found: Comparison, test: Split, show: int
) -> list[tuple[str, NDArray[np.uint8], list[str]]]:
    """The images that only one of two runs gets right, each below its class, what the other takes
    it for, and how sure that one is. Raises DataError where one is not there by its name."""
    at = {name: i for i, name in enumerate(test.files or map(str, range(len(test))))}
    groups = []
    for right, wrong, rows in (("A", "B", found.a_right), ("B", "A", found.b_right)):
        shown = rows[:show]
        if gone := [row.file_or_index for row in shown if row.file_or_index not in at]:
            raise DataError(
                f"{gone[0]}: is no test image by that name any more; write its new name with: "
                f"convscope eval {found.a.path}, or leave save out"
            )
        if shown:
            surest = f", {wrong}'s {show:,} surest mistakes" if len(rows) > show else ""
            groups.append((
                f"Only {right} is right: {len(rows):,}{surest}",
                test.images[[at[row.file_or_index] for row in shown]],
                [f"{row.label}\nas {row.wrong}\n{row.sure} sure" for row in shown],
            ))  # fmt: skip
    return groups
