"""What validation says of answers, together and as a run keeps it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from convscope.errors import BadArgument, RunError
from convscope.evaluation import calibration, metrics
from convscope.evaluation.calibration import Calibration, calibrate


def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, n)
    logits = 9 * (random.normal(size=(n, 3)) + 3.5 * np.eye(3)[labels])
    return logits.astype(np.float32), labels


OUTLIERS = [np.random.default_rng(9).normal(size=(100, 3)).astype(np.float32)] * 3


def test_all_of_it_on_a_split():
    found = calibrate(*drawn(900, 0), OUTLIERS, 0.02, asked=True)
    assert found.temperature > 1.5 and found.selective.known and found.ood is not None
    logits, labels = drawn(3000, 1)
    said, of = found.measure(logits, labels), found.answers(logits)
    unsure, flags = of.unsure, found.ood.flags(logits)
    p = metrics.softmax(logits, found.temperature).max(1)
    assert (of.ood == flags).all() and (of.p.max(1) == p).all()
    assert (of.confidence == np.where(flags, -1, p)).all()
    assert (unsure == flags | (p < found.selective.threshold)).all()
    assert flags[~unsure].sum() == 0 < (flags & (p >= found.selective.threshold)).sum()
    wrong = (logits.argmax(1) != labels)[~unsure]
    assert said["abstain"] == {
        "error": 0.02, "threshold": found.selective.threshold,
        "answered": len(wrong), "wrong": wrong.sum(),
    }  # fmt: skip
    assert wrong.mean() <= 0.02 and len(wrong) > 2000
    assert said["ood"] == {"flagged": flags.sum()}
    assert said["loss_calibrated"] == pytest.approx(
        metrics.cross_entropy(logits, labels, found.temperature)
    )
    kept = json.loads(json.dumps(found.as_json()))
    assert Calibration.of(kept | {"abstain": kept["abstain"] | {"later": 1}}) == found


def test_an_older_run_knows_its_temperature_alone():
    found = Calibration.of({"temperature": 1.5})
    assert found == Calibration(1.5)
    logits, labels = drawn(50, 0)
    assert (found.answers(logits).unsure, found.answers(logits).ood) == (None, None)
    said = found.measure(logits, labels)
    assert (said["abstain"], said["ood"]) == (None, None)


def test_another_bound_takes_its_images():
    logits, labels = drawn(100, 0)
    found = calibrate(logits, labels, None, 0.02, asked=False)
    assert not found.selective.known
    with pytest.raises(BadArgument, match="abstain=0.02: an error of at most 2% takes 149"):
        found.bounded(logits, labels, 0.02)
    assert found.bounded(logits, labels, 0.1).selective.error == 0.1


def test_logits_are_kept_to_the_bit(tmp_path):
    logits, labels = drawn(40, 0)
    path = tmp_path / "validation.safetensors"
    calibration.write(path, logits[:, ::-1], labels)
    again, named = calibration.read(path, 3)
    assert (again == logits[:, ::-1]).all() and (named == labels).all()
    assert (again.dtype, named.dtype) == (np.float32, np.int64)
    for content in (path.read_bytes()[:-9], b"", b"x" * 100):
        path.write_bytes(content)
        with pytest.raises(RunError, match="validation.safetensors: is damaged"):
            calibration.read(path, 3)
    path.unlink()
    with pytest.raises(RunError, match="is not there; .*convscope eval RUN --split val"):
        calibration.read(path, 3)


def test_logits_of_another_run_are_no_logits(tmp_path):
    logits, labels = drawn(40, 0)
    path, spoilt = tmp_path / "validation.safetensors", np.where(logits > 9, np.nan, logits)
    for wrong, of, k in (
        (logits, labels, 4), (logits, labels - 1, 3), (logits, labels + 1, 3), (spoilt, labels, 3),
        (logits[:9], labels, 3), (logits, labels[:, None], 3),
    ):  # fmt: skip
        calibration.write(path, wrong, of)
        with pytest.raises(RunError, match=rf"is damaged \(no finite logits \[n,{k}\] and labels"):
            calibration.read(path, k)
