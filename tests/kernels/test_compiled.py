"""Kernels are compiled once a machine, kept, and made anew where what is kept cannot be used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from convscope import kernels
from convscope.kernels import compiled

pytestmark = pytest.mark.skipif(not kernels.available(), reason="no kernels on this machine")
SCRIPT = """
import torch
from convscope import kernels
x = torch.arange(6.0).bfloat16()
y = torch.empty_like(x)
kernels.elementwise(x, torch.tensor([1.0]), torch.tensor([-2.0]), y, 6, 1, kernels.RELU)
print(y.tolist())
"""
RIGHT = "[0.0, 0.0, 0.0, 1.0, 2.0, 3.0]"


def run(cache: Path) -> str:
    env = {"CONVSCOPE_CACHE": str(cache), "PATH": "/usr/bin:/bin", "CONVSCOPE_KERNELS": "strict"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=env, check=True
    )
    return done.stdout.strip()


def test_kept_code_is_loaded_and_damaged_code_made_anew(tmp_path):
    assert run(tmp_path).startswith(RIGHT)
    (kept,) = tmp_path.glob("kernels/*/elementwise-bf16.o")
    good = kept.read_bytes()
    assert run(tmp_path).startswith(RIGHT) and kept.read_bytes() == good
    for damage in (b"", good[: len(good) // 2], good[:-1] + b"x", b"x\0y"):
        kept.write_bytes(damage)
        assert run(tmp_path).startswith(RIGHT)
        assert kept.read_bytes() != damage and compiled._load(kept.read_bytes())


def test_code_that_needs_what_is_not_there_is_not_loaded(tmp_path, monkeypatch):
    run(tmp_path)
    (kept,) = tmp_path.glob("kernels/*/elementwise-bf16.o")
    content = kept.read_bytes()
    address, _ = compiled._load(content)
    assert address
    other = content[32:].replace(b"omp_get_thread_num", b"imp_get_thread_num")
    with pytest.raises(ValueError, match="imp_get_thread_num is not in this process"):
        compiled._load(compiled._sealed(other))


def test_where_nothing_can_be_kept_kernels_work_all_the_same(tmp_path):
    (tmp_path / "kernels").write_text("no folder")
    assert run(tmp_path).startswith(RIGHT)


def test_maps_of_both_kinds_have_a_version_each():
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.tensor([-1.0, 0.5, 3.0]).to(dtype)
        y = torch.empty_like(x)
        kernels.elementwise(x, torch.ones(1), torch.zeros(1), y, 3, 1, kernels.RELU)
        assert y.tolist() == [0, 0.5, 3]


def test_bfloat16_is_rounded_to_the_nearest_halves_to_even():
    exact = torch.tensor([1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -1 - 2**-8, 0.0])
    exact = torch.cat([exact, torch.tensor([float("inf"), -float("inf"), 3.4e38])])
    y = torch.empty(len(exact), dtype=torch.bfloat16)
    one, zero = torch.ones(1), torch.zeros(1)
    kernels.scale_shift(y, exact, one, zero, len(exact), 1)
    assert torch.equal(y, exact.bfloat16())
    kernels.scale_shift(y, torch.full((9,), float("nan")), one, zero, 9, 1)
    assert y.isnan().all()
