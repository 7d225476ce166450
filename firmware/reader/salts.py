"""hmac-secret: two secrets of a credential, salted by the platform (CTAP 2.1, 12.5; with a new
credential, CTAP 2.2, hmac-secret-mc).
"""

from hashlib import sha256

from lib import ctap, hmac
from reader import consent, protocol
from reader.refused import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reader.app import Reader
    from reader.credential import Credential
    from typed.kinds import Item


class Salted:
    """What the platform sent: one salt, or two, of 32 bytes each."""

    def __init__(self, reader: "Reader", asked: "Item") -> None:
        """asked: the extension's input. Raises Refused."""
        asked = consent.of_type(asked, dict)
        version = protocol.check_version(asked, 4, 1)
        encrypted = consent.need(asked, 2, bytes)
        shared = reader.agreement.agree(version, consent.need(asked, 1, dict))
        shared.verify(encrypted, consent.need(asked, 3, bytes))
        if shared.size(encrypted) not in (32, 64):
            raise Refused(ctap.INVALID_LENGTH)
        self._shared = shared
        self._salts = shared.decrypt(encrypted)

    def answer(self, reader: "Reader", one: "Credential", with_uv: bool) -> bytes:
        """The extension's output, encrypted. with_uv: the user was verified."""
        key, salts = one.secret(reader.store, with_uv), self._salts
        values = b"".join(
            [hmac.digest(sha256, key, salts[at : at + 32]) for at in range(0, len(salts), 32)]
        )
        return self._shared.encrypt(values, reader.urandom)
