"""The reader, from power-up on: serves messages of the USB host, one at a time, for ever."""

import gc
import sys
from hashlib import sha256
from time import sleep_ms, ticks_add, ticks_diff, ticks_ms

import board

from lib import cbor, ctap, ctaphid, hmac
from lib.journal import DamagedError, StrangeError
from reader.identity import Identity
from reader.protocol import KeyAgreement
from reader.refused import Refused
from reader.sequence import Sequence
from reader.store import Store
from reader.token import Token
from reader.user import User

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from reader.bio import Enrolment
    from reader.update import Incoming
    from typed.board import Reader as Board
    from typed.kinds import Map, Ticks

    _board: Board = board  # has all that a reader's board must

_KEEPALIVE_MS = 100
_LAST_WORD_MS = 100  # for the host to fetch an answer
_LOW = 20480  # free bytes: the next command may need more


class Reader:
    """What the command handlers share. Attributes without an underscore are theirs."""

    def __init__(self) -> None:
        self._started = ticks_ms()
        cold = board.cold()
        self._window = cold  # the time in which a reset is allowed
        self.urandom = board.random
        self.identity = Identity(board.identity, board.attestation_key)
        self._report = bytearray(ctaphid.REPORT)
        self._hid = board.hid()
        from reader.version import NUMBER

        version = (NUMBER >> 16 & 0xFF, NUMBER >> 8 & 0xFF, NUMBER & 0xFF)
        self._channels = ctaphid.Channels(self._hid.write, version)
        self._channels.on_wink = self._wink
        self._channels.on_anew = self._forget
        self._winked: "Ticks | None" = None  # ticks of a wink that still shows
        self._status = 1
        self._lit = False
        self._blinks = False  # the light, while the user is asked for new firmware
        self._spoke = self._started  # ticks of the last keep-alive
        self._strange = False  # another firmware wrote what is stored: nothing touches it
        try:
            self.store = Store(board.records(), board.root(), board.once(), self.urandom)
        except (DamagedError, OSError) as error:
            self._strange = isinstance(error, StrangeError)
            # No handler runs before a reset has made it: `_execute`.
            self.store = None  # type: ignore[assignment]
        self.token = Token(self.urandom)
        self._nonce = self.urandom(16)
        self._vectors = 0
        self.agreement = KeyAgreement(self.urandom, self.pause)
        self.enrolment: "Enrolment | None" = None
        self.user = User(board, self)
        self.wrong_pins = 0 if cold else self._wrong_before()  # in a row, since power came
        self._sequence: "Sequence | None" = None  # what the next command may go on with
        self._before: "Sequence | None" = None  # the same, for the command under way
        self.incoming: "Incoming | None" = None  # an image, on its way in
        self.starts_anew = False  # once the command under way is answered

    def _wrong_before(self) -> int:
        """After a restart of the firmware, which forgot how many wrong PINs there were: when some
        are missing, power has to go first.
        """
        store = self.store
        if store is None or store.pin_retries == ctap.PIN_RETRIES:
            return 0
        return ctap.PIN_RETRIES_IN_A_ROW

    # -- time ----------------------------------------------------------------------------------

    def run(self) -> None:
        """Never returns."""
        while True:
            self._receive()
            if self._channels.request is not None:
                self._serve()
                gc.collect()
                if gc.mem_free() < _LOW:
                    make_room()
                continue
            self._channels.tick()
            self.token.tick()
            if self._sequence is not None and self._sequence.over():
                self._sequence = None  # before the ticks have come round
            self._close_window()
            if self.incoming is not None and self.incoming.over():
                self.drop_update()
            if self._winked is not None and ticks_diff(ticks_ms(), self._winked) >= 300:
                self._winked = None
                board.led(False)
            if self.store is not None:
                self._prepare()
            self._wait(self._channels.wait_ms(500))

    def _prepare(self) -> None:
        """Work ahead, while nobody waits."""
        self.user.listen()
        if self.user.due():
            self.user.start_sensor()
        if not self._hid.any():
            self.agreement.prepare()

    def _receive(self) -> None:
        while self._hid.read(self._report):
            self._channels.receive(self._report)

    def _wait(self, ms: int) -> None:
        if not self._hid.any():
            board.wait(ms)

    def pause(self) -> None:
        """Called often during long work: other channels are served and the platform hears that we
        live.
        """
        self._receive()
        if self._channels.request is not None:
            if ticks_diff(ticks_ms(), self._spoke) >= _KEEPALIVE_MS:
                self._keepalive()
        else:
            self._channels.tick()

    def _keepalive(self) -> None:
        self._spoke = ticks_ms()
        self._channels.keepalive(self._status)
        if self._blinks:
            self._lit = not self._lit
            board.led(self._lit)

    def vector(self) -> bytes:
        """An initial vector, 16 bytes, never the same: for what is told so often that drawing it
        would be a matter of when it is asked.
        """
        self._vectors += 1
        return hmac.digest(sha256, self._nonce, self._vectors.to_bytes(4, "big"))[:16]

    def wait(self, ms: int) -> None:
        """Up to `ms`, less when something happens."""
        self.pause()
        if self._channels.request is not None:
            ms = min(ms, max(1, ticks_diff(ticks_add(self._spoke, _KEEPALIVE_MS), ticks_ms())))
        self._wait(ms)
        self.pause()

    def awaiting(self, on: bool, blinks: bool = False) -> None:
        """The user is needed: says so to the platform, and shows it."""
        self._status = 2 if on else 1
        self._blinks = blinks
        if on:
            self._keepalive()
        self._lit = on
        board.led(on)

    def check_cancelled(self) -> None:
        """Raises Refused."""
        if self._channels.cancelled:
            raise Refused(ctap.KEEPALIVE_CANCEL)

    def _close_window(self) -> None:
        if self._window and ticks_diff(ticks_ms(), self._started) >= ctap.RESET_WINDOW_MS:
            self._window = False

    def just_plugged_in(self) -> bool:
        """Power came at most ten seconds ago."""
        self._close_window()
        return self._window

    def drop_update(self) -> None:
        """The image on its way in is not waited for any more."""
        self.incoming = None
        self.user.show_update(False)

    def _wink(self) -> None:
        board.led(True)
        self._winked = ticks_ms()

    # -- sequences of commands -----------------------------------------------------------------

    @property
    def channel(self) -> int:
        """That the command under way came on."""
        return self._channels.channel

    def begin_sequence(self, kind: int, content: "Any", by_token: bool) -> None:
        """by_token: a token allowed the command under way."""
        token = self.token.number if by_token else 0
        self._sequence = Sequence(kind, self.channel, token, content)

    def take_sequence(self, kind: int) -> "Sequence | None":
        """What the command before has begun, if the one under way is of this kind and goes on with
        it. It has ended unless `keep_sequence` says otherwise.
        """
        before = self._before
        self.token.tick()
        if before is None or not before.goes_on(kind, self.channel, self.token.number):
            return None
        return before

    def keep_sequence(self, sequence: Sequence) -> None:
        sequence.touch()
        self._sequence = sequence

    def _forget(self, channel: int) -> None:
        """Of a channel that has begun anew (11.2.9.1.3): what it had begun."""
        if self._sequence is not None and self._sequence.channel == channel:
            self._sequence = None
        if self.enrolment is not None and self.enrolment.channel == channel:
            self.enrolment = None

    # -- commands ------------------------------------------------------------------------------

    def _serve(self) -> None:
        assert self._channels.request is not None
        kind, message = self._channels.request
        self._spoke = ticks_ms()
        self._status = 1
        if not message:
            self._channels.refuse(3)
            return
        try:
            answer = b"\x00" + self._done(kind, message[0], message[1:])
        except Refused as refused:
            answer = bytes((refused.status,))
        except cbor.InvalidError:
            answer = bytes((ctap.INVALID_CBOR,))
        except (OSError, DamagedError, MemoryError):
            answer = bytes((ctap.OTHER,))
        except Exception as error:
            # A fault of ours. A restart would forget how many wrong PINs there were.
            sys.print_exception(error)
            self._sequence = None
            self.enrolment = None
            self.token.reset()
            answer = bytes((ctap.OTHER,))
        self._before = None
        if self._channels.orphan:
            self._forget(self.channel)
        self._channels.reply(answer)
        if self.starts_anew:
            sleep_ms(_LAST_WORD_MS)
            board.restart()

    def _done(self, kind: int, command: int, body: memoryview) -> bytes:
        self._before, self._sequence = self._sequence, None
        if kind == ctaphid.UPDATE:
            from reader import update

            return update.handle(self, command, body)
        return self._execute(command, body)

    def ready(self) -> None:
        """Before the first command that depends on what is stored. Raises Refused, OSError."""
        if self.store is None:
            raise Refused(ctap.NEWER_STATE if self._strange else ctap.OTHER)
        self.store.ready(_settled)

    def _execute(self, command: int, body: memoryview) -> bytes:
        if len(body) > ctap.MAX_MESSAGE:
            raise Refused(ctap.REQUEST_TOO_LARGE)
        # A damaged reader: only a reset helps, and to be found by a platform.
        helps = command == ctap.RESET and not self._strange or command == ctap.GET_INFO
        if self.store is not None or body or not helps:
            self.ready()
        if command == ctap.BIO_ENROLLMENT_PREVIEW:
            command = ctap.BIO_ENROLLMENT
        elif command == ctap.CREDENTIAL_MANAGEMENT_PREVIEW:
            command = ctap.CREDENTIAL_MANAGEMENT
        answer = self._without_request(command) if not body else self._with_request(command, body)
        return cbor.encode(answer) if answer else b""

    def _without_request(self, command: int) -> "Map":
        if command == ctap.GET_INFO:
            from reader import info

            return info.answer(self)
        if command == ctap.GET_NEXT_ASSERTION:
            from reader import login

            return login.next_one(self)
        if command == ctap.SELECTION:
            self.user.touch()
            return {}
        if command == ctap.RESET:
            return self._reset()
        if command in _HANDLED:
            raise Refused(ctap.MISSING_PARAMETER)
        raise Refused(ctap.INVALID_COMMAND)

    def _with_request(self, command: int, body: memoryview) -> "Map":
        if command in (ctap.GET_INFO, ctap.GET_NEXT_ASSERTION, ctap.SELECTION, ctap.RESET):
            raise Refused(ctap.INVALID_LENGTH)
        if command not in _HANDLED:
            raise Refused(ctap.INVALID_COMMAND)
        request = cbor.decode(body)
        if not isinstance(request, dict):
            raise Refused(ctap.UNEXPECTED_TYPE)
        return _handler(command)(self, request)

    def _reset(self) -> "Map":
        """authenticatorReset: soon after power-up, and with a touch."""
        if not self.just_plugged_in():
            raise Refused(ctap.NOT_ALLOWED)
        self.user.touch()
        self.token.reset()  # before: all may be new already when a row fails to burn
        self.enrolment = None
        if self.store is None:
            self.store = Store(board.records(), board.root(), board.once(), self.urandom, True)
        else:
            self.store.reset(self.pause)
        self.agreement.renew()
        self.wrong_pins = 0
        self.user.forget_all()
        return {}


_HANDLED = (
    ctap.MAKE_CREDENTIAL, ctap.GET_ASSERTION, ctap.CLIENT_PIN, ctap.BIO_ENROLLMENT,
    ctap.CREDENTIAL_MANAGEMENT, ctap.LARGE_BLOBS, ctap.CONFIG,
)  # fmt: skip


def _handler(command: int) -> "Callable[[Reader, Map], Map]":
    """Imported when first needed, which keeps start-up short."""
    if command == ctap.MAKE_CREDENTIAL:
        from reader.register import handle
    elif command == ctap.GET_ASSERTION:
        from reader.login import handle
    elif command == ctap.CLIENT_PIN:
        from reader.pin import handle
    elif command == ctap.BIO_ENROLLMENT:
        from reader.bio import handle
    elif command == ctap.CREDENTIAL_MANAGEMENT:
        from reader.manage import handle
    elif command == ctap.LARGE_BLOBS:
        from reader.blobs import handle
    else:
        from reader.config import handle
    return handle


def make_room() -> None:
    """Forgets what commands have loaded; they load it again."""
    from lib.unload import unload

    unload(
        "reader.bio", "reader.blobs", "reader.config", "reader.info", "reader.login",
        "reader.manage", "reader.pin", "reader.register",
        # what those above stand on
        "reader.consent", "reader.credential", "reader.salts", "lib.ed25519_sign",
    )  # fmt: skip


def _settled() -> bool:
    from lib import slots

    return slots.settled(board)


def run() -> None:
    """Never returns."""
    Reader().run()
