"""What was measured on this machine, and what it led to."""

from __future__ import annotations

import functools
from typing import Any

import torch

from convscope import devices, kernels, machine, models
from convscope import recipe as recipes
from convscope.data.columns import IMAGE, LABEL, image_and_label
from convscope.data.loader import Batch
from convscope.engine import autotune, choice, measurements
from convscope.events import Emit, Event, Notice, silent
from convscope.training.losses import Loss, mean_loss

DEMO = ("cnn", 10, (100, 1, 28, 28))  # what is measured where nothing was: the demo's network


def describe_machine(again: bool = False, *, emit: Emit = silent) -> dict[str, Any]:
    """This machine as training sees it: ``processor``, ``cores``, ``instructions`` that matter,
    ``kernels``, the ``prior`` choice and why, and ``measurements``, the latest first.

    Each measurement has the network's name and batch shape, when it was measured, the share of
    ``quiet`` rounds, seconds by candidate, what was ``chosen`` and its ``gain`` over float32.
    ``again`` drops all of them and measures those networks anew that can be built by name, or the
    demo's where there were none. Raises ConvscopeError where the cache cannot be written.

    >>> sorted(describe_machine())[:3]
    ['cores', 'device', 'instructions']
    """
    if again:
        _measure_anew(emit)
    device = torch.device(devices.of("auto"))
    plain = choice.prior(recipes.resolve({}), device)
    has = sorted(machine.features() & (choice.PRIOR.keys() | {"avx2", "avx512f", "asimd"}))
    return {
        **machine.describe(),
        "device": str(device),
        "instructions": has,
        "kernels": kernels.available(),
        "prior": str(plain),
        "prior_why": {name: choice.PRIOR[name] for name in has if name in choice.PRIOR},
        "versions": machine.versions(),
        "kept_days": measurements.DAYS,
        "measurements": [
            {**one.as_json(), "gain": one.gain(), "said": choice.in_words(one)}
            for _, one in measurements.all_kept()
        ],
    }


def _measure_anew(emit: Emit) -> None:
    before = measurements.all_kept()
    for key, _ in before:
        measurements.forget(key)
    autotune.forget()
    asked = [(m.network, m.arguments, m.classes, m.shape, m.asked, m.device) for _, m in before]
    for one in {repr(one): one for one in asked}.values():
        if models.is_own(one[0]) or not one[2]:  # of several targets
            emit(Notice(f"{one[0]}: dropped; its next training measures anew"))
        else:
            _measured(*one, emit)
    if not asked:
        name, classes, shape = DEMO
        _measured(name, {}, classes, shape, ("auto", "auto", "auto"), devices.of("auto"), emit)


def _measured(
    name: str,
    arguments: dict[str, Any],
    classes: int,
    shape: tuple[int, int, int, int],
    asked: tuple[str, str, str],
    device: str,
    emit: Emit,
) -> None:
    """Measure a network by name on random images, as a training would."""
    batch, channels, height, width = shape
    typed = dict(zip(("precision", "memory_format", "kernels"), asked, strict=True))
    recipe = recipes.resolve({"model": name, "batch_size": batch, **typed}, arguments)
    with machine.at_work(), devices.generators_kept():
        torch.manual_seed(0)
        network = models.build(name, classes, channels, (height, width), arguments).to(device)
        columns = image_and_label((channels, height, width), [str(n) for n in range(classes)])
        images = torch.rand(batch, channels, height, width, device=device)
        some = Batch({IMAGE: images}, {LABEL: torch.arange(batch, device=device) % classes})
        loss = functools.partial(mean_loss, {LABEL: Loss(columns[LABEL])})

        def named(event: Event) -> None:
            if isinstance(event, Notice):
                event = Notice(
                    f"{name}, {batch} images of {channels}x{height}x{width}: {event.text}"
                )
            emit(event)

        choice.choose(recipe, network, some, loss, named)
