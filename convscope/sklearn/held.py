"""A fitted network as bytes, which goes where Python's pickles go."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convscope.data.columns import IMAGE, Columns
from convscope.events import Emit, silent
from convscope.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

MANY = 1000  # images that are worth compiled kernels
ALONE = threading.RLock()  # seeds and threads of PyTorch are the process's own


@dataclass(frozen=True)
class HeldNetwork:
    """Logits by PyTorch of a network whose ``weights`` are held as bytes (safetensors), from which
    each process makes it when it is first needed; pickled or copied, it is those bytes."""

    recipe: Recipe
    columns: Columns
    weights: bytes = field(repr=False)
    device: str = "auto"

    def __getstate__(self) -> dict[str, Any]:
        made = ("network", "engine")
        return {name: value for name, value in vars(self).items() if name not in made}

    @cached_property
    def network(self) -> nn.Module:
        """The network with its weights, on its device."""
        import torch

        from convscope import devices, models
        from convscope.models import store

        asked, image = self.recipe.model, self.columns[IMAGE]
        with ALONE, devices.generators_kept():
            model = models.build_for(asked.name, self.columns, asked.arguments)
            store.make_up(model, torch.zeros(2, *image.shape))
        store.fill(model, store.from_bytes(self.weights, "the network"), "the network")
        return model.eval().to(devices.of(self.device))

    @cached_property
    def engine(self) -> nn.Module:
        """The network as it is run here."""
        from convscope.engine import tuned_network

        train = self.recipe.train
        on_cpu = next(self.network.parameters()).device.type == "cpu"
        algorithms = train.kernels if on_cpu else "plain"
        return tuned_network.engine(self.network, algorithms, train.precision)

    def __call__(self, images: NDArray[np.uint8], emit: Emit = silent) -> NDArray[np.float32]:
        """Raw logits float32 [N,K] for uint8 [N,C,H,W]."""
        from convscope.engine.tuned_network import FORMATS
        from convscope.evaluation import predictions

        return predictions.logits_of(
            self.engine if len(images) >= MANY else self.network,
            images,
            device=next(self.network.parameters()).device,
            memory_format=FORMATS[self.recipe.train.memory_format],
            emit=emit,
            stage="predict",
        )
