"""Secrets never leave the card, whatever is asked, in whatever state; and the buffers are wiped."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.provisioning.card.connection import CommandApdu
from tallystick.provisioning.card.scp03 import SecureChannelError

SECRET = bytes.fromhex("d1c9f0aa7b6e53412c8f90e1b2a3c4d5e6f70819")
KEYS = bytes.fromhex(
    "0b1c2d3e4f5061728394a5b6c7d8e9fa1a2b3c4d5e6f708192a3b4c5d6e7f809f9e8d7c6b5a4938271605f4e3d2c1b0a"
)
NAME = b"\x71\x0aTS00000001"
COMMANDS = st.tuples(
    st.sampled_from([0x00, 0x80]),
    st.sampled_from([0xA4, 0xCA, 0x84, 0xF2, 0xA1, 0xA2, 0xA5, 0xC0, 0xD8, 0xF0])
    | st.integers(0, 255),
    st.sampled_from([0, 4, 0x80, 0xDF, 0x00]) | st.integers(0, 255),
    st.sampled_from([0, 1, 0x81, 0x20, 0x23, 0xE0]) | st.integers(0, 255),
    st.sampled_from([b"", NAME, NAME + b"\x74\0", b"\x74\x08" + bytes(8)]) | st.binary(max_size=30),
)


def pieces(secret: bytes) -> list[bytes]:
    return [secret[i : i + 4] for i in range(len(secret) - 3)]


@settings(max_examples=60, deadline=None)
@given(
    commands=st.lists(COMMANDS, min_size=5, max_size=25),
    life_cycle=st.sampled_from([0x01, 0x07, 0x0F]),
    secure=st.booleans(),
)
def test_no_answer_holds_a_piece_of_a_secret(
    card_process, open_channel, commands, life_cycle, secure
):
    card = card_process
    name = b"TS00000001".hex()
    card.reset(life_cycle=life_cycle, kvn=1, keys=KEYS.hex(), seed=SECRET.hex(), name=name)
    card.transmit("00a4040007a0000005272101")
    transmitter = open_channel(card, KEYS) if secure else card.connection()
    forbidden = pieces(SECRET) + pieces(KEYS)
    wire = b""
    keep = card.to_station

    def tap(data: bytes) -> list[tuple[int, bytes]]:
        nonlocal wire
        wire += data
        return keep(data)

    card.to_station = tap
    for command in commands:
        try:
            answer = transmitter.transmit(CommandApdu(*command)).data
        except SecureChannelError:  # ended by SELECT, or the like
            break
        assert not any(piece in answer for piece in forbidden)
    assert not any(piece in wire for piece in forbidden)


def test_the_command_buffer_is_wiped(pipe_card, open_channel):
    """Decrypted in place, the seed would stay there until a later command is as long."""
    pipe_card.transmit("00a4040007a0000005272101")
    channel = open_channel(pipe_card)
    key = bytes((0x73, len(SECRET) + 2, 0x11, 0x06)) + SECRET
    assert channel.transmit(CommandApdu(0, 1, 0, 0, NAME + key)).sw == 0x9000
    assert pipe_card.evaluate("not any(line._apdu)")
