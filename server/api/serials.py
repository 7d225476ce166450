"""Serial numbers that several stations share."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.api.access import AState, only
from tallystick.server.stock import serials

router = APIRouter(prefix="/v1/serials", tags=["serials"])

Station = Annotated[Caller, Depends(only(Role.STATION))]


class Reservation(BaseModel):
    """request: the station's own name for this asking; the same name gets the same numbers. first:
    the range's form, and the lowest that may be given."""

    model_config = ConfigDict(extra="forbid")
    request: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    first: Annotated[str, Field(pattern=r"^[0-9A-Z]{9}[0-9]$")]
    count: Annotated[int, Field(ge=1, le=serials.MOST)]


class Reserved(BaseModel):
    first: str
    count: int


@router.post("")
def reserve(body: Reservation, state: AState, caller: Station) -> Reserved:
    """Give the next numbers of a range to this station, for ever: no other gets them."""
    with state.database.write() as connection:
        given = serials.reserve(
            connection, state.ring, caller, body.request, body.first, body.count, state.now()
        )
        return Reserved(**given)
