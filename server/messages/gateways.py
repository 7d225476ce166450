"""Ways out for messages: SMS (HTTP, SMPP, a modem, a file for development) and e-mail (SMTP)."""

from __future__ import annotations

import json
import os
import smtplib
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult, parse_qs, unquote

from tallystick.common.errors import BadInputError, UnreachableError
from tallystick.common.failing import why
from tallystick.common.in_time import Watch, in_time, streamed
from tallystick.common.urls import parsed
from tallystick.server.messages.http_template import TemplateGateway
from tallystick.server.messages.mails import NO_FACE, MailFace, mail
from tallystick.server.messages.modem import ModemGateway, parts_of

TIMEOUT_S = 10.0  # for one answer
DEADLINE_S = 30.0  # for one message
MAX_ANSWERS = 10  # of an SMS centre, until the one to our message
MAIL = ("smtp", "smtps")
TEXTS = ("file", "http", "https", "template", "smpp", "modem")
NETWORKED = ("http", "https", "smpp", *MAIL)


@dataclass(frozen=True)
class Letter:
    """A message. to: a telephone number (E.164) or an e-mail address. SMS have no subject. firm:
    who writes, as people call it. face: what a mail shows of it."""

    to: str
    subject: str
    text: str
    firm: str = ""
    face: MailFace = NO_FACE


class Gateway(Protocol):
    """Sends one message, or raises UnreachableError. May be called from any thread. → what the
    other end answered, for whoever tries it."""

    def send(self, letter: Letter) -> str: ...


def gateway_from(url: str, *, sender: str) -> Gateway:
    """The gateway that a URL names: file:///path, http(s)://…, template:///path/of/a.toml,
    smpp://user:password@host:port, modem:///dev/ttyUSB0, smtp://host:port,
    smtps://user:password@host. Raises BadInputError."""
    parts = parsed(url, "The gateway for messages", hosts_for=NETWORKED)
    if parts.scheme == "file":
        return FileSink(Path(parts.path))
    if parts.scheme in ("http", "https"):
        return HttpGateway(parts)
    if parts.scheme == "template":
        return _Template(TemplateGateway(Path(parts.path), sender))
    if parts.scheme == "modem":
        return _Modem(ModemGateway.named(parts))
    if parts.scheme == "smpp":
        return SmppGateway(parts, sender)
    if parts.scheme in MAIL:
        return SmtpGateway(parts, sender)
    raise BadInputError(
        f"Messages cannot be sent by {parts.scheme!r}.",
        todo="Use file:, http:, https:, template:, smpp:, modem:, smtp: or smtps:.",
    )


class _Template:
    """A provider that a file describes."""

    def __init__(self, gateway: TemplateGateway) -> None:
        self._gateway = gateway

    def send(self, letter: Letter) -> str:
        return self._gateway.send(letter.to, letter.text, TIMEOUT_S)


class _Modem:
    """A modem of one's own."""

    def __init__(self, modem: ModemGateway) -> None:
        self._modem = modem

    def send(self, letter: Letter) -> str:
        return self._modem.send(letter.to, letter.text)


class FileSink:
    """Appends each message as a line of JSON. For development: it holds codes in clear."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, letter: Letter) -> str:
        line = json.dumps({"to": letter.to, "subject": letter.subject, "text": letter.text})
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(line + "\n")
        return f"written to {self._path}"


class HttpGateway:
    """POSTs `{"to", "text"}` as JSON. A password in the URL is sent as a bearer token."""

    def __init__(self, parts: SplitResult) -> None:
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
        self._url = parts._replace(netloc=f"{host}{port}").geturl()
        token = unquote(parts.password or "")
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    def send(self, letter: Letter) -> str:
        import httpx  # noqa: PLC0415

        body = {"to": letter.to, "text": letter.text}
        try:
            # The status says it: a body that trickles in is not waited for.
            with streamed(
                "POST",
                self._url,
                deadline_s=DEADLINE_S,
                timeout_s=TIMEOUT_S,
                headers=self._headers,
                json=body,
            ) as answer:
                answer.raise_for_status()
                return f"{answer.status_code} {answer.reason_phrase}"
        except (OSError, httpx.HTTPError) as error:
            raise _unreachable("The SMS gateway", error) from None


class SmppGateway:
    """Submits to an SMS centre by SMPP 3.4 (smpplib), one session a message."""

    def __init__(self, parts: SplitResult, sender: str) -> None:
        self._host = parts.hostname or ""
        self._port = parts.port or 2775
        self._user = unquote(parts.username or "")
        self._password = unquote(parts.password or "")
        self._sender = parse_qs(parts.query).get("sender", [sender])[0]

    def send(self, letter: Letter) -> str:
        import smpplib.client  # noqa: PLC0415
        import smpplib.exceptions  # noqa: PLC0415

        failing = smpplib.exceptions
        refused = (OSError, failing.ConnectionError, failing.PDUError)
        client = smpplib.client.Client(
            self._host, self._port, timeout=TIMEOUT_S, allow_unknown_opt_params=True
        )
        taken = 0
        names: list[str] = []

        def count(pdu: Any) -> None:
            nonlocal taken
            taken += 1
            names.append(getattr(pdu, "message_id", b"").decode("ascii", "replace"))

        client.set_message_sent_handler(count)
        try:
            with in_time(DEADLINE_S) as watch:
                client.connect()
                watch(client._socket)
                client.bind_transmitter(system_id=self._user, password=self._password)
                self._submit(client, letter, lambda: taken)
                # The centre has the message: how it says good-bye is no reason to send it again.
                with suppress(*refused):
                    client.unbind()
        except refused as error:
            raise _unreachable("The SMS centre", error) from None
        finally:
            client.disconnect()
        return f"taken as {', '.join(filter(None, names)) or 'a message without a number'}"

    def _submit(self, client: Any, letter: Letter, taken: Callable[[], int]) -> None:
        """taken: how many parts the centre has so far."""
        import smpplib.exceptions  # noqa: PLC0415
        from smpplib import consts  # noqa: PLC0415

        parts, coding, kind = parts_of(letter.text)
        for number, part in enumerate(parts, start=1):
            client.send_message(
                source_addr_ton=consts.SMPP_TON_ALNUM,
                source_addr_npi=consts.SMPP_NPI_UNK,
                source_addr=self._sender,
                dest_addr_ton=consts.SMPP_TON_INTL,
                dest_addr_npi=consts.SMPP_NPI_ISDN,
                destination_addr=letter.to.lstrip("+"),
                short_message=part,
                data_coding=coding,
                esm_class=kind,
                registered_delivery=False,
            )
            read = 0
            while taken() < number and read < MAX_ANSWERS:  # it may ask something first
                client.read_once(auto_send_enquire_link=False)  # raises when it refuses
                read += 1
            if taken() < number:
                raise smpplib.exceptions.PDUError("no submit_sm_resp")


class SmtpGateway:
    """Sends by SMTP: TLS from the start (smtps), else STARTTLS, which only a server on this
    machine may lack."""

    def __init__(self, parts: SplitResult, sender: str) -> None:
        self._parts = parts
        self._host = parts.hostname or ""
        self._sender = sender

    def send(self, letter: Letter) -> str:
        message = mail(
            sender=self._sender,
            name=letter.firm,
            to=letter.to,
            subject=letter.subject,
            text=letter.text,
            face=letter.face,
        )
        try:
            with in_time(DEADLINE_S) as watch:
                connection = self._connect(watch)
                try:
                    return self._hand_over(connection, message)
                finally:
                    # Once it has the message, how it says good-bye is no reason to send it again.
                    with suppress(OSError, smtplib.SMTPException):
                        connection.quit()
                    connection.close()
        except (OSError, smtplib.SMTPException) as error:
            raise _unreachable("The mail server", error) from None

    def _hand_over(self, connection: smtplib.SMTP, message: EmailMessage) -> str:
        """→ what the server said of the whole message"""
        if self._parts.username:
            connection.login(unquote(self._parts.username), unquote(self._parts.password or ""))
        said: list[str] = []
        as_it_is = connection.data

        def noted(msg: Any) -> tuple[int, bytes]:
            code, words = as_it_is(msg)
            said.append(f"{code} {words.decode('utf-8', 'replace')}")
            return code, words

        connection.data = noted  # type: ignore[method-assign]
        connection.send_message(message)
        return " ".join(said)[:300]

    def _connect(self, watch: Watch) -> smtplib.SMTP:
        context = ssl.create_default_context()
        encrypted = self._parts.scheme == "smtps"
        # Not by its constructor, which waits for the greeting of a server that nobody watches yet.
        connection = (
            smtplib.SMTP_SSL(timeout=TIMEOUT_S, context=context)
            if encrypted
            else smtplib.SMTP(timeout=TIMEOUT_S)
        )
        open_socket = connection._get_socket  # type: ignore[attr-defined]

        def watched(*where: Any) -> socket.socket:
            made: socket.socket = open_socket(*where)
            watch(made)
            return made

        connection._get_socket = watched  # type: ignore[attr-defined]
        connection._host = self._host  # type: ignore[attr-defined]  # whose certificate it must be
        code, words = connection.connect(self._host, self._parts.port or (465 if encrypted else 25))
        if code != 220:
            connection.close()
            raise smtplib.SMTPConnectError(code, words)
        if encrypted:
            return connection
        connection.ehlo()
        if connection.has_extn("starttls"):
            connection.starttls(context=context)
            if connection.sock is not None:  # another than before
                watch(connection.sock)
        elif self._host not in ("localhost", "127.0.0.1", "::1"):
            connection.close()
            raise smtplib.SMTPException("no STARTTLS offered")
        return connection


def _unreachable(what: str, error: Exception) -> UnreachableError:
    return UnreachableError(
        f"{what} did not take the message: {why(error)}.",
        kept="It is kept and tried again.",
        todo="Run 'tally server doctor'.",
    )
