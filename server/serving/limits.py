"""No request body larger than its call can use is read into memory (plain ASGI)."""

from __future__ import annotations

import re

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.serving.streamed import is_streamed
from tallystick.server.wording.worded import worded

BODY_LIMIT = 128 * 1024
IMPORT_LIMIT = 6 * 1024 * 1024  # a container of 4 MiB in JSON
LIMITS = {
    "/v1/cards/import": IMPORT_LIMIT,
    "/v1/people/import": IMPORT_LIMIT,
    "/v1/firm/face/logo": IMPORT_LIMIT,
}
# A logo; a directory's group with all who are in it.
UPLOADS = re.compile(r"/p/[^/]+/face|/scim/v2/.*")
CONTAINERS = "/v1/cards"  # has a limit of its own, and reads as it goes


class BodyTooLargeError(ApiError):
    """413."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            413,
            "body-too-large",
            worded("The body is larger than {limit} KiB.", limit=limit // 1024),
            kept=NOTHING_CHANGED,
            todo="Send less.",
        )


class BodyLimit:
    """Refuses by the declared length, and stops reading where none was declared."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _reads_as_it_goes(scope["path"]):
            await self._app(scope, receive, send)
            return
        limit = LIMITS.get(scope["path"], BODY_LIMIT)
        if UPLOADS.fullmatch(scope["path"]):
            limit = IMPORT_LIMIT
        declared = next((v for k, v in scope["headers"] if k == b"content-length"), b"0")
        if declared.isdigit() and int(declared) > limit:
            error = BodyTooLargeError(limit)
            await JSONResponse(error.body(), status_code=error.status)(scope, receive, send)
            return
        read = 0

        async def limited() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise BodyTooLargeError(limit)
            return message

        await self._app(scope, limited, send)


def _reads_as_it_goes(path: str) -> bool:
    return path == CONTAINERS or is_streamed(path)
