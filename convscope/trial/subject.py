"""The network that stands trial, its copy that everything is tried on, and what is said of it."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable

import torch
from torch import nn

from convscope import models
from convscope.data.loader import Batch, forward
from convscope.errors import BadArgument, ConvscopeError
from convscope.events import Emit
from convscope.formatting import listed, plural
from convscope.models import state, store
from convscope.recipe import Recipe
from convscope.training.losses import Losses
from convscope.trial.blame import ahead, said

NAMED = 3  # parameters that a notice names
ONE_VALUE = "Expected more than 1 value per channel"  # what batch norm says of too small a batch


class Subject:
    """A network on trial, with a batch to try it on and the losses of its targets.

    Making one gives lazy layers of ``model`` their sizes, and copies it: ``twin``. Raises
    BadArgument for a network that holds what PyTorch does not see, or that cannot be copied.
    """

    def __init__(
        self,
        model: nn.Module,
        asked: Recipe,
        batch: Batch,
        losses: Losses,
        rebuild: Callable[[], nn.Module],
        emit: Emit,
    ) -> None:
        self.model, self.asked, self.rebuild, self.emit = model, asked, rebuild, emit
        self.batch, self.losses = batch, losses
        self.name = asked.model.name
        self.own = models.is_own(self.name)
        self.twin: nn.Module = self._copied()

    def _copied(self) -> nn.Module:
        try:
            store.make_up(self.model, *self.some(2).inputs.values())
        except Exception as why:  # a user's class may raise anything
            raise self.failed(why, self.model, 2, learns=False) from why
        if hidden := next(state.hidden(self.model), None):
            where, what, remedy = hidden
            where = self.short(where)
            raise self.refused(
                f"keeps {what} in {where}, where PyTorch does not see it: it is neither trained "
                "nor saved",
                remedy,
            )
        for name, module in self.model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                rule = f"has in {self.short(name)} what is compiled to TorchScript, whose copies "
                rule += "do not learn"
                remedy = "give the module as it was before torch.jit.script or torch.jit.trace"
                raise self.refused(rule, remedy)
        try:
            twin = copy.deepcopy(self.model)
        except Exception as why:
            made = [
                self.short(name)
                for name, tensor in state.plain(self.model)
                if tensor.grad_fn is not None
            ]
            remedy = "keep only modules, parameters, buffers and plain values in it"
            if made:
                remedy = f"compute {', '.join(made)} in forward, from parameters (weight_norm and "
                remedy += "spectral_norm of nn.utils.parametrizations do; prune does not)"
            raise self.refused(f"cannot be copied ({said(why)})", remedy) from why
        if called := self._calls_back(twin):
            raise self.refused(
                "cannot be copied: a function in it, such as a hook, holds the network that it was "
                f"made for, and calls {called} of it whichever copy it is in",
                "let it use the module that it is given, or be a method (self.hook)",
            )
        return twin

    def _calls_back(self, twin: nn.Module) -> str:
        """What of the network itself its copy calls, if it does: from a function that holds it,
        such as a hook that was made in ``__init__``."""
        called: list[str] = []

        def note(name: str) -> Callable[..., None]:
            return lambda *rest: called.append(name)

        handles = [m.register_forward_pre_hook(note(n)) for n, m in self.model.named_modules()]
        try:
            with torch.no_grad(), contextlib.suppress(Exception):  # it is told of in its place
                forward(copy.deepcopy(twin).eval(), self.some(2).inputs)
        finally:
            for handle in handles:
                handle.remove()
        return self.short(called[0]) or "itself" if called else ""

    def some(self, count: int) -> Batch:
        """So many records, from the first again where there are fewer."""
        which = torch.arange(count, device=self.batch.device) % len(self.batch)
        inputs, targets = (
            {name: one[which] for name, one in some.items()}
            for some in (self.batch.inputs, self.batch.targets)
        )
        return Batch(inputs, targets)

    def shapes(self, count: int) -> str:
        """Those of the inputs of so many records, in words."""
        shapes = {name: list(one.shape) for name, one in self.some(count).inputs.items()}
        if len(shapes) == 1:
            return str(*shapes.values())
        return ", ".join(f"{name} {shape}" for name, shape in shapes.items())

    def failed(self, why: Exception, model: nn.Module, count: int, learns: bool) -> ConvscopeError:
        """What to say of a forward pass that failed."""
        inputs = [*self.some(count).inputs.values()]
        train, where = self.asked.train, ahead(model, inputs, learns, self.short)
        if ONE_VALUE in str(why):
            argument, value = "batch_size", train.batch_size
            remedy = "let every pass have 2 images at least"
            if train.micro_batch:
                argument, value = "micro_batch", train.micro_batch
                remedy += ": another micro_batch, or batch_size"
            return BadArgument(
                argument,
                value,
                f"leaves {plural(count, 'image')} for a pass, and {self.name} {where or 'fails'}",
                f"{remedy} (batch norm cannot learn from one value a channel)",
            )
        rule = f"fails on a batch {self.shapes(count)}: {type(why).__name__}: {said(why)}"
        if where:
            rule = f"{where}, on a batch {self.shapes(count)} {'in training' * learns}".rstrip()
            rule += f" ({type(why).__name__})"
        remedy = "mend the class; it gets float [B,C,H,W]" if self.own else "take another network"
        return self.refused(rule, remedy)

    def refused(self, rule: str, remedy: str) -> BadArgument:
        """The error of a network that breaks a rule."""
        return BadArgument("model", self.name, rule, remedy)

    def at(self, where: str) -> str:
        """In which layer."""
        own = self.name.rpartition(":")[2] if where in ("", "head") else self.short(where)
        return f" in {own}"

    def short(self, name: str) -> str:
        """A layer's name as the user knows it."""
        return name.removeprefix("head.") if self.own else name

    def named(self, names: list[str]) -> str:
        """Some names, and how many more there are."""
        return listed([self.short(name) for name in names], NAMED)
