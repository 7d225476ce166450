"""The PSKC container (RFC 6030) in which a card's seed goes to the server: AES-128-CBC under the
station's pre-shared key, HMAC-SHA1 over the ciphertext, plain counter. The form that the widest
set of importers takes."""

from __future__ import annotations

import hashlib
import hmac
import io
import secrets

from pskc import PSKC
from pskc.key import EncryptedValue

from tallystick.common.errors import BadInputError
from tallystick.provisioning.custody.interface import Custody, Seed

MANUFACTURER = "Tallystick"
CONTENT_TYPE = "application/pskc+xml"
HOTP_PROFILE = "urn:ietf:params:xml:ns:keyprov:pskc:hotp"
_CIPHER = "http://www.w3.org/2001/04/xmlenc#aes128-cbc"
_MAC = "http://www.w3.org/2000/09/xmldsig#hmac-sha1"
_MAC_KEY_SIZE = 20


def build(custody: Custody, seed: Seed, serial: str, digits: int, moving_factor: int) -> bytes:
    """The container of one card as XML. moving_factor: of the next code that the card gives.

    The seed is encrypted by custody; this module sees ciphertext only.
    """
    mac_key = secrets.token_bytes(_MAC_KEY_SIZE)
    container = PSKC()
    container.encryption.algorithm = _CIPHER
    container.encryption.key_name = custody.server().id
    container.mac.algorithm = _MAC
    container.mac.key = EncryptedValue(custody.encrypt_for_server(mac_key), None, _CIPHER)
    sealed = seed.for_server()
    value_mac = hmac.new(mac_key, sealed, hashlib.sha1).digest()
    key = container.add_key(
        manufacturer=MANUFACTURER,
        serial=serial,
        id=serial,
        algorithm=HOTP_PROFILE,
        algorithm_suite="SHA1",
        response_encoding="DECIMAL",
        response_length=digits,
        counter=moving_factor,
    )
    # pskc's property takes an EncryptedValue, although its annotation does not say so
    key.secret = EncryptedValue(sealed, value_mac, _CIPHER)  # type: ignore[assignment]
    output = io.BytesIO()
    container.write(output)
    return output.getvalue()


def sealed_seed(custody: Custody, container: bytes) -> bytes:
    """The encrypted seed (IV ‖ ciphertext) in a container that `build` made, its MAC checked.

    Raises BadInputError when the container was changed since.
    """
    parsed = PSKC(io.BytesIO(container))
    (key,) = parsed.keys
    value = key.__dict__["_secret"]  # the properties would decrypt, which custody has to do
    mac_key = parsed.mac.__dict__["_key"]
    plain_mac_key = custody.decrypt_from_journal(mac_key.cipher_value)
    value_mac = hmac.new(plain_mac_key, value.cipher_value, hashlib.sha1).digest()
    if not hmac.compare_digest(value_mac, value.mac_value or b""):
        raise BadInputError(
            f"The container of card {key.serial} in the journal was changed.",
            todo="Restore the journal from its backup, or provision the card anew.",
        )
    sealed: bytes = value.cipher_value
    return sealed
