"""Proof that a card is in somebody's hand: its next code, or two successive ones, judged whoever
holds the card. Counter and failures are stored in the caller's transaction."""

from __future__ import annotations

from sqlalchemy import Connection

from tallystick.server.accounts.policy import FirmPolicy
from tallystick.server.checking.tokens import CardToken, move
from tallystick.server.rules.judge import CodePolicy, Judgement
from tallystick.server.store.database import AnyRow
from tallystick.server.store.keys import ServerKeyRing


def judge_card(
    connection: Connection,
    ring: ServerKeyRing,
    row: AnyRow,
    codes: tuple[str, ...],
    policy: FirmPolicy,
    now: float,
    rules: CodePolicy | None = None,
) -> Judgement:
    """Judge the codes of the card in `row` (all its columns, read in this transaction), by the
    policy's rules or by others.

    Raises StaleError when the card is no longer as it was read.
    """
    moves: list[dict[str, object]] = []
    card = CardToken(row, moves)
    verdict = card.judge(ring, codes, rules or policy.codes(), int(now))
    card.store(connection, verdict.state, used_at=None)  # the desk is not its user
    move(connection, moves)
    return verdict
