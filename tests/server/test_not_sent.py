"""A message that does not leave: whoever waits for it is told, and whoever runs the server."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from aiosmtpd.smtp import AuthResult
from sqlalchemy import select

from tallystick.server.messages import outbox
from tallystick.server.messages.outbox import Delivery
from tallystick.server.operating.doctor import examine
from tallystick.server.serving.running import running_in_thread
from tallystick.server.store.models_login import MessageRow
from tallystick.server.store.opened import opened
from tests.server.portal_driver import Browser, Portal
from tests.server.test_gateways import Mailbox, SmtpServer


@pytest.fixture
def portal_of(settings, clock, tmp_path):
    """A portal whose server has these settings besides."""
    running = []

    def start(**more: object) -> Portal:
        own = replace(settings, **more)
        served = running_in_thread(own)
        running.append(served)
        return Portal(served.__enter__(), own, clock, tmp_path)

    yield start
    for one in running:
        one.__exit__(None, None, None)
    Browser.close_all()


def tried(portal: Portal, times: int = 1) -> None:
    """Wait until the gateway was asked so often."""
    for _ in range(1500):
        with opened(portal.settings) as parts, parts.database.read() as connection:
            if (connection.scalar(select(MessageRow.tries)) or 0) >= times:
                return
        time.sleep(0.02)  # the outbox is a thread of its own
    raise AssertionError("never tried")


def to_sms(portal: Portal) -> Browser:
    portal.person("ann")
    browser = portal.browser().sign_in("ann")
    return browser.get("/enrol/sms").post("/enrol/sms", address="+4740000089")


def link(browser: Browser) -> str:
    found = browser.page.text.split('/sent">')[0].rsplit('href="/p/default', 1)[1]
    return f"{found}/sent"


def test_whoever_waits_for_a_message_that_is_refused_is_told(portal_of, clock):
    portal = portal_of(sms="http://127.0.0.1:9/nothing-listens")
    browser = to_sms(portal)
    assert "is on its way" in browser.page.text and "Nothing has come?" in browser.page.text
    path = link(browser)
    tried(portal)
    assert "is being sent" in browser.get(path).page.text  # perhaps it is, at this moment
    clock.advance(outbox.SENT_WITHIN_S)
    page = browser.get(path)
    assert page.page.status_code == 503 and "did not take the message" in page.problem
    assert "Use another method" in page.page.text and 'name="code"' in page.page.text
    (found,) = [one for one in examine(portal.settings) if one.name == "messages"]
    assert found.state == "bad" and "1 by sms" in found.detail


def test_a_message_that_was_taken(portal_of, tmp_path):
    portal = portal_of(sms=f"file://{tmp_path / 'sent.jsonl'}")
    browser = to_sms(portal)
    path = link(browser)
    code = portal.code(1)
    for _ in range(500):  # its row goes a moment after the file has it
        if "was handed over" in browser.get(path).page.text:
            break
        time.sleep(0.02)
    assert "was handed over" in browser.page.text and "unwanted mail" not in browser.page.text
    key = path.split("/")[3]
    browser.post(f"/enrol/sms/{key}/confirm", code=code)
    assert "is enrolled" in browser.page.text
    portal.clock.advance(60)
    signing = portal.browser().sign_in("ann")
    signing.post(f"/second/sms/{key}/ask")
    portal.code(2)
    assert signing.get(f"/second/sms/{key}/sent").page.status_code == 200
    assert 'name="code"' in signing.page.text
    (found,) = [one for one in examine(portal.settings) if one.name == "messages"]
    assert found.state == "ok"


def test_where_no_message_can_be_sent_it_is_said_at_once(portal_of):
    portal = portal_of(sms="")
    browser = to_sms(portal)
    assert browser.page.status_code == 503 and "do not leave this server" in browser.problem


def test_what_cannot_be_sent_is_not_offered(portal_of, tmp_path):
    sink = f"file://{tmp_path / 'sent.jsonl'}"
    for number, more in enumerate(({"sms": "", "smtp": sink}, {"sms": sink, "smtp": ""})):
        portal = portal_of(**more)
        portal.person(f"user{number}")
        page = portal.browser().sign_in(f"user{number}").get("/").page.text
        for kind, channel in (("sms", "sms"), ("email", "smtp")):
            assert (f'/enrol/{kind}"' in page) is bool(more[channel])
        assert '/enrol/totp"' in page


@pytest.mark.parametrize("path", ["/enrol/sms/999/sent", "/enrol/sms/x/sent", "/enrol/totp/1/sent"])
def test_a_message_that_there_is_not(portal_of, path, tmp_path):
    portal = portal_of(sms=f"file://{tmp_path / 'sent.jsonl'}")
    portal.person("ann")
    browser = portal.browser().sign_in("ann").get(path)
    assert browser.page.status_code == 200 and browser.heading.startswith("Add: ")
    nobody = portal.browser().get("/second/sms/1/sent")
    assert nobody.page.status_code == 401


def test_a_message_of_somebody_else_says_nothing(portal_of, tmp_path):
    portal = portal_of(sms=f"file://{tmp_path / 'sent.jsonl'}")
    path = link(to_sms(portal))
    portal.person("bob")
    other = portal.browser().sign_in("bob").get(path)
    assert other.heading == "Add: Text message" and "handed over" not in other.page.text


def test_recovery_tells_nobody_whether_something_was_sent(portal_of, clock):
    portal = portal_of(smtp="")
    portal.person("ann", email="ann@firm.example")
    portal.policy(recovery_methods=["email", "totp"])
    for login in ("ann", "nobody"):
        browser = portal.browser().get("/recover").post("/recover", login=login, kind="email")
        assert "Nothing has come?" not in browser.page.text
        assert "is on its way" in browser.page.text


def test_deliveries(portal_of, clock, tmp_path):
    portal = portal_of(sms=f"file://{tmp_path / 'sent.jsonl'}")
    with opened(portal.settings) as parts, parts.database.read() as connection:
        assert outbox.delivery_of(connection, 999, clock()) is Delivery.TAKEN
        assert outbox.refused(connection, clock()) == {}


class Picky(Mailbox):
    """Takes mails of one sender only."""

    async def handle_MAIL(self, server, session, envelope, address, options) -> str:
        if address != "good@firm.example":
            return "553 5.7.1 not you"
        envelope.mail_from = address
        return "250 OK"


@pytest.mark.parametrize(
    ("sender", "login", "state", "words"),
    [
        ("Firm <good@firm.example>", "", "ok", "answers"),
        ("bad@firm.example", "", "bad", "refuses our sender: 553"),
        ("good@firm.example", "ann:wrong@", "bad", "refuses our name and password: 535"),
        ("good@firm.example", "ann:right@", "ok", "answers"),
    ],
)
def test_doctor_is_not_content_with_a_mail_server_that_refuses(
    settings, sender, login, state, words
):
    def judge(server, session, envelope, mechanism, data):
        return AuthResult(success=data.password == b"right", handled=False)

    picky = SmtpServer(
        Picky(), hostname="127.0.0.1", port=0, authenticator=judge, auth_require_tls=False
    )
    picky.start()
    try:
        own = replace(settings, smtp=f"smtp://{login}127.0.0.1:{picky.port}", mail_from=sender)
        (found,) = [one for one in examine(own) if one.name == "mail server"]
    finally:
        picky.stop()
    assert (found.state, words in found.detail) == (state, True), found.detail
    assert "right" not in found.detail and "wrong" not in found.detail
