"""The picture of a network: how its boxes are laid out, and that what is drawn is well formed."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET

import pytest
import torch
from torch import Tensor, nn

from convscope.insight.anatomy import Summary, summarise, weightless
from convscope.insight.anatomy.layout import Branches, Tangle, Times, boxes_of, chain_of, folded
from convscope.models import MODELS, build

SVG = "{http://www.w3.org/2000/svg}"


def of(name: str, size: int = 28) -> Summary:
    if not name.startswith("tv:"):
        return summarise(build(name, 10, 1, (size, size)), (1, size, size), name=name)
    with weightless():
        model = build(name, 10, 3, (size, size)).head
    return summarise(model, (3, size, size), name=name)


def laid(summary: Summary):
    boxes = boxes_of(summary.rows)
    return boxes, folded(chain_of(boxes), boxes, summary.rows)


def names(summary: Summary, part) -> object:
    """A part of the layout, with the first row of each box for its number."""
    boxes = boxes_of(summary.rows)
    match part:
        case int():
            return summary.rows[boxes[part].rows[0]].name
        case Branches():
            chains = [[names(summary, inner) for inner in chain] for chain in part.chains]
            return ("around", *chains) if part.around else tuple(chains)
        case Tangle():
            return {names(summary, n) for n in part.boxes}
        case Times():
            return part.count, [names(summary, inner) for inner in part.parts]


def test_a_plain_network_is_a_chain() -> None:
    found = of("cnn")
    boxes, chain = laid(found)
    assert chain == list(range(len(boxes)))
    assert [[found.rows[i].kind for i in box.rows] for box in boxes] == [
        ["Normalise"],
        ["Conv2d", "BatchNorm2d"],
        ["MaxPool2d", "ReLU"],
        ["Conv2d", "BatchNorm2d"],
        ["MaxPool2d", "ReLU"],
        ["Flatten"],
        ["Linear"],
    ]


def test_a_residual_goes_around() -> None:
    found = of("resnet")
    _, chain = laid(found)
    assert [names(found, part) for part in chain] == [
        "normalise", "features.0", "features.1",
        ("around", ["features.3.conv1", "features.3.conv2"]), "features.3.add",
        "features.4", "features.5",
        ("around", ["features.7.conv1", "features.7.conv2"]), "features.7.add",
        "head.0", "head.1",
    ]  # fmt: skip


def test_branches_lie_side_by_side() -> None:
    found = of("inception")
    _, chain = laid(found)
    block = names(found, chain[3])
    assert block == (
        ["features.3.branch1x1"],
        ["features.3.branch5x5.0", "features.3.branch5x5.1"],
        ["features.3.branch3x3.0", "features.3.branch3x3.1", "features.3.branch3x3.2"],
        ["features.3.branch_pool.0", "features.3.branch_pool.1"],
    )
    assert names(found, chain[4]) == "features.3.cat"


class Dense(nn.Module):
    """Each layer takes all before it."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(2 + 2 * i, 2, 1) for i in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        for layer in self.layers:
            found.append(layer(torch.cat(found, 1)))
        return torch.cat(found, 1)


def test_what_does_not_fall_apart_is_a_tangle() -> None:
    found = summarise(Dense(4), (2, 8, 8))
    _, chain = laid(found)
    assert [type(part) for part in chain] == [Branches, int]
    (inner,) = chain[0].chains
    assert chain[0].around and isinstance(inner[-1], Tangle | Branches)
    assert found.svg().count('class="around"') >= 6


def test_what_is_alike_is_drawn_once() -> None:
    vit = of("tv:vit_b_16", 224)
    _boxes, chain = laid(vit)
    (times,) = (part for part in chain if isinstance(part, Times))
    assert times.count == 12 and len(times.parts) == 4
    assert len(times.boxes) == 12 * 5
    assert "12 times" in vit.svg()
    resnet = of("tv:resnet50", 224)
    counts = [part.count for part in laid(resnet)[1] if isinstance(part, Times)]
    assert counts == [2, 3, 5, 2]
    small = of("resnet")
    assert not any(isinstance(part, Times) for part in laid(small)[1])


def test_every_box_is_laid_out_once() -> None:
    def inside(part) -> list[int]:
        match part:
            case int():
                return [part]
            case Branches():
                return [n for chain in part.chains for inner in chain for n in inside(inner)]
            case _:
                return part.boxes

    for name, size in (("densenet", 28), ("tv:googlenet", 64), ("tv:swin_t", 224), ("cnn", 28)):
        boxes, chain = laid(of(name, size))
        assert sorted(n for part in chain for n in inside(part)) == list(range(len(boxes))), name


DRAWN = [*((name, 28) for name in MODELS if name != "densenet40"), ("tv:maxvit_t", 224)]


@pytest.mark.parametrize(("name", "size"), DRAWN)
def test_the_picture(name: str, size: int) -> None:
    found = of(name, size)
    root = ET.fromstring(found.svg())
    wide, high = float(root.get("width")), float(root.get("height"))
    assert root.get("viewBox") == f"0 0 {wide:.0f} {high:.0f}"
    for at in root.iter(f"{SVG}text"):
        assert 0 <= float(at.get("x")) < wide and 0 <= float(at.get("y")) <= high
    points = [
        tuple(map(float, pair.split(",")))
        for polygon in root.iter(f"{SVG}polygon")
        for pair in polygon.get("points").split()
    ]
    assert all(0 <= x <= wide and 0 <= y <= high for x, y in points)
    for path in root.iter(f"{SVG}path"):
        if path.get("class") in ("line", "around"):
            numbers = [float(n) for n in re.findall(r"-?[\d.]+", path.get("d"))]
            assert all(0 <= x <= wide for x in numbers[::2])
    said = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert "input" in said and " x ".join(map(str, found.inputs[0])) in said
    assert str(found.total.output_shape[-1]) in said
    assert found.svg() == found.svg()


def fronts(svg: str) -> list[tuple[float, float, float, float]]:
    """The boxes' outlines: left, top, right, bottom."""
    found = []
    for part in re.findall(r"<g[^>]*><title>.*?</g>", svg, re.S):
        points = re.findall(r'points="([^"]*)"', part)
        pairs = [tuple(map(float, p.split(","))) for row in points for p in row.split()]
        if pairs:
            xs, ys = zip(*pairs, strict=True)
            found.append((min(xs), min(ys), max(xs), max(ys)))
    return found


@pytest.mark.parametrize(("name", "size"), [("inception", 28), ("tv:googlenet", 64), ("cnn", 28)])
def test_boxes_do_not_overlap(name: str, size: int) -> None:
    boxes = fronts(of(name, size).svg())
    assert len(boxes) > 5
    for one, two in itertools.combinations(boxes, 2):
        apart = one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]
        assert apart


def test_a_box_is_as_large_as_its_map() -> None:
    layers = [nn.Conv2d(1, 8, 1), nn.MaxPool2d(4), nn.Conv2d(8, 64, 1)]
    svg = summarise(nn.Sequential(*layers), (1, 64, 64)).svg()
    first, pooled, deep = fronts(svg)
    width = [box[2] - box[0] for box in (first, pooled, deep)]
    assert width[0] == pytest.approx(2 * width[1], rel=0.01)  # 64 and 16: the square root
    assert width[1] == width[2] and 150 < width[0] < 250
    assert deep[3] - deep[1] > pooled[3] - pooled[1]  # more channels, a thicker box


def test_a_folded_block_is_named_by_its_class() -> None:
    said = re.findall(r'class="name"[^>]*>(.*?)</text>', of("inception").folded(2).svg())
    assert "" not in said and said.count("InceptionA") == 2


def test_channels_last_maps_are_drawn_as_maps() -> None:
    class Last(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(x.permute(0, 2, 3, 1)).relu()

    first = fronts(summarise(nn.Sequential(nn.Conv2d(2, 90, 1), Last()), (2, 32, 32)).svg())
    assert first[0][2] - first[0][0] == first[-1][2] - first[-1][0]


def test_a_network_that_fails_is_drawn_up_to_there() -> None:
    svg = summarise(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(3, 2)), (1, 8, 8)).svg()
    ET.fromstring(svg)
    assert "fails here: 1" in svg and "conv 3x3" in svg


def test_several_inputs_and_none_of_them_an_image() -> None:
    for model, shape in ((nn.Bilinear(3, 4, 5), ((3,), (4,))), (nn.Identity(), (3,))):
        svg = summarise(model, shape).svg()
        ET.fromstring(svg)
    assert "3 and 4" in summarise(nn.Bilinear(3, 4, 5), ((3,), (4,))).svg()
