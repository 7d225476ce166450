"""privacyIDEA over its REST API.

Loading a token that privacyIDEA knows would set its counter back, so that codes already used would
be accepted again. Nothing is loaded over a token that is known, unless it is one that this very
container made and that nobody has touched since.
"""

from __future__ import annotations

import hashlib
import io
from difflib import get_close_matches
from typing import Any

import httpx
from pskc import PSKC

from tallystick.common import chance
from tallystick.common.secret import Secret
from tallystick.common.server_url import checked_url
from tallystick.provisioning.container import HOTP_PROFILE, MANUFACTURER, Parts, parts
from tallystick.provisioning.registries.files import EntryReader
from tallystick.provisioning.registry import DuplicateSerialError, Registered, no_such_user
from tallystick.provisioning.server_link import (
    IDLE_S,
    TIMEOUT_S,
    OutcomeUnknownError,
    RegistryRefusedError,
)

_MARK = "tallystick_container"


class PrivacyIdea:
    """Implements Registry. Signs in again when its token has run out."""

    def __init__(
        self, url: str, administrator: str, password: Secret, read: EntryReader, realm: str = ""
    ) -> None:
        self._client = httpx.Client(
            base_url=checked_url(url),
            timeout=TIMEOUT_S,
            limits=httpx.Limits(keepalive_expiry=IDLE_S),
        )
        self._administrator = administrator
        self._password = password
        self._read = read
        self._realm = realm
        self._token: str | None = None

    def check(self) -> None:
        self._sign_in()

    def check_user(self, user: str | None, *, new_user: bool = False) -> None:
        if user is None:
            return
        params = {"username": user} | ({"realm": self._realm} if self._realm else {})
        found = self._list("/user/", params)
        if not any(one.get("username") == user for one in found):
            names = [str(one.get("username")) for one in self._list("/user/", {})]
            raise no_such_user("privacyIDEA", user, get_close_matches(user, names, 3))

    def lookup(self, serial: str) -> Registered | None:
        token = self._find(serial)
        return None if token is None else _registered(token, "registered")

    def register(self, serial: str, container: bytes) -> Registered:
        """Loads the container, and marks the token with it. Raises RegistryRefusedError;
        DuplicateSerialError for a token in use; OutcomeUnknownError when nothing tells what
        became of it."""
        mark = hashlib.sha256(container).hexdigest()[:32]
        known = self._find(serial)
        if known is not None:
            if known.get("info", {}).get(_MARK) != mark and not _untouched(known, parts(container)):
                raise DuplicateSerialError(f"privacyIDEA has a token {serial} already.", "409")
            if known.get("info", {}).get(_MARK) == mark:
                return _registered(known, "already-registered")
        self._load(container)
        self._call("POST", f"/token/info/{serial}/{_MARK}", data={"value": mark})
        loaded = self._find(serial)
        if loaded is None:
            raise OutcomeUnknownError(f"privacyIDEA does not show the token {serial}.")
        return _registered(loaded, "registered")

    def _load(self, container: bytes) -> None:
        """Send the seed under a key made for this request: the station's own stays here."""
        entry = self._read(container)
        key = chance.token_bytes(16)
        document = PSKC()
        document.encryption.setup_preshared_key(key=key, algorithm="aes128-cbc")
        document.add_key(
            id=entry.serial,
            serial=entry.serial,
            manufacturer=MANUFACTURER,
            algorithm=HOTP_PROFILE,
            algorithm_suite=entry.kind.hash.value,
            response_encoding="DECIMAL",
            response_length=entry.digits,
            counter=entry.moving_factor,
            secret=entry.seed.reveal(),
        )
        output = io.BytesIO()
        document.write(output)
        entry.seed.wipe()
        fields = {"type": "pskc", "psk": key.hex(), "pskcValidateMAC": "check_fail_hard"}
        if self._realm:
            fields["tokenrealms"] = self._realm
        file = {"file": ("card.pskcxml", output.getvalue(), "application/xml")}
        done = self._call("POST", "/token/load/card.pskcxml", data=fields, files=file)
        if done.get("n_imported") != 1:
            raise RegistryRefusedError("privacyIDEA did not take the container.", "not-imported")

    def withdraw(self, serial: str) -> None:
        self._call("DELETE", f"/token/{serial}")

    def assign(self, serial: str, user: str, *, new_user: bool = False) -> Registered:
        """privacyIDEA has its users from elsewhere: it makes none. Raises RegistryRefusedError."""
        if new_user:
            raise RegistryRefusedError(
                "privacyIDEA makes no users: it reads them from its resolvers.",
                "new-user",
                todo=f"Add {user} there, and leave out --new-user.",
            )
        data = {"serial": serial, "user": user}
        if self._realm:
            data["realm"] = self._realm
        self._call("POST", "/token/assign", data=data)
        token = self._find(serial)
        assert token is not None
        return _registered(token, "registered")

    def close(self) -> None:
        self._client.close()

    def _find(self, serial: str) -> dict[str, Any] | None:
        value = self._call("GET", "/token/", params={"serial": serial})
        tokens = [token for token in value.get("tokens", ()) if token.get("serial") == serial]
        return tokens[0] if tokens else None

    def _list(self, path: str, params: dict[str, str]) -> list[dict[str, Any]]:
        answer = self._signed("GET", path, {"params": params})
        if answer.status_code == 401:
            self._token = None
            answer = self._signed("GET", path, {"params": params})
        value = self._result(answer)
        return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []

    def _sign_in(self) -> str:
        body = {"username": self._administrator, "password": self._password.reveal().decode()}
        value = self._result(self._send("POST", "/auth", json=body))
        self._token = str(value["token"])
        return self._token

    def _call(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        answer = self._signed(method, path, how)
        if answer.status_code == 401:
            self._token = None
            answer = self._signed(method, path, how)
        return self._result(answer)

    def _signed(self, method: str, path: str, how: dict[str, Any]) -> httpx.Response:
        token = self._token or self._sign_in()  # sent bare, without "Bearer"
        return self._send(method, path, headers={"Authorization": token}, **how)

    def _send(self, method: str, path: str, **how: Any) -> httpx.Response:
        try:
            answer = self._client.request(method, path, **how)
        except httpx.HTTPError as error:
            raise OutcomeUnknownError(
                f"privacyIDEA did not answer ({type(error).__name__}).",
                todo="Check its address and that it runs.",
            ) from None
        if answer.status_code >= 500:
            raise OutcomeUnknownError(f"privacyIDEA failed (status {answer.status_code}).")
        return answer

    def _result(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            result = answer.json()["result"]
        except (ValueError, KeyError, TypeError):
            raise OutcomeUnknownError("privacyIDEA's answer is malformed.") from None
        if result.get("status"):
            value = result.get("value")
            return value if isinstance(value, dict) else {"value": value}
        message = str(result.get("error", {}).get("message", "no reason given"))
        raise RegistryRefusedError(f"privacyIDEA refused: {message}", str(answer.status_code))


def _untouched(token: dict[str, Any], loaded: Parts) -> bool:
    """Loaded by a run that was interrupted before it set the mark, and not used since."""
    return (
        _MARK not in token.get("info", {})
        and token.get("description") == MANUFACTURER
        and not token.get("username")
        and int(token.get("failcount", 0)) == 0
        and int(token.get("count", 0)) <= loaded.moving_factor
        and "last_auth" not in token.get("info", {})
    )


def _registered(token: dict[str, Any], status: str) -> Registered:
    return Registered(
        str(token["serial"]),
        status,
        int(token.get("otplen", 6)),
        int(token.get("count", 0)),
        token.get("username") or None,
    )
