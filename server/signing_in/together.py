"""What two members of staff do together: recover an account, hand a card to someone with more
rights than the one who has it in the hand. One asks, another agrees; neither is the user."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, delete, insert, select, update

from tallystick.common.moments import in_words
from tallystick.server.accounts import people
from tallystick.server.accounts.credentials import Caller
from tallystick.server.accounts.firms import KnownFirm
from tallystick.server.accounts.people import KnownPerson
from tallystick.server.accounts.rights import RIGHTS, Right, covers
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.loans import holding
from tallystick.server.loans.proof import Codes, prove
from tallystick.server.messages import outbox
from tallystick.server.messages.gateways import Letter
from tallystick.server.messages.letters import languages_for
from tallystick.server.signing_in import recovery
from tallystick.server.state import ServerState
from tallystick.server.stock import cards
from tallystick.server.store.audit import Act, record
from tallystick.server.store.database import AnyRow
from tallystick.server.store.models import PersonRow
from tallystick.server.store.models_login import HelpRequest
from tallystick.server.wording.catalogue import say
from tallystick.server.wording.languages import Language
from tallystick.server.wording.worded import worded

LIFE_S = 3600
HAND_OVER = "hand-over"
_RIGHT = {recovery.RECOVERY: Right.HELP_PEOPLE, HAND_OVER: Right.HAND_OUT_CARDS}


@dataclass(frozen=True)
class WaitingDecision:
    """A request as staff see it. asker, person: login names. detail: of its kind. Times since
    1970."""

    id: int
    kind: str
    person_id: int
    person: str
    asked_by: int
    asker: str
    agreed_by: int | None
    reason: str
    detail: Mapping[str, Any]
    asked_at: int
    expires_at: int


def waiting(
    connection: Connection, firm_id: int, now: float, *, person_id: int | None = None
) -> list[WaitingDecision]:
    """What was asked for and is not over, the oldest first."""
    person, asker = PersonRow.__table__.alias(), PersonRow.__table__.alias()
    query = (
        select(
            HelpRequest.id,
            HelpRequest.kind,
            HelpRequest.person_id,
            person.c.login.label("person"),
            HelpRequest.asked_by,
            asker.c.login.label("asker"),
            HelpRequest.agreed_by,
            HelpRequest.reason,
            HelpRequest.detail,
            HelpRequest.asked_at,
            HelpRequest.expires_at,
        )
        .join(person, person.c.id == HelpRequest.person_id)
        .join(asker, asker.c.id == HelpRequest.asked_by)
        .where(
            HelpRequest.firm_id == firm_id,
            HelpRequest.expires_at > int(now),
            # A code made at the console waits for nobody.
            HelpRequest.asked_by != HelpRequest.person_id,
        )
        .order_by(HelpRequest.id)
    )
    if person_id is not None:
        query = query.where(HelpRequest.person_id == person_id)
    return [
        WaitingDecision(**dict(row._mapping) | {"detail": json.loads(row.detail)})
        for row in connection.execute(query)
    ]


def ask_recovery(
    state: ServerState,
    connection: Connection,
    firm: KnownFirm,
    asker: KnownPerson,
    person: KnownPerson,
    *,
    reason: str = "",
    voids: Sequence[tuple[str, str]] = (),
) -> int:
    """Ask for a recovery; voids: kind and key of the methods that are lost. → its number"""
    if asker.id == person.id:
        raise _not_alone()
    _must_count(state, asker)
    request_id = recovery.new_request(
        connection,
        asker,
        person,
        now=state.now(),
        life_s=LIFE_S,
        reason=reason,
        voids=voids,
    )
    void = {"voids": ", ".join(f"{kind} {key}" for kind, key in voids)} if voids else {}
    _note(state, connection, asker, "help-asked", person.login, reason=reason, **void)
    _tell_colleagues(state, connection, firm, asker, person, recovery.RECOVERY, reason)
    return request_id


def ask_hand_over(
    state: ServerState,
    connection: Connection,
    firm: KnownFirm,
    asker: KnownPerson,
    serial: str,
    *,
    login: str,
    codes: Codes | None,
    for_good: bool,
) -> int | ApiError:
    """Ask that the card in the hand is lent, or given for good, to someone with more rights. → its
    number, or (returned, so that it counts) why its code is refused."""
    caller = _caller(asker)
    row = cards.find(connection, caller, serial, lock=True)
    holding.must_be_in_service(row)
    holding.must_be_valid(row, state.now())
    person = people.meant(connection, firm.id, login)
    if asker.id == person.id:
        raise _not_alone()
    _must_count(state, asker)
    if holding.holder(connection, row.id, state.now()) is not None:
        raise holding.held_already(serial)
    proof = prove(
        connection, state.ring, caller, row, codes, firm.policy, state.now(), act="hand-over"
    )
    if isinstance(proof, ApiError):
        return proof
    connection.execute(
        delete(HelpRequest).where(HelpRequest.person_id == person.id, HelpRequest.kind == HAND_OVER)
    )
    made = connection.execute(
        insert(HelpRequest).returning(HelpRequest.id),
        {
            "id": recovery.new_number(),
            "firm_id": firm.id,
            "person_id": person.id,
            "asked_by": asker.id,
            "tries": 0,
            "expires_at": int(state.now()) + LIFE_S,
            "kind": HAND_OVER,
            "reason": f"card {serial}",
            "detail": json.dumps({"serial": serial, "for_good": for_good}),
            "asked_at": int(state.now()),
        },
    )
    _note(state, connection, asker, "hand-over-asked", person.login, card=serial)
    _tell_colleagues(state, connection, firm, asker, person, HAND_OVER, f"card {serial}")
    return int(made.scalar_one())


def agree(
    state: ServerState,
    connection: Connection,
    firm: KnownFirm,
    other: KnownPerson,
    request_id: int,
    *,
    helped_id: int,
) -> None:
    """A second member of staff agrees; a card changes hands then. helped_id: whom he was shown.
    Raises ApiError: 404, also where the request is for somebody else; 403 for the one who asked,
    for the person himself, when the one who asked may not ask any more, and when the person has
    rights that neither of the two has."""
    request = _request(state, connection, other.firm_id, request_id)
    if request.person_id != helped_id:
        raise _no_such_request()
    if other.id in (request.asked_by, request.person_id) or request.agreed_by is not None:
        raise _not_alone()
    asker = people.get(connection, other.firm_id, request.asked_by)
    helped = people.get(connection, other.firm_id, request.person_id)
    _must_still_do(state, request.kind, asker, other, helped)
    connection.execute(
        update(HelpRequest).where(HelpRequest.id == request_id).values(agreed_by=other.id)
    )
    action = "help-agreed" if request.kind == recovery.RECOVERY else "hand-over-agreed"
    _note(state, connection, other, action, helped.login)
    if request.kind == HAND_OVER:
        _hand_over(state, connection, firm, other, helped, json.loads(request.detail))
        connection.execute(delete(HelpRequest).where(HelpRequest.id == request_id))


def withdraw(
    state: ServerState,
    connection: Connection,
    staff: KnownPerson,
    request_id: int,
    *,
    helped_id: int,
) -> None:
    """Nothing comes of a request, nor of the code that was made for it: the one who asked thought
    better of it, or a colleague does not agree. Raises ApiError (404) as `agree`."""
    request = _request(state, connection, staff.firm_id, request_id)
    if request.person_id != helped_id:
        raise _no_such_request()
    connection.execute(delete(HelpRequest).where(HelpRequest.id == request_id))
    helped = people.get(connection, staff.firm_id, helped_id)
    asker = people.get(connection, staff.firm_id, request.asked_by)
    action = "help-withdrawn" if request.kind == recovery.RECOVERY else "hand-over-withdrawn"
    _note(state, connection, staff, action, helped.login, asked_by=asker.login)


def _must_still_do(
    state: ServerState, kind: str, asker: KnownPerson, other: KnownPerson, helped: KnownPerson
) -> None:
    """Whether the two may do it now: one of them may have been barred meanwhile, or the person have
    become more than he was. Raises ApiError (403)."""
    if any(one.disabled or _RIGHT[kind] not in RIGHTS[one.role] for one in (asker, other)):
        raise _not_alone()
    _must_count(state, asker, other)
    if not covers(asker.role, other.role, other=helped.role):
        raise ApiError(
            403,
            "needs-more-rights",
            worded("{login} has rights that neither of you has.", login=helped.login),
            kept=NOTHING_CHANGED,
            todo="An administrator has to be one of the two.",
        )


def _counts(one: KnownPerson, now: float) -> bool:
    return one.colleague_from is None or now >= one.colleague_from


def _must_count(state: ServerState, *ones: KnownPerson) -> None:
    """Somebody whom a colleague made one of the staff a moment ago may be that colleague. Raises
    ApiError (403)."""
    for one in ones:
        if not _counts(one, state.now()):
            raise ApiError(
                403,
                "new-colleague",
                worded("{login} is new among the staff.", login=one.login),
                kept=NOTHING_CHANGED,
                todo=worded(
                    "For {days} days, whoever is new decides nothing together with a colleague.",
                    days=people.NEW_COLLEAGUE_S // 86400,
                ),
            )


def _hand_over(
    state: ServerState,
    connection: Connection,
    firm: KnownFirm,
    other: KnownPerson,
    helped: KnownPerson,
    detail: Mapping[str, Any],
) -> None:
    # One of the two has the rights: that was looked at, so the terms below are the person's own.
    caller = Caller(
        f"person:{other.id}", firm.id, _caller(other).role, other.login, "", helped.role
    )
    if detail["for_good"]:
        holding.assign(
            connection, state.ring, caller, detail["serial"], login=helped.login, now=state.now()
        )
        return
    holding.lend(
        connection,
        state.ring,
        caller,
        detail["serial"],
        login=helped.login,
        policy=firm.policy,
        now=state.now(),
    )


def collect(
    state: ServerState,
    connection: Connection,
    asker: KnownPerson,
    request_id: int,
    *,
    helped_id: int,
) -> str:
    """The one who asked gets the code to read out, once the other has agreed, while both still
    might. → the code, shown once; a second call makes a new one. Raises as `agree`."""
    request = _request(state, connection, asker.firm_id, request_id)
    if request.kind != recovery.RECOVERY or request.person_id != helped_id:
        raise _no_such_request()
    if request.asked_by != asker.id or request.agreed_by is None:
        raise _not_alone()
    other = people.get(connection, asker.firm_id, request.agreed_by)
    person = people.get(connection, asker.firm_id, request.person_id)
    _must_still_do(state, request.kind, asker, other, person)
    _note(state, connection, asker, "help-code-made", person.login)
    return recovery.make_code(state, connection, request_id)


def _request(state: ServerState, connection: Connection, firm_id: int, request_id: int) -> AnyRow:
    row = connection.execute(
        select(
            HelpRequest.person_id,
            HelpRequest.asked_by,
            HelpRequest.agreed_by,
            HelpRequest.kind,
            HelpRequest.detail,
        )
        .where(
            HelpRequest.firm_id == firm_id,
            HelpRequest.id == request_id,
            HelpRequest.kind.in_(_RIGHT),
            HelpRequest.expires_at > int(state.now()),
        )
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise _no_such_request()
    return row


def _tell_colleagues(
    state: ServerState,
    connection: Connection,
    firm: KnownFirm,
    asker: KnownPerson,
    person: KnownPerson,
    kind: str,
    reason: str,
) -> None:
    """A letter to everyone who may agree and has an address."""
    names = {"asker": asker.login, "login": person.login}
    asks = {
        recovery.RECOVERY: worded("{asker} asks to recover the account of {login}.", **names),
        HAND_OVER: worded("{asker} asks to hand a card to {login}.", **names),
    }[kind]
    why = worded("Why: {reason}.", reason=reason or worded("no reason was given"))
    subject = worded("{asker} waits for a colleague", asker=asker.login)

    def letter(to: str, language: Language) -> Letter:
        until = in_words(state.now() + LIFE_S, ZoneInfo(firm.policy.time_zone), language.value)
        agree = worded("Somebody else of the staff has to agree by {until}.", until=until)
        text = "\n".join(say(one, language) for one in (asks, why, agree))
        link = f"{state.public_url}/p/{firm.name}/waiting"
        return Letter(to, say(subject, language), f"{text}\n\n{link}\n")

    for one in people.search(connection, firm.id, "", limit=None):
        may = _RIGHT[kind] in RIGHTS[one.role] and not one.disabled
        may = may and _counts(one, state.now())
        enough = covers(asker.role, one.role, other=person.role)
        if may and enough and one.email and one.id not in (asker.id, person.id):
            outbox.post(
                connection,
                state.ring,
                firm_id=firm.id,
                channel=outbox.EMAIL,
                letter=letter(one.email, languages_for(one.language, firm.policy)[0]),
                now=state.now(),
                life_s=LIFE_S,
            )


def _caller(person: KnownPerson) -> Caller:
    return cards.staff(person.id, person.firm_id, person.login, person.role)


def _note(
    state: ServerState,
    connection: Connection,
    actor: KnownPerson,
    action: str,
    subject: str,
    **detail: str,
) -> None:
    at_ms = int(state.now() * 1000)
    act = Act(at_ms, actor.firm_id, f"person:{actor.id}", action, subject, detail)
    record(connection, state.ring, [act])


def _no_such_request() -> ApiError:
    return ApiError(404, "no-such-request", "There is no such request.", kept=NOTHING_CHANGED)


def _not_alone(what: str = worded("A recovery")) -> ApiError:
    return ApiError(
        403,
        "needs-two",
        worded("{what} needs two members of staff, and neither may be the user.", what=what),
        kept=NOTHING_CHANGED,
        todo="Ask a colleague to agree to it.",
    )
