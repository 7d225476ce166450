"""Verify a batch of codes in one transaction. Each token moves by a compare-and-set of its own.

The statement names the state that was judged; where another worker has changed the token meanwhile
it matches no row, and the whole batch is judged again from what is stored now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from tallystick.server.accounts.credentials import Caller, Role, authenticate_all
from tallystick.server.accounts.people import canonical
from tallystick.server.accounts.policy import MethodKind, code_policy, parse
from tallystick.server.checking.tokens import CodeQuestion, Tokens
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.rules.judge import Reason
from tallystick.server.store.audit import Act, WorkerChain
from tallystick.server.store.keys import BoxError, ServerKeyRing
from tallystick.server.store.origin import Origin, current


@dataclass(frozen=True)
class CodeCheck:
    """One request: whose code (a user's or a card's), and one code or two successive ones; and from
    where it came."""

    token_hash: bytes
    user: str | None
    serial: str | None
    codes: tuple[str, ...]
    origin: Origin = field(default_factory=current)


@dataclass(frozen=True)
class CodeOutcome:
    """reason `throttled` is answered with 429 and retry_after_s; all others with 200. method,
    serial: of the token that was judged; an app has no serial number."""

    reason: Reason
    method: MethodKind | None = None
    serial: str | None = None
    retry_after_s: int = 0

    @property
    def accepted(self) -> bool:
        return self.reason is Reason.OK


class Verifier:
    """Judges batches. One per worker thread: it owns the worker's audit chain."""

    def __init__(self, ring: ServerKeyRing) -> None:
        self._ring = ring
        self.chain = WorkerChain(ring)

    def run(
        self, connection: Connection, checks: Sequence[CodeCheck], now: float
    ) -> list[CodeOutcome | ApiError]:
        """Judge the checks in order. Outcomes hold once the caller's transaction is committed.

        Raises StaleError when the transaction must be rolled back and run again.
        """
        callers = authenticate_all(connection, {check.token_hash for check in checks})
        answers: list[CodeOutcome | ApiError] = []
        wanted: list[tuple[CodeCheck, Caller] | ApiError] = []
        answer: CodeOutcome | ApiError
        for check in checks:
            try:
                wanted.append((check, _service(callers[check.token_hash].caller())))
            except ApiError as refusal:
                wanted.append(refusal)
        questions = [_question(*item) for item in wanted if not isinstance(item, ApiError)]
        tokens = Tokens(connection, questions, now)
        acts: list[Act] = []
        for item in wanted:
            if isinstance(item, ApiError):
                answers.append(item)
                continue
            check, caller = item
            try:
                answer = _answer(connection, self._ring, tokens, _question(check, caller), int(now))
            except BoxError as unreadable:
                answers.append(_unreadable(unreadable))
                continue
            answers.append(answer)
            if isinstance(answer, CodeOutcome):
                acts.append(_act(check, caller, answer, now))
        tokens.store(connection)
        self.chain.append(connection, acts, int(now * 1000))
        return answers


def _question(check: CodeCheck, caller: Caller) -> CodeQuestion:
    policy = parse(caller.policy)
    return CodeQuestion(
        caller.firm_id,
        canonical(check.user) if check.user is not None else None,
        check.serial,
        check.codes,
        code_policy(caller.policy),
        policy.methods,
    )


def ask(
    connection: Connection, ring: ServerKeyRing, question: CodeQuestion, now: float
) -> CodeOutcome | ApiError:
    """Judge one question in the caller's transaction. Raises StaleError, BoxError."""
    tokens = Tokens(connection, [question], now)
    answer = _answer(connection, ring, tokens, question, int(now))
    tokens.store(connection)
    return answer


def _answer(
    connection: Connection, ring: ServerKeyRing, tokens: Tokens, question: CodeQuestion, now: int
) -> CodeOutcome | ApiError:
    held = tokens.of(question)
    if not held:
        return CodeOutcome(Reason.NO_CARD)
    fitting = [token for token in held if token.generator.fits(question.codes)]
    if not fitting:
        return _wrong_length(held[0].generator.digits)
    judged = [(one, one.judge(ring, question.codes, question.policy, now)) for one in fitting]
    token, verdict = min(judged, key=lambda pair: _PRECEDENCE.index(pair[1].reason))
    if verdict.reason is Reason.OK:
        token.store(connection, verdict.state, used_at=now)
    elif verdict.reason is not Reason.REPLAYED:
        for other, failed in judged:
            other.store(connection, failed.state, used_at=None)
    return CodeOutcome(verdict.reason, token.method, token.serial, verdict.retry_after_s)


# Of a user's several tokens, the most favourable verdict is the answer.
_PRECEDENCE = (
    Reason.OK,
    Reason.REPLAYED,
    Reason.RESYNCHRONISE,
    Reason.WRONG,
    Reason.THROTTLED,
)


def _service(caller: Caller) -> Caller:
    if caller.role is not Role.SERVICE:
        raise ApiError(
            403,
            "wrong-role",
            f"A {caller.role.value} credential may not verify codes.",
            kept=NOTHING_CHANGED,
            todo="Use a service credential.",
        )
    return caller


def _wrong_length(digits: int) -> ApiError:
    return ApiError(
        422,
        "wrong-length",
        f"This user's or card's codes have {digits} digits.",
        kept="Nothing was counted as a guess.",
        todo=f"Ask the user for all {digits} digits.",
    )


def _unreadable(error: BoxError) -> ApiError:
    return ApiError(500, "seed-unreadable", error.what, kept=error.kept, todo=error.todo)


def _act(check: CodeCheck, caller: Caller, outcome: CodeOutcome, now: float) -> Act:
    action = "resynchronised" if len(check.codes) == 2 else "verified"
    detail: dict[str, str | int] = {"reason": outcome.reason.value}
    if check.user is not None:
        detail["user"] = check.user
    if outcome.method is MethodKind.TOTP:
        detail["method"] = outcome.method.value
    subject = outcome.serial or check.serial or ""
    # Of services the address is enough: what program they are does not change from check to check.
    origin = Origin(check.origin.address)
    return Act(int(now * 1000), caller.firm_id, caller.id, action, subject, detail, origin)
