"""How far probabilities can be believed: before and after the temperature, which answers are
unsure, which images look like nothing the network was trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convscope.evaluation.calibration import Calibration
from convscope.evaluation.metrics import reliability
from convscope.evaluation.predictions_file import PredictionRow
from convscope.formatting import answers, decimals
from convscope.markup import esc, facts, note, table
from convscope.report.charts import reliability_chart
from convscope.report.run_files import RunFiles, percent, typeset


def html(run: RunFiles, rows: Sequence[PredictionRow]) -> str:
    """The section of the page."""
    confidence = np.array([row.p_predicted for row in rows], dtype=np.float64)
    right = np.array([row.label == row.predicted for row in rows])
    bins = reliability(confidence, right)
    m, temperature = run.metrics, run.model["temperature"]
    fitted = (
        f"after the temperature {temperature:.3f}, fitted on validation"
        if temperature != 1
        else "with temperature 1, which leaves the logits as they are"
    )
    figures = {
        "Calibration error (ECE)": percent(m["ece"]),
        "before temperature": percent(m["ece_raw"]),
        "Temperature": f"{temperature:.3f}",
    }
    said = (
        "Of the images that were given a probability of about 90\u202f%, nine in ten should be "
        "right: then a bar ends on the diagonal. The thin lines are 95\u202f% intervals; a bin of "
        f"few images says little. Shown are the probabilities {fitted}. ECE is the mean gap, over "
        "15 equal bins."
    )
    return (
        f'<div class="pair">{reliability_chart(bins)}<div>{facts(figures.items())}{note(said)}'
        "</div></div>\n" + _of_validation(run)
    )


def _of_validation(run: RunFiles) -> str:
    """What validation says of the answers, and how it held on the split that was judged; nothing
    for a run from before that was kept."""
    found, m = Calibration.of(run.model), run.metrics
    parts = []
    if found.scaling is not None and found.scaling.loss is not None and found.scaling.ece:
        lines = [("validation, cross-validated", *found.scaling.loss, *found.scaling.ece)]
        if (after := m.get("loss_calibrated")) is not None:
            lines.append((esc(m["split"]), m["loss"], after, m["ece_raw"], m["ece"]))
        parts.append(
            table(
                "temperature",
                "Before and after the temperature",
                ["split", "cross-entropy before", "after", "ECE before", "after"],
                [
                    (one, decimals(a), decimals(b), percent(c), percent(d))
                    for one, a, b, c, d in lines
                ],
                caption=True,
            )
        )
    sentences = [one.said for one in (found.scaling, found.selective, found.ood) if one is not None]
    told_of = f"Of the {m['split']} split "
    if m.get("abstain") is not None:
        sentences.insert(2, told_of + answers(m["abstain"], m["n"]))
    if m.get("ood") is not None:
        share = percent(m["ood"]["flagged"] / m["n"])
        sentences.append(f"{told_of}{share} look like nothing it was trained on")
    parts += [note(typeset(one[:1].upper() + one[1:]) + ".") for one in sentences]
    return "".join(parts)
