"""A device of every released version starts with the firmware of today, is updated to it and goes
back; and a state of a firmware that is yet to come is left alone.

What is yet to come is the firmware of today with one more byte in its state (`later`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from fido2.ctap import CtapError
from fido2.ctap2.pin import ClientPin
from fido2.hid import CtapHidDevice

from tallystick.common.errors import RefusedError
from tallystick.emulator.boards import BOARDS, READERS
from tallystick.emulator.chips.chip import OneTimeRows
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.emulator.devices.reader import Reader
from tallystick.emulator.seeing.frames import Frame
from tallystick.provisioning.card.connection import CardConnection, CardRefusedError
from tallystick.provisioning.card.t1 import Waiting
from tallystick.tools import firmware
from tallystick.tools.campaign.reader.host import DESCRIPTOR, Connection
from tallystick.tools.campaign.reader.sensor import ScriptedSensor
from tallystick.tools.docked import DockedLink
from tallystick.tools.flash import field, usb
from tallystick.tools.flash.field import SlotState, Update, install, running, state_format
from tallystick.tools.flash.kept_state import newest_state
from tallystick.tools.image.build import build, write
from tests.emulator.reader.rig import Rig
from tests.state.write_devices import (
    FOLDER,
    PIN,
    SHOWN,
    SLEEP_MS,
    KeptDevice,
    connect,
    custody,
    new_card,
    new_reader,
    random_of,
)
from tests.tools.flash.readers import Bench, ask, begin_trial

VECTORS = Path(__file__).parents[1] / "vectors"
CODES = [row["code"] for row in json.loads((VECTORS / "hotp_rfc4226.json").read_text())["hotp"]]
RELEASES = sorted(path.name for path in FOLDER.iterdir())
NEXT = "9.0.0"
NEWER_STATE = 0xF0
ROOT = Path(__file__).parents[2]

every_release = pytest.mark.parametrize("version", RELEASES)
every_card = pytest.mark.parametrize("board", BOARDS)
every_reader = pytest.mark.parametrize("board", READERS)


@pytest.fixture(scope="module")
def today(tmp_path_factory) -> dict[str, dict[str, Path]]:
    """Board → what the sources of today build for it, by kind."""
    made = {}
    for device, boards in (("card", BOARDS), ("reader", READERS)):
        for board in boards:
            made[board] = write(build(device, board, NEXT), tmp_path_factory.mktemp("today"))
    return made


def longer(text: str, size: int) -> str:
    """A store's source in the format after its own, whose state has one more byte."""
    for old, new in (
        ("_FORMAT = const(1)", "_FORMAT = const(2)"),
        (f"_SIZE = const({size})", f"_SIZE = const({size + 1})"),
        (f"_SIZES = ({size},)", f"_SIZES = ({size}, {size + 1})"),
        ('20sB"', '20sBB"'),
        (
            "self.pages, self.newest_page,\n        ) = struct",
            "self.pages, self.newest_page, _,\n        ) = struct",
        ),
        (
            "            self.newest_page,\n        )  # fmt",
            "            self.newest_page, 7,\n        )  # fmt",
        ),
    ):
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def later(tmp_path_factory) -> dict[str, dict[str, Path]]:
    """Likewise, of sources whose stores have gone on to a second format."""
    copy = tmp_path_factory.mktemp("sources") / "firmware"
    shutil.copytree(ROOT / "firmware", copy)
    for store, size in (("card/store.py", 200), ("reader/store.py", 117)):
        text = (copy / store).read_text()
        changed = longer(text, size)
        assert "_FORMAT = const(2)" in changed and f"({size}, {size + 1})" in changed
        (copy / store).write_text(changed)
    made = {}
    with firmware.rooted(copy):
        for device, boards in (("card", BOARDS), ("reader", READERS)):
            for board in boards:
                made[board] = write(build(device, board, "9.1.0"), tmp_path_factory.mktemp("later"))
    return made


@pytest.fixture(scope="module")
def cut_to(tmp_path_factory) -> Callable[[str, int], dict[str, Path]]:
    """Of a reader whose store writes only so many bytes of its state, and reads any length: 82 and
    88 as firmware of before 0.1.0 did, others as nobody's of ours."""

    @cache
    def made(board: str, size: int) -> dict[str, Path]:
        copy = tmp_path_factory.mktemp("sources") / "firmware"
        shutil.copytree(ROOT / "firmware", copy)
        store = copy / "reader" / "store.py"
        text = store.read_text()
        for old, new in (
            ("state[: _SIZES[self.format - 1]]", f"state[:{size}]"),
            ("_SHORTER = (82, 88)", f"_SHORTER = ({size},)"),
        ):
            assert text.count(old) == 1
            text = text.replace(old, new)
        store.write_text(text)
        with firmware.rooted(copy):
            return write(build("reader", board, "0.0.9"), tmp_path_factory.mktemp("cut"))

    return made


def kept_card(version: str, board: str, image: Path) -> Card:
    """As it lay in the drawer, cell in, asleep."""
    card = new_card(Image.load(image))
    card.flash.load(0, KeptDevice.load(version, board).flash)
    return card


@pytest.fixture
def card(version: str, board: str, today) -> Iterator[Card]:
    with kept_card(version, board, today[board]["bin"]) as found:
        found.power_on()
        yield found


def press(card: Card) -> str | None:
    card.press()
    code = card.read_code()
    card.run_for(SLEEP_MS)
    return code


def screen(card: Card) -> Frame:
    return card.display.frame()


def finger(card: Card) -> Waiting:
    pressed: list[bool] = []

    def down() -> None:
        if not pressed:
            pressed.append(True)
            card.button.push()
            card.run_for(120)
            card.button.release()

    return Waiting(down)


def update_to(card: Card, outputs: dict[str, Path]) -> field.Running:
    with CardConnection(DockedLink(card)) as line:
        update = Update.parse(outputs["update"].read_bytes())
        now = install(line, custody().channel_keys, update, waiting=finger(card))
    card.run_for(SLEEP_MS)
    return now


def journal(card: Card) -> bytes:
    region = card.board.journal
    return bytes(card.flash.memory[region.address : region.end])


def format_of(card: Card) -> int:
    kept = newest_state(journal(card))
    assert kept is not None
    return kept.format


def flash_at_the_desk(card: Card, outputs: dict[str, Path]) -> None:
    """As `tally flash` and a drag of the .uf2 do: the image, and a blank boot record."""
    for address, part in Image.load(outputs["bin"]).segments:
        card.flash.load(address, part)
    record = card.board.record
    assert record is not None
    card.flash.load(record.address, b"\xff" * record.size)


def test_the_version_of_today_has_its_devices():
    for release in RELEASES:
        found = {path.name.split(".")[0] for path in (FOLDER / release).iterdir()}
        assert found == {*BOARDS, *READERS}


@every_release
@every_card
def test_a_card_of_each_release_is_updated_and_goes_on(card, version, board, today):
    assert press(card) == CODES[SHOWN]
    now = update_to(card, today[board])
    assert now.header is not None and now.header.version == NEXT
    assert now.state is SlotState.CONFIRMED
    assert press(card) == CODES[SHOWN + 1]


@every_release
@every_card
def test_a_card_goes_back_from_a_trial_that_nobody_confirms(card, version, board, today, later):
    """Also from one that has a later format: it leaves the state as it was."""
    for number, outputs in enumerate((today[board], later[board])):
        with CardConnection(DockedLink(card)) as line:
            update = Update.parse(outputs["update"].read_bytes())
            channel = field.SecureChannel.open(line, custody().channel_keys)
            field._send(channel, update, lambda done, total: None, finger(card))
            channel.close()
            line.t1.resynchronise()
            assert running(line).state is SlotState.TRIED
            card.run_for(1_000)
        card.power_off()
        card.power_on()
        with CardConnection(DockedLink(card)) as line:
            back = running(line)
        assert back.header is not None and back.header.version == version
        card.run_for(SLEEP_MS)
        assert press(card) == CODES[SHOWN + number]


@every_release
@every_card
def test_a_card_that_is_flashed_at_the_desk_keeps_its_factor(card, version, board, today):
    card.power_off()
    flash_at_the_desk(card, today[board])
    card.power_on()
    assert press(card) == CODES[SHOWN]


@every_release
@every_card
def test_a_later_format_comes_with_the_confirmation_in_one_commit(
    card, version, board, today, later
):
    assert format_of(card) == 1
    update_to(card, later[board])
    assert format_of(card) == 2
    assert press(card) == CODES[SHOWN]
    with CardConnection(DockedLink(card)) as line:
        assert state_format(line) == 2
    card.run_for(1_000)


@every_release
@every_card
def test_a_migration_that_is_cut_is_done_before_or_after(version, board, today, later):
    """At every operation of it: codes go on, and the next docking ends it."""
    with kept_card(version, board, today[board]["bin"]) as card:
        flash_at_the_desk(card, later[board])
        card.power_on()
        begin = bytes(card.flash.memory)
        migrated = []
        card.flash.fault_plan = migrated.append
        with CardConnection(DockedLink(card)) as line:
            running(line)
        card.run_for(1_000)
        card.flash.fault_plan = None
        assert format_of(card) == 2
        step = max(1, len(migrated) // 6)
        for cut in range(0, len(migrated), step):
            card.power_off()
            card.flash.load(0, begin)
            for done in migrated[:cut]:
                card.flash.load(done.address, done.new)
            card.power_on()
            assert press(card) == CODES[SHOWN]
            with CardConnection(DockedLink(card)) as line:
                running(line)
            card.run_for(1_000)
            assert format_of(card) == 2, cut


@every_card
def test_a_card_with_a_later_state_says_so_and_writes_nothing(board, today, later):
    version = RELEASES[-1]
    with kept_card(version, board, today[board]["bin"]) as card:
        card.power_on()
        update_to(card, later[board])
        flash_at_the_desk(card, today[board])
        card.power_off()
        before = card.flash.operations
        card.power_on()
        card.press()
        lit = screen(card)
        card.run_for(SLEEP_MS)
        assert press(card) is None
        assert card.flash.operations == before
        assert not lit.blank
        # Nothing was lost.
        flash_at_the_desk(card, later[board])
        card.power_off()
        card.power_on()
        assert press(card) == CODES[SHOWN]


@every_card
def test_a_card_with_a_later_state_says_so_on_its_dock_too(board, today, later):
    """For as long as anywhere else: that is where somebody wonders why it does not answer."""
    with kept_card(RELEASES[-1], board, today[board]["bin"]) as card:
        card.power_on()
        update_to(card, later[board])
        flash_at_the_desk(card, today[board])
        card.power_off()
        card.power_on()
        card.run_for(SLEEP_MS)
        for asked in (card.dock, card.press):  # put in, and pressed there
            asked()
            card.run_for(2_500)
            assert not screen(card).blank
            card.run_for(3_000)
            assert screen(card).blank


@every_card
def test_an_update_that_cannot_read_the_state_is_refused_by_host_and_card(
    board, today, later, monkeypatch
):
    with kept_card(RELEASES[-1], board, today[board]["bin"]) as card:
        card.power_on()
        update_to(card, later[board])
        before = card.flash.operations
        with pytest.raises(RefusedError, match="state has format 2; the update reads 1"):
            update_to(card, today[board])
        card.run_for(1_000)
        monkeypatch.setattr(field, "_check", lambda connection, header: None)
        with pytest.raises(CardRefusedError):
            update_to(card, today[board])
        card.run_for(1_000)
        assert card.flash.operations == before
        assert press(card) == CODES[SHOWN]


# -- readers -----------------------------------------------------------------------------------


def kept_reader(version: str, board: str, image: Path) -> Reader:
    kept = KeptDevice.load(version, board)
    reader = new_reader(Image.load(image))
    assert random_of(reader) == kept.random
    registers = reader.mcu.registers
    assert isinstance(registers, OneTimeRows)
    registers.rows = dict(kept.rows)
    reader.flash.load(0, kept.flash)
    return reader


def flash_reader(reader: Reader, outputs: dict[str, Path]) -> None:
    """As `tally flash` and a drag of the .uf2 do."""
    for address, part in Image.load(outputs["bin"]).segments:
        reader.flash.load(address, part)
    record = reader.board.record
    assert record is not None
    reader.flash.load(record.address, b"\xff" * record.size)


@dataclass
class AtHand:
    """A reader that is plugged in, for the bench of the update's tests."""

    reader: Reader

    @property
    def sensor(self) -> ScriptedSensor:
        assert isinstance(self.reader.sensor, ScriptedSensor)
        return self.reader.sensor

    def device(self) -> CtapHidDevice:
        return CtapHidDevice(DESCRIPTOR, Connection(self.reader))


def plug_in(reader: Reader) -> Bench:
    """Anew."""
    reader.power_off()
    reader.run_for(100)
    reader.power_on()
    return Bench(AtHand(reader))


def update_reader(reader: Reader, outputs: dict[str, Path]) -> field.Running:
    bench = plug_in(reader)
    return usb.install(bench, Update.parse(outputs["update"].read_bytes()), bench.person)[1]


def format_in(reader: Reader) -> int:
    return usb.reader_state(AtHand(reader).device()).state_format


@every_release
@every_reader
def test_a_reader_of_each_release_is_flashed_once_and_updated_then(version, board, today, later):
    with kept_reader(version, board, today[board]["bin"]) as reader:
        flash_reader(reader, today[board])
        now = update_reader(reader, later[board])
        assert now.header is not None and now.header.version == "9.1.0"
        assert now.state is SlotState.CONFIRMED
        plug_in(reader)
        assert ClientPin(connect(reader)).get_pin_token(PIN)
        assert format_in(reader) == 2


@every_release
@every_reader
def test_a_reader_goes_back_from_a_trial_with_its_state_as_it_was(version, board, today, later):
    with kept_reader(version, board, today[board]["bin"]) as reader:
        flash_reader(reader, today[board])
        bench = plug_in(reader)
        assert ClientPin(connect(reader)).get_pin_token(PIN)
        begin_trial(bench, Update.parse(later[board]["update"].read_bytes()))
        assert ClientPin(connect(reader)).get_pin_token(PIN)  # it writes
        assert format_in(reader) == 1
        plug_in(reader)
        assert connect(reader).info.firmware_version == 0x090000
        assert ClientPin(connect(reader)).get_pin_token(PIN)


@every_reader
def test_an_update_that_cannot_read_the_state_is_refused_by_host_and_reader(
    board, today, later, monkeypatch
):
    with kept_reader(RELEASES[-1], board, today[board]["bin"]) as reader:
        flash_reader(reader, today[board])
        update_reader(reader, later[board])
        with pytest.raises(RefusedError, match="state has format 2; the update reads 1"):
            update_reader(reader, today[board])
        monkeypatch.setattr(usb, "_check", lambda now, header: None)
        ClientPin(connect(reader)).get_pin_retries()
        before = reader.flash.operations
        with pytest.raises(usb.ReaderRefusedError):
            usb.install(
                bench := Bench(AtHand(reader)),
                Update.parse(today[board]["update"].read_bytes()),
                bench.person,
            )
        assert reader.flash.operations == before


@every_reader
def test_a_readers_migration_that_is_cut_is_done_before_or_after(board, today, later):
    """At every operation of the confirmation's: the PIN opens it, and the next start ends it."""
    with kept_reader(RELEASES[-1], board, today[board]["bin"]) as reader:
        flash_reader(reader, today[board])
        bench = plug_in(reader)
        begin_trial(bench, Update.parse(later[board]["update"].read_bytes()))
        begin, migrated = bytes(reader.flash.memory), []
        reader.flash.fault_plan = migrated.append
        with bench.find() as device:
            assert ask(device, usb.UpdateStep.CONFIRM, b"", bench.pressing) == b"\x00"
        reader.flash.fault_plan = None
        assert format_in(reader) == 2 and len(migrated) >= 3
        for cut in range(len(migrated) + 1):
            reader.power_off()
            reader.flash.load(0, begin)
            for done in migrated[:cut]:
                reader.flash.load(done.address, done.new)
            plug_in(reader)
            assert ClientPin(connect(reader)).get_pin_token(PIN)
            runs = usb.reader_state(AtHand(reader).device())
            assert runs.running.header is not None
            kept = runs.running.header.version == "9.1.0"
            assert runs.state_format == (2 if kept else 1), cut
        assert kept


@every_release
@every_reader
def test_a_reader_of_each_release_starts_with_it_and_with_the_firmware_of_today(
    version, board, today, later
):
    with kept_reader(version, board, today[board]["bin"]) as reader:
        for number, outputs in enumerate((None, today[board], later[board], later[board])):
            reader.power_off()
            if outputs is not None:
                flash_reader(reader, outputs)
            reader.power_on()
            client = ClientPin(connect(reader))
            assert client.get_pin_retries()[0] == (7 if number == 0 else 8)
            assert client.get_pin_token(PIN)


def counter(rig: Rig) -> int:
    """Of signatures, as a log-in tells it."""
    begin, _ = rig.server.authenticate_begin(user_verification="required")
    answer = rig.client().get_assertion(begin.public_key).get_response(0)
    found: int = answer.response.authenticator_data.counter
    return found


@pytest.mark.parametrize("size", [82, 88])
@every_reader
def test_a_shorter_state_of_earlier_firmware_is_read_in_all_its_fields(board, size, today, cut_to):
    rig = Rig(Image.load(cut_to(board, size)["bin"]))
    ClientPin(rig.ctap()).set_pin(PIN)
    rig.enrol("thumb")
    rig.enrol("index")
    made = rig.register()
    counted = counter(rig)
    with pytest.raises(CtapError):
        ClientPin(rig.ctap()).get_pin_token("0000")
    rig.reader.power_off()
    flash_reader(rig.reader, today[board])
    after = Rig(Image.load(today[board]["bin"]), rig.image_of_flash(), rig.sensor)
    assert ClientPin(after.ctap()).get_pin_retries()[0] == 7
    assert format_in(after.reader) == 1
    assert after.token(ClientPin.PERMISSION.CREDENTIAL_MGMT)[1]
    for after.person.finger in ("thumb", "index"):
        after.log_in([made.credential_data])
    assert counter(after) > counted
    # From here on it is as long as today's.
    after.replug()
    assert after.token(ClientPin.PERMISSION.CREDENTIAL_MGMT)[1]
    after.log_in([made.credential_data])
    rig.close()
    after.close()


@pytest.mark.parametrize("size", [82, 88])
@every_reader
def test_a_copy_from_before_anything_was_burnt_gives_no_try_back(board, size, today, cut_to):
    """It counts no wrong try, and no change of PIN."""
    rig = Rig(Image.load(cut_to(board, size)["bin"]))
    ClientPin(rig.ctap()).set_pin(PIN)
    rig.reader.power_off()
    flash_reader(rig.reader, today[board])
    copy = rig.image_of_flash()
    after = Rig(Image.load(today[board]["bin"]), copy, rig.sensor)
    left = []
    for _ in range(10):
        left.append(ClientPin(after.ctap()).get_pin_retries()[0])
        with pytest.raises(CtapError):
            ClientPin(after.ctap()).get_pin_token("0000")
        after.reader.power_off()
        after.reader.flash.load(0, copy)
        after.replug()
    assert left == [8, 7, 6, 5, 4, 3, 2, 1, 0, 0]
    after.close()
    changed = Rig(Image.load(today[board]["bin"]), copy, rig.sensor)
    ClientPin(changed.ctap()).change_pin(PIN, "97531")
    changed.reader.power_off()
    changed.reader.flash.load(0, copy)
    changed.replug()
    assert not changed.ctap().info.pin_uv_protocols  # damaged: nothing of it is believed
    changed.close()
    rig.close()


@pytest.mark.parametrize("size", [81, 83, 116])
@every_reader
def test_a_length_that_the_known_format_never_had_is_strange(board, size, today, cut_to):
    with kept_reader(RELEASES[-1], board, cut_to(board, size)["bin"]) as reader:
        flash_reader(reader, cut_to(board, size))
        reader.power_on()
        assert ClientPin(connect(reader)).get_pin_token(PIN)  # it writes
        reader.power_off()
        flash_reader(reader, today[board])
        before = reader.flash.operations
        reader.power_on()
        for attempt in (connect(reader).selection, connect(reader).reset):
            with pytest.raises(CtapError) as refused:
                attempt()
            assert int(refused.value.code) == NEWER_STATE
        assert format_in(reader) == 0 and reader.flash.operations == before


@every_reader
def test_a_reader_with_a_later_state_says_so_and_writes_nothing(board, today, later):
    with kept_reader(RELEASES[-1], board, today[board]["bin"]) as reader:
        flash_reader(reader, later[board])
        reader.power_on()
        assert ClientPin(connect(reader)).get_pin_token(PIN)
        reader.power_off()
        flash_reader(reader, today[board])
        before = reader.flash.operations
        reader.power_on()
        ctap = connect(reader)
        assert ctap.info.versions
        for attempt in (ctap.selection, ctap.reset):
            with pytest.raises(CtapError) as refused:
                attempt()
            assert int(refused.value.code) == NEWER_STATE
        # The host tells it from a damaged one: a reset would lose everything.
        bench = Bench(AtHand(reader))
        with pytest.raises(RefusedError, match="state is of a newer firmware") as told:
            usb.install(bench, Update.parse(today[board]["update"].read_bytes()), bench.person)
        assert "Flash the newer firmware" in told.value.todo and "eset" not in told.value.todo
        assert bench.asked == [] and reader.flash.operations == before
        reader.power_off()
        flash_reader(reader, later[board])
        reader.power_on()
        assert ClientPin(connect(reader)).get_pin_token(PIN)
