"""A stand-in for another maker's OATH applet: no virtual one is installable from a package index or
from Debian, so this speaks the published YKOATH protocol, written from its description. The stock
client (yubikit) is the judge of whether it speaks it rightly (test_foreign.py)."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from tallystick.common.errors import NoDeviceError
from tallystick.provisioning.card.connection import CommandApdu, Response
from tallystick.provisioning.card.t1 import Waiting

MANAGEMENT = bytes.fromhex("A000000527471117")
AID = bytes.fromhex("A0000005272101")
HASHES = {1: "sha1", 2: "sha256", 3: "sha512"}
ROOM = 32


class Refused(Exception):
    pass


@dataclass
class Account:
    kind: int  # type and algorithm, as in PUT
    digits: int
    key: bytes
    touch: bool
    factor: int


@dataclass
class ForeignApplet:
    """SELECT, PUT, DELETE, RESET, LIST, CALCULATE, SEND REMAINING. before: called with each
    instruction, may raise; touches: how often it was touched."""

    version: tuple[int, int, int] = (5, 4, 3)
    identifier: bytes = bytes.fromhex("0102030405060708")
    locked: bool = False
    accounts: dict[bytes, Account] = field(default_factory=dict)
    touches: int = 0
    refuses: dict[int, int] = field(default_factory=dict)  # instruction → status word
    seen: list[int] = field(default_factory=list)
    gone: bool = False
    number: int = 0  # as printed on it; 0: it has no management applet
    _rest: bytes = b""

    def process(self, apdu: bytes) -> bytes:
        cla, ins, p1, p2 = apdu[:4]
        if self.gone:
            raise NoDeviceError("The device went away.")
        self.seen.append(ins)
        try:
            if cla != 0:
                raise Refused("6E00")
            if ins in self.refuses:
                raise Refused(f"{self.refuses[ins]:04X}")
            data = apdu[5 : 5 + apdu[4]] if len(apdu) > 5 else b""
            if len(apdu) > 7 and apdu[4] == 0:  # ISO/IEC 7816-4, 5.1: extended
                data = apdu[7 : 7 + int.from_bytes(apdu[5:7], "big")]
            self._rest = self._answer(ins, p1, p2, data)
        except Refused as refused:
            return bytes.fromhex(str(refused))
        chunk, self._rest = self._rest[:200], self._rest[200:]
        return chunk + (b"\x61\xff" if self._rest else b"\x90\x00")

    def _answer(self, ins: int, p1: int, p2: int, data: bytes) -> bytes:
        if ins == 0xA4 and data == MANAGEMENT and self.number:
            self._rest = b""
            return b"management"
        if ins == 0x1D and self.number:
            told = tlv(0x01, b"\x02\x3f") + tlv(0x02, self.number.to_bytes(4, "big"))
            return bytes((len(told),)) + told
        if ins == 0xA4:
            if data != AID:
                raise Refused("6A82")
            salt = tlv(0x71, self.identifier)
            lock = tlv(0x74, bytes(8)) + tlv(0x7B, b"\x01") if self.locked else b""
            return tlv(0x79, bytes(self.version)) + salt + lock
        if ins == 0xA5:
            return self._rest
        if self.locked:
            raise Refused("6982")
        if ins == 0x01:
            return self._put(data)
        if ins == 0x02:
            if self.accounts.pop(self._name(data), None) is None:
                raise Refused("6984")
            return b""
        if ins == 0x04 and (p1, p2) == (0xDE, 0xAD):
            self.accounts.clear()
            return b""
        if ins == 0xA1:
            return b"".join(
                tlv(0x72, bytes((one.kind,)) + name) for name, one in self.accounts.items()
            )
        if ins == 0xA2:
            return self._calculate(data, truncate=p2 == 1)
        raise Refused("6D00")

    @staticmethod
    def _name(data: bytes) -> bytes:
        if data[:1] != b"\x71":
            raise Refused("6A80")
        return data[2 : 2 + data[1]]

    def _put(self, data: bytes) -> bytes:
        name = self._name(data)
        rest = data[2 + len(name) :]
        if rest[:1] != b"\x73" or not 1 <= len(name) <= 64:
            raise Refused("6A80")
        key, rest = rest[2 : 2 + rest[1]], rest[2 + rest[1] :]
        touch, factor = False, 0
        while rest:
            if rest[0] == 0x78:  # a property has no length
                touch, rest = bool(rest[1] & 2), rest[2:]
            elif rest[0] == 0x7A:
                factor, rest = int.from_bytes(rest[2:6], "big"), rest[6:]
            else:
                raise Refused("6A80")
        if name not in self.accounts and len(self.accounts) >= ROOM:
            raise Refused("6A84")
        self.accounts[name] = Account(key[0], key[1], key[2:], touch, factor)
        return b""

    def _calculate(self, data: bytes, *, truncate: bool) -> bytes:
        name = self._name(data)
        account = self.accounts.get(name)
        if account is None:
            raise Refused("6984")
        challenge = data[2 + len(name) + 2 :]
        self.touches += account.touch
        if account.kind & 0xF0 == 0x10:
            challenge = account.factor.to_bytes(8, "big")
            account.factor += 1
        digest = hmac.digest(account.key, challenge, HASHES[account.kind & 0x0F])
        if not truncate:
            return tlv(0x75, bytes((account.digits,)) + digest)
        at = digest[-1] & 0x0F
        word = bytes((digest[at] & 0x7F,)) + digest[at + 1 : at + 4]
        return tlv(0x76, bytes((account.digits,)) + word)


def tlv(tag: int, value: bytes) -> bytes:
    return bytes((tag, len(value))) + value


class Plain:
    """The applet as the station's transmitter."""

    def __init__(self, applet: ForeignApplet) -> None:
        self.applet = applet

    def transmit(self, command: CommandApdu, waiting: Waiting | None = None) -> Response:
        data = b""
        apdu = command.encode()
        while True:
            raw = self.applet.process(apdu)
            data += raw[:-2]
            if raw[-2] != 0x61:
                return Response(data, int.from_bytes(raw[-2:], "big"))
            apdu = CommandApdu(0, 0xA5, le=0).encode()


def code(applet: ForeignApplet, account: str) -> str:
    """What the device would show next."""
    one = applet.accounts[account.encode()]
    digest = hmac.digest(one.key, one.factor.to_bytes(8, "big"), hashlib.sha1)
    at = digest[-1] & 0x0F
    number = int.from_bytes(digest[at : at + 4], "big") & 0x7FFF_FFFF
    return str(number % 10**one.digits).zfill(one.digits)
