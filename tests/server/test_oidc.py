"""OpenID Connect, with Authlib as the client."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from authlib.integrations.httpx_client import OAuth2Client
from joserfc import jwt
from joserfc.jwk import KeySet

from tallystick.server.accounts import firms
from tallystick.server.services import oidc_clients
from tallystick.server.serving.running import running_in_thread
from tallystick.server.store import signing_keys
from tallystick.server.store.opened import opened
from tests.server.portal_driver import Browser, Portal

CALLBACK = "https://service.example/callback"


@pytest.fixture
def portal(settings, clock, tmp_path):
    with running_in_thread(settings) as url:
        # The server names itself by host name; so does the client.
        yield Portal(url.replace("127.0.0.1", "localhost"), settings, clock, tmp_path)
        Browser.close_all()


@pytest.fixture
def client(portal):
    with opened(portal.settings) as parts, parts.database.write() as connection:
        client_id, secret = oidc_clients.add_client(
            connection,
            parts.ring,
            firm_id=1,
            name="Service",
            redirect_uris=[CALLBACK],
            now=portal.clock(),
            actor="test",
        )
    with OAuth2Client(
        client_id,
        secret,
        scope="openid profile email",
        redirect_uri=CALLBACK,
        code_challenge_method="S256",
    ) as session:
        session.metadata_ = httpx.get(
            f"{portal.url}/p/default/.well-known/openid-configuration", timeout=60
        ).json()
        yield session


VERIFIER = "v" * 64


def start(client, verifier: str = VERIFIER, **more: str) -> str:
    url, _ = client.create_authorization_url(
        client.metadata_["authorization_endpoint"],
        code_verifier=verifier,
        nonce="n-1",
        state="s-1",
        **more,
    )
    return url


def visit(browser, url: str) -> httpx.Response:
    return browser.http.get(url, follow_redirects=False)


def code_of(answer: httpx.Response) -> str:
    location = answer.headers["location"]
    assert location.startswith(CALLBACK + "?"), location
    assert parse_qs(urlsplit(location).query)["state"] == ["s-1"]
    return location


def test_the_whole_flow(portal, client):
    browser = portal.staff("ann", "user")
    answer = code_of(visit(browser, start(client)))
    token = client.fetch_token(
        client.metadata_["token_endpoint"],
        authorization_response=answer,
        code_verifier=VERIFIER,
    )
    keys = KeySet.import_key_set(httpx.get(client.metadata_["jwks_uri"], timeout=60).json())
    claims = jwt.decode(token["id_token"], keys, algorithms=["RS256"]).claims
    assert claims["iss"] == client.metadata_["issuer"] == f"{portal.url}/p/default"
    assert claims["aud"] == client.client_id
    assert claims["nonce"] == "n-1"
    assert claims["amr"] == ["pwd", "otp", "mfa"]
    assert claims["acr"] == "mfa"
    assert claims["preferred_username"] == "ann"
    assert claims["exp"] > portal.clock() >= claims["auth_time"]
    info = client.get(client.metadata_["userinfo_endpoint"]).json()
    assert info["sub"] == claims["sub"]
    # The code is spent.
    with pytest.raises(Exception, match="invalid_grant"):
        client.fetch_token(
            client.metadata_["token_endpoint"],
            authorization_response=answer,
            code_verifier=VERIFIER,
        )
    # Signing out ends what the access token can see.
    browser.get("/").post("/sign-out")
    assert client.get(client.metadata_["userinfo_endpoint"]).status_code == 401


def test_signing_in_on_the_way(portal, client):
    portal.staff("ann", "user")
    browser = portal.browser().get("/sign-in")
    answer = visit(browser, start(client))
    assert "/sign-in?" in answer.headers["location"]
    assert (
        visit(browser, start(client, prompt="none"))
        .headers["location"]
        .startswith(CALLBACK + "?error=login_required")
    )
    browser.page = browser.http.get(answer.headers["location"])
    next_url = re.search(r'name="next" value="([^"]+)"', browser.page.text).group(1)
    assert "/oidc/authorize?" in next_url and "nonce=n-1" in next_url
    assert "Sign in to go on to <strong>Service</strong>." in browser.page.text
    browser.post("/sign-in", login="ann", password="wrong", next=unescape(next_url))
    assert "<strong>Service</strong>" in browser.page.text  # also after a slip


def test_the_sign_in_page_names_the_service_that_asks(portal, client):
    """By the name that the firm gave it; none for an address that is no service of this firm."""
    with opened(portal.settings) as parts, parts.database.write() as connection:
        other = firms.add(connection, parts.ring, "other", now=portal.clock(), actor="test")
        theirs, _ = oidc_clients.add_client(
            connection, parts.ring, firm_id=other, name="Theirs", redirect_uris=[CALLBACK],
            now=portal.clock(), actor="test",
        )  # fmt: skip
    browser = portal.browser()
    long = visit(browser, start(client, login_hint="x" * 2000)).headers["location"]
    assert len(long) < 300  # it is kept here
    assert "<strong>Service</strong>" in browser.http.get(long).text
    for asked in (
        f"/p/default/oidc/authorize?client_id={theirs}",
        f"/p/other/oidc/authorize?client_id={theirs}",
        f"https://evil.example/p/default/oidc/authorize?client_id={client.client_id}",
        f"/p/default/password?client_id={client.client_id}",
        "/p/default/oidc/authorize?client_id=" + "x" * 1500,
        "/p/default/oidc/authorize?kept=nothing",
        "/p/default/oidc/authorize",
        "/p/default/oidc/authorize?client_id=%00",
    ):
        page = browser.http.get("/p/default/sign-in", params={"next": asked})
        assert page.status_code in (200, 422) and "go on to" not in page.text, asked


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"response_mode": "form_post"}, "invalid_request"),
    ],
)
def test_requests_that_go_back_with_an_error(portal, client, change, error):
    browser = portal.staff("ann", "user")
    parts = urlsplit(start(client))
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | change
    answer = browser.http.get(
        parts._replace(query="").geturl(), params=query, follow_redirects=False
    )
    assert answer.headers["location"].startswith(f"{CALLBACK}?error={error}")


@pytest.mark.parametrize(
    "change",
    [
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": CALLBACK + "/.."},
        {"redirect_uri": ""},
        {"client_id": "oc-0"},
    ],
)
def test_nothing_is_sent_to_addresses_that_are_not_registered(portal, client, change):
    browser = portal.staff("ann", "user")
    parts = urlsplit(start(client))
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | change
    answer = browser.http.get(
        parts._replace(query="").geturl(), params=query, follow_redirects=False
    )
    assert answer.status_code == 400
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    "wrong",
    [
        {"code_verifier": "w" * 64},
        {"code_verifier": ""},
        {"redirect_uri": "https://service.example/other"},
        {"client_secret": "wrong"},
        {"grant_type": "password"},
    ],
)
def test_a_code_is_worth_nothing_with_anything_wrong(portal, client, wrong):
    browser = portal.staff("ann", "user")
    location = code_of(visit(browser, start(client)))
    form = {
        "grant_type": "authorization_code",
        "code": parse_qs(urlsplit(location).query)["code"][0],
        "redirect_uri": CALLBACK,
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "code_verifier": VERIFIER,
    }
    endpoint = client.metadata_["token_endpoint"]
    assert httpx.post(endpoint, data=form | wrong, timeout=60).status_code in (400, 401)
    again = httpx.post(endpoint, data=form, timeout=60).status_code
    # Whoever could prove to be the client has spent the code.
    assert again == (200 if {"client_secret", "grant_type"} & set(wrong) else 400)


def test_a_code_of_one_service_is_nothing_to_another(portal, client):
    browser = portal.staff("ann", "user")
    location = code_of(visit(browser, start(client)))
    with opened(portal.settings) as parts, parts.database.write() as connection:
        other_id, other_secret = oidc_clients.add_client(
            connection,
            parts.ring,
            firm_id=1,
            name="Other",
            redirect_uris=[CALLBACK],
            now=portal.clock(),
            actor="test",
        )
    form = {
        "grant_type": "authorization_code",
        "code": parse_qs(urlsplit(location).query)["code"][0],
        "redirect_uri": CALLBACK,
        "client_id": other_id,
        "client_secret": other_secret,
        "code_verifier": VERIFIER,
    }
    answer = httpx.post(client.metadata_["token_endpoint"], data=form, timeout=60)
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_grant"})


def test_keys_rotate_without_breaking_what_was_signed(portal, client):
    uri = client.metadata_["jwks_uri"]
    (before,) = httpx.get(uri, timeout=60).json()["keys"]
    assert set(before) <= {"kty", "n", "e", "kid", "use", "alg"}
    with opened(portal.settings) as parts, parts.database.write() as connection:
        new = signing_keys.rotate(connection, parts.ring, now=portal.clock(), actor="test")
    assert [key["kid"] for key in httpx.get(uri, timeout=60).json()["keys"]].count(new) == 1
    assert before in httpx.get(uri, timeout=60).json()["keys"]
    portal.clock.advance(86400)
    assert [key["kid"] for key in httpx.get(uri, timeout=60).json()["keys"]] == [new]


def test_password_alone_does_not_reach_services(portal, client):
    portal.person("ann")
    browser = portal.browser().sign_in("ann")
    answer = visit(browser, start(client))
    assert answer.status_code == 403
    assert "second factor" in answer.text


def test_signing_in_anew_when_the_service_asks(portal, client):
    browser = portal.staff("ann", "user")
    for asked in ({"prompt": "login"}, {"max_age": "0"}):
        portal.clock.advance(1)
        answer = visit(browser, start(client, **asked))
        browser.page = browser.http.get(answer.headers["location"])
        assert browser.heading == "Sign in", asked


@pytest.mark.parametrize("odd", ["9" * 5000, "-1", "x", "٣"])
def test_a_max_age_that_is_no_number_of_seconds_asks_for_nothing(portal, client, odd):
    browser = portal.staff("ann", "user")
    assert code_of(visit(browser, start(client, max_age=odd)))


def test_a_service_may_want_more_than_a_remembered_browser(portal, client):
    portal.policy(remember_device_days=7)
    browser = portal.staff("ann", "user")
    totp = portal.enrol_totp(browser)
    browser.get("/").post("/sign-out")
    browser.sign_in("ann")
    key = re.findall(r"/second/totp/(\d+)", browser.page.text)[-1]
    browser.get(f"/second/totp/{key}")
    browser.post(f"/second/totp/{key}", code=totp.at(int(portal.clock())), remember="yes")
    browser.get("/").post("/sign-out")
    assert browser.sign_in("ann").heading == "You are signed in"
    claims = redeemed(client, code_of(visit(browser, start(client))))
    assert (claims["amr"], claims["acr"]) == (["pwd"], "pwd")
    refused = visit(browser, start(client, acr_values="mfa", prompt="none"))
    assert "error=interaction_required" in refused.headers["location"]
    answer = visit(browser, start(client, acr_values="mfa"))
    browser.page = browser.http.get(answer.headers["location"])
    portal.clock.advance(30)
    browser.get(f"/prove/totp/{key}")
    browser.post(f"/prove/totp/{key}", code=totp.at(int(portal.clock())))
    on = re.search(r'href="(/p/default/oidc/authorize[^"]+)"', browser.page.text).group(1)
    answer = visit(browser, on.replace("&amp;", "&"))
    claims = redeemed(client, code_of(answer))
    assert (claims["amr"], claims["acr"]) == (["pwd", "otp", "mfa"], "mfa")


def test_services_wait_for_as_many_methods_as_policy_asks_for(portal, client):
    browser = portal.staff("ann", "user")
    portal.policy(minimum_methods=2)
    answer = visit(browser, start(client))
    assert answer.status_code == 403
    assert "you need 1 more kind of second factor" in answer.text


def redeemed(client, answer: str) -> dict[str, object]:
    token = client.fetch_token(
        client.metadata_["token_endpoint"], authorization_response=answer, code_verifier=VERIFIER
    )
    keys = KeySet.import_key_set(httpx.get(client.metadata_["jwks_uri"], timeout=60).json())
    return jwt.decode(token["id_token"], keys, algorithms=["RS256"]).claims
