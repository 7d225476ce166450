"""What alembic runs. The connection comes from `tallystick.server.store.schema`."""

from __future__ import annotations

from alembic import context

from tallystick.server.store.models_login import Factor

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Factor.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
