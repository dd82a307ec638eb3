"""The lab's experiments: their numbers, their pictures, and what a unit really sees."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from convscope.errors import BadArgument
from convscope.insight import reference
from convscope.insight.anatomy import receptive_fields
from convscope.insight.lab import counting, drawing, page, sliding, stack
from convscope.insight.receptive_field import AxisField
from convscope.models import MODELS, build

GRID = np.arange(9.0).reshape(1, 3, 3)
K = np.arange(4.0).reshape(2, 2)


def worked_out(text: str) -> float:
    """The left side of a step, computed as it stands."""
    left = text.rpartition(" = ")[0].replace("·", "*")
    return float(eval(left, {"max": lambda *values: max(values)}))


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.integers(0, 3),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 2),
)
@example(size=(5, 5), kernel=(3, 3), padding=0, stride=1, dilation=1)
@settings(max_examples=60, deadline=None)
def test_reads_are_the_gradient_of_a_sum_of_windows(size, kernel, padding, stride, dilation):
    """Summed over a kernel of ones, each pixel counts as often as it is read."""
    if any(n + 2 * padding < dilation * (k - 1) + 1 for n, k in zip(size, kernel, strict=True)):
        return
    moves = {"pads": padding, "strides": stride, "dilations": dilation}
    found = sliding.convolve(np.zeros((1, *size)), np.ones(kernel), **moves)
    x = torch.zeros(1, 1, *size, requires_grad=True)
    ones = torch.ones(1, 1, *kernel)
    conv = torch.nn.functional.conv2d(x, ones, None, stride, padding, dilation)
    conv.sum().backward()
    assert found.reads().tolist() == x.grad[0, 0].tolist()


cases = st.tuples(
    st.integers(1, 3), st.integers(1, 2), st.integers(0, 2), st.integers(1, 2), st.booleans()
)


@settings(max_examples=60, deadline=None)
@given(cases, st.sampled_from(["conv", "max", "average"]))
@example((3, 2, 1, 1, True), "average")  # the last window reaches beyond the padding
def test_every_step_is_what_the_output_holds(case, kind):
    kernel, stride, padding, dilation, extra = case
    X = np.round(np.random.default_rng(0).normal(size=(2, 7, 6)) * 9)
    if kind == "conv":
        weights = np.arange(-2.0, kernel * 2 - 2).reshape(kernel, 2)
        found = sliding.convolve(X, weights, pads=padding, strides=stride, dilations=dilation,
                                 bias=3, flip=extra, out_channels=2)  # fmt: skip
    else:
        padding = min(padding, 1)
        if kernel == 1:
            padding = 0
        found = sliding.pool(X, (kernel, kernel), kind=kind, pads=padding, strides=stride,
                             dilations=1, ceil_mode=extra, count_include_pad=extra)  # fmt: skip
    shown = list(found.steps(10_000))
    assert len(shown) == found.places == found.Y.size
    for _, place in shown:
        text = found.arithmetic(*place)
        if "more)" not in text:
            assert worked_out(text) == pytest.approx(found.Y[place], rel=1e-4, abs=1e-4), text
        assert text.endswith(f" = {sliding.written(found.Y[place])}")
        if kind == "average":  # as many terms as it is divided by
            assert text.count(" + ") + 1 == found.counts[place[1:]], text


def test_formulas_hold():
    for formula, out in (
        (sliding.convolve(np.ones((1, 8, 9)), np.ones((5, 3)), pads=1, strides=2).formula(), 0),
        (sliding.pool(np.ones((1, 5, 6)), 2, ceil_mode=True).formula(), 1),
    ):
        for text in formula:
            filled = re.search(r"= ((?:floor|ceil)\(.*?\) / \d+\)(?: \+ 1)?) = (\d+)", text)
            value = eval(filled[1].replace("floor", "np.floor").replace("ceil", "np.ceil"))
            assert int(value) == int(filled[2]), (text, out)
    same = sliding.convolve(np.ones((1, 5, 5)), np.ones((2, 2)), strides=2, auto_pad="SAME_LOWER")
    assert same.formula()[0] == "ceil(n / s) = ceil(5 / 2) = 3; padding 1 before, 0 after"
    wide = sliding.convolve(np.ones((1, 9, 9)), np.ones((3, 3)), dilations=2)
    assert wide.formula()[0].endswith("= 5; k = d·(taps - 1) + 1 = 2·(3 - 1) + 1 = 5")
    less = sliding.pool(np.ones((1, 4, 4)), 2, strides=4, pads=(0, 0, 1, 1), ceil_mode=True)
    assert less.formula()[0].endswith("= 2, less one that begins in the padding: 1")


def test_groups_take_their_own_channels():
    X = np.random.default_rng(1).normal(size=(4, 5, 5))
    weights = np.random.default_rng(2).normal(size=(2, 2, 3, 3))
    found = sliding.convolve(X, weights, group=2)
    assert [list(found.channels(m)) for m in (0, 1)] == [[0, 1], [2, 3]]
    np.testing.assert_allclose(found.Y[1], reference.conv2d(X[None, 2:], weights[1:])[0, 0])
    assert worked_out(found.arithmetic(1, 2, 1)) == pytest.approx(found.Y[1, 2, 1], rel=1e-2)


def test_a_detour_may_cost_more():
    found = counting.one_by_one(channels=4, size=(6, 6), kernel=(1, 1), out=2, through=8)
    assert found.saving < 0 and found.multiplications == (6 * 6 * 8, 6 * 6 * (32 + 16))
    assert found.difference < 1e-12


# what a unit sees

words = st.lists(
    st.sampled_from(["c3-4", "c5-4", "c2-4", "c3-4s2", "c3x1-4p0", "c3-4d2", "mp2", "ap3s2p1",
                     "relu", "bn"]),
    min_size=1, max_size=4,
)  # fmt: skip


def layers_of(text: list[str]) -> nn.Module:
    """The same stack in PyTorch, written by hand: the sum of a window for every layer."""
    made: dict[str, list[nn.Module]] = {
        "c3-4": [nn.Conv2d(1, 1, 3, padding=1)],
        "c5-4": [nn.Conv2d(1, 1, 5, padding=2)],
        "c2-4": [nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(1, 1, 2)],
        "c3-4s2": [nn.Conv2d(1, 1, 3, 2, padding=1)],
        "c3x1-4p0": [nn.Conv2d(1, 1, (3, 1))],
        "c3-4d2": [nn.Conv2d(1, 1, 3, padding=2, dilation=2)],
        "mp2": [nn.AvgPool2d(2)],
        "ap3s2p1": [nn.AvgPool2d(3, 2, 1)],
        "relu": [nn.Identity()],
        "bn": [nn.Identity()],
    }
    return nn.Sequential(*(layer for word in text for layer in made[word]))


@settings(max_examples=60, deadline=None)
@given(words, st.integers(0, 99))
def test_a_unit_sees_what_its_gradient_reaches(text, seed):
    rows = stack.follow(text, (40, 37))
    net = layers_of(text)
    for p in net.parameters():
        nn.init.constant_(p, 1.0)
    x = torch.ones(1, 1, 40, 37, requires_grad=True)
    y = net(x)
    last = rows[-1]
    assert tuple(y.shape[2:]) == (last.height.size, last.width.size)
    i, j = ((n // 2 + seed % 3 * (n > 4)) for n in y.shape[2:])
    (grad,) = torch.autograd.grad(y[0, 0, i, j], x)
    reached = grad[0, 0].nonzero()
    for axis, view, at, side in ((0, last.height, i, 40), (1, last.width, j, 37)):
        low, high = view.low + at * view.stride, view.high + at * view.stride
        assert view.field == high - low + 1 and view.centre == (view.low + view.high) / 2
        if low >= 0 and high < side:
            assert (reached[:, axis].min(), reached[:, axis].max()) == (low, high)
        else:  # at the edges padding cuts some ways off
            assert low <= reached[:, axis].min() and reached[:, axis].max() <= high
    followed = receptive_fields(net, (1, 40, 37))[-1]
    assert (followed.height, followed.width) == (last.height, last.width)


@pytest.mark.parametrize("name", MODELS)
def test_networks_of_the_registry(name):
    rows = receptive_fields(build(name, 10, 1, (28, 28)), (1, 28, 28))
    assert rows[0].layer == "input" and rows[-1].whole
    fields = {row.layer: row.height.field for row in rows}
    known = {
        "cnn": {"features.0": 5, "features.2": 6, "features.4": 14, "features.6": 16},
        "resnet": {"features.3.conv2": 14, "features.3.add": 14, "features.7.add": 40},
        "inception": {"features.3.cat": 14, "features.7.cat": 40, "features.3.branch1x1": 6},
        "keras_cnn": {"features.4": 10},
        "record": {"features.0": 2},
        "preact_resnet20": {"features.3.add": 7, "features.6.add": 21},
    }.get(name, {})
    assert {key: fields[key] for key in known} == known


def test_a_network_that_looks_at_its_data_says_so():
    class Odd(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(BadArgument, match="model=Odd: cannot be followed .* give its layers"):
        receptive_fields(Odd(), (1, 8, 8))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("c3-4 quux", "LAYERS=quux: is no layer, and a map of 28 x 28 arrived there; Known: "),
        ("mp2 relo", "LAYERS=relo: is no layer, and a map of 14 x 14 .* did you mean relu?"),
        ("relu5", "LAYERS=relu5: is no layer"),
        ("c3-4p1p2", "LAYERS=c3-4p1p2: says one thing twice"),
        ("c3-4 [ mp2 ]+", r"LAYERS=]\+: cannot add: 28 x 28 went in at \[ and 14 x 14 came out"),
        ("c3-4 [ ]+", "closes an empty residual"),
        ("c3-4 ]+", "closes a bracket that was never opened"),
        ("[ c3-4", r"LAYERS=\[: is never closed"),
        ("c3-4 [ relu ]", "does not say how"),
        ("c9-4p0 c9-4p0 c9-4p0 c9-4p0", "LAYERS=c9-4p0: spans 9 pixels of height"),
        ("c0-4", "LAYERS=c0-4: has a kernel, stride, dilation, group or channel of 0"),
        ("mp2s0", "LAYERS=mp2s0: has a window or stride of 0"),
    ],
)
def test_stacks_that_are_refused(text, message):
    """Every refusal shows the line, and marks the word below it."""
    with pytest.raises(BadArgument, match=message) as why:
        stack.follow(text.split(), (28, 28))
    shown, marks = str(why.value).splitlines()[1:]
    assert shown == f"  {text}"
    assert shown[len(marks) - marks.count("^") : len(marks)] == why.value.value


@pytest.mark.parametrize(
    "line",
    [
        "c3-4 relu [ c3-4 bn c5-4 ]+ mp2 [ [ c3-4 ]+ c3x5-4d2 drop0.5 ]+ ap3s2p1 c2-6s2",
        "c5x3-4p0d2x1s2 mp2 c3-4 [ c1-4 ]+",
    ],
)
def test_a_line_is_followed_as_its_network_is(line):
    """One language: what a unit sees is the same by the words and by the graph that they make."""
    net = build("layers", 10, 1, (28, 28), {"layers": f"{line} gap flatten fc"})
    by_words = stack.follow(f"{line} gap flatten fc".split())
    by_graph = receptive_fields(net, (1, 28, 28))
    sliding = [row for row in by_words if row.kind not in ("each by itself", "all of it")]
    graph = [(row.height, row.width) for row in by_graph if not row.whole]
    assert len(sliding) > 4 and (sliding[-1].height, sliding[-1].width) == graph[-1]
    assert {(row.height, row.width) for row in sliding} <= set(graph)
    assert by_words[-1].whole and by_words[-1].layer == "fc"


def test_a_residual_of_one_unit_may_have_a_stride():
    last = stack.follow(["mp28", "[", "c3-1s2", "]+"])[-1]
    assert (last.layer, last.kind, last.height) == (
        "]+",
        "added",
        AxisField(1, -28, 55, 56),
    )


# pictures


def frames(gif: bytes) -> list[np.ndarray]:
    found = []
    with Image.open(io.BytesIO(gif)) as image:
        for n in range(image.n_frames):
            image.seek(n)
            found.append(np.asarray(image.convert("RGB")).astype(int))
    assert (found[0][0, 0] == 255).all()  # paper
    return found


def box_of(frame: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, ...]:
    """Left, top, right and bottom of what has about that colour."""
    ys, xs = np.nonzero(np.abs(frame - colour).max(axis=2) < 24)
    return int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max())


RED, BLUE = (192, 75, 0), (0, 114, 178)


def test_the_kernel_moves_and_the_output_fills():
    found = frames(drawing.moves(sliding.convolve(GRID, K), "2x2"))
    assert len(found) == 4
    boxes = [box_of(frame, RED) for frame in found]
    (l0, t0, r0, b0), (l1, t1, *_), (l2, t2, *_), _ = boxes
    cell = (r0 - l0) / 2
    assert l1 - l0 == pytest.approx(cell, abs=3) and abs(t1 - t0) < 3
    assert t2 - t0 == pytest.approx((b0 - t0) / 2, abs=3) and abs(l2 - l0) < 3
    assert boxes[3][0] - l0 == pytest.approx(cell, abs=3)
    many = drawing.moves(sliding.convolve(np.arange(400.0).reshape(1, 20, 20), K), "2x2")
    assert len(frames(many)) == drawing.FRAMES


def test_a_step_is_drawn_where_it_is():
    board = drawing._Board(sliding.convolve(GRID, K, pads=1), "2x2")
    board.place(5, 16)  # row 1, column 1: begins at the image's first pixel
    inside, outside = board.windows[0], board.windows[-1]
    assert inside.get_bbox().bounds == (-0.5, -0.5, 2, 2)
    assert outside.get_bbox().bounds == (0.5, 0.5, 1, 1)
    assert board.said.get_text() == "row 1, column 1: 0·0 + 1·1 + 3·2 + 4·3 = 19"
    board.place(2, 3)
    assert [text.get_visible() for text in board.texts] == [True] * 3 + [False] * 13
    assert board.image.get_array().mask.sum() == 13
    apart = drawing._Board(sliding.convolve(np.ones((1, 5, 5)), np.ones((2, 2)), dilations=3), "k")
    apart.place(3, 4)
    corners = [window.get_bbox().bounds[:2] for window in apart.windows[:-1]]
    assert corners == [(0.5, 0.5), (3.5, 0.5), (0.5, 3.5), (3.5, 3.5)]


def test_fields_are_drawn_where_they_are():
    axes = drawing.fields(stack.follow(["c5-16", "mp2"], (28, 28))).axes[0]
    assert axes.get_xlabel() == "column of pixels" and axes.get_ylabel() == "row of pixels"
    boxes = {patch.get_label(): patch.get_bbox().bounds for patch in axes.patches[1:]}
    assert boxes["c5-16: 5 x 5"] == (11.5, 11.5, 5, 5)
    assert boxes["mp2: 6 x 6"] == (11.5, 11.5, 6, 6)
    assert len(frames(drawing.fields_growing(stack.follow(["c5-16", "mp2"], (28, 28))))) == 3


def test_bars_and_lessons_show_their_numbers():
    found = counting.one_by_one()
    texts = [text.get_text().strip() for text in drawing.counts(found).axes[0].texts]
    assert texts == ["120,422,400", "12,443,648"]
    grown = frames(drawing.counts_growing(found))
    assert len(grown) == 24 and box_of(grown[0], RED)[2] < box_of(grown[-1], RED)[2]
    x = np.ones((6, 8))
    x[:, 2:6] = 0
    y = reference.corr2d(x, [[1.0, -1.0]])
    learnt = reference.learn_kernel(x, y, steps=60)
    figure = drawing.learning(x, y, learnt)
    assert [text.get_text() for text in figure.axes[2].texts] == ["1.000", "-1.000"]
    assert figure.texts[0].get_text().startswith("step 60 of 60, loss ")
    moved = frames(drawing.learning_moves(x, y, learnt))
    assert 24 < len(moved) <= 36 and not np.array_equal(moved[0], moved[-1])


# pages; what they say in a browser is in tests/web/test_lab.py


def test_a_page_loads_nothing_and_has_its_limits(monkeypatch):
    made = page.moves(sliding.convolve(GRID, K, bias=2))
    assert "default-src 'none'" in made
    assert not re.search(r"https?://|src=|@import|url\(", made)
    data = json.loads(re.search(r'id="about"[^>]*>(.*?)</script>', made, re.S)[1])
    assert data["lab"] == {
        "do": "conv", "x": "0,1,2;3,4,5;6,7,8", "k": "0,1;2,3", "b": "2", "g": "1",
        "p": "0,0,0,0", "s": "1,1", "d": "1,1", "at": "0,1,1",
    }  # fmt: skip
    assert len(made) < 150_000
    with pytest.raises(BadArgument, match="has 360,000 numbers, and a page holds 300,000"):
        page.moves(sliding.pool(np.zeros((1, 600, 600)), 600))
    monkeypatch.setattr(page, "MOST_PRODUCTS", 15)
    with pytest.raises(BadArgument, match="takes 16 multiplications, and a page does 15"):
        page.moves(sliding.convolve(GRID, K))
