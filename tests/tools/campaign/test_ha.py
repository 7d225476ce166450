"""The drill itself: a real cluster loses its leader, and a real server goes on."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tallystick.server.rules.otp import hotp
from tallystick.tools.campaign.server import ha
from tests import needs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_no_two_codes_near_one_another_are_the_same():
    seed = ha.distinct_seed(2000, 25)
    codes = [hotp(seed, factor, 6) for factor in range(2000)]
    assert all(len({*codes[at : at + 26]}) == len(codes[at : at + 26]) for at in range(2000))


def test_the_leader_is_killed_and_another_hands_over():
    """How long it takes is for `make ha`, on a machine of its own: here, what is true after it."""
    needs.patroni.or_skip()
    needs.postgresql.or_skip()
    needs.root.or_skip()
    with tempfile.TemporaryDirectory(prefix="tally-ha-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        result = ha.drill(folder, ("killed", "switched over"), through=("hosts",))
    assert result.wrong == []
    assert result.accepted > 20 and result.made > 5
    assert [one.fault for one in result.outages] == ["killed", "switched over"]
