"""The files of an emulated reader hold templates and keys: who may read them, and what they are."""

from __future__ import annotations

import os
import random
import re
import resource
import socket
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tallystick.cli import main, tally
from tallystick.common.errors import BadInputError
from tallystick.common.paths import OUTPUT_FILE
from tallystick.emulator.chips.rp2350 import Rp2350
from tallystick.emulator.devices.kept_files import KeptFiles, keep_flash, keep_sensor

_TEMPLATE = (b"first", b"second")


def _rights(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("left_over", [False, True])
def test_templates_are_for_their_owner_only(tmp_path: Path, left_over: bool) -> None:
    """Whatever a killed emulator, or somebody else, has left under the name of the next one."""
    path, part = tmp_path / "sensor", tmp_path / "sensor.part"
    if left_over:
        part.write_text("left")
        part.chmod(0o666)
    before = os.umask(0)
    try:
        flash = keep_sensor(path)
        assert _rights(path) == 0o600
        flash.templates[3] = _TEMPLATE
        flash.on_write()
    finally:
        os.umask(before)
    assert _rights(path) == 0o600 and not part.exists()


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    (tmp_path / "sensor.part").symlink_to(elsewhere)
    keep_sensor(tmp_path / "sensor")
    assert elsewhere.read_text() == "untouched"
    assert not (tmp_path / "sensor").is_symlink()


def test_what_a_link_leads_to_is_kept(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "sensor")
    keep_sensor(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "sensor").is_file()


def test_all_three_are_for_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        kept = KeptFiles(tmp_path / "flash", 4096)
    finally:
        os.umask(before)
    os.close(kept.descriptor)
    assert {path.name: _rights(path) for path in tmp_path.iterdir()} == {
        "flash": 0o600,
        "flash.sensor": 0o600,
    }


def test_two_sensors_do_not_live_in_one_file(tmp_path: Path) -> None:
    flash = keep_sensor(tmp_path / "sensor")
    with pytest.raises(BadInputError, match="Another emulator"):
        keep_sensor(tmp_path / "sensor")
    flash.templates[3] = _TEMPLATE
    flash.on_write()
    with pytest.raises(BadInputError, match="Another emulator"):
        keep_sensor(tmp_path / "sensor")


def _odd(path: Path, kind: str) -> None:
    """Something under this name that is no file."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    else:
        path.symlink_to(path if kind == "itself" else "/dev/zero")


_ODD = ["pipe", "folder", "socket", "itself", "device"]


def _all_three(folder: Path) -> None:
    KeptFiles(folder / "flash", 4096).keep_rows(Rp2350(random.Random(1)))


@pytest.mark.parametrize("kind", _ODD)
@pytest.mark.parametrize("name", ["flash", "flash.sensor", "flash.rows"])
def test_what_is_no_file_is_refused_and_stays(tmp_path: Path, name: str, kind: str) -> None:
    """An emulator put its file in place of it, or waited for ever."""
    _odd(tmp_path / name, kind)
    before = os.lstat(tmp_path / name)
    with pytest.raises(BadInputError, match=r"is no file|cannot be opened"):
        _all_three(tmp_path)
    assert os.lstat(tmp_path / name)[:3] == before[:3]


@pytest.mark.parametrize("name", ["flash.sensor.part", "flash.rows.part"])
def test_what_cannot_be_kept_is_said_at_the_start(tmp_path: Path, name: str) -> None:
    """What was burnt is written seldom: nobody would notice for weeks."""
    (tmp_path / name).mkdir()
    with pytest.raises(BadInputError, match="cannot be written"):
        _all_three(tmp_path)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[]", '{"-1": 1}', '{"0": -1}', '{"0": true}', '{"0": 1.5}', "\0"]
)
def test_rows_that_no_chip_has(tmp_path: Path, text: str) -> None:
    (tmp_path / "flash.rows").write_text(text)
    with pytest.raises(BadInputError, match=r"flash\.rows cannot be read"):
        _all_three(tmp_path)
    assert (tmp_path / "flash.rows").read_text() == text


@pytest.mark.parametrize("name", ["flash.sensor", "flash.rows"])
def test_a_spoiled_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("spoiled")
    with pytest.raises(BadInputError, match=name):
        _all_three(tmp_path)


@pytest.mark.parametrize("name", ["flash.sensor", "flash.rows"])
def test_a_file_without_an_end_is_not_read_to_it(tmp_path: Path, name: str) -> None:
    """Somebody's disk image, mistyped: it took as much memory."""
    with (tmp_path / name).open("wb") as file:
        file.truncate(1 << 28)
    tracemalloc.start()
    try:
        with pytest.raises(BadInputError, match=name):
            _all_three(tmp_path)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 1 << 26


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder that others come to."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)
        Path(folder).chmod(0o700)


@pytest.fixture
def nobody() -> Iterator[None]:
    """Who may not read everything, as the tests' own user may."""
    me = os.geteuid()
    if not me:
        os.seteuid(65534)
    yield
    os.seteuid(me)


@pytest.mark.parametrize("keep", [keep_sensor, lambda path: KeptFiles(path, 4096)])
@pytest.mark.parametrize("closed", ["file", "sensor's file", "folder"])
def test_what_may_not_be_read_is_said(
    temporary: Path, keep: Callable[[Path], object], closed: str, request: pytest.FixtureRequest
) -> None:
    path = temporary / "flash"
    for file in (path, path.with_name("flash.sensor")):
        file.write_bytes(b"")
        file.chmod(0o666)
    shut = {"file": path, "sensor's file": path.with_name("flash.sensor"), "folder": temporary}
    shut[closed].chmod(0)
    request.getfixturevalue("nobody")
    if closed == "sensor's file" and keep is keep_sensor:
        path = shut[closed]
    with pytest.raises(BadInputError, match=re.escape(str(path))):
        keep(path)


def test_a_folder_that_may_not_be_entered_takes_no_output(
    temporary: Path, request: pytest.FixtureRequest
) -> None:
    temporary.chmod(0)
    request.getfixturevalue("nobody")
    with pytest.raises(click.BadParameter, match="may not be entered"):
        OUTPUT_FILE.convert(temporary / "out", None, None)


_FILES = [
    ("reader", "--identity"), ("reader", "--image"), ("reader", "--flash"),
    ("sensor", "--flash"),
    ("card", "--identity"), ("card", "--image"), ("card", "--flash"),
]  # fmt: skip
_WRITTEN = [("card", option) for option in ("--vcd", "--current", "--events", "--apdu-log")]


@pytest.mark.parametrize("kind", [*_ODD, "memory"])
@pytest.mark.parametrize(("device", "option"), [*_FILES, *_WRITTEN])
def test_an_odd_file_is_said_at_once(
    tmp_path: Path, device: str, option: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is named in place of a file: a sentence about it, and no emulator, and no wait."""
    path = tmp_path / "odd"
    if kind == "memory":
        path.symlink_to("/proc/self/mem")  # says that it is a file
    else:
        _odd(path, kind)
    if (device, option) in _WRITTEN and kind in ("device", "memory"):
        return  # it takes what is written
    where = {"reader": ["--hid-udp", "0"], "sensor": ["--pty"], "card": []}[device]
    with pytest.raises(SystemExit) as ended:
        main(["emulate", device, *where, option, str(path)])
    assert ended.value.code in (2, 3)
    said = capsys.readouterr().err.replace("\n", "")
    assert any(str(one) in said for one in (path, Path(os.path.realpath(path))))


def test_a_pipe_that_somebody_reads_takes_what_is_written(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reads = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert OUTPUT_FILE.convert(str(pipe), None, None) == pipe
    with pipe.open("w", encoding="utf-8") as file:
        file.write("written")
    assert os.read(reads, 100) == b"written"
    with pytest.raises(BlockingIOError):
        os.read(reads, 100)  # it has not come to its end
    os.close(reads)
    with pytest.raises(click.BadParameter, match="nobody reads"):
        OUTPUT_FILE.convert(str(pipe), None, None)


def test_a_flash_that_there_is_no_room_for(tmp_path: Path) -> None:
    """As on a full disk: it is said, and not noticed by a signal."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(BadInputError, match="cannot hold the 4096 bytes"):
            keep_flash(tmp_path / "flash", 4096)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "flash").stat().st_size == 0


def test_a_device_is_no_flash() -> None:
    with pytest.raises(BadInputError, match="is no file"):
        keep_flash(Path("/dev/null"), 4096)


def test_a_segment_is_not_read_for_ever() -> None:
    words = ["emulate", "reader", "--identity", "/dev/zero", "--hid-udp", "0"]
    result = CliRunner().invoke(tally, words)
    assert "is no file" in result.output + str(result.exception)
