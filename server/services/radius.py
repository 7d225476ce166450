"""RADIUS for VPNs (RFC 2865, PAP; pyrad): password and code, appended or in a challenge; where its
client is said to need it, by EAP-GTC.

A request without a right Message-Authenticator (RFC 2869 5.14) is dropped, unless its client is
said to be an old one, and every answer carries one, as its first attribute: without it, an answer
can be forged on the way. A Status-Server request is answered (RFC 5997).
"""

from __future__ import annotations

import logging
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyrad import packet
from pyrad.dictionary import Dictionary

from tallystick.common import beside, moments
from tallystick.common.errors import BadInputError
from tallystick.server.accounts import firms, incidents, people
from tallystick.server.accounts.people import canonical
from tallystick.server.errors import ApiError
from tallystick.server.methods import METHODS
from tallystick.server.methods.base import Held
from tallystick.server.rules.addresses import plainly
from tallystick.server.services import radius_eap
from tallystick.server.services.radius_clients import (
    Mode,
    RadiusClient,
    RadiusSettings,
    client_of,
)
from tallystick.server.services.radius_eap import EapAnswer
from tallystick.server.signing_in import login
from tallystick.server.signing_in.attempts import Purpose
from tallystick.server.signing_in.login import Browser, PendingSignIn, Signed, Way
from tallystick.server.signing_in.words import refusal
from tallystick.server.state import ServerState
from tallystick.server.store.origin import came_from

log = logging.getLogger(__name__)

MAX_PACKET = 4096
HEADER, MIN_ATTRIBUTE = 20, 2  # bytes
MESSAGE_AUTHENTICATOR = 80
REMEMBERED = 1024
REMEMBERED_S = 30.0
CHALLENGE_TIMEOUT_S = 300
THREADS = 8
WAITING = 256  # requests at once, under way or waiting; more are dropped, and come again
TOLD_EVERY_S = 60.0
MOST_GROUPS, MAX_VALUE = 12, 253  # a packet has 4096 bytes at most; a value is in bytes
EAP = "EAP-Message"
ONCE = ("User-Name", "User-Password", "State")  # RFC 2865 5.44: whose is a second one?
BEGUN = "eap-gtc"  # of the question for the password; a later one has its attempt's
DICTIONARY = Path(__file__).with_name("radius.dictionary")


@dataclass(frozen=True)
class RadiusReply:
    """code: Access-Accept, -Reject or -Challenge. state: goes with a challenge. name, groups: of
    the user, with an Access-Accept."""

    code: int
    message: str = ""
    state: bytes = b""
    name: str = ""
    groups: tuple[str, ...] = ()


def check_firms(state: ServerState, clients: Iterable[RadiusClient]) -> None:
    """Raises BadInputError for a client of a firm that is not there."""
    for client in clients:
        with state.database.read() as connection:
            try:
                firms.by_name(connection, client.firm)
            except ApiError as error:
                raise BadInputError(
                    f"The client {client.network}: {error.what}",
                    todo="See 'tally server firm list'.",
                ) from None


def is_well_formed(data: bytes) -> bool:
    """Whether the lengths of a packet's attributes add up (RFC 2865 section 5), and at most one
    Message-Authenticator is among them (RFC 2869 5.19)."""
    length = int.from_bytes(data[2:4], "big")
    if not HEADER <= length <= len(data):
        return False
    at, signed = HEADER, 0
    while at < length:
        size = data[at + 1] if at + 1 < length else 0
        if size < MIN_ATTRIBUTE or at + size > length:
            return False
        signed += data[at] == MESSAGE_AUTHENTICATOR
        at += size
    return signed <= 1


class RadiusServer:
    """Answers on a bound UDP socket until `close()`."""

    def __init__(
        self,
        state: ServerState,
        clients: RadiusSettings | Sequence[RadiusClient],
        sock: socket.socket,
    ) -> None:
        self._state = state
        self._clients = clients.each() if isinstance(clients, RadiusSettings) else tuple(clients)
        self._sock = sock
        self._dictionary = Dictionary(str(DICTIONARY))
        self._answered = _Answered()
        self._pool = beside.ThreadPoolExecutor(THREADS, thread_name_prefix="radius")
        self._room = threading.BoundedSemaphore(WAITING)
        self._told: dict[str, float] = {}
        self._closing = False
        for client in self._clients:
            if client.allow_unsigned:
                log.warning(
                    "RADIUS client %s may leave Message-Authenticator out: whoever is between it "
                    "and this server can forge an Access-Accept. Bring it up to date.",
                    client.network,
                )
            if client.eap_gtc:
                log.warning(
                    "RADIUS client %s may ask by EAP-GTC: passwords and codes are in clear in its "
                    "packets. Have it on this machine, or radsecproxy between.",
                    client.network,
                )

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
            if self._closing:
                break
            if not self._room.acquire(blocking=False):
                self._tell("full", "RADIUS requests are dropped: %d are waiting", WAITING)
                continue
            self._pool.submit(self._handle, data, peer)
        self._pool.shutdown()

    def close(self) -> None:
        """At once: it waits for a packet, and gets one that says nothing."""
        self._closing = True
        with suppress(OSError):
            self._sock.sendto(b"", self._sock.getsockname())

    def _handle(self, data: bytes, peer: tuple[Any, ...]) -> None:
        try:
            answer = self._answer(data, peer)
        except Exception as error:  # a bad packet must not end the thread, nor be answered
            log.warning("a RADIUS packet from %s was dropped: %s", peer[0], type(error).__name__)
            return
        finally:
            self._room.release()
        if answer is not None:
            self._sock.sendto(answer, peer)

    def _answer(self, data: bytes, came: tuple[Any, ...]) -> bytes | None:
        """→ the packet to send back, or None: drop it, as RFC 2865 section 3 says."""
        peer = (plainly(came[0]), *came[1:])
        client = client_of(self._clients, peer[0])
        if client is None:
            log.warning("RADIUS from %s, which is not a client", peer[0])
            return None
        if not is_well_formed(data):
            log.warning("RADIUS from %s that is malformed: its lengths do not add up", peer[0])
            return None
        request = packet.AuthPacket(
            packet=data, secret=client.secret.reveal(), dict=self._dictionary
        )
        if request.code not in (packet.AccessRequest, packet.StatusServer):
            return None
        if not self._is_genuine(request, client, peer[0]):
            return None
        if request.code == packet.StatusServer:
            return bytes(request.CreateReply().ReplyPacket())
        # A network access server that got no answer sends the same packet again. It gets the same
        # answer: the code in it works once.
        key = (peer, bytes(data))
        return self._answered.get(key, lambda: self._decide(request, peer[0], client))

    def _is_genuine(self, request: Any, client: RadiusClient, peer: str) -> bool:
        if request.message_authenticator:
            if request.verify_message_authenticator():
                return True
            log.warning(
                "RADIUS from %s with a wrong Message-Authenticator: it has another shared secret, "
                "or was changed on the way",
                peer,
            )
            return False
        by_eap = EAP in request  # whose requests are never let in unsigned (RFC 3579 3.2)
        if client.allow_unsigned and request.code == packet.AccessRequest and not by_eap:
            self._tell(peer, "RADIUS from %s without Message-Authenticator, which is allowed", peer)
            return True
        log.warning(
            "RADIUS from %s without Message-Authenticator: bring the client up to date, or allow "
            "it (allow_unsigned)",
            peer,
        )
        return False

    def _tell(self, what: str, text: str, *values: object) -> None:
        """A warning, but not for each of many packets."""
        now = moments.steady()
        if now - self._told.get(what, -TOLD_EVERY_S) >= TOLD_EVERY_S:
            self._told[what] = now
            log.warning(text, *values)

    def _decide(self, request: Any, peer: str, client: RadiusClient) -> bytes:
        source = _source(request, peer)
        by_eap = radius_eap.heard(request[EAP]) if EAP in request else None
        if by_eap is not None and not client.eap_gtc:
            self._tell(f"eap|{peer}", "RADIUS from %s by EAP, which it may not (eap_gtc)", peer)
        with came_from(source, "RADIUS") as origin:
            reply = _Judging(self._state, client).judge(request, peer, by_eap)
        state, firm = self._state, client.firm
        incidents.write(state.database, state.ring, origin, firm, state.now())
        answer = request.CreateReply()
        answer.code = reply.code
        answer.add_message_authenticator()
        if by_eap is not None:
            for part in radius_eap.attributes(_eap_of(by_eap, reply)):
                answer.AddAttribute(EAP, part)
        elif reply.message:
            answer["Reply-Message"] = reply.message
        if reply.state:
            answer["State"] = reply.state
            answer["Session-Timeout"] = CHALLENGE_TIMEOUT_S
        # Whoever types an address, or capitals, has one name there (RFC 2865 5.1).
        if 0 < len(reply.name.encode()) <= MAX_VALUE:
            answer["User-Name"] = reply.name
        if client.group_attribute is not None:
            for group in reply.groups[:MOST_GROUPS]:
                value = group.encode()[:MAX_VALUE].decode(errors="ignore")  # no half character
                answer.AddAttribute(client.group_attribute.value, value.encode())
        return bytes(answer.ReplyPacket())


class _NotUtf8Error(Exception):
    """A name or a password is of another encoding."""


class _Judging:
    """One request of one client."""

    def __init__(self, state: ServerState, client: RadiusClient) -> None:
        self._state = state
        self._settings = client

    def judge(self, request: Any, peer: str, by_eap: EapAnswer | None = None) -> RadiusReply:
        """by_eap: what EAP holds, in place of a User-Password."""
        if any(len(request.get(one, ())) > 1 for one in ONCE):
            return _reject("A name, a password and a state are sent once.")
        try:
            return self._judge(request, peer, by_eap)
        except _NotUtf8Error:  # RFC 2865 5: a text is UTF-8
            log.warning(
                "RADIUS from %s with a name or password that is not UTF-8: refused, not tried. "
                "Have the client send UTF-8; an unsigned one may have another shared secret.",
                peer,
            )
            return _reject("Name and password must come in UTF-8.")

    def _judge(self, request: Any, peer: str, by_eap: EapAnswer | None) -> RadiusReply:
        name = _text(request, "User-Name")
        token = bytes(request.get("State", [b""])[0]).decode("latin-1")
        typed = self._of_pap(request) if by_eap is None else self._of_eap(name, token, by_eap)
        if isinstance(typed, RadiusReply):
            return typed
        if not name or "\0" in name:
            return _reject("A name and a password are needed.")
        browser = Browser(source=_source(request, peer), agent="RADIUS")
        # What a challenge gave is good for the same user of the same client only.
        way = Way(Purpose.RADIUS, bound=f"{peer}|{canonical(name)}", opens=False)
        asked = _Asked(name, browser, way)
        try:
            if token and token != BEGUN:
                return self._second(token, typed, asked)
            if self._settings.mode is Mode.APPEND:
                return self._appended(typed, asked)
            return self._challenge(typed, asked)
        except ApiError as error:
            return _reject(error.what)

    def _of_pap(self, request: Any) -> str | RadiusReply:
        encrypted = request.get("User-Password")
        if not encrypted:
            return _reject("A name and a password are needed.")
        typed = str(request.PwDecrypt(encrypted[0]))
        # pyrad leaves out what is not UTF-8.
        if not _raw(encrypted[0]).startswith(request.PwCrypt(typed)):
            raise _NotUtf8Error
        return typed

    def _of_eap(self, name: str, token: str, heard: EapAnswer) -> str | RadiusReply:
        """What was typed, or what there is to say before anything was."""
        if not self._settings.eap_gtc or (heard.data and heard.kind == radius_eap.NAK):
            return _reject("")  # or the peer wants another method
        if heard.kind == radius_eap.IDENTITY and heard.data in (b"", name.encode()):
            prompt = "Password and code:" if self._settings.mode is Mode.APPEND else "Password:"
            return RadiusReply(packet.AccessChallenge, prompt, BEGUN.encode())
        if heard.kind != radius_eap.GTC or not token:
            return _reject("")
        try:
            return heard.data.decode()
        except UnicodeDecodeError:
            raise _NotUtf8Error from None

    def _appended(self, secret: str, asked: _Asked) -> RadiusReply:
        digits = self._settings.code_digits
        password, code = secret[:-digits], secret[-digits:]
        if not code.isdigit() or not code.isascii() or not password:
            password, code = secret, ""
        outcome = self._password(password, asked)
        if isinstance(outcome, RadiusReply):
            return outcome
        if not code:
            return _reject("That was not right.")
        return self._prove(outcome.attempt, code, asked)

    def _challenge(self, password: str, asked: _Asked) -> RadiusReply:
        outcome = self._password(password, asked)
        if isinstance(outcome, RadiusReply):
            return outcome
        held = self._typed(outcome.attempt, asked)
        if not held:
            return _reject("None of your methods works here.")
        if METHODS[held[0].kind].sends and len({one.kind for one in held}) == 1:
            return self._send(outcome.attempt, held[0], asked)
        at_once = ", ".join(one.label for one in held if not METHODS[one.kind].sends)
        words = " or ".join(_words(held))
        question = f"Type the code of: {at_once}." if at_once else ""
        question += f" To have one sent, type: {words}." if words else ""
        return _ask(question.strip(), outcome.attempt)

    def _second(self, attempt: str, typed: str, asked: _Asked) -> RadiusReply:
        """A code, or the word for a method that sends one."""
        held = self._typed(attempt, asked)
        wanted = _words(held).get(typed.strip().lower())
        if wanted is not None:
            return self._send(attempt, wanted, asked)
        return self._prove(attempt, typed, asked)

    def _send(self, attempt: str, held: Held, asked: _Asked) -> RadiusReply:
        login.challenge(
            self._state,
            self._settings.firm,
            attempt,
            held.kind,
            held.key,
            asked.browser.source,
            asked.way,
        )
        return _ask("Type the code that was sent to you.", attempt)

    def _typed(self, attempt: str, asked: _Asked) -> list[Held]:
        """The user's methods that a terminal can be used with."""
        held = login.choices(self._state, self._settings.firm, attempt, asked.way)
        return [one for one in held if METHODS[one.kind].typed]

    def _password(self, password: str, asked: _Asked) -> RadiusReply | PendingSignIn:
        """→ what is left to prove, or the answer where nothing is, or where it cannot be."""
        outcome = login.with_password(
            self._state, self._settings.firm, asked.name, password, asked.browser, "", asked.way
        )
        if isinstance(outcome, Signed):
            return self._accept(asked)
        if outcome.lacking:
            return _reject("Enrol a second factor first, or one more.")
        return outcome

    def _prove(self, attempt: str, code: str, asked: _Asked) -> RadiusReply:
        outcome = login.with_code(
            self._state, self._settings.firm, attempt, code.strip(), asked.browser, asked.way
        )
        if isinstance(outcome, Signed):
            return self._accept(asked)
        return _reject(refusal(outcome).what)

    def _accept(self, asked: _Asked) -> RadiusReply:
        with self._state.database.read() as connection:
            firm_id = firms.by_name(connection, self._settings.firm).id
            login_name = people.login_of(connection, firm_id, asked.name)
            person = people.by_login(connection, firm_id, login_name)
        return RadiusReply(packet.AccessAccept, name=person.login, groups=person.groups)


@dataclass(frozen=True)
class _Asked:
    """Who asks, as the request says, and how he signs in."""

    name: str
    browser: Browser
    way: Way


class _Answered:
    """Answers of the last seconds, so that a packet that comes twice is judged once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: OrderedDict[Any, _Once] = OrderedDict()

    def get(self, key: Any, make: Callable[[], bytes]) -> bytes:
        with self._lock:
            now = moments.steady()
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


def _eap_of(heard: EapAnswer, reply: RadiusReply) -> bytes:
    if reply.code == packet.AccessChallenge:
        return radius_eap.question(heard, reply.message)
    return radius_eap.verdict(heard, accepted=reply.code == packet.AccessAccept)


def _text(request: Any, name: str) -> str:
    """Raises _NotUtf8Error."""
    values = request.get(name) or [""]
    if isinstance(values[0], bytes):  # which pyrad could not decode
        raise _NotUtf8Error
    return str(values[0])


def _raw(value: str | bytes) -> bytes:
    """What pyrad has decoded, where it could."""
    return value.encode() if isinstance(value, str) else value


def _source(request: Any, peer: str) -> str:
    """From where the user asks, of whatever bytes, as one word: it stands in lines of the log."""
    said = _raw((request.get("Calling-Station-Id") or [b""])[0]).decode(errors="replace")[:64]
    return "".join(c if c.isprintable() and not c.isspace() else "_" for c in said) or peer


def _words(held: list[Held]) -> dict[str, Held]:
    """What to type to have a code sent: sms, email."""
    sends = [one for one in held if METHODS[one.kind].sends]
    return {one.kind.value: one for one in reversed(sends)}


def _ask(message: str, attempt: str) -> RadiusReply:
    return RadiusReply(packet.AccessChallenge, message, attempt.encode())


def _reject(message: str) -> RadiusReply:
    return RadiusReply(packet.AccessReject, message)
