"""Cards of other makers: an administrator imports their token files."""

from __future__ import annotations

import base64
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from tallystick.common.secret import Secret
from tallystick.server.api.access import AState
from tallystick.server.api.cards import Admin
from tallystick.server.errors import EntryProblem
from tallystick.server.loans.importing import Intent, take_in
from tallystick.server.stock.containers import Opening
from tallystick.server.stock.gathering import IntakeWish
from tallystick.server.stock.refusing import Weakness, refuse
from tallystick.server.stock.seed_files import read_tokens

router = APIRouter(prefix="/v1/cards", tags=["cards"])


class ImportRequest(BaseModel):
    """container_base64: the file as it came; or container: its text. psk: the key that it is
    encrypted under, in hex; or passphrase. certificate: PEM, of whoever must have signed it. takes:
    weaknesses to put up with. skip_unusable: leave out what this server has no use for.
    rewrite_serials: characters that a serial number cannot have become hyphens. dry_run: say what
    would be done, and do nothing. assign: give each card to the user that the file names, if he is
    known here. new_users: make him known."""

    model_config = ConfigDict(extra="forbid")
    container: str = ""
    container_base64: str = ""
    psk: Annotated[SecretStr | None, Field(min_length=16, max_length=128)] = None
    passphrase: Annotated[SecretStr | None, Field(min_length=1, max_length=1024)] = None
    certificate: Annotated[str, Field(max_length=20_000)] = ""
    takes: frozenset[Weakness] = frozenset()
    skip_unusable: bool = False
    rewrite_serials: bool = False
    dry_run: bool = False
    assign: bool = True
    new_users: bool = False


class ImportedCard(BaseModel):
    """type: hotp or totp. algorithm: the hash. user: whom the file names. assigned: whether he has
    the card now."""

    serial: str
    status: str
    digits: int
    moving_factor: int
    type: str
    algorithm: str
    step_s: int
    user: str | None
    assigned: bool


class Import(BaseModel):
    """kind: what the file was recognised as. signature: none, verified, or not-checked (no
    certificate was given to check it by). left_out: entries that were not taken, and why."""

    cards: list[ImportedCard]
    signature: str
    kind: str
    left_out: list[EntryProblem]
    dry_run: bool


@router.post("/import", status_code=201)
def import_cards(body: ImportRequest, response: Response, state: AState, caller: Admin) -> Import:
    """Register every card of a token file, HOTP or TOTP, or none. 200 instead of 201 when nothing
    is new, or for a dry run."""
    opening = Opening(
        psk=_key(body.psk.get_secret_value()) if body.psk else None,
        passphrase=Secret(body.passphrase.get_secret_value().encode()) if body.passphrase else None,
        certificate=body.certificate,
        takes=body.takes,
    )
    wanted = IntakeWish(body.skip_unusable, body.rewrite_serials)
    taken = read_tokens(_content(body), opening, state.now(), wanted)
    for secret in (opening.psk, opening.passphrase):
        if secret is not None:
            secret.wipe()
    intent = Intent(
        dry_run=body.dry_run,
        skip=body.skip_unusable,
        assign=body.assign,
        new_users=body.new_users,
    )
    done = take_in(state.database, state.ring, caller, taken, intent, state.now())
    if body.dry_run or not done.new:
        response.status_code = 200
    return Import(
        cards=[ImportedCard(**card) for card in done.cards],
        signature=taken.signature,
        kind=taken.kind,
        left_out=done.left_out,
        dry_run=body.dry_run,
    )


def _content(body: ImportRequest) -> bytes:
    if bool(body.container) == bool(body.container_base64):
        refuse(
            "no-container",
            "The request has no container, or has it twice.",
            todo="Send container_base64, or container.",
        )
    if body.container:
        # A text has been decoded already: what its first line declares is not so any more.
        return b"\xef\xbb\xbf" + body.container.encode()
    try:
        return base64.b64decode(body.container_base64, validate=True)
    except ValueError:
        refuse("no-container", "container_base64 is not base 64.", todo="Encode the file's bytes.")


def _key(text: str) -> Secret:
    try:
        return Secret(bytes.fromhex(text))
    except ValueError:
        refuse("bad-key", "The key is not written in hexadecimal digits.", todo="Correct the key.")
