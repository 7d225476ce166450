"""Log in to a workstation with a thumb: what docs/guides/workstations.md says, with the programs of
the distribution as they are."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests import needs
from tests.system.reader.emulated import DEVICE, PIN, EmulatedReader

pytestmark = pytest.mark.slow
STRANGER = {"finger": "left-index", "person": 7}
ORIGIN = "pam://workstation"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[str]:
    """A PAM service of our own, which asks for a finger, and whose keys are in tmp_path."""
    needs.root.or_skip()
    needs.pam_u2f.or_skip()
    name = f"tally-{uuid4().hex}"
    path = Path("/etc/pam.d") / name
    path.write_text(
        f"auth required pam_u2f.so authfile={tmp_path}/keys origin={ORIGIN} appid={ORIGIN} "
        "userverification=1 cue\naccount required pam_permit.so\n"
    )
    yield name
    path.unlink()


def test_pam(reader_in_service: EmulatedReader, service: str, tmp_path: Path) -> None:
    """What sudo, the log-in screen and su call."""
    reader = reader_in_service
    keys = reader.run("pamu2fcfg", "-u", "root", "-o", ORIGIN, "-i", ORIGIN, "-V")
    (tmp_path / "keys").write_text(f"{keys}\n")
    assert "+verification" in keys
    before = reader.presses
    said = reader.run("pamtester", service, "root", "authenticate")
    assert "successfully authenticated" in said and reader.presses == before + 1
    reader.finger = STRANGER
    refused = subprocess.run(
        ["pamtester", service, "root", "authenticate"],
        env=reader.environment, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert refused.returncode and "successfully" not in refused.stdout


def test_the_pin_gives_the_finger_back(
    reader_in_service: EmulatedReader, service: str, tmp_path: Path
) -> None:
    """What the guide says in 5: PAM does not ask for the PIN, and says no."""
    reader = reader_in_service
    keys = reader.run("pamu2fcfg", "-u", "root", "-o", ORIGIN, "-i", ORIGIN, "-V")
    (tmp_path / "keys").write_text(f"{keys}\n")

    def signs_in() -> bool:
        said = subprocess.run(
            ["pamtester", service, "root", "authenticate"],
            env=reader.environment, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        return "successfully authenticated" in said.stdout

    reader.finger = STRANGER
    assert not signs_in() and not signs_in()
    reader.finger = {"finger": "right-thumb"}
    assert "uv retries: 0" in reader.run("fido2-token", "-I", DEVICE)
    assert not signs_in()
    reader.run_on_terminal("fido2-token", "-L", "-e", DEVICE, answers={"PIN": PIN})
    assert "uv retries: 5" in reader.run("fido2-token", "-I", DEVICE)
    assert signs_in()


def test_ssh(reader_in_service: EmulatedReader, tmp_path: Path) -> None:
    """A server that takes only keys whose holder was verified; the key lives in the reader."""
    needs.root.or_skip()
    needs.sshd.or_skip()
    reader = reader_in_service
    Path("/run/sshd").mkdir(exist_ok=True)
    host, key = tmp_path / "host", tmp_path / "id"
    reader.run("ssh-keygen", "-q", "-t", "ed25519", "-f", str(host), "-N", "")
    reader.run_on_terminal(
        "ssh-keygen", "-t", "ed25519-sk", "-O", "resident", "-O", "verify-required",
        "-f", str(key), "-N", "", answers={"PIN": PIN},
    )  # fmt: skip
    config = tmp_path / "sshd_config"
    config.write_text(
        f"HostKey {host}\nAuthorizedKeysFile {key}.pub\nPubkeyAuthOptions verify-required\n"
        "UsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\nPidFile none\n"
    )
    server = f"env -u LD_PRELOAD /usr/sbin/sshd -i -f {config}"
    command = (
        "ssh", "-i", str(key), "-o", "StrictHostKeyChecking=no",
        "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes",
        "-o", f"ProxyCommand={server}", "root@workstation", "echo let in",
    )  # fmt: skip
    before = reader.presses
    assert "let in" in reader.run(*command) and reader.presses == before + 1
    # On another computer, the key comes out of the reader again.
    (tmp_path / "other").mkdir()
    reader.run_on_terminal(
        "sh", "-c", f"cd {tmp_path}/other && exec ssh-keygen -K -N ''", answers={"PIN": PIN}
    )
    (found,) = (tmp_path / "other").glob("*.pub")
    assert found.read_text().split()[1] == Path(f"{key}.pub").read_text().split()[1]


def test_a_luks_volume(reader_in_service: EmulatedReader, tmp_path: Path) -> None:
    """As far as a machine without a device mapper goes: the finger gives the volume's key."""
    needs.cryptsetup.or_skip()
    reader = reader_in_service
    volume, passphrase = tmp_path / "volume", tmp_path / "passphrase"
    volume.write_bytes(bytes(32 << 20))
    passphrase.write_text("a long passphrase")
    reader.run(
        "cryptsetup", "luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2",
        "--pbkdf-force-iterations", "1000", str(volume), str(passphrase),
    )  # fmt: skip
    reader.environment["PASSWORD"] = passphrase.read_text()
    said = reader.run_on_terminal(
        "systemd-cryptenroll", f"--fido2-device={DEVICE}", "--fido2-with-client-pin=no",
        "--fido2-with-user-verification=yes", str(volume), answers={},
    )  # fmt: skip
    assert "enrolled as key slot 1" in said
    del reader.environment["PASSWORD"]
    before = reader.presses
    reader.run_on_terminal(
        "cryptsetup", "open", "--test-passphrase", "--token-only", str(volume), answers={}
    )
    assert reader.presses > before


def _is_listed(reader: EmulatedReader) -> bool:
    """While it is being pulled, umockdev's library may end the program."""
    try:
        return DEVICE in reader.run("fido2-token", "-L")
    except AssertionError:
        return True


def test_a_finger_is_added_anew_and_the_reader_made_new(reader: EmulatedReader) -> None:
    """What the guide says in 1 and 5, in a terminal."""

    def options() -> str:
        return re.search(r"^options: (.*)$", reader.run("fido2-token", "-I", DEVICE), re.M)[1]

    def with_pin(*words: str) -> str:
        return reader.run_on_terminal("fido2-token", *words, DEVICE, answers={"PIN": PIN})

    reader.set_pin_and_enrol()
    (finger,) = re.findall(r"^00: (\S+)", with_pin("-L", "-e"), re.M)
    with_pin("-D", "-e", "-i", finger)
    assert " nouv," in options()
    with_pin("-S", "-e")
    assert " uv," in options()
    new = {"current PIN": PIN, "new PIN": "135790", "again": "135790"}
    reader.run_on_terminal("fido2-token", "-C", DEVICE, answers=new)
    reader.power(on=False)
    while _is_listed(reader):
        time.sleep(0.05)
    reader.power(on=True)
    while DEVICE not in reader.run("fido2-token", "-L"):
        time.sleep(0.05)
    reader.run("fido2-token", "-R", DEVICE)
    assert " noclientPin," in options() and " nouv," in options()
