"""Backup for two people, rotation, and cards that follow it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tallystick.common import sealed
from tallystick.common.errors import BadInputError, RefusedError
from tallystick.common.secret import Secret
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.cli import station
from tallystick.provisioning.custody import ceremony, keyfile
from tallystick.provisioning.custody.ceremony import back_up, read_share, restore, write_share
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.provisioning.rekey import rekey
from tallystick.provisioning.steps import Plan, Provisioner
from tests.provisioning.conftest import URL, make_ring
from tests.provisioning.memory_card import MemoryLink
from tests.provisioning.memory_registry import MemoryRegistry
from tests.provisioning.pty_card import PtyCard

PASSPHRASE = "correct horse battery staple"


def same(ring, other):
    return keyfile.ring_to_json(ring) == keyfile.ring_to_json(other)


def test_two_shares_restore_everything():
    ring = make_ring()
    made = back_up(ring)
    assert same(restore(made.content, made.shares), ring)
    assert same(restore(made.content, made.shares[::-1]), ring)


def test_one_share_is_not_enough():
    made, other = back_up(make_ring()), back_up(make_ring())
    with pytest.raises(BadInputError, match="given twice"):
        restore(made.content, (made.shares[0], made.shares[0]))
    with pytest.raises(BadInputError, match="do not open"):
        restore(made.content, (made.shares[0], other.shares[1]))
    zero = write_share(2, bytes(32))
    with pytest.raises(BadInputError, match="do not open"):
        restore(made.content, (made.shares[0], zero))


def test_no_key_in_backup_or_repr():
    ring = make_ring()
    made = back_up(ring)
    assert ring.firm[1].reveal() not in made.content
    assert ring.firm[1].reveal().hex().encode() not in made.content
    assert made.shares[0] not in repr(made)


@given(st.binary(min_size=32, max_size=32), st.sampled_from([1, 2]))
def test_share_round_trip(value, number):
    text = write_share(number, value)
    assert read_share(text) == (number, value)
    assert read_share(text.lower().replace(" ", "  ")) == (number, value)


@given(st.data())
def test_every_mistyped_letter_is_found(data):
    text = write_share(1, data.draw(st.binary(min_size=32, max_size=32)))
    letters = [at for at, c in enumerate(text) if c.isalnum()]
    at = data.draw(st.sampled_from(letters))
    wrong = data.draw(
        st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567").filter(lambda c: c != text[at])
    )
    with pytest.raises(BadInputError, match="mistyped"):
        read_share(text[:at] + wrong + text[at + 1 :])


@pytest.mark.parametrize("text", ["", "1:", "x: AAAA", "3: " + "A" * 56, "1: äöü"])
def test_nonsense_shares(text):
    with pytest.raises(BadInputError, match="mistyped"):
        read_share(text)


def test_changed_backup():
    made = back_up(make_ring())
    for content in (made.content[:-1], made.content[:-1] + b"\0", ceremony.FORMAT, b"other"):
        with pytest.raises(BadInputError):
            restore(content, made.shares)


@pytest.fixture
def rotated(memory_card, journal):
    """A card in service, and the custody after a rotation."""
    ring = make_ring()
    registry = MemoryRegistry()
    provisioner = Provisioner(SoftwareCustody(ring), registry, journal, Plan(), URL)
    provisioner.provision(CardConnection(MemoryLink(memory_card)), lambda s, n: None)
    assert ring.rotate() == 2
    return SoftwareCustody(ring)


def test_a_card_follows_a_rotation(memory_card, rotated):
    seed, keys = memory_card.seed, memory_card.keys
    connection = CardConnection(MemoryLink(memory_card))
    done = rekey(connection, rotated)
    assert (done.before, done.after) == (1, 2)
    assert memory_card.kvn == 2 and memory_card.keys != keys and memory_card.seed == seed
    assert rekey(connection, rotated).before == 2


def test_rekeying_a_card_in_service_needs_a_press(memory_card, rotated):
    memory_card.pressed, keys = False, memory_card.keys
    with pytest.raises(RefusedError, match="no press came"):
        rekey(CardConnection(MemoryLink(memory_card)), rotated)
    assert memory_card.keys == keys and memory_card.kvn == 1


def test_new_cards_get_the_new_version(make_card, rotated, journal):
    card = make_card(serial="TS00000002")
    provisioner = Provisioner(rotated, MemoryRegistry(), journal, Plan(), URL)
    assert (
        provisioner.provision(CardConnection(MemoryLink(card)), lambda s, n: None).key_version == 2
    )


def test_rekey_of_a_new_card_is_refused(make_card, rotated):
    with pytest.raises(RefusedError, match="transport keys"):
        rekey(CardConnection(MemoryLink(make_card())), rotated)


def test_versions_end():
    ring = make_ring()
    ring.firm[0x7F] = Secret(bytes(16))
    with pytest.raises(BadInputError, match="used up"):
        ring.rotate()


def test_commands(tmp_path, monkeypatch, memory_card):
    monkeypatch.setitem(sealed.COST, "memory_kib", 64)
    env = {
        "TALLY_STATION_PASSPHRASE": PASSPHRASE,
        "TALLY_STATION_KEYS": str(tmp_path / "keys.json"),
        "TALLY_STATION_JOURNAL": str(tmp_path / "journal.db"),
    }

    def run(*arguments, **more):
        result = CliRunner().invoke(station, [str(a) for a in arguments], env={**env, **more})
        assert result.exit_code == 0, (result.output, result.exception)
        return result

    run("keys", "create", "--development")
    assert json.loads(run("keys", "rotate", "--json").stdout) == {"firm_version": "02"}
    backup, shares, record = tmp_path / "b.bak", tmp_path / "shares", tmp_path / "protocol.txt"
    run(
        "keys",
        "backup",
        backup,
        "--person",
        "Ann",
        "--person",
        "Bob",
        "--shares-to",
        shares,
        "--protocol",
        record,
    )
    text = record.read_text()
    assert "Ann" in text and "Bob" in text and "version 02" in text and "SHA-256" in text
    again = tmp_path / "restored.json"
    run(
        "keys",
        "restore",
        backup,
        "--share-file",
        shares / "share-1.txt",
        "--share-file",
        shares / "share-2.txt",
        TALLY_STATION_KEYS=str(again),
    )
    ring = keyfile.load(tmp_path / "keys.json", PASSPHRASE)
    assert same(keyfile.load(again, PASSPHRASE), ring)
    for version, key in ring.firm.items():
        assert key.reveal().hex() not in text, version
    memory_card.kvn, memory_card.life_cycle = 1, 0x0F
    from tallystick.common.identity import kdf3

    memory_card.keys = kdf3(ring.firm[1].reveal(), memory_card.serial.encode())
    with PtyCard(memory_card) as line:
        done = json.loads(run("rekey", "--port", line.port, "--json").stdout)
    assert done == {"serial": memory_card.serial, "before": 1, "after": 2}
    acts = [json.loads(line)["act"] for line in run("audit", "export").stdout.splitlines()]
    assert acts == [
        "keys created",
        "firm master rotated",
        "keys backed up",
        "keys restored",
        "card rekeyed",
    ]
