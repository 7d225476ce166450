"""An emulated reader with two programs and a person around it, and what is known of it all."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fido2 import cbor

from tallystick.common.reader_identity import ReaderIdentity
from tallystick.emulator.devices.bookmark import Bookmark, FlashHistory
from tallystick.emulator.devices.device import FirmwareCrashError
from tallystick.emulator.devices.image import Image
from tallystick.emulator.devices.reader import REPORT, Reader
from tallystick.tools.campaign.ctap.channels import Answer, HostChannels, Shared
from tallystick.tools.campaign.ctap.known import CHANNELS, Known, KnownSequence, KnownToken
from tallystick.tools.campaign.engine.subject import ViolationError
from tallystick.tools.campaign.reader.sensor import ScriptedSensor

THUMB, INDEX, STRANGER = "thumb", "index", "stranger"
NOBODY = ""
LATE = "late"  # nobody comes, and the host waits until the reader gives up
CANCELLED = 0x2D
_READY_MS = 400
_GIVES_UP_US = 1_600_000  # after a wrong finger
_OTHER = 0x7F
_CANCEL = 0x91
_PIECE = 256
_STRAYS = 3  # more packets than most messages have


@dataclass(frozen=True)
class Point:
    """To go back to."""

    bookmark: Bookmark
    known: Known
    channels: dict[str, bytes]


class CtapWorld:
    """Raises ViolationError when the reader does what it may not. `seed` fixes what it draws.
    quick: see `Mcu.spare_host`."""

    def __init__(self, image: Image, seed: int = 1, *, quick: bool = False) -> None:
        identity = ReaderIdentity.development("TR00000001").encode()
        self.reader = Reader(image, identity=identity, seed=seed)
        self.reader.trace.off = True
        if quick:
            self.reader.mcu.spare_host()
        self._rng = random.Random(seed)
        self.reader.mcu.reseed(self._rng)
        self.sensor = ScriptedSensor(self.reader.clock)
        self.reader.plug_sensor(self.sensor)
        self._history = FlashHistory(self.reader)
        self.channels = HostChannels(self.reader, CHANNELS)
        self.known = Known()
        self._boots = 0
        self.commands = 0  # sent so far
        self.power_on()

    def close(self) -> None:
        self.reader.close()

    # -- points to go back to ------------------------------------------------------------------

    def point(self) -> Point:
        bookmark = Bookmark(
            self.reader, self._history, self._rng, (self.sensor,), self._put_cable(self.known)
        )
        return Point(bookmark, self.known, dict(self.channels.numbers))

    def return_to(self, point: Point) -> None:
        point.bookmark.return_to()
        self.known = point.known
        self.channels.numbers = dict(point.channels)
        self._boots = self.reader.mcu.boots

    def _put_cable(self, known: Known) -> Callable[[], None]:
        reader, sensor = self.reader, self.sensor

        def put() -> None:
            reader.connect_sensor(sensor if known.sensor else None)

        return put

    # -- the world -----------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """µs."""
        return self.reader.clock.now

    def power_on(self) -> None:
        self.known = self.known.without_power(self.now)
        self._guarded(lambda: self.reader.power_on(_READY_MS))
        self._boots = self.reader.mcu.boots
        self.channels.open()
        self.settle()

    def replug(self) -> None:
        self.reader.power_off()
        self._guarded(lambda: self.reader.run_for(100))
        self.power_on()

    def restart(self) -> None:
        """The firmware starts anew and power stays, as after an exception that nobody caught."""
        self.reader.mcu.reset()
        self._guarded(lambda: self.reader.run_for(_READY_MS))
        self._boots = self.reader.mcu.boots
        self.known = self.known.restarted()
        self.channels.open()
        self.settle()

    def wait(self, ms: int) -> None:
        self._guarded(lambda: self.reader.run_for(ms))
        self.settle()

    def put_flash(self, address: int, content: bytes) -> None:
        """Written from outside, while there is no power. A point remembers what was there."""
        memory = self.reader.flash.memory
        for at in range(0, len(content), _PIECE):
            place = slice(address + at, address + at + _PIECE)
            piece = content[at : at + _PIECE]
            if memory[place] != piece:
                self._history.note(place.start, bytes(memory[place]))
                memory[place] = piece

    def plug_sensor(self, *, plugged: bool) -> None:
        if plugged:
            self.reader.plug_sensor(self.sensor)
        else:
            self.reader.unplug_sensor()
        self.known = replace(self.known, sensor=plugged, enrolment=None)
        self._guarded(lambda: self.reader.run_for(_READY_MS))
        self.settle()

    def lie(self, *, finger: bool) -> None:
        """A finger is laid on the glass, and stays; or it goes."""
        if finger:
            self.sensor.present(THUMB)
        else:
            self.sensor.lift()
        self.known = replace(self.known, lying=finger)
        self.settle()

    def stray(self) -> None:
        """Packets that go on with no message, on a channel that nobody was given."""
        for number in range(_STRAYS):
            self.reader.write_report((bytes(4) + bytes((number,))).ljust(REPORT, b"\0"))
            self.settle()
        if self.reader.reports:
            raise ViolationError("channel", f"{self.reader.reports[0][:8].hex()} was not asked for")

    def settle(self) -> None:
        """Until nothing is under way any more."""
        clock = self.reader.clock
        self.sensor.commands.clear()
        self._guarded(lambda: self.reader.run_for(1))
        while (due := clock.next_event()) is not None:
            self._guarded(partial(self.reader.run_to, due))
        if self.reader.mcu.boots != self._boots:
            raise ViolationError("restart", "the firmware has started anew")

    def _guarded(self, action: Callable[[], object]) -> None:
        try:
            action()
        except FirmwareCrashError as error:
            raise ViolationError("crash", error.what) from error

    # -- commands ------------------------------------------------------------------------------

    def ask(
        self, channel: str, command: int, request: Any = None, touch: str = NOBODY
    ) -> tuple[Answer, Any]:
        """The answer, and what it says. touch: the finger that is pressed when one is asked for.
        Nobody: then the host gives up. LATE: then it does not."""
        body = b"" if request is None else request
        if not isinstance(body, bytes):
            body = cbor.encode(body)
        self.commands += 1
        answer = self.channels.ask(
            channel, bytes((command,)) + body, self._person(channel, touch) if touch else None
        )
        self.settle()
        if touch not in (NOBODY, LATE) and answer.asked:
            self.known = replace(self.known, lying=False)
        if answer.status == _OTHER:
            raise ViolationError("status", f"{command:02X} was answered 7F")
        try:
            return answer, cbor.decode(answer.body) if answer.body else {}
        except ValueError as error:
            raise ViolationError("cbor", f"{command:02X}: {answer.body.hex()}") from error

    def _person(self, channel: str, finger: str) -> Callable[[], bool]:
        def press() -> bool:
            if finger == LATE:
                return True
            self.sensor.press(finger)
            if all(finger != enrolled for _, enrolled, _ in self.known.fingers):
                # Of somebody who is not enrolled three tries would be asked for.
                number = self.channels.numbers[channel]
                report = number + bytes((_CANCEL, 0, 0))
                self.reader.clock.after(_GIVES_UP_US, lambda: self.reader.write_report(report))
            return True

        return press

    def expect(self, section: str, answer: Answer, *statuses: int, asked: bool | None) -> bool:
        """Whether it succeeded. Raises ViolationError for a status that the section does not name,
        and when the user was asked for or not asked for although the section says otherwise."""
        if answer.status not in statuses:
            wanted = " or ".join(f"{status:02X}" for status in statuses)
            raise ViolationError("status", f"{section}: {answer.status:02X}, not {wanted}")
        if asked is not None and answer.asked != asked:
            how = "without" if asked else "with a wish for"
            raise ViolationError("presence", f"{section}: {answer.status:02X} {how} a touch")
        return answer.status == 0

    def shared(self, channel: str) -> Shared:
        """With the reader's key, which is asked for."""
        answer, said = self.ask(channel, 0x06, {1: 2, 2: 2})
        self.expect("6.5.5.4", answer, 0, asked=False)
        return Shared(said[1][-2])

    # -- what is known -------------------------------------------------------------------------

    def take_sequence(self) -> KnownSequence | None:
        """What was begun, which ends with the command that follows (6, stateful commands)."""
        found = self.known.sequence
        self.known = replace(self.known, sequence=None)
        return found

    def held(self, channel: str) -> KnownToken | None:
        """The token of the program on this channel, as it was given."""
        return self.known.held[CHANNELS.index(channel)]

    def hold(self, channel: str, token: KnownToken) -> None:
        at = CHANNELS.index(channel)
        held = (*self.known.held[:at], token, *self.known.held[at + 1 :])
        self.known = replace(self.known, token=token, held=held)

    def other_use_of_sensor(self, answer: Answer) -> None:
        """An enrolment ends when another command wants the user."""
        if answer.asked:
            self.known = replace(self.known, enrolment=None)
