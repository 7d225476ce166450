"""The card's end of the T=1 block protocol, ISO/IEC 7816-3 clause 11; profile in protocols.md.

It knows no line and no clock: bytes go in through feed(), blocks come out through the `send`
callable, and the owner of the line calls quiet() when the character time-out has passed in silence.
"""

from micropython import const

from lib import wire

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Callable

_BLOCK = const(254 + 5)

_IDLE = const(0)  # waiting for a command, or for the first block of one
_RECEIVING = const(1)  # inside a chained command
_BUSY = const(2)  # a command is being executed
_SENDING = const(3)  # inside a chained answer

_RESYNCH_REQUEST = b"\x00\xc0\x00\x0c\x66"


def crc(block: memoryview, size: int) -> int:
    """CRC-16 of ISO/IEC 13239 over block[:size]: polynomial 1021 reflected, inverted twice."""
    value = 0xFFFF
    for i in range(size):
        x = (value ^ block[i]) & 0xFF
        x = (x ^ x << 4) & 0xFF
        value = value >> 8 ^ x << 8 ^ x << 3 ^ x >> 4
    return value ^ 0xFFFF


class T1:
    """One card. After feed(), `ready` says that take() has a command to execute and respond() to.

    size: bytes of the buffer that hold the command, or as much of it as has come.
    """

    def __init__(self, apdu: bytearray, send: "Callable[[memoryview], None]") -> None:
        """apdu: where commands are put together. send: called with a view of each block."""
        self._apdu = memoryview(apdu)
        self._send = send
        self._rx = memoryview(bytearray(_BLOCK))
        self._tx = memoryview(bytearray(_BLOCK))
        self._have = 0  # bytes of the block that is coming in
        self._noise = False  # framing is lost until the line falls silent
        self._sent = False  # a block was sent since feed() was called
        self._reset()

    def _reset(self) -> None:
        self.size = 0
        self._overflow = False  # the command was longer than the buffer
        self.ready = False
        self._state = _IDLE
        self._expected = 0  # N(S) of the station's next I-block
        self._edc = -1  # of the station's latest I-block
        self._ns = 1  # N(S) of our latest I-block
        self._answer = b""
        self._at = 0  # our latest I-block carries answer[at:to]; to = 0: there is none
        self._to = 0
        self._multiplier = 0  # of the waiting time extension in force
        self._ifsd = wire.INF_MAX

    @property
    def partial(self) -> bool:
        """Whether quiet() must be called once the line has been silent long enough."""
        return self._have > 0 or self._noise

    @property
    def busy(self) -> bool:
        """Whether the command that was taken still waits for respond(): RESYNCH cancels it."""
        return self._state == _BUSY and not self.ready

    def feed(self, data: memoryview) -> None:
        """Take bytes from the line. The line is half duplex: what has come before a block of ours
        was sent is no answer to it, and is dropped; so does the owner with what it has not read."""
        self._sent = False
        at = 0
        end = len(data)
        rx = self._rx
        while at < end and not self._sent and not self.ready:
            if self._noise:
                self._hunt(data[at])
                at += 1
                continue
            have = self._have
            need = 3 if have < 3 else rx[2] + 5
            take = min(need - have, end - at)
            rx[have : have + take] = data[at : at + take]
            at += take
            self._have = have = have + take
            if have == 3 and (rx[0] or rx[2] > wire.INF_MAX):
                self._noise = True
            elif have > 3 and have == rx[2] + 5:
                self._block(have - 2)

    def quiet(self) -> None:
        """The line has been silent for the character time-out: drop what was begun."""
        damaged = self._noise
        self._have = 0
        self._noise = False
        self._complain(wire.R_EDC if damaged else wire.R_OTHER)

    def extend(self, multiplier: int) -> None:
        """Ask for more time: S(WTX request). The station now waits multiplier times longer."""
        self._multiplier = multiplier
        self._tx[3] = multiplier
        self._transmit(0xC0 | wire.S_WTX, 1)

    def take(self) -> memoryview:
        """The command, in the buffer that it came in; empty when it did not fit."""
        self.ready = False
        return self._apdu[: 0 if self._overflow else self.size]

    def respond(self, answer: bytes) -> None:
        """Send the answer of the command, in as many blocks as it needs."""
        self._answer = answer
        self._to = 0
        self._next_chunk()

    def _hunt(self, byte: int) -> None:
        """Amid noise, know a S(RESYNCH request) when it comes by: the last five bytes."""
        rx = self._rx
        have = self._have
        if have >= 5:
            for i in range(4):
                rx[i] = rx[have - 4 + i]
            have = 4
        rx[have] = byte
        self._have = have = have + 1
        if have == 5 and rx[:5] == _RESYNCH_REQUEST:
            self._supervise(0xC0 | wire.S_RESYNCH, 0)

    def _block(self, size: int) -> None:
        """A whole block stands in rx: size bytes and its EDC."""
        rx = self._rx
        if crc(rx, size) != rx[size] << 8 | rx[size + 1]:
            self._noise = True
            return
        self._have = 0
        pcb = rx[1]
        if pcb & 0x9F == 0:
            self._information(pcb, size - 3)
        elif pcb & 0xEC == 0x80 and size == 3:
            self._request(pcb >> 4 & 1)
        elif pcb & 0xC0 == 0xC0:
            self._supervise(pcb, size - 3)
        else:
            self._complain(wire.R_OTHER)

    def _information(self, pcb: int, size: int) -> None:
        """An I-block. One that was taken before is not taken again: its reply is repeated."""
        edc = self._rx[size + 3] << 8 | self._rx[size + 4]
        if self._state == _BUSY or self._state == _SENDING or pcb >> 6 & 1 != self._expected:
            if edc == self._edc:
                self._repeat()
            else:
                self._complain(wire.R_OTHER)
            return
        self._edc = edc
        if self._state == _IDLE:
            self.size = 0
            self._overflow = False
            self._state = _RECEIVING
        self._expected ^= 1
        if self.size + size > len(self._apdu):
            self._overflow = True
        else:
            self._apdu[self.size : self.size + size] = self._rx[3 : 3 + size]
            self.size += size
        if pcb & 0x20:
            self._acknowledge(wire.R_OK)
        else:
            self._state = _BUSY
            self._multiplier = 0
            self.ready = True

    def _request(self, number: int) -> None:
        """An R-block: the station has our blocks up to, not including, this number."""
        if self._state == _SENDING and number != self._ns:
            self._next_chunk()
        elif self._state == _IDLE and number != self._ns:
            self._acknowledge(wire.R_OTHER)
        else:
            self._repeat()

    def _supervise(self, pcb: int, size: int) -> None:
        """An S-block."""
        kind = pcb & 0x1F
        if pcb & 0x20:  # responses, of which we ask for WTX alone
            return
        if kind == wire.S_RESYNCH and size == 0:
            self._reset()
        elif kind == wire.S_IFS and size == 1 and 0 < self._rx[3] <= wire.INF_MAX:
            self._ifsd = self._tx[3] = self._rx[3]
        elif kind == wire.S_ABORT and size == 0 and self._state != _BUSY:
            self._state = _IDLE
            self._to = 0
        else:
            self._complain(wire.R_OTHER)
            return
        self._transmit(pcb | 0x20, size)

    def _complain(self, error: int) -> None:
        """The station's block could not be used."""
        if self._state == _BUSY:
            self._repeat()
        else:
            self._acknowledge(error)

    def _acknowledge(self, error: int) -> None:
        self._transmit(0x80 | self._expected << 4 | error, 0)

    def _repeat(self) -> None:
        """Send again what the station is waiting for."""
        if self._state == _BUSY:
            if self._multiplier:
                self.extend(self._multiplier)
        elif self._state == _RECEIVING or not self._to:
            self._acknowledge(wire.R_OTHER)
        else:
            self._send_chunk()

    def _next_chunk(self) -> None:
        self._at = self._to
        self._to = min(self._at + self._ifsd, len(self._answer))
        self._ns ^= 1
        self._send_chunk()

    def _send_chunk(self) -> None:
        size = self._to - self._at
        more = self._to < len(self._answer)
        self._state = _SENDING if more else _IDLE
        self._tx[3 : 3 + size] = self._answer[self._at : self._to]
        self._transmit(self._ns << 6 | more << 5, size)

    def _transmit(self, pcb: int, size: int) -> None:
        """Send the block whose information field stands in tx."""
        self._have = 0
        self._noise = False
        self._sent = True
        tx = self._tx
        tx[0] = 0
        tx[1] = pcb
        tx[2] = size
        end = size + 3
        edc = crc(tx, end)
        tx[end] = edc >> 8
        tx[end + 1] = edc & 0xFF
        self._send(tx[: end + 2])
