"""The kill campaign: clean on the product, and able to find a station that is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tallystick.provisioning.journal import Journal, State
from tallystick.tools.campaign.station import run
from tallystick.tools.campaign.station_rate import measure

pytestmark = pytest.mark.campaign


def test_a_sample_of_kills():
    result = run(pairs=6, limit=8)
    assert result.violations == [] and result.cases == 8 and result.kills >= 8


def test_a_station_that_notes_afterwards_is_found(monkeypatch):
    """It puts the seed on the card and registers it, and writes the journal only at the end."""
    kept = {}

    def keep(self, record, container, seed, digits):
        kept[record.id] = replace(
            record, container=container, seed=seed, digits=digits, state=State.KEYED
        )
        return kept[record.id]

    monkeypatch.setattr(Journal, "keep_seed", keep)
    monkeypatch.setattr(
        Journal, "advance", lambda self, record, state: replace(kept[record.id], state=state)
    )
    result = run(pairs=0, only="station after http 3 POST")
    assert result.cases == 1 and result.violations


def test_rate_on_real_pseudo_terminals():
    rate = measure(ports=2, cards=4)
    assert (rate.cards, rate.failures) == (4, 0) and rate.wire_bytes == 727
