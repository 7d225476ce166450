"""What a host and a person know of a reader, and what therefore must not happen.

Nothing here comes from the firmware: it is what python-fido2 was answered. A command that was under
way when the power went may have happened or not; the first look decides, and from then on it stays
so. Tries at PIN and finger are counted by what was tried.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

from tallystick.tools.campaign.engine.subject import ViolationError

PIN_TRIES, FINGER_TRIES = 8, 5  # of a reader whose tries are whole


@dataclass(frozen=True)
class ReaderState:
    """What can be seen of a reader from outside. None: cannot be seen without a PIN.

    options: of getInfo. min_pin: least length, and whether the PIN must be changed. pin: the one
    that opens it. credentials: (user, name, identifier) of the resident ones. fingers: (template,
    name). known: whether the credential that it does not store still opens.
    """

    options: tuple[tuple[str, bool], ...]
    min_pin: tuple[int, bool]
    blobs: bytes
    known: bool
    pin: str | None = None
    credentials: tuple[tuple[bytes, str, bytes], ...] | None = None
    fingers: tuple[tuple[bytes, str], ...] | None = None


@dataclass(frozen=True)
class Tries:
    """Values that a retry counter may have. Sorted."""

    left: tuple[int, ...]
    whole: int

    def used(self, wrong: int, *, right: bool) -> Tries:
        """Up to `wrong` wrong ones in a row, or a right one (which is paid first, too)."""
        paid = max(wrong, int(right))
        reached = {max(0, value - n) for value in self.left for n in range(paid + 1)}
        return replace(self, left=tuple(sorted(reached | ({self.whole} if right else set()))))

    def seen(self, value: int) -> Tries:
        """Raises ViolationError."""
        if value not in self.left:
            raise ViolationError("tries", f"{value} tries left, not of {self.left}")
        return replace(self, left=(value,))


@dataclass(frozen=True)
class KnownReader:
    """states: what the reader may be in. pin, finger: tries left. signatures: the highest counter
    that came with a signature. templates, password: what the sensor holds, which no cut changes.
    """

    states: tuple[ReaderState, ...] = ()
    pin: Tries = Tries((PIN_TRIES,), PIN_TRIES)
    finger: Tries = Tries((FINGER_TRIES,), FINGER_TRIES)
    signatures: int = 0
    templates: tuple[tuple[int, str], ...] = ()
    password: int = 0

    def after_cut(self) -> Self:
        return self


@dataclass
class ReaderOracle:
    """Takes note of what is seen, and raises ViolationError."""

    known: KnownReader = field(default_factory=KnownReader)

    def begin(
        self, after: ReaderState | None, wrong_pins: int, wrong_fingers: int, right: str
    ) -> None:
        """A command is sent: from now on `after` is possible too. right: `pin` gives all tries
        back, `finger` those of the finger. Until it was answered, a try of the other kind may be
        missing, too."""
        known = self.known
        states = known.states
        if after is not None and after not in states:
            states = (*states, after)
        tried = bool(wrong_pins or wrong_fingers or right)
        self.known = replace(
            known,
            states=states,
            pin=known.pin.used(max(wrong_pins, int(tried)), right=right == "pin"),
            finger=known.finger.used(max(wrong_fingers, int(tried)), right=bool(right)),
        )

    def done(self, after: ReaderState | None, pin: int | None, finger: int | None) -> None:
        """It was answered. pin, finger: tries that must be left now, where it changes them."""
        known = self.known
        self.known = replace(
            known,
            states=known.states if after is None else (after,),
            pin=known.pin if pin is None else replace(known.pin, left=(pin,)),
            finger=known.finger if finger is None else replace(known.finger, left=(finger,)),
        )

    def tries(self, pin: int, finger: int) -> None:
        self.known = replace(
            self.known, pin=self.known.pin.seen(pin), finger=self.known.finger.seen(finger)
        )

    def saw(self, **facts: Any) -> None:
        """Parts of the state, as they are."""
        if not self.known.states:
            return  # nothing is known: to learn
        kept = tuple(
            state
            for state in self.known.states
            if all(getattr(state, name) == value for name, value in facts.items())
        )
        if not kept:
            raise ViolationError("state", "\n".join(self._told(facts)))
        self.known = replace(self.known, states=kept)

    def _told(self, facts: dict[str, Any]) -> list[str]:
        lines = [f"{', '.join(facts)}: neither as before nor as after"]
        for name, value in facts.items():
            lines.append(f"{name} is {value!r}")
            lines += [f"  may be {getattr(state, name)!r}" for state in self.known.states]
        return lines

    def signed(self, counter: int) -> None:
        """A signature came with this counter."""
        if counter <= self.known.signatures:
            raise ViolationError(
                "counter", f"signature {counter} after {self.known.signatures} was given"
            )
        self.known = replace(self.known, signatures=counter)
