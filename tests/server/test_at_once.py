"""The portal under parallel requests: one code signs in one browser, whatever comes at once."""

from __future__ import annotations

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tallystick.server.accounts import people
from tallystick.server.serving.running import running_in_thread
from tallystick.server.settings import settings_from
from tallystick.server.signing_in import recovery
from tallystick.server.store.opened import opened
from tests.server.portal_driver import Browser, Portal

AT_ONCE = 8


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def portal(request, settings, clock, tmp_path):
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql").new_database()
        settings = replace(settings_from(url, tmp_path / "other.keys"), clock=clock)
    sink = f"file://{tmp_path / 'sent.jsonl'}"
    settings = replace(settings, sms=sink, smtp=sink)
    with running_in_thread(settings) as url:
        yield Portal(url, settings, clock, tmp_path)
        Browser.close_all()


def headings(act, browsers: list[Browser]) -> Counter[str]:
    with ThreadPoolExecutor(len(browsers)) as pool:
        done = list(pool.map(act, browsers))
    assert all(browser.page.status_code < 500 for browser in done)
    return Counter(browser.heading for browser in done)


def test_one_code_of_an_app_signs_one_browser_in(portal):
    portal.person("ann")
    totp = portal.enrol_totp(Browser(portal.url).sign_in("ann"))
    for _ in range(2):
        browsers = [Browser(portal.url).sign_in("ann") for _ in range(AT_ONCE)]
        key = re.search(r"/second/totp/(\d+)", browsers[0].page.text).group(1)
        for browser in browsers:
            browser.get(f"/second/totp/{key}")
        code = totp.at(int(portal.clock()))
        path = f"/second/totp/{key}"
        seen = headings(lambda b, p=path, c=code: b.post(p, code=c), browsers)
        assert seen["You are signed in"] == 1, seen
        portal.clock.advance(30)


def test_one_attempt_is_finished_once(portal):
    """The same form sent eight times makes one session."""
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann").get("/enrol/sms")
    browser.post("/enrol/sms", address="+4740000089")
    key = re.search(r"/enrol/sms/(\d+)/confirm", browser.page.text).group(1)
    browser.post(f"/enrol/sms/{key}/confirm", code=portal.code(1))
    browser.get("/").post("/sign-out")
    first = Browser(portal.url).sign_in("ann").post(f"/second/sms/{key}/ask")
    copies = []
    for _ in range(AT_ONCE):
        copy = Browser(portal.url)
        copy.http.cookies, copy.page = first.http.cookies, first.page
        copies.append(copy)
    code = portal.code(2)
    seen = headings(lambda b: b.post(f"/second/sms/{key}", code=code), copies)
    assert seen["You are signed in"] == 1, seen


def test_wrong_codes_at_once_count_each(portal):
    portal.policy(max_failures=5)
    portal.person("ann")
    portal.enrol_totp(Browser(portal.url).sign_in("ann"))
    browsers = [Browser(portal.url).sign_in("ann") for _ in range(AT_ONCE)]
    key = re.search(r"/second/totp/(\d+)", browsers[0].page.text).group(1)
    for browser in browsers:
        browser.get(f"/second/totp/{key}")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = list(pool.map(lambda b: b.post(f"/second/totp/{key}", code="000000"), browsers))
    assert Counter(browser.page.status_code for browser in done) == {422: 5, 429: 3}


def test_one_backup_code_signs_one_browser_in(portal):
    portal.policy(methods=["totp", "codes"])
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    browser.get("/enrol/codes").post("/enrol/codes", label="Sheet")
    codes = re.findall(r'class="secret">([\w-]+)<', browser.page.text)
    key = re.search(r"/enrol/codes/(\d+)/confirm", browser.page.text).group(1)
    browser.post(f"/enrol/codes/{key}/confirm", code=codes[0])
    browsers = [Browser(portal.url).sign_in("ann") for _ in range(AT_ONCE)]
    seen = headings(lambda b: b.post(f"/second/codes/{key}", code=codes[1]), browsers)
    assert seen["You are signed in"] == 1, seen


def test_one_help_code_sets_one_password(portal):
    portal.person("ann")
    with opened(portal.settings) as parts, parts.database.write() as connection:
        ann = people.by_login(connection, 1, "ann")
        code = recovery.console_help(parts, connection, ann, portal.clock())
    browsers = [Browser(portal.url).get("/recover/help") for _ in range(AT_ONCE)]
    seen = headings(lambda b: b.post("/recover/help", login="ann", code=code), browsers)
    assert seen["Choose a new password"] == 1, seen


def test_of_two_who_take_each_others_rights_one_keeps_his(portal):
    """Whoever is second has none any more when he acts."""
    one, two = (portal.staff(name, "administrator") for name in ("one", "two"))
    found = dict(re.findall(r'/people/(\d+)"[^>]*>(one|two)<', one.get("/people").page.text))
    ids = {name: number for number, name in found.items()}
    for browser, other in ((one, "two"), (two, "one")):
        browser.get(f"/people/{ids[other]}")
    wanted = {id(one): ids["two"], id(two): ids["one"]}
    headings(lambda b: b.post(f"/people/{wanted[id(b)]}", role="user"), [one, two])
    assert sorted(b.get("/people").page.status_code for b in (one, two)) == [200, 403]
