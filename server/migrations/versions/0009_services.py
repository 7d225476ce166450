"""Services: grants that tokens belong to, requests kept for a while, more about clients and people.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def _codes(text: sa.types.TypeEngine[str], *more: sa.Column[str]) -> None:
    # Codes live for a minute: those of before are not kept.
    op.drop_table("oidc_code")
    op.create_table(
        "oidc_code",
        sa.Column("code_hash", sa.LargeBinary(32), primary_key=True),
        sa.Column("client_id", sa.String(32), sa.ForeignKey("oidc_client.id"), nullable=False),
        sa.Column(
            "session_id",
            sa.Integer,
            sa.ForeignKey("session.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("redirect_uri", sa.Text, nullable=False),
        sa.Column("scope", text, nullable=False),
        sa.Column("nonce", text, nullable=False),
        sa.Column("challenge", sa.String(128), nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        *more,
    )


def upgrade() -> None:
    _codes(sa.Text(), sa.Column("claims", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "oidc_grant",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("code_hash", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("client_id", sa.String(32), sa.ForeignKey("oidc_client.id"), nullable=False),
        sa.Column(
            "session_id",
            sa.Integer,
            sa.ForeignKey("session.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("claims", sa.Text, nullable=False),
        sa.Column("refresh_hash", sa.LargeBinary(32)),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "oidc_request",
        sa.Column("id_hash", sa.LargeBinary(32), primary_key=True),
        sa.Column("firm_id", sa.Integer, sa.ForeignKey("firm.id"), nullable=False),
        sa.Column("pushed_by", sa.String(32), nullable=False),
        sa.Column("query", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    for name in ("post_logout_uris", "jwks"):
        op.add_column("oidc_client", sa.Column(name, sa.Text, nullable=False, server_default=""))
    op.add_column(
        "person", sa.Column("email_verified", sa.Integer, nullable=False, server_default="0")
    )
    op.add_column(
        "person", sa.Column("full_name", sa.String(255), nullable=False, server_default="")
    )
    op.add_column("person", sa.Column("groups", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    for name in ("groups", "full_name", "email_verified"):
        op.drop_column("person", name)
    for name in ("jwks", "post_logout_uris"):
        op.drop_column("oidc_client", name)
    op.drop_table("oidc_request")
    op.drop_table("oidc_grant")
    _codes(sa.String(255))
