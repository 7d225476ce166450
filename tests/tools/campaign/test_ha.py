"""The drill itself: a real cluster loses its leader, and a real server goes on."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from tallystick.server.rules.otp import hotp
from tallystick.tools.campaign.cli import campaign
from tallystick.tools.campaign.server import ha
from tests import needs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_no_two_codes_near_one_another_are_the_same():
    seed = ha.distinct_seed(2000, 25)
    codes = [hotp(seed, factor, 6) for factor in range(2000)]
    assert all(len({*codes[at : at + 26]}) == len(codes[at : at + 26]) for at in range(2000))


def test_told_to_end_it_leaves_nothing_running(monkeypatch):
    """As `timeout` does: PostgreSQL, etcd and HAProxy are closed by what began them."""
    closed = []

    def drill(folder: Path, *_more, **_named):
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL  # pytest would end, too
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            closed.append(folder)

    monkeypatch.setattr(ha, "drill", drill)
    before = signal.getsignal(signal.SIGTERM)
    done = CliRunner().invoke(campaign, ["ha"])
    assert done.exit_code != 0 and len(closed) == 1 and not closed[0].exists()
    assert signal.getsignal(signal.SIGTERM) is before


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
