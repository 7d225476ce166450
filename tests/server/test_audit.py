"""The audit log: complete, append-only, and tampering shows."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from click.testing import CliRunner

from tallystick.common.errors import BadInputError
from tallystick.server.operating.commands.operations import audit as command
from tallystick.server.rules.otp import hotp
from tallystick.server.store import audit
from tallystick.server.store.opened import opened


def entries(server) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(server.folder / "server.db")) as connection:
        return connection.execute(
            "SELECT action, actor, subject FROM audit ORDER BY at_ms, chain, number"
        ).fetchall()


def broken(server, noted=None) -> list[str]:
    with opened(server.settings) as parts, parts.database.read() as connection:
        reports = audit.check(connection, parts.ring, noted)
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


def test_entries_of_a_chain_that_nobody_opened_are_seen(server):
    """To insert rows, no trigger has to go; they would be shown to auditors."""
    server.card()
    with closing(sqlite3.connect(server.folder / "server.db")) as connection, connection:
        connection.execute(
            "INSERT INTO audit SELECT 'w-forged', number, at_ms, firm_id, 'person:1', action,"
            " subject, detail, mac FROM audit WHERE chain = 'main' AND number = 1"
        )
    assert broken(server) == ["w-forged"]


@pytest.mark.parametrize("chain", ["main", "of the worker"])
def test_an_end_that_is_cut_off_with_its_head_shows_against_what_was_noted(server, chain, tmp_path):
    seed = server.card()
    for factor in range(3):
        assert server.reason(hotp(seed, factor, 6)) == "ok"
    where = ["--db", server.settings.db_url, "--key-file", str(server.settings.key_file)]
    run = lambda *words: CliRunner().invoke(command, ["check", *where, *words])  # noqa: E731
    before = run("--json")
    noted = tmp_path / "noted.json"
    noted.write_text(before.output)
    assert server.reason(hotp(seed, 3, 6)) == "ok"  # it may go on from there
    assert run("--noted", str(noted)).exit_code == 0
    names = [one["chain"] for one in json.loads(before.output)]
    name = next(one for one in names if (one == "main") is (chain == "main"))
    with closing(sqlite3.connect(server.folder / "server.db")) as connection, connection:
        connection.execute("DROP TRIGGER audit_no_delete")
        connection.execute("DELETE FROM audit WHERE chain = ? AND number > 2", (name,))
        connection.execute(
            "UPDATE audit_head SET number = 2, mac = (SELECT mac FROM audit WHERE"
            " audit.chain = audit_head.chain AND number = 2) WHERE chain = ?",
            (name,),
        )
    found = run("--noted", str(noted))
    assert found.exit_code != 0
    assert f"broken {name} at entry 3" in found.output


def test_what_was_noted_is_not_what_it_should_be(server, tmp_path):
    wrong = tmp_path / "noted.json"
    wrong.write_text('{"not": "a list of chains"}')
    where = ["--db", server.settings.db_url, "--key-file", str(server.settings.key_file)]
    outcome = CliRunner().invoke(command, ["check", *where, "--noted", str(wrong)])
    assert isinstance(outcome.exception, BadInputError)
    assert outcome.exception.kept == "Nothing was checked."


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
