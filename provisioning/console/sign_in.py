"""The sign-in page: plain HTML, because nothing else is served before it."""

from __future__ import annotations

from html import escape
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tallystick.provisioning.console.gate import SESSION_S, Gate
from tallystick.provisioning.console.guard import COOKIE, SIGN_IN, token_in
from tallystick.provisioning.console.style import COLOURS, DARK

MAX_BODY = 1024
WRONG = "That was not the pass. After five wrong ones a new pass is shown."

_CSS = (
    COLOURS
    + "@media (prefers-color-scheme:dark) { :root "
    + DARK
    + "}"
    + """
body { background:var(--ground); color:var(--ink); font:1rem/1.5 system-ui,sans-serif; margin:0;
  min-height:100vh; display:grid; place-items:center; }
main { background:var(--sheet); border:1px solid var(--line); border-radius:16px; padding:32px;
  width:min(92vw,400px); box-sizing:border-box; }
h1 { font-size:1.35rem; margin:0 0 6px; letter-spacing:-.01em; }
p { color:var(--soft); margin:0 0 18px; }
label { display:block; font-weight:600; margin-bottom:6px; }
input { font:600 1.6rem ui-monospace,monospace; letter-spacing:.12em; text-transform:uppercase;
  width:100%; box-sizing:border-box; padding:10px 12px; border:1px solid var(--strong);
  border-radius:10px; background:var(--ground); color:var(--ink); }
button { margin-top:18px; width:100%; padding:12px; font:600 1rem system-ui,sans-serif; border:0;
  border-radius:10px; background:var(--accent); color:var(--on-accent); cursor:pointer; }
:focus-visible { outline:3px solid var(--accent); outline-offset:2px; }
.bad { color:var(--bad); font-weight:600; margin:10px 0 0; }
"""
)


def routes(gate: Gate) -> APIRouter:
    router = APIRouter()

    @router.get(SIGN_IN)
    def ask() -> Response:
        gate.offer()
        return _page()

    @router.post(SIGN_IN)
    async def enter(request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                return _page(WRONG, 413)
        fields = parse_qs(body.decode("ascii", "replace"))
        token = gate.enter(fields.get("pass", [""])[0])
        gate.offer() if token is None else None
        if token is None:
            return _page(WRONG, 401)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, token, max_age=SESSION_S, httponly=True, samesite="strict")
        return answer

    @router.post("/sign-out")
    def leave(request: Request) -> Response:
        session = gate.session(token_in(dict(request.headers)))
        if session is not None:
            gate.leave(session)
        answer = RedirectResponse(SIGN_IN, 303)
        answer.delete_cookie(COOKIE)
        return answer

    return router


def _page(problem: str = "", status: int = 200) -> HTMLResponse:
    alert = f'<p class="bad" role="alert">{escape(problem)}</p>' if problem else ""
    return HTMLResponse(
        f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>Sign in · Station</title>
<link rel="icon" href="data:,"><style>{_CSS}</style></head><body><main>
<h1>Tallystick station</h1>
<p>The terminal in which the console was started shows a pass.</p>
<form method="post" action="{SIGN_IN}"><label for="pass">Pass</label>
<input id="pass" name="pass" autocomplete="off" autocapitalize="characters" spellcheck="false"
 maxlength="12" required autofocus>{alert}
<button>Sign in</button></form></main></body></html>""",
        status,
    )
