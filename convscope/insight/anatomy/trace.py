"""A forward pass as it happens, recorded: which operators run, on what shapes, in which layer or
function.

It runs on PyTorch's ``meta`` device, where tensors have shapes and no values: whatever meets the
image, weights included, becomes such a tensor on its way into an operator, and what does not
depend on the image (tables of indices, sizes) is computed as ever. So nothing is allocated or
multiplied, and the model is not touched. ``real`` runs it on numbers instead.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from convscope.evaluation.predictions import evaluating
from convscope.insight.anatomy.record import Failure, Frame, Op, Shape, Trace, Value
from convscope.insight.anatomy.setting import META, as_it_was, plainly
from convscope.uncompiled import uncompiled

_ON_DATA = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
_MASKED = {"aten::index", "aten::masked_select"}
_TO_NUMBERS = {"tolist", "numpy", "array"}  # functions that leave no operator behind


class DependsOnDataError(RuntimeError):
    """A path, or a shape, that depends on the values of the image."""


def trace(
    model: nn.Module, inputs: Sequence[Tensor], *, real: bool = False, learns: bool = False
) -> Trace:
    """Run a model in evaluation mode, or in that in which it ``learns``, and record it; the model
    stays as it was.

    What goes wrong in the model is no error here: it is the trace's ``failure``.
    """
    recorder = _Recorder(model, real)
    given = [tensor.clone() if real else tensor.to(META) for tensor in inputs]
    found = recorder.found
    found.inputs.extend(recorder.made(tensor, image=True) for tensor in given)
    with contextlib.ExitStack() as stack:
        stack.enter_context(as_it_was(model))
        stack.enter_context(evaluating(model))
        if learns:
            model.train()
        else:
            stack.enter_context(torch.no_grad())
        stack.enter_context(plainly(model))
        stack.callback(recorder.write_back)
        recorder.hook(stack)
        if not real:
            recorder.empty_recurrent()
        stack.enter_context(_Operators(recorder))
        stack.enter_context(_Functions(recorder))
        try:
            output = model(*given)
        except Exception as why:  # a model may do anything with its input
            found.error = why
            found.failure = recorder.failure(why)
        else:
            found.outputs.extend(recorder.values_in(output))
    return found


class _Recorder:
    """The calls that are open, and a Value for every tensor that was seen."""

    def __init__(self, model: nn.Module, real: bool) -> None:
        self.real, self.model = real, model
        modules, parts = model.named_modules(), "parametrizations"
        names = {module: name for name, module in modules if parts not in name.split(".")}
        known = {name: p for name, p in model.named_parameters() if not is_lazy(p)}
        root = Frame("", model)
        self.preparing = 0  # parametrisations that are at work
        self.found = Trace(root, [], [], names, {name: p.numel() for name, p in known.items()})
        self.open = [root]
        self.called: set[nn.Module] = set()
        self.values: dict[int, Value] = {}  # by the identity of the tensor
        self.kept: list[Tensor] = []  # so that no identity is given twice
        self.parameters = {_storage(p): name for name, p in known.items()}
        self.before: dict[int, tuple[Tensor, Tensor]] = {}  # storage -> a tensor, as it was before
        self.shapeless: set[int] = set()  # storages of real tensors that the image was written to
        self.stands_for: dict[int, int] = {}  # storage of a stand-in -> that of the tensor itself
        # an exception, and where it was raised
        self.fell: tuple[BaseException, Frame] | None = None
        self.blamed: tuple[BaseException, str, tuple[Shape, ...]] | None = None

    # modules

    def hook(self, stack: contextlib.ExitStack) -> None:
        def around(module: nn.Module, enter: Any, leave: Any, **how: bool) -> None:
            stack.callback(module.register_forward_pre_hook(enter, **how).remove)
            stack.callback(module.register_forward_hook(leave, always_call=True).remove)

        for module in self.found.names:
            around(module, self._enter, self._leave, prepend=True, with_kwargs=True)
        for module in self.model.modules():
            if isinstance(module, ParametrizationList):
                around(module, lambda *_: self._prepare(1), lambda *_: self._prepare(-1))

    def _prepare(self, more: int) -> None:
        self.preparing += more

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if module is self.model:
            frame = self.found.root
        else:
            frame = Frame(self.found.names[module], module)
            self.open[-1].parts.append(frame)
            self.open.append(frame)
        frame.again = module in self.called
        self.called.add(module)
        frame.inputs = self.values_in((args, kwargs))

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        """Close a module's call; also after an exception, which the model may catch."""
        why, frame = sys.exc_info()[1], self.open[-1]
        frame.failed = output is None and why is not None
        if frame.failed and why is not None and (self.fell is None or self.fell[0] is not why):
            self.fell = why, frame
        frame.outputs = self.values_in(output)
        if len(self.open) > 1:
            self.open.pop()

    def empty_recurrent(self) -> None:
        """Put stand-ins into the layers that compare their weights' device with their input's; what
        they had is given back with everything else."""
        for module in self.found.names:
            if isinstance(module, nn.RNNBase | nn.RNNCellBase):
                for name, parameter in list(module._parameters.items()):
                    if parameter is not None:
                        setattr(module, name, nn.Parameter(self.stand_in(parameter)))

    # functions and operators

    @contextlib.contextmanager
    def function(self, name: str, arguments: Any) -> Iterator[Frame]:
        frame, holder = Frame(name), self.open[-1]
        holder.parts.append(frame)
        self.open.append(frame)
        try:
            yield frame
        except BaseException as why:
            if self.blamed is None or self.blamed[0] is not why:
                self.blamed = why, name, tuple(tuple(t.shape) for t in _tensors(arguments))
            raise
        finally:
            if self.open[-1] is frame:
                self.open.pop()
        if not frame.parts:
            holder.parts.pop()

    def noted(self, func: OpOverload, args: Any, kwargs: Any, out: Any) -> None:
        """Record an operator that ran."""
        args, kwargs = tree_map_only(Tensor, self.value, (tuple(args), dict(kwargs)))
        before = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Value)]
        before = [] if _makes(func) else before
        image = any(map(self.of_image, before))
        written = frozenset(value.storage for value in _written(func, args, kwargs))
        after = [self.made(tensor, image) for tensor in _tensors(out)]
        if image:
            self.shapeless |= written
        prepares = self.preparing > 0
        self.open[-1].parts.append(Op(func, args, kwargs, before, after, written, prepares))

    def spare(self, func: OpOverload, args: Any, kwargs: Any) -> None:
        """Keep the values of parameters that an operator is about to write to."""
        for tensor in _written(func, args, kwargs):
            storage = _storage(tensor)
            if storage in self.parameters and storage not in self.before:
                name = self.parameters[storage]
                whole = self.model.get_parameter(name).detach()
                self.before[storage] = whole, whole.clone()

    def write_back(self) -> None:
        """Give parameters that were written to their values again."""
        with torch.no_grad():
            for tensor, value in self.before.values():
                tensor.copy_(value)

    def value(self, tensor: Tensor) -> Value:
        """The tensor as it is known; one that is new is a constant, or a parameter."""
        if id(tensor) not in self.values:
            storage = _storage(tensor)
            name = self.parameters.get(self.stands_for.get(storage, storage))
            self.made(tensor, parameters=frozenset() if name is None else frozenset({name}))
        return self.values[id(tensor)]

    def of_image(self, value: Value) -> bool:
        """Whether a tensor depends on the image, or had a part of it written into it."""
        return value.image or value.storage in self.shapeless

    def values_in(self, nested: Any) -> list[Value]:
        return [self.value(tensor) for tensor in _tensors(nested)]

    def made(
        self, tensor: Tensor, image: bool = False, parameters: frozenset[str] = frozenset()
    ) -> Value:
        storage = _storage(tensor)
        storage = self.stands_for.get(storage, storage)
        value = Value(tuple(tensor.shape), tensor.element_size(), storage, parameters, image)
        self.values[id(tensor)] = value
        self.kept.append(tensor)
        return value

    def is_shapeless(self, tensor: Tensor) -> bool:
        return tensor.device == META or _storage(tensor) in self.shapeless

    def stand_in(self, tensor: Tensor) -> Tensor:
        """The tensor without its values."""
        if tensor.device == META:
            return tensor
        stand_in = tensor.detach().to(META)
        self.stands_for[_storage(stand_in)] = _storage(tensor)
        self.kept.append(stand_in)
        return stand_in

    def on_data(self, name: str) -> None:
        """Note that the path depends on values here. Raises DependsOnDataError where there are
        none."""
        at = next(frame for frame in reversed(self.open) if frame.module is not None)
        place = at.name or type(self.model).__name__
        if f"{place}, {name}" not in self.found.on_data:
            self.found.on_data.append(f"{place}, {name}")
        if not self.real:
            raise DependsOnDataError(f"{name} in {place} looks at values")

    def failure(self, why: BaseException) -> Failure:
        at = self.fell[1] if self.fell is not None and self.fell[0] is why else self.open[0]
        kind = type(at.module).__name__
        function, shapes = "", tuple(value.shape for value in at.inputs)
        if self.blamed is not None and self.blamed[0] is why:
            _, function, shapes = self.blamed
        reason = " ".join(str(why).split()) or type(why).__name__
        return Failure(at.name or kind, kind, function, shapes, reason)


class _Functions(TorchFunctionMode):
    """Sees each function of PyTorch that is called, by the name that the caller used."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, recorder = _word(func), self.recorder
        with recorder.function(name, (args, kwargs)):
            if name in _TO_NUMBERS and any(map(recorder.of_image, recorder.values_in(args))):
                recorder.on_data(name)
            return func(*args, **(kwargs or {}))


def _looked_at(func: OpOverload, args: Any, tensors: list[Tensor]) -> list[Tensor]:
    """The tensors whose values an operator looks at: of those that take by a mask, the mask."""
    if func._schema.name not in _MASKED:
        return tensors
    return [mask for mask in _tensors(args[1:]) if mask.dtype in (torch.bool, torch.uint8)]


def _word(func: Any) -> str:
    """A function's name as it is called: ``add`` for ``+`` and ``+=``, whichever side it is on."""
    name = getattr(func, "__name__", "call")
    return re.sub(r"^__[ir]?(?=(add|sub|mul|truediv|div|matmul|pow)__)", "", name).strip("_")


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees each operator that runs, and runs it on shapes alone where the image is involved."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing here is compiled: the compiler need not be there to be kept away."""
        return False

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        recorder, kwargs = self.recorder, kwargs or {}
        if torch.is_inference_mode_enabled() and torch._C._dispatch_has_kernel_for_dispatch_key(
            func.name(), "CompositeImplicitAutograd"
        ):  # an operator that is made of others, which arrive here otherwise
            with self:
                return func.decompose(*args, **kwargs)
        tensors = _tensors((args, kwargs))
        if _ON_DATA & set(func.tags):  # its output's shape, or the path, depends on values
            looked_at = recorder.values_in(_looked_at(func, args, tensors))
            if any(map(recorder.of_image, looked_at)):
                last = recorder.open[-1]
                recorder.on_data(last.name if last.module is None else str(func._schema.name))
        if recorder.real or not any(map(recorder.is_shapeless, tensors)):
            recorder.spare(func, args, kwargs)
            out = func(*args, **kwargs)
        else:
            on_meta = tree_map_only(Tensor, recorder.stand_in, (args, kwargs))
            if on_meta[1].get("device") is not None:
                on_meta[1]["device"] = META
            with uncompiled():
                out = func(*on_meta[0], **on_meta[1])
        recorder.noted(func, args, kwargs, out)
        return out


def _makes(func: OpOverload) -> bool:
    """Whether an operator makes a tensor that has nothing of its arguments but their size."""
    name = str(func._schema.name).removeprefix("aten::")
    return name.startswith("new_") or name.endswith("_like")


def _written(func: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[Any]:
    """The arguments that an operator writes to."""
    for at, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[at] if at < len(args) else kwargs.get(argument.name)
            yield from (leaf for leaf in tree_leaves(value) if isinstance(leaf, Value | Tensor))


def _storage(tensor: Tensor) -> int:
    """What two views of the same memory have in common; a sparse tensor is in none."""
    strided = tensor.layout is torch.strided
    return int(tensor.untyped_storage()._cdata) if strided else -id(tensor)


def _tensors(nested: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(nested) if isinstance(leaf, Tensor)]
