"""A browser that its owner has signed in with before, by two factors: what strangers do elsewhere
does not keep him out of it.

Its cookie opens nothing. Whoever has it and guesses has guesses of his own, and no more of them
than any place has.
"""

from __future__ import annotations

import hmac
import re

from sqlalchemy import Connection

from tallystick.common import chance
from tallystick.server.accounts.people import canonical
from tallystick.server.errors import ApiError
from tallystick.server.store import rates
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.wording.worded import worded

DAYS = 180
DAY_S = 86400
TOKEN = re.compile(r"([0-9a-f]{32})\.([0-9]{1,12})\.([0-9a-f]{64})")


def token_for(ring: ServerKeyRing, firm_id: int, login: str, now: float) -> str:
    """For the cookie of a browser with which somebody has just signed in."""
    name = chance.token_hex(16)
    return f"{name}.{int(now)}.{_seal(ring, firm_id, login, name, int(now))}"


def name_of(ring: ServerKeyRing, firm_id: int, login: str, token: str, now: float) -> str:
    """→ the browser's name, if this person has signed in with it in the last DAYS days, else ''"""
    parts = TOKEN.fullmatch(token)
    if parts is None:
        return ""
    name, since, seal = parts.group(1), int(parts.group(2)), parts.group(3)
    genuine = hmac.compare_digest(seal, _seal(ring, firm_id, login, name, since))
    return name if genuine and since <= now < since + DAYS * DAY_S else ""


def may_guess(connection: Connection, name: str, limit: int, now: float) -> bool:
    """Count a proof that a known browser shows of a factor which strangers have locked."""
    try:
        rates.take(
            connection,
            f"known-guess|{name}",
            limit=limit,
            window_s=DAY_S,
            now=now,
            what=worded("wrong codes from a known browser"),
        )
    except ApiError:
        return False
    return True


def _seal(ring: ServerKeyRing, firm_id: int, login: str, name: str, since: int) -> str:
    return ring.tag("known-browser", f"{firm_id}|{canonical(login)}|{name}|{since}".encode()).hex()
