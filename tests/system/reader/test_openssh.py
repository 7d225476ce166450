"""OpenSSH's own tools, unmodified, with the emulated reader: keys of both kinds, used to sign."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import needs
from tests.system.reader.emulated import EmulatedReader

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["ed25519-sk", "ecdsa-sk"])
def test_a_key_signs(reader: EmulatedReader, kind: str, tmp_path: Path) -> None:
    needs.ssh_keygen.or_skip()
    key, data = tmp_path / "key", tmp_path / "data"
    reader.run("ssh-keygen", "-t", kind, "-f", str(key), "-N", "", "-C", "alice")
    public = key.with_suffix(".pub").read_text()
    assert public.startswith("sk-ssh-ed25519" if kind == "ed25519-sk" else "sk-ecdsa-sha2")
    data.write_text("to be signed\n")
    reader.run("ssh-keygen", "-Y", "sign", "-f", str(key), "-n", "file", str(data))
    allowed = tmp_path / "allowed"
    allowed.write_text(f"alice {public}")
    said = reader.run(
        "ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", "alice", "-n", "file",
        "-s", f"{data}.sig", data=data.read_text(),
    )  # fmt: skip
    assert 'Good "file" signature for alice' in said
    assert reader.presses == 2
