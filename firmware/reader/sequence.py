"""Commands that go on with what another one has begun (CTAP 2.1, section 6, stateful commands): the
next assertion, the next relying party or credential of a list, the next fragment of large blobs.

What was begun belongs to its channel. It ends with any other command, whoever sends it; when its
channel begins anew; after 30 seconds; and with the token that allowed it.
"""

from time import ticks_diff, ticks_ms

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from typed.kinds import Ticks

ASSERTIONS = const(1)
PARTIES = const(2)
CREDENTIALS = const(3)
BLOB = const(4)

_LASTS_MS = const(30000)


class Sequence:
    """kind: one of the above. token: number of the token that allowed it, 0 when there was none."""

    def __init__(self, kind: int, channel: int, token: int, content: "Any") -> None:
        self._kind = kind
        self.channel = channel
        self._token = token
        self._since: "Ticks" = ticks_ms()
        self.content = content

    def touch(self) -> None:
        """Its 30 seconds begin anew."""
        self._since = ticks_ms()

    def over(self) -> bool:
        """Its time is. To be asked now and then: ticks come round after six days."""
        return ticks_diff(ticks_ms(), self._since) >= _LASTS_MS

    def goes_on(self, kind: int, channel: int, token: int) -> bool:
        """For a command of this kind on this channel, while the token of this number is in use."""
        return (
            self._kind == kind
            and self.channel == channel
            and self._token in (0, token)
            and not self.over()
        )
