"""A model of accounts, run against the server from outside, over HTTP and RADIUS.

Whoever has a session or an Accept for somebody has shown two independent things of him in this
attempt: his password (or what recovered it) and another. What was ended never comes back. Every act
has an entry with who, what, whom and from where. Those who do everything right get in.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from typing import ClassVar
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from pyrad import packet

from tallystick.common import base64url
from tallystick.server.accounts.credentials import Role
from tallystick.server.accounts.policy import PersonRole
from tallystick.server.rules.otp import hotp
from tallystick.server.services.radius_clients import Mode
from tallystick.tools.campaign.server.shared_line import as_form
from tallystick.tools.campaign.server.town import (
    MAX_FAILURES,
    REDIRECT,
    CardInHand,
    Live,
    Somebody,
    Surfer,
    Town,
    Vpn,
    new_town,
)

ANYBODY = st.sampled_from(["ann", "bob", "sue", "sam", "boss"])
USERS = st.sampled_from(["ann", "bob"])
AGENTS = st.sampled_from(["sue", "sam"])
METHODS = st.sampled_from(["totp", "email", "card"])
THINGS = {"totp": "telephone", "email": "mailbox", "card": "card"}
NEW_PASSWORDS = ("plain violet harbour", "seven quiet lanterns", "old copper weather")


class AccountViolation(AssertionError):  # noqa: N818  (what is found, not an error of the program)
    """Something followed that may never follow."""


class AccountsModel(RuleBasedStateMachine):
    """One firm; each rule is an act of one of the actors. live: set before it is run."""

    live: ClassVar[Live]
    towns: ClassVar[int] = 0

    @classmethod
    def rule_names(cls) -> list[str]:
        """What can happen."""
        marked = "hypothesis_stateful_rule"
        return [name for name, value in vars(AccountsModel).items() if hasattr(value, marked)]

    @initialize(simplest=st.sampled_from([True] + [False] * 15))
    def settle(self, simplest: bool) -> None:
        """hypothesis begins every search with the simplest run, which is the same for every seed:
        that one is left out."""
        assume(not simplest)
        self.move_in()

    def move_in(self) -> None:
        """A town of its own, and nothing has happened in it."""
        AccountsModel.towns += 1
        self.live.clock.advance(4 * 3600)  # what was counted in an hour begins anew
        self.town: Town = new_town(self.live, self.towns)
        self.vpns: dict[Mode, Vpn] = {}
        self.ended: list[tuple[str, Surfer]] = []
        self.dead_tokens: list[str] = []

    def teardown(self) -> None:
        for vpn in getattr(self, "vpns", {}).values():
            vpn.close()

    # what people do right ---------------------------------------------------------------------

    @rule(name=ANYBODY, method=METHODS, upper=st.booleans())
    def sign_in(self, name: str, method: str, upper: bool) -> None:
        who = self._who(name)
        login = who.login.upper() if upper else who.login
        surfer = self._new().password(login, who.password)
        self._show(surfer, who, method)
        recovered = who.rests_on == THINGS[method]
        if recovered:
            self._must(surfer.whose() == "", f"{method} recovered the password and signed in")
            return
        self._must(surfer.whose() == who.login, f"a right password and {method} were refused")
        self._two_shown(who, method)
        self._logged("signed-in", f"person:{who.id}", f"person:{who.id}", surfer)
        self._logged("factor-checked", f"person:{who.id}", who.login, surfer)

    @rule(name=ANYBODY, method=METHODS)
    def vpn_challenge(self, name: str, method: str) -> None:
        who = self._who(name)
        vpn = self._vpn(Mode.CHALLENGE)
        code, state = vpn.ask(who.login, who.password)
        self._must(code == packet.AccessChallenge, "a right password was refused by RADIUS")
        if method == "email":
            before = len(self.town.letters(who.mail))
            code, state = vpn.ask(who.login, "email", state)
        sent = code == packet.AccessChallenge
        typed = self._typed(who, method, before if method == "email" else 0) if sent else "none"
        code, _ = vpn.ask(who.login, typed, state)
        if who.rests_on == THINGS[method]:
            self._must(code == packet.AccessReject, f"{method} recovered it and got an Accept")
            return
        self._must(code == packet.AccessAccept, f"a right code of {method} was refused by RADIUS")
        self._two_shown(who, method)
        self._must(vpn.ask(who.login, typed, state)[0] == packet.AccessReject, "State served twice")

    @rule(name=ANYBODY, times=st.integers(1, 4))
    def vpn_appended(self, name: str, times: int) -> None:
        who = self._who(name)
        if who.rests_on == "telephone":
            return
        for _ in range(times):
            typed = who.password + self.town.app_code(who)
            code, _ = self._vpn(Mode.APPEND).ask(who.login, typed)
            self._must(code == packet.AccessAccept, "password and app's code were refused")
        who.rests_on = "password"
        # However often that was: it was no guess at the card.
        card = self._new().password(who.login, who.password)
        self._show(card, who, "card")
        self._must(card.whose() == who.login, "right log-ins have locked the card")
        who.card_confirmed = True

    # what somebody does with what is not his ---------------------------------------------------

    @rule(name=ANYBODY, other=ANYBODY)
    def vpn_other_name(self, name: str, other: str) -> None:
        who, victim = self._who(name), self._who(other)
        if who is victim or who.rests_on == "telephone":
            return
        vpn = self._vpn(Mode.CHALLENGE)
        _, state = vpn.ask(who.login, who.password)
        code, _ = vpn.ask(victim.login, self.town.app_code(who), state)
        self._must(code != packet.AccessAccept, "an Accept for a name that nobody proved")

    @rule(name=ANYBODY)
    def vpn_with_the_browsers_attempt(self, name: str) -> None:
        who = self._who(name)
        surfer = self._new().password(who.login, who.password)
        state = surfer.cookie("tally_attempt").encode()
        code, _ = self._vpn(Mode.CHALLENGE).ask(who.login, self.town.app_code(who), state)
        self._must(code != packet.AccessAccept, "a browser's attempt got an Accept")

    @rule(name=ANYBODY, other=ANYBODY)
    def code_of_another(self, name: str, other: str) -> None:
        who, stranger = self._who(name), self._who(other)
        if who is stranger:
            return
        surfer = self._new().password(who.login, who.password)
        surfer.get(f"/second/totp/{who.app_key}")
        surfer.post(f"/second/totp/{who.app_key}", code=self.town.app_code(stranger))
        self._must(surfer.whose() == "", "another person's code signed in")
        self.town.settle(name, who.role)  # a guess was counted: so that none is throttled

    @rule(name=ANYBODY)
    def code_of_another_attempt(self, name: str) -> None:
        """A thief who knows the password reads the message that its owner has just asked for."""
        who = self._who(name)
        if who.rests_on == "mailbox":
            return
        path, before = f"/second/email/{who.mail_key}", len(self.town.letters(who.mail))
        owner, thief = (self._new().password(who.login, who.password) for _ in range(2))
        owner.get("/second").post(f"{path}/ask")
        typed = self.town.mailed_code(who, before)
        thief.get("/second").post(path, code=typed)
        self._must(thief.whose() == "", "a code that was sent for another attempt signed in")
        owner.post(path, code=typed)
        self._must(owner.whose() == who.login, "another attempt used up a code that was sent")
        who.rests_on = "password"

    @rule(name=ANYBODY, method=st.sampled_from(["totp", "card"]), by_service=st.booleans())
    def used_code(self, name: str, method: str, by_service: bool) -> None:
        who = self._who(name)
        if who.rests_on == THINGS[method]:
            return
        surfer = self._new().password(who.login, who.password)
        typed = self._show(surfer, who, method)
        self._must(surfer.whose() == who.login, f"a right password and {method} were refused")
        self._two_shown(who, method)
        if by_service:
            answer = self.town.api(Role.SERVICE, "POST", "/verify", user=who.login, code=typed)
            self._must(answer.json().get("accepted") is False, "a service took a used code")
            return
        again = self._new().password(who.login, who.password)
        again.get(f"/second/totp/{who.app_key}")
        again.post(f"/second/totp/{who.app_key}", code=typed)
        self._must(again.whose() == "", "a used code signed in")

    # recovery ---------------------------------------------------------------------------------

    @rule(name=ANYBODY, method=METHODS)
    def recover(self, name: str, method: str) -> None:
        """A thief of one thing, or its owner: they look the same."""
        who = self._who(name)
        surfer, before = self._new(), len(self.town.letters(who.mail))
        confirmed = method != "card" or who.card_confirmed
        surfer.get("/recover").post("/recover", login=who.login, kind=method)
        typed = self._typed(who, method, before) if confirmed else who.card.code()
        surfer.post(f"/recover/prove?kind={method}", code=typed)
        may = surfer.heading == "Choose a new password"
        if not confirmed:
            self._must(not may, "a card that was handed out recovered a password")
            self.town.settle(name, who.role)
            return
        self._must(may, f"a right code of {method} did not recover")
        new = next(one for one in NEW_PASSWORDS if one != who.password)
        surfer.post("/recover/reset", password=new)
        self._must("new password is set" in surfer.text, "the new password was refused")
        who.password, who.rests_on = new, THINGS[method]
        self._logged("password-changed", f"person:{who.id}", who.login, surfer)
        thief = self._new().password(who.login, who.password)
        self._show(thief, who, method)
        self._must(thief.whose() == "", f"{method} alone took the account")

    @rule(name=ANYBODY)
    def reset_without_proof(self, name: str) -> None:
        who, surfer = self._who(name), self._new()
        surfer.get("/recover").post("/recover", login=who.login, kind="totp")
        surfer.post("/recover/reset", password=NEW_PASSWORDS[2])
        self._must("new password is set" not in surfer.text, "a password was set without a proof")

    @rule(agent=AGENTS, name=ANYBODY, for_good=st.booleans(), with_code=st.booleans())
    def hand_out(self, agent: str, name: str, for_good: bool, with_code: bool) -> None:
        """And then "Forgot password" with that card."""
        who, staff = self._hardly_guessed_at(name), self._signed_in(agent)
        if staff is None or agent == name:
            return
        card, act = self.town.new_card(), "assign" if for_good else "lend"
        code = {"code": card.code()} if with_code else {}
        staff.get("/cards").post(f"/cards/{card.serial}/{act}", user=who.login, **code)
        holder = self._holder(card)
        if not with_code:
            self._must(holder is None, "a card was handed out without its code")
            return
        more = who.role is PersonRole.ADMINISTRATOR
        self._must(not (more and holder), "a card was handed to someone with more rights, alone")
        if more:
            self._logged("hand-over-asked", f"person:{self._who(agent).id}", who.login, staff)
            return
        self._must(holder == who.login, "a card with its code was not handed out")
        action = "card-assigned" if for_good else "card-lent"
        self._logged(action, f"person:{self._who(agent).id}", card.serial, staff)
        self._recover_by(card, who)
        if for_good:
            return
        holding = self._new().password(who.login, who.password)
        if self._show(holding, who, "totp") and holding.whose() == who.login:
            who.rests_on = "password"
            path = f"/methods/card/{card.serial}/remove"
            holding.get(path).post(path)
            self._must(self._holder(card) == who.login, "a borrower removed a lent card")

    @rule(role=st.sampled_from([Role.DESK, Role.STATION]), name=st.sampled_from(["ann", "boss"]))
    def hand_out_by_credential(self, role: Role, name: str) -> None:
        who, card = self._hardly_guessed_at(name), self.town.new_card()
        if role is Role.DESK:
            path, body = f"/cards/{card.serial}/loan", {"user": who.login, "codes": [card.code()]}
            answer = self.town.api(role, "POST", path, **body)
        else:
            path = f"/cards/{card.serial}/assignment"
            answer = self.town.api(role, "PUT", path, user=who.login)
        if name == "boss":
            self._must(answer.status_code == 403, f"a {role} credential gave a card to the boss")
            return
        self._must(answer.status_code == 200, f"a {role} credential could not hand out a card")
        self._recover_by(card, who)

    @rule(role=st.sampled_from([Role.STATION]), wrong=st.integers(0, 10**9))
    def misspelt(self, role: Role, wrong: int) -> None:
        card, name = self.town.new_card(), f"nobody{wrong}"
        answer = self.town.api(role, "PUT", f"/cards/{card.serial}/assignment", user=name)
        self._must(answer.status_code == 404, "a name that nobody has was given a card")
        self._must(not self.town.knows(name), "a misspelt name made a person")

    # the help desk ------------------------------------------------------------------------------

    @rule(
        name=st.sampled_from(["ann", "bob", "boss"]),
        everything=st.booleans(),
        late=st.booleans(),
        then=st.sampled_from(["enrol", "wait", "wander"]),
    )
    def help_desk(self, name: str, everything: bool, late: bool, then: str) -> None:
        who, one, two = self._who(name), self._signed_in("sue"), self._signed_in("sam")
        if one is None or two is None:
            return
        page = f"/people/{who.id}"
        # Everything: whatever he has, also a sheet of codes and a card that was lent.
        held = re.findall(r"/methods/(\w+)/([\w-]+)/remove", one.get(page).text)
        named = held if everything else [("totp", who.app_key)]
        voids = [f"void.{kind}.{key}" for kind, key in named]
        one.post(f"{page}/help/ask", reason="lost", **dict.fromkeys(voids, "yes"))
        self._logged("help-asked", f"person:{self._who('sue').id}", who.login, one)
        number = self._request(two.get(page)) or self._request(one.get(page))
        one.post(f"{page}/help/agree", request=number)
        one.post(f"{page}/help/collect", request=number)
        self._must("secret big" not in one.text, "one agent alone got a code")
        two.get(page).post(f"{page}/help/agree", request=number)
        one.get(page).post(f"{page}/help/collect", request=number)
        code = re.search(r'secret big">([\w-]+)<', one.text)
        if name == "boss":
            self._must(code is None, "two support agents recovered an administrator")
            return
        if code is None:
            raise AccountViolation("two agents together got no code")
        self._logged("help-agreed", f"person:{self._who('sam').id}", who.login, two)
        if late:
            self.live.clock.advance(3700)
        user = self._new().get("/recover/help")
        user.post("/recover/help", login=who.login, code=code.group(1))
        may = user.heading == "Choose a new password"
        self._must(may is not late, "a help code was good at the wrong time")
        if late:
            return
        who.password, who.rests_on = NEW_PASSWORDS[0], "help"
        user.post("/recover/reset", password=who.password)
        # Whether a session was opened is looked at first: that a closed one does nothing says
        # nothing about what one may that can only enrol.
        opened = user.whose() == who.login
        self._must(opened is everything, "a session to enrol in was opened for a wrong one")
        self._after_help(name, who, user, everything, then)

    def _after_help(
        self, name: str, who: Somebody, user: Surfer, everything: bool, then: str
    ) -> None:
        alone = self._new().password(who.login, who.password)
        self._must(alone.whose() == "", "after help, the password alone signed in")
        alone.get(f"/second/totp/{who.app_key}")
        alone.post(f"/second/totp/{who.app_key}", code=self.town.app_code(who))
        self._must(alone.whose() == "", "a method that the help desk voided signed in")
        if not everything:
            other = self._new().password(who.login, who.password)
            self._show(other, who, "email")
            self._must(other.whose() == who.login, "what was not named as lost was refused")
        elif then == "wander":
            for path in ("/password", "/address", "/prove", "/people"):
                self._must(user.get(path).status == 403, f"{path} in a session that may only enrol")
            user.get(self._authorise())
            self._must(not user.outside, "a session that may only enrol served a service")
        elif then == "wait":
            self.live.clock.advance(1000)
            self._must(user.whose() == "", "a session that may only enrol lasted")
        else:
            self._enrol_app(user)
            self._must(user.whose() == "", "a session that may only enrol went on")
        self.town.settle(name, who.role)

    @rule(name=USERS, agent=AGENTS, boss=st.booleans())
    def staff_remove(self, name: str, agent: str, boss: bool) -> None:
        who, staff = self._who("boss" if boss else name), self._signed_in(agent)
        if staff is None:
            return
        path = f"/people/{who.id}/methods/totp/{who.app_key}/remove"
        staff.get(f"/people/{who.id}").post(path)
        surfer = self._new().password(who.login, who.password)
        surfer.get(f"/second/totp/{who.app_key}")
        surfer.post(f"/second/totp/{who.app_key}", code=self.town.app_code(who))
        if boss:
            refused = who.rests_on == "telephone"
            self._must(refused or surfer.whose() == who.login, "an agent removed the boss' method")
            if not refused:
                who.rests_on = "password"
            return
        self._must(surfer.whose() == "", "a method that staff removed signed in")
        self._logged("method-removed", f"person:{self._who(agent).id}", who.login, staff)
        self.town.settle(name, who.role)

    @rule(act=st.sampled_from(["people", "policy", "card"]))
    def stale_staff(self, act: str) -> None:
        boss = self._signed_in("boss")
        if boss is None:
            return
        self.live.clock.advance(400)
        if act == "people":
            login = f"mole{secrets.token_hex(4)}"
            boss.get("/people").post("/people", login=login, role="administrator")
            self._must(not self.town.knows(login), "a stale session added an administrator")
        elif act == "policy":
            ticked = boss.get("/policy").ticked()
            boss.post("/policy", **ticked, day_ends="16:00")
            self._must(not self.town.acts("policy-changed")[1:], "a stale session set the policy")
        else:
            card = self.town.new_card()
            path = f"/cards/{card.serial}/assign"
            boss.get("/cards").post(path, user=self._who("ann").login, code=card.code())
            self._must(self._holder(card) is None, "a stale session handed out a card")

    @rule(agent=AGENTS, name=ANYBODY)
    def lost_and_found(self, agent: str, name: str) -> None:
        """Whoever says that a lost card was found may have stolen it."""
        who, staff = self._who(name), self._signed_in(agent)
        if staff is None or agent == name or who.rests_on == "card":
            return
        owner = self._new().password(who.login, who.password)
        self._show(owner, who, "card")  # confirmed, from now on
        self._must(owner.whose() == who.login, "a right password and card were refused")
        for what in ("lost", "found"):
            staff.get("/cards").post(f"/cards/{who.card.serial}/{what}")
        self._recover_by(who.card, who)
        self.town.settle(name, who.role)

    @rule(name=USERS)
    def keep_the_loan(self, name: str) -> None:
        """Who borrowed a card keeps it, and enrols it as his own once the loan is over."""
        who, card = self._who(name), self.town.new_card()
        body = {"user": who.login, "codes": [card.code()]}
        answer = self.town.api(Role.DESK, "POST", f"/cards/{card.serial}/loan", **body)
        self._must(answer.status_code == 200, "a desk could not lend a card")
        self.live.clock.advance(2 * 86400)
        borrower = self._signed_in(name)
        if borrower is None:
            return
        borrower.get("/enrol/card").post("/enrol/card", serial=card.serial)
        path = f"/enrol/card/{card.serial}/confirm"
        borrower.post(path, code=card.code(), second_code=card.code())
        self._must(self._holder(card) is None, "a borrower kept an overdue card")

    @rule(name=st.sampled_from(["ann", "boss"]))
    def agree_elsewhere(self, name: str) -> None:
        """The colleague looks at somebody else's page."""
        who, one, two = self._who(name), self._signed_in("sue"), self._signed_in("sam")
        if one is None or two is None:
            return
        page, elsewhere = f"/people/{who.id}", f"/people/{self._who('bob').id}"
        one.get(page).post(f"{page}/help/ask", reason="lost")
        number = self._request(two.get(page))
        before = len(self.town.acts("help-agreed"))
        two.get(elsewhere).post(f"{elsewhere}/help/agree", request=number)
        agreed = len(self.town.acts("help-agreed")) > before
        self._must(not agreed, "agreed to what another page showed")

    @rule(role=st.sampled_from(["support", "administrator"]))
    def own_colleague(self, role: str) -> None:
        """An administrator makes a second account, opens it himself, and agrees with himself."""
        who, boss = self._who("ann"), self._signed_in("boss")
        if boss is None:
            return
        login, password = f"puppet{secrets.token_hex(4)}", NEW_PASSWORDS[0]
        boss.get("/people").post("/people", login=login, role=role)
        made = re.search(r"/people/(\d+)/invite/letter", boss.text)
        if made is None:
            raise AccountViolation("nobody could be added and invited")
        boss.post(f"/people/{made.group(1)}/invite/letter")
        code = re.search(r"\b[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}\b", boss.text)
        puppet = self._new().get("/recover/help")
        puppet.post("/recover/help", login=login, code=code.group() if code else "")
        puppet.post("/recover/reset", password=password)
        self._enrol_app(puppet.password(login, password))
        self._must(puppet.get("/people").status == 200, "an invitation opened no account")
        page = f"/people/{who.id}"
        boss.get(page).post(f"{page}/help/ask", reason="lost")
        number = self._request(puppet.get(page))
        puppet.post(f"{page}/help/agree", request=number)
        boss.get(page).post(f"{page}/help/collect", request=number)
        self._must("secret big" not in boss.text, "an administrator alone got a help code")

    @rule(name=USERS)
    def leaver_again(self, name: str) -> None:
        """An administrator makes a leaver of somebody, and opens the account as his own."""
        who, boss = self._who(name), self._signed_in("boss")
        if boss is None:
            return
        page = f"/people/{who.id}"
        boss.get(page).post(f"{page}/leave", login=who.login)
        old = self._new().password(who.login, who.password)
        self._must(old.whose() == "", "a leaver signed in")
        boss.get(page).post(page, role=who.role.value, email="own@home.example")
        boss.post(f"{page}/invite/letter")
        code = re.search(r"\b[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}\b", boss.text)
        self._must(code is None, "an administrator alone was let into a leaver's account")
        self.town.settle(name, who.role)

    @rule(name=ANYBODY)
    def strangers_lock(self, name: str) -> None:
        """They know a login name; its owner has a browser that he has used before."""
        who, owner = self._who(name), self._signed_in(name)
        if owner is None or who.rests_on == "telephone":
            return
        owner.get("/").post("/sign-out")
        stranger = self._new().get("/recover")
        stranger.post("/recover", login=who.login, kind="totp")
        for _ in range(3):
            stranger.post("/recover/prove?kind=totp", code="000000")
        owner.password(who.login, who.password)
        self._show(owner, who, "totp")
        self._must(owner.whose() == who.login, "strangers locked the owner out of his browser")
        self.town.settle(name, who.role)

    @rule(late=st.booleans())
    def newcomer(self, late: bool) -> None:
        """Somebody sets his first password, and never enrols anything."""
        login, code = self.town.newcomer()
        surfer = self._new().get("/recover/help")
        surfer.post("/recover/help", login=login, code=code)
        surfer.post("/recover/reset", password=NEW_PASSWORDS[1])
        if late:
            self.live.clock.advance(14 * 86400)
        surfer = self._new().password(login, NEW_PASSWORDS[1])
        self._must(
            (surfer.whose() == login) is not late, "a first password was good at a wrong time"
        )

    # services, sessions -------------------------------------------------------------------------

    @rule(name=ANYBODY, how=st.sampled_from(["sign-out", "others", "staff", "disabled"]))
    def end(self, name: str, how: str) -> None:
        who, old = self._who(name), self._signed_in(name)
        if old is None:
            return
        token = self._service_token(old, who)
        if how == "sign-out":
            old.get("/").post("/sign-out")
        elif how == "others":
            other = self._signed_in(name)
            if other is None:
                return
            other.get("/").post("/sessions/end-others")
        else:
            staff_name = "boss" if name != "boss" else "sue"
            staff = self._signed_in(staff_name)
            if staff is None or (how == "disabled" and name == "boss"):
                return
            staff.get(f"/people/{who.id}")
            if how == "staff":
                staff.post(f"/people/{who.id}/end-sessions")
            else:
                staff.post(f"/people/{who.id}", role=who.role.value, disabled="yes")
                self.town.settle(name, who.role)
        self.ended.append((who.login, old))
        self.dead_tokens.append(token)
        self._signed_in(name)  # where numbers are used again, this one gets the old one's

    @rule(name=ANYBODY, stripped=st.booleans(), how=st.sampled_from(["prompt", "max_age"]))
    def sign_in_anew(self, name: str, stripped: bool, how: str) -> None:
        surfer = self._signed_in(name)
        if surfer is None:
            return
        self.live.clock.advance(60)
        asked = {"prompt": "login"} if how == "prompt" else {"max_age": "10"}
        url = self._authorise(**asked)
        surfer.get(url)
        self._must(not surfer.outside, f"{how} was not heeded")
        if stripped:
            parts = urlsplit(url)
            left = [one for one in parse_qsl(parts.query) if one[0] not in asked]
            url = f"{parts.path}?{urlencode(left)}"
        surfer.get(url)
        self._must(not surfer.outside, f"{how} was passed by opening what comes next")

    @rule(name=ANYBODY)
    def remembered_is_not_two(self, name: str) -> None:
        who = self._who(name)
        if who.rests_on == "telephone":
            return
        surfer = self._new().password(who.login, who.password)
        surfer.get(f"/second/totp/{who.app_key}")
        code = self.town.app_code(who)
        surfer.post(f"/second/totp/{who.app_key}", code=code, remember="yes")
        who.rests_on = "password"
        surfer.get("/").post("/sign-out")
        surfer.password(who.login, who.password)
        self._must(surfer.whose() == who.login, "a remembered browser was not")
        surfer.get(self._authorise(acr_values="mfa"))
        self._must(not surfer.outside, "mfa was answered by a password")
        if who.role is not PersonRole.USER:
            self._must(surfer.get("/people").status == 403, "staff's pages by a password alone")

    @rule(name=USERS)
    def backup_codes(self, name: str) -> None:
        who, surfer = self._who(name), self._signed_in(name)
        if surfer is None:
            return
        surfer.get("/enrol/codes").post("/enrol/codes", label="Sheet")
        codes = re.findall(r'class="secret">([\w-]+)<', surfer.text)
        key = re.search(r"/enrol/codes/(\d+)/confirm", surfer.text)
        if not codes or key is None:
            raise AccountViolation("backup codes could not be enrolled")
        surfer.post(f"/enrol/codes/{key.group(1)}/confirm", code=codes[0])
        for turn, right in ((1, True), (1, False), (2, True)):
            again = self._new().password(who.login, who.password)
            again.get(f"/second/codes/{key.group(1)}")
            again.post(f"/second/codes/{key.group(1)}", code=codes[turn])
            self._must((again.whose() == who.login) is right, "a backup code was not good once")

    @invariant()
    def nothing_ended_comes_back(self) -> None:
        self.live.clock.advance(100)  # what counts in a quarter of an hour does not add up
        for login, surfer in getattr(self, "ended", [])[-2:]:
            self._must(surfer.whose() == "", f"a session of {login} that was ended came back")
        for token in getattr(self, "dead_tokens", [])[-2:]:
            self._must(self._user_info(token) == 401, "a token of an ended session works again")

    @invariant()
    def every_act_says_from_where(self) -> None:
        nowhere = self.town.from_nowhere() if hasattr(self, "town") else []
        self._must(not nowhere, f"an entry does not say from where: {nowhere[:1]}")

    # ----------------------------------------------------------------------------------------------

    def _must(self, held: bool, otherwise: str) -> None:
        if not held:
            raise AccountViolation(otherwise)

    def _two_shown(self, who: Somebody, method: str) -> None:
        """He signed in with something else than what the password rests on."""
        who.rests_on = "password"
        who.card_confirmed |= method == "card"

    def _who(self, name: str) -> Somebody:
        return self.town.people[name]

    def _new(self) -> Surfer:
        return self.town.browser()

    def _vpn(self, mode: Mode) -> Vpn:
        if mode not in self.vpns:
            self.vpns[mode] = Vpn(self.town, mode)
        return self.vpns[mode]

    def _logged(self, action: str, actor: str, subject: str, surfer: Surfer) -> None:
        found = (actor, subject, surfer.address) in self.town.acts(action)
        self._must(found, f"no entry {action} of {actor} about {subject} from where he is")

    def _typed(self, who: Somebody, method: str, letters: int) -> str:
        if method == "totp":
            return self.town.app_code(who)
        if method == "card":
            return who.card.code()
        return self.town.mailed_code(who, letters)

    def _show(self, surfer: Surfer, who: Somebody, method: str) -> str:
        """Show a method to a browser whose password was right. → what was typed"""
        key = {"totp": who.app_key, "email": who.mail_key, "card": who.card.serial}[method]
        before = len(self.town.letters(who.mail))
        if method == "email":
            surfer.get("/second").post(f"/second/email/{key}/ask")
            if "is on its way" not in surfer.text:
                return ""
        else:
            surfer.get(f"/second/{method}/{key}")
        typed = self._typed(who, method, before)
        surfer.post(f"/second/{method}/{key}", code=typed)
        return typed

    def _signed_in(self, name: str) -> Surfer | None:
        """A browser of someone who has just shown a second factor."""
        who = self._who(name)
        surfer = self._new().password(who.login, who.password)
        self._show(surfer, who, "email" if who.rests_on == "telephone" else "totp")
        if surfer.whose() != who.login:
            raise AccountViolation("a right password and a right code were refused")
        who.rests_on = "password"
        return surfer

    def _holder(self, card: CardInHand) -> str | None:
        found = self.town.api(Role.DESK, "GET", f"/cards/{card.serial}").json()["user"]
        return str(found) if found else None

    def _hardly_guessed_at(self, name: str) -> Somebody:
        """One more guess does not throttle his card."""
        who = self._who(name)
        return who if who.guessed_at < MAX_FAILURES - 1 else self.town.settle(name, who.role)

    def _recover_by(self, card: CardInHand, who: Somebody) -> None:
        """With a card that is not his own, this is a guess at his own card."""
        who.guessed_at += 1
        thief = self._new()
        thief.get("/recover").post("/recover", login=who.login, kind="card")
        thief.post("/recover/prove?kind=card", code=card.code())
        may = thief.heading == "Choose a new password"
        self._must(not may, "a card that was handed out recovered a password")

    def _request(self, surfer: Surfer) -> str:
        found = re.search(r'name="request" value="(\d+)"', surfer.text)
        return found.group(1) if found else "0"

    def _enrol_app(self, surfer: Surfer) -> None:
        surfer.get("/enrol/totp").post("/enrol/totp", label="New")
        key = re.search(r"/enrol/totp/(\d+)/confirm", surfer.text)
        secret = re.search(r'class="secret">(\w+)<', surfer.text)
        if key is None or secret is None:
            raise AccountViolation("nothing could be enrolled after help")
        counter = int(self.live.clock()) // 30
        raw = base64.b32decode(secret.group(1) + "=" * (-len(secret.group(1)) % 8))
        surfer.post(f"/enrol/totp/{key.group(1)}/confirm", code=hotp(raw, counter, 6))

    _VERIFIER = "v" * 50

    def _authorise(self, **more: str) -> str:
        digest = hashlib.sha256(self._VERIFIER.encode()).digest()
        query = {
            "client_id": self.town.client_id,
            "redirect_uri": REDIRECT,
            "response_type": "code",
            "scope": "openid",
            "state": secrets.token_hex(8),
            "nonce": secrets.token_hex(8),
            "code_challenge": base64url.encode(digest),
            "code_challenge_method": "S256",
        } | more
        return f"/p/{self.town.firm}/oidc/authorize?{urlencode(query)}"

    def _service_token(self, surfer: Surfer, who: Somebody) -> str:
        """Sign in to the service. → the access token"""
        surfer.get(self._authorise(acr_values="mfa"))
        code = parse_qs(urlsplit(surfer.outside).query).get("code", [""])[0]
        self._must(bool(code), "two factors did not open a service")
        names = f"{self.town.client_id}:{self.town.client_secret}".encode()
        headers = {
            "authorization": f"Basic {base64.b64encode(names).decode()}",
            "x-forwarded-for": self.town.address(),
        }
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "code_verifier": self._VERIFIER,
        }
        path = f"/p/{self.town.firm}/oidc/token"
        answer = self.live.wire.ask("POST", path, *as_form(headers, form)).json()
        middle = answer["id_token"].split(".")[1]
        claims = json.loads(base64url.decode(middle))
        self._must(claims["acr"] == "mfa", "a service that asked for mfa got less")
        token = str(answer["access_token"])
        self._must(self._user_info(token) == 200, "a fresh access token was refused")
        return token

    def _user_info(self, token: str) -> int:
        headers = {"authorization": f"Bearer {token}", "x-forwarded-for": self.town.address()}
        path = f"/p/{self.town.firm}/oidc/userinfo"
        return self.live.wire.ask("GET", path, headers).status_code
