"""The PIN/UV auth token: 32 random bytes that let a platform do what its permissions say (CTAP 2.1,
6.5.2.1).
"""

from time import ticks_diff, ticks_ms

from lib import ctap
from reader import protocol
from reader.refused import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typed.kinds import Item, NotYet, Random


class Token:
    """At most one is in use. Times are in milliseconds of this power-up."""

    def __init__(self, urandom: "Random") -> None:
        self._urandom = urandom
        self._since: "NotYet" = 0
        self.number = 0  # of the one in use, since power came; never 0 when there is one
        self.reset()

    def reset(self) -> None:
        """A new value that nobody knows."""
        self.number += 1
        self._value = self._urandom(32)
        self._version = 0  # 0: not in use
        self._used = False
        self.permissions = 0
        self.rp_id: "str | None" = None
        self._present = False

    def issue(self, version: int, permissions: int, rp_id: "str | None", present: bool) -> bytes:
        """The value of a new token. present: the user was there when it was made."""
        self.reset()
        self._version = version
        self.permissions = permissions
        self.rp_id = rp_id
        self._present = present
        self._since = ticks_ms()
        return self._value

    def _age(self) -> int:
        return ticks_diff(ticks_ms(), self._since)

    def tick(self) -> None:
        """Ends the token when its time is over."""
        if self._version and self._age() >= (
            ctap.TOKEN_MS if self._used else ctap.TOKEN_FIRST_USE_MS
        ):
            self.reset()

    def present(self) -> bool:
        """The user was there, at most 30 s ago."""
        return self._present and self._age() < ctap.TOUCH_MS

    def verify(self, version: int, message: bytes, signature: "Item", permission: int) -> None:
        """Raises Refused(PIN_AUTH_INVALID), also without the permission."""
        self.tick()
        if not self._version or version != self._version or not isinstance(signature, bytes):
            raise Refused(ctap.PIN_AUTH_INVALID)
        protocol.verify(version, self._value, message, signature)
        if not self.permissions & permission:
            raise Refused(ctap.PIN_AUTH_INVALID)
        self._used = True

    def bind(self, rp_id: str) -> None:
        """To the relying party of a log-in. Raises Refused when it is another's."""
        if self.rp_id is None:
            self.rp_id = rp_id
        elif self.rp_id != rp_id:
            raise Refused(ctap.PIN_AUTH_INVALID)

    def spend(self) -> None:
        """After a log-in or a registration: what is left of the token is for large blobs."""
        self._present = False
        self.permissions &= ctap.LBW
