"""Verify a batch of codes in one transaction. Each card moves by a compare-and-set of its own.

The statement in `_store` is the only one in the server that moves a counter forward after
registration. It names the state that was judged; where another worker has changed the card
meanwhile it matches no row, and the whole batch is judged again from what is stored now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Executable, bindparam, or_, select, update

from tallystick.server.audit import Act, WorkerChain
from tallystick.server.cards import REGISTERED, generator_of, seed_binding, state_of
from tallystick.server.credentials import Caller, Role, authenticate_all
from tallystick.server.database import AnyRow, StaleError
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.judge import CodeState, Reason, Verdict, judge
from tallystick.server.keys import Box, BoxError, KeyRing
from tallystick.server.models import Assignment, Card, Person
from tallystick.server.policy import code_policy
from tallystick.server.settings import CodePolicy


@dataclass(frozen=True)
class Check:
    """One request: whose code (a user's or a card's), and one code or two successive ones."""

    token_hash: bytes
    user: str | None
    serial: str | None
    codes: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """reason `throttled` is answered with 429 and retry_after_s; all others with 200."""

    reason: Reason
    serial: str | None = None
    retry_after_s: int = 0

    @property
    def accepted(self) -> bool:
        return self.reason is Reason.OK


_COLUMNS = (
    Card.id,
    Card.firm_id,
    Card.serial,
    Card.digits,
    Card.seed_key_id,
    Card.seed_box,
    Card.moving_factor,
    Card.failures,
    Card.lockout_s,
    Card.blocked_until,
    Card.last_used_at,
    Card.algorithm,
    Card.step_s,
    Card.drift,
    Person.login,
)

# Statements of the fast path are built once: that takes longer than running them.
_HELD = (
    select(*_COLUMNS)
    .join(Assignment, Assignment.card_id == Card.id)
    .join(Person, Person.id == Assignment.person_id)
    .where(
        Card.status == REGISTERED,
        or_(Card.valid_until.is_(None), Card.valid_until > bindparam("now")),
        or_(Assignment.expires_at.is_(None), Assignment.expires_at > bindparam("now")),
    )
    .order_by(Card.id)
    .with_for_update(of=Card)
)
_BY_USER = _HELD.where(
    Person.firm_id.in_(bindparam("firms", expanding=True)),
    Person.login.in_(bindparam("names", expanding=True)),
)
_BY_SERIAL = _HELD.where(
    Card.firm_id.in_(bindparam("firms", expanding=True)),
    Card.serial.in_(bindparam("names", expanding=True)),
)
_MOVE = (
    update(Card)
    .where(
        Card.id == bindparam("card"),
        Card.moving_factor == bindparam("seen_factor"),
        Card.failures == bindparam("seen_failures"),
        Card.blocked_until == bindparam("seen_blocked_until"),
    )
    .values(
        moving_factor=bindparam("factor"),
        drift=bindparam("drift"),
        failures=bindparam("failures"),
        lockout_s=bindparam("lockout_s"),
        blocked_until=bindparam("blocked_until"),
        last_used_at=bindparam("used_at"),
    )
)


class Verifier:
    """Judges batches. One per worker thread: it owns the worker's audit chain."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self.chain = WorkerChain(ring)

    def run(
        self, connection: Connection, checks: Sequence[Check], now: float
    ) -> list[Outcome | ApiError]:
        """Judge the checks in order. Outcomes hold once the caller's transaction is committed.

        Raises StaleError when the transaction must be rolled back and run again.
        """
        callers = authenticate_all(connection, {check.token_hash for check in checks})
        answers: list[Outcome | ApiError] = []
        wanted: list[tuple[Check, Caller] | ApiError] = []
        answer: Outcome | ApiError
        for check in checks:
            try:
                wanted.append((check, _service(callers[check.token_hash].caller())))
            except ApiError as refusal:
                wanted.append(refusal)
        questions = [_question(*item) for item in wanted if not isinstance(item, ApiError)]
        cards = _Cards(connection, questions, now)
        acts: list[Act] = []
        for item in wanted:
            if isinstance(item, ApiError):
                answers.append(item)
                continue
            check, caller = item
            try:
                answer = _answer(connection, self._ring, cards, _question(check, caller), int(now))
            except BoxError as unreadable:
                answers.append(_unreadable(unreadable))
                continue
            answers.append(answer)
            if isinstance(answer, Outcome):
                acts.append(_act(check, caller, answer, now))
        self.chain.append(connection, acts, int(now * 1000))
        return answers


@dataclass(frozen=True)
class Question:
    """Whose code, in which firm, judged by which rules."""

    firm_id: int
    user: str | None
    serial: str | None
    codes: tuple[str, ...]
    policy: CodePolicy


def _question(check: Check, caller: Caller) -> Question:
    policy = code_policy(caller.policy)
    return Question(caller.firm_id, check.user, check.serial, check.codes, policy)


def ask(
    connection: Connection, ring: KeyRing, question: Question, now: float
) -> Outcome | ApiError:
    """Judge one question in the caller's transaction. Raises StaleError, BoxError."""
    return _answer(connection, ring, _Cards(connection, [question], now), question, int(now))


def _answer(
    connection: Connection, ring: KeyRing, cards: _Cards, question: Question, now: int
) -> Outcome | ApiError:
    held = cards.of(question)
    if not held:
        return Outcome(Reason.NO_CARD)
    fitting = [card for card in held if all(len(c) == card.row.digits for c in question.codes)]
    if not fitting:
        return _wrong_length(held[0].row.digits)
    judged = [(card, _judge(ring, card, question, now)) for card in fitting]
    card, verdict = min(judged, key=lambda pair: _PRECEDENCE.index(pair[1].reason))
    if verdict.reason is Reason.OK:
        _store(connection, card, verdict.state, used_at=now)
    elif verdict.reason is not Reason.REPLAYED:
        for other, failed in judged:
            _store(connection, other, failed.state, used_at=other.row.last_used_at)
    return Outcome(verdict.reason, card.row.serial, verdict.retry_after_s)


def _judge(ring: KeyRing, card: _Held, question: Question, now: int) -> Verdict:
    if wait_s := card.state.throttle.wait_s(now):
        return Verdict(Reason.THROTTLED, card.state, wait_s)
    box = Box(card.row.seed_key_id, card.row.seed_box)
    seed = ring.decrypt(box, seed_binding(card.row.firm_id, card.row.serial))
    return judge(
        seed, card.state, question.codes, question.policy, now, generator=generator_of(card.row)
    )


# Of a user's several cards, the most favourable verdict is the answer.
_PRECEDENCE = (
    Reason.OK,
    Reason.REPLAYED,
    Reason.RESYNCHRONISE,
    Reason.WRONG,
    Reason.THROTTLED,
)


class _Held:
    """A card with its holder, and its state as this transaction has left it so far."""

    def __init__(self, row: AnyRow) -> None:
        self.row = row
        self.state = state_of(row)


class _Cards:
    """The assigned cards that a batch is about, read (and on PostgreSQL locked, in the order of
    their ids) in one statement for users and one for serial numbers."""

    def __init__(self, connection: Connection, questions: Sequence[Question], now: float) -> None:
        self._by_id: dict[int, _Held] = {}
        self._by_user: defaultdict[tuple[int, str], list[_Held]] = defaultdict(list)
        self._by_serial: dict[tuple[int, str], _Held] = {}
        firms = {question.firm_id for question in questions}
        users = {question.user for question in questions if question.user is not None}
        serials = {question.serial for question in questions if question.serial is not None}
        if users:
            for held in self._read(connection, _BY_USER, firms, users, now):
                self._by_user[held.row.firm_id, held.row.login].append(held)
        if serials:
            for held in self._read(connection, _BY_SERIAL, firms, serials, now):
                self._by_serial[held.row.firm_id, held.row.serial] = held

    def _read(
        self,
        connection: Connection,
        query: Executable,
        firms: set[int],
        names: set[str],
        now: float,
    ) -> list[_Held]:
        values = {"firms": list(firms), "names": list(names), "now": int(now)}
        rows = connection.execute(query, values)
        return [self._by_id.setdefault(row.id, _Held(row)) for row in rows]

    def of(self, question: Question) -> list[_Held]:
        if question.user is not None:
            return self._by_user[question.firm_id, question.user]
        held = self._by_serial.get((question.firm_id, question.serial or ""))
        return [held] if held is not None else []


def _store(connection: Connection, card: _Held, state: CodeState, *, used_at: int | None) -> None:
    """Compare and set. Raises StaleError when the card is no longer as it was judged."""
    seen = card.state
    if state == seen:
        return
    moved = connection.execute(
        _MOVE,
        {
            "card": card.row.id,
            "seen_factor": seen.moving_factor,
            "seen_failures": seen.throttle.failures,
            "seen_blocked_until": seen.throttle.blocked_until,
            "factor": state.moving_factor,
            "drift": state.drift,
            "failures": state.throttle.failures,
            "lockout_s": state.throttle.lockout_s,
            "blocked_until": state.throttle.blocked_until,
            "used_at": used_at,
        },
    )
    if moved.rowcount != 1:
        raise StaleError
    card.state = state


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
        f"This card's codes have {digits} digits.",
        kept="Nothing was counted as a guess.",
        todo=f"Ask the user for all {digits} digits.",
    )


def _unreadable(error: BoxError) -> ApiError:
    return ApiError(500, "seed-unreadable", error.what, kept=error.kept, todo=error.todo)


def _act(check: Check, caller: Caller, outcome: Outcome, now: float) -> Act:
    action = "resynchronised" if len(check.codes) == 2 else "verified"
    detail: dict[str, str | int] = {"reason": outcome.reason.value}
    if check.user is not None:
        detail["user"] = check.user
    subject = outcome.serial or check.serial or ""
    return Act(int(now * 1000), caller.firm_id, caller.id, action, subject, detail)
