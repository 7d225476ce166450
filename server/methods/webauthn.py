"""Fingerprint reader, or any FIDO2 key: WebAuthn (level 2) with user verification required."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.exc import IntegrityError

from tallystick.server.accounts import factors
from tallystick.server.accounts.factors import Enrolled
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.methods.base import Context, Form, Held, Owner, Started, Thing
from tallystick.server.methods.stored import StoredMethod
from tallystick.server.rules.judge import Reason, Verdict
from tallystick.server.wording.worded import worded

NEW = "new"  # the key of an enrolment: nothing is stored before the authenticator has answered


class WebAuthnMethod(StoredMethod):
    """external_id: the credential id. position: the signature counter. facts: {"public_key" (COSE,
    hex), "aaguid", "attestation" (its format), "backed_up", "vouched" (by whom), "hardware", "root"
    (which of the firm's), "handed" (whoever put it in for its holder may have its PIN, so it opens
    nothing alone before he has shown it with his password)}. Of a key that was enrolled by an
    earlier version nobody vouched."""

    kind = MethodKind.WEBAUTHN
    thing = Thing.KEY
    amr = ("pop", "user")  # of a key in hardware, as somebody vouches: hwk instead
    title = worded("Fingerprint reader or security key")
    hint = worded("Touch the reader, or your key.")
    typed = False
    default_label = worded("Security key")

    def held(
        self, context: Context, person: Owner, stored: Sequence[Enrolled] | None = None
    ) -> list[Held]:
        if stored is None:
            stored = factors.of_person(context.connection, person.id)
        handed = {str(one.id) for one in stored if one.facts.get("handed")}
        held = super().held(context, person, stored)
        return [replace(one, confirmed=one.key not in handed) for one in held]

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
            user_id=_user_id(context, person),
            user=person.login,
            challenge=context.challenge,
            known=known,
        )
        return Started(NEW, {"options": options})

    def show_again(self, context: Context, person: Owner, key: str) -> None:
        """Its challenge is used up."""

    def finish(self, context: Context, person: Owner, key: str, form: Form) -> Verdict:
        from tallystick.server.methods import attestation, fido  # noqa: PLC0415

        made = fido.check_registration(context.public_url, _response(form), context.challenge)
        if made is None:
            return Verdict(Reason.WRONG)
        vouched = attestation.judge(_response(form), context.policy, context.metadata, context.now)
        if why := attestation.refused(vouched, context.policy, made.aaguid):
            return Verdict(Reason.NOT_ACCEPTED, why=why)
        if factors.is_known(context.connection, made.credential_id):
            raise _known_key()
        try:
            with context.connection.begin_nested():
                factor_id = self.create(
                    context,
                    person,
                    form,
                    facts={
                        "public_key": made.public_key.hex(),
                        "aaguid": made.aaguid,
                        "attestation": made.attestation,
                        "backed_up": made.backed_up,
                        "vouched": sorted(vouched.by),
                        "hardware": vouched.hardware,
                        "root": vouched.root,
                        "handed": context.handed,
                    },
                    secret=None,
                    position=made.sign_count,
                    external_id=made.credential_id,
                )
        except IntegrityError:  # another request was first
            raise _known_key() from None
        factors.confirm(context.connection, person.id, factor_id, context.now)
        return Verdict(Reason.OK, amr=_amr(hardware=vouched.hardware))

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
        from tallystick.server.methods import attestation, fido  # noqa: PLC0415

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
            user_id=_user_id(context, person),
        )
        if count is None or not context.challenge:
            return self.refuse(context, factor)
        if why := attestation.no_more(factor.facts, context.policy, context.metadata):
            return Verdict(Reason.NOT_ACCEPTED, why=why)
        # Beside a password, or in a session: alone, a key that was handed out is not asked.
        confirmed = dict(factor.facts) | {"handed": False} if factor.facts.get("handed") else None
        accepted = self.accept(context, factor, count, confirmed)
        return replace(
            accepted, amr=_amr(hardware=attestation.in_hardware(factor.facts, context.metadata))
        )


def options_for_anybody(public_url: str, challenge: bytes) -> str:
    """JSON for navigator.credentials.get: any key that has its user's name itself (discoverable),
    with its user verified."""
    from tallystick.server.methods import fido  # noqa: PLC0415

    return fido.authentication_options(public_url, challenge=challenge, allowed=None)


def credential_of(form: Form) -> bytes | None:
    """The id of the credential that answers; None where the answer does not say whose it is, as one
    of a discoverable credential does (WebAuthn level 2, 7.2, step 6). Raises ApiError (422)."""
    from tallystick.server.methods import fido  # noqa: PLC0415

    return fido.discovered(_response(form))


def _amr(*, hardware: bool) -> tuple[str, ...]:
    """RFC 8176: a key is only said to be in hardware when somebody vouches for that."""
    return ("hwk" if hardware else "pop", "user")


def _user_id(context: Context, person: Owner) -> bytes:
    """The user handle: says nothing, and is another one in each firm."""
    return context.ring.tag("webauthn-user", str(person.id).encode())


def _known_key() -> ApiError:
    return ApiError(
        409,
        "key-known",
        "This key is enrolled here already.",
        kept=NOTHING_CHANGED,
        todo="Use another key, or remove it where it is enrolled.",
    )


def _response(form: Form) -> dict[str, Any]:
    """The authenticator's answer. Raises ApiError (422) when it is not JSON."""
    try:
        value = json.loads(form.get("response", ""))
    except (ValueError, RecursionError):
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
