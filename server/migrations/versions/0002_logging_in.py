"""Policy of firms, roles and passwords of people, factors, logging in.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NEW_TABLES = (
    "factor",
    "attempt",
    "sent_code",
    "rate",
    "message",
    "session",
    "remembered_device",
    "help_request",
    "oidc_client",
    "oidc_code",
    "signing_key",
)


def upgrade() -> None:
    op.add_column("firm", sa.Column("policy", sa.Text, nullable=False, server_default="{}"))
    op.add_column(
        "assignment",
        sa.Column("assigned_by", sa.String(255), nullable=False, server_default=""),
    )
    _add_to_person()
    op.create_table(
        "factor",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("firm_id", sa.Integer, sa.ForeignKey("firm.id"), nullable=False),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("person.id"), index=True, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("label", sa.String(64), nullable=False),
        sa.Column("secret_key_id", sa.String(16), index=True),
        sa.Column("secret_box", sa.LargeBinary),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("external_id", sa.LargeBinary, unique=True),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("lockout_s", sa.Integer, nullable=False),
        sa.Column("blocked_until", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("confirmed_at", sa.BigInteger),
        sa.Column("last_used_at", sa.BigInteger),
    )
    op.create_table(
        "attempt",
        sa.Column("token_hash", sa.LargeBinary(32), primary_key=True),
        sa.Column("firm_id", sa.Integer, sa.ForeignKey("firm.id"), nullable=False),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("person.id"), index=True),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("context", sa.Text, nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("expires_at", sa.BigInteger, index=True, nullable=False),
    )
    op.create_table(
        "sent_code",
        sa.Column(
            "factor_id",
            sa.Integer,
            sa.ForeignKey("factor.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("attempt", sa.LargeBinary(32), primary_key=True),
        sa.Column("code_tag", sa.LargeBinary(32), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.BigInteger, index=True, nullable=False),
    )
    op.create_table(
        "rate",
        sa.Column("bucket", sa.String(120), primary_key=True),
        sa.Column("ends_at", sa.BigInteger, index=True, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
    )
    op.create_table(
        "message",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("firm_id", sa.Integer, sa.ForeignKey("firm.id"), nullable=False),
        sa.Column("channel", sa.String(8), nullable=False),
        sa.Column("body_key_id", sa.String(16), nullable=False),
        sa.Column("body_box", sa.LargeBinary, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("due_at", sa.BigInteger, index=True, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "session",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("token_hash", sa.LargeBinary(32), unique=True, nullable=False),
        sa.Column("firm_id", sa.Integer, sa.ForeignKey("firm.id"), nullable=False),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("person.id"), index=True, nullable=False),
        sa.Column("amr", sa.String(64), nullable=False),
        sa.Column("browser", sa.String(255), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "remembered_device",
        sa.Column("token_hash", sa.LargeBinary(32), primary_key=True),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("person.id"), index=True, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "help_request",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("firm_id", sa.Integer, sa.ForeignKey("firm.id"), nullable=False),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("person.id"), nullable=False),
        sa.Column("asked_by", sa.Integer, sa.ForeignKey("person.id"), nullable=False),
        sa.Column("agreed_by", sa.Integer, sa.ForeignKey("person.id")),
        sa.Column("code_tag", sa.LargeBinary(32)),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "oidc_client",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("firm_id", sa.Integer, sa.ForeignKey("firm.id"), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("redirect_uris", sa.Text, nullable=False),
        sa.UniqueConstraint("firm_id", "name"),
    )
    op.create_table(
        "oidc_code",
        sa.Column("code_hash", sa.LargeBinary(32), primary_key=True),
        sa.Column("client_id", sa.String(32), sa.ForeignKey("oidc_client.id"), nullable=False),
        sa.Column(
            "session_id",
            sa.Integer,
            sa.ForeignKey("session.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("redirect_uri", sa.Text, nullable=False),
        sa.Column("scope", sa.String(255), nullable=False),
        sa.Column("nonce", sa.String(255), nullable=False),
        sa.Column("challenge", sa.String(128), nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "signing_key",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("key_box", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("retired_at", sa.BigInteger),
    )


def _add_to_person() -> None:
    with op.batch_alter_table("person") as person:
        person.add_column(sa.Column("role", sa.String(16), nullable=False, server_default="user"))
        person.add_column(sa.Column("email", sa.String(255)))
        person.add_column(sa.Column("disabled_at", sa.BigInteger))
        person.add_column(sa.Column("password_hash", sa.String(255)))
        person.add_column(sa.Column("enrolled_at", sa.BigInteger))


def downgrade() -> None:
    for table in reversed(NEW_TABLES):
        op.drop_table(table)
    with op.batch_alter_table("person") as person:
        for name in (
            "role",
            "email",
            "disabled_at",
            "password_hash",
            "enrolled_at",
        ):
            person.drop_column(name)
    with op.batch_alter_table("assignment") as assignment:
        assignment.drop_column("assigned_by")
    with op.batch_alter_table("firm") as firm:
        firm.drop_column("policy")
