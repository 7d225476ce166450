"""Driver of R503-class fingerprint modules (ZhianTec/GROW): packets on a UART, 57600 baud.

Packet, big endian: EF01 ‖ address (4) ‖ kind (1) ‖ length (2) ‖ payload ‖ sum of kind, length and
payload (2). Every wait goes through the `wait` given, so that others are served meanwhile.
"""

from time import ticks_add, ticks_diff, ticks_ms

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typed.board import Serial
    from typed.kinds import Wait

# What the module answers.
GOOD = const(0x00)
NO_FINGER = const(0x02)
CAPTURE_FAILED = const(0x03)
MESSY = const(0x06)
POOR = const(0x07)
NOT_FOUND = const(0x09)
MERGE_FAILED = const(0x0A)
NO_SUCH_PAGE = const(0x0B)
WRONG_PASSWORD = const(0x13)
LIBRARY_FULL = const(0x1F)

RED = const(1)
BLUE = const(2)
PURPLE = const(3)

_LONGEST = const(48)
_TRIES = const(3)
_TURN_MS = const(300)  # for what the module answers at once
_WORK_MS = const(2500)  # for what makes it work


class SensorError(Exception):
    """The module does not answer, or only noise."""


def _first(got: bytes) -> "tuple[bytes | None, bytes]":
    """The first whole answer, None when there is none yet; what is left to look through."""
    while True:
        start = got.find(b"\xef\x01")
        got = got[start if start >= 0 else max(0, len(got) - 1) :]
        if len(got) < 9:
            return None, got
        size = got[7] << 8 | got[8]
        if 3 <= size <= _LONGEST:
            if len(got) < 9 + size:
                return None, got
            packet = got[6 : 9 + size]
            if packet[0] == 7 and sum(packet[:-2]) & 0xFFFF == packet[-2] << 8 | packet[-1]:
                return packet[3:-2], got
        got = got[2:]


class R503:
    """uart: any, readinto, write. wait(ms): at most `ms`, less when bytes arrive."""

    def __init__(self, uart: "Serial", wait: "Wait") -> None:
        self._uart = uart
        self._wait = wait
        self._buffer = bytearray(_LONGEST)
        self._spoke = False  # in the last wait the module said something that is no answer

    # -- packets -------------------------------------------------------------------------------

    def _command(self, payload: bytes, limit_ms: int, tries: int = _TRIES, whole: int = 1) -> bytes:
        """The acknowledge's payload: confirmation code and what follows, together `whole` bytes
        where it is good. Raises SensorError.
        """
        size = len(payload) + 2
        body = bytes((1, size >> 8, size & 0xFF)) + payload
        packet = b"\xef\x01\xff\xff\xff\xff" + body + (sum(body) & 0xFFFF).to_bytes(2, "big")
        for _ in range(tries):
            if limit_ms == _WORK_MS:
                # Is it there at all? It would be waited for thrice otherwise. And what it has yet
                # to say to what was asked before, or says twice, comes before this.
                self.parameters()
            while self._uart.any():
                self._uart.readinto(self._buffer, _LONGEST)
            self._uart.write(packet)
            answer = self._acknowledge(limit_ms, whole)
            if answer is not None and answer[0] != 0x01:
                return answer
        raise SensorError

    def _acknowledge(self, limit_ms: int, whole: int) -> "bytes | None":
        """None when nothing whole comes in time. Nothing tells what an answer is to but its length:
        a good one of another is one that came late.
        """
        deadline = ticks_add(ticks_ms(), limit_ms)
        got = b""
        self._spoke = False
        while True:
            available = self._uart.any()
            if available:
                self._spoke = True
                count = self._uart.readinto(self._buffer, min(available, _LONGEST))
                got += bytes(self._buffer[:count])
                answer, got = _first(got)
                while answer is not None:
                    if answer[0] != GOOD or len(answer) == whole:
                        return answer
                    answer, got = _first(got[11 + len(answer) :])
                continue
            left = ticks_diff(deadline, ticks_ms())
            if left <= 0:
                return None
            self._wait(left)

    def _ask(self, *payload: int) -> int:
        """A command on images or templates; its confirmation code. Raises SensorError."""
        return self._command(bytes(payload), _WORK_MS)[0]

    def unasked(self) -> bool:
        """Something came that answers no command, as when the module starts. It is dropped."""
        came = False
        while self._uart.any():
            self._uart.readinto(self._buffer, _LONGEST)
            came = True
        return came

    # -- commands ------------------------------------------------------------------------------

    def verify_password(self, password: int) -> int:
        """VfyPwd: opens the module; its confirmation code. Raises SensorError."""
        asked = b"\x13" + password.to_bytes(4, "big")
        try:
            return self._command(asked, _TURN_MS)[0]
        except SensorError:
            if not self._spoke:
                raise
        # One that starts says so, and may not have heard what was asked before.
        return self._command(asked, _TURN_MS)[0]

    def set_password(self, password: int) -> int:
        """SetPwd: its confirmation code. Raises SensorError."""
        return self._command(b"\x12" + password.to_bytes(4, "big"), _TURN_MS)[0]

    def parameters(self) -> "tuple[int, int]":
        """(status register, capacity in templates). Raises SensorError."""
        answer = self._command(b"\x0f", _TURN_MS, whole=17)
        if answer[0] != GOOD:
            raise SensorError
        return answer[1] << 8 | answer[2], answer[5] << 8 | answer[6]

    def capture(self) -> int:
        """GetImageEx; its confirmation code. Raises SensorError."""
        return self._ask(0x28)

    def extract(self, buffer: int) -> int:
        """Img2Tz into buffer 1..6; its confirmation code. Raises SensorError."""
        return self._ask(0x02, buffer)

    def search(self, capacity: int) -> int:
        """The page that matches buffer 1, or -1. Raises SensorError."""
        asked = bytes((0x04, 1, 0, 0, capacity >> 8, capacity & 0xFF))
        answer = self._command(asked, _WORK_MS, whole=5)
        if answer[0] != GOOD:
            return -1
        return answer[1] << 8 | answer[2]

    def merge(self) -> int:
        """RegModel: uses the samples up, so it is not asked twice. Its confirmation code. Raises
        SensorError.
        """
        return self._command(b"\x05", _WORK_MS, 1)[0]

    def store(self, page: int) -> int:
        """Store: the merged template into a page; its confirmation code. Raises SensorError."""
        return self._ask(0x06, 1, page >> 8, page & 0xFF)

    def delete(self, page: int) -> int:
        """DeletChar, of one page; its confirmation code. Raises SensorError."""
        return self._ask(0x0C, page >> 8, page & 0xFF, 0, 1)

    def pages(self) -> bytes:
        """Which of the first 256 pages are taken: 32 bytes, low bit first. Raises SensorError."""
        answer = self._command(b"\x1f\x00", _TURN_MS, whole=33)
        if answer[0] != GOOD:
            raise SensorError
        return answer[1:33]

    def light(self, mode: int, colour: int, speed: int = 60, times: int = 0) -> None:
        """AuraLed: mode 1 breathes, 2 blinks, 3 is on, 4 is off. Best effort."""
        try:
            self._command(bytes((0x35, mode, speed, colour, times)), _TURN_MS, 1)
        except SensorError:
            pass
