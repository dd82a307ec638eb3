"""The anatomy of any ``nn.Module``: traced, counted, and shown as a table, a picture, a page."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from convscope.errors import BadArgument
from convscope.evaluation.predictions import evaluating
from convscope.formatting import plural
from convscope.insight.anatomy import drawing, folding, page
from convscope.insight.anatomy import text as words
from convscope.insight.anatomy.record import Trace
from convscope.insight.anatomy.rows import Anatomy, rows_of
from convscope.insight.anatomy.setting import META
from convscope.insight.anatomy.trace import trace
from convscope.insight.receptive_field import ReceptiveField, start

INDEXED = ("embedding", "embedding_bag", "one_hot")  # functions that take whole numbers
Given = Sequence[int] | Tensor | Sequence[Sequence[int] | Tensor]


@dataclass(frozen=True, repr=False)
class Summary(Anatomy):
    """An anatomy that tells itself: in words, as a picture, as a page."""

    def folded(self, level: int) -> Summary:
        """The same with the rows of each module so many levels deep as one: its sums, what it gives
        and what its units see. Raises BadArgument for a level below 1."""
        return folding.to_level(self, level)

    def text(self, width: int | None = None) -> str:
        """The table in plain text, no wider than ``width`` columns where that can be."""
        return words.text(self, width)

    def markdown(self) -> str:
        """The table in Markdown."""
        return words.markdown(self)

    def svg(self, whole: bool = False) -> str:
        """The network drawn, as SVG; blocks of a large one folded, but for ``whole``."""
        return drawing.svg(self, whole=whole)

    def html(self) -> str:
        """Picture and table as one page that asks the network for nothing."""
        return page.page(self)

    def _repr_html_(self) -> str:
        return page.fragment(self)

    def __repr__(self) -> str:
        failed = "" if self.failure is None else f"\n{self.model} {self.failure}"
        return self.text() + failed


def summarise(
    model: nn.Module,
    given: Given,
    *,
    name: str = "",
    rebuild: Callable[[], nn.Module] | None = None,
) -> Summary:
    """The anatomy of a model for an input of a shape without its batch, (C, H, W); several shapes
    for a model that takes several; or tensors, which are taken as they are, batch and all.

    Nothing is computed: it runs on shapes alone, in evaluation mode, and the model stays as it was.
    Where it looks at the values of its input, it is run on zeros instead, and a note says so;
    ``rebuild`` makes it again for that where it has no weights. A model that fails gives the rows
    up to there. Raises BadArgument for shapes that are none, and for a number of inputs that the
    model does not take.

    >>> found = summarise(nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU()), (1, 28, 28))
    >>> found.rows[0].why, found.total.parameters, found.total.multiply_adds
    ('16 kernels; floor((28 + 2*2 - 5)/1) + 1 = 28', 416, 313600)
    """
    parts = inputs_of(given)
    _fits(model, parts)
    batch = not any(isinstance(part, Tensor) for part in parts)
    found, on_data, whole = _traced(model, parts, rebuild, frozenset())
    notes = [f"Input {n + 1} is taken to be whole numbers, as an index is." for n in sorted(whole)]
    if places := list(dict.fromkeys([*on_data, *found.on_data])):
        notes.append(
            f"The path depends on the values of the input ({'; '.join(places)}): shown is that of "
            "zeros, and another input may take another."
            if found.failure is None or found.on_data != on_data
            else f"The path depends on the values of the input ({'; '.join(places)})."
        )
    shapes = [value.shape[1:] if batch else value.shape for value in found.inputs]
    kinds = {path: type(module).__name__ for module, path in found.names.items()}
    return Summary(
        model=name or type(model).__name__,
        inputs=tuple(shapes),
        rows=tuple(rows_of(found, batch)),
        notes=tuple(notes),
        failure=found.failure,
        kinds=kinds,
    )


def _traced(
    model: nn.Module,
    parts: Sequence[tuple[int, ...] | Tensor],
    rebuild: Callable[[], nn.Module] | None,
    whole: frozenset[int],
) -> tuple[Trace, list[str], frozenset[int]]:
    """The pass; where it looks at values on the way; and the inputs, ``whole``, that turned out to
    be whole numbers, which a table is indexed with."""
    made = _made_up(model, parts, whole)
    found = trace(made, _tensors(made, parts, whole, META))
    on_data = found.on_data
    if found.failure is not None:
        again = made if all(p.device != META for p in made.parameters()) else None
        if again is None and rebuild is not None:
            again = _made_up(rebuild(), parts, whole)
        if again is not None:
            tensors = (*again.parameters(), *again.buffers())
            home = tensors[0].device if tensors else torch.device("cpu")
            found = trace(again, _tensors(again, parts, whole, home), real=True)
    if found.failure is not None and found.failure.function in INDEXED:
        shapes = found.failure.shapes[:1]
        for n, part in enumerate(parts):
            taken = not isinstance(part, Tensor) and (1, *part) in shapes
            if taken and n not in whole:
                told = _traced(model, parts, rebuild, whole | {n})
                if told[0].failure is None:
                    return told
    return found, on_data, whole


def is_image(given: Any) -> bool:
    """Whether an input is one shape (C, H, W).

    >>> is_image((3, 32, 32)), is_image([(3, 32, 32), (10,)])
    (True, False)
    """
    return (
        isinstance(given, tuple | list)
        and len(given) == 3
        and all(isinstance(n, int) for n in given)
    )


def receptive_fields(model: nn.Module, input_shape: tuple[int, int, int]) -> list[ReceptiveField]:
    """The convolutions, pools and joins of a network for images [C,H,W], and what their units see,
    up to the layer that sees all of the image.

    Where branches meet, a unit sees what any of them sees. Layers that see what the one before them
    sees are left out, and those whose units do not all see alike. Raises BadArgument for a network
    that cannot be followed.

    >>> net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    >>> [(seen.layer, seen.height.field) for seen in receptive_fields(net, (1, 8, 8))]
    [('input', 1), ('0', 3), ('2', 4)]
    """
    found = summarise(model, input_shape)
    why = str(found.failure) if found.failure is not None else "; ".join(found.notes)
    if why:
        remedy = "give its layers instead, such as c5-16 mp2"
        rule = f"cannot be followed from image to logits ({why})"
        raise BadArgument("model", found.model, rule, remedy)
    seen = [start(input_shape[1:])]
    for row in found.rows:
        if row.seen is None or seen[-1].whole:
            continue
        if row.join or row.slides or row.seen.sees != seen[-1].sees:
            seen.append(row.seen)
    return seen


def inputs_of(given: Given) -> list[tuple[int, ...] | Tensor]:
    """Each input as a shape or a tensor. Raises BadArgument."""
    if isinstance(given, Tensor):
        return [given]
    try:
        parts = list(given)
        if parts and all(isinstance(part, int) for part in parts):
            parts = [tuple(parts)]  # type: ignore[arg-type]
        found = [part if isinstance(part, Tensor) else tuple(part) for part in parts]  # type: ignore[arg-type]
    except TypeError:
        found = []
    for part in found:
        if not isinstance(part, Tensor) and not all(isinstance(n, int) and n > 0 for n in part):
            found = []
    if not found:
        rule = "must be a shape without the batch, several of them, or tensors"
        raise BadArgument(
            "input_shape", _said(given), rule, "try 3x224x224, in Python (3, 224, 224)"
        )
    return found


def _said(given: object) -> str:
    if isinstance(given, list | tuple) and given and all(isinstance(n, int) for n in given):
        return "x".join(map(str, given))
    return str(given) if isinstance(given, str | int | tuple | list) else type(given).__name__


def _fits(model: nn.Module, parts: Sequence[tuple[int, ...] | Tensor]) -> None:
    """Refuse what cannot be watched, and a number of inputs that the model does not take. Raises
    BadArgument."""
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            what = f"has in {path} what is" if path else "is"
            rule = f"{what} compiled to TorchScript, whose layers cannot be watched"
            remedy = "give the module as it was before torch.jit.script or torch.jit.trace"
            raise BadArgument("network", type(model).__name__, rule, remedy)
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):  # such as compiled code
        return
    try:
        signature.bind(*parts)
    except TypeError:
        needed = [
            p.name
            for p in signature.parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        only = [p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
        kind, count = type(model).__name__, len(parts)
        rule = (
            f"{kind} takes {plural(len(needed), 'input')} "
            f"({', '.join(needed)}), and {count} {'was' if count == 1 else 'were'} given"
        )
        remedy = "give a shape for each: --input 3x32x32 --input 10, or from Python a tuple of "
        remedy += "shapes or tensors"
        if count > len(needed):
            remedy = "leave some out; a module that takes a list or a dict needs one around it"
        if set(only) & set(needed):
            remedy = f"wrap it in a module that gives {', '.join(only)}"
        shapes = ", ".join(
            "x".join(map(str, p.shape if isinstance(p, Tensor) else p)) for p in parts
        )
        raise BadArgument("input_shape", shapes, rule, remedy) from None


def _tensors(
    model: nn.Module,
    parts: Sequence[tuple[int, ...] | Tensor],
    whole: frozenset[int],
    device: torch.device,
) -> list[Tensor]:
    """Zeros for each shape, in the model's own kind of number or whole; tensors as they are."""
    kinds = (p.dtype for p in model.parameters() if p.is_floating_point())
    dtype = next(kinds, torch.get_default_dtype())
    return [
        part.detach().to(device)
        if isinstance(part, Tensor)
        else torch.zeros(1, *part, dtype=torch.int64 if n in whole else dtype, device=device)
        for n, part in enumerate(parts)
    ]


def _made_up(
    model: nn.Module, parts: Sequence[tuple[int, ...] | Tensor], whole: frozenset[int]
) -> nn.Module:
    """A model whose lazy layers have their sizes: itself, or a copy that a first input went
    through, where that can be."""
    if not any(map(is_lazy, model.parameters())):
        return model
    lazy: Any = [buffer for buffer in model.buffers() if is_lazy(buffer)]  # cannot be copied
    made = copy.deepcopy(model, {id(b): type(b)(dtype=b.dtype) for b in lazy})
    try:
        with evaluating(made), torch.no_grad():
            made(*_tensors(made, parts, whole, torch.device("cpu")))
    except Exception:  # it fails in the trace again, and is told from there
        pass
    return made
