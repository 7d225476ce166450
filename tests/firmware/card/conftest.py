"""The card's modules in this interpreter, with a store and a terminal that write down what is asked
of them, in order."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

FIRMWARE = Path(__file__).parents[3] / "firmware"
PERIOD = 1 << 30  # of MicroPython's ticks
OURS = ("board", "booted", "card", "lib")


class Aes:
    """As much of MicroPython's as the firmware uses."""

    def __init__(self, key: bytes, mode: int, iv: bytes = b"") -> None:
        kind = {1: modes.ECB, 2: modes.CBC}[mode](*([bytes(iv)] if mode == 2 else []))
        self._cipher = Cipher(algorithms.AES(bytes(key)), kind)

    def encrypt(self, data: bytes, into: bytearray | None = None) -> bytes:
        return self._given(self._cipher.encryptor(), data, into)

    def decrypt(self, data: bytes, into: bytearray | None = None) -> bytes:
        return self._given(self._cipher.decryptor(), data, into)

    def _given(self, way: CipherContext, data: bytes, into: bytearray | None) -> bytes:
        if len(data) % 16:
            raise ValueError("blksize % 16")
        made = way.update(bytes(data))
        if into is not None:
            into[:] = made
        return made


def ticks_diff(later: int, earlier: int) -> int:
    return (later - earlier + PERIOD // 2) % PERIOD - PERIOD // 2


def sleep_ms(ms: int) -> None:
    """By the board that a test gives."""
    sys.modules["board"].sleep_ms(ms)


@pytest.fixture(scope="module")
def load() -> Iterator[Callable[[str], Any]]:
    """Imports a module of the firmware."""
    micropython, cryptolib = ModuleType("micropython"), ModuleType("cryptolib")
    micropython.const = lambda value: value  # type: ignore[attr-defined]
    cryptolib.aes = Aes  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "micropython", micropython)
        patch.setitem(sys.modules, "cryptolib", cryptolib)
        for name in ("board", "booted", "framebuf"):
            patch.setitem(sys.modules, name, ModuleType(name))
        patch.setattr(time, "ticks_diff", ticks_diff, raising=False)
        patch.setattr(time, "sleep_ms", sleep_ms, raising=False)
        patch.syspath_prepend(str(FIRMWARE))
        yield importlib.import_module
        for name in [one for one in sys.modules if one.split(".")[0] in OURS]:
            del sys.modules[name]


class Store:
    """A card in service, with a credential."""

    def __init__(self, done: list[Any]) -> None:
        self.done = done
        self.serial = b"TS00000001"
        self.format = 1
        self.life_cycle = 0x0F
        self.kvn = 1
        self.keys = bytes(range(48))
        self.name = b"ada"
        self.seed = b"s" * 20
        self.digits = 6
        self.moving_factor = 70_000
        self.presses, self.cold_starts, self.worn = 0x01020304, 0x0A0B0C0D, (0x05060708, 9)

    def commit(self, **changes: Any) -> None:
        self.done.append(("commit", changes))
        for name, value in changes.items():
            assert hasattr(self, name)
            setattr(self, name, value)

    def take_code(self) -> str:
        self.done.append("take code")
        return "755224"

    def take_hmac(self) -> bytes:
        self.done.append("take hmac")
        return bytes(range(20))

    def wear(self) -> tuple[int, int]:
        return self.worn


class Terminal:
    """Somebody presses whenever it is asked for, the cell is full."""

    def __init__(self, done: list[Any]) -> None:
        self.done = done
        self.presses = True
        self.cell_state = 0
        self.drawn = 0

    def random(self, n: int) -> bytes:
        self.drawn += 1
        return bytes(range(self.drawn, self.drawn + n))

    def board_name(self) -> str:
        return "pipes"

    def press(self, what: str) -> bool:
        self.done.append(("press", what))
        return self.presses

    def cell(self) -> tuple[int, int]:
        return 0x0B54, self.cell_state

    def pause(self) -> None:
        self.done.append("pause")

    def extend(self) -> None:
        self.done.append("extend")

    def restart(self) -> None:
        self.done.append("restart")


@pytest.fixture
def held(load: Callable[[str], Any]) -> Any:
    """With a session of level 33 with the firm's keys; `done` is what happened to it."""
    done: list[Any] = []
    found = load("card.applets").Applets(Store(done), Terminal(done))
    found.done = done
    found.secure = True
    found.session = SimpleNamespace(level=0x33, open=True, close=lambda: done.append("closed"))
    return found


def item(tag: int, value: bytes) -> bytes:
    return bytes((tag, len(value))) + value


@pytest.fixture
def ask(load: Callable[[str], Any], held: Any) -> Callable[..., bytes | int]:
    """Has a module execute a command. The answer, or the status word of a refusal."""

    def asked(
        module: str,
        ins: int,
        p1: int = 0,
        p2: int = 0,
        data: bytes = b"",
        cla: int = 0x80,
        le: int = 0,
    ) -> bytes | int:
        command = SimpleNamespace(
            cla=cla, ins=ins, p1=p1, p2=p2, data=memoryview(bytearray(data)), le=le
        )
        try:
            answer = load(module).process(held, command)
        except load("lib.apdu").Refused as refused:
            return int(refused.sw)
        assert isinstance(answer, bytes)
        return answer

    return asked
