"""For HTTP interfaces that move devices: only programs on this computer, and no page of another
origin.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from tallystick.common.errors import BadInputError, TallyError

_NAMES = {"127.0.0.1", "localhost", "[::1]"}


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
        return JSONResponse({"error": error.as_dict()}, 500)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return _refused(422, f"{where}: {first['msg']}.")


def _refused(status: int, what: str) -> JSONResponse:
    error = BadInputError(what, kept="Nothing was changed.", todo="The page /docs lists the calls.")
    return JSONResponse({"error": error.as_dict()}, status)
