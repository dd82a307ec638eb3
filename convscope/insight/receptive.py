"""What the units of a PyTorch network see: its graph followed from the image to the logits."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from convscope.errors import BadArgument
from convscope.insight.lab.stack import Seen, View, slid, start, whole

_SLIDING = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
_WHOLE = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Flatten, nn.Linear)
_WHOLE_FUNCTIONS = (
    torch.flatten, torch.mean, torch.amax, functional.linear, functional.adaptive_avg_pool2d,
    functional.adaptive_max_pool2d,
)  # fmt: skip
_JOINED: dict[Callable[..., Any], str] = {
    torch.cat: "concatenated", torch.add: "added", operator.add: "added", operator.iadd: "added",
}  # fmt: skip
_POOLS: dict[Any, type[nn.Module]] = {
    functional.max_pool2d: nn.MaxPool2d, functional.avg_pool2d: nn.AvgPool2d,
}  # fmt: skip
_METHODS = {"flatten", "view", "reshape", "mean", "amax"}


class _Tracer(fx.Tracer):
    """Leaves layers whole, also those that a network derives from PyTorch's."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        layer = isinstance(m, (*_SLIDING, *_WHOLE, nn.modules.batchnorm._BatchNorm))
        return layer or super().is_leaf_module(m, module_qualified_name)


def receptive_fields(model: nn.Module, size: tuple[int, int]) -> list[Seen]:
    """The convolutions, pools and joins of a network for images of ``size``, and what their units
    see.

    Where branches meet, a unit sees what any of them sees. Layers that work on each unit by itself
    are left out. Raises BadArgument for a network whose graph depends on its data.

    >>> net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    >>> [(seen.layer, seen.height.field) for seen in receptive_fields(net, (8, 8))]
    [('input', 1), ('0', 3), ('2', 4)]
    """
    try:
        graph = _Tracer().trace(model)
    except Exception as why:  # a network may do anything with its input
        rule = f"cannot be followed from image to logits ({type(why).__name__}: {why})"
        kind = type(model).__name__
        raise BadArgument(
            "model", kind, rule, "give its layers instead, such as c5-16 mp2"
        ) from why
    modules = dict(model.named_modules())
    image = start(size)
    at: dict[fx.Node, Seen] = {}
    rows = [image]
    for node in graph.nodes:
        if node.op == "placeholder":
            at[node] = image
            continue
        before = [at[n] for n in node.all_input_nodes if n in at]
        if node.op == "get_attr" or not before:
            continue
        seen, shown = _after(node, before, modules, image)
        at[node] = seen
        if shown:
            rows.append(seen)
    return rows


def _after(
    node: fx.Node, before: list[Seen], modules: dict[str, nn.Module], image: Seen
) -> tuple[Seen, bool]:
    """What a node's output sees, and whether it is a row of its own."""
    name = str(node.target) if node.op == "call_module" else node.name
    module = modules[name] if node.op == "call_module" else None
    first = before[0]
    if len(before) > 1:
        joined = _joined(name, _JOINED.get(node.target, "combined"), before)  # type: ignore[arg-type]
        return joined, joined.kind != "combined"
    if first.whole:
        return first, False
    over_all = isinstance(module, _WHOLE) or node.target in _WHOLE_FUNCTIONS
    if over_all or (node.op == "call_method" and node.target in _METHODS):
        return whole(first, image, name, "all of it"), True
    if isinstance(module, nn.ZeroPad2d):
        left, right, top, bottom = module.padding
        sides = ((first.height, top, bottom), (first.width, left, right))
        views = [v.through(1, 1, 1, b, v.size + b + e) for v, b, e in sides]
        return replace(first, height=views[0], width=views[1]), False
    if node.target in _POOLS:
        arguments: tuple[Any, ...] = node.args[1:]
        options: dict[str, Any] = dict(node.kwargs)
        module = _POOLS[node.target](*arguments, **options)
    if isinstance(module, _SLIDING):
        return _slid(module, first, name), True
    index = node.args[1] if node.target is operator.getitem else None
    return (_sliced(first, name, index) if isinstance(index, tuple) else first), False


def _sliced(before: Seen, name: str, index: tuple[Any, ...]) -> Seen:
    """Every n-th row and column, as ``x[:, :, ::n, ::n]``, which a shortcut takes."""
    steps = [s.step or 1 if isinstance(s, slice) else 1 for s in (*index, None, None)[2:4]]
    return slid(
        before, name, "subsampled", kernel_shape=(1, 1), strides=(steps[0], steps[1]),
        dilations=(1, 1), pads=(0, 0, 0, 0), ceil_mode=False,
    )  # fmt: skip


def _slid(module: nn.Module, before: Seen, name: str) -> Seen:
    def two(value: Any) -> tuple[int, int]:
        return (value, value) if isinstance(value, int) else tuple(value)

    kernel: Any = two(module.kernel_size)
    dilation = two(getattr(module, "dilation", 1))
    padding: Any = module.padding
    if padding == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        pads = (total[0] // 2, total[1] // 2, -(-total[0] // 2), -(-total[1] // 2))
    else:
        pads = two(0 if padding == "valid" else padding) * 2
    return slid(
        before, name, type(module).__name__, kernel_shape=kernel, strides=two(module.stride),
        dilations=dilation, pads=pads, ceil_mode=bool(getattr(module, "ceil_mode", False)),
    )  # fmt: skip


def _joined(name: str, kind: str, before: list[Seen]) -> Seen:
    """What is seen where branches meet; all of them have the same size and stride."""
    if any(seen.whole for seen in before):
        return next(seen for seen in before if seen.whole)

    def union(views: list[View]) -> View:
        first = views[0]
        if any((v.size, v.stride) != (first.size, first.stride) for v in views):
            rule = "joins maps of different size"
            raise BadArgument("model", name, rule, "give its layers instead, such as c5-16 mp2")
        return replace(first, low=min(v.low for v in views), high=max(v.high for v in views))

    return Seen(name, kind, union([s.height for s in before]), union([s.width for s in before]))
