"""Shards of a manifest, predicted by any number of processes that share its folder.

A process holds the lock of the shard that it is at, which the system lets go of when it dies, and
writes the shard's predictions whole, then what they came to: that mark is what makes the shard one
that is done. So every input is in exactly one part, whoever was killed when.
"""

from __future__ import annotations

import contextlib
import copy
import glob
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from filelock import FileLock, Timeout

from convscope import files, machine
from convscope.errors import ConvscopeError, RunError
from convscope.events import Emit, Notice, Progress, silent
from convscope.formatting import plural
from convscope.predicting import listing, manifest, tables
from convscope.predicting.inputs import Named
from convscope.predicting.inventory import Inventory
from convscope.predicting.listing import Tally
from convscope.predicting.manifest import Asked, Manifest
from convscope.predicting.prediction import Prediction
from convscope.predicting.predictor import Predictor
from convscope.predicting.records import RecordPredictor, TableRow

AnyPredictor: TypeAlias = Predictor | RecordPredictor
PAUSE = 0.5  # seconds between two looks at what other processes have done
WORTH = 3.0  # seconds of work by one process, for less of which no others are begun


@dataclass(frozen=True)
class Predicted:
    """What a folder of predictions holds once all of its shards are there: of so many ``images``
    the answers, counted in ``tally``; ``parts`` are their files, in the order of the images, and
    ``unreadable`` lists what could not be read, and why."""

    path: Path
    images: int
    parts: tuple[Path, ...]
    tally: Tally

    @property
    def unreadable(self) -> Path:
        """A CSV of ``file`` and ``reason``."""
        return self.path / "unreadable.csv"

    def as_json(self) -> dict[str, Any]:
        """``{into, images, answers, classes, unsure, unreadable, parts}``: of classes how many
        answers name them, the most frequent first, and how many of these are unsure."""
        classes = dict(self.tally.classes.most_common())
        return {
            "into": str(self.path),
            "images": self.images,
            "answers": sum(classes.values()),
            "classes": classes,
            "unsure": {name: self.tally.unsure[name] for name in classes},
            "unreadable": self.tally.failures,
            "parts": len(self.parts),
        }


def predict_into(
    folder: str | Path,
    predictor: AnyPredictor,
    asked: Asked,
    workers: int | None = None,
    emit: Emit = silent,
) -> Predicted:
    """Predict what is asked into a folder, or what is missing of it, by so many processes, of no
    more than there are shards. None is one on another device than the CPU, else one for each core;
    but this one alone where its first shard tells that there are seconds of work left, no more.
    Reports Progress in images, with the time left.

    Raises BadArgument as :func:`~convscope.predicting.manifest.begun`, RunError for a part that was
    changed, and ConvscopeError where a process was killed: in any case what is done is kept.
    """
    if workers is not None:
        machine.check_workers(workers)
    if asked.form == "parquet":
        listing.need_pyarrow()
    found = manifest.begun(Path(folder).absolute(), asked, predictor, emit)
    at_work = _Shards(found, predictor, emit)
    left = len(at_work.missing())
    if workers is None:
        workers = machine.cores() if _device(predictor) == "cpu" else 1
        if min(workers, left) > 1:
            began = time.monotonic()
            replace(at_work, predictor=_anew(predictor)).work(wait=False, most=1)
            left = len(at_work.missing())
            if (time.monotonic() - began) * left < WORTH:
                workers = 1
    if min(workers, left) > 1:
        _together(at_work, min(workers, left))
    at_work.work()  # which is none, or what another process left
    return at_work.finished()


def preview(folder: Path, predictor: AnyPredictor, asked: Asked) -> dict[str, int]:
    """How many ``images``, ``shards`` and ``bytes`` of files there are, and ``missing`` shards;
    nothing is written, and no image read."""
    if found := manifest.opened(folder.absolute()):
        manifest.check_same(found, asked)
        missing = len(_Shards(found, predictor, silent).missing())
        return {"images": found.images, "shards": found.shards, "missing": missing}
    if asked.data is not None:
        split = manifest.split_of(asked.data, asked.split)[0]
        manifest.fits(split, asked.data, predictor)
        images, size = len(split), split.images.nbytes
    else:
        images = size = 0
        for line in Inventory(predictor, asked.given):
            images += 1
            if isinstance(line, str):
                with contextlib.suppress(OSError):
                    size += os.stat(line).st_size  # noqa: PTH116
    shards = -(-images // (asked.shard or manifest.shard_of(images)))
    return {"images": images, "shards": shards, "missing": shards, "bytes": size}


@dataclass(frozen=True)
class _Shards:
    """The shards of a manifest, and what predicts them."""

    found: Manifest
    predictor: AnyPredictor
    emit: Emit
    alive: Callable[[], None] = lambda: None  # called now and then

    def missing(self) -> list[int]:
        """The shards that are not done."""
        done = set()
        with contextlib.suppress(FileNotFoundError):
            done = {entry.name for entry in os.scandir(self.found.mark(0).parent)}
        return [at for at in range(self.found.shards) if self.found.mark(at).name not in done]

    def work(self, wait: bool = True, most: int = sys.maxsize) -> None:
        """Predict what nobody is at, until all is done, or so many shards; what others are at is
        waited for."""
        told, pace = False, _Pace(self.found.images)
        while missing := self.missing():
            pace.done = self._images_but(missing)
            worked = False
            for at in missing:
                if self._done(at):
                    continue
                with self._held(at) as ours:
                    if ours and not self._done(at):
                        self._predict(at, pace)
                        worked, most = True, most - 1
                if not most:
                    return
            if worked:
                continue
            if not wait:
                return
            if not told:
                many = plural(len(missing), "shard")
                self.emit(Notice(f"waiting for {many} that other processes are at"))
            told = True
            time.sleep(PAUSE)

    def watched(self, pace: _Pace) -> None:
        """Report how many images are done, whoever does them."""
        pace.done = self._images_but(self.missing())
        self.emit(pace.progress(0))

    def _done(self, at: int) -> bool:
        return self.found.mark(at).exists()

    def _images_but(self, missing: list[int]) -> int:
        return self.found.images - sum(map(self.found.size, missing))

    @contextlib.contextmanager
    def _held(self, at: int) -> Iterator[bool]:
        """Whether this process has a shard for itself, while it does; what a process that died
        left of it is cleared."""
        path, ours = self.found.lock(at), True
        lock = FileLock(path)
        with files.explained(path):
            files.make_folder(path.parent)
            try:
                held = files.take(lock, timeout=0)
            except (Timeout, FileNotFoundError):  # another has it, or all is done by now
                ours = held = False
            if held:
                for left in (self.found.part(at), self.found.mark(at)):
                    name = glob.escape(f"{files.TEMPORARY}{left.name}-")
                    for one in left.parent.glob(f"{name}*"):
                        one.unlink(missing_ok=True)
        try:
            yield ours
        finally:
            if lock.is_locked and self.found.mark(at).exists():
                with contextlib.suppress(OSError):  # whoever has it open looks at the mark first
                    path.unlink()
            lock.release()

    def _predict(self, at: int, pace: _Pace) -> None:
        """Write the predictions of a shard, then what they came to."""
        part, tally = self.found.part(at), Tally(most=sys.maxsize)
        options, form = self.found.said["bound"], self.found.form
        top_k, digits = options["top_k"], options["digits"]
        predictions = tally.counted(self._predictions(at, pace))
        rows = listing.rows(self.predictor, predictions, top_k, digits)
        with files.whole_file(part) as file:
            if form == "csv":
                listing.write_csv(file, rows)
            else:
                listing.write_parquet(file, rows, listing.numbers(self.predictor, top_k))
        mark = {
            "images": self.found.size(at),
            "classes": tally.classes,
            "unsure": +tally.unsure,
            "cut": tally.cut,
            "unreadable": [[one.file, one.error] for one in tally.failed],
            "bytes": part.stat().st_size,
        }
        files.write_whole(self.found.mark(at), json.dumps(mark) + "\n")
        pace.done = self._images_but(self.missing())

    def _predictions(self, at: int, pace: _Pace) -> Iterator[Prediction]:
        options = self.found.said["bound"]
        top_k, invert, digits = (options[name] for name in ("top_k", "invert", "digits"))

        def emit(event: Any) -> None:
            if isinstance(event, Progress) and event.stage == "predict":
                self.alive()
                self.emit(pace.progress(event.done))

        if "data" in options:
            assert isinstance(self.predictor, Predictor)
            read = self.found.of_pack(at, invert)
            return self.predictor.answers(read, self.found.size(at), top_k, emit)
        inputs: Iterator[Any] = self.found.inputs(at)
        if isinstance(self.predictor, Predictor):
            inputs = map(_named, inputs)
        return self.predictor.stream(inputs, top_k, invert, emit, digits)

    def finished(self) -> Predicted:
        """What all shards came to, also as files. Raises RunError for a part that is not as it was
        written."""
        found, tally = self.found, Tally()
        parts: list[Path] = []
        with manifest.alone(found.folder, self.emit):
            files.clear_unfinished(found.folder)
            with files.whole_file(found.folder / "unreadable.csv") as file:
                listing.write_csv(file, self._unreadable(tally, parts))
            done = Predicted(found.folder, found.images, tuple(parts), tally)
            files.write_json(found.folder / "summary.json", done.as_json())
        locks = found.lock(0).parent
        with contextlib.suppress(OSError):  # another process may be about to look
            for left in locks.glob("*.lock"):  # of a process that died
                left.unlink()
            locks.rmdir()
        if tally.cut and found.said["bound"]["digits"] is None:
            text = "are of digits that were cut out of what was taken for dark writing on paper"
            self.emit(
                Notice(f"{tally.cut:,} answers {text} (digits=False, --no-digits: taken whole)")
            )
        return done

    def _unreadable(self, tally: Tally, parts: list[Path]) -> Iterator[list[str]]:
        """A row for each input that could not be read; what else there is, is counted."""
        yield ["file", "reason"]
        for at in range(self.found.shards):
            mark, part = self.found.mark(at), self.found.part(at)
            said = files.read_json(mark, RunError)
            size = part.stat().st_size if part.exists() else None
            if size != said["bytes"]:
                what = "is gone" if size is None else "was changed after it was written"
                raise RunError(f"{part}: {what}; delete {mark}, and the shard is made anew")
            parts.append(part)
            tally.classes.update(said["classes"])
            tally.unsure.update(said["unsure"])
            tally.cut += said["cut"]
            tally.failures += len(said["unreadable"])
            for name, reason in said["unreadable"]:
                if len(tally.failed) < tally.most:
                    tally.failed.append(Prediction((), name, reason))
                yield [name, reason]


@dataclass
class _Pace:
    """How many images are done of all, and how fast."""

    total: int
    done: int = 0
    began: tuple[float, int] | None = None

    def progress(self, further: int) -> Progress:
        """That so many further images are done."""
        done, now = self.done + further, time.monotonic()
        if self.began is None:
            self.began = now, done
            return Progress("predict", done, self.total, "images")
        seconds, count = now - self.began[0], done - self.began[1]
        if count <= 0 or seconds < 1:
            return Progress("predict", done, self.total, "images")
        rate = count / seconds
        left = (self.total - done) / rate
        return Progress("predict", done, self.total, "images", f"{rate:,.0f} images/s", left)


def _named(one: Named | TableRow) -> Named:
    """An input of a network of one image by its name."""
    if isinstance(one, Named):
        return one
    return Named(*tables.named_image(one.names, one.row, next(iter(one.row.cells))))


def _device(predictor: AnyPredictor) -> str:
    provider = predictor.logits if isinstance(predictor, Predictor) else predictor.outputs
    return str(getattr(provider, "device", "cpu"))


def _together(shards: _Shards, workers: int) -> None:
    """Predict by so many processes, of which this is one; each has its share of the cores. Raises
    ConvscopeError for one that failed or was killed."""
    from loky.process_executor import ProcessPoolExecutor  # runs no caller's script again

    cores, pace = max(1, machine.cores() // workers), _Pace(shards.found.images)
    environment = {"OMP_NUM_THREADS": str(cores)}
    pool = ProcessPoolExecutor(workers - 1, initializer=_deaf, env=environment, timeout=None)
    try:
        given = shards.found.folder, shards.predictor, cores, os.getpid()
        others = [pool.submit(_worker, *given) for _ in range(workers - 1)]

        def well() -> None:
            if failed := next((why for one in others if one.done() and (why := one.result())), ""):
                raise ConvscopeError(failed)

        with machine.share(cores):
            replace(shards, predictor=_anew(shards.predictor), alive=well).work(wait=False)
        while shards.missing() and (waiting := [one for one in others if not one.done()]):
            shards.watched(pace)
            wait(waiting, PAUSE, FIRST_COMPLETED)
        well()
    except BrokenExecutor as why:
        text = "a process that predicts was killed, as systems do where memory ends; the same "
        raise ConvscopeError(f"{text}command goes on, with fewer workers if need be") from why
    finally:
        pool.shutdown(kill_workers=True)


def _anew(predictor: AnyPredictor) -> AnyPredictor:
    """The predictor as it computes by the cores that this process has now."""
    if isinstance(predictor, Predictor):
        return replace(predictor, logits=copy.copy(predictor.logits))
    return replace(predictor, outputs=copy.copy(predictor.outputs))


def _deaf() -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who began this hears Ctrl-C, and ends it


def _worker(folder: Path, predictor: AnyPredictor, cores: int, parent: int) -> str:
    """Predict shards until all are done; why that failed, in words, or nothing."""

    def alive() -> None:
        if os.getppid() != parent:  # it was killed: the rest is for whoever begins anew
            os._exit(1)

    found = manifest.opened(folder)
    assert found is not None
    try:
        with machine.share(cores):
            _Shards(found, predictor, silent, alive).work(wait=False)
    except ConvscopeError as why:  # pickled, some could not be read
        return str(why)
    return ""
