"""What each request leaves in the audit log: who did what to whom, as a table of what is asked and
how it is answered. From outside: what the asker sent and was told, and what the log had before."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs

ANY = "*"  # a subject that whoever was answered is not told
NOBODY = "unknown"  # an actor who has proved nothing
_OK = "ok"
_REFUSED = frozenset(
    {"wrong", "replayed", "resynchronise", "throttled", "expired", "not-accepted", "no-card"}
)
_OATH = frozenset({"card", "totp"})  # their codes are judged together
_SIGNED_IN = re.compile("<h1>(?:You are signed in|My account)</h1>")
_PORTAL, _LOCKED = "/p/default", "Too many wrong codes in a row."
_VOID = re.compile(r"void\.(\w+)\.(.+)")
_AMR = {"totp": "pwd,otp,mfa", "card": "pwd,otp,hwk,mfa", "webauthn": "pwd,pop,user,mfa"}

Fact = str | int | frozenset[str]


@dataclass(frozen=True)
class ExpectedEntry:
    """facts: which of its details must be so, a set: one of these; None: there is none."""

    action: str
    actor: str
    subject: str
    facts: Mapping[str, Fact | None] = field(default_factory=dict)
    perhaps: bool = False

    def fits(self, action: str, actor: str, subject: str, detail: Mapping[str, Any]) -> bool:
        if (self.action, self.actor) != (action, actor) or self.subject not in (ANY, subject):
            return False
        return all(_is(detail.get(name), fact) for name, fact in self.facts.items())

    def __str__(self) -> str:
        of = "" if self.subject in (ANY, "") else f" of {self.subject}"
        return f"'{self.action}'{of} by {self.actor}"


def _is(said: object, fact: Fact | None) -> bool:
    return said in fact if isinstance(fact, frozenset) else said == fact


@dataclass
class LogSoFar:
    """What the entries until now amount to. persons: logins by number, numbers: the other way;
    handles: logins by what the directory calls them; holders: of cards by serial. named: which
    login was last named from an address, helped: whether by a code of the help desk since; voids:
    what is void when somebody's was used; answered: questions that have a name."""

    persons: dict[int, str] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    handles: dict[str, str] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)
    registered: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    of_directory: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)
    barred: set[str] = field(default_factory=set)
    named: dict[str, str] = field(default_factory=dict)
    helped: set[str] = field(default_factory=set)
    voids: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    answered: set[tuple[str, str, bytes]] = field(default_factory=set)

    def person(self, login: str) -> str:
        """As the log names whoever acts."""
        found = self.numbers.get(login)
        return NOBODY if found is None else f"person:{found}"

    def whose_account(self, login: str) -> str:
        """For whom a password may be recovered: whoever is barred is nobody."""
        return NOBODY if login in self.barred or login not in self.numbers else login

    def know(self, people: Iterable[tuple[int, str]]) -> None:
        """Of everybody the number and the login."""
        self.persons.update(people)
        self.numbers = {login: number for number, login in self.persons.items()}

    def read(self, action: str, subject: str, detail: Mapping[str, Any]) -> None:
        """One more entry."""
        if action in ("card-assigned", "card-lent"):
            self.holders[subject] = str(detail["to"])
        elif action in ("card-returned", "card-retired", "card-replaced", "card-taken-back"):
            self.holders.pop(subject, None)
        elif action == "card-registered":
            self.registered.add(subject)
        elif action == "person-left":
            self.barred.add(subject)
            for serial in [one for one, login in self.holders.items() if login == subject]:
                del self.holders[serial]
        elif action == "person-added":
            self.known.add(subject)
        elif action == "person-changed" and detail.get("disabled"):
            self.barred.add(subject)
        if action in ("card-lost", "card-found"):
            (self.lost.add if action == "card-lost" else self.lost.discard)(subject)
        if detail.get("by") == "scim" or str(detail.get("kept", "")).endswith("scim"):
            self.of_directory.add(subject)


@dataclass(frozen=True)
class Exchange:
    """A request, and what became of it. caller: the name of the credential that it came with, if
    any. status 0: nobody knows; text: of the answer. name: of the question, if it has one."""

    method: str
    path: str
    address: str
    caller: str
    content: bytes
    status: int = 0
    text: str = ""
    name: str = ""

    @cached_property
    def body(self) -> dict[str, Any]:
        """What was sent, as JSON or as a form."""
        if self.content[:1] == b"{":
            sent: dict[str, Any] = json.loads(self.content)
            return sent
        form = parse_qs(self.content.decode("latin-1"), keep_blank_values=True)
        return {name: values[0] for name, values in form.items()}

    @cached_property
    def answer(self) -> dict[str, Any]:
        """What was answered, where it was JSON."""
        told = json.loads(self.text) if self.text[:1] == "{" else {}
        return told if isinstance(told, dict) else {}

    @property
    def error(self) -> Mapping[str, Any]:
        said = self.answer.get("error")
        return said if isinstance(said, dict) else {}

    @property
    def too_many(self) -> bool:
        """A limit was reached, which is not a lock of something that was guessed at."""
        if self.status != 429:
            return False
        at_the_portal = self.path.startswith(_PORTAL) and _LOCKED not in self.text
        return at_the_portal or self.error.get("code") == "too-many"


Said = Callable[[Exchange, LogSoFar, Sequence[str]], list[ExpectedEntry]]


@dataclass(frozen=True)
class EntryRule:
    """What requests of a kind leave. may: which acts; said: which entries, where the answer is
    known."""

    method: str
    pattern: re.Pattern[str]
    may: frozenset[str]
    said: Said


# -- services, stations, the desk ----------------------------------------------------------------


def _judged(action: str) -> Said:
    def said(asked: Exchange, log: LogSoFar, _found: Sequence[str]) -> list[ExpectedEntry]:
        if asked.name and asked.status == 200:
            question = (asked.caller, asked.name, asked.content)
            if question in log.answered:
                return []  # asked again: nothing is judged a second time
            log.answered.add(question)
        user = {"user": asked.body["user"]}
        if asked.status == 429:
            return [ExpectedEntry(action, asked.caller, ANY, {"reason": "throttled"} | user)]
        if asked.status != 200:
            return []
        facts = {"reason": asked.answer["reason"]} | user
        return [ExpectedEntry(action, asked.caller, asked.answer["serial"] or "", facts)]

    return said


def _registered(asked: Exchange, log: LogSoFar, _found: Sequence[str]) -> list[ExpectedEntry]:
    """Where it was registered before, and nobody was told: no second time."""
    if asked.status not in (200, 201):
        return []
    told = [str(one["serial"]) for one in asked.answer["cards"]]
    new = [one for one in told if asked.status == 201 or one not in log.registered]
    return [ExpectedEntry("card-registered", asked.caller, serial) for serial in new]


def _put_assignment(asked: Exchange, log: LogSoFar, found: Sequence[str]) -> list[ExpectedEntry]:
    user = asked.body["user"]
    if asked.status != 200 or log.holders.get(found[0]) == user:
        return []
    return [ExpectedEntry("card-assigned", asked.caller, found[0], {"to": user})]


def _at_the_desk(
    act: str, *done: Callable[[Exchange, LogSoFar, str], ExpectedEntry | None]
) -> Said:
    """act: what codes are asked for. done: what it leaves, each."""

    def said(asked: Exchange, log: LogSoFar, found: Sequence[str]) -> list[ExpectedEntry]:
        serial = found[0]
        if asked.status == 200:
            made = [one(asked, log, serial) for one in done]
            return [one for one in made if one is not None]
        if asked.error.get("code") not in _OF_A_CODE:
            return []
        in_hand = str(asked.body.get("by", serial))
        facts = {"for": act, "reason": _OF_A_CODE[asked.error["code"]]}
        return [ExpectedEntry("card-code-refused", asked.caller, in_hand, facts)]

    return said


_OF_A_CODE = {
    "wrong-code": "wrong", "replayed-code": "replayed", "card-drifted": "resynchronise",
    "throttled": "throttled",
}  # fmt: skip


def _proved(asked: Exchange) -> dict[str, Fact | None]:
    """How staff knew which card they had: by a code, how far ahead; or why there was none."""
    return {
        "skipped": asked.answer.get("skipped") or None,
        "without_code": asked.body.get("reason"),
    }


def _assigned(asked: Exchange, _log: LogSoFar, serial: str) -> ExpectedEntry:
    facts = {"to": asked.body["user"]} | _proved(asked)
    return ExpectedEntry("card-assigned", asked.caller, serial, facts)


def _lent(asked: Exchange, _log: LogSoFar, serial: str) -> ExpectedEntry:
    facts = {"to": asked.body["user"], "until": asked.answer["loan_until"]} | _proved(asked)
    return ExpectedEntry("card-lent", asked.caller, serial, facts)


def _of_holder(
    action: str, *, proved: bool = False
) -> Callable[[Exchange, LogSoFar, str], ExpectedEntry]:
    def made(asked: Exchange, log: LogSoFar, serial: str) -> ExpectedEntry:
        holder = log.holders.get(serial)
        facts = {"of": holder} if holder else {}
        return ExpectedEntry(
            action, asked.caller, serial, facts | (_proved(asked) if proved else {})
        )

    return made


def _replaced(asked: Exchange, _log: LogSoFar, serial: str) -> ExpectedEntry:
    facts = {"by": asked.body["by"], "to": asked.answer["user"]}
    return ExpectedEntry("card-replaced", asked.caller, serial, facts)


def _lost_by_it(asked: Exchange, log: LogSoFar, serial: str) -> ExpectedEntry | None:
    return None if serial in log.lost else _of_holder("card-lost")(asked, log, serial)


def _in_its_place(asked: Exchange, _log: LogSoFar, serial: str) -> ExpectedEntry:
    given = "card-assigned" if asked.answer["loan_until"] is None else "card-lent"
    facts = {"to": asked.answer["user"], "for": serial} | _proved(asked)
    return ExpectedEntry(given, asked.caller, str(asked.body["by"]), facts)


def _status(asked: Exchange, log: LogSoFar, found: Sequence[str]) -> list[ExpectedEntry]:
    serial, lost = found[0], asked.body["status"] == "lost"
    if asked.status != 200 or lost == (serial in log.lost):
        return []
    return [_of_holder("card-lost" if lost else "card-found")(asked, log, serial)]


def _key(asked: Exchange, _log: LogSoFar, _found: Sequence[str]) -> list[ExpectedEntry]:
    if asked.status != 200:
        return []
    facts = {"kind": "webauthn", "serial": asked.body["serial"]}
    return [ExpectedEntry("method-enrolled", asked.caller, asked.body["user"], facts)]


# -- the directory -------------------------------------------------------------------------------


def _scim_added(asked: Exchange, log: LogSoFar, _found: Sequence[str]) -> list[ExpectedEntry]:
    login = asked.body["userName"]
    if asked.status != 201 and not (asked.status == 409 and login not in log.known):
        return []
    return [ExpectedEntry("person-added", asked.caller, login, {"by": "scim"})]


def _scim_found(asked: Exchange, log: LogSoFar, _found: Sequence[str]) -> list[ExpectedEntry]:
    for one in asked.answer.get("Resources", ()):
        log.handles[one["id"]] = one["userName"]
    return []


def _scim_changed(asked: Exchange, log: LogSoFar, found: Sequence[str]) -> list[ExpectedEntry]:
    """Whoever leaves."""
    login = log.handles.get(found[0], NOBODY)
    if asked.status not in (200, 204) or login in log.barred:
        return []
    made = [ExpectedEntry("person-left", asked.caller, login)]
    if login not in log.of_directory:
        made.append(ExpectedEntry("person-changed", asked.caller, login, {"kept": "here → scim"}))
    held = [serial for serial, holder in log.holders.items() if holder == login]
    return made + [ExpectedEntry("card-lost", asked.caller, one, {"of": login}) for one in held]


def _barred(asked: Exchange, log: LogSoFar, found: Sequence[str]) -> list[ExpectedEntry]:
    login = log.persons.get(int(found[0]), NOBODY)
    if asked.status != 200 or login in log.barred:
        return []
    return [ExpectedEntry("person-changed", asked.caller, login, {"disabled": "no → yes"})]


def _imported(asked: Exchange, log: LogSoFar, _found: Sequence[str]) -> list[ExpectedEntry]:
    if asked.status != 200:
        return []
    logins = [line.split(",")[0] for line in asked.body["csv"].splitlines()[1:]]
    new = [login for login in logins if login not in log.known]
    counts = {"added": len(new), "changed": 0, "left": 0, "unchanged": len(logins) - len(new)}
    made = [ExpectedEntry("person-added", asked.caller, login) for login in new]
    return [*made, ExpectedEntry("people-imported", asked.caller, "people", counts)]


# -- the portal ----------------------------------------------------------------------------------


def _in(log: LogSoFar, address: str, amr: str) -> ExpectedEntry:
    person = log.person(log.named[address])
    return ExpectedEntry("signed-in", person, person, {"amr": amr})


def _password(asked: Exchange, log: LogSoFar, _found: Sequence[str]) -> list[ExpectedEntry]:
    log.named[asked.address] = asked.body["login"]
    if asked.status == 401:
        person = log.person(asked.body["login"])
        return [ExpectedEntry("password-wrong", person, person)]
    return [_in(log, asked.address, "pwd")] if _SIGNED_IN.search(asked.text) else []


def _second(asked: Exchange, log: LogSoFar, found: Sequence[str]) -> list[ExpectedEntry]:
    kind, login = found[0], log.named[asked.address]
    person = log.person(login)
    if _SIGNED_IN.search(asked.text):
        facts = {"kind": kind, "reason": _OK}
        checked = ExpectedEntry("factor-checked", person, login, facts)
        return [checked, _in(log, asked.address, _AMR[kind])]
    if asked.status not in (422, 429):
        return []
    kinds = _OATH if kind in _OATH else kind
    return [ExpectedEntry("factor-checked", person, login, {"kind": kinds, "reason": _REFUSED})]


def _enrolled(asked: Exchange, log: LogSoFar, found: Sequence[str]) -> list[ExpectedEntry]:
    login = log.named[asked.address]
    if asked.status != 200 or "is enrolled" not in asked.text:
        return []
    return [ExpectedEntry("method-enrolled", log.person(login), login, {"kind": found[0]})]


def _help(asked: Exchange, log: LogSoFar, found: Sequence[str]) -> list[ExpectedEntry]:
    number, step = found
    login = log.persons.get(int(number), NOBODY)
    if asked.status != 200:
        return []
    if step == "ask":
        named = [_VOID.fullmatch(one) for one in asked.body]
        log.voids[login] = [(one.group(1), one.group(2)) for one in named if one is not None]
    return [ExpectedEntry(_STEPS[step], log.person(log.named[asked.address]), login)]


_STEPS = {
    "ask": "help-asked", "withdraw": "help-withdrawn", "agree": "help-agreed",
    "collect": "help-code-made",
}  # fmt: skip


def _recovery_begun(asked: Exchange, log: LogSoFar, _found: Sequence[str]) -> list[ExpectedEntry]:
    login = asked.body["login"]
    log.named[asked.address] = login
    log.helped.discard(asked.address)
    if asked.status != 303:
        return []
    facts = {"kind": asked.body["kind"]}
    return [ExpectedEntry("recovery-begun", NOBODY, log.whose_account(login), facts)]


def _recovery_proved(asked: Exchange, log: LogSoFar, _found: Sequence[str]) -> list[ExpectedEntry]:
    login = log.named[asked.address]
    person = log.person(login)
    if asked.status in (303, 403):
        return [ExpectedEntry("factor-checked", person, login, {"reason": _OK})]
    if asked.status != 422:
        return []
    judged = ExpectedEntry("factor-checked", person, login, {"reason": _REFUSED}, perhaps=True)
    wrong = ExpectedEntry("recovery-wrong", NOBODY, log.whose_account(login))
    return [wrong, judged]  # it may have nothing to judge


def _help_code(asked: Exchange, log: LogSoFar, _found: Sequence[str]) -> list[ExpectedEntry]:
    login = asked.body["login"]
    log.named[asked.address] = login
    log.helped.add(asked.address)
    action = {303: "help-code-used", 401: "help-code-wrong"}.get(asked.status)
    return [] if action is None else [ExpectedEntry(action, NOBODY, login)]


def _reset(asked: Exchange, log: LogSoFar, _found: Sequence[str]) -> list[ExpectedEntry]:
    login = log.named[asked.address]
    person = log.person(login)
    if asked.status not in (200, 303):
        return []
    made = [ExpectedEntry("password-changed", person, login)]
    if asked.address in log.helped:
        made += [
            ExpectedEntry("method-voided", person, login, {"kind": kind, "method": key})
            for kind, key in log.voids.pop(login, [])
        ]
    if asked.status == 303:  # straight to enrolling
        made.append(ExpectedEntry("enrol-only-session", person, login))
    return made


# -- the table -----------------------------------------------------------------------------------


def _rule(request: str, said: Said, *may: str) -> EntryRule:
    method, path = request.split(" ")
    return EntryRule(method, re.compile(path), frozenset(may), said)


_CARD = "/v1/cards/([^/]+)"
_CODE = "card-code-refused"
RULES = (
    _rule("POST /v1/verify", _judged("verified"), "verified"),
    _rule("POST /v1/resynchronise", _judged("resynchronised"), "resynchronised"),
    _rule("POST /v1/cards", _registered, "card-registered"),
    _rule(f"PUT {_CARD}/assignment", _put_assignment, "card-assigned"),
    _rule(
        f"POST {_CARD}/assignment", _at_the_desk("assignment", _assigned), "card-assigned", _CODE
    ),
    _rule(f"POST {_CARD}/loan", _at_the_desk("loan", _lent), "card-lent", _CODE),
    _rule(
        f"POST {_CARD}/return", _at_the_desk("return", _of_holder("card-returned", proved=True)),
        "card-returned", _CODE,
    ),
    _rule(
        f"POST {_CARD}/replacement",
        _at_the_desk("replacement", _lost_by_it, _replaced, _in_its_place),
        "card-lost", "card-replaced", "card-assigned", "card-lent", _CODE,
    ),
    _rule(
        f"POST {_CARD}/retirement",
        _at_the_desk("retirement", _of_holder("card-retired", proved=True)),
        "card-retired", _CODE,
    ),
    _rule(f"PUT {_CARD}/status", _status, "card-lost", "card-found"),
    _rule("POST /v1/keys", _key, "method-enrolled"),
    _rule("GET /scim/v2/Users", _scim_found),
    _rule("POST /scim/v2/Users", _scim_added, "person-added"),
    _rule(
        "PATCH /scim/v2/Users/(.+)", _scim_changed, "person-left", "person-changed", "card-lost"
    ),
    _rule(r"PATCH /v1/people/(\d+)", _barred, "person-changed"),
    _rule("POST /v1/people/import", _imported, "person-added", "people-imported"),
    _rule(f"POST {_PORTAL}/sign-in", _password, "password-wrong", "signed-in"),
    _rule(
        rf"POST {_PORTAL}/second/(\w+)/[\w.-]+", _second, "factor-checked", "signed-in"
    ),
    _rule(rf"POST {_PORTAL}/enrol/(\w+)/\d+/confirm", _enrolled, "method-enrolled"),
    _rule(rf"POST {_PORTAL}/people/(\d+)/help/(\w+)", _help, *_STEPS.values()),
    _rule(f"POST {_PORTAL}/recover", _recovery_begun, "recovery-begun"),
    _rule(
        f"POST {_PORTAL}/recover/prove", _recovery_proved, "factor-checked", "recovery-wrong"
    ),
    _rule(f"POST {_PORTAL}/recover/help", _help_code, "help-code-used", "help-code-wrong"),
    _rule(
        f"POST {_PORTAL}/recover/reset", _reset, "password-changed", "method-voided",
        "enrol-only-session",
    ),
)  # fmt: skip
"""Of each request that changes something. Whatever else is asked leaves nothing."""

OF_REFUSALS = frozenset({"limit-reached", "token-wrong"})
"""Of any request: too many of its kind, and one with a token that is nobody's."""

OF_THE_SERVER = frozenset({"chain-opened"})
"""Its own: what each chain of a worker begins with."""

NOT_IN_A_FIRM = frozenset(
    {
        # what nobody in the simulation does at the portal or the console
        "account-made", "address-changed", "browser-forgotten", "card-claimed", "card-deleted",
        "card-certified", "card-resynchronised", "card-taken-back", "card-undone", "card-unlocked",
        "credential-added", "credential-revoked", "desk-refused", "firm-added", "group-added",
        "group-changed", "group-deleted", "hand-over-agreed", "hand-over-asked",
        "hand-over-withdrawn", "invitation-used", "invitation-withdrawn", "key-refused",
        "key-unknown", "key-unconfirmed", "lockout-lifted", "logo-changed", "log-exported",
        "method-removed", "method-renamed", "people-exported", "people-merged", "person-deleted",
        "person-invited", "policy-changed", "session-ended", "sessions-ended", "signed-out",
        "serials-reserved", "signer-added", "signer-revoked", "ticket-ended", "ticket-taken",
        # services of OpenID Connect, RADIUS, and LDAP
        "directory-not-read", "factor-missing", "oidc-client-added", "oidc-client-changed",
        "oidc-client-removed", "oidc-logout-failed", "oidc-logout-refused", "oidc-logout-told",
        "oidc-signed-in", "oidc-tokens-ended", "signing-key-made",
        # keys that change, backups, and what is pruned or reminded of after a longer time
        "chain-closed", "chain-goes-on", "key-retired", "keys-rotated", "log-pruned",
        "person-reminded", "restore-confirmed", "restored",
    }
)  # fmt: skip
"""Kinds that no act of the simulation leaves: one of them in the log is nobody's."""


def rule_of(method: str, path: str) -> tuple[EntryRule, Sequence[str]] | None:
    """→ the rule, and what its pattern has found in the path"""
    for one in RULES:
        found = one.pattern.fullmatch(path) if one.method == method else None
        if found is not None:
            return one, found.groups()
    return None
