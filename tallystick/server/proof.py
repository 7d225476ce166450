"""Proof that a card is in somebody's hand: its next code, or two successive ones, judged whoever
holds the card. Counter and failures are stored in the caller's transaction."""

from __future__ import annotations

from sqlalchemy import Connection, update

from tallystick.server.cards import generator_of, seed_binding, state_of
from tallystick.server.database import AnyRow, StaleError
from tallystick.server.judge import Verdict, judge
from tallystick.server.keys import Box, KeyRing
from tallystick.server.models import Card
from tallystick.server.policy import FirmPolicy


def judge_card(
    connection: Connection,
    ring: KeyRing,
    row: AnyRow,
    codes: tuple[str, ...],
    policy: FirmPolicy,
    now: float,
) -> Verdict:
    """Judge the codes of the card in `row` (all its columns, read in this transaction).

    Raises StaleError when the card is no longer as it was read.
    """
    seed = ring.decrypt(Box(row.seed_key_id, row.seed_box), seed_binding(row.firm_id, row.serial))
    verdict = judge(
        seed, state_of(row), codes, policy.codes(), int(now), generator=generator_of(row)
    )
    moved = connection.execute(
        update(Card)
        .where(
            Card.id == row.id,
            Card.moving_factor == row.moving_factor,
            Card.failures == row.failures,
            Card.blocked_until == row.blocked_until,
        )
        .values(
            moving_factor=verdict.state.moving_factor,
            drift=verdict.state.drift,
            failures=verdict.state.throttle.failures,
            lockout_s=verdict.state.throttle.lockout_s,
            blocked_until=verdict.state.throttle.blocked_until,
        )
    )
    if moved.rowcount != 1:
        raise StaleError
    return verdict


def has_length(row: AnyRow, codes: tuple[str, ...]) -> bool:
    """Whether every code has the card's number of digits."""
    return all(c.isascii() and c.isdigit() and len(c) == row.digits for c in codes)
