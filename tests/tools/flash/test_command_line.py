"""`tally update` and `tally selftest` as a person runs them: a card on a serial port, the firm's
keys in a file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import click
import pytest
from click.testing import CliRunner, Result

from tallystick.common import sealed
from tallystick.common.errors import NoDeviceError
from tallystick.common.identity import DEVELOPMENT_MASTER
from tallystick.provisioning.card import t1
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.issuer import LifeCycle
from tallystick.provisioning.custody import keyfile
from tallystick.provisioning.custody.keyfile import KeyRing
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.tools.flash.cli_update import update
from tallystick.tools.selftest.cli import selftest
from tests.tools.flash.conftest import Firm
from tests.tools.flash.test_job import record

BOARD = "pico"
PHRASE = "correct horse"


class Desk:
    """A firm whose keys are in the file `keys`."""

    def __init__(self, folder: Path, outputs: Callable[..., dict[str, Path]]) -> None:
        ring = KeyRing.create(DEVELOPMENT_MASTER)
        self.keys = folder / "keys.json"
        keyfile.save(self.keys, ring, PHRASE, replace=False)
        (folder / "phrase").write_text(PHRASE)
        self.secret = ["--keys", str(self.keys), "--passphrase-file", str(folder / "phrase")]
        self.outputs = outputs
        self._firm = Firm(outputs, SoftwareCustody(ring))
        self._folder = folder

    @contextmanager
    def port(self, state: LifeCycle, journal: bytes = b"") -> Iterator[str]:
        """A card of the firm on a pseudo-terminal, in a process of its own. journal: in place of
        what it remembers."""
        flash = self._folder / "card.flash"
        with self._firm.card(BOARD, state) as card:
            if journal:
                region = card.board.journal
                card.flash.load(region.address, journal.ljust(region.size, b"\xff"))
            flash.write_bytes(card.flash.memory)
        command = ["-m", "tallystick.cli", "emulate", "card", "--board", BOARD, "--pty", "--json"]
        with subprocess.Popen(
            [sys.executable, *command, "--flash", str(flash)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            text = ""
            for line in child.stdout:
                text += line
                if line.startswith("}"):
                    break
            try:
                yield json.loads(text)["port"]
            finally:
                child.terminate()
                child.wait(60)


@pytest.fixture
def desk(tmp_path, outputs, monkeypatch):
    monkeypatch.setitem(sealed.COST, "memory_kib", 64)
    monkeypatch.setitem(sealed.COST, "time", 1)
    return Desk(tmp_path, outputs)


def run(command: click.Command, *arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def test_an_update_over_a_serial_port(desk):
    image = desk.outputs(BOARD, "0.2.0", security=3)["manifest"].parent
    with desk.port(LifeCycle.INITIALIZED) as port:
        arguments = [str(image), "--port", port, *desk.secret, "--development", "--json"]
        first = run(update, *arguments)
        assert first.exit_code == 0, first.output + str(first.exception)
        assert json.loads(first.stdout) == {
            "serial": "TS00000001", "from": "0.1.0", "to": "0.2.0", "slot": 1, "floor": 3,
        }  # fmt: skip
        older = desk.outputs(BOARD, "0.1.0")["manifest"].parent
        back = run(update, str(older), *arguments[1:])
    assert "takes none below 3" in str(back.exception)
    assert PHRASE not in first.output + back.output


@pytest.mark.parametrize("state", [b"\x02" * 201, b"\x01" * 201])
def test_a_card_that_shows_too_old_is_told_apart_from_an_empty_dock(desk, monkeypatch, state):
    """It answers nothing: what its glass says, and what helps, has to come from here."""
    monkeypatch.setattr(t1, "BLOCK_WAITING_S", 0.2)
    image = desk.outputs(BOARD, "0.2.0", security=3)["manifest"].parent
    with desk.port(LifeCycle.INITIALIZED, record(7, state)) as port:
        result = run(update, str(image), "--port", port, *desk.secret, "--development")
        with pytest.raises(NoDeviceError) as closed:
            CardConnection.open(port)  # the port was let go
    error = result.exception
    assert isinstance(error, NoDeviceError) and "No card answered" in error.what
    assert "Nothing was written" in error.kept
    assert "press its button" in error.todo and "press its button" in closed.value.todo
    for word in ("TOO OLD", "newer firmware", "tally flash", "nothing is lost", "DAMAGED"):
        assert word in error.todo
    nowhere = run(update, str(image), "--port", "/dev/ttyNONE7", *desk.secret, "--development")
    assert isinstance(nowhere.exception, NoDeviceError)
    assert "no such port" in str(nowhere.exception) and "TOO OLD" not in str(nowhere.exception)


def test_a_card_in_service_is_tested_with_the_firms_keys(desk, tmp_path):
    reports = ["--junit", str(tmp_path / "b.xml"), "--page", str(tmp_path / "b.html")]
    with desk.port(LifeCycle.SECURED) as port:
        without = run(selftest, "--port", port, "--unattended", *reports)
        assert "is in service" in str(without.exception)
        assert not (tmp_path / "b.xml").exists()
        result = run(selftest, "--port", port, "--unattended", *desk.secret, *reports, "--json")
    assert result.exit_code == 0, result.output + str(result.exception)
    found = {check["name"]: check["verdict"] for check in json.loads(result.stdout)["checks"]}
    assert found == {
        "display": "skipped", "button": "skipped", "flash": "skipped",
        "cell": "passed", "randomness": "passed", "heap": "passed",
    }  # fmt: skip
    suite = ET.parse(tmp_path / "b.xml").find("testsuite")
    assert (suite.get("tests"), suite.get("skipped")) == ("6", "3")
    assert "TS00000001" in (tmp_path / "b.html").read_text()
