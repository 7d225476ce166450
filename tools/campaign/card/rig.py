"""An emulated card with somebody around it: an eye on its glass, a station on its line, an oracle
that judges. Everything that a scenario does goes through here."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from tallystick import faults
from tallystick.common.errors import NoDeviceError, TallyError
from tallystick.common.identity import DEVELOPMENT_MASTER, Identity, kdf3
from tallystick.common.secret import Secret
from tallystick.emulator.chip.mcu import ChipState
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.device import MS, FirmwareCrashError
from tallystick.emulator.devices.image import Image
from tallystick.emulator.devices.snapshot import CardSnapshot, values
from tallystick.emulator.interpreter.micropython import MissingMicroPythonError
from tallystick.emulator.parts.nor_flash import Failure, FlashOperation
from tallystick.emulator.seeing.frames import Frame
from tallystick.emulator.seeing.reading import read_code
from tallystick.provisioning.card import oath, tlv
from tallystick.provisioning.card.connection import CardConnection, CardRefusedError, CommandApdu
from tallystick.provisioning.card.issuer import IssuerSession, LifeCycle, WrappedKey
from tallystick.provisioning.card.scp03 import InitializeUpdate, SecureChannel, SecureChannelError
from tallystick.provisioning.credential import SIX_DIGITS
from tallystick.provisioning.custody.derivation import (
    SoftwareChannelKeys,
    SoftwareSealed,
    aes_cbc,
    check_value,
)
from tallystick.tools.campaign.card.oracle import NAME, CardOracle, KnownCard
from tallystick.tools.campaign.engine.flash_state import PIECE, FlashRange, FlashState
from tallystick.tools.campaign.engine.subject import Fault, PowerGoneError, ViolationError

SERIAL = NAME
_KEYS = {
    "transport": (0xFF, DEVELOPMENT_MASTER),
    "firm1": (1, b"campaign firm 01"),
    "firm2": (2, b"campaign firm 02"),
}
SEEDS = {name: f"campaign seed {name:>6}".encode() for name in "ABC"}
_EMPTY_MV = 2200
_PRESS_MS = 120
_SETTLE_MS = 300
_TO_SLEEP_MS = 500  # from the last picture to sleep
_TAG_MOVING_FACTOR = 0x7A
NO_KEYS = "none"  # what a terminated card has


T = TypeVar("T")


class _Seed(SoftwareSealed):
    def __init__(self, value: bytes) -> None:
        self._value = Secret(value)

    def reveal(self) -> bytes:
        return self._value.reveal()


def _with_factor(seed: str, factor: int) -> bytes:
    """The data of a PUT that says where the moving factor begins."""
    key = bytes((oath.HOTP[SIX_DIGITS.hash], SIX_DIGITS.digits)) + SEEDS[seed]
    return (
        tlv.encode(oath.TAG_NAME, SERIAL.encode())
        + tlv.encode(oath.TAG_KEY, key)
        + tlv.encode(_TAG_MOVING_FACTOR, factor.to_bytes(4, "big"))
    )


class _DockLine:
    """A ByteLink to the docked card; waiting lets the card's time pass."""

    name = "emulated"

    def __init__(self, card: Card) -> None:
        self.card = card
        self.answer = bytearray()
        self.hold_button_in = 0

    def write(self, data: bytes) -> None:
        self._need_power()
        self.card.send(data)
        self._need_power()

    def read(self, timeout_s: float) -> bytes:
        if not self.answer and timeout_s:
            self.card.run_until(lambda: bool(self.answer), round(timeout_s * 1000))
        self._need_power()
        data = bytes(self.answer)
        self.answer.clear()
        return data

    def drain(self) -> None:
        self.answer.clear()

    def close(self) -> None:
        """The line stays: undocking ends it."""

    def _need_power(self) -> None:
        if not self.card.powered:
            raise PowerGoneError


@dataclass
class CardRig:
    """One card, used again and again. `on_operation` is told of every flash operation, and may
    answer with a fault."""

    image: Image
    card: Card = field(init=False)
    range: FlashRange = field(init=False)
    oracle: CardOracle = field(init=False)
    on_operation: Callable[[FlashOperation], Fault] | None = None

    def __post_init__(self) -> None:
        self.card = Card(self.image, identity=Identity.derive(SERIAL, 20260101).encode(), seed=1)
        self.card.button.bounce_us = 0  # nothing but the power goes wrong here
        self.card.flash.fault_plan = self._plan
        self.card.mcu.on_brown_out = self._note_cut
        region = self.card.board.journal
        self.range = FlashRange(self.card.flash, region.address, b"\xff" * region.size)
        self.oracle = CardOracle(SEEDS)
        self.worn: frozenset[int] = frozenset()
        self._snapshots: dict[str, CardSnapshot] = {}
        self._rng = random.Random(0)
        self._slot: int | None = None
        self.settled: int | None = None  # address of the record before the one in hand
        self._asleep: dict[str, object] = {}
        self._read: dict[bytes, str | None] = {}
        self._seen = b""
        self._dark_glass = bytes(len(self.card.display.pixels))
        self._code: str | None = None
        self._line = _DockLine(self.card)
        self._connection: CardConnection | None = None

    @property
    def device(self) -> Card:
        return self.card

    @property
    def known(self) -> KnownCard:
        return self.oracle.known

    def close(self) -> None:
        self.card.mcu.power_off()
        for snapshot in self._snapshots.values():
            snapshot.close()
        self.card.close()

    # -- beginning anew ------------------------------------------------------------------------

    def use_base(self, base: bytes) -> None:
        """States are told by what differs from `base` from now on."""
        self.range = FlashRange(self.card.flash, self.range.first, base)

    def restore(self, state: FlashState, oracle: CardOracle, seed: bytes) -> None:
        """The card lies there without power, its flash in this state."""
        self.card.mcu.power_off()
        self.card.clock.clear()
        self.card.display.power(False)
        self._untouched()
        self.card.trace.events.clear()
        self.range.load(state)
        self.worn = frozenset(self.range.first + at for at in state.worn)
        self.card.flash.can_fail = bool(self.worn)
        self.oracle = oracle
        rng = self._rng = random.Random(seed)
        self.card.mcu.reseed(random.Random(rng.randbytes(16)))
        self.card.button.reseed(random.Random(rng.randbytes(16)))
        self._seen = b""
        self._code = None
        self._connection = None
        self._slot = self.settled = None
        self._line.answer.clear()

    def _note_cut(self) -> None:
        self.oracle.cut()

    def _untouched(self) -> None:
        """Off the dock, no finger on the button."""
        self.card.supply.docked = False
        self.card.supply.bounces.clear()
        self.card.button.down = False
        self.card.let_go_of_all()

    def _plan(self, operation: FlashOperation) -> Fault:
        if not self.range.covers(operation.address):
            return None
        self.look()  # what was shown until now was seen
        self.range.touch(operation.address, len(operation.old))
        slot = operation.address & -PIECE
        if slot != self._slot:
            self.settled = self._slot
        fault = self.on_operation(operation) if self.on_operation is not None else None
        self._slot = slot if operation.kind == "program" else self._slot
        if fault is None and operation.address & -self.range.flash.timing.sector in self.worn:
            self.oracle.cut()  # what the worn flash left counts like what a cut leaves
            reported = self.card.board.chip.reports_flash_errors
            return Failure(faults.apply("f", operation).content, reported)
        return fault

    def flipped(self, bits: Iterable[int]) -> bytes:
        """The record at `settled` with these bits flipped."""
        assert self.settled is not None
        piece = bytearray(self.card.flash.memory[self.settled : self.settled + PIECE])
        for bit in bits:
            piece[bit >> 3] ^= 1 << (bit & 7)
        return bytes(piece)

    # -- power ---------------------------------------------------------------------------------

    def start(self, *, docked: bool = False, full: bool = False) -> None:
        """Puts the cell in. `full`: really from reset; otherwise from the point where the firmware
        first looks at the flash, which it reaches in the same way every time."""
        name = "docked" if docked else "undocked"
        if full or name not in self._snapshots:
            if docked:
                self._dock()
            self._run(self.card.power_on)
        else:
            self._snapshots[name].resume()
            self.card.mcu.uart.on_send = self._line.answer.extend if docked else None
            # On its dock it is ready as soon as it waits; else it may have something to show.
            self._run(lambda: self.card.settle(0 if docked else _SETTLE_MS))
        self.look()

    def power_for_prompt(self) -> None:
        """Docked: an undocked card sleeps most of the time."""
        self.start(docked=True)

    def prepare(self) -> None:
        """Takes the snapshots: from then on `start` and `press_quickly` save what is the same every
        time. Where the firmware never comes to look at its flash, everything is run in full."""
        for name in ("undocked", "docked", "press", "bad sleep"):
            self.restore(FlashState(), self.oracle, b"snapshot")
            try:
                self._take_snapshot(name)
            except (FirmwareCrashError, MissingMicroPythonError):
                pass
            finally:
                self.card.mcu.hold_at_look(0, 0)
                self.card.mcu.power_off()
                self._untouched()

    def _take_snapshot(self, name: str) -> None:
        card = self.card
        if name in ("press", "bad sleep"):
            if name == "bad sleep":
                card.cell.fixed_mv = _EMPTY_MV
            card.power_on()
            card.run_until(self._dark)
            card.run_for(_TO_SLEEP_MS)
            card.cell.fixed_mv = None
            if name == "press":
                self._asleep = values(card.mcu.registers)
            card.mcu.hold_at_look(self.range.first, self.range.end)
            card.button.push()
            card.mcu.run(card.clock.now + 100_000)
        else:
            card.mcu.hold_at_look(self.range.first, self.range.end)
            if name == "docked":
                self._dock()
            card.display.power(card.board.display_power_pin < 0)
            card.mcu.power_on()
            card.mcu.run(card.clock.now + 1_000_000)
        if card.mcu.held:
            self._snapshots[name] = CardSnapshot(card)

    def _dock(self) -> None:
        card = self.card
        card.mcu.uart.on_send = self._line.answer.extend
        card.supply.docked = True
        card.mcu.set_input(card.board.dock_pin, card.board.dock_active, "the dock")

    def stop(self) -> None:
        """Pulls the cell while nothing is being written; the card lies there, off its dock."""
        self.look()
        self.card.power_off()
        self._untouched()
        self.oracle.cut()
        self._connection = None

    def lose_power(self) -> None:
        """Power goes and comes back at once, as far as the flash is concerned: its weak bits are
        read anew."""
        self.stop()
        self.card.clock.clear()
        self.card.flash.power_up(self._rng)

    def _run(self, action: Callable[[], object]) -> None:
        try:
            action()
        except FirmwareCrashError as error:
            raise ViolationError("crash", error.what) from error
        if not self.card.powered:
            raise PowerGoneError

    # -- the person ----------------------------------------------------------------------------

    def look(self) -> str | None:
        """Reads the glass; a code that was not there at the last look is noted."""
        pixels = bytes(self.card.display.pixels)
        if pixels == self._seen:
            return self._code
        self._seen = pixels
        if pixels not in self._read:
            display = self.card.display
            if len(self._read) > 4096:
                self._read.clear()
            self._read[pixels] = read_code(Frame(display.width, display.height, pixels))
        code = self._read[pixels]
        if code is not None and code != self._code:
            self.oracle.code(code)
        if code is not None or pixels == self._dark_glass:
            self._code = code
        return code

    def press(self) -> str | None:
        """Presses the button, looks, and waits until the glass is dark. The code, if one came."""
        self._run(self.card.press)
        code = self.look()
        self._run(lambda: self.card.run_until(self._dark, 60_000))
        self._run(lambda: self.card.run_for(_TO_SLEEP_MS))
        self.look()
        return code

    def press_on_empty(self) -> None:
        """Presses on a cell that is said to be empty: nothing is shown, and flash is left alone."""
        self.leave_flash(self.press)

    def start_on_empty(self) -> None:
        self.leave_flash(lambda: self.start(full=True))

    def leave_flash(self, action: Callable[[], str | None]) -> None:
        """An exhausted cell gives way under a program or an erase. Raises ViolationError."""
        before = self.card.flash.operations
        if action() is not None:
            raise ViolationError("cell", "a code was shown on an exhausted cell")
        if self.card.flash.operations != before:
            raise ViolationError("cell", "flash was changed on an exhausted cell")

    def press_quickly(self, *, slept: bool = False) -> str | None:
        """Like `press` of a card that went to sleep with everything in order, from the point where
        the firmware first looks at the flash, and without waiting for the dark. `slept`: it did,
        although it does not look so because of a shortcut like this one."""
        asleep = slept or values(self.card.mcu.registers) == self._asleep
        if "press" not in self._snapshots or not asleep:
            self._run(self.card.press)
            return self.look()
        self._snapshots["press"].resume()
        self.card.clock.after(100_000, self.card.button.release)
        self._run(self.card.settle)
        return self.look()

    def press_after_bad_sleep(self) -> str | None:
        """Like `press_quickly`, of a card that was put to sleep with something not in order: it has
        to recover and to answer in one start."""
        if "bad sleep" not in self._snapshots:
            self.start()
            return self.press_quickly()
        self._snapshots["bad sleep"].resume()
        self.card.clock.after(100_000, self.card.button.release)
        self._run(self.card.settle)
        return self.look()

    def _dark(self) -> bool:
        return not self.card.powered or self.card.display.pixels == self._dark_glass

    def press_with_bounce(self, load: str) -> None:
        """Presses; the battery's contact bounces under the next load of that part, and the
        supervisor starts the card anew, with the finger still on the button."""
        before = self.card.mcu.boots
        self.card.supply.bounces.add(load)
        self.press()
        if self.card.supply.bounces or self.card.mcu.boots - before < 2:
            raise ViolationError("power", f"no brown-out under the {load}, or no start after it")

    # -- the station ---------------------------------------------------------------------------

    def connect(self) -> CardConnection:
        """Docks the card where it is not, and finds it on the line."""
        if not self.card.supply.docked:
            self._run(lambda: self.card.dock(self._line.answer.extend))
        if self._connection is None:
            try:
                self._connection = self._talk(lambda: CardConnection(self._line))
            except NoDeviceError as error:
                raise ViolationError("mute", error.what) from error
        return self._connection

    def undock(self) -> None:
        self._connection = None
        self._run(self.card.undock)
        self.look()

    def _talk(self, action: Callable[[], T]) -> T:
        try:
            result = action()
        except FirmwareCrashError as error:
            raise ViolationError("crash", error.what) from error
        self.look()
        return result

    def ask_life_cycle(self) -> LifeCycle:
        session = IssuerSession(self.connect())
        try:
            return self._talk(session.life_cycle)
        except TallyError as error:
            raise ViolationError("mute", error.what) from error

    def ask_credential(self) -> str:
        """The name of the credential that the card lists; "" for none."""
        connection = self.connect()

        def ask() -> str:
            oath.select_oath(connection)
            found = oath.OathSession(connection).list()
            return found[0].name if found else ""

        try:
            return self._talk(ask)
        except TallyError as error:
            raise ViolationError("mute", error.what) from error

    def press_on_dock(self) -> str | None:
        """A press while docked; the code, if one came."""
        card = self.card
        card.button.push()
        card.clock.after(_PRESS_MS * MS, card.button.release)
        self._run(lambda: card.run_until(lambda: self.look() is not None, _PRESS_MS + _SETTLE_MS))
        return self.look()

    def key_set(self) -> str:
        """Which of the key sets the card proves to have, by its cryptogram."""
        connection = self.connect()
        challenge = b"campaign"
        answer = self._talk(lambda: connection.transmit(CommandApdu(0x80, 0x50, 0, 0, challenge)))
        if answer.sw != 0x9000:
            return NO_KEYS
        update = InitializeUpdate.parse(answer.data)
        for name, (version, master) in _KEYS.items():
            if version == update.key_version and self._proved(update, master, challenge):
                return name
        return "unknown"

    def _proved(self, update: InitializeUpdate, master: bytes, challenge: bytes) -> bool:
        enc, mac, _ = kdf3(master, SERIAL.encode())
        keys = SoftwareChannelKeys(enc, mac, challenge + update.card_challenge)
        message = bytes(11) + b"\0\0\0\x40\x01" + challenge + update.card_challenge
        return keys.mac(message)[:8] == update.card_cryptogram

    def channel(self, name: str) -> SecureChannel:
        """A secure channel under this key set. Raises ViolationError when it does not open."""

        def derive(update: InitializeUpdate, context: bytes) -> SoftwareChannelKeys:
            enc, mac, _ = kdf3(_KEYS[name][1], update.diversification_data)
            return SoftwareChannelKeys(enc, mac, context)

        connection = self.connect()
        try:
            return self._talk(
                lambda: SecureChannel.open(connection, derive, host_challenge=b"campaign")
            )
        except (SecureChannelError, CardRefusedError) as error:
            raise ViolationError("keys", f"no secure channel with {name}: {error.what}") from error

    def put_key(self, old: str, new: str, life_cycle: LifeCycle) -> None:
        """Replaces key set `old` by `new`; the card is in `life_cycle` afterwards."""
        channel = self.channel(old)
        _, _, dek = kdf3(_KEYS[old][1], SERIAL.encode())
        first, second, third = (
            WrappedKey(aes_cbc(dek, bytes(16), key), check_value(key))
            for key in kdf3(_KEYS[new][1], SERIAL.encode())
        )
        known = self.oracle.known.keys
        change = {"keys": new, "life_cycle": int(life_cycle)}
        self.oracle.begin(**change)  # type: ignore[arg-type]
        self._obey(lambda: IssuerSession(channel).put_key(_KEYS[new][0], (first, second, third)))
        self.oracle.done(**change)  # type: ignore[arg-type]
        if known != ("transport",):
            self._need_gone(*known)

    def put_seed(self, keys: str, seed: str, factor: int = 0) -> None:
        """Stores the seed of this name, with this moving factor (below 2³²)."""
        channel = self._oath(keys)
        known = self.oracle.known.credentials
        self.oracle.begin(credential=seed, factor=factor)
        if factor:
            command = CommandApdu(0, oath.INS_PUT, data=_with_factor(seed, factor))
            self._obey(lambda: channel.transmit(command).require("take its seed"))
        else:
            self._obey(lambda: oath.put_hotp(channel, SERIAL, _Seed(SEEDS[seed]), SIX_DIGITS))
        self.oracle.done(credential=seed, factor=factor)
        self._need_gone(*known)

    def rename(self, keys: str, name: str) -> None:
        """Gives the credential another name, which it has alone when the card said 9000."""
        session = oath.OathSession(self._oath(keys))
        (old,) = self.oracle.known.names
        self.oracle.rename(name)
        self._obey(lambda: session.rename(old, name))
        self.oracle.credential(name)

    def delete_seed(self, keys: str, *, reset: bool = False) -> None:
        session = oath.OathSession(self._oath(keys))
        known = self.oracle.known.credentials
        self.oracle.begin(credential="")
        self._obey(session.reset if reset else lambda: session.delete(SERIAL))
        self.oracle.done(credential="")
        self._need_gone(*known)

    def _need_gone(self, *known: str) -> None:
        """What was there for certain, and gave way, is nowhere in flash. A sector that is worn out
        keeps what it has. Raises ViolationError."""
        now = (*self.oracle.known.credentials, *self.oracle.known.keys)
        if len(known) != 1 or known[0] in now or self.worn:
            return
        secret = SEEDS.get(known[0])
        if secret is None and known[0] in _KEYS:
            secret = b"".join(kdf3(_KEYS[known[0]][1], SERIAL.encode()))
        content = self.card.flash.memory[self.range.first : self.range.end]
        if secret is not None and secret in content:
            raise ViolationError("left", f"{known[0]} was replaced, and is still in flash")

    def calculate(self, keys: str) -> None:
        """One code over the wire, inside the firm's session while provisioning."""
        session = oath.OathSession(self._oath(keys))
        self.oracle.code(self._obey(lambda: session.calculate(SERIAL)))

    def calculate_full(self, keys: str) -> None:
        """The whole HMAC over the wire: its code is noted like any."""
        channel = self._oath(keys)
        data = b"\x71\x0a" + SERIAL.encode() + b"\x74\x00"
        response = self._obey(
            lambda: channel.transmit(CommandApdu(0, oath.INS_CALCULATE, 0, 0, data))
        )
        value = response.require("calculate")[3:]
        at = value[19] & 15
        number = int.from_bytes(value[at : at + 4], "big") & 0x7FFFFFFF
        self.oracle.code(str(number % 10**6).zfill(6))

    def set_status(self, keys: str, state: LifeCycle) -> None:
        session = IssuerSession(self.channel(keys))
        change: dict[str, object] = {"life_cycle": int(state)}
        if state is LifeCycle.TERMINATED:
            change |= {"credential": "", "keys": NO_KEYS}
        self.oracle.begin(**change)  # type: ignore[arg-type]
        known = self.oracle.known
        self._obey(lambda: session.set_status(state))
        self.oracle.done(**change)  # type: ignore[arg-type]
        if state is LifeCycle.TERMINATED:
            self._need_gone(*known.credentials)
            self._need_gone(*known.keys)

    def _oath(self, keys: str) -> SecureChannel:
        connection = self.connect()
        self._talk(lambda: oath.select_oath(connection))
        return self.channel(keys)

    def _obey(self, action: Callable[[], T]) -> T:
        """A command of the station; the finger is on the button if the card asks for it."""
        card = self.card
        start = card.clock.now
        # A finger waits for the prompt: it comes down after a second, and up again.
        card.clock.at(start + 1_000_000, card.button.push)
        card.clock.at(start + 1_150_000, card.button.release)
        try:
            return self._talk(action)
        except TallyError as error:
            raise ViolationError("refused", error.what) from error
        finally:
            if card.powered and card.clock.now >= start + 1_000_000:
                card.button.release()
                card.settle()  # it bounces
            card.clock.clear()

    @property
    def asleep(self) -> bool:
        """Dark and waiting for the button: in its lowest power state, or what stands for it."""
        return self.card.mcu.state in (ChipState.ASLEEP, ChipState.RUNNING) and self._dark()
