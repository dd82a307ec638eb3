"""What a report shows of the inside of a network, in a few seconds: :func:`overview`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from convscope.errors import BadArgument
from convscope.insight import anatomy
from convscope.insight.explain import ascent, heat
from convscope.insight.explain.map_layers import filters_of, fitting, inputs_of, stages
from convscope.models.parts import Classifier

WORK = 40e9  # multiply-adds that the class images may take: a few seconds of one core
MOST = 10  # classes that get an image


@dataclass(frozen=True)
class Overview:
    """Plain arrays to draw, each None where it could not be; ``notes`` say what was left out and
    why, a sentence each.

    - ``filters``: float32 [F,C,k,k], the kernels of the first convolution, ``filters_layer``.
    - ``class_images``: uint8 [K,C,H,W], input that maximises each of ``classes`` [K], from noise
      alone (regularised); ``class_p`` float [K] is the probability that the network gives it.
    - ``heat``: float32 [n,H,W] of 0 to 1, Grad-CAM of each given image for its target, 1 where it
      is hottest; all zeros where nothing speaks for the target. ``heat_layer`` is the layer it was
      taken at, ``heat_resolution`` how many units (h, w) its maps have there.
    """

    filters: np.ndarray | None
    filters_layer: str
    classes: tuple[int, ...]
    class_images: np.ndarray | None
    class_p: np.ndarray | None
    heat: np.ndarray | None
    heat_layer: str
    heat_resolution: tuple[int, int] | None
    notes: tuple[str, ...]


def overview(
    network: Classifier,
    images: np.ndarray,
    targets: Sequence[int] | np.ndarray,
    *,
    num_classes: int,
    seed: int = 0,
    work: int | None = None,
) -> Overview:
    """First-layer filters, class images and Grad-CAM of a few images, in a few seconds of one core.

    ``images`` are uint8 [n,C,H,W] of the network's own size (at least one), ``targets`` [n] the
    classes that are asked about: what the network said, or what is right. The same arguments give
    the same arrays, on the same machine and number of threads. The network stays as it was, and is
    to be on the CPU. Images of the first ten classes are made, with fewer steps for a large
    network, and none for one that would take too long: ``work`` are the multiply-adds of an image,
    counted where they are not given.

    >>> from convscope.models import build
    >>> network = build("cnn", 3, 1, (12, 12))
    >>> found = overview(network, np.zeros((2, 1, 12, 12), np.uint8), [0, 2], num_classes=3)
    >>> found.filters.shape, found.class_images.shape, found.heat.shape
    ((16, 1, 5, 5), (3, 1, 12, 12), (2, 12, 12))
    """
    size = (images.shape[1], images.shape[2], images.shape[3])
    notes = []
    layer, filters = filters_of(network) or ("", None)
    if filters is None:
        notes.append("No filters: the network has no convolution.")
    classes = tuple(range(min(num_classes, MOST)))
    if work is None:
        work = anatomy.summarise(network, size).total.multiply_adds or 0
    steps = min(ascent.STEPS, int(WORK / max(1, 3 * len(classes) * work)))
    pixels = sure = None
    with ascent.still(network):
        back = ascent.passes_back(network, size)
        if not back:
            notes.append("No class images and no Grad-CAM: no gradient goes back to the image.")
        elif steps < ascent.STEPS // 3:
            notes.append("No class images: they would take minutes; convscope explain makes them.")
        else:
            loss = ascent.of_classes(network, classes)
            pixels = ascent.regularised(
                network, loss, (len(classes), *size), steps=steps, seed=seed
            )
            sure = probabilities(network, pixels)[range(len(classes)), classes]
        stage = fitting(stages(network, size)) if back else None
        maps = None
        if stage is None and back:
            notes.append("No Grad-CAM: the network has no feature maps.")
        elif stage is not None:
            try:
                wanted = torch.as_tensor(np.asarray(targets), dtype=torch.int64)
                found = heat.gradcam(network, inputs_of(images), wanted, stage)
                maps = heat.unit_range(heat.enlarged(found, size[1:])).numpy()
            except BadArgument as why:
                notes.append(f"No Grad-CAM: it {why.rule}; {why.remedy}.")
    return Overview(
        filters=filters,
        filters_layer=layer,
        classes=classes,
        class_images=pixels,
        class_p=sure,
        heat=maps,
        heat_layer="" if stage is None or maps is None else stage.name,
        heat_resolution=None if stage is None or maps is None else stage.size,
        notes=tuple(notes),
    )


def probabilities(network: Classifier, images: np.ndarray) -> np.ndarray:
    """What the network gives to each class, float64 [N,K], without temperature."""
    with torch.no_grad():
        found: np.ndarray = network(inputs_of(images)).double().softmax(1).numpy()
    return found
