"""The reader's part of the zoo: its firmware broken on purpose, each time by a small patch."""

from __future__ import annotations

from tallystick.emulator import boards
from tallystick.tools.campaign.engine.animal import Animal, Patch

BOARD = boards.DEFAULT_READER
_RECORDS, _STORE = "lib/records.py", "reader/store.py"
_PIN, _BIO, _CONSENT = "reader/pin.py", "reader/bio.py", "reader/consent.py"
_REGISTER, _USER = "reader/register.py", "reader/user.py"

_PAID = "    store.pay(store.verified)\n"
_WRONG = "        reader.agreement.renew()\n        if not store.pin_retries:\n"
_LOADED = "        self._decode(self._open(_STATE, self._records.get(_STATE)))\n"
_STORED = "            status = user.merge(enrolment.finger)\n"
_REMOVED = "        reader.store.delete_finger(finger)\n        reader.user.forget_finger(finger)\n"
_KEPT = "    store.put_credential(slot, made.rp_hash, made.encode())\n"
_REPLIED = "        self._channels.reply(answer)\n"
_SETTLED = "            store.settle()\n        if not ours"
_CLEANED = "            sensor.delete(page)\n"
_MERGED = "            if answer != r503.GOOD:\n                raise Refused(ctap.OTHER)\n"
_OPENED = "            self._open_sector()  # nothing old"


def _animal(name: str, sentence: str, scenario: str, *patches: Patch) -> Animal:
    return Animal(f"reader-{name}", sentence, patches, (f"reader-{scenario}",), BOARD)


ANIMALS = (
    _animal(
        "compares-first", "A try is taken after the PIN was found wrong.", "right-pin",
        Patch(_PIN, _PAID, ""),
        Patch(_PIN, _WRONG, "    " + _PAID + _WRONG),
    ),
    _animal(
        "finger-compares-first", "A try is taken after the finger was found wrong.", "right-finger",
        Patch(_USER, "        store.pay(min(", "        int(min("),
        Patch(_USER, "                store.burn()\n",
              "                store.pay(0)\n                store.burn()\n"),
    ),
    _animal(
        "tries-restored", "A start gives all tries back.", "wrong-pin",
        Patch(_STORE, _LOADED, _LOADED + "        self.pin_retries = ctap.PIN_RETRIES\n"),
    ),
    _animal(
        "record-before-template", "A finger counts before the sensor has it.", "enrol",
        Patch(_BIO, _STORED, '            reader.store.put_finger(enrolment.finger, "")\n'
              + _STORED),
        Patch("reader/user.py", "        for page in range(min(256, self._capacity)):\n",
              "        for page in range(0):\n"),
    ),
    _animal(
        "template-before-record", "A finger's template goes before its record.", "remove-finger",
        Patch(_BIO, _REMOVED, "        reader.user.forget_finger(finger)\n"
              "        reader.store.delete_finger(finger)\n"),
    ),
    _animal(
        "unsettled-removal", "A template goes before the record that asked for it is solid.",
        "wavering-finger",
        Patch(_USER, _SETTLED, "            pass\n        if not ours"),
    ),
    _animal(
        "settled-too-late", "A record is made solid after the sensor was changed because of it.",
        "wavering-finger",
        Patch(_USER, _SETTLED, "            pass\n        if not ours"),
        Patch(_USER, _CLEANED, _CLEANED + "        if stale:\n            store.settle()\n"),
    ),
    _animal(
        "sensor-forgets-first", "A reset empties the sensor, and its records then.", "reset",
        Patch("reader/app.py", "        if self.store is None:\n            self.store = Store(",
              "        if self.store is not None:\n"
              "            for finger in self.store.fingers():\n"
              "                self.user.forget_finger(finger)\n"
              "        if self.store is None:\n            self.store = Store("),
    ),
    _animal(
        "unconfirmed-template", "A finger counts although the sensor did not take it.",
        "enrol-full",
        Patch(_USER, "            if answer in (r503.NO_SUCH_PAGE, r503.LIBRARY_FULL):\n",
              "            if False:\n"),
        Patch(_USER, _MERGED, ""),
    ),
    _animal(
        "counter-in-memory", "Every eighth signature counter is saved.", "log-in",
        Patch(_CONSENT, "    reader.store.commit(signatures=count)\n",
              "    reader.store.signatures = count\n    if count & 7 == 0:\n"
              "        reader.store.commit(signatures=count)\n"),
    ),
    _animal(
        "delete-then-put", "A credential that is replaced is deleted first.", "register-again",
        Patch(_REGISTER, _KEPT, "    store.delete(slot)\n" + _KEPT),
    ),
    _animal(
        "credential-in-two-writes", "A user is saved, then its credential.", "register",
        Patch(_REGISTER, _KEPT, "    user, made.user_id = made.user_id, b'?'\n" + _KEPT
              + "    made.user_id = user\n" + _KEPT),
    ),
    _animal(
        "made-lost", "A credential is answered for, and stored then.", "register",
        Patch(_REGISTER, _KEPT, "    store.late = (slot, made.rp_hash, made.encode())\n"),
        Patch("reader/app.py", _REPLIED, _REPLIED
              + "        late = getattr(self.store, 'late', None)\n        if late:\n"
              "            self.store.late = None\n"
              "            self.store.put_credential(*late)\n"),
    ),
    _animal(
        "erase-then-new", "A reset erases, and writes the new state then.", "reset",
        Patch(_RECORDS, _OPENED, "            self._ring = []\n            self.scrub()\n"
              + _OPENED),
    ),
    _animal(
        "scrub-forgotten", "A reset that was cut does not go on.", "reset-goes-on",
        Patch(_STORE, "            if self.flags & SCRUB:\n", "            if False:\n"),
    ),
    _animal(
        "no-floor", "A reset leaves the floor where it was.", "reset",
        Patch(_RECORDS, "        self._floor = self._sequence + 1\n", "        pass\n"),
    ),
    _animal(
        "nothing-moves", "A sector is given back with what lives in it.", "delete-at-wrap",
        Patch(_RECORDS, "            if not self._move_one():\n", "            if True:\n"),
    ),
    _animal(
        "no-crc", "A record counts whatever its checks say.", "blobs",
        Patch(_RECORDS, "            if _mended(record, end):\n",
              "            if size != 0xFFFF:\n"),
    ),
    _animal(
        "no-settling", "What was read at a start is trusted.", "right-pin",
        Patch(_RECORDS, "        if self._settled:\n            return\n        sector",
              "        if True:\n            return\n        sector"),
    ),
    _animal(
        "one-sector", "A sector at its end is tried twice, and no other one.", "worn-sector",
        Patch(_RECORDS, "_ATTEMPTS = const(8)\n", "_ATTEMPTS = const(2)\n"),
        Patch(_RECORDS, "            if failed & 1 == 0:\n", "            if False:\n"),
    ),
)  # fmt: skip
