"""One trial of a network before its run: what it would fail on is refused before anything is
written, in words.

A copy goes forward and back on batches of every size that will occur, is judged, saved, loaded into
a network that is built anew, and has to give the same logits.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from convscope import models
from convscope.engine import precision
from convscope.errors import BadArgument, ConvscopeError
from convscope.events import Emit, Notice
from convscope.formatting import plural
from convscope.models import state, store
from convscope.models.parts import Classifier
from convscope.recipe import Recipe
from convscope.trial.blame import ahead, behind, said
from convscope.trial.passes import Passes

__all__ = ["Passes", "hold"]

SMALL = (2, 3)  # images whose passes tell whether a network cares how many there are
COSTLY = 0.25  # seconds that passes of full size may take, where smaller ones have told all
REBUILT = 2_000_000  # parameters up to which a network of the registry is built a second time
NAMED = 3  # parameters that a notice names
ONE_VALUE = "Expected more than 1 value per channel"  # what batch norm says of too small a batch


def hold(
    model: Classifier,
    asked: Recipe,
    batch: tuple[Tensor, Tensor],
    passes: Passes,
    classes: int,
    rebuild: Callable[[], Classifier],
    emit: Emit,
) -> Recipe:
    """The recipe, with what this network does not bear ruled out, once the network has stood its
    trial on images float [B,C,H,W] and targets [B] or [B,K] of a ``batch``; the network stays as it
    was, but that its lazy layers have their sizes.

    Raises BadArgument: for passes that fail, for what is not a row of logits an image, where no
    gradient reaches a parameter, and where the network, saved and loaded, is another one.
    """
    with torch.random.fork_rng(devices=[]):
        found = _Trial(model, asked, batch, classes, rebuild, emit)
        found.make_up()
        found.learn(passes.learnt)
        found.judge(passes.judged)
        if found.own or sum(p.numel() for p in model.parameters()) <= REBUILT:
            found.load()
        return found.settle() if found.own else asked


class _Trial:
    def __init__(
        self,
        model: Classifier,
        asked: Recipe,
        batch: tuple[Tensor, Tensor],
        classes: int,
        rebuild: Callable[[], Classifier],
        emit: Emit,
    ) -> None:
        self.model, self.asked, self.rebuild, self.emit = model, asked, rebuild, emit
        self.inputs, self.targets = batch
        self.classes = classes
        self.name = asked.model.name
        self.own = models.is_own(self.name)
        self.twin: nn.Module = model

    def make_up(self) -> None:
        """Give lazy layers their sizes, and make the copy that everything else is tried on."""
        try:
            store.make_up(self.model, self._some(2))
        except Exception as why:  # a user's class may raise anything
            raise self._failed(why, self.model, 2, learns=False) from why
        if hidden := next(state.hidden(self.model), None):
            where, what, remedy = hidden
            where = self._short(where)
            raise self._refused(
                f"keeps {what} in {where}, where PyTorch does not see it: it is neither trained "
                "nor saved",
                remedy,
            )
        for name, module in self.model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                rule = f"has in {self._short(name)} what is compiled to TorchScript, whose copies "
                rule += "do not learn"
                remedy = "give the module as it was before torch.jit.script or torch.jit.trace"
                raise self._refused(rule, remedy)
        try:
            self.twin = copy.deepcopy(self.model)
        except Exception as why:
            made = [
                self._short(name)
                for name, tensor in state.plain(self.model)
                if tensor.grad_fn is not None
            ]
            remedy = "keep only modules, parameters, buffers and plain values in it"
            if made:
                remedy = f"compute {', '.join(made)} in forward, from parameters (weight_norm and "
                remedy += "spectral_norm of nn.utils.parametrizations do; prune does not)"
            raise self._refused(f"cannot be copied ({said(why)})", remedy) from why
        if called := self._calls_back():
            raise self._refused(
                "cannot be copied: a function in it, such as a hook, holds the network that it was "
                f"made for, and calls {called} of it whichever copy it is in",
                "let it use the module that it is given, or be a method (self.hook)",
            )

    # passes

    def learn(self, sizes: Iterable[int]) -> None:
        """Forward and back in training mode, and see whom a gradient reaches."""
        wanted = [n for n, p in self.twin.named_parameters() if p.requires_grad]
        if not wanted:
            rule = "has no parameter to train"
            raise self._refused(rule, "give it a layer with weights, or let some require gradients")
        self.twin.train()
        reached: set[str] = set()

        def once(count: int) -> None:
            self.twin.zero_grad(set_to_none=True)
            self._learn(count)
            reached.update(n for n, p in self.twin.named_parameters() if p.grad is not None)

        self._all(sizes, once)
        sparse = [
            n for n, p in self.twin.named_parameters() if p.grad is not None and p.grad.is_sparse
        ]
        if sparse:
            rule = (
                f"gives {self._named(sparse)} a sparse gradient, which the optimisers do not take"
            )
            raise self._refused(rule, "leave sparse=True out")
        if missed := [name for name in wanted if name not in reached]:
            said = (
                f"{self._named(missed)}: no gradient arrives there, so that training leaves it as"
            )
            why = "forward does not use it, or uses it under torch.no_grad(), .detach() or .numpy()"
            self.emit(Notice(f"{said} it is ({why})", warning=True))

    def judge(self, sizes: Iterable[int]) -> None:
        """Forward in evaluation mode."""
        self.twin.eval()
        self._all({2, *sizes}, self._judge)

    def _all(self, sizes: Iterable[int], once: Callable[[int], object]) -> None:
        """Passes of these sizes. Where a few images go through whatever their number, and those of
        full size would take long, the few have told all that there is to be told."""
        if not self.own:  # known layers know of none but too few images
            for count in {min(n, SMALL[0]) for n in sizes}:
                once(count)
            return
        sizes, seconds, alike = sorted(set(sizes)), 0.0, True
        for count in {*SMALL, *sizes[:1]}:
            began = time.perf_counter()
            try:
                once(count)
            except BadArgument:
                if count in sizes:
                    raise
                alike = False
            seconds = (time.perf_counter() - began) / count  # an image
        left = COSTLY
        for count in sizes:
            left -= seconds * count if alike and count > max(SMALL) else 0.0
            if left >= 0:
                once(count)

    def _some(self, count: int) -> Tensor:
        return self.inputs[_in_turn(count, self.inputs)]

    def _learn(self, count: int, twin: nn.Module | None = None, **how: Any) -> None:
        twin = twin or self.twin
        targets = self.targets[_in_turn(count, self.targets)]
        try:
            logits = self._logits(twin, count, **how)
        except BadArgument:
            raise
        except Exception as why:
            raise self._failed(why, twin, count, learns=True) from why
        self._checked(logits, count, "in training mode")
        if not logits.requires_grad:
            raise self._refused(
                "gives logits that no gradient goes back from: nothing would be trained",
                "leave torch.no_grad(), .detach() and .numpy() out of forward, and let a parameter "
                "have requires_grad",
            )
        loss = functional.cross_entropy(logits.float(), targets)
        if not math.isfinite(loss.item()):
            raise self._refused(
                f"gives a loss of {loss.item():g} for {count} training images before any training",
                "look for a division by nought, a root or a logarithm in forward, or very large "
                "first weights",
            )
        try:
            loss.backward()  # type: ignore[no-untyped-call]
        except Exception as why:
            where = behind(copy.deepcopy(self.twin), self._some(count), targets)
            raise self._refused(
                f"fails on the way back{self._at(where)}, on a batch "
                f"{list(self._some(count).shape)}: {said(why)}",
                "mend the backward of that layer, or what changes its values in place",
            ) from why

    def _judge(self, count: int) -> Tensor:
        try:
            with torch.no_grad():
                logits = self._logits(self.twin, count)
        except Exception as why:
            raise self._failed(why, self.twin, count, learns=False) from why
        return self._checked(logits, count, "in evaluation mode")

    def _logits(
        self, twin: nn.Module, count: int, layout: torch.memory_format = torch.contiguous_format,
        narrow: bool = False,
    ) -> Any:  # fmt: skip
        inputs = self._some(count).contiguous(memory_format=layout)
        narrow = narrow or self.asked.train.precision == "bfloat16"
        on = narrow and torch.is_grad_enabled()
        with precision.autocast(inputs.device.type, "bfloat16") if on else nullcontext():
            return twin(inputs)

    def _checked(self, logits: Any, count: int, mode: str) -> Tensor:
        """The logits; what is not a row of them an image is refused."""
        wanted = [count, self.classes]
        if not isinstance(logits, Tensor):
            kind = type(logits).__name__
            kind += f" of {len(logits)}" if isinstance(logits, tuple | list | dict) else ""
            raise self._refused(
                f"gives {kind} {mode}, not a tensor",
                f"return the logits [B,{self.classes}] alone",
            )
        if list(logits.shape) != wanted or not logits.is_floating_point():
            kind = "" if logits.is_floating_point() else f" of {logits.dtype}"
            raise self._refused(
                f"gives {list(logits.shape)}{kind} {mode} for a batch of {count} images of "
                f"{self.classes} classes",
                f"make it give [B,{self.classes}]" + ", floating point" * bool(kind),
            )
        rows = logits.detach().double()
        if self.classes > 1 and bool((rows >= 0).all() and ((rows.sum(1) - 1).abs() < 1e-2).all()):
            raise self._refused(
                f"gives probabilities {mode} (each row is of 0 or more and sums to 1), where "
                "logits are wanted: the loss takes the softmax itself, and over probabilities it "
                "trains badly",
                "return the logits, without softmax",
            )
        return logits

    # saved and loaded

    def load(self) -> None:
        """Save the copy, which has learnt, load it into a network that is built anew, compare."""
        before, again = self._judge(2), self._judge(2)
        if not _near(before, again):
            raise self._refused(
                "gives other logits for the same images each time it is asked in evaluation mode, "
                "so that no figure of it could be found again",
                "let what is random or counts its calls depend on self.training (dropout: "
                "training=self.training)",
            )
        try:
            content = store.to_bytes(self.twin.state_dict())
        except Exception as why:
            rule = f"cannot be saved ({said(why)})"
            raise self._refused(rule, "let parameters and buffers be plain tensors") from why
        torch.manual_seed(torch.initial_seed() % 2**32 + 1)  # what is drawn anew is another
        fresh = self.rebuild().to(self.inputs.device)
        try:
            store.make_up(fresh, self._some(2))
            store.fill(fresh, store.from_bytes(content, "its file"), "its file")
            with torch.no_grad():
                found = fresh.eval()(self._some(2))
        except Exception as why:
            rule = f"cannot be loaded into a network that is built anew ({said(why)})"
            remedy = "let __init__ make the same parameters and buffers each time"
            raise self._refused(rule, remedy) from why
        if not _near(before, found):
            raise self._refused(*self._forgets(fresh))

    def _forgets(self, fresh: Classifier) -> tuple[str, str]:
        """Why a network that was saved and loaded gives other logits, and what helps."""
        rule = "gives other logits once it was saved and loaded: {} is not saved"
        saved = self.twin.state_dict()
        others = dict(fresh.named_buffers())
        for name, buffer in self.twin.named_buffers():
            if name not in saved and not _near(buffer, others.get(name)):
                return rule.format(f"the buffer {self._short(name)}"), "make it persistent=True"
        others = dict(state.plain(fresh))
        for name, tensor in state.plain(self.twin):
            if not _near(tensor, others.get(name)):
                what = f"the plain tensor {self._short(name)}"
                return rule.format(what), "make it an nn.Parameter, or register_buffer it"
        lost = list(state.hidden(self.twin, frozen=True))
        if lost:
            where, what, remedy = lost[0]
            return rule.format(f"{what} in {self._short(where)}"), remedy
        return (
            rule.format("something that its forward depends on"),
            "keep whatever changes, or is drawn, in parameters and buffers",
        )

    # what it bears

    def settle(self) -> Recipe:
        """The recipe without the formats and kernels that the user's network does not bear."""
        train, found = self.asked.train, {}
        self.twin.train()
        if train.memory_format != "contiguous":
            try:
                laid_out = copy.deepcopy(self.model).to(memory_format=torch.channels_last)
                self._learn(2, laid_out.train(), layout=torch.channels_last)
            except Exception as why:
                text = said(why.__cause__ or why)
                if train.memory_format != "auto":
                    remedy = "use reshape or flatten instead of view, or memory_format=contiguous"
                    rule = f"does not bear memory_format={train.memory_format} ({text})"
                    raise self._refused(rule, remedy) from why
                found["memory_format"] = "contiguous"
                remedy = "reshape or flatten instead of view lets it be laid out as is fastest here"
                self.emit(Notice(f"memory format: contiguous, as this network fails with channels "
                                 f"last ({text}); {remedy}"))  # fmt: skip
        if train.precision == "auto":
            try:
                self._learn(2, copy.deepcopy(self.model).train(), narrow=True)
            except Exception as why:
                found["precision"] = "float32"
                text = said(why.__cause__ or why)
                self.emit(Notice(f"precision: float32, as this network fails in bfloat16 ({text})"))
        if train.kernels != "plain":
            try:
                for narrow in {False, "precision" not in found and train.precision != "float32"}:
                    self._learn(2, self._engine(narrow), layout=torch.channels_last, narrow=narrow)
            except Exception as why:
                text = said(why.__cause__ or why)
                if train.kernels != "auto":
                    raise self._refused(
                        f"does not bear kernels={train.kernels} ({text})", "try kernels=plain"
                    ) from why
                found["kernels"] = "plain"
                self.emit(Notice(f"kernels: plain, as this network fails with others ({text})"))
        return self.asked.measured(**found) if found else self.asked

    def _engine(self, narrow: bool) -> nn.Module:
        """A copy that is computed by compiled kernels."""
        twin = copy.deepcopy(self.model).to(memory_format=torch.channels_last)
        return precision.engine(twin, "fused", "bfloat16" if narrow else "float32").train()

    def _calls_back(self) -> str:
        """What of the network itself its copy calls, if it does: from a function that holds it,
        such as a hook that was made in ``__init__``."""
        called: list[str] = []

        def note(name: str) -> Callable[..., None]:
            return lambda *rest: called.append(name)

        handles = [m.register_forward_pre_hook(note(n)) for n, m in self.model.named_modules()]
        try:
            with torch.no_grad(), contextlib.suppress(Exception):  # it is told of in its place
                copy.deepcopy(self.twin).eval()(self._some(2))
        finally:
            for handle in handles:
                handle.remove()
        return self._short(called[0]) or "itself" if called else ""

    # words

    def _failed(self, why: Exception, model: nn.Module, count: int, learns: bool) -> ConvscopeError:
        """What to say of a forward pass that failed."""
        inputs = self._some(count)
        train, where = self.asked.train, ahead(model, inputs, learns, self._short)
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
        rule = f"fails on a batch {list(inputs.shape)}: {type(why).__name__}: {said(why)}"
        if where:
            rule = f"{where}, on a batch {list(inputs.shape)} {'in training' * learns}".rstrip()
            rule += f" ({type(why).__name__})"
        remedy = "mend the class; it gets float [B,C,H,W]" if self.own else "take another network"
        return self._refused(rule, remedy)

    def _refused(self, rule: str, remedy: str) -> BadArgument:
        return BadArgument("model", self.name, rule, remedy)

    def _at(self, where: str) -> str:
        own = self.name.rpartition(":")[2] if where in ("", "head") else self._short(where)
        return f" in {own}"

    def _short(self, name: str) -> str:
        return name.removeprefix("head.") if self.own else name

    def _named(self, names: list[str]) -> str:
        """Some names, and how many more there are."""
        some = ", ".join(self._short(name) for name in names[:NAMED])
        return some + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _near(one: Tensor, two: Tensor | None) -> bool:
    """Whether two tensors are the same but for rounding."""
    if two is None or one.shape != two.shape or one.dtype is not two.dtype:
        return False
    if not one.is_floating_point():
        return torch.equal(one, two)
    scale = float(one.abs().max()) if one.numel() else 0.0
    return torch.allclose(one, two, rtol=1e-4, atol=1e-5 * scale, equal_nan=True)


def _in_turn(count: int, rows: Tensor) -> Tensor:
    """The indices of so many rows, from the first again where there are fewer."""
    return torch.arange(count, device=rows.device) % len(rows)
