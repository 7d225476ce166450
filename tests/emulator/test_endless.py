"""Firmware that never waits: the emulator comes back, and says so."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from contextlib import nullcontext

import pytest

from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.device import FirmwareCrashError
from tallystick.emulator.interpreter import link, resident
from tallystick.tools.image.folder import from_folder

ERASES = "import rp2\nflash = rp2.Flash()\nwhile True:\n    flash.ioctl(6, 300)\n"


@pytest.fixture
def run(tmp_path):
    cards = []

    def start(source):
        (tmp_path / "main.py").write_text(source)
        cards.append(Card(from_folder(tmp_path, "pico"), seed=1))
        return cards[-1]

    yield start
    for card in cards:
        card.close()


def test_work_without_end_does_not_hold_up_the_host(run):
    card = run(ERASES)
    card.power_on()
    card.run_for(100)
    assert 30_000 < card.clock.now / 1_000 < 100_000  # it was given time, and then left at it
    before = card.clock.now
    card.run_for(60_000)
    assert card.clock.now > before


@pytest.mark.parametrize("inside", [False, True])
def test_a_loop_that_touches_nothing_ends_with_its_reason(run, monkeypatch, inside):
    monkeypatch.setattr(link, "SILENCE_S", 0.3)
    card = run("while True:\n    pass\n")
    with resident.enabled() if inside else nullcontext():
        with pytest.raises(FirmwareCrashError, match="endless loop"):
            card.power_on()
            card.run_for(100)
        card.power_off()
        with pytest.raises(FirmwareCrashError, match="endless loop"):
            card.power_on()  # as before


LOOP = """import machine

def work():
    n = 0
    while True:
        n += 1

machine.freq()
work()
"""
# As ours, and whatever else has no prompt: a byte on the serial line is to stop nothing.
QUIET = LOOP.replace("machine.freq()", "import micropython; micropython.kbd_intr(-1)")
STUBBORN = """while True:
    try:
        while True:
            pass
    except KeyboardInterrupt:
        pass
"""


def mode(inside):
    return resident.enabled() if inside else nullcontext()


@pytest.mark.parametrize("source", [LOOP, QUIET], ids=["plain", "without Ctrl-C"])
@pytest.mark.parametrize(("inside", "covered"), [(False, False), (True, False), (False, True)])
def test_where_it_was_is_told(run, tmp_path, monkeypatch, inside, covered, source):
    """By the lines of its source, also where something was put between them."""
    monkeypatch.setattr(link, "SILENCE_S", 0.3)
    if covered:
        (tmp_path / "hits").mkdir()
        monkeypatch.setenv("TALLY_COVERAGE", str(tmp_path / "hits"))
    card = run(source)
    with mode(inside), pytest.raises(FirmwareCrashError) as caught:
        card.power_on()
    told = caught.value.what
    assert re.search(r'File "main.py", line [56], in work', told)
    assert 'File "main.py", line 9, in <module>' in told and "~" not in told


CLEANS_UP = """import time
from machine import Pin

try:
    while True:
        pass
finally:
    for _ in range(3):
        time.sleep(1)
    Pin(3, Pin.OUT).value()
"""


@pytest.mark.parametrize("inside", [False, True])
def test_where_it_was_is_told_of_one_that_cleans_up(run, monkeypatch, inside):
    monkeypatch.setattr(link, "SILENCE_S", 0.3)
    card = run(CLEANS_UP)
    with mode(inside), pytest.raises(FirmwareCrashError, match=r'File "main.py", line [56],'):
        card.power_on()


def test_a_traceback_that_came_with_what_was_posted_is_read(run, monkeypatch):
    """In one piece: there is nothing more to wait for."""
    monkeypatch.setattr(link, "SILENCE_S", 0.3)
    monkeypatch.setattr(link, "_TRIES", 1)
    card = run("from machine import Pin\nPin(3, Pin.OUT).on()\nwhile True:\n    pass")
    with pytest.raises(FirmwareCrashError, match=r'File "main.py", line [34],'):
        card.power_on()
    assert "KeyboardInterrupt" not in card.console


def test_one_that_other_programs_keep_from_the_processor_is_waited_for(run, monkeypatch):
    """It is not interrupted again, which would end its traceback."""
    monkeypatch.setattr(link, "SILENCE_S", 0.3)
    monkeypatch.setattr(link, "_TRIES", 1)
    monkeypatch.setattr(link, "_ANSWERS", 1)
    monkeypatch.setattr(link, "_ANSWER_MS", 1)
    card = run(LOOP)
    interrupts = signal.pidfd_send_signal

    def held_up(process, number):
        if number == signal.SIGINT:
            pid = card.mcu.link.pid
            os.kill(pid, signal.SIGSTOP)
            threading.Timer(1, os.kill, (pid, signal.SIGCONT)).start()
        interrupts(process, number)

    monkeypatch.setattr(signal, "pidfd_send_signal", held_up)
    with pytest.raises(FirmwareCrashError, match=r'File "main.py", line [56], in work'):
        card.power_on()


def test_one_that_cannot_be_interrupted_is_ended_as_well(run, monkeypatch):
    monkeypatch.setattr(link, "SILENCE_S", 0.3)
    card = run(STUBBORN)
    with pytest.raises(FirmwareCrashError, match="where it was is not known"):
        card.power_on()


@pytest.mark.parametrize("source", [LOOP, QUIET], ids=["plain", "without Ctrl-C"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_signal_ends_it_at_once(run, inside, source):
    card = run(source)
    begin = time.monotonic()
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    with mode(inside), pytest.raises(KeyboardInterrupt) as caught:
        timer.start()
        card.power_on()
    timer.join()
    assert time.monotonic() - begin < 20  # not after the 60 s of a loop
    assert any('File "main.py", line' in note for note in caught.value.__notes__)
    # Nothing is left of it: the next one runs.
    with mode(inside):
        other = run("print('hello')")
        other.power_on()
        assert other.console == "hello\n"


def test_a_firmware_without_ctrl_c_leaves_that_of_the_process(run):
    """What ships says so at its start, and a campaign or a pytest was killed without a word."""
    with resident.enabled():
        card = run("import micropython\nmicropython.kbd_intr(-1)\n")
        card.power_on()
        card.run_for(10)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)


@pytest.mark.parametrize("byte", ["None", "'c'", "1.5"])
def test_what_is_no_byte_is_refused_as_on_the_board(run, byte):
    card = run(
        "import micropython\n"
        f"try:\n    micropython.kbd_intr({byte})\nexcept TypeError:\n    print('refused')\n"
    )
    card.power_on()
    assert card.console == "refused\n"
