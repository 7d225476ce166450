"""Token files as vendors send them: other kinds than PSKC, and PSKC as it is found."""

from __future__ import annotations

import base64
import codecs
import hashlib
import json
from pathlib import Path

import pyotp
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tallystick.common.errors import BadInputError
from tallystick.common.secret import Secret
from tallystick.server.errors import ApiError
from tallystick.server.operating.cli import server as command
from tallystick.server.operating.key_files import (
    certificate_of,
    key_of,
    passphrase_of,
    token_of,
)
from tallystick.server.rules.judge import Generator
from tallystick.server.rules.otp import hotp
from tallystick.server.stock.containers import Opening
from tallystick.server.stock.gathered import Taken
from tallystick.server.stock.gathering import IntakeWish
from tallystick.server.stock.refusing import Weakness, shown
from tallystick.server.stock.seed_files import KINDS, read_tokens

pytestmark = pytest.mark.filterwarnings("ignore:.*decrepit")

FIELD = Path(__file__).parent / "field"
NOW = 1_800_000_000
SEED = bytes.fromhex("6465666768696a6b6c6d6e6f7071727374757677")
SEED_32 = bytes(range(100, 132))
KEY = bytes.fromhex("12345678901234567890123456789012")
PSKC = "urn:ietf:params:xml:ns:keyprov:pskc"
XMLENC = "http://www.w3.org/2001/04/xmlenc#"
DSIG_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
PLAIN = frozenset({Weakness.PLAIN})


def read(
    content: bytes | str,
    *,
    takes: frozenset[Weakness] = PLAIN,
    skip: bool = False,
    rewrite: bool = False,
    **opening: object,
) -> Taken:
    data = content.encode() if isinstance(content, str) else content
    wanted = IntakeWish(skip, rewrite)
    return read_tokens(data, Opening(takes=takes, **opening), NOW, wanted)


def refusal(content: bytes | str, **how: object) -> ApiError:
    with pytest.raises(ApiError) as raised:
        read(content, **how)
    error = raised.value
    assert error.status == 422 and error.kept and error.todo
    said = json.dumps(error.body())
    for secret in (SEED, SEED_32):
        for written in (secret.hex(), base64.b64encode(secret), base64.b32encode(secret)):
            text = written if isinstance(written, str) else written.decode()
            assert text.rstrip("=").lower() not in said.lower()
    return error


def key_package(
    data: str = "",
    *,
    serial: str | None = "S1",
    ident: str = "S1",
    profile: str = f"{PSKC}:hotp",
    suite: str = "",
    seed: bytes = SEED,
    more: str = "",
    digits: int = 6,
) -> str:
    info = f"<DeviceInfo><SerialNo>{serial}</SerialNo></DeviceInfo>" if serial is not None else ""
    secret = f"<Secret><PlainValue>{base64.b64encode(seed).decode()}</PlainValue></Secret>"
    counter = "<Counter><PlainValue>0</PlainValue></Counter>"
    return (
        f'<KeyPackage>{info}<Key Id="{ident}" Algorithm="{profile}"><AlgorithmParameters>'
        f"{f'<Suite>{suite}</Suite>' if suite else ''}"
        f'<ResponseFormat Length="{digits}" Encoding="DECIMAL"/></AlgorithmParameters>'
        f"<Data>{data or secret + counter}</Data>{more}</Key></KeyPackage>"
    )


def container(*packages: str, head: str = "", declaration: str = "") -> str:
    return (
        f'{declaration}<KeyContainer Version="1.0" xmlns="{PSKC}" xmlns:xenc="{XMLENC}">'
        f"{head}{''.join(packages)}</KeyContainer>"
    )


# ---- kinds of files, told by their content


@pytest.mark.parametrize(
    ("name", "kind", "serial", "generator"),
    [
        ("entra-token2.csv", "Entra ID CSV", "FK10000001", Generator("sha1", 30)),
        ("oath.csv", "OATH CSV", "FK10000002", Generator()),
        ("multiotp.csv", "multiOTP CSV", "FK10000003", Generator("sha1", 30)),
        ("only-key-id.xml", "PSKC (RFC 6030)", "KID-778899", Generator()),
        ("plain-with-macmethod.xml", "PSKC (RFC 6030)", "FK0001", Generator()),
        ("latin1.xml", "PSKC (RFC 6030)", "FK0001", Generator()),
    ],
)
def test_files_of_the_field(name, kind, serial, generator):
    content = (FIELD / name).read_bytes()
    taken = read(content)
    (entry,) = taken.entries
    assert (taken.kind, entry.serial, entry.generator) == (kind, serial, generator)
    assert entry.seed.reveal() == SEED
    error = refusal(content, takes=frozenset())
    assert error.code == "unencrypted" and "--take plain" in error.todo


SAFENET = """<?xml version="1.0"?><Tokens><Token serial="{serial}"><CaseModel>5</CaseModel>
<ProductName>eToken PASS</ProductName><Applications><Application ConnectorID="{{a}}">
<Seed>{seed}</Seed><MovingFactor>{factor}</MovingFactor></Application></Applications></Token>
</Tokens>"""
SAFEWORD = """# ===== SafeWord Authenticator Records $Version: 100$ =====
dn: sccAuthenticatorId=RAINER01
objectclass: sccCompatibleToken
sccAuthenticatorId: RAINER01
sccTokenType: eToken-PASS-ES
sccTokenData: sccKey={seed};sccMode={mode};sccPwLen=6;sccVer=6.20;sccSeq=3;
sccSignature:MC0CFGxP
"""
HEXED = SEED.hex()
BASE32 = base64.b32encode(SEED).decode()


@pytest.mark.parametrize(
    ("text", "kind", "generator", "factor", "user"),
    [
        (f"T1, {HEXED}", "OATH CSV", Generator(), 0, ""),
        (f"T1,{HEXED.upper()},totp,8,60\n", "OATH CSV", Generator("sha1", 60, 8), 0, ""),
        (f"# a comment\r\n\r\nT1;0x{HEXED};HOTP;8;17\r\n", "OATH CSV", Generator(digits=8), 17, ""),
        (f"T1,{HEXED},hotp,6,,sha256", "OATH CSV", Generator("sha256"), 0, ""),
        (f"T1\t{HEXED}\ttotp\t8\t30\tSHA512", "OATH CSV", Generator("sha512", 30, 8), 0, ""),
        (f"T1,{BASE32},totp", "OATH CSV", Generator("sha1", 30), 0, ""),
        (
            f"# version: 2\nann, ldap, staff, T1, {HEXED}, hotp, 6, 4",
            "privacyIDEA CSV",
            Generator(),
            4,
            "ann",
        ),
        (f"T1;Maker, Ltd;HOTP;{HEXED};6;9", "multiOTP CSV", Generator(), 9, ""),
        (
            f'"UPN","Serial Number","Secret Key","Time Interval","Manufacturer","Model"\n'
            f'"ann@example.org","T1","{BASE32.lower()}","60","Token2","c202"',
            "Entra ID CSV",
            Generator("sha1", 60),
            0,
            "ann@example.org",
        ),
        (
            f"upn;serial number;secret key;time interval;manufacturer;model;hash function\n"
            f";T1;{BASE32};30;M;X;hmacsha256",
            "Entra ID CSV",
            Generator("sha256", 30),
            0,
            "",
        ),
        (f"sep=;\nserial;secret;counter;digits\nT1;{HEXED};12;7", "CSV with headings",
         Generator(digits=7), 12, ""),
        (f'serial,seed\n="T1","{HEXED}"', "CSV with headings", Generator(), 0, ""),
        (
            f"LOGGING START,11.12.13 18:55\n"
            f"OATH-HOTP,11.12.13 18:55,1,T1,,{HEXED},,,0,0,0,8,16,0,0,0,0,0",
            "Yubico CSV",
            Generator(digits=8),
            16,
            "",
        ),
        (f"T1x,,0,{HEXED},,2013-12-12T08:41:07,".replace("T1x", "508326"), "Yubico CSV",
         Generator(), 0, ""),
        (SAFENET.format(serial="T1", seed=HEXED, factor=5), "SafeNet XML", Generator(), 5, ""),
        (SAFEWORD.format(seed=HEXED, mode="E"), "SafeWord records", Generator(), 3, ""),
        (f"'T1','{HEXED}','HOTP','8','7'", "OATH CSV", Generator(digits=8), 7, ""),
        (f"T1;0x{':'.join(HEXED[n : n + 2] for n in range(0, 40, 2))};hotp", "OATH CSV",
         Generator(), 0, ""),
        (f"'T1,\u200b{HEXED},hotp\u200b", "OATH CSV", Generator(), 0, ""),
        (f"T1,{' '.join(BASE32[n : n + 4] for n in range(0, 32, 4)).lower()},totp,6,30",
         "OATH CSV", Generator("sha1", 30), 0, ""),
        (f"Serial No.,Seed (HEX),OTP Type,OTP length,Hash\nT1,{HEXED},totp,8,SHA-512",
         "CSV with headings", Generator("sha512", 30, 8), 0, ""),
        (f"Token S/N|Secret Key [Base32]|Counter\nT1|{BASE32}|4", "CSV with headings",
         Generator(), 4, ""),
        (f'upn,serial number,secret key,time interval,manufacturer,model\n'
         f'a@b.example,T1,{BASE32},30,"Maker,\nLtd",X', "Entra ID CSV",
         Generator("sha1", 30), 0, "a@b.example"),
        (f'upn,serial number,secret key,time interval,manufacturer,model\n'
         f'a@b.example,T1,{BASE32},30,3" wide,X', "Entra ID CSV",
         Generator("sha1", 30), 0, "a@b.example"),
        (f"#version:2\nann,,,T1,{HEXED},HOTP", "privacyIDEA CSV", Generator(), 0, "ann"),
        (f"T1;;TOTP;{HEXED};8;60;SHA256", "multiOTP CSV", Generator("sha256", 60, 8), 0, ""),
        (SAFENET.replace("<Tokens>", '<s:Tokens xmlns:s="urn:x" version="1">')
         .replace("</Tokens>", "</s:Tokens>").replace("Token ", "s:Token ")
         .replace("</Token>", "</s:Token>").format(serial="T1", seed=HEXED, factor=5),
         "SafeNet XML", Generator(), 5, ""),
    ],
)  # fmt: skip
def test_every_kind_of_seed_file(text, kind, generator, factor, user):
    for encoded in (
        text.encode(),
        codecs.BOM_UTF8 + text.encode(),
        codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
        text.replace("\n", "\r\n").encode(),
    ):
        taken = read(encoded)
        (entry,) = taken.entries
        assert (taken.kind, entry.generator, entry.moving_factor) == (kind, generator, factor)
        assert (entry.seed.reveal(), entry.user) == (SEED, user)
        assert entry.serial in ("T1", "508326", "RAINER01")
    error = refusal(text, takes=frozenset())
    assert error.code == "unencrypted" and kind in error.what and "1 token" in error.what


@pytest.mark.parametrize(("name", "digest"), [
    ("sha1", hashlib.sha1), ("sha256", hashlib.sha256), ("sha512", hashlib.sha512)
])  # fmt: skip
@pytest.mark.parametrize("digits", [6, 7, 8])
def test_codes_of_what_was_read_are_those_of_another_program(name, digest, digits):
    """pyotp computes from the base 32 of the file, the server from what it has read."""
    seed = bytes(range(40, 72))
    written = base64.b32encode(seed).decode().rstrip("=")
    spaced = " ".join(written[n : n + 4] for n in range(0, len(written), 4)).lower()
    text = f"T1,{spaced},hotp,{digits},17,{name}\nT2,{seed[::-1].hex()},totp,{digits},60,{name}"
    first, second = read(
        text.replace(seed[::-1].hex(), base64.b32encode(seed[::-1]).decode())
    ).entries
    ours = hotp(first.seed.reveal(), first.moving_factor, digits, first.generator.algorithm)
    assert ours == pyotp.HOTP(written, digits=digits, digest=digest).at(17)
    ours = hotp(second.seed.reveal(), NOW // 60, digits, second.generator.algorithm)
    written = base64.b32encode(seed[::-1]).decode().rstrip("=")
    assert ours == pyotp.TOTP(written, digits=digits, digest=digest, interval=60).at(NOW)


@pytest.mark.parametrize(
    ("text", "says", "todo"),
    [
        (f"Serial Number,Geheimnis\nT1,{HEXED}", "none for the secret key", "“secret key”"),
        (f"Nummer;Seed (hex)\nT1;{HEXED}", "none for the serial number", "“serial number”"),
        (f"# version: 3\nann,r,s,T1,{HEXED},hotp", "version 3", ""),
    ],
)
def test_a_file_that_is_nearly_of_a_kind_is_told_what_it_lacks(text, says, todo):
    error = refusal(text)
    assert error.code == "unknown-kind" and says in error.what and todo in error.todo


def test_a_quote_that_nobody_closes_hides_no_other_line():
    third = bytes(range(50, 70)).hex()
    text = f'T0,{SEED.hex()},hotp\n"T1,{SEED_32.hex()},hotp\nT2,{third},hotp'
    error = refusal(text)
    assert [one.number for one in error.entries] == [2]
    assert len(read(text, skip=True).entries) == 2


def test_two_slots_of_one_yubikey_are_named_by_their_public_ids():
    line = "508326,{},0,{},,2013-12-12T08:41:07,"
    seeds = (HEXED, SEED_32.hex()[-40:])
    both = "\n".join(line.format(f"ubhe0000{n}", seed) for n, seed in enumerate(seeds))
    assert [one.serial for one in read(both).entries] == ["ubhe00000", "ubhe00001"]
    (alone,) = read(both.splitlines()[0]).entries
    assert alone.serial == "508326"
    error = refusal("\n".join(line.format("", seed) for seed in seeds))
    assert error.code == "duplicate-serial"


def test_what_repeats_is_named_by_its_line():
    error = refusal(f"# made today\nT1,{HEXED},hotp\n\nT1,{SEED_32.hex()},hotp")
    assert error.what == "Line 4 repeats serial T1 of line 2."


def test_a_seed_in_place_of_the_serial_number_is_not_shown():
    """Columns in another order."""
    refusal(f"{HEXED},T1,hotp,6,0")
    refusal(f"{BASE32},T1,hotp,6,0")
    error = refusal(f"{HEXED},{SEED_32.hex()},hotp\n{HEXED},{SEED_32.hex()[:40]},hotp")
    assert error.code == "duplicate-serial" and "not shown" in error.what
    refusal(container(key_package(serial=HEXED, profile="urn:x")))


def test_a_long_seed_of_safenet_is_of_sha_256():
    (entry,) = read(SAFENET.format(serial="T1", seed=SEED_32.hex(), factor=0)).entries
    assert (entry.generator, entry.seed.reveal()) == (Generator("sha256"), SEED_32)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b" \r\n", "empty"),
        (b"hello, world\nno, seeds\n", "no kind"),
        (b"<html><body>404</body></html>", "no kind"),
        (b'{"tokens": []}', "no kind"),
        (b"PK\x03\x04rest", "ZIP"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "workbook"),
        (b"\x1f\x8b\x08", "compressed"),
        (b"%PDF-1.4", "PDF"),
        (b"-----BEGIN PGP MESSAGE-----", "OpenPGP"),
        (b"-----BEGIN CERTIFICATE-----", "certificate"),
        (b"\x00\x01\x02\x03" * 9, ""),
        (bytes(range(256)), ""),
    ],
)
def test_a_file_of_no_known_kind_is_told_what_kinds_there_are(content, says):
    error = refusal(content)
    assert error.code in ("unknown-kind", "unreadable-file")
    assert says in error.what
    if says in ("empty", "no kind"):
        assert all(kind in error.todo for kind in KINDS)


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (f"T1,{HEXED},ocra,OCRA-1:HOTP-SHA1-8:QH40", "not-otp", "ocra"),
        (f"T1,{HEXED},hotp,9", "bad-digits", "9 digits"),
        (f"T1,{HEXED},hotp,six", "unreadable-entry", "“six”"),
        (f"T1,{HEXED},hotp,6,-1", "unreadable-entry", "“-1”"),
        (f"T1,{HEXED},totp,6,45", "bad-time", "45 seconds"),
        (f"T1,{HEXED},hotp,6,0,md5", "not-otp", "md5"),
        ("T1,1212,hotp", "weak-seed", "2 bytes"),
        (f"T1,{'ab' * 20},hotp", "weak-seed", "not random"),
        (f"T1,{HEXED[:-1]}g,hotp\nT2,{HEXED},hotp", "unreadable-entry", "hexadecimal"),
        (f"T 1,{HEXED},hotp", "bad-serial", "“T 1”"),
        (f"1.00013E+12,{HEXED},hotp", "bad-serial", "1.00013E+12"),
        (f"{HEXED},{SEED_32.hex()},hotp", "", ""),
        (f"{SEED_32.hex()} {HEXED},{SEED_32.hex()},hotp", "bad-serial", "not shown"),
    ],
)
def test_a_bad_line_is_named_with_what_is_wrong(line, code, says):
    if not code:  # a serial number may be any 64 letters and digits
        assert read(line).entries
        return
    error = refusal(line)
    assert error.code == code and says in error.what and error.what.startswith("Line 1")


def test_columns_in_another_order_do_not_show_a_seed():
    for text in (f"serial,secret\n{HEXED} x,T1", f"serial,secret\n{BASE32} {BASE32},T1"):
        assert "not shown" in refusal(text).what or refusal(text)


@given(st.binary(min_size=16, max_size=64))
def test_no_writing_of_a_key_is_shown(raw):
    for text in (
        raw.hex(),
        raw.hex(" "),
        raw.hex(":"),
        "0x" + raw.hex(),
        base64.b32encode(raw).decode(),
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
    ):
        assert text[4:12] not in shown(text)


def test_what_is_shown_stays_on_its_line():
    assert shown("a\x1b[31mb\nc\x9b") == "“a\\x1b[31mb\\x0ac\\x9b”"
    assert len(shown("é" * 1000)) < 100


# ---- PSKC in any encoding


@pytest.mark.parametrize(
    ("declared", "codec", "mark"),
    [
        ("ISO-8859-1", "latin-1", b""),
        ("windows-1252", "cp1252", b""),
        ("iso-8859-15", "iso-8859-15", b""),
        ("UTF-8", "utf-8", b""),
        ("UTF-8", "utf-8", codecs.BOM_UTF8),
        ("UTF-16", "utf-16-le", codecs.BOM_UTF16_LE),
        ("UTF-16", "utf-16-be", codecs.BOM_UTF16_BE),
        ("UTF-16LE", "utf-16-le", b""),
        ("UTF-16", "utf-16-be", b""),
        ("UTF-8", "utf-16-le", codecs.BOM_UTF16_LE),  # saved anew, the first line left as it was
        ("UTF-16", "utf-8", b""),  # the other way round
        ("UTF-32", "utf-32-le", codecs.BOM_UTF32_LE),
        ("Shift_JIS", "shift_jis", b""),
        ("gb2312", "gb2312", b""),
        ("koi8-r", "koi8-r", b""),
        ("IBM037", "cp037", b""),
        ("us-ascii", "ascii", b""),
        ("", "utf-8", b""),
        ("", "utf-16-be", codecs.BOM_UTF16_BE),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_encoding_that_a_container_declares(declared, codec, mark, end):
    maker = {"shift_jis": "セキュリティ", "gb2312": "安全", "koi8-r": "Тест"}.get(codec, "Sécurité")
    info = f"<DeviceInfo><Manufacturer>{maker if codec != 'ascii' else 'M'}</Manufacturer>"
    encoding = f' encoding="{declared}"' if declared else ""
    text = container(key_package(), declaration=f'<?xml version="1.0"{encoding}?>{end}')
    text = text.replace("<DeviceInfo>", f"<DeviceInfo>{end}".join(["", ""]) or "")
    text = text.replace("<DeviceInfo>" + end, info + end)
    (entry,) = read(mark + text.encode(codec)).entries
    assert (entry.serial, entry.seed.reveal()) == ("S1", SEED)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'<?xml version="1.0" encoding="UTF-8"?><KeyContainer a="\xe9"/>', "byte 56"),
        (b'<?xml version="1.0" encoding="klingon"?><KeyContainer/>', "“klingon”"),
        (b'<?xml version="1.0" encoding="bz2"?><KeyContainer/>', "“bz2”"),
        (b'<?xml version="1.0" encoding="utf-7"?><KeyContainer/>', "“utf-7”"),
        (b'<?xml version="1.0" encoding="unicode_escape"?><KeyContainer/>', "unicode_escape"),
    ],
)
def test_an_encoding_that_does_not_fit_is_named(content, says):
    error = refusal(content)
    assert error.code == "malformed-container" and says in error.what


# ---- PSKC as it is found


def test_a_missing_counter_counts_from_0_when_asked():
    content = (FIELD / "no-counter.xml").read_bytes()
    error = refusal(content)
    assert error.code == "bad-counter" and "FK0001" in error.what
    assert "--take no-counter" in error.todo
    (entry,) = read(content, takes=PLAIN | {Weakness.NO_COUNTER}).entries
    assert entry.moving_factor == 0


def test_serial_numbers_with_other_characters():
    content = (FIELD / "serial-with-space.xml").read_bytes()
    error = refusal(content)
    assert "“GALT 10012345”" in error.what and "letters, digits" in error.what
    assert "“GALT-10012345” with --rewrite-serials" in error.todo
    assert [line.number for line in error.entries] == [1, 2]
    assert "2308-734/5" in error.entries[1].what
    taken = read(content, rewrite=True)
    assert [entry.serial for entry in taken.entries] == ["GALT-10012345", "2308-734-5"]
    # Two that become one are told apart, or refused.
    both = [key_package(serial=s, ident="", seed=SEED[::n]) for s, n in (("A/1", 1), ("A 1", -1))]
    assert refusal(container(*both), rewrite=True).code == "duplicate-serial"


def test_other_entries_are_left_out_when_asked():
    content = (FIELD / "hotp-and-pin.xml").read_bytes()
    error = refusal(content)
    assert ":pin”" in error.what and "--skip-unusable" in error.todo
    taken = read(content, skip=True)
    assert [entry.serial for entry in taken.entries] == ["FK0010"]
    (left,) = taken.left_out
    assert (left.number, left.code) == (2, "not-otp") and ":pin" in left.what


OTHER_ENTRIES = {
    "not-otp": key_package(serial="X", profile=f"{PSKC}:ocra", suite="OCRA-1:HOTP-SHA1-6:QA08"),
    "not-hotp": key_package(serial="X", suite="MD5"),
    "bad-digits": key_package(serial="X", digits=9),
    "expired": key_package(
        serial="X", more="<Policy><ExpiryDate>2006-05-31T00:00:00Z</ExpiryDate></Policy>"
    ),
    "not-yet-valid": key_package(
        serial="X", more="<Policy><StartDate>2999-05-31T00:00:00Z</StartDate></Policy>"
    ),
    "unknown-policy": key_package(
        serial="X", more="<Policy><NumberOfTransactions>5</NumberOfTransactions></Policy>"
    ),
    "needs-pin": key_package(
        serial="X", more='<Policy><PINPolicy PINUsageMode="Append"/></Policy>'
    ),
    "weak-seed": key_package(serial="X", seed=b"1234"),
    "bad-serial": key_package(serial="", ident=""),
    "no-key": key_package("<Counter><PlainValue>0</PlainValue></Counter>", serial="X"),
    "bad-counter": key_package(
        f"<Secret><PlainValue>{base64.b64encode(SEED).decode()}</PlainValue></Secret>", serial="X"
    ),
    "unreadable-entry": key_package(
        f"<Secret><PlainValue>{HEXED}</PlainValue></Secret>", serial="X"
    ),
}


@pytest.mark.parametrize("code", OTHER_ENTRIES)
def test_each_reason_to_leave_an_entry_out(code):
    good = key_package(seed=SEED[::-1])
    content = container(good, OTHER_ENTRIES[code])
    error = refusal(content)
    assert error.code == code and error.what.startswith("Entry 2")
    taken = read(content, skip=True)
    assert [entry.serial for entry in taken.entries] == ["S1"]
    assert [(left.number, left.code) for left in taken.left_out] == [(2, code)]
    assert refusal(container(OTHER_ENTRIES[code]), skip=True).code == code  # nothing would be left


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (f"<Secret><PlainValue>{HEXED}</PlainValue></Secret>", "hexadecimal digits"),
        ("<Secret><PlainValue>ZGVmZ2hpamtsbW5vcHFyc3R1dnc_</PlainValue></Secret>", "not base 64"),
        ("<Secret><PlainValue>ZGVmZ<b/>2hpamtsbW5vcHFyc3R1dnc=</PlainValue></Secret>", "elements"),
        ("<Counter><PlainValue>twelve</PlainValue></Counter>", "“twelve”"),
        ("<Counter><PlainValue>12.5</PlainValue></Counter>", "“12.5”"),
    ],
)
def test_a_value_that_cannot_be_read_is_named(data, says):
    error = refusal(container(key_package(seed=SEED_32, serial="S0"), key_package(data)))
    assert error.code == "unreadable-entry" and says in error.what
    assert error.what.startswith("Entry 2 (serial S1)")


WITH_SECRET = f"<Secret><PlainValue>{base64.b64encode(SEED).decode()}</PlainValue></Secret>"


@pytest.mark.parametrize(
    ("package", "says"),
    [
        *(
            (key_package(more=f"<Policy><{name}>{day}</{name}></Policy>"), f"an {name} of “{day}”")
            for name in ("ExpiryDate",)
            for day in ("soon", "03/04/2027", "10", "31.12.2027", "2027-02-30T00:00:00Z")
        ),
        (
            key_package().replace("</DeviceInfo>", "<ExpiryDate>3/4/27</ExpiryDate></DeviceInfo>"),
            "an ExpiryDate of “3/4/27”",
        ),
        (key_package().replace('Length="6"', 'Length="six"'), "Length is “six”"),
        (key_package().replace('Length="6"', 'Length="6" CheckDigits="maybe"'), "“maybe”"),
        (
            key_package(more="<Policy><NumberOfTransactions>many</NumberOfTransactions></Policy>"),
            "NumberOfTransactions of “many”",
        ),
        (key_package(profile=""), "names no algorithm"),
        (
            key_package(WITH_SECRET.replace(base64.b64encode(SEED).decode(), BASE32)),
            "base 32, where base 64 is expected",
        ),
    ],
)
def test_what_cannot_be_read_is_named_with_its_value(package, says):
    error = refusal(container(package))
    assert says in error.what and "Entry 1 (serial S1)" in error.what
    assert "--skip-unusable" in error.todo
    left = read(container(package, key_package(serial="S2", seed=SEED_32)), skip=True)
    assert [one.serial for one in left.entries] == ["S2"] and says in left.left_out[0].what


@pytest.mark.parametrize(
    "day", ["2027-12-31T00:00:00.0000000Z", "2027-12-31", "2027-12-31T01:00:00+01:00", ""]
)
def test_days_as_programs_write_them(day):
    more = f"<Policy><ExpiryDate>{day}</ExpiryDate></Policy>"
    (entry,) = read(container(key_package(more=more))).entries
    assert entry.valid_until == (1_830_211_200 if day else None)


def test_what_an_extension_has_is_its_makers_business():
    more = '<Extensions><Odd Length="n/a"><ExpiryDate>soon</ExpiryDate></Odd></Extensions>'
    (entry,) = read(container(key_package(more=more))).entries
    assert entry.valid_until is None


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, codecs.BOM_UTF16_LE])
def test_a_mark_that_stands_there_twice(mark):
    codec = "utf-8" if mark == codecs.BOM_UTF8 else "utf-16-le"
    for text in (container(key_package()), f"S1,{HEXED},hotp"):
        (entry,) = read(mark * 2 + text.encode(codec)).entries
        assert entry.seed.reveal() == SEED


def test_a_comment_inside_a_value_hides_no_part_of_it():
    """A signature does not cover comments: text after one counts, too."""
    text = container(key_package()).replace(">S1<", ">S<!-- -->1<")
    encoded = base64.b64encode(SEED).decode()
    text = text.replace(encoded, encoded[:8] + "<!-- x --><?y z?>" + encoded[8:])
    (entry,) = read(text).entries
    assert (entry.serial, entry.seed.reveal()) == ("S1", SEED)


def test_two_keys_of_one_device_are_named_by_their_ids():
    def device(*ids: str) -> list[str]:
        text = container(*(key_package(serial="D1", ident=i, seed=SEED[n:] + SEED[:n])
                           for n, i in enumerate(ids)))  # fmt: skip
        return [entry.serial for entry in read(text).entries]

    assert device("D1-HOTP-1", "D1-HOTP-2") == ["D1-HOTP-1", "D1-HOTP-2"]
    assert device("1", "2") == ["D1-1", "D1-2"]
    assert device("9") == ["D1"]
    with pytest.raises(ApiError, match=r"repeats serial D1 of entry 1\."):
        device("same", "same")  # they name nothing: the serial number stays what repeats


def test_repeated_entries():
    one, other = key_package(), key_package(seed=SEED[::-1])
    assert refusal(container(one, one)).code == "duplicate-serial"
    assert len(read(container(one, one), skip=True).entries) == 1
    # With two seeds for one serial number, who knows which is right?
    third = key_package(serial="S3", ident="S3", seed=SEED_32)
    taken = read(container(one, other, third), skip=True)
    assert [entry.serial for entry in taken.entries] == ["S3"]
    assert [left.number for left in taken.left_out] == [1, 2]


def encrypted(tmp_path, cipher: str = "aes128-cbc", key: bytes = KEY, mac: str | None = None):
    from pskc import PSKC as Made

    made = Made()
    made.add_key(id="S1", serial="S1", secret=SEED, counter=0, algorithm=f"{PSKC}:hotp")
    if mac:
        made.mac.setup(algorithm=mac)
    made.encryption.setup_preshared_key(key=key, algorithm=cipher)
    made.write(str(tmp_path / "c.pskcxml"))
    return (tmp_path / "c.pskcxml").read_text()


def test_a_mac_over_the_plaintext_is_taken_when_named(tmp_path):
    """draft-ietf-keyprov-pskc-02, section 6: the MAC is over what was encrypted."""
    import hmac
    import re

    from pskc import PSKC as Made

    text = encrypted(tmp_path)
    made = Made(str(tmp_path / "c.pskcxml"))
    made.encryption.key = KEY
    draft = base64.b64encode(hmac.digest(made.mac.key, SEED, "sha1")).decode()
    text = re.sub(r"(<pskc:ValueMAC>)[^<]*", rf"\g<1>{draft}", text)
    error = refusal(text, psk=Secret(KEY))
    assert error.code == "mac-over-plaintext" and "--take mac-over-plaintext" in error.todo
    takes = frozenset({Weakness.MAC_OVER_PLAINTEXT})
    (entry,) = read(text, psk=Secret(KEY), takes=takes).entries
    assert entry.seed.reveal() == SEED
    changed = text.replace(draft, base64.b64encode(bytes(20)).decode())
    assert refusal(changed, psk=Secret(KEY), takes=takes).code == "wrong-mac"
    assert read(encrypted(tmp_path), psk=Secret(KEY), takes=takes).entries  # the right ones, too


def test_a_mac_that_does_not_fit_is_no_entry_to_leave_out(tmp_path):
    """Somebody has changed the file: what else he changed is not known."""
    import re

    text = encrypted(tmp_path)
    package = re.search(r"<pskc:KeyPackage>.*?</pskc:KeyPackage>", text, re.DOTALL).group()
    forged = re.sub(r"(<pskc:ValueMAC>)[^<]*", rf"\g<1>{'A' * 27}=", package).replace("S1", "S2")
    both = text.replace(package, package + forged)
    error = refusal(both, psk=Secret(KEY), skip=True)
    assert error.code == "wrong-mac" and "S2" in error.what


@pytest.mark.parametrize("bits", [128, 192, 256])
@pytest.mark.parametrize("base", [XMLENC, DSIG_MORE])
@pytest.mark.parametrize("ending", ["-cbc", ""])
def test_camellia_by_any_of_its_names(tmp_path, bits, base, ending):
    key = bytes(range(bits // 8))
    text = encrypted(tmp_path, f"camellia{bits}-cbc", key, "hmac-sha256")
    named = f"{DSIG_MORE}camellia{bits}-cbc"
    assert named in text
    text = text.replace(named, f"{base}camellia{bits}{ending}")
    error = refusal(text, psk=Secret(key), takes=frozenset())
    assert error.code in ("weak-cipher", "no-mac") and f"camellia{bits}" in error.what
    (entry,) = read(text, psk=Secret(key), takes=frozenset({Weakness.OLD})).entries
    assert entry.seed.reveal() == SEED


def test_a_key_of_another_length_is_told(tmp_path):
    text = encrypted(tmp_path)
    error = refusal(text, psk=Secret(bytes(24)), takes=frozenset())
    assert "24 bytes" in error.what and "takes 16" in error.what


@pytest.mark.parametrize(
    ("suite", "digits", "name"),
    [
        ("HMAC-SHA256", 8, "sha256"),
        ("SHA-512", 6, "sha512"),
        ("HmacSHA256", 7, "sha256"),
        (f"{DSIG_MORE}hmac-sha256", 8, "sha256"),
        (f"{XMLENC}sha512", 8, "sha512"),
    ],
)
def test_hotp_with_another_hash(suite, digits, name):
    (entry,) = read(container(key_package(suite=suite, digits=digits))).entries
    assert entry.generator == Generator(name, 0, digits)


@pytest.mark.parametrize(
    ("algorithm"),
    [f"{PSKC}:hotp", f"{PSKC}#hotp", "http://www.ietf.org/keyprov/pskc#hotp", "HOTP", "hotp"],
)
def test_every_name_of_hotp(algorithm):
    assert read(container(key_package(profile=algorithm))).entries[0].generator == Generator()


# ---- within bounds


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a [<!ENTITY b "c">]><KeyContainer/>',
        "<KeyContainer>" + "<a>" * 100_000,
        "<KeyContainer>" + "<a/>" * 260_000 + "</KeyContainer>",
        f'<KeyContainer xmlns="{"n" * 100_000}"/>',
        f"<KeyContainer><{'n' * 1000}/></KeyContainer>",
        f'<KeyContainer a="{"x" * 5000}"/>',
    ],
)
def test_a_container_out_of_bounds_is_refused_before_it_is_read(text):
    assert refusal(text).code == "malformed-container"


def test_deriving_a_key_takes_no_longer_than_some_seconds(tmp_path):
    from pskc import PSKC as Made

    made = Made()
    made.add_key(id="S1", serial="S1", secret=SEED, counter=0, algorithm=f"{PSKC}:hotp")
    made.encryption.setup_pbkdf2("words", iterations=10_000)
    made.write(str(tmp_path / "c.pskcxml"))
    text = (tmp_path / "c.pskcxml").read_text()
    for old, new in ((">10000<", ">9000000<"), (">16<", ">9000000<"), (">10000<", ">-1<")):
        error = refusal(text.replace(old, new), passphrase=Secret(b"words"))
        assert error.code in ("bad-derivation", "weak-derivation")


# ---- key files as people have them


DIGITS = KEY.hex()


@pytest.mark.parametrize(
    "content",
    [
        DIGITS.encode(),
        DIGITS.encode() + b"\r\n",
        b"\n\n  " + DIGITS.upper().encode() + b"  \n",
        codecs.BOM_UTF8 + DIGITS.encode(),
        codecs.BOM_UTF16_LE + DIGITS.encode("utf-16-le"),
        DIGITS.encode("utf-16-le"),
        b"0x" + DIGITS.encode(),
        b'"' + DIGITS.encode() + b'"',
        KEY.hex(" ").encode(),
        KEY.hex(":").encode(),
        KEY.hex("-").encode(),
        b", ".join(b"0x%02x" % one for one in KEY),
        b"{ " + b", ".join(b"0x%02X" % one for one in KEY) + b" };",
        KEY.hex(".").encode(),
        KEY.hex("|").encode(),
        "\u2013".join(DIGITS[n : n + 4] for n in range(0, 32, 4)).encode(),
        "\u00a0".join(DIGITS[n : n + 4] for n in range(0, 32, 4)).encode(),
        f"\u200b{DIGITS}\u200b".encode(),
        b"".join(b"\\x%02x" % one for one in KEY),
        codecs.BOM_UTF8 * 2 + DIGITS.encode(),
        base64.b64encode(KEY),
        base64.b64encode(KEY) + b"\n",
        base64.b64encode(KEY).rstrip(b"="),
        (FIELD / "key-file-bom.txt").read_bytes(),
        (FIELD / "key-file-spaces.txt").read_bytes(),
    ],
)
def test_a_key_is_read_whatever_surrounds_it(tmp_path, content):
    (tmp_path / "key").write_bytes(content)
    assert key_of(tmp_path / "key").reveal() == KEY


@pytest.mark.parametrize("size", [16, 24, 32])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_key_in_bytes(tmp_path, size, end):
    raw = bytes([0x80, 0xFF, *range(size - 2)])
    (tmp_path / "key").write_bytes(raw + end)
    assert key_of(tmp_path / "key").reveal() == raw
    url = base64.urlsafe_b64encode(raw)
    (tmp_path / "key").write_bytes(url)
    assert key_of(tmp_path / "key").reveal() == raw


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"123", DIGITS[:-1].encode(), b"the key is secret", b"\x80" * 17, b"A" * 70_000],
)
def test_what_is_no_key_is_told_what_is_expected(tmp_path, content):
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(BadInputError) as raised:
        key_of(tmp_path / "key")
    assert raised.value.kept
    if len(content) < 100:
        assert "hexadecimal" in raised.value.todo
    for word in (DIGITS[:-1], "the key is secret"):
        assert word not in str(raised.value)


@given(st.binary(max_size=200))
def test_any_key_file_is_read_or_told(content):
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(content)
        for reader in (key_of, passphrase_of, token_of, certificate_of):
            try:
                reader(Path(file.name))
            except BadInputError as error:
                assert error.kept


# ---- the command


@pytest.fixture
def run(server, tmp_path):
    (tmp_path / "token").write_text("\ufeff" + server.admin.token.reveal().decode() + "\r\n")

    def run_(file: Path, *words: str):
        base = ["card", "import", str(file), "--url", str(server.client.base_url)]
        return CliRunner().invoke(command, [*base, "--token-file", str(tmp_path / "token"), *words])

    return run_


def test_the_command_shows_before_it_takes(run, server):
    file = FIELD / "entra-token2.csv"
    refused = run(file)
    assert refused.exit_code and "the seed of 1 token in clear" in str(refused.exception)
    dry = run(file, "--take", "plain", "--dry-run")
    assert "FK10000001" in dry.stdout and "1 would be taken" in dry.stdout
    assert server.get("/v1/cards/FK10000001", server.admin).status_code == 404
    done = run(file, "--take", "plain")
    assert "Entra ID CSV: 1 card;" in done.stdout
    assert "FK10000001 is not given to ann@example.org" in done.stderr
    assert "--new-users" in done.stderr
    assert server.get("/v1/cards/FK10000001", server.admin).json()["user"] is None
    again = json.loads(run(file, "--take", "plain", "--new-users", "--json").stdout)
    assert again["cards"][0]["assigned"] is True
    assert server.get("/v1/cards/FK10000001", server.admin).json()["user"] == "ann@example.org"


def test_a_dry_run_leaves_everything_as_it_was(run, server):
    before = server.get("/v1/cards/FK10000001", server.admin).status_code
    answer = run(
        FIELD / "entra-token2.csv", "--take", "plain", "--dry-run", "--new-users", "--json"
    )
    assert json.loads(answer.stdout)["cards"][0]["assigned"] is True
    assert server.get("/v1/cards/FK10000001", server.admin).status_code == before == 404
    assert server.assign("FK10000001", "ann@example.org", server.admin).status_code == 404


@pytest.mark.parametrize("key", ["key-file-bom.txt", "key-file-spaces.txt"])
def test_the_command_with_a_key_file(run, key):
    done = run(FIELD / "encrypted-under-key-file.xml", "--psk-file", str(FIELD / key))
    assert done.exit_code == 0 and "FK0001" in done.stdout


def test_the_command_lists_what_was_left_out(run):
    done = run(FIELD / "hotp-and-pin.xml", "--take", "plain", "--skip-unusable")
    assert "1 card; 1 left out" in done.stdout
    assert "left out: Entry 2 (serial FK0010)" in done.stderr and ":pin”" in done.stderr


def test_what_is_here_already_with_another_seed_is_left_out(run, tmp_path):
    (tmp_path / "first.csv").write_text(f"T1,{HEXED}\n")
    (tmp_path / "then.csv").write_text(f"T1,{SEED_32.hex()}\nT2,{SEED_32[::-1].hex()}\n")
    assert run(tmp_path / "first.csv", "--take", "plain").exit_code == 0
    refused = run(tmp_path / "then.csv", "--take", "plain")
    assert refused.exit_code and "T1" in str(refused.exception)
    done = json.loads(
        run(tmp_path / "then.csv", "--take", "plain", "--skip-unusable", "--json").stdout
    )
    assert [one["serial"] for one in done["cards"]] == ["T2"]
    assert [one["code"] for one in done["left_out"]] == ["duplicate-serial"]


def test_a_card_of_hotp_with_sha_256_signs_in(run, server, tmp_path):
    (tmp_path / "t.csv").write_text(f"T1,{SEED_32.hex()},hotp,8,5,sha256\n")
    assert run(tmp_path / "t.csv", "--take", "plain").exit_code == 0
    assert server.assign("T1", "ann", server.admin).status_code == 200
    assert server.reason(hotp(SEED_32, 5, 8, "sha256")) == "ok"
    assert server.reason(hotp(SEED_32, 5, 8, "sha256")) == "replayed"


def test_a_file_that_is_empty_or_something_else_is_told(run, tmp_path):
    (tmp_path / "large").write_bytes(b"x" * (4 * 2**20 + 1))
    assert "a line of more than" in str(run(tmp_path / "large").exception)
    (tmp_path / "empty").write_bytes(b"")
    assert "empty" in str(run(tmp_path / "empty").exception)


def test_a_slip_in_a_seed_does_not_change_how_it_is_read():
    """What is no hexadecimal digit could be one of base 64: it must not become another seed."""
    for slip in ("g", "O", "+", "_"):
        error = refusal(f"T1,{HEXED[:-1]}{slip},hotp")
        assert error.code == "unreadable-entry" and "hexadecimal" in error.what
    assert "base 32" in refusal(f"T1,{BASE32[:-1]}1,totp").what
    encoded = base64.b64encode(SEED_32).decode()
    assert read(f"T1,{encoded},totp").entries[0].seed.reveal() == SEED_32


def test_mutated_files_are_taken_or_refused():
    from tests.server.fuzz_token_files import fuzz

    report = fuzz(1500)
    assert report.taken and len(report.refused) > 8


@pytest.mark.parametrize("where", ["secret", "counter"])
@pytest.mark.parametrize("text", ["é", "٣", "ＡＡＡＡ", "\u2028"])
def test_base_64_of_letters_beyond_ascii_is_refused_by_entry(where, text):
    secret, counter = base64.b64encode(SEED).decode(), "0"
    if where == "secret":
        secret = text
    else:
        counter = text
    data = (
        f"<Secret><PlainValue>{secret}</PlainValue></Secret>"
        f"<Counter><PlainValue>{counter}</PlainValue></Counter>"
    )
    error = refusal(container(key_package(data)))
    assert "S1" in json.dumps(error.body())
