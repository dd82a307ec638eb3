"""Every stage of a job on a device that is not the CPU: what forgets ``.to(device)`` or ``.cpu()``
fails here, with no GPU at hand (:mod:`accelerator`)."""

from __future__ import annotations

import json
from dataclasses import replace

import accelerator
import numpy as np
import pytest
import torch
from batches import every_spec
from torch import nn

import convscope as cs
from convscope import api, devices, recipe
from convscope.data import augment
from convscope.data.loader import Loader
from convscope.evaluation import predictions
from convscope.models import build
from convscope.recipe import Augment

FAKE = "fake"
IMAGES = torch.randint(256, (40, 3, 12, 12), dtype=torch.uint8)


@pytest.fixture(autouse=True)
def fake():
    with accelerator.fake() as backend:
        yield backend


def test_the_device_is_told_apart_from_the_cpu():
    there, here = torch.ones(2, 3, device=FAKE), torch.ones(2, 3)
    assert there.device.type == FAKE and there.cpu().device.type == "cpu"
    with pytest.raises(RuntimeError, match="tensors on cpu and on fake:0 meet"):
        there + here
    with pytest.raises(RuntimeError, match="tensors on cpu and on fake:0 meet"):
        nn.Linear(3, 2).to(FAKE)(here)
    with pytest.raises(TypeError, match="use Tensor.cpu"):
        there.numpy()
