"""RADIUS, packet by packet: which are heard, how each is judged, what the answer says."""

from __future__ import annotations

import logging
import struct
from dataclasses import replace
from ipaddress import ip_network
from types import SimpleNamespace

import pytest
from pyrad import packet
from pyrad.dictionary import Dictionary
from sqlalchemy import func, select

from tallystick.common.errors import BadInputError
from tallystick.common.secret import Secret
from tallystick.server.accounts import people
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.errors import ApiError
from tallystick.server.methods import METHODS
from tallystick.server.methods.base import Held
from tallystick.server.services import radius, radius_eap
from tallystick.server.services.radius_clients import (
    GroupAttribute,
    Mode,
    RadiusClient,
    RadiusSettings,
)
from tallystick.server.services.radius_eap import EapAnswer
from tallystick.server.signing_in.second import as_person
from tallystick.server.store.models_login import SessionRow
from tests.server.house import PASSWORD, acts

ACCEPT, REJECT, CHALLENGE = packet.AccessAccept, packet.AccessReject, packet.AccessChallenge
KEY = b"secret of sixteen"
NET = "10.0.0.0/24"
PEER = ("10.0.0.1", 1812)
WORDS = Dictionary(str(radius.DICTIONARY))
NEEDED = "A name and a password are needed."
WRONG = "That was not right."


class Line:
    """A socket: what comes in is said before, what goes out is kept. An exception is raised."""

    def __init__(self, *incoming) -> None:
        self.incoming, self.sent, self.seconds, self.size = list(incoming), [], 0.0, 0

    def settimeout(self, seconds):
        self.seconds = seconds

    def recvfrom(self, size):
        assert self.seconds  # else a thread that is told to end may wait for ever
        self.size = size
        data = self.incoming.pop(0)() if self.incoming else OSError()
        if isinstance(data, Exception):
            raise data
        return data, PEER

    def getsockname(self):
        return PEER

    def sendto(self, data, peer):
        self.sent.append((data, peer))


def client_at(network=NET, **more) -> RadiusClient:
    return RadiusClient(ip_network(network), Secret(KEY), "default", **more)


def request_of(key=KEY, *, signed=True, **attributes):
    """User_Password is hidden as it is sent."""
    request = packet.AuthPacket(secret=key, dict=WORDS)
    if signed:
        request.add_message_authenticator()
    for name, value in attributes.items():
        hidden = request.PwCrypt(value) if name == "User_Password" else value
        request[name.replace("_", "-")] = hidden
    return request


@pytest.fixture
def serve(quick_house):
    """→ a server of these clients"""

    def made(*clients, line=None, **terms):
        clients = clients or (client_at(**terms),)
        return radius.RadiusServer(quick_house.state, clients, line or Line())

    return made


@pytest.fixture
def asked(serve, quick_house):
    """→ the answer of a server to a request of ann: kind, what it says, the whole"""
    servers = {}

    def made(password=PASSWORD, *, peer=PEER, terms=None, signed=True, name="ann", **more):
        known = tuple(sorted((terms or {}).items()))
        if known not in servers:
            servers[known] = serve(**(terms or {}))
        said = {"User_Name": name, "User_Password": password, **more}
        request = request_of(signed=signed, **{k: v for k, v in said.items() if v is not None})
        data = request.RequestPacket()
        answer = servers[known]._answer(data, peer)
        if answer is None:
            return None
        reply = request.CreateReply(packet=answer)
        assert request.VerifyReply(reply, answer, enforce_ma=True)
        assert answer[20] == radius.MESSAGE_AUTHENTICATOR  # the first: RFC 2869 5.14
        return SimpleNamespace(
            code=reply.code, message=reply.get("Reply-Message", [""])[0],
            state=reply.get("State", [b""])[0], reply=reply,
        )  # fmt: skip

    return made


def sms(house, posted, name="ann", label=None) -> None:
    """A second way in: codes that are sent."""
    with house.write() as connection:
        context = house.context(connection)
        owner = as_person(people.by_login(connection, house.firm.id, name))
        method = METHODS[MethodKind.SMS]
        started = method.start(context, owner, {"address": "+4740000089"})
        code = posted[-1]["letter"].text.split()[0]
        assert method.finish(context, owner, started.key, {"code": code}).accepted
        people.note_enrolment(connection, owner.id, house.clock())
    house.clock.advance(60)


# -- packets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "good"),
    [
        ("", True),
        ("2002", True),
        ("20026102", True),
        ("2003ff", True),
        ("20", False),
        ("2000", False),
        ("2001", False),
        ("2003", False),
        ("200102", False),
        ("20fd" + "00" * 251 + "2002", True),
        ("2002" + "61", False),
        ("5002", True),
        ("5002" + "5002", False),
        ("5002" + "2002" + "5002", False),
        ("5102" + "5002" + "4f02", True),
    ],
)
def test_lengths_of_attributes_add_up(attributes, good):
    body = bytes.fromhex(attributes)
    whole = b"\x01\x07" + struct.pack("!H", 20 + len(body)) + bytes(16) + body
    assert radius.is_well_formed(whole) is good
    assert radius.is_well_formed(whole + b"\x07") is good  # padding is none of it


@pytest.mark.parametrize(
    "head", ["", "0107", "01070014", "01070013" + "00" * 16, "01070015" + "00" * 16]
)
def test_lengths_of_packets_add_up(head):
    assert not radius.is_well_formed(bytes.fromhex(head))


def test_the_largest_packet_and_those_that_wait():
    assert radius.MAX_PACKET == 4096  # RFC 2865, 3
    assert radius.WAITING == 256  # docs/guides/services/radius.md


def test_risks_are_said_at_the_start(serve, caplog):
    serve()
    assert not caplog.records
    serve(allow_unsigned=True)
    (said,) = caplog.messages
    assert NET in said and "can forge an Access-Accept" in said
    caplog.clear()
    serve(eap_gtc=True)
    (said,) = caplog.messages
    assert NET in said and "EAP-GTC: passwords and codes are in clear" in said
    assert {one.levelno for one in caplog.records} == {logging.WARNING}


def test_one_secret_for_all(quick_house):
    settings = RadiusSettings("default", Secret(KEY), (NET, "::1"), Mode.APPEND, 7)
    server = radius.RadiusServer(quick_house.state, settings, Line())
    assert list(server._clients) == [
        RadiusClient(ip_network(net), settings.secret, "default", Mode.APPEND, 7)
        for net in (NET, "::1")
    ]
    assert RadiusSettings("f", Secret(KEY), (NET,)).each()[0].code_digits == 6
    with pytest.raises(BadInputError, match="The client x has no address or network"):
        RadiusSettings("f", Secret(KEY), ("x",)).each()


def test_a_firm_of_a_client_has_to_be_there(quick_house):
    radius.check_firms(quick_house.state, [client_at(), client_at("::1")])
    gone = [client_at(), replace(client_at("10.1.0.0/16"), firm="gone")]
    with pytest.raises(BadInputError, match=r"10\.1\.0\.0/16") as caught:
        radius.check_firms(quick_house.state, gone)
    assert "gone" in str(caught.value) and caught.value.todo == "See 'tally server firm list'."
    assert caught.value.__suppress_context__


# -- the socket ------------------------------------------------------------------------------------


class Pool:
    """Does at once what it is given, or keeps it."""

    def __init__(self, busy=False) -> None:
        self.busy, self.kept, self.ended = busy, [], False

    def submit(self, what, *arguments):
        assert not self.ended
        self.kept.append(arguments)
        if not self.busy:
            what(*arguments)

    def shutdown(self):
        self.ended = True


@pytest.fixture
def hear(serve, monkeypatch):
    """→ a server that has read what came, and its line"""

    def made(*incoming, room=None, answer=lambda data: b"!" + data):
        if room is not None:
            monkeypatch.setattr(radius, "WAITING", room)
        line = Line(*((lambda one=one: one) if not callable(one) else one for one in incoming))
        server = serve(line=line)
        server._pool.shutdown()
        server._pool = Pool()
        server._answer = lambda data, peer: answer(data)
        server.serve()
        assert server._pool.ended
        return server, line

    return made


def test_each_packet_is_answered_to_whoever_sent_it(hear):
    server, line = hear(b"a", TimeoutError(), b"b")
    assert line.sent == [(b"!a", PEER), (b"!b", PEER)]
    assert line.size == 4096 and 0 < line.seconds <= 1
    assert [one[1] for one in server._pool.kept] == [PEER, PEER]


def test_what_is_dropped_is_not_answered(hear):
    assert hear(b"a", answer=lambda data: None)[1].sent == []


def test_a_bad_packet_ends_nothing(hear, caplog):
    def answer(data):
        if data == b"a":
            raise RuntimeError("with a secret in it")
        return data

    assert hear(b"a", b"b", answer=answer, room=1)[1].sent == [(b"b", PEER)]
    assert caplog.messages == ["a RADIUS packet from 10.0.0.1 was dropped: RuntimeError"]


def test_more_than_there_is_room_for_are_dropped_and_said_once(serve, monkeypatch, caplog):
    monkeypatch.setattr(radius, "WAITING", 2)
    line = Line(*(lambda one=one: one for one in (b"a", b"b", b"c", b"d")))
    server = serve(line=line)
    server._pool.shutdown()
    pool = server._pool = Pool(busy=True)
    line.incoming.append(lambda: server._handle(b"", PEER) or b"e")  # one of them is done
    server.serve()
    assert [one[0] for one in pool.kept] == [b"a", b"b", b"e"] and pool.ended
    assert [one for one in caplog.messages if "are dropped" in one] == [
        "RADIUS requests are dropped: 2 are waiting"
    ]


def test_room_is_given_back(hear):
    assert len(hear(b"a", b"b", b"c", room=1)[1].sent) == 3


def test_after_the_end_nothing_is_read(hear, serve):
    line = Line(b"a")
    server = serve(line=line)
    server.close()
    assert line.sent == [(b"", PEER)]  # it wakes whoever waits for a packet
    server.serve()
    assert line.incoming and line.sent == [(b"", PEER)]


def test_nor_is_what_woke_it(serve):
    server = serve(line=(line := Line()))
    line.incoming = [lambda: server.close() or b"", lambda: b"never"]
    server._answer = lambda data, peer: b"!" + data
    server.serve()
    assert line.sent == [(b"", PEER)] and len(line.incoming) == 1


def test_it_ends_where_the_socket_is_gone(serve):
    line = Line(OSError, lambda: b"never")
    serve(line=line).serve()
    assert len(line.incoming) == 1
    line.sendto = lambda data, peer: line.incoming.clear() or line.recvfrom(0)
    serve(line=line).close()


# -- which are heard -------------------------------------------------------------------------------


def test_a_stranger_is_not_answered(quick_house, asked, caplog):
    quick_house.person()
    assert asked(peer=("10.0.1.1", 1)) is None
    assert caplog.messages == ["RADIUS from 10.0.1.1, which is not a client"]
    assert asked(peer=("::ffff:10.0.0.9", 1, 0, 0)).code == CHALLENGE


def test_what_is_malformed_is_not_answered(serve, caplog):
    """Of a stranger it is not even said."""
    assert serve()._answer(bytes(20), ("10.0.1.1", 1)) is None
    assert "not a client" in caplog.text
    caplog.clear()
    assert serve()._answer(bytes(20), PEER) is None
    assert caplog.messages == [
        "RADIUS from 10.0.0.1 that is malformed: its lengths do not add up"
    ]  # fmt: skip


@pytest.mark.parametrize("code", [2, 3, 4, 5, 11, 40, 43])
def test_nothing_else_is_answered(serve, code):
    request = request_of(User_Name="ann")
    request.code = code
    assert serve()._answer(request.RequestPacket(), PEER) is None


def status(key=KEY, *, signed=True):
    request = request_of(key, signed=signed)
    request.code = packet.StatusServer
    request.authenticator = bytes(range(16))
    return request, request.RequestPacket()


def test_a_status_request_asks_for_nobody(quick_house, serve):
    request, data = status()
    answer = serve()._answer(data, PEER)
    assert answer[0] == ACCEPT
    assert request.VerifyReply(request.CreateReply(packet=answer), answer, enforce_ma=True)
    assert serve(allow_unsigned=True)._answer(status(signed=False)[1], PEER) is None
    assert serve()._answer(status(b"another of sixteen")[1], PEER) is None


def test_a_wrong_secret_and_no_authenticator_are_told_apart(quick_house, serve, asked, caplog):
    quick_house.person()
    request = request_of(b"another of sixteen", User_Name="ann", User_Password=PASSWORD)
    assert serve()._answer(request.RequestPacket(), PEER) is None
    assert asked(signed=False) is None
    wrong, without = caplog.messages
    assert wrong == (
        "RADIUS from 10.0.0.1 with a wrong Message-Authenticator: it has another shared secret, "
        "or was changed on the way"
    )
    assert without.startswith("RADIUS from 10.0.0.1 without Message-Authenticator: bring the")


def test_an_old_client_is_heard_and_told_of_once_a_minute(quick_house, asked, caplog, monkeypatch):
    quick_house.person()
    at = [5.0]
    monkeypatch.setattr(radius.moments, "steady", lambda: at[0])
    terms = {"allow_unsigned": True}
    for moment in (5.0, 64.9, 65.0):
        at[0] = moment
        assert asked("wrong", signed=False, terms=terms).code == REJECT
    said = [one for one in caplog.messages if "which is allowed" in one]
    assert said == ["RADIUS from 10.0.0.1 without Message-Authenticator, which is allowed"] * 2
    assert "bring the client up to date" not in caplog.text
    caplog.clear()
    assert asked(signed=False, terms=terms, EAP_Message=b"") is None
    assert "bring the client up to date" in caplog.text


# -- what it says ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "password"),
    [(None, PASSWORD), ("", PASSWORD), ("ann", None), (None, None), ("ann\0", PASSWORD)],
)
def test_a_name_and_a_password_are_needed(quick_house, asked, name, password):
    quick_house.person()
    answer = asked(password, name=name)
    assert (answer.code, answer.message) == (REJECT, NEEDED)


@pytest.mark.parametrize("twice", ["User-Name", "State", "User-Password"])
def test_what_comes_twice_is_refused(quick_house, serve, twice):
    quick_house.person()
    request = request_of(User_Name="ann", User_Password=PASSWORD)
    values = {"User-Password": [request.PwCrypt(PASSWORD)] * 2, "State": [b"x", b"y"],
              "User-Name": ["ann", "ann"]}  # fmt: skip
    request[twice] = values[twice][0]
    request.AddAttribute(twice, values[twice][1])
    answer = serve()._answer(request.RequestPacket(), PEER)
    reply = request.CreateReply(packet=answer)
    assert reply.code == REJECT
    assert reply["Reply-Message"] == ["A name, a password and a state are sent once."]


@pytest.mark.parametrize("odd", ["name", "password"])
def test_what_is_not_utf_8_is_refused_and_said(quick_house, serve, caplog, odd):
    quick_house.person()
    request = request_of(User_Name="ann")
    latin = "größe".encode("latin-1")
    if odd == "name":
        request["User-Password"] = request.PwCrypt(PASSWORD)
        data = request.RequestPacket()
        request = request_of(User_Password=PASSWORD)
        request[1] = [latin]
    else:
        request["User-Password"] = request.PwCrypt(latin)
    data = request.RequestPacket()
    reply = request.CreateReply(packet=serve()._answer(data, PEER))
    assert (reply.code, reply["Reply-Message"]) == (
        REJECT, ["Name and password must come in UTF-8."],
    )  # fmt: skip
    (said,) = caplog.messages
    assert said.startswith("RADIUS from 10.0.0.1 with a name or password that is not UTF-8: ref")
    assert not [one for one in acts(quick_house) if one[0] == "sign-in-failed"]


@pytest.mark.parametrize("password", ["größe", "a" * 16, "a" * 17, "ä" * 60, "\N{SNOWMAN}" * 5])
def test_any_other_password_is_tried(quick_house, asked, password):
    quick_house.person()
    answer = asked(password)
    assert (answer.code, "UTF-8" in answer.message) == (REJECT, False)


def test_a_packet_that_comes_twice_gets_the_same_answer(quick_house, serve):
    """From the same place: whoever heard it and sends it from elsewhere is judged anew."""
    quick_house.person()
    server = serve(mode=Mode.APPEND)
    request = request_of(User_Name="ann", User_Password=PASSWORD + quick_house.code())
    data = request.RequestPacket()
    first = server._answer(data, PEER)
    assert first[0] == ACCEPT and server._answer(data, PEER) == first
    assert server._answer(data, ("10.0.0.1", 1813))[0] == REJECT
    assert server._answer(data, ("10.0.0.2", 1812))[0] == REJECT


def test_an_answer_is_remembered_for_a_while(monkeypatch):
    at = [100.0]
    monkeypatch.setattr(radius.moments, "steady", lambda: at[0])
    monkeypatch.setattr(radius, "REMEMBERED", 2)
    kept = radius._Answered()
    assert kept.get("a", lambda: b"1") == b"1"
    at[0] = 100 + radius.REMEMBERED_S
    assert kept.get("a", lambda: b"2") == b"1"
    at[0] += 0.1
    assert kept.get("a", lambda: b"3") == b"3"
    for key in "bcd":
        kept.get(key, lambda: b"x")
    assert kept.get("a", lambda: b"4") == b"4"  # too many came since
    assert kept.get("d", lambda: b"y") == b"x"


def test_what_could_not_be_judged_is_judged_when_it_comes_again():
    kept = radius._Answered()

    def fails():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        kept.get("a", fails)
    assert kept.get("a", lambda: b"1") == b"1"


def test_an_answer_is_remembered_longer_than_clients_try_again():
    """Some ten seconds with most; and no longer than any challenge."""
    assert 10 <= radius.REMEMBERED_S <= radius.CHALLENGE_TIMEOUT_S
    assert radius.REMEMBERED >= radius.WAITING  # of those that wait, none is forgotten


# -- password, then code ---------------------------------------------------------------------------


def test_a_challenge_and_its_answer(quick_house, asked):
    quick_house.person()
    first = asked()
    assert (first.code, first.message) == (CHALLENGE, "Type the code of: Authenticator app.")
    assert first.state and first.reply["Session-Timeout"] == [radius.CHALLENGE_TIMEOUT_S]
    wrong = asked(quick_house.wrong(), State=first.state)
    assert (wrong.code, wrong.message, wrong.state) == (REJECT, WRONG, b"")
    assert "Session-Timeout" not in wrong.reply and "User-Name" not in wrong.reply
    right = asked(f" {quick_house.code()} ", State=first.state)
    assert (right.code, right.message, right.state) == (ACCEPT, "", b"")
    assert right.reply["User-Name"] == ["ann"] and "Reply-Message" not in right.reply
    with quick_house.write() as connection:  # and nothing of the portal is open to him
        assert connection.scalar(select(func.count()).select_from(SessionRow)) == 0
    assert asked(quick_house.code(), State=first.state).code == REJECT


@pytest.mark.parametrize("other", ["peer", "name", "state", "mode"])
def test_a_challenge_is_of_one_user_of_one_client(quick_house, asked, other):
    quick_house.person()
    quick_house.person("bob")
    quick_house.enrol()
    state = asked().state
    more = {
        "peer": {"peer": ("10.0.0.2", 1812)}, "name": {"name": "bob"},
        "state": {"State": state + b"x"}, "mode": {"State": b"\xff" + state},
    }[other]  # fmt: skip
    assert asked(quick_house.code(), **{"State": state} | more).code == REJECT
    assert asked(quick_house.code(), State=state, name="ANN", peer=("10.0.0.1", 7)).code == ACCEPT


def test_a_wrong_password_gets_no_challenge(quick_house, asked):
    quick_house.person()
    answer = asked("wrong")
    assert (answer.code, answer.state) == (REJECT, b"") and answer.message


@pytest.mark.parametrize("mode", list(Mode))
def test_too_few_methods(quick_house, asked, mode):
    quick_house.person()
    quick_house.policy(minimum_methods=2)
    code = quick_house.code() if mode is Mode.APPEND else ""
    answer = asked(PASSWORD + code, terms={"mode": mode})
    assert (answer.code, answer.message) == (REJECT, "Enrol a second factor first, or one more.")


@pytest.mark.parametrize("mode", list(Mode))
def test_a_password_is_enough_where_the_firm_says_so(quick_house, asked, mode):
    quick_house.policy(minimum_methods=0)
    quick_house.person(enrolled=False)
    answer = asked(terms={"mode": mode})
    assert (answer.code, answer.reply["User-Name"]) == (ACCEPT, ["ann"])


def test_a_code_that_is_sent(quick_house, asked, posted):
    quick_house.person(enrolled=False)
    sms(quick_house, posted)
    many = len(posted)
    first = asked()
    assert (first.code, first.message) == (CHALLENGE, "Type the code that was sent to you.")
    assert len(posted) == many + 1
    code = posted[-1]["letter"].text.split()[0]
    assert asked(code, State=first.state).code == ACCEPT


def test_a_choice_of_methods(quick_house, asked, posted):
    quick_house.person()
    sms(quick_house, posted)
    many = len(posted)
    first = asked()
    assert (first.code, first.message) == (
        CHALLENGE, "Type the code of: Authenticator app. To have one sent, type: sms.",
    )  # fmt: skip
    assert len(posted) == many
    sent = asked(" SMS ", State=first.state)
    assert (sent.code, sent.message) == (CHALLENGE, "Type the code that was sent to you.")
    assert sent.state == first.state and len(posted) == many + 1
    code = posted[-1]["letter"].text.split()[0]
    assert asked(code, State=sent.state).code == ACCEPT
    assert asked(quick_house.code(), State=asked().state).code == ACCEPT


def held(kind, key="1", label=""):
    return Held(key, kind, label or kind.value, 0, None)


def test_which_questions_are_asked(quick_house, monkeypatch):
    """One way of sending is used at once; of two, the user says which."""
    judging = radius._Judging(quick_house.state, client_at())
    pending = SimpleNamespace(attempt="t")
    sent = []
    monkeypatch.setattr(judging, "_password", lambda password, asked: pending)
    monkeypatch.setattr(judging, "_send", lambda attempt, one, asked: sent.append(one.key))
    one, two = held(MethodKind.SMS, "1"), held(MethodKind.SMS, "2")
    mail, app, card = (held(kind) for kind in (MethodKind.EMAIL, MethodKind.TOTP, MethodKind.CARD))
    for there, says in (
        ([one], None),
        ([one, two], None),
        ([app, card], "Type the code of: totp, card."),
        ([one, mail], "To have one sent, type: email or sms."),
        ([mail, one, app], "Type the code of: totp. To have one sent, type: sms or email."),
        ([app, app], "Type the code of: totp, totp."),
    ):
        monkeypatch.setattr(judging, "_typed", lambda attempt, asked, there=there: there)
        reply = judging._challenge("", None)
        assert reply == (says and radius._ask(says, "t"))
    assert sent == ["1", "1"]
    assert radius._words([one, two])["sms"] is one
    monkeypatch.setattr(judging, "_typed", lambda attempt, asked: [])
    assert judging._challenge("", None) == radius._reject("None of your methods works here.")


def test_methods_that_need_a_browser_are_not_offered(quick_house, monkeypatch):
    kinds = [held(kind) for kind in MethodKind]
    monkeypatch.setattr(radius.login, "choices", lambda *arguments: kinds)
    judging = radius._Judging(quick_house.state, client_at())
    asked = SimpleNamespace(way=None)
    assert {one.kind for one in judging._typed("t", asked)} == {
        kind for kind in MethodKind if kind is not MethodKind.WEBAUTHN
    }  # fmt: skip


# -- password and code in one ----------------------------------------------------------------------

APPEND = {"mode": Mode.APPEND}


def test_a_code_behind_the_password(quick_house, asked):
    quick_house.person()
    right, wrong = quick_house.code(), quick_house.wrong()
    for password in (
        PASSWORD, right, f"wrong{right}", f"{PASSWORD}{wrong}", f"{PASSWORD}{right}0",
    ):  # fmt: skip
        answer = asked(password, terms=APPEND)
        assert (answer.code, answer.state) == (REJECT, b""), password
    assert asked(PASSWORD, terms=APPEND).message == WRONG
    typed = PASSWORD + quick_house.code()
    assert asked(typed, terms=APPEND, State=b"of another question").code == REJECT
    assert asked(typed, terms=APPEND).code == ACCEPT


@pytest.mark.parametrize(
    ("typed", "digits", "tried"),
    [
        ("secret123456", 6, ("secret", "123456")),
        ("secret12345678", 8, ("secret", "12345678")),
        ("secret12345", 6, ("secret12345", "")),
        ("123456", 6, ("123456", "")),
        ("1123456", 6, ("1", "123456")),
        ("secret\u0661\u0662\u0663\u0664\u0665\u0666", 6, None),
        ("secret\u00b2\u00b2\u00b2\u00b2\u00b2\u00b2", 6, None),
        ("secret", 6, ("secret", "")),
    ],
)
def test_where_the_password_ends(quick_house, monkeypatch, typed, digits, tried):
    judging = radius._Judging(quick_house.state, client_at(code_digits=digits))
    seen = []
    monkeypatch.setattr(
        judging, "_password",
        lambda password, asked: seen.append(password) or SimpleNamespace(attempt="t"),
    )  # fmt: skip
    monkeypatch.setattr(judging, "_prove", lambda attempt, code, asked: seen.append(code))
    answer = judging._appended(typed, None)
    password, code = tried or (typed, "")
    assert seen == [password, *([code] if code else [])]
    assert answer == (None if code else radius._reject(WRONG))


# -- who was let in --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group_attribute", "name"), [(GroupAttribute.CLASS, "Class"),
                                  (GroupAttribute.FILTER_ID, "Filter-Id")],
)  # fmt: skip
def test_groups_of_who_was_let_in(quick_house, asked, group_attribute, name):
    quick_house.policy(minimum_methods=0)
    quick_house.person(enrolled=False)
    groups = ["staff", "ä" * 130, "x" + "ä" * 130, *(f"g{n:02}" for n in range(12))]
    quick_house.change(groups="\n".join(groups))
    reply = asked(terms={"group_attribute": group_attribute}).reply
    values = [v.encode() if isinstance(v, str) else v for v in reply[name]]
    cut = [("ä" * 126).encode(), ("x" + "ä" * 126).encode()]
    assert values == [b"staff", *cut, *(f"g{n:02}".encode() for n in range(9))]
    other = {"Class", "Filter-Id"} - {name}
    assert not other & set(reply.keys())
    assert not {"Class", "Filter-Id"} & set(asked().reply.keys())


def test_twelve_groups_of_253_bytes_fit_in_a_packet():
    """With room for a proxy's own attributes."""
    assert (radius.MOST_GROUPS, radius.MAX_VALUE) == (12, 253)
    assert radius.MAX_PACKET > 12 * 255 + 20 + 18 + 255


@pytest.mark.parametrize(("name", "there"), [("a", True), ("a" * 253, True), ("a" * 254, False)])
def test_a_name_that_does_not_fit_is_left_out(quick_house, asked, monkeypatch, name, there):
    reply = radius.RadiusReply(ACCEPT, name=name)
    monkeypatch.setattr(radius._Judging, "judge", lambda *arguments: reply)
    assert ("User-Name" in asked().reply) is there


def test_an_accept_names_the_account(quick_house, asked):
    quick_house.policy(minimum_methods=0)
    quick_house.person(enrolled=False)
    assert asked(name="ANN").reply["User-Name"] == ["ann"]


@pytest.mark.parametrize(
    ("said", "source"),
    [
        (None, "10.0.0.1"),
        ("", "10.0.0.1"),
        ("192.0.2.7", "192.0.2.7"),
        ("a b\tc\nd", "a_b_c_d"),
        ("x" * 65, "x" * 64),
        (b"\xff\xfe", "\N{REPLACEMENT CHARACTER}" * 2),
        ("\u2028ä", "_ä"),
    ],
)
def test_from_where_a_user_asks_is_one_word(said, source):
    request = {} if said is None else {"Calling-Station-Id": [said]}
    assert radius._source(request, "10.0.0.1") == source


def test_the_log_says_from_where(quick_house, asked):
    quick_house.policy(minimum_methods=0)
    quick_house.person(enrolled=False)
    asked(Calling_Station_Id="192.0.2.7")
    with quick_house.write() as connection:
        rows = connection.exec_driver_sql(
            "SELECT detail FROM audit WHERE action = 'signed-in'"
        ).all()
    assert len(rows) == 1 and '"192.0.2.7"' in rows[0].detail and "RADIUS" in rows[0].detail


def test_refusals_that_are_limits_are_in_the_audit_log(quick_house, asked, monkeypatch):
    """Though no transaction of theirs tells of them."""
    written = []
    monkeypatch.setattr(radius.incidents, "write", lambda *arguments: written.append(arguments))
    asked(Calling_Station_Id="192.0.2.7")
    ((database, ring, origin, firm, now),) = written
    assert (firm, now, origin.address, origin.browser) == (
        "default", quick_house.clock(), "192.0.2.7", "RADIUS",
    )  # fmt: skip
    assert (database, ring) == (quick_house.state.database, quick_house.state.ring)


def test_what_is_refused_says_why(quick_house, asked, monkeypatch):
    def refuse(*arguments):
        raise ApiError(429, "busy", "Too many tries.")

    monkeypatch.setattr(radius.login, "with_password", refuse)
    answer = asked()
    assert (answer.code, answer.message) == (REJECT, "Too many tries.")


# -- EAP -------------------------------------------------------------------------------------------

EAP = {"eap_gtc": True}


@pytest.fixture
def by_eap(serve, quick_house):
    """→ (code, EAP packet, State, the whole) of the answer to an EAP packet of ann"""
    servers = {}

    def made(kind, data, state=b"", identifier=7, name="ann", **terms):
        known = tuple(sorted(terms.items()))
        server = servers.setdefault(known, serve(**terms))
        request = request_of(User_Name=name, **({"State": state} if state else {}))
        eap = bytes([2, identifier]) + struct.pack("!HB", 5 + len(data), kind) + data
        for part in radius_eap.attributes(eap):
            request.AddAttribute("EAP-Message", part)
        answer = server._answer(request.RequestPacket(), PEER)
        reply = request.CreateReply(packet=answer)
        assert request.VerifyReply(reply, answer, enforce_ma=True)
        assert "Reply-Message" not in reply  # RFC 3579 2.6.5
        return reply.code, b"".join(reply["EAP-Message"]), reply.get("State", [b""])[0]

    return made


FAILED = (REJECT, b"\x04\x07\x00\x04", b"")


def asks(text: str, identifier=8) -> bytes:
    return bytes([1, identifier]) + struct.pack("!HB", 5 + len(text), 6) + text.encode()


def test_a_password_and_a_code_by_eap(quick_house, by_eap):
    quick_house.person()
    for begun in (b"ann", b""):
        begin = by_eap(radius_eap.IDENTITY, begun, **EAP)
        assert begin == (CHALLENGE, asks("Password:"), radius.BEGUN.encode())
    code, asked, state = by_eap(radius_eap.GTC, PASSWORD.encode(), begin[2], 8, **EAP)
    assert (code, asked) == (CHALLENGE, asks("Type the code of: Authenticator app.", 9))
    assert by_eap(radius_eap.GTC, quick_house.wrong().encode(), state, **EAP) == FAILED
    done = by_eap(radius_eap.GTC, quick_house.code().encode(), state, 9, **EAP)
    assert done == (ACCEPT, b"\x03\x09\x00\x04", b"")


def test_both_in_one_by_eap(quick_house, by_eap):
    quick_house.person()
    begin = by_eap(radius_eap.IDENTITY, b"ann", **EAP, **APPEND)
    assert begin[:2] == (CHALLENGE, asks("Password and code:"))
    typed = (PASSWORD + quick_house.code()).encode()
    assert by_eap(radius_eap.GTC, typed, begin[2], **EAP, **APPEND)[0] == ACCEPT


def test_what_is_not_answered_by_eap(quick_house, by_eap, caplog):
    quick_house.policy(minimum_methods=0)
    quick_house.person(enrolled=False)
    begun = radius.BEGUN.encode()
    right = (radius_eap.GTC, PASSWORD.encode(), begun)
    for wrong in (
        (radius_eap.NAK, b"\x04", begun),  # it wants another method
        (radius_eap.IDENTITY, b"bob"),  # it is another than the request says
        (4, PASSWORD.encode(), begun),
        (radius_eap.GTC, PASSWORD.encode()),  # nobody asked it
        (radius_eap.GTC, "größe".encode("latin-1"), begun),
    ):
        assert by_eap(*wrong, **EAP) == FAILED, wrong
    caplog.clear()
    for _ in range(2):
        assert by_eap(*right) == FAILED
    assert caplog.messages == ["RADIUS from 10.0.0.1 by EAP, which it may not (eap_gtc)"]
    assert by_eap(radius_eap.IDENTITY, b"ann") == FAILED
    assert by_eap(radius_eap.IDENTITY, b"", **EAP, name="")[0] == CHALLENGE
    assert by_eap(*right, **EAP)[0] == ACCEPT
    assert by_eap(*right, **EAP, name="")[0] == REJECT


def test_a_refusal_before_anything_is_typed(quick_house):
    judging = radius._Judging(quick_house.state, client_at(eap_gtc=True))
    none = EapAnswer(7, radius_eap.NAK, b"")
    assert judging._of_eap("ann", "", none) == radius._reject("")
    assert judging._of_eap("ann", "t", EapAnswer(7, 6, b"x")) == "x"
    assert judging._of_eap("ann", "t", EapAnswer(7, 6, b"")) == ""
