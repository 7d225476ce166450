"""What firmware prints, and what ends it, are told apart: each as what it is, with its line."""

from __future__ import annotations

import pytest

from tallystick.emulator.boards import find
from tallystick.emulator.chip import declared as names
from tallystick.emulator.devices.device import FirmwareCrashError
from tallystick.tools.upkeep import declared, emulated
from tests import needs


def crash_of(card, ms=100):
    with pytest.raises(FirmwareCrashError) as caught:
        card.power_on()
        card.run_for(ms)
    return caught.value.what


def test_to_print_is_no_crash(foreign):
    card = foreign("print('hello')")
    card.power_on()
    card.run_for(1000)
    assert card.console == "hello\n"
    assert card.mcu.state == "running"


def test_what_is_printed_is_heard_as_it_comes(foreign):
    card = foreign("import time\nfor n in range(3):\n    print(n)\n    time.sleep(1)")
    heard = []
    card.mcu.on_print = heard.append
    card.power_on()
    card.run_for(1100)
    assert "".join(heard) == "0\n1\n"
    card.run_for(1000)
    assert "".join(heard) == "0\n1\n2\n"


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ("import sys\nraise ValueError(sys.version)", 2, "ValueError: 3.4.0; MicroPython"),
        ("print('a')\n\nraise ValueError", 3, "ValueError:"),
        ("def f():\n    return 1 / 0\n\nf()", 2, "ZeroDivisionError: divide by zero"),
        ("raise KeyboardInterrupt", 1, "KeyboardInterrupt:"),
        ("import other", 1, "ImportError: no module named 'other'"),
        ("raise ValueError('x' * 5000)", 1, "xxxx"),
        ("raise ValueError('\\n  File \"~a\"')", 1, "ValueError:"),
    ],
)
def test_a_crash_has_its_file_and_line(foreign, source, line, words):
    what = crash_of(foreign(source))
    assert what.startswith("The firmware stopped with an exception:\nTraceback"), what
    assert f'File "main.py", line {line}' in what
    assert words in what


@pytest.mark.parametrize("end", ["machine.deepsleep()", "machine.reset()"])
def test_an_exception_that_is_told_last_of_all_has_ended_the_firmware(foreign, end):
    source = (
        "import sys, machine\ntry:\n    1 / 0\nexcept Exception as e:\n    sys.print_exception(e)\n"
    )
    what = crash_of(foreign(f"{source}{end}"))
    assert what.startswith("The firmware stopped with an exception:\nTraceback")
    assert what.endswith("ZeroDivisionError: divide by zero")


def test_an_exception_that_is_told_and_lived_with_is_no_crash(foreign):
    card = foreign(
        "import sys, machine\ntry:\n    1 / 0\nexcept Exception as e:\n    sys.print_exception(e)\n"
        "print('gone on')\nmachine.deepsleep()"
    )
    card.power_on()
    card.run_for(100)
    assert card.console.endswith("gone on\n")


def test_a_word_of_a_firmware_that_never_prints_is_a_crash(foreign):
    card = foreign("print('here')")
    card.mcu.prints = False
    assert crash_of(card) == "here"


def test_a_recursion_is_told_in_whole_lines(foreign):
    what = crash_of(foreign("def f(n):\n    return f(n + 1)\n\nf(0)"))
    head, *lines = what.splitlines()[1:]
    assert head == "Traceback (most recent call last):" and lines[0] == "  ..."
    assert set(lines[1:-1]) == {'  File "main.py", line 2, in f'}
    assert lines[-1] == "RuntimeError: maximum recursion depth exceeded"


def test_a_crash_in_a_module_has_the_line_of_its_source(foreign):
    card = foreign("import part\npart.go()", part="\n\ndef go():\n    None.x\n")
    assert 'File "part.py", line 4, in go' in crash_of(card)


def test_no_frame_of_the_emulator_is_in_a_traceback(foreign):
    what = crash_of(foreign("from machine import Pin\nPin(99)"))
    assert what.count("File ") == 1
    assert what.endswith("ValueError: invalid pin")


def test_a_handler_that_fails_is_said_and_not_called_again(foreign):
    card = foreign(
        "from machine import Timer\nimport time\n"
        "Timer(period=100, callback=lambda t: 1 / 0)\ntime.sleep(1)\nprint('on')"
    )
    card.power_on()
    card.run_for(2000)
    assert card.console.count("Uncaught exception in IRQ callback handler") == 1
    assert "ZeroDivisionError" in card.console
    assert card.console.endswith("on\n")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("from machine import I2S", "machine.I2S"),
        ("import machine; machine.I2S(1)", "machine.I2S"),
        ("from rp2 import PIO", "rp2.PIO"),
        ("import rp2; rp2.StateMachine(0)", "rp2.StateMachine"),
        ("import rp2; rp2.DMA()", "rp2.DMA"),
        ("from machine import RTC; RTC().alarm(1)", "machine.RTC.alarm"),
        ("from machine import mem32; mem32[0x40014000]", "register 0x40014000"),
        ("from machine import mem32; mem32[0x40014000] = 1", "register 0x40014000"),
        ("import neopixel", "neopixel"),
    ],
)
def test_what_is_not_emulated_is_said_so_at_the_line_that_wants_it(foreign, line, name):
    what = crash_of(foreign(f"pass\n{line}\n"))
    assert 'File "main.py", line 2' in what
    assert f"not emulated: {name} (docs/guides/emulator.md)" in what


def test_what_no_board_has_is_not_said_to_be_left_out(foreign):
    assert "not emulated" not in crash_of(foreign("import machine\nmachine.Nonsense"))
    assert "not emulated" not in crash_of(foreign("class Pin:\n    pass\nPin().fly"))


def test_the_list_of_what_is_left_out_is_true():
    assert emulated.listed() == emulated.text(), "python -m tallystick.tools.upkeep.emulated"


@pytest.mark.parametrize("port", ["rp2", "stm32"])
def test_the_names_are_those_that_the_stubs_declare(port):
    needs.stubs.or_skip()
    kept = (names.FOLDER / f"{port}.txt").read_text()
    assert kept == declared.text(needs.STUBS, port), "python -m tallystick.tools.upkeep.declared"


def test_a_firmware_that_looks_at_the_clock_all_the_time_goes_on_by_itself(foreign):
    """A service asks when something happens next, and waits for the world until then."""
    card = foreign(
        "import time\nbegin = time.ticks_ms()\n"
        "while time.ticks_diff(time.ticks_ms(), begin) < 50:\n    pass\nprint('over')"
    )
    card.mcu.power_on()
    while not card.console:
        due = card.next_time()
        assert due is not None
        card.run_to(due)
    assert card.console == "over\n"


@pytest.mark.parametrize("board", ["pico", "nucleo_l476rg"])
def test_registers_end_where_the_model_does(foreign, board):
    chip = find(board).chip
    ranges = list(zip(chip.modelled_ranges[::2], chip.modelled_ranges[1::2], strict=True))
    beyond = [
        at
        for first, last in ranges
        for at in (first - 4, (last + 4) & ~3)
        if at not in chip.modelled_registers and not any(a <= at <= b for a, b in ranges)
    ]
    assert beyond
    card = foreign(
        f"from machine import mem32\nfor at in {beyond!r}:\n    try:\n        mem32[at]\n"
        "        print('there: %x' % at)\n    except NotImplementedError:\n        pass",
        board,
    )
    card.power_on()
    card.run_for(1000)
    assert card.console == ""
