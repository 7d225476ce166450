"""Whatever is looked for in the audit log is found by an index, the newest first.

Revision ID: 0019
Revises: 0018
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

ACTS, OLD_ACTS = sa.text("action <> 'verified'"), sa.text("chain < 'w-'")
BY_TIME = ("at_ms", "number")
PLAIN = {
    "ix_audit_time": ("firm_id", *BY_TIME),
    "ix_audit_subject": ("firm_id", "subject", *BY_TIME),
    "ix_audit_actor": ("firm_id", "actor", *BY_TIME),
}
SAID = ("user", "to", "of", "from")
OLD = {
    "ix_audit_act_subject": ["firm_id", "subject", "number"],
    "ix_audit_act_action": ["firm_id", "action", "at_ms"],
}
SORTED_AT_ONCE_KIB = 64 * 1024


def _said(key: str) -> sa.TextClause:
    """What `detail` says under a key, as it stands in `server/store/said.py`."""
    if op.get_bind().dialect.name == "sqlite":
        form = "lower(CASE WHEN json_valid(detail) THEN json_extract(detail, '$.KEY') END)"
    else:
        form = (
            "lower(replace(replace(substring(detail from "
            "'\"KEY\": ?\"((?\\:[^\"\\\\]|\\\\.)*)\"'), '\\\"', '\"'), '\\\\', '\\'))"
        )
    return sa.text(form.replace("KEY", key))


def upgrade() -> None:
    for name in OLD:
        op.drop_index(name, "audit")
    op.drop_index("ix_audit_firm_at", "audit")
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    if on_sqlite:  # what it sorts at once; a log may have many millions of entries
        op.execute(f"PRAGMA cache_size = -{SORTED_AT_ONCE_KIB}")
    for name, columns in PLAIN.items():
        op.create_index(name, "audit", list(columns))
    op.create_index(
        "ix_audit_action", "audit", ["firm_id", "action", *BY_TIME],
        sqlite_where=ACTS, postgresql_where=ACTS,
    )  # fmt: skip
    for key in SAID:
        some = sa.text(f"{_said(key).text} IS NOT NULL")
        op.create_index(
            f"ix_audit_{key}", "audit", ["firm_id", _said(key), *BY_TIME],
            sqlite_where=some, postgresql_where=some,
        )  # fmt: skip
    if on_sqlite:
        op.execute("PRAGMA cache_size = -2000")


def downgrade() -> None:
    for name in (*PLAIN, "ix_audit_action", *(f"ix_audit_{key}" for key in SAID)):
        op.drop_index(name, "audit")
    op.create_index("ix_audit_firm_at", "audit", ["firm_id", "at_ms"])
    for old, columns in OLD.items():
        op.create_index(
            old, "audit", columns, sqlite_where=OLD_ACTS, postgresql_where=OLD_ACTS
        )  # fmt: skip
