"""What protects a container, check by check: derivation, MACs, ciphers, and what is said of a key
that does not open it. Whole containers are in test_pskc.py."""

from __future__ import annotations

import hmac
import re
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from pskc.key import EncryptedValue

from tallystick.common.secret import Secret
from tallystick.server.errors import ApiError
from tallystick.server.stock import containers
from tallystick.server.stock.containers import (
    AES_128_CBC,
    XMLDSIG_MORE,
    XMLENC,
    Container,
    Opening,
    cipher_named,
)
from tallystick.server.stock.refusing import Weakness
from tallystick.server.store.sealed_file import SealedFile
from tests.server.test_pskc import ALL, SEED, document, read, refusal, written

pytestmark = pytest.mark.filterwarnings("ignore:.*decrepit")
KEY = bytes(range(16))
KEY_WRAP = f"{XMLENC}kw-aes128"
TRIPLE = f"{XMLENC}tripledes-cbc"
OLD_WRAP = f"{XMLENC}kw-tripledes"


def bare(**opening) -> Container:
    """A container of which nothing was read: a test gives it what a check looks at."""
    made = object.__new__(Container)
    made.opening = Opening(**opening)
    made.verified = made.signed = made._opened = False
    made._mac = None
    given = SimpleNamespace(
        algorithm=None, pbkdf2_prf=None, pbkdf2_iterations=10_000, pbkdf2_salt=bytes(8),
        pbkdf2_key_length=16,
    )  # fmt: skip
    encryption = SimpleNamespace(algorithm=None, key=None, derivation=given)
    made.document = SimpleNamespace(
        encryption=encryption, mac=SimpleNamespace(algorithm=None, key=None)
    )
    return made


def refused(code):
    return pytest.raises(ApiError, check=lambda error: error.code == code and error.status == 422)


# -- a key derived from a passphrase ---------------------------------------------------------------

PBKDF2 = "http://www.rsasecurity.com/rsalabs/pkcs/schemas/pkcs-5v2-0#pbkdf2"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, None),
        ({"algorithm": "x"}, "bad-derivation"),
        ({"algorithm": PBKDF2 + "x"}, "bad-derivation"),
        ({"pbkdf2_prf": "hmac-sha256"}, None),
        ({"pbkdf2_prf": f"{XMLDSIG_MORE}hmac-sha512"}, None),
        ({"pbkdf2_prf": "hmac-md5"}, "bad-derivation"),
        ({"pbkdf2_prf": "hmac-sha1x"}, "bad-derivation"),
        ({"pbkdf2_iterations": 4_000_000}, None),
        ({"pbkdf2_iterations": 4_000_001}, "bad-derivation"),
        ({"pbkdf2_iterations": -1}, "bad-derivation"),
        ({"pbkdf2_iterations": 9_999}, "weak-derivation"),
        ({"pbkdf2_iterations": 0}, "weak-derivation"),
        ({"pbkdf2_iterations": None}, "weak-derivation"),
        ({"pbkdf2_key_length": 64}, None),
        ({"pbkdf2_key_length": 65}, "bad-derivation"),
        ({"pbkdf2_key_length": None}, None),
        ({"pbkdf2_salt": bytes(7)}, "weak-derivation"),
        ({"pbkdf2_salt": None}, "weak-derivation"),
    ],
)
def test_how_a_key_may_be_derived(change, code):
    for takes in (frozenset(), ALL - {Weakness.OLD}, frozenset({Weakness.OLD})):
        container = bare(takes=takes)
        values = {"algorithm": PBKDF2} | change
        vars(container.document.encryption.derivation).update(values)
        taken = code is None or (code == "weak-derivation" and Weakness.OLD in takes)
        with nullcontext() if taken else refused(code) as caught:
            container._check_derivation(values["algorithm"])
        if "pbkdf2_iterations" in change and not taken:
            assert f" {change['pbkdf2_iterations'] or 0} iterations" in caught.value.what
    if code == "weak-derivation":
        assert caught.value.todo.endswith("--take old.") if not taken else True


def test_what_a_container_is_opened_by():
    """A key, or a passphrase, as it says itself."""
    for opening, derived, algorithm, code in (
        ({"psk": Secret(KEY)}, None, "x", None),
        ({"passphrase": Secret(b"words")}, None, "x", "needs-key"),
        ({"passphrase": Secret(b"words")}, None, None, None),
        ({"psk": Secret(KEY), "passphrase": Secret(b"words")}, None, "x", None),
        ({}, None, "x", None),
        ({"psk": Secret(KEY)}, PBKDF2, "x", "needs-passphrase"),
        ({}, PBKDF2, "x", "needs-passphrase"),
        ({"passphrase": Secret(b"words")}, "x", "x", "bad-derivation"),
        ({"passphrase": Secret(b"words")}, PBKDF2, "x", None),
    ):
        container = bare(**opening)
        encryption = container.document.encryption
        encryption.derivation.algorithm, encryption.algorithm = derived, algorithm
        encryption.derive_key = lambda words, there=encryption: setattr(there, "key", words)
        with refused(code) if code else nullcontext():
            container._set_key()
        if code is None:
            psk = opening.get("psk")
            assert encryption.key == (b"words" if derived else psk and psk.reveal())


def test_a_key_that_cannot_be_derived():
    container = bare(passphrase=Secret(b"words"))
    encryption = container.document.encryption
    encryption.derivation.algorithm = PBKDF2
    encryption.derive_key = lambda words: {}[words]
    with refused("malformed-container"):
        container._set_key()


# -- MACs ------------------------------------------------------------------------------------------

SHA1 = "http://www.w3.org/2000/09/xmldsig#hmac-sha1"
OLD_MAC = f"{XMLDSIG_MORE}hmac-md5"


def mac_of(algorithm, *, stored=None, own=None, key=KEY, plain=b"mac key", **opening):
    """→ key and hash. stored: its key, encrypted; own: what python-pskc makes of it; plain: what
    decrypting gives."""
    container = bare(psk=Secret(KEY), **opening)
    container.document.encryption.key = key
    container.document.encryption.algorithm = AES_128_CBC
    mac = SimpleNamespace(algorithm=algorithm, key=own)
    if stored is not None:
        mac._key = EncryptedValue(b"c", None, stored)
    container.document.mac = mac

    def decrypt(value, algorithm):
        assert (value, algorithm) == (b"c", cipher_named(stored))
        if isinstance(plain, Exception):
            raise plain
        return plain

    container.document.encryption.decrypt_value = decrypt
    return container._mac_method()


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [(SHA1, "sha1"), *((f"{XMLDSIG_MORE}hmac-sha{bits}", f"sha{bits}")
                       for bits in (224, 256, 384, 512))],
)  # fmt: skip
def test_which_macs_are_taken(algorithm, name):
    assert mac_of(algorithm, stored=AES_128_CBC) == (b"mac key", name)
    assert mac_of(algorithm, own=b"own") == (b"own", name)
    if name in ("sha1", "sha256"):
        assert mac_of(algorithm, stored=AES_128_CBC, station=True) == (b"mac key", name)
    else:
        with refused("no-mac"):
            mac_of(algorithm, stored=AES_128_CBC, station=True)


def test_which_are_not():
    assert mac_of(None) is None and mac_of("") is None
    with refused("no-mac"):
        mac_of(None, station=True)
    for takes in (frozenset(), ALL - {Weakness.OLD}):
        with refused("weak-mac") as caught:
            mac_of(OLD_MAC, own=b"own", takes=takes)
        assert caught.value.todo.endswith("--take old.")
    assert mac_of(OLD_MAC, own=b"own", takes=frozenset({Weakness.OLD})) == (b"own", "md5")
    for takes in (frozenset(), ALL):
        with refused("bad-mac") as caught:
            mac_of("x", own=b"own", takes=takes)
        assert "--take" not in caught.value.todo


def test_the_key_of_the_macs():
    for wrong, code in (
        ({"stored": TRIPLE}, "weak-cipher"), ({"stored": "x"}, "bad-cipher"),
        ({"stored": TRIPLE, "station": True}, "no-mac"),
        ({"own": b"own", "station": True}, "no-mac"),
        ({"own": b"own", "key": None}, "no-mac"), ({"own": b""}, "wrong-mac"),
        ({"stored": AES_128_CBC, "plain": ValueError()}, "wrong-mac"),
        ({"stored": AES_128_CBC, "plain": b""}, "wrong-mac"),
    ):  # fmt: skip
        with refused(code):
            mac_of(SHA1, **wrong)
    assert mac_of(SHA1, stored=AES_128_CBC, key=None) == (b"mac key", "sha1")
    taken = mac_of(SHA1, stored=f"{XMLENC}camellia128", takes=frozenset({Weakness.OLD}))
    assert taken == (b"mac key", "sha1")
    with refused("wrong-mac") as caught:
        mac_of(SHA1, stored=AES[2], plain=ValueError())
    assert caught.value.what.endswith("The key has 16 bytes; “" + AES[2] + "” takes 32.")


def test_a_mac_is_of_what_it_covers():
    container = bare()
    container._mac = (b"k", "sha1")
    value = EncryptedValue(b"c", hmac.digest(b"k", b"covered", "sha1"), None)
    assert container._mac_is_right(value, b"covered")
    assert not container._mac_is_right(value, b"covereD")


# -- values ----------------------------------------------------------------------------------------


def decrypted(monkeypatch, *, mac=None, covers=b"c", algorithm=AES_128_CBC, plain=b"plain",
              there=True, verified=False, **opening):  # fmt: skip
    """mac: whether the value has one. covers: what it is over. there: whether there is a key for
    MACs. plain: what decrypting gives."""
    container = bare(psk=Secret(KEY), **opening)
    container.verified = verified
    container._mac = (b"k", "sha1") if there else None
    tag = hmac.digest(b"k", covers, "sha1") if mac else mac

    def decrypt(value, name):
        if isinstance(plain, Exception):
            raise plain
        return bytearray(plain)

    container.document.encryption.key = KEY
    container.document.encryption.decrypt_value = decrypt
    return container._decrypt("Entry 1", EncryptedValue(b"c", tag, algorithm))


DRAFT = frozenset({Weakness.MAC_OVER_PLAINTEXT})
BARE = frozenset({Weakness.UNAUTHENTICATED})


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"mac": True}, None),
        ({"mac": True, "station": True}, None),
        ({"mac": True, "covers": b"x"}, "wrong-mac"),
        ({"mac": True, "covers": b"x", "station": True}, "wrong-mac"),
        ({"mac": True, "covers": b"x", "takes": ALL}, "wrong-mac"),
        ({"mac": True, "covers": b"x", "verified": True}, "wrong-mac"),
        ({"mac": True, "covers": b"plain"}, "mac-over-plaintext"),
        ({"mac": True, "covers": b"plain", "takes": ALL - DRAFT}, "mac-over-plaintext"),
        ({"mac": True, "covers": b"plain", "takes": DRAFT}, None),
        ({"mac": True, "covers": b"plain", "station": True, "takes": ALL - DRAFT}, "wrong-mac"),
        ({"mac": True, "covers": b"x", "takes": DRAFT}, "wrong-mac"),
        ({}, "no-mac"),
        ({"mac": b""}, "no-mac"),
        ({"mac": True, "there": False}, "no-mac"),
        ({"takes": ALL - BARE}, "no-mac"),
        ({"takes": BARE}, None),
        ({"verified": True}, None),
        ({"algorithm": KEY_WRAP}, None),
        ({"algorithm": OLD_WRAP, "takes": frozenset({Weakness.OLD})}, None),
        ({"algorithm": TRIPLE, "takes": frozenset({Weakness.OLD})}, "no-mac"),
        ({"station": True, "takes": ALL}, "no-mac"),
        ({"station": True, "takes": ALL, "there": False, "mac": True}, "no-mac"),
        ({"station": True, "mac": True, "algorithm": KEY_WRAP}, "unencrypted"),
        ({"station": True, "mac": True, "algorithm": None}, "unencrypted"),
        ({"mac": True, "algorithm": TRIPLE}, "weak-cipher"),
        ({"mac": True, "plain": ValueError()}, "malformed-container"),
        ({"algorithm": KEY_WRAP, "plain": ValueError()}, "wrong-mac"),
        ({"takes": BARE, "plain": ValueError()}, "wrong-mac"),
        ({"mac": True, "covers": b"x", "plain": ValueError()}, "wrong-mac"),
        ({"mac": True, "covers": b"x", "plain": ValueError(), "takes": DRAFT}, "wrong-mac"),
    ],
)
def test_which_values_are_believed(monkeypatch, how, code):
    if code is None:
        assert decrypted(monkeypatch, **how) == b"plain"
        return
    with refused(code) as caught:
        decrypted(monkeypatch, **how)
    if code == "wrong-mac" and how.get("covers"):
        station = "another station" in caught.value.todo
        assert station is bool(how.get("station"))
    if code == "mac-over-plaintext":
        assert caught.value.todo.endswith("--take mac-over-plaintext.")


def test_a_value_without_a_cipher_has_that_of_the_container():
    container = bare(psk=Secret(KEY), takes=BARE)
    seen = []
    container.document.encryption.algorithm = AES_128_CBC
    container.document.encryption.decrypt_value = lambda value, name: seen.append(name) or b"p"
    assert container._decrypt("Entry 1", EncryptedValue(b"c", None, None)) == b"p"
    assert seen == [AES_128_CBC]


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        (b"\x00\x00\x00\x05", 5),
        (b"\x05", 5),
        (b"\x01\x00", 256),
        (b"1234", 0x31323334),  # of four bytes, as a program writes them
        (b"12345678", 0x3132333435363738),
        (b"12", None),
        (b"123456789", None),
        (b"", 0),
        (b"\xb2\xb3", 0xB2B3),
    ],
)
def test_encrypted_numbers(raw, number):
    container = bare()
    container._decrypt = lambda where, value: raw
    value = EncryptedValue(b"c", None, None)
    if number is None:
        with refused("bad-counter"):
            container.number("Entry 1", value)
    else:
        assert container.number("Entry 1", value) == number
    assert container.number("Entry 1", 7) == 7 and container.number("Entry 1", None) is None


def test_a_key_in_clear_is_taken_when_named():
    container = bare(takes=ALL - {Weakness.PLAIN})
    with refused("no-key"):
        container.reveal("Entry 1", None)
    with refused("unencrypted") as caught:
        container.reveal("Entry 1", b"seed")
    assert caught.value.todo.endswith("--take plain.")
    assert bare(takes=frozenset({Weakness.PLAIN})).reveal("Entry 1", bytearray(b"seed")) == b"seed"
    container._decrypt = lambda where, value: b"opened"
    assert container.reveal("Entry 1", EncryptedValue(b"c", None, None)) == b"opened"


# -- ciphers ---------------------------------------------------------------------------------------

AES = [f"{XMLENC}aes{bits}-cbc" for bits in (128, 192, 256)]
WRAPS = [f"{XMLENC}kw-aes{bits}" for bits in (128, 192, 256)]
OLD = [TRIPLE, *(f"{XMLDSIG_MORE}camellia{bits}-cbc" for bits in (128, 192, 256))]
OLD_WRAPS = [OLD_WRAP, *(f"{XMLDSIG_MORE}kw-camellia{bits}" for bits in (128, 192, 256))]


def test_which_ciphers_are_taken():
    """And which of them see that something was changed."""
    for names, wraps, old in (
        (AES, False, False), (WRAPS, True, False), (OLD, False, True), (OLD_WRAPS, True, True),
    ):  # fmt: skip
        for name in names:
            for takes in (frozenset(), ALL - {Weakness.OLD}):
                with refused("weak-cipher") if old else nullcontext():
                    assert bare(takes=takes)._check_cipher("Entry 1", name) is wraps
            assert bare(takes=frozenset({Weakness.OLD}))._check_cipher("Entry 1", name) is wraps
            with nullcontext() if name == AES_128_CBC else refused("unencrypted"):
                assert bare(station=True, takes=ALL)._check_cipher("Entry 1", name) is False
    for name in ("x", f"{XMLENC}aes128-gcm", None, ""):
        with refused("bad-cipher"):
            bare(takes=ALL)._check_cipher("Entry 1", name)
    with refused("no-mac"):
        bare(station=True)._check_cipher("Its MAC key", TRIPLE, code="no-mac")
    assert bare(station=True)._check_cipher("Entry 1", "aes128-cbc") is False


@pytest.mark.parametrize(
    ("name", "known"),
    [("camellia128", "camellia128-cbc"), (f"{XMLENC}camellia256", "camellia256-cbc"),
     (f"{XMLENC}CAMELLIA192", "camellia192-cbc"), (f"{XMLDSIG_MORE}camellia128-cbc",
                                                   "camellia128-cbc"),
     ("aes128-cbc", "aes128-cbc")],
)  # fmt: skip
def test_names_of_ciphers(name, known):
    assert cipher_named(name).endswith(f"#{known}") and cipher_named(cipher_named(name))
    assert not cipher_named(None) and not cipher_named("")


# -- what does not open ----------------------------------------------------------------------------


def test_a_key_that_does_not_open_it():
    def said(algorithm=None, key=None, whole=None, **opening):
        container = bare(**opening)
        container.document.encryption.key = key
        container.document.encryption.algorithm = whole
        with pytest.raises(ApiError) as caught:
            container._wrong_key(algorithm)
        return caught.value.code, caught.value.what

    assert said(psk=Secret(KEY), station=True)[1].endswith("under this station's pre-shared key.")
    assert said(station=True)[1].endswith("under this station's pre-shared key.")
    assert said()[0] == "needs-key"
    for opening in ({"psk": Secret(KEY)}, {"passphrase": Secret(b"x")}):
        code, what = said(AES_128_CBC, KEY, **opening)
        assert code == "wrong-mac" and what.endswith("under this key or passphrase.")
    psk = {"psk": Secret(KEY)}
    for algorithm, whole, key, ends in (
        (AES_128_CBC, None, b"12345", f"The key has 5 bytes; “{AES_128_CBC}” takes 16."),
        (None, AES[2], b"12345", f"The key has 5 bytes; “{AES[2]}” takes 32."),
        (AES[1], AES[2], bytes(32), f"The key has 32 bytes; “{AES[1]}” takes 24."),
        ("x", None, b"12345", "passphrase."), (None, None, b"12345", "passphrase."),
        (AES_128_CBC, None, None, "passphrase."),
    ):  # fmt: skip
        assert said(algorithm, key, whole, **psk)[1].endswith(ends)


# -- whole containers ------------------------------------------------------------------------------


def test_what_a_container_begins_with():
    for root in ("KeyContainer", "SecretContainer"):
        assert list(Container(f'<{root} Version="1.0"/>'.encode(), Opening()).keys()) == []
    with refused("malformed-container") as caught:
        Container(b"<other/>", Opening())
    assert "“other”" in caught.value.what
    with refused("malformed-container") as caught:
        Container(b'<KeyContainer Version="9"/>', Opening())
    assert "What stands before the entries" in caught.value.what


def encrypted(tmp_path, **fields):
    made = document(**fields)
    made.encryption.setup_preshared_key(key=KEY)
    return written(made, tmp_path)


def test_a_station_has_to_protect_even_nothing(tmp_path):
    """Others are asked for a key where something is encrypted."""
    plain = written(document(), tmp_path)
    assert len(list(Container(plain, Opening()).keys())) == 1
    with refused("no-mac"):
        list(Container(plain, Opening(psk=Secret(KEY), station=True)).keys())
    strange = b'<pskc:MACMethod Algorithm="x"/><pskc:KeyPackage>'
    strange = plain.replace(b"<pskc:KeyPackage>", strange)
    assert strange != plain and len(list(Container(strange, Opening()).keys())) == 1
    whole = encrypted(tmp_path)
    with refused("needs-key"):
        list(Container(whole, Opening()).keys())
    container = Container(whole, Opening(psk=Secret(KEY), station=True))
    (key,) = container.keys()
    assert container.reveal("Entry 1", key._secret) == SEED


def test_it_is_opened_once(tmp_path, monkeypatch):
    made = document()
    made.add_key(id="K2", serial="S2", secret=SEED[::-1], counter=0)
    made.encryption.setup_preshared_key(key=KEY)
    content = written(made, tmp_path)
    opened = []
    genuine = Container._open
    monkeypatch.setattr(Container, "_open", lambda one: opened.append(1) or genuine(one))
    for station in (False, True):
        container = Container(content, Opening(psk=Secret(KEY), station=station))
        assert len(list(container.keys())) == 2
    assert opened == [1, 1]


def test_one_value_that_is_encrypted_is_enough(tmp_path):
    for name in ("secret", "counter"):
        made = document()
        made.encryption.setup_preshared_key(key=KEY, fields=[name])
        with refused("needs-key"):
            list(Container(written(made, tmp_path), Opening()).keys())


def test_what_else_stands_in_it_is_no_entry(tmp_path):
    content = encrypted(tmp_path).replace(
        b"</pskc:KeyContainer>", b"<pskc:Other><pskc:Key Id='x'/></pskc:Other></pskc:KeyContainer>"
    )
    (entry,) = read(content, psk=KEY)
    assert entry.serial == "S1"


def test_a_prf_that_python_pskc_does_not_find_is_looked_for(tmp_path):
    made = document()
    made.encryption.setup_pbkdf2("words", iterations=10_000, prf="hmac-sha256")
    content = written(made, tmp_path)
    whole = f"{XMLDSIG_MORE}hmac-sha256"
    for there, found in (
        (f"<PRF>\n {whole} </PRF>", whole), (f'<PRF Algorithm="{whole}"/>', whole),
        (f'<PRF Algorithm="{whole}">hmac-sha1</PRF>', whole), ("", None), ("<PRF> </PRF>", None),
    ):  # fmt: skip
        changed = re.sub(rb"<PRF.*?</PRF>", there.encode(), content)
        container = Container(changed, Opening(passphrase=Secret(b"words")))
        assert container.document.encryption.derivation.pbkdf2_prf == found
        if found:
            assert read(changed, passphrase="words")
        else:
            assert refusal(changed, passphrase="words") == "wrong-mac"


def test_a_signature_is_checked_over_what_fits_in_memory(tmp_path, monkeypatch):
    assert containers.SIGNED_LIMIT == 32 * 2**20
    content = encrypted(tmp_path)
    monkeypatch.setattr(containers, "SIGNED_LIMIT", len(content))
    with refused("wrong-signature"):
        Container(content, Opening(certificate="x"))
    monkeypatch.setattr(containers, "SIGNED_LIMIT", len(content) - 1)
    with refused("too-large-to-verify") as caught:
        Container(content, Opening(certificate="x"))
    assert "0 MiB" in caught.value.what
    assert Container(content, Opening()).signature == "none"


def test_what_was_signed_is_read_and_nothing_else(tmp_path, monkeypatch):
    signed = encrypted(tmp_path, serial="S2").decode()
    monkeypatch.setattr(containers, "_signed_part", lambda text, certificate: signed)
    container = Container(encrypted(tmp_path), Opening(psk=Secret(KEY), certificate="x"))
    assert container.signature == "verified" and container.verified
    (key,) = container.keys()
    assert key.serial == "S2"


def test_how_it_is_opened_is_read_of_what_was_signed(tmp_path, monkeypatch):
    """Nothing that stands beside it says how: not even by what a key is derived."""
    signed = encrypted(tmp_path).decode()
    monkeypatch.setattr(containers, "_signed_part", lambda text, certificate: signed)
    container = Container(written(document(), tmp_path), Opening(Secret(KEY), certificate="x"))
    (key,) = container.keys()
    assert container.reveal("Entry 1", key._secret) == SEED
    made = document()
    made.encryption.setup_pbkdf2("words", iterations=10_000)
    signed = re.sub("<PRF.*?</PRF>", "", written(made, tmp_path).decode())
    for prf in ("<PRF>hmac-sha512</PRF>", '<PRF Algorithm="hmac-sha512"/>'):
        beside = signed.replace("</KeyLength>", f"</KeyLength>{prf}").encode()
        assert prf.encode() in beside
        container = Container(beside, Opening(passphrase=Secret(b"words"), certificate="x"))
        (key,) = container.keys()
        assert container.reveal("Entry 1", key._secret) == SEED


def test_a_file_that_waits_on_the_disk_is_read_from_there(tmp_path):
    file = SealedFile.of(encrypted(tmp_path))
    (key,) = Container(file, Opening(psk=Secret(KEY))).keys()
    assert key.serial == "S1"


def test_a_signature_stands_for_an_initialisation_vector_too(tmp_path, monkeypatch):
    made = document()
    made.encryption.setup_preshared_key(key=KEY, key_name="ours")
    vector = b"<pskc:IV>AAAAAAAAAAAAAAAAAAAAAA==</pskc:IV></pskc:EncryptionKey>"
    content = written(made, tmp_path).replace(b"</pskc:EncryptionKey>", vector)
    with refused("bad-cipher"):
        Container(content, Opening(psk=Secret(KEY)))
    monkeypatch.setattr(containers, "_signed_part", lambda text, certificate: content.decode())
    assert Container(content, Opening(psk=Secret(KEY), certificate="x")).verified


def test_a_server_that_cannot_check_signatures_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "signxml", None)
    with refused("no-signatures") as caught:
        Container(encrypted(tmp_path), Opening(certificate="x"))
    assert caught.value.todo == "Install tallystick[signature]."


@pytest.mark.parametrize("signed", [False, True])
def test_what_is_said_of_a_signature(signed):
    container = bare()
    container.signed = signed
    assert container.signature == ("not-checked" if signed else "none")
    container.verified = True
    assert container.signature == "verified"
