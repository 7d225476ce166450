"""Who may ask by RADIUS: networks, each with its secret, its firm and its way to ask for a code."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, TypeVar

from tallystick.common.errors import BadInputError
from tallystick.common.private_files import others_may_read
from tallystick.common.secret import Secret
from tallystick.server.rules.addresses import plainly

T = TypeVar("T", bound=StrEnum)

MIN_SECRET = 16  # characters (RFC 2865 section 3)
FIELDS = {
    *("address", "secret", "secret_file", "firm", "mode", "code_digits", "allow_unsigned"),
    *("group_attribute", "eap_gtc"),
}
EXAMPLE = (
    '[[client]] with address = "10.0.0.0/24" and secret = "…" or secret_file = "…"; and if need be '
    'firm = "default", mode = "challenge" or "append", code_digits = 6, allow_unsigned = false, '
    'eap_gtc = false, group_attribute = "Filter-Id" or "Class"'
)


class Mode(StrEnum):
    """append: the password field holds the password and a code of `code_digits` after it.
    challenge: the password first; then the code, in answer to an Access-Challenge."""

    APPEND = "append"
    CHALLENGE = "challenge"


class GroupAttribute(StrEnum):
    """Which attribute of an Access-Accept names the user's groups, one each."""

    FILTER_ID = "Filter-Id"
    CLASS = "Class"


@dataclass(frozen=True)
class RadiusClient:
    """A network that may ask. secret: shared with it. allow_unsigned: an old client, which sends no
    Message-Authenticator. eap_gtc: EAP is answered, in which passwords travel in clear."""

    network: IPv4Network | IPv6Network
    secret: Secret
    firm: str
    mode: Mode = Mode.CHALLENGE
    code_digits: int = 6
    allow_unsigned: bool = False
    group_attribute: GroupAttribute | None = None
    eap_gtc: bool = False


@dataclass(frozen=True)
class RadiusSettings:
    """One secret and one firm for all. clients: networks that may ask (CIDR)."""

    firm: str
    secret: Secret
    clients: tuple[str, ...]
    mode: Mode = Mode.CHALLENGE
    code_digits: int = 6

    def each(self) -> tuple[RadiusClient, ...]:
        """Raises BadInputError for what is no network."""
        return tuple(
            RadiusClient(
                _network(f"The client {one}", {"address": one}),
                self.secret,
                self.firm,
                self.mode,
                self.code_digits,
            )
            for one in self.clients
        )


def client_of(clients: Iterable[RadiusClient], address: str) -> RadiusClient | None:
    """The client of an address: the one with the smallest network that it is in."""
    asking = ip_address(plainly(address))
    fitting = [one for one in clients if asking in one.network]
    return max(fitting, key=lambda one: one.network.prefixlen, default=None)


def clients_from(file: Path) -> tuple[RadiusClient, ...]:
    """The clients of a TOML file. Raises BadInputError, which names the client and the value, and
    no secret."""
    if others_may_read(file):
        raise BadInputError(
            f"{file} can be read by others than its owner, and holds secrets.",
            todo=f"chmod 600 {file}",
        )
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{file} is not TOML.", todo=f"{error}. Expected: {EXAMPLE}.") from None
    entries = content.get("client")
    if not isinstance(entries, list) or not entries or set(content) != {"client"}:
        raise BadInputError(f"{file} names no clients.", todo=f"Expected: {EXAMPLE}.")
    clients = tuple(
        _client(f"Client {number} of {file}", entry, file.parent)
        for number, entry in enumerate(entries, start=1)
    )
    networks = [one.network for one in clients]
    for network in networks:
        if networks.count(network) > 1:
            raise BadInputError(f"{file} names {network} twice.", todo="Leave one of them.")
    return clients


def _client(where: str, entry: Any, folder: Path) -> RadiusClient:
    if not isinstance(entry, dict) or not set(entry) <= FIELDS:
        odd = ", ".join(sorted(set(entry) - FIELDS)) if isinstance(entry, dict) else "no table"
        raise BadInputError(f"{where} has what is not known: {odd}.", todo=f"Expected: {EXAMPLE}.")
    firm = entry.get("firm", "default")
    digits = entry.get("code_digits", 6)
    if not isinstance(firm, str) or type(digits) is not int or not 6 <= digits <= 8:
        raise BadInputError(f"{where} has a firm that is no text, or codes of not 6 to 8 digits.")
    for name in ("allow_unsigned", "eap_gtc"):
        if type(entry.get(name, False)) is not bool:
            raise BadInputError(f"{where} has an {name} that is not true or false.")
    return RadiusClient(
        _network(where, entry),
        _secret(where, entry, folder),
        firm,
        _one_of(where, entry, "mode", Mode) or Mode.CHALLENGE,
        digits,
        entry.get("allow_unsigned", False),
        _one_of(where, entry, "group_attribute", GroupAttribute),
        entry.get("eap_gtc", False),
    )


def _network(where: str, entry: Mapping[str, Any]) -> IPv4Network | IPv6Network:
    try:
        return ip_network(str(entry.get("address", "")))
    except ValueError as error:
        raise BadInputError(f"{where} has no address or network: {error}.") from None


def _secret(where: str, entry: Mapping[str, Any], folder: Path) -> Secret:
    given, file = entry.get("secret"), entry.get("secret_file")
    if isinstance(file, str) and given is None:
        try:
            given = (folder / file).read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BadInputError(
                f"{where}: {file} cannot be read ({type(error).__name__})."
            ) from None
    if not isinstance(given, str) or len(given) < MIN_SECRET:
        raise BadInputError(
            f"{where} has no secret of {MIN_SECRET} characters or more.",
            todo="Make one: openssl rand -base64 24.",
        )
    return Secret(given.encode())


def _one_of(where: str, entry: Mapping[str, Any], name: str, kind: type[T]) -> T | None:
    value = entry.get(name)
    if value is None:
        return None
    try:
        return kind(value)
    except ValueError:
        known = " or ".join(kind)
        raise BadInputError(f"{where} has {name} {value!r}; {known} is expected.") from None
