"""HEAD wherever there is GET (RFC 9110 9.3.2), for monitors and proxies: the framework answers it
with 405 (plain ASGI)."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadAsGet:
    """The answer that GET would have, without its content."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_content(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        # What is around knows the method that was asked for: nothing follows the headers.
        got = dict(scope, method="GET")
        try:
            await self._app(got, receive, without_content)
        finally:
            if "route" in got:
                scope["route"] = got["route"]
