"""What the migrations make of an empty SQLite database, as statements: a new database is made by
these, since to load what migrates and to run it takes a tenth of a second and 8 MB.

    python -m tallystick.tools.upkeep.new_database     # writes server/migrations/new_sqlite.json
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tallystick.server.store import schema
from tallystick.server.store.database import Database


def statements() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new.db"
        database = Database(f"sqlite:///{path}")
        schema.migrate(database, schema.HEAD, anew=True)
        database.close()
        return statements_of(path)


def statements_of(path: Path) -> list[str]:
    """What makes a database like this one, in an order that depends on nothing else."""
    made = sqlite3.connect(path)
    try:
        tables = made.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name"
        ).fetchall()
        rows = [insert for name, _ in tables for insert in _inserts(made, name)]
        others = made.execute(
            "SELECT sql FROM sqlite_master WHERE type != 'table' AND sql IS NOT NULL ORDER BY sql"
        )
        return [*(sql for _, sql in tables), *rows, *(sql for (sql,) in others)]
    finally:
        made.close()


def _inserts(made: sqlite3.Connection, table: str) -> Iterator[str]:
    columns = [row[1] for row in made.execute(f'PRAGMA table_info("{table}")')]
    quoted = " || ', ' || ".join(f'quote("{column}")' for column in columns)
    for (values,) in made.execute(f'SELECT {quoted} FROM "{table}" ORDER BY 1'):  # noqa: S608
        yield f'INSERT INTO "{table}" VALUES ({values})'  # noqa: S608


def text() -> str:
    return json.dumps(statements(), indent=1) + "\n"


def main() -> None:
    schema.NEW_SQLITE.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
