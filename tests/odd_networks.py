"""Networks as users bring them, odd ones among them, and what becomes of each.

``python tests/odd_networks.py`` holds each through training, eval, resume, summary, explain and
script and prints a table: right, or refused and in which words.
"""

from __future__ import annotations

import functools
import warnings

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

K, SIDE = 3, 12  # classes, and pixels of a side


def head(width: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, K))


def stem(width: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())


class Whole(nn.Module):
    """A stem, something odd in the middle, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = stem(), head()

    def middle(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(self.stem(x)))


# recurrent, attention


class Recurrent(nn.Module):
    kind: type[nn.RNNBase] = nn.GRU

    def __init__(self) -> None:
        super().__init__()
        self.rows = self.kind(SIDE, 6, batch_first=True)
        self.last = nn.Linear(6, K)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.rows(x[:, 0])[0][:, -1])


class RecurrentLong(Recurrent):
    kind = nn.LSTM


class RecurrentCell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.last = nn.GRUCell(SIDE, 6), nn.Linear(6, K)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), 6)
        for row in x[:, 0].unbind(1):
            state = self.cell(row, state)
        return self.last(state)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(SIDE, 2, batch_first=True)
        self.last = nn.Linear(SIDE, K)

    def forward(self, x: Tensor) -> Tensor:
        rows = x[:, 0]
        return self.last(self.attention(rows, rows, rows)[0].mean(1))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.TransformerEncoderLayer(SIDE, 2, 16, batch_first=True)
        self.token = nn.Parameter(torch.zeros(1, 1, SIDE))
        self.last = nn.Linear(SIDE, K)

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.cat([self.token.expand(len(x), -1, -1), x[:, 0]], 1)
        return self.last(self.first(rows)[:, 0])


# weights that are shared, hidden, made of others


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(SIDE**2, SIDE**2), nn.Linear(SIDE**2, SIDE**2)
        self.b.weight = self.a.weight
        self.last = nn.Linear(SIDE**2, K)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.b(self.a(x.flatten(1)).relu()).relu())


class TiedTransposed(nn.Module):
    """One weight, both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.last = nn.Linear(SIDE**2, 8, bias=False), nn.Linear(SIDE**2, K)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(functional.linear(self.into(x.flatten(1)).relu(), self.into.weight.T))


class TiedParts(nn.Module):
    """A buffer that is a part of a weight's memory."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(SIDE**2, K)
        self.register_buffer("first", self.a.weight.detach()[:1])

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x.flatten(1)) + x.flatten(1) @ self.first.T


class SharedModule(Whole):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())

    def middle(self, x: Tensor) -> Tensor:
        return self.block(self.block(x)) + self.block[0](x)


class SharedLayers(Whole):
    """A convolution in two sequences, in one of which a batch norm follows."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.Conv2d(4, 4, 3, padding=1)
        self.one, self.two = (
            nn.Sequential(layer, nn.BatchNorm2d(4)),
            nn.Sequential(layer, nn.ReLU()),
        )

    def middle(self, x: Tensor) -> Tensor:
        return self.two(x) + self.one(x)


class Steps(Whole):
    """Calls the layers of a sequence one by one, and keeps what each gives."""

    def middle(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for layer in self.stem:
            x = layer(x)
            kept.append(x)
        return self.head(kept[0] + kept[-1])


class ListOfModules(Whole):
    def __init__(self) -> None:
        super().__init__()
        self.pre = [nn.Conv2d(4, 4, 1)]

    def middle(self, x: Tensor) -> Tensor:
        return self.pre[0](x)


class DictOfParameters(Whole):
    def __init__(self) -> None:
        super().__init__()
        self.scales = {"one": nn.Parameter(torch.ones(4, 1, 1))}

    def middle(self, x: Tensor) -> Tensor:
        return x * self.scales["one"]


class FrozenInAList(Whole):
    """Made at random, hidden from PyTorch, and not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = [nn.Conv2d(4, 4, 1).requires_grad_(False)]

    def middle(self, x: Tensor) -> Tensor:
        return self.frozen[0](x)


class Parameters(Whole):
    def __init__(self) -> None:
        super().__init__()
        self.listed = nn.ParameterList([torch.ones(4, 1, 1), torch.zeros(4, 1, 1)])
        self.named = nn.ParameterDict({"more": torch.ones(4, 1, 1)})

    def middle(self, x: Tensor) -> Tensor:
        return x * self.listed[0] * self.named["more"] + self.listed[1]


class PlainWeights(Whole):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.randn(4, 1, 1)

    def middle(self, x: Tensor) -> Tensor:
        return x * self.weight


class PlainWeightsThatLearn(Whole):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.randn(4, 1, 1, requires_grad=True)

    def middle(self, x: Tensor) -> Tensor:
        return x * self.weight


class Derived(Whole):
    """A tensor that was computed from a weight once."""

    def __init__(self) -> None:
        super().__init__()
        self.doubled = self.head[2].weight * 2

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(self.head[:2](self.stem(x)), self.doubled)


class Normed(Whole):
    change = staticmethod(parametrizations.weight_norm)

    def __init__(self) -> None:
        super().__init__()
        self.changed = self.change(nn.Conv2d(4, 4, 3, padding=1))
        self.flat = self.change(nn.Linear(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head[:2](self.changed(self.stem(x)))
        return self.head[2](self.flat(x))


class NormedSpectrally(Normed):
    change = staticmethod(parametrizations.spectral_norm)


class Orthogonal(Normed):
    change = staticmethod(parametrizations.orthogonal)


class Pruned(Normed):
    @staticmethod
    def change(layer: nn.Module) -> nn.Module:
        from torch.nn.utils import prune

        return prune.l1_unstructured(layer, "weight", 0.5)


class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(K)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Frozen(Whole):
    def __init__(self) -> None:
        super().__init__()
        self.stem[0].requires_grad_(False)


class WithoutParameters(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :K]


class SlicedSoftly(Whole):
    """Its layers by index and slice."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head[2](self.head[:2](self.stem[2](self.stem[:2](x))))


# what it gives


class Several(Whole):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = super().forward(x)
        return logits, logits


class SeveralInTraining(Whole):
    """As torchvision's Inception networks with their auxiliary heads do."""

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        logits = super().forward(x)
        return (logits, logits) if self.training else logits


class Named(Whole):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": super().forward(x)}


class Nothing(Whole):
    def forward(self, x: Tensor) -> None:
        super().forward(x)


class Softmax(Whole):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class LogSoftmax(Whole):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).log_softmax(1)


class NoNumbers(Whole):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * float("nan")


class Huge(Whole):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 1e36 * 1e3


class Maps(Whole):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, :, None, None]


class Double(Whole):
    def __init__(self) -> None:
        super().__init__()
        self.exact = nn.Linear(4, K, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.exact(self.head[:2](self.stem(x)).double())


class Bigger(Whole):
    """Images of another size in training, and of another width after them."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = nn.Linear(4 * 36, K)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(functional.interpolate(x, size=(6, 6) if self.training else (7, 7)))
        return self.flat(x.flatten(1))


# arithmetic


class Einsum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(SIDE, SIDE, K) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bchw,hwk->bk", x, self.weight)


class Fourier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.randn(SIDE, SIDE // 2 + 1, dtype=torch.complex64))
        self.last = nn.Linear(SIDE**2, K)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x[:, 0].float()) * self.filter
        return self.last(torch.fft.irfft2(spectrum, s=(SIDE, SIDE)).flatten(1))


class Bilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.both, self.last = nn.Bilinear(SIDE, SIDE, 4), nn.Linear(4, K)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.both(x[:, 0].mean(1), x[:, 0].mean(2)))


class Embedded(nn.Module):
    """Grey levels as words."""

    def __init__(self, sparse: bool = False) -> None:
        super().__init__()
        self.words, self.last = nn.Embedding(8, 4, sparse=sparse), nn.Linear(4, K)
        self.register_buffer("mean", torch.tensor(0.0))

    def forward(self, x: Tensor) -> Tensor:
        levels = ((x.detach()[:, 0].flatten(1) + 2) * 2).clamp(0, 7).long()
        return self.last(self.words(levels).mean(1))


class EmbeddedSparsely(Embedded):
    def __init__(self) -> None:
        super().__init__(sparse=True)


class Norms(Whole):
    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.Sequential(
            nn.InstanceNorm2d(4, affine=True), nn.GroupNorm(2, 4), nn.LayerNorm([4, SIDE, SIDE])
        )

    def middle(self, x: Tensor) -> Tensor:
        return self.norms(x)


class Statistics(Whole):
    """A batch norm that keeps no statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)

    def middle(self, x: Tensor) -> Tensor:
        return self.norm(x)


class Views(Whole):
    """As tutorials flatten, which channels-last maps do not bear."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = nn.Linear(4 * SIDE**2, K)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.flat(x.view(x.size(0), -1))


class Volume(nn.Module):
    """A convolution in three dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.three, self.last = nn.Conv3d(1, 2, 3), nn.Linear(2, K)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.three(x[:, None].expand(-1, -1, 3, -1, -1)).mean((2, 3, 4)))


class InPlace(Whole):
    def middle(self, x: Tensor) -> Tensor:
        y = x.clone()
        y += 1
        y[:, :2].mul_(2)
        return y.relu_()


class SpoiltInPlace(Whole):
    def middle(self, x: Tensor) -> Tensor:
        y = x.exp()
        y.add_(1)
        return y


class FixedBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(SIDE**2, K)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x.reshape(20, -1))


class Pairs(nn.Module):
    """Bears an even number of images alone."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(2 * SIDE**2, 2 * K)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x.reshape(len(x) // 2, -1)).reshape(-1, K)


# buffers and other state


class Replaced(Whole):
    """A buffer that forward puts another in the place of."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1, 4, 1, 1))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def middle(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen = 0.9 * self.seen + 0.1 * x.detach().mean((0, 2, 3), keepdim=True)
            self.count = self.count + 1
        return x - self.seen


class RandomBuffer(Whole):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.randn(4, 1, 1), persistent=False)

    def middle(self, x: Tensor) -> Tensor:
        return x * self.mask


class FixedBuffer(Whole):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.arange(4.0).view(4, 1, 1), persistent=False)
        self.register_buffer("kept", torch.randn(4, 1, 1))
        self.register_buffer("on", torch.tensor([True, False, True, True]).view(4, 1, 1))

    def middle(self, x: Tensor) -> Tensor:
        return x * self.mask * self.on + self.kept


class Counts(Whole):
    """Counts its calls, and gives other logits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def middle(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * min(self.calls, 50)


class CountsSteps(Whole):
    """Counts its steps in a plain number, from which its logits come."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def middle(self, x: Tensor) -> Tensor:
        self.steps += self.training
        return x * (1 + self.steps)


class FirstBatch(Whole):
    """Takes its scale from the first batch it sees, as actnorm does."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.begun = nn.Parameter(torch.ones(1)), False

    def middle(self, x: Tensor) -> Tensor:
        if not self.begun:
            self.scale.data.copy_(1 / (x.detach().std() + 1))
            self.begun = True
        return x * self.scale


class Random(Whole):
    def middle(self, x: Tensor) -> Tensor:
        return functional.dropout(x, 0.5)


class Noise(Whole):
    def middle(self, x: Tensor) -> Tensor:
        x = x + torch.randn_like(x) if self.training else x
        return functional.dropout(x, 0.5, self.training)


class Extra(Whole):
    """State that is no tensor."""

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def set_extra_state(self, state: dict[str, int]) -> None:
        pass


class Keeps(Whole):
    """Keeps its last maps, as for Grad-CAM, and a data set."""

    def __init__(self) -> None:
        super().__init__()
        self.images = [np.zeros((SIDE, SIDE), np.uint8) for _ in range(500)]
        self.maps: Tensor | None = None

    def middle(self, x: Tensor) -> Tensor:
        self.maps = x
        return x


class Slots(Whole):
    __slots__ = ("scale",)

    def __init__(self) -> None:
        super().__init__()
        self.scale = 2.0


class CopiesItself(Whole):
    def __deepcopy__(self, memo: dict[int, object]) -> CopiesItself:
        twin = type(self)()
        twin.load_state_dict(self.state_dict())
        return twin


class CannotBeCopied(Whole):
    def __deepcopy__(self, memo: dict[int, object]) -> CannotBeCopied:
        raise TypeError("this network is one of a kind")


# who else has a hand in it


class Hooks(Whole):
    def __init__(self) -> None:
        super().__init__()
        self.stem[0].register_forward_pre_hook(lambda module, given: (given[0] * 2,))
        self.stem[1].register_forward_hook(lambda module, given, out: out + 1)
        self.head[2].register_full_backward_hook(lambda module, into, out: None)


class HookToSelf(Whole):
    """A hook that holds the network itself."""

    def __init__(self) -> None:
        super().__init__()
        self.side = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Dropout2d(0.5))
        self.stem.register_forward_hook(lambda module, given, out: out + self.side(given[0]))


class OwnConvolution(Whole):
    class Standardised(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return self._conv_forward(x, weight, self.bias)

    class Cautious(nn.Conv2d):
        def _conv_forward(self, *given: Tensor | None) -> Tensor:
            return super()._conv_forward(*given) * 0.5

    def __init__(self) -> None:
        super().__init__()
        self.more = nn.Sequential(
            self.Standardised(4, 4, 3, padding=1), nn.BatchNorm2d(4), self.Cautious(4, 4, 1)
        )

    def middle(self, x: Tensor) -> Tensor:
        return self.more(x)


class OwnForward(Whole):
    """One layer's forward replaced on the object."""

    def __init__(self) -> None:
        super().__init__()
        layer = self.stem[0]
        layer.forward = functools.partial(twice, layer)


def twice(layer: nn.Conv2d, x: Tensor) -> Tensor:
    return nn.Conv2d.forward(layer, x) * 2


class Recomputed(Whole):
    """Activation checkpointing."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())

    def middle(self, x: Tensor) -> Tensor:
        return checkpoint(self.block, x, use_reentrant=False)


class Scripted(Whole):
    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there are newer ways
            self.block = torch.jit.script(nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()))

    def middle(self, x: Tensor) -> Tensor:
        return self.block(x)


class Wrapped(nn.Module):
    """As wrappers hold a module and hand its attributes on."""

    def __init__(self) -> None:
        super().__init__()
        self._orig_mod = Whole()

    def __getattr__(self, name: str) -> object:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("_orig_mod"), name)

    def forward(self, *given: Tensor, **named: Tensor) -> Tensor:
        return self._orig_mod(*given, **named)


class Defaults(Whole):
    def forward(self, x: Tensor, scale: float = 2.0, *, mask: Tensor | None = None) -> Tensor:
        return super().forward(x) * scale


# gradients


class NoGradient(Whole):
    """Features under no_grad: the head alone learns."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.stem(x)
        return self.head(x)


class NoGradientAtAll(Whole):
    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class ThroughNumpy(Whole):
    def forward(self, x: Tensor) -> Tensor:
        maps = self.stem(x)
        return self.head(torch.from_numpy(np.tanh(maps.numpy())))


class AroundNumpy(Whole):
    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return torch.from_numpy(np.tanh(logits.detach().numpy()))


class Unused(Whole):
    def __init__(self) -> None:
        super().__init__()
        self.auxiliary = nn.Linear(4, K)


class Broken(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: object, g: Tensor) -> Tensor:
        raise ValueError("nobody wrote this")


class Unfinished(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Broken.apply(x)


class BrokenBackward(Whole):
    def __init__(self) -> None:
        super().__init__()
        self.odd = nn.Sequential(nn.Conv2d(4, 4, 1), Unfinished())

    def middle(self, x: Tensor) -> Tensor:
        return self.odd(x)


class WrongSizes(Whole):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(100, K))


class Elsewhere(Whole):
    """Moves its maps to a device of its own."""

    def middle(self, x: Tensor) -> Tensor:
        return x.to("meta")


class Here(Whole):
    def middle(self, x: Tensor) -> Tensor:
        return x.to("cpu").contiguous()


class Recursive(Whole):
    """Looks at its maps to find its way."""

    def middle(self, x: Tensor) -> Tensor:
        return x if x.detach().mean() > 1e9 else self.stem[2](x)


RIGHT = [
    *(Recurrent, RecurrentLong, RecurrentCell, Attention, Transformer),
    *(Tied, TiedTransposed, TiedParts, SharedModule, SharedLayers, Steps, SlicedSoftly),
    *(Parameters, Normed, NormedSpectrally, Orthogonal, Lazy, Frozen),
    *(LogSoftmax, Double, Einsum, Fourier, Bilinear, Embedded, Norms, Statistics, Views, Volume),
    *(InPlace, Replaced, FixedBuffer, Noise, Keeps, CopiesItself, Hooks, Slots),
    *(OwnConvolution, OwnForward, Recomputed, Wrapped, Defaults, NoGradient, Unused),
    *(Here, Recursive),
]
REFUSED = {
    ListOfModules: "keeps a Conv2d in pre, where PyTorch does not see it: .*; make it an "
    "nn.ModuleList",
    DictOfParameters: "keeps a Parameter in scales, .*; make it an nn.ParameterList",
    PlainWeightsThatLearn: "keeps a Tensor in weight, .*; make it an nn.Parameter, or register_buf",
    FrozenInAList: "once it was saved and loaded: a Conv2d in frozen is not saved; make it an nn.M",
    PlainWeights: "the plain tensor weight is not saved; make it an nn.Parameter, or register_buff",
    RandomBuffer: "the buffer mask is not saved; make it persistent=True",
    Derived: r"cannot be copied .*; compute doubled in forward",
    Pruned: r"cannot be copied .*; compute changed.weight, flat.weight in forward, .* prune does n",
    WithoutParameters: "has no parameter to train; give it a layer with weights",
    Several: "gives tuple of 2 in training mode, not a tensor; return the logits",
    SeveralInTraining: "gives tuple of 2 in training mode, not a tensor; return the logits",
    Named: "gives dict of 1 in training mode, not a tensor; return the logits",
    Nothing: "gives NoneType in training mode, not a tensor; return the logits",
    Softmax: "gives probabilities in training mode .*; return the logits, without softmax",
    NoNumbers: "gives a loss of nan for .* before any training; look for a division by nought",
    Huge: "gives a loss of (nan|inf) for .* before any training",
    Maps: r"gives \[17, 3, 1, 1\] in training mode .*; make it give \[B,3\]",
    Bigger: r"fails in flat \(Linear\), in linear, where \[.*,196\] and \[3,144\] met",
    EmbeddedSparsely: "gives words.weight a sparse gradient, .*; leave sparse=True out",
    SpoiltInPlace: "fails on the way back in SpoiltInPlace, .*: one of the variables needed",
    FixedBatch: r"fails in FixedBatch, in reshape, which got \[17,1,12,12\]",
    Pairs: r"fails in last \(Linear\), in linear, where \[8,306\] and \[6,288\] met",
    Counts: "gives other logits for the same images each time it is asked in evaluation mode",
    CountsSteps: "something that its forward depends on is not saved; keep whatever changes",
    FirstBatch: "something that its forward depends on is not saved; keep whatever changes",
    Random: "gives other logits for the same images each time .*training=self.training",
    Extra: r"cannot be saved \(.*\); let parameters and buffers be plain tensors",
    Scripted: "has in block what is compiled to TorchScript, whose .*; give the module as it was",
    HookToSelf: r"cannot be copied: a function in it, such as a hook, .* calls side of it",
    CannotBeCopied: r"cannot be copied \(this network is one of a kind\)",
    NoGradientAtAll: "gives logits that no gradient goes back from: nothing would be trained",
    ThroughNumpy: r"fails in ThroughNumpy.*Can't call numpy\(\) on Tensor that requires grad",
    AroundNumpy: "gives logits that no gradient goes back from: nothing would be trained",
    BrokenBackward: "fails on the way back in odd.1, on a batch .*: nobody wrote this; mend the ba",
    WrongSizes: r"fails in head.1 \(Linear\), in linear, where \[17,576\] and \[3,100\] met: ",
    Elsewhere: r"fails in head.2 \(Linear\), in linear, where \[17,4\] and",
}


def main() -> None:
    """Print the table."""
    import re
    import sys
    import tempfile
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parent))
    import holding

    with tempfile.TemporaryDirectory() as folder:
        for kind in (*RIGHT, *REFUSED):
            verdict = holding.verdict(kind.__name__, Path(folder))
            words = re.sub(r"\s+", " ", verdict)
            print(f"{kind.__name__:24} {words}", flush=True)


if __name__ == "__main__":
    main()
