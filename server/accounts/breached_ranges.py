"""Breached passwords, asked of a service that learns neither the password nor its hash: it is told
the hash's first five digits, and answers with all that begin so (k-anonymity)."""

from __future__ import annotations

import hashlib
import logging
import re

from tallystick.common.errors import BadInputError
from tallystick.common.in_time import streamed
from tallystick.common.urls import parsed
from tallystick.server.accounts.passwords import SmallBreachList

log = logging.getLogger(__name__)

TIMEOUT_S = 3.0  # for each step
DEADLINE_S = 6.0  # somebody waits for it
MOST_BYTES = 1_000_000
PREFIX = 5
LOCAL = ("localhost", "127.0.0.1", "::1")
_LINE = re.compile(r"([0-9A-F]{35}):([0-9]{1,12})")


class BreachedRanges:
    """A service with the range interface that is in use for this: GET URL + five digits of the
    SHA-1, answered by lines `REST:COUNT`. Made-up lines, which hide how long the answer is, have
    the count 0. A service that does not answer keeps nobody out: then the short list counts."""

    def __init__(self, url: str) -> None:
        """url: ends as the five digits are to follow. Raises BadInputError for one that would send
        them in clear over a network."""
        parts = parsed(url, "TALLY_SERVER_BREACH_LIST", hosts_for=("https",))
        if parts.scheme != "https" and parts.hostname not in LOCAL:
            raise BadInputError(
                f"Breached passwords are not asked for at {parts.scheme}:.",
                kept="Nothing was started.",
                todo="Give an https: address in TALLY_SERVER_BREACH_LIST, or a file.",
            )
        self._url = url
        self._short = SmallBreachList()

    def has(self, password: str) -> bool:
        import httpx  # noqa: PLC0415 - a server's start does not wait for it

        if self._short.has(password):
            return True
        digits = hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper()
        try:
            answer = self._ask(digits[:PREFIX])
        except (OSError, httpx.HTTPError, ValueError) as error:
            log.warning("breached passwords could not be asked for: %s", type(error).__name__)
            return False
        return int(answer.get(digits[PREFIX:], "0")) > 0

    def _ask(self, prefix: str) -> dict[str, str]:
        """→ rest of the hash: how often. Raises OSError, httpx.HTTPError, ValueError."""
        content = bytearray()
        with streamed(
            "GET",
            self._url + prefix,
            deadline_s=DEADLINE_S,
            timeout_s=TIMEOUT_S,
            headers={"add-padding": "true"},
        ) as answer:
            answer.raise_for_status()
            for piece in answer.iter_bytes():
                content += piece
                if len(content) > MOST_BYTES:
                    raise ValueError("the answer is too long")
        lines = content.decode("ascii").split()
        found = [_LINE.fullmatch(line) for line in lines]
        return {one[1]: one[2] for one in found if one is not None}
