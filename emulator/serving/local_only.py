"""HTTP interfaces that move devices: only for programs on this computer, no page of another origin,
each documented by a page of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict

from tallystick import __version__
from tallystick.common.errors import BadInputError, TallyError
from tallystick.emulator.serving.openapi_page import page

_NAMES = {"127.0.0.1", "localhost", "[::1]"}


class Body(BaseModel):
    """Takes no field that is not there, and no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Power(Body):
    """Give the device its power, or take it away."""

    on: bool


def local_app(title: str, description: str) -> FastAPI:
    """An interface that is protected (see `protect`); add_page documents it."""
    app = FastAPI(
        title=title, version=__version__, description=description, docs_url=None, redoc_url=None
    )
    protect(app)
    return app


def add_page(app: FastAPI, *paths: str) -> None:
    """Serves the page that lists its calls, at each path."""

    def docs() -> HTMLResponse:
        return HTMLResponse(page(app.openapi()))

    for path in paths:
        app.get(path, include_in_schema=False)(docs)


def protect(app: FastAPI) -> None:
    """Requests that change anything must be JSON and must not come from a page of another origin,
    so that a web page open on the same computer cannot press a button. Errors become JSON."""

    @app.middleware("http")
    async def same_origin(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        host = request.headers.get("host", "").rsplit(":", 1)[0]
        if host not in _NAMES:
            return _refused(403, "Only programs on this computer may ask.")
        if request.method == "POST":
            origin = request.headers.get("origin")
            if origin is not None and origin != f"http://{request.headers['host']}":
                return _refused(403, "A page of another origin may not do this.")
            kind = request.headers.get("content-type", "").split(";")[0]
            if kind != "application/json":
                return _refused(415, "The body must be JSON (Content-Type: application/json).")
        return await call_next(request)

    @app.exception_handler(TallyError)
    async def failed(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, TallyError)
        status = 400 if isinstance(error, BadInputError) else 500
        return JSONResponse({"error": error.as_dict()}, status)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return _refused(422, f"{where}: {first['msg']}.")


def _refused(status: int, what: str) -> JSONResponse:
    error = BadInputError(what, kept="Nothing was changed.", todo="The page /docs lists the calls.")
    return JSONResponse({"error": error.as_dict()}, status)
