"""Pages of staff: cards and loans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from sqlalchemy import Connection, select

from tallystick.common.errors import BadInputError
from tallystick.common.moments import (
    LocalTime,
    NoSuchTimeError,
    OtherZoneError,
    parse_moment,
)
from tallystick.server.accounts import people
from tallystick.server.accounts.credentials import Caller
from tallystick.server.accounts.rights import Right, covers
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.loans import card_list, desk, holding, undo
from tallystick.server.loans.card_list import CardFilter, CardOrder, CardQuery
from tallystick.server.loans.holding import CardStatus
from tallystick.server.methods.typed import typed_codes
from tallystick.server.portal import many
from tallystick.server.portal.many import ManyAct
from tallystick.server.portal.web import Form, Member, staff
from tallystick.server.signing_in import together
from tallystick.server.stock import cards
from tallystick.server.store.models import CardRow
from tallystick.server.wording.worded import WordedMoment, worded

router = APIRouter(prefix="/p/{firm}/cards")

FILTER_WORDS = {
    CardFilter.ALL: worded("all cards"),
    CardFilter.POOL: worded("in stock"),
    CardFilter.ASSIGNED: worded("assigned for good"),
    CardFilter.LENT: worded("lent"),
    CardFilter.OVERDUE: worded("overdue"),
    CardFilter.LOST: worded("lost"),
    CardFilter.RETIRED: worded("retired"),
    CardFilter.LOCKED: worded("locked by wrong codes"),
}
SORTS = (
    (CardOrder.SERIAL, worded("Serial number")),
    (CardOrder.HOLDER, worded("Login name")),
    (CardOrder.END, worded("End of the loan")),
    (CardOrder.USED, worded("Last used")),
    (CardOrder.REGISTERED, worded("Registered")),
)
ACTS = {
    "take-back": ManyAct(worded("Take back"), Right.HAND_OUT_CARDS, reason=True),
    "lost": ManyAct(worded("Lost"), Right.HAND_OUT_CARDS),
    "found": ManyAct(worded("Found"), Right.HAND_OUT_CARDS),
    "unlock": ManyAct(worded("Lift lock-out"), Right.LIFT_LOCKOUT),
    "retire": ManyAct(worded("Retire for good"), Right.RETIRE_CARDS, counted=True, reason=True),
}
STATUS_WORDS = {"lost": worded("lost"), "retired": worded("retired")}
SeesCards = Annotated[Member, Depends(staff(Right.SEE_CARDS))]
HandsOut = Annotated[Member, Depends(staff(Right.SEE_CARDS, Right.HAND_OUT_CARDS))]
Retires = Annotated[Member, Depends(staff(Right.SEE_CARDS, Right.RETIRE_CARDS))]
Lifts = Annotated[Member, Depends(staff(Right.SEE_CARDS, Right.LIFT_LOCKOUT))]


@router.get("")
def cards_page(
    member: SeesCards,
    q: str = "",
    where: CardFilter = CardFilter.ALL,
    sort: CardOrder = CardOrder.SERIAL,
    down: str = "",
    after: str = "",
    before: str = "",
) -> Response:
    return _show(member, CardQuery(q[:255].strip(), where, sort, bool(down), after, before))


def _cards(
    member: Member, *, q: str = "", error: ApiError | None = None, notice: str | None = None
) -> Response:
    """After an act on one card."""
    return _show(member, CardQuery(q), error=error, notice=notice)


def _show(
    member: Member, asked: CardQuery, *, error: ApiError | None = None, notice: str | None = None
) -> Response:
    visit = member.visit
    with visit.state.database.read() as connection:
        now = visit.state.now()
        found = card_list.page(connection, visit.firm.id, asked, now)
        shown = [row.serial for row in found.rows]
        undoable = undo.open_for(connection, _actor(member), shown, now)
    return visit.render(
        "cards.html",
        status=error.status if error else 200,
        error=error,
        notice=notice,
        found=found,
        asked=asked,
        undoable=undoable,
        filters=FILTER_WORDS,
        sorts=SORTS,
        acts=many.open_to(member, ACTS),
        link=_linker(asked),
        statuses=STATUS_WORDS,
        now=int(now),
    )


def _linker(asked: CardQuery) -> Callable[..., str]:
    return many.linker(
        {
            "q": asked.text, "where": asked.filter, "sort": asked.order,
            "down": "yes" if asked.down else "",
        }
    )  # fmt: skip


@router.post("/{act}")
def on_many(member: SeesCards, act: str, form: Form) -> Response:
    """An act on all cards that were ticked: on all of them, or on none. Each can be taken back
    alone, as if it had been done alone."""
    state = member.visit.state
    try:
        chosen = many.chosen(member, ACTS, act, form)
        work, reason = _acts(member)[act], many.why(form, act)

        def each(connection: Connection) -> None:
            for serial in _serials(connection, member, chosen):
                work(connection, serial, reason)

        member.act(each)
    except ApiError as error:
        return _cards(member, error=error)
    state.outbox.wake()
    return _cards(
        member, notice=worded("{act}: {number}.", act=ACTS[act].words, number=len(chosen))
    )


def _serials(connection: Connection, member: Member, chosen: Sequence[int]) -> list[str]:
    """In their order, which is that in which they are locked. Raises ApiError (404)."""
    query = select(CardRow.serial).where(
        CardRow.firm_id == member.visit.firm.id, CardRow.id.in_(chosen)
    )
    found = list(connection.scalars(query.order_by(CardRow.serial)))
    if len(found) != len(chosen):
        raise ApiError(
            404,
            "no-such-card",
            "A card that was ticked is not there any more.",
            kept=NOTHING_CHANGED,
            todo="Look at the list anew.",
        )
    return found


Work = Callable[[Connection, str, str], object]


def _acts(member: Member) -> dict[str, Work]:
    """connection, serial number, reason → done, or an ApiError is raised"""
    ring, policy = member.visit.state.ring, member.visit.firm.policy
    actor, now = _actor(member), member.visit.state.now()

    def undoably(word: str, act: Callable[[Connection, str, str], Any]) -> Work:
        return lambda connection, serial, reason: undo.undoable(
            connection, actor, [serial], word, now, lambda: act(connection, serial, reason)
        )

    def without_code(act: Callable[..., Any]) -> Work:
        return undoably(
            act.__name__,
            lambda connection, serial, reason: act(
                connection, ring, actor, serial,
                codes=None, reason=reason, policy=policy, now=now,
            ),
        )  # fmt: skip

    def status(word: str, which: CardStatus) -> Work:
        return undoably(
            word,
            lambda connection, serial, _reason: holding.set_status(
                connection, ring, actor, serial, status=which, now=now
            ),
        )

    return {
        "take-back": without_code(desk.take_back),
        "retire": without_code(desk.retire),
        "lost": status("lost", CardStatus.LOST),
        "found": status("found", CardStatus.REGISTERED),
        "unlock": lambda connection, serial, _reason: holding.unlock(
            connection, ring, actor, serial, now=now
        ),
    }


@router.post("/{serial}/lend")
def lend(member: HandsOut, serial: str, form: Form) -> Response:
    """For the rest of the working day, or until an end that is written as people do."""
    policy, now = member.visit.firm.policy, member.visit.state.now()
    zone = ZoneInfo(policy.time_zone)
    try:
        until = _end(form.get("until", ""), LocalTime(now, zone, policy.day_ends), member)
    except ApiError as error:
        return _cards(member, q=serial, error=error)
    end = WordedMoment.at(until or holding.end_of_day(policy, now), zone)
    return _hand_out(
        member,
        serial,
        form,
        partial(desk.lend, until=until),
        worded("Card {serial} is lent until {end}.", serial=serial, end=end),
    )


def _end(text: str, here: LocalTime, member: Member) -> int | None:
    """Of a loan, in words of the page's language or in English. Raises ApiError (422)."""
    try:
        return parse_moment(text, here, member.visit.language.value)
    except NoSuchTimeError:
        what = worded("The clock of {zone} is put forward over {text}.", zone=here.zone, text=text)
        todo = worded("Give a time before or after.")
    except OtherZoneError:
        what = worded("{text} is in another zone than {zone} then.", zone=here.zone, text=text)
        todo = worded("Leave the zone out.")
    except BadInputError:
        what = worded("“{text}” is no end of a loan.", text=text.strip())
        todo = worded("Write tomorrow, Monday, 17:30, 3h, 2d or 2026-05-01 17:30.")
    raise ApiError(422, "bad-loan", what, kept=NOTHING_CHANGED, todo=todo)


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
        answer = member.act(work)
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
        answer = member.act(
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
        member.act(
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
    with member.acting() as connection:
        holding.unlock(connection, state.ring, _actor(member), serial, now=state.now())
    return _cards(
        member, q=serial, notice=worded("Card {serial} may be tried again at once.", serial=serial)
    )


def _status(member: Member, serial: str, status: CardStatus) -> Response:
    state = member.visit.state
    actor, now = _actor(member), state.now()
    act = "lost" if status is CardStatus.LOST else "found"
    try:
        member.act(
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
