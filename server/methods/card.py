"""HOTP card: a card that is assigned to the person, for good or for the day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import or_, select, update

from tallystick.server.accounts.credentials import Caller
from tallystick.server.accounts.factors import Enrolled
from tallystick.server.accounts.policy import MethodKind, PersonRole
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.loans import holding
from tallystick.server.methods.base import Context, Form, Held, Owner, Started, Thing
from tallystick.server.methods.typed import judge_typed, typed_codes
from tallystick.server.rules.judge import Reason, Verdict
from tallystick.server.stock import cards
from tallystick.server.store.models import Assignment, CardRow
from tallystick.server.wording.worded import worded


class CardMethod:
    """Enrolment is assignment; its key is the serial number."""

    kind = MethodKind.CARD
    thing = Thing.CARD
    amr = ("otp", "hwk")
    title = worded("Card")
    hint = worded("Press the button on your card and type the code that it shows.")
    typed = True
    sends = False
    handed_out = True

    def held(
        self, context: Context, person: Owner, stored: Sequence[Enrolled] | None = None
    ) -> list[Held]:
        """Cards are in a table of their own."""
        rows = context.connection.execute(
            select(CardRow.serial, CardRow.last_used_at, Assignment.assigned_at)
            .add_columns(Assignment.expires_at, Assignment.label, Assignment.confirmed_at)
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
                row.label or worded("Card {serial}", serial=row.serial),
                row.assigned_at,
                row.last_used_at,
                row.expires_at,
                row.confirmed_at is not None,
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
            _himself(context, person),
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
        kinds = context.any_of or frozenset({self.kind})
        cards = None
        if context.recovering:
            held = self.held(context, person)
            cards = frozenset(one.key for one in held if one.confirmed)
        verdict = judge_typed(context, person, typed_codes(form), kinds, cards)
        return verdict or Verdict(Reason.WRONG)

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
            _himself(context, person),
            key,
            now=context.now,
            from_person=person.id,
        )


def _himself(context: Context, person: Owner) -> Caller:
    return cards.staff(person.id, context.firm_id, person.login, PersonRole.USER)
