"""The emulated reader as a tool: what a kill leaves, what a pulled cable shows, what is refused."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import adafruit_fingerprint as ada
import httpx
import pytest
import serial
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tallystick.cli import main, tally
from tallystick.common.errors import BadInputError
from tallystick.common.reader_identity import ReaderIdentity
from tallystick.common.secret import Secret
from tallystick.emulator.boards import find
from tallystick.emulator.devices.kept_files import KeptFiles
from tallystick.emulator.parts.r503_flash import SensorFlash
from tests.system.reader.conftest import need_host
from tests.system.reader.emulated import DEVICE, EmulatedReader, emulated_reader

pytestmark = pytest.mark.slow
_TALLY = Path(sys.executable).with_name("tally")


def _until(true: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


# -- what is kept ------------------------------------------------------------------------------


def test_a_kill_loses_nothing(tmp_path: Path) -> None:
    need_host()
    flash = tmp_path / "reader.flash"
    with emulated_reader(0, "--flash", str(flash)) as reader:
        reader.set_pin_and_enrol()
        reader.kill()
    assert flash.stat().st_size == find("pico2").flash_size
    with emulated_reader(0, "--flash", str(flash)) as again:
        information = again.run("fido2-token", "-I", DEVICE)
    assert " bioEnroll" in information and " clientPin" in information and " uv," in information


def test_two_readers_do_not_live_in_one_file(tmp_path: Path) -> None:
    first = KeptFiles(tmp_path / "flash", 4096)
    with pytest.raises(BadInputError, match="Another emulator"):
        KeptFiles(tmp_path / "flash", 4096)
    os.close(first.descriptor)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--flash", "{}/nowhere/flash", "--hid-udp", "0"], "cannot be opened"),
        (["--flash", "{}/short", "--hid-udp", "0"], "holds 5 bytes"),
        (["--flash", "{}/spoiled", "--hid-udp", "0"], "cannot be read"),
        (["--identity", "/etc/passwd", "--hid-udp", "0"], "not a reader's segment"),
        (["--identity", "{}/cut", "--hid-udp", "0"], "not a reader's segment"),
        (["--identity", "{}/other-key", "--hid-udp", "0"], "its key is not the certificate's"),
        (["--image", "{}", "--hid-udp", "0"], "--device reader"),
        (["--usb", "--contrl", "0", "--", "true"], "No such option"),
        (["--usb", "contrl", "0"], "no program 'contrl'"),
        (["--usb", "--", "no-such-program"], "no program 'no-such-program'"),
        (["true"], "needs --usb"),
        (["--usb", "--hid-udp", "0", "--", "true"], "give one"),
    ],
)
def test_what_cannot_be_is_said_at_once(tmp_path: Path, words: list[str], said: str) -> None:
    (tmp_path / "short").write_bytes(b"short")
    (tmp_path / "spoiled.sensor").write_bytes(b"{}")
    (tmp_path / "cut").write_bytes(ReaderIdentity.development("TR00000001").encode()[:-1])
    (tmp_path / "other-key").write_bytes(_identity(key=Secret(bytes(31) + b"\x01")).encode())
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    command = ["emulate", "reader", *(word.format(tmp_path) for word in words)]
    result = CliRunner().invoke(tally, command)
    assert result.exit_code != 0
    assert said in result.output + str(result.exception)
    for path, content in before.items():
        assert path.read_bytes() == content


def test_umockdev_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "command").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(tally, ["emulate", "reader", "--usb", "--", "command"])
    assert result.exit_code != 0
    assert "umockdev is not installed" in result.output + str(result.exception)


def test_a_segment_is_read_back() -> None:
    identity = ReaderIdentity.development("TR00000007")
    assert ReaderIdentity.decode(identity.encode()) == identity
    identity.check()


def _identity(**other: Any) -> ReaderIdentity:
    return replace(ReaderIdentity.development("TR00000007"), **other)


def _for_another_curve() -> bytes:
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1)
    begins, ends = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    builder = builder.not_valid_before(begins).not_valid_after(ends)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"certificate": b"0123456789"}, "certificate cannot be read"),
        ({"certificate": _for_another_curve()}, "no key of P-256"),
        ({"key": Secret(bytes(32))}, "not the certificate's"),
        ({"key": Secret(b"\xff" * 32)}, "not the certificate's"),
        ({"key": Secret(bytes(31) + b"\x01")}, "not the certificate's"),
        ({"aaguid": uuid.UUID(int=1)}, "for another model"),
    ],
)
def test_a_segment_that_nobody_would_believe(other: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        _identity(**other).check()


def test_a_burnt_key_is_not_asked_for() -> None:
    ReaderIdentity.decode(_identity(burnt=True).encode()).check()


# -- the cable ---------------------------------------------------------------------------------


def _listed(reader: EmulatedReader) -> bool:
    """The host's programs see it. One that is in the middle of an ioctl when the cable goes is
    ended by umockdev (connection reset), where a kernel would say ENODEV: it saw it.
    """
    try:
        return DEVICE in reader.run("fido2-token", "-L")
    except AssertionError as error:
        assert "libumockdev-preload" in str(error)
        return True


def test_a_pulled_reader_leaves_the_bus(reader: EmulatedReader) -> None:
    script = f"import os; d = os.open({DEVICE!r}, os.O_RDWR); print(flush=True); "
    script += "print(len(os.read(d, 64)))"
    holds = subprocess.Popen(
        [sys.executable, "-c", script],
        env=reader.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert _listed(reader)
    assert holds.stdout is not None and holds.stdout.readline()  # it has the node open
    reader.power(on=False)
    assert _until(lambda: not _listed(reader))
    said, error = holds.communicate(timeout=60)
    # A terminal that hangs up is an error or an end, by the instant at which it is read.
    assert b"OSError" in error or said == b"0\n"
    with pytest.raises(AssertionError, match="FIDO_ERR"):
        reader.run("fido2-token", "-I", DEVICE)
    for _ in range(2):
        reader.power(on=True)
        assert _until(lambda: _listed(reader))
        assert "FIDO_2_1" in reader.run("fido2-token", "-I", DEVICE)
        reader.power(on=False)
        assert _until(lambda: not _listed(reader))


# What udev tells, by its own library.
_MONITOR = """
import ctypes, select
udev = ctypes.CDLL("libudev.so.1")
for name in ("udev_new", "udev_monitor_new_from_netlink", "udev_monitor_receive_device"):
    getattr(udev, name).restype = ctypes.c_void_p
for name in ("action", "syspath"):
    getattr(udev, "udev_device_get_" + name).restype = ctypes.c_char_p
monitor = ctypes.c_void_p(
    udev.udev_monitor_new_from_netlink(ctypes.c_void_p(udev.udev_new()), b"udev")
)
udev.udev_monitor_enable_receiving(monitor)
print("ready", flush=True)
while select.select([udev.udev_monitor_get_fd(monitor)], [], []):
    device = ctypes.c_void_p(udev.udev_monitor_receive_device(monitor))
    said = (udev.udev_device_get_action(device), udev.udev_device_get_syspath(device))
    print(*(word.decode() for word in said), flush=True)
"""


def test_udev_tells_that_it_goes_and_comes(reader: EmulatedReader) -> None:
    """Chromium and systemd do not look again and again: they are told."""
    monitor = subprocess.Popen(
        [sys.executable, "-c", _MONITOR],
        env=reader.environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert monitor.stdout is not None and monitor.stdout.readline() == "ready\n"
        for on, action in ((False, "remove"), (True, "add")):
            reader.power(on=on)
            # Some tell a removal twice: by the kernel's and by udev's word.
            while told := monitor.stdout.readline():
                if told.startswith(f"{action} /sys/") and "hidraw0" in told:
                    break
            assert told, f"nobody tells of an {action}"
    finally:
        monitor.kill()
        monitor.communicate()


# -- what it starts ----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [9, 15, 2])
def test_what_it_started_ends_with_it(tmp_path: Path, number: int) -> None:
    need_host()
    mark = tmp_path / "processes"
    script = f"sleep 999 & echo $! >> {mark}; (setsid sleep 999 & echo $! >> {mark}); "
    script += f"echo $$ >> {mark}; wait"
    process = subprocess.Popen([_TALLY, "emulate", "reader", "--usb", "--", "sh", "-c", script])
    assert _until(lambda: mark.exists() and len(mark.read_text().split()) == 3, 60)
    started = [int(word) for word in mark.read_text().split()]
    process.send_signal(number)
    process.wait(60)
    assert _until(lambda: not any(Path(f"/proc/{one}").exists() for one in started))


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Short, as a socket's path must be."""
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        yield Path(folder)


def test_a_world_of_a_long_name_has_another_place(tmp_path: Path) -> None:
    """A socket's path has 107 bytes at most."""
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    command = [_TALLY, "emulate", "reader", "--usb", "--", "fido2-token", "-L"]
    environment = {**os.environ, "TMPDIR": str(deep)}
    done = subprocess.run(
        command, check=False, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and "Tallystick" in done.stdout, done.stderr
    assert list(deep.iterdir()) == []


def test_a_world_that_is_killed_leaves_nothing(tmp_path: Path, temporary: Path) -> None:
    """The process between emulator and command is killed, and cannot end what it has started."""
    mark = tmp_path / "processes"
    script = f"echo $PPID $UMOCKDEV_DIR $TMPDIR > {mark}; (setsid sleep 999 & echo $! >> {mark}); "
    script += "wait; sleep 999"
    environment = {**os.environ, "TMPDIR": str(temporary)}
    command = [_TALLY, "emulate", "reader", "--usb", "--", "sh", "-c", script]
    process = subprocess.Popen(command, env=environment)
    assert _until(lambda: mark.exists() and len(mark.read_text().split()) == 4, 60)
    world, folder, its_own, started = mark.read_text().split()
    assert Path(folder).is_relative_to(temporary) and its_own == str(temporary)
    os.kill(int(world), 9)
    assert process.wait(60) == 137
    assert _until(lambda: not Path(f"/proc/{started}").exists())
    assert list(temporary.iterdir()) == []


def test_a_world_that_nobody_could_remove_goes_with_the_next(temporary: Path) -> None:
    """The emulator and the process that has the world are killed at one instant."""
    mark = temporary / "processes"
    script = f"echo $PPID $UMOCKDEV_DIR > {mark}; sleep 999"
    environment = {**os.environ, "TMPDIR": str(temporary)}
    command = [_TALLY, "emulate", "reader", "--usb", "--", "sh", "-c"]
    process = subprocess.Popen([*command, script], env=environment)
    assert _until(lambda: mark.exists() and len(mark.read_text().split()) == 2, 60)
    world, folder = mark.read_text().split()
    subprocess.run([*command, "true"], check=True, env=environment, timeout=60)
    assert Path(folder).is_dir()  # of one that lives
    process.send_signal(signal.SIGSTOP)  # so that it cannot see the other end
    os.kill(int(world), 9)
    process.kill()
    process.wait(60)
    assert _until(lambda: not Path(f"/proc/{world}").exists())
    assert Path(folder).is_dir()
    subprocess.run([*command, "true"], check=True, env=environment, timeout=60)
    assert list(temporary.iterdir()) == [mark]


@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -TERM $$", 143)])
def test_the_commands_status_is_the_emulators(script: str, status: int) -> None:
    command = [_TALLY, "emulate", "reader", "--usb", "--", "sh", "-c", script]
    assert (
        subprocess.run(command, check=False, timeout=60, capture_output=True).returncode == status
    )


def test_a_commands_own_options_are_not_ours(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["emulate", "reader", "--usb", "--", "no-such-program", "--json"])
    assert capsys.readouterr().out == ""
    with pytest.raises(SystemExit):
        main(["emulate", "reader", "--usb", "--json", "--", "no-such-program"])
    assert "no-such-program" in json.loads(capsys.readouterr().out)["what"]


# -- the sensor alone --------------------------------------------------------------------------


@contextmanager
def _sensor(*options: str) -> Iterator[tuple[str, httpx.Client]]:
    command = [_TALLY, "emulate", "sensor", "--pty", "--control", "0", "--json", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            line = process.stdout.readline()
            assert line, text
            text += line
        described: dict[str, Any] = json.loads(text)
        with httpx.Client(base_url=described["control"]) as http:
            yield described["port"], http
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _press(http: httpx.Client, finger: str) -> None:
    http.post("/finger", json={"finger": finger, "ms": 5000}).raise_for_status()
    assert _until(lambda: http.get("/state").json()["touch"])


def test_a_host_driver_enrols_on_the_sensor_alone(tmp_path: Path) -> None:
    kept = ["--flash", str(tmp_path / "sensor.json")]
    with _sensor(*kept) as (port, http), serial.Serial(port, 57600, timeout=10) as line:
        time.sleep(0.3)
        line.reset_input_buffer()
        host = ada.Adafruit_Fingerprint(line)
        for slot in range(1, 7):
            _press(http, "right-thumb")
            assert host.get_image() == ada.OK
            assert host.image_2_tz(slot) == ada.OK
        assert host.create_model() == ada.OK
        assert host.store_model(7) == ada.OK
        assert http.get("/state").json()["templates"] == [7]
    # It was killed.
    with _sensor(*kept) as (port, http), serial.Serial(port, 57600, timeout=10) as line:
        time.sleep(0.3)
        line.reset_input_buffer()
        host = ada.Adafruit_Fingerprint(line)
        _press(http, "right-thumb")
        assert host.get_image() == ada.OK
        assert host.image_2_tz(1) == ada.OK
        assert host.finger_search() == ada.OK
        assert host.finger_id == 7


def test_the_sensor_says_where_its_line_is_missing() -> None:
    result = CliRunner().invoke(tally, ["emulate", "sensor"])
    assert result.exit_code == 2
    assert "--pty" in result.output


def test_the_sensor_says_at_once_what_it_cannot_keep(tmp_path: Path) -> None:
    command = ["emulate", "sensor", "--pty", "--flash", str(tmp_path / "nowhere" / "sensor")]
    result = CliRunner().invoke(tally, command)
    assert result.exit_code != 0 and "cannot be written" in str(result.exception)


_CUT_RECORD = b"FMR\0 20\0\0\0\0\x1a" + bytes(13) + b"\1"  # one minutia, which is not there


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": -1}, {"password": 1 << 32}, {"address": -1}, {"baud_n": 0}, {"level": 6},
        {"packet_code": 4}, {"templates": {"200": []}}, {"templates": {"-1": []}},
        {"password": math.inf}, {"templates": {"1": []}}, {"templates": {"1": ["AAAA"]}},
        {"templates": {"1": [b64encode(b"FMR\0").decode()]}},
        {"templates": {"1": [b64encode(_CUT_RECORD).decode()]}},
    ],
)  # fmt: skip
def test_a_sensors_file_with_what_no_sensor_has(wrong: dict[str, Any]) -> None:
    whole = json.loads(SensorFlash().encode())
    SensorFlash.decode(json.dumps(whole).encode())
    with pytest.raises(BadInputError, match="cannot be read"):
        SensorFlash.decode(json.dumps({**whole, **wrong}).encode())
