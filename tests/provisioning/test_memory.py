"""What stands in the memory of a station, waiting and at work: searched from outside, as a dump or
another process of the administrator's would."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tallystick.common.secret import Secret
from tallystick.provisioning.custody import keyfile
from tests.provisioning.conftest import make_ring
from tests.provisioning.memory_search import station

PHRASE = "correct horse battery"


@pytest.fixture
def ring():
    made = make_ring()
    made.firm = {1: Secret.random(16), 2: Secret.random(16)}
    made.firm_version = 2
    return made


@pytest.fixture
def running(ring, tmp_path):
    """A station with a key file."""
    path = tmp_path / "station.keys"
    keyfile.save(path, ring, PHRASE, replace=False)
    with station(str(path), PHRASE, tmp_path) as one:
        yield one


def masters(ring) -> list[bytes]:
    return [key.reveal() for key in ring.firm.values()] + [ring.journal_key.reveal()]


def in_hex(secrets: list[bytes]) -> list[bytes]:
    return [secret.hex().encode() for secret in secrets]


def test_a_waiting_station(running, ring):
    """Each master once, in the buffer that is zeroed at the end, and nowhere as digits."""
    keys = masters(ring)
    assert running.copies(keys) == dict.fromkeys(keys, 1)
    assert not any(running.copies(in_hex(keys)).values())


def test_masters_are_kept_out_of_swap_and_dumps(running, ring):
    """Also of one that the administrator forces, who could read the memory as well."""
    for key in masters(ring):
        (flags,) = running.flags(key)
        assert {"lo", "dd"} <= flags


def test_a_station_that_is_made_to_dump(running):
    limits = Path(f"/proc/{running.pid}/limits").read_text(encoding="utf-8").splitlines()
    assert next(one for one in limits if one.startswith("Max core file")).split()[4:6] == ["0", "0"]
    assert not running.is_dumpable()
    running.ends(signal.SIGABRT)
    assert not list(Path(__file__).parents[2].glob("core*"))


def test_a_working_station(running, ring):
    """Nothing of the cards before; of the one under way its seed."""
    for _ in range(20):
        running.provision()
    running.provision(lambda card: bool(card.seed))
    *done, under_way = [card.seed for card in running.cards]
    keys = masters(ring)
    found = running.copies([*keys, *done, under_way])
    assert {key: found[key] for key in keys} == dict.fromkeys(keys, 1)
    assert found[under_way] >= 1
    assert not [seed for seed in done if found[seed]]
