"""Lists and searches of a large firm look at what they show, and not at everything.

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

ACTS = sa.text("chain < 'w-'")
PEOPLE: dict[str, list[str | sa.TextClause]] = {
    "ix_person_name": ["firm_id", sa.text("lower(full_name)"), "id"],
    "ix_person_email": ["firm_id", sa.text("lower(coalesce(email, ''))"), "id"],
    "ix_person_role": ["firm_id", "role", "id"],
    "ix_person_made": ["firm_id", "created_at", "id"],
}
LOG: dict[str, list[str | sa.TextClause]] = {
    "ix_audit_act_subject": ["firm_id", "subject", "number"],
    "ix_audit_act_action": ["firm_id", "action", "at_ms"],
}


def upgrade() -> None:
    for name, columns in PEOPLE.items():
        op.create_index(name, "person", columns)
    op.create_index("ix_factor_kind", "factor", ["firm_id", "kind", "person_id"])
    for name, columns in LOG.items():
        op.create_index(name, "audit", columns, sqlite_where=ACTS, postgresql_where=ACTS)


def downgrade() -> None:
    for name in LOG:
        op.drop_index(name, "audit")
    op.drop_index("ix_factor_kind", "factor")
    for name in PEOPLE:
        op.drop_index(name, "person")
