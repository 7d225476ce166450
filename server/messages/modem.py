"""Text messages by a modem of one's own at a serial port: AT commands (3GPP TS 27.005, 27.007),
each part of a message as a PDU (3GPP TS 23.040)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qs, unquote

from tallystick.common import moments
from tallystick.common.errors import BadInputError, UnreachableError
from tallystick.common.private_files import secret_in
from tallystick.common.secret import Secret

if TYPE_CHECKING:
    import serial

ANSWER_S = 10.0  # for one command
SENT_S = 60.0  # for a part of a message: the network has to take it
HEADER = 0x40  # in smpplib's kind of a part: it begins with a header that joins it to the others
UCS2 = 0x08
ONE_HOUR = 11  # how long the network keeps on trying: (11 + 1) × 5 minutes
LAST = re.compile(r"OK|ERROR|\+CM[ES] ERROR:.*")
END, ESCAPE = b"\x1a", b"\x1b"


class ModemError(Exception):
    """What the modem said to what, without the message."""


@dataclass(frozen=True)
class ModemGateway:
    """One session a message. device: of the serial port. pin: of the card in it, where it asks."""

    device: str
    baud: int = 115200
    pin: Secret | None = field(default=None, repr=False)

    @classmethod
    def named(cls, parts: SplitResult) -> ModemGateway:
        """By modem:///dev/ttyUSB0?baud=115200&pin=FILE. Raises BadInputError."""
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        baud = query.get("baud", "115200")
        if parts.netloc or not parts.path or not re.fullmatch(r"[0-9]{3,7}", baud):
            raise BadInputError(
                "The modem's address is not understood.",
                todo="Give modem:///dev/ttyUSB0, with ?baud=9600 where it is not 115200.",
            )
        return cls(unquote(parts.path), int(baud), _pin(query["pin"]) if "pin" in query else None)

    def send(self, to: str, text: str) -> str:
        """to: E.164. → what the modem answered. Raises UnreachableError."""
        parts, coding, kind = parts_of(text)
        with self._told(), self._opened() as modem:
            self._greet(modem)
            _ask(modem, "AT+CMGF=0")
            said = [
                _submit(modem, pdu_of(to, part, coding, joined=bool(kind & HEADER)))
                for part in parts
            ]
        return f"taken as {', '.join(said)}"

    def look(self) -> str:
        """Whether it answers, and its card is open. → its signal, as it tells it. Raises
        UnreachableError."""
        with self._told(), self._opened() as modem:
            self._greet(modem)
            return " ".join(_ask(modem, "AT+CSQ"))

    def _greet(self, modem: serial.Serial) -> None:
        for command in ("AT", "ATE0"):
            _ask(modem, command)
        said = " ".join(_ask(modem, "AT+CPIN?"))
        if "SIM PIN" in said and self.pin is not None:
            _ask(modem, f"AT+CPIN={self.pin.reveal().decode()}", shown="AT+CPIN=…")
        elif "READY" not in said:
            # A wrong PIN, three times, locks the card: it is never guessed, and given once.
            raise ModemError(f"its card asks for something: {said or 'nothing'}")

    @contextmanager
    def _opened(self) -> Iterator[serial.Serial]:
        import serial  # noqa: PLC0415

        with serial.Serial(
            self.device, self.baud, timeout=0.2, write_timeout=ANSWER_S, exclusive=True
        ) as modem:
            modem.reset_input_buffer()
            yield modem

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (ModemError, OSError, ValueError) as error:  # pyserial's are OSErrors
            what = str(error) if isinstance(error, ModemError) else type(error).__name__
            raise UnreachableError(
                f"The modem did not take the message: {what}.",
                kept="It is kept and tried again.",
                todo=f"See whether {self.device} is there, and run 'tally server doctor'.",
            ) from None


def parts_of(text: str) -> tuple[list[bytes], int, int]:
    """As smpplib cuts a message: parts, their coding, their kind (HEADER, where there are more).
    It has ` in the place of §, so that the one would arrive as the other: then as UCS-2."""
    from smpplib.gsm import make_parts  # noqa: PLC0415

    return make_parts(text, UCS2 if "`" in text else 0)  # type: ignore[no-any-return]


def pdu_of(to: str, part: bytes, coding: int, *, joined: bool) -> bytes:
    """An SMS-SUBMIT (TS 23.040, 9.2.2.2) without the service centre's address. part: as smpplib has
    it: characters of the default alphabet, one a byte, or UCS-2; after six bytes of header where
    it is joined to others."""
    digits = to.lstrip("+")
    swapped = digits + "F" * (len(digits) % 2)
    number = bytes(int(swapped[at + 1] + swapped[at], 16) for at in range(0, len(swapped), 2))
    header, content = (part[:6], part[6:]) if joined else (b"", part)
    if coding == UCS2:
        length, body = len(part), part
    else:
        # Characters begin at a multiple of seven bits after the header.
        before = -(-len(header) * 8 // 7)
        length = before + len(content)
        body = header + packed(content, before * 7 - len(header) * 8)
    first = 0x11 | (0x40 if joined else 0)
    head = bytes([first, 0, len(digits), 0x91]) + number
    return head + bytes([0, coding, ONE_HOUR, length]) + body


def packed(characters: bytes, fill: int = 0) -> bytes:
    """Seven bits each, the first in the lowest (TS 23.038, 6.1.2.1.1). fill: bits left empty."""
    value = sum((one & 0x7F) << (fill + 7 * at) for at, one in enumerate(characters))
    return value.to_bytes((fill + 7 * len(characters) + 7) // 8, "little")


def _submit(modem: serial.Serial, pdu: bytes) -> str:
    """→ the modem's number of it"""
    modem.write(f"AT+CMGS={len(pdu)}\r".encode())
    said = _until(modem, lambda said: "> " in said or _last(said), ANSWER_S, "AT+CMGS")
    if "> " not in said:
        raise ModemError(f"{' '.join(said.split())} to AT+CMGS")
    modem.write(b"00" + pdu.hex().upper().encode() + END)  # 00: the card's own service centre
    try:
        lines = _answered(modem, SENT_S, "AT+CMGS")
    except ModemError:
        modem.write(ESCAPE)
        raise
    found = next((line for line in lines if line.startswith("+CMGS:")), "")
    if not found:
        raise ModemError("it gave no number for what it took")
    return found.removeprefix("+CMGS:").strip()


def _ask(modem: serial.Serial, command: str, shown: str = "") -> list[str]:
    """→ its lines but the last. Raises ModemError."""
    modem.write(f"{command}\r".encode())
    lines = _answered(modem, ANSWER_S, shown or command)
    return [line for line in lines if line != command]  # an echo


def _answered(modem: serial.Serial, seconds: float, to: str) -> list[str]:
    said = _until(modem, _last, seconds, to)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if lines[-1] != "OK":
        raise ModemError(f"{lines[-1]} to {to}")
    return lines[:-1]


def _until(modem: serial.Serial, whole: Callable[[str], bool], seconds: float, to: str) -> str:
    """What it says until it is whole. Raises ModemError."""
    said, until = "", moments.steady() + seconds
    while not whole(said):
        if moments.steady() > until or len(said) > 10_000:
            raise ModemError(f"no answer to {to}")
        said += modem.read(max(1, modem.in_waiting)).decode("ascii", "replace")
    return said


def _last(said: str) -> bool:
    """Whether its last line is there, to its end."""
    lines = said.splitlines(keepends=True)
    whole = [line.strip() for line in lines if line.endswith(("\r", "\n")) and line.strip()]
    return bool(whole) and LAST.fullmatch(whole[-1]) is not None


def _pin(name: str) -> Secret:
    pin = secret_in(Path(name), "PIN")
    if not re.fullmatch(rb"[0-9]{4,8}", pin.reveal()):
        raise BadInputError(f"{name} holds no PIN of four to eight digits.")
    return pin
