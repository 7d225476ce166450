"""Breached passwords asked of a service that learns five digits of a hash, and no more."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tallystick.common.errors import BadInputError
from tallystick.server.accounts import breached_ranges
from tallystick.server.accounts.breached_ranges import BreachedRanges
from tallystick.server.accounts.passwords import HashListFile, SmallBreachList
from tallystick.server.serving.running import running_in_thread
from tallystick.server.settings import settings_from
from tallystick.server.state import breached_by
from tests.server.portal_driver import PASSWORD, Browser, Portal

# SHA-1 of "password", as published with the interface's description: 5BAA6 1E4C9…
KNOWN = "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8"
LEAKED = "seven quiet herons at noon"


def sha1(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest().upper()


class Service:
    """Answers as the interface is described; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.status, self.body = 200, ""
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.asked.append((self.path, self.headers.get("add-padding", "")))
                self.send_response(service.status)
                self.send_header("content-length", str(len(service.body)))
                self.end_headers()
                self.wfile.write(service.body.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/range/"

    def says(self, *hashes: tuple[str, int]) -> None:
        self.body = "".join(f"{full[5:]}:{count}\r\n" for full, count in hashes)


@pytest.fixture
def service():
    made = Service()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_only_five_digits_leave_the_server(service):
    assert sha1("password") == KNOWN
    service.says(("0" * 40, 3), (sha1(LEAKED), 12), ("F" * 40, 1))
    assert BreachedRanges(service.url).has(LEAKED)
    assert service.asked == [(f"/range/{sha1(LEAKED)[:5]}", "true")]
    service.says((sha1(LEAKED), 0))  # a line that was made up
    assert not BreachedRanges(service.url).has(LEAKED)
    assert not BreachedRanges(service.url).has(LEAKED + "!")


def test_once_is_enough(service):
    service.says((sha1(LEAKED), 1))
    assert BreachedRanges(service.url).has(LEAKED)


def test_what_comes_with_an_error_counts_for_nothing(service):
    service.says((sha1(LEAKED), 12))
    service.status = 503
    assert not BreachedRanges(service.url).has(LEAKED)


def test_how_much_an_answer_may_hold(service, monkeypatch):
    service.says(*[("0" * 40, 1)] * 4000, (sha1(LEAKED), 12))
    monkeypatch.setattr(breached_ranges, "MOST_BYTES", len(service.body))
    assert BreachedRanges(service.url).has(LEAKED)
    monkeypatch.setattr(breached_ranges, "MOST_BYTES", len(service.body) - 1)
    assert not BreachedRanges(service.url).has(LEAKED)


def test_the_short_list_needs_no_service(service):
    assert BreachedRanges(service.url).has("password123") and service.asked == []


@pytest.mark.parametrize(
    ("status", "body"),
    [(503, ""), (200, ""), (200, "rubbish"), (200, "ä"), (302, ""), (200, "0" * 2_000_000)],
)
def test_a_service_in_trouble_keeps_nobody_out(service, status, body, caplog):
    service.status, service.body = status, body
    assert not BreachedRanges(service.url).has(LEAKED)
    assert LEAKED not in caplog.text and sha1(LEAKED)[5:] not in caplog.text


def test_a_service_that_is_down(caplog):
    assert not BreachedRanges("http://127.0.0.1:9/range/").has(LEAKED)
    assert "could not be asked for" in caplog.text and LEAKED not in caplog.text


@pytest.mark.parametrize("url", ["http://ranges.example/", "ftp://127.0.0.2/", "file:///x"])
def test_never_in_clear_over_a_network(url):
    with pytest.raises(BadInputError, match="not asked for"):
        BreachedRanges(url)


def test_what_the_setting_names(monkeypatch, tmp_path):
    (tmp_path / "list.txt").write_text(f"{sha1(LEAKED)}:7\r\n")
    kinds = (
        ("https://ranges.example/range/", BreachedRanges),
        (str(tmp_path / "list.txt"), HashListFile),
        ("", SmallBreachList),
    )
    for text, kind in kinds:
        monkeypatch.setenv("TALLY_SERVER_BREACH_LIST", text)
        found = settings_from(f"sqlite:///{tmp_path / 's.db'}", Path(tmp_path / "k")).breach_list
        assert isinstance(breached_by(found), kind)


def test_a_file_that_is_no_list_is_told_at_the_start(tmp_path, caplog):
    """Else every new password failed, or none did."""
    file = tmp_path / "list.txt"
    with pytest.raises(BadInputError, match="cannot be read"):
        HashListFile(file)
    for content in ("", "password\n", f"{sha1(LEAKED).lower()}:7\n", f"{sha1(LEAKED)}0\n"):
        file.write_text(content)
        with pytest.raises(BadInputError, match="no list of breached"):
            HashListFile(file)
    hashes = sorted(sha1(one) for one in ("a", "b", LEAKED, "c"))
    file.write_text("".join(f"{one}:{number}\r\n" for number, one in enumerate(hashes)))
    found = HashListFile(file)
    assert all(found.has(one) for one in (LEAKED, "a", "password123")) and not found.has("d")
    file.unlink()  # as for a moment, when a newer list is put in its place
    assert found.has("password123") and not found.has(LEAKED)
    assert "cannot be read" in caplog.text and LEAKED not in caplog.text


def test_choosing_a_password(service, settings, clock, tmp_path, monkeypatch):
    monkeypatch.setattr(breached_ranges, "TIMEOUT_S", 10.0)
    service.says((sha1(LEAKED), 12))
    with running_in_thread(replace(settings, breach_list=service.url)) as url:
        portal = Portal(url, settings, clock, tmp_path)
        portal.person("ann")
        browser = portal.browser().sign_in("ann").get("/password")
        browser.post("/password", old=PASSWORD, password=LEAKED, again=LEAKED)
        assert "guessers try early" in browser.problem
        Browser.close_all()
