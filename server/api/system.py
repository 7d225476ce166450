"""Health, and who am I."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError

from tallystick import __version__
from tallystick.server import metrics
from tallystick.server.accounts import firms
from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.api.access import AState, only, token_hash
from tallystick.server.store import housekeeping, trouble

router = APIRouter(prefix="/v1", tags=["system"])
_may_watch = only(Role.MONITOR, Role.ADMIN)


class Health(BaseModel):
    status: str
    version: str


class Self(BaseModel):
    """firm, languages, time_zone: of the firm, for what a station prints and shows."""

    id: str
    role: Role
    name: str
    firm: str
    contact: str
    languages: list[str]
    time_zone: str


@router.get("/health")
def health(state: AState) -> Health:
    """Is the server up, and does its database take what is written?"""
    state.probe.check()
    return Health(status="ok", version=__version__)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics_text(request: Request, state: AState) -> Response:
    """Prometheus metrics of all workers. While the database does not answer, without its sizes, for
    whoever was allowed to read them within the last hour."""
    try:
        _may_watch(request)
        with state.database.read() as connection:
            rows, size = housekeeping.rows(connection), housekeeping.size_bytes(connection)
    except DBAPIError as error:
        if not state.monitors.knows(token_hash(request)):
            raise
        trouble.told(error)
        return Response(metrics.exposition(), media_type=metrics.CONTENT_TYPE)
    state.monitors.note(token_hash(request))
    return Response(metrics.exposition(rows, size), media_type=metrics.CONTENT_TYPE)


@router.get("/whoami")
def whoami(state: AState, caller: Annotated[Caller, Depends(only(*Role))]) -> Self:
    """The credential that this request carries, and whose it is."""
    with state.database.read() as connection:
        firm = firms.by_id(connection, caller.firm_id)
    return Self(
        id=caller.id,
        role=caller.role,
        name=caller.name,
        firm=firm.display_name,
        contact=firm.policy.desk_contact,
        languages=[one.value for one in firm.policy.languages],
        time_zone=firm.policy.time_zone,
    )
