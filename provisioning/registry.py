"""Where finished cards are registered, and the project's server as such a place:
docs/reference/protocols.md, section 4."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable
from urllib.parse import quote

import httpx

from tallystick.common.errors import UnreachableError
from tallystick.provisioning.container import CONTENT_TYPE
from tallystick.provisioning.jobs.ticket import Ticket
from tallystick.provisioning.server_link import (
    OutcomeUnknownError,
    RegistryRefusedError,
    ServerLink,
)

ATTEMPTS = 3
NEW_USER = " --new-user makes a name known."
NO_SUCH_USER = (
    "If the name is misspelt, have an administrator assign the card on the server. If the user is "
    "new, have him added there first, or add --new-user the next time."
)


class DuplicateSerialError(RegistryRefusedError):
    """The serial number is registered with another seed."""


@dataclass(frozen=True)
class Registered:
    """A card as the server knows it. status: the server's word for it."""

    serial: str
    status: str
    digits: int
    moving_factor: int
    user: str | None = None
    registered_by: str | None = None


def no_such_user(where: str, user: str, near: Sequence[str]) -> RegistryRefusedError:
    """near: those that may be meant."""
    return RegistryRefusedError(
        f"{where} knows no user {user!r}.",
        "404",
        kept="Nothing was written to any card.",
        todo=f"Did you mean {' or '.join(near)}?" if near else "Check the name.",
        reason="no-such-user",
    )


class Registry(Protocol):
    """Where finished cards are registered."""

    def check(self) -> None:
        """Raises UnreachableError or RefusedError when cards could not be registered now."""

    def check_user(self, user: str | None, *, new_user: bool = False) -> None:
        """Whether a card can be given to this user here (None: to nobody), or to one that is to be
        made known (new_user): asked before anything is written to a card. Raises BadInputError,
        RegistryRefusedError, UnreachableError."""

    def lookup(self, serial: str) -> Registered | None: ...

    def register(self, serial: str, container: bytes) -> Registered:
        """Idempotent for the same container.

        Raises DuplicateSerialError, RegistryRefusedError or OutcomeUnknownError.
        """

    def withdraw(self, serial: str) -> None:
        """Take back a registration. Raises RegistryRefusedError, OutcomeUnknownError."""

    def assign(self, serial: str, user: str, *, new_user: bool = False) -> Registered:
        """new_user: make the user known there if there is none of this name. Raises
        RegistryRefusedError, OutcomeUnknownError."""

    def close(self) -> None: ...


@runtime_checkable
class Certifier(Protocol):
    """A registry that counts cards on a job's ticket and certifies them."""

    ticket: Ticket | None

    def certify(self, serial: str, facts: dict[str, Any]) -> str:
        """The certificate of a card that was registered on the ticket, compact JWS. Raises
        RegistryRefusedError, OutcomeUnknownError."""


class TallyServer(ServerLink):
    """The project's own server over HTTP. Implements Registry and Certifier; safe for several
    threads. ticket: of the job; set before the first card. heard_of_firm: told what the server
    says of whose cards these are (name, contact, languages, time zone)."""

    heard_of_firm: Callable[[str, str, Sequence[str], str], None] = staticmethod(lambda *_: None)
    ticket: Ticket | None = None
    _presented = False

    def check(self) -> None:
        """Raises RegistryRefusedError when the credential is no station's, UnreachableError."""
        try:
            self._call("GET", "/v1/health", doing="say that it is well")
            who = self._call("GET", "/v1/whoami", doing="accept this station's credential")
        except UnreachableError as error:
            error.kept = error.kept or "Nothing was written to any card."
            raise
        role = who.get("role")
        if role != "station":
            raise RegistryRefusedError(
                f"The server knows this credential as {role!r}, not as a station.", "role"
            )
        if "time_zone" in who:  # an older server does not say
            self.heard_of_firm(
                str(who["firm"]), str(who["contact"]), who["languages"], str(who["time_zone"])
            )
        self._on_ticket()

    def check_user(self, user: str | None, *, new_user: bool = False) -> None:
        """Raises RegistryRefusedError, also for a disabled account and for somebody whom a station
        may give no card; UnreachableError."""
        if user is None:
            return
        query = httpx.QueryParams({"login": user})
        try:
            known = self._call("GET", f"/v1/login?{query}", doing=f"assign a card to {user}")
        except RegistryRefusedError as error:
            if new_user and error.reason == "no-such-user":
                return
            error.kept = "Nothing was written to any card."
            error.todo = f"{error.todo or ''}{NEW_USER}".strip()
            raise
        if known.get("disabled"):
            raise RegistryRefusedError(
                f"The account of {user} is disabled.",
                "409",
                kept="Nothing was written to any card.",
                todo="An administrator may enable it again.",
                reason="user-disabled",
            )
        if known.get("beyond"):  # an older server does not say
            raise RegistryRefusedError(
                f"{user} has rights that a station does not have.",
                "403",
                kept="Nothing was written to any card.",
                todo="Make the card without --user; an administrator assigns it at the desk or in "
                "the portal.",
                reason="needs-more-rights",
            )

    def key_options(self, user: str) -> dict[str, Any]:
        """What a security key for this user is to be asked for. Raises RegistryRefusedError,
        UnreachableError."""
        doing = f"make a security key for {user}"
        return self._call("POST", "/v1/keys/options", doing=doing, json={"user": user})

    def register_key(self, user: str, serial: str, begun: Mapping[str, Any], answer: str) -> str:
        """answer: of the key, JSON. → the login that it is enrolled for"""
        body = {
            "user": user, "serial": serial, "nonce": begun["nonce"], "until": begun["until"],
            "response": json.loads(answer),
        }  # fmt: skip
        made = self._call("POST", "/v1/keys", doing=f"enrol the key {serial}", json=body)
        return str(made.get("user"))

    def lookup(self, serial: str) -> Registered | None:
        try:
            body = self._call("GET", _card(serial), doing=f"look up card {serial}")
        except RegistryRefusedError as error:
            if error.code == "404":
                return None
            raise
        return _registered(body)

    def register(self, serial: str, container: bytes) -> Registered:
        unknown: OutcomeUnknownError | None = None
        for _ in range(ATTEMPTS):
            try:
                return self._register_once(serial, container)
            except OutcomeUnknownError as error:
                unknown = error  # the same container again is harmless: the server knows it
        assert unknown is not None
        raise unknown

    def _register_once(self, serial: str, container: bytes) -> Registered:
        try:
            body = self._call(
                "POST",
                f"/v1/cards{self._on_ticket()}",
                doing=f"register card {serial}",
                content=container,
                content_type=CONTENT_TYPE,
            )
        except RegistryRefusedError as error:
            if error.code == "409":
                raise DuplicateSerialError(error.what, error.code, todo=error.todo) from None
            raise
        cards = [_registered(card) for card in body.get("cards", ())]
        if [card.serial for card in cards] != [serial]:
            raise OutcomeUnknownError(f"The server's answer does not speak of card {serial}.")
        return cards[0]

    def _on_ticket(self) -> str:
        """What an address says of the ticket, which is presented first."""
        if self.ticket is None:
            return ""
        if not self._presented:
            document = self.ticket.document
            self._call("POST", "/v1/tickets", doing="take the ticket", json=document)
            self._presented = True
        return f"?ticket={self.ticket.id}"

    def certify(self, serial: str, facts: dict[str, Any]) -> str:
        assert self.ticket is not None
        path = f"/v1/tickets/{self.ticket.id}/cards/{quote(serial, safe='')}/certificate"
        return _jws(self._call("PUT", path, doing=f"certify card {serial}", json=facts))

    def end_job(self, said: dict[str, list[str]]) -> str:
        """The account of the job, compact JWS; nothing is registered on its ticket any more. said:
        what the station tells of the cards that were not made."""
        assert self.ticket is not None
        path = f"/v1/tickets/{self.ticket.id}/account"
        return _jws(self._call("POST", path, doing="end the job", json=said))

    def certificate_key(self) -> dict[str, Any]:
        """The public key of certificates and accounts, as JSON Web Key."""
        return self._call("GET", "/v1/tickets/key", doing="tell its key")

    def withdraw(self, serial: str) -> None:
        self._call("DELETE", _card(serial), doing=f"withdraw card {serial}")

    def assign(self, serial: str, user: str, *, new_user: bool = False) -> Registered:
        try:
            body = self._call(
                "PUT",
                f"{_card(serial)}/assignment",
                doing=f"assign card {serial} to {user}",
                json={"user": user, "new_user": new_user},
            )
        except RegistryRefusedError as error:
            if error.reason == "no-such-user":
                error.todo = NO_SUCH_USER
            raise
        return _registered(body)


def _jws(body: dict[str, Any]) -> str:
    text = body.get("jws")
    if not isinstance(text, str):
        raise OutcomeUnknownError("The server's answer is not signed.")
    return text


def _card(serial: str) -> str:
    return f"/v1/cards/{quote(serial, safe='')}"


def _registered(body: dict[str, Any]) -> Registered:
    try:
        return Registered(
            str(body["serial"]),
            str(body["status"]),
            int(body["digits"]),
            int(body["moving_factor"]),
            body.get("user"),
            body.get("registered_by"),
        )
    except (KeyError, TypeError, ValueError):
        raise OutcomeUnknownError("The server's answer about a card is malformed.") from None
