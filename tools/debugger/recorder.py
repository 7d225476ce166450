"""The inside of a debugged firmware's process: holds the firmware at statements, and goes back.

Whatever lets the firmware's time pass (the loop of `tally debug`, a test) is held in the middle of
that for as long as the firmware stands at a statement. What is to be done until the next hold is a
generator: each `yield` lets the firmware run on, to its next hold or to the end of the run. To go
back, a keeper's child (`emulator/devices/keepers.py`) does again what was done since; a run follows
from its seed and from what was done to its parts, so it comes to the same statement.
"""

from __future__ import annotations

import ast
import ctypes
import json
import os
import re
import select
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from types import FrameType
from typing import Any, NoReturn

from tallystick.common.errors import TallyError
from tallystick.emulator.chip.probe import Probe
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.keepers import (
    SPACING_S,
    Keepers,
    ResumedError,
    SnapshotKeeper,
)
from tallystick.emulator.interpreter.link import Message
from tallystick.tools.debugger.instrument import Debugged
from tallystick.tools.debugger.orders import SIZE, Flags, Order

_WINDOW = 400  # statements that are looked through for the one before
_NEVER = (1 << 31, 1 << 40)
_NOT_AGAIN = "The run was another one this time: this is the nearest that is kept."

Going = Iterator[None]
"""What is done until the firmware is held again."""


@dataclass(frozen=True, order=True)
class Position:
    """A statement: start of the firmware, and number of statements since. operations: of flash,
    by then."""

    boot: int
    count: int
    operations: int = 0


@dataclass(frozen=True)
class BreakpointRule:
    """condition: MicroPython, "" for always. log: it says this and does not stop; None: it
    stops."""

    condition: str = ""
    log: str | None = None


class Logged(Enum):
    """What is told of on the way to somewhere."""

    NOTHING = auto()
    HITS = auto()  # breakpoints
    ALL = auto()


class _FlashProbe(Probe):
    """Hears of every operation before it is done."""

    def __init__(self, on_operation: Callable[[int], None]) -> None:
        self._on_operation = on_operation

    def flash(self, now_us: int, what: str, address: int, size: int, duration_us: int) -> None:
        self._on_operation(address)


class FirmwareRecorder:
    """Of one card, before its first power-on. channel: to the server, a JSON object a line.

    until_us: what lets time pass is to pause it then. hurried: it is wanted at a statement, or at
    another time: nobody looks on meanwhile.
    """

    def __init__(
        self, card: Card, table: Debugged, channel: socket.socket, flags: Flags,
        in_child: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.card = card
        self.until_us: int | None = None
        self.hurried = True
        self.recording = False  # by nobody's order so far
        self._table = table
        self._channel = channel
        self._flags = flags
        self._heard = b""
        card.mcu.debug(self._said)
        before = card.mcu.on_print
        self._printed_to = before
        card.mcu.on_print = self._printed
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(flags.memory))
        self.keepers: Keepers[Position] = Keepers(card, channel, in_child)
        self._here: tuple[Position, int, int] | None = None  # statement, depth
        self._log: list[tuple[Position, int, int]] = []
        self._breakpoints: set[int] = set()
        self._rules: dict[int, BreakpointRule] = {}  # of those that do not stop every time
        self._only_breakpoint = False  # no order of its own ended here
        self._quiet = False  # on its way to somewhere
        self._writes: list[int] = []  # addresses of flash operations, in order
        self._wanted_operation = -1
        self._inputs: list[list[Any]] = []  # replaced, never changed
        self._since_us = 0  # when this process began
        self._over: str | None = None  # why the firmware runs no more
        self._over_reason = ""
        self._paused = False
        self._goal: Going | None = None
        card.mcu.probes.append(_FlashProbe(self._operation))

    # -- what the firmware says ------------------------------------------------------------------

    def _said(self, message: Message) -> None:
        mcu = self.card.mcu
        if message.arg == 0:
            mcu.answer_aside(struct.pack("<QII", self._address, SIZE, mcu.boots))
            return
        count, depth = struct.unpack("<QH", message.data)
        position = Position(mcu.boots, count, self.card.flash.operations)
        if message.arg == 2:
            self._log.append((position, message.value, depth))
            return
        self._here = (position, message.value, depth)
        self._only_breakpoint = message.arg == 3
        self._held()
        mcu.answer_aside()

    def _printed(self, text: str) -> None:
        if self._printed_to is not None:
            self._printed_to(text)
        if not self._quiet and not self.recording:
            self._tell({"printed": text})

    def _operation(self, address: int) -> None:
        number = self.card.flash.operations
        del self._writes[number:]
        self._writes.append(address)
        if number == self._wanted_operation:
            self._flags.order(Order.PAUSE)

    # -- held, and over --------------------------------------------------------------------------

    def _held(self) -> None:
        """The firmware is at a statement: returns when it may go on."""
        todo: dict[str, Any] | None = None
        while True:
            try:
                if todo is not None:
                    self._goal = self._begin(todo)
                if self._goal is not None:
                    next(self._goal)
                    return
                todo = self.request(None)
            except StopIteration:
                self._goal = todo = None
            except ResumedError as resumed:
                self._goal, todo = None, resumed.request
                self._arm()
            except TallyError as error:
                self._goal = todo = None
                self._tell({"answer": None, "error": error.what})

    def _begin(self, request: dict[str, Any]) -> Going | None:
        found: Going | None = getattr(self, f"_do_{request['do']}")(request)
        return found

    def ended(self, why: str, reason: str = "exception") -> NoReturn:
        """Told by what lets time pass: the firmware runs no more. Another process goes on."""
        if not self.keepers.all:
            self._tell({"failed": why or "The firmware executes no statement."})
            os._exit(0)
        self._over, self._over_reason = why, reason
        while self._goal is not None:
            try:
                next(self._goal)
            except StopIteration:
                break
            except TallyError as error:
                self._tell({"answer": None, "error": error.what})
                break
        os._exit(0)

    # -- the server ------------------------------------------------------------------------------

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self._channel.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            os._exit(0)

    def ready(self) -> dict[str, Any]:
        """What a server wants to know first."""
        board = self.card.board
        return {
            "ready": True,
            "lines": [[n, *place] for n, place in self._table.places.items()],
            "functions": self._table.functions,
            "board": board.name,
            "sector": board.flash_timing.sector,
            "flash_base": board.chip.flash_base,
        }

    def request(self, wait_s: float | None) -> dict[str, Any] | None:
        """The server's next; None when none came in time. Ends the process with the server."""
        while b"\n" not in self._heard:
            if not select.select([self._channel], [], [], wait_s)[0]:
                return None
            more = self._channel.recv(65536)
            if not more:
                os._exit(0)
            self._heard += more
        line, _, self._heard = self._heard.partition(b"\n")
        request: dict[str, Any] = json.loads(line)
        return request

    def start(self) -> None:
        """From now on the firmware is held at its first statement, and the server is told."""
        self._flags.order(Order.PAUSE)
        self._goal = self._to_entry()

    def _to_entry(self) -> Going:
        self._arm()
        self.keepers.keep(self._now)
        self._stopped("entry")
        yield from ()

    def record(self) -> None:
        """From now on it runs, and keepers are made on its way; nobody is told."""
        self.recording = True
        self._flags.order(Order.PAUSE)
        self._goal = self._recorded()

    def _recorded(self) -> Going:
        self._arm()
        while True:
            self.keepers.keep(self._now)
            self._flags.order(Order.RUN)
            yield

    def offer(self, why: str) -> bool:
        """Of a run that was recorded: a keeper's child goes to the last statement, and serves. This
        process only stays. False when no statement was executed."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        if not self.keepers.all:
            return False
        self.keepers.all[-1].resume({"do": "last", "text": why, **self._handed()})
        return True

    def close(self) -> None:
        """Of a run that was recorded, when nobody wants it any more."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        for keeper in self.keepers.all:
            keeper.end()
            keeper.channel.close()
        self.keepers.all.clear()
        self._goal = None

    # -- running ---------------------------------------------------------------------------------

    @property
    def _now(self) -> Position:
        assert self._here is not None
        return self._here[0]

    def _arm(self) -> None:
        """After every so much of the processor's time it is looked whether a keeper is due."""
        signal.signal(signal.SIGPROF, lambda *_: self._look_at_keepers())
        signal.setitimer(signal.ITIMER_PROF, SPACING_S / 4, SPACING_S / 4)

    def _look_at_keepers(self) -> None:
        if self._flags.memory[0] == Order.RUN and not self._quiet and self.keepers.due:
            self._flags.order(Order.PAUSE)

    def _do_breakpoints(self, request: dict[str, Any]) -> None:
        self._set_breakpoints(request)
        self._tell({"answer": True})

    def _set_breakpoints(self, request: dict[str, Any]) -> None:
        self._breakpoints = set(request["numbers"])
        self._rules = {n: BreakpointRule(*rule) for n, *rule in request["rules"]}
        self._flags.breakpoints(self._breakpoints)

    def _at_breakpoint(self) -> str | None:
        """What a stop here is told with; None where there is none, or its condition does not
        hold. Says what a log point says."""
        assert self._here is not None
        _, statement, depth = self._here
        if statement not in self._breakpoints:
            return None
        rule = self._rules.get(statement, BreakpointRule())
        try:
            if rule.condition and self._truth(rule.condition, depth) != "True":
                return None
            if rule.log is None:
                return ""
            if not self._quiet:
                self._tell({"printed": self._filled(rule.log, depth) + "\n", "log": True})
        except TallyError as error:
            return f"The breakpoint's {rule.condition or rule.log!r}: {error.what}"
        return None

    def _truth(self, condition: str, depth: int) -> str:
        return str(self._value(depth - 1, f"bool({condition})")[1])

    def _filled(self, text: str, depth: int) -> str:
        """`{…}` is what is evaluated there."""

        def shown(found: re.Match[str]) -> str:
            kind, value, _ = self._value(depth - 1, found[1])
            return str(ast.literal_eval(value)) if kind == "str" and value[-1] in "'\"" else value

        return re.sub(r"\{([^{}]+)\}", shown, text)

    def _do_go(self, request: dict[str, Any]) -> Going:
        """order: RUN, IN, OVER, OUT. until_us: virtual time at which it is paused."""
        order = Order[request["order"]]
        self.until_us = request.get("until_us")
        self._paused = self.hurried = False
        far = self._now.count - self.keepers.all[-1].position.count > _WINDOW
        if (order is Order.RUN or far) and self.keepers.all[-1].position < self._now:
            self.keepers.keep(self._now)
        self._flags.go(order)
        while True:
            yield
            if self._over is not None:
                self._go_to_the_end(self._over, self._over_reason)
            assert self._here is not None
            wanted = self._paused or self._flags.pause_wanted
            told = self._at_breakpoint()
            if not wanted and told is None and (order is Order.RUN or self._only_breakpoint):
                if order is not Order.RUN:
                    self._flags.goes_on()
                elif self.keepers.due or not self._only_breakpoint:
                    self.keepers.keep(self._now)
                self._do_pending()
                self._flags.go(order)
                continue
            self.until_us = None
            self._do_pending()
            step = "step" if order is not Order.RUN else "pause"
            reason = "pause" if wanted else step if told is None else "breakpoint"
            self._stopped(reason, told or "")
            return

    def pause(self) -> None:
        """At the next statement."""
        self._paused = self.hurried = True
        self._flags.order(Order.PAUSE)

    def while_running(self, request: dict[str, Any], *, asleep: bool) -> None:
        """A request that came while the firmware runs. asleep: it has no process now."""
        if request["do"] == "breakpoints":
            self._do_breakpoints(request)
        elif request["do"] == "part" and asleep:
            self._do_part_at(request, [None, self.card.clock.now])
        elif request["do"] == "part":
            # At a statement, so that a replay does it there, too.
            self._pending = [*self._pending, request]
            self.hurried = True
            self._flags.order(Order.PAUSE)
        elif request["do"] == "pause" and asleep:
            self._go_to_the_end("The firmware sleeps: this is what it did last.", "pause")
        elif request["do"] == "pause":
            self.pause()

    _pending: list[dict[str, Any]] = []  # noqa: RUF012 (replaced, never changed)

    def _do_pending(self) -> None:
        pending, self._pending = self._pending, []
        for request in pending:
            try:
                self._do_part(request)
            except TallyError as error:
                self._tell({"answer": None, "error": error.what})
        self.hurried = self._paused

    def _stopped(self, reason: str, text: str = "") -> None:
        assert self._here is not None
        position, statement, depth = self._here
        self.card.mcu.read_console()  # what it printed comes first
        self._quiet = self.hurried = False
        self._flags.has_paused()
        self._flags.breakpoints(self._breakpoints)
        self._tell(
            {
                "stopped": reason, "text": text, "boot": position.boot, "count": position.count,
                "statement": statement, "depth": depth, "time_us": self.card.clock.now,
                "operations": position.operations,
            }
        )  # fmt: skip

    # -- going back ------------------------------------------------------------------------------

    def _handed(self) -> dict[str, Any]:
        return {
            "numbers": sorted(self._breakpoints), "heard": self._heard.decode(),
            "rules": [[n, one.condition, one.log] for n, one in self._rules.items()],
            "inputs": self._inputs,
        }  # fmt: skip

    def _hand_over(self, keeper: SnapshotKeeper[Position], request: dict[str, Any]) -> NoReturn:
        """A keeper's child goes on in place of this process."""
        self.keepers.end_after(keeper)
        keeper.resume(request | self._handed())
        os._exit(0)

    def _do_find(self, request: dict[str, Any]) -> None:
        """Hands over to the keeper that can find it. what: `step` (the statement before, at no
        greater depth), `hit` (the breakpoint before), `write` (of a sector, by its flash
        operation)."""
        assert self._here is not None
        position, _, depth = self._here
        what = request["what"]
        if what == "write":
            board, address = self.card.board, request["address"]
            sector, base = board.flash_timing.sector, board.chip.flash_base
            if address is not None and address >= base:
                address -= base  # as the chip sees it, and `tally image inspect` shows it
            found = [
                n for n, at in enumerate(self._writes)
                if address is None or at // sector == address // sector
            ]  # fmt: skip
            if not found:
                self._stopped("pause", "Nothing was written there so far.")
                return
            keeper = self.keepers.last(lambda one: one.operations <= found[-1])
            assert keeper is not None
            self._search(keeper, what, position, depth, operation=found[-1])
        keeper = self._before(Position(position.boot, position.count))
        if keeper is None:
            self._stopped("entry", "This is the first statement.")
            return
        self._search(keeper, what, position, depth)

    def _before(self, position: Position) -> SnapshotKeeper[Position] | None:
        return self.keepers.last(lambda one: one < position)

    def _search(
        self, keeper: SnapshotKeeper[Position], what: str, until: Position, depth: int, *,
        window: int = _WINDOW, operation: int = -1,
    ) -> NoReturn:  # fmt: skip
        self._hand_over(
            keeper,
            {
                "do": "search", "what": what, "boot": until.boot, "count": until.count,
                "depth": depth, "window": window, "operation": operation,
            },
        )  # fmt: skip

    def _resume(self, request: dict[str, Any]) -> None:
        """In a keeper's child."""
        self.recording = False
        self.keepers.forget_dead()
        self._set_breakpoints(request)
        self._heard = request["heard"].encode()
        self._inputs = request["inputs"]
        self._since_us = self.card.clock.now
        self._quiet = self.hurried = True
        self._log.clear()
        self._over = None

    def _do_search(self, request: dict[str, Any]) -> Going:
        self._resume(request)
        keeper = self.keepers.all[-1]
        until = Position(request["boot"], request["count"])
        what, depth, window = request["what"], request["depth"], request["window"]
        if what == "write":
            self._wanted_operation = request["operation"]
            yield from self._replay(Logged.NOTHING, until)
            self._wanted_operation = -1
            after = self._now
            self._go_to(keeper, Position(after.boot, max(1, after.count - 1)), "write")
        if what != "hit":
            first = Position(until.boot, until.count - window)
            if until.count > window and first > keeper.position:
                yield from self._replay(Logged.NOTHING, first)
                # Near: the way to the statement is short, and so are the next ones.
                self.keepers.keep(self._now)
                keeper = self.keepers.all[-1]
        assert self._here is not None
        if what != "hit" or self._stops_here():
            self._log.append(self._here)  # where it is held is logged by nobody
        yield from self._replay(Logged.HITS if what == "hit" else Logged.ALL, until)
        log = [one for one in self._log if one[0] < Position(until.boot, until.count)]
        if what == "step":
            log = [one for one in log if one[2] <= depth]
        if log:
            self._go_to(keeper, log[-1][0], "breakpoint" if what == "hit" else what)
        if what != "hit" and len(self.keepers.all) > 1 and window < until.count:
            wider = Position(until.boot, max(1, until.count - window * 20))
            keeper = self._before(wider) or self.keepers.all[0]
            self._search(keeper, what, until, depth, window=window * 20)
        earlier = self._before(keeper.position)
        if earlier is None:
            self._go_to(keeper, keeper.position, "entry")
        self._search(earlier, what, keeper.position, depth)

    def _go_to(
        self, keeper: SnapshotKeeper[Position], position: Position, reason: str, text: str = ""
    ) -> NoReturn:
        self._hand_over(
            keeper,
            {
                "do": "arrive", "boot": position.boot, "count": position.count, "reason": reason,
                "text": text,
            },
        )  # fmt: skip

    def _do_arrive(self, request: dict[str, Any]) -> Going:
        self._resume(request)
        position = Position(request["boot"], request["count"])
        if (self._now.boot, self._now.count) != (position.boot, position.count):
            yield from self._replay(Logged.NOTHING, position)
            if self._over is not None:
                keeper = self.keepers.all[-1]
                self._go_to(keeper, keeper.position, request["reason"], _NOT_AGAIN)
        self._inputs = [one for one in self._inputs if self._was_done(one, position)]
        self._stopped(request["reason"], request["text"])

    def _was_done(self, one: list[Any], position: Position) -> bool:
        boot, count = one[0], one[1]
        if boot is None:
            return bool(count <= self.card.clock.now)
        return (boot, count) <= (position.boot, position.count)

    def _replay(self, logged: Logged, until: Position) -> Going:
        """Runs to a position, or to the end of the firmware; what was done on the way is done
        again."""
        self._flags.breakpoints(set() if logged is Logged.NOTHING else self._breakpoints)
        for boot, count, name, action, value in self._inputs:
            if boot is None:
                continue  # `due_input`
            at = Position(boot, count)
            if self._now <= at <= until and self._over is None:
                if (self._now.boot, self._now.count) != (boot, count):
                    yield from self._run_to(logged, boot, count)
                self.card.part(name).do(action, value)
        if (self._now.boot, self._now.count) == (until.boot, until.count):
            return
        if self._over is None:
            yield from self._run_to(logged, until.boot, until.count)

    def _run_to(self, logged: Logged, boot: int, count: int) -> Going:
        """Breakpoints with a condition are held at, to see whether it holds."""
        holds = logged is Logged.HITS and bool(self._rules)
        order = Order.LOG_ALL if logged is Logged.ALL else Order.RUN
        while True:
            logs = logged is not Logged.NOTHING and not holds
            self._flags.order(order, boot, count, logs=logs)
            yield
            if self._over is not None:
                return
            assert self._here is not None
            # Where it is held is logged by nobody.
            if logged is Logged.ALL or (logged is Logged.HITS and self._stops_here()):
                self._log.append(self._here)
            if not holds or (self._now.boot, self._now.count) == (boot, count):
                return

    def _stops_here(self) -> bool:
        return self._at_breakpoint() is not None

    def due_input(self) -> int | None:
        """While it is replayed: the virtual time at which something was done to a part of a
        firmware that slept. What lets time pass calls `do_due` then."""
        times = [
            count for boot, count, *_ in self._inputs if boot is None and count > self._since_us
        ]
        return min(times, default=None) if self._quiet else None

    def do_due(self) -> None:
        at = self.due_input()
        for boot, count, name, action, value in self._inputs:
            if boot is None and count == at:
                self.card.part(name).do(action, value)
        assert at is not None
        self._since_us = at

    def _go_to_the_end(self, why: str, reason: str = "exception") -> NoReturn:
        """To the statement that was the last: with its variables, as it was before."""
        keeper = self.keepers.all[-1]
        self._hand_over(keeper, {"do": "last", "text": why, "reason": reason})

    def _do_last(self, request: dict[str, Any]) -> Going:
        self._resume(request)
        assert self._here is not None
        self._log.append(self._here)
        yield from self._replay(Logged.ALL, Position(*_NEVER))
        reason = request.get("reason", "exception")
        self._go_to(self.keepers.all[-1], self._log[-1][0], reason, request["text"])

    # -- looking ---------------------------------------------------------------------------------

    frames: Callable[[], list[FrameType]] = staticmethod(list)
    """What lets time pass may have frames of its own to look at, the outermost first."""

    def _ask(self, source: str) -> Any:
        """Evaluates in the firmware's process. Raises TallyError with what went wrong there."""
        link = self.card.mcu.link
        assert link is not None
        module = "__import__('tallydebug')"
        said = link.prompt(f"{module}.told({source})")
        if not said.isdecimal():
            raise TallyError(said)
        found = ""
        while len(found) < int(said):
            found += ast.literal_eval(link.prompt(f"{module}.piece({len(found)})"))
        return ast.literal_eval(found)

    def _do_stack(self, request: dict[str, Any]) -> None:
        above = [
            [[one.f_code.co_filename, one.f_code.co_name], one.f_lineno] for one in self.frames()
        ]
        self._tell(
            {"answer": {"above": above, "own": self._ask("__import__('tallydebug').stack()")}}
        )

    def _do_variables(self, request: dict[str, Any]) -> None:
        frame, above = request["frame"], self.frames()
        if frame < len(above):
            found = [
                [name, type(value).__name__, _shown(value), False, ""]
                for name, value in above[frame].f_locals.items()
                if not name.startswith("@")
            ]
            self._tell({"answer": found})
            return
        frame -= len(above)
        found = []
        for name in self._ask(f"__import__('tallydebug').names({frame})"):
            shown = self._ask(f"__import__('tallydebug').shown({frame}, {name!r})")
            found.append([name, *shown, name])
        self._tell({"answer": found})

    def _do_evaluate(self, request: dict[str, Any]) -> None:
        frame, source, above = request["frame"], request["source"], self.frames()
        if frame < len(above):
            at = above[frame]
            try:
                value = eval(source, at.f_globals, dict(at.f_locals))  # noqa: S307 (of the person at it)
            except Exception as error:
                raise TallyError(f"{type(error).__name__}: {error}") from None
            self._tell({"answer": [type(value).__name__, _shown(value), False]})
            return
        self._tell({"answer": self._value(frame - len(above), source)})

    def _do_inside(self, request: dict[str, Any]) -> None:
        """What is in a value of the firmware."""
        frame = request["frame"] - len(self.frames())
        found: list[Any] = []
        while page := self._value(frame, request["source"], "inside", f", {len(found)}"):
            found += page
            if not page[-1][1]:
                break  # the row that says how many there are
        self._tell({"answer": found})

    def _value(self, frame: int, source: str, how: str = "evaluate", more: str = "") -> Any:
        """frame: of the firmware, the outermost is 0. → kind, shown, whether it unfolds; `inside`:
        rows of name, kind, shown, whether it unfolds, source. Raises TallyError."""
        module = "__import__('tallydebug')"
        where = f"{frame}, {source!r}, {module}.globals_of({frame})"
        return self._ask(f"{module}.{how}({where}{more})")

    def _do_part(self, request: dict[str, Any]) -> None:
        """Something happens to a part, at this statement."""
        self._do_part_at(request, [self._now.boot, self._now.count])

    def _do_part_at(self, request: dict[str, Any], place: list[Any]) -> None:
        name, action, value = request["name"], request["action"], request.get("value")
        self.card.part(name).do(action, value)
        self._inputs = [*self._inputs, [*place, name, action, value]]
        self._do_parts(request)

    def _do_parts(self, request: dict[str, Any]) -> None:
        self._tell({"answer": {one.name: dict(one.state()) for one in self.card.fittings.parts}})

    def _do_pause(self, request: dict[str, Any]) -> None:
        """It is paused already."""

    def _do_end(self, request: dict[str, Any]) -> None:
        os._exit(0)


def _shown(value: object) -> str:
    try:
        return repr(value)[:400]
    except Exception as error:
        return f"({type(error).__name__})"
