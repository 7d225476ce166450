"""The portal in a real Chromium: WebAuthn with its virtual authenticator."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from tallystick.server.accounts import factors
from tallystick.server.services import oidc, oidc_clients
from tallystick.server.signing_in.stepup import FRESH_S
from tallystick.server.store.opened import opened
from tests.server.chromium import first_password, make, sign_in, sign_out, virtual_key
from tests.server.portal_driver import Portal

pytestmark = pytest.mark.slow


def test_a_fingerprint_reader(page, settings, clock):
    first_password(page, "ann", make(settings, clock, "ann"))
    devtools, key = virtual_key(page)
    sign_in(page, "ann")
    page.get_by_role("heading", name="My account").wait_for()
    page.get_by_role("link", name="Fingerprint reader or security key").click()
    page.get_by_label("Name for it").fill("My reader")
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("It works, and is enrolled.").wait_for()
    assert page.get_by_text("My reader").count() > 0
    # What the authenticator says of itself is recorded.
    with opened(settings) as parts, parts.database.read() as connection:
        (factor,) = factors.of_person(connection, 1)
    assert factor.facts["attestation"] == "packed"
    assert len(factor.facts["aaguid"]) == 36 and factor.facts["backed_up"] is False

    sign_out(page)
    sign_in(page, "ann")
    page.get_by_role("button", name="My reader").click()
    page.get_by_role("heading", name="My account").wait_for()

    # Without the finger there is no signing in.
    sign_out(page)
    devtools.send("WebAuthn.setUserVerified", {"authenticatorId": key, "isUserVerified": False})
    sign_in(page, "ann")
    page.get_by_role("button", name="My reader").click()
    page.get_by_text("That did not work.").wait_for()
    devtools.send("WebAuthn.setUserVerified", {"authenticatorId": key, "isUserVerified": True})
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("heading", name="My account").wait_for()

    # Named, used, and removed with a proof that is fresh.
    page.get_by_text("Rename My reader").click()
    page.get_by_label("New name of My reader").fill("The blue one")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("The blue one").first.wait_for()
    assert (
        "last used Fri 15 Jan 2027 08:0" in page.locator("li", has_text="The blue one").inner_text()
    )
    clock.advance(FRESH_S)
    page.get_by_role("link", name="Remove The blue one").click()
    page.get_by_role("button", name="The blue one").click()
    page.get_by_role("heading", name="Remove: The blue one").wait_for()
    page.get_by_role("link", name="Keep it").click()

    # A second enrolment of the same key is refused by the browser (excludeCredentials).
    page.get_by_role("link", name="Fingerprint reader or security key").click()
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("enrolled already").wait_for()

    page.get_by_role("link", name="Start again").click()
    page.get_by_role("link", name="Back").click()
    page.get_by_role("link", name="Remove The blue one").click()
    page.get_by_role("button", name="Remove it").click()
    page.get_by_text("Your firm asks for 1 at least.").wait_for()


FORM = """<!doctype html><title>Wiki</title><form method="post" action="{action}">{fields}
<button>Leave</button></form>"""


@pytest.fixture
def wiki():
    """A service on a site of its own: the portal is at localhost. → its address, and what its page
    /leave is made of."""
    shown: dict[str, str] = {}

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = FORM.format_map(shown) if self.path == "/leave" else "<h1>Wiki</h1>"
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", shown
    server.shutdown()
    server.server_close()


def test_a_service_signs_its_user_out_by_a_form(page, settings, clock, tmp_path, wiki):
    """From another site the browser sends no cookie with a form, but does with the address that it
    is sent to. With the ID token at once; without it the person is asked, and sent on."""
    site, shown = wiki
    callback, after = f"{site}/callback", f"{site}/bye"
    with opened(settings) as parts, parts.database.write() as connection:
        client, secret = oidc_clients.add_client(
            connection, parts.ring, firm_id=1, name="Wiki", redirect_uris=[callback],
            now=clock(), actor="test", post_logout_uris=(after,),
        )  # fmt: skip
    Portal("", settings, clock, tmp_path).policy(minimum_methods=0)
    first_password(page, "ann", make(settings, clock, "ann"))
    root = page.url.split("/p/")[0] + "/p/default"
    verifier = "v" * 64

    def into_the_wiki() -> str:
        """→ the ID token."""
        query = {
            "client_id": client, "redirect_uri": callback, "response_type": "code",
            "scope": "openid", "state": "s", "code_challenge": oidc._s256(verifier),
            "code_challenge_method": "S256",
        }  # fmt: skip
        sign_in(page, "ann")
        page.get_by_role("heading", name="My account").wait_for()
        page.goto(f"{root}/oidc/authorize?{urlencode(query)}")
        code = parse_qs(urlsplit(page.url).query)["code"][0]
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": callback,
            "code_verifier": verifier, "client_id": client, "client_secret": secret,
        }  # fmt: skip
        answer = httpx.post(f"{root}/oidc/token", data=form, timeout=60)
        return str(answer.json()["id_token"])

    def leave(**fields: str) -> None:
        fields |= {"post_logout_redirect_uri": after, "client_id": client, "state": "s 1"}
        inputs = (f'<input type="hidden" name="{n}" value="{v}">' for n, v in fields.items())
        shown.update(action=f"{root}/oidc/end-session", fields="".join(inputs))
        page.goto(f"{site}/leave")
        page.get_by_role("button", name="Leave").click()

    leave(id_token_hint=into_the_wiki())
    page.wait_for_url(f"{after}?state=s+1")
    page.goto(f"{root}/")
    page.get_by_role("heading", name="Sign in").wait_for()

    into_the_wiki()
    leave()
    page.get_by_text("You come from Wiki.").wait_for()
    page.get_by_role("main").get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{after}?state=s+1")
    page.goto(f"{root}/")
    page.get_by_role("heading", name="Sign in").wait_for()
