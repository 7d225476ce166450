"""Who may: a token, a finger, a touch (CTAP 2.1, 6.1.2 and 6.2.2, and what they call)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from tallystick.tools.campaign.ctap.known import (
    FINGER_TRIES,
    LBW,
    PIN_TRIES,
    PRESENT_US,
    Known,
    KnownToken,
)
from tallystick.tools.campaign.ctap.world import CANCELLED, LATE, NOBODY, CtapWorld

By = Literal["nothing", "token", "finger"]
UP, UV = 1, 4
# 8.2.
NOT_ENABLED, NO_CREDENTIALS, DENIED, PUAT_REQUIRED = 0x2C, 0x2E, 0x27, 0x36
PIN_AUTH_INVALID, UV_BLOCKED, PIN_POLICY, TIMED_OUT = 0x33, 0x3C, 0x37, 0x2F


@dataclass(frozen=True)
class Expected:
    """known: once it was answered. flags: of the authenticator data, when it succeeds."""

    known: Known
    statuses: tuple[int, ...]
    asked: bool
    flags: int = 0


def denied(known: Known) -> int:
    """6.1.2 step 11.2, 6.2.2 step 6.2: when a finger does not verify."""
    return PUAT_REQUIRED if known.pin is not None else DENIED


def with_finger(known: Known, touch: str, blocked: int) -> tuple[Known, int | None, bool]:
    """performBuiltInUv (6.5.2.3), of a host that gives up after one wrong finger. (known, status of
    a failure, whether the user is asked)."""
    if not known.finger_tries:
        return known, blocked, False
    if touch in (NOBODY, LATE):
        return known, CANCELLED if touch == NOBODY else TIMED_OUT, True
    known = replace(known, compared=known.compared + 1)
    if any(finger == touch for _, finger, _ in known.fingers):
        return replace(known, finger_tries=FINGER_TRIES), None, True
    known = replace(known, finger_tries=known.finger_tries - 1)
    return known, CANCELLED if known.finger_tries else blocked, True


def use(
    known: Known, token: KnownToken, permission: int, now: int
) -> tuple[Known, KnownToken | None]:
    """A request with this token's pinUvAuthParam: (known, the token), None when it is refused."""
    mine = known.alive(token, now)
    if mine is None or not mine.permissions & permission:
        return known, None
    mine = replace(mine, used=True)
    return replace(known, token=mine), mine


@dataclass(frozen=True)
class Wish:
    """What a request for a signature asks. exists(uv): there is something to sign with."""

    by: By
    touch: str
    permission: int
    party: str
    exists: Callable[[bool], bool]
    up: bool = True


def consent(world: CtapWorld, channel: str, wish: Wish) -> Expected:
    """What is to come of it."""
    verified = _verified(world, channel, wish)
    if verified.statuses != (0,):
        return verified
    known, uv, asked = verified.known, bool(verified.flags & UV), verified.asked
    present = bool(verified.flags & UP)
    if not wish.exists(uv):
        return Expected(known, (NO_CREDENTIALS,), asked)
    if wish.up and not present:
        asked = True
        known = replace(known, enrolment=None)
        if not known.sensor:
            return Expected(known, (DENIED,), asked)
        if wish.touch in (NOBODY, LATE):
            return Expected(known, (CANCELLED if wish.touch == NOBODY else DENIED,), asked)
    if wish.up:
        known = spent(known)
    return Expected(known, (0,), asked, (UP if wish.up else 0) | (UV if uv else 0))


def _verified(world: CtapWorld, channel: str, wish: Wish) -> Expected:
    """By the token or a finger, if the request wants that; with the presence that comes of it."""
    known = world.known
    if wish.by == "token":
        return _by_token(world, channel, wish)
    if wish.by == "nothing" and not (known.always and wish.up):
        return Expected(known, (0,), asked=False)
    if not known.verifies:
        status = NOT_ENABLED if wish.by == "finger" else PUAT_REQUIRED
        return Expected(known, (status,), asked=False)
    if known.force:
        return Expected(known, (PUAT_REQUIRED,), asked=False)
    known, failed, asked = with_finger(known, wish.touch, denied(known))
    if asked:
        known = replace(known, enrolment=None)  # the sensor was used for something else
    if failed is not None:
        return Expected(known, (failed,), asked)
    return Expected(known, (0,), asked, UP | UV)


def _by_token(world: CtapWorld, channel: str, wish: Wish) -> Expected:
    known, held, token = world.known, world.held(channel), None
    if known.always and wish.up and not known.protected:
        return Expected(known, (PUAT_REQUIRED,), asked=False)  # 6.1.2 step 6, 6.2.2 step 5
    if held is not None:
        known, token = use(known, held, wish.permission, world.now)
    if token is None or token.party not in (None, wish.party):
        return Expected(known, (PIN_AUTH_INVALID,), asked=False)
    known = replace(known, token=replace(token, party=wish.party))
    present = token.present and world.now - token.issued < PRESENT_US
    return Expected(known, (0,), asked=False, flags=UV | (UP if present else 0))


def spent(known: Known) -> Known:
    """6.1.2 step 14.4, 6.2.2 step 9.4: whatever the token in use was good for, but large blobs."""
    token = known.token
    if token is None:
        return known
    token = replace(token, present=False, permissions=token.permissions & LBW)
    return replace(known, token=token)


def pin_right(known: Known) -> Known:
    """6.5.5.7.2: all tries are back."""
    return replace(known, pin_tries=PIN_TRIES, in_a_row=0, finger_tries=FINGER_TRIES, compared=0)
