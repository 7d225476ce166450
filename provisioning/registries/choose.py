"""From `--registry` to a registry."""

from __future__ import annotations

import os
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.common.secret import Secret
from tallystick.provisioning import container
from tallystick.provisioning.custody.interface import Custody
from tallystick.provisioning.registries.dialects import TokenEntry, dialect
from tallystick.provisioning.registries.files import DialectFile, PskcFolder
from tallystick.provisioning.registries.privacyidea import PrivacyIdea
from tallystick.provisioning.registry import Registry

ADMINISTRATOR_VARIABLE = "TALLY_PRIVACYIDEA_ADMIN"
SECRET_VARIABLE = "TALLY_PRIVACYIDEA_PASSWORD"  # noqa: S105 (a name, not a password)
FORMS = "pskc:FOLDER, privacyidea:URL, or DIALECT:FILE as in duo:cards.csv"


def registry_for(text: str, custody: Custody) -> Registry:
    """Raises BadInputError, also for products that take no HOTP."""
    kind, _, where = text.partition(":")
    if kind == "pskc" and where:
        return PskcFolder(Path(where), container.parts)
    chosen = dialect(kind)  # may have to say that the product takes no HOTP
    if not custody.exports_seeds:
        raise BadInputError(
            f"The keys are in a module that gives no seed away, but {kind} needs it in the clear.",
            todo="Use the server, or encrypted containers (--registry pskc:FOLDER).",
        )
    if kind == "privacyidea" and where.startswith("http"):
        return _privacyidea(where, custody)
    if not where:
        raise BadInputError(f"{text!r} names no file.", todo=f"Write {FORMS}.")
    return DialectFile(Path(where), chosen, ContainerReader(custody))


class ContainerReader:
    """Opens a container's seed with the keys of the station."""

    def __init__(self, custody: Custody) -> None:
        self._custody = custody

    def __call__(self, sealed_container: bytes) -> TokenEntry:
        parts = container.parts(sealed_container)
        seed = self._custody.open_for_export(parts.sealed)
        return TokenEntry(parts.serial, seed, parts.kind, parts.moving_factor)


def _privacyidea(url: str, custody: Custody) -> PrivacyIdea:
    administrator = os.environ.get(ADMINISTRATOR_VARIABLE)
    password = os.environ.get(SECRET_VARIABLE)
    if not administrator or not password:
        raise BadInputError(
            "privacyIDEA needs an administrator's name and password.",
            todo=f"Set {ADMINISTRATOR_VARIABLE} and {SECRET_VARIABLE}.",
        )
    return PrivacyIdea(url, administrator, Secret(password.encode()), ContainerReader(custody))
