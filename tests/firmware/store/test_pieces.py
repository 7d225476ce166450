"""The card's store in this interpreter: every byte of a state, what a start makes of one, and what
is left of it where flash fails."""

from __future__ import annotations

import hashlib
import hmac
import importlib
import struct
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.firmware.journal.test_pieces import SECTOR, SLOT, Listed, number, record, spoiled

FIRMWARE = Path(__file__).parents[3] / "firmware"
IDENTITY = SimpleNamespace(serial=b"TS00000001", transport=bytes(range(48)))
HEAD = "<BBBBQIIBBBB48s"
FIELDS = ("life_cycle", "kvn", "cell_state", "moving_factor", "presses", "cold_starts", "_dead",
          "digits", "keys", "seed", "name")  # fmt: skip
OTHERS: dict[str, Any] = {
    "life_cycle": 0x0F, "kvn": 3, "cell_state": 2, "moving_factor": 2**64 - 5, "presses": 2**32 - 9,
    "digits": 8,
    "keys": b"k" * 48, "seed": b"s" * 64, "name": b"n" * 64,
}  # fmt: skip


@pytest.fixture(scope="module")
def module() -> Iterator[Any]:
    given = types.ModuleType("micropython")
    given.const = lambda value: value  # type: ignore[attr-defined]
    ours = ("card", "lib")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "micropython", given)
        patch.syspath_prepend(str(FIRMWARE))
        yield importlib.import_module("card.store")
        for name in [one for one in sys.modules if one.split(".")[0] in ours]:
            del sys.modules[name]


@pytest.fixture
def flash() -> Listed:
    return Listed()


def opened(module: Any, flash: Listed, *, cold: bool = False) -> Any:
    return module.Store(flash, IDENTITY, cold)


def state_of(store: Any) -> dict[str, Any]:
    return {name: getattr(store, name) for name in FIELDS}


def encoded(**fields: Any) -> bytes:
    head = struct.pack(
        HEAD, 1, *(fields[name] for name in FIELDS[:8]), len(fields["seed"]), len(fields["name"]),
        fields["keys"],
    )  # fmt: skip
    whole = head + fields["seed"].ljust(64, b"\xff") + fields["name"].ljust(64, b"\xff")
    assert len(whole) == 200
    return whole


def code_of(seed: bytes, factor: int, digits: int) -> str:
    """RFC 4226, section 5.3."""
    digest = hmac.digest(seed, factor.to_bytes(8, "big"), hashlib.sha1)
    at = digest[19] & 15
    value = int.from_bytes(digest[at : at + 4], "big") & 0x7FFFFFFF
    return f"{value % 10**digits:0{digits}}"


def test_what_the_factory_leaves(module: Any, flash: Listed) -> None:
    store = opened(module, flash)
    assert state_of(store) == {
        "life_cycle": 0x01, "kvn": 0xFF, "cell_state": 0, "moving_factor": 0, "presses": 0,
        "cold_starts": 0, "_dead": 0, "digits": 0, "keys": bytes(range(48)), "seed": b"",
        "name": b"",
    }  # fmt: skip
    assert (store.serial, store.format, store.older) == (b"TS00000001", 1, False)
    assert not flash.done
    assert (module.OP_READY, module.INITIALIZED, module.SECURED, module.TERMINATED) == (
        0x01, 0x07, 0x0F, 0xFF,
    )  # fmt: skip


@pytest.mark.parametrize("short", [False, True])
def test_every_byte_of_a_state(module: Any, flash: Listed, short: bool) -> None:
    store = opened(module, flash)
    fields = {**OTHERS, "seed": b"twenty bytes of seed", "name": b"ada"} if short else OTHERS
    store.commit(**fields)
    expected = encoded(**{**state_of(store), **fields})
    assert flash.memory[12:212] == expected
    assert bytes(flash.memory[:220]) == record(number(0), expected)
    again = opened(module, flash)
    assert state_of(again) == state_of(store)


def test_a_cold_start_writes_twice_and_counts_once(module: Any, flash: Listed) -> None:
    store = opened(module, flash, cold=True)
    assert store.cold_starts == 1
    assert flash.done == [("erase", 0), ("program", 0), ("program", SLOT)]
    assert opened(module, flash).cold_starts == 1
    assert len(flash.done) == 3
    assert opened(module, flash, cold=True).cold_starts == 2
    assert opened(module, flash).cold_starts == 2


@pytest.mark.parametrize(("torn", "jump"), [(0, 0), (1, 1), (9, 9), (10, 9), (11, 9)])
def test_how_far_a_start_jumps(module: Any, torn: int, jump: int) -> None:
    """Over what may have been shown, and no further than a server looks."""
    flash = Listed()
    store = opened(module, flash)
    store.commit(seed=b"s" * 20, moving_factor=70_000)
    spoil = bytes(spoiled(record(number(1), b"x" * 200)))
    for n in range(torn):
        at = SLOT + n * SLOT
        flash.memory[at : at + len(spoil)] = spoil
    assert opened(module, flash).moving_factor == 70_000 + jump


@pytest.mark.parametrize(
    "state", [b"\x02" + bytes(199), b"\x00" + bytes(199), b"\xff" + bytes(199)], ids=len
)
def test_a_format_of_another_firmware_is_left_alone(
    module: Any, flash: Listed, state: bytes
) -> None:
    content = record(1, state)
    flash.memory[: len(content)] = content
    with pytest.raises(module.StrangeError):
        opened(module, flash, cold=True)
    assert not flash.done


def test_a_state_whose_size_is_not_its_formats(module: Any, flash: Listed) -> None:
    store = opened(module, flash)
    for size in (199, 201):
        with pytest.raises(module.StrangeError):
            store._decode(b"\x01" + bytes(size - 1))


# -- codes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "factor", [0, 63, 64, 255, 65_534, 65_535, 65_536, 2**32 - 1, 2**32, 2**64 - 2]
)
@pytest.mark.parametrize("digits", [6, 7, 8])
def test_a_code_is_taken_before_it_is_shown(
    module: Any, flash: Listed, factor: int, digits: int
) -> None:
    store = opened(module, flash)
    seed = b"12345678901234567890"
    store.commit(seed=seed, digits=digits, moving_factor=factor, presses=41)
    assert store.take_code(cell_state=1) == code_of(seed, factor, digits)
    assert (store.moving_factor, store.presses, store.cell_state) == (factor + 1, 42, 1)
    assert state_of(opened(module, flash)) == state_of(store)
    assert len([one for one in flash.done if one[0] == "program"]) == 2


def test_the_whole_hmac_takes_a_code_too(module: Any, flash: Listed) -> None:
    store = opened(module, flash)
    store.commit(seed=b"seed", digits=6, moving_factor=7)
    assert store.take_hmac() == hmac.digest(b"seed", (7).to_bytes(8, "big"), hashlib.sha1)
    again = opened(module, flash)
    assert (again.moving_factor, again.presses) == (8, 1)


@pytest.mark.parametrize("take", ["take_code", "take_hmac"])
def test_without_a_commit_there_is_no_code(module: Any, flash: Listed, take: str) -> None:
    store = opened(module, flash)
    store.commit(seed=b"seed", digits=6, moving_factor=7)
    before = state_of(store)
    flash.bad |= {0, 1, 2, 3}
    with pytest.raises(OSError):
        getattr(store, take)()
    assert {**state_of(store), "_dead": 0} == before
    assert store.wear()[1] > 0


# -- what fails ------------------------------------------------------------------------------------


def test_a_commit_that_fails_changes_nothing_and_counts(module: Any, flash: Listed) -> None:
    store = opened(module, flash)
    store.commit(**OTHERS)
    before = state_of(store)
    flash.bad |= {0, 1, 2, 3}
    for changes in ({"name": b"x", "presses": 1}, {"seed": b"y"}, {"keys": b"z" * 48}):
        with pytest.raises(OSError):
            store.commit(**changes)
        assert {**state_of(store), "_dead": 0} == before
    assert 0 < store._dead < 255
    for _ in range(70):
        with pytest.raises(OSError):
            store.commit(presses=1)
    assert store.wear()[1] == 255
    flash.bad.clear()
    store.commit(presses=2)
    again = opened(module, flash)
    assert again.presses == 2 and again._dead == 255


def test_slots_that_fail_are_counted(module: Any, flash: Listed) -> None:
    store = opened(module, flash)
    store.commit(presses=1)
    flash.bad.add(0)
    store.commit(presses=2)
    assert store._dead == 3
    store.commit(presses=3)
    assert store._dead == 3 and opened(module, flash)._dead == 3


@pytest.mark.parametrize(("erases", "most"), [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_the_wear_of_the_most_erased_sector(
    module: Any, flash: Listed, erases: int, most: int
) -> None:
    store = opened(module, flash)
    store._journal.erases = erases
    assert store.wear() == (most, 0)


# -- what gives way leaves flash -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "change", "leaves"),
    [
        ({"seed": b"secret-seed"}, {"seed": b"other"}, True),
        ({"seed": b"secret-seed"}, {"seed": b"", "name": b""}, True),
        ({"seed": b"secret-seed"}, {"name": b"ada"}, False),
        ({"seed": b"secret-seed"}, {"keys": b"k" * 48, "kvn": 2}, False),
        ({"keys": b"secret-seed".ljust(48), "kvn": 1}, {"keys": b"k" * 48, "kvn": 2}, True),
        ({"keys": b"secret-seed".ljust(48), "kvn": 1}, {"kvn": 2}, False),
        ({"keys": b"secret-seed".ljust(48), "kvn": 0xFF}, {"keys": b"k" * 48, "kvn": 1}, False),
        ({"name": b"secret-seed"}, {"seed": b"first"}, False),
    ],
)
def test_which_commits_leave_nothing_of_before(
    module: Any, flash: Listed, before: dict[str, Any], change: dict[str, Any], leaves: bool
) -> None:
    store = opened(module, flash)
    store.commit(**before)
    flash.done.clear()
    store.commit(**change)
    assert (len(flash.done) > 1) is leaves
    assert (b"secret-seed" not in flash.memory) is leaves
    assert state_of(opened(module, flash)) == state_of(store)


# -- a later format --------------------------------------------------------------------------------


@pytest.fixture
def later(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """This firmware's format is 2, and 8 bytes longer."""
    monkeypatch.setattr(module, "_FORMAT", 2)
    monkeypatch.setattr(module, "_SIZE", 208)
    monkeypatch.setattr(module, "_SIZES", (200, 208))


@pytest.mark.usefixtures("later")
def test_an_earlier_format_stays_until_it_is_migrated(module: Any, flash: Listed) -> None:
    old = record(1, encoded(**{**OTHERS, "cold_starts": 0, "_dead": 0}))
    flash.memory[: len(old)] = old
    store = opened(module, flash)
    assert (store.format, store.older, store.name) == (1, True, OTHERS["name"])
    store.commit(name=b"ada", presses=7)
    assert flash.memory[SLOT + 12] == 1 and opened(module, flash).older
    flash.done.clear()
    store.migrate()
    assert (store.format, store.older) == (2, False)
    assert ("erase", 0) in flash.done
    assert flash.memory[SECTOR + 12] == 2
    done = len(flash.done)
    store.migrate()
    assert len(flash.done) == done
    again = opened(module, flash)
    assert (again.format, again.older, again.name, again.presses) == (2, False, b"ada", 7)
    again.commit(presses=8)
    assert opened(module, flash).presses == 8


@pytest.mark.usefixtures("later")
def test_a_new_one_is_of_the_newest_format(module: Any, flash: Listed) -> None:
    store = opened(module, flash, cold=True)
    assert (store.format, store.older, flash.memory[12]) == (2, False, 2)
    store.migrate()
    assert len(flash.done) == 3
    assert opened(module, flash).format == 2
