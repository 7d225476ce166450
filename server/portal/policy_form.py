"""The policy as a form: groups of fields with words that people understand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tallystick.server.accounts import firms
from tallystick.server.accounts.changes import changed
from tallystick.server.accounts.policy import FirmPolicy, KeyTrust, MethodKind, PersonRole
from tallystick.server.methods import METHODS
from tallystick.server.wording.worded import worded

METHOD_WORDS = {kind: METHODS[kind].title for kind in MethodKind}
ROLE_WORDS = {
    PersonRole.SUPPORT: worded("Support agents"),
    PersonRole.ADMINISTRATOR: worded("Administrators"),
    PersonRole.AUDITOR: worded("Auditors"),
}

# field: label, hint
GROUPS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    worded("The firm"): {
        "display_name": (
            worded("What people call it"),
            worded("Stands in messages and on leaflets. Empty: its name on this server."),
        ),
        "colour": (
            worded("Its colour"),
            worded(
                "As #0b5cad. Where it could not be read, it is made darker or lighter. "
                "Empty: the colour of the software."
            ),
        ),
        "languages": (
            worded("Languages of messages about cards, and of leaflets"),
            worded(
                "Of en, de, fr, es, nb, with commas. A mail to somebody who has chosen none "
                "has all of them, an SMS the first."
            ),
        ),
    },
    worded("A directory"): {
        "group_roles": (
            worded("Groups of the directory that give a role"),
            worded(
                "A line each: Help desk = support. Roles: user, support, auditor, administrator. "
                "With several, the one with the most rights. Empty: roles are given here."
            ),
        ),
        "directory_passwords": (
            worded("Passwords of people that an LDAP directory keeps"),
            worded("Where it is asked, nobody sets a password here for them, or recovers one."),
        ),
    },
    worded("Methods"): {
        "methods": (worded("Methods that may be used"), ""),
        "recovery_methods": (
            worded("Methods that may recover a password"),
            worded("Leave out those that a thief of a mailbox or a telephone would have."),
        ),
        "method_order": (
            worded("Methods in the order that you recommend"),
            worded(
                "Of totp, card, webauthn, codes, email, sms, with commas. People see them in it."
            ),
        ),
        "minimum_methods": (worded("Methods that everybody must have"), ""),
        "second_factor_from": (
            worded("From this day on"),
            worded(
                "Until then the password is enough for services that do not ask for more. "
                "Empty: from the first day."
            ),
        ),
        "reminder_days": (
            worded("Whoever has no second factor is reminded by mail, every so many days"),
            worded("0: nobody is."),
        ),
        "invitation_days": (worded("An invitation is good for, in days"), ""),
        "recommended_methods": (worded("Methods that people are asked to have"), ""),
    },
    worded("Codes of cards and apps"): {
        "look_ahead": (
            worded("Look-ahead window, in presses"),
            worded("How far a card may be ahead."),
        ),
        "look_back": (worded("Past codes told apart as used, in presses"), ""),
        "resync_window": (
            worded("Resynchronisation window, in presses"),
            worded("Two codes in a row are needed."),
        ),
        "totp_steps_around": (worded("Clock error allowed to apps, in steps of 30 s"), ""),
    },
    worded("Wrong codes"): {
        "max_failures": (worded("Wrong codes before a pause"), ""),
        "lockout_s": (
            worded("First pause, in seconds"),
            worded("It doubles with each further wrong code."),
        ),
        "lockout_max_s": (worded("Longest pause, in seconds"), ""),
        "lockout_lifted_by": (worded("Who may end a pause early"), ""),
    },
    worded("Codes that are sent"): {
        "sent_code_digits": (worded("Digits"), ""),
        "sent_code_life_s": (worded("Good for, in seconds"), ""),
        "sent_code_tries": (worded("Tries"), ""),
        "sends_per_person_per_hour": (worded("Messages to one person in an hour"), ""),
        "sends_per_address_per_hour": (worded("Messages to one number or address in an hour"), ""),
        "sends_per_source_per_hour": (
            worded("Messages asked for from one network address in an hour"),
            "",
        ),
    },
    worded("Passwords and sessions"): {
        "password_min_length": (
            worded("Shortest password, in characters"),
            worded("Where a second factor is asked for. NIST SP 800-63B-4 has 8 at least."),
        ),
        "password_min_length_alone": (
            worded("Shortest password where none is asked for, in characters"),
            worded("NIST SP 800-63B-4 has 15 at least."),
        ),
        "password_max_failures": (
            worded("Wrong passwords in a quarter of an hour"),
            worded(
                "For one name from one network address; ten times as many from all addresses. "
                "A browser that its owner has used before has as many of its own."
            ),
        ),
        "sign_in_failures_per_source": (
            worded("Failed sign-ins from one network address in a quarter of an hour"),
            worded("For all names together. Those that succeed do not count."),
        ),
        "recoveries_per_source_per_hour": (
            worded("Recoveries begun from one network address in an hour"),
            "",
        ),
        "first_enrolment_days": (
            worded("Time to enrol a first method, from the first password on, in days"),
            worded(
                "After it the password alone opens nothing: the help desk gives more. 0: no end."
            ),
        ),
        "session_hours": (worded("Longest session, in hours"), ""),
        "session_idle_minutes": (worded("A session ends when not used for, in minutes"), ""),
        "remember_device_days": (
            worded("A browser may be remembered for, in days"),
            worded("0: a second factor is asked for every time."),
        ),
    },
    worded("Security keys"): {
        "key_alone": (
            worded("Signing in with a key alone"),
            worded(
                "A key that verifies its user, by PIN or finger, is two factors. "
                "Passwords of a directory are not asked for then."
            ),
        ),
        "key_trust": (
            worded("Only keys that somebody vouches for"),
            worded(
                "None chosen: every key. With one chosen, keys that were enrolled before and that "
                "nobody vouched for do not sign in any more."
            ),
        ),
        "key_roots": (
            worded("Root certificates, as PEM"),
            worded("Of readers of your own, tally image readers prints it."),
        ),
        "key_models": (
            worded("Only these models, by AAGUID"),
            worded(
                "Empty: all models. A key can claim to be of any, so somebody has to vouch for it."
            ),
        ),
    },
    worded("The working day"): {
        "time_zone": (worded("Time zone"), worded("As in the IANA database: Europe/Oslo.")),
        "day_ends": (
            worded("The day ends at"),
            worded("Cards lent for the day are free again then."),
        ),
        "loan_max_hours": (worded("Longest loan, in hours"), ""),
        "loan_reminder_minutes": (
            worded("Whoever has a loan is reminded before its end, in minutes"),
            worded("0: only once it is over."),
        ),
    },
    worded("The desk"): {
        "desk_contact": (
            worded("Where cards are handed out and brought back"),
            worded("Stands in messages to borrowers: Help desk, room 12, telephone 1234."),
        ),
        "desk_resync_window": (
            worded("How far staff may find a drifted card again, in presses"),
            worded("With the card in the hand; two codes in a row are needed."),
        ),
        "desk_pool_minimum": (
            worded("Cards that should be in the pool"),
            worded("With fewer, the desk is told to have more made. 0: it is not told."),
        ),
        "desk_pool_notice_to": (
            worded("Who is told by mail, too, that cards run out"),
            worded("An address: once, and again on each day that they are still short."),
        ),
        "desk_without_code_per_day": (
            worded(
                "Cards that one member of staff may take back or retire without a code in a day"
            ),
            worded("For flat and broken cards, with a reason. 0: always with a code."),
        ),
    },
}
CHOICES: Mapping[str, Mapping[Any, str]] = {
    "methods": METHOD_WORDS,
    "recovery_methods": {k: v for k, v in METHOD_WORDS.items() if k is not MethodKind.WEBAUTHN},
    "lockout_lifted_by": ROLE_WORDS,
    "key_trust": {
        KeyTrust.ROOTS: worded("The root certificates below"),
        KeyTrust.METADATA: worded("The FIDO Alliance's list, where the server has it"),
    },
}


SWITCHES: Mapping[str, str] = {
    "directory_passwords": worded("The directory is asked for them"),
    "key_alone": worded("A key is enough, without a password"),
}
LINES: Mapping[str, Callable[[Any], str]] = {
    "key_roots": str,
    "key_models": "\n".join,
    "group_roles": lambda roles: "\n".join(f"{group} = {roles[group].value}" for group in roles),
}
MOMENTS = {"day_ends": ("time", 5), "second_factor_from": ("date", 10)}  # kind, characters
MAY_BE_EMPTY = frozenset(
    {"second_factor_from", "desk_contact", "desk_pool_notice_to", "display_name", "colour"}
)


@dataclass(frozen=True)
class Field:
    """One field as the page shows it. kind: number, text, time, date, lines or choices."""

    name: str
    label: str
    hint: str
    kind: str
    value: str
    least: int | None = None
    most: int | None = None
    choices: tuple[tuple[str, str, bool], ...] = ()
    optional: bool = False


def fields_of(policy: FirmPolicy, sent: Mapping[str, str] | None = None) -> dict[str, list[Field]]:
    """Group → its fields, filled in; as they were sent, when that was refused."""
    return {
        group: [_as_sent(_field(policy, name, *words), sent) for name, words in fields.items()]
        for group, fields in GROUPS.items()
    }


def _as_sent(field: Field, sent: Mapping[str, str] | None) -> Field:
    if sent is None:
        return field
    choices = tuple(
        (value, words, f"{field.name}.{value}" in sent) for value, words, _ in field.choices
    )
    return replace(field, value=sent.get(field.name, field.value), choices=choices)


def values_of(form: Mapping[str, str]) -> dict[str, Any]:
    """What a sent form says, to be validated as a policy."""
    values: dict[str, Any] = {}
    for fields in GROUPS.values():
        for name in fields:
            if name in CHOICES:
                values[name] = [
                    choice.value for choice in CHOICES[name] if f"{name}.{choice.value}" in form
                ]
            elif name in SWITCHES:
                values[name] = f"{name}.yes" in form
            elif name in form:
                values[name] = form[name].strip()
    return values


def changes_of(policy: FirmPolicy, form: Mapping[str, str]) -> list[tuple[str, str]]:
    """What a sent form would change: the field in words, and from what to what. Raises ApiError
    (422)."""
    wanted = firms.policy_from(policy.model_dump() | values_of(form))
    labels = {name: words[0] for fields in GROUPS.values() for name, words in fields.items()}
    return [(labels[name], text) for name, text in changed(dict(policy), dict(wanted)).items()]


def _field(policy: FirmPolicy, name: str, label: str, hint: str) -> Field:
    value = getattr(policy, name)
    if name in CHOICES:
        choices = tuple((one.value, words, one in value) for one, words in CHOICES[name].items())
        return Field(name, label, hint, "choices", "", choices=choices)
    if name in SWITCHES:
        return Field(name, label, hint, "choices", "", choices=(("yes", SWITCHES[name], value),))
    if name in MOMENTS:
        text = "" if value is None else value.isoformat()[: MOMENTS[name][1]]
        return Field(name, label, hint, MOMENTS[name][0], text, optional=name in MAY_BE_EMPTY)
    if name in LINES:
        return Field(name, label, hint, "lines", LINES[name](value))
    if not isinstance(value, int):
        text = ", ".join(value) if isinstance(value, tuple) else str(value)
        return Field(name, label, hint, "text", text, optional=name in MAY_BE_EMPTY)
    bounds = bounds_of(name)
    return Field(name, label, hint, "number", str(value), bounds.get("ge"), bounds.get("le"))


def bounds_of(name: str) -> dict[str, int]:
    """What the policy's own rules say of a field: ge, le, min_length and max_length, as far as it
    has them."""
    return {
        key: bound
        for rule in FirmPolicy.model_fields[name].metadata
        for key in ("ge", "le", "min_length", "max_length")
        if (bound := getattr(rule, key, None)) is not None
    }
