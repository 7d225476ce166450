"""A second factor again, for someone who is signed in: before a change in his own account, and for
services that ask for more than a remembered browser."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from tallystick.server.store.keys import Box, BoxError

FRESH_S = 300
MOST_KEPT = 100_000  # characters of a form


@dataclass(frozen=True)
class KeptForm:
    """A form that was sent before its sender was asked to prove himself. path: where it went.
    fields: (name, value), as they were sent."""

    path: str
    fields: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Proved:
    """next_url: where to go on to, or nothing. form: what may be sent now."""

    next_url: str
    form: KeptForm | None


def is_fresh(session: SignedIn, now: float) -> bool:
    """Whether this session has shown a second factor a moment ago; of someone who never enrolled
    one, whether he has just signed in. A session that may only enrol is young enough. A moment that
    has not come is none: the clock was wrong then, and would make it fresh for as long."""
    if session.enrol_only:
        return True
    shown_at = session.proved_at if session.person.enrolled else session.created_at
    return shown_at is not None and abs(now - shown_at) < FRESH_S


def begin(
    state: ServerState,
    session: SignedIn,
    browser: Browser,
    next_url: str,
    form: KeptForm | None = None,
) -> list[Held]:
    """→ the factors to choose from. Without a next_url, one given before in this session stays, and
    with it the form that is kept for later. Raises ApiError (403) when there is no factor."""
    sealed = _sealed(state, session, form)

    def work(connection: Connection) -> list[Held]:
        before = attempts.find(
            connection,
            _token(state, session),
            session.person.firm_id,
            Purpose.PROVE,
            state.now(),
        )
        said = before.context if before else {}
        wanted = next_url or str(said.get("next", ""))
        context = {"next": wanted, "form": sealed}
        if not sealed and wanted == said.get("next"):
            context["form"] = str(said.get("form", ""))
        attempts.begin(
            connection,
            firm_id=session.person.firm_id,
            person_id=session.person.id,
            purpose=Purpose.PROVE,
            stage=Stage.SECOND,
            context=context,
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
) -> Proved | Verdict:
    """→ what to go on with, or why not. Raises ApiError (401) when it is over."""

    def work(connection: Connection) -> Proved | Verdict:
        under = _under(state, connection, session)
        context = _context(state, connection, session, browser.source, under)
        context = replace(context, known=known_name(state, session.person, browser))
        verdict = prove_second(context, session.person, under, kind, key, form)
        if not verdict.accepted:
            return verdict
        sessions.strengthen(connection, session, amr_of(verdict), state.now())
        kept = str(under.context.get("form", ""))
        return Proved(str(under.context.get("next", "")), _opened(state, session, kept))

    return state.database.run(work)


def _sealed(state: ServerState, session: SignedIn, form: KeptForm | None) -> str:
    """What people type into forms is nobody's who reads the database."""
    text = json.dumps([form.path, list(form.fields)]) if form else ""
    if not text or len(text) > MOST_KEPT:
        return ""
    box = state.ring.encrypt(text.encode(), _bound_to(session))
    return f"{box.key_id} {b64encode(box.blob).decode()}"


def _opened(state: ServerState, session: SignedIn, sealed: str) -> KeptForm | None:
    if not sealed:
        return None
    key_id, data = sealed.rsplit(" ", 1)
    try:
        text = state.ring.decrypt(Box(key_id, b64decode(data)), _bound_to(session))
    except BoxError:  # its key was taken away meanwhile: the form is typed again
        return None
    path, fields = json.loads(text)
    return KeptForm(path, [(name, value) for name, value in fields])


def _bound_to(session: SignedIn) -> str:
    return f"kept-form:{session.handle}"


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
