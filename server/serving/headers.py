"""Response headers that every answer carries (plain ASGI: it costs microseconds)."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
# A year, for this name only: what else runs below it is not this server's to decide (RFC 6797).
ONLY_HTTPS = {"strict-transport-security": "max-age=31536000"}


class SecurityHeaders:
    """Sets each header that the route has not set itself. https: browsers reach the server only by
    that, and are told to keep to it."""

    def __init__(self, app: ASGIApp, *, https: bool = False) -> None:
        self._app = app
        headers = HEADERS | (ONLY_HTTPS if https else {})
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = message.get("headers", ())
                names = {name.lower() for name, _ in there}
                more = [header for header in self._headers if header[0] not in names]
                message = {**message, "headers": [*there, *more]}
            await send(message)

        await self._app(scope, receive, with_headers)
