"""Job tickets: two signatures, so many cards, and what is signed of them."""

from __future__ import annotations

import random
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from tallystick.common import job_papers, signed
from tallystick.common.errors import BadInputError
from tallystick.common.secret import Secret
from tallystick.server.accounts import firms
from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.errors import ApiError
from tallystick.server.serving.running import add_credential
from tallystick.server.stock import cards, tickets
from tallystick.server.store.models import TicketRow
from tallystick.server.store.opened import opened
from tests.server.conftest import NOON, Server, bearer

FACTS = {"img": "ab" * 32, "fw": "0.1.0 nucleo_l476rg", "kv": 1, "st": "2 codes"}


class Job:
    """Two people who sign, and a station that works."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.ann, self.bob, self.eve = (secrets.token_bytes(32) for _ in range(3))
        with opened(server.settings) as parts, parts.database.write() as connection:
            for name, private in (("ann", self.ann), ("bob", self.bob)):
                tickets.add_signer(
                    connection, parts.ring, 1, name, signed.public_of(private), now=NOON,
                    actor="test",
                )  # fmt: skip

    def ticket(self, *keys: bytes, **changes: Any) -> dict[str, Any]:
        statement = {"id": secrets.token_hex(16), "cards": 2, "digits": 6, "expires": NOON + 3600}
        statement["expires"] = int(NOON + 3600)
        document = signed.begin(job_papers.TICKET, statement | changes)
        for key in keys or (self.ann, self.bob):
            document = signed.add_signature(document, key)
        return document

    def present(self, document: Any, who: Any = None):
        return self.server.client.post(
            "/v1/tickets", json=document, headers=bearer(who or self.server.station)
        )

    def taken(self, **changes: Any) -> str:
        answer = self.present(self.ticket(**changes))
        assert answer.status_code == 200, answer.text
        return answer.json()["id"]

    def register(self, ticket: str | None, *serials: str):
        container = self.server.container()
        for serial in serials:
            container.add(serial, Secret.random(20).reveal())
        return self.send(ticket, container.bytes(self.server.folder))

    def send(self, ticket: str | None, content: bytes):
        headers = bearer(self.server.station) | {"content-type": "application/pskc+xml"}
        params = {"ticket": ticket} if ticket else {}
        return self.server.client.post("/v1/cards", content=content, headers=headers, params=params)

    def certify(self, ticket: str, serial: str, **changes: Any):
        return self.server.client.put(
            f"/v1/tickets/{ticket}/cards/{serial}/certificate", json=FACTS | changes,
            headers=bearer(self.server.station),
        )  # fmt: skip

    def end(self, ticket: str, **said: list[str]):
        return self.server.client.post(
            f"/v1/tickets/{ticket}/account", json=said, headers=bearer(self.server.station)
        )

    def publics(self) -> dict[str, bytes]:
        jwk = self.server.client.get("/v1/tickets/key", headers=bearer(self.server.service)).json()
        return {jwk["kid"]: signed.from_jwk(jwk)}


@pytest.fixture
def job(server: Server) -> Job:
    return Job(server)


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_without_signers_stations_need_no_ticket(server):
    assert server.register(server.container().add("1", Secret.random(20).reveal())).is_success


def test_with_signers_they_do(job):
    assert code(job.register(None, "1")) == (403, "ticket-needed")
    assert code(job.register("0" * 32, "1")) == (404, "no-such-ticket")
    assert job.register(job.taken(), "1").status_code == 201


def test_revoking_every_signer_opens_no_door(job):
    ticket = job.ticket()
    with opened(job.server.settings) as parts, parts.database.write() as connection:
        for name in ("ann", "bob"):
            tickets.revoke_signer(connection, parts.ring, 1, name, now=NOON, actor="test")
    assert code(job.register(None, "1")) == (403, "ticket-needed")
    assert code(job.present(ticket)) == (422, "bad-ticket")


def revoke(job, name):
    with opened(job.server.settings) as parts, parts.database.write() as connection:
        tickets.revoke_signer(
            connection, parts.ring, 1, name, now=job.server.clock.now, actor="test"
        )


def test_a_signer_who_is_revoked_counts_no_more_on_a_ticket_that_was_shown(job):
    """Whoever stole the station has shown it already."""
    ticket, ended = job.ticket(), job.taken()
    job.end(ended)
    number = ticket["statement"]["id"]
    assert job.present(ticket).is_success and job.register(number, "1").is_success
    revoke(job, "bob")
    assert code(job.register(number, "2")) == (409, "ticket-over")
    assert code(job.present(ticket)) == (422, "bad-ticket")
    with opened(job.server.settings) as parts, parts.database.write() as connection:
        tickets.add_signer(
            connection, parts.ring, 1, "eve", signed.public_of(job.eve), now=NOON, actor="test"
        )
    again = signed.begin(job_papers.TICKET, ticket["statement"])
    for private in (job.ann, job.eve):
        again = signed.add_signature(again, private)
    assert job.present(again).json()["used"] == 1
    assert job.register(number, "2").is_success
    assert code(job.register(number, "3")) == (409, "ticket-used-up")


def test_the_number_of_another_firms_ticket(job):
    ticket = job.ticket()
    with opened(job.server.settings) as parts:
        with parts.database.write() as connection:
            other = firms.add(connection, parts.ring, "other", now=NOON, actor="test")
            for name, private in (("ann", job.ann), ("bob", job.bob)):
                tickets.add_signer(
                    connection, parts.ring, other, name, signed.public_of(private), now=NOON,
                    actor="test",
                )  # fmt: skip
        caller = Caller("st-other", other, Role.STATION, "", "")
        with parts.database.write() as connection:
            tickets.present(connection, parts.ring, caller, ticket, NOON)
    assert code(job.present(ticket)) == (422, "bad-ticket")


def test_a_ticket_for_another_server(job):
    """Two servers that know the same signers would count to N each."""
    (mine,) = job.publics()
    other = job.ticket(server="0" * 16)
    assert code(job.present(other)) == (422, "bad-ticket")
    assert code(job.register(other["statement"]["id"], "1")) == (404, "no-such-ticket")
    assert job.present(job.ticket(server=mine)).is_success
    assert code(job.present(job.ticket(server=[mine]))) == (422, "bad-ticket")


@pytest.mark.parametrize("change", [{"cards": 3}, {"digits": 8}, {"station": "mine"}], ids=str)
def test_a_number_stands_for_one_ticket(job, change):
    """Also where both have signed another one with it, and with a later end."""
    ticket = job.ticket()
    number = ticket["statement"]["id"]
    assert job.present(ticket).is_success
    if "station" in change:
        change = {"station": job.server.station.id}
    later = int(NOON + 7200)
    assert code(job.present(job.ticket(id=number, expires=later, **change)))[0] == 422
    assert job.present(ticket).json()["expires_at"] == int(NOON + 3600)


@pytest.mark.parametrize("name", ["Ann", " ann ", "\uff41nn", "ann"])
def test_one_person_does_not_sign_under_two_spellings(job, name):
    with opened(job.server.settings) as parts, parts.database.write() as connection:
        with pytest.raises(ApiError) as refused:
            tickets.add_signer(
                connection, parts.ring, 1, name, signed.public_of(job.eve), now=NOON, actor="test"
            )
        assert refused.value.code == "duplicate-name"
    assert code(job.present(job.ticket(job.ann, job.eve))) == (422, "bad-ticket")


def test_one_signature_is_not_enough_nor_the_same_twice_nor_a_strangers(job):
    one = job.ticket(job.ann)
    assert code(job.present(one)) == (422, "bad-ticket")
    assert code(job.present({**one, "signatures": one["signatures"] * 2})) == (422, "bad-ticket")
    again = {"kid": "0" * 16, "jws": one["signatures"][0]["jws"]}
    assert code(job.present({**one, "signatures": [*one["signatures"], again]}))[0] == 422
    assert code(job.present(job.ticket(job.ann, job.eve))) == (422, "bad-ticket")


@pytest.mark.parametrize(
    "change",
    [{"cards": 3}, {"digits": 8}, {"expires": 1 << 39}, {"id": "0" * 32}, {"station": None}],
    ids=str,
)
def test_a_changed_ticket(job, change):
    ticket = job.ticket()
    ticket["statement"] |= change
    assert code(job.present(ticket)) == (422, "bad-ticket")


@pytest.mark.parametrize(
    "change",
    [{"cards": 0}, {"cards": "2"}, {"cards": True}, {"cards": 1 << 40}, {"digits": 5}, {"id": 7},
     {"id": "x" * 32}, {"expires": 1 << 60}, {"station": 7}],
    ids=str,
)  # fmt: skip
def test_a_signed_ticket_that_says_nothing_usable(job, change):
    assert code(job.present(job.ticket(**change))) == (422, "bad-ticket")


@pytest.mark.parametrize("body", [{}, {"typ": "tally-ticket"}, {"statement": 1}, [], "x", 7])
def test_what_is_no_ticket(job, body):
    assert job.present(body).status_code == 422


def test_never_one_more(job):
    ticket = job.taken()
    assert job.register(ticket, "1").is_success
    assert code(job.register(ticket, "2", "3")) == (409, "ticket-used-up")
    assert job.register(ticket, "2").is_success
    assert code(job.register(ticket, "3")) == (409, "ticket-used-up")


def test_the_same_card_again_costs_nothing_and_a_withdrawn_one_gives_nothing_back(job):
    ticket = job.taken()
    container = job.server.container().add("1", Secret.random(20).reveal())
    content = container.bytes(job.server.folder)
    assert [job.send(ticket, content).status_code for _ in range(3)] == [201, 200, 200]
    gone = job.server.client.delete("/v1/cards/1", headers=bearer(job.server.station))
    assert gone.is_success
    assert job.register(ticket, "1").is_success and job.register(ticket, "2").is_success
    job.server.client.delete("/v1/cards/2", headers=bearer(job.server.station))
    assert code(job.register(ticket, "3")) == (409, "ticket-used-up")


def test_a_card_of_another_ticket_costs_one_on_this_one(job):
    """Withdrawn, and made again: what counts it is the ticket that it is made on."""
    before, now = job.taken(), job.taken()
    for serial in ("1", "2"):
        assert job.register(before, serial).is_success
        gone = job.server.client.delete(f"/v1/cards/{serial}", headers=bearer(job.server.station))
        assert gone.is_success
        assert job.register(now, serial).is_success
    assert code(job.register(now, "3")) == (409, "ticket-used-up")
    assert job.certify(now, "1").is_success


def test_one_card_of_another_kind_stops_all(job):
    ticket = job.taken(digits=6)
    container = job.server.container()
    container.add("1", Secret.random(20).reveal())
    container.add("2", Secret.random(20).reveal(), response_length=8)
    assert code(job.send(ticket, container.bytes(job.server.folder))) == (409, "other-kind")
    assert job.register(ticket, "1", "2").is_success  # nothing was counted


def test_a_ticket_that_is_presented_again_begins_nothing_anew(job):
    ticket = job.ticket()
    assert job.present(ticket).json()["used"] == 0
    job.register(ticket["statement"]["id"], "1")
    assert job.present(ticket).json() | {"expires_at": 0} == {
        "id": ticket["statement"]["id"], "cards": 2, "used": 1, "digits": 6, "expires_at": 0,
        "ended": False,
    }  # fmt: skip


def test_other_digits_another_station_and_too_late(job):
    assert code(job.register(job.taken(digits=8), "1")) == (409, "other-kind")
    assert code(job.present(job.ticket(station="st-other"))) == (403, "wrong-role")
    ticket = job.ticket(station=job.server.station.id)
    assert job.present(ticket).is_success
    job.server.clock.advance(3600)
    assert code(job.register(ticket["statement"]["id"], "1")) == (409, "ticket-over")
    assert code(job.present(ticket)) == (409, "ticket-over")


def test_a_certificate_is_checked_with_the_key_alone(job):
    ticket = job.taken()
    job.register(ticket, "1")
    text = job.certify(ticket, "1").json()["jws"]
    said = signed.read_compact(job_papers.CERTIFICATE, text, job.publics())
    assert said == FACTS | {"sn": "1", "sta": job.server.station.id, "tkt": ticket,
                            "iat": int(NOON)}  # fmt: skip
    job.server.clock.advance(5)
    assert job.certify(ticket, "1").json()["jws"] == text
    assert job.certify(ticket, "1", kv=2).json()["jws"] != text
    head, payload, signature = text.split(".")
    for broken in (f"{head}.{payload}.{signature[:-4]}AAAA", f"{head}.e30.{signature}", payload):
        with pytest.raises(BadInputError):
            signed.read_compact(job_papers.CERTIFICATE, broken, job.publics())
    with pytest.raises(BadInputError):
        signed.read_compact(job_papers.ACCOUNT, text, job.publics())


def test_no_certificate_for_a_card_that_is_not_on_the_ticket(job):
    ticket, other = job.taken(), job.taken()
    job.register(ticket, "1")
    assert code(job.certify(ticket, "2")) == (404, "no-such-card")
    assert code(job.certify(other, "1")) == (404, "no-such-card")


def test_another_station_certifies_and_ends_nothing_of_this_one(job):
    other = add_credential(job.server.settings, "station", "another bench")
    ticket = job.taken(station=job.server.station.id)
    job.register(ticket, "1")
    asked = job.server.client.put(
        f"/v1/tickets/{ticket}/cards/1/certificate", json=FACTS, headers=bearer(other)
    )
    assert code(asked) == (404, "no-such-card")
    ended = job.server.client.post(f"/v1/tickets/{ticket}/account", json={}, headers=bearer(other))
    assert code(ended) == (404, "no-such-ticket")
    assert job.register(ticket, "2").is_success


def test_what_the_server_knows_is_not_taken_from_the_station(job):
    ticket = job.taken()
    job.register(ticket, "1")
    said = FACTS | {"sn": "2", "sta": "me", "tkt": "0" * 32, "iat": 1}
    with opened(job.server.settings) as parts, parts.database.write() as connection:
        caller = Caller(job.server.station.id, 1, Role.STATION, "", "")
        text = tickets.certify(connection, parts.ring, caller, ticket, "1", said, NOON)
    read = signed.read_compact(job_papers.CERTIFICATE, text, job.publics())
    assert (read["sn"], read["sta"]) == ("1", caller.id)
    assert (read["tkt"], read["iat"]) == (ticket, int(NOON))


def test_a_job_ends_with_its_account(job):
    ticket = job.taken()
    job.register(ticket, "1")
    job.certify(ticket, "1")
    text = job.end(ticket, failed=["7"], wiped=["8"]).json()["jws"]
    said = signed.read_compact(job_papers.ACCOUNT, text, job.publics())
    assert said["made"] == ["1"] and said["certified"] == 1 and said["cards"] == 2
    assert said["withdrawn"] == []
    assert said["station_says"] == {"failed": ["7"], "wiped": ["8"], "unfinished": []}
    assert job.end(ticket, failed=["9"]).json()["jws"] == text
    assert code(job.register(ticket, "2")) == (409, "ticket-over")


def test_an_account_tells_which_cards_are_no_more(job):
    """They count, and one that nobody certified is not said to be."""
    ticket = job.taken()
    job.register(ticket, "1", "2")
    job.certify(ticket, "2")
    job.server.client.delete("/v1/cards/1", headers=bearer(job.server.station))
    said = signed.read_compact(
        job_papers.ACCOUNT, job.end(ticket).json()["jws"], job.publics()
    )  # fmt: skip
    assert said["made"] == ["1", "2"] and said["withdrawn"] == ["1"] and said["certified"] == 1


def test_copied_stations_at_once(job):
    """Eight copies of a station with the same ticket, each with cards of its own."""
    ticket = job.taken(cards=5)
    contents = [
        job.server.container().add(f"{n}", Secret.random(20).reveal()).bytes(job.server.folder)
        for n in range(16)
    ]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda content: job.send(ticket, content), contents))
    assert sum(answer.status_code == 201 for answer in answers) == 5
    assert {answer.status_code for answer in answers} == {201, 409}


def test_stations_that_are_killed_replayed_and_copied(job):
    """`tally campaign tickets` does it ten thousand times."""
    from tallystick.tools.campaign.server.tickets import Jobs, TicketTally

    tally = TicketTally()
    with opened(job.server.settings) as parts:
        jobs = Jobs(parts.database, parts.ring, random.Random(1))
        for _ in range(40):
            jobs.run(tally)
    assert tally.violations == 0 and tally.runs == 40 and tally.refused > 40


def test_a_busy_database_is_asked_again(job, monkeypatch):
    """On a machine with other things to do, the campaign does not end with what it has counted."""
    from tallystick.tools.campaign.server.tickets import _PATIENCE, Jobs, TicketTally

    tally, times = TicketTally(), iter(range(3))
    with opened(job.server.settings) as parts:
        jobs, genuine = Jobs(parts.database, parts.ring, random.Random(1)), parts.database.write

        def busy(*arguments, **named):
            if next(times, None) is not None:
                raise OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))
            return genuine(*arguments, **named)

        monkeypatch.setattr(parts.database, "write", busy)
        jobs.run(tally)
        assert (tally.runs, tally.busy, tally.violations) == (1, 3, 0)
        times = iter(range(10 * _PATIENCE))
        with pytest.raises(OperationalError):
            jobs.run(tally)


@pytest.mark.parametrize("broken", ["uncounted", "given back"])
def test_a_server_that_counts_wrong_is_found(job, monkeypatch, broken):
    from tallystick.tools.campaign.server.tickets import Jobs, TicketTally

    genuine, remove = tickets.spend, cards.remove

    def uncounted(connection, caller, ticket_id, rows, now):
        return genuine(connection, caller, ticket_id, [], now)

    def given_back(connection, ring, caller, serial, now):
        remove(connection, ring, caller, serial, now)
        connection.execute(update(TicketRow).values(used=TicketRow.used - 1))

    if broken == "uncounted":
        monkeypatch.setattr(tickets, "spend", uncounted)
    else:
        monkeypatch.setattr(cards, "remove", given_back)
    tally = TicketTally()
    with opened(job.server.settings) as parts:
        jobs = Jobs(parts.database, parts.ring, random.Random(1))
        for _ in range(10):
            jobs.run(tally)
    assert tally.violations
