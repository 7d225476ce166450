"""OpenID Connect, step by step: which requests are good, what a code, a refresh token and an access
token are worth, and what services are told."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tallystick.common import base64url
from tallystick.server.services import oidc, oidc_clients
from tallystick.server.services.oidc import Asked, AuthRequest, RequestError
from tallystick.server.services.oidc_clients import TokenError
from tallystick.server.store import signing_keys
from tallystick.server.store.audit import AuditEntry
from tallystick.server.store.models import Firm
from tallystick.server.store.models_login import (
    OidcAgain,
    OidcCode,
    OidcGrant,
    OidcLogout,
    SessionRow,
)
from tests.server.house import refused

URI, OTHER = "https://a.example/cb", "https://a.example/cb?a=b"
ISSUER = "https://us/p/default"
VERIFIER = "v" * 43
CHALLENGE = oidc._s256(VERIFIER)
PEM = RSAKey.generate_key(2048).as_pem(private=True)


class Provider:
    """A service of a firm, and ann, who has signed in."""

    def __init__(self, house) -> None:
        self.house = house
        house.person()
        self.token = house.sign_in().session
        self.id, self.secret = self.add("Service")

    @property
    def ring(self):
        return self.house.state.ring

    @property
    def now(self):
        return self.house.clock()

    def add(self, name):
        with self.house.write() as connection:
            return oidc_clients.add_client(
                connection, self.ring, firm_id=1, name=name, redirect_uris=[URI, OTHER],
                now=self.now, actor="test",
            )  # fmt: skip

    def client(self, number=None):
        with self.house.write() as connection:
            return oidc_clients.find_client(connection, 1, number or self.id)

    def session(self):
        return self.house.session(self.token)

    def sql(self, statement):
        with self.house.write() as connection:
            return connection.execute(statement)

    def check(self, repeated=frozenset(), firm_id=1, **change):
        query = {
            "client_id": self.id, "redirect_uri": URI, "scope": "openid", "response_type": "code",
            "code_challenge": CHALLENGE, "code_challenge_method": "S256",
        } | change  # fmt: skip
        query = {name: value for name, value in query.items() if value is not None}
        with self.house.write() as connection:
            return oidc.check_request(connection, firm_id, query, frozenset(repeated))

    def request(self, **change):
        return replace(AuthRequest(self.client(), URI, "openid", "", "", CHALLENGE), **change)

    def code(self, **change):
        with self.house.write() as connection:
            url = oidc.issue_code(connection, self.request(**change), self.session(), self.now)
        return parse_qs(urlsplit(url).query)["code"][0]

    def redeem(self, code, *, credentials=None, client=None, firm_id=1, **change):
        form = {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER,
                "redirect_uri": URI} | change  # fmt: skip
        form = {name: value for name, value in form.items() if value is not None}
        return self._asked(form, credentials, client, firm_id)

    def refresh(self, token, *, credentials=None, client=None, firm_id=1, **change):
        form = {"grant_type": "refresh_token", "refresh_token": token} | change
        return self._asked(form, credentials, client, firm_id)

    def _asked(self, form, credentials, client, firm_id):
        with self.house.write() as connection:
            return oidc.redeem(
                connection, self.ring, issuer=ISSUER, firm_id=firm_id, form=form, client=client,
                credentials=credentials or (self.id, self.secret), now=self.now,
            )  # fmt: skip

    def tokens(self, **change):
        return self.redeem(self.code(**change))

    def info(self, token, issuer=ISSUER, firm_id=1):
        with self.house.write() as connection:
            return oidc.user_info(
                connection, self.ring, issuer=issuer, firm_id=firm_id, token=token, now=self.now
            )

    def key(self):
        with self.house.write() as connection:
            return signing_keys.current(connection, self.ring, self.now)

    def claims(self, token):
        return jwt.decode(token, KeySet([self.key()]), algorithms=["RS256"]).claims

    def changed(self, token, **change):
        """Signed by us, with other claims."""
        claims = {k: v for k, v in (self.claims(token) | change).items() if v is not ...}
        return jwt.encode({"alg": "RS256", "kid": self.key().kid}, claims, self.key())

    def rows(self, table):
        return self.sql(select(*table.__table__.columns)).all()

    def told(self):
        """(when, firm, actor, action, subject, facts) of the last act"""
        row = self.sql(
            select(AuditEntry.at_ms, AuditEntry.firm_id, AuditEntry.actor, AuditEntry.action,
                   AuditEntry.subject, AuditEntry.detail)
            .order_by(AuditEntry.number.desc()).limit(1)
        ).one()  # fmt: skip
        return (*row[:5], json.loads(row.detail or "{}"))


@pytest.fixture
def provider(quick_house, monkeypatch):
    """Its signing key is not made anew each time."""
    monkeypatch.setattr(
        RSAKey, "generate_key", lambda bits, values, **_: RSAKey.import_key(PEM, values)
    )
    quick_house.clock.now += 0.25
    return Provider(quick_house)


def refused_grant(answer, error="invalid_grant"):
    """An error after which the transaction is committed."""
    assert isinstance(answer, TokenError) and answer.error == error, answer
    assert answer.status == 400


# -- requests --------------------------------------------------------------------------------------


def test_a_request_as_it_was_asked(provider):
    request = provider.check(state="s", nonce="n", scope="openid email")
    assert request == AuthRequest(
        provider.client(), URI, "openid email", "s", "n", CHALLENGE, Asked()
    )
    assert provider.check() == provider.request()
    assert provider.check(redirect_uri=OTHER).redirect_uri == OTHER


@pytest.mark.parametrize(
    "change",
    [{"client_id": "oc-x"}, {"client_id": None}, {"redirect_uri": URI + "/"}, {"redirect_uri": ""},
     {"redirect_uri": None}, {"firm_id": 2}, {"repeated": ["client_id"]},
     {"repeated": ["redirect_uri"]}],
)  # fmt: skip
def test_where_nothing_may_be_redirected(provider, change):
    with refused("bad-client") as caught:
        provider.check(**change)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"repeated": ["state"]}, "invalid_request", "came more than once"),
        ({"request": ""}, "request_not_supported", "request is not"),
        ({"request_uri": "x"}, "request_uri_not_supported", "request_uri is not"),
        ({"registration": "x"}, "registration_not_supported", "registration is not"),
        ({"nonce": "x" * 2049}, "invalid_request", "at most 2048"),
        ({"scope": "openid " + "x" * 2042}, "invalid_request", "at most 2048"),
        ({"nonce": "\0"}, "invalid_request", "NUL"),
        ({"display": "a\0b"}, "invalid_request", "NUL"),
        ({"response_type": None}, "invalid_request", "response_type is missing"),
        ({"response_type": ""}, "unsupported_response_type", "code"),
        ({"response_type": "token"}, "unsupported_response_type", "code"),
        ({"response_mode": "fragment"}, "invalid_request", "response_mode=query"),
        ({"prompt": "none login"}, "invalid_request", "stands alone"),
        ({"prompt": "none none"}, "invalid_request", "stands alone"),
        ({"max_age": "-1"}, "invalid_request", "max_age"),
        ({"max_age": ""}, "invalid_request", "max_age"),
        ({"max_age": "1" * 11}, "invalid_request", "max_age"),
        ({"scope": None}, "invalid_scope", "openid"),
        ({"scope": "openidx"}, "invalid_scope", "openid"),
        ({"claims": "["}, "invalid_request", "Core 5.5"),
        ({"claims": '{"id_token": {"acr": {"essential": true, "values": ["9"]}}}'},
         "unmet_authentication_requirements", "mfa or pwd"),
        ({"code_challenge": None}, "invalid_request", "PKCE"),
        ({"code_challenge": CHALLENGE + "x"}, "invalid_request", "PKCE"),
        ({"code_challenge": CHALLENGE[1:] + "+"}, "invalid_request", "PKCE"),
        ({"code_challenge_method": "plain"}, "invalid_request", "PKCE"),
        ({"code_challenge_method": None}, "invalid_request", "PKCE"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("state", [None, "s 1"])
def test_what_is_told_to_the_service(provider, change, error, says, state):
    with pytest.raises(RequestError, match=says) as caught:
        provider.check(**{"state": state, "redirect_uri": OTHER} | change)
    place, _, query = caught.value.url.partition("&")
    said = parse_qs(query, keep_blank_values=True)
    assert str(caught.value) == said["error_description"][0]
    assert place == OTHER and said["error"] == [error] and says in said["error_description"][0]
    assert said.get("state") == (state and [state])


@pytest.mark.parametrize(
    "change",
    [{"nonce": "x" * 2048}, {"scope": "openid " + "x" * 2041}, {"state": "x" * 9999},
     {"response_mode": "query"}, {"prompt": "none"}, {"prompt": "login consent"}, {"max_age": "0"},
     {"max_age": "1" * 10}, {"scope": "email openid"}, {"claims": ""}, {"display": "popup"}],
)  # fmt: skip
def test_what_is_no_reason_to_refuse(provider, change):
    assert provider.check(**change).client == provider.client()


NAMES = {"email": None, "name": {"essential": True}, "unknown": None}


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({}, Asked()),
        ({"userinfo": {}, "other": 7}, Asked()),
        ({"userinfo": NAMES}, Asked(userinfo=("name", "email"))),
        ({"id_token": NAMES}, Asked(id_token=("name", "email"))),
        ({"id_token": {"acr": None}}, Asked()),
        ({"id_token": {"acr": {"values": ["mfa"]}}}, Asked()),
        ({"id_token": {"acr": {"essential": 1, "values": ["mfa"]}}}, Asked()),
        ({"id_token": {"acr": {"essential": True, "values": ["1", "pwd"]}}},
         Asked(acr=("1", "pwd"))),
        ({"id_token": {"acr": {"essential": True, "value": "mfa"}}}, Asked(acr=("mfa",))),
        ({"id_token": {"acr": {"essential": True}}}, Asked()),
        ({"userinfo": {"acr": {"essential": True, "value": "9"}}}, Asked()),
        ({"id_token": {"sub": {"value": "x"}}}, Asked(subject="x")),
        ({"userinfo": {"sub": {"value": "x"}}}, Asked(subject="x")),
        ({"userinfo": {"sub": {"value": "x"}}, "id_token": {"sub": {"value": "x"}}},
         Asked(subject="x")),
        ({"userinfo": {"sub": None}, "id_token": {"sub": {}}}, Asked()),
    ],
)  # fmt: skip
def test_claims_that_are_asked_for_by_name(given, asked):
    assert oidc._asked_claims(json.dumps(given)) == asked


@pytest.mark.parametrize(
    "given",
    ["[", "[]", "7", "null", '"userinfo"', '["userinfo"]', '{"userinfo": 7}', '{"id_token": null}',
     '{"id_token": {"acr": 7}}', '{"id_token": {"acr": {"values": "mfa"}}}',
     '{"id_token": {"acr": {"values": [7]}}}', '{"id_token": {"acr": {"value": 7}}}',
     '{"id_token": {"sub": 7}}', '{"id_token": {"sub": {"value": 7}}}',
     '{"userinfo": {"sub": {"value": "x"}}, "id_token": {"sub": {"value": "y"}}}',
     "[" * 5000, '{"a": "' + "x" * 8192 + '"}'],
)  # fmt: skip
def test_what_asks_for_nothing_that_can_be_read(provider, given):
    with pytest.raises(RequestError, match=r"claims is not as Core 5\.5 has it"):
        provider.check(claims=given)


def test_how_long_claims_may_be():
    rest = len('{"a": ""}')
    assert oidc._asked_claims('{"a": "' + "x" * (8192 - rest) + '"}') == Asked()
    with pytest.raises(ValueError, match="too long"):
        oidc._asked_claims('{"a": "' + "x" * (8193 - rest) + '"}')


# -- signing in anew -------------------------------------------------------------------------------


def anew(provider, session=..., *, asked=False, **change):
    session = provider.session() if session is ... else session
    with provider.house.write() as connection:
        return oidc.must_sign_in_anew(
            connection, provider.request(**change), session, provider.now, asked=asked
        )


def test_whoever_has_to_sign_in_anew_does(provider):
    old = provider.session()
    assert not anew(provider)
    assert anew(provider, asked=True) and anew(provider) and anew(provider, None)
    assert not anew(provider, challenge="other") and not anew(provider, old, challenge="o")
    provider.house.clock.advance(1)
    new = replace(old, handle="new", created_at=int(provider.now))
    assert not anew(provider, new) and not anew(provider, new, asked=True)
    assert anew(provider, replace(new, created_at=int(provider.now) - 2))
    assert anew(provider, replace(new, handle=old.handle))
    assert not anew(provider, replace(new, created_at=int(provider.now) - 1))


@pytest.mark.parametrize("change", [{"state": "x"}, {"nonce": "x"}, {"redirect_uri": OTHER}])
def test_another_address_does_not_take_it_back(provider, change):
    """And one that says so again waits for a further sign-in."""
    assert anew(provider, asked=True) and anew(provider, **change)
    provider.house.clock.advance(1)
    new = replace(provider.session(), handle="new", created_at=int(provider.now))
    assert not anew(provider, new, **change)
    assert anew(provider, new, asked=True, **change) and anew(provider, new, **change)
    assert anew(provider, new)  # by its challenge


def test_it_is_of_one_service(provider):
    other = provider.client(provider.add("Other")[0])
    assert anew(provider, asked=True) and not anew(provider, client=other)


def test_how_long_it_is_remembered(provider):
    """For as long as the session that was there may last, or an hour."""
    hours = provider.session().policy.session_hours
    for session, life_s in ((provider.session(), hours * 3600), (None, 3600)):
        provider.sql(delete(OidcAgain))
        assert anew(provider, session, asked=True)
        rows = provider.rows(OidcAgain)
        assert len(rows) == 2
        for row in rows:
            assert (row.firm_id, row.session, row.asked_at, row.expires_at) == (
                1, session.handle if session else "", int(provider.now),
                int(provider.now) + life_s,
            )  # fmt: skip
            assert len(row.request_hash) == 32
    provider.house.clock.advance(3599)
    assert anew(provider)
    provider.house.clock.advance(1)
    assert not anew(provider) and not provider.rows(OidcAgain)


def test_a_session_of_less_than_an_hour_is_remembered_for_one(provider):
    short = replace(
        provider.session(), policy=provider.session().policy.model_copy(update={"session_hours": 0})
    )
    anew(provider, short, asked=True)
    assert {row.expires_at for row in provider.rows(OidcAgain)} == {int(provider.now) + 3600}


@pytest.mark.parametrize("dialect", [sqlite, postgresql])
def test_each_database_has_a_statement_of_its_own(provider, dialect):
    """PostgreSQL does not understand SQLite's."""
    sent = []
    known = SimpleNamespace(name=dialect.__name__.rpartition(".")[2])
    connection = SimpleNamespace(dialect=known, execute=sent.append)
    oidc._will_sign_in_anew(connection, b"", provider.request(), provider.session(), provider.now)
    assert [type(one) for one in sent] == [dialect.Insert]
    assert "ON CONFLICT" in str(sent[0].compile(dialect=dialect.dialect()))


# -- codes -----------------------------------------------------------------------------------------


def test_a_code_is_kept_for_a_minute(provider):
    with provider.house.write() as connection:
        url = oidc.issue_code(
            connection,
            provider.request(
                state="s 1", nonce="n", scope="openid email", redirect_uri=OTHER,
                claims=Asked(("name",), ("email",), ("mfa",), "x"),
            ),
            provider.session(), provider.now,
        )  # fmt: skip
    assert url.startswith(OTHER + "&code=") and url.endswith("&state=s+1")
    code = parse_qs(urlsplit(url).query)["code"][0]
    assert len(code) == 43
    (row,) = provider.rows(OidcCode)
    assert row == (
        hashlib.sha256(code.encode()).digest(), provider.id, provider.session().id, OTHER,
        "openid email", "n", CHALLENGE, int(provider.now) + 60,
        '{"userinfo": ["name"], "id_token": ["email"], "acr": ["mfa"]}',
    )  # fmt: skip


def test_without_a_state_none_comes_back(provider):
    with provider.house.write() as connection:
        url = oidc.issue_code(connection, provider.request(), provider.session(), provider.now)
    assert url.startswith(URI + "?code=") and "state" not in url


def test_those_that_are_over_are_cleared_away(provider):
    provider.code()
    provider.house.clock.advance(1)
    provider.code()
    provider.house.clock.advance(59)
    provider.code()
    assert len(provider.rows(OidcCode)) == 2


def test_no_code_for_a_session_that_was_ended(provider):
    session = provider.session()
    provider.sql(delete(SessionRow))
    with provider.house.write() as connection, refused("session-over") as caught:
        oidc.issue_code(connection, provider.request(), session, provider.now)
    assert caught.value.status == 401 and not provider.rows(OidcCode)


def test_a_code_is_good_once_and_ends_what_it_gave_when_it_comes_again(provider):
    code = provider.code()
    tokens = provider.redeem(code)
    now, person = provider.now, provider.house.known().id
    assert provider.told() == (
        int(now * 1000), 1, f"person:{person}", "oidc-signed-in", provider.id, {},
    )  # fmt: skip
    other = provider.tokens()
    assert provider.info(tokens["access_token"])
    refused_grant(provider.redeem(code))
    assert provider.told() == (
        int(now * 1000), 1, provider.id, "oidc-tokens-ended", f"person:{person}",
        {"why": "a code came again"},
    )  # fmt: skip
    for token, good in ((tokens, False), (other, True)):
        if good:
            assert provider.info(token["access_token"])
        else:
            with pytest.raises(TokenError):
                provider.info(token["access_token"])


@pytest.mark.parametrize(
    "wrong",
    [{"code": "x"}, {"code": None}, {"redirect_uri": OTHER}, {"redirect_uri": None},
     {"code_verifier": None}, {"code_verifier": "w" * 43}, {"code_verifier": "v" * 42},
     {"after": 60}, {"who": "other"}],
)  # fmt: skip
def test_one_thing_wrong_and_the_code_is_spent(provider, wrong):
    wrong = dict(wrong)
    code = wrong.pop("code", provider.code())
    provider.house.clock.now = int(provider.now) + wrong.pop("after", 59)
    who = provider.add("Other") if wrong.pop("who", None) else None
    refused_grant(provider.redeem(code, credentials=who, **wrong))
    assert len(provider.rows(OidcCode)) == (code in ("x", None))
    assert not provider.rows(OidcGrant)


def test_a_short_verifier_is_none(provider):
    code = provider.code(challenge=oidc._s256("v" * 42))
    refused_grant(provider.redeem(code, code_verifier="v" * 42))
    assert provider.redeem(
        provider.code(challenge=oidc._s256("v" * 128)), code_verifier="v" * 128
    )["access_token"]  # fmt: skip


@pytest.mark.parametrize("gone", ["enrol_only", "disabled", "firm", "expired"])
@pytest.mark.parametrize("when", ["redeemed", "refreshed", "asked"])
def test_nothing_outlives_the_sign_in(provider, gone, when):
    code = provider.code(scope="openid offline_access")
    tokens = None if when == "redeemed" else provider.redeem(code)
    second = int(provider.now) + 60
    values = {
        "enrol_only": {"enrol_only": 1}, "firm": {"firm_id": 2}, "expired": {"expires_at": second},
        "disabled": {},
    }[gone]  # fmt: skip
    if gone == "disabled":
        provider.house.change(disabled_at=1)
    if gone == "firm":
        provider.sql(insert(Firm).values(id=2, name="b", policy="{}"))
    if values:
        provider.sql(update(SessionRow).values(**values))
    provider.house.clock.now = second - 0.5 + (gone == "expired") * 0.5
    if when == "redeemed":
        provider.sql(update(OidcCode).values(expires_at=second + 99))
        refused_grant(provider.redeem(code))
    elif when == "refreshed":
        refused_grant(provider.refresh(tokens["refresh_token"]))
    else:
        with pytest.raises(TokenError) as caught:
            provider.info(tokens["access_token"])
        assert (caught.value.error, caught.value.status) == ("invalid_token", 401)


@pytest.mark.parametrize(
    ("kind", "error"), [("", "invalid_request"), (None, "invalid_request"),
                        ("password", "unsupported_grant_type")],
)  # fmt: skip
def test_other_grants_are_not_there(provider, kind, error):
    code = provider.code()
    with pytest.raises(TokenError) as caught:
        provider.redeem(code, grant_type=kind)
    assert (caught.value.error, caught.value.status) == (error, 400)
    assert provider.redeem(code)["access_token"]  # it is not spent


def test_a_service_shows_who_it_is(provider):
    code = provider.code()
    for more in ({"credentials": (provider.id, "x")}, {"firm_id": 2}):
        with pytest.raises(TokenError) as caught:
            provider.redeem(code, **more)
        assert (caught.value.error, caught.value.status) == ("invalid_client", 401)
    assert provider.redeem(code, credentials=("", ""), client=provider.client())["access_token"]


# -- tokens ----------------------------------------------------------------------------------------


def test_what_a_service_gets(provider):
    session = provider.session()
    answer = provider.tokens(nonce="n", scope="openid profile")
    assert set(answer) == {"access_token", "token_type", "expires_in", "scope", "id_token"}
    assert (answer["token_type"], answer["expires_in"], answer["scope"]) == (
        "Bearer", 300, "openid profile",
    )  # fmt: skip
    now, sub = int(provider.now), oidc.subject_of(provider.ring, 1, session.person.id)
    (grant,) = provider.rows(OidcGrant)
    access = provider.claims(answer["access_token"])
    assert len(access.pop("jti")) == 16 and len(grant.id) == 32 and len(sub) == 32
    assert access == {
        "iss": ISSUER, "aud": f"{ISSUER}/userinfo", "sub": sub, "sid": session.handle,
        "client_id": provider.id, "scope": "openid profile", "grant": grant.id, "iat": now,
        "exp": now + 300,
    }  # fmt: skip
    half = hashlib.sha256(answer["access_token"].encode()).digest()[:16]
    assert provider.claims(answer["id_token"]) == {
        "iss": ISSUER, "aud": provider.id, "sub": sub, "auth_time": session.created_at,
        "amr": list(session.amr), "acr": "mfa", "sid": session.handle, "nonce": "n",
        "at_hash": base64url.encode(half), "iat": now, "exp": now + 300,
        "preferred_username": "ann",
    }  # fmt: skip
    for token, kind in ((answer["access_token"], "at+jwt"), (answer["id_token"], None)):
        header = json.loads(base64url.decode(token.split(".")[0]))
        assert header == {"alg": "RS256", "kid": provider.key().kid, "typ": kind or header["typ"]}
    assert "nonce" not in provider.claims(provider.tokens()["id_token"])


def test_a_grant_as_it_is_kept(provider):
    session = provider.session()
    code = provider.code(scope="openid", claims=Asked(("name",)))
    provider.redeem(code)
    row = provider.rows(OidcGrant)[0]
    assert (row.code_hash, row.client_id, row.session_id, row.scope, row.refresh_hash) == (
        hashlib.sha256(code.encode()).digest(), provider.id, session.id, "openid", None,
    )  # fmt: skip
    assert json.loads(row.claims)["userinfo"] == ["name"]
    assert row.expires_at == int(provider.now) + 300
    answer = provider.tokens(scope="openid offline_access")
    row = next(one for one in provider.rows(OidcGrant) if one.refresh_hash)
    assert row.refresh_hash == hashlib.sha256(answer["refresh_token"].encode()).digest()
    ends = provider.sql(select(SessionRow.expires_at)).scalar()
    assert row.expires_at == ends > int(provider.now) + 300
    number, _, rest = answer["refresh_token"].partition(".")
    assert number == row.id and len(rest) == 43


def test_a_service_is_told_once_of_the_end_of_a_session(provider):
    session = provider.session()
    for _ in range(2):
        assert provider.tokens()["access_token"]
    (row,) = provider.rows(OidcLogout)
    ends = provider.sql(select(SessionRow.expires_at)).scalar()
    assert row[1:] == (
        1, provider.id, session.handle, oidc.subject_of(provider.ring, 1, session.person.id), 0,
        None, ends,
    )  # fmt: skip


def test_claims_by_scope_and_by_name(provider):
    provider.house.change(
        email="ann@x.org", email_verified=1, full_name="Ann", groups="staff\nboard"
    )
    every = {
        "preferred_username": "ann", "name": "Ann", "email": "ann@x.org", "email_verified": True,
        "groups": ["staff", "board"],
    }  # fmt: skip
    for scope, names in (
        ("openid", []), ("openid profile", ["preferred_username", "name"]),
        ("openid email", ["email", "email_verified"]), ("openid groups", ["groups"]),
        ("openid profile email groups", list(every)),
    ):  # fmt: skip
        tokens = provider.tokens(scope=scope)
        info = provider.info(tokens["access_token"])
        sub = info.pop("sub")
        assert info == {name: every[name] for name in names}
        found = provider.claims(tokens["id_token"])
        assert {name: found[name] for name in every if name in found} == info
        assert sub == found["sub"]
    tokens = provider.tokens(claims=Asked(("name",), ("email",)))
    assert set(provider.info(tokens["access_token"])) == {"sub", "name"}
    assert "name" not in (found := provider.claims(tokens["id_token"])) and "email" in found


def test_what_is_not_known_is_left_out(provider):
    person = {"login": "ann", "email": None, "email_verified": 0, "full_name": "", "groups": ""}
    known = type("Row", (), person)
    every = "profile email groups"
    assert oidc._profile(every, known) == {"preferred_username": "ann", "groups": []}
    known.email = "ann@x.org"
    assert oidc._profile(every, known)["email_verified"] is False


@pytest.mark.parametrize(
    ("amr", "wanted", "acr"),
    [(["pwd", "mfa"], (), "mfa"), (["pwd"], (), "pwd"), (["mfa"], ("pwd",), "pwd"),
     (["mfa"], ("pwd", "mfa"), "mfa"), (["mfa"], ("9",), "mfa"), (["pwd"], ("mfa",), "pwd"),
     (["pwd"], ("pwd",), "pwd")],
)  # fmt: skip
def test_how_sure_a_sign_in_is(amr, wanted, acr):
    assert oidc._acr(amr, wanted) == acr


def test_a_service_gets_the_sureness_that_it_cannot_do_without(provider):
    tokens = provider.tokens(claims=Asked(acr=("pwd",)))
    assert provider.claims(tokens["id_token"])["acr"] == "pwd"


# -- refresh tokens --------------------------------------------------------------------------------

OFFLINE = "openid email offline_access"


def test_a_refresh_token_is_good_once(provider):
    first = provider.tokens(scope=OFFLINE, nonce="n")
    provider.house.clock.advance(400)
    second = provider.refresh(first["refresh_token"])
    assert second["scope"] == OFFLINE and "nonce" not in provider.claims(second["id_token"])
    assert second["refresh_token"] != first["refresh_token"]
    assert provider.info(second["access_token"])
    third = provider.refresh(second["refresh_token"], scope="openid")
    assert third["scope"] == "openid" == provider.claims(third["access_token"])["scope"]
    assert provider.refresh(third["refresh_token"])["scope"] == OFFLINE
    other = provider.tokens(scope=OFFLINE)
    refused_grant(provider.refresh(second["refresh_token"]))
    assert provider.told() == (
        int(provider.now * 1000), 1, provider.id, "oidc-tokens-ended",
        f"person:{provider.house.known().id}", {"why": "a refresh token came again"},
    )  # fmt: skip
    refused_grant(provider.refresh(third["refresh_token"]))
    assert provider.refresh(other["refresh_token"])["access_token"]


def test_claims_that_were_asked_for_by_name_stay(provider):
    provider.house.change(full_name="Ann")
    first = provider.tokens(scope="openid offline_access", claims=Asked((), ("name",)))
    second = provider.refresh(first["refresh_token"])
    assert provider.claims(second["id_token"])["name"] == "Ann"


def test_what_refreshes_nothing(provider):
    token = provider.tokens(scope=OFFLINE)["refresh_token"]
    plain = provider.tokens()
    grants = {row.id: row for row in provider.rows(OidcGrant)}
    without = next(number for number, row in grants.items() if row.refresh_hash is None)
    other = provider.add("Other")
    for odd in ("", "x", f"{without}.x", plain["access_token"]):
        refused_grant(provider.refresh(odd))
    refused_grant(provider.refresh(token, credentials=other))
    refused_grant(provider.refresh(token, scope="openid profile"), "invalid_scope")
    assert {row.id for row in provider.rows(OidcGrant)} == set(grants)
    provider.sql(update(OidcGrant).values(expires_at=int(provider.now)))
    refused_grant(provider.refresh(token))
    provider.sql(update(OidcGrant).values(expires_at=int(provider.now) + 1))
    assert provider.refresh(token)["access_token"]


# -- revoked ---------------------------------------------------------------------------------------


def revoke(provider, token, client=None):
    with provider.house.write() as connection:
        oidc.revoke(
            connection, provider.ring, firm_id=1, token=token, client=client or provider.client(),
            now=provider.now,
        )  # fmt: skip


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
def test_what_a_token_belongs_to_is_ended(provider, which):
    tokens, other = (provider.tokens(scope=OFFLINE) for _ in range(2))
    stranger = provider.client(provider.add("Other")[0])
    revoke(provider, tokens[which], stranger)
    for odd in ("", "x", "a.b.c"):
        revoke(provider, odd)
    assert provider.info(tokens["access_token"])
    revoke(provider, tokens[which])
    assert provider.told()[3:] == (
        "oidc-tokens-ended", f"person:{provider.house.known().id}", {"why": "revoked"},
    )  # fmt: skip
    with pytest.raises(TokenError):
        provider.info(tokens["access_token"])
    refused_grant(provider.refresh(tokens["refresh_token"]))
    assert provider.info(other["access_token"])


def test_an_id_token_is_no_grant(provider):
    tokens = provider.tokens()
    revoke(provider, tokens["id_token"])
    assert provider.info(tokens["access_token"])


# -- who somebody is -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [{"iss": "x"}, {"aud": "x"}, {"aud": ...}, {"exp": 0}, {"exp": "9" * 11}, {"exp": ...},
     {"sid": "x"}, {"sid": ...}, {"sub": "x"}, {"sub": ...}, {"grant": "x"}, {"grant": ...}],
)  # fmt: skip
def test_what_is_no_access_token(provider, change):
    access = provider.tokens()["access_token"]
    with pytest.raises(TokenError) as caught:
        provider.info(provider.changed(access, **change))
    assert (caught.value.error, caught.value.status) == ("invalid_token", 401)
    assert provider.info(provider.changed(access))


def test_nor_is_one_of_another_issuer_or_firm_or_none_at_all(provider):
    tokens = provider.tokens()
    for token, more in (
        (tokens["access_token"], {"issuer": "https://us/p/other"}),
        (tokens["access_token"], {"firm_id": 2}), (tokens["id_token"], {}), ("", {}), ("x", {}),
        (tokens["access_token"][:-4] + "AAAA", {}),
    ):  # fmt: skip
        with pytest.raises(TokenError):
            provider.info(token, **more)


def test_an_access_token_lasts_five_minutes(provider):
    access = provider.tokens()["access_token"]
    provider.house.clock.now = int(provider.now) + 299.9
    assert provider.info(access)
    provider.house.clock.now = int(provider.now) + 1.0
    with pytest.raises(TokenError):
        provider.info(access)


def hint(provider, token, issuer=ISSUER):
    with provider.house.write() as connection:
        return oidc.hinted(connection, provider.ring, issuer=issuer, token=token, now=provider.now)


def test_an_id_token_of_ours_is_known_again(provider):
    tokens = provider.tokens()
    provider.house.clock.advance(4000)
    assert hint(provider, tokens["id_token"])["aud"] == provider.id
    assert hint(provider, tokens["id_token"], "https://them") is None
    assert hint(provider, tokens["access_token"]) is None and hint(provider, "x") is None


def test_a_subject_says_nothing_and_is_of_one_person_of_one_firm(provider):
    subjects = [oidc.subject_of(provider.ring, *who) for who in ((1, 1), (1, 2), (2, 1), (1, 11))]
    assert len(set(subjects)) == 4 and {len(one) for one in subjects} == {32}
    assert subjects[0] == oidc.subject_of(provider.ring, 1, 1)


def test_what_discovery_says(provider):
    """OpenID Connect Discovery 1.0, section 3."""
    told = oidc.discovery(ISSUER)
    offered = ("claims_parameter", "backchannel_logout", "backchannel_logout_session")
    not_offered = ("request_parameter", "request_uri_parameter",
                   "authorization_response_iss_parameter")  # fmt: skip
    assert all(told[f"{name}_supported"] is True for name in offered)
    assert all(told[f"{name}_supported"] is False for name in not_offered)
    assert told["code_challenge_methods_supported"] == ["S256"]


def test_an_address_with_more_in_its_query():
    assert oidc.with_query("a?b=c", {"d": "e f"}) == "a?b=c&d=e+f"
    assert oidc.with_query("a", {"d": "e"}) == "a?d=e"
