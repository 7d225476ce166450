"""Fingerprint reader, or any FIDO2 key: WebAuthn (level 2) with user verification required."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tallystick.server.accounts import factors
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.methods.base import Context, Form, Owner, Started
from tallystick.server.methods.stored import StoredMethod
from tallystick.server.rules.judge import Reason, Verdict

NEW = "new"  # the key of an enrolment: nothing is stored before the authenticator has answered


class WebAuthnMethod(StoredMethod):
    """external_id: the credential id. position: the signature counter. facts: {"public_key" (COSE,
    hex), "aaguid", "attestation" (its format), "backed_up"}."""

    kind = MethodKind.WEBAUTHN
    amr = ("hwk", "user")
    title = "Fingerprint reader or security key"
    hint = "Touch the reader, or your key."
    typed = False
    default_label = "Security key"

    def start(self, context: Context, person: Owner, form: Form) -> Started:
        """show: options, JSON for navigator.credentials.create."""
        from tallystick.server.methods import fido  # noqa: PLC0415

        known = [
            factor.external_id
            for factor in factors.of_person(context.connection, person.id)
            if factor.kind is self.kind and factor.external_id
        ]
        options = fido.registration_options(
            context.public_url,
            name=context.firm,
            user_id=context.ring.tag("webauthn-user", str(person.id).encode()),
            user=person.login,
            challenge=context.challenge,
            known=known,
        )
        return Started(NEW, {"options": options})

    def show_again(self, context: Context, person: Owner, key: str) -> None:
        """Its challenge is used up."""

    def finish(self, context: Context, person: Owner, key: str, form: Form) -> Verdict:
        from tallystick.server.methods import fido  # noqa: PLC0415

        made = fido.check_registration(context.public_url, _response(form), context.challenge)
        if made is None:
            return Verdict(Reason.WRONG)
        if factors.by_external_id(context.connection, context.firm_id, made.credential_id):
            return Verdict(Reason.REPLAYED)
        factor_id = self.create(
            context,
            person,
            form,
            facts={
                "public_key": made.public_key.hex(),
                "aaguid": made.aaguid,
                "attestation": made.attestation,
                "backed_up": made.backed_up,
            },
            secret=None,
            position=made.sign_count,
            external_id=made.credential_id,
        )
        factors.confirm(context.connection, person.id, factor_id, context.now)
        return Verdict(Reason.OK)

    def challenge(self, context: Context, person: Owner, key: str) -> Mapping[str, Any]:
        """show: options, JSON for navigator.credentials.get."""
        from tallystick.server.methods import fido  # noqa: PLC0415

        factor = self.factor(context, person, key)
        assert factor.external_id is not None
        options = fido.authentication_options(
            context.public_url, challenge=context.challenge, allowed=factor.external_id
        )
        return {"options": options}

    def verify(self, context: Context, person: Owner, key: str, form: Form) -> Verdict:
        from tallystick.server.methods import fido  # noqa: PLC0415

        factor = self.factor(context, person, key, lock=True)
        if wait_s := factor.throttle.wait_s(int(context.now)):
            return Verdict(Reason.THROTTLED, wait_s)
        assert factor.external_id is not None
        count = fido.check_assertion(
            context.public_url,
            _response(form),
            context.challenge,
            credential_id=factor.external_id,
            public_key=bytes.fromhex(factor.facts["public_key"]),
            sign_count=factor.position,
        )
        if count is None or not context.challenge:
            return self.refuse(context, factor)
        return self.accept(context, factor, count)


def _response(form: Form) -> dict[str, Any]:
    """The authenticator's answer. Raises ApiError (422) when it is not JSON."""
    try:
        value = json.loads(form.get("response", ""))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ApiError(
            422,
            "no-response",
            "The browser sent no answer of the security key.",
            kept=NOTHING_CHANGED,
            todo="Try again, and touch the key when it blinks.",
        )
    return value
