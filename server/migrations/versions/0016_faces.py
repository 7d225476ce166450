"""A firm's logo; the language that a person chose; the message that a code was sent with.

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "firm_logo",
        sa.Column(
            "firm_id", sa.Integer, sa.ForeignKey("firm.id"), primary_key=True, autoincrement=False
        ),
        sa.Column("png", sa.LargeBinary, nullable=False),
        sa.Column("tag", sa.String(16), nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
    )
    op.add_column("person", sa.Column("language", sa.String(8), nullable=False, server_default=""))
    op.add_column("sent_code", sa.Column("message_id", sa.Integer))


def downgrade() -> None:
    op.drop_column("sent_code", "message_id")
    op.drop_column("person", "language")
    op.drop_table("firm_logo")
