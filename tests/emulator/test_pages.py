"""MicroPython's heap lies above all that a chip has, also where this Python's own does not."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

from tallystick.common.identity import Identity
from tallystick.emulator.devices.card import Card
from tallystick.emulator.interpreter import resident
from tallystick.emulator.interpreter.pages import pages_of_its_own
from tallystick.tools import fresh

HIGH = 0x7F00_0000_0000


class _Call:
    """A function of a C library that notes what it is given."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.given = list(answers), []

    def __call__(self, *given: Any) -> Any:
        self.given.append(given)
        return self.answers.pop(0) if self.answers else None


def test_what_would_be_given_of_pythons_heap_is_held_meanwhile() -> None:
    malloc, free, mallopt = _Call(0x1000_0000, 0x2000_0000, HIGH), _Call(), _Call()
    c = SimpleNamespace(malloc=malloc, free=free, mallopt=mallopt)
    with pytest.raises(ZeroDivisionError), pages_of_its_own(c, 155648):  # type: ignore[arg-type]
        assert malloc.given == [(155648,)] * 3 and free.given == [(HIGH,)]
        within = dict(mallopt.given)
        1 / 0  # noqa: B018
    assert free.given == [(HIGH,), (0x1000_0000,), (0x2000_0000,)]
    after = dict(mallopt.given)
    assert set(within) == {-2, -3}  # M_TOP_PAD, M_MMAP_THRESHOLD
    assert all(after[setting] > value for setting, value in within.items())


def test_where_there_is_no_memory_it_is_not_asked_for_again() -> None:
    malloc, free = _Call(0x1000_0000, None), _Call()
    c = SimpleNamespace(malloc=malloc, free=free, mallopt=_Call())
    with pages_of_its_own(c, 155648):  # type: ignore[arg-type]
        assert len(malloc.given) == 2
    assert free.given == [(None,), (0x1000_0000,)]


@pytest.mark.parametrize("board", ["nucleo_l476rg", "pico"])
def test_a_heap_is_not_among_the_chips_addresses(
    monkeypatch: pytest.MonkeyPatch, board: str
) -> None:
    made: list[resident.Interpreter] = []
    genuine = resident.Interpreter.__init__

    def init(interpreter: resident.Interpreter, *given: Any) -> None:
        genuine(interpreter, *given)
        made.append(interpreter)

    monkeypatch.setattr(resident.Interpreter, "__init__", init)
    resident._idle.clear()
    ctypes.create_string_buffer(20 << 20)  # given back: from now on `malloc` keeps as much
    identity = Identity.derive("TS00000001", 20260101).encode()
    with resident.enabled(), Card(fresh.image(board), identity=identity, seed=1) as card:
        card.power_on()
    assert [interpreter._heap[0] >> 32 > 0 for interpreter in made] == [True]
