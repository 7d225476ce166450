"""What makes a person's codes: cards, and authenticator apps that were enrolled in the portal.

Read and locked for a batch of checks, judged by the same rules, moved on by compare-and-set. A
method that the firm's policy forbids verifies nothing, nor does anything of a disabled person.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from sqlalchemy import Connection, Executable, bindparam, or_, select, update

from tallystick.server.accounts import factors
from tallystick.server.accounts.factors import Enrolled
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.rules.judge import CodePolicy, CodeState, Generator, Judgement, Reason, judge
from tallystick.server.stock.cards import (
    GENERATOR,
    REGISTERED,
    generator_of,
    seed_binding,
    state_of,
)
from tallystick.server.store.database import AnyRow, StaleError
from tallystick.server.store.keys import Box, ServerKeyRing
from tallystick.server.store.models import Assignment, CardRow, PersonRow
from tallystick.server.store.models_login import Factor


def app_generator(algorithm: str) -> Generator:
    """What authenticator apps make. algorithm: as their QR codes name it (SHA1, SHA256)."""
    return Generator(algorithm.lower(), step_s=30, digits=6)


@dataclass(frozen=True)
class CodeQuestion:
    """Whose codes (a user's or a card's), in which firm, judged by which rules; methods: of which
    kinds of token. user: in canonical form. cards: none but these serial numbers."""

    firm_id: int
    user: str | None
    serial: str | None
    codes: tuple[str, ...]
    policy: CodePolicy
    methods: frozenset[MethodKind]
    cards: frozenset[str] | None = None


class OathToken(ABC):
    """Makes codes. state: as this transaction has left it so far."""

    method: ClassVar[MethodKind]
    serial: str | None
    generator: Generator
    state: CodeState

    @abstractmethod
    def judge(
        self, ring: ServerKeyRing, codes: tuple[str, ...], policy: CodePolicy, now: int
    ) -> Judgement:
        """Changes nothing. Raises BoxError."""

    @abstractmethod
    def store(self, connection: Connection, state: CodeState, *, used_at: int | None) -> None:
        """Compare and set, at the latest when the batch is stored. used_at: None keeps what is
        there. Raises StaleError when the token is no longer as it was judged."""


class CardToken(OathToken):
    """A card in service, with its holder."""

    method = MethodKind.CARD

    def __init__(self, row: AnyRow, moves: list[dict[str, object]]) -> None:
        """moves: where what is to be stored is gathered."""
        self.row = row
        self._moves = moves
        self.serial = row.serial
        self.generator = generator_of(row)
        self.state = state_of(row)
        self._used_at = row.last_used_at

    def judge(
        self, ring: ServerKeyRing, codes: tuple[str, ...], policy: CodePolicy, now: int
    ) -> Judgement:
        if wait_s := self.state.throttle.wait_s(now):
            return Judgement(Reason.THROTTLED, self.state, wait_s)
        row = self.row
        seed = ring.decrypt(
            Box(row.seed_key_id, row.seed_box), seed_binding(row.firm_id, row.serial)
        )
        return judge(seed, self.state, codes, policy, now, generator=self.generator)

    def store(self, connection: Connection, state: CodeState, *, used_at: int | None) -> None:
        seen = self.state
        if state == seen:
            return
        self._used_at = self._used_at if used_at is None else used_at
        self._moves.append(
            {
                "card": self.row.id,
                "seen_factor": seen.moving_factor,
                "seen_failures": seen.throttle.failures,
                "seen_blocked_until": seen.throttle.blocked_until,
                "factor": state.moving_factor,
                "drift": state.drift,
                "failures": state.throttle.failures,
                "lockout_s": state.throttle.lockout_s,
                "blocked_until": state.throttle.blocked_until,
                "used_at": self._used_at,
            }
        )
        self.state = state


class AppToken(OathToken):
    """A confirmed authenticator app. Its moving factor is the time step after the last accepted
    one. A telephone's clock is right: it does not drift, and two codes do not resynchronise it."""

    method = MethodKind.TOTP
    serial = None

    def __init__(self, factor: Enrolled) -> None:
        self._factor = factor
        self.generator = app_generator(str(factor.facts["hash"]))
        self.state = CodeState(factor.position + 1, factor.throttle)

    def judge(
        self, ring: ServerKeyRing, codes: tuple[str, ...], policy: CodePolicy, now: int
    ) -> Judgement:
        if wait_s := self.state.throttle.wait_s(now):
            return Judgement(Reason.THROTTLED, self.state, wait_s)
        if not self.generator.fits(codes):
            # As typed into a page: a shorter one would be easier to guess.
            throttle = self.state.throttle.after_failure(policy, now)
            return Judgement(Reason.WRONG, replace(self.state, throttle=throttle))
        secret = self._factor.secret(ring)
        verdict = judge(secret, self.state, codes, policy, now, generator=self.generator)
        if verdict.reason is Reason.RESYNCHRONISE:
            return replace(verdict, reason=Reason.WRONG)
        return replace(verdict, state=replace(verdict.state, drift=0))

    def store(self, connection: Connection, state: CodeState, *, used_at: int | None) -> None:
        if state == self.state:
            return
        self._factor = factors.move(
            connection,
            self._factor,
            position=state.moving_factor - 1,
            throttle=state.throttle,
            used_at=self._factor.last_used_at if used_at is None else used_at,
        )
        self.state = state


# Statements of the fast path are built once: that takes longer than running them.
_HELD = (
    select(
        CardRow.id,
        CardRow.firm_id,
        CardRow.serial,
        CardRow.seed_key_id,
        CardRow.seed_box,
        CardRow.moving_factor,
        CardRow.failures,
        CardRow.lockout_s,
        CardRow.blocked_until,
        CardRow.last_used_at,
        *GENERATOR,
        CardRow.drift,
        PersonRow.login_key,
    )
    .join(Assignment, Assignment.card_id == CardRow.id)
    .join(PersonRow, PersonRow.id == Assignment.person_id)
    .where(
        CardRow.status == REGISTERED,
        or_(CardRow.valid_until.is_(None), CardRow.valid_until > bindparam("now")),
        or_(Assignment.expires_at.is_(None), Assignment.expires_at > bindparam("now")),
        PersonRow.disabled_at.is_(None),
    )
    .order_by(CardRow.id)
    .with_for_update(of=CardRow)
)
_PERSON = (
    PersonRow.firm_id.in_(bindparam("firms", expanding=True)),
    PersonRow.login_key.in_(bindparam("names", expanding=True)),
)
_CARDS_BY_USER = _HELD.where(*_PERSON)
_CARDS_BY_SERIAL = _HELD.where(
    CardRow.firm_id.in_(bindparam("firms", expanding=True)),
    CardRow.serial.in_(bindparam("names", expanding=True)),
)
_APPS_BY_USER = (
    select(*Factor.__table__.columns, PersonRow.login_key)
    .join(PersonRow, PersonRow.id == Factor.person_id)
    .where(
        *_PERSON,
        PersonRow.disabled_at.is_(None),
        Factor.kind == MethodKind.TOTP.value,
        Factor.confirmed_at.is_not(None),
    )
    .order_by(Factor.id)
    .with_for_update(of=Factor)
)
_MOVE = (
    update(CardRow)
    .where(
        CardRow.id == bindparam("card"),
        CardRow.moving_factor == bindparam("seen_factor"),
        CardRow.failures == bindparam("seen_failures"),
        CardRow.blocked_until == bindparam("seen_blocked_until"),
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


def move(connection: Connection, moves: Sequence[Mapping[str, object]]) -> None:
    """Store states of cards: one compare-and-set a check, in their order, sent together. Raises
    StaleError when a card is no longer as it was judged."""
    if moves and connection.execute(_MOVE, moves).rowcount != len(moves):
        raise StaleError


class Tokens:
    """The tokens that a batch is about, read (and on PostgreSQL locked: cards before apps, each in
    the order of their ids) in one statement for cards of users, one for cards by serial number, one
    for apps."""

    def __init__(
        self, connection: Connection, questions: Sequence[CodeQuestion], now: float
    ) -> None:
        self._moves: list[dict[str, object]] = []
        self._by_id: dict[int, CardToken] = {}
        self._by_user: defaultdict[tuple[int, str], list[OathToken]] = defaultdict(list)
        self._by_serial: dict[tuple[int, str], CardToken] = {}
        firms = {question.firm_id for question in questions}
        serials = {one.serial for one in questions if one.serial is not None}
        for card in self._cards(connection, _CARDS_BY_USER, firms, _users(questions), now):
            self._by_user[card.row.firm_id, card.row.login_key].append(card)
        for card in self._cards(connection, _CARDS_BY_SERIAL, firms, serials, now):
            self._by_serial[card.row.firm_id, card.row.serial] = card
        with_apps = _users(one for one in questions if MethodKind.TOTP in one.methods)
        if with_apps:
            values = {"firms": list(firms), "names": list(with_apps)}
            for row in connection.execute(_APPS_BY_USER, values):
                self._by_user[row.firm_id, row.login_key].append(AppToken(factors.enrolled(row)))

    def _cards(
        self,
        connection: Connection,
        query: Executable,
        firms: Collection[int],
        names: Collection[str],
        now: float,
    ) -> list[CardToken]:
        if not names:
            return []
        values = {"firms": list(firms), "names": list(names), "now": int(now)}
        rows = connection.execute(query, values)
        return [self._by_id.setdefault(row.id, CardToken(row, self._moves)) for row in rows]

    def store(self, connection: Connection) -> None:
        """Store what was judged of cards. Raises StaleError when one is no longer as it was."""
        move(connection, self._moves)
        self._moves.clear()

    def of(self, question: CodeQuestion) -> list[OathToken]:
        """Those that may answer the question; two codes are for cards, which may have drifted."""
        found: list[OathToken] = []
        if question.user is not None:
            found += self._by_user[question.firm_id, question.user]
        elif card := self._by_serial.get((question.firm_id, question.serial or "")):
            found.append(card)
        kinds = question.methods - ({MethodKind.TOTP} if len(question.codes) > 1 else set())
        return [
            token
            for token in found
            if token.method in kinds
            and (token.serial is None or question.cards is None or token.serial in question.cards)
        ]


def _users(questions: Iterable[CodeQuestion]) -> set[str]:
    return {question.user for question in questions if question.user is not None}
