"""Pages of staff: cards and loans."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from sqlalchemy import select

from tallystick.server.accounts.credentials import Caller
from tallystick.server.accounts.rights import Right
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.loans import holding
from tallystick.server.loans.holding import CardStatus
from tallystick.server.portal.web import Form, Member, staff
from tallystick.server.stock import cards
from tallystick.server.store.models import Assignment, CardRow, PersonRow

router = APIRouter(prefix="/p/{firm}/cards")

PAGE = 100
SeesCards = Annotated[Member, Depends(staff(Right.SEE_CARDS))]
HandsOut = Annotated[Member, Depends(staff(Right.SEE_CARDS, Right.HAND_OUT_CARDS))]
Retires = Annotated[Member, Depends(staff(Right.SEE_CARDS, Right.RETIRE_CARDS))]
Lifts = Annotated[Member, Depends(staff(Right.SEE_CARDS, Right.LIFT_LOCKOUT))]


@router.get("")
def cards_page(member: SeesCards, q: str = "") -> Response:
    return _cards(member, q=q[:64])


def _cards(
    member: Member, *, q: str = "", error: ApiError | None = None, notice: str | None = None
) -> Response:
    visit = member.visit
    query = (
        select(CardRow.serial, CardRow.status, CardRow.last_used_at, CardRow.blocked_until)
        .add_columns(PersonRow.login, Assignment.expires_at)
        .outerjoin(Assignment, Assignment.card_id == CardRow.id)
        .outerjoin(PersonRow, PersonRow.id == Assignment.person_id)
        .where(CardRow.firm_id == visit.firm.id)
        .order_by(CardRow.serial)
        .limit(PAGE)
    )
    if q:
        query = query.where((CardRow.serial == q) | (PersonRow.login == q))
    with visit.state.database.read() as connection:
        rows = connection.execute(query).all()
    return visit.render(
        "cards.html",
        status=error.status if error else 200,
        error=error,
        notice=notice,
        cards=rows,
        q=q,
        now=int(visit.state.now()),
        more=len(rows) == PAGE,
    )


@router.post("/{serial}/lend")
def lend(member: HandsOut, serial: str, form: Form) -> Response:
    """For the rest of the working day."""
    state = member.visit.state
    try:
        with state.database.write() as connection:
            holding.lend(
                connection,
                state.ring,
                _actor(member),
                serial,
                login=form.get("user", "").strip(),
                policy=member.visit.firm.policy,
                now=state.now(),
            )
    except ApiError as error:
        return _cards(member, error=error)
    return _cards(member, q=serial, notice=f"Card {serial} is lent for the rest of the day.")


@router.post("/{serial}/assign")
def assign(member: HandsOut, serial: str, form: Form) -> Response:
    """For good, to someone who is known."""
    state = member.visit.state
    try:
        with state.database.write() as connection:
            login = form.get("user", "").strip()
            if not login:
                raise ApiError(
                    422, "no-user", "No user was named.", kept=NOTHING_CHANGED, todo="Name one."
                )
            holding.assign(
                connection, state.ring, _actor(member), serial, login=login, now=state.now()
            )
    except ApiError as error:
        return _cards(member, error=error)
    return _cards(member, q=serial, notice=f"Card {serial} is assigned to {login}.")


@router.post("/{serial}/take-back")
def take_back(member: HandsOut, serial: str, form: Form) -> Response:
    state = member.visit.state
    with state.database.write() as connection:
        holding.take_back(connection, state.ring, _actor(member), serial, now=state.now())
    return _cards(member, q=serial, notice=f"Card {serial} is free again.")


@router.post("/{serial}/lost")
def lost(member: HandsOut, serial: str, form: Form) -> Response:
    return _status(member, serial, CardStatus.LOST)


@router.post("/{serial}/found")
def found(member: HandsOut, serial: str, form: Form) -> Response:
    return _status(member, serial, CardStatus.REGISTERED)


@router.post("/{serial}/retire")
def retire(member: Retires, serial: str, form: Form) -> Response:
    return _status(member, serial, CardStatus.RETIRED)


@router.post("/{serial}/unlock")
def unlock(member: Lifts, serial: str, form: Form) -> Response:
    state = member.visit.state
    with state.database.write() as connection:
        holding.unlock(connection, state.ring, _actor(member), serial, now=state.now())
    return _cards(member, q=serial, notice=f"Card {serial} may be tried again at once.")


def _status(member: Member, serial: str, status: CardStatus) -> Response:
    state = member.visit.state
    try:
        with state.database.write() as connection:
            holding.set_status(
                connection, state.ring, _actor(member), serial, status=status, now=state.now()
            )
    except ApiError as error:
        return _cards(member, q=serial, error=error)
    words = {CardStatus.LOST: "reported lost", CardStatus.RETIRED: "retired"}
    return _cards(member, q=serial, notice=f"Card {serial} is {words.get(status, 'in use again')}.")


def _actor(member: Member) -> Caller:
    person = member.session.person
    return cards.staff(person.id, member.visit.firm.id, person.login)
