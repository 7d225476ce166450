"""The FIDO Alliance's metadata of security keys: a file with a signature (MDS version 3, 3.1.7)."""

from __future__ import annotations

import binascii
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from tallystick.common import base64url
from tallystick.common.errors import BadInputError

if TYPE_CHECKING:
    from cryptography import x509
    from fido2.mds3 import MetadataBlobPayloadEntry

SIGNER = "mds.fidoalliance.org"  # MDS 3.1.7: whose certificate has to have signed it
# Statuses with which a model is not taken (MDS 3.1.4).
_BAD = frozenset(
    {
        "REVOKED",
        "USER_VERIFICATION_BYPASS",
        "ATTESTATION_KEY_COMPROMISE",
        "USER_KEY_REMOTE_COMPROMISE",
        "USER_KEY_PHYSICAL_COMPROMISE",
    }
)
_HARDWARE = frozenset({"hardware", "secure_element", "tee"})  # keyProtection


@dataclass(frozen=True)
class KeyModel:
    """roots: DER certificates that its attestation must lead to. hardware: its keys are kept in
    hardware. trouble: a status that speaks against it, or ""."""

    roots: tuple[bytes, ...]
    hardware: bool
    trouble: str


@dataclass(frozen=True)
class KeyMetadata:
    """models: by AAGUID, in the form 8-4-4-4-12. next_update: after that day it is not believed,
    because it may not tell of keys that were broken since."""

    next_update: date
    models: dict[str, KeyModel]

    def old(self, now: float) -> bool:
        """now: seconds since 1970."""
        return datetime.fromtimestamp(now, UTC).date() > self.next_update


def load(path: Path, root: Path, now: float) -> KeyMetadata:
    """The metadata in a file, which is signed under `root` (PEM or DER). Raises BadInputError."""
    from fido2.mds3 import parse_blob  # noqa: PLC0415 - not every server needs it

    try:
        anchor = _certificate(root.read_bytes())
        blob = path.read_bytes().strip()
        _check_signer(_chain(blob), now)
        payload = parse_blob(blob, anchor)
        models = {str(one.aaguid): _model(one) for one in payload.entries if one.aaguid}
        return KeyMetadata(payload.next_update, models)
    except Exception as error:
        raise BadInputError(
            f"The key metadata in {path} cannot be believed: {_why(error)}.",
            kept="The server did not start.",
            todo="Fetch the file anew, and give the certificate that its signature leads to in "
            "TALLY_SERVER_KEY_METADATA_ROOT; or leave both variables empty.",
        ) from None


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return str(error.strerror or error)
    return str(error) or "its signature is not valid"


def _certificate(data: bytes) -> bytes:
    """DER."""
    from cryptography import x509  # noqa: PLC0415 - few servers have a list

    if b"-----BEGIN" in data:
        return x509.load_pem_x509_certificate(data).public_bytes(Encoding.DER)
    return x509.load_der_x509_certificate(data).public_bytes(Encoding.DER)


def _is_certificate(data: bytes) -> bool:
    """One that cannot be read vouches for nobody."""
    try:
        _certificate(data)
    except ValueError:
        return False
    return True


def _chain(blob: bytes) -> list[x509.Certificate]:
    from cryptography import x509  # noqa: PLC0415 - as above

    head = blob.split(b".", 1)[0]
    header = json.loads(base64url.decode(head.decode()))
    return [x509.load_der_x509_certificate(binascii.a2b_base64(one)) for one in header["x5c"]]


def _check_signer(chain: list[x509.Certificate], now: float) -> None:
    """The library checks the signatures; this, whose they are, and that it is not over. Raises
    ValueError."""
    from cryptography import x509  # noqa: PLC0415 - as above

    when = datetime.fromtimestamp(now, UTC)
    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if SIGNER not in names.get_values_for_type(x509.DNSName):
        raise ValueError(f"it is not signed by {SIGNER}")
    for certificate in chain:
        if not certificate.not_valid_before_utc <= when <= certificate.not_valid_after_utc:
            raise ValueError("a certificate of its signature is not valid today")
    for certificate in chain[1:]:
        if not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise ValueError("its signature leads over a certificate that may sign no others")


def _model(entry: MetadataBlobPayloadEntry) -> KeyModel:
    statement = entry.metadata_statement
    statuses = [str(getattr(one.status, "value", one.status)) for one in entry.status_reports]
    trouble = next((one for one in statuses if one in _BAD), "")
    if statement is None:
        return KeyModel((), hardware=False, trouble=trouble)
    named = (bytes(one) for one in statement.attestation_root_certificates or ())
    roots = tuple(one for one in named if _is_certificate(one))
    return KeyModel(roots, bool(_HARDWARE & set(statement.key_protection or ())), trouble)
