"""The docked card's line in this interpreter: what it listens to, how long it waits for a person,
and what is left in its buffer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.firmware.card.conftest import PERIOD, Store

START = PERIOD - 700


class Uart:
    def __init__(self, board: Any) -> None:
        self.board = board
        self.sent: list[bytes] = []
        self.takes = 1000  # bytes of a write, at most; 0: none

    def any(self) -> int:
        self.board.ticks_ms()
        return len(self.board.arrived())

    def readinto(self, into: memoryview, n: int) -> int:
        self.board.done.append(("read", n))
        there = self.board.arrived()[:n]
        into[: len(there)] = there
        self.board.used += len(there)
        return len(there)

    def write(self, block: memoryview) -> int | None:
        taken = bytes(block[: self.takes])
        self.sent.append(taken)
        return len(taken) or None


class Board:
    """Instants of bytes, of the button's edges and of undocking are given; waits move the clock."""

    NAME = "pipes"

    def __init__(self) -> None:
        self.now, self.used, self.looks = 0, 0, 0
        self.bytes: list[tuple[int, bytes]] = []
        self.edges: list[int] = []
        self.gone = 10**9
        self.waits: list[int] = []
        self.done: list[Any] = []
        self.uart = Uart(self)

    def arrived(self) -> bytes:
        return b"".join(data for at, data in self.bytes if at <= self.now)[self.used :]

    def ticks_ms(self) -> int:
        self.looks += 1
        assert self.looks < 5000, "it does not end"
        return (START + self.now) % PERIOD

    def docked(self) -> bool:
        return self.now < self.gone

    def button(self) -> int:
        return sum(edge <= self.now for edge in self.edges) & 1

    def wait(self, ms: int) -> None:
        assert ms > 0
        assert self.docked()
        self.waits.append(ms)
        events = [*(at for at, _ in self.bytes), *self.edges, self.gone]
        self.now = min([self.now + ms, *(at for at in events if at > self.now)])

    def serial(self) -> Uart:
        return self.uart

    def random(self, n: int) -> bytes:
        return bytes(range(n))


class T1:
    """A command is what ends with a point; a block is whole when it ends with that or a comma."""

    def __init__(self, apdu: bytearray, send: Callable[[memoryview], None]) -> None:
        self.apdu, self.send = apdu, send
        self.size, self.ready, self.busy, self.partial = 0, False, False, False
        self.done: list[Any] = []

    def feed(self, data: memoryview) -> None:
        for byte in bytes(data):
            self.apdu[self.size] = byte
            self.size += 1
            self.partial = byte not in b".,"
            if byte == ord(","):
                self.size, self.busy = 0, False
            if byte == ord("."):
                self.ready = self.busy = True

    def quiet(self) -> None:
        self.done.append("quiet")
        self.partial = False

    def extend(self, multiplier: int) -> None:
        self.done.append(("extend", multiplier))

    def take(self) -> memoryview:
        self.ready = False
        return memoryview(self.apdu)[: self.size]

    def respond(self, answer: bytes) -> None:
        self.done.append(("answer", answer, bytes(self.apdu[: self.size])))
        self.size, self.busy = 0, False


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def line(load: Any, board: Board, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A line that is not served yet."""
    module = load("card.link")
    monkeypatch.setattr(module, "T1", T1)
    monkeypatch.setattr(module, "collect", lambda: board.done.append("collect"))
    found = module._Line(board, Store([]))
    found.on_press = lambda: board.done.append(("press", board.now))
    found.on_wait = lambda what: board.done.append(("wait", what))
    found.executed = []

    def execute(apdu: memoryview) -> bytes:
        found.executed.append(bytes(apdu))
        return b"done"

    monkeypatch.setattr(found._applets, "process", execute)
    return found


def presses(board: Board) -> list[int]:
    return [one[1] for one in board.done if one[0] == "press"]


# -- what it serves --------------------------------------------------------------------------------


def test_serving_hands_everything_on_and_forgets_at_the_end(
    load: Any, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, seen = load("card.link"), []

    class Line:
        ending = "whether to start again"

        def __init__(self, *given: Any) -> None:
            seen.append(given)

        def serve(self) -> None:
            seen.append((self.on_press, self.cell, self.on_wait, self.on_idle))  # type: ignore[attr-defined]
            if fails:
                raise ValueError

        def close(self) -> None:
            seen.append("closed")

    monkeypatch.setattr(module, "_Line", Line)
    expected = [("board", "store"), ("press", "cell", "wait", "idle"), "closed"]
    fails = False
    assert module.serve("board", "store", "press", "cell", "wait", "idle") == Line.ending
    assert seen == expected
    seen.clear()
    fails = True
    with pytest.raises(ValueError, match=r"^$"):
        module.serve("board", "store", "press", "cell", "wait", "idle")
    assert seen == expected


def test_a_line_without_listeners(line: Any, board: Board) -> None:
    line.on_idle = line.on_wait = None
    board.gone = 2500
    line.serve()
    assert board.waits == [1000, 1000, 1000]
    assert line.press("for a code") is False


def test_it_wakes_as_often_as_it_is_asked_to(line: Any, board: Board) -> None:
    asked = [300, 0, 700]
    line.on_idle = lambda: asked.pop(0)
    board.gone = 2000
    line.serve()
    assert board.waits == [300, 1000, 700]


def test_a_command_is_executed_answered_and_wiped(line: Any, board: Board) -> None:
    board.bytes, board.gone = [(10, b"secret.")], 20
    line.serve()
    assert line.executed == [b"secret."]
    assert line._t1.done == [("answer", b"done", b"secret.")]
    assert line._apdu == bytes(512)
    assert board.done.count("collect") == 1


def test_the_station_has_its_answer_before_the_heap_is_tidied(line: Any, board: Board) -> None:
    line._t1.respond = lambda answer: board.done.append("answer")
    board.bytes, board.gone = [(10, b"secret.")], 20
    line.serve()
    assert board.done[-2:] == ["answer", "collect"]


def test_a_command_that_was_given_up_is_wiped_and_not_answered(line: Any, board: Board) -> None:
    def process(apdu: memoryview) -> bytes:
        line._t1.size, line._t1.busy = 0, False
        line._t1.feed(memoryview(b"ab"))  # the next one has begun
        return b"done"

    line._applets.process = process
    board.bytes, board.gone = [(10, b"secret.")], 11
    line.serve()
    assert line._t1.done == []
    assert line._apdu == b"ab" + bytes(510)


def test_undocking_forgets_the_session_and_the_buffer(line: Any) -> None:
    line._apdu[:] = b"x" * 512
    line._applets.session = session = type("Session", (), {"close": lambda _: None})()
    line.close()
    assert line._apdu == bytes(512)
    assert line._applets.session is not session


def test_a_start_that_was_asked_for_comes_after_the_answer(line: Any, board: Board) -> None:
    def process(apdu: memoryview) -> bytes:
        line.restart()
        return b"done"

    line._applets.process = process
    board.bytes = [(10, b"switch."), (11, b"more.")]
    assert line.ending is False
    line.serve()
    assert line.ending is True
    assert line._t1.done == [("answer", b"done", b"switch.")]


def test_what_applets_may_ask_for(line: Any) -> None:
    assert (line.random(3), line.board_name()) == (b"\0\1\2", "pipes")
    line.extend()
    assert line._t1.done == [("extend", 3)]


# -- bytes -----------------------------------------------------------------------------------------


def test_bytes_are_taken_in_as_many_as_there_are(line: Any, board: Board) -> None:
    board.bytes = [(0, b"x" * 100 + b".")]
    board.gone = 1
    line.serve()
    assert line.executed == [b"x" * 100 + b"."]
    assert [one for one in board.done if one[0] == "read"] == [("read", 64), ("read", 37)]


def test_what_follows_a_command_waits_for_its_answer(line: Any, board: Board) -> None:
    board.bytes, board.gone = [(0, b"a" * 63 + b"." + b"b.")], 1
    line._listen()
    line._listen()
    assert board.arrived() == b"b."
    line.serve()
    assert line.executed == [b"a" * 63 + b".", b"b."]


@pytest.mark.parametrize(("next_at", "quiet"), [(99, False), (100, False), (101, True)])
def test_a_block_that_stops_is_given_up_after_a_tenth_of_a_second(
    line: Any, board: Board, next_at: int, quiet: bool
) -> None:
    board.bytes, board.gone = [(500, b"ab"), (500 + next_at, b"c.")], 700
    line.serve()
    assert ("quiet" in line._t1.done) == quiet
    assert line.executed == [b"abc."]
    assert board.waits[0] == 1000
    assert board.waits[1] == 100


def test_a_block_that_came_late_to_be_looked_at_is_not_waited_for_longer(
    line: Any, board: Board
) -> None:
    """While something else took its time, the line was silent."""
    board.bytes, board.gone = [(0, b"ab")], 400
    line._listen()
    board.now = 99
    line._sleep(1000)
    assert board.waits == [1]
    board.now = 250
    line._sleep(1000)
    assert board.waits == [1, 1]
    line._sleep(40)
    assert board.waits == [1, 1, 1]
    line._listen()
    assert line._t1.done == ["quiet"]
    line._sleep(40)
    assert board.waits[3:] == [40]


def test_nobody_sleeps_while_bytes_are_there_or_off_the_dock(line: Any, board: Board) -> None:
    board.bytes = [(0, b"a")]
    line._sleep(1000)
    board.used, board.gone = 1, 0
    line._sleep(1000)
    assert board.waits == []


@pytest.mark.parametrize(
    ("takes", "sent"), [(1000, [b"block"]), (2, [b"bl", b"oc", b"k"]), (0, [b""])]
)
def test_a_block_is_sent_whole_unless_the_line_takes_no_more(
    line: Any, board: Board, takes: int, sent: list[bytes]
) -> None:
    board.uart.takes = takes
    line._send(memoryview(b"block"))
    assert board.uart.sent == sent


def test_what_came_before_a_block_is_no_answer_to_it(line: Any, board: Board) -> None:
    board.bytes = [(0, b"x" * 130)]
    line._send(memoryview(b"block"))
    assert board.arrived() == b""

    def write(block: memoryview) -> int:
        board.bytes.append((0, b"the answer"))
        return len(block)

    board.uart.write = write  # type: ignore[method-assign,assignment]
    board.bytes.append((0, b"late"))
    line._send(memoryview(b"block"))
    assert board.arrived() == b"the answer"
    assert [one[1] for one in board.done] == [64, 64, 2, 4]
    assert line._t1.size == 0


# -- the button ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edges", "pressed"),
    [
        ((100, 300), [120]),
        ((100, 119), []),
        ((100, 120), []),
        ((100, 121), [120]),
        ((100, 110, 115, 300), [135]),
        ((100, 300, 600, 800), [120, 620]),
        ((0, 400), []),  # held since docking
        ((0, 400, 500, 700), [520]),
        ((100, 3000), [120]),
    ],
)
def test_a_press_that_no_command_waits_for(
    line: Any, board: Board, edges: tuple[int, ...], pressed: list[int]
) -> None:
    board.edges, board.gone = list(edges), 5000
    line.serve()
    assert presses(board) == pressed


def test_a_byte_makes_no_press_of_a_bounce(line: Any, board: Board) -> None:
    board.bytes, board.edges, board.gone = [(119, b"a")], [100, 120], 400
    line.serve()
    assert presses(board) == []


def test_a_command_comes_before_a_press(line: Any, board: Board) -> None:
    """Which it may be there to ask for."""

    def process(apdu: memoryview) -> bytes:
        board.done.append(("executed", board.now))
        return b"done"

    line._applets.process = process
    board.bytes, board.edges, board.gone = [(100, b"a.")], [100, 300], 400
    line.serve()
    assert [one for one in board.done if one[0] in ("executed", "press")] == [
        ("executed", 100), ("press", 120),
    ]  # fmt: skip


def test_what_a_press_shows_is_kept_up_at_once(line: Any, board: Board) -> None:
    line.on_idle = lambda: 900 if presses(board) else 0
    board.edges, board.gone = [100, 300], 400
    line.serve()
    assert board.waits == [1000, 20, 900, 900]


def waiting(line: Any, board: Board, *edges: int) -> bool:
    """A command that waits for a press from now on."""
    line._t1.busy = True
    board.edges = list(edges)
    found = line.press("for a code")
    assert board.done[0] == ("wait", "for a code")
    assert board.done[-1] == ("wait", "")
    assert isinstance(found, bool)
    return found


@pytest.mark.parametrize(
    ("edges", "end"),
    [((100, 300), 120), ((100, 110, 500, 700), 520), ((0, 400, 500, 700), 520),
     ((2000, 2300), 2020), ((29_980, 30_100), 30_000), ((29_970, 30_100), 29_990)],
)  # fmt: skip
def test_a_press_that_a_command_waits_for(
    line: Any, board: Board, edges: tuple[int, ...], end: int
) -> None:
    line._down = False
    assert waiting(line, board, *edges) is True
    assert board.now == end
    assert line._t1.done == [("extend", 3)] * (1 + (end - 1) // 2000)


def test_a_button_that_is_held_is_no_consent(line: Any, board: Board) -> None:
    line._down = False
    assert waiting(line, board, 0) is False
    assert board.now == 30_000


def test_nobody_presses(line: Any, board: Board) -> None:
    at = []
    extend = line._t1.extend
    line._t1.extend = lambda n: (at.append(board.now), extend(n))
    assert waiting(line, board) is False
    assert board.now == 30_000
    assert at == [n * 2000 for n in range(15)]
    assert board.waits == [2000] * 15
    assert line._t1.done == [("extend", 3)] * 15


def test_what_wakes_the_card_meanwhile_neither_ends_the_time_nor_delays_the_station(
    line: Any, board: Board
) -> None:
    board.bytes = [(29_999, b"a")]
    at = []
    line._t1.extend = lambda n: at.append(board.now)
    assert waiting(line, board, 1500, 1505) is False  # a spark
    assert board.now == 30_000
    assert at == [0, *range(2005, 30_000, 2000)]  # long before the station's 3 s are over


def test_a_station_that_gives_up_or_a_dock_that_is_left_ends_the_waiting(
    line: Any, board: Board
) -> None:
    board.bytes = [(700, b"ab"), (710, b",")]  # the station wants something else
    assert waiting(line, board, 800, 900) is False
    assert board.now == 710
    board.gone = 1500
    assert waiting(line, board, 1600) is False
    assert board.now == 1500


def test_in_the_midst_of_a_block_nothing_is_asked_for(line: Any, board: Board) -> None:
    board.bytes = [(1990, b"a"), (2060, b"b"), (2120, b"c")]
    at = []
    line._t1.extend = lambda n: at.append(board.now)
    assert waiting(line, board, 2500, 2600) is True
    assert at == [0, 2220]
    assert line._t1.done == ["quiet"]


def test_the_display_is_told_even_when_waiting_fails(line: Any, board: Board) -> None:
    line._t1.extend = None
    line._t1.busy = True
    with pytest.raises(TypeError):
        line.press("for a code")
    assert board.done == [("wait", "for a code"), ("wait", "")]


# -- a pause ---------------------------------------------------------------------------------------


def test_a_pause_is_a_second_whatever_comes_meanwhile(line: Any, board: Board) -> None:
    board.now = 50
    board.bytes = [(300, b"a"), (1049, b"b"), (1050, b",")]
    line.pause()
    assert board.now == 1050
    assert board.arrived() == b""
    assert line._t1.done == [("extend", 3), "quiet"]


def test_a_pause_ends_with_the_dock(line: Any, board: Board) -> None:
    board.gone = 400
    line.pause()
    assert board.now == 400
