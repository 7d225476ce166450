"""Pages of staff: who is invited, who is behind."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from sqlalchemy import Connection, func, select

from tallystick.server.accounts import people
from tallystick.server.accounts.people import KnownPerson
from tallystick.server.accounts.rights import Right
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.joining import reminding
from tallystick.server.portal.staff import ChangesPeople, SeesPeople, show_person
from tallystick.server.portal.web import Form, Member, staff
from tallystick.server.signing_in import inviting
from tallystick.server.signing_in.inviting import Printed
from tallystick.server.store.models import PersonRow
from tallystick.server.wording.worded import Worded, counted, worded

router = APIRouter(prefix="/p/{firm}")

MOST_AT_ONCE = 2000
SHOWN = 1000  # on a page
Invites = Annotated[Member, Depends(staff(Right.SEE_PEOPLE, Right.CHANGE_PEOPLE))]


@router.get("/invitations")
def invitations_page(member: SeesPeople) -> Response:
    return _page(member)


def _page(member: Member, *, error: ApiError | None = None, notice: str | None = None) -> Response:
    visit = member.visit
    firm, now = visit.firm, visit.state.now()
    query = select(func.count(), func.count(PersonRow.email)).where(
        PersonRow.firm_id == firm.id, inviting.invitable(firm, now)
    )
    with visit.state.database.read() as connection:
        open_now = inviting.listed(connection, firm.id, now, most=SHOWN + 1)
        new, with_address = connection.execute(query).one()
    return visit.render(
        "invitations.html",
        status=error.status if error else 200,
        error=error,
        notice=notice,
        invitations=open_now[:SHOWN],
        more=len(open_now) > SHOWN,
        by_mail=with_address,
        by_letter=new - with_address,
    )


@router.post("/invitations")
def invite_all(member: ChangesPeople, form: Form) -> Response:
    """Everybody who was not invited: those with an address by mail, or the others by letter."""
    state = member.visit.state
    by_mail = form.get("by") != inviting.BY_LETTER
    printed: list[Printed] = []
    with member.acting() as connection:
        address = PersonRow.email.is_not(None) if by_mail else PersonRow.email.is_(None)
        wanted = inviting.invitable(member.visit.firm, state.now()) & address
        found = people.pages(connection, member.visit.firm.id, wanted)
        chosen = list(islice(found, MOST_AT_ONCE))
        for person in chosen:
            if by_mail:
                _invite(member, connection, person)
            else:
                printed.append(_print(member, connection, person))
    state.outbox.wake()
    if printed:
        return _letters(member, printed)
    return _page(member, notice=_invited(len(chosen)))


def _invited(number: int) -> Worded:
    if not number:
        return worded("Nobody was left.")
    return counted("{count} was invited.", "{count} were invited.", number)


def _invite(member: Member, connection: Connection, person: KnownPerson) -> None:
    visit = member.visit
    inviting.invite(
        visit.state,
        connection,
        visit.firm,
        person,
        public_url=visit.state.public_url,
        actor=_me(member),
        now=visit.state.now(),
    )


def _print(member: Member, connection: Connection, person: KnownPerson) -> Printed:
    visit = member.visit
    return inviting.print_letter(
        visit.state, connection, visit.firm, person, actor=_me(member), now=visit.state.now()
    )


def _letters(member: Member, printed: list[Printed]) -> Response:
    visit = member.visit
    address = f"{visit.state.public_url}{visit.base}/recover/help"
    return visit.render("letters.html", letters=printed, address=address)


def _me(member: Member) -> str:
    return f"person:{member.session.person.id}"


@router.post("/people/{person_id}/invite/{act}")
def invite(member: Invites, person_id: int, act: str, form: Form) -> Response:
    """act: mail, letter, or withdraw."""
    visit, state = member.visit, member.visit.state
    try:
        with member.acting() as connection:
            person = people.get(connection, visit.firm.id, person_id, lock=True)
            if act == inviting.BY_MAIL:
                _invite(member, connection, person)
            elif act == inviting.BY_LETTER:
                printed = _print(member, connection, person)
            elif act == "withdraw":
                inviting.withdraw(
                    state, connection, visit.firm, person, actor=_me(member), now=state.now()
                )
            else:
                raise ApiError(404, "no-such-act", "There is no such act.", kept=NOTHING_CHANGED)
    except ApiError as error:
        return show_person(member, person_id, error=error)
    state.outbox.wake()
    if act == inviting.BY_LETTER:
        return _letters(member, [printed])
    words = worded("The invitation is on its way.")
    if act == "withdraw":
        words = worded("The invitation is withdrawn.")
    return show_person(member, person_id, notice=words)


@router.get("/behind")
def behind_page(member: SeesPeople) -> Response:
    """Who has no second factor."""
    visit = member.visit
    now = visit.state.now()
    with visit.state.database.read() as connection:
        found = list(reminding.behind(connection, visit.firm, now, most=SHOWN))
        lacking, everybody = reminding.count(connection, visit.firm)
    return visit.render("behind.html", behind=found, lacking=lacking, everybody=everybody)


@router.get("/behind.csv")
def behind_table(member: SeesPeople) -> Response:
    visit = member.visit
    with visit.state.database.read() as connection:
        found = reminding.behind(connection, visit.firm, visit.state.now())
        text = "".join(reminding.as_table(found))
    headers = {"content-disposition": f'attachment; filename="{visit.firm.name}-behind.csv"'}
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)
