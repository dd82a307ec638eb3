"""Classes of which one has nine times the images of another: what makes up for it, and what is
said."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from listening import notices
from quick import QUICK, same_weights

import convscope as cs
from convscope.data import pack_writer, sources
from convscope.errors import BadArgument
from convscope.events import EpochEnd
from convscope.run import RunFolder


@pytest.fixture
def rare(workplace, monkeypatch):
    """180 flat bars and 20 upright ones, hard to see; 90 and 10 to judge."""
    random = np.random.default_rng(0)

    def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = (np.arange(n) % 10 == 0).astype(np.int64)
        images = random.integers(0, 160, (n, 1, 12, 12), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            at = random.integers(3, 8)
            image[0][(slice(None), at) if label else at] += 60
        return images, labels

    splits = {"train": drawn(200), "test": drawn(100)}
    folder = workplace / "pack"
    pack = pack_writer.write_pack(
        folder, "mnist", ("flat", "upright"), splits, "drawn by the tests"
    )
    monkeypatch.setattr(sources, "open_data", lambda *rest, **named: pack)
    return pack


FEW = {**QUICK, "epochs": 2, "augment": False, "val": 0.2}


def test_weights_are_in_the_train_loss_alone_and_it_says_so(rare, events):
    seen, emit = events
    run = cs.train("mnist", **FEW, class_weights="auto", out="a", emit=emit)
    plain = cs.train("mnist", **FEW, out="b")
    assert not same_weights(run.path, plain.path)
    ends = [event for event in seen if isinstance(event, EpochEnd)]
    assert [end.counted for end in ends] == ["weighted"] * 2
    (said,) = [text for text in notices(seen) if "train loss" in text]
    assert said == (
        "an image counts 0.56 times (flat) to 5.00 times (upright) in the train loss; validation "
        "counts every image once"
    )
    assert "The train loss weighs each class by how rare it is" in run.report.read_text()
    assert "The train loss weighs" not in plain.report.read_text()
    # what is judged is counted image by image: again from the predictions, and from the logits
    with (run.path / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    right = sum(row["label"] == row["predicted"] for row in rows) / len(rows)
    assert run.metrics.accuracy == right and len(rows) == 100
    judged = cs.evaluate(run.path, "val")
    last = json.loads((run.path / "history.jsonl").read_text().splitlines()[-1])
    assert (last["val_accuracy"], last["counted"]) == (judged["accuracy"], "weighted")
    assert last["val_loss"] == pytest.approx(judged["loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("options", "word"),
    [({"logit_adjustment": 1.0}, "adjusted"), ({"sampler": "balanced"}, "balanced")],
)
def test_rare_classes_are_found_more_often(rare, options, word, events):
    seen, emit = events
    recall = {}
    for name, more in (("plain", {}), ("more", options)):
        run = cs.train("mnist", **FEW | {"epochs": 6}, **more, out=name, emit=emit)
        recall[name] = run.metrics.per_class[1]["recall"]
    assert recall["more"] > recall["plain"]
    assert {e.counted for e in seen if isinstance(e, EpochEnd)} == {"", word}


def test_a_run_with_balanced_batches_goes_on_to_the_bit(rare, monkeypatch):
    options = {**FEW, "epochs": 3, "batch_size": 16, "sampler": "balanced"}
    whole = cs.train("mnist", **options, out="whole")
    from convscope.training import loop

    calls = []

    def update(*rest):
        calls.append(1)
        if len(calls) == 14:  # in the middle of the second epoch
            raise KeyboardInterrupt
        real(*rest)

    real = loop.update
    monkeypatch.setattr(loop, "update", update)
    with pytest.raises(KeyboardInterrupt):
        cs.train("mnist", **options, checkpoint_seconds=0.0, out="cut")
    cs.train(out="cut", resume=True)
    assert same_weights(whole.path, Path("cut"))


def test_balanced_accuracy_leads_where_classes_are_skewed(rare, tiny, monkeypatch):
    run = cs.train("mnist", **FEW, out="a")
    found = run.metrics
    recalls = [row["recall"] for row in found.per_class]
    low, high = found.balanced_accuracy_ci95
    assert found.skewed and found.balanced_accuracy == pytest.approx(np.mean(recalls))
    assert low < found.balanced_accuracy < high
    text = run.report.read_text()
    assert '<p class="label">test balanced accuracy</p>' in text
    assert f'<p class="accuracy">{100 * found.balanced_accuracy:.1f}' in text
    assert "Its balanced accuracy on the test split is" in (run.path / "README.md").read_text()
    assert "is its balanced accuracy" in run._repr_html_()
    monkeypatch.setattr(sources, "open_data", lambda *rest, **named: tiny)
    even = cs.train("mnist", **FEW, out="b")
    assert not even.metrics.skewed and even.metrics.balanced_accuracy is not None
    assert '<p class="label">test accuracy</p>' in even.report.read_text()
    assert "Its balanced accuracy" not in (even.path / "README.md").read_text()


def test_the_best_weights_are_kept_to_the_last_epoch(rare):
    options = {**FEW, "epochs": 25, "lr": 0.05}
    run = cs.train("mnist", **options, keep="best", out="a")
    history = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
    losses = [row["val_loss"] for row in history]
    best = losses.index(min(losses))
    assert len(losses) == 25 and best < 24
    assert cs.evaluate(run.path, "val")["loss"] == pytest.approx(losses[best], rel=1e-5)
    assert f"The weights of epoch {best + 1} were kept" in run.report.read_text()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"keep": "best", "val": 0}, "keep=best: needs a validation split"),
        ({"keep": "last", "early_stopping": 2}, "keep=last: is not used with early_stopping"),
        (
            {"class_weights": "auto", "sampler": "balanced"},
            "sampler=balanced: makes up for rare classes, and so does class_weights=auto",
        ),
        (
            {"class_weights": "auto", "logit_adjustment": 1},
            "logit_adjustment=1.0: makes up for rare classes, and so does class_weights=auto",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(rare, options, text):
    with pytest.raises(BadArgument, match=text):
        cs.train("mnist", **FEW | options, out="a")
    assert not RunFolder(Path("a")).path.exists()
