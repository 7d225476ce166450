"""RADIUS, with FreeRADIUS' radclient where it is installed, and raw packets."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network

import pytest
from click.testing import CliRunner
from pyrad import packet
from pyrad.dictionary import Dictionary
from sqlalchemy import text

from tallystick.common.errors import BadInputError
from tallystick.common.secret import Secret
from tallystick.server.operating.cli import server as command
from tallystick.server.rules.otp import hotp
from tallystick.server.services import radius
from tallystick.server.services.radius import DICTIONARY, RadiusServer
from tallystick.server.services.radius_clients import (
    GroupAttribute,
    Mode,
    RadiusClient,
    RadiusSettings,
    client_of,
    clients_from,
)
from tallystick.server.serving.running import listen, running_in_thread
from tallystick.server.state import open_state
from tallystick.server.store.opened import opened
from tests import needs
from tests.server.portal_driver import PASSWORD, Browser, Portal
from tests.server.test_portal import register_card
from tests.service_pages import picture_of_terminal

SECRET = secrets.token_hex(16)


class Vpn:
    """A network access server that asks."""

    def __init__(self, port: int) -> None:
        self.port = port

    def radclient(self, **attributes: str) -> str:
        """→ everything that radclient prints: the reply's kind and attributes."""
        lines = "\n".join(
            f"{name.replace('_', '-')} = {value if value.startswith('0x') else repr(value)}"
            for name, value in attributes.items()
        ).replace("'", '"')
        done = subprocess.run(
            ["radclient", "-x", "-r", "1", "-t", "5", f"127.0.0.1:{self.port}", "auth", SECRET],
            input=f"{lines}\nMessage-Authenticator = 0x00\n",
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.stdout + done.stderr

    def raw(self, data: bytes, wait_s: float = 5) -> bytes | None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(wait_s)
            sock.sendto(data, ("127.0.0.1", self.port))
            try:
                return sock.recv(4096)
            except TimeoutError:
                return None

    def request(self, secret: str = SECRET, *, signed: bool = True, **attributes: object):
        request = packet.AuthPacket(secret=secret.encode(), dict=Dictionary(str(DICTIONARY)))
        if signed:
            request.add_message_authenticator()
        for name, value in attributes.items():
            request[name.replace("_", "-")] = (
                request.PwCrypt(value) if name == "User_Password" else value
            )
        return request


@pytest.fixture
def mode() -> Mode:
    return Mode.CHALLENGE


@pytest.fixture
def terms() -> dict[str, object]:
    """What the client may do besides."""
    return {}


@pytest.fixture
def vpn(portal, mode, terms) -> Iterator[Vpn]:
    state = open_state(portal.settings)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        settings = RadiusSettings("default", Secret(SECRET.encode()), ("127.0.0.1/32",), mode)
        server = RadiusServer(state, [replace(one, **terms) for one in settings.each()], sock)
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        yield Vpn(sock.getsockname()[1])
        server.close()
        thread.join()
    state.close()


@pytest.fixture
def portal(settings, clock, tmp_path) -> Iterator[Portal]:
    sink = f"file://{tmp_path / 'sent.jsonl'}"
    settings = replace(settings, sms=sink, smtp=sink)
    with running_in_thread(settings) as url:
        yield Portal(url, settings, clock, tmp_path)
        Browser.close_all()


@pytest.fixture
def seed(portal, container_class) -> bytes:
    """ann has a card, whose next moving factor is 2."""
    seed = register_card(portal, container_class)
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann").get("/enrol/card").post("/enrol/card", serial="A1")
    browser.post("/enrol/card/A1/confirm", code=hotp(seed, 0, 6), second_code=hotp(seed, 1, 6))
    assert "is enrolled" in browser.page.text
    return seed


@needs.radclient.mark
def test_password_then_challenge(vpn, seed):
    asked = vpn.radclient(User_Name="ann", User_Password=PASSWORD)
    assert "Access-Challenge" in asked
    assert "Card A1" in asked
    state = re.search(r"State = (0x\w+)", asked).group(1)
    wrong = vpn.radclient(User_Name="ann", User_Password="000000", State=state)
    assert "Access-Reject" in wrong
    right = vpn.radclient(User_Name="ann", User_Password=hotp(seed, 2, 6), State=state)
    assert "Received Access-Accept" in right
    typed = "radclient -x localhost auth SECRET"
    picture_of_terminal(
        "radius",
        (f"{typed}  # User-Name, User-Password", asked),
        (f"{typed}  # User-Name, the code as User-Password, State", right),
        instead={SECRET: "…", f":{vpn.port}": ":1812"},
    )
    again = vpn.radclient(User_Name="ann", User_Password=hotp(seed, 3, 6), State=state)
    assert "Access-Reject" in again  # the attempt is over


@needs.radclient.mark
@pytest.mark.parametrize("mode", [Mode.APPEND])
def test_code_appended_to_the_password(vpn, seed):
    ask = lambda secret: vpn.radclient(User_Name="ann", User_Password=secret)  # noqa: E731
    assert "Access-Reject" in ask(PASSWORD)
    assert "Access-Reject" in ask(PASSWORD + "000000")
    assert "Access-Reject" in ask("wrong password" + hotp(seed, 2, 6))
    assert "Received Access-Accept" in ask(PASSWORD + hotp(seed, 2, 6))
    assert "Access-Reject" in ask(PASSWORD + hotp(seed, 2, 6))


@needs.radclient.mark
def test_without_a_second_factor_there_is_no_vpn(vpn, portal):
    portal.person("bob")
    assert "Access-Reject" in vpn.radclient(User_Name="bob", User_Password=PASSWORD)
    portal.policy(minimum_methods=0)
    assert "Received Access-Accept" in vpn.radclient(User_Name="bob", User_Password=PASSWORD)


@needs.radclient.mark
def test_a_code_by_sms(vpn, portal):
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann").get("/enrol/sms")
    browser.post("/enrol/sms", address="+4740000089")
    key = re.search(r"/enrol/sms/(\d+)/confirm", browser.page.text).group(1)
    browser.post(f"/enrol/sms/{key}/confirm", code=portal.code(1))
    asked = vpn.radclient(User_Name="ann", User_Password=PASSWORD)
    assert "was sent to you" in asked
    state = re.search(r"State = (0x\w+)", asked).group(1)
    answer = vpn.radclient(User_Name="ann", User_Password=portal.code(2), State=state)
    assert "Received Access-Accept" in answer


@pytest.mark.parametrize("mode", [Mode.APPEND])
def test_a_packet_that_comes_twice_is_judged_once(vpn, seed):
    request = vpn.request(User_Name="ann", User_Password=PASSWORD + hotp(seed, 2, 6))
    data = request.RequestPacket()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        for _ in range(3):
            sock.sendto(data, ("127.0.0.1", vpn.port))
        answers = {sock.recv(4096) for _ in range(3)}
    (answer,) = answers
    assert answer[0] == packet.AccessAccept
    assert answer[20] == 80  # Message-Authenticator comes first
    reply = request.CreateReply(packet=answer)
    assert request.VerifyReply(reply, answer, enforce_ma=True)
    # Whoever heard it and sends the same bytes from elsewhere is not given that answer.
    again = vpn.raw(data)
    assert again is not None and again[0] == packet.AccessReject


def test_what_is_dropped(vpn, seed):
    unsigned = vpn.request(signed=False, User_Name="ann", User_Password=PASSWORD)
    foreign = vpn.request("another secret", User_Name="ann", User_Password=PASSWORD)
    signed = vpn.request(User_Name="ann", User_Password=PASSWORD).RequestPacket()
    changed = signed[:-1] + bytes([signed[-1] ^ 1])
    for data in (
        b"",
        b"\x01\x02\x00\x14",
        bytes(20),
        secrets.token_bytes(100),
        unsigned.RequestPacket(),
        foreign.RequestPacket(),
        changed,
    ):
        assert vpn.raw(data, 0.1) is None
    assert vpn.raw(signed)[0] == packet.AccessChallenge


def _hidden(password: bytes, authenticator: bytes) -> bytes:
    """A User-Password (RFC 2865 5.2) of up to 16 bytes."""
    mask = hashlib.md5(SECRET.encode() + authenticator).digest()
    return bytes(a ^ b for a, b in zip(password.ljust(16, b"\0"), mask, strict=True))


@pytest.mark.parametrize(
    ("name", "password"), [(b"ann", "größe".encode("latin-1")), (b"\xc4nn", b"any password")]
)
def test_what_is_not_utf_8_is_refused_and_said(vpn, caplog, name, password):
    """No answer would look like a server that is down."""
    authenticator = secrets.token_bytes(16)
    body = b"\x02\x12" + _hidden(password, authenticator)
    body = bytes([1, 2 + len(name)]) + name + body
    answer = vpn.raw(_signed(body, authenticator=authenticator))
    assert answer is not None and answer[0] == packet.AccessReject
    assert b"UTF-8" in answer and "not UTF-8" in caplog.text
    assert password.decode("latin-1") not in caplog.text


def test_a_status_request_is_answered(vpn):
    """RFC 5997: with a Message-Authenticator, and nobody is asked for."""
    request = vpn.request()
    request.code = packet.StatusServer
    request.authenticator = secrets.token_bytes(16)
    data = _status(request)
    answer = vpn.raw(data)
    assert answer[0] == packet.AccessAccept and answer[20] == 80
    assert request.VerifyReply(request.CreateReply(packet=answer), answer, enforce_ma=True)
    assert vpn.raw(_status(vpn.request("another secret")), 0.2) is None
    assert vpn.raw(_status(vpn.request(signed=False)), 0.2) is None


def _status(request) -> bytes:
    request.code = packet.StatusServer
    request.authenticator = request.authenticator or secrets.token_bytes(16)
    request.id = request.id or 7
    if request.message_authenticator:
        request._refresh_message_authenticator()
    attributes = request._PktEncodeAttributes()
    length = (20 + len(attributes)).to_bytes(2, "big")
    return bytes([request.code, request.id]) + length + request.authenticator + attributes


@needs.radclient.mark
def test_radclient_asks_for_the_status(vpn):
    done = subprocess.run(
        ["radclient", "-x", "-r", "1", "-t", "5", f"127.0.0.1:{vpn.port}", "status", SECRET],
        input="Message-Authenticator = 0x00\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "Received Access-Accept" in done.stdout


def test_the_log_tells_a_wrong_secret_from_no_authenticator(vpn, caplog):
    assert vpn.raw(vpn.request("another secret", User_Name="a").RequestPacket(), 0.2) is None
    assert "wrong Message-Authenticator" in caplog.text and "another shared secret" in caplog.text
    caplog.clear()
    assert vpn.raw(vpn.request(signed=False, User_Name="a").RequestPacket(), 0.2) is None
    assert "without Message-Authenticator" in caplog.text and "allow_unsigned" in caplog.text


@pytest.mark.parametrize("terms", [{"allow_unsigned": True}])
@pytest.mark.parametrize("mode", [Mode.APPEND])
def test_an_old_client_is_allowed_and_said_loudly(vpn, seed, caplog):
    request = vpn.request(signed=False, User_Name="ann", User_Password=PASSWORD + hotp(seed, 2, 6))
    answer = vpn.raw(request.RequestPacket())
    assert answer[0] == packet.AccessAccept and answer[20] == 80
    (said,) = caplog.get_records("setup")[-1:]
    assert "can forge an Access-Accept" in said.getMessage()
    # One that is there must be right, all the same.
    wrong = vpn.request("another secret", User_Name="ann", User_Password=PASSWORD)
    assert vpn.raw(wrong.RequestPacket(), 0.2) is None
    # It asks for users only: Status-Server came with Message-Authenticator (RFC 5997 3).
    assert vpn.raw(_status(vpn.request(signed=False)), 0.2) is None
    assert vpn.raw(_status(vpn.request()))[0] == packet.AccessAccept


@pytest.mark.parametrize(
    ("terms", "attribute"),
    [
        ({"group_attribute": GroupAttribute.FILTER_ID}, "Filter-Id"),
        ({"group_attribute": GroupAttribute.CLASS}, "Class"),
        ({}, ""),
    ],
)
@pytest.mark.parametrize("mode", [Mode.APPEND])
@pytest.mark.parametrize("name", ["ann", "Ann@firm.example"])
def test_groups_of_the_user(vpn, portal, seed, attribute, name):
    with opened(portal.settings) as parts, parts.database.write() as connection:
        connection.execute(
            text(
                "UPDATE person SET groups = 'staff' || char(10) || 'vpn é', "
                "email = 'ann@firm.example', email_verified = 1 WHERE login = 'ann'"
            )
        )
    request = vpn.request(User_Name=name, User_Password=PASSWORD + hotp(seed, 2, 6))
    answer = vpn.raw(request.RequestPacket())
    reply = request.CreateReply(packet=answer)
    assert reply.code == packet.AccessAccept
    found = reply.get(attribute) if attribute else None
    given = [one if isinstance(one, bytes) else one.encode() for one in found or []]
    assert given == ([b"staff", "vpn é".encode()] if attribute else [])
    for name in ("Filter-Id", "Class"):
        assert (name in reply) == (name == attribute)


@pytest.mark.parametrize("terms", [{"group_attribute": GroupAttribute.FILTER_ID}])
@pytest.mark.parametrize("mode", [Mode.APPEND])
def test_long_and_many_groups_keep_nobody_out(vpn, portal, seed):
    """A packet has room for so much: the first ones, each with as much as fits, as text."""
    groups = "\n".join(["é" * 200, *(f"group {n} {'x' * 100}" for n in range(40))])
    with opened(portal.settings) as parts, parts.database.write() as connection:
        connection.execute(text("UPDATE person SET groups = :g WHERE login = 'ann'"), {"g": groups})
    request = vpn.request(User_Name="ann", User_Password=PASSWORD + hotp(seed, 2, 6))
    data = vpn.raw(request.RequestPacket())
    assert data is not None and data[0] == packet.AccessAccept and len(data) <= 4096
    first, *more = request.CreateReply(packet=data)["Filter-Id"]
    assert first == "é" * 126 and len(more) == 11


def test_more_than_may_wait_are_dropped(vpn, portal, monkeypatch, caplog):
    """A flood takes no memory: what finds no room is dropped, and comes again."""
    release = threading.Event()
    monkeypatch.setattr(radius.RadiusServer, "_answer", lambda *_: release.wait(30) and None)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(radius.WAITING * 2):
            sock.sendto(b"x", ("127.0.0.1", vpn.port))
        for _ in range(500):
            if "are dropped" in caplog.text:
                break
            threading.Event().wait(0.02)
            sock.sendto(b"x", ("127.0.0.1", vpn.port))
    release.set()
    assert caplog.text.count("are dropped") == 1
    # And there is room again, once they are through.
    monkeypatch.setattr(radius.RadiusServer, "_answer", lambda *_: b"room")
    assert any(vpn.raw(b"x", 0.5) == b"room" for _ in range(40))


CLIENTS = """
[[client]]
address = "10.0.0.0/8"
secret = "sixteen letters!"

[[client]]
address = "10.1.0.0/16"
secret_file = "branch.secret"
firm = "branch"
mode = "append"
code_digits = 8
allow_unsigned = true
group_attribute = "Filter-Id"

[[client]]
address = "2001:db8::/32"
secret = "another of sixteen"
"""


def test_a_file_of_clients(tmp_path):
    file = tmp_path / "clients.toml"
    file.write_text(CLIENTS)
    file.chmod(0o600)
    (tmp_path / "branch.secret").write_text("secret of the branch\n")
    clients = clients_from(file)
    wide = client_of(clients, "10.2.3.4")
    branch = client_of(clients, "10.1.3.4")
    assert (wide.firm, wide.mode, wide.allow_unsigned) == ("default", Mode.CHALLENGE, False)
    assert (branch.firm, branch.mode, branch.code_digits) == ("branch", Mode.APPEND, 8)
    assert branch.allow_unsigned and branch.group_attribute is GroupAttribute.FILTER_ID
    assert branch.secret.reveal() == b"secret of the branch"
    assert client_of(clients, "2001:db8::7") is clients[2]
    assert client_of(clients, "::ffff:10.1.0.1") is branch
    assert client_of(clients, "192.0.2.1") is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("10.0.0.0/8", "10.0.0.1/8", "host bits"),
        ("10.0.0.0/8", "vpn.example", "vpn.example"),
        ("sixteen letters!", "short", "16 characters"),
        ("branch.secret", "nowhere", "nowhere"),
        ('"append"', '"ask"', "'ask'"),
        ("code_digits = 8", "code_digits = 9", "6 to 8"),
        ("= true", '= "yes"', "true or false"),
        ('"Filter-Id"', '"User-Name"', "'User-Name'"),
        ("firm =", "frim =", "frim"),
        ("10.1.0.0/16", "10.0.0.0/8", "twice"),
        ("[[client]]", "[client", "TOML"),
        (CLIENTS, "", "no clients"),
        (CLIENTS, "client = 7", "no clients"),
        (CLIENTS, "client = [7]", "not known"),
    ],
)
def test_a_file_of_clients_with_something_wrong(tmp_path, old, new, says):
    file = tmp_path / "clients.toml"
    file.write_text(CLIENTS.replace(old, new))
    file.chmod(0o600)
    (tmp_path / "branch.secret").write_text("secret of the branch")
    with pytest.raises(BadInputError) as raised:
        clients_from(file)
    assert says in str(raised.value)
    assert "sixteen letters" not in str(raised.value)
    file.chmod(0o644)
    with pytest.raises(BadInputError, match="chmod 600"):
        clients_from(file)


def test_the_command_wants_one_way_to_name_its_clients(tmp_path):
    (tmp_path / "s").write_text("x" * 20)
    for words in (
        [],
        ["--secret-file", str(tmp_path / "s"), "--clients-file", str(tmp_path / "s")],
    ):
        done = CliRunner().invoke(command, ["radius", *words])
        assert done.exit_code == 2 and "--clients-file" in done.output


def told(portal, *words: str) -> str:
    base = ["--db", portal.settings.db_url, "--key-file", str(portal.settings.key_file)]
    (portal.folder / "s").write_text("x" * 20)
    if "--clients-file" not in words:
        words = ("--secret-file", str(portal.folder / "s"), *words)
    done = CliRunner().invoke(command, ["radius", "--port", "0", *words, *base])
    assert isinstance(done.exception, BadInputError), done
    return f"{done.exception} {done.exception.todo}"


def test_the_command_tells_what_it_cannot_use(portal):
    assert "nobody" in told(portal, "--firm", "nobody")
    assert "10.0.0.1/24" in told(portal, "--client", "10.0.0.1/24")
    assert "no.host.invalid" in told(portal, "--host", "no.host.invalid")
    assert "203.0.113.9" in told(portal, "--host", "203.0.113.9")
    file = portal.folder / "clients.toml"
    file.touch(0o600)
    file.write_text(f'[[client]]\naddress = "10.0.0.0/8"\nsecret = "{SECRET}"\nfirm = "gone"\n')
    assert "10.0.0.0/8" in told(portal, "--clients-file", str(file))


def _signed(
    body: bytes,
    *,
    code: int = packet.AccessRequest,
    length: int = 0,
    authenticator: bytes = b"",
) -> bytes:
    """A packet of these attributes, with a right Message-Authenticator before them."""
    head = struct.pack("!BBH", code, 7, length or 38 + len(body))
    head += authenticator or secrets.token_bytes(16)
    mac = hmac.digest(SECRET.encode(), head + b"\x50\x12" + bytes(16) + body, "md5")
    return head + b"\x50\x12" + mac + body


@pytest.mark.parametrize(
    ("body", "length"),
    [
        (b"\x20\x00", 0),
        (b"\x20\x01", 0),
        (b"\x20\xff", 0),
        (b"\x20", 0),
        (b"\x01\x05ann\x50\x12" + bytes(16), 0),  # a second Message-Authenticator
        (b"\x01\x05ann", 20 + 18 + 4),
        (b"\x01\x05ann", 500),
        (b"\x01\x05ann", 19),
    ],
)
def test_lengths_that_do_not_add_up_are_dropped_and_said(vpn, caplog, body, length):
    assert vpn.raw(_signed(body, length=length), wait_s=0.3) is None
    assert "malformed" in caplog.text and "Message-Authenticator" not in caplog.text
    status = _signed(b"\x20\x03x\xfa\x02", code=packet.StatusServer)
    assert vpn.raw(status + bytes(5)) is not None  # padding is none of it (RFC 2865 section 3)


def test_clients_of_two_firms_and_of_ipv6(portal, seed, caplog):
    """By the smallest network; one socket hears IPv4 and IPv6."""
    for words in (["firm", "add", "second"],):
        base = ["--db", portal.settings.db_url, "--key-file", str(portal.settings.key_file)]
        assert CliRunner().invoke(command, [*words, *base]).exit_code == 0
    keys = {net: secrets.token_hex(10) for net in ("127.0.0.0/8", "127.0.0.2/32", "::1/128")}
    firm_of = {"127.0.0.2/32": "second"}
    clients = [
        RadiusClient(ip_network(net), Secret(key.encode()), firm_of.get(net, "default"))
        for net, key in keys.items()
    ]
    state = open_state(portal.settings)
    with listen("::", 0, socket.SOCK_DGRAM) as sock:
        server = RadiusServer(state, clients, sock)
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()

        def ask(source: str, net: str, password: str = PASSWORD, **more: object):
            request = Vpn(0).request(keys[net], User_Name="ann", User_Password=password, **more)
            family = socket.AF_INET6 if ":" in source else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as asking:
                asking.settimeout(5)
                asking.bind((source, 0))
                asking.sendto(
                    request.RequestPacket(),
                    ("::1" if ":" in source else "127.0.0.1", sock.getsockname()[1]),
                )
                try:
                    return request.CreateReply(packet=asking.recv(4096))
                except TimeoutError:
                    return None

        first = ask("127.0.0.1", "127.0.0.0/8")
        assert first.code == packet.AccessChallenge
        assert ask("::1", "::1/128").code == packet.AccessChallenge
        assert ask("127.0.0.2", "127.0.0.2/32").code == packet.AccessReject  # nobody is ann there
        token = {"State": first["State"][0]}
        code = hotp(seed, 2, 6)
        for source, net in (("127.0.0.9", "127.0.0.0/8"), ("::1", "::1/128")):
            assert ask(source, net, code, **token).code == packet.AccessReject
        assert ask("127.0.0.1", "127.0.0.0/8", code, **token).code == packet.AccessAccept
        server.close()
        thread.join()
    state.close()
    assert "::ffff" not in caplog.text


@pytest.mark.parametrize(
    "said",
    ["x from=198.51.100.1 who=", "\n.: failed act=a from=198.51.100.1 who=", "a\x1b[2Jb\u202ec d"],
)
def test_what_a_vpn_server_calls_a_place_is_one_word_of_the_log(vpn, portal, caplog, said):
    portal.person("ann")
    request = vpn.request(User_Name="ann", User_Password="wrong", Calling_Station_Id=said)
    assert request.CreateReply(packet=vpn.raw(request.RequestPacket())).code == packet.AccessReject
    (line,) = [r.getMessage() for r in caplog.records if r.name == "tallystick.auth"]
    assert re.fullmatch(r"failed act=password-wrong from=\S+ who=person:\d+", line), line
    assert line.isprintable()


@pytest.mark.parametrize("twice", ["User-Name", "State"])
def test_what_comes_twice_is_refused(vpn, portal, seed, twice):
    """The one name might be judged, and the other one let in."""
    portal.person("eve")
    asked = vpn.request(User_Name="ann", User_Password=PASSWORD)
    state = asked.CreateReply(packet=vpn.raw(asked.RequestPacket()))["State"][0]
    code = hotp(seed, 2, 6)
    request = vpn.request(User_Name="ann", User_Password=code, State=state)
    request.AddAttribute(twice, {"User-Name": "eve", "State": b"x"}[twice])
    reply = request.CreateReply(packet=vpn.raw(request.RequestPacket()))
    assert reply.code == packet.AccessReject
    once = vpn.request(User_Name="ann", User_Password=code, State=state)
    reply = once.CreateReply(packet=vpn.raw(once.RequestPacket()))
    assert reply.code == packet.AccessAccept  # nothing was used up


@pytest.mark.parametrize("mode", list(Mode))
def test_who_is_refused_for_want_of_a_factor_has_not_signed_in(vpn, portal, mode):
    """The password was right, so that none of the tries is used up."""
    portal.person("bob")
    portal.policy(password_max_failures=3)
    for _ in range(4):
        request = vpn.request(User_Name="bob", User_Password=PASSWORD)
        reply = request.CreateReply(packet=vpn.raw(request.RequestPacket()))
        assert reply.code == packet.AccessReject
        assert reply["Reply-Message"] == ["Enrol a second factor first, or one more."]
    with opened(portal.settings) as parts, parts.database.read() as connection:
        query = text("SELECT action, detail FROM audit WHERE actor = 'person:1'")
        rows = [(row.action, row.detail) for row in connection.execute(query)]
    assert [action for action, _ in rows[-4:]] == ["factor-missing"] * 4
    assert '"by":"radius"' in rows[-1][1].replace(" ", "")
    assert "signed-in" not in {action for action, _ in rows}


@pytest.mark.parametrize("mode", [Mode.APPEND])
@pytest.mark.parametrize("typed", ["ann", "ANN", "Ann@firm.example"])
def test_an_accept_names_the_account(vpn, portal, seed, typed):
    """RFC 2865 5.1: what the client writes down, and asks about, is one name."""
    with opened(portal.settings) as parts, parts.database.write() as connection:
        change = "UPDATE person SET email = 'ann@firm.example', email_verified = 1 WHERE id = 1"
        connection.execute(text(change))
    request = vpn.request(User_Name=typed, User_Password=PASSWORD + hotp(seed, 2, 6))
    reply = request.CreateReply(packet=vpn.raw(request.RequestPacket()))
    assert (reply.code, reply["User-Name"]) == (packet.AccessAccept, ["ann"])
    wrong = vpn.request(User_Name=typed, User_Password="wrong")
    assert "User-Name" not in wrong.CreateReply(packet=vpn.raw(wrong.RequestPacket()))


def test_a_state_with_something_added_is_none(vpn, seed):
    asked = vpn.request(User_Name="ann", User_Password=PASSWORD)
    state = asked.CreateReply(packet=vpn.raw(asked.RequestPacket()))["State"][0]
    for given, code in ((state + b"\xff", packet.AccessReject), (state, packet.AccessAccept)):
        request = vpn.request(User_Name="ann", User_Password=hotp(seed, 2, 6), State=given)
        assert request.CreateReply(packet=vpn.raw(request.RequestPacket())).code == code


def test_a_name_with_a_nul_is_answered(vpn, portal):
    """No database takes one: the packet would come again, and again."""
    request = vpn.request(User_Name="ann\0", User_Password=PASSWORD)
    assert request.CreateReply(packet=vpn.raw(request.RequestPacket())).code == packet.AccessReject
