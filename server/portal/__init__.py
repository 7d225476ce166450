"""What people see: sign-in, their own devices, recovery, and pages for staff.

Rendered on the server; only WebAuthn needs JavaScript.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.staticfiles import StaticFiles

from tallystick.server.accounts.rights import RightsTakenError
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
    say_rights_taken,
    send_to_prove,
    send_to_sign_in,
)

STATIC = Path(__file__).parent / "static"


# What a page asks for before it is shown, and who sends there.
REDIRECTIONS = {
    NeedsSignInError: send_to_sign_in,
    NeedsProofError: send_to_prove,
    RightsTakenError: say_rights_taken,
}


def install(root: APIRouter) -> None:
    """Add the portal's routes."""
    root.mount("/static", StaticFiles(directory=STATIC), name="static")
    # Routes are tried in order: /people/import is nobody's number.
    of_staff = (faces, audit, staff_lists, staff_bulk, staff_invitations, staff, staff_cards)
    of_people = (front, languages, signin, passkey, welcome, recover, prove, account, enrol, oidc)
    for module in (*of_people, *of_staff):
        root.include_router(module.router, include_in_schema=False)
