"""Layers as source: the calls that make them, with the arguments that they keep, a line a layer;
and the text of convscope's own blocks."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

WIDTH = 100  # columns
HIDDEN = ("inplace", "device", "dtype")  # arguments that change no value
FEW = 3  # so many layers alike, one after another, are a loop; so many at most stand on one line

Shape = tuple[int, ...]
Shapes = Mapping[nn.Module, Shape]  # of what each layer gives


@dataclass(frozen=True)
class Call:
    """A call that makes a layer: its arguments by position ('0', '1', ...) or by name."""

    name: str
    arguments: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The call as code."""
        return f"{self.name}({', '.join(self.words())})"

    def words(self, step: Call | None = None) -> list[str]:
        """Each argument as code; with ``step``, the next call of a loop over i, as it runs."""
        words = []
        for key, value in self.arguments.items():
            word = value.text if isinstance(value, Call) else repr(value)
            if step is not None and step.arguments[key] != value:
                word = f"{value} + {step.arguments[key] - value} * i"
            words.append(word if key.isdigit() else f"{key}={word}")
        return words


def call_of(module: nn.Module) -> Call:
    """The call that makes a layer as it is; every layer keeps its arguments under their names."""
    kind = plainest(type(module))
    name = f"nn.{kind.__name__}" if is_torchs(kind) else kind.__name__
    if kind is nn.Sequential:
        assert isinstance(module, nn.Sequential)
        return Call(name, {str(i): call_of(child) for i, child in enumerate(module)})
    arguments: dict[str, Any] = {}
    for i, (key, parameter) in enumerate(inspect.signature(kind).parameters.items()):
        if key in HIDDEN or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        value = getattr(module, key)
        if key == "bias":
            value = value is not None
        if isinstance(value, tuple) and len(set(value)) == 1:
            value = value[0]
        if isinstance(value, nn.Module):
            arguments[str(i)] = call_of(value)
        elif parameter.default is parameter.empty or key == "p":
            arguments[str(i)] = value
        elif value != parameter.default and not (key == "stride" and _pools(module, value)):
            arguments[key] = value
    return Call(name, arguments)


def _pools(module: nn.Module, stride: Any) -> bool:
    """Whether it is a pool whose stride is its window, as without one."""
    window = getattr(module, "kernel_size", None)
    return isinstance(module, nn.MaxPool2d | nn.AvgPool2d) and stride in (window, (window, window))


def lines_of(sequence: nn.Sequential, indent: int, before: Shape, shapes: Shapes) -> Iterator[str]:
    """A line a layer, its shape where it changes; layers alike, one after another, as a loop."""
    layers = list(sequence)
    at = 0
    while at < len(layers):
        calls = [call_of(layer) for layer in layers[at:]]
        alike = _run(calls)
        count = alike if alike >= FEW else 1
        after = shapes[layers[at + count - 1]]
        comment = f"  # {shape_text(after)}" if after != before else ""
        if count > 1:
            words = calls[0].words(calls[1])
            i = "i" if words != calls[0].words() else "_"
            code = f"*[{calls[0].name}({', '.join(words)}) for {i} in range({count})],"
            yield " " * indent + code + comment
        else:
            yield from _broken(layers[at], indent, comment, before, shapes)
        at, before = at + count, after


def _run(calls: list[Call]) -> int:
    """How many calls from the first on differ by the same step in each whole number, and in nothing
    else."""
    count = 1
    for one, two in itertools.pairwise(calls):
        first, second = calls[0].arguments, calls[1].arguments
        if one.name != two.name or list(one.arguments) != list(two.arguments):
            break
        for key, value in two.arguments.items():
            last = one.arguments[key]
            steps = type(value) is int and type(last) is int
            wanted = second[key] - first[key] if steps else 0
            if (value - last != wanted) if steps else (value != last):
                return count
        count += 1
    return count


def _broken(
    layer: nn.Module, indent: int, comment: str, before: Shape, shapes: Shapes
) -> Iterator[str]:
    """A layer on one line, or its parts on lines of their own where one is too short."""
    call, space = call_of(layer), " " * indent
    line = f"{space}{call.text},{comment}"
    inner = [value for value in call.arguments.values() if isinstance(value, Call)]
    if len(line) <= WIDTH or not inner:
        yield line
        return
    yield f"{space}{call.name}("
    if isinstance(layer, nn.Sequential):
        yield from lines_of(layer, indent + 4, before, shapes)
    else:
        for child in layer.children():
            yield from _broken(child, indent + 4, "", before, shapes)
    yield f"{space}),{comment}"


def shape_text(shape: Shape) -> str:
    return f"[B,{','.join(map(str, shape))}]"


def is_torchs(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in ("torch", "torchvision")


def plainest(kind: type) -> type:
    """The class that computes what this one does: the first of its line with a ``forward``."""
    return next(k for k in kind.__mro__ if is_torchs(k) or "forward" in vars(k))


def said(kind: type) -> str:
    """The first paragraph of a block's docstring."""
    return inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0]


def source_of(kind: type) -> str:
    """The source of a block: what it is, how it is made, what it computes."""
    text = inspect.getsource(kind)
    (tree,) = ast.parse(text).body
    assert isinstance(tree, ast.ClassDef)
    lines = text.splitlines()
    kept = [lines[0], f'    """{textwrap.indent(said(kind), "    ").strip()}"""']
    methods = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    for node in methods:
        if node.name in ("__init__", "forward"):
            unused = {n for part in node.body if _is_unused(part, methods) for n in _lines(part)}
            rows = [n for n in _lines(node) if n not in unused]
            kept += ["", *(lines[n - 1] for n in rows)]
    return "\n".join(kept)


def _lines(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _is_unused(part: ast.stmt, methods: list[ast.FunctionDef]) -> bool:
    """Whether a statement keeps arguments under names that nothing in the block reads."""
    if not isinstance(part, ast.Assign):
        return False
    value = part.value.elts if isinstance(part.value, ast.Tuple) else [part.value]
    read = {
        node.attr
        for method in methods
        for node in ast.walk(method)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    names = {n.attr for n in ast.walk(part.targets[0]) if isinstance(n, ast.Attribute)}
    return all(isinstance(v, ast.Name) for v in value) and not names & read
