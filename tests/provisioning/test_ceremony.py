"""Backup for two people, rotation, and cards that follow it."""

from __future__ import annotations

import hashlib
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pypdfium2
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tallystick.cli import tally
from tallystick.common import sealed
from tallystick.common.errors import BadInputError, RefusedError, TallyError
from tallystick.common.identity import kdf3
from tallystick.common.secret import Secret
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.cli import station
from tallystick.provisioning.commands import rotation
from tallystick.provisioning.custody import ceremony, keyfile, trial
from tallystick.provisioning.custody.ceremony import back_up, read_share, restore, write_share
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.provisioning.journal import StationJournal
from tallystick.provisioning.labels.ceremony_page import WORDS
from tallystick.provisioning.rekey import rekey
from tallystick.provisioning.steps import Plan, Provisioner
from tests.provisioning.conftest import URL, make_ring
from tests.provisioning.memory_card import MemoryLink
from tests.provisioning.memory_registry import MemoryRegistry
from tests.provisioning.pty_card import PtyCard
from tests.provisioning.test_leaflet import text_of

PASSPHRASE = "correct horse battery staple"


def same(ring, other):
    return keyfile.ring_to_json(ring) == keyfile.ring_to_json(other)


def test_two_shares_restore_everything():
    ring = make_ring()
    made = back_up(ring)
    assert same(restore(made.content, made.shares), ring)
    assert same(restore(made.content, made.shares[::-1]), ring)


def test_one_share_is_not_enough():
    made, other = back_up(make_ring()), back_up(make_ring())
    with pytest.raises(BadInputError, match="given twice"):
        restore(made.content, (made.shares[0], made.shares[0]))
    with pytest.raises(BadInputError, match="do not open"):
        restore(made.content, (made.shares[0], other.shares[1]))
    zero = write_share(2, bytes(32))
    with pytest.raises(BadInputError, match="do not open"):
        restore(made.content, (made.shares[0], zero))


def test_no_key_in_backup_or_repr():
    ring = make_ring()
    made = back_up(ring)
    assert ring.firm[1].reveal() not in made.content
    assert ring.firm[1].reveal().hex().encode() not in made.content
    assert made.shares[0] not in repr(made)


def test_which_master_is_the_current_one_belongs_to_a_copy():
    ring, copy = make_ring(), make_ring()
    for one in (ring, copy):
        one.firm = {1: Secret(bytes(16)), 2: Secret(bytes(range(16)))}
        one.firm_version = 2
    assert keyfile.same_masters(ring, copy)
    copy.firm_version = 1
    assert not keyfile.same_masters(ring, copy)


def test_keys_are_zeroed_where_they_were_read_and_when_custody_ends(monkeypatch):
    buffers = []

    class Noted(Secret):
        def __init__(self, value):
            buffers.append(value)
            super().__init__(value)

    ring = make_ring()
    plain = bytearray(json.dumps(keyfile.ring_to_json(ring)).encode())
    monkeypatch.setattr(keyfile, "Secret", Noted)
    read = keyfile.ring_from_plain(plain)
    assert keyfile.same_masters(read, ring) and len(buffers) >= 4
    assert not any(plain)
    assert not any(any(one) for one in buffers if isinstance(one, bytearray))
    assert all(any(key.reveal()) for key in read.secrets())
    SoftwareCustody(read).close()
    assert not any(any(key.reveal()) for key in read.secrets())


@given(st.binary(min_size=32, max_size=32), st.sampled_from([1, 2]))
def test_share_round_trip(value, number):
    text = write_share(number, value)
    assert read_share(text) == (number, value)
    assert read_share(text.lower().replace(" ", "  ")) == (number, value)


@given(st.data())
def test_every_mistyped_letter_is_found(data):
    text = write_share(1, data.draw(st.binary(min_size=32, max_size=32)))
    letters = [at for at, c in enumerate(text) if c.isalnum()]
    at = data.draw(st.sampled_from(letters))
    wrong = data.draw(
        st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567").filter(lambda c: c != text[at])
    )
    with pytest.raises(BadInputError, match="mistyped"):
        read_share(text[:at] + wrong + text[at + 1 :])


@pytest.mark.parametrize("text", ["", "1:", "x: AAAA", "3: " + "A" * 56, "1: äöü"])
def test_nonsense_shares(text):
    with pytest.raises(BadInputError, match="mistyped"):
        read_share(text)


def test_changed_backup():
    made = back_up(make_ring())
    for content in (made.content[:-1], made.content[:-1] + b"\0", ceremony.FORMAT, b"other"):
        with pytest.raises(BadInputError):
            restore(content, made.shares)


@pytest.fixture
def rotated(memory_card, journal):
    """A card in service, and the custody after a rotation."""
    ring = make_ring()
    registry = MemoryRegistry()
    provisioner = Provisioner(SoftwareCustody(ring), registry, journal, Plan(), URL)
    provisioner.provision(CardConnection(MemoryLink(memory_card)), lambda s, n: None)
    assert ring.rotate() == 2
    return SoftwareCustody(ring)


def test_a_card_follows_a_rotation(memory_card, rotated):
    seed, keys = memory_card.seed, memory_card.keys
    connection = CardConnection(MemoryLink(memory_card))
    done = rekey(connection, rotated)
    assert (done.before, done.after) == (1, 2)
    assert memory_card.kvn == 2 and memory_card.keys != keys and memory_card.seed == seed
    assert rekey(connection, rotated).before == 2


@pytest.mark.parametrize("keeps", ["both", "keys"])
def test_a_card_that_only_says_that_it_has_new_keys(memory_card, rotated, keeps):
    genuine = memory_card._put_key

    def only_say_so(data, secure):
        keys, kvn = memory_card.keys, memory_card.kvn
        answer = genuine(data, secure)
        memory_card.keys = keys
        memory_card.kvn = kvn if keeps == "both" else memory_card.kvn
        return answer

    memory_card._put_key = only_say_so
    with pytest.raises(TallyError):
        rekey(CardConnection(MemoryLink(memory_card)), rotated)


def test_rekeying_a_card_in_service_needs_a_press(memory_card, rotated):
    memory_card.pressed, keys = False, memory_card.keys
    with pytest.raises(RefusedError, match="no press came"):
        rekey(CardConnection(MemoryLink(memory_card)), rotated)
    assert memory_card.keys == keys and memory_card.kvn == 1


def test_new_cards_get_the_new_version(make_card, rotated, journal):
    card = make_card(serial="TS00000002")
    provisioner = Provisioner(rotated, MemoryRegistry(), journal, Plan(), URL)
    assert (
        provisioner.provision(CardConnection(MemoryLink(card)), lambda s, n: None).key_version == 2
    )


def test_rekey_of_a_new_card_is_refused(make_card, rotated):
    with pytest.raises(RefusedError, match="transport keys"):
        rekey(CardConnection(MemoryLink(make_card())), rotated)


def test_versions_end():
    ring = make_ring()
    ring.firm[0x7F] = Secret(bytes(16))
    with pytest.raises(BadInputError, match="used up"):
        ring.rotate()


def test_commands(tmp_path, monkeypatch, memory_card):
    monkeypatch.setitem(sealed.COST, "memory_kib", 64)
    env = {
        "TALLY_STATION_PASSPHRASE": PASSPHRASE,
        "TALLY_STATION_KEYS": str(tmp_path / "keys.json"),
        "TALLY_STATION_JOURNAL": str(tmp_path / "journal.db"),
    }

    def run(*arguments, **more):
        result = CliRunner().invoke(station, [str(a) for a in arguments], env={**env, **more})
        assert result.exit_code == 0, (result.output, result.exception)
        return result

    run("keys", "create", "--development")
    assert json.loads(run("keys", "rotate", "--json").stdout) == {"firm_version": "02"}
    backup, shares, record = tmp_path / "b.bak", tmp_path / "shares", tmp_path / "protocol.txt"
    run(
        "keys",
        "backup",
        backup,
        "--person",
        "Ann",
        "--person",
        "Bob",
        "--shares-to",
        shares,
        "--protocol",
        record,
    )
    text = record.read_text()
    assert "Ann" in text and "Bob" in text and "version 02" in text and "SHA-256" in text
    again = tmp_path / "restored.json"
    run(
        "keys",
        "restore",
        backup,
        "--share-file",
        shares / "share-1.txt",
        "--share-file",
        shares / "share-2.txt",
        TALLY_STATION_KEYS=str(again),
    )
    ring = keyfile.load(tmp_path / "keys.json", PASSPHRASE)
    assert same(keyfile.load(again, PASSPHRASE), ring)
    for version, key in ring.firm.items():
        assert key.reveal().hex() not in text, version
    memory_card.kvn, memory_card.life_cycle = 1, 0x0F
    memory_card.keys = kdf3(ring.firm[1].reveal(), memory_card.serial.encode())
    with PtyCard(memory_card) as line:
        done = json.loads(run("rekey", "--port", line.port, "--json").stdout)
    assert done == {"serial": memory_card.serial, "before": 1, "after": 2}
    acts = [json.loads(line)["act"] for line in run("audit", "export").stdout.splitlines()]
    assert acts == [
        "keys created",
        "firm master rotated",
        "keys backed up",
        "restore tried",
        "keys restored",
        "card rekeyed",
    ]


class Ceremony:
    """The command line of a station whose masters are worth something."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.env = {
            "TALLY_STATION_PASSPHRASE": PASSPHRASE,
            "TALLY_STATION_KEYS": str(folder / "keys.json"),
            "TALLY_STATION_JOURNAL": str(folder / "journal.db"),
        }
        (folder / "factory.hex").write_text("00112233445566778899aabbccddeeff")

    def run(self, *arguments, **more):
        env = self.env | more.pop("env", {})
        return CliRunner().invoke(station, [str(a) for a in arguments], env=env, **more)

    def ok(self, *arguments, **more):
        result = self.run(*arguments, **more)
        assert result.exit_code == 0, (result.output, result.exception)
        return result

    def create(self) -> None:
        self.ok("keys", "create", "--factory-master-file", self.folder / "factory.hex")

    def backup(self, name="b.bak", *more, **others):
        people = ("--person", "Ann", "--person", "Bob")
        return self.run("keys", "backup", self.folder / name, *people, *more, **others)

    def tried(self) -> bool:
        rows = json.loads(self.ok("keys", "show", "--json").stdout)["keys"]
        return all(row["tried"] for row in rows)


@pytest.fixture
def held(tmp_path, monkeypatch):
    monkeypatch.setitem(sealed.COST, "memory_kib", 64)
    made = Ceremony(tmp_path)
    made.create()
    return made


def test_no_card_before_a_restore_was_tried(held, memory_card):
    with PtyCard(memory_card) as line:
        words = ("--port", line.port, "--registry", f"pskc:{held.folder / 'cards'}")
        env = {"TALLY_REGISTRY_PASSPHRASE": PASSPHRASE}
        refused = held.run("provision", *words, env=env)
        assert isinstance(refused.exception, RefusedError)
        assert "No restore of the firm master version 01" in refused.exception.what
        assert memory_card.kvn == 0xFF and not held.tried()
        assert isinstance(held.run("rekey", "--port", line.port).exception, RefusedError)
        assert held.backup("b.bak", "--shares-to", held.folder / "s").exit_code == 0
        assert held.tried()
        memory_card.keys = kdf3(bytes.fromhex("00112233445566778899aabbccddeeff"), b"TS00000001")
        held.ok("provision", *words, env=env)
        held.ok("keys", "rotate")
        assert not held.tried()  # the new one was not
        assert isinstance(held.run("rekey", "--port", line.port).exception, RefusedError)
        old = held.run("keys", "try", held.folder / "b.bak", *shares(held.folder / "s"))
        assert isinstance(old.exception, BadInputError) and "other keys" in old.exception.what
        assert held.backup("c.bak", "--shares-to", held.folder / "t").exit_code == 0
        held.ok("rekey", "--port", line.port)


def shares(folder):
    return [word for n in (1, 2) for word in ("--share-file", folder / f"share-{n}.txt")]


def test_the_shares_are_typed_back(held):
    """As two people do it: shown, written down, and typed with a mistake at first."""
    shown = []

    def keep(text="", **_):
        if text and text.strip()[1:2] == ":":
            shown.append(text.strip())

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tallystick.provisioning.commands.trial.click.echo", keep)
        prompts = iter(["1: AAAA", lambda: shown[0], lambda: shown[1]])

        def prompt(text, **_):
            answer = next(prompts)
            return answer if isinstance(answer, str) else answer()

        patched.setattr("tallystick.provisioning.commands.trial.click.prompt", prompt)
        done = held.backup("b.bak", input="y\ny\n")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "mistyped" in done.stderr and held.tried()
    assert not any(share in done.output for share in shown)


def test_stopped_before_the_trial_it_is_tried_later(held, monkeypatch):
    def gone(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tallystick.provisioning.commands.ceremony.try_backup", gone)
        assert held.backup("b.bak", "--shares-to", held.folder / "s").exit_code
    assert not held.tried()
    held.ok("keys", "try", held.folder / "b.bak", *shares(held.folder / "s"))
    assert held.tried()


def test_shares_of_another_ceremony_prove_nothing(held):
    held.backup("b.bak", "--shares-to", held.folder / "s")
    (held.folder / "other").mkdir()
    other = Ceremony(held.folder / "other")
    other.create()
    other.backup("b.bak", "--shares-to", other.folder / "s")
    held.ok("keys", "rotate")
    wrong = held.run("keys", "try", held.folder / "b.bak", *shares(other.folder / "s"))
    assert "do not open" in wrong.exception.what and not held.tried()
    wrong = held.run("keys", "try", other.folder / "b.bak", *shares(other.folder / "s"))
    assert "other keys" in wrong.exception.what and not held.tried()


def test_a_copy_with_other_numbers_is_none():
    """A card that asks for version 02 would not find it there."""
    ring, copy = make_ring(), make_ring()
    ring.rotate()
    copy.firm = {1: ring.firm[1], 3: ring.firm[2]}
    copy.firm_version = 3
    asked = trial.question()
    answers = [trial.answer(SoftwareCustody(one), asked) for one in (ring, copy, ring)]
    assert answers[0] == answers[2] != answers[1]
    assert not trial.is_right(SoftwareCustody(ring), asked, answers[1])


def test_a_copy_answers(held):
    held.backup("b.bak", "--shares-to", held.folder / "s")
    copy = {"TALLY_STATION_KEYS": str(held.folder / "copy.json")}
    held.ok("keys", "restore", held.folder / "b.bak", *shares(held.folder / "s"), env=copy)
    asked = "ABCDEFGHIJ"
    answer = held.ok("keys", "prove", asked, env=copy).stdout.strip()
    held.ok("keys", "try", "--question", asked, "--answer", answer.lower().replace(" ", ""))
    for question, said in ((asked, "A" + answer[1:]), ("JIHGFEDCBA", answer), (asked, "")):
        wrong = held.run("keys", "try", "--question", question, "--answer", said)
        if said != answer or question != asked:
            assert isinstance(wrong.exception, RefusedError), wrong.output
    held.ok("keys", "rotate")
    late = held.run("keys", "try", "--question", asked, "--answer", answer)
    assert isinstance(late.exception, RefusedError) and not held.tried()
    assert isinstance(held.run("keys", "prove", "short").exception, BadInputError)


def test_keys_from_before_this_was_noted_work_on(held):
    path = held.folder / "keys.json"
    ring = keyfile.load(path, PASSPHRASE)
    ring.tried = None
    keyfile.save(path, ring, PASSPHRASE, replace=True)
    assert held.tried()
    held.ok("keys", "rotate")
    rows = json.loads(held.ok("keys", "show", "--json").stdout)["keys"]
    assert [(r["version"], r["tried"]) for r in rows if r["name"] == "firm"] == [
        ("01", True), ("02", False)
    ]  # fmt: skip


@pytest.mark.parametrize("language", WORDS)
def test_a_page_each(held, language):
    pages = held.folder / "pages.pdf"
    held.backup("b.bak", "--shares-to", held.folder / "s", "--pages", pages, "--language", language)
    written = [(held.folder / "s" / f"share-{n}.txt").read_text() for n in (1, 2)]
    ring = keyfile.load(held.folder / "keys.json", PASSPHRASE)
    digest = hashlib.sha256((held.folder / "b.bak").read_bytes()).hexdigest()
    texts = text_of(pages.read_bytes())
    for number, (person, text) in enumerate(zip(("Ann", "Bob"), texts, strict=True), 1):
        close = "".join(text.split())
        assert person in text and f"{number}:" in text and digest in close
        for row in SoftwareCustody(ring).describe():
            assert row.check_value.upper() in text
        for secret in (*ring.secrets(), *written):
            shown = secret if isinstance(secret, str) else secret.reveal().hex()
            assert shown[3:11] not in close
        words = WORDS[language]
        for line in (*words.checks[2:], *words.places, *words.lines, words.write):
            assert "".join(line.split()) in close, line
    document = pypdfium2.PdfDocument(pages)
    for page in document:
        boxes = [one.get_bounds() for one in page.get_objects()]
        assert min(box[1] for box in boxes) > 20 and max(box[2] for box in boxes) < 580
    document.close()
    held.ok(
        "keys", "pages", held.folder / "again.pdf", "--person", "Ann", "--person", "Bob",
        "--backup", held.folder / "b.bak", "--language", language,
    )  # fmt: skip


def test_a_rehearsal_leaves_nothing(held, tmp_path, monkeypatch):
    places = []
    temporary = tempfile.TemporaryDirectory

    def noted(*words, **more):
        places.append(temporary(*words, **more))
        return places[-1]

    monkeypatch.setattr(tempfile, "TemporaryDirectory", noted)
    before = (held.folder / "keys.json").read_bytes()
    pages = held.folder / "pages.pdf"
    done = held.ok(
        "keys", "rehearse", "--person", "Ann", "--person", "Bob", "--pages", pages,
        "--shares-to", held.folder / "s", "--json",
    )  # fmt: skip
    assert len(json.loads(done.stdout)["steps"]) == 4
    assert (held.folder / "keys.json").read_bytes() == before and not held.tried()
    assert places and not any(Path(one.name).exists() for one in places)
    assert all("REHEARSAL" in text for text in text_of(pages.read_bytes()))


@pytest.mark.parametrize(
    "weak",
    ["x", "passphrase", "aaaaaaaaaaaaaaa", "123456789012", "abcdefabcdefabcdef", "            "],
)
def test_a_weak_passphrase_is_refused_wherever_one_is_set(held, tmp_path, weak):
    """The key file, its restore, a signer's key, a folder of containers, the key of images."""
    made = held.folder / "made"
    held.backup("b.bak", "--shares-to", held.folder / "s")
    new = {"TALLY_STATION_KEYS": str(made), "TALLY_STATION_PASSPHRASE": weak}
    results = [
        held.run("keys", "create", "--development", env=new),
        held.run("keys", "restore", held.folder / "b.bak", *shares(held.folder / "s"), env=new),
        held.run("job", "key", made, "--name", "Ann", env={"TALLY_SIGNER_PASSPHRASE": weak}),
        held.run(
            "provision", "--registry", f"pskc:{made}", "--port", "/dev/null",
            env={"TALLY_REGISTRY_PASSPHRASE": weak},
        ),
        CliRunner().invoke(
            tally, ["image", "keys", "create", str(made)], env={"TALLY_SIGNING_PASSPHRASE": weak}
        ),
    ]  # fmt: skip
    for result in results:
        assert isinstance(result.exception, BadInputError), (result.exception, result.output)
        assert "too easy to guess" in result.exception.what and not made.exists()


def test_how_far_a_rotation_is(held, make_card, monkeypatch):
    held.backup("b.bak", "--shares-to", held.folder / "s")
    factory = bytes.fromhex("00112233445566778899aabbccddeeff")
    cards = [make_card(serial=f"TS0000000{n}") for n in (1, 2, 3)]
    env = {"TALLY_REGISTRY_PASSPHRASE": PASSPHRASE}
    for card in cards:
        card.keys = kdf3(factory, card.serial.encode())
        with PtyCard(card) as line:
            held.ok(
                "provision", "--port", line.port, "--registry", f"pskc:{held.folder / 'cards'}",
                env=env,
            )  # fmt: skip
    said = json.loads(held.ok("keys", "rotation", "--json").stdout)
    assert said == {
        "current": "01", "cards": {"01": 3}, "unknown": 0, "left": [], "until": None,
        "overdue": False,
    }  # fmt: skip
    past = held.run("keys", "rotate", "--until", "2020-01-01")
    assert isinstance(past.exception, BadInputError) and "no day to come" in past.exception.what
    held.ok("keys", "rotate", "--until", "2999-03-31")
    held.backup("c.bak", "--shares-to", held.folder / "t")
    with PtyCard(cards[1]) as line:
        held.ok("rekey", "--port", line.port)
    said = json.loads(held.ok("keys", "rotation", "--json").stdout)
    assert (said["current"], said["cards"]) == ("02", {"01": 2, "02": 1})
    assert said["left"] == ["TS00000001", "TS00000003"] and not said["overdue"]
    text = held.ok("keys", "rotation", "--list").stdout
    assert "left to rekey: 2, until 31 Mar 2999" in text and "TS00000003" in text
    journal = StationJournal(held.folder / "journal.db")
    for act, left in (("card retired", 1), ("act undone", 2), ("card wiped", 1)):
        journal.note(act, "TS00000003")
        assert len(journal.rotation().left) == left
    journal.close()
    noon = datetime(2999, 3, 31, 12, tzinfo=UTC).timestamp()  # its last day is not over
    monkeypatch.setattr(rotation.moments, "now", lambda: noon)
    assert "OVERDUE" not in held.ok("keys", "rotation").stdout
    monkeypatch.setattr(rotation.moments, "now", lambda: noon + 86400)
    assert "OVERDUE" in held.ok("keys", "rotation").stdout
