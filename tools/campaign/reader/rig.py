"""An emulated reader with somebody around it: a host on its bus, a finger, an oracle that judges.
Everything that a scenario does goes through here."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from fido2.ctap import CtapError
from fido2.ctap2.base import Ctap2
from fido2.ctap2.pin import ClientPin
from fido2.hid import CtapHidDevice

from tallystick import faults
from tallystick.common.reader_identity import ReaderIdentity
from tallystick.emulator.chips.chip import OneTimeRows
from tallystick.emulator.devices.device import FirmwareCrashError
from tallystick.emulator.devices.image import Image
from tallystick.emulator.devices.reader import Reader
from tallystick.emulator.devices.snapshot import Snapshot
from tallystick.emulator.interpreter.micropython import MissingMicroPythonError
from tallystick.emulator.parts.nor_flash import Failure, FlashOperation
from tallystick.tools.campaign.engine.flash_state import PIECE, FlashRange, FlashState
from tallystick.tools.campaign.engine.subject import Fault, PowerGoneError, ViolationError
from tallystick.tools.campaign.reader.host import DESCRIPTOR, Connection
from tallystick.tools.campaign.reader.oracle import (
    FINGER_TRIES,
    PIN_TRIES,
    KnownReader,
    ReaderOracle,
    ReaderState,
)
from tallystick.tools.campaign.reader.sensor import ScriptedSensor

PIN, OTHER_PIN, WRONG_PIN = "2468", "97531", "0000"
FINGER, SECOND_FINGER, STRANGER = "thumb", "index", "stranger"
_READY_MS = 400
_NO_LIMIT = 1 << 30
_WAITS_FOR_FINGER = 2  # keep-alive status
_FIRST, _KEEPALIVE = 0x80, 0xBB  # CTAPHID: of a message's first packet; a keep-alive


Channel = tuple[Ctap2, Any, bytes]
"""What a command is sent over, PIN/UV auth protocol, token."""


class _Bus(Connection):
    """Says whether silence means that the power went."""

    def __init__(self, rig: ReaderRig) -> None:
        super().__init__(rig.reader)
        self._rig = rig

    def write_packet(self, data: bytes) -> None:
        self._rig.need_power()
        super().write_packet(data)

    def read_packet(self) -> bytes:
        try:
            packet = super().read_packet()
        except ConnectionError:
            self._rig.need_power()
            raise ViolationError("mute", "the reader answers nothing") from None
        except FirmwareCrashError as error:
            raise ViolationError("crash", error.what) from error
        if self._rig.late:
            raise ViolationError("late", "flash was changed after the answer was out")
        return packet


class _Answers:
    """Follows what the reader sends: whether the last of an answer is out."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._missing = 1  # bytes of the answer under way

    @property
    def out(self) -> bool:
        return self._missing <= 0

    def __call__(self, report: bytes) -> None:
        if report[4] == _KEEPALIVE:
            self._missing = 1
        elif report[4] & _FIRST:
            self._missing = int.from_bytes(report[5:7], "big") - (len(report) - 7)
        else:
            self._missing -= len(report) - 5
        self._take(report)


class ReaderRig:
    """One reader, used again and again. `on_operation` is told of every flash operation of the
    command under test, and may answer with a fault."""

    def __init__(self, image: Image, *, seed: int = 1, quick: bool = True) -> None:
        """quick: see `Mcu.spare_host`."""
        identity = ReaderIdentity.development("TR00000001").encode()
        self.reader = Reader(image, identity=identity, seed=seed)
        if quick:
            self.reader.mcu.spare_host()
        self.reader.flash.fault_plan = self._plan
        self._answers = _Answers(self.reader.on_report)
        self.reader.on_report = self._answers
        self.late = False  # flash was changed when an answer was out that the host had not taken
        region = self.reader.board.journal
        self.range = FlashRange(self.reader.flash, region.address, b"\xff" * region.size)
        self.worn: frozenset[int] = frozenset()
        self.settled: int | None = None
        self.on_operation: Callable[[FlashOperation], Fault] | None = None
        self.oracle = ReaderOracle()
        self.armed = True  # what happens now is under test
        self.limit = _NO_LIMIT  # operations that are, from now on
        self.after: ReaderState | None = None  # what is seen when the scenario is over
        self.old = b""  # content of the records' sectors before the reset that a scenario is about
        self.credential = bytes(64)  # identifier of one that the reader does not store
        self.passed: set[bytes] = set()  # states without power that have been looked at
        self.sensor = ScriptedSensor(self.reader.clock)
        self._rng = random.Random(0)
        self._slot: int | None = None
        self._snapshot: Snapshot | None = None

    def close(self) -> None:
        if self._snapshot is not None:
            self._snapshot.close()
        self.reader.close()

    @property
    def device(self) -> Reader:
        return self.reader

    @property
    def known(self) -> KnownReader:
        """With what the sensor holds at this instant."""
        return self.known_of(self.oracle.known)

    def known_of(self, known: KnownReader) -> KnownReader:
        """`known`, with what the sensor holds at this instant."""
        templates = tuple(sorted(self.sensor.templates.items()))
        return replace(known, templates=templates, password=self.sensor.password)

    # -- beginning anew ------------------------------------------------------------------------

    def use_base(self, base: bytes) -> None:
        """States are told by what differs from `base` from now on."""
        self.range = FlashRange(self.reader.flash, self.range.first, base)

    def restore(self, state: FlashState, known: KnownReader, seed: bytes, cuts: int = 0) -> None:
        """The reader lies there without power, its flash in this state. What it draws by chance in
        its first start depends on how many cuts came before, and what it does later on `seed`: two
        states that read alike then become equal ones."""
        reader = self.reader
        reader.power_off()
        reader.clock.clear()
        reader.clock.now = 0
        reader.trace.events.clear()
        self.range.load(state)
        if isinstance(reader.mcu.registers, OneTimeRows):
            # Where nothing is burnt the firmware burns what its state says, so that a state tells
            # all. Old copies are another campaign's.
            reader.mcu.registers.rows = {}
        self.worn = frozenset(self.range.first + at for at in state.worn)
        self.oracle = ReaderOracle(known)
        self._rng = random.Random(seed)
        reader.mcu.reseed(random.Random(cuts))
        self.sensor = ScriptedSensor(reader.clock)
        self.sensor.templates = dict(known.templates)
        self.sensor.password = known.password
        reader.plug_sensor(self.sensor)
        self._slot = self.settled = None
        self.armed = True
        self.late = False
        self.limit = _NO_LIMIT

    def _plan(self, operation: FlashOperation) -> Fault:
        if not self.range.covers(operation.address):
            return None
        self.range.touch(operation.address, len(operation.old))
        # Power may go between: the host has been told of what is not there yet.
        self.late = self.late or (self._answers.out and bool(self.reader.reports))
        slot = operation.address & -PIECE
        if slot != self._slot:
            self.settled = self._slot
        asked = self.on_operation if self.armed and self.limit > 0 else None
        self.limit -= self.armed
        fault = asked(operation) if asked is not None else None
        self._slot = slot if operation.kind == "program" else self._slot
        if fault is None and operation.address & -self.range.flash.timing.sector in self.worn:
            # The serial flash's driver does not look whether it worked.
            return Failure(faults.apply("f", operation).content, reported=False)
        return fault

    def flipped(self, bits: Iterable[int]) -> bytes:
        """The record at `settled` with these bits flipped."""
        assert self.settled is not None
        piece = bytearray(self.reader.flash.memory[self.settled : self.settled + PIECE])
        for bit in bits:
            piece[bit >> 3] ^= 1 << (bit & 7)
        return bytes(piece)

    def look(self) -> None:
        """A reader says nothing unasked."""

    def state_digest(self) -> bytes:
        """Of flash, sensor and what is known: 16 bytes."""
        worn = frozenset(at - self.range.first for at in self.worn)
        rest = repr(self.known).encode()
        return blake2b(self.range.capture(worn).digest + rest, digest_size=16).digest()

    # -- power ---------------------------------------------------------------------------------

    def prepare(self) -> None:
        """From now on a start begins where the firmware first looks at its records, which it
        reaches in the same way every time. Where that cannot be had, all of it is run."""
        mcu = self.reader.mcu
        self.restore(FlashState(), KnownReader(), b"snapshot")
        self.sensor.power(True)
        mcu.hold_at_look(self.range.first, self.range.end)
        try:
            mcu.power_on()
            self.reader.run_for(_READY_MS)
            if mcu.held:
                self._snapshot = Snapshot(self.reader, mcu.usb)
        except (FirmwareCrashError, MissingMicroPythonError):
            pass
        finally:
            mcu.hold_at_look(0, 0)
            self.reader.power_off()

    def start(self, *, wait: bool = True) -> None:
        """Plugs the reader in, its flash as it was put there: weak bits read as the state says.
        wait: for what it does while nobody asks for anything."""
        flash = self.reader.flash
        weak, flash.weak = flash.weak, set()
        self._power_on()
        flash.weak = weak
        self._settle(wait=wait)

    def power_off(self) -> None:
        self.reader.power_off()

    def restart(self, *, wait: bool = True) -> None:
        """Out and in again: weak bits are read anew."""
        self.power_off()
        self.reader.mcu.reseed(random.Random(self._rng.randbytes(16)))
        self.reader.run_for(100)
        self._power_on()
        self._settle(wait=wait)

    def _power_on(self) -> None:
        if self._snapshot is None:
            self.sensor.power(True)
            self.reader.mcu.power_on()
            return
        self.sensor.lift()
        self.reader.flash.power_up(self._rng)
        self._snapshot.resume()
        self.sensor.power(True, long_ago=True)

    def power_for_prompt(self) -> None:
        self.start()

    def _settle(self, *, wait: bool) -> None:
        try:
            if wait:
                self.reader.run_for(_READY_MS)
            else:
                self.reader.run_until(lambda: self.reader.mcu.usb.active, limit_ms=_READY_MS)
        except FirmwareCrashError as error:
            raise ViolationError("crash", error.what) from error
        self.need_power()

    def need_power(self) -> None:
        """Raises PowerGoneError."""
        if not self.reader.powered:
            raise PowerGoneError

    # -- the host ------------------------------------------------------------------------------

    def ctap(self) -> Ctap2:
        """Opens a channel; asks for getInfo."""
        return Ctap2(CtapHidDevice(DESCRIPTOR, _Bus(self)))

    def pressing(self, finger: str = FINGER) -> Callable[[int], None]:
        """An on_keepalive that presses whenever the reader asks for a finger."""
        return lambda status: self.sensor.press(finger) if status == _WAITS_FOR_FINGER else None

    def pin_token(self, permissions: ClientPin.PERMISSION, rp_id: str | None = None) -> Channel:
        """Leaves one try less than there are."""
        client = ClientPin(self.ctap())
        token = client.get_pin_token(PIN, permissions, rp_id)
        refused(lambda: client.get_pin_token(WRONG_PIN, permissions, rp_id))
        self.oracle.done(None, PIN_TRIES - 1, FINGER_TRIES)
        return client.ctap, client.protocol, token

    def finger_token(self, permissions: ClientPin.PERMISSION, rp_id: str) -> Channel:
        client = ClientPin(self.ctap())
        token = client.get_uv_token(permissions, rp_id, on_keepalive=self.pressing())
        self.oracle.done(None, None, FINGER_TRIES)
        return client.ctap, client.protocol, token


def refused(call: Callable[[], object]) -> None:
    """Raises ViolationError when it is not."""
    try:
        call()
    except CtapError:
        return
    raise ViolationError("refused", "what must be refused was done")
