"""Schema changes, run by alembic through `tallystick.server.schema`."""
