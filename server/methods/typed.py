"""Codes that are typed: whichever of a person's cards or apps made one, it is judged once."""

from __future__ import annotations

from tallystick.server.accounts.people import canonical
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.checking import verification
from tallystick.server.checking.tokens import CodeQuestion
from tallystick.server.errors import ApiError
from tallystick.server.methods.base import Context, Form, Owner
from tallystick.server.rules.judge import Verdict

OATH = frozenset({MethodKind.CARD, MethodKind.TOTP})


def judge_typed(
    context: Context,
    person: Owner,
    codes: tuple[str, ...],
    kinds: frozenset[MethodKind],
    cards: frozenset[str] | None = None,
) -> Verdict | None:
    """Judge one code, or two successive ones of a card, against the person's tokens of these kinds;
    cards: none but these serial numbers. A wrong code counts once at each of them, a right one at
    none. `Verdict.kind` tells which it was. → None: no code of any of them looks like that, and
    nothing was counted."""
    if not codes or not all(c.isascii() and c.isdigit() for c in codes):
        return None
    if len({len(code) for code in codes}) != 1:
        return None
    question = CodeQuestion(
        context.firm_id,
        canonical(person.login),
        None,
        codes,
        context.policy.codes(),
        kinds & OATH,
        cards,
    )
    answer = verification.ask(context.connection, context.ring, question, context.now)
    if isinstance(answer, ApiError):
        return None
    kind = answer.method.value if answer.method else ""
    return Verdict(answer.reason, answer.retry_after_s, kind, answer.serial or "")


def typed_codes(form: Form) -> tuple[str, ...]:
    """The codes in a form: one, or two successive ones."""
    found = (form.get(name, "").replace(" ", "").strip() for name in ("code", "second_code"))
    return tuple(code for code in found if code)
