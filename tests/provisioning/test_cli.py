"""The commands, with a real pty, pyserial, the real server over HTTP, and a card in memory."""

from __future__ import annotations

import io
import json
import logging
import secrets
import traceback
from collections import defaultdict

import click
import httpx
import pytest
from click.testing import CliRunner
from rich.console import Console

from tallystick.common.errors import BadInputError, NoDeviceError, RefusedError, UnreachableError
from tallystick.common.identity import DEVELOPMENT_MASTER
from tallystick.provisioning.card import t1
from tallystick.provisioning.cli import station
from tallystick.provisioning.commands.batch import BatchView
from tallystick.provisioning.custody import keyfile
from tallystick.provisioning.journal import StationJournal
from tallystick.provisioning.server_link import RegistryRefusedError
from tallystick.server.accounts import credentials
from tallystick.server.serving.running import add_credential
from tallystick.server.store.opened import opened
from tests.provisioning.command_line import PASSPHRASE
from tests.provisioning.memory_card import MemoryCard
from tests.provisioning.pty_card import PtyCard

pytestmark = pytest.mark.usefixtures("cheap_passphrases")


def test_provision(own_station, memory_card):
    with PtyCard(memory_card) as line:
        value = own_station.ok("provision", "--port", line.port, "--user", "ada", "--digits", "8")
    assert value["serial"] == memory_card.serial and value["digits"] == 8
    assert value["server"] == {"status": "registered", "user": "ada"}
    assert value["key_version"] == "01" and set(value["check_values"]) == {"enc", "mac", "dek"}
    assert value["apdus"] == 12 and value["wire_bytes"] == 711
    known = own_station.card(memory_card.serial).json()
    assert (known["user"], known["digits"], known["moving_factor"]) == ("ada", 8, 2)
    service = add_credential(own_station.settings, "service", "login")
    answer = httpx.post(
        f"{own_station.url}/v1/verify",
        json={"user": "ada", "code": memory_card.code(memory_card.factor)},
        headers={"Authorization": f"Bearer {service.token.reveal().decode()}"},
    )
    assert answer.json()["accepted"], answer.json()


def test_a_user_who_is_not_known(own_station, memory_card):
    """Nothing is written to the card; what to do is said, and --new-user does it."""
    with PtyCard(memory_card) as line:
        refused = own_station.fails(
            RegistryRefusedError, "provision", "--port", line.port, "--user", "adaa"
        )
    assert "There is no user 'adaa' in this firm." in refused.what
    assert refused.kept == "Nothing was written to any card." and "--new-user" in refused.todo
    assert own_station.card(memory_card.serial).status_code == 404 and not memory_card.seed
    other = MemoryCard("TS00000002")
    with PtyCard(other) as line:
        value = own_station.ok("provision", "--port", line.port, "--user", "bob", "--new-user")
    assert value["server"]["user"] == "bob"


def test_a_new_user_has_a_name(own_station, memory_card):
    with PtyCard(memory_card) as line:
        refused = own_station.fails(BadInputError, "provision", "--port", line.port, "--new-user")
    assert refused.what == "--new-user names nobody."
    assert own_station.card(memory_card.serial).status_code == 404


SHARED = {
    "--journal",
    "--keys",
    "--passphrase-file",
    "--operator",
    "--registry",
    "--json",
    "--user",
    "--new-user",
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


def test_in_words(own_station, memory_card):
    with PtyCard(memory_card) as line:
        result = own_station.run("provision", "--port", line.port)
    assert f"card {memory_card.serial} is in service" in result.stdout


def test_already_provisioned_then_reseeded(own_station, memory_card):
    with PtyCard(memory_card) as line:
        own_station.ok("provision", "--port", line.port)
        old = memory_card.seed
        error = own_station.fails(RefusedError, "provision", "--port", line.port)
        assert "already in service" in error.what and memory_card.seed == old
        own_station.ok("provision", "--port", line.port, "--reseed")
    assert memory_card.seed != old
    assert own_station.card(memory_card.serial).json()["moving_factor"] == 2


def test_duplicate_serial_of_another_station(own_station, memory_card):
    with PtyCard(memory_card) as line:
        own_station.ok("provision", "--port", line.port)
    other = add_credential(own_station.settings, "station", "other")
    value = {
        "id": other.id,
        "role": "station",
        "token": other.token.reveal().decode(),
        "psk": other.psk.reveal().hex(),
    }
    own_station.ok(
        "enroll", "--server", own_station.url, "--credential", "-", input=json.dumps(value)
    )
    twin = MemoryCard(serial=memory_card.serial)
    with PtyCard(twin) as line:
        error = own_station.fails(RefusedError, "provision", "--port", line.port)
    assert "deleted" in error.kept and not twin.seed


def test_revoked_credential(own_station, memory_card):
    with opened(own_station.settings) as parts, parts.database.write() as connection:
        (row,) = credentials.list_all(connection)
        credentials.revoke(connection, parts.ring, row["id"], now=1.0, actor="test")
    with PtyCard(memory_card) as line:
        error = own_station.fails(RefusedError, "provision", "--port", line.port)
    assert "credential" in error.what and "enroll" in error.todo
    assert memory_card.kvn == 0xFF and not memory_card.commands


def test_server_down(own_station, memory_card, free_url):
    value = {"id": "x", "role": "station", "token": own_station.token, "psk": own_station.psk}
    own_station.ok("enroll", "--server", free_url, "--credential", "-", input=json.dumps(value))
    with PtyCard(memory_card) as line:
        error = own_station.fails(UnreachableError, "provision", "--port", line.port)
    assert "No server answers" in error.what and not memory_card.commands


def test_port_vanishes_and_resume(own_station, memory_card):
    with PtyCard(memory_card) as line:
        memory_card.after = lambda number: line.unplug() if number == 8 else None
        error = own_station.fails(NoDeviceError, "provision", "--port", line.port)
    assert memory_card.serial in error.kept and "resume" in error.todo
    assert own_station.card(memory_card.serial).status_code == 404
    seed = memory_card.seed
    memory_card.after = None
    memory_card.power_on()
    with PtyCard(memory_card) as line:
        value = own_station.ok("resume", "--port", line.port)
    assert value["resumed"] and memory_card.seed == seed
    assert own_station.card(memory_card.serial).status_code == 200
    assert own_station.ok("resume", "--port", "x") == [], "a second time there is nothing to do"


def test_no_card_on_the_port(own_station, monkeypatch):
    import os
    import pty

    monkeypatch.setattr(t1, "BLOCK_WAITING_S", 0.01)
    master, slave = pty.openpty()
    try:
        error = own_station.fails(NoDeviceError, "provision", "--port", os.ttyname(slave))
    finally:
        os.close(master)
        os.close(slave)
    assert "No card answered" in error.what


def test_no_such_port(own_station):
    error = own_station.fails(NoDeviceError, "provision", "--port", "/dev/ttyNONE7")
    assert "no such port" in error.what and "ports" in error.todo
    error = own_station.fails(NoDeviceError, "provision", "--port", "bogus://x")
    assert "cannot be opened" in error.what


def test_wrong_keys(own_station, make_card):
    stranger = make_card(keys=(bytes(16),) * 3)
    with PtyCard(stranger) as line:
        error = own_station.fails(RefusedError, "provision", "--port", line.port)
    assert "does not prove" in error.what and "Nothing was written" in error.kept


def test_another_server_than_enrolled(own_station):
    error = own_station.fails(
        BadInputError, "provision", "--port", "x", "--server", "http://127.0.0.1:1"
    )
    assert "enrolled with" in error.what


def test_plain_http_over_the_network_is_refused(own_station):
    value = json.dumps({"id": "x", "role": "station", "token": "t", "psk": own_station.psk})
    result = own_station.run(
        "enroll", "--server", "http://example.org", "--credential", "-", input=value
    )
    assert "not encrypted" in str(result.exception)


def test_secrets_are_in_no_output(own_station, memory_card, caplog):
    caplog.set_level(t1.TRAFFIC)
    with PtyCard(memory_card) as line:
        shown = own_station.run("keys", "show").output
        result = own_station.run("provision", "--port", line.port, "--json")
        error = own_station.run("provision", "--port", line.port)
    ring = keyfile.load(own_station.folder / "keys.json", PASSPHRASE)
    firm = ring.firm[1].reveal()
    hidden = [
        memory_card.seed,
        *memory_card.keys,
        firm,
        DEVELOPMENT_MASTER,
        bytes.fromhex(own_station.psk),
    ]
    said = "".join([shown, result.output, error.output, caplog.text, repr(ring), repr(error)])
    said += "".join(traceback.format_exception(error.exception))
    assert any(record.levelno == t1.TRAFFIC for record in caplog.records)
    for secret in hidden:
        assert secret.hex() not in said.lower() and repr(secret) not in said
    assert own_station.token not in said
    journal = (own_station.folder / "journal.db").read_bytes()
    assert memory_card.seed not in journal and memory_card.seed.hex().encode() not in journal


def test_journal_keeps_no_container_of_a_finished_card(own_station, memory_card):
    with PtyCard(memory_card) as line:
        own_station.ok("provision", "--port", line.port)
    journal = StationJournal(own_station.folder / "journal.db")
    assert journal.latest(memory_card.serial).container is None
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


def test_resume_and_reconcile_commands(own_station, memory_card):
    with PtyCard(memory_card) as line:
        memory_card.after = lambda number: line.unplug() if number == 10 else None
        own_station.fails(NoDeviceError, "provision", "--port", line.port)
    memory_card.after = None
    memory_card.power_on()
    (waiting,) = own_station.ok("resume")
    assert waiting == {"serial": memory_card.serial, "state": "seeded"}
    with PtyCard(memory_card) as line:
        own_station.ok("resume", "--port", line.port)
        assert own_station.ok("reconcile", "--port", line.port) == []
    headers = {"Authorization": f"Bearer {own_station.token}"}
    httpx.delete(
        f"{own_station.url}/v1/cards/{memory_card.serial}", headers=headers
    ).raise_for_status()
    result = own_station.run("reconcile", "--json", "--yes")
    (finding,) = json.loads(result.stdout)
    assert "does not know it" in finding["problem"] and not finding["can_repair"]
    assert result.exception is not None


def test_batch_command(own_station, make_card):
    cards = [make_card(serial=f"TS0000000{n}") for n in range(3)]
    lines = [PtyCard(card) for card in cards]
    try:
        ports = ",".join(line.port for line in lines)
        value = own_station.ok("provision", "--ports", ports, "--batch", "june", "--count", "3")
        assert (value["done"], value["missing"], value["failures"]) == (3, 0, [])
        assert {card["serial"] for card in value["cards"]} == {card.serial for card in cards}
        again = own_station.ok("provision", "--ports", ports, "--batch", "june", "--count", "3")
        assert (again["done"], again["cards"]) == (3, [])
    finally:
        for line in lines:
            line.__exit__()


@pytest.mark.parametrize(
    "weak",
    [
        "a", "12345678901234567890", "aaaaaaaaaaaaaaaa", "elevenchars", "password123456",
        "qwertyuiopasdfgh", "iloveyouiloveyou1", "abcdefghijklmnop", "Tallystick1234",
    ],
)  # fmt: skip
def test_no_weak_passphrase_protects_the_firms_master(tmp_path, cheap_passphrases, weak):
    keys = tmp_path / "keys.json"
    env = {
        "TALLY_STATION_KEYS": str(keys),
        "TALLY_STATION_JOURNAL": str(tmp_path / "journal.db"),
        "TALLY_STATION_PASSPHRASE": weak,
    }
    result = CliRunner().invoke(station, ["keys", "create", "--development"], env=env)
    assert isinstance(result.exception, BadInputError) and not keys.exists()
    assert "too easy to guess" in result.exception.what
    assert len(weak) < 3 or weak not in str(result.exception)


def test_a_card_that_failed_is_told_in_one_piece_with_what_is_next():
    """Beside a live display, which is drawn anew around it."""
    file = io.StringIO()
    view = BatchView()
    view._console = Console(file=file, force_terminal=True, width=200, color_system=None)
    error = RefusedError("It is broken.", kept="Nothing was written.", todo="Put it aside.")
    view.failed("dock0", "TS00000001", error)
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert lines == [
        "dock0 TS00000001: It is broken.", "  kept: Nothing was written.", "  next: Put it aside."
    ]  # fmt: skip
