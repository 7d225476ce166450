"""SCP03, host side: published vectors, and a channel that accepts only the genuine answer."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.provisioning.card.connection import CardConnection, CommandApdu, Response
from tallystick.provisioning.card.issuer import DataObject, IssuerSession
from tallystick.provisioning.card.scp03 import SecureChannel, SecureChannelError
from tallystick.provisioning.custody.derivation import (
    SoftwareChannelKeys,
    SoftwareSealed,
    aes_cmac,
    check_value,
)
from tests.provisioning.conftest import VECTORS
from tests.provisioning.memory_card import MemoryCard, MemoryLink

HEX = bytes.fromhex


class Script:
    """A connection that expects given commands and gives given answers."""

    def __init__(self, steps):
        self.steps = list(steps)
        self.sent = []

    def transmit(self, command, waiting=None):
        self.sent.append(command.encode().hex())
        return self.steps.pop(0)


def parse(apdu: bytes) -> CommandApdu:
    """A short command in hex as our Command."""
    if len(apdu) == 4:
        return CommandApdu(*apdu)
    if len(apdu) == 5:
        return CommandApdu(*apdu[:4], le=apdu[4] or 256)
    size = apdu[4]
    le = None if len(apdu) == 5 + size else apdu[-1] or 256
    return CommandApdu(*apdu[:4], apdu[5 : 5 + size], le)


def open_from(vector, monkeypatch, answers):
    update = HEX(vector["initialize_update_response"])
    script = Script([Response(update, 0x9000), Response(b"", 0x9000), *answers])
    keys = HEX(vector["K_ENC"]), HEX(vector["K_MAC"])
    channel = SecureChannel.open(
        script,
        lambda _update, context: SoftwareChannelKeys(*keys, context),
        key_version=int(vector["key_version"], 16),
        host_challenge=HEX(vector["initialize_update"])[5:13],
    )
    return channel, script


@pytest.mark.parametrize("index", [0, 2], ids=["AES-128", "AES-192"])
def test_published_session(scp03_vectors, monkeypatch, index):
    vector = scp03_vectors["sets"][index]
    first = vector["session"][0]
    answer = Response(HEX(first["response_wrapped"]), 0x9000)
    channel, script = open_from(vector, monkeypatch, [answer])
    assert script.sent[1] == vector["external_authenticate"]
    assert channel.transmit(parse(HEX(first["plain"]))).data == HEX(first["response_plain"])
    assert script.sent[2] == first["wrapped"]


@pytest.mark.parametrize("index", [0, 2], ids=["AES-128", "AES-192"])
def test_published_commands_without_their_answers(scp03_vectors, monkeypatch, index):
    """The answers were not recorded, so an error answer (which carries no R-MAC) stands in."""
    vector = scp03_vectors["sets"][index]
    answers = [Response(b"", 0x6A88)] * len(vector["session"])
    channel, script = open_from(vector, monkeypatch, answers)
    for step in vector["session"]:
        channel.transmit(parse(HEX(step["plain"])))
    assert script.sent[2:] == [step["wrapped"] for step in vector["session"]]


class Key(SoftwareSealed):
    def reveal(self):
        return b"12345678901234567890"


def oath_channel(vector, *answers):
    challenge = HEX(vector["card_challenge"])
    update = bytes(10) + HEX(vector["key_version"]) + b"\x03\x60" + challenge
    script = Script(
        [
            Response(update + HEX(vector["card_cryptogram"]), 0x9000),
            Response(b"", 0x9000),
            *answers,
        ]
    )
    keys = HEX(vector["K_ENC"]), HEX(vector["K_MAC"])
    host = HEX(vector["host_challenge"])
    channel = SecureChannel.open(
        script, lambda _u, context: SoftwareChannelKeys(*keys, context), host_challenge=host
    )
    return channel, script


def test_oath_put_as_a_stock_client_sends_it(scp03_vectors):
    vector = scp03_vectors["oath_session"]
    answer = Response(HEX(vector["response_mac_only"]), 0x9000)
    channel, script = oath_channel(vector, answer)
    plain = HEX(vector["put_plain"])
    assert script.sent[1] == vector["external_authenticate"]
    at = plain.index(Key().reveal())
    command = CommandApdu(0, 1, data=plain[5:at])
    assert channel.transmit_sealed(command, Key(), plain[at + 20 :]) == Response(b"", 0x9000)
    assert script.sent[2] == vector["put_wrapped"]


def test_cmac_of_the_rfc(scp03_vectors):
    vectors = json.loads((VECTORS / "aes_cmac_rfc4493.json").read_text())
    for message in vectors["messages"]:
        assert aes_cmac(HEX(vectors["key"]), HEX(message["M"])) == HEX(message["T"])


def test_key_check_values(scp03_vectors):
    vector = scp03_vectors["sets"][0]
    found = [check_value(HEX(vector[name])).hex() for name in ("K_ENC", "K_MAC", "K_DEK")]
    assert found == vector["key_check_values"]


def test_diversification(scp03_vectors):
    from tallystick.common.identity import kdf3

    vector = scp03_vectors["diversification"]
    enc, _, _ = kdf3(HEX(vector["master"]), HEX(vector["KDD"]), 32)
    assert enc == HEX(vector["ENC"])


def card_channel(card: MemoryCard):
    connection = CardConnection(MemoryLink(card))
    enc, mac, _ = card.keys
    channel = SecureChannel.open(
        connection, lambda _u, context: SoftwareChannelKeys(enc, mac, context)
    )
    return channel, connection


def test_a_session_with_a_card(memory_card):
    channel, _ = card_channel(memory_card)
    session = IssuerSession(channel)
    assert session.serial() == memory_card.serial
    assert str(session.version()) == "0.1.0"
    assert session.get_challenge(31) == memory_card.challenges(32)[:31]
    assert session.key_versions() == {1: 0xFF, 2: 0xFF, 3: 0xFF}
    assert session.wear().dead_sectors == 1


def test_wrong_keys_are_refused_before_anything_is_sent(memory_card):
    connection = CardConnection(MemoryLink(memory_card))
    with pytest.raises(SecureChannelError, match="does not prove"):
        SecureChannel.open(
            connection, lambda _u, context: SoftwareChannelKeys(bytes(16), bytes(16), context)
        )
    assert [command[1] for command in memory_card.commands] == [0x50]


class Tamper:
    """Sits between channel and card, and replaces the answer to the next command."""

    def __init__(self, connection):
        self.connection = connection
        self.recorded = []
        self.replace = None

    def transmit(self, command, waiting=None):
        genuine = self.connection.transmit(command, waiting)
        self.recorded.append(genuine)
        return self.replace(genuine) if self.replace else genuine


def tampered_channel():
    card = MemoryCard()
    channel, connection = card_channel(card)
    channel.connection = Tamper(connection)
    return channel, channel.connection


def read_wear(channel):
    return channel.transmit(CommandApdu(0x80, 0xCA, DataObject.WEAR >> 8, DataObject.WEAR & 0xFF))


@pytest.mark.parametrize(
    "forge",
    [
        lambda answer: Response(b"", 0x9000),
        lambda answer: Response(answer.data[:-8], 0x9000),
        lambda answer: Response(answer.data[-8:], 0x9000),
        lambda answer: Response(answer.data, 0x9001),
        lambda answer: Response(answer.data, 0x6A88),
        lambda answer: Response(answer.data + b"\0", 0x9000),
        lambda answer: Response(bytes(16) + answer.data, 0x9000),
    ],
    ids=["bare", "stripped", "body-removed", "other-sw", "error-with-data", "longer", "block-put"],
)
def test_forged_answers(forge):
    channel, tamper = tampered_channel()
    tamper.replace = forge
    with pytest.raises(SecureChannelError):
        read_wear(channel)
    with pytest.raises(SecureChannelError, match="closed"):
        read_wear(channel)


def test_a_replayed_answer():
    channel, tamper = tampered_channel()
    read_wear(channel)
    tamper.replace = lambda genuine: tamper.recorded[0]
    with pytest.raises(SecureChannelError):
        read_wear(channel)


def test_answers_in_another_order():
    channel, tamper = tampered_channel()
    read_wear(channel)
    channel.transmit(CommandApdu(0x80, 0xCA, DataObject.CELL >> 8, DataObject.CELL & 0xFF))
    tamper.replace = lambda genuine: tamper.recorded[1]
    with pytest.raises(SecureChannelError):
        channel.transmit(CommandApdu(0x80, 0xCA, DataObject.CELL >> 8, DataObject.CELL & 0xFF))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_changed_answer_is_accepted(data):
    channel, tamper = tampered_channel()

    def change(genuine):
        raw = bytearray(genuine.data)
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] ^= data.draw(st.integers(1, 255))
        return Response(bytes(raw), genuine.sw)

    tamper.replace = change
    with pytest.raises(SecureChannelError):
        read_wear(channel)
