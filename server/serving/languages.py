"""The language that a browser asks for, told to whatever answers the request (plain ASGI)."""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie

from starlette.types import ASGIApp, Receive, Scope, Send

from tallystick.server.portal.web import LANGUAGE, SERVICE_LANGUAGE
from tallystick.server.wording.languages import Language, asked_for, in_language, spoken


class AskedLanguage:
    """By the choice that it keeps of an earlier page, by what the service that sent it here
    asks for, or by its Accept-Language."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with in_language(_asked(scope)):
            await self._app(scope, receive, send)


def _asked(scope: Scope) -> Language | None:
    headers = dict(scope["headers"])
    cookies: SimpleCookie = SimpleCookie()
    try:
        cookies.load(headers.get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        cookies.clear()
    for name in (LANGUAGE, SERVICE_LANGUAGE):
        kept = cookies.get(name)
        chosen = spoken(kept.value) if kept else None
        if chosen is not None:
            return chosen
    return asked_for(headers.get(b"accept-language", b"").decode("latin-1"))
