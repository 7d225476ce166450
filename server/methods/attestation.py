"""Who vouches for a security key: the roots that a firm has named, or the FIDO metadata.

WebAuthn level 2, 7.1 steps 19 to 21; 8.2.1 (certificates of packed attestations). An attestation
that leads to nobody says what the key says of itself, and proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fido2.attestation.base import Attestation
from fido2.webauthn import AttestationObject
from OpenSSL.crypto import X509, X509Store, X509StoreContext, X509StoreFlags
from webauthn.helpers import base64url_to_bytes

from tallystick.common.reader_identity import development_root
from tallystick.server.accounts.key_metadata import KeyMetadata
from tallystick.server.accounts.policy import FirmPolicy, KeyTrust

_FORMATS = ("packed", "fido-u2f")


@dataclass(frozen=True)
class Vouched:
    """by: who vouches for the key. hardware: its private keys are kept in hardware, says one of
    them. why: the first thing that speaks against it, a word of `signing_in.words`. root: which of
    the firm's roots vouches for it (`_named`), or ""."""

    by: frozenset[KeyTrust] = frozenset()
    hardware: bool = False
    why: str = ""
    root: str = ""


def judge(
    response: dict[str, Any], policy: FirmPolicy, metadata: KeyMetadata | None, now: float
) -> Vouched:
    """Of a registration whose other parts are checked. now: seconds since 1970."""
    client_data = base64url_to_bytes(response["response"]["clientDataJSON"])
    try:
        attestation = AttestationObject(
            base64url_to_bytes(response["response"]["attestationObject"])
        )
        chain = _chain(attestation, sha256(client_data).digest())
    except Exception:  # two libraries read it: what this one cannot follow proves nothing
        chain = []
    if not chain:
        return Vouched(why="no-attestation")
    by, hardware, why = set(), False, "unknown-root"
    root = next((one for one in _roots(policy) if _leads_to(chain, [one])), None)
    if root is not None:
        by.add(KeyTrust.ROOTS)
        hardware = not _leads_to(chain, [_development()])
    if metadata is not None:
        credential = attestation.auth_data.credential_data
        assert credential is not None  # as it was checked
        model = metadata.models.get(str(credential.aaguid))
        if model is not None and model.trouble:
            return Vouched(why="model-broken")  # also by a list that is old
        if metadata.old(now):
            why = "metadata-old"
        elif model is None:
            why = "model-unknown"
        elif _leads_to(chain, list(model.roots)):
            by.add(KeyTrust.METADATA)
            hardware = hardware or model.hardware
    elif KeyTrust.METADATA in policy.key_trust:
        why = "no-metadata"
    named = "" if root is None else _named(root)
    return Vouched(frozenset(by), hardware, "" if by else why, named)


def refused(vouched: Vouched, policy: FirmPolicy, aaguid: str) -> str:
    """Why the policy does not take a key, a word of `signing_in.words`; "" when it does."""
    if not policy.key_trust:
        return ""
    if not vouched.by & policy.key_trust:
        return vouched.why or "unknown-root"
    if policy.key_models and aaguid not in policy.key_models:
        return "other-model"
    return ""


def no_more(facts: Mapping[str, Any], policy: FirmPolicy, metadata: KeyMetadata | None) -> str:
    """Why a key that is enrolled is not taken under the rules of today, a word of
    `signing_in.words`; "" when it is. facts: what was found out when it was enrolled. An earlier
    version did not keep which root it was: then any is believed."""
    if not policy.key_trust:
        return ""
    by, aaguid = set(facts.get("vouched", ())), str(facts["aaguid"])
    if facts.get("root") and facts["root"] not in {_named(one) for one in _roots(policy)}:
        by.discard(KeyTrust.ROOTS.value)
    if not by & {one.value for one in policy.key_trust}:
        return "not-vouched"
    if _broken(aaguid, metadata):
        return "model-broken"
    return "other-model" if policy.key_models and aaguid not in policy.key_models else ""


def in_hardware(facts: Mapping[str, Any], metadata: KeyMetadata | None) -> bool:
    """Whether somebody vouched that a key is kept in hardware, and nothing was told against its
    model since. facts: as above."""
    return bool(facts.get("hardware")) and not _broken(str(facts["aaguid"]), metadata)


def _broken(aaguid: str, metadata: KeyMetadata | None) -> bool:
    """Also by a list that is old."""
    model = None if metadata is None else metadata.models.get(aaguid)
    return model is not None and bool(model.trouble)


def _chain(attestation: AttestationObject, client_data_hash: bytes) -> list[bytes]:
    """DER certificates, the key's first; empty when it attests nothing that can be followed. Raises
    what the library does when its signature does not hold."""
    if attestation.fmt not in _FORMATS:
        return []
    kind = Attestation.for_type(attestation.fmt)()
    result = kind.verify(attestation.att_stmt, attestation.auth_data, client_data_hash)
    found = list(result.trust_path or ())
    if not all(isinstance(one, bytes) for one in found):
        raise TypeError("a certificate is bytes")  # of a number, `bytes` would make that many
    return found


def _leads_to(chain: list[bytes], roots: list[bytes]) -> bool:
    """Both DER. What is named may be the key's own certificate, one above it, or the root (FIDO
    metadata statements, attestationRootCertificates)."""
    if not roots:
        return False
    if chain[0] in roots:
        return True
    try:
        own, *above = [X509.from_cryptography(x509.load_der_x509_certificate(one)) for one in chain]
        store = X509Store()
        store.set_flags(X509StoreFlags.PARTIAL_CHAIN)  # who is named needs nobody above
        for one in roots:
            store.add_cert(X509.from_cryptography(x509.load_der_x509_certificate(one)))
        X509StoreContext(store, own, above).verify_certificate()
    except Exception:  # whatever is wrong with one of them: it leads to nobody
        return False
    return True


def _roots(policy: FirmPolicy) -> list[bytes]:
    """DER."""
    if not policy.key_roots:
        return []
    certificates = x509.load_pem_x509_certificates(policy.key_roots.encode())
    return [one.public_bytes(Encoding.DER) for one in certificates]


def _named(root: bytes) -> str:
    """SHA-256 of a root's public key, hex: a certificate that is issued anew is the same root."""
    key = x509.load_der_x509_certificate(root).public_key()
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _development() -> bytes:
    """DER."""
    return development_root().public_bytes(Encoding.DER)
