"""What the firm's policy says of wrong codes, worked out beside the server: when a card is locked,
for how long, and when it is judged again.

From the policy's own words: after so many wrong codes the card waits; the wait is doubled with each
further one, up to a longest; a code that is accepted makes it all good. A code that was used before
is refused and not counted."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.server.accounts.policy import FirmPolicy
from tallystick.tools.campaign.firm.asked import ServerSaid

_COUNTED = ("wrong", "resynchronise")
_TOO_MANY = 429


@dataclass
class LockSeen:
    """Of one card. until: seconds since 1970, by the server's clock. sure: no answer was lost, and
    nothing else than what this model sees has touched it since a code was accepted."""

    failures: int = 0
    wait_s: int = 0
    until: int = 0
    sure: bool = True

    def after(self, said: ServerSaid, policy: FirmPolicy, now: float) -> str | None:
        """What is wrong with an answer that was given now (by the server's clock); None: nothing"""
        if not said.asked:
            return None
        if said.status == _TOO_MANY:
            return self._locked(said, now)
        if said.status != 200:
            self.sure = False
            return None
        if said.accepted:
            early = self.until > int(now) and self.sure
            self.failures = self.wait_s = self.until = 0
            self.sure = True
            return "is judged while it is locked" if early else None
        if said.reason not in _COUNTED:
            return None
        early = self.until > int(now) and self.sure
        self.failures += 1
        if self.failures >= policy.max_failures:
            self.wait_s = min(policy.lockout_max_s, max(policy.lockout_s, 2 * self.wait_s))
            self.until = int(now) + self.wait_s
        return "is judged while it is locked" if early else None

    def _locked(self, said: ServerSaid, now: float) -> str | None:
        if not self.sure:
            return None
        if self.failures == 0 or self.until <= int(now):
            return f"is locked after {self.failures} wrong codes, and policy says that it is not"
        left = self.until - int(now)
        if said.retry_after_s != left:
            return f"is locked for {said.retry_after_s} s, and policy says {left} s"
        return None
