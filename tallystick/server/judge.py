"""Is this code right? Pure rules over one card's state: no clock, no database, no randomness.

RFC 4226: look-ahead window and resynchronisation (7.4), throttling (7.3).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from tallystick.server.otp import find, find_pair
from tallystick.server.settings import CodePolicy
from tallystick.server.throttle import Throttle


class Reason(StrEnum):
    """Why a code was accepted or not. The values are public."""

    OK = "ok"
    WRONG = "wrong"
    REPLAYED = "replayed"
    RESYNCHRONISE = "resynchronise"
    NO_CARD = "no-card"
    THROTTLED = "throttled"
    EXPIRED = "expired"


@dataclass(frozen=True)
class CodeState:
    """The part of a card's row that judging reads and changes."""

    moving_factor: int
    throttle: Throttle = field(default_factory=Throttle)


@dataclass(frozen=True)
class Verdict:
    """reason, and the state to store. `state` is the old one when nothing is to be stored."""

    reason: Reason
    state: CodeState
    retry_after_s: int = 0


def judge(
    seed: bytes, state: CodeState, codes: tuple[str, ...], policy: CodePolicy, now: int
) -> Verdict:
    """Judge one code, or two successive ones (resynchronisation).

    A replay of a past code is refused but not counted as a guess: it tells a guesser nothing,
    and a form submitted twice must not lock its user out.
    """
    if wait_s := state.throttle.wait_s(now):
        return Verdict(Reason.THROTTLED, state, wait_s)
    if len(codes) == 2:
        return _judge_pair(seed, state, (codes[0], codes[1]), policy, now)
    (code,) = codes
    nearest = state.moving_factor
    match = find(seed, code, range(nearest, nearest + policy.look_ahead))
    if match is not None:
        return Verdict(Reason.OK, CodeState(match + 1))
    if find(seed, code, range(max(0, nearest - policy.look_back), nearest)) is not None:
        return Verdict(Reason.REPLAYED, state)
    beyond = nearest + policy.look_ahead
    drifted = find(seed, code, range(beyond, beyond + policy.resync_window)) is not None
    reason = Reason.RESYNCHRONISE if drifted else Reason.WRONG
    return Verdict(reason, _after_failure(state, policy, now))


def _judge_pair(
    seed: bytes, state: CodeState, codes: tuple[str, str], policy: CodePolicy, now: int
) -> Verdict:
    start = state.moving_factor
    window = range(start, start + policy.look_ahead + policy.resync_window)
    match = find_pair(seed, codes, window)
    if match is not None:
        return Verdict(Reason.OK, CodeState(match + 2))
    return Verdict(Reason.WRONG, _after_failure(state, policy, now))


def _after_failure(state: CodeState, policy: CodePolicy, now: int) -> CodeState:
    return replace(state, throttle=state.throttle.after_failure(policy, now))
