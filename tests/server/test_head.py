"""HEAD is answered as GET, without content (RFC 9110 9.3.2)."""

from __future__ import annotations

import json
from dataclasses import replace

import httpx
import pytest

from tallystick.server.serving.running import running_in_thread

CHANGING = {"date", "set-cookie", "content-security-policy"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/health", 200), ("/v1/whoami", 200), ("/v1/cards", 403), ("/v1/nothing", 404),
        ("/p/default/.well-known/openid-configuration", 200), ("/p/default/oidc/jwks", 200),
        ("/p/default/oidc/userinfo", 401), ("/p/default/oidc/token", 405), ("/v1/verify", 405),
        ("/p/default/sign-in", 200), ("/p/default/", 303), ("/p/nobody/sign-in", 404),
        ("/static/style.css", 200), ("/v1/openapi.json", 200),
    ],
)  # fmt: skip
def test_head_has_the_headers_of_get(server, path, status):
    token = server.service.token.reveal().decode()
    headers = {} if "userinfo" in path else {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=server.client.base_url, headers=headers, timeout=60) as client:
        got, had = client.get(path), client.head(path)
        assert (got.status_code, had.status_code) == (status, status)
        assert had.content == b"" and (got.content or status == 303)
        same = set(got.headers) - CHANGING
        assert {name: had.headers.get(name) for name in same} == {n: got.headers[n] for n in same}
        assert client.get(path).status_code == status  # the connection has nothing left over
    if status == 405:
        assert had.headers["allow"] == "POST"


def test_the_request_log_says_what_was_asked(server, tmp_path):
    log = tmp_path / "requests.log"
    with running_in_thread(replace(server.settings, request_log=log)) as url:
        httpx.head(f"{url}/p/default/oidc/jwks", timeout=60)
    line = json.loads(log.read_text())
    assert (line["method"], line["route"], line["status"]) == (
        "HEAD", "/p/{firm}/oidc/jwks", 200,
    )  # fmt: skip
