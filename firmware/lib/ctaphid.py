"""CTAPHID: messages in 64-byte reports (CTAP 2.1, section 11.2). Knows nothing of what the messages
say.

`receive` takes one report at any time, also while a command runs: that is how CANCEL, and other
programs' channels, are served meanwhile. At most one message is under way; `request` is it, once it
is whole.
"""

from time import ticks_add, ticks_diff, ticks_ms

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Callable

    from typed.kinds import NotYet, Readable

REPORT = const(64)
LONGEST = const(7609)

_BROADCAST = const(0xFFFFFFFF)
_PING = const(0x01)
_INIT = const(0x06)
_WINK = const(0x08)
CBOR = const(0x10)
UPDATE = const(0x55)  # a vendor's own, 0x40 to 0x7F: docs/reference/protocols.md
_CANCEL = const(0x11)
_KEEPALIVE = const(0x3B)
_ERROR = const(0x3F)

_INVALID_COMMAND = const(0x01)
_INVALID_LENGTH = const(0x03)
_INVALID_SEQUENCE = const(0x04)
_TIMEOUT = const(0x05)
_BUSY = const(0x06)
_INVALID_CHANNEL = const(0x0B)

_PACKET_TIMEOUT_MS = const(500)
_CAPABILITIES = const(0x0D)  # WINK, CBOR, no MSG


class Channels:
    """send(report): 64 bytes out. version: (major, minor, build). request: (command, memoryview) or
    None.
    """

    def __init__(
        self, send: "Callable[[bytearray], None]", version: "tuple[int, int, int]"
    ) -> None:
        self._send = send
        self._version = version
        self._out = bytearray(REPORT)
        self._buffer = bytearray(LONGEST)
        self._last = 0  # channels are numbered from 1; this is the last one given out
        self._current = 0  # channel of the message under way, 0: none
        self._command = 0
        self._size = 0
        self._got = 0
        self._sequence = 0
        self._deadline: "NotYet" = 0
        self.orphan = False  # the channel of the command under way no longer waits for its answer
        self.request: "tuple[int, memoryview] | None" = None
        self.cancelled = False
        self.on_wink: "Callable[[], None] | None" = None
        self.on_anew: "Callable[[int], None] | None" = None  # a channel begins anew

    @property
    def channel(self) -> int:
        """Of the message under way, 0 when there is none."""
        return self._current

    # -- in ------------------------------------------------------------------------------------

    def receive(self, report: "Readable") -> None:
        """Takes one report of 64 bytes."""
        channel = int.from_bytes(report[:4], "big")
        if not report[4] & 0x80:
            self._continue(channel, report)
            return
        command = report[4] & 0x7F
        size = report[5] << 8 | report[6]
        if channel == _BROADCAST and command == _INIT:
            self._initialize(channel, size, report)
        elif not 1 <= channel <= self._last:
            self._fail(channel, _INVALID_CHANNEL)
        elif command == _INIT:
            if channel == self._current:
                self._abandon()
            if self.on_anew is not None:
                self.on_anew(channel)
            self._initialize(channel, size, report)
        elif command == _CANCEL:
            if channel == self._current and self.request is not None:
                self.cancelled = True
        elif self.request is not None or self._current not in (0, channel):
            self._fail(channel, _BUSY)
        elif self._current == channel:
            self._abandon()
            self._fail(channel, _INVALID_SEQUENCE)
        elif size > len(self._buffer):
            self._fail(channel, _INVALID_LENGTH)
        else:
            self._current = channel
            self._command = command
            self._size = size
            self._got = 0
            self._sequence = 0
            self._take(report, 7)

    def _continue(self, channel: int, report: "Readable") -> None:
        if not self._current or channel != self._current or self.request is not None:
            return  # stray: silence. Nothing is under way on channel 0, which is the one of none
        if report[4] != self._sequence:
            self._abandon()
            self._fail(channel, _INVALID_SEQUENCE)
            return
        self._sequence += 1
        self._take(report, 5)

    def _take(self, report: "Readable", start: int) -> None:
        count = min(REPORT - start, self._size - self._got)
        self._buffer[self._got : self._got + count] = report[start : start + count]
        self._got += count
        if self._got < self._size:
            self._deadline = ticks_add(ticks_ms(), _PACKET_TIMEOUT_MS)
            return
        message = memoryview(self._buffer)[: self._size]
        self.cancelled = False
        self.request = (self._command, message)
        if self._command == _PING:
            self.reply(message)
        elif self._command == _WINK:
            if self.on_wink is not None:
                self.on_wink()
            self.reply(b"")
        elif self._command not in (CBOR, UPDATE):
            self.refuse(_INVALID_COMMAND)

    def _initialize(self, channel: int, size: int, report: "Readable") -> None:
        if size != 8:
            self._fail(channel, _INVALID_LENGTH)
            return
        given = channel
        if channel == _BROADCAST:
            self._last += 1
            given = self._last
        answer = bytes(report[7:15]) + given.to_bytes(4, "big") + b"\x02" + bytes(self._version)
        self._packets(channel, _INIT, answer + bytes((_CAPABILITIES,)))

    def _abandon(self) -> None:
        if self.request is not None:
            self.cancelled = self.orphan = True  # the command under way ends, and answers nobody
            return
        self._current = 0

    def tick(self) -> None:
        """Gives up a message whose next packet does not come. Call it often while nothing is under
        way.
        """
        if self._current and self.request is None and ticks_diff(ticks_ms(), self._deadline) >= 0:
            channel = self._current
            self._abandon()
            self._fail(channel, _TIMEOUT)

    def wait_ms(self, limit: int) -> int:
        """How long nothing needs to be done, at most `limit`."""
        if self._current and self.request is None:
            return max(0, min(limit, ticks_diff(self._deadline, ticks_ms())))
        return limit

    # -- out -----------------------------------------------------------------------------------

    def reply(self, data: "Readable") -> None:
        """Answers the message under way (unless it was abandoned), which ends it."""
        self._finish(self._command, data)

    def refuse(self, code: int) -> None:
        """Answers with a CTAPHID error."""
        self._finish(_ERROR, bytes((code,)))

    def _finish(self, command: int, data: "Readable") -> None:
        if self.request is None:
            return
        channel = self._current
        if not self.orphan:
            self._packets(channel, command, data)
        self.request = None
        self.orphan = False
        self._current = 0

    def keepalive(self, status: int) -> None:
        """1: at work; 2: waits for the user."""
        if self.request is not None and not self.orphan:
            self._packets(self._current, _KEEPALIVE, bytes((status,)))

    def _fail(self, channel: int, code: int) -> None:
        self._packets(channel, _ERROR, bytes((code,)))

    def _packets(self, channel: int, command: int, data: "Readable") -> None:
        size = len(data)
        head = channel.to_bytes(4, "big") + bytes((0x80 | command, size >> 8, size & 0xFF))
        at = 0
        sequence = 0
        while True:
            out = self._out
            out[: len(head)] = head
            count = min(REPORT - len(head), size - at)
            out[len(head) : len(head) + count] = data[at : at + count]
            for i in range(len(head) + count, REPORT):
                out[i] = 0
            self._send(out)
            at += count
            if at >= size:
                return
            head = channel.to_bytes(4, "big") + bytes((sequence,))
            sequence += 1
