"""T=1, block by block: ISO/IEC 7816-3 clause 11 in the profile of protocols.md, section 2."""

import pytest

from tallystick.provisioning.card.t1 import encode

RESYNCH = encode(0xC0)
RESYNCHED = encode(0xE0)


@pytest.fixture
def line(pipe_card, digest):
    """send(*blocks) → what the card answers; its command handler gives every command back
    reversed."""
    pipe_card.reset(echo=True)

    def send(*blocks: bytes, wait_s: float = 0.5) -> bytes:
        pipe_card.write(b"".join(blocks))
        answer = b""
        while piece := pipe_card.read(wait_s):
            answer += piece
        return answer

    send.card = pipe_card
    send.executed = lambda *apdus: pipe_card.log == [digest(apdu) for apdu in apdus]
    assert send(RESYNCH) == RESYNCHED
    return send


def i_block(number: int, inf: bytes, more: bool = False) -> bytes:
    return encode(number << 6 | more << 5, inf)


def r_block(number: int, error: int = 0) -> bytes:
    return encode(0x80 | number << 4 | error)


def test_resynch_is_the_same_five_bytes(line):
    assert RESYNCH.hex() == "00c0000c66"


def test_sequence_numbers_alternate(line):
    for i in range(4):
        assert line(i_block(i & 1, b"abcd")) == i_block(i & 1, b"dcba")
    assert line(RESYNCH) == RESYNCHED
    assert line(i_block(0, b"abcd")) == i_block(0, b"dcba")


@pytest.mark.parametrize("size", [4, 59, 200])  # 59: the block fills one read of the line
def test_the_line_is_half_duplex(line, size):
    """What came before the answer is no answer to it: one request, one reply."""
    command = b"c" * size
    assert line(i_block(0, command), r_block(0)) == i_block(0, command)
    assert line(r_block(0), r_block(0), r_block(0)) == i_block(0, command)
    assert line(i_block(1, command), b"\0\0") == i_block(1, command)


def test_repeated_command_is_answered_again_and_not_executed(line):
    first = line(i_block(0, b"abcd"))
    assert line(i_block(0, b"abcd")) == first
    assert line(i_block(0, b"other")) == r_block(1, 2)
    assert line.executed(b"abcd")


def test_request_repeats_the_answer(line):
    first = line(i_block(0, b"abcd"))
    assert line(r_block(0, 1)) == first
    assert line(r_block(0, 2)) == first
    assert line(r_block(1)) == r_block(1, 2)  # the station's I(1) never came
    assert line(r_block(0)) == first
    assert line(i_block(1, b"ef")) == i_block(1, b"fe")


def test_request_before_anything(line):
    assert line(r_block(0)) == r_block(0, 2)
    assert line(r_block(1)) == r_block(0, 2)


def test_command_in_a_chain(line):
    assert line(i_block(0, b"a" * 254, True)) == r_block(1)
    assert line(i_block(0, b"a" * 254, True)) == r_block(1, 2)  # a repetition
    assert line(i_block(1, b"b" * 200, True)) == r_block(0)
    assert line(r_block(1, 1)) == r_block(0, 2)
    answer = line(i_block(0, b"c"))
    assert answer == i_block(0, b"c" + b"b" * 200 + b"a" * 53, True)
    assert line(r_block(1)) == i_block(1, b"a" * 201)
    assert line.executed(b"a" * 254 + b"b" * 200 + b"c")


def test_answer_in_a_chain(line):
    assert line(encode(0xC1, b"\x04")) == encode(0xE1, b"\x04")
    assert line(i_block(0, b"0123456789")) == i_block(0, b"9876", True)
    assert line(r_block(0, 1)) == i_block(0, b"9876", True)
    assert line(r_block(1)) == i_block(1, b"5432", True)
    assert line(encode(0xC1, b"\x05")) == encode(0xE1, b"\x05")
    assert line(r_block(1, 2)) == i_block(1, b"5432", True)  # as it was cut
    assert line(r_block(0)) == i_block(0, b"10")
    assert line(r_block(0)) == i_block(0, b"10")
    assert line(i_block(1, b"ab")) == i_block(1, b"ba")
    assert line.executed(b"0123456789", b"ab")


@pytest.mark.parametrize("inf", [b"", b"\x00", b"\xff", b"\x20\x20"])
def test_bad_field_size(line, inf):
    assert line(encode(0xC1, inf)) == r_block(0, 2)


def test_abort_of_a_command(line):
    line(i_block(0, b"half", True))
    assert line(encode(0xC2)) == encode(0xE2)
    assert line(i_block(1, b"whole")) == i_block(0, b"elohw")
    assert line.executed(b"whole")


def test_abort_of_an_answer(line):
    line(encode(0xC1, b"\x02"))
    line(i_block(0, b"abcd"))
    assert line(encode(0xC2)) == encode(0xE2)
    assert line(r_block(1)) == r_block(1, 2)
    assert line(i_block(1, b"ab")) == i_block(1, b"ba")


def test_too_long_a_command(line):
    """Taken in to its end, then refused; the next one is served."""
    assert line(i_block(0, b"a" * 254, True)) == r_block(1)
    assert line(i_block(1, b"a" * 254, True)) == r_block(0)
    assert line(i_block(0, b"a" * 254, True)) == r_block(1)
    assert line(i_block(1, b"a" * 20)) == i_block(0, b"\x67\x00")
    assert line(i_block(0, b"next")) == i_block(1, b"txen")


def test_empty_command(line):
    assert line(i_block(0, b"")) == i_block(0, b"\x67\x00")


def test_damaged_block(line):
    block = i_block(0, b"abcd")
    for i in range(len(block)):
        assert line(block[:i] + bytes((block[i] ^ 0x20,)) + block[i + 1 :]) in (
            r_block(0, 1),
            r_block(0, 2),
        )
    assert line.executed()
    assert line(block) == i_block(0, b"dcba")


def test_cut_off_block(line):
    block = i_block(0, b"abcd")
    for i in range(1, len(block)):
        begin = line.card.now
        line.card.write(block[:i])
        assert line.card.read(0.099) == b""
        assert line.card.read(0.5) in (r_block(0, 2), r_block(0, 1))
        assert line.card.now - begin <= 110
    assert line(block) == i_block(0, b"dcba")


def test_resynch_amid_noise_is_answered_at_once(line):
    assert line(b"\xff\x00\x17noise", RESYNCH, wait_s=0.01) == RESYNCHED
    assert line(b"\0\0\0\1\2", b"\0\xc0", RESYNCH, wait_s=0.01) == RESYNCHED


@pytest.mark.parametrize(
    "block",
    [encode(0x90, b"x"), encode(0xA0), encode(0x04), encode(0xC0, b"x"), encode(0xC3, b"\1")],
)
def test_what_a_station_must_not_send(line, block):
    assert line(block) == r_block(0, 2)


@pytest.mark.parametrize("block", [encode(0xE0), encode(0xE1, b"\x20"), encode(0xE3, b"\1")])
def test_answers_to_nothing_are_ignored(line, block):
    assert line(block) == b""


def test_other_addresses_are_not_ours(line):
    block = bytearray(i_block(0, b"abcd"))
    block[0] = 0x21
    assert line(bytes(block)) == r_block(0, 1)


def test_waiting_time_extension(in_life_cycle):
    """While it waits for a press the card repeats S(WTX) on anything that it cannot use."""
    card = in_life_cycle(0x0F)
    card.transmit("00a4040007a0000005272101")
    command = bytes.fromhex("00a200010e710a545330303030303030317400")
    card.write(i_block(1, command))
    more_time = encode(0xC3, b"\x03")
    assert card.read(0.1) == more_time
    card.write(r_block(1, 2))
    assert card.read(0.1) == more_time
    card.write(i_block(1, command))
    assert card.read(0.1) == more_time
    card.write(b"\0\0\5garbage")
    assert card.read(0.3) == more_time
    card.write(encode(0xE3, b"\x03"))
    card.write(encode(0xC2))
    assert card.read(0.1) == more_time
    card.write(encode(0xC1, b"\xfe"))
    assert card.read(0.1) == encode(0xE1, b"\xfe")
    card.press(after_ms=10)
    assert card.read(0.1) == i_block(1, bytes.fromhex("760506000b86189000"))
    assert len(card.log) == 2
    assert card.inspect()["moving_factor"] == 1
