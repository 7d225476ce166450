"""Per-reader segments: serial number and the batch's attestation key and certificate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from tallystick.common import console
from tallystick.common.errors import BadInputError
from tallystick.common.reader_identity import (
    AAGUID,
    AAGUID_EXTENSION,
    ReaderIdentity,
    development_root,
)
from tallystick.common.secret import Secret
from tallystick.tools import options
from tallystick.tools.image.cards import running_numbers

_file = click.Path(path_type=Path, dir_okay=False, exists=True)
_UNIT = "Authenticator Attestation"


def read_batch(key_file: Path, certificate_file: Path) -> tuple[Secret, bytes]:
    """(private key, 32 bytes; certificate, DER). Raises BadInputError for what a relying party
    would refuse (WebAuthn 8.2.1)."""
    try:
        key = load_pem_private_key(key_file.read_bytes(), None)
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    except (ValueError, TypeError) as error:
        raise BadInputError(
            f"{key_file} and {certificate_file} are not a private key and a certificate in PEM.",
            kept="Nothing was written.",
            todo="Give an unencrypted P-256 key and the certificate that was issued for it.",
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadInputError(f"{key_file} is not a P-256 key.", todo="Make one for the batch.")
    problem = _problem(key, certificate)
    if problem:
        raise BadInputError(
            f"{certificate_file} is no attestation certificate: {problem}.",
            kept="Nothing was written.",
            todo="Have one issued as WebAuthn 8.2.1 says.",
        )
    number = key.private_numbers().private_value
    return Secret(number.to_bytes(32, "big")), certificate.public_bytes(Encoding.DER)


def _problem(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> str:
    """What is wrong with a certificate for this key; "" when nothing is."""
    if certificate.public_key() != key.public_key():
        return "it is for another key"
    units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    if [unit.value for unit in units] != [_UNIT]:
        return f"its subject's OU is not {_UNIT!r}"
    try:
        extensions = certificate.extensions
        if extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return "it is a CA's"
        model = extensions.get_extension_for_oid(AAGUID_EXTENSION).value
    except x509.ExtensionNotFound as missing:
        return f"the extension {missing.oid.dotted_string} is missing"
    assert isinstance(model, x509.UnrecognizedExtension)
    return "" if model.value == b"\x04\x10" + AAGUID.bytes else "it is for another model"


def read_root(certificate_file: Path) -> x509.Certificate:
    """What vouches for readers of the batch, by itself: the root that has issued the batch's
    certificate, if the file holds it, too; or that certificate. A reader shows no others, so one
    further up could not be reached. Raises BadInputError."""
    own, *above = x509.load_pem_x509_certificates(certificate_file.read_bytes())
    if not above:
        return own
    try:
        own.verify_directly_issued_by(above[0])
    except (ValueError, TypeError, InvalidSignature) as error:
        raise BadInputError(
            f"The first certificate of {certificate_file} was not issued by the second.",
            kept="Nothing was written.",
            todo="Put the batch's certificate first, then what issued it.",
        ) from error
    return above[0] if above[0].issuer == above[0].subject else own


def write_segments(
    serials: list[str], batch: tuple[Secret, bytes] | None, folder: Path
) -> Iterator[Path]:
    """SERIAL.bin for each reader, for its owner only. batch: None for the development one."""
    folder.mkdir(parents=True, exist_ok=True)
    for serial in serials:
        identity = (
            ReaderIdentity.development(serial)
            if batch is None
            else ReaderIdentity(serial, batch[1], batch[0])
        )
        path = folder / f"{serial}.bin"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(identity.encode())
        yield path


@click.command()
@click.option("--first", required=True, help="First of a run of serial numbers: TR00000001.")
@options.run_length
@click.option("--attestation-key", type=_file, help="The batch's P-256 key, PEM.")
@click.option(
    "--attestation-certificate",
    type=_file,
    help="Its certificate, PEM; the root that issued it may follow in the file.",
)
@click.option("--development", is_flag=True, help="Take the published development batch.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for the segments.",
)
def readers(
    first: str,
    count: int,
    attestation_key: Path | None,
    attestation_certificate: Path | None,
    development: bool,
    out: Path,
) -> None:
    """Make the segments of fingerprint readers.

    All readers of a batch share key and certificate, so that none can be told from another. Prints
    the certificate that vouches for them: a firm that takes its own readers only names it as a root
    in its policy.
    """
    given = attestation_key is not None and attestation_certificate is not None
    if given == development:
        raise click.UsageError(
            "Give --attestation-key and --attestation-certificate, or --development."
        )
    batch, root = None, development_root()
    if attestation_key is not None and attestation_certificate is not None:
        batch = read_batch(attestation_key, attestation_certificate)
        root = read_root(attestation_certificate)
    made = list(write_segments(running_numbers(first, count), batch, out))
    said = "1 segment" if len(made) == 1 else f"{len(made):,} segments"
    console.err().print(f"{said} in {out}")
    click.echo(root.public_bytes(Encoding.PEM).decode(), nl=False)
