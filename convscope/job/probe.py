"""A last layer fitted to features that are computed once: a linear probe, with which a training
from other weights begins, and ends where all else is frozen (Kumar et al. 2022, arXiv 2202.10054:
linear probe, then fine-tuning)."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from convscope.data.columns import Class
from convscope.data.pack import Pack
from convscope.errors import BadArgument
from convscope.evaluation import features, metrics, predictions
from convscope.events import Emit, EpochEnd, Notice
from convscope.formatting import decimal_size, duration, percent
from convscope.job.prepare import Head, Job, Limits
from convscope.models import surgery
from convscope.models.parts import Classifier
from convscope.recipe import Recipe, options
from convscope.training import budget
from convscope.training import probe as probes
from convscope.training.losses import Loss, class_counts, losses_of


def probe(job: Job) -> Job:
    """The job with its last layer fitted to the features of its training images, where it begins
    from other weights and ends in a new linear layer that gets what nothing else changes; else as
    it is."""
    (target, column), *others = job.pack.targets.items()
    train = job.recipe.train
    new = train.started and train.last_layer == "new"
    if not new or others or not isinstance(column, Class):
        return job
    assert isinstance(job.model, Classifier)
    network = surgery.backbone(job.model)
    if network is None or not (job.only_fits or job.recipe.train.freeze != "features"):
        return job
    if job.only_fits:
        _unbounded(job.limits)
        job = replace(job, recipe=_of_probe(job.recipe))
    began = time.perf_counter()
    frozen = Frozen(network, job.pack, job.loader.device, job.emit)
    chosen = job.loader.indices.numpy()
    _in_time(frozen, job)
    known = frozen.of("train")[chosen]
    val = frozen.of("val") if "val" in job.pack.splits else frozen.of("train")[job.val]
    labels, val_labels = job.loader.targets[target].numpy()[chosen], job.judged.labels
    balance = _balance(losses_of(job.loader, job.recipe.train)[target], job)
    found = probes.fit(known, labels, len(column.classes), val, val_labels, balance)
    _put(job.model, found)
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
    head = Head(end, frozen.of, frozen.of_images, found.logits, whole=job.only_fits)
    stays = any(map(job.recipe.asked, ("data.val", "train.abstain")))  # apart, as was asked for
    if not stays and "val" not in job.pack.splits and 0 < len(val) < probes.FEW:
        everything, truth = np.concatenate([known, val]), np.concatenate([labels, val_labels])

        def again() -> Head:
            more = probes.fitted(everything, truth, len(column.classes), found.penalty, balance)
            _put(job.model, more)
            return head._replace(logits=more.logits, again=None, saw_val=True)

        head = head._replace(again=again)
    return replace(job, head=head)


def _put(model: nn.Module, found: probes.Probe) -> None:
    """Make the linear layer the last of a network, in place."""
    _, last = surgery.output_layer(model)
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.copy_(torch.from_numpy(found.weight))
        if last.bias is not None:
            last.bias.copy_(torch.from_numpy(found.bias))


REMEDY = "leave it out, fine-tune (--freeze none), or train from scratch (--from none)"
USED = {  # by a probe alone
    *("start", "freeze", "seed", "device", "threads", "eval_batch", "precision"),
    *("memory_format", "kernels", "checkpoint_seconds", "padding", "abstain"),
    *("class_weights", "logit_adjustment", "sampler"),
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
    return only_fitted(asked)


def only_fitted(asked: Recipe) -> Recipe:
    """The recipe of a training that is at its end with its last layer fitted."""
    off = {n: o.default for n, o in options().items() if o.section == "augment" and n not in USED}
    return asked.measured(epochs=1, steps=0, early_stopping=0, keep="last", **off)


def _balance(loss: Loss, job: Job) -> probes.Balance:
    """How the recipe makes up for rare classes, for a probe, to which a balanced sampler is classes
    that weigh as much."""
    weights, prior = loss.weights, loss.prior
    if job.recipe.train.sampler == "balanced":
        counts = class_counts(job.loader, next(iter(job.pack.targets)))
        weights = counts.mean() / counts
    return probes.Balance(*(None if one is None else one.cpu().numpy() for one in (weights, prior)))


def _unbounded(limits: Limits) -> None:
    """Refuse a bound that is not kept where no step is measured. Raises BadArgument."""
    if limits.memory is not None:
        rule = "is kept by the steps of training, and a fitted last layer takes none"
        raise BadArgument("max_memory", decimal_size(limits.memory), rule, REMEDY)


def _in_time(frozen: Frozen, job: Job) -> None:
    """Refuse a time budget that goes by before the features are computed. Raises BadArgument."""
    limits = job.limits
    if limits.seconds is None:
        return
    wanted = [name for name in job.pack.splits if name != "test" or job.only_fits]
    needed = frozen.seconds(wanted)
    gone = time.perf_counter() - limits.began
    if gone + needed > limits.seconds * budget.AIM:
        rule = f"is too short: the features of the images take {duration(needed)} (measured)"
        remedy = f"try {duration((gone + needed) * 1.5)}, or train from scratch (--from none)"
        raise BadArgument("time_budget", duration(limits.seconds), rule, remedy)


class Frozen:
    """The features of a pack's images by a network that does not change, from the cache once they
    are there."""

    def __init__(self, network: nn.Module, pack: Pack, device: str, emit: Emit) -> None:
        self.digest = features.digest(network)
        self.network = surgery.folded(network).to(memory_format=torch.channels_last)
        self.pack, self.device, self.emit = pack, device, emit

    def seconds(self, splits: list[str]) -> float:
        """How long the features of some splits take that are not in the cache, by a pass or two."""
        images = {name: self.pack.splits[name].main_images for name in splits}
        left = [one for name, one in images.items() if not features.kept(self._key(name), len(one))]
        if not sum(map(len, left)):
            return 0.0
        some, times = np.array(left[0][: features.AT_ONCE]), list[float]()
        for _ in range(2):
            began = time.perf_counter()
            predictions.logits_of(self.network, some, device=self.device)
            times.append(time.perf_counter() - began)
        return min(times) / len(some) * sum(map(len, left))

    def _key(self, split: str) -> str:
        return features.key_of(self.pack.digest, split, self.digest, str(self.network))

    def of_images(self, images: NDArray[np.uint8], stage: str) -> NDArray[np.float32]:
        """float32 [N,F] of images uint8 [N,C,H,W] that may be in no split."""
        content = hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()
        key = features.key_of(content, images.shape, self.digest, str(self.network))
        return features.features_of(
            self.network, images, key, device=self.device, emit=self.emit, stage=stage
        )

    def of(self, split: str) -> NDArray[np.float32]:
        """float32 [N,F] of a split, in its order."""
        return features.features_of(
            self.network,
            self.pack.splits[split].main_images,
            self._key(split),
            device=self.device,
            emit=self.emit,
            stage=f"features of {split}",
        )
