"""What a board is locked with, byte for byte beside picotool, RM0351 and the RP2350's sheet."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.common.errors import BadInputError, RefusedError
from tallystick.emulator.boards import find
from tallystick.tools import uf2
from tallystick.tools.lock import boot_image, boot_key, one_time, option_bytes, picobin
from tallystick.tools.lock.boot_key import BootKey
from tests import needs

VECTOR = json.loads((Path(__file__).parents[2] / "vectors" / "picobin_seal.json").read_text())
FLASH = 0x10000000
BLOCK_AT = 0x110
# Items of the signing block, in words of the image's own (RP2350 data sheet, 5.9.3).
SIGNATURE_AT, SIGNATURE_SIZE = 0x78, 64


def program(size: int = 2048) -> bytes:
    """What an RP2350 would start: a vector table and one block, an IMAGE_DEF for Arm, Secure."""
    code = bytearray((number * 37 + 11) & 0xFF for number in range(size))
    struct.pack_into("<II", code, 0, 0x20082000, 0x1000015D)
    struct.pack_into("<5I", code, BLOCK_AT, 0xFFFFDED3, 0x10210142, 0x1FF, 0, 0xAB123579)
    return bytes(code)


@pytest.fixture(scope="module")
def key() -> BootKey:
    return BootKey.generate()


# -- the boot image ------------------------------------------------------------------------------


def test_a_signed_image_is_picotools_but_for_the_signature():
    """ECDSA's signatures differ: picotool draws its nonces. All else is the same, and both hold."""
    development = BootKey.development()
    ours = picobin.sign(program(), FLASH, development)
    theirs = bytes.fromhex(VECTOR["block"])
    block = ours[2048:]
    assert len(block) == len(theirs)
    at = SIGNATURE_AT
    end = at + SIGNATURE_SIZE
    assert block[:at] == theirs[:at] and block[end:] == theirs[end:]
    assert struct.unpack_from("<I", ours, VECTOR["next_offset"])[0] == VECTOR["next"]
    assert picobin.signer(ours[:2048] + theirs) == development.public


def test_the_key_hash_and_the_rows_are_picotools():
    hashed = BootKey.development().digest
    assert list(hashed) == VECTOR["otp"]["bootkey0"]
    assert VECTOR["otp"]["crit1"] == {"secure_boot_enable": 1}
    assert VECTOR["otp"]["boot_flags1"] == {"key_valid": 1}


def test_a_signature_is_the_same_each_time_and_of_this_key_only(key):
    image = picobin.sign(program(), FLASH, key)
    assert image == picobin.sign(program(), FLASH, key)
    assert picobin.signer(image) == key.public != BootKey.development().public
    assert picobin.signer(program()) is None
    again = picobin.sign(image, FLASH, BootKey.development())  # signed once more, over the first
    assert picobin.signer(again) == BootKey.development().public
    assert len(picobin.blocks(again)) == 3


@given(st.integers(0, 2243), st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_not_signed(at, bit):
    key = BootKey.development()
    image = bytearray(picobin.sign(program(), FLASH, key))
    image[at] ^= 1 << bit
    with suppress(BadInputError):  # the loop is broken: not started either
        assert picobin.signer(bytes(image)) != key.public


@given(st.binary(max_size=600))
def test_whatever_stands_in_an_image_is_read_or_refused(data):
    marked = data[:8] + struct.pack("<I", picobin.START) + data[8:]
    for image in (data, marked):
        try:
            picobin.signer(image)
        except BadInputError as error:
            assert error.what


@pytest.mark.parametrize(
    ("kind", "why"),
    [(0x10210142 | 1 << 24, "Arm"), (0x00210142, "Arm"), (0x10220142, "Arm")],
    ids=["RISC-V", "RP2040", "data"],
)
def test_an_image_for_another_chip_is_not_signed(key, kind, why):
    image = bytearray(program())
    struct.pack_into("<I", image, BLOCK_AT + 4, kind)
    with pytest.raises(BadInputError, match=why):
        picobin.sign(bytes(image), FLASH, key)


def test_a_loop_that_never_ends_is_refused(key):
    image = bytearray(program())
    struct.pack_into("<i", image, BLOCK_AT + 12, 0x40)
    with pytest.raises(BadInputError, match="loop is broken"):
        picobin.sign(bytes(image), FLASH, key)


def test_a_boot_image_is_whole_pages_and_stays_out_of_our_area(key):
    board = find("pico2")
    made = boot_image.signed(board, [(FLASH, program()[:1999])], key)
    [(address, content)] = uf2.decode(made)
    assert address == FLASH and picobin.signer(content) == key.public
    with pytest.raises(BadInputError, match="does not begin where"):
        boot_image.signed(board, [(FLASH + 256, program())], key)
    with pytest.raises(BadInputError, match="reaches into the firmware's area"):
        boot_image.signed(board, [(FLASH, program(board.storage.address))], key)


# -- keys ----------------------------------------------------------------------------------------


def test_a_key_file_is_its_owners_and_comes_back(tmp_path, key):
    path = tmp_path / "boot.pem"
    key.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert boot_key.read(path).public == key.public
    assert str(int.from_bytes(key.public[:8], "big")) not in repr(key)
    before = path.read_bytes()
    with pytest.raises(BadInputError, match="exists already"):
        BootKey.generate().save(path)
    assert path.read_bytes() == before
    path.chmod(0o644)
    with pytest.raises(BadInputError, match="Others may read"):
        boot_key.read(path)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN EC PRIVATE KEY-----\n", b"\xff" * 99])
def test_what_is_no_boot_key(tmp_path, content):
    path = tmp_path / "boot.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(BadInputError, match="is no boot key"):
        boot_key.read(path)


# -- rows that are burnt once --------------------------------------------------------------------


def test_the_files_are_as_picotool_takes_them(key):
    """The names of rows and fields: RP2350 data sheet, 13.10; what a file may hold: picotool's
    schema of OTP settings."""
    files = one_time.plan(key)
    assert [file.name[0] for file in files] == list("12345")
    rows = {name: value for file in files for name, value in file.rows.items()}
    assert rows["bootkey0"] == list(key.digest) and len(rows["bootkey0"]) == 32
    assert rows["boot_flags1"] == {"key_valid": 1, "key_invalid": 0b1110}
    assert rows["crit1"]["secure_boot_enable"] == rows["crit1"]["debug_disable"] == 1
    for file in files:
        assert json.loads(file.encode()) == file.rows
        for name, value in file.rows.items():
            assert re.fullmatch(r"[\d\w_]+", name)
            if isinstance(value, str):
                assert re.fullmatch(r"0x[0-9a-fA-F]{1,6}", value)
            elif isinstance(value, dict):
                assert all(isinstance(number, int) for number in value.values())
        assert file.words


def test_the_locks_of_the_pages(key):
    """PAGEn_LOCK1: LOCK_S in bits 0-1, LOCK_NS in 2-3, LOCK_BL in 4-5, three times over."""
    rows = {name: value for file in one_time.plan(key) for name, value in file.rows.items()}
    for name, secure, others in (("page0", 1, 3), ("page1", 1, 1), ("page2", 1, 1)):
        word = int(rows[f"{name}_lock1"], 16)
        assert word.to_bytes(3, "big") == bytes([word & 0xFF]) * 3
        assert (word & 3, word >> 2 & 3, word >> 4 & 3) == (secure, others, others)


def test_the_order_leaves_a_chip_that_can_be_gone_on_with(key):
    order = [name for file in one_time.plan(key) for name in sorted(file.rows)]
    assert order.index("bootkey0") < order.index("boot_flags1") < order.index("crit1")
    assert order[-2:] == ["boot_flags0", "page1_lock1"]


def test_the_published_key_is_never_burnt():
    with pytest.raises(RefusedError, match="published development boot key") as refused:
        one_time.plan(BootKey.development())
    assert refused.value.kept == "Nothing was burnt."


# -- option bytes --------------------------------------------------------------------------------


def test_option_bytes_of_the_stm32():
    """RM0351: FLASH_OPTR 0x20 (RDP 7:0, BOR_LEV 10:8, BFB2 20), FLASH_WRP1AR 0x2C, WRP1BR 0x30,
    WRP2AR 0x4C (STRT 7:0, END 23:16), pages of 2 KB, 256 a bank."""
    made = option_bytes.plan(find("nucleo_l476rg"), 2)
    assert [(r.offset, r.value, r.mask) for r in (*made.first, made.last)] == [
        (0x2C, 0x00E40000, 0x00FF00FF),  # pages 0 to 228: all below the boot record
        (0x30, 0x00E700E7, 0x00FF00FF),  # page 231: identity
        (0x4C, 0x00070000, 0x00FF00FF),  # bank 2, pages 0 to 7: the boot stage
        (0x20, 0x00000100, 0x00100700),
        (0x20, 0x000000CC, 0x000000FF),
    ]
    assert option_bytes.plan(find("nucleo_l476rg"), 1).last.value not in (0xAA, 0xCC)


def test_what_the_card_writes_is_not_protected():
    board = find("nucleo_l476rg")
    protected: set[int] = set()
    for register in option_bytes.plan(board, 2).first[:3]:
        bank = 0x80000 if register.offset == 0x4C else 0
        first, last = register.value & 0xFF, register.value >> 16
        protected |= set(range(bank + first * 2048, bank + (last + 1) * 2048, 2048))
    for region in (board.record, board.journal, *board.slots):
        assert not protected & set(range(region.address, region.end, 2048))
    for region in (board.boot, board.identity):
        assert set(range(region.address, region.end, 2048)) <= protected


@needs.openocd.mark
def test_openocd_has_the_commands():
    """A real OpenOCD reads the target's file, and says how its commands are used."""
    done = subprocess.run(
        [
            str(shutil.which("openocd")), "-c", "adapter driver dummy", "-c",
            "transport select jtag", "-f", "target/stm32l4x.cfg", "-c", "help stm32l4x", "-c",
            "shutdown",
        ],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    said = " ".join((done.stdout + done.stderr).split())
    assert re.search(r"stm32l4x option_write bank_id reg_offset value mask", said), said[-2000:]
    assert "stm32l4x option_load bank_id" in said


@pytest.mark.parametrize("board", ["pico", "pico2", "pico2_card"])
def test_other_boards_have_no_option_bytes(board):
    with pytest.raises(BadInputError, match="has no option bytes"):
        option_bytes.plan(find(board), 2)
