"""SCIM 2.0 (RFC 7644) at /scim/v2: a directory tells of a firm's people and groups."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from tallystick.server.accounts import incidents
from tallystick.server.accounts.credentials import Role
from tallystick.server.api.access import AState, only
from tallystick.server.errors import ApiError
from tallystick.server.state import ServerState

if TYPE_CHECKING:
    from scim2_server.service import ScimService

PREFIX = "/scim/v2"
_only_directories = only(Role.SCIM)
router = APIRouter(prefix=PREFIX)


@lru_cache(maxsize=1)
def _service() -> ScimService:
    """Made at the first request: its library takes a while to import."""
    from tallystick.server.joining import scim  # noqa: PLC0415

    return scim.service()


@router.api_route(
    "/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False
)
async def scim(path: str, request: Request, state: AState) -> Response:
    """Whatever the protocol has: the firm is the credential's."""
    body = await request.body()
    return await run_in_threadpool(_answer, state, request, path, body)


def _answer(state: ServerState, request: Request, path: str, body: bytes) -> Response:
    from scim2_models import SCIMException  # noqa: PLC0415
    from scim2_server.handler import ScimHandler  # noqa: PLC0415
    from scim2_server.requests import ScimRequest  # noqa: PLC0415

    from tallystick.server.joining.scim import PeopleStorage, as_scim  # noqa: PLC0415

    service = _service()
    try:
        caller = _only_directories(request)
        asked = ScimRequest(
            method=request.method,
            base_url=f"{state.public_url}{PREFIX}",
            path=f"/{path}",
            query=dict(request.query_params),
            headers=list(request.headers.items()),
            body=body,
            subject=caller,
        )
        answer = ScimHandler(service, PeopleStorage(state, caller)).handle(asked)
    except SCIMException as error:
        answer = service.error_response(error)
    except ApiError as error:
        incidents.note_refused(error)
        answer = service.error_response(as_scim(error))
        answer.headers |= error.headers()
    if answer.body is None:
        return Response(status_code=answer.status, headers=answer.headers)
    media_type = answer.headers.pop("Content-Type", "application/scim+json")
    return JSONResponse(
        answer.body, status_code=answer.status, headers=answer.headers, media_type=media_type
    )
