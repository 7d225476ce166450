"""The card's first board in this interpreter: why it starts, how it sleeps, which wires it has."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest

from tests.firmware.boards.test_flash import Blocks, given, module  # noqa: F401 (a fixture)
from tests.firmware.boards.test_pico2 import Poll, Uart

SCRATCH = 0x4005800C
MARK = 0x1C0DE000
BUTTON, DOCK, CLEAN, EMPTY = 1, 2, 4, 8
HOUR = 3_600_000


class World:
    """What surrounds the chip: levels, and what they become after each sleep."""

    def __init__(self) -> None:
        self.levels = {15: 1, 14: 0}
        self.later: list[tuple[int, int]] = []  # (button's level, dock's)
        self.slept: list[int] = []
        self.edges: dict[int, Any] = {}
        self.resets = 0

    def lightsleep(self, ms: int) -> None:
        self.slept.append(ms)
        if self.later:
            self.levels[15], self.levels[14] = self.later.pop(0)

    def reset(self) -> None:
        self.resets += 1


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def board(
    given: dict[str, Any],  # noqa: F811
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    class WorldPin:
        IN, PULL_UP, PULL_DOWN, IRQ_RISING, IRQ_FALLING = "in", "up", "down", 1, 2

        def __init__(self, number: int, *how: str) -> None:
            self.number, self.wired = number, (number, *how)

        def value(self) -> int:
            return world.levels[self.number]

        def irq(self, handler: Any, trigger: int) -> None:
            world.edges[self.number] = (handler, trigger)

    class Adc:
        def __init__(self, pin: int) -> None:
            assert pin == 29  # VSYS, divided by three

        def read_u16(self) -> int:
            return 65_535

    def i2c(number: int, **wires: Any) -> tuple[Any, ...]:
        return number, {key: getattr(pin, "wired", pin) for key, pin in wires.items()}

    machine = module(
        Pin=WorldPin, ADC=Adc, I2C=i2c, UART=Uart, mem32={SCRATCH: 0},
        lightsleep=world.lightsleep, reset=world.reset,
    )  # fmt: skip
    others = {
        "machine": machine,
        "select": module(poll=Poll, POLLIN=1),
        "lib.ssd1306": module(Ssd1306=lambda bus, buffer: (bus, buffer)),
        "rp2": module(Flash=Blocks),
        "vfs": module(VfsLfs2=lambda *a, **k: (a, k)),
    }
    for name, made in others.items():
        monkeypatch.setitem(sys.modules, name, made)
    return importlib.import_module("boards.pico")


@pytest.mark.parametrize(
    ("left", "cause"),
    [
        (0, 0),  # power came
        (MARK | BUTTON | CLEAN, BUTTON | CLEAN),
        (MARK | DOCK | EMPTY | CLEAN, DOCK | EMPTY | CLEAN),
        (MARK | 15, 15),
        (MARK | BUTTON | 16, 0),  # what power-on left is anything
        (0x1C0DF001, 0),
        (5, 0),
    ],
)
def test_why_it_starts(board: Any, left: int, cause: int) -> None:
    board.machine.mem32[SCRATCH] = left
    assert board.start() == cause
    assert board.machine.mem32[SCRATCH] == 0
    assert board.start() == 0  # told once


def test_every_edge_ends_a_light_sleep(board: Any, world: World) -> None:
    board.start()
    assert {pin: trigger for pin, (_, trigger) in world.edges.items()} == {15: 3, 14: 3}
    assert world.edges[15][0](None) is None


@pytest.mark.parametrize(
    ("now", "later", "why"),
    [
        ((1, 0), [(0, 0)], BUTTON),
        ((1, 0), [(1, 0), (1, 0), (0, 0)], BUTTON),  # woken by something else, it sleeps on
        ((1, 0), [(1, 1)], DOCK),
        ((1, 0), [(0, 1)], BUTTON),  # both: a press
        ((1, 1), [(1, 1), (0, 1)], BUTTON),  # in its dock already
        ((1, 1), [(1, 0), (1, 1)], DOCK),  # out of it, and in again
        ((0, 0), [(0, 0), (1, 0), (0, 0)], BUTTON),  # stuck down: its release is waited for first
        ((0, 0), [(1, 1), (1, 0), (1, 1)], DOCK),
        ((0, 0), [(1, 1), (1, 1), (0, 1)], BUTTON),  # docked while stuck: nobody comes
    ],
)
@pytest.mark.parametrize("flags", [0, CLEAN, CLEAN | EMPTY])
def test_it_sleeps_until_a_press_or_its_dock(
    board: Any,
    world: World,
    now: tuple[int, int],
    later: list[tuple[int, int]],
    why: int,
    flags: int,
) -> None:
    world.levels[15], world.levels[14] = now
    world.later = list(later)
    board.off(flags)
    assert world.slept == [HOUR] * len(later)
    assert (world.resets, world.later) == (1, [])
    assert board.start() == why | flags


def test_wires(board: Any, world: World) -> None:
    assert (board.NAME, board.HEAP) == ("pico", 73728)
    assert (board.COLD, board.BUTTON, board.DOCK, board.CLEAN, board.EMPTY) == (0, 1, 2, 4, 8)
    assert board._button.wired == (15, "in", "up")
    assert board._dock.wired == (14, "in", "down")
    assert (bool(board.button()), board.docked()) == (False, 0)
    world.levels = {15: 0, 14: 1}
    assert (bool(board.button()), board.docked()) == (True, 1)
    bus, frame = board.display()
    assert bus == (0, {"scl": (5,), "sda": (4,), "freq": 400_000})
    assert (frame is board._frame, len(frame)) == (True, 1025)
    assert board.cell_mv() == 9899  # 65,535 of 65,536 of 3.3 V, times three
    board.restart()
    assert world.resets == 1


def test_the_line_is_made_when_it_is_needed_and_again_after_a_sleep(
    board: Any, world: World
) -> None:
    line = board.serial()
    assert (line.how, line.wires) == ((0, 115_200), {"rxbuf": 512})
    assert board.serial() is line
    assert board._poller.watched == [line]
    world.levels[14] = 1
    for ms in (7, 19, 20, 5000):
        board.wait(ms)
    assert board._poller.waits == [7, 19, 20, 20]  # the button is looked at in between
    assert (board.serial() is line, world.slept) == (True, [])
    world.levels[14] = 0
    board.wait(5000)
    assert world.slept == [5000]
    world.levels[14] = 1
    board.wait(3)
    assert (board.serial() is line, board._poller.waits) == (False, [3])


def test_where_it_keeps_what_it_keeps(board: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert board.identity() == b"r" * 134
    assert board.storage.done == [("read", 335, 0, 134)]
    journal = board.journal()
    journal.read(0, bytearray(4))
    assert (journal.SECTORS, board.storage.done[-1]) == (16, ("read", 336, 0, 4))
    monkeypatch.setattr("os.urandom", lambda n: b"r" * n)
    assert board.random(5) == b"rrrrr"


def test_the_other_chip_as_a_card_keeps_its_mark_elsewhere(board: Any, world: World) -> None:
    """The same wires and flash; the register that survives a reset is another."""
    theirs = 0x400D800C
    card = importlib.import_module("boards.pico2_card")
    board.machine.mem32[theirs] = MARK | DOCK | CLEAN
    assert (card.NAME, card.start()) == ("pico2_card", DOCK | CLEAN)
    world.later = [(0, 0)]
    card.off(EMPTY)
    assert board.machine.mem32 == {SCRATCH: 0, theirs: MARK | BUTTON | EMPTY}
