"""Cards and stations broken on purpose, each so that a relay gains by it: the campaign must notice
every one. Cards are patches of the firmware, stations are changes to the running program."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from tallystick.common.errors import TallyError
from tallystick.emulator import boards
from tallystick.emulator.devices.image import Image
from tallystick.emulator.interpreter import resident
from tallystick.provisioning import steps
from tallystick.provisioning.card import oath
from tallystick.provisioning.card.connection import CardRefusedError, Response, StatusWord
from tallystick.provisioning.card.issuer import IssuerSession
from tallystick.provisioning.card.scp03 import SecureChannel
from tallystick.provisioning.journal import CardState
from tallystick.tools.campaign.engine.animal import Animal, Broken, Patch, in_place_of
from tallystick.tools.campaign.wire.run import Wire, WireSighting, WireTally, line_of, subject
from tallystick.tools.flash.field import Update

_MOST = 4000  # relays

_SCP03, _APPLETS, _OATH = "lib/scp03.py", "card/applets.py", "card/oath.py"


def _card(name: str, sentence: str, *patches: Patch) -> Animal:
    return Animal(f"wire-{name}", sentence, patches, (), boards.DEFAULT)


CARDS = (
    _card(
        "mac-unchecked", "A command's C-MAC is not looked at.",
        Patch(_SCP03, "        if not same(command.data[size:], mac[:_MAC]):\n",
              "        if False:\n"),
    ),
    _card(
        "challenge-again", "Its challenge is always the same.",
        Patch(_APPLETS, "challenge = self.terminal.random(8)", "challenge = bytes(8)"),
    ),
    _card(
        "stranger-heard", "What changes it needs no secure channel.",
        Patch(_APPLETS, "        if not self.private():\n"
              "            raise Refused(wire.SW_SECURITY)\n", ""),
        Patch(_APPLETS, "        self.need_keys()\n        if self.store.kvn",
              "        if self.store.kvn"),
    ),
    _card(
        "host-unproved", "Nobody has to prove that he has the keys.",
        Patch(_SCP03, "            raise Refused(wire.SW_NOT_AUTHENTICATED)\n"
              "        if len(self._verified(apdu, command)) != 8:\n"
              "            raise Refused(wire.SW_LENGTH)\n",
              "            pass\n        try:\n            self._verified(apdu, command)\n"
              "        except Refused:\n            pass\n"),
    ),
    _card(
        "seed-told", "It tells its seed to anybody who asks for codes.",
        Patch(_OATH, "bytes((store.digits,)))\n\n\ndef _calculate(",
              "bytes((store.digits,)) + store.seed)\n\n\ndef _calculate("),
    ),
    _card(
        "keys-told", "It tells its keys with its life cycle.",
        Patch("card/issuer.py", "tlv.item(0x4F, wire.AID_ISSUER) + state)",
              "tlv.item(0x4F, wire.AID_ISSUER) + state) + card.store.keys"),
    ),
)  # fmt: skip


def _proof_unchecked(genuine: Any) -> Any:
    def unwrap(self: SecureChannel, response: Response) -> Response:
        try:
            return genuine(self, response)  # type: ignore[no-any-return]
        except TallyError:
            return Response(b"", response.sw)

    return unwrap


def _bare_taken(genuine: Any) -> Any:
    def unwrap(self: SecureChannel, response: Response) -> Response:
        if response.sw == StatusWord.OK and not response.data:
            return response
        return genuine(self, response)  # type: ignore[no-any-return]

    return unwrap


def _data_unproved(genuine: Any) -> Any:
    """The station of a specification that asks for no R-MAC where none comes."""

    def unwrap(self: SecureChannel, response: Response) -> Response:
        if response.sw == StatusWord.OK and len(response.data) % 16 != 8:
            return response
        return genuine(self, response)  # type: ignore[no-any-return]

    return unwrap


def _cleans_up(genuine: Any) -> Any:
    def provision(self: steps.Provisioner, *arguments: Any, **named: Any) -> Any:
        try:
            return genuine(self, *arguments, **named)
        except TallyError:
            self.journal._database.execute("DELETE FROM cards WHERE state != 'locked'")
            raise

    return provision


def _in_the_clear(genuine: Any) -> Any:
    def put(channel: SecureChannel, name: str, seed: Any, *rest: Any, **named: Any) -> None:
        try:
            genuine(channel, name, seed, *rest, **named)
        except TallyError:
            channel.connection.send(b"\0\1\0\0" + bytes((seed.size,)) + seed.reveal())
            raise

    return put


def _word_believed(genuine: Any) -> Any:
    def take_back(self: Any, card: Any, record: Any, error: TallyError) -> TallyError:
        try:
            oath.OathSession(card.channel).delete(card.serial)
        except CardRefusedError as refused:
            if refused.sw != StatusWord.NO_SUCH_CREDENTIAL:
                raise
        self._journal.fail(record, error.what)
        self._note(CardState.FAILED)
        return error

    return take_back


def _refusal_unheard(genuine: Any) -> Any:
    def set_status(self: IssuerSession, *arguments: Any, **named: Any) -> None:
        with suppress(TallyError):
            genuine(self, *arguments, **named)

    return set_status


def _serial_believed(genuine: Any) -> Any:
    def recognise(self: Any, channel: SecureChannel) -> Any:
        card = genuine(self, channel)
        card.serial = self._serial = IssuerSession(self._connection).serial()
        return card

    return recognise


STATIONS = (
    Broken("proof-unchecked", "A wrong R-MAC is taken for an empty answer.",
           in_place_of(SecureChannel, "_unwrap", _proof_unchecked)),
    Broken("bare-taken", "Success without an R-MAC is taken.",
           in_place_of(SecureChannel, "_unwrap", _bare_taken)),
    Broken("data-unproved", "Data without an R-MAC is taken.",
           in_place_of(SecureChannel, "_unwrap", _data_unproved)),
    Broken("cleans-up", "A run that failed leaves nothing in the journal.",
           in_place_of(steps.Provisioner, "provision", _cleans_up)),
    Broken("in-the-clear", "A seed that is refused goes again without its channel.",
           in_place_of(steps, "put_hotp", _in_the_clear)),
    Broken("word-believed", "That a card has no seed is taken on a status word.",
           in_place_of(steps.CardRun, "_take_back", _word_believed)),
    Broken("refusal-unheard", "Whether the life cycle moved on is not looked at.",
           in_place_of(IssuerSession, "set_status", _refusal_unheard)),
    Broken("serial-believed", "Which card it is, is asked outside the channel.",
           in_place_of(steps.CardRun, "_recognise", _serial_believed)),
)  # fmt: skip


def hunt(one: Animal | Broken) -> WireSighting | None:
    """The first violation that a relay finds; None when none does."""
    if isinstance(one, Broken):
        with one.change():
            return _hunt(*subject())
    with one.firmware() as root:
        tested = subject(root)
    return _hunt(*tested)


def _hunt(image: Image, update: Update) -> WireSighting | None:
    with resident.enabled():
        try:
            wire = Wire(image, update)
        except TallyError as error:
            return WireSighting("", "prepare", error.what)
        try:
            tally = WireTally()
            for seed in range(_MOST):
                name, deeds = wire.draw(seed)
                for problem in wire.run(name, deeds, tally):
                    return WireSighting(line_of(name, deeds), *problem)
        finally:
            wire.close()
    return None
