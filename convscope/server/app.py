"""The routes of a server: FastAPI over models, behind the guard."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from convscope.data import decode
from convscope.errors import ConvscopeError
from convscope.predicting.predictor import Predictor
from convscope.server import protocol
from convscope.server.batching import BATCH, BOUND, Batcher
from convscope.server.limits import App, Guard, Limits, Receive, Refusal, Scope, Send
from convscope.server.metrics import TYPE, Metrics
from convscope.server.repository import Repository
from convscope.server.uploads import upload_of

LOOK = 1.0  # seconds between two looks at the files of models
CODES = {404: "path", 405: "method"}
log = logging.getLogger("convscope.server")

IMAGE = {"schema": {"type": "string", "format": "binary"}}
FORM = {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
ARGUMENTS = (
    ("top", {"type": "integer", "default": 5, "minimum": 1}, "labels an image"),
    ("invert", {"type": "boolean", "default": False}, "swap dark and light"),
    ("digits", {"type": "boolean"}, "cut digits out of photographs of paper"),
)
TEXT = {"type": "string"}
MODEL = {"name": "model", "in": "query", "schema": TEXT, "description": "the first, if left out"}
NAME = {"name": "name", "in": "path", "schema": TEXT, "required": True}
VERSION = {"name": "version", "in": "path", "schema": TEXT, "required": True}
PREDICT, INFER = (
    "What a network says of an image, or of several",
    "Probabilities and logits of a tensor of images",
)
V2 = "/v2/models/{name}"


@dataclass(frozen=True)
class Service:
    """All that a server is made of, and can be sent to another process: models by name, the files
    that they are opened from, and by what; names of its host; images a batch, seconds that a batch
    may take, threads that read and compute; what makes the page of a file, if anything;
    convscope's version."""

    models: Mapping[str, Path]
    opener: Callable[[Path], Predictor]
    limits: Limits = field(default_factory=Limits)
    hosts: tuple[str, ...] = ()
    batch: int = BATCH
    bound: float = BOUND
    threads: int = 2
    page: Callable[[Path], str] | None = None
    release: str = "0"

    def __call__(self) -> App:
        """The ASGI application."""
        return application(self)


def application(service: Service) -> App:
    """The ASGI application of a service, its models opened. Raises what their opener does."""
    repository = Repository(service.models, service.opener)
    limits = service.limits
    metrics = Metrics(lambda: batcher.waiting)
    batcher = Batcher(limits, service.batch, service.bound, service.threads, metrics.batch)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with decode.quiet():
            watching = asyncio.create_task(_watch(repository))
            try:
                yield
            finally:
                watching.cancel()
                await asyncio.to_thread(batcher.close)

    app = FastAPIOffline(
        redoc_url=None,
        title="convscope",
        version=service.release,
        lifespan=lifespan,
        exception_handlers=HANDLERS,
    )
    _predicting(app, repository, batcher, limits)
    _inference(app, repository, batcher, limits)

    if service.page is not None:
        _pages(app, repository, service.page)

    @app.get("/metrics", summary="Counters for Prometheus", response_class=Response)
    async def counters() -> Response:
        return Response(metrics.text(), media_type=TYPE)

    short = _shortened(app, tuple(service.models))
    return Guard(short, limits, service.hosts, lambda: batcher.full, metrics.request)


def _predicting(app: FastAPI, repository: Repository, batcher: Batcher, limits: Limits) -> None:
    """`/predict`, and `/models/NAME/predict`."""
    content: dict[str, Any] = {"application/octet-stream": IMAGE, "image/*": IMAGE}
    content["multipart/form-data"] = {"schema": FORM}
    said = [
        {"name": name, "in": "query", "schema": schema, "description": text}
        for name, schema, text in ARGUMENTS
    ]

    async def predict(request: Request) -> Response:
        query = request.scope["query_string"]
        name = request.path_params.get("name")
        if name is None and query:
            name = parse_qs(query.decode("latin-1")).get("model", [None])[0]
        model = repository.find(name)
        body = await request.body()
        asked = upload_of(model, query, request.headers.get("content-type", ""), body, limits)
        return Response(await batcher.answer(model.lane, asked), media_type="application/json")

    for path, more in (("/predict", [MODEL]), ("/models/{name}/predict", [NAME])):
        extra = {"requestBody": {"content": content}, "parameters": [*more, *said]}
        app.add_api_route(path, predict, methods=["POST"], openapi_extra=extra, summary=PREDICT)


def _inference(app: FastAPI, repository: Repository, batcher: Batcher, limits: Limits) -> None:
    """The paths of the Open Inference Protocol."""
    extensions = ["binary_tensor_data"]

    @app.get("/v2", summary="The server")
    async def server() -> dict[str, Any]:
        return {"name": "convscope", "version": app.version, "extensions": extensions}

    @app.get("/v2/health/live", summary="Whether the server runs")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @app.get("/v2/health/ready", summary="Whether it answers")
    async def ready() -> dict[str, bool]:
        return {"ready": True}

    async def infer(request: Request) -> Response:
        model = repository.find(request.path_params["name"], request.path_params.get("version"))
        length = request.headers.get(protocol.HEADER_LENGTH)
        if length is not None and not (length.isascii() and length.isdigit() and len(length) < 19):
            rule = "must be a whole number of bytes"
            raise Refusal(400, "request", f"{protocol.HEADER_LENGTH}={length:.40}: {rule}")
        body = await request.body()
        asked = protocol.Infer(model, limits, body, None if length is None else int(length))
        found: protocol.Answer = await batcher.answer(model.lane, asked)
        if found.json_bytes is None:
            return Response(found.body, media_type="application/json")
        headers = {protocol.HEADER_LENGTH: str(found.json_bytes)}
        return Response(found.body, media_type="application/octet-stream", headers=headers)

    content = {"application/json": {"schema": {"type": "object"}}}
    content["application/octet-stream"] = IMAGE
    for prefix, more in ((V2, [NAME]), (f"{V2}/versions/{{version}}", [NAME, VERSION])):

        @app.get(prefix, summary="A model: its tensors")
        async def metadata(name: str, version: str | None = None) -> dict[str, Any]:
            return protocol.metadata(repository.find(name, version))

        @app.get(f"{prefix}/ready", summary="Whether a model answers")
        async def model_ready(name: str, version: str | None = None) -> dict[str, Any]:
            return {"name": repository.find(name, version).name, "ready": True}

        extra = {"requestBody": {"content": content}, "parameters": more}
        where = f"{prefix}/infer"
        app.add_api_route(where, infer, methods=["POST"], openapi_extra=extra, summary=INFER)


def _pages(app: FastAPI, repository: Repository, made: Callable[[Path], str]) -> None:
    """The page of a model, which asks for `predict` beside it."""
    kept: dict[str, tuple[str, str]] = {}  # name -> version, page

    @app.get("/", include_in_schema=False)
    @app.get("/models/{name}/", include_in_schema=False)
    async def page(name: str | None = None) -> HTMLResponse:
        model = repository.find(name)
        if kept.get(model.name, ("",))[0] != model.version:
            try:
                kept[model.name] = model.version, await asyncio.to_thread(made, model.path)
            except ConvscopeError as why:
                raise Refusal(404, "page", f"{model.name} has no page: {why}") from None
        return HTMLResponse(kept[model.name][1])


def _shortened(app: FastAPI, names: Sequence[str]) -> App:
    """The application, with a short cut to the routes that are asked most: their paths are known,
    and a look at a table takes a tenth of what FastAPI's way to them does."""
    short: dict[tuple[str, str], tuple[APIRoute, dict[str, str]]] = {}
    for route in app.routes:
        if isinstance(route, APIRoute) and route.summary in (PREDICT, INFER):
            for name in names:
                params = {"name": name} if "{name}" in route.path else {}
                short["POST", route.path.replace("{name}", name)] = route, params

    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        found = scope["type"] == "http" and short.get((scope["method"], scope["path"]))
        if not found:
            await app(scope, receive, send)
            return
        scope["route"], scope["path_params"] = found
        response = await found[0].endpoint(Request(scope, receive))
        await response(scope, receive, send)

    return called


async def _watch(repository: Repository) -> None:
    while True:
        await asyncio.sleep(LOOK)
        try:
            await asyncio.to_thread(repository.refresh)
        except Exception:
            log.exception("the files of models could not be looked at")


async def no_route(request: Request, why: Exception) -> Response:
    """What Starlette refuses by itself, as JSON."""
    status = why.status_code if isinstance(why, HTTPException) else 500
    said = {404: "there is no such path; /docs lists all", 405: "the path takes another method"}
    text = said.get(status, getattr(why, "detail", str(why)))
    refusal = Refusal(status, CODES.get(status, "http"), text)
    headers = getattr(why, "headers", None)  # Allow, of a 405
    return _response(refusal, request.url.path, headers)


async def refused(request: Request, why: Exception) -> Response:
    """A refusal of a route's."""
    assert isinstance(why, Refusal)
    response = _response(why, request.url.path)
    response.raw_headers += why.headers()[1:]
    return response


def _response(why: Refusal, path: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(why.body(path), why.status, headers, "application/json")


HANDLERS: dict[Any, Any] = {HTTPException: no_route, Refusal: refused}  # what makes JSON of errors
