"""The picture of a network: how its boxes are laid out, and that what is drawn is well formed."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET

import pytest
import torch
from torch import Tensor, nn

from convscope.insight.anatomy import Summary, drawing, folding, summarise, weightless
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
    assert "12 times" in vit.svg() and ">to encoder_layer_11<" in vit.svg()
    assert ">to features.5.8<" in of("tv:convnext_tiny", 224).svg()
    resnet = of("tv:resnet50", 224)
    counts = [part.count for part in laid(resnet)[1] if isinstance(part, Times)]
    assert counts == [2, 3, 5, 2]
    small = of("resnet")
    assert not any(isinstance(part, Times) for part in laid(small)[1])


def folds(summary: Summary) -> list[tuple[str, str, str]]:
    """The boxes of a picture that stand for several: name, what they are, what else is said."""
    picture = drawing._Picture(summary, "")
    found = folding.alike(summary, picture.weight)
    assert sum(row.parts for row in found.rows) == len(summary.rows)
    for name in ("parameters", "multiply_adds", "activation_bytes", "output_shape"):
        assert getattr(found.total, name) == getattr(summary.total, name)
    return [(row.name, row.label, row.note) for row in found.rows if row.parts > 1]


def test_blocks_that_are_built_like_one_before_are_one_box() -> None:
    assert folds(of("tv:resnet50", 224)) == [
        ("layer2.1 to 3", "3 x Bottleneck", "like layer1.1"),
        ("layer3", "6 x Bottleneck", "like layer2"),
        ("layer4", "3 x Bottleneck", "like layer2"),
    ]
    assert folds(of("tv:googlenet", 224)) == [
        ("inception3b", "Inception", "like inception3a"),
        ("inception4a to inception4e", "5 x Inception", "like inception3a"),
        ("inception5a to inception5b", "2 x Inception", "like inception3a"),
    ]
    dense = folds(of("tv:densenet121", 224))
    assert dense[0][1:] == ("4 x DenseLayer", "like features.denseblock1.denselayer2")
    assert dense[1][1:] == ("DenseBlock", "12 x DenseLayer; like features.denseblock1")
    assert folds(of("tv:vit_b_16", 224)) == []  # the same twelve times, which is said otherwise


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("tv:densenet121", 224, "built like one before"),
        ("tv:maxvit_t", 224, "A box is a module, 6 levels deep"),
        ("tv:resnet50", 224, "built like one before"),
        ("inception", 28, ""),
        ("densenet40", 32, "built like one before"),
    ],
)
def test_a_picture_is_no_higher_than_can_be_read(name: str, size: int, said: str) -> None:
    found = of(name, size)
    root = ET.fromstring(found.svg())
    assert 400 < float(root.get("height")) < drawing.TALLEST + 200
    foot = "".join(root.findall(f"{SVG}text")[-1].itertext())
    assert said in foot and bool(said) == ("box" in foot)
    if said:
        whole = ET.fromstring(found.svg(whole=True))
        assert float(whole.get("height")) > float(root.get("height"))


def test_a_folded_box_leads_to_its_first_row() -> None:
    found = of("tv:resnet50", 224)
    names = [row.name for row in found.rows]
    boxes = re.findall(r'<a href="#r-(\d+)">.*?<title>([^:]*):', drawing.svg(found, "r-"))
    leads = {name: names[int(number)] for number, name in boxes}
    assert leads["layer3"] == "layer3.0.conv1" and leads["layer2.1 to 3"] == "layer2.1.conv1"
    assert leads["layer2.0.conv1"] == "layer2.0.conv1" and leads["fc"] == "fc"


def test_levels_have_names() -> None:
    found = of("tv:resnet50", 224).folded(2)
    assert {row.label for row in found.rows if row.parts > 1} == {"Bottleneck"}
    assert "layer3.5" in found.svg() and ">Bottleneck<" in found.svg()
    holders = of("tv:resnet50", 224).folded(1)
    assert [row.label for row in holders.rows if row.parts > 1] == [
        f"{n} x Bottleneck" for n in (3, 4, 6, 3)
    ]


class Siamese(nn.Module):
    """Two images through one network, and a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.last = nn.Conv2d(1, 4, 3), nn.Linear(3, 1)

    def forward(self, one: Tensor, two: Tensor, three: Tensor) -> Tensor:
        return self.net(one) + self.net(two) * self.last(three)


def test_each_of_several_inputs_is_drawn() -> None:
    found = summarise(Siamese(), ((1, 8, 8), (1, 8, 8), (3,)))
    assert [row.inputs for row in found.rows] == [(-1,), (-2,), (-3,), (1, 2), (0, 3)]
    assert "from input 2" in found.text() and "from input 3" in found.text()
    svg = found.svg()
    ET.fromstring(svg)
    for name in ("input", "input 2", "input 3"):
        assert svg.count('<text class="name"') > 3 and f">{name}</text>" in svg
    assert svg.count('class="image front"') == 3
    assert svg.count('class="tip"') == len(found.rows)  # no arrow leads to an input
    assert "href" not in drawing.svg(found, "r-").split(">input 2<")[0].split("<g>")[1]


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
    svg = summarise(nn.Bilinear(3, 4, 5), ((3,), (4,))).svg()
    assert ">input 2</text>" in svg and ">3</text>" in svg and ">4</text>" in svg
