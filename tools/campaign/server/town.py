"""A firm of its own for each run of the model, on one server: people with two ways to sign in each,
cards in a drawer, and what outsiders use: browsers, a VPN's access server, bearer credentials."""

from __future__ import annotations

import gc
import json
import logging
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from http.cookies import SimpleCookie
from pathlib import Path

import pyotp
from argon2 import PasswordHasher
from pyrad import packet
from pyrad.dictionary import Dictionary
from sqlalchemy import select

from tallystick.common.secret import Secret
from tallystick.server.accounts import credentials, factors, firms, passwords, people
from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.accounts.policy import FirmPolicy, MethodKind, PersonRole
from tallystick.server.loans import holding
from tallystick.server.rules.otp import hotp
from tallystick.server.services import oidc_clients
from tallystick.server.services.radius import DICTIONARY, RadiusServer
from tallystick.server.services.radius_clients import Mode, RadiusSettings
from tallystick.server.serving.running import running_in_thread
from tallystick.server.settings import Settings, settings_from
from tallystick.server.signing_in import recovery
from tallystick.server.state import ServerState, open_state
from tallystick.server.stock import cards
from tallystick.server.stock.gathering import CardSeed
from tallystick.server.store.models import AuditEntry, PersonRow
from tallystick.server.store.origin import came_from
from tallystick.tools.campaign.engine.memory import memory_folder
from tallystick.tools.campaign.server.shared_line import PageAnswer, SharedLine, as_form

START = 1_800_000_000.0
MAX_FAILURES = 3
LETTER_S = 30  # that a letter may take on a machine which has much to do
ANSWER_S = 60.0
RADIUS_SECRET = b"between the VPN and the server"
GC_SELDOM = (50_000, 20, 50)
REDIRECT = "https://service.example/back"


class Counted:
    """steps: requests of outsiders, so far in this process."""

    steps = 0


@dataclass
class TownClock:
    """The server's time; the model moves it."""

    now: float = START

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Letters:
    """What the server has sent, by address: of the sink, only what is new is read."""

    sink: Path
    read: int = 0
    texts: dict[str, list[str]] = field(default_factory=dict)

    def to(self, address: str) -> list[str]:
        """Those with a code, the oldest first."""
        if self.sink.exists():
            with self.sink.open("rb") as file:
                file.seek(self.read)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self.read += len(whole)
            for line in whole.splitlines():
                self._take(json.loads(line))
        return self.texts.get(address, [])

    def _take(self, letter: dict[str, str]) -> None:
        if "is your code" in letter["text"]:
            self.texts.setdefault(letter["to"], []).append(letter["text"])


@dataclass
class Live:
    """A running server, and its parts for what a console would do."""

    url: str
    settings: Settings
    state: ServerState
    clock: TownClock
    letters: Letters
    wire: SharedLine


@contextmanager
def live_server(db: str | None = None) -> Iterator[Live]:
    """The server in a thread of this process, with cheap password hashes and no waiting to make
    answers even: neither is what the model looks at. db: an empty database, else SQLite in a new
    folder."""
    clock = TownClock()
    with ExitStack() as stack:
        folder = stack.enter_context(memory_folder())
        sink = folder / "sent.jsonl"
        settings = replace(
            settings_from(db or f"sqlite:///{folder / 'server.db'}", folder / "server.keys"),
            clock=clock,
            sms=f"file://{sink}",
            smtp=f"file://{sink}",
            trusted_proxies=("127.0.0.1",),  # each outsider has an address of his own
        )
        hasher, evened = passwords.HASHER, recovery.EVENED_S
        stack.callback(setattr, passwords, "HASHER", hasher)
        stack.callback(setattr, recovery, "EVENED_S", evened)
        cheap = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
        setattr(passwords, "HASHER", cheap)  # noqa: B010
        setattr(recovery, "EVENED_S", 0.0)  # noqa: B010
        passwords.nobody.cache_clear()
        stack.callback(passwords.nobody.cache_clear)
        stack.enter_context(_quietly())
        url = stack.enter_context(running_in_thread(settings))
        state = open_state(replace(settings, background=False))  # the server has its threads
        stack.callback(state.close)
        wire = SharedLine(url)
        stack.callback(wire.close)
        yield Live(url, settings, state, clock, Letters(sink), wire)


@contextmanager
def _quietly() -> Iterator[None]:
    """The server's log is nobody's here. Rubbish is looked for less often: hardly any is round."""
    logger, handler, before = (
        logging.getLogger("tallystick"),
        logging.NullHandler(),
        gc.get_threshold(),
    )
    logger.addHandler(handler)
    gc.set_threshold(*GC_SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        logger.removeHandler(handler)


@dataclass
class CardInHand:
    """Somebody presses it: each code is the next one."""

    serial: str
    seed: bytes
    presses: int = 0

    def code(self) -> str:
        self.presses += 1
        return hotp(self.seed, self.presses - 1, 6)


@dataclass
class Somebody:
    """rests_on: what the password rests on: itself, or the thing that recovered it.
    card_confirmed: he has signed in with the card that was assigned to him. guessed_at: how often
    somebody has tried to recover his password by a code of another card."""

    id: int
    login: str
    role: PersonRole
    password: str
    app: pyotp.TOTP
    app_key: str
    mail: str
    mail_key: str
    card: CardInHand
    rests_on: str = "password"
    card_confirmed: bool = False
    guessed_at: int = 0


@dataclass
class Town:
    """The firm, and who and what is in it. people: by a name in the model."""

    live: Live
    firm: str
    firm_id: int
    client_id: str
    client_secret: str
    tokens: dict[Role, str]
    people: dict[str, Somebody] = field(default_factory=dict)
    station: Caller | None = None
    numbers: int = 0
    addresses: set[str] = field(default_factory=set)

    def browser(self) -> Surfer:
        return Surfer(self.live.wire, self.firm, self.address())

    def address(self) -> str:
        """One that nobody has used yet."""
        self.numbers += 1
        made = f"10.{self.numbers >> 16}.{self.numbers >> 8 & 255}.{self.numbers & 255}"
        self.addresses.add(made)
        return made

    def settle(self, name: str, role: PersonRole) -> Somebody:
        """Someone new of this name in the model, with an app, a mailbox and a card."""
        self.numbers += 1
        state, now = self.live.state, self.live.clock()
        login, password = f"{name}{self.numbers}", "correct horse battery"
        app, mail = pyotp.TOTP(pyotp.random_base32()), f"{login}@home.example"
        card = self.new_card()
        with state.database.write() as connection:
            person_id = people.add(
                connection,
                firm_id=self.firm_id,
                login=login,
                role=role,
                email=f"{login}@firm.example",
                now=now,
            )
            passwords.store(connection, person_id, passwords.hash_new(password), now)
            keys = []
            for kind, facts, secret in (
                (MethodKind.TOTP, {"hash": "SHA1"}, app.byte_secret()),
                (MethodKind.EMAIL, {"shown": "h•••"}, mail.encode()),
            ):
                factor_id = factors.create(
                    connection,
                    state.ring,
                    firm_id=self.firm_id,
                    person_id=person_id,
                    kind=kind,
                    label=kind.value,
                    facts=facts,
                    secret=secret,
                    now=now,
                    position=-1 if kind is MethodKind.TOTP else 0,
                )
                factors.confirm(connection, person_id, factor_id, now)
                keys.append(str(factor_id))
        made = Somebody(person_id, login, role, password, app, keys[0], mail, keys[1], card)
        self.people[name] = made
        with state.database.write() as connection:
            admin = Caller("console", self.firm_id, Role.ADMIN, "console", "")
            holding.assign(connection, state.ring, admin, card.serial, login=login, now=now)
        return made

    def newcomer(self) -> tuple[str, str]:
        """→ login of someone new, and the code to set the first password with"""
        self.numbers += 1
        login, state = f"new{self.numbers}", self.live.state
        with state.database.write() as connection:
            people.add(
                connection,
                firm_id=self.firm_id,
                login=login,
                role=PersonRole.USER,
                email=None,
                now=self.live.clock(),
            )
            made = people.by_login(connection, self.firm_id, login)
            code = recovery.console_help(state, connection, made, self.live.clock())
        return login, code

    def new_card(self) -> CardInHand:
        """One more in the drawer."""
        assert self.station is not None
        self.numbers += 1
        serial, seed = f"C{self.numbers:06}", secrets.token_bytes(20)
        state = self.live.state
        with came_from(self.address(), "station"), state.database.write() as connection:
            entry = CardSeed(serial, Secret(seed), 0)
            cards.register(connection, state.ring, self.station, [entry], self.live.clock())
        return CardInHand(serial, seed)

    def app_code(self, who: Somebody) -> str:
        """The next one: a step is good once."""
        self.live.clock.advance(30)
        return who.app.at(int(self.live.clock()))

    def mailed_code(self, who: Somebody, before: int) -> str:
        """The code in the newest letter to someone's mailbox, once there are more than `before`."""
        for _ in range(LETTER_S * 250):
            self.live.state.outbox.send_due()  # what the server's own threads have not begun
            letters = self.letters(who.mail)
            if len(letters) > before:
                found = re.search(r"\b\d{6}\b", letters[-1])
                if found:
                    return found.group()
            time.sleep(0.004)  # one of them has it
        return ""

    def letters(self, address: str) -> list[str]:
        return self.live.letters.to(address)

    def api(self, role: Role, method: str, path: str, **body: object) -> PageAnswer:
        headers = {"authorization": f"Bearer {self.tokens[role]}"}
        headers["x-forwarded-for"] = self.address()
        content = b""
        if body:
            headers["content-type"] = "application/json"
            content = json.dumps(body).encode()
        Counted.steps += 1
        return self.live.wire.ask(method, f"/v1{path}", headers, content)

    def acts(self, action: str) -> list[tuple[str, str, str]]:
        """Who did this to whom in the firm, so far, and from where."""
        with self.live.state.database.read() as connection:
            rows = connection.execute(
                select(AuditEntry.actor, AuditEntry.subject, AuditEntry.detail).where(
                    AuditEntry.firm_id == self.firm_id, AuditEntry.action == action
                )
            )
            return [(row.actor, row.subject, _origin(row.detail)) for row in rows]

    def from_nowhere(self) -> list[str]:
        """Acts of outsiders whose entry does not say from which address of theirs."""
        with self.live.state.database.read() as connection:
            rows = connection.execute(
                select(AuditEntry.actor, AuditEntry.action, AuditEntry.detail).where(
                    AuditEntry.firm_id == self.firm_id,
                    AuditEntry.actor.not_in(("console", "model")),
                )
            )
            return [row.action for row in rows if _origin(row.detail) not in self.addresses]

    def knows(self, login: str) -> bool:
        with self.live.state.database.read() as connection:
            query = select(PersonRow.id).where(
                PersonRow.firm_id == self.firm_id, PersonRow.login == login
            )
            return connection.scalar(query) is not None


def _origin(detail: str) -> str:
    return str(json.loads(detail or "{}").get("from", ""))


def new_town(live: Live, number: int) -> Town:
    state, now = live.state, live.clock()
    firm = f"firm-{number}-{secrets.token_hex(3)}"
    policy = FirmPolicy(
        methods=frozenset(MethodKind),
        max_failures=MAX_FAILURES,
        # A pause that no run outlasts: right codes must not lead to one.
        lockout_s=86400,
        lockout_max_s=86400,
        password_max_failures=100,
        sends_per_person_per_hour=1000,
        sends_per_address_per_hour=1000,
        sends_per_source_per_hour=100_000,
        remember_device_days=1,
        session_idle_minutes=1440,
        session_hours=720,
    )
    with state.database.write() as connection:
        firm_id = firms.add(connection, state.ring, firm, now=now, actor="model")
        firms.set_policy(connection, state.ring, firm_id, policy, now=now, actor="model")
        made = {
            role: credentials.add(
                connection,
                state.ring,
                role=role,
                name=role.value,
                now=now,
                actor="model",
                firm_id=firm_id,
            )
            for role in (Role.STATION, Role.DESK, Role.SERVICE)
        }
        client = oidc_clients.add_client(
            connection,
            state.ring,
            firm_id=firm_id,
            name="service",
            redirect_uris=[REDIRECT],
            now=now,
            actor="model",
        )
    tokens = {role: one.token.reveal().decode() for role, one in made.items()}
    town = Town(live, firm, firm_id, *client, tokens)
    town.station = Caller(made[Role.STATION].id, firm_id, Role.STATION, "station", "")
    for name, role in (
        ("ann", PersonRole.USER),
        ("bob", PersonRole.USER),
        ("sue", PersonRole.SUPPORT),
        ("sam", PersonRole.SUPPORT),
        ("boss", PersonRole.ADMINISTRATOR),
    ):
        town.settle(name, role)
    return town


class Surfer:
    """A browser without scripts: keeps cookies, follows redirects on the server, fills forms in."""

    def __init__(self, wire: SharedLine, firm: str, address: str) -> None:
        self.base = f"/p/{firm}"
        self.address = address
        self._wire = wire
        self._cookies: dict[str, str] = {}
        self._origin = wire.url
        self.status = 0
        self.text = ""
        self.outside = ""  # where a redirect led that is not on the server

    def get(self, path: str) -> Surfer:
        self._follow(self._ask("GET", path if path.startswith("/p/") else self.base + path))
        return self

    def post(self, path: str, **fields: str) -> Surfer:
        token = re.search(r'name="csrf" value="(\w+)"', self.text)
        form = {"csrf": token.group(1) if token else ""} | fields
        self._follow(self._ask("POST", self.base + path, form))
        return self

    def _ask(self, method: str, path: str, form: Mapping[str, str] | None = None) -> PageAnswer:
        headers = {"x-forwarded-for": self.address}
        if self._cookies:
            headers["cookie"] = "; ".join(f"{name}={v}" for name, v in self._cookies.items())
        if form is not None:
            headers["origin"] = self._origin
        Counted.steps += 1
        answer = self._wire.ask(method, path, *(as_form(headers, form) if form else (headers,)))
        for line in answer.cookies:
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    self._cookies.pop(name, None)
                elif path.startswith(morsel["path"]):
                    self._cookies[name] = morsel.value
        return answer

    def _follow(self, answer: PageAnswer) -> None:
        self.outside = ""
        for _ in range(10):
            where = answer.location
            if not where:
                break
            if not where.startswith(("/", self._origin)):
                self.outside = where
                break
            answer = self._ask("GET", where.removeprefix(self._origin))
        self.status, self.text = answer.status_code, answer.text

    def ticked(self) -> dict[str, str]:
        """The boxes of the page that are ticked: a form without them says that they are not."""
        boxes = re.findall(r'<input type="checkbox"[^>]*>', self.text)
        named = [re.search(r'name="([^"]+)"', one) for one in boxes if " checked" in one]
        return {one.group(1): "yes" for one in named if one}

    def cookie(self, name: str) -> str:
        return self._cookies.get(name, "")

    @property
    def heading(self) -> str:
        found = re.search(r"<h1>(.*?)</h1>", self.text, re.S)
        return found.group(1) if found else ""

    def whose(self) -> str:
        """Whose account the portal shows this browser, or ""."""
        self.get("/")
        found = re.search(r'class="who">(.*?)<', self.text)
        return found.group(1) if found and self.status == 200 else ""

    def password(self, login: str, password: str) -> Surfer:
        return self.get("/sign-in?again=yes").post("/sign-in", login=login, password=password)


class Vpn:
    """A network access server of a town, with a RADIUS server of the firm."""

    def __init__(self, town: Town, mode: Mode) -> None:
        self._town = town
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        settings = RadiusSettings(town.firm, Secret(RADIUS_SECRET), ("127.0.0.1/32",), mode)
        self._server = RadiusServer(town.live.state, settings, self._sock)
        self._thread = threading.Thread(target=self._server.serve, daemon=True)
        self._thread.start()
        self._dictionary = Dictionary(str(DICTIONARY))

    def close(self) -> None:
        self._server.close()
        port = self._sock.getsockname()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wake:
            wake.sendto(b"", ("127.0.0.1", port))
        self._thread.join()
        self._sock.close()

    def ask(self, name: str, typed: str, state: bytes = b"") -> tuple[int, bytes]:
        """→ code and State of the answer"""
        request = packet.AuthPacket(secret=RADIUS_SECRET, dict=self._dictionary)
        request.add_message_authenticator()
        request["User-Name"] = name
        request["User-Password"] = request.PwCrypt(typed)
        request["Calling-Station-Id"] = self._town.address()
        if state:
            request["State"] = state
        Counted.steps += 1
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(ANSWER_S)
            sock.sendto(request.RequestPacket(), self._sock.getsockname())
            reply = request.CreateReply(packet=sock.recv(4096))
        return reply.code, bytes(reply.get("State", [b""])[0])
