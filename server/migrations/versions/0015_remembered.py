"""Remembered browsers can be told apart, and ended one by one.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    columns = (
        sa.Column("handle", sa.String(32)),
        sa.Column("browser", sa.String(255), nullable=False, server_default=""),
        sa.Column("source", sa.String(64), nullable=False, server_default=""),
        sa.Column("created_at", sa.BigInteger, nullable=False, server_default="0"),
    )
    for column in columns:
        op.add_column("remembered_device", column)
    device = sa.table("remembered_device", sa.column("token_hash"), sa.column("handle"))
    for token in list(op.get_bind().execute(sa.select(device.c.token_hash)).scalars()):
        named = device.c.token_hash == token
        op.execute(sa.update(device).where(named).values(handle=secrets.token_hex(16)))
    op.create_index("uq_remembered_device_handle", "remembered_device", ["handle"], unique=True)


def downgrade() -> None:
    op.drop_index("uq_remembered_device_handle", "remembered_device")
    for name in ("created_at", "source", "browser", "handle"):
        op.drop_column("remembered_device", name)
