"""Where the bytes of a flash are: in memory that the firmware's process maps too. Of many flashes
that began with the same content, those that nobody looks at keep only the pages that differ."""

from __future__ import annotations

import ctypes
import mmap
import os

from tallystick.emulator import coverage

_PAGE = 4096
Pages = dict[int, bytes]
"""Page number → content, of the pages that differ."""


class FlashMemory:
    """`size` bytes, `view` and `fd` to share them, and behind them the counters of an image that
    measures coverage. kept: descriptor of a file that is this memory, which gets a copy of it; what
    the file holds stays unless it is empty."""

    def __init__(self, size: int, content: bytes = b"", kept: int | None = None) -> None:
        self._size, self._kept = size, kept is not None
        counters = coverage.room()
        if kept is None:
            self.fd = os.memfd_create("tally-flash", os.MFD_CLOEXEC)
        else:
            self.fd = os.dup(kept)
            if os.fstat(kept).st_size:
                content = os.pread(kept, size, 0)
        os.ftruncate(self.fd, size + counters)
        self.view = mmap.mmap(self.fd, size)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.view))
        """Of `view`, in this process."""
        self.view[:] = content or b"\xff" * size
        self._counters = mmap.mmap(self.fd, counters, offset=size) if counters else None

    def close(self) -> None:
        if self._counters is not None:
            coverage.keep(self._counters[:])
            self._counters.close()
        self.view.close()
        if self._kept:
            os.ftruncate(self.fd, self._size)  # without the counters
        os.close(self.fd)


class FlashPool:
    """Memory for flashes that all begin with `content`, as many as are looked at at a time."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._free: list[tuple[FlashMemory, set[int]]] = []

    @property
    def idle(self) -> int:
        """Pieces of memory that nobody uses."""
        return len(self._free)

    def take(self, pages: Pages) -> FlashMemory:
        """Memory that holds `content` with these pages changed."""
        if self._free:
            memory, other = self._free.pop()
        else:
            memory, other = FlashMemory(len(self.content), self.content), set()
        view = memory.view
        for number in other - pages.keys():
            at = number * _PAGE
            view[at : at + _PAGE] = self.content[at : at + _PAGE]
        for number, data in pages.items():
            view[number * _PAGE : number * _PAGE + len(data)] = data
        return memory

    def give(self, memory: FlashMemory) -> Pages:
        """Takes the memory back; returns what has to be kept of it."""
        pages: Pages = {}
        now, first = memory.view, self.content
        for at in range(0, len(first), _PAGE):  # as bytes: views are compared one by one
            page = now[at : at + _PAGE]
            if page != first[at : at + _PAGE]:
                pages[at // _PAGE] = page
        self._free.append((memory, set(pages)))
        return pages

    def close(self) -> None:
        for memory, _ in self._free:
            memory.close()
        self._free.clear()
