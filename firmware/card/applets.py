"""The card as ISO/IEC 7816-4 knows it: SELECT, secure messaging, and answers in parts.

Issuer commands are served whichever applet is selected. The modules of the applets and of the
secure channel are imported by the first command that needs them.
"""

from lib import wire
from lib.apdu import Command, Refused
from lib.journal import DamagedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from card.store import Store
    from lib.scp03 import Session

    class Applet(Protocol):
        """A module that executes commands."""

        def process(self, card: "Applets", command: Command) -> bytes: ...

    class Selectable(Protocol):
        """A module that answers SELECT, too."""

        def select(self, card: "Applets") -> bytes: ...

    class Terminal(Protocol):
        """What commands may ask of the rest of the card."""

        def random(self, n: int) -> bytes: ...
        def board_name(self) -> str: ...
        def restart(self) -> None:
            """Start again, once the command in hand is answered."""

        def extend(self) -> None:
            """Ask the station for more time."""

        def press(self, what: str) -> bool:
            """Wait for the button, at most PRESS_TIMEOUT_MS. what: for what, as the display says
            it, in at most 15 letters a line."""

        def pause(self) -> None:
            """Let a second pass before the command is answered."""

        def cell(self) -> tuple[int, int]:
            """Millivolts under load, state."""


class Applets:
    """Executes commands. Rules that several commands share are its need_… methods.

    store: the card's memory. session: the SCP03 session, open or half open, or None.
    secure: whether the command in hand came through the open session.
    """

    def __init__(self, store: "Store", terminal: "Terminal") -> None:
        self.store = store
        self.terminal = terminal
        self.session: "Session | None" = None
        self.secure = False
        self._oath = False  # which applet is selected
        self._wrong = 0  # tries to open a session, since docking or the last that did
        self._command = Command()
        self._rest = b""  # what GET RESPONSE has still to send

    def process(self, apdu: memoryview) -> bytes:
        """Execute one command, and return its answer and status word. Never raises.

        apdu is decrypted in place; who owns it wipes it.
        """
        try:
            return self._process(apdu)
        except Refused as refused:
            sw = refused.sw
        except (OSError, DamagedError):  # of the state, or of the boot record
            sw = wire.SW_FLASH
        except Exception:
            self.close()
            sw = wire.SW_INTERNAL
        return sw.to_bytes(2, "big")

    def close(self) -> None:
        """End the session, if there is one."""
        session = self.session
        self.session = None
        if session:
            session.close()

    def reset(self) -> None:
        """As after power-on: issuer selected, no session."""
        self.close()
        self._oath = False
        self._rest = b""

    def need_session(self) -> None:
        """Refuse a command from outside a session with the keys in use, of whatever level. Raises
        Refused(6982)."""
        if not self.secure:
            raise Refused(wire.SW_SECURITY)

    def private(self) -> bool:
        """Whether the command in hand came through a session with the keys in use in which
        commands and answers are encrypted and authenticated."""
        session = self.session
        return self.secure and session is not None and session.level == wire.SCP_LEVEL

    def need_keys(self) -> None:
        """Refuse a command that is not private. Raises Refused(6982)."""
        if not self.private():
            raise Refused(wire.SW_SECURITY)

    def need_firm_keys(self) -> None:
        """Refuse a command from outside a session with the firm's keys. Raises Refused(6982)."""
        self.need_keys()
        if self.store.kvn == wire.KVN_TRANSPORT:
            raise Refused(wire.SW_SECURITY)

    def need_press(self, what: str) -> None:
        """Wait for the button; refuse the command when no press comes. Raises Refused(6985)."""
        if not self.terminal.press(what):
            raise Refused(wire.SW_CONDITIONS)

    def need_power(self) -> None:
        """Refuse to change the memory when the cell may not last until it is done. Raises
        Refused(6985).
        """
        if self.terminal.cell()[1] == wire.CELL_CRITICAL:
            raise Refused(wire.SW_CONDITIONS)

    def need_consent(self, what: str) -> None:
        """A card in service changes its keys, its credential or its image, and ends, only with a
        press. Raises Refused(6985).
        """
        self.need_power()
        if self.store.life_cycle >= wire.SECURED:
            self.need_press(what)

    def _process(self, apdu: memoryview) -> bytes:
        command = self._command
        command.parse(apdu)
        cla, ins = command.cla, command.ins
        if cla == wire.CLA_ISO and (ins == wire.INS_GET_RESPONSE or ins == wire.INS_SEND_REMAINING):
            return self._part(self._rest, command.limit)
        self._rest = b""
        if cla & wire.CLA_CHAINING:
            raise Refused(wire.SW_NO_CHAINING)
        if cla & ~(wire.CLA_GP | wire.CLA_SECURE):
            raise Refused(wire.SW_CLASS)
        self.secure = False
        if cla & wire.CLA_SECURE:
            return self._process_secure(apdu, command)
        if cla == wire.CLA_ISO and ins == wire.INS_SELECT and command.p1 == 0x04:
            answer = self._select(command)
        elif cla == wire.CLA_GP and ins == wire.INS_INITIALIZE_UPDATE:
            answer = self._initialize_update(command)
        else:
            answer = self._dispatch(command)
        return self._part(answer + b"\x90\x00", command.limit)

    def _process_secure(self, apdu: memoryview, command: Command) -> bytes:
        """A command with secure messaging. A wrong C-MAC ends the session."""
        session = self.session
        issuer = command.cla & wire.CLA_GP != 0
        opening = issuer and command.ins == wire.INS_EXTERNAL_AUTHENTICATE
        if session is None or session.open == opening:
            raise Refused(wire.SW_CONDITIONS if opening else wire.SW_SECURITY)
        try:
            if opening:
                self._open(session, apdu, command)
                return b"\x90\x00"
            session.unwrap(apdu, command)
        except Refused:
            self.close()
            raise
        self.secure = True
        answer = self._dispatch(command)
        answer = session.wrap(answer) + b"\x90\x00"
        if issuer and command.ins == wire.INS_PUT_KEY:
            self.close()  # it was opened with keys that are no longer valid
        return self._part(answer, 0x10000 if command.head > 5 else 0x100)

    def _open(self, session: "Session", apdu: memoryview, command: Command) -> None:
        """EXTERNAL AUTHENTICATE. Wrong keys are answered later and later, and at last not before
        the card has been taken out of its dock. Raises Refused."""
        if command.p1 not in wire.SCP_LEVELS or command.p2:
            raise Refused(wire.SW_P1P2)
        self._wrong += 1
        if self._wrong > wire.SLOW_AFTER:
            self.terminal.pause()
        session.authenticate(apdu, command)
        self._wrong = 0

    def _dispatch(self, command: Command) -> bytes:
        ins = command.ins
        applet: "Applet"
        if command.cla & wire.CLA_GP and (ins == wire.INS_INSTALL or ins == wire.INS_LOAD):
            from card import update as applet  # not through the issuer: it makes room for these
        elif command.cla & wire.CLA_GP and ins == wire.INS_SELF_TEST:
            from card import selftest as applet
        elif command.cla & wire.CLA_GP or ins == wire.INS_GET_CHALLENGE:
            from card import issuer as applet
        elif self._oath:
            from card import oath as applet
        else:
            raise Refused(wire.SW_INSTRUCTION)
        return applet.process(self, command)

    def _select(self, command: Command) -> bytes:
        aid = bytes(command.data)
        applet: "Selectable"
        if command.p2:
            raise Refused(wire.SW_P1P2)
        if aid == wire.AID_OATH:
            from card import oath as applet
        elif aid == wire.AID_ISSUER or not aid:
            from card import issuer as applet
        else:
            raise Refused(wire.SW_NO_APPLET)
        self.close()
        self._oath = aid == wire.AID_OATH
        return applet.select(self)

    def _initialize_update(self, command: Command) -> bytes:
        from lib.scp03 import Session

        store = self.store
        self.close()
        if store.life_cycle == wire.TERMINATED or not store.keys:  # wiped, or never personalised
            raise Refused(wire.SW_CONDITIONS)
        if self._wrong >= wire.WRONG_MAX:
            raise Refused(wire.SW_BLOCKED)
        if len(command.data) != 8:
            raise Refused(wire.SW_LENGTH)
        if command.p2:
            raise Refused(wire.SW_P1P2)
        if command.p1 and command.p1 != store.kvn:
            raise Refused(wire.SW_NO_DATA)
        challenge = self.terminal.random(8)
        self.session = session = Session(store.keys, command.data, challenge)
        head = bytes((store.kvn, wire.SCP_VERSION, wire.SCP_I))
        return store.serial + head + challenge + session.card_cryptogram

    def _part(self, answer: bytes, limit: int) -> bytes:
        """As much of the answer as the limit allows; the rest waits for GET RESPONSE."""
        size = len(answer) - 2
        if size < 0:
            raise Refused(wire.SW_CONDITIONS)
        if size <= limit:
            self._rest = b""
            return answer
        self._rest = answer[limit:]
        more = wire.SW_MORE | (size - limit if size - limit < 0x100 else 0)
        return answer[:limit] + more.to_bytes(2, "big")
