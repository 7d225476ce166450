"""The server's desk calls (protocols.md, section 4). Each is one request and one transaction:
it was done as a whole, or nothing was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote

import httpx

from tallystick.common.errors import BadInputError
from tallystick.provisioning.desk.operator import ROLES
from tallystick.provisioning.server_link import (
    NoConnectionError,
    OutcomeUnknownError,
    RegistryRefusedError,
    ServerLink,
)

CODE_LENGTHS = range(6, 9)


class Where(StrEnum):
    """Where cards are. pool: in service and with nobody."""

    POOL = "pool"
    LENT = "lent"
    OVERDUE = "overdue"
    ASSIGNED = "assigned"
    LOST = "lost"
    RETIRED = "retired"


@dataclass(frozen=True)
class DeskCard:
    """A card as the server knows it. Times in seconds since 1970. overdue_user: who had it when
    its loan ended, while it has not come back."""

    serial: str
    status: str
    user: str | None
    loan_until: int | None
    overdue_user: str | None
    overdue_since: int | None
    digits: int

    @property
    def where(self) -> Where:
        if self.status in (Where.LOST, Where.RETIRED):
            return Where(self.status)
        if self.overdue_user is not None:
            return Where.OVERDUE
        if self.user is None:
            return Where.POOL
        return Where.LENT if self.loan_until is not None else Where.ASSIGNED


@dataclass(frozen=True)
class Operator:
    """Who acts, as the server knows the credential."""

    id: str
    name: str
    role: str


class Desk(ServerLink):
    """Acts with an operator's credential."""

    def operator(self) -> Operator:
        """Raises RegistryRefusedError for a credential that may not act here."""
        who = self._call("GET", "/v1/whoami", doing="accept this credential")
        role = str(who.get("role"))
        if role not in ROLES:
            raise RegistryRefusedError(
                f"The server knows this credential as {role!r}, which may not act at the desk.",
                "role",
                todo="Ask an administrator for one of role desk.",
            )
        return Operator(str(who.get("id")), str(who.get("name")), role)

    def cards(self, where: Where | None = None, text: str = "") -> list[DeskCard]:
        """Every card there, by serial number. text: part of serial number or login."""
        found: list[DeskCard] = []
        query = {"q": text} | ({"where": where.value} if where else {})
        while True:
            after = {"after": found[-1].serial} if found else {}
            path = f"/v1/cards?{httpx.QueryParams(query | after)}"
            page = self._call("GET", path, doing="list cards")
            found += [_card(card) for card in page.get("cards", ())]
            if not page.get("more"):
                return found

    def people(self, text: str, limit: int = 20) -> list[str]:
        """Logins that contain the text."""
        query = httpx.QueryParams({"q": text, "limit": limit})
        page = self._call("GET", f"/v1/people?{query}", doing="list people")
        return [str(person["login"]) for person in page.get("people", ())]

    def card(self, serial: str) -> DeskCard | None:
        """None for a card that the server does not know."""
        try:
            return _card(self._call("GET", _path(serial), doing=f"show card {serial}"))
        except RegistryRefusedError as error:
            if error.code == "404":
                return None
            raise

    def lend(
        self, serial: str, user: str, codes: Sequence[str], until: int | None = None
    ) -> DeskCard:
        """until: None for the end of the firm's working day."""
        body: dict[str, Any] = {"user": user, "codes": _codes(codes)}
        if until is not None:
            body["until"] = until
        return self._act(serial, "loan", body, doing=f"lend card {serial} to {user}")

    def give_back(self, serial: str, codes: Sequence[str]) -> DeskCard:
        return self._act(
            serial, "return", {"codes": _codes(codes)}, doing=f"take back card {serial}"
        )

    def replace(
        self, lost: str, by: str, codes: Sequence[str], until: int | None = None
    ) -> DeskCard:
        """codes: of the new card. until: None for the terms of the lost one."""
        body: dict[str, Any] = {"by": by, "codes": _codes(codes)}
        if until is not None:
            body["until"] = until
        return self._act(lost, "replacement", body, doing=f"replace card {lost} by {by}")

    def resynchronise(self, serial: str, codes: Sequence[str]) -> DeskCard:
        body = {"codes": _codes(codes)}
        return self._act(serial, "resynchronisation", body, doing=f"resynchronise card {serial}")

    def retire(self, serial: str, codes: Sequence[str] | None) -> DeskCard:
        """codes: None only for an administrator."""
        body = {} if codes is None else {"codes": _codes(codes)}
        return self._act(serial, "retirement", body, doing=f"retire card {serial}")

    def set_lost(self, serial: str, *, lost: bool) -> DeskCard:
        """Report a card lost, or found again."""
        word = "lost" if lost else "found"
        return self._changed(
            "PUT",
            f"{_path(serial)}/status",
            {"status": "lost" if lost else "registered"},
            doing=f"report card {serial} {word}",
        )

    def _act(self, serial: str, act: str, body: dict[str, Any], *, doing: str) -> DeskCard:
        return self._changed("POST", f"{_path(serial)}/{act}", body, doing=doing)

    def _changed(self, method: str, path: str, body: dict[str, Any], *, doing: str) -> DeskCard:
        try:
            return _card(self._call(method, path, doing=doing, json=body))
        except NoConnectionError as error:
            error.kept = "Nothing was changed."
            raise
        except OutcomeUnknownError as error:
            error.kept = "Whether the server did it is not known; it did all of it or nothing."
            error.todo = "Look the card up (`tally station desk cards`) before you repeat it."
            raise


def check_code(text: str) -> str:
    """A code as typed, without spaces. Raises BadInputError."""
    code = "".join(text.split())
    if not (code.isascii() and code.isdigit() and len(code) in CODE_LENGTHS):
        raise BadInputError(
            "A card's code has 6 to 8 digits.",
            kept="Nothing was changed.",
            todo="Press the card's button and type the digits on its display.",
        )
    return code


def _codes(codes: Sequence[str]) -> list[str]:
    return [check_code(code) for code in codes]


def _path(serial: str) -> str:
    return f"/v1/cards/{quote(serial, safe='')}"


def _card(body: dict[str, Any]) -> DeskCard:
    try:
        return DeskCard(
            str(body["serial"]),
            str(body["status"]),
            body["user"],
            body["loan_until"],
            body["overdue_user"],
            body["overdue_since"],
            int(body["digits"]),
        )
    except (KeyError, TypeError, ValueError):
        raise OutcomeUnknownError("The server's answer about a card is malformed.") from None
