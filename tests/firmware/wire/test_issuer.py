"""Issuer functions: what they answer, what they need, and what they leave as it was."""

import pytest

from tallystick.provisioning.card.connection import CardRefusedError, CommandApdu
from tallystick.provisioning.card.issuer import (
    AID,
    IssuerSession,
    LifeCycle,
    WrappedKey,
    select,
)
from tallystick.provisioning.card.oath import select_oath
from tallystick.provisioning.custody.derivation import aes_cbc, check_value
from tests.firmware.wire.conftest import FIRM_KEYS

NEW_KEYS = bytes(range(0xA0, 0xD0))


def wrapped(dek: bytes, keys: bytes = NEW_KEYS) -> tuple[WrappedKey, ...]:
    parts = [keys[i : i + 16] for i in range(0, 48, 16)]
    return tuple(WrappedKey(aes_cbc(dek, bytes(16), key), check_value(key)) for key in parts)


def put_key_data(keys: tuple[WrappedKey, ...], kvn: int = 1, head: bytes = b"\x88\x10") -> bytes:
    blocks = [head + key.ciphertext + b"\x03" + key.check_value for key in keys]
    return bytes((kvn,)) + b"".join(blocks)


def sw_of(channel, command: CommandApdu) -> int:
    return channel.transmit(command).sw


def test_public_data(pipe_card):
    session = IssuerSession(pipe_card.connection())
    assert session.serial() == "TS00000001"
    version = session.version()
    assert (str(version), version.board) == ("0.1.0", "pipes")
    cell = session.cell()
    assert (cell.loaded_mv, cell.state) == (2900, 0)
    assert session.life_cycle() is LifeCycle.OP_READY
    assert session.key_versions() == {1: 0xFF, 2: 0xFF, 3: 0xFF}
    assert pipe_card.transmit("80cadf2100")[0] == b"\0\1\0pipes"


def test_select(pipe_card):
    answer = bytes.fromhex("6F108408A000000151000000A5049F6501FF")
    connection = pipe_card.connection()
    assert select(connection, AID) == answer
    assert pipe_card.transmit("00a4040000") == (answer, 0x9000)
    assert pipe_card.transmit("00a4040005a000000003") == (b"", 0x6A82)
    assert pipe_card.transmit("00a4040c00") == (b"", 0x6A86)


def test_get_status(pipe_card):
    template = bytes.fromhex("E30E4F08A0000001510000009F700101")
    for command in ("80f28000024f00", "80f28002024f0000", "80f28000"):
        assert pipe_card.transmit(command) == (template, 0x9000)
    for others in ("40", "20", "10"):  # applications and load files: stock tools ask for them all
        assert pipe_card.transmit(f"80f2{others}00024f00")[1] == 0x6A88
        assert pipe_card.transmit(f"80f2{others}02024f0000")[1] == 0x6A88
    for wrong in ("0000", "c000", "8004"):
        assert pipe_card.transmit(f"80f2{wrong}024f00")[1] == 0x6A86
    assert pipe_card.transmit("80f28000024f01")[1] == 0x6A88


def test_challenges_differ(pipe_card):
    session = IssuerSession(pipe_card.connection())
    seen = {session.get_challenge(32) for _ in range(5)}
    assert len(seen) == 5
    for le in ("", "00", "21"):
        assert pipe_card.transmit(f"00840000{le}")[1] == 0x6700


def test_wear_needs_the_channel(pipe_card, open_channel):
    assert pipe_card.transmit("80cadf23")[1] == 0x6982
    wear = IssuerSession(open_channel(pipe_card)).wear()
    assert (wear.presses, wear.largest_erase_count) == (0, 17)
    assert (wear.cold_starts, wear.dead_sectors) == (3, 1)


@pytest.mark.parametrize(
    ("apdu", "sw"),
    [
        ("80ca9f7f00", 0x6A88),
        ("80e40000", 0x6D00),
        ("00a10000", 0x6D00),  # an OATH command, while the issuer is selected
        ("01a4040000", 0x6E00),
        ("90caDF2000", 0x6884),
        ("ff000000", 0x6884),
        ("84cadf2308" + "00" * 8, 0x6982),
        ("8482330010" + "00" * 16, 0x6985),
        ("00c0000000", 0x6985),
        ("80500000", 0x6700),
        ("8050000108" + "00" * 8, 0x6A86),
        ("8050020008" + "00" * 8, 0x6A88),
    ],
)
def test_refusals(pipe_card, apdu, sw):
    assert pipe_card.transmit(apdu) == (b"", sw)


def test_issuer_commands_under_the_oath_applet(pipe_card):
    connection = pipe_card.connection()
    select_oath(connection)
    assert IssuerSession(connection).serial() == "TS00000001"


@pytest.mark.parametrize("head", [b"\x88\x10", b"\x88\x11\x10"])
def test_put_key(pipe_card, open_channel, head):
    channel = open_channel(pipe_card)
    keys = wrapped(b"\x40\x41\x42\x43\x44\x45\x46\x47\x48\x49\x4a\x4b\x4c\x4d\x4e\x4f")
    answer = channel.transmit(CommandApdu(0x80, 0xD8, 0, 0x81, put_key_data(keys, head=head)))
    assert answer.require("") == b"\x01" + b"".join(key.check_value for key in keys)
    after = pipe_card.inspect()
    assert (after["keys"], after["kvn"], after["life_cycle"]) == (NEW_KEYS.hex(), 1, 7)
    assert after["commits"] == [["keys", "kvn", "life_cycle"]]
    # The session of the old keys is over; the new ones open the next.
    assert sw_of(channel, CommandApdu(0x80, 0xCA, 0xDF, 0x23)) == 0x6982
    assert IssuerSession(open_channel(pipe_card, NEW_KEYS, 1)).key_versions() == {1: 1, 2: 1, 3: 1}


def damage(data: bytes) -> dict[str, bytes]:
    """What a PUT KEY must not take, each by name."""
    return {
        "wrong check value": data[:-1] + bytes((data[-1] ^ 1,)),
        "wrong first check value": data[:20] + bytes((data[20] ^ 1,)) + data[21:],
        "two keys": data[:45],
        "cut off": data[:-1],
        "four keys": data + data[-22:],
        "transport version": b"\xff" + data[1:],
        "version 0": b"\0" + data[1:],
        "version 80": b"\x80" + data[1:],
        "another type": data[:1] + b"\x80" + data[2:],
        "another size": data[:2] + b"\x20" + data[3:],
        "nothing": b"",
    }


@pytest.mark.parametrize("name", damage(put_key_data(wrapped(bytes(16)))))
def test_put_key_of_bad_data_changes_nothing(pipe_card, open_channel, name):
    channel = open_channel(pipe_card)
    data = damage(put_key_data(wrapped(bytes(range(0x40, 0x50)))))[name]
    before = pipe_card.inspect()
    assert sw_of(channel, CommandApdu(0x80, 0xD8, 0, 0x81, data)) == 0x6A80
    assert pipe_card.inspect() == before
    IssuerSession(channel).wear()  # and the session goes on


def test_put_key_outside_the_channel(pipe_card):
    data = put_key_data(wrapped(bytes(range(0x40, 0x50))))
    assert pipe_card.transmit("80d80081" + f"{len(data):02x}" + data.hex())[1] == 0x6982


@pytest.mark.parametrize(("p1", "p2"), [(0x02, 0x81), (0, 0x01), (0, 0x82)])
def test_put_key_of_a_part(pipe_card, open_channel, p1, p2):
    data = put_key_data(wrapped(bytes(range(0x40, 0x50))))
    assert sw_of(open_channel(pipe_card), CommandApdu(0x80, 0xD8, p1, p2, data)) == 0x6A86


def test_put_key_when_flash_fails(pipe_card, open_channel):
    channel = open_channel(pipe_card)
    pipe_card.evaluate("setattr(store, 'broken', True)")
    before = pipe_card.inspect()
    data = put_key_data(wrapped(bytes(range(0x40, 0x50))))
    assert sw_of(channel, CommandApdu(0x80, 0xD8, 0, 0x81, data)) == 0x6581
    assert pipe_card.inspect() == before
    IssuerSession(channel).wear()


def test_put_key_in_service_needs_a_press(in_life_cycle, open_channel, firm_keys):
    card = in_life_cycle(0x0F)
    channel = open_channel(card, firm_keys)
    command = CommandApdu(0x80, 0xD8, 0, 0x81, put_key_data(wrapped(firm_keys[32:]), kvn=2))
    begin = card.now
    assert sw_of(channel, command) == 0x6985
    assert card.now - begin >= 30_000
    assert card.inspect()["keys"] == firm_keys.hex()
    card.press(after_ms=5_000)
    assert sw_of(channel, command) == 0x9000
    after = card.inspect()
    assert (after["kvn"], after["life_cycle"], after["keys"]) == (2, 0x0F, NEW_KEYS.hex())


STATES = (0x01, 0x07, 0x0F, 0xFF)


@pytest.mark.parametrize("now", [0x07, 0x0F])
@pytest.mark.parametrize("wanted", [*STATES, 0x00, 0x03, 0x7F])
def test_life_cycle_never_goes_down(in_life_cycle, open_channel, firm_keys, now, wanted):
    card = in_life_cycle(now)
    card.press(after_ms=1_000)
    sw = sw_of(open_channel(card, firm_keys), CommandApdu(0x80, 0xF0, 0x80, wanted))
    after = card.inspect()
    assert after["life_cycle"] == (wanted if sw == 0x9000 else now)
    assert after["life_cycle"] >= now
    if wanted in (0x07, 0x0F, 0xFF):
        assert sw == (0x9000 if wanted >= now else 0x6985)
    else:
        assert sw == 0x6A80


def test_life_cycle_needs_firm_keys(pipe_card, open_channel):
    assert pipe_card.transmit("80f0800f")[1] == 0x6982
    for state in STATES:
        assert sw_of(open_channel(pipe_card), CommandApdu(0x80, 0xF0, 0x80, state)) == 0x6982
    assert pipe_card.inspect()["commits"] == []


def test_terminated_is_wiped_for_good(in_life_cycle, open_channel, firm_keys):
    card = in_life_cycle(0x0F)
    channel = open_channel(card, firm_keys)
    card.press(after_ms=5_000)
    IssuerSession(channel).set_status(LifeCycle.TERMINATED)
    after = card.inspect()
    assert (after["seed"], after["name"], after["keys"]) == ("", "", "00" * 48)
    for keys in (firm_keys, bytes(48)):
        with pytest.raises(CardRefusedError) as refused:
            open_channel(card, keys)
        assert refused.value.sw == 0x6985
    assert card.transmit("80cadf24") == (b"\xff", 0x9000)


def test_a_card_in_service_ends_with_a_press_only(in_life_cycle, open_channel, firm_keys):
    card = in_life_cycle(0x0F)
    channel = open_channel(card, firm_keys)
    begin, before = card.now, card.inspect()
    assert sw_of(channel, CommandApdu(0x80, 0xF0, 0x80, 0xFF)) == 0x6985
    assert card.now - begin >= 30_000
    assert card.inspect() == before


def test_a_card_that_is_being_provisioned_ends_without(in_life_cycle, open_channel, firm_keys):
    card = in_life_cycle(0x07)
    assert sw_of(open_channel(card, firm_keys), CommandApdu(0x80, 0xF0, 0x80, 0xFF)) == 0x9000
    assert card.inspect()["life_cycle"] == 0xFF


ASKED = {
    "for new keys": CommandApdu(0x80, 0xD8, 0, 0x81, put_key_data(wrapped(FIRM_KEYS[32:]), kvn=2)),
    "for a new seed": CommandApdu(0, 0x01, 0, 0, b"\x71\x0aTS00000001\x73\x16\x11\x06" + bytes(20)),
    "to erase its seed": CommandApdu(0, 0x04, 0xDE, 0xAD),
    "for a code": CommandApdu(0, 0xA2, 0, 1, b"\x71\x0aTS00000001\x74\x00"),
    "to wipe the card": CommandApdu(0x80, 0xF0, 0x80, 0xFF),
    "for a new name": CommandApdu(0, 0x05, 0, 0, b"\x71\x0aTS00000001\x71\x03new"),
}


@pytest.mark.parametrize("what", ASKED)
def test_the_card_says_for_what_it_wants_a_press(in_life_cycle, open_channel, firm_keys, what):
    card = in_life_cycle(0x0F)
    select_oath(card.connection())
    assert sw_of(open_channel(card, firm_keys), ASKED[what]) == 0x6985
    assert card.evaluate("state['asked']") == what


def test_a_card_without_keys_opens_no_channel(pipe_card):
    """It has not been to the factory."""
    pipe_card.reset(keys="")
    assert pipe_card.transmit("8050000008" + "00" * 8) == (b"", 0x6985)


def test_a_critical_cell_moves_nothing(in_life_cycle, open_channel, firm_keys):
    card = in_life_cycle(0x07)
    card.evaluate("state.update({'cell': (2200, 2, 2700)})")
    channel = open_channel(card, firm_keys)
    commands = [
        CommandApdu(0x80, 0xF0, 0x80, 0x0F),
        CommandApdu(0x80, 0xD8, 0, 0x81, put_key_data(wrapped(firm_keys[32:]))),
    ]
    select_oath(card.connection())
    channel = open_channel(card, firm_keys)
    commands.append(CommandApdu(0, 0x04, 0xDE, 0xAD))
    commands.append(CommandApdu(0, 0xA2, 0, 1, b"\x71\x0aTS00000001\x74\x00"))
    assert [sw_of(channel, command) for command in commands] == [0x6985] * 4
    assert card.inspect()["commits"] == []


def test_answers_in_parts(pipe_card):
    """Le smaller than the answer: the rest comes with GET RESPONSE, or SEND REMAINING."""
    assert pipe_card.transmit("80cadf2004") == (b"TS00", 0x6106)
    assert pipe_card.transmit("00c0000004") == (b"0000", 0x6102)
    assert pipe_card.transmit("00a50000") == (b"01", 0x9000)
    assert pipe_card.transmit("00a50000") == (b"", 0x6985)
    assert pipe_card.transmit("80cadf2004") == (b"TS00", 0x6106)
    for other in ("80cadf24", "80e40000"):  # served, and refused
        pipe_card.transmit("80cadf2004")
        pipe_card.transmit(other)
        assert pipe_card.transmit("00c0000004") == (b"", 0x6985)
    for exactly in ("80cadf200a", "80cadf2000000a"):  # as much as there is
        assert pipe_card.transmit(exactly) == (b"TS00000001", 0x9000)
    # extended, case 2
    assert pipe_card.transmit("80cadf20000003") == (b"TS0", 0x6107)


def test_undocking_ends_everything(pipe_card, open_channel):
    channel = open_channel(pipe_card)
    select_oath(pipe_card.connection())
    channel = open_channel(pipe_card)
    pipe_card.dock_again()
    assert sw_of(channel, CommandApdu(0x80, 0xCA, 0xDF, 0x23)) == 0x6982
    assert pipe_card.transmit("00a10000")[1] == 0x6D00  # the issuer is selected
