"""Every profile of RFC 6030 that python-pskc writes, and what the server does with it."""

from __future__ import annotations

import datetime
import re
import secrets
from itertools import product

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from pskc import PSKC

from tallystick.common.secret import Secret
from tallystick.server.errors import ApiError
from tallystick.server.rules.judge import Generator
from tallystick.server.stock.containers import Container, Opening
from tallystick.server.stock.intake import read_entries
from tallystick.server.stock.refusing import Weakness

NOW = 1_800_000_000
HOTP = "urn:ietf:params:xml:ns:keyprov:pskc:hotp"
TOTP = "urn:ietf:params:xml:ns:keyprov:pskc:totp"
SEED = bytes(range(100, 120))
PASSPHRASE = "a passphrase that came by post"
ALL = frozenset(Weakness)
# 3DES and Camellia: python-pskc uses them where the cryptography library calls them decrepit.
pytestmark = pytest.mark.filterwarnings("ignore:.*decrepit")

KEY_SIZES = {
    "aes128-cbc": 16,
    "aes192-cbc": 24,
    "aes256-cbc": 32,
    "kw-aes128": 16,
    "kw-aes192": 24,
    "kw-aes256": 32,
}
OLD_SIZES = {
    "tripledes-cbc": 24,
    "kw-tripledes": 24,
    "camellia128-cbc": 16,
    "camellia192-cbc": 24,
    "camellia256-cbc": 32,
    "kw-camellia128": 16,
    "kw-camellia192": 24,
    "kw-camellia256": 32,
}
MACS = ["hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"]


def document(**fields: object) -> PSKC:
    made = PSKC()
    defaults = {"id": "K1", "serial": "S1", "secret": SEED, "counter": 5, "algorithm": HOTP}
    made.add_key(**(defaults | fields))
    return made


def written(made: PSKC, tmp_path) -> bytes:
    made.write(str(tmp_path / "c.pskcxml"))
    return (tmp_path / "c.pskcxml").read_bytes()


def read(content: bytes, **opening: object):
    if "psk" in opening:
        opening["psk"] = Secret(opening["psk"])
    if "passphrase" in opening:
        opening["passphrase"] = Secret(opening["passphrase"].encode())
    return read_entries(Container(content, Opening(**opening)), NOW)


def refusal(content: bytes, **opening: object) -> str:
    with pytest.raises(ApiError) as raised:
        read(content, **opening)
    assert raised.value.status == 422 and raised.value.kept and raised.value.todo
    assert SEED.hex() not in str(raised.value)
    return raised.value.code


def the_seed(content: bytes, **opening: object) -> bytes:
    (entry,) = read(content, **opening)
    assert (entry.serial, entry.moving_factor) == ("S1", 5)
    return entry.seed.reveal()


@pytest.mark.parametrize(("cipher", "mac"), [*product(KEY_SIZES, [None]), *product(
    ["aes256-cbc", "kw-aes128"], MACS)])  # fmt: skip
def test_pre_shared_keys(tmp_path, cipher, mac):
    """RFC 6030 section 6.1: AES-CBC with a MAC, and AES key wrap with one or without."""
    key = secrets.token_bytes(KEY_SIZES[cipher])
    made = document()
    if mac:
        made.mac.setup(algorithm=mac)
    made.encryption.setup_preshared_key(key=key, algorithm=cipher)
    content = written(made, tmp_path)
    assert the_seed(content, psk=key) == SEED
    assert refusal(content) in ("needs-key", "no-mac")
    assert refusal(content, psk=secrets.token_bytes(len(key))) == "wrong-mac"
    assert refusal(content, psk=b"short") == "wrong-mac"
    assert refusal(content, passphrase=PASSPHRASE) == "needs-key"


@pytest.mark.parametrize(
    ("cipher", "prf"),
    [*product(KEY_SIZES, [None]), *product(["aes128-cbc"], MACS)],
)
def test_passphrases(tmp_path, cipher, prf):
    """RFC 6030 section 6.2: a key derived by PBKDF2."""
    made = document()
    made.encryption.setup_pbkdf2(PASSPHRASE, algorithm=cipher, iterations=10_000, prf=prf)
    content = written(made, tmp_path)
    assert the_seed(content, passphrase=PASSPHRASE) == SEED
    assert refusal(content, passphrase="another one") == "wrong-mac"
    assert refusal(content, psk=bytes(16)) == "needs-passphrase"


def test_passphrases_that_are_guessed_too_fast(tmp_path):
    made = document()
    made.encryption.setup_pbkdf2(PASSPHRASE, iterations=1000)
    content = written(made, tmp_path)
    assert refusal(content, passphrase=PASSPHRASE) == "weak-derivation"
    assert the_seed(content, passphrase=PASSPHRASE, takes=frozenset({Weakness.OLD})) == SEED
    made = document()
    made.encryption.setup_pbkdf2(PASSPHRASE, iterations=10_000, salt=b"1234567")  # 8 bytes at least
    assert refusal(written(made, tmp_path), passphrase=PASSPHRASE) == "weak-derivation"
    slow = content.replace(b">1000<", b">2000000000<")
    assert refusal(slow, passphrase=PASSPHRASE, takes=ALL) == "bad-derivation"
    made = document()
    made.encryption.setup_pbkdf2(PASSPHRASE, iterations=10_000, prf="hmac-md5")
    assert refusal(written(made, tmp_path), passphrase=PASSPHRASE, takes=ALL) == "bad-derivation"


@pytest.mark.parametrize("cipher", OLD_SIZES)
def test_ciphers_out_of_use(tmp_path, cipher):
    """Refused by name; taken when the importer says so, as long as the library still has them."""
    key = secrets.token_bytes(OLD_SIZES[cipher])
    made = document(secret=SEED + b"wxyz")  # 3DES key wrap takes multiples of 8 bytes
    made.encryption.setup_preshared_key(key=key, algorithm=cipher)
    content = written(made, tmp_path)
    assert refusal(content, psk=key) in ("weak-cipher", "no-mac")
    assert the_seed(content, psk=key, takes=frozenset({Weakness.OLD})) == SEED + b"wxyz"


@pytest.mark.parametrize("mac", ["hmac-md5", "hmac-ripemd160"])
def test_macs_out_of_use(tmp_path, mac):
    made = document()
    made.mac.setup(algorithm=mac)
    made.encryption.setup_preshared_key(key=bytes(range(16)))
    content = written(made, tmp_path)
    assert refusal(content, psk=bytes(range(16))) == "weak-mac"
    assert the_seed(content, psk=bytes(range(16)), takes=frozenset({Weakness.OLD})) == SEED


def test_no_protection_at_all(tmp_path):
    content = written(document(), tmp_path)
    assert refusal(content) == "unencrypted"
    assert refusal(content, takes=ALL - {Weakness.PLAIN}) == "unencrypted"
    assert the_seed(content, takes=frozenset({Weakness.PLAIN})) == SEED


def test_encrypted_but_not_authenticated(tmp_path):
    key = bytes(range(16))
    made = document()
    made.encryption.setup_preshared_key(key=key)
    content = re.sub(
        rb"<pskc:MACMethod.*?</pskc:MACMethod>", b"", written(made, tmp_path), flags=re.S
    )
    content = re.sub(rb"<pskc:ValueMAC>.*?</pskc:ValueMAC>", b"", content)
    assert refusal(content, psk=key) == "no-mac"
    assert the_seed(content, psk=key, takes=frozenset({Weakness.UNAUTHENTICATED})) == SEED


def test_macs_without_a_key_of_their_own(tmp_path):
    """RFC 6030 section 6.1.1: they are made with the encryption key then."""
    key = bytes(range(16))
    made = document()
    made.encryption.key = key
    made.encryption.setup_preshared_key(key=key)
    content = re.sub(rb"<pskc:MACKey>.*</pskc:MACKey>", b"", written(made, tmp_path), flags=re.S)
    assert the_seed(content, psk=key) == SEED
    mac = re.search(rb"<pskc:ValueMAC>(.)", content)
    changed = b"A" if mac.group(1) != b"A" else b"B"
    assert (
        refusal(content[: mac.start(1)] + changed + content[mac.end(1) :], psk=key) == "wrong-mac"
    )


def test_encrypted_counters(tmp_path):
    key = bytes(range(16))
    for counter, fields in ((5, ["secret", "counter"]), (70_000, ["secret", "counter"])):
        made = document(counter=counter)
        made.encryption.setup_preshared_key(key=key, fields=fields)
        (entry,) = read(written(made, tmp_path), psk=key)
        assert entry.moving_factor == counter
    made = document(counter=0x3132)  # in network byte order that is "12", too
    made.encryption.setup_preshared_key(key=key, fields=["secret", "counter"])
    assert refusal(written(made, tmp_path), psk=key) == "bad-counter"


def test_an_initialisation_vector_outside_the_mac_is_refused(tmp_path):
    key = bytes(range(16))
    made = document()
    made.encryption.setup_preshared_key(key=key, key_name="ours")
    content = written(made, tmp_path)
    assert the_seed(content, psk=key) == SEED
    vector = b"<pskc:IV>AAAAAAAAAAAAAAAAAAAAAA==</pskc:IV></pskc:EncryptionKey>"
    content = content.replace(b"</pskc:EncryptionKey>", vector)
    assert refusal(content, psk=key, takes=ALL) == "bad-cipher"


@pytest.mark.parametrize(
    ("suite", "algorithm"),
    [(None, "sha1"), ("HMAC-SHA256", "sha256"), ("SHA512", "sha512"), ("HMAC-SHA-256", "sha256")],
)
def test_time_based_keys(tmp_path, suite, algorithm):
    made = document(
        algorithm=TOTP, counter=None, algorithm_suite=suite, time_interval=60, time_drift=-2
    )
    made.encryption.setup_preshared_key(
        key=bytes(range(16)), fields=["secret", "time_interval", "time_drift"][:2]
    )
    (entry,) = read(written(made, tmp_path), psk=bytes(range(16)))
    assert entry.generator == Generator(algorithm, 60)
    assert (entry.moving_factor, entry.drift) == (0, -2)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"algorithm": TOTP, "time_interval": 45}, "bad-time"),
        ({"algorithm": TOTP, "time_offset": 7}, "bad-time"),
        ({"algorithm": TOTP, "time_drift": 100_000}, "bad-time"),
        ({"algorithm": TOTP, "algorithm_suite": "MD5"}, "not-otp"),
        ({"algorithm": "urn:ietf:params:xml:ns:keyprov:pskc:pin"}, "not-otp"),
        ({"algorithm": "urn:ietf:params:xml:ns:keyprov:pskc:ocra"}, "not-otp"),
        ({"algorithm_suite": "MD5"}, "not-hotp"),
        ({"secret": None}, "no-key"),
        ({"response_encoding": "HEXADECIMAL"}, "bad-format"),
        ({"response_encoding": "DECIMAL", "response_check": True}, "bad-format"),
    ],
)
def test_keys_that_are_not_for_this_server(tmp_path, fields, code):
    assert refusal(written(document(**fields), tmp_path), takes=ALL) == code


def at(offset: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(NOW + offset, datetime.UTC)


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ({"number_of_transactions": 5}, "unknown-policy"),
        ({"key_usage": ["CR"]}, "not-otp"),
        ({"pin_usage": "Append"}, "needs-pin"),
        ({"start_date": at(60)}, "not-yet-valid"),
        ({"expiry_date": at(-60)}, "expired"),
    ],
)
def test_rules_that_cannot_be_kept_are_refused(tmp_path, policy, code):
    """RFC 6030 section 5: whoever does not understand a rule may not use the key."""
    made = document()
    for name, value in policy.items():
        setattr(made.keys[0].policy, name, value)
    assert refusal(written(made, tmp_path), takes=ALL) == code


def test_rules_that_can_be_kept(tmp_path):
    made = document(expiry_date=at(500))
    policy = made.keys[0].policy
    policy.key_usage, policy.pin_usage = ["OTP"], "Local"
    policy.start_date, policy.expiry_date = at(-60), at(600)
    (entry,) = read(written(made, tmp_path), takes=ALL)
    assert entry.valid_until == NOW + 500


@pytest.fixture(scope="module")
def signer() -> tuple[bytes, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Maker of cards")])
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=2))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return secret, certificate.public_bytes(pem).decode()


def test_signed_containers(tmp_path, signer):
    """RFC 6030 section 7: a signature over everything, serial numbers and counters too."""
    key, certificate = signer
    psk = bytes(range(16))
    made = document()
    made.encryption.setup_preshared_key(key=psk)
    unsigned = written(made, tmp_path)
    made.signature.sign(key, certificate)
    content = written(made, tmp_path)
    assert the_seed(content, psk=psk, certificate=certificate) == SEED
    opening = Opening(psk=Secret(psk))
    assert Container(content, opening).signature == "not-checked"
    assert Container(unsigned, opening).signature == "none"
    # A changed serial number passes every MAC, but not the signature.
    changed = content.replace(b">S1<", b">S2<")
    assert read(changed, psk=psk)[0].serial == "S2"
    assert refusal(changed, psk=psk, certificate=certificate) == "wrong-signature"
    assert refusal(unsigned, psk=psk, certificate=certificate) == "wrong-signature"
    assert refusal(content, psk=psk, certificate="nonsense") == "wrong-signature"


def test_a_signature_stands_for_the_macs(tmp_path, signer):
    key, certificate = signer
    psk = bytes(range(16))
    made = document()
    made.encryption.setup_preshared_key(key=psk)
    made.mac.algorithm = None
    made.signature.sign(key, certificate)
    content = written(made, tmp_path)
    assert b"ValueMAC" not in content
    assert refusal(content, psk=psk) == "no-mac"
    assert the_seed(content, psk=psk, certificate=certificate) == SEED


def test_what_python_pskc_cannot_read_is_refused():
    for content in (b"", b"<a/>", b"\xff", b"<KeyContainer Version='9'/>"):
        assert refusal(content, takes=ALL) == "malformed-container"
    assert refusal(b"<KeyContainer Version='1.0'/>", takes=ALL) == "empty-container"
