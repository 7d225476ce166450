"""The station's command line with its files in a folder of its own, and a real server over HTTP."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from tallystick.common import sealed
from tallystick.provisioning.cli import station
from tallystick.server.serving.running import add_credential, make_known, running_in_thread
from tallystick.server.settings import Settings, settings_from
from tallystick.server.store.opened import opened

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def cheap_passphrases(monkeypatch):
    monkeypatch.setitem(sealed.COST, "memory_kib", 64)
    monkeypatch.setitem(sealed.COST, "time", 1)


@dataclass
class Station:
    """A station's folder, its server, and the command line."""

    folder: Path
    settings: Settings
    url: str
    token: str
    psk: str

    def run(self, *arguments: str, env: dict[str, str] | None = None, **kwargs) -> Result:
        env = (env or {}) | {
            "TALLY_STATION_PASSPHRASE": PASSPHRASE,
            "TALLY_STATION_KEYS": str(self.folder / "keys.json"),
            "TALLY_STATION_JOURNAL": str(self.folder / "journal.db"),
            "TALLY_STATION_OPERATOR": str(self.folder / "operator.json"),
        }
        return CliRunner().invoke(station, arguments, env=env, **kwargs)

    def ok(self, *arguments: str, **kwargs):
        result = self.run(*arguments, "--json", **kwargs)
        assert result.exit_code == 0, (result.output, result.exception)
        return json.loads(result.stdout)

    def fails(self, kind: type[Exception], *arguments: str):
        result = self.run(*arguments)
        assert isinstance(result.exception, kind), result.exception
        return result.exception

    def card(self, serial: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.get(f"{self.url}/v1/cards/{serial}", headers=headers)


@pytest.fixture(scope="session")
def empty_server(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("server")
    with opened(settings_from(f"sqlite:///{folder / 'server.db'}", folder / "server.keys")):
        pass
    return folder


@pytest.fixture
def own_station(tmp_path: Path, empty_server: Path, cheap_passphrases: None):
    for file in empty_server.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
        (tmp_path / file.name).chmod(0o600)
    settings = settings_from(f"sqlite:///{tmp_path / 'server.db'}")
    make_known(settings, "ada")
    made = add_credential(settings, "station", "first")
    token, psk = made.token.reveal().decode(), made.psk.reveal().hex()
    credential = json.dumps({"id": made.id, "role": "station", "token": token, "psk": psk})
    with running_in_thread(settings) as url:
        own_station = Station(tmp_path, settings, url, token, psk)
        own_station.ok("keys", "create", "--development")
        own_station.ok("enroll", "--server", url, "--credential", "-", input=credential)
        yield own_station


@pytest.fixture
def free_url():
    with socket.socket() as taken:  # bound but not listening: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
