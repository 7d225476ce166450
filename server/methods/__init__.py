"""The six second factors behind one interface."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tallystick.server.accounts import factors
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.methods.base import Context, Held, Method, Owner
from tallystick.server.methods.card import CardMethod
from tallystick.server.methods.codes import CodesMethod
from tallystick.server.methods.sent import EmailMethod, SmsMethod
from tallystick.server.methods.totp import TotpMethod
from tallystick.server.methods.webauthn import WebAuthnMethod
from tallystick.server.rules.judge import Verdict

METHODS: Mapping[MethodKind, Method] = {
    method.kind: method
    for method in (
        CardMethod(),
        TotpMethod(),
        WebAuthnMethod(),
        SmsMethod(),
        EmailMethod(),
        CodesMethod(),
    )
}


def held_by(context: Context, person: Owner, kinds: Collection[MethodKind]) -> list[Held]:
    """The person's confirmed factors of these kinds, the strongest kind first. The table of those
    that are stored is read once, for all kinds."""
    stored = factors.of_person(context.connection, person.id)
    return [
        held
        for kind, method in METHODS.items()
        if kind in kinds
        for held in method.held(context, person, stored)
    ]


def amr_of(verdict: Verdict) -> tuple[str, ...]:
    """Authentication method references (RFC 8176) of a proof that was accepted."""
    return verdict.amr or METHODS[MethodKind(verdict.kind)].amr


def at_hand(kind: MethodKind) -> bool:
    """A device in the user's hand makes its codes: to ask for one sends nothing."""
    method = METHODS[kind]
    return method.typed and not method.sends
