"""Whatever could be written down by somebody who listens: requests and answers, the bytes of the
serial line, what is logged or printed, files that come and go. No seed is in any of it."""

from __future__ import annotations

import base64
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TextIO

_AT_ONCE = 4 << 20  # bytes that are kept before they are looked through
_LONGEST = 256  # of a shape: what lies across two looks is not missed
_BETWEEN = b" \t\r\n:,-\\\"'"  # what may stand between its digits, or be wrapped around them
_LOWER = bytes(range(256)).lower()
_OF_URLS = bytes.maketrans(b"-_", b"+/")
OF_ANSWERS, LOG, SAID = "an answer", "the log", "what the programs say"


def _bare(content: bytes | bytearray) -> bytes | bytearray:
    """Whatever the case, and without what stands between digits."""
    return content.translate(_LOWER, _BETWEEN)


def _base64(content: bytes | bytearray) -> bytes | bytearray:
    """In one alphabet, on one line."""
    return content.translate(_OF_URLS, b"\r\n\\")


@cache
def _digits(seed: bytes) -> tuple[bytes, ...]:
    """How it would look `_bare`: in hexadecimal, base 32, numbers, and as Python shows bytes."""
    numbers = "".join(map(str, seed)).encode()
    written = (seed.hex().encode(), base64.b32encode(seed).rstrip(b"="), repr(seed)[2:-1].encode())
    return (*(bytes(_bare(one)) for one in written), numbers)


@cache
def _within_base64(seed: bytes) -> tuple[bytes, ...]:
    """In base 64, by itself or anywhere in something longer: what each place makes of it."""
    made = []
    for before in range(3):
        text = base64.b64encode(bytes(before) + seed)
        made.append(text[-(-before * 8 // 6) : (before + len(seed)) * 8 // 6])
    return tuple(made)


def found_in(content: bytes | bytearray, seeds: Mapping[str, bytes]) -> Iterable[str]:
    """Whose seeds are in it, in clear."""
    bare, lines = _bare(content), _base64(content)
    return [
        whose
        for whose, seed in seeds.items()
        if seed in content
        or any(shape in bare for shape in _digits(seed))
        or any(shape in lines for shape in _within_base64(seed))
    ]


class Eavesdropper(logging.Handler):
    """Hears every place's bytes. seeds: by whose they are, also those that come later. shown: those
    that an answer shows their owner, and nothing else may."""

    def __init__(self, seeds: Mapping[str, bytes], shown: Mapping[str, bytes]) -> None:
        super().__init__(logging.DEBUG)
        self._seeds, self._shown = seeds, shown
        self._heard: dict[str, bytearray] = {}
        self._waits = self.bytes = 0
        self.found: list[str] = []

    def hears(self, place: str, content: bytes) -> None:
        """place: what is listened to, for the sentence"""
        self._heard.setdefault(place, bytearray()).extend(content)
        self._waits += len(content)
        self.bytes += len(content)
        if self._waits > _AT_ONCE:
            self.look()

    def emit(self, record: logging.LogRecord) -> None:
        """Of `logging`: a line of the log."""
        self.hears(LOG, self.format(record).encode("utf-8", "replace") + b"\n")

    def look(self) -> None:
        """Through what was heard since the last time."""
        for place, content in self._heard.items():
            seeds = {**self._seeds, **({} if place == OF_ANSWERS else self._shown)}
            for whose in found_in(content, seeds):
                said = f"the seed of {whose} is in {place} in clear"
                if said not in self.found:
                    self.found.append(said)
            del content[:-_LONGEST]
        self._waits = 0


# -- what programs print, and the files that they touch ------------------------------------------


class _Overheard:
    """A stream whose words are heard as well: those of the thread that simulates."""

    def __init__(self, stream: TextIO, ear: Eavesdropper) -> None:
        self._stream, self._ear = stream, ear
        self._thread = threading.get_ident()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, words: str) -> int:
        if threading.get_ident() == self._thread:
            self._ear.hears(SAID, words.encode("utf-8", "replace"))
        return self._stream.write(words)


@contextmanager
def printed(ear: Eavesdropper) -> Iterator[None]:
    """What is printed meanwhile is heard."""
    before = sys.stdout, sys.stderr
    streams = [_Overheard(one, ear) for one in before]
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


Listener = Callable[[str, tuple[Any, ...]], None]
_listeners: list[Listener] = []


@cache
def _listen() -> None:
    """For the rest of the process: no hook can be taken away."""
    sys.addaudithook(_hook)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _listeners and event in _WATCHED:
        _listeners[-1](event, arguments)


_NETWORK = frozenset({"socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo"})
_OTHERS = frozenset({"subprocess.Popen", "os.system", "os.posix_spawn", "os.fork"})
_WATCHED = _NETWORK | _OTHERS | {"open", "os.remove"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_COMPILED = "__pycache__"  # of Python itself


@contextmanager
def within(folder: Path, ear: Eavesdropper, wrong: Callable[[str], None]) -> Iterator[None]:
    """What is asked of the operating system meanwhile, by the thread that simulates: no file is
    written elsewhere, not even for a moment, no other program is started and no network used. A
    file that goes is looked through before it does. wrong: is told what is."""
    thread, inside = threading.get_ident(), os.fspath(folder)
    before, tempfile.tempdir = tempfile.tempdir, inside

    def listener(event: str, arguments: tuple[Any, ...]) -> None:
        if threading.get_ident() != thread:
            return
        if event in _NETWORK or event in _OTHERS:
            wrong(f"{event} was asked of the operating system")
            return
        path = arguments[0]
        if not isinstance(path, str | bytes | os.PathLike):
            return
        place = os.fsdecode(path)
        if event == "open":
            if arguments[2] & _WRITES and not _is_ours(place, inside):
                wrong(f"the file {Path(place).name} is written elsewhere")
        elif place.startswith(inside) and Path(place).is_file():
            ear.hears("a file that is gone", Path(place).read_bytes())

    _listen()
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
        tempfile.tempdir = before


@contextmanager
def unwatched() -> Iterator[None]:
    """What is done meanwhile is an onlooker's, who may write where he likes."""

    def listener(event: str, arguments: tuple[Any, ...]) -> None:
        return

    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def _is_ours(place: str, inside: str) -> bool:
    return place.startswith(inside) or place == os.devnull or _COMPILED in place
