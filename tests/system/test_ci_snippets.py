"""What docs/guides/ci.md tells a CI to do is done here, as far as that goes without the service."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from tallystick.cli import tally
from tests.nested import LEAN

PAGE = Path(__file__).parents[2] / "docs/guides/ci.md"


def snippets() -> list[Any]:
    text = PAGE.read_text(encoding="utf-8")
    return [yaml.safe_load(one) for one in re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)]


def commands() -> dict[str, list[str]]:
    github, gitlab = snippets()
    steps = github["jobs"]["test"]["steps"]
    return {
        "GitHub": [step["run"] for step in steps if "run" in step],
        "GitLab": gitlab["firmware"]["script"],
    }


def artefacts() -> dict[str, list[str]]:
    github, gitlab = snippets()
    uploads = [s["with"] for s in github["jobs"]["test"]["steps"] if "upload" in s.get("uses", "")]
    kept = gitlab["firmware"]["artifacts"]
    return {
        "GitHub": uploads[0]["path"].split(),
        "GitLab": [*kept["paths"], kept["reports"]["junit"]],
    }


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(tally, ["new", "lamp"]).exit_code == 0
    return tmp_path / "lamp"


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """As the service's shell does, with this environment's programs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = kept | {
        "PATH": path,
        "PYTEST_ADDOPTS": " ".join([*LEAN, "-p", "no:cacheprovider"]),
    }
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("service", ["GitHub", "GitLab"])
def test_its_commands_run_in_a_new_project(service, project):
    lines = commands()[service]
    assert lines[0] == "pip install tallystick pytest pytest-xdist pytest-timeout"
    for line in lines[1:]:
        done = run(line, project)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert (project / "build" / "firmware.uf2").is_file()


@pytest.mark.parametrize("service", ["GitHub", "GitLab"])
def test_a_failure_is_in_what_is_kept(service, project):
    main = project / "firmware" / "main.py"
    main.write_text(main.read_text().replace("pause_ms = 500", "pause_ms = 900"))
    assert run(commands()[service][1], project).returncode == 1
    kept = artefacts()[service]
    assert "report.xml" in kept and 'failures="2"' in (project / "report.xml").read_text()
    assert ".tally" in kept
    names = {path.suffix for path in (project / ".tally").rglob("*") if path.is_file()}
    assert {".png", ".vcd", ".csv", ".jsonl"} <= names


def test_both_services_do_the_same():
    assert commands()["GitHub"] == commands()["GitLab"]
    assert set(artefacts()["GitHub"]) == set(artefacts()["GitLab"])


def test_a_time_out_names_the_line(project):
    """The limits are shorter here; the words are those of the CI's report."""
    main = project / "firmware" / "main.py"
    main.write_text("n = 0\nwhile True:\n    n += 1\n")
    words = "pytest -x -p no:xdist --tally-loop-limit 1 --timeout 60"
    done = run(words, project)
    assert done.returncode == 1
    assert re.search(r"touched no hardware for 1 s: an endless loop", done.stdout)
    assert re.search(r'File "main.py", line [23]', done.stdout)
    done = run(words.replace("limit 1", "limit 50").replace("60", "8"), project)
    assert "Timeout" in done.stdout and re.search(r'File "main.py", line [23]', done.stdout)
