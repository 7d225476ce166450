"""The server's desk calls (protocols.md, section 4). Each is one request and one transaction:
it was done as a whole, or nothing was."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx

from tallystick.common import moments
from tallystick.common.errors import BadInputError
from tallystick.provisioning.desk.operator import ROLES
from tallystick.provisioning.desk.terms import Terms
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
    its loan ended, while it has not come back. skipped: after an act with a code, the presses
    before it that the server had not seen. undo_until: until when whoever did it can undo it."""

    serial: str
    status: str
    user: str | None
    loan_until: int | None
    overdue_user: str | None
    overdue_since: int | None
    digits: int
    skipped: int = 0
    undo_until: int | None = None

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


@dataclass(frozen=True)
class Person:
    login: str
    email: str | None
    disabled: bool


@dataclass(frozen=True)
class HistoryEvent:
    """An act on a card, from the server's audit log. at: seconds since 1970."""

    at: int
    actor: str
    act: str
    card: str
    detail: dict[str, str | int]


@dataclass(frozen=True)
class PersonFile:
    """Somebody, the cards that she has, and what became of cards of hers, newest first."""

    person: Person
    cards: list[DeskCard]
    events: list[HistoryEvent]


@dataclass(frozen=True)
class DeskFigures:
    """What was done. days: oldest first, with how often each act was; loan_s: half of the loans
    that came back were no longer."""

    days: dict[str, dict[str, int]]
    totals: dict[str, int]
    by_actor: dict[str, int]
    late: int
    without_code: int
    found_again: int
    presses: int
    loan_s: int | None


class Desk(ServerLink):
    """Acts with an operator's credential."""

    renewal = (
        "Ask an administrator for a new one; sign in with it at the page, or run "
        "`tally station desk sign-in`."
    )

    def _call(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        try:
            return super()._call(method, path, **how)
        except OutcomeUnknownError as error:
            if method == "GET":
                error.kept = error.kept or "Nothing was changed."
            raise

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

    def terms(self) -> Terms:
        """The firm's, at this moment. Raises UnreachableError, and RegistryRefusedError for an
        answer that is not understood."""
        asked = moments.now()
        body = self._call("GET", "/v1/desk", doing="tell the terms of loans")
        try:
            return Terms(
                firm=str(body["firm"]),
                contact=str(body["contact"]),
                languages=tuple(map(str, body.get("languages") or ("en",))),
                zone=ZoneInfo(str(body["time_zone"])),
                day_ends=datetime.time.fromisoformat(body["day_ends"]),
                day_end=int(body["day_end"]),
                loan_max_s=int(body["loan_max_hours"]) * 3600,
                resync_window=int(body["resync_window"]),
                without_code_per_day=int(body["without_code_per_day"]),
                pool_minimum=int(body["pool_minimum"]),
                counts={str(where): int(count) for where, count in body["counts"].items()},
                ahead_s=int(body["now"]) - asked,
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise OutcomeUnknownError("The server's answer about loans is malformed.") from None
        except ZoneInfoNotFoundError:
            raise BadInputError(
                f"This computer does not know the firm's time zone {body['time_zone']}.",
                todo="Install its time zone data (`pip install tzdata`).",
            ) from None

    def page(self, where: Where | None = None, text: str = "") -> tuple[list[DeskCard], bool]:
        """The first cards there, by serial number, and whether there are more."""
        query = {"q": text} | ({"where": where.value} if where else {})
        path = f"/v1/cards?{httpx.QueryParams(query)}"
        page = self._call("GET", path, doing="list cards")
        return [_card(card) for card in page.get("cards", ())], bool(page.get("more"))

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

    def people(self, text: str, limit: int = 20) -> list[Person]:
        """People whose login or address contains the text."""
        query = httpx.QueryParams({"q": text, "limit": limit})
        page = self._call("GET", f"/v1/people?{query}", doing="list people")
        return [_person(person) for person in page.get("people", ())]

    def person(self, login: str) -> PersonFile:
        """Raises RegistryRefusedError, with the nearest logins, for somebody unknown."""
        query = httpx.QueryParams({"login": login})
        body = self._call("GET", f"/v1/person?{query}", doing=f"show {login}")
        cards = [_card(card) for card in body.get("cards", ())]
        return PersonFile(_person(body), cards, _events(body))

    def history(self, serial: str) -> list[HistoryEvent]:
        """Of a card; newest first."""
        path = f"{_path(serial)}/history"
        return _events(self._call("GET", path, doing=f"show the history of card {serial}"))

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

    def assign(self, serial: str, user: str, codes: Sequence[str]) -> DeskCard:
        """For good."""
        body = {"user": user, "codes": _codes(codes)}
        return self._act(serial, "assignment", body, doing=f"assign card {serial} to {user}")

    def give_back(self, serial: str, codes: Sequence[str], *, reason: str = "") -> DeskCard:
        """reason: why the card gives no code."""
        body = _proof(codes, reason)
        return self._act(serial, "return", body, doing=f"take back card {serial}")

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

    def undo(self, serial: str) -> DeskCard:
        """One's own last act on a card. Raises RegistryRefusedError (`nothing-to-undo`)."""
        return self._act(serial, "undo", {}, doing=f"undo what was done with card {serial}")

    def statistics(self, days: int) -> DeskFigures:
        """Of the last so many days of the firm's calendar. Raises OutcomeUnknownError for an answer
        that is malformed."""
        body = self._call("GET", f"/v1/desk/statistics?days={days}", doing="count what was done")
        try:
            return DeskFigures(
                days={str(day): dict(acts) for day, acts in body["days"].items()},
                totals=dict(body["totals"]),
                by_actor=dict(body["by_actor"]),
                late=int(body["late"]),
                without_code=int(body["without_code"]),
                found_again=int(body["found_again"]),
                presses=int(body["presses"]),
                loan_s=body["loan_s"],
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise OutcomeUnknownError("The server's answer about a desk is malformed.") from None

    def retire(
        self,
        serial: str,
        codes: Sequence[str] | None,
        *,
        reason: str = "",
        wiped: bool = False,
    ) -> DeskCard:
        """reason: why the card gives no code. Neither: only for an administrator. wiped: it is
        wiped now, so that nobody can undo this."""
        body = {} if codes is None and not reason else _proof(codes or (), reason)
        body |= {"wiped": True} if wiped else {}
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


def check_reason(text: str) -> str:
    """Why a card gives no code, as typed. Raises BadInputError."""
    reason = " ".join(text.split())
    if not 3 <= len(reason) <= 120 or not reason.isprintable():
        raise BadInputError(
            "A reason why the card gives no code has 3 to 120 characters.",
            kept="Nothing was changed.",
            todo="Say in a word or two what is wrong with it: flat, or button broken.",
        )
    return reason


def _proof(codes: Sequence[str], reason: str) -> dict[str, Any]:
    return {"reason": check_reason(reason)} if reason else {"codes": _codes(codes)}


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
            int(body.get("skipped") or 0),
            body.get("undo_until"),
        )
    except (KeyError, TypeError, ValueError):
        raise OutcomeUnknownError("The server's answer about a card is malformed.") from None


def _person(body: dict[str, Any]) -> Person:
    try:
        return Person(str(body["login"]), body.get("email"), bool(body["disabled"]))
    except (KeyError, TypeError):
        raise OutcomeUnknownError("The server's answer about a person is malformed.") from None


def _events(body: dict[str, Any]) -> list[HistoryEvent]:
    try:
        return [
            HistoryEvent(
                int(one["at"]), str(one["actor"]), str(one["act"]), str(one["card"]),
                dict(one["detail"]),
            )
            for one in body.get("entries", ())
        ]  # fmt: skip
    except (KeyError, TypeError, ValueError):
        raise OutcomeUnknownError("The server's answer about a history is malformed.") from None
