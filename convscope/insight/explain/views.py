"""The six views of a trained network: each computes what it shows, and gives its numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convscope.events import Emit
from convscope.insight import cells
from convscope.insight.cells import Cell
from convscope.insight.explain import ascent, heat
from convscope.insight.explain import embedding as planes
from convscope.insight.explain import units as answering
from convscope.insight.explain.map_layers import Stage, filters_of, fitting, inputs_of, maps_of
from convscope.insight.explain.overview import probabilities
from convscope.insight.explain.pictures import Plane, Sheet, Strip
from convscope.models.parts import Classifier

FILTERS = 64  # of the first layer
MAPS = 8  # maps a row
CLASSES = 10  # classes that get an image where none is named
RANDOM = (0, 1, 2)  # seeds of the networks with random weights
TELLING = 4  # images, all of them for the method, whose interval lies above chance
LEAST, MOST = 8, 40  # images on which a heat map is held against random weights


@dataclass(frozen=True)
class Images:
    """Images uint8 [N,C,H,W] with what the network says of them, [N], its probability, and a title
    each; ``labels`` where they are known, and their numbers ``at`` among the test images."""

    pixels: np.ndarray
    predicted: np.ndarray
    p: np.ndarray
    titles: tuple[str, ...]
    labels: np.ndarray | None = None
    at: np.ndarray | None = None

    def some(self, at: np.ndarray) -> Images:
        """Those at some places."""
        labels = None if self.labels is None else self.labels[at]
        titles = tuple(self.titles[i] for i in at)
        numbers = None if self.at is None else self.at[at]
        return Images(self.pixels[at], self.predicted[at], self.p[at], titles, labels, numbers)


@dataclass(frozen=True)
class Examined:
    """What is looked into: a network in evaluation mode and its classes; its stages; ``work``,
    multiply-adds an image; ``seed`` of all that is drawn."""

    network: Classifier
    classes: tuple[str, ...]
    size: tuple[int, int, int]
    stages: list[Stage]
    work: int
    seed: int
    emit: Emit

    def within(self, each: float, budget: float, least: int, most: int) -> int:
        """How many things of ``each`` passes over an image fit into so many multiply-adds."""
        return min(most, max(least, int(budget / max(1.0, each * self.work))))


@dataclass(frozen=True)
class View:
    """What is shown, in a sentence and whole, and its numbers."""

    about: str
    shown: Sheet | Plane
    numbers: dict[str, Any]


def filters(examined: Examined) -> View | str:
    """The first layer's filters; or why there are none."""
    found = filters_of(examined.network)
    if found is None:
        return "the network has no convolution, and so no filters"
    layer, kernels = found
    about = f"The kernels of the first convolution, {layer}: the patterns that it looks for."
    numbers = {"layer": layer, "shape": list(kernels.shape)}
    sheet = Sheet(
        f"What the first layer looks for: {layer}",
        (cells.told_kernels(kernels.shape, FILTERS),),
        (Strip("", tuple(cells.of_kernels(kernels[:FILTERS]))),),
        columns=MAPS,
    )
    return View(about, sheet, numbers)


def maps(examined: Examined, images: Images, layer: Stage | None) -> View | str:
    """Feature maps: of one image through the stages, or of several images at one stage."""
    stage = layer or fitting(examined.stages)
    if stage is None:
        return "no layer of this network gives feature maps"
    inputs = inputs_of(images.pixels)
    strips, shown = [], []
    if layer is None and len(images.pixels) == 1:
        last: dict[tuple[int, int, int], Stage] = {s.shape: s for s in examined.stages}
        several = list(last.values())
        picked = np.unique(np.linspace(0, len(several) - 1, min(6, len(several))).round())
        for one in (several[int(i)] for i in picked):
            name = f"{one.name}\n{one.kind}\n{one.size[0]}x{one.size[1]}"
            found = maps_of(examined.network, inputs, one.name)
            strips.append(Strip(name, tuple(_strongest(found[0]))))
            shown.append(one.name)
        strips.insert(0, Strip("image", (Cell(images.pixels[0], images.titles[0]),)))
        what = "one image through the network, stage by stage"
    else:
        found = maps_of(examined.network, inputs, stage.name)
        for pixels, title, own in zip(images.pixels, images.titles, found, strict=True):
            strips.append(Strip("", (Cell(pixels, title), *_strongest(own))))
        shown.append(stage.name)
        what = f"each image at {stage}"
    note = f"Feature maps of {what}: of each row the {MAPS} maps that answer most strongly, by "
    note += "number. Blue is positive, orange negative, each map scaled by itself."
    sheet = Sheet("What each stage makes of an image", (note,), tuple(strips))
    return View(f"Feature maps of {what}.", sheet, {"layers": shown})


def _strongest(own: Tensor) -> list[Cell]:
    """The maps [F,h,w] that answer most strongly, in the order of their numbers."""
    power = own.clamp_min(0).flatten(1).amax(1)
    best = sorted(power.argsort(descending=True, stable=True)[:MAPS].tolist())
    return [Cell(own[i].numpy(), f"{i}", about=_range(i, own[i])) for i in best]


def _range(number: int, own: Tensor) -> str:
    return f"map {number}, from {float(own.min()):.2f} to {float(own.max()):.2f}"


def units(
    examined: Examined, searched: Images, layer: Stage | None, wanted: Sequence[int]
) -> View | str:
    """What units answer to: images of the data with the patch marked, and input from noise."""
    stage = layer or fitting(examined.stages)
    if stage is None:
        return "no layer of this network gives feature maps, and so it has no units to ask"
    found = answering.answers(
        examined.network, searched.pixels, stage, wanted, best=MAPS - 1, emit=examined.emit
    )
    loss = ascent.of_units(examined.network, stage, found.units, found.values[:, 0])
    shape = (len(found.units), *examined.size)
    steps = examined.within(3 * len(found.units), 1e11, 40, ascent.STEPS)
    made = ascent.regularised(
        examined.network, loss, shape, steps=steps, seed=examined.seed, emit=examined.emit,
        stage="unit images",
    )  # fmt: skip
    strips = []
    for unit, first, *best in zip(
        found.units, made, found.images, found.values, found.boxes, strict=True
    ):
        answered = [
            Cell(searched.pixels[i], f"{value:.2f}", tuple(map(int, box)),
                 about=f"{searched.titles[i]}, unit {unit} answers {value:.2f}")
            for i, value, box in zip(*best, strict=True)
        ]  # fmt: skip
        noise = Cell(first, "from noise", about=f"made from noise for unit {unit}")
        strips.append(Strip(f"unit {unit}", (noise, *answered)))
    field = found.boxes[..., 2:] - found.boxes[..., :2]
    sees = "x".join(map(str, field.reshape(-1, 2).max(axis=0)))
    notes = (
        f"Units of {stage}, {'as asked' if wanted else 'those that stand out most'}. First what a "
        f"unit would answer to most, made from noise; then those of {len(searched.pixels):,} "
        f"images to which it answers most, with its answer and, framed, the patch that it sees "
        f"({sees} pixels at most).",
    )
    sheet = Sheet("What units answer to", notes, tuple(strips))
    numbers = {
        "layer": stage.name,
        "searched": len(searched.pixels),
        "units": {
            str(unit): {
                "images": found.images[i].tolist(),
                "answers": [round(float(v), 4) for v in found.values[i]],
                "patches": found.boxes[i].tolist(),
            }
            for i, unit in enumerate(found.units)
        },
    }
    about = f"What units of {stage.name} answer to most: input from noise, and images of the data "
    return View(about + "with the patch that the unit sees.", sheet, numbers)


def classes(examined: Examined, wanted: Sequence[int]) -> View:
    """Input that maximises classes, from noise alone: by raw ascent, and regularised."""
    chosen = tuple(wanted) or tuple(range(min(CLASSES, len(examined.classes))))
    shape = (len(chosen), *examined.size)
    steps = examined.within(3 * len(chosen), 2e11, 40, ascent.STEPS)
    network = examined.network
    plain = ascent.raw(
        ascent.logits_of_classes(network, chosen), shape, steps=steps // 2, seed=examined.seed
    )
    made = ascent.regularised(
        network, ascent.of_classes(network, chosen), shape, steps=steps, seed=examined.seed,
        emit=examined.emit,
    )  # fmt: skip
    strips, sure = [], {}
    for name, pixels in (("raw", plain), ("regularised", made)):
        p = probabilities(network, pixels)
        own = p[range(len(chosen)), chosen]
        sure[name] = {examined.classes[k]: float(v) for k, v in zip(chosen, own, strict=True)}
        drawn = [
            Cell(image, f"{examined.classes[k]}  {v:.0%}")
            for image, k, v in zip(pixels, chosen, own, strict=True)
        ]
        strips.append(Strip(name, tuple(drawn)))
    notes = (
        "Made from noise alone, with the probability that the network gives it. Raw: gradient "
        "ascent on pixels, which finds what fools the network. Regularised: shifted, turned and "
        "scaled at every step, smooth, with the brightness and contrast of the training images.",
    )
    wide = 5 if len(chosen) <= CLASSES else 10
    sheet = Sheet("Input that maximises a class", notes, tuple(strips), columns=wide)
    about = "Input that maximises each class, from noise alone: by raw gradient ascent, and "
    return View(about + "regularised.", sheet, {"steps": steps, "p": sure})


def heat_view(
    examined: Examined,
    images: Images,
    sample: Images,
    *,
    method: str | None,
    layer: Stage | None,
    target: int | None,
) -> View:
    """Heat maps of some images, the same from random weights beside them, and on a sample how much
    better they are."""
    stage = layer or fitting(examined.stages)
    default = method or heat.BEST
    several = [default] if method else [m for m in heat.METHODS if m != "gradcam" or stage]
    inputs, wanted = inputs_of(images.pixels), _wanted(images, target)
    mapped = _mapper(default, stage)
    columns = [
        (heat.METHODS[one], _mapper(one, stage)(examined.network, inputs, wanted))
        for one in several
    ]
    name = f"{heat.METHODS[default]}, random weights"
    random = [heat.randomised(examined.network, s) for s in (RANDOM if method else RANDOM[:1])]
    columns += [(name, mapped(network, inputs, wanted)) for network in random]
    curves = (heat.deletion, heat.insertion)
    scored = [
        [heat.area(curve(examined.network, inputs, wanted, found)) for curve in curves]
        for _, found in columns
    ]
    strips = []
    drawn = [heat.unit_range(found).numpy() for _, found in columns]
    for i, pixels in enumerate(images.pixels):
        row = [Cell(pixels, images.titles[i])]
        for (away, back), own in zip(scored, drawn, strict=True):
            areas = f"deletion {away[i]:.2f}\ninsertion {back[i]:.2f}"
            row.append(Cell(pixels, areas, heat=own[i]))
        strips.append(Strip("", tuple(row)))
    better = _doubted(examined, sample, target, mapped)
    low, high = better["deletion_better_ci95"]
    about_class = "the class that was said" if target is None else examined.classes[target]
    size = (examined.size[1], examined.size[2])
    sizes = {heat.METHODS[m]: heat.resolution(m, size, stage) for m in several}
    doubt = "" if low > 0.5 else " That is no more than chance: do not trust these maps."
    if doubt and better["images"] < TELLING:
        doubt = " So few images cannot tell that from chance: name four or more."
    verdict = (
        f"On {better['deletion_better']:.0%} of {better['images']} images (95% interval {low:.0%} "
        f"to {high:.0%}) the pixels that {heat.METHODS[default]} names matter more to the answer "
        f"than those it names in {better['random_networks']} networks with random weights: "
        f"deletion {better['deletion']:.3f} against {better['deletion_random']:.3f}, insertion "
        f"{better['insertion']:.3f} against {better['insertion_random']:.3f}." + doubt
    )
    empty = {name: int((m.flatten(1).abs().amax(1) == 0).sum()) for name, m in columns}
    silent = {heat.METHODS[m]: n for m in several if (n := empty[heat.METHODS[m]])}
    notes = [
        f"What speaks for {about_class} (blue) and against it (orange), each map scaled by itself; "
        f"{'; '.join(f'{name} {said}' for name, said in sizes.items())}.",
        "Deletion: the class's mean probability while the hottest pixels are blurred first, low is "
        "good; insertion: while they come back first, high is good.",
    ]
    notes += [
        f"{name} is empty on {n} of {len(images.pixels)}: nothing at its layer speaks for the "
        "class."
        for name, n in silent.items()
    ]
    heads = ("image", *(_broken(name) for name, _ in columns))
    title = "Which pixels the answer rests on"
    sheet = Sheet(title, tuple(notes), tuple(strips), heads, large=True, doubt=verdict)
    numbers = {
        "method": default,
        "resolution": sizes,
        "gradcam_layer": None if stage is None else stage.name,
        "gradcam_units": None if stage is None else list(stage.size),
        "empty_maps": silent,
        "shown": {
            name: {"deletion": away.round(4).tolist(), "insertion": back.round(4).tolist()}
            for (name, _), (away, back) in list(zip(columns, scored, strict=True))[: len(several)]
        },
        "against_random_weights": better,
    }
    return View(f"Heat maps, and their doubt. {verdict}", sheet, numbers)


def _broken(name: str) -> str:
    """A head of a column, a line a word or two.

    >>> _broken("occlusion, random weights").split("\\n")
    ['occlusion,', 'random weights']
    """
    first, _, rest = name.replace("integrated ", "integrated, ").partition(", ")
    return f"{first}{',' * (first != 'integrated')}\n{rest}" if rest else first


def _mapper(method: str, stage: Stage | None) -> Callable[[Any, Tensor, Tensor], Tensor]:
    return lambda network, inputs, wanted: heat.heat_maps(network, inputs, wanted, method, stage)


def _wanted(images: Images, target: int | None) -> Tensor:
    found = images.predicted if target is None else np.full_like(images.predicted, target)
    return torch.from_numpy(found.astype(np.int64))


def _doubted(
    examined: Examined,
    sample: Images,
    target: int | None,
    mapped: Callable[[Any, Tensor, Tensor], Tensor],
) -> dict[str, Any]:
    passes = (1 + len(RANDOM)) * 90  # windows of occlusion and steps of two curves, about
    count = min(examined.within(passes, 3e11, LEAST, MOST), len(sample.pixels))
    drawn = np.random.default_rng(examined.seed).permutation(len(sample.pixels))[:count]
    inputs = inputs_of(sample.pixels[np.sort(drawn)])
    wanted = _wanted(sample, target)[np.sort(drawn)]
    network, emit = examined.network, examined.emit
    found = heat.doubt(
        network, inputs, wanted, lambda one: mapped(one, inputs, wanted), seeds=RANDOM, emit=emit
    )
    return found.better()


def embedding(examined: Examined, images: Images) -> View:
    """Where the test images lie in the last layer's eyes, mistakes marked."""
    assert images.labels is not None and images.at is not None
    features = planes.features_of(examined.network, images.pixels, examined.emit)
    found = planes.plane(features, images.labels)
    wrong = int((images.predicted != images.labels).sum())
    share = f"; they hold {sum(found.shares):.0%} of the variance" if found.shares else ""
    note = (
        f"{len(images.pixels):,} test images by what the last layer takes of them, "
        f"{features.shape[1]:,} numbers, in two dimensions: {found.method}{share}. In the plane "
        f"{found.among:.0%} lie among their own class. Crosses are the {wrong:,} mistakes, in the "
        "colour of the class they were taken for."
    )
    short = "component" if found.shares is not None else "discriminant"
    shown = Plane(
        "Where the test images lie", (note,), found.points, images.labels, images.predicted,
        images.p, images.at, images.pixels, examined.classes,
        (f"first {short}", f"second {short}"),
    )  # fmt: skip
    numbers = {
        "images": len(images.pixels),
        "features": features.shape[1],
        "method": found.method,
        "among_own_class": found.among,
        "mistakes": wrong,
    }
    about = f"What the last layer sees of test images, in two dimensions: {found.method}, with the "
    return View(f"{about}{wrong:,} mistakes marked.", shown, numbers)
