"""Explain a run: pictures of what its network has learnt and of why it says what it says."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convscope import files, machine, run, webpage
from convscope import recipe as recipes
from convscope.data.pack import Pack
from convscope.data.sources import of_recipe
from convscope.errors import BadArgument, RunError, nearest
from convscope.events import Emit, Notice, Progress, silent
from convscope.formatting import plural
from convscope.insight import anatomy
from convscope.insight.explain import ascent, heat, page, units, views
from convscope.insight.explain.map_layers import fitting, stage_of, stages
from convscope.insight.explain.views import Examined, Images, View
from convscope.job.run_metadata import same_data
from convscope.trained import Trained, load_classifier

PICTURES = ("filters", "maps", "units", "classes", "heat", "embedding")
SEARCHED = 10_000  # test images that units and the embedding look at
SHOWN = 3  # test images that are right, and as many of the worst mistakes
MOST = 12  # images of the user's own that are shown


@dataclass(frozen=True)
class Explained:
    """What `explain` left: its folder, the pictures by name, and what ``explain.json`` holds."""

    path: Path
    pictures: dict[str, Path]
    numbers: dict[str, Any]

    @property
    def page(self) -> Path:
        """All pictures on one page."""
        return self.path / "index.html"

    def as_json(self) -> dict[str, Any]:
        """What ``explain.json`` holds, and where it is."""
        return {"path": str(self.path), **self.numbers}


def explain(
    path: str | Path,
    images: Iterable[Any] | None = None,
    *,
    only: Sequence[str] = (),
    layer: str | None = None,
    units: Sequence[int] = (),
    classes: Sequence[str] = (),
    method: str | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    invert: bool = False,
    threads: int = 0,
    model: str | None = None,
    emit: Emit = silent,
) -> Explained:
    """Pictures of what a run's network has learnt, in the run's folder ``explain``, or in ``out``:
    ``filters``, ``maps``, ``units``, ``classes``, ``heat`` and ``embedding``, each a PNG; their
    numbers as ``explain.json``; all of it as ``index.html``.

    Shown are test images, some that are right and some of the worst mistakes among those that were
    searched: all, or 10,000, or fewer of a large network, which the seed draws. ``images``, files,
    folders or Pillow images, prepared as ``predict`` prepares them, get feature maps and heat maps
    instead, and no data are needed. ``only`` names the pictures;
    ``layer`` is the stage that maps, units and Grad-CAM are taken at; ``units`` are numbers of its
    maps; ``classes`` those that get an image from noise, of which a single one is what heat maps
    ask about, instead of what was said; ``method`` is ``occlusion`` (the default), ``gradcam`` or
    ``ig``, alone and beside three networks with random weights.

    What a network does not allow is left out, and ``left_out`` says why; where it was asked for by
    name it is an error. An earlier explanation in that folder is replaced, as a Notice says of
    its other pictures; nothing else ever.
    Raises BadArgument, RunError and DataError, before anything is written.
    """
    began = time.perf_counter()
    for name, value in (("seed", seed), ("threads", threads)):
        recipes.checked(name, value, recipes.options()[name])
    place = run.find(Path(path))
    folder = place.path / "explain" if out is None else Path(out)
    _free(folder)
    for name in only:
        if name not in PICTURES:
            raise BadArgument("only", name, "is no picture", nearest(name, PICTURES))
    if method is not None:
        heat.check(method)
    trained = load_classifier(path, model=model)
    given = None if images is None else _given(trained, images, invert, emit)
    size = (trained.channels, *trained.size)
    with machine.at_work(threads), ascent.still(trained.network):
        network, known = trained.network, stages(trained.network, size)
        work = anatomy.summarise(network, size).total.multiply_adds or 1
        examined = Examined(network, trained.classes, size, known, work, seed, emit)
        asked = _Asked(examined, layer, tuple(units), tuple(classes), method, given)
        default = PICTURES if given is None else ("maps", "heat")
        wanted = [name for name in PICTURES if name in (only or default)]
        named = {*only, *(["heat"] if method else []), *(["units"] if units else [])}
        made, left = asked.make(wanted, named, lambda: _tested(place, trained, examined))
    numbers = {
        "run": str(place.path),
        "seed": seed,
        "images": None if given is None else list(given.titles),
        "pictures": {
            name: {"file": f"{name}.png", "about": view.about, "seconds": spent, **view.numbers}
            for name, (view, spent, _) in made.items()
        },
        "left_out": left,
        "seconds": round(time.perf_counter() - began, 2),
    }
    _write(folder, place, made, left, numbers, emit)
    return Explained(folder, {name: folder / f"{name}.png" for name in made}, numbers)


Made = dict[str, tuple[View, float, bytes]]  # the view, its seconds, its PNG


class _Asked:
    """What is asked for, checked before anything is computed."""

    def __init__(
        self,
        examined: Examined,
        layer: str | None,
        wanted: tuple[int, ...],
        classes: tuple[str, ...],
        method: str | None,
        given: Images | None,
    ) -> None:
        self.examined, self.units, self.method, self.given = examined, wanted, method, given
        known = examined.stages
        self.layer = None if layer is None else stage_of(known, layer)
        if wanted:
            stage = self.layer or fitting(known)
            if stage is None:
                rule = "is asked for, and no layer of this network gives maps"
                raise BadArgument("unit", wanted[0], rule, "leave it out")
            units.check(stage, wanted)
        if method == "gradcam" and not known:
            rule = "needs feature maps, and no layer of this network gives any"
            raise BadArgument("method", method, rule, "try occlusion or ig")
        for name in classes:
            if name not in examined.classes:
                rule = "is no class of this run"
                raise BadArgument("class", name, rule, nearest(name, examined.classes))
        self.classes = tuple(examined.classes.index(name) for name in classes)

    def make(
        self, wanted: Sequence[str], named: set[str], tested: Callable[[], tuple[Images, Images]]
    ) -> tuple[Made, dict[str, str]]:
        """The pictures, and what was left out and why. Raises BadArgument for one that was asked
        for by name and cannot be."""
        made: Made = {}
        left: dict[str, str] = {}
        shown = searched = self.given
        if "heat" in wanted:
            try:
                heat.needed(self.method or heat.BEST)
            except BadArgument as why:
                if "heat" in named:
                    raise
                left["heat"] = f"{why.rule}; {why.remedy}"
        needing = {"units", "embedding"} | ({"maps", "heat"} if self.given is None else set())
        if needing & {name for name in wanted if name not in left}:
            searched, some = tested()
            shown = self.given or some
        for done, name in enumerate(wanted):
            if name in left:
                continue
            began = time.perf_counter()
            found = self._stopped(name) or self._one(name, shown, searched)
            if isinstance(found, str):
                if name in named:
                    raise BadArgument("only", name, found, "leave it out")
                left[name] = found
                continue
            png = io.BytesIO()
            found.shown.figure().savefig(png, format="png")
            made[name] = found, round(time.perf_counter() - began, 2), png.getvalue()
            self.examined.emit(Progress("explain", done + 1, len(wanted), "pictures"))
        return made, left

    def _stopped(self, name: str) -> str:
        """Why a picture that needs a gradient back to the image cannot be, if it cannot."""
        backwards = name == "classes" or (name == "heat" and self.method in ("gradcam", "ig"))
        if backwards and not ascent.passes_back(self.examined.network, self.examined.size):
            return "needs a gradient back to the image, and this network lets none through"
        return ""

    def _one(self, name: str, shown: Images | None, searched: Images | None) -> View | str:
        examined = self.examined
        if name == "filters":
            return views.filters(examined)
        if name == "classes":
            return views.classes(examined, self.classes)
        assert shown is not None and searched is not None
        if name == "maps":
            first = shown if self.given is not None or self.layer else shown.some(np.arange(1))
            return views.maps(examined, first, self.layer)
        if name == "heat":
            target = self.classes[0] if len(self.classes) == 1 else None
            sample = shown if self.given is not None else searched
            return views.heat_view(
                examined, shown, sample, method=self.method, layer=self.layer, target=target
            )
        if name == "units":
            return views.units(examined, searched, self.layer, self.units)
        return views.embedding(examined, searched)


def _free(folder: Path) -> None:
    """Refuse a folder that holds something other than an earlier explanation. Raises
    BadArgument."""
    if folder.exists() and not folder.is_dir():
        raise BadArgument("out", folder, "is a file", "name a folder that is new or empty")
    if not folder.is_dir() or (folder / "explain.json").is_file():
        return
    if any(not item.name.startswith(files.TEMPORARY) for item in folder.iterdir()):
        raise BadArgument("out", folder, "holds something else", "name a new or empty folder")


def _given(trained: Trained, images: Iterable[Any], invert: bool, emit: Emit) -> Images:
    """The user's own images. Raises BadArgument for none, and for one that cannot be read."""
    alone = isinstance(images, str | Path | bytes)
    inputs = trained.inputs([images] if alone else list(images), invert, emit)
    for one in inputs:
        if one.error is not None:
            rule, _, remedy = one.error.rpartition("; ")
            raise BadArgument("images", one.name, rule, remedy)
    if not 0 < len(inputs) <= MOST:
        rule = f"must be at least one image, and at most {MOST}, to be read on one picture"
        raise BadArgument("images", f"{len(inputs)} images", rule, "name some of them")
    array = np.stack([one.pixels for one in inputs if one.pixels is not None])
    probabilities = trained.probabilities(array)
    best = probabilities.argmax(1)
    titles = tuple(
        f"{Path(one.name).name}\n{trained.classes[k]} {row[k]:.0%}"
        for one, k, row in zip(inputs, best, probabilities, strict=True)
    )
    return Images(array, best, probabilities.max(1), titles)


def _tested(place: run.RunFolder, trained: Trained, examined: Examined) -> tuple[Images, Images]:
    """Test images that the seed draws, and those of them that are shown."""
    kept, info = place.read_recipe(), place.read_model()
    pack: Pack = of_recipe(kept, examined.emit)
    same_data(pack, info["data"]["fingerprint"])
    test = pack.splits["test"]
    if not len(test):
        raise RunError(f"{place.path}: its data have no test images; name images of your own")
    count = min(examined.within(1, 1e11, 200, SEARCHED), len(test))
    random = np.random.default_rng(examined.seed)
    drawn = np.sort(random.choice(len(test), count, replace=False))
    pixels, labels = np.array(test.images[drawn]), np.array(test.labels[drawn])
    probabilities = trained.probabilities(pixels)
    best = probabilities.argmax(1)
    sure = probabilities.max(1)
    titles = tuple(
        f"{trained.classes[k]} {p:.0%}"
        if k == label
        else f"is {trained.classes[label]}\nsaid {trained.classes[k]} {p:.0%}"
        for k, label, p in zip(best, labels, sure, strict=True)
    )
    searched = Images(pixels, best, sure, titles, labels, drawn)
    right, wrong = np.flatnonzero(best == labels), np.flatnonzero(best != labels)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:SHOWN]
    good = random.permutation(right)[: 2 * SHOWN - len(worst)]
    return searched, searched.some(np.concatenate([good, worst]).astype(np.int64))


def _write(
    folder: Path,
    place: run.RunFolder,
    made: Made,
    left: dict[str, str],
    numbers: dict[str, Any],
    emit: Emit,
) -> None:
    """Everything at the end, so that an error before leaves the folder as it was; and links to the
    run's other pages, where it lies in the run's folder."""
    info = place.read_model()
    text = page.page(
        place.path.resolve().name,
        f"{info['architecture']['name']} on {info['data']['name']}: "
        f"{plural(info['parameters'], 'parameter')}, "
        f"{plural(len(info['classes']), 'class', 'classes')}.",
        {name: view for name, (view, _, _) in made.items()},
        left,
    )
    with files.explained(folder):
        for picture, (_, _, png) in made.items():
            files.write_whole(folder / f"{picture}.png", png)
        files.write_whole(folder / "index.html", text)
        files.write_json(folder / "explain.json", numbers)
        stale = [one for one in PICTURES if one not in made and (folder / f"{one}.png").exists()]
        for one in stale:
            with contextlib.suppress(FileNotFoundError):
                (folder / f"{one}.png").unlink()
        if stale:
            text = f"what an earlier explanation had is gone ({', '.join(stale)})"
            emit(Notice(f"{folder}: {text}; --out DIR keeps it (out=DIR)"))
        if folder == place.explanation.parent:
            webpage.link(place.pages)
