"""What each role of a person may do in the portal."""

from __future__ import annotations

from enum import StrEnum

from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.accounts.policy import FirmPolicy, PersonRole
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.wording.worded import worded


class Right(StrEnum):
    SEE_PEOPLE = "see-people"
    CHANGE_PEOPLE = "change-people"
    HELP_PEOPLE = "help-people"  # recovery with a colleague's consent
    SEE_CARDS = "see-cards"
    HAND_OUT_CARDS = "hand-out-cards"  # assign, lend, take back, report lost
    RETIRE_CARDS = "retire-cards"
    SEE_POLICY = "see-policy"
    CHANGE_POLICY = "change-policy"
    SEE_AUDIT = "see-audit"
    LIFT_LOCKOUT = "lift-lockout"
    REMOVE_METHODS = "remove-methods"  # of somebody else, as when a telephone was stolen


RIGHTS: dict[PersonRole, frozenset[Right]] = {
    PersonRole.USER: frozenset(),
    PersonRole.SUPPORT: frozenset(
        {
            Right.SEE_PEOPLE,
            Right.HELP_PEOPLE,
            Right.SEE_CARDS,
            Right.HAND_OUT_CARDS,
            Right.REMOVE_METHODS,
        }
    ),
    PersonRole.AUDITOR: frozenset(
        {Right.SEE_PEOPLE, Right.SEE_CARDS, Right.SEE_POLICY, Right.SEE_AUDIT}
    ),
    PersonRole.ADMINISTRATOR: frozenset(Right) - {Right.LIFT_LOCKOUT},
}


class RightsTakenError(Exception):
    """The role, or what policy gives to it, is another one since the request began."""


def rights_of(role: PersonRole, policy: FirmPolicy) -> frozenset[Right]:
    """Policy says who lifts lock-outs; the rest goes with the role."""
    lifts = {Right.LIFT_LOCKOUT} if role in policy.lockout_lifted_by else set()
    return RIGHTS[role] | lifts


_AS = {Role.ADMIN: PersonRole.ADMINISTRATOR, Role.DESK: PersonRole.SUPPORT}


def covers(*ones: PersonRole, other: PersonRole) -> bool:
    """Whether one of these has every right of the other: only then may he change how the other
    signs in. Who lifts lock-outs does not count: that opens nothing."""
    wanted = RIGHTS[other]
    return any(wanted <= RIGHTS[one] for one in ones)


def role_of(caller: Caller) -> PersonRole:
    """What a caller counts as towards people: himself in the portal; a desk's or a station's
    credential as a support agent."""
    return caller.person_role or _AS.get(caller.role, PersonRole.SUPPORT)


def needs_more_rights(login: str) -> ApiError:
    return ApiError(
        403,
        "needs-more-rights",
        worded("{login} has rights that you do not have.", login=login),
        kept=NOTHING_CHANGED,
        todo="An administrator has to do it, or to agree to it.",
    )
