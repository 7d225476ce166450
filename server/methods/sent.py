"""Codes that are sent: SMS and e-mail. Short-lived, used once, good only for the attempt that
asked for them, and limited in number per person, address and source."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from sqlalchemy import delete, insert, select, update

from tallystick.common import chance
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.messages import outbox
from tallystick.server.messages.gateways import Letter
from tallystick.server.messages.letters import languages_for
from tallystick.server.methods.base import Context, Form, Owner, Started, Thing
from tallystick.server.methods.stored import StoredMethod
from tallystick.server.rules.addresses import counted_by
from tallystick.server.rules.judge import Reason, Verdict
from tallystick.server.store import rates
from tallystick.server.store.models_login import SentCode
from tallystick.server.wording.catalogue import say
from tallystick.server.wording.languages import speaking, spoken
from tallystick.server.wording.worded import Worded, counted, worded

HOUR_S = 3600
PHONE = re.compile(r"\+[1-9][0-9]{6,14}")  # E.164
EMAIL = re.compile(r"[^\s@\x00-\x1f]{1,64}@[A-Za-z0-9.-]{1,190}\.[A-Za-z]{2,}")


class SentMethod(StoredMethod):
    """secret: the address. facts: {"shown"}, the address with its middle hidden."""

    channel: ClassVar[str]
    sends = True

    def address(self, person: Owner, form: Form) -> str:
        """The address to enrol. Raises ApiError (422)."""
        raise NotImplementedError

    def _must_lead_somewhere(self, context: Context) -> None:
        """Whoever recovers an account is not told: that would tell whether there is one."""
        if context.channels is None or self.channel in context.channels or context.recovering:
            return
        raise ApiError(
            503,
            "not-sent",
            "Nothing was sent: messages of this kind do not leave this server.",
            kept=NOTHING_CHANGED,
            todo="Use another method, or ask your help desk.",
        )

    def start(self, context: Context, person: Owner, form: Form) -> Started:
        self._must_lead_somewhere(context)
        address = self.address(person, form)
        factor_id = self.create(
            context, person, form, facts={"shown": hidden(address)}, secret=address.encode()
        )
        return Started(str(factor_id), self.challenge(context, person, str(factor_id)))

    def show_again(self, context: Context, person: Owner, key: str) -> Started:
        return Started(key, {"shown": "", "minutes": 0})

    def challenge(self, context: Context, person: Owner, key: str) -> Mapping[str, Any]:
        """Send a new code; one that was sent before for this attempt is void."""
        self._must_lead_somewhere(context)
        factor = self.factor(context, person, key, lock=True)
        address = factor.secret(context.ring).decode()
        self._limit(context, person, address)
        policy = context.policy
        code = f"{chance.randbelow(10**policy.sent_code_digits):0{policy.sent_code_digits}}"
        _forget(context, factor.id)
        minutes = policy.sent_code_life_s // 60
        firm = policy.display_name or context.firm
        language = spoken(person.language) or speaking() or languages_for("", policy)[0]
        said = counted(
            "{code} is your code for {firm}. It is good for {count} minute. "
            "If you did not ask for it, tell your help desk, and give it to nobody.",
            "{code} is your code for {firm}. It is good for {count} minutes. "
            "If you did not ask for it, tell your help desk, and give it to nobody.",
            minutes,
            code=code,
            firm=firm,
        )
        letter = Letter(
            to=address,
            subject=say(worded("Your code for {firm}", firm=firm), language),
            text=say(said, language),
        )
        message = outbox.post(
            context.connection,
            context.ring,
            firm_id=context.firm_id,
            channel=self.channel,
            letter=letter,
            now=context.now,
            life_s=policy.sent_code_life_s,
        )
        context.connection.execute(
            insert(SentCode),
            {
                "factor_id": factor.id,
                "attempt": context.attempt,
                "code_tag": _tag(context, factor.id, code),
                "tries": 0,
                "expires_at": int(context.now) + policy.sent_code_life_s,
                "message_id": message,
            },
        )
        return {"shown": factor.facts["shown"], "minutes": minutes}

    def verify(self, context: Context, person: Owner, key: str, form: Form) -> Verdict:
        factor = self.factor(context, person, key, lock=True)
        if wait_s := factor.throttle.wait_s(int(context.now)):
            return Verdict(Reason.THROTTLED, wait_s)
        row = context.connection.execute(
            select(SentCode.code_tag, SentCode.tries, SentCode.expires_at).where(
                *_of(context, factor.id)
            )
        ).one_or_none()
        if row is None or row.expires_at <= int(context.now):
            return Verdict(Reason.EXPIRED)
        code = form.get("code", "").strip().replace(" ", "")
        if hmac.compare_digest(row.code_tag, _tag(context, factor.id, code)):
            _forget(context, factor.id)
            return self.accept(context, factor, factor.position)
        if row.tries + 1 >= context.policy.sent_code_tries:
            _forget(context, factor.id)
        else:
            context.connection.execute(
                update(SentCode).where(*_of(context, factor.id)).values(tries=row.tries + 1)
            )
        return self.refuse(context, factor)

    def has_sent(self, context: Context, key: str) -> bool:
        """Whether a code of this factor is on its way for this attempt, or there, and good yet."""
        return bool(
            context.connection.scalar(
                select(SentCode.factor_id).where(
                    *_of(context, int(key)), SentCode.expires_at > int(context.now)
                )
            )
        )

    def delivery(self, context: Context, key: str) -> outbox.Delivery | None:
        """What became of the message with the code of this attempt; None: there is none."""
        message = context.connection.scalar(
            select(SentCode.message_id).where(
                *_of(context, int(key)), SentCode.expires_at > int(context.now)
            )
        )
        if message is None:
            return None
        return outbox.delivery_of(context.connection, message, context.now)

    def _limit(self, context: Context, person: Owner, address: str) -> None:
        policy = context.policy
        hashed = context.ring.tag("address", address.encode()).hex()
        place = f"{context.firm_id}|{counted_by(context.source)}"
        for bucket, limit in (
            (f"send-person|{person.id}", policy.sends_per_person_per_hour),
            (f"send-address|{hashed}", policy.sends_per_address_per_hour),
            (f"send-source|{place}", policy.sends_per_source_per_hour),
        ):
            rates.take(
                context.connection,
                bucket,
                limit=limit,
                window_s=HOUR_S,
                now=context.now,
                what=worded("codes were sent in this hour"),
            )


class SmsMethod(SentMethod):
    """A code by SMS, to a number that the user has."""

    kind = MethodKind.SMS
    thing = Thing.TELEPHONE
    amr = ("sms",)
    title = default_label = worded("Text message")
    hint = worded("Get a code by text message.")
    channel = outbox.SMS

    def address(self, person: Owner, form: Form) -> str:
        number = re.sub(r"[\s().-]", "", form.get("address", ""))
        if not PHONE.fullmatch(number):
            raise _bad_address(
                worded("This is not a telephone number with its country code, such as +47 ….")
            )
        return number


class EmailMethod(SentMethod):
    """A code by e-mail, to an address outside the firm."""

    kind = MethodKind.EMAIL
    thing = Thing.MAILBOX
    amr = ("otp",)
    title = default_label = worded("E-mail")
    hint = worded("Get a code by e-mail.")
    channel = outbox.EMAIL

    def address(self, person: Owner, form: Form) -> str:
        address = form.get("address", "").strip()
        if not EMAIL.fullmatch(address):
            raise _bad_address(worded("This is not an e-mail address."))
        return address


def hidden(address: str) -> str:
    """An address that its owner recognises and nobody else learns: a•••@example.com, +47•••89."""
    if "@" in address:
        name, domain = address.split("@", 1)
        return f"{name[0]}•••@{domain}"
    return f"{address[:3]}•••{address[-2:]}"


def _of(context: Context, factor_id: int) -> tuple[Any, Any]:
    return SentCode.factor_id == factor_id, SentCode.attempt == context.attempt


def _forget(context: Context, factor_id: int) -> None:
    context.connection.execute(delete(SentCode).where(*_of(context, factor_id)))


def _tag(context: Context, factor_id: int, code: str) -> bytes:
    text = f"{factor_id}|{context.attempt.hex()}|{code}"
    return context.ring.tag("sent-code", text.encode())


def _bad_address(what: Worded) -> ApiError:
    return ApiError(
        422,
        "bad-address",
        what,
        kept=NOTHING_CHANGED,
        todo="Correct it and send it again.",
    )
