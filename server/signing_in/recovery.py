"""A forgotten password: prove yourself with a factor that policy lets recover, or with the help
desk and a second person's consent. No answer tells whether an account exists."""

from __future__ import annotations

import functools
import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection, delete, insert, select, update

from tallystick.common import beside, chance, moments
from tallystick.server.accounts import firms, passwords, people, sessions
from tallystick.server.accounts.people import KnownPerson
from tallystick.server.accounts.policy import FirmPolicy, MethodKind
from tallystick.server.accounts.rights import RIGHTS, Right, covers
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.loans import holding
from tallystick.server.loans.holding import CardStatus
from tallystick.server.messages.notices import notify
from tallystick.server.methods import METHODS
from tallystick.server.methods.base import Context, Form, Held
from tallystick.server.rules.judge import Reason, Verdict
from tallystick.server.signing_in import attempts, limits
from tallystick.server.signing_in.attempts import Purpose, Stage, Under
from tallystick.server.signing_in.login import (
    Browser,
    asked_of_directory,
    directory_takes,
    known_name,
    password_bucket,
    password_elsewhere,
)
from tallystick.server.signing_in.second import as_person, audit_verdict, context_of, over, usable
from tallystick.server.state import ServerState
from tallystick.server.stock import cards
from tallystick.server.store import rates
from tallystick.server.store.audit import Act, record
from tallystick.server.store.database import AnyRow
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models import PersonRow
from tallystick.server.store.models_login import HelpRequest
from tallystick.server.wording.worded import worded

EVENED_S = 0.1
WINDOW_S = 3600
CONSOLE_LIFE_S = 86400
RECOVERY_SHARE = 2  # of the messages an hour, recoveries get one in so many
TRIES_PER_ATTEMPT = 5
# A code has 59 bits, and tries are counted by source: this is a bound, not what keeps guesses out.
# A small one would let anybody who knows a login name void the code.
HELP_TRIES = 1000
CODE_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # no look-alikes: it is read out loud
CODE_LENGTH = 12
RECOVERY, INVITATION = "recovery", "invitation"


P = ParamSpec("P")
T = TypeVar("T")


class CodeMaker(Protocol):
    """What making a help code needs of the server."""

    @property
    def ring(self) -> ServerKeyRing: ...


def evened(work: Callable[P, T]) -> Callable[P, T]:
    """The answer takes as long for a name that exists as for one that does not: more is done for
    the one (a code is sent, a proof is judged), and that must not show."""

    @functools.wraps(work)
    def timed(*args: P.args, **kwargs: P.kwargs) -> T:
        began = moments.steady()
        try:
            return work(*args, **kwargs)
        finally:
            beside.sleep(max(0.0, EVENED_S - (moments.steady() - began)))

    return timed


@evened
def start(
    state: ServerState, firm_name: str, login: str, kind: MethodKind, browser: Browser
) -> str:
    """Begin with the kind of factor that the user says he has. A code is sent if there is such a
    factor; the answer is the same if not. → token for a cookie. Raises ApiError (429, 422)."""

    def work(connection: Connection) -> str:
        firm = firms.by_name(connection, firm_name)
        now = state.now()
        if kind not in _that_recover(firm.policy):
            raise ApiError(
                422,
                "not-for-recovery",
                "Your firm does not allow recovery by this method.",
                kept=NOTHING_CHANGED,
                todo="Choose another one, or ask your help desk.",
            )
        name = people.login_of(connection, firm.id, login)
        tag = state.ring.tag("login", f"{firm.id}|{people.canonical(name)}".encode()).hex()
        limits.before_recovery(
            connection, firm.policy, firm.id, f"recover|{tag}", browser.source, now
        )
        person = people.find(connection, firm.id, name)
        if person is not None and person.disabled:
            person = None
        token = attempts.begin(
            connection,
            firm_id=firm.id,
            person_id=person.id if person else None,
            purpose=Purpose.RECOVERY,
            stage=Stage.PROVE,
            context={"kind": kind.value, "tries": 0},
            source=browser.source,
            now=now,
        )
        context = context_of(
            state,
            connection,
            firm.id,
            firm.name,
            firm.policy,
            browser.source,
            attempt=sessions.digest(token),
        )
        _tried(state, connection, firm.id, person, "recovery-begun", kind=kind.value)
        held = _first_of_kind(context, person, kind)
        if person is not None and held is not None and METHODS[kind].sends:
            context = replace(context, known=known_name(state, person, browser))
            _send_if_allowed(context, person, held)
        return token

    token = state.database.run(work)
    state.outbox.wake()
    return token


@evened
def prove(state: ServerState, firm_name: str, token: str, form: Form, browser: Browser) -> Verdict:
    """Judge the code. After TRIES_PER_ATTEMPT wrong ones the attempt is over, whoever it is for.
    Raises ApiError: 401 when it is over; 403 when the code was right and its owner has nothing else
    to sign in with: a password that was recovered by it would make one factor of two."""

    def work(connection: Connection) -> Verdict | ApiError:
        context, under, person = _under(state, connection, firm_name, token, browser.source)
        if under.stage is not Stage.PROVE:
            raise over()
        kind = MethodKind(under.context["kind"])
        held = _first_of_kind(context, person, kind)
        verdict = Verdict(Reason.WRONG)
        if person is not None and held is not None:
            verdict = METHODS[kind].verify(context, as_person(person), held.key, form)
            audit_verdict(context, person, held, verdict)
        if verdict.accepted and person is not None and not _another(context, person, kind):
            attempts.finish(connection, under)
            return _needs_another()
        if verdict.accepted:
            attempts.advance(connection, under, stage=Stage.RESET, context=under.context)
            return verdict
        _tried(state, connection, under.firm_id, person, "recovery-wrong", kind=kind.value)
        tries = int(under.context["tries"]) + 1
        if tries >= TRIES_PER_ATTEMPT:
            attempts.finish(connection, under)
        else:
            values = dict(under.context) | {"tries": tries}
            attempts.advance(connection, under, stage=Stage.PROVE, context=values)
        # Every refusal reads the same: `throttled` or `expired` would tell that there is a factor.
        return Verdict(Reason.WRONG)

    outcome = state.database.run(work)
    if isinstance(outcome, ApiError):  # returned, so that the code stays used
        raise outcome
    return outcome


def _another(context: Context, person: KnownPerson, kind: MethodKind) -> bool:
    """Whether the person could sign in with something else than what recovers."""
    thing = METHODS[kind].thing
    return any(METHODS[held.kind].thing is not thing for held in usable(context, person))


def reset(
    state: ServerState, firm_name: str, token: str, password: str, browser: Browser
) -> str | None:
    """Set the new password, end all sessions, tell the user. What the help desk named is void. →
    None, or the token of a session that can only enrol: for someone whom the help desk helped, and
    who has nothing left to sign in with. Raises ApiError: 401, 422."""
    with state.database.write() as connection:
        context, under, person = _under(state, connection, firm_name, token, browser.source)
    if under.stage is not Stage.RESET or person is None:
        raise over()
    elsewhere = asked_of_directory(person, context.policy)
    if elsewhere:
        _must_be_the_directorys(state, firm_name, person, password, under)
        hashed = None
    else:
        policy, about = context.policy, people.known_of(person)
        passwords.check_new(password, person.login, policy, state.breached, state.now(), about)
        hashed = passwords.hash_new(password)

    def work(connection: Connection) -> str | None:
        inside, again, _ = _under(state, connection, firm_name, token, browser.source)
        if again.stage is not Stage.RESET:
            raise over()
        attempts.finish(connection, again)
        helped = bool(again.context.get("help"))
        if helped:
            _void(inside, person, again.context.get("voids", []))
        kind = again.context.get("kind")
        by = METHODS[MethodKind(kind)].thing.value if kind else None
        if hashed is None:
            _begin_anew(state, connection, person)
        else:
            set_password(
                state, connection, context.firm, context.policy, person, hashed, recovered_by=by
            )
        if again.context.get("invited"):
            note_first(connection, person, inside.now)
        if not helped or not person.enrolled or usable(inside, person):
            return None
        _act(inside, person, "enrol-only-session")
        return sessions.open_session(
            connection,
            person=person,
            policy=context.policy,
            amr=("pwd",),
            browser=browser.agent,
            source=browser.source,
            now=inside.now,
            enrol_only=True,
        )

    session = state.database.run(work)
    state.outbox.wake()
    return session


def note_first(connection: Connection, person: KnownPerson, now: float) -> None:
    """An account was opened by an invitation, which one person may have sent to himself: as one of
    the staff it counts after a while only."""
    if columns := people.new_colleague(person.role, now):
        people.change(connection, person.firm_id, person.id, **columns)


def _must_be_the_directorys(
    state: ServerState, firm_name: str, person: KnownPerson, password: str, under: Under
) -> None:
    """The help desk's code lets somebody enrol whose password is the directory's: it is asked for,
    and not set. What a factor recovers is a password, and there is none here. Raises ApiError."""
    if not under.context.get("help"):
        raise password_elsewhere()
    with state.database.write() as connection:
        rates.take(
            connection,
            f"own-password|{person.id}",
            limit=TRIES_PER_ATTEMPT,
            window_s=WINDOW_S,
            now=state.now(),
            what=worded("tries"),
        )
        firm = firms.by_name(connection, firm_name)
    if not directory_takes(state, firm, person, person.login, password):
        with state.database.write() as connection:
            _tried(state, connection, firm.id, person, "password-wrong")
        raise ApiError(
            422,
            "wrong-password",
            "This is not your password in the firm's directory.",
            kept=NOTHING_CHANGED,
            todo="Type the one that you use for your computer.",
        )


def _begin_anew(state: ServerState, connection: Connection, person: KnownPerson) -> None:
    """As `set_password`, but for the password: there is time again to enrol."""
    people.change(connection, person.firm_id, person.id, password_at=int(state.now()))
    forget_requests(connection, person.id)
    sessions.end_all(connection, person.id)
    rates.clear(connection, password_bucket(state.ring, person.firm_id, person.login))


def _void(context: Context, person: KnownPerson, voids: Sequence[Sequence[str]]) -> None:
    """Take away the methods named (key `*`: all of the kind). A card that was named is lost."""
    owner = as_person(person)
    for kind, key in ((MethodKind(kind), key) for kind, key in voids):
        for held in METHODS[kind].held(context, owner):
            if key in ("*", held.key):
                take_away(context, person, held)
                _act(context, person, "method-voided", kind=kind.value, method=held.key)


def take_away(context: Context, person: KnownPerson, held: Held) -> None:
    """A method that is not in its owner's hands any more. A card is lost from now on."""
    if not METHODS[held.kind].handed_out:
        METHODS[held.kind].remove(context, as_person(person), held.key)
        return
    caller = cards.staff(person.id, person.firm_id, person.login, person.role)
    holding.set_status(
        context.connection,
        context.ring,
        caller,
        held.key,
        status=CardStatus.LOST,
        now=context.now,
    )
    holding.take_back(context.connection, context.ring, caller, held.key, now=context.now)


def _act(context: Context, person: KnownPerson, action: str, **detail: str | int) -> None:
    actor = f"person:{person.id}"
    act = Act(int(context.now * 1000), person.firm_id, actor, action, person.login, detail)
    record(context.connection, context.ring, [act])


def set_password(
    state: ServerState,
    connection: Connection,
    firm: str,
    policy: FirmPolicy,
    person: KnownPerson,
    hashed: str,
    *,
    keep_session: int | None = None,
    recovered_by: str | None = None,
) -> None:
    """Store a new password (recovered_by: the thing that allowed it); everyone signed in as this
    person is signed out. What could still set another one, or rests on the old one, is void."""
    passwords.store(connection, person.id, hashed, state.now())
    people.change(connection, person.firm_id, person.id, recovered_by=recovered_by)
    forget_requests(connection, person.id)
    _forget_invitation(connection, person.id)
    sessions.end_all(connection, person.id, but=keep_session)
    rates.clear(connection, password_bucket(state.ring, person.firm_id, person.login))
    act = Act(
        int(state.now() * 1000),
        person.firm_id,
        f"person:{person.id}",
        "password-changed",
        person.login,
    )
    record(connection, state.ring, [act])
    notify(
        connection,
        state.ring,
        firm=firm,
        policy=policy,
        person=person,
        what=worded("the password was changed"),
        now=state.now(),
    )


def console_help(
    state: CodeMaker,
    connection: Connection,
    person: KnownPerson,
    now: float,
    voids: Sequence[tuple[str, str]] = (),
) -> str:
    """A code made at the server's console, by someone who could read the database anyway. voids:
    kind and key of the methods that are void once it was used."""
    request_id = new_request(
        connection, person, person, now=now, life_s=CONSOLE_LIFE_S, voids=voids
    )
    act = Act(int(now * 1000), person.firm_id, "console", "help-code-made", person.login)
    record(connection, state.ring, [act])
    return make_code(state, connection, request_id)


def make_code(state: CodeMaker, connection: Connection, request_id: int) -> str:
    code = "".join(chance.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH))
    connection.execute(
        update(HelpRequest)
        .where(HelpRequest.id == request_id)
        .values(code_tag=code_tag(state, request_id, code), tries=0)
    )
    return f"{code[:4]}-{code[4:8]}-{code[8:]}"


@evened
def with_help(state: ServerState, firm_name: str, login: str, code: str, browser: Browser) -> str:
    """The user enters the code that he was told. → token for a cookie, at the stage of setting a
    password. Raises ApiError: 401 for anything wrong, 429."""

    def work(connection: Connection) -> str | None:
        firm = firms.by_name(connection, firm_name)
        now = state.now()
        limits.before_help_code(connection, firm.policy, firm.id, browser.source, now)
        name = people.login_of(connection, firm.id, login)
        rows = connection.execute(
            select(HelpRequest.id, HelpRequest.code_tag, HelpRequest.person_id, HelpRequest.detail)
            .add_columns(HelpRequest.kind, HelpRequest.asked_by, HelpRequest.agreed_by)
            .join(PersonRow, PersonRow.id == HelpRequest.person_id)
            .where(
                HelpRequest.firm_id == firm.id,
                # An invitation is for whoever had nothing here, when it is used, too.
                (HelpRequest.kind == RECOVERY)
                | ((HelpRequest.kind == INVITATION) & PersonRow.enrolled_at.is_(None)),
                PersonRow.login_key == people.canonical(name),
                HelpRequest.code_tag.is_not(None),
                HelpRequest.tries < HELP_TRIES,
                HelpRequest.expires_at > int(now),
            )
            .order_by(HelpRequest.id)
            .with_for_update(of=HelpRequest)
        ).all()
        clean = code.upper().replace("-", "").replace(" ", "")
        # A recovery, and an invitation that was never used: each has a code.
        right = [hmac.compare_digest(one.code_tag, code_tag(state, one.id, clean)) for one in rows]
        row = next((one for one, good in zip(rows, right, strict=True) if good), None)
        if row is None or not _is_vouched_for(connection, firm.id, row.person_id, _decided(row)):
            tried = HelpRequest.id.in_([one.id for one in rows])
            connection.execute(update(HelpRequest).where(tried).values(tries=HelpRequest.tries + 1))
            limits.help_code_failed(connection, firm.id, browser.source, now)
            person = people.find(connection, firm.id, name)
            _tried(state, connection, firm.id, person, "help-code-wrong")
            return None
        connection.execute(delete(HelpRequest).where(HelpRequest.id == row.id))
        person = people.find(connection, firm.id, name)
        _tried(state, connection, firm.id, person, "help-code-used")
        return attempts.begin(
            connection,
            firm_id=firm.id,
            person_id=row.person_id,
            purpose=Purpose.RECOVERY,
            stage=Stage.RESET,
            context={
                "help": True,
                "decided": _decided(row),
                "voids": json.loads(row.detail).get("voids", []),
                "invited": row.kind == INVITATION,
            },
            source=browser.source,
            now=now,
        )

    token = state.database.run(work)
    if token is None:
        raise ApiError(
            401,
            "wrong-help-code",
            "The name or the code is wrong, or too old.",
            kept=NOTHING_CHANGED,
            todo="Try again, or ask your help desk for a new code.",
        )
    return token


def _decided(request: AnyRow) -> list[int | None]:
    """The two who decided on a code. Nobody else vouches for an invitation, or for a code of the
    console's: []."""
    if request.kind != RECOVERY or request.asked_by == request.person_id:
        return []
    return [request.asked_by, request.agreed_by]


def _is_vouched_for(
    connection: Connection, firm_id: int, person_id: int, decided: Sequence[int | None]
) -> bool:
    """Whether those who decided on a code might still do it: one may have been barred since, or
    lost his rights."""
    if not decided:
        return True
    two = [people.get(connection, firm_id, number) for number in decided if number is not None]
    helped = people.get(connection, firm_id, person_id)
    may = all(Right.HELP_PEOPLE in RIGHTS[one.role] and not one.disabled for one in two)
    return len(two) == len(decided) and may and covers(*(o.role for o in two), other=helped.role)


def asks_for_directory_password(state: ServerState, firm_name: str, token: str) -> bool:
    """Whether whoever has this attempt types the directory's password, and sets none."""
    with state.database.write() as connection:
        try:
            context, under, person = _under(state, connection, firm_name, token, "")
        except ApiError:
            return False
    proved = under.stage is Stage.RESET and person is not None
    return proved and person is not None and asked_of_directory(person, context.policy)


def _under(
    state: ServerState, connection: Connection, firm_name: str, token: str, source: str
) -> tuple[Context, Under, KnownPerson | None]:
    firm = firms.by_name(connection, firm_name)
    under = attempts.find(connection, token, firm.id, Purpose.RECOVERY, state.now())
    if under is None:
        raise over()
    kind = under.context.get("kind")
    if kind is not None and kind not in _that_recover(firm.policy):  # any more
        raise over()
    context = context_of(
        state, connection, firm.id, firm.name, firm.policy, source, attempt=under.id
    )
    context = replace(context, recovering=True)
    if under.person_id is None:
        return context, under, None
    person = people.get(connection, firm.id, under.person_id)
    decided = under.context.get("decided", [])
    if person.disabled or not _is_vouched_for(connection, firm.id, person.id, decided):
        raise over()
    return context, under, person


def _that_recover(policy: FirmPolicy) -> frozenset[MethodKind]:
    return policy.recovery_methods & policy.methods


def _first_of_kind(context: Context, person: KnownPerson | None, kind: MethodKind) -> Held | None:
    if person is None:
        return None
    held = [one for one in usable(context, person) if one.kind is kind and one.confirmed]
    return held[0] if held else None


def _send_if_allowed(context: Context, person: KnownPerson, held: Held) -> None:
    """Too many messages are no reason to answer differently: then none is sent. A part of a
    person's messages only: anybody can begin recoveries, and must not use up those for sign-ins,
    nor those of the person's own browser."""
    strangers = f"recover-send|{person.id}"
    try:
        with context.connection.begin_nested():
            rates.take(
                context.connection,
                f"{strangers}|{context.known}" if context.known else strangers,
                limit=max(1, context.policy.sends_per_person_per_hour // RECOVERY_SHARE),
                window_s=WINDOW_S,
                now=context.now,
                what=worded("codes for recoveries"),
            )
            METHODS[held.kind].challenge(context, as_person(person), held.key)
    except ApiError:
        return


def new_request(
    connection: Connection,
    asker: KnownPerson,
    person: KnownPerson,
    *,
    now: float,
    life_s: int,
    reason: str = "",
    voids: Sequence[tuple[str, str]] = (),
) -> int:
    """→ its number. An older one for this person is void."""
    forget_requests(connection, person.id)
    made = connection.execute(
        insert(HelpRequest).returning(HelpRequest.id),
        {
            "id": new_number(),
            "firm_id": person.firm_id,
            "person_id": person.id,
            "asked_by": asker.id,
            "tries": 0,
            "expires_at": int(now) + life_s,
            "kind": RECOVERY,
            "reason": reason,
            "detail": json.dumps({"voids": [list(one) for one in voids]}),
            "asked_at": int(now),
        },
    )
    return int(made.scalar_one())


def new_number() -> int:
    """Of a request. Drawn, and not counted: a colleague agrees to what he has seen, and a number
    that SQLite gives again would name another request by the time he does."""
    return chance.randbelow(10**9 - 1) + 1


def void_help(connection: Connection, person_id: int) -> None:
    """Who agreed to help a user did not agree to help an administrator: what they agreed to, and
    whatever came of it so far, is void."""
    forget_requests(connection, person_id)
    sessions.end_recoveries(connection, person_id)


def forget_requests(connection: Connection, person_id: int) -> None:
    """No code of before recovers this person's account any more."""
    connection.execute(
        delete(HelpRequest).where(HelpRequest.person_id == person_id, HelpRequest.kind == RECOVERY)
    )


def _forget_invitation(connection: Connection, person_id: int) -> None:
    connection.execute(
        delete(HelpRequest).where(
            HelpRequest.person_id == person_id, HelpRequest.kind == INVITATION
        )
    )


def _needs_another() -> ApiError:
    return ApiError(
        403,
        "needs-another-method",
        "The code was right, but you have nothing else to sign in with.",
        kept="Your password was not changed.",
        todo="Ask your help desk for a code: two of its people have to agree.",
    )


def code_tag(state: CodeMaker, request_id: int, code: str) -> bytes:
    """How a code is stored."""
    return state.ring.tag("help-code", f"{request_id}|{code}".encode())


def _tried(
    state: ServerState,
    connection: Connection,
    firm_id: int,
    person: KnownPerson | None,
    action: str,
    **detail: str | int,
) -> None:
    """Somebody tries, for a person or for nobody: who it is is not proved."""
    subject = person.login if person is not None else "unknown"
    act = Act(int(state.now() * 1000), firm_id, "unknown", action, subject, detail)
    record(connection, state.ring, [act])
