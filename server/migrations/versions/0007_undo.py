"""What was just done at a desk, and can be undone for a while.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "desk_act",
        sa.Column(
            "card_id", sa.Integer, sa.ForeignKey("card.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("act", sa.String(40), nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("kept", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("desk_act")
