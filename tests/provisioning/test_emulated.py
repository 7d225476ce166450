"""The station against the real firmware on real MicroPython."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from yubikit.core.smartcard.scp import KeyRef, Scp03KeyParams, ScpKid, StaticKeys
from yubikit.oath import HASH_ALGORITHM, OATH_TYPE, CredentialData
from yubikit.oath import OathSession as StockSession

from tallystick.common.errors import NoDeviceError, RefusedError
from tallystick.common.identity import DEVELOPMENT_MASTER, kdf3
from tallystick.emulator.devices.image import Image
from tallystick.provisioning.card import connection as apdu
from tallystick.provisioning.card import issuer, oath, t1
from tallystick.provisioning.card.connection import CardConnection, CommandApdu
from tallystick.provisioning.card.issuer import CellState, IssuerSession
from tallystick.provisioning.card.oath import OathSession, select_oath
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.credential import SIX_DIGITS
from tallystick.provisioning.steps import Plan, Provisioner
from tallystick.tools.image.build import build, write
from tests.provisioning.conftest import URL
from tests.provisioning.emulated import EmulatedLink, emulated_card
from tests.provisioning.memory_registry import MemoryRegistry
from tests.provisioning.yubikit_connection import TallySmartCardConnection

FIRMWARE = Path(__file__).parents[2] / "firmware"
COMMANDS = 12


@pytest.fixture(scope="session")
def image(tmp_path_factory) -> Image:
    folder = tmp_path_factory.mktemp("image")
    return Image.load(write(build("card", "nucleo_l476rg", "0.1.0"), folder)["bin"])


@pytest.fixture
def device(image):
    with emulated_card(image) as card:
        yield card


@pytest.fixture
def registry():
    return MemoryRegistry()


@pytest.fixture
def provision(custody, journal, registry):
    def run(link, waiting=None, **plan):
        provisioner = Provisioner(custody, registry, journal, Plan(**plan), URL)
        return provisioner.provision(CardConnection(link), lambda s, n: None, waiting)

    return run


def codes(custody, seed, first, count=1):
    from tallystick.common.secret import Secret
    from tallystick.provisioning.custody.software import SoftwareSeed

    return SoftwareSeed(Secret(seed), custody).codes(first, count, SIX_DIGITS)


def test_provisioned_card_shows_the_next_code(device, registry, custody, provision):
    link = EmulatedLink(device)
    outcome = provision(link)
    assert outcome.apdus == COMMANDS
    link.close()
    device.press()
    assert [device.read_code()] == codes(custody, registry.seeds[outcome.serial], 2)


def test_button_and_display_are_confirmed(device, registry, custody, provision):
    """The code comes from the pixels, after a press in the dock, inside the open channel."""
    link = EmulatedLink(device)

    def typed(serial):
        device.press()
        return device.read_code()

    serial = provision(link, confirm=typed).serial
    link.close()
    device.run_for(40_000)
    device.press()
    assert [device.read_code()] == codes(custody, registry.seeds[serial], 3)


def test_public_data(device):
    session = IssuerSession(CardConnection(EmulatedLink(device)))
    assert session.serial() == "TS00000001"
    assert session.version().board == "nucleo_l476rg"
    assert session.life_cycle() is issuer.LifeCycle.OP_READY
    assert session.cell().state is CellState.NORMAL
    assert session.key_versions() == {1: 0xFF, 2: 0xFF, 3: 0xFF}
    with pytest.raises(RefusedError, match="secure channel"):
        session.wear()


def test_a_press_is_asked_for_and_given(device, provision, registry, custody):
    link = EmulatedLink(device)
    serial = provision(link).serial
    connection = CardConnection(link)
    select_oath(connection)
    session = OathSession(connection)
    assert [entry.name for entry in session.list()] == [serial]
    told = []

    def press():
        told.append(1)
        device.button.push()
        device.run_for(120)
        device.button.release()

    assert [session.calculate(serial, Waiting(press))] == codes(custody, registry.seeds[serial], 2)
    assert told
    with pytest.raises(RefusedError, match="no press came"):
        session.calculate(serial)


def test_reseed_with_a_press(device, provision, registry):
    link = EmulatedLink(device)
    serial = provision(link).serial
    old = registry.seeds[serial]

    def press():
        device.button.push()
        device.run_for(120)
        device.button.release()

    provision(link, Waiting(press), reseed=True)
    assert registry.seeds[serial] != old


def test_reseed_without_a_press_can_be_resumed(device, provision, registry):
    link = EmulatedLink(device)
    serial = provision(link).serial
    with pytest.raises(RefusedError, match="no press came"):
        provision(link, reseed=True)

    def press():
        device.button.push()
        device.run_for(120)
        device.button.release()

    assert provision(link, Waiting(press)).resumed
    assert serial in registry.seeds


def test_seed_needs_the_channel(device):
    connection = CardConnection(EmulatedLink(device))
    select_oath(connection)
    put = bytes.fromhex("710474657374731611063132333435363738393031323334353637383930")
    response = connection.transmit(CommandApdu(0, oath.INS_PUT, data=put))
    assert response.sw == apdu.StatusWord.SECURITY_NOT_SATISFIED


def test_a_stock_client_puts_lists_and_calculates(device, custody):
    """yubikit's OathSession over SCP03, with nothing of ours but the connection class."""
    connection = TallySmartCardConnection(CardConnection(EmulatedLink(device)))
    keys = StaticKeys(*kdf3(DEVELOPMENT_MASTER, b"TS00000001"))
    session = StockSession(connection, Scp03KeyParams(KeyRef(ScpKid.SCP03, 0xFF), keys))
    assert session.version >= (5, 6, 3)
    data = CredentialData(
        "ada", OATH_TYPE.HOTP, HASH_ALGORITHM.SHA1, b"12345678901234567890", issuer="corp"
    )
    credential = session.put_credential(data)
    assert [c.id for c in session.list_credentials()] == [credential.id]

    connection._connection.t1.link.on_block = pressing(device)
    assert session.calculate_code(credential).value == "755224"
    session.delete_credential(credential.id)
    assert session.list_credentials() == []


def pressing(device):
    """Presses the button whenever the station grants the card more time."""

    def on_block(block):
        if block[1] == 0xE3:
            device.button.push()
            device.run_for(120)
            device.button.release()

    return on_block


def again(device, provision):
    """Whoever comes next finishes the card."""
    if not device.powered:
        device.power_on()
    link = EmulatedLink(device)
    connection = CardConnection(link)
    if IssuerSession(connection).life_cycle() is issuer.LifeCycle.SECURED:
        return link
    link.close()
    link = EmulatedLink(device)
    provision(link)
    return link


@pytest.mark.parametrize("number", range(1, COMMANDS + 1))
@pytest.mark.parametrize("when", ["before", "after"])
def test_power_cut_at_every_command(device, registry, custody, provision, number, when):
    link = EmulatedLink(device)
    sent = []

    def cut(block):
        sent.append(block)
        if len(sent) == number + 1:  # the first block is S(RESYNCH)
            if when == "after":
                device.send(block)
            device.power_off()

    link.on_block = cut
    with pytest.raises(NoDeviceError) as caught:
        provision(link)
    assert caught.value.kept
    link = again(device, provision)
    link.close()
    (seed,) = registry.seeds.values()
    device.press()
    assert device.read_code() in codes(custody, seed, 2, 3)


def wire_constants():
    tree = ast.parse((FIRMWARE / "lib" / "wire.py").read_text())
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = node.value.args[0] if isinstance(node.value, ast.Call) else node.value
            if isinstance(value, ast.Constant):
                found[node.targets[0].id] = value.value
    return found


def test_host_and_firmware_agree():
    wire = wire_constants()
    assert wire["AID_ISSUER"] == issuer.AID and wire["AID_OATH"] == oath.AID
    assert wire["INF_MAX"] == t1.MAX_FIELD
    assert wire["BLOCK_WAITING_TIME_MS"] == t1.BLOCK_WAITING_S * 1000
    assert wire["CHARACTER_TIMEOUT_MS"] == t1.CHARACTER_WAITING_S * 1000
    for name in t1.SType:
        assert wire[f"S_{name.name}"] == name
    for name in ("PUT", "DELETE", "RESET", "LIST", "CALCULATE"):
        assert wire[f"INS_{name}"] == getattr(oath, f"INS_{name}")
    for tag in issuer.DataObject:
        key = "KEYS" if tag is issuer.DataObject.KEY_INFORMATION else tag.name
        assert wire[f"DATA_{key}"] == tag
    for name in ("OP_READY", "INITIALIZED", "SECURED", "TERMINATED"):
        assert wire[name] == issuer.LifeCycle[name]
    for name in ("NAME", "NAME_LIST", "KEY", "CHALLENGE", "TRUNCATED", "VERSION"):
        assert wire[f"TAG_{name}"] == getattr(oath, f"TAG_{name}")
    assert wire["KVN_TRANSPORT"] == issuer.TRANSPORT_KEYS
    ours = {int(word) for word in apdu.StatusWord}
    theirs = {value for name, value in wire.items() if name.startswith("SW_")}
    assert theirs - {0x6100, 0x6300, 0x6884} <= ours
