"""From when on a member of staff counts as a second one: whoever made him one cannot be both.

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
    op.add_column("person", sa.Column("colleague_from", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("person", "colleague_from")
