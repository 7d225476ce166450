"""A forgotten password: prove yourself with a factor that policy lets recover, or with the help
desk and a second person's consent. No answer tells whether an account exists."""

from __future__ import annotations

import functools
import hmac
import secrets
import time
from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection, delete, insert, select, update

from tallystick.server.accounts import firms, passwords, people, sessions
from tallystick.server.accounts.people import KnownPerson
from tallystick.server.accounts.policy import FirmPolicy, MethodKind
from tallystick.server.accounts.rights import RIGHTS
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.messages.notices import notify
from tallystick.server.methods import METHODS
from tallystick.server.methods.base import Context, Form, Held
from tallystick.server.rules.judge import Reason, Verdict
from tallystick.server.signing_in import attempts, limits
from tallystick.server.signing_in.attempts import Purpose, Stage, Under
from tallystick.server.signing_in.login import Browser, password_bucket
from tallystick.server.signing_in.second import as_person, audit_verdict, context_of, over, usable
from tallystick.server.state import ServerState
from tallystick.server.store import rates
from tallystick.server.store.audit import Act, record
from tallystick.server.store.database import AnyRow
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models import PersonRow
from tallystick.server.store.models_login import HelpRequest

EVENED_S = 0.1
WINDOW_S = 3600
CONSOLE_LIFE_S = 86400
RECOVERY_SHARE = 2  # of the messages an hour, recoveries get one in so many
TRIES_PER_ATTEMPT = 5
HELP_LIFE_S = 3600
# A code has 59 bits, and tries are counted by source: this is a bound, not what keeps guesses out.
# A small one would let anybody who knows a login name void the code.
HELP_TRIES = 1000
CODE_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # no look-alikes: it is read out loud
CODE_LENGTH = 12


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
        began = time.perf_counter()
        try:
            return work(*args, **kwargs)
        finally:
            time.sleep(max(0.0, EVENED_S - (time.perf_counter() - began)))

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
        if kind not in firm.policy.recovery_methods & firm.policy.methods:
            raise ApiError(
                422,
                "not-for-recovery",
                "Your firm does not allow recovery by this method.",
                kept=NOTHING_CHANGED,
                todo="Choose another one, or ask your help desk.",
            )
        tag = state.ring.tag("login", f"{firm.id}|{login}".encode()).hex()
        limits.before_recovery(
            connection, firm.policy, firm.id, f"recover|{tag}", browser.source, now
        )
        person = people.find(connection, firm.id, login)
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
        if person is not None and held is not None:
            _send_if_allowed(context, person, held)
        return token

    token = state.database.run(work)
    state.outbox.wake()
    return token


@evened
def prove(state: ServerState, firm_name: str, token: str, form: Form, browser: Browser) -> Verdict:
    """Judge the code. After TRIES_PER_ATTEMPT wrong ones the attempt is over, whoever it is for.
    Raises ApiError (401) when it is over."""

    def work(connection: Connection) -> Verdict:
        context, under, person = _under(state, connection, firm_name, token, browser.source)
        if under.stage is not Stage.PROVE:
            raise over()
        kind = MethodKind(under.context["kind"])
        held = _first_of_kind(context, person, kind)
        verdict = Verdict(Reason.WRONG)
        if person is not None and held is not None:
            verdict = METHODS[kind].verify(context, as_person(person), held.key, form)
            audit_verdict(context, person, held, verdict)
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

    return state.database.run(work)


def reset(state: ServerState, firm_name: str, token: str, password: str, browser: Browser) -> None:
    """Set the new password, end all sessions, tell the user. Raises ApiError: 401, 422."""
    with state.database.write() as connection:
        context, under, person = _under(state, connection, firm_name, token, browser.source)
    if under.stage is not Stage.RESET or person is None:
        raise over()
    passwords.check_new(password, person.login, context.policy, state.breached)
    hashed = passwords.hash_new(password)

    def work(connection: Connection) -> None:
        _, again, _ = _under(state, connection, firm_name, token, browser.source)
        attempts.finish(connection, again)
        if again.context.get("help"):
            # The help desk vouched for the user: he enrols his factors anew.
            people.change(connection, person.firm_id, person.id, enrolled_at=None)
        set_password(state, connection, context.firm, context.policy, person, hashed)

    state.database.run(work)
    state.outbox.wake()


def set_password(
    state: ServerState,
    connection: Connection,
    firm: str,
    policy: FirmPolicy,
    person: KnownPerson,
    hashed: str,
    *,
    keep_session: int | None = None,
) -> None:
    """Store a new password; everyone signed in as this person is signed out. What could still set
    another one, or rests on the old one, is void."""
    passwords.store(connection, person.id, hashed)
    connection.execute(delete(HelpRequest).where(HelpRequest.person_id == person.id))
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
        what="the password was changed",
        now=state.now(),
    )


def ask_help(
    state: ServerState, connection: Connection, asker: KnownPerson, person: KnownPerson
) -> int:
    """A member of staff asks for a recovery. Another one has to agree. → number of the request"""
    if asker.id == person.id:
        raise _not_alone()
    request_id = _new_request(connection, asker, person, int(state.now()) + HELP_LIFE_S)
    _note(state, connection, asker, "help-asked", person.login)
    return request_id


def console_help(state: CodeMaker, connection: Connection, person: KnownPerson, now: float) -> str:
    """A code made at the server's console, by someone who could read the database anyway."""
    request_id = _new_request(connection, person, person, int(now) + CONSOLE_LIFE_S)
    act = Act(int(now * 1000), person.firm_id, "console", "help-code-made", person.login)
    record(connection, state.ring, [act])
    return _make_code(state, connection, request_id)


def agree_help(
    state: ServerState, connection: Connection, other: KnownPerson, request_id: int
) -> None:
    """A second member of staff agrees. Raises ApiError: 404; 403 for the one who asked, for the
    person himself, and when the person has rights that neither of the two has."""
    request = _request(state, connection, other.firm_id, request_id)
    if other.id in (request.asked_by, request.person_id):
        raise _not_alone()
    asker = people.get(connection, other.firm_id, request.asked_by)
    helped = people.get(connection, other.firm_id, request.person_id)
    if not any(RIGHTS[helped.role] <= RIGHTS[one.role] for one in (asker, other)):
        raise ApiError(
            403,
            "needs-more-rights",
            f"{helped.login} has rights that neither of you has.",
            kept=NOTHING_CHANGED,
            todo="An administrator has to be one of the two.",
        )
    connection.execute(
        update(HelpRequest).where(HelpRequest.id == request_id).values(agreed_by=other.id)
    )
    _note(state, connection, other, "help-agreed", helped.login)


def collect_help(
    state: ServerState, connection: Connection, asker: KnownPerson, request_id: int
) -> str:
    """The one who asked gets the code to read out, once the other has agreed. → the code, shown
    once; a second call makes a new one."""
    request = _request(state, connection, asker.firm_id, request_id)
    if request.asked_by != asker.id or request.agreed_by is None:
        raise _not_alone()
    person = people.get(connection, asker.firm_id, request.person_id)
    _note(state, connection, asker, "help-code-made", person.login)
    return _make_code(state, connection, request_id)


def _make_code(state: CodeMaker, connection: Connection, request_id: int) -> str:
    code = "".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH))
    connection.execute(
        update(HelpRequest)
        .where(HelpRequest.id == request_id)
        .values(code_tag=_code_tag(state, request_id, code), tries=0)
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
        row = connection.execute(
            select(HelpRequest.id, HelpRequest.code_tag, HelpRequest.tries, HelpRequest.person_id)
            .join(PersonRow, PersonRow.id == HelpRequest.person_id)
            .where(
                HelpRequest.firm_id == firm.id,
                PersonRow.login == login,
                HelpRequest.code_tag.is_not(None),
                HelpRequest.tries < HELP_TRIES,
                HelpRequest.expires_at > int(now),
            )
            .with_for_update(of=HelpRequest)
        ).one_or_none()
        if row is None:
            limits.help_code_failed(connection, firm.id, browser.source, now)
            person = people.find(connection, firm.id, login)
            _tried(state, connection, firm.id, person, "help-code-wrong")
            return None
        clean = code.upper().replace("-", "").replace(" ", "")
        if not hmac.compare_digest(row.code_tag, _code_tag(state, row.id, clean)):
            connection.execute(
                update(HelpRequest).where(HelpRequest.id == row.id).values(tries=row.tries + 1)
            )
            limits.help_code_failed(connection, firm.id, browser.source, now)
            person = people.find(connection, firm.id, login)
            _tried(state, connection, firm.id, person, "help-code-wrong")
            return None
        connection.execute(delete(HelpRequest).where(HelpRequest.id == row.id))
        person = people.find(connection, firm.id, login)
        _tried(state, connection, firm.id, person, "help-code-used")
        return attempts.begin(
            connection,
            firm_id=firm.id,
            person_id=row.person_id,
            purpose=Purpose.RECOVERY,
            stage=Stage.RESET,
            context={"help": True},
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


def _under(
    state: ServerState, connection: Connection, firm_name: str, token: str, source: str
) -> tuple[Context, Under, KnownPerson | None]:
    firm = firms.by_name(connection, firm_name)
    under = attempts.find(connection, token, firm.id, Purpose.RECOVERY, state.now())
    if under is None:
        raise over()
    context = context_of(
        state, connection, firm.id, firm.name, firm.policy, source, attempt=under.id
    )
    if under.person_id is None:
        return context, under, None
    person = people.get(connection, firm.id, under.person_id)
    if person.disabled:
        raise over()
    return context, under, person


def _first_of_kind(context: Context, person: KnownPerson | None, kind: MethodKind) -> Held | None:
    if person is None:
        return None
    return next((held for held in usable(context, person) if held.kind is kind), None)


def _send_if_allowed(context: Context, person: KnownPerson, held: Held) -> None:
    """Too many messages are no reason to answer differently: then none is sent. A part of a
    person's messages only: anybody can begin recoveries, and must not use up those for sign-ins."""
    try:
        with context.connection.begin_nested():
            rates.take(
                context.connection,
                f"recover-send|{person.id}",
                limit=max(1, context.policy.sends_per_person_per_hour // RECOVERY_SHARE),
                window_s=WINDOW_S,
                now=context.now,
                what="codes for recoveries",
            )
            METHODS[held.kind].challenge(context, as_person(person), held.key)
    except ApiError:
        return


def _new_request(
    connection: Connection, asker: KnownPerson, person: KnownPerson, expires_at: int
) -> int:
    """→ its number. An older one for this person is void."""
    connection.execute(delete(HelpRequest).where(HelpRequest.person_id == person.id))
    made = connection.execute(
        insert(HelpRequest).returning(HelpRequest.id),
        {
            "firm_id": person.firm_id,
            "person_id": person.id,
            "asked_by": asker.id,
            "tries": 0,
            "expires_at": expires_at,
        },
    )
    return int(made.scalar_one())


def _request(state: ServerState, connection: Connection, firm_id: int, request_id: int) -> AnyRow:
    row = connection.execute(
        select(HelpRequest.person_id, HelpRequest.asked_by, HelpRequest.agreed_by)
        .where(
            HelpRequest.firm_id == firm_id,
            HelpRequest.id == request_id,
            HelpRequest.expires_at > int(state.now()),
        )
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise ApiError(404, "no-such-request", "There is no such request.", kept=NOTHING_CHANGED)
    return row


def _code_tag(state: CodeMaker, request_id: int, code: str) -> bytes:
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


def _note(
    state: ServerState, connection: Connection, actor: KnownPerson, action: str, subject: str
) -> None:
    act = Act(int(state.now() * 1000), actor.firm_id, f"person:{actor.id}", action, subject)
    record(connection, state.ring, [act])


def _not_alone() -> ApiError:
    return ApiError(
        403,
        "needs-two",
        "A recovery needs two members of staff, and neither may be the user.",
        kept=NOTHING_CHANGED,
        todo="Ask a colleague to agree to it.",
    )
