"""`tally flash --lock`: the dry run, what is refused, and what is burnt."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tallystick.common.identity import Identity
from tallystick.common.reader_identity import AAGUID, ReaderIdentity, issue
from tallystick.common.secret import Secret
from tallystick.emulator.boards import find
from tallystick.tools import uf2
from tallystick.tools.image.build import build, write
from tallystick.tools.image.cli import image as image_command
from tallystick.tools.image.keys import SigningKey
from tallystick.tools.line.cli import flash
from tallystick.tools.lock.boot_key import BootKey
from tests.tools.lock import fakes
from tests.tools.lock.test_formats import FLASH, program

STM32, RP2350, READER = "nucleo_l476rg", "pico2_card", "pico2"
SERIAL = "TS00000007"
MASTER = bytes(range(16))
FIRM = SigningKey.of(bytes(range(32)))


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> dict[str, Path]:
    """Signed by a firm; and "development", which anybody signs."""
    made = {}
    for board in (STM32, RP2350):
        folder = tmp_path_factory.mktemp("image")
        write(build("card", board, "1.0.0", key=FIRM), folder)
        made[board] = folder
    made["development"] = tmp_path_factory.mktemp("image")
    write(build("card", STM32, "1.0.0"), made["development"])
    return made


class Desk:
    """A board behind the program that locks it."""

    def __init__(self, folder: Path, board: str, image: Path, extra: list[str]) -> None:
        self.folder, self.image, self.extra = folder, image, extra
        self.board = find(board)
        self.content = bytearray(b"\xff" * self.board.flash_size)
        self.put(self.board.storage.address, (image / f"{self.board.device}.bin").read_bytes())
        self.give(Identity.derive(SERIAL, 20260101, MASTER).encode())

    def put(self, at: int, data: bytes) -> None:
        self.content[at : at + len(data)] = data
        (self.folder / "flash.bin").write_bytes(self.content)

    def give(self, segment: bytes) -> None:
        self.put(self.board.identity.address, segment.ljust(self.board.identity.size, b"\xff"))

    def change(self, **values: object) -> None:
        path = self.folder / "state"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    def lock(self, *more: str, image: Path | None = None) -> Result:
        words = [str(image or self.image), "--lock", *self.extra, *more]
        return CliRunner().invoke(flash, words)

    def burnt(self) -> bool:
        return any(
            word.startswith("stm32l4x option") or word == "load"
            for call in fakes.calls(self.folder)
            for word in call
        )


@pytest.fixture
def stm32(tmp_path, monkeypatch, images) -> Desk:
    folder = fakes.install(tmp_path / "bin", monkeypatch, "openocd", fakes.OPENOCD)
    return Desk(folder, STM32, images[STM32], [])


@pytest.fixture
def boot(tmp_path) -> tuple[Path, Path]:
    """(key file, signed MicroPython)"""
    key, base, out = tmp_path / "boot.pem", tmp_path / "micropython.uf2", tmp_path / "boot.uf2"
    base.write_bytes(uf2.encode_parts([(FLASH, program())], 0xE48BFF57))
    runner = CliRunner()
    made = runner.invoke(image_command, ["keys", "boot", str(key), "--json"])
    assert made.exit_code == 0, made.output
    words = ["boot", str(base), "--board", RP2350, "--boot-key", str(key), "--out", str(out)]
    assert runner.invoke(image_command, words).exit_code == 0
    return key, out


@pytest.fixture
def rp2350(tmp_path, monkeypatch, images, boot) -> Desk:
    folder = fakes.install(tmp_path / "bin", monkeypatch, "picotool", fakes.PICOTOOL)
    key, out = boot
    desk = Desk(folder, RP2350, images[RP2350], ["--boot-key", str(key), "--boot-image", str(out)])
    [(address, content)] = uf2.decode(out.read_bytes())
    desk.put(address - FLASH, content)
    return desk


@pytest.fixture(params=["stm32", "rp2350"])
def desk(request) -> Desk:
    return request.getfixturevalue(request.param)


def said(result: Result) -> str:
    return result.output + str(getattr(result.exception, "kept", "")) + str(result.exception)


def test_a_dry_run_says_in_words_what_would_be_burnt(desk):
    result = desk.lock()
    assert result.exit_code == 0, result.output
    assert "For ever, into a card on" in result.output and "Nothing was burnt" in result.output
    assert not desk.burnt()


def test_a_dry_run_needs_no_board_and_speaks_json(desk):
    desk.change(gone=True)
    result = desk.lock("--json")
    told = json.loads(result.stdout)
    assert told["burnt"] == [] and told["serial"] is None and len(told["would_burn"]) >= 5


def test_an_stm32_is_locked(stm32):
    result = stm32.lock("--yes-for-ever", SERIAL)
    assert result.exit_code == 0, said(result)
    registers = fakes.state(stm32.folder)["registers"]
    assert registers["0x40022020"] == 0xFFEFF9CC
    assert registers["0x4002202c"] == 0xFFE4FF00 & 0xFF00FF00 | 0x00E40000
    assert registers["0x40022030"] & 0x00FF00FF == 0x00E700E7
    assert registers["0x4002204c"] & 0x00FF00FF == 0x00070000
    # Read-out protection came alone, after the others had been read back.
    burning = [c for c in fakes.calls(stm32.folder) if any("option_write" in word for word in c)]
    assert [sum("option_write" in word for word in call) for call in burning] == [4, 1]


def test_level_1_can_be_asked_for(stm32):
    assert stm32.lock("--read-out", "1", "--yes-for-ever", SERIAL).exit_code == 0
    registers = fakes.state(stm32.folder)["registers"]
    assert registers["0x40022020"] & 0xFF == 0xBB
    assert "is locked already" in said(stm32.lock("--yes-for-ever", SERIAL))


def test_an_option_that_is_not_taken_ends_before_the_read_out_protection(stm32):
    stm32.change(stuck=[0x4C])
    result = stm32.lock("--yes-for-ever", SERIAL)
    assert "did not take this: write protection of pages 0 to 7: the boot stage" in said(result)
    assert fakes.state(stm32.folder)["registers"]["0x40022020"] & 0xFF == 0xAA


def test_an_rp2350_is_locked_in_the_order_of_the_files(rp2350, boot):
    result = rp2350.lock("--yes-for-ever", SERIAL)
    assert result.exit_code == 0, said(result)
    loaded = [Path(c[2]).name for c in fakes.calls(rp2350.folder) if c[:2] == ["otp", "load"]]
    assert loaded == sorted(loaded) and len(loaded) == 5
    rows = fakes.state(rp2350.folder)["rows"]
    assert rows["crit1"]["secure_boot_enable"] == 1
    assert rows["boot_flags0"]["disable_bootsel_usb_picoboot_ifc"] == 1


def test_a_lock_that_is_cut_goes_on(rp2350):
    rp2350.change(cut="4-pages.json")
    result = rp2350.lock("--yes-for-ever", SERIAL)
    assert "picotool otp failed" in said(result)
    assert "boot_flags0" not in fakes.state(rp2350.folder)["rows"]  # picotool still gets in
    rp2350.change(cut="")
    assert rp2350.lock("--yes-for-ever", SERIAL).exit_code == 0


def test_the_files_can_be_kept(rp2350, tmp_path):
    assert rp2350.lock("--out", str(tmp_path / "rows")).exit_code == 0
    assert len(list((tmp_path / "rows").iterdir())) == 5
    assert not rp2350.burnt()


# -- a reader: its attestation key ----------------------------------------------------------------


@pytest.fixture
def reader(tmp_path, monkeypatch, boot, batch) -> Desk:
    """With a batch of a firm's own, and the signed MicroPython."""
    folder = fakes.install(tmp_path / "bin", monkeypatch, "picotool", fakes.PICOTOOL)
    key, out = boot
    image = tmp_path / "image"
    write(build("reader", READER, "1.0.0", key=FIRM), image)
    desk = Desk(folder, READER, image, ["--boot-key", str(key), "--boot-image", str(out)])
    desk.give(batch.encode())
    [(address, content)] = uf2.decode(out.read_bytes())
    desk.put(address - FLASH, content)
    return desk


@pytest.fixture(scope="module")
def batch() -> ReaderIdentity:
    root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    certificate = issue(root, "A firm's root", key, AAGUID, "A firm").public_bytes(Encoding.DER)
    secret = Secret(key.private_numbers().private_value.to_bytes(32, "big"))
    return ReaderIdentity("TR00000007", certificate, secret)


def held(desk: Desk) -> bytes:
    content = (desk.folder / "flash.bin").read_bytes()
    at = desk.board.identity.address
    return content[at : at + desk.board.identity.size]


def test_a_readers_attestation_key_leaves_its_flash(reader, batch):
    result = reader.lock("--yes-for-ever", batch.serial)
    assert result.exit_code == 0, said(result)
    rows = fakes.state(reader.folder)["rows"]
    key = batch.key.reveal()
    assert rows["52:0"] == {"ecc": True, "value": list(key)}
    assert rows["page52_lock1"] == rows["page0_lock1"] == "0x3d3d3d"
    assert key not in (reader.folder / "flash.bin").read_bytes()
    assert held(reader).rstrip(b"\xff") == replace(batch, burnt=True).encode().rstrip(b"\xff")
    loaded = [Path(c[2]).name for c in fakes.calls(reader.folder) if c[:2] == ["otp", "load"]]
    assert loaded == sorted(loaded) and loaded[0] == "0-attestation-key.json"
    assert key.hex() not in result.output and str(list(key)) not in result.output


def test_a_dry_run_says_it_and_keeps_no_key_in_a_file(reader, batch, tmp_path):
    result = reader.lock("--out", str(tmp_path / "rows"))
    assert "the attestation key of its segment into page 52" in said(result).replace("\n", " ")
    kept = {path.name: path.read_bytes() for path in (tmp_path / "rows").iterdir()}
    assert len(kept) == 5 and b"52:0" not in b"".join(kept.values())
    assert not reader.burnt() and held(reader).startswith(batch.encode())


@pytest.mark.parametrize("cut", ["0-attestation-key.json", "1-boot-key.json", "4-pages.json"])
def test_a_readers_lock_that_is_cut_goes_on(reader, batch, cut):
    reader.change(cut=cut)
    assert "picotool otp failed" in said(reader.lock("--yes-for-ever", batch.serial))
    reader.change(cut="")
    result = reader.lock("--yes-for-ever", batch.serial)
    assert result.exit_code == 0, said(result)
    assert held(reader).startswith(replace(batch, burnt=True).encode())
    assert fakes.state(reader.folder)["rows"]["52:0"]["value"] == list(batch.key.reveal())


def test_a_flash_that_does_not_let_the_attestation_key_go(reader, batch):
    """The program says that it wrote; the board is not locked with its key in plain flash."""
    reader.change(deaf=True)
    result = reader.lock("--yes-for-ever", batch.serial)
    assert result.exit_code != 0 and "did not take its segment without the key" in said(result)
    assert set(fakes.state(reader.folder)["rows"]) == {"52:0"}
    reader.change(deaf=False)
    assert reader.lock("--yes-for-ever", batch.serial).exit_code == 0


def test_a_segment_that_was_cut_while_it_was_rewritten(reader, batch):
    """Its number is on its label; the segment is written again, and the same command goes on."""
    reader.change(pull=0)
    assert "picotool load failed" in said(reader.lock("--yes-for-ever", batch.serial))
    assert "crit1" not in fakes.state(reader.folder)["rows"]
    reader.give(b"")
    assert "has no serial number yet" in said(reader.lock("--yes-for-ever", batch.serial))
    reader.give(batch.encode())
    assert reader.lock("--yes-for-ever", batch.serial).exit_code == 0


@pytest.mark.parametrize("burnt", [False, True])
def test_the_published_batch(reader, burnt):
    reader.give(replace(ReaderIdentity.development("TR00000007"), burnt=burnt).encode())
    refused(reader, reader.lock("--yes-for-ever", "TR00000007"), "published development keys")


@pytest.mark.parametrize("burnt", [False, True])
def test_the_published_batch_under_a_certificate_of_ones_own(reader, burnt):
    """It looks like a firm's, and anybody attests with its key."""
    known = ReaderIdentity.development("TR00000007")
    key = ec.derive_private_key(int.from_bytes(known.key.reveal(), "big"), ec.SECP256R1())
    root = ec.generate_private_key(ec.SECP256R1())
    made = issue(root, "A firm's root", key, AAGUID, "A firm").public_bytes(Encoding.DER)
    reader.give(replace(known, certificate=made, burnt=burnt).encode())
    result = reader.lock("--yes-for-ever", known.serial)
    refused(reader, result, "published development keys")
    assert fakes.state(reader.folder)["rows"] == {}


# -- refused: nothing burnt, nothing lost ----------------------------------------------------------


def refused(desk: Desk, result: Result, what: str) -> None:
    assert result.exit_code != 0
    assert what in said(result), said(result)
    assert not desk.burnt()


def test_another_serial_number(desk):
    refused(desk, desk.lock("--yes-for-ever", "TS00000008"), "The board is TS00000007")


def test_a_board_without_a_serial_number(desk):
    desk.give(b"")
    refused(desk, desk.lock("--yes-for-ever", SERIAL), "has no serial number yet")


@pytest.mark.parametrize("at", [5, 40, 63, 100, 133])
def test_a_damaged_segment(desk, at):
    """Locked so, the card would show NO ID for ever."""
    segment = bytearray(Identity.derive(SERIAL, 20260101, MASTER).encode())
    segment[at] ^= 1
    desk.give(bytes(segment))
    said_serial = segment[5:15].decode()
    refused(desk, desk.lock("--yes-for-ever", said_serial), f"segment of {said_serial} is damaged")


def test_a_segment_of_another_device(desk):
    desk.give(ReaderIdentity.development(SERIAL).encode())
    refused(desk, desk.lock("--yes-for-ever", SERIAL), "has no serial number yet")


@pytest.mark.parametrize("date", [20260101, 20991231])
def test_the_published_transport_keys(desk, date):
    desk.give(Identity.derive(SERIAL, date).encode())
    refused(desk, desk.lock("--yes-for-ever", SERIAL), "published development keys")


def test_the_published_signing_key(stm32, images):
    result = stm32.lock("--development", "--yes-for-ever", SERIAL, image=images["development"])
    refused(stm32, result, "published development key")


def test_the_published_boot_key(rp2350, tmp_path):
    BootKey.development().save(tmp_path / "dev.pem")
    result = rp2350.lock("--boot-key", str(tmp_path / "dev.pem"), "--yes-for-ever", SERIAL)
    refused(rp2350, result, "published development boot key")


def test_another_firms_boot_key(rp2350, tmp_path):
    BootKey.generate().save(tmp_path / "other.pem")
    result = rp2350.lock("--boot-key", str(tmp_path / "other.pem"), "--yes-for-ever", SERIAL)
    refused(rp2350, result, "is not signed with this boot key")


def test_a_board_that_holds_another_image(desk):
    desk.put(desk.board.slots[0].address + 100, b"changed")
    result = desk.lock("--yes-for-ever", SERIAL)
    assert result.exit_code != 0 and not desk.burnt()


def test_a_micropython_that_is_not_the_signed_one(rp2350):
    rp2350.put(0x300, b"another")
    result = rp2350.lock("--yes-for-ever", SERIAL)
    refused(rp2350, result, "did not match")


def test_another_firms_image(desk):
    other = SigningKey.of(bytes(32)).public.hex()
    refused(
        desk, desk.lock("--public-key", other, "--yes-for-ever", SERIAL), "signed with another key"
    )


def test_a_confirmation_without_a_lock(stm32):
    result = CliRunner().invoke(
        flash, [str(stm32.image), "--program", "openocd", "--yes-for-ever", SERIAL]
    )
    refused(stm32, result, "--yes-for-ever goes with --lock")


def test_a_kit_has_nothing_to_be_locked(tmp_path, images, boot):
    key, out = boot
    folder = tmp_path / "kit"
    write(build("card", "pico", "1.0.0", key=FIRM), folder)
    for words in ([], ["--boot-key", str(key), "--boot-image", str(out)]):
        result = CliRunner().invoke(flash, [str(folder), "--lock", *words])
        assert "has nothing to be locked with" in said(result)


def test_an_rp2350_needs_its_key_and_its_boot_image(images, boot):
    for words in ([], ["--boot-key", str(boot[0])], ["--boot-image", str(boot[1])]):
        result = CliRunner().invoke(flash, [str(images[RP2350]), "--lock", *words])
        assert result.exit_code != 0 and "--boot-key and --boot-image" in said(result)


def test_a_word_of_another_boards_lock(stm32, rp2350, boot):
    """What is burnt would not be what was said."""
    words = ["--yes-for-ever", SERIAL]
    refused(
        rp2350, rp2350.lock("--read-out", "1", *words), "is not locked with a level of read-out"
    )
    for option, file in zip(("--boot-key", "--boot-image"), boot, strict=True):
        refused(stm32, stm32.lock(option, str(file), *words), "is not locked with a boot key")


def test_another_device_than_was_meant(desk):
    result = desk.lock("--device", "reader", "--yes-for-ever", SERIAL)
    refused(desk, result, "is for a card, not for a reader")


@pytest.mark.parametrize(
    "more",
    [
        ["--port", "auto"], ["--drive", "auto"], ["--program", "openocd"], ["--tray"],
        ["--allow-board"], ["--allow-downgrade"], ["--log", "log"],
    ],
)  # fmt: skip
def test_what_does_nothing_beside_a_lock_is_not_said(stm32, more):
    refused(stm32, stm32.lock("--yes-for-ever", SERIAL, *more), "--lock writes nothing")


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (["--read-out", "2"], "go with --lock"), (["--boot-key", "boot.pem"], "go with --lock"),
        (["--boot-image", "boot.uf2"], "go with --lock"), (["--out", "rows"], "go with --lock"),
        (["--place", "left"], "go with a job"), (["--operator", "ann"], "go with a job"),
        (["--boards", "2"], "go with a job"),
    ],
)  # fmt: skip
def test_a_word_of_a_lock_or_a_job_without_it(stm32, boot, more, what, monkeypatch):
    """A board would be written, and its operator believe that it is locked."""
    monkeypatch.chdir(boot[0].parent)
    words = [str(stm32.image), "--program", "openocd", *more]
    result = CliRunner().invoke(flash, words)
    refused(stm32, result, what)
    assert not fakes.calls(stm32.folder)


def test_a_boot_image_that_begins_elsewhere(rp2350, tmp_path, boot):
    """Signed as it should be, and nothing that the chip would look at."""
    [(address, content)] = uf2.decode(boot[1].read_bytes())
    for number, parts in enumerate(
        ([(address + 0x1000, content)], [(address, content), (address + 0x100000, b"more" * 64)])
    ):
        path = tmp_path / f"elsewhere{number}.uf2"
        path.write_bytes(uf2.encode_parts(parts, 0xE48BFF59))
        result = rp2350.lock("--boot-image", str(path), "--yes-for-ever", SERIAL)
        refused(rp2350, result, "is no boot image for")


@pytest.mark.parametrize("board", ["pico", STM32])
def test_a_board_without_secure_boot_gets_no_boot_image(tmp_path, boot, board):
    words = ["boot", str(tmp_path / "micropython.uf2"), "--board", board]
    words += ["--boot-key", str(boot[0]), "--out", str(tmp_path / "made.uf2")]
    result = CliRunner().invoke(image_command, words)
    assert f"{board} has no secure boot" in said(result)
    assert not (tmp_path / "made.uf2").exists()
