"""The reader's board in this interpreter: which wires, which secrets, and what wakes it."""

from __future__ import annotations

import importlib
import io
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tests.firmware.boards.test_flash import Blocks, given, module  # noqa: F401 (a fixture)

ROWS = {0x40130008 + 4 * i: 0xF0000001 + i for i in range(4)}  # of the chip's own random number
BURNT = {0x40131A00 + 4 * i: -1 - i for i in range(8)}  # a word comes with its sign


class Pin:
    IN, OUT, PULL_UP, IRQ_FALLING, IRQ_RISING = "in", "out", "up", 1, 2

    def __init__(self, number: int, *how: Any) -> None:
        self.wired = (number, *how)
        self.level = 0
        self.edges: Any = None

    def value(self, *level: int) -> int | None:
        if level:
            (self.level,) = level
            return None
        return self.level

    def irq(self, handler: Any, trigger: int) -> None:
        self.edges = (handler, trigger)


class Uart:
    def __init__(self, *how: Any, **wires: Any) -> None:
        self.how = how
        self.wires = {key: getattr(pin, "wired", pin) for key, pin in wires.items()}


class Poll:
    def __init__(self) -> None:
        self.watched: list[Any] = []
        self.waits: list[int] = []

    def register(self, what: Any, events: int) -> None:
        assert events == 1
        self.watched.append(what)

    def poll(self, ms: int) -> None:
        self.waits.append(ms)


class Hid:
    def __init__(self, device: Any) -> None:
        self.device, self.started, self.waiting = device, 0, False

    def start(self) -> None:
        self.started += 1

    def any(self) -> bool:
        return self.waiting


@pytest.fixture
def board(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: F811
    done: list[str] = []
    machine = module(
        Pin=Pin, UART=Uart, mem32={**ROWS, **BURNT}, PWRON_RESET=1, reset_cause=lambda: 1,
        reset=lambda: done.append("reset"), USBDevice=lambda: "usb", done=done,
    )  # fmt: skip
    others = {
        "machine": machine,
        "select": module(poll=Poll, POLLIN=1),
        "lib.usbhid": module(UsbHid=Hid),
        "rp2": module(Flash=Blocks),
        "vfs": module(VfsLfs2=lambda *a, **k: (a, k)),
    }
    for name, made in others.items():
        monkeypatch.setitem(sys.modules, name, made)
    return importlib.import_module("boards.pico2")


def test_a_start_from_power_is_told_from_one_of_the_firmware(board: Any) -> None:
    assert board.cold() is True
    board.machine.reset_cause = lambda: 3
    assert board.cold() is False
    board.restart()
    assert board.machine.done == ["reset"]


def test_the_chips_keys_are_read_where_they_are_burnt(board: Any) -> None:
    assert board.root() == b"".join(word.to_bytes(4, "little") for word in ROWS.values())
    assert board.attestation_key() == b"".join(
        (word & 0xFFFFFFFF).to_bytes(4, "little") for word in BURNT.values()
    )
    assert (len(board.root()), len(board.attestation_key())) == (16, 32)


def test_random_bytes_are_the_chips(board: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.urandom", lambda n: b"r" * n)
    assert board.random(5) == b"rrrrr"


def test_wires(board: Any) -> None:
    assert board.NAME == "pico2"
    assert board._touch.wired == (6, "in", "up")
    assert board._led.wired == (25, "out")
    for level in (True, False):
        board.led(level)
        assert board._led.level is level
    assert board.touched() is True  # low while a finger lies on it
    board._touch.level = 1
    assert board.touched() is False


def test_the_sensors_line_is_started_once(board: Any) -> None:
    line = board.sensor_uart()
    assert line.how == (1, 57600)
    assert line.wires == {"tx": (4,), "rx": (5,), "rxbuf": 128}
    assert board.sensor_uart() is line
    assert board._touch.edges == (board._edge, Pin.IRQ_FALLING | Pin.IRQ_RISING)


def test_a_byte_a_report_and_a_finger_each_end_a_wait(board: Any) -> None:
    hid = board.hid()
    assert (hid.device, hid.started) == ("usb", 1)
    assert board._poller.watched == [board._wake]
    line = board.sensor_uart()
    assert board._poller.watched == [board._wake, line]
    board.hid()  # whichever is started last
    assert board._poller.watched == [board._wake, line]

    wake = board._wake
    assert isinstance(wake, io.IOBase)
    ready = lambda: (wake.ioctl(3, 1), wake.ioctl(3, 4))  # noqa: E731
    assert ready() == (0, 0)
    board._touch.edges[0](board._touch)
    assert ready() == (1, 0)  # to be read, never to be written
    board.wait(250)
    assert board._poller.waits == [250]
    assert ready() == (0, 0)
    board._hid.waiting = True
    assert ready() == (1, 0)
    assert [wake.ioctl(request, 1) for request in (1, 2, 4)] == [-1] * 3


def test_nothing_waits_before_usb_is_started(board: Any) -> None:
    assert board._wake.ioctl(3, 1) == 0


def test_the_factorys_segment_and_the_records_lie_apart(board: Any) -> None:
    part = board.identity(40, 17)
    assert part == b"r" * 17
    assert board.storage.done == [("read", 640, 40, 17)]
    records = board.records()
    records.read(0, bytearray(8))
    assert (records.SECTORS, board.storage.done[-1]) == (64, ("read", 641, 0, 8))


def test_what_is_burnt_once_is_the_chips(board: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "boards.once", rows)
    monkeypatch.setattr(sys.modules["boards"], "once", rows, raising=False)
    assert board.once() is rows


def test_the_boot_roms_functions_are_called_by_a_number(given: dict[str, Any]) -> None:  # noqa: F811
    """BLX r3: that assembler has no word for it."""
    rom = importlib.import_module("boards.rom")
    written: list[tuple[int, int]] = []
    rom.data = lambda size, code: written.append((size, code))
    rom.call(0, 0, 0, 0)
    assert written == [(2, 0x4798)]
