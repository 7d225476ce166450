"""The conformance script of the ports: every call of the port's modules that firmware makes, with
right arguments and with edge ones, as a program for one board, and what it says.

`calls/*.txt` are the calls, `transcripts/*.txt` what MicroPython itself makes of them on an
emulator that executes its instructions. Ours is held to that (`test_conformance.py`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tallystick.emulator.boards import find
from tallystick.emulator.devices.image import Image
from tallystick.tools.image.folder import from_folder

HERE = Path(__file__).parent
END = b"\nend\n"
MODULES = (
    "machine", "stm", "rp2", "time", "os", "vfs", "uctypes", "cryptolib", "hashlib", "framebuf",
    "select", "gc", "sys", "micropython",
)  # fmt: skip
"""Those whose calls are compared."""

# What of a line's modules a board has; the others say ImportError at the start.
_MAIN = """\
import gc
gc.threshold(8192)
import calls
calls.run()
"""
_RUN = """\
import gc
import io
import time

import machine

CALLS = {calls!r}
names = {{"line": machine.UART({uart}, {baud}, rxbuf=512), "UART": {uart}, {constants}}}
names["baud"] = {baud}
said = []


def put(text):
    line = names["line"]
    for at in range(0, len(text), 64):
        part = text[at : at + 64].encode()
        while part:
            part = part[line.write(part) or 0 :]


def took(action, *args):
    began = time.ticks_us()
    action(*args)
    return time.ticks_diff(time.ticks_us(), began)


names["took"] = took


def flush():
    for text in said:
        put(text)
    said.clear()
    gc.collect()


def one(call):
    try:
        try:
            value = eval(call, names)
        except SyntaxError:
            exec(call, names)
            return
        if value is not None:
            said.append("  = %r\\n" % (value,))
    except Exception as error:
        said.append("  ! %s: %s\\n" % (type(error).__name__, error))


def run():
    for name in {modules!r}:
        try:
            names[name] = __import__(name)
        except ImportError as error:
            said.append("! %s: %s\\n" % (name, error))
    mute = False
    for number, call in enumerate(CALLS):
        said.append("%d\\n" % number)
        if "UART(" in call:
            time.sleep_ms(50)  # what waits to be sent would be lost
        # These, and a UART that is refused, leave the line unusable until it is made again.
        mute = mute or "lightsleep(" in call or ".deinit()" in call or "UART(" in call
        one(call)
        if call.startswith("line = "):
            mute = False
        if not mute and "line" not in call:
            flush()
    flush()
    put("\\nend\\n")
    while True:
        time.sleep_ms(1000)
"""


@dataclass(frozen=True)
class Script:
    """Of a board: its groups of calls, and the names that they use. part: which of its programs;
    one would not fit in its heap.
    """

    board: str
    groups: tuple[str, ...]
    constants: str
    baud: int = 115200
    part: str = ""

    @property
    def name(self) -> str:
        return self.board + self.part

    def calls(self) -> list[str]:
        lines = [
            line
            for group in self.groups
            for line in (HERE / "calls" / f"{group}.txt").read_text().splitlines()
        ]
        return [line.replace("\\n", "\n") for line in lines if line and not line.startswith("# ")]

    def image(self) -> Image:
        """The program, in place of the board's firmware."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "main.py").write_text(_MAIN)
            (folder / "calls.py").write_text(
                _RUN.format(
                    calls=tuple(self.calls()),
                    uart=find(self.board).uart,
                    baud=self.baud,
                    constants=self.constants,
                    modules=(*MODULES, "io"),
                )
            )
            # The MicroPython that was recorded has our own start, which mounts to be read only.
            return replace(from_folder(folder, self.board), writable=False)

    def transcript(self, said: bytes) -> str:
        """What the program said, with the calls in place of their numbers."""
        calls = self.calls()
        lines = []
        for line in (
            said.replace(b"\0", b"").decode(errors="replace").partition("\nend\n")[0].splitlines()
        ):
            lines.append("> " + calls[int(line)].replace("\n", "\\n") if line.isdigit() else line)
        return "\n".join(lines) + "\n"

    @property
    def recorded(self) -> Path:
        return HERE / "transcripts" / f"{self.name}.txt"


_RP2_CARD = (
    '"BUTTON": 15, "BUTTON_PULL": machine.Pin.PULL_UP, "DOCK": 14, "SPARE": 345, "SCRATCH": {}'
)
SCRIPTS = {
    script.name: script
    for script in (
        Script(
            "nucleo_l476rg", ("common", "card", "stm32"),
            '"BUTTON": "A0", "BUTTON_PULL": machine.Pin.PULL_DOWN, "DOCK": "C5"',
        ),
        Script("pico", ("common", "card", "rp2", "pico_card"), _RP2_CARD.format("0x4005800C")),
        Script(
            "pico2_card", ("common", "card", "rp2", "pico_card"), _RP2_CARD.format("0x400D800C")
        ),
        Script("pico2", ("common", "rp2", "reader"), '"SPARE": 700', 57600),
        Script("nucleo_l476rg", ("stm32_shown",), "", part="_shown"),
        Script("pico", ("rp2_shown", "pico_shown"), "", part="_shown"),
        Script("pico2", ("rp2_shown",), "", 57600, part="_shown"),
        Script("nucleo_l476rg", ("stm32_used",), "", part="_used"),
        Script("pico", ("rp2_used", "pico_used"), "", part="_used"),
        Script("pico2", ("rp2_used",), "", 57600, part="_used"),
    )
}  # fmt: skip


def run_until_end(sent: bytearray, run: Callable[[int], object], limit_ms: int = 60_000) -> bytes:
    """Runs a chip (`run(ms)`) until the program has said its end on its line (`sent`)."""
    for _ in range(limit_ms // 50):
        if END in sent:
            return bytes(sent)
        run(50)
    tail = bytes(sent[-200:]).decode(errors="replace")
    raise AssertionError(f"the program did not come to its end; it last said {tail!r}")
