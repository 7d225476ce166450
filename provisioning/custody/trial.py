"""Whether a copy of the masters is one: tried before they are used, because a card that has keys of
a lost master can never be changed again.

The copy answers a question that only the same masters answer the same, by the derivation that cards
need: a module that gave back keys without the right to derive is found out, too.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from tallystick.common import chance
from tallystick.common.errors import BadInputError, RefusedError
from tallystick.common.identity import DEVELOPMENT_MASTER
from tallystick.provisioning.custody.derivation import check_value
from tallystick.provisioning.custody.interface import Custody

_QUESTION = 10  # characters: what a card's serial number has
_ANSWER = 15  # bytes


def question() -> str:
    """Another one each time."""
    return base64.b32encode(chance.token_bytes(8)).decode()[:_QUESTION]


def answer(custody: Custody, asked: str) -> str:
    """Groups of letters. Raises BadInputError for what is no question."""
    data = asked.strip().upper().encode()
    if len(data) != _QUESTION or not data.isalnum():
        raise BadInputError(f"{asked!r} is no question of `keys try`.", todo="Type it again.")
    digest = hashlib.sha256(b"tallystick trial 1 " + data)
    for row in sorted(custody.describe(), key=lambda row: row.version):
        digest.update(bytes((row.version,)))
        for key in custody.firm_keys(row.version, data):
            digest.update(key.ciphertext)
    text = base64.b32encode(digest.digest()[:_ANSWER]).decode()
    return " ".join(text[at : at + 6] for at in range(0, len(text), 6))


def is_right(custody: Custody, asked: str, answered: str) -> bool:
    mine, theirs = ("".join(text.split()).upper() for text in (answer(custody, asked), answered))
    return hmac.compare_digest(mine.encode(), theirs.encode())


def need_tried(custody: Custody) -> None:
    """Before masters are used. Raises RefusedError when no restore of the current one was tried;
    the published development master has no card to lose."""
    rows = custody.describe()
    development = check_value(DEVELOPMENT_MASTER).hex()
    if any(row.name == "transport" and row.check_value == development for row in rows):
        return
    for row in rows:
        if row.current and not row.tried:
            raise RefusedError(
                f"No restore of the firm master version {row.version:02X} was tried yet.",
                kept="Nothing was written to any card.",
                todo="`tally station keys backup` makes a backup and tries it; "
                "`tally station keys try` tries one that there is, also a module's.",
            )
