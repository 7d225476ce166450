"""What is kept where, without a reader around it."""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.firmware.reader.test_meter import Rows

_FIRST, _MOST = 0x100, 128


@pytest.fixture
def store(alone: Callable[[str], Any]) -> Any:
    """The module."""
    return alone("reader.store")


def _with(taken: list[int]) -> Any:
    return SimpleNamespace(slots=lambda: [_FIRST + slot for slot in taken])


@pytest.mark.parametrize("free", [0, 1, 64, 127])
def test_each_slot_is_used(store: Any, free: int) -> None:
    """As many credentials fit as getInfo says (6.4, remainingDiscoverableCredentials)."""
    taken = [slot for slot in range(_MOST) if slot != free]
    assert store.Store.free_slot(_with(taken)) == _FIRST + free
    assert store.Store.room(_with(taken)) == 1


def test_one_more_than_fits_is_refused(store: Any) -> None:
    """KEY_STORE_FULL."""
    full = _with(list(range(_MOST)))
    assert store.Store.room(full) == 0
    with pytest.raises(store.Refused) as refused:
        store.Store.free_slot(full)
    assert refused.value.status == 0x28


# -- on a flash and rows of its own ----------------------------------------------------------------

LAYOUT = "<BBBBBBIII32s32sIHII20sB"
NO_BLOBS = bytes.fromhex("8076be8b528d0075f7aae98d6fa57a6d3c")
NAMES = (
    "format", "flags", "pin_retries", "uv_retries", "min_pin", "pin_length", "signatures", "made",
    "sensor_password", "_master", "pin_check", "pins", "verified", "burnt", "epoch", "pages",
    "newest_page",
)  # fmt: skip
ROOT = bytes(range(16))


class PlainFlash:
    """fails: from now on it takes nothing. log: what was done."""

    SECTORS, SECTOR, UNIT = 12, 4096, 256

    def __init__(self) -> None:
        self.memory = bytearray(b"\xff" * self.SECTORS * self.SECTOR)
        self.fails = False
        self.programs = 0
        self.log: list[str] = []

    def read(self, address: int, buf: bytearray) -> None:
        buf[:] = self.memory[address : address + len(buf)]

    def program(self, address: int, buf: bytes) -> None:
        self.programs += 1
        self.log.append("program")
        if self.fails:
            raise OSError(5)
        for n, byte in enumerate(buf):
            self.memory[address + n] &= byte

    def erase(self, sector: int) -> None:
        self.log.append("erase")
        self.memory[sector * 4096 : (sector + 1) * 4096] = b"\xff" * 4096


class Opened:
    """A store's module, its flash and its rows. `open`: as at a power-up."""

    def __init__(self, module: Any) -> None:
        self.module = module
        module.seal.aes = _Aes
        self.flash, self.rows = PlainFlash(), Rows()
        self._random = 0

    def urandom(self, size: int) -> bytes:
        assert size % 16 == 0
        self._random += 1
        return self._random.to_bytes(4, "big") * (size // 4)

    def open(self, *, anew: bool = False) -> Any:
        more = (True,) if anew else ()
        return self.module.Store(self.flash, ROOT, self.rows, self.urandom, *more)

    def written(self, store: Any, content: bytes) -> None:
        """As another firmware leaves it: a state of these bytes."""
        store._records.put(0, store._seal.close(0, content))


class _Aes:
    def __init__(self, key: bytes, mode: int, iv: bytes) -> None:
        assert mode == 2
        self._cipher = Cipher(algorithms.AES(key), modes.CBC(iv))

    def encrypt(self, data: bytes) -> bytes:
        return self._cipher.encryptor().update(data)

    def decrypt(self, data: bytes) -> bytes:
        return self._cipher.decryptor().update(data)


@pytest.fixture
def there(store: Any) -> Opened:
    return Opened(store)


@pytest.fixture
def used(there: Opened) -> Any:
    """A store that is no first record any more, and is ready."""
    made = there.open()
    made.commit(signatures=0)
    made.ready(lambda: False)
    return made


def state_of(store: Any) -> dict[str, Any]:
    return {name: getattr(store, name) for name in NAMES}


def keyed(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


OTHERS: dict[str, Any] = {
    "flags": 8, "pin_retries": 3, "uv_retries": 2, "min_pin": 6, "pin_length": 9,
    "signatures": 2**32 - 1, "made": 2**31 + 5, "pin_check": b"c" * 32, "pins": 2**32 - 2,
    "verified": 65535, "burnt": 2**24 + 3, "epoch": 2**16 + 1, "pages": bytes(range(20)),
    "newest_page": 19,
}  # fmt: skip


def test_what_a_new_one_holds(there: Opened) -> None:
    made = there.open()
    password = int.from_bytes(keyed(ROOT, b"tallystick reader: sensor")[:4], "little") | 1
    expected: dict[str, Any] = {
        "format": 1, "flags": 0, "pin_retries": 8, "uv_retries": 5, "min_pin": 4, "pin_length": 0,
        "signatures": 0, "made": 0, "sensor_password": password,
        "_master": keyed(ROOT, b"\0\0\0\1" * 8), "pin_check": bytes(32), "pins": 0, "verified": 0,
        "burnt": 0, "epoch": 0, "pages": b"\xff" * 20, "newest_page": 255,
    }  # fmt: skip
    assert state_of(made) == expected
    sealed = made._records.get(0)
    assert made._seal.open(0, sealed) == struct.pack(LAYOUT, *(expected[name] for name in NAMES))
    assert len(made._seal.open(0, sealed)) == 117
    module = there.module
    assert (module.ALWAYS_UV, module.FORCE_PIN_CHANGE, module.SCRUB, module.PAIRED) == (1, 2, 4, 8)


@pytest.mark.parametrize("root", [b"0" * 16, b"1" * 16, b"2" * 16, b"3" * 16])
def test_the_sensors_password_is_never_nought(there: Opened, root: bytes) -> None:
    made = there.module.Store(there.flash, root, there.rows, there.urandom)
    key = int.from_bytes(keyed(root, b"tallystick reader: sensor")[:4], "little")
    assert made.sensor_password == key | 1


def test_what_was_committed_is_there_after_a_start(there: Opened, used: Any) -> None:
    used.commit(**OTHERS)
    before = state_of(used)
    assert {name: before[name] for name in OTHERS} == OTHERS
    assert state_of(there.open()) == before


def test_a_first_record_is_not_believed_and_a_second_is(there: Opened) -> None:
    first = there.open()
    second = there.open()
    third = there.open()
    assert len({one._master for one in (first, second, third)}) == 3
    third.commit(pins=1)
    assert there.open()._master == third._master


def test_a_commit_that_fails_changes_nothing(there: Opened, used: Any) -> None:
    used.commit(pins=3, flags=8)
    before = state_of(used)
    there.flash.fails = True
    with pytest.raises(OSError):
        used.commit(pins=4, flags=0)
    with pytest.raises(OSError):
        used.reset(None)
    with pytest.raises(OSError):
        used.flag(1, True)
    assert state_of(used) == before
    there.flash.fails = False
    assert state_of(there.open()) == before


def test_one_flag_is_one_bit(used: Any) -> None:
    used.commit(flags=9)
    used.flag(2, True)
    assert used.flags == 11
    used.flag(1, False)
    assert used.flags == 10
    used.flag(1, False)
    assert used.flags == 10


@pytest.mark.parametrize("content", [
    b"\2" + bytes(116), b"\0" + bytes(116), b"\1" + bytes(117), b"\1" + bytes(115),
    b"\1" + bytes(80), b"\1" + bytes(82), b"\2" + bytes(81), b"\xff" + bytes(150),
], ids=len)  # fmt: skip
def test_a_state_of_another_firmware_is_left_alone(
    there: Opened, used: Any, content: bytes
) -> None:
    there.written(used, content)
    before = bytes(there.flash.memory)
    with pytest.raises(there.module.StrangeError):
        there.open()
    assert there.flash.memory == before


@pytest.mark.parametrize("size", [82, 88])
def test_a_shorter_state_is_read_and_its_fingers_are_those_recorded(
    there: Opened, used: Any, size: int
) -> None:
    used.commit(**{**OTHERS, "burnt": 0, "epoch": 0})
    for finger in (0, 7, 254):
        used._records.put(0x200 + finger, used._seal.close(0x200 + finger, b"name"))
    whole = struct.pack(LAYOUT, *(getattr(used, name) for name in NAMES))
    there.written(used, whole[:size])
    again = there.open()
    names = [name for name in NAMES[:11] if name != "format"]
    assert all(getattr(again, name) == getattr(used, name) for name in names)
    assert again.pins == (OTHERS["pins"] if size == 88 else 0)
    assert again.verified == (OTHERS["verified"] if size == 88 else 0)
    assert (again.burnt, again.epoch, again.newest_page) == (0, 0, 255)
    assert again.pages == bytes((0, 7, 254)) + b"\xff" * 17
    assert again.fingers() == [0, 7, 254]


def test_a_state_that_is_gone_or_changed_is_damage(there: Opened, used: Any) -> None:
    used._records.put(0, used._seal.close(1, b"other"))
    with pytest.raises(there.module.DamagedError):
        there.open()
    used._records.delete(0)
    with pytest.raises(there.module.DamagedError):
        there.open()


# -- what is burnt ---------------------------------------------------------------------------------


def burn(there: Opened, place: str, count: int) -> None:
    meter = there.module.BurntMeter(there.rows, getattr(there.module.meter, place))
    for _ in range(count):
        meter.grow()


@pytest.mark.parametrize(
    ("epoch", "burnt", "believed"), [(2, 2, True), (2, 3, False), (3, 2, True)]
)
def test_an_old_copy_is_not_believed(
    there: Opened, used: Any, epoch: int, burnt: int, believed: bool
) -> None:
    used.commit(epoch=epoch)
    burn(there, "STATES", burnt)
    if not believed:
        with pytest.raises(there.module.DamagedError):
            there.open()
        return
    again = there.open()
    again.ready(lambda: False)
    assert again._epochs.value == epoch == again.epoch


@pytest.mark.parametrize(
    ("known", "burnt", "left"), [(0, 0, 8), (2, 2, 8), (2, 3, 7), (2, 9, 1), (0, 8, 0), (0, 12, 0)]
)
def test_tries_that_the_state_knows_nothing_of_are_taken_off(
    there: Opened, used: Any, known: int, burnt: int, left: int
) -> None:
    used.commit(burnt=known)
    burn(there, "TRIES", burnt)
    again = there.open()
    assert again.pin_retries == 8
    again.ready(lambda: False)
    assert (again.pin_retries, again.uv_retries, again.burnt) == (
        left,
        5 if left == 8 else 0,
        burnt,
    )
    found = there.open()
    assert (found.pin_retries, found.burnt) == (left, burnt)


def test_a_start_that_agrees_writes_nothing_more(there: Opened, used: Any) -> None:
    again = there.open()
    programs = there.flash.programs
    again.settle()
    assert there.flash.programs > programs
    programs = there.flash.programs
    again.ready(lambda: pytest.fail("nobody needs to know"))
    again.pay(0)  # what is paid now is burnt by who compares
    programs = there.flash.programs
    again.ready(lambda: pytest.fail("nobody needs to know"))
    assert (there.flash.programs, there.rows.pulses) == (programs, 0)


def test_nothing_is_burnt_before_what_was_read_is_settled(there: Opened, used: Any) -> None:
    used.commit(burnt=2, epoch=1)
    again = there.open()
    programs, burnt = there.flash.programs, []
    genuine = there.rows.burn

    def burn(row: int, bits: int) -> bool:
        burnt.append((there.flash.programs > programs, row))
        return genuine(row, bits)

    there.rows.burn = burn  # type: ignore[method-assign]
    again.ready(lambda: False)
    assert burnt == [*((True, row) for row in (0, 1, 2) * 2), *((True, 2880 + n) for n in range(3))]


def test_nothing_is_burnt_while_a_state_cannot_be_written(there: Opened, used: Any) -> None:
    used.commit(epoch=1)
    burn(there, "TRIES", 1)
    again = there.open()
    again.settle()
    pulses, there.flash.fails = there.rows.pulses, True
    with pytest.raises(OSError):
        again.ready(lambda: False)
    assert there.rows.pulses == pulses


def test_what_the_state_counts_and_is_not_burnt_yet_is_burnt(there: Opened, used: Any) -> None:
    used.commit(burnt=3, epoch=2)
    again = there.open()
    again.ready(lambda: False)
    assert (again._tries.value, again._epochs.value) == (3, 2)
    assert (again.pin_retries, again.uv_retries) == (8, 5)


def test_a_try_is_paid_before_it_is_burnt(there: Opened, used: Any) -> None:
    burn(there, "TRIES", 4)
    again = there.open()
    again.ready(lambda: False)
    again.commit(pin_retries=8, uv_retries=5)
    assert again.next_try() == 5
    again.pay(7)
    paid = (again.pin_retries, again.uv_retries, again.burnt, again.verified, again._tries.value)
    assert paid == (7, 4, 5, 7, 4)
    again.burn()
    assert again._tries.value == 5 and not again.tries_ended()
    again.commit(pin_retries=0, uv_retries=0)
    again.pay(0)
    assert (again.pin_retries, again.uv_retries) == (0, 0)


def test_a_right_try_looks_like_a_wrong_one(there: Opened, used: Any) -> None:
    burn(there, "TRIES", 2)
    again = there.open()
    again.ready(lambda: False)
    before = there.rows.pulses
    assert again.burn_nothing() == 2
    assert there.rows.pulses - before == 3 and again._tries.value == 2


def test_rows_that_are_at_their_end(there: Opened, used: Any) -> None:
    for name in ("TRIES", "STATES"):
        first, words = getattr(there.module.meter, name)
        for row in range(first, first + 3 * words):
            there.rows.rows[row] = 0xFFFFFF
    used.commit(burnt=960 * 24, epoch=85 * 24)
    again = there.open()
    again.ready(lambda: False)
    assert again.tries_ended()
    again.change(pins=1)
    assert (again.pins, again.epoch) == (1, 85 * 24)
    again.commit(burnt=960 * 24 + 1, epoch=85 * 24 + 1)
    again.burn()  # ends
    again.reset(None)
    assert again.epoch == 85 * 24


def test_a_change_ends_what_was_before_it(there: Opened, used: Any) -> None:
    old = bytes(there.flash.memory)
    used.change(pins=5)
    assert (used.pins, used.epoch, used._epochs.value) == (5, 1, 1)
    assert there.open().pins == 5
    there.flash.memory[:] = old
    with pytest.raises(there.module.DamagedError):
        there.open()


# -- beginning anew --------------------------------------------------------------------------------


def test_a_reset_makes_all_new_but_the_pairing(there: Opened, used: Any) -> None:
    used.commit(**{**OTHERS, "flags": 8 | 1, "burnt": 0, "epoch": 0})
    used.put_credential(0x100, b"r" * 32, b"credential")
    old, paused = used._master, []
    used.reset(lambda: paused.append(1))
    assert len(paused) == there.flash.SECTORS
    assert (used.flags, used.newest_page, used.epoch, used._epochs.value) == (8, 19, 1, 1)
    assert (used.pin_retries, used.pins, used.pages, used.slots()) == (8, 0, b"\xff" * 20, [])
    assert used._master != old
    assert state_of(there.open()) == state_of(used)
    used.commit(flags=1)
    used.reset(None)
    assert used.flags == 0


def test_a_reset_that_was_cut_is_ended_at_the_next_start(there: Opened, used: Any) -> None:
    used.put_credential(0x100, b"r" * 32, b"credential")
    genuine = used._records.scrub
    used._records.scrub = lambda pause: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        used.reset(None)
    assert genuine
    again = there.open()
    assert (again.flags, again.slots(), again._epochs.value) == (4, [], 1)
    again.ready(lambda: False)
    assert again.flags == 0
    assert there.open().flags == 0


def test_a_sector_that_cannot_be_erased_does_not_keep_a_reset_from_its_end(
    there: Opened, used: Any
) -> None:
    used._records.scrub = lambda pause: (_ for _ in ()).throw(OSError(5))
    used.reset(None)
    assert used.flags == 0 and there.open().flags == 0


def test_a_reset_that_cannot_be_written_is_none(there: Opened, used: Any) -> None:
    used.commit(**{**OTHERS, "burnt": 0, "epoch": 0})
    before = state_of(used)
    used._records.restart = lambda key, payload: (_ for _ in ()).throw(OSError(5))
    with pytest.raises(OSError):
        used.reset(None)
    assert state_of(used) == before and there.rows.pulses == 0


def test_beginning_anew_that_was_cut_is_ended_at_the_next_start(
    there: Opened, used: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over records that are whole: they are settled, and give way, before any is erased."""
    used.put_credential(0x100, b"r" * 32, b"credential")
    used.commit(pins=9)
    there.flash.log.clear()
    with monkeypatch.context() as patch:
        patch.setattr(
            there.module.Records, "scrub", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            there.open(anew=True)
    assert there.flash.log[0] == "program"
    again = there.open()
    assert (again.flags, again.pins, again.slots()) == (4, 0, [])
    again.ready(lambda: False)
    assert again.flags == 0 and there.open().flags == 0


@pytest.mark.parametrize("whole", [True, False])
def test_nothing_is_burnt_where_beginning_anew_cannot_be_written(
    there: Opened, used: Any, whole: bool
) -> None:
    if not whole:
        there.flash.memory[:] = b"\0" * len(there.flash.memory)
    there.flash.fails = True
    with pytest.raises(OSError):
        there.open(anew=True)
    assert there.rows.pulses == 0


def test_beginning_anew_over_what_cannot_be_read_erases_first(there: Opened, used: Any) -> None:
    for at in range(0, len(there.flash.memory), 64):
        there.flash.memory[at] &= 0x11
    there.flash.log.clear()
    anew = there.open(anew=True)
    assert there.flash.log == ["erase"] * 12 + ["erase", "program"]
    assert there.flash.memory[512:] == b"\xff" * (12 * 4096 - 512)
    assert state_of(anew)["pins"] == 0


@pytest.mark.parametrize("damage", ["none", "all", "gone"])
def test_after_damage_all_is_new(there: Opened, used: Any, damage: str) -> None:
    used.put_credential(0x100, b"r" * 32, b"credential")
    old, memory = used._master, bytes(there.flash.memory)
    if damage == "all":
        for at in range(0, 3 * 4096, 64):
            there.flash.memory[at] &= 0x11
    if damage == "gone":
        there.flash.memory[:] = b"\xff" * len(memory)
    anew = there.open(anew=True)
    assert anew._master != old and anew.slots() == [] and anew.flags == 0 and anew.epoch == 1
    assert anew._epochs.value == 1  # at once: the old flash may be back at the next start
    programs = there.flash.programs
    anew.ready(lambda: pytest.fail("nobody needs to know"))
    assert there.flash.programs == programs
    anew.commit(pins=0)
    found = there.open()
    assert found._master == anew._master and found.slots() == []
    found.ready(lambda: False)
    assert found._epochs.value == 1
    there.flash.memory[:] = memory
    with pytest.raises(there.module.DamagedError):
        there.open()


# -- a later format --------------------------------------------------------------------------------


@pytest.fixture
def later(there: Opened, monkeypatch: pytest.MonkeyPatch) -> Opened:
    monkeypatch.setattr(there.module, "_FORMAT", 2)
    monkeypatch.setattr(there.module, "_SIZES", (117, 117))
    return there


@pytest.mark.parametrize(("settled", "format"), [(True, 2), (False, 1)])
def test_an_earlier_format_stays_until_nothing_leads_back(
    there: Opened, used: Any, monkeypatch: pytest.MonkeyPatch, settled: bool, format: int
) -> None:
    used.commit(pins=7)
    monkeypatch.setattr(there.module, "_FORMAT", 2)
    monkeypatch.setattr(there.module, "_SIZES", (117, 117))
    again = there.open()
    again.commit(pins=8)
    assert there.open().format == 1
    again.ready(lambda: settled)
    assert (again.format, there.open().format, there.open().pins) == (format, format, 8)


def test_each_format_has_its_size(
    there: Opened, used: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    used.commit(pins=7)
    monkeypatch.setattr(there.module, "_FORMAT", 2)
    monkeypatch.setattr(there.module, "_SIZES", (117, 200))
    assert there.open().pins == 7
    monkeypatch.setattr(there.module, "_SIZES", (110, 117))
    used.commit(pins=8)
    assert len(used._seal.open(0, used._records.get(0))) == 110


def test_a_format_that_cannot_be_written_stays(later: Opened) -> None:
    made = later.open()
    made.format = 1
    made.commit(pins=2)
    later.flash.fails = True
    with pytest.raises(OSError):
        made.migrate()
    assert made.format == 1
    later.flash.fails = False
    programs = later.flash.programs
    made.migrate()
    assert made.format == 2 and later.flash.programs > programs
    programs = later.flash.programs
    made.migrate()
    assert later.flash.programs == programs


# -- what is derived and kept ----------------------------------------------------------------------


def test_what_is_derived(used: Any) -> None:
    used.commit(pins=0x01020304, made=0x0A0B0C0D)
    master = used._master
    assert used.derive(b"a", b"b") == keyed(master, b"ab")
    assert used.check_of_pin(b"h" * 16) == keyed(master, b"pin" + b"h" * 16)
    assert used.persistent_token() == keyed(master, b"persistent token\4\3\2\1")
    assert used.device_identifier() == keyed(master, b"device")[:16]
    assert used.credentials_state() == keyed(master, b"credentials\r\f\v\n")[:16]


def test_credentials(there: Opened, used: Any) -> None:
    for slot, party in ((0x100, b"a"), (0x17F, b"b"), (0x105, b"a")):
        used.put_credential(slot, party * 32, b"credential %d" % slot)
    again = there.open()
    assert again.slots() == [0x100, 0x105, 0x17F] and again.room() == 125
    assert again.slots_of(b"a" * 32) == [0x100, 0x105] and again.slots_of(b"c" * 32) == []
    assert again.credential(0x17F) == b"credential 383"
    assert again.party_tag(0x100) == again.party_tag(0x105) != again.party_tag(0x17F)
    assert len(again.party_tag(0x17F)) == 8 and again.party_tag(0x110) == b""
    assert again.free_slot() == 0x101
    again.count_change()
    again.delete(0x105)
    assert (again.made, there.open().made, there.open().slots()) == (1, 1, [0x100, 0x17F])
    with pytest.raises(there.module.DamagedError):
        again.credential(0x105)
    there.flash.fails = True
    for change in (lambda: again.put_credential(0x101, b"a" * 32, b""), again.count_change,
                   lambda: again.delete(0x100)):  # fmt: skip
        with pytest.raises(OSError):
            change()
    assert again.slots() == [0x100, 0x17F] and again.made == 1


def test_keys_beside_credentials_and_fingers_are_neither(used: Any) -> None:
    for key in (0xFF, 0x180, 0x1FF, 0x2FF):
        used._records.put(key, used._seal.close(key, b""))
    used.commit(pages=bytes((255,)) * 20)
    assert used.slots() == [] and used._recorded() == []


def test_fingers(there: Opened, used: Any) -> None:
    for finger, name in ((5, "five"), (254, "last"), (0, "nought")):
        used.put_finger(finger, name)
    assert used.fingers() == [0, 5, 254] and used.newest_page == 0
    assert used.pages == bytes((5, 254, 0)[:0]) + bytes(used.pages[:3]) + b"\xff" * 17
    assert sorted(used.pages[:3]) == [0, 5, 254]
    epoch = used.epoch
    used.put_finger(254, "another")
    assert used.newest_page == 0 and used.finger_name(254) == "another"
    used.delete_finger(5)
    assert (used.fingers(), used.epoch) == ([0, 254], epoch + 1)
    again = there.open()
    assert again.fingers() == [0, 254] == again._recorded() and again.finger_name(0) == "nought"
    used.commit(pages=bytes((0,)) + b"\xff" * 19)  # a record without the state does not count
    assert used.fingers() == [0]


def test_a_finger_without_its_record_is_none(used: Any) -> None:
    before = state_of(used)
    genuine = used._records.put

    def put(key: int, payload: bytes) -> None:
        if key >= 0x200:
            raise OSError(5)
        genuine(key, payload)

    used._records.put = put
    with pytest.raises(OSError):
        used.put_finger(3, "three")
    assert state_of(used) == before


def test_a_finger_that_the_state_has_already_is_the_newest(used: Any) -> None:
    used.commit(pages=bytes((3,)) + b"\xff" * 19)
    used.put_finger(3, "three")
    assert used.newest_page == 3 and used.fingers() == [3]


def test_a_finger_whose_change_fails_still_counts(used: Any) -> None:
    used.put_finger(3, "three")
    used.commit = lambda **_: (_ for _ in ()).throw(OSError(5))
    with pytest.raises(OSError):
        used.delete_finger(3)
    assert used.fingers() == [3] and used.finger_name(3) == "three"


def test_no_more_fingers_than_fit(used: Any) -> None:
    for finger in range(20):
        assert used.free_page(21) == finger
        used.put_finger(finger, str(finger))
    assert used.pages == bytes(range(20)) and used.free_page(21) == -1
    used.delete_finger(3)
    assert used.free_page(21) == 20
    assert used.free_page(20) == 3
    assert used._packed(list(range(25))) == bytes(range(20))


@pytest.mark.parametrize(
    ("newest", "taken", "capacity", "free"),
    [(255, [], 10, 0), (255, [0], 10, 1), (0, [0], 10, 1), (9, [9], 10, 0), (8, [8, 9, 0], 10, 1),
     (3, [3], 300, 4), (254, [254], 300, 0), (4, [], 10, 5),
     (3, [4, 0, 1, 2], 5, 3), (0, [0, 1], 2, -1), (1, [], 0, -1)],
)  # fmt: skip
def test_where_the_next_finger_goes(
    store: Any, newest: int, taken: list[int], capacity: int, free: int
) -> None:
    kept = SimpleNamespace(fingers=lambda: taken, newest_page=newest)
    assert store.Store.free_page(kept, capacity) == free


def test_parties_and_blobs(there: Opened, used: Any) -> None:
    assert used.parties() == [] and used.blobs() == NO_BLOBS
    used.put_parties([b"a" * 32, b"b" * 32])
    used.put_blobs(b"blob")
    again = there.open()
    assert again.parties() == [b"a" * 32, b"b" * 32] and again.blobs() == b"blob"
    assert again._records.keys(0, 0x100) == [0, 1, 2]
    again.put_parties([])
    assert again.parties() == []
