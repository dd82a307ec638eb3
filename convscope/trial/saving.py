"""A network that is saved, and loaded into one that is built anew, is the same one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from convscope.data.loader import forward
from convscope.models import state, store
from convscope.training.losses import by_target
from convscope.trial.blame import said
from convscope.trial.passes import judge_once
from convscope.trial.subject import Subject


def load(network: Subject) -> None:
    """Save the copy, which has learnt, load it into a network that is built anew, compare."""
    before, again = judge_once(network, 2), judge_once(network, 2)
    if not _alike(before, again):
        raise network.refused(
            "gives other logits for the same images each time it is asked in evaluation mode, "
            "so that no figure of it could be found again",
            "let what is random or counts its calls depend on self.training (dropout: "
            "training=self.training)",
        )
    try:
        content = store.to_bytes(network.twin.state_dict())
    except Exception as why:
        rule = f"cannot be saved ({said(why)})"
        raise network.refused(rule, "let parameters and buffers be plain tensors") from why
    torch.manual_seed(torch.initial_seed() % 2**32 + 1)  # what is drawn anew is another
    fresh = network.rebuild().to(network.batch.device)
    try:
        store.make_up(fresh, *network.some(2).inputs.values())
        store.fill(fresh, store.from_bytes(content, "its file"), "its file")
        with torch.no_grad():
            found = by_target(forward(fresh.eval(), network.some(2).inputs), network.losses)
    except Exception as why:
        rule = f"cannot be loaded into a network that is built anew ({said(why)})"
        remedy = "let __init__ make the same parameters and buffers each time"
        raise network.refused(rule, remedy) from why
    if not _alike(before, found):
        raise network.refused(*_forgets(network, fresh))


def _alike(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> bool:
    return all(_near(output, two.get(name)) for name, output in one.items())


def _forgets(network: Subject, fresh: nn.Module) -> tuple[str, str]:
    """Why a network that was saved and loaded gives other logits, and what helps."""
    rule = "gives other logits once it was saved and loaded: {} is not saved"
    saved = network.twin.state_dict()
    others = dict(fresh.named_buffers())
    for name, buffer in network.twin.named_buffers():
        if name not in saved and not _near(buffer, others.get(name)):
            return rule.format(f"the buffer {network.short(name)}"), "make it persistent=True"
    others = dict(state.plain(fresh))
    for name, tensor in state.plain(network.twin):
        if not _near(tensor, others.get(name)):
            what = f"the plain tensor {network.short(name)}"
            return rule.format(what), "make it an nn.Parameter, or register_buffer it"
    lost = list(state.hidden(network.twin, frozen=True))
    if lost:
        where, what, remedy = lost[0]
        return rule.format(f"{what} in {network.short(where)}"), remedy
    return (
        rule.format("something that its forward depends on"),
        "keep whatever changes, or is drawn, in parameters and buffers",
    )


def _near(one: Tensor, two: Tensor | None) -> bool:
    """Whether two tensors are the same but for rounding."""
    if two is None or one.shape != two.shape or one.dtype is not two.dtype:
        return False
    if not one.is_floating_point():
        return torch.equal(one, two)
    scale = float(one.abs().max()) if one.numel() else 0.0
    return torch.allclose(one, two, rtol=1e-4, atol=1e-5 * scale, equal_nan=True)
