"""Words for people."""

from __future__ import annotations

from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.rules.judge import Reason, Verdict
from tallystick.server.wording.worded import counted, worded

_REFUSALS = {
    Reason.WRONG: (
        worded("That was not right."),
        worded("Check it and try again."),
    ),
    Reason.NO_CARD: (
        worded("No card is assigned to you."),
        worded("Ask your help desk."),
    ),
    Reason.REPLAYED: (
        worded("That code was used already."),
        worded("Wait for the next one, or press the button again for a new code."),
    ),
    Reason.RESYNCHRONISE: (
        worded("Your card has drifted from the server."),
        worded("Press the button again for each, and enter two codes that follow each other."),
    ),
    Reason.EXPIRED: (
        worded("That code is too old, or was made void by a newer one."),
        worded("Ask for a new code."),
    ),
}

# `Verdict.why` with `not-accepted`.
_KEYS = {
    "no-attestation": worded("This key does not say who made it, or your browser did not let it."),
    "unknown-root": worded("Nobody whom your firm trusts vouches for this key."),
    "other-model": worded("This key is of a model that your firm does not use."),
    "model-unknown": worded("The FIDO Alliance's list does not have keys of this model."),
    "model-broken": worded("The FIDO Alliance's list says that keys of this model can be broken."),
    "metadata-old": worded(
        "The server's list of keys is out of date, so that no key can be looked up."
    ),
    "no-metadata": worded("The server has no list of keys in which this one could be looked up."),
    "not-vouched": worded(
        "Your firm takes only keys that somebody vouches for, and nobody did for this "
        "one when it was enrolled."
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
            todo=counted(
                "Try again in {count} minute, or ask your help desk.",
                "Try again in {count} minutes, or ask your help desk.",
                minutes,
            ),
            retry_after_s=verdict.retry_after_s,
        )
    if verdict.reason is Reason.NOT_ACCEPTED:
        return ApiError(
            403,
            verdict.reason.value,
            _KEYS[verdict.why],
            kept=NOTHING_CHANGED,
            todo="Use a key that your firm has given you, let the browser tell the site its make "
            "and model when it asks, or ask your help desk.",
        )
    what, todo = _REFUSALS[verdict.reason]
    return ApiError(422, verdict.reason.value, what, todo=todo)
