"""The Debug Adapter Protocol (version 1.6x, the specification of Microsoft) for one firmware.

A client (VS Code, or any other) sends requests over a socket or standard input; the firmware runs
in a process of its own (`engine.py`).
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import selectors
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from tallystick.common.errors import BadInputError, TallyError
from tallystick.tools.debugger.orders import Flags, Order, shared_flags

_THREAD = 1
_MOST = 1 << 20  # bytes of a message
_PARTS = 1 << 20  # variablesReference of the parts on the board
_STEPS = {
    "continue": Order.RUN, "next": Order.OVER, "stepIn": Order.IN, "stepOut": Order.OUT,
}  # fmt: skip
_BACK = {"stepBack": "step", "reverseContinue": "hit"}
_HELP = (
    ".press NAME   .do NAME ACTION [JSON]   .write [ADDRESS] (back to the last write of its sector)"
)


class Reading(Protocol):
    """What is not buffered, so that `select` tells of all that has come."""

    def fileno(self) -> int: ...

    def readline(self, size: int, /) -> bytes: ...

    def read(self, size: int, /) -> bytes | None: ...


class DapWire:
    """Messages of the protocol: a header with their length, then JSON."""

    def __init__(self, reading: Reading, writing: BinaryIO) -> None:
        self.reading, self._writing = reading, writing
        self._next = 1

    def read(self) -> dict[str, Any] | None:
        """None at the end. Raises BadInputError for what is no message: a web page can have a
        browser send something here, but not without headers of its own."""
        size = 0
        while (line := self.reading.readline(1024)) not in (b"\r\n", b"\n"):
            if not line:
                return None
            name, _, value = line.decode("ascii", "replace").partition(":")
            if name.lower() == "content-length" and value.strip().isdecimal():
                size = int(value)
            elif name.lower() != "content-type":
                raise BadInputError("What came is not the protocol.", kept="Nothing was done.")
        if not 0 < size <= _MOST:
            raise BadInputError("What came is not the protocol.", kept="Nothing was done.")
        content = b""
        while len(content) < size:
            more = self.reading.read(size - len(content))
            if not more:
                return None
            content += more
        try:
            message = json.loads(content)
        except ValueError:
            raise BadInputError("What came is no JSON.", kept="The session is over.") from None
        if not isinstance(message, dict) or message.get("type") != "request":
            raise BadInputError("What came is no request.", kept="The session is over.")
        return message

    def send(self, message: dict[str, Any]) -> None:
        content = json.dumps({"seq": self._next, **message}).encode()
        self._next += 1
        self._writing.write(b"Content-Length: %d\r\n\r\n%b" % (len(content), content))
        self._writing.flush()


class EngineChannel:
    """To the process with the firmware, which is another one after each way back."""

    def __init__(self, channel: socket.socket, flags: Flags) -> None:
        self.socket = channel
        self.flags = flags
        self._heard = b""

    def tell(self, request: dict[str, Any]) -> None:
        self.socket.sendall(json.dumps(request).encode() + b"\n")

    @property
    def waits(self) -> bool:
        """A message is here already."""
        return b"\n" in self._heard

    def hear(self) -> dict[str, Any]:
        """The next message. Raises TallyError when the process has ended."""
        while not self.waits:
            more = self.socket.recv(65536)
            if not more:
                raise TallyError("The debugged firmware's process has ended.")
            self._heard += more
        line, _, self._heard = self._heard.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        self.flags.want_pause()  # of a loop that would not hear that we are gone
        self.socket.close()


class _Engine(EngineChannel):
    """A process of its own."""

    def __init__(self, request: dict[str, Any]) -> None:
        ours, theirs = socket.socketpair()
        flags = shared_flags()
        command = [sys.executable, "-m", "tallystick.tools.debugger.engine"]
        with theirs:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno()), str(flags)],
                pass_fds=[theirs.fileno(), flags], stdin=subprocess.DEVNULL, stdout=sys.stderr,
            )  # fmt: skip
        super().__init__(ours, Flags(flags))
        os.close(flags)
        self.tell(request)

    def close(self) -> None:
        super().close()
        self._process.wait(60)


@dataclass(frozen=True)
class Offered:
    """A firmware that stands still already. ready: `FirmwareRecorder.ready`."""

    engine: EngineChannel
    ready: dict[str, Any]


def _wrong_in(wanted: dict[str, Any], condition: str, log: str | None) -> str:
    """Of a breakpoint, in words; "" where nothing is."""
    if wanted.get("hitCondition"):
        return "hits are not counted: give a condition"
    for source in (condition, *re.findall(r"\{([^{}]+)\}", log or "")):
        try:
            ast.parse(source.strip() or "0", mode="eval")
        except (SyntaxError, ValueError):
            return f"{source!r} is no expression"
    return ""


class DebugSession:
    """One client, until it goes. defaults: what `launch` may leave out. offered: in place of what
    it would launch."""

    def __init__(
        self, wire: DapWire, defaults: dict[str, Any], offered: Offered | None = None
    ) -> None:
        self._wire = wire
        self._defaults = defaults
        self._offered = offered
        self._engine: EngineChannel | None = None
        self._places: dict[int, tuple[str, int]] = {}
        self._functions: list[list[str]] = []
        self._breakpoints: dict[str, dict[int, tuple[str, str | None]]] = {}
        self._unfolded: list[tuple[int, str]] = []  # frame, what is asked there
        self._running = False
        self._stack: list[tuple[str, str, int]] = []  # file, function, line; outermost first
        self._entry: dict[str, Any] = {}
        self._stop_on_entry = False
        self._until_us: int | None = None
        self._over = False

    @property
    def began(self) -> bool:
        """The client had something to debug."""
        return self._engine is not None

    def run(self) -> None:
        """Serves until the client goes."""
        selector = selectors.DefaultSelector()
        selector.register(self._wire.reading, selectors.EVENT_READ)
        try:
            while not self._over:
                engine = self._engine
                if engine is not None and engine.waits:
                    self._event(engine.hear())
                    continue
                for key, _ in selector.select():
                    if key.fileobj is self._wire.reading:
                        if not self._serve():
                            return
                    elif engine is not None:
                        self._event(engine.hear())
                if self._engine is not None and self._engine is not engine:
                    selector.register(self._engine.socket, selectors.EVENT_READ)
        except TallyError as error:
            with contextlib.suppress(OSError):
                self._send_event("output", {"category": "stderr", "output": f"{error.what}\n"})
                self._send_event("terminated", {})
        except OSError:
            pass  # the client has gone, whatever it was at
        finally:
            selector.close()
            if self._engine is not None:
                self._engine.close()

    def _serve(self) -> bool:
        request = self._wire.read()
        if request is None:
            return False
        name = str(request.get("command", ""))
        do: Callable[[dict[str, Any]], Any] | None = getattr(self, f"_on_{name}", None)
        answer = {"type": "response", "request_seq": request.get("seq", 0), "command": name}
        try:
            if name in _STEPS or name in _BACK:
                do = lambda arguments: self._go(name)  # noqa: E731
            if do is None:
                raise BadInputError(f"The debugger does not know {name!r}.")
            body = do(request.get("arguments") or {})
        except TallyError as error:
            self._wire.send({**answer, "success": False, "message": error.what})
            return True
        except (LookupError, TypeError, ValueError, AttributeError):
            self._wire.send({**answer, "success": False, "message": "Its arguments are malformed."})
            return True
        after = body.pop("__after", None) if isinstance(body, dict) else None
        self._wire.send({**answer, "success": True, "body": body or {}})
        if after is not None:
            after()
        return True

    def _send_event(self, name: str, body: dict[str, Any]) -> None:
        self._wire.send({"type": "event", "event": name, "body": body})

    # -- the engine ------------------------------------------------------------------------------

    def _event(self, message: dict[str, Any]) -> None:
        if "printed" in message:
            category = "console" if message.get("log") else "stdout"
            self._send_event("output", {"category": category, "output": message["printed"]})
        elif "stopped" in message:
            self._stopped(message)

    def _stopped(self, message: dict[str, Any]) -> None:
        self._running = False
        self._stack.clear()
        self._unfolded.clear()
        if message["text"]:
            self._send_event("output", {"category": "stderr", "output": message["text"] + "\n"})
        at = f"{message['time_us'] / 1e6:.6f} s, statement {message['count']}"
        reason = {"write": "data breakpoint", "last": "exception"}.get(
            message["stopped"], message["stopped"]
        )
        self._send_event(
            "stopped",
            {
                "reason": reason, "description": f"{reason} at {at}", "threadId": _THREAD,
                "text": message["text"] or at, "allThreadsStopped": True,
            },
        )  # fmt: skip

    def _ask(self, request: dict[str, Any]) -> Any:
        """Waits for the answer. Raises TallyError with what the engine says."""
        engine = self._started()
        engine.tell(request)
        while True:
            message = engine.hear()
            if "answer" in message:
                if message.get("error"):
                    raise TallyError(message["error"])
                return message["answer"]
            self._event(message)

    def _started(self) -> EngineChannel:
        if self._engine is None:
            raise BadInputError("Nothing is being debugged yet.")
        return self._engine

    def _held(self) -> EngineChannel:
        engine = self._started()
        if self._running:
            raise BadInputError("The firmware is running.", todo="Pause it first.")
        return engine

    # -- requests --------------------------------------------------------------------------------

    def _on_initialize(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        return {
            "supportsConfigurationDoneRequest": True,
            "supportsStepBack": True,
            "supportsEvaluateForHovers": True,
            "supportsConditionalBreakpoints": True,
            "supportsLogPoints": True,
            "supportsTerminateRequest": True,
            "supportsDelayedStackTraceLoading": False,
        }

    def _on_launch(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if self._engine is not None:
            raise BadInputError("A firmware is being debugged already.", todo="Disconnect first.")
        wanted = self._defaults | {
            name: arguments[name]
            for name in ("project", "board", "seed", "speed")
            if arguments.get(name) is not None
        }
        if not isinstance(wanted.get("project"), str) and self._offered is None:
            raise BadInputError("`launch` names no project: the folder of the firmware.")
        self._stop_on_entry = bool(arguments.get("stopOnEntry"))
        until = arguments.get("until", self._defaults.get("until"))
        self._until_us = round(float(until) * 1e6) if until is not None else None
        if self._offered is not None:
            self._engine = engine = self._offered.engine
            ready, self._stop_on_entry = self._offered.ready, True
        else:
            self._engine = engine = _Engine(wanted)
            ready = engine.hear()
        if "failed" in ready:
            raise BadInputError(ready["failed"])
        self._places = {n: (file, line) for n, file, line in ready["lines"]}
        self._functions = ready["functions"]
        while "stopped" not in (message := engine.hear()):
            if "failed" in message:
                raise BadInputError(message["failed"])
            self._event(message)
        self._entry = message
        return {"__after": lambda: self._send_event("initialized", {})}

    _on_attach = _on_launch

    def _on_setBreakpoints(self, arguments: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        path = str(Path(arguments["source"].get("path", "")).resolve())
        found: list[dict[str, Any]] = []
        rules: dict[int, tuple[str, str | None]] = {}
        for wanted in arguments.get("breakpoints", []):
            place = self._statement(path, wanted["line"])
            rule = wanted.get("condition") or "", wanted.get("logMessage") or None
            wrong = _wrong_in(wanted, *rule) if place else "no statement on this line, or after it"
            if place is None or wrong:
                found.append({"verified": False, "line": wanted["line"], "message": wrong})
            else:
                rules[place[1]] = rule
                found.append({"verified": True, "line": place[0]})
        self._breakpoints[path] = rules
        every = {n: rule for one in self._breakpoints.values() for n, rule in one.items()}
        ruled = [[n, *rule] for n, rule in every.items() if rule != ("", None)]
        self._ask({"do": "breakpoints", "numbers": sorted(every), "rules": ruled})
        return {"breakpoints": found}

    def _statement(self, path: str, line: int) -> tuple[int, int] | None:
        """The first on this line or the next that has one, and its number."""
        there = [(at, n) for n, (file, at) in self._places.items() if file == path and at >= line]
        return min(there, default=None)

    def _on_setExceptionBreakpoints(self, _arguments: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {}

    def _on_configurationDone(self, _arguments: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self._held()
        if self._stop_on_entry:
            return {"__after": lambda: self._stopped(self._entry)}
        return {"__after": lambda: self._tell_go(Order.RUN)}

    def _on_threads(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        return {"threads": [{"id": _THREAD, "name": "firmware"}]}

    def _go(self, name: str) -> dict[str, Any]:
        self._held()
        if name in _BACK:
            return {"__after": lambda: self._find({"do": "find", "what": _BACK[name]})}
        return {"allThreadsContinued": True, "__after": lambda: self._tell_go(_STEPS[name])}

    def _tell_go(self, order: Order) -> None:
        self._running = True
        self._started().tell({"do": "go", "order": order.name, "until_us": self._until_us})
        self._until_us = None  # once

    def _find(self, request: dict[str, Any]) -> None:
        self._running = True
        self._started().tell(request)

    def _on_pause(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        engine = self._started()
        if self._running:
            # Also of a firmware that touches no hardware, whose engine hears nothing.
            engine.flags.want_pause()
            engine.tell({"do": "pause"})
        return {}

    def _on_stackTrace(self, arguments: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self._held()
        if not self._stack:
            found = self._ask({"do": "stack"})
            self._stack = [(path, name, line) for (path, name), line in found["above"]] + [
                (path, self._functions[function][1], self._places.get(at, (path, 0))[1])
                for (path, function), at in found["own"]
            ]
        frames = []
        for number in reversed(range(len(self._stack))):
            path, name, line = self._stack[number]
            frames.append(
                {
                    "id": number + 1, "name": name, "line": line, "column": 1,
                    "source": {"name": Path(path).name, "path": path},
                }
            )  # fmt: skip
        first = arguments.get("startFrame") or 0
        count = arguments.get("levels") or len(frames)
        return {"stackFrames": frames[first : first + count], "totalFrames": len(frames)}

    def _on_scopes(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self._held()
        frame = arguments["frameId"]
        scopes = [{"name": "Variables", "variablesReference": frame, "expensive": False}]
        path = self._stack[frame - 1][0] if 0 < frame <= len(self._stack) else None
        for number, (file, name, _) in enumerate(self._stack, 1):
            if file == path and number != frame and name == "<module>":
                scopes.append({"name": "Globals", "variablesReference": number, "expensive": True})
                break
        scopes.append({"name": "Parts", "variablesReference": _PARTS, "expensive": False})
        return {"scopes": scopes}

    def _on_variables(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self._held()
        reference = arguments["variablesReference"]
        if reference == _PARTS:
            parts = self._ask({"do": "parts"})
            rows = [[name, "part", json.dumps(state)] for name, state in parts.items()]
            return {
                "variables": [
                    {"name": name, "type": kind, "value": value, "variablesReference": 0}
                    for name, kind, value in rows
                ]
            }
        if reference > _PARTS:
            frame, source = self._unfolded[reference - _PARTS - 1]
            found = self._ask({"do": "inside", "frame": frame, "source": source})
        else:
            frame = reference - 1
            found = self._ask({"do": "variables", "frame": frame})
        return {
            "variables": [
                {
                    "name": name, "type": kind, "value": value,
                    **({"evaluateName": source} if source else {}),
                    "variablesReference": self._reference(frame, source) if unfolds else 0,
                }
                for name, kind, value, unfolds, source in found
            ]
        }  # fmt: skip

    def _reference(self, frame: int, source: str) -> int:
        """By which what is in a value is asked for, until it goes on."""
        self._unfolded.append((frame, source))
        return _PARTS + len(self._unfolded)

    def _on_evaluate(self, arguments: dict[str, Any]) -> dict[str, Any]:
        source = str(arguments.get("expression", ""))
        if source.startswith("."):
            return self._command(source)
        self._held()
        frame = arguments.get("frameId") or max(1, len(self._stack))
        asked = {"do": "evaluate", "frame": frame - 1, "source": source}
        kind, value, unfolds = self._ask(asked)
        reference = self._reference(frame - 1, source) if unfolds else 0
        return {"result": value, "type": kind, "variablesReference": reference}

    def _command(self, source: str) -> dict[str, Any]:
        """What is no Python: done to the board."""
        words = source.split(maxsplit=3)
        if words[0] == ".press" and len(words) == 2:
            done = self._ask({"do": "part", "name": words[1], "action": "press"})
        elif words[0] == ".do" and len(words) >= 3:
            try:
                value = json.loads(words[3]) if len(words) > 3 else None
            except ValueError:
                raise BadInputError(f"{words[3]!r} is no JSON.") from None
            done = self._ask({"do": "part", "name": words[1], "action": words[2], "value": value})
        elif words[0] == ".write" and len(words) <= 2:
            after = self._last_write(words[1] if len(words) == 2 else None)
            return {"result": "", "variablesReference": 0, "__after": after}
        else:
            raise BadInputError(_HELP)
        return {"result": json.dumps(done), "variablesReference": 0}

    def _last_write(self, address: str | None) -> Callable[[], None]:
        self._held()
        try:
            number = int(address, 0) if address is not None else None
        except ValueError:
            raise BadInputError(f"{address!r} is no address of the flash.") from None
        return lambda: self._find({"do": "find", "what": "write", "address": number})

    def _on_terminate(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        return {"__after": self._end}

    def _on_disconnect(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        return {"__after": self._end}

    def _end(self) -> None:
        self._over = True
        self._send_event("terminated", {})
