"""Cards: what stations register and assign."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from tallystick.server.accounts.credentials import Caller, Role, must_still_be, station_psk
from tallystick.server.api.access import AState, only
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.loans import holding, undo
from tallystick.server.loans.holding import CardStatus
from tallystick.server.state import ServerState
from tallystick.server.stock import cards

router = APIRouter(prefix="/v1/cards", tags=["cards"])

Station = Annotated[Caller, Depends(only(Role.STATION))]
Admin = Annotated[Caller, Depends(only(Role.ADMIN))]
StationOrAdmin = Annotated[Caller, Depends(only(Role.STATION, Role.ADMIN))]
DeskOrAdmin = Annotated[Caller, Depends(only(Role.DESK, Role.ADMIN))]
AnyOfThese = Annotated[Caller, Depends(only(Role.STATION, Role.DESK, Role.ADMIN))]
Serial = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Ticket = Annotated[str | None, Query(pattern=r"^[0-9a-f]{32}$")]
Login = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]


class RegisteredCard(BaseModel):
    serial: str
    status: str
    digits: int
    moving_factor: int


class Registration(BaseModel):
    cards: list[RegisteredCard]


class CardView(BaseModel):
    serial: str
    type: str
    status: str
    user: str | None
    loan_until: int | None
    overdue_user: str | None
    overdue_since: int | None
    registered_by: str
    registered_at: int
    digits: int
    moving_factor: int


class ActView(CardView):
    """skipped: presses of the card before the code given that the server had not seen.
    undo_until: until when whoever did it can undo it, seconds since 1970."""

    skipped: int = 0
    undo_until: int | None = None


class AssignmentRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    user: Login
    new_user: bool = False


class StatusRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    status: CardStatus


CONTAINER_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/pskc+xml": {"schema": {"type": "string"}}},
    }
}


@router.post("", status_code=201, openapi_extra=CONTAINER_BODY)
async def register(
    request: Request,
    response: Response,
    state: AState,
    caller: Station,
    ticket: Ticket = None,
) -> Registration:
    """Register every card of a PSKC container (AES-128-CBC under the station's pre-shared key,
    HMAC-SHA1 MAC), or none. 200 instead of 201 when all were registered before. ticket: the job's,
    which must have been presented."""
    container = await _body(request, state.settings.container_limit)
    answers = await run_in_threadpool(_register, state, caller, container, ticket)
    if all(answer["status"] == cards.ALREADY_REGISTERED for answer in answers):
        response.status_code = 200
    return Registration(cards=[RegisteredCard(**answer) for answer in answers])


def _register(
    state: ServerState, caller: Caller, container: bytes, ticket: str | None
) -> list[dict[str, Any]]:
    with state.database.read() as connection:
        psk = station_psk(connection, state.ring, caller.id)
    # Late: what reads a container takes 5 MB, and a server may never see one.
    from tallystick.server.stock.containers import Container, Opening  # noqa: PLC0415
    from tallystick.server.stock.intake import read_entries  # noqa: PLC0415

    entries = read_entries(Container(container, Opening(psk=psk, station=True)), state.now())
    psk.wipe()
    with state.database.write() as connection:
        must_still_be(connection, caller)
        answers = cards.register(
            connection, state.ring, caller, entries, state.now(), ticket=ticket
        )
    for entry in entries:
        entry.seed.wipe()
    return answers


async def _body(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise ApiError(
                413,
                "container-too-large",
                f"The container is larger than {limit // 1024} KiB.",
                kept="None of the container was registered.",
                todo="Split it.",
            )
    return bytes(body)


@router.get("/{serial}")
def show(serial: Serial, state: AState, caller: AnyOfThese) -> CardView:
    """One card. A station sees the cards that it registered."""
    with state.database.read() as connection:
        serial = cards.meant(connection, caller, serial)
        return CardView(**cards.describe(connection, caller, serial, state.now()))


@router.delete("/{serial}", status_code=204)
def remove(serial: Serial, state: AState, caller: StationOrAdmin) -> None:
    """Delete a card; its counter stays as a tombstone."""
    with state.database.write() as connection:
        serial = cards.meant(connection, caller, serial)
        cards.remove(connection, state.ring, caller, serial, state.now())


@router.put("/{serial}/assignment")
def assign(
    serial: Serial, body: AssignmentRequest, state: AState, caller: StationOrAdmin
) -> CardView:
    """Give an unassigned card to a user. new_user: make the user known if there is none of this
    name; without it, a name that is not known is refused."""
    with state.database.write() as connection:
        view = holding.assign(
            connection,
            state.ring,
            caller,
            cards.meant(connection, caller, serial),
            login=body.user,
            now=state.now(),
            new_user=body.new_user,
        )
    return CardView(**view)


@router.delete("/{serial}/assignment")
def take_back(serial: Serial, state: AState, caller: Admin) -> CardView:
    """End an assignment or a loan."""
    with state.database.write() as connection:
        serial = cards.meant(connection, caller, serial)
        view = holding.take_back(connection, state.ring, caller, serial, now=state.now())
    return CardView(**view)


@router.put("/{serial}/status")
def set_status(serial: Serial, body: StatusRequest, state: AState, caller: DeskOrAdmin) -> ActView:
    """Report a card lost, found again, or (administrators) retire it. Raises ApiError: 403 where
    a desk would retire it."""
    if body.status is CardStatus.RETIRED and caller.role is not Role.ADMIN:
        raise ApiError(
            403,
            "wrong-role",
            "A desk retires a card only with a code of it.",
            kept=NOTHING_CHANGED,
            todo="POST to the card's retirement.",
        )
    now, status = state.now(), body.status

    def work(connection: Connection) -> dict[str, Any]:
        act = "found" if status is CardStatus.REGISTERED else status.value
        known = cards.meant(connection, caller, serial)
        answer = undo.undoable(
            connection, caller, [known], act, now,
            lambda: holding.set_status(
                connection, state.ring, caller, known, status=status, now=now
            ),
        )  # fmt: skip
        assert not isinstance(answer, ApiError)
        return answer

    return ActView(**state.database.run(work))


@router.post("/{serial}/unlock", status_code=204)
def unlock(serial: Serial, state: AState, caller: Admin) -> None:
    """Lift a lock-out."""
    with state.database.write() as connection:
        serial = cards.meant(connection, caller, serial)
        holding.unlock(connection, state.ring, caller, serial, now=state.now())
