"""Stands before every request and every web socket of the console.

Served is what a program of the same user sends to this computer's own name, from the console's own
page where it changes anything, and with a session, but for the sign-in page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from tallystick.provisioning.console.gate import Gate

COOKIE = "tally_console"
SIGN_IN = "/sign-in"
_SAFE = {"GET", "HEAD"}
_NAMES = ("127.0.0.1", "localhost")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
SameUser = Callable[[tuple[str, int] | None, tuple[str, int] | None], bool]

_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; "
        "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
}


class Guard:
    """ASGI. same_user: whether a program of the right user is at the other end."""

    def __init__(self, app: App, gate: Gate, port: int, same_user: SameUser) -> None:
        self._app = app
        self._gate = gate
        self._hosts = {f"{name}:{port}" for name in _NAMES}
        self._same_user = same_user

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        refusal = self._refusal(scope, headers)
        if refusal is None:
            await self._app(scope, receive, _with_headers(scope, send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _answer(send, *refusal)

    def _refusal(
        self, scope: Scope, headers: dict[str, str]
    ) -> tuple[int, str, dict[str, str]] | None:
        """Status, text and headers of a refusal, or None."""
        if not self._same_user(scope.get("client"), scope.get("server")):
            return 403, "Only the user who started the console may open it.", {}
        host = headers.get("host", "")
        hosts = [name for name, _ in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or host not in self._hosts:
            return 403, "The console answers to this computer's own name only.", {}
        harmless = scope["type"] == "http" and scope["method"] in _SAFE
        if not harmless and headers.get("origin") != f"http://{host}":
            return 403, "A page of another origin may not do this.", {}
        if scope["path"] == SIGN_IN or self._gate.session(token_in(headers)) is not None:
            return None
        if harmless and "text/html" in headers.get("accept", ""):
            return 303, "Sign in first.", {"location": SIGN_IN}
        return 401, "Sign in first.", {}


def token_in(headers: dict[str, str]) -> str | None:
    """The session token among the cookies."""
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return cookie.value if cookie is not None else None


def _with_headers(scope: Scope, send: Send) -> Send:
    # The library's own files carry its version in their path; everything else is of the moment.
    lasting = scope["path"].startswith("/_nicegui/")

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            added = _HEADERS if lasting else _HEADERS | {"cache-control": "no-store"}
            kept = [pair for pair in message["headers"] if pair[0].decode().lower() not in added]
            message["headers"] = kept + [(k.encode(), v.encode()) for k, v in added.items()]
        await send(message)

    return sending


async def _answer(send: Send, status: int, text: str, headers: dict[str, str]) -> None:
    body = f"{text}\n".encode()
    own = _HEADERS | headers | {"content-type": "text/plain; charset=utf-8"}
    own |= {"content-length": str(len(body)), "cache-control": "no-store"}
    start = {
        "type": "http.response.start",
        "status": status,
        "headers": [(name.encode(), value.encode()) for name, value in own.items()],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})
