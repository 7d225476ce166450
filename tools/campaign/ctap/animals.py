"""The zoo's readers that somebody's order of commands fools, each by a small patch."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.tools.campaign.engine.animal import Animal, Patch
from tallystick.tools.campaign.reader.animals import BOARD

_APP, _CONSENT, _CONFIG = "reader/app.py", "reader/consent.py", "reader/config.py"
_PIN, _TOKEN, _USER = "reader/pin.py", "reader/token.py", "reader/user.py"
_SEQUENCE, _BIO, _BLOBS = "reader/sequence.py", "reader/bio.py", "reader/blobs.py"
_LOGIN, _CBOR = "reader/login.py", "lib/cbor.py"
_CREDENTIAL, _STORE = "reader/credential.py", "reader/store.py"
_MANAGE, _REGISTER = "reader/manage.py", "reader/register.py"

_COUNTED = "    reader.wrong_pins += 1  # whatever happens from here on, unless it is right\n"
_SIZED = (
    "    if secret.size(encrypted) != _HASH_SIZE:\n        raise Refused(ctap.INVALID_PARAMETER)\n"
)
_FORCED = (
    "        if store.flags & FORCE_PIN_CHANGE:\n"
    "            raise Refused(ctap.PIN_POLICY_VIOLATION)\n"
)
_PERMITTED = (
    "        if not self.permissions & permission:\n"
    "            raise Refused(ctap.PIN_AUTH_INVALID)\n"
)
_PROOF = "            raise Refused(ctap.PUAT_REQUIRED)\n"


@dataclass(frozen=True)
class CtapAnimal(Animal):
    """`scenarios`: letters through which it is looked for first."""


def _animal(name: str, sentence: str, letters: str, *patches: Patch) -> CtapAnimal:
    return CtapAnimal(f"ctap-{name}", sentence, patches, tuple(letters.split(", ")), BOARD)


ANIMALS = (
    _animal(
        "stolen-touch", "Another channel uses the touch that a token was taken with.",
        "A finger-token, B assert-nobody",
        Patch(_CONSENT, "    if by_finger or by_token and reader", "    if by_finger or reader"),
    ),
    _animal(
        "uncounted-try", "A message that is no PIN takes a try, and nobody counts it.",
        "A short-pin",
        Patch(_PIN, _SIZED, ""),
        Patch(_PIN, _COUNTED, "    secret.decrypt(encrypted)\n" + _COUNTED),
    ),
    _animal(
        "never-blocks", "Wrong PINs in a row are not counted.", "A wrong-pin",
        Patch(_PIN, _COUNTED, ""),
    ),
    _animal(
        "restart-forgets", "A restart of the firmware forgets wrong PINs.",
        "A wrong-pin, restart",
        Patch(_APP, "self.wrong_pins = 0 if cold else self._wrong_before()", "self.wrong_pins = 0"),
    ),
    _animal(
        "any-channel", "What one channel began another goes on with.", "A assert, B next",
        Patch(_SEQUENCE, "            and self.channel == channel\n", ""),
    ),
    _animal(
        "everlasting", "What was begun can be gone on with for ever.", "A assert, wait, A next",
        Patch(_SEQUENCE, "return ticks_diff(ticks_ms(), self._since) >= _LASTS_MS", "return False"),
    ),
    _animal(
        "survives-others", "What was begun outlives other commands, also a deletion.",
        "A pin-token, A credentials, A delete, A next-credential",
        Patch(_APP, "        self._before, self._sequence = self._sequence, None\n",
              "        self._before = self._sequence\n"),
    ),
    _animal(
        "finger-configures", "A finger gives a token for the configuration.", "A finger-config",
        Patch(_PIN, "    if command == _UV_TOKEN and permissions & ctap.ACFG:\n",
              "    if False:\n"),
    ),
    _animal(
        "forced-change-keeps-tokens", "When the PIN must be changed, an old token still works.",
        "A pin-token, A force, A credentials",
        Patch(_CONFIG, "        reader.token.reset()\n", "        pass\n"),
    ),
    _animal(
        "forced-change-not-for-fingers", "When the PIN must be changed, a finger still opens all.",
        "A pin-token, A force, A finger-token",
        Patch(_PIN, _FORCED + "        if not", "        if not"),
    ),
    _animal(
        "reset-keeps-token", "A token outlives a reset.", "A pin-token, A reset, A enrol",
        Patch(_APP, "        self.token.reset()  # before:", "        pass  # before:"),
    ),
    _animal(
        "reset-any-time", "A reset is possible at any time.", "wait, A reset-nobody",
        Patch(_APP, "            self._window = False\n", "            pass\n"),
    ),
    _animal(
        "reset-untouched", "A reset takes no touch.", "A reset-nobody",
        Patch(_APP, "        self.user.touch()\n        self.token.reset()",
              "        self.token.reset()"),
    ),
    _animal(
        "token-for-many", "A token is good for many log-ins.", "A pin-token, A assert-token",
        Patch(_TOKEN, "        self.permissions &= ctap.LBW\n", ""),
    ),
    _animal(
        "presence-for-ever", "The touch that a token was taken with counts as long as it lives.",
        "A finger-token, A credentials, wait, A assert-token-nobody",
        Patch(_TOKEN, "return self._present and self._age() < ctap.TOUCH_MS",
              "return self._present"),
    ),
    _animal(
        "any-party", "A token for one relying party is good for another.",
        "A pin-token, A assert-elsewhere",
        Patch(_TOKEN, "        elif self.rp_id != rp_id:\n", "        elif False:\n"),
    ),
    _animal(
        "any-permission", "A token is good for everything.", "A pin-token-any, A assert-token",
        Patch(_TOKEN, _PERMITTED, ""),
    ),
    _animal(
        "old-token-lives", "A new token is the old one.",
        "A pin-token, B pin-token-any, A credentials",
        Patch(_TOKEN, "        self.reset()\n        self._version = version\n",
              "        self._version = version\n"),
    ),
    _animal(
        "free-fingers", "A wrong finger takes no try.", "A finger-token-stranger",
        Patch(_USER, "                store.commit(pin_retries=pins)\n",
              "                store.commit(pin_retries=pins, uv_retries=store.uv_retries + 1)\n"),
    ),
    _animal(
        "enrolment-of-any-channel", "Another channel adds samples to an enrolment.",
        "A pin-token, A enrol, B pin-token, B sample",
        Patch(_BIO, " or enrolment.channel != reader.channel:", ":"),
    ),
    _animal(
        "enrolment-spoiled", "An enrolment goes on after the sensor was used for something else.",
        "A pin-token, A enrol, B select, A sample",
        Patch(_USER, "        self._reader.enrolment = None\n        self._begin(firmware)\n",
              "        self._begin(firmware)\n"),
    ),
    _animal(
        "protection-ignored", "Credentials for verified users only are found without verification.",
        "A assert",
        Patch(_LOGIN, "store, rp_hash, 3 if by_user else 1)", "store, rp_hash, 3)"),
    ),
    _animal(
        "names-told", "Names of users are told without verification.", "A assert",
        Patch(_LOGIN, "one.user(several and bool(flags & ctap.UV))", "one.user(several)"),
    ),
    _animal(
        "cable-unseen", "A sensor whose cable was pulled is still offered.", "cable, A info",
        Patch(_USER, "                self._sensor.parameters()\n", "                pass\n"),
    ),
    _animal(
        "finger-before", "A finger that lay there before the command is a touch.",
        "finger, A select-nobody",
        Patch(_USER, "        self._held = self._board.touched()\n",
              "        self._held = False\n"),
    ),
    _animal(
        "always-uv-ignored", "alwaysUv is stored and ignored.", "A pin-token, A always, B assert",
        Patch(_CONSENT, "    if not (uv or always):\n", "    if not uv:\n"),
    ),
    _animal(
        "true-is-one", "A key that is true is found under 1.", "A key by true",
        Patch(_CBOR, "        if isinstance(key, bool) or not isinstance(key, (int, str)):\n",
              "        if False:\n"),
    ),
    _animal(
        "any-offset", "A fragment of large blobs is taken wherever it belongs.",
        "A pin-token, A fragment, A fragment-elsewhere",
        Patch(_BLOBS, "    if array is None or offset != len(array.content):\n",
              "    if array is None:\n"),
    ),
    _animal(
        "looks-and-deletes", "The persistent token, which only looks, deletes.",
        "A look-token, A look-delete",
        Patch(_MANAGE, "command in _LOOKS and protocol.verifies(", "protocol.verifies("),
    ),
    _animal(
        "looks-for-ever", "The persistent token outlives the PIN that it was given for.",
        "A look-token, A change-pin, A look-credentials",
        Patch(_PIN, "        pins=store.pins + 1,\n", ""),
    ),
    _animal(
        "looks-after-force", "The persistent token works while the PIN must be changed.",
        "A look-token, A pin-token, A force, A look-credentials",
        Patch(_CONFIG, "store.pins + 1 if forced else store.pins", "store.pins"),
    ),
    _animal(
        "looks-and-more", "The persistent permission comes with others.", "A look-token-more",
        Patch(_PIN, "        if permissions != ctap.PCMR:\n", "        if False:\n"),
    ),
    _animal(
        "length-told-to-all", "Every relying party is told the least length of a PIN.",
        "A pin-token, A make-extended",
        Patch(_REGISTER, "if self._min_pin and rp_hash in store.parties():", "if self._min_pin:"),
    ),
    _animal(
        "blob-cut", "A credBlob that is too long is said to be kept.",
        "A pin-token, A make-blob-long",
        Patch(_REGISTER, " and len(blob) <= ctap.MAX_CRED_BLOB", ""),
    ),
    _animal(
        "one-secret", "hmac-secret is the same for users who are not verified.",
        "A pin-token, A make-extended, A pin-token, A assert-extended",
        Patch(_REGISTER, "answer(reader, made, by_user)\n", "answer(reader, made, False)\n"),
    ),
    _animal(
        "fingers-uncounted", "Fingers since the last PIN are not counted.",
        "A finger-token, A info",
        Patch(_USER, "min(store.verified + 1, 65535)", "store.verified"),
    ),
    _animal(
        "cannot-be-cancelled", "A host that gives up is not heard.", "A select-nobody",
        Patch(_APP, "        if self._channels.cancelled:\n", "        if False:\n"),
    ),
    _animal(
        "begins-anew-and-goes-on", "INIT on a channel leaves what the channel had begun.",
        "A assert, A begin-anew, A next",
        Patch(_APP, "        self._channels.on_anew = self._forget\n", ""),
    ),
    _animal(
        "repeats", "A stray packet has the last command carried out again.", "A info, stray",
        Patch("lib/ctaphid.py", "        if not self._current or channel", "        if channel"),
    ),
    _animal(
        "finger-beside-proof", "The uv option beside a proof counts as a touch.",
        "A pin-token, A assert-beside",
        Patch(_CONSENT, _PROOF + "        return False\n    if not (uv or always):\n",
              _PROOF + "    if not (uv or always and signature is None):\n"),
    ),
    _animal(
        "proof-before-protection", "With alwaysUv and nothing to verify by, a proof is looked at.",
        "A reset, A always, A assert-token",
        Patch(_CONSENT, "        if always and not (store", "        if False and not (store"),
    ),
    _animal(
        "deleted-lives", "A deleted credential signs for who names it.",
        "A pin-token, A delete, A assert-deleted",
        Patch(_CREDENTIAL, "            return candidate\n    return None\n",
              "            return candidate\n    return found\n"),
    ),
    _animal(
        "list-ignored", "A credential that is to be named is not found by its name.",
        "A pin-token, A make-protected, A assert-listed-2",
        Patch(_LOGIN, "(by_user or one.protect < 3)", "(by_user or one.protect < 2)"),
    ),
    _animal(
        "exclusion-ignored", "A credential that is to be named excludes nothing.",
        "A pin-token, A make-protected, A make-excluded-late",
        Patch(_REGISTER, "known.protect < 3", "known.protect < 2"),
    ),
    _animal(
        "silence-spends", "A log-in without a touch uses the token up.",
        "A pin-token, A assert-token-silent",
        Patch(_LOGIN, "        reader.token.spend()\n", "    reader.token.spend()\n"),
    ),
    _animal(
        "exclusion-spends", "An excluded credential uses the token up.",
        "A finger-token, A make-excluded",
        Patch(_REGISTER, "signature is not None, late)\n",
              "signature is not None, late)\n            reader.token.spend()\n"),
    ),
    _animal(
        "looks-after-reset", "The persistent token is the same again after a reset.",
        "A look-token, A reset, A set-pin",
        Patch(_STORE, 'return self.derive(b"persistent token", self.pins',
              'return hmac.digest(sha256, self._root, b"token" + self.pins'),
    ),
    _animal(
        "payment-forgotten", "A list does not say that a credential is for payments.",
        "A pin-token, A make-extended, A pin-token, A credentials",
        Patch(_MANAGE, "bool(one.flags & credential.PAYMENT)", "False"),
    ),
    _animal(
        "reset-keeps-always", "alwaysUv outlives a reset.", "A pin-token, A always, A reset",
        Patch(_STORE, "        self.flags = SCRUB | paired\n",
              "        self.flags = SCRUB | paired | always\n"),
        Patch(_STORE, "        newest = self.newest_page\n",
              "        newest, always = self.newest_page, self.flags & ALWAYS_UV\n"),
    ),
    _animal(
        "reset-keeps-length", "The least length of a PIN outlives a reset.",
        "A pin-token, A longer, A reset",
        Patch(_STORE, "        newest = self.newest_page\n        self._fresh()\n",
              "        newest, least = self.newest_page, self.min_pin\n"
              "        self._fresh()\n        self.min_pin = least\n"),
    ),
    _animal(
        "next-is-present", "The next assertion says that somebody was there, who was not asked.",
        "A assert-silent, A next",
        Patch(_LOGIN, "Pending(slots, data_hash, flags,", "Pending(slots, data_hash, flags | 1,"),
    ),
    _animal(
        "always-and-silent", "With alwaysUv a log-in without a touch verifies the user.",
        "A pin-token, A always, A assert-silent",
        Patch(_LOGIN, "    if up or uv:\n", "    if True:\n"),
    ),
    _animal(
        "forced-change-first", "When the PIN must be changed, a wrong one takes no try.",
        "A pin-token, A force, A wrong-pin",
        Patch(_PIN, "        _compare(reader, secret, hash_encrypted)\n        if store",
              "        if not store.flags & FORCE_PIN_CHANGE:\n"
              "            _compare(reader, secret, hash_encrypted)\n        if store"),
    ),
)  # fmt: skip
