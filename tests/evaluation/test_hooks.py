"""What layers give in a forward pass, and a network that is afterwards what it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convscope.evaluation.hooks import hooked, output_shapes


def test_shapes_are_those_of_one_image_in_evaluation_mode() -> None:
    shared = nn.ReLU()
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), shared, nn.AvgPool2d(3), shared)
    found = output_shapes(net, (1, 5, 5))
    assert found == {
        **dict.fromkeys(("0", "1"), (1, 2, 3, 3)),
        **{"2": (1, 2, 1, 1), "3": (1, 2, 1, 1), "": (1, 2, 1, 1)},  # of the last call
    }
    assert list(found) == ["0", "1", "2", "3", ""]
    assert net.training and net[1].num_batches_tracked == 0


def test_hooks_go_even_where_they_fail() -> None:
    layer = nn.ReLU()
    with pytest.raises(ZeroDivisionError), hooked({"relu": layer}, lambda *at: 1 / 0):
        layer(torch.zeros(1))
    assert layer(torch.ones(1)) == 1 and not layer._forward_hooks
