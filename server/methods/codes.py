"""Backup codes: ten on a sheet of paper, each good once."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from tallystick.common import chance
from tallystick.server.accounts import factors
from tallystick.server.accounts.factors import Enrolled
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.methods.base import Context, Form, Owner, Started, Thing
from tallystick.server.methods.stored import StoredMethod
from tallystick.server.rules.judge import Reason, Verdict
from tallystick.server.rules.throttle import Throttle
from tallystick.server.wording.worded import worded

COUNT = 10
ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # no look-alikes: it is read from paper
LENGTH = 10  # 49 bits


class CodesMethod(StoredMethod):
    """facts: {"salt", "tags"}: a keyed hash of each code that is left. position: how many are used
    up. A new sheet makes an old one void."""

    kind = MethodKind.CODES
    thing = Thing.PAPER
    amr = ("otp",)
    title = default_label = worded("Backup codes")
    hint = worded("Type one of the codes on your sheet of paper. Each is good once.")

    def start(self, context: Context, person: Owner, form: Form) -> Started:
        """show: codes, this once."""
        codes = ["".join(chance.choice(ALPHABET) for _ in range(LENGTH)) for _ in range(COUNT)]
        salt = chance.token_hex(16)
        facts = {"salt": salt, "tags": [_tag(context, salt, code) for code in codes]}
        factor_id = self.create(context, person, form, facts=facts, secret=None)
        return Started(str(factor_id), {"codes": [f"{code[:5]}-{code[5:]}" for code in codes]})

    def show_again(self, context: Context, person: Owner, key: str) -> Started:
        """Only their hashes are kept."""
        return Started(key, {"codes": []})

    def finish(self, context: Context, person: Owner, key: str, form: Form) -> Verdict:
        """One of them, which is used up by that, proves that the sheet is there."""
        verdict = super().finish(context, person, key, form)
        if verdict.accepted:
            for other in factors.of_person(context.connection, person.id):
                if other.kind is self.kind and other.id != int(key):
                    factors.remove(context.connection, person.id, other.id)
        return verdict

    def challenge(self, context: Context, person: Owner, key: str) -> Mapping[str, Any]:
        factor = self.factor(context, person, key)
        return {"left": len(factor.facts["tags"])}

    def verify(self, context: Context, person: Owner, key: str, form: Form) -> Verdict:
        factor = self.factor(context, person, key, lock=True)
        if wait_s := factor.throttle.wait_s(int(context.now)):
            return Verdict(Reason.THROTTLED, wait_s)
        left = self._left(context, factor, form.get("code", ""))
        if left is None:
            return self.refuse(context, factor)
        factors.move(
            context.connection,
            factor,
            position=factor.position + 1,
            throttle=Throttle(),
            used_at=int(context.now),
            facts=dict(factor.facts) | {"tags": left},
        )
        return Verdict(Reason.OK)

    def _left(self, context: Context, factor: Enrolled, code: str) -> list[str] | None:
        """What is left of the sheet without this code; None: it is not on it."""
        clean = "".join(code.upper().replace("-", "").split())
        tag = _tag(context, str(factor.facts["salt"]), clean)
        tags = [str(one) for one in factor.facts["tags"]]
        left = [one for one in tags if not hmac.compare_digest(one, tag)]
        return left if len(left) < len(tags) else None


def _tag(context: Context, salt: str, code: str) -> str:
    return context.ring.tag("backup-code", f"{context.firm_id}|{salt}|{code}".encode()).hex()
