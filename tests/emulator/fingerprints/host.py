"""A host at the other end of the module's wire, in virtual time, and the driver's rules of
docs/findings/fingerprints.md, section 2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tallystick.emulator.clock import Clock
from tallystick.emulator.parts.r503 import R503
from tallystick.emulator.parts.r503_codes import Code, Confirm
from tallystick.emulator.parts.r503_packets import Packet, PacketReader, Pid, encode

TOO_FAST, TOO_SLOW, POOR, SKEWED, SHORT = 5, 6, 7, 8, 9
MERGE_FAILURE, EXISTS, FULL, NO_ACTIVITY, NO_LIFT = 10, 11, 12, 13, 14


@dataclass(frozen=True)
class Answer:
    confirm: int
    extra: bytes
    us: int  # since the command was sent


class Host:
    def __init__(self, module: R503, clock: Clock) -> None:
        self.module = module
        self.clock = clock
        self.heard = bytearray()
        self.packets: list[Packet] = []
        self._reader = PacketReader()
        module.on_send = self._hear

    def _hear(self, data: bytes) -> None:
        self.heard += data
        self.packets += self._reader.feed(data)

    def run(self, until: Callable[[], bool], limit_us: int = 60_000_000) -> bool:
        """Virtual time passes until the condition holds, the limit is over or nothing is due."""
        end = self.clock.now + limit_us
        while not until():
            due = self.clock.next_event()
            if due is None or due > end:
                return False
            self.clock.now = max(self.clock.now, due)
            self.clock.run_due()
        return True

    def wait(self, us: int) -> None:
        end = self.clock.now + us
        self.run(lambda: False, us)
        self.clock.now = end

    def power_up(self) -> None:
        self.heard.clear()
        self.module.power(True)
        assert self.run(lambda: bytes(self.heard) == b"\x55")
        self._reader.clear()

    def send(self, code: int, arguments: bytes = b"") -> None:
        self.module.receive(
            encode(self.module.flash.address, Pid.COMMAND, bytes([code]) + arguments)
        )

    def ask(self, code: int, arguments: bytes = b"") -> Answer:
        """The next acknowledge to this command."""
        self.packets.clear()
        begun = self.clock.now
        self.send(code, arguments)
        assert self.run(lambda: bool(self.packets)), "no answer"
        payload = self.packets[0].payload
        assert self.packets[0].pid == Pid.ACKNOWLEDGE
        return Answer(payload[0], payload[1:], self.clock.now - begun)

    # the driver's rules

    def hint(self) -> int:
        return self.ask(Code.READ_SYS_PARA).extra[0]

    def take_sample(self, buffer: int, no_activity_us: int = 10_000_000) -> int:
        """One sample for enrolment: its lastEnrollSampleStatus."""
        if not self.run(lambda: self.module.touch, no_activity_us):
            return NO_ACTIVITY
        felt = self.clock.now
        while True:
            confirm = self.ask(Code.GET_IMAGE_EX).confirm
            if confirm == Confirm.CAPTURE:
                return TOO_FAST
            if confirm != Confirm.NO_FINGER:
                break
            if not self.module.touch:
                return TOO_FAST
            if self.clock.now - felt >= 2_000_000:
                return TOO_SLOW
        if confirm == Confirm.FEW_FEATURES:
            return self.hint() or POOR
        assert confirm == Confirm.OK
        confirm = self.ask(Code.IMG2TZ, bytes([buffer])).confirm
        return {Confirm.OK: 0, Confirm.MESSY: SKEWED, Confirm.FEW_FEATURES: SHORT}[Confirm(confirm)]

    def await_lift(self) -> int:
        return 0 if self.run(lambda: not self.module.touch, 3_000_000) else NO_LIFT

    def capacity_left(self) -> bool:
        count = int.from_bytes(self.ask(Code.TEMPLATE_NUM).extra, "big")
        return count < int.from_bytes(self.ask(Code.READ_SYS_PARA).extra[4:6], "big")

    def finish(self, page: int) -> int:
        """Samples lie in the buffers: merge and store, unless the finger is enrolled already."""
        if not self.capacity_left():
            return FULL
        if self.ask(Code.SEARCH, bytes.fromhex("06000000C8")).confirm == Confirm.OK:
            return EXISTS
        if self.ask(Code.REG_MODEL).confirm == Confirm.MERGE:
            return MERGE_FAILURE
        assert self.ask(Code.STORE, b"\x01" + page.to_bytes(2, "big")).confirm == Confirm.OK
        return 0
