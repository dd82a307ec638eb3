"""The runs of a studio: listed, their curves as they are drawn, two of them compared, and the files
of each for people to read."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from convscope.errors import BadArgument
from convscope.evaluation import compare as comparing
from convscope.run import RunFolder
from convscope.runs import FINISHED, PAGES, Listing, below
from convscope.server.limits import Refusal
from convscope.server.networks import Networks
from convscope.server.studio_pages import waiting_page

CHANGED = 50  # images that only one of two runs gets right, as many of each as are told
KINDS = {
    ".html": "text/html",
    ".md": "text/plain",
    ".png": "image/png",
    ".json": "application/json",
}
EXPLAINED = re.compile(r"explain/[\w-]+\.(png|json|html)")
ALONE = (  # what a file of a run may do in a browser: show itself; it is no page of the studio's
    "sandbox allow-scripts allow-popups allow-top-navigation-by-user-activation; "
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; frame-ancestors 'none'"
)


def router(root: Path) -> APIRouter:
    """The routes of the runs below a folder: ``/api/runs``, ``/api/compare``, ``/run``. Raises
    BadArgument."""
    listing, networks = Listing(root), Networks()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(networks.close)

    routes = APIRouter(lifespan=lifespan)

    def found(name: str) -> RunFolder:
        path = listing.find(name)
        if path is None:
            raise Refusal(404, "run", f"there is no run {name!r:.200} here")
        return RunFolder(path)

    @routes.get("/api/runs", summary="All run folders, a row each")
    def runs(request: Request, sort: str = "date") -> Response:
        rows = [one.as_json() for one in listing.rows(sort)]
        return _json(request, {"root": str(root), "runs": rows})

    @routes.get("/api/runs/{name:path}/history", summary="What a run has come to, a line an epoch")
    def history(request: Request, name: str) -> Response:
        place = found(name)
        row = listing.row(name)
        return _json(request, {**(row.as_json() if row else {}), "rows": place.read_history()})

    @routes.get("/api/compare", summary="Two runs on the test images that both judged")
    def compare(request: Request, a: str, b: str) -> Response:
        one, two = found(a), found(b)
        said = comparing.compare(comparing.read(one), comparing.read(two)).as_json()
        said["a"]["run"], said["b"]["run"] = a, b
        for key in ("a_right", "b_right"):
            said[key] = said[key][:CHANGED]
        return _json(request, said)

    @routes.get("/api/runs/{name:path}/network", summary="Whether a run's network has its page")
    def network(name: str) -> dict[str, Any]:
        return networks.state(found(name))

    @routes.post("/api/runs/{name:path}/network", summary="Export a run's network for its page")
    def export(name: str) -> dict[str, Any]:
        return networks.export(found(name))

    @routes.post("/run/{name:path}/predict", summary="What a run's network says of an image")
    async def predict(request: Request, name: str) -> Response:
        query, kind = request.scope["query_string"], request.headers.get("content-type", "")
        body = await request.body()
        said = await asyncio.to_thread(networks.answer, found(name), query, kind, body)
        return Response(said, media_type="application/json")

    @routes.get("/run/{path:path}", summary="The page of a run's network, or a file of the run")
    def file(request: Request, path: str) -> Response:
        name, rest = _parted(listing, path)
        if rest is None:
            return RedirectResponse(f"{Path(name).name}/")  # what is beside it is named from there
        if rest == "page.html":  # as its other pages call an exported one
            return RedirectResponse("./")
        if rest:
            return _file(found(name).path, rest)
        row = listing.row(name)
        said = row.as_json() if row else {"name": name}
        try:
            finished = row is not None and row.state == FINISHED
            page = networks.page(found(name), name, said["pages"]) if finished else None
        except BadArgument as why:
            page, said = None, said | {"problem": str(why)}
        page = page or waiting_page(said, request.app.version)
        return HTMLResponse(page, headers={"Cache-Control": "no-cache"})

    return routes


def _parted(listing: Listing, path: str) -> tuple[str, str | None]:
    """The name of a run and what follows it: of ``a/b/explain/`` the run ``a/b`` and ``explain/``;
    None where not even a slash does. Raises Refusal where there is no such run."""
    parts = path.split("/")
    for n in range(1, len(parts) + 1):
        name = "/".join(parts[:n])
        if listing.find(name) is not None:
            return name, "/".join(parts[n:]) if n < len(parts) else None
    raise Refusal(404, "run", f"there is no run {path!r:.200} here")


def _file(run: Path, rest: str) -> Response:
    """A file of a run for people to read. Raises Refusal for any other, and behind a link."""
    rest = "explain/index.html" if rest == "explain/" else rest
    path = below(run, rest) if rest in PAGES or EXPLAINED.fullmatch(rest) else None
    if path is None or not path.is_file():
        known = ", ".join(page for page in PAGES if (run / page).is_file()) or "none"
        raise Refusal(404, "file", f"{rest!r:.200} is no page of this run; there is {known}")
    kind = KINDS.get(path.suffix, "application/json")
    headers = {"Content-Security-Policy": ALONE, "Cache-Control": "no-cache"}
    return FileResponse(path, media_type=kind, headers=headers)


def _json(request: Request, value: Any) -> Response:
    """JSON; nothing but that it is the same where the asker has it already."""
    body = json.dumps(value, allow_nan=False).encode()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)
