"""What stands on the glass, for how long, and what a press costs, in this interpreter and with a
clock that waits alone move."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tests.firmware.card.conftest import PERIOD

NONE, PRESS, HOLD, STUCK = range(4)
NORMAL, LOW, CRITICAL = range(3)
START = PERIOD - 900  # ticks begin anew soon
IDENTITY = SimpleNamespace(serial=b"TS00000001", qr=b"qr")


class Board:
    """docks: when the card comes into its dock, or leaves it. events: what the button does."""

    NAME = "pipes"

    def __init__(self, done: list[Any]) -> None:
        self.done, self.now, self.looks = done, 0, 0
        self.docks: list[int] = []
        self.events: list[tuple[int, int]] = []
        self.mv = 3000
        self.drawing = 0  # ms that an inversion takes

    def ticks_ms(self) -> int:
        self.looks += 1
        assert self.looks < 5000, "it does not end"
        return (START + self.now) % PERIOD

    def docked(self) -> int:
        self.ticks_ms()
        return sum(at <= self.now for at in self.docks) & 1

    def wait(self, ms: int) -> None:
        assert ms > 0
        self.now = min([self.now + ms, *(at for at in self.docks if at > self.now)])

    def sleep_ms(self, ms: int) -> None:
        assert ms > 0
        self.now += ms

    def cell_mv(self) -> int:
        return self.mv

    def display(self) -> Any:
        self.done.append("display")
        return self

    # the display

    def vcom(self, alone: bool = True) -> None:
        self.done.append((self.now, "vcom", alone))
        self.now += self.drawing

    def clear(self) -> None:
        self.done.append((self.now, "clear"))

    def off(self) -> None:
        self.done.append((self.now, "off"))


class Button:
    """Tells the events of its board."""

    def __init__(self, board: Any, down: bool = False) -> None:
        self.board = board
        board.world.down = down

    def wait(self, ms: int) -> int:
        world = self.board.world
        assert ms > 0
        until = world.now + ms
        if world.events and world.events[0][0] <= until:
            world.now, event = world.events.pop(0)
            return int(event)
        world.now = until
        return NONE


@pytest.fixture
def world(load: Any, held: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    found = Board(held.done)
    board = load("board")
    for name in ("NAME", "ticks_ms", "docked", "wait", "sleep_ms", "cell_mv", "display"):
        monkeypatch.setattr(board, name, getattr(found, name), raising=False)
    monkeypatch.setattr(board, "world", found, raising=False)
    monkeypatch.setattr(load("card.button"), "Button", Button)
    screens = load("card.screens")

    def draws(name: str) -> Callable[..., None]:
        def drawn(display: Any, *given: Any) -> None:
            assert display is found
            found.done.append((found.now, name, *given))

        return drawn

    for name in ("message", "code", "bar", "info"):
        monkeypatch.setattr(screens, name, draws(name))
    found.store = held.store
    held.store.cell_state = NORMAL
    return found


def pictures(world: Any) -> list[Any]:
    """What happened, without the inversions."""
    return [one for one in world.done if not isinstance(one, tuple) or one[1] != "vcom"]


def inversions(world: Any) -> list[Any]:
    return [(one[0], one[2]) for one in world.done if isinstance(one, tuple) and one[1] == "vcom"]


# -- a picture that is kept ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ms", "drawing", "at"),
    [(3000, 0, [1000, 2000, 3000]), (2500, 0, [500, 1500, 2500]),
     (3000, 30, [1000, 2000, 3000]), (400, 0, [400]), (0, 0, []), (-5, 0, [])],
)  # fmt: skip
def test_a_picture_is_inverted_every_second(
    load: Any, world: Any, ms: int, drawing: int, at: list[int]
) -> None:
    world.drawing = drawing
    assert load("card.glass").keep(world, ms) == 0
    assert inversions(world) == [(one, True) for one in at]
    assert world.now == (at[-1] + drawing if at else 0)


def test_every_third_time_something_is_drawn_with_the_inversion(load: Any, world: Any) -> None:
    left: list[int] = []

    def draw(ms: int) -> None:
        assert world.done[-1] == (world.now, "vcom", False)  # what is drawn takes it along
        left.append(ms)

    assert load("card.glass").keep(world, 7000, None, draw) == 0
    assert inversions(world) == [(n * 1000, n % 3 != 0) for n in range(1, 8)]
    assert left == [4000, 1000]


def test_a_dock_ends_it(load: Any, world: Any) -> None:
    world.docks = [1500]
    assert load("card.glass").keep(world, 9000) == 0
    assert world.now == 1500


def test_where_nobody_listens_it_stays_until_its_time_or_its_dock_is_over(
    load: Any, world: Any
) -> None:
    world.docks = [0, 2500]
    assert load("card.glass").keep(world, 9000, docked=1) == 0
    assert world.now == 3000
    world.now, world.docks = 0, [0]
    load("card.glass").keep(world, 4000, docked=1)
    assert world.now == 4000


def test_a_finger_ends_it_and_is_told(load: Any, world: Any) -> None:
    button = Button(load("board"))
    world.events = [(1700, PRESS)]
    assert load("card.glass").keep(world, 9000, button) == PRESS
    assert (world.now, inversions(world)) == (1700, [(1000, True)])
    assert load("card.glass").keep(world, 2000, button) == NONE
    assert world.now == 3700


@pytest.mark.parametrize("docks", [[], [0]])
def test_a_notice_stays_four_seconds_and_leaves_a_dark_display(
    load: Any, world: Any, docks: list[int]
) -> None:
    world.docks = docks
    load("card.glass").notice("TITLE", "line")
    assert pictures(world) == ["display", (0, "message", "TITLE", "line"), (4000, "off")]


def test_a_notice_that_cannot_be_drawn_leaves_a_dark_display(
    load: Any, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load("card.screens"), "message", None)
    with pytest.raises(TypeError):
        load("card.glass").notice("TITLE")
    assert pictures(world) == ["display", (0, "off")]


def test_blank(load: Any, world: Any) -> None:
    load("card.glass").blank()
    assert world.done == ["display", (0, "off")]


# -- a press in somebody's hand --------------------------------------------------------------------


def answer(load: Any, world: Any) -> int:
    found = load("card.undocked").answer(world.store, IDENTITY)
    assert world.down is True
    assert isinstance(found, int)
    return found


@pytest.fixture
def takes(world: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The store gives a code, and notes the cell's state with it."""

    def take(cell_state: int) -> str:
        world.done.append(("taken", cell_state))
        return "755224"

    monkeypatch.setattr(world.store, "take_code", take)
    return take


@pytest.mark.parametrize(("at", "shown"), [(1999, True), (2000, True), (2001, False)])
def test_a_knock_shows_nothing(load: Any, world: Any, takes: Any, at: int, shown: bool) -> None:
    world.events = [(at, PRESS)]
    world.store.cell_state = LOW
    assert answer(load, world) == (NORMAL if shown else LOW)
    assert bool(world.done) == shown


@pytest.mark.parametrize(("mv", "state", "ms"), [(3000, NORMAL, 30_000), (2500, LOW, 10_000)])
def test_a_press_shows_a_code_for_its_time(
    load: Any, world: Any, takes: Any, mv: int, state: int, ms: int
) -> None:
    world.mv = mv
    world.events = [(100, PRESS)]
    assert answer(load, world) == state
    # The bar is what is left in hundredths, rounded.
    bars = [(100 + t, "bar", round(100 * (ms - t) / ms + 1e-9)) for t in range(3000, ms + 1, 3000)]
    end = 100 + ms
    assert pictures(world) == [
        "display", ("taken", state), (100, "code", "755224", state, 100), *bars, (end, "clear"),
        (end, "off"),
    ]  # fmt: skip


def test_the_bar_is_rounded(load: Any, world: Any, takes: Any) -> None:
    world.events, world.drawing = [(100, PRESS)], 120
    answer(load, world)
    assert (3220, "bar", 90) in world.done  # of 89.6


def test_presses_meanwhile_change_nothing_and_a_stuck_button_ends_it(
    load: Any, world: Any, takes: Any
) -> None:
    world.events = [(100, PRESS), (700, PRESS), (1000, HOLD), (12_000, STUCK)]
    assert answer(load, world) == NORMAL
    assert world.done.count(("taken", NORMAL)) == 1
    assert pictures(world)[-2:] == [(12_000, "clear"), (12_000, "off")]


def test_a_late_event_does_not_lengthen_it(load: Any, world: Any, takes: Any) -> None:
    world.events = [(100, PRESS), (30_099, PRESS)]
    answer(load, world)
    assert world.now == 30_100


def test_a_dock_ends_a_code(load: Any, world: Any, takes: Any) -> None:
    world.events, world.docks = [(100, PRESS)], [5000]
    answer(load, world)
    assert 5000 <= world.now <= 6000


@pytest.mark.parametrize(
    ("mv", "seed", "fails", "message", "state"),
    [
        (2000, b"s", False, ("CELL EMPTY", "replace card"), CRITICAL),
        (2000, b"", False, ("CELL EMPTY", "replace card"), CRITICAL),
        (3000, b"", False, ("NO KEY", "not in service"), NORMAL),
        (3000, b"s", True, ("WORN OUT", "replace card"), NORMAL),
    ],
)
def test_why_there_is_no_code(
    load: Any, world: Any, monkeypatch: pytest.MonkeyPatch, mv: int, seed: bytes, fails: bool,
    message: tuple[str, str], state: int,
) -> None:  # fmt: skip
    def take(cell_state: int) -> str:
        assert fails
        raise OSError

    monkeypatch.setattr(world.store, "take_code", take)
    world.mv, world.store.seed, world.events = mv, seed, [(100, PRESS)]
    assert answer(load, world) == state
    assert pictures(world) == [
        "display", (100, "message", *message), (4100, "clear"), (4100, "off"),
    ]  # fmt: skip


@pytest.mark.parametrize(("released", "end"), [([], 21_500), ([(9000, PRESS)], 9000)])
def test_a_long_press_shows_who_the_card_is(load: Any, world: Any, released: Any, end: int) -> None:
    world.events = [(1500, HOLD), *released]
    world.store.cell_state, world.mv = LOW, 2600
    assert answer(load, world) == LOW
    info = (1500, "info", "TS00000001", "0.1.0", "pipes", 2600, LOW, b"qr")
    assert pictures(world) == ["display", info, (end, "clear"), (end, "off")]


def test_hysteresis_is_of_the_state_that_was_kept(load: Any, world: Any, takes: Any) -> None:
    world.events, world.mv, world.store.cell_state = [(100, PRESS)], 2600, LOW
    assert answer(load, world) == LOW
    assert ("taken", LOW) in world.done


def test_whatever_happens_the_display_is_left_dark(
    load: Any, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.events = [(100, PRESS)]
    monkeypatch.setattr(world.store, "take_code", None)
    with pytest.raises(TypeError):
        answer(load, world)
    assert pictures(world) == ["display", (100, "clear"), (100, "off")]


# -- on the dock -----------------------------------------------------------------------------------


@pytest.fixture
def dock(load: Any, world: Any, takes: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    world.left = []
    monkeypatch.setattr(load("card.docked"), "unload", lambda *names: world.left.extend(names))
    monkeypatch.setattr(world.store, "take_code", lambda: takes(world.store.cell_state))
    return load("card.docked")._Dock(world.store)


COMMANDS = {"card.issuer", "card.oath", "card.selftest", "card.version", "lib.tlv"}
PICTURES = {"card.screens", "card.digits", "lib.memory_lcd", "lib.ssd1306", "lib.hotp", "lib.hmac"}


def test_a_press_on_the_dock_shows_one_code_until_it_is_dark(dock: Any, world: Any) -> None:
    dock.press()
    assert set(world.left) == COMMANDS
    dock.press()
    shown = [("taken", NORMAL), "display", (0, "code", "755224", NORMAL, 100)]
    assert world.done == shown
    world.left.clear()
    dock.dark()
    assert set(world.left) == PICTURES
    assert world.done[3:] == [(0, "clear"), (0, "off")]
    dock.dark()  # nothing is up any more
    assert world.done[5:] == []
    dock.press()
    assert world.done[5:] == shown


@pytest.mark.parametrize(
    ("mv", "seed", "kept", "message"),
    [
        (2000, b"s", NORMAL, ("CELL EMPTY", "replace card")),
        (2400, b"s", CRITICAL, ("CELL EMPTY", "replace card")),
        (2000, b"", NORMAL, ("NO KEY", "not in service")),
        (3000, b"", NORMAL, ("NO KEY", "not in service")),
        (3000, b"s", NORMAL, ("WORN OUT", "replace card")),
    ],
)
def test_why_there_is_no_code_on_the_dock(
    dock: Any, world: Any, monkeypatch: pytest.MonkeyPatch, mv: int, seed: bytes, kept: int,
    message: tuple[str, str],
) -> None:  # fmt: skip
    def take() -> str:
        assert message[0] == "WORN OUT"
        raise OSError

    monkeypatch.setattr(world.store, "take_code", take)
    world.mv, world.store.seed, world.store.cell_state = mv, seed, kept
    dock.press()
    dock.press()
    assert world.done == ["display", *[(0, "message", *message)] * 2]


def test_what_a_command_waits_for_is_said_as_long_as_it_waits(dock: Any, world: Any) -> None:
    dock.wait("for a code")
    assert set(world.left) == COMMANDS
    dock.wait("")
    assert world.done == [
        "display", (0, "message", "PRESS", "for a code"), (0, "clear"), (0, "off"),
    ]  # fmt: skip


def test_a_picture_on_the_dock_is_inverted_and_ends_after_thirty_seconds(
    dock: Any, world: Any
) -> None:
    assert dock.idle() == 0
    world.now = 5000
    dock.press()
    asked = []
    while wait := dock.idle():
        asked.append(wait)
        world.now += wait
    assert asked == [900] * 33 + [300]
    assert inversions(world) == [(5000 + n * 900, True) for n in range(1, 34)]
    assert world.done[-2:] == [(35_000, "clear"), (35_000, "off")]
    assert dock.idle() == 0


def test_a_new_picture_has_its_whole_time(dock: Any, world: Any) -> None:
    dock.wait("for a code")
    world.now = 20_000
    dock.wait("for new keys")
    assert dock.idle() == 900
    world.now = 49_999
    assert dock.idle() == 1
    assert world.done.count("display") == 1
    world.now = 50_000
    assert dock.idle() == 0


def test_it_is_not_inverted_before_its_time(dock: Any, world: Any) -> None:
    dock.press()
    world.now = 899
    assert dock.idle() == 900
    assert inversions(world) == []
    world.now = 900
    for _ in range(2):
        assert dock.idle() == 900
    assert inversions(world) == [(900, True)]
    world.now = 30_000
    assert dock.idle() == 0
    assert inversions(world) == [(900, True)]


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("fails", [None, OSError, "DamagedError"])
def test_serving_makes_an_older_state_newer_once_and_leaves_all_dark(
    load: Any, dock: Any, world: Any, monkeypatch: pytest.MonkeyPatch, older: bool, fails: Any
) -> None:
    done: list[Any] = []

    def migrate(store: Any) -> None:
        done.append(store)
        if fails:
            raise getattr(load("lib.journal"), fails) if isinstance(fails, str) else fails

    def line(board: Any, store: Any, press: Any, measure: Any, wait: Any, idle: Any) -> str:
        assert (board, store) == (load("board"), world.store)
        assert (press.__name__, wait.__name__, idle.__name__) == ("press", "wait", "idle")
        world.store.cell_state, world.mv = LOW, 2600
        assert measure() == (2600, LOW)
        press()
        return "whether to start again"

    module = load("card.docked")
    monkeypatch.setattr(load("card.update"), "migrate", migrate)
    monkeypatch.setattr(module, "serve_line", line)
    world.store.older = older
    assert module.serve(world.store, IDENTITY) == "whether to start again"
    assert done == [world.store] * older
    assert ({"card.update", "lib.update", "lib.slots"} <= set(world.left)) == older
    assert world.done[-2:] == [(0, "clear"), (0, "off")]
