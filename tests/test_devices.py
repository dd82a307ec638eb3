"""What is known of each kind of device, whether it is there or not."""

from __future__ import annotations

import pytest
import torch

from convscope import devices
from convscope.errors import BadArgument


def test_a_device_that_is_not_there_is_named():
    assert devices.of("cpu") == "cpu"
    with pytest.raises(BadArgument, match=r"device=warp: cannot be used here .*; try cpu"):
        devices.of("warp")


def test_auto_is_a_gpu_where_there_is_one(monkeypatch):
    for there, found in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert devices.of("auto") == found


def test_tf32_is_for_gpus_that_have_it_and_mps_has_no_float64(monkeypatch):
    for capability, found in (
        ((7, 5), ("float32",)),
        ((8, 0), ("float32", "tf32", "bfloat16")),
        ((9, 0), ("float32", "tf32", "bfloat16")),
    ):
        monkeypatch.setattr(
            torch.cuda, "get_device_capability", lambda _, capability=capability: capability
        )
        assert devices.formats("cuda:0") == found
    assert devices.formats("mps") == ("float32",)
    assert devices.widest("mps") is torch.float32 and devices.widest("cuda") is torch.float64


def _set() -> tuple[object, ...]:
    cudnn = torch.backends.cudnn
    kinds = torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn
    return *(kind.fp32_precision for kind in kinds), cudnn.deterministic, cudnn.benchmark


def test_arithmetic_of_a_gpu_is_set_and_put_back():
    before = _set()
    with devices.arithmetic("cuda"):
        assert _set() == ("ieee", "ieee", "ieee", True, False)
    with pytest.raises(KeyError), devices.arithmetic("cuda:0", "tf32"):
        assert _set() == ("tf32", "tf32", "tf32", True, False)
        raise KeyError
    assert _set() == before
    with devices.arithmetic("cpu", "float32"):
        assert _set() == before


def test_the_global_generator_is_put_back():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with pytest.raises(KeyError), devices.generators_kept():
        torch.manual_seed(99)
        raise KeyError
    assert torch.equal(torch.rand(3), expected)
