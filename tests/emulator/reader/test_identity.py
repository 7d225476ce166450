"""The per-reader segment: layout, certificate, and nothing secret in a repr."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509

from tallystick.common.errors import BadInputError
from tallystick.common.reader_identity import AAGUID, ReaderIdentity, development_root


def test_the_same_bytes_every_time() -> None:
    one, two = (ReaderIdentity.development("TR00000001") for _ in range(2))
    assert one.encode() == two.encode()
    assert one.encode()[:5] == b"TSRD\x01"


def test_the_certificate_is_what_packed_attestation_wants() -> None:
    certificate = x509.load_der_x509_certificate(
        ReaderIdentity.development("TR00000001").certificate
    )
    subject = certificate.subject.rfc4514_string()
    assert "OU=Authenticator Attestation" in subject and "C=" in subject and "O=" in subject
    assert certificate.version is x509.Version.v3
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.value.ca is False
    oid = x509.ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4")
    extension = certificate.extensions.get_extension_for_oid(oid)
    assert extension.value.value == b"\x04\x10" + AAGUID.bytes
    assert not extension.critical
    certificate.verify_directly_issued_by(development_root())


def test_no_key_in_a_repr_and_no_certificate_too_long() -> None:
    identity = ReaderIdentity.development("TR00000001")
    assert identity.key.reveal().hex() not in repr(identity)
    with pytest.raises(BadInputError):
        replace(identity, certificate=bytes(2000)).encode()
    with pytest.raises(BadInputError):
        ReaderIdentity.development("short")
