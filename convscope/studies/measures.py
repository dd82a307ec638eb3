"""What else is asked of a run: how it does on shifted images, its gradients by layer, and how it
does without one of its branches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from convscope import run
from convscope.data.loader import to_input
from convscope.data.pack import Pack
from convscope.errors import BadArgument
from convscope.evaluation import predictions
from convscope.evaluation.hooks import hooked
from convscope.job.prepare import build
from convscope.models import store
from convscope.models.parts import Classifier

PIXELS = (0, 1, 2, 3, 4, 6, 8)  # that the images are shifted by
JUDGED = 1000  # test images that are shifted, or judged without a branch
LEARNT = 500  # training images whose gradient is taken


def shift(folder: Path, pack: Pack) -> dict[str, Any]:
    """Accuracy on the first 1,000 test images, each shifted by so many pixels up, down, left and
    right (black beyond the edge), and the share whose prediction stays what it was unshifted."""
    place = run.find(folder)
    network = store.load(place)
    test = pack.splits["test"]
    images, labels = np.array(test.images[:JUDGED]), test.labels[:JUDGED]
    found: dict[str, Any] = {"pixels": list(PIXELS), "accuracy": [], "unchanged": []}
    unshifted = predictions.logits_of(network, images).argmax(1)
    for pixels in PIXELS:
        moves = [(pixels, 0), (-pixels, 0), (0, pixels), (0, -pixels)] if pixels else [(0, 0)]
        shifted = [predictions.logits_of(network, moved(images, *by)).argmax(1) for by in moves]
        found["accuracy"].append(float((np.stack(shifted) == labels).mean()))
        found["unchanged"].append(float((np.stack(shifted) == unshifted).mean()))
    return found


def moved(images: np.ndarray, down: int, right: int) -> np.ndarray:
    """Images [N,C,H,W] moved by so many pixels, black where nothing comes in.

    >>> moved(np.arange(1, 5).reshape(1, 1, 2, 2), 1, 0).tolist()
    [[[[0, 0], [1, 2]]]]
    """
    found = np.zeros_like(images)
    height, width = images.shape[2:]
    rows = slice(max(0, down), min(height, height + down))
    columns = slice(max(0, right), min(width, width + right))
    back = slice(rows.start - down, rows.stop - down)
    aside = slice(columns.start - right, columns.stop - right)
    found[:, :, rows, columns] = images[:, :, back, aside]
    return found


def gradients(folder: Path, pack: Pack) -> dict[str, Any]:
    """The norm of the loss's gradient at the weights of each convolution and linear layer, for the
    first 500 training images: at the weights that the run began with, and at those it ended with.
    """
    place = run.find(folder)
    trained = store.load(place)
    asked = place.read_recipe()
    torch.manual_seed(asked.train.seed)
    begun = build(asked, pack)
    assert isinstance(begun, Classifier)
    begun.normalise.load_state_dict(trained.normalise.state_dict())
    train = pack.splits["train"]
    images = torch.from_numpy(np.array(train.images[:LEARNT]))
    inputs = to_input(images, "cpu", torch.contiguous_format)
    targets = torch.from_numpy(np.array(train.labels[:LEARNT]))
    return {
        "layers": [name for name, _ in _weights(begun)],
        "begun": _norms(begun, inputs, targets),
        "trained": _norms(trained, inputs, targets),
    }


def _weights(network: Classifier) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in network.named_parameters() if p.ndim > 1]


def _norms(network: Classifier, inputs: torch.Tensor, targets: torch.Tensor) -> list[float]:
    network.eval().zero_grad()
    with torch.enable_grad():
        loss = functional.cross_entropy(network(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]
    return [0.0 if p.grad is None else float(p.grad.norm()) for _, p in _weights(network)]


def branches(folder: Path, pack: Pack) -> dict[str, Any]:
    """:func:`silenced` on the first 1,000 test images."""
    test = pack.splits["test"]
    images, labels = np.array(test.images[:JUDGED]), np.array(test.labels[:JUDGED])
    return silenced(store.load(run.find(folder)), images, labels)


def silenced(network: Classifier, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Accuracy on uint8 [N,C,H,W] with one branch of one block silenced: its maps are put to their
    means over these images, so that it tells none of them from another.

    A branch is a child whose name begins with ``branch``, as those of ``inception`` and of
    torchvision's Inception networks do. Raises BadArgument for a network that has none.
    """
    names = [name for name, _ in network.named_modules() if _is_branch(name)]
    if not names:
        rule = "asks for branches, and its network has none"
        raise BadArgument("measures", "branches", rule, "take inception, or tv:googlenet")

    def accuracy() -> float:
        return float((predictions.logits_of(network, images).argmax(1) == labels).mean())

    def without(name: str) -> float:
        branch, sums = {name: network.get_submodule(name)}, list[torch.Tensor]()
        with hooked(branch, lambda *at: sums.append(at[-1].double().sum(0, keepdim=True))):
            accuracy()
        mean = torch.stack(sums).sum(0) / len(images)
        with hooked(branch, lambda *at: mean.to(at[-1].dtype).expand_as(at[-1])):
            return accuracy()

    return {"intact": accuracy(), "branches": names, "without": [without(n) for n in names]}


def _is_branch(name: str) -> bool:
    """
    >>> _is_branch("features.3.branch1x1"), _is_branch("features.3.branch5x5.0")
    (True, False)
    """
    return name.rpartition(".")[2].startswith("branch")


MEASURES: dict[str, Callable[[Path, Pack], dict[str, Any]]] = {
    "shift": shift,
    "gradients": gradients,
    "branches": branches,
}
