"""HTTP as the model speaks it: one connection, kept open, that all its outsiders take turns on. A
client for everything would take a quarter of a run's time."""

from __future__ import annotations

import json
import select
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

TIMEOUT_S = 60
FAILED = 500


@dataclass(frozen=True)
class PageAnswer:
    """cookies: Set-Cookie, each a line."""

    status_code: int
    text: str
    location: str
    cookies: Sequence[str]

    def json(self) -> Any:
        return json.loads(self.text)


class ServerFailedError(Exception):
    """The server says that it failed: whatever it would have refused or let in, nobody knows."""


class SharedLine:
    """Raises OSError, HTTPException where the server does not answer, and ServerFailedError where
    it answers that it has failed."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self._http = HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)

    def close(self) -> None:
        self._http.close()

    def ask(
        self, method: str, path: str, headers: Mapping[str, str], content: bytes = b""
    ) -> PageAnswer:
        if self._http.sock is not None and self._ended():
            self._http.close()  # the next request opens it anew
        self._http.request(method, path, content or None, dict(headers))
        got = self._http.getresponse()
        if got.status >= FAILED:
            got.read()
            raise ServerFailedError(f"{got.status} of {method} {path.split('?', maxsplit=1)[0]}")
        return PageAnswer(
            got.status,
            got.read().decode("utf-8", "replace"),
            got.getheader("location", ""),
            got.headers.get_all("set-cookie", []),
        )

    def _ended(self) -> bool:
        """Nothing was asked: what is there to be read can only be the end."""
        return bool(select.select([self._http.sock], [], [], 0)[0])


def as_form(headers: Mapping[str, str], fields: Mapping[str, str]) -> tuple[dict[str, str], bytes]:
    """→ headers and content of a form that is sent"""
    kind = {"content-type": "application/x-www-form-urlencoded"}
    return dict(headers) | kind, urlencode(fields).encode()
