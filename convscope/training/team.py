"""What the ranks of a training have in common after each step: gradients, running statistics, and
whether to go on."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from convscope.errors import BadArgument
from convscope.models import surgery
from convscope.recipe import Train
from convscope.training.ranks import LONG, Ranks


class Wishes(NamedTuple):
    """What somebody wants of the loop: to end at once by a signal (its number, or 0), to end in
    good order after this step, to save."""

    signum: int = 0
    stop: bool = False
    save: bool = False


ALIKE = surgery.FrozenBatchNorm2d  # whose statistics no rank changes


@dataclass(frozen=True)
class PartGradients:
    """The gradients of the parts of a batch, summed in float64, where the sum of a few float32
    numbers is exact: rounded once, at its end, it is the same in any order, and whichever rank has
    which part."""

    parameters: list[nn.Parameter]
    sums: list[Tensor | None]

    @classmethod
    def of(cls, model: nn.Module) -> PartGradients:
        """None yet."""
        own = [p for p in model.parameters() if p.requires_grad]
        return cls(own, [None] * len(own))

    def add(self) -> None:
        """Take those of a part, which lie beside the parameters."""
        for at, parameter in enumerate(self.parameters):
            if (one := parameter.grad) is not None:
                there = self.sums[at]
                kind = torch.promote_types(one.dtype, wide(one.device))
                self.sums[at] = one.to(kind) if there is None else there.add_(one)
                parameter.grad = None

    def give(self) -> None:
        """Lay the sums beside the parameters."""
        for parameter, one in zip(self.parameters, self.sums, strict=True):
            parameter.grad = None if one is None else one.to(parameter.dtype)


def wide(device: torch.device) -> torch.dtype:
    """That of sums that are to be exact, where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


class Team:
    """The ranks of a training, each with the same network: gradients are summed by one flat
    all-reduce a step, in float64 where batches are learnt from in parts; the running statistics of
    batch norm are averaged by it, and other buffers of float32 become those of rank 0. So every
    rank has the same state after each step.

    ``wishes`` says what this rank wants at the moment. Raises BadArgument for weights that are not
    float32.
    """

    def __init__(
        self,
        model: nn.Module,
        ranks: Ranks,
        train: Train,
        device: str,
        wishes: Callable[[], Wishes],
    ) -> None:
        self.ranks, self.wishes = ranks, wishes
        self.wished = Wishes()
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if odd := next((p.dtype for p in self.parameters if p.dtype is not torch.float32), None):
            rule = "has weights that are not float32, whose gradients ranks do not sum"
            raise BadArgument("model", odd, rule, "start one process")
        self.means, self.leads = _buffers(model)
        shared = [*self.parameters, *_of(self.means), *_of(self.leads)]
        there = len(self.parameters)
        self.first = there + len(self.means)  # view of a buffer that is rank 0's
        on_cpu = torch.device(device).type == "cpu"
        size = sum(t.numel() for t in shared) + there + 2 + 4 * on_cpu
        kind = wide(torch.device(device)) if train.micro_batch else torch.float32
        self.flat = torch.zeros(size, dtype=kind, device=device)
        self.views, at = list[Tensor](), 0
        for one in shared:
            part = self.flat[at : at + one.numel()]
            strides = torch.empty_like(one, device="meta").stride()  # without gaps
            self.views.append(part.as_strided(one.shape, strides, part.storage_offset()))
            at += one.numel()
        self.reached = self.flat[at : at + there]  # how many ranks have a gradient of each
        self.sums = self.flat[at + there : at + there + 2]
        self.asked = self.flat[-4:] if on_cpu else torch.zeros(4)
        self.group: Any = None if on_cpu else dist.new_group(backend="nccl", timeout=LONG)

    def reduce(self, sums: Tensor, copies: int, found: PartGradients | None = None) -> Tensor:
        """Give each parameter the sum of its gradients over the ranks, of what they ``found`` of
        parts if they did, and the buffers what they have in common; the ``sums`` [2] of this rank,
        each record of which was computed by so many ranks, become those of all."""
        pairs = list(zip(self.parameters, self.views, strict=False))
        gradients = [p.grad for p in self.parameters] if found is None else found.sums
        averaged, others = _of(self.means), _of(self.leads)
        with torch.no_grad():
            both = zip(self.views, gradients, strict=False)
            own = [(view, gradient) for view, gradient in both if gradient is not None]
            _copy([view for view, _ in own], [gradient for _, gradient in own])
            for view, gradient in zip(self.views, gradients, strict=False):
                if gradient is None:
                    view.zero_()
            means, led = self.views[len(pairs) :][: len(averaged)], self.views[self.first :]
            _copy(means, [one / self.ranks.count for one in averaged])
            _copy(led, others if self.ranks.leads else [one.new_zeros(()) for one in others])
            has = [float(gradient is not None) for gradient in gradients]
            self.reached.copy_(torch.tensor(has))
            self.sums.copy_(sums / copies)
            mine = self.wishes()
            stops = [mine.signum == one for one in (signal.SIGINT, signal.SIGTERM)]
            ends = [mine.stop and self.ranks.leads, mine.save and self.ranks.leads]
            self.asked.copy_(torch.tensor([float(one) for one in (*stops, *ends)]))
            with self.ranks.heard():
                dist.all_reduce(
                    self.flat, group=self.ranks.talk if self.group is None else self.group
                )
                if self.group is not None:
                    dist.all_reduce(self.asked, group=self.ranks.talk)
            _copy([*averaged, *others], [*means, *led])
        missed = len(own) < len(pairs)
        reached = self.reached.tolist() if missed else []
        for at, (parameter, view) in enumerate(pairs):
            parameter.grad = None if missed and not reached[at] else view.to(torch.float32)
        interrupt, terminate, stop, save = map(bool, self.asked.tolist())
        by = signal.SIGINT if interrupt else signal.SIGTERM if terminate else 0
        self.wished = Wishes(int(by), stop, save)
        return self.sums


def _copy(to: Sequence[Tensor], of: Sequence[Tensor]) -> None:
    if to:
        torch._foreach_copy_(list(to), list(of))


Buffers = list[tuple[nn.Module, str]]  # by layer and name: a layer may put another in its place


def _of(buffers: Buffers) -> list[Tensor]:
    return [getattr(layer, name) for layer, name in buffers]


def _buffers(model: nn.Module) -> tuple[Buffers, Buffers]:
    """The running statistics of batch norm that learns, to be averaged; other buffers that may
    change, which are rank 0's. Those of other types than float32 are each rank's own."""
    seen = set[int]()

    def own(kinds: bool) -> Iterator[tuple[nn.Module, str]]:
        for layer in model.modules():
            if isinstance(layer, _BatchNorm) is kinds and not isinstance(layer, ALIKE):
                for name, one in layer.named_buffers(recurse=False):
                    if one.dtype is torch.float32 and id(one) not in seen:
                        seen.add(id(one))
                        yield layer, name

    return list(own(True)), list(own(False))
