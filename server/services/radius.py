"""RADIUS for VPNs (RFC 2865, PAP; pyrad): password and code, appended or in a challenge.

A request without a right Message-Authenticator (RFC 2869 5.14) is dropped, and every answer carries
one, as its first attribute: without it, an answer can be forged on the way.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from pyrad import packet
from pyrad.dictionary import Dictionary

from tallystick.common.secret import Secret
from tallystick.server.accounts import firms, incidents, sessions
from tallystick.server.errors import ApiError
from tallystick.server.methods import METHODS, at_hand
from tallystick.server.methods.base import Held
from tallystick.server.rules.judge import Reason
from tallystick.server.signing_in import login, second
from tallystick.server.signing_in.login import Browser, PendingSignIn, Signed
from tallystick.server.signing_in.words import refusal
from tallystick.server.state import ServerState
from tallystick.server.store.origin import came_from

log = logging.getLogger(__name__)

MAX_PACKET = 4096
REMEMBERED = 1024
REMEMBERED_S = 30.0
CHALLENGE_TIMEOUT_S = 300
THREADS = 8
DICTIONARY = Path(__file__).with_name("radius.dictionary")


class Mode(StrEnum):
    """append: the password field holds the password and a code of `code_digits` after it.
    challenge: the password first; then the code, in answer to an Access-Challenge."""

    APPEND = "append"
    CHALLENGE = "challenge"


@dataclass(frozen=True)
class RadiusSettings:
    """clients: networks that may ask (CIDR). secret: shared with them."""

    firm: str
    secret: Secret
    clients: tuple[str, ...]
    mode: Mode = Mode.CHALLENGE
    code_digits: int = 6


@dataclass(frozen=True)
class RadiusReply:
    """code: Access-Accept, -Reject or -Challenge. state: goes with a challenge."""

    code: int
    message: str = ""
    state: bytes = b""


class RadiusServer:
    """Answers on a bound UDP socket until `close()`."""

    def __init__(self, state: ServerState, settings: RadiusSettings, sock: socket.socket) -> None:
        self._state = state
        self._settings = settings
        self._sock = sock
        self._networks = [ip_network(client) for client in settings.clients]
        self._dictionary = Dictionary(str(DICTIONARY))
        self._answered = _Answered()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="radius")
        self._closing = False

    def serve(self) -> None:
        """Read packets until closed."""
        self._sock.settimeout(0.5)
        while not self._closing:
            try:
                data, peer = self._sock.recvfrom(MAX_PACKET)
            except TimeoutError:
                continue
            except OSError:
                break
            self._pool.submit(self._handle, data, peer)
        self._pool.shutdown()

    def close(self) -> None:
        self._closing = True

    def _handle(self, data: bytes, peer: tuple[str, int]) -> None:
        try:
            answer = self._answer(data, peer)
        except Exception as error:  # a bad packet must not end the thread, nor be answered
            log.warning("a RADIUS packet from %s was dropped: %s", peer[0], type(error).__name__)
            return
        if answer is not None:
            self._sock.sendto(answer, peer)

    def _answer(self, data: bytes, peer: tuple[str, int]) -> bytes | None:
        """→ the packet to send back, or None: drop it, as RFC 2865 section 3 says."""
        if not any(ip_address(peer[0]) in network for network in self._networks):
            log.warning("RADIUS from %s, which is not a client", peer[0])
            return None
        request = packet.AuthPacket(
            packet=data, secret=self._settings.secret.reveal(), dict=self._dictionary
        )
        if request.code != packet.AccessRequest:
            return None
        if not request.message_authenticator or not request.verify_message_authenticator():
            log.warning("RADIUS from %s without a right Message-Authenticator", peer[0])
            return None
        # A network access server that got no answer sends the same packet again. It gets the same
        # answer: the code in it works once.
        key = (peer, bytes(data))
        return self._answered.get(key, lambda: self._decide(request, peer[0]))

    def _decide(self, request: Any, peer: str) -> bytes:
        source = _text(request, "Calling-Station-Id")[:64] or peer
        with came_from(source, "RADIUS") as origin:
            reply = self._judge(request, peer)
        state, firm = self._state, self._settings.firm
        incidents.write(state.database, state.ring, origin, firm, state.now())
        answer = request.CreateReply()
        answer.code = reply.code
        answer.add_message_authenticator()
        if reply.message:
            answer["Reply-Message"] = reply.message
        if reply.state:
            answer["State"] = reply.state
            answer["Session-Timeout"] = CHALLENGE_TIMEOUT_S
        return bytes(answer.ReplyPacket())

    def _judge(self, request: Any, peer: str) -> RadiusReply:
        name = _text(request, "User-Name")
        encrypted = request.get("User-Password")
        if not name or not encrypted:
            return _reject("A name and a password are needed.")
        secret = str(request.PwDecrypt(encrypted[0]))
        browser = Browser(source=_text(request, "Calling-Station-Id")[:64] or peer, agent="RADIUS")
        token = bytes(request.get("State", [b""])[0]).decode("ascii", "ignore")
        try:
            if token:
                return self._second(token, secret, browser)
            if self._settings.mode is Mode.APPEND:
                return self._appended(name, secret, browser)
            return self._challenge(name, secret, browser)
        except ApiError as error:
            return _reject(error.what)

    def _appended(self, name: str, secret: str, browser: Browser) -> RadiusReply:
        digits = self._settings.code_digits
        password, code = secret[:-digits], secret[-digits:]
        if not code.isdigit() or not code.isascii() or not password:
            password, code = secret, ""
        outcome = self._password(name, password, browser)
        if isinstance(outcome, Signed):
            return self._without_second(outcome)
        if self._too_few(outcome.attempt):
            return _reject("Enrol another second factor first.")
        for held in login.choices(self._state, self._settings.firm, outcome.attempt):
            if at_hand(held.kind) and code:
                reply = self._prove(outcome.attempt, held, code, browser)
                if reply.code == packet.AccessAccept:
                    return reply
        return _reject("That was not right.")

    def _challenge(self, name: str, password: str, browser: Browser) -> RadiusReply:
        outcome = self._password(name, password, browser)
        if isinstance(outcome, Signed):
            return self._without_second(outcome)
        if self._too_few(outcome.attempt):
            return _reject("Enrol another second factor first.")
        held = self._first(outcome.attempt)
        if held is None:
            return _reject("None of your methods works here.")
        if METHODS[held.kind].sends:
            login.challenge(
                self._state,
                self._settings.firm,
                outcome.attempt,
                held.kind,
                held.key,
                browser.source,
            )
            asked = "Type the code that was sent to you."
        else:
            asked = f"Type the code of: {held.label}."
        return RadiusReply(packet.AccessChallenge, asked, outcome.attempt.encode())

    def _second(self, attempt: str, code: str, browser: Browser) -> RadiusReply:
        held = self._first(attempt)
        if held is None:
            return _reject("None of your methods works here.")
        return self._prove(attempt, held, code, browser)

    def _first(self, attempt: str) -> Held | None:
        """The first of the user's methods that a terminal can be used with."""
        held = login.choices(self._state, self._settings.firm, attempt)
        return next((one for one in held if METHODS[one.kind].typed), None)

    def _too_few(self, attempt: str) -> bool:
        """Whether the user lacks methods that policy asks for."""
        held = login.choices(self._state, self._settings.firm, attempt)
        with self._state.database.read() as connection:
            policy = firms.by_name(connection, self._settings.firm).policy
        return second.too_few(policy, held) > 0

    def _password(self, name: str, password: str, browser: Browser) -> Signed | PendingSignIn:
        return login.with_password(self._state, self._settings.firm, name, password, browser, "")

    def _prove(self, attempt: str, held: Held, code: str, browser: Browser) -> RadiusReply:
        outcome = login.with_factor(
            self._state,
            self._settings.firm,
            attempt,
            held.kind,
            held.key,
            {"code": code},
            browser,
            remember=False,
        )
        if isinstance(outcome, Signed):
            self._end(outcome)
            return RadiusReply(packet.AccessAccept)
        return _reject(refusal(outcome).what if outcome.reason is not Reason.OK else "")

    def _without_second(self, signed: Signed) -> RadiusReply:
        """The password was right and no second factor is enrolled: that opens no VPN, unless
        policy asks for none."""
        self._end(signed)
        with self._state.database.read() as connection:
            policy = firms.by_name(connection, self._settings.firm).policy
        if policy.minimum_methods == 0:
            return RadiusReply(packet.AccessAccept)
        return _reject("Enrol a second factor first.")

    def _end(self, signed: Signed) -> None:
        """A RADIUS log-in has no session in the portal."""
        with self._state.database.write() as connection:
            firm = firms.by_name(connection, self._settings.firm)
            session = sessions.current(connection, signed.session, firm.id, self._state.now())
            if session is not None:
                sessions.end(connection, session.person.id, session.id)


class _Answered:
    """Answers of the last seconds, so that a packet that comes twice is judged once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: OrderedDict[Any, _Once] = OrderedDict()

    def get(self, key: Any, make: Callable[[], bytes]) -> bytes:
        with self._lock:
            now = time.monotonic()
            while self._answers and (
                len(self._answers) > REMEMBERED
                or next(iter(self._answers.values())).made < now - REMEMBERED_S
            ):
                self._answers.popitem(last=False)
            once = self._answers.setdefault(key, _Once(now))
        with once.lock:
            if once.answer is None:
                once.answer = make()
            return once.answer


class _Once:
    def __init__(self, made: float) -> None:
        self.made = made
        self.lock = threading.Lock()
        self.answer: bytes | None = None


def _text(request: Any, name: str) -> str:
    values = request.get(name)
    return str(values[0]) if values else ""


def _reject(message: str) -> RadiusReply:
    return RadiusReply(packet.AccessReject, message)
