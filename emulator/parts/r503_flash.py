"""What an R503-class module keeps without power: its parameters and the enrolled templates."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Container
from dataclasses import dataclass, field

from tallystick.common.errors import BadInputError
from tallystick.emulator.fingerprints.levels import THRESHOLDS

CAPACITY = 200  # fingers


# What its parameters may be: register 4 (times 9600 baud), 5 and 6 of SetSysPara.
BAUDS = (1, 2, 4, 6, 12)
LEVELS = tuple(THRESHOLDS)
PACKET_CODES = (0, 1, 2, 3)
_WORDS = range(1 << 32)

_HEADER, _MINUTIA = 26, 6  # bytes of a record, and of each minutia behind it
# What a file that somebody else wrote makes of those who read it.
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


def _one_of(value: int, good: Container[int]) -> int:
    """Raises ValueError."""
    if value not in good:
        raise ValueError(value)
    return value


def _nobody() -> None:
    """Nobody keeps it."""


Template = tuple[bytes, ...]  # one ISO/IEC 19794-2 record a sample


def is_record(data: bytes) -> bool:
    """Whole, by what it says of itself: whoever compares it looks for no more than that."""
    if not data.startswith(b"FMR\0") or len(data) < _HEADER:
        return False
    return len(data) == int.from_bytes(data[8:12], "big") == _HEADER + _MINUTIA * data[_HEADER - 1]


def _template(records: list[str]) -> Template:
    """Raises ValueError, TypeError."""
    found = tuple(b64decode(record, validate=True) for record in records)
    if not found or not all(is_record(one) for one in found):
        raise ValueError("there is no such template")
    return found


@dataclass
class SensorFlash:
    """`templates` by page number. The password does not show in a repr, nor do templates. on_write:
    told after each change that the module makes."""

    password: int = field(default=0, repr=False)
    address: int = 0xFFFFFFFF
    baud_n: int = 6  # baud rate = 9600 · N
    level: int = 3
    packet_code: int = 2  # data packets of 32 << code bytes
    templates: dict[int, Template] = field(default_factory=dict, repr=False)
    on_write: Callable[[], None] = field(default=_nobody, repr=False, compare=False)

    def encode(self) -> bytes:
        """All of it, for a file. It holds biometric data: treat the file as a secret."""
        pages = {
            str(page): [b64encode(record).decode() for record in template]
            for page, template in sorted(self.templates.items())
        }
        value = {
            "format": "tallystick-r503/1",
            "password": self.password,
            "address": self.address,
            "baud_n": self.baud_n,
            "level": self.level,
            "packet_code": self.packet_code,
            "templates": pages,
        }
        return json.dumps(value, indent=1).encode()

    @classmethod
    def decode(cls, data: bytes) -> SensorFlash:
        """Raises BadInputError when `data` is not what `encode` wrote."""
        try:
            value = json.loads(data)
            if value["format"] != "tallystick-r503/1":
                raise ValueError(value["format"])
            templates = {
                int(page): _template(records) for page, records in value["templates"].items()
            }
            for page in templates:
                _one_of(page, range(CAPACITY))
            return cls(
                password=_one_of(int(value["password"]), _WORDS),
                address=_one_of(int(value["address"]), _WORDS),
                baud_n=_one_of(int(value["baud_n"]), BAUDS),
                level=_one_of(int(value["level"]), LEVELS),
                packet_code=_one_of(int(value["packet_code"]), PACKET_CODES),
                templates=templates,
            )
        except _UNREADABLE as error:
            raise BadInputError(
                "The fingerprint sensor's memory file cannot be read.",
                kept="The file was not changed.",
                todo="Use a file that this emulator wrote, or delete it to begin anew.",
            ) from error
