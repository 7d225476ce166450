"""A security key in software, whose maker and model are what a test wants."""

from __future__ import annotations

import hashlib
import json
import secrets
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from fido2 import cbor
from webauthn.helpers import bytes_to_base64url as b64

OTHER_MODEL = uuid.UUID("00000000-0000-4000-8000-000000000001")
_AAGUID = x509.ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4")
_FROM = datetime(2026, 1, 1, tzinfo=UTC)


def _name(common: str, unit: str = "Authenticator Attestation") -> x509.Name:
    pairs = (
        (NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "Firm"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, unit), (NameOID.COMMON_NAME, common),
    )  # fmt: skip
    return x509.Name([x509.NameAttribute(*pair) for pair in pairs])


@dataclass
class Maker:
    """A root, and what it signs."""

    name: str = "Maker's root"
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def issue(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
        *extensions: x509.ExtensionType,
        ca: bool = False,
        days: int = 4000,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .issuer_name(_name(self.name, "Root"))
            .subject_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_FROM)
            .not_valid_after(_FROM + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    @property
    def root(self) -> x509.Certificate:
        return self.issue(_name(self.name, "Root"), self.key, ca=True)

    @property
    def pem(self) -> str:
        return self.root.public_bytes(Encoding.PEM).decode()

    def key_of(
        self, model: uuid.UUID, certified: uuid.UUID | None = None, days: int = 4000
    ) -> SoftKey:
        """certified: the model that its certificate names, where that is another."""
        batch = ec.generate_private_key(ec.SECP256R1())
        extension = x509.UnrecognizedExtension(_AAGUID, b"\x04\x10" + (certified or model).bytes)
        certificate = self.issue(_name("Batch"), batch, extension, days=days)
        return SoftKey(model, batch, certificate)


@dataclass
class SoftKey:
    """batch: what attests; without, it attests itself. fmt: of the attestation."""

    model: uuid.UUID
    batch: ec.EllipticCurvePrivateKey | None = None
    certificate: x509.Certificate | None = None
    fmt: str = "packed"
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    count: int = 1
    verified: bool = True  # its user, by PIN or finger
    handle: str = ""  # of the user, as it was told at enrolment

    def _data(self, party: str, attested: bytes = b"") -> bytes:
        flags = (0x40 if attested else 0) | (0x05 if self.verified else 0x01)
        head = hashlib.sha256(party.encode()).digest() + bytes((flags,))
        return head + self.count.to_bytes(4, "big") + attested

    def _client_data(self, kind: str, challenge: str, origin: str) -> bytes:
        said = {"type": f"webauthn.{kind}", "challenge": challenge, "origin": origin}
        return json.dumps(said | {"crossOrigin": False}).encode()

    def create(self, options: dict, origin: str) -> str:
        """The answer to navigator.credentials.create, as JSON."""
        self.handle = options["user"]["id"]
        public = self.key.public_key().public_numbers()
        cose = {
            1: 2,
            3: -7,
            -1: 1,
            -2: public.x.to_bytes(32, "big"),
            -3: public.y.to_bytes(32, "big"),
        }
        attested = self.model.bytes + len(self.id).to_bytes(2, "big") + self.id + cbor.encode(cose)
        data = self._data(options["rp"]["id"], attested)
        client_data = self._client_data("create", options["challenge"], origin)
        message = data + hashlib.sha256(client_data).digest()
        statement = {}
        if self.fmt == "packed":
            signer = self.batch or self.key
            statement = {"alg": -7, "sig": signer.sign(message, ec.ECDSA(hashes.SHA256()))}
            if self.certificate is not None:
                statement["x5c"] = [self.certificate.public_bytes(Encoding.DER)]
        attestation = cbor.encode({"fmt": self.fmt, "attStmt": statement, "authData": data})
        return self._answer(
            {"clientDataJSON": b64(client_data), "attestationObject": b64(attestation)}
        )

    def get(self, options: dict, origin: str, *, named: bool = False) -> str:
        """The answer to navigator.credentials.get, as JSON. named: it says who its user is."""
        self.count += 1
        data = self._data(options["rpId"])
        client_data = self._client_data("get", options["challenge"], origin)
        message = data + hashlib.sha256(client_data).digest()
        signature = self.key.sign(message, ec.ECDSA(hashes.SHA256()))
        return self._answer(
            {
                "clientDataJSON": b64(client_data), "authenticatorData": b64(data),
                "signature": b64(signature),
            }
            | ({"userHandle": self.handle} if named else {})
        )  # fmt: skip

    def _answer(self, response: dict) -> str:
        identifier = b64(self.id)
        return json.dumps(
            {"id": identifier, "rawId": identifier, "type": "public-key", "response": response}
        )
