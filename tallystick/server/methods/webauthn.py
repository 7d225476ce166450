"""Fingerprint reader, or any FIDO2 key: WebAuthn (level 2) with user verification required."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AttestationFormat,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from tallystick.server import factors
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.judge import Reason
from tallystick.server.methods.base import Context, Form, Person, Started, Verdict
from tallystick.server.methods.stored import StoredMethod
from tallystick.server.policy import MethodKind

NEW = "new"  # the key of an enrolment: nothing is stored before the authenticator has answered


class WebAuthnMethod(StoredMethod):
    """external_id: the credential id. position: the signature counter. facts: {"public_key" (COSE,
    hex), "aaguid", "attestation" (its format), "backed_up"}."""

    kind = MethodKind.WEBAUTHN
    amr = ("hwk", "user")
    title = "Security key"

    def start(self, context: Context, person: Person, form: Form) -> Started:
        """show: options, JSON for navigator.credentials.create."""
        known = [
            PublicKeyCredentialDescriptor(id=factor.external_id)
            for factor in factors.of_person(context.connection, person.id)
            if factor.kind is self.kind and factor.external_id
        ]
        options = generate_registration_options(
            rp_id=rp_id(context.public_url),
            rp_name=context.firm,
            user_id=context.ring.tag("webauthn-user", str(person.id).encode()),
            user_name=person.login,
            user_display_name=person.login,
            challenge=context.challenge,
            attestation=AttestationConveyancePreference.DIRECT,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.PREFERRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=known,
        )
        return Started(NEW, {"options": options_to_json(options)})

    def finish(self, context: Context, person: Person, key: str, form: Form) -> Verdict:
        response = _response(form)
        try:
            checked = verify_registration_response(
                credential=response,
                expected_challenge=context.challenge,
                expected_rp_id=rp_id(context.public_url),
                expected_origin=origin(context.public_url),
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, KeyError, TypeError):
            return Verdict(Reason.WRONG)
        if factors.by_external_id(context.connection, context.firm_id, checked.credential_id):
            return Verdict(Reason.REPLAYED)
        factor_id = factors.create(
            context.connection,
            context.ring,
            firm_id=context.firm_id,
            person_id=person.id,
            kind=self.kind,
            label=self.label(form),
            facts={
                "public_key": checked.credential_public_key.hex(),
                "aaguid": checked.aaguid,
                "attestation": AttestationFormat(checked.fmt).value,
                "backed_up": checked.credential_backed_up,
            },
            secret=None,
            now=context.now,
            position=checked.sign_count,
            external_id=checked.credential_id,
        )
        factors.confirm(context.connection, person.id, factor_id, context.now)
        return Verdict(Reason.OK)

    def challenge(self, context: Context, person: Person, key: str) -> Mapping[str, Any]:
        """show: options, JSON for navigator.credentials.get."""
        factor = self.factor(context, person, key)
        assert factor.external_id is not None
        options = generate_authentication_options(
            rp_id=rp_id(context.public_url),
            challenge=context.challenge,
            allow_credentials=[PublicKeyCredentialDescriptor(id=factor.external_id)],
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return {"options": options_to_json(options)}

    def verify(self, context: Context, person: Person, key: str, form: Form) -> Verdict:
        factor = self.factor(context, person, key, lock=True)
        if wait_s := factor.throttle.wait_s(int(context.now)):
            return Verdict(Reason.THROTTLED, wait_s)
        response = _response(form)
        try:
            if base64url_to_bytes(response["rawId"]) != factor.external_id:
                return self.refuse(context, factor)
            checked = verify_authentication_response(
                credential=response,
                expected_challenge=context.challenge,
                expected_rp_id=rp_id(context.public_url),
                expected_origin=origin(context.public_url),
                credential_public_key=bytes.fromhex(factor.facts["public_key"]),
                # The library refuses a counter that did not grow: a cloned key (level 2, 6.1.1).
                credential_current_sign_count=factor.position,
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, KeyError, TypeError):
            return self.refuse(context, factor)
        return self.accept(context, factor, checked.new_sign_count)


def rp_id(public_url: str) -> str:
    return urlsplit(public_url).hostname or ""


def origin(public_url: str) -> str:
    parts = urlsplit(public_url)
    return f"{parts.scheme}://{parts.netloc}"


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
