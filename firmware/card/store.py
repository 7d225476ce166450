"""What the card remembers: one state, written whole at every change.

State (200 bytes, little endian): format (1) ‖ life cycle (1) ‖ key version (1) ‖ cell state (1) ‖
moving factor (8) ‖ presses (4) ‖ cold starts (4) ‖ dead slots (1) ‖ digits (1) ‖ seed length (1)
‖ name length (1) ‖ keys ENC, MAC, DEK (48) ‖ seed (64) ‖ name (64).

A later format is a longer state: what it adds stands behind. An earlier one stays what it is, and
is written, until `migrate`: an image on trial must leave what the one before can read.
"""

import struct

from micropython import const

from lib.journal import Journal, StrangeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict, Unpack

    from card.identity import Identity
    from typed.board import Flash

    class WithCode(TypedDict, total=False):
        """What may change together with the moving factor."""

        cell_state: int

    class Changes(WithCode, total=False):
        life_cycle: int
        kvn: int
        moving_factor: int
        presses: int
        digits: int
        keys: bytes
        seed: bytes
        name: bytes


OP_READY = const(0x01)
INITIALIZED = const(0x07)
SECURED = const(0x0F)
TERMINATED = const(0xFF)

TRANSPORT = const(0xFF)  # key version of the factory's set

# Codes that a start skips at most, however often the power was cut before it: a server with a
# look-ahead window of 10 still accepts the next one.
_JUMP = const(9)

_FORMAT = const(1)  # the newest; all from 1 on are read
_SIZE = const(200)  # of the newest
_SIZES = (200,)  # of every format from 1 on
_HEAD = "<BBBBQIIBBBB48s"
_SEED = const(72)
_NAME = const(136)


class Store:
    """Attributes are the state in flash. `commit` is the only way to change them."""

    def __init__(self, flash: "Flash", identity: "Identity", cold: bool) -> None:
        """Reads the state; after a cold start also writes it anew, see lib/journal.py.

        Raises journal.DamagedError when there are records and none is whole, StrangeError when
        another firmware wrote them, OSError when flash fails.
        """
        self.serial = identity.serial
        self.format = _FORMAT
        self.older = False
        self._journal = Journal(flash, _SIZE, _SIZES[:-1])
        state = self._journal.load()
        if state is None:
            self._set(OP_READY, TRANSPORT, 0, 0, 0, 0, 0, 0, identity.transport, b"", b"")
        else:
            self._decode(state)
            self.moving_factor += min(self._journal.skipped, _JUMP)
        if cold:
            self.cold_starts += 1
            self._write()
            self._write()

    def _set(
        self,
        life_cycle: int,
        kvn: int,
        cell_state: int,
        moving_factor: int,
        presses: int,
        cold_starts: int,
        dead: int,
        digits: int,
        keys: bytes,
        seed: bytes,
        name: bytes,
    ) -> None:
        self.life_cycle = life_cycle
        self.kvn = kvn
        self.cell_state = cell_state
        self.moving_factor = moving_factor
        self.presses = presses
        self.cold_starts = cold_starts
        self._dead = dead
        self.digits = digits
        self.keys = keys
        self.seed = seed
        self.name = name

    def _decode(self, state: bytes) -> None:
        self.format = state[0]
        if not 0 < self.format <= _FORMAT or len(state) != _SIZES[self.format - 1]:
            raise StrangeError
        self.older = self.format < _FORMAT
        (_, life_cycle, kvn, cell, factor, presses, cold, dead, digits, seed, name, keys) = (
            struct.unpack(_HEAD, state[:_SEED])
        )
        self._set(
            life_cycle, kvn, cell, factor, presses, cold, dead, digits, keys,
            state[_SEED : _SEED + seed], state[_NAME : _NAME + name],
        )  # fmt: skip

    def _encode(self) -> bytearray:
        # What is unused stays erased: flash that is not programmed costs no time and no charge.
        state = bytearray(b"\xff" * _SIZE)
        struct.pack_into(
            _HEAD, state, 0, self.format, self.life_cycle, self.kvn, self.cell_state,
            self.moving_factor, self.presses, self.cold_starts, self._dead, self.digits,
            len(self.seed), len(self.name), self.keys,
        )  # fmt: skip
        state[_SEED : _SEED + len(self.seed)] = self.seed
        state[_NAME : _NAME + len(self.name)] = self.name
        return state[: _SIZES[self.format - 1]]

    def migrate(self) -> None:
        """From here on in this firmware's own format, which one before does not read, in one
        commit; nothing of the old ones stays in flash. Raises OSError: what was written still
        holds.
        """
        if self.older:
            self.older = False
            self.format, self._journal.payload = _FORMAT, _SIZE
            self._journal.replace(self._encode())

    def _write(self) -> None:
        self._journal.append(self._encode())

    def commit(self, **changes: "Unpack[Changes]") -> None:
        """Writes all changes as one record. Raises OSError when flash fails: nothing has
        changed. A seed or the firm's keys that give way to others leave flash altogether.
        """
        forget = (self.seed and "seed" in changes) or (self.kvn != TRANSPORT and "keys" in changes)
        old = {name: getattr(self, name) for name in changes}
        for name, value in changes.items():
            setattr(self, name, value)
        before = self._journal.dead
        try:
            if forget:
                self._journal.replace(self._encode())
            else:
                self._write()
        except OSError:
            for name, value in old.items():
                setattr(self, name, value)
            raise
        finally:
            self._dead = min(255, self._dead + self._journal.dead - before)

    def _take(self, **changes: "Unpack[WithCode]") -> int:
        factor = self.moving_factor
        self.commit(moving_factor=factor + 1, presses=self.presses + 1, **changes)
        return factor

    def take_code(self, **changes: "Unpack[WithCode]") -> str:
        """Moves the counter on in flash (with other changes), and only then computes the old
        value's code.
        """
        from lib import hotp  # before the commit: what fails here costs no code

        factor = self._take(**changes)
        return hotp.code(self.seed, factor, self.digits)

    def take_hmac(self) -> bytes:
        """Like `take_code`, the whole HMAC (20 bytes)."""
        from lib import hotp

        factor = self._take()
        return hotp.full(self.seed, factor)

    def wear(self) -> "tuple[int, int]":
        """(largest erase count of a sector, slots and sectors that failed)."""
        sectors = self._journal.sectors
        return (self._journal.erases + sectors - 1) // sectors, self._dead
