"""The per-reader segment: layout, certificate, and nothing secret in a repr."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fido2.ctap import CtapError
from fido2.ctap2.base import Ctap2
from fido2.hid import CtapHidDevice

from tallystick.common.errors import BadInputError
from tallystick.common.reader_identity import (
    AAGUID,
    ReaderIdentity,
    development_root,
    issue,
    segment_size,
)
from tallystick.common.secret import Secret
from tallystick.emulator.chips.chip import OneTimeRows
from tallystick.emulator.devices.image import Image
from tallystick.emulator.devices.reader import Reader
from tallystick.server.accounts.policy import FirmPolicy
from tallystick.tools.campaign.reader.host import DESCRIPTOR, Connection
from tallystick.tools.campaign.reader.sensor import ScriptedSensor
from tallystick.tools.image.readers import read_batch, readers
from tallystick.tools.lock import one_time


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


def _above(
    root: ec.EllipticCurvePrivateKey, name: x509.Name, issuer: x509.Name
) -> x509.Certificate:
    builder = x509.CertificateBuilder().issuer_name(issuer).subject_name(name)
    builder = builder.public_key(root.public_key()).serial_number(1)
    builder = builder.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
    builder = builder.not_valid_after(datetime(2099, 1, 1, tzinfo=UTC))
    return builder.sign(root, hashes.SHA256())


def _batch_files(folder: Path, above: str = "") -> tuple[Path, Path]:
    """above: what follows in the certificate's file: its `root`, `another`, or one `between`."""
    root, batch, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    certificate = issue(root, "A firm's root", batch, AAGUID, "2026-11")
    key_file, certificate_file = folder / "key.pem", folder / "certificate.pem"
    pem = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key_file.write_bytes(batch.private_bytes(*pem))
    issuer = certificate.subject if above == "between" else certificate.issuer
    upper = _above(other if above == "another" else root, certificate.issuer, issuer)
    chain = [certificate, upper] if above else [certificate]
    certificate_file.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in chain))
    return key_file, certificate_file


def _made(folder: Path, certificate: Path, key: Path) -> Result:
    command = ["--first", "TR00000041", "--attestation-key", str(key), "--out", str(folder / "out")]
    return CliRunner().invoke(readers, [*command, "--attestation-certificate", str(certificate)])


@pytest.mark.parametrize(("above", "told"), [("", 0), ("root", 1), ("between", 0)])
def test_what_vouches_for_a_batch_is_printed_for_a_policy(
    tmp_path: Path, above: str, told: int
) -> None:
    """A reader shows its batch's certificate alone: what is printed has to vouch for that."""
    key, certificate = _batch_files(tmp_path, above)
    result = _made(tmp_path, certificate, key)
    assert result.exit_code == 0
    one = x509.load_pem_x509_certificates(certificate.read_bytes())[told]
    assert result.stdout == one.public_bytes(Encoding.PEM).decode()
    assert FirmPolicy(key_trust={"roots"}, key_roots=result.stdout).key_roots == result.stdout


def test_the_development_root_is_printed_too(tmp_path: Path) -> None:
    words = ["--first", "TR00000041", "--development", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(readers, words)
    assert result.stdout == development_root().public_bytes(Encoding.PEM).decode()


def test_a_root_that_did_not_issue_the_certificate_is_refused(tmp_path: Path) -> None:
    key, certificate = _batch_files(tmp_path, "another")
    result = _made(tmp_path, certificate, key)
    assert "was not issued by the second" in str(result.exception)
    assert not (tmp_path / "out").exists()


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


def test_a_key_that_is_burnt_is_not_in_the_segment() -> None:
    plain = ReaderIdentity.development("TR00000001")
    burnt = replace(plain, burnt=True)
    segment = burnt.encode()
    assert segment[:5] == b"TSRD\x02" and plain.key.reveal() not in segment
    found = ReaderIdentity.decode(segment)
    assert found.burnt and found.encode() == segment
    assert segment_size(segment + b"\xff" * 100) == len(segment)
    for at in (4, 20, 40, len(segment) - 1):
        with pytest.raises(BadInputError):
            ReaderIdentity.decode(segment[:at] + bytes((segment[at] ^ 4,)) + segment[at + 1 :])


def attest(reader: Reader) -> tuple[bytes, dict[str, Any]]:
    """Registers: (what was signed, the statement)."""
    ctap = Ctap2(CtapHidDevice(DESCRIPTOR, Connection(reader)))
    sensor = reader.sensor
    assert isinstance(sensor, ScriptedSensor)
    made = ctap.make_credential(
        bytes(32), {"id": "example.com", "name": "E"}, {"id": b"u", "name": "n"},
        [{"type": "public-key", "alg": -7}],
        on_keepalive=lambda status: sensor.press("thumb") if status == 2 else None,
    )  # fmt: skip
    return bytes(made.auth_data) + bytes(32), dict(made.att_stmt)


def test_a_reader_attests_with_the_key_in_its_rows(reader_image: Image) -> None:
    """As `tally flash --lock` leaves it: sixteen rows with ECC, the segment without the key."""
    root, batch = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    certificate = issue(root, "A firm's root", batch, AAGUID, "2026-11")
    key = batch.private_numbers().private_value.to_bytes(32, "big")
    identity = ReaderIdentity(
        "TR00000001", certificate.public_bytes(Encoding.DER), Secret(bytes(32)), burnt=True
    )
    [(place, setting)] = one_time.attestation(key).rows.items()
    assert place == "52:0" and setting == {"ecc": True, "value": list(key)}
    with Reader(reader_image, identity=identity.encode(), sensor_for=ScriptedSensor) as reader:
        registers = reader.mcu.registers
        assert isinstance(registers, OneTimeRows)
        for row in range(16):
            registers.rows[52 * 64 + row] = int.from_bytes(key[2 * row : 2 * row + 2], "little")
        reader.power_on()
        message, statement = attest(reader)
        assert key not in bytes(reader.flash.memory)
    assert statement["x5c"] == [identity.certificate]
    public = certificate.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(statement["sig"], message, ec.ECDSA(hashes.SHA256()))


def test_rows_that_were_never_burnt_attest_nothing(reader_image: Image) -> None:
    identity = replace(ReaderIdentity.development("TR00000001"), burnt=True)
    with Reader(reader_image, identity=identity.encode(), sensor_for=ScriptedSensor) as reader:
        reader.power_on()
        with pytest.raises(CtapError):
            attest(reader)
        assert Ctap2(CtapHidDevice(DESCRIPTOR, Connection(reader))).info.versions


WHOLE = ReaderIdentity.development("TR00000001").encode()


@pytest.mark.parametrize(
    "segment",
    [
        b"",
        bytes(len(WHOLE)),
        b"TSRD\x03" + WHOLE[5:],
        WHOLE[:20] + bytes([WHOLE[20] ^ 1]) + WHOLE[21:],
        WHOLE[:40] + bytes([WHOLE[40] ^ 0x80]) + WHOLE[41:],
        WHOLE[:64] + b"\xff" + WHOLE[65:],
        WHOLE[:-1] + bytes([WHOLE[-1] ^ 1]),
    ],
    ids=["blank", "zeros", "format", "model", "key", "length", "check"],
)
def test_a_reader_without_a_whole_segment_attests_nothing(
    segment: bytes, reader_image: Image
) -> None:
    """It is of no model, says so beforehand, and works as a key otherwise (WebAuthn 8.7)."""
    with Reader(reader_image, identity=segment, sensor_for=ScriptedSensor) as reader:
        reader.power_on()
        ctap = Ctap2(CtapHidDevice(DESCRIPTOR, Connection(reader)))
        assert ctap.info.aaguid == bytes(16)
        assert ctap.send_cbor(4)[0x16] == ["none"]
        message, statement = attest(reader)
    assert statement == {}
    assert AAGUID.bytes not in message
