"""An update in this interpreter: who may begin one, what is asked before flash is touched, and what
a card goes on with."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

INSTALL, LOAD = 0xE6, 0xE8
BEGIN, SWITCH, CONFIRM = 0x02, 0x0C, 0x40
LENGTH, SECURITY, CONDITIONS, DATA, P1P2, UNSIGNED = (
    0x6700, 0x6982, 0x6985, 0x6A80, 0x6A86, 0x6300)  # fmt: skip
SIGNED = b"header and signature"
Ask = Callable[..., bytes | int]


class Image:
    """What `lib.loading` makes of a header."""

    def __init__(self, board: Any, signed: bytes) -> None:
        self.board, self.signed, self.next = board, signed, 0
        self.good = True
        self.taken: list[tuple[int, bytes]] = []

    def take(self, offset: int, data: memoryview) -> bool:
        self.taken.append((offset, bytes(data)))
        return self.good

    def switch(self) -> bool:
        self.board.done.append("switch")
        return self.good


@pytest.fixture
def update(load: Any, ask: Ask, held: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`ask` for this module. fault, trusted, confirmed, settled: what the library finds."""
    module, board, done = load("card.update"), load("board"), held.done
    found = SimpleNamespace(fault=0, trusted=True, confirmed=True, settled=True)

    def fault(*given: Any) -> int:
        done.append(("fault", *given[1:]))
        assert given[0] is board
        return int(found.fault)

    def trusted(signed: bytes) -> bool:
        done.append("trusted")
        assert signed == SIGNED
        return bool(found.trusted)

    monkeypatch.setattr(board, "done", done, raising=False)
    monkeypatch.setattr(module.update, "fault", fault)
    monkeypatch.setattr(module.update, "trusted", trusted)
    monkeypatch.setattr(module.update, "confirm", lambda one: one is board and found.confirmed)
    monkeypatch.setattr(module, "settled", lambda one: one is board and found.settled)
    monkeypatch.setattr(load("lib.loading"), "Loading", Image)
    monkeypatch.setattr(load("lib.unload"), "unload", lambda *names: done.append(names))
    load("card.loading")
    monkeypatch.setattr(load("card.loading"), "Loading", Image)
    monkeypatch.setattr(load("card.loading"), "current", None)
    held.store.migrate = lambda: done.append("migrate")
    found.ask = lambda *given, **more: ask("card.update", *given, **more)
    return found


def loading() -> Any:
    return sys.modules["card.loading"].current  # type: ignore[attr-defined]


def begun(update: Any, held: Any) -> Any:
    assert update.ask(INSTALL, BEGIN, 0, SIGNED) == bytes(4)
    held.done.clear()
    return loading()


def test_a_new_image_is_looked_at_asked_for_and_only_then_begun(update: Any, held: Any) -> None:
    held.store.format = 3
    assert update.ask(INSTALL, BEGIN, 0, SIGNED) == b"\0\0\0\0"
    looked, press, extended, *unloaded, trusted = held.done
    assert looked == ("fault", SIGNED, 1, 3)
    assert (press, extended, trusted) == (("press", "for new firmware"), "extend", "trusted")
    assert {name for names in unloaded for name in names} == {
        *(f"card.{one}" for one in
          ("issuer", "oath", "screens", "digits", "loading", "selftest", "version")),
        *(f"lib.{one}" for one in
          ("hotp", "memory_lcd", "tlv", "hmac", "ssd1306", "loading")),
    }  # fmt: skip
    assert (loading().signed, loading().next) == (SIGNED, 0)


@pytest.mark.parametrize(("fault", "sw"), [(1, LENGTH), (2, DATA), (3, CONDITIONS)])
def test_an_image_with_a_fault_costs_no_press(update: Any, held: Any, fault: int, sw: int) -> None:
    update.fault = fault
    assert update.ask(INSTALL, BEGIN, 0, SIGNED) == sw
    assert held.done == [("fault", SIGNED, 1, 1)]
    assert loading() is None


def test_without_a_press_nothing_begins(update: Any, held: Any) -> None:
    held.terminal.presses = False
    assert update.ask(INSTALL, BEGIN, 0, SIGNED) == CONDITIONS
    assert held.done[1:] == [("press", "for new firmware")]
    assert loading() is None


def test_an_image_that_is_not_trusted_is_not_begun(update: Any, held: Any) -> None:
    update.trusted = False
    assert update.ask(INSTALL, BEGIN, 0, SIGNED) == UNSIGNED
    assert loading() is None


def test_the_same_image_goes_on_where_it_was_without_a_press(update: Any, held: Any) -> None:
    before = begun(update, held)
    before.next = 0x01020304
    assert update.ask(INSTALL, BEGIN, 0, SIGNED) == b"\1\2\3\4"
    assert held.done == []
    assert loading() is before


def test_another_image_ends_the_one_that_was_begun(update: Any, held: Any) -> None:
    begun(update, held)
    update.fault = 2
    assert update.ask(INSTALL, BEGIN, 0, b"another") == DATA
    assert loading() is None


def test_the_module_of_an_image_need_not_be_there(
    update: Any, held: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "card.loading")
    monkeypatch.delattr(sys.modules["card"], "loading")
    assert update.ask(INSTALL, BEGIN, 0, SIGNED) == bytes(4)
    assert loading().signed == SIGNED


@pytest.mark.parametrize("allowed", [(False, 1), (True, 0xFF)])
@pytest.mark.parametrize(
    ("ins", "p1", "p2"),
    [(INSTALL, BEGIN, 0), (INSTALL, BEGIN, 1), (LOAD, 0, 0), (INSTALL, CONFIRM, 0),
     (INSTALL, SWITCH, 0)],
)  # fmt: skip
def test_an_update_is_for_the_firm(
    update: Any, held: Any, ins: int, p1: int, p2: int, allowed: tuple[bool, int]
) -> None:
    held.secure, held.store.kvn = allowed
    assert update.ask(ins, p1, p2, SIGNED) == SECURITY
    assert held.done == []


@pytest.mark.parametrize(
    ("ins", "p1", "p2"),
    [(INSTALL, BEGIN, 1), (LOAD, 0, 1), (INSTALL, CONFIRM, 2), (INSTALL, SWITCH, 1),
     (INSTALL, 0x00, 0), (INSTALL, 0x0D, 0)],
)  # fmt: skip
def test_there_is_no_other_step(update: Any, held: Any, ins: int, p1: int, p2: int) -> None:
    begun(update, held)
    assert update.ask(ins, p1, p2, SIGNED) == P1P2
    assert held.done == []


def test_what_runs_is_told_by_the_library(
    load: Any, update: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = load("card.update")
    monkeypatch.setattr(module.update, "running", lambda board: (b"running", board))
    assert module.running() == (b"running", load("board"))


# -- its parts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 256])
@pytest.mark.parametrize("p1", [0, BEGIN, CONFIRM, SWITCH])  # of INSTALL alone
def test_a_part_goes_where_it_says(update: Any, held: Any, size: int, p1: int) -> None:
    image = begun(update, held)
    assert update.ask(LOAD, p1, 0, b"\1\2\3\4" + b"x" * size) == b""
    assert image.taken == [(0x01020304, b"x" * size)]


@pytest.mark.parametrize("size", [0, 3, 4, 261])
def test_a_part_of_another_size_goes_nowhere(update: Any, held: Any, size: int) -> None:
    image = begun(update, held)
    assert update.ask(LOAD, 0, 0, bytes(size)) == LENGTH
    assert image.taken == []


def test_a_part_that_is_out_of_place_is_refused(update: Any, held: Any) -> None:
    begun(update, held).good = False
    assert update.ask(LOAD, 0, 0, bytes(8)) == DATA


@pytest.mark.parametrize(("ins", "p1"), [(LOAD, 0), (INSTALL, SWITCH)])
def test_no_image_was_begun(update: Any, held: Any, ins: int, p1: int) -> None:
    for data in (bytes(8), b""):
        assert update.ask(ins, p1, 0, data) == CONDITIONS
    assert held.done == []


def test_a_whole_image_runs_from_the_next_start(update: Any, held: Any) -> None:
    begun(update, held)
    assert update.ask(INSTALL, SWITCH) == b""
    assert held.done == ["extend", "switch", "restart"]
    assert loading() is None


def test_an_image_that_is_not_what_was_signed_never_runs(update: Any, held: Any) -> None:
    begun(update, held).good = False
    assert update.ask(INSTALL, SWITCH) == DATA
    assert held.done == ["extend", "switch"]
    assert loading() is None  # it has to come anew


def test_a_critical_cell_switches_nothing_and_keeps_what_came(update: Any, held: Any) -> None:
    image = begun(update, held)
    held.terminal.cell_state = 2
    assert update.ask(INSTALL, SWITCH) == CONDITIONS
    assert held.done == []
    assert loading() is image


@pytest.mark.parametrize(
    ("confirmed", "settled", "answer", "done"),
    [(True, True, b"", ["migrate"]), (True, False, b"", []), (False, True, CONDITIONS, [])],
)
def test_an_image_on_trial_is_confirmed_before_the_state_is_made_newer(
    update: Any, held: Any, confirmed: bool, settled: bool, answer: Any, done: Any
) -> None:
    update.confirmed, update.settled = confirmed, settled
    assert update.ask(INSTALL, CONFIRM) == answer
    assert held.done == done
