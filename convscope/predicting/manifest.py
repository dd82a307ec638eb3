"""Many images to be predicted, listed once and in shards: the manifest of a folder of predictions.

::

    manifest.json      what the predictions are made with, and of what; written last
    inputs.jsonl       every input, a line each; none where they are those of a pack
    predictions/       part-00000.csv (.parquet), ...: those of a shard, whole or not at all
    shards/            00000.json, ...: what a shard came to, once its part is there
    unreadable.csv     what could not be read, and why   } both once
    summary.json       what all shards came to           } all shards are there

The listing is written and read as a stream, so that its length takes no memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from convscope import files, machine, run
from convscope.data import sources
from convscope.data.pack import Split, open_pack, read_meta
from convscope.data.rows import Names
from convscope.errors import BadArgument, DataError, RunError
from convscope.events import Emit, Notice
from convscope.predicting import onnx_file
from convscope.predicting.inputs import Input, Named
from convscope.predicting.inventory import Inventory, known_by, shards_of, source_of
from convscope.predicting.predictor import Predictor, check_top_k
from convscope.predicting.records import RecordPredictor, TableRow

FORMAT_VERSION = 1
TOGETHER = 256  # images of a pack that are read at once
SHARD = 250, 10_000  # images, at least and at most, unless another number is asked for
EACH = 16  # shards for each core, so that none is long at work when others are done
FORMS = ("csv", "parquet")


@dataclass(frozen=True)
class Asked:
    """What is to be predicted and how. ``given`` are files, folders and tables by their paths, and
    iterables of such, which are known by their order alone; or the ``split`` of ``data``, a data
    set by its name or the folder of a pack. ``options`` are those of ``Predictor.stream`` and of
    the run (``abstain``, ``set``); ``shard`` images are written together, None as before, or as
    :func:`shard_of` has it."""

    run: Path
    given: Sequence[Any] = ()
    data: str | None = None
    split: str = "test"
    options: Mapping[str, Any] = field(default_factory=dict)
    form: str = "csv"
    shard: int | None = None

    def __post_init__(self) -> None:
        if self.shard is not None and self.shard < 1:
            rule = "must be a whole number of at least 1"
            raise BadArgument("shard", self.shard, rule, f"try {SHARD[0]}")
        if self.form not in FORMS:
            rule = f"must be one of {', '.join(FORMS)}"
            raise BadArgument("format", self.form, rule, "try csv")
        if self.data is not None and self.given:
            rule = "is in the place of files, and there are both"
            raise BadArgument("data", self.data, rule, "leave one of them out")

    @property
    def sha256(self) -> str:
        """That of the ONNX file, or of the run's ``model.json``, which holds that of its
        weights."""
        found = Path(self.run)
        return files.sha256(found if onnx_file.is_file(found) else run.find(found).model)

    @property
    def bound(self) -> dict[str, Any]:
        """What stays the same until the last shard is written, by the names of arguments."""
        found = {"format": self.form, **self.options}
        if self.data is not None:
            found |= {"data": self.data, "split": self.split}
        return found


@dataclass(frozen=True)
class Manifest:
    """That of a folder; ``said`` is its JSON."""

    folder: Path
    said: Mapping[str, Any]

    @property
    def images(self) -> int:
        """How many inputs there are in all shards."""
        return int(self.said["images"])

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-self.images // int(self.said["shard"]))

    @property
    def form(self) -> str:
        """In which form predictions are written, of ``FORMS``."""
        return str(self.said["bound"]["format"])

    def size(self, at: int) -> int:
        """How many inputs a shard has."""
        shard = int(self.said["shard"])
        return min(shard, self.images - at * shard)

    def part(self, at: int) -> Path:
        """The predictions of a shard."""
        return self.folder / "predictions" / f"part-{at:05}.{self.form}"

    def mark(self, at: int) -> Path:
        """What a shard came to."""
        return self.folder / "shards" / f"{at:05}.json"

    def lock(self, at: int) -> Path:
        """What a process locks that works on a shard."""
        return self.folder / "locks" / f"{at:05}.lock"

    def of_pack(self, at: int, invert: bool) -> Iterator[list[Input]]:
        """The inputs of a shard of a pack, by their files, else by their numbers. It is mapped anew
        for each, so that what was read of it does not stay in memory. Raises BadArgument where it
        is another one than at first."""
        bound, first = self.said["bound"], at * int(self.said["shard"])
        split, digest = split_of(bound["data"], bound["split"])
        if digest != self.said["digest"]:
            rule = f"is not as it was when {self.folder} was begun"
            raise BadArgument("data", bound["data"], rule, "restore it, or name another folder")
        names, images = self._files, split.images
        end = first + self.size(at)
        for begin in range(first, end, TOGETHER):
            some = np.asarray(images[begin : min(begin + TOGETHER, end)])  # which is quick to index
            for n, pixels in enumerate(some, begin):
                name = str(n) if names is None else names[n]
                yield [Input(name, ~pixels if invert else pixels)]

    def inputs(self, at: int) -> Iterator[Named | TableRow]:
        """The inputs of a shard of what was listed. Raises DataError where the listing is no more
        what was written."""
        for line in self._lines(at):
            yield source_of(json.loads(line), self.said["base"], self._names)

    def _lines(self, at: int) -> list[bytes]:
        path, (offset, sha256) = self.folder / "inputs.jsonl", self.said["listing"][at]
        try:
            with path.open("rb") as file:
                file.seek(offset)
                lines = list(itertools.islice(file, self.size(at)))
        except OSError as why:
            raise DataError(f"{path}: cannot be read ({why.strerror}); restore it") from None
        if hashlib.sha256(b"".join(lines)).hexdigest() != sha256:
            text = "was changed after it was written; restore it, or begin in another folder"
            raise DataError(f"{path}: {text}")
        return lines

    @cached_property
    def _names(self) -> list[Names]:
        return [Names(Path(table).parent) for table in self.said["tables"]]

    @cached_property
    def _files(self) -> tuple[str, ...] | None:
        bound = self.said["bound"]
        return split_of(bound["data"], bound["split"])[0].files


def opened(folder: Path) -> Manifest | None:
    """The manifest of a folder, if it has one. Raises RunError for one that was changed, and
    BadArgument for a file."""
    if folder.exists() and not folder.is_dir():
        raise BadArgument("into", folder, "is a file", "name a folder")
    path = folder / "manifest.json"
    if not path.exists():
        return None
    said = files.read_json(path, RunError)
    if not isinstance(said, dict) or said.get("format_version") != FORMAT_VERSION:
        raise RunError(f"{path}: is no manifest of format {FORMAT_VERSION}; name another folder")
    if said.get("sha256") != _sum_of(said):
        text = "was changed after it was written; restore it, or begin in another folder"
        raise RunError(f"{path}: {text}")
    return Manifest(folder, said)


def begun(
    folder: Path, asked: Asked, predictor: Predictor | RecordPredictor, emit: Emit
) -> Manifest:
    """The manifest of a folder: that which is there, if it is of what is asked, else a new one.

    One process lists while others wait. Raises BadArgument, naming what differs, where the folder
    was begun with something else, for a folder of other files, and where nothing is given."""
    if (found := opened(folder)) is None:
        if not asked.given and asked.data is None:
            rule = f"is needed, and {folder} has no manifest.json to go on by"
            raise BadArgument("FILES", "(not given)", rule, "name images, folders or tables")
        _check_free(folder)
        _check_options(asked, predictor)
        with alone(folder, emit):
            if (found := opened(folder)) is None:
                try:
                    return _made(folder, asked, predictor, emit)
                except BaseException:  # what is refused leaves nothing
                    with contextlib.suppress(OSError):
                        for name in ("inputs.jsonl", ".lock"):
                            (folder / name).unlink(missing_ok=True)
                        folder.rmdir()
                    raise
    check_same(found, asked)
    return found


def _check_free(folder: Path) -> None:
    """Raise BadArgument for a folder that holds other files than what listing makes first."""
    own = {".lock", "inputs.jsonl", "manifest.json"}
    if (
        folder.is_dir()
        and any(one.name not in own and files.TEMPORARY not in one.name for one in folder.iterdir())
        and not (folder / "manifest.json").exists()  # nor did another process begin it meanwhile
    ):
        rule = "holds other files, and no manifest.json"
        raise BadArgument("into", folder, rule, "name a new folder")


def _check_options(asked: Asked, predictor: Predictor | RecordPredictor) -> None:
    """Raise BadArgument for options that no image could be predicted with, before they bind a
    folder."""
    top_k, invert, digits = (asked.options.get(name) for name in ("top_k", "invert", "digits"))
    if top_k is not None:
        check_top_k(top_k)
    if digits and asked.data is not None:
        rule = f"is for photographs of paper, and {asked.data} is a data set"
        raise BadArgument("digits", digits, rule, "leave one of them out")
    for _ in predictor.stream([], top_k or 1, bool(invert), digits=digits):
        pass


def _made(
    folder: Path, asked: Asked, predictor: Predictor | RecordPredictor, emit: Emit
) -> Manifest:
    files.clear_unfinished(folder)
    said: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "run": str(Path(asked.run).absolute()),
        "network": asked.sha256,
        "convscope": machine.version(),
        "bound": asked.bound,
    }
    if asked.data is not None:
        split, said["digest"] = split_of(asked.data, asked.split)
        fits(split, asked.data, predictor)
        said["images"] = len(split)
    else:
        listed = Inventory(predictor, asked.given)
        with files.whole_file(folder / "inputs.jsonl") as file:
            said |= listed.written(file, emit)
    if not said["images"]:
        raise BadArgument("FILES", asked.given or asked.data, "hold nothing", "name images")
    said["shard"] = asked.shard or shard_of(said["images"])
    if asked.data is None:
        said["listing"] = shards_of(folder / "inputs.jsonl", said["shard"])
    said["sha256"] = _sum_of(said)
    files.write_whole(folder / "manifest.json", json.dumps(said, indent=1) + "\n")
    return Manifest(folder, said)


def shard_of(images: int) -> int:
    """How many of so many images are written together, unless that is asked for: as many as leave
    ``EACH`` shards for a core of this machine, within ``SHARD``."""
    least, most = SHARD
    return min(max(least, -(-images // (EACH * machine.cores()))), most)


def check_same(found: Manifest, asked: Asked) -> None:
    """Raise BadArgument where a folder was begun with something else than is asked."""
    said, into = found.said, found.folder
    remedy = "type what was typed first, or name another folder (--into)"
    if said["network"] != asked.sha256:
        rule = f"is another network than that which {into} was begun with ({said['run']})"
        raise BadArgument("RUN", asked.run, rule, remedy)
    asked_for = {**asked.bound, "convscope": machine.version()}
    asked_for |= {} if asked.shard is None else {"shard": asked.shard}
    before = {**said["bound"], "convscope": said["convscope"], "shard": said["shard"]}
    if asked.data is None and not asked.given:  # it goes on with what was listed
        asked_for |= {name: before[name] for name in ("data", "split") if name in before}
    for name, value in asked_for.items():
        if name in before and before[name] != value:
            rule = f"differs from what {into} was begun with, {before[name]}"
            if before[name] is None or isinstance(before[name], bool):
                rule = f"is not what {into} was begun with"
            raise BadArgument(name, "(not given)" if value is None else value, rule, remedy)
    if ("data" in before) != ("data" in asked_for):
        name = "data" if asked.data is not None else "FILES"
        rule = f"is another source of images than that which {into} was begun with"
        raise BadArgument(name, asked.data or _shown(asked.given), rule, remedy)
    if asked.given and (given := known_by(asked.given)) != said["given"]:
        rule = f"are others than those which {into} was begun with, {_shown(said['given'])}"
        raise BadArgument("FILES", _shown(given), rule, remedy)


def _shown(given: Iterable[Any]) -> str:
    return " ".join(str(one) for one in given)


def split_of(name: str, split: str) -> tuple[Split, str]:
    """A split of a data set, and the digest of its pack. Raises BadArgument where it has none."""
    folder, pack = Path(name), None
    if name not in sources.NAMED and (folder / "meta.json").is_file():
        about = read_meta(folder).get("shards")
        if about is None or "url" in about:  # not the shards themselves
            pack = open_pack(folder)
    pack = pack or sources.open_data(name)
    if split not in pack.splits:
        rule = f"is not in {name}, which has {', '.join(pack.splits)}"
        raise BadArgument("split", split, rule, "name one of these")
    return pack.splits[split], pack.digest


def fits(split: Split, name: str, predictor: Predictor | RecordPredictor) -> None:
    """Raise BadArgument unless the images of a split are those that a network takes."""
    if isinstance(predictor, RecordPredictor):
        rule = "is for networks of one image and one class"
        raise BadArgument("data", name, rule, "give a table (.csv, .jsonl, .parquet)")
    wanted, found = (predictor.channels, *predictor.size), split.images.shape[1:]
    if found != wanted:
        said = " x ".join(map(str, found)), " x ".join(map(str, wanted))
        rule = f"has images of {said[0]}, and the network takes {said[1]}"
        raise BadArgument("data", name, rule, "name its files, which are fitted")


def alone(folder: Path, emit: Emit) -> AbstractContextManager[bool]:
    """Hold the lock of a folder."""
    busy = Notice(f"{folder}: another process is writing its manifest; waiting for it")
    return files.locked(folder / ".lock", lambda: emit(busy))


def _sum_of(said: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in said.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
