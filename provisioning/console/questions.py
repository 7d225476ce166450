"""Codes that a person reads from displays: a port's thread waits for one, a page answers."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from queue import SimpleQueue

from tallystick.common.errors import NoDeviceError
from tallystick.provisioning.steps import TYPING_TRIES


@dataclass(frozen=True)
class Question:
    """A code of a card is asked for. wrong: codes that were not right so far."""

    serial: str
    wrong: int = 0

    @property
    def tries_left(self) -> int:
        """How many."""
        return TYPING_TRIES - self.wrong


@dataclass
class _Open:
    question: Question
    answer: SimpleQueue[str | None] = field(default_factory=SimpleQueue)


class Questions:
    """At most one a card. What is typed is kept nowhere."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, _Open] = {}
        self._wrong: dict[str, int] = {}
        self._closed = False

    def ask(self, serial: str) -> str:
        """Wait until somebody answers; asking again means that the last answer was wrong.

        → what was typed. Raises NoDeviceError when the console ends meanwhile.
        """
        with self._lock:
            wrong = self._wrong.get(serial, 0)
            if wrong >= TYPING_TRIES:
                return ""  # somebody gave up
            self._wrong[serial] = wrong + 1
            asked = _Open(Question(serial, wrong))
            if self._closed:
                asked.answer.put(None)
            self._open[serial] = asked
        typed = asked.answer.get()
        with self._lock:
            self._open.pop(serial, None)
        if typed is None:
            raise NoDeviceError("The console ended while it waited for a code.")
        return typed

    def answer(self, question: Question, code: str) -> None:
        """A question that is no longer asked, because another browser was quicker: no change."""
        self._answer(question, code, question.wrong + 1)

    def give_up(self, question: Question) -> None:
        """Nobody can read it: the card is not asked about again."""
        self._answer(question, "", TYPING_TRIES)

    def _answer(self, question: Question, code: str, wrong: int) -> None:
        with self._lock:
            asked = self._open.get(question.serial)
            if asked is None or asked.question != question:
                return
            del self._open[question.serial]
            self._wrong[question.serial] = wrong
            asked.answer.put(code)

    def pending(self) -> tuple[Question, ...]:
        """The oldest first."""
        with self._lock:
            return tuple(asked.question for asked in self._open.values())

    def forget(self, serial: str) -> None:
        """The card is done with, well or not: its next code is a first try again."""
        with self._lock:
            self._wrong.pop(serial, None)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for asked in self._open.values():
                asked.answer.put(None)
