"""The per-reader segment: layout, certificate, and nothing secret in a repr."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tallystick.common.errors import BadInputError
from tallystick.common.reader_identity import AAGUID, ReaderIdentity, development_root, issue
from tallystick.tools.image.readers import read_batch, readers


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


def _batch_files(folder: Path) -> tuple[Path, Path]:
    root, batch = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    certificate = issue(root, "A firm's root", batch, AAGUID, "2026-11")
    key_file, certificate_file = folder / "key.pem", folder / "certificate.pem"
    pem = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key_file.write_bytes(batch.private_bytes(*pem))
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    return key_file, certificate_file


def test_segments_of_a_batch(tmp_path: Path) -> None:
    key, certificate = _batch_files(tmp_path)
    command = [
        "--first", "TR00000041", "--count", "2", "--attestation-key", str(key),
        "--attestation-certificate", str(certificate), "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    result = CliRunner().invoke(readers, command)
    assert result.exit_code == 0, result.output
    segment = tmp_path / "out" / "TR00000042.bin"
    assert segment.read_bytes()[5:15] == b"TR00000042"
    assert segment.stat().st_mode & 0o077 == 0


def test_a_certificate_of_another_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    key, _ = _batch_files(tmp_path / "other")
    _, certificate = _batch_files(tmp_path)
    with pytest.raises(BadInputError, match="another key"):
        read_batch(key, certificate)
    with pytest.raises(BadInputError, match="PEM"):
        read_batch(certificate, key)
