"""Encoders and parsers: every value comes back, and no input from a card does worse than
BadInputError."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.common.errors import BadInputError, RefusedError
from tallystick.provisioning.card import issuer, oath, tlv
from tallystick.provisioning.card.connection import CommandApdu, Response, StatusWord
from tallystick.provisioning.card.scp03 import InitializeUpdate, SecureChannelError, _unpad, pad

TAGS = st.one_of(
    st.integers(0x01, 0xFE).filter(lambda tag: tag & 0x1F != 0x1F),
    st.integers(0x00, 0xFF).map(lambda low: 0xDF00 | low),
)


@given(st.lists(st.tuples(TAGS, st.binary(max_size=300)), max_size=6))
def test_data_objects_come_back(objects):
    assert tlv.decode(b"".join(tlv.encode(tag, value) for tag, value in objects)) == objects


def test_lengths_of_every_form():
    for size in (0, 127, 128, 255, 256, 65_535):
        assert tlv.decode(tlv.encode(0x71, bytes(size))) == [(0x71, bytes(size))]


@given(st.binary(max_size=80))
@pytest.mark.parametrize(
    "parse",
    [
        tlv.decode,
        oath.parse_select,
        oath.parse_code,
        oath._parse_entry,
        issuer.parse_serial,
        issuer.parse_version,
        issuer.parse_life_cycle,
        issuer._parse_cell,
        issuer._parse_wear,
    ],
)
def test_any_answer_is_parsed_or_refused(parse, data):
    try:
        parse(data)
    except BadInputError as error:
        assert error.what


@given(st.binary(max_size=40))
def test_any_answer_to_initialize_update(data):
    try:
        update = InitializeUpdate.parse(data)
    except SecureChannelError:
        return
    assert len(data) in (29, 32) and len(update.card_cryptogram) == 8


def parsed(apdu):
    """Header, data, Le of a command APDU: ISO/IEC 7816-4, section 5.1."""
    header, rest = apdu[:4], apdu[4:]
    if not rest:
        return header, b"", None
    if rest[0] or len(rest) == 1:
        if len(rest) == 1:
            return header, b"", rest[0] or 256
        size = rest[0]
        tail = rest[1 + size :]
        return header, rest[1 : 1 + size], None if not tail else tail[0] or 256
    if len(rest) == 3:
        return header, b"", int.from_bytes(rest[1:], "big") or 65_536
    size = int.from_bytes(rest[1:3], "big")
    tail = rest[3 + size :]
    return header, rest[3 : 3 + size], None if not tail else int.from_bytes(tail, "big") or 65_536


@given(
    st.binary(max_size=600),
    st.one_of(st.none(), st.integers(1, 256), st.integers(257, 65_536)),
)
def test_commands(data, le):
    command = CommandApdu(0x00, 0xA4, 0x04, 0x00, data, le)
    assert parsed(command.encode()) == (command.header, data, le)


@given(st.binary(max_size=100))
def test_padding(data):
    padded = pad(data)
    assert len(padded) % 16 == 0 and 1 <= len(padded) - len(data) <= 16
    assert _unpad(padded) == data


@pytest.mark.parametrize("data", [b"", bytes(16), b"\1" * 16, b"\x80" + bytes(16)])
def test_wrong_padding(data):
    assert _unpad(data) is None


@given(st.integers(0, 0xFFFF))
def test_unknown_status_words_are_kept(sw):
    assert int(StatusWord(sw)) == sw
    if sw == StatusWord.OK:
        return
    with pytest.raises(RefusedError, match=f"{sw:04X}"):
        Response(b"", sw).require("do something")


def test_neither_commands_nor_answers_show_their_data():
    secret = b"12345678901234567890"
    for thing in (CommandApdu(0, 1, data=secret), Response(secret, 0x9000)):
        assert "1234567890" not in repr(thing) and secret.hex() not in repr(thing)
