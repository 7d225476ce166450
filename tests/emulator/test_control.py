"""The control interface over real HTTP, and the serial ports, with firmware behind them."""

import concurrent.futures
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import serial

from tallystick.emulator.devices.card import Card
from tallystick.emulator.serving.control import ControlServer
from tallystick.emulator.serving.serial_port import PseudoTerminal, SerialPort, TcpPort
from tallystick.emulator.serving.service import Service
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.issuer import IssuerSession
from tallystick.tools import fresh
from tests.emulator.sockets import listening


class Running:
    """A service in a thread, its port and its control interface."""

    def __init__(self, card: Card, port: SerialPort) -> None:
        self.port = port.name
        self._service = Service(card, port)
        self._server = ControlServer(self._service, 0)
        card.power_on()
        self._thread = threading.Thread(target=self._service.run)
        self._thread.start()
        self._server.start()
        self.http = httpx.Client(base_url=self._server.url, timeout=60)

    def stop(self) -> None:
        self.http.close()
        self._server.stop()
        self._service.stop()
        self._thread.join(10)


@pytest.fixture(params=["pty", "tcp"])
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    port: SerialPort = PseudoTerminal() if request.param == "pty" else TcpPort(0)
    made = Running(fresh.card("nucleo_l476rg"), port)
    yield made
    made.stop()


def post(running: Running, path: str, **body: Any) -> dict[str, Any]:
    answer = running.http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def test_press_shows_something_and_time_darkens_it(running: Running) -> None:
    before = running.http.get("/state").json()
    assert before["state"] == "asleep" and before["display"]["blank"] is True
    after = post(running, "/button", action="press", ms=150)
    assert after["display"]["blank"] is False
    assert post(running, "/clock", advance_ms=60_000)["display"]["blank"] is True


def test_time_stands_still_while_nobody_is_connected(running: Running) -> None:
    post(running, "/button", action="press")
    first = running.http.get("/state").json()
    second = running.http.get("/state").json()
    assert first["clock_ms"] == second["clock_ms"]
    assert second["display"]["blank"] is False


def test_display_formats(running: Running) -> None:
    post(running, "/button", action="press", ms=1_900)
    png = running.http.get("/display")
    assert png.headers["content-type"] == "image/png" and png.content.startswith(b"\x89PNG")
    text = running.http.get("/display", params={"format": "text"}).text
    assert len(text.splitlines()) > 10
    shown = running.http.get("/display", params={"format": "json"}).json()
    assert len(shown["rows"]) == shown["height"] and len(shown["rows"][0]) == shown["width"]
    assert "#" in "".join(shown["rows"]) and shown["code"] is None


def test_a_cell_below_the_brown_out_voltage_takes_the_power(running: Running) -> None:
    post(running, "/button", action="press")
    off = post(running, "/cell", mv=0)
    assert off["state"] == "off" and off["display"]["blank"] is True
    post(running, "/cell", mv=3_000)
    assert post(running, "/power", on=True)["state"] == "asleep"


def test_letting_go_of_a_button_that_is_up_does_nothing(running: Running) -> None:
    before = running.http.get("/state").json()
    for _ in range(5):
        after = post(running, "/button", action="up")
    assert after["boots"] == before["boots"]


def test_power_and_cell(running: Running) -> None:
    assert post(running, "/cell", mv=2_500)["cell_mv"] <= 2_500
    off = post(running, "/power", on=False)
    assert off["state"] == "off" and off["powered"] is False
    on = post(running, "/power", on=True)
    assert on["state"] == "asleep" and on["boots"] == off["boots"] + 1


def test_button_down_and_up(running: Running) -> None:
    assert post(running, "/button", action="down")["button"] == "down"
    assert post(running, "/button", action="up")["button"] == "up"


def test_trace_is_json_lines(running: Running) -> None:
    lines = running.http.get("/trace").text.splitlines()
    events = [json.loads(line) for line in lines]
    assert any(event["source"] == "flash" for event in events)
    assert [event["time_us"] for event in events] == sorted(event["time_us"] for event in events)


def test_the_card_answers_on_its_serial_port(running: Running) -> None:
    with CardConnection.open(running.port) as connection:
        assert IssuerSession(connection).serial() == "TS00000001"
        assert running.http.get("/state").json()["docked"] is True
    with CardConnection.open(running.port) as connection:
        assert str(IssuerSession(connection).version()).startswith("0.")


def test_a_long_time_on_the_dock_holds_nobody_up(running: Running) -> None:
    with CardConnection.open(running.port) as connection:
        IssuerSession(connection).serial()
        before = running.http.get("/state").json()["clock_ms"]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            step = pool.submit(running.http.post, "/clock", json={"advance_ms": 2 * 60_000})
            for _ in range(3):
                assert running.http.get("/state").status_code == 200
            assert step.result(60).json()["clock_ms"] >= before + 2 * 60_000


def test_noise_on_the_line_does_not_hold_the_card_up(running: Running) -> None:
    with serial.serial_for_url(running.port, 115200, timeout=1) as line:
        line.write(bytes(range(256)) * 3)
        line.flush()
    with CardConnection.open(running.port) as connection:
        assert IssuerSession(connection).serial() == "TS00000001"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/button", {"action": "hit"}),
        ("/button", {"action": "press", "ms": 0}),
        ("/cell", {"mv": -1}),
        ("/clock", {"advance_ms": "soon"}),
        ("/power", {}),
        ("/power", {"on": "yes"}),
        ("/button", {"MS": 5}),
        ("/button", {"action": "press", "ms": 1.5}),
    ],
)
def test_bad_bodies_are_refused(running: Running, path: str, body: dict[str, Any]) -> None:
    answer = running.http.post(path, json=body)
    assert answer.status_code == 422
    assert set(answer.json()["error"]) == {"error", "what", "kept", "todo", "exit_code"}


def test_a_number_too_large_for_json_is_refused(running: Running) -> None:
    head = {"Content-Type": "application/json"}
    answer = running.http.post("/button", content='{"ms": 1e400}', headers=head)
    assert answer.status_code == 422


def test_pages_of_other_origins_are_refused(running: Running) -> None:
    http = running.http
    press = {"action": "press"}
    boots = http.get("/state").json()["boots"]
    other = {"Origin": "http://example.org"}
    assert http.post("/button", json=press, headers=other).status_code == 403
    assert http.get("/state", headers={"Host": "example.org"}).status_code == 403
    form = {"Content-Type": "text/plain"}
    assert http.post("/button", content=json.dumps(press), headers=form).status_code == 415
    assert http.get("/state").json()["boots"] == boots


def test_the_page_lists_every_call_and_fetches_nothing(running: Running) -> None:
    page = running.http.get("/docs").text
    for path in ("/state", "/display", "/button", "/power", "/cell", "/clock", "/trace"):
        assert f"<code>{path}</code>" in page
    assert "<script" not in page and "https://" not in page


def test_the_page_reads_as_it_was_meant(running: Running) -> None:
    page = running.http.get("/docs").text
    assert "`" not in page
    assert "integer 1 to 120000, default 120" in page
    assert page.count("Insert or pull the cell.") == 1
    assert "charge in µAh" in page


def test_ports_are_only_for_this_computer(running: Running) -> None:
    assert running.http.base_url.port is not None
    assert listening(running.http.base_url.port) == ["127.0.0.1"]
