"""Registries that other products read. Real importers where they can be had: python-pskc, and
liboath for pam_oath's users file; the line formats of the others are pinned as golden text."""

from __future__ import annotations

import ctypes
import ctypes.util
import io
import json

import pytest
from pskc import PSKC

from tallystick.common.errors import BadInputError
from tallystick.common.secret import Secret
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.container import build, parts
from tallystick.provisioning.credential import SIX_DIGITS, CodeKind
from tallystick.provisioning.registries.choose import ContainerReader, registry_for
from tallystick.provisioning.registries.dialects import DIALECTS, TokenEntry, dialect
from tallystick.provisioning.registry import DuplicateSerialError
from tallystick.provisioning.server_link import RegistryRefusedError
from tallystick.provisioning.steps import Plan, Provisioner
from tests import needs
from tests.provisioning.conftest import PSK, URL
from tests.provisioning.memory_card import MemoryCard, MemoryLink

SEED = b"12345678901234567890"
HEX = SEED.hex()
ENTRY = TokenEntry("TS00000001", Secret(SEED), SIX_DIGITS, 2, "ada")

GOLDEN = {
    "privacyidea": f"TS00000001, {HEX}, hotp, 6, 2",
    "linotp": f"TS00000001, {HEX}, hotp, 6",
    "multiotp": f"TS00000001;Tallystick;HOTP;{HEX};6;2",
    "duo": f"TS00000001,{HEX},2",
    "pingid": f"TS00000001,{HEX},2",
    "pam_oath": f"HOTP/E/6 ada - {HEX} 2",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_lines(name):
    assert dialect(name).line(ENTRY) == GOLDEN[name]


def test_keycloak():
    value = json.loads(dialect("keycloak").line(ENTRY))
    data, secret = json.loads(value["credentialData"]), json.loads(value["secretData"])
    assert (data["subType"], data["counter"], data["digits"]) == ("hotp", 2, 6)
    assert secret == {"value": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}


@pytest.mark.parametrize("name", DIALECTS)
def test_the_serial_number_is_found_again(name):
    entry = TokenEntry("TS00000001", Secret(SEED), SIX_DIGITS, 2)
    assert dialect(name).serial_of(dialect(name).line(entry)) == "TS00000001"


@pytest.mark.parametrize(("name", "product"), [("okta", "Okta"), ("entra", "Entra ID")])
def test_products_without_hotp(name, product, custody):
    with pytest.raises(BadInputError, match=f"{product} takes no HOTP"):
        registry_for(f"{name}:cards.csv", custody)


def test_unknown_dialect(custody):
    with pytest.raises(BadInputError, match="no dialect"):
        registry_for("excel:cards.csv", custody)


def test_secrets_do_not_show():
    assert HEX not in repr(ENTRY) and "1234567890" not in repr(ENTRY)


@pytest.fixture
def provision(custody, journal):
    def run(text, card, **plan):
        registry = registry_for(text, custody)
        registry.check()
        provisioner = Provisioner(custody, registry, journal, Plan(**plan), URL)
        return provisioner.provision(CardConnection(MemoryLink(card)), lambda s, n: None)

    return run


@pytest.mark.parametrize("name", DIALECTS)
def test_cards_into_a_file(provision, tmp_path, name):
    path = tmp_path / "cards"
    cards = [MemoryCard(serial=f"TS0000000{n}") for n in range(3)]
    for card in cards:
        provision(f"{name}:{path}", card)
    lines = path.read_text().splitlines()
    assert len(lines) == 3 and path.stat().st_mode & 0o777 == 0o600
    for card, line in zip(cards, lines, strict=True):
        assert dialect(name).serial_of(line) == card.serial
        assert name == "keycloak" or card.seed.hex() in line


def test_file_registration_is_idempotent(custody, tmp_path):
    registry = registry_for(f"duo:{tmp_path}/cards.csv", custody)
    first = build(custody, custody.new_seed("TS00000001", b""), "TS00000001", SIX_DIGITS, 2)
    other = build(custody, custody.new_seed("TS00000001", b""), "TS00000001", SIX_DIGITS, 2)
    assert registry.register("TS00000001", first).status == "registered"
    assert registry.register("TS00000001", first).status == "already-registered"
    with pytest.raises(DuplicateSerialError):
        registry.register("TS00000001", other)
    assert registry.lookup("TS00000001") and not registry.lookup("TS00000002")
    registry.withdraw("TS00000001")
    assert registry.lookup("TS00000001") is None
    with pytest.raises(RegistryRefusedError, match="does not assign"):
        registry.assign("TS00000001", "ada")


def test_digits_that_a_product_does_not_take(provision, memory_card, tmp_path):
    with pytest.raises(RegistryRefusedError, match="no cards with 7 digits"):
        provision(f"duo:{tmp_path}/cards.csv", memory_card, kind=CodeKind(7))
    assert not memory_card.seed


def test_a_file_that_is_something_else_is_not_touched(custody, tmp_path):
    path = tmp_path / "notes"
    path.write_text("not json\n")
    with pytest.raises(BadInputError, match="not a file in the dialect"):
        registry_for(f"keycloak:{path}", custody).check()
    assert path.read_text() == "not json\n"


def test_pskc_folder_is_read_by_python_pskc(provision, memory_card, custody, tmp_path):
    provision(f"pskc:{tmp_path}/out", memory_card, kind=CodeKind(8))
    document = PSKC(str(tmp_path / "out" / f"{memory_card.serial}.pskcxml"))
    document.encryption.key = bytes.fromhex(PSK)
    (key,) = document.keys
    assert key.check() and key.secret == memory_card.seed
    assert (key.serial, key.counter, key.response_length) == (memory_card.serial, 2, 8)
    assert key.algorithm_suite == "SHA1" and key.response_encoding == "DECIMAL"
    registry = registry_for(f"pskc:{tmp_path}/out", custody)
    other = build(
        custody, custody.new_seed(memory_card.serial, b""), memory_card.serial, SIX_DIGITS, 2
    )
    with pytest.raises(DuplicateSerialError):
        registry.register(memory_card.serial, other)


def test_parts_of_a_container(custody):
    seed = custody.new_seed("TS00000001", b"")
    container = build(custody, seed, "TS00000001", CodeKind(7), 5)
    found = parts(container)
    assert (found.serial, found.kind, found.moving_factor) == ("TS00000001", CodeKind(7), 5)
    assert ContainerReader(custody)(container).seed.reveal() == seed.reveal()
    assert seed.reveal() not in container
    assert PSKC(io.BytesIO(container)).encryption.key_name == "station-1"


def liboath():
    needs.liboath.or_skip()
    library = ctypes.CDLL(ctypes.util.find_library("oath"))
    library.oath_init()
    return library


@pytest.mark.parametrize("digits", [6, 7, 8])
def test_pam_oath_reads_its_users_file(provision, memory_card, tmp_path, digits):
    """liboath, which pam_oath is made of, accepts the card's next codes, each once."""
    library = liboath()
    path = tmp_path / "users.oath"
    provision(f"pam_oath:{path}", memory_card, kind=CodeKind(digits))

    def accepted(code):
        answer = library.oath_authenticate_usersfile(
            str(path).encode(), memory_card.serial.encode(), code.encode(), 5, None, None
        )
        return answer == 0

    assert accepted(memory_card.code(2)) and not accepted(memory_card.code(2))
    assert accepted(memory_card.code(4)) and not accepted(memory_card.code(3))
