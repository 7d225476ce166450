"""The ASGI application."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import DataError, DBAPIError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from tallystick import __version__
from tallystick.common.errors import BadInputError
from tallystick.server import portal
from tallystick.server.accounts import incidents
from tallystick.server.api import (
    cards,
    credentials,
    desk,
    faces,
    imports,
    keys,
    people,
    scim,
    serials,
    system,
    tickets,
    verify,
)
from tallystick.server.errors import ERROR_ANSWERS, NOTHING_CHANGED, ApiError
from tallystick.server.joining.reading import Rounds
from tallystick.server.loans.reminders import Reminder
from tallystick.server.portal.errors import error_page, wants_page
from tallystick.server.rules.addresses import networks
from tallystick.server.serving.answers import AnswerTime
from tallystick.server.serving.client import ClientAddress
from tallystick.server.serving.head import HeadAsGet
from tallystick.server.serving.headers import SecurityHeaders
from tallystick.server.serving.languages import AskedLanguage
from tallystick.server.serving.limits import BodyLimit
from tallystick.server.serving.notify import tell, tell_stopping
from tallystick.server.serving.queue import SignInQueue
from tallystick.server.serving.quick import QuickChecks
from tallystick.server.serving.request_log import RequestLog, RequestLogFile
from tallystick.server.serving.whole import WholeForm
from tallystick.server.settings import Settings
from tallystick.server.state import open_state
from tallystick.server.store import trouble
from tallystick.server.store.database import is_away
from tallystick.server.store.keys import BoxError
from tallystick.server.wording.worded import worded

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig

    from tallystick.server.serving.tracing import Traces

log = logging.getLogger(__name__)

# FastAPI's own OpenTelemetry would send queries and the texts of errors, whenever a variable of the
# environment or a library asks for it. What we send is in `serving.tracing`.
NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")


def create_app(settings: Settings) -> FastAPI:
    """The server for these settings. Its parts open with the ASGI lifespan."""
    requests = RequestLogFile(settings.request_log) if settings.request_log is not None else None
    traces = _traces(settings.traces) if settings.traces else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        server = app.state.server = open_state(settings)
        if traces is not None:
            traces.watch(server.database)
        reminder = Reminder(
            server.database,
            server.ring,
            settings.clock,
            server.outbox.wake,
            background=settings.background,
        )
        rounds = Rounds(server, background=settings.background)
        tell("READY=1")
        try:
            yield
        finally:
            tell_stopping()
            rounds.close()
            reminder.close()
            server.close()
            if requests is not None:
                requests.close()
            if traces is not None:
                traces.close()

    app = FastAPI(
        title="Tallystick server",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        telemetry=NO_TELEMETRY,
        routes=_routes(),
    )
    for problem, answer in portal.REDIRECTIONS.items():
        app.add_exception_handler(problem, answer)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(BoxError, _box_error)
    app.add_exception_handler(DBAPIError, _database_error)
    app.add_exception_handler(OverflowError, _unusable)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _internal_error)
    app.add_middleware(SignInQueue)
    app.add_middleware(WholeForm)
    app.add_middleware(BodyLimit)
    app.add_middleware(AnswerTime)
    app.add_middleware(AskedLanguage)
    app.add_middleware(QuickChecks, refuse=_api_error)
    app.add_middleware(SecurityHeaders, https=settings.public_url.startswith("https:"))
    app.add_middleware(HeadAsGet)
    if requests is not None:
        app.add_middleware(RequestLog, file=requests)
    if traces is not None:
        from tallystick.server.serving.tracing import RequestTraces  # noqa: PLC0415

        app.add_middleware(RequestTraces, traces=traces)
    app.add_middleware(ClientAddress, trusted=networks(settings.trusted_proxies))
    return app


def _traces(collector: str) -> Traces:
    try:
        from tallystick.server.serving.tracing import Traces  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise BadInputError(
            f"Traces need {error.name}, which is not installed.",
            kept="The server did not start.",
            todo="pip install 'tallystick[tracing]', or take TALLY_SERVER_TRACES away.",
        ) from None
    return Traces(collector)


@cache
def _routes() -> list[BaseRoute]:
    """Everything that is answered, once a process: what a route takes and gives is worked out for
    all servers in it together."""
    root = APIRouter()
    # Routes are tried in order: the one that must be fast comes first.
    for module in (
        verify, system, desk, imports, cards, keys, people, faces, credentials, tickets, scim,
        serials,
    ):  # fmt: skip
        root.include_router(module.router, responses=ERROR_ANSWERS)
    portal.install(root)
    return root.routes


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    incidents.note_refused(error)
    if wants_page(request):
        return error_page(request, error)
    return JSONResponse(error.body(), status_code=error.status, headers=error.headers())


async def _box_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, BoxError)
    unreadable = ApiError(500, "unreadable", error.what, kept=error.kept, todo=error.todo)
    if wants_page(request):
        return error_page(request, unreadable)
    return JSONResponse(unreadable.body(), status_code=500)


async def _database_error(request: Request, error: Exception) -> Response:
    """The database has gone away, or is busy: that is no fault of the request's."""
    assert isinstance(error, DBAPIError)
    if isinstance(error, DataError):
        return await _unusable(request, error)
    if not is_away(error) and trouble.trouble_of(error) is trouble.DatabaseTrouble.AWAY:
        return await _internal_error(request, error)
    return await _api_error(request, trouble.refusal(trouble.told(error)))


async def _unusable(request: Request, error: Exception) -> Response:
    """A number that no column holds, or a NUL in a text: no such thing is stored."""
    answer = ApiError(
        422,
        "invalid-request",
        "The request has a number that is too large, or a character that is not text.",
        kept=NOTHING_CHANGED,
        todo="Correct it and send it again.",
    )
    if wants_page(request):
        return error_page(request, answer)
    return JSONResponse(answer.body(), status_code=422)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Names of fields and rules only: the values may be codes.
    problems = "; ".join(f"{_field(problem)}: {problem['msg']}" for problem in error.errors())
    answer = ApiError(
        422,
        "invalid-request",
        worded("The request is not valid: {problems}.", problems=problems),
        kept=NOTHING_CHANGED,
        todo="See /v1/openapi.json for what this call takes.",
    )
    if wants_page(request):
        return error_page(request, answer)
    return JSONResponse(answer.body(), status_code=422)


def _field(problem: dict[str, Any]) -> str:
    return ".".join(str(part) for part in problem["loc"] if part != "body") or "body"


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    answer = ApiError(error.status_code, code, str(error.detail), kept=NOTHING_CHANGED)
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["allow"] = ", ".join(_methods(request))
    if wants_page(request):
        return error_page(request, answer, headers)
    return JSONResponse(answer.body(), status_code=error.status_code, headers=headers)


def _methods(request: Request) -> list[str]:
    """What may be done with a path: each method has a route of its own, and the error names the
    first one's only (RFC 9110 10.2.1 wants them all)."""
    answered = {
        method
        for method in METHODS
        if any(
            route.matches(dict(request.scope, method=method))[0] is Match.FULL
            for route in request.app.routes
        )
    }
    return sorted(answered | ({"HEAD"} if "GET" in answered else set()))


class _NoAnswer(Response):
    """To whoever has gone away: nothing is sent."""

    async def __call__(self, _scope: Scope, _receive: Receive, _send: Send) -> None:
        return


async def _gone(_request: Request, _error: Exception) -> Response:
    """The client went away while it sent something: that is no fault of ours."""
    return _NoAnswer()


async def _internal_error(request: Request, error: Exception) -> Response:
    log.error("unexpected %s", type(error).__name__)
    answer = ApiError(
        500, "internal", "The request failed inside the server.", todo="See the server's log."
    )
    if wants_page(request):
        return error_page(request, answer)
    return JSONResponse(answer.body(), status_code=500)
