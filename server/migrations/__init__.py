"""Schema changes, run by alembic through `tallystick.server.store.schema`."""
