"""Job tickets: how many cards a station may register, and who says so.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "signer",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("firm_id", sa.Integer, sa.ForeignKey("firm.id"), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("public_key", sa.LargeBinary(32), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
        sa.UniqueConstraint("firm_id", "name"),
        sa.UniqueConstraint("firm_id", "public_key"),
    )
    op.create_table(
        "ticket",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("firm_id", sa.Integer, sa.ForeignKey("firm.id"), nullable=False),
        sa.Column("cards", sa.Integer, nullable=False),
        sa.Column("used", sa.Integer, nullable=False),
        sa.Column("digits", sa.Integer, nullable=False),
        sa.Column("station", sa.String(24)),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("presented_at", sa.BigInteger, nullable=False),
        sa.Column("account", sa.Text),
    )
    op.create_table(
        "ticket_card",
        sa.Column("ticket_id", sa.String(32), sa.ForeignKey("ticket.id"), primary_key=True),
        sa.Column("serial", sa.String(64), primary_key=True),
        sa.Column("registered_at", sa.BigInteger, nullable=False),
        sa.Column("certificate", sa.Text),
    )


def downgrade() -> None:
    for table in ("ticket_card", "ticket", "signer"):
        op.drop_table(table)
