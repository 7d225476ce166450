"""An answer in lines of JSON (application/x-ndjson): how far it is, and at last what became of it.

A long work is done in a thread of its own. The client is told of it as it goes on; where the
client has gone away, the work ends before it has changed anything.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import DBAPIError

from tallystick.common import moments
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.store import trouble
from tallystick.server.store.keys import BoxError
from tallystick.server.uploads import UploadedForm

OFTEN_S = 0.2
ALIVE_S = 10.0  # so that no proxy between takes the server for dead
AT_ONCE = 500  # lines of a result

Tell = Callable[[str, int, int], None]
AnswerLine = dict[str, Any]
log = logging.getLogger(__name__)


LINES: dict[int | str, dict[str, Any]] = {200: {"content": {"application/x-ndjson": {}}}}
M = TypeVar("M", bound=BaseModel)


def form_of(options: type[BaseModel]) -> dict[str, Any]:
    """What the API's description says of a form of `options` and `file`."""
    schema = {
        "type": "object",
        "required": ["file"],
        "properties": {
            "options": options.model_json_schema(),
            "file": {"type": "string", "format": "binary"},
        },
    }
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


def options_of(form: UploadedForm, options: type[M]) -> M:
    """Raises ApiError (422); what was typed is not in it."""
    try:
        return options.model_validate_json(form.fields.get("options") or "{}")
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in one['loc']) or 'options'}: {one['msg']}"
            for one in error.errors(include_input=False, include_context=False)
        )
        raise ApiError(
            422,
            "invalid-request",
            f"The form's options are not valid: {problems}.",
            kept=NOTHING_CHANGED,
            todo="See /v1/openapi.json for what this call takes.",
        ) from None


class BrokenOffError(Exception):
    """Whoever asked has gone."""


class _Told:
    """Between the thread that works and the loop that answers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._last = 0.0
        # And whether they are the last: no sign of life comes after these.
        self.lines: asyncio.Queue[tuple[list[AnswerLine], bool]] = asyncio.Queue(4)
        self.gone = threading.Event()

    def tell(self, doing: str, done: int, of: int) -> None:
        """Raises BrokenOffError."""
        if self.gone.is_set():
            raise BrokenOffError
        if moments.steady() - self._last >= OFTEN_S:
            self._last = moments.steady()
            self.put([{"progress": {"doing": doing, "done": done, "of": of or None}}])

    def put(self, lines: list[AnswerLine], *, last: bool = False) -> None:
        """Waits where the client takes lines slowly. Raises BrokenOffError."""
        waiting = asyncio.run_coroutine_threadsafe(self.lines.put((lines, last)), self._loop)
        while not self.gone.is_set():
            try:
                waiting.result(OFTEN_S)
            except TimeoutError:
                continue
            return
        waiting.cancel()
        raise BrokenOffError

    def work(self, work: Callable[[Tell], Iterator[AnswerLine]]) -> None:
        try:
            self._work(work)
        except BrokenOffError:
            log.info("whoever asked has gone before the end")

    def _work(self, work: Callable[[Tell], Iterator[AnswerLine]]) -> None:
        lines: list[AnswerLine] = []
        try:
            for line in work(self.tell):
                lines.append(line)
                if len(lines) >= AT_ONCE:
                    self.put(lines)
                    lines = []
        except BrokenOffError:
            raise
        except Exception as error:
            refused = _in_words(error)
            lines = [refused.body() | {"status": refused.status}]
        self.put(lines, last=True)


def in_lines(work: Callable[[Tell], Iterator[AnswerLine]]) -> StreamingResponse:
    """work: tells how far it is, and gives the lines of its result. The last line has `result`, or
    `error` and the `status` that it would have been alone."""
    return StreamingResponse(
        _lines(work),
        media_type="application/x-ndjson",
        headers={"x-accel-buffering": "no"},  # nginx hands each line on at once
    )


async def _lines(work: Callable[[Tell], Iterator[AnswerLine]]) -> AsyncIterator[str]:
    told = _Told(asyncio.get_running_loop())
    working = asyncio.ensure_future(run_in_threadpool(told.work, work))
    try:
        sign: list[AnswerLine] = [{"progress": {"doing": "read", "done": 0, "of": None}}]
        over = False
        while not over:
            try:
                async with asyncio.timeout(ALIVE_S):
                    lines, over = await told.lines.get()
            except TimeoutError:
                lines = sign
            if lines and "progress" in lines[-1]:
                sign = lines[-1:]
            yield "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    finally:
        told.gone.set()
        working.add_done_callback(lambda done: done.cancelled() or done.exception())


def _in_words(error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, BoxError):
        return ApiError(500, "unreadable", error.what, kept=error.kept, todo=error.todo)
    if isinstance(error, DBAPIError):
        return trouble.refusal(trouble.told(error))
    log.error("unexpected %s", type(error).__name__)
    return ApiError(
        500, "internal", "The request failed inside the server.", kept=NOTHING_CHANGED,
        todo="See the server's log.",
    )  # fmt: skip
