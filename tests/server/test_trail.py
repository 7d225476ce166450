"""The audit log as a help desk and a SIEM use it: words, search, export, stream, log, retention."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import logging
import re
import socket
import sqlite3
import subprocess
import sys
import termios
from contextlib import closing
from dataclasses import replace
from functools import partial

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tallystick.common.errors import BadInputError
from tallystick.server.accounts import people
from tallystick.server.operating.cli import server as command
from tallystick.server.portal.browsers import in_short
from tallystick.server.rules.otp import hotp
from tallystick.server.serving import logs
from tallystick.server.serving.running import running_in_thread
from tallystick.server.store import audit, housekeeping, stream
from tallystick.server.store.opened import opened
from tallystick.server.store.origin import Origin
from tallystick.server.store.stream import Names, sink_from, syslog_message
from tests import needs
from tests.server.conftest import bearer
from tests.server.portal_driver import PASSWORD, Browser, Portal
from tests.server.test_portal import register_card

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.fixture
def boss(portal):
    return portal.staff("boss", "administrator")


def listed(boss: Browser, **search: str) -> list[dict]:
    query = "&".join(f"{name}={value}" for name, value in search.items())
    text = boss.get(f"/audit/export?form=jsonl&{query}").page.text
    return [json.loads(line) for line in text.splitlines()]


def acts(boss: Browser, **search: str) -> list[str]:
    return [one["act"] for one in listed(boss, **search)]


def test_names_are_in_words_and_changes_from_what_to_what(portal, boss):
    portal.person("ann", email="ann@example.org")
    number = re.search(r"/people/(\d+)\">ann<", boss.get("/people").page.text).group(1)
    boss.get(f"/people/{number}")
    boss.post(f"/people/{number}", role="support", email="ann@example.net", disabled="yes")
    assert boss.page.is_success, boss.page.text
    (entry,) = listed(boss, act="person-changed")
    assert (entry["actor"], entry["subject"]) == ("boss", "ann")
    assert entry["detail"] == {
        "role": "user → support",
        "email": "a…@example.org → a…@example.net",
        "disabled": "no → yes",
    }
    assert entry["address"] == "127.0.0.1"
    portal.policy(session_hours=3, methods=["totp", "card"], minimum_methods=0, key_alone=True)
    (entry,) = listed(boss, act="policy-changed")
    assert entry["detail"]["session_hours"] == "12 → 3"
    assert entry["detail"]["minimum_methods"] == "1 → 0"
    assert entry["detail"]["key_alone"] == "no → yes"
    assert entry["detail"]["methods"] == "card, email, sms, totp, webauthn → card, totp"
    page = boss.get("/audit").page.text
    assert "changed the person" in page and "person:" not in page and "user → support" in page


def test_a_sentence_does_not_end_before_whom(portal, boss):
    """Somebody unknown tries, for nobody's name; ann does it to herself."""
    portal.person("ann")
    stranger = Browser(portal.url).get("/recover")
    stranger.post("/recover", login="nobody", kind="totp")
    said = {one["act"]: one["sentence"] for one in reversed(listed(boss))}
    assert said["recovery-begun"] == "somebody began a recovery of somebody from 127.0.0.1"
    assert said["password-changed"] == "ann set the password of ann from 127.0.0.1"
    assert said["signed-in"] == "boss signed in from 127.0.0.1"
    page = re.sub(r"\s+", " ", boss.get("/audit").page.text)
    assert 'began a recovery of</td><td class="name">somebody</td>' in page
    assert '>signed in</td><td class="name"></td>' in page


def test_the_end_of_a_loan_is_a_time_on_the_page_and_a_number_for_machines(
    portal, boss, container_class
):
    portal.person("ann")
    seed = register_card(portal, container_class)
    boss.get("/cards").post("/cards/A1/lend", user="ann", code=hotp(seed, 0, 6), until="3h")
    (entry,) = listed(boss, act="card-lent")
    until = entry["detail"]["until"]
    assert isinstance(until, int)
    page = boss.get("/audit?act=card-lent").page.text
    assert re.search(r"until: \w{3} \d+ \w{3} \d{4} \d\d:\d\d UTC", page) and str(until) not in page


def test_a_browser_and_an_address_are_in_an_entry(portal, boss):
    portal.person("ann")
    browser = Browser(portal.url)
    browser.http.headers["user-agent"] = FIREFOX
    browser.sign_in("ann")
    entry = listed(boss, act="signed-in", q="ann")[0]
    assert (entry["address"], entry["browser"]) == ("127.0.0.1", FIREFOX)
    assert "Firefox on Linux" in boss.get("/audit?q=ann").page.text


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (FIREFOX, "Firefox on Linux"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Safari/604.1", "Safari on iPhone"),
        ("curl/8.0", "curl/8.0"),
        ("", ""),
    ],
)
def test_a_browser_in_two_words(agent, words):
    assert in_short(agent) == words


def test_what_had_no_entry_has_one(portal, boss):
    portal.person("ann")
    ann = Browser(portal.url).sign_in("ann")
    other = Browser(portal.url).sign_in("ann")
    third = Browser(portal.url).sign_in("ann")
    session = re.search(r"/sessions/(\d+)/end", ann.get("/").page.text).group(1)
    ann.post(f"/sessions/{session}/end")
    ann.get("/").post("/sessions/end-others")
    ann.get("/").post("/sign-out")
    del other, third
    stranger = Browser(portal.url).get("/recover")
    stranger.post("/recover", login="ann", kind="totp")
    stranger.post("/recover/prove?kind=totp", code="000000")
    stranger.get("/recover/help").post("/recover/help", login="ann", code="AAAA")
    stranger.http.get("/v1/whoami", headers={"authorization": "Bearer nobody"})
    stranger.http.get("/p/default/oidc/userinfo", headers={"authorization": "Bearer nobody"})
    stranger.sign_in("ann", "wrong")
    stranger.sign_in("nobody", "wrong")
    seen = acts(boss, q="ann")
    for act in (
        "signed-out", "session-ended", "sessions-ended", "recovery-begun", "recovery-wrong",
        "help-code-wrong", "password-wrong",
    ):  # fmt: skip
        assert act in seen, act
    with opened(portal.settings) as parts, parts.database.read() as connection:
        assert (
            connection.exec_driver_sql(
                "SELECT count(*) FROM audit WHERE action = 'token-wrong'"
            ).scalar()
            == 2
        )


def test_guesses_have_entries_wherever_they_are_made(portal, boss):
    """In an open account, at a link of an invitation, with a token of a directory."""
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    browser.get("/enrol/card").post("/enrol/card", serial="A1")
    browser.post("/enrol/card/A1/confirm", code="123456", second_code="234567")
    browser.get("/password").post("/password", old="wrong", password="another good one")
    browser.get("/sign-in?again=yes").post("/sign-in", login="ann", password=PASSWORD)
    browser.get("/welcome/12345-ABCDEFGHJKLM")
    wrong = {"authorization": "Bearer nobody"}
    assert browser.http.get("/scim/v2/Users", headers=wrong).status_code == 401
    seen = {(one["actor"], one["act"], one["subject"]) for one in listed(boss)}
    assert seen >= {
        ("ann", "card-code-refused", "A1"),
        ("ann", "password-wrong", "ann"),
        ("ann", "signed-out", "ann"),
        ("somebody", "help-code-wrong", "somebody"),
    }
    assert listed(boss, act="card-code-refused")[0]["detail"] == {
        "for": "enrolment",
        "reason": "wrong",
    }
    with opened(portal.settings) as parts, parts.database.read() as connection:
        count = "SELECT count(*) FROM audit WHERE action = 'token-wrong'"
        assert connection.exec_driver_sql(count).scalar() == 1


def test_a_refusal_by_a_limit_has_an_entry_but_not_for_ever(portal, boss):
    for _ in range(40):
        Browser(portal.url).sign_in("nobody", "wrong")
    refused = listed(boss, act="limit-reached")
    assert len(refused) == 20
    assert refused[0]["subject"] == "tries to sign in"
    assert refused[0]["address"] == "127.0.0.1"


def test_search_by_person_actor_act_address_and_day(portal, boss):
    portal.person("ann")
    portal.person("joann")
    Browser(portal.url).sign_in("ann", "wrong")
    Browser(portal.url).sign_in("ann")
    assert {one["subject"] for one in listed(boss, q="ann")} <= {"ann", "joann"}
    assert set(acts(boss, actor="ann", act="signed-in")) == {"signed-in"}
    assert "signed-in" not in acts(boss, actor="boss", q="ann")
    assert acts(boss, q="ann", address="127.0.0.1") and not acts(boss, address="192.0.2.1")
    assert not acts(boss, address="127.0.0")
    assert acts(boss, address="::ffff:127.0.0.1")  # however it is written
    assert acts(boss, since="2027-01-15", until="2027-01-15", q="ann")
    assert not acts(boss, until="2027-01-14", q="ann")
    assert not acts(boss, since="2027-01-16", q="ann")
    assert boss.get("/audit?since=yesterday").page.status_code == 422
    assert boss.get("/audit?since=9999-12-31&until=9999-12-31").page.status_code in (200, 422)
    assert boss.get("/audit?after=nonsense&q=%25_%5C").page.is_success


def test_whoever_is_called_otherwise_now_is_found_by_that_name(portal, boss):
    """With all that happened before; but not what somebody else does who has the old name."""
    portal.person("ann")
    number = re.search(r"/people/(\d+)\">ann<", boss.get("/people").page.text).group(1)
    for old, new in (("ann", "ann.smith"), ("ann.smith", "ann.jones")):
        Browser(portal.url).sign_in(old, "wrong")
        portal.clock.advance(1)
        boss.get(f"/people/{number}")
        boss.post(f"/people/{number}", login=new, role="user")
        assert boss.page.is_success, boss.page.text
        portal.clock.advance(1)
    portal.person("ann", email="other@example.org")
    found = listed(boss, q="ann.jones")
    assert [one["actor"] for one in found if one["act"] == "password-wrong"] == ["ann.jones"] * 2
    made = [one for one in listed(boss, act="help-code-made") if one["subject"] == "ann"]
    assert len(made) == 2 and [one for one in made if one in found] == made[1:]


def test_days_are_those_of_the_firm(portal, boss):
    """08:00 UTC on the 15th is still the 14th in Honolulu."""
    portal.policy(time_zone="Pacific/Honolulu")
    portal.person("ann")
    assert acts(boss, q="ann", since="2027-01-14", until="2027-01-14")
    assert not acts(boss, q="ann", since="2027-01-15")


def test_pages_lose_nothing_of_one_moment(portal, boss):
    with opened(portal.settings) as parts, parts.database.write() as connection:
        now = int(portal.clock() * 1000) + 10_000_000
        many = [audit.Act(now, 1, "console", "firm-added", f"s{n}") for n in range(120)]
        audit.record(connection, parts.ring, many)
    seen: list[str] = []
    boss.get("/audit?act=firm-added")
    for _ in range(3):
        seen += re.findall(r'<td class="name">(s\d+)</td>', boss.page.text)
        older = re.search(r'rel="next" href="([^"]+)"', boss.page.text)
        if older:
            boss.page = boss.http.get(older.group(1).replace("&amp;", "&"))
    assert sorted(seen) == sorted(f"s{n}" for n in range(120))


def test_a_table_runs_no_formulas(portal, boss):
    portal.person("=cmd()")
    text = boss.get("/audit/export?form=csv").page.text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["act"] for row in rows} >= {"password-changed", "log-exported"}
    assert all(not value.startswith(("=", "+", "@")) for row in rows for value in row.values())
    assert any(row["subject"] == "'=cmd()" for row in rows)
    assert listed(boss, act="log-exported")[-1]["detail"] == {"form": "csv"}
    assert boss.get("/audit/export?form=xml").page.status_code == 422


def test_the_log_is_for_those_with_the_right_and_of_their_firm(portal, boss):
    support = portal.staff("sue", "support")
    for path in ("/audit", "/audit/export?form=csv"):
        assert support.get(path).page.status_code == 403
    with opened(portal.settings) as parts, parts.database.write() as connection:
        connection.exec_driver_sql("INSERT INTO firm (id, name, policy) VALUES (7, 'acme', '{}')")
        act = audit.Act(int(portal.clock() * 1000), 7, "console", "firm-added", "acme")
        audit.record(connection, parts.ring, [act])
    assert not listed(boss, q="acme")


def test_the_command_exports(portal, boss):
    where = ["--db", portal.settings.db_url, "--key-file", str(portal.settings.key_file)]
    run = lambda *words: CliRunner().invoke(command, ["audit", "export", *words, *where])  # noqa: E731
    lines = [json.loads(line) for line in run().stdout.splitlines()]
    assert {"boss"} <= {one["actor"] for one in lines}
    assert len(list(csv.DictReader(io.StringIO(run("--format", "csv").stdout)))) == len(lines)


def test_the_command_exports_what_is_of_no_firm(portal, boss):
    """A restore, say, which no firm has done."""
    with opened(portal.settings) as parts, parts.database.write() as connection:
        act = audit.Act(int(portal.clock() * 1000), None, "console", "restored", "monday.db")
        audit.record(connection, parts.ring, [act])
    where = ["--db", portal.settings.db_url, "--key-file", str(portal.settings.key_file)]
    run = lambda *words: CliRunner().invoke(command, ["audit", "export", *words, *where])  # noqa: E731
    of_server = [json.loads(line) for line in run("--server").stdout.splitlines()]
    of_firm = [json.loads(line) for line in run().stdout.splitlines()]
    assert "restored" in {one["act"] for one in of_server} and not {
        one["firm"] for one in of_server
    } - {""}
    assert "restored" not in {one["act"] for one in of_firm}


# --- the stream


def streamed(settings, url: str, login: str = "ann") -> None:
    """A server that streams there, and a failed sign-in at it."""
    with running_in_thread(replace(settings, audit_stream=url)) as base:
        Browser(base).sign_in(login, "wrong")
        Browser.close_all()


def test_a_stream_to_a_file(portal, tmp_path):
    portal.person("ann")
    target = tmp_path / "audit.jsonl"
    streamed(portal.settings, f"file://{target}")
    assert target.stat().st_mode & 0o077 == 0
    entry = json.loads(target.read_text().splitlines()[-1])
    assert (entry["act"], entry["actor"], entry["failed"]) == ("password-wrong", "ann", True)
    target.rename(tmp_path / "rotated")
    streamed(portal.settings, f"file://{target}")
    assert json.loads(target.read_text().splitlines()[-1])["act"] == "password-wrong"


def test_a_stream_says_what_people_are_called_now(portal, tmp_path):
    portal.person("ann")
    target = tmp_path / "audit.jsonl"
    with running_in_thread(replace(portal.settings, audit_stream=f"file://{target}")) as base:
        Browser(base).sign_in("ann", "wrong")
        boss = replace(portal, url=base).staff("boss", "administrator")
        number = re.search(r"/people/(\d+)\">ann<", boss.get("/people").page.text).group(1)
        boss.get(f"/people/{number}")
        boss.post(f"/people/{number}", login="ann.smith", role="user")
        Browser(base).sign_in("ann.smith", "wrong")
        Browser.close_all()
    told = [json.loads(line) for line in target.read_text().splitlines()]
    wrong = [one["actor"] for one in told if one["act"] == "password-wrong"]
    assert wrong == ["ann", "ann.smith"]


def test_names_are_looked_up_again_after_a_while(house):
    """Another worker renames somebody: nothing in this one hears of it."""
    database, now = house.state.database, [0.0]
    names = Names(database, lambda: now[0])
    with database.write() as connection:
        ann = people.ensure(connection, house.firm.id, "ann", house.clock())
    assert names.of(f"person:{ann}") == "ann"
    with database.write() as connection:
        people.change(connection, house.firm.id, ann, login="ann.smith")
    assert names.of(f"person:{ann}") == "ann"
    now[0] += 10
    assert names.of(f"person:{ann}") == "ann.smith"


RFC5424 = re.compile(
    r"<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}Z) (\S{1,255}) (\S{1,48}) (\S{1,128}) "
    r"(\S{1,32}) "
    r"(\[[^ =\]\"]{1,32}(?: [^ =\]\"]{1,32}=\"(?:[^\"\\\]]|\\[\"\\\]])*\")*\]) \ufeff(.*)",
    re.S,
)


def test_a_stream_to_syslog_by_udp(portal):
    portal.person("ann")
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        streamed(portal.settings, f"syslog://127.0.0.1:{receiver.getsockname()[1]}")
        found = RFC5424.fullmatch(receiver.recv(65536).decode())
    assert found
    assert found.group(1) == str(10 * 8 + 4)
    assert found.group(6) == "password-wrong"
    assert 'actor="ann"' in found.group(7) and 'address="127.0.0.1"' in found.group(7)
    assert found.group(8).startswith("ann gave a wrong password")


def test_a_stream_to_syslog_by_tcp_waits_for_the_receiver(portal):
    """Entries are counted (RFC 6587), and kept while nobody listens."""
    portal.person("ann")
    with closing(socket.socket()) as receiver:
        receiver.bind(("127.0.0.1", 0))
        url = f"syslog+tcp://127.0.0.1:{receiver.getsockname()[1]}"
        with running_in_thread(replace(portal.settings, audit_stream=url)) as base:
            Browser(base).sign_in("ann", "wrong")  # refused: nobody listens yet
            receiver.listen()
            receiver.settimeout(30)
            connection, _ = receiver.accept()
            with connection:
                connection.settimeout(30)
                data = connection.recv(65536)
            Browser.close_all()
    length, _, message = data.partition(b" ")
    assert len(message) >= int(length)
    assert RFC5424.fullmatch(message[: int(length)].decode())


def entry_number(number: int) -> dict[str, object]:
    return {
        "at": "2027-01-15T08:00:00.000Z", "chain": "main", "number": number, "firm": "default",
        "actor": "a", "act": "signed-in", "subject": "s", "address": "::1", "browser": "",
        "failed": False, "sentence": "x" * 500,
    }  # fmt: skip


def numbers_in(data: bytes) -> list[int]:
    return [int(one) for one in re.findall(rb'number="(\d+)"[^\n]*?x{500}', data)]


def test_what_a_receiver_did_not_take_goes_to_the_next_connection(monkeypatch):
    """It reads nothing until its machine takes no more, and is left; nothing is missing then."""
    monkeypatch.setattr(stream, "TIMEOUT_S", 0.3)
    with closing(socket.socket()) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        receiver.bind(("127.0.0.1", 0))
        receiver.listen()
        receiver.settimeout(30)
        sink = sink_from(f"syslog+tcp://127.0.0.1:{receiver.getsockname()[1]}")
        number = 1
        with pytest.raises(OSError):
            while True:
                sink.send(entry_number(number))
                number += 1
        first, _ = receiver.accept()
        with first:  # its machine goes down with what it had taken: the rest reaches nobody
            size = fcntl.ioctl(first.fileno(), termios.FIONREAD, bytes(4))
            taken = first.recv(int.from_bytes(size, sys.byteorder))
        sink.send(entry_number(number))  # as the stream does: the same one comes again
        second, _ = receiver.accept()
        sink.close()
        with second:
            again = b"".join(iter(partial(second.recv, 65536), b""))
    assert 0 < len(numbers_in(taken)) < number  # more was sent than it had taken
    assert {*numbers_in(taken), *numbers_in(again)} == set(range(1, number + 1))


def test_what_was_taken_does_not_come_again():
    with closing(socket.socket()) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.listen()
        receiver.settimeout(30)
        sink = sink_from(f"syslog+tcp://127.0.0.1:{receiver.getsockname()[1]}")
        for number in range(1, 50):
            sink.send(entry_number(number))
        while stream.not_taken(sink._socket):
            pass  # its kernel says so in a moment
        sink.send(entry_number(50))
        sink.close()
        sink.send(entry_number(51))
        sink.close()
        seen = []
        for _ in range(2):
            connection, _ = receiver.accept()
            with connection:
                seen.append(numbers_in(b"".join(iter(partial(connection.recv, 65536), b""))))
    assert seen[0] == list(range(1, 51)) and seen[1] in ([50, 51], [51])


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60), st.booleans())
def test_whatever_is_in_an_entry_the_message_has_its_form(actor, subject, browser, failed):
    entry = {
        "at": "2027-01-15T08:00:00.000Z", "chain": "main", "number": 1, "firm": "default",
        "actor": actor, "act": "signed-in", "subject": subject, "address": "::1",
        "browser": browser, "failed": failed, "sentence": f"{actor} signed in {subject}",
    }  # fmt: skip
    message = syslog_message(entry, "host").decode(errors="strict")
    assert RFC5424.fullmatch(message), message
    assert "\n" not in message


@pytest.mark.parametrize("url", ["http://x", "syslog://", "file://", "nonsense"])
def test_streams_that_cannot_be(url):
    with pytest.raises(BadInputError) as error:
        sink_from(url)
    assert error.value.todo


# --- failed sign-ins in the log, and fail2ban


@pytest.mark.parametrize("as_json", [False, True])
def test_fail2ban_finds_failed_sign_ins(portal, tmp_path, as_json):
    needs.fail2ban.or_skip()
    tool = needs.program("fail2ban-regex")
    assert tool is not None
    portal.person("ann")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter() if as_json else logs.TextFormatter())
    logger = logging.getLogger("tallystick.auth")
    logger.addHandler(handler)
    settings = replace(portal.settings, trusted_proxies=("127.0.0.1",))
    try:
        with running_in_thread(settings) as url:
            for address in ("203.0.113.7", "2001:db8::7"):
                browser = Browser(url)
                browser.http.headers["x-forwarded-for"] = address
                browser.sign_in("ann", "wrong")
                browser.sign_in("x from=198.51.100.1 who=", "wrong")  # no line of his own making
                browser.get("/recover/help").post("/recover/help", login="ann", code="AAAA")
                browser.http.get("/v1/whoami", headers={"authorization": "Bearer nobody"})
                browser.sign_in("ann", PASSWORD)
            Browser.close_all()
    finally:
        logger.removeHandler(handler)
    written = tmp_path / "server.log"
    other = "2027-01-15 08:00:00,000 WARNING tallystick.server.x: failed act=a from=192.0.2.9 who=b"
    written.write_text(f"{stream.getvalue()}{other}\n")
    shown = CliRunner().invoke(command, ["audit", "fail2ban"])
    (tmp_path / "tallystick.conf").write_text(shown.stdout)
    done = subprocess.run(
        [tool, "--print-all-matched", str(written), str(tmp_path / "tallystick.conf")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Lines: 9 lines, 0 ignored, 8 matched, 1 missed" in done.stdout, done.stdout
    found = subprocess.run(
        [tool, "-o", "ip", str(written), str(tmp_path / "tallystick.conf")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(set(found.stdout.split())) == ["2001:db8::7", "203.0.113.7"]


# --- retention


def pruned(settings, now: float, days: int) -> int:
    with opened(settings) as parts:
        return housekeeping.prune_audit(parts.database, parts.ring, now, days)


def broken(settings, noted=None) -> list[str]:
    with opened(settings) as parts, parts.database.snapshot() as connection:
        reports = audit.check(connection, parts.ring, noted)
    return [report.chain for report in reports if report.broken_at is not None]


def used(server, factors, seed) -> None:
    for factor in factors:
        assert server.reason(hotp(seed, factor, 6)) == "ok"


def test_a_pruned_log_can_still_be_checked(server):
    seed = server.card()
    used(server, range(3), seed)
    server.clock.advance(40 * 86400)
    used(server, range(3, 6), seed)
    before = [row for row in rows_of(server) if row[1] < server.clock() * 1000 - 86400]
    assert pruned(server.settings, server.clock(), 30) == len(before)
    left = rows_of(server)
    assert not set(before) & set(left)
    assert "log-pruned" in [row[2] for row in left]
    assert broken(server.settings) == []
    used(server, range(6, 8), seed)  # both chains go on
    assert pruned(server.settings, server.clock(), 30) == 0
    assert broken(server.settings) == []
    server.clock.advance(40 * 86400)
    assert pruned(server.settings, server.clock(), 30) > 0
    assert broken(server.settings) == []
    used(server, range(8, 9), seed)
    assert broken(server.settings) == []


def rows_of(server) -> list[tuple]:
    with closing(sqlite3.connect(server.folder / "server.db")) as connection:
        return connection.execute("SELECT chain, at_ms, action, number FROM audit").fetchall()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_checkpoint SET number = number + 1 WHERE chain = 'main'",
        "UPDATE audit_checkpoint SET mac = zeroblob(32) WHERE chain = 'main'",
        "UPDATE audit_checkpoint SET seal = zeroblob(32) WHERE chain = 'main'",
        "UPDATE audit_checkpoint SET at = 0 WHERE chain = 'main'",
        "DELETE FROM audit_checkpoint WHERE chain = 'main'",
        "UPDATE audit_checkpoint SET chain = 'w-forged' WHERE chain = 'main'",
    ],
)
def test_a_checkpoint_that_somebody_else_made_shows(server, statement):
    seed = server.card()
    server.clock.advance(40 * 86400)
    used(server, range(2), seed)
    assert pruned(server.settings, server.clock(), 30) > 0
    assert broken(server.settings) == []
    with closing(sqlite3.connect(server.folder / "server.db")) as connection, connection:
        assert connection.execute(statement).rowcount == 1
    assert "main" in broken(server.settings)


def test_whoever_makes_himself_a_checkpoint_can_delete_but_it_shows(server):
    """The database lets entries before a checkpoint go; the seal tells whose checkpoint it is."""
    seed = server.card()
    used(server, range(2), seed)
    with closing(sqlite3.connect(server.folder / "server.db")) as connection, connection:
        connection.execute(
            "INSERT INTO audit_checkpoint SELECT chain, number, mac, 0, mac FROM audit"
            " WHERE chain = 'main' AND number = 2"
        )
        assert (
            connection.execute("DELETE FROM audit WHERE chain = 'main' AND number <= 2").rowcount
            == 2
        )
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute("DELETE FROM audit WHERE chain = 'main' AND number = 3")
    assert broken(server.settings) == ["main"]


def test_what_was_noted_holds_against_a_pruned_log(server):
    seed = server.card()
    used(server, range(2), seed)
    with opened(server.settings) as parts, parts.database.snapshot() as connection:
        noted = {
            one.chain: audit.Head(one.entries, bytes.fromhex(one.mac))
            for one in audit.check(connection, parts.ring)
        }
    server.clock.advance(40 * 86400)
    used(server, range(2, 4), seed)
    assert pruned(server.settings, server.clock(), 30) > 0
    assert broken(server.settings, noted) == []
    wrong = {chain: replace(head, mac=bytes(32)) for chain, head in noted.items()}
    assert set(broken(server.settings, wrong)) >= {
        chain for chain, head in noted.items() if chain != "main"
    }


def test_the_command_prunes(server):
    where = ["--db", server.settings.db_url, "--key-file", str(server.settings.key_file)]
    done = CliRunner().invoke(command, ["audit", "prune", "--days", "36500", *where, "--json"])
    assert json.loads(done.stdout) == {"pruned": 0}


# --- tables that grow


def test_tables_are_pruned_and_metrics_show_their_size(server):
    server.card()
    with opened(server.settings) as parts:
        with parts.database.write() as connection:
            connection.exec_driver_sql(
                "INSERT INTO factor (firm_id, person_id, kind, label, facts, position, failures,"
                " lockout_s, blocked_until, created_at) VALUES (1, 1, 'totp', 'x', '{}', 0, 0, 0,"
                " 0, 0)"
            )
            connection.exec_driver_sql(
                "INSERT INTO rate (bucket, ends_at, count) VALUES ('old', 1, 1)"
            )
            connection.exec_driver_sql(
                "INSERT INTO signing_key (id, key_id, key_box, created_at, retired_at)"
                " VALUES ('old', 'k1', x'00', 0, 1)"
            )
        text = server.get("/v1/metrics", server.admin).text
        assert 'tally_table_rows{table="factor"} 1.0' in text
        assert re.search(r'tally_table_rows\{table="audit"\} [1-9]', text)
        assert re.search(r"tally_database_bytes [1-9]", text)
        housekeeping.sweep(parts.database, server.clock())
        with parts.database.read() as connection:
            counts = housekeeping.rows(connection)
            entries = connection.exec_driver_sql("SELECT count(*) FROM audit").scalar()
    assert (counts["factor"], counts["rate"], counts["signing_key"]) == (0, 0, 0)
    assert counts["audit"] == entries


def test_names_that_are_no_numbers_stay(server):
    with opened(server.settings) as parts:
        names = Names(parts.database)
        for text in ("person:", "person:x", "person:999", "person:²", "se-000000000000"):
            assert names.of(text) == text
        assert names.of(server.service.id) == "service service"
        assert names.of("unknown") == "somebody"


def test_a_long_browser_leaves_room_for_facts(server):
    act = audit.Act(0, 1, "x", "y", "z", {"a": "b" * 900}, Origin("192.0.2.1", "c" * 255))
    text = audit._text(act.detail, act.origin)
    assert len(text) <= audit.DETAIL_SIZE
    assert json.loads(text)["from"] == "192.0.2.1"
    quotes = audit._text({}, Origin("", '"' * 255))
    assert len(quotes) <= audit.DETAIL_SIZE


def test_a_service_that_checks_has_its_address_in_the_log(server):
    seed = server.card()
    server.verify(hotp(seed, 0, 6))
    with closing(sqlite3.connect(server.folder / "server.db")) as connection:
        (detail,) = connection.execute(
            "SELECT detail FROM audit WHERE action = 'verified'"
        ).fetchone()
    assert json.loads(detail) == {"reason": "ok", "user": "ann", "from": "127.0.0.1"}
    server.client.get("/v1/cards", headers=bearer(server.admin))


def test_a_portal_of_another_firm_is_apart(portal: Portal):
    assert Browser(portal.url, "none").get("/audit").page.status_code == 404


def heads_of(server) -> dict[str, audit.Head]:
    with closing(sqlite3.connect(server.folder / "server.db")) as connection:
        rows = connection.execute("SELECT chain, number, mac FROM audit_head").fetchall()
    return {chain: audit.Head(number, mac) for chain, number, mac in rows}


def test_a_chain_of_which_nothing_is_left_goes_wholly(server):
    """Of a worker that has ended, or has nothing to do: the next check begins another chain."""
    seed = server.card()
    used(server, range(3), seed)
    noted = heads_of(server)
    assert len(noted) == 2
    server.clock.advance(40 * 86400)
    assert pruned(server.settings, server.clock(), 30) > 0
    assert set(heads_of(server)) == {"main"}
    with closing(sqlite3.connect(server.folder / "server.db")) as connection:
        assert connection.execute("SELECT chain FROM audit_checkpoint").fetchall() == [("main",)]
    assert broken(server.settings) == [] and broken(server.settings, noted) == []
    used(server, range(3, 5), seed)
    assert len(heads_of(server)) == 2
    assert broken(server.settings) == []


def test_a_chain_that_goes_on_is_missed_though_its_opening_was_pruned(server):
    seed = server.card()
    used(server, range(2), seed)
    server.clock.advance(40 * 86400)
    used(server, range(2, 4), seed)
    assert pruned(server.settings, server.clock(), 30) > 0
    assert broken(server.settings) == []
    (chain,) = set(heads_of(server)) - {"main"}
    with closing(sqlite3.connect(server.folder / "server.db")) as connection, connection:
        connection.execute(
            "UPDATE audit_checkpoint SET number = 99 WHERE chain = ?", (chain,)
        )  # so that the triggers let go
        for table in ("audit", "audit_checkpoint", "audit_head"):
            connection.execute(f"DELETE FROM {table} WHERE chain = ?", (chain,))
    assert broken(server.settings) == [chain]


def test_a_receiver_that_is_away_for_long_is_asked_every_half_a_minute(house, monkeypatch):
    """However long it is away: the pauses grow to that, and no further."""
    pauses: list[float] = []

    class Away:
        def send(self, entry: object) -> None:
            if len(pauses) < 12:
                raise ConnectionRefusedError

        def close(self) -> None: ...

    made = stream.AuditStream(house.state.database, Away())
    monkeypatch.setattr(made._closing, "wait", lambda pause: pauses.append(pause) and False)
    assert made._deliver({})
    made.close()
    assert pauses[:3] == [0.5, 1.0, 2.0] and pauses[-5:] == [30.0] * 5
