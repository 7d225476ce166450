"""From when on a member of staff counts as a second one: whoever made him one cannot be both. Who
has left.

Revision ID: 0018
Revises: 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("colleague_from", "left_at"):
        op.add_column("person", sa.Column(name, sa.BigInteger))
    # Whoever is barred, and has neither password nor factor, has left, or never came.
    person = sa.table(
        "person", *map(sa.column, ("disabled_at", "password_hash", "enrolled_at", "left_at"))
    )
    gone = person.c.disabled_at.is_not(None)
    empty = person.c.password_hash.is_(None) & person.c.enrolled_at.is_(None)
    op.execute(sa.update(person).where(gone & empty).values(left_at=person.c.disabled_at))


def downgrade() -> None:
    for name in ("left_at", "colleague_from"):
        op.drop_column("person", name)
