"""Which identifiers of credentials the reader knows, and to whom it says so. Sections are of CTAP
2.1."""

from __future__ import annotations

from typing import Any

import pytest
from fido2.webauthn import (
    PublicKeyCredentialDescriptor,
    PublicKeyCredentialType,
    PublicKeyCredentialUserEntity,
)

from tests.emulator.reader.raw import ASSERT, ES256, HASH, MAKE, PARTY, USER, Host, refused
from tests.emulator.reader.rig import Rig

_NEW: dict[int, Any] = {1: HASH, 2: PARTY, 3: USER, 4: ES256}


def _made(host: Host, *, rk: bool = False, protect: int = 1, uv: bool = True) -> bytes:
    request = _NEW | {6: {"credProtect": protect}, 7: {"rk": rk, "uv": uv}}
    data = host.ask(MAKE, request, press="thumb")[1][2]
    return data[55 : 55 + int.from_bytes(data[53:55], "big")]


def _listed(identifier: bytes) -> list[dict[str, Any]]:
    return [{"id": identifier, "type": "public-key"}]


def _asked(host: Host, identifier: bytes, party: str = "example.com") -> int:
    request = {1: party, 2: HASH, 3: _listed(identifier), 5: {"up": False}}
    return host.status(ASSERT, request)


@pytest.mark.parametrize("rk", [True, False])
def test_only_what_it_made_is_known(rig: Rig, rk: bool) -> None:
    """6.2.2 step 7: one changed bit, wherever, and it is nobody's; nor is it another party's."""
    host = Host(rig)
    identifier = _made(host, rk=rk)
    assert _asked(host, identifier) == 0
    for at in range(len(identifier)):
        spoiled = bytearray(identifier)
        spoiled[at] ^= 1 << at % 8
        assert _asked(host, bytes(spoiled)) == 0x2E, at
    for other in (b"", identifier[:-1], identifier + b"\0", bytes(50)):
        assert _asked(host, other) == 0x2E
    assert _asked(host, identifier, "other.example") == 0x2E


@pytest.mark.parametrize("what", ["delete", "rename"])
def test_only_what_it_made_is_managed(rig: Rig, what: str) -> None:
    """6.8.5 and 6.8.6: a changed bit, wherever, names no credential, and nothing is changed."""
    identifier = _made(Host(rig), rk=True)
    management = rig.management()

    def asked(one: bytes) -> int:
        descriptor = PublicKeyCredentialDescriptor(type=PublicKeyCredentialType.PUBLIC_KEY, id=one)
        if what == "delete":
            return refused(lambda: management.delete_cred(descriptor))
        entity = PublicKeyCredentialUserEntity(name="other", id=USER["id"])
        return refused(lambda: management.update_user_info(descriptor, entity))

    for at in range(len(identifier)):
        spoiled = bytearray(identifier)
        spoiled[at] ^= 1 << at % 8
        assert asked(bytes(spoiled)) == 0x2E, at
    for other in (identifier[:-1], identifier + b"\0", bytes(50)):
        assert asked(other) == 0x2E
    assert management.get_metadata()[1] == 1
    assert asked(identifier) == 0


@pytest.mark.parametrize("rk", [True, False])
def test_a_protected_credential_excludes_nothing_for_strangers(rig: Rig, rk: bool) -> None:
    """12.1: userVerificationRequired is not found without verification, in no list."""
    host = Host(rig)
    identifier = _made(host, rk=rk, protect=3)
    request = _NEW | {5: _listed(identifier)}
    assert host.status(MAKE, request, press="index") == 0
    assert host.status(MAKE, request | {7: {"uv": True}}, press="thumb") == 0x19
    assert _asked(host, identifier) == 0x2E


def test_an_excluded_credential_is_not_told_at_once(rig: Rig) -> None:
    """6.1.2 step 12: after a touch, or when nobody has come; not at once."""
    host = Host(rig)
    request = _NEW | {5: _listed(_made(host))}
    rig.sensor.lift()
    rig.reader.run_for(1000)
    began = rig.reader.clock.now
    assert host.status(MAKE, request) == 0x19
    assert rig.reader.clock.now - began > 29_000_000  # µs
    assert host.status(MAKE, request, press="index") == 0x19


@pytest.mark.parametrize("named", [b"", b"x", None])
def test_a_list_of_what_it_does_not_know_names_nothing(rig: Rig, named: bytes | None) -> None:
    """6.2.2 step 7: a list was given, so no credential is chosen that is not in it."""
    host = Host(rig)
    identifier = _made(host, rk=True)
    request = {1: "example.com", 2: HASH, 5: {"up": False}}
    assert host.status(ASSERT, request) == 0
    of_other_kind = {"id": identifier if named is None else named, "type": "private-key"}
    assert host.status(ASSERT, request | {3: [of_other_kind]}) == 0x2E
    assert host.status(ASSERT, request | {3: [of_other_kind, *_listed(identifier)]}) == 0
    assert host.status(ASSERT, request | {3: []}) == 0


@pytest.mark.parametrize(
    ("party", "told"),
    [
        ("x" * 64, "x" * 64),
        ("x" * 65, "…" + "x" * 61),
        ("a" * 60 + ".example.com", "…" + "a" * 49 + ".example.com"),
        ("https://" + "a" * 60 + ".example.com", "https:…" + "a" * 43 + ".example.com"),
        ("ü" * 30 + ".example.com", "…" + "ü" * 24 + ".example.com"),
        ("s" * 70 + ":example.com", "s" * 64),
    ],
)
def test_a_long_party_is_told_by_its_end(rig: Rig, party: str, told: str) -> None:
    """6.8.7: whose a name is stands at its end; one that is cut there may look like another's."""
    request = _NEW | {2: {"id": party}, 7: {"rk": True, "uv": True}}
    assert Host(rig).status(MAKE, request, press="thumb") == 0
    (rp,) = [one[3]["id"] for one in rig.management().enumerate_rps()]
    assert rp == told and len(rp.encode()) <= 64
