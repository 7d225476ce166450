"""Group commit: checks that arrive together are judged in one durable transaction.

A durable commit costs a write to the disk. One thread of the worker takes whatever checks have
arrived, judges them in one transaction, commits, and only then answers. While it commits, the
next ones gather. Each check is still a compare-and-set statement of its own.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from tallystick.common import beside, moments
from tallystick.server import metrics
from tallystick.server.checking.verification import CodeCheck, CodeOutcome, Verifier
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.store import trouble
from tallystick.server.store.audit import ChainEnd, ChainGoneError
from tallystick.server.store.database import (
    IN_THE_WAY,
    MAX_TRIES,
    READ_ONLY,
    Database,
    StaleError,
    is_away,
)

MAX_BATCH = 64
MAX_QUEUE = 4096
ANSWER_S = 60.0  # whoever asks is told by then, whatever the database does
STALLED_S = 4.0  # and by then while it does not answer
LOOK_S = 0.25
# How long checks wait for a database that has gone, as in a failover, before they are refused.
RECONNECT_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.1

log = logging.getLogger(__name__)

Waiting = tuple[CodeCheck, "asyncio.Future[CodeOutcome]", asyncio.AbstractEventLoop]


Answers = list[CodeOutcome | ApiError]


@dataclass(frozen=True)
class _Attempt:
    """A batch that was judged, and whose commit nobody answered: it was done, or was not."""

    reached: ChainEnd
    answers: Answers


class _DoneError(Exception):
    """An attempt was committed after all: its answers hold, and judged again its codes would be
    used ones."""

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self.answers = answers


def _must_not_be_done(connection: Connection, unsure: list[_Attempt]) -> None:
    """Asked when the cards of the batch are locked: by then the attempt has ended either way."""
    for attempt in unsure:
        if attempt.reached.is_there(connection):
            raise _DoneError(attempt.answers)


class GroupCommit:
    """A queue of checks and the thread that works it off. background: without, whoever asked first
    works off what was asked at the same time."""

    def __init__(
        self,
        database: Database,
        verifier: Verifier,
        clock: Callable[[], float],
        *,
        background: bool = True,
    ) -> None:
        self._database = database
        self._verifier = verifier
        self._clock = clock
        self._queue: deque[Waiting] = deque()
        self._arrived = threading.Condition()
        self._closing = False
        self._away = False  # the batch under way waits for a database that has gone
        self._stopped = threading.Event()
        self._thread = beside.Thread(target=self._work, name="verify", daemon=True)
        self._background = background
        if background:
            self._thread.start()

    async def check(self, check: CodeCheck) -> CodeOutcome:
        """The outcome, committed. Raises ApiError."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[CodeOutcome] = loop.create_future()
        if not self._background:
            self._queue.append((check, future, loop))
            await _Turn()
            self._work_off()
            return await future
        with self._arrived:
            if self._closing or len(self._queue) >= MAX_QUEUE:
                raise _busy()
            self._queue.append((check, future, loop))
            self._arrived.notify()
        patience = _Patience(future, loop, self._nobody_should_wait)
        try:
            return await future
        finally:
            patience.end()

    def _nobody_should_wait(self) -> bool:
        return self._away or self._database.stalls()

    def _work_off(self) -> None:
        batch = list(self._queue)
        self._queue.clear()
        if batch:
            _deliver(batch, self._each_or_all([check for check, _, _ in batch]))

    def close(self) -> None:
        """Answer what has arrived, then stop."""
        with self._arrived:
            self._closing = True
            self._arrived.notify()
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _work(self) -> None:
        while True:
            with self._arrived:
                while not self._queue and not self._closing:
                    self._arrived.wait()
                if not self._queue:
                    return
                taken = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_BATCH))]
            batch = [one for one in taken if not one[1].done()]
            if batch:
                self._answer(batch, self._each_or_all([check for check, _, _ in batch]))

    def _each_or_all(self, checks: list[CodeCheck]) -> list[CodeOutcome | ApiError]:
        """A check that cannot be judged at all fails alone: it holds up and spoils no other."""
        unsure: list[_Attempt] = []
        try:
            return self._judge(checks, unsure)
        except Exception as error:
            self._verifier.chain.reopen()
            if unsure:  # judged anew, a code that was accepted then would be a used one
                log.error(
                    "checks failed after a commit without an answer: %s", type(error).__name__
                )
                return [_too_slow() for _ in checks]
            if len(checks) > 1:
                return [answer for check in checks for answer in self._each_or_all([check])]
            log.error("a check failed: %s", type(error).__name__)
            return [_failed()]

    def _judge(self, checks: list[CodeCheck], unsure: list[_Attempt]) -> Answers:
        """unsure: attempts whose commit nobody answered are added to it."""
        metrics.BATCH_SIZE.observe(len(checks))
        stale, pause = 0, FIRST_PAUSE_S
        end = moments.steady() + RECONNECT_S
        while stale < MAX_TRIES and moments.steady() < end:
            if stale or self._away:
                metrics.RETRIES.inc()
            began = moments.steady()
            answers: Answers | None = None
            try:
                with self._database.write() as connection:
                    answers = self._verifier.run(connection, checks, self._clock())
                    _must_not_be_done(connection, unsure)
                self._verifier.chain.commit()
            except _DoneError as done:
                self._verifier.chain.rollback()
                answers = done.answers
            except ChainGoneError:
                self._verifier.chain.reopen()
                stale += 1
                continue
            except StaleError:
                self._verifier.chain.rollback()
                stale += 1
                continue
            except DBAPIError as error:
                if not _may_pass(error):
                    raise
                reached = self._verifier.chain.under_way()
                if answers is not None and reached is not None:
                    unsure.append(_Attempt(reached, answers))
                self._verifier.chain.reopen()
                wrong = trouble.told(error)
                self._away = wrong.may_pass
                # A lock was waited for by then, as long as anybody should wait.
                if wrong is trouble.DatabaseTrouble.LOCKED or not wrong.may_pass:
                    locked_out = wrong.may_pass and bool(unsure)  # by what may be done yet
                    return [_too_slow() if locked_out else trouble.refusal(wrong) for _ in checks]
                if self._stopped.wait(pause):
                    break
                pause = min(2 * pause, LONGEST_PAUSE_S)
                continue
            self._away = False
            metrics.BATCH_SECONDS.observe(moments.steady() - began)
            for answer in answers:
                reason = answer.code if isinstance(answer, ApiError) else answer.reason.value
                metrics.CHECKS.labels(reason).inc()
            return answers
        return [_too_slow() if unsure else _busy() for _ in checks]

    def _answer(self, batch: list[Waiting], answers: list[CodeOutcome | ApiError]) -> None:
        batch[0][2].call_soon_threadsafe(_deliver, batch, answers)


class _Patience:
    """Refuses a check that is not answered after STALLED_S, if nobody should wait any longer then,
    or after ANSWER_S. One that is still in the queue is not judged any more."""

    def __init__(
        self,
        future: asyncio.Future[CodeOutcome],
        loop: asyncio.AbstractEventLoop,
        over: Callable[[], bool],
    ) -> None:
        self._future, self._loop, self._over = future, loop, over
        self._end = loop.time() + ANSWER_S
        self._timer = loop.call_later(min(STALLED_S, ANSWER_S), self._look)

    def end(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        if self._future.done():
            return
        if self._over() or self._loop.time() >= self._end:
            self._future.set_exception(_too_slow())
        else:
            self._timer = self._loop.call_later(LOOK_S, self._look)


class _Turn:
    """What comes at the same time goes first. No clock is asked."""

    def __await__(self) -> Generator[None]:
        yield


def _deliver(batch: list[Waiting], answers: list[CodeOutcome | ApiError]) -> None:
    for (_, future, _), answer in zip(batch, answers, strict=True):
        if future.done():
            continue
        if isinstance(answer, ApiError):
            future.set_exception(answer)
        else:
            future.set_result(answer)


def _may_pass(error: DBAPIError) -> bool:
    """Whether the same batch may go well in a moment."""
    if trouble.trouble_of(error) is not trouble.DatabaseTrouble.AWAY:
        return True  # it has a name, and is told as that
    return is_away(error) or getattr(error.orig, "sqlstate", None) in (*IN_THE_WAY, READ_ONLY)


def _busy() -> ApiError:
    return ApiError(
        503,
        "busy",
        "The server cannot take the check now.",
        kept=NOTHING_CHANGED,
        todo="Try again in a moment.",
        retry_after_s=2,
    )


def _too_slow() -> ApiError:
    return ApiError(
        503,
        "too-slow",
        "The check was not judged in time.",
        kept="It may be judged yet: a code that is right is used up then.",
        todo="Try again in a moment with a new code.",
        retry_after_s=2,
    )


def _failed() -> ApiError:
    return ApiError(
        500,
        "internal",
        "The check failed inside the server.",
        kept="Nothing was changed; the code was not accepted.",
        todo="See the server's log.",
    )
