"""Multiply-adds of operators, each counted by hand."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations as P

from convscope.insight.anatomy import summarise
from convscope.insight.anatomy.counting import multiply_adds, terms
from convscope.insight.anatomy.trace import trace


class Does(nn.Module):
    def __init__(self, what) -> None:
        super().__init__()
        self.what = what

    def forward(self, *x: Tensor) -> Tensor:
        return self.what(*x)


@pytest.mark.parametrize(
    ("layer", "shape", "output", "work"),
    [
        (nn.Conv2d(4, 6, 3, stride=2, groups=2), (4, 9, 9), (6, 4, 4), 16 * 6 * 2 * 9),
        (nn.Conv2d(4, 4, 3, groups=4), (4, 9, 9), (4, 7, 7), 49 * 4 * 9),
        (nn.Conv2d(3, 8, 3, dilation=3), (3, 9, 9), (8, 3, 3), 9 * 8 * 27),
        (nn.Conv2d(3, 8, (5, 3), bias=False), (3, 7, 7), (8, 3, 5), 15 * 8 * 3 * 15),
        (nn.ConvTranspose2d(2, 3, 2, stride=2), (2, 4, 4), (3, 8, 8), 16 * 2 * 3 * 4),
        (nn.Conv1d(6, 2, 3), (6, 10), (2, 8), 8 * 2 * 6 * 3),
        (nn.Conv3d(1, 2, 3), (1, 5, 5, 5), (2, 3, 3, 3), 27 * 2 * 27),
        (nn.Linear(7, 5), (3, 2, 7), (3, 2, 5), 6 * 7 * 5),
        (nn.LSTM(8, 16, batch_first=True), (5, 8), (5, 16), 5 * 4 * 16 * (8 + 16)),
        (nn.GRU(8, 16, batch_first=True), (5, 8), (5, 16), 5 * 3 * 16 * (8 + 16)),
    ],
)
def test_layers(layer: nn.Module, shape, output, work: int) -> None:
    (row,) = summarise(layer, shape).rows
    assert (row.name, row.output_shape, row.multiply_adds) == (type(layer).__name__, output, work)
    assert row.parameters == sum(p.numel() for p in layer.parameters())


a, b, v = torch.ones(3, 4), torch.ones(4, 5), torch.ones(4)


@pytest.mark.parametrize(
    ("what", "shape", "work"),
    [
        (lambda x: x @ b, (3, 4), 3 * 4 * 5),
        (lambda x: x @ v, (3, 4), 12),
        (lambda x: x[0] @ v, (4,), 4),
        (lambda x: torch.matmul(x, x.mT), (2, 3, 4), 2 * 3 * 3 * 4),
        (lambda x: torch.einsum("bnk,km->bmn", x, b), (3, 4), 3 * 4 * 5),
        (lambda x: torch.addmv(torch.ones(3), x[0], v), (3, 4), 12),
        (lambda x: torch.addbmm(torch.ones(3, 3), x, x.mT), (3, 4), 36),
        (lambda x: torch.addr(torch.ones(4, 4), x[0], v), (4,), 16),
        (lambda x: torch.baddbmm(torch.ones(1, 3, 3), x, x.mT), (3, 4), 36),
        (lambda x: functional.linear(x, b.T, torch.ones(5)), (3, 4), 60),
        (lambda x: functional.scaled_dot_product_attention(x, x, x), (2, 6, 8), 2 * 2 * 36 * 8),
        (lambda x: (x * x).sum(), (3, 4), 0),  # on each value by itself, and a sum
    ],
)
def test_functions(what, shape, work: int) -> None:
    assert summarise(Does(what), shape).total.multiply_adds == work
    real = trace(Does(what), [torch.zeros(1, *shape)], real=True)
    assert sum(multiply_adds(op) for op in real.root.ops()) == work


LENGTH, WIDTH, HEADS = 10, 32, 4
PROJECTIONS = LENGTH * WIDTH * 3 * WIDTH + LENGTH * WIDTH * WIDTH
SCORES = 2 * HEADS * LENGTH * LENGTH * (WIDTH // HEADS)


def test_attention_by_hand() -> None:
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 64, batch_first=True)
    found = summarise(nn.TransformerEncoder(layer, 2), (LENGTH, WIDTH))
    attention = [row for row in found.rows if row.kind == "MultiheadAttention"]
    assert [row.multiply_adds for row in attention] == [PROJECTIONS + SCORES] * 2
    assert [row.parameters for row in attention] == [4 * (WIDTH * WIDTH + WIDTH)] * 2
    assert attention[0].work == "10*96 * 32 + 4*10*10 * 8 + 4*10*8 * 10 + 10*32 * 32"
    assert found.total.multiply_adds == 2 * (PROJECTIONS + SCORES + 2 * LENGTH * WIDTH * 64)
    assert [row.join for row in found.rows if row.kind == "add"] == ["residual"] * 4


def test_a_batch_of_tensors_is_counted_whole() -> None:
    found = summarise(nn.Linear(4, 5), torch.zeros(7, 4))
    assert (found.rows[0].output_shape, found.total.multiply_adds) == ((7, 5), 7 * 20)


@pytest.mark.parametrize(
    "what",
    [
        torch.fft.fft2,
        torch.linalg.svdvals,
        lambda x: torch.cdist(x, torch.ones(1, 1, 2, 6)),
    ],
)
def test_what_has_no_rule_is_said_to_be_unknown(what) -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 3), Does(what))
    found = summarise(model, (1, 8, 8))
    assert [row.multiply_adds for row in found.rows] == [324, None]
    assert found.rows[1].note.startswith("no counting rule for ")
    assert found.total.multiply_adds == 324
    assert "at least 324 multiply-adds" in found.text()
    assert "without 1 row that cannot be counted" in found.text()
    assert found.as_json()["total"]["uncounted_rows"] == 1
    assert found.folded(1).rows[1].multiply_adds is None
    (block,) = summarise(nn.Sequential(model), (1, 8, 8)).folded(1).rows
    assert block.multiply_adds is None


def test_a_bilinear_layer_sums_over_one_input_and_then_the_other() -> None:
    (row,) = summarise(nn.Bilinear(3, 4, 5), ((3,), (4,))).rows
    assert row.multiply_adds == 5 * (4 * 3 + 4) and row.parameters == 65
    assert row.inputs == (-1, -2)
    assert summarise(nn.Bilinear(3, 4, 5), ((7, 3), (7, 4))).total.multiply_adds == 7 * 80


def test_sampling_is_not_counted_and_its_grid_is() -> None:
    def sampled(x: Tensor) -> Tensor:
        grid = functional.affine_grid(torch.eye(2, 3)[None], [1, 3, 8, 6], align_corners=False)
        return functional.grid_sample(x, grid, align_corners=False)

    found = summarise(Does(sampled), (3, 16, 16))
    assert [row.multiply_adds for row in found.rows] == [8 * 6 * 2 * 3, 0]


def test_a_deformable_convolution_counts_like_one_that_is_not() -> None:
    from torchvision.ops import DeformConv2d

    for arguments in ({"padding": 1}, {"stride": 2, "groups": 2}):
        layer = DeformConv2d(4, 6, 3, **arguments)
        plain = summarise(nn.Conv2d(4, 6, 3, **arguments), (4, 12, 12))
        shape = plain.rows[0].output_shape[1:]
        (row,) = summarise(layer, ((4, 12, 12), (18, *shape))).rows
        assert row.multiply_adds == plain.total.multiply_adds
        assert row.parameters == plain.total.parameters


def test_why_a_count_is_unknown() -> None:
    (row,) = summarise(Does(torch.fft.rfft2), (1, 8, 8)).rows
    assert row.note.endswith("_fft_r2c, whose work depends on the factors of the length")


def test_bags_of_embeddings_are_sums() -> None:
    (row,) = summarise(nn.EmbeddingBag(9, 4), torch.zeros(2, 3, dtype=torch.int64)).rows
    assert (row.multiply_adds, row.parameters, row.output_shape) == (0, 36, (2, 4))


ACTIVATIONS = (
    nn.ELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardtanh, nn.Hardswish, nn.LeakyReLU, nn.LogSigmoid,
    nn.PReLU, nn.ReLU, nn.ReLU6, nn.RReLU, nn.SELU, nn.CELU, nn.GELU, nn.Sigmoid, nn.SiLU, nn.Mish,
    nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Dropout, nn.AlphaDropout,
    nn.Identity,
)  # fmt: skip
OTHERS = (
    nn.GLU(1), nn.Softmax2d(), nn.LogSoftmax(1), nn.Threshold(0.1, 0), nn.LocalResponseNorm(2),
    nn.BatchNorm2d(4), nn.InstanceNorm2d(4), nn.GroupNorm(2, 4), nn.LayerNorm(6), nn.RMSNorm(6),
    nn.MaxPool2d(2), nn.AvgPool2d(2), nn.LPPool2d(2, 2), nn.AdaptiveMaxPool2d(2),
    nn.AdaptiveAvgPool2d((4, 5)), nn.FractionalMaxPool2d(2, 3), nn.ReflectionPad2d(1),
    nn.ReplicationPad2d(1), nn.CircularPad2d(1), nn.ConstantPad2d(1, 2.0), nn.PixelShuffle(2),
    nn.PixelUnshuffle(2), nn.Upsample(scale_factor=2), nn.ChannelShuffle(2), nn.Unfold(3),
    nn.Upsample(scale_factor=2, mode="bilinear"), nn.Upsample(scale_factor=2, mode="bicubic"),
    nn.Flatten(), nn.Unflatten(1, (2, 2)),
)  # fmt: skip


def test_what_multiplies_nothing_together_counts_nothing() -> None:
    for layer in (*(kind() for kind in ACTIVATIONS), *OTHERS):
        for inplace in (False, True) if hasattr(layer, "inplace") else (False,):
            layer.inplace = inplace
            (row,) = summarise(layer, (4, 6, 6)).rows
            assert (row.multiply_adds, row.note) == (0, ""), layer
            if type(layer) in ACTIVATIONS:
                assert row.sees == "1x1", layer


def test_the_terms_multiply_to_the_count() -> None:
    convolutions = [
        nn.Conv2d(4, 8, k, stride=s, padding=p, dilation=d, groups=g)
        for k, s, p, d, g in itertools.product((1, 3), (1, 2), (0, 1), (1, 2), (1, 2, 4))
    ]
    layers = [*convolutions, nn.ConvTranspose2d(4, 6, 3, 2, groups=2), nn.Linear(13, 7)]
    for layer in layers:
        for op in trace(layer, [torch.zeros(1, 4, 13, 13)]).root.ops():
            if multiply_adds(op):
                assert eval(terms(op)) == multiply_adds(op), layer


class Looked(nn.Module):
    """A layer, and a look at its image, for which it has to run on numbers."""

    def __init__(self, layer: nn.Module, look: bool) -> None:
        super().__init__()
        self.layer, self.look = layer, look

    def forward(self, x: Tensor) -> Tensor:
        if self.look and x.sum() > 1e9:
            return x
        y = self.layer(x)
        return y[0] if isinstance(y, tuple) else y


WRITTEN = {  # a layer as it is written, its input, and its multiply-adds
    "weight norm": (lambda: P.weight_norm(nn.Conv2d(4, 4, 3, padding=1)), (4, 6, 6), 36 * 144),
    "spectral norm": (lambda: P.spectral_norm(nn.Conv2d(4, 4, 3, padding=1)), (4, 6, 6), 36 * 144),
    "orthogonal": (lambda: P.orthogonal(nn.Linear(12, 12)), (12,), 144),
    "lazy": (lambda: nn.LazyLinear(12), (12,), 144),
    "LSTM": (lambda: nn.LSTM(12, 6, batch_first=True), (5, 12), 5 * (12 + 6) * 24),
    "GRU": (lambda: nn.GRU(12, 6, batch_first=True), (5, 12), 5 * (12 + 6) * 18),
}


@pytest.mark.parametrize("look", [False, True])
@pytest.mark.parametrize("name", WRITTEN)
def test_counting_is_by_what_is_written_whatever_pytorch_makes_of_it(name: str, look: bool) -> None:
    make, shape, work = WRITTEN[name]
    model = Looked(make(), look)
    found = summarise(model, shape)
    assert found.total.note == "" and found.total.multiply_adds == work
    model(torch.zeros(1, *shape))  # lazy ones get their weights
    assert found.total.parameters == sum(p.numel() for p in model.parameters())
