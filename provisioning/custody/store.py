"""Where a station's keys are kept: an encrypted file, or a token named by a PKCS #11 URI."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from tallystick.common.errors import BadInputError
from tallystick.common.process import shut_in
from tallystick.provisioning.custody import keyfile
from tallystick.provisioning.custody.interface import Custody
from tallystick.provisioning.custody.keyfile import KeyRing, ServerSecrets
from tallystick.provisioning.custody.software import SoftwareCustody

PKCS11_SCHEME = "pkcs11:"


class KeyStore(Protocol):
    """A place for keys. secret: the passphrase of a file, the PIN of a token.

    Everything raises BadInputError for a wrong secret and for a place that is not usable.
    """

    name: str

    def create(self, secret: str, factory_master: bytes) -> None:
        """Take the factory master and generate the rest; never replaces keys."""

    def open(self, secret: str) -> Custody: ...

    def enroll(self, secret: str, server: ServerSecrets) -> None:
        """Put in the server's credential, in place of an earlier one."""

    def rotate(self, secret: str) -> int:
        """Add a new firm master and make it current; returns its version."""

    def note_tried(self, secret: str) -> None:
        """A restore of all masters was tried, and gave these."""


class FileStore:
    """An encrypted key file. Implements KeyStore."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)

    def create(self, secret: str, factory_master: bytes) -> None:
        keyfile.save(self.path, KeyRing.create(factory_master), secret, replace=False)

    def open(self, secret: str) -> Custody:
        return SoftwareCustody(keyfile.load(self.path, secret))

    def enroll(self, secret: str, server: ServerSecrets) -> None:
        ring = keyfile.load(self.path, secret)
        ring.enroll(server)
        keyfile.save(self.path, ring, secret, replace=True)

    def rotate(self, secret: str) -> int:
        ring = keyfile.load(self.path, secret)
        version = ring.rotate()
        keyfile.save(self.path, ring, secret, replace=True)
        return version

    def note_tried(self, secret: str) -> None:
        ring = keyfile.load(self.path, secret)
        ring.tried = frozenset(ring.firm)
        keyfile.save(self.path, ring, secret, replace=True)


class TokenStore:
    """A token of a PKCS #11 module. Implements KeyStore."""

    def __init__(self, uri: str) -> None:
        try:
            from tallystick.provisioning.custody import pkcs11, pkcs11_token  # noqa: PLC0415
        except ImportError:
            raise BadInputError(
                "Keys in a PKCS #11 module need the package python-pkcs11.",
                todo="Install it with `pip install 'tallystick[hsm]'`.",
            ) from None
        self._pkcs11, self._token = pkcs11, pkcs11_token
        self._uri = pkcs11_token.Uri.parse(uri)
        self.name = uri

    def create(self, secret: str, factory_master: bytes) -> None:
        self._token.create_keys(self._uri, secret, factory_master)

    def open(self, secret: str) -> Custody:
        return self._pkcs11.Pkcs11Custody(self._uri, secret)

    def enroll(self, secret: str, server: ServerSecrets) -> None:
        self._token.enroll(self._uri, secret, server)

    def rotate(self, secret: str) -> int:
        return self._token.rotate(self._uri, secret)

    def note_tried(self, secret: str) -> None:
        self._token.note_tried(self._uri, secret)

    def clear(self, secret: str) -> None:
        """Destroy all of a station's objects: after a rehearsal."""
        self._token.clear(self._uri, secret)

    def need_empty(self, secret: str) -> None:
        """Raises BadInputError for a token that anything of a station is on."""
        self._token.need_empty(self._uri, secret)


def key_store(where: str) -> KeyStore:
    """The store that a path or a PKCS #11 URI names. From here on the process is shut in."""
    shut_in()
    if where.startswith(PKCS11_SCHEME):
        return TokenStore(where)
    return FileStore(Path(where))
