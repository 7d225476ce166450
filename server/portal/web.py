"""Cookies, forms, and who is asking: what every portal page starts from."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import quote, urlsplit

from fastapi import Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy import Connection
from starlette.datastructures import FormData

from tallystick.common import chance
from tallystick.server.accounts import faces, firms, sessions
from tallystick.server.accounts.faces import Face
from tallystick.server.accounts.firms import KnownFirm
from tallystick.server.accounts.policy import PersonRole
from tallystick.server.accounts.rights import Right, RightsTakenError, rights_of
from tallystick.server.accounts.sessions import SignedIn
from tallystick.server.api.access import state_of
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.messages.letters import languages_for
from tallystick.server.portal.errors import error_page, retry_header
from tallystick.server.portal.templating import TEMPLATES, page_headers
from tallystick.server.signing_in import stepup
from tallystick.server.signing_in.login import Browser
from tallystick.server.state import ServerState
from tallystick.server.store.sealed_file import SealedFile
from tallystick.server.uploads import received
from tallystick.server.wording.languages import Language, in_language, speaking, spoken
from tallystick.server.wording.worded import worded

SESSION, ATTEMPT, RECOVERY, DEVICE, KNOWN, CSRF, LANGUAGE, SERVICE_LANGUAGE = (
    f"tally_{name}"
    for name in (
        "session",
        "attempt",
        "recovery",
        "device",
        "known",
        "csrf",
        "language",
        "service-language",
    )
)
LANGUAGE_DAYS = 365
_LONG_AGO = datetime.fromtimestamp(0, UTC)  # when a cookie is over that is taken back
ROLE_WORDS = {
    PersonRole.USER: worded("user"),
    PersonRole.SUPPORT: worded("support"),
    PersonRole.ADMINISTRATOR: worded("administrator"),
    PersonRole.AUDITOR: worded("auditor"),
}
MAX_FIELD, MAX_FIELDS = 20_000, 120
URL_ENCODED = "application/x-www-form-urlencoded"
T = TypeVar("T")


@dataclass(frozen=True)
class Visit:
    """One request to a page of one firm."""

    request: Request
    state: ServerState
    firm: KnownFirm
    face: Face
    browser: Browser
    session: SignedIn | None
    csrf_cookie: str

    @property
    def language(self) -> Language:
        """That the person has chosen, that her browser asks for, or the firm's first."""
        own = spoken(self.session.person.language) if self.session else None
        return own or speaking() or languages_for("", self.firm.policy)[0]

    @property
    def base(self) -> str:
        return f"/p/{self.firm.name}"

    def cookie(self, name: str) -> str:
        return self.request.cookies.get(name, "")

    def csrf(self) -> str:
        """What a form must carry: only this server can make it from the browser's cookie."""
        return self.state.ring.tag("csrf", self.csrf_cookie.encode()).hex()[:32]

    def rights(self) -> frozenset[Right]:
        if self.session is None:
            return frozenset()
        return rights_of(self.session.person.role, self.session.policy)

    def render(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """A page, with what every template may use."""
        with in_language(self.language):
            html = self._page(template, values)
        headers = page_headers() | retry_header(values.get("error"))
        response = HTMLResponse(html, status_code=status, headers=headers)
        if self.cookie(CSRF) != self.csrf_cookie:
            self.set_cookie(response, CSRF, self.csrf_cookie, strict=True)
        return response

    def _page(self, template: str, values: Mapping[str, Any]) -> str:
        return TEMPLATES.get_template(template).render(
            base=self.base,
            firm_name=self.face.name,
            face=self.face,
            policy=self.firm.policy,
            shortest=self.firm.policy.password_length(self.state.now()),
            zone=self.firm.policy.time_zone,
            csrf=self.csrf(),
            session=self.session,
            rights=self.rights(),
            path=self.request.url.path,
            here=self.here(),
            role_words=ROLE_WORDS,
            **{"error": None, "notice": None, **values},
        )

    def here(self) -> str:
        """Where this page is found again; nothing where it answers a form."""
        url = self.request.url
        return f"{url.path}?{url.query}".rstrip("?") if self.request.method == "GET" else ""

    def of_firm(self, firm: KnownFirm, face: Face) -> Visit:
        """The same visit, of the firm as it is now."""
        return replace(self, firm=firm, face=face)

    def go(self, path: str) -> Response:
        """On to a page of this firm."""
        return RedirectResponse(self.base + path, status_code=303)

    def set_cookie(
        self, response: Response, name: str, value: str, *, days: int = 0, strict: bool = False
    ) -> None:
        response.set_cookie(
            name,
            value,
            max_age=days * 86400 if days else None,
            path=self.base,
            secure=self.state.public_url.startswith("https:"),
            httponly=True,
            samesite="strict" if strict else "lax",
        )

    def drop_cookie(self, response: Response, name: str) -> None:
        # `delete_cookie` would name the computer's time.
        response.set_cookie(name, "", max_age=0, expires=_LONG_AGO, path=self.base)

    def safe_next(self, wanted: str) -> str:
        """A page of this firm, or nothing: never another site."""
        ok = wanted.startswith(self.base + "/") and "\\" not in wanted and "//" not in wanted
        return wanted[:2000] if ok else ""


class NeedsSignInError(Exception):
    """The page is for someone who is signed in."""

    def __init__(self, visit: Visit) -> None:
        super().__init__("sign-in needed")
        self.visit = visit


async def say_rights_taken(request: Request, error: Exception) -> Response:
    return error_page(request, _no_right())


class NeedsProofError(Exception):
    """The page is for someone who has just shown a second factor. keeps: what was sent may be sent
    once it was shown."""

    def __init__(self, member: Member, back: str, *, keeps: bool = False) -> None:
        super().__init__("proof needed")
        self.member = member
        self.back = back
        self.keeps = keeps


async def send_to_prove(request: Request, error: Exception) -> Response:
    """A form of staff that was sent too late is kept, but for files; another one is filled in
    again: its page has the same path."""
    assert isinstance(error, NeedsProofError)
    visit, session = error.member.visit, error.member.session
    if not session.person.enrolled:
        return visit.go("/sign-in?again=yes&next=" + quote(error.back, safe=""))
    if error.keeps and (kept := await _kept(request, visit)):
        await run_in_threadpool(stepup.begin, visit.state, session, visit.browser, error.back, kept)
    return visit.go("/prove?next=" + quote(error.back, safe=""))


async def _kept(request: Request, visit: Visit) -> stepup.KeptForm | None:
    """Nothing, where this site did not make the form."""
    if not request.headers.get("content-type", "").startswith(URL_ENCODED):
        return None
    try:
        fields = _genuine(request, visit, await _fields(request))
    except (ApiError, HTTPException):
        return None
    path = f"{request.url.path}?{request.url.query}".rstrip("?")
    return stepup.KeptForm(path, [(k, v) for k, v in fields.items() if k != "csrf"])


async def send_to_sign_in(request: Request, error: Exception) -> Response:
    assert isinstance(error, NeedsSignInError)
    wanted = request.url.path if request.method == "GET" else ""
    query = f"?next={quote(wanted, safe='')}" if wanted else ""
    return error.visit.go(f"/sign-in{query}")


def visit(request: Request, firm: str) -> Visit:
    """Anyone. Raises ApiError (404) for an unknown firm."""
    state = state_of(request)
    token = request.cookies.get(SESSION, "")
    now = state.now()
    with state.database.read() as connection:
        known = firms.by_name(connection, firm)
        face = request.state.face = faces.of(connection, known)  # also for what goes wrong
        session = sessions.current(connection, token, known.id, now) if token else None
    if session is not None and sessions.is_to_be_touched(session, now):
        with state.database.write() as connection:
            sessions.touch(connection, session, now)
    browser = Browser(
        source=request.client.host if request.client else "",
        agent=request.headers.get("user-agent", ""),
        device=request.cookies.get(DEVICE, ""),
        known=request.cookies.get(KNOWN, ""),
    )
    csrf = request.cookies.get(CSRF, "") or chance.token_urlsafe(24)
    made = Visit(request, state, known, face, browser, session, csrf)
    request.state.language = made.language  # also for what goes wrong
    if made.cookie(CSRF):
        request.state.of_page = {"csrf": made.csrf(), "here": made.here()}
    return made


AnyVisit = Annotated[Visit, Depends(visit)]


@dataclass(frozen=True)
class Member:
    """A visit of someone who is signed in. needs: the rights that the page asks for."""

    visit: Visit
    session: SignedIn
    needs: frozenset[Right] = frozenset()

    @contextmanager
    def acting(self) -> Iterator[Connection]:
        """A transaction in which something is done as this member. Between the look at his session
        and this, a form may have been on its way for long. Raises as `must_still_be`."""
        with self.visit.state.database.write() as connection:
            self.must_still_be(connection)
            yield connection

    def act(self, work: Callable[[Connection], T]) -> T:
        """The same for what may have to be done again (`Database.run`)."""

        def as_member(connection: Connection) -> T:
            self.must_still_be(connection)
            return work(connection)

        return self.visit.state.database.run(as_member)

    def must_still_be(self, connection: Connection) -> None:
        """Raises NeedsSignInError where the session was ended since it was looked up, and
        RightsTakenError where its person has other rights: no ApiError, which pages of staff
        would show among what only staff see."""
        visit, session = self.visit, self.session
        token, now = visit.cookie(SESSION), visit.state.now()
        again = sessions.current(connection, token, visit.firm.id, now)
        if again is None or again.handle != session.handle:
            raise NeedsSignInError(replace(visit, session=None))
        role = again.person.role
        if role is not session.person.role or not self.needs <= rights_of(role, again.policy):
            raise RightsTakenError


def member(visit: AnyVisit) -> Member:
    """Who is signed in. Raises NeedsSignInError; ApiError (403) for a session that only enrols."""
    if visit.session is None:
        raise NeedsSignInError(visit)
    if visit.session.enrol_only and not _may_enrol(visit):
        raise ApiError(
            403,
            "enrol-only",
            "You can do nothing here but enrol a way to sign in.",
            kept=NOTHING_CHANGED,
            todo="Enrol one in your account, and sign in with it.",
        )
    return Member(visit, visit.session)


def _may_enrol(visit: Visit) -> bool:
    path = visit.request.url.path.removeprefix(visit.base)
    return path in ("/", "/sign-out", "/oidc/sign-out") or path.startswith("/enrol/")


AMember = Annotated[Member, Depends(member)]


def fresh(member: AMember) -> Member:
    """A dependency: a member who has shown a second factor (or, without one, his password) in the
    last minutes. An open browser is not enough to change how its owner signs in."""
    if not stepup.is_fresh(member.session, member.visit.state.now()):
        raise NeedsProofError(member, member.visit.request.url.path)
    return member


AFreshMember = Annotated[Member, Depends(fresh)]


def staff(*rights: Right) -> Callable[[Member], Member]:
    """A dependency: a signed-in member with all of these rights, and with a second factor; who has
    just shown it, where something is to be changed. Raises ApiError (403), NeedsProofError."""

    def check(member: AMember) -> Member:
        if not set(rights) <= member.visit.rights():
            raise _no_right()
        if "mfa" not in member.session.amr:
            raise ApiError(
                403,
                "needs-second-factor",
                "Pages of staff need a sign-in with a second factor.",
                kept=NOTHING_CHANGED,
                todo="Enrol one, sign out, and sign in again with it.",
            )
        visit = member.visit
        changes = visit.request.method not in ("GET", "HEAD")
        if changes and not stepup.is_fresh(member.session, visit.state.now()):
            raise NeedsProofError(member, _page_of(visit.request.url.path), keeps=True)
        return replace(member, needs=frozenset(rights))

    return check


def _no_right() -> ApiError:
    return ApiError(
        403,
        "no-right",
        "Your role does not allow this.",
        kept=NOTHING_CHANGED,
        todo="Ask an administrator of your firm.",
    )


def _page_of(path: str) -> str:
    """The page that a form of staff is on: /p/FIRM/people/7/unlock is on that of person 7."""
    parts = path.split("/")
    return "/".join(parts[: 5 if parts[3] == "people" else 4])


async def form(request: Request, visit: AnyVisit) -> Mapping[str, str]:
    """The fields of a form that this site made. Raises ApiError: 403 when it did not, 422."""
    return _genuine(request, visit, await _fields(request))


async def _fields(request: Request) -> FormData:
    return await request.form(max_files=0, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD)


@dataclass(frozen=True)
class Sent:
    """A form with a file in it. file: None where none was chosen."""

    fields: Mapping[str, str]
    file: SealedFile | None


async def form_with_file(request: Request, visit: AnyVisit) -> Sent:
    """Raises as `form`."""
    form = await received(request)
    return Sent(_genuine(request, visit, form.fields), form.file)


def _genuine(request: Request, visit: Visit, fields: Mapping[str, Any]) -> Mapping[str, str]:
    fetched_by = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    own = urlsplit(visit.state.public_url)
    foreign = origin is not None and urlsplit(origin).netloc not in (
        own.netloc,
        request.headers.get("host", ""),
    )
    values = {name: value for name, value in fields.items() if isinstance(value, str)}
    if any(len(value) > MAX_FIELD for value in values.values()):
        raise ApiError(422, "too-long", "A field is too long.", kept=NOTHING_CHANGED)
    if any("\0" in value for value in values.values()):
        raise ApiError(422, "not-text", "A field has a NUL in it.", kept=NOTHING_CHANGED)
    genuine = hmac.compare_digest(values.get("csrf", "").encode(), visit.csrf().encode())
    if not genuine or foreign or fetched_by not in ("same-origin", "none"):
        raise ApiError(
            403,
            "foreign-form",
            "This form was not sent from this site, or is too old.",
            kept=NOTHING_CHANGED,
            todo="Go back, reload the page, and try again. Your browser has to allow cookies.",
        )
    return values


Form = Annotated[Mapping[str, str], Depends(form)]
FileForm = Annotated[Sent, Depends(form_with_file)]


def typed_twice(form: Mapping[str, str]) -> str:
    """The new password of a form. Raises ApiError (422) where the second time it is another."""
    password = form.get("password", "")
    if form.get("again", password) != password:
        raise ApiError(
            422,
            "not-the-same",
            "The two passwords are not the same.",
            kept="No password was set.",
            todo="Type it twice, or show it while you type.",
        )
    return password
