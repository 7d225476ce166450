"""Cards of other makers: an administrator imports their PSKC containers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from tallystick.common.secret import Secret
from tallystick.server.api.access import AState
from tallystick.server.api.cards import Admin, RegisteredCard
from tallystick.server.stock import cards
from tallystick.server.stock.containers import Container, Opening, Weakness, refuse
from tallystick.server.stock.intake import read_entries

router = APIRouter(prefix="/v1/cards", tags=["cards"])


class ImportRequest(BaseModel):
    """container: the XML. psk: the key that it is encrypted under, in hex; or passphrase.
    certificate: PEM, of whoever must have signed it. takes: weaknesses to put up with."""

    model_config = ConfigDict(extra="forbid")
    container: str
    psk: Annotated[SecretStr | None, Field(min_length=16, max_length=128)] = None
    passphrase: Annotated[SecretStr | None, Field(min_length=1, max_length=1024)] = None
    certificate: Annotated[str, Field(max_length=20_000)] = ""
    takes: frozenset[Weakness] = frozenset()


class Import(BaseModel):
    """signature: none, verified, or not-checked (no certificate was given to check it by)."""

    cards: list[RegisteredCard]
    signature: str


@router.post("/import", status_code=201)
def import_cards(body: ImportRequest, response: Response, state: AState, caller: Admin) -> Import:
    """Register every card of a PSKC container, HOTP or TOTP, or none. 200 instead of 201 when all
    were registered before."""
    opening = Opening(
        psk=_key(body.psk.get_secret_value()) if body.psk else None,
        passphrase=Secret(body.passphrase.get_secret_value().encode()) if body.passphrase else None,
        certificate=body.certificate,
        takes=body.takes,
    )
    container = Container(body.container.encode(), opening)
    entries = read_entries(container, state.now())
    for secret in (opening.psk, opening.passphrase):
        if secret is not None:
            secret.wipe()
    with state.database.write() as connection:
        answers = cards.register(connection, state.ring, caller, entries, state.now())
    for entry in entries:
        entry.seed.wipe()
    if all(answer["status"] == cards.ALREADY_REGISTERED for answer in answers):
        response.status_code = 200
    return Import(
        cards=[RegisteredCard(**answer) for answer in answers], signature=container.signature
    )


def _key(text: str) -> Secret:
    try:
        return Secret(bytes.fromhex(text))
    except ValueError:
        refuse("bad-key", "The key is not written in hexadecimal digits.", todo="Correct the key.")
