"""Cards of other makers: an administrator imports their token files."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from tallystick.common.secret import Secret
from tallystick.server.accounts.credentials import Caller
from tallystick.server.api.access import AState
from tallystick.server.api.cards import Admin
from tallystick.server.api.streaming import LINES, AnswerLine, Tell, form_of, in_lines, options_of
from tallystick.server.errors import EntryProblem
from tallystick.server.loans.importing import Intent, TakenIn, take_in
from tallystick.server.state import ServerState
from tallystick.server.stock.gathered import Taken
from tallystick.server.stock.gathering import IntakeWish
from tallystick.server.stock.refusing import Weakness, refuse
from tallystick.server.store.sealed_file import SealedFile
from tallystick.server.uploads import received

if TYPE_CHECKING:
    from tallystick.server.stock.containers import Opening

router = APIRouter(prefix="/v1/cards", tags=["cards"])


class ImportOptions(BaseModel):
    """psk: the key that the file is encrypted under, in hex; or passphrase. certificate: PEM, of
    whoever must have signed it. takes: weaknesses to put up with. skip_unusable: leave out what
    this server has no use for. rewrite_serials: characters that a serial number cannot have become
    hyphens. dry_run: say what would be done, and do nothing. assign: give each card to the user
    that the file names, if he is known here. new_users: make him known."""

    model_config = ConfigDict(extra="forbid")
    psk: Annotated[SecretStr | None, Field(min_length=16, max_length=128)] = None
    passphrase: Annotated[SecretStr | None, Field(min_length=1, max_length=1024)] = None
    certificate: Annotated[str, Field(max_length=20_000)] = ""
    takes: frozenset[Weakness] = frozenset()
    skip_unusable: bool = False
    rewrite_serials: bool = False
    dry_run: bool = False
    assign: bool = True
    new_users: bool = False

    def opening(self) -> Opening:
        """Raises ApiError (422)."""
        from tallystick.server.stock.containers import Opening  # noqa: PLC0415 - as in `cards`

        return Opening(
            psk=_key(self.psk.get_secret_value()) if self.psk else None,
            passphrase=Secret(self.passphrase.get_secret_value().encode())
            if self.passphrase
            else None,
            certificate=self.certificate,
            takes=self.takes,
        )

    def intent(self) -> Intent:
        return Intent(
            dry_run=self.dry_run,
            skip=self.skip_unusable,
            assign=self.assign,
            new_users=self.new_users,
        )


class ImportRequest(ImportOptions):
    """container_base64: the file as it came; or container: its text."""

    container: str = ""
    container_base64: str = ""


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
    is new, or for a dry run. For a file of any size, see /v1/cards/imports."""
    taken, done = _import(state, caller, body, _content(body))
    if body.dry_run or not done.new:
        response.status_code = 200
    return Import(
        cards=[ImportedCard(**card) for card in done.cards],
        signature=taken.signature,
        kind=taken.kind,
        left_out=done.left_out,
        dry_run=body.dry_run,
    )


@router.post("/imports", openapi_extra=form_of(ImportOptions), responses=LINES)
async def import_file(request: Request, state: AState, caller: Admin) -> StreamingResponse:
    """The same for a file of any size, as a form: `options` (JSON) and `file`. The answer is lines
    of JSON: `progress`; a `card` for each; at last `result`, or `error` with its `status`."""
    form = await received(request)
    options = options_of(form, ImportOptions)
    file = form.file
    if file is None:
        refuse("no-container", "The form has no file, or an empty one.", todo="Send the file.")

    def work(tell: Tell) -> Iterator[AnswerLine]:
        with file:
            taken, done = _import(state, caller, options, file, tell)
        yield from ({"card": card} for card in done.cards)
        yield {
            "result": {
                "cards": done.staged.count(),
                "signature": taken.signature,
                "kind": taken.kind,
                "left_out": [one.model_dump() for one in done.left_out],
                "dry_run": options.dry_run,
                "new": done.new,
            }
        }

    return in_lines(work)


def _import(
    state: ServerState,
    caller: Caller,
    options: ImportOptions,
    content: bytes | SealedFile,
    tell: Tell = lambda *_: None,
) -> tuple[Taken, TakenIn]:
    from tallystick.server.stock.seed_files import read_tokens  # noqa: PLC0415 - as in `cards`

    opening = options.opening()
    wanted = IntakeWish(options.skip_unusable, options.rewrite_serials)
    taken = read_tokens(content, opening, state.now(), wanted, tell)
    for secret in (opening.psk, opening.passphrase):
        if secret is not None:
            secret.wipe()
    done = take_in(state.database, state.ring, caller, taken, options.intent(), state.now(), tell)
    return taken, done


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
