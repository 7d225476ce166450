"""Verify a batch of codes in one transaction. Each token moves by a compare-and-set of its own.

The statement names the state that was judged; where another worker has changed the token meanwhile
it matches no row, and the whole batch is judged again from what is stored now.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from tallystick.server.accounts.credentials import Caller, Role, authenticate_all
from tallystick.server.accounts.people import canonical
from tallystick.server.accounts.policy import MethodKind, code_policy, parse
from tallystick.server.checking import answers as answers_kept
from tallystick.server.checking.tokens import CodeQuestion, Tokens
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.rules.judge import Reason
from tallystick.server.store.audit import Act, WorkerChain
from tallystick.server.store.keys import BoxError, ServerKeyRing
from tallystick.server.store.origin import Origin, current


@dataclass(frozen=True)
class CodeCheck:
    """One request: whose code (a user's or a card's), and one code or two successive ones; and from
    where it came. key: its name, where the asker may ask again for having got no answer."""

    token_hash: bytes
    user: str | None
    serial: str | None
    codes: tuple[str, ...]
    origin: Origin = field(default_factory=current)
    key: str = ""


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

    def as_text(self) -> str:
        """As it is kept for whoever asks again."""
        return json.dumps([self.reason, self.method, self.serial])

    @classmethod
    def of_text(cls, text: str) -> CodeOutcome:
        reason, method, serial = json.loads(text)
        return cls(Reason(reason), None if method is None else MethodKind(method), serial)


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
        asked = _Askers(connection, checks)
        wanted = [asked.about(check) for check in checks]
        named = filter(None, (one.name for one in wanted if isinstance(one, _Wanted)))
        known = answers_kept.find(connection, named, now)
        tokens = Tokens(
            connection,
            [one.question for one in wanted if isinstance(one, _Wanted) and one.name not in known],
            now,
        )
        answers: list[CodeOutcome | ApiError] = []
        acts: list[Act] = []
        given: dict[bytes, tuple[int, str]] = {}
        for one in wanted:
            if isinstance(one, ApiError):
                answers.append(one)
                continue
            if one.name in known:
                answers.append(CodeOutcome.of_text(known[one.name]))
                continue
            try:
                answer = _answer(connection, self._ring, tokens, one.question, int(now))
            except BoxError as unreadable:
                answers.append(_unreadable(unreadable))
                continue
            answers.append(answer)
            if isinstance(answer, CodeOutcome):
                acts.append(_act(one.check, one.caller, answer, now))
                if one.name and answer.reason is not Reason.THROTTLED:
                    known[one.name] = answer.as_text()
                    given[one.name] = (one.caller.firm_id, known[one.name])
        tokens.store(connection)
        answers_kept.keep(connection, given, now)
        self.chain.append(connection, acts, int(now * 1000))
        return answers


@dataclass(frozen=True)
class _Wanted:
    """A check that somebody may ask for. name: by which its answer is kept."""

    check: CodeCheck
    caller: Caller
    name: bytes
    question: CodeQuestion


class _Askers:
    """Who asks for the checks of a batch: each is looked at once."""

    def __init__(self, connection: Connection, checks: Sequence[CodeCheck]) -> None:
        found = authenticate_all(connection, {check.token_hash for check in checks})
        self._callers: dict[bytes, Caller | ApiError] = {}
        for token, lookup in found.items():
            try:
                self._callers[token] = _service(lookup.caller())
            except ApiError as refusal:
                self._callers[token] = refusal

    def about(self, check: CodeCheck) -> _Wanted | ApiError:
        caller = self._callers[check.token_hash]
        if isinstance(caller, ApiError):
            return caller
        return _Wanted(check, caller, _name(check, caller), _question(check, caller))


def _name(check: CodeCheck, caller: Caller) -> bytes:
    """By which the answer is kept, or b"": whoever named no check gets no answer twice."""
    if not check.key:
        return b""
    return answers_kept.name_of(caller.id, check.key, check.user, check.serial, check.codes)


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
