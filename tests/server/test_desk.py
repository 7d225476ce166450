"""The loans desk: every act needs the card in the hand, and is one transaction."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import select

from tallystick.common.secret import Secret
from tallystick.server.rules.otp import hotp
from tallystick.server.serving.running import add_credential, running
from tallystick.server.store.audit import check
from tallystick.server.store.models import AuditEntry
from tallystick.server.store.opened import opened
from tests.server.conftest import bearer
from tests.server.test_process import enrol

SPARE, OTHER, OWN = "SPARE00001", "SPARE00002", "OWN0000001"


class Desk:
    """A member of support, with two spares and a user who has a card of her own."""

    def __init__(self, server) -> None:
        self.server = server
        self.person = add_credential(server.settings, "desk", "ann at the desk")
        self.seeds = {SPARE: server.card(SPARE, user=None), OTHER: server.card(OTHER, user=None)}
        self.seeds[OWN] = server.card(OWN, user="bob")

    def code(self, serial: str, factor: int) -> str:
        return hotp(self.seeds[serial], factor, 6)

    def call(self, method: str, path: str, body: object = None, who=None):
        token = (who or self.person).token.reveal().decode()
        headers = {"authorization": f"Bearer {token}"}
        return self.server.client.request(method, f"/v1{path}", json=body, headers=headers)

    def post(self, serial: str, act: str, **body: object):
        return self.call("POST", f"/cards/{serial}/{act}", body)

    def lend(self, serial: str = SPARE, user: str = "bob", factor: int = 0, **more: object):
        body = {"user": user, "codes": [self.code(serial, factor)]} | more
        return self.post(serial, "loan", **body)

    def where(self, **query: str) -> list[str]:
        words = "&".join(f"{name}={value}" for name, value in query.items())
        return [card["serial"] for card in self.call("GET", f"/cards?{words}").json()["cards"]]

    def shown(self, serial: str) -> dict[str, object]:
        return self.call("GET", f"/cards/{serial}").json()

    def acts(self) -> list[tuple[str, str, str]]:
        with opened(self.server.settings) as parts, parts.database.read() as connection:
            assert all(report.broken_at is None for report in check(connection, parts.ring))
            rows = connection.execute(
                select(AuditEntry.actor, AuditEntry.action, AuditEntry.subject)
                .where(AuditEntry.action.like("card-%"), AuditEntry.actor == self.person.id)
                .order_by(AuditEntry.number)
            )
            return [tuple(row) for row in rows]


@pytest.fixture
def desk(server) -> Desk:
    return Desk(server)


def refused(answer, code: str, status: int = 409) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code, error
    return error


def test_a_day_with_a_spare(desk):
    assert desk.where(where="pool") == [SPARE, OTHER]
    lent = desk.lend().json()
    assert lent["user"] == "bob" and lent["loan_until"] > desk.server.clock.now
    assert lent["moving_factor"] == 1  # the proof is used up
    assert desk.where(where="lent") == [SPARE] and desk.where(where="pool") == [OTHER]
    assert desk.server.reason(desk.code(SPARE, 0), user="bob") == "replayed"
    assert desk.server.reason(desk.code(SPARE, 1), user="bob") == "ok"
    back = desk.post(SPARE, "return", codes=[desk.code(SPARE, 2)]).json()
    assert back["user"] is None and desk.where(where="pool") == [SPARE, OTHER]
    assert desk.server.reason(desk.code(SPARE, 3), user=None, serial=SPARE) == "no-card"
    me = desk.person.id
    assert desk.acts() == [(me, "card-lent", SPARE), (me, "card-returned", SPARE)]


def test_wrong_replayed_and_foreign_codes_change_nothing(desk, wrong_code):
    desk.lend(factor=0)
    desk.post(SPARE, "return", codes=[desk.code(SPARE, 1)])
    for code, why in (
        (wrong_code(desk.seeds[SPARE]), "wrong-code"),
        (desk.code(SPARE, 1), "replayed-code"),
        (desk.code(OTHER, 0), "wrong-code"),
    ):
        error = refused(desk.post(SPARE, "loan", user="bob", codes=[code]), why)
        assert SPARE in error["what"] and error["kept"] and error["todo"]
        assert code not in error["what"] + error["todo"]
    assert desk.shown(SPARE)["user"] is None
    assert desk.shown(OTHER)["moving_factor"] == 0
    assert [act for _, act, _ in desk.acts()].count("card-code-refused") == 3


def test_guessing_at_the_desk_is_throttled(desk, wrong_code):
    wrong = wrong_code(desk.seeds[SPARE])
    for _ in range(10):
        refused(desk.post(SPARE, "loan", user="bob", codes=[wrong]), "wrong-code")
    refused(desk.lend(), "throttled", 429)
    desk.server.clock.advance(61)
    assert desk.lend().status_code == 200


def test_a_code_is_needed_of_a_desk_and_not_of_an_administrator(desk):
    refused(desk.post(SPARE, "loan", user="bob"), "code-needed", 422)
    refused(desk.post(SPARE, "loan", user="bob", codes=["1234567"]), "wrong-length", 422)
    refused(desk.post(SPARE, "retirement"), "code-needed", 422)
    refused(desk.call("PUT", f"/cards/{SPARE}/status", {"status": "retired"}), "wrong-role", 403)
    admin = desk.server.admin
    assert desk.call("POST", f"/cards/{SPARE}/loan", {"user": "bob"}, admin).status_code == 200


def test_what_cannot_be_lent_costs_no_code(desk):
    refused(desk.lend(user="nobody"), "no-such-user", 404)
    refused(desk.lend(until=1), "bad-loan", 422)
    desk.call("PUT", f"/cards/{SPARE}/status", {"status": "lost"})
    refused(desk.lend(), "card-lost")
    desk.call("PUT", f"/cards/{SPARE}/status", {"status": "registered"})
    assert desk.lend(factor=0).status_code == 200


def test_a_lost_card_in_the_hand_is_said_to_be_found_first(desk):
    """Whoever returns it has it: "use another card" would be no help."""
    desk.lend()
    desk.call("PUT", f"/cards/{SPARE}/status", {"status": "lost"})
    for act, more in (
        ("return", {"codes": [desk.code(SPARE, 1)]}),
        ("return", {"reason": "flat"}),
        ("resynchronisation", {"codes": [desk.code(SPARE, 1), desk.code(SPARE, 2)]}),
        ("loan", {"user": "bob", "codes": [desk.code(SPARE, 1)]}),
    ):
        error = refused(desk.post(SPARE, act, **more), "card-lost")
        assert "found" in error["todo"] and "another" not in error["todo"], act
    desk.call("PUT", f"/cards/{SPARE}/status", {"status": "registered"})
    assert desk.post(SPARE, "return", codes=[desk.code(SPARE, 1)]).json()["user"] is None


def test_a_serial_number_is_found_in_small_letters(desk):
    """As people type it; the audit log and every answer have it as it is registered."""
    small, other = SPARE.lower(), OTHER.lower()
    assert desk.shown(small)["serial"] == SPARE
    assert desk.post(small, "loan", user="bob", codes=[desk.code(SPARE, 0)]).json()["user"] == "bob"
    assert desk.call("PUT", f"/cards/{small}/status", {"status": "lost"}).json()["serial"] == SPARE
    assert desk.post(small, "undo").json()["status"] == "registered"
    desk.post(small, "replacement", by=other, codes=[desk.code(OTHER, 0)])
    assert (desk.shown(other)["user"], desk.shown(small)["status"]) == ("bob", "lost")
    desk.call("PUT", f"/cards/{small}/status", {"status": "registered"})
    codes = [desk.code(SPARE, 5), desk.code(SPARE, 6)]
    assert desk.post(small, "resynchronisation", codes=codes).json()["serial"] == SPARE
    assert desk.post(other, "return", codes=[desk.code(OTHER, 1)]).json()["serial"] == OTHER
    history = desk.call("GET", f"/cards/{small}/history").json()["entries"]
    assert {"card-lent", "card-resynchronised"} <= {one["act"] for one in history}
    admin = desk.server.admin
    given = desk.call("PUT", f"/cards/{small}/assignment", {"user": "bob"}, admin)
    assert given.json()["user"] == "bob"
    assert desk.call("DELETE", f"/cards/{small}/assignment", who=admin).json()["user"] is None
    assert desk.call("POST", f"/cards/{small}/unlock", who=admin).status_code == 204
    assert desk.post(small, "retirement", reason="broken").json()["status"] == "retired"
    assert desk.call("DELETE", f"/cards/{small}", who=admin).status_code == 204
    assert {subject for _, _, subject in desk.acts()} == {SPARE, OTHER}


def test_what_stands_there_counts_before_other_letters(desk):
    """Other makers number in small letters, too."""
    desk.server.card("ab1", user=None), desk.server.card("AB1", user="bob")
    assert [desk.shown(one)["user"] for one in ("ab1", "AB1")] == [None, "bob"]
    assert desk.call("GET", "/cards/aB1").status_code == 404  # either could be meant
    desk.server.card("cd2", user="bob")
    assert desk.shown("CD2")["user"] == "bob"
    refused(desk.post("Ab9", "loan", user="bob", codes=["123456"]), "no-such-card", 404)


def test_a_disabled_person_is_lent_nothing(desk):
    with opened(desk.server.settings) as parts, parts.database.write() as connection:
        connection.exec_driver_sql("UPDATE person SET disabled_at = 1 WHERE login = 'bob'")
    refused(desk.lend(), "user-disabled")


def test_two_desks_lend_the_same_card_at_once(desk):
    desk.server.card("OWN0000002", user="eve")
    codes, answers, start = ("bob", "eve"), [], threading.Barrier(2)

    def lend(user: str) -> None:
        start.wait(10)
        answers.append(desk.lend(user=user, factor=codes.index(user)))

    desks = [threading.Thread(target=lend, args=(user,)) for user in codes]
    for thread in desks:
        thread.start()
    for thread in desks:
        thread.join(30)
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    (winner,) = [answer.json() for answer in answers if answer.status_code == 200]
    assert desk.shown(SPARE)["user"] == winner["user"]
    assert [act for _, act, _ in desk.acts()].count("card-lent") == 1


def test_an_overdue_card_is_listed_until_it_is_in_a_hand(desk):
    desk.lend(until=int(desk.server.clock.now) + 60)
    desk.server.clock.advance(60)
    assert desk.where(where="overdue") == [SPARE] and desk.where(where="pool") == [OTHER]
    shown = desk.shown(SPARE)
    assert (shown["user"], shown["overdue_user"]) == (None, "bob")
    assert desk.server.reason(desk.code(SPARE, 1), user="bob") == "wrong"  # of bob's own card
    desk.server.clock.advance(3600)
    assert desk.post(SPARE, "return", codes=[desk.code(SPARE, 2)]).status_code == 200
    assert desk.where(where="overdue") == [] and desk.shown(SPARE)["overdue_user"] is None


def test_an_overdue_card_is_lent_again_because_it_is_here(desk):
    desk.server.card("OWN0000002", user="eve")
    desk.lend(until=int(desk.server.clock.now) + 60)
    desk.server.clock.advance(61)
    assert desk.lend(user="eve", factor=1).json()["user"] == "eve"
    assert desk.where(where="overdue") == []


def test_only_what_is_lent_is_returned(desk):
    codes = [desk.code(SPARE, 0)]
    assert "nobody" in refused(desk.post(SPARE, "return", codes=codes), "not-lent")["what"]
    codes = [desk.code(OWN, 0)]
    assert "for good" in refused(desk.post(OWN, "return", codes=codes), "not-lent")["what"]
    assert desk.shown(OWN)["moving_factor"] == 0


def test_a_lost_card_is_replaced_in_one_call(desk):
    new = desk.post(OWN, "replacement", by=SPARE, codes=[desk.code(SPARE, 0)]).json()
    assert (new["serial"], new["user"], new["loan_until"]) == (SPARE, "bob", None)
    assert desk.shown(OWN)["status"] == "lost" and desk.shown(OWN)["user"] is None
    assert desk.server.reason(desk.code(OWN, 0), user="bob") == "wrong"
    assert desk.server.reason(desk.code(SPARE, 1), user="bob") == "ok"
    # The old one turns up: nobody's.
    desk.call("PUT", f"/cards/{OWN}/status", {"status": "registered"})
    assert OWN in desk.where(where="pool")
    assert ("card-replaced", OWN) in [act[1:] for act in desk.acts()]


def test_nobody_is_given_a_replacement_who_has_more_rights(desk):
    """Whoever hands him a card could use it as him."""
    with opened(desk.server.settings) as parts, parts.database.write() as connection:
        connection.exec_driver_sql("UPDATE person SET role = 'administrator' WHERE login = 'bob'")
    answer = desk.post(OWN, "replacement", by=SPARE, codes=[desk.code(SPARE, 0)])
    refused(answer, "needs-more-rights", 403)
    assert (desk.shown(OWN)["user"], desk.shown(OWN)["status"]) == ("bob", "registered")
    assert (desk.shown(SPARE)["user"], desk.shown(SPARE)["moving_factor"]) == (None, 0)


def test_a_lost_spare_is_replaced_for_the_rest_of_the_loan(desk):
    until = desk.lend().json()["loan_until"]
    new = desk.post(SPARE, "replacement", by=OTHER, codes=[desk.code(OTHER, 0)]).json()
    assert (new["user"], new["loan_until"]) == ("bob", until)


def test_a_replacement_that_is_refused_leaves_both_cards(desk, wrong_code):
    wrong = wrong_code(desk.seeds[SPARE])
    refused(desk.post(OWN, "replacement", by=SPARE, codes=[wrong]), "wrong-code")
    refused(desk.post(OWN, "replacement", by=OWN, codes=["123456"]), "same-card", 422)
    refused(desk.post(SPARE, "replacement", by=OTHER, codes=["123456"]), "not-held")
    desk.lend(OTHER)
    refused(desk.post(OWN, "replacement", by=OTHER, codes=["123456"]), "already-assigned")
    assert desk.shown(OWN)["status"] == "registered" and desk.shown(OWN)["user"] == "bob"
    assert desk.shown(SPARE)["user"] is None


def test_a_drifted_card_is_found_again_in_the_pool_and_in_a_hand(desk):
    refused(desk.lend(factor=50), "card-drifted")
    pair = [desk.code(SPARE, 51), desk.code(SPARE, 52)]
    assert desk.post(SPARE, "resynchronisation", codes=pair).json()["moving_factor"] == 53
    assert desk.lend(factor=53).status_code == 200
    pair = [desk.code(OTHER, 40), desk.code(OTHER, 41)]
    assert desk.post(OTHER, "loan", user="bob", codes=pair).json()["moving_factor"] == 42
    pair = [desk.code(OWN, 30), desk.code(OWN, 32)]  # not successive
    refused(desk.post(OWN, "resynchronisation", codes=pair), "wrong-code")


def test_retired_for_good_and_twice_the_same(desk):
    desk.lend()
    gone = desk.post(SPARE, "retirement", codes=[desk.code(SPARE, 1)]).json()
    assert (gone["status"], gone["user"]) == ("retired", None)
    again = desk.post(SPARE, "retirement", codes=["000000"]).json()
    assert again == gone | {"undo_until": None}
    assert desk.where(where="retired") == [SPARE]
    refused(desk.lend(factor=2), "card-retired")


def test_search_and_pages(desk):
    assert desk.where(q="spare") == [SPARE, OTHER]
    assert desk.where(q="BOB") == [OWN] and desk.where(where="assigned") == [OWN]
    assert desk.where(q="%25") == []
    page = desk.call("GET", "/cards?limit=1").json()
    assert page["more"] and [card["serial"] for card in page["cards"]] == [OWN]
    assert desk.where(after=OWN) == [SPARE, OTHER]
    for limit, more in ((2, True), (3, False), (4, False)):
        assert desk.call("GET", f"/cards?limit={limit}").json()["more"] is more
    (bob,) = desk.call("GET", "/people?q=b").json()["people"]
    assert (bob["login"], bob["email"], bob["disabled"]) == ("bob", None, False)


def test_another_firm_sees_none_of_it(desk):
    with opened(desk.server.settings) as parts, parts.database.write() as connection:
        from tallystick.server.accounts import firms

        firms.add(connection, parts.ring, "other", now=0, actor="test")
    stranger = add_credential(desk.server.settings, "desk", "x", firm="other")
    assert desk.call("GET", "/cards", who=stranger).json()["cards"] == []
    assert desk.call("GET", "/people", who=stranger).json()["people"] == []
    body = {"user": "bob", "codes": [desk.code(SPARE, 0)]}
    assert desk.call("POST", f"/cards/{SPARE}/loan", body, stranger).status_code == 404


@pytest.mark.slow
def test_two_desks_and_two_workers_on_postgresql(postgresql, tmp_path, container_class):
    """Row locks instead of one writer: a card is lent once, and one code is spent."""
    seeds = {f"SPARE{number:05}": Secret.random(20).reveal() for number in range(8)}
    with running(tmp_path, db=postgresql.new_database(), workers=2) as live:
        enrol(live, container_class, tmp_path, {"A": Secret.random(20).reveal()})
        station = live.add_credential("station", "bench")
        document = container_class(station.psk.reveal())
        for serial, seed in seeds.items():
            document.add(serial, seed)
        registered = httpx.post(
            f"{live.url}/v1/cards",
            content=document.bytes(tmp_path),
            headers=bearer(station) | {"content-type": "application/pskc+xml"},
            timeout=60,
        )
        assert registered.status_code == 201
        desks = [bearer(live.add_credential("desk", name)) for name in ("Ann", "Bob")]

        def lend(job: tuple[str, int]) -> int:
            serial, desk = job
            body = {"user": "A", "codes": [hotp(seeds[serial], desk, 6)]}
            url = f"{live.url}/v1/cards/{serial}/loan"
            return httpx.post(url, json=body, headers=desks[desk], timeout=60).status_code

        with ThreadPoolExecutor(4) as pool:
            jobs = [(serial, desk) for serial in seeds for desk in (0, 1)]
            statuses = list(pool.map(lend, jobs))
        assert sorted(statuses) == [200] * 8 + [409] * 8
        for serial in seeds:
            pair = statuses[jobs.index((serial, 0)) : jobs.index((serial, 0)) + 2]
            card = httpx.get(f"{live.url}/v1/cards/{serial}", headers=desks[0], timeout=60).json()
            assert sorted(pair) == [200, 409] and card["moving_factor"] == pair.index(200) + 1
