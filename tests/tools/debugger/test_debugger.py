"""The debugger over its protocol: forwards and back."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tallystick.tools.debugger.instrument import Debugged
from tests import needs

MAIN = """import time
from helper import Meter

meter = Meter(3)
total = 0


def add(a, b):
    result = a + b
    return result


def settle():
    with open("total.txt", "w") as file:
        file.write(str(total))


for turn in range(5):
    total = add(total, meter.read())
    settle()
    time.sleep(1)
print("total", total)
raise ValueError("the end")
"""
HELPER = '''"""A module with a class."""


class Meter:
    """Counts."""

    def __init__(self, step):
        self.step = step
        self.count = 0

    def read(self):
        self.count += self.step
        return self.count
'''


class Stop(NamedTuple):
    reason: str
    text: str


class Editor:
    """A client over a socket, as an editor has one."""

    def __init__(self, project: Path, *words: str) -> None:
        command = [sys.executable, "-m", "tallystick.cli", "debug", str(project), "--json"]
        self._process = subprocess.Popen(
            [*command, "--speed", "0", *words], stdout=subprocess.PIPE, text=True
        )
        text = ""
        while not text.endswith("}\n"):
            assert self._process.stdout
            text += self._process.stdout.readline()
        self.port = json.loads(text)["port"]
        self.connect()

    @classmethod
    def over(cls, process: subprocess.Popen[bytes]) -> Editor:
        """Over the standard input and output of a process."""
        made = cls.__new__(cls)
        made._process = process  # type: ignore[assignment]
        assert process.stdin and process.stdout
        made._reading, made._writing = process.stdout, process.stdin
        made._begin()
        return made

    def raw(self, content: bytes) -> None:
        self._writing.write(content)
        self._writing.flush()

    def leave(self) -> None:
        self._reading.close()
        with contextlib.suppress(OSError):
            self._writing.close()
        if self._socket is not None:
            self._socket.close()

    def connect(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self.port), 60)
        self._reading = self._socket.makefile("rb")
        self._writing = self._socket.makefile("wb")
        self._begin()

    _socket: socket.socket | None = None

    def _begin(self) -> None:
        self._events: list[dict[str, Any]] = []
        self._seq = 0
        self.printed = ""

    def close(self) -> None:
        self.leave()
        self._process.terminate()
        self._process.wait(60)
        if self._process.stdout:
            self._process.stdout.close()

    def send(self, command: str, **arguments: Any) -> int:
        self._seq += 1
        message = {"seq": self._seq, "type": "request", "command": command}
        content = json.dumps(message | {"arguments": arguments}).encode()
        self.raw(b"Content-Length: %d\r\n\r\n%b" % (len(content), content))
        return self._seq

    def _hear(self) -> dict[str, Any]:
        size = 0
        while (line := self._reading.readline()) not in (b"\r\n", b""):
            size = int(line.split(b":")[1])
        message: dict[str, Any] = json.loads(self._reading.read(size))
        if message.get("event") == "output":
            self.printed += message["body"]["output"]
        return message

    def wait(self, event: str) -> dict[str, Any]:
        """The next event of a name."""
        while True:
            message = self._events.pop(0) if self._events else self._hear()
            if message.get("event") == event:
                found: dict[str, Any] = message["body"]
                return found

    def ask(self, command: str, **arguments: Any) -> Any:
        """A request; → its answer's body, or the message of a refusal."""
        seq = self.send(command, **arguments)
        while True:
            message = self._hear()
            if message.get("request_seq") == seq:
                return message.get("body") if message["success"] else message["message"]
            self._events.append(message)

    def stop(self) -> Stop:
        body = self.wait("stopped")
        return Stop(body["reason"], body["text"])

    # -- what a person does ---------------------------------------------------------------------

    def begin(self, *places: tuple[Path, int], **arguments: Any) -> Stop:
        """Launches with breakpoints; → where it stops first."""
        assert self.ask("initialize")["supportsStepBack"]
        assert self.ask("launch", **arguments) == {}
        self.wait("initialized")
        self.set(*places)
        self.send("configurationDone")
        return self.stop()

    def set(self, *places: tuple[Path, int]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for path in dict.fromkeys(path for path, _ in places):
            lines = [{"line": line} for other, line in places if other == path]
            answer = self.ask("setBreakpoints", source={"path": str(path)}, breakpoints=lines)
            found += answer["breakpoints"]
        return found

    def rule(self, path: Path, **rules: dict[str, str]) -> list[dict[str, Any]]:
        """Breakpoints of a file that have more than a line: `_19={"condition": …}`."""
        wanted = [{"line": int(line[1:]), **more} for line, more in rules.items()]
        asked = self.ask("setBreakpoints", source={"path": str(path)}, breakpoints=wanted)
        found: list[dict[str, Any]] = asked["breakpoints"]
        return found

    def unfold(self, reference: int) -> dict[str, dict[str, Any]]:
        """What is in a variable, or a frame: by name."""
        found = self.ask("variables", variablesReference=reference)["variables"]
        return {one["name"]: one for one in found}

    def go(self, how: str) -> Stop:
        self.send(how, threadId=1)
        return self.stop()

    def where(self) -> list[tuple[str, int]]:
        """(function, line), the innermost first."""
        return [
            (frame["name"], frame["line"])
            for frame in self.ask("stackTrace", threadId=1)["stackFrames"]
        ]

    def variables(self, number: int = 0) -> dict[str, str]:
        """Of a frame, the innermost is 0."""
        frame = self.ask("stackTrace", threadId=1)["stackFrames"][number]["id"]
        found = self.ask("variables", variablesReference=frame)["variables"]
        return {one["name"]: one["value"] for one in found}


@pytest.fixture
def project(tmp_path):
    (tmp_path / "main.py").write_text(MAIN)
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "board.toml").write_text(
        'board = "pico"\n[[part]]\nkind = "button"\nname = "key"\npin = 15\n'
    )
    return tmp_path.resolve()


@pytest.fixture
def editor(project):
    made = Editor(project)
    yield made
    made.close()


def test_breakpoints_stack_and_variables(editor, project):
    stop = editor.begin((project / "main.py", 9))
    assert stop.reason == "breakpoint"
    assert editor.where() == [("add", 9), ("<module>", 19)]
    assert editor.variables() == {"a": "0", "b": "3"}  # result has no value yet
    editor.go("next")
    assert editor.variables() == {"a": "0", "b": "3", "result": "3"}
    assert editor.variables(1)["total"] == "0"
    assert editor.ask("evaluate", expression="result * total + 7", frameId=2)["result"] == "7"
    assert "NameError" in editor.ask("evaluate", expression="nothing", frameId=2)
    assert editor.go("continue").reason == "breakpoint"
    assert editor.variables() == {"a": "3", "b": "6"}


def test_a_condition_and_a_log_point_forwards_and_back(editor, project):
    main = project / "main.py"
    editor.begin(stopOnEntry=True)
    found = editor.rule(
        main, _20={"condition": "total in (9, 30)"}, _9={"logMessage": "{a} and {b}: {'x' * 2}"}
    )
    assert [one["verified"] for one in found] == [True, True]
    assert editor.go("continue").reason == "breakpoint"
    assert (editor.where()[0], editor.variables()["total"]) == (("<module>", 20), "9")
    assert editor.printed == "0 and 3: xx\n3 and 6: xx\n"
    editor.go("continue")
    assert editor.variables()["total"] == "30"
    said = editor.printed
    assert editor.go("reverseContinue").reason == "breakpoint"
    assert editor.variables()["total"] == "9"
    assert editor.go("reverseContinue").reason == "entry"  # 0, 3: it does not hold
    assert editor.printed == said  # what was logged once is not logged on the way back

    # A step goes over a breakpoint whose condition does not hold, and stops where one does.
    editor.rule(main, _19={}, _9={"condition": "a == 3"})
    editor.go("continue")
    assert editor.go("next").reason == "step" and editor.where() == [("<module>", 20)]
    editor.go("continue")
    assert editor.go("next").reason == "breakpoint" and editor.where()[0] == ("add", 9)
    assert editor.go("stepOut").reason == "step" and editor.where() == [("<module>", 20)]


def test_a_condition_that_seldom_holds_is_found_forwards_and_back(project):
    """Of thousands of times that it was come by."""
    (project / "main.py").write_text("n = 0\nwhile n < 2500:\n    n += 1\n    m = n\n1 / 0\n")
    editor = Editor(project)
    try:
        editor.begin(stopOnEntry=True)
        editor.rule(project / "main.py", _4={"condition": "n % 1000 == 7"})
        for n in ("7", "1007", "2007"):
            assert editor.go("continue").reason == "breakpoint"
            assert editor.variables()["n"] == n
        assert editor.go("continue").reason == "exception"  # its end
        for n in ("2007", "1007", "7"):
            assert editor.go("reverseContinue").reason == "breakpoint"
            assert editor.variables()["n"] == n
        assert editor.go("reverseContinue").reason == "entry"
    finally:
        editor.close()


def test_a_condition_that_is_wrong_is_told(editor, project):
    main = project / "main.py"
    editor.begin(stopOnEntry=True)
    found = editor.rule(
        main, _9={"condition": "a =="}, _20={"logMessage": "{)}"}, _21={"hitCondition": "3"}
    )
    assert [one["verified"] for one in found] == [False] * 3
    assert [one["message"] for one in found] == [
        "'a ==' is no expression", "')' is no expression",
        "hits are not counted: give a condition",
    ]  # fmt: skip
    editor.rule(main, _9={"condition": "nobody > 3"})
    stop = editor.go("continue")
    assert stop.reason == "breakpoint" and editor.where()[0] == ("add", 9)
    assert "nobody > 3" in stop.text and "NameError" in stop.text


def test_where_something_was_done_is_come_by_on_the_way_back(project):
    (project / "main.py").write_text("n = 0\nwhile n < 50:\n    n += 1\n    m = n\n")
    editor = Editor(project)
    try:
        editor.begin((project / "main.py", 4))
        editor.go("continue")
        editor.ask("evaluate", expression=".press key")
        editor.go("continue")
        editor.go("continue")
        assert editor.variables()["n"] == "4"
        seen = []
        for _ in range(3):
            editor.go("reverseContinue")
            seen.append(editor.variables()["n"])
        assert seen == ["3", "2", "1"]  # it was pressed at 2
    finally:
        editor.close()


VALUES = """class Badly:
    def __init__(self):
        self.x = 1

    def __repr__(self):
        return self.name


class Good:
    shared = 1

    def __init__(self):
        self.parts = {"a": [1, (2, 3)], 7: b"x"}
        self.big = bytearray(bytes(range(256)) * 40)
        self.many = list(range(5000))


def look(good, bad):
    for i in range(3, 4):
        text = "x" * 1000
        return i


look(Good(), Badly())
"""


def test_values_unfold_and_large_ones_are_shown_in_part(project):
    (project / "main.py").write_text(VALUES)
    editor = Editor(project)
    try:
        editor.begin((project / "main.py", 21))
        frame = editor.ask("stackTrace", threadId=1)["stackFrames"][0]["id"]
        there = editor.unfold(frame)
        assert there["i"]["value"] == "3" and not there["i"]["variablesReference"]
        assert there["bad"]["value"] == "(AttributeError in its __repr__)"
        assert "(1000 in all)" in there["text"]["value"]
        good = editor.unfold(there["good"]["variablesReference"])
        assert list(good) == ["big", "many", "parts"]
        assert "(10240 in all)" in good["big"]["value"]
        assert len(good["many"]["value"]) <= 401 and good["many"]["value"].endswith("…")
        parts = editor.unfold(good["parts"]["variablesReference"])
        assert parts["7"]["value"] == "b'x'" and not parts["7"]["variablesReference"]
        (inner,) = (
            one for one in editor.unfold(parts["'a'"]["variablesReference"]).values()
            if one["variablesReference"]
        )  # fmt: skip
        assert inner["value"] == "(2, 3)"
        asked = editor.ask("evaluate", expression=inner["evaluateName"], frameId=frame)
        assert asked["result"] == "(2, 3)"
        assert editor.unfold(asked["variablesReference"])["[1]"]["value"] == "3"
        rows = editor.unfold(good["big"]["variablesReference"])
        assert rows["[16]"]["value"].startswith("b'\\x10\\x11") and len(rows) == 201
        assert rows["…"]["value"] == "10240 in all: evaluate a slice"
        assert isinstance(editor.ask("variables", variablesReference=(1 << 20) + 999), str)
    finally:
        editor.close()


def test_tracebacks_name_the_lines_of_the_sources(project):
    (project / "helper.py").write_text(
        "# a comment\n\n\ndef fail(n):\n    # another\n    if n:\n\n        return 1 // 0\n"
    )
    (project / "main.py").write_text("import sys\nfrom helper import fail\n\ntry:\n    fail(1)\n"
                                     "except ZeroDivisionError as error:\n"
                                     "    sys.print_exception(error)\nfail(\n    2)\n")  # fmt: skip
    editor = Editor(project)
    try:
        stop = editor.begin()
        for text, line in ((editor.printed, 5), (stop.text, 8)):
            assert f'"main.py", line {line}, in' in text and '"helper.py", line 8, in fail' in text
    finally:
        editor.close()


def test_a_deep_stack_and_many_variables_are_shown(project):
    """They are longer than one message of the firmware's."""
    names = [f"a_rather_long_name_of_a_variable_{n}" for n in range(80)]
    made = "".join(f"{name} = {n}\n" for n, name in enumerate(names))
    (project / "main.py").write_text(
        f"{made}\n\ndef down(n):\n    if n:\n        down(n - 1)\n    return n\n\n\ndown(30)\n"
    )
    editor = Editor(project)
    try:
        editor.begin((project / "main.py", 86))
        where = editor.where()
        assert where[0] == ("down", 86) and where[30:] == [("down", 85), ("<module>", 89)]
        assert editor.variables(30) == {"n": "30"}
        found = editor.variables(31)
        assert [found[name] for name in names] == [str(n) for n in range(80)]
    finally:
        editor.close()


def test_stepping_in_over_and_out_of_modules_and_methods(editor, project):
    editor.begin((project / "main.py", 19))
    editor.go("stepIn")
    assert editor.where() == [("Meter.read", 12), ("<module>", 19)]
    assert editor.ask("evaluate", expression="self.count", frameId=2)["result"] == "0"
    editor.go("stepIn")
    editor.go("stepIn")
    assert editor.where()[0] == ("add", 9)  # of the same line, after the method
    editor.go("stepOut")
    assert editor.where() == [("<module>", 20)]
    editor.go("next")
    assert editor.where() == [("<module>", 21)]


def test_it_goes_back_by_a_statement_and_to_the_breakpoint_before(editor, project):
    editor.begin((project / "main.py", 20))
    seen = []
    for _ in range(3):
        seen.append((editor.variables()["total"], editor.where()))
        editor.go("continue")
    assert editor.variables()["total"] == "30"
    for expected in reversed(seen):
        assert editor.go("reverseContinue").reason == "breakpoint"
        assert (editor.variables()["total"], editor.where()) == expected
    assert editor.go("stepBack").reason == "step"
    assert editor.where() == [("<module>", 19)] and editor.variables()["total"] == "0"
    assert editor.go("reverseContinue").reason == "entry"
    assert editor.where() == [("<module>", 1)]
    assert editor.go("stepBack").reason == "entry"
    # And forwards again, as it went the first time.
    editor.go("continue")
    assert (editor.variables()["total"], editor.where()) == seen[0]


def test_every_statement_back_is_the_one_that_came_before(editor, project):
    editor.begin(stopOnEntry=True)
    way = [(editor.where(), editor.variables())]
    for _ in range(40):
        editor.go("stepIn")
        way.append((editor.where(), editor.variables()))
    at = len(way) - 1
    while at:
        # Over what a call did, as `next` does forwards.
        depth = len(way[at][0])
        at = next((n for n in reversed(range(at)) if len(way[n][0]) <= depth), 0)
        editor.go("stepBack")
        assert editor.where() == way[at][0]
        assert _same(editor.variables(), way[at][1])


def _same(found: dict[str, str], expected: dict[str, str]) -> bool:
    """But for the addresses of objects: to look at a variable takes room as well."""
    return _plain(found) == _plain(expected)


def _plain(variables: dict[str, str]) -> dict[str, str]:
    return {name: re.sub(r"at (0x)?[0-9a-f]+", "", value) for name, value in variables.items()}


def test_back_to_the_last_write_of_a_sector(editor, project):
    editor.begin((project / "main.py", 21))
    editor.go("continue")
    editor.ask("evaluate", expression=".write")
    stop = editor.stop()
    assert stop.reason == "data breakpoint"
    assert editor.where()[0][0] == "settle" and editor.variables(1)["total"] == "9"
    for inside in ("0xA0000", "0xA0ABC", "0x100A0ABC"):  # as the chip sees it, too
        editor.ask("evaluate", expression=f".write {inside}")
        assert editor.stop().reason == "data breakpoint" and editor.where()[0][0] == "settle"
        editor.go("continue")
    editor.ask("evaluate", expression=".write 0x1000")
    assert "Nothing was written" in editor.stop().text
    assert "no address" in editor.ask("evaluate", expression=".write here")


def test_a_crash_opens_on_its_statement(editor, project):
    stop = editor.begin()
    assert stop.reason == "exception" and "ValueError: the end" in stop.text
    assert editor.where() == [("<module>", 23)]
    assert editor.variables()["turn"] == "4" and editor.printed.startswith("total 45")
    editor.set((project / "main.py", 9))
    editor.go("reverseContinue")
    assert editor.variables() == {"a": "30", "b": "15"}


def test_what_was_done_to_parts_is_done_again(project):
    (project / "main.py").write_text(
        "import time\nfrom machine import Pin\nkey = Pin(15, Pin.IN, Pin.PULL_UP)\n"
        "n = 0\nwhile True:\n    if not key.value():\n        n += 1\n    time.sleep_ms(10)\n"
    )
    editor = Editor(project)
    try:
        editor.begin((project / "main.py", 8))
        assert "key" in editor.ask("evaluate", expression=".press key")["result"]
        editor.set((project / "main.py", 7))
        editor.go("continue")
        editor.go("continue")
        before = editor.variables()["n"]
        editor.go("stepBack")
        editor.set()
        editor.ask("setBreakpoints", source={"path": str(project / "main.py")}, breakpoints=[
            {"line": 7}])  # fmt: skip
        editor.go("reverseContinue")
        editor.go("continue")
        assert editor.variables()["n"] == before == "1"
        parts = editor.ask("variables", variablesReference=1 << 20)["variables"]
        assert parts[0]["name"] == "key"
        for wrong in (".do key kick", ".press nobody", ".do", ".do key press {"):
            assert isinstance(editor.ask("evaluate", expression=wrong), str)
    finally:
        editor.close()


def test_ten_minutes_and_back(project):
    """Keepers are far apart by then: the way is still the same, and short."""
    (project / "main.py").write_text(
        "import time\nn = 0\nwhile True:\n    n += 1\n    time.sleep_ms(100)\n"
    )
    editor = Editor(project)
    try:
        stop = editor.begin(until=600)
        assert stop.reason == "pause"
        n = int(editor.variables()["n"])
        assert 5990 <= n <= 6002
        for _ in range(6):
            editor.go("stepBack")
        assert int(editor.variables()["n"]) == n - 3
        editor.set((project / "main.py", 5))
        editor.go("reverseContinue")
        assert int(editor.variables()["n"]) in (n - 3, n - 4)
        editor.ask("setBreakpoints", source={"path": str(project / "main.py")}, breakpoints=[])
        assert editor.go("reverseContinue").reason == "entry"  # through keepers that have gone
        assert editor.where() == [("<module>", 1)]
    finally:
        editor.close()


def test_an_endless_loop_is_paused(project):
    (project / "main.py").write_text("n = 0\nwhile True:\n    n += 1\n")
    editor = Editor(project)
    try:
        editor.send("launch")
        editor.wait("initialized")
        editor.send("configurationDone")
        editor.send("pause", threadId=1)
        assert editor.stop().reason == "pause"
        editor.send("continue", threadId=1)
        editor.send("pause", threadId=1)
        assert editor.stop().reason == "pause"
        assert editor.where()[0][1] in (2, 3)
        editor.ask("disconnect")
    finally:
        editor.close()


def test_tasks_generators_and_interrupts_have_their_own_variables(project):
    (project / "main.py").write_text(
        "import asyncio\n\ndef squares(n):\n    for i in range(n):\n        yield i * i\n\n"
        "async def work(name, out):\n    for square in squares(3):\n"
        "        await asyncio.sleep_ms(10)\n        out.append((name, square))\n\n"
        "async def main(out):\n    await asyncio.gather(work('a', out), work('b', out))\n\n"
        "out = []\nasyncio.run(main(out))\nprint(out)\n"
    )
    editor = Editor(project)
    try:
        editor.begin((project / "main.py", 10))
        names = []
        for _ in range(4):
            names.append((editor.variables()["name"], editor.variables()["square"]))
            editor.go("continue")
        assert names == [("'a'", "0"), ("'b'", "0"), ("'a'", "1"), ("'b'", "1")]
        editor.go("reverseContinue")
        assert (editor.variables()["name"], editor.variables()["square"]) == ("'b'", "1")
    finally:
        editor.close()


def test_firmware_that_does_not_build_and_requests_that_are_none(editor, project):
    assert "does not know" in editor.ask("frobnicate")
    assert "Nothing is being debugged" in editor.ask("stackTrace", threadId=1)
    (project / "helper.py").write_text("def f(:\n")
    assert "helper.py does not compile" in editor.ask("launch")
    editor.raw(b"Content-Length: 3\r\n\r\nabc")
    editor.wait("terminated")
    (project / "helper.py").write_text(HELPER)
    editor.leave()
    editor.connect()  # the next client is served all the same
    assert editor.begin((project / "main.py", 9)).reason == "breakpoint"
    lines = [one["line"] for one in editor.set((project / "helper.py", 5))]
    assert lines == [7]  # the next line with a statement


def test_what_a_browser_sends_is_not_listened_to(editor):
    """A web page can make a browser post JSON to this port; its headers give it away."""
    body = json.dumps({"seq": 1, "type": "request", "command": "launch", "arguments": {}}).encode()
    for start in (b"POST / HTTP/1.1\r\nHost: x\r\n", b"GET / HTTP/1.1\r\n", b"X: 1\r\n"):
        editor.raw(start + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        editor.wait("terminated")
        editor.leave()
        editor.connect()
    for size in (b"0", b"-1", b"99999999", b"x", b""):
        editor.raw(b"Content-Length: " + size + b"\r\n\r\n")
        editor.wait("terminated")
        editor.leave()
        editor.connect()
    assert editor.ask("initialize")["supportsStepBack"]


def test_malformed_arguments_are_told(editor, project):
    editor.begin((project / "main.py", 9))
    for command, arguments in (
        ("setBreakpoints", {}), ("setBreakpoints", {"source": 7}), ("scopes", {}),
        ("variables", {"variablesReference": "x"}), ("launch", {}),
        ("evaluate", {"expression": "1", "frameId": "x"}),
    ):  # fmt: skip
        assert isinstance(editor.ask(command, **arguments), str), command
    assert editor.where()[0] == ("add", 9)  # it is all still there


def test_a_client_that_goes_in_the_middle_leaves_nobody_behind(project):
    (project / "main.py").write_text("n = 0\nwhile True:\n    n += 1\n")
    editor = Editor(project)
    try:
        editor.send("launch")
        editor.wait("initialized")
        editor.send("configurationDone")
        editor.leave()
        editor.connect()  # served once the other is gone
        assert editor.ask("initialize")["supportsStepBack"]
    finally:
        editor.close()


def test_one_line_may_have_several_statements_and_a_function_none():
    table = Debugged()
    text = table.instrument('def f():\n    """Doc."""\n\nx = 1; y = 2\n', Path("/a.py"))
    compile(text, "a", "exec")
    assert table.at("/a.py", 2) == (4, {min(n for n, (_, at) in table.places.items() if at == 4)})
    assert table.at("/a.py", 5) is None and table.at("/b.py", 1) is None


@needs.debug_client.mark
def test_the_client_of_visual_studio_code(editor, project):
    """Microsoft's client for tests of debug adapters: it knows nothing of ours."""
    editor.leave()
    script = Path(__file__).with_name("client.js")
    modules = os.environ["TALLY_NODE_MODULES"]
    done = subprocess.run(
        ["node", str(script), modules, str(editor.port), str(project / "main.py")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == "well\n", done.stderr


def test_over_standard_input_and_output(project):
    """As an editor starts it itself; what the firmware prints comes as words of the protocol."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tallystick.cli", "debug", str(project), "--stdio", "--speed", "0"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    editor = Editor.over(process)
    try:
        assert editor.begin((project / "main.py", 22)).reason == "breakpoint"
        assert editor.variables()["total"] == "45"
        editor.go("stepBack")
        assert editor.where() == [("<module>", 21)]
        editor.go("next")
        editor.go("next")
        assert editor.printed == "total 45\n"
        editor.ask("disconnect")
        assert process.wait(60) == 0
    finally:
        editor.close()
    # One that only goes leaves nothing behind, either.
    process = subprocess.Popen(
        [sys.executable, "-m", "tallystick.cli", "debug", str(project), "--stdio"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    editor = Editor.over(process)
    assert editor.ask("launch") == {}
    assert process.stdin
    process.stdin.close()
    assert process.wait(60) == 0
    editor.close()


def test_a_firmware_that_sleeps_is_paused_and_its_button_wakes_it(project):
    """Asleep it is at no statement: what is done to it then is done again at its own time."""
    (project / "main.py").write_text(
        "import time\nfrom machine import Pin, lightsleep\n"
        "key = Pin(15, Pin.IN, Pin.PULL_UP)\nseen = 0\n"
        "key.irq(lambda pin: None, Pin.IRQ_FALLING)\n"
        "while True:\n    lightsleep()\n    seen += 1\n"
    )
    editor = Editor(project)
    try:
        editor.send("launch")
        editor.wait("initialized")
        editor.set((project / "main.py", 8))
        editor.send("configurationDone")
        editor.ask("evaluate", expression=".press key")
        assert editor.stop().reason == "breakpoint" and editor.variables()["seen"] == "0"
        editor.go("stepBack")
        assert editor.where()[0] == ("<module>", 7)
        assert editor.go("continue").reason == "breakpoint" and editor.variables()["seen"] == "0"
    finally:
        editor.close()


def test_what_is_done_to_a_board_in_deep_sleep_is_done_again(project):
    """It has no process then: that is told at its own time."""
    (project / "main.py").write_text(
        "import machine\nfrom machine import Pin\nkey = Pin(15, Pin.IN, Pin.PULL_UP)\n"
        "down = not key.value()\nmachine.deepsleep(3_600_000)\n"
    )
    editor = Editor(project)
    try:
        editor.begin((project / "main.py", 5))
        assert editor.variables()["down"] == "False"
        editor.send("continue", threadId=1)
        editor.ask("evaluate", expression=".do key down")
        assert editor.stop().reason == "breakpoint"
        assert editor.variables()["down"] == "True"  # of the start after the sleep
        for _ in range(5):
            editor.go("stepBack")
        assert editor.variables()["down"] == "False"  # of the one before
        assert editor.where()[0] == ("<module>", 5)
        # Before it was pressed what will be is open again.
        assert editor.go("continue").reason == "breakpoint"
        assert editor.variables()["down"] == "False"
        # A pause of one that sleeps shows the statement that it went to sleep at.
        (project / "main.py").write_text("import machine\nmachine.deepsleep()\n")
        editor.ask("disconnect")
        editor.leave()
        editor.connect()
        editor.send("launch")
        editor.wait("initialized")
        editor.send("configurationDone")
        editor.send("pause", threadId=1)
        stop = editor.stop()
        assert stop.reason == "pause" and editor.where()[0] == ("<module>", 2)
    finally:
        editor.close()
