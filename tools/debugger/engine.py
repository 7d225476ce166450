"""The process that a debugged firmware lives in. It goes back by being there still.

Every so often it forks, and the child stays as it is: a *keeper* of that instant, with the whole
machine, firmware and parts in it. To go back, a keeper is told to fork again; its child runs on
from there to the very statement that is wanted, and the engine that was there before ends. A run
follows from its seed and from what was done to its parts, so it comes to the same statement.

Run as `python -m tallystick.tools.debugger.engine CHANNEL FLAGS`: two descriptors, a socket to the
server (a JSON object a line) and the file of `Flags`. It ends when the server closes the socket.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tallystick.common.errors import TallyError
from tallystick.emulator.chip.mcu import ChipState
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.device import FirmwareCrashError
from tallystick.emulator.devices.project import Project
from tallystick.emulator.interpreter import resident
from tallystick.emulator.interpreter.link import Message
from tallystick.emulator.parts.nor_flash import FlashOperation
from tallystick.tools.debugger.instrument import Debugged
from tallystick.tools.debugger.orders import SIZE, Flags, Order
from tallystick.tools.image.folder import from_folder

_KEEP_EVERY_S = 0.02  # of real time that the firmware runs: going back runs as much again at most
_KEEPERS = 64
_SLICE_S = 0.02
_SLICE_US = 1_000_000
_PACE_US = 20_000
_PAGE = 4096
_WINDOW = 400  # statements that are looked through for the one before
_MANY = 1 << 40
_END = b"end\n"


@dataclass(frozen=True, order=True)
class Position:
    """A statement: start of the firmware, and number of statements since. operations: of flash,
    by then."""

    boot: int
    count: int
    operations: int = 0


@dataclass
class SnapshotKeeper:
    """A process that is what the engine was at `position`."""

    position: Position
    channel: socket.socket

    @property
    def alive(self) -> bool:
        """Another engine may have ended it since this process knew of it."""
        try:
            return self.channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self.channel.sendall(_END)


class _ResumedError(Exception):
    """This process was a keeper, and is the engine now."""

    def __init__(self, request: dict[str, Any]) -> None:
        super().__init__()
        self.request = request


class Engine:
    """request: `project` (a folder), `board`, `seed`."""

    def __init__(self, channel: socket.socket, flags: Flags, request: dict[str, Any]) -> None:
        self._channel = channel
        self._flags = flags
        self._heard = b""
        project = Project.find(Path(request["project"]), request.get("board"))
        self.table = Debugged()
        image = from_folder(project.firmware, project.board, self.table)
        self.card = Card(image, seed=request.get("seed", 0), fittings=project.fittings())
        self.card.mcu.debug(self._said)
        self.card.mcu.on_print = self._printed
        self.card.flash.fault_plan = self._operation
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(flags.memory))
        self._keepers: list[SnapshotKeeper] = []
        self._here: tuple[Position, int, int] | None = None  # statement, depth
        self._log: list[tuple[Position, int, int]] = []
        self._breakpoints: set[int] = set()
        self._quiet = False  # on its way to somewhere
        self._writes: list[int] = []  # addresses of flash operations, in order
        self._wanted_operation = -1
        self._speed = float(request.get("speed", 1.0))
        self._crash = ""

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
        else:
            self._here = (position, message.value, depth)
            mcu.held = True

    def _printed(self, text: str) -> None:
        if not self._quiet:
            self._tell({"printed": text})

    def _operation(self, operation: FlashOperation) -> None:
        del self._writes[operation.index :]
        self._writes.append(operation.address)
        if operation.index == self._wanted_operation:
            self._flags.order(Order.PAUSE)

    # -- the server ------------------------------------------------------------------------------

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self._channel.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            os._exit(0)

    def _request(self, wait_s: float | None) -> dict[str, Any] | None:
        """The next one; None when none came in time. Ends the process with the server."""
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

    def serve(self) -> NoReturn:
        """From power-on to the end of the server."""
        self._tell(
            {
                "ready": True,
                "lines": [[n, *place] for n, place in self.table.lines.items()],
                "functions": self.table.functions,
                "board": self.card.board.name,
                "sector": self.card.board.flash_timing.sector,
                "flash_base": self.card.board.chip.flash_base,
            }
        )
        todo: dict[str, Any] | None = {"do": "start"}
        while True:
            try:
                request = todo or self._request(None)
                todo = None
                assert request is not None
                self._serve(request)
            except _ResumedError as resumed:
                todo = resumed.request
            except TallyError as error:
                self._tell({"answer": None, "error": error.what})

    def _serve(self, request: dict[str, Any]) -> None:
        getattr(self, f"_do_{request['do']}")(request)

    # -- running ---------------------------------------------------------------------------------

    def _do_start(self, request: dict[str, Any]) -> None:
        self._flags.order(Order.PAUSE)
        for part in self.card.fittings.parts:
            part.power(True)
        self.card.mcu.power_on()
        if not self._run_until_held():
            self._tell({"failed": self._crash or "The firmware executes no statement."})
            os._exit(0)
        self._keep()
        self._stopped("entry")

    def _do_breakpoints(self, request: dict[str, Any]) -> None:
        self._breakpoints = set(request["numbers"])
        self._flags.breakpoints(self._breakpoints)
        self._tell({"answer": True})

    def _do_go(self, request: dict[str, Any]) -> None:
        """order: RUN, IN, OVER, OUT. until_us: virtual time at which it is paused."""
        order = Order[request["order"]]
        until = request.get("until_us")
        self._crash = ""
        assert self._here is not None
        if order is Order.RUN or self._here[0].count - self._keepers[-1].position.count > _WINDOW:
            self._keep()
        self._flags.go(order)
        self._release()
        since = time.monotonic()
        while True:
            pausing = self._run_slice(until)
            if self._crash:
                self._go_to_crash()
                return
            if self.card.mcu.held:
                assert self._here is not None
                wanted = self._paused or pausing or self._flags.pause_wanted
                due = self._flags.memory[0] == Order.PAUSE and not wanted
                if order is Order.RUN and due and self._here[1] not in self._breakpoints:
                    self._keep()
                    since = time.monotonic()
                    self._flags.go(order)
                    self._release()
                    continue
                self._stopped("pause" if wanted else self._reason(order))
                return
            if order is Order.RUN and time.monotonic() - since > _KEEP_EVERY_S:
                self._flags.order(Order.PAUSE)

    _paused = False

    def _reason(self, order: Order) -> str:
        assert self._here is not None
        if self._here[1] in self._breakpoints:
            return "breakpoint"
        return "step" if order is not Order.RUN else "pause"

    def _run_slice(self, until: int | None) -> bool:
        """Lets it run for a while. True when it is time for a pause."""
        self._paused = False
        clock, mcu = self.card.clock, self.card.mcu
        step = round(_PACE_US * self._speed) if self._speed else _SLICE_US
        end = time.monotonic() + _SLICE_S
        before = clock.now
        there = clock.now + step
        there = there if until is None else max(clock.now, min(there, until))
        self._advance(there, lambda: time.monotonic() >= end)
        wait = 0.0
        if self._speed and not mcu.held:
            wait = (clock.now - before) / 1e6 / self._speed - (time.monotonic() - end + _SLICE_S)
        request = self._request(max(0.0, wait)) if not mcu.held else None
        if request is not None:
            self._while_running(request)
        if until is not None and clock.now >= until and not mcu.held:
            self._flags.order(Order.PAUSE)
            return self._run_until_held(until + 3600 * 1_000_000)
        return False

    def _while_running(self, request: dict[str, Any]) -> None:
        if request["do"] == "breakpoints":
            self._do_breakpoints(request)
            return
        if request["do"] == "pause":
            self._paused = True
        elif request["do"] == "part":
            # At a statement, so that a replay does it there, too.
            self._flags.order(Order.PAUSE)
            if self._run_until_held():
                self._do_part(request)
                self._flags.go(Order.RUN)
                self._release()
            return
        self._flags.order(Order.PAUSE)
        self._run_until_held()

    def _advance(self, until_us: int, stop: Callable[[], bool]) -> None:
        try:
            self.card.mcu.run(until_us, stop=stop)
            self.card.after_run()
        except FirmwareCrashError as error:
            self._crash = error.what
        if self.card.mcu.state is ChipState.CRASHED and not self._crash:
            self._crash = "The firmware has ended."

    def _run_until_held(self, limit_us: int | None = None) -> bool:
        mcu, clock = self.card.mcu, self.card.clock
        limit_us = limit_us or clock.now + _MANY
        while not mcu.held and not self._crash and clock.now < limit_us:
            if mcu.state is not ChipState.RUNNING and self.card.next_time() is None:
                return False
            self._advance(clock.now + _SLICE_US, lambda: False)
        return mcu.held

    def _release(self) -> None:
        if self.card.mcu.held:
            self.card.mcu.answer_aside()

    def _stopped(self, reason: str, text: str = "") -> None:
        assert self._here is not None
        position, statement, depth = self._here
        self._quiet = False
        self._flags.has_paused()
        self._tell(
            {
                "stopped": reason, "text": text, "boot": position.boot, "count": position.count,
                "statement": statement, "depth": depth, "time_us": self.card.clock.now,
                "operations": position.operations,
            }
        )  # fmt: skip

    # -- keeping and going back ------------------------------------------------------------------

    def _keep(self) -> None:
        """A keeper of this instant, at which the firmware is held. In a keeper that is told to go
        on, raises _ResumedError."""
        assert self._here is not None
        position = self._here[0]
        if self._keepers and self._keepers[-1].position >= position:
            return
        ours, theirs = socket.socketpair()
        keeper = SnapshotKeeper(position, ours)
        self._keepers.append(keeper)
        flash = self.card.flash.memory
        pages = {
            at: bytes(flash[at : at + _PAGE])
            for at in range(0, len(flash), _PAGE)
            if flash[at : at + _PAGE] != b"\xff" * _PAGE
        }
        link = self.card.mcu.link
        assert isinstance(link, resident.ResidentLink)
        shared = [(memory, bytes(memory)) for memory in link.shared()]
        if os.fork():
            theirs.close()
            self._thin()
            return
        request = self._wait_as_keeper(theirs)
        # The engine now: what the processes have in common is made as it was.
        for memory, content in shared:
            memory[:] = content
        blank = b"\xff" * _PAGE
        for at in range(0, len(flash), _PAGE):
            flash[at : at + _PAGE] = pages.get(at, blank)
        resident.after_fork()
        raise _ResumedError(request)

    def _wait_as_keeper(self, channel: socket.socket) -> dict[str, Any]:
        """Forks for every request; returns in the children."""
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        poll = select.poll()
        poll.register(channel, select.POLLIN | select.POLLHUP)
        poll.register(self._channel, select.POLLHUP | select.POLLERR)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._channel.fileno():
                    os._exit(0)
            line = b""
            while not line.endswith(b"\n"):
                more = channel.recv(65536)
                if not more:
                    os._exit(0)
                line += more
            if line == _END:
                os._exit(0)
            if not os.fork():
                channel.close()  # the keeper's alone
                return json.loads(line)  # type: ignore[no-any-return]

    def _thin(self) -> None:
        """Of the older half every second one goes."""
        if len(self._keepers) > _KEEPERS:
            older = self._keepers[1 : _KEEPERS // 2 : 2]
            for keeper in older:
                keeper.end()
                keeper.channel.close()
                self._keepers.remove(keeper)

    def _hand_over(self, keeper: SnapshotKeeper, request: dict[str, Any]) -> NoReturn:
        """The engine goes on in a keeper's child; later keepers are of a future that is over."""
        for later in self._keepers:
            if later.position > keeper.position:
                later.end()
        shared = {"numbers": sorted(self._breakpoints), "heard": self._heard.decode()}
        keeper.channel.sendall(json.dumps(request | shared).encode() + b"\n")
        os._exit(0)

    def _before(self, position: Position) -> SnapshotKeeper | None:
        """The last keeper before a position."""
        found = [one for one in self._keepers if one.position < position and one.alive]
        return found[-1] if found else None

    def _do_find(self, request: dict[str, Any]) -> None:
        """In the stopped engine: hands over to the keeper that can find it. what: `step` (the
        statement before, at no greater depth), `hit` (the breakpoint before), `write` (of a
        sector, by its flash operation)."""
        assert self._here is not None
        position, _, depth = self._here
        what = request["what"]
        if what == "write":
            sector, address = self.card.board.flash_timing.sector, request["address"]
            found = [
                n for n, at in enumerate(self._writes)
                if address is None or at // sector == address // sector
            ]  # fmt: skip
            if not found:
                self._stopped("pause", "Nothing was written there so far.")
                return
            keepers = [
                one for one in self._keepers if one.position.operations <= found[-1] and one.alive
            ]
            until = Position(position.boot, position.count)
            self._search(keepers[-1], what, until, depth, operation=found[-1])
        keeper = self._before(Position(position.boot, position.count))
        if keeper is None:
            self._stopped("entry", "This is the first statement.")
            return
        self._search(keeper, what, position, depth)

    def _search(
        self, keeper: SnapshotKeeper, what: str, until: Position, depth: int, *,
        window: int = _WINDOW, operation: int = -1,
    ) -> NoReturn:  # fmt: skip
        self._hand_over(
            keeper,
            {
                "do": "search", "what": what, "boot": until.boot, "count": until.count,
                "depth": depth, "window": window, "operation": operation, "inputs": self._inputs,
            },
        )  # fmt: skip

    def _resume(self, request: dict[str, Any]) -> None:
        self._keepers = [one for one in self._keepers if one.alive]
        self._breakpoints = set(request["numbers"])
        self._flags.breakpoints(self._breakpoints)
        self._heard = request["heard"].encode()
        self._inputs = request["inputs"]
        self._quiet = True
        self._log.clear()
        self._crash = ""

    def _do_search(self, request: dict[str, Any]) -> None:
        """In a keeper's child."""
        self._resume(request)
        keeper = self._keepers[-1]
        until = Position(request["boot"], request["count"])
        what, depth, window = request["what"], request["depth"], request["window"]
        if what == "write":
            self._wanted_operation = request["operation"]
            self._replay(Order.TO, until)
            self._wanted_operation = -1
            assert self._here is not None
            after = self._here[0]
            self._go_to(keeper, Position(after.boot, max(1, after.count - 1)), "write")
        if what != "hit":
            first = Position(until.boot, until.count - window)
            if until.count > window and first > keeper.position:
                self._replay(Order.TO, first)
                self._keep()  # near: the way to the statement is short, and so are the next ones
                keeper = self._keepers[-1]
            else:
                first = keeper.position
        assert self._here is not None
        self._log.append(self._here)  # where it is held is logged by nobody
        self._replay(Order.LOG_HITS if what == "hit" else Order.LOG_ALL, until)
        log = [one for one in self._log if one[0] < Position(until.boot, until.count)]
        if what == "hit":
            log = [one for one in log if one[1] in self._breakpoints]
        elif what == "step":
            log = [one for one in log if one[2] <= depth]
        if log:
            self._go_to(keeper, log[-1][0], "breakpoint" if what == "hit" else what)
        if what != "hit" and len(self._keepers) > 1 and window < until.count:
            wider = Position(until.boot, max(1, until.count - window * 20))
            keeper = self._before(wider) or self._keepers[0]
            self._search(keeper, what, until, depth, window=window * 20)
        earlier = self._before(keeper.position)
        if earlier is None:
            self._go_to(keeper, keeper.position, "entry")
        self._search(earlier, what, keeper.position, depth)

    def _go_to(
        self, keeper: SnapshotKeeper, position: Position, reason: str, text: str = ""
    ) -> NoReturn:
        self._hand_over(
            keeper,
            {
                "do": "arrive", "boot": position.boot, "count": position.count, "reason": reason,
                "text": text, "inputs": self._inputs,
            },
        )  # fmt: skip

    def _do_arrive(self, request: dict[str, Any]) -> None:
        """In a keeper's child."""
        self._resume(request)
        position = Position(request["boot"], request["count"])
        assert self._here is not None
        here = self._here[0]
        if (here.boot, here.count) != (position.boot, position.count):
            self._replay(Order.TO, position)
        self._inputs = [one for one in self._inputs if (one[0], one[1]) <= (
            position.boot, position.count)]  # fmt: skip
        self._stopped(request["reason"], request["text"])

    def _replay(self, order: Order, until: Position) -> None:
        """Runs to a position, or to the end of the firmware; what was done on the way is done
        again."""
        assert self._here is not None
        for boot, count, name, action, value in self._inputs:
            at = Position(boot, count)
            if self._here[0] <= at <= until and not self._crash:
                if (self._here[0].boot, self._here[0].count) != (boot, count):
                    self._flags.order(order, boot, count)
                    self._release()
                    self._run_until_held()
                self.card.part(name).do(action, value)
        if (self._here[0].boot, self._here[0].count) == (until.boot, until.count):
            return
        self._flags.order(order, until.boot, until.count)
        self._release()
        self._run_until_held()

    def _go_to_crash(self) -> None:
        """To the statement that raised: with its variables, as it was before."""
        text = self._crash
        keeper = self._keepers[-1]
        self._hand_over(
            keeper, {"do": "last", "text": text, "inputs": self._inputs, "window": _WINDOW}
        )

    def _do_last(self, request: dict[str, Any]) -> None:
        self._resume(request)
        assert self._here is not None
        self._log.append(self._here)
        self._replay(Order.LOG_ALL, Position(1 << 31, 1 << 40))
        self._go_to(self._keepers[-1], self._log[-1][0], "exception", request["text"])

    # -- looking ---------------------------------------------------------------------------------

    _inputs: list[list[Any]] = []  # noqa: RUF012 (replaced, never changed)

    def _ask(self, source: str) -> Any:
        """Evaluates in the firmware's process. Raises TallyError with what went wrong there."""
        link = self.card.mcu.link
        assert link is not None
        said = link.prompt(source)
        try:
            return ast.literal_eval(said)
        except (ValueError, SyntaxError):
            raise TallyError(said) from None

    def _do_stack(self, request: dict[str, Any]) -> None:
        self._tell({"answer": self._ask("__import__('tallydebug').stack()")})

    def _do_variables(self, request: dict[str, Any]) -> None:
        frame = request["frame"]
        found = []
        for name in self._ask(f"__import__('tallydebug').names({frame})"):
            kind, shown = self._ask(f"__import__('tallydebug').shown({frame}, {name!r})")
            found.append([name, kind, shown])
        self._tell({"answer": found})

    def _do_evaluate(self, request: dict[str, Any]) -> None:
        frame, source = request["frame"], request["source"]
        module = "__import__('tallydebug')"
        self._tell(
            {
                "answer": self._ask(
                    f"{module}.evaluate({frame}, {source!r}, {module}.globals_of({frame}))"
                )
            }
        )

    def _do_part(self, request: dict[str, Any]) -> None:
        """Something happens to a part, at this statement."""
        assert self._here is not None
        position = self._here[0]
        name, action, value = request["name"], request["action"], request.get("value")
        self.card.part(name).do(action, value)
        self._inputs = [*self._inputs, [position.boot, position.count, name, action, value]]
        self._tell({"answer": {one.name: dict(one.state()) for one in self.card.fittings.parts}})

    def _do_parts(self, request: dict[str, Any]) -> None:
        self._tell({"answer": {one.name: dict(one.state()) for one in self.card.fittings.parts}})

    def _do_pause(self, request: dict[str, Any]) -> None:
        """It is paused already."""

    def _do_end(self, request: dict[str, Any]) -> None:
        os._exit(0)


def main(channel: int, flags: int) -> None:
    """See the module."""
    sock = socket.socket(fileno=channel)
    line = b""
    while not line.endswith(b"\n"):
        more = sock.recv(65536)
        if not more:
            return
        line += more
    with resident.enabled():
        try:
            engine = Engine(sock, Flags(flags), json.loads(line))
        except TallyError as error:
            sock.sendall(json.dumps({"failed": error.what}).encode() + b"\n")
            return
        engine.serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
