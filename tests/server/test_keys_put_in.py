"""Security keys that a station, or a program, enrols for people (`/v1/keys`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from uuid import UUID

import httpx
import pytest

from tallystick.server.accounts import credentials
from tallystick.server.accounts.credentials import Role
from tallystick.server.api.keys import LIFE_S
from tallystick.server.store.opened import opened
from tests.server.conftest import bearer
from tests.server.portal_driver import Portal
from tests.server.soft_key import SoftKey
from tests.server.test_new_colleagues import mails
from tests.server.test_two_factors import sql

MODEL = UUID("00000000-0000-4000-8000-000000000007")


@dataclass
class Station:
    portal: Portal
    http: httpx.Client

    def ask(self, login: str) -> httpx.Response:
        return self.http.post("/v1/keys/options", json={"user": login})

    def enrol(self, key: SoftKey, asked: dict, login: str, **other: object) -> httpx.Response:
        response = json.loads(key.create(asked["options"], asked["origin"]))
        body = {"user": login, "serial": "7", "nonce": asked["nonce"], "until": asked["until"]}
        return self.http.post("/v1/keys", json=body | {"response": response} | other)


def of_role(portal: Portal, role: Role) -> Station:
    with opened(portal.settings) as parts, parts.database.write() as connection:
        made = credentials.add(
            connection, parts.ring, role=role, name=role, now=portal.clock(), actor="test"
        )
    return Station(portal, httpx.Client(base_url=portal.url, headers=bearer(made)))


@pytest.fixture
def station(portal: Portal) -> Station:
    portal.person("ann", email="ann@firm.example")
    return of_role(portal, Role.STATION)


def code(answer: httpx.Response) -> str:
    return answer.json()["error"]["code"]


def factors(portal: Portal) -> list:
    return sql(portal, "SELECT kind FROM factor")


def test_it_is_enrolled_and_its_holder_is_told(portal, station):
    answer = station.enrol(SoftKey(MODEL), station.ask("ann").json(), "ann")
    assert (answer.status_code, answer.json()) == (200, {"user": "ann", "serial": "7"})
    assert factors(portal) == [("webauthn",)]
    told = mails(portal, "security key 7 was added")
    assert [one["to"] for one in told] == ["ann@firm.example"]
    log = sql(portal, "SELECT subject FROM audit WHERE action = 'method-enrolled'")
    assert log == [("ann",)]


@pytest.mark.parametrize("role", ["administrator", "auditor", "support"])
def test_for_whom_a_station_has_not_the_rights_it_enrols_none(portal, station, role):
    portal.person("boss", role)
    asked = station.ask("boss")
    if role == "support":  # its own rights
        assert asked.status_code == 200
        return
    assert (asked.status_code, code(asked)) == (403, "needs-more-rights")
    # Nor with what an administrator's program has asked for.
    theirs = of_role(portal, Role.ADMIN).ask("boss").json()
    answer = station.enrol(SoftKey(MODEL), theirs, "boss")
    assert (answer.status_code, code(answer)) == (403, "needs-more-rights")
    assert factors(portal) == []


def test_a_challenge_serves_once(portal, station):
    asked = station.ask("ann").json()
    assert station.enrol(SoftKey(MODEL), asked, "ann").status_code == 200
    again = station.enrol(SoftKey(MODEL), asked, "ann")
    assert (again.status_code, code(again)) == (409, "challenge-over")
    assert len(factors(portal)) == 1


@pytest.mark.parametrize("wait", [LIFE_S, LIFE_S + 3600])
def test_a_challenge_ends(portal, station, wait):
    asked = station.ask("ann").json()
    portal.clock.advance(wait)
    answer = station.enrol(SoftKey(MODEL), asked, "ann")
    assert (answer.status_code, code(answer)) == (409, "challenge-over")
    # Nor is a later end believed.
    now = int(portal.clock())
    for until, status in ((now + 60, 422), (now + 10 * LIFE_S, 409)):
        assert station.enrol(SoftKey(MODEL), asked, "ann", until=until).status_code == status
    assert factors(portal) == []


def test_a_challenge_is_for_one_person_of_one_station(portal, station):
    portal.person("bob")
    asked = station.ask("ann").json()
    assert station.enrol(SoftKey(MODEL), asked, "bob").status_code == 422
    other = of_role(portal, Role.ADMIN)
    assert other.enrol(SoftKey(MODEL), station.ask("ann").json(), "ann").status_code == 422
    assert factors(portal) == []


def test_nobody_who_is_barred_and_not_where_policy_has_no_keys(portal, station):
    asked = station.ask("ann").json()
    sql(portal, "UPDATE person SET disabled_at = 1 WHERE login = 'ann'")
    assert code(station.ask("ann")) == "user-disabled"
    assert code(station.enrol(SoftKey(MODEL), asked, "ann")) == "user-disabled"
    sql(portal, "UPDATE person SET disabled_at = NULL")
    portal.policy(methods=["totp"], recovery_methods=["totp"])
    assert code(station.ask("ann")) == "method-not-allowed"
    assert code(station.enrol(SoftKey(MODEL), asked, "ann")) == "method-not-allowed"
    assert factors(portal) == []
