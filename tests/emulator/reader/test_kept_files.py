"""The files of an emulated reader hold templates and keys: who may read them, and what they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from tallystick.cli import tally
from tallystick.common.errors import BadInputError
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


@pytest.mark.parametrize("name", ["flash", "flash.sensor"])
def test_what_is_no_file_is_refused_and_stays(tmp_path: Path, name: str) -> None:
    """A pipe, or a device: an emulator put its file in place of it, or waited for ever."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(BadInputError, match="is no file"):
        KeptFiles(tmp_path / "flash", 4096)
    assert (tmp_path / name).is_fifo()


def test_a_device_is_no_flash() -> None:
    with pytest.raises(BadInputError, match="is no file"):
        keep_flash(Path("/dev/null"), 4096)


def test_a_segment_is_not_read_for_ever() -> None:
    words = ["emulate", "reader", "--identity", "/dev/zero", "--hid-udp", "0"]
    result = CliRunner().invoke(tally, words)
    assert "not a reader's segment" in result.output + str(result.exception)
