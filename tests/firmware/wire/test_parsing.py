"""TLV and APDU: whatever comes in is parsed or refused, and never crashes the card."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tallystick.provisioning.card.connection import CommandApdu

PROFILE = settings(max_examples=150, deadline=None)


@PROFILE
@given(data=st.binary(max_size=300))
@example(data=b"")
@example(data=b"\x71")
@example(data=b"\x71\x81\x05hello")
@example(data=b"\x71\x82\x00\x81")
@example(data=b"\x71\x80")
@example(data=b"\x7f\x49\x00")
def test_tlv_reader_is_strict(card_process, data):
    """It reads exactly what the writer writes."""
    items = card_process.evaluate(f"parse_tlv('{data.hex()}')")
    if items is not None:
        again = [card_process.evaluate(f"write_tlv({tag}, '{value}')") for tag, value in items]
        assert "".join(again) == data.hex()


TAG = st.integers(1, 0xFF).filter(lambda tag: tag & 0x1F != 0x1F)


@PROFILE
@given(items=st.lists(st.tuples(TAG, st.binary(max_size=300)), max_size=4))
def test_tlv_round_trip(card_process, items):
    data = "".join(card_process.evaluate(f"write_tlv({t}, '{v.hex()}')") for t, v in items)
    parsed = card_process.evaluate(f"parse_tlv('{data}')")
    assert parsed == [[tag, value.hex()] for tag, value in items]


def test_tlv_two_byte_tag(card_process):
    assert card_process.evaluate("write_tlv(0x9F70, '07')") == "9f700107"


def test_tlv_bare_property(card_process):
    """The touch property of YKOATH has no length; any other tag keeps its own."""
    assert card_process.evaluate("parse_tlv('710161780273021106', 0x78)") == [
        [0x71, "61"],
        [0x78, "02"],
        [0x73, "1106"],
    ]
    assert card_process.evaluate("parse_tlv('78', 0x78)") is None


@PROFILE
@given(
    header=st.binary(min_size=4, max_size=4),
    data=st.binary(max_size=400),
    le=st.none() | st.integers(1, 256) | st.integers(257, 65536),
)
def test_apdu_round_trip(card_process, header, data, le):
    """The station's encoder, all four cases, short and extended."""
    apdu = CommandApdu(*header, data, le).encode()
    extended = len(data) > 255 or (le or 0) > 256
    head = 4 if not data else 7 if extended else 5
    limit = le or (65536 if extended else 256)
    parsed = card_process.evaluate(f"parse_apdu('{apdu.hex()}')")
    assert parsed[:4] == [header.hex(), data.hex(), le or 0, limit]
    if data:
        assert parsed[4] == head


@PROFILE
@given(apdu=st.binary(max_size=40) | st.binary(min_size=240, max_size=300))
@example(apdu=b"\0\xa4\4\0\0\0")
@example(apdu=b"\0\xa4\4\0\0\0\0\1")
@example(apdu=b"\0\xa4\4\0\5abc")
def test_apdu_of_any_bytes(card_process, apdu):
    """Taken only if its length is what it says, and then nothing of it is lost."""
    parsed = card_process.evaluate(f"parse_apdu('{apdu.hex()}')")
    if isinstance(parsed, int):
        assert parsed == 0x6700
        return
    header, data, le, _, _ = parsed
    encoded = header + data
    assert apdu.hex().startswith(header)
    assert data in apdu.hex()
    assert len(encoded) // 2 <= len(apdu) <= len(encoded) // 2 + 5
    assert len(apdu) - len(encoded) // 2 in ((0, 1, 3) if not data else (1, 2, 3, 5)) or le


@PROFILE
@given(
    apdu=st.binary(max_size=300)
    | st.builds(
        lambda cla, ins, p1, p2, data: bytes((cla, ins, p1, p2, len(data))) + data,
        st.sampled_from([0x00, 0x04, 0x80, 0x84, 0x10, 0x01]),
        st.sampled_from(
            [0xA4, 0x50, 0x82, 0xCA, 0x84, 0xD8, 0xF0, 0xF2, 1, 2, 4, 0xA1, 0xA2, 0xA5]
        ),
        st.sampled_from([0, 4, 0x80, 0xDE]),
        st.sampled_from([0, 1, 0x81, 0xAD]),
        st.binary(min_size=1, max_size=60) | st.just(b"\x71\x0aTS00000001"),
    )
)
def test_any_command_without_keys_changes_nothing(card_process, apdu):
    """No bytes crash the card, and none changes it: there is no session and no press."""
    card_process.reset(life_cycle=7, kvn=1, name=b"TS00000001".hex(), seed=b"x".hex() * 20)
    before = card_process.inspect()
    for aid in ("00a4040007a0000005272101", "00a4040000"):
        card_process.transmit(aid)
        answer, sw = card_process.transmit(apdu.hex())
        assert sw != 0x6F00
        assert b"x" * 8 not in answer
    after = card_process.inspect()
    assert after == before
    assert after["commits"] == []
