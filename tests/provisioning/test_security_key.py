"""Other makers' FIDO keys: our reader's firmware, emulated, plays one, through the HID framing of
python-fido2. The server is real."""

from __future__ import annotations

import json

import pytest
from fido2.ctap2.base import Ctap2
from fido2.ctap2.pin import ClientPin
from fido2.hid import CtapHidDevice
from fido2.hid.base import CtapHidConnection, HidDescriptor

from tallystick.common.errors import NoDeviceError, RefusedError
from tallystick.common.reader_identity import ReaderIdentity
from tallystick.emulator.devices.reader import Reader
from tallystick.provisioning import foreign_batch, security_key
from tallystick.provisioning.commands import security_keys
from tallystick.provisioning.journal import StationJournal
from tallystick.provisioning.registry import TallyServer
from tallystick.provisioning.security_key import FirstPins
from tallystick.server.accounts import factors, firms, people
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.serving.running import make_known
from tallystick.server.store.opened import opened
from tallystick.tools.campaign.engine.subject import image_under_test
from tallystick.tools.campaign.reader.sensor import ScriptedSensor

KEEPALIVE, UP_NEEDED = 0xBB, 2


class Key:
    """A key, and the person who touches it. number: what its USB descriptor tells."""

    def __init__(self, image, number: str | None, seed: int) -> None:
        identity = ReaderIdentity.development(f"TR0000000{seed}").encode()
        self.reader = Reader(image, identity=identity, seed=seed)
        self.sensor = ScriptedSensor(self.reader.clock)
        self.reader.plug_sensor(self.sensor)
        self.reader.power_on(400)
        self.descriptor = HidDescriptor(f"usb{seed}", 0x1209, 1, 64, 64, "Key", number)
        self.touches = 0
        self.writes = 0
        self.pulled_at = 0

    def open(self) -> CtapHidDevice:
        if not self.reader.powered:
            self.reader.power_on(400)
        return CtapHidDevice(self.descriptor, Wire(self))


class Wire(CtapHidConnection):
    def __init__(self, key: Key) -> None:
        self.key, self.pressed = key, False
        key.reader.reports.clear()

    def write_packet(self, data: bytes) -> None:
        self.key.writes += 1
        if self.key.writes == self.key.pulled_at:
            self.key.reader.power_off()
            raise OSError("pulled out")
        self.key.reader.write_report(data)

    def read_packet(self) -> bytes:
        reports = self.key.reader.reports
        assert self.key.reader.run_until(lambda: bool(reports), limit_ms=40_000)
        report = reports.popleft()
        if report[4] != KEEPALIVE:
            self.pressed = False
        elif report[7] == UP_NEEDED and not self.pressed:
            self.pressed = True
            self.key.touches += 1
            self.key.sensor.press("thumb")
        return report

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def image():
    return image_under_test("reader", "pico2", None, readable=True)


@pytest.fixture
def keys(image, monkeypatch):
    """Those that are plugged in, at each look."""
    made: list[Key] = []

    def key(number: str | None) -> Key:
        made.append(Key(image, number, len(made) + 1))
        return made[-1]

    class Usb(security_key.HidPlaces):
        def names(self):
            return [one.descriptor.path for one in made]

        def open(self, name):
            (found,) = [one for one in made if one.descriptor.path == name]
            return security_key.closing(found.open())

    monkeypatch.setattr(security_keys, "HidPlaces", Usb)
    monkeypatch.setattr(foreign_batch, "LOOK_S", 0)
    yield key
    for one in made:
        one.reader.close()


def enrolled(station, login: str) -> list[str]:
    with opened(station.settings) as parts, parts.database.read() as connection:
        person = people.by_login(connection, firms.by_name(connection, "default").id, login)
        held = factors.of_person(connection, person.id)
        return [one.label for one in held if one.kind is MethodKind.WEBAUTHN]


def test_a_batch_of_keys_with_consent_once(own_station, keys, tmp_path):
    make_known(own_station.settings, "grace")
    first, second = keys("12345678"), keys(None)
    listed, pins = tmp_path / "people.csv", tmp_path / "private" / "pins.json"
    listed.write_text("login\nada\ngrace\n")
    words = ("security-keys", "--users", str(listed), "--pins", str(pins), "--batch", "keys")
    said = own_station.run(*words, input="y\n]C1K-42\n")
    assert said.exit_code == 0, (said.exception, said.output)
    assert said.stderr.count("Go on?") == 1 and "2 keys enrolled now" in said.stdout
    assert (enrolled(own_station, "ada"), enrolled(own_station, "grace")) == (
        ["Key 12345678"], ["Key K-42"]
    )  # fmt: skip
    assert (first.touches, second.touches) == (1, 1)
    kept = json.loads(pins.read_text())["keys"]
    assert {one["user"] for one in kept.values()} == {"ada", "grace"}
    assert pins.stat().st_mode & 0o077 == 0
    for one in kept.values():
        assert one["pin"] not in said.output
        assert one["pin"] not in own_station.run("audit", "export").stdout
    assert Ctap2(first.open()).info.force_pin_change
    ClientPin(Ctap2(first.open())).change_pin(kept["12345678"]["pin"], "now-hers")
    again = own_station.run(*words, "--accept-unprotected")
    assert again.exit_code == 0 and "2 before, 0 missing" in again.stdout


def test_a_key_that_has_a_pin_is_left_alone(own_station, keys, tmp_path, monkeypatch):
    used = keys("7")
    ClientPin(Ctap2(used.open())).set_pin("hers-alone")
    looks = iter([["usb1"], ["usb1"]])

    def names(_places):
        for found in looks:
            return found
        raise KeyboardInterrupt  # the person gives up

    monkeypatch.setattr(security_keys.HidPlaces, "names", names)
    result = own_station.run(
        "security-keys", "--user", "ada", "--pins", str(tmp_path / "pins"), "--accept-unprotected"
    )
    assert "has a PIN already" in result.stderr and "Nothing was written to it" in result.stderr
    assert result.exit_code != 0 and enrolled(own_station, "ada") == []
    assert ClientPin(Ctap2(used.open())).get_pin_token("hers-alone")


@pytest.mark.parametrize("at", [3, 5, 8, 10])
def test_a_key_that_is_pulled_out_is_finished_with_the_same_pin(own_station, keys, tmp_path, at):
    key = keys("8")
    key.pulled_at = at
    pins = tmp_path / "pins"
    words = ("security-keys", "--user", "ada", "--pins", str(pins), "--accept-unprotected")
    result = own_station.run(*words)
    assert result.exit_code == 0, (result.exception, result.output)
    assert key.writes > at
    assert enrolled(own_station, "ada") == ["Key 8"]
    ClientPin(Ctap2(key.open())).change_pin(FirstPins(pins).of("8"), "now-hers")


class Killed(BaseException):
    """The station's process ends here."""


@pytest.mark.parametrize("where", ["when the server has it", "when all is done"])
def test_a_station_that_is_killed_after_the_server_has_the_key(
    own_station, keys, tmp_path, monkeypatch, where
):
    """The key then holds a credential that the server knows, and refuses to make another one."""
    key, pins = keys("8"), tmp_path / "pins"
    words = ("security-keys", "--user", "ada", "--pins", str(pins), "--accept-unprotected")
    owner, name = (TallyServer, "register_key") if "server" in where else (StationJournal, "finish")
    real = getattr(owner, name)

    def killed(*args: object):
        if owner is TallyServer:
            real(*args)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        with pytest.raises(Killed):
            own_station.run(*words)
    assert enrolled(own_station, "ada") == ["Key 8"]
    again = own_station.run(*words)
    assert again.exit_code == 0, (again.exception, again.output)
    assert enrolled(own_station, "ada") == ["Key 8"] and "1 keys enrolled now" in again.stdout
    assert Ctap2(key.open()).info.force_pin_change
    ClientPin(Ctap2(key.open())).change_pin(FirstPins(pins).of("8"), "now-hers")


def test_a_key_that_is_enrolled_already_is_told_so(own_station, keys, tmp_path, monkeypatch):
    """In another batch, whose number for it is another one: no run was broken off."""
    keys("8")
    pins = tmp_path / "pins"
    words = ("security-keys", "--user", "ada", "--pins", str(pins), "--accept-unprotected")
    monkeypatch.setattr(security_key, "_have_it_changed", lambda *_: False)
    assert own_station.run(*words).exit_code == 0
    value = json.loads(pins.read_text())
    value["keys"]["9"] = value["keys"].pop("8")
    pins.write_text(json.dumps(value))
    monkeypatch.setattr(security_key.KeyWork, "serial", lambda *_: "9")
    looks = iter([["usb1"], ["usb1"]])

    def names(_places):
        for found in looks:
            return found
        raise KeyboardInterrupt  # the person gives up

    monkeypatch.setattr(security_keys.HidPlaces, "names", names)
    result = own_station.run(*words)
    assert "is enrolled for ada already" in result.stderr, result.output
    assert enrolled(own_station, "ada") == ["Key 8"]


def test_nobody_gets_a_key_for_somebody_unknown(own_station, keys, tmp_path):
    key = keys("9")
    error = own_station.fails(
        RefusedError, "security-keys", "--user", "adda", "--pins", str(tmp_path / "pins"),
        "--accept-unprotected",
    )  # fmt: skip
    assert "Did you mean ada?" in error.what and key.writes == 0


def test_without_consent_nothing_is_done(own_station, keys, tmp_path):
    key = keys("10")
    words = ("security-keys", "--user", "ada", "--pins", str(tmp_path / "pins"))
    result = own_station.run(*words, input="n\n")
    assert isinstance(result.exception, RefusedError) and key.writes == 0


def test_a_challenge_serves_once_and_for_whom_it_was_made(own_station, keys, tmp_path):
    from tallystick.provisioning.custody.store import FileStore
    from tallystick.provisioning.server_link import RegistryRefusedError
    from tests.provisioning.command_line import PASSPHRASE

    make_known(own_station.settings, "grace")
    custody = FileStore(tmp_path / "keys.json").open(PASSPHRASE)
    server = TallyServer(custody.server())
    key = keys("11")
    client = ClientPin(Ctap2(key.open()))
    client.set_pin("135790")
    begun = server.key_options("ada")
    answer = security_key._made(Ctap2(key.open()), client, begun, "135790", lambda: None)
    with pytest.raises(RegistryRefusedError):
        server.register_key("grace", "11", begun, answer)
    with pytest.raises(RegistryRefusedError, match="over, or was used"):
        server.register_key("ada", "11", begun, answer)
    with pytest.raises(RegistryRefusedError, match="over, or was used"):
        server.register_key("ada", "11", begun | {"until": begun["until"] + 9999}, answer)
    assert enrolled(own_station, "ada") == []
    server.close()
    custody.close()


def test_a_place_that_is_gone_is_no_device():
    with pytest.raises(NoDeviceError):
        security_key.HidPlaces().open("/dev/none")
