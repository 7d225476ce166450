"""The server's contract (docs/reference/protocols.md, section 4) in memory, with places to fail."""

from __future__ import annotations

import io
from collections.abc import Callable

from pskc import PSKC

from tallystick.provisioning.registry import DuplicateSerialError, Registered
from tallystick.provisioning.server_link import OutcomeUnknownError, RegistryRefusedError
from tests.provisioning.conftest import PSK


class MemoryRegistry:
    """before, after: called with the name of a call, may raise what the network or server would."""

    def __init__(self) -> None:
        self.seeds: dict[str, bytes] = {}
        self.users: dict[str, str] = {}
        self.before: Callable[[str], None] = lambda call: None
        self.after: Callable[[str], None] = lambda call: None
        self.calls: list[str] = []

    def _enter(self, call: str) -> None:
        self.calls.append(call)
        self.before(call)

    def check(self) -> None:
        self._enter("check")

    def check_user(self, user: str | None, *, new_user: bool = False) -> None:
        pass

    def _card(self, serial: str, status: str) -> Registered:
        return Registered(serial, status, 6, 2, self.users.get(serial), "station-1")

    def lookup(self, serial: str) -> Registered | None:
        self._enter("lookup")
        found = self._card(serial, "registered") if serial in self.seeds else None
        self.after("lookup")
        return found

    def register(self, serial: str, container: bytes) -> Registered:
        self._enter("register")
        parsed = PSKC(io.BytesIO(container))
        parsed.encryption.key = bytes.fromhex(PSK)
        (key,) = parsed.keys
        assert key.serial == serial and key.counter in (2, 3) and key.check()
        known = self.seeds.get(serial)
        if known not in (None, key.secret):
            raise DuplicateSerialError("another seed", "409")
        self.seeds[serial] = key.secret
        self.after("register")
        return self._card(serial, "registered" if known is None else "already-registered")

    def withdraw(self, serial: str) -> None:
        self._enter("withdraw")
        if self.seeds.pop(serial, None) is None:
            raise RegistryRefusedError("no such card", "404")
        self.after("withdraw")

    def assign(self, serial: str, user: str, *, new_user: bool = False) -> Registered:
        self._enter("assign")
        if self.users.setdefault(serial, user) != user:
            raise RegistryRefusedError("assigned to another", "409")
        self.after("assign")
        return self._card(serial, "registered")

    def close(self) -> None:
        pass


class FailOnce:
    """Raises on the given call the first time."""

    def __init__(self, call: str, error: Exception) -> None:
        self.call, self.error, self.done = call, error, False

    def __call__(self, call: str) -> None:
        if call == self.call and not self.done:
            self.done = True
            raise self.error


def timeout() -> OutcomeUnknownError:
    return OutcomeUnknownError("The server did not answer.")
