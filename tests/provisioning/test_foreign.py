"""Another maker's OATH applet: the stand-in is judged by the stock client, the station by both."""

from __future__ import annotations

import pytest
from yubikit.core import TRANSPORT
from yubikit.core.smartcard import SmartCardConnection
from yubikit.oath import HASH_ALGORITHM, OATH_TYPE, CredentialData
from yubikit.oath import OathSession as StockSession

from tallystick.common.errors import BadInputError, NoDeviceError, RefusedError, UnreachableError
from tallystick.provisioning.card import pcsc
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.credential import CodeKind
from tallystick.provisioning.custody.software import SoftwareSeed
from tallystick.provisioning.foreign import Foreign, Wanted
from tallystick.provisioning.journal import CardState
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
