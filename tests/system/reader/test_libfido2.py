"""libfido2's tools, unmodified, with `tally emulate reader --usb`: real sensor, real matcher."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from tests.system.reader.emulated import PIN, EmulatedReader

pytestmark = pytest.mark.slow
DEVICE = "/dev/hidraw0"


def test_found_and_described(reader: EmulatedReader) -> None:
    assert "Tallystick reader" in reader.run("fido2-token", "-L")
    info = reader.run("fido2-token", "-I", DEVICE)
    assert "FIDO_2_1" in info
    assert "fingerprint check" in info
    assert "nobioEnroll" in info and "noclientPin" in info


def test_pin_finger_credential_and_log_in(
    reader_in_service: EmulatedReader, tmp_path: Path
) -> None:
    reader = reader_in_service
    info = reader.run("fido2-token", "-I", DEVICE)
    assert " bioEnroll" in info and " clientPin" in info and " uv," in info
    challenge = base64.b64encode(os.urandom(32)).decode()
    user = base64.b64encode(b"user-1").decode()
    made = reader.run(
        "fido2-cred", "-M", "-r", "-v", DEVICE, "es256",
        data=f"{challenge}\nexample.com\nalice\n{user}\n",
    )  # fmt: skip
    verified = reader.run("fido2-cred", "-V", "-v", "es256", data=made)
    identifier, public_key = verified.split("\n", 1)
    (tmp_path / "key").write_text(public_key)
    request = f"{challenge}\nexample.com\n{identifier}\n"
    asserted = reader.run("fido2-assert", "-G", "-t", "uv=true", DEVICE, "es256", data=request)
    reader.run("fido2-assert", "-V", "-v", str(tmp_path / "key"), "es256", data=asserted)


def test_fingers_and_credentials_managed(reader_in_service: EmulatedReader) -> None:
    reader = reader_in_service
    challenge = base64.b64encode(os.urandom(32)).decode()
    reader.run(
        "fido2-cred", "-M", "-r", "-v", DEVICE, "es256",
        data=f"{challenge}\nexample.com\nalice\n{base64.b64encode(b'u').decode()}\n",
    )  # fmt: skip
    answers = {"PIN": PIN}
    assert "VAA=" in reader.run_on_terminal("fido2-token", "-L", "-e", DEVICE, answers=answers)
    assert "example.com" in reader.run_on_terminal(
        "fido2-token", "-L", "-r", DEVICE, answers=answers
    )
    listed = reader.run_on_terminal(
        "fido2-token", "-L", "-k", "example.com", DEVICE, answers=answers
    )
    assert base64.b64encode(b"u").decode() in listed
