"""A card in memory for unit tests of the station: the wire contract of protocols.md written a
second time, in plain Python, with places to break it. What the real firmware does is tested against
the emulator."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import pyotp
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

from tallystick.common.errors import NoDeviceError
from tallystick.common.identity import DEVELOPMENT_MASTER, kdf3

OATH_AID = bytes.fromhex("A0000005272101")
ISSUER_AID = bytes.fromhex("A000000151000000")


def cmac(key: bytes, message: bytes) -> bytes:
    mac = CMAC(algorithms.AES(key))
    mac.update(message)
    return mac.finalize()


def ecb(key: bytes, block: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)


def crc_x25(data: bytes) -> bytes:
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0x8408 if value & 1 else value >> 1
    return (value ^ 0xFFFF).to_bytes(2, "big")


class Refused(Exception):
    pass


@dataclass
class Session:
    enc: bytes
    mac: bytes
    rmac: bytes
    host_cryptogram: bytes
    chain: bytes = bytes(16)
    counter: int = 0
    open: bool = False


@dataclass
class MemoryCard:
    """The persistent state of a card, and its commands."""

    serial: str = "TS00000001"
    version: bytes = bytes((0, 1, 0)) + b"memory"
    kvn: int = 0xFF
    life_cycle: int = 1
    keys: tuple[bytes, bytes, bytes] = ()
    name: bytes = b""
    seed: bytes = b""
    digits: int = 0
    factor: int = 0
    pressed: bool = True
    commands: list[bytes] = field(default_factory=list)
    challenges: Callable[[int], bytes] = lambda size: hashlib.sha256(b"card").digest()[:size]
    before: Callable[[int], None] | None = None  # called with the command's number, may raise
    after: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        self.keys = self.keys or kdf3(DEVELOPMENT_MASTER, self.serial.encode())
        self.power_on()

    def power_on(self) -> None:
        self.session: Session | None = None
        self.oath = False

    def process(self, apdu: bytes) -> bytes:
        number = len(self.commands)
        self.commands.append(apdu[:4])
        if self.before is not None:
            self.before(number)
        try:
            answer = self._process(apdu)
        except Refused as refused:
            answer = bytes.fromhex(str(refused))
        if self.after is not None:
            self.after(number)
        return answer

    def _process(self, apdu: bytes) -> bytes:
        cla, ins, p1, p2 = apdu[:4]
        data = apdu[5 : 5 + apdu[4]] if len(apdu) > 5 else b""
        le = apdu[-1] if len(apdu) == 5 or len(apdu) == 6 + len(data) else 0
        if cla & 4:
            return self._secure(apdu[:4], data, le)
        if cla == 0 and ins == 0xA4 and p1 == 4:
            self.session = None
            return self._select(data) + b"\x90\x00"
        if cla == 0x80 and ins == 0x50:
            return self._initialize(p1, data) + b"\x90\x00"
        return self._plain(cla, ins, p1, p2, data, le, secure=False) + b"\x90\x00"

    def _select(self, aid: bytes) -> bytes:
        if aid not in (OATH_AID, ISSUER_AID):
            raise Refused("6A82")
        self.oath = aid == OATH_AID
        if not self.oath:
            return bytes.fromhex("6F108408A000000151000000A5049F6501FF")
        salt = hashlib.sha256(self.serial.encode()).digest()[:8]
        return bytes.fromhex("7903050700") + b"\x71\x08" + salt

    def _initialize(self, kvn: int, host: bytes) -> bytes:
        if self.life_cycle == 0xFF:
            raise Refused("6985")
        if kvn not in (0, self.kvn):
            raise Refused("6A88")
        challenge = self.challenges(8)
        context = host + challenge

        def kdf(key: bytes, constant: int, bits: int) -> bytes:
            head = bytes(11) + bytes((constant, 0)) + bits.to_bytes(2, "big") + b"\x01"
            return cmac(key, head + context)[: bits // 8]

        enc, mac, _ = self.keys
        s_mac = kdf(mac, 6, 128)
        self.session = Session(kdf(enc, 4, 128), s_mac, kdf(mac, 7, 128), kdf(s_mac, 1, 64))
        head = self.serial.encode() + bytes((self.kvn, 3, 0x60))
        return head + challenge + kdf(s_mac, 0, 64)

    def _secure(self, header: bytes, data: bytes, le: int) -> bytes:
        session = self.session
        if session is None or len(data) < 8:
            raise Refused("6982")
        body, mac = data[:-8], data[-8:]
        session.chain = cmac(session.mac, session.chain + header + bytes((len(data),)) + body)
        if session.chain[:8] != mac:
            self.session = None
            raise Refused("6988")
        if header[1] == 0x82:
            if body != session.host_cryptogram or header[2] != 0x33:
                self.session = None
                raise Refused("6982")
            session.open = True
            return b"\x90\x00"
        if not session.open:
            raise Refused("6982")
        session.counter += 1
        if body:
            body = self._crypt(session, b"\0", body, decrypt=True).rstrip(b"\0")[:-1]
        cla, ins, p1, p2 = header
        answer = self._plain(cla & ~4, ins, p1, p2, body, le, secure=True)
        if answer:
            padded = answer + b"\x80" + bytes(-(len(answer) + 1) % 16)
            answer = self._crypt(session, b"\x80", padded, decrypt=False)
        rmac = cmac(session.rmac, session.chain + answer + b"\x90\x00")[:8]
        return answer + rmac + b"\x90\x00"

    def _crypt(self, session: Session, first: bytes, data: bytes, *, decrypt: bool) -> bytes:
        iv = ecb(session.enc, first + session.counter.to_bytes(15, "big"))
        cipher = Cipher(algorithms.AES(session.enc), modes.CBC(iv))
        return (cipher.decryptor() if decrypt else cipher.encryptor()).update(data)

    def _plain(
        self, cla: int, ins: int, p1: int, p2: int, data: bytes, le: int, *, secure: bool
    ) -> bytes:
        if cla == 0x80 and ins == 0xCA:
            return self._get_data(p1 << 8 | p2)
        if cla == 0 and ins == 0x84:
            return self.challenges(32)[:le]
        if cla == 0x80 and ins == 0xD8:
            return self._put_key(data, secure)
        if cla == 0x80 and ins == 0xF0:
            if not secure or self.kvn == 0xFF:
                raise Refused("6982")
            if p2 < self.life_cycle:
                raise Refused("6985")
            self.life_cycle = p2
            if p2 == 0xFF:
                self.name = self.seed = b""
                self.keys = (bytes(16),) * 3
            return b""
        if cla == 0 and self.oath:
            return self._oath(ins, data, secure)
        raise Refused("6D00")

    def _get_data(self, tag: int) -> bytes:
        values = {
            0xDF20: self.serial.encode(),
            0xDF21: self.version,
            0xDF22: bytes.fromhex("0BB800"),
            0xDF23: bytes(12) + b"\x01",
            0xDF24: bytes((self.life_cycle,)),
            0x00E0: bytes.fromhex("E0 12")
            + b"".join(bytes((0xC0, 4, n, self.kvn, 0x88, 0x10)) for n in (1, 2, 3)),
        }
        if tag not in values:
            raise Refused("6A88")
        return values[tag]

    def _need(self, secure: bool) -> None:
        if not secure:
            raise Refused("6982")
        if self.life_cycle == 0x0F and not self.pressed:
            raise Refused("6985")

    def _put_key(self, data: bytes, secure: bool) -> bytes:
        self._need(secure)
        keys, answer = [], data[:1]
        for i in range(3):
            block = data[1 + 22 * i : 23 + 22 * i]
            assert block[:2] == b"\x88\x10" and block[18] == 3
            cipher = Cipher(algorithms.AES(self.keys[2]), modes.CBC(bytes(16)))
            key = cipher.decryptor().update(block[2:18])
            if ecb(key, b"\1" * 16)[:3] != block[19:]:
                raise Refused("6A80")
            keys.append(key)
            answer += block[19:]
        self.keys, self.kvn = tuple(keys), data[0]
        self.life_cycle = max(self.life_cycle, 7)
        return answer

    def _oath(self, ins: int, data: bytes, secure: bool) -> bytes:
        fields = {}
        while data:
            fields[data[0]] = data[2 : 2 + data[1]]
            data = data[2 + data[1] :]
        name = fields.get(0x71, b"")
        if ins == 0xA1:
            entry = b"\x11" + self.name
            return b"\x72" + bytes((len(entry),)) + entry if self.name else b""
        if ins == 0x01:
            if self.name not in (b"", name):
                raise Refused("6A84")
            self._need(secure)
            key = fields[0x73]
            self.name, self.digits, self.seed, self.factor = name, key[1], key[2:], 0
            return b""
        if ins == 0x04:
            self._need(secure)
            self.name = self.seed = b""
            return b""
        if not self.name or name != self.name:
            raise Refused("6984")
        if ins == 0x02:
            self._need(secure)
            self.name = self.seed = b""
            return b""
        if ins == 0xA2:
            free = self.life_cycle == 7 and secure and self.kvn != 0xFF
            if not free and not self.pressed:
                raise Refused("6985")
            code = int(self.code(self.factor))
            self.factor += 1
            return bytes((0x76, 5, self.digits)) + code.to_bytes(4, "big")
        raise Refused("6D00")

    def code(self, factor: int) -> str:
        import base64

        key = base64.b32encode(self.seed).decode()
        return pyotp.HOTP(key, digits=self.digits).at(factor)


Fault = Callable[[bytes], list[bytes]]


class MemoryLink:
    """A line to a MemoryCard, with the card's side of T=1. Reading from a silent line returns at
    once: the time-out has passed, in no time.

    to_card, to_station: what becomes of each block on its way. waits: how many S(WTX) the card
    sends before it answers a command.
    """

    name = "memory"

    def __init__(self, card: MemoryCard) -> None:
        self.card = card
        self.to_card: Fault = lambda block: [block]
        self.to_station: Fault = lambda block: [block]
        self.waits = 0
        self.unplugged = False
        self.writes: list[bytes] = []
        self._queue: list[bytes] = []
        self._reset()

    def _reset(self) -> None:
        self._expected, self._sequence = 0, 1
        self._command, self._answer = b"", b""
        self._last = b""
        self._pending: bytes | None = None

    def write(self, data: bytes) -> None:
        if self.unplugged:
            raise NoDeviceError("The port memory went away while it was in use.")
        self.writes.append(data)
        for block in self.to_card(data):
            self._receive(block)

    def read(self, timeout_s: float) -> bytes:
        if self.unplugged:
            raise NoDeviceError("The port memory went away while it was in use.")
        return self._queue.pop(0) if self._queue else b""

    def drain(self) -> None:
        self._queue.clear()

    def close(self) -> None:
        pass

    def _send(self, pcb: int, inf: bytes = b"") -> None:
        block = bytes((0, pcb, len(inf))) + inf
        self._last = block + crc_x25(block)
        self._queue += self.to_station(self._last)

    def _receive(self, block: bytes) -> None:
        if len(block) < 5 or crc_x25(block[:-2]) != block[-2:] or block[2] != len(block) - 5:
            self._send(0x80 | self._expected << 4 | 1)
            return
        pcb, inf = block[1], block[3:-2]
        if pcb & 0xC0 == 0xC0:
            self._supervisory(pcb, inf)
        elif pcb & 0x80:
            self._request(pcb >> 4 & 1)
        elif pcb >> 6 != self._expected:
            self._repeat()
        else:
            self._information(pcb, inf)

    def _supervisory(self, pcb: int, inf: bytes) -> None:
        if pcb == 0xC0:
            self._reset()
            self._send(0xE0)
        elif pcb == 0xE3 and self._pending is not None:
            self._work()

    def _request(self, number: int) -> None:
        if self._answer and number != self._sequence:
            self._next()
        elif self._last and number == self._sequence:
            self._repeat()
        else:
            self._send(0x80 | self._expected << 4)

    def _repeat(self) -> None:
        self._queue += self.to_station(self._last)

    def _information(self, pcb: int, inf: bytes) -> None:
        self._expected ^= 1
        self._command += inf
        if pcb & 0x20:
            self._send(0x80 | self._expected << 4)
            return
        self._pending, self._command = self._command, b""
        self._left = self.waits
        self._work()

    def _work(self) -> None:
        if self._left:
            self._left -= 1
            self._send(0xC3, b"\x01")
            return
        assert self._pending is not None
        command, self._pending = self._pending, None
        self._answer = self.card.process(command)
        self._next()

    def _next(self) -> None:
        chunk, self._answer = self._answer[:254], self._answer[254:]
        self._sequence ^= 1
        self._send(self._sequence << 6 | (0x20 if self._answer else 0), chunk)
