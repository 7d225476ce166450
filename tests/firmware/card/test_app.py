"""From wake to sleep in this interpreter: what each start is for, what it shows, and what it leaves
to the next one."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

COLD, BUTTON, DOCK, CLEAN, EMPTY = 0, 1, 2, 4, 8  # of every board


@pytest.fixture
def life(load: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A card that starts. docked: how often it still says that it is."""
    done: list[Any] = []
    found = SimpleNamespace(
        done=done, cause=0, docked=0, present=True, mv=3000, fails=None, after=0, again=False,
        loaded=[],
    )  # fmt: skip
    board, booted = load("board"), load("booted")

    def docked() -> bool:
        return bool(found.docked)

    def store(flash: Any, identity: Any, cold: bool) -> Any:
        done.append(("store", flash, cold))
        found.loaded.append("store")
        if found.fails:
            raise getattr(load("lib.journal"), found.fails, None) or getattr(
                __import__("builtins"), found.fails
            )
        return SimpleNamespace(identity=identity)

    def serve(store: Any, identity: Any) -> bool:
        done.append("serve")
        assert store.identity is identity
        found.docked -= 1
        return bool(found.again)

    def answer(store: Any, identity: Any) -> int:
        done.append("answer")
        assert store.identity is identity
        return int(found.after)

    def off(flags: int) -> None:
        done.append(("off", flags))

    given: dict[str, Any] = {
        "COLD": COLD, "BUTTON": BUTTON, "DOCK": DOCK, "CLEAN": CLEAN, "EMPTY": EMPTY,
        "start": lambda: found.cause, "off": off, "docked": docked,
        "identity": lambda: b"segment", "journal": lambda: "journal",
        "cell_mv": lambda: found.mv, "restart": lambda: done.append("restart"),
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setattr(board, name, value, raising=False)
    monkeypatch.setattr(booted, "button", True, raising=False)
    glass, undocked, line = (ModuleType(f"card.{n}") for n in ("glass", "undocked", "docked"))
    glass.blank = lambda: done.append("blank")  # type: ignore[attr-defined]
    glass.notice = lambda *said: done.append(said)  # type: ignore[attr-defined]
    undocked.answer, line.serve = answer, serve  # type: ignore[attr-defined]
    modules = {module.__name__: module for module in (glass, undocked, line)}

    def part(name: str) -> ModuleType:
        """What `from card import …` comes to."""
        if f"card.{name}" not in modules:
            raise AttributeError(name)
        if name not in found.loaded:
            found.loaded.append(name)
        return modules[f"card.{name}"]

    package = load("card")
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.delattr(package, name.partition(".")[2], raising=False)
    monkeypatch.setattr(package, "__getattr__", part, raising=False)
    monkeypatch.setattr(load("card.store"), "Store", store)
    monkeypatch.setattr(
        load("card.identity"), "Identity",
        lambda segment: SimpleNamespace(present=found.present and segment == b"segment"),
    )  # fmt: skip
    micropython, gc = sys.modules["micropython"], sys.modules["gc"]
    settings = found.settings = []
    monkeypatch.setattr(
        micropython, "kbd_intr", lambda n: settings.append(("interrupt", n)), raising=False
    )
    monkeypatch.setattr(gc, "collect", lambda: 0)
    monkeypatch.setattr(gc, "threshold", lambda n: settings.append(("threshold", n)), raising=False)
    monkeypatch.delitem(sys.modules, "card.app", raising=False)

    def run(cause: int, **changes: Any) -> list[Any]:
        vars(found).update(changes, cause=cause)
        done.clear()
        load("card.app").run()
        return done

    found.run = run
    return found


def test_a_byte_on_the_line_stops_nothing(life: Any) -> None:
    life.run(0)
    assert life.settings[-1] == ("interrupt", -1)
    assert [name for name, _ in life.settings] == ["threshold", "interrupt"]


@pytest.mark.parametrize("flags", [0, CLEAN, EMPTY, CLEAN | EMPTY])
def test_a_knock_leaves_everything_as_it_was(
    life: Any, load: Any, monkeypatch: pytest.MonkeyPatch, flags: int
) -> None:
    monkeypatch.setattr(load("booted"), "button", False)
    assert life.run(BUTTON | flags) == [("off", flags)]


@pytest.mark.parametrize(
    ("cause", "cold"), [(BUTTON, True), (BUTTON | CLEAN, False), (BUTTON | CLEAN | EMPTY, False)]
)
def test_a_press_is_answered(life: Any, cause: int, cold: bool) -> None:
    assert life.run(cause) == [("store", "journal", cold), "answer", ("off", CLEAN)]


def test_an_exhausted_cell_is_left_to_the_next_start(life: Any) -> None:
    assert life.run(BUTTON | CLEAN, after=2)[-1] == ("off", CLEAN | EMPTY)
    assert life.run(BUTTON | CLEAN, after=1)[-1] == ("off", CLEAN)


@pytest.mark.parametrize(("cause", "blank"), [(COLD, True), (DOCK, False), (COLD | CLEAN, False)])
def test_what_a_panel_shows_after_power_on_is_taken_away(
    life: Any, cause: int, blank: bool
) -> None:
    done = life.run(cause)
    assert ("blank" in done) == blank
    assert "answer" not in done
    assert done[-1] == ("off", CLEAN)


@pytest.mark.parametrize("cause", [BUTTON, DOCK, COLD | EMPTY])
def test_a_card_that_was_never_at_the_factory_says_so(life: Any, cause: int) -> None:
    assert life.run(cause, present=False) == [("NO ID", "factory data missing"), ("off", 0)]


@pytest.mark.parametrize(
    ("flags", "mv", "empty"),
    [(0, 2299, True), (0, 2300, False), (CLEAN, 2299, True), (EMPTY, 2449, True),
     (EMPTY, 2450, False), (EMPTY | CLEAN, 2449, True)],
)  # fmt: skip
def test_an_exhausted_cell_is_not_asked_to_write(
    life: Any, flags: int, mv: int, empty: bool
) -> None:
    done = life.run(BUTTON | flags, mv=mv)
    if empty:
        assert done == [("CELL EMPTY", "replace card"), ("off", flags | EMPTY)]
    else:
        assert done[0] == ("store", "journal", not flags & CLEAN)


def test_a_station_powers_a_card_whose_cell_is_empty(life: Any) -> None:
    assert life.run(DOCK | CLEAN, mv=2000, docked=1) == [
        ("store", "journal", False), "serve", ("off", CLEAN),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ("StrangeError", ("TOO OLD", "for its data: return card")),
        ("DamagedError", ("DAMAGED", "return card")),
        ("OSError", ("WORN OUT", "replace card")),
    ],
)
@pytest.mark.parametrize("cause", [BUTTON | CLEAN, DOCK])
def test_a_state_that_cannot_be_read_is_said_and_the_next_start_is_cold(
    life: Any, fails: str, said: Any, cause: int
) -> None:
    assert life.run(cause, fails=fails)[1:] == [said, ("off", 0)]


def test_a_press_on_the_dock_is_the_docks(life: Any) -> None:
    assert life.run(BUTTON | CLEAN, docked=1)[1:] == ["serve", ("off", CLEAN)]


def test_a_start_that_was_no_press_needs_none(
    life: Any, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load("booted"), "button", False)
    assert life.run(DOCK, docked=1)[1:] == ["serve", ("off", CLEAN)]


@pytest.mark.parametrize(
    ("cause", "docked", "before"),
    [(BUTTON, 0, ["undocked"]), (DOCK, 1, ["docked"]), (BUTTON, 1, ["docked"]), (COLD, 0, [])],
)
def test_what_a_start_needs_and_no_more_is_loaded_before_the_state_is_read(
    life: Any, cause: int, docked: int, before: list[str]
) -> None:
    life.run(cause, docked=docked)
    assert life.loaded[: life.loaded.index("store")] == before


def test_the_dock_is_served_as_long_as_the_card_is_on_it(life: Any) -> None:
    assert life.run(DOCK, docked=3)[1:] == ["serve"] * 3 + [("off", CLEAN)]


def test_it_starts_again_when_it_is_to(life: Any) -> None:
    assert life.run(DOCK, docked=1, again=True)[1:] == ["serve", "restart", ("off", CLEAN)]


def test_a_card_that_is_docked_while_it_shows_a_code_is_served(
    life: Any, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(*_: object) -> int:
        life.docked = 1
        return 0

    monkeypatch.setattr(sys.modules["card.undocked"], "answer", answer)
    assert life.run(BUTTON)[1:] == ["serve", ("off", CLEAN)]
