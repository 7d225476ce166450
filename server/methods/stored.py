"""What the methods that live in the `factor` table have in common."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tallystick.server.accounts import factors
from tallystick.server.accounts.factors import Enrolled
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.methods.base import Context, Form, Held, Owner, Thing
from tallystick.server.rules.judge import Reason, Verdict
from tallystick.server.rules.throttle import Limits, Throttle
from tallystick.server.wording.catalogue import say

LABEL = re.compile(r"[^\x00-\x1f\x7f]{1,64}")


class StoredMethod(ABC):
    """List, rename, remove, and the bookkeeping of a guess."""

    kind: ClassVar[MethodKind]
    amr: ClassVar[tuple[str, ...]]
    title: ClassVar[str]
    hint: ClassVar[str]
    typed: ClassVar[bool] = True
    sends: ClassVar[bool] = False
    handed_out: ClassVar[bool] = False
    thing: ClassVar[Thing]
    default_label: ClassVar[str]

    def held(
        self, context: Context, person: Owner, stored: Sequence[Enrolled] | None = None
    ) -> list[Held]:
        if stored is None:
            stored = factors.of_person(context.connection, person.id)
        return [
            Held(str(f.id), f.kind, f.label, f.created_at, f.last_used_at)
            for f in stored
            if f.kind is self.kind
        ]

    def create(
        self,
        context: Context,
        person: Owner,
        form: Form,
        *,
        facts: Mapping[str, Any],
        secret: bytes | None,
        position: int = 0,
        external_id: bytes | None = None,
    ) -> int:
        """Store a factor that is not confirmed yet. → its id"""
        return factors.create(
            context.connection,
            context.ring,
            firm_id=context.firm_id,
            person_id=person.id,
            kind=self.kind,
            label=self.label(form),
            facts=facts,
            secret=secret,
            now=context.now,
            position=position,
            external_id=external_id,
        )

    @abstractmethod
    def verify(self, context: Context, person: Owner, key: str, form: Form) -> Verdict:
        """Judge the proof."""

    def finish(self, context: Context, person: Owner, key: str, form: Form) -> Verdict:
        """The first proof confirms it."""
        verdict = self.verify(context, person, key, form)
        if verdict.accepted:
            factors.confirm(context.connection, person.id, int(key), context.now)
        return verdict

    def challenge(self, context: Context, person: Owner, key: str) -> Mapping[str, Any]:
        self.factor(context, person, key)
        return {}

    def rename(self, context: Context, person: Owner, key: str, label: str) -> None:
        factors.rename(context.connection, person.id, self.factor(context, person, key).id, label)

    def remove(self, context: Context, person: Owner, key: str) -> None:
        factors.remove(context.connection, person.id, self.factor(context, person, key).id)

    def factor(self, context: Context, person: Owner, key: str, *, lock: bool = False) -> Enrolled:
        """Raises ApiError (404) also for a factor of another kind or person."""
        number = int(key) if re.fullmatch(r"[0-9]{1,15}", key) else 0
        factor = factors.get(context.connection, person.id, number, lock=lock)
        if factor.kind is not self.kind:
            return factors.get(context.connection, person.id, 0)
        return factor

    def accept(
        self,
        context: Context,
        factor: Enrolled,
        position: int,
        facts: Mapping[str, Any] | None = None,
    ) -> Verdict:
        """Store success: the throttle opens, the position moves on. facts: None keeps them."""
        factors.move(
            context.connection,
            factor,
            position=position,
            throttle=Throttle(),
            used_at=int(context.now),
            facts=facts,
        )
        return Verdict(Reason.OK)

    def refuse(self, context: Context, factor: Enrolled) -> Verdict:
        """Store a failed guess."""
        factors.move(
            context.connection,
            factor,
            position=factor.position,
            throttle=factor.throttle.after_failure(limits(context), int(context.now)),
            used_at=factor.last_used_at,
        )
        return Verdict(Reason.WRONG)

    def label(self, form: Form) -> str:
        """The name that the user gives, or the method's own. Raises ApiError."""
        label = form.get("label", "").strip() or say(self.default_label)
        if not LABEL.fullmatch(label):
            raise ApiError(
                422,
                "bad-label",
                "The name has more than 64 characters, or control characters.",
                kept=NOTHING_CHANGED,
                todo="Choose a shorter name.",
            )
        return label


def limits(context: Context) -> Limits:
    policy = context.policy
    return Limits(policy.max_failures, policy.lockout_s, policy.lockout_max_s)
