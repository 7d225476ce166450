"""One directory, asked by LDAP (RFC 4511): everybody in it, and whether a password is right.

Needs python-ldap. All answers are read in pages (RFC 2696); groups in groups are followed here, by
`member` and by `memberOf`, so that it makes no difference which of them a directory has.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from tallystick.common.errors import BadInputError, RefusedError, UnreachableError
from tallystick.server.directory.settings import DirectorySettings

CONNECT_S, ANSWER_S = 5, 30  # seconds
SIGN_IN_S = 5  # somebody waits, and a thread of the server with him
DISABLED = 2  # ADS_UF_ACCOUNTDISABLE, of userAccountControl
MEMBERS = ("member", "uniquemember")
Attributes = Mapping[str, list[bytes]]


@dataclass(frozen=True)
class DirectoryEntry:
    """Somebody, as the directory has it. id: of the entry, and never of another."""

    id: str
    login: str
    name: str
    email: str
    groups: tuple[str, ...]
    active: bool


class LdapDirectory:
    """A connection is made for each question: a directory may be away, and come back."""

    def __init__(self, settings: DirectorySettings) -> None:
        self.settings = settings

    def everybody(self) -> list[DirectoryEntry]:
        """Raises UnreachableError where it does not answer, and RefusedError where it refuses:
        then nothing is known of anybody."""
        wanted = self.settings
        columns = [wanted.id, wanted.login, wanted.name, wanted.email, "memberOf"]
        with self._bound() as (ldap, connection):
            groups = list(
                self._pages(
                    ldap,
                    connection,
                    wanted.groups_base or wanted.base,
                    wanted.groups,
                    ["cn", "member", "uniqueMember", "memberUid", "memberOf"],
                )
            )
            graph = GroupGraph(ldap, groups)
            people = self._pages(
                ldap, connection, wanted.base, wanted.people, [*columns, "userAccountControl"]
            )
            # As they come: of a large directory no more is kept than what is made of each.
            return [self._entry(dn, row, graph) for dn, row in people]

    def has_password(self, login: str, entry_id: str, password: str) -> bool:
        """Whether the directory takes this password for this entry. Raises as `everybody`."""
        if not password:
            return False  # an empty one is an anonymous bind, and always right (RFC 4513 5.1.2)
        wanted = self.settings
        with self._bound(SIGN_IN_S) as (ldap, connection):
            named = f"({wanted.login}={ldap.filter.escape_filter_chars(login)})"
            found = list(
                self._pages(
                    ldap,
                    connection,
                    wanted.base,
                    f"(&{wanted.people}{named})",
                    [wanted.id, "userAccountControl"],
                )
            )
        right = [
            dn for dn, row in found if self._id(row) == entry_id and entry_id and self._active(row)
        ]
        if len(right) != 1:
            return False
        with self._connected(SIGN_IN_S) as (ldap, connection):
            try:
                connection.simple_bind_s(right[0], password)
            except (
                ldap.INVALID_CREDENTIALS,
                ldap.UNWILLING_TO_PERFORM,
                ldap.INAPPROPRIATE_AUTH,
                ldap.INVALID_DN_SYNTAX,
                ldap.NO_SUCH_OBJECT,
                ldap.CONSTRAINT_VIOLATION,
            ):
                return False
        return True

    def _entry(self, dn: str, row: Attributes, graph: GroupGraph) -> DirectoryEntry:
        wanted = self.settings
        login = _first(row, wanted.login)
        return DirectoryEntry(
            id=self._id(row),
            login=login,
            name=_first(row, wanted.name),
            email=_first(row, wanted.email),
            groups=graph.of(dn, login, _texts(row, "memberOf")),
            active=self._active(row),
        )

    def _id(self, row: Attributes) -> str:
        value = next(iter(row.get(self.settings.id.lower(), [])), b"")
        if self.settings.id.lower() == "objectguid" and len(value) == 16:
            return str(uuid.UUID(bytes_le=value))
        return value.decode("utf-8", "replace")

    def _active(self, row: Attributes) -> bool:
        flags = _first(row, "userAccountControl")
        return not (flags.isdecimal() and int(flags) & DISABLED)

    @contextmanager
    def _connected(self, answer_s: int) -> Iterator[tuple[ModuleType, Any]]:
        ldap = _library()
        wanted = self.settings
        connection = None
        try:
            connection = ldap.initialize(wanted.url)
            connection.set_option(ldap.OPT_PROTOCOL_VERSION, 3)
            connection.set_option(ldap.OPT_REFERRALS, 0)
            connection.set_option(ldap.OPT_NETWORK_TIMEOUT, CONNECT_S)
            connection.set_option(ldap.OPT_TIMEOUT, answer_s)
            connection.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)
            if wanted.ca_file:
                connection.set_option(ldap.OPT_X_TLS_CACERTFILE, wanted.ca_file)
            connection.set_option(ldap.OPT_X_TLS_NEWCTX, 0)
            if wanted.url.startswith("ldap://") and wanted.starttls:
                connection.start_tls_s()
            yield ldap, connection
        except (
            ldap.SERVER_DOWN,
            ldap.CONNECT_ERROR,
            ldap.TIMEOUT,
            ldap.UNAVAILABLE,
            ldap.BUSY,
            ldap.TIMELIMIT_EXCEEDED,
        ) as error:
            raise UnreachableError(
                f"The directory {wanted.url} does not answer ({_why(error)}).",
                kept="Nobody was added, changed or barred.",
                todo="See whether it runs, whether its certificate is right, and try again.",
            ) from None
        except ldap.LDAPError as error:
            raise RefusedError(
                f"The directory {wanted.url} refuses ({_why(error)}).",
                kept="Nobody was added, changed or barred.",
                todo="See to bind_dn, its password, base and the filters.",
            ) from None
        finally:
            if connection is not None:
                with suppress(ldap.LDAPError):
                    connection.unbind_s()

    @contextmanager
    def _bound(self, answer_s: int = ANSWER_S) -> Iterator[tuple[ModuleType, Any]]:
        with self._connected(answer_s) as (ldap, connection):
            secret = self.settings.secret
            if secret is not None:
                connection.simple_bind_s(self.settings.bind_dn, secret.reveal().decode())
            yield ldap, connection

    def _pages(
        self, ldap: ModuleType, connection: Any, base: str, wanted: str, columns: list[str]
    ) -> Iterator[tuple[str, Attributes]]:
        control = ldap.controls.SimplePagedResultsControl(True, self.settings.page_size, "")
        while True:
            asked = connection.search_ext(
                base, ldap.SCOPE_SUBTREE, wanted, columns, serverctrls=[control]
            )
            _, rows, _, controls = connection.result3(asked)
            for dn, row in rows:
                if dn is not None:  # otherwise a referral
                    yield dn, {name.lower(): values for name, values in row.items()}
            again = [one for one in controls if one.controlType == control.controlType]
            if not again or not again[0].cookie:
                return
            control.cookie = again[0].cookie


class GroupGraph:
    """Who is in which group, also through other groups; rings of them end."""

    def __init__(self, ldap: ModuleType, groups: list[tuple[str, Attributes]]) -> None:
        self._ldap = ldap
        self._names: dict[str, str] = {}
        self._above: defaultdict[str, set[str]] = defaultdict(set)
        self._by_login: defaultdict[str, set[str]] = defaultdict(set)
        for dn, row in groups:
            here = self._canonical(dn)
            self._names[here] = _first(row, "cn") or dn
            for name in MEMBERS:
                for member in _texts(row, name):
                    self._above[self._canonical(member)].add(here)
            for login in _texts(row, "memberUid"):
                self._by_login[login.lower()].add(here)
            self._above[here] |= {self._canonical(one) for one in _texts(row, "memberOf")}

    def of(self, dn: str, login: str, member_of: list[str]) -> tuple[str, ...]:
        """Names of groups, in order."""
        todo = [*self._above[self._canonical(dn)], *self._by_login[login.lower()]]
        todo += [self._canonical(one) for one in member_of]
        seen: set[str] = set()
        while todo:
            group = todo.pop()
            if group not in seen:
                seen.add(group)
                todo += self._above[group]
        return tuple(sorted({self._names[one] for one in seen if one in self._names}))

    def _canonical(self, dn: str) -> str:
        """One form for what is the same, however it is written (RFC 4514)."""
        try:
            parts = self._ldap.dn.str2dn(dn.lower())
        except self._ldap.LDAPError:
            return dn.lower()
        return str(self._ldap.dn.dn2str(parts))


def _first(row: Attributes, name: str) -> str:
    return next(iter(_texts(row, name)), "")


def _texts(row: Attributes, name: str) -> list[str]:
    return [value.decode("utf-8", "replace") for value in row.get(name.lower(), [])]


def _why(error: Exception) -> str:
    """What the library says in words; never what was sent."""
    facts = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    words = [str(facts.get(name, "")) for name in ("desc", "info")]
    return ": ".join(one for one in words if one)[:200] or type(error).__name__


def _library() -> ModuleType:
    """Raises BadInputError where it is not installed."""
    try:
        import ldap  # noqa: PLC0415 - an extra of its own: it has to be compiled
        import ldap.controls  # noqa: PLC0415
        import ldap.dn  # noqa: PLC0415
        import ldap.filter  # noqa: PLC0415
    except ImportError:
        raise BadInputError(
            "Directories need python-ldap, which is not installed.",
            todo="apt-get install gcc libldap2-dev libsasl2-dev, then: "
            "pip install 'tallystick[server,ldap]'.",
        ) from None
    library: ModuleType = ldap
    return library
