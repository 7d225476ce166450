"""Serial numbers that stations share: the ranges, and the runs that were given out of them.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "serial_range",
        sa.Column("firm_id", sa.Integer, sa.ForeignKey("firm.id"), primary_key=True),
        sa.Column("letters", sa.String(64), primary_key=True),
        sa.Column("digits", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("next", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "serial_block",
        sa.Column("firm_id", sa.Integer, sa.ForeignKey("firm.id"), primary_key=True),
        sa.Column("request", sa.String(32), primary_key=True),
        sa.Column("first", sa.String(64), nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("station", sa.String(24), nullable=False),
        sa.Column("reserved_at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    for table in ("serial_block", "serial_range"):
        op.drop_table(table)
