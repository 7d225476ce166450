"""The portal's pages, as somebody without scripts goes through them: signing in with two factors, a
telephone enrolled, a password that was forgotten, and what staff do for those who call."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx
import pyotp

from tallystick.tools.campaign.firm.ground import URL, House

PASSWORD = "correct horse battery staple"  # noqa: S105 (of a firm that is simulated)
STEP_S = 30  # of a telephone's codes
IN, NO_ANSWER, PASSWORD_WRONG, REFUSED = "in", "no answer", "password", "refused"
HALF_WAY = "half-way"  # the password is right, and a second factor is asked for
_OPTIONS = re.compile(r'data-options="(.*?)"')
_CHOICE = re.compile(r'action="([^"]*/second/webauthn/\d+/ask)"')
_ACTION = re.compile(r'<form method="post" action="([^"]*)"')
_CSRF = re.compile(r'name="csrf" value="([^"]+)"')
_SECRET = re.compile(r'class="secret">(\w+)<')
_TOLD = re.compile(r'class="secret big">([\w-]+)<')
_REQUEST = re.compile(r'name="request" value="(\d+)"')
_BOUNDED = "You can do nothing here but enrol"
_OPEN = re.compile("<h1>(?:You are signed in|My account)</h1>")


class TypedKind(StrEnum):
    """A second factor whose code is typed."""

    CARD = "card"
    TOTP = "totp"


class PortalSilentError(Exception):
    """The server ended, or could not write."""


@dataclass
class Telephone:
    """An app of somebody's. off_s: how wrong its clock is. forgotten: it lies at home today."""

    secret: str
    off_s: int = 0
    forgotten: bool = False

    def step(self, now: float) -> int:
        """Which code it shows. now: the time as it is, in seconds since 1970"""
        return (int(now) + self.off_s) // STEP_S

    def code(self, now: float) -> str:
        return pyotp.TOTP(self.secret).at(self.step(now) * STEP_S)


class PortalBrowser:
    """Somebody at the portal. What a page is not, is said in a word: see the constants."""

    def __init__(self, house: House, address: str) -> None:
        self._http = httpx.Client(
            base_url=URL, transport=house.transport(address), follow_redirects=True,
            headers={"origin": URL},
        )  # fmt: skip
        self.page = ""
        self.retry_after_s = 0  # of the last answer
        self.only_enrols = False  # after a recovery, for whoever has nothing left

    def close(self) -> None:
        self._http.close()

    # -- signing in --------------------------------------------------------------------------------

    def log_in_with_thumb(
        self, login: str, assertion: Callable[[Mapping[str, Any]], str | None]
    ) -> str:
        """→ "in", or why not: "password", "thumb", "refused", "no answer" """
        try:
            self._password(login, PASSWORD)
            found = _OPTIONS.search(self.page)
            if found is None:
                chosen = _CHOICE.search(self.page)
                if chosen is None:
                    return PASSWORD_WRONG
                self._post(chosen.group(1))
                found = _OPTIONS.search(self.page)
            action = _ACTION.search(self.page[: found.start()] if found else self.page)
            if found is None or action is None:
                return PASSWORD_WRONG
            answer = assertion(json.loads(html.unescape(found.group(1))))
            if answer is None:
                return "thumb"
            self._post(action.group(1), response=answer)
        except PortalSilentError:
            return NO_ANSWER
        return IN if _OPEN.search(self.page) else REFUSED

    def log_in(
        self, login: str, password: str, kind: TypedKind, code_of: Callable[[], str | None]
    ) -> str:
        """code_of: asked when the page asks. → "in", or why not: "password", "no code", "refused",
        "no answer" """
        try:
            self._password(login, password)
            way = re.search(rf"/p/default/second/{kind.value}/[\w.-]+", self.page)
            if way is None:
                return PASSWORD_WRONG
            self._get(way.group())
            code = code_of()
            if code is None:
                return "no code"
            self._post(way.group(), code=code)
        except PortalSilentError:
            return NO_ANSWER
        return IN if _OPEN.search(self.page) else REFUSED

    def guess(self, login: str, password: str, kind: TypedKind, codes: Sequence[str]) -> None:
        """One code after the other, as the second factor. Raises PortalSilentError."""
        self._password(login, password)
        way = re.search(rf"/p/default/second/{kind.value}/[\w.-]+", self.page)
        if way is None:
            return
        self._get(way.group())
        for code in codes:
            self._post(way.group(), code=code)

    def log_in_alone(self, login: str, password: str) -> str:
        """With the password and nothing else. → "in", "half-way", "password", "refused",
        "no answer" """
        try:
            self._password(login, password)
        except PortalSilentError:
            return NO_ANSWER
        if _OPEN.search(self.page):
            return IN
        if "/p/default/second" in self.page:
            return HALF_WAY
        return PASSWORD_WRONG if 'name="password"' in self.page else REFUSED

    def session(self) -> dict[str, str]:
        """Its cookies: what whoever is signed in is known by."""
        return dict(self._http.cookies.items())

    def is_open(self, session: dict[str, str]) -> bool:
        """Whether somebody with these cookies is signed in. Raises PortalSilentError."""
        self._http.cookies.clear()
        for name, value in session.items():
            self._http.cookies.set(name, value)
        self._get("/p/default/")
        return bool(_OPEN.search(self.page))

    def _password(self, login: str, password: str) -> None:
        self._http.cookies.clear()
        self._get("/p/default/sign-in")
        self._post("/p/default/sign-in", login=login, password=password)

    # -- whoever is signed in ----------------------------------------------------------------------

    def enrol_telephone(self, now: float) -> Telephone | None:
        """None where the pages do not let it. Raises PortalSilentError."""
        self._get("/p/default/enrol/totp")
        self._post("/p/default/enrol/totp", label="Telephone")
        confirm = re.search(r"/p/default/enrol/totp/\d+/confirm", self.page)
        secret = _SECRET.search(self.page)
        if confirm is None or secret is None:
            return None
        made = Telephone(secret.group(1))
        self._post(confirm.group(), code=made.code(now))
        return made if "is enrolled" in self.page else None

    def help_with(self, login: str, step: str, *, reason: str = "", lost: str = "") -> str | None:
        """A step of a recovery, as staff: ask, agree, collect. lost: the kind of method that is
        void then. → the code, where one is shown. Raises PortalSilentError."""
        self._get(f"/p/default/people?q={login}")
        found = re.search(rf'/p/default/people/(\d+)">{login}<', self.page)
        if found is None:
            return None
        where = f"/p/default/people/{found.group(1)}"
        self._get(where)
        if step == "ask" and f'{where}/help/ask"' not in self.page:
            self._withdraw(where)  # somebody has asked for something else before
        request = _REQUEST.search(self.page)
        fields = {"request": request.group(1)} if request else {}
        if reason:
            fields["reason"] = reason
        for void in re.findall(rf'name="(void\.{lost}\.[^"]+)"', self.page) if lost else ():
            fields[void] = "yes"
        self._post(f"{where}/help/{step}", **fields)
        told = _TOLD.search(self.page)
        return told.group(1) if told else None

    def _withdraw(self, where: str) -> None:
        request = _REQUEST.search(self.page)
        if request is not None:
            self._post(f"{where}/help/withdraw", request=request.group(1))
        self._get(where)

    # -- whoever is not ----------------------------------------------------------------------------

    def recover(
        self, login: str, kind: TypedKind, code_of: Callable[[], str | None], password: str
    ) -> bool:
        """A new password, proved with a factor. Raises PortalSilentError."""
        self._http.cookies.clear()
        self._get("/p/default/recover")
        self._post("/p/default/recover", login=login, kind=kind.value)
        code = code_of()
        if code is None:
            return False
        self._post(f"/p/default/recover/prove?kind={kind.value}", code=code)
        return self._choose(password)

    def recover_with_help(self, login: str, code: str, password: str) -> bool:
        """A new password, with the code that the help desk read out. Raises PortalSilentError."""
        self._http.cookies.clear()
        self._get("/p/default/recover/help")
        self._post("/p/default/recover/help", login=login, code=code)
        return self._choose(password)

    def _choose(self, password: str) -> bool:
        if "Choose a new password" not in self.page:
            return False
        self._post("/p/default/recover/reset", password=password, again=password)
        self.only_enrols = bool(_OPEN.search(self.page))
        return "new password is set" in self.page or self.only_enrols

    def may_do_more(self) -> bool:
        """Whether whoever may only enrol is let to another page. Raises PortalSilentError."""
        self._get("/p/default/password")
        return _BOUNDED not in self.page

    # -- pages -------------------------------------------------------------------------------------

    def _get(self, path: str) -> None:
        self._take("GET", path)

    def _post(self, path: str, **fields: str) -> None:
        token = _CSRF.search(self.page)
        self._take("POST", path, {"csrf": token.group(1) if token else ""} | fields)

    def _take(self, method: str, path: str, form: dict[str, str] | None = None) -> None:
        try:
            answer = self._http.request(method, path, data=form)
        except httpx.TransportError:
            raise PortalSilentError from None
        if answer.status_code >= 500:
            raise PortalSilentError
        self.page = answer.text
        self.retry_after_s = int(answer.headers.get("retry-after", 0))
