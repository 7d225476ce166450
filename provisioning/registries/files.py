"""Registries that are files: a folder of PSKC containers, and a text file in another product's
dialect. Written whole and durably, mode 0600."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.provisioning.container import Parts
from tallystick.provisioning.durable import write_durably
from tallystick.provisioning.registries.dialects import Dialect, TokenEntry
from tallystick.provisioning.registry import DuplicateSerialError, Registered
from tallystick.provisioning.server_link import RegistryRefusedError

EntryReader = Callable[[bytes], TokenEntry]
"""Opens a container (custody decrypts its seed)."""


def _no_users(serial: str) -> RegistryRefusedError:
    return RegistryRefusedError(
        f"A file does not assign card {serial} to a user.",
        "no-users",
        todo="Assign it in the product that imports the file.",
    )


def _duplicate(serial: str, where: Path) -> DuplicateSerialError:
    return DuplicateSerialError(f"{where} has card {serial} with another seed.", "409")


def _refuse_user(user: str | None) -> None:
    if user is not None:
        raise BadInputError(
            "This registry assigns no card to a user.",
            kept="Nothing was written to any card.",
            todo="Leave --user out, and assign the card in the product that imports the file.",
        )


class PskcFolder:
    """One encrypted container a card: `SERIAL.pskcxml`. Implements Registry."""

    def __init__(
        self,
        folder: Path,
        parts_of: Callable[[bytes], Parts],
        finish: Callable[[bytes], bytes] = bytes,
    ) -> None:
        """parts_of: reads a container. finish: makes of a container what is put into the folder;
        the same of the same."""
        self._folder = folder
        self._parts_of = parts_of
        self._finish = finish

    def check(self) -> None:
        """Raises BadInputError for a folder that cannot be made."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise BadInputError(f"The folder {self._folder} cannot be used: {error}.") from None

    def _path(self, serial: str) -> Path:
        return self._folder / f"{serial}.pskcxml"

    def _card(self, serial: str, container: bytes, status: str) -> Registered:
        made = self._parts_of(container)
        return Registered(serial, status, made.kind.digits, made.moving_factor)

    def lookup(self, serial: str) -> Registered | None:
        path = self._path(serial)
        return self._card(serial, path.read_bytes(), "registered") if path.exists() else None

    def check_user(self, user: str | None, *, new_user: bool = False) -> None:
        _refuse_user(user)

    def register(self, serial: str, container: bytes) -> Registered:
        path, container = self._path(serial), self._finish(container)
        if path.exists():
            if path.read_bytes() != container:
                raise _duplicate(serial, path)
            return self._card(serial, container, "already-registered")
        write_durably(path, container)
        return self._card(serial, container, "registered")

    def withdraw(self, serial: str) -> None:
        self._path(serial).unlink(missing_ok=True)

    def assign(self, serial: str, user: str, *, new_user: bool = False) -> Registered:
        raise _no_users(serial)

    def close(self) -> None:
        pass


class DialectFile:
    """A text file, one line a card, seeds in the clear. Implements Registry."""

    def __init__(self, path: Path, dialect: Dialect, read: EntryReader) -> None:
        self._path = path
        self._dialect = dialect
        self._read = read
        self._lock = threading.Lock()

    def check(self) -> None:
        with self._lock:
            self._lines()

    def check_user(self, user: str | None, *, new_user: bool = False) -> None:
        """As the dialect can name users, or not. Raises BadInputError."""
        if self._dialect.user_in is None:
            _refuse_user(user)
            return
        if user is None:
            raise BadInputError(
                f"A file of {self._dialect.name} names the user of each card.",
                kept="Nothing was written to any card.",
                todo="Give --user NAME: the login on the computer that checks the codes.",
            )
        if not user.isprintable() or user != "".join(user.split()) or user[:1] in "#":
            raise BadInputError(
                f"{user!r} cannot be a user in a file of {self._dialect.name}.",
                kept="Nothing was written to any card.",
                todo="Give a login without spaces.",
            )

    def lookup(self, serial: str) -> Registered | None:
        with self._lock:
            known = self._lines().get(serial)
        return None if known is None else self._known(serial, "registered", known)

    def _known(
        self, serial: str, status: str, line: str, digits: int = 0, at: int = 0
    ) -> Registered:
        user = self._dialect.user_of(line) if self._dialect.user_of is not None else None
        return Registered(serial, status, digits, at, user)

    def register(self, serial: str, container: bytes) -> Registered:
        """Adds a line. Raises RegistryRefusedError for a card that the dialect has no words for,
        DuplicateSerialError for another card of that serial number."""
        entry = self._read(container)
        if entry.kind not in self._dialect.kinds:
            raise RegistryRefusedError(
                f"{self._dialect.name} takes no cards with {entry.digits} digits and "
                f"{entry.kind.hash}.",
                "digits",
            )
        line = self._dialect.line(entry)
        status = "registered"
        with self._lock:
            lines = self._lines()
            known = lines.get(serial, line)
            if self._dialect.without_user(known) != line:
                raise _duplicate(serial, self._path)
            if serial in lines:
                status = "already-registered"
            else:
                self._write({**lines, serial: line})
        entry.seed.wipe()
        return self._known(serial, status, known, entry.digits, entry.moving_factor)

    def withdraw(self, serial: str) -> None:
        with self._lock:
            lines = self._lines()
            if lines.pop(serial, None) is not None:
                self._write(lines)

    def assign(self, serial: str, user: str, *, new_user: bool = False) -> Registered:
        """Raises RegistryRefusedError for a card that it has not, or a dialect without users."""
        if self._dialect.user_in is None:
            raise _no_users(serial)
        with self._lock:
            lines = self._lines()
            if serial not in lines:
                raise RegistryRefusedError(f"{self._path} has no card {serial}.", "404")
            line = self._dialect.user_in(lines[serial], user)
            self._write({**lines, serial: line})
        return self._known(serial, "registered", line)

    def close(self) -> None:
        pass

    def _lines(self) -> dict[str, str]:
        try:
            text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
            return {self._dialect.serial_of(line): line for line in self._dialect.split(text)}
        except (OSError, ValueError, KeyError, TypeError):
            raise BadInputError(
                f"{self._path} is not a file in the dialect {self._dialect.name}.",
                kept="It was not touched.",
                todo="Choose another file.",
            ) from None

    def _write(self, lines: dict[str, str]) -> None:
        write_durably(self._path, "".join(f"{line}\n" for line in lines.values()).encode())
