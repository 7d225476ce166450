"""The self-test on the real firmware: good boards pass, and each fault is found."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.common.errors import RefusedError
from tallystick.emulator.parts.nor_flash import Failure
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.issuer import LifeCycle
from tallystick.provisioning.card.scp03 import SecureChannel
from tallystick.tools.docked import DockedLink
from tallystick.tools.selftest import checks, report
from tallystick.tools.selftest.checks import CheckVerdict, randomness_fault
from tests.tools.flash.conftest import BOARDS, custody, firm, outputs  # noqa: F401

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Hand:
    """Looks at the emulated glass, and presses the emulated button."""

    def __init__(self, card, *, presses=True, sees=None):
        self.card = card
        self.frames = []
        self._presses = presses
        self._sees = sees

    def sees(self, what):
        self.frames.append(self.card.frame())
        return not self.frames[-1].blank if self._sees is None else self._sees

    def press(self):
        if self._presses:
            self.card.button.push()
            self.card.run_for(120)
            self.card.button.release()


@pytest.fixture(params=BOARDS)
def tested_card(request, firm):  # noqa: F811
    with firm.blank(request.param) as card:
        card.power_on()
        yield card


@pytest.fixture
def line(tested_card):
    return CardConnection(DockedLink(tested_card))


def verdicts(board):
    return {check.name: check.verdict for check in board.checks}


def test_a_good_board_passes(tested_card, line):
    hand = Hand(tested_card)
    board = checks.run(line, hand)
    assert board.good and set(verdicts(board).values()) == {CheckVerdict.PASSED}, board.checks
    assert tested_card.frame().blank  # the pattern is gone
    pattern = hand.frames[0]
    assert board.version.board == tested_card.board.name
    rows = [
        pattern.pixels[i * pattern.width : (i + 1) * pattern.width] for i in range(pattern.height)
    ]
    assert all(len(set(row)) == 2 for row in rows[1:-1])  # every line and column is used
    assert all(len({row[x] for row in rows}) == 2 for x in range(1, pattern.width - 1))


def test_unattended_skips_what_needs_a_person(line):
    board = checks.run(line, None)
    assert board.good
    skipped = {name for name, verdict in verdicts(board).items() if verdict is CheckVerdict.SKIPPED}
    assert skipped == {"display", "button"}
    page = report.page(board, port="/dev/ttyACM0", time=NOON)
    assert ">passed, without display and button<" in page


def test_a_dead_display_and_a_dead_button_are_found(tested_card, line):
    board = checks.run(line, Hand(tested_card, presses=False, sees=False))
    found = verdicts(board)
    assert found["display"] is found["button"] is CheckVerdict.FAILED
    assert not board.good


def test_flash_that_fails_is_found(tested_card, line):
    board = tested_card.board
    slot = board.slots[1]

    def worn(operation):
        if operation.address >= slot.end - board.flash_timing.sector:
            return Failure(operation.old)
        return None

    tested_card.flash.fault_plan, tested_card.flash.can_fail = worn, True
    assert verdicts(checks.run(line, None))["flash"] is CheckVerdict.FAILED


def test_flash_that_keeps_a_bit_is_found(tested_card, line):
    """The chip reports success, and the bit is wrong."""
    slot = tested_card.board.slots[1]
    program = tested_card.flash.program

    def bad(address, data):
        good = program(address, data)
        if address >= slot.end - tested_card.board.flash_timing.sector:
            tested_card.flash.memory[address] &= 0xFE if data[0] & 1 else 0xFF
        return good

    tested_card.flash.program = bad
    tested_card.mcu.flash.program = bad
    assert verdicts(checks.run(line, None))["flash"] is CheckVerdict.FAILED


def test_the_self_test_touches_no_other_flash(tested_card, line):
    board = tested_card.board
    sector = board.flash_timing.sector
    before = bytes(tested_card.flash.memory)
    checks.run(line, Hand(tested_card))
    assert bytes(tested_card.flash.memory) == before
    tested = (board.slots[1].end - sector) // sector
    assert tested_card.flash.erases.get(tested) == 3


def test_a_card_in_service_is_tested_by_its_firm_only(firm):  # noqa: F811
    with firm.card("pico", LifeCycle.SECURED) as card:
        line = CardConnection(DockedLink(card))
        with pytest.raises(RefusedError, match="in service, and is tested by its firm only"):
            checks.run(line, Hand(card))
        assert card.frame().blank
        # The card itself refuses, too.
        pattern = checks.CommandApdu(0x80, checks.INS_SELF_TEST, checks.PATTERN)
        assert line.transmit(pattern).sw == 0x6982
        channel = SecureChannel.open(line, firm.custody.channel_keys)
        board = checks.run(line, Hand(card), transmitter=channel)
        assert verdicts(board)["display"] is CheckVerdict.PASSED
        assert verdicts(board)["flash"] is CheckVerdict.SKIPPED


@pytest.mark.parametrize("life_cycle", [LifeCycle.INITIALIZED, LifeCycle.SECURED])
def test_flash_is_tested_on_a_card_that_holds_nothing(firm, life_cycle):  # noqa: F811
    """Not by its firm either: the slot may hold an image."""
    with firm.card("pico", life_cycle) as card:
        line = CardConnection(DockedLink(card))
        channel = SecureChannel.open(line, firm.custody.channel_keys)
        before = bytes(card.flash.memory)
        command = checks.CommandApdu(0x80, checks.INS_SELF_TEST, checks.FLASH)
        assert channel.transmit(command).sw == 0x6985
        assert bytes(card.flash.memory) == before and not card.flash.erases


def test_an_unknown_part_is_refused(line):
    with pytest.raises(RefusedError, match="6A86"):
        line.transmit(checks.CommandApdu(0x80, checks.INS_SELF_TEST, 0x66)).require("do")


# -- randomness --------------------------------------------------------------------------------


def samples(data):
    return [data[i : i + 32] for i in range(0, 2048, 32)]


@given(st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_good_sources_pass(seed):
    assert randomness_fault(samples(random.Random(seed).randbytes(2048))) == ""


@pytest.mark.parametrize(
    "data",
    [
        bytes(2048),
        bytes(range(256)) * 8,
        random.Random(1).randbytes(1024) * 2,
        bytes(b & 0x7F for b in random.Random(2).randbytes(2048)),
        bytes(b | 1 for b in random.Random(3).randbytes(2048)),
        random.Random(4).randbytes(2000) + b"\x11" * 48,
    ],
    ids=["zeros", "counter", "repeats", "bit 7 stuck", "bit 0 stuck", "stuck at the end"],
)
def test_broken_sources_are_found(data):
    assert randomness_fault(samples(data)) != ""


# -- reports -----------------------------------------------------------------------------------


def test_junit_and_page(tested_card, line):
    board = checks.run(line, Hand(tested_card, presses=False))
    suite = ET.fromstring(report.junit(board, time=NOON)).find("testsuite")
    assert suite.get("tests") == "6" and suite.get("failures") == "1"
    assert (
        suite.find("testcase[@name='button']/failure").get("message") == "no press came within 30 s"
    )
    page = report.page(board, port="/dev/<b>", time=NOON)
    assert board.serial in page and "/dev/&lt;b&gt;" in page and "failed" in page
    assert page.count("<tr>") == 7
    assert board.image.digest.hex() in page
    assert suite.find("properties/property[@name='sha256']").get("value") in page
