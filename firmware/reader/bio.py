"""authenticatorBioEnrollment (CTAP 2.1, 6.7): a finger is a page of the sensor and a record that
makes it count.

The sensor stores first, our record second: a cut in between leaves a template that counts for
nothing and is deleted at the next start. Removal goes the other way round.
"""

from micropython import const

from lib import cbor, ctap
from reader import consent
from reader.refused import Refused

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from reader.app import Reader
    from reader.store import Store
    from typed.kinds import Map

_BEGIN = const(1)
_NEXT = const(2)
_CANCEL = const(3)
_ENUMERATE = const(4)
_NAME = const(5)
_REMOVE = const(6)
_SENSOR = const(7)
_NEEDED = {_NEXT: (1,), _NAME: (1, 2), _REMOVE: (1,)}

_GOOD = const(0)
_EXISTS = const(0x0B)
_TIMEOUT_MS = const(10000)


class Enrolment:
    """A finger that is being enrolled, on a channel: samples taken so far."""

    def __init__(self, finger: int, channel: int) -> None:
        self.finger = finger
        self.channel = channel
        self.samples = 0


def handle(reader: "Reader", request: "Map") -> "Map":
    """One sub-command. Raises Refused."""
    if consent.optional(request, 6, bool, False):
        return {1: 1}
    command = consent.need(request, 2, int)
    if not _BEGIN <= command <= _SENSOR:
        raise Refused(ctap.INVALID_SUBCOMMAND)
    if consent.optional(request, 1, int, 1) != 1:
        raise Refused(ctap.INVALID_PARAMETER)
    if command == _SENSOR:
        return {2: 1, 3: reader.user.samples, 8: ctap.MAX_NAME}
    if command == _CANCEL:
        reader.enrolment = None
        return {}
    parameters = consent.optional(request, 3, dict, None)
    if command in _NEEDED:
        parameters = consent.need_all(request, 5, parameters, _NEEDED[command])
    _authorize(reader, request, command, parameters)
    if command == _ENUMERATE:
        return _list(reader.store)
    if command == _BEGIN:
        return _begin(reader, parameters)
    assert parameters is not None  # as the command needs some
    finger = _finger(consent.need(parameters, 1, bytes))
    if command == _NEXT:
        enrolment = reader.enrolment
        if enrolment is None or enrolment.finger != finger or enrolment.channel != reader.channel:
            raise Refused(ctap.INVALID_PARAMETER)
        reader.user.ensure_sensor()
        if reader.enrolment is None:  # the module has started anew, without its samples
            raise Refused(ctap.INVALID_PARAMETER)
        answer = _sample(reader, _wait_ms(parameters))
        if not answer[6]:
            reader.store.put_finger(finger, "")
        return answer
    if finger not in reader.store.fingers():
        raise Refused(ctap.INVALID_OPTION)
    if command == _NAME:
        name = consent.need(parameters, 2, str)
        if len(name.encode()) > ctap.MAX_NAME:
            raise Refused(ctap.INVALID_LENGTH)
        reader.store.put_finger(finger, name)
    else:
        reader.store.delete_finger(finger)
        reader.user.forget_finger(finger)
    return {}


def _authorize(reader: "Reader", request: "Map", command: int, parameters: "Map | None") -> None:
    signature, version = consent.token_parameters(request, 5, 4)
    message = bytes((1, command))
    if parameters is not None:
        message += cbor.encode(parameters)
    reader.token.verify(version, message, signature, ctap.BE)


def _identifier(finger: int) -> bytes:
    return bytes((0x54, finger))


def _finger(identifier: bytes) -> int:
    return identifier[1] if len(identifier) == 2 and identifier[0] == 0x54 else -1


def _list(store: "Store") -> "Map":
    fingers = store.fingers()
    if not fingers:
        raise Refused(ctap.INVALID_OPTION)
    return {7: [{1: _identifier(finger), 2: store.finger_name(finger)} for finger in fingers]}


def _begin(reader: "Reader", parameters: "Map | None") -> "Map":
    reader.enrolment = None
    wait = _wait_ms(parameters)
    reader.user.ensure_sensor()
    finger = reader.store.free_page(reader.user.capacity())
    if finger < 0:
        raise Refused(ctap.FP_DATABASE_FULL)
    reader.enrolment = Enrolment(finger, reader.channel)
    answer = _sample(reader, wait)
    answer[4] = _identifier(finger)
    return answer


def _wait_ms(parameters: "Map | None") -> int:
    """How long the platform wants a finger to be waited for. Raises Refused."""
    wait = _TIMEOUT_MS if parameters is None else consent.optional(parameters, 3, int, _TIMEOUT_MS)
    return max(1000, min(wait, ctap.TOUCH_MS))


def _sample(reader: "Reader", wait_ms: int) -> "Map":
    """Waits for the finger and takes one sample; after the last one the sensor stores."""
    enrolment, user = reader.enrolment, reader.user
    assert enrolment is not None
    try:
        status = user.take_sample(enrolment.samples, wait_ms)
    except Refused:
        reader.enrolment = None
        raise
    if status == _GOOD and enrolment.samples == 0 and user.known():
        status = _EXISTS
    if status == _GOOD:
        enrolment.samples += 1
        if enrolment.samples == user.samples:
            status = user.merge(enrolment.finger)
            if status == _GOOD:
                reader.enrolment = None
                return {5: _GOOD, 6: 0}
            enrolment.samples = 0
    return {5: status, 6: user.samples - enrolment.samples}
