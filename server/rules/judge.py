"""Is this code right? Pure rules over one card's state: no clock, no database, no randomness.

RFC 4226: look-ahead window and resynchronisation (7.4), throttling (7.3). RFC 6238: a time-based
card's moving factor is a time step, looked for around the server's time (5.2) and the card's drift
(6). Either way the moving factor only grows, so that no code is accepted twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from tallystick.server.rules.otp import find, find_pair
from tallystick.server.rules.throttle import Limits, Throttle


class Reason(StrEnum):
    """Why a code was accepted or not. The values are public."""

    OK = "ok"
    WRONG = "wrong"
    REPLAYED = "replayed"
    RESYNCHRONISE = "resynchronise"
    NO_CARD = "no-card"
    THROTTLED = "throttled"
    EXPIRED = "expired"
    NOT_ACCEPTED = "not-accepted"


@dataclass(frozen=True)
class CodePolicy(Limits):
    """How codes are judged (RFC 4226 section 7).

    look_ahead: moving factors tried, from the stored one on (7.4, *s*). look_back: how many past
    codes are told apart as "replayed"; they are never accepted. resync_window: further moving
    factors searched for two successive codes. steps_around: time steps accepted on either side of
    the server's time, for time-based cards (RFC 6238 5.2).
    """

    look_ahead: int = 10
    look_back: int = 10
    resync_window: int = 100
    steps_around: int = 1


# Two successive codes bring a clock back that is this many steps off: not more, because codes of
# the past that someone saw would be good for as long.
RESYNC_STEPS = 20


@dataclass(frozen=True)
class Generator:
    """How codes come of a seed: the hash of the HMAC, seconds of a time step (TOTP; 0: counts
    presses, HOTP), and how many decimal digits a code has (6 to 8). Whoever passes a credential on
    passes this on as one value."""

    algorithm: str = "sha1"
    step_s: int = 0
    digits: int = 6

    @property
    def type(self) -> str:
        return "totp" if self.step_s else "hotp"

    def fits(self, codes: tuple[str, ...]) -> bool:
        """Whether they look like codes of it: what does not is no guess."""
        return all(c.isascii() and c.isdigit() and len(c) == self.digits for c in codes)


HOTP = Generator()


@dataclass(frozen=True)
class CodeState:
    """The part of a card's row that judging reads and changes. drift: how many time steps its
    clock is ahead of the server's, as its last code showed."""

    moving_factor: int
    throttle: Throttle = field(default_factory=Throttle)
    drift: int = 0


@dataclass(frozen=True)
class Verdict:
    """Of a proof, as whoever asked for it is told. retry_after_s: with `throttled`. kind, serial:
    of the token that it was judged by, where that may be another than the one asked for. why: with
    `not-accepted`. amr: authentication method references (RFC 8176), where they are not those of
    every token of its kind."""

    reason: Reason
    retry_after_s: int = 0
    kind: str = ""
    serial: str = ""
    why: str = ""
    amr: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        return self.reason is Reason.OK


@dataclass(frozen=True)
class Judgement:
    """reason, and the state to store. `state` is the old one when nothing is to be stored.
    skipped: presses of the card before this code that the server had not seen."""

    reason: Reason
    state: CodeState
    retry_after_s: int = 0
    skipped: int = 0


def judge(
    seed: bytes,
    state: CodeState,
    codes: tuple[str, ...],
    policy: CodePolicy,
    now: int,
    *,
    generator: Generator = HOTP,
) -> Judgement:
    """Judge one code, or two successive ones (resynchronisation).

    A replay of a past code is refused but not counted as a guess: it tells a guesser nothing,
    and a form submitted twice must not lock its user out.
    """
    if wait_s := state.throttle.wait_s(now):
        return Judgement(Reason.THROTTLED, state, wait_s)
    windows = _windows(state, policy, now, generator)
    if len(codes) == 2:
        match = find_pair(seed, (codes[0], codes[1]), windows.pair, generator.algorithm)
        if match is not None:
            moved = _moved_to(match + 1, state, now, generator)
            return Judgement(Reason.OK, moved, skipped=match - state.moving_factor)
        return Judgement(Reason.WRONG, _after_failure(state, policy, now))
    (code,) = codes
    match = find(seed, code, windows.good, generator.algorithm)
    if match is not None:
        moved = _moved_to(match, state, now, generator)
        return Judgement(Reason.OK, moved, skipped=match - state.moving_factor)
    if find(seed, code, windows.used, generator.algorithm) is not None:
        return Judgement(Reason.REPLAYED, state)
    drifted = find(seed, code, windows.drifted, generator.algorithm)
    reason = Reason.WRONG if drifted is None else Reason.RESYNCHRONISE
    skipped = 0 if drifted is None else drifted - state.moving_factor
    return Judgement(reason, _after_failure(state, policy, now), skipped=skipped)


@dataclass(frozen=True)
class _Windows:
    """Moving factors whose code is accepted, was used, tells that the card has drifted, and where
    the first of two successive codes may be."""

    good: range
    used: range
    drifted: range
    pair: range


def _windows(state: CodeState, policy: CodePolicy, now: int, generator: Generator) -> _Windows:
    nearest = state.moving_factor
    if not generator.step_s:
        beyond = nearest + policy.look_ahead
        end = beyond + policy.resync_window
        used = range(max(0, nearest - policy.look_back), nearest)
        return _Windows(range(nearest, beyond), used, range(beyond, end), range(nearest, end))
    middle = now // generator.step_s + state.drift
    first, end = middle - policy.steps_around, middle + policy.steps_around + 1
    far = range(max(0, nearest, middle - RESYNC_STEPS), max(0, middle + RESYNC_STEPS))
    return _Windows(
        good=range(max(0, nearest, first), max(0, end)),
        used=range(max(0, first - policy.look_back), max(0, min(nearest, end))),
        drifted=far,
        pair=far,
    )


def _moved_to(match: int, state: CodeState, now: int, generator: Generator) -> CodeState:
    drift = match - now // generator.step_s if generator.step_s else 0
    return CodeState(match + 1, drift=drift)


def _after_failure(state: CodeState, policy: CodePolicy, now: int) -> CodeState:
    return replace(state, throttle=state.throttle.after_failure(policy, now))
