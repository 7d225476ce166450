"""Whatever could be written down by somebody who listens: requests and answers, the bytes of the
serial line, what the server logs. No card's seed is in any of it."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterable, Mapping

_AT_ONCE = 4 << 20  # bytes that are kept before they are looked through
_LONGEST = 64  # of a shape: what lies across two looks is not missed


def shapes(seed: bytes) -> tuple[bytes, ...]:
    """How it would look: as bytes, in hexadecimal, base 32 and base 64."""
    hexadecimal = seed.hex().encode()
    return (
        seed, hexadecimal, hexadecimal.upper(), base64.b32encode(seed).rstrip(b"="),
        base64.b64encode(seed).rstrip(b"="), base64.urlsafe_b64encode(seed).rstrip(b"="),
    )  # fmt: skip


def found_in(content: bytes | bytearray, seeds: Mapping[str, bytes]) -> Iterable[str]:
    """Of which cards a seed is in it, in clear."""
    return [
        serial
        for serial, seed in seeds.items()
        if any(shape in content for shape in set(shapes(seed)))
    ]


class Eavesdropper(logging.Handler):
    """Hears every place's bytes. seeds: of all cards, also those that come later."""

    def __init__(self, seeds: Mapping[str, bytes]) -> None:
        super().__init__(logging.DEBUG)
        self._seeds = seeds
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
        self.hears("the server's log", self.format(record).encode() + b"\n")

    def look(self) -> None:
        """Through what was heard since the last time."""
        for place, content in self._heard.items():
            for serial in found_in(content, self._seeds):
                said = f"the seed of card {serial} is in {place} in clear"
                if said not in self.found:
                    self.found.append(said)
            del content[:-_LONGEST]
        self._waits = 0
