"""Pages of staff: cards and loans."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from sqlalchemy import Connection, func, or_, select, true

from tallystick.common.errors import BadInputError
from tallystick.common.moments import LocalTime, parse_moment
from tallystick.server.accounts import people
from tallystick.server.accounts.credentials import Caller
from tallystick.server.accounts.rights import Right, covers
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.loans import desk, holding, undo
from tallystick.server.loans.desk import Whereabouts
from tallystick.server.loans.holding import CardStatus
from tallystick.server.methods.typed import typed_codes
from tallystick.server.portal.web import Form, Member, staff
from tallystick.server.signing_in import together
from tallystick.server.stock import cards
from tallystick.server.store.models import Assignment, CardRow, PersonRow
from tallystick.server.wording.worded import WordedMoment, worded

router = APIRouter(prefix="/p/{firm}/cards")

PAGE = 100
PLACE_WORDS = {
    "": worded("all cards"),
    Whereabouts.POOL: worded("in stock"),
    Whereabouts.ASSIGNED: worded("assigned for good"),
    Whereabouts.LENT: worded("lent"),
    Whereabouts.OVERDUE: worded("overdue"),
    Whereabouts.LOST: worded("lost"),
    Whereabouts.RETIRED: worded("retired"),
}
STATUS_WORDS = {"lost": worded("lost"), "retired": worded("retired")}
SeesCards = Annotated[Member, Depends(staff(Right.SEE_CARDS))]
HandsOut = Annotated[Member, Depends(staff(Right.SEE_CARDS, Right.HAND_OUT_CARDS))]
Retires = Annotated[Member, Depends(staff(Right.SEE_CARDS, Right.RETIRE_CARDS))]
Lifts = Annotated[Member, Depends(staff(Right.SEE_CARDS, Right.LIFT_LOCKOUT))]


@router.get("")
def cards_page(
    member: SeesCards, q: str = "", after: str = "", where: Whereabouts | Literal[""] = ""
) -> Response:
    return _cards(member, q=q[:64], after=after[:64], where=where or None)


def _cards(
    member: Member,
    *,
    q: str = "",
    after: str = "",
    where: Whereabouts | None = None,
    error: ApiError | None = None,
    notice: str | None = None,
) -> Response:
    """q: part of a serial number, or of the login or address of whoever has it."""
    visit = member.visit
    found = or_(
        *(
            column.ilike(f"%{_escaped(q)}%", escape="\\")
            for column in (CardRow.serial, PersonRow.login, PersonRow.email, PersonRow.full_name)
        )
    )
    of_firm = (CardRow.firm_id == visit.firm.id) & (found if q else true())
    if where is not None:
        of_firm &= desk.condition(where, visit.state.now())
    joined = (
        select(CardRow.serial, CardRow.status, CardRow.last_used_at, CardRow.blocked_until)
        .add_columns(PersonRow.login, Assignment.expires_at)
        .outerjoin(Assignment, Assignment.card_id == CardRow.id)
        .outerjoin(PersonRow, PersonRow.id == Assignment.person_id)
        .where(of_firm)
    )
    query = joined.where(CardRow.serial > after).order_by(CardRow.serial).limit(PAGE)
    with visit.state.database.read() as connection:
        rows = connection.execute(query).all()
        shown = [row.serial for row in rows]
        undoable = undo.open_for(connection, _actor(member), shown, visit.state.now())
        total = connection.execute(select(func.count()).select_from(joined.subquery())).scalar_one()
        before = (
            total
            - connection.execute(
                select(func.count()).select_from(joined.where(CardRow.serial > after).subquery())
            ).scalar_one()
        )
    return visit.render(
        "cards.html",
        status=error.status if error else 200,
        error=error,
        notice=notice,
        cards=rows,
        undoable=undoable,
        q=q,
        where=where or "",
        places=PLACE_WORDS,
        statuses=STATUS_WORDS,
        now=int(visit.state.now()),
        total=total,
        before=before,
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


@router.post("/{serial}/lend")
def lend(member: HandsOut, serial: str, form: Form) -> Response:
    """For the rest of the working day, or until an end that is written as people do."""
    policy, now = member.visit.firm.policy, member.visit.state.now()
    zone = ZoneInfo(policy.time_zone)
    try:
        until = parse_moment(form.get("until", ""), LocalTime(now, zone, policy.day_ends))
    except BadInputError as error:
        refused = ApiError(422, "bad-loan", error.what, kept=error.kept, todo=error.todo)
        return _cards(member, q=serial, error=refused)
    end = WordedMoment.at(until or holding.end_of_day(policy, now), zone)
    return _hand_out(
        member,
        serial,
        form,
        partial(desk.lend, until=until),
        worded("Card {serial} is lent until {end}.", serial=serial, end=end),
    )


@router.post("/{serial}/assign")
def assign(member: HandsOut, serial: str, form: Form) -> Response:
    """For good, to someone who is known."""
    login = form.get("user", "").strip()
    return _hand_out(
        member,
        serial,
        form,
        desk.assign,
        worded("Card {serial} is assigned to {login}.", serial=serial, login=login),
        for_good=True,
    )


def _hand_out(
    member: Member,
    serial: str,
    form: Form,
    act: Callable[..., dict[str, Any] | ApiError],
    done: str,
    *,
    for_good: bool = False,
) -> Response:
    """With a code of the card, as at the desk. For someone with more rights, a colleague is asked:
    the card changes hands once he has agreed."""
    state, firm = member.visit.state, member.visit.firm
    login, codes = form.get("user", "").strip(), typed_codes(form) or None

    def work(connection: Connection) -> dict[str, Any] | int | ApiError:
        if not login:
            raise ApiError(
                422, "no-user", "No user was named.", kept=NOTHING_CHANGED, todo="Name one."
            )
        asker = member.session.person
        person = people.meant(connection, firm.id, login)
        if not covers(asker.role, other=person.role):
            return together.ask_hand_over(
                state, connection, firm, asker, serial, login=login, codes=codes, for_good=for_good
            )
        now, actor = state.now(), _actor(member)
        word = "assign" if for_good else "lend"
        return undo.undoable(
            connection, actor, [serial], word, now,
            lambda: act(
                connection, state.ring, actor, serial,
                login=login, codes=codes, policy=firm.policy, now=now,
            ),
        )  # fmt: skip

    try:
        answer = state.database.run(work)
    except ApiError as error:
        return _cards(member, q=serial, error=error)
    state.outbox.wake()
    if isinstance(answer, ApiError):
        return _cards(member, q=serial, error=answer)
    if isinstance(answer, int):
        done = worded(
            "{login} has more rights than you: a colleague has to agree. Keep the card.",
            login=login,
        )
    return _cards(member, q=serial, notice=done)


@router.post("/{serial}/take-back")
def take_back(member: HandsOut, serial: str, form: Form) -> Response:
    """With a code of the card, as at the desk; or with the reason why it gives none."""
    return _with_the_card(
        member, serial, form, desk.take_back, worded("Card {serial} is free again.", serial=serial)
    )


def _with_the_card(
    member: Member,
    serial: str,
    form: Form,
    act: Callable[..., dict[str, Any] | ApiError],
    done: str,
) -> Response:
    state, policy = member.visit.state, member.visit.firm.policy
    codes, reason = typed_codes(form) or None, form.get("reason", "").strip()[:120]
    actor, now = _actor(member), state.now()
    try:
        answer = state.database.run(
            lambda connection: undo.undoable(
                connection, actor, [serial], act.__name__, now,
                lambda: act(
                    connection, state.ring, actor, serial,
                    codes=codes, reason=reason, policy=policy, now=now,
                ),
            )
        )  # fmt: skip
    except ApiError as error:
        return _cards(member, q=serial, error=error)
    state.outbox.wake()
    if isinstance(answer, ApiError):
        return _cards(member, q=serial, error=answer)
    return _cards(member, q=serial, notice=done)


@router.post("/{serial}/lost")
def lost(member: HandsOut, serial: str, form: Form) -> Response:
    return _status(member, serial, CardStatus.LOST)


@router.post("/{serial}/found")
def found(member: HandsOut, serial: str, form: Form) -> Response:
    return _status(member, serial, CardStatus.REGISTERED)


@router.post("/{serial}/retire")
def retire(member: Retires, serial: str, form: Form) -> Response:
    """For good: confirmed, with a code of the card or the reason why it gives none."""
    if form.get("confirm") != serial:
        unsure = ApiError(
            422,
            "not-confirmed",
            worded(
                "Whether card {serial} is to be retired for good was not confirmed.", serial=serial
            ),
            kept=NOTHING_CHANGED,
            todo="Tick that, if it is.",
        )
        return _cards(member, q=serial, error=unsure)
    return _with_the_card(
        member,
        serial,
        form,
        desk.retire,
        worded("Card {serial} is retired for good.", serial=serial),
    )


@router.post("/{serial}/undo")
def take_back_act(member: HandsOut, serial: str, form: Form) -> Response:
    """One's own last act on a card, within two minutes, as at the desk."""
    state = member.visit.state
    try:
        state.database.run(
            lambda connection: undo.undo(
                connection, state.ring, _actor(member), serial, now=state.now()
            )
        )
    except ApiError as error:
        return _cards(member, q=serial, error=error)
    return _cards(
        member, q=serial, notice=worded("Card {serial} is as it was before.", serial=serial)
    )


@router.post("/{serial}/unlock")
def unlock(member: Lifts, serial: str, form: Form) -> Response:
    state = member.visit.state
    with state.database.write() as connection:
        holding.unlock(connection, state.ring, _actor(member), serial, now=state.now())
    return _cards(
        member, q=serial, notice=worded("Card {serial} may be tried again at once.", serial=serial)
    )


def _status(member: Member, serial: str, status: CardStatus) -> Response:
    state = member.visit.state
    actor, now = _actor(member), state.now()
    act = "lost" if status is CardStatus.LOST else "found"
    try:
        state.database.run(
            lambda connection: undo.undoable(
                connection, actor, [serial], act, now,
                lambda: holding.set_status(
                    connection, state.ring, actor, serial, status=status, now=now
                ),
            )
        )  # fmt: skip
    except ApiError as error:
        return _cards(member, q=serial, error=error)
    state.outbox.wake()
    notice = worded("Card {serial} is in use again.", serial=serial)
    if status is CardStatus.LOST:
        notice = worded("Card {serial} is reported lost.", serial=serial)
    return _cards(member, q=serial, notice=notice)


def _actor(member: Member) -> Caller:
    person = member.session.person
    return cards.staff(person.id, member.visit.firm.id, person.login, person.role)
