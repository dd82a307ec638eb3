"""What a recipe leaves open where the data are one's own, and what is said of it: defaults that
suit the data, under whatever was typed or stands in a recipe."""

from __future__ import annotations

from dataclasses import fields, replace

from convscope.data import sources
from convscope.data.columns import Image
from convscope.data.pack import Pack
from convscope.data.split import held_out
from convscope.events import Emit, Notice
from convscope.recipe import AUGMENT_BY_NAME, Augment, Recipe

SMALL = 5000  # training images below which the last weights are seldom the best
TELLING = 50  # validation images from which on one epoch can be told from another


def suited(asked: Recipe, pack: Pack, emit: Emit) -> Recipe:
    """The recipe of a new run on these data. Each value that it changes was a default, and is one
    still; a :class:`~convscope.events.Notice` says what it became and why. Published data keep
    their own defaults."""
    if not sources.is_own(asked.data.name):
        return asked
    return suited_to_own(asked, pack, emit)


def suited_to_own(asked: Recipe, pack: Pack, emit: Emit) -> Recipe:
    """The same on data that are known to be one's own."""
    train = asked.train  # a layer is fitted to images as they are
    fitted = train.started and train.freeze == "features" and train.last_layer == "new"
    return _kept(asked if fitted else _augmented(asked, pack, emit), pack, emit)


def _kept(asked: Recipe, pack: Pack, emit: Emit) -> Recipe:
    """Few images to learn from, and enough to tell epochs apart by, keep the best weights."""
    train = asked.train
    if asked.origin.get("train.keep") != "default" or train.early_stopping:
        return asked
    images = len(pack.splits["train"])
    held = held_out(asked, pack)
    judged = len(pack.splits["val"]) if "val" in pack.splits else len(held)
    if images - len(held) >= SMALL or judged < TELLING:
        return asked
    emit(
        Notice(
            f"{images - len(held):,} images are few: the weights of the epoch with the lowest "
            f"validation loss are kept (--keep last for the last ones)"
        )
    )
    return replace(asked, train=replace(train, keep="best"))


def _augmented(asked: Recipe, pack: Pack, emit: Emit) -> Recipe:
    """Colour images, which are photos as a rule, get the augmentation ``light``."""
    images = [one for one in pack.inputs.values() if isinstance(one, Image)]
    if any(image.channels != 3 for image in images):
        return asked
    light, given = AUGMENT_BY_NAME["light"], asked.augment
    if given.alternating_flip:
        light = replace(light, flip=False)
    names = [f.name for f in fields(Augment) if asked.origin.get(f"augment.{f.name}") == "default"]
    changed = {
        name: getattr(light, name) for name in names if getattr(light, name) != getattr(given, name)
    }
    if not changed:
        return asked
    how = {"crop": "a random part of at least 70 % of the area", "flip": "mirrored or not"}
    emit(
        Notice(
            f"colour images: augmented for training, {' and '.join(how[n] for n in changed)} "
            "(--aug light; --no-flip where left is not right, --aug strong for more, --aug none)"
        )
    )
    return replace(asked, augment=replace(given, **changed))
