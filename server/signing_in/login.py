"""Logging in: a password, then a second factor. What a browser learns says nothing about whether
an account exists."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from tallystick.common.errors import TallyError
from tallystick.server.accounts import firms, passwords, people, sessions
from tallystick.server.accounts.firms import KnownFirm
from tallystick.server.accounts.people import Keeper, KnownPerson
from tallystick.server.accounts.policy import FirmPolicy, MethodKind
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.messages.outbox import Delivery
from tallystick.server.methods import amr_of
from tallystick.server.methods.base import Context, Form, Held
from tallystick.server.rules.judge import Verdict
from tallystick.server.signing_in import attempts, known, limits, second
from tallystick.server.signing_in.attempts import Purpose, Stage, Under
from tallystick.server.signing_in.second import (
    ask,
    askable,
    challenge_of,
    context_of,
    none_usable,
    over,
    prove,
    prove_any,
    too_few,
    usable,
)
from tallystick.server.state import ServerState
from tallystick.server.store import rates
from tallystick.server.store.audit import Act, record
from tallystick.server.store.keys import ServerKeyRing

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Browser:
    """Who is asking. device: the token of a remembered device, or ''. known: of a browser that
    somebody has signed in with before, or ''."""

    source: str
    agent: str
    device: str = ""
    known: str = ""


@dataclass(frozen=True)
class Way:
    """How somebody signs in. An attempt that was begun in one way is not finished in another.
    bound: what else must be the same then. opens: a session of the portal."""

    purpose: Purpose
    bound: str = ""
    opens: bool = True


PORTAL = Way(Purpose.LOGIN)


@dataclass(frozen=True)
class Signed:
    """Signed in. session, device, known: tokens for cookies; "" where no session is opened."""

    session: str
    device: str | None
    next_url: str
    known: str = ""


@dataclass(frozen=True)
class PendingSignIn:
    """A second factor is asked for. attempt: token for a cookie. lacking: how many kinds of method
    the person has to enrol yet; where there is nowhere to enrol them, the attempt is ""."""

    attempt: str
    lacking: int


def with_password(
    state: ServerState,
    firm_name: str,
    login: str,
    password: str,
    browser: Browser,
    next_url: str,
    way: Way = PORTAL,
) -> Signed | PendingSignIn:
    """First step. Raises ApiError: 401 for a wrong name or password (which of them is not said),
    429 after too many tries for this name or from this source, 403 when only the help desk can
    help."""
    # By whatever name: an address is no second set of tries.
    with state.database.read() as connection:
        login = people.login_of(connection, firms.by_name(connection, firm_name).id, login)
    bucket = state.database.run(lambda c: _count_try(state, c, firm_name, login, browser))
    with state.database.read() as connection:
        firm = firms.by_name(connection, firm_name)
        person = people.find(connection, firm.id, login)
        stored = passwords.stored_hash(connection, person.id) if person else None
    right = passwords.matches(stored, password)
    if person is None or asked_of_directory(person, firm.policy):
        # For a name that is not known, too: how long it takes is not to tell who is.
        right = directory_takes(state, firm, person, login, password)
    if not right or person is None or person.disabled:
        with state.database.write() as connection:
            limits.password_failed(connection, firm.id, browser.source, state.now())
            audit(connection, state, firm.id, "password-wrong", person.id if person else None)
        raise _wrong()

    def proceed(connection: Connection) -> Signed | PendingSignIn:
        # Judging took a while: what was judged may have been changed meanwhile.
        person = people.find(connection, firm.id, login, lock=True)
        if person is None or person.disabled:
            raise _wrong()
        if passwords.stored_hash(connection, person.id) != stored:
            raise _wrong()
        rates.clear(connection, bucket)
        context = context_of(state, connection, firm.id, firm.name, firm.policy, browser.source)
        if not askable(context, person) and person.enrolled:
            raise none_usable()
        if not person.enrolled and _waited_too_long(firm.policy, person, context.now):
            raise _enrol_too_late()
        remembered = sessions.is_remembered(
            connection, person.id, firm.policy, browser.device, context.now
        )
        lacking = too_few(firm.policy, usable(context, person), context.now)
        if lacking and not way.opens:  # there is nowhere to enrol it
            audit(connection, state, firm.id, "factor-missing", person.id, by=way.purpose.value)
            return PendingSignIn("", lacking)
        if not person.enrolled or remembered:
            return sign_in(
                state, connection, person, firm.policy, ("pwd",), browser, next_url, way=way
            )
        token = attempts.begin(
            connection,
            firm_id=firm.id,
            person_id=person.id,
            purpose=way.purpose,
            stage=Stage.SECOND,
            context={"next": next_url, "bound": way.bound},
            source=browser.source,
            now=context.now,
        )
        return PendingSignIn(token, lacking)

    return state.database.run(proceed)


def asked_of_directory(person: KnownPerson, policy: FirmPolicy) -> bool:
    """Whether this person's password is the directory's, and none is kept or set here."""
    return person.source is Keeper.LDAP and policy.directory_passwords


def password_elsewhere() -> ApiError:
    return ApiError(
        409,
        "password-elsewhere",
        "Your password is the one of your firm's directory.",
        kept=NOTHING_CHANGED,
        todo="Change it there, as for your computer.",
    )


def directory_takes(
    state: ServerState, firm: KnownFirm, person: KnownPerson | None, login: str, password: str
) -> bool:
    """Raises ApiError (503) where the directory does not answer."""
    directory = state.directories.get(firm.name) if firm.policy.directory_passwords else None
    if directory is None:
        return False
    entry_id = person.external_id if person is not None else ""
    try:
        return directory.has_password(person.login if person else login, entry_id, password)
    except TallyError as error:
        log.warning("a password could not be asked for: %s", error.what)
        raise ApiError(
            503,
            "directory-away",
            "Your firm's directory does not answer, so that passwords cannot be checked.",
            kept=NOTHING_CHANGED,
            todo="Try again in a minute.",
            retry_after_s=60,
        ) from None


def choices(state: ServerState, firm_name: str, token: str, way: Way = PORTAL) -> list[Held]:
    """The second factors to choose from. Raises ApiError (401) when the attempt is over."""

    def work(connection: Connection) -> list[Held]:
        context, person, _ = _second(state, connection, firm_name, token, "", way)
        return askable(context, person)

    return state.database.run(work)


def challenge(
    state: ServerState,
    firm_name: str,
    token: str,
    kind: MethodKind,
    key: str,
    source: str,
    way: Way = PORTAL,
) -> Mapping[str, Any]:
    """Ask for the proof of one factor: send a code, make WebAuthn options. → what to show"""

    def work(connection: Connection) -> Mapping[str, Any]:
        context, person, under = _second(state, connection, firm_name, token, source, way)
        return ask(context, person, under, kind, key)

    shown = state.database.run(work)
    state.outbox.wake()
    return shown


def delivered(
    state: ServerState, firm_name: str, token: str, kind: MethodKind, key: str
) -> Delivery | None:
    """What became of the code that was sent. Raises ApiError (401) when the attempt is over."""

    def work(connection: Connection) -> Delivery | None:
        context, person, _ = _second(state, connection, firm_name, token, "", PORTAL)
        return second.delivered(context, person, kind, key)

    return state.database.run(work)


def with_factor(
    state: ServerState,
    firm_name: str,
    token: str,
    kind: MethodKind,
    key: str,
    form: Form,
    browser: Browser,
    *,
    remember: bool,
) -> Signed | Verdict:
    """Second step. → signed in, or why not. Raises ApiError (401) when the attempt is over."""

    def work(connection: Connection) -> Signed | Verdict:
        context, person, under = _second(
            state, connection, firm_name, token, browser.source, PORTAL
        )
        context = replace(context, known=known_name(state, person, browser))
        verdict = prove(context, person, under, kind, key, form)
        if not verdict.accepted:
            return verdict
        next_url = str(under.context.get("next", ""))
        return _with_two(
            state, context, person, verdict, browser, next_url, PORTAL, remember=remember
        )

    return state.database.run(work)


def with_code(
    state: ServerState, firm_name: str, token: str, code: str, browser: Browser, way: Way
) -> Signed | Verdict:
    """Second step where a code is typed, and nothing says of what it is. → as `with_factor`"""

    def work(connection: Connection) -> Signed | Verdict:
        context, person, under = _second(state, connection, firm_name, token, browser.source, way)
        verdict = prove_any(context, person, under, code)
        if not verdict.accepted:
            return verdict
        return _with_two(state, context, person, verdict, browser, "", way)

    return state.database.run(work)


def _with_two(
    state: ServerState,
    context: Context,
    person: KnownPerson,
    verdict: Verdict,
    browser: Browser,
    next_url: str,
    way: Way,
    *,
    remember: bool = False,
) -> Signed:
    """Password and second factor were right. What recovered the password may serve again: something
    else has signed in with it now."""
    amr = ("pwd", *amr_of(verdict), "mfa")
    if person.recovered_by is not None:
        people.change(context.connection, person.firm_id, person.id, recovered_by=None)
    return sign_in(
        state,
        context.connection,
        person,
        context.policy,
        amr,
        browser,
        next_url,
        way=way,
        remember=remember,
    )


def password_bucket(ring: ServerKeyRing, firm_id: int, login: str) -> str:
    """The bucket that counts tries for a name, whether or not there is such a person."""
    return f"password|{ring.tag('login', f'{firm_id}|{people.canonical(login)}'.encode()).hex()}"


def _count_try(
    state: ServerState, connection: Connection, firm_name: str, login: str, browser: Browser
) -> str:
    firm = firms.by_name(connection, firm_name)
    bucket = password_bucket(state.ring, firm.id, login)
    known_as = known.name_of(state.ring, firm.id, login, browser.known, state.now())
    limits.before_password(
        connection, firm.policy, firm.id, bucket, browser.source, state.now(), known_as
    )
    return bucket


def known_name(state: ServerState, person: KnownPerson, browser: Browser) -> str:
    """→ the name of the browser, if this person has signed in with it before, else ''"""
    return known.name_of(state.ring, person.firm_id, person.login, browser.known, state.now())


def _second(
    state: ServerState,
    connection: Connection,
    firm_name: str,
    token: str,
    source: str,
    way: Way,
) -> tuple[Context, KnownPerson, Under]:
    firm = firms.by_name(connection, firm_name)
    under = attempts.find(connection, token, firm.id, way.purpose, state.now())
    if under is None or under.stage is not Stage.SECOND or under.person_id is None:
        raise over()
    if under.context.get("bound", "") != way.bound:
        raise over()
    context = context_of(
        state,
        connection,
        firm.id,
        firm.name,
        firm.policy,
        source,
        attempt=under.id,
        challenge=challenge_of(under),
    )
    person = people.get(connection, firm.id, under.person_id)
    if person.disabled:
        raise over()
    return context, person, under


def sign_in(
    state: ServerState,
    connection: Connection,
    person: KnownPerson,
    policy: FirmPolicy,
    amr: tuple[str, ...],
    browser: Browser,
    next_url: str,
    *,
    way: Way = PORTAL,
    remember: bool = False,
) -> Signed:
    now = state.now()
    via = {} if way.opens else {"by": way.purpose.value}
    audit(connection, state, person.firm_id, "signed-in", person.id, amr=",".join(amr), **via)
    if not way.opens:
        return Signed("", None, next_url)
    token = sessions.open_session(
        connection,
        person=person,
        policy=policy,
        amr=amr,
        browser=browser.agent,
        source=browser.source,
        now=now,
    )
    device = None
    if remember:
        device = sessions.remember_device(
            connection, person.id, policy, now, browser=browser.agent, source=browser.source
        )
    if "mfa" not in amr:
        return Signed(token, device, next_url)
    known_as = known.token_for(state.ring, person.firm_id, person.login, now)
    return Signed(token, device, next_url, known_as)


def audit(
    connection: Connection,
    state: ServerState,
    firm_id: int,
    action: str,
    person_id: int | None,
    **detail: str | int,
) -> None:
    actor = f"person:{person_id}" if person_id is not None else "unknown"
    record(
        connection,
        state.ring,
        [Act(int(state.now() * 1000), firm_id, actor, action, actor, detail)],
    )


def _waited_too_long(policy: FirmPolicy, person: KnownPerson, now: float) -> bool:
    """A password that nobody has put a second factor beside is not good for ever: whoever finds it
    would enrol his own."""
    days = policy.first_enrolment_days if policy.minimum_methods else 0
    since = max(person.password_at or 0, policy.asked_from_s())
    if asked_of_directory(person, policy):
        since = max(since, person.created_at)  # nobody set it here
    return bool(days) and now >= since + days * 86400


def _enrol_too_late() -> ApiError:
    return ApiError(
        403,
        "enrol-too-late",
        "No second factor was enrolled in the time for it.",
        kept="Your account is as it was; the password alone does not open it any more.",
        todo="Ask your help desk for a code: you set a new password with it, and have time again.",
    )


def _wrong() -> ApiError:
    return ApiError(
        401,
        "wrong-password",
        "The name or the password is wrong.",
        kept=NOTHING_CHANGED,
        todo="Try again, or use “Forgot your password?”.",
    )
