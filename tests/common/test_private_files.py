"""Secrets in files of their own: read as they were meant, and refused where others may read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick.common.errors import BadInputError
from tallystick.common.private_files import secret_in


def _file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    file = folder / "secret"
    file.write_bytes(content)
    file.chmod(mode)
    return file


@pytest.mark.parametrize(
    "content", [b"pass word", b"pass word\n", b"\xef\xbb\xbfpass word\r\n", b"\n  pass word  "]
)
def test_what_editors_add_is_no_part_of_it(tmp_path: Path, content: bytes) -> None:
    assert secret_in(_file(tmp_path, content)).reveal() == b"pass word"


def test_it_is_not_shown(tmp_path: Path) -> None:
    assert "pass word" not in repr(secret_in(_file(tmp_path, b"pass word")))


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "is empty"), (b" \n", "is empty"), (b"\xef\xbb\xbf", "is empty"), (b"\xff", "Unicode")],
)
def test_what_is_none_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(BadInputError, match=says) as refused:
        secret_in(_file(tmp_path, content), "password")
    assert "password into it" in (refused.value.todo or "")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"nothing cannot be read \(FileNotFoundError\)"):
        secret_in(tmp_path / "nothing")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_one_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(
        BadInputError, match="can be read by others than its owner, and holds a PIN"
    ):
        secret_in(_file(tmp_path, b"1234", mode), "PIN")
