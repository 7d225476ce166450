"""The steps of one card: authentic → keyed → seeded → verified → registered → locked.

Every step can be repeated. What a step is about to do is in the journal before it is done, so that
a card that stopped anywhere is finished with the same seed, and neither the card nor the server is
left with a seed that the other lacks.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from tallystick.common import moments
from tallystick.common.errors import NoDeviceError, RefusedError, TallyError
from tallystick.provisioning import container
from tallystick.provisioning.card.connection import CardConnection, CardRefusedError, StatusWord
from tallystick.provisioning.card.issuer import (
    TRANSPORT_KEYS,
    FirmwareVersion,
    IssuerSession,
    LifeCycle,
    parse_serial,
)
from tallystick.provisioning.card.oath import OathSession, put_hotp, select_oath
from tallystick.provisioning.card.scp03 import SecureChannel
from tallystick.provisioning.card.t1 import AnswerLostError, Waiting
from tallystick.provisioning.credential import SIX_DIGITS, CodeKind
from tallystick.provisioning.custody.interface import KEY_NAMES, Custody, Seed
from tallystick.provisioning.jobs.certificate import facts
from tallystick.provisioning.journal import CARD, CardRecord, CardState, StationJournal
from tallystick.provisioning.people import CardsForPeople
from tallystick.provisioning.registry import Certifier, Registered, Registry
from tallystick.provisioning.server_link import OutcomeUnknownError, RegistryRefusedError

CODES_COMPARED = 2
TYPING_TRIES = 3
CARD_ENTROPY = 31
"""Bytes asked of the card: 248 bits, and with its padding two AES blocks on the wire, not three."""

ATTEMPTS = 3

DOING = {
    CardState.SEEN: "authenticating",
    CardState.AUTHENTIC: "giving keys",
    CardState.KEYED: "giving a seed",
    CardState.SEEDED: "comparing two codes",
    CardState.VERIFIED: "registering",
    CardState.REGISTERED: "putting in service",
    CardState.LOCKED: "done: take the card out",
    CardState.FAILED: "taking the seed back",
}
"""What is being done to a card that has come so far, in words."""

Report = Callable[[CardState, str], None]
"""(state reached, serial number) of the card under way."""


@dataclass(frozen=True)
class Plan:
    """What is wanted of every card of a run. new_user: the user is made known to the server if
    there is none of this name."""

    kind: CodeKind = SIX_DIGITS
    user: str | None = None
    new_user: bool = False
    batch: str = "single"
    reseed: bool = False
    expected_serial: str | None = None
    minimum_version: tuple[int, int, int] = (0, 1, 0)
    only: frozenset[str] | None = None  # serial numbers, when resuming
    box: frozenset[str] | None = None  # serial numbers of the labels that were scanned
    confirm: Callable[[str], str] | None = None  # serial → the code that a person reads
    people: CardsForPeople | None = None  # in place of one user for all


@dataclass(frozen=True)
class Outcome:
    """A finished card. check_values: of its firm keys, hex; wire_bytes: both ways; certificate:
    compact JWS, of a card that was made on a ticket."""

    serial: str
    firmware: FirmwareVersion
    key_version: int
    check_values: dict[str, str]
    digits: int
    server: Registered
    resumed: bool
    wire_bytes: int
    apdus: int
    elapsed_ms: float
    certificate: str | None = None


@dataclass
class _Card:
    """The card under way."""

    channel: SecureChannel
    serial: str
    version: FirmwareVersion
    life_cycle: LifeCycle

    @property
    def key_version(self) -> int:
        return self.channel.update.key_version

    @property
    def diversification_data(self) -> bytes:
        return self.channel.update.diversification_data


@dataclass
class Provisioner:
    """Takes cards through their steps. One instance serves several threads."""

    custody: Custody
    registry: Registry
    journal: StationJournal
    plan: Plan
    server_url: str
    clock: Callable[[], float] = field(default=moments.steady)

    def provision(
        self, connection: CardConnection, report: Report, waiting: Waiting | None = None
    ) -> Outcome:
        """Finish the card on `connection`.

        Raises NoDeviceError when it goes away, RefusedError when card, policy or server refuse,
        UnreachableError when the server's answer stays unknown. Each says what was kept.
        """
        run = CardRun(self, connection, report, waiting)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return run.finish()
            except AnswerLostError:
                if attempt == ATTEMPTS:
                    raise run.interrupted("The line kept losing the card's answers.") from None
            except NoDeviceError as error:
                raise run.interrupted(error.what) from None
        raise AssertionError("unreachable")


class CardRun:
    """One card's way through the steps."""

    def __init__(
        self,
        parent: Provisioner,
        connection: CardConnection,
        report: Report,
        waiting: Waiting | None,
    ) -> None:
        self._custody = parent.custody
        self._registry = parent.registry
        self._journal = parent.journal
        self._plan = parent.plan
        self._server_url = parent.server_url
        self._clock = parent.clock
        self._connection = connection
        self._report = report
        self._waiting = waiting
        self._serial = ""
        self._resumed: bool  # once it is admitted
        self._began = parent.clock()

    def finish(self) -> Outcome:
        """Take the card through all the steps it has not taken yet."""
        card = self._authenticate()
        try:
            record = self._admit(card)
            self._give_keys(card)
            record = self._seed_and_verify(card, record)
            record, registered = self._register(card, record)
            registered, problem = self._assign(card, record, registered)
            self._note_facts(card)
            self._lock(card, record)
        finally:
            card.channel.close()
        certificate = self._certificate(card.serial)
        if problem is not None:
            raise problem
        return self._outcome(card, record, registered, certificate)

    def interrupted(self, what: str) -> NoDeviceError:
        """The error for a card that went away, with what is safe about it."""
        record = self._journal.open_run(self._serial)
        if record is None:
            return NoDeviceError(
                what,
                kept="Nothing was written to the card.",
                todo="Put it back in the dock and repeat the command.",
            )
        return NoDeviceError(
            what,
            kept=f"Card {record.serial} got as far as '{record.state}', and the journal has it.",
            todo="Put it back in the dock and run `tally station resume`.",
        )

    def _note(self, state: CardState) -> None:
        self._report(state, self._serial)

    def _authenticate(self) -> _Card:
        self._note(CardState.SEEN)
        select_oath(self._connection)
        channel = SecureChannel.open(self._connection, self._custody.channel_keys)
        try:
            return self._recognise(channel)
        except BaseException:
            channel.close()
            raise

    def _recognise(self, channel: SecureChannel) -> _Card:
        """Which card it is, and whether it is wanted here."""
        serial = parse_serial(channel.update.diversification_data)
        wanted = self._plan.expected_serial
        if wanted is not None and wanted != serial:
            raise RefusedError(
                f"The card in the dock is {serial}, not {wanted}.",
                kept="Nothing was written to it.",
                todo="Put the card with the right label in the dock.",
            )
        if self._plan.box is not None and serial not in self._plan.box:
            raise RefusedError(
                f"Card {serial} is not one of the box whose labels were scanned.",
                kept="Nothing was written to it.",
                todo="Look whether it has the right label, and scan that; or put it aside.",
            )
        self._serial = serial
        self._note(CardState.SEEN)
        version = IssuerSession(channel).version()  # inside the channel, so nobody can fake it
        self._check_version(version)
        life_cycle = LifeCycle.OP_READY
        if channel.update.key_version != TRANSPORT_KEYS:
            life_cycle = IssuerSession(channel).life_cycle()
        return _Card(channel, serial, version, life_cycle)

    def _check_version(self, version: FirmwareVersion) -> None:
        if (version.major, version.minor, version.patch) < self._plan.minimum_version:
            wanted = ".".join(map(str, self._plan.minimum_version))
            raise RefusedError(
                f"Card {self._serial} has firmware {version}, below the policy's {wanted}.",
                kept="Nothing was written to it.",
                todo="Flash newer firmware, or lower --min-version.",
            )

    def _admit(self, card: _Card) -> CardRecord:
        """The card's run in the journal; decides before anything is written to the card."""
        record = self._journal.open_run(card.serial)
        if record is not None and record.server != self._server_url:
            raise RefusedError(
                f"Card {card.serial} was begun with the server {record.server}.",
                kept="Its journal entry was not touched.",
                todo="Resume it with that --server.",
            )
        if record is not None and record.device != CARD:
            raise RefusedError(
                f"The serial number {card.serial} was given to a {record.device} that is half-way.",
                kept="Nothing was written to the card.",
                todo=f"A label was mixed up: finish that {record.device} first.",
            )
        self._resumed = record is not None
        if record is None:
            if self._plan.only is not None:
                raise RefusedError(
                    f"Card {card.serial} is not one that stopped half-way.",
                    kept="Nothing was written to it.",
                    todo=f"Put one of these in the dock: {', '.join(sorted(self._plan.only))}.",
                )
            self._refuse_finished(card)
            with self._next_user() as user:
                self._registry.check_user(user, new_user=self._plan.new_user)
                record = self._journal.begin(
                    card.serial,
                    self._plan.batch,
                    self._server_url,
                    user,
                    reseed=self._plan.reseed,
                )
        if record.reseed and record.state is CardState.AUTHENTIC:
            self._withdraw_old(record)
        elif self._resumed and record.state not in (CardState.VERIFIED, CardState.REGISTERED):
            self._refuse_registered(card, record)
        if isinstance(self._registry, Certifier) and self._registry.ticket is not None:
            self._journal.keep_facts(card.serial, self._registry.ticket.id)
        self._note(CardState.AUTHENTIC)
        return record

    def _next_user(self) -> AbstractContextManager[str | None]:
        if self._plan.people is None:
            return nullcontext(self._plan.user)
        return self._plan.people.next(self._journal, self._plan.batch)

    def _refuse_finished(self, card: _Card) -> None:
        if card.life_cycle is LifeCycle.TERMINATED:
            raise RefusedError(f"Card {card.serial} was wiped for good.", todo="Use another card.")
        registered = self._registry.lookup(card.serial)
        if card.life_cycle is LifeCycle.SECURED and not self._plan.reseed:
            known = "the server knows it" if registered else "the server does not know it"
            raise RefusedError(
                f"Card {card.serial} is already in service, and {known}.",
                kept="Nothing was changed.",
                todo="`tally station provision --reseed`, or that choice of the console, gives it "
                "a new seed; old codes end then.",
            )
        done = self._journal.latest(card.serial)
        if registered is not None and done is not None and not self._plan.reseed:
            raise RefusedError(
                f"This station has already put a card with the serial number {card.serial} into "
                "service; the one in the dock is blank.",
                kept="Nothing was written to it.",
                todo="Find out which of the two is genuine before either is used: it may be a "
                "counterfeit. A card that was replaced is withdrawn on the server first.",
            )
        if registered is not None and not self._plan.reseed:
            raise RefusedError(
                f"The serial number {card.serial} is already registered "
                f"(by {registered.registered_by or 'another station'}), but not in this journal.",
                kept="Nothing was written to the card.",
                todo="Run `tally station resume` where it was begun, or withdraw it on the server.",
            )

    def _withdraw_old(self, record: CardRecord) -> None:
        """Take the card's old seed from the server, before it gets a new one."""
        if self._registry.lookup(record.serial) is None:
            return
        try:
            self._registry.withdraw(record.serial)
        except RegistryRefusedError as error:
            self._journal.fail(record, error.what)
            error.kept = f"Card {record.serial} keeps its seed, and the server keeps it, too."
            raise

    def _refuse_registered(self, card: _Card, record: CardRecord) -> None:
        """A run that has not come to registration, of a serial number that the server has."""
        if self._registry.lookup(card.serial) is None:
            return
        error = RegistryRefusedError(
            f"The serial number {card.serial} was registered elsewhere meanwhile.", "409"
        )
        raise self._take_back(card, record, error)

    def _give_keys(self, card: _Card) -> None:
        """Replace transport keys, or an older set of the firm's, by the firm's current keys."""
        version = self._custody.firm_version
        if card.key_version != version:
            keys = self._custody.firm_keys(card.key_version, card.diversification_data)
            IssuerSession(card.channel).put_key(version, keys, self._waiting)
            card.channel.close()
            card.channel = SecureChannel.open(self._connection, self._custody.channel_keys)
            self._check_new_keys(card)
        self._note(CardState.KEYED)

    def _check_new_keys(self, card: _Card) -> None:
        same = card.diversification_data.decode() == card.serial
        if not same or card.key_version != self._custody.firm_version:
            raise RefusedError(
                f"Card {card.serial} does not use the keys it has just confirmed.",
                kept="It has no seed.",
                todo="Put it aside: its flash may be faulty.",
            )

    def _seed_and_verify(self, card: _Card, record: CardRecord) -> CardRecord:
        if record.state in (CardState.VERIFIED, CardState.REGISTERED) and self._has_seed(card):
            return record
        kept = self._reopened(card, record)
        seed = kept or self._new_seed(card)
        try:
            if kept is None:
                record = self._keep(card.serial, record, seed)
            assert record.container is not None
            made = container.parts(record.container)
            self._put(card, seed, made.kind)
            record = self._journal.advance(record, CardState.SEEDED)
            self._note(CardState.SEEDED)
            expected = seed.codes(0, made.moving_factor, made.kind)
        finally:
            seed.wipe()
        return self._compare(card, record, expected)

    def _new_seed(self, card: _Card) -> Seed:
        entropy = IssuerSession(card.channel).get_challenge(CARD_ENTROPY)
        return self._custody.new_seed(card.serial, entropy)

    def _reopened(self, card: _Card, record: CardRecord) -> Seed | None:
        """The seed of the journal. None: there is none yet, or it cannot be opened again; then the
        server, which may have it, must not keep it."""
        if record.container is None:
            return None
        if self._custody.reopens_seeds:
            assert record.seed is not None
            context = container.journal_context(card.serial, record.container)
            return self._custody.reopen_seed(record.seed, context)
        if record.state in (CardState.VERIFIED, CardState.REGISTERED):
            self._withdraw_old(record)
        return None

    def _has_seed(self, card: _Card) -> bool:
        """Whether the card that comes back still has what it had: it may have been reset, or made
        anew with the same serial number."""
        return any(entry.name == card.serial for entry in OathSession(card.channel).list())

    def _keep(self, serial: str, record: CardRecord, seed: Seed) -> CardRecord:
        """Have the seed in the journal before it is on the card."""
        kind = self._plan.kind
        codes = CODES_COMPARED + (self._plan.confirm is not None)
        sealed = container.build(self._custody, seed, serial, kind, codes)
        context = container.journal_context(serial, sealed)
        return self._journal.keep_seed(record, sealed, seed.for_journal(context), kind.digits)

    def _put(self, card: _Card, seed: Seed, kind: CodeKind) -> None:
        try:
            put_hotp(card.channel, card.serial, seed, kind, self._waiting)
        except CardRefusedError as error:
            if error.sw != StatusWord.NO_SPACE:
                raise
            # a credential of another name that no server knows: nobody can miss it
            OathSession(card.channel).reset(self._waiting)
            put_hotp(card.channel, card.serial, seed, kind, self._waiting)

    def _compare(self, card: _Card, record: CardRecord, expected: list[str]) -> CardRecord:
        """Have every code that the container takes for used: the first two over the line, and the
        third, where a person confirms button and display, from the display."""
        session = OathSession(card.channel)
        asked = len(expected)
        if asked > CODES_COMPARED and self._plan.confirm is not None:
            asked = CODES_COMPARED
        given = [session.calculate(card.serial, self._waiting) for _ in expected[:asked]]
        if not hmac.compare_digest("".join(given), "".join(expected[:asked])):
            error = RefusedError(
                f"Card {card.serial} gives other codes than its seed should.",
                todo="Put it aside: it is faulty or not genuine.",
            )
            raise self._take_back(card, record, error)
        if asked < len(expected) and not self._confirmed(card.serial, expected[-1]):
            error = RefusedError(
                f"The code on the display of card {card.serial} was not the right one.",
                todo="Provision it again; if its display or button is faulty, put it aside.",
            )
            raise self._take_back(card, record, error)
        record = self._journal.advance(record, CardState.VERIFIED)
        self._note(CardState.VERIFIED)
        return record

    def _confirmed(self, serial: str, expected: str) -> bool:
        """A person has pressed the button and reads the code; typing may take a few tries."""
        assert self._plan.confirm is not None
        return any(
            hmac.compare_digest(self._plan.confirm(serial).encode(), expected.encode())
            for _ in range(TYPING_TRIES)
        )

    def _register(self, card: _Card, record: CardRecord) -> tuple[CardRecord, Registered]:
        assert record.container is not None
        try:
            registered = self._registry.register(card.serial, record.container)
        except RegistryRefusedError as error:
            raise self._take_back(card, record, error) from None
        except OutcomeUnknownError as error:
            raise OutcomeUnknownError(
                error.what,
                kept=f"Card {card.serial} has its seed, and the journal has it encrypted.",
                todo="When the server is back, run `tally station resume`.",
            ) from None
        if record.state is not CardState.REGISTERED:
            record = self._journal.advance(record, CardState.REGISTERED)
        self._note(CardState.REGISTERED)
        return record, registered

    def _assign(
        self, card: _Card, record: CardRecord, registered: Registered
    ) -> tuple[Registered, TallyError | None]:
        """Assign to the user, if one is wanted. A refusal does not keep the card from service."""
        if record.user is None or registered.user == record.user:
            return registered, None
        try:
            return self._registry.assign(
                card.serial, record.user, new_user=self._plan.new_user
            ), None
        except RegistryRefusedError as error:
            kept = f"Card {card.serial} is registered and in service, assigned to nobody."
            return registered, RegistryRefusedError(
                error.what, error.code, kept=kept, todo=error.todo or "Assign it on the server."
            )

    def _lock(self, card: _Card, record: CardRecord) -> None:
        if card.life_cycle is not LifeCycle.SECURED:
            IssuerSession(card.channel).set_status(LifeCycle.SECURED)
        self._journal.note_key_version(card.serial, card.key_version)
        self._journal.finish(record, CardState.LOCKED)
        self._note(CardState.LOCKED)

    def _note_facts(self, card: _Card) -> None:
        """What a certificate is to say of a card that is made on a ticket."""
        registry = self._registry
        if not isinstance(registry, Certifier) or registry.ticket is None:
            return
        confirmed = self._plan.confirm is not None
        codes = CODES_COMPARED + confirmed
        said = facts(card.channel, card.version, card.key_version, codes, confirmed=confirmed)
        self._journal.keep_facts(card.serial, registry.ticket.id, json.dumps(said))

    def _certificate(self, serial: str) -> str | None:
        """Of a card that was made on a ticket. A server that does not sign it now is asked again at
        the job's end: the card is good without."""
        registry = self._registry
        if not isinstance(registry, Certifier) or registry.ticket is None:
            return None
        noted = self._journal.certificate(serial)
        assert noted is not None and noted.facts is not None
        try:
            text = registry.certify(serial, json.loads(noted.facts))
        except (RegistryRefusedError, OutcomeUnknownError):
            return None
        self._journal.keep_certificate(serial, text)
        return text

    def _take_back(self, card: _Card, record: CardRecord, error: TallyError) -> TallyError:
        """Delete the seed from the card, close the run, and return `error` saying so."""
        try:
            OathSession(card.channel).delete(card.serial, self._waiting)
        except CardRefusedError as refused:
            # A status word alone carries no proof that it is the card's; a list does.
            if refused.sw != StatusWord.NO_SUCH_CREDENTIAL or self._has_seed(card):
                raise
        self._journal.fail(record, error.what)
        self._note(CardState.FAILED)
        error.kept = f"Card {card.serial} has no seed (it was deleted); the server has none of it."
        return error

    def _outcome(
        self, card: _Card, record: CardRecord, registered: Registered, certificate: str | None
    ) -> Outcome:
        keys = self._custody.firm_keys(card.key_version, card.diversification_data)
        values = (key.check_value.hex() for key in keys)
        return Outcome(
            serial=card.serial,
            firmware=card.version,
            key_version=card.key_version,
            check_values=dict(zip(KEY_NAMES, values, strict=True)),
            digits=record.digits or self._plan.kind.digits,
            server=registered,
            resumed=self._resumed,
            wire_bytes=self._connection.wire_bytes,
            apdus=self._connection.apdus,
            elapsed_ms=round((self._clock() - self._began) * 1000, 1),
            certificate=certificate,
        )
