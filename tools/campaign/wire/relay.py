"""The relay: it has every block in its hands, both ways, and keeps count of the numbers that the
two sides expect, so that what it puts in or takes out is no fault of the line."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tallystick.common.errors import NoDeviceError
from tallystick.emulator.devices.card import Card
from tallystick.provisioning.card import t1
from tallystick.provisioning.card.t1 import PROLOGUE
from tallystick.tools.campaign.wire.deeds import TO_CARD, TO_STATION, Deed
from tallystick.tools.docked import DockedLink

_MOST_BLOCKS = 4000  # then the relay is unplugged
_ANSWER_S = 2.0
_PATIENCE = 16  # extensions of the card that the relay grants in an exchange of its own
_RESYNCH = b"\0\xc0"
_MORE = 0x20
_MOST = 255  # bytes of information that LEN can say


@dataclass
class Transcript:
    """Every block that passed, in order, as whoever sent it did: (way, block)."""

    blocks: list[tuple[str, bytes]] = field(default_factory=list)

    def of(self, way: str) -> list[bytes]:
        return [block for one, block in self.blocks if one == way]

    def contents(self, way: str) -> bytes:
        """The information fields of a way, one after the other."""
        return b"".join(content(block) for block in self.of(way))


def encode(pcb: int, inf: bytes = b"") -> bytes:
    """A block, with as much of the information as fits: a deed may have made one longer."""
    return t1.encode(pcb, inf[:_MOST])


def content(block: bytes) -> bytes:
    return block[PROLOGUE:-2]


def is_information(block: bytes) -> bool:
    return len(block) > PROLOGUE + 1 and not block[1] & 0x80


def renumbered(block: bytes, sequence: int, acknowledged: int) -> bytes:
    """The block with N(S) of an I-block, or N(R) of an R-block, changed by so much (0 or 1)."""
    if is_information(block):
        return encode(block[1] ^ sequence << 6, content(block)) if sequence else block
    if block[1:2] and block[1] & 0xC0 == 0x80 and acknowledged:
        return encode(block[1] ^ 0x10, content(block))
    return block


Act = Callable[["Relay", str, bytes, int], list[bytes]]


class Relay:
    """A `ByteLink` of the station. told: what the card was told and said, in order: ("c",
    command) and ("a", answer). own: commands of the relay's own, with the card's answer, and
    whether it is the first time that a card has it from this station.
    """

    name = "relay"

    def __init__(
        self,
        line: DockedLink,
        deeds: Sequence[Deed],
        acts: dict[str, Act],
        *,
        older: Transcript | None = None,
        other: Callable[[], DockedLink] | None = None,
        seed: int = 0,
    ) -> None:
        """older: what it heard before, of this card and of others. other: a second card."""
        self.transcript = Transcript()
        self.told: list[tuple[str, bytes]] = []
        self.own: list[tuple[bytes, bytes, bool]] = []
        self.done: list[Deed] = []
        self.rng = random.Random(seed)
        self.older = older or Transcript()
        self.held: dict[str, list[bytes]] = {TO_CARD: [], TO_STATION: []}
        self.late: list[bytes] = []
        self.to_station: list[bytes] = []
        self.silent = False
        self._line, self._other, self._acts = line, other, acts
        self._deeds: dict[tuple[str, int], list[Deed]] = {}
        for deed in deeds:
            self._deeds.setdefault((deed.way, deed.at), []).append(deed)
        self._counts = {TO_CARD: 0, TO_STATION: 0}
        self._passed = 0
        self._forget_numbers()

    def _forget_numbers(self) -> None:
        """Blocks put in or taken out make the two sides count differently."""
        self.sent_shift = self.said_shift = 0
        self.next_to_card = self.next_to_station = 0
        self._command = self._answer = self._last_told = self._last_heard = b""

    @property
    def card(self) -> Card:
        """The one that the station is connected with."""
        return self._line.card

    # -- the station's side ----------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Raises NoDeviceError when more has passed than any exchange takes."""
        self._passed += 1
        if self._passed > _MOST_BLOCKS:
            raise NoDeviceError("The relay was unplugged.")
        self.transcript.blocks.append((TO_CARD, data))
        held, self.held[TO_CARD] = self.held[TO_CARD], []
        for block in [*self._after_deeds(TO_CARD, data), *held]:
            self.deliver(block)

    def read(self, timeout_s: float) -> bytes:
        if not self.to_station:
            self._take(self._line.read(timeout_s))
        if not self.to_station and timeout_s:
            self.to_station, self.late = self.late, []
            return b""  # the time has passed; what is late comes with the next look
        return self.to_station.pop(0) if self.to_station and not self.silent else b""

    def drain(self) -> None:
        self._take(self._line.read(0))
        self.to_station.clear()

    def close(self) -> None:
        self._line.close()

    # -- the card's side -------------------------------------------------------------------------

    def deliver(self, block: bytes) -> None:
        """To the card, in the card's numbers."""
        if self.silent:
            return
        if block[:2] == _RESYNCH:
            self._forget_numbers()
        self._tell(renumbered(block, self.sent_shift, self.said_shift))

    def _tell(self, data: bytes) -> None:
        block = _whole_block(data)
        if is_information(block) and block != self._last_told:
            self._last_told = block
            self.next_to_card = (block[1] >> 6 & 1) ^ 1
            self._command += content(block)
            if not block[1] & _MORE:
                self.told.append(("c", self._command))
                self._command = b""
        self._line.write(data)

    def _take(self, data: bytes) -> None:
        """From the card, to the station, in the station's numbers."""
        for block in _blocks(data):
            self._hear(block)
            held, self.held[TO_STATION] = self.held[TO_STATION], []
            passed = renumbered(block, self.said_shift, self.sent_shift)
            self.to_station += [*self._after_deeds(TO_STATION, passed), *held]
            if is_information(passed):
                self.next_to_station = (passed[1] >> 6 & 1) ^ 1

    def _hear(self, block: bytes) -> None:
        self.transcript.blocks.append((TO_STATION, block))
        if is_information(block) and block != self._last_heard:
            self._last_heard = block  # which comes again when it was lost
            self._answer += content(block)
            if not block[1] & _MORE:
                self.told.append(("a", self._answer))
                self._answer = b""

    def exchange(self, apdu: bytes) -> bytes:
        """A command of the relay's own, which the station knows nothing of. → the answer, or
        nothing"""
        self._line.drain()
        first = apdu in self._unheard()
        self._tell(encode(self.next_to_card << 6, apdu))
        for _ in range(_PATIENCE):
            for block in _blocks(self._line.read(_ANSWER_S)):
                self._hear(block)
                if is_information(block):
                    self.sent_shift ^= 1
                    self.said_shift ^= 1
                    self.own.append((apdu, content(block), first))
                    return content(block)
                if block[1] == 0xC3:
                    self._line.write(encode(0xE3, content(block)))
        return b""

    def _unheard(self) -> list[bytes]:
        """What the station has sent, and no card has had."""
        had = [what for who, what in self.told if who == "c"]
        sent = [content(one) for one in self.transcript.of(TO_CARD) if is_information(one)]
        return [one for one in sent if not any(one in what for what in had)]

    def answer_itself(self, apdu: bytes) -> None:
        """An answer of the relay's own, to a command that the card never has."""
        self.to_station.append(encode(self.next_to_station << 6, apdu))
        self.next_to_station ^= 1
        self.sent_shift ^= 1
        self.said_shift ^= 1

    def switch(self) -> None:
        """The station is connected with another card from here on."""
        if self._other is not None:
            self._line, self._other = self._other(), None

    def replug(self) -> None:
        """The card is taken off the dock and put back."""
        card = self._line.card
        self._line.close()
        card.run_for(1000)
        self._line = DockedLink(card)
        self._forget_numbers()

    # -- deeds -----------------------------------------------------------------------------------

    def _after_deeds(self, way: str, block: bytes) -> list[bytes]:
        number = self._counts[way]
        self._counts[way] += 1
        blocks = [block]
        for deed in self._deeds.get((way, number), ()):
            self.done.append(deed)
            act = self._acts[deed.name]
            blocks = [made for one in blocks for made in act(self, way, one, deed.number)]
        return blocks


def _blocks(data: bytes) -> list[bytes]:
    found = []
    while data:
        size = PROLOGUE + data[2] + 2 if len(data) > PROLOGUE else len(data)
        found.append(data[:size])
        data = data[size:]
    return found


def _whole_block(data: bytes) -> bytes:
    """The block that ends the data, behind whatever noise; empty when none does."""
    for at in range(len(data) - 4):
        block = data[at:]
        fits = block[0] == 0 and len(block) == PROLOGUE + block[2] + 2
        if fits and encode(block[1], content(block)) == block:
            return block
    return b""
