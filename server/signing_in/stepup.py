"""A second factor again, for someone who is signed in: before a change in his own account, and for
services that ask for more than a remembered browser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from tallystick.server.accounts import sessions
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.accounts.sessions import SignedIn
from tallystick.server.messages.outbox import Delivery
from tallystick.server.methods import amr_of
from tallystick.server.methods.base import Context, Form, Held
from tallystick.server.rules.judge import Verdict
from tallystick.server.signing_in import attempts, second
from tallystick.server.signing_in.attempts import Purpose, Stage, Under
from tallystick.server.signing_in.login import Browser, known_name
from tallystick.server.signing_in.second import (
    ask,
    askable,
    challenge_of,
    context_of,
    none_usable,
    over,
)
from tallystick.server.signing_in.second import prove as prove_second
from tallystick.server.state import ServerState

FRESH_S = 300


def is_fresh(session: SignedIn, now: float) -> bool:
    """Whether this session has shown a second factor a moment ago; of someone who never enrolled
    one, whether he has just signed in. A session that may only enrol is young enough."""
    if session.enrol_only:
        return True
    shown_at = session.proved_at if session.person.enrolled else session.created_at
    return shown_at is not None and now - shown_at < FRESH_S


def begin(state: ServerState, session: SignedIn, browser: Browser, next_url: str) -> list[Held]:
    """→ the factors to choose from. Without a next_url, one given before in this session stays.
    Raises ApiError (403) when there is no factor."""

    def work(connection: Connection) -> list[Held]:
        before = attempts.find(
            connection,
            _token(state, session),
            session.person.firm_id,
            Purpose.PROVE,
            state.now(),
        )
        wanted = next_url or (str(before.context.get("next", "")) if before else "")
        attempts.begin(
            connection,
            firm_id=session.person.firm_id,
            person_id=session.person.id,
            purpose=Purpose.PROVE,
            stage=Stage.SECOND,
            context={"next": wanted},
            source=browser.source,
            now=state.now(),
            token=_token(state, session),
        )
        held = askable(_context(state, connection, session, browser.source, None), session.person)
        if not held:
            raise none_usable()
        return held

    return state.database.run(work)


def choices(state: ServerState, session: SignedIn, browser: Browser) -> list[Held]:
    """The factors to choose from. Raises ApiError (401) when it is over."""

    def work(connection: Connection) -> list[Held]:
        under = _under(state, connection, session)
        context = _context(state, connection, session, browser.source, under)
        return askable(context, session.person)

    return state.database.run(work)


def challenge(
    state: ServerState, session: SignedIn, kind: MethodKind, key: str, browser: Browser
) -> Mapping[str, Any]:
    """Ask for the proof of one factor. → what to show. Raises ApiError (401) when it is over."""

    def work(connection: Connection) -> Mapping[str, Any]:
        under = _under(state, connection, session)
        context = _context(state, connection, session, browser.source, under)
        return ask(context, session.person, under, kind, key)

    shown = state.database.run(work)
    state.outbox.wake()
    return shown


def delivered(
    state: ServerState, session: SignedIn, kind: MethodKind, key: str, browser: Browser
) -> Delivery | None:
    """What became of the code that was sent. Raises ApiError (401) when it is over."""

    def work(connection: Connection) -> Delivery | None:
        under = _under(state, connection, session)
        context = _context(state, connection, session, browser.source, under)
        return second.delivered(context, session.person, kind, key)

    return state.database.run(work)


def prove(
    state: ServerState, session: SignedIn, kind: MethodKind, key: str, form: Form, browser: Browser
) -> str | Verdict:
    """→ where to go on to, or why not. Raises ApiError (401) when it is over."""

    def work(connection: Connection) -> str | Verdict:
        under = _under(state, connection, session)
        context = _context(state, connection, session, browser.source, under)
        context = replace(context, known=known_name(state, session.person, browser))
        verdict = prove_second(context, session.person, under, kind, key, form)
        if not verdict.accepted:
            return verdict
        sessions.strengthen(connection, session, amr_of(verdict), state.now())
        return str(under.context.get("next", ""))

    return state.database.run(work)


def _context(
    state: ServerState, connection: Connection, session: SignedIn, source: str, under: Under | None
) -> Context:
    return context_of(
        state,
        connection,
        session.person.firm_id,
        session.firm,
        session.policy,
        source,
        attempt=under.id if under else b"",
        challenge=challenge_of(under) if under else b"",
    )


def _under(state: ServerState, connection: Connection, session: SignedIn) -> Under:
    under = attempts.find(
        connection, _token(state, session), session.person.firm_id, Purpose.PROVE, state.now()
    )
    if under is None or under.person_id != session.person.id:
        raise over()
    return under


def _token(state: ServerState, session: SignedIn) -> str:
    """One at a time in a session; it never leaves the server."""
    return state.ring.tag("prove", session.handle.encode()).hex()
