"""What a firm may decide: the page that promises it, and what is read out of what people type."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from tallystick.cli.policy_page import PAGE, page
from tallystick.server.accounts import policy
from tallystick.server.accounts.policy import FirmPolicy, MethodKind

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_holds():
    committed = (ROOT / PAGE).read_text(encoding="utf-8")
    assert committed == page(), "python -m tallystick.cli.policy_page, and commit the page"


def test_every_field_has_its_place_on_the_page():
    assert set(re.findall(r"^\| `(\w+)`", page(), re.M)) == set(FirmPolicy.model_fields)


def _given(field: str, value: object) -> object:
    return getattr(FirmPolicy.model_validate({field: value}), field)


@pytest.mark.parametrize(
    ("field", "typed", "kept"),
    [
        ("colour", "", ""),
        ("colour", "  ", ""),
        ("colour", " 0B5CAD ", "#0b5cad"),
        ("colour", "#05a", "#0055aa"),
        ("languages", " DE, en;de ", ("de", "en")),
        ("languages", ["fr", "fr"], ("fr",)),
        ("method_order", "card totp", ("card", "totp")),
        ("second_factor_from", "", None),
        ("second_factor_from", "2026-12-01", date(2026, 12, 1)),
        ("group_roles", "", {}),
        ("group_roles", "a = b = SUPPORT \n\n Desk=user", {"a = b": "support", "Desk": "user"}),
        ("desk_pool_notice_to", "", ""),
        ("desk_pool_notice_to", "a@b", "a@b"),
        ("key_roots", " \n", ""),
        ("key_models", " ", ()),
        ("time_zone", "Europe/Oslo", "Europe/Oslo"),
    ],
)
def test_what_is_typed_is_kept_in_one_form(field, typed, kept):
    assert _given(field, typed) == kept


def test_models_are_kept_once_and_in_order():
    first, second = "0" * 8 + "-0000-0000-0000-" + "1" * 12, "F" * 32
    wanted = (first, "-".join(("f" * 8, "f" * 4, "f" * 4, "f" * 4, "f" * 12)))
    for typed in (f"{second}, {first};\n{first}", [second, first, second], (second, first)):
        found = FirmPolicy.model_validate({"key_models": typed, "key_trust": ["metadata"]})
        assert found.key_models == wanted


@pytest.mark.parametrize(
    ("field", "typed", "words"),
    [
        ("colour", "#0b5ca", "is no colour"),
        ("colour", "0b5cad0", "is no colour"),
        ("colour", "0b5g", "is no colour"),
        ("colour", 7, "valid string"),
        ("languages", "", "at least 1 item"),
        ("languages", [], "at least 1 item"),
        ("languages", 7, "valid tuple"),
        ("languages", "xx", "Input should be"),
        ("group_roles", "Desk", "is not GROUP = ROLE"),
        ("group_roles", " = user", "at least 1 character"),
        ("group_roles", "Desk = king", "Input should be"),
        ("desk_pool_notice_to", "a", "is no e-mail address"),
        ("desk_pool_notice_to", "a@b@c", "is no e-mail address"),
        ("desk_pool_notice_to", "a@b\nBcc: c@d", "is no e-mail address"),
        ("desk_contact", "Room\n12", "match pattern"),
        ("display_name", "x" * 81, "at most 80"),
        ("key_models", "0000", "is no AAGUID"),
        ("key_models", [7], "is no AAGUID"),
        ("key_models", {"a": 1}, "valid tuple"),
        ("key_roots", "-----BEGIN", "no PEM certificate"),
        ("time_zone", "", "not a time zone"),
        ("look_ahead", 0, "greater than or equal to 1"),
        ("minimum_methods", 7, "less than or equal to 6"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_the_reason(field, typed, words):
    with pytest.raises(ValidationError, match=words):
        _given(field, typed)


def test_who_vouches_is_named_with_what_it_needs():
    with pytest.raises(ValidationError, match="names no certificate"):
        FirmPolicy.model_validate({"key_trust": ["roots"]})
    with pytest.raises(ValidationError, match="somebody who vouches"):
        FirmPolicy.model_validate({"key_models": "0" * 32})
    assert FirmPolicy.model_validate({"key_trust": ["metadata"]}).key_roots == ""


def test_a_second_factor_is_asked_for_from_midnight_at_the_firm():
    """1 December 2026 begins in Oslo at 23:00 UTC of the day before: 1,796,079,600."""
    midnight = 1_796_079_600
    firm = FirmPolicy(second_factor_from=date(2026, 12, 1), time_zone="Europe/Oslo")
    assert firm.asked_from_s() == midnight and FirmPolicy().asked_from_s() == 0
    assert (firm.methods_asked(midnight - 1), firm.methods_asked(midnight)) == (0, 1)
    assert (firm.password_length(midnight - 1), firm.password_length(midnight)) == (15, 8)


def test_staff_search_for_a_card_no_less_far_than_its_holder():
    assert FirmPolicy(resync_window=100, desk_resync_window=1000).desk_codes().resync_window == 1000
    assert FirmPolicy(resync_window=100, desk_resync_window=0).desk_codes().resync_window == 100


def test_codes_are_judged_by_what_the_firm_says():
    codes = FirmPolicy(
        look_ahead=11, look_back=12, resync_window=13, totp_steps_around=2, max_failures=14,
        lockout_s=70, lockout_max_s=80,
    ).codes()  # fmt: skip
    assert (codes.look_ahead, codes.look_back, codes.resync_window) == (11, 12, 13)
    assert (codes.steps_around, codes.max_failures) == (2, 14)
    assert (codes.lockout_s, codes.lockout_max_s) == (70, 80)
    assert policy.code_policy('{"look_ahead":11}').look_ahead == 11


def test_sets_are_written_in_one_order():
    """Else a policy that is the same would be told as changed."""
    firm = FirmPolicy(methods=frozenset(MethodKind))
    written = firm.model_dump(mode="json")["methods"]
    assert written == sorted(written) and len(written) == 6
    assert policy.parse("") == FirmPolicy() == policy.parse("{}")
