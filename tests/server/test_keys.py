"""The key file and what is encrypted under it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.common.errors import BadInputError
from tallystick.common.secret import Secret
from tallystick.server.settings import Settings, settings_from
from tallystick.server.store import keys
from tallystick.server.store.keys import Box, BoxError, KeyFileError, ServerKeyRing


def test_made_once_private_and_read_again(tmp_path: Path):
    path = tmp_path / "folder" / "server.keys"
    box = keys.load_or_create(path).encrypt(b"seed", "row 1")
    assert path.stat().st_mode & 0o777 == 0o600
    assert keys.load_or_create(path).decrypt(box, "row 1") == b"seed"
    assert [entry.name for entry in path.parent.iterdir()] == ["server.keys"]


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path):
    path = tmp_path / "server.keys"
    keys.load_or_create(path)
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="may be read by others"):
        keys.load(path)


@pytest.mark.parametrize("damage", ["", "{}", "[1]", '{"format":"tallystick-server-keys/1"}'])
def test_a_damaged_key_file_is_refused(tmp_path: Path, damage: str):
    path = tmp_path / "server.keys"
    path.write_text(damage)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="damaged"):
        keys.load(path)


def test_a_missing_folder_or_file_names_what_to_do(tmp_path: Path):
    with pytest.raises(KeyFileError) as error:
        keys.load(tmp_path / "none")
    assert "--key-file" in error.value.todo


def test_an_encrypted_value_opens_only_in_its_row_and_whole(tmp_path: Path):
    ring = keys.load_or_create(tmp_path / "k")
    box = ring.encrypt(b"seed", "row 1")
    with pytest.raises(BoxError):
        ring.decrypt(box, "row 2")
    for i in range(len(box.blob)):
        changed = bytearray(box.blob)
        changed[i] ^= 1
        with pytest.raises(BoxError):
            ring.decrypt(Box(box.key_id, bytes(changed)), "row 1")
    with pytest.raises(BoxError, match="k9"):
        ring.decrypt(Box("k9", box.blob), "row 1")


@pytest.mark.parametrize("damage", [b"", b"\xc5\x00\xff", b"{}", b"[1]", b"half", b"other active"])
def test_a_damaged_key_file_is_told_as_such(tmp_path: Path, damage: bytes):
    path = tmp_path / "k"
    keys.load_or_create(path)
    good = path.read_bytes()
    made = {b"half": good[: len(good) // 2], b"other active": good.replace(b'"k1"', b'"k2"', 1)}
    path.write_bytes(made.get(damage, damage))
    for use in (keys.load, keys.add_encryption_key, lambda at: keys.remove_encryption_key(at, "k")):
        with pytest.raises(KeyFileError, match="damaged"):
            use(path)


def test_rotation_reads_the_old_and_writes_the_new(tmp_path: Path):
    path = tmp_path / "k"
    before = keys.load_or_create(path)
    box = before.encrypt(b"seed", "row")
    assert keys.add_encryption_key(path) == "k2"
    after = keys.load(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert after.active == "k2"
    assert after.decrypt(box, "row") == b"seed"
    assert after.encrypt(b"seed", "row").key_id == "k2"
    assert after.fingerprint(b"seed") == before.fingerprint(b"seed")
    with pytest.raises(KeyFileError, match="active"):
        keys.remove_encryption_key(path, "k2")
    keys.remove_encryption_key(path, "k1")
    with pytest.raises(BoxError):
        keys.load(path).decrypt(box, "row")


def test_nothing_shows_a_key(tmp_path: Path):
    path = tmp_path / "k"
    ring = keys.load_or_create(path)
    for value in json.loads(path.read_text())["encryption"].values():
        assert value not in repr(ring) + str(vars(ring))


@given(st.binary(max_size=100), st.text(max_size=20))
def test_round_trip(plaintext: bytes, row: str):
    ring = ServerKeyRing("k1", {"k1": Secret(bytes(32))}, Secret(bytes(32)), Secret(bytes(32)))
    assert ring.decrypt(ring.encrypt(plaintext, row), row) == plaintext


def test_settings_show_no_passwords(tmp_path: Path):
    url = "postgresql+psycopg://me:s3cret@db.example/x"
    settings = Settings(url, tmp_path / "k", sms="https://:s3cret@x", smtp="smtps://a:s3cret@x")
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize("url", ["nonsense", "mysql://x/y", "sqlite://", "sqlite:///:memory:"])
def test_databases_that_cannot_be_used(url: str):
    with pytest.raises(BadInputError) as error:
        settings_from(url)
    assert error.value.todo
