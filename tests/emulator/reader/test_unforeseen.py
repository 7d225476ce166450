"""An exception that nobody foresaw, in a command: it is answered and the firmware goes on. Nothing
that was counted is forgotten, and what was open is closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fido2 import cbor
from fido2.ctap2 import ClientPin

from tests.emulator.reader.conftest import Life
from tests.emulator.reader.raw import ASSERT, BIO, CREDENTIALS, HASH, INFO, NEXT, Host, permitted
from tests.emulator.reader.raw import PIN as PIN_COMMAND
from tests.emulator.reader.rig import PIN, Rig

PERMISSION = ClientPin.PERMISSION
OTHER = 0x7F


class _Faulty:
    """A reader whose large blobs have a fault, in a firmware that runs."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.host = Host(rig)
        rig.reader.mcu.prints = True  # the traceback is no crash here
        self.boots = rig.reader.mcu.boots
        assert self.host.status(0x0C, {1: 10, 3: 0}) == 0  # loads the module
        rig.reader.run_for(50)
        link = rig.reader.mcu.link
        assert link is not None and rig.reader.mcu.wait_deadline is not None
        assert link.prompt("import reader.blobs") == ""
        assert link.prompt("reader.blobs.handle = lambda *_: {}['fault']") == ""

    def happen(self) -> None:
        assert self.host.status(0x0C, {1: 10, 3: 0}) == OTHER
        assert self._rig.reader.mcu.boots == self.boots
        assert "KeyError: fault" in self._rig.reader.console


@pytest.fixture
def rig(new_rig: Callable[..., Rig], in_service: Life) -> Rig:
    """Modules come and go as on the board: the prompt changes one of them."""
    return new_rig(in_service, spared=False)


@pytest.fixture
def faulty(rig: Rig) -> _Faulty:
    return _Faulty(rig)


def test_it_is_told_and_the_reader_goes_on(rig: Rig, faulty: _Faulty) -> None:
    faulty.happen()
    assert faulty.host.status(INFO) == 0
    assert ClientPin(rig.ctap()).get_pin_token(PIN)


def test_wrong_pins_in_a_row_stay_counted(rig: Rig, faulty: _Faulty) -> None:
    client = ClientPin(rig.ctap())

    def wrong() -> int:
        shared = client.protocol.encapsulate(faulty.host.ask(PIN_COMMAND, {1: 2, 2: 2})[1][1])
        key, secret = shared
        attempt = client.protocol.encrypt(secret, bytes(16))
        return faulty.host.status(PIN_COMMAND, {1: 2, 2: 9, 3: key, 6: attempt, 9: 4})

    assert [wrong(), wrong()] == [0x31, 0x31]
    faulty.happen()
    assert wrong() == 0x34


def test_the_token_is_void(rig: Rig, faulty: _Faulty) -> None:
    client, token = permitted(rig, PERMISSION.CREDENTIAL_MGMT)
    request = {1: 1, 3: 2, 4: client.protocol.authenticate(token, b"\x01")}
    assert faulty.host.status(CREDENTIALS, request) == 0
    faulty.happen()
    assert faulty.host.status(CREDENTIALS, request) == 0x33


def test_an_enrolment_has_ended(rig: Rig, faulty: _Faulty) -> None:
    client, token = permitted(rig, PERMISSION.BIO_ENROLL)

    def ask(command: int, parameters: dict[int, Any]) -> tuple[int, Any]:
        message = bytes((1, command)) + cbor.encode(parameters)
        param = client.protocol.authenticate(token, message)
        return faulty.host.ask(
            BIO, {1: 1, 2: command, 3: parameters, 4: 2, 5: param}, press="index"
        )

    status, answer = ask(1, {3: 10_000})
    assert status == 0
    finger = answer[4]
    faulty.happen()
    client, token = permitted(rig, PERMISSION.BIO_ENROLL)
    assert ask(2, {1: finger, 3: 10_000})[0] == 0x02


def test_assertions_that_were_to_come_do_not(rig: Rig, faulty: _Faulty) -> None:
    for user in (b"user-1", b"user-2"):
        rig.register(user)
    status, answer = faulty.host.ask(ASSERT, {1: "example.com", 2: HASH}, press="thumb")
    assert status == 0 and answer[5] == 2
    faulty.happen()
    assert faulty.host.status(NEXT) == 0x30
