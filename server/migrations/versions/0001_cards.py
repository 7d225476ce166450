"""Firms, credentials, people, cards, tombstones, audit.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    firm = op.create_table(
        "firm",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False, unique=True),
    )
    op.create_table(
        "credential",
        sa.Column("id", sa.String(24), primary_key=True),
        sa.Column("firm_id", sa.Integer, sa.ForeignKey("firm.id"), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("psk_key_id", sa.String(16)),
        sa.Column("psk_box", sa.LargeBinary),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
        sa.UniqueConstraint("firm_id", "name"),
    )
    op.create_table(
        "person",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("firm_id", sa.Integer, sa.ForeignKey("firm.id"), nullable=False),
        sa.Column("login", sa.String(255), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("firm_id", "login"),
    )
    op.create_table(
        "card",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("firm_id", sa.Integer, sa.ForeignKey("firm.id"), nullable=False),
        sa.Column("serial", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("digits", sa.Integer, nullable=False),
        sa.Column("moving_factor", sa.BigInteger, nullable=False),
        sa.Column("seed_key_id", sa.String(16), nullable=False, index=True),
        sa.Column("seed_box", sa.LargeBinary, nullable=False),
        sa.Column("seed_fingerprint", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("registered_by", sa.String(24), sa.ForeignKey("credential.id"), nullable=False),
        sa.Column("registered_at", sa.BigInteger, nullable=False),
        sa.Column("last_used_at", sa.BigInteger),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("lockout_s", sa.Integer, nullable=False),
        sa.Column("blocked_until", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("firm_id", "serial"),
    )
    op.create_table(
        "assignment",
        sa.Column("card_id", sa.Integer, sa.ForeignKey("card.id"), primary_key=True),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("person.id"), nullable=False, index=True),
        sa.Column("assigned_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
    )
    op.create_table(
        "tombstone",
        sa.Column("seed_fingerprint", sa.LargeBinary(32), primary_key=True),
        sa.Column("firm_id", sa.Integer, sa.ForeignKey("firm.id"), nullable=False),
        sa.Column("serial", sa.String(64), nullable=False),
        sa.Column("moving_factor", sa.BigInteger, nullable=False),
        sa.Column("deleted_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("chain", sa.String(40), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("firm_id", sa.BigInteger),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("detail", sa.String(1000), nullable=False),
        sa.Column("mac", sa.LargeBinary(32), nullable=False),
        sa.Index("ix_audit_firm_at", "firm_id", "at_ms"),
    )
    head = op.create_table(
        "audit_head",
        sa.Column("chain", sa.String(40), primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("mac", sa.LargeBinary(32), nullable=False),
    )
    op.bulk_insert(firm, [{"id": 1, "name": "default"}])
    op.bulk_insert(head, [{"chain": "main", "number": 0, "mac": bytes(32)}])
    _forbid_audit_changes()


def _forbid_audit_changes() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for act in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_no_{act.lower()} BEFORE {act} ON audit "
                "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()"
    )
    # The default firm was given its number by hand.
    op.execute("SELECT setval(pg_get_serial_sequence('firm', 'id'), 1)")


def downgrade() -> None:
    for table in (
        "audit_head",
        "audit",
        "tombstone",
        "assignment",
        "card",
        "person",
        "credential",
        "firm",
    ):
        op.drop_table(table)
    if op.get_bind().dialect.name != "sqlite":
        op.execute("DROP FUNCTION audit_append_only()")
