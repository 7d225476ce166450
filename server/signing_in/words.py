"""Words for people."""

from __future__ import annotations

from tallystick.server.errors import ApiError
from tallystick.server.rules.judge import Reason, Verdict

_REFUSALS = {
    Reason.WRONG: (
        "That was not right.",
        "Check it and try again.",
    ),
    Reason.NO_CARD: (
        "No card is assigned to you.",
        "Ask your help desk.",
    ),
    Reason.REPLAYED: (
        "That code was used already.",
        "Wait for the next one, or press the button again for a new code.",
    ),
    Reason.RESYNCHRONISE: (
        "Your card has drifted from the server.",
        "Press the button again for each, and enter two codes that follow each other.",
    ),
    Reason.EXPIRED: (
        "That code is too old, or was made void by a newer one.",
        "Ask for a new code.",
    ),
}


def refusal(verdict: Verdict) -> ApiError:
    """A verdict as an error that a page shows."""
    if verdict.reason is Reason.THROTTLED:
        minutes = -(-verdict.retry_after_s // 60)
        return ApiError(
            429,
            verdict.reason.value,
            "Too many wrong codes in a row.",
            todo=f"Try again in {minutes} minute{'s' if minutes != 1 else ''}, "
            "or ask your help desk.",
        )
    what, todo = _REFUSALS[verdict.reason]
    return ApiError(422, verdict.reason.value, what, todo=todo)
