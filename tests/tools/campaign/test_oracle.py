"""The oracle: what it must complain about, and what it must not."""

from __future__ import annotations

import hmac

import pytest

from tallystick.tools.campaign.card.oracle import NAME, CardOracle, codes
from tallystick.tools.campaign.engine.subject import ViolationError

RFC4226 = b"12345678901234567890"
SEEDS = {"A": RFC4226, "B": b"another seed, 20 byte"}
# RFC 4226, appendix D.
PUBLISHED = ("755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583")


def oracle() -> CardOracle:
    one = CardOracle(SEEDS)
    one.begin(credential="A")
    one.done(credential="A")
    return one


def test_codes_are_those_of_the_rfc() -> None:
    assert [codes(RFC4226)[code] for code in PUBLISHED] == list(range(8))


def test_codes_in_order_are_fine() -> None:
    one = oracle()
    for code in PUBLISHED:
        one.code(code)


def test_a_code_shown_twice() -> None:
    one = oracle()
    one.code(PUBLISHED[0])
    one.cut()
    with pytest.raises(ViolationError, match="shown again") as caught:
        one.code(PUBLISHED[0])
    assert caught.value.kind == "replay"


@pytest.mark.parametrize("cuts", [0, 1, 3])
def test_one_code_may_be_skipped_for_each_cut(cuts: int) -> None:
    one = oracle()
    for _ in range(cuts):
        one.cut()
    one.code(PUBLISHED[cuts])
    two = oracle()
    for _ in range(cuts):
        two.cut()
    with pytest.raises(ViolationError, match="skipped"):
        two.code(PUBLISHED[cuts + 1])


def test_a_server_loses_a_card_that_skips_its_window() -> None:
    one = oracle()
    for _ in range(20):
        one.cut()
    late = next(code for code, factor in codes(RFC4226).items() if factor == 10)
    with pytest.raises(ViolationError) as caught:
        one.code(late)
    assert caught.value.kind == "server"


def test_what_was_under_way_may_have_happened_and_then_stays() -> None:
    one = oracle()
    one.begin(keys="firm1")
    one.begin(life_cycle=7)
    one.begin(credential="B")
    one.cut()
    one.code(PUBLISHED[0])  # the old seed: so the new one is not there
    with pytest.raises(ViolationError, match="must not be there"):
        one.code(next(iter(codes(SEEDS["B"]))))
    one.key_set("firm1")
    with pytest.raises(ViolationError):
        one.key_set("transport")
    one.life_cycle(7)
    with pytest.raises(ViolationError):
        one.life_cycle(1)


def test_what_one_command_changes_goes_together() -> None:
    for wiped in (False, True):
        one = oracle()
        one.begin(credential="", keys="none", life_cycle=0xFF)
        one.cut()
        one.credential("" if wiped else NAME)
        with pytest.raises(ViolationError):
            one.life_cycle(1 if wiped else 0xFF)
        with pytest.raises(ViolationError):
            one.key_set("transport" if wiped else "none")
        one.life_cycle(0xFF if wiped else 1)


def test_codes_far_from_0_are_told_from_those_near_it() -> None:
    for first in (62, 253, 65533, 2**32 - 3, 2**64 - 40):
        one = oracle()
        one.begin(credential="B", factor=first)
        one.done(credential="B", factor=first)
        one.code(_code(SEEDS["B"], first))
        with pytest.raises(ViolationError, match="shown again"):
            one.code(_code(SEEDS["B"], first))
        with pytest.raises(ViolationError, match="shown again"):
            one.code(_code(SEEDS["B"], 0))
        one.code(_code(SEEDS["B"], first + 1))


def _code(seed: bytes, factor: int) -> str:
    digest = hmac.digest(seed, factor.to_bytes(8, "big"), "sha1")
    at = digest[19] & 15
    number = int.from_bytes(digest[at : at + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**6:06}"


def test_what_was_answered_is_done() -> None:
    one = oracle()
    one.begin(credential="")
    one.done(credential="")
    with pytest.raises(ViolationError, match="came back"):
        one.credential(NAME)


def test_a_code_of_nobody() -> None:
    everything = {code for seed in SEEDS.values() for code in codes(seed)}
    stranger = next(code for code in (f"{n:06}" for n in range(1000)) if code not in everything)
    with pytest.raises(ViolationError, match="no code of any seed"):
        oracle().code(stranger)
