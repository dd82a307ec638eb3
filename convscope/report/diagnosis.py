"""How a training went, in sentences: pure functions of what is known of it.

A rule speaks only where the numbers are beyond what so many images allow, and is silent otherwise.
Each sentence holds its numbers, and comes with the rule that gave it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from convscope.data.duplicates import ALARM
from convscope.evaluation.metrics import wilson_interval
from convscope.formatting import plural
from convscope.report.evidence import Evidence, Finding, difference_interval, points, slope
from convscope.report.run_files import digits_for, percent

_GAP_RULE = (
    "training accuracy is gathered during the last epoch; the interval of the difference is "
    "Newcombe's (1998), for the two numbers of images"
)


def findings(seen: Evidence) -> list[Finding]:
    """Every sentence that the numbers support, the gravest first."""
    if not seen.history:
        return []
    return [found for rule in _RULES if (found := rule(seen)) is not None]


def _noise(accuracy: float, n: int) -> float:
    """The standard error of a mean loss over n images, as a share of it: that of the count of
    images that are wrong, as those make most of a loss."""
    return 1 / math.sqrt(max(n * (1 - accuracy), 1.0)) if n else math.inf


def _gap(seen: Evidence) -> tuple[float, float, float]:
    """By how much training accuracy is above that of validation, and the interval."""
    train, val = seen.kept["train_accuracy"], seen.kept["val_accuracy"]
    counts = round(train * seen.train), seen.train, round(val * seen.val), seen.val
    return (train - val, *difference_interval(*counts))


def _longer(seen: Evidence) -> str:
    return f"--epochs {2 * len(seen.history)}"


def guessing(seen: Evidence) -> Finding | None:
    """A network that is not better than always saying the commonest class."""
    sizes = [sum(row) for row in seen.confusion]
    most = max(sizes) / seen.n
    low, high = wilson_interval(seen.right, seen.n)
    if low > most:
        return None
    digits = digits_for(seen.n)
    small = seen.n < 100
    return Finding(
        "guessing",
        f"It is not shown to be better than guessing: {percent(seen.right / seen.n, digits)} of "
        f"{plural(seen.n, 'test image')} are right (interval {points(low, high)}\u202f%), and "
        f"always saying {seen.classes[sizes.index(max(sizes))]} gets {percent(most, digits)}.",
        "the 95 % interval of test accuracy reaches down to the share of the commonest class",
        "Judge it on more images."
        if small
        else "Check that the labels belong to the images, then search for a learning rate: "
        "--find-lr.",
    )


_COPIES_RULE = (
    "images are compared as the network gets them, after they were brought to its size; "
    f"more than {100 * ALARM:g} % of the test images among those of training or validation can "
    "move accuracy by more than a tenth of a point, and are said first"
)


def leaked(seen: Evidence) -> Finding | None:
    """Test images that were seen in training, more than do no harm."""
    count = seen.duplicates.get("test_in_train", 0)
    if count <= ALARM * seen.n:
        return None
    share, n = seen.duplicates["accuracy_without"], seen.duplicates["n_without"]
    digits = digits_for(n)
    rest = "None is left without them."
    if share is not None:
        low, high = wilson_interval(round(share * n), n)
        rest = (
            f"Without them {percent(share, digits)} of {n:,} are right "
            f"(interval {points(low, high)}\u202f%)."
        )
    return Finding(
        "leaked",
        f"Test images were seen in training: {count:,} of {seen.n:,} "
        f"({percent(count / seen.n, 1)}) are among the training images, pixel for pixel. {rest}",
        _COPIES_RULE,
        "Delete one of each pair, of which convscope data info names some, then train again.",
    )


def copies(seen: Evidence) -> Finding | None:
    """Images that are there more than once, none of which makes the test useless."""
    found = seen.duplicates
    few = found.get("test_in_train", 0) if leaked(seen) is None else 0
    said = []
    if few:
        share = percent(found["accuracy_without"], digits_for(found["n_without"]))
        said.append(
            f"{plural(few, 'test image')} of {seen.n:,} among the training images, without which "
            f"{share} of {found['n_without']:,} are right"
        )
    if count := found.get("val_in_train", 0):
        said.append(f"{plural(count, 'validation image')} among the training images")
    if count := found.get("test_repeated", 0):
        repeats = "repeats" if count == 1 else "repeat"
        said.append(f"{plural(count, 'test image')} that {repeats} another test image")
    if count := found.get("two_labels", 0):
        said.append(f"{plural(count, 'image')} under two labels, of which one at most is right")
    if not said:
        return None
    return Finding(
        "copies", f"Some images are there more than once: {'; '.join(said)}.", _COPIES_RULE
    )


def unstable(seen: Evidence) -> Finding | None:
    """A loss that rises in training, or jumps on validation and comes back: too high a rate."""
    pairs = list(pairwise(seen.history))
    advice = "Lower the learning rate" + (
        f": --lr {seen.lr / 2:.2g}, or let --find-lr search." if seen.lr else ", or try --find-lr."
    )
    for before, after in pairs:
        was, now = float(before["train_loss"]), float(after["train_loss"])
        noise = 3 * math.sqrt(2) * _noise(after["train_accuracy"], seen.train)
        if now > was * (1.1 + noise):
            return Finding(
                "unstable",
                f"The learning rate looks too high: the training loss rose from {was:.3f} to "
                f"{now:.3f} at epoch {after['epoch']}.",
                "the mean training loss of an epoch was more than 10 % above that of the one "
                "before, and by more than 3 standard errors of so many images",
                advice,
            )
    if not seen.judged:
        return None
    lowest_later = [
        min((float(e["val_loss"]) for e in seen.history[i + 2 :]), default=math.inf)
        for i in range(len(pairs))
    ]
    for (before, after), later in zip(pairs, lowest_later, strict=True):
        was, now = float(before["val_loss"]), float(after["val_loss"])
        noise = 3 * math.sqrt(2) * _noise(after["val_accuracy"], seen.val)
        if now > was * (1.5 + noise) and later <= was:
            return Finding(
                "unstable",
                f"The learning rate looks too high at times: the validation loss jumped from "
                f"{was:.3f} to {now:.3f} at epoch {after['epoch']}, and came back.",
                "the validation loss of an epoch was more than 50 % above that of the one before, "
                "and by more than 3 standard errors of so many images, and fell below it again",
                advice,
            )
    return None


def validation(seen: Evidence) -> Finding | None:
    """A validation split that is not there, or too small to tell."""
    if seen.history[-1]["val_loss"] is None:
        return Finding(
            "no validation",
            "No image was held out for validation, so that nothing here can tell overfitting.",
            "the run has no figures on validation",
            "Hold a tenth out, while you try things: --val 0.1. The temperature that makes "
            "probabilities honest is fitted on it, too.",
        )
    if not seen.judged:  # how many there were is not known
        return None
    accuracy = float(seen.kept["val_accuracy"])
    low, high = wilson_interval(round(accuracy * seen.val), seen.val)
    wide = high - low
    if wide <= 0.05 and not (wide > 0.01 and wide > 1 - accuracy):
        return None
    return Finding(
        "small validation",
        f"Validation is too small to tell small differences: {plural(seen.val, 'image')}, of which "
        f"{percent(accuracy, 1)} are right, stand for anything from {points(low, high)}\u202f%.",
        "the 95 % interval of validation accuracy is wider than 5 points, or wider than 1 point "
        "and than the error that it measures",
        "Before you choose between settings, hold out more images (--val 0.2) or try several "
        "seeds (convscope sweep).",
    )


def overfitting(seen: Evidence) -> Finding | None:
    """A validation loss that went up again while that of training went down."""
    if not seen.comparable or len(seen.history) < 3:
        return None
    losses = [float(epoch["val_loss"]) for epoch in seen.history]
    best = losses.index(min(losses))
    at, last = seen.history[best], seen.history[-1]
    noise = 2 * math.sqrt(2) * _noise(last["val_accuracy"], seen.val)
    gap, low, high = _gap(seen)
    risen = losses[-1] > losses[best] * (1 + max(0.05, noise))
    learnt = float(last["train_loss"]) < float(at["train_loss"])
    if best > len(losses) - 3 or not risen or not learnt or low <= 0:
        return None
    saved = f" Epoch {at['epoch']} was kept." if seen.best else ""
    saved = f" Early stopping kept epoch {at['epoch']}." if seen.patience else saved
    saved = " What it began with was kept." if seen.start_kept else saved
    return Finding(
        "overfitting",
        f"It overfits: after epoch {at['epoch']} the validation loss rose from {losses[best]:.3f} "
        f"to {losses[-1]:.3f}, while the training loss fell from {at['train_loss']:.3f} to "
        f"{last['train_loss']:.3f}. Training accuracy is {100 * gap:.1f} points above that of "
        f"validation (interval {points(low, high)}).{saved}",
        "the validation loss stayed above its lowest for at least two epochs and ended 5 % or "
        "more, and 2 standard errors of so many images, above it, while the training loss fell; "
        f"and the gap in accuracy is above nought: {_GAP_RULE}",
        "More images, more augmentation or more weight decay; or stop earlier: --early-stopping 3.",
    )


def memorising(seen: Evidence) -> Finding | None:
    """Most of the error on validation is not there on training images."""
    if not seen.comparable or overfitting(seen) is not None:
        return None
    gap, low, high = _gap(seen)
    error = 1 - float(seen.kept["val_accuracy"])
    if low <= 0 or gap < error / 2:
        return None
    train, val = (percent(1 - float(seen.kept[f"{key}_accuracy"])) for key in ("train", "val"))
    return Finding(
        "memorising",
        f"It knows its training images better than new ones: {train} of those are wrong, and {val} "
        f"on validation, a gap of {100 * gap:.2f} points (interval {points(low, high)}).",
        f"the gap in accuracy is above nought and at least half of the error on validation: "
        f"{_GAP_RULE}",
        "More images, or more varied ones by augmentation, promise more than a larger network.",
    )


def underfitting(seen: Evidence) -> Finding | None:
    """As wrong on what it learnt from as on new images."""
    if not seen.comparable:
        return None
    train, val = float(seen.kept["train_accuracy"]), float(seen.kept["val_accuracy"])
    _, _, high = _gap(seen)
    least, _ = wilson_interval(round((1 - train) * seen.train), seen.train)
    if least < 0.05 or high > (1 - val) / 4:
        return None
    how = ", as augmented," if seen.augmented else ""
    return Finding(
        "underfitting",
        f"It underfits: {percent(1 - train, 1)} of the images it learnt from{how} are wrong, and "
        f"{percent(1 - val, 1)} of those on validation.",
        "more than 5 % of the training images are wrong, and the gap to validation is, at most, a "
        f"quarter of the error there: {_GAP_RULE}",
        f"There is room for a larger network, or for longer training ({_longer(seen)})"
        + (", or for less augmentation." if seen.augmented else "."),
    )


def balanced(seen: Evidence) -> Finding | None:
    """Nothing that speaks of overfitting, where it would be seen."""
    if not seen.comparable:
        return None
    if any(rule(seen) for rule in (guessing, validation, overfitting, memorising, underfitting)):
        return None
    losses = [float(epoch["val_loss"]) for epoch in seen.history]
    gap, low, high = _gap(seen)
    if losses[-1] > 1.05 * min(losses) and not (seen.patience or seen.best):
        return None
    return Finding(
        "balanced",
        f"No sign of overfitting: validation loss ended at {seen.kept['val_loss']:.3f}, within 5 % "
        f"of its lowest, and training accuracy is {abs(100 * gap):.2f} points "
        f"{'above' if gap > 0 else 'below'} that of validation (interval {points(low, high)}).",
        "the validation loss that was kept is within 5 % of the lowest, and the gap in accuracy is "
        f"less than half of the error on validation: {_GAP_RULE}",
    )


def improving(seen: Evidence) -> Finding | None:
    """A loss that was still falling when training ended, at a learning rate that did not."""
    key, name = ("val_loss", "validation") if seen.judged else ("train_loss", "training")
    many_epochs = max(4, len(seen.history) // 3)
    if seen.annealed or len(seen.history) < many_epochs:
        return None
    losses = [float(epoch[key]) for epoch in seen.history[-many_epochs:]]
    rise, low, high = slope(losses)
    if high >= 0 or -rise < 0.01 * losses[-1]:
        return None
    return Finding(
        "improving",
        f"It was still improving: over the last {many_epochs} epochs the {name} loss fell by "
        f"{-rise:.3f} an epoch (interval {-high:.3f} to {-low:.3f}), and ended at "
        f"{losses[-1]:.3f}.",
        "the slope of the last third of the epochs, at least 4, is below nought at 95 % "
        "(Student's t), and at least 1 % of the loss an epoch",
        f"Train longer: {_longer(seen)}.",
    )


def annealed(seen: Evidence) -> Finding | None:
    """Curves that flatten because the schedule ends, which is no sign of being done."""
    if not seen.annealed or seen.patience or overfitting(seen) or unstable(seen):
        return None
    key, name = ("val_loss", "validation") if seen.judged else ("train_loss", "training")
    losses = [float(epoch[key]) for epoch in seen.history]
    if losses[-1] > 1.02 * min(losses):
        return None
    more = seen.judged and underfitting(seen) is None and memorising(seen) is None
    return Finding(
        "annealed",
        f"The {name} loss ended at its lowest, {losses[-1]:.3f}, or within 2\u202f% of it. The "
        "curves flatten as the schedule takes the learning rate to nought; they do not say "
        "whether more epochs would help.",
        "the learning rate ended below 5 % of its highest; a slope at such an end is that of the "
        "schedule",
        f"Only a longer run can tell whether it was done: {_longer(seen)} stretches the schedule."
        if more
        else "",
    )


def harder(seen: Evidence) -> Finding | None:
    """Test images that are harder than those of validation, beyond chance."""
    if not seen.judged:
        return None
    val = float(seen.kept["val_accuracy"])
    low, high = difference_interval(round(val * seen.val), seen.val, seen.right, seen.n)
    if low <= 0:
        return None
    digits = digits_for(seen.n)
    return Finding(
        "harder",
        "The test images are harder than those of validation: "
        f"{percent(seen.right / seen.n, digits)} are right, and {percent(val, digits)} on "
        f"validation, {points(low, high)} points more.",
        "the 95 % interval of the difference (Newcombe 1998) is above nought; with the same "
        "kind of images it would be so in one run of forty",
        "Look whether the test images come from elsewhere, or whether settings were chosen on "
        "validation many times.",
    )


def confidence(seen: Evidence) -> Finding | None:
    """Probabilities that are, on average, beyond what the accuracy allows."""
    if seen.confidence is None:
        return None
    low, high = wilson_interval(seen.right, seen.n)
    share = seen.right / seen.n
    if low <= seen.confidence <= high or abs(seen.confidence - share) < 0.01:
        return None
    how = "too sure of itself" if seen.confidence > share else "too modest"
    return Finding(
        "confidence",
        f"It is {how}: the mean probability of what it says is {percent(seen.confidence, 1)}, and "
        f"{percent(share, 1)} are right (interval {points(low, high)}\u202f%).",
        "the mean probability is outside the 95 % interval of test accuracy, by a point or more",
    )


_RULES: tuple[Callable[[Evidence], Finding | None], ...] = (
    leaked, guessing, unstable, overfitting, underfitting, memorising, validation, harder,
    improving, balanced, annealed, confidence, copies,
)  # fmt: skip
