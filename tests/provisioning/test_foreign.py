"""Another maker's OATH applet: the stand-in is judged by the stock client, the station by both."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
from yubikit.core import TRANSPORT
from yubikit.core.smartcard import SmartCardConnection
from yubikit.oath import HASH_ALGORITHM, OATH_TYPE, CredentialData
from yubikit.oath import OathSession as StockSession

from tallystick.common.errors import BadInputError, NoDeviceError, RefusedError, UnreachableError
from tallystick.provisioning import foreign_batch
from tallystick.provisioning.card import pcsc
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.credential import CodeKind
from tallystick.provisioning.custody.software import SoftwareSeed
from tallystick.provisioning.foreign import Foreign, Wanted, device_serial
from tallystick.provisioning.journal import CardState
from tallystick.provisioning.people import CardsForPeople
from tallystick.provisioning.server_link import RegistryRefusedError
from tests.provisioning.conftest import URL
from tests.provisioning.foreign_applet import ForeignApplet, Plain, code
from tests.provisioning.memory_card import MemoryLink
from tests.provisioning.memory_registry import FailOnce, MemoryRegistry, timeout

SERIAL = "0102030405060708"
ACCOUNT = f"Tallystick:{SERIAL}"
RFC4226 = b"12345678901234567890"


class StockConnection(SmartCardConnection):
    def __init__(self, applet: ForeignApplet) -> None:
        self.applet = applet

    @property
    def transport(self) -> TRANSPORT:
        return TRANSPORT.USB

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        raw = self.applet.process(bytes(apdu))
        return raw[:-2], int.from_bytes(raw[-2:], "big")

    def close(self) -> None:
        pass


@pytest.fixture
def applet() -> ForeignApplet:
    return ForeignApplet()


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()


@pytest.fixture
def provision(custody, registry, journal):
    def run(applet, **wanted):
        work = Foreign(custody, registry, journal, URL)
        return work.provision(Plain(applet), Wanted(**wanted))

    return run


def test_the_stock_client_takes_the_stand_in_for_an_applet(applet):
    """RFC 4226, appendix D, through yubikit's own session; and a list longer than one answer."""
    session = StockSession(StockConnection(applet))
    assert session.version == (5, 4, 3) and not session.locked
    data = CredentialData("acc", OATH_TYPE.HOTP, HASH_ALGORITHM.SHA1, RFC4226, 6, issuer="test")
    stored = session.put_credential(data, touch_required=True)
    assert [session.calculate_code(stored).value for _ in range(3)] == [
        "755224",
        "287082",
        "359152",
    ]
    assert applet.touches == 3
    for number in range(12):
        other = CredentialData(
            f"account number {number}", OATH_TYPE.TOTP, HASH_ALGORITHM.SHA1, RFC4226
        )
        session.put_credential(other)
    assert len(session.list_credentials()) == 13
    session.delete_credential(stored.id)
    assert len(session.list_credentials()) == 12
    session.reset()
    assert session.list_credentials() == []


def test_a_foreign_applet_in_service(applet, provision, registry, journal):
    done = provision(applet, user="ada", kind=CodeKind(8))
    assert (done.serial, done.account, done.applet_version) == (SERIAL, ACCOUNT, "5.4.3")
    assert done.touch and applet.touches == 2 and not done.resumed
    stored = applet.accounts[ACCOUNT.encode()]
    assert registry.seeds == {SERIAL: stored.key} and len(stored.key) == 20
    assert registry.users == {SERIAL: "ada"} and stored.factor == 2 and stored.digits == 8
    assert (
        journal.latest(SERIAL).state is CardState.LOCKED
        and journal.latest(SERIAL).container is None
    )
    assert any("seed sent unprotected" in line for line in journal.audit_log())
    # What the stock client then shows is what the server expects next.
    session = StockSession(StockConnection(applet))
    (credential,) = session.list_credentials()
    expected = code(applet, ACCOUNT)
    assert session.calculate_code(credential).value == expected


def test_what_it_cannot_do_is_not_asked(provision):
    old = ForeignApplet(version=(3, 4, 0))
    assert not provision(old).touch and old.touches == 0
    new = ForeignApplet(identifier=bytes(8))
    assert not provision(new, touch=False, serial="KEY-7").touch
    assert list(new.accounts) == [b"Tallystick:KEY-7"]


def test_an_account_of_that_name_is_not_overwritten_unasked(applet, provision, registry):
    provision(applet)
    before = applet.accounts[ACCOUNT.encode()].key
    with pytest.raises(RefusedError, match="registered already"):
        provision(applet)
    registry.seeds.clear()
    with pytest.raises(RefusedError, match="has an account"):
        provision(applet)
    assert applet.accounts[ACCOUNT.encode()].key == before
    provision(applet, replace=True)
    assert applet.accounts[ACCOUNT.encode()].key != before


def test_a_locked_applet_is_left_alone(provision, registry):
    applet = ForeignApplet(locked=True)
    with pytest.raises(RefusedError, match="locked by a password"):
        provision(applet)
    assert 0x01 not in applet.seen and registry.calls == []


def test_a_card_of_ours_is_not_treated_as_foreign(memory_card, custody, registry, journal):
    connection = CardConnection(MemoryLink(memory_card))
    with pytest.raises(RefusedError, match="a card of ours"):
        Foreign(custody, registry, journal, URL).provision(connection, Wanted())
    assert not memory_card.seed and not journal.unfinished()


def test_no_applet_at_all(provision):
    with pytest.raises(RefusedError) as refused:
        provision(ForeignApplet(refuses={0xA4: 0x6A82}))
    assert "switched on" in refused.value.todo


def test_a_put_that_is_refused_ends_the_run(provision, registry, journal):
    with pytest.raises(RefusedError) as refused:
        provision(ForeignApplet(refuses={0x01: 0x6A84}))
    assert "no seed of this station" in refused.value.kept
    assert not journal.unfinished() and not registry.seeds


def test_wrong_codes_take_the_seed_back(applet, provision, registry, journal):
    class Liar(ForeignApplet):
        def _calculate(self, data, *, truncate):
            answer = bytearray(super()._calculate(data, truncate=truncate))
            answer[-1] ^= 1
            return bytes(answer)

    liar = Liar()
    with pytest.raises(RefusedError, match="other codes") as refused:
        provision(liar)
    assert "was deleted" in refused.value.kept
    assert not liar.accounts and not registry.seeds and not journal.unfinished()


@pytest.mark.parametrize("at", range(1, 9))
def test_a_device_that_goes_away_anywhere_is_finished_with_the_same_seed(
    at, provision, registry, journal
):
    class Going(ForeignApplet):
        left = at

        def process(self, apdu):
            self.left -= 1
            self.gone = self.left == 0
            return super().process(apdu)

    going = Going()
    try:
        provision(going)
    except NoDeviceError:
        kept = journal.open_run(SERIAL)
        going.gone = False
        done = provision(going)
        assert kept is None or done.resumed == (kept.state is not CardState.AUTHENTIC)
    stored = going.accounts[ACCOUNT.encode()]
    assert registry.seeds == {SERIAL: stored.key} and stored.factor == 2
    assert not journal.unfinished()


def test_a_server_that_does_not_answer_leaves_both_with_the_seed(applet, provision, registry):
    registry.before = FailOnce("register", timeout())
    with pytest.raises(UnreachableError) as unknown:
        provision(applet)
    assert "has its seed" in unknown.value.kept
    before = applet.accounts[ACCOUNT.encode()].key
    assert provision(applet).resumed and registry.seeds == {SERIAL: before}


def test_a_server_that_refuses_leaves_none_with_it(applet, provision, registry, journal):
    registry.before = FailOnce("register", RegistryRefusedError("no", "422"))
    with pytest.raises(RefusedError):
        provision(applet)
    assert not applet.accounts and not registry.seeds and not journal.unfinished()


def test_keys_in_a_module_send_no_seed_in_the_clear(applet, registry, journal):
    class Module:
        exports_seeds = False

    with pytest.raises(RefusedError, match="gives no seed away"):
        Foreign(Module(), registry, journal, URL).provision(Plain(applet), Wanted())
    assert applet.seen == []


def test_the_command_asks_for_consent(own_station):
    error = own_station.fails(RefusedError, "foreign", "--port", "/dev/none", "--json")
    assert "no consent" in error.what
    said = own_station.run("foreign", "--port", "/dev/none", input="n\n")
    assert "in the clear" in said.stderr and "genuine" in said.stderr
    error = own_station.fails(
        NoDeviceError, "foreign", "--port", "/dev/none", "--accept-unprotected"
    )
    assert "no such port" in error.what


def test_a_reader_without_the_library_or_the_reader(monkeypatch):
    with pytest.raises((BadInputError, NoDeviceError)):
        pcsc.PcscConnection("no such reader")
    assert isinstance(pcsc.readers(), list)


class Tray:
    """Readers with devices in them, as a person changes them: one step at each look."""

    def __init__(self, *steps: dict[str, ForeignApplet]) -> None:
        self.steps, self.looks = steps, 0

    def names(self):
        return ["A", "B"]

    def open(self, name):
        applet = self.steps[min(self.looks, len(self.steps) - 1)].get(name)
        if applet is None:
            raise NoDeviceError("Nothing is in it.")
        return nullcontext(Plain(applet))

    def rest(self, seconds):
        self.looks += 1
        assert self.looks < 20, "the batch does not end"


class OneOath:
    def __init__(self, work, **wanted):
        self.work, self.wanted = work, Wanted(batch="keys", **wanted)

    def serial(self, device):
        return device_serial(device)

    def provision(self, device, serial):
        return self.work.provision(device, replace(self.wanted, serial=serial))


class Heard:
    def __init__(self):
        self.told = []

    def begun(self, place, serial):
        self.told.append((place, serial))

    def finished(self, place, serial, result):
        self.told.append((place, serial, "done"))

    def failed(self, place, serial, error):
        self.told.append((place, serial, error.what))


def test_a_batch_of_devices_each_by_the_number_printed_on_it(custody, registry, journal):
    first, second = ForeignApplet(number=12345678), ForeignApplet(number=87654321)
    third = ForeignApplet(identifier=bytes.fromhex("A1A2A3A4A5A6A7A8"))  # tells no number
    broken = ForeignApplet(number=5, locked=True)
    people = CardsForPeople(["ada", "bea", "cleo"])
    tray = Tray({"A": first, "B": broken}, {"A": first, "B": broken}, {"A": second}, {"B": third})
    work = OneOath(Foreign(custody, registry, journal, URL), people=people)
    heard = Heard()
    made = foreign_batch.run(tray, work, heard, 3, rest=tray.rest)
    assert [done.serial for done in made.done] == ["12345678", "87654321", "A1A2A3A4A5A6A7A8"]
    assert registry.users == dict(
        zip(["12345678", "87654321", "A1A2A3A4A5A6A7A8"], ["ada", "bea", "cleo"], strict=True)
    )
    assert [serial for serial, _ in made.failures] == ["5"]  # told once, not at each look
    assert len([told for told in heard.told if len(told) == 3]) == 4
    assert {run.state for run in journal.batch("keys")} == {CardState.LOCKED}
    assert first.touches == 2


def test_a_device_that_is_pulled_out_is_finished_when_it_is_back(custody, registry, journal):
    class Pulled(ForeignApplet):
        left = 7

        def process(self, apdu):
            self.left -= 1
            if self.left == 0:
                raise NoDeviceError("pulled out")
            return super().process(apdu)

    device = Pulled(number=7)
    tray = Tray({"A": device}, {}, {"A": device})
    work = OneOath(Foreign(custody, registry, journal, URL), user="ada")
    made = foreign_batch.run(tray, work, Heard(), 1, rest=tray.rest)
    assert [done.serial for done in made.done] == ["7"] and made.done[0].resumed
    assert registry.users == {"7": "ada"} and not journal.unfinished()


def test_a_card_of_ours_in_a_batch_is_told_once_and_left_alone(
    memory_card, custody, registry, journal
):
    class Docks(Tray):
        def open(self, name):
            if name == "B":
                return nullcontext(CardConnection(MemoryLink(memory_card)))
            return super().open(name)

    tray = Docks({}, {}, {"A": ForeignApplet(number=9)})
    work = OneOath(Foreign(custody, registry, journal, URL))
    made = foreign_batch.run(tray, work, Heard(), 1, rest=tray.rest)
    ((_, error),) = made.failures
    assert "a card of ours" in error.what and not memory_card.seed


def test_consent_is_asked_for_once_a_batch(own_station, monkeypatch, tmp_path):
    applets = iter([ForeignApplet(number=1), ForeignApplet(number=2)])
    monkeypatch.setattr(
        "tallystick.provisioning.commands.foreign._open",
        lambda port: nullcontext(Plain(next(applets))),
    )
    monkeypatch.setattr(foreign_batch, "LOOK_S", 0)
    words = ("foreign", "--ports", "pcsc:A", "--batch", "keys", "--count", "2")
    said = own_station.run(*words, input="y\n")
    assert said.exit_code == 0, said.exception
    assert said.stderr.count("Go on?") == 1 and "2 devices in service now" in said.stdout
    again = own_station.run(*words, input="y\n")
    assert again.exit_code == 0 and "2 before, 0 missing" in again.stdout
    error = own_station.fails(
        RefusedError, "foreign", "--ports", "pcsc:A", "--accept-unprotected", "--users",
        str(_listed(tmp_path)),
    )  # fmt: skip
    assert "Did you mean ada" in error.what


def _listed(folder):
    path = folder / "people.csv"
    path.write_text("login\nadda\n")
    return path


@pytest.mark.parametrize("error", [NoDeviceError("It went away."), RuntimeError("anything")])
def test_the_seed_is_forgotten_whatever_stops_it(applet, provision, monkeypatch, error):
    made = []
    genuine = SoftwareSeed.__init__

    def init(self, *arguments):
        genuine(self, *arguments)
        made.append(self)

    def stop(*arguments):
        raise error

    monkeypatch.setattr(SoftwareSeed, "__init__", init)
    monkeypatch.setattr(Foreign, "_put", stop)
    with pytest.raises(type(error)):
        provision(applet)
    assert len(made) == 2 and not any(any(seed.reveal()) for seed in made)
