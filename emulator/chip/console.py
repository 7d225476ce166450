"""What a firmware prints, and the tracebacks in it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

_KEPT = 65_536  # characters
# A frame of the port, which on the board is C and leaves none (micropython.py compiles it so).
_OURS = re.compile(r'(?m)^  File "~[^\n]*\n')
_FRAME = re.compile(r'(  File "([^"\n]+)", line )(\d+)')
# Not of a firmware that was interrupted from here.
_LAST_WORDS = re.compile(
    r"Traceback \(most recent call last\):\n(?:  .*\n)+(?!KeyboardInterrupt)\S.*\n?\Z"
)


class ChipConsole:
    """`descriptor` is of the file that takes it, `printed` the last 65,536 characters of what was
    taken from there, since the chip was made.
    """

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("tally-console", os.MFD_CLOEXEC)
        self.printed = ""
        self.source_lines: Mapping[str, tuple[int, ...]] = {}  # see `Image.lines`
        self._since_start = ""

    def close(self) -> None:
        os.close(self.descriptor)

    def take(self) -> str:
        """What has been printed since."""
        size = os.fstat(self.descriptor).st_size
        if not size:
            return ""
        raw = os.pread(self.descriptor, size, 0).decode(errors="replace")
        os.ftruncate(self.descriptor, 0)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        text = self.of_source(raw.replace("\r\n", "\n"))
        self.printed = (self.printed + text)[-_KEPT:]
        self._since_start = (self._since_start + text)[-_KEPT:]
        return text

    def last_line(self) -> str:
        return self.printed.strip().rpartition("\n")[2]

    def last_words(self) -> str:
        """The traceback that a firmware ended with which has ended, "" without one."""
        found = _LAST_WORDS.search(self._since_start)
        self._since_start = ""
        return found[0] if found else ""

    def of_source(self, text: str) -> str:
        """Tracebacks with the lines of the sources, where the image was made of others."""
        if not self.source_lines:
            return text

        def told(found: re.Match[str]) -> str:
            lines, line = self.source_lines.get(found[2], ()), int(found[3])
            return f"{found[1]}{lines[line - 1] if 0 < line <= len(lines) else line}"

        return _FRAME.sub(told, text)

    def of_firmware(self, traceback: str) -> str:
        """A traceback without the port's own frames."""
        return self.of_source(_OURS.sub("", traceback))
