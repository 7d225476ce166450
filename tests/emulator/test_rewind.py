"""A card with a time line: as it was then, and another future from there."""

from __future__ import annotations

import os
import signal
import threading
import time
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.common.errors import BadInputError, TallyError
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.device import FirmwareCrashError
from tallystick.emulator.devices.project import Project
from tallystick.emulator.serving.control import create_app, state
from tallystick.emulator.serving.rewind import RewindService
from tallystick.emulator.serving.service import Service
from tallystick.tools.image.folder import from_folder, of_project
from tallystick.tools.image.watch import restart

MAIN = """import time
from machine import Pin

lamp = Pin(16, Pin.OUT)
key = Pin(15, Pin.IN, Pin.PULL_UP)
try:
    with open("n") as file:
        n = int(file.read())
except OSError:
    n = 0
print("start", n)
while True:
    if not key.value():
        n += 1
        with open("n", "w") as file:
            file.write(str(n))
        print("pressed", n)
    lamp.value(not lamp.value())
    time.sleep_ms(50)
"""
TOML = """board = "pico"
[[part]]
kind = "led"
name = "lamp"
pin = 16
[[part]]
kind = "button"
name = "key"
pin = 15
"""


def seen(card: Card) -> dict[str, Any]:
    """All that can be seen of it."""
    whole = state(card, "")
    return whole | {"flash": hash(bytes(card.flash.memory)), "events": len(card.trace.events)}


def make(folder: Path, main: str = MAIN) -> RewindService:
    (folder / "main.py").write_text(main)
    (folder / "board.toml").write_text(TOML)
    project = Project.find(folder)
    service = RewindService(Card(of_project(project), seed=3, fittings=project.fittings()))
    service.start()
    return service


@pytest.fixture
def held(tmp_path):
    made = []

    def hold(main: str = MAIN) -> RewindService:
        made.append(make(tmp_path, main))
        return made[-1]

    yield hold
    for service in made:
        service.close()


def test_every_instant_is_as_it_was(held):
    """Flash, parts, console and all, on the way back and on the way forward again."""
    service = held()
    was = [(service.now_us, service.look(seen))]
    for turn in range(60):
        if turn % 7 == 3:
            service.call(methodcaller("do", "key", "down" if turn % 2 else "up"))
        elif turn == 20:
            service.call(Card.power_off)
        elif turn == 22:
            service.call(Card.power_on)
        else:
            service.pass_time(700)
        was.append((service.now_us, service.look(seen)))
    last = dict(was)  # of several at one instant the last
    for at in (*reversed(last), *last):
        service.go_to(at)
        assert service.now_us == at and service.look(seen) == last[at]
    assert not service.past and service.end_us == was[-1][0]


def test_in_the_middle_of_a_wait_it_is_as_if_that_had_ended_there(held):
    service = held()
    service.pass_time(10_000)
    service.go_to(4_321_000)
    assert service.past and service.now_us == 4_321_000
    middle = service.look(seen)
    service.go_to(service.end_us)
    assert not service.past
    service.go_to(4_321_000)
    service.call(methodcaller("do", "key", "press"))  # another future
    assert not service.past and service.end_us < 6_000_000
    assert "pressed" not in middle["console"] and "pressed 1" in service.look(seen)["console"]
    service.go_to(4_321_000)
    assert service.look(seen) == middle
    # A look at the past changes nothing of it.
    service.go_to(service.end_us)
    assert "pressed 1" in service.look(seen)["console"]


@settings(max_examples=15, deadline=None)
@given(
    way=st.lists(
        st.one_of(
            st.tuples(st.just("wait"), st.integers(1, 5000)),
            st.tuples(st.just("press"), st.integers(60, 400)),
            st.tuples(st.just("cut"), st.just(0)),
            st.tuples(st.just("back"), st.integers(0, 100)),
        ),
        max_size=25,
    )
)
def test_a_life_with_detours_is_the_one_without(tmp_path_factory, way):
    """What was gone back from has left no trace."""
    service = make(tmp_path_factory.mktemp("detours"))
    try:
        for kind, number in way:
            if kind == "wait":
                service.pass_time(number)
            elif kind == "press":
                service.call(methodcaller("do", "key", "press", number))
            elif kind == "cut":
                service.call(Card.power_off)
                service.call(Card.power_on)
            else:
                service.go_to(service.end_us * number // 100)  # its power-on at the earliest
        service.call(Card.settle)  # where it stands is the end
        deeds = [(deed.packed, deed.after_us) for deed in service._deeds]
        after = service.look(seen)
    finally:
        service.close()
    again = make(tmp_path_factory.mktemp("straight"))
    try:
        import pickle

        for packed, at in deeds[1:]:  # after its power-on
            again.call(pickle.loads(packed))
            assert again.now_us == at
        assert again.look(seen) == after
    finally:
        again.close()


def test_a_crash_is_of_its_own_time(held):
    service = held("import time\ntime.sleep(5)\n1/0\n")
    with pytest.raises(FirmwareCrashError, match="ZeroDivisionError"):
        service.pass_time(10_000)
    assert "ZeroDivisionError" in service.crash
    service.go_to(2_000_000)
    assert service.crash == "" and service.look(seen)["state"] == "running"
    service.go_to(service.end_us)
    assert "ZeroDivisionError" in service.crash
    assert service.look(seen)["state"] == "crashed"
    service.call(Card.power_off)
    service.call(Card.power_on)
    assert service.look(seen)["state"] == "running"


def test_a_firmware_that_was_changed_is_gone_back_to(held, tmp_path):
    """As --watch restarts it."""
    service = held()
    service.pass_time(3000)
    (tmp_path / "main.py").write_text("print('another')\n" + MAIN)
    before = service.now_us
    service.call(partial(restart, image=from_folder(tmp_path, "pico")))
    assert "another" in service.look(seen)["console"]
    service.go_to(before - 1_000_000)
    assert "another" not in service.look(seen)["console"]
    service.pass_time(1000)
    assert "another" not in service.look(seen)["console"]


def test_what_is_wrong_is_told_and_changes_nothing(held):
    service = held()
    service.pass_time(1000)
    before = service.look(seen)
    with pytest.raises(BadInputError, match="There is no part 'nose'"):
        service.call(methodcaller("do", "nose", "press"))
    assert service.look(seen) == before
    for at in (-5, 1 << 60):
        service.go_to(at)
    assert service.look(seen) == before and not service.past


def test_when_its_process_is_gone_it_says_so(held):
    service = held()
    os.kill(service._pid, signal.SIGKILL)
    with pytest.raises(TallyError, match="process has ended"):
        service.pass_time(1000)


def test_an_endless_loop_holds_nobody_up(tmp_path):
    service = make(tmp_path, "import time\ntime.sleep(1)\nwhile True:\n    pass\n")
    told: list[TallyError] = []

    def wait() -> None:
        try:
            service.pass_time(5000)
        except TallyError as error:
            told.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not service._lock._is_owned() and service._lock.acquire(blocking=False):
        service._lock.release()  # until the other has it
    began = time.monotonic()
    service.close()
    waiting.join(30)
    assert told and time.monotonic() - began < 30  # the loop is given up after 60


def test_over_http(held):
    service = held()
    with TestClient(create_app(service), base_url="http://127.0.0.1") as client:
        client.post("/clock", json={"advance_ms": 5000}).raise_for_status()
        client.post("/parts/key", json={"action": "press"}).raise_for_status()
        whole = client.get("/time").json()
        assert not whole["past"] and whole["now_ms"] == whole["end_ms"] > 5000
        assert client.post("/time", json={"at_ms": 1500}).json()["past"]
        assert client.get("/state").json()["clock_ms"] == 1500
        assert "pressed" not in client.get("/state").json()["console"]
        assert client.get("/display?format=text").status_code == 200
        assert "pressed" not in client.get("/trace").text
        assert client.post("/time", json={"at_ms": -1}).status_code == 422
        assert client.post("/clock", json={"advance_ms": 10}).json()["clock_ms"] == 1510
        assert client.get("/time").json()["end_ms"] == 1510


def test_a_plain_service_has_no_time_line(tmp_path):
    (tmp_path / "main.py").write_text(MAIN)
    service = Service(Card(from_folder(tmp_path, "pico")))
    with TestClient(create_app(service), base_url="http://127.0.0.1") as client:
        answer = client.get("/time")
        assert not answer.is_success and "keeps no time line" in answer.text
    service.close()


def test_many_instants_are_kept_by_few_processes(held, monkeypatch):
    """They are thinned, and every instant can still be gone to."""
    monkeypatch.setattr("tallystick.emulator.serving.rewind._MOST", 12)
    service = held()
    service._spacing_s = 0.0
    for _ in range(60):
        service.pass_time(100)
    assert len(service._keepers) <= 13
    for at in range(500_000, service.end_us, 500_000):
        service.go_to(at)
        assert service.now_us == at
