"""Per-card segments: from a running number or a CSV, with keys of the factory master."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from intelhex import IntelHex

from tallystick.common.errors import BadInputError
from tallystick.common.identity import DEVELOPMENT_MASTER, SIZE, Identity
from tallystick.common.secret import Secret
from tallystick.emulator.boards import BOARDS
from tallystick.tools.image.cards import read_csv, read_master, running_numbers, write_segments
from tallystick.tools.image.cli import image

MASTER = Secret(bytes(range(16)))


def write(tmp_path, text):
    path = tmp_path / "cards.csv"
    path.write_text(text)
    return path


def test_running_numbers():
    assert running_numbers("TS00000098", 3) == ["TS00000098", "TS00000099", "TS00000100"]
    assert running_numbers("0000000000", 2) == ["0000000000", "0000000001"]
    for first, count in (("TS99999999", 2), ("ABCDEFGHIJ", 1), ("short", 1), ("ts00000001", 1)):
        with pytest.raises(BadInputError):
            running_numbers(first, count)


def test_a_csv_with_other_columns(tmp_path):
    path = write(tmp_path, "\ufeffbatch,serial\n7,TS00000001\n7, TS00000002 \n")
    assert read_csv(path) == ["TS00000001", "TS00000002"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("number\nTS00000001\n", "no column named serial"),
        ("serial\nTS00000001\nTS0000000x\n", "line 3"),
        ("serial\nTS00000001\nTS00000002\nTS00000001\n", "line 4.*also in line 2"),
        ("serial\n", "names no card"),
    ],
)
def test_a_bad_csv_is_told_with_its_line(tmp_path, text, why):
    with pytest.raises(BadInputError, match=why):
        read_csv(write(tmp_path, text))


@pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))
def test_segments_go_where_the_card_looks(board, tmp_path):
    serials = ["TS00000001", "TS00000002"]
    done = write_segments(board, serials, master=MASTER, date=20260102, folder=tmp_path / "out")
    assert list(done) == serials
    for serial in serials:
        wanted = Identity.derive(serial, 20260102, MASTER.reveal()).encode()
        assert (tmp_path / "out" / f"{serial}.bin").read_bytes() == wanted
        path = tmp_path / "out" / f"{serial}.hex"
        address = board.chip.flash_base + board.identity.address
        assert IntelHex(str(path)).tobinstr(address, size=SIZE) == wanted
        assert path.stat().st_mode & 0o077 == 0


def test_no_serial_number_is_given_twice(tmp_path):
    board = next(iter(BOARDS.values()))
    list(write_segments(board, ["TS00000001"], master=MASTER, date=20260102, folder=tmp_path))
    before = (tmp_path / "TS00000001.bin").read_bytes()
    with pytest.raises(BadInputError, match="was given to a card"):
        list(write_segments(board, ["TS00000001"], master=MASTER, date=20260103, folder=tmp_path))
    assert (tmp_path / "TS00000001.bin").read_bytes() == before


def test_the_master_shows_nowhere(tmp_path):
    path = tmp_path / "master"
    path.write_text(bytes(range(16)).hex() + "\n")
    master = read_master(path)
    assert master.reveal() == bytes(range(16))
    assert "0001" not in repr(master)
    path.write_text("zz" * 16)
    with pytest.raises(BadInputError) as error:
        read_master(path)
    assert "zz" not in str(error.value)


def test_the_command(tmp_path):
    arguments = ["identity", "--board", "pico", "--out", str(tmp_path / "out")]
    run = CliRunner().invoke
    assert run(image, [*arguments, "--first", "TS00000001"]).exit_code == 2  # whose master?
    assert run(image, [*arguments, "--development"]).exit_code == 2  # which cards?
    result = run(image, [*arguments, "--development", "--first", "TS00000001", "--count", "2"])
    assert result.exit_code == 0, result.output
    assert DEVELOPMENT_MASTER.hex() not in result.output
    assert len(list((tmp_path / "out").iterdir())) == 4
