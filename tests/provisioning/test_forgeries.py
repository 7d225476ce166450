"""Ten thousand forged answers, none accepted."""

from __future__ import annotations

import random
import secrets

from tallystick.provisioning.card.connection import CardConnection, CommandApdu, Response
from tallystick.provisioning.card.issuer import DataObject
from tallystick.provisioning.card.scp03 import SecureChannel, SecureChannelError
from tallystick.provisioning.custody.derivation import SoftwareChannelKeys
from tests.provisioning.memory_card import MemoryCard, MemoryLink

COUNT = 10_000
TAGS = (
    DataObject.SERIAL,
    DataObject.VERSION,
    DataObject.CELL,
    DataObject.WEAR,
    DataObject.LIFE_CYCLE,
)


class Attacker:
    """Holds the line: has every genuine answer so far, and gives what it likes."""

    def __init__(self, connection, rng):
        self.connection = connection
        self.rng = rng
        self.recorded = []
        self.attack = None

    def transmit(self, command, waiting=None):
        genuine = self.connection.transmit(command, waiting)
        answer = genuine if self.attack is None else self.attack(self, genuine)
        if self.attack is not None:
            assert answer != genuine, f"{self.attack.__name__} forged nothing"
        self.recorded.append(genuine)
        return answer


def flipped(attacker, genuine):
    data = bytearray(genuine.data)
    # other places each time: two flips of one byte can restore it
    for at in attacker.rng.sample(range(len(data)), attacker.rng.randint(1, 3)):
        data[at] ^= attacker.rng.randint(1, 255)
    return Response(bytes(data), genuine.sw)


def random_answer(attacker, genuine):
    size = attacker.rng.choice([0, 7, 8, 9, 16, 24, len(genuine.data), 40, 255])
    return Response(attacker.rng.randbytes(size), 0x9000)


def stripped(attacker, genuine):
    return Response(genuine.data[: attacker.rng.randrange(len(genuine.data))], 0x9000)


def replayed(attacker, genuine):
    return attacker.rng.choice(attacker.recorded)


def other_session(attacker, genuine):
    return attacker.foreign


def with_other_status(attacker, genuine):
    return Response(genuine.data, attacker.rng.choice([0x6A88, 0x6985, 0x6300, 0x9001, 0x6F00]))


def spliced(attacker, genuine):
    earlier = attacker.rng.choice(attacker.recorded)
    return Response(earlier.data[:-8] + genuine.data[-8:], 0x9000)


def own_mac_moved(attacker, genuine):
    return Response(genuine.data[-8:] + genuine.data[:-8], 0x9000)


ATTACKS = (
    flipped,
    random_answer,
    stripped,
    replayed,
    other_session,
    with_other_status,
    spliced,
    own_mac_moved,
)


def read(channel, rng):
    tag = rng.choice(TAGS)
    return channel.transmit(CommandApdu(0x80, 0xCA, tag >> 8, tag & 0xFF))


def open_channel(card, rng):
    connection = CardConnection(MemoryLink(card))
    enc, mac, _ = card.keys
    channel = SecureChannel.open(connection, lambda _u, ctx: SoftwareChannelKeys(enc, mac, ctx))
    channel.connection = Attacker(connection, rng)
    return channel, channel.connection


def test_none_of_ten_thousand_is_accepted():
    rng = random.Random(4226)
    card = MemoryCard(challenges=secrets.token_bytes)
    foreign = Response(b"", 0x9000)
    accepted = []
    for number in range(COUNT):
        channel, attacker = open_channel(card, rng)
        read(channel, rng)  # the genuine answer is accepted
        attacker.foreign = foreign
        attacker.attack = ATTACKS[number % len(ATTACKS)]
        try:
            read(channel, rng)
            accepted.append(attacker.attack.__name__)
        except SecureChannelError:
            foreign = attacker.recorded[-1]
    assert accepted == []
