"""Time-based cards, expiry dates and names of cards; when a second factor was last shown.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "card", sa.Column("algorithm", sa.String(8), nullable=False, server_default="sha1")
    )
    op.add_column("card", sa.Column("step_s", sa.Integer, nullable=False, server_default="0"))
    op.add_column("card", sa.Column("drift", sa.Integer, nullable=False, server_default="0"))
    op.add_column("card", sa.Column("valid_until", sa.BigInteger))
    op.add_column("assignment", sa.Column("label", sa.String(64)))
    op.add_column("session", sa.Column("proved_at", sa.BigInteger))


def downgrade() -> None:
    # An older server would take a time-based card for one that counts presses.
    op.execute("UPDATE card SET status = 'retired' WHERE step_s > 0")
    with op.batch_alter_table("session") as session:
        session.drop_column("proved_at")
    with op.batch_alter_table("assignment") as assignment:
        assignment.drop_column("label")
    with op.batch_alter_table("card") as card:
        for name in ("algorithm", "step_s", "drift", "valid_until"):
            card.drop_column(name)
