"""`make fresh`: what it takes along to a bare machine, and what it makes of what it saw there."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.needs import ROOT

REPORT = """<testsuites><testsuite>
<testcase classname="tests.a" name="test_passes"/>
<testcase classname="tests.a" name="test_fails"><failure message="1 != 2&#10;more"/></testcase>
<testcase classname="tests.a" name="test_breaks"><error message="no such fixture"/></testcase>
<testcase classname="tests.a" name="test_skips"><skipped message="needs root"/></testcase>
<testcase classname="tests.b" name="test_skips"><skipped message="needs root"/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("fresh", ROOT / ".ci/fresh.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fresh", module)  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PLACE", tmp_path / "machines")
    for name in [name for name in os.environ if module.ENVIRONMENT.fullmatch(name)]:
        monkeypatch.delenv(name)
    return module


def test_failures_and_reasons_are_counted(fresh, tmp_path) -> None:
    report = tmp_path / "tests.xml"
    report.write_text(REPORT)
    result = fresh.Result("13")
    fresh._count(result, report)
    assert dict(result.outcomes) == {"passed": 1, "failed": 2, "skipped": 2}
    assert dict(result.skips) == {"needs root": 2}
    said = "\n".join(fresh.told([result]))
    assert "1 passed, 2 failed, 2 skipped" in said and "2 × needs root" in said
    assert "tests.a::test_fails: 1 != 2\n" in said
    assert "image sha256 (none)" in said


@pytest.mark.parametrize(
    ("images", "troubles", "status"),
    [
        (("aa", "aa"), (), 0),
        (("aa", "bb"), (), 1),
        (("aa", ""), (), 1),
        (("", ""), (), 1),
        (("aa", "aa"), ("did not install: postgresql",), 1),
    ],
)
def test_it_succeeds_only_where_all_machines_agree(fresh, images, troubles, status) -> None:
    results = [
        fresh.Result(debian, image=image) for debian, image in zip("ab", images, strict=True)
    ]
    results[0].troubles.extend(troubles)
    assert fresh.verdict(results) == status


def test_it_takes_along_what_pip_is_told_and_no_path_of_this_machine(
    fresh, tmp_path, monkeypatch
) -> None:
    home, index, wheels = tmp_path / "home", tmp_path / "index/simple", tmp_path / "wheels"
    for folder in (home / ".config/pip", index, wheels):
        folder.mkdir(parents=True)
    bundle = tmp_path / "authorities.crt"
    bundle.touch()
    settings = f"[global]\nextra-index-url = file://{index}\nfind-links = {wheels}\n"
    (home / ".config/pip/pip.conf").write_text(settings)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PIP_CERT", str(bundle))
    monkeypatch.setattr(fresh, "_apt_options", list)
    machine = fresh.Machine("13")
    machine.carry()
    assert {str(index.parent), str(wheels)} <= set(machine._shared)  # an index has files beside it
    assert "/root" not in machine._shared and "/usr/bin" not in machine._shared
    assert (machine.root / "root/.config/pip/pip.conf").read_text() == settings
    assert (machine.root / bundle.relative_to("/")).exists()
    assert machine._environment == {**fresh.BARE, "PIP_CERT": str(bundle)}


def test_an_unknown_debian_is_a_clear_error() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci/fresh.py")],
        env={**os.environ, "DEBIAN": "2.2"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "knows DEBIAN=12 or 13. Nothing was done." in done.stderr
