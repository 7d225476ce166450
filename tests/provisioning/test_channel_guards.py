"""Secure channel and line, at their edges: each irregularity by itself, and what is forgotten."""

from __future__ import annotations

import pytest

from tallystick.provisioning.card import t1
from tallystick.provisioning.card.connection import CommandApdu, Response
from tallystick.provisioning.card.scp03 import InitializeUpdate, SecureChannel, SecureChannelError
from tallystick.provisioning.card.t1 import AnswerLostError, Block, encode
from tallystick.provisioning.custody.derivation import (
    SoftwareChannelKeys,
    aes_block,
    aes_cbc,
    aes_cmac,
)
from tests.provisioning.test_scp03 import Key, Script
from tests.provisioning.test_t1 import line

ENC, MAC = bytes(range(16)), bytes(range(16, 32))
HOST, CARD = b"host-cha", b"card-cha"


def message(constant, bits, counter=1):
    """The derivation data of Amendment D, section 4.1.5, written out."""
    head = bytes(11) + bytes((constant, 0)) + bits.to_bytes(2, "big") + bytes((counter,))
    return head + HOST + CARD


S_ENC, S_MAC, S_RMAC = (
    aes_cmac(ENC, message(4, 128)),
    aes_cmac(MAC, message(6, 128)),
    aes_cmac(MAC, message(7, 128)),
)


def update(parameter=0x60, protocol=3, tail=b"", cryptogram=None):
    proof = aes_cmac(S_MAC, message(0, 64))[:8] if cryptogram is None else cryptogram
    return b"TS00000001" + bytes((1, protocol, parameter)) + CARD + proof + tail


made = []


def derive(_update, context):
    assert context == HOST + CARD
    made.append(SoftwareChannelKeys(ENC, MAC, context))
    return made[-1]


def opened(*answers, first=None, second=None):
    first = Response(update(), 0x9000) if first is None else first
    second = Response(b"", 0x9000) if second is None else second
    script = Script([first, second, *answers])
    return SecureChannel.open(script, derive, host_challenge=HOST), script


def answer(channel_mac, plain, counter=1, sw=0x9000, padding=None):
    """A genuine answer, or with another padding one that only a key holder can make."""
    iv = aes_block(S_ENC, b"\x80" + counter.to_bytes(15, "big"))
    padded = plain + (b"\x80" + bytes(-(len(plain) + 1) % 16) if padding is None else padding)
    body = aes_cbc(S_ENC, iv, padded)
    mac = aes_cmac(S_RMAC, channel_mac + body + sw.to_bytes(2, "big"))[:8]
    return Response(body + mac, sw)


READ = CommandApdu(0x80, 0xCA, 0xDF, 0x23)


class Genuine:
    """Answers as the card, with what a test wants of the padding."""

    def __init__(self, plain=b"wear", padding=None):
        self.plain, self.padding, self.channel = plain, padding, None

    def transmit(self, command, waiting=None):
        return answer(self.channel._chain, self.plain, padding=self.padding)


def over(card):
    channel, _ = opened()
    card.channel = channel
    channel.connection = card
    return channel


# -- INITIALIZE UPDATE ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "parameter"),
    [(update(), 0x60), (update(0xEF), 0xEF), (update(0x70, tail=b"\0\0\7"), 0x70)],
)
def test_answers_with_and_without_a_sequence_counter(data, parameter):
    found = InitializeUpdate.parse(data)
    assert found.diversification_data == b"TS00000001" and found.key_version == 1
    assert (found.parameter, found.card_challenge) == (parameter, CARD)
    assert found.card_cryptogram == data[21:29] and len(found.card_cryptogram) == 8


@pytest.mark.parametrize("data", [b"", update()[:28], update(protocol=2), update(protocol=4)])
def test_what_is_no_scp03(data):
    with pytest.raises(SecureChannelError, match="does not speak SCP03"):
        InitializeUpdate.parse(data)


@pytest.mark.parametrize(
    "data",
    [update(tail=b"\0"), update(tail=bytes(3)), update(0x70), update(0x70, tail=bytes(2)),
     update(0x70, tail=bytes(4))],
)  # fmt: skip
def test_a_wrong_length(data):
    with pytest.raises(SecureChannelError, match="wrong length"):
        InitializeUpdate.parse(data)


# -- opening -------------------------------------------------------------------------------------


def test_both_sides_prove_themselves():
    channel, script = opened()
    host = aes_cmac(S_MAC, message(1, 64))[:8]
    signed = bytes((0x84, 0x82, 0x33, 0, 16)) + host
    mac = aes_cmac(S_MAC, bytes(16) + signed)[:8]
    assert bytes.fromhex(script.sent[0])[:13] == bytes((0x80, 0x50, 0, 0, 8)) + HOST
    assert script.sent[1] == (signed + mac).hex()
    assert channel.update.key_version == 1


@pytest.mark.parametrize("at", range(8))
def test_every_byte_of_the_cards_proof_counts(at):
    proof = bytearray(aes_cmac(S_MAC, message(0, 64))[:8])
    proof[at] ^= 1
    with pytest.raises(SecureChannelError, match="does not prove"):
        opened(first=Response(update(cryptogram=bytes(proof)), 0x9000))
    assert not any(vars(made[-1]).values())


def test_an_answer_to_external_authenticate_with_data():
    with pytest.raises(SecureChannelError, match="EXTERNAL AUTHENTICATE carries data"):
        opened(second=Response(b"x", 0x9000))
    assert not any(vars(made[-1]).values())


def test_a_card_that_does_not_take_the_stations_proof():
    with pytest.raises(Exception, match="accept this station"):
        opened(second=Response(b"", 0x6982))
    assert not any(vars(made[-1]).values())


def test_every_channel_has_a_challenge_of_its_own():
    sent = set()
    for _ in range(4):
        script = Script([Response(b"", 0x6985)])
        with pytest.raises(Exception, match="open a secure channel"):
            SecureChannel.open(script, derive)
        command = bytes.fromhex(script.sent[0])
        assert command[4] == len(command[5:]) == 8
        sent.add(command[5:])
    assert len(sent) == 4


# -- answers -------------------------------------------------------------------------------------


def test_a_genuine_answer_is_read():
    assert over(Genuine()).transmit(READ) == Response(b"wear", 0x9000)


@pytest.mark.parametrize(
    "padding",
    [bytes(12), b"\x81" + bytes(11), bytes(11) + b"\x01", b"\x80" + bytes(10) + b"\x01",
     b"\x80" + bytes(27), b"x" * 11 + b"\x80" + bytes(16)],
    ids=["none", "another byte", "zeros first", "rest not zero", "a block too long",
         "a block of nothing"],
)  # fmt: skip
def test_a_wrong_padding(padding):
    """Only who has the keys can make it: a faulty card, whose answer means nothing."""
    channel = over(Genuine(padding=padding))
    with pytest.raises(SecureChannelError, match="wrongly padded"):
        channel.transmit(READ)
    with pytest.raises(SecureChannelError, match="closed"):
        channel.transmit(READ)


@pytest.mark.parametrize("size", [0, 1, 14, 15, 16, 17, 31, 32])
def test_every_length_is_padded_and_read(size):
    assert over(Genuine(bytes([0x80]) * size)).transmit(READ).data == bytes([0x80]) * size


@pytest.mark.parametrize("size", [1, 7, 9, 15, 16, 17, 23, 25])
def test_an_answer_that_is_no_blocks_and_a_mac(size):
    channel, _ = opened(Response(bytes(size), 0x9000))
    with pytest.raises(SecureChannelError, match="no proof of where"):
        channel.transmit(READ)


def test_an_error_answer_leaves_the_channel_open_and_carries_nothing():
    channel, _ = opened(Response(b"", 0x6A88), Response(b"x", 0x6A88))
    assert channel.transmit(READ).sw == 0x6A88
    with pytest.raises(SecureChannelError, match="error answer carries data"):
        channel.transmit(READ)
    with pytest.raises(SecureChannelError, match="closed"):
        channel.transmit(READ)
    assert not any(vars(made[-1]).values())


def test_each_command_has_an_iv_and_a_place_in_the_chain_of_its_own():
    channel, script = opened(Response(b"", 0x6A88), Response(b"", 0x6A88))
    for _ in range(2):
        channel.transmit(CommandApdu(0x80, 0xE2, 0, 0, b"the same"))
    one, two = (bytes.fromhex(sent) for sent in script.sent[2:])
    assert one[:5] == two[:5] == bytes((0x84, 0xE2, 0, 0, 24))
    assert one[5:21] != two[5:21] and one[21:29] != two[21:29]
    iv = aes_block(S_ENC, (1).to_bytes(16, "big"))
    assert one[5:21] == aes_cbc(S_ENC, iv, b"the same\x80" + bytes(7))


@pytest.mark.parametrize(("size", "length"), [(239, "f8"), (240, "000108"), (300, "000138")])
def test_a_long_command_is_signed_with_its_long_length(size, length):
    """Of one byte or of three, and that of what is sent: whole blocks, and the MAC."""
    channel, script = opened(Response(b"", 0x6A88))
    chain = channel._chain
    channel.transmit(CommandApdu(0x80, 0xE8, 0, 0, bytes(size)))
    sent = bytes.fromhex(script.sent[2])
    head = bytes((0x84, 0xE8, 0, 0)) + bytes.fromhex(length)
    body = aes_cbc(S_ENC, aes_block(S_ENC, (1).to_bytes(16, "big")),
                   bytes(size) + b"\x80" + bytes(-(size + 1) % 16))  # fmt: skip
    assert sent == head + body + aes_cmac(S_MAC, chain + head + body)[:8]


def test_session_keys_are_forgotten_once():
    """A token's are objects in it, which it has no more then."""
    channel, _ = opened()
    forgotten = []
    made[-1].close = lambda: forgotten.append(1)
    channel.close()
    channel.close()
    assert forgotten == [1]


def test_a_secret_is_padded_like_any_data():
    one, _ = opened(Response(b"", 0x6A88))
    two, _ = opened(Response(b"", 0x6A88))
    scripts = []
    for channel in (one, two):
        scripts.append(channel.connection)
    one.transmit(CommandApdu(0, 1, data=b"ab" + Key().reveal() + b"cd"))
    two.transmit_sealed(CommandApdu(0, 1, data=b"ab"), Key(), b"cd")
    assert scripts[0].sent == scripts[1].sent


def test_a_seed_of_another_custody_is_not_sent():
    class Foreign:
        size = 20

        def reveal(self):
            return bytes(20)

    channel, script = opened()
    before = len(script.sent)
    with pytest.raises(TypeError, match="another custody"):
        channel.transmit_sealed(CommandApdu(0, 1), Foreign())
    assert len(script.sent) == before


def test_session_keys_of_every_aes_length():
    for size in (16, 24, 32):
        static = bytes(range(size))
        keys = SoftwareChannelKeys(static, static, HOST + CARD)
        blocks = [aes_cmac(static, message(6, 8 * size, n)) for n in (1, 2)]
        expected = b"".join(blocks)[:size]
        assert keys.mac(b"x") == aes_cmac(expected, b"x")


# -- T=1 -----------------------------------------------------------------------------------------


def test_a_card_that_breaks_off():
    """The abort is answered, the line set up anew, and the next command runs."""
    protocol, link = line()
    blocks = [encode(0xC2)]
    link.to_station = lambda block: [blocks.pop()] if blocks else [block]
    with pytest.raises(AnswerLostError, match="broke off the command"):
        protocol.exchange(b"12345")
    assert [block[1] for block in link.writes[-2:]] == [0xE2, 0xC0]
    assert protocol.exchange(b"67890") == b"67890\x90\x00"


@pytest.mark.parametrize("size", [1, 2, 253, 254])
def test_a_field_size_that_is_taken(size):
    protocol, link = line()
    assert protocol._serve(Block(0xC1, bytes((size,))), t1.Waiting()) == 1
    assert protocol._field == size
    assert link.writes[-1] == encode(0xE1, bytes((size,)))


@pytest.mark.parametrize("inf", [b"", b"\0", b"\xff", b"\x20\x20"])
def test_a_field_size_that_is_none(inf):
    protocol, link = line()
    before = len(link.writes)
    protocol._serve(Block(0xC1, inf), t1.Waiting())
    assert protocol._field == t1.MAX_FIELD and len(link.writes) == before


@pytest.mark.parametrize(("asked", "given"), [(0, 1), (1, 1), (2, 2), (255, 255)])
def test_how_much_time_a_card_is_given(asked, given):
    protocol, link = line()
    assert protocol._serve(Block(0xC3, bytes((asked,))), t1.Waiting()) == given
    assert link.writes[-1] == encode(0xE3, bytes((asked,)))


@pytest.mark.parametrize("inf", [b"", b"\1\1"])
def test_a_malformed_request_for_time_gives_none(inf):
    protocol, link = line()
    before = len(link.writes)
    assert protocol._serve(Block(0xC3, inf), t1.Waiting()) == 1
    assert len(link.writes) == before


@pytest.mark.parametrize("size", [253, 254, 255, 508, 509])
def test_what_fills_blocks_exactly(size):
    protocol, link = line()
    protocol.exchange(bytes(size))
    lengths = [block[2] for block in link.writes if not block[1] & 0x80]
    assert sum(lengths) == size and max(lengths) <= 254
    assert len(lengths) == -(-size // 254)
    assert [bool(b[1] & 0x20) for b in link.writes if not b[1] & 0x80][-1] is False


def test_a_block_that_is_too_long_or_for_another_is_not_read():
    protocol, link = line()
    for head in (b"\x01\x00\x02", b"\x00\x00\xff"):
        block = head + bytes(head[2])
        link._queue = [block + t1.crc16(block).to_bytes(2, "big")]
        assert protocol._receive(0.1) is None
        assert not protocol._buffer
