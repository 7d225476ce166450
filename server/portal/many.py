"""Lists of staff: what their links lead to, and an act on all rows that were ticked: on all of
them, or on none."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from tallystick.server.accounts.rights import Right
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.portal.web import Form, Member
from tallystick.server.wording.worded import Worded, counted


@dataclass(frozen=True)
class ManyAct:
    """words: on its button. right: who may. counted: how many are ticked has to be typed, too.
    reason: why has to be said."""

    words: Worded
    right: Right
    counted: bool = False
    reason: bool = False


Acts = Mapping[str, ManyAct]


def open_to(member: Member, acts: Acts) -> dict[str, ManyAct]:
    """Those that the member may do."""
    rights = member.visit.rights()
    return {name: act for name, act in acts.items() if act.right in rights}


def chosen(member: Member, acts: Acts, name: str, form: Form) -> list[int]:
    """What was ticked for an act. Raises ApiError: 403, 404, 422."""
    allowed = open_to(member, acts)
    if name not in allowed and (name in acts or not allowed):
        raise ApiError(403, "no-right", "Your role does not allow this.", kept=NOTHING_CHANGED)
    if name not in allowed:
        raise ApiError(404, "no-such-act", "There is no such act.", kept=NOTHING_CHANGED)
    ticked = (int(one[2:]) for one in form if re.fullmatch(r"p\.[0-9]{1,9}", one))
    found = list(dict.fromkeys(ticked))
    if not found:
        raise ApiError(
            422, "nobody", "Nothing was ticked.", kept=NOTHING_CHANGED, todo="Tick some of them."
        )
    act = allowed[name]
    if act.counted and form.get(f"count-{name}", "").strip() != str(len(found)):
        raise ApiError(
            422,
            "not-confirmed",
            counted(
                "{count} was ticked, and another number was typed.",
                "{count} were ticked, and another number was typed.",
                len(found),
            ),
            kept=NOTHING_CHANGED,
            todo="Tick them anew, and type how many they are.",
        )
    if act.reason and not why(form, name):
        raise ApiError(
            422, "no-reason", "No reason was given.", kept=NOTHING_CHANGED, todo="Say why."
        )
    return found


def why(form: Form, name: str) -> str:
    """The reason that was given for an act."""
    return form.get(f"reason-{name}", "").strip()[:120]


def linker(asked: Mapping[str, object]) -> Callable[..., str]:
    """Words of an address that leads to the same list, but for what is named. asked: what it shows
    now."""

    def link(**other: object) -> str:
        values = dict(asked) | other
        return "?" + urlencode({name: str(value) for name, value in values.items() if value})

    return link
