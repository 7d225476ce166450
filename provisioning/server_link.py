"""HTTP to the project's server: docs/reference/protocols.md, section 4.

Every failure is either a refusal (the server decided, nothing was stored) or an unknown outcome
(no answer came), because what was under way is treated differently in the two cases.
"""

from __future__ import annotations

from typing import Any

import httpx

from tallystick.common.errors import RefusedError, UnreachableError
from tallystick.common.server_url import checked_url
from tallystick.provisioning.custody.interface import ServerCredential

TIMEOUT_S = 5.0
# HTTP servers close a connection that was idle for about five seconds. One that is used again at
# that moment loses the request, so it is not used again for long before.
IDLE_S = 2.0


class RegistryRefusedError(RefusedError):
    """The server decided against a request; it stored nothing. code: the status; reason: the code
    of the server's error object."""

    def __init__(
        self, what: str, code: str, *, kept: str = "", todo: str = "", reason: str = ""
    ) -> None:
        super().__init__(what, kept=kept, todo=todo)
        self.code = code
        self.reason = reason


class OutcomeUnknownError(UnreachableError):
    """No answer came: the server may or may not have done it."""


class NoConnectionError(OutcomeUnknownError):
    """Not even a connection came about, so nothing was asked of the server."""


class ServerLink:
    """One credential's way to the server; safe for several threads. renewal: what to do about a
    credential that the server takes no more. transport: in place of the network."""

    renewal = "Get a new credential and run `tally station enroll` with it."

    def __init__(
        self,
        credential: ServerCredential,
        *,
        timeout_s: float = TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = checked_url(credential.url)
        self.credential_id = credential.id
        self._client = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {credential.token.reveal().decode()}"},
            timeout=timeout_s,
            limits=httpx.Limits(keepalive_expiry=IDLE_S),
            follow_redirects=False,
            transport=transport,
        )

    def close(self) -> None:
        self._client.close()

    def _call(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        content: bytes | None = None,
        content_type: str = "application/json",
        json: Any = None,
    ) -> dict[str, Any]:
        headers = {"Content-Type": content_type} if content is not None else None
        try:
            answer = self._client.request(method, path, content=content, json=json, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise NoConnectionError(
                f"No server answers at {self.url}.", todo="Start it, or check the URL."
            ) from None
        except httpx.HTTPError as error:
            raise OutcomeUnknownError(
                f"The server at {self.url} did not answer the request to {doing} "
                f"({type(error).__name__})."
            ) from None
        if answer.status_code >= 500:
            raise OutcomeUnknownError(
                f"The server at {self.url} failed to {doing} (status {answer.status_code}).",
                todo="Look into the server's log.",
            )
        body = _object(answer)
        if answer.is_success:
            return body
        raise _refusal(doing, answer.status_code, body, self.renewal)


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json() if answer.content else {}
    except ValueError:
        body = {}
    return body if isinstance(body, dict) else {}


def _refusal(doing: str, status: int, body: dict[str, Any], renewal: str) -> RegistryRefusedError:
    error = body.get("error")
    if not isinstance(error, dict):
        error = {}
    what = error.get("what") or f"status {status}"
    todo = str(error.get("todo") or "")
    if status == 401:
        todo = renewal
    return RegistryRefusedError(
        f"The server refused to {doing}: {what}",
        str(status),
        kept=str(error.get("kept") or ""),
        todo=todo,
        reason=str(error.get("code") or ""),
    )
