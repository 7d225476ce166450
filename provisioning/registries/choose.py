"""From `--registry` to a registry."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.common.secret import Secret
from tallystick.provisioning import container
from tallystick.provisioning.custody.interface import Custody
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.provisioning.registries.dialects import TokenEntry, dialect
from tallystick.provisioning.registries.files import DialectFile, PskcFolder
from tallystick.provisioning.registries.own_key import (
    OwnKeyCustody,
    folder_key,
    has_key,
    journal_key,
)
from tallystick.provisioning.registries.privacyidea import PrivacyIdea
from tallystick.provisioning.registry import Registry

ADMINISTRATOR_VARIABLE = "TALLY_PRIVACYIDEA_ADMIN"
SECRET_VARIABLE = "TALLY_PRIVACYIDEA_PASSWORD"  # noqa: S105 (a name, not a password)
FORMS = "pskc:FOLDER, privacyidea:URL, or DIALECT:FILE as in duo:cards.csv"


def registry_for(
    text: str, custody: Custody, key_file: Path, passphrase: Callable[[bool], str]
) -> tuple[Custody, Registry]:
    """The registry, and the custody that closes containers for it. key_file: where the key of
    containers that only the journal keeps may be. passphrase: asked for where a folder of
    containers has one; a new one, for a folder that has none yet.

    No server is asked for, but by keys in a module, which close containers for their server alone.
    Raises BadInputError, also for products that take no HOTP.
    """
    kind, _, where = text.partition(":")
    if kind == "pskc" and where:
        return _folder(Path(where), custody, passphrase)
    chosen = dialect(kind)  # may have to say that the product takes no HOTP
    if not custody.exports_seeds:
        raise BadInputError(
            f"The keys are in a module that gives no seed away, but {kind} needs it in the clear.",
            todo="Use the server, or encrypted containers (--registry pskc:FOLDER).",
        )
    web = kind == "privacyidea" and where.startswith("http")
    if not where:
        raise BadInputError(f"{text!r} names no file.", todo=f"Write {FORMS}.")
    if isinstance(custody, SoftwareCustody):
        custody = OwnKeyCustody(custody, journal_key(key_file, custody), kind)
    if web:
        return custody, _privacyidea(where, custody)
    return custody, DialectFile(Path(where), chosen, ContainerReader(custody))


def _folder(
    folder: Path, custody: Custody, passphrase: Callable[[bool], str]
) -> tuple[Custody, Registry]:
    if not isinstance(custody, SoftwareCustody):
        # The module wraps seeds under the pre-shared key of its server, and under no other.
        return custody, PskcFolder(folder, container.parts)
    key, derivation = folder_key(folder, passphrase(not has_key(folder)))
    own = OwnKeyCustody(custody, key, folder.name or "containers")
    return own, PskcFolder(folder, container.parts, partial(container.with_derivation, derivation))


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
