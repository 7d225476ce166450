"""What staff do about somebody's ways to sign in: end pauses and sessions, take a method away."""

from __future__ import annotations

from sqlalchemy import Connection

from tallystick.server.accounts import factors, people, sessions
from tallystick.server.accounts.people import KnownPerson
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.accounts.rights import covers, needs_more_rights, role_of
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.joining.keeping import Ways, own_account, teller
from tallystick.server.loans import holding
from tallystick.server.methods import METHODS, held_by
from tallystick.server.methods.base import Context, Held
from tallystick.server.signing_in import login, recovery, second
from tallystick.server.state import ServerState
from tallystick.server.store import rates
from tallystick.server.store.audit import record
from tallystick.server.wording.worded import worded


def context_for(state: ServerState, connection: Connection, ways: Ways) -> Context:
    firm = ways.firm
    return second.context_of(state, connection, firm.id, firm.name, firm.policy, "")


def all_methods(context: Context, person: KnownPerson) -> list[Held]:
    """What the person has enrolled or was handed, also what policy does not allow now."""
    return held_by(context, second.as_person(person), METHODS)


def unlock(state: ServerState, connection: Connection, ways: Ways, person_id: int) -> KnownPerson:
    """Lift every lock-out of a person: password, cards and other methods. Raises ApiError (404,
    429)."""
    person = people.get(connection, ways.firm.id, person_id)
    rates.take(
        connection,
        f"unlock|{person.id}",
        limit=holding.UNLOCKS_PER_DAY,
        window_s=86400,
        now=ways.now,
        what=worded("lock-outs of this user were lifted today"),
    )
    rates.clear(connection, login.password_bucket(ways.ring, ways.firm.id, person.login))
    factors.unlock(connection, person.id)
    for held in second.usable(context_for(state, connection, ways), person):
        if held.kind == "card":
            holding.unlock(connection, ways.ring, ways.caller, held.key, now=ways.now)
    record(connection, ways.ring, [ways.act("lockout-lifted", person.login)])
    tell = teller(connection, ways)
    tell(person, worded("a pause after wrong codes or passwords was ended early"))
    return person


def end_sessions(connection: Connection, ways: Ways, person_id: int) -> KnownPerson:
    """Sign a person out everywhere, as when a computer was stolen. Raises ApiError (404)."""
    person = people.get(connection, ways.firm.id, person_id)
    sessions.end_all(connection, person.id)
    record(connection, ways.ring, [ways.act("sessions-ended", person.login)])
    teller(connection, ways)(person, worded("you were signed out everywhere"))
    return person


def remove_method(
    state: ServerState,
    connection: Connection,
    ways: Ways,
    person_id: int,
    kind: MethodKind,
    key: str,
) -> KnownPerson:
    """As when a telephone was stolen. A card is lost from then on. What is left has to be enough,
    or the help desk has to recover the account: a password alone does not open it.
    Raises ApiError: 403 for oneself, and somebody with more rights; 404."""
    person = people.get(connection, ways.firm.id, person_id, lock=True)
    if ways.is_own(person):
        raise own_account()
    if not covers(role_of(ways.caller), other=person.role):
        raise needs_more_rights(person.login)
    context = context_for(state, connection, ways)
    held = next(
        (one for one in all_methods(context, person) if (one.kind, one.key) == (kind, key)), None
    )
    if held is None:
        raise ApiError(404, "no-such-method", "This method is not enrolled.", kept=NOTHING_CHANGED)
    recovery.take_away(context, person, held)
    detail = {"kind": kind.value, "method": key}
    record(connection, ways.ring, [ways.act("method-removed", person.login, **detail)])
    what = worded("the help desk removed a way to sign in: {name}", name=held.label)
    teller(connection, ways)(person, what)
    return person
