"""The second factor, whatever it is asked for: signing in, recovery, a change in one's account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from tallystick.common import chance
from tallystick.server.accounts import factors
from tallystick.server.accounts.people import KnownPerson
from tallystick.server.accounts.policy import FirmPolicy, MethodKind
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.loans import holding
from tallystick.server.messages.outbox import Delivery
from tallystick.server.methods import METHODS, held_by
from tallystick.server.methods.base import Context, Form, Held, Owner
from tallystick.server.methods.sent import SentMethod
from tallystick.server.methods.typed import OATH
from tallystick.server.rules.judge import Reason, Verdict
from tallystick.server.signing_in import attempts, known
from tallystick.server.signing_in.attempts import Stage, Under
from tallystick.server.state import ServerState
from tallystick.server.store.audit import Act, record


def usable(context: Context, person: KnownPerson) -> list[Held]:
    """The person's factors that policy allows, the strongest kind first."""
    return held_by(context, as_person(person), context.policy.methods)


def askable(context: Context, person: KnownPerson) -> list[Held]:
    """Those that make two factors with the password: what recovered it is only one with it."""
    return [
        held
        for held in usable(context, person)
        if METHODS[held.kind].thing.value != person.recovered_by
    ]


def too_few(policy: FirmPolicy, held: list[Held], now: float | None = None) -> int:
    """How many kinds of method the person lacks of those that policy asks for now (seconds since
    1970); None: whatever the day."""
    asked = policy.minimum_methods if now is None else policy.methods_asked(now)
    return max(0, asked - len({one.kind for one in held}))


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
        metadata=state.metadata,
        channels=state.outbox.channels,
    )


def challenge_of(under: Under) -> bytes:
    """The WebAuthn challenge of an attempt, or b"" when none is open."""
    return bytes.fromhex(str(under.context.get("challenge", "")))


def ask(
    context: Context, person: KnownPerson, under: Under, kind: MethodKind, key: str
) -> Mapping[str, Any]:
    """Ask for the proof of one factor: send a code, make WebAuthn options. → what to show"""
    held = _chosen(context, person, kind, key)
    fresh = chance.token_bytes(32)
    values = dict(under.context) | {"challenge": fresh.hex()}
    attempts.advance(context.connection, under, stage=Stage.SECOND, context=values)
    context = replace(context, challenge=fresh)
    return METHODS[held.kind].challenge(context, as_person(person), held.key)


def delivered(context: Context, person: KnownPerson, kind: MethodKind, key: str) -> Delivery | None:
    """What became of the code that was sent for this attempt; None: none is on its way."""
    method = METHODS[_chosen(context, person, kind, key).kind]
    return method.delivery(context, key) if isinstance(method, SentMethod) else None


def prove(
    context: Context, person: KnownPerson, under: Under, kind: MethodKind, key: str, form: Form
) -> Verdict:
    """Judge the proof of one factor; a typed code may be of another card or app of the person.
    The attempt is over when it is accepted; a WebAuthn challenge is used up either way."""
    held = _chosen(context, person, kind, key)
    verdict = _judge(context, person, held, form)
    audit_verdict(context, person, held, verdict)
    if verdict.accepted:
        _accept(context, person, under, verdict)
    else:
        used_up = {k: v for k, v in under.context.items() if k != "challenge"}
        attempts.advance(context.connection, under, stage=Stage.SECOND, context=used_up)
    return verdict


def prove_any(context: Context, person: KnownPerson, under: Under, code: str) -> Verdict:
    """Judge a code that was typed where no page says of what it is: of any card, app or sheet of
    the person, or sent for this attempt. A wrong one counts once at each that it may be of; one
    that any of them takes counts at none."""
    asked = _that_may_take(context, person)
    if not asked:
        raise none_usable()
    for held in asked:
        tried = context.connection.begin_nested()
        verdict = _judge(context, person, held, {"code": code})
        if verdict.accepted:
            tried.commit()
            audit_verdict(context, person, held, verdict)
            _accept(context, person, under, verdict)
            return verdict
        tried.rollback()
        if verdict.reason is Reason.REPLAYED:  # it was right once: no guess
            audit_verdict(context, person, held, verdict)
            return verdict
    counted = [(held, _judge(context, person, held, {"code": code})) for held in asked]
    held, verdict = min(counted, key=lambda pair: _PRECEDENCE.index(pair[1].reason))
    audit_verdict(context, person, held, verdict)
    return verdict


# Of several refusals, the most helpful one is the answer.
_PRECEDENCE = (
    Reason.OK,
    Reason.REPLAYED,
    Reason.RESYNCHRONISE,
    Reason.WRONG,
    Reason.NO_CARD,
    Reason.EXPIRED,
    Reason.NOT_ACCEPTED,
    Reason.THROTTLED,
)


def _that_may_take(context: Context, person: KnownPerson) -> list[Held]:
    """One for all cards and apps, whose codes are judged together; then each of the others."""
    typed = [held for held in askable(context, person) if METHODS[held.kind].typed]
    oath = [held for held in typed if held.kind in OATH][:1]
    sent = [held for held in typed if isinstance(METHODS[held.kind], SentMethod)]
    others = [held for held in typed if held.kind not in OATH and held not in sent]
    return oath + others + [held for held in sent if _is_sent(context, held)]


def _is_sent(context: Context, held: Held) -> bool:
    method = METHODS[held.kind]
    return isinstance(method, SentMethod) and method.has_sent(context, held.key)


def _judge(context: Context, person: KnownPerson, held: Held, form: Form) -> Verdict:
    able = frozenset(one.kind for one in askable(context, person)) & OATH
    context = replace(context, any_of=able)
    in_spite = _judge_in_spite(context, person, held, form) if context.known else None
    if in_spite is not None and in_spite.accepted:
        return _of_kind(in_spite, held)
    verdict = METHODS[held.kind].verify(context, as_person(person), held.key, form)
    if verdict.reason is Reason.THROTTLED and in_spite is not None:
        verdict = in_spite
    return _of_kind(verdict, held)


def _of_kind(verdict: Verdict, held: Held) -> Verdict:
    return verdict if verdict.kind else replace(verdict, kind=held.kind.value)


def _judge_in_spite(
    context: Context, person: KnownPerson, held: Held, form: Form
) -> Verdict | None:
    """Where strangers have locked something of the person: his own browser has some proofs a day in
    spite of it. A wrong one changes nothing but their number; a right one ends the pauses. → None:
    nothing is locked, or there are no more"""
    connection, now = context.connection, int(context.now)
    if not (
        factors.any_locked(connection, person.id, now)
        or holding.any_locked(connection, person.id, now)
    ):
        return None
    if not known.may_guess(connection, context.known, context.policy.max_failures, now):
        return None
    tried = connection.begin_nested()
    factors.unlock(connection, person.id)
    holding.unlock_all_of(connection, person.id)
    verdict = METHODS[held.kind].verify(context, as_person(person), held.key, form)
    if verdict.accepted:
        tried.commit()
    else:
        tried.rollback()
    return verdict


def _accept(context: Context, person: KnownPerson, under: Under, verdict: Verdict) -> None:
    """The attempt is over. A card was shown together with a password, or in a session that was
    opened with another factor: it may recover from now on."""
    attempts.finish(context.connection, under)
    if verdict.serial:
        holding.confirm(context.connection, context.firm_id, verdict.serial, person.id, context.now)


def as_person(person: KnownPerson) -> Owner:
    return Owner(person.id, person.login, person.email, person.language)


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
                {"kind": verdict.kind or held.kind.value, "reason": verdict.reason.value},
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
    for held in askable(context, person):
        if (held.kind, held.key) == (kind, key):
            return held
    raise ApiError(
        404,
        "no-such-method",
        "This method cannot be used.",
        kept=NOTHING_CHANGED,
        todo="Choose one of the methods listed.",
    )
