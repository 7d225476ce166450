"""A form of the portal is there as a whole before anybody looks who sends it (plain ASGI): while
its last bytes are on their way, its sender may be signed out, or lose a right."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tallystick.server.errors import ApiError
from tallystick.server.portal.errors import PREFIX, error_page, wants_page
from tallystick.server.serving.limits import UPLOADS
from tallystick.server.serving.streamed import is_streamed


class WholeForm:
    """Receives what is short. Files are received by whoever takes them, who looks again then."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not _is_short(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            again = await _read(receive)
        except ApiError as error:
            await _refusal(Request(scope), error)(scope, receive, send)
            return
        await self._app(scope, again, send)


def _refusal(request: Request, error: ApiError) -> Response:
    if wants_page(request):
        return error_page(request, error)
    return JSONResponse(error.body(), status_code=error.status)


def _is_short(path: str) -> bool:
    return path.startswith(PREFIX) and not is_streamed(path) and not UPLOADS.fullmatch(path)


async def _read(receive: Receive) -> Receive:
    """The whole request, to be received again. Its length is limited further out."""
    messages: list[Message] = []
    while not messages or messages[-1].get("more_body", False):
        messages.append(await receive())

    async def again() -> Message:
        return messages.pop(0) if messages else await receive()

    return again
