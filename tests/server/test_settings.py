"""Settings that cannot be: each is told in words, without what may be a password in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tallystick.common.errors import BadInputError, UnreachableError
from tallystick.server.accounts.breached_ranges import BreachedRanges
from tallystick.server.messages.gateways import gateway_from
from tallystick.server.operating.doctor import examine
from tallystick.server.settings import settings_from
from tallystick.server.store.opened import opened
from tallystick.server.store.stream import sink_from
from tests.server.test_services import free_port

SECRET = "geheim"


@pytest.mark.parametrize(
    "url",
    [
        f"smtp://u:{SECRET}@[::1",
        f"smtp://u:{SECRET}@mail:abc",
        f"smtp://u:{SECRET}@mail:0",
        f"smtp://u:{SECRET}@mail:99999",
        f"smtps://u:{SECRET}@",
        f"https://:{SECRET}@[gateway/path",
        "smpp://",
        "mail.example.org",
        "",
    ],
)
def test_a_gateway_that_is_none(url):
    with pytest.raises(BadInputError) as told:
        gateway_from(url, sender="a@b.example")
    assert SECRET not in str(told.value) and SECRET not in repr(told.value.as_dict())


def test_the_doctor_says_so(tmp_path):
    settings = settings_from(f"sqlite:///{tmp_path / 's.db'}", tmp_path / "s.keys")
    found = {one.name: one for one in examine(replace(settings, smtp="smtp://mail:abc"))}
    assert found["mail server"].state == "bad" and "understood" in found["mail server"].detail


@pytest.mark.parametrize("url", ["syslog://[x", "syslog://host:abc", "syslog+tcp://", "host"])
def test_a_stream_that_is_none(url):
    with pytest.raises(BadInputError):
        sink_from(url)


@pytest.mark.parametrize("url", ["https://[x", "https://", "https://host:abc/range/"])
def test_a_breach_list_that_is_none(url):
    with pytest.raises(BadInputError):
        BreachedRanges(url)


@pytest.mark.parametrize(
    "url",
    ["nonsense", "https://", "https://[::1", "ftp://otp.example.org", "https://o.example:0",
     "https://o.example?x", "https://me@o.example", "https://o.example#x"],
)  # fmt: skip
def test_a_public_url_that_is_none(url, monkeypatch):
    monkeypatch.setenv("TALLY_SERVER_PUBLIC_URL", url)
    with pytest.raises(BadInputError, match="TALLY_SERVER_PUBLIC_URL"):
        settings_from("sqlite:///x.db")


@pytest.mark.parametrize("url", ["https://otp.example.org/", "http://[::1]:8080", ""])
def test_a_public_url_that_is_one(url, monkeypatch):
    monkeypatch.setenv("TALLY_SERVER_PUBLIC_URL", url)
    assert settings_from("sqlite:///x.db").public_url == url.rstrip("/")


@pytest.mark.parametrize("url", [f"postgresql+psycopg://u:{SECRET}@h:port/x", "sqlite"])
def test_a_database_url_that_is_none(url):
    with pytest.raises(BadInputError) as told:
        settings_from(url)
    assert SECRET not in str(told.value)


def test_a_database_that_is_not_there_is_told_and_not_traced(tmp_path):
    url = f"postgresql+psycopg://u:{SECRET}@127.0.0.1:{free_port()}/x"
    with (
        pytest.raises(UnreachableError, match="does not answer") as told,
        opened(settings_from(url, tmp_path / "s.keys")),
    ):
        pass
    assert SECRET not in repr(told.value.as_dict())
    assert told.value.__cause__ is None and told.value.__suppress_context__
    assert not (tmp_path / "s.keys").exists()
