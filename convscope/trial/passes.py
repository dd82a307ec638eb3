"""The passes of a run: how many images they have, and the network forward and back on as many."""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convscope.data.loader import forward
from convscope.engine import tuned_network
from convscope.errors import BadArgument
from convscope.events import Notice
from convscope.training.losses import by_target, mean_loss
from convscope.trial.blame import behind, said
from convscope.trial.subject import Subject

SMALL = (2, 3)  # images whose passes tell whether a network cares how many there are
COSTLY = 0.25  # seconds that passes of full size may take, where smaller ones have told all


@dataclass(frozen=True)
class Passes:
    """How many images the passes of a run have: those it learns from, and those it judges."""

    learnt: frozenset[int]
    judged: frozenset[int]

    @classmethod
    def of(
        cls, batches: Iterable[int], micro: int, judged: Iterable[int], eval_batch: int
    ) -> Passes:
        """
        >>> Passes.of([100, 41], 40, [5000, 0], 1000)
        Passes(learnt=frozenset({40, 1, 20}), judged=frozenset({1000}))
        """
        learnt = {n for batch in batches for n in _split(batch, micro or batch)}
        return cls(
            frozenset(learnt), frozenset(n for all_ in judged for n in _split(all_, eval_batch))
        )

    def at_most(self, most: int) -> Passes:
        """The same with passes of more images cut to so many."""
        return Passes(
            *(frozenset(min(n, most) for n in each) for each in (self.learnt, self.judged))
        )


def _split(whole: int, size: int) -> set[int]:
    return {min(size, whole), whole % size} - {0} if whole else set()


def learn(network: Subject, sizes: Iterable[int]) -> None:
    """Forward and back in training mode, and see whom a gradient reaches."""
    wanted = [n for n, p in network.twin.named_parameters() if p.requires_grad]
    if not wanted:
        rule = "has no parameter to train"
        raise network.refused(rule, "give it a layer with weights, or let some require gradients")
    network.twin.train()
    reached: set[str] = set()

    def once(count: int) -> None:
        network.twin.zero_grad(set_to_none=True)
        learn_once(network, count)
        reached.update(n for n, p in network.twin.named_parameters() if p.grad is not None)

    _all(network, sizes, once)
    sparse = [
        n for n, p in network.twin.named_parameters() if p.grad is not None and p.grad.is_sparse
    ]
    if sparse:
        rule = f"gives {network.named(sparse)} a sparse gradient, which the optimisers do not take"
        raise network.refused(rule, "leave sparse=True out")
    if missed := [name for name in wanted if name not in reached]:
        said = f"{network.named(missed)}: no gradient arrives there, so that training leaves it as"
        why = "forward does not use it, or uses it under torch.no_grad(), .detach() or .numpy()"
        network.emit(Notice(f"{said} it is ({why})", warning=True))


def judge(network: Subject, sizes: Iterable[int]) -> None:
    """Forward in evaluation mode."""
    network.twin.eval()
    _all(network, {2, *sizes}, functools.partial(judge_once, network))


def _all(network: Subject, sizes: Iterable[int], once: Callable[[int], object]) -> None:
    """Passes of these sizes. Where a few images go through whatever their number, and those of
    full size would take long, the few have told all that there is to be told."""
    if not network.own:  # known layers know of none but too few images
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


def learn_once(network: Subject, count: int, twin: nn.Module | None = None, **how: Any) -> None:
    """One pass forward and back on so many images, of the copy or of another ``twin``."""
    twin = twin or network.twin
    try:
        given = _given(network, twin, count, **how)
    except BadArgument:
        raise
    except Exception as why:
        raise network.failed(why, twin, count, learns=True) from why
    outputs = _checked(network, given, count, "in training mode")
    if not any(output.requires_grad for output in outputs.values()):
        raise network.refused(
            "gives logits that no gradient goes back from: nothing would be trained",
            "leave torch.no_grad(), .detach() and .numpy() out of forward, and let a parameter "
            "have requires_grad",
        )
    batch = network.some(count)
    loss = mean_loss(network.losses, outputs, batch)
    if not math.isfinite(loss.item()):
        raise network.refused(
            f"gives a loss of {loss.item():g} for {count} training images before any training",
            "look for a division by nought, a root or a logarithm in forward, or very large "
            "first weights",
        )
    try:
        loss.backward()  # type: ignore[no-untyped-call]
    except Exception as why:
        where = behind(copy.deepcopy(network.twin), batch, network.losses)
        raise network.refused(
            f"fails on the way back{network.at(where)}, on a batch "
            f"{network.shapes(count)}: {said(why)}",
            "mend the backward of that layer, or what changes its values in place",
        ) from why


def judge_once(network: Subject, count: int) -> Mapping[str, Tensor]:
    """The outputs for so many images in evaluation mode, by target."""
    try:
        with torch.no_grad():
            given = _given(network, network.twin, count)
    except Exception as why:
        raise network.failed(why, network.twin, count, learns=False) from why
    return _checked(network, given, count, "in evaluation mode")


def _given(
    network: Subject,
    twin: nn.Module,
    count: int,
    layout: torch.memory_format = torch.contiguous_format,
    narrow: bool = False,
) -> Any:
    batch = network.some(count).laid_out(layout)
    narrow = narrow or network.asked.train.precision == "bfloat16"
    on = narrow and torch.is_grad_enabled()
    with tuned_network.autocast(batch.device.type, "bfloat16") if on else nullcontext():
        return forward(twin, batch.inputs)


def _checked(network: Subject, given: Any, count: int, mode: str) -> Mapping[str, Tensor]:
    """What the network gave, by target; what is not a row an image for each target is refused."""
    wanted = {name: loss.width for name, loss in network.losses.items()}
    several = len(wanted) > 1
    shapes = ", ".join(f"{name}: [B,{width}]" for name, width in wanted.items())
    if several and not (isinstance(given, Mapping) and given.keys() >= wanted.keys()):
        found = list(given) if isinstance(given, Mapping) else type(given).__name__
        rule = f"gives {found} {mode}, not one output a target"
        raise network.refused(rule, f"return a dictionary {{{shapes}}}")
    if not several and not isinstance(given, Tensor):
        kind = type(given).__name__
        kind += f" of {len(given)}" if isinstance(given, tuple | list | dict) else ""
        remedy = f"return the logits [B,{next(iter(wanted.values()))}] alone"
        raise network.refused(f"gives {kind} {mode}, not a tensor", remedy)
    outputs = by_target(given, network.losses)
    for name, width in wanted.items():
        _check_rows(network, name if several else "", outputs[name], [count, width], mode)
    return {name: outputs[name] for name in wanted}


def _check_rows(network: Subject, name: str, output: Tensor, wanted: list[int], mode: str) -> None:
    """Refuse what is not [B,K], floating point, and, of a class, logits."""
    count, width = wanted
    of = f" for {name}" if name else ""
    if list(output.shape) != wanted or not output.is_floating_point():
        kind = "" if output.is_floating_point() else f" of {output.dtype}"
        raise network.refused(
            f"gives {list(output.shape)}{kind}{of} {mode} for a batch of {count} images of "
            f"{width} classes",
            f"make it give [B,{width}]" + ", floating point" * bool(kind),
        )
    rows = output.detach().double()
    if width > 1 and bool((rows >= 0).all() and ((rows.sum(1) - 1).abs() < 1e-2).all()):
        raise network.refused(
            f"gives probabilities{of} {mode} (each row is of 0 or more and sums to 1), where "
            "logits are wanted: the loss takes the softmax itself, and over probabilities it "
            "trains badly",
            "return the logits, without softmax",
        )
