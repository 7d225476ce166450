"""What a person, a station and a server know of a card, and what therefore must not happen.

Nothing here comes from the firmware: codes are read off the glass or off the wire, and compared
with RFC 4226 computed from the seed that the station sent. A transition that was under way when the
power went may have happened or not; the first look decides, and from then on it stays so.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, replace
from functools import cache

from tallystick.tools.campaign.engine.subject import ViolationError

LOOK_AHEAD = 10  # the server's window: the next code and nine more
_REACH = 400  # moving factors searched for a code

NOTHING = ""  # no credential


@cache
def codes(seed: bytes, digits: int = 6) -> dict[str, int]:
    """Code → moving factor, for the first `_REACH` factors. The campaign's seeds have no two alike
    among them."""
    found: dict[str, int] = {}
    for factor in range(_REACH):
        digest = hmac.digest(seed, factor.to_bytes(8, "big"), hashlib.sha1)
        at = digest[19] & 15
        number = int.from_bytes(digest[at : at + 4], "big") & 0x7FFFFFFF
        found.setdefault(str(number % 10**digits).zfill(digits), factor)
    return found


@dataclass(frozen=True)
class KnownCard:
    """What is known of a card. Sets are sorted tuples, so that equal knowledge is equal.

    credentials: names of seeds that may be in it ("": none). life_cycles, keys: likewise.
    next: first moving factor that was not shown yet, by seed. server: the server's, by seed.
    cuts: power cuts since the last code. damaged: the flash itself failed (not the power).
    """

    credentials: tuple[str, ...] = (NOTHING,)
    life_cycles: tuple[int, ...] = (1,)
    keys: tuple[str, ...] = ("transport",)
    next: tuple[tuple[str, int], ...] = ()
    server: tuple[tuple[str, int], ...] = ()
    cuts: int = 0

    def after_cut(self) -> KnownCard:
        return replace(self, cuts=self.cuts + 1)


class CardOracle:
    """Takes note of what is seen from outside, and raises ViolationError."""

    def __init__(self, seeds: dict[str, bytes], known: KnownCard | None = None) -> None:
        self._seeds = seeds
        self.known = known or KnownCard()

    # -- what the station does -----------------------------------------------------------------

    def begin(
        self,
        *,
        credential: str | None = None,
        life_cycle: int | None = None,
        keys: str | None = None,
    ) -> None:
        """A command that changes something is sent: from now on the new state is possible too."""
        known = self.known
        changes: dict[str, object] = {}
        if credential is not None:
            changes["credentials"] = _with(known.credentials, credential)
        if life_cycle is not None:
            changes["life_cycles"] = _with(known.life_cycles, life_cycle)
        if keys is not None:
            changes["keys"] = _with(known.keys, keys)
        self.known = replace(known, **changes)  # type: ignore[arg-type]

    def done(
        self,
        *,
        credential: str | None = None,
        life_cycle: int | None = None,
        keys: str | None = None,
    ) -> None:
        """The card said 9000."""
        changes: dict[str, object] = {}
        if credential is not None:
            changes["credentials"] = (credential,)
            if credential:
                changes["next"] = _put(self.known.next, credential, 0)
                changes["server"] = _put(self.known.server, credential, 0)
        if life_cycle is not None:
            changes["life_cycles"] = (life_cycle,)
        if keys is not None:
            changes["keys"] = (keys,)
        self.known = replace(self.known, **changes)  # type: ignore[arg-type]

    def cut(self) -> None:
        """The power went."""
        self.known = self.known.after_cut()

    # -- what is seen --------------------------------------------------------------------------

    def code(self, code: str) -> str:
        """A code was shown, on the glass or on the wire. Returns the name of its seed."""
        known = self.known
        for name in known.credentials:
            if name and code in codes(self._seeds[name]):
                self._judge(name, codes(self._seeds[name])[code])
                return name
        others = [name for name in self._seeds if code in codes(self._seeds[name])]
        if others:
            raise ViolationError("seed", f"code of seed {others[0]}, which must not be there")
        raise ViolationError("code", f"{code} is no code of any seed")

    def _judge(self, name: str, factor: int) -> None:
        known = self.known
        first = dict(known.next).get(name, 0)
        if factor < first:
            raise ViolationError(
                "replay", f"code {factor} of seed {name} shown again; {first} was to come"
            )
        if factor - first > known.cuts:
            raise ViolationError(
                "skip", f"{factor - first} codes skipped with {known.cuts} power cuts"
            )
        accepted = dict(known.server).get(name, 0)
        if not accepted <= factor < accepted + LOOK_AHEAD:
            raise ViolationError(
                "server", f"code {factor} of seed {name} is refused: {accepted} is expected"
            )
        self.known = replace(
            known,
            credentials=(name,),
            next=_put(known.next, name, factor + 1),
            server=_put(known.server, name, factor + 1),
            cuts=0,
        )

    def credential(self, there: bool) -> None:
        """The card says whether it holds a credential."""
        kept = tuple(name for name in self.known.credentials if bool(name) == there)
        if not kept:
            raise ViolationError("seed", "seed lost" if not there else "seed came back")
        self.known = replace(self.known, credentials=kept)

    def life_cycle(self, state: int) -> None:
        if state not in self.known.life_cycles:
            raise ViolationError("life-cycle", f"{state:02X}, not of {self.known.life_cycles}")
        self.known = replace(self.known, life_cycles=(state,))

    def key_set(self, name: str | None) -> None:
        """The card proved that it has this key set; None: none that there is."""
        if name not in self.known.keys:
            raise ViolationError("keys", f"key set {name}, not of {self.known.keys}")
        self.known = replace(self.known, keys=(name,))

    def needs_code(self) -> bool:
        """Whether a press must show a code."""
        return NOTHING not in self.known.credentials

    def may_have_code(self) -> bool:
        return any(self.known.credentials)


def _with(values: tuple[object, ...], value: object) -> tuple[object, ...]:
    return tuple(sorted({*values, value}, key=str))


def _put(pairs: tuple[tuple[str, int], ...], name: str, value: int) -> tuple[tuple[str, int], ...]:
    return tuple(sorted({**dict(pairs), name: value}.items()))
