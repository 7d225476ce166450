"""The loans desk: what support staff do with a card in the hand. Each call is one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from tallystick.server.accounts import firms, people
from tallystick.server.accounts.credentials import Caller
from tallystick.server.accounts.policy import parse
from tallystick.server.accounts.rights import covers, role_of
from tallystick.server.api.access import AState
from tallystick.server.api.cards import ActView, AnyOfThese, CardView, DeskOrAdmin, Login, Serial
from tallystick.server.errors import ApiError
from tallystick.server.loans import desk, history, statistics, undo
from tallystick.server.loans.desk import Whereabouts
from tallystick.server.loans.holding import end_of_day
from tallystick.server.stock.cards import describe, meant

router = APIRouter(prefix="/v1", tags=["desk"])

PAGE = 200
Code = Annotated[str, Field(pattern=r"^[0-9]{6,8}$")]
Codes = Annotated[list[Code], Field(min_length=1, max_length=2)]
Until = Annotated[int, Field(ge=0, lt=2**53)] | None
Text = Annotated[str, Query(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


Reason = Annotated[str, Field(min_length=3, max_length=120, pattern=r"^[^\x00-\x1f\x7f]*$")]


class LoanRequest(_Request):
    """until: seconds since 1970; left out: the end of the firm's working day. codes: one of the
    card, or two successive ones where it has drifted; administrators may leave them out."""

    user: Login
    until: Until = None
    codes: Codes | None = None


class AssignmentAtDeskRequest(_Request):
    """codes: as for a loan."""

    user: Login
    codes: Codes | None = None


class ReturnRequest(_Request):
    """Codes of the card, or the reason why it gives none: it is flat, or broken."""

    codes: Codes | None = None
    reason: Reason | None = None


class ReplacementRequest(_Request):
    """by: the new card's serial number; codes: the new card's. until: left out, the terms of the
    lost card."""

    by: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    codes: Codes
    until: Until = None


class ResynchronisationRequest(_Request):
    codes: Annotated[list[Code], Field(min_length=2, max_length=2)]


class RetirementRequest(_Request):
    """Codes of the card, or the reason why it gives none; administrators may leave both out.
    wiped: it is wiped now, so that this cannot be undone."""

    wiped: bool = False

    codes: Codes | None = None
    reason: Reason | None = None


class DeskTerms(BaseModel):
    """What the firm's policy says of loans. now, day_end: seconds since 1970; day_end: until when a
    loan lasts that names no end. counts: cards by where they are."""

    firm: str
    languages: list[str]
    contact: str
    time_zone: str
    day_ends: str
    now: int
    day_end: int
    loan_max_hours: int
    resync_window: int
    without_code_per_day: int
    pool_minimum: int
    counts: dict[Whereabouts, int]


class DeskStatistics(BaseModel):
    """As `statistics.Statistics`; by_actor: names of whoever acted."""

    days: dict[str, dict[str, int]]
    totals: dict[str, int]
    by_actor: dict[str, int]
    late: int
    without_code: int
    found_again: int
    presses: int
    loan_s: int | None


class HistoryEntry(BaseModel):
    """One act. at: seconds since 1970. detail: user, end and the like."""

    at: int
    actor: str
    act: str
    card: str
    detail: dict[str, str | int]


class CardHistory(BaseModel):
    """Newest first."""

    card: CardView
    entries: list[HistoryEntry]


class PersonHistory(BaseModel):
    """What somebody has, and what became of cards of hers, newest first."""

    login: str
    email: str | None
    disabled: bool
    cards: list[CardView]
    entries: list[HistoryEntry]


class CardList(BaseModel):
    """more: ask again with `after` = the last serial number."""

    cards: list[CardView]
    more: bool


class LoginView(BaseModel):
    """beyond: has rights that the caller does not cover, who can give her no card."""

    login: str
    disabled: bool
    beyond: bool


@router.get("/desk")
def terms(state: AState, caller: DeskOrAdmin) -> DeskTerms:
    """The terms of loans, the time, and how many cards are where."""
    policy, now = parse(caller.policy), state.now()
    with state.database.read() as connection:
        firm = firms.by_id(connection, caller.firm_id)
        counts = desk.counts(connection, caller, now)
    return DeskTerms(
        firm=firm.display_name,
        languages=[one.value for one in policy.languages],
        contact=policy.desk_contact,
        time_zone=policy.time_zone,
        day_ends=f"{policy.day_ends:%H:%M}",
        now=int(now),
        day_end=end_of_day(policy, now),
        loan_max_hours=policy.loan_max_hours,
        resync_window=max(policy.resync_window, policy.desk_resync_window),
        without_code_per_day=policy.desk_without_code_per_day,
        pool_minimum=policy.desk_pool_minimum,
        counts=counts,
    )


@router.get("/desk/statistics")
def desk_statistics(
    state: AState, caller: DeskOrAdmin, days: Annotated[int, Query(ge=1, le=366)] = 30
) -> DeskStatistics:
    """What was done with cards in the last days, counted from the audit log."""
    zone = ZoneInfo(parse(caller.policy).time_zone)
    with state.database.read() as connection:
        made = statistics.of_desk(connection, caller.firm_id, zone, days=days, now=state.now())
        names = history.names(connection, caller.firm_id, made.by_actor)
    by_actor: Counter[str] = Counter()
    for actor, count in made.by_actor.items():
        by_actor[names.get(actor, actor)] += count
    return DeskStatistics(**vars(made) | {"by_actor": by_actor})


@router.get("/cards/{serial}/history")
def card_history(serial: Serial, state: AState, caller: DeskOrAdmin) -> CardHistory:
    """A card, and everything that staff and stations did with it."""
    with state.database.read() as connection:
        serial = meant(connection, caller, serial)
        card = describe(connection, caller, serial, state.now())
        entries = history.of_card(connection, caller.firm_id, serial)
    return CardHistory(card=CardView(**card), entries=[_entry(one) for one in entries])


@router.get("/login")
def login_known(
    state: AState,
    caller: AnyOfThese,
    login: Annotated[str, Query(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")],
) -> LoginView:
    """Whether somebody has this login, before a card is made for her; the nearest ones if not."""
    with state.database.read() as connection:
        person = people.meant(connection, caller.firm_id, login)
    beyond = not covers(role_of(caller), other=person.role)
    return LoginView(login=person.login, disabled=person.disabled, beyond=beyond)


@router.get("/person")
def person_history(
    state: AState,
    caller: DeskOrAdmin,
    login: Annotated[str, Query(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")],
) -> PersonHistory:
    """Somebody, with the cards that she has and had."""
    with state.database.read() as connection:
        person = people.meant(connection, caller.firm_id, login)
        held = desk.held_by(connection, caller, person.id, state.now())
        entries = history.of_person(connection, caller.firm_id, person.login)
    return PersonHistory(
        login=person.login,
        email=person.email,
        disabled=person.disabled,
        cards=[CardView(**card) for card in held],
        entries=[_entry(one) for one in entries],
    )


def _entry(one: history.CardEvent) -> HistoryEntry:
    return HistoryEntry(at=one.at, actor=one.actor, act=one.act, card=one.card, detail=one.detail)


@router.get("/cards")
def list_cards(
    state: AState,
    caller: DeskOrAdmin,
    where: Whereabouts | None = None,
    q: Text = "",
    after: Text = "",
    limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
) -> CardList:
    """Cards by serial number: the pool, those lent, overdue, …; q: part of serial or login."""
    with state.database.read() as connection:
        found = desk.listed(
            connection,
            caller,
            where=where,
            text=q,
            after=after,
            limit=limit + 1,
            now=state.now(),
        )
    return CardList(cards=[CardView(**card) for card in found[:limit]], more=len(found) > limit)


@router.post("/cards/{serial}/loan")
def lend(serial: Serial, body: LoanRequest, state: AState, caller: DeskOrAdmin) -> ActView:
    """Lend a card that nobody holds, for the day or until a given second."""
    return _done(
        state,
        caller,
        serial,
        desk.lend,
        login=body.user,
        codes=_codes(body.codes),
        until=body.until,
    )


@router.post("/cards/{serial}/assignment")
def assign(
    serial: Serial, body: AssignmentAtDeskRequest, state: AState, caller: DeskOrAdmin
) -> ActView:
    """Give a card that nobody holds to somebody for good."""
    return _done(state, caller, serial, desk.assign, login=body.user, codes=_codes(body.codes))


@router.post("/cards/{serial}/return")
def give_back(serial: Serial, body: ReturnRequest, state: AState, caller: DeskOrAdmin) -> ActView:
    """End a loan, also one that is overdue."""
    return _done(
        state,
        caller,
        serial,
        desk.give_back,
        codes=_codes(body.codes),
        reason=(body.reason or "").strip(),
    )


@router.post("/cards/{serial}/replacement")
def replace(
    serial: Serial, body: ReplacementRequest, state: AState, caller: DeskOrAdmin
) -> ActView:
    """Report a card lost and hand another to its holder. → the new card"""
    return _done(
        state, caller, serial, desk.replace, by=body.by, codes=tuple(body.codes), until=body.until
    )


@router.post("/cards/{serial}/resynchronisation")
def resynchronise(
    serial: Serial, body: ResynchronisationRequest, state: AState, caller: DeskOrAdmin
) -> ActView:
    """Find a drifted card again by two successive codes, whoever holds it."""
    return _done(state, caller, serial, desk.resynchronise, codes=tuple(body.codes))


@router.post("/cards/{serial}/undo")
def take_back_act(serial: Serial, state: AState, caller: DeskOrAdmin) -> ActView:
    """Undo one's own last act on a card, within two minutes: 409 where that is no longer so."""
    return ActView(
        **state.database.run(
            lambda connection: undo.undo(
                connection,
                state.ring,
                caller,
                meant(connection, caller, serial),
                now=state.now(),
            )
        )
    )


@router.post("/cards/{serial}/retirement")
def retire(serial: Serial, body: RetirementRequest, state: AState, caller: DeskOrAdmin) -> ActView:
    """Retire a card for good."""
    return _done(
        state,
        caller,
        serial,
        desk.retire,
        final=body.wiped,
        codes=_codes(body.codes),
        reason=(body.reason or "").strip(),
    )


def _codes(codes: list[str] | None) -> tuple[str, ...] | None:
    return tuple(codes) if codes is not None else None


def _done(
    state: AState,
    caller: Caller,
    serial: str,
    act: Callable[..., dict[str, Any] | ApiError],
    *,
    final: bool = False,
    **more: object,
) -> ActView:
    """An act of the desk, as one transaction. final: it cannot be undone."""
    now = state.now()

    def work(connection: Connection) -> dict[str, Any] | ApiError:
        known = meant(connection, caller, serial)
        other = {name: meant(connection, caller, str(more[name])) for name in more if name == "by"}

        def once() -> dict[str, Any] | ApiError:
            return act(
                connection, state.ring, caller, known,
                policy=parse(caller.policy), now=now, **(more | other),
            )  # fmt: skip

        if final:
            undo.forget(connection, caller, known)
            return once()
        serials = sorted({known, *other.values()})
        return undo.undoable(connection, caller, serials, act.__name__, now, once)

    answer = state.database.run(work)
    if isinstance(answer, ApiError):
        raise answer
    state.outbox.wake()
    return ActView(**answer)
