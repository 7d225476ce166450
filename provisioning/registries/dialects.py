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
    user: str | None = None

    @property
    def digits(self) -> int:
        return self.kind.digits

    @property
    def hex(self) -> str:
        return self.seed.reveal().hex()


@dataclass(frozen=True)
class Dialect:
    """A line format. serial_at: how to find a line's serial number again."""

    name: str
    line: Callable[[TokenEntry], str]
    serial_of: Callable[[str], str]
    kinds: tuple[CodeKind, ...] = (CodeKind(6), CodeKind(8))


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


def _users_file(entry: TokenEntry) -> str:
    """pam_oath: type, user, PIN (none), secret, moving factor."""
    return f"HOTP/E/{entry.digits} {entry.user or entry.serial} - {entry.hex} {entry.moving_factor}"


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
            lambda line: (line.split() + [""] * 2)[1],
            kinds=(CodeKind(6), CodeKind(7), CodeKind(8)),
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
