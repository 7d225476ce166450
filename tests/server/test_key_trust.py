"""Keys that a firm takes, and those it does not: roots, models, the FIDO Alliance's metadata."""

from __future__ import annotations

import base64
import html
import json
import re
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding
from fido2 import cbor
from pydantic import ValidationError
from sqlalchemy import select, update
from webauthn.helpers import base64url_to_bytes
from webauthn.helpers import bytes_to_base64url as b64

from tallystick.common.errors import BadInputError
from tallystick.common.reader_identity import AAGUID, ReaderIdentity, development_root
from tallystick.server.accounts import factors, key_metadata
from tallystick.server.accounts.policy import FirmPolicy
from tallystick.server.serving.running import running_in_thread
from tallystick.server.settings import settings_from
from tallystick.server.store.models_login import Factor, SessionRow
from tallystick.server.store.opened import opened
from tests.server.portal_driver import Browser, Portal
from tests.server.soft_key import OTHER_MODEL, Maker, SoftKey

MAKER, STRANGER = Maker(), Maker("Somebody's root")
MODEL = str(AAGUID)


def origin(browser: Browser) -> str:
    """As the server says it."""
    return browser.origin.replace("127.0.0.1", "localhost")


def enrol(browser: Browser, key: SoftKey, spoil: Callable[[str], str] = str) -> Browser:
    browser.get("/enrol/webauthn").post("/enrol/webauthn", label="Key")
    options = html.unescape(re.search(r'data-options="(.*?)"', browser.page.text).group(1))
    answer = spoil(key.create(json.loads(options), origin(browser)))
    return browser.post("/enrol/webauthn/new/confirm", response=answer)


def sign_in(
    portal: Portal, key: SoftKey, number: str, spoil: Callable[[str], str] = str
) -> Browser:
    browser = Browser(portal.url).sign_in("ann")
    if "data-options" not in browser.page.text:
        browser.post(f"/second/webauthn/{number}/ask")
    options = html.unescape(re.search(r'data-options="(.*?)"', browser.page.text).group(1))
    answer = spoil(key.get(json.loads(options), origin(browser)))
    return browser.post(f"/second/webauthn/{number}", response=answer)


def amr(portal: Portal) -> list[set[str]]:
    with opened(portal.settings) as parts, parts.database.read() as connection:
        rows = connection.execute(select(SessionRow.amr).order_by(SessionRow.created_at))
        return [set(row.amr.split(",")) for row in rows]


def number_of(portal: Portal) -> str:
    with opened(portal.settings) as parts, parts.database.read() as connection:
        return str(factors.of_person(connection, 1)[-1].id)


@pytest.fixture
def ann(portal: Portal) -> Browser:
    portal.person("ann")
    return Browser(portal.url).sign_in("ann")


OF_THE_BATCH = {"key_trust": ["roots"], "key_roots": MAKER.pem}


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (STRANGER.key_of(AAGUID), "Nobody whom your firm trusts"),
        (replace(MAKER.key_of(AAGUID), fmt="none"), "does not say who made it"),
        (SoftKey(AAGUID), "does not say who made it"),  # it attests itself
        (MAKER.key_of(AAGUID, certified=OTHER_MODEL), "does not say who made it"),
        (MAKER.key_of(OTHER_MODEL), "of a model that your firm does not use"),
        (MAKER.key_of(AAGUID, days=30), "Nobody whom your firm trusts"),  # its certificate is over
    ],
    ids=["other root", "none", "itself", "claims another model", "other model", "certificate over"],
)  # fmt: skip
def test_a_key_that_is_refused_and_why(
    portal: Portal, ann: Browser, key: SoftKey, why: str
) -> None:
    portal.policy(**OF_THE_BATCH, key_models=[MODEL])
    enrol(ann, key)
    assert ann.page.status_code == 403 and why in ann.problem
    with opened(portal.settings) as parts, parts.database.read() as connection:
        assert factors.of_person(connection, 1) == []
    portal.person("boss", "administrator")
    boss = Browser(portal.url).sign_in("boss")
    portal.enrol_totp(boss)
    assert "was refused a security key" in boss.get("/audit").page.text


@pytest.mark.parametrize("rule", [{}, OF_THE_BATCH], ids=["any", "the batch's"])
def test_a_key_that_did_not_verify_its_user_is_not_enrolled(
    portal: Portal, ann: Browser, rule: dict
) -> None:
    portal.policy(**rule)
    enrol(ann, replace(MAKER.key_of(AAGUID), verified=False))
    with opened(portal.settings) as parts, parts.database.read() as connection:
        assert factors.of_person(connection, 1) == []


def test_a_key_of_the_batch_is_taken_and_is_hardware(portal: Portal, ann: Browser) -> None:
    portal.policy(**OF_THE_BATCH, key_models=[MODEL.upper()])
    key = MAKER.key_of(AAGUID)
    assert "is enrolled" in enrol(ann, key).page.text
    sign_in(portal, key, number_of(portal))
    assert amr(portal)[-1] == {"pwd", "hwk", "user", "mfa"}


@pytest.mark.parametrize("key", [SoftKey(AAGUID), STRANGER.key_of(AAGUID)])
def test_a_key_that_nobody_vouches_for_is_not_called_hardware(
    portal: Portal, ann: Browser, key: SoftKey
) -> None:
    assert "is enrolled" in enrol(ann, key).page.text
    sign_in(portal, key, number_of(portal))
    assert amr(portal)[-1] == {"pwd", "pop", "user", "mfa"}
    assert all("hwk" not in one for one in amr(portal))


def test_the_published_development_batch_is_not_called_hardware(
    portal: Portal, ann: Browser
) -> None:
    root = development_root().public_bytes(Encoding.PEM).decode()
    portal.policy(key_trust=["roots"], key_roots=root)
    identity = ReaderIdentity.development("TR00000001")
    number = int.from_bytes(identity.key.reveal(), "big")
    batch = ec.derive_private_key(number, ec.SECP256R1())
    certificate = x509.load_der_x509_certificate(identity.certificate)
    assert "is enrolled" in enrol(ann, SoftKey(AAGUID, batch, certificate)).page.text
    assert all("hwk" not in one for one in amr(portal))


def test_a_key_of_before_the_rule_does_not_sign_in_any_more(portal: Portal, ann: Browser) -> None:
    key = STRANGER.key_of(AAGUID)
    enrol(ann, key)
    number = number_of(portal)
    portal.policy(**OF_THE_BATCH)
    browser = sign_in(portal, key, number)
    assert browser.page.status_code == 403 and "nobody did for this one" in browser.problem
    portal.policy(key_trust=[], key_roots="")
    assert sign_in(portal, key, number).heading == "You are signed in"


def test_a_key_of_a_root_that_is_not_the_firms_any_more(portal: Portal, ann: Browser) -> None:
    portal.policy(**OF_THE_BATCH)
    key = MAKER.key_of(AAGUID)
    enrol(ann, key)
    number = number_of(portal)
    portal.policy(key_trust=["roots"], key_roots=STRANGER.pem)
    browser = sign_in(portal, key, number)
    assert browser.page.status_code == 403 and "nobody did for this one" in browser.problem
    # Beside another, and issued anew by the same key.
    portal.policy(key_trust=["roots"], key_roots=STRANGER.pem + MAKER.pem)
    assert sign_in(portal, key, number).heading == "You are signed in"


def test_a_key_of_a_model_that_is_not_the_firms_any_more(portal: Portal, ann: Browser) -> None:
    portal.policy(**OF_THE_BATCH)
    key = MAKER.key_of(AAGUID)
    enrol(ann, key)
    portal.policy(**OF_THE_BATCH, key_models=[str(OTHER_MODEL)])
    browser = sign_in(portal, key, number_of(portal))
    assert browser.page.status_code == 403 and "of a model that" in browser.problem


def test_a_key_whose_root_was_not_kept_goes_on(portal: Portal, ann: Browser) -> None:
    """Of an earlier version."""
    portal.policy(**OF_THE_BATCH)
    key = MAKER.key_of(AAGUID)
    enrol(ann, key)
    with opened(portal.settings) as parts, parts.database.write() as connection:
        (factor,) = factors.of_person(connection, 1)
        facts = {name: fact for name, fact in factor.facts.items() if name != "root"}
        assert facts != factor.facts
        connection.execute(update(Factor).values(facts=json.dumps(facts)))
    assert sign_in(portal, key, number_of(portal)).heading == "You are signed in"


# -- malformed answers -------------------------------------------------------------------------


def _of(change: Callable[[bytes], bytes], part: str = "attestationObject") -> Callable[[str], str]:
    """Another answer, of which a part is changed."""

    def spoil(answer: str) -> str:
        said = json.loads(answer)
        said["response"][part] = b64(change(base64url_to_bytes(said["response"][part])))
        return json.dumps(said)

    return spoil


def _data(change: Callable[[bytes], bytes]) -> Callable[[str], str]:
    def spoil(attestation: bytes) -> bytes:
        said = cbor.decode(attestation)
        return cbor.encode({**said, "authData": change(said["authData"])})

    return _of(spoil)


_EXTENDED = 0x80  # ED (WebAuthn 6.1)


def _with_extensions(data: bytes, extensions: str) -> bytes:
    flagged = bytes((data[32] | _EXTENDED,))
    return data[:32] + flagged + data[33:] + bytes.fromhex(extensions)


def _chained(change: Callable[[Any], Any]) -> Callable[[str], str]:
    """Other certificates, where there are some."""

    def spoil(attestation: bytes) -> bytes:
        said = cbor.decode(attestation)
        statement = said["attStmt"]
        if "x5c" in statement:
            said["attStmt"] = {**statement, "x5c": change(statement["x5c"])}
        return cbor.encode(said)

    return _of(spoil)


MALFORMED = {
    "no object": _of(lambda _: b""),
    "cut": _of(lambda data: data[:-1]),
    "more behind it": _of(lambda data: data + b"\0"),
    "indefinite": _of(lambda data: b"\xbf" + data[1:] + b"\xff"),
    "format by null": _of(
        lambda data: data.replace(b"\x64none", b"\xf6").replace(b"\x66packed", b"\xf6")
    ),
    "no statement": _of(lambda data: data.replace(b"attStmt", b"attStmu")),
    "a curve that there is not": _of(
        lambda data: data.replace(bytes.fromhex("2a8648ce3d0301"), bytes.fromhex("2a8648ce3d0302"))
    ),
    "a version that there is not": _of(
        lambda data: data.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020142"))
    ),
    "a key that is a list": _data(lambda data: data[:-77] + b"\x80"),
    "extensions with a tag": _data(lambda data: _with_extensions(data, "a16161c100")),
    "extensions with a float": _data(lambda data: _with_extensions(data, "a16161f93c00")),
    "a certificate that is a number": _chained(lambda chain: [*chain, 1 << 40]),
    "a certificate that is a small number": _chained(lambda chain: [*chain, 1 << 20]),
    "a certificate that is a list": _chained(lambda chain: [*chain, [1, 2]]),
    "a certificate that is text": _chained(lambda chain: [*chain, "text"]),
    "a certificate that cannot be read": _chained(lambda chain: [*chain, b"0"]),
    "a second certificate of a version that there is not": _chained(
        lambda chain: [
            *chain,
            chain[0].replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020142")),
        ]
    ),
    "a first certificate that is a number": _chained(lambda chain: [7, *chain]),
    "no certificates, a map": _chained(lambda _: {}),
    "deep": lambda _: "[" * 5_000,
    "deep object": _of(lambda _: b"\x81" * 5_000),
    "a list": lambda _: "[]",
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("fmt", ["packed", "none"])
@pytest.mark.parametrize("rule", [{}, OF_THE_BATCH], ids=["any", "the batch's"])
def test_a_malformed_registration_is_refused(
    portal: Portal, ann: Browser, name: str, fmt: str, rule: dict
) -> None:
    """Never "the request failed inside the server", and never as a key of the batch."""
    portal.policy(**rule)
    key = replace(MAKER.key_of(AAGUID), fmt=fmt)
    status = enrol(ann, key, MALFORMED[name]).page.status_code
    assert status < 500
    with opened(portal.settings) as parts, parts.database.read() as connection:
        found = factors.of_person(connection, 1)
    assert not found or (not rule and found[0].facts["vouched"] == [])


def test_a_number_among_certificates_makes_no_room_for_itself(portal: Portal, ann: Browser) -> None:
    """Some bytes of an answer, and hundreds of megabytes of memory."""
    portal.policy(**OF_THE_BATCH)
    spoil = _chained(lambda chain: [*chain, 1 << 28])
    tracemalloc.start()
    try:
        enrol(ann, MAKER.key_of(AAGUID), spoil)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 1 << 27


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: "[" * 5_000,
        _of(lambda _: b"", "signature"),
        _of(lambda _: b"", "authenticatorData"),
        _of(lambda data: _with_extensions(data, "a16161c100"), "authenticatorData"),
        _of(lambda _: b"[" * 5_000, "clientDataJSON"),
        _of(lambda _: b"\xff", "clientDataJSON"),
    ],
)
def test_a_malformed_answer_does_not_sign_in(portal: Portal, ann: Browser, spoil) -> None:
    key = MAKER.key_of(AAGUID)
    enrol(ann, key)
    browser = sign_in(portal, key, number_of(portal), spoil)
    assert browser.page.status_code < 500 and "You are signed in" not in browser.page.text


# -- the policy --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"key_trust": ["roots"]},
        {"key_trust": ["somebody"]},
        {"key_models": [MODEL]},
        {"key_trust": ["metadata"], "key_models": ["not an AAGUID"]},
        {"key_trust": ["metadata"], "key_models": [7]},
        {"key_trust": ["metadata"], "key_models": 7},
        {"key_roots": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"},
        {"key_roots": "no certificate"},
        {"key_roots": MAKER.pem * 100},
    ],
)
def test_a_policy_that_cannot_be_kept_is_refused(fields: dict) -> None:
    with pytest.raises(ValidationError):
        FirmPolicy.model_validate(fields)


def test_a_policy_of_before_and_one_with_all_of_it_are_read() -> None:
    assert FirmPolicy.model_validate_json("{}").key_trust == frozenset()
    text = f"{MODEL.upper()},\n {OTHER_MODEL}"
    policy = FirmPolicy.model_validate(OF_THE_BATCH | {"key_models": text})
    assert policy.key_models == (str(OTHER_MODEL), MODEL)
    assert FirmPolicy.model_validate_json(policy.model_dump_json()) == policy


def test_the_policy_page_takes_them(portal: Portal) -> None:
    portal.person("boss", "administrator")
    boss = Browser(portal.url).sign_in("boss")
    portal.enrol_totp(boss)
    boss.get("/policy")
    fields = dict(
        re.findall(r'<input [^>]*name="([\w.]+)" type="\w+" value="([^"]*)"', boss.page.text)
    )
    fields |= {"methods.webauthn": "yes", "methods.totp": "yes", "lockout_lifted_by.support": "yes"}
    wrong = fields | {"key_trust.roots": "yes", "key_roots": "", "key_models": MODEL}
    boss.post("/policy", **wrong)
    assert boss.page.status_code == 422 and "names no certificate" in boss.problem
    assert MODEL in boss.page.text  # what was typed is there still
    boss.post("/policy", **(wrong | {"key_roots": MAKER.pem}))
    assert "The new policy is in force." in boss.page.text
    assert "BEGIN CERTIFICATE" in boss.page.text


# -- the FIDO Alliance's metadata ----------------------------------------------------------------


_SIGNING = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Alliance(Maker):
    """Signs metadata."""

    def blob(
        self,
        *entries: dict,
        signer: str = key_metadata.SIGNER,
        days: int = 4000,
        spoil: bool = False,
        until: str = "2027-02-01",
        between: bool | None = None,
        between_days: int = 4000,
    ) -> bytes:
        """between: a certificate stands between signer and root, which may sign others or not."""
        names = x509.SubjectAlternativeName([x509.DNSName(signer)])
        subject = self.root.subject
        chain = [self.issue(subject, _SIGNING, names, days=days)]
        if between is not None:
            other = Maker("Between")
            chain = [
                other.issue(subject, _SIGNING, names, days=days),
                self.issue(other.root.subject, other.key, ca=between, days=between_days),
            ]
        x5c = [base64.b64encode(one.public_bytes(Encoding.DER)).decode() for one in chain]
        head = {"alg": "RS256", "typ": "JWT", "x5c": x5c}
        payload = {"legalHeader": "", "no": 1, "nextUpdate": until, "entries": list(entries)}
        parts = [_url(json.dumps(part).encode()) for part in (head, payload)]
        signature = _SIGNING.sign(b".".join(parts), PKCS1v15(), hashes.SHA256())
        if spoil:
            parts[1] = _url(json.dumps(payload | {"no": 2}).encode())
        return b".".join((*parts, _url(signature)))


def _url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


ALLIANCE = Alliance("Alliance's root")


def entry(
    maker: Maker,
    model: str = MODEL,
    status: str = "FIDO_CERTIFIED",
    protection: str = "hardware",
    named: x509.Certificate | None = None,
) -> dict:
    """named: instead of the maker's root."""
    root = base64.b64encode((named or maker.root).public_bytes(Encoding.DER)).decode()
    return {
        "aaguid": model,
        "statusReports": [{"status": status, "effectiveDate": "2026-01-01"}],
        "timeOfLastStatusChange": "2026-01-01",
        "metadataStatement": {
            "aaguid": model, "description": "Key", "authenticatorVersion": 1,
            "protocolFamily": "fido2", "schema": 3, "upv": [{"major": 1, "minor": 1}],
            "authenticationAlgorithms": ["secp256r1_ecdsa_sha256_raw"],
            "publicKeyAlgAndEncodings": ["cose"], "attestationTypes": ["basic_full"],
            "userVerificationDetails": [[{"userVerificationMethod": "fingerprint_internal"}]],
            "keyProtection": [protection], "matcherProtection": ["on_chip"],
            "attachmentHint": ["external"], "tcDisplay": [],
            "attestationRootCertificates": [root],
        },
    }  # fmt: skip


@pytest.fixture
def files(tmp_path):
    """Writes a metadata file and its root. → (file, root)"""

    def write(blob: bytes, root: Maker = ALLIANCE):
        (tmp_path / "blob.jwt").write_bytes(blob)
        (tmp_path / "root.pem").write_text(root.pem)
        return tmp_path / "blob.jwt", tmp_path / "root.pem"

    return write


@pytest.mark.parametrize(
    ("blob", "why"),
    [
        (ALLIANCE.blob(entry(MAKER), spoil=True), "signature"),
        (STRANGER and Alliance("Other").blob(entry(MAKER)), "signature"),
        (ALLIANCE.blob(entry(MAKER), signer="shop.example"), "not signed by"),
        (ALLIANCE.blob(entry(MAKER), days=1), "not valid today"),
        (ALLIANCE.blob(entry(MAKER), between=True, between_days=1), "not valid today"),
        (ALLIANCE.blob(entry(MAKER), between=False), "may sign no others"),
        (b"", ""),
        (b"a.b.c", ""),
        (b"\xff\xfe.\x00", ""),
        (b"e30.e30.e30", ""),
        (ALLIANCE.blob({"statusReports": 7, "timeOfLastStatusChange": "never"}), ""),
    ],
)
def test_metadata_that_cannot_be_believed(files, clock, blob: bytes, why: str) -> None:
    with pytest.raises(BadInputError) as refused:
        key_metadata.load(*files(blob), clock())
    assert "cannot be believed" in str(refused.value) and why in str(refused.value)


def test_a_root_may_be_in_either_form(files, clock) -> None:
    blob, root = files(ALLIANCE.blob(entry(MAKER)))
    root.write_bytes(ALLIANCE.root.public_bytes(Encoding.DER))
    assert set(key_metadata.load(blob, root, clock()).models) == {MODEL}


def test_files_that_are_not_there_are_named_with_the_reason(files, clock, tmp_path) -> None:
    _, root = files(ALLIANCE.blob(entry(MAKER)))
    for given, reason in (
        ((tmp_path / "gone", root), "No such file or directory"),
        ((tmp_path, root), "Is a directory"),
    ):
        with pytest.raises(BadInputError) as refused:
            key_metadata.load(*given, clock())
        assert refused.value.what == (
            f"The key metadata in {given[0]} cannot be believed: {reason}."
        )


def test_metadata_whose_signer_has_another_above_it(files, clock) -> None:
    blob = ALLIANCE.blob(entry(MAKER), between=True)
    assert set(key_metadata.load(*files(blob), clock()).models) == {MODEL}


@pytest.mark.parametrize(
    "status",
    [
        "REVOKED", "USER_VERIFICATION_BYPASS", "ATTESTATION_KEY_COMPROMISE",
        "USER_KEY_REMOTE_COMPROMISE", "USER_KEY_PHYSICAL_COMPROMISE",
    ],
)  # fmt: skip
def test_a_status_that_speaks_against_a_model(files, clock, status: str) -> None:
    """MDS 3.1.4: whatever came after it."""
    one = entry(MAKER, status=status)
    one["statusReports"].append({"status": "UPDATE_AVAILABLE", "effectiveDate": "2026-02-01"})
    blob = ALLIANCE.blob(one, entry(STRANGER, str(OTHER_MODEL)))
    models = key_metadata.load(*files(blob), clock()).models
    assert models[MODEL].trouble == status and not models[str(OTHER_MODEL)].trouble


@pytest.mark.parametrize(("days", "old"), [(0, False), (1, True)])
def test_the_day_of_the_next_update_is_the_last(files, clock, days: int, old: bool) -> None:
    today = datetime.fromtimestamp(clock(), UTC).date()
    blob = ALLIANCE.blob(entry(MAKER), until=str(today - timedelta(days=days)))
    assert key_metadata.load(*files(blob), clock()).old(clock()) is old


def test_the_variables_belong_together(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("TALLY_SERVER_KEY_METADATA", str(tmp_path / "blob"))
    with pytest.raises(BadInputError, match="belong together"):
        settings_from(f"sqlite:///{tmp_path / 'db'}")
    monkeypatch.setenv("TALLY_SERVER_KEY_METADATA_ROOT", str(tmp_path / "root"))
    assert settings_from(f"sqlite:///{tmp_path / 'db'}").key_metadata is not None


@pytest.fixture
def listed(settings, clock, tmp_path, files):
    """A server with metadata. → a function of its entries"""
    running = []

    def start(*entries: dict, until: str = "2027-02-01", again: bool = False) -> Portal:
        mine = replace(settings, key_metadata=files(ALLIANCE.blob(*entries, until=until)))
        server = running_in_thread(mine)
        running.append(server)
        url = server.__enter__()
        portal = Portal(url.replace("127.0.0.1", "localhost"), mine, clock, tmp_path)
        if not again:
            portal.policy(key_trust=["metadata"])
            portal.person("ann")
        return portal

    yield start
    Browser.close_all()
    for server in running:
        server.__exit__(None, None, None)


@pytest.mark.parametrize("protection", ["hardware", "software"])
def test_a_listed_key_is_taken_and_is_hardware_when_the_list_says_so(listed, protection) -> None:
    portal = listed(entry(MAKER, protection=protection))
    ann = Browser(portal.url).sign_in("ann")
    assert "is enrolled" in enrol(ann, MAKER.key_of(AAGUID)).page.text
    assert ("hwk" in amr(portal)[-1]) is (protection == "hardware")


@pytest.mark.parametrize(
    ("one", "key", "why"),
    [
        (entry(MAKER, status="REVOKED"), MAKER.key_of(AAGUID), "can be broken"),
        (entry(MAKER, status="USER_VERIFICATION_BYPASS"), MAKER.key_of(AAGUID), "can be broken"),
        (entry(MAKER), MAKER.key_of(OTHER_MODEL), "does not have keys of this model"),
        (entry(MAKER), STRANGER.key_of(AAGUID), "Nobody whom your firm trusts"),
        (entry(MAKER), SoftKey(AAGUID), "does not say who made it"),
    ],
)
def test_a_key_that_the_list_does_not_vouch_for(listed, one: dict, key: SoftKey, why: str) -> None:
    portal = listed(one)
    ann = enrol(Browser(portal.url).sign_in("ann"), key)
    assert ann.page.status_code == 403 and why in ann.problem


def test_the_list_may_name_a_keys_own_certificate(listed) -> None:
    """FIDO metadata statements, attestationRootCertificates: instead of what signed it."""
    key = MAKER.key_of(AAGUID)
    portal = listed(entry(MAKER, named=key.certificate))
    ann = Browser(portal.url).sign_in("ann")
    assert "is enrolled" in enrol(ann, key).page.text
    another = enrol(ann, MAKER.key_of(AAGUID))
    assert another.page.status_code == 403 and "Nobody whom your firm trusts" in another.problem


@pytest.mark.parametrize("sent", [False, True], ids=["left out", "sent along"])
@pytest.mark.parametrize("trust", ["metadata", "roots"])
def test_who_is_named_may_stand_below_a_root(listed, trust: str, sent: bool) -> None:
    """FIDO metadata statements, attestationRootCertificates: a certificate between the two. It
    vouches for its own keys, and not for those of its root, nor does one that may sign nothing."""
    between = Maker("Between")
    above, other = (MAKER.issue(between.root.subject, between.key, ca=ca) for ca in (True, False))
    for named, taken in ((other, False), (above, True)):
        portal = listed(entry(MAKER, named=named), again=taken)
        pem = named.public_bytes(Encoding.PEM).decode()
        portal.policy(key_trust=[trust], key_roots=pem if trust == "roots" else "")
        more = [named.public_bytes(Encoding.DER)] if sent else []
        spoil = _chained(lambda chain, more=more: chain + more)
        browser = Browser(portal.url).sign_in("ann")
        assert enrol(browser, MAKER.key_of(AAGUID)).page.status_code == 403
        found = enrol(browser, between.key_of(AAGUID), spoil)
        assert ("is enrolled" in found.page.text) is taken


@pytest.mark.parametrize("trust", ["metadata", "roots"])
def test_who_vouches_must_be_one_whom_the_firm_asks(listed, trust: str) -> None:
    """The other one would."""
    lists, roots = (STRANGER, MAKER) if trust == "metadata" else (MAKER, STRANGER)
    portal = listed(entry(lists))
    portal.policy(key_trust=[trust], key_roots=roots.pem)
    ann = enrol(Browser(portal.url).sign_in("ann"), MAKER.key_of(AAGUID))
    assert ann.page.status_code == 403 and "Nobody whom your firm trusts" in ann.problem


def test_a_key_whose_model_was_broken_since(listed) -> None:
    key = MAKER.key_of(AAGUID)
    before = listed(entry(MAKER))
    assert "is enrolled" in enrol(Browser(before.url).sign_in("ann"), key).page.text
    portal = listed(entry(MAKER, status="USER_KEY_REMOTE_COMPROMISE"), again=True)
    browser = sign_in(portal, key, number_of(portal))
    assert browser.page.status_code == 403 and "can be broken" in browser.problem


def test_a_key_whose_model_was_broken_since_is_not_called_hardware(listed) -> None:
    """Also of a firm that takes any key."""
    key = MAKER.key_of(AAGUID)
    enrol(Browser(listed(entry(MAKER)).url).sign_in("ann"), key)
    portal = listed(entry(MAKER, status="ATTESTATION_KEY_COMPROMISE"), again=True)
    portal.policy(key_trust=[])
    assert sign_in(portal, key, number_of(portal)).heading == "You are signed in"
    assert "pop" in amr(portal)[-1] and "hwk" not in amr(portal)[-1]


def test_a_root_of_the_list_that_cannot_be_read_vouches_for_nobody(listed) -> None:
    one = entry(MAKER)
    one["metadataStatement"]["attestationRootCertificates"] = ["AAAA"]
    ann = enrol(Browser(listed(one).url).sign_in("ann"), MAKER.key_of(AAGUID))
    assert ann.page.status_code == 403 and "Nobody whom your firm trusts" in ann.problem


def test_of_two_roots_the_one_that_can_be_read_is_kept(files, clock) -> None:
    one = entry(MAKER)
    roots = one["metadataStatement"]["attestationRootCertificates"]
    good = base64.b64decode(roots[0])
    roots.insert(0, "AAAA")
    models = key_metadata.load(*files(ALLIANCE.blob(one)), clock()).models
    assert models[MODEL].roots == (good,)


def test_a_status_of_a_later_list_is_read_over(files, clock) -> None:
    """The metadata's own numbers and statuses grow (MDS 3.1.4)."""
    blob = ALLIANCE.blob(entry(MAKER, status="SOMETHING_NEW"))
    assert not key_metadata.load(*files(blob), clock()).models[MODEL].trouble


def test_an_old_list_vouches_for_nobody(listed, clock) -> None:
    today = datetime.fromtimestamp(clock(), UTC).date()
    portal = listed(entry(MAKER), until=str(today - timedelta(days=1)))
    ann = enrol(Browser(portal.url).sign_in("ann"), MAKER.key_of(AAGUID))
    assert "out of date" in ann.problem


def test_a_broken_model_stays_broken_when_the_list_is_old(listed, clock) -> None:
    """Also for a firm that goes by its own roots."""
    today = datetime.fromtimestamp(clock(), UTC).date()
    portal = listed(entry(MAKER, status="REVOKED"), until=str(today - timedelta(days=1)))
    portal.policy(**OF_THE_BATCH)
    ann = enrol(Browser(portal.url).sign_in("ann"), MAKER.key_of(AAGUID))
    assert ann.page.status_code == 403 and "can be broken" in ann.problem


def test_a_server_without_a_list_says_so(portal: Portal, ann: Browser) -> None:
    portal.policy(key_trust=["metadata"])
    assert "has no list of keys" in enrol(ann, MAKER.key_of(AAGUID)).problem
