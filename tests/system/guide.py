"""Runs a page's commands as a reader would, in a folder and a home of their own.

A fenced block is run when the line before it is `<!-- run -->`, after all marked blocks above it.
`<!-- run: until "WORDS" -->` starts its command in a terminal of its own, waits for these words,
and leaves it running to the end. `<!-- run: shows "WORDS" -->` wants the words in what is printed.

What differs from reader to reader stands in a page as an example, and is replaced here: the ports
8080 and 8081 by free ones, `/dev/pts/3` by the serial port that the emulated card printed, and the
code 123456 by one that is on the card's display after a press.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import httpx

_BLOCK = re.compile(r"^<!-- run(?:: (until|shows) \"(.+?)\")? -->\n```\w*\n(.*?)^```", re.M | re.S)
_WAIT_S = 60


@dataclass(frozen=True)
class Block:
    """Shell lines of a page. what: "", "until" or "shows"; words: which."""

    lines: str
    what: str
    words: str


def blocks(page: Path) -> Iterator[Block]:
    for what, words, lines in _BLOCK.findall(page.read_text(encoding="utf-8")):
        yield Block(lines, what, words)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Terminal:
    """A command that goes on, and what it has printed."""

    def __init__(self, lines: str, folder: Path, environment: dict[str, str]) -> None:
        self.said = ""
        self._process = subprocess.Popen(
            ["bash", "-c", f"exec {lines}"], cwd=folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            with self._more:
                self.said += line
                self._more.notify_all()

    def wait_for(self, words: str) -> None:
        with self._more:
            there = self._more.wait_for(lambda: words in self.said, _WAIT_S)
        assert there, f"{words!r} did not come: {self.said}"

    def end(self) -> None:
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(_WAIT_S)
        self._reader.join(_WAIT_S)
        assert self._process.stdout
        self._process.stdout.close()


@dataclass
class Reader:
    """Somebody who follows a page. folder: where; it is the home, too."""

    folder: Path
    terminals: list[Terminal] = field(default_factory=list)
    server: int = field(default_factory=free_port)
    control: int = field(default_factory=free_port)
    _pressed: bool = False

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        for one in reversed(self.terminals):
            one.end()

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("TALLY_", "XDG_", "PYTEST"))
        }
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**kept, "HOME": str(self.folder), "PATH": path, "COLUMNS": "100"}

    def follow(self, page: Path) -> list[str]:
        """→ what each block printed. Fails where a command fails, or words do not come."""
        return [self.run(block) for block in blocks(page)]

    def run(self, block: Block) -> str:
        lines = self._as_here(block.lines)
        if block.what == "until":
            self.terminals.append(Terminal(lines, self.folder, self.environment))
            self.terminals[-1].wait_for(block.words)
            return self.terminals[-1].said
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", lines], cwd=self.folder, env=self.environment,
            capture_output=True, text=True, timeout=_WAIT_S * 2, check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"{lines}\n{said}"
        assert block.words in said, f"{block.words!r} is not in: {said}"
        return said

    def _as_here(self, lines: str) -> str:
        lines = re.sub(r"\b8080\b", str(self.server), lines)
        lines = re.sub(r"\b8081\b", str(self.control), lines)
        if "/dev/pts/3" in lines:
            said = "".join(one.said for one in self.terminals)
            found = re.search(r"/dev/pts/\d+", said)
            assert found, f"no serial port in: {said}"
            lines = lines.replace("/dev/pts/3", found[0])
        return lines.replace("123456", self.press()) if "123456" in lines else lines

    def press(self) -> str:
        """Presses the emulated card's button, once the last code is gone; → the code shown."""
        with httpx.Client(base_url=f"http://127.0.0.1:{self.control}", timeout=_WAIT_S) as card:
            if self._pressed:
                card.post("/clock", json={"advance_ms": 40_000}).raise_for_status()
            self._pressed = True
            card.post("/button", json={}).raise_for_status()
            return str(card.get("/display", params={"format": "json"}).json()["code"])
