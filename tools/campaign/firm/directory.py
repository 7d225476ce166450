"""The firm's directory: it tells the server of joiners and leavers by SCIM, or sends a list."""

from __future__ import annotations

from http import HTTPStatus

import httpx

from tallystick.server.accounts.credentials import NewCredential
from tallystick.tools.campaign.firm.ground import URL, House

_USER = "urn:ietf:params:scim:schemas:core:2.0:User"
_PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
_SCIM = "application/scim+json"


class PersonnelOffice:
    """Each call is True once the server has acknowledged it; None where it refused; False where it
    did not answer, or could not write: the same is told again later."""

    def __init__(self, house: House, scim: NewCredential, admin: NewCredential) -> None:
        self._scim = _client(house, scim, "10.0.5.1")
        self._lists = _client(house, admin, "10.0.5.2")

    def close(self) -> None:
        self._scim.close()
        self._lists.close()

    def joins(self, login: str) -> bool | None:
        body = {
            "schemas": [_USER],
            "userName": login,
            "active": True,
            "emails": [{"value": f"{login}@firm.example", "primary": True}],
        }
        said = self._tell("POST", "/scim/v2/Users", body)
        if said == HTTPStatus.CONFLICT:  # told before, and the answer was lost
            return True
        return _done(said)

    def joins_by_list(self, login: str) -> bool | None:
        lines = f"login,email\n{login},{login}@firm.example\n"
        return _done(self._ask(self._lists, "POST", "/v1/people/import", {"csv": lines})[0])

    def leaves(self, login: str) -> bool | None:
        query = {"filter": f'userName eq "{login}"'}
        status, found = self._ask(self._scim, "GET", "/scim/v2/Users", None, query)
        if status != HTTPStatus.OK or not found.get("Resources"):
            return _done(status) and None
        body = {
            "schemas": [_PATCH],
            "Operations": [{"op": "replace", "path": "active", "value": False}],
        }
        return _done(self._tell("PATCH", f"/scim/v2/Users/{found['Resources'][0]['id']}", body))

    def bars(self, login: str) -> bool | None:
        """By hand: whoever is barred keeps what he has, and it lets him in nowhere."""
        status, found = self._ask(self._lists, "GET", "/v1/people", None, {"q": login})
        if status != HTTPStatus.OK or not found.get("people"):
            return _done(status) and None
        path = f"/v1/people/{found['people'][0]['id']}"
        return _done(self._ask(self._lists, "PATCH", path, {"disabled": True})[0])

    def _tell(self, method: str, path: str, body: dict[str, object]) -> int:
        return self._ask(self._scim, method, path, body)[0]

    def _ask(
        self, client: httpx.Client, method: str, path: str, body: dict[str, object] | None,
        query: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, list[dict[str, str]]]]:  # fmt: skip
        kind = _SCIM if client is self._scim else "application/json"
        try:
            answer = client.request(
                method, path, json=body, params=query, headers={"content-type": kind}
            )
        except httpx.TransportError:
            return 0, {}
        return answer.status_code, answer.json() if answer.content else {}


def _client(house: House, credential: NewCredential, address: str) -> httpx.Client:
    token = credential.token.reveal().decode()
    return httpx.Client(
        base_url=URL,
        transport=house.transport(address),
        headers={"authorization": f"Bearer {token}"},
    )


def _done(status: int) -> bool | None:
    if status == 0 or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return False
    return True if status < HTTPStatus.BAD_REQUEST else None
