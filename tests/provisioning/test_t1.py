"""T=1, station side: the published CRC, and every kind of damage that a line can do."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.common.errors import NoDeviceError
from tallystick.provisioning.card import t1
from tallystick.provisioning.card.t1 import (
    T1,
    AnswerLostError,
    CancelledError,
    Waiting,
    crc16,
    encode,
)
from tests.provisioning.memory_card import MemoryCard, MemoryLink


class Echo:
    """Stands for a card: answers a command with itself and 9000, and counts executions."""

    def __init__(self):
        self.executed = []

    def process(self, apdu):
        self.executed.append(bytes(apdu))
        return apdu + b"\x90\x00"


def line():
    link = MemoryLink(MemoryCard())
    link.card = Echo()
    protocol = T1(link)
    protocol.resynchronise()
    return protocol, link


def test_check_value_of_the_crc():
    assert crc16(b"123456789") == 0x906E


def test_resynch_block():
    assert encode(0xC0).hex() == "00c0000c66"


@pytest.mark.parametrize("size", [0, 1, 253, 254, 255, 508, 509, 1000])
def test_chaining(size):
    protocol, link = line()
    command = bytes(i & 0xFF for i in range(size))
    for _ in range(3):
        assert protocol.exchange(command) == command + b"\x90\x00"
    assert link.card.executed == [command] * 3


def test_bytes_are_counted():
    protocol, _ = line()
    protocol.exchange(b"12345")
    assert (protocol.sent, protocol.received) == (5 + 10, 5 + 12)


def once(do):
    """A fault that happens to the first block only."""
    done = []

    def fault(block):
        if done:
            return [block]
        done.append(block)
        return do(block)

    return fault


DAMAGE = {
    "lost": lambda block: [],
    "changed": lambda block: [block[:-1] + bytes((block[-1] ^ 1,))],
    "cut": lambda block: [block[:4]],
    "doubled": lambda block: [block, block],
    "length": lambda block: [block[:2] + b"\xff" + block[3:]],
    "noise before": lambda block: [b"\x55\xaa" + block],
}


CASES = [(way, damage) for way in ("to_card", "to_station") for damage in DAMAGE]
CASES.remove(("to_card", "noise before"))  # the card's own framing, tested with the firmware


@pytest.mark.parametrize(("direction", "damage"), CASES)
@pytest.mark.parametrize("size", [5, 600])
def test_one_fault_is_repaired_and_nothing_runs_twice(direction, damage, size):
    protocol, link = line()
    command = bytes(size)
    setattr(link, direction, once(DAMAGE[damage]))
    assert protocol.exchange(command) == command + b"\x90\x00"
    assert protocol.exchange(b"next") == b"next\x90\x00"
    assert link.card.executed == [command, b"next"]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_faults_end_in_the_right_answer_or_a_clear_error(data):
    protocol, link = line()

    def fault(block):
        kind = data.draw(st.sampled_from(["ok"] * 6 + ["lost", "changed", "cut", "doubled"]))
        return [block] if kind == "ok" else DAMAGE[kind](block)

    link.to_card = link.to_station = fault
    commands = [bytes((n,)) * data.draw(st.sampled_from([1, 5, 300])) for n in range(4)]
    answered = []
    for command in commands:
        try:
            assert protocol.exchange(command) == command + b"\x90\x00"
            answered.append(command)
        except AnswerLostError:
            continue
        except NoDeviceError:
            break
    executed = link.card.executed
    assert [command for command in executed if command in answered] == answered
    assert len(executed) == len(set(executed)), "a command ran twice"


def test_a_dead_line(monkeypatch):
    protocol, link = line()
    link.to_station = lambda block: []
    genuine, waited = link.read, []

    def read(timeout_s):
        waited.append(timeout_s)
        return genuine(timeout_s)

    monkeypatch.setattr(link, "read", read)
    with pytest.raises(NoDeviceError, match="No card answered on memory"):
        protocol.exchange(b"12345")
    resynchs = [block for block in link.writes if block[1] == 0xC0]
    assert len(resynchs) == 1 + t1.FIND_RETRIES
    asked_again = [block for block in link.writes if block[1] & 0xC0 == 0x80]
    assert len(asked_again) == t1.RETRIES
    # Each of them is waited for once.
    assert len(waited) == 1 + t1.RETRIES + t1.FIND_RETRIES


def test_late_copies_of_an_answer_are_waited_through():
    protocol, link = line()
    late = []
    link.to_station = lambda block: late.append(block) or [block]
    protocol.exchange(b"12345")
    link.to_station = lambda block: [late[0]] * t1.RETRIES + [block]
    assert protocol.exchange(b"next") == b"next\x90\x00"


def test_a_line_that_recovers_only_for_resynch():
    protocol, link = line()
    link.to_station = lambda block: [block] if block[1] == 0xE0 else []
    with pytest.raises(AnswerLostError):
        protocol.exchange(b"12345")
    link.to_station = lambda block: [block]
    assert protocol.exchange(b"67890") == b"67890\x90\x00"


def test_garbage_is_named_as_such():
    _, link = line()
    link.to_station = lambda block: [b"login: "]
    with pytest.raises(NoDeviceError, match="not as a card does"):
        T1(link).resynchronise()


def test_endless_garbage_does_not_hold_the_station():
    class Babbler(MemoryLink):
        def read(self, timeout_s):
            return b"\x00" * 64

        def drain(self):
            pass

    with pytest.raises(NoDeviceError):
        T1(Babbler(MemoryCard())).resynchronise()


def test_waiting_time_is_granted_and_the_person_told():
    protocol, link = line()
    link.waits = 3
    told = []
    assert protocol.exchange(b"12345", Waiting(keepalive=lambda: told.append(1)))
    assert len(told) == 3


def test_a_card_that_asks_for_ever(monkeypatch):
    monkeypatch.setattr(t1, "MAX_EXTENSIONS", 10)
    protocol, link = line()
    link.waits = 10**6
    with pytest.raises(AnswerLostError):
        protocol.exchange(b"12345")


def test_cancel():
    protocol, link = line()
    link.waits = 10
    cancel = threading.Event()
    with pytest.raises(CancelledError):
        protocol.exchange(b"12345", Waiting(keepalive=cancel.set, cancel=cancel))
    assert protocol.exchange(b"again") == b"again\x90\x00"
    assert link.card.executed == [b"again"]


def test_field_size_of_the_card_is_obeyed():
    protocol, link = line()
    answers = [encode(0xC1, b"\x20")]

    def ask_first(block):
        return [answers.pop(), *([] if block[1] == 0x00 else [block])] if answers else [block]

    link.to_station = ask_first
    protocol.exchange(b"12345")
    link.to_station = lambda block: [block]
    protocol.exchange(bytes(100))
    assert max(len(block) for block in link.writes) == 0x20 + 5
