"""Run folder -> ``report.html``, the run in pictures, and ``README.md``, its model card."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from convscope import files
from convscope.errors import RunError
from convscope.evaluation.predictions_file import read_predictions
from convscope.insight.anatomy import Summary
from convscope.report.card import card
from convscope.report.inside import Look
from convscope.report.page import page
from convscope.report.run_files import read
from convscope.run import RunFolder


def write_report(
    folder: Path,
    *,
    test_images: np.ndarray | None,
    anatomy: Summary | str,
    look: Look | None = None,
    unseen: str = "",
) -> Path:
    """Write ``report.html`` from the files of a run folder, and give its path.

    ``test_images`` are uint8 [N,C,H,W] in the order of ``predictions.csv``; without them mistakes
    are listed in words. ``look`` looks into the network at the images that it is given, each for
    the class that it is given, as :func:`~convscope.insight.explain.overview` does; without it the
    page says ``unseen``, which is why. In the place of ``anatomy``, and of what ``look`` gives, may
    stand the reason that there is none. The same files and the same look give the same bytes.

    Raises RunError, naming the file and the remedy, where one is missing, damaged, or does not
    belong to the others.
    """
    run = read(folder)
    place = RunFolder(folder)
    rows = read_predictions(place.predictions)
    known = set(run.classes)
    if len(rows) != run.metrics["n"] or any({r.label, r.predicted} - known for r in rows):
        raise RunError(
            f"{place.predictions}: {len(rows)} rows that do not belong to the {run.metrics['n']} "
            f"images and {len(known)} classes of the other files; write it anew with: "
            "convscope eval RUN"
        )
    files.write_whole(place.report, page(run, rows, test_images, anatomy, look, unseen).encode())
    return place.report


def write_card(folder: Path) -> Path:
    """Write ``README.md``, the model card, from the files of a run folder, and give its path.

    Raises RunError, naming the file and the remedy, where one is missing or damaged.
    """
    run = read(folder)
    files.write_whole(RunFolder(folder).card, card(run).encode(errors="replace"))
    return RunFolder(folder).card
