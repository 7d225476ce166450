"""Authenticator app: TOTP (RFC 6238). A code is accepted once; a time step never comes again."""

from __future__ import annotations

import base64
import hashlib
import io

import pyotp

from tallystick.common import chance
from tallystick.server.accounts import factors
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.checking.tokens import AppToken, app_generator
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.methods.base import Context, Form, Owner, Started, Thing
from tallystick.server.methods.stored import StoredMethod
from tallystick.server.methods.typed import judge_typed, typed_codes
from tallystick.server.rules.judge import Reason, Verdict
from tallystick.server.wording.worded import worded

HASHES = {"SHA1": (hashlib.sha1, 20), "SHA256": (hashlib.sha256, 32)}


class TotpMethod(StoredMethod):
    """facts: {"hash"}. position: the last step accepted."""

    kind = MethodKind.TOTP
    thing = Thing.TELEPHONE
    amr = ("otp",)
    title = default_label = worded("Authenticator app")
    hint = worded("Type the code that your authenticator app shows.")

    def start(self, context: Context, person: Owner, form: Form) -> Started:
        """show: uri (otpauth://), secret (base32, for typing), qr (SVG). Raises ApiError."""
        name = form.get("hash", "SHA1")
        if name not in HASHES:
            raise ApiError(
                422,
                "bad-hash",
                "Authenticator apps are set up with SHA1 or SHA256.",
                kept=NOTHING_CHANGED,
                todo="Choose one of them.",
            )
        secret = chance.token_bytes(HASHES[name][1])
        factor_id = self.create(
            context, person, form, facts={"hash": name}, secret=secret, position=-1
        )
        return Started(str(factor_id), self._show(context, person, secret, name))

    def show_again(self, context: Context, person: Owner, key: str) -> Started:
        """The same QR code, while the factor is not confirmed yet."""
        factor = self.factor(context, person, key)
        if factor.confirmed_at is not None:
            factors.get(context.connection, person.id, 0)
        secret = factor.secret(context.ring)
        return Started(key, self._show(context, person, secret, str(factor.facts["hash"])))

    def _show(self, context: Context, person: Owner, secret: bytes, name: str) -> dict[str, str]:
        # Only enrolment draws, and this imports all of XML.
        import segno  # noqa: PLC0415

        totp = _totp(secret, name)
        uri = totp.provisioning_uri(name=person.login, issuer_name=context.firm)
        picture = io.BytesIO()
        segno.make(uri, micro=False, error="m").save(
            picture, kind="svg", scale=4, border=4, xmldecl=False, svgns=True, omitsize=False
        )
        return {"uri": uri, "secret": _base32(secret), "qr": picture.getvalue().decode()}

    def verify(self, context: Context, person: Owner, key: str, form: Form) -> Verdict:
        """What looks like no code at all is a guess at this app."""
        self.factor(context, person, key)
        kinds = context.any_of or frozenset({self.kind})
        verdict = judge_typed(context, person, typed_codes(form), kinds)
        return verdict or self._own(context, person, key, form)

    def finish(self, context: Context, person: Owner, key: str, form: Form) -> Verdict:
        """By this app's own code: the others are not asked."""
        verdict = self._own(context, person, key, form)
        if verdict.accepted:
            factors.confirm(context.connection, person.id, int(key), context.now)
        return verdict

    def _own(self, context: Context, person: Owner, key: str, form: Form) -> Verdict:
        app = AppToken(self.factor(context, person, key, lock=True))
        code = form.get("code", "").strip().replace(" ", "")
        judged = app.judge(context.ring, (code,), context.policy.codes(), int(context.now))
        used_at = int(context.now) if judged.reason is Reason.OK else None
        app.store(context.connection, judged.state, used_at=used_at)
        return Verdict(judged.reason, judged.retry_after_s)


def _totp(secret: bytes, name: str) -> pyotp.TOTP:
    made = app_generator(name)
    digest = HASHES[name][0]
    return pyotp.TOTP(_base32(secret), digits=made.digits, digest=digest, interval=made.step_s)


def _base32(secret: bytes) -> str:
    return base64.b32encode(secret).decode().rstrip("=")
