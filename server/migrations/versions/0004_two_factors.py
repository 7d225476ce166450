"""Login names that are looked up whatever their case, cards that their holder has confirmed, what
recovered a password, sessions with a name of their own, what staff decide together.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import secrets
import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("assignment", sa.Column("confirmed_at", sa.BigInteger))
    op.add_column("person", sa.Column("recovered_by", sa.String(16)))
    op.add_column(
        "person", sa.Column("login_key", sa.String(255), nullable=False, server_default="")
    )
    _fill_login_keys()
    op.create_index("uq_person_login_key", "person", ["firm_id", "login_key"], unique=True)
    op.add_column(
        "session", sa.Column("enrol_only", sa.Integer, nullable=False, server_default="0")
    )
    op.add_column("session", sa.Column("handle", sa.String(32), nullable=False, server_default=""))
    _fill_handles()
    op.create_index("uq_session_handle", "session", ["handle"], unique=True)
    for column in (
        sa.Column("kind", sa.String(16), nullable=False, server_default="recovery"),
        sa.Column("reason", sa.String(255), nullable=False, server_default=""),
        sa.Column("detail", sa.Text, nullable=False, server_default="{}"),
        sa.Column("asked_at", sa.BigInteger, nullable=False, server_default="0"),
    ):
        op.add_column("help_request", column)
    op.create_table(
        "oidc_again",
        sa.Column("request_hash", sa.LargeBinary(32), primary_key=True),
        sa.Column("firm_id", sa.Integer, sa.ForeignKey("firm.id"), nullable=False),
        sa.Column("session", sa.String(32), nullable=False),
        sa.Column("asked_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
    )


def _fill_login_keys() -> None:
    """Where two names of a firm differ only in case, the younger one is renamed: NAME~ID. Nobody
    loses an account, and which of two is meant is never guessed."""
    connection = op.get_bind()
    person = sa.table(
        "person",
        sa.column("id", sa.Integer),
        sa.column("firm_id", sa.Integer),
        sa.column("login", sa.String),
        sa.column("login_key", sa.String),
    )
    taken: set[tuple[int, str]] = set()
    rows = connection.execute(
        sa.select(person.c.id, person.c.firm_id, person.c.login).order_by(person.c.id)
    ).all()
    for row in rows:
        login, key = row.login, _canonical(row.login)[:255]
        if (row.firm_id, key) in taken:
            login = f"{row.login[:240]}~{row.id}"
            key = _canonical(login)[:255]
        taken.add((row.firm_id, key))
        connection.execute(
            person.update().where(person.c.id == row.id).values(login=login, login_key=key)
        )


def _canonical(login: str) -> str:
    """As `people.canonical` was when this migration was made."""
    folded = unicodedata.normalize("NFKC", login).casefold()
    return unicodedata.normalize("NFKC", folded)


def _fill_handles() -> None:
    connection = op.get_bind()
    session = sa.table("session", sa.column("id", sa.Integer), sa.column("handle", sa.String))
    for row in connection.execute(sa.select(session.c.id)).all():
        connection.execute(
            session.update().where(session.c.id == row.id).values(handle=secrets.token_hex(16))
        )


def downgrade() -> None:
    op.drop_table("oidc_again")
    # An older server would take a request to hand over a card for one to recover an account.
    op.execute("DELETE FROM help_request WHERE kind <> 'recovery'")
    for name in ("kind", "reason", "detail", "asked_at"):
        op.drop_column("help_request", name)
    # It would also let a session that may only enrol do everything, and a method of the sixth kind
    # it does not know.
    op.execute("DELETE FROM session WHERE enrol_only <> 0")
    op.execute("DELETE FROM factor WHERE kind = 'codes'")
    op.drop_index("uq_session_handle", "session")
    op.drop_index("uq_person_login_key", "person")
    for table, name in (
        ("session", "handle"),
        ("session", "enrol_only"),
        ("person", "login_key"),
        ("person", "recovered_by"),
        ("assignment", "confirmed_at"),
    ):
        op.drop_column(table, name)
