"""The OATH applet: the table of protocols.md, and the credentials that it must not take."""

import pytest

from tallystick.provisioning.card.connection import CommandApdu
from tallystick.provisioning.card.oath import OathSession, select_oath
from tallystick.provisioning.card.t1 import Waiting

NAME = b"\x71\x0aTS00000001"
KEY = b"\x73\x16\x11\x06" + b"12345678901234567890"
CALCULATE = CommandApdu(0, 0xA2, 0, 1, NAME + b"\x74\x00")
CODES = ("755224", "287082", "359152", "969429")


def put(data: bytes) -> CommandApdu:
    return CommandApdu(0, 0x01, 0, 0, data)


@pytest.fixture
def oath(pipe_card, open_channel):
    """A secure channel to the OATH applet of a factory-fresh card."""
    select_oath(pipe_card.connection())
    return open_channel(pipe_card)


@pytest.fixture
def firm(in_life_cycle, open_channel, firm_keys):
    """The card in a life cycle, and a firm's channel to its OATH applet."""

    def opening(life_cycle, **fields):
        card = in_life_cycle(life_cycle, **fields)
        select_oath(card.connection())
        return card, open_channel(card, firm_keys)

    return opening


def test_select(pipe_card):
    answer = select_oath(pipe_card.connection())
    assert answer.version == (5, 7, 0)
    assert not answer.locked
    pipe_card.dock_again()
    assert select_oath(pipe_card.connection()) == answer  # the identifier stays


def test_put_list_delete(pipe_card, oath):
    assert oath.transmit(put(NAME + KEY + b"\x78\x02" + b"\x7a\x04\0\0\1\0")).sw == 0x9000
    after = pipe_card.inspect()
    assert bytes.fromhex(after["seed"]) == b"12345678901234567890"
    assert (after["digits"], after["moving_factor"]) == (6, 256)
    assert after["commits"] == [["digits", "moving_factor", "name", "seed"]]
    (entry,) = OathSession(oath).list()
    assert entry.name == "TS00000001"
    assert pipe_card.transmit("00a10000") == (b"\x72\x0b\x11TS00000001", 0x9000)
    everything = pipe_card.transmit("00a400010a7408" + "00" * 8)
    assert everything == (b"\x71\x0aTS00000001\x77\x01\x06", 0x9000)
    OathSession(oath).delete("TS00000001")
    after = pipe_card.inspect()
    assert (after["name"], after["seed"]) == ("", "")
    assert pipe_card.transmit("00a10000") == (b"", 0x9000)
    assert pipe_card.transmit("00a400010a7408" + "00" * 8) == (b"", 0x9000)


def test_put_replaces_its_own_name_only(pipe_card, oath):
    assert oath.transmit(put(NAME + KEY)).sw == 0x9000
    assert oath.transmit(put(b"\x71\x05other" + KEY)).sw == 0x6A84
    assert oath.transmit(put(NAME + b"\x73\x12\x11\x08" + b"k" * 16)).sw == 0x9000
    after = pipe_card.inspect()
    assert (after["seed"], after["digits"]) == ((b"k" * 16).hex(), 8)
    OathSession(oath).reset()
    assert oath.transmit(put(b"\x71\x05other" + KEY)).sw == 0x9000


@pytest.mark.parametrize(
    "data",
    [
        b"",
        NAME,
        KEY,
        NAME + NAME + KEY,
        NAME + KEY + KEY,
        b"\x71\x00" + KEY,
        b"\x71\x41" + b"n" * 65 + KEY,
        NAME + KEY[:-1],
        NAME + KEY + b"\x79\x00",
        NAME + KEY + b"\x7a\x03\0\0\0",
        NAME + KEY + b"\x78",
        NAME + KEY + b"\x78\x01\x02",
        NAME + b"\x73\x11\x11\x06" + b"k" * 15,  # short of 128 bits
        NAME + b"\x73\x43\x11\x06" + b"k" * 65,
        NAME + b"\x73\x16\x21\x06" + b"k" * 20,  # TOTP
        NAME + b"\x73\x16\x12\x06" + b"k" * 20,  # SHA-256
        NAME + b"\x73\x16\x11\x05" + b"k" * 20,
        NAME + b"\x73\x16\x11\x09" + b"k" * 20,
    ],
)
def test_put_of_bad_data_changes_nothing(pipe_card, oath, data):
    before = pipe_card.inspect()
    assert oath.transmit(put(data)).sw == 0x6A80
    assert pipe_card.inspect() == before


@pytest.mark.parametrize("size", [16, 20, 32, 64])
@pytest.mark.parametrize("digits", [6, 7, 8])
def test_sizes(pipe_card, oath, size, digits):
    key = bytes((0x73, size + 2, 0x11, digits)) + b"k" * size
    assert oath.transmit(put(b"\x71\x40" + b"n" * 64 + key)).sw == 0x9000
    assert pipe_card.inspect()["digits"] == digits


WRITES = [put(NAME + KEY), CommandApdu(0, 0x02, 0, 0, NAME), CommandApdu(0, 0x04, 0xDE, 0xAD)]


@pytest.mark.parametrize("command", WRITES)
@pytest.mark.parametrize("life_cycle", [0x01, 0x07, 0x0F, 0xFF])
def test_writes_need_the_channel(in_life_cycle, command, life_cycle):
    card = in_life_cycle(life_cycle)
    select_oath(card.connection())
    card.press()
    assert card.transmit(command.encode().hex())[1] == 0x6982
    assert card.inspect()["commits"] == []


@pytest.mark.parametrize("command", WRITES)
def test_writes_in_service_need_a_press(firm, command):
    card, channel = firm(0x0F)
    assert channel.transmit(command).sw == 0x6985
    assert card.inspect()["commits"] == []
    card.press()
    assert channel.transmit(command).sw == 0x9000
    assert len(card.inspect()["commits"]) == 1


@pytest.mark.parametrize("command", WRITES)
def test_writes_when_flash_fails(firm, command):
    card, channel = firm(0x07)
    card.evaluate("setattr(store, 'broken', True)")
    before = card.inspect()
    assert channel.transmit(command).sw == 0x6581
    assert card.inspect() == before


def test_calculate_waits_for_a_press(in_life_cycle):
    card = in_life_cycle(0x0F)
    select_oath(card.connection())
    calls = []
    card.press(after_ms=9_000)
    begin = card.now
    waiting = Waiting(keepalive=lambda: calls.append(card.now))
    code = OathSession(card.connection()).calculate("TS00000001", waiting)
    assert code == CODES[0]
    assert 9_000 <= card.now - begin <= 9_100
    assert len(calls) == 5  # at once, then every two seconds
    after = card.inspect()
    assert (after["moving_factor"], after["presses"]) == (1, 1)
    assert card.evaluate("state['waits']") == 1
    assert card.evaluate("state['presses']") == 0  # the press was the command's, not the app's


def test_calculate_without_a_press(in_life_cycle):
    card = in_life_cycle(0x0F)
    select_oath(card.connection())
    begin = card.now
    assert card.connection().transmit(CALCULATE).sw == 0x6985
    assert 30_000 <= card.now - begin <= 30_100
    assert card.inspect()["commits"] == []


@pytest.mark.parametrize("life_cycle", [0x01, 0x07, 0x0F])
def test_a_held_button_is_no_consent(in_life_cycle, life_cycle):
    """Stuck in a wallet: the button must come up, and go down again."""
    card = in_life_cycle(life_cycle)
    select_oath(card.connection())
    card.presses.append((card.now, card.now + 40_000))
    card.run(100)
    assert card.connection().transmit(CALCULATE).sw == 0x6985
    card.presses = [(card.now, card.now + 5_000), (card.now + 6_000, card.now + 6_100)]
    begin = card.now
    assert card.connection().transmit(CALCULATE).sw == 0x9000
    assert card.now - begin >= 6_000


def test_a_press_that_began_before_the_command_is_no_consent(in_life_cycle):
    card = in_life_cycle(0x0F)
    select_oath(card.connection())
    connection = card.connection()
    card.presses.append((card.now, card.now + 500))  # the card sees both at the same instant
    assert connection.transmit(CALCULATE).sw == 0x6985
    assert card.inspect()["commits"] == []


def test_a_bounce_is_no_consent(in_life_cycle):
    card = in_life_cycle(0x0F)
    select_oath(card.connection())
    card.presses = [(card.now + t, card.now + t + 15) for t in range(100, 20_000, 40)]
    assert card.connection().transmit(CALCULATE).sw == 0x6985
    assert card.inspect()["commits"] == []
    card.run(1_000)
    assert card.evaluate("state['presses']") == 0


def test_press_is_waived_only_in_the_firms_channel(firm, pipe_card, oath):
    provisioned, channel = firm(0x07)
    session = OathSession(channel)
    begin = provisioned.now
    assert [session.calculate("TS00000001") for _ in range(4)] == list(CODES)
    assert provisioned.now == begin
    # the same card, outside the channel
    assert provisioned.connection().transmit(CALCULATE).sw == 0x6985


def test_transport_keys_waive_no_press(pipe_card, oath):
    assert oath.transmit(put(NAME + KEY)).sw == 0x9000
    assert oath.transmit(CALCULATE).sw == 0x6985


def test_in_service_the_channel_waives_no_press(firm):
    card, channel = firm(0x0F)
    assert channel.transmit(CALCULATE).sw == 0x6985
    assert card.inspect()["commits"] == []


def test_full_response_only_while_provisioning(firm):
    full = CommandApdu(0, 0xA2, 0, 0, NAME + b"\x74\x00")
    card, channel = firm(0x07)
    answer = channel.transmit(full).require("")
    assert answer == bytes.fromhex("751506cc93cf18508d94934c64b65d8ba7667fb7cde4b0")
    for life_cycle in (0x01, 0x0F, 0xFF):
        card, channel = firm(life_cycle) if life_cycle != 0xFF else (card, channel)
        if life_cycle == 0xFF:
            card.reset(life_cycle=0xFF, name="61", seed="61" * 20)
            select_oath(card.connection())
            channel = card.connection()
            full = CommandApdu(0, 0xA2, 0, 0, b"\x71\x01a\x74\x00")
        card.press()
        assert channel.transmit(full).sw == 0x6985
        assert card.inspect()["commits"] == []


def test_truncated_answer_is_the_code_and_no_more(firm):
    """Four bytes could carry 31 bits of the HMAC; they carry the digits alone."""
    _, channel = firm(0x07)
    assert channel.transmit(CALCULATE).require("") == b"\x76\x05\x06" + (755224).to_bytes(4, "big")


def test_calculate_when_flash_fails(firm):
    card, channel = firm(0x07)
    card.evaluate("setattr(store, 'broken', True)")
    response = channel.transmit(CALCULATE)
    assert (response.data, response.sw) == (b"", 0x6581)


@pytest.mark.parametrize(
    ("command", "sw"),
    [
        (CommandApdu(0, 0xA2, 0, 1, b"\x71\x01x\x74\x00"), 0x6984),
        (CommandApdu(0, 0xA2, 0, 1, b"\x74\x00"), 0x6A80),
        (CommandApdu(0, 0xA2, 0, 1, NAME + b"\x73\x00"), 0x6A80),
        (CommandApdu(0, 0xA2, 1, 1, NAME), 0x6A86),
        (CommandApdu(0, 0xA2, 0, 2, NAME), 0x6A86),
        (CommandApdu(0, 0xA4, 0, 1, b""), 0x6A80),
        (CommandApdu(0, 0xA4, 1, 1, b"\x74\x00"), 0x6A86),
        (CommandApdu(0, 0xA1, 1, 0), 0x6A86),
        (CommandApdu(0, 0x02, 0, 0, b"\x71\x01x"), 0x6984),
        (CommandApdu(0, 0x02, 0, 0, NAME + NAME), 0x6A80),
        (CommandApdu(0, 0x04, 0, 0), 0x6A86),
        (CommandApdu(0, 0x01, 0, 1, NAME + KEY), 0x6A86),
        (CommandApdu(0, 0x03, 0, 0, b"\x73\x00"), 0x6D00),
        (CommandApdu(0, 0xA3), 0x6D00),
        (CommandApdu(0, 0x05, 0, 0, NAME), 0x6A80),
        (CommandApdu(0, 0x05, 0, 0, NAME + NAME + NAME), 0x6A80),
        (CommandApdu(0, 0x05, 0, 0, NAME + b"\x71\x00"), 0x6A80),
        (CommandApdu(0, 0x05, 0, 0, NAME + b"\x71\x41" + b"n" * 65), 0x6A80),
        (CommandApdu(0, 0x05, 0, 0, NAME + b"\x74\x01n"), 0x6A80),
        (CommandApdu(0, 0x05, 0, 0, b"\x71\x01x\x71\x01y"), 0x6984),
        (CommandApdu(0, 0x05, 1, 0, NAME + NAME), 0x6A86),
    ],
)
def test_refusals(firm, command, sw):
    card, channel = firm(0x07)
    before = card.inspect()
    assert channel.transmit(command).sw == sw
    assert card.inspect() == before


def test_a_press_outside_commands_is_the_apps(in_life_cycle):
    card = in_life_cycle(0x0F)
    card.press(after_ms=500)
    card.run(2_000)
    assert card.evaluate("state['presses']") == 1
    assert card.inspect()["commits"] == []  # the app commits, not the line


def test_cancelling_the_wait(in_life_cycle):
    """S(RESYNCH) while the card waits: nothing moves, even if the press comes then."""
    card = in_life_cycle(0x0F)
    select_oath(card.connection())
    card.write(bytes.fromhex("00000e") + b"")  # a partial block is dropped first
    card.run(200)
    t1 = card.connection().t1
    t1._send(b_block(CALCULATE.encode()))
    card.run(1_000)
    t1.resynchronise()
    card.press()
    card.run(500)
    assert card.inspect()["commits"] == []
    assert card.evaluate("state['presses']") == 1
    assert card.connection().transmit(CommandApdu(0x80, 0xCA, 0xDF, 0x20)).data == b"TS00000001"


def b_block(apdu: bytes) -> bytes:
    from tallystick.provisioning.card.t1 import encode

    return encode(0x00, apdu)


def test_undocking_while_waiting(in_life_cycle):
    card = in_life_cycle(0x0F)
    select_oath(card.connection())
    t1 = card.connection().t1
    t1._send(b_block(CALCULATE.encode()))
    card.run(1_000)
    card.press(after_ms=50)
    card.dock_again()
    card.run(500)
    assert card.inspect()["commits"] == []
