"""No request is waited for without end: an answer begins within a while (plain ASGI).

What is under way in a thread cannot be broken off. It ends by its own bounds (locks of the
database, the time that PostgreSQL is given, the queue of passwords); the client does not wait for
it, and is told so.
"""

from __future__ import annotations

import asyncio
import logging

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tallystick.common import moments
from tallystick.server.errors import ApiError, database_away
from tallystick.server.portal.errors import error_page, wants_page
from tallystick.server.serving.protocol import BODY_S
from tallystick.server.serving.queue import LONGEST_WAIT_S
from tallystick.server.serving.streamed import is_streamed

ANSWER_S = LONGEST_WAIT_S + 30.0
STALLED_S = 4.0  # then nobody waits any longer for a database that does not answer
LOOK_S = 0.25
CHECKS = ("/v1/verify", "/v1/resynchronise")  # bounded where they are judged (`checking.group`)

log = logging.getLogger(__name__)


class AnswerTime:
    """ANSWER_S from when the request is there; one with a body has BODY_S to come. A file of any
    size takes its time: whoever sent it is told how far it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in CHECKS or is_streamed(scope["path"]):
            await self._app(scope, receive, send)
            return
        begun = late = False

        async def in_time(message: Message) -> None:
            nonlocal begun
            if not late:
                begun = True
                await send(message)

        work = asyncio.ensure_future(self._app(scope, receive, in_time))
        try:
            stalled = await _wait(work, scope)
        except asyncio.CancelledError:
            work.cancel()
            raise
        if work.done() or begun:
            await work
            return
        late = True
        work.add_done_callback(_note_how_it_ended)
        log.warning("an answer took longer than %.0f s", STALLED_S if stalled else ANSWER_S)
        request = Request(scope)
        error = database_away() if stalled else _too_slow()
        answer = (
            error_page(request, error)
            if wants_page(request)
            else JSONResponse(error.body(), status_code=error.status, headers=error.headers())
        )
        await answer(scope, receive, send)


async def _wait(work: asyncio.Future[None], scope: Scope) -> bool:
    """Until it is done, or its time is over. → whether that is because the database stalls"""
    began = moments.steady()
    await asyncio.wait({work}, timeout=STALLED_S)
    stalls = scope["app"].state.server.database.stalls
    while not work.done() and moments.steady() - began < _limit_s(scope):
        if stalls():
            return True
        await asyncio.wait({work}, timeout=LOOK_S)
    return False


def _limit_s(scope: Scope) -> float:
    with_body = any(
        name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"]
    )
    return ANSWER_S + BODY_S if with_body else ANSWER_S


def _note_how_it_ended(work: asyncio.Future[None]) -> None:
    if not work.cancelled() and (error := work.exception()) is not None:
        log.warning("what was not waited for failed: %s", type(error).__name__)


def _too_slow() -> ApiError:
    return ApiError(
        503,
        "too-slow",
        "The server did not get it done in time.",
        kept="What the request asked for is done wholly or not at all, perhaps later.",
        todo="Look at what is there now, and try again in a moment.",
        retry_after_s=30,
    )
