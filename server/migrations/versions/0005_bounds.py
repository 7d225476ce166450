"""Checkpoints of the audit log, fingerprints of keys as HMAC sees them, whether a restore waits to
be confirmed.

Revision ID: 0005
Revises: 0003
"""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None

log = logging.getLogger(__name__)
BATCH = 1000
BLOCK = {"sha1": 64, "sha256": 64, "sha512": 128}


def upgrade() -> None:
    op.create_table(
        "audit_checkpoint",
        sa.Column("chain", sa.String(40), primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("mac", sa.LargeBinary(32), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("seal", sa.LargeBinary(32), nullable=False),
    )
    op.create_table(
        "restored",
        sa.Column("at", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("report", sa.Text, nullable=False),
        sa.Column("confirmed_at", sa.BigInteger),
    )
    op.add_column(
        "tombstone", sa.Column("as_given", sa.Integer, nullable=False, server_default="0")
    )
    op.execute("UPDATE tombstone SET as_given = 1")
    _new_fingerprints()
    _allow_pruning()


def _new_fingerprints() -> None:
    """Of cards whose key ends in zeros, or is longer than a block. Tombstones have no key any more:
    what they were made from is tried when a card is registered."""
    connection = op.get_bind()
    card = sa.table(
        "card",
        *(
            sa.column(name)
            for name in (
                "id", "firm_id", "serial", "status", "algorithm", "seed_key_id", "seed_box",
                "seed_fingerprint",
            )
        ),
    )  # fmt: skip
    last = 0
    while rows := connection.execute(
        sa.select(card).where(card.c.id > last).order_by(card.c.id).limit(BATCH)
    ).all():
        for row in rows:
            _refresh(connection, card, row)
        last = rows[-1].id


def _refresh(connection: sa.Connection, card: Any, row: Any) -> None:
    from tallystick.server.store.keys import Box, BoxError  # noqa: PLC0415

    ring = context.config.attributes["ring"]
    try:
        seed = ring.decrypt(
            Box(row.seed_key_id, bytes(row.seed_box)), f"tallystick/seed|{row.firm_id}|{row.serial}"
        )
    except BoxError:
        log.warning("card %s is not readable: its fingerprint stays", row.serial)
        return
    if not seed.endswith(b"\0") and len(seed) <= BLOCK[row.algorithm]:
        return
    if len(seed) > BLOCK[row.algorithm]:
        seed = hashlib.new(row.algorithm, seed).digest()
    fresh = ring.fingerprint(seed.rstrip(b"\0"))
    taken = connection.scalar(
        sa.select(card.c.id).where(card.c.seed_fingerprint == fresh, card.c.id != row.id)
    )
    if taken is None:
        values = {"seed_fingerprint": fresh}
    else:
        # One key, two cards: a code of the one was good for the other. The younger one ends.
        log.warning("card %s has the key of another card, and is retired", row.serial)
        values = {"status": "retired"}
    connection.execute(card.update().where(card.c.id == row.id).values(values))


def _allow_pruning() -> None:
    """Entries up to a checkpoint may go. That the checkpoint is genuine shows its seal."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER audit_no_delete")
        op.execute(
            "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit WHEN NOT EXISTS "
            "(SELECT 1 FROM audit_checkpoint AS c WHERE c.chain = OLD.chain "
            "AND c.number >= OLD.number) "
            "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        )
        return
    op.execute("DROP TRIGGER audit_append_only ON audit")
    op.execute(
        "CREATE TRIGGER audit_append_only BEFORE UPDATE OR TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()"
    )
    op.execute(
        "CREATE FUNCTION audit_prune_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF EXISTS (SELECT 1 FROM audit_checkpoint AS c WHERE c.chain = OLD.chain "
        "AND c.number >= OLD.number) THEN RETURN OLD; END IF; "
        "RAISE EXCEPTION 'the audit log is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_prune_only BEFORE DELETE ON audit "
        "FOR EACH ROW EXECUTE FUNCTION audit_prune_only()"
    )


def downgrade() -> None:
    """An older server does not know of checkpoints: its `audit check` reports a pruned log as
    broken."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER audit_no_delete")
        op.execute(
            "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit "
            "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        )
    else:
        op.execute("DROP TRIGGER audit_prune_only ON audit")
        op.execute("DROP FUNCTION audit_prune_only()")
        op.execute("DROP TRIGGER audit_append_only ON audit")
        op.execute(
            "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
            "FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()"
        )
    with op.batch_alter_table("tombstone") as tombstone:
        tombstone.drop_column("as_given")
    op.drop_table("restored")
    op.drop_table("audit_checkpoint")
