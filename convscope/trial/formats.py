"""Which formats and kernels a user's network bears."""

from __future__ import annotations

import copy

import torch
from torch import nn

from convscope.engine import tuned_network
from convscope.events import Notice
from convscope.recipe import Recipe
from convscope.trial.blame import said
from convscope.trial.passes import learn_once
from convscope.trial.subject import Subject


def settle(network: Subject) -> Recipe:
    """The recipe without the formats and kernels that the user's network does not bear."""
    train, found = network.asked.train, {}
    network.twin.train()
    if train.memory_format != "contiguous":
        try:
            laid_out = copy.deepcopy(network.model).to(memory_format=torch.channels_last)
            learn_once(network, 2, laid_out.train(), layout=torch.channels_last)
        except Exception as why:
            text = said(why.__cause__ or why)
            if train.memory_format != "auto":
                remedy = "use reshape or flatten instead of view, or memory_format=contiguous"
                rule = f"does not bear memory_format={train.memory_format} ({text})"
                raise network.refused(rule, remedy) from why
            found["memory_format"] = "contiguous"
            remedy = "reshape or flatten instead of view lets it be laid out as is fastest here"
            failed = f"memory format: contiguous, as this network fails with channels last ({text})"
            network.emit(Notice(f"{failed}; {remedy}"))
    if train.precision == "auto":
        try:
            learn_once(network, 2, copy.deepcopy(network.model).train(), narrow=True)
        except Exception as why:
            found["precision"] = "float32"
            text = said(why.__cause__ or why)
            network.emit(Notice(f"precision: float32, as this network fails in bfloat16 ({text})"))
    if train.kernels != "plain":
        try:
            for narrow in {False, "precision" not in found and train.precision != "float32"}:
                learn_once(
                    network, 2, _engine(network, narrow), layout=torch.channels_last, narrow=narrow
                )
        except Exception as why:
            text = said(why.__cause__ or why)
            if train.kernels != "auto":
                raise network.refused(
                    f"does not bear kernels={train.kernels} ({text})", "try kernels=plain"
                ) from why
            found["kernels"] = "plain"
            network.emit(Notice(f"kernels: plain, as this network fails with others ({text})"))
    return network.asked.measured(**found) if found else network.asked


def _engine(network: Subject, narrow: bool) -> nn.Module:
    """A copy that is computed by compiled kernels."""
    twin = copy.deepcopy(network.model).to(memory_format=torch.channels_last)
    return tuned_network.engine(twin, "fused", "bfloat16" if narrow else "float32").train()
