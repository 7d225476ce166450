"""Ctrl-C, whatever command it comes to, ends it with the exit code that the table says."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from tallystick.cli import tally
from tallystick.common.errors import ExitCode


def test_ctrl_c_has_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def long_work() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(tally), "get_command", lambda *_: long_work)
    done = CliRunner().invoke(tally, ["long-work"])
    assert (done.exit_code, done.stderr) == (ExitCode.INTERRUPTED, "stopped\n")
