"""The key file of a station: the masters and the server credential, sealed under a passphrase
(`common/sealed.py`). Written whole or not at all, mode 0600."""

from __future__ import annotations

import hmac
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tallystick.common.errors import BadInputError
from tallystick.common.identity import DEVELOPMENT_MASTER
from tallystick.common.sealed import seal, unseal
from tallystick.common.secret import Secret
from tallystick.provisioning.durable import write_durably

FORMAT = "tallystick station keys 1"
MASTER_SIZE = 16
MAX_VERSION = 0x7F
JOURNAL_KEY_SIZE = 32  # half to wrap seeds, half to bind them to their card
_HEX_STRING = re.compile(rb'"([0-9a-f]{32,})"')
_NIBBLES = b"0123456789abcdef"


@dataclass(frozen=True)
class ServerSecrets:
    """The credential JSON that `tally server credential add` printed, and where the server is."""

    url: str
    id: str
    role: str
    token: Secret
    pre_shared_key: Secret


@dataclass
class KeyRing:
    """What the key file holds. firm: version (01 to 7F) → master. tried: versions whose restore
    was tried; None: the file is older than that."""

    transport_master: Secret
    firm: dict[int, Secret]
    firm_version: int
    development: bool
    journal_key: Secret
    _server: ServerSecrets | None = field(default=None)
    tried: frozenset[int] | None = None

    @classmethod
    def create(cls, transport_master: bytes) -> KeyRing:
        """A new ring with a random firm master, version 01. Raises BadInputError."""
        if len(transport_master) != MASTER_SIZE:
            raise BadInputError("The factory master must be 16 bytes, that is 32 hex digits.")
        development = transport_master == DEVELOPMENT_MASTER
        firm = {1: Secret.random(MASTER_SIZE)}
        journal = Secret.random(JOURNAL_KEY_SIZE)
        return cls(Secret(transport_master), firm, 1, development, journal, tried=frozenset())

    def rotate(self) -> int:
        """Add a new firm master and make it the current one; older ones stay, for cards that have
        them. Returns its version. Raises BadInputError when versions are used up."""
        version = max(self.firm) + 1
        if version > MAX_VERSION:
            raise BadInputError("The firm's key versions are used up (01 to 7F).")
        if self.tried is None:
            self.tried = frozenset(self.firm)
        self.firm[version] = Secret.random(MASTER_SIZE)
        self.firm_version = version
        return version

    def is_tried(self, version: int) -> bool:
        return self.tried is None or version in self.tried or version not in self.firm

    @property
    def server(self) -> ServerSecrets | None:
        return self._server

    def enroll(self, server: ServerSecrets) -> None:
        self._server = server

    def require_server(self) -> ServerSecrets:
        """The server this station is enrolled with. Raises BadInputError without one."""
        if self._server is None:
            raise BadInputError(
                "This station is not enrolled with a server.",
                todo="Run `tally station enroll --server URL --credential FILE`.",
            )
        return self._server

    def secrets(self) -> list[Secret]:
        """Every secret in it."""
        server = self._server
        others = [] if server is None else [server.token, server.pre_shared_key]
        return [self.transport_master, self.journal_key, *self.firm.values(), *others]

    def wipe(self) -> None:
        for key in self.secrets():
            key.wipe()


def save(path: Path, ring: KeyRing, passphrase: str, *, replace: bool) -> None:
    """Write the key file. Raises BadInputError when it exists and `replace` is false."""
    if path.exists() and not replace:
        raise BadInputError(
            f"The key file {path} exists already.",
            kept="It was not touched.",
            todo="Choose another file with --keys, or move the old one away.",
        )
    sealed = seal(json.dumps(ring_to_json(ring)).encode(), passphrase, {"format": FORMAT})
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_durably(path, sealed)


def load(path: Path, passphrase: str) -> KeyRing:
    """Open the key file. Raises BadInputError for a wrong passphrase, a changed file, or one that
    others may read."""
    plain = unseal(
        path, passphrase, FORMAT, name="key file of a station", make="tally station keys create"
    )
    ring = ring_from_plain(plain)
    for key in ring.secrets():
        key.keep_in_memory()
    return ring


def same_masters(ring: KeyRing, other: KeyRing) -> bool:
    """Whether all that cards depend on is the same in both: neither the server's credential, nor
    what was tried."""

    def masters(one: KeyRing) -> list[bytes]:
        firm = [bytes((version,)) + key.reveal() for version, key in sorted(one.firm.items())]
        return [bytes((one.firm_version,)), one.transport_master.reveal(), *firm]

    return hmac.compare_digest(b"".join(masters(ring)), b"".join(masters(other)))


def ring_to_json(ring: KeyRing) -> dict[str, Any]:
    """In the clear: only to be encrypted."""
    server = ring.server
    return {
        "transport_master": ring.transport_master.reveal().hex(),
        "firm": {str(version): key.reveal().hex() for version, key in ring.firm.items()},
        "firm_version": ring.firm_version,
        "development": ring.development,
        "journal_key": ring.journal_key.reveal().hex(),
        "tried": None if ring.tried is None else sorted(ring.tried),
        "server": server
        and {
            "url": server.url,
            "id": server.id,
            "role": server.role,
            "token": server.token.reveal().decode(),
            "psk": server.pre_shared_key.reveal().hex(),
        },
    }


def ring_from_plain(plain: bytearray) -> KeyRing:
    """What `ring_to_json` gave, in the clear. The buffer is zeroed: keys go from it into theirs,
    and Python's strings, which nobody can zero, never have them."""
    keys = _take_keys(plain)
    value = json.loads(bytes(plain))
    plain[:] = bytes(len(plain))
    firm = {int(version): keys[int(at)] for version, at in value["firm"].items()}
    ring = KeyRing(
        keys[int(value["transport_master"])],
        firm,
        value["firm_version"],
        value["development"],
        keys[int(value["journal_key"])],
    )
    tried = value.get("tried")
    ring.tried = None if tried is None else frozenset(tried)
    server = value["server"]
    if server:
        token = Secret(server["token"].encode())
        psk = keys[int(server["psk"])]
        ring.enroll(ServerSecrets(server["url"], server["id"], server["role"], token, psk))
    return ring


def _take_keys(plain: bytearray) -> list[Secret]:
    """The keys in a JSON text: each string of at least 32 hex digits. In their place the text has
    their number in the list, with as many digits."""
    keys: list[Secret] = []
    for found in list(_HEX_STRING.finditer(plain)):
        start, end = found.span(1)
        key = bytearray((end - start) // 2)
        for at in range(len(key)):
            high, low = plain[start + 2 * at], plain[start + 2 * at + 1]
            key[at] = _NIBBLES.index(high) << 4 | _NIBBLES.index(low)
        plain[start:end] = b"%0*d" % (end - start, len(keys))
        keys.append(Secret(key))
        key[:] = bytes(len(key))
    return keys


def parse_credential(url: str, value: Any) -> ServerSecrets:
    """The server's credential JSON. Raises BadInputError when it is no station's."""
    try:
        if value["role"] != "station":
            raise BadInputError(
                f"The credential has the role {value['role']!r}; a station needs 'station'.",
                todo="Ask for one with `tally server credential add --role station NAME`.",
            )
        key = bytes.fromhex(value["psk"])
        if len(key) != MASTER_SIZE or not value["token"]:
            raise ValueError
        token = Secret(value["token"].encode())
        return ServerSecrets(url, value["id"], value["role"], token, Secret(key))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BadInputError(
            "The credential file is not what `tally server credential add --role station` prints."
        ) from None
