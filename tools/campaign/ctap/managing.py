"""Credential management (CTAP 2.1, 6.8)."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

from fido2 import cbor

from tallystick.tools.campaign.ctap.basics import (
    EDDSA,
    MANAGE,
    PARTY,
    SPOILED,
    begun,
    goes_on,
    param,
    still_to_come,
)
from tallystick.tools.campaign.ctap.channels import Answer, authenticate
from tallystick.tools.campaign.ctap.consent import (
    NO_CREDENTIALS,
    PIN_AUTH_INVALID,
    use,
)
from tallystick.tools.campaign.ctap.known import (
    CM,
    Known,
    KnownSequence,
)
from tallystick.tools.campaign.ctap.world import CtapWorld
from tallystick.tools.campaign.engine.subject import ViolationError

_LOOKS = (1, 2, 4)  # sub-commands: metadata, relying parties, credentials


def _managed(
    world: CtapWorld, channel: str, command: int, parameters: dict[int, Any] | None,
    party: str | None, *, lasting: bool = False,
) -> tuple[Answer, Any, int]:  # fmt: skip
    """6.8: (answer, what it says, status that is due so far). party: what it is about, None: all of
    them. lasting: with the persistent token, which only looks (CTAP 2.2)."""
    world.take_sequence()
    request: dict[int, Any] = {1: command, 3: 2}
    message = bytes((command,))
    if parameters is not None:
        request[2] = parameters
        message += cbor.encode(parameters)
    if lasting:
        request[4] = authenticate(world.known.lasting or SPOILED, message)
        allowed = world.known.lasts and command in _LOOKS
        answer, said = world.ask(channel, MANAGE, request)
        return answer, said, 0 if allowed else PIN_AUTH_INVALID
    request[4] = param(world, channel, message)
    held, token = world.held(channel), None
    if held is not None:
        world.known, token = use(world.known, held, CM, world.now)
    answer, said = world.ask(channel, MANAGE, request)
    allowed = token is not None and token.party in (None, party)
    return answer, said, 0 if allowed else PIN_AUTH_INVALID


def metadata(world: CtapWorld, channel: str, *, lasting: bool = False) -> None:
    """6.8.2."""
    answer, said, status = _managed(world, channel, 1, None, None, lasting=lasting)
    if world.expect("6.8.2", answer, status, asked=False):
        count = len(world.known.credentials)
        if (said[1], said[2]) != (count, 128 - count):
            raise ViolationError("count", f"6.8.2: {said}, there are {count}")


def _parties(known: Known) -> set[str]:
    return {one.party for one in known.credentials}


def parties(world: CtapWorld, channel: str, *, lasting: bool = False) -> None:
    """6.8.3."""
    answer, said, status = _managed(world, channel, 2, None, None, lasting=lasting)
    there = _parties(world.known)
    if not world.expect("6.8.3", answer, status or (0 if there else NO_CREDENTIALS), asked=False):
        return
    if said[5] != len(there) or said[3]["id"] not in there or not _is_hash_of(said):
        raise ViolationError("list", f"6.8.3: {said[5]}, {said[3]}")
    left = tuple(sorted(there - {said[3]["id"]}))
    if left:
        begun(world, channel, "parties", left, by_token=not lasting)


def _is_hash_of(said: Any) -> bool:
    """rpIDHash, of the relying party that is named."""
    return bool(said[4] == sha256(said[3]["id"].encode()).digest())


def next_party(world: CtapWorld, channel: str) -> None:
    """6.8.3."""
    sequence = goes_on(world, channel, "parties")
    answer, said = world.ask(channel, MANAGE, {1: 3})
    if world.expect("6.8.3", answer, 0x30 if sequence is None else 0, asked=False):
        assert sequence is not None
        _take_out(world, sequence, said[3]["id"])
        if not _is_hash_of(said):
            raise ViolationError("list", f"6.8.3: {said[4].hex()} is not of {said[3]}")


def _take_out(world: CtapWorld, sequence: KnownSequence, found: object) -> None:
    if found not in sequence.left:
        raise ViolationError("list", f"6.8: {found!r} is not to come")
    still_to_come(world, sequence, tuple(one for one in sequence.left if one != found))


def credentials(
    world: CtapWorld, channel: str, party: str = PARTY, *, lasting: bool = False
) -> None:
    """6.8.4."""
    parameters = {1: sha256(party.encode()).digest()}
    answer, said, status = _managed(world, channel, 4, parameters, party, lasting=lasting)
    there = {one.identifier for one in world.known.credentials if one.party == party}
    if not world.expect("6.8.4", answer, status or (0 if there else NO_CREDENTIALS), asked=False):
        return
    first = bytes(said[7]["id"])
    if said[9] != len(there) or first not in there:
        raise ViolationError("list", f"6.8.4: {said[9]} credentials")
    _described(world, said)
    left = tuple(sorted(there - {first}))
    if left:
        begun(world, channel, "credentials", left, by_token=not lasting)


def next_credential(world: CtapWorld, channel: str) -> None:
    """6.8.4."""
    sequence = goes_on(world, channel, "credentials")
    answer, said = world.ask(channel, MANAGE, {1: 5})
    if world.expect("6.8.4", answer, 0x30 if sequence is None else 0, asked=False):
        assert sequence is not None
        _take_out(world, sequence, bytes(said[7]["id"]))
        _described(world, said)


def _described(world: CtapWorld, said: Any) -> None:
    """Judges what a list says of a credential (6.8.4; CTAP 2.2: thirdPartyPayment)."""
    identifier = bytes(said[7]["id"])
    one = next(one for one in world.known.credentials if one.identifier == identifier)
    key, user = said[8], said[6]
    public = (key[-2],) if key[3] == EDDSA else (key[-2], key[-3])
    seen = user["id"], user.get("name", ""), public, said[10], said.get(11, b""), said[12]
    if seen != (one.user, one.name, one.public, one.protect, one.blob_key, one.payment):
        raise ViolationError("list", f"6.8.4: {said} is said of {one.user!r}")


def delete(world: CtapWorld, channel: str, *, lasting: bool = False) -> None:
    """6.8.5, of the newest one, or of one that there is not."""
    known = world.known
    one = known.credentials[-1] if known.credentials else None
    identifier = one.identifier if one else bytes(50)
    parameters = {2: {"id": identifier, "type": "public-key"}}
    party = one.party if one else PARTY
    answer, _, status = _managed(world, channel, 6, parameters, party, lasting=lasting)
    statuses = [status]
    if one is None and not lasting:
        # Nobody says to which relying party a credential belongs that is not there.
        statuses.append(NO_CREDENTIALS)
    if world.expect("6.8.5", answer, *statuses, asked=False):
        known = world.known
        left, gone = known.credentials[:-1], known.credentials[-1:]
        world.known = replace(known, credentials=left, deleted=gone)


def rename_user(world: CtapWorld, channel: str, name: str = "renamed") -> None:
    """6.8.6, of the newest one."""
    known = world.known
    if not known.credentials:
        return
    one = known.credentials[-1]
    parameters = {
        2: {"id": one.identifier, "type": "public-key"}, 3: {"id": one.user, "name": name},
    }  # fmt: skip
    answer, _, status = _managed(world, channel, 7, parameters, one.party)
    if world.expect("6.8.6", answer, status, asked=False):
        renamed = replace(one, name=name)
        world.known = replace(world.known, credentials=(*world.known.credentials[:-1], renamed))
