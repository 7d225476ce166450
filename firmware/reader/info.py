"""authenticatorGetInfo (CTAP 2.1, 6.4, and members that 2.2 and 2.3 have added)."""

from hashlib import sha256

from cryptolib import aes
from micropython import const

from lib import ctap, hmac
from reader.store import ALWAYS_UV, FORCE_PIN_CHANGE
from reader.version import NUMBER

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from reader.app import Reader
    from typed.kinds import Map

_CBC = const(2)


def answer(reader: "Reader") -> "Map":
    """What the reader is and is able to do now; little when its memory is damaged."""
    store = reader.store
    if store is None:
        return {1: ["FIDO_2_1"], 3: reader.identity.aaguid, 5: ctap.MAX_MESSAGE}
    always = bool(store.flags & ALWAYS_UV)
    return {
        1: ["FIDO_2_0", "FIDO_2_1_PRE", "FIDO_2_1"],
        2: [
            "credBlob",
            "credProtect",
            "hmac-secret",
            "hmac-secret-mc",
            "largeBlobKey",
            "minPinLength",
            "thirdPartyPayment",
        ],
        3: reader.identity.aaguid,
        4: {
            "rk": True,
            "up": True,
            "uv": reader.user.can_verify(),
            "plat": False,
            "alwaysUv": always,
            "bioEnroll": bool(store.fingers()),
            "credMgmt": True,
            "authnrCfg": True,
            "clientPin": bool(store.pin_length),
            "largeBlobs": True,
            "uvBioEnroll": True,
            "perCredMgmtRO": True,
            "pinUvAuthToken": True,
            "setMinPINLength": True,
            "makeCredUvNotRqd": not always,
            "credentialMgmtPreview": True,
            "userVerificationMgmtPreview": bool(store.fingers()),
        },
        5: ctap.MAX_MESSAGE,
        6: [2, 1],
        7: 16,
        8: 64,
        9: ["usb"],
        10: [
            {"alg": ctap.ES256, "type": "public-key"},
            {"alg": ctap.EDDSA, "type": "public-key"},
        ],
        11: ctap.MAX_BLOBS,
        12: bool(store.flags & FORCE_PIN_CHANGE),
        13: store.min_pin,
        14: NUMBER,
        15: ctap.MAX_CRED_BLOB,
        16: ctap.MAX_PARTIES,
        17: 1,  # the reader tries several times by itself: UV_TRIES_A_COMMAND
        18: 2,
        20: store.room(),
        22: ["packed"] if reader.identity.present else ["none"],
        23: store.verified,
        24: False,  # a reset takes a touch, not a long one
        25: _for_holder(reader, b"encIdentifier", store.device_identifier()),
        26: ["usb"],
        29: 63,
        30: _for_holder(reader, b"encCredStoreState", store.credentials_state()),
        31: [2, 3],
    }


def _for_holder(reader: "Reader", name: bytes, value: bytes) -> bytes:
    """Initial vector (16) ‖ 16 bytes, encrypted for who holds the persistent token (CTAP 2.2,
    6.4).
    """
    secret = hmac.digest(sha256, bytes(32), reader.store.persistent_token())
    key = hmac.digest(sha256, secret, name + b"\x01")[:16]
    iv = reader.vector()
    return iv + aes(key, _CBC, iv).encrypt(value)
