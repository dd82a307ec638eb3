"""The studio: the page on which networks are taught, compared and taken apart, and its routes.

The state is in files below its root alone, so that it may be stopped and started at any time; what
takes PyTorch is done by processes of their own, the same that the command line starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from fastapi_offline import FastAPIOffline

from convscope.errors import BadArgument, ConvscopeError
from convscope.runs import Listing
from convscope.server import run_folders, teaching
from convscope.server.app import HANDLERS, refused
from convscope.server.limits import (
    ELSEWHERE,
    READING,
    App,
    Guard,
    Limits,
    Message,
    Receive,
    Refusal,
    Scope,
    Send,
    other_site,
)
from convscope.server.studio_pages import page_of_tabs

ROUTERS: tuple[Callable[[Path], APIRouter], ...] = (
    teaching.router,
    run_folders.router,
)  # a tab's, of the root
POLICY = b"content-security-policy"
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"same-origin"),
]


@dataclass(frozen=True)
class Studio:
    """A studio over the run folders below ``root``, to be served by ``serving.serve``; ``hosts``
    are names by which it is known, ``release`` is convscope's version. Raises BadArgument
    where the root is no such folder."""

    root: Path
    hosts: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    release: str = "0"

    def __post_init__(self) -> None:
        Listing(self.root)

    def __call__(self) -> App:
        """The ASGI application."""
        return application(self)


def application(studio: Studio) -> App:
    """The ASGI application of a studio: its page and the routers of its tabs, behind the guard."""
    app = FastAPIOffline(
        redoc_url=None,
        title="convscope studio",
        version=studio.release,
        exception_handlers={
            **HANDLERS,
            ConvscopeError: _not_possible,
            RequestValidationError: _not_asked_so,
        },
    )

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(page_of_tabs(studio.release), headers={"Cache-Control": "no-cache"})

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> Response:  # browsers ask for one
        return Response(status_code=204)

    for router in ROUTERS:
        app.include_router(router(studio.root))
    guarded = _of_this_site(app)
    return Guard(guarded, studio.limits, studio.hosts, lambda: False, lambda *counted: None)


def _of_this_site(app: App) -> App:
    """The application, for its own pages: what another site's page would read of it, other than by
    a link that is followed, is refused, and so is a frame around it."""

    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        said = dict(scope["headers"])
        followed = said.get(b"sec-fetch-mode") == b"navigate" and scope["method"] in READING
        if said.get(b"sec-fetch-site") in ELSEWHERE and not followed:
            raise other_site()

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = any(name == POLICY for name, _ in message["headers"])
                more = HEADERS if own else [*HEADERS, (POLICY, b"frame-ancestors 'none'")]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await app(scope, receive, sent)

    return called


async def _not_possible(request: Request, why: Exception) -> Response:
    """What convscope refuses, such as a damaged run."""
    asked = isinstance(why, BadArgument)
    return await refused(request, Refusal(400 if asked else 409, "convscope", str(why)))


async def _not_asked_so(request: Request, why: Exception) -> Response:
    """A request whose arguments are missing or of another kind."""
    assert isinstance(why, RequestValidationError)
    said: list[Any] = [f"{one['loc'][-1]}: {one['msg']}" for one in why.errors()]
    return await refused(request, Refusal(400, "argument", "; ".join(said)))
