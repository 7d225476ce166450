"""A card for everybody in a list."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tallystick.common.errors import BadInputError, RefusedError, TallyError
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.journal import CardState
from tallystick.provisioning.people import CardsForPeople, read_people
from tallystick.provisioning.steps import Plan, Provisioner
from tallystick.server.serving.running import make_known
from tests.provisioning.conftest import URL
from tests.provisioning.memory_card import MemoryCard, MemoryLink
from tests.provisioning.memory_registry import MemoryRegistry
from tests.provisioning.pty_card import PtyCard


@pytest.mark.parametrize(
    "text",
    [
        "ada\ngrace\n",
        "\ufefflogin,name\nada,Ada\n\ngrace,Grace\n",
        "Name;Login\nAda L.;ada\nGrace;grace",
        "ada\tx\r\ngrace\ty\r\n",
        'user\n"ada"\n grace \n',
    ],
)
def test_lists_as_people_have_them(tmp_path, text):
    path = tmp_path / "people.csv"
    path.write_text(text, encoding="utf-8")
    assert [one.login for one in read_people(path)] == ["ada", "grace"]


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "names nobody"), (b"login\n", "names nobody"), (b"ada\nADA\n", "stands in line 1 too"),
     (b"login,x\nada,1\n,2\n", "line 3 names nobody"), (b"\xff\xfe", "cannot be read")],
)  # fmt: skip
def test_lists_that_are_none(tmp_path, content, why):
    path = tmp_path / "people.csv"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=why):
        read_people(path)


def test_all_are_checked_before_the_first_card(own_station, tmp_path, memory_card):
    path = tmp_path / "people.csv"
    path.write_text("login\nada\nadda\nnobody.like.this\n")
    with PtyCard(memory_card) as line:
        error = own_station.fails(
            RefusedError, "provision", "--ports", line.port, "--batch", "b", "--users", str(path)
        )
    assert error.what.startswith("2 of 3 people can get no card: adda (Did you mean ada?); nobody")
    assert not memory_card.seed and memory_card.life_cycle == 1


def test_a_name_that_no_font_prints_is_told_before_the_first_card(
    own_station, tmp_path, memory_card
):
    """It does not stop the batch: a card has no name on it, and the list can be corrected until
    its labels are printed."""
    path = tmp_path / "people.csv"
    path.write_text("login,name,room\nada,Ada 李,雷 4\nnobody.like.this,Łukasz Жук,\n")
    done = own_station.run("provision", "--ports", "no", "--batch", "b", "--users", str(path))
    assert isinstance(done.exception, RefusedError)
    told = " ".join(done.stderr.split())
    assert "No font here prints Ada 李 (李); 雷 4 (雷)." in told and "Łukasz" not in told


def test_a_batch_for_a_list(own_station, tmp_path):
    make_known(own_station.settings, "grace")
    path = tmp_path / "people.csv"
    path.write_text("ada\ngrace\n")
    with ExitStack() as stack:
        cards = [MemoryCard(serial=f"TS0000000{n}") for n in range(2)]
        lines = [stack.enter_context(PtyCard(card)) for card in cards]
        ports = ",".join(line.port for line in lines)
        done = own_station.ok(
            "provision", "--ports", ports, "--batch", "june", "--users", str(path)
        )
    assert sorted(card["server"]["user"] for card in done["cards"]) == ["ada", "grace"]
    assert done["missing"] == 0


def test_a_card_that_fails_leaves_its_user_waiting(custody, journal):
    people = CardsForPeople(["ada", "grace"])
    plan = Plan(batch="june", people=people)
    registry = MemoryRegistry()
    work = Provisioner(custody, registry, journal, plan, URL)

    def provision(serial: str) -> str | None:
        card = CardConnection(MemoryLink(MemoryCard(serial=serial)))
        return work.provision(card, lambda state, found: None).server.user

    journal.fail(journal.begin("TS00000009", "june", URL, "ada"), "broken")
    assert provision("TS00000001") == "ada"
    stopped = journal.begin("TS00000008", "june", URL, "grace")  # under way elsewhere
    with pytest.raises(TallyError, match="Everybody in the list"):
        provision("TS00000002")
    journal.fail(stopped, "broken")
    assert provision("TS00000002") == "grace"
    assert [r.state for r in journal.batch("june")].count(CardState.FAILED) == 2
