"""Throttling of guesses (RFC 4226 7.3), the same for every factor and for passwords."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """max_failures: guesses evaluated before throttling. lockout_s and lockout_max_s: first and
    longest wait in seconds; it doubles with each further failure."""

    max_failures: int = 10
    lockout_s: int = 60
    lockout_max_s: int = 4 * 3600


@dataclass(frozen=True)
class Throttle:
    """What is stored beside whatever is guessed at. blocked_until: seconds since 1970."""

    failures: int = 0
    lockout_s: int = 0
    blocked_until: int = 0

    def wait_s(self, now: int) -> int:
        """Seconds until the next guess is evaluated; 0: now."""
        return max(0, self.blocked_until - now)

    def after_failure(self, limits: Limits, now: int) -> Throttle:
        failures = self.failures + 1
        if failures < limits.max_failures:
            return Throttle(failures, self.lockout_s, self.blocked_until)
        lockout_s = min(limits.lockout_max_s, max(limits.lockout_s, 2 * self.lockout_s))
        return Throttle(failures, lockout_s, now + lockout_s)
