"""The opinion itself: what is the same, what is not, and what the command says of it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards import find
from tallystick.tools.fresh import card
from tallystick.tools.second_opinion import opinion
from tallystick.tools.second_opinion.firmware import read_firmware
from tallystick.tools.second_opinion.opinion import judge, side_by_side
from tallystick.tools.second_opinion.ours import Ours
from tallystick.tools.second_opinion.programs import run_program
from tallystick.tools.second_opinion.record import DISPLAY, END, FLASH, SERIAL, Recorder, StepRecord
from tallystick.tools.second_opinion.scenario import STEPS, HeldChip, act, entropy, station
from tests.tools.second_opinion.assembly import program

TALLY = [sys.executable, "-c", "from tallystick.cli import main; main()"]
NUCLEO = find("nucleo_l476rg")
BASE = 0x08000000
SLEEPS = program(BASE, "sleep: wfi\nb sleep")  # is no MicroPython, and begins like one

BAR = b"\x80" + bytes(73)
SAME = StepRecord(
    result="755224",
    frame=bytes(16),
    flash=bytes(16),
    cpu_us=100.0,
    duration_us=1000.0,
    boots=1,
    errors=[],
    wires={
        DISPLAY: [("select", b"\1"), ("spi", BAR), ("spi", bytes(2306))],
        SERIAL: [("sent", b"abc")],
        FLASH: [("erase 0x74000", b""), ("program 0x74000", b"")],
    },
    marks=[(FLASH, 10.0), (DISPLAY, 5.0), (END, 1.0)],
)


def with_wire(wire, transfers):
    return replace(SAME, wires={**SAME.wires, wire: transfers})


def test_the_same_agrees_whatever_it_took():
    step = judge("press", SAME, replace(SAME, cpu_us=120.0, duration_us=1100.0))
    assert step.agrees
    assert [(part.to, part.cpu_us) for part in step.parts] == SAME.marks


def test_one_step_that_differs_is_enough():
    same = judge("start", SAME, SAME)
    other = judge("press", SAME, replace(SAME, boots=2))
    assert opinion.Opinion("pico", [same, same]).agrees
    assert not opinion.Opinion("pico", [same, other]).agrees
    assert not opinion.Opinion("pico", [other, same]).agrees


def test_a_step_that_fails_on_both_is_no_agreement():
    failed = replace(SAME, result="failed: no code came")
    assert judge("press", failed, failed).differences == ["on both: failed: no code came"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (replace(SAME, result="287082"), "ours: '755224', the other: '287082'"),
        (replace(SAME, frame=b"\1" * 2 + bytes(14)), "2 pixels"),
        (replace(SAME, flash=bytes(15) + b"\1"), "1 bytes of the flash differ, the first 0xf"),
        (replace(SAME, boots=2), "the other 2"),
        (replace(SAME, errors=["too fast"]), "against a data sheet"),
        (with_wire(SERIAL, [("sent", b"abd")]), "serial line: transfer 0 .*61 62 64"),
        (with_wire(FLASH, SAME.wires[FLASH][::-1]), "flash: transfer 0 is erase"),
        (with_wire(FLASH, SAME.wires[FLASH][:1]), "flash: 2 transfers of ours, 1 of the other"),
        (with_wire(DISPLAY, [*SAME.wires[DISPLAY][:2], ("spi", b"\1" + bytes(2305))]), "display"),
        (with_wire(DISPLAY, [("select", b"\0"), *SAME.wires[DISPLAY][1:]]), "transfer 0 is select"),
        (replace(SAME, marks=[(DISPLAY, 5.0), (FLASH, 10.0), (END, 1.0)]), "another order"),
        (replace(SAME, marks=[(FLASH, 10.0), (SERIAL, 5.0), (END, 1.0)]), "another order"),
    ],
)
def test_whatever_is_not_the_same_is_said(other, words):
    step = judge("press", SAME, other)
    assert not step.agrees
    assert any(_found(words, text) for text in step.differences), step.differences


def _found(words, text):
    import re

    return re.search(words, text)


def test_the_bar_of_the_time_left_may_be_a_pixel_off_and_no_more():
    rows = [20, 38, 56]  # a byte in each of its rows

    def bar(bits):
        data = bytearray(BAR)
        for at in rows:
            data[at] = bits
        return with_wire(DISPLAY, [("select", b"\1"), ("spi", bytes(data)), ("spi", bytes(2306))])

    assert judge("dark", SAME, bar(1)).agrees
    assert not judge("dark", SAME, bar(0b111)).agrees


def test_a_side_that_rolls_its_own_random_numbers_answers_with_as_many_bytes():
    other = replace(with_wire(SERIAL, [("sent", b"xyz")]), rolls_its_own=True)
    assert judge("provisioning", SAME, other).agrees
    other = replace(with_wire(SERIAL, [("sent", b"xy")]), rolls_its_own=True)
    assert not judge("provisioning", SAME, other).agrees


def test_parts_are_what_lies_between_two_marks():
    ours, other = [(FLASH, 2.0), (DISPLAY, 10.0)], [(FLASH, 3.0), (DISPLAY, 11.0)]
    parts, same = side_by_side(ours, other)
    assert same
    assert [(part.to, part.cpu_us, part.other_cpu_us) for part in parts] == [
        (FLASH, 2, 3), (DISPLAY, 10, 11),
    ]  # fmt: skip
    parts, same = side_by_side(ours, other[::-1])
    assert not same
    assert [(part.cpu_us, part.other_cpu_us) for part in parts] == [(2, None), (None, 11)]


@pytest.mark.slow
def test_our_own_card_gives_a_second_opinion_on_itself():
    """Two of ours, run by the same scenario as a chip: nothing may differ."""
    office = station("nucleo_l476rg")
    with card("nucleo_l476rg") as one, card("nucleo_l476rg") as two:
        sides = [Ours(device, 3000, entropy("card")) for device in (one, two)]
        recorders = [Recorder(side) for side in sides]
        rigs = [HeldChip(side, office) for side in sides]
        results = {}
        for name, step in STEPS:
            records = [
                recorder.take(act(step, rig)) for rig, recorder in zip(rigs, recorders, strict=True)
            ]
            verdict = judge(name, *records)
            assert verdict.agrees, (name, verdict.differences)
            results[name] = records[0].result
    assert results["press"] == "755224"  # RFC 4226, appendix D
    assert results["press while shown"] == "755224, the same"
    assert results["press, woken"] == "287082"
    assert results["code over the line"] == "359152"
    assert results["update"] == "9.9.9 confirmed"
    assert results["press, updated"] == "969429"
    assert results["power cut in a write"] == "cut"
    assert results["press after the cut"] == "338314"
    assert "" not in (results["dock"], results["hold"])


def test_a_chip_that_never_shows_a_code_fails_the_command(tmp_path):
    """A program that is no MicroPython: the verdict must be no."""
    path = tmp_path / "firmware.bin"
    path.write_bytes(SLEEPS)
    done = subprocess.run(
        [*TALLY, "second-opinion", str(path), "--board", "nucleo_l476rg", "--steps", "2", "--json"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "do not agree" in done.stderr
    report = json.loads(done.stdout)
    assert not report["agrees"]
    hold = report["steps"][1]
    assert (hold["result"], hold["other_result"]) == ("shown", "nothing")
    assert "pixels of the picture differ" in " ".join(hold["differences"])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.hex", None, "There is no MicroPython"),
        ("some.bin", b"not a vector table", "does not begin as a program"),
        ("some.bin", SLEEPS.ljust(0x72801, b"\0"), "inside the boot record"),
        ("some.hex", b"not a hex file", "not Intel HEX"),
        ("some.hex", b":020000040808EA\n:0400000001020304F2\n:00000001FF\n", "no MicroPython"),
    ],
)
def test_what_is_no_micropython_for_the_board_is_a_clear_error(name, content, words, tmp_path):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInputError, match=words):
        read_firmware(path, NUCLEO)


def test_a_program_says_its_last_words_or_that_is_an_error(tmp_path):
    path = tmp_path / "firmware.bin"
    path.write_bytes(SLEEPS)
    with card("nucleo_l476rg") as device, pytest.raises(BadInputError, match="did not get to its"):
        run_program(path, device.image, end=b"end", limit_ms=100)


def _boards():
    return ("nucleo_l476rg", "pico")


@pytest.mark.slow
@pytest.mark.parametrize("board", _boards())
def test_both_agree_on_everything(board, firmware):
    verdict = opinion.compare(firmware(board), board)
    assert verdict.agrees, [(s.name, s.differences) for s in verdict.steps if not s.agrees]
    assert [step.ours.result for step in verdict.steps if step.name == "press"] == ["755224"]
