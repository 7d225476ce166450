"""Passwords: argon2id, a length policy, and a list of breached ones."""

from __future__ import annotations

import hashlib
import logging
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Protocol

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, select, update

from tallystick.common.errors import BadInputError
from tallystick.server.accounts.hashing import Hashing, at_once
from tallystick.server.accounts.policy import FirmPolicy
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.store.models import PersonRow
from tallystick.server.wording.worded import Worded, counted, worded

MAX_LENGTH = 256
ESTIMATED_LENGTH = 72
LOGIN_LENGTH = 4  # a shorter one, as "an" or "li", is in most good passwords by chance
GUESSES = 10**8
# RFC 9106's second recommended option: 64 MiB, three passes; one lane, so that one log-in does
# not take every core.
_HASH_LINE = re.compile(rb"[0-9A-F]{40}(:[0-9]+)?\s*")
HASHER = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=1)

log = logging.getLogger(__name__)


class BreachList(Protocol):
    """Tells whether a password is known to attackers."""

    def has(self, password: str) -> bool: ...


class SmallBreachList:
    """The passwords that every guesser tries first. A firm's own list file adds to it."""

    COMMON = frozenset(
        {
            "password",
            "password1",
            "password123",
            "passwordpassword",
            "123456789012",
            "1234567890123",
            "qwertyuiop12",
            "qwerty123456",
            "administrator",
            "letmeinletmein",
            "iloveyou1234",
            "welcome12345",
            "changeme1234",
        }
    )

    def has(self, password: str) -> bool:
        return password.lower() in self.COMMON


class HashListFile:
    """A sorted file of upper-case SHA-1 hashes, one a line, `:count` after it or not: the form in
    which lists of breached passwords are published. Searched by bisection, never loaded. While it
    cannot be read, as when a newer one takes its place, the short list counts alone."""

    def __init__(self, path: Path) -> None:
        """Raises BadInputError for a file that is not there, or is none of hashes."""
        try:
            with path.open("rb") as file:
                first = file.readline(100)
        except OSError as error:
            raise BadInputError(
                f"The list of breached passwords {path} cannot be read: {error.strerror}.",
                todo="Name one that is there in TALLY_SERVER_BREACH_LIST.",
            ) from None
        if not _HASH_LINE.fullmatch(first):
            raise BadInputError(
                f"{path} is no list of breached passwords: its first line is no SHA-1 hash.",
                todo="Give one hash a line, in capital letters and in order, as such lists are "
                "published.",
            )
        self._path = path
        self._short = SmallBreachList()

    def has(self, password: str) -> bool:
        if self._short.has(password):
            return True
        wanted = hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper().encode()
        try:
            return self._finds(wanted)
        except OSError as error:
            log.warning("the list of breached passwords cannot be read: %s", error.strerror)
            return False

    def _finds(self, wanted: bytes) -> bool:
        with self._path.open("rb") as file:
            low, high = 0, file.seek(0, 2)
            while low < high:
                middle = (low + high) // 2
                file.seek(max(0, middle - 1))
                if middle:
                    file.readline()
                line = file.readline()[:40]
                if line and line < wanted:
                    low = middle + 1
                else:
                    high = middle
            file.seek(max(0, low - 1))
            if low:
                file.readline()
            return file.readline()[:40] == wanted


def check_new(
    password: str,
    login: str,
    policy: FirmPolicy,
    breached: BreachList,
    now: float,
    about: Sequence[str] = (),
) -> None:
    """about: what else is known of the person, as the address and the name. now: seconds since
    1970. Raises ApiError (422) for a password that policy, or good sense, refuses."""
    password = normalised(password)
    problem: Worded | None = None
    shortest = policy.password_length(now)
    if len(password) < shortest:
        problem = counted(
            "The new password has fewer than {count} character.",
            "The new password has fewer than {count} characters.",
            shortest,
        )
    elif len(password) > MAX_LENGTH:
        problem = worded("The new password has more than {most} characters.", most=MAX_LENGTH)
    elif len(login) >= LOGIN_LENGTH and login.lower() in password.lower():
        problem = worded("The new password contains the login name.")
    elif (
        len(set(password)) < 5
        or breached.has(password)
        or _is_guessed_early(password, _words(login, policy.display_name, *about))
    ):
        problem = worded("The new password is one that guessers try early.")
    if problem is not None:
        raise ApiError(
            422,
            "bad-password",
            problem,
            kept=NOTHING_CHANGED,
            todo="Choose another one: a few random words are good.",
        )


def hash_new(password: str) -> str:
    """Takes tens of milliseconds on purpose, and its turn: do it outside a transaction.
    Raises ApiError (503) when too many wait."""
    return _hashing().run(lambda: HASHER.hash(normalised(password)))


@lru_cache(maxsize=1)
def _hashing() -> Hashing:
    """Of this process: made when first needed, for threads do not survive a fork."""
    return Hashing(at_once())


def normalised(password: str) -> str:
    """One form for what looks the same, however a keyboard composes it (NIST SP 800-63B: NFKC)."""
    return unicodedata.normalize("NFKC", password)


def _words(*texts: str) -> list[str]:
    """What a guesser tries first who knows somebody: each as a whole, without what is
    between its parts, and these."""
    split = [re.split(r"[\W_]+", text) for text in texts]
    joined = ["".join(parts) for parts in split]
    return [one for one in dict.fromkeys([*texts, *joined, *chain(*split)]) if one]


def _is_guessed_early(password: str, known: list[str]) -> bool:
    """Whether a guesser who knows words, keyboards, dates, and these words has it within
    GUESSES."""
    from zxcvbn import zxcvbn  # noqa: PLC0415  (0.1 s, and only new passwords need it)

    # It looks at so many characters at most; its time grows with their square.
    found = zxcvbn(password[:ESTIMATED_LENGTH], user_inputs=known)
    return bool(found["guesses"] < GUESSES)


def store(connection: Connection, person_id: int, hashed: str, now: float) -> None:
    connection.execute(
        update(PersonRow)
        .where(PersonRow.id == person_id)
        .values(password_hash=hashed, password_at=int(now))
    )


def stored_hash(connection: Connection, person_id: int) -> str | None:
    return connection.scalar(select(PersonRow.password_hash).where(PersonRow.id == person_id))


def matches(stored: str | None, password: str) -> bool:
    """Compare; takes the same time when there is no such person or no password.
    Raises ApiError (503) when too many wait."""
    # As it was typed, too: a hash may be older than the rule that passwords are normalised.
    forms = dict.fromkeys((normalised(password), password))
    verified = _hashing().run(lambda: [_verifies(stored or nobody(), one) for one in forms])
    return any(verified) and stored is not None


def _verifies(hashed: str, password: str) -> bool:
    try:
        return HASHER.verify(hashed, password[:MAX_LENGTH])
    except (VerificationError, InvalidHashError):
        return False


@lru_cache(maxsize=1)
def nobody() -> str:
    """What is compared with when there is nothing to compare with."""
    return HASHER.hash("nobody's password")
