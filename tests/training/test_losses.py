"""The loss of each kind of target, with what makes up for rare classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from convscope.data.columns import Class, Image, Labels
from convscope.data.loader import Loader
from convscope.errors import BadArgument
from convscope.recipe import Augment, Train
from convscope.training import losses

LABELS = torch.tensor([0] * 6 + [1] * 3 + [2])
LOGITS = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
ALONE = {"image": Image(1, (4, 4)), "label": Class(("cat", "dog", "cow"))}


def loader(columns=None, indices=None, **more) -> Loader:
    columns = columns or ALONE
    targets = {name: more.get(name, LABELS) for name, one in columns.items() if not one.is_input}
    images = torch.zeros(10, 1, 4, 4, dtype=torch.uint8)
    chosen = torch.arange(10) if indices is None else indices
    return Loader(columns, {"image": images}, targets, chosen, 5, 0, Augment())


def slowly(logits, labels, weight=None, prior=None) -> float:
    """The sum of the cross-entropy over a batch, an image at a time, in float64."""
    total = 0.0
    for row, label in zip(logits.double().numpy(), labels.tolist(), strict=True):
        adjusted = row + (0 if prior is None else prior)
        log_p = adjusted - np.log(np.exp(adjusted).sum())
        total -= (1 if weight is None else weight[label]) * log_p[label]
    return total


def test_weights_are_inverse_frequencies_and_those_of_all_images_have_mean_1():
    (one,) = losses.losses_of(loader(), Train(class_weights="auto")).values()
    weights = [10 / 3 / n for n in (6, 3, 1)]
    assert one.weights.tolist() == pytest.approx(weights)
    assert float(one.weights[LABELS].mean()) == pytest.approx(1)
    assert float(one.sum(LOGITS, LABELS)) == pytest.approx(slowly(LOGITS, LABELS, weights))


def test_frequencies_are_those_of_what_is_learnt_from():
    some = torch.tensor([0, 1, 6, 7, 8, 9])
    (one,) = losses.losses_of(loader(indices=some), Train(class_weights="auto")).values()
    assert one.weights.tolist() == pytest.approx([6 / 3 / n for n in (2, 3, 1)])


@pytest.mark.parametrize("tau", [0.5, 1.0])
def test_logits_are_adjusted_by_the_log_frequency_of_their_class(tau):
    (one,) = losses.losses_of(loader(), Train(logit_adjustment=tau)).values()
    prior = tau * np.log([0.6, 0.3, 0.1])
    wanted = slowly(LOGITS, LABELS, prior=prior)
    assert float(one.sum(LOGITS, LABELS)) == pytest.approx(wanted)
    plain = losses.Loss(one.column)
    assert int(one.right(LOGITS, LABELS)) == int(plain.right(LOGITS, LABELS))


def test_what_is_judged_counts_every_image_once():
    found = {"label": LOGITS.numpy()}
    for train in (Train(class_weights="auto"), Train(logit_adjustment=1)):
        loss, _ = losses.judged(train, loader(), found, {"label": LABELS.numpy()})
        assert loss == pytest.approx(slowly(LOGITS, LABELS) / 10)


@pytest.mark.parametrize(
    "train",
    [Train(class_weights="auto"), Train(logit_adjustment=1), Train(sampler="balanced")],
    ids=losses.BALANCING,
)
def test_what_has_no_classes_or_no_image_of_one_is_refused(train):
    (name,) = [n for n in losses.BALANCING if getattr(train, n) != getattr(Train, n)]
    losses.check(loader(), train)
    with pytest.raises(BadArgument, match=f"{name}=.*: needs an image of every .* cow has none"):
        losses.check(loader(indices=torch.arange(9)), train)
    tags = ALONE | {"tags": Labels(("wet", "old"))}
    with pytest.raises(BadArgument, match=f"{name}=.*: goes with targets that are a class, and ta"):
        losses.check(loader(tags, tags=torch.zeros(10, 2, dtype=torch.uint8)), train)
    losses.check(loader(tags, tags=torch.zeros(10, 2, dtype=torch.uint8)), Train())


def test_images_are_drawn_by_one_class_only():
    two = loader(ALONE | {"other": Class(("a", "b", "c"))})
    losses.check(two, Train(class_weights="auto"))
    with pytest.raises(
        BadArgument, match="sampler=balanced: goes with one target, and there are 2"
    ):
        losses.check(two, Train(sampler="balanced"))
