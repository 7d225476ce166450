"""authenticatorGetInfo (CTAP 2.1, 6.4)."""

from lib import ctap
from reader.store import ALWAYS_UV, FORCE_PIN_CHANGE
from reader.version import NUMBER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reader.app import Reader
    from typed.kinds import Map


def answer(reader: "Reader") -> "Map":
    """What the reader is and is able to do now; little when its memory is damaged."""
    store = reader.store
    if store is None:
        return {1: ["FIDO_2_1"], 3: reader.identity.aaguid, 5: ctap.MAX_MESSAGE}
    always = bool(store.flags & ALWAYS_UV)
    return {
        1: ["FIDO_2_0", "FIDO_2_1_PRE", "FIDO_2_1"],
        2: ["credProtect", "hmac-secret", "largeBlobKey"],
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
        17: ctap.UV_TRIES_A_COMMAND,
        18: 2,
        20: store.room(),
    }
