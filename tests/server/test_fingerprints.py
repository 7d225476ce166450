"""HMAC takes K, and K with zeros after it, for one key: so must what recognises a seed."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.common.secret import Secret
from tallystick.server.rules.otp import hotp
from tallystick.server.serving.running import running_in_thread
from tallystick.server.store import schema
from tallystick.server.store.database import Database
from tallystick.server.store.keys import BLOCK_SIZE, ServerKeyRing, load
from tests.server.conftest import bearer

RING = ServerKeyRing("k1", {"k1": Secret(bytes(32))}, Secret(bytes(32)), Secret(bytes(32)))
HASHES = {"sha1": hashlib.sha1, "sha256": hashlib.sha256, "sha512": hashlib.sha512}


@given(st.sampled_from(sorted(HASHES)), st.binary(max_size=200), st.binary(max_size=200))
def test_equal_fingerprints_are_equal_keys(algorithm, one, other):
    codes = [hmac.new(key, b"x", HASHES[algorithm]).digest() for key in (one, other)]
    prints = [RING.fingerprint(key, algorithm) for key in (one, other)]
    assert (codes[0] == codes[1]) is (prints[0] == prints[1])


@given(st.sampled_from(sorted(HASHES)), st.binary(max_size=40), st.integers(0, 20))
def test_zeros_at_the_end_change_nothing_and_a_long_key_is_its_hash(algorithm, key, zeros):
    block = BLOCK_SIZE[algorithm]
    padded = (key + bytes(zeros))[:block]
    assert RING.fingerprint(key, algorithm) == RING.fingerprint(padded, algorithm)
    long = key + b"\1" * (block + 1)
    hashed = HASHES[algorithm](long).digest()
    assert RING.fingerprint(long, algorithm) == RING.fingerprint(hashed, algorithm)


def delete(server, serial: str) -> None:
    path = f"/v1/cards/{serial}"
    assert server.client.delete(path, headers=bearer(server.admin)).is_success


def register(server, serial: str, seed: bytes):
    return server.register(server.container().add(serial, seed))


def test_a_used_code_does_not_come_back_with_a_longer_key(server):
    seed = secrets.token_bytes(19) + b"\1"
    assert register(server, "A1", seed).status_code == 201
    server.assign("A1", "ann").raise_for_status()
    assert server.reason(hotp(seed, 0, 6)) == "ok"
    assert register(server, "A2", seed + b"\0").status_code == 409
    delete(server, "A1")
    assert register(server, "A2", seed + b"\0\0").status_code == 409  # a seed of another serial
    assert register(server, "A1", seed + b"\0").status_code == 201
    server.assign("A1", "ann").raise_for_status()
    assert server.reason(hotp(seed, 0, 6)) == "replayed"
    assert server.reason(hotp(seed, 1, 6)) == "ok"


def test_one_key_twice_in_one_container(server):
    seed = secrets.token_bytes(19) + b"\1"
    both = server.container().add("A1", seed).add("A2", seed + b"\0")
    answer = server.register(both)
    assert answer.status_code == 409, answer.text
    assert server.get("/v1/cards/A1").status_code == 404


@pytest.fixture
def of_0_1_0(server, tmp_path):
    """A database as the version before left it: fingerprints of keys as they were given. → its
    settings, and the seeds: a card's, a deleted card's, and one that two cards share"""
    card, grave = secrets.token_bytes(18) + b"\1\0", secrets.token_bytes(18) + b"\1\0"
    shared = secrets.token_bytes(19) + b"\1"
    for serial, seed in (("C1", card), ("G1", grave), ("S1", shared)):
        assert register(server, serial, seed).status_code == 201
    assert register(server, "S2", secrets.token_bytes(20)).status_code == 201
    for serial in ("G1", "S1", "S2"):
        server.assign(serial, "ann").raise_for_status()
    assert server.reason(hotp(grave, 5, 6)) == "ok"
    delete(server, "G1")
    ring = load(server.settings.key_file)
    place = tmp_path / "old.db"
    with (
        closing(sqlite3.connect(server.folder / "server.db")) as source,
        closing(sqlite3.connect(place)) as copy,
    ):
        source.backup(copy)
    settings = replace(server.settings, db_url=f"sqlite:///{place}")
    database = Database(settings.db_url)
    schema.migrate(database, "0003")
    database.close()
    box = ring.encrypt(shared + b"\0", "tallystick/seed|1|S2")
    with closing(sqlite3.connect(place)) as old, old:
        change = "UPDATE {} SET seed_fingerprint = ? WHERE serial = ?"
        old.execute(change.format("card"), (ring._print(card), "C1"))
        old.execute(change.format("tombstone"), (ring._print(grave), "G1"))
        old.execute(
            "UPDATE card SET seed_fingerprint = ?, seed_box = ?, seed_key_id = ? "
            "WHERE serial = 'S2'",
            (ring._print(shared + b"\0"), box.blob, box.key_id),
        )
    return settings, card, grave, shared


def test_fingerprints_of_before_are_brought_up_to_date(server, of_0_1_0):
    settings, card, grave, _ = of_0_1_0
    with running_in_thread(settings) as url:
        server.client.base_url = url
        for serial, seed in (("X1", card), ("X1", card[:-1]), ("X1", grave), ("X1", grave[:-1])):
            assert register(server, serial, seed).status_code == 409, (serial, seed)
        for form in (grave[:-1], grave + b"\0"):
            assert register(server, "G1", form).status_code == 201
            assert server.get("/v1/cards/G1", server.admin).json()["moving_factor"] == 6
            delete(server, "G1")


def test_of_two_cards_with_one_key_the_younger_ends(server, of_0_1_0):
    settings, _, _, shared = of_0_1_0
    with running_in_thread(settings) as url:
        server.client.base_url = url
        assert server.verify(hotp(shared, 0, 6), None, serial="S1").json()["reason"] == "ok"
        for factor in (0, 1):
            answer = server.verify(hotp(shared, factor, 6), None, serial="S2").json()
            assert answer.get("reason") != "ok", answer
