"""HOTP card: a card that is assigned to the person, for good or for the day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import or_, select, update

from tallystick.server.accounts.policy import MethodKind
from tallystick.server.checking import verification
from tallystick.server.checking.tokens import CodeQuestion
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.loans import holding
from tallystick.server.methods.base import Context, Form, Held, Owner, Started
from tallystick.server.rules.judge import Reason, Verdict
from tallystick.server.stock import cards
from tallystick.server.store.models import Assignment, CardRow


class CardMethod:
    """Enrolment is assignment; its key is the serial number."""

    kind = MethodKind.CARD
    amr = ("otp", "hwk")
    title = "Card"
    hint = "Press the button on your card and type the code that it shows."
    typed = True
    sends = False
    handed_out = True

    def held(self, context: Context, person: Owner) -> list[Held]:
        rows = context.connection.execute(
            select(CardRow.serial, CardRow.last_used_at, Assignment.assigned_at)
            .add_columns(Assignment.expires_at, Assignment.label)
            .join(Assignment, Assignment.card_id == CardRow.id)
            .where(
                Assignment.person_id == person.id,
                CardRow.status == cards.REGISTERED,
                or_(CardRow.valid_until.is_(None), CardRow.valid_until > int(context.now)),
                cards.live(context.now),
            )
            .order_by(CardRow.serial)
        )
        return [
            Held(
                row.serial,
                self.kind,
                row.label or f"Card {row.serial}",
                row.assigned_at,
                row.last_used_at,
                row.expires_at,
            )
            for row in rows
        ]

    def start(self, context: Context, person: Owner, form: Form) -> Started:
        """The user types the serial number of a card in his hand."""
        serial = form.get("serial", "").strip()
        return Started(serial, {"serial": serial})

    def show_again(self, context: Context, person: Owner, key: str) -> Started:
        return Started(key, {"serial": key})

    def finish(self, context: Context, person: Owner, key: str, form: Form) -> Verdict:
        """Two successive codes prove that the card is in the user's hand. An unknown card, and one
        that another user has, are refused with the same words as a wrong code."""
        codes = (form.get("code", "").strip(), form.get("second_code", "").strip())
        return holding.claim(
            context.connection,
            context.ring,
            cards.staff(person.id, context.firm_id, person.login),
            key,
            person_id=person.id,
            codes=codes,
            policy=context.policy,
            now=context.now,
        )

    def challenge(self, context: Context, person: Owner, key: str) -> Mapping[str, Any]:
        return {"serial": key}

    def verify(self, context: Context, person: Owner, key: str, form: Form) -> Verdict:
        """One code, or two successive ones to resynchronise."""
        codes = tuple(
            form[name].strip().replace(" ", "")
            for name in ("code", "second_code")
            if form.get(name, "").strip()
        )
        if not codes or not all(c.isascii() and c.isdigit() for c in codes):
            return Verdict(Reason.WRONG)
        if len({len(code) for code in codes}) != 1:
            return Verdict(Reason.WRONG)
        question = CodeQuestion(
            context.firm_id,
            person.login,
            None,
            codes,
            context.policy.codes(),
            frozenset({self.kind}),
        )
        answer = verification.ask(context.connection, context.ring, question, context.now)
        if isinstance(answer, ApiError):
            return Verdict(Reason.WRONG)
        return Verdict(answer.reason, answer.retry_after_s)

    def rename(self, context: Context, person: Owner, key: str, label: str) -> None:
        """The name goes with the assignment: the next holder sees the serial number again.
        Raises ApiError."""
        mine = select(CardRow.id).where(CardRow.firm_id == context.firm_id, CardRow.serial == key)
        changed = context.connection.execute(
            update(Assignment)
            .where(Assignment.person_id == person.id, Assignment.card_id.in_(mine))
            .values(label=label)
        )
        if changed.rowcount != 1:
            raise ApiError(
                404,
                "no-such-method",
                "This card is not yours.",
                kept=NOTHING_CHANGED,
                todo="Choose one of the methods listed.",
            )

    def remove(self, context: Context, person: Owner, key: str) -> None:
        """Give the card back."""
        holding.take_back(
            context.connection,
            context.ring,
            cards.staff(person.id, context.firm_id, person.login),
            key,
            now=context.now,
            from_person=person.id,
        )
