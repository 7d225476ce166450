"""Secrets stay where they belong: searched for in all that the chain writes, shows or says."""

import base64
import logging
import traceback
from pathlib import Path

import pytest

from tallystick.common.errors import TallyError
from tallystick.common.identity import Identity, kdf3
from tallystick.emulator.devices.card import Card
from tallystick.provisioning.card import oath
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.issuer import select
from tallystick.provisioning.card.scp03 import SecureChannel
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.tools import fresh
from tallystick.tools.bench.station import Station
from tallystick.tools.docked import DockedLink


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every seed that the station makes."""
    made: list[bytes] = []
    original = SoftwareCustody.new_seed

    def new_seed(self: SoftwareCustody, serial: str, card_entropy: bytes) -> object:
        seed = original(self, serial, card_entropy)
        made.append(seed.reveal())
        return seed

    monkeypatch.setattr(SoftwareCustody, "new_seed", new_seed)
    return made


def forms(secret: bytes) -> list[bytes]:
    """How a secret could be written down."""
    return [
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        base64.b64encode(secret).rstrip(b"="),
        base64.b32encode(secret).rstrip(b"="),
        repr(secret).encode()[2:-1],
    ]


def assert_absent(secret: bytes, content: bytes, where: str) -> None:
    for form in forms(secret):
        assert form not in content, f"a secret is in {where}"


def test_nowhere_but_in_the_flash(
    home: Station,
    seeds: list[bytes],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.NOTSET)
    sent = bytearray()
    with fresh.card("nucleo_l476rg") as card:
        card.power_on()
        _record_wire(card, sent)
        home.provision(card, user="alice")
        card.press()
        state = repr(vars(card)) + repr(card.mcu) + repr(home)
        flash = bytes(card.flash.memory)
        trace = card.trace.json_lines()
    (seed,) = seeds
    transport = kdf3(bytes.fromhex("404142434445464748494a4b4c4d4e4f"), b"TS00000001")
    secrets = [seed, *transport]
    assert seed in flash, "the test would see nothing if the seed were not there at all"
    captured = capfd.readouterr()
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(files) >= 2
    for secret in secrets:
        for path, content in files.items():
            assert_absent(secret, content, path.name)
        assert_absent(secret, trace.encode(), "the trace")
        assert_absent(secret, state.encode(), "a repr")
        assert_absent(secret, (captured.out + captured.err + caplog.text).encode(), "output or log")
        assert_absent(secret, bytes(sent), "what the card sent")


def _record_wire(card: Card, sent: bytearray) -> None:
    dock = card.dock

    def recorded(on_send: object = None) -> None:
        def both(data: bytes) -> None:
            sent.extend(data)
            if callable(on_send):
                on_send(data)

        dock(both)

    card.dock = recorded  # type: ignore[method-assign,assignment]


def test_a_failure_half_way_tells_no_secret(home: Station, seeds: list[bytes]) -> None:
    """The registry refuses the second card of a serial number, after it had a seed."""
    for _ in range(2):
        with fresh.card("pico") as card:
            card.power_on()
            try:
                home.provision(card)
            except TallyError as error:
                text = (
                    "".join(traceback.format_exception(error)) + repr(error) + str(error.as_dict())
                )
                frames = "".join(
                    repr(frame.f_locals)
                    for frame, _ in traceback.walk_tb(error.__traceback__)
                    if frame.f_code.co_filename != __file__  # this test knows the seeds
                )
    for seed in seeds:
        assert_absent(seed, text.encode(), "a traceback")
        assert_absent(seed, frames.encode(), "the locals of a traceback")


def test_an_identity_does_not_show_its_keys() -> None:
    identity = Identity.derive("TS00000001", 20260101)
    for key in kdf3(bytes.fromhex("404142434445464748494a4b4c4d4e4f"), b"TS00000001"):
        assert_absent(key, repr(identity).encode(), "a repr")
        assert key in identity.encode()


@pytest.mark.parametrize("board", ["nucleo_l476rg", "pico"])
def test_a_deleted_seed_and_replaced_keys_leave_the_flash(
    home: Station, seeds: list[bytes], board: str
) -> None:
    with fresh.card(board) as card:
        card.power_on()
        home.provision(card)
        for _ in range(20):
            card.press()
            card.run_for(31_000)
        (seed,) = seeds
        assert seed in bytes(card.flash.memory)
        with CardConnection(DockedLink(card)) as connection:
            select(connection, oath.AID)
            channel = SecureChannel.open(connection, home.custody.channel_keys)
            oath.OathSession(channel).reset(Waiting(keepalive=card.press))
        assert seed not in bytes(card.flash.memory)
        card.power_off()
        card.power_on()
        card.press()
        assert card.read_code() is None and not card.frame().blank, "it says that it has no key"
