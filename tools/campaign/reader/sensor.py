"""A fingerprint module whose fingers are names: fast, and able to misbehave on command.

The real part (emulator/parts/r503.py) matches images; this one is for what does not
depend on matching: power cuts, unplugging, noise, time-outs. It speaks the same packets.
"""

from __future__ import annotations

from collections.abc import Callable

from tallystick.emulator.clock import Clock

_VERIFY_PASSWORD = 0x13
_FAST_US, _IMAGE_US, _FEATURE_US, _SEARCH_US = 2_000, 150_000, 200_000, 20_000


class ScriptedSensor:
    """templates: page → name of a finger. fault(command) → True swallows the answer."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.on_send: Callable[[bytes], None] | None = None
        self.on_touch: Callable[[bool], None] | None = None
        self.templates: dict[int, str] = {}
        self.password = 0
        self.finger: str | None = None
        self.quality = 0  # what GetImageEx answers
        self.extraction = 0  # what Img2Tz answers
        self.hint = 0
        self.capacity = 200  # templates, as it says
        self.room = 200  # and as it is
        self.fault: Callable[[int], bool] = lambda command: False
        self.garble: Callable[[bytes], bytes] = lambda packet: packet
        self.commands: list[int] = []
        self._on = False
        self._open = False
        self._image: str | None = None
        self._buffers: dict[int, str] = {}
        self._received = b""
        self._touch = 0
        self._presses = 0
        self._commands: dict[int, Callable[[bytes], bytes]] = {
            0x02: self._extract,
            0x04: self._search,
            0x05: self._merge,
            0x06: self._store,
            0x0C: self._delete,
            0x0F: self._parameters,
            0x12: self._set_password,
            0x1F: self._taken,
            0x28: self._capture,
        }

    # -- the person ----------------------------------------------------------------------------

    def present(self, finger: str) -> None:
        self.finger = finger
        self._set_touch(1)

    def lift(self) -> None:
        self.finger = None
        self._set_touch(0)

    def press(self, finger: str, after_ms: int = 50, ms: int = 900) -> None:
        """Whatever lies there goes; then a finger comes and stays for `ms`."""
        self._presses += 1
        press = self._presses
        self.lift()

        def end() -> None:
            if self._presses == press:
                self.lift()

        self._clock.after(after_ms * 1000, lambda: self.present(finger))
        self._clock.after((after_ms + ms) * 1000, end)

    def _set_touch(self, level: int) -> None:
        self._touch = level
        if self.on_touch is not None:
            self.on_touch(bool(level) and self._on)

    # -- the wire ------------------------------------------------------------------------------

    def power(self, on: bool, *, long_ago: bool = False) -> None:
        """long_ago: it has said so to the chip."""
        if on and not self._on:
            self._on = True
            self._open = self.password == 0
            self._received = b""
            if not long_ago:
                self._clock.after(50_000, lambda: self._send(b"\x55"))
        elif not on:
            self._on = False
            self._image = None
            self._buffers.clear()
        self._set_touch(self._touch)

    def receive(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= 9:
            size = int.from_bytes(self._received[7:9], "big")
            if len(self._received) < 9 + size:
                return
            payload, self._received = self._received[9 : 7 + size], self._received[9 + size :]
            self._answer(payload)

    def _answer(self, payload: bytes) -> None:
        code = payload[0]
        self.commands.append(code)
        if not self._on or self.fault(code):
            return
        delay = {0x28: _IMAGE_US, 0x01: _IMAGE_US, 0x02: _FEATURE_US, 0x04: _SEARCH_US}.get(
            code, _FAST_US
        )
        # What happens is what is the case when the work is done.
        self._clock.after(delay, lambda: self._acknowledge(self._execute(code, payload[1:])))

    def _acknowledge(self, answer: bytes) -> None:
        size = len(answer) + 2
        body = b"\x07" + size.to_bytes(2, "big") + answer
        packet = b"\xef\x01\xff\xff\xff\xff" + body + (sum(body) & 0xFFFF).to_bytes(2, "big")
        packet = self.garble(packet)
        self._clock.after(len(packet) * 174, lambda: self._send(packet))

    def _send(self, data: bytes) -> None:
        if self._on and self.on_send is not None:
            self.on_send(data)

    # -- commands ------------------------------------------------------------------------------

    def _execute(self, code: int, arguments: bytes) -> bytes:
        """The acknowledge's payload. What this module does not know it calls a success."""
        if code == _VERIFY_PASSWORD:
            self._open = int.from_bytes(arguments, "big") == self.password
            return b"\x00" if self._open else b"\x13"
        if not self._open:
            return b"\x21"
        command = self._commands.get(code)
        return b"\x00" if command is None else command(arguments)

    def _set_password(self, arguments: bytes) -> bytes:
        self.password = int.from_bytes(arguments, "big")
        return b"\x00"

    def _capture(self, _arguments: bytes) -> bytes:
        if self.finger is None:
            return b"\x02"
        self._image = self.finger
        return bytes((self.quality,))

    def _extract(self, arguments: bytes) -> bytes:
        if self._image is None:
            return b"\x15"
        self._buffers[arguments[0]] = self._image
        return bytes((self.extraction,))

    def _search(self, arguments: bytes) -> bytes:
        sample = self._buffers.get(arguments[0])
        for page, finger in self.templates.items():
            if finger == sample:
                return b"\x00" + page.to_bytes(2, "big") + b"\x00\xb4"
        return b"\x09\x00\x00\x00\x00"

    def _merge(self, _arguments: bytes) -> bytes:
        fingers = set(self._buffers.values())
        samples = len(self._buffers)
        self._buffers = {1: fingers.pop()} if len(fingers) == 1 else {}
        return b"\x00" if self._buffers and samples >= 2 else b"\x0a"

    def _store(self, arguments: bytes) -> bytes:
        if len(self.templates) >= self.room:
            return b"\x1f"
        self.templates[int.from_bytes(arguments[1:3], "big")] = self._buffers[arguments[0]]
        return b"\x00"

    def _delete(self, arguments: bytes) -> bytes:
        start, count = int.from_bytes(arguments[:2], "big"), int.from_bytes(arguments[2:4], "big")
        for page in range(start, start + count):
            self.templates.pop(page, None)
        return b"\x00"

    def _parameters(self, _arguments: bytes) -> bytes:
        size = self.capacity.to_bytes(2, "big")
        return bytes((0, self.hint, 0)) + b"\0\0" + size + b"\0\3" + b"\xff" * 4 + b"\0\1\0\6"

    def _taken(self, _arguments: bytes) -> bytes:
        taken = bytearray(32)
        for page in self.templates:
            taken[page >> 3] |= 1 << (page & 7)
        return b"\x00" + bytes(taken)
