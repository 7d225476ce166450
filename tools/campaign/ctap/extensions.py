"""Extensions that tell something (CTAP 2.1, 12; hmac-secret-mc and thirdPartyPayment: CTAP 2.2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fido2 import cbor

from tallystick.tools.campaign.ctap.channels import PLATFORM_KEY, Shared
from tallystick.tools.campaign.ctap.known import Known, KnownCredential
from tallystick.tools.campaign.engine.subject import ViolationError

_SALT = b"\x11" * 32
_LONGEST = 32  # of a credBlob
_EXTENSIONS = 0x80  # flag of authenticator data


def _salted(shared: Shared) -> dict[int, Any]:
    encrypted = shared.encrypt(_SALT)
    return {1: PLATFORM_KEY, 2: encrypted, 3: shared.authenticate(encrypted), 4: 2}


def wishes(shared: Shared, cred_blob: bytes) -> dict[str, Any]:
    """Of a new credential."""
    return {
        "credBlob": cred_blob, "hmac-secret": True, "hmac-secret-mc": _salted(shared),
        "minPinLength": True, "thirdPartyPayment": True,
    }  # fmt: skip


def questions(shared: Shared) -> dict[str, Any]:
    """With an assertion."""
    return {"credBlob": True, "hmac-secret": _salted(shared), "thirdPartyPayment": True}


def granted(
    known: Known, data: bytes, shared: Shared, made: KnownCredential, cred_blob: bytes
) -> KnownCredential:
    """The credential with what the answer says of its extensions, which is judged."""
    said = _extensions(data, attested=True)
    secret = shared.decrypt(said.pop("hmac-secret-mc", bytes(32)))
    fits = bool(made.user) and len(cred_blob) <= _LONGEST
    wanted: dict[str, Any] = {"credBlob": fits, "hmac-secret": True, "thirdPartyPayment": True}
    if made.party in known.told:
        wanted["minPinLength"] = known.min_pin
    if said != wanted:
        raise ViolationError("extension", f"12: {said}, not {wanted}")
    verified = bool(data[32] & 4)
    return replace(
        made, cred_blob=cred_blob if fits else b"", payment=True, secret=secret if verified else b""
    )


def told(data: bytes, shared: Shared, one: KnownCredential, *, verified: bool) -> None:
    """Judges what an assertion says."""
    said = _extensions(data, attested=False)
    secret = shared.decrypt(said.pop("hmac-secret"))
    if said != {"credBlob": one.cred_blob, "thirdPartyPayment": one.payment}:
        raise ViolationError("extension", f"12: {said} of {one.user!r}")
    if verified and one.secret and secret != one.secret:
        raise ViolationError("extension", "12.5: the secret is another one than when it was made")


def _extensions(data: bytes, *, attested: bool) -> dict[str, Any]:
    if not data[32] & _EXTENSIONS:
        return {}
    rest = data[37:]
    if attested:
        size = int.from_bytes(data[53:55], "big")
        _, rest = cbor.decode_from(data[55 + size :])
    said = cbor.decode(rest)
    assert isinstance(said, dict)
    return said
