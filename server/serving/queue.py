"""Requests that hash a password wait for their turn before they take a thread (plain ASGI).

Hashing is bounded where it is done (`accounts.hashing`). Here it is seen to that those who wait for
it do not hold all the threads that answer the other pages. Their forms are there as a whole by then
(`serving.whole`): who sends slowly holds nobody up.
"""

from __future__ import annotations

import asyncio
import re

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from tallystick.server.accounts.hashing import at_once, busy
from tallystick.server.portal.errors import error_page

HASHES = re.compile(r"/p/[^/]+/(sign-in|password|recover/reset|welcome/[^/]+)/?")
MOST_WAITING = 300
LONGEST_WAIT_S = 60.0


class SignInQueue:
    """As many at a time as can be hashed, and one that is read or answered meanwhile."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._turn = asyncio.Semaphore(at_once() + 1)
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["method"] != "POST"
            or not HASHES.fullmatch(scope["path"])
        ):
            await self._app(scope, receive, send)
            return
        if self._waiting >= MOST_WAITING or not await self._my_turn():
            await error_page(Request(scope), busy())(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._turn.release()

    async def _my_turn(self) -> bool:
        self._waiting += 1
        try:
            async with asyncio.timeout(LONGEST_WAIT_S):
                await self._turn.acquire()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
        return True
