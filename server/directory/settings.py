"""Which firm has which directory: a TOML file, so that its secrets are not in the database."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from tallystick.common.errors import BadInputError
from tallystick.common.private_files import secret_in
from tallystick.common.secret import Secret

EXAMPLE = '[[directory]] with firm, url = "ldaps://…", base, bind_dn and password_file'
HERE = ("localhost", "127.0.0.1", "[::1]")
Filter = Annotated[str, Field(pattern=r"^\(.*\)$", max_length=2000)]
Attribute = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]*$", max_length=64)]

# What differs between directories, unless the file says otherwise.
KINDS: dict[str, dict[str, str]] = {
    "ldap": {
        "people": "(objectClass=inetOrgPerson)",
        "groups": "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)"
        "(objectClass=posixGroup))",
        "id": "entryUUID",
        "login": "uid",
        "name": "cn",
    },
    "active-directory": {
        "people": "(&(objectCategory=person)(objectClass=user)(!(objectClass=computer)))",
        "groups": "(objectCategory=group)",
        "id": "objectGUID",
        "login": "sAMAccountName",
        "name": "displayName",
    },
}


class DirectorySettings(BaseModel):
    """One firm's directory. url: ldaps:// or ldap://, which is StartTLS unless `starttls` is false;
    that may be so on this machine only. people, groups: LDAP filters. id, login, name, email:
    attributes. every_minutes: how often it is read. leavers_at_most: percent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    firm: str = "default"
    kind: Annotated[str, Field(pattern="^(ldap|active-directory)$")] = "ldap"
    url: Annotated[str, Field(pattern=r"^ldaps?://[^/?#\s]+/?$", max_length=500)]
    starttls: bool = True
    ca_file: str = ""
    bind_dn: str = ""
    password_file: str = ""
    base: Annotated[str, Field(min_length=1, max_length=1000)]
    groups_base: str = ""
    people: Filter = "()"
    groups: Filter = "()"
    id: Attribute = "id"
    login: Attribute = "login"
    name: Attribute = "name"
    email: Attribute = "mail"
    page_size: Annotated[int, Field(ge=1, le=5000)] = 500
    every_minutes: Annotated[int, Field(ge=1, le=10_080)] = 15
    leavers_at_most: Annotated[int, Field(ge=0, le=100)] = 10

    _secret: Secret | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def as_its_kind_has_it(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return KINDS.get(str(values.get("kind", "ldap")), {}) | values

    @model_validator(mode="after")
    def in_the_clear_on_this_machine_only(self) -> Self:
        host = self.url.split("://")[1].rstrip("/").rsplit(":", 1)[0]
        if self.url.startswith("ldap://") and not self.starttls and host not in HERE:
            raise ValueError("starttls = false sends passwords in the clear over a network")
        if bool(self.bind_dn) != bool(self.password_file):
            raise ValueError("bind_dn and password_file belong together")
        return self

    @property
    def secret(self) -> Secret | None:
        """The password to bind with; None: anonymously."""
        return self._secret

    def with_secret(self, folder: Path) -> Self:
        """Raises BadInputError."""
        if not self.password_file:
            return self
        # An empty password would be an anonymous bind (RFC 4513 5.1.2), whatever the name.
        self._secret = secret_in(folder / self.password_file, "password")
        return self


def directories_from(file: Path) -> dict[str, DirectorySettings]:
    """Firm → its directory. Raises BadInputError, which names the value, and no secret."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadInputError(f"{file} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{file} is not TOML.", todo=f"{error}. Expected: {EXAMPLE}.") from None
    entries = content.get("directory")
    if not isinstance(entries, list) or not entries or set(content) != {"directory"}:
        raise BadInputError(f"{file} names no directories.", todo=f"Expected: {EXAMPLE}.")
    found: dict[str, DirectorySettings] = {}
    for number, entry in enumerate(entries, start=1):
        one = _one(f"Directory {number} of {file}", entry).with_secret(file.parent)
        if one.firm in found:
            raise BadInputError(f"{file} names the firm {one.firm!r} twice.", todo="Leave one.")
        found[one.firm] = one
    return found


def _one(where: str, entry: Any) -> DirectorySettings:
    try:
        return DirectorySettings.model_validate(entry)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors()
        )
        raise BadInputError(f"{where}: {problems}.", todo=f"Expected: {EXAMPLE}.") from None
