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
_BACK = 64  # of them before the one that is to come, where that is far from 0
_HIGHEST = 2**64 - 1

NOTHING = ""  # no credential
NAME = "TS00000001"  # of the credential, at first: the serial number of the card


@cache
def codes(seed: bytes, first: int = 0, digits: int = 6) -> dict[str, int]:
    """Code → moving factor, for `_REACH` factors from `first`. The campaign's seeds have no two
    alike among the first ones."""
    found: dict[str, int] = {}
    for factor in range(first, min(first + _REACH, _HIGHEST + 1)):
        digest = hmac.digest(seed, factor.to_bytes(8, "big"), hashlib.sha1)
        at = digest[19] & 15
        number = int.from_bytes(digest[at : at + 4], "big") & 0x7FFFFFFF
        found.setdefault(str(number % 10**digits).zfill(digits), factor)
    return found


@dataclass(frozen=True)
class KnownCard:
    """What is known of a card. Sets are sorted tuples, so that equal knowledge is equal.

    credentials: seeds that may be in it ("": none). life_cycles, keys: likewise; names: what the
    credential may be called.
    next: first moving factor that was not shown yet, by seed. server: the server's, by seed.
    cuts: power cuts since the last code. together: (what, old, new) of a command that changes
    several things, whose power went: all of them are done, or none. far: it was cut so often
    without a code in between that another cut may lead out of the server's window.
    """

    credentials: tuple[str, ...] = (NOTHING,)
    life_cycles: tuple[int, ...] = (1,)
    keys: tuple[str, ...] = ("transport",)
    next: tuple[tuple[str, int], ...] = ()
    server: tuple[tuple[str, int], ...] = ()
    cuts: int = 0
    together: tuple[tuple[str, object, object], ...] = ()
    far: bool = False
    names: tuple[str, ...] = (NAME,)

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
        factor: int = 0,
    ) -> None:
        """A command that changes something is sent: from now on the new state is possible too.
        factor: the new credential's moving factor."""
        known = self.known
        changes: dict[str, object] = {"together": self._joined(credential, life_cycle, keys)}
        if credential is not None:
            changes["credentials"] = _with(known.credentials, credential)
            if credential and credential not in known.credentials:
                changes["next"] = _put(known.next, credential, factor)
                changes["server"] = _put(known.server, credential, factor)
        if life_cycle is not None:
            changes["life_cycles"] = _with(known.life_cycles, life_cycle)
        if keys is not None:
            changes["keys"] = _with(known.keys, keys)
        self.known = replace(known, **changes)  # type: ignore[arg-type]

    def _joined(
        self, credential: str | None, life_cycle: int | None, keys: str | None
    ) -> tuple[tuple[str, object, object], ...]:
        """What a command changes, where it is certain what was there before."""
        known = self.known
        wanted = (
            ("credentials", known.credentials, credential),
            ("life_cycles", known.life_cycles, life_cycle),
            ("keys", known.keys, keys),
        )
        return tuple(
            (what, old[0], new)
            for what, old, new in wanted
            if new is not None and len(old) == 1 and old[0] != new
        )

    def done(
        self,
        *,
        credential: str | None = None,
        life_cycle: int | None = None,
        keys: str | None = None,
        factor: int = 0,
    ) -> None:
        """The card said 9000."""
        changes: dict[str, object] = {"together": ()}
        if credential is not None:
            changes["credentials"] = (credential,)
            if credential:
                changes["next"] = _put(self.known.next, credential, factor)
                changes["server"] = _put(self.known.server, credential, factor)
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
            factor = self._factor(name, code) if name else None
            if factor is not None:
                self._judge(name, factor)
                return name
        others = [name for name in self._seeds if code in codes(self._seeds[name])]
        if others:
            raise ViolationError("seed", f"code of seed {others[0]}, which must not be there")
        raise ViolationError("code", f"{code} is no code of any seed")

    def _factor(self, name: str, code: str) -> int | None:
        """The moving factor of this code, near the one that is to come or near 0."""
        seed, coming = self._seeds[name], dict(self.known.next).get(name, 0)
        first = codes(seed)
        if coming < _REACH - _BACK:
            return first.get(code)
        return codes(seed, coming - _BACK).get(code, first.get(code))

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
        in_window = accepted <= factor < accepted + LOOK_AHEAD
        if not in_window and not known.far:
            raise ViolationError(
                "server", f"code {factor} of seed {name} is refused: {accepted} is expected"
            )
        self._settle("credentials", name)
        self.known = replace(
            self.known,
            next=_put(known.next, name, factor + 1),
            server=_put(known.server, name, factor + 1),
            cuts=0,
            far=False,
        )

    def rename(self, name: str) -> None:
        """A command that gives the credential this name is sent."""
        names = tuple(sorted({*self.known.names, name}))
        self.known = replace(self.known, names=names)

    def credential(self, name: str) -> None:
        """The card says what its credential is called; "" when it holds none."""
        there = bool(name)
        if there and name not in self.known.names:
            raise ViolationError("name", f"the credential is called {name}")
        kept = tuple(name for name in self.known.credentials if bool(name) == there)
        if not kept:
            raise ViolationError("seed", "seed lost" if not there else "seed came back")
        if len(kept) == 1:
            self._settle("credentials", kept[0])
        self.known = replace(self.known, credentials=kept, names=(name or NAME,))

    def life_cycle(self, state: int) -> None:
        if state not in self.known.life_cycles:
            raise ViolationError("life-cycle", f"{state:02X}, not of {self.known.life_cycles}")
        self._settle("life_cycles", state)

    def key_set(self, name: str | None) -> None:
        """The card proved that it has this key set; None: none that there is."""
        if name not in self.known.keys:
            raise ViolationError("keys", f"key set {name}, not of {self.known.keys}")
        self._settle("keys", name)

    def _settle(self, what: str, value: object) -> None:
        """This is so, as was seen; and with it whatever a command changes together with it."""
        changes: dict[str, object] = {what: (value,)}
        for changed, old, new in self.known.together:
            if changed == what and value in (old, new):
                changes = {
                    one: (is_ if value == new else was,) for one, was, is_ in self.known.together
                } | changes
                changes["together"] = ()
        self.known = replace(self.known, **changes)  # type: ignore[arg-type]

    def needs_code(self) -> bool:
        """Whether a press must show a code."""
        return NOTHING not in self.known.credentials

    def may_have_code(self) -> bool:
        return any(self.known.credentials)


def _with(values: tuple[object, ...], value: object) -> tuple[object, ...]:
    return tuple(sorted({*values, value}, key=str))


def _put(pairs: tuple[tuple[str, int], ...], name: str, value: int) -> tuple[tuple[str, int], ...]:
    return tuple(sorted({**dict(pairs), name: value}.items()))
