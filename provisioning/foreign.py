"""Provisioning of another maker's OATH applet (YKOATH protocol), which has none of our issuer
functions: no secure channel, no proof of being genuine, no keys of the firm.

So its seed goes over the line in the clear, and whoever asks for that has to say so. What can be
kept is kept: the seed is in the journal before it goes anywhere, two codes are compared, and
neither the applet nor the server is left with a seed that the other lacks.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from tallystick.common import chance
from tallystick.common.errors import BadInputError, NoDeviceError, RefusedError, TallyError
from tallystick.provisioning import container
from tallystick.provisioning.card import tlv
from tallystick.provisioning.card.connection import (
    CardRefusedError,
    CommandApdu,
    StatusWord,
    Transmitter,
)
from tallystick.provisioning.card.issuer import IssuerSession, select
from tallystick.provisioning.card.oath import (
    HOTP,
    INS_PUT,
    TAG_KEY,
    TAG_NAME,
    OathSession,
    Selected,
    select_oath,
)
from tallystick.provisioning.credential import SIX_DIGITS, CodeKind
from tallystick.provisioning.custody.interface import Custody, Seed
from tallystick.provisioning.journal import CardRecord, CardState, StationJournal
from tallystick.provisioning.people import CardsForPeople
from tallystick.provisioning.registry import Registered, Registry
from tallystick.provisioning.server_link import OutcomeUnknownError, RegistryRefusedError

BATCH = "foreign"
CODES_COMPARED = 2
NAME_LIMIT = 64
TAG_PROPERTY = 0x78
MANAGEMENT = bytes.fromhex("A000000527471117")
INS_READ_CONFIG = 0x1D
TAG_SERIAL = 0x02
REQUIRE_TOUCH = 0x02
TOUCH_SINCE = (4, 2, 6)  # the applet's version from which on it knows that property

UNPROTECTED = (
    "its seed goes to the device in the clear: whoever listens on the line or on this computer "
    "has it",
    "nothing proves that the device is genuine, nor that it keeps its seed to itself",
    "it can be given another seed, or be reset, by anybody who has it",
)
"""What is not protected, for whoever has to consent."""


@dataclass(frozen=True)
class Wanted:
    """serial: of the device, as the server shall know it; None takes the applet's identifier.
    touch: codes only after a touch. replace: an account of the same name may be overwritten.
    new_user: the user is made known to the server if there is none of this name. people: whose
    turn is next, in place of one user."""

    serial: str | None = None
    kind: CodeKind = SIX_DIGITS
    user: str | None = None
    touch: bool = True
    replace: bool = False
    new_user: bool = False
    batch: str = BATCH
    people: CardsForPeople | None = None


@dataclass(frozen=True)
class Done:
    """A foreign applet in service. account: its name on the device."""

    serial: str
    account: str
    applet_version: str
    touch: bool
    digits: int
    server: Registered
    resumed: bool


@dataclass
class Foreign:
    """Takes foreign applets through their steps; the steps and the journal are those of cards."""

    custody: Custody
    registry: Registry
    journal: StationJournal
    server_url: str

    def provision(
        self, device: Transmitter, wanted: Wanted, touch_now: Callable[[], None] = lambda: None
    ) -> Done:
        """Can be repeated after any interruption: the same seed is put again.

        touch_now: called before the device waits to be touched. Raises RefusedError,
        NoDeviceError, UnreachableError; each says what was kept.
        """
        if not self.custody.exports_seeds:
            raise RefusedError(
                "The keys are in a module that gives no seed away, but another maker's device "
                "takes its seed in the clear.",
                kept="Nothing was written to it.",
                todo="Use a station with a key file for such devices.",
            )
        applet = _select(device)
        serial = wanted.serial or applet.identifier.hex().upper()
        account = f"{container.MANUFACTURER}:{serial}"
        if len(account.encode()) > NAME_LIMIT:
            raise BadInputError(f"The serial number {serial} is too long for an account's name.")
        touch = wanted.touch and applet.version >= TOUCH_SINCE
        record = self._admit(OathSession(device), serial, account, wanted)
        resumed = record.state is not CardState.AUTHENTIC
        self.journal.note("seed sent unprotected", serial, "to a foreign OATH applet")
        try:
            record = self._seed_and_verify(device, record, account, touch, wanted, touch_now)
        except NoDeviceError as error:
            error.kept = f"The journal has the seed of {serial}, encrypted."
            error.todo = "Put the device back, and repeat the command: it gets the same seed."
            raise
        registered = self._register(device, record, account)
        self.journal.finish(self.journal.advance(record, CardState.REGISTERED), CardState.LOCKED)
        if record.user is not None and registered.user != record.user:
            registered = self._assign(record, record.user, new_user=wanted.new_user)
        version = ".".join(map(str, applet.version))
        digits = record.digits or wanted.kind.digits
        return Done(serial, account, version, touch, digits, registered, resumed)

    def _admit(self, session: OathSession, serial: str, account: str, wanted: Wanted) -> CardRecord:
        record = self.journal.open_run(serial)
        if record is not None:
            if record.batch != wanted.batch or record.server != self.server_url:
                raise RefusedError(
                    f"{serial} was begun as another card, or with the server {record.server}.",
                    kept="Nothing was written to the device.",
                    todo="Give another --serial, or resume it where it was begun.",
                )
            return record
        if self.registry.lookup(serial) is not None:
            raise RefusedError(
                f"The serial number {serial} is registered already.",
                kept="Nothing was written to the device.",
                todo="Withdraw it on the server first, or give another --serial.",
            )
        if not wanted.replace and any(entry.name == account for entry in session.list()):
            raise RefusedError(
                f"The device has an account {account} already.",
                kept="It was not touched.",
                todo="Add --replace to overwrite it.",
            )
        turn: AbstractContextManager[str | None] = nullcontext(wanted.user)
        if wanted.people is not None:
            turn = wanted.people.next(self.journal, wanted.batch)
        with turn as user:
            self.registry.check_user(user, new_user=wanted.new_user)
            return self.journal.begin(serial, wanted.batch, self.server_url, user)

    def _seed_and_verify(
        self,
        device: Transmitter,
        record: CardRecord,
        account: str,
        touch: bool,
        wanted: Wanted,
        touch_now: Callable[[], None],
    ) -> CardRecord:
        verified = record.state in (CardState.VERIFIED, CardState.REGISTERED)
        if verified and any(entry.name == account for entry in OathSession(device).list()):
            return record
        if record.container is None:
            seed = self.custody.new_seed(record.serial, chance.token_bytes(32))
            record = self._keep(record, seed, wanted.kind)
        assert record.container is not None and record.seed is not None
        context = container.journal_context(record.serial, record.container)
        seed = self.custody.reopen_seed(record.seed, context)
        try:
            kind = container.parts(record.container).kind
            self._put(device, account, record.container, touch)
            record = self.journal.advance(record, CardState.SEEDED)
            expected = seed.codes(0, CODES_COMPARED, kind)
        except CardRefusedError as refused:
            self.journal.fail(record, refused.what)
            raise
        finally:
            seed.wipe()
        given = []
        for _ in expected:
            if touch:
                touch_now()
            given.append(OathSession(device).calculate(account))
        if not hmac.compare_digest("".join(given), "".join(expected)):
            error = RefusedError(
                f"The device gives other codes for {account} than its seed should.",
                todo="Put it aside: it is faulty, or not what it says.",
            )
            raise self._take_back(device, record, account, error)
        return self.journal.advance(record, CardState.VERIFIED)

    def _keep(self, record: CardRecord, seed: Seed, kind: CodeKind) -> CardRecord:
        """Have the seed in the journal before it is on the device."""
        try:
            sealed = container.build(
                self.custody, seed, record.serial, kind, CODES_COMPARED, manufacturer=BATCH
            )
            context = container.journal_context(record.serial, sealed)
            return self.journal.keep_seed(record, sealed, seed.for_journal(context), kind.digits)
        finally:
            seed.wipe()

    def _put(self, device: Transmitter, account: str, sealed: bytes, touch: bool) -> None:
        made = container.parts(sealed)
        head = bytes((HOTP[made.kind.hash], made.kind.digits))
        with self.custody.open_for_export(made.sealed) as seed:
            data = tlv.encode(TAG_NAME, account.encode())
            data += tlv.encode(TAG_KEY, head + seed.reveal())
            if touch:
                data += bytes((TAG_PROPERTY, REQUIRE_TOUCH))  # this one has no length
            response = device.transmit(CommandApdu(0, INS_PUT, data=data))
        response.require("take its seed", kept="It has no seed of this station.")

    def _register(self, device: Transmitter, record: CardRecord, account: str) -> Registered:
        assert record.container is not None
        try:
            return self.registry.register(record.serial, record.container)
        except RegistryRefusedError as error:
            raise self._take_back(device, record, account, error) from None
        except OutcomeUnknownError as error:
            error.kept = f"The device has its seed, and the journal has it, too ({record.serial})."
            error.todo = "When the server is back, repeat the command."
            raise

    def _assign(self, record: CardRecord, user: str, *, new_user: bool) -> Registered:
        try:
            return self.registry.assign(record.serial, user, new_user=new_user)
        except RegistryRefusedError as error:
            error.kept = f"The device {record.serial} is in service, assigned to nobody."
            raise

    def _take_back(
        self, device: Transmitter, record: CardRecord, account: str, error: TallyError
    ) -> TallyError:
        """Delete the account from the device, close the run, and return `error` saying so."""
        try:
            OathSession(device).delete(account)
        except CardRefusedError as refused:
            if refused.sw != StatusWord.NO_SUCH_CREDENTIAL:
                raise
        self.journal.fail(record, error.what)
        error.kept = f"The account {account} was deleted; the server has no seed of it."
        return error


def device_serial(device: Transmitter) -> str:
    """The number that is printed on the device, where it tells it (management applet, READ CONFIG),
    else the OATH applet's identifier, which changes when that is reset. Raises NoDeviceError,
    RefusedError for a device without an OATH applet."""
    try:
        select(device, MANAGEMENT)
        answer = device.transmit(CommandApdu(0, INS_READ_CONFIG)).require("tell its number")
        number = tlv.first(answer[1:], TAG_SERIAL)  # the first byte is how long the rest is
        if number:
            return str(int.from_bytes(number, "big"))
    except NoDeviceError:
        raise
    except TallyError:
        pass  # it has no such applet, or no number
    return select_oath(device).identifier.hex().upper()


def _select(device: Transmitter) -> Selected:
    """The applet, if it is one of another maker and open. Raises RefusedError."""
    try:
        applet = select_oath(device)
    except CardRefusedError as error:
        error.todo = "Check that the device has an OATH applet, and that it is switched on."
        raise
    try:
        own = IssuerSession(device).serial()
    except TallyError:  # as it should: it does not know our command
        own = ""
    if own:
        raise RefusedError(
            f"This is a card of ours ({own}), which takes its seed in a secure channel.",
            kept="Nothing was written to it.",
            todo="Use `tally station provision`.",
        )
    if applet.locked:
        raise RefusedError(
            "The OATH applet is locked by a password.",
            kept="Nothing was written to it.",
            todo="Take the password away with the maker's tool, and set it again afterwards.",
        )
    return applet
