"""A job ticket as a file: for how many cards of which kind, until when, and who has signed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tallystick.common import chance, signed
from tallystick.common.errors import BadInputError
from tallystick.common.job_papers import TICKET
from tallystick.provisioning.durable import write_durably

MOST_CARDS = 100_000
_SAID = frozenset(("id", "cards", "digits", "expires", "station", "server"))
_ID = re.compile(r"[0-9a-f]{32}")
_STATION = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SERVER = re.compile(r"[0-9a-f]{16}")
_LATEST = 253_402_214_400  # the last day that a calendar has


@dataclass(frozen=True)
class Ticket:
    """station, server: for these alone; the server by the id of the key that signs its firm's
    certificates. document: as it goes to the server, which alone judges its signatures."""

    id: str
    cards: int
    digits: int
    expires: int
    station: str | None
    server: str | None
    document: dict[str, Any] = field(repr=False)

    @property
    def signatures(self) -> int:
        """How many it carries, right or wrong."""
        return len(self.document["signatures"])


def make(
    cards: int, digits: int, expires: int, station: str | None = None, server: str | None = None
) -> Ticket:
    """One that nobody has signed yet. expires: seconds since 1970."""
    statement = {"id": chance.token_hex(16), "cards": cards, "digits": digits, "expires": expires}
    bound = {"station": station, "server": server}
    statement |= {name: value for name, value in bound.items() if value is not None}
    return parse(signed.begin(TICKET, statement))


def sign(ticket: Ticket, private: bytes) -> Ticket:
    """With one more signature. Raises BadInputError for a key that has signed it already."""
    return parse(signed.add_signature(ticket.document, private))


def parse(document: Any) -> Ticket:
    """Raises BadInputError for what is no ticket, also for one that says more than is shown to
    whoever signs it."""
    try:
        statement = document["statement"]
        if document["typ"] != TICKET or not isinstance(document["signatures"], list):
            raise TypeError
        found = Ticket(
            statement["id"], statement["cards"], statement["digits"], statement["expires"],
            statement.get("station"), statement.get("server"), document,
        )  # fmt: skip
        if not _is_sound(found) or set(statement) - _SAID:
            raise ValueError
        return found
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BadInputError(
            "That is no job ticket.", todo="`tally station job ticket` makes one."
        ) from None


def _is_sound(ticket: Ticket) -> bool:
    numbers = (ticket.cards, ticket.digits, ticket.expires)
    return bool(
        all(type(one) is int for one in numbers)
        and _ID.fullmatch(ticket.id)
        and 1 <= ticket.cards <= MOST_CARDS
        and 6 <= ticket.digits <= 8
        and 0 < ticket.expires < _LATEST
        and (ticket.station is None or _STATION.fullmatch(ticket.station))
        and (ticket.server is None or _SERVER.fullmatch(ticket.server))
    )


def read(path: Path) -> Ticket:
    """Raises BadInputError."""
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise BadInputError(f"There is no ticket {path}.") from None
    except (OSError, ValueError) as error:
        raise BadInputError(f"The ticket {path} cannot be read: {error}.") from None


def write(path: Path, ticket: Ticket) -> None:
    write_durably(path, json.dumps(ticket.document, indent=2).encode() + b"\n")
