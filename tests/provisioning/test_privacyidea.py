"""Against a real privacyIDEA 3.x. Set TALLY_TEST_PRIVACYIDEA to a virtual environment that has it:

python3 -m venv build/privacyidea && build/privacyidea/bin/pip install 'privacyidea>=3.10,<4'
TALLY_TEST_PRIVACYIDEA=build/privacyidea pytest tests/provisioning/test_privacyidea.py
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from tallystick.common.errors import UnreachableError
from tallystick.common.identity import DEVELOPMENT_MASTER
from tallystick.common.secret import Secret
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.container import build
from tallystick.provisioning.credential import CodeKind
from tallystick.provisioning.custody.keyfile import KeyRing
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.provisioning.registries.choose import ContainerReader
from tallystick.provisioning.registries.dialects import TokenEntry, dialect
from tallystick.provisioning.registries.own_key import OwnKeyCustody
from tallystick.provisioning.registries.privacyidea import PrivacyIdea
from tallystick.provisioning.registry import DuplicateSerialError
from tallystick.provisioning.server_link import OutcomeUnknownError, RegistryRefusedError
from tallystick.provisioning.steps import Plan, Provisioner
from tallystick.server.rules.otp import hotp
from tests import needs
from tests.provisioning.conftest import URL
from tests.provisioning.memory_card import MemoryCard, MemoryLink

VENV = os.environ.get("TALLY_TEST_PRIVACYIDEA")
ADMINISTRATOR, SECRET = "admin", "only-for-this-test"
START_S = 60

pytestmark = [
    pytest.mark.slow,
    needs.privacyidea.mark,
]

CONFIGURATION = """
SQLALCHEMY_DATABASE_URI = "sqlite:///{folder}/pi.db"
SECRET_KEY = "only-for-this-test"
PI_PEPPER = "only-for-this-test"
PI_ENCFILE = "{folder}/enckey"
PI_AUDIT_KEY_PRIVATE = "{folder}/private.pem"
PI_AUDIT_KEY_PUBLIC = "{folder}/public.pem"
PI_LOGFILE = "{folder}/pi.log"
SUPERUSER_REALM = []
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("privacyidea")
    configuration = folder / "pi.cfg"
    configuration.write_text(CONFIGURATION.format(folder=folder))
    environment = {**os.environ, "PRIVACYIDEA_CONFIGFILE": str(configuration)}
    manage = str(Path(VENV).absolute() / "bin" / "pi-manage")

    def run(*arguments):
        command = [manage, *arguments]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)

    for step in ("create_enckey", "create_audit_keys", "create_tables"):
        run("setup", step)
    run("admin", "add", "-p", SECRET, ADMINISTRATOR)
    port = free_port()
    process = subprocess.Popen(
        [manage, "run", "--host", "127.0.0.1", "--port", str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def wait_for(url, process):
    """The server is another product's process: there is nothing to wait on but its port."""
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        assert process.poll() is None, "privacyIDEA ended"
        try:
            httpx.get(url, timeout=5)
        except httpx.TransportError:
            time.sleep(0.2)
        else:
            return
    pytest.fail("privacyIDEA did not start")


@pytest.fixture
def registry(server, custody):
    made = PrivacyIdea(server, ADMINISTRATOR, Secret(SECRET.encode()), ContainerReader(custody))
    yield made
    made.close()


@pytest.fixture
def provision(custody, journal, registry):
    def run(card, **plan):
        provisioner = Provisioner(custody, registry, journal, Plan(**plan), URL)
        return provisioner.provision(CardConnection(MemoryLink(card)), lambda s, n: None)

    return run


def accepted(server, serial, code):
    """privacyIDEA's own verdict over its own API."""
    answer = httpx.post(f"{server}/validate/check", data={"serial": serial, "pass": code})
    return answer.json()["result"]["value"]


@pytest.mark.parametrize("digits", [6, 8])
def test_a_card_logs_in(server, provision, digits):
    card = MemoryCard(serial=f"PI0000000{digits}")
    outcome = provision(card, kind=CodeKind(digits))
    assert (outcome.server.digits, outcome.server.moving_factor) == (digits, 2)
    assert not accepted(server, card.serial, card.code(1)), "a code of the station's check"
    assert accepted(server, card.serial, card.code(2))
    assert not accepted(server, card.serial, card.code(2))


def test_loading_again_never_sets_the_counter_back(server, registry, custody):
    serial = "PI00000011"
    container = build(custody, custody.new_seed(serial, b""), serial, CodeKind(6), 2)
    seed = ContainerReader(custody)(container).seed
    assert registry.register(serial, container).status == "registered"
    card = MemoryCard(serial=serial, seed=seed.reveal(), digits=6)
    assert accepted(server, serial, card.code(3))
    assert registry.register(serial, container).status == "already-registered"
    assert not accepted(server, serial, card.code(3))
    other = build(custody, custody.new_seed(serial, b""), serial, CodeKind(6), 2)
    with pytest.raises(DuplicateSerialError):
        registry.register(serial, other)
    assert accepted(server, serial, card.code(4))


def test_a_run_that_stopped_before_its_mark(server, registry, custody):
    serial = "PI00000012"
    container = build(custody, custody.new_seed(serial, b""), serial, CodeKind(6), 2)
    registry._load(container)
    assert registry.register(serial, container).status == "registered"
    assert registry.register(serial, container).status == "already-registered"


def test_a_used_token_without_our_mark_is_left_alone(server, registry, custody):
    serial = "PI00000013"
    container = build(custody, custody.new_seed(serial, b""), serial, CodeKind(6), 2)
    registry._load(container)
    seed = ContainerReader(custody)(container).seed
    card = MemoryCard(serial=serial, seed=seed.reveal(), digits=6)
    assert accepted(server, serial, card.code(2))
    with pytest.raises(DuplicateSerialError):
        registry.register(serial, container)


def test_lookup_and_withdraw(registry, custody):
    serial = "PI00000014"
    assert registry.lookup(serial) is None
    registry.register(serial, build(custody, custody.new_seed(serial, b""), serial, CodeKind(6), 2))
    assert registry.lookup(serial).serial == serial
    registry.withdraw(serial)
    assert registry.lookup(serial) is None


def test_unknown_user(registry, custody):
    serial = "PI00000015"
    registry.register(serial, build(custody, custody.new_seed(serial, b""), serial, CodeKind(6), 2))
    with pytest.raises(RegistryRefusedError, match="privacyIDEA refused"):
        registry.assign(serial, "nobody")


def test_wrong_password(server, custody):
    registry = PrivacyIdea(server, ADMINISTRATOR, Secret(b"wrong"), ContainerReader(custody))
    with pytest.raises(RegistryRefusedError):
        registry.check()
    registry.close()


def test_sign_in_that_has_run_out(registry, custody):
    registry.check()
    registry._token = "not.a.token"
    assert registry.lookup("PI00000099") is None


def test_nobody_answers(custody):
    url = f"http://127.0.0.1:{free_port()}"
    registry = PrivacyIdea(url, ADMINISTRATOR, Secret(b"x"), ContainerReader(custody))
    with pytest.raises((OutcomeUnknownError, UnreachableError)):
        registry.check()
    registry.close()


PARSER = """
import json, sys
from flask import Flask
from flask_babel import Babel
app = Flask("reader")
Babel(app)
app.app_context().push()
from privacyidea.lib import importotp
lines, container, key = json.load(sys.stdin)
read, wrong = importotp.parsePSKCdata(
    container, preshared_key_hex=key, validate_mac="check_fail_hard"
)
assert not wrong, wrong
json.dump([importotp.parseOATHcsv(lines), read], sys.stdout)
"""


@pytest.mark.parametrize("digits", [6, 8])
def test_its_own_parser_reads_lines_and_containers(digits):
    """What the registries `privacyidea:` of text and `pskc:` write."""
    key = bytes(range(16))
    own = OwnKeyCustody(
        SoftwareCustody(KeyRing.create(DEVELOPMENT_MASTER)), Secret(key), "station-1"
    )
    seed = own.new_seed("TS00000001", b"")
    container = build(own, seed, "TS00000001", CodeKind(digits), 5)
    line = dialect("privacyidea").line(
        TokenEntry("TS00000002", Secret(b"12345678901234567890"), CodeKind(digits), 7)
    )
    done = subprocess.run(
        [str(Path(VENV) / "bin/python"), "-c", PARSER],
        input=json.dumps([line, container.decode(), key.hex()]),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    lines, read = json.loads(done.stdout)
    theirs = lines["TS00000002"]
    assert theirs["otpkey"] == b"12345678901234567890".hex()
    assert (theirs["type"], int(theirs["otplen"]), int(theirs["counter"])) == ("hotp", digits, 7)
    theirs = read["TS00000001"]
    codes = seed.codes(5, 3, CodeKind(digits))
    raw = bytes.fromhex(theirs["otpkey"])
    assert [hotp(raw, 5 + n, digits) for n in range(3)] == codes
    assert (theirs["type"], int(theirs["otplen"]), int(theirs["counter"])) == ("hotp", digits, 5)
