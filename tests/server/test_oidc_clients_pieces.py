"""Registered services: what they may be called and where people are sent, how one is changed and
removed, and how it shows who it is."""

from __future__ import annotations

import json
from functools import cache

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from sqlalchemy import func, insert, select

from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.services import oidc_clients
from tallystick.server.services.oidc_clients import ASSERTION, Client, TokenError
from tallystick.server.store import origin
from tallystick.server.store.audit import AuditEntry
from tallystick.server.store.models_login import OidcClient, OidcCode, OidcGrant, OidcLogout
from tests.server.house import refused

NOW = 1000.25
URI, OUT, TOLD = "https://a.example/cb", "https://a.example/out", "https://a.example/told"
RSA = RSAKey.generate_key(2048, {"kid": "r"})


@pytest.fixture
def connection(quick_house):
    with quick_house.write() as connection:
        yield connection


@pytest.fixture
def ring(quick_house):
    return quick_house.state.ring


@pytest.fixture
def add(connection, ring):
    def made(name="Service", uris=(URI,), firm_id=1, **more):
        return oidc_clients.add_client(
            connection, ring, firm_id=firm_id, name=name, redirect_uris=list(uris), now=NOW,
            actor="boss", **more,
        )  # fmt: skip

    return made


@pytest.fixture
def change(connection, ring):
    def made(number, **values):
        client = oidc_clients.find_client(connection, 1, number)
        oidc_clients.change(connection, ring, client, now=NOW, actor="boss", **values)

    return made


@pytest.fixture
def entries(connection):
    """→ what the audit log was told of services, the oldest first"""

    def made():
        query = select(
            AuditEntry.at_ms, AuditEntry.firm_id, AuditEntry.actor, AuditEntry.action,
            AuditEntry.subject, AuditEntry.detail,
        ).where(AuditEntry.action.like("oidc-client-%")).order_by(AuditEntry.number)  # fmt: skip
        return [(*row[:5], json.loads(row.detail or "{}")) for row in connection.execute(query)]

    return made


def second_firm(house) -> int:
    with house.write() as connection:
        connection.exec_driver_sql("INSERT INTO firm (id, name, policy) VALUES (2, 'b', '{}')")
    return 2


# -- names and addresses ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "a b", "ä" * oidc_clients.MAX_NAME])
def test_what_a_service_may_be_called(name):
    oidc_clients.check_name(name)


@pytest.mark.parametrize("name", ["", " ", " a", "a ", "a\nb", "x" * (oidc_clients.MAX_NAME + 1)])
def test_what_no_service_is_called(name):
    with refused("bad-name") as caught:
        oidc_clients.check_name(name)
    said = caught.value
    assert said.status == 422 and said.kept == NOTHING_CHANGED
    assert said.what == f"A service cannot be called {name[:64]!r}."
    assert said.todo == "Give it a name on one line, of 64 characters at most."


def test_a_name_has_room_in_the_database():
    """PostgreSQL takes none that is longer than its column."""
    assert OidcClient.__table__.c.name.type.length == oidc_clients.MAX_NAME


@pytest.mark.parametrize(
    "uri",
    ["https://a", "https://a:1/b?c=d", "http://localhost", "http://127.0.0.1:1/", "http://[::1]/",
     "https://127.0.0.1/", "https://localhost/"],
)  # fmt: skip
def test_where_people_may_be_sent(uri):
    oidc_clients.check_uri(uri)


@pytest.mark.parametrize(
    "uri",
    ["", "a", "https:///b", "http://a", "http://localhost.a/", "ftp://localhost/", "ftp://a/",
     "https://a/#", "https://a/*", "https://a/ b", "https://a/\x7f", "https://ä/",
     "https://u@a/", "https://u:p@a/", "https://a:x/", "https://a:70000/", "https://[a/"],
)  # fmt: skip
def test_where_nobody_is_sent(uri):
    with refused("bad-redirect-uri") as caught:
        oidc_clients.check_uri(uri)
    said = caught.value
    assert said.status == 422 and said.kept == NOTHING_CHANGED and said.todo.startswith("Use https")
    assert said.what == f"{uri!r} cannot be an address of a service."


@pytest.mark.parametrize("url", ["https://id.example", "http://id.example/p", "https://a:1"])
def test_an_address_of_the_server(url):
    oidc_clients.check_public_url(url)


@pytest.mark.parametrize("url", ["", "id.example", "ftp://a", "https://", "https://[a",
                                 "https://a?b", "https://a#b"])  # fmt: skip
def test_what_is_no_address_of_the_server(url):
    with refused("bad-public-url") as caught:
        oidc_clients.check_public_url(url)
    assert caught.value.status == 422 and caught.value.kept == NOTHING_CHANGED
    assert url in caught.value.what and caught.value.todo


# -- added, found, changed, removed ----------------------------------------------------------------


def test_a_service_is_kept_as_it_was_given(connection, add, entries):
    number, secret = add(
        uris=(URI, "https://b.example/"), post_logout_uris=(OUT, URI), backchannel_logout_uri=TOLD
    )
    assert number.startswith("oc-") and len(number) == 19 and len(secret) == 43
    expected = Client(number, 1, "Service", (URI, "https://b.example/"), (OUT, URI), "", TOLD)
    assert oidc_clients.find_client(connection, 1, number) == expected
    assert oidc_clients.find_client(connection, 2, number) is None
    assert oidc_clients.find_client(connection, 1, "oc-x") is None
    assert oidc_clients.authenticate(connection, 1, number, secret) == expected
    facts = {"name": "Service", "redirect_uris": f"{URI}, https://b.example/"}
    assert entries() == [(1000250, 1, "boss", "oidc-client-added", number, facts)]


def test_one_with_little_has_nothing_else(connection, add):
    number, _ = add()
    assert oidc_clients.find_client(connection, 1, number) == Client(number, 1, "Service", (URI,))


def test_one_that_signs_has_no_secret(connection, add):
    number, secret = add(jwks=keys_of("ES256"))
    assert secret == "" and oidc_clients.find_client(connection, 1, number).jwks


def test_many_addresses_are_cut_in_the_log(add, entries):
    add(uris=(f"https://a.example/{'x' * 700}",))
    assert len(entries()[0][-1]["redirect_uris"]) == 600


@pytest.mark.parametrize(
    "more",
    [{"name": " "}, {"uris": (URI, "x")}, {"post_logout_uris": (URI, "x")},
     {"backchannel_logout_uri": "x"}],
)  # fmt: skip
def test_nothing_wrong_is_kept(connection, add, change, entries, more):
    number, _ = add()
    with pytest.raises(ApiError):
        add(**{"name": "Other"} | more)
    values = {"redirect_uris" if name == "uris" else name: value for name, value in more.items()}
    with pytest.raises(ApiError):
        change(number, **values)
    assert oidc_clients.listed(connection, 1) == [Client(number, 1, "Service", (URI,))]
    assert len(entries()) == 1


def test_a_name_is_there_once_in_a_firm(quick_house, connection, add, change):
    second_firm(quick_house)
    add("A")
    add("A", firm_id=2)
    number, _ = add("B")
    for again in (lambda: add("A"), lambda: change(number, name="A")):
        with refused("duplicate-name") as caught, connection.begin_nested():
            again()
        said = caught.value
        assert (said.status, said.kept, said.todo) == (
            409, NOTHING_CHANGED, "Choose another name.",
        )  # fmt: skip
        assert said.what == "A service named 'A' exists already." and said.__suppress_context__


def test_services_are_listed_by_name_and_named_by_id_or_name(quick_house, connection, add):
    second_firm(quick_house)
    theirs, _ = add("A", firm_id=2)
    last, first = add("C")[0], add("B")[0]
    assert [one.id for one in oidc_clients.listed(connection, 1)] == [first, last]
    assert oidc_clients.named(connection, 1, "C").id == last
    assert oidc_clients.named(connection, 1, first).name == "B"
    for name in (theirs, "A", ""):
        with refused("no-such-service") as caught:
            oidc_clients.named(connection, 1, name)
        said = caught.value
        assert said.status == 404 and said.kept == NOTHING_CHANGED and repr(name) in said.what
        assert said.todo == "See 'tally server oidc list'."


def test_what_was_changed_is_kept_and_told(connection, add, change, entries):
    number, other = add()[0], add("Other")[0]
    change(number, name="New", redirect_uris=(OUT, URI), post_logout_uris=(OUT,),
           backchannel_logout_uri=TOLD)  # fmt: skip
    changed = Client(number, 1, "New", (OUT, URI), (OUT,), "", TOLD)
    assert oidc_clients.find_client(connection, 1, number) == changed
    assert oidc_clients.find_client(connection, 1, other) == Client(other, 1, "Other", (URI,))
    facts = {
        "name": "Service → New", "redirect_uris": f"{URI} → {URI}, {OUT}",
        "post_logout_uris": f"none → {OUT}", "backchannel_logout_uri": f"none → {TOLD}",
    }  # fmt: skip
    assert entries()[-1] == (1000250, 1, "boss", "oidc-client-changed", number, facts)
    change(number, post_logout_uris=(), backchannel_logout_uri="")
    assert oidc_clients.find_client(connection, 1, number) == Client(number, 1, "New", (OUT, URI))
    change(number, jwks="{}")
    assert entries()[-1][-1] == {"jwks": "other keys"}
    change(number, name="New")
    assert entries()[-1][-1] == {}
    change(number, name="A", redirect_uris=(URI + "x" * 400,), post_logout_uris=(URI + "y" * 400,))
    assert [set(one[-1]) for one in entries()[-2:]] == [
        {"name", "redirect_uris"}, {"post_logout_uris"},
    ]  # fmt: skip


def test_a_new_secret_is_worth_what_the_old_one_was(connection, ring, add, entries):
    (number, old), other = add(jwks=keys_of("ES256")), add("Other")
    client = oidc_clients.find_client(connection, 1, number)
    new = oidc_clients.new_secret(connection, ring, client, now=NOW, actor="boss")
    assert len(new) == 43
    assert not oidc_clients.authenticate(connection, 1, number, new).jwks
    with pytest.raises(TokenError):
        oidc_clients.authenticate(connection, 1, number, old)
    assert oidc_clients.authenticate(connection, 1, *other)
    facts = {"secret": "another one"}
    assert entries()[-1] == (1000250, 1, "boss", "oidc-client-changed", number, facts)


def test_one_is_removed_with_what_it_was_given(quick_house, connection, ring, add, entries):
    (gone, _), (stays, _) = add(), add("Other")
    quick_house.person()
    session = quick_house.session(quick_house.sign_in().session)
    common = {"session_id": session.id, "scope": "openid", "expires_at": 9}
    for at, number in enumerate((gone, stays)):
        digest = bytes([at]) * 32
        connection.execute(insert(OidcCode), common | {
            "code_hash": digest, "client_id": number, "redirect_uri": URI, "nonce": "",
            "challenge": ""})  # fmt: skip
        connection.execute(insert(OidcGrant), common | {
            "id": number, "code_hash": digest, "client_id": number, "claims": ""})  # fmt: skip
        connection.execute(insert(OidcLogout), {
            "firm_id": 1, "client_id": number, "session": session.handle, "subject": "",
            "tries": 0, "expires_at": 9})  # fmt: skip
    client = oidc_clients.find_client(connection, 1, gone)
    oidc_clients.remove(connection, ring, client, now=NOW, actor="boss")
    for table in (OidcCode, OidcGrant, OidcLogout):
        assert list(connection.scalars(select(table.client_id))) == [stays]
    assert [one.id for one in oidc_clients.listed(connection, 1)] == [stays]
    facts = {"name": "Service"}
    assert entries()[-1] == (1000250, 1, "boss", "oidc-client-removed", gone, facts)


# -- keys ------------------------------------------------------------------------------------------


@cache
def key_of(kind):
    if kind == "ES256":
        return ECKey.generate_key("P-256", {"kid": "e"})
    if kind == "EdDSA":
        return OKPKey.generate_key("Ed25519")
    return RSA


def small_keys() -> str:
    """Two letters less, which are a byte."""
    row = RSA.as_dict(private=False)
    return json.dumps({"keys": [row | {"n": row["n"][:340]}]})


def keys_of(*kinds):
    return json.dumps({"keys": [key_of(kind).as_dict(private=False) for kind in kinds]})


def test_only_what_is_public_is_kept():
    given = {"keys": [key_of(kind).as_dict(private=True) for kind in ("ES256", "EdDSA", "RS256")]}
    kept = json.loads(oidc_clients.checked_jwks(json.dumps(given)))
    assert [one["kty"] for one in kept["keys"]] == ["EC", "OKP", "RSA"]
    assert all("d" not in one for one in kept["keys"])


@pytest.mark.filterwarnings("ignore:Key size")
@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "7", "null", '{"keys": []}', '{"keys": [7]}', '{"keys": [{}]}',
     '{"keys": [{"kty": "RSA"}]}', '{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA"}]}',
     "symmetric", "small", "one of them"],
)  # fmt: skip
def test_what_is_no_set_of_keys(text):
    if text == "symmetric":
        text = json.dumps({"keys": [OctKey.generate_key(256).as_dict(private=True)]})
    elif text == "small":
        text = small_keys()
    elif text == "one of them":
        keys = [key_of("ES256"), OctKey.generate_key(256)]
        text = json.dumps({"keys": [one.as_dict() for one in keys]})
    with refused("bad-keys") as caught:
        oidc_clients.checked_jwks(text)
    said = caught.value
    assert said.status == 422 and said.kept == NOTHING_CHANGED
    assert said.what == (
        "That is no set of public keys (RFC 7517): RSA of 2048 bits, EC or OKP."
    )  # fmt: skip
    assert said.todo == "Give the service's JWKS as JSON."


def test_a_key_set_of_2048_bits_is_long_enough():
    assert oidc_clients.checked_jwks(keys_of("RS256"))


# -- who it is -------------------------------------------------------------------------------------


def seen_wrong(act) -> TokenError:
    """Refused, and to be seen in the audit log."""
    with origin.came_from("192.0.2.1") as there, pytest.raises(TokenError) as caught:
        act()
    error = caught.value
    assert (error.error, error.status, str(error)) == ("invalid_client", 401, "invalid_client")
    assert len(there.incidents) == 1
    return error


def test_a_secret_is_one_services_of_one_firm(quick_house, connection, add):
    second_firm(quick_house)
    (number, secret), (other, theirs) = add(), add("Other", firm_id=2)
    signing, _ = add("Signs", jwks=keys_of("ES256"))
    assert oidc_clients.authenticate(connection, 1, number, secret).name == "Service"
    assert oidc_clients.authenticate(connection, 2, other, theirs).name == "Other"
    for firm_id, who, what in (
        (1, number, theirs), (1, number, ""), (1, other, theirs), (2, number, secret),
        (1, "oc-x", secret), (1, "oc-x", ""), (1, signing, ""), (1, "", ""),
    ):  # fmt: skip
        seen_wrong(lambda f=firm_id, n=who, s=what: oidc_clients.authenticate(connection, f, n, s))


def test_one_that_signs_is_not_let_in_by_the_secret_it_never_got(connection, add, monkeypatch):
    monkeypatch.setattr(oidc_clients.chance, "token_urlsafe", lambda _: "known")
    number, _ = add(jwks=keys_of("ES256"))
    seen_wrong(lambda: oidc_clients.authenticate(connection, 1, number, "known"))


def test_other_errors_are_no_incident():
    with origin.came_from("192.0.2.1") as there:
        error = TokenError("invalid_request")
    assert (error.error, error.status, str(error)) == ("invalid_request", 400, "invalid_request")
    assert not there.incidents


@pytest.fixture
def shown(connection, add):
    """What a signing service sends; changes of its claims, of the form, of who signs it."""
    number, _ = add(jwks=keys_of("ES256", "EdDSA", "RS256"))
    made = iter(range(1000))

    def known(claims=None, form=None, kind="ES256", header=None, firm_id=1, signer=None):
        said = {"iss": number, "sub": number, "aud": "https://us/oidc/token", "exp": NOW + 60,
                "jti": str(next(made))} | (claims or {})  # fmt: skip
        said = {name: value for name, value in said.items() if value is not ...}
        key = signer or key_of(kind)
        signed = jwt.encode({"alg": kind} | (header or {}), said, key, algorithms=[kind])
        sent = {"client_assertion": signed, "client_assertion_type": ASSERTION} | (form or {})
        return oidc_clients.by_assertion(
            connection, firm_id, issuer="https://us", form=sent, now=NOW
        )

    known.number = number
    return known


@pytest.mark.parametrize(
    "claims",
    [{"aud": "https://us"}, {"aud": "https://us/oidc/par"}, {"aud": "https://us/oidc/revoke"},
     {"aud": ["x", "https://us"]}, {"exp": NOW - 29}, {"exp": int(NOW) - 29}, {"exp": NOW + 600},
     {"nbf": NOW + 30}, {"nbf": 0}, {"jti": "x"}],
)  # fmt: skip
def test_what_one_signs_shows_who_it_is(shown, claims):
    assert shown(claims).id == shown.number


@pytest.mark.parametrize(
    "claims",
    [{"aud": "https://us/"}, {"aud": []}, {"aud": ["x"]}, {"aud": ...}, {"aud": "https://u"},
     {"exp": NOW - 30}, {"exp": NOW + 600.5}, {"exp": "9"}, {"exp": ...}, {"exp": None},
     {"nbf": NOW + 30.5}, {"nbf": "0"}, {"nbf": None}, {"jti": ""}, {"jti": 7}, {"jti": ...},
     {"sub": "x"}, {"sub": ...}, {"iss": "x"}, {"iss": ...}, {"iss": 7}],
)  # fmt: skip
def test_what_shows_nothing(shown, claims):
    seen_wrong(lambda: shown(claims))
    assert shown()


@pytest.mark.parametrize(
    "form",
    [{"client_assertion_type": ""}, {"client_assertion_type": ASSERTION + "x"},
     {"client_assertion": ""}, {"client_assertion": "x"}, {"client_assertion": "a.b.c"},
     {"client_assertion": "a.W10.c"}, {"client_assertion": "a.N w.c"}, {"client_id": "oc-x"}],
)  # fmt: skip
def test_a_form_that_shows_nothing(shown, form):
    seen_wrong(lambda: shown(form=form))
    assert shown(form={"client_id": shown.number})


def test_it_is_of_the_firm_that_is_asked(shown):
    seen_wrong(lambda: shown(firm_id=2))


def test_one_that_has_a_secret_signs_nothing(connection, shown, add):
    number, _ = add("Other")
    seen_wrong(lambda: shown({"iss": number, "sub": number}))


def test_each_assertion_comes_once(connection, shown, add):
    """Of one service: another one's may have the same number."""
    other, _ = add("Other", jwks=keys_of("ES256"))
    assert shown({"jti": "once"})
    seen_wrong(lambda: shown({"jti": "once"}))
    assert shown({"jti": "once", "iss": other, "sub": other}).id == other
    seen_wrong(lambda: shown({"jti": "once", "iss": other, "sub": other}))


def test_an_assertion_is_remembered_for_as_long_as_it_is_taken(connection, shown):
    shown({"jti": "once", "exp": NOW + 60})
    rows = connection.exec_driver_sql("SELECT firm_id, pushed_by, query, expires_at, id_hash"
                                      " FROM oidc_request").all()  # fmt: skip
    assert [tuple(row[:4]) for row in rows] == [(1, shown.number, "", 1090)]
    assert len(rows[0].id_hash) == 32


@pytest.mark.filterwarnings("ignore:EdDSA")
@pytest.mark.parametrize("kind", ["ES256", "EdDSA", "RS256", "PS256"])
@pytest.mark.parametrize("name", [None, "e", "r", "a name that was never registered"])
def test_any_of_its_keys_signs_by_whatever_name(shown, kind, name):
    """The one of EdDSA was registered without a name."""
    assert shown(kind=kind, header={"kid": name} if name else {})


@pytest.mark.parametrize("header", [{}, {"kid": "e"}, {"kid": "x"}])
def test_no_other_key_signs(shown, header):
    other = ECKey.generate_key("P-256", {"kid": "e"})
    seen_wrong(lambda: shown(signer=other, header=header))


def test_other_algorithms_are_not_taken(shown):
    seen_wrong(lambda: shown(kind="RS512"))


@pytest.mark.parametrize("depth", [10, 100_000])
def test_who_an_assertion_is_said_to_be_of_may_be_anything(depth):
    nested = oidc_clients.base64url.encode(b"[" * depth)
    for odd in ("", "x", "a.b", f"a.{nested}.c", "a.bnVsbA.c", "a.Nw.c", "a.e30.c", "a./w.c"):
        assert oidc_clients._issuer_of(odd) == ""
    said = oidc_clients.base64url.encode(b'{"iss": "oc-1"}')
    assert oidc_clients._issuer_of(f"a.{said}.c") == "oc-1"


def test_nothing_else_is_counted_as_an_assertion(connection, shown):
    seen_wrong(lambda: shown({"aud": "x"}))
    assert connection.scalar(select(func.count()).select_from(oidc_clients.OidcRequest)) == 0
