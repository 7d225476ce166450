"""People: what the pages of staff do, for scripts. What needs two colleagues who are signed in (a
recovery with the help desk) stays there: a credential is nobody."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from tallystick.server.accounts import firms, people, sessions
from tallystick.server.accounts.credentials import Caller
from tallystick.server.accounts.people import Keeper, KnownPerson
from tallystick.server.accounts.policy import MethodKind, PersonRole
from tallystick.server.accounts.rights import Right, rights_of, role_of
from tallystick.server.api.access import AState
from tallystick.server.api.cards import Admin, DeskOrAdmin, Login
from tallystick.server.api.streaming import LINES, AnswerLine, Tell, form_of, in_lines, options_of
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.joining import (
    bulk,
    helping,
    keeping,
    leaving,
    merging,
    people_files,
    reminding,
)
from tallystick.server.joining.bulk import ImportWish, Planned
from tallystick.server.joining.keeping import PersonWish, Ways
from tallystick.server.signing_in import inviting
from tallystick.server.state import ServerState
from tallystick.server.store.audit import record
from tallystick.server.store.sealed_file import SealedFile
from tallystick.server.uploads import received

router = APIRouter(prefix="/v1/people", tags=["people"])

PAGE = 500
MOST_BEHIND = 5000
PersonId = Annotated[int, Path(ge=1, lt=2**31)]
Line = Annotated[str, Field(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
Part = Annotated[str, Query(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]
After = Annotated[str, Query(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
Method = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class PeopleRequest(BaseModel):
    """No field that is not known."""

    model_config = ConfigDict(extra="forbid")


class PersonView(BaseModel):
    """enrolled: has, or had, a second factor. kept_by: the directory that keeps what is said of the
    person; "": nobody, it is changed here. created_at: seconds since 1970."""

    id: int
    login: str
    name: str
    email: str | None
    role: PersonRole
    groups: list[str]
    disabled: bool
    has_password: bool
    enrolled: bool
    kept_by: Keeper
    created_at: int


class PersonList(BaseModel):
    """more: ask again with `after` = the last login."""

    people: list[PersonView]
    more: bool


class MethodView(BaseModel):
    """key: names it among those of its kind. last_used_at, loan_until: seconds since 1970."""

    kind: MethodKind
    key: str
    label: str
    confirmed: bool
    last_used_at: int | None
    loan_until: int | None


class WholePersonView(PersonView):
    """sessions: how many are open."""

    methods: list[MethodView]
    sessions: int


class NewPersonRequest(PeopleRequest):
    login: Login
    name: Line = ""
    email: Line = ""
    role: PersonRole = PersonRole.USER
    groups: Annotated[list[Line], Field(max_length=keeping.MOST_GROUPS)] = []


class ChangePersonRequest(PeopleRequest):
    """What is left out stays as it is. email "": none."""

    login: Login | None = None
    name: Line | None = None
    email: Line | None = None
    role: PersonRole | None = None
    groups: Annotated[list[Line], Field(max_length=keeping.MOST_GROUPS)] | None = None
    disabled: bool | None = None


class MergeRequest(PeopleRequest):
    """goes: the login of the account that is deleted."""

    goes: Login


class PeopleImportOptions(PeopleRequest):
    """As `tally server person import` has them."""

    dry_run: bool = False
    complete: bool = False
    leavers_at_most: Annotated[int, Field(ge=0, le=100)] = 10

    def wish(self) -> ImportWish:
        return ImportWish(self.dry_run, self.complete, self.leavers_at_most)


class PeopleImportRequest(PeopleImportOptions):
    """csv: the list as text; or csv_base64: the file as it came."""

    csv: str = ""
    csv_base64: str = ""


class PeopleImport(BaseModel):
    """Logins, of each at most 50,000; counts of all. changed: with what differs, old → new. unread:
    headings of columns that are not known, or have the meaning of an earlier one."""

    added: list[str]
    changed: dict[str, dict[str, str]]
    left: list[str]
    unchanged: int
    added_count: int
    changed_count: int
    left_count: int
    unread: list[str]
    dry_run: bool


class InvitationView(BaseModel):
    """by: mail or letter. over: too old. Times in seconds since 1970."""

    person_id: int
    login: str
    by: str
    made_at: int
    expires_at: int
    over: bool


class InvitationList(BaseModel):
    invitations: list[InvitationView]


class InvitationRequest(PeopleRequest):
    """by: mail, to the firm's address of the person; or letter, of which the code is answered."""

    by: Annotated[str, Field(pattern="^(mail|letter)$")] = inviting.BY_MAIL


class Invited(BaseModel):
    """code, path: of a letter; the code is shown this once. expires_at: seconds since 1970."""

    by: str
    expires_at: int | None = None
    code: str | None = None
    path: str | None = None


class BehindView(BaseModel):
    """Somebody without a second factor. state: in words. Times in seconds since 1970."""

    id: int
    login: str
    name: str
    email: str | None
    groups: list[str]
    state: str
    invited_until: int | None
    created_at: int
    signed_in: int | None


class BehindList(BaseModel):
    """more: ask again with `after` = the last login."""

    people: list[BehindView]
    more: bool


def view(person: KnownPerson) -> dict[str, Any]:
    return {
        "id": person.id,
        "login": person.login,
        "name": person.full_name,
        "email": person.email,
        "role": person.role,
        "groups": list(person.groups),
        "disabled": person.disabled,
        "has_password": person.has_password,
        "enrolled": person.enrolled,
        "kept_by": person.source,
        "created_at": person.created_at,
    }


@router.get("")
def list_people(
    state: AState,
    caller: DeskOrAdmin,
    q: Part = "",
    after: After = "",
    limit: Annotated[int, Query(ge=1, le=PAGE)] = 20,
) -> PersonList:
    """People whose login, name or e-mail address contains q, by login."""
    with state.database.read() as connection:
        found = people.search(connection, caller.firm_id, q, limit=limit + 1, after=after)
    shown = [PersonView(**view(person)) for person in found[:limit]]
    return PersonList(people=shown, more=len(found) > limit)


@router.post("", status_code=201)
def add_person(body: NewPersonRequest, state: AState, caller: Admin) -> PersonView:
    """Make a person, who has no password yet."""

    def work(connection: Connection) -> KnownPerson:
        wanted = PersonWish(body.login, body.name, body.email, body.role, tuple(body.groups))
        return keeping.add(connection, _ways(state, connection, caller), wanted)

    made = state.database.run(work)
    state.outbox.wake()
    return PersonView(**view(made))


@router.post("/import")
def import_people(body: PeopleImportRequest, state: AState, caller: Admin) -> PeopleImport:
    """A list of people as CSV: all of it, or nothing."""
    planned = _take_in(state, caller, body.wish(), _content(body))
    return PeopleImport(**vars(planned), dry_run=body.dry_run)


@router.post("/imports", openapi_extra=form_of(PeopleImportOptions), responses=LINES)
async def import_people_file(request: Request, state: AState, caller: Admin) -> StreamingResponse:
    """The same for a file of any size, as a form: `options` (JSON) and `file`. The answer is lines
    of JSON: `progress`; at last `result`, or `error` with its `status`."""
    form = await received(request)
    options = options_of(form, PeopleImportOptions)
    file = form.file
    if file is None:
        raise _no_list("The form has no file, or an empty one.", "Send the file.")

    def work(tell: Tell) -> Iterator[AnswerLine]:
        with file:
            planned = _take_in(state, caller, options.wish(), file, tell)
        yield {"result": vars(planned) | {"dry_run": options.dry_run}}

    return in_lines(work)


def _take_in(
    state: ServerState,
    caller: Caller,
    wish: ImportWish,
    content: bytes | SealedFile,
    tell: Tell = lambda *_: None,
) -> Planned:
    with state.database.read() as connection:
        ways = _ways(state, connection, caller)
    file = people_files.read(content, tell)
    planned = bulk.take_in(state.database, ways, file, wish, tell)
    state.outbox.wake()
    return planned


def _content(body: PeopleImportRequest) -> bytes:
    if bool(body.csv) == bool(body.csv_base64):
        raise _no_list("The request has no list, or has it twice.", "Send csv, or csv_base64.")
    if body.csv:
        return b"\xef\xbb\xbf" + body.csv.encode()
    try:
        return base64.b64decode(body.csv_base64, validate=True)
    except ValueError:
        raise _no_list("csv_base64 is not base 64.", "Encode the file's bytes.") from None


def _no_list(what: str, todo: str) -> ApiError:
    return ApiError(422, "no-list", what, kept=NOTHING_CHANGED, todo=todo)


@router.get("/export", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
def export_people(state: AState, caller: Admin) -> StreamingResponse:
    """Everybody of the firm as CSV, as the import takes it."""
    with state.database.write() as connection:
        ways = _ways(state, connection, caller)
        many = people.count(connection, caller.firm_id)
        record(connection, state.ring, [ways.act("people-exported", "people", people=many)])
    return StreamingResponse(
        people_files.written(state.database, caller.firm_id), media_type="text/csv"
    )


@router.get("/invitations")
def list_invitations(state: AState, caller: DeskOrAdmin) -> InvitationList:
    """Those that were not used yet."""
    with state.database.read() as connection:
        found = inviting.listed(connection, caller.firm_id, state.now())
    names = InvitationView.model_fields
    shown = [{name: getattr(one, name) for name in names} for one in found]
    return InvitationList(invitations=[InvitationView(**one) for one in shown])


@router.get("/behind")
def list_behind(state: AState, caller: DeskOrAdmin, after: After = "") -> BehindList:
    """Who has no second factor, by login, at most 5,000 at once."""
    with state.database.read() as connection:
        firm = firms.by_id(connection, caller.firm_id)
        asked = reminding.behind(connection, firm, state.now(), after=after, most=MOST_BEHIND + 1)
        found = [BehindView(**vars(one) | {"groups": [*one.groups]}) for one in asked]
    return BehindList(people=found[:MOST_BEHIND], more=len(found) > MOST_BEHIND)


@router.post("/{person_id}/invitation", status_code=201)
def invite(person_id: PersonId, body: InvitationRequest, state: AState, caller: Admin) -> Invited:
    """Invite somebody who has had no password yet. An older invitation is void."""

    def work(connection: Connection) -> Invited:
        firm = firms.by_id(connection, caller.firm_id)
        person = people.get(connection, firm.id, person_id, lock=True)
        if body.by == inviting.BY_LETTER:
            letter = inviting.print_letter(
                state, connection, firm, person, actor=caller.id, now=state.now()
            )
            path = f"/p/{firm.name}/recover/help"
            return Invited(by=body.by, expires_at=letter.expires_at, code=letter.code, path=path)
        inviting.invite(
            state,
            connection,
            firm,
            person,
            public_url=state.public_url,
            actor=caller.id,
            now=state.now(),
        )
        return Invited(by=body.by)

    done = state.database.run(work)
    state.outbox.wake()
    return done


@router.delete("/{person_id}/invitation", status_code=204)
def withdraw(person_id: PersonId, state: AState, caller: Admin) -> None:
    """Take an invitation back."""

    def work(connection: Connection) -> None:
        firm = firms.by_id(connection, caller.firm_id)
        person = people.get(connection, firm.id, person_id)
        inviting.withdraw(state, connection, firm, person, actor=caller.id, now=state.now())

    state.database.run(work)


@router.get("/{person_id}")
def show_person(person_id: PersonId, state: AState, caller: DeskOrAdmin) -> WholePersonView:
    """One person, with the ways to sign in."""
    with state.database.read() as connection:
        person = people.get(connection, caller.firm_id, person_id)
        ways = _ways(state, connection, caller)
        held = helping.all_methods(helping.context_for(state, connection, ways), person)
        open_now = sessions.of_person(connection, person.id, state.now())
    methods = [
        MethodView(
            kind=one.kind,
            key=one.key,
            label=one.label,
            confirmed=one.confirmed,
            last_used_at=one.last_used_at,
            loan_until=one.expires_at,
        )
        for one in held
    ]
    return WholePersonView(**view(person), methods=methods, sessions=len(open_now))


@router.patch("/{person_id}")
def change_person(
    person_id: PersonId, body: ChangePersonRequest, state: AState, caller: Admin
) -> PersonView:
    """Change what is said of somebody. 409 for what a directory keeps, and the last
    administrator."""

    def work(connection: Connection) -> KnownPerson:
        groups = None if body.groups is None else tuple(body.groups)
        wanted = PersonWish(body.login, body.name, body.email, body.role, groups, body.disabled)
        return keeping.change(connection, _ways(state, connection, caller), person_id, wanted)

    after = state.database.run(work)
    state.outbox.wake()
    return PersonView(**view(after))


@router.delete("/{person_id}", status_code=204)
def delete_person(person_id: PersonId, state: AState, caller: Admin) -> None:
    """As a leaver, and the account goes. The audit log keeps the login and what was done."""

    def work(connection: Connection) -> None:
        person = people.get(connection, caller.firm_id, person_id)
        leaving.remove(connection, _ways(state, connection, caller), person)

    state.database.run(work)


@router.post("/{person_id}/leave", status_code=204)
def leave(person_id: PersonId, state: AState, caller: Admin) -> None:
    """Take everything away at once: password, methods, sessions, remembered browsers, what services
    were let do. Cards are lost until the desk has them. The account stays, barred."""

    def work(connection: Connection) -> None:
        person = people.get(connection, caller.firm_id, person_id)
        leaving.leave(connection, _ways(state, connection, caller), [person])

    state.database.run(work)


@router.post("/{person_id}/merge")
def merge(person_id: PersonId, body: MergeRequest, state: AState, caller: Admin) -> PersonView:
    """Another account of the same person goes; its cards and groups come here."""

    def work(connection: Connection) -> KnownPerson:
        stays = people.get(connection, caller.firm_id, person_id)
        goes = people.meant(connection, caller.firm_id, body.goes)
        return merging.merge(connection, _ways(state, connection, caller), stays, goes)

    return PersonView(**view(state.database.run(work)))


@router.post("/{person_id}/release")
def release(person_id: PersonId, state: AState, caller: Admin) -> PersonView:
    """Out of the directory's keeping: it is changed here from now on."""

    def work(connection: Connection) -> KnownPerson:
        person = people.get(connection, caller.firm_id, person_id)
        merging.release(connection, _ways(state, connection, caller), person, Keeper.HERE)
        return people.get(connection, caller.firm_id, person_id)

    return PersonView(**view(state.database.run(work)))


@router.post("/{person_id}/unlock", status_code=204)
def unlock(person_id: PersonId, state: AState, caller: DeskOrAdmin) -> None:
    """Lift every lock-out of a person. 403 where policy does not let the caller."""

    def work(connection: Connection) -> None:
        ways = _ways(state, connection, caller)
        if Right.LIFT_LOCKOUT not in rights_of(role_of(caller), ways.firm.policy):
            raise ApiError(
                403,
                "no-right",
                "The firm's policy does not let you end a pause early.",
                kept=NOTHING_CHANGED,
                todo="Ask an administrator of your firm.",
            )
        helping.unlock(state, connection, ways, person_id)

    state.database.run(work)
    state.outbox.wake()


@router.post("/{person_id}/end-sessions", status_code=204)
def end_sessions(person_id: PersonId, state: AState, caller: DeskOrAdmin) -> None:
    """Sign a person out everywhere."""
    state.database.run(
        lambda connection: helping.end_sessions(
            connection, _ways(state, connection, caller), person_id
        )
    )
    state.outbox.wake()


@router.delete("/{person_id}/methods/{kind}/{key}", status_code=204)
def remove_method(
    person_id: PersonId, kind: MethodKind, key: Method, state: AState, caller: DeskOrAdmin
) -> None:
    """As when a telephone was stolen. A card is lost from then on."""
    state.database.run(
        lambda connection: helping.remove_method(
            state, connection, _ways(state, connection, caller), person_id, kind, key
        )
    )
    state.outbox.wake()


def _ways(state: ServerState, connection: Connection, caller: Caller) -> Ways:
    return Ways(state.ring, firms.by_id(connection, caller.firm_id), caller, state.now())
