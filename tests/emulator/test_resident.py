"""MicroPython inside this process does what MicroPython in a process of its own does."""

from __future__ import annotations

import hashlib
import re
import threading
from contextlib import nullcontext

import pytest

from tallystick.common.identity import Identity
from tallystick.emulator.chip.mcu import ChipState
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.device import FirmwareCrashError
from tallystick.emulator.devices.snapshot import CardSnapshot
from tallystick.emulator.interpreter import micropython, resident
from tallystick.emulator.interpreter.link import PipeLink
from tallystick.tools import fresh
from tallystick.tools.image.folder import from_folder

BOARDS = ["nucleo_l476rg", "pico", "pico2_card"]


def new_card(board: str = "nucleo_l476rg", number: int = 1) -> Card:
    identity = Identity.derive(f"TS{number:08}", 20260101).encode()
    return Card(fresh.image(board), identity=identity, seed=number)


def life(card: Card) -> str:
    """A hash of all that can be seen of some minutes on and off the dock."""
    frames = []
    answers = bytearray()
    for _ in range(2):
        card.power_on()
        card.press()
        frames.append(card.frame().pixels)
        card.run_for(40_000)
        card.button.push()
        card.run_for(2_000)
        frames.append(card.frame().pixels)
        card.let_go()
        card.run_for(40_000)
        card.dock(answers.extend)
        card.send(bytes.fromhex("e10000"))
        card.run_for(500)
        card.undock()
        card.power_off()
    whole = hashlib.sha256(repr((frames, answers, card.clock.now, card.supply.used_uah)).encode())
    whole.update(card.flash.memory[:])
    whole.update(card.trace.json_lines().encode())
    return whole.hexdigest()


@pytest.mark.parametrize("board", BOARDS)
def test_nothing_tells_the_two_apart(board: str):
    with new_card(board) as outside:
        expected = life(outside)
    with resident.enabled(), new_card(board) as inside:
        inside.power_on()
        assert isinstance(inside.mcu.link, resident.ResidentLink) or board == "nucleo_l476rg"
        inside.power_off()
    with resident.enabled(), new_card(board) as inside:
        assert life(inside) == expected


def test_chips_take_turns_and_keep_to_themselves():
    with resident.enabled():
        with new_card(number=2) as alone:
            expected = life(alone)
        with new_card(number=2) as one, new_card("pico", number=3) as other:
            other.power_on()
            first = life_beside(one, other)
        assert first == expected


def life_beside(one: Card, other: Card) -> str:
    """Like `life`, with another card that runs between any two steps."""
    step = one.mcu._step

    def both() -> None:
        other.run_for(1)
        if other.mcu.state is ChipState.ASLEEP or other.next_time() is None:
            other.power_off()
            other.power_on()
        step()

    one.mcu._step = both  # type: ignore[method-assign]
    return life(one)


def test_a_held_start_goes_on_as_often_as_one_likes():
    with resident.enabled(), new_card() as card:
        journal = card.board.journal
        card.mcu.hold_at_look(journal.address, journal.address + journal.size)
        card.display.power(False)
        card.mcu.power_on()
        card.mcu.run(card.clock.now + 1_000_000)
        assert card.mcu.held
        snapshot = CardSnapshot(card)
        seen = set()
        for _ in range(5):
            card.flash.memory[journal.address : journal.address + journal.size] = (
                b"\xff" * journal.size
            )
            card.trace.events.clear()
            snapshot.resume()
            card.settle()
            seen.add(
                (card.clock.now, card.flash.memory[:], card.trace.json_lines().partition("\n")[2])
            )
        snapshot.close()
        assert len(seen) == 1


def test_another_thread_gets_processes():
    kinds = []

    def work() -> None:
        with resident.enabled(), new_card("pico") as card:
            card.power_on()
            kinds.append(type(card.mcu.link))

    with resident.enabled(), new_card("pico") as card:
        card.power_on()  # this thread is at home now
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(60)
        assert kinds == [PipeLink]
        assert type(card.mcu.link) is resident.ResidentLink
        card.press()


def test_it_ends_with_the_block():
    with resident.enabled():
        pass
    with new_card("pico") as card:
        card.power_on()
        assert type(card.mcu.link) is PipeLink


@pytest.mark.parametrize("inside", [False, True])
def test_what_firmware_prints_goes_to_its_card(tmp_path, capfd, inside: bool):
    source = (
        "print('hello')\nimport sys\nsys.stderr.write('there')\nraise ValueError('on purpose')\n"
    )
    (tmp_path / "main.py").write_text(source)
    with (
        resident.enabled() if inside else nullcontext(),
        Card(from_folder(tmp_path, "pico"), seed=1) as card,
        pytest.raises(FirmwareCrashError, match="on purpose") as raised,
    ):
        card.power_on()
    assert "line 4" in raised.value.what
    assert capfd.readouterr() == ("", "")


def test_both_sides_have_the_same_mailbox():
    text = (micropython.PORT / "link.py").read_text()
    found = {name: int(number) for name, number in re.findall(r"_BOX_(\w+) = const\((\d+)\)", text)}
    assert found == {
        name: getattr(resident, f"_{name}")
        for name in ("POSTED", "HEAD", "DATA", "DATA_ROOM", "OUT_ROOM")
    }
