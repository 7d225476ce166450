"""`tally emulate reader --usb`, as a person starts it, and the finger that presses when it is asked
for.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

PIN = "2468"
DEVICE = "/dev/hidraw0"
TIMEOUT_S = 60  # of a busy machine
# umockdev keeps count of what is open under /dev, of few files at a time. Tests have their
# temporary files in /dev/shm: a browser's profile there is too much for it.
ON_DISK = "/var/tmp"
_TALLY = Path(sys.executable).with_name("tally")
# Tells where umockdev's world is, and holds it until its input ends.
_HOLD = 'echo "$UMOCKDEV_DIR"; read -r line'


class EmulatedReader:
    """environment: in which programs find the reader as /dev/hidraw0. attended: somebody lays
    `finger` down when it is asked for."""

    def __init__(self, process: subprocess.Popen[str], control: str, world: str) -> None:
        self._process = process
        self._http = httpx.Client(base_url=control, timeout=TIMEOUT_S)
        self.environment = {
            **os.environ, "LD_PRELOAD": "libumockdev-preload.so.0", "UMOCKDEV_DIR": world,
            "TMPDIR": ON_DISK,
        }  # fmt: skip
        self.finger: dict[str, Any] = {"finger": "right-thumb"}
        self.attended = True
        self.presses = 0
        self._stopping = False
        self._person = threading.Thread(target=self._press_when_asked, daemon=True)
        self._person.start()

    def state(self) -> dict[str, Any]:
        return self._http.get("/state").json()

    def _press_when_asked(self) -> None:
        with httpx.Client(base_url=self._http.base_url, timeout=TIMEOUT_S) as http:
            while not self._stopping:
                state = http.get("/state").json()
                if self.attended and state["waits_for_finger"] and state["finger"] is None:
                    self.presses += 1
                    http.post("/finger", json=self.finger)
                time.sleep(0.03)

    def run(self, *command: str, data: str = "") -> str:
        """A program's standard output. Raises CalledProcessError."""
        result = subprocess.run(
            command,
            check=False,
            input=data,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == 0, (command, result.stdout, result.stderr)
        return result.stdout

    def run_on_terminal(self, *command: str, answers: dict[str, str]) -> str:
        """A program that asks on its terminal; `answers`: text of the prompt → line. Its output."""
        # Not forkpty(): this process has threads.
        terminal, theirs = os.openpty()
        process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            stdin=theirs, stdout=theirs, stderr=theirs, env=self.environment,
        )  # fmt: skip
        os.close(theirs)
        out, answered, deadline = "", 0, time.monotonic() + 30
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                data = os.read(terminal, 4096).decode(errors="replace")
            except OSError:
                break
            if not data:
                break
            out += data
            for prompt, line in answers.items():
                if prompt in out[answered:]:
                    answered = len(out)
                    os.write(terminal, line.encode() + b"\n")
        os.close(terminal)
        assert process.wait(60) == 0, out
        return out

    def set_pin_and_enrol(self) -> None:
        """With libfido2's own tool, as a person does."""
        self.run_on_terminal("fido2-token", "-S", "/dev/hidraw0", answers={"PIN": PIN})
        self.run_on_terminal("fido2-token", "-S", "-e", "/dev/hidraw0", answers={"PIN": PIN})

    def power(self, *, on: bool) -> None:
        """Plugs it in or pulls it out."""
        self._http.post("/power", json={"on": on}).raise_for_status()

    def kill(self) -> None:
        """As kill -9 does."""
        self._stopping = True
        self._person.join(5)
        self._process.kill()

    def stop(self) -> None:
        self._stopping = True
        self._person.join(5)
        self._http.close()
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(20)
        assert self._process.stdout
        self._process.stdout.close()


def _read_until(stream: Any, done: Callable[[str], bool]) -> str:
    text = ""
    for line in stream:
        text += line
        if done(text):
            return text
    raise AssertionError(f"the reader did not start: {text}")


@contextmanager
def emulated_reader(seed: int = 0, *options: str) -> Iterator[EmulatedReader]:
    import json

    command = [
        str(_TALLY), "emulate", "reader", "--usb", "--control", "0", "--json", "--seed", str(seed),
        *options, "--", "sh", "-c", _HOLD,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    described = json.loads(_read_until(process.stdout, lambda text: text.endswith("}\n")))
    world = _read_until(process.stdout, lambda text: text.endswith("\n")).strip()
    reader = EmulatedReader(process, described["control"], world)
    try:
        yield reader
    finally:
        reader.stop()
