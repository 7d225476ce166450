"""HOTP against RFC 4226 appendix D."""

from hypothesis import given
from hypothesis import strategies as st

from tallystick.server.rules.otp import find, find_pair, hotp

RFC_SEED = b"12345678901234567890"
RFC_CODES = [
    *("755224", "287082", "359152", "969429", "338314"),
    *("254676", "287922", "162583", "399871", "520489"),
]


def test_rfc_4226_appendix_d():
    assert [hotp(RFC_SEED, n, 6) for n in range(10)] == RFC_CODES


def test_more_digits_are_more_of_the_same_value():
    assert hotp(RFC_SEED, 0, 8) == "84755224"
    assert hotp(RFC_SEED, 1, 7) == "4287082"


def test_find_returns_the_factor_or_none():
    assert find(RFC_SEED, "338314", range(10)) == 4
    assert find(RFC_SEED, "338314", range(5, 10)) is None
    assert find(RFC_SEED, "755224", []) is None
    assert find(RFC_SEED, "338314", iter(range(3, 9))) == 4


def test_find_pair_wants_successive_codes():
    assert find_pair(RFC_SEED, ("969429", "338314"), range(10)) == 3
    assert find_pair(RFC_SEED, ("969429", "254676"), range(10)) is None
    assert find_pair(RFC_SEED, ("338314", "969429"), range(10)) is None
    # The second code may lie one past the window's end.
    assert find_pair(RFC_SEED, ("969429", "338314"), range(4)) == 3
    assert find_pair(RFC_SEED, ("969429", "338314"), range(3)) is None


@given(
    seed=st.binary(min_size=16, max_size=64), factor=st.integers(0, 2**63), digits=st.integers(6, 8)
)
def test_a_code_is_found_where_it_was_made(seed: bytes, factor: int, digits: int):
    code = hotp(seed, factor, digits)
    assert len(code) == digits and code.isdigit()
    found = find(seed, code, range(factor, factor + 3))
    assert found == factor


def test_of_two_factors_with_one_code_the_first_is_found():
    seed = b"12345678901234567890"
    seen: dict[str, int] = {}
    twice = next(
        (code, seen[code], factor)
        for factor in range(100_000)
        if seen.setdefault(code := hotp(seed, factor, 6), factor) != factor
    )
    code, first, second = twice
    assert find(seed, code, range(second + 1)) == first
    assert find(seed, code, range(first + 1, second + 1)) == second
    assert find(seed, code, iter((second, first))) == second
