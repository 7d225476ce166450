"""A secret under a passphrase: opened by it only, and by nothing that was changed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tallystick.common import sealed
from tallystick.common.errors import BadInputError, TallyError
from tallystick.common.formats import NewerStateError
from tallystick.common.passphrase import read_passphrase

PLAIN = b"sixteen and more bytes that nobody may read"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sealed.COST, "memory_kib", 64)
    monkeypatch.setitem(sealed.COST, "time", 1)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def opened(path: Path, passphrase: str, form: str = "test 1") -> bytes:
    return sealed.unseal(path, passphrase, form, name="test file", make="tally test create")


def test_what_was_sealed_comes_out(tmp_path: Path) -> None:
    content = sealed.seal(PLAIN, "correct horse", {"format": "test 1", "public": "00"})
    path = write(tmp_path / "file", content)
    assert opened(path, "correct horse") == PLAIN
    assert PLAIN not in content and base64.b64encode(PLAIN) not in content
    assert json.loads(content)["public"] == "00"


def test_salt_and_nonce_are_new_every_time() -> None:
    one, two = (json.loads(sealed.seal(PLAIN, "x", {"format": "test 1"})) for _ in range(2))
    assert one["kdf"]["salt"] != two["kdf"]["salt"]
    assert one["nonce"] != two["nonce"]


def test_an_empty_passphrase_is_refused() -> None:
    with pytest.raises(BadInputError, match="empty passphrase"):
        sealed.seal(PLAIN, "", {"format": "test 1"})


def _kdf(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda value: value["kdf"].update(changes)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda value: value.update(public="01"), "was changed"),
        (lambda value: value.update(sealed=value["sealed"][:-8]), "was changed"),
        (lambda value: value.update(sealed=""), "was changed"),
        (lambda value: value.update(nonce=""), "was changed"),
        (lambda value: value.pop("nonce"), "damaged"),
        (lambda value: value.update(kdf=None), "damaged"),
        (lambda value: value.update(format="other 1"), "is no test file"),
        (_kdf(name="scrypt"), "damaged"),
        (_kdf(salt="AAAA"), "damaged"),
        (_kdf(salt=7), "damaged"),
        (_kdf(lanes=2), "was changed"),
        # What would keep the computer busy for hours, or take its memory.
        (_kdf(time=1 << 30), "damaged"),
        (_kdf(memory_kib=1 << 30), "damaged"),
        (_kdf(lanes=1 << 20), "damaged"),
        (_kdf(time=0), "damaged"),
        (_kdf(memory_kib=1), "damaged"),
        (_kdf(time="3"), "damaged"),
    ],
)
def test_what_was_changed_does_not_open(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], sentence: str
) -> None:
    value = json.loads(sealed.seal(PLAIN, "pass", {"format": "test 1", "public": "00"}))
    change(value)
    path = write(tmp_path / "file", json.dumps(value).encode())
    with pytest.raises(BadInputError, match=sentence):
        opened(path, "pass")


def test_a_file_of_a_newer_version_is_told_as_one(tmp_path: Path) -> None:
    path = write(tmp_path / "file", sealed.seal(PLAIN, "pass", {"format": "test 2"}))
    with pytest.raises(NewerStateError, match="its format is 2, this one knows up to 1"):
        opened(path, "pass")


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b'{"format": "test 1"}', b"null"])
def test_what_is_no_such_file(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BadInputError, match="is no test file, or it is damaged"):
        opened(write(tmp_path / "file", content), "pass")


def test_a_wrong_passphrase_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path / "file", sealed.seal(PLAIN, "pass", {"format": "test 1"}))
    with pytest.raises(BadInputError, match="does not open") as wrong:
        opened(path, "Pass")
    assert "not touched" in wrong.value.kept
    with pytest.raises(BadInputError, match="There is no test file") as missing:
        opened(tmp_path / "other", "pass")
    assert "tally test create" in missing.value.todo


def test_a_file_that_others_may_read(tmp_path: Path) -> None:
    path = write(tmp_path / "file", sealed.seal(PLAIN, "pass", {"format": "test 1"}))
    path.chmod(0o640)
    with pytest.raises(BadInputError, match="Others may read"):
        opened(path, "pass")


def test_where_a_passphrase_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "phrase"
    file.write_text("from a file \n")
    monkeypatch.setenv("TALLY_TEST_PHRASE", "from the environment")

    def read(path: Path | None) -> str:
        return read_passphrase(path, "TALLY_TEST_PHRASE", "the test's keys", new=False)

    assert read(file) == "from a file "
    assert read(None) == "from the environment"
    for unreadable in (tmp_path, tmp_path / "missing", write(tmp_path / "bytes", b"\xff\xff")):
        with pytest.raises(TallyError, match="cannot be read"):
            read(unreadable)
    monkeypatch.delenv("TALLY_TEST_PHRASE")
    with pytest.raises(TallyError, match="no passphrase for the test's keys") as nobody:
        read(None)
    assert "TALLY_TEST_PHRASE" in nobody.value.todo
