"""The person: touches, fingers, and the sensor that tells.

A finger is only looked at after it has come: one that lies there when a command arrives must be
lifted first. The retry counter goes down in flash before a sample is compared.
"""

from time import ticks_add, ticks_diff, ticks_ms

from micropython import const

from lib import ctap, r503
from reader.refused import Refused
from reader.store import PAIRED

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from reader.app import Reader
    from typed.board import Touch
    from typed.kinds import Ticks

_MISSING = const(0)
_READY = const(1)
_FOREIGN = const(2)  # another module than the one that holds the enrolled fingers

# lastEnrollSampleStatus, CTAP 2.1 6.7.4.
GOOD = const(0x00)
_TOO_FAST = const(0x05)
_TOO_SLOW = const(0x06)
_POOR = const(0x07)
_SKEWED = const(0x08)
_TOO_SHORT = const(0x09)
_MERGE_FAILED = const(0x0A)
_FULL = const(0x0C)
_NO_ACTIVITY = const(0x0D)
_NO_LIFT = const(0x0E)

_AGAIN_MS = const(3000)
_LIFT_MS = const(3000)
_SLOW_MS = const(2000)
_ASK_MS = const(2000)  # while a finger is waited for, the module is asked so often


class User:
    """reader: wait(ms), check_cancelled(), awaiting(on). samples: as many as an enrolment takes."""

    samples = 6

    def __init__(self, board: "Touch", reader: "Reader") -> None:
        self._board = board
        self._reader = reader
        self._sensor = r503.R503(board.sensor_uart(), reader.wait)
        self._state = _MISSING
        self._tried: "Ticks | None" = None
        self._capacity = 0
        self._held = False  # a finger lies there that has had its say

    # -- the sensor ----------------------------------------------------------------------------

    def _lost(self) -> None:
        """The sensor does not answer, or has forgotten what it was at."""
        self._state = _MISSING
        self._reader.enrolment = None

    def start_sensor(self) -> None:
        """Finds the module and sets it up; what fails is tried again later. Flash may fail, too."""
        self._tried = ticks_ms()
        try:
            self._state = self._connect()
        except (r503.SensorError, OSError):
            self._lost()

    def listen(self) -> None:
        """While no command runs. A module that speaks unasked has started anew and is locked."""
        if self._sensor.unasked():
            self._lost()
            self._tried = None

    def due(self) -> bool:
        """The sensor is missing, and it is time to look again."""
        if self._state == _READY:
            self._tried = None  # ticks come round after six days, and it may be lost then
            return False
        return self._tried is None or ticks_diff(ticks_ms(), self._tried) >= _AGAIN_MS

    def _connect(self) -> int:
        sensor, store = self._sensor, self._reader.store
        if not store.flags & PAIRED:
            # A module without a password, or ours: before the flash lost everything.
            for password in (0, store.sensor_password):
                if sensor.verify_password(password) == r503.GOOD:
                    break
            else:
                return _FOREIGN
            # First: a cut after it leaves a module that the next lines set right.
            store.flag(PAIRED, True)
        ours, fingers = sensor.verify_password(store.sensor_password) == r503.GOOD, store.fingers()
        # A new module has no password. It is welcome as long as no fingers are in the old one.
        if not ours and (fingers or sensor.verify_password(0) != r503.GOOD):
            return _FOREIGN
        _, self._capacity = sensor.parameters()
        taken, stale = sensor.pages(), []
        for page in range(min(256, self._capacity)):
            if taken[page >> 3] >> (page & 7) & 1 and page not in fingers:
                stale.append(page)
        if stale or not ours:
            # The module is changed because of records that may have been cut: they must stay as
            # they were read, or a finger would be back without its template.
            store.settle()
        if not ours and sensor.set_password(store.sensor_password) != r503.GOOD:
            return _MISSING
        # What was taken for its word may have been to another password. Nothing is owed after this.
        sensor.parameters()
        if sensor.verify_password(store.sensor_password) != r503.GOOD:
            return _MISSING
        for page in stale:
            sensor.delete(page)
        return _READY

    def ensure_sensor(self) -> None:
        """Raises Refused."""
        if not self._answers():
            self.start_sensor()
        if self._state != _READY:
            raise Refused(ctap.OPERATION_DENIED)

    def capacity(self) -> int:
        """Templates that the module holds."""
        return self._capacity

    def can_verify(self) -> bool:
        """Fingers are enrolled, and their sensor is there: it is asked."""
        return bool(self._reader.store.fingers()) and self._answers()

    def _answers(self) -> bool:
        """A module whose cable was pulled does not, nor does one that has started anew."""
        try:
            if self._state == _READY:
                self._sensor.parameters()
        except r503.SensorError:
            self._lost()
        return self._state == _READY

    def forget_finger(self, finger: int) -> None:
        """Best effort: without its record a template counts for nothing, and goes at a start."""
        try:
            if self._state == _READY:
                self._sensor.delete(finger)
        except r503.SensorError:
            self._lost()

    def forget_all(self) -> None:
        """After a reset."""
        self.start_sensor()

    # -- touch ---------------------------------------------------------------------------------

    def _wait_until(self, touched: bool, deadline: "Ticks") -> bool:
        """False when the deadline passes first. Raises Refused when the platform gives up,
        r503.SensorError when nobody can touch the sensor, because it is not there.
        """
        asked = ticks_ms()
        while self._board.touched() != touched:
            left = ticks_diff(deadline, ticks_ms())
            if left <= 0:
                return False
            self._reader.wait(min(left, _ASK_MS))
            self._reader.check_cancelled()
            self.listen()
            if ticks_diff(ticks_ms(), asked) >= _ASK_MS:
                self._need_sensor()
                asked = ticks_ms()
        return True

    def _need_sensor(self) -> None:
        """Raises r503.SensorError when there is none. The touch of a foreign one is felt, too."""
        if self._reader.store is None or self._answers():
            return  # the module of a damaged reader cannot be asked
        self.start_sensor()
        if self._state == _MISSING:
            raise r503.SensorError

    def _await_finger(self, deadline: "Ticks") -> bool:
        """Waits for a finger that was not there when the command, or the try before, ended."""
        if self._held and not self._wait_until(False, deadline):
            return False
        self._held = self._wait_until(True, deadline)
        return self._held

    def touch(self, firmware: bool = False, late: int = ctap.USER_ACTION_TIMEOUT) -> None:
        """The user's presence: any finger. firmware: it is for that, and looks like nothing else:
        both lights flash. Raises Refused, with `late` when nobody comes.
        """
        self._reader.enrolment = None
        self._begin(firmware)
        try:
            self._need_sensor()
            if not self._await_finger(ticks_add(ticks_ms(), ctap.TOUCH_MS)):
                raise Refused(late)
        except r503.SensorError:
            raise Refused(ctap.OPERATION_DENIED)
        finally:
            self._end()

    def _begin(self, firmware: bool = False) -> None:
        self._held = self._board.touched()
        self._reader.awaiting(True, firmware)
        if firmware:
            self._light(2, r503.PURPLE, 30)
        else:
            self._light(1, r503.BLUE)

    def show_update(self, on: bool) -> None:
        """While an image comes in, the ring stays purple."""
        self._light(3 if on else 4, r503.PURPLE)

    def _end(self) -> None:
        self._reader.awaiting(False)
        self._light(4, r503.BLUE)

    def _light(self, mode: int, colour: int, speed: int = 60, times: int = 0) -> None:
        if self._state == _READY:
            self._sensor.light(mode, colour, speed, times)

    # -- fingerprints --------------------------------------------------------------------------

    def _sample(self, buffer: int) -> int:
        """Takes an image of the finger that has just come. Raises r503.SensorError."""
        sensor = self._sensor
        began = ticks_ms()
        while True:
            answer = sensor.capture()
            if answer != r503.NO_FINGER:
                break
            if not self._board.touched():
                return _TOO_FAST
            if ticks_diff(ticks_ms(), began) >= _SLOW_MS:
                return _TOO_SLOW
            self._reader.wait(20)
            self._reader.check_cancelled()
        if answer == r503.CAPTURE_FAILED:
            return _TOO_FAST
        if answer == r503.POOR:
            hint = sensor.parameters()[0] >> 8
            return hint if 1 <= hint <= 4 else _POOR
        if answer == r503.GOOD:
            answer = sensor.extract(buffer)
        if answer == r503.GOOD:
            return GOOD
        return _SKEWED if answer == r503.MESSY else _TOO_SHORT if answer == r503.POOR else _POOR

    def verify(self, denied: int = ctap.UV_INVALID, blocked: int = ctap.UV_BLOCKED) -> None:
        """One of the enrolled fingers, in at most three tries. Raises Refused, with `denied` for a
        wrong finger, with `blocked` when no tries are left or the sensor fails.
        """
        store = self._reader.store
        if not store.uv_retries or store.tries_ended():
            raise Refused(blocked)
        self._reader.enrolment = None  # the sensor has room for one sample of one matter
        deadline = ticks_add(ticks_ms(), ctap.TOUCH_MS)
        self._begin()
        try:
            for _ in range(ctap.UV_TRIES_A_COMMAND):
                while True:
                    if not self._await_finger(deadline):
                        raise Refused(ctap.USER_ACTION_TIMEOUT)
                    if self._sample(1) == GOOD:
                        break
                    self._light(
                        2, r503.PURPLE, 30, 2
                    )  # nothing was compared, so nothing is counted
                if self._matches():
                    return
                self._light(2, r503.RED, 30, 3)
                if not store.uv_retries or store.tries_ended():
                    raise Refused(blocked)
            raise Refused(denied)
        except r503.SensorError:
            self._lost()
            raise Refused(blocked)
        finally:
            self._end()

    def _matches(self) -> bool:
        """A wrong finger is burnt like a wrong PIN: were it not each of them, a copy of the flash
        from between two that are would give tries back. Nothing hides which it was, as the sensor's
        line tells it anyhow.
        """
        store = self._reader.store
        burnt, pins = store.burnt, store.pin_retries
        store.pay(min(store.verified + 1, 65535))
        known = False
        try:
            known = self.is_known()
        finally:
            if not known:  # also where the sensor has failed
                store.burn()
                store.commit(pin_retries=pins)
        if known:
            store.commit(pin_retries=pins, uv_retries=ctap.UV_RETRIES, burnt=burnt)
        return known

    def is_known(self) -> bool:
        """The sample in buffer 1 is of an enrolled finger. Raises r503.SensorError."""
        return self._sensor.search(self._capacity) in self._reader.store.fingers()

    def take_sample(self, number: int, wait_ms: int) -> int:
        """One sample of an enrolment, number 0..5: a lastEnrollSampleStatus. Raises Refused."""
        self._begin()
        try:
            if self._held and not self._wait_until(False, ticks_add(ticks_ms(), _LIFT_MS)):
                return _NO_LIFT
            if not self._wait_until(True, ticks_add(ticks_ms(), wait_ms)):
                return _NO_ACTIVITY
            status = self._sample(number + 1)
            self._light(2, r503.BLUE if status == GOOD else r503.RED, 30, 1)
            return status
        except r503.SensorError:
            self._lost()
            raise Refused(ctap.OPERATION_DENIED)
        finally:
            self._end()

    def known(self) -> bool:
        """As `is_known`, for an enrolment. Raises Refused."""
        try:
            return self.is_known()
        except r503.SensorError:
            self._lost()
            raise Refused(ctap.OPERATION_DENIED)

    def merge(self, finger: int) -> int:
        """Makes a template of the samples and stores it. Raises Refused."""
        try:
            if self._sensor.merge() != r503.GOOD:
                return _MERGE_FAILED
            answer = self._sensor.store(finger)
            if answer in (r503.NO_SUCH_PAGE, r503.LIBRARY_FULL):
                return _FULL
            if answer != r503.GOOD:
                raise Refused(ctap.OTHER)
            return GOOD
        except r503.SensorError:
            self._lost()
            raise Refused(ctap.OPERATION_DENIED)
