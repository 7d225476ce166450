"""A reader whose flash chip and sensor a thief copies, writes back, and cuts the power of.

The owner has set a PIN, enrolled a thumb and an index finger, then removed the index finger,
changed the PIN and enrolled another finger: the thief has copies of all that was before, and of
each moment since. What is judged is what the thief has had answered, whatever he wrote back in
between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from fido2 import cbor

from tallystick.emulator.chips.chip import OneTimeRows
from tallystick.emulator.devices.image import Image
from tallystick.emulator.parts.nor_flash import Cut, Failure, FlashOperation
from tallystick.faults.flash import PowerLostError
from tallystick.tools.campaign.ctap.basics import CLIENT_PIN, PIN
from tallystick.tools.campaign.ctap.channels import PLATFORM_KEY, Answer, Shared
from tallystick.tools.campaign.ctap.fingers import enrol, next_sample, remove_finger
from tallystick.tools.campaign.ctap.known import BE, CM
from tallystick.tools.campaign.ctap.pins import change_pin, pin_token, set_pin
from tallystick.tools.campaign.ctap.world import INDEX, THUMB, CtapWorld
from tallystick.tools.campaign.engine.subject import ViolationError

OWNERS_PIN = "97531"
RING = "ring"
PIN_TRIES, FINGER_TRIES = 8, 5
_SAMPLES = 6
_CHANNEL = "A"
_INVALID, _BLOCKED, _AUTH_BLOCKED = 0x31, 0x32, 0x34
_UV_INVALID, _UV_BLOCKED, _CANCELLED = 0x3F, 0x3C, 0x2D
_CANCEL = 0x91
_GIVES_UP_US = 1_600_000  # after a wrong finger


@dataclass(frozen=True)
class Copy:
    """Of a moment: the flash chip's records, the sensor's memory."""

    flash: bytes
    templates: dict[int, str]
    password: int


@dataclass
class Gained:
    """What the thief has had of the reader since the owner used it last."""

    wrong_pins: int = 0
    wrong_fingers: int = 0
    cuts: int = 0


@dataclass
class Thief:
    """Raises ViolationError when something is gained. copies: the first ones are the owner's."""

    image: Image
    seed: int = 1
    copies: list[Copy] = field(default_factory=list)
    gained: Gained = field(default_factory=Gained)
    actions: int = 0

    def __post_init__(self) -> None:
        self.world = CtapWorld(self.image, self.seed, quick=True)
        registers = self.world.reader.mcu.registers
        assert isinstance(registers, OneTimeRows)
        self._chip = registers
        self._pulses: int | None = None  # until power goes
        registers.on_burn = self._burn
        self._reaching: int | None = None  # operations, until none reaches the flash
        flash = self.world.reader.flash
        self._noted = flash.fault_plan  # the world keeps what is written
        flash.fault_plan = self._between
        region = self.world.reader.board.journal
        self._region = slice(region.address, region.end)
        self._live()
        self.start = self.world.point()
        self._owners = len(self.copies)

    def close(self) -> None:
        self.world.close()

    def begin(self) -> None:
        """The reader as the owner left it."""
        self.world.return_to(self.start)
        self.world.sensor.templates = dict(self.copies[self._owners - 1].templates)
        del self.copies[self._owners :]
        self.gained = Gained()
        self._pulses = self._reaching = None

    def _live(self) -> None:
        world = self.world
        set_pin(world, _CHANNEL)
        self.copy()
        pin_token(world, _CHANNEL, BE, None)
        for finger in (THUMB, INDEX):
            self._enrol(finger)
            self.copy()
        pin_token(world, _CHANNEL, BE, None)
        world.known = replace(world.known, fingers=world.known.fingers[::-1])
        remove_finger(world, _CHANNEL)
        self.copy()
        change_pin(world, _CHANNEL, PIN, OWNERS_PIN)
        self.copy()
        pin_token(world, _CHANNEL, BE, None, OWNERS_PIN)
        self._enrol(RING)
        world.replug()
        self.copy()

    def _enrol(self, finger: str) -> None:
        enrol(self.world, _CHANNEL, finger)
        for _ in range(_SAMPLES - 1):
            next_sample(self.world, _CHANNEL, finger)

    # -- what a thief does -----------------------------------------------------------------------

    def copy(self) -> None:
        """Flash and sensor as they are now."""
        sensor = self.world.sensor
        flash = bytes(self.world.reader.flash.memory[self._region])
        self.copies.append(Copy(flash, dict(sensor.templates), sensor.password))

    def write_back(self, number: int, *, flash: bool, sensor: bool) -> None:
        """Without power; then the reader is plugged in."""
        copy = self.copies[number % len(self.copies)]
        self.world.reader.power_off()
        if flash:
            self.world.put_flash(self._region.start, copy.flash)
        if sensor:
            module = self.world.sensor
            module.templates, module.password = dict(copy.templates), copy.password
        self._plug_in()

    def replug(self) -> None:
        self.world.reader.power_off()
        self._plug_in()

    def cut_at(self, pulse: int) -> None:
        """Power goes before that pulse, of those that are still to come."""
        self._pulses = pulse

    def stop_programs_at(self, operation: int) -> None:
        """A chip between lets so many more programs and erases through to the flash, and then none
        until the next command is answered."""
        self._reaching = operation

    def try_pin(self, pin: str) -> None:
        """Raises ViolationError when it is one try too many, or the old PIN is taken."""
        before, agreed = self._tell({2: 1}), self._tell({1: 2, 2: 2})
        if before is None or agreed is None:
            return
        shared = Shared(agreed[1][-2])
        request = {1: 2, 2: 9, 3: PLATFORM_KEY, 6: shared.encrypt(_hash(pin)), 9: CM}
        answer = self._ask(request)
        if answer is None:
            return
        if answer.status == 0:
            raise ViolationError("old-pin", f"the PIN {pin} is taken")
        open_before = before[3] > 0 and not before.get(4)
        if answer.status in (_INVALID, _BLOCKED, _AUTH_BLOCKED) and open_before:
            self.gained.wrong_pins += 1
            if self.gained.wrong_pins > PIN_TRIES:
                number = self.gained.wrong_pins
                raise ViolationError("tries", f"wrong PIN number {number} was compared")

    def try_finger(self, finger: str) -> None:
        """Raises ViolationError when it is one try too many, or the finger is taken."""
        if self._tell({2: 7}) is None:
            return
        answer = self._ask({1: 2, 2: 6, 3: PLATFORM_KEY, 9: CM}, finger)
        if answer is None:
            return
        if answer.status == 0:
            raise ViolationError("finger", f"the finger {finger} is taken")
        if answer.asked and answer.status in (_CANCELLED, _UV_INVALID, _UV_BLOCKED):
            self.gained.wrong_fingers += 1
            if self.gained.wrong_fingers > FINGER_TRIES:
                number = self.gained.wrong_fingers
                raise ViolationError("tries", f"wrong finger number {number} was compared")

    # -- underneath ------------------------------------------------------------------------------

    def _burn(self, _row: int, bits: int) -> int:
        if self._pulses is None:
            return bits
        if self._pulses:
            self._pulses -= 1
            return bits
        self._pulses = None
        self.gained.cuts += 1
        raise PowerLostError

    def _between(self, operation: FlashOperation) -> Cut | Failure | None:
        if self._reaching == 0:
            return Failure(operation.old, reported=False)  # the flash's driver does not look
        if self._reaching:
            self._reaching -= 1
        return self._noted(operation) if self._noted else None

    def _plug_in(self) -> None:
        reader = self.world.reader
        reader.run_for(100)
        reader.power_on()
        self.world.sensor.lift()
        if reader.powered:
            self.world.channels.open()

    def _tell(self, request: dict[int, Any]) -> Any:
        """What it says; None when it says nothing of use."""
        answer = self._ask(request)
        return cbor.decode(answer.body) if answer is not None and answer.status == 0 else None

    def _ask(self, request: dict[int, Any], touch: str = "") -> Answer | None:
        """None when power went meanwhile, or was gone before."""
        self.actions += 1
        world, reader = self.world, self.world.reader
        if not reader.powered:
            return None
        message = bytes((CLIENT_PIN,)) + cbor.encode(request)
        try:
            answer = world.channels.ask(_CHANNEL, message, self._press(touch) if touch else None)
            reader.run_for(1_000)
        except ViolationError:
            if reader.powered:
                raise
            return None
        finally:
            self._reaching = None
        world.sensor.lift()
        return answer

    def _press(self, finger: str) -> Callable[[], bool]:
        def press() -> bool:
            world = self.world
            world.sensor.press(finger)
            report = world.channels.numbers[_CHANNEL] + bytes((_CANCEL, 0, 0))
            world.reader.clock.after(_GIVES_UP_US, lambda: world.reader.write_report(report))
            return True

        return press


def _hash(pin: str) -> bytes:
    return sha256(pin.encode()).digest()[:16]
