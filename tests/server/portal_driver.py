"""A browser without JavaScript, and what tests do in the portal with it."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import ClassVar

import httpx
import pyotp

from tallystick.server.accounts import firms, people
from tallystick.server.accounts.policy import FirmPolicy, PersonRole
from tallystick.server.signing_in import recovery
from tallystick.server.store.opened import opened

PASSWORD = "correct horse battery"
LOOKS = 1500  # for a message, 20 ms from one to the next


class Browser:
    """Follows redirects, keeps cookies, fills forms in with their hidden fields."""

    opened: ClassVar[list[httpx.Client]] = []

    def __init__(self, url: str, firm: str = "default") -> None:
        self.http = httpx.Client(base_url=url, follow_redirects=True, timeout=60)
        self.opened.append(self.http)
        self.base = f"/p/{firm}"
        self.page: httpx.Response

    @classmethod
    def close_all(cls) -> None:
        while cls.opened:
            cls.opened.pop().close()

    def get(self, path: str) -> Browser:
        self.page = self.http.get(self.base + path)
        return self

    def post(self, path: str, **fields: str) -> Browser:
        token = re.search(r'name="csrf" value="(\w+)"', self.page.text)
        assert token, self.page.text
        self.page = self.http.post(
            self.base + path,
            data={"csrf": token.group(1)} | fields,
            headers={"origin": self.origin},
        )
        return self

    @property
    def origin(self) -> str:
        return str(self.http.base_url).rstrip("/")

    @property
    def heading(self) -> str:
        return re.search(r"<h1>(.*?)</h1>", self.page.text, re.S).group(1)

    @property
    def problem(self) -> str:
        found = re.search(r'role="alert">\s*<p><strong>(.*?)</strong>', self.page.text, re.S)
        return found.group(1) if found else ""

    def sign_in(self, login: str, password: str = PASSWORD) -> Browser:
        return self.get("/sign-in").post("/sign-in", login=login, password=password)


@dataclass
class Portal:
    url: str
    settings: object
    clock: object
    folder: object

    def person(self, login: str, role: str = "user", firm: str = "default", **more: str) -> None:
        """Make a person and set the first password, as told by the console."""
        with opened(self.settings) as parts, parts.database.write() as connection:
            firm_id = firms.by_name(connection, firm).id
            people.add(
                connection,
                firm_id=firm_id,
                login=login,
                role=PersonRole(role),
                email=more.get("email"),
                now=self.clock(),
            )
            person = people.by_login(connection, firm_id, login)
            code = recovery.console_help(parts, connection, person, self.clock())
        browser = Browser(self.url, firm).get("/recover/help")
        browser.post("/recover/help", login=login, code=code)
        assert browser.heading == "Choose a new password", browser.page.text
        assert "new password is set" in browser.post("/recover/reset", password=PASSWORD).page.text

    def browser(self, firm: str = "default") -> Browser:
        return Browser(self.url, firm)

    def policy(self, firm: str = "default", **fields: object) -> None:
        with opened(self.settings) as parts, parts.database.write() as connection:
            known = firms.by_name(connection, firm)
            policy = FirmPolicy.model_validate(known.policy.model_dump() | fields)
            firms.set_policy(
                connection, parts.ring, known.id, policy, now=self.clock(), actor="test"
            )

    def code(self, count: int) -> str:
        """The code in the message that is the `count`th of those with a code."""
        for _ in range(LOOKS):
            codes = [re.search(r"\b\d{6}\b", m["text"]) for m in self.messages(count)]
            codes = [found.group() for found in codes if found]
            if len(codes) >= count:
                return codes[count - 1]
            time.sleep(0.02)
        raise AssertionError("no such code was sent")

    def messages(self, count: int = 1) -> list[dict[str, str]]:
        """What the gateways have sent, once there are at least `count` of them."""
        sink = self.folder / "sent.jsonl"
        for _ in range(LOOKS):
            lines = sink.read_text().splitlines() if sink.exists() else []
            if len(lines) >= count:
                return [json.loads(line) for line in lines]
            time.sleep(0.02)  # the outbox is a thread of its own
        raise AssertionError(f"{len(lines)} messages, not {count}")

    def told(self, *words: str, to: str = "") -> list[dict[str, str]]:
        """What the gateways have sent (to one address), once each of `words` is in one of them."""
        for _ in range(LOOKS):
            sent = [one for one in self.messages(0) if to in one["to"]]
            missing = [word for word in words if not any(word in str(one) for one in sent)]
            if not missing:
                return sent
            time.sleep(0.02)
        raise AssertionError(f"nobody was told {missing}: {sent}")

    def enrol_totp(self, browser: Browser) -> pyotp.TOTP:
        browser.get("/enrol/totp").post("/enrol/totp", label="Phone")
        key = re.search(r"/enrol/totp/(\d+)/confirm", browser.page.text).group(1)
        secret = re.search(r'class="secret">(\w+)<', browser.page.text).group(1)
        totp = pyotp.TOTP(secret)
        browser.post(f"/enrol/totp/{key}/confirm", code=totp.at(int(self.clock())))
        assert "is enrolled" in browser.page.text, browser.page.text
        self.clock.advance(30)
        return totp

    def enrol_email(self, browser: Browser, address: str = "home@example.org") -> str:
        """→ its key"""
        before = self.codes_sent()
        browser.get("/enrol/email").post("/enrol/email", address=address)
        key = re.search(r"/enrol/email/(\d+)/confirm", browser.page.text).group(1)
        browser.post(f"/enrol/email/{key}/confirm", code=self.code(before + 1))
        assert "is enrolled" in browser.page.text, browser.page.text
        return key

    def codes_sent(self) -> int:
        """How many messages with a code there are so far."""
        sink = self.folder / "sent.jsonl"
        lines = sink.read_text().splitlines() if sink.exists() else []
        return sum(bool(re.search(r"\b\d{6}\b", json.loads(line)["text"])) for line in lines)

    def staff(self, login: str, role: str) -> Browser:
        """A member of staff, signed in with a second factor."""
        self.person(login, role)
        browser = Browser(self.url).sign_in(login)
        totp = self.enrol_totp(browser)
        browser.get("/").post("/sign-out")
        return self.with_app(browser, login, totp)

    def with_app(self, browser: Browser, login: str, totp: pyotp.TOTP) -> Browser:
        """Signed in with the password and a code of the app, of which there is one."""
        browser.sign_in(login)
        key = re.search(r"/second/totp/(\d+)", browser.page.text).group(1)
        browser.get(f"/second/totp/{key}")
        browser.post(f"/second/totp/{key}", code=totp.at(int(self.clock())))
        assert browser.get("/").heading == "My account"
        self.clock.advance(30)
        return browser
