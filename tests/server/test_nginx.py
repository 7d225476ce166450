"""nginx in front of an application, with examples/nginx-login: a library that is not ours."""

from __future__ import annotations

import importlib.util
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import uvicorn
from sqlalchemy import text

from tallystick.server.services import oidc_clients
from tallystick.server.store.opened import opened
from tests import needs
from tests.server.test_services import WAIT_S, _answers, free_port, portal, running, until
from tests.service_pages import picture_of_page, recipe

__all__ = ["portal"]
pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).parents[2] / "examples/nginx-login"

NGINX = """
daemon off;
user root;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    {site}
  }}
}}
"""


PAGE = """<!doctype html><title>Wiki</title>
<body style="font: 18px sans-serif; margin: 2rem"><h1>The wiki</h1><p>{}</p>"""


class Application(BaseHTTPRequestHandler):
    """Tells whom nginx says that it serves."""

    def do_GET(self) -> None:
        body = f"{self.path} for {bytes.fromhex(self.headers['X-User']).decode()}".encode()
        if "text/html" in self.headers.get("accept", ""):
            body = PAGE.format(body.decode()).encode()
        self.send_response(200)
        self.send_header("content-type", "text/html" if body.startswith(b"<") else "text/plain")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def application() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Application)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def site(portal, application, tmp_path, monkeypatch) -> Iterator[str]:
    needs.nginx.or_skip()
    portal.clock.now = time.time()  # the library looks at its own clock
    port = free_port()
    url = f"http://localhost:{port}"
    with opened(portal.settings) as parts, parts.database.write() as connection:
        client, secret = oidc_clients.add_client(
            connection, parts.ring, firm_id=1, name="nginx", now=portal.clock(), actor="test",
            redirect_uris=[f"{url}/_login/callback"],
        )  # fmt: skip
    for name, value in {
        "ISSUER": f"{portal.url}/p/default", "CLIENT_ID": client, "CLIENT_SECRET": secret,
        "SESSION_SECRET": secrets.token_hex(32), "INSECURE": "yes",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"LOGIN_{name}", value)
    spec = importlib.util.spec_from_file_location("login", EXAMPLE / "login.py")
    login = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(login)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        running_login = uvicorn.Server(uvicorn.Config(login.app(), log_config=None, lifespan="off"))
        thread = threading.Thread(target=running_login.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        config = recipe(
            "nginx",
            "site",
            {
                "APPLICATION": f"127.0.0.1:{application}",
                "LOGIN": f"127.0.0.1:{sock.getsockname()[1]}",
            },
        )
        (tmp_path / "nginx.conf").write_text(NGINX.format(folder=tmp_path, port=port, site=config))
        log = tmp_path / "out.log"
        nginx = str(needs.program("nginx"))
        command = [nginx, "-p", str(tmp_path), "-e", str(tmp_path / "error.log")]
        with running(*command, "-c", str(tmp_path / "nginx.conf"), log=log):
            until("nginx", log, lambda: _answers(f"{url}/"))
            yield url
        running_login.should_exit = True
        thread.join()


@pytest.mark.filterwarnings("default")  # the library warns of its own future
def test_nginx_with_auth_request_and_authlib(portal, site):
    stranger = httpx.get(f"{site}/wiki?a=1", follow_redirects=True, timeout=WAIT_S)
    assert "Sign in" in stranger.text and str(stranger.url).startswith(portal.url)
    ann = portal.staff("ann", "user")
    with opened(portal.settings) as parts, parts.database.write() as connection:
        connection.execute(text("UPDATE person SET groups = 'staff'"))
    page = ann.http.get(f"{site}/wiki?a=1&b=%20", follow_redirects=True)
    assert page.text == "/wiki?a=1&b=%20 for ann" and str(page.url).startswith(site)
    picture_of_page("nginx", f"{site}/wiki", dict(ann.http.cookies))
    assert ann.http.get(f"{site}/other", follow_redirects=False).text == "/other for ann"
    forged = {"X-User": b"root".hex()}
    assert ann.http.get(f"{site}/other", headers=forged).text == "/other for ann"
    assert httpx.get(f"{site}/other", headers=forged, timeout=WAIT_S).status_code == 303
    assert httpx.get(f"{site}/_login/check", timeout=WAIT_S).status_code == 404  # internal


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "wanted",
    ["//evil.example/", "https://evil.example/", "/\\evil.example", "", "%2F%2Fevil.example"],
)
def test_nobody_is_sent_elsewhere_afterwards(portal, site, wanted):
    ann = portal.staff("ann", "user")
    page = ann.http.get(f"{site}/_login/start?next={wanted}", follow_redirects=True)
    assert str(page.url) == f"{site}/" and page.text == "/ for ann"


@pytest.mark.filterwarnings("default")
def test_a_code_of_another_browser_signs_nobody_in(portal, site):
    """The library holds the state to the browser that has begun."""
    ann = portal.staff("ann", "user")
    answer = ann.http.get(f"{site}/_login/start", follow_redirects=True)
    assert answer.status_code == 200
    begun = httpx.Client(timeout=WAIT_S)
    step = begun.get(f"{site}/_login/start").headers["location"]
    back = ann.http.get(step, follow_redirects=False).headers["location"]
    assert httpx.get(back, timeout=WAIT_S).status_code == 403
    begun.close()
