"""The two clients: one that waits, and one for asyncio. What they say and when is in `calls`."""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx

from tallystick import __version__
from tallystick.client import calls
from tallystick.client.calls import CheckedCode, Patience, TryLater, VerifyCall
from tallystick.common.errors import BadInputError
from tallystick.common.secret import Secret
from tallystick.common.server_url import checked_url

_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
_MOST_CONTENT = 1 << 16
# Servers close a connection that was idle for about five seconds; one that is used at that moment
# loses the request.
_IDLE_S = 2.0
_GRACE_S = 0.1  # so that the library's own word comes first
_NOT_WHOLE = "Its answer was not whole in time."

_Ask = Callable[[], CheckedCode | TryLater]


class _Asking:
    """What both clients know. The token is in no repr, error or log."""

    def __init__(self, url: str, token: str | Secret, patience: Patience | None) -> None:
        self.url = checked_url(url)
        self.patience = patience or Patience()
        text = token.reveal().decode("latin-1") if isinstance(token, Secret) else token.strip()
        if not _TOKEN.fullmatch(text):  # a library would show it in the error
            raise BadInputError("That is no credential's token.", todo="Give it as it was printed.")
        self._token = Secret(text.encode())

    def _options(self, ca_file: Path | None) -> dict[str, Any]:
        return {
            "base_url": self.url,
            "headers": {
                "Authorization": f"Bearer {self._token.reveal().decode()}",
                "User-Agent": f"tallystick-client/{__version__}",
            },
            "follow_redirects": False,  # the token goes nowhere else
            "limits": httpx.Limits(keepalive_expiry=_IDLE_S),
            "verify": _believing(ca_file) if ca_file else True,
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"


def _believing(ca_file: Path) -> ssl.SSLContext:
    """Raises BadInputError."""
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except OSError as error:  # SSLError is one, too
        why = error.strerror or str(error)
        raise BadInputError(
            f"{ca_file} holds no certificates that can be read: {why}.",
            kept="No server was asked.",
            todo="Give the certificates in PEM.",
        ) from None


class _Tries:
    """How often, and how much time is left."""

    def __init__(self, patience: Patience, url: str) -> None:
        self._patience = patience
        self._url = url
        self._end = time.monotonic() + patience.total_s
        self._made = 0
        self._asked = False

    def timeout_s(self) -> float:
        """For the next try, until its answer is whole."""
        self._made += 1
        return max(0.001, min(self._patience.answer_s, self._end - time.monotonic()))

    def pause_s(self, later: TryLater) -> float:
        """Before the next try. Raises NoAnswerError when there is no time for one."""
        self._asked |= later.asked
        pause = max(later.after_s, self._patience.before(self._made))
        if later.todo or time.monotonic() + pause >= self._end:
            raise calls.no_answer(self._url, later, self._made, asked=self._asked)
        return pause


class _Whole:
    """An answer as it comes in; of a long one, which is none of ours, the beginning."""

    def __init__(self) -> None:
        self.content = b""

    def add(self, part: bytes) -> None:
        self.content = (self.content + part)[:_MOST_CONTENT]


def _in_vain(error: httpx.HTTPError) -> TryLater:
    """What the library says itself is not shown: it could be of what was sent."""
    asked = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
    first: BaseException = error
    while (before := first.__cause__ or first.__context__) is not None:
        first = before
    if isinstance(first, ssl.SSLCertVerificationError):
        return TryLater(
            f"Its certificate is not trusted: {first.verify_message.rstrip('.')}.",
            asked=False,
            todo="Give the certificate that signed the server's with --ca-file (`ca_file`), or "
            "correct the URL.",
        )
    why = (isinstance(first, ssl.SSLError) and first.reason) or getattr(first, "strerror", None)
    return TryLater(f"{type(error).__name__}{f' ({why})' if why else ''}.", asked=asked)


def _settle(said: Future[CheckedCode | TryLater], ask: _Ask) -> None:
    try:
        said.set_result(ask())
    except BaseException as error:  # it is raised where the answer is waited for
        said.set_exception(error)


class VerifyClient(_Asking):
    """Asks and waits for the answer. Several threads may share one.

    url: of the server. token: a credential of role `service`. ca_file: certificates (PEM) to
    believe in place of the public ones. Raises BadInputError for plain HTTP beyond this computer.
    """

    def __init__(
        self,
        url: str,
        token: str | Secret,
        *,
        patience: Patience | None = None,
        ca_file: Path | None = None,
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(url, token, patience)
        self._http = httpx.Client(**self._options(ca_file), transport=transport)
        self._pause = pause

    def verify(
        self, code: str, *, user: str | None = None, serial: str | None = None
    ) -> CheckedCode:
        """Is this the next code of the user's, or of the card? A right code is right once. Raises
        CheckRefusedError, NoAnswerError; BadInputError without either user or serial."""
        return self._ask(calls.check_of(calls.VERIFY, (code,), user, serial))

    def resynchronise(
        self, first: str, second: str, *, user: str | None = None, serial: str | None = None
    ) -> CheckedCode:
        """Find a card that was pressed too often again, by two successive codes. Raises
        CheckRefusedError, NoAnswerError; BadInputError without either user or serial."""
        return self._ask(calls.check_of(calls.RESYNCHRONISE, (first, second), user, serial))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _ask(self, check: VerifyCall | None) -> CheckedCode:
        if check is None:
            return calls.none_of_that_form()
        tries = _Tries(self.patience, self.url)
        while True:
            said = self._try(check, tries.timeout_s())
            if isinstance(said, CheckedCode):
                return said
            self._pause(tries.pause_s(said))

    def _try(self, check: VerifyCall, timeout_s: float) -> CheckedCode | TryLater:
        """In a thread of its own: the library's time is that of each piece, and an answer that
        comes byte by byte would hold whoever waits for it. Such a thread ends with the client."""
        said: Future[CheckedCode | TryLater] = Future()
        ask = partial(self._once, check, timeout_s)
        threading.Thread(target=_settle, args=(said, ask), daemon=True).start()
        try:
            return said.result(timeout_s + _GRACE_S)
        except TimeoutError:
            return TryLater(_NOT_WHOLE)

    def _once(self, check: VerifyCall, timeout_s: float) -> CheckedCode | TryLater:
        try:
            with self._http.stream(
                "POST", check.path, content=check.content, headers=check.headers, timeout=timeout_s
            ) as answer:
                whole = _Whole()
                for part in answer.iter_bytes():
                    whole.add(part)
        except httpx.HTTPError as error:
            return _in_vain(error)
        return calls.read(answer.status_code, answer.headers, whole.content)


class AsyncVerifyClient(_Asking):
    """As VerifyClient, for asyncio. A task that is cancelled may leave a code used up."""

    def __init__(
        self,
        url: str,
        token: str | Secret,
        *,
        patience: Patience | None = None,
        ca_file: Path | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(url, token, patience)
        self._http = httpx.AsyncClient(**self._options(ca_file), transport=transport)
        self._pause = pause

    async def verify(
        self, code: str, *, user: str | None = None, serial: str | None = None
    ) -> CheckedCode:
        """As VerifyClient's. Raises CheckRefusedError, NoAnswerError; BadInputError without either
        user or serial."""
        return await self._ask(calls.check_of(calls.VERIFY, (code,), user, serial))

    async def resynchronise(
        self, first: str, second: str, *, user: str | None = None, serial: str | None = None
    ) -> CheckedCode:
        """As VerifyClient's. Raises CheckRefusedError, NoAnswerError; BadInputError without either
        user or serial."""
        return await self._ask(calls.check_of(calls.RESYNCHRONISE, (first, second), user, serial))

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _ask(self, check: VerifyCall | None) -> CheckedCode:
        if check is None:
            return calls.none_of_that_form()
        tries = _Tries(self.patience, self.url)
        while True:
            said = await self._try(check, tries.timeout_s())
            if isinstance(said, CheckedCode):
                return said
            await self._pause(tries.pause_s(said))

    async def _try(self, check: VerifyCall, timeout_s: float) -> CheckedCode | TryLater:
        try:
            async with asyncio.timeout(timeout_s):
                async with self._http.stream(
                    "POST",
                    check.path,
                    content=check.content,
                    headers=check.headers,
                    timeout=timeout_s,
                ) as answer:
                    whole = _Whole()
                    async for part in answer.aiter_bytes():
                        whole.add(part)
        except httpx.HTTPError as error:
            return _in_vain(error)
        except TimeoutError:
            return TryLater(_NOT_WHOLE)
        return calls.read(answer.status_code, answer.headers, whole.content)
