"""The WebAuthn library, behind four functions. Imported at the first use: it takes a tenth of a
second, which a server's start should not wait for."""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
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
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AttestationFormat,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)


@dataclass(frozen=True)
class RegisteredKey:
    """A checked registration. public_key: COSE. attestation: its format."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    aaguid: str
    attestation: str
    backed_up: bool


def registration_options(
    public_url: str,
    *,
    name: str,
    user_id: bytes,
    user: str,
    challenge: bytes,
    known: Sequence[bytes],
) -> str:
    """JSON for navigator.credentials.create; keys in `known` are not to be enrolled again."""
    options = generate_registration_options(
        rp_id=rp_id(public_url),
        rp_name=name,
        user_id=user_id,
        user_name=user,
        user_display_name=user,
        challenge=challenge,
        attestation=AttestationConveyancePreference.DIRECT,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.PREFERRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=one) for one in known],
    )
    return options_to_json(options)


def check_registration(
    public_url: str, response: dict[str, Any], challenge: bytes
) -> RegisteredKey | None:
    """None when anything about the answer is wrong."""
    try:
        if _in_a_frame(response):
            return None
        checked = verify_registration_response(
            credential=response,
            expected_challenge=challenge,
            expected_rp_id=rp_id(public_url),
            expected_origin=origin(public_url),
            require_user_verification=True,
        )
    except Exception:  # whatever a malformed answer does to the libraries below
        return None
    return RegisteredKey(
        checked.credential_id,
        checked.credential_public_key,
        checked.sign_count,
        checked.aaguid,
        AttestationFormat(checked.fmt).value,
        checked.credential_backed_up,
    )


def authentication_options(public_url: str, *, challenge: bytes, allowed: bytes | None) -> str:
    """JSON for navigator.credentials.get, for one credential, or (None) any discoverable one."""
    options = generate_authentication_options(
        rp_id=rp_id(public_url),
        challenge=challenge,
        allow_credentials=[PublicKeyCredentialDescriptor(id=allowed)] if allowed else [],
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json(options)


def discovered(response: dict[str, Any]) -> bytes | None:
    """The credential's id, where the answer has its user's handle, too."""
    try:
        handle = response["response"]["userHandle"]
        found = base64url_to_bytes(response["rawId"])
        return found if handle and base64url_to_bytes(handle) else None
    except Exception:  # whatever a malformed answer does to the libraries below
        return None


def check_assertion(
    public_url: str,
    response: dict[str, Any],
    challenge: bytes,
    *,
    credential_id: bytes,
    public_key: bytes,
    sign_count: int,
    user_id: bytes,
) -> int | None:
    """→ the new signature counter, or None when anything is wrong: also a counter that did not
    grow, which a cloned key has (WebAuthn level 2, 6.1.1), another user's handle (7.2, step 6), and
    a ceremony in another site's frame."""
    try:
        if base64url_to_bytes(response["rawId"]) != credential_id:
            return None
        if _in_a_frame(response) or not _is_of(response, user_id):
            return None
        checked = verify_authentication_response(
            credential=response,
            expected_challenge=challenge,
            expected_rp_id=rp_id(public_url),
            expected_origin=origin(public_url),
            credential_public_key=public_key,
            credential_current_sign_count=sign_count,
            require_user_verification=True,
        )
    except Exception:  # whatever a malformed answer does to the libraries below
        return None
    return checked.new_sign_count


def _in_a_frame(response: dict[str, Any]) -> bool:
    """Whether the ceremony ran in a frame of another origin (`crossOrigin`): no page of ours may be
    framed, so that was not our page. Raises ValueError, KeyError, TypeError."""
    data = json.loads(base64url_to_bytes(response["response"]["clientDataJSON"]))
    return data.get("crossOrigin", False) is not False or "topOrigin" in data


def _is_of(response: dict[str, Any], user_id: bytes) -> bool:
    """Whether the user handle, where the key gives one, is this user's."""
    handle = response["response"].get("userHandle")
    return handle in (None, "") or hmac.compare_digest(base64url_to_bytes(handle), user_id)


def rp_id(public_url: str) -> str:
    return urlsplit(public_url).hostname or ""


def origin(public_url: str) -> str:
    parts = urlsplit(public_url)
    return f"{parts.scheme}://{parts.netloc}"
