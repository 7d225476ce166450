"""Custody in a PKCS #11 module, with SoftHSM as the module."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, _pkcs11
from pkcs11.attributes import AttributeMapper

from tallystick.common.errors import BadInputError, NoDeviceError, RefusedError
from tallystick.common.identity import DEVELOPMENT_MASTER, Identity
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.scp03 import InitializeUpdate
from tallystick.provisioning.cli import station as station_command
from tallystick.provisioning.credential import CodeKind
from tallystick.provisioning.custody import pkcs11 as pkcs11_custody
from tallystick.provisioning.custody import pkcs11_token
from tallystick.provisioning.custody.interface import UnknownKeyError
from tallystick.provisioning.custody.pkcs11 import Pkcs11Custody
from tallystick.provisioning.custody.pkcs11_bounds import MASTER_BOUNDS, make_bounded
from tallystick.provisioning.custody.pkcs11_token import (
    PRE_SHARED_KEY,
    TRANSPORT,
    TRIED,
    Uri,
    _write_data,
    create_keys,
    enroll,
    find_key,
    find_token,
    firm_label,
    open_session,
    read_tried,
    rotate,
)
from tallystick.provisioning.server_link import OutcomeUnknownError
from tallystick.provisioning.steps import Plan, Provisioner
from tests import needs
from tests.provisioning.conftest import URL, make_ring
from tests.provisioning.memory_card import MemoryCard, MemoryLink
from tests.provisioning.memory_registry import FailOnce, MemoryRegistry, timeout
from tests.provisioning.memory_search import station
from tests.provisioning.test_leaflet import text_of

MODULE = next((path for path in needs.SOFTHSM if Path(path).exists()), "")
PIN = "1234"
pytestmark = needs.softhsm.mark


@pytest.fixture(scope="session")
def tokens(tmp_path_factory):
    """SoftHSM with a folder of its own; the module reads its configuration once a process."""
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    made = []

    def make() -> str:
        label = f"tally-{len(made)}"
        made.append(label)
        command = ["softhsm2-util", "--init-token", "--free", "--label", label]
        command += ["--so-pin", "0000", "--pin", PIN]
        subprocess.run(command, check=True, capture_output=True)
        pkcs11.lib(MODULE).reinitialize()
        return f"pkcs11:token={label}?module-path={MODULE}"

    return make


@pytest.fixture(scope="session")
def token(tokens) -> Uri:
    """A token after its ceremony."""
    uri = Uri.parse(tokens())
    create_keys(uri, PIN, DEVELOPMENT_MASTER)
    enroll(uri, PIN, make_ring().server)
    return uri


@pytest.fixture
def hsm(token):
    custody = Pkcs11Custody(token, PIN)
    yield custody
    custody.close()


@pytest.fixture
def registry():
    return MemoryRegistry()


@pytest.fixture
def provision(hsm, journal, registry):
    def run(card, **plan):
        provisioner = Provisioner(hsm, registry, journal, Plan(**plan), URL)
        return provisioner.provision(CardConnection(MemoryLink(card)), lambda s, n: None)

    return run


def test_a_card(memory_card, registry, provision):
    outcome = provision(memory_card)
    assert memory_card.life_cycle == 0x0F and len(memory_card.seed) == 32
    assert registry.seeds == {memory_card.serial: memory_card.seed}
    assert outcome.apdus == 12


def sees_masters(token: Uri) -> bool:
    """Whoever is in this process, without a PIN of its own."""
    with find_token(token).open() as session:
        return find_key(session, TRANSPORT) is not None


def test_a_station_at_rest_is_logged_out(token, memory_card, registry, journal):
    with closing(Pkcs11Custody(token, PIN)) as custody:
        assert sees_masters(token)
        custody.rest()
        custody.rest()
        assert not sees_masters(token)
        assert custody.server().url and custody.firm_version == 1  # needs no key
        assert not sees_masters(token)
        provisioner = Provisioner(custody, registry, journal, Plan(), URL)
        provisioner.provision(CardConnection(MemoryLink(memory_card)), lambda s, n: None)
        assert registry.seeds == {memory_card.serial: memory_card.seed}
        assert sees_masters(token)  # another card of the batch may come
        custody.rest()
        assert not sees_masters(token)
    assert not sees_masters(token)


def test_a_rest_waits_for_the_card_under_way(token):
    with closing(Pkcs11Custody(token, PIN)) as custody:
        seed = custody.new_seed("TS00000001", bytes(16))
        custody.rest()
        before = seed.codes(0, 2, CodeKind())
        seed.wipe()
        seed.wipe()
        custody.rest()
        assert len(set(before)) == 2 and not sees_masters(token)


def test_a_pin_that_was_changed_meanwhile_is_told(tokens):
    uri = Uri.parse(tokens())
    create_keys(uri, PIN, DEVELOPMENT_MASTER)
    with closing(Pkcs11Custody(uri, PIN)) as custody:
        custody.rest()
        with find_token(uri).open(user_pin=PIN, rw=True) as session:
            session.set_pin(PIN, "4321")
        with pytest.raises(BadInputError, match="PIN does not open"):
            custody.new_seed("TS00000001", bytes(16))


def test_transport_keys_of_a_card_that_is_yet_to_be_made(hsm, custody):
    """For its factory segment: what the factory master in a file would give."""
    keys = hsm.transport_keys("TS00000042")
    segment = Identity.derive("TS00000042", 20260101, DEVELOPMENT_MASTER)
    assert keys.reveal() == segment.transport.reveal()
    assert custody.transport_keys("TS00000042").reveal() == keys.reveal()
    assert keys.reveal().hex() not in repr(keys)


def test_same_session_keys_as_software(hsm, custody):
    update = InitializeUpdate(b"TS00000001", 0xFF, 0x60, bytes(8), bytes(8))
    context = bytes(range(16))
    inside, outside = (keys.channel_keys(update, context) for keys in (hsm, custody))
    for message in (b"", b"16 bytes exactly", b"something longer than one block"):
        assert inside.mac(message) == outside.mac(message)
        assert inside.response_mac(message) == outside.response_mac(message)
    assert inside.encrypt(bytes(16), bytes(32)) == outside.encrypt(bytes(16), bytes(32))
    assert inside.decrypt(bytes(16), bytes(32)) == outside.decrypt(bytes(16), bytes(32))
    inside.close()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_resume_with_the_same_seed(memory_card, registry, journal, provision, moment):
    setattr(registry, moment, FailOnce("register", timeout()))
    with pytest.raises(OutcomeUnknownError):
        provision(memory_card)
    seed = memory_card.seed
    memory_card.power_on()
    assert provision(memory_card).resumed and registry.seeds == {memory_card.serial: seed}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_card_that_lost_its_seed_on_the_way_gets_another(
    memory_card, registry, journal, provision, moment
):
    """The journal cannot give the first one again, so the server must not keep it."""
    setattr(registry, moment, FailOnce("register", timeout()))
    with pytest.raises(OutcomeUnknownError):
        provision(memory_card)
    first = memory_card.seed
    memory_card.name = memory_card.seed = b""
    memory_card.power_on()
    assert provision(memory_card).resumed
    assert memory_card.seed != first
    assert registry.seeds == {memory_card.serial: memory_card.seed}


def test_resume_before_the_seed_was_on_the_card(memory_card, registry, journal, provision):
    class Killed(BaseException):
        pass

    def kill(number):
        if number == 8:
            raise Killed

    memory_card.before = kill
    with pytest.raises(Killed):
        provision(memory_card)
    memory_card.before = None
    memory_card.power_on()
    assert provision(memory_card).resumed and registry.seeds == {
        memory_card.serial: memory_card.seed
    }


def test_the_journal_holds_no_seed(hsm):
    """A key that opened it again would open it for anybody who is logged in."""
    assert hsm.new_seed("TS00000001", bytes(31)).for_journal(b"context") == b""
    with pytest.raises(RefusedError, match="never leave"):
        hsm.reopen_seed(bytes(48), b"context")


def test_no_value_can_be_read(hsm):
    """Every secret key object of a card is sensitive; only what must be wrapped may be."""
    seed = hsm.new_seed("TS00000001", bytes(31))
    update = InitializeUpdate(b"TS00000001", 0xFF, 0x60, bytes(8), bytes(8))
    channel = hsm.channel_keys(update, bytes(16))
    for key in (seed.handle, channel._enc, channel._mac, channel._rmac):
        assert key[Attribute.SENSITIVE]
        with pytest.raises(pkcs11.AttributeSensitive):
            key[Attribute.VALUE]
        assert key[Attribute.EXTRACTABLE] == (key is seed.handle)


HOLDS = (
    Attribute.ENCRYPT, Attribute.DECRYPT, Attribute.SIGN, Attribute.VERIFY, Attribute.WRAP,
    Attribute.UNWRAP, Attribute.DERIVE, Attribute.EXTRACTABLE, Attribute.SENSITIVE,
    Attribute.TOKEN, Attribute.COPYABLE,
)  # fmt: skip
STATIC, SIGNS = {"ENCRYPT", "DERIVE", "SENSITIVE"}, {"SIGN", "SENSITIVE"}


def test_what_is_derived_has_the_rights_that_it_needs(hsm, monkeypatch):
    """python-pkcs11 gives all those that are not named: also UNWRAP, to a card's session keys."""
    made, genuine = [], pkcs11_custody._ecb_derive

    def held(key):
        return {right.name for right in HOLDS if key[right]}

    def derive(key, *rest):
        derived = genuine(key, *rest)
        if key.key_length == 256:
            made.append(held(key))
        made.append(held(derived))
        return derived

    monkeypatch.setattr(pkcs11_custody, "_ecb_derive", derive)

    def of(act):
        made.clear()
        act()
        return list(made)

    update = InitializeUpdate(b"TS00000001", 0xFF, 0x60, bytes(8), bytes(8))
    assert of(lambda: hsm.channel_keys(update, bytes(16))) == [
        STATIC, STATIC, {"ENCRYPT", "DECRYPT", "WRAP", "SENSITIVE"}, SIGNS, SIGNS
    ]  # fmt: skip
    card_key = {"ENCRYPT", "EXTRACTABLE", "SENSITIVE"}
    assert of(lambda: hsm.firm_keys(0xFF, b"TS00000001")) == [
        {"WRAP", "SENSITIVE"},
        *[card_key] * 3,
    ]
    assert of(lambda: hsm.new_seed("TS00000001", bytes(31))) == [
        {"DERIVE", "SENSITIVE"}, {"SIGN", "EXTRACTABLE", "SENSITIVE"}
    ]  # fmt: skip
    assert of(lambda: hsm.transport_keys("TS00000001")) == [{"EXTRACTABLE"}] * 3


def test_what_is_a_cards_ends_with_it(hsm, memory_card, provision):
    """Also where a step fails: nothing is left in the module but the token's own objects."""
    before = _secret_keys(hsm)
    provision(memory_card)
    assert _secret_keys(hsm) == before
    update = InitializeUpdate(b"TS00000002", 0x33, 0x60, bytes(8), bytes(8))
    with pytest.raises(UnknownKeyError):
        hsm.channel_keys(update, bytes(16))
    other = MemoryCard(serial="TS00000003")

    def pulled(number):
        if number == 9:
            raise NoDeviceError("The card is gone.")

    other.before = pulled
    with pytest.raises(NoDeviceError):
        provision(other)
    assert _secret_keys(hsm) == before


@pytest.mark.parametrize(("act", "at"), [("channel", 4), ("seed", 1)])
def test_nothing_is_left_where_the_module_fails_half_way(hsm, monkeypatch, act, at):
    update = InitializeUpdate(b"TS00000001", 0xFF, 0x60, bytes(8), bytes(8))
    before, genuine, calls = _secret_keys(hsm), pkcs11_custody._ecb_derive, []

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) == at:
            raise pkcs11.DeviceError
        return genuine(*arguments)

    monkeypatch.setattr(pkcs11_custody, "_ecb_derive", fail)
    with pytest.raises(BadInputError, match="DeviceError"):
        if act == "seed":
            hsm.new_seed("TS00000001", bytes(31))
        else:
            hsm.channel_keys(update, bytes(16))
    assert _secret_keys(hsm) == before


def _secret_keys(hsm) -> list[str]:
    kind = {Attribute.CLASS: ObjectClass.SECRET_KEY}
    return sorted(key[Attribute.LABEL] for key in hsm._login.get_objects(kind))


# Who is logged in, and is not the station ---------------------------------------------------------


@pytest.fixture
def intruder(token):
    """A session of somebody who knows the PIN, on a token after its ceremony."""
    with open_session(token, PIN) as session:
        yield session


ACTS = ("EncryptMixin", "DecryptMixin", "SignMixin", "WrapMixin", "UnwrapMixin")


def _token_keys(session) -> list[Any]:
    """With every act that python-pkcs11 has: it leaves out those to which a key has no right, and
    here the module is asked."""
    kind = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.TOKEN: True}
    keys = list(session.get_objects(kind))
    for key in keys:
        acts = (getattr(_pkcs11, name) for name in ACTS)
        missing = (act for act in acts if not isinstance(key, act))
        key.__class__ = type("Bold", (*missing, type(key)), {})
    return keys


def _refused(act: Callable[[], object]) -> bool:
    try:
        act()
    except pkcs11.PKCS11Error as error:
        return "0x68" in str(error)  # CKR_KEY_FUNCTION_NOT_PERMITTED
    return False


@pytest.fixture
def own_key(intruder):
    """A key whose value the intruder knows."""
    rights = (Attribute.WRAP, Attribute.UNWRAP, Attribute.ENCRYPT, Attribute.DECRYPT)
    return intruder.create_object(
        {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES}
        | {Attribute.TOKEN: False, Attribute.VALUE: bytes(16)}
        | dict.fromkeys(rights, True)
    )


def test_no_key_of_the_token_is_wrapped(intruder, own_key):
    keys = _token_keys(intruder)
    assert len(keys) == 3  # two masters and the server's
    for key in keys:
        with pytest.raises(pkcs11.PKCS11Error):
            own_key.wrap_key(key, mechanism=Mechanism.AES_KEY_WRAP)


def _acts(key) -> dict[str, Callable[[], object]]:
    readable = {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
    kind = (ObjectClass.SECRET_KEY, KeyType.GENERIC_SECRET, bytes(32))
    return {
        "encrypt": lambda: key.encrypt(bytes(16), mechanism=Mechanism.AES_ECB),
        "decrypt": lambda: key.decrypt(bytes(16), mechanism=Mechanism.AES_ECB),
        "sign": lambda: key.sign(bytes(16), mechanism=Mechanism.AES_CMAC),
        "unwrap": lambda: key.unwrap_key(
            *kind, mechanism=Mechanism.AES_KEY_WRAP, template=readable
        ),
    }


def test_a_master_derives_and_the_servers_key_encrypts_and_nothing_else(intruder):
    done = {
        key[Attribute.LABEL]: {name for name, act in _acts(key).items() if not _refused(act)}
        for key in _token_keys(intruder)
    }
    assert done == {TRANSPORT: set(), firm_label(1): set(), PRE_SHARED_KEY: {"encrypt"}}


def test_a_master_serves_one_mechanism(tokens):
    """With another one a module may give it away piece by piece. Of a rotated one, too."""
    uri = Uri.parse(tokens())
    create_keys(uri, PIN, DEVELOPMENT_MASTER)
    rotate(uri, PIN)
    readable = {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True, Attribute.TOKEN: False}
    with open_session(uri, PIN) as session:
        masters = _token_keys(session)
        assert len(masters) == 3
        for master in masters:
            with pytest.raises(pkcs11.MechanismInvalid):
                master.derive_key(
                    KeyType.GENERIC_SECRET, 128, mechanism=Mechanism.AES_CBC_ENCRYPT_DATA,
                    mechanism_param=(bytes(16), bytes(16)), template=readable,
                )  # fmt: skip
            with pytest.raises(pkcs11.PKCS11Error):
                master[Attribute.ALLOWED_MECHANISMS] = (Mechanism.AES_CBC_ENCRYPT_DATA,)


def test_the_servers_key_wraps_seeds_and_no_cards_key(hsm):
    session = hsm._login
    key = next(key for key in _token_keys(session) if key[Attribute.LABEL] == PRE_SHARED_KEY)
    made = {Attribute.TOKEN: False, Attribute.EXTRACTABLE: True}
    wrapped = {"mechanism": Mechanism.AES_CBC, "mechanism_param": bytes(16)}
    with pytest.raises(pkcs11.KeyNotWrappable):
        key.wrap_key(session.generate_key(KeyType.AES, 128, template=made), **wrapped)
    seed = hsm.new_seed("TS00000001", bytes(31))
    assert len(seed.for_server()) == 16 + 32 + 16
    seed.wipe()
    for other in (Mechanism.AES_ECB, Mechanism.AES_CBC_PAD):
        with pytest.raises(pkcs11.MechanismInvalid):
            key.encrypt(bytes(16), mechanism=other, mechanism_param=bytes(16))


def _plant(session, label: str, *, private: bool) -> None:
    key = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES}
    rights = dict.fromkeys((Attribute.DERIVE, Attribute.ENCRYPT, Attribute.WRAP), True)
    kept = {Attribute.TOKEN: True, Attribute.PRIVATE: private, Attribute.LABEL: label}
    session.create_object(key | rights | kept | {Attribute.VALUE: bytes(16)})


def test_what_somebody_without_the_pin_puts_on_the_token_is_not_taken(tokens):
    """Any program that reaches the module may write public objects; they look like ours."""
    uri = Uri.parse(tokens())
    create_keys(uri, PIN, DEVELOPMENT_MASTER)
    enroll(uri, PIN, make_ring().server)
    with closing(Pkcs11Custody(uri, PIN)) as custody:
        before = custody.describe()
        container = custody.encrypt_for_server(bytes(16))
    named = (TRANSPORT, firm_label(1), firm_label(2), PRE_SHARED_KEY)
    notes = {
        TRIED: b"[1, 2]", pkcs11_token.SERVER: b'{"url": "https://evil", "id": "x", "token": "y"}'
    } | {pkcs11_token._constants_label(label): bytes(32) for label in named}  # fmt: skip
    with find_token(uri).open(rw=True) as session:
        for label in named:
            _plant(session, label, private=False)
        for label, value in notes.items():
            what = {Attribute.CLASS: ObjectClass.DATA, Attribute.TOKEN: True}
            session.create_object(
                what | {Attribute.PRIVATE: False, Attribute.LABEL: label, Attribute.VALUE: value}
            )
    with closing(Pkcs11Custody(uri, PIN)) as custody:
        assert custody.describe() == before and not before[1].tried
        assert custody.server().url == make_ring().server.url
        psk = make_ring().server.pre_shared_key.reveal()
        for sent in (container, custody.encrypt_for_server(bytes(16))):
            opened = Cipher(AES(psk), CBC(sent[:16])).decryptor().update(sent[16:32])
            assert opened == bytes(16)


def test_two_keys_of_one_name_are_refused(tokens):
    uri = Uri.parse(tokens())
    create_keys(uri, PIN, DEVELOPMENT_MASTER)
    with open_session(uri, PIN) as session:
        _plant(session, firm_label(1), private=True)
    with pytest.raises(BadInputError, match="2 keys that are called"):
        Pkcs11Custody(uri, PIN)


def test_a_module_without_bounds_makes_keys_all_the_same_and_that_is_told(
    tokens, tmp_path, monkeypatch
):
    monkeypatch.setattr(pkcs11_token, "make_bounded", lambda make, template, bounds: make(template))
    held = Held(tokens(), tmp_path)
    made = held.ok("keys", "create", "--development")
    assert "CKA_ALLOWED_MECHANISMS" in made.stderr
    keys = json.loads(held.ok("keys", "show", "--json").stdout)["keys"]
    assert [key["any_mechanism"] for key in keys] == [True, True]


def test_bounds_that_a_module_does_not_know():
    asked = []

    def make(template):
        asked.append(template)
        if Attribute.ALLOWED_MECHANISMS in template:
            raise pkcs11.AttributeTypeInvalid

    make_bounded(make, {Attribute.LABEL: "x"}, MASTER_BOUNDS)
    assert asked == [{Attribute.LABEL: "x", **MASTER_BOUNDS}, {Attribute.LABEL: "x"}]


def test_bounds_are_told_of(hsm):
    assert [key.any_mechanism for key in hsm.describe()] == [False, False]


RIGHTS = (
    Attribute.ENCRYPT, Attribute.DECRYPT, Attribute.SIGN, Attribute.WRAP, Attribute.UNWRAP,
    Attribute.DERIVE, Attribute.EXTRACTABLE,
)  # fmt: skip


@pytest.mark.parametrize("right", RIGHTS)
def test_no_right_is_given_later(intruder, right):
    for key in _token_keys(intruder):
        if right is not Attribute.EXTRACTABLE and key[right]:
            continue
        with pytest.raises(pkcs11.PKCS11Error):
            key[right] = True
        with pytest.raises(pkcs11.PKCS11Error):
            key.copy({right: True})


def test_a_seed_under_way_is_not_seen_by_another_process(hsm, token):
    """Session objects are the station's own."""
    seed = hsm.new_seed("TS00000001", bytes(31))
    program = f"""
import pkcs11
from pkcs11 import Attribute, _pkcs11, ObjectClass
from tallystick.provisioning.custody.pkcs11_token import Uri, open_session
with open_session(Uri({token.token!r}, {token.module!r}), {PIN!r}) as session:
    kind = {{Attribute.CLASS: ObjectClass.SECRET_KEY}}
    print(len(list(session.get_objects(kind))))
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout.strip() == "3", done.stderr
    seed.wipe()


def test_what_a_module_of_2_40_cannot_refuse(intruder, token):
    """A derivation's result may be readable, and a key hashed: the documents say so."""
    master = find_key(intruder, firm_label(1))
    derived = master.derive_key(
        KeyType.GENERIC_SECRET, 128, mechanism=Mechanism.AES_ECB_ENCRYPT_DATA,
        mechanism_param=bytes(16),
        template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True, Attribute.TOKEN: False},
    )  # fmt: skip
    assert len(derived[Attribute.VALUE]) == 16
    assert len(intruder.digest(master, mechanism=Mechanism.SHA256)) == 32
    later = AttributeMapper()  # PKCS #11 3.0 has an attribute for it
    later.register_handler(Attribute.DERIVE_TEMPLATE, bytes, bytes)
    with (
        find_token(token).open(attribute_mapper=later) as session,
        pytest.raises(pkcs11.AttributeTypeInvalid),
    ):
        session.generate_key(KeyType.AES, 128, template={Attribute.DERIVE_TEMPLATE: b""})


def test_no_derived_key_is_trusted(intruder):
    """So a seed, which a card's derived key wraps, cannot be held to trusted keys."""
    master = find_key(intruder, firm_label(1))
    for template in ({Attribute.WRAP: True}, {Attribute.WRAP: True, Attribute.TRUSTED: True}):
        with pytest.raises(pkcs11.PKCS11Error):
            derived = master.derive_key(
                KeyType.AES, 128, mechanism=Mechanism.AES_ECB_ENCRYPT_DATA,
                mechanism_param=bytes(16), template=template,
            )  # fmt: skip
            derived[Attribute.TRUSTED] = True


def test_a_token_of_an_older_ceremony_still_works(tokens, memory_card, registry, journal):
    """Its masters encrypt, and their constants were not kept."""
    uri = Uri.parse(tokens())
    older = {
        Attribute.TOKEN: True, Attribute.PRIVATE: True, Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False, Attribute.ENCRYPT: True, Attribute.DERIVE: True,
    }  # fmt: skip
    with open_session(uri, PIN) as session:
        session.create_object(
            older
            | {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES}
            | {Attribute.LABEL: TRANSPORT, Attribute.VALUE: DEVELOPMENT_MASTER}
        )
        session.generate_key(KeyType.AES, 128, label=firm_label(1), store=True, template=older)
    enroll(uri, PIN, make_ring().server)
    with closing(Pkcs11Custody(uri, PIN)) as custody:
        Provisioner(custody, registry, journal, Plan(), URL).provision(
            CardConnection(MemoryLink(memory_card)), lambda s, n: None
        )
        assert "encrypt" in {
            name
            for key in _token_keys(custody._login)
            for name, act in _acts(key).items()
            if not _refused(act)
        }
    assert registry.seeds == {memory_card.serial: memory_card.seed}


def test_wrong_pin(token):
    with pytest.raises(BadInputError, match="PIN does not open"):
        Pkcs11Custody(token, "9999")


def test_no_such_token():
    with pytest.raises(BadInputError, match="no token"):
        Pkcs11Custody(Uri("nobody", MODULE), PIN)


@pytest.mark.parametrize("text", ["pkcs11:", "pkcs11:token=x", "token=x?module-path=y"])
def test_malformed_uri(text):
    with pytest.raises(BadInputError, match="does not name a token"):
        Uri.parse(text)


def test_ceremony_never_replaces_keys(token):
    with pytest.raises(BadInputError, match="already"):
        create_keys(token, PIN, bytes(16))


def test_commands(tokens, tmp_path):
    env = {"TALLY_STATION_PASSPHRASE": PIN, "TALLY_STATION_KEYS": tokens()}
    env["TALLY_STATION_JOURNAL"] = str(tmp_path / "journal.db")

    def run(*arguments, **kwargs):
        result = CliRunner().invoke(station_command, [*arguments, "--json"], env=env, **kwargs)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    made = run("keys", "create", "--development")
    assert {key["name"] for key in made["keys"]} == {"transport", "firm"}
    value = {"id": "st-1", "role": "station", "token": "t", "psk": "00" * 16}
    enrolled = run("enroll", "--server", URL, "--credential", "-", input=json.dumps(value))
    assert enrolled["server"] == {"url": URL, "id": "st-1"}
    assert run("keys", "rotate") == {"firm_version": "02"}
    current = [key for key in run("keys", "show")["keys"] if key["current"]]
    assert {key["version"] for key in current} == {"FF", "02"}


@pytest.mark.slow
def test_no_seed_is_left_in_the_process(token, tmp_path):
    """Nor is the seed of the card under way there, nor a master: they are in the module."""
    count = 400
    keys = f"pkcs11:token={token.token}?module-path={token.module}"
    with station(keys, PIN, tmp_path) as running:
        for _ in range(count):
            running.provision()
        running.provision(lambda card: bool(card.seed))
        seeds = [card.seed for card in running.cards]
        assert len(set(seeds)) == count + 1
        found = running.copies([*seeds, DEVELOPMENT_MASTER])
    assert found.pop(DEVELOPMENT_MASTER) >= 1  # a constant of the program: what is there is found
    assert not any(found.values())


class Held:
    """The command line of a station with its keys on a token."""

    def __init__(self, uri: str, folder: Path) -> None:
        (folder / "factory.hex").write_text("00112233445566778899aabbccddeeff")
        self.factory = folder / "factory.hex"
        self.env = {
            "TALLY_STATION_KEYS": uri, "TALLY_STATION_PASSPHRASE": PIN,
            "TALLY_STATION_JOURNAL": str(folder / "journal.db"),
        }  # fmt: skip

    def run(self, *words: str):
        return CliRunner().invoke(station_command, [str(word) for word in words], env=self.env)

    def ok(self, *words: str):
        result = self.run(*words)
        assert result.exit_code == 0, (result.output, result.exception)
        return result

    def tried(self) -> list[bool]:
        keys = json.loads(self.ok("keys", "show", "--json").stdout)["keys"]
        return [key["tried"] for key in keys if key["name"] == "firm"]


def test_a_module_is_copied_with_its_own_backup_and_the_copy_proves_itself(tokens, tmp_path):
    """SoftHSM's own backup is a copy of its token's folder. The copy is another module for another
    process, as on another computer."""
    held = Held(tokens(), tmp_path)
    held.ok("keys", "create", "--factory-master-file", held.factory)
    assert held.tried() == [False]
    refused = held.run("provision", "--port", "/dev/null", "--registry", "pskc:nowhere")
    assert isinstance(refused.exception, RefusedError) and "No restore" in refused.exception.what
    no_file = held.run("keys", "backup", tmp_path / "b", "--person", "Ann", "--person", "Bob")
    assert "keys try" in no_file.exception.todo

    folder = Path(os.environ["SOFTHSM2_CONF"]).parent
    copied = tmp_path / "copied"
    shutil.copytree(folder / "tokens", copied)
    (tmp_path / "copy.conf").write_text(f"directories.tokendir = {copied}\nlog.level = ERROR\n")

    def copy(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tallystick.cli", "station", *words],
            env=os.environ | held.env | {"SOFTHSM2_CONF": str(tmp_path / "copy.conf")},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    asked = "QUESTION42"
    answer = copy("keys", "prove", asked)
    wrong = held.run("keys", "try", "--question", asked, "--answer", answer[::-1])
    assert isinstance(wrong.exception, RefusedError) and held.tried() == [False]
    held.ok("keys", "try", "--question", asked, "--answer", answer)
    assert held.tried() == [True]
    held.ok("keys", "rotate")
    assert held.tried() == [True, False]
    wrong = held.run("keys", "try", "--question", asked, "--answer", copy("keys", "prove", asked))
    assert isinstance(wrong.exception, RefusedError)  # the copy is of before the rotation
    held.ok("keys", "pages", tmp_path / "p.pdf", "--person", "Ann", "--person", "Bob")
    texts = text_of((tmp_path / "p.pdf").read_bytes())
    assert len(texts) == 2 and all("maker" in text and "Share" not in text for text in texts)


def test_a_rehearsal_on_a_token_leaves_it_empty_and_touches_no_other(tokens, token, tmp_path):
    held = Held(tokens(), tmp_path)
    words = ("keys", "rehearse", "--person", "Ann", "--person", "Bob")
    done = held.ok(*words, "--pages", tmp_path / "p.pdf", "--json")
    assert "all objects destroyed" in json.loads(done.stdout)["steps"]
    assert all("REHEARSAL" in text for text in text_of((tmp_path / "p.pdf").read_bytes()))
    uri = Uri.parse(held.env["TALLY_STATION_KEYS"])
    with open_session(uri, PIN) as session:
        assert list(session.get_objects()) == []
    held.ok("keys", "create", "--development")
    refused = held.run(*words)
    assert isinstance(refused.exception, BadInputError)
    assert "holds a station's keys" in refused.exception.what and held.tried() == [False]


def test_what_was_tried_outlives_a_kill(tokens, tmp_path):
    """Whoever was killed between two notes has tried what both say, and never all of it."""
    held = Held(tokens(), tmp_path)
    held.ok("keys", "create", "--factory-master-file", held.factory)
    with open_session(Uri.parse(held.env["TALLY_STATION_KEYS"]), PIN) as session:
        assert read_tried(session) == frozenset()
        _write_data(session, TRIED, b"[1]")
        assert read_tried(session) == frozenset()
    assert held.tried() == [False]
