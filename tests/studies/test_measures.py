"""What is asked of a run besides its accuracy."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

import convscope as cs
from convscope.data import sources
from convscope.errors import BadArgument
from convscope.models.parts import Classifier
from convscope.studies import measures

LINE = "c5-4p0 relu c5-8s2 relu gap flatten fc"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("measures") / "run"
    return cs.train("mnist", layers=LINE, steps=30, threads=1, kernels="plain", precision="float32",
                    memory_format="contiguous", out=out)  # fmt: skip


def test_images_are_moved_and_black_comes_in():
    images = np.arange(1, 10).reshape(1, 1, 3, 3)
    assert measures.moved(images, 0, 0).tolist() == images.tolist()
    assert measures.moved(images, -1, 0)[0, 0].tolist() == [[4, 5, 6], [7, 8, 9], [0, 0, 0]]
    assert measures.moved(images, 0, 2)[0, 0].tolist() == [[0, 0, 1], [0, 0, 4], [0, 0, 7]]
    assert measures.moved(images, 5, 0).sum() == 0


def test_accuracy_on_shifted_images(run, monkeypatch):
    monkeypatch.setattr(measures, "JUDGED", 100)
    pack = sources.open_data("mnist")
    found = measures.shift(run.path, pack)
    assert found["pixels"][0] == 0 and len(found["accuracy"]) == len(found["pixels"])
    lines = run.path.joinpath("predictions.csv").read_text().splitlines()[1:101]
    right = sum(line.split(",")[1] == line.split(",")[2] for line in lines)
    assert found["accuracy"][0] == right / 100 and found["unchanged"][0] == 1.0
    assert found["unchanged"][-1] < 1.0
    json.dumps(found)


def test_gradients_are_those_of_autograd(run, monkeypatch):
    monkeypatch.setattr(measures, "LEARNT", 20)
    pack = sources.open_data("mnist")
    found = measures.gradients(run.path, pack)
    assert len(found["layers"]) == 3 and found["layers"][0].startswith("features.")
    trained = cs.load(run.path).network
    pixels = torch.from_numpy(np.array(pack.splits["train"].images[:20])).float() / 255
    labels = torch.from_numpy(np.array(pack.splits["train"].labels[:20]))
    trained.eval()
    loss = torch.nn.functional.cross_entropy(trained(pixels), labels)
    wanted = torch.autograd.grad(loss, [p for p in trained.parameters() if p.ndim > 1])
    assert found["trained"] == pytest.approx([float(g.norm()) for g in wanted], rel=1e-4)
    assert found["begun"] != pytest.approx(found["trained"], rel=0.01)


class Halves(nn.Module):
    """Two branches that see the two halves of an image, and a head that listens to one."""

    def __init__(self) -> None:
        super().__init__()
        self.branch_heard, self.branch_unheard = nn.Identity(), nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = x.flatten(1).chunk(2, 1)
        return self.branch_heard(left) + 0 * self.branch_unheard(right)


def test_a_silenced_branch_tells_no_image_from_another():
    images = np.zeros((600, 1, 2, 2), np.uint8)
    labels = np.arange(600) % 2
    images[np.arange(600), 0, 0, labels] = 200  # the brighter one of the left half is the class
    images[:, 0, 1] = np.random.default_rng(0).integers(0, 255, (600, 2))
    found = measures.silenced(Classifier(1, None, Halves()), images, labels)
    assert found["branches"] == ["head.branch_heard", "head.branch_unheard"]
    assert found["intact"] == 1.0 and found["without"] == [0.5, 1.0]


def test_a_network_without_branches_is_refused(run):
    with pytest.raises(BadArgument, match="asks for branches, and its network has none"):
        measures.branches(run.path, sources.open_data("mnist"))
