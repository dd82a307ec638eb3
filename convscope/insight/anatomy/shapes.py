"""Why the output of an operator has the shape it has: the formula with its numbers filled in."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from convscope.insight.anatomy.record import Op, Shape


def text(shape: Shape | None) -> str:
    """A shape in words.

    >>> text((16, 28, 28)), text(None), text(())
    ('16 x 28 x 28', '-', 'one number')
    """
    if shape is None:
        return "-"
    return " x ".join(map(str, shape)) or "one number"


def slides(op: Op) -> bool:
    """Whether an operator moves windows over maps."""
    return op.name in ("convolution", "_convolution") or "_pool" in op.name


def moves(op: Op) -> tuple[Any, Any, Any, Any]:
    """Kernel, stride, padding and dilation of an operator that moves windows: numbers or lists."""
    kernel = op["kernel_size"] if "_pool" in op.name else op["weight"].shape[2:]
    return kernel, op["stride"] or kernel, op["padding"], op.get("dilation", 1)


def label(op: Op) -> str:
    """What a sliding operator is, in words; empty for any other.

    >>> from torch import nn, zeros
    >>> from convscope.insight.anatomy.trace import trace
    >>> found = trace(nn.Conv2d(4, 4, (5, 3), stride=2, groups=4), [zeros(1, 4, 9, 9)])
    >>> [label(op) for op in found.root.ops()]
    ['conv 5x3, stride 2, depthwise']
    """
    if op.name in ("convolution", "_convolution"):
        kernel, stride, *_ = moves(op)
        kind, usual = "transposed conv" if op["transposed"] else "conv", 1
        groups, channels = op["groups"], op["input"].shape[1]
        more = [f"dilation {_by(op['dilation'])}"] * (set(op["dilation"]) != {1})
        if groups > 1:
            more.append("depthwise" if groups == channels else f"{groups} groups")
    elif op.name.startswith(("max_pool", "avg_pool")):
        (kernel, stride, *_), more = moves(op), []
        kind, usual = ("max-pool" if op.name.startswith("max") else "average-pool"), kernel
    else:
        return ""
    apart = "" if _by(stride) == _by(usual) else f", stride {_by(stride)}"
    return f"{kind} {_by(kernel, whole=True)}{apart}{''.join(f', {text}' for text in more)}"


def words(kind: str) -> str:
    """A kind of layer in words.

    >>> words("BatchNorm2d"), words("AdaptiveAvgPool2d"), words("layer_norm"), words("ReLU")
    ('batch norm', 'average-pool', 'layer norm', 'ReLU')
    """
    plain = re.sub(r"^Parametrized|[123]d$", "", kind.replace("_", " ")).strip()
    for name, said in _SAID.items():
        if plain.replace(" ", "").lower() == name:
            return said
    return plain


_SAID = {
    "batchnorm": "batch norm", "layernorm": "layer norm", "groupnorm": "group norm",
    "instancenorm": "instance norm", "rmsnorm": "RMS norm", "relu": "ReLU", "relu6": "ReLU6",
    "gelu": "GELU", "silu": "SiLU", "multiheadattention": "attention", "linear": "linear",
    "adaptiveavgpool": "average-pool", "adaptivemaxpool": "max-pool", "matmul": "product",
    "einsum": "product", "flatten": "flatten", "cat": "concatenate",
    "scaleddotproductattention": "attention", "dropout": "dropout", "mul": "multiply",
    "hardswish": "hardswish", "softmax": "softmax", "normalise": "normalise",
}  # fmt: skip


def _by(value: Any, whole: bool = False) -> str:
    """'2' for numbers that are equal, '5x3' for others; ``whole``: never shortened."""
    given = [value, value] if isinstance(value, int) else list(value)
    given = given * 2 if len(given) == 1 and whole else given
    return "x".join(map(str, given if whole or len(set(given)) > 1 else given[:1]))


def why(op: Op) -> str:
    """The formula for the shape of an operator's output; empty where that is its input's.

    >>> from torch import nn, zeros
    >>> from convscope.insight.anatomy.trace import trace
    >>> found = trace(nn.Conv2d(1, 16, 5, padding=2), [zeros(1, 1, 28, 28)])
    >>> [why(op) for op in found.root.ops()]
    ['16 kernels; floor((28 + 2*2 - 5)/1) + 1 = 28']
    """
    if not op.outputs:
        return ""
    source = op.inputs[0].shape if op.inputs else ()
    out = op.outputs[0].shape
    formula = _FORMULAS.get(op.name)
    if formula is not None:
        return formula(op, source, out)
    gathers = op.get("keepdim") is not None and math.prod(source) > math.prod(out)
    return _gathered(op, source) if gathers else ""


def flattened(before: Shape, after: Shape) -> str:
    """Axes that were joined into one.

    >>> flattened((32, 7, 7), (1568,))
    '32 * 7 * 7 = 1568'
    """
    return f"{' * '.join(map(str, before))} = {math.prod(after)}"


def _convolved(op: Op, source: Shape, out: Shape) -> str:
    weight = op["weight"].shape
    groups = f" in {op['groups']} groups" if op["groups"] > 1 else ""
    if not op["transposed"]:
        return f"{weight[0]} kernels{groups}; {_windows(source, out, *moves(op))}"
    filled = []
    each = map(_each(len(out) - 2), (*moves(op), op["output_padding"]))
    for n, m, k, s, p, d, more in zip(source[2:], out[2:], *each, strict=True):
        span = k if d == 1 else f"{d}*({k} - 1) + 1"
        filled.append(f"({n} - 1)*{s} - 2*{p} + {span}{f' + {more}' if more else ''} = {m}")
    return f"{out[1]} channels{groups}; {_both(filled)}"


def _windows(
    source: Shape, out: Shape, kernel: Any, stride: Any, padding: Any, dilation: Any,
    ceil: bool = False,
) -> str:  # fmt: skip
    filled = []
    rank = min(len(source), len(out)) - 2
    each = map(_each(rank), (kernel, stride, padding, dilation))
    for n, m, k, s, p, d in zip(source[2:], out[2:], *each, strict=True):
        if (n, m, k, p) == (1, 1, 1, 0) and rank > 1 and source[2:].count(1) == 1:
            continue  # what PyTorch puts in where there is one direction alone
        room = f"{n}{f' + 2*{p}' if p else ''} - {k if d == 1 else f'{d}*({k} - 1) - 1'}"
        most = -(-(n + 2 * p - d * (k - 1) - 1) // s) + 1
        less = f", less one that begins in the padding: {m}" if ceil and most != m else ""
        size = most if less else m
        filled.append(f"{'ceil' if ceil else 'floor'}(({room})/{s}) + 1 = {size}{less}")
    return _both(filled)


def _each(count: int) -> Any:
    """One number for every direction, or one for each."""

    def numbers(value: Any) -> list[int]:
        given = [value] if isinstance(value, int) else list(value)
        return given * count if len(given) == 1 else given

    return numbers


def _padded(op: Op, source: Shape, out: Shape) -> str:
    filled, pads = [], op.get("pad") or op["padding"]
    for i in range(len(pads) // 2):
        n, m = source[-1 - i], out[-1 - i]
        if n != m:
            filled.append(f"{n} + {pads[2 * i]} + {pads[2 * i + 1]} = {m}")
    return _both(filled[::-1])


def _gathered(op: Op, source: Shape) -> str:
    given = op["dim"]
    given = [given] if isinstance(given, int) else list(given or range(len(source)))
    over = tuple(source[i] for i in sorted(i % len(source) for i in given))
    return f"one for {text(over)} values"


def _both(filled: Sequence[str]) -> str:
    """One formula for directions that are alike, else one for each."""
    if len(set(filled)) == 1 or len(filled) != 2:
        return ", ".join(dict.fromkeys(filled))
    return f"height {filled[0]}, width {filled[1]}"


def _pooled(op: Op, source: Shape, out: Shape) -> str:
    return _windows(source, out, *moves(op), ceil=bool(op["ceil_mode"]))


def _joined(op: Op, source: Shape, out: Shape) -> str:
    at = op["dim"] % len(out)
    parts = [value.shape[at] for value in op.inputs if len(value.shape) == len(out)]
    return f"{' + '.join(map(str, parts))} = {out[at]}" if len(parts) > 1 else ""


def _multiplied(op: Op, source: Shape, out: Shape) -> str:
    (*_, n, k), (*_, m) = (value.shape for value in op.inputs[-2:])
    return f"{n} x {k} times {k} x {m}"


def _asked(op: Op, source: Shape, out: Shape) -> str:
    return f"asked for: {text(out[-2:])}"


def _resized(op: Op, source: Shape, out: Shape) -> str:
    pairs = zip(source[2:], out[2:], strict=True)
    return _both([f"{n} * {m / n:.4g} = {m}" for n, m in pairs])


_NAMES: dict[Callable[[Op, Shape, Shape], str], str] = {
    _convolved: "convolution _convolution",
    _pooled: "max_pool2d_with_indices max_pool3d_with_indices avg_pool2d avg_pool3d",
    _padded: "constant_pad_nd reflection_pad2d replication_pad2d",
    _joined: "cat",
    _multiplied: "mm addmm bmm baddbmm",
    _asked: "_adaptive_avg_pool2d adaptive_max_pool2d",
    _resized: "upsample_nearest2d upsample_bilinear2d upsample_bicubic2d",
}
_FORMULAS = {name: formula for formula, names in _NAMES.items() for name in names.split()}
