"""What the reader remembers. One record holds the state, one each credential and each finger.

State (little endian): format (1) ‖ flags (1) ‖ PIN retries (1) ‖ fingerprint retries (1) ‖ least
PIN length (1) ‖ length of the PIN (1) ‖ signatures (4) ‖ credentials made (4) ‖ sensor password (4)
‖ master (32) ‖ PIN check (32) ‖ PINs set (4) ‖ fingers compared since the PIN was given (2) ‖ wrong
tries burnt (4) ‖ states burnt (4) ‖ pages of the fingers, 255 for none (20) ‖ page of the newest
(1). Earlier firmware wrote shorter ones of format 1, which are read; a later format is a longer
state, and is not touched. Everything is sealed: reader/seal.py.

What is burnt (reader/meter.py) is compared before the flash is believed. More wrong tries burnt
than the state says: it is an old copy, or power was cut, and they are taken off. More states: it is
from before a change of PIN, a finger's removal or a reset, and is not believed at all.
"""

import struct
from hashlib import sha256

from micropython import const

from lib import ctap, hmac
from lib.journal import DamagedError, StrangeError
from lib.records import Records
from reader import meter, seal
from reader.meter import BurntMeter
from reader.refused import Refused

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypedDict, Unpack

    from typed.board import Flash, Once
    from typed.kinds import Pause, Random

    class Changes(TypedDict, total=False):
        flags: int
        pin_retries: int
        uv_retries: int
        min_pin: int
        pin_length: int
        signatures: int
        made: int
        pin_check: bytes
        pins: int
        verified: int
        burnt: int
        epoch: int
        pages: bytes
        newest_page: int


_STATE = const(0)
_BLOBS = const(1)
_PARTIES = const(2)
_CREDENTIALS = const(0x100)
_FINGERS = const(0x200)
_FORMAT = const(1)  # the newest; all from 1 on are read
_LAYOUT = "<BBBBBBIII32s32sIHII20sB"
_SIZE = const(117)  # of the newest
_SIZES = (117,)  # of every format from 1 on
_SHORTER = (82, 88)  # of format 1, as earlier firmware wrote it: nothing of what is burnt
_NO_PAGE = const(255)
_PARTY = const(32)

ALWAYS_UV = const(1)
FORCE_PIN_CHANGE = const(2)
SCRUB = const(4)  # a reset has not erased everything yet
PAIRED = const(8)  # the sensor has our password

_NO_BLOBS = b"\x80\x76\xbe\x8b\x52\x8d\x00\x75\xf7\xaa\xe9\x8d\x6f\xa5\x7a\x6d\x3c"


class Store:
    """Attributes are the state in flash; `commit` is the only way to change them."""

    def __init__(
        self, flash: "Flash", root: bytes, once: "Once", urandom: "Random", anew: bool = False
    ) -> None:
        """Reads the flash. Raises journal.DamagedError when it cannot be trusted, StrangeError when
        another firmware wrote it, OSError when it fails. anew: after that; all is new, and nothing
        of what was there is believed again.
        """
        self._urandom = urandom
        self._root = root
        self._seal = seal.Seal(root, urandom)
        self._records = Records(flash)
        self._tries = BurntMeter(once, meter.TRIES)
        self._epochs = BurntMeter(once, meter.STATES)
        self._ready = False
        if anew:
            self._begin_anew()
            return
        if not self._records.load() or self._records.at_first():
            # A first record that was cut may not stay whole, and nothing depends on its master yet.
            self._records = Records(flash)
            self._fresh()
            self._write()
            self._ready = True
            return
        self._decode(self._open(_STATE, self._records.get(_STATE)))
        if self.epoch < self._epochs.value:
            raise DamagedError  # an old copy

    def _begin_anew(self) -> None:
        """Raises OSError: then it is still damaged, or all is new and a row failed to burn."""
        self._fresh()
        self._end_epoch()
        try:
            whole = self._records.load()
        except DamagedError:
            whole = False
        if whole:  # records that are whole, and not ours: a cut must not bring them back
            self._records.settle()
            self.flags = SCRUB
            self._records.restart(_STATE, self._encode())
            self._scrub(None)
        else:
            self._records.scrub()
            self._write()
        self.burn()  # now: what was there before may be put back while there is no power
        self._ready = True

    def settle(self) -> None:
        """Before anything outside of the flash is changed because of what was read: from then on it
        stays as it was read. Raises OSError.
        """
        self._records.settle()

    def ready(self, settled: "Callable[[], bool]") -> None:
        """Before the first command that depends on what is stored. settled: whether nothing leads
        back to another image, which may not read what this one writes. Raises OSError.
        """
        if not self._ready:
            self.settle()
            self._agree()  # until that was written, nothing is answered: it may be an old copy
            self._ready = True
            if self.format < _FORMAT and settled():
                self.migrate()
            if self.flags & SCRUB:
                self._scrub(None)

    # -- what is burnt -------------------------------------------------------------------------

    def _agree(self) -> None:
        """The state and what is burnt say the same from here on. Raises OSError."""
        unknown = self._tries.value - self.burnt
        if unknown > 0:
            # Tries that this state knows nothing of: each takes a PIN's, and all of the fingers'.
            self.commit(
                pin_retries=max(0, self.pin_retries - unknown),
                uv_retries=0,
                burnt=self._tries.value,
            )
        self.burn()

    def tries_ended(self) -> bool:
        """No wrong try can be burnt any more: then none is allowed."""
        return self._tries.ended

    def next_try(self) -> int:
        """`burnt`, for the state that is committed before something is compared: when power goes
        then, the next start burns it.
        """
        return self._tries.value + 1

    def pay(self, verified: int) -> None:
        """A try is paid before anything is compared, and one of the other kind (PIN or finger) with
        it. When power goes before the bit is burnt, a try of the other kind, at an older copy of
        the flash, may burn it: the state that is written now would know of one try less than there
        were. What the other kind had is given back after `burn`. Raises OSError.
        """
        self.commit(
            pin_retries=max(0, self.pin_retries - 1),
            uv_retries=max(0, self.uv_retries - 1),
            burnt=self.next_try(),
            verified=verified,
        )

    def burn(self) -> None:
        """What the state says, and is not burnt yet. Raises OSError."""
        while self._tries.value < self.burnt and not self._tries.ended:
            self._tries.grow()
        while self._epochs.value < self.epoch and not self._epochs.ended:
            self._epochs.grow()

    def burn_nothing(self) -> "int":
        """After a try that was right: looks like `burn` from outside. `burnt`, as it stays."""
        self._tries.look_busy()
        return self._tries.value

    def _end_epoch(self) -> None:
        """States of before are old copies once `burn` has been."""
        if not self._epochs.ended:
            self.epoch = self._epochs.value + 1

    def change(self, **changes: "Unpack[Changes]") -> None:
        """As `commit`; and no copy of the flash from before is believed from here on. Raises
        OSError: then nothing has changed, or all of it has and a row failed to burn.
        """
        if not self._epochs.ended:
            changes["epoch"] = self._epochs.value + 1
        self.commit(**changes)
        self.burn()

    def _open(self, key: int, sealed: "bytes | None", open_size: int = 0) -> bytes:
        if sealed is None:
            raise DamagedError
        try:
            return self._seal.open(key, sealed, open_size)
        except seal.DamagedError:
            raise DamagedError

    # -- the state -----------------------------------------------------------------------------

    def _fresh(self) -> None:
        self.format = _FORMAT
        self.flags = 0
        self.pin_retries = ctap.PIN_RETRIES
        self.uv_retries = ctap.UV_RETRIES
        self.min_pin = 4
        self.pin_length = 0
        self.signatures = 0
        self.made = 0
        # The chip's own, so that the module is known again when the flash has lost everything.
        key = hmac.digest(sha256, self._root, b"tallystick reader: sensor")
        self.sensor_password = int.from_bytes(key[:4], "little") | 1
        self._master = hmac.digest(sha256, self._root, self._urandom(32))
        self.pin_check = bytes(32)
        self.pins = 0
        self.verified = 0
        self.burnt = self._tries.value
        self.epoch = self._epochs.value
        self.pages = bytes((_NO_PAGE,)) * ctap.MAX_FINGERS
        self.newest_page = _NO_PAGE

    def _decode(self, state: bytes) -> None:
        self.format = state[0]
        shorter = self.format == 1 and len(state) in _SHORTER
        if not 0 < self.format <= _FORMAT or not (shorter or len(state) == _SIZES[self.format - 1]):
            raise StrangeError
        (
            _, self.flags, self.pin_retries, self.uv_retries, self.min_pin, self.pin_length,
            self.signatures, self.made, self.sensor_password, self._master, self.pin_check,
            self.pins, self.verified, self.burnt, self.epoch, self.pages, self.newest_page,
        ) = struct.unpack(_LAYOUT, state + bytes(_SIZE - len(state)))  # fmt: skip
        if shorter:  # from before anything was burnt: a copy of one counts no try, and no change
            self.newest_page = _NO_PAGE
            self.pages = self._packed(self._recorded())

    def _encode(self) -> bytes:
        state = struct.pack(
            _LAYOUT, self.format, self.flags, self.pin_retries, self.uv_retries, self.min_pin,
            self.pin_length, self.signatures, self.made, self.sensor_password, self._master,
            self.pin_check, self.pins, self.verified, self.burnt, self.epoch, self.pages,
            self.newest_page,
        )  # fmt: skip
        return self._seal.close(_STATE, state[: _SIZES[self.format - 1]])

    def migrate(self) -> None:
        """From here on in this firmware's own format, which one before does not read, in one
        commit. Raises OSError: nothing has changed.
        """
        before = self.format
        self.format = _FORMAT
        try:
            if before < _FORMAT:
                self._write()
        except OSError:
            self.format = before
            raise

    def _write(self) -> None:
        self._records.put(_STATE, self._encode())

    def commit(self, **changes: "Unpack[Changes]") -> None:
        """Writes all changes as one record. Raises OSError: then nothing has changed."""
        old = {name: getattr(self, name) for name in changes}
        for name, value in changes.items():
            setattr(self, name, value)
        try:
            self._write()
        except OSError:
            for name, value in old.items():
                setattr(self, name, value)
            raise

    def flag(self, mask: int, on: bool) -> None:
        """One bit of `flags` on or off. Raises OSError: then nothing has changed."""
        self.commit(flags=self.flags | mask if on else self.flags & ~mask)

    def reset(self, pause: "Pause") -> None:
        """All is new in one commit; then what was there is erased. The sensor stays paired. Raises
        OSError: then nothing has changed, or all of it has and a row failed to burn.
        """
        paired, old = self.flags & PAIRED, self._encode()
        newest = self.newest_page
        self._fresh()
        self.newest_page = newest  # the sensor may be brought back, too
        self._end_epoch()
        self.flags = SCRUB | paired
        try:
            self._records.restart(_STATE, self._encode())
        except OSError:
            self._decode(self._open(_STATE, old))
            raise
        self.burn()
        self._scrub(pause)

    def _scrub(self, pause: "Pause | None") -> None:
        try:
            self._records.scrub(pause)
        except OSError:
            pass  # a worn-out sector: what it holds is sealed under a master that is gone
        self.flag(SCRUB, False)

    # -- secrets -------------------------------------------------------------------------------

    def derive(self, label: bytes, data: bytes) -> bytes:
        """32 bytes out of the master secret."""
        return hmac.digest(sha256, self._master, label + data)

    def check_of_pin(self, pin_hash: bytes) -> bytes:
        """32 bytes to compare a PIN with. pin_hash: the first 16 of its SHA-256 (CTAP 2.1,
        6.5.5.5).
        """
        return self.derive(b"pin", pin_hash)

    def persistent_token(self) -> bytes:
        """32 bytes that stay the same until the PIN is another one (CTAP 2.2, perCredMgmtRO)."""
        return self.derive(b"persistent token", self.pins.to_bytes(4, "little"))

    def device_identifier(self) -> bytes:
        """16 bytes that stay the same until a reset (CTAP 2.2, 6.4, encIdentifier)."""
        return self.derive(b"device", b"")[:16]

    def credentials_state(self) -> bytes:
        """16 bytes that stay the same until a resident credential is made, changed or deleted (CTAP
        2.3, 6.4, encCredStoreState).
        """
        return self.derive(b"credentials", self.made.to_bytes(4, "little"))[:16]

    # -- credentials ---------------------------------------------------------------------------

    def slots(self) -> "list[int]":
        """Slots that hold a credential, sorted."""
        return self._records.keys(_CREDENTIALS, _CREDENTIALS + ctap.MAX_CREDENTIALS)

    def slots_of(self, rp_hash: bytes) -> "list[int]":
        """Slots with credentials of a relying party."""
        tag = self._seal.tag(rp_hash)
        return [slot for slot in self.slots() if self._records.peek(slot, 8) == tag]

    def party_tag(self, slot: int) -> bytes:
        """8 bytes that credentials of one relying party have in common. Nobody can make two parties
        whose tags are the same.
        """
        return bytes(self._records.peek(slot, 8) or b"")

    def free_slot(self) -> int:
        """Raises Refused."""
        slots = self.slots()
        for slot in range(_CREDENTIALS, _CREDENTIALS + ctap.MAX_CREDENTIALS):
            if slot not in slots:
                return slot
        raise Refused(ctap.KEY_STORE_FULL)

    def room(self) -> int:
        """How many more credentials fit."""
        return ctap.MAX_CREDENTIALS - len(self.slots())

    def credential(self, slot: int) -> bytes:
        """Its encoding, see reader/credential.py. Raises journal.DamagedError, OSError."""
        return self._open(slot, self._records.get(slot), 8)

    def put_credential(self, slot: int, rp_hash: bytes, encoded: bytes) -> None:
        """Fills a slot, in one commit. Raises OSError: then nothing has changed."""
        self._records.put(slot, self._seal.close(slot, encoded, self._seal.tag(rp_hash)))

    def count_change(self) -> None:
        """Before a credential is changed or goes: see `credentials_state`. Raises OSError."""
        self.commit(made=self.made + 1)

    def delete(self, slot: int) -> None:
        """Of a credential, in one commit. Raises OSError: then nothing has changed."""
        self._records.delete(slot)

    # -- fingers: the number of a finger is its page in the sensor -------------------------------

    def _recorded(self) -> "list[int]":
        return [key - _FINGERS for key in self._records.keys(_FINGERS, _FINGERS + _NO_PAGE)]

    def _packed(self, fingers: "list[int]") -> bytes:
        fingers = fingers[: ctap.MAX_FINGERS]
        return bytes(fingers) + bytes((_NO_PAGE,)) * (ctap.MAX_FINGERS - len(fingers))

    def fingers(self) -> "list[int]":
        """Numbers of the fingers that count, sorted: those of which the state and a record say
        so.
        """
        return [finger for finger in self._recorded() if finger in self.pages]

    def free_page(self, capacity: int) -> int:
        """For another finger, after that of the newest: so an old copy of the sensor's memory has
        no other finger there until it has come round. -1 when there is none.
        """
        fingers = self.fingers()
        capacity = min(capacity, _NO_PAGE)
        start = 0 if self.newest_page == _NO_PAGE else self.newest_page + 1
        for n in range(capacity):
            page = (start + n) % capacity
            if len(fingers) < ctap.MAX_FINGERS and page not in fingers:
                return page
        return -1

    def finger_name(self, finger: int) -> str:
        """At most 64 bytes of UTF-8. Raises journal.DamagedError, OSError."""
        return self._open(_FINGERS + finger, self._records.get(_FINGERS + finger)).decode()

    def put_finger(self, finger: int, name: str) -> None:
        """A finger counts from here on, or has another name. Raises OSError: then nothing has
        changed.
        """
        fingers = self.fingers()
        self._records.put(_FINGERS + finger, self._seal.close(_FINGERS + finger, name.encode()))
        if finger not in fingers:
            self.commit(pages=self._packed(fingers + [finger]), newest_page=finger)

    def delete_finger(self, finger: int) -> None:
        """It no longer counts, and does not come back. Raises OSError: it may count no longer, and
        where a row failed to burn it may come back until the next start.
        """
        self.change(pages=self._packed([one for one in self.fingers() if one != finger]))
        self._records.delete(_FINGERS + finger)

    # -- who may be told the least length of a PIN ------------------------------------------------

    def parties(self) -> "list[bytes]":
        """SHA-256 of their ids, 32 bytes each. Raises journal.DamagedError, OSError."""
        sealed = self._records.get(_PARTIES)
        found = b"" if sealed is None else self._open(_PARTIES, sealed)
        return [found[at : at + _PARTY] for at in range(0, len(found), _PARTY)]

    def put_parties(self, parties: "list[bytes]") -> None:
        """Instead of those before, in one commit. Raises OSError: then nothing has changed."""
        self._records.put(_PARTIES, self._seal.close(_PARTIES, b"".join(parties)))

    # -- large blobs ---------------------------------------------------------------------------

    def blobs(self) -> bytes:
        """The large-blob array (CTAP 2.1, 6.10), at most 2048 bytes. Raises journal.DamagedError,
        OSError.
        """
        sealed = self._records.get(_BLOBS)
        return _NO_BLOBS if sealed is None else self._open(_BLOBS, sealed)

    def put_blobs(self, data: bytes) -> None:
        """A new large-blob array, in one commit. Raises OSError: then nothing has changed."""
        self._records.put(_BLOBS, self._seal.close(_BLOBS, data))
