"""What somebody reads who has to choose a second factor: what each is, where it comes from, what it
is worth; in the order that the firm recommends."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.server.accounts.policy import FirmPolicy, MethodKind
from tallystick.server.methods import METHODS
from tallystick.server.methods.base import Held
from tallystick.server.methods.sent import SentMethod
from tallystick.server.wording.worded import worded


@dataclass(frozen=True)
class About:
    """what, where: a sentence each. but: what it does not keep out; "" where nothing is to be said.
    picture: a file in static/pictures, or ""."""

    kind: MethodKind
    what: str
    where: str = ""
    but: str = ""
    picture: str = ""


_ABOUT: dict[str, tuple[str, str, str]] = {
    "totp": (
        worded("An app on your telephone shows six digits that change every half minute."),
        worded(
            "You have one already, or you get one from your telephone's store; it costs nothing "
            "and needs no network."
        ),
        "",
    ),
    "card": (
        worded("A card with a button and a display: you press, and it shows a code."),
        worded("Your help desk gives you one; it needs no telephone and no cable."),
        "",
    ),
    "webauthn": (
        worded(
            "You touch a reader or a key at the computer's USB port, and need not type anything."
        ),
        worded("Your help desk gives you one, or you use a key of your own."),
        "",
    ),
    "sms": (
        worded("A code comes as a text message to your mobile telephone."),
        worded("You need your number and a network."),
        worded(
            "Whoever takes over your number, or reads your messages, has your codes: take it only "
            "if nothing else will do."
        ),
    ),
    "email": (
        worded("A code comes by e-mail."),
        worded("You need a mailbox that you can read when you cannot sign in here."),
        worded(
            "Whoever gets into your mailbox has your codes: it protects no better than the mailbox "
            "does."
        ),
    ),
    "codes": (
        worded("Ten codes on a sheet of paper, each good once."),
        worded("You print them here; keep them for the day on which telephone or card is lost."),
        worded("Whoever finds the sheet can use it: keep it apart from the rest."),
    ),
}


def about(kind: MethodKind) -> About:
    if kind.value not in _ABOUT:
        return About(kind, METHODS[kind].hint)
    what, where, but = _ABOUT[kind.value]
    return About(kind, what, where, but, f"{kind.value}.svg")


def ranked(policy: FirmPolicy, channels: frozenset[str]) -> list[About]:
    """Those that policy allows, and that can work: first the ones that the firm names, in its
    order. channels: by which messages leave this server."""
    order = {kind: place for place, kind in enumerate(policy.method_order)}
    allowed = [kind for kind in METHODS if kind in policy.methods and _works(kind, channels)]
    return [about(kind) for kind in sorted(allowed, key=lambda kind: order.get(kind, len(order)))]


def _works(kind: MethodKind, channels: frozenset[str]) -> bool:
    method = METHODS[kind]
    return not isinstance(method, SentMethod) or method.channel in channels


def next_step(policy: FirmPolicy, held: list[Held], channels: frozenset[str]) -> About | None:
    """What to add next, for somebody who has less than the firm recommends: of another kind than
    what is there, and the weak ones last."""
    have = {one.kind for one in held}
    if len(have) >= policy.recommended_methods:
        return None
    left = [one for one in ranked(policy, channels) if one.kind not in have]
    return min(left, key=lambda one: bool(one.but), default=None)
