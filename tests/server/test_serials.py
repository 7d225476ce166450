"""Serial numbers that stations share: none twice, whoever asks, whatever is lost."""

from __future__ import annotations

import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select

from tallystick.server.accounts.credentials import Role
from tallystick.server.serving.running import add_credential
from tallystick.server.store.audit import check
from tallystick.server.store.models import AuditEntry
from tallystick.server.store.opened import opened
from tests.server.conftest import Server, bearer

FIRST = "TS00000001"


def ask(server: Server, first: str = FIRST, count: int = 10, **more: Any) -> Any:
    who = more.pop("who", server.station)
    body = {"request": secrets.token_hex(16), "first": first, "count": count} | more
    return server.client.post("/v1/serials", json=body, headers=bearer(who))


def numbers(answer: Any) -> list[int]:
    given = answer.json()
    first = int(given["first"][2:])
    return list(range(first, first + given["count"]))


def test_a_run_follows_the_one_before(server):
    assert numbers(ask(server, count=3)) == [1, 2, 3]
    assert numbers(ask(server, count=2)) == [4, 5]
    assert numbers(ask(server, "TS00000100", 1)) == [100]
    assert numbers(ask(server, count=1)) == [101]  # what was jumped over is given to nobody


def test_asking_again_after_a_lost_answer_gives_the_same(server):
    request = secrets.token_hex(16)
    assert numbers(ask(server, request=request)) == numbers(ask(server, request=request))
    assert numbers(ask(server, count=1)) == [11]


def test_the_name_of_a_request_is_its_own(server):
    request = secrets.token_hex(16)
    ask(server, request=request)
    other = add_credential(server.settings, Role.STATION, "second")
    for changes in ({"count": 9}, {"first": "TX00000001"}, {"who": other}):
        answer = ask(server, request=request, **changes)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "other-request")
    assert numbers(ask(server, count=1)) == [11]


def test_eight_stations_at_once_share_a_range(server):
    stations = [add_credential(server.settings, Role.STATION, f"s{n}") for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: ask(server, count=7, who=stations[n % 8]), range(32)))
    given = [number for answer in answers for number in numbers(answer)]
    assert len(given) == len(set(given)) == 32 * 7
    assert sorted(given) == list(range(1, 32 * 7 + 1))


def test_a_range_ends(server):
    assert ask(server, "TS99999998", 2).status_code == 200
    answer = ask(server, "TS99999998", 1)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "range-used-up")


def test_a_range_begins_above_the_cards_that_are_there(server):
    server.card("TS00000041")
    assert numbers(ask(server, count=1)) == [42]


@pytest.mark.parametrize(
    "bad",
    [
        {"count": 0}, {"count": 1001}, {"first": "TS0000001"}, {"first": "TSAAAAAAAA"},
        {"first": "ts00000001"}, {"first": "TS00000001\n"}, {"request": "x"}, {"more": 1},
    ],
)  # fmt: skip
def test_what_is_malformed_is_refused(server, bad):
    assert ask(server, **bad).status_code == 422
    assert numbers(ask(server, count=1)) == [1]


def test_each_run_is_in_the_audit_log(server):
    ask(server, count=5)
    with opened(server.settings) as parts, parts.database.snapshot() as connection:
        assert all(chain.broken_at is None for chain in check(connection, parts.ring))
        entry = connection.execute(
            select(AuditEntry.subject, AuditEntry.actor, AuditEntry.detail).where(
                AuditEntry.action == "serials-reserved"
            )
        ).one()
    assert (entry.subject, entry.actor) == (FIRST, server.station.id)
    assert json.loads(entry.detail)["count"] == 5
