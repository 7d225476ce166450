"""What the certification profiles Basic OP and Config OP of OpenID Connect ask for, and what comes
with them: refresh tokens, revocation, pushed requests, signed assertions, sign-out.

docs/reference/openid.md lists the tests of the profiles beside these.
"""

from __future__ import annotations

import json
import re
import secrets
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from click.testing import CliRunner
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from tallystick.server.errors import ApiError
from tallystick.server.operating.cli import server as command
from tallystick.server.services import oidc, oidc_clients, oidc_requests
from tallystick.server.serving.running import running_in_thread
from tallystick.server.store.opened import opened
from tests.server.portal_driver import Browser, Portal
from tests.server.test_oidc import CALLBACK, VERIFIER
from tests.server.test_two_factors import sql
from tests.service_pages import picture_of_page

AFTER = "https://service.example/bye"
CHALLENGE = oidc._s256(VERIFIER)


@pytest.fixture
def portal(settings, clock, tmp_path):
    with running_in_thread(settings) as url:
        yield Portal(url.replace("127.0.0.1", "localhost"), settings, clock, tmp_path)
        Browser.close_all()


class Service:
    """A client as its own code would be."""

    def __init__(self, portal: Portal, name: str = "Service", jwks: str = "") -> None:
        self.portal = portal
        self.base = f"{portal.url}/p/default"
        self.discovered = httpx.get(
            f"{self.base}/.well-known/openid-configuration", timeout=60
        ).json()
        with opened(portal.settings) as parts, parts.database.write() as connection:
            self.id, self.secret = oidc_clients.add_client(
                connection,
                parts.ring,
                firm_id=1,
                name=name,
                redirect_uris=[CALLBACK],
                now=portal.clock(),
                actor="test",
                post_logout_uris=(AFTER,),
                jwks=jwks,
            )

    def query(self, **more: str) -> dict[str, str]:
        return {
            "client_id": self.id,
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": "openid",
            "state": "s-1",
            "nonce": "n-1",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        } | more

    def ask(self, browser: Browser, **more: str) -> httpx.Response:
        url = f"{self.base}/oidc/authorize?{urlencode(self.query(**more))}"
        return browser.http.get(url, follow_redirects=False)

    def form(self, answer: httpx.Response) -> dict[str, str]:
        return {
            "grant_type": "authorization_code",
            "code": back(answer)["code"],
            "redirect_uri": CALLBACK,
            "code_verifier": VERIFIER,
        }

    def post(self, form: dict[str, str], path: str = "token") -> httpx.Response:
        who = {"client_id": self.id, "client_secret": self.secret}
        return httpx.post(f"{self.base}/oidc/{path}", data=who | form, timeout=60)

    def tokens(self, browser: Browser, **more: str) -> dict[str, object]:
        answer = self.post(self.form(self.ask(browser, **more)))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def claims(self, token: object) -> dict[str, object]:
        keys = KeySet.import_key_set(httpx.get(f"{self.base}/oidc/jwks", timeout=60).json())
        return dict(jwt.decode(str(token), keys, algorithms=["RS256"]).claims)

    def info(self, token: object, kind: str = "Bearer") -> httpx.Response:
        return httpx.get(
            f"{self.base}/oidc/userinfo", headers={"authorization": f"{kind} {token}"}, timeout=60
        )


@pytest.fixture
def service(portal):
    return Service(portal)


@pytest.fixture
def ann(portal):
    return portal.staff("ann", "user")


def back(answer: httpx.Response) -> dict[str, str]:
    """What the browser brings back to the service."""
    location = answer.headers["location"]
    assert location.startswith(CALLBACK + "?"), location
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


# ---- Config OP


def test_discovery_names_what_is_there(service):
    found = service.discovered
    assert found["issuer"] == service.base
    required = {  # OpenID Connect Discovery 1.0, section 3
        *("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri"),
        *("response_types_supported", "subject_types_supported"),
        "id_token_signing_alg_values_supported",
    }
    assert required <= set(found) and "RS256" in found["id_token_signing_alg_values_supported"]
    assert "openid" in found["scopes_supported"]
    for name, url in found.items():
        if name.endswith(("_endpoint", "_uri")):
            assert url.startswith(found["issuer"])
            assert httpx.get(url, timeout=60).status_code not in (404, 500), name
    keys = httpx.get(found["jwks_uri"], timeout=60).json()["keys"]
    assert keys and all(not {"d", "p", "q"} & set(key) for key in keys)


# ---- Basic OP: the request


def test_response_type_missing(service, ann):
    query = service.query()
    del query["response_type"]
    answer = ann.http.get(
        f"{service.base}/oidc/authorize?{urlencode(query)}", follow_redirects=False
    )
    assert back(answer)["error"] == "invalid_request"


@pytest.mark.parametrize("length", [1, 255, 256, 259, 284, 2000, 8000])
@pytest.mark.parametrize("signed_in", [True, False])
def test_a_state_of_any_length_comes_back_whole(portal, service, length, signed_in):
    state = ("A b&c=%/é" * length)[:length]
    browser = portal.staff("ann", "user")
    if signed_in:
        assert back(service.ask(browser, state=state))["state"] == state
    wrong = service.ask(browser, state=state, response_type="token")
    assert back(wrong) == back(wrong) | {"error": "unsupported_response_type", "state": state}
    if not signed_in:
        stranger = portal.browser().get("/sign-in")
        answer = service.ask(stranger, state=state)
        (wanted,) = parse_qs(urlsplit(answer.headers["location"]).query)["next"]
        assert len(wanted) < 2000  # the way over the sign-in pages
        resumed = browser.http.get(portal.url + wanted, follow_redirects=False)
        assert back(resumed)["state"] == state


def test_a_secret_that_is_posted_by_mistake_stays_out_of_addresses(service):
    form = service.query() | {"client_secret": service.secret, "client_assertion": "a.b.c"}
    answer = httpx.post(f"{service.base}/oidc/authorize", data=form, timeout=60)
    assert answer.status_code == 303
    assert service.secret not in str(answer.headers) and "a.b.c" not in str(answer.headers)


def test_a_request_by_post(portal, service, ann):
    """Core 3.1.2.1: MUST. The cookie of the session does not come with a form of another site."""
    url = f"{service.base}/oidc/authorize"
    for state in ("s-1", "x" * 60_000):
        first = httpx.post(url, data=service.query(state=state), timeout=60)
        assert first.status_code == 303 and "set-cookie" not in first.headers
        answer = ann.http.get(portal.url + first.headers["location"], follow_redirects=False)
        assert back(answer)["state"] == state and "code" in back(answer)


def test_without_nonce_other_scopes_and_unknown_parameters(service, ann):
    query = service.query(
        scope="email profile openid address phone something-else", colour="blue", display="popup",
        ui_locales="se", claims_locales="se", login_hint="ann", acr_values="1 2", prompt="consent",
    )  # fmt: skip
    del query["nonce"]
    answer = ann.http.get(
        f"{service.base}/oidc/authorize?{urlencode(query)}", follow_redirects=False
    )
    tokens = service.post(service.form(answer)).json()
    assert "nonce" not in service.claims(tokens["id_token"])


def heading(browser) -> str:
    return re.search(r"<h1>(.*?)</h1>", browser.page.text, re.S).group(1)


def test_pages_speak_as_the_service_does(portal, service, ann):
    """`ui_locales` (Core 3.1.2.1): until the person is back there, unless she chose one herself."""
    known = httpx.get(f"{service.base}/.well-known/openid-configuration", timeout=60).json()
    assert known["ui_locales_supported"] == ["en", "de", "fr", "es"]
    anmelden, connexion = "Anmelden", "Se connecter"

    def asked(browser, **more: str):
        query = urlencode(service.query(**more))
        browser.page = browser.http.get(f"{service.base}/oidc/authorize?{query}")
        return browser

    browser = portal.browser()
    browser.http.headers["accept-language"] = "fr"
    assert heading(browser.get("/sign-in")) == connexion
    for wanted in ("de", "nb DE-AT fr", "x-klingon ../../de de", "de " + "x " * 5000):
        stranger = portal.browser()
        stranger.http.headers["accept-language"] = "fr"
        assert heading(asked(stranger, ui_locales=wanted)) == anmelden, wanted
        # A form that is answered, and other pages on the way, speak it, too.
        stranger.post("/sign-in", login="ann", password="wrong")
        assert 'lang="de"' in stranger.page.text and heading(stranger) == anmelden
        assert heading(stranger.get("/sign-in")) == anmelden
        # Another service that says nothing of it gets the browser's.
        assert heading(asked(stranger)) == connexion
    for odd in ("nb", "", "d e", "\u202ede"):
        stranger = portal.browser()
        stranger.http.headers["accept-language"] = "fr"
        assert heading(asked(stranger, ui_locales=odd)) == connexion, odd
    # What goes wrong on the way is told in it.
    portal.policy(minimum_methods=3)
    page = asked(ann, ui_locales="es", acr_values="mfa").page
    assert page.status_code == 403 and 'lang="es"' in page.text
    portal.policy(minimum_methods=0)
    # Back at the service: over.
    other = {"state": "x", "code_challenge": "x" * 43}
    sent = service.ask(ann, ui_locales="es", prompt="login", **other).headers["set-cookie"]
    assert "tally_service-language=es" in sent and "HttpOnly" in sent and "Max-Age" not in sent
    answer = service.ask(ann, ui_locales="es")
    assert "code" in back(answer) and 'tally_service-language=""' in answer.headers["set-cookie"]
    # Her own choice comes first: in the browser, and of the account.
    browser.post("/language", language="es", next="")
    assert heading(asked(browser, ui_locales="de")) == "Iniciar sesión"
    ann.get("/").post("/language", language="fr", next="")
    del ann.http.cookies["tally_language"]
    portal.policy(minimum_methods=3)
    assert 'lang="fr"' in asked(ann, ui_locales="de").page.text


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("request", "request_not_supported"),
        ("request_uri", "request_uri_not_supported"),
        ("registration", "registration_not_supported"),
    ],
)
def test_what_is_not_offered_is_said(service, ann, name, error):
    assert back(service.ask(ann, **{name: "eyJhbGciOiJub25lIn0.e30."}))["error"] == error


@pytest.mark.parametrize("name", ["state", "nonce", "scope", "prompt"])
def test_a_parameter_that_comes_twice_is_refused(service, ann, name):
    pairs = [*service.query().items(), (name, "x")]
    if name == "prompt":
        pairs.append((name, "x"))
    url = f"{service.base}/oidc/authorize"
    answer = ann.http.get(f"{url}?{urlencode(pairs)}", follow_redirects=False)
    assert back(answer)["error"] == "invalid_request"
    for twice in ("client_id", "redirect_uri"):
        pairs = [*service.query().items(), (twice, service.query()[twice])]
        answer = ann.http.get(f"{url}?{urlencode(pairs)}", follow_redirects=False)
        assert answer.status_code == 400 and "location" not in answer.headers


def test_prompt_none(portal, service, ann):
    assert "code" in back(service.ask(ann, prompt="none"))
    stranger = portal.browser().get("/sign-in")
    assert back(service.ask(stranger, prompt="none"))["error"] == "login_required"
    assert back(service.ask(ann, prompt="none login"))["error"] == "invalid_request"


def test_id_token_hint(portal, service, ann):
    token = str(service.tokens(ann)["id_token"])
    assert "code" in back(service.ask(ann, prompt="none", id_token_hint=token))
    bob = portal.staff("bob", "user")
    assert back(service.ask(bob, prompt="none", id_token_hint=token))["error"] == "login_required"
    assert "/sign-in?" in service.ask(bob, id_token_hint=token).headers["location"]
    assert back(service.ask(ann, prompt="none", id_token_hint="x"))["error"] == "login_required"
    portal.clock.advance(oidc.TOKEN_LIFE_S + 60)  # it may be over (Core 3.1.2.1)
    assert "code" in back(service.ask(ann, prompt="none", id_token_hint=token))


def test_max_age(portal, service, ann):
    portal.clock.advance(2)
    assert "/sign-in?" in service.ask(ann, max_age="1").headers["location"]
    other = portal.staff("bob", "user")
    claims = service.claims(service.tokens(other, max_age="10000")["id_token"])
    assert claims["auth_time"] <= claims["iat"]


def test_scopes_and_what_they_stand_for(portal, service, ann):
    with opened(portal.settings) as parts, parts.database.write() as connection:
        from sqlalchemy import text

        connection.execute(
            text(
                "UPDATE person SET email = 'ann@example.org', email_verified = 1, "
                "full_name = 'Ann Example', groups = 'staff' || char(10) || 'vpn users'"
            )
        )
    info = service.info(service.tokens(ann, scope="openid profile email groups")["access_token"])
    assert info.json() == {
        "sub": info.json()["sub"],
        "preferred_username": "ann",
        "name": "Ann Example",
        "email": "ann@example.org",
        "email_verified": True,
        "groups": ["staff", "vpn users"],
    }
    for scope, told in (
        ("", set()), ("profile", {"preferred_username", "name"}), ("groups", {"groups"}),
        ("email", {"email", "email_verified"}), ("offline_access", set()),
    ):  # fmt: skip
        token = service.tokens(ann, scope=f"openid {scope}".strip())["access_token"]
        assert set(service.info(token).json()) == {"sub"} | told, scope


def test_claims_asked_for_by_name(portal, service, ann):
    asked = json.dumps(
        {"userinfo": {"preferred_username": {"essential": True}, "picture": None},
         "id_token": {"groups": None}}
    )  # fmt: skip
    tokens = service.tokens(ann, claims=asked)
    assert service.info(tokens["access_token"]).json()["preferred_username"] == "ann"
    claims = service.claims(tokens["id_token"])
    assert claims["groups"] == [] and "preferred_username" not in claims
    for odd in ("x", "[]", '{"id_token": []}', '{"id_token":{"sub":7}}', "[" * 5000, "{" * 9000):
        assert back(service.ask(ann, claims=odd))["error"] == "invalid_request", odd
    other = json.dumps({"id_token": {"sub": {"value": "somebody else"}}})
    assert back(service.ask(ann, claims=other, prompt="none"))["error"] == "login_required"


def test_a_service_may_want_an_acr_by_claims(portal, service):
    portal.policy(minimum_methods=0)
    portal.person("bob")
    browser = portal.browser().sign_in("bob")
    wanted = json.dumps({"id_token": {"acr": {"essential": True, "values": ["mfa"]}}})
    answer = service.ask(browser, claims=wanted, prompt="none")
    assert back(answer)["error"] == "interaction_required"


def _acr(essential: bool, values: object) -> str:
    return json.dumps({"id_token": {"acr": {"essential": essential, "values": values}}})


def test_an_acr_that_cannot_be_met_is_a_failure(portal, service, ann):
    """Core 5.5.1.1: an essential acr is one of those asked for, or nobody signs in."""
    answer = service.ask(ann, claims=_acr(True, ["gold"]))
    assert back(answer)["error"] == "unmet_authentication_requirements"
    assert "code" in back(service.ask(ann, claims=_acr(False, ["gold"]), state="s-2"))
    assert "code" in back(service.ask(ann, acr_values="gold", state="s-3"))
    token = service.tokens(ann, claims=_acr(True, ["gold", "pwd"]), state="s-4")["id_token"]
    assert service.claims(token)["acr"] == "pwd"
    portal.policy(minimum_methods=0)
    portal.person("bob")
    bob = portal.browser().sign_in("bob")
    answer = service.ask(bob, claims=_acr(True, ["gold", "mfa"]), prompt="none")
    assert back(answer)["error"] == "interaction_required"


@pytest.mark.parametrize(
    "claims",
    [
        _acr(True, "mfa"),
        _acr(True, [7]),
        '{"id_token": {"acr": [1]}}',
        '{"userinfo": {"sub": {"value": 7}}}',
        '{"userinfo": {"sub": {"value": "a"}}, "id_token": {"sub": {"value": "b"}}}',
        "[1]",
        "{",
        "[" * 5000,
    ],
)
def test_claims_of_another_form_are_refused(service, ann, claims):
    assert back(service.ask(ann, claims=claims))["error"] == "invalid_request"


def test_a_service_may_mean_one_person_by_either_kind_of_claims(service, ann):
    own = str(service.claims(service.tokens(ann)["id_token"])["sub"])
    for where in ("userinfo", "id_token"):
        for subject, key in ((own, "code"), ("0" * 32, "error")):
            claims = json.dumps({where: {"sub": {"value": subject}}})
            answer = service.ask(ann, claims=claims, prompt="none", state=f"{where}{key}")
            assert key in back(answer)


@pytest.mark.parametrize("value", ["-1", "soon", "1.5", "9" * 20])
def test_a_max_age_that_is_no_number_is_refused(service, ann, value):
    assert back(service.ask(ann, max_age=value))["error"] == "invalid_request"


def test_an_empty_parameter_is_as_good_as_none(portal, service, ann):
    """RFC 6749 3.1."""
    names = ("request", "request_uri", "registration", "claims", "max_age", "prompt", "nonce")
    assert "code" in back(service.ask(ann, **dict.fromkeys(names, "")))
    assert "state" not in back(service.ask(ann, state=""))
    assert back(service.ask(ann, response_type=""))["error"] == "invalid_request"
    form = service.form(service.ask(ann)) | {"scope": "", "refresh_token": ""}
    assert service.post(form).status_code == 200


def test_an_address_that_its_owner_has_set_is_not_verified(portal, service, ann):
    ann.get("/address").post("/address", address="boss@example.org")
    info = service.info(service.tokens(ann, scope="openid email")["access_token"]).json()
    assert (info["email"], info["email_verified"]) == ("boss@example.org", False)


# ---- Basic OP: tokens


def test_user_info_by_get_and_post(service, ann):
    token = service.tokens(ann)["access_token"]
    url = f"{service.base}/oidc/userinfo"
    for kind in ("Bearer", "bearer", "BEARER"):
        assert service.info(token, kind).status_code == 200
        posted = httpx.post(url, headers={"authorization": f"{kind} {token}"}, timeout=60)
        assert posted.status_code == 200
    assert httpx.post(url, data={"access_token": token}, timeout=60).json()["sub"]
    both = httpx.post(
        url, data={"access_token": token}, headers={"authorization": f"Bearer {token}"}, timeout=60
    )
    assert both.status_code == 400
    nothing = httpx.get(url, timeout=60)
    assert (nothing.status_code, nothing.headers["www-authenticate"]) == (401, "Bearer")
    wrong = httpx.get(url, headers={"authorization": "Bearer x"}, timeout=60)
    assert 'error="invalid_token"' in wrong.headers["www-authenticate"]


def test_a_code_that_comes_twice_ends_the_tokens_of_the_first_time(service, ann):
    """RFC 6749 4.1.2; also more than 30 seconds later."""
    for wait in (0, 31, 120):
        form = service.form(service.ask(ann, scope="openid offline_access"))
        tokens = service.post(form).json()
        assert service.info(tokens["access_token"]).status_code == 200
        service.portal.clock.advance(wait)
        again = service.post(form)
        assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
        assert service.info(tokens["access_token"]).status_code == 401
        refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        assert service.post(refresh).json()["error"] == "invalid_grant"


def test_a_secret_in_the_header_and_in_the_form(service, ann):
    form = service.form(service.ask(ann))
    url = f"{service.base}/oidc/token"
    assert httpx.post(url, data=form, auth=(service.id, service.secret), timeout=60).is_success
    assert service.post(service.form(service.ask(ann))).is_success
    wrong = httpx.post(url, data=form, auth=(service.id, "x"), timeout=60)
    assert (wrong.status_code, wrong.json()) == (401, {"error": "invalid_client"})
    assert "www-authenticate" in wrong.headers
    assert service.post({}).json()["error"] == "invalid_request"


def test_a_client_shows_who_it_is_in_one_way(portal, service, ann):
    """RFC 6749 2.3; what is said twice has to be the same."""
    other = Service(portal, name="Other")
    basic = httpx.BasicAuth(service.id, service.secret)

    def post(**more: str) -> httpx.Response:
        form = service.form(service.ask(ann)) | more
        return httpx.post(f"{service.base}/oidc/token", data=form, auth=basic, timeout=60)

    assert post(client_id=service.id, client_secret=service.secret).status_code == 200
    for more in (
        {"client_id": other.id},
        {"client_secret": other.secret},
        {"client_assertion": "a.b.c"},
    ):
        answer = post(**more)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), more
    form = service.query() | {"client_id": other.id}
    assert httpx.post(f"{service.base}/oidc/par", data=form, auth=basic, timeout=60).is_error


def test_refresh_tokens(portal, service, ann):
    assert "refresh_token" not in service.tokens(ann)
    first = service.tokens(ann, scope="openid profile offline_access")
    refresh = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    portal.clock.advance(oidc.TOKEN_LIFE_S)
    assert service.info(first["access_token"]).status_code == 401
    second = service.post(refresh).json()
    before, after = service.claims(first["id_token"]), service.claims(second["id_token"])
    for name in ("iss", "sub", "aud", "auth_time"):  # Core 12.2
        assert before[name] == after[name]
    assert "nonce" not in after and after["iat"] > before["iat"]
    assert service.info(second["access_token"]).json()["preferred_username"] == "ann"
    narrower = service.post(refresh | {"refresh_token": second["refresh_token"], "scope": "openid"})
    assert set(service.info(narrower.json()["access_token"]).json()) == {"sub"}
    wider = {"refresh_token": narrower.json()["refresh_token"], "scope": "openid email"}
    assert service.post(refresh | wider).json()["error"] == "invalid_scope"
    # One that comes twice was stolen: nothing of the grant is good any more.
    assert service.post(refresh).json()["error"] == "invalid_grant"
    third = {"refresh_token": narrower.json()["refresh_token"]}
    assert service.post(refresh | third).json()["error"] == "invalid_grant"
    assert service.info(narrower.json()["access_token"]).status_code == 401


def test_a_refresh_token_of_another_service_or_of_a_session_that_is_over(portal, service, ann):
    tokens = service.tokens(ann, scope="openid offline_access")
    form = {"grant_type": "refresh_token", "refresh_token": str(tokens["refresh_token"])}
    other = Service(portal, "Other")
    assert other.post(form).json()["error"] == "invalid_grant"
    ann.get("/").post("/sign-out")
    assert service.post(form).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("how", ["shorter", "barred", "over"])
def test_a_refresh_token_of_a_session_that_serves_no_more(portal, service, ann, how):
    """The session's row is there: by another policy, or its person's state, it is over."""
    tokens = service.tokens(ann, scope="openid offline_access")
    form = {"grant_type": "refresh_token", "refresh_token": str(tokens["refresh_token"])}
    form["refresh_token"] = service.post(form).json()["refresh_token"]
    if how == "shorter":
        portal.clock.advance(3600)
        portal.policy(session_hours=1)
    elif how == "barred":
        sql(portal, "UPDATE person SET disabled_at = 1")
    else:
        sql(portal, "UPDATE oidc_grant SET expires_at = 1")
    assert sql(portal, "SELECT count(*) FROM session") == [(1,)]
    answer = service.post(form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_revocation(portal, service, ann):
    other = Service(portal, "Other")
    for name in ("access_token", "refresh_token"):
        tokens = service.tokens(ann, scope="openid offline_access")
        form = {"token": str(tokens[name])}
        assert other.post(form, "revoke").status_code == 200
        assert service.info(tokens["access_token"]).status_code == 200
        assert service.post(form, "revoke").status_code == 200
        assert service.info(tokens["access_token"]).status_code == 401
    assert service.post({"token": "nonsense"}, "revoke").status_code == 200
    assert service.post({"token": "x", "client_secret": "x"}, "revoke").status_code == 401


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        *((path, "GET, HEAD, POST") for path in ("authorize", "userinfo", "end-session")),
        *((path, "POST") for path in ("token", "par", "revoke")),
        ("jwks", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(service, path, allowed):
    answer = httpx.delete(f"{service.base}/oidc/{path}", timeout=60)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize("path", ["token", "par", "revoke", "userinfo"])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", "no boundary"),
        ("application/x-www-form-urlencoded", "&".join(f"a{n}=1" for n in range(60))),
        ("application/x-www-form-urlencoded", "client_id=" + "a" * 70_000),
    ],
)
def test_programs_are_told_of_a_bad_form_in_json(service, path, kind, body):
    answer = httpx.post(
        f"{service.base}/oidc/{path}", content=body, headers={"content-type": kind}, timeout=60
    )
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"})


def test_a_firm_that_is_not_there_is_told_programs_in_json(service):
    for path in (".well-known/openid-configuration", "oidc/jwks"):
        answer = httpx.get(f"{service.portal.url}/p/nobody/{path}", timeout=60)
        assert answer.status_code == 404 and answer.json()["error"]


# ---- pushed requests and signed assertions


def test_a_pushed_request_comes_once(portal, service):
    """RFC 9126 4: also where somebody has to sign in first, and with the request that is kept
    meanwhile."""
    ann = portal.staff("ann", "user")
    query = {
        "client_id": service.id,
        "request_uri": service.post(service.query(), "par").json()["request_uri"],
    }
    url = f"{service.base}/oidc/authorize"
    assert "code" in back(ann.http.get(url, params=query, follow_redirects=False))
    assert ann.http.get(url, params=query, follow_redirects=False).status_code == 400
    long = {"state": "z" * 3000}
    query["request_uri"] = service.post(service.query(**long), "par").json()["request_uri"]
    stranger = httpx.get(url, params=query, follow_redirects=False, timeout=60)
    kept = parse_qs(urlsplit(stranger.headers["location"]).query)["next"][0]
    assert ann.http.get(url, params=query, follow_redirects=False).status_code == 400
    assert "code" in back(ann.http.get(portal.url + kept, follow_redirects=False))
    assert ann.http.get(portal.url + kept, follow_redirects=False).status_code == 400


def test_a_pushed_request(portal, service, ann):
    answer = service.post(service.query(state="z" * 5000), "par")
    assert answer.status_code == 201 and answer.json()["expires_in"] > 0
    uri = answer.json()["request_uri"]
    url = f"{service.base}/oidc/authorize?"
    asked = urlencode({"client_id": service.id, "request_uri": uri})
    assert back(ann.http.get(url + asked, follow_redirects=False))["state"] == "z" * 5000
    other = Service(portal, "Other")
    for stolen in (
        {"client_id": other.id, "request_uri": "NEW"},
        {"kept": "NEW"},  # as if it had been too long for an address: it would come twice
    ):
        new = service.post(service.query(), "par").json()["request_uri"]
        new = new if "request_uri" in stolen else new.removeprefix(oidc_requests.URN)
        query = urlencode({k: new if v == "NEW" else v for k, v in stolen.items()})
        assert ann.http.get(url + query, follow_redirects=False).status_code == 400, stolen
    assert service.post(service.query(client_secret="x"), "par").status_code == 401
    wrong = service.post(service.query(response_type="token"), "par")
    assert (wrong.status_code, wrong.json()) == (400, {"error": "invalid_request"})
    portal.clock.advance(91)
    assert ann.http.get(url + asked, follow_redirects=False).status_code == 400


@pytest.mark.parametrize("kind", ["RS256", "ES256"])
def test_a_client_that_signs(portal, ann, kind):
    key = RSAKey.generate_key(2048) if kind == "RS256" else ECKey.generate_key("P-256")
    public = json.dumps({"keys": [key.as_dict(private=False)]})
    service = Service(portal, "Signs", oidc_clients.checked_jwks(public))
    assert service.secret == ""

    def assertion(**changes: object) -> dict[str, str]:
        now = int(portal.clock())
        claims = {"iss": service.id, "sub": service.id, "aud": f"{service.base}/oidc/token",
                  "jti": secrets.token_hex(8), "iat": now, "exp": now + 60} | changes  # fmt: skip
        signed = jwt.encode({"alg": kind}, claims, key)
        return {"client_assertion": signed, "client_assertion_type": oidc_clients.ASSERTION}

    def post(who: dict[str, str]) -> httpx.Response:
        form = service.form(service.ask(ann)) | who
        return httpx.post(f"{service.base}/oidc/token", data=form, timeout=60)

    once = assertion()
    assert post(once).status_code == 200
    assert post(once).json()["error"] == "invalid_client"  # a jti comes once
    now = int(portal.clock())
    for right in ({"exp": now + 60.5}, {"aud": [service.base, "x"]}, {"nbf": now}):
        assert post(assertion(**right)).status_code == 200, right
    for wrong in (
        {"nbf": now + 300},
        {"nbf": "soon"},
        {"jti": ""},
        {"aud": []},
        {"aud": service.base + "/"},
        {"iss": "somebody"},
        {"aud": "https://elsewhere"},
        {"exp": now - 31},
        {"exp": now + 100_000},
        {"exp": "soon"},
        {"sub": "somebody"},
        {"jti": None},
    ):
        assert post(assertion(**wrong)).status_code == 401, wrong
    assert post(assertion() | {"client_assertion_type": "x"}).status_code == 401
    assert post({"client_id": service.id, "client_secret": ""}).status_code == 401
    other = Service(portal, "Other")  # who is named beside it has to be the same (RFC 7521 4.2)
    assert post(assertion() | {"client_id": other.id}).status_code == 401
    assert post(assertion() | {"client_id": service.id}).status_code == 200
    for odd in ("", "x", "a.b.c", "a.W10.c"):
        assert post(assertion() | {"client_assertion": odd}).status_code == 401


# ---- signing out


def test_a_service_signs_its_user_out(service, ann):
    token = str(service.tokens(ann)["id_token"])
    url = f"{service.base}/oidc/end-session"
    query = {"id_token_hint": token, "post_logout_redirect_uri": AFTER, "state": "s 2"}
    answer = ann.http.get(f"{url}?{urlencode(query)}", follow_redirects=False)
    assert answer.headers["location"] == f"{AFTER}?state=s+2"
    assert back(service.ask(ann, prompt="none"))["error"] == "login_required"


def test_nobody_else_signs_somebody_out(portal, service, ann):
    """Without an ID token of this very session the person is asked (RP-Initiated Logout 1.0, 2)."""
    token = str(service.tokens(ann)["id_token"])
    bob = portal.staff("bob", "user")
    url = f"{service.base}/oidc/end-session"
    for who, query in (
        (ann, {}),
        (ann, {"id_token_hint": "x"}),
        (ann, {"client_id": service.id, "post_logout_redirect_uri": AFTER}),
        (bob, {"id_token_hint": token}),
    ):
        answer = who.http.get(f"{url}?{urlencode(query)}", follow_redirects=False)
        assert answer.status_code == 200 and "<h1>Sign out?</h1>" in answer.text
        assert ("You come from Service." in answer.text) == (len(query) > 1 or who is bob)
        assert "code" in back(service.ask(who, prompt="none"))
    for wrong in ("https://evil.example/", AFTER + "/x"):
        query = {"id_token_hint": token, "post_logout_redirect_uri": wrong}
        answer = ann.http.get(f"{url}?{urlencode(query)}", follow_redirects=False)
        assert answer.status_code == 400
    other = Service(portal, "Other")  # a hint for one service, and the name of another
    query = {"id_token_hint": token, "client_id": other.id}
    answer = ann.http.get(f"{url}?{urlencode(query)}", follow_redirects=False)
    assert answer.status_code == 400
    assert "code" in back(service.ask(ann, prompt="none"))


def test_what_is_no_hint(portal, service, ann):
    """An access token goes to others than the service that the person signed in to; an ID token of
    another firm says nothing of anybody here."""
    tokens = service.tokens(ann)
    query = urlencode({"id_token_hint": tokens["access_token"]})
    answer = ann.http.get(f"{service.base}/oidc/end-session?{query}", follow_redirects=False)
    assert answer.status_code == 200 and "<h1>Sign out?</h1>" in answer.text
    assert "code" in back(service.ask(ann, prompt="none"))
    with opened(portal.settings) as parts, parts.database.read() as connection:
        for issuer, name, known in (
            (service.base, "id_token", True),
            (service.base, "access_token", False),
            (service.base + "x", "id_token", False),
        ):
            claims = oidc.hinted(
                connection, parts.ring, issuer=issuer, token=str(tokens[name]), now=portal.clock()
            )
            assert (claims is not None) is known


def test_who_is_asked_and_says_so_is_signed_out(portal, service, ann):
    query = {"client_id": service.id, "post_logout_redirect_uri": AFTER, "state": 'a"b'}
    page = ann.get("/oidc/end-session?" + urlencode(query))
    picture_of_page("sign-out", str(page.page.url), dict(ann.http.cookies))
    bad = page.post(
        "/oidc/sign-out", **(query | {"post_logout_redirect_uri": "https://evil.example"})
    )
    assert bad.page.status_code == 400 and "code" in back(service.ask(ann, prompt="none"))
    done = ann.get("/oidc/end-session?" + urlencode(query)).post("/oidc/sign-out", **query)
    assert "You are signed out" in done.page.text
    assert f'href="{AFTER}?state=a%22b"' in done.page.text
    assert back(service.ask(ann, prompt="none"))["error"] == "login_required"


def test_a_sign_out_by_post_goes_by_get(service, ann):
    """A form of another site brings no cookie of the session: the address that it leads to does."""
    token = str(service.tokens(ann)["id_token"])
    form = {"id_token_hint": token, "post_logout_redirect_uri": AFTER, "state": "é"}
    answer = httpx.post(f"{service.base}/oidc/end-session", data=form, timeout=60)
    assert answer.status_code == 303
    answer = ann.http.get(service.portal.url + answer.headers["location"], follow_redirects=False)
    assert answer.headers["location"] == f"{AFTER}?state=%C3%A9"
    assert back(service.ask(ann, prompt="none"))["error"] == "login_required"


# ---- clients are managed


@pytest.fixture
def manage(portal):
    base = ["--db", portal.settings.db_url, "--key-file", str(portal.settings.key_file)]

    def run(*words: str) -> str:
        done = CliRunner().invoke(command, ["oidc", *words, *base], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def test_services_are_listed_changed_and_removed(portal, service, ann, manage):
    (one,) = json.loads(manage("list", "--json"))
    assert (one["client_id"], one["redirect_uris"]) == (service.id, [CALLBACK])
    manage("set", "Service", "--name", "Wiki", "--post-logout-uri", "https://wiki.example/out")
    (one,) = json.loads(manage("list", "--json"))
    assert (one["name"], one["post_logout_uris"]) == ("Wiki", ["https://wiki.example/out"])
    tokens = service.tokens(ann)
    new = json.loads(manage("secret", service.id, "--json"))["client_secret"]
    old, service.secret = service.secret, new
    assert service.tokens(ann) and service.post({"client_secret": old}).status_code == 401
    manage("remove", "Wiki")
    assert service.info(tokens["access_token"]).status_code == 401
    assert service.ask(ann).status_code == 400
    assert json.loads(manage("list", "--json")) == []
    with opened(portal.settings) as parts, parts.database.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT action, subject, detail FROM audit WHERE action LIKE 'oidc-client-%' "
            "ORDER BY number"
        ).all()
    assert {row.subject for row in rows} == {service.id}
    assert [(row.action, json.loads(row.detail)) for row in rows] == [
        ("oidc-client-added", {"name": "Service", "redirect_uris": CALLBACK}),
        (
            "oidc-client-changed",
            {
                "name": "Service → Wiki",
                "post_logout_uris": "https://service.example/bye → https://wiki.example/out",
            },
        ),
        ("oidc-client-changed", {"secret": "another one"}),
        ("oidc-client-removed", {"name": "Wiki"}),
    ]


def test_the_secret_of_a_service_that_signs_from_now_on_is_none_any_more(portal, service, ann):
    assert "access_token" in service.tokens(ann)
    key = ECKey.generate_key("P-256").as_dict(private=False)
    jwks = oidc_clients.checked_jwks(json.dumps({"keys": [key]}))
    with opened(portal.settings) as parts, parts.database.write() as connection:
        client = oidc_clients.named(connection, 1, service.id)
        oidc_clients.change(
            connection, parts.ring, client, now=portal.clock(), actor="test", jwks=jwks
        )
    answer = service.post(service.form(service.ask(ann)))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_a_service_that_signed_may_have_a_secret_instead(portal, ann, manage):
    """Its keys count no longer: else neither way would be taken."""
    public = ECKey.generate_key("P-256").as_dict(private=False)
    signs = Service(portal, "Signs", oidc_clients.checked_jwks(json.dumps({"keys": [public]})))
    signs.secret = json.loads(manage("secret", "Signs", "--json"))["client_secret"]
    assert signs.tokens(ann)["access_token"]
    (one,) = [one for one in json.loads(manage("list", "--json")) if one["name"] == "Signs"]
    assert one["client_id"] == signs.id


def test_what_a_service_has_can_be_taken_away(portal, service, manage):
    manage("set", "Service", "--post-logout-uri", "")
    (one,) = json.loads(manage("list", "--json"))
    assert one["post_logout_uris"] == []
    long = f"https://{'wiki.' * 20}example/private/callback"
    manage("set", "Service", "--redirect-uri", long)
    shown = re.sub(r"\s", "", manage("list"))
    assert "…" not in shown and long[-20:] in shown


@pytest.mark.parametrize(
    ("words", "says"),
    [
        *(
            (["add", "X", "--redirect-uri", uri], uri)
            for uri in (
                "https://*.example/cb",
                "https://wiki.example:99999/cb",
                "https://ann:pw@wiki.example/cb",
                "https://wïki.example/cb",
                "https://wiki.example/cb#f",
                "http://wiki.example/cb",
                "app.example:/cb",
                "//wiki.example/cb",
                "",
            )
        ),
        *((["add", name, "--redirect-uri", CALLBACK], "called") for name in ("", "a\nb", "x" * 81)),
        *((["set", "Service", "--name", name], "called") for name in ("", " a", "\u202e")),
        *(
            (["add", "X", "--redirect-uri", CALLBACK, "--public-url", url], url)
            for url in ("not a url", "id.example", "https://", "https://id.example/?a")
        ),
    ],
)
def test_what_cannot_be_of_a_service_is_named(portal, service, words, says):
    base = ["--db", portal.settings.db_url, "--key-file", str(portal.settings.key_file)]
    done = CliRunner().invoke(command, ["oidc", *words, *base])
    assert isinstance(done.exception, ApiError), done.output
    assert says in done.exception.what and done.exception.todo
    with opened(portal.settings) as parts, parts.database.read() as connection:
        (one,) = oidc_clients.listed(connection, 1)
    assert one.name == "Service"


def test_the_issuer_is_below_the_public_url(manage):
    said = json.loads(
        manage(
            "add", "X", "--redirect-uri", CALLBACK, "--public-url", "https://id.example/", "--json"
        )
    )
    assert said["issuer"] == "https://id.example/p/default"


def test_what_services_are_told_of_a_person(portal, service, ann):
    base = ["--db", portal.settings.db_url, "--key-file", str(portal.settings.key_file)]
    words = ["person", "set", "ann", "--name", "Ann B", "--group", "a", "--group", "b"]
    done = CliRunner().invoke(command, [*words, "--email", "a@b.example", *base])
    assert done.exit_code == 0, done.output
    info = service.info(
        service.tokens(ann, scope="openid profile email groups")["access_token"]
    ).json()
    assert (info["name"], info["groups"]) == ("Ann B", ["a", "b"])
    assert (info["email"], info["email_verified"]) == ("a@b.example", True)


def test_whose_tokens_end_is_in_the_audit_log_with_the_services_name(portal, service, ann):
    """Two who have one code, or one refresh token: one of them is a thief, whom staff look for."""
    boss = portal.staff("boss", "auditor")
    form = service.form(service.ask(ann))
    assert service.post(form).status_code == 200
    assert service.post(form).status_code == 400
    offline = {"scope": "openid offline_access"}
    refresh = {
        "grant_type": "refresh_token",
        "refresh_token": str(service.tokens(ann, **offline)["refresh_token"]),
    }
    assert service.post(refresh).status_code == 200
    assert service.post(refresh).status_code == 400
    token = str(service.tokens(ann)["access_token"])
    assert service.post({"token": token}, "revoke").status_code == 200
    assert service.post({"token": token}, "revoke").status_code == 200
    lines = boss.get("/audit/export?form=jsonl&q=Serv&act=oidc-tokens-ended").page.text
    assert [
        (one["actor"], one["subject"], one["detail"]["why"])
        for one in map(json.loads, lines.splitlines())
    ] == [
        ("Service", "ann", "revoked"),
        ("Service", "ann", "a refresh token came again"),
        ("Service", "ann", "a code came again"),
    ]
    page = boss.get("/audit?actor=ann&act=oidc-signed-in").page.text
    assert "Service" in page and service.id not in page
