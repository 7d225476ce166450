"""How other products want to be told of a HOTP card: one line a card, seeds in the clear."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from tallystick.common.errors import BadInputError
from tallystick.common.secret import Secret
from tallystick.provisioning.credential import CodeKind

MANUFACTURER = "Tallystick"


@dataclass(frozen=True)
class TokenEntry:
    """One card. moving_factor: of the next code that the card gives."""

    serial: str
    seed: Secret = field(repr=False)
    kind: CodeKind
    moving_factor: int

    @property
    def digits(self) -> int:
        return self.kind.digits

    @property
    def hex(self) -> str:
        return self.seed.reveal().hex()


def _not_empty(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


@dataclass(frozen=True)
class Dialect:
    """A format of entries, mostly one line a card. serial_of: how to find an entry's serial number
    again. split: a file into entries. user_of, user_in, without_user: where an entry names a user,
    who that is, the entry with another one, and with none."""

    name: str
    line: Callable[[TokenEntry], str]
    serial_of: Callable[[str], str]
    kinds: tuple[CodeKind, ...] = (CodeKind(6), CodeKind(8))
    split: Callable[[str], list[str]] = _not_empty
    user_of: Callable[[str], str | None] | None = None
    user_in: Callable[[str, str], str] | None = None
    without_user: Callable[[str], str] = str


def _first(separator: str) -> Callable[[str], str]:
    return lambda line: line.split(separator, 1)[0].strip()


def _keycloak(entry: TokenEntry) -> str:
    credential = {
        "subType": "hotp",
        "digits": entry.digits,
        "counter": entry.moving_factor,
        "period": 30,
        "algorithm": "HmacSHA1",
        "secretEncoding": "BASE32",
    }
    secret = base64.b32encode(entry.seed.reveal()).decode()
    return json.dumps(
        {
            "type": "otp",
            "userLabel": entry.serial,
            "credentialData": json.dumps(credential),
            "secretData": json.dumps({"value": secret}),
        }
    )


# pam_oath: type, user, PIN (none), secret, moving factor. Before it a comment with the serial
# number; a card that has no user yet is nothing but a comment, so that nobody signs in with it.


def _users_file(entry: TokenEntry) -> str:
    return f"# {entry.serial}\n# HOTP/E/{entry.digits} - {entry.hex} {entry.moving_factor}"


def _users_file_entries(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.strip()]
    entries: list[str] = []
    for line in lines:
        begun = entries and "\n" not in entries[-1] and entries[-1].startswith("# ")
        if begun and line.removeprefix("# ").startswith("HOTP"):
            entries[-1] += f"\n{line}"
        else:
            entries.append(line)
    return entries


def _users_file_serial(entry: str) -> str:
    """Of lines that others wrote, which stay as they are: the line itself."""
    first, _, second = entry.partition("\n")
    return first[2:].strip() if second else entry


def _users_file_user(entry: str) -> str | None:
    fields = entry.partition("\n")[2].split()
    return fields[1] if fields and fields[0] != "#" else None


def _users_file_assigned(entry: str, user: str) -> str:
    serial, _, line = _users_file_free(entry).partition("\n")
    kind, *rest = line.removeprefix("# ").split()
    return " ".join([f"{serial}\n{kind}", user, *rest])


def _users_file_free(entry: str) -> str:
    if _users_file_user(entry) is None:
        return entry
    serial, _, line = entry.partition("\n")
    kind, _, *rest = line.split()
    return " ".join([f"{serial}\n# {kind}", *rest])


DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect(
            "privacyidea",
            lambda e: f"{e.serial}, {e.hex}, hotp, {e.digits}, {e.moving_factor}",
            _first(","),
        ),
        Dialect(
            "linotp",
            lambda e: f"{e.serial}, {e.hex}, hotp, {e.digits}",
            _first(","),
        ),
        Dialect(
            "multiotp",
            lambda e: f"{e.serial};{MANUFACTURER};HOTP;{e.hex};{e.digits};{e.moving_factor}",
            _first(";"),
        ),
        Dialect("duo", lambda e: f"{e.serial},{e.hex},{e.moving_factor}", _first(",")),
        Dialect(
            "pingid",
            lambda e: f"{e.serial},{e.hex},{e.moving_factor}",
            _first(","),
            kinds=(CodeKind(6),),
        ),
        Dialect("keycloak", _keycloak, lambda line: str(json.loads(line)["userLabel"])),
        Dialect(
            "pam_oath",
            _users_file,
            _users_file_serial,
            kinds=(CodeKind(6), CodeKind(7), CodeKind(8)),
            split=_users_file_entries,
            user_of=_users_file_user,
            user_in=_users_file_assigned,
            without_user=_users_file_free,
        ),
    )
}

WITHOUT_HOTP = {"okta": "Okta", "entra": "Microsoft Entra ID", "azure": "Microsoft Entra ID"}


def dialect(name: str) -> Dialect:
    """Raises BadInputError for an unknown name, and for a product that takes no HOTP."""
    if name in WITHOUT_HOTP:
        raise BadInputError(
            f"{WITHOUT_HOTP[name]} takes no HOTP cards: it imports TOTP tokens only.",
            todo="Verify these cards with `tally server` (it speaks RADIUS and OpenID Connect).",
        )
    if name not in DIALECTS:
        raise BadInputError(
            f"There is no dialect {name!r}.", todo=f"Choose one of {', '.join(DIALECTS)}."
        )
    return DIALECTS[name]
