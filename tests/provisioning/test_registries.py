"""Registries that other products read. Real importers where they can be had: python-pskc, and
liboath for pam_oath's users file; the line formats of the others are pinned as golden text."""

from __future__ import annotations

import ctypes
import ctypes.util
import io
import json
import subprocess
from pathlib import Path
from uuid import uuid4
from xml.etree import ElementTree

import pytest
from pskc import PSKC

from tallystick.common.errors import BadInputError
from tallystick.common.identity import DEVELOPMENT_MASTER
from tallystick.common.secret import Secret
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.container import build, parts
from tallystick.provisioning.credential import SIX_DIGITS, CodeKind
from tallystick.provisioning.custody.keyfile import KeyRing
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.provisioning.registries.choose import ContainerReader, registry_for
from tallystick.provisioning.registries.dialects import DIALECTS, TokenEntry, dialect
from tallystick.provisioning.registries.own_key import OwnKeyCustody
from tallystick.provisioning.registry import DuplicateSerialError
from tallystick.provisioning.server_link import RegistryRefusedError
from tallystick.provisioning.steps import Plan, Provisioner
from tallystick.server.stock.containers import Container, Opening
from tallystick.server.stock.intake import read_entries
from tests import needs
from tests.provisioning.command_line import Station
from tests.provisioning.conftest import URL
from tests.provisioning.memory_card import MemoryCard, MemoryLink
from tests.provisioning.pty_card import PtyCard
from tests.service_pages import answered, picture_of_terminal, recipe

SEED = b"12345678901234567890"
HEX = SEED.hex()
ENTRY = TokenEntry("TS00000001", Secret(SEED), SIX_DIGITS, 2)
PHRASE = "seven blue lamps at noon"

GOLDEN = {
    "privacyidea": f"TS00000001, {HEX}, hotp, 6, 2",
    "linotp": f"TS00000001, {HEX}, hotp, 6",
    "multiotp": f"TS00000001;Tallystick;HOTP;{HEX};6;2",
    "duo": f"TS00000001,{HEX},2",
    "pingid": f"TS00000001,{HEX},2",
    "pam_oath": f"# TS00000001\n# HOTP/E/6 - {HEX} 2",
}


def opened(text, custody, folder, passphrase=PHRASE):
    """The registry, with the custody that it has containers closed by."""
    return registry_for(
        text, custody, folder / "journal.registry-key.json", lambda _new: passphrase
    )


@pytest.fixture
def custody():
    """Of a station that no server knows."""
    return SoftwareCustody(KeyRing.create(DEVELOPMENT_MASTER))


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_lines(name):
    assert dialect(name).line(ENTRY) == GOLDEN[name]


# Read by the products' own parsers, once, in 2026-11: privacyIDEA 3.14, multiOTP 5.9.8.0 and LinOTP
# of its main branch gave serial number, seed, digits and (but LinOTP, whose lines have none) the
# counter.
GOLDEN_8 = {
    "privacyidea": f"TS00000002, {HEX}, hotp, 8, 7",
    "linotp": f"TS00000002, {HEX}, hotp, 8",
    "multiotp": f"TS00000002;Tallystick;HOTP;{HEX};8;7",
}


@pytest.mark.parametrize("name", GOLDEN_8)
def test_golden_lines_of_eight_digits(name):
    entry = TokenEntry("TS00000002", Secret(SEED), CodeKind(8), 7)
    assert dialect(name).line(entry) == GOLDEN_8[name]


TAG = "{urn:ietf:params:xml:ns:keyprov:pskc}"
XENC = "{http://www.w3.org/2001/04/xmlenc#}"
# Where the parsers of privacyIDEA 3.14, FreeIPA (ipa-otptoken-import, without its server) and
# LinOTP looked, when they read a container as this station makes it, and opened it. The latter two
# opened one under a passphrase as well; LinOTP with its check of serial numbers off, or with
# numbers of four letters and eight hexadecimal digits.
LOOKED_AT = {
    f"{TAG}EncryptionKey/{{http://www.w3.org/2000/09/xmldsig#}}KeyName": "station-1",
    f"{TAG}MACMethod/{TAG}MACKey/{XENC}CipherData/{XENC}CipherValue": None,
    f"{TAG}KeyPackage/{TAG}DeviceInfo/{TAG}Manufacturer": "Tallystick",
    f"{TAG}KeyPackage/{TAG}DeviceInfo/{TAG}SerialNo": "TS00000008",
    f"{TAG}KeyPackage/{TAG}Key/{TAG}AlgorithmParameters/{TAG}Suite": "SHA1",
    f"{TAG}KeyPackage/{TAG}Key/{TAG}Data/{TAG}Secret/{TAG}ValueMAC": None,
    f"{TAG}KeyPackage/{TAG}Key/{TAG}Data/{TAG}Secret/{TAG}EncryptedValue/{XENC}CipherData"
    f"/{XENC}CipherValue": None,
    f"{TAG}KeyPackage/{TAG}Key/{TAG}Data/{TAG}Counter/{TAG}PlainValue": "5",
}


def test_a_container_has_what_other_importers_look_for(custody):
    own = OwnKeyCustody(custody, Secret(bytes(range(16))), "station-1")
    seed = own.new_seed("TS00000008", b"")
    root = ElementTree.fromstring(build(own, seed, "TS00000008", CodeKind(8), 5))
    for path, text in LOOKED_AT.items():
        (found,) = root.findall(path)
        assert found.text and text in (None, found.text), path
    (method,) = root.findall(f"{TAG}MACMethod")
    assert method.get("Algorithm") == "http://www.w3.org/2000/09/xmldsig#hmac-sha1"
    (key,) = root.findall(f"{TAG}KeyPackage/{TAG}Key")
    assert key.get("Algorithm") == "urn:ietf:params:xml:ns:keyprov:pskc:hotp"
    (form,) = key.findall(f"{TAG}AlgorithmParameters/{TAG}ResponseFormat")
    assert form.attrib == {"Encoding": "DECIMAL", "Length": "8"}
    ciphers = {one.get("Algorithm") for one in root.iter(f"{XENC}EncryptionMethod")}
    assert ciphers == {"http://www.w3.org/2001/04/xmlenc#aes128-cbc"}


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
def test_products_without_hotp(name, product, custody, tmp_path):
    with pytest.raises(BadInputError, match=f"{product} takes no HOTP"):
        opened(f"{name}:cards.csv", custody, tmp_path)


def test_unknown_dialect(custody, tmp_path):
    with pytest.raises(BadInputError, match="no dialect"):
        opened("excel:cards.csv", custody, tmp_path)


def test_secrets_do_not_show():
    assert HEX not in repr(ENTRY) and "1234567890" not in repr(ENTRY)


@pytest.fixture
def provision(custody, journal, tmp_path):
    def run(text, card, **plan):
        own, registry = opened(text, custody, tmp_path)
        registry.check()
        provisioner = Provisioner(own, registry, journal, Plan(**plan), URL)
        return provisioner.provision(CardConnection(MemoryLink(card)), lambda s, n: None)

    return run


@pytest.mark.parametrize("name", [name for name in DIALECTS if name != "pam_oath"])
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
    custody, registry = opened(f"duo:{tmp_path}/cards.csv", custody, tmp_path)
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
        opened(f"keycloak:{path}", custody, tmp_path)[1].check()
    assert path.read_text() == "not json\n"


def test_pskc_folder_is_read_by_python_pskc(provision, memory_card, custody, tmp_path):
    provision(f"pskc:{tmp_path}/out", memory_card, kind=CodeKind(8))
    document = PSKC(str(tmp_path / "out" / f"{memory_card.serial}.pskcxml"))
    document.encryption.derive_key(PHRASE)  # what the container says of it is all there is
    (key,) = document.keys
    assert key.check() and key.secret == memory_card.seed
    assert (key.serial, key.counter, key.response_length) == (memory_card.serial, 2, 8)
    assert key.algorithm_suite == "SHA1" and key.response_encoding == "DECIMAL"
    custody, registry = opened(f"pskc:{tmp_path}/out", custody, tmp_path)
    other = build(
        custody, custody.new_seed(memory_card.serial, b""), memory_card.serial, SIX_DIGITS, 2
    )
    with pytest.raises(DuplicateSerialError):
        registry.register(memory_card.serial, other)


def test_a_folder_has_one_passphrase(provision, custody, tmp_path):
    where = f"pskc:{tmp_path}/out"
    for weak in ("", "a", "elevenchars", "aaaaaaaaaaaaaaaaaaaa"):
        with pytest.raises(BadInputError, match="too easy to guess"):
            opened(where, custody, tmp_path, weak)
    assert not (tmp_path / "out").exists()
    provision(where, MemoryCard(serial="TS00000001"))
    with pytest.raises(BadInputError, match="not the passphrase") as refused:
        opened(where, custody, tmp_path, "eight blue lamps at noon")
    assert PHRASE not in str(refused.value)
    provision(where, MemoryCard(serial="TS00000002"))
    note = tmp_path / "out" / "container-key.json"
    assert PHRASE not in note.read_text() and note.stat().st_mode & 0o077 == 0
    note.write_text("{}")
    with pytest.raises(BadInputError, match="does not say how"):
        opened(where, custody, tmp_path)


def test_a_card_that_stopped_is_finished_with_the_same_key(custody, journal, tmp_path):
    """The key of containers in the journal is made once, and is of no use without the station's."""
    path = tmp_path / "cards.csv"
    own, _ = opened(f"duo:{path}", custody, tmp_path)
    container = build(own, own.new_seed("TS00000001", b""), "TS00000001", SIX_DIGITS, 2)
    _, again = opened(f"duo:{path}", custody, tmp_path)
    assert again.register("TS00000001", container).status == "registered"
    stranger = SoftwareCustody(KeyRing.create(DEVELOPMENT_MASTER))
    with pytest.raises(BadInputError, match="other keys"):
        opened(f"duo:{path}", stranger, tmp_path)


@pytest.mark.parametrize("where", ["duo:{}/cards.csv", "keycloak:{}/cards", "pskc:{}/out"])
def test_a_user_is_refused_before_anything_is_written(provision, memory_card, tmp_path, where):
    with pytest.raises(BadInputError, match="assigns no card to a user") as refused:
        provision(where.format(tmp_path), memory_card, user="ada")
    assert refused.value.kept == "Nothing was written to any card."
    assert not memory_card.seed and memory_card.life_cycle == 1
    assert not list(tmp_path.glob("cards*"))


@pytest.mark.parametrize("user", [None, "ada lovelace", "#ada", "", "a\nb"])
def test_pam_oath_needs_a_user_that_fits(provision, memory_card, tmp_path, user):
    with pytest.raises(BadInputError):
        provision(f"pam_oath:{tmp_path}/users.oath", memory_card, user=user)
    assert not memory_card.seed and memory_card.life_cycle == 1


def test_lines_of_a_users_file_that_others_wrote_stay(provision, memory_card, custody, tmp_path):
    path = tmp_path / "users.oath"
    theirs = "# our users\nHOTP bob - 00 0\n\nHOTP/T30 eve - 01\n"
    path.write_text(theirs)
    provision(f"pam_oath:{path}", memory_card, user="ada")
    lines = path.read_text().splitlines()
    assert lines[:3] == [line for line in theirs.splitlines() if line]
    assert lines[3] == f"# {memory_card.serial}"
    assert lines[4] == f"HOTP/E/6 ada - {memory_card.seed.hex()} 2"
    _, registry = opened(f"pam_oath:{path}", custody, tmp_path)
    assert registry.lookup(memory_card.serial).user == "ada"
    registry.withdraw(memory_card.serial)
    assert path.read_text().splitlines() == lines[:3]


def test_parts_of_a_container(custody):
    custody = OwnKeyCustody(custody, Secret(bytes(16)), "station-1")
    seed = custody.new_seed("TS00000001", b"")
    container = build(custody, seed, "TS00000001", CodeKind(7), 5)
    found = parts(container)
    assert (found.serial, found.kind, found.moving_factor) == ("TS00000001", CodeKind(7), 5)
    assert ContainerReader(custody)(container).seed.reveal() == seed.reveal()
    assert seed.reveal() not in container
    assert PSKC(io.BytesIO(container)).encryption.key_name == "station-1"


def test_a_containers_passphrase_is_told_of_as_figure_7_has_it(provision, memory_card, tmp_path):
    """RFC 6030, 6.2. FreeIPA's importer and LinOTP read no other form."""
    provision(f"pskc:{tmp_path}/out", memory_card)
    (file,) = (tmp_path / "out").glob("*.pskcxml")
    xenc11 = "{http://www.w3.org/2009/xmlenc11#}"
    path = f"{TAG}EncryptionKey/{xenc11}DerivedKey/{xenc11}KeyDerivationMethod/"
    pkcs5 = "{http://www.rsasecurity.com/rsalabs/pkcs/schemas/pkcs-5v2-0#}"
    (found,) = ElementTree.parse(file).getroot().findall(f"{path}{pkcs5}PBKDF2-params")
    names = [one.tag for one in found.iter()][1:]
    assert names == ["Salt", "Specified", "IterationCount", "KeyLength"]


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
    provision(f"pam_oath:{path}", memory_card, kind=CodeKind(digits), user="ada")

    def accepted(code):
        answer = library.oath_authenticate_usersfile(
            str(path).encode(), b"ada", code.encode(), 5, None, None
        )
        return answer == 0

    assert accepted(memory_card.code(2)) and not accepted(memory_card.code(2))
    assert accepted(memory_card.code(4)) and not accepted(memory_card.code(3))
    assert path.read_text().startswith(f"# {memory_card.serial}\n")  # liboath keeps it


@pytest.mark.slow
def test_a_pam_stack_with_pam_oath_takes_a_cards_codes(provision, memory_card, tmp_path):
    needs.root.or_skip()
    needs.pam_oath.or_skip()
    users = tmp_path / "users.oath"
    provision(f"pam_oath:{users}", memory_card, user="ada")
    service = Path("/etc/pam.d") / f"tally-{uuid4().hex}"
    asks = recipe("pam-oath", "pam", {"/etc/users.oath": users})
    service.write_text(f"{asks}account required pam_permit.so\n")
    shown: list[tuple[str, str]] = []

    def accepted(code: str) -> bool:
        done = subprocess.run(
            ["pamtester", service.name, "ada", "authenticate"],
            input=code + "\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        shown.append((f"pamtester sshd ada authenticate  # {code}", answered(done.stdout)))
        return "successfully authenticated" in done.stdout

    try:
        assert accepted(memory_card.code(2)) and not accepted(memory_card.code(2))
        picture_of_terminal("pam-oath", *shown)
        assert accepted(memory_card.code(4)) and not accepted(memory_card.code(3))
    finally:
        service.unlink()


def test_by_the_command_line_without_any_server(tmp_path, cheap_passphrases, make_card):
    """A station that is enrolled nowhere; the server's own importer opens what it made."""
    own = Station(tmp_path, None, "", "", "")
    own.ok("keys", "create", "--development")
    phrase = tmp_path / "phrase"
    phrase.write_text(PHRASE + "\n")
    card = make_card()
    options = ("--registry", f"pskc:{tmp_path}/out", "--registry-passphrase-file", str(phrase))
    with PtyCard(card) as line:
        error = own.fails(
            BadInputError, "provision", "--port", line.port, *options, "--user", "ada"
        )
        assert "assigns no card" in error.what and not card.seed
        own.ok("provision", "--port", line.port, *options)
    (entry,) = read_entries(
        Container(
            (tmp_path / "out" / f"{card.serial}.pskcxml").read_bytes(),
            Opening(passphrase=Secret(PHRASE.encode())),
        ),
        0,
    )
    assert entry.seed.reveal() == card.seed
