"""The card's part of the zoo: its firmware broken on purpose, each time by a small patch."""

from __future__ import annotations

from tallystick.emulator import boards
from tallystick.tools.campaign.engine.animal import Animal, Patch

_JOURNAL, _STORE = "lib/journal.py", "card/store.py"
_UNDOCKED, _ISSUER, _OATH, _APP = (
    "card/undocked.py",
    "card/issuer.py",
    "card/oath.py",
    "card/app.py",
)


_TAKE = "        factor = self._take(**changes)\n        return hotp.code"
_SORTED = "        found.sort()\n        return [sector for _, sector in reversed(found)]"
_VALID_END = "        return not wrong or not (off or wrong & (wrong - 1))"
_COLD = "            self.cold_starts += 1\n            self._write()\n            self._write()\n"
_CODE = "            code = store.take_code(cell_state=state)\n"
_KEEP = "            _keep_code(display, button, code, state)\n"
_SHOW = "            screens.code(display, code, state, 100)\n"
_PUT = (
    "    store.commit(\n        name=name,\n        seed=bytes(key[2:]),\n"
    '        digits=key[1],\n        moving_factor=int.from_bytes(moving_factor, "big"),\n    )\n'
)
_KEYS = "    store.commit(keys=bytes(keys), kvn=data[0], life_cycle=life_cycle)\n"
_DAMAGED = "            if self._last_written(sector) >= 0:\n                raise DamagedError\n"
_ERASED = "            if sector != home and self._erased(sector):\n"
_UNCOMMITTED = (
    "            from lib import hotp\n\n"
    "            code = hotp.code(store.seed, store.moving_factor, store.digits)\n"
)
_FACTOR = (
    "            self.moving_factor, self.presses, self.cold_starts, self._dead, self.digits,\n"
)
_EMPTY_START = "    if cell.measure(board, before)[1] == cell.CRITICAL and not board.docked():\n"
_EMPTY_PRESS = "    if state == cell.CRITICAL:\n"
_JUMPS = "            self.moving_factor += min(self._journal.skipped, _JUMP)\n"
_WIPE = '        store.commit(life_cycle=state, keys=bytes(48), name=b"", seed=b"")\n'

ANIMALS = (
    Animal(
        "show-before-commit", "The code is on the glass before the moving factor is in flash.",
        (Patch(_UNDOCKED, _CODE,
               _UNCOMMITTED + _SHOW + "            store.take_code(cell_state=state)\n"),),
    ),
    Animal(
        "save-after-250-ms", "The moving factor is saved a quarter of a second later.",
        (Patch(_UNDOCKED, _CODE, _UNCOMMITTED),
         Patch(_UNDOCKED, _KEEP, _SHOW + "            board.wait(250)\n"
               "            store.take_code(cell_state=state)\n" + _KEEP)),
    ),
    Animal(
        "save-when-dark", "The moving factor is saved when the display goes dark.",
        (Patch(_UNDOCKED, _CODE, _UNCOMMITTED),
         Patch(_UNDOCKED, _KEEP, _KEEP + "            store.take_code(cell_state=state)\n")),
    ),
    Animal(
        "every-second-code", "Only every second code is saved, to spare the flash.",
        (Patch(_STORE, _TAKE,
               "        factor = self.moving_factor\n        if factor & 1:\n"
               "            self.moving_factor += 1\n        else:\n"
               "            self._take(**changes)\n        return hotp.code"),),
    ),
    Animal(
        "delete-then-write", "The old record is struck out, then the new one is written.",
        (Patch(_JOURNAL, "            if self._written(address):\n",
               "            self._flash.program(max(0, address - SLOT), bytes(len(record)))\n"
               "            if self._written(address):\n"),
         Patch(_JOURNAL, _DAMAGED, "            pass\n")),
    ),
    Animal(
        "truncate-in-place", "The sector is erased and the state written where it was.",
        (Patch(_JOURNAL, _ERASED, "            sector = home if home >= 0 else 0\n"
               "            if self._erased(sector):\n"),
         Patch(_JOURNAL, "        if 0 <= self._sector and self._next < self._slots:\n",
               "        if False:\n")),
    ),
    Animal(
        "ring-of-one", "A full sector is erased, and becomes its own successor.",
        (Patch(_JOURNAL, _ERASED,
               "            sector = home if home >= 0 else sector\n"
               "            if self._erased(sector):\n"),),
        ("press-at-wrap",),
    ),
    Animal(
        "erase-both", "At the wrap both the old and the new sector are erased first.",
        (Patch(_JOURNAL, _ERASED,
               "            if home >= 0:\n                self._erased(home)\n"
               "            if sector != home and self._erased(sector):\n"),),
        ("press-at-wrap",),
    ),
    Animal(
        "no-crc", "A record counts when its head is right.",
        (Patch(_JOURNAL, _VALID_END,
               "        sequence = int.from_bytes(self._seen[:4], \"little\")\n"
               "        return sequence ^ int.from_bytes(self._seen[4:8], \"little\") "
               "== 0xFFFFFFFF"),
         Patch(_JOURNAL, "            if bit < 0:\n                return False\n",
               "            if bit < 0:\n                bit = end * 8\n")),
    ),
    Animal(
        "magic-before-contents", "The head is programmed first, and says that the record is there.",
        (Patch(_JOURNAL, "            self._flash.program(address, self._record)\n",
               "            unit = self._flash.UNIT\n"
               "            head = self._record[:16] + b\"\\xff\" * (len(self._record) - 16)\n"
               "            self._flash.program(address, head)\n"
               "            if unit > 16:\n"
               "                self._flash.program(address, self._record)\n"
               "            else:\n"
               "                self._flash.program(address + 16, self._record[16:])\n"),
         Patch(_JOURNAL, _VALID_END,
               "        sequence = int.from_bytes(self._seen[:4], \"little\")\n"
               "        return sequence ^ int.from_bytes(self._seen[4:8], \"little\") "
               "== 0xFFFFFFFF"),
         Patch(_JOURNAL, "            if bit < 0:\n                return False\n",
               "            if bit < 0:\n                bit = end * 8\n")),
    ),
    Animal(
        "highest-sector-wins", "The last sector with records in it has the newest.",
        (Patch(_JOURNAL, _SORTED, "        return [sector for _, sector in reversed(found)]"),),
        ("press-at-lap",),
    ),
    Animal(
        "narrow-counter", "Sequence numbers are compared by their lowest byte.",
        (Patch(_JOURNAL, "                found.append((sequence, sector))",
               "                found.append((sequence & 0xFF, sector))"),),
        ("press-at-lap",),
    ),
    Animal(
        "sequence-starts-again", "Each sector counts its records from 1.",
        (Patch(_JOURNAL, "                self._sector = sector\n                self._next = 1\n",
               "                self._sector = sector\n                self._next = 1\n"
               "                self._sequence = 0\n"),),
        ("press-at-lap",),
    ),
    Animal(
        "first-record-wins", "The first valid record of the newest sector is the state.",
        (Patch(_JOURNAL, "        for slot in range(last, -1, -1):\n",
               "        for slot in range(last + 1):\n"),),
    ),
    Animal(
        "defaults-on-failed-load", "A journal that cannot be read is a card from the factory.",
        (Patch(_JOURNAL, _DAMAGED, "            pass\n"),
         Patch(_JOURNAL, "        for slot in range(last, -1, -1):\n",
               "        for slot in range(last, last - 1, -1):\n"),
         Patch(_JOURNAL, "        for sector in order:\n", "        for sector in order[:1]:\n")),
    ),
    Animal(
        "format-on-failed-load", "A journal whose end cannot be read is erased, to start afresh.",
        (Patch(_JOURNAL, "            if not self._valid():\n"
               "                self.skipped += self._was_whole()\n",
               "            if not self._valid():\n"
               "                for one in range(self._flash.SECTORS):\n"
               "                    self._flash.erase(one)\n"
               "                return None\n"),),
    ),
    Animal(
        "no-settling", "A cold start trusts what it reads, and writes nothing.",
        (Patch(_STORE, _COLD, "            self.cold_starts += 1\n"),),
        ("wipe-and-reseed", "key-rotation", "provisioning"),
    ),
    Animal(
        "no-mending", "A record with one flipped bit is thrown away.",
        (Patch(_JOURNAL, _VALID_END, "        return not wrong"),
         Patch(_JOURNAL, "            bit = flipped_bit(off, end)\n", "            bit = -1\n"),
         Patch(_JOURNAL, "        if off and off & (off - 1):\n", "        if off:\n")),
        ("wipe-and-reseed", "key-rotation"),
    ),
    Animal(
        "no-read-back", "What was programmed is taken to be there.",
        (Patch(_JOURNAL, "        self._flash.read(address, self._seen)\n"
               "        return self._seen == self._record\n", "        return True\n"),),
        ("first-boot",),
    ),
    Animal(
        "keys-in-two-writes", "The version of a key set is saved, then its keys.",
        (Patch(_ISSUER, _KEYS,
               "    store.commit(kvn=data[0], life_cycle=life_cycle)\n"
               "    store.commit(keys=bytes(keys))\n"),),
        ("key-rotation",),
    ),
    Animal(
        "name-before-seed", "The credential's name is saved, then its seed.",
        (Patch(_OATH, _PUT,
               "    store.commit(name=name, digits=key[1], moving_factor=0)\n"
               "    store.commit(seed=bytes(key[2:]))\n"),),
        ("provisioning", "wipe-and-reseed"),
    ),
    Animal(
        "factor-after-seed", "The new seed is saved, then its moving factor.",
        (Patch(_OATH, _PUT,
               "    store.commit(name=name, seed=bytes(key[2:]), digits=key[1])\n"
               "    store.commit(moving_factor=0)\n"),
         Patch(_OATH, "    store.commit(name=b\"\", seed=b\"\", moving_factor=0)\n",
               "    store.commit(name=b\"\", seed=b\"\")\n")),
        ("wipe-and-reseed",),
    ),
    Animal(
        "life-cycle-in-memory", "The life cycle is saved with the next code.",
        (Patch(_ISSUER, "        store.commit(life_cycle=state)\n",
               "        store.life_cycle = state\n"),),
        ("provisioning",),
    ),
    Animal(
        "life-cycle-restored", "A cold start puts a card in service back to be locked again.",
        (Patch(_STORE, _COLD, "            if self.life_cycle == SECURED:\n"
               "                self.life_cycle = INITIALIZED\n" + _COLD),),
        ("key-rotation", "provisioning"),
    ),
    Animal(
        "reserves-ten", "Each cold start reserves ten codes, to write less.",
        (Patch(_STORE, _COLD, "            self.moving_factor += 10\n" + _COLD),),
    ),
    Animal(
        "answers-before-commit", "A code goes over the wire before the moving factor is saved.",
        (Patch(_STORE, "        factor = self._take()\n        return hotp.full",
               "        factor = self.moving_factor\n        self.moving_factor += 1\n"
               "        return hotp.full"),),
        ("provisioning",),
    ),
    Animal(
        "one-attempt", "A slot that takes no record is the end of the card.",
        (Patch(_JOURNAL, "        for _ in range(2 * self._slots + 2):\n",
               "        for _ in range(1):\n"),),
        ("press-at-wrap", "press"),
    ),
    Animal(
        "sixteen-bits", "The moving factor is written in 16 bits.",
        (Patch(_STORE, _FACTOR, _FACTOR.replace("factor,", "factor & 0xFFFF,")),),
        ("put-far", "press-at-65535"),
    ),
    Animal(
        "eight-bits", "The moving factor is written in 8 bits.",
        (Patch(_STORE, _FACTOR, _FACTOR.replace("factor,", "factor & 0xFF,")),),
        ("press-at-255",),
    ),
    Animal(
        "thirty-two-bits", "The moving factor is written in 32 bits.",
        (Patch(_STORE, _FACTOR, _FACTOR.replace("factor,", "factor & 0xFFFFFFFF,")),),
        ("press-at-2-32",),
    ),
    Animal(
        "sixty-three-bits", "The highest bit of the moving factor is taken for a sign.",
        (Patch(_STORE, _FACTOR, _FACTOR.replace("factor,", "factor & 0x7FFFFFFFFFFFFFFF,")),),
        ("press-at-2-64",),
    ),
    Animal(
        "halves-swapped", "Above 65,535 the halves of the moving factor change places.",
        (Patch(_STORE, _FACTOR, _FACTOR.replace(
            "self.moving_factor,",
            "self.moving_factor if self.moving_factor < 65536 else\n"
            "            (self.moving_factor & 0xFFFF) << 16 | self.moving_factor >> 16,")),),
        ("press-at-65535",),
    ),
    Animal(
        "every-64th-uncommitted", "At every 64th press the code is shown before it is saved.",
        (Patch(_UNDOCKED, _CODE,
               "            if store.presses & 63 == 63:\n"
               "                from lib import hotp\n\n"
               "                code = hotp.code(store.seed, store.moving_factor, store.digits)\n"
               "                screens.code(display, code, state, 100)\n"
               "                store.take_code(cell_state=state)\n"
               "            else:\n    " + _CODE),),
        ("press-at-64",),
    ),
    Animal(
        "critical-ignored-once", "A critical cell is believed when it is seen again.",
        (Patch(_APP, _EMPTY_START,
               _EMPTY_START.replace("    if ", "    if flags & board.EMPTY and ")),
         Patch(_UNDOCKED, _EMPTY_PRESS, "    if False:\n")),
        ("low-cell",),
    ),
    Animal(
        "critical-until-recorded", "A critical cell may write until flash says that it is one.",
        (Patch(_APP, _EMPTY_START, "    if False:\n"),
         Patch(_UNDOCKED, _EMPTY_PRESS,
               "    if state == cell.CRITICAL and store.cell_state == cell.CRITICAL:\n")),
        ("low-cell",),
    ),
    Animal(
        "recovers-at-once", "A critical cell that rests is good again at the first volt.",
        (Patch("card/cell.py", "_LOW_FROM if previous == CRITICAL else _CRITICAL_BELOW",
               "_CRITICAL_BELOW"),),
        ("low-cell",), boards.DEFAULT,
    ),
    Animal(
        "terminated-then-wiped", "A card is TERMINATED first, and wiped second.",
        (Patch(_ISSUER, _WIPE,
               "        store.commit(life_cycle=state)\n"
               "        store.commit(keys=bytes(48), name=b\"\", seed=b\"\")\n"),),
        ("terminate",),
    ),
    Animal(
        "wiped-then-terminated", "A card is wiped first, and TERMINATED second.",
        (Patch(_ISSUER, _WIPE,
               "        store.commit(keys=bytes(48), name=b\"\", seed=b\"\")\n"
               "        store.commit(life_cycle=state)\n"),),
        ("terminate",),
    ),
    Animal(
        "no-jump", "Spoiled slots are not jumped over.",
        (Patch(_STORE, _JUMPS, "            pass\n"),),
    ),
    Animal(
        "unbounded-jump", "A start jumps over as many codes as there are spoiled slots.",
        (Patch(_STORE, _JUMPS, "            self.moving_factor += self._journal.skipped\n"),),
        ("spoiled-slots",),
    ),
    Animal(
        "old-seeds-stay", "What gave way stays in flash until its sector's turn comes.",
        (Patch(_STORE, "            if forget:\n", "            if False:\n"),),
        ("wipe-and-reseed",),
    ),
    Animal(
        "old-keys-stay", "Keys that gave way stay in flash until their sector's turn comes.",
        (Patch(_STORE, " or (self.kvn != TRANSPORT and \"keys\" in changes)", ""),),
        ("key-rotation",),
    ),
)  # fmt: skip
