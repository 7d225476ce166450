"""`lib/p256.py` of the firmware, worked out by the host where its time is spared
(`Mcu.spare_host`): a point multiplication is most of what a command of a reader takes.

To be told apart from the firmware's own by nothing but the time of the host's clock: what is drawn,
every pause, and what is charged come in the same order.
"""

import sys

import guard
import link
from micropython import const

_COLUMNS = const(41)  # pauses of a multiple of the base point
_WINDOWS = const(72)  # of another point
_KEY = const(0)
_SIGN = const(1)
_SHARED = const(2)


def _host(kind, data):
    link.aside(link.OP_P256, kind, 0, data)
    return link.aside_data


def _pauses(pause, count):
    if pause is not None:
        for _ in range(count):
            pause()


def _nonce(module, private, digest, entropy):
    """As the firmware makes it, with its own HMAC: that is charged for. Names with an underscore
    are not found in an image."""
    sha256 = guard.ours["hashlib"].sha256
    hmac = sys.modules["lib.hmac"].digest
    seed = hmac(sha256, private.to_bytes(32, "big"), digest + entropy)
    return module.scalar(hmac(sha256, seed, b"\x01") + hmac(sha256, seed, b"\x02")[:16])


def stand_in(function, module):
    """For that function of the firmware's module."""

    def public_key(private, urandom, pause=None):
        urandom(36)
        _pauses(pause, _COLUMNS)
        pow(0, 1, 2)  # is charged for
        return _host(_KEY, private.to_bytes(32, "big"))

    def sign(private, digest, urandom, pause=None):
        k = _nonce(module, private, digest, urandom(32))
        urandom(36)
        _pauses(pause, _COLUMNS)
        pow(0, 1, 2)
        urandom(48)
        pow(0, 1, 2)
        both = _host(_SIGN, k.to_bytes(32, "big") + private.to_bytes(32, "big") + digest)
        return int.from_bytes(both[:32], "big"), int.from_bytes(both[32:], "big")

    def shared_x(private, peer, urandom, pause=None):
        if len(peer) != 64:
            raise module.InvalidError
        x = _host(_SHARED, private.to_bytes(32, "big") + peer)
        if not x:
            raise module.InvalidError
        urandom(36)
        _pauses(pause, _WINDOWS)
        pow(0, 1, 2)
        return x

    return {"public_key": public_key, "sign": sign, "shared_x": shared_x}[function]
