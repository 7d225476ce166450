"""Forgot the password."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from tallystick.server.accounts.policy import MethodKind
from tallystick.server.errors import ApiError
from tallystick.server.portal.web import RECOVERY, SESSION, AnyVisit, Form, Visit, typed_twice
from tallystick.server.signing_in import recovery
from tallystick.server.signing_in.words import refusal
from tallystick.server.wording.worded import worded

router = APIRouter(prefix="/p/{firm}/recover")


@router.get("")
def start_page(visit: AnyVisit) -> Response:
    return _start(visit)


def _start(visit: Visit, *, error: ApiError | None = None, login: str = "") -> Response:
    policy = visit.firm.policy
    kinds = policy.recovery_methods & policy.methods
    return visit.render(
        "recover.html",
        status=error.status if error else 200,
        error=error,
        login=login,
        kinds=[kind for kind in MethodKind if kind in kinds],
    )


@router.post("")
def start(visit: AnyVisit, form: Form) -> Response:
    login = form.get("login", "").strip()[:255]
    try:
        kind = MethodKind(form.get("kind", ""))
        token = recovery.start(visit.state, visit.firm.name, login, kind, visit.browser)
    except ValueError:
        return _start(visit, login=login)
    except ApiError as error:
        return _start(visit, error=error, login=login)
    response = visit.go(f"/recover/prove?kind={kind.value}")
    visit.set_cookie(response, RECOVERY, token)
    return response


@router.get("/prove")
def prove_page(visit: AnyVisit, kind: MethodKind) -> Response:
    return visit.render("recover_prove.html", kind=kind)


@router.post("/prove")
def prove(visit: AnyVisit, kind: MethodKind, form: Form) -> Response:
    try:
        verdict = recovery.prove(
            visit.state, visit.firm.name, visit.cookie(RECOVERY), form, visit.browser
        )
    except ApiError as problem:
        if problem.code != "needs-another-method":
            raise
        return visit.render("recover_prove.html", status=problem.status, error=problem, kind=kind)
    if verdict.accepted:
        return visit.go("/recover/reset")
    error = refusal(verdict)
    return visit.render("recover_prove.html", status=error.status, error=error, kind=kind)


@router.get("/reset")
def reset_page(visit: AnyVisit) -> Response:
    return _reset(visit)


def _reset(visit: Visit, error: ApiError | None = None) -> Response:
    elsewhere = recovery.asks_for_directory_password(
        visit.state, visit.firm.name, visit.cookie(RECOVERY)
    )
    status = error.status if error else 200
    return visit.render("recover_reset.html", status=status, error=error, elsewhere=elsewhere)


@router.post("/reset")
def reset(visit: AnyVisit, form: Form) -> Response:
    try:
        session = recovery.reset(
            visit.state,
            visit.firm.name,
            visit.cookie(RECOVERY),
            typed_twice(form),
            visit.browser,
        )
    except ApiError as error:
        if error.status == 401:
            raise
        return _reset(visit, error)
    if session is not None:
        response = visit.go("/")
        visit.set_cookie(response, SESSION, session)
    else:
        words = worded("Your new password is set. Sign in with it.")
        response = visit.render("sign_in.html", login="", next="", notice=words)
    visit.drop_cookie(response, RECOVERY)
    return response


@router.get("/help")
def help_page(visit: AnyVisit) -> Response:
    return visit.render("recover_help.html", login="")


@router.post("/help")
def help_code(visit: AnyVisit, form: Form) -> Response:
    login = form.get("login", "").strip()[:255]
    try:
        token = recovery.with_help(
            visit.state, visit.firm.name, login, form.get("code", "")[:40], visit.browser
        )
    except ApiError as error:
        return visit.render("recover_help.html", status=error.status, error=error, login=login)
    response = visit.go("/recover/reset")
    visit.set_cookie(response, RECOVERY, token)
    return response
