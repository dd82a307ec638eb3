"""Data sets by name or path: which kind of source each is, and its pack.

A published data set goes by its name; any other name is that of a pack in shards, if it is a URL or
a folder with its ``meta.json``, of a table, if it ends as one, or of a folder of images, if it is
one or has a slash in it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convscope.data import cache, sharded_source
from convscope.data.folder import FolderSource
from convscope.data.folds import fold_of
from convscope.data.pack import Pack, read_meta
from convscope.data.pairs import PairsSource
from convscope.data.published import PUBLISHED
from convscope.data.published_source import PackagedSource, PublishedSource
from convscope.data.rows import SUFFIXES
from convscope.data.sharded_source import is_sharded
from convscope.data.source import Place, Source
from convscope.data.table import TableSource
from convscope.data.tars import TarSource, are_tars
from convscope.errors import BadArgument, nearest
from convscope.events import Emit, silent
from convscope.recipe import Recipe

PACKAGED = ("mnist",)
NAMED = {name: name for name in PUBLISHED} | {PairsSource.name: "mnist"}  # and of which images


def open_data(
    name: str | Path,
    emit: Emit = silent,
    download: bool = True,
    **options: Any,
) -> Pack:
    """The pack of a data set, made in the cache on first use and again when its files change.

    ``name`` is a published data set, a folder, a table or a pack in shards; ``options`` are those
    of :func:`source_of`. A pack whose files have gone is used as it is. Raises BadArgument for an
    unknown name, and DataError where the data is nowhere to be had, is damaged, or cannot be
    written to the cache.

    >>> open_data("mnist").splits["test"].images.shape  # doctest: +SKIP
    (10000, 1, 28, 28)
    """
    if is_packed(name):
        return _sharded(name, emit, **options)
    return cache.opened(source_of(name, download, **options), emit)


def _sharded(name: str | Path, emit: Emit, size: Any = None, **options: Any) -> Pack:
    """A pack in shards, which is as it was packed. Raises BadArgument for options that would make
    another one of it."""
    for argument, given in options.items():
        if given not in (None, "", "auto", "none", False):
            rule = f"is for images as files, and {name} is packed"
            raise BadArgument(
                argument, given, rule, "leave it out, or pack the images anew with it"
            )
    pack = sharded_source.opened(name, emit)
    if size is not None and size != pack.main_image.size:
        rule = "is for images as files; {} is packed at {}x{}".format(name, *pack.main_image.size)
        raise BadArgument("size", size, rule, "leave it out")
    return pack


def of_recipe(asked: Recipe, emit: Emit = silent, download: bool = True) -> Pack:
    """The data of a recipe, its images of the size that is asked for. Raises as
    :func:`open_data`."""
    data, size, mode = asked.data, asked.data.image_size, asked.data.resize_mode
    options: dict[str, Any] = {"group": data.group, "skip_bad": data.skip_bad}
    if data.labels != "none":
        options["labels"] = data.labels
    if mode != "auto":
        options["fit"] = mode
    if size != "auto" and (mode != "auto" or asked.origin.get("data.image_size") != "measured"):
        height, width = size.split("x")
        options["size"] = int(height), int(width)
    try:
        pack = open_data(data.name, emit, download, **options)
    except BadArgument as why:
        names = {"size": ("image_size", size), "fit": ("resize_mode", mode)}
        if why.argument not in names:
            raise
        raise BadArgument(*names[why.argument], why.rule, why.remedy) from None
    if data.fold == "none":
        return pack
    own_test = has_test(pack, data.name, **options)
    return fold_of(pack, data.fold, data.split_seed, own_test)


def source_of(
    name: str | Path,
    download: bool = True,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    fit: str = "pad",
    labels: str | Path | None = None,
    group: str = "auto",
    skip_bad: bool = False,
) -> Source:
    """The source that a name means.

    ``size`` (height, width), ``channels`` and ``fit`` are for one's own images, see
    :class:`~convscope.data.folder.FolderSource`; ``labels`` is the table of a folder's images,
    ``group`` says which of them stay together, and ``skip_bad`` leaves out rows that cannot be
    used, see :class:`~convscope.data.table.TableSource`. Raises BadArgument for an unknown name,
    and for options that the data does not have.
    """
    if is_in_tars(name):
        _refuse({"labels": labels, "skip_bad": skip_bad}, f"{name} says its classes itself")
        return TarSource(name, size, channels, fit, group)
    if is_table(name):
        if labels:
            rule = f"is for a folder, and {name} is a table itself"
            raise BadArgument("labels", labels, rule, "leave one of them out")
        return TableSource(Path(name), size, channels, fit, None, group, skip_bad)
    if is_folder(name):
        if labels and not is_table(labels):
            rule = "is no table of image files"
            raise BadArgument("labels", labels, rule, f"name a file in {', '.join(SUFFIXES)}")
        if labels:
            return TableSource(Path(labels), size, channels, fit, Path(name), group, skip_bad)
        return FolderSource(Path(name), size, channels, fit, group)
    name = str(name)
    if name not in NAMED:
        meant = nearest(name, [*NAMED, *_folders_here()], listed=False)
        known = f"Known: {', '.join(sorted(NAMED))}; a folder of images is named by its path"
        rule = "is not a known data set, and no folder that is here"
        raise BadArgument("data", name, rule, meant + known)
    depth, *own_size = PUBLISHED[NAMED[name]].image_shape
    for argument, value, own in (
        ("size", size, tuple(own_size)),
        ("channels", channels, depth),
        ("fit", fit, "pad"),
    ):
        if value is not None and value != own:
            rule = f"is for folders; {name} has {argument} {own}"
            raise BadArgument(argument, value, rule, "leave it out")
    given = {"labels": labels, "group": group, "skip_bad": skip_bad}
    _refuse(given, f"{name} is published", "your own images")
    if name == PairsSource.name:
        return PairsSource()
    return (PackagedSource if name in PACKAGED else PublishedSource)(name, download)


def _folders_here() -> list[str]:
    """The folders beside each other where this process works."""
    with contextlib.suppress(OSError):
        return [f"{one.name}/" for one in Path().iterdir() if one.is_dir()]
    return []


def _refuse(given: Mapping[str, Any], why: str, what: str = "images as files") -> None:
    """Raise BadArgument for options that the data does not have."""
    for argument, value in given.items():
        if value not in (None, "", "auto", "none", False):
            raise BadArgument(argument, value, f"is for {what}, and {why}", "leave it out")


def is_folder(name: str | Path) -> bool:
    """Whether a name means a folder of images: it is one, or it is written as a path.

    A published data set goes before a folder of its name, which is meant by ``./mnist``.

    >>> is_folder("mnist"), is_folder("./mnist"), is_folder("photos/pets")
    (False, True, True)
    """
    if isinstance(name, Path):
        return not (is_table(name) or is_packed(name) or is_in_tars(name))
    if not name or name in NAMED or is_table(name) or is_packed(name) or is_in_tars(name):
        return False
    return "/" in name or os.sep in name or Path(name).is_dir()


def is_packed(name: str | Path) -> bool:
    """Whether a name is that of a pack in shards. A published data set goes before a folder."""
    return (isinstance(name, Path) or name not in NAMED) and is_sharded(name)


def is_in_tars(name: str | Path) -> bool:
    """Whether a name is that of tar files. A published data set goes before a folder."""
    return (isinstance(name, Path) or name not in NAMED) and are_tars(name)


def is_own(name: str | Path) -> bool:
    """Whether a name means data of one's own, and no published data set."""
    return is_folder(name) or is_table(name) or is_packed(name) or is_in_tars(name)


def is_table(name: str | Path) -> bool:
    """Whether a name is that of a table of image files.

    >>> is_table("pairs.csv"), is_table("photos/")
    (True, False)
    """
    return Path(name).suffix.lower() in SUFFIXES and not Path(name).is_dir()


def unread(name: str | Path, **options: Any) -> dict[str, int]:
    """How many files in the class folders of a folder of images are of a kind that is not read, by
    their suffix; none for other data."""
    if is_packed(name):
        return {}
    source = source_of(name, **options)
    return source.unread() if isinstance(source, FolderSource) else {}


def has_test(pack: Pack, name: str | Path, **options: Any) -> bool:
    """Whether the test split of the pack of a data set is its own, and not held out here."""
    kept = read_meta(pack.folder).get("own_test") if pack.folder is not None else True
    return bool(source_of(name, **options).has_test if kept is None else kept)


def locate(name: str | Path) -> Place:
    """Where ``open_data`` would take a data set from now; nothing is read, fetched or written."""
    return source_of(name).locate()
