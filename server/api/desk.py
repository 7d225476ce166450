"""The loans desk: what support staff do with a card in the hand. Each call is one transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from tallystick.server.accounts import people
from tallystick.server.accounts.credentials import Caller
from tallystick.server.accounts.policy import parse
from tallystick.server.api.access import AState
from tallystick.server.api.cards import CardView, DeskOrAdmin, Login, Serial
from tallystick.server.errors import ApiError
from tallystick.server.loans import desk
from tallystick.server.loans.desk import Whereabouts

router = APIRouter(prefix="/v1", tags=["desk"])

PAGE = 200
Code = Annotated[str, Field(pattern=r"^[0-9]{6,8}$")]
Codes = Annotated[list[Code], Field(min_length=1, max_length=2)]
Until = Annotated[int, Field(ge=0, lt=2**53)] | None
Text = Annotated[str, Query(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LoanRequest(_Request):
    """until: seconds since 1970; left out: the end of the firm's working day. codes: one of the
    card, or two successive ones where it has drifted; administrators may leave them out."""

    user: Login
    until: Until = None
    codes: Codes | None = None


class ReturnRequest(_Request):
    codes: Codes


class ReplacementRequest(_Request):
    """by: the new card's serial number; codes: the new card's. until: left out, the terms of the
    lost card."""

    by: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    codes: Codes
    until: Until = None


class ResynchronisationRequest(_Request):
    codes: Annotated[list[Code], Field(min_length=2, max_length=2)]


class RetirementRequest(_Request):
    """codes: administrators may leave them out."""

    codes: Codes | None = None


class CardList(BaseModel):
    """more: ask again with `after` = the last serial number."""

    cards: list[CardView]
    more: bool


class PersonView(BaseModel):
    login: str
    disabled: bool


class PersonList(BaseModel):
    people: list[PersonView]


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


@router.get("/people")
def list_people(
    state: AState,
    caller: DeskOrAdmin,
    q: Text = "",
    limit: Annotated[int, Query(ge=1, le=PAGE)] = 20,
) -> PersonList:
    """People whose login contains q."""
    with state.database.read() as connection:
        found = people.search(connection, caller.firm_id, q, limit=limit)
    return PersonList(people=[PersonView(login=p.login, disabled=p.disabled) for p in found])


@router.post("/cards/{serial}/loan")
def lend(serial: Serial, body: LoanRequest, state: AState, caller: DeskOrAdmin) -> CardView:
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


@router.post("/cards/{serial}/return")
def give_back(serial: Serial, body: ReturnRequest, state: AState, caller: DeskOrAdmin) -> CardView:
    """End a loan, also one that is overdue."""
    return _done(state, caller, serial, desk.give_back, codes=tuple(body.codes))


@router.post("/cards/{serial}/replacement")
def replace(
    serial: Serial, body: ReplacementRequest, state: AState, caller: DeskOrAdmin
) -> CardView:
    """Report a card lost and hand another to its holder. → the new card"""
    return _done(
        state, caller, serial, desk.replace, by=body.by, codes=tuple(body.codes), until=body.until
    )


@router.post("/cards/{serial}/resynchronisation")
def resynchronise(
    serial: Serial, body: ResynchronisationRequest, state: AState, caller: DeskOrAdmin
) -> CardView:
    """Find a drifted card again by two successive codes, whoever holds it."""
    return _done(state, caller, serial, desk.resynchronise, codes=tuple(body.codes))


@router.post("/cards/{serial}/retirement")
def retire(serial: Serial, body: RetirementRequest, state: AState, caller: DeskOrAdmin) -> CardView:
    """Retire a card for good."""
    return _done(state, caller, serial, desk.retire, codes=_codes(body.codes))


def _codes(codes: list[str] | None) -> tuple[str, ...] | None:
    return tuple(codes) if codes is not None else None


def _done(
    state: AState,
    caller: Caller,
    serial: str,
    act: Callable[..., dict[str, Any] | ApiError],
    **more: object,
) -> CardView:
    """An act of the desk, as one transaction."""
    answer = state.database.run(
        lambda connection: act(
            connection,
            state.ring,
            caller,
            serial,
            policy=parse(caller.policy),
            now=state.now(),
            **more,
        )
    )
    if isinstance(answer, ApiError):
        raise answer
    return CardView(**answer)
