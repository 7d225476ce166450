"""Security keys (FIDO2) that a station enrols for people. As a card that a station assigns, a key
is a second factor for somebody whose rights the station covers; a password is asked for besides,
also where policy lets keys alone, until its holder has shown it together with his."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from tallystick.common import chance
from tallystick.server.accounts import firms, people
from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.accounts.firms import KnownFirm
from tallystick.server.accounts.people import KnownPerson
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.api.access import AState, only
from tallystick.server.api.cards import Login
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.loans import holding
from tallystick.server.messages import notices
from tallystick.server.methods import METHODS
from tallystick.server.methods.base import Context
from tallystick.server.methods.webauthn import NEW
from tallystick.server.rules.judge import Verdict
from tallystick.server.signing_in import second
from tallystick.server.signing_in.words import refusal
from tallystick.server.state import ServerState
from tallystick.server.store import rates
from tallystick.server.store.audit import Act, record
from tallystick.server.wording.worded import worded

router = APIRouter(prefix="/v1/keys", tags=["security keys"])

LIFE_S = 600  # a person has to touch the key
StationOrAdmin = Annotated[Caller, Depends(only(Role.STATION, Role.ADMIN))]


class KeyOptionsRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    user: Login


class SecurityKeyOptions(BaseModel):
    """options: PublicKeyCredentialCreationOptions as JSON. origin: to be in the client data. nonce,
    until: come back with the answer."""

    options: dict[str, Any]
    origin: str
    nonce: str
    until: int


class KeyRegistration(BaseModel):
    """serial: the number printed on the key, or what it is known by. response: the answer of the
    authenticator, as a browser would send it."""

    model_config = ConfigDict(extra="forbid")
    user: Login
    serial: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    until: int
    response: dict[str, Any]


class KeyView(BaseModel):
    user: str
    serial: str


@router.post("/options")
def options(body: KeyOptionsRequest, state: AState, caller: StationOrAdmin) -> SecurityKeyOptions:
    """What to ask a key for. Nothing is stored: the challenge is made anew from the nonce."""
    from tallystick.server.methods import fido  # noqa: PLC0415 - a server's start does not wait

    until, nonce = int(state.now()) + LIFE_S, chance.token_hex(16)
    with state.database.read() as connection:
        firm, person = _whose(connection, caller, body.user)
        context = _context(state, connection, caller, firm, person, nonce, until)
        method = METHODS[MethodKind.WEBAUTHN]
        started = method.start(context, second.as_person(person), {})
    return SecurityKeyOptions(
        options=json.loads(started.show["options"]),
        origin=fido.origin(state.public_url),
        nonce=nonce,
        until=until,
    )


@router.post("")
def register(body: KeyRegistration, state: AState, caller: StationOrAdmin) -> KeyView:
    """Enrol a key for somebody. Its challenge serves once."""

    def work(connection: Connection) -> tuple[KnownPerson, Verdict]:
        firm, person = _whose(connection, caller, body.user)
        now = state.now()
        fresh = int(now) < body.until <= int(now) + LIFE_S
        if not fresh or not rates.once(connection, f"key-for|{body.nonce}", until=body.until):
            raise ApiError(
                409, "challenge-over", "This challenge is over, or was used.",
                kept=NOTHING_CHANGED, todo="Ask for new options, and the key once more.",
            )  # fmt: skip
        context = _context(state, connection, caller, firm, person, body.nonce, body.until)
        form = {"response": json.dumps(body.response), "label": f"Key {body.serial}"[:64]}
        method = METHODS[MethodKind.WEBAUTHN]
        verdict = method.finish(context, second.as_person(person), NEW, form)
        if verdict.accepted:
            detail = {"kind": MethodKind.WEBAUTHN.value, "serial": body.serial}
            act = Act(int(now * 1000), firm.id, caller.id, "method-enrolled", person.login, detail)
            record(connection, state.ring, [act])
            notices.notify(
                connection, state.ring, firm=firm.name, policy=firm.policy, person=person,
                what=worded(
                    "the security key {serial} was added by {name}",
                    serial=body.serial, name=caller.name,
                ),
                now=now,
            )  # fmt: skip
        return person, verdict

    person, verdict = state.database.run(work)
    if not verdict.accepted:
        raise refusal(verdict)
    state.outbox.wake()
    return KeyView(user=person.login, serial=body.serial)


def _whose(connection: Connection, caller: Caller, login: str) -> tuple[KnownFirm, KnownPerson]:
    """Raises ApiError: 403 where the firm uses no keys, and for somebody with more rights; 404; 409
    for a disabled account."""
    firm = firms.by_id(connection, caller.firm_id)
    if MethodKind.WEBAUTHN not in firm.policy.methods:
        raise ApiError(
            403, "method-not-allowed", "This firm uses no security keys.", kept=NOTHING_CHANGED,
            todo="Have an administrator allow them in the firm's policy.",
        )  # fmt: skip
    person = people.meant(connection, firm.id, login)
    if person.disabled:
        raise ApiError(
            409, "user-disabled", f"The account of {login} is disabled.", kept=NOTHING_CHANGED,
            todo="An administrator may enable it again.",
        )  # fmt: skip
    holding.must_cover(caller, person)
    return firm, person


def _context(
    state: ServerState,
    connection: Connection,
    caller: Caller,
    firm: KnownFirm,
    person: KnownPerson,
    nonce: str,
    until: int,
) -> Context:
    """The challenge is bound to whoever asks, to whom it is for, and until when."""
    bound = f"{caller.id}|{person.id}|{until}|{nonce}".encode()
    challenge = state.ring.tag("key-for", bound)
    context = second.context_of(
        state, connection, firm.id, firm.display_name, firm.policy, "", challenge=challenge
    )
    return replace(context, handed=True)
