"""The secure channel under attack: what is changed, replayed, reordered or forged on the line ends
the session and changes nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.provisioning.card.connection import CardRefusedError, CommandApdu
from tallystick.provisioning.card.issuer import IssuerSession
from tallystick.provisioning.card.scp03 import SecureChannelError

PROFILE = settings(max_examples=100, deadline=None)
SERIAL = CommandApdu(0x80, 0xCA, 0xDF, 0x20)
WEAR = CommandApdu(0x80, 0xCA, 0xDF, 0x23)
PUT = CommandApdu(0, 0x01, 0, 0, b"\x71\x04name\x73\x12\x11\x06" + b"k" * 16)
OATH = "00a4040007a0000005272101"


class Recorder:
    """Sends nothing on: the commands as the channel would have sent them."""

    def __init__(self, card) -> None:
        self.card = card
        self.sent: list[str] = []

    def send(self, channel, command: CommandApdu) -> str:
        """The wrapped command in hexadecimal; the channel moves on as if it had been answered."""
        iv = channel._next_iv()
        padded = command.data + b"\x80" + bytes(-(len(command.data) + 1) % 16)
        data = channel._keys.encrypt(iv, padded) if command.data else b""
        wrapped = CommandApdu(command.cla | 4, command.ins, command.p1, command.p2, data)
        return channel._sign(wrapped).encode().hex()


@pytest.fixture
def session(pipe_card, open_channel):
    """An open channel, and a function that makes its next wrapped command."""
    pipe_card.transmit(OATH)
    channel = open_channel(pipe_card)
    recorder = Recorder(pipe_card)
    return lambda command: recorder.send(channel, command)


def dead(card) -> bool:
    """No wrapped command is served any more, and nothing was written."""
    refused = card.transmit("84cadf2308" + "00" * 8) == (b"", 0x6982)
    return refused and card.inspect()["commits"] == []


@PROFILE
@given(position=st.integers(0, 200), mask=st.integers(1, 255))
def test_a_changed_command_ends_the_session(card_process, open_channel, position, mask):
    card = card_process
    card.reset()
    card.transmit(OATH)
    wrapped = bytearray.fromhex(Recorder(card).send(open_channel(card), PUT))
    changed = position % len(wrapped)
    wrapped[changed] ^= mask
    answer, sw = card.transmit(wrapped.hex())
    assert answer == b""
    assert card.inspect()["commits"] == []
    if (changed == 0 and wrapped[0] & 0x04 == 0) or sw in (0x6E00, 0x6884):
        assert sw in (0x6E00, 0x6884, 0x6982, 0x6D00, 0x6A86, 0x6700, 0x6A88)
    elif changed == 4:
        assert sw in (0x6700, 0x6988)
    elif wrapped[:2] == b"\x84\x82":
        assert sw == 0x6985
    else:
        assert sw == 0x6988
        assert dead(card)


@pytest.mark.parametrize("cut", range(8))
def test_a_cut_mac_is_wrong(pipe_card, session, cut):
    wrapped = bytearray.fromhex(session(CommandApdu(0, 0xA1)))
    wrapped[4] = cut
    assert pipe_card.transmit(wrapped[: 5 + cut].hex() if cut else "04a10000")[1] == 0x6988
    assert dead(pipe_card)


def test_a_replayed_command_ends_the_session(pipe_card, session):
    first = session(CommandApdu(0x80, 0xCA, 0xDF, 0x20))
    assert pipe_card.transmit(first)[1] == 0x9000
    assert pipe_card.transmit(first) == (b"", 0x6988)
    assert dead(pipe_card)


def test_a_reordered_command_ends_the_session(pipe_card, session):
    session(SERIAL)
    second = session(PUT)
    assert pipe_card.transmit(second) == (b"", 0x6988)
    assert dead(pipe_card)


def test_a_command_of_another_session(pipe_card, open_channel):
    pipe_card.transmit(OATH)
    old = Recorder(pipe_card).send(open_channel(pipe_card), PUT)
    open_channel(pipe_card)
    assert pipe_card.transmit(old) == (b"", 0x6988)
    assert dead(pipe_card)


def test_sessions_end(pipe_card, open_channel):
    """SELECT, INITIALIZE UPDATE, undocking; a select that finds nothing and S(RESYNCH) do not."""
    for end in (OATH, "00a4040000", "8050000008" + "00" * 8, "undock"):
        pipe_card.transmit("00a4040000")
        channel = open_channel(pipe_card)
        assert IssuerSession(channel).wear().presses == 0
        assert pipe_card.transmit("00a4040005a000000003")[1] == 0x6A82
        pipe_card.connection()
        assert channel.transmit(WEAR).sw == 0x9000
        if end == "undock":
            pipe_card.dock_again()
        else:
            assert pipe_card.transmit(end)[1] == 0x9000
        assert channel.transmit(WEAR).sw == 0x6982


def test_plain_commands_in_a_session_have_no_rights(pipe_card, open_channel):
    channel = open_channel(pipe_card)
    assert pipe_card.transmit("80cadf23") == (b"", 0x6982)
    assert pipe_card.transmit(PUT.encode().hex())[1] == 0x6D00
    assert channel.transmit(WEAR).sw == 0x9000


def test_wrong_keys(pipe_card, open_channel):
    with pytest.raises(SecureChannelError):
        open_channel(pipe_card, bytes(48))
    # a host that goes on all the same
    assert pipe_card.transmit("8050000008" + "00" * 8)[1] == 0x9000
    assert pipe_card.transmit("8482330010" + "00" * 16) == (b"", 0x6988)
    assert pipe_card.transmit("8482330010" + "00" * 16) == (b"", 0x6985)


def test_a_host_that_knows_the_mac_key_only(pipe_card, open_channel):
    """A right C-MAC over a wrong cryptogram: 6300."""
    from tallystick.provisioning.custody.derivation import SoftwareChannelKeys, aes_cmac

    host = bytes(8)
    answer, _ = pipe_card.transmit("8050000008" + host.hex())
    keys = SoftwareChannelKeys(
        bytes(range(0x40, 0x50)), bytes(range(0x40, 0x50)), host + answer[13:21]
    )
    signed = bytes.fromhex("8482330010") + bytes(8)
    mac = keys.mac(bytes(16) + signed)[:8]
    assert aes_cmac(bytes(16), b"") != mac
    assert pipe_card.transmit((signed + mac).hex()) == (b"", 0x6300)
    assert pipe_card.transmit("84cadf2308" + "00" * 8) == (b"", 0x6982)


def test_key_versions(pipe_card, open_channel):
    open_channel(pipe_card, key_version=0xFF)
    for version in (0x01, 0x7F, 0xFE):
        with pytest.raises(CardRefusedError) as refused:
            open_channel(pipe_card, key_version=version)
        assert refused.value.sw == 0x6A88


def test_challenges_are_fresh(pipe_card):
    answers = {pipe_card.transmit("8050000008" + "00" * 8)[0] for _ in range(10)}
    assert len(answers) == 10


@pytest.mark.parametrize("level", [0x00, 0x01, 0x03, 0x11, 0x13, 0x30, 0xFF])
def test_only_level_33(pipe_card, level):
    pipe_card.transmit("8050000008" + "00" * 8)
    assert pipe_card.transmit(f"8482{level:02x}0010" + "00" * 16) == (b"", 0x6A86)
    assert pipe_card.transmit("8482330010" + "00" * 16) == (b"", 0x6985)


def test_empty_data_padded_or_plain(pipe_card, open_channel):
    """Some clients encrypt the padding of nothing, some send nothing: both count the command."""
    channel = open_channel(pipe_card)
    for _ in range(3):
        assert channel.transmit(SERIAL).require("") == b"TS00000001"
        iv = channel._next_iv()
        data = channel._keys.encrypt(iv, b"\x80" + bytes(15))
        response = channel._exchange(SERIAL, data, None)
        assert response.require("") == b"TS00000001"


def test_extended_commands(pipe_card, open_channel):
    """The C-MAC is over Lc as it was sent."""
    channel = open_channel(pipe_card)
    command = CommandApdu(0x80, 0xCA, 0xDF, 0x20, bytes(300))
    assert channel.transmit(command).data == b"TS00000001"
    assert channel.transmit(SERIAL).data == b"TS00000001"


def test_answers_are_proven_also_when_empty(pipe_card, open_channel):
    pipe_card.transmit(OATH)
    channel = open_channel(pipe_card)
    assert channel.transmit(PUT).sw == 0x9000  # raises without a right R-MAC


def test_errors_do_not_end_the_session(pipe_card, open_channel):
    channel = open_channel(pipe_card)
    for _ in range(3):
        assert channel.transmit(CommandApdu(0x80, 0xCA, 0x12, 0x34)).sw == 0x6A88
        assert channel.transmit(WEAR).sw == 0x9000


def test_an_internal_error_ends_the_session(pipe_card, open_channel):
    channel = open_channel(pipe_card)
    pipe_card.evaluate("setattr(store, 'wear', None)")
    assert channel.transmit(WEAR).sw == 0x6F00
    assert channel.transmit(SERIAL).sw == 0x6982
    pipe_card.evaluate("delattr(store, 'wear')")
