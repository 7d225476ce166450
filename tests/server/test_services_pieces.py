"""EAP's packets, and authorisation requests that are kept, each by itself."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, select

from tallystick.server.services import oidc_requests, radius_eap
from tallystick.server.services.oidc_clients import Client
from tallystick.server.services.radius_eap import EapAnswer
from tallystick.server.store.models_login import OidcRequest
from tests.server.house import refused

# -- EAP (RFC 3748, RFC 3579) ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "answer"),
    [
        ([], EapAnswer(0, 1, b"")),  # EAP-Start: we are to begin
        (["0207000501"], EapAnswer(7, 1, b"")),
        (["02070005", "06"], EapAnswer(7, 6, b"")),
        (["020700070661", "62"], EapAnswer(7, 6, b"ab")),
        (["0207000706616263"], EapAnswer(7, 6, b"ab")),  # what stands behind is padding
        (["02070105" + "06" + "61" * 256], EapAnswer(7, 6, b"a" * 256)),
    ],
)
def test_a_response_of_the_peer(parts, answer):
    assert radius_eap.heard(map(bytes.fromhex, parts)) == answer


@pytest.mark.parametrize(
    "packet",
    ["01070005" + "01", "0307000501", "02", "020700", "02070004" + "01", "0207000601", "02070000"],
)
def test_what_is_no_response(packet):
    with pytest.raises(ValueError, match="no EAP response"):
        radius_eap.heard([bytes.fromhex(packet)])


@pytest.mark.parametrize(
    ("identifier", "prompt", "packet"),
    [
        (7, "Code:", b"\x01\x08\x00\x0a\x06Code:"),
        (0, "", b"\x01\x01\x00\x05\x06"),
        (254, "", b"\x01\xff\x00\x05\x06"),
        (255, "", b"\x01\x00\x00\x05\x06"),
        (7, "x" * 1001, b"\x01\x08\x03\xed\x06" + b"x" * 1000),
    ],
)
def test_the_next_question(identifier, prompt, packet):
    assert radius_eap.question(EapAnswer(identifier, 1, b""), prompt) == packet


def test_the_verdict_is_of_the_answer():
    answer = EapAnswer(9, 6, b"x")
    assert radius_eap.verdict(answer, accepted=True) == b"\x03\x09\x00\x04"
    assert radius_eap.verdict(answer, accepted=False) == b"\x04\x09\x00\x04"
    assert (radius_eap.IDENTITY, radius_eap.NAK, radius_eap.GTC) == (1, 3, 6)  # RFC 3748, 5


@pytest.mark.parametrize("size", [0, 1, 253, 254, 506, 507])
def test_a_packet_in_as_many_attributes_as_it_takes(size):
    packet = bytes(at % 251 for at in range(size))
    parts = list(radius_eap.attributes(packet))
    assert b"".join(parts) == packet and len(parts) == -(-size // 253)
    assert all(len(part) == 253 for part in parts[:-1])


# -- authorisation requests ------------------------------------------------------------------------

PUSHER = Client("oc-1", 1, "Service", (), (), "")


@pytest.fixture
def connection(quick_house):
    with quick_house.write() as connection:
        yield connection


def kept(connection, name, now, firm_id=1, pushed_by=""):
    return oidc_requests.kept(connection, firm_id, name, now, pushed_by)


def test_a_request_is_kept_for_an_hour_and_a_pushed_one_for_90_seconds(connection):
    """docs/reference/openid.md"""
    for pushed_by, life_s in ((None, 3600), (PUSHER, 90)):
        name = oidc_requests.keep(connection, 1, {"a": "b"}, 1000.5, pushed_by)
        assert len(name) == 32
        by = pushed_by.id if pushed_by else ""
        assert kept(connection, name, 1000 + life_s - 0.1, pushed_by=by) == {"a": "b"}
        assert kept(connection, name, 1000 + life_s, pushed_by=by) is None
        assert kept(connection, name, 1000, pushed_by="" if by else "oc-1") is None
        assert kept(connection, name, 1000, firm_id=2, pushed_by=by) is None
        assert kept(connection, name + "x", 1000, pushed_by=by) is None


def test_a_request_that_was_answered_is_forgotten_and_no_other(connection):
    one, two = (oidc_requests.keep(connection, 1, {"a": str(n)}, 0) for n in range(2))
    oidc_requests.forget(connection, one)
    assert kept(connection, one, 0) is None and kept(connection, two, 0) == {"a": "1"}


def test_those_that_are_over_are_cleared_away(connection):
    oidc_requests.keep(connection, 1, {}, 0)
    young = oidc_requests.keep(connection, 1, {"a": "b"}, 1)
    oidc_requests.keep(connection, 1, {}, 3600)
    assert len(connection.execute(select(OidcRequest.query)).all()) == 2
    assert kept(connection, young, 3600)


def test_an_empty_one_is_no_request(connection):
    """An assertion that was seen is kept beside them."""
    row = {"id_hash": oidc_requests._digest("x"), "firm_id": 1, "pushed_by": "", "query": "",
           "expires_at": 9}  # fmt: skip
    connection.execute(insert(OidcRequest), row)
    assert kept(connection, "x", 0) is None


def test_a_firm_has_so_many_at_once(connection, monkeypatch):
    assert oidc_requests.MOST == 10_000  # docs/reference/openid.md
    monkeypatch.setattr(oidc_requests, "MOST", 2)
    for _ in range(2):
        oidc_requests.keep(connection, 1, {}, 0)
    with refused("busy") as caught:
        oidc_requests.keep(connection, 1, {}, 0)
    assert (caught.value.status, caught.value.retry_after_s) == (503, 60)
    assert oidc_requests.keep(connection, 1, {}, 3600)  # they are over
