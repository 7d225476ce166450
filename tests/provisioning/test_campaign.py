"""The kill campaign: clean on the product, and able to find a station that is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import uvicorn

from tallystick.provisioning.journal import CardState, StationJournal
from tallystick.provisioning.server_link import IDLE_S, OutcomeUnknownError, ServerLink
from tallystick.tools.campaign.station.crashes import run
from tallystick.tools.campaign.station.rate import measure

pytestmark = pytest.mark.campaign


def test_a_sample_of_kills():
    result = run(pairs=6, limit=8)
    assert result.violations == [] and result.cases == 8 and result.kills >= 8


@pytest.fixture
def notes_afterwards(monkeypatch):
    """A station that puts the seed on the card and registers it, and writes the journal only at the
    end."""
    kept = {}

    def keep(self, record, container, seed, digits):
        kept[record.id] = replace(
            record, container=container, seed=seed, digits=digits, state=CardState.KEYED
        )
        return kept[record.id]

    monkeypatch.setattr(StationJournal, "keep_seed", keep)
    monkeypatch.setattr(
        StationJournal, "advance", lambda self, record, state: replace(kept[record.id], state=state)
    )


def test_a_station_that_notes_afterwards_is_found(notes_afterwards):
    result = run(pairs=0, only="station after http 4 POST")
    assert result.cases == 1 and result.violations


def test_a_request_that_is_lost_and_sent_again_moves_no_event(notes_afterwards, monkeypatch):
    """Else a case would kill at another event than it names, and find nothing."""
    real, lost = ServerLink._call, []

    def lose_the_first_post(self, method, path, **how):
        if method == "POST" and not lost:
            lost.append(path)
            raise OutcomeUnknownError("It was lost.")
        return real(self, method, path, **how)

    monkeypatch.setattr(ServerLink, "_call", lose_the_first_post)
    result = run(pairs=0, only="station after http 4 POST")
    assert result.cases == 1 and result.violations


def test_a_connection_is_not_used_again_when_the_server_may_close_it():
    """Both sides at five seconds lose a request now and then."""
    config = uvicorn.Config("unused:app")
    assert config.timeout_keep_alive / 2 > IDLE_S


def test_rate_on_real_pseudo_terminals():
    rate = measure(ports=2, cards=4)
    assert (rate.cards, rate.failures) == (4, 0) and rate.wire_bytes == 727
