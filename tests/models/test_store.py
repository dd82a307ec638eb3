"""Weights on disk: each once, and all of them back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from convscope.errors import RunError
from convscope.models import store


class Tied(nn.Module):
    """Two layers of one weight, and a buffer in its memory."""

    def __init__(self, tie: bool = True) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        if tie:
            self.b.weight = self.a.weight
        self.register_buffer("row", self.a.weight.detach()[1])


def test_what_is_tied_is_written_once_and_tied_again(tmp_path: Path) -> None:
    one, two = Tied(), Tied()
    store.write(tmp_path / "weights", one.state_dict())
    tensors = store.from_bytes((tmp_path / "weights").read_bytes(), "weights")
    assert sorted(tensors) == ["a.bias", "a.weight", "b.bias", "row"]
    store.fill(two, tensors, "weights")
    assert two.b.weight is two.a.weight and two.row.data_ptr() == two.a.weight[1].data_ptr()
    for name, value in one.state_dict().items():
        assert torch.equal(two.state_dict()[name], value), name


def test_a_network_that_ties_nothing_wants_every_weight() -> None:
    tensors = store.from_bytes(store.to_bytes(Tied().state_dict()), "weights")
    with pytest.raises(RunError, match=r"b.weight should be \(4, 4\), is nothing"):
        store.fill(Tied(tie=False), tensors, "weights")


def test_lazy_layers_take_their_sizes_from_a_first_batch_alone() -> None:
    calls = []
    lazy = nn.Sequential(nn.LazyLinear(2))
    lazy.register_forward_hook(lambda *rest: calls.append(1))
    for _ in range(2):
        store.make_up(lazy, torch.zeros(2, 3))
    assert calls == [1] and lazy[0].weight.shape == (2, 3)
