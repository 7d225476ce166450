"""Files of every released version open with the code of today, and a newer file than the program is
refused with a sentence, unread and unchanged."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import select

from tallystick import __version__
from tallystick.common.formats import NewerStateError, number_of
from tallystick.provisioning import audit, container
from tallystick.provisioning.credential import SIX_DIGITS
from tallystick.provisioning.custody import ceremony
from tallystick.provisioning.custody.store import FileStore
from tallystick.provisioning.desk import operator
from tallystick.provisioning.journal import CardState, StationJournal
from tallystick.server.accounts import firms, people
from tallystick.server.checking.tokens import state_of
from tallystick.server.rules.judge import Reason, judge
from tallystick.server.rules.otp import hotp
from tallystick.server.settings import settings_from
from tallystick.server.stock.cards import seed_binding
from tallystick.server.store.audit import check
from tallystick.server.store.keys import FORMAT, Box, load
from tallystick.server.store.models import CardRow
from tallystick.server.store.opened import opened
from tallystick.tools.demo.story import SERIAL
from tallystick.tools.image import keys as signing_keys
from tests.state.write import HERE, KEPT, PASSPHRASE, UNFINISHED

RELEASES = sorted(path.name for path in HERE.iterdir() if (path / "server.db").is_file())


@pytest.fixture(params=RELEASES)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of what that release left."""
    place = tmp_path / request.param
    shutil.copytree(HERE / request.param, place)
    for file in place.iterdir():
        file.chmod(0o600)
    return place


def test_the_version_of_today_has_its_files():
    assert __version__ in RELEASES, "Run `python -m tests.state.write` and commit what it writes."
    for release in RELEASES:
        assert {path.name for path in (HERE / release).iterdir()} == set(KEPT)


def test_a_stations_keys_and_its_unfinished_card(kept: Path):
    custody = FileStore(kept / "station.keys").open(PASSPHRASE)
    assert [key.name for key in custody.describe()]
    journal = StationJournal(kept / "station.journal")
    done, left = journal.latest(SERIAL), journal.open_run(UNFINISHED)
    assert done is not None and done.state is CardState.LOCKED
    assert left is not None and left.state is CardState.KEYED
    assert left.container is not None and left.seed is not None
    context = container.journal_context(UNFINISHED, left.container)
    assert len(custody.reopen_seed(left.seed, context).codes(0, 2, SIX_DIGITS)) == 2
    assert journal.finish(left, CardState.LOCKED).state is CardState.LOCKED
    journal.close()
    with sqlite3.connect(kept / "station.journal") as database:
        assert not audit.verify(audit.export(database)).problems


def test_a_backup_of_a_stations_keys(kept: Path):
    shares = [(kept / f"share-{number}.txt").read_text() for number in (1, 2)]
    ring = ceremony.restore((kept / "station.backup").read_bytes(), (shares[0], shares[1]))
    assert ring.firm_version in ring.firm


def test_a_signing_key(kept: Path):
    key = signing_keys.load(kept / "signing.key", PASSPHRASE)
    assert len(key.sign(b"an image")) == 64


def test_an_operator_at_the_desk(kept: Path):
    credential = operator.load(kept / "operator.json")
    assert credential.url.startswith("http://127.0.0.1")
    operator.save(kept / "operator.json", credential)
    assert operator.load(kept / "operator.json") == credential


def test_a_server_goes_on_with_its_cards_people_and_log(kept: Path):
    settings = settings_from(f"sqlite:///{kept / 'server.db'}", key_file=kept / "server.keys")
    with opened(settings) as parts, parts.database.write() as connection:
        firm = firms.by_name(connection, "default")
        assert people.by_login(connection, firm.id, "boss") is not None
        card = connection.execute(select(CardRow).where(CardRow.serial == SERIAL)).one()
        seed = parts.ring.decrypt(
            Box(card.seed_key_id, card.seed_box), seed_binding(firm.id, SERIAL)
        )
        assert len(seed) == 20
        judged = judge(
            seed,
            state_of(card),
            (hotp(seed, card.moving_factor, card.digits),),
            firm.policy.codes(),
            int(card.registered_at) + 1,
        )
        assert judged.reason is Reason.OK
    with opened(settings) as parts, parts.database.snapshot() as connection:
        chains = check(connection, parts.ring)
        assert chains
        assert [chain.broken_at for chain in chains] == [None] * len(chains)


@pytest.mark.parametrize("number", [2, 999999])
def test_a_newer_key_file_of_a_server_is_refused_and_left_alone(kept: Path, number: int):
    file = kept / "server.keys"
    file.write_text(file.read_text().replace(FORMAT, f"tallystick-server-keys/{number}"))
    before = file.read_bytes()
    with pytest.raises(NewerStateError, match=f"format is {number}"):
        load(file)
    assert file.read_bytes() == before


@pytest.mark.parametrize("number", [2, 999999])
def test_a_newer_backup_is_refused(kept: Path, number: int):
    content = (kept / "station.backup").read_bytes().replace(b"backup 1", b"backup %d" % number)
    shares = [(kept / f"share-{number}.txt").read_text() for number in (1, 2)]
    with pytest.raises(NewerStateError, match=f"format is {number}"):
        ceremony.restore(content, (shares[0], shares[1]))


@pytest.mark.parametrize("number", [2, 999999])
def test_newer_files_are_refused_and_left_alone(kept: Path, number: int):
    def aged(name: str) -> Path:
        file = kept / name
        value = json.loads(file.read_text())
        kind = str(value.get("format", operator.FORMAT)).rstrip("0123456789")
        value["format"] = f"{kind}{number}"
        file.write_text(json.dumps(value))
        return file

    cases = {
        "station.keys": lambda file: FileStore(file).open(PASSPHRASE),
        "signing.key": lambda file: signing_keys.load(file, PASSPHRASE),
        "operator.json": operator.load,
    }
    for name, read in cases.items():
        file = aged(name)
        before = file.read_bytes()
        with pytest.raises(NewerStateError, match=f"format is {number}") as caught:
            read(file)
        assert caught.value.kept and caught.value.todo
        assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("found", "number"),
    [
        ("tallystick station keys 1", 1),
        ("tallystick station keys 0", None),
        ("tallystick station keys 01x", None),
        ("tallystick signing key 1", None),
        ("tallystick station keys", None),
        ("", None),
        (1, None),
        (None, None),
    ],
)
def test_a_format_is_of_a_kind_and_has_a_number(found: object, number: int | None):
    assert number_of(found, "tallystick station keys 1", "The file") == number
