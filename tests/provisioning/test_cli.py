"""The commands, with a real pty, pyserial, the real server over HTTP, and a card in memory."""

from __future__ import annotations

import json
import logging
import secrets
import traceback
from collections import defaultdict

import click
import httpx
import pytest

from tallystick.common.errors import BadInputError, NoDeviceError, RefusedError, UnreachableError
from tallystick.common.identity import DEVELOPMENT_MASTER
from tallystick.provisioning.card import t1
from tallystick.provisioning.cli import station
from tallystick.provisioning.custody import keyfile
from tallystick.provisioning.journal import Journal
from tallystick.server.accounts import credentials
from tallystick.server.serving.running import add_credential
from tallystick.server.store.opened import opened
from tests.provisioning.command_line import PASSPHRASE
from tests.provisioning.memory_card import MemoryCard
from tests.provisioning.pty_card import PtyCard

pytestmark = pytest.mark.usefixtures("cheap_passphrases")


def test_provision(bench, card):
    with PtyCard(card) as line:
        value = bench.ok("provision", "--port", line.port, "--user", "ada", "--digits", "8")
    assert value["serial"] == card.serial and value["digits"] == 8
    assert value["server"] == {"status": "registered", "user": "ada"}
    assert value["key_version"] == "01" and set(value["check_values"]) == {"enc", "mac", "dek"}
    assert value["apdus"] == 12 and value["wire_bytes"] == 711
    known = bench.card(card.serial).json()
    assert (known["user"], known["digits"], known["moving_factor"]) == ("ada", 8, 2)
    service = add_credential(bench.settings, "service", "login")
    answer = httpx.post(
        f"{bench.url}/v1/verify",
        json={"user": "ada", "code": card.code(card.factor)},
        headers={"Authorization": f"Bearer {service.token.reveal().decode()}"},
    )
    assert answer.json()["accepted"], answer.json()


SHARED = {
    "--journal",
    "--keys",
    "--passphrase-file",
    "--operator",
    "--registry",
    "--json",
    "--user",
}


def test_an_option_that_commands_share_is_one_option():
    """Written once: the same name, variable, default and words wherever it is offered."""

    def commands(group):
        for command in group.commands.values():
            yield from commands(command) if isinstance(command, click.Group) else [command]

    offered = defaultdict(list)
    for command in commands(station):
        for parameter in command.params:
            for name in SHARED.intersection(parameter.opts):
                offered[name].append(parameter.to_info_dict() | {"default": parameter.default})
    assert offered.keys() == SHARED
    for name, ways in offered.items():
        assert len(ways) > 1 and all(way == ways[0] for way in ways), name


def test_in_words(bench, card):
    with PtyCard(card) as line:
        result = bench.run("provision", "--port", line.port)
    assert f"card {card.serial} is in service" in result.stdout


def test_already_provisioned_then_reseeded(bench, card):
    with PtyCard(card) as line:
        bench.ok("provision", "--port", line.port)
        old = card.secret
        error = bench.fails(RefusedError, "provision", "--port", line.port)
        assert "already in service" in error.what and card.secret == old
        bench.ok("provision", "--port", line.port, "--reseed")
    assert card.secret != old
    assert bench.card(card.serial).json()["moving_factor"] == 2


def test_duplicate_serial_of_another_station(bench, card):
    with PtyCard(card) as line:
        bench.ok("provision", "--port", line.port)
    other = add_credential(bench.settings, "station", "other")
    value = {
        "id": other.id,
        "role": "station",
        "token": other.token.reveal().decode(),
        "psk": other.psk.reveal().hex(),
    }
    bench.ok("enroll", "--server", bench.url, "--credential", "-", input=json.dumps(value))
    twin = MemoryCard(serial=card.serial)
    with PtyCard(twin) as line:
        error = bench.fails(RefusedError, "provision", "--port", line.port)
    assert "deleted" in error.kept and not twin.secret


def test_revoked_credential(bench, card):
    with opened(bench.settings) as parts, parts.database.write() as connection:
        (row,) = credentials.list_all(connection)
        credentials.revoke(connection, parts.ring, row["id"], now=1.0, actor="test")
    with PtyCard(card) as line:
        error = bench.fails(RefusedError, "provision", "--port", line.port)
    assert "credential" in error.what and "enroll" in error.todo
    assert card.kvn == 0xFF and not card.commands


def test_server_down(bench, card, free_url):
    value = {"id": "x", "role": "station", "token": bench.token, "psk": bench.psk}
    bench.ok("enroll", "--server", free_url, "--credential", "-", input=json.dumps(value))
    with PtyCard(card) as line:
        error = bench.fails(UnreachableError, "provision", "--port", line.port)
    assert "No server answers" in error.what and not card.commands


def test_port_vanishes_and_resume(bench, card):
    with PtyCard(card) as line:
        card.after = lambda number: line.unplug() if number == 8 else None
        error = bench.fails(NoDeviceError, "provision", "--port", line.port)
    assert card.serial in error.kept and "resume" in error.todo
    assert bench.card(card.serial).status_code == 404
    seed = card.secret
    card.after = None
    card.power_on()
    with PtyCard(card) as line:
        value = bench.ok("resume", "--port", line.port)
    assert value["resumed"] and card.secret == seed
    assert bench.card(card.serial).status_code == 200
    assert bench.ok("resume", "--port", "x") == [], "a second time there is nothing to do"


def test_no_card_on_the_port(bench, monkeypatch):
    import os
    import pty

    monkeypatch.setattr(t1, "BLOCK_WAITING_S", 0.01)
    master, slave = pty.openpty()
    try:
        error = bench.fails(NoDeviceError, "provision", "--port", os.ttyname(slave))
    finally:
        os.close(master)
        os.close(slave)
    assert "No card answered" in error.what


def test_no_such_port(bench):
    error = bench.fails(NoDeviceError, "provision", "--port", "/dev/ttyNONE7")
    assert "no such port" in error.what and "ports" in error.todo
    error = bench.fails(NoDeviceError, "provision", "--port", "bogus://x")
    assert "cannot be opened" in error.what


def test_wrong_keys(bench, make_card):
    stranger = make_card(keys=(bytes(16),) * 3)
    with PtyCard(stranger) as line:
        error = bench.fails(RefusedError, "provision", "--port", line.port)
    assert "does not prove" in error.what and "Nothing was written" in error.kept


def test_another_server_than_enrolled(bench):
    error = bench.fails(BadInputError, "provision", "--port", "x", "--server", "http://127.0.0.1:1")
    assert "enrolled with" in error.what


def test_plain_http_over_the_network_is_refused(bench):
    value = json.dumps({"id": "x", "role": "station", "token": "t", "psk": bench.psk})
    result = bench.run("enroll", "--server", "http://example.org", "--credential", "-", input=value)
    assert "not encrypted" in str(result.exception)


def test_secrets_are_in_no_output(bench, card, caplog):
    caplog.set_level(t1.TRAFFIC)
    with PtyCard(card) as line:
        shown = bench.run("keys", "show").output
        result = bench.run("provision", "--port", line.port, "--json")
        error = bench.run("provision", "--port", line.port)
    ring = keyfile.load(bench.folder / "keys.json", PASSPHRASE)
    firm = ring.firm[1].reveal()
    hidden = [card.secret, *card.keys, firm, DEVELOPMENT_MASTER, bytes.fromhex(bench.psk)]
    said = "".join([shown, result.output, error.output, caplog.text, repr(ring), repr(error)])
    said += "".join(traceback.format_exception(error.exception))
    assert any(record.levelno == t1.TRAFFIC for record in caplog.records)
    for secret in hidden:
        assert secret.hex() not in said.lower() and repr(secret) not in said
    assert bench.token not in said
    journal = (bench.folder / "journal.db").read_bytes()
    assert card.secret not in journal and card.secret.hex().encode() not in journal


def test_journal_keeps_no_container_of_a_finished_card(bench, card):
    with PtyCard(card) as line:
        bench.ok("provision", "--port", line.port)
    journal = Journal(bench.folder / "journal.db")
    assert journal.latest(card.serial).container is None
    journal.close()


class TestKeyFile:
    def test_round_trip_and_mode(self, tmp_path):
        path = tmp_path / "keys.json"
        ring = keyfile.KeyRing.create(secrets.token_bytes(16))
        keyfile.save(path, ring, PASSPHRASE, replace=False)
        assert path.stat().st_mode & 0o777 == 0o600
        again = keyfile.load(path, PASSPHRASE)
        assert again.firm == ring.firm and again.transport_master == ring.transport_master
        assert not again.development

    def test_never_overwritten(self, tmp_path):
        path = tmp_path / "keys.json"
        ring = keyfile.KeyRing.create(secrets.token_bytes(16))
        keyfile.save(path, ring, PASSPHRASE, replace=False)
        before = path.read_bytes()
        with pytest.raises(BadInputError, match="exists already"):
            keyfile.save(path, ring, PASSPHRASE, replace=False)
        assert path.read_bytes() == before

    def test_wrong_passphrase(self, tmp_path):
        path = tmp_path / "keys.json"
        keyfile.save(path, keyfile.KeyRing.create(bytes(16)), PASSPHRASE, replace=False)
        with pytest.raises(BadInputError, match="does not open"):
            keyfile.load(path, "wrong")

    def test_any_changed_byte_is_noticed(self, tmp_path):
        path = tmp_path / "keys.json"
        keyfile.save(path, keyfile.KeyRing.create(bytes(16)), PASSPHRASE, replace=False)
        content = path.read_bytes()
        for at in range(0, len(content), 7):
            changed = bytearray(content)
            changed[at] ^= 1
            if changed.split() == content.split():
                continue
            path.write_bytes(changed)
            with pytest.raises(BadInputError):
                keyfile.load(path, PASSPHRASE)

    def test_readable_by_others(self, tmp_path):
        path = tmp_path / "keys.json"
        keyfile.save(path, keyfile.KeyRing.create(bytes(16)), PASSPHRASE, replace=False)
        path.chmod(0o644)
        with pytest.raises(BadInputError, match="chmod 600"):
            keyfile.load(path, PASSPHRASE)

    def test_credential_of_another_role(self):
        value = {"id": "x", "role": "service", "token": "t", "psk": "00" * 16}
        with pytest.raises(BadInputError, match="role 'service'"):
            keyfile.parse_credential("http://localhost", value)

    @pytest.mark.parametrize("value", [None, [], {}, {"role": "station"}, "text"])
    def test_credential_that_is_none(self, value):
        with pytest.raises(BadInputError):
            keyfile.parse_credential("http://localhost", value)


def test_traffic_is_logged_below_debug():
    assert t1.TRAFFIC < logging.DEBUG


def test_resume_and_reconcile_commands(bench, card):
    with PtyCard(card) as line:
        card.after = lambda number: line.unplug() if number == 10 else None
        bench.fails(NoDeviceError, "provision", "--port", line.port)
    card.after = None
    card.power_on()
    (waiting,) = bench.ok("resume")
    assert waiting == {"serial": card.serial, "state": "seeded"}
    with PtyCard(card) as line:
        bench.ok("resume", "--port", line.port)
        assert bench.ok("reconcile", "--port", line.port) == []
    headers = {"Authorization": f"Bearer {bench.token}"}
    httpx.delete(f"{bench.url}/v1/cards/{card.serial}", headers=headers).raise_for_status()
    result = bench.run("reconcile", "--json", "--yes")
    (finding,) = json.loads(result.stdout)
    assert "does not know it" in finding["problem"] and not finding["can_repair"]
    assert result.exception is not None


def test_batch_command(bench, make_card):
    cards = [make_card(serial=f"TS0000000{n}") for n in range(3)]
    lines = [PtyCard(card) for card in cards]
    try:
        ports = ",".join(line.port for line in lines)
        value = bench.ok("provision", "--ports", ports, "--batch", "june", "--count", "3")
        assert (value["done"], value["missing"], value["failures"]) == (3, 0, [])
        assert {card["serial"] for card in value["cards"]} == {card.serial for card in cards}
        again = bench.ok("provision", "--ports", ports, "--batch", "june", "--count", "3")
        assert (again["done"], again["cards"]) == (3, [])
    finally:
        for line in lines:
            line.__exit__()
