"""Answers of checks that are kept for a retry; services that are told of a sign-out.

Revision ID: 0012
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "check_answer",
        sa.Column("id_hash", sa.LargeBinary(32), primary_key=True),
        sa.Column("firm_id", sa.Integer, sa.ForeignKey("firm.id"), nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
    )
    op.add_column(
        "oidc_client",
        sa.Column("backchannel_logout_uri", sa.Text, nullable=False, server_default=""),
    )
    op.create_table(
        "oidc_logout",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("firm_id", sa.Integer, sa.ForeignKey("firm.id"), nullable=False),
        sa.Column("client_id", sa.String(32), sa.ForeignKey("oidc_client.id"), nullable=False),
        sa.Column("session", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(32), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("due_at", sa.BigInteger),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("session", "client_id"),
    )


def downgrade() -> None:
    op.drop_table("oidc_logout")
    op.drop_column("oidc_client", "backchannel_logout_uri")
    op.drop_table("check_answer")
