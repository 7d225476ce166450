"""T=1, station side, read by read: what is sent, how long each wait is, what comes of each block.
The limits are those of docs/reference/protocols.md, section 2."""

from __future__ import annotations

import threading

import pytest

from tallystick.common.errors import NoDeviceError
from tallystick.provisioning.card import t1
from tallystick.provisioning.card.t1 import (
    T1,
    AnswerLostError,
    Block,
    CancelledError,
    Waiting,
    encode,
)

RESYNCH, FOUND = encode(0xC0), encode(0xE0)
AGAIN = encode(0x82)  # R(other error)


class Reads:
    """A line that gives these one by one, and then nothing. waits: what each read would have
    waited at most."""

    name = "line"

    def __init__(self, *reads: bytes) -> None:
        self.reads = list(reads)
        self.waits: list[float] = []
        self.writes: list[bytes] = []
        self.drained = 0

    def read(self, timeout_s: float) -> bytes:
        self.waits.append(timeout_s)
        return self.reads.pop(0) if self.reads else b""

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def drain(self) -> None:
        self.drained += 1


def exchanged(*reads: bytes, command: bytes = b"?", waiting: Waiting | None = None):
    """→ (answer, the line)"""
    line = Reads(*reads)
    return T1(line).exchange(command, waiting), line


# -- blocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pcb", "information", "supervisory", "number", "more"),
    [
        (0x00, True, False, 0, False),
        (0x40, True, False, 1, False),
        (0x20, True, False, 0, True),
        (0x60, True, False, 1, True),
        (0x1F, True, False, 0, False),
        (0x80, False, False, 0, False),
        (0x90, False, False, 1, False),
        (0x82, False, False, 0, False),
        (0x91, False, False, 1, False),
        (0xC0, False, True, 0, False),
        (0xC3, False, True, 0, False),
        (0xE0, False, True, 0, True),
    ],
)
def test_what_a_control_byte_says(pcb, information, supervisory, number, more):
    """Bits that are reserved say nothing."""
    block = Block(pcb, b"")
    assert (block.is_information, block.is_supervisory) == (information, supervisory)
    assert (block.sequence, block.more) == (number, more)


def test_blocks_of_a_chain_are_marked_and_counted():
    reads = [encode(0x90), encode(0x80), encode(0x00, b"!")]
    answer, line = exchanged(*reads, command=bytes(600))
    assert answer == b"!"
    assert [block[:3].hex() for block in line.writes] == ["0020fe", "0060fe", "00005c"]


def test_the_rest_of_a_long_answer_is_asked_for():
    answer, line = exchanged(encode(0x20, b"a"), encode(0x60, b"b"), encode(0x00, b"c"))
    assert answer == b"abc"
    assert line.writes == [encode(0x00, b"?"), encode(0x90), encode(0x80)]


def test_a_line_that_nobody_has_set_up_begins_with_block_0():
    protocol = T1(Reads(encode(0x00, b"!"), encode(0x40, b"!")))
    assert protocol.exchange(b"?") == protocol.exchange(b"?") == b"!"
    assert protocol.link.writes == [encode(0x00, b"?"), encode(0x40, b"?")]
    assert (protocol.sent, protocol.received) == (12, 12)


def test_what_came_before_a_command_is_no_answer_to_it():
    protocol = T1(Reads(encode(0x00, b"!")))
    protocol._buffer += b"old"
    assert protocol.exchange(b"?") == b"!" and protocol.link.drained == 1


def test_what_came_before_a_search_does_not_spoil_its_answer():
    line = Reads(FOUND)
    protocol = T1(line)
    protocol._buffer += b"old"
    protocol.resynchronise()
    assert line.writes == [RESYNCH] and line.drained == 1


def test_every_block_can_be_logged(caplog):
    caplog.set_level(t1.TRAFFIC)
    exchanged(encode(0x00, b"!"))
    sent, received = encode(0x00, b"?").hex(), encode(0x00, b"!").hex()
    assert [record.getMessage() for record in caplog.records] == [f"> {sent}", f"< {received}"]


# -- how long is waited --------------------------------------------------------------------------


def test_a_second_for_a_block_and_a_tenth_inside_of_it():
    block = encode(0x00, b"answer")
    _, line = exchanged(block[:1], block[1:3], block[3:6], block[6:])
    assert line.waits == [1.0, 0.1, 0.1, 0.1]


@pytest.mark.parametrize(
    ("asked", "answered", "times"),
    [
        (encode(0xC3, b"\3"), encode(0xE3, b"\3"), 3),
        (encode(0xC3, b"\0"), encode(0xE3, b"\0"), 1),
        (encode(0xC3, b"\3\3"), None, 1),
        (encode(0xC1, b"\x20"), encode(0xE1, b"\x20"), 1),
        (encode(0xC1, b"\xff"), None, 1),
        (encode(0xE3, b"\7"), None, 1),  # late answers to what was asked before
        (encode(0xE0), None, 1),
        (encode(0xC0), None, 1),
        (encode(0xC7, b"\7"), None, 1),
    ],
)
def test_what_the_card_asks_for_and_how_long_it_is_waited_for_then(asked, answered, times):
    """The multiple counts for the next block only."""
    _, line = exchanged(asked, b"", encode(0x00, b"!"))
    assert line.waits == [1.0, times, 1.0]
    assert line.writes[1:] == ([answered] if answered else []) + [AGAIN]


def test_a_person_is_not_told_on_of_a_wait_that_was_cancelled():
    told = []
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(CancelledError):
        exchanged(encode(0xC3, b"\1"), FOUND, waiting=Waiting(lambda: told.append(1), cancel))
    assert not told


@pytest.mark.parametrize("asks", [10, 11])
def test_how_often_a_card_may_ask_for_time(monkeypatch, asks):
    monkeypatch.setattr(t1, "MAX_EXTENSIONS", 10)
    reads = [encode(0xC3, b"\1")] * asks
    if asks <= t1.MAX_EXTENSIONS:
        assert exchanged(*reads, encode(0x00, b"!"))[0] == b"!"
    else:
        with pytest.raises(AnswerLostError):
            exchanged(*reads, FOUND)


# -- three retries -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "asked"),
    [
        (b"", AGAIN),  # nothing
        (encode(0x80), encode(0x00, b"?")),  # it has not had our block: that one again
        (encode(0x91), encode(0x80)),  # it has had it: what comes of it?
    ],
)
def test_three_retries_and_then_the_line_is_set_up_anew(reply, asked):
    answer, line = exchanged(*[reply] * 3, encode(0x00, b"!"))
    assert answer == b"!" and line.writes == [encode(0x00, b"?"), *[asked] * 3]
    line = Reads(*[reply] * 4, FOUND)
    with pytest.raises(AnswerLostError, match="lost a command or its answer") as caught:
        T1(line).exchange(b"?")
    assert line.writes == [encode(0x00, b"?"), *[asked] * 3, RESYNCH]
    assert caught.value.kept == "The card is still there."


def test_late_copies_are_no_answer():
    late = [encode(0x40, b"old")] * 3
    answer, line = exchanged(*late, encode(0x00, b"!"))
    assert answer == b"!" and line.writes == [encode(0x00, b"?")]
    with pytest.raises(AnswerLostError):
        exchanged(*late, late[0], FOUND)


@pytest.mark.parametrize("number", [0x00, 0x40])
def test_an_answer_before_the_command_is_whole_is_none(number):
    """An acknowledgement is waited for: what came is from before."""
    reads = [encode(number, b"old"), encode(0x90), encode(0x00, b"!")]
    answer, line = exchanged(*reads, command=bytes(255))
    assert answer == b"!" and len(line.writes) == 2


def test_a_block_of_a_chain_that_was_lost_is_sent_again():
    answer, line = exchanged(encode(0x80), encode(0x90), encode(0x00, b"!"), command=bytes(255))
    first = encode(0x20, bytes(254))
    assert answer == b"!" and line.writes == [first, first, encode(0x40, b"\0")]


# -- finding the card ----------------------------------------------------------------------------


def test_a_card_is_asked_for_three_times():
    line = Reads()
    with pytest.raises(NoDeviceError, match="No card answered"):
        T1(line).resynchronise()
    assert line.writes == [RESYNCH] * 3 and line.waits == [1.0] * 3


@pytest.mark.parametrize("other", [encode(0xE0, b"x"), encode(0xC0), encode(0xE1), encode(0x00)])
def test_only_its_answer_means_that_it_is_there(other):
    """Blocks from before may still be under way."""
    line = Reads(*[other] * (t1.MAX_STALE_BLOCKS - 1), FOUND)
    T1(line).resynchronise()
    assert line.writes == [RESYNCH]
    with pytest.raises(NoDeviceError):
        T1(Reads(other)).resynchronise()


def test_a_line_begins_anew_when_the_card_is_found():
    protocol = T1(Reads(encode(0xC1, b"\x20"), encode(0x00, b"!")))
    protocol.exchange(b"?")
    protocol.link.reads = [FOUND, encode(0x90), encode(0x00, b"!")]
    protocol.resynchronise()
    assert protocol.exchange(bytes(255)) == b"!"
    assert [block[:3].hex() for block in protocol.link.writes[-2:]] == ["0020fe", "004001"]


def test_what_is_no_card_is_told_with_all_that_came():
    line = Reads(b"login: ", b"", b"login: ", b"more", b"", b"login: ")
    protocol = T1(line)
    for _ in range(2):  # each time anew
        line.reads = [b"login: ", b"", b"login: ", b"more", b"", b"login: "]
        with pytest.raises(NoDeviceError, match=r"not as a card does \(25 bytes") as caught:
            protocol.resynchronise()
    assert protocol.received == 50
    assert "115200" in caught.value.todo


def test_a_line_that_is_never_silent_is_not_read_for_ever():
    """Ten times the largest block."""

    class Babbler(Reads):
        def read(self, timeout_s: float) -> bytes:
            super().read(timeout_s)
            return b"\x55"

    line = Babbler()
    assert T1(line)._receive(1.0) is None
    assert len(line.waits) == 10 * (3 + 254 + 2) and set(line.waits[1:]) == {0.1}
