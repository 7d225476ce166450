"""The secure channel under attack: what is changed, replayed, reordered or forged on the line ends
the session and changes nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.provisioning.card.connection import CardRefusedError, CommandApdu
from tallystick.provisioning.card.issuer import IssuerSession
from tallystick.provisioning.card.scp03 import SecureChannelError, derivation_message
from tallystick.provisioning.custody.derivation import SoftwareChannelKeys
from tests.firmware.wire.conftest import TRANSPORT_KEYS

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
    assert pipe_card.transmit("8482330010" + "00" * 16) == (b"", 0x6300)
    assert pipe_card.transmit("8482330010" + "00" * 16) == (b"", 0x6985)


def try_wrong_keys(card) -> tuple[int, int]:
    """→ the status word, and how long it took (ms)"""
    begin = card.now
    _, sw = card.transmit("8050000008" + "00" * 8)
    if sw == 0x9000:
        _, sw = card.transmit("8482330010" + "00" * 16)
    return sw, card.now - begin


def test_wrong_keys_again_and_again(pipe_card, open_channel):
    tries = [try_wrong_keys(pipe_card) for _ in range(60)]
    assert [sw for sw, _ in tries] == [0x6300] * 10 + [0x6983] * 50
    assert all(ms < 1000 for _, ms in tries[:3])
    assert all(1000 <= ms < 1500 for _, ms in tries[3:10])
    with pytest.raises(CardRefusedError, match="out of its dock"):
        open_channel(pipe_card)
    assert pipe_card.transmit("80cadf20") == (b"TS00000001", 0x9000)  # what anybody may ask
    pipe_card.dock_again()
    open_channel(pipe_card)


def test_right_keys_end_the_count(pipe_card, open_channel):
    for _ in range(4):
        for _ in range(9):
            assert try_wrong_keys(pipe_card)[0] == 0x6300
        open_channel(pipe_card)


@pytest.mark.parametrize("other", [OATH, "00a4040000", "00a40400050102030405", "80cadf20"])
def test_nothing_else_ends_the_count(pipe_card, other):
    """What anybody may ask: a guesser would, between two tries."""
    tries = []
    for _ in range(12):
        tries.append(try_wrong_keys(pipe_card)[0])
        pipe_card.transmit(other)
    assert tries == [0x6300] * 10 + [0x6983] * 2


def test_a_wrong_mac_over_a_right_cryptogram_counts_too(pipe_card, open_channel):
    """Whoever has only the cryptogram, off another line, gets no further tries either."""
    for _ in range(10):
        pipe_card.evaluate("fix_random('0011223344556677')")
        answer, _ = pipe_card.transmit("8050000008" + "00" * 8)
        keys = SoftwareChannelKeys(
            TRANSPORT_KEYS[:16], TRANSPORT_KEYS[16:32], bytes(8) + answer[13:21]
        )
        cryptogram = kdf_cryptogram(keys, bytes(8) + answer[13:21])
        sent = "8482330010" + cryptogram.hex() + "00" * 8
        assert pipe_card.transmit(sent) == (b"", 0x6988)
    assert pipe_card.transmit("8050000008" + "00" * 8) == (b"", 0x6983)


def kdf_cryptogram(keys: SoftwareChannelKeys, context: bytes) -> bytes:
    return keys.mac(derivation_message(0x01, 64, context))[:8]


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


@pytest.mark.parametrize("level", [0x00, 0x02, 0x10, 0x30, 0x31, 0xFF])
def test_levels_that_there_are_not(pipe_card, level):
    pipe_card.transmit("8050000008" + "00" * 8)
    assert pipe_card.transmit(f"8482{level:02x}0010" + "00" * 16) == (b"", 0x6A86)
    assert pipe_card.transmit("8482330010" + "00" * 16) == (b"", 0x6985)


class LowLevel:
    """A host that asks for less than level 33, as stock tools begin."""

    def __init__(self, card, level: int, keys: bytes = TRANSPORT_KEYS) -> None:
        self.card, self.level = card, level
        answer, _ = card.transmit("8050000008" + "00" * 8)
        context = bytes(8) + answer[13:21]
        self.keys = SoftwareChannelKeys(keys[:16], keys[16:32], context)
        self.chain, self.counter = bytes(16), 0
        head = bytes((0x84, 0x82, level, 0))
        assert self.signed(head, kdf_cryptogram(self.keys, context)) == (b"", 0x9000)

    def signed(self, head: bytes, data: bytes) -> tuple[bytes, int]:
        apdu = head + bytes((len(data) + 8,)) + data
        self.chain = self.keys.mac(self.chain + apdu)
        return self.card.transmit((apdu + self.chain[:8]).hex())

    def send(self, head: str, data: bytes = b"") -> tuple[bytes, int]:
        self.counter += 1
        if self.level & 2 and data:
            iv = self.keys.encrypt_block(self.counter.to_bytes(16, "big"))
            data = self.keys.encrypt(iv, data + b"\x80" + bytes(-(len(data) + 1) % 16))
        return self.signed(bytes.fromhex(head), data)


@pytest.mark.parametrize("level", [0x01, 0x03, 0x11, 0x13])
def test_a_lower_level_reads_and_changes_nothing(pipe_card, level):
    host = LowLevel(pipe_card, level)
    for tag, size in (("df20", 10), ("df23", 13), ("df24", 1), ("00e0", 20)):
        answer, sw = host.send(f"84ca{tag}")
        assert (len(answer), sw) == (size + 8 * bool(level & 0x10), 0x9000), tag
        if level & 0x10:
            answer, mac = answer[:-8], answer[-8:]
            assert host.keys.response_mac(host.chain + answer + b"\x90\x00")[:8] == mac
    status, sw = host.send("84f28000", b"\x4f\x00")
    assert status[:2] == b"\xe3\x0e" and sw == 0x9000
    for head, data in (
        ("84d80081", b"\x01" + bytes(69)),
        ("84f0800f", b""),
    ):
        assert host.send(head, data) == (b"", 0x6982)
    assert pipe_card.inspect()["commits"] == []
    assert host.send("84ca" + "df20")[1] == 0x9000  # a refusal does not end the session


def test_a_lower_level_takes_no_credential(pipe_card):
    pipe_card.transmit(OATH)
    host = LowLevel(pipe_card, 0x01)
    for head, data in (("04010000", PUT.data), ("04020000", b"\x71\x04name"), ("0404dead", b"")):
        assert host.send(head, data) == (b"", 0x6982)
    assert pipe_card.inspect()["commits"] == []


@pytest.mark.parametrize("level", [0x01, 0x03, 0x11, 0x13])
@pytest.mark.parametrize("p2", [0, 1])
def test_a_lower_level_waives_no_press(in_life_cycle, firm_keys, level, p2):
    """Its answers pass in the clear, and a code moves the card on: a stranger's rights."""
    card = in_life_cycle(0x07)
    card.transmit(OATH)
    host = LowLevel(card, level, firm_keys)
    assert host.send(f"04a200{p2:02x}", b"\x71\x0aTS00000001\x74\x00") == (b"", 0x6985)
    assert card.inspect()["commits"] == []


@pytest.mark.parametrize("level", [0x01, 0x03, 0x11, 0x13])
def test_a_lower_level_still_has_its_mac(pipe_card, level):
    host = LowLevel(pipe_card, level)
    assert pipe_card.transmit("84cadf2308" + "00" * 8) == (b"", 0x6988)
    assert host.send("84cadf23") == (b"", 0x6982)


def test_empty_data_padded_or_plain(pipe_card, open_channel):
    """Some clients encrypt the padding of nothing, some send nothing: both count the command."""
    channel = open_channel(pipe_card)
    for _ in range(3):
        assert channel.transmit(SERIAL).require("") == b"TS00000001"
        iv = channel._next_iv()
        data = channel._keys.encrypt(iv, b"\x80" + bytes(15))
        response = channel._exchange(SERIAL, data, None)
        assert response.require("") == b"TS00000001"


@pytest.mark.parametrize("end", [b"\0" * 16, b"\x81" + bytes(15), bytes(15) + b"\x7f", b"\1" * 16])
def test_what_is_not_padded_ends_the_session(pipe_card, open_channel, end):
    """Under a right C-MAC: a host with the keys that pads otherwise."""
    channel = open_channel(pipe_card)
    data = channel._keys.encrypt(channel._next_iv(), end)
    assert channel._exchange(SERIAL, data, None).sw == 0x6988
    assert dead(pipe_card)


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
