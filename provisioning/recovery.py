"""Putting things right afterwards: what can be finished without a card, and where journal, server
and a card at hand disagree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tallystick.common.errors import TallyError
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.issuer import IssuerSession, LifeCycle
from tallystick.provisioning.card.oath import OathSession, select_oath
from tallystick.provisioning.card.scp03 import SecureChannel
from tallystick.provisioning.custody.interface import Custody
from tallystick.provisioning.journal import FINISHED, CardRecord, CardState, StationJournal
from tallystick.provisioning.registry import Registered, Registry


def finish_without_card(
    journal: StationJournal, registry: Registry, server_url: str
) -> list[CardRecord]:
    """Register what is verified; returns the runs that need their card in the dock.

    Raises what the registry raises; what was finished before that stays finished.
    """
    waiting = []
    for record in journal.unfinished():
        if record.state is CardState.VERIFIED and record.server == server_url:
            assert record.container is not None
            registry.register(record.serial, record.container)
            record = journal.advance(record, CardState.REGISTERED)  # noqa: PLW2901
        waiting.append(record)
    return waiting


@dataclass(frozen=True)
class CardAtHand:
    """What a card tells about itself without a secure channel."""

    serial: str
    life_cycle: LifeCycle
    credentials: tuple[str, ...]


@dataclass
class Discrepancy:
    """One disagreement. repair is None when a person has to decide or act otherwise."""

    serial: str
    problem: str
    advice: str
    repair: Callable[[], None] | None = None
    repaired: bool = False


def look_at(connection: CardConnection) -> CardAtHand:
    select_oath(connection)
    session = IssuerSession(connection)
    names = tuple(entry.name for entry in OathSession(connection).list())
    return CardAtHand(session.serial(), session.life_cycle(), names)


class Reconciliation:
    """Compares journal, server and, where there is one, the card in the dock."""

    def __init__(
        self,
        custody: Custody,
        registry: Registry,
        journal: StationJournal,
        server_url: str,
        connection: CardConnection | None = None,
    ) -> None:
        self._custody = custody
        self._registry = registry
        self._journal = journal
        self._server_url = server_url
        self._connection = connection

    def findings(self) -> list[Discrepancy]:
        """Every disagreement; asks the server about each card of the journal."""
        found = []
        for record in self._journal.latest_of_each():
            if record.server == self._server_url:
                finding = self._journal_and_server(record, self._registry.lookup(record.serial))
                found += [finding] if finding else []
        if self._connection is not None:
            card = look_at(self._connection)
            finding = self._card_and_server(card, self._registry.lookup(card.serial))
            known = {(entry.serial, entry.problem) for entry in found}
            if finding and (finding.serial, finding.problem) not in known:
                found.append(finding)
        return found

    def _journal_and_server(
        self, record: CardRecord, server: Registered | None
    ) -> Discrepancy | None:
        if record.state in (CardState.VERIFIED, CardState.REGISTERED) and server is None:
            return Discrepancy(
                record.serial,
                "the card has a seed that the server does not have",
                "register it with the container in the journal",
                lambda: self._register(record),
            )
        if record.state is CardState.FAILED and server is not None:
            return Discrepancy(
                record.serial,
                "the server has a seed, but the run of its card was given up",
                "withdraw it from the server",
                lambda: self._registry.withdraw(record.serial),
            )
        if record.state in FINISHED and server is None:
            return Discrepancy(
                record.serial,
                "the card is in service, but the server does not know it",
                "put it in the dock and run `tally station provision --reseed`, or retire it",
            )
        if (
            record.state in (CardState.AUTHENTIC, CardState.KEYED, CardState.SEEDED)
            and server is not None
        ):
            return Discrepancy(
                record.serial,
                "the card is half-way here, but registered from elsewhere",
                "put it in the dock and run `tally station resume`: its seed is taken back",
            )
        return None

    def _card_and_server(self, card: CardAtHand, server: Registered | None) -> Discrepancy | None:
        if self._journal.open_run(card.serial) is not None:
            return None  # `resume` finishes it
        if server is not None and not card.credentials:
            return Discrepancy(
                card.serial,
                "the server has a seed that the card lacks",
                "withdraw it from the server",
                lambda: self._registry.withdraw(card.serial),
            )
        if server is None and card.credentials and card.life_cycle is LifeCycle.INITIALIZED:
            return Discrepancy(
                card.serial,
                "the card has a seed that neither server nor journal knows",
                "delete it from the card",
                lambda: self._delete(card),
            )
        if server is None and card.credentials and card.life_cycle is LifeCycle.SECURED:
            return Discrepancy(
                card.serial,
                "the card is in service, but the server does not know it",
                "put it in the dock and run `tally station provision --reseed`, or retire it",
            )
        return None

    def _register(self, record: CardRecord) -> None:
        assert record.container is not None
        self._registry.register(record.serial, record.container)
        self._journal.advance(record, CardState.REGISTERED)

    def _delete(self, card: CardAtHand) -> None:
        assert self._connection is not None
        select_oath(self._connection)
        channel = SecureChannel.open(self._connection, self._custody.channel_keys)
        try:
            for name in card.credentials:
                OathSession(channel).delete(name)
        finally:
            channel.close()


def repair(finding: Discrepancy) -> TallyError | None:
    """Do a finding's repair; returns the error that kept it from being done."""
    assert finding.repair is not None
    try:
        finding.repair()
    except TallyError as error:
        return error
    finding.repaired = True
    return None
