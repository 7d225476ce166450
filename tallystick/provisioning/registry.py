"""The server, as the station sees it: docs/protocols.md, section 4.

Every failure is either a refusal (the server decided, nothing was stored) or an unknown outcome
(no answer came), because the card is treated differently in the two cases.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import httpx

from tallystick.common.errors import BadInputError, RefusedError, UnreachableError
from tallystick.provisioning.container import CONTENT_TYPE
from tallystick.provisioning.custody.interface import ServerCredential

TIMEOUT_S = 5.0
ATTEMPTS = 3


class RegistryRefusedError(RefusedError):
    """The server decided against a request; it stored nothing. code: of its error object."""

    def __init__(self, what: str, code: str, *, kept: str = "", todo: str = "") -> None:
        super().__init__(what, kept=kept, todo=todo)
        self.code = code


class DuplicateSerialError(RegistryRefusedError):
    """The serial number is registered with another seed."""


class OutcomeUnknownError(UnreachableError):
    """No answer came: the server may or may not have done it."""


@dataclass(frozen=True)
class Registered:
    """A card as the server knows it. status: the server's word for it."""

    serial: str
    status: str
    digits: int
    moving_factor: int
    user: str | None = None
    registered_by: str | None = None


class Registry(Protocol):
    """Where finished cards are registered."""

    def check(self) -> None:
        """Raises UnreachableError or RefusedError when cards could not be registered now."""

    def lookup(self, serial: str) -> Registered | None: ...

    def register(self, serial: str, container: bytes) -> Registered:
        """Idempotent for the same container.

        Raises DuplicateSerialError, RegistryRefusedError or OutcomeUnknownError.
        """

    def withdraw(self, serial: str) -> None:
        """Take back a registration. Raises RegistryRefusedError, OutcomeUnknownError."""

    def assign(self, serial: str, user: str) -> Registered: ...

    def close(self) -> None: ...


class TallyServer:
    """The project's own server over HTTP. Implements Registry; safe for several threads."""

    def __init__(self, credential: ServerCredential, *, timeout_s: float = TIMEOUT_S) -> None:
        self.url = checked_url(credential.url)
        self._client = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {credential.token.reveal().decode()}"},
            timeout=timeout_s,
            follow_redirects=False,
        )

    def check(self) -> None:
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
                "/v1/cards",
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

    def withdraw(self, serial: str) -> None:
        self._call("DELETE", _card(serial), doing=f"withdraw card {serial}")

    def assign(self, serial: str, user: str) -> Registered:
        body = self._call(
            "PUT",
            f"{_card(serial)}/assignment",
            doing=f"assign card {serial} to {user}",
            json={"user": user},
        )
        return _registered(body)

    def close(self) -> None:
        self._client.close()

    def _call(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        content: bytes | None = None,
        content_type: str = "application/json",
        json: Any = None,
    ) -> dict[str, Any]:
        headers = {"Content-Type": content_type} if content is not None else None
        try:
            answer = self._client.request(method, path, content=content, json=json, headers=headers)
        except httpx.ConnectError:
            raise OutcomeUnknownError(
                f"No server answers at {self.url}.", todo="Start it, or check the URL."
            ) from None
        except httpx.HTTPError as error:
            raise OutcomeUnknownError(
                f"The server at {self.url} did not answer the request to {doing} "
                f"({type(error).__name__})."
            ) from None
        if answer.status_code >= 500:
            raise OutcomeUnknownError(
                f"The server at {self.url} failed to {doing} (status {answer.status_code}).",
                todo="Look into the server's log.",
            )
        body = _object(answer)
        if answer.is_success:
            return body
        raise _refusal(doing, answer.status_code, body)


def checked_url(url: str) -> str:
    """The URL without a trailing slash. Raises BadInputError for plain HTTP beyond this computer:
    the credential would travel in the clear."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInputError(f"{url!r} is no HTTP URL of a server.")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise BadInputError(
            f"{url} is not encrypted: the station's credential would be readable on the network.",
            todo="Use https://, or an SSH tunnel to http://127.0.0.1.",
        )
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _card(serial: str) -> str:
    return f"/v1/cards/{quote(serial, safe='')}"


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json() if answer.content else {}
    except ValueError:
        body = {}
    return body if isinstance(body, dict) else {}


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


def _refusal(doing: str, status: int, body: dict[str, Any]) -> RegistryRefusedError:
    error = body.get("error")
    if not isinstance(error, dict):
        error = {}
    what = error.get("what") or f"status {status}"
    todo = str(error.get("todo") or "")
    if status == 401:
        todo = "Get a new credential and run `tally station enroll` with it."
    return RegistryRefusedError(f"The server refused to {doing}: {what}", str(status), todo=todo)
