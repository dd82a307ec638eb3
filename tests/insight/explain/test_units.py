"""What a unit answers to is found where it was planted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from convscope.errors import BadArgument
from convscope.insight.explain import ascent, units
from convscope.insight.explain.map_layers import filters_of, fitting, maps_of, stage_of, stages
from convscope.models import build
from convscope.models.parts import Classifier

CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])


def network() -> Classifier:
    """The first unit finds crosses, the second lines; then a pool, and a pixel of padding before
    another convolution that adds a neighbourhood up."""
    found = nn.Conv2d(1, 2, 3)
    summed = nn.Conv2d(2, 2, 3, padding=1, groups=2, bias=False)
    with torch.no_grad():
        found.weight.copy_(torch.tensor(np.stack([2 * CROSS - 1, [[-1] * 3, [1] * 3, [-1] * 3]]),
                                        dtype=torch.float32)[:, None])  # fmt: skip
        found.bias.fill_(-2)
        summed.weight.fill_(0)
        summed.weight[:, :, 1, 1] = 1
    features = nn.Sequential(found, nn.ReLU(inplace=True), nn.MaxPool2d(2), summed)
    return Classifier(1, features, nn.Sequential(nn.Flatten(), nn.Linear(2 * 5 * 5, 2))).eval()


def planted() -> np.ndarray:
    """Twenty images of faint noise; a cross in the seventh, about row 4 and column 8."""
    images = np.random.default_rng(0).integers(0, 30, (20, 1, 12, 12), dtype=np.uint8)
    images[7, 0, 3:6, 7:10][CROSS == 1] = 255
    images[11, 0, 9, 2:8] = 255
    return images


def test_the_best_patch_is_where_the_pattern_is() -> None:
    stage = stage_of(stages(network(), (1, 12, 12)), "features.1")
    found = units.answers(network(), planted(), stage, (0, 1), best=3)
    assert found.images[:, 0].tolist() == [7, 11]
    assert found.places[0, 0].tolist() == [3, 7]
    assert found.boxes[0, 0].tolist() == [3, 7, 6, 10]  # the cross itself, 3x3
    assert found.values[0, 0] == pytest.approx(3, abs=0.6)
    assert (np.diff(found.values, axis=1) <= 0).all()


def test_the_patch_grows_with_the_receptive_field_and_ends_at_the_edge() -> None:
    known = stages(network(), (1, 12, 12))
    pool = units.answers(network(), planted(), stage_of(known, "features.2"), (0,), best=1)
    assert pool.places[0, 0].tolist() == [1, 3]
    assert pool.boxes[0, 0].tolist() == [2, 6, 6, 10]  # two rows and columns of 3x3
    last = units.answers(network(), planted(), stage_of(known, "features.3"), (0,), best=1)
    assert last.places[0, 0].tolist() == [1, 3]
    assert last.boxes[0, 0].tolist() == [0, 4, 8, 12]


def test_units_that_stand_out_are_taken_and_others_refused() -> None:
    stage = stage_of(stages(network(), (1, 12, 12)), "features.1")
    assert units.answers(network(), planted(), stage, count=1).units in ((0,), (1,))
    with pytest.raises(BadArgument, match="unit=2: features.1 has the units 0 to 1; try 1"):
        units.answers(network(), planted(), stage, (2,))


def test_stages_are_the_layers_that_give_maps() -> None:
    known = stages(build("resnet", 10, 1, (28, 28)), (1, 28, 28))
    names = [stage.name for stage in known]
    assert names[:4] == ["features.0", "features.1", "features.2", "features.3.conv1"]
    assert names[-1] == "features.7" and "features" not in names and "normalise" not in names
    assert known[-1].shape == (32, 4, 4)
    assert fitting(known).name == "features.4"  # 8x8; all after it have 4x4
    assert stages(build("mlp", 10, 1, (28, 28)), (1, 28, 28)) == [] and fitting([]) is None
    with pytest.raises(BadArgument, match="layer=features.33: .* did you mean features.3"):
        stage_of(known, "features.33")
    with pytest.raises(BadArgument, match="layer=x: is asked for, and no layer"):
        stage_of([], "x")


def test_maps_are_those_before_what_follows_changes_them_in_place() -> None:
    made, images = network(), torch.rand(2, 1, 12, 12)
    with torch.no_grad():
        expected = made.features[0](made.normalise(images))
    assert expected.min() < 0
    torch.testing.assert_close(maps_of(made, images, "features.0"), expected)


def test_filters_are_those_of_the_first_convolution() -> None:
    name, kernels = filters_of(network())
    assert name == "features.0" and kernels.shape == (2, 1, 3, 3)
    assert filters_of(build("mlp", 3, 1, (8, 8))) is None


@pytest.mark.parametrize("name", ["features.0", "features.1"])  # before a ReLU in place, and it
def test_input_for_a_silent_unit_makes_it_answer(name: str) -> None:
    made = network()
    made.normalise.set([0.0], [1.0])
    stage = stage_of(stages(made, (1, 12, 12)), name)
    with ascent.still(made):
        loss = ascent.of_units(made, stage, (0,), np.array([1.0]))
        found = ascent.regularised(made, loss, (1, 1, 12, 12), steps=60)
    maps = maps_of(made, torch.from_numpy(found / 255).float(), name)
    assert maps[0, 0].max() > 1.2
