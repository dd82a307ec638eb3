"""The routes of teaching: sets of images, their classes, and the trainings of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from convscope import files
from convscope.errors import ConvscopeError
from convscope.server.image_sets import HIDDEN, SETS, ImageSet, changed_meanwhile
from convscope.server.jobs import Jobs, Options
from convscope.server.limits import Limits, Refusal
from convscope.server.names import named
from convscope.server.uploads import files_of

FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}  # another image, another key


class Named(BaseModel):
    """A name that is given."""

    name: str = Field(max_length=1000)


class Seen(BaseModel):
    """The revision that a change is based on."""

    revision: int


class Renamed(Named, Seen):
    """Another name for a set."""


class OfClass(Seen):
    """A change of a class; its new name, where that changes."""

    of: str
    name: str = Field("", max_length=1000)


class Moved(BaseModel):
    """Images, each a class and a file, and the class that they go to; None is out."""

    images: list[tuple[str, str]] = Field(max_length=10_000)
    to: str | None = None


class Asked(Seen):
    """A training that is asked for."""

    minutes: Literal[1, 5, 15, 60] | None = None
    scratch: bool = False
    mirrored: bool = True


class Teaching:
    """The sets below ``root/sets``, and their trainings."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder, self.jobs = root, root / SETS, Jobs(root)

    def names(self) -> list[str]:
        """Of all sets."""
        there = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted(one.name for one in there if one.is_dir() and one.name[0] != ".")

    def opened(self, name: str, revision: int | None = None) -> ImageSet:
        """A set, if its revision is this one. Raises Refusal."""
        if name not in self.names():
            text = f"there is no set {name!r:.100} any more; it was renamed or taken away"
            raise Refusal(404, "set", text)
        found = ImageSet(self.folder / name)
        if revision is not None and found.seen().revision != revision:
            raise changed_meanwhile()
        return found

    def shown(self, name: str, **more: Any) -> dict[str, Any]:
        """A set as it is, as JSON."""
        return {"name": name, **self.opened(name).seen().as_json(), **more}

    def listed(self) -> dict[str, Any]:
        """The names of all sets, as JSON, and the training that goes on."""
        return {"root": str(self.root), "sets": self.names(), "running": self.jobs.running()}


def router(root: Path, limits: Limits | None = None) -> APIRouter:
    """The routes of the sets below ``root/sets``, and of their trainings: ``/api/sets``,
    ``/api/trainings``."""
    routes, teaching = APIRouter(), Teaching(root)
    _sets(routes, teaching)
    _contents(routes, teaching, limits or Limits())
    _trainings(routes, teaching)
    return routes


def _sets(routes: APIRouter, teaching: Teaching) -> None:
    @routes.get("/api/sets", summary="All sets, and the training that goes on")
    def sets() -> dict[str, Any]:
        return teaching.listed()

    @routes.post("/api/sets", summary="A new set")
    def create(asked: Named) -> dict[str, Any]:
        name = named(asked.name, "set", teaching.names())
        with files.explained(teaching.root):
            files.make_folder(teaching.folder / name)
        return teaching.shown(name)

    @routes.get("/api/sets/{name}", summary="A set, its classes, its images")
    def one(name: str, revision: int = -1) -> dict[str, Any]:
        jobs = teaching.jobs
        said = {"trainings": jobs.of(name), "running": jobs.running(), "sets": teaching.names()}
        seen = teaching.opened(name).seen()
        same = seen.revision == revision
        return {"name": name, **({"revision": revision} if same else seen.as_json()), **said}

    @routes.post("/api/sets/{name}/rename", summary="Another name for a set")
    def rename(name: str, asked: Renamed) -> dict[str, Any]:
        at, jobs = teaching.opened(name, asked.revision), teaching.jobs
        new = named(asked.name, "set", [other for other in teaching.names() if other != name])
        going = jobs.running()
        if going is not None and going["set"] == name:
            text = "it is being trained; a set can be renamed once that is done"
            raise Refusal(409, "busy", text)
        with files.explained(at.path):
            at.path.rename(teaching.folder / new)
            files.sync_folder(teaching.folder)
        jobs.rename(name, new)
        return teaching.shown(new)

    @routes.post("/api/sets/{name}/remove", summary="Take a set away, into a folder beside them")
    def remove(name: str, asked: Seen) -> dict[str, Any]:
        at, aside = teaching.opened(name, asked.revision), teaching.folder / HIDDEN
        place, n = aside / name, 1
        while place.exists():
            n += 1
            place = aside / f"{name} {n}"
        with files.explained(place):
            files.make_folder(aside)
            at.path.rename(place)
            files.sync_folder(aside)
            files.sync_folder(teaching.folder)
        return {**teaching.listed(), "kept": str(place)}


def _contents(routes: APIRouter, teaching: Teaching, limits: Limits) -> None:
    @routes.post("/api/sets/{name}/classes", summary="A new class")
    def add_class(name: str, asked: Named) -> dict[str, Any]:
        teaching.opened(name).add_class(asked.name)
        return teaching.shown(name)

    @routes.post("/api/sets/{name}/classes/rename", summary="Another name for a class")
    def rename_class(name: str, asked: OfClass) -> dict[str, Any]:
        teaching.opened(name).rename_class(asked.of, asked.name, asked.revision)
        return teaching.shown(name)

    @routes.post("/api/sets/{name}/classes/remove", summary="Take a class out with its images")
    def remove_class(name: str, asked: OfClass) -> dict[str, Any]:
        teaching.opened(name).remove_class(asked.of, asked.revision)
        return teaching.shown(name)

    @routes.post("/api/sets/{name}/images", summary="Images into a class, as a form of files")
    async def add(name: str, of: str, request: Request) -> dict[str, Any]:
        from starlette.concurrency import run_in_threadpool

        given = files_of(
            await request.body(), request.headers.get("content-type", ""), limits.images
        )
        added = await run_in_threadpool(lambda: teaching.opened(name).add(of, given))
        return await run_in_threadpool(lambda: teaching.shown(name, **vars(added)))

    @routes.post("/api/sets/{name}/move", summary="Images to another class, or out")
    def move(name: str, asked: Moved) -> dict[str, Any]:
        teaching.opened(name).move(asked.images, asked.to)
        return teaching.shown(name)

    @routes.post("/api/sets/{name}/undo", summary="Take the last change back")
    def undo(name: str, asked: Seen) -> dict[str, Any]:
        teaching.opened(name).undo(asked.revision)
        return teaching.shown(name)

    @routes.get("/api/sets/{name}/image", summary="An image as a JPEG, small unless large")
    def image(name: str, of: str, file: str, key: str = "", large: bool = False) -> Response:
        at = teaching.opened(name)
        try:
            found = at.large(of, file) if large else at.thumbnail(key, of, file)
        except OSError as why:
            raise ConvscopeError(f"{file}: cannot be read ({why.strerror})") from None
        return Response(found, media_type="image/jpeg", headers=FOREVER if key else None)


def _trainings(routes: APIRouter, teaching: Teaching) -> None:
    jobs = teaching.jobs

    @routes.post("/api/sets/{name}/train", summary="Train on a set, as `convscope train` does")
    def train(name: str, asked: Asked) -> dict[str, Any]:
        seen = teaching.opened(name, asked.revision).seen()
        options = Options(asked.minutes, asked.scratch, asked.mirrored)
        return jobs.start(name, seen, options)

    @routes.get("/api/trainings/{run}/events", summary="What happened to a training since")
    def events(run: str, start: int = 0) -> dict[str, Any]:
        return jobs.events(run, max(0, start))

    @routes.post("/api/trainings/{run}/stop", summary="End a training with what it has learnt")
    def stop(run: str) -> dict[str, Any]:
        return jobs.stop(run)

    @routes.post("/api/trainings/{run}/resume", summary="Go on with a training")
    def resume(run: str) -> dict[str, Any]:
        return jobs.resume(run)

    @routes.get("/api/trainings/{run}/mistakes", summary="The test images that it got wrong")
    def mistakes(run: str) -> dict[str, Any]:
        name = jobs.record(run)["set"]
        return {"set": name, "mistakes": jobs.mistakes(run, teaching.opened(name).seen())}
