"""Who is asking, behind the proxies that settings name (plain ASGI)."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from tallystick.server.accounts import incidents
from tallystick.server.rules.addresses import Network, client_of, plainly
from tallystick.server.store.database import StaleError
from tallystick.server.store.origin import Origin, came_from

log = logging.getLogger(__name__)

PORTAL = re.compile(r"/p/([^/]+)/")


class ClientAddress:
    """Puts the client's address where everything looks for it, and into the audit log's entries."""

    def __init__(self, app: ASGIApp, trusted: Sequence[Network] = ()) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        peer, port = scope.get("client") or ("", 0)
        peer = plainly(peer)
        if self._trusted:
            peer = client_of(
                peer,
                self._trusted,
                forwarded_for=_lines(scope, b"x-forwarded-for"),
                forwarded=_lines(scope, b"forwarded"),
            )
        scope["client"] = (peer, port)
        browser = next((v for k, v in scope["headers"] if k == b"user-agent"), b"")
        with came_from(peer, browser.decode("latin-1")) as origin:
            try:
                await self._app(scope, receive, send)
            finally:
                if origin.incidents:
                    await run_in_threadpool(_write, scope, origin)


def _write(scope: Scope, origin: Origin) -> None:
    state = scope["app"].state.server
    in_portal = PORTAL.match(scope["path"])
    firm = in_portal.group(1) if in_portal else None
    try:
        incidents.write(state.database, state.ring, origin, firm, state.now())
    except (DBAPIError, StaleError) as error:
        log.warning("a refusal is not in the audit log: %s", type(error).__name__)


def _lines(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]
