"""The six second factors behind one interface."""

from __future__ import annotations

from collections.abc import Mapping

from tallystick.server.accounts.policy import MethodKind
from tallystick.server.methods.base import Method
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


def amr_of(verdict: Verdict) -> tuple[str, ...]:
    """Authentication method references (RFC 8176) of a proof that was accepted."""
    return verdict.amr or METHODS[MethodKind(verdict.kind)].amr


def at_hand(kind: MethodKind) -> bool:
    """A device in the user's hand makes its codes: to ask for one sends nothing."""
    method = METHODS[kind]
    return method.typed and not method.sends
