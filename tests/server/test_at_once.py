"""The portal under parallel requests: one code signs in one browser, whatever comes at once."""

from __future__ import annotations

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tallystick.server.serving.running import running_in_thread
from tallystick.server.settings import settings_from
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
