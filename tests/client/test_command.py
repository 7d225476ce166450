"""`tally verify`: for scripts, and for a real PAM stack through pam_exec."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner

from tallystick.client.cli import verify
from tallystick.common.errors import BadInputError, UnreachableError
from tallystick.server.rules.otp import hotp
from tests import needs
from tests.server.conftest import clock, enrolled, server, settings, template, wrong_code
from tests.service_pages import answered, picture_of_terminal, recipe

__all__ = ["clock", "enrolled", "server", "settings", "template", "wrong_code"]


@pytest.fixture
def url(server) -> str:
    return str(server.client.base_url).rstrip("/")


@pytest.fixture
def credential(server, tmp_path) -> Path:
    """As `tally server credential add --role service NAME --json` prints it."""
    path = tmp_path / "service.json"
    made = server.service
    value = {"id": made.id, "role": made.role.value, "token": made.token.reveal().decode()}
    path.write_text(json.dumps(value))
    path.chmod(0o600)
    return path


@pytest.fixture
def run(url, credential):
    def run(*arguments: str, typed: str = "", url: str = url, **env: str):
        where = ["--server", url, "--credential", str(credential)]
        return CliRunner().invoke(verify, [*where, *arguments], input=typed, env=env)

    return run


def test_a_code_is_accepted_once(run, server):
    seed = server.card()
    first = run("--user", "ann", typed=hotp(seed, 0, 6) + "\n")
    assert (first.exit_code, first.stdout) == (0, "accepted\n")
    done = run("--user", "ann", "--json", typed=hotp(seed, 0, 6))
    typed = (
        f"echo {hotp(seed, 0, 6)} | tally verify --server … --credential service.json --user ann"
    )
    picture_of_terminal("verify-api", (typed, first.output), (f"{typed} --json", done.output))
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {
        "accepted": False, "reason": "replayed", "method": "card", "serial": "1000000001",
        "retry_after_s": 0,
    }  # fmt: skip
    assert run("--serial", "1000000001", typed=hotp(seed, 1, 6)).exit_code == 0


def test_as_pam_exec_calls_it(run, server):
    seed = server.card()
    pam = {"PAM_USER": "ann", "PAM_TYPE": "auth"}
    assert run("--pam", typed=hotp(seed, 0, 6) + "\0", **pam).exit_code == 0
    assert run("--pam", typed=hotp(seed, 1, 6), **pam).exit_code == 0
    assert run("--pam", typed="", **pam).exit_code == 1
    assert run("--pam", typed="\0" + hotp(seed, 2, 6), **pam).exit_code == 1
    assert run("--pam", typed="x" * 5000, **pam).exit_code == 1
    nobody = run("--pam", typed=hotp(seed, 2, 6), PAM_USER="bob", PAM_TYPE="auth")
    assert nobody.exit_code == 1 and "no-card" in nobody.output


@pytest.mark.parametrize(
    "env",
    [{}, {"PAM_USER": "ann"}, {"PAM_TYPE": "auth"}, {"PAM_USER": "ann", "PAM_TYPE": "account"}],
)
def test_pam_with_nothing_of_pam_accepts_nothing(run, server, env):
    seed = server.card()
    blank = {"PAM_USER": None, "PAM_TYPE": None}
    done = run("--pam", typed=hotp(seed, 0, 6), **(blank | env))
    assert done.exit_code != 0 and isinstance(done.exception, BadInputError)


def test_of_whom_is_said_once(run):
    for wrong in ((), ("--user", "a", "--serial", "1"), ("--pam", "--user", "ann")):
        assert run(*wrong, typed="123456", PAM_USER="ann", PAM_TYPE="auth").exit_code == 2


def test_no_server(run):
    done = run("--user", "ann", "--wait", "0.2", typed="123456", url="http://127.0.0.1:1")
    assert isinstance(done.exception, UnreachableError)


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        ("tally_secret", 0o644, "Others may read"),
        ('{"role": "admin", "token": "tally_secret"}', 0o600, "admin credential"),
        ('{"role": "service"}', 0o600, "no credential"), ("{", 0o600, "no credential"),
        ("", 0o600, "no credential"), ("tally_secret x", 0o600, "no credential"),
    ],
)  # fmt: skip
def test_credentials_that_are_not_used(run, credential, content, mode, says):
    credential.write_text(content)
    credential.chmod(mode)
    done = run("--user", "ann", typed="123456")
    assert isinstance(done.exception, BadInputError) and says in str(done.exception)
    assert "tally_secret" not in str(done.exception) + done.output


def test_the_bare_token_does_as_well(run, server, credential):
    seed = server.card()
    credential.write_text(server.service.token.reveal().decode() + "\n")
    assert run("--user", "ann", typed=hotp(seed, 0, 6)).exit_code == 0


# ---- a real PAM stack


@pytest.fixture
def pam(url, credential) -> Iterator[str]:
    needs.root.or_skip()
    needs.pam_exec.or_skip()
    name = f"tally-{uuid4().hex}"
    path = Path("/etc/pam.d") / name
    tally = Path(sys.executable).with_name("tally")
    places = {
        "/usr/bin/tally": tally, "https://id.example": url, "/etc/tally.json": credential,
    }  # fmt: skip
    path.write_text(f"{recipe('pam-exec', 'pam', places)}account required pam_permit.so\n")
    yield name
    path.unlink()


def pamtester(service: str, user: str, typed: str) -> str:
    done = subprocess.run(
        ["pamtester", service, user, "authenticate"], env={"PATH": os.defpath},
        input=typed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.stdout


@pytest.mark.slow
def test_pam_exec_lets_nobody_in_without_a_right_code(pam, server, wrong_code):
    seed = server.card()
    assert "successfully" not in pamtester(pam, "ann", wrong_code(seed) + "\n")
    assert "successfully" not in pamtester(pam, "ann", "\n")
    said = pamtester(pam, "ann", hotp(seed, 0, 6) + "\n")
    assert "successfully authenticated" in said, said
    again = pamtester(pam, "ann", hotp(seed, 0, 6) + "\n")
    assert "successfully" not in again
    typed = "pamtester sshd ann authenticate"
    picture_of_terminal(
        "pam-exec", (typed, answered(said)), (f"{typed}  # the same code", answered(again))
    )
    assert "successfully" not in pamtester(pam, "bob", hotp(seed, 1, 6) + "\n")
    assert server.get("/v1/cards/1000000001").json()["moving_factor"] == 1
