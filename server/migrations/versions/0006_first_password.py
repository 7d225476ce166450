"""When a password was set: the one of somebody who never enrols a second factor has an end.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("person", sa.Column("password_at", sa.BigInteger))
    person = sa.table("person", sa.column("password_at"), sa.column("password_hash"))
    # Nobody knows when those of before were set: their time begins now.
    op.execute(
        sa.update(person)
        .where(person.c.password_hash.is_not(None))
        .values(password_at=int(time.time()))
    )


def downgrade() -> None:
    op.drop_column("person", "password_at")
