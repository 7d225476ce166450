"""Throws packets at a reader: half of them nonsense, half nearly right. `python -m
tests.emulator.reader.fuzz` throws a million.

What must hold: the firmware never stops, never takes long, and answers OTHER (7F) to nothing.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fido2 import cbor

if TYPE_CHECKING:
    from tests.emulator.reader.rig import Rig

_COMMANDS = (0x01, 0x02, 0x04, 0x06, 0x08, 0x09, 0x0A, 0x0C, 0x0D, 0x0B, 0x40, 0x41, 0x00, 0xFF)
_HID = (0x01, 0x03, 0x04, 0x06, 0x08, 0x10, 0x10, 0x10, 0x10, 0x11, 0x3B, 0x3F)
_OTHER = 0x7F
_WAITS_US = 45_000_000


class ViolationError(AssertionError):
    """What must hold does not. The seed and the packet's number say how to see it again."""


class Fuzzer:
    def __init__(self, rig: Rig, seed: int) -> None:
        self._rig = rig
        self._reader = rig.reader
        self._seed = seed
        self._rng = random.Random(seed)
        self._channels = [1, 2]
        self.sent = 0
        self.answers = 0
        self._open: dict[int, tuple[int, int, bytearray]] = {}
        for channel in self._channels:
            self._packet(b"\xff\xff\xff\xff\x86\x00\x08" + bytes([channel] * 8))
        self._settle()

    def run(self, packets: int) -> None:
        """Sends at least so many packets. Raises ViolationError."""
        goal = self.sent + packets
        while self.sent < goal:
            kind = self._rng.random()
            if kind < 0.25:
                self._packet(self._rng.randbytes(64))
            elif kind < 0.45:
                self._channel_packet()
            else:
                self._message(self._rng.choice((0x10, 0x10, 0x10, 0x01)), self._body())
            self._settle()

    def finish(self) -> None:
        """Lets the last command end, so that others can use the reader."""
        for _ in range(3):
            self._reader.run_for(1_000)
            self._settle()
        self._reader.reports.clear()

    # -- what is sent --------------------------------------------------------------------------

    def _channel_packet(self) -> None:
        rng = self._rng
        channel = rng.choice((0, 1, 2, 3, 0xFFFFFFFF))
        if rng.random() < 0.5:
            head = bytes((0x80 | rng.choice(_HID),)) + rng.choice(
                (0, 1, 8, 57, 64, 2048, 7609, 7610, 0xFFFF)
            ).to_bytes(2, "big")
        else:
            head = bytes((rng.randrange(0x80),))
        self._packet(channel.to_bytes(4, "big") + head + rng.randbytes(rng.randrange(58)))

    def _message(self, command: int, body: bytes) -> None:
        rng = self._rng
        channel = rng.choice(self._channels).to_bytes(4, "big")
        packets = [channel + bytes((0x80 | command,)) + len(body).to_bytes(2, "big") + body[:57]]
        rest = body[57:]
        for n in range(-(-len(rest) // 59)):
            packets.append(channel + bytes((n & 0x7F,)) + rest[n * 59 : n * 59 + 59])
        if len(packets) > 1 and rng.random() < 0.2:
            del packets[rng.randrange(1, len(packets))]
        if rng.random() < 0.1:
            packets.insert(rng.randrange(len(packets) + 1), channel + b"\x91\x00\x00")
        for packet in packets:
            self._packet(packet)

    def _body(self) -> bytes:
        rng = self._rng
        command = rng.choice(_COMMANDS)
        if rng.random() < 0.1:
            return bytes((command,)) + rng.randbytes(rng.randrange(300))
        body = cbor.encode(self._request())
        if rng.random() < 0.3:
            mutable = bytearray(body)
            for _ in range(rng.randrange(1, 4)):
                mutable[rng.randrange(len(mutable))] = rng.randrange(256)
            body = bytes(mutable)
        if rng.random() < 0.1:
            body = body[: rng.randrange(len(body))]
        return bytes((command,)) + body

    def _request(self) -> dict[int, Any]:
        """Keys that commands know, with values that some of them want."""
        return {
            key: self._value(3)
            for key in sorted(self._rng.sample(range(1, 12), self._rng.randrange(1, 9)))
        }

    def _value(self, depth: int) -> Any:
        rng = self._rng
        simple = (
            lambda: rng.choice((0, 1, 2, 3, 5, 6, 7, -7, -25, 23, 24, 255, 256, 1 << 32, 1 << 63)),
            lambda: rng.randbytes(rng.choice((0, 1, 16, 32, 32, 32, 50, 64, 65, 200))),
            lambda: rng.choice(("", "example.com", "public-key", "ü" * 40, "x" * 255)),
            lambda: rng.choice((True, False)),
        )
        if depth and rng.random() < 0.4:
            if rng.random() < 0.3:
                return [self._value(depth - 1) for _ in range(rng.randrange(4))]
            names = (
                "id",
                "type",
                "alg",
                "name",
                "rk",
                "up",
                "uv",
                "credProtect",
                "hmac-secret",
                "largeBlobKey",
            )
            if rng.random() < 0.5:
                return {n: self._value(depth - 1) for n in rng.sample(names, rng.randrange(1, 5))}
            return {
                n: self._value(depth - 1) for n in rng.sample(range(-3, 5), rng.randrange(1, 5))
            }
        return rng.choice(simple)()

    # -- what comes back -----------------------------------------------------------------------

    def _packet(self, packet: bytes) -> None:
        self.sent += 1
        self._reader.write_report(packet)

    def _settle(self) -> None:
        """Until the reader is at rest; presses a finger now and then. Looks at every answer."""
        if self._rng.random() < 0.02:
            self._rig.sensor.press(self._rng.choice(("thumb", "stranger")), after_ms=1)
        self._reader.run_for(12)
        if self._reader.led and not self._winking():
            begun = self._reader.clock.now
            self._rig.sensor.press("thumb", after_ms=1)
            self._reader.run_until(lambda: not self._reader.led, limit_ms=60_000)
            if self._reader.led or self._reader.clock.now - begun > _WAITS_US:
                raise ViolationError(self._where("it waits for ever"))
        while self._reader.reports:
            self._look(self._reader.reports.popleft())

    def _winking(self) -> bool:
        self._reader.run_for(900)
        return not self._reader.led

    def _look(self, report: bytes) -> None:
        channel = int.from_bytes(report[:4], "big")
        if report[4] & 0x80:
            self._open[channel] = (
                report[4],
                int.from_bytes(report[5:7], "big"),
                bytearray(report[7:]),
            )
        elif channel in self._open:
            self._open[channel][2].extend(report[5:])
        command, size, data = self._open.get(channel, (0, 0, bytearray()))
        if len(data) < size or not command:
            return
        del self._open[channel]
        self.answers += 1
        if command == 0x90 and data[0] == _OTHER:
            raise ViolationError(self._where("the answer is OTHER"))

    def _where(self, what: str) -> str:
        return f"{what}: seed {self._seed}, packet {self.sent}"


def main(arguments: list[str]) -> None:
    from fido2.ctap2 import ClientPin

    from tallystick import __version__
    from tallystick.emulator.devices.image import Image
    from tallystick.tools.image.build import build, write
    from tests.emulator.reader.rig import PIN, Rig

    packets = int(arguments[0]) if arguments else 1_000_000
    seed = int(arguments[1]) if len(arguments) > 1 else 0
    with tempfile.TemporaryDirectory() as folder:
        image = Image.load(write(build("reader", "pico2", __version__), Path(folder))["bin"])
    done = 0
    begun = time.monotonic()
    while done < packets:
        rig = Rig(image, seed=seed)
        ClientPin(rig.ctap()).set_pin(PIN)
        rig.enrol("thumb")
        fuzzer = Fuzzer(rig, seed)
        fuzzer.run(min(20_000, packets - done))
        done += fuzzer.sent
        seed += 1
        rate = done / (time.monotonic() - begun)
        sys.stderr.write(f"\r{done:,} packets, {rate:,.0f} a second, seed {seed - 1}   ")
        rig.close()
    sys.stderr.write("\nno violation\n")


if __name__ == "__main__":
    main(sys.argv[1:])
