"""Pages of staff: lists of people in and out; leavers, accounts that go, two that become one."""

from __future__ import annotations

import re
from collections.abc import Callable

from fastapi import APIRouter
from fastapi.responses import Response, StreamingResponse

from tallystick.server.accounts import people
from tallystick.server.accounts.people import Keeper, KnownPerson
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.joining import bulk, leaving, merging, people_files
from tallystick.server.joining.bulk import ImportWish, Planned
from tallystick.server.portal.staff import ChangesPeople, show_person, ways_of
from tallystick.server.portal.web import FileForm, Form, Member
from tallystick.server.store.audit import record
from tallystick.server.wording.worded import worded

router = APIRouter(prefix="/p/{firm}")
SHOWN = 1000  # lines of a plan on a page


@router.get("/people/import")
def import_page(member: ChangesPeople) -> Response:
    return _page(member)


def _page(
    member: Member,
    *,
    error: ApiError | None = None,
    plan: Planned | None = None,
    wish: ImportWish | None = None,
) -> Response:
    return member.visit.render(
        "people_import.html",
        status=error.status if error else 200,
        error=error,
        plan=plan,
        wish=wish or ImportWish(dry_run=True),
        columns=people_files.COLUMNS,
        shown=SHOWN,
    )


@router.post("/people/import")
def import_people(member: ChangesPeople, sent: FileForm) -> Response:
    """What a file says: shown first, unless that was seen already."""
    state, fields = member.visit.state, sent.fields
    percent = fields.get("at_most", "")
    wish = ImportWish(
        dry_run="now" not in fields,
        complete=fields.get("complete") == "yes",
        leavers_at_most=int(percent) if re.fullmatch(r"[0-9]{1,3}", percent) else 10,
    )
    try:
        if sent.file is None:
            raise ApiError(
                422, "no-file", "No file was chosen.", kept=NOTHING_CHANGED, todo="Choose one."
            )
        with member.acting():
            pass  # a file may be long on its way
        read = people_files.read(sent.file)
        plan = bulk.take_in(state.database, ways_of(member), read, wish)
    except ApiError as error:
        return _page(member, error=error, wish=wish)
    state.outbox.wake()
    return _page(member, plan=plan, wish=wish)


@router.get("/people/export")
def export_people(member: ChangesPeople) -> Response:
    state, firm = member.visit.state, member.visit.firm
    with member.acting() as connection:
        many = people.count(connection, firm.id)
        act = ways_of(member).act("people-exported", "people", people=many)
        record(connection, state.ring, [act])
    name = f"{firm.name}-people.csv"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    pieces = people_files.written(state.database, firm.id)
    return StreamingResponse(pieces, media_type="text/csv; charset=utf-8", headers=headers)


@router.post("/people/{person_id}/leave")
def leave(member: ChangesPeople, person_id: int, form: Form) -> Response:
    """Everything is taken away at once; the account stays, barred."""

    def work(person: KnownPerson) -> None:
        with member.acting() as connection:
            leaving.leave(connection, ways_of(member), [person])

    return _done(member, person_id, form, work, f"/people/{person_id}")


@router.post("/people/{person_id}/delete")
def delete(member: ChangesPeople, person_id: int, form: Form) -> Response:
    def work(person: KnownPerson) -> None:
        with member.acting() as connection:
            leaving.remove(connection, ways_of(member), person)

    return _done(member, person_id, form, work, "/people")


@router.post("/people/{person_id}/merge")
def merge(member: ChangesPeople, person_id: int, form: Form) -> Response:
    """The account named goes; its cards and groups come to this one."""

    def work(person: KnownPerson) -> None:
        with member.acting() as connection:
            firm_id = member.visit.firm.id
            goes = people.meant(connection, firm_id, form.get("other", "").strip())
            merging.merge(connection, ways_of(member), person, goes)

    return _done(member, person_id, form, work, f"/people/{person_id}")


@router.post("/people/{person_id}/release")
def release(member: ChangesPeople, person_id: int, form: Form) -> Response:
    """Out of the directory's keeping: from now on it is changed here, until it tells of it anew."""

    def work(person: KnownPerson) -> None:
        with member.acting() as connection:
            merging.release(connection, ways_of(member), person, Keeper.HERE)

    return _done(member, person_id, form, work, f"/people/{person_id}")


def _done(
    member: Member, person_id: int, form: Form, work: Callable[[KnownPerson], None], then: str
) -> Response:
    """Once the login name was typed: a slip of the hand is not to take anything from anybody."""
    state, firm_id = member.visit.state, member.visit.firm.id
    with state.database.read() as connection:
        person = people.get(connection, firm_id, person_id)
    try:
        if people.canonical(form.get("login", "").strip()) != people.canonical(person.login):
            raise ApiError(
                422,
                "not-confirmed",
                worded("The login name that was typed is not {login}.", login=person.login),
                kept=NOTHING_CHANGED,
                todo="Type the login name of this person, to say that it is meant.",
            )
        work(person)
    except ApiError as error:
        return show_person(member, person_id, error=error)
    state.outbox.wake()
    return member.visit.go(then)
