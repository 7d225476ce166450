"""What each role of a person may do in the portal."""

from __future__ import annotations

from enum import StrEnum

from tallystick.server.accounts.policy import FirmPolicy, PersonRole


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


RIGHTS: dict[PersonRole, frozenset[Right]] = {
    PersonRole.USER: frozenset(),
    PersonRole.SUPPORT: frozenset(
        {Right.SEE_PEOPLE, Right.HELP_PEOPLE, Right.SEE_CARDS, Right.HAND_OUT_CARDS}
    ),
    PersonRole.AUDITOR: frozenset(
        {Right.SEE_PEOPLE, Right.SEE_CARDS, Right.SEE_POLICY, Right.SEE_AUDIT}
    ),
    PersonRole.ADMINISTRATOR: frozenset(Right) - {Right.LIFT_LOCKOUT},
}


def rights_of(role: PersonRole, policy: FirmPolicy) -> frozenset[Right]:
    """Policy says who lifts lock-outs; the rest goes with the role."""
    lifts = {Right.LIFT_LOCKOUT} if role in policy.lockout_lifted_by else set()
    return RIGHTS[role] | lifts
