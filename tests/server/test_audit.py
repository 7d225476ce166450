"""The audit log: complete, append-only, and tampering shows."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tallystick.server import audit
from tallystick.server.console import opened
from tallystick.server.otp import hotp


def entries(server) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(server.folder / "server.db")) as connection:
        return connection.execute(
            "SELECT action, actor, subject FROM audit ORDER BY at_ms, chain, number"
        ).fetchall()


def broken(server) -> list[str]:
    with opened(server.settings) as parts, parts.database.read() as connection:
        reports = audit.check(connection, parts.ring)
    return [report.chain for report in reports if report.broken_at is not None]


def test_every_sensitive_act_is_in_it(server):
    seed = server.card()
    server.verify(hotp(seed, 0, 6))
    server.verify("000000")
    server.resynchronise(hotp(seed, 1, 6), hotp(seed, 2, 6))
    token = server.admin.token.reveal().decode()
    headers = {"authorization": f"Bearer {token}"}
    server.client.delete("/v1/cards/1000000001", headers=headers)
    server.client.delete(f"/v1/credentials/{server.service.id}", headers=headers)
    seen = {(action, actor) for action, actor, _ in entries(server)}
    assert seen >= {
        ("credential-added", "console"),
        ("card-registered", server.station.id),
        ("card-assigned", server.station.id),
        ("verified", server.service.id),
        ("resynchronised", server.service.id),
        ("card-deleted", server.admin.id),
        ("credential-revoked", server.admin.id),
    }
    assert broken(server) == []


def test_it_can_only_be_appended_to(server):
    with closing(sqlite3.connect(server.folder / "server.db")) as connection:
        for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET detail = '' WHERE action = 'verified' AND number = 2",
        "DELETE FROM audit WHERE action = 'verified' AND number = 1",
        "DELETE FROM audit WHERE action = 'verified' AND number = 3",
        "UPDATE audit SET number = 9 - number WHERE action = 'verified' AND number IN (1, 2)",
        "UPDATE audit_head SET number = number - 1 WHERE chain != 'main'",
        "DELETE FROM audit_head WHERE chain != 'main'",
    ],
)
def test_whoever_gets_round_that_is_seen(server, statement):
    seed = server.card()
    for factor in range(3):
        assert server.reason(hotp(seed, factor, 6)) == "ok"
    assert broken(server) == []
    with closing(sqlite3.connect(server.folder / "server.db")) as connection, connection:
        connection.execute("DROP TRIGGER audit_no_update")
        connection.execute("DROP TRIGGER audit_no_delete")
        assert connection.execute(statement).rowcount > 0
    assert len(broken(server)) == 1


def test_no_secret_is_in_the_database_or_the_audit(server):
    seed = server.card()
    code = hotp(seed, 0, 6)
    server.verify(code)
    server.client.get("/v1/health")
    files = b"".join(path.read_bytes() for path in server.folder.glob("server.db*"))
    assert server.station.psk
    for secret in (
        seed,
        seed.hex().encode(),
        server.station.psk.reveal(),
        server.station.psk.reveal().hex().encode(),
        server.station.token.reveal(),
        server.service.token.reveal(),
    ):
        assert secret not in files
    with closing(sqlite3.connect(server.folder / "server.db")) as connection:
        for row in connection.execute("SELECT actor, subject, detail FROM audit"):
            assert code not in "".join(row)
