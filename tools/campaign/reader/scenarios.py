"""Every command of the reader that changes what it stores, as a scenario of the power-cut campaign.

What leads up to the command (a channel, a token) is not cut: each of its own commands has a
scenario.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

from fido2.ctap import CtapError
from fido2.ctap2.bio import CaptureError, FPBioEnrollment
from fido2.ctap2.config import Config
from fido2.ctap2.credman import CredentialManagement
from fido2.ctap2.pin import ClientPin

from tallystick.tools.campaign.engine.subject import ViolationError
from tallystick.tools.campaign.reader.rig import (
    FINGER,
    OTHER_PIN,
    PIN,
    SECOND_FINGER,
    STRANGER,
    WRONG_PIN,
    Channel,
    ReaderRig,
    refused,
)

Start = Literal[
    "factory",
    "worn factory",
    "new",
    "late sensor",
    "in service",
    "worn sector",
    "before wrap",
    "past wrap",
    "before lap",
    "reset begun",
    "finger wavers",
    "damaged",
    "foreign",
]
Command = Callable[[], Any]

PARTY = "example.com"
_PARTY: Any = {"id": PARTY, "name": "Example"}
_PARAMETERS: list[Any] = [{"type": "public-key", "alg": -7}]
HASH = b"\x07" * 32
SAMPLES = 6
PERMISSION = ClientPin.PERMISSION
_TRY_MS = 1500  # from one try with a finger to the next
_BLOB = 1900


@dataclass(frozen=True)
class Scenario:
    """`prepare` begins with the reader unplugged, and returns the command.

    changes: what can be seen differs afterwards. wrong_pins, wrong_fingers: tries that it uses up.
    right: whose tries it gives back (`pin` gives both). pays_first: its first change of flash takes
    a try, whether right or wrong. erases: nothing of before may be left in flash. limit: cut so
    many operations only; those that follow are alike.
    """

    name: str
    sentence: str
    start: Start
    prepare: Callable[[ReaderRig], Command]
    changes: bool = True
    wrong_pins: int = 0
    wrong_fingers: int = 0
    right: Literal["", "pin", "finger"] = ""
    pays_first: bool = False
    erases: bool = False
    limit: int = 0
    rots: bool = False

    def run(self, rig: ReaderRig) -> None:
        """Raises ViolationError when it goes wrong without any cut."""
        try:
            self._run(rig)
        except CtapError as error:
            raise ViolationError("refused", f"without a cut: {error}") from error

    def _run(self, rig: ReaderRig) -> None:
        rig.armed = False
        command = self.prepare(rig)
        rig.armed = True
        rig.limit = self.limit or rig.limit
        oracle = rig.oracle
        pin, finger = oracle.known.pin, oracle.known.finger
        after = rig.after if self.changes else None
        oracle.begin(after, self.wrong_pins, self.wrong_fingers, self.right)
        answer = command()
        if hasattr(answer, "auth_data"):
            oracle.signed(answer.auth_data.counter)
        oracle.done(
            after,
            pin.whole if self.right == "pin" else pin.left[0] - self.wrong_pins,
            finger.whole if self.right else finger.left[0] - self.wrong_fingers,
        )


REGISTRY: dict[str, Scenario] = {}


def register(scenario: Scenario) -> Scenario:
    REGISTRY[scenario.name] = scenario
    return scenario


# -- power ---------------------------------------------------------------------------------------


def _power_up(rig: ReaderRig) -> Command:
    def command() -> None:
        rig.start()
        rig.ctap()

    return command


def _stale_template(rig: ReaderRig) -> Command:
    """As after an enrolment that was cut between the sensor's store and the record."""
    rig.sensor.templates[1] = SECOND_FINGER
    return _power_up(rig)


# -- credentials ---------------------------------------------------------------------------------


def make(rig: ReaderRig, user: bytes) -> Command:
    """A resident credential."""
    ctap, protocol, token = rig.finger_token(PERMISSION.MAKE_CREDENTIAL, PARTY)
    return lambda: ctap.make_credential(
        HASH, _PARTY, {"id": user, "name": "n", "displayName": "N"}, _PARAMETERS,
        options={"rk": True}, pin_uv_param=protocol.authenticate(token, HASH),
        pin_uv_protocol=protocol.VERSION,
    )  # fmt: skip


def make_elsewhere(rig: ReaderRig) -> Command:
    """A credential that the reader does not store, with a finger and no token."""
    ctap = rig.ctap()
    return lambda: ctap.make_credential(
        HASH, _PARTY, {"id": b"elsewhere", "name": "n", "displayName": "N"}, _PARAMETERS,
        options={"uv": True}, on_keepalive=rig.pressing(),
    )  # fmt: skip


def _register(user: bytes) -> Callable[[ReaderRig], Command]:
    def prepare(rig: ReaderRig) -> Command:
        rig.start()
        return make(rig, user)

    return prepare


def _register_elsewhere(rig: ReaderRig) -> Command:
    rig.start()
    return make_elsewhere(rig)


def log_in(rig: ReaderRig) -> Command:
    ctap, protocol, token = rig.finger_token(PERMISSION.GET_ASSERTION, PARTY)
    return lambda: ctap.get_assertion(
        PARTY, HASH, pin_uv_param=protocol.authenticate(token, HASH),
        pin_uv_protocol=protocol.VERSION,
    )  # fmt: skip


def _log_in(rig: ReaderRig) -> Command:
    rig.start()
    return log_in(rig)


def _log_in_by_finger(rig: ReaderRig) -> Command:
    rig.start()
    ctap, pressing = rig.ctap(), rig.pressing()
    return lambda: ctap.get_assertion(PARTY, HASH, options={"uv": True}, on_keepalive=pressing)


def _next(rig: ReaderRig) -> Command:
    rig.start()
    ctap, protocol, token = rig.finger_token(PERMISSION.GET_ASSERTION, PARTY)
    first = ctap.get_assertion(
        PARTY, HASH, pin_uv_param=protocol.authenticate(token, HASH),
        pin_uv_protocol=protocol.VERSION,
    )  # fmt: skip
    rig.oracle.signed(first.auth_data.counter)
    return ctap.get_next_assertion


def _manage(channel: Channel) -> tuple[CredentialManagement, Any]:
    """And the first credential."""
    management = CredentialManagement(*channel)
    (party,) = management.enumerate_rps()
    return management, management.enumerate_creds(party[4])[0]


def _delete(rig: ReaderRig) -> Command:
    rig.start()
    management, entry = _manage(rig.pin_token(PERMISSION.CREDENTIAL_MGMT))
    return lambda: management.delete_cred(entry[7])


def _update(rig: ReaderRig) -> Command:
    rig.start()
    management, entry = _manage(rig.pin_token(PERMISSION.CREDENTIAL_MGMT))
    user: Any = {"id": entry[6]["id"], "name": "changed", "displayName": "Changed"}
    return lambda: management.update_user_info(entry[7], user)


# -- PIN and fingers -----------------------------------------------------------------------------


def _client(rig: ReaderRig) -> ClientPin:
    rig.start()
    return ClientPin(rig.ctap())


def _set_pin(rig: ReaderRig) -> Command:
    client = _client(rig)
    return lambda: client.set_pin(PIN)


def _change_pin(rig: ReaderRig) -> Command:
    client = _client(rig)
    return lambda: client.change_pin(PIN, OTHER_PIN)


def _right_pin(rig: ReaderRig) -> Command:
    client = _client(rig)
    return lambda: client.get_pin_token(PIN)


def _wrong_pin(rig: ReaderRig) -> Command:
    client = _client(rig)
    return lambda: refused(lambda: client.get_pin_token(WRONG_PIN))


def _right_finger(rig: ReaderRig) -> Command:
    client = _client(rig)
    pressing = rig.pressing()
    return lambda: client.get_uv_token(PERMISSION.GET_ASSERTION, PARTY, on_keepalive=pressing)


def wrong_fingers(rig: ReaderRig, client: ClientPin, presses: int) -> None:
    """Until the reader gives up."""

    def press(status: int) -> None:
        if status == 2:
            for number in range(presses):
                rig.reader.clock.after(number * _TRY_MS * 1000, lambda: rig.sensor.press(STRANGER))

    refused(lambda: client.get_uv_token(PERMISSION.GET_ASSERTION, PARTY, on_keepalive=press))


def _wrong_finger(rig: ReaderRig) -> Command:
    client = _client(rig)
    return lambda: wrong_fingers(rig, client, 2)


def _bio(rig: ReaderRig) -> FPBioEnrollment:
    rig.start()
    return FPBioEnrollment(*rig.pin_token(PERMISSION.BIO_ENROLL))


def enrol(rig: ReaderRig, finger: str, *, samples: int = SAMPLES) -> Command:
    """All samples but the last of `samples`; the command takes that one."""
    enroller = FPBioEnrollment(*rig.pin_token(PERMISSION.BIO_ENROLL)).enroll()
    for _ in range(samples - 1):
        enroller.capture(on_keepalive=rig.pressing(finger))
    return lambda: enroller.capture(on_keepalive=rig.pressing(finger))


def _enrol(rig: ReaderRig) -> Command:
    rig.start()
    return enrol(rig, SECOND_FINGER)


def _enrol_full(rig: ReaderRig) -> Command:
    """The sensor says that it has no room, once it is to store."""
    command = _enrol(rig)
    rig.sensor.room = 0

    def refused_by_sensor() -> None:
        with suppress(CaptureError):
            command()

    return refused_by_sensor


def _rename(rig: ReaderRig) -> Command:
    bio = _bio(rig)
    template = next(iter(bio.enumerate_enrollments()))
    return lambda: bio.set_name(template, "Daumen")


def _remove(rig: ReaderRig) -> Command:
    bio = _bio(rig)
    template = next(iter(bio.enumerate_enrollments()))
    return lambda: bio.remove_enrollment(template)


def _pair(rig: ReaderRig) -> Command:
    """The sensor was not there at power-up, and is when the first finger is to be enrolled."""
    rig.sensor.fault = lambda _command: True
    rig.start()
    command = enrol(rig, FINGER, samples=1)
    rig.sensor.fault = lambda _command: False
    return command


# -- configuration, large blobs, reset -----------------------------------------------------------


def _config(rig: ReaderRig) -> Config:
    rig.start()
    return Config(*rig.pin_token(PERMISSION.AUTHENTICATOR_CFG))


def _always_uv(rig: ReaderRig) -> Command:
    return _config(rig).toggle_always_uv


def _min_pin(rig: ReaderRig) -> Command:
    config = _config(rig)
    return lambda: config.set_min_pin_length(6)


def _min_pin_told(rig: ReaderRig) -> Command:
    config = _config(rig)
    return lambda: config.set_min_pin_length(6, rp_ids=["example.com", "example.org"])


def blobs(rig: ReaderRig, text: bytes, times: int = 1) -> Command:
    """Writes an array that is nearly as large as can be, also several times."""
    return _blob_command(rig.pin_token(PERMISSION.LARGE_BLOB_WRITE), text, times)


def _blob_command(channel: Channel, text: bytes, times: int = 1) -> Command:
    ctap, protocol, token = channel
    array = b"\x81\x59" + _BLOB.to_bytes(2, "big") + (text * _BLOB)[:_BLOB]
    array += sha256(array).digest()[:16]
    message = b"\xff" * 32 + b"\x0c\x00" + bytes(4) + sha256(array).digest()

    def command() -> None:
        for _ in range(times):
            ctap.large_blobs(
                0, set=array, length=len(array), pin_uv_protocol=protocol.VERSION,
                pin_uv_param=protocol.authenticate(token, message),
            )  # fmt: skip

    return command


def _blobs(rig: ReaderRig) -> Command:
    rig.start()
    return blobs(rig, b"other")


def _ring(rig: ReaderRig) -> Command:
    rig.start()
    return blobs(rig, b"first", times=4)


def _ring_once(rig: ReaderRig) -> Command:
    rig.start()
    return blobs(rig, b"first")


def _delete_at_wrap(rig: ReaderRig) -> Command:
    """The ring has come so far that the deletion moves what is in its oldest sector."""
    rig.start()
    channel = rig.pin_token(PERMISSION.LARGE_BLOB_WRITE | PERMISSION.CREDENTIAL_MGMT)
    management, entry = _manage(channel)
    _blob_command(channel, b"first")()
    return lambda: management.delete_cred(entry[7])


def reset(rig: ReaderRig) -> Command:
    rig.start()
    ctap = rig.ctap()
    return lambda: ctap.reset(on_keepalive=rig.pressing())


def _reset_unpaired(rig: ReaderRig) -> Command:
    """A sensor that was mute until now is found after the reset."""
    rig.sensor.fault = lambda _command: True
    command = reset(rig)

    def paired() -> object:
        rig.sensor.fault = lambda _command: False
        return command()

    return paired


for _scenario in (
    Scenario("reader-first-start", "A reader fresh from the factory finds its sensor.", "factory",
             _power_up, changes=False),
    Scenario("reader-first-start-worn", "A first start whose first sector takes no record.",
             "worn factory", _power_up, changes=False),
    Scenario("reader-second-start", "A reader finds its sensor at its second start.",
             "late sensor", _power_up, changes=False),
    Scenario("reader-start", "The first command of a reader in service.", "in service", _power_up,
             changes=False),
    Scenario("reader-stale-template", "The sensor holds a template without a record, and loses "
             "it.", "in service", _stale_template, changes=False),
    Scenario("reader-wavering-finger", "A start after a finger's removal was cut: its record reads "
             "as whole, this time.", "finger wavers", _power_up, changes=False),
    Scenario("reader-late-sensor", "A sensor that was mute is paired when a finger is to be "
             "enrolled.", "late sensor", _pair, changes=False),
    Scenario("reader-set-pin", "The first PIN.", "new", _set_pin, right="pin"),
    Scenario("reader-change-pin", "Another PIN.", "in service", _change_pin, right="pin"),
    Scenario("reader-right-pin", "A token for the right PIN.", "in service", _right_pin,
             changes=False, right="pin", pays_first=True),
    Scenario("reader-wrong-pin", "A wrong PIN.", "in service", _wrong_pin, changes=False,
             wrong_pins=1, pays_first=True),
    Scenario("reader-right-finger", "A token for a finger.", "in service", _right_finger,
             changes=False, right="finger", pays_first=True),
    Scenario("reader-wrong-finger", "The last two tries with a finger.", "in service",
             _wrong_finger, changes=False, wrong_fingers=2, pays_first=True),
    Scenario("reader-register", "A resident credential.", "in service", _register(b"new")),
    Scenario("reader-register-again", "A resident credential in place of another.", "in service",
             _register(b"user-1")),
    Scenario("reader-register-elsewhere", "A credential that the reader does not store, with a "
             "finger.", "in service", _register_elsewhere, changes=False, right="finger"),
    Scenario("reader-log-in", "An assertion, with a token.", "in service", _log_in, changes=False),
    Scenario("reader-log-in-by-finger", "An assertion, with a finger.", "in service",
             _log_in_by_finger, changes=False, right="finger", pays_first=True),
    Scenario("reader-log-in-next", "The next of several assertions.", "in service", _next,
             changes=False),
    Scenario("reader-delete", "A credential deleted.", "in service", _delete),
    Scenario("reader-update", "Another name for a user.", "in service", _update),
    Scenario("reader-enrol", "The last sample of a second finger.", "in service", _enrol),
    Scenario("reader-enrol-full", "The last sample of a finger that the sensor has no room for.",
             "in service", _enrol_full, changes=False),
    Scenario("reader-name-finger", "A name for a finger.", "in service", _rename),
    Scenario("reader-remove-finger", "A finger removed.", "in service", _remove),
    Scenario("reader-always-uv", "alwaysUv switched on.", "in service", _always_uv),
    Scenario("reader-min-pin", "PINs must have six characters.", "in service", _min_pin),
    Scenario("reader-min-pin-told", "And who is told of it.", "in service", _min_pin_told),
    Scenario("reader-blobs", "Large blobs.", "in service", _blobs),
    Scenario("reader-blobs-at-wrap", "Large blobs, while the ring of sectors comes round.",
             "before wrap", _ring, changes=False),
    Scenario("reader-blobs-at-lap", "Large blobs, in a sector that was used before.",
             "before lap", _ring_once, changes=False),
    Scenario("reader-start-at-wrap", "The first command makes room in the ring.", "past wrap",
             _power_up, changes=False),
    Scenario("reader-delete-at-wrap", "A credential deleted, while the ring comes round.",
             "before wrap", _delete_at_wrap),
    Scenario("reader-worn-sector", "The first command, when the newest sector is at its end.",
             "worn sector", _power_up, changes=False),
    Scenario("reader-reset", "All is new.", "in service", reset, right="pin", erases=True),
    Scenario("reader-reset-at-lap", "All is new, when every sector was used.", "before lap", reset,
             right="pin", erases=True, limit=4),
    Scenario("reader-reset-damaged", "Reset of a reader whose records are all spoiled.", "damaged",
             reset, right="pin", erases=True),
    Scenario("reader-reset-foreign", "Reset of a reader whose records are of another chip.",
             "foreign", reset, right="pin", erases=True),
    Scenario("reader-reset-unpaired", "Reset of a reader whose sensor was mute so far.",
             "late sensor", _reset_unpaired, right="pin"),
    Scenario("reader-reset-goes-on", "The first command after a reset that was cut.",
             "reset begun", _power_up, changes=False, erases=True),
):  # fmt: skip
    register(_scenario)
