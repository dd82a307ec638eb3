"""What is held out is a function of names and a seed: stratified, whole groups, and nothing moves
when others come and go."""

from __future__ import annotations

import numpy as np
import pytest

from convscope.data.division import Units

CATS = [f"{kind}{n}.jpg" for kind in ("balinese", "siamese") for n in range(1, 51)]
DOGS = [f"hound{n}.jpg" for n in range(1, 41)]
NAMES = [*(f"cat/{name}" for name in CATS), *(f"dog/{name}" for name in DOGS)]
LABELS = np.array([0] * 100 + [1] * 40)


def held(names, labels, share=0.2, seed=0, **more) -> set[str]:
    return {names[at] for at in Units.of(names, [labels], seed, **more).held_out(share)}


def test_any_listing_order_gives_the_same_and_another_seed_another():
    order = np.random.default_rng(0).permutation(len(NAMES))
    whole = held(NAMES, LABELS)
    assert held([NAMES[at] for at in order], LABELS[order]) == whole
    assert held(NAMES, LABELS, seed=1) != whole
    assert held(NAMES, LABELS, share=0) == set()


def test_every_kind_of_name_is_on_both_sides():
    """Names that end as a sorted list does are not what is held out."""
    whole = held(NAMES, LABELS)
    for kind in ("balinese", "siamese", "hound"):
        among = [name for name in NAMES if kind in name]
        assert 0 < len(whole & set(among)) < len(among)
    assert 10 <= len(whole & set(NAMES[:100])) <= 30 and 4 <= len(whole & set(NAMES[100:])) <= 12


def test_nothing_moves_when_others_come_and_go():
    whole = held(NAMES, LABELS)
    random = np.random.default_rng(1)
    moved = 0
    for _ in range(20):
        kept = np.sort(random.choice(len(NAMES), 110, replace=False))
        names = [NAMES[at] for at in kept]
        moved += len(held(names, LABELS[kept]) ^ (whole & set(names)))
    assert moved == 0
    more = [f"cow/{n}.jpg" for n in range(30)]
    assert held([*NAMES, *more], np.append(LABELS, [2] * 30)) & set(NAMES) == whole


@pytest.mark.parametrize("seed", range(50))
def test_every_class_is_on_both_sides(seed):
    """Four images of two classes, half of them held out; and a class of one, which is learnt."""
    names, labels = list("abcde"), np.array([0, 1, 1, 0, 2])
    chosen = held(names, labels, 0.5, seed)
    assert {labels[names.index(name)] for name in chosen} == {0, 1}
    assert {labels[n] for n, name in enumerate(names) if name not in chosen} == {0, 1, 2}


def test_groups_and_copies_are_on_one_side():
    labels = np.arange(300) % 2  # every group has both classes
    groups = [f"person{n // 6}" for n in range(300)]
    first = np.arange(300)
    first[40], first[250] = 7, 13  # copies join two groups each
    units = Units.of(groups, [labels], first=first)
    for sides in (np.isin(np.arange(300), units.held_out(0.2)), units.folds(5)):
        for group in set(groups):
            assert len({sides[n] for n in range(300) if groups[n] == group}) == 1
        assert sides[40] == sides[7] and sides[250] == sides[13]
    share = len(units.held_out(0.2)) / 300
    assert 0.1 <= share <= 0.3
    folds = np.bincount(units.folds(5))
    assert folds.sum() == 300 and folds.min() >= 48 and folds.max() <= 84


def test_folds_have_as_many_of_each_class():
    folds = Units.of(NAMES, [LABELS]).folds(5)
    for label, each in ((0, 20), (1, 8)):
        assert np.bincount(folds[label == LABELS]).tolist() == [each] * 5


def test_a_label_of_one_image_is_learnt_whatever_the_seed():
    tags = np.zeros((20, 3), np.uint8)
    tags[:, 0], tags[4, 1], tags[:9, 2] = 1, 1, 1
    for seed in range(20):
        units = Units.of([f"{n}" for n in range(20)], [np.arange(20) % 2, tags], seed)
        chosen = units.held_out(0.3)
        assert 4 not in chosen and tags[chosen, 2].any()


def test_what_is_left_over_of_each_class_is_dealt_evenly():
    names, labels = [f"{n}.png" for n in range(120)], np.repeat(np.arange(20), 6)
    assert np.bincount(Units.of(names, [labels]).folds(5)).tolist() == [24] * 5
