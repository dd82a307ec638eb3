"""Labels that are wrong come first, by probabilities of classifiers that did not see the image."""

from types import SimpleNamespace

import numpy as np
import pytest
from photos import scene

from convscope.data.audit import labels
from convscope.data.audit.descriptors import descriptors
from convscope.errors import DataError
from convscope.events import Progress, silent

TINTS = ((200, 60, 60), (60, 200, 60), (60, 60, 200))


def coloured(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Scenes in three colours, which is what their labels are."""
    truth = np.arange(count) % 3
    scenes = [scene(at, (24, 24), TINTS[label]) for at, label in enumerate(truth)]
    return np.stack([np.asarray(one).transpose(2, 0, 1) for one in scenes]), truth


def judged(images, given, groups=None, **options):
    vectors = descriptors(images)
    groups = np.arange(len(images)) if groups is None else groups
    return labels.out_of_fold(vectors, given, groups, 3, silent, **options)


def test_swapped_labels_come_first():
    images, truth = coloured(90)
    given, swapped = truth.copy(), [7, 30, 58, 77]
    given[swapped] = (given[swapped] + 1) % 3
    probabilities = judged(images, given)
    assert np.allclose(probabilities.sum(axis=1), 1)
    found = labels.suspects(probabilities, given)
    assert sorted(found[:4].tolist()) == swapped and len(found) <= 12
    assert (probabilities.argmax(axis=1)[swapped] == truth[swapped]).all()
    assert len(labels.suspects(judged(images, truth), truth)) <= 3


def test_who_tells_too_few_labels_doubts_none(tmp_path):
    random = np.random.default_rng(0)
    truth = np.arange(300) % 3
    told = np.where(random.random(300) < 0.7, truth, (truth + 1) % 3)
    probabilities = np.full((300, 3), 0.05)
    probabilities[np.arange(300), told] = 0.9
    samples = SimpleNamespace(labels=truth, classes=("a", "b", "c"))
    with pytest.raises(
        DataError, match=r"tells only \d\d\.\d% of the labels, and below 80% it has"
    ):
        labels.wrong(samples, probabilities)


def test_copies_are_on_one_side():
    """A copy would tell the wrong label that it shares."""
    images, truth = coloured(60)
    given = truth.copy()
    given[:10] = (given[:10] + 1) % 3
    twice, both = np.concatenate([images, images[:10]]), np.concatenate([given, given[:10]])
    groups = np.concatenate([np.arange(60), np.arange(10)])
    apart, together = judged(twice, both), judged(twice, both, groups)
    rows = np.arange(10)
    assert together[rows, given[:10]].mean() < 0.5 * apart[rows, given[:10]].mean()


def test_what_nothing_is_known_of_is_not_accused():
    images, truth = coloured(40)
    given = truth % 2
    given[5] = 2  # the one of its class
    probabilities = judged(images, given)
    assert probabilities[5].tolist() == [0, 0, 1]
    assert 5 not in labels.suspects(probabilities, given)


@pytest.mark.parametrize("given", [[0, 0, 0, 0], [0, 1]])
def test_too_few_images(given):
    images, _ = coloured(len(given))
    with pytest.raises(DataError, match="too few images to judge labels"):
        judged(images, np.array(given))


def test_it_is_seeded_and_tells_how_far_it_is(events):
    seen, emit = events
    images, truth = coloured(30)
    vectors, groups = descriptors(images), np.arange(30)
    one, same = (labels.out_of_fold(vectors, truth, groups, 3, emit) for _ in range(2))
    other = labels.out_of_fold(vectors, truth, groups, 3, silent, seed=1)
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    folds = [(e.done, e.total) for e in seen if isinstance(e, Progress)]
    assert folds == [(n, 5) for n in range(1, 6)] * 2


def test_descriptors_see_edges_and_colours():
    left = np.zeros((1, 3, 64, 64), np.uint8)
    left[:, :, :, 32:] = 200
    down = np.ascontiguousarray(left.transpose(0, 1, 3, 2))
    red = left.copy()
    red[:, 1:] //= 2
    same, turned, tinted = (
        float(np.abs(descriptors(left) - descriptors(one)).max()) for one in (left, down, red)
    )
    assert same == 0 and turned > 0.1 and tinted > 0.1
    grey = descriptors(np.zeros((3, 1, 10, 10), np.uint8))
    assert grey.shape == (3, 36 * 49 + 64) and np.isfinite(grey).all()
