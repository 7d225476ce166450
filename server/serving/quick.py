"""Checks of codes without a detour (plain ASGI).

What a check needs of the framework is little, and what the framework does for each request (find
the route, work out its parameters, one layer around another) costs more than that. A whole JSON
body of the right form is read here and judged straight away. Whatever is not exactly that goes the
usual way, as if nobody had looked at it, and gets its answers.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tallystick.server.api.access import hash_of_bearer
from tallystick.server.api.verify import KEY_PATTERN, ROUTES, answer_to, check_of
from tallystick.server.checking.verification import CodeCheck
from tallystick.server.errors import ApiError
from tallystick.server.serving.limits import BODY_LIMIT

JSON = b"application/json"
_KEY = re.compile(KEY_PATTERN)
_WANTED = (b"content-type", b"content-length", b"authorization", b"idempotency-key")

Refusal = Callable[[Request, Exception], Awaitable[Response]]


class QuickChecks:
    """refuse: the answer to an ApiError, as the application gives it."""

    def __init__(self, app: ASGIApp, refuse: Refusal) -> None:
        self._app = app
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["method"] != "POST"
            or scope["path"] not in ROUTES
            or (head := _head(scope)) is None
        ):
            await self._app(scope, receive, send)
            return
        messages = [await receive()]
        while messages[-1].get("more_body", False):
            messages.append(await receive())
        # A body whose rest does not come any more is none, whatever it says by then.
        whole = all(message["type"] == "http.request" for message in messages)
        body = b"".join(message.get("body", b"") for message in messages)
        check = _check(scope["path"], body, *head) if whole else None
        if check is None:
            await self._app(scope, _again(messages, receive), send)
            return
        scope["route"] = ROUTES[scope["path"]].route  # for the request log, and traces
        answer = await self._answer(scope, check)
        await answer(scope, receive, send)

    async def _answer(self, scope: Scope, check: CodeCheck) -> Response:
        try:
            return answer_to(await scope["app"].state.server.group.check(check))
        except ApiError as error:
            return await self._refuse(Request(scope), error)


def _head(scope: Scope) -> tuple[bytes, str] | None:
    """→ hash of the bearer token, name of the check; None where something is unusual"""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in _WANTED:
            if name in found:
                return None
            found[name] = value
    length = found.get(b"content-length", b"")
    if found.get(b"content-type") != JSON or not length.isdigit() or int(length) > BODY_LIMIT:
        return None
    key = found.get(b"idempotency-key", b"").decode("latin-1")
    if b"idempotency-key" in found and not _KEY.fullmatch(key):
        return None
    try:
        return hash_of_bearer(found.get(b"authorization", b"").decode("latin-1")), key
    except ApiError:
        return None  # the usual way tells it


def _check(path: str, body: bytes, token: bytes, key: str) -> CodeCheck | None:
    try:
        asked = ROUTES[path].model.model_validate_json(body)
    except ValidationError:
        return None
    return check_of(asked, token, key)


def _again(messages: list[Message], receive: Receive) -> Receive:
    """What was received is received again, and then what comes after it."""
    left = iter(messages)

    async def again() -> Message:
        message = next(left, None)
        return await receive() if message is None else message

    return again
