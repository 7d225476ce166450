from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tallystick.common.identity import DEVELOPMENT_MASTER
from tallystick.common.secret import Secret
from tallystick.provisioning.custody.keyfile import KeyRing, parse_credential
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.provisioning.journal import StationJournal
from tests.provisioning.command_line import cheap_passphrases, empty_server, free_url, own_station
from tests.provisioning.memory_card import MemoryCard, MemoryLink

__all__ = ["cheap_passphrases", "empty_server", "free_url", "own_station"]

VECTORS = Path(__file__).parents[1] / "vectors"
PSK = "000102030405060708090a0b0c0d0e0f"
URL = "http://127.0.0.1:9"


@pytest.fixture(scope="session")
def scp03_vectors() -> dict[str, Any]:
    return json.loads((VECTORS / "scp03.json").read_text())


@pytest.fixture
def memory_card() -> MemoryCard:
    return MemoryCard()


@pytest.fixture
def link(memory_card: MemoryCard) -> MemoryLink:
    return MemoryLink(memory_card)


def make_ring() -> KeyRing:
    ring = KeyRing.create(DEVELOPMENT_MASTER)
    ring.firm = {1: Secret(bytes(range(16)))}
    value = {"id": "station-1", "role": "station", "token": "a-token", "psk": PSK}
    ring.enroll(parse_credential(URL, value))
    return ring


@pytest.fixture
def custody() -> SoftwareCustody:
    return SoftwareCustody(make_ring())


@pytest.fixture
def journal(tmp_path: Path) -> Any:
    journal = StationJournal(tmp_path / "journal.db")
    yield journal
    journal.close()


@pytest.fixture
def make_card() -> Callable[..., MemoryCard]:
    return MemoryCard
