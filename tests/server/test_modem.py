"""Text messages by a modem: what is asked of it, held to a stand-in that knows the documents."""

from __future__ import annotations

import os
import re
import threading
import tty
from contextlib import contextmanager

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tallystick.common.errors import BadInputError, UnreachableError
from tallystick.server.messages import modem as messages_modem
from tallystick.server.messages.gateways import Letter, gateway_from
from tallystick.server.messages.modem import packed, parts_of, pdu_of
from tallystick.server.operating.cli import server as command

# 3GPP TS 23.038, 6.2.1, as far as tests write with it.
ALPHABET = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENDED = dict(zip(b"\x14\x28\x29\x2f\x3c\x3d\x3e\x40\x65", "^{}\\[~]|€", strict=True))


def read(pdu: bytes) -> tuple[str, str, tuple[int, int, int] | None]:
    """An SMS-SUBMIT, by TS 23.040 alone. → number, text, (reference, parts, number) where joined"""
    bits = "".join(f"{one:08b}" for one in pdu[:1])
    assert bits[6:] == "01" and bits[3:5] == "10", "SMS-SUBMIT with a relative validity"
    digits, kind = pdu[2], pdu[3]
    assert kind == 0x91, "an international number"
    octets = (digits + 1) // 2
    number = "".join(f"{one & 15:X}{one >> 4:X}" for one in pdu[4 : 4 + octets])
    assert number[digits:] in ("", "F") and number[:digits].isdecimal()
    protocol, coding, validity, length = pdu[4 + octets : 8 + octets]
    assert protocol == 0 and coding in (0, 8) and validity < 144
    data = pdu[8 + octets :]
    joined, before = None, 0
    if bits[1] == "1":
        assert data[:3] == b"\x05\x00\x03"
        joined, before = (data[3], data[4], data[5]), 6
    if coding == 8:
        assert length == len(data) <= 140
        return number[:digits], data[before:].decode("utf-16-be"), joined
    assert length <= 160 and len(data) == -(-length * 7 // 8) <= 140
    stream = "".join(f"{one:08b}"[::-1] for one in data)
    septets = [int(stream[at * 7 : at * 7 + 7][::-1], 2) for at in range(length)]
    text, escaped = "", False
    for one in septets[-(-before * 8 // 7) :]:
        if one == 0x1B:
            escaped = True
            continue
        text += EXTENDED[one] if escaped else ALPHABET[one]
        escaped = False
    return number[:digits], text, joined


class Modem:
    """Answers as TS 27.005 and 27.007 have it, with an echo until it is told not to."""

    def __init__(self, *, pin: str = "", refuses: str = "", silent: bool = False) -> None:
        self.ours, theirs = os.openpty()
        tty.setraw(theirs)
        self.path, self._theirs = os.ttyname(theirs), theirs
        self.pin, self.refuses, self.silent = pin, refuses, silent
        self.commands: list[str] = []
        self.taken: list[tuple[str, str, tuple[int, int, int] | None]] = []
        self._echo, self._mode, self._waits = True, "", 0
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def close(self) -> None:
        os.close(self._theirs)
        self._thread.join(10)
        os.close(self.ours)

    def _work(self) -> None:
        said = b""
        while True:
            try:
                said += os.read(self.ours, 1000)
            except OSError:
                return
            while (found := re.match(rb"([^\r\x1a\x1b]*)([\r\x1a\x1b])", said)) is not None:
                said = said[found.end() :]
                self._asked(found[1].decode(), found[2])

    def _asked(self, text: str, end: bytes) -> None:
        if self.silent:
            return
        if end == b"\x1b":
            self._waits = 0
            return
        if self._echo:
            self._say(text + "\r")
        if end == b"\x1a":
            self._say(self._message(text))
            return
        self.commands.append(text)
        if text == "ATE0":
            self._echo = False
        self._say(self._answer(text))

    def _answer(self, text: str) -> str:
        if text == "AT+CPIN?":
            return (
                "\r\n+CPIN: SIM PIN\r\n\r\nOK\r\n" if self.pin else "\r\n+CPIN: READY\r\n\r\nOK\r\n"
            )
        if text.startswith("AT+CPIN="):
            right = text == f"AT+CPIN={self.pin}"
            self.pin = "" if right else self.pin
            return "\r\nOK\r\n" if right else "\r\n+CME ERROR: 16\r\n"
        if text == "AT+CSQ":
            return "\r\n+CSQ: 21,99\r\n\r\nOK\r\n"
        if text.startswith("AT+CMGF="):
            self._mode = text[-1]
            return "\r\nOK\r\n"
        if text.startswith("AT+CMGS="):
            if self._mode != "0":
                return "\r\n+CMS ERROR: 302\r\n"
            self._waits = int(text[8:])
            return "\r\n> "
        return "\r\nOK\r\n" if text in ("AT", "ATE0") else "\r\nERROR\r\n"

    def _message(self, text: str) -> str:
        pdu = bytes.fromhex(text)
        assert pdu[0] == 0 and len(pdu) == self._waits + 1
        if self.refuses:
            return f"\r\n{self.refuses}\r\n"
        self.taken.append(read(pdu[1:]))
        return f"\r\n+CMGS: {len(self.taken)}\r\n\r\nOK\r\n"

    def _say(self, text: str) -> None:
        os.write(self.ours, text.encode())


@contextmanager
def modem(**more):
    made = Modem(**more)
    try:
        yield made
    finally:
        made.close()


def send(made: Modem, text: str, to: str = "+4712345678", more: str = "") -> str:
    url = f"modem://{made.path}{more}"
    return gateway_from(url, sender="x").send(Letter(to, "", text))


def test_septets_as_published():
    assert (
        packed(b"hellohello").hex() == "e8329bfd4697d9ec37"
    )  # in use as an example since GSM 03.40
    assert packed(b"hello", 1).hex() == (int.from_bytes(packed(b"hello"), "little") * 2).to_bytes(
        5, "little"
    ).hex()  # fmt: skip


def test_a_whole_pdu():
    assert pdu_of("+46708251358", b"hellohello", 0, joined=False).hex().upper() == (
        "11000B916407281553F800000B0AE8329BFD4697D9EC37"
    )


@given(
    st.text(
        st.sampled_from([one for one in ALPHABET if one not in "\x1b"]), min_size=1, max_size=400
    )
    | st.text(st.characters(min_codepoint=32, max_codepoint=0xD7FF), min_size=1, max_size=200)
)
def test_what_is_sent_is_what_is_read(text):
    parts, coding, kind = parts_of(text)
    found = [read(pdu_of("+4712345678", one, coding, joined=bool(kind & 64))) for one in parts]
    assert "".join(one for _, one, _ in found) == text
    if len(parts) > 1:
        assert [joined[1:] for _, _, joined in found] == [
            (len(parts), number) for number in range(1, len(parts) + 1)
        ]


def test_a_code_arrives():
    with modem() as made:
        assert send(made, "123456 is your code") == "taken as 1"
        assert made.taken == [("4712345678", "123456 is your code", None)]
        assert made.commands[:4] == ["AT", "ATE0", "AT+CPIN?", "AT+CMGF=0"]
        assert send(made, "Ваш код 123456: " + "й" * 70) == "taken as 2, 3"
        assert {joined[1] for *_, joined in made.taken[1:]} == {2}


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"refuses": "+CMS ERROR: 500"}, r"\+CMS ERROR: 500 to AT\+CMGS"),
        ({"refuses": "ERROR"}, r"ERROR to AT\+CMGS"),
        ({"pin": "1234"}, "asks for something"),
        ({"silent": True}, "no answer to AT"),
    ],
)
def test_what_it_refuses_is_told_without_the_code(monkeypatch, how, words):
    monkeypatch.setattr(messages_modem, "ANSWER_S", 0.5 if "silent" in how else 10.0)
    with modem(**how) as made, pytest.raises(UnreachableError, match=words) as refused:
        send(made, "123456 is your code")
    assert "123456" not in str(refused.value)


def test_a_pin_is_given_once_and_told_to_nobody(tmp_path):
    file = tmp_path / "pin"
    file.write_text("4321\n")
    file.chmod(0o600)
    with modem(pin="4321") as made:
        assert send(made, "hello", more=f"?pin={file}&baud=9600") == "taken as 1"
    with modem(pin="9999") as made:
        with pytest.raises(UnreachableError, match="CME ERROR: 16") as refused:
            send(made, "hello", more=f"?pin={file}")
        assert "4321" not in str(refused.value)
        assert sum(one.startswith("AT+CPIN=") for one in made.commands) == 1
        assert "4321" not in repr(gateway_from(f"modem://{made.path}?pin={file}", sender="x"))


def test_addresses_that_are_wrong(tmp_path):
    readable, wrong = tmp_path / "readable", tmp_path / "wrong"
    for file, mode in ((readable, 0o644), (wrong, 0o600)):
        file.write_text("12ab")
        file.chmod(mode)
    for url in (
        "modem://host/dev/ttyUSB0", "modem:", "modem:///dev/x?baud=fast",
        f"modem:///dev/x?pin={readable}", f"modem:///dev/x?pin={wrong}", "modem:///x?pin=/nowhere",
    ):  # fmt: skip
        with pytest.raises(BadInputError):
            gateway_from(url, sender="x")
    with pytest.raises(UnreachableError, match="/dev/nowhere"):
        gateway_from("modem:///dev/nowhere", sender="x").send(Letter("+4712345678", "", "hello"))


def test_by_the_console(tmp_path, monkeypatch):
    db = ["--db", f"sqlite:///{tmp_path / 's.db'}", "--key-file", str(tmp_path / "keys")]
    with modem() as made:
        monkeypatch.setenv("TALLY_SERVER_SMS", f"modem://{made.path}")
        done = CliRunner().invoke(command, ["message", "test", "--to", "+4712345678", *db])
        assert done.exit_code == 0 and "taken as 1" in done.output
        said = CliRunner().invoke(command, ["doctor", *db]).output
        assert "+CSQ: 21,99" in said
    monkeypatch.setenv("TALLY_SERVER_SMS", "modem:///dev/nowhere")
    done = CliRunner().invoke(command, ["message", "test", "--to", "+4712345678", *db])
    assert isinstance(done.exception, UnreachableError)
    assert "nothing tries it again" in done.exception.kept
