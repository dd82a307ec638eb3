"""Look a data set through before training on it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convscope import files, machine
from convscope import recipe as recipes
from convscope.data import sources
from convscope.data.audit import checks, heads, labels
from convscope.data.audit.copies import components
from convscope.data.audit.descriptors import descriptors
from convscope.data.audit.findings import CHECKS, KINDS, Audit, Finding
from convscope.data.audit.listing import listing
from convscope.data.audit.samples import Samples
from convscope.data.duplicates import Positions, firsts
from convscope.data.folder import absolute
from convscope.data.pack import Pack, read_meta
from convscope.data.scan import scan
from convscope.errors import BadArgument, DataError, nearest
from convscope.evaluation import features, predictions
from convscope.events import Emit, Notice, silent
from convscope.formatting import plural
from convscope.models import pretrained
from convscope.report.audit import audit_page


def audit_data(
    name: str | Path,
    *,
    only: Sequence[str] = (),
    page: str | Path | None = None,
    write: str | Path | None = None,
    force: bool = False,
    folds: int = labels.FOLDS,
    seed: int = 0,
    embed: labels.Embed | None = None,
    emit: Emit = silent,
) -> Audit:
    """Look through a data set, or a folder of images, for what is better mended before training on
    it: files that cannot be read, images that are there more than once or under two labels, files
    that belong together in two splits, likely wrong labels, classes of few images, odd sizes and
    modes. No image file is changed.

    ``only`` names the checks: ``files``, ``copies``, ``groups``, ``labels``, ``balance``,
    ``sizes``; what cannot be made is left out, and ``left_out`` says why, and where it was asked
    for by name it is an error. ``page`` is written as one HTML file with the images side by side,
    ``write`` as a CSV of all images (``file``, ``label``, ``split``, ``group``, ``suspected``), to
    be mended by hand; neither replaces a file unless ``force`` is given. Labels are judged by a
    classifier over ``embed``, a function of images uint8 ``[n,C,H,W]`` to vectors ``[n,d]``, on so
    many ``folds``: else what a network with ImageNet's weights sees of colour images, where its
    package is installed, or gradients and colours.

    Raises BadArgument, before anything is read, for a path that is taken; and what
    :func:`~convscope.data.sources.open_data` raises, unless files that cannot be read are why.
    """
    for check in only:
        if check not in CHECKS:
            raise BadArgument("only", check, "is no check", nearest(check, CHECKS))
    recipes.checked("seed", seed, recipes.options()["seed"])
    if folds < 2:
        raise BadArgument("folds", folds, "must be a whole number of at least 2", "try 5")
    targets = {"page": page, "write": write}
    paths = {what: _free(what, path, force) for what, path in targets.items() if path is not None}
    if len(set(paths.values())) < len(paths):
        raise BadArgument("write", write, "is where the page goes, too", "name another file")
    if write is not None and not sources.is_folder(name):
        rule = f"lists the files of a folder, and {name} is a published data set"
        raise BadArgument("write", write, rule, "leave it out")
    if "labels" in only:
        labels.need_libraries()
    try:
        pack = sources.open_data(name, emit)
    except DataError as why:
        found = _refused(name, why, emit)
    else:
        looking = _Looking(pack, name, frozenset(only or CHECKS), bool(only), emit)
        found, samples, groups = looking.audit(embed, folds, seed)
        if "write" in paths:
            _written(paths.pop("write"), listing(found, samples, groups))
    if "write" in paths:
        emit(Notice(f"{paths['write']}: not written, as the folder has no images to list", True))
    if "page" in paths:
        _written(paths["page"], audit_page(found).encode(errors="replace"))
    return found


def _free(argument: str, path: str | Path, force: bool) -> Path:
    """Where something is to be written. Raises BadArgument where something is there already."""
    full = absolute(Path(path))
    if full.is_dir():
        raise BadArgument(argument, path, "is a folder", f"name a file in it: {full / 'audit'}...")
    if full.exists() and not force:
        remedy = "name another file, or add force (--force)"
        raise BadArgument(argument, path, "is there already", remedy)
    return full


def _written(path: Path, content: bytes) -> None:
    with files.explained(path):
        files.write_whole(path, content)


def _refused(name: str | Path, why: DataError, emit: Emit) -> Audit:
    """The files of a folder that cannot be read, where it gives no pack because of them."""
    root = absolute(Path(name))
    if not sources.is_folder(name) or not root.is_dir():
        raise why
    bad = heads.unreadable(root, [file.path for file in scan(root).found], emit)
    if not bad:
        raise why
    others = dict.fromkeys((check for check in CHECKS if check != "files"), str(why))
    return Audit(root.name, {}, {"unreadable": bad}, others, {})


class _Looking:
    """A data set that is being looked through."""

    def __init__(
        self, pack: Pack, name: str | Path, wanted: frozenset[str], by_name: bool, emit: Emit
    ) -> None:
        self.pack, self.wanted, self.by_name, self.emit = pack, wanted, by_name, emit
        self.root = absolute(Path(name)) if sources.is_folder(name) else None
        self.samples = Samples(pack)
        self.left_out: dict[str, str] = {}
        self.figures: dict[str, Any] = {}

    def audit(
        self, embed: labels.Embed | None, folds: int, seed: int
    ) -> tuple[Audit, Samples, Positions]:
        """What is found; the images; for each the first one that it belongs to."""
        samples, found = self.samples, {}
        together = grouped = firsts(samples.hashes)
        if "files" in self.wanted:
            found["unreadable"] = self._unreadable()
        if "copies" in self.wanted:
            copies, together = checks.copies(samples, self.emit)
            found |= copies
        if "groups" in self.wanted or "labels" in self.wanted:
            torn, grouped = checks.grouped(samples)
            if "groups" in self.wanted and self._has_files("groups"):
                found["groups"] = torn
        links = [(int(a), at) for first in (together, grouped) for at, a in enumerate(first)]
        groups = components(len(samples), links)
        if "labels" in self.wanted:
            found["labels"] = self._labels(embed, groups, folds, seed)
        if "balance" in self.wanted:
            found["balance"] = checks.small_classes(samples)
        if "sizes" in self.wanted and self._has_files("sizes") and self.root is not None:
            found["sizes"], found["modes"] = heads.odd(samples, self.root, self.emit)
        ordered = {
            kind: found[kind]
            for kind, about in KINDS.items()
            if kind in found and about.check not in self.left_out
        }
        made = Audit(self.pack.name, self._counts(), ordered, self.left_out, self.figures, samples)
        return made, samples, groups

    def _counts(self) -> Mapping[str, Mapping[str, int]]:
        classes = self.pack.classes
        return {
            split: dict(
                zip(classes, np.bincount(held.labels, minlength=len(classes)).tolist(), strict=True)
            )
            for split, held in self.pack.splits.items()
        }

    def _unreadable(self) -> list[Finding]:
        skipped = [] if self.pack.folder is None else read_meta(self.pack.folder).get("skipped", [])
        return [heads.refused(path, why) for path, why in skipped]

    def _has_files(self, check: str) -> bool:
        """Whether images have files that are there; else the check is left out."""
        if self.samples.have_files and self.root is not None and self.root.is_dir():
            return True
        self._leave_out(check, DataError(f"{self.pack.name}: its images have no files here"))
        return False

    def _leave_out(self, check: str, why: DataError | BadArgument) -> None:
        """Say that a check is not made; raise where it was asked for by name."""
        if self.by_name:
            raise why
        text = f"{why.rule}; {why.remedy}" if isinstance(why, BadArgument) else str(why)
        self.left_out[check] = text
        self.emit(Notice(f"{self.pack.name}: without the check of {check}: {text}"))

    def _described(self) -> labels.Embed:
        """By what images are described: colour images by a network that knows photos."""
        if self.pack.main_image.channels != 3:
            return descriptors
        try:
            network = pretrained.Features(next(iter(pretrained.PUBLISHED)))
        except pretrained.NotInstalled as why:
            said = f"labels are judged by gradients and colours alone; more is seen: {why.remedy}"
            self.emit(Notice(f"{self.pack.name}: {said}"))
            return descriptors
        return functools.partial(predictions.logits_of, network, batch_size=features.AT_ONCE)

    def _labels(
        self, embed: labels.Embed | None, groups: Positions, folds: int, seed: int
    ) -> list[Finding]:
        samples = self.samples
        try:
            labels.need_libraries()
            with machine.at_work():
                vectors = labels.embedded(samples, embed or self._described(), self.emit)
            judged = labels.out_of_fold(
                vectors,
                samples.labels,
                groups,
                len(samples.classes),
                self.emit,
                folds=folds,
                seed=seed,
            )
        except (BadArgument, DataError) as why:
            self._leave_out("labels", why)
            return []
        right = float((judged.argmax(axis=1) == samples.labels).mean())
        self.figures["out_of_fold_accuracy"] = right
        try:
            found = labels.wrong(samples, judged)
        except DataError as why:
            self._leave_out("labels", why)
            return []
        self.emit(
            Notice(
                f"{self.pack.name}: a classifier that did not learn from it says the label of "
                f"{right:.1%} of the images; {plural(len(found), 'other')} stand out"
            )
        )
        return found
