"""A last layer fitted to features that are computed once: a linear probe, with which a training
from other weights begins, and ends where all else is frozen (Kumar et al. 2022, arXiv 2202.10054:
linear probe, then fine-tuning)."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from convscope.data.columns import Class
from convscope.data.pack import Pack
from convscope.errors import BadArgument
from convscope.evaluation import features, metrics
from convscope.events import Emit, EpochEnd, Notice
from convscope.formatting import percent
from convscope.job.prepare import Head, Job, Limits
from convscope.models import surgery
from convscope.models.parts import Classifier
from convscope.recipe import Recipe, options
from convscope.training import probe as probes


def probe(job: Job) -> Job:
    """The job with its last layer fitted to the features of its training images, where it begins
    from other weights and ends in a linear layer that gets what nothing else changes; else as it
    is."""
    (target, column), *others = job.pack.targets.items()
    if not job.recipe.train.started or others or not isinstance(column, Class):
        return job
    assert isinstance(job.model, Classifier)
    network = surgery.backbone(job.model)
    if network is None or not (job.only_last_learns or job.recipe.train.freeze != "features"):
        return job
    if job.only_last_learns:
        _unbounded(job.limits)
        job = replace(job, recipe=_of_probe(job.recipe))
    began = time.perf_counter()
    frozen = Frozen(network, job.pack, job.loader.device, job.emit)
    chosen = job.loader.indices.numpy()
    known = frozen.of("train")[chosen]
    val = frozen.of("val") if "val" in job.pack.splits else frozen.of("train")[job.val]
    labels, val_labels = job.loader.targets[target].numpy()[chosen], job.judged.labels
    found = probes.fit(known, labels, len(column.classes), val, val_labels)
    _, last = surgery.output_layer(job.model)
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.copy_(torch.from_numpy(found.weight))
        if last.bias is not None:
            last.bias.copy_(torch.from_numpy(found.bias))
    seconds = time.perf_counter() - began
    learnt, judged = found.logits(known), found.logits(val)
    end = EpochEnd(
        epoch=1,
        epochs=1,
        train_loss=metrics.cross_entropy(learnt, labels),
        train_accuracy=metrics.accuracy(learnt, labels),
        val_loss=metrics.cross_entropy(judged, val_labels) if len(val) else None,
        val_accuracy=metrics.accuracy(judged, val_labels) if len(val) else None,
        lr=0.0,
        seconds=seconds,
        images_per_second=len(labels) / seconds,
    )
    on = f", {percent(end.val_accuracy)} right on validation" if end.val_accuracy else ""
    job.emit(
        Notice(
            f"last layer fitted to features of {found.weight.shape[1]:,} numbers an image "
            f"(L2 penalty {found.penalty:g}, chosen {found.chosen}){on}"
        )
    )
    return replace(job, head=Head(end, frozen.of, found.logits, whole=job.only_last_learns))


REMEDY = "leave it out, fine-tune (--freeze none), or train from scratch (--from none)"
USED = {  # by a probe alone
    *("start", "freeze", "seed", "device", "threads", "eval_batch", "precision"),
    *("memory_format", "kernels", "checkpoint_seconds", "padding"),
}


def _of_probe(asked: Recipe) -> Recipe:
    """The recipe of a training that fits its last layer and does no step, without augmentation.
    Raises BadArgument for what was typed and is not used."""
    for name, option in options().items():
        key = f"{option.section}.{option.name}"
        if option.section not in ("train", "augment") or name in USED:
            continue
        value = getattr(getattr(asked, option.section), option.name)
        if asked.origin.get(key) == "typed" and value != option.default:
            rule = "is not used where only the last layer learns, which is fitted to its optimum"
            raise BadArgument(name, value, rule, REMEDY)
    off = {n: o.default for n, o in options().items() if o.section == "augment" and n not in USED}
    return asked.measured(epochs=1, steps=0, early_stopping=0, **off)


def _unbounded(limits: Limits) -> None:
    """Refuse a bound that is not kept where no step is timed or measured. Raises BadArgument."""
    for name, value in (("time_budget", limits.seconds), ("max_memory", limits.memory)):
        if value is not None:
            rule = "is kept by the steps of training, and a fitted last layer takes none"
            raise BadArgument(name, value, rule, REMEDY)


class Frozen:
    """The features of a pack's images by a network that does not change, from the cache once they
    are there."""

    def __init__(self, network: nn.Module, pack: Pack, device: str, emit: Emit) -> None:
        self.digest = features.digest(network)
        self.network = surgery.folded(network).to(memory_format=torch.channels_last)
        self.pack, self.device, self.emit = pack, device, emit

    def of(self, split: str) -> NDArray[np.float32]:
        """float32 [N,F] of a split, in its order."""
        key = features.key_of(self.pack.digest, split, self.digest, str(self.network))
        return features.features_of(
            self.network,
            self.pack.splits[split].main_images,
            key,
            device=self.device,
            emit=self.emit,
            stage=f"features of {split}",
        )
