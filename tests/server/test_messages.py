"""Mails as filters want them, by a real SMTP server and a parser; SMS by a provider's own
interface, as its documents have it; one message to try it."""

from __future__ import annotations

import base64
import email.policy
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tallystick.common.errors import BadInputError, UnreachableError
from tallystick.server.accounts.policy import FirmPolicy
from tallystick.server.messages import http_template
from tallystick.server.messages.gateways import Letter, gateway_from
from tallystick.server.messages.http_template import TemplateGateway
from tallystick.server.messages.mails import MailFace, as_html, mail
from tallystick.server.operating.cli import server as commands
from tests.server.test_gateways import SmtpServer, smtp

__all__ = ["smtp"]
TO = "+4740000089"


class Seen(HTMLParser):
    """The words of a page, and where its links lead."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words, self.links, self.tags = "", [], set()
        self.feed(page)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_a_mail_has_what_filters_look_for(smtp: SmtpServer):
    sender = "Firm <otp@firm.example>"
    answer = gateway_from(f"smtp://127.0.0.1:{smtp.port}", sender=sender).send(
        Letter("ann@elsewhere.example", "Grüße", "Hi <b>\n\nhttps://x.example/a?b=1&c=2.", "Ö & Co")
    )
    assert answer == "250 OK"
    (raw,) = smtp.handler.got
    message = message_from_bytes(raw, policy=email.policy.default)
    assert not message.defects
    assert message["from"].addresses[0].display_name == "Ö & Co"
    assert message["from"].addresses[0].addr_spec == "otp@firm.example"
    assert message["subject"] == "Grüße"
    assert message["message-id"].strip("<>").endswith("@firm.example")
    assert abs(message["date"].datetime - datetime.now(UTC)) < timedelta(minutes=5)
    assert message["auto-submitted"] == "auto-generated"
    assert message.get_content_type() == "multipart/alternative"
    plain, rich = message.iter_parts()
    assert (plain.get_content_type(), rich.get_content_type()) == ("text/plain", "text/html")
    text = plain.get_content().replace("\r\n", "\n").strip()
    assert text == "Hi <b>\n\nhttps://x.example/a?b=1&c=2."
    seen = Seen(rich.get_content())
    assert seen.links == ["https://x.example/a?b=1&c=2"]
    assert "Hi <b>" in seen.words and "b" not in seen.tags
    assert all(len(line) <= 998 for line in raw.splitlines())


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", " \u2028 "])
def test_a_name_that_was_copied_out_of_another_document(separator):
    """With a separator of lines or of paragraphs in it. Such mails did not leave the server."""
    name = f"Example{separator}Ltd"
    FirmPolicy(display_name=name)  # is taken
    made = mail(
        sender="otp@example.org", name=name, to="a@example.org", subject=f"{name}: a code",
        text="1", face=MailFace(name),
    )  # fmt: skip
    read = message_from_bytes(made.as_bytes(policy=email.policy.SMTP), policy=email.policy.default)
    assert read["From"].addresses[0].display_name == "Example Ltd"
    assert read["Subject"] == "Example Ltd: a code"


def test_two_mails_have_two_names():
    made = [mail(sender="a@b.example", name="", to="c@d.example", subject="s", text="t")
            for _ in range(2)]  # fmt: skip
    assert len({one["message-id"] for one in made}) == 2
    with pytest.raises(ValueError, match="eader"):
        mail(sender="a@b.example", name="x", to="c@d.example", subject="s\nbcc: e@e.ee", text="t")


@given(text=st.text(max_size=200))
def test_the_twin_says_the_same_and_loads_nothing(text):
    seen = Seen(as_html("s", text))
    assert seen.tags <= {"html", "head", "meta", "title", "body", "div", "p", "br", "a"}
    assert all(link.startswith(("http://", "https://")) for link in seen.links)


# SMS providers -------------------------------------------------------------------------------


class Provider:
    """Keeps requests, and answers as it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer = (201, '{"sid": "SM1"}')
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                provider.got.append((self.command, self.path, headers, body))
                status, text = provider.answer
                self.send_response(status)
                self.send_header("content-length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do_PUT = _any

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.server.shutdown()
    made.server.server_close()


def template(folder: Path, text: str):
    (folder / "secret").write_text("s3cret\n")
    (folder / "secret").chmod(0o600)
    (folder / "sms.toml").write_text(text)
    return gateway_from(f"template://{folder}/sms.toml", sender="Firm")


def test_only_placeholders_are_filled_in():
    """What somebody is called, or a code, is not looked at again."""
    known = {"to": "{text}", "text": "T"}
    assert http_template._filled("{to}{x} {", known) == "{text}{x} {"
    assert http_template._filled({"a": ["{text}", 1, {"b": "}{text}"}]}, known) == {
        "a": ["T", 1, {"b": "}T"}]
    }


def test_twilio(provider, tmp_path):
    """Messages resource: a form, HTTP Basic of account and token; 201 with a sid."""
    gateway = template(
        tmp_path,
        f'url = "{provider.url}/2010-04-01/Accounts/AC1/Messages.json"\n'
        'basic = ["AC1", "secret"]\nform = { To = "{to}", From = "{sender}", Body = "{text}" }\n'
        "accepted = '\"sid\"'\n",
    )
    assert "SM1" in gateway.send(Letter(TO, "", "Code: 123456 & {to}"))
    ((method, path, headers, body),) = provider.got
    assert (method, path) == ("POST", "/2010-04-01/Accounts/AC1/Messages.json")
    assert base64.b64decode(headers["authorization"].removeprefix("Basic ")) == b"AC1:s3cret"
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    fields = {name: one[0] for name, one in parse_qs(body.decode()).items()}
    assert fields == {"To": TO, "From": "Firm", "Body": "Code: 123456 & {to}"}


def test_vonage(provider, tmp_path):
    """SMS API: always 200; the status inside says whether it was taken ("0"), or why not."""
    text = (
        f'url = "{provider.url}/sms/json"\naccepted = \'"status": "0"\'\n'
        'form = { to = "{digits}", from = "{sender}", text = "{text}", api_key = "k" }\n'
        '[secret_headers]\nX-Api-Secret = "secret"\n'
    )
    gateway = template(tmp_path, text)
    provider.answer = (200, '{"messages": [{"status": "0"}]}')
    gateway.send(Letter(TO, "", "hi"))
    assert parse_qs(provider.got[0][3].decode())["to"] == ["4740000089"]
    assert provider.got[0][2]["x-api-secret"] == "s3cret"
    provider.answer = (200, '{"messages": [{"status": "4", "error-text": "Bad Credentials"}]}')
    with pytest.raises(UnreachableError, match="Bad Credentials"):
        gateway.send(Letter(TO, "", "hi"))


def test_messagebird_and_a_get(provider, tmp_path):
    """A JSON body with the receivers in a list, and a key of its own kind in the header."""
    gateway = template(
        tmp_path,
        f'url = "{provider.url}/messages"\nbearer = "secret"\n'
        'json = { originator = "{sender}", recipients = ["{digits}"], body = "{text}", n = 1 }\n',
    )
    gateway.send(Letter(TO, "", 'a "quoted" word'))
    _, _, headers, body = provider.got[0]
    assert headers["authorization"] == "Bearer s3cret"
    assert json.loads(body) == {
        "originator": "Firm", "recipients": ["4740000089"], "body": 'a "quoted" word', "n": 1,
    }  # fmt: skip
    gateway = template(
        tmp_path,
        f'url = "{provider.url}/http/send"\nmethod = "GET"\n'
        'query = { to = "{digits}", message = "{text}" }\n',
    )
    gateway.send(Letter(TO, "", "é&x=1"))
    asked = parse_qs(urlsplit(provider.got[1][1]).query)
    assert asked == {"to": ["4740000089"], "message": ["é&x=1"]}


def test_what_a_provider_refuses_is_told_without_the_code(provider, tmp_path):
    gateway = template(
        tmp_path, f'url = "{provider.url}/x"\nform = {{ to = "{{to}}", t = "{{text}}" }}\n'
    )
    provider.answer = (402, "no credit for: Your code is 123456")
    with pytest.raises(UnreachableError) as caught:
        gateway.send(Letter(TO, "", "Your code is 123456"))
    assert "402" in caught.value.what and "no credit" in caught.value.what
    assert "123456" not in str(caught.value)
    provider.server.shutdown()
    provider.server.server_close()
    with pytest.raises(UnreachableError):
        gateway.send(Letter(TO, "", "x"))
    assert "s3cret" not in repr(vars(gateway)) + repr(vars(gateway._gateway))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "url"),
        ("url = 'ftp://x'\nform = {a='{to}{text}'}", "url"),
        ("url = 'https://u:p@x/'\nform = {a='{to}{text}'}", "url"),
        ("url = 'https://x/'\nform = {a='{to}'}", "text"),
        ("url = 'https://x/'\nform = {a='{to}{text}'}\njson = {a='x'}", "not both"),
        ("url = 'https://x/'\nmethod='GET'\nform = {a='{to}{text}'}", "query"),
        ("url = 'https://x/'\nform = {a='{to}{text}'}\nbearer = 'none'", "none"),
        ("url = 'https://x/'\nform = {a='{to}{text}'}\nodd = 1", "odd"),
        ("url = ", "TOML"),
    ],
)
def test_templates_that_are_wrong(tmp_path, text, words):
    with pytest.raises(BadInputError) as caught:
        template(tmp_path, text)
    assert words in caught.value.what
    with pytest.raises(BadInputError):
        TemplateGateway(tmp_path / "missing.toml", "x")


def test_one_message_to_try_it(provider, smtp, tmp_path, monkeypatch):
    template(tmp_path, f'url = "{provider.url}/x"\nform = {{ to = "{{to}}", t = "{{text}}" }}\n')
    monkeypatch.setenv("TALLY_SERVER_SMS", f"template://{tmp_path}/sms.toml")
    monkeypatch.setenv("TALLY_SERVER_SMTP", f"smtp://127.0.0.1:{smtp.port}")

    def test(to: str):
        return CliRunner().invoke(commands, ["message", "test", "--to", to])

    assert "250 OK" in test("ann@elsewhere.example").output
    assert "201" in test("+47 400 00 089").output
    provider.answer = (401, "bad key")
    assert isinstance(test(TO).exception, UnreachableError)
    assert "bad key" in test(TO).exception.what
    for wrong in ("", "ann", "40000089", "ann@x"):
        assert isinstance(test(wrong).exception, BadInputError)
    monkeypatch.setenv("TALLY_SERVER_SMTP", "")
    assert "TALLY_SERVER_SMTP" in test("ann@elsewhere.example").exception.what
