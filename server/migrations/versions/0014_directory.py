"""People out of a directory: who keeps them, their groups; numbers that are not used again.

Revision ID: 0014
Revises: 0009
"""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("person", sa.Column("handle", sa.String(32)))
    for name, length in (("source", 16), ("external_id", 255)):
        op.add_column(
            "person", sa.Column(name, sa.String(length), nullable=False, server_default="")
        )
    person = sa.table("person", sa.column("id"), sa.column("handle"))
    ids = list(op.get_bind().execute(sa.select(person.c.id)).scalars())
    for number in ids:
        op.execute(
            sa.update(person).where(person.c.id == number).values(handle=secrets.token_hex(16))
        )
    op.create_index("uq_person_handle", "person", ["handle"], unique=True)
    op.create_table(
        "departed",
        sa.Column("person_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("firm_id", sa.Integer, sa.ForeignKey("firm.id"), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "directory_record",
        sa.Column(
            "person_id",
            sa.Integer,
            sa.ForeignKey("person.id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "directory_group",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("firm_id", sa.Integer, sa.ForeignKey("firm.id"), nullable=False),
        sa.Column("handle", sa.String(32), nullable=False, unique=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("external_id", sa.String(255), nullable=False, server_default=""),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_directory_group_firm_id", "directory_group", ["firm_id"])
    op.create_table(
        "directory_member",
        sa.Column(
            "group_id",
            sa.Integer,
            sa.ForeignKey("directory_group.id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column(
            "person_id",
            sa.Integer,
            sa.ForeignKey("person.id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("display", sa.String(255), nullable=False, server_default=""),
    )
    op.create_index("ix_directory_member_person_id", "directory_member", ["person_id"])


def downgrade() -> None:
    for name in ("directory_member", "directory_group", "directory_record", "departed"):
        op.drop_table(name)
    op.drop_index("uq_person_handle", "person")
    for name in ("external_id", "source", "handle"):
        op.drop_column("person", name)
