"""A reader on our emulator and one on a chip that is not ours, with the same flash, the same sensor
and the same fingers. What happens on the wires of each is written down."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tallystick.common.reader_identity import ReaderIdentity
from tallystick.emulator.boards.board import Board, ReaderBoard
from tallystick.emulator.chips.rp2350 import USER_ROWS, Rp2350
from tallystick.emulator.clock import Clock
from tallystick.emulator.devices.hand import Hand
from tallystick.emulator.devices.reader import Reader
from tallystick.emulator.parts.nor_flash import Cut, FlashOperation, NorFlash, Phase
from tallystick.emulator.parts.r503 import R503
from tallystick.tools.fresh import image
from tallystick.tools.second_opinion.firmware import Firmware
from tallystick.tools.second_opinion.reader_host import TimedConnection
from tallystick.tools.second_opinion.record import first_of_ours
from tallystick.tools.second_opinion.rp2350.reader import ChipReader

_SEED = 2350
_PAGE = 256  # bytes of flash that are programmed at a time
_SETTLE_MS = 2_000  # from power-on to a reader, a sensor and a host that wait
_OTP_RANDOM = 0x40130008  # the chip's own random number, four words


class HeardSensor(R503):
    """Notes what it is sent."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, seed=_SEED)
        self.heard = bytearray()

    def receive(self, data: bytes) -> None:
        self.heard += data
        super().receive(data)


@dataclass
class Noted:
    """What one side did in a step."""

    answers: list[bytes] = field(default_factory=list)  # HID packets to the host
    sensor: bytes = b""  # bytes to the sensor
    flash: list[tuple[str, int]] = field(default_factory=list)  # operation, address
    content: bytes = b""  # of the flash that is not MicroPython's, afterwards
    cpu_us: float = 0.0
    burnt: dict[int, int] = field(default_factory=dict)  # the user's rows, afterwards


class Side(Protocol):
    """One of the two. Its `reports`, `write_report`, `run_until` are a reader's."""

    reports: deque[bytes]
    bus: TimedConnection
    hand: Hand
    cut_in: int | None

    @property
    def board(self) -> Board: ...

    @property
    def clock(self) -> Clock: ...

    def write_report(self, report: bytes) -> None: ...

    def run_until(self, done: Callable[[], bool], limit_ms: int = ...) -> bool: ...

    def power_on(self) -> None: ...

    def power_off(self) -> None: ...

    def host_sleeps(self) -> None: ...

    def host_wakes(self) -> None: ...

    def descriptors(self) -> list[bytes]:
        """What it told its host; behind them, what it refused of the host's requests."""
        ...

    def take(self) -> Noted:
        """What it did since it was last asked."""
        ...


class _Notes:
    """How both note what they do."""

    def __init__(self) -> None:
        self._flash: list[tuple[str, int]] = []
        self.cut_in: int | None = None  # operations on flash, then power goes in the middle of one

    def plan(self, operation: FlashOperation) -> Cut | None:
        # The chip is told page by page, ours what firmware hands over at a time.
        step = _PAGE if operation.kind == "program" else len(operation.new)
        self._flash += [
            (operation.kind, operation.address + at) for at in range(0, len(operation.new), step)
        ]
        if self.cut_in is None:
            return None
        self.cut_in -= 1
        if self.cut_in > 0:
            return None
        self.cut_in = None
        half = len(operation.new) // 2
        return Cut(Phase.DURING, operation.new[:half] + operation.old[half:])

    def noted(
        self,
        bus: TimedConnection,
        sensor: HeardSensor,
        flash: NorFlash,
        board: Board,
        cpu_us: float,
    ) -> Noted:
        content = flash.memory[first_of_ours(board) : board.flash_size]
        noted = Noted(bus.answers, bytes(sensor.heard), self._flash, bytes(content), cpu_us)
        bus.answers, self._flash = [], []
        sensor.heard.clear()
        return noted


class OurSide(Reader, _Notes):
    def __init__(self, board: str) -> None:
        _Notes.__init__(self)
        made: list[HeardSensor] = []

        def sensor_for(clock: Clock) -> HeardSensor:
            made.append(HeardSensor(clock))
            return made[0]

        identity = ReaderIdentity.development("TR00000001").encode()
        super().__init__(image(board), identity=identity, sensor_for=sensor_for, seed=_SEED)
        self.heard_sensor = made[0]
        self.hand = Hand(self.clock, self.heard_sensor, seed=_SEED)
        self.bus = TimedConnection(self)
        self.flash.fault_plan = self.plan
        self._cpu_us = 0.0

    def power_on(self, settle_ms: int = _SETTLE_MS) -> None:
        self.mcu.reseed(random.Random(_SEED))
        super().power_on(settle_ms)

    def host_sleeps(self) -> None:
        """MicroPython hides that from the firmware, so there is nothing to it here."""

    host_wakes = host_sleeps

    def chip_random(self) -> bytes:
        """What the factory burnt into its one-time programmable memory."""
        words = [self.mcu.registers.read(_OTP_RANDOM + 4 * n) for n in range(4)]
        return b"".join(word.to_bytes(4, "little") for word in words)

    def descriptors(self) -> list[bytes]:
        return list(self.mcu.usb.descriptors)

    def take(self) -> Noted:
        before, self._cpu_us = self._cpu_us, self.mcu.cpu_us
        cpu_us = self._cpu_us - before
        noted = self.noted(self.bus, self.heard_sensor, self.flash, self.board, cpu_us)
        chip = self.mcu.registers
        assert isinstance(chip, Rp2350)
        noted.burnt = dict(chip.rows)
        return noted


class OtherSide(ChipReader, _Notes):
    def __init__(self, board: ReaderBoard, firmware: Firmware, chip_random: bytes) -> None:
        _Notes.__init__(self)
        made: list[HeardSensor] = []

        def sensor_for(clock: Clock) -> HeardSensor:
            made.append(HeardSensor(clock))
            return made[0]

        identity = ReaderIdentity.development("TR00000001").encode()
        flash = [
            *firmware.segments,
            *image(board.name).segments,
            (board.identity.address, identity),
        ]
        super().__init__(board, flash, sensor_for, seed=_SEED, chip_random=chip_random)
        self.heard_sensor = made[0]
        self.hand = Hand(self.clock, self.heard_sensor, seed=_SEED)
        self.bus = TimedConnection(self)
        self.fault_plan = self.plan
        self._given = random.Random(_SEED)
        self._cpu_us = 0.0
        address = firmware.symbols.get("mp_hal_get_random")
        self.same_random = address is not None
        if address is not None:
            self.give_random(address, self._random)

    def power_on(self) -> None:
        self._given = random.Random(_SEED)
        super().power_on()
        self.run(_SETTLE_MS)

    def host_sleeps(self) -> None:
        self.host.sleep()

    def host_wakes(self) -> None:
        self.host.wake()

    def _random(self, size: int) -> bytes:
        return self._given.randbytes(size)

    def descriptors(self) -> list[bytes]:
        now = self.host.now
        if now is None:
            return []
        return [now.device, now.configuration, now.report, *now.refused]

    def take(self) -> Noted:
        before, self._cpu_us = self._cpu_us, self.cpu_us
        cpu_us = self._cpu_us - before
        noted = self.noted(self.bus, self.heard_sensor, self.memory, self.board, cpu_us)
        noted.burnt = {row: bits for row, bits in self.otp.rows.items() if row in USER_ROWS}
        return noted
