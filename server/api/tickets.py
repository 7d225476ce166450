"""Job tickets of stations, certificates of cards, and the account of a job."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from tallystick.common import signed
from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.api.access import AState, only
from tallystick.server.stock import tickets

router = APIRouter(prefix="/v1/tickets", tags=["tickets"])

Station = Annotated[Caller, Depends(only(Role.STATION))]
Anybody = Annotated[Caller, Depends(only(*Role))]
TicketId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]
Serial = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
_Text = Annotated[str, Field(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Serials = Annotated[list[_Text], Field(max_length=10_000)]


class TicketView(BaseModel):
    id: str
    cards: int
    used: int
    digits: int
    expires_at: int
    ended: bool


class Facts(BaseModel):
    """What a certificate says of a card besides who it is. img: SHA-256 of its image, hex; fw:
    version and board; kv: version of its keys; st: what was tested."""

    model_config = ConfigDict(extra="forbid")
    img: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
    fw: _Text
    kv: Annotated[int, Field(ge=1, le=0x7F)]
    st: _Text


class NotMade(BaseModel):
    """What a station says of a job's cards that were not made."""

    model_config = ConfigDict(extra="forbid")
    failed: _Serials = []
    wiped: _Serials = []
    unfinished: _Serials = []


class Statement(BaseModel):
    jws: str


@router.post("")
def present(body: dict[str, Any], state: AState, caller: Station) -> TicketView:
    """Show a ticket that two of the firm's signers have signed. Shown again, it is the same one."""
    with state.database.write() as connection:
        return TicketView(**tickets.present(connection, state.ring, caller, body, state.now()))


@router.get("/key")
def key(state: AState, caller: Anybody) -> dict[str, str]:
    """The public key that the firm's certificates and accounts are checked with (RFC 8037)."""
    public = signed.public_of(tickets.certificate_key(state.ring, caller.firm_id))
    return signed.to_jwk(public) | {"kid": signed.key_id(public)}


@router.put("/{ticket_id}/cards/{serial}/certificate")
def certify(
    ticket_id: TicketId, serial: Serial, body: Facts, state: AState, caller: Station
) -> Statement:
    """The certificate of a card that this station registered on the ticket."""
    with state.database.write() as connection:
        return Statement(
            jws=tickets.certify(
                connection, state.ring, caller, ticket_id, serial, body.model_dump(), state.now()
            )
        )


@router.post("/{ticket_id}/account")
def end(ticket_id: TicketId, body: NotMade, state: AState, caller: Station) -> Statement:
    """End the job; its account is the same however often it is asked for."""
    with state.database.write() as connection:
        return Statement(
            jws=tickets.end(
                connection, state.ring, caller, ticket_id, body.model_dump(), state.now()
            )
        )
