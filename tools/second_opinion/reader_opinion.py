"""The reader's image on our emulator and on an RP2350 that runs instruction by instruction: it
enumerates, takes a PIN, enrols a finger, registers, logs in, keeps all of it without power, comes
through a power cut in the middle of a write, and is updated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from fido2.ctap import CtapError
from fido2.ctap2.base import Ctap2
from fido2.ctap2.bio import CaptureError, FPBioEnrollment
from fido2.ctap2.pin import ClientPin
from fido2.webauthn import AuthenticatorData

from tallystick.common.errors import TallyError
from tallystick.emulator.boards import find
from tallystick.emulator.fingerprints.fingers import FINGERS
from tallystick.tools.flash import usb
from tallystick.tools.flash.field import Update
from tallystick.tools.image.build import build
from tallystick.tools.second_opinion.firmware import load_firmware
from tallystick.tools.second_opinion.reader_host import client_pin
from tallystick.tools.second_opinion.reader_sides import Noted, OtherSide, OurSide, Side

BOARD = "pico2"
_PIN, _OTHER_PIN, _WRONG_PIN = "2468", "97531", "0000"
_THUMB, _STRANGER = FINGERS[0], FINGERS[6]
_PARTY = "example.com"
_PARAMETERS: list[Any] = [{"type": "public-key", "alg": -7}]
_HASH = bytes(range(32))
_WAITS_FOR_FINGER = 2  # keep-alive status
_MOST_SAMPLES = 20
_PERMISSION = ClientPin.PERMISSION
_LANDS_MS, _AGAIN_MS = 300, 4_000  # from being asked to the press, from one to the next
_RESTART_MS, _HOST_SLEEPS_MS = 2_000, 5_000
_NEW_VERSION = "9.9.9"


@dataclass(frozen=True)
class ReaderStep:
    """differs: what is not the same, in words; empty when all is. A CPU time is that of the step,
    waiting for sensor and host not counted."""

    name: str
    differs: list[str]
    cpu_us: float
    other_cpu_us: float

    @property
    def agrees(self) -> bool:
        return not self.differs


@dataclass(frozen=True)
class ReaderOpinion:
    """same_random: both drew the same numbers by chance, so that answers and flash are compared
    byte for byte; otherwise by their order, kind and status."""

    steps: list[ReaderStep]
    same_random: bool

    @property
    def agrees(self) -> bool:
        return all(step.agrees for step in self.steps)


def compare_readers(
    path: Path, on_step: Callable[[ReaderStep], None] | None = None, count: int | None = None
) -> ReaderOpinion:
    """The first `count` steps. `path`: MicroPython for the board, as ELF file with the symbol
    `mp_hal_get_random` for the same chance.

    Raises BadInputError for what is none, or without unicorn; ChipError when the program does what
    the chip does not have.
    """
    firmware = load_firmware(path, find(BOARD))
    with _both(firmware) as (ours, other):
        steps: list[ReaderStep] = []
        for name, act in STEPS[:count]:
            results = [try_step(act, side) for side in (ours, other)]
            noted, other_noted = ours.take(), other.take()
            differs = differences(noted, other_noted, exact=other.same_random)
            differs += result_differences(*results)
            steps.append(ReaderStep(name, differs, noted.cpu_us, other_noted.cpu_us))
            if on_step is not None:
                on_step(steps[-1])
        return ReaderOpinion(steps, other.same_random)


@contextmanager
def _both(firmware: Any) -> Iterator[tuple[OurSide, OtherSide]]:
    ours = OurSide(BOARD)
    other = OtherSide(ours.board, firmware, ours.chip_random())
    try:
        yield ours, other
    finally:
        ours.close()
        other.close()


@dataclass(frozen=True)
class Refused:
    """A step that did not come to its end; those that are to be refused say so as their result."""

    why: str


def try_step(act: Callable[[Side], object], side: Side) -> object:
    """What the step found, or that it was refused."""
    try:
        return act(side)
    except CtapError as error:
        return Refused(str(error.code))
    except (ConnectionError, TallyError) as error:
        return Refused(str(error))


def result_differences(ours: object, other: object) -> list[str]:
    """Both refusing in the same way is no agreement: what comes after would show nothing."""
    if ours != other:
        return [f"result: {ours!r} and {other!r}"]
    return [f"refused on both: {ours.why}"] if isinstance(ours, Refused) else []


def differences(ours: Noted, other: Noted, *, exact: bool) -> list[str]:
    """What the two did otherwise, in words. exact: both drew the same by chance."""
    differs = []
    answers, other_answers = ours.answers, other.answers
    if not exact:
        answers, other_answers = _shapes(answers), _shapes(other_answers)
    if answers != other_answers:
        differs.append(_first("answer", answers, other_answers))
    if ours.sensor != other.sensor:
        at = next(
            (n for n, (a, b) in enumerate(zip(ours.sensor, other.sensor, strict=False)) if a != b),
            min(len(ours.sensor), len(other.sensor)),
        )
        differs.append(f"bytes to the sensor, from byte {at}")
    if ours.flash != other.flash:
        differs.append(_first("write to flash", ours.flash, other.flash))
    if exact and ours.content != other.content:
        differs.append("content of the flash")
    if ours.burnt != other.burnt:
        differs.append(f"burnt rows: {ours.burnt} and {other.burnt}")
    return differs


def _shapes(answers: list[bytes]) -> list[bytes]:
    """What chance does not change: channel, command or number of each packet, and the status. A
    signature has not always the same length."""
    return [answer[:5] + (answer[7:8] if answer[4] & 0x80 else b"") for answer in answers]


def _first(what: str, ours: list[Any], other: list[Any]) -> str:
    for number, (one, two) in enumerate(zip(ours, other, strict=False)):
        if one != two:
            return f"{what} {number + 1}: {_shown(one)} and {_shown(two)}"
    return f"{what}s: {len(ours)} and {len(other)}"


def _shown(one: Any) -> str:
    return one.hex() if isinstance(one, bytes) else f"{one[0]} at {one[1]:#x}"


# -- steps -----------------------------------------------------------------------------------------


def _start(side: Side) -> object:
    side.power_on()
    return side.descriptors()


def _info(side: Side) -> object:
    return side.bus.open().info.aaguid


def _set_pin(side: Side) -> object:
    client_pin(side.bus.open()).set_pin(_PIN)
    return None


def _wrong_pin(side: Side) -> object:
    client = client_pin(side.bus.open())
    with suppress(CtapError):
        client.get_pin_token(_WRONG_PIN, _PERMISSION.GET_ASSERTION, _PARTY)
    return client.get_pin_retries()


def _enrol(side: Side) -> object:
    client = client_pin(side.bus.open())
    token = client.get_pin_token(_PIN, _PERMISSION.BIO_ENROLL)
    enroller = FPBioEnrollment(client.ctap, client.protocol, token).enroll(timeout=8000)
    said: list[str] = []
    for _ in range(_MOST_SAMPLES):
        try:
            with _Presses(side) as presses:
                template = enroller.capture(on_keepalive=presses)
        except CaptureError as error:
            said.append(str(error.code))
            continue
        said.append("taken")
        if template is not None:
            return said, bytes(template)
    return said


class _Presses:
    """A person who presses when the reader asks for a finger, and again while it does: not every
    press is recognised. Called with a keep-alive's status, of which python-fido2 tells changes."""

    def __init__(self, side: Side, finger: str = _THUMB) -> None:
        self._side = side
        self._finger = finger
        self._turn = 0  # odd while the reader waits

    def __call__(self, status: int) -> None:
        if (status == _WAITS_FOR_FINGER) != bool(self._turn & 1):
            self._turn += 1
            if self._turn & 1:
                self._press(self._turn, _LANDS_MS)

    def _press(self, turn: int, after_ms: int) -> None:
        if turn == self._turn:
            self._side.hand.press(self._finger, after_ms=after_ms)
            again = partial(self._press, turn, 0)
            self._side.clock.after((after_ms + _AGAIN_MS) * 1000, again)

    def __enter__(self) -> _Presses:
        return self

    def __exit__(self, *_: object) -> None:
        self._turn += 2 - self._turn % 2


def _register(side: Side) -> object:
    ctap = side.bus.open()
    client, token = _finger_token(side, ctap, _PERMISSION.MAKE_CREDENTIAL)
    with _Presses(side) as presses:
        made = ctap.make_credential(
            _HASH, {"id": _PARTY, "name": "Example"}, {"id": b"user", "name": "user"}, _PARAMETERS,
            options={"rk": True}, pin_uv_param=client.protocol.authenticate(token, _HASH),
            pin_uv_protocol=client.protocol.VERSION, on_keepalive=presses,
        )  # fmt: skip
    return _flags(made.auth_data)


def _log_in(side: Side) -> object:
    ctap = side.bus.open()
    client, token = _finger_token(side, ctap, _PERMISSION.GET_ASSERTION)
    with _Presses(side) as presses:
        got = ctap.get_assertion(
            _PARTY, _HASH, pin_uv_param=client.protocol.authenticate(token, _HASH),
            pin_uv_protocol=client.protocol.VERSION, on_keepalive=presses,
        )  # fmt: skip
    return _flags(got.auth_data), got.user


def _strange_finger(side: Side) -> object:
    client = client_pin(side.bus.open())
    try:
        with _Presses(side, _STRANGER) as presses:
            client.get_uv_token(_PERMISSION.GET_ASSERTION, _PARTY, on_keepalive=presses)
    except CtapError as error:
        return str(error.code), client.get_uv_retries()
    return "taken"


def _finger_token(
    side: Side, ctap: Ctap2, permission: ClientPin.PERMISSION
) -> tuple[ClientPin, bytes]:
    client = client_pin(ctap)
    with _Presses(side) as presses:
        token = client.get_uv_token(permission, _PARTY, on_keepalive=presses)
    return client, token


def _flags(data: AuthenticatorData) -> tuple[int, int, bytes]:
    return int(data.flags), data.counter, data.rp_id_hash


def _power_cycle(side: Side) -> object:
    side.power_off()
    side.power_on()
    return side.descriptors()


def _cut_change(side: Side) -> object:
    """Power goes in the middle of the second write of a change of PIN."""
    client = client_pin(side.bus.open())
    side.cut_in = 2
    try:
        client.change_pin(_PIN, _OTHER_PIN)
    except (ConnectionError, CtapError) as error:
        said = type(error).__name__
    else:
        said = "changed"
    side.cut_in = None
    side.power_on()
    return said


def _pin_that_is(side: Side) -> object:
    client = client_pin(side.bus.open())
    for pin in (_PIN, _OTHER_PIN):
        with suppress(CtapError):
            client.get_pin_token(pin, _PERMISSION.GET_ASSERTION, _PARTY)
            return pin
    return None


def _host_sleeps(side: Side) -> object:
    """The computer sleeps and wakes; the reader answers as before."""
    side.host_sleeps()
    _wait(side, _HOST_SLEEPS_MS)
    side.host_wakes()
    return side.bus.open().info.aaguid


def _wait(side: Side, ms: int) -> None:
    side.run_until(lambda: False, limit_ms=ms)


class _SideReaders:
    """usb.Readers of one side."""

    def __init__(self, side: Side) -> None:
        self._side = side

    @contextmanager
    def find(self) -> Iterator[Any]:
        yield self._side.bus.open().device

    @contextmanager
    def find_again(self) -> Iterator[Any]:
        _wait(self._side, _RESTART_MS)
        yield self._side.bus.open().device


@cache
def _update() -> Update:
    built = build("reader", BOARD, _NEW_VERSION, security=1)
    return Update.parse(built.header + built.file_system)


def _new_image(side: Side) -> object:
    """Over USB, just plugged in, so without a PIN: touched, sent, started, confirmed."""
    _power_cycle(side)
    person = usb.UpdatePerson(lambda _why: side.hand.press(_THUMB, after_ms=_LANDS_MS), lambda: "")
    before, now = usb.install(_SideReaders(side), _update(), person)
    version = now.header.version if now.header is not None else "nothing"
    return before.slot, now.slot, now.floor, version, now.state.name


STEPS: tuple[tuple[str, Callable[[Side], object]], ...] = (
    ("start and enumeration", _start),
    ("INIT and getInfo", _info),
    ("first PIN", _set_pin),
    ("wrong PIN", _wrong_pin),
    ("finger enrolled", _enrol),
    ("registration", _register),
    ("log-in", _log_in),
    ("another finger", _strange_finger),
    ("power off and on", _power_cycle),
    ("log-in after it", _log_in),
    ("power cut in a change of PIN", _cut_change),
    ("the PIN that holds", _pin_that_is),
    ("log-in after the cut", _log_in),
    ("the host sleeps and wakes", _host_sleeps),
    ("update over USB", _new_image),
    ("log-in, updated", _log_in),
)
