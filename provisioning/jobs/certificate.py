"""What a certificate says of a card, and reading one without asking anybody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tallystick.common import signed
from tallystick.common.errors import BadInputError
from tallystick.common.job_papers import ACCOUNT, CERTIFICATE
from tallystick.provisioning.card.connection import CommandApdu, StatusWord, Transmitter
from tallystick.provisioning.card.issuer import FirmwareVersion

_DATA_IMAGE = 0xDF25
_HEADER_AT, _DIGEST_AT, _DIGEST = 6, 16, 32  # docs/reference/updates.md
_MAGIC = b"TSIM"


def facts(
    card: Transmitter, firmware: FirmwareVersion, key_version: int, codes: int, *, confirmed: bool
) -> dict[str, Any]:
    """Of a card in an open channel. codes: that were compared; confirmed: one of them by a person,
    from the display."""
    tested = f"{codes} codes" + (", display" if confirmed else "")
    return {
        "img": image_digest(card), "fw": f"{firmware} {firmware.board}"[:64], "kv": key_version,
        "st": tested,
    }  # fmt: skip


def image_digest(card: Transmitter) -> str:
    """SHA-256 of the file system of the image that runs, hex; empty for a card that has none that
    is signed."""
    command = CommandApdu(0x80, 0xCA, _DATA_IMAGE >> 8, _DATA_IMAGE & 0xFF)
    response = card.transmit(command)
    header = response.data[_HEADER_AT:]
    if response.sw != StatusWord.OK or header[: len(_MAGIC)] != _MAGIC:
        return ""
    return header[_DIGEST_AT : _DIGEST_AT + _DIGEST].hex()


def read_key(path: Path) -> dict[str, bytes]:
    """The server's public key, as `job server-key` wrote it, by its id. Raises BadInputError."""
    try:
        public = signed.from_jwk(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise BadInputError(f"The key {path} cannot be read: {error}.") from None
    return {signed.key_id(public): public}


def verify(text: str, publics: dict[str, bytes]) -> tuple[str, dict[str, Any]]:
    """(CERTIFICATE or ACCOUNT, what was signed). Raises BadInputError."""
    try:
        return CERTIFICATE, signed.read_compact(CERTIFICATE, text, publics)
    except BadInputError:
        return ACCOUNT, signed.read_compact(ACCOUNT, text, publics)
