"""A database file that somebody else has open at the same instant."""

from __future__ import annotations

import sqlite3

from tallystick.server.store import database
from tallystick.server.store.database import Database


def test_a_new_database_that_is_in_use_is_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "server.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("CREATE TABLE one (two)")
    other.execute("BEGIN IMMEDIATE")
    waits = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        other.rollback()

    monkeypatch.setattr(database.beside, "sleep", wait)
    opened = Database(f"sqlite:///{path}")
    with opened.read() as connection:
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
    opened.close()
    other.close()
    assert mode == "wal" and len(waits) == 1
