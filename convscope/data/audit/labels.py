"""Labels that are likely wrong: what a classifier says of images that it did not learn from, and
confident learning (Northcutt, Jiang and Chuang 2021, JAIR 70:1373) through cleanlab."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from convscope.data.audit.findings import Finding, entries
from convscope.data.audit.samples import Samples
from convscope.data.duplicates import Positions
from convscope.data.pack import Images, Labels
from convscope.errors import BadArgument, DataError
from convscope.events import Emit, Progress
from convscope.formatting import probability

FOLDS = 5
TOLD = 0.8  # share of labels that must be told for one of the others to be doubted
STRENGTH = 20.0  # C of the logistic regression for features of unit length

Vectors = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float64]
Embed = Callable[[Images], Vectors]  # uint8 [n,C,H,W] -> [n,d]


def need_libraries() -> None:
    """Raise BadArgument, which names the extra, where cleanlab or scikit-learn is not there."""
    try:
        import cleanlab.filter  # noqa: F401
        import sklearn.linear_model  # noqa: F401
    except ImportError as why:
        rule = f"needs a package that is not installed ({why.name or why})"
        remedy = "install it: pip install 'convscope[audit]'; or leave labels out"
        raise BadArgument("only", "labels", rule, remedy) from None


def embedded(samples: Samples, embed: Embed, emit: Emit) -> Vectors:
    """All images as vectors ``[N,d]``."""
    return np.concatenate(samples.each(embed, "describe the images", emit))


def out_of_fold(
    vectors: Vectors,
    labels: Labels,
    groups: Positions,
    classes: int,
    emit: Emit,
    *,
    folds: int = FOLDS,
    seed: int = 0,
) -> Probabilities:
    """The probabilities ``[N,classes]`` of logistic regressions, each of images that it did not
    learn from, nor from another one of their group.

    An image whose class is in no other fold keeps its label for certain: nothing is known of it.
    Raises DataError where there are too few images to learn from.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = np.zeros((len(labels), classes))
    counts = np.bincount(labels, minlength=classes)
    folds = min(folds, int(counts.max()), len(np.unique(groups)))
    if folds < 2 or np.count_nonzero(counts) < 2:
        raise DataError("too few images to judge labels by the others; add images")
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    strength = STRENGTH / vectors.shape[1]
    for done, (learnt, judged) in enumerate(_quietly(split.split, vectors, labels, groups), 1):
        if len(np.unique(labels[learnt])) < 2:
            raise DataError("too few images to judge labels by the others; add images")
        classifier = make_pipeline(
            StandardScaler(), LogisticRegression(C=strength, max_iter=200, tol=1e-3)
        )
        _quietly(classifier.fit, vectors[learnt], labels[learnt])
        known = classifier.classes_
        found[np.ix_(judged, known)] = classifier.predict_proba(vectors[judged])
        unknown = judged[~np.isin(labels[judged], known)]
        found[unknown] = np.eye(classes)[labels[unknown]]
        emit(Progress("judge each label by the others", done, folds, "folds"))
    return found


def _quietly(job: Callable[..., Any], *given: Any) -> Any:
    """What a job of scikit-learn gives, without its warnings of few images and of few steps."""
    with warnings.catch_warnings(action="ignore"):
        found = job(*given)
        return found if not hasattr(found, "__next__") else list(found)


def suspects(probabilities: Probabilities, labels: Labels) -> Positions:
    """Images whose label is likely wrong, the most suspicious first: as many as confident learning
    counts, by how little their own label is believed."""
    from cleanlab.filter import find_label_issues

    counted = _quietly(
        lambda: find_label_issues(
            labels,
            probabilities,
            filter_by="low_self_confidence",
            return_indices_ranked_by="self_confidence",
            n_jobs=1,
        )
    )
    return np.asarray(counted, np.int64)


def wrong(samples: Samples, probabilities: Probabilities) -> list[Finding]:
    """The images whose label is likely wrong, each with the class that it likely shows. Raises
    DataError where the labels of too many are not told for one of them to be doubted."""
    right = float((probabilities.argmax(axis=1) == samples.labels).mean())
    if right < TOLD:
        raise DataError(
            f"a classifier that did not learn from them tells only {right:.1%} of the labels, and "
            f"below {TOLD:.0%} it has no standing to doubt one"
        )
    found = []
    for at in suspects(probabilities, samples.labels).tolist():
        row, given = probabilities[at], int(samples.labels[at])
        likely = int(row.argmax())
        figures = {
            "suggested": samples.classes[likely],
            "p_suggested": float(row[likely]),
            "p_label": float(row[given]),
        }
        why = (
            f"{samples.classes[likely]} ({probability(row[likely])}) rather than "
            f"{samples.classes[given]} ({probability(row[given])})"
        )
        found.append(Finding(entries(samples, [at]), why, figures))
    return found
