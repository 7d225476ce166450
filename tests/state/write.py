"""Writes what a station, a desk, a signer and a server of this version leave on disk, into the
folder of the version: `python -m tests.state.write`. Run once for a release, committed, and never
again: `test_state.py` opens every folder with the code of today.

Everything in it is made up for the tests, the passphrase too.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path

from click.testing import CliRunner

from tallystick import __version__
from tallystick.cli import tally as command
from tallystick.common import sealed
from tallystick.emulator.boards import DEFAULT
from tallystick.provisioning import container
from tallystick.provisioning.credential import SIX_DIGITS
from tallystick.provisioning.custody.store import FileStore
from tallystick.provisioning.journal import StationJournal
from tallystick.tools.demo.story import Story

HERE = Path(__file__).parent
PASSPHRASE = "a passphrase of the tests"
USER = "ada"
UNFINISHED = "TS00000002"
KEPT = (
    "station.keys", "station.journal", "operator.json", "station.backup", "share-1.txt",
    "share-2.txt", "signing.key", "server.db", "server.keys",
)  # fmt: skip


class Kept(Story):
    """The main job, with files that are looked at later."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, DEFAULT, USER, quiet=True)
        self._environment["TALLY_STATION_PASSPHRASE"] = PASSPHRASE
        self._environment["TALLY_STATION_OPERATOR"] = str(folder / "operator.json")
        self._environment["TALLY_SERVER_KEY_FILE"] = str(folder / "server.keys")

    def tell(self) -> None:
        for step in (
            self.build_image, self.power_the_card, self.start_the_server,
            self.prepare_the_station, self.provision, self.press_and_log_in, self.sign_in_at_desk,
        ):  # fmt: skip
            step()

    def sign_in_at_desk(self) -> None:
        made = self._tally(
            "server", "credential", "add", "--role", "desk", "window", "--db", self._database,
            "--json",
        )  # fmt: skip
        file = self._folder / "desk.json"
        file.write_text(json.dumps(made))
        self._tally(
            "station", "desk", "sign-in", "--server", self._server, "--credential", str(file),
            "--json",
        )  # fmt: skip

    def after(self) -> None:
        """What needs no server: a run that stopped half-way, a backup, a signing key."""
        folder = self._folder
        custody = FileStore(folder / "station.keys").open(PASSPHRASE)
        seed = custody.new_seed(UNFINISHED, b"\x5a" * 31)
        journal = StationJournal(folder / "station.journal", who="the tests", now=lambda: 1.0e9)
        run = journal.begin(UNFINISHED, "batch-7", self._server, None)
        made = container.build(custody, seed, UNFINISHED, SIX_DIGITS, 2)
        context = container.journal_context(UNFINISHED, made)
        journal.keep_seed(run, made, seed.for_journal(context), 6)
        journal.close()


def tally(environment: dict[str, str], *words: str) -> str:
    result = CliRunner().invoke(command, words, env=environment, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def write(place: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Kept(folder) as story:
            story.tell()
        story.after()
        environment = dict(story._environment)
        db = f"sqlite:///{folder / 'server.db'}"
        tally(
            environment, "station", "keys", "backup", str(folder / "station.backup"),
            "--person", "ada", "--person", "bob", "--shares-to", str(folder),
        )  # fmt: skip
        phrase = folder / "phrase"
        phrase.write_text(PASSPHRASE)
        phrase.chmod(0o600)
        tally(
            environment, "image", "keys", "create", str(folder / "signing.key"),
            "--passphrase-file", str(phrase), "--json",
        )  # fmt: skip
        tally(environment, "server", "person", "add", "boss", "--role", "administrator", "--db", db)
        for file in ("station.journal", "server.db"):
            database = sqlite3.connect(folder / file)
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.execute("PRAGMA journal_mode=DELETE")  # one file, as a copy of it would be
            database.close()
        place.mkdir()
        for kept in KEPT:
            shutil.copy(folder / kept, place / kept)


if __name__ == "__main__":
    sealed.COST.update(time=1, memory_kib=64)
    target = HERE / (sys.argv[1] if len(sys.argv) > 1 else __version__)
    if target.exists():
        sys.exit(f"{target} is there already: what was released stays as it was.")
    write(target)
