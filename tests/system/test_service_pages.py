"""What the pages of services print is what tests run (tests/service_pages.py)."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from tallystick.cli import tally
from tallystick.server.services.radius_clients import GroupAttribute, Mode, clients_from
from tests.server.conftest import clock, settings, template
from tests.service_pages import IMAGES, PAGES, ROOT, picture_of_terminal, recipe, recipes

__all__ = ["clock", "settings", "template"]
NAMES = sorted(page.stem for page in PAGES.glob("*.md") if page.stem != "index")


def used() -> set[tuple[str, str]]:
    """Page and name of every recipe that a test asks for."""
    calls = re.compile(r"""\brecipe\(\s*["']([a-z-]+)["'],\s*["']([a-z-]+)["']""")
    return {
        found
        for file in (ROOT / "tests").rglob("*.py")
        for found in calls.findall(file.read_text(encoding="utf-8"))
    }


@pytest.mark.parametrize("page", NAMES)
def test_every_block_is_one_that_a_test_runs(page):
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    blocks = recipes(page)
    assert blocks and text.count("\n```") == 2 * len(blocks)
    assert {(page, name) for name in blocks} <= used()


def test_no_recipe_is_asked_for_that_is_not_there():
    assert {(page, name) for page in NAMES for name in recipes(page)} == used()


@pytest.mark.parametrize("page", NAMES)
def test_every_page_has_a_picture_of_its_own(page):
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    assert f"(../../images/services/{page}.png)" in text
    assert (IMAGES / f"{page}.png").read_bytes().startswith(b"\x89PNG")
    assert f"]({page}.md)" in (PAGES / "index.md").read_text(encoding="utf-8")


def test_no_picture_is_left_over():
    linked = {
        name
        for page in NAMES
        for name in re.findall(
            r"images/services/([a-z-]+)\.png", (PAGES / f"{page}.md").read_text()
        )
    }
    assert linked == {file.stem for file in IMAGES.iterdir()}


def run(settings, text: str) -> list[tuple[str, str]]:
    """The commands of a block, and what each prints."""
    base = ["--db", settings.db_url, "--key-file", str(settings.key_file)]
    done = []
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.split(" > ")[0])
        assert words[0] == "tally"
        answer = CliRunner().invoke(tally, [*words[1:], *base], catch_exceptions=False)
        assert answer.exit_code == 0, answer.output
        done.append((" ".join(line.split()), answer.stdout))
    return done


def test_a_service_is_registered_as_the_page_says(settings):
    (shown,) = run(settings, recipe("openid-connect", "register"))
    assert "https://id.example/p/default" in shown[1]
    picture_of_terminal("openid-connect", shown)
    listed, changed, secret, removed = run(settings, recipe("openid-connect", "manage"))
    assert "Wiki" in listed[1] and "changed" in changed[1] and "secret" in secret[1]
    assert "removed" in removed[1]


def test_a_credential_is_made_as_the_page_says(settings):
    (shown,) = run(settings, recipe("verify-api", "credential"))
    assert '"token"' in shown[1]


def test_the_program_of_the_page_is_python():
    tree = ast.parse(recipe("verify-api", "program"))
    names = [
        one.name for node in tree.body if isinstance(node, ast.ImportFrom) for one in node.names
    ]
    assert names == ["NoAnswerError", "VerifyClient"]


def test_the_file_of_radius_clients(tmp_path):
    file = tmp_path / "clients.toml"
    file.touch(0o600)
    file.write_text(recipe("radius", "clients", {"…": "x" * 16}))
    (tmp_path / "vpn.secret").write_text("y" * 16)
    network, old = clients_from(file)
    assert (str(network.network), network.mode) == ("10.0.0.0/24", Mode.CHALLENGE)
    assert (str(old.network), old.mode, old.code_digits) == ("10.1.0.7/32", Mode.APPEND, 6)
    assert old.allow_unsigned and old.group_attribute is GroupAttribute.FILTER_ID
    assert recipe("radius", "start") == f"tally server radius --clients-file {file.name}\n"


def test_nginx_and_its_program_are_those_of_the_example():
    folder = ROOT / "examples/nginx-login"
    assert recipe("nginx", "site") == (folder / "nginx.conf").read_text(encoding="utf-8")
    code = Path(folder / "login.py").read_text(encoding="utf-8")
    started = recipe("nginx", "start")
    for name in re.findall(r"LOGIN_[A-Z_]+", started):
        assert f'"{name.removeprefix("LOGIN_")}"' in code or name in code
    assert "--factory login:app" in started and "def app(" in code
