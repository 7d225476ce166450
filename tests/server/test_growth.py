"""Files of any size: read as they come, all or nothing, whoever is killed or comes in between."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import sqlite3
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from pskc import PSKC
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import IntegrityError

from tallystick.common.secret import Secret
from tallystick.server.accounts import people, trail
from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.api import streaming
from tallystick.server.errors import ApiError
from tallystick.server.joining import bulk, keeping, people_files
from tallystick.server.loans import history
from tallystick.server.loans.importing import FEW, Intent, take_in
from tallystick.server.rules.judge import Generator
from tallystick.server.serving.running import (
    RunningServer,
    add_credential,
    running,
    running_in_thread,
)
from tallystick.server.settings import settings_from
from tallystick.server.stock import cards
from tallystick.server.stock.containers import Opening
from tallystick.server.stock.gathering import CardSeed, IntakeWish
from tallystick.server.stock.refusing import Weakness
from tallystick.server.stock.seed_files import read_tokens
from tallystick.server.store import audit
from tallystick.server.store.models import AuditEntry, CardRow, Departed, PersonRow
from tallystick.server.store.opened import opened
from tallystick.server.store.private import PrivateDatabase
from tallystick.server.store.sealed_file import PIECE, SealedFile
from tallystick.server.store.stream import Names
from tests.server.conftest import NOON, bearer
from tests.server.test_people_bulk import ways

PLAIN = Opening(takes=frozenset({Weakness.PLAIN}))
MANY = FEW + 700
URL = "/v1/cards/imports"


def table(count: int, first: int = 0, letter: str = "G") -> bytes:
    """OATH CSV."""
    return b"".join(
        f"{letter}{number:06},{secrets.token_hex(20)},hotp,6,0\n".encode()
        for number in range(first, first + count)
    )


def send(server, content: bytes, who=None, **options: object):
    """→ the answer, and its lines"""
    answer = server.client.post(
        URL,
        files={
            "options": (None, json.dumps({"takes": ["plain"]} | options), "application/json"),
            "file": ("tokens", content),
        },
        headers=bearer(who or server.admin),
        timeout=120,
    )
    kind = answer.headers["content-type"]
    lines = answer.text.splitlines() if "ndjson" in kind else []
    return answer, [json.loads(line) for line in lines]


def count(settings, what=CardRow) -> int:
    with opened(settings) as parts, parts.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(what))


def broken_chains(settings) -> list[str]:
    with opened(settings) as parts, parts.database.read() as connection:
        reports = audit.check(connection, parts.ring)
    return [one.chain for one in reports if one.broken_at is not None]


def test_more_than_a_body_may_have_is_taken_and_logged(server):
    content = table(MANY)
    answer, lines = send(server, content)
    assert answer.status_code == 200 and answer.headers["x-accel-buffering"] == "no"
    result = lines[-1]["result"]
    assert (result["cards"], result["new"], result["kind"]) == (MANY, True, "OATH CSV")
    assert [line["card"]["serial"] for line in lines if "card" in line][:: MANY - 1] == [
        "G000000",
        f"G{MANY - 1:06}",
    ]
    assert any("progress" in line for line in lines)
    assert count(server.settings) == MANY
    with opened(server.settings) as parts, parts.database.read() as connection:
        act = AuditEntry.action == "card-registered"
        query = select(AuditEntry.subject, AuditEntry.chain).where(act, AuditEntry.firm_id == 1)
        entries = connection.execute(query).all()
        assert len(history.of_card(connection, 1, "G000007")) == 1
    assert {one.subject for one in entries} == {f"G{number:06}" for number in range(MANY)}
    assert len({one.chain for one in entries}) == 1 and entries[0].chain.startswith(audit.OWN)
    assert broken_chains(server.settings) == []
    again = send(server, content)[1][-1]["result"]
    assert (again["cards"], again["new"]) == (MANY, False)
    assert count(server.settings) == MANY


def test_the_history_of_an_imported_card_begins_with_its_import(server):
    send(server, table(MANY))
    server.clock.advance(10)
    serial = f"G{MANY - 1:06}"
    server.assign(serial, "ann", server.admin).raise_for_status()
    history = server.get(f"/v1/cards/{serial}/history", server.admin).json()["entries"]
    assert [one["act"] for one in history] == ["card-assigned", "card-registered"]


def test_an_entry_taken_out_of_the_chain_of_an_import_shows(server):
    send(server, table(MANY))
    with opened(server.settings) as parts, parts.database.write() as connection:
        connection.execute(text("DROP TRIGGER audit_no_delete"))
        connection.execute(text("DELETE FROM audit WHERE subject = 'G000009'"))
    assert len(broken_chains(server.settings)) == 1


def test_a_dry_run_of_many_leaves_nothing(server):
    entries = count(server.settings, AuditEntry)
    result = send(server, table(MANY), dry_run=True)[1][-1]["result"]
    assert (result["cards"], result["dry_run"]) == (MANY, True)
    assert count(server.settings) == 0
    assert count(server.settings, AuditEntry) == entries


def test_what_is_wrong_at_the_end_takes_nothing(server):
    """The last line is none, and a seed that is here already, with another serial number."""
    for last, code in ((b"Gx,abc,hotp,6,0\n", "unreadable-entry"), (None, "duplicate-seed")):
        content = table(MANY)
        first = content.splitlines()[0].decode().split(",")[1]
        if last is None:
            assert send(server, f"H1,{first},hotp,6,0\n".encode())[1][-1]["result"]["cards"] == 1
        rest = content.split(b"\n", 1)[1]
        answer, lines = send(server, rest + (last or f"H2,{first},hotp,6,0\n".encode()))
        assert answer.status_code == 200
        assert (lines[-1]["status"], lines[-1]["error"]["code"]) in {(422, code), (409, code)}
        assert lines[-1]["error"]["kept"]
    assert count(server.settings) == 1


def test_a_mac_that_does_not_fit_at_the_end_takes_nothing(server, tmp_path):
    made = PSKC()
    for number in range(600):
        made.add_key(
            id=f"M{number}", serial=f"M{number}", secret=secrets.token_bytes(20), counter=0,
            algorithm="urn:ietf:params:xml:ns:keyprov:pskc:hotp", response_length=6,
        )  # fmt: skip
    made.encryption.setup_pbkdf2("another way", iterations=10_000, algorithm="aes256-cbc")
    made.write(str(tmp_path / "maker.xml"))
    whole = (tmp_path / "maker.xml").read_bytes()
    before, value, after = whole.rpartition(b"<pskc:ValueMAC>")
    changed = before + value + (b"B" if after[:1] == b"A" else b"A") + after[1:]
    options = {"takes": [], "passphrase": "another way"}
    for content, code in (
        (changed, "wrong-mac"),
        (whole[: -len("</pskc:KeyContainer>") - 2], "malformed-container"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]>' + whole[38:], "malformed-container"),
    ):  # fmt: skip
        lines = send(server, content, **options)[1]
        assert (lines[-1]["status"], lines[-1]["error"]["code"]) == (422, code)
        assert lines[-1].get("error", {}).get("what")
    assert count(server.settings) == 0
    assert send(server, whole, **options)[1][-1]["result"]["cards"] == 600


class GoneError(Exception):
    """Whoever asked has gone."""


@pytest.mark.parametrize("doing", ["read", "sealed", "linked", "registered"])
def test_whoever_goes_away_leaves_nothing(server, doing):
    def tell(now: str, _done: int, _of: int) -> None:
        if now == doing:
            raise GoneError

    with opened(server.settings) as parts:
        caller = Caller(server.admin.id, 1, Role.ADMIN, "admin", "")
        entries = count(server.settings, AuditEntry)
        with pytest.raises(GoneError):
            taken = read_tokens(table(MANY), PLAIN, NOON, IntakeWish(), tell)
            take_in(parts.database, parts.ring, caller, taken, Intent(), NOON, tell)
    assert count(server.settings) == 0
    assert count(server.settings, AuditEntry) == entries


def test_whoever_goes_away_while_it_sends_a_file_leaves_nothing_in_the_log(
    server, caplog, tmp_path
):
    """It is no fault of the server's; the request log tells that no answer was given."""
    log = tmp_path / "requests.log"
    token = server.admin.token.reveal().decode()
    head = (
        "POST /v1/cards/imports HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
        f"authorization: Bearer {token}\r\ncontent-type: multipart/form-data; boundary=b\r\n"
        'content-length: 100000\r\n\r\n--b\r\ncontent-disposition: form-data; name="options"\r\n'
    )
    settings = replace(server.settings, request_log=log)
    with running_in_thread(settings) as url:
        where = httpx.URL(url)
        with socket.create_connection((where.host, where.port)) as client:
            client.sendall(head.encode())
            assert client.recv(100).startswith(b"HTTP/1.1 100 ")  # it is being received
    (line,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert (line["route"], line["status"]) == ("/v1/cards/imports", 0)
    assert not [one for one in caplog.records if one.levelname == "ERROR"]


def taken_with(parts, caller, content: bytes, tell):
    taken = read_tokens(content, PLAIN, NOON, IntakeWish())
    return take_in(parts.database, parts.ring, caller, taken, Intent(), NOON, tell)


def test_a_tombstone_that_comes_in_between_holds(server):
    """A card comes, is used and deleted just before the import writes: its counter stays."""
    content = table(3)
    serial, seed = content.split(b",")[0].decode(), bytes.fromhex(content.split(b",")[1].decode())
    caller = Caller(server.admin.id, 1, Role.ADMIN, "admin", "")
    happened: list[int] = []

    def tell(doing: str, _done: int, _of: int) -> None:
        if doing != "registered" or happened:
            return
        happened.append(1)
        entry = CardSeed(serial, Secret(seed), 50, Generator())
        with parts.database.write() as connection:
            cards.register(connection, parts.ring, caller, [entry], NOON)
        with parts.database.write() as connection:
            cards.remove(connection, parts.ring, caller, serial, NOON)

    with opened(server.settings) as parts:
        done = taken_with(parts, caller, content, tell)
    assert happened and [card["moving_factor"] for card in done.cards] == [50, 0, 0]
    assert server.get(f"/v1/cards/{serial}", server.admin).json()["moving_factor"] == 50


def test_a_serial_number_that_somebody_else_takes_in_between_is_told(server):
    content = table(MANY)
    caller = Caller(server.admin.id, 1, Role.ADMIN, "admin", "")
    happened: list[int] = []

    def tell(doing: str, _done: int, _of: int) -> None:
        if doing == "registered" and not happened:
            happened.append(1)
            entry = CardSeed("G000003", Secret.random(20), 0, Generator())
            with parts.database.write() as connection:
                cards.register(connection, parts.ring, caller, [entry], NOON)

    with opened(server.settings) as parts, pytest.raises(ApiError) as refused:
        taken_with(parts, caller, content, tell)
    assert (refused.value.code, refused.value.status) == ("duplicate-serial", 409)
    assert [one.number for one in refused.value.entries] == [4]
    assert count(server.settings) == 1


def at_once(settings, url: str) -> None:
    """Two imports that have half of their cards in common: one has them, or they are told."""
    token = add_credential(settings, "admin", "importer").token.reveal().decode()
    shared = table(500, 5000)
    answers: list[dict] = []

    def one(letter: str) -> None:
        answer = httpx.post(
            f"{url}{URL}",
            files={
                "options": (None, '{"takes": ["plain"]}'),
                "file": ("f", table(1000, letter=letter) + shared),
            },
            headers={"authorization": f"Bearer {token}"},
            timeout=120,
        )
        answers.append(json.loads(answer.text.splitlines()[-1]))

    threads = [threading.Thread(target=one, args=(letter,)) for letter in "AB"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The same seeds by the same importer: whoever is second finds them registered already.
    assert [answer["result"]["cards"] for answer in answers] == [1500, 1500]
    assert count(settings) == 2500
    assert broken_chains(settings) == []


def test_two_imports_at_once(server):
    at_once(server.settings, str(server.client.base_url).rstrip("/"))


def test_two_imports_at_once_on_postgresql(postgresql, tmp_path):
    db = postgresql.new_database()
    with running(tmp_path, db=db) as there:
        at_once(there.settings, there.url)


def killed_meanwhile(there: RunningServer, body: dict, headers: dict[str, str]) -> bool:
    """False when it had ended before anybody could kill it."""
    try:
        with httpx.stream(
            "POST", f"{there.url}{URL}", files=body, headers=headers, timeout=60
        ) as answer:
            for line in answer.iter_lines():
                if "sealed" in line:
                    os.kill(there.process.pid, signal.SIGKILL)
    except httpx.TransportError:
        return True
    return False


def test_a_killed_server_took_nothing_and_takes_it_then(tmp_path):
    for many in (6000, 24_000, 96_000):
        folder = tmp_path / str(many)
        folder.mkdir()
        body = {"options": (None, '{"takes": ["plain"]}'), "file": ("f", table(many))}
        with running(folder) as there:
            token = add_credential(there.settings, "admin", "importer").token.reveal().decode()
            headers = {"authorization": f"Bearer {token}"}
            if killed_meanwhile(there, body, headers):
                assert count(there.settings) == 0
                break
    else:
        pytest.fail("each import had ended before the server was killed")
    with running(folder) as there:
        answer = httpx.post(f"{there.url}{URL}", files=body, headers=headers, timeout=120)
    assert json.loads(answer.text.splitlines()[-1])["result"]["cards"] == many


def test_a_long_work_gives_signs_of_life(monkeypatch):
    """How far it was, again and again: a proxy between takes the server for dead otherwise."""
    monkeypatch.setattr(streaming, "ALIVE_S", 0.01)
    goes_on = threading.Event()

    def work(tell: streaming.Tell) -> Iterator[dict]:
        tell("sealed", 5, 10)
        goes_on.wait(60)
        yield {"result": {}}

    async def asked() -> list[dict]:
        body = aiter(streaming.in_lines(work).body_iterator)
        lines = [json.loads(await anext(body)) for _ in range(20)]
        goes_on.set()
        return [*lines, *[json.loads(line) async for line in body]]

    *signs, last = asyncio.run(asked())
    assert last == {"result": {}}
    assert signs[-1]["progress"] == {"doing": "sealed", "done": 5, "of": 10}


def test_nothing_comes_after_the_last_line(monkeypatch):
    """No sign of life either, however long the thread takes to end."""
    monkeypatch.setattr(streaming, "ALIVE_S", 0.01)
    genuine = streaming._Told._work

    def slowly(*arguments: object) -> None:
        genuine(*arguments)
        threading.Event().wait(0.1)

    monkeypatch.setattr(streaming._Told, "_work", slowly)

    async def asked() -> list[dict]:
        lines = streaming.in_lines(lambda _tell: iter([{"result": {}}])).body_iterator
        return [json.loads(line) async for line in lines]

    assert asyncio.run(asked())[-1] == {"result": {}}


def test_a_form_that_is_none_is_told_and_nothing_of_it_shown(server):
    headers = bearer(server.admin)
    secret = "00112233445566778899aabbccddeeff"
    for body, code in (
        ({"json": {"a": 1}}, "no-form"),
        ({"files": {"options": (None, "{}")}}, "no-container"),
        ({"files": {"options": (None, f'{{"psk": "{secret}", "no": 1}}'), "file": ("f", b"x")}},
         "invalid-request"),
        ({"files": {"options": (None, "x" * 200_000), "file": ("f", b"x")}}, "body-too-large"),
        # Two lists in one: the second's first line would go on in the first's last one.
        ({"files": [("options", (None, '{"takes": ["plain"]}')), ("file", ("a", table(1))),
                    ("file", ("b", table(2, 5)))]}, "bad-form"),
        ({"content": b"--b\r\n", "headers": {"content-type": "multipart/form-data; boundary=b"}},
         "bad-form"),
    ):  # fmt: skip
        more = body.pop("headers", {})
        answer = server.client.post(URL, **body, headers=headers | more)
        assert answer.status_code in (413, 422), answer.text
        assert answer.json()["error"]["code"] == code
        assert secret not in answer.text
    for who in (server.station, server.service):
        assert send(server, b"x", who)[0].status_code == 403


def test_what_waits_on_disk_is_not_in_clear_and_has_no_name():
    content = secrets.token_bytes(3 * PIECE // 2)
    with SealedFile.of(content) as file:
        assert b"".join(file.pieces()) == content
        assert b"".join(file.pieces()) == content and file.size == len(content)
        there = Path(f"/proc/self/fd/{file._file.fileno()}").readlink()
        assert "deleted" in str(there)
        size = os.fstat(file._file.fileno()).st_size
        kept = os.pread(file._file.fileno(), size, 0)
    assert size > len(content)
    assert not any(content[at : at + 16] in kept for at in range(0, len(content), 997))


def test_memory_does_not_grow_with_the_file():
    peaks = []
    for entries in (5_000, 20_000):
        content = SealedFile.of(table(entries))
        tracemalloc.start()
        taken = read_tokens(content, PLAIN, NOON, IntakeWish())
        assert len(taken.entries) == entries
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.5 and peaks[1] < 4 * 2**20


def test_a_disk_without_room_is_told(server, monkeypatch):
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    class Full:
        seek = write = full

        def close(self) -> None: ...

    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: Full())
    answer, _ = send(server, b"x" * (2 * PIECE))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no-room")


@pytest.mark.parametrize("read", [list, lambda rows: rows.fetchall(), lambda rows: rows.fetchone()])
def test_a_disk_without_room_is_told_by_whoever_reads(read):
    """What was put in goes to the disk when something else is read."""
    database = PrivateDatabase("CREATE TABLE number (n INTEGER)")
    database.do_many("INSERT INTO number VALUES (?)", [(n,) for n in range(2000)])
    rows = database.do("SELECT n FROM number")
    database._connection.set_progress_handler(lambda: 1, 1)  # SQLite ends it, as there
    with pytest.raises(ApiError) as told:
        read(rows)
    assert (told.value.status, told.value.code) == (503, "no-room")


def test_other_calls_keep_their_bounds(server):
    headers = bearer(server.admin) | {"content-type": "application/json"}
    for path in ("/v1/cards/import", "/v1/verify", "/v1/people", "/v1/cards/imports/x"):
        answer = server.client.post(path, content=b"x" * (7 * 2**20), headers=headers)
        assert answer.status_code == 413, path


PEOPLE = "login,name,email,groups\n" + "".join(
    f"g{n:05},Person {n},g{n:05}@example.org,staff; floor {n % 9}\n" for n in range(MANY)
)


def send_people(server, content: str, **options: object) -> dict:
    answer = server.client.post(
        "/v1/people/imports",
        files={"options": (None, json.dumps(options)), "file": ("people.csv", content.encode())},
        headers=bearer(server.admin),
        timeout=120,
    )
    assert answer.status_code == 200, answer.text
    return json.loads(answer.text.splitlines()[-1])


def test_a_list_of_many_people_is_taken_as_a_whole(server):
    tried = send_people(server, PEOPLE, dry_run=True)["result"]
    assert (tried["added_count"], count(server.settings, PersonRow)) == (MANY, 0)
    done = send_people(server, PEOPLE)["result"]
    assert (done["added_count"], len(done["added"]), done["unchanged"]) == (MANY, MANY, 0)
    assert count(server.settings, PersonRow) == MANY
    assert broken_chains(server.settings) == []
    with opened(server.settings) as parts, parts.database.read() as connection:
        one = people.by_login(connection, 1, "G00008")
        assert (one.full_name, one.groups) == ("Person 8", ("staff", "floor 8"))
        assert len({person.handle for person in people.everybody(connection, 1)}) == MANY
    changed = PEOPLE.replace("Person 7,", "Seven,") + "new,New,,\n"
    again = send_people(server, changed)["result"]
    assert (again["added"], list(again["changed"])) == (["new"], ["g00007"])
    assert again["unchanged"] == MANY - 1


def test_a_line_that_is_wrong_at_the_end_adds_nobody(server):
    for last, code in (("g00003,x,,\n", "bad-line"), ("h,x,no address,\n", "bad-address")):
        answer = send_people(server, PEOPLE + last)
        assert answer["status"] == 422
        assert [one["code"] for one in answer["error"]["entries"]] == [code]
    assert count(server.settings, PersonRow) == 0


@pytest.mark.parametrize("doing", ["read", "planned", "done"])
def test_whoever_goes_away_adds_nobody(house, doing):
    def tell(now: str, _done: int, _of: int) -> None:
        if now == doing:
            raise GoneError

    with pytest.raises(GoneError):
        file = people_files.read(PEOPLE.encode(), tell)
        bulk.take_in(house.state.database, ways(house), file, bulk.ImportWish(), tell)
    with house.state.database.read() as connection:
        assert people.everybody(connection, house.firm.id) == []


def test_somebody_who_is_added_in_between_is_no_fault(house):
    """It is looked at again: then the line changes nobody, or somebody."""
    happened: list[int] = []

    def tell(doing: str, _done: int, _of: int) -> None:
        if doing == "done" and not happened:
            happened.append(1)
            with house.write() as connection:
                keeping.add(connection, ways(house), keeping.PersonWish("G00002"))

    file = people_files.read(PEOPLE.encode())
    done = bulk.take_in(house.state.database, ways(house), file, bulk.ImportWish(), tell)
    assert happened and (done.added_count, list(done.changed)) == (MANY - 1, ["G00002"])


def test_what_is_sought_in_the_log_is_found_piece_by_piece(house, monkeypatch):
    """Also where a whole import has one time; every entry once, and an end."""
    monkeypatch.setattr(trail, "LOOKED_AT", 100)
    file = people_files.read(PEOPLE.encode())
    bulk.take_in(house.state.database, ways(house), file, bulk.ImportWish())
    names, found, after, pages = Names(house.state.database), [], None, 0
    while True:
        with house.state.database.read() as connection:
            sought = trail.Sought(act="person-added")
            entries, after = trail.page(
                connection, names, house.firm.id, sought, after=after, limit=30
            )
        found += [entry["subject"] for entry in entries]
        pages += 1
        if after is None:
            break
    assert sorted(found) == sorted(f"g{n:05}" for n in range(MANY))
    assert pages < 2 * MANY // 30 + 5


def test_the_stream_has_the_whole_chain_of_an_import(settings, tmp_path):
    with_stream = replace(settings, audit_stream=f"file://{tmp_path / 'stream'}")
    with running_in_thread(with_stream) as url:
        token = add_credential(settings, "admin", "importer").token.reveal().decode()
        body = {"options": (None, '{"takes": ["plain"]}'), "file": ("f", table(12_000))}
        headers = {"authorization": f"Bearer {token}"}
        answer = httpx.post(f"{url}{URL}", files=body, headers=headers, timeout=120)
        assert json.loads(answer.text.splitlines()[-1])["result"]["cards"] == 12_000
    lines = (tmp_path / "stream").read_text().splitlines()
    told = [
        one["subject"] for line in lines if (one := json.loads(line))["act"] == "card-registered"
    ]
    assert len(told) == len(set(told)) == 12_000


def test_who_is_behind_comes_by_pages(server, monkeypatch):
    monkeypatch.setattr("tallystick.server.api.people.MOST_BEHIND", 2)
    send_people(server, "login\n" + "".join(f"b{n}\n" for n in range(5)))
    seen, after, more = [], "", True
    while more:
        answer = server.get(f"/v1/people/behind?after={after}", server.admin).json()
        seen += [one["login"] for one in answer["people"]]
        after, more = seen[-1], answer["more"]
    assert seen == [f"b{n}" for n in range(5)]


def rows_of(settings, *serials: str, then=lambda: None):
    """Of cards, as an import gathers them. then: done when they are read."""
    station = add_credential(settings, Role.STATION, "".join(serials))
    for n, serial in enumerate(serials):
        yield (
            1, serial, cards.REGISTERED, 0, "k", b"box", f"{serial}{n}".encode(), station.id,
            0, 0, 0, 0, "SHA1", 0, 6, 0, None,
        )  # fmt: skip
    then()


def test_rows_are_gathered_before_others_have_to_wait(settings):
    """On SQLite, where one writes at a time."""
    with opened(settings) as parts, opened(settings) as others:

        def meanwhile() -> None:
            with others.database.write() as connection:
                connection.execute(text("UPDATE firm SET name = 'other' WHERE id = 1"))

        come = cards.Registering.gathered(rows_of(settings, "A1", "A2", then=meanwhile))
        with parts.database.write(come) as connection:
            assert connection.scalar(text("SELECT name FROM firm")) == "other"
            come.insert(connection)
    assert count(settings) == 2


def test_what_was_gathered_and_not_inserted_is_gone(settings):
    with opened(settings) as parts:
        for serials in (("A1",), ("A2", "A3")):
            come = cards.Registering.gathered(rows_of(settings, *serials))
            with parts.database.write(come):
                pass
        come = cards.Registering.gathered(rows_of(settings, "A4"))
        with parts.database.write(come) as connection:
            come.insert(connection)
            on = connection.exec_driver_sql("PRAGMA database_list").all()
            assert len(on) == 2
        with parts.database.read() as connection:
            assert len(connection.exec_driver_sql("PRAGMA database_list").all()) == 1
            assert connection.exec_driver_sql("PRAGMA cache_size").scalar() == -2000
    assert count(settings) == 1


def test_one_that_is_there_already_takes_none_and_the_next_goes_well(settings):
    with opened(settings) as parts:
        for serials in (("A1",), ("A2", "A1"), ("A3",)):
            come = cards.Registering.gathered(rows_of(settings, *serials))
            try:
                with parts.database.write(come) as connection:
                    come.insert(connection)
            except IntegrityError:
                assert serials == ("A2", "A1")
    assert count(settings) == 2


@pytest.mark.parametrize("fault", [GoneError, sqlite3.OperationalError("database or disk is full")])
def test_rows_that_end_in_the_middle_take_nothing(settings, fault):
    def breaks() -> None:
        raise fault

    with opened(settings) as parts:
        come = cards.Registering.gathered(rows_of(settings, "A1", "A2", then=breaks))
        with pytest.raises((GoneError, ApiError)) as told, parts.database.write(come):
            pass
        if told.type is ApiError:
            assert told.value.status == 503
        come = cards.Registering.gathered(rows_of(settings, "A3"))
        with parts.database.write(come) as connection:
            come.insert(connection)
    assert count(settings) == 1


def test_on_postgresql_they_are_inserted_as_they_are(postgresql, tmp_path):
    settings = settings_from(postgresql.new_database(), tmp_path / "s.keys")
    with opened(settings) as parts:
        come = cards.Registering.gathered(rows_of(settings, "A1", "A2"))
        with parts.database.write(come) as connection:
            come.insert(connection)
    assert count(settings) == 2


def test_numbers_of_imported_people_follow_those_of_whoever_left(settings):
    """SQLite would give the number of whoever was deleted last again, and with it the entries."""
    rows = [
        {"login": name, "role": "user", "email": None, "full_name": "", "groups": ""}
        for name in ("ann", "bob")
    ]
    with opened(settings) as parts:
        with parts.database.write() as connection:
            connection.execute(insert(Departed), {"person_id": 41, "firm_id": 1, "at": 0})
        come = people.gathered(1, rows, NOON)
        with parts.database.write(come) as connection:
            people.insert_many(connection, come)
        with parts.database.read() as connection:
            found = connection.execute(select(PersonRow.id, PersonRow.login)).all()
    assert [tuple(one) for one in found] == [(42, "ann"), (43, "bob")]
