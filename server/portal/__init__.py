"""What people see: sign-in, their own devices, recovery, and pages for staff.

Rendered on the server; only WebAuthn needs JavaScript.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from tallystick.server.portal import (
    account,
    audit,
    enrol,
    faces,
    front,
    languages,
    oidc,
    passkey,
    prove,
    recover,
    signin,
    staff,
    staff_bulk,
    staff_cards,
    staff_invitations,
    staff_lists,
    welcome,
)
from tallystick.server.portal.web import (
    NeedsProofError,
    NeedsSignInError,
    send_to_prove,
    send_to_sign_in,
)

STATIC = Path(__file__).parent / "static"


def install(app: FastAPI) -> None:
    """Add the portal's routes."""
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    # Routes are tried in order: /people/import is nobody's number.
    of_staff = (faces, audit, staff_lists, staff_bulk, staff_invitations, staff, staff_cards)
    for module in (
        front,
        languages,
        signin,
        passkey,
        welcome,
        recover,
        prove,
        account,
        enrol,
        oidc,
        *of_staff,
    ):
        app.include_router(module.router, include_in_schema=False)
    app.add_exception_handler(NeedsSignInError, send_to_sign_in)
    app.add_exception_handler(NeedsProofError, send_to_prove)
