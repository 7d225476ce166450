"""The second factor, whatever it is asked for: signing in, recovery, a change in one's account."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from tallystick.server.accounts.people import KnownPerson
from tallystick.server.accounts.policy import FirmPolicy, MethodKind
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.methods import METHODS
from tallystick.server.methods.base import Context, Form, Held, Owner
from tallystick.server.rules.judge import Verdict
from tallystick.server.signing_in import attempts
from tallystick.server.signing_in.attempts import Stage, Under
from tallystick.server.state import ServerState
from tallystick.server.store.audit import Act, record


def usable(context: Context, person: KnownPerson) -> list[Held]:
    """The person's factors that policy allows, the strongest kind first."""
    return [
        held
        for kind, method in METHODS.items()
        if kind in context.policy.methods
        for held in method.held(context, as_person(person))
    ]


def too_few(policy: FirmPolicy, held: list[Held]) -> int:
    """How many kinds of method the person lacks of those that policy asks for."""
    return max(0, policy.minimum_methods - len({one.kind for one in held}))


def context_of(
    state: ServerState,
    connection: Connection,
    firm_id: int,
    firm: str,
    policy: FirmPolicy,
    source: str,
    *,
    attempt: bytes = b"",
    challenge: bytes = b"",
) -> Context:
    return Context(
        connection=connection,
        ring=state.ring,
        policy=policy,
        firm_id=firm_id,
        firm=firm,
        now=state.now(),
        attempt=attempt,
        source=source[:64],
        public_url=state.public_url,
        challenge=challenge,
    )


def challenge_of(under: Under) -> bytes:
    """The WebAuthn challenge of an attempt, or b"" when none is open."""
    return bytes.fromhex(str(under.context.get("challenge", "")))


def ask(
    context: Context, person: KnownPerson, under: Under, kind: MethodKind, key: str
) -> Mapping[str, Any]:
    """Ask for the proof of one factor: send a code, make WebAuthn options. → what to show"""
    held = _chosen(context, person, kind, key)
    fresh = secrets.token_bytes(32)
    values = dict(under.context) | {"challenge": fresh.hex()}
    attempts.advance(context.connection, under, stage=Stage.SECOND, context=values)
    context = replace(context, challenge=fresh)
    return METHODS[held.kind].challenge(context, as_person(person), held.key)


def prove(
    context: Context, person: KnownPerson, under: Under, kind: MethodKind, key: str, form: Form
) -> Verdict:
    """Judge the proof of one factor. The attempt is over when it is accepted; a WebAuthn challenge
    is used up either way."""
    held = _chosen(context, person, kind, key)
    verdict = METHODS[held.kind].verify(context, as_person(person), held.key, form)
    audit_verdict(context, person, held, verdict)
    if verdict.accepted:
        attempts.finish(context.connection, under)
    else:
        used_up = {k: v for k, v in under.context.items() if k != "challenge"}
        attempts.advance(context.connection, under, stage=Stage.SECOND, context=used_up)
    return verdict


def as_person(person: KnownPerson) -> Owner:
    return Owner(person.id, person.login, person.email)


def audit_verdict(context: Context, person: KnownPerson, held: Held, verdict: Verdict) -> None:
    record(
        context.connection,
        context.ring,
        [
            Act(
                int(context.now * 1000),
                context.firm_id,
                f"person:{person.id}",
                "factor-checked",
                person.login,
                {"kind": held.kind.value, "reason": verdict.reason.value},
            )
        ],
    )


def over() -> ApiError:
    return ApiError(
        401,
        "attempt-over",
        "This took too long, or was finished already.",
        kept=NOTHING_CHANGED,
        todo="Start again.",
    )


def none_usable() -> ApiError:
    return ApiError(
        403,
        "no-usable-method",
        "None of your second factors can be used now.",
        kept=NOTHING_CHANGED,
        todo="Ask your help desk.",
    )


def _chosen(context: Context, person: KnownPerson, kind: MethodKind, key: str) -> Held:
    for held in usable(context, person):
        if (held.kind, held.key) == (kind, key):
            return held
    raise ApiError(
        404,
        "no-such-method",
        "This method cannot be used.",
        kept=NOTHING_CHANGED,
        todo="Choose one of the methods listed.",
    )
