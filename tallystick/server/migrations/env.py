"""What alembic runs. The connection comes from `tallystick.server.schema`."""

from __future__ import annotations

from alembic import context

from tallystick.server.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
