"""A board's MicroPython prompt on a pty, at the byte level: raw mode as MicroPython's documentation
describes it (`repl` reference, "raw REPL" and "raw-paste mode", with its flow control). Code that
comes is run, with the board's block device over a bytearray. A stand-in for the wire, not for a
board's flash chip.
"""

from __future__ import annotations

import io
import os
import pty
import sys
import threading
import tty
from contextlib import redirect_stdout
from types import ModuleType, SimpleNamespace

WINDOW = 1024
BANNER = b"raw REPL; CTRL-B to exit\r\n>"


class Flash:
    """`rp2.Flash` or `pyb.Flash` over bytes. writes: blocks written, in order."""

    def __init__(self, size: int, block: int) -> None:
        self.data = bytearray(b"\xff" * size)
        self.block = block
        self.writes: list[int] = []
        self.spoiled: int | None = None  # a block that keeps one bit

    def readblocks(self, number, buf, offset=0):
        at = number * self.block + offset
        buf[:] = self.data[at : at + len(buf)]

    def writeblocks(self, number, buf, offset=None):
        at = number * self.block
        assert len(buf) % self.block == 0
        self.data[at : at + len(buf)] = buf
        self.writes.append(number)
        if self.spoiled == number:
            self.data[at] ^= 1


class Prompt:
    """Serves one pty until `close`. log: every byte that the host sent."""

    def __init__(self, machine: str, flash: Flash) -> None:
        self.flash = flash
        self.resets = 0
        self.log = bytearray()
        self.machine = machine
        self.chip = bytes(8)
        self._master, slave = pty.openpty()
        tty.setraw(slave)
        self.port = os.ttyname(slave)
        self._slave = slave
        self._names: dict[str, object] = {}
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        os.write(self._slave, b"\xff")  # wakes the reader
        self._thread.join(5)
        os.close(self._master)
        os.close(self._slave)

    def _serve(self) -> None:
        raw = False
        code = bytearray()
        while True:
            data = os.read(self._master, 1)
            self.log += data
            if data == b"\xff":
                return
            if data == b"\x01":
                raw = True
                code.clear()
                os.write(self._master, BANNER)
            elif raw and data == b"\x05":
                assert os.read(self._master, 2) == b"A\x01"
                out, error = self._run(self._pasted().decode())
                os.write(self._master, out + b"\x04" + error + b"\x04>")
            elif raw and data == b"\x04":
                os.write(self._master, b"OK")
                out, error = self._run(code.decode())
                code.clear()
                os.write(self._master, out + b"\x04" + error + b"\x04>")
            elif raw and data not in (b"\x03", b"\r"):
                code += data

    def _pasted(self) -> bytes:
        """Raw-paste mode: a window of bytes at a time, each granted with 01; 04 ends the code."""
        os.write(self._master, b"R\x01" + WINDOW.to_bytes(2, "little"))
        code = bytearray()
        granted = 0
        while not code.endswith(b"\x04"):
            code += os.read(self._master, WINDOW)
            while len(code) - granted >= WINDOW:
                granted += WINDOW
                os.write(self._master, b"\x01")
        self.log += code
        os.write(self._master, b"\x04")
        return bytes(code[:-1])

    def _run(self, code: str) -> tuple[bytes, bytes]:
        text = io.StringIO()
        modules = {
            "rp2": SimpleNamespace(Flash=lambda: self.flash),
            "pyb": SimpleNamespace(Flash=lambda start: self.flash),
            "machine": SimpleNamespace(reset=self._reset, unique_id=lambda: self.chip),
            "os": SimpleNamespace(uname=lambda: SimpleNamespace(machine=self.machine)),
        }
        real = {name: sys.modules.get(name) for name in modules}

        def bring(name, *rest):
            return modules[name] if name in modules else __import__(name, *rest)

        builtins = dict(vars(sys.modules["builtins"]), __import__=bring)
        self._names["__builtins__"] = builtins
        try:
            with redirect_stdout(text):
                exec(code, self._names)
        except Exception as failure:
            return text.getvalue().encode(), f"{type(failure).__name__}: {failure}\r\n".encode()
        finally:
            for name, module in real.items():
                assert isinstance(module, ModuleType | None), name
        return text.getvalue().encode(), b""

    def _reset(self) -> None:
        self.resets += 1
