"""What a library does from a power-up on, run once and remembered.

A script runs the library under test, and asks for all that it gets to know: how a cell reads,
whether an operation worked, what is to be done next. With the same answers it asks the same. So
all its runs are a tree: questions, and a branch for each answer. A state walks through that tree;
the library is run where nobody has walked yet.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from tallystick.tools.campaign.proof.search import BrokenError

L = TypeVar("L")
Question = tuple[Any, ...]
Ask = Callable[[Question], Any]
Answers = tuple["Answers", Hashable] | None  # the last one, and those before


class _Node:
    """A question, None: not asked yet, or () at the end."""

    __slots__ = ("after", "question")

    def __init__(self) -> None:
        self.question: Question | None = None
        self.after: dict[Hashable, _Node] = {}


class Lives(Generic[L]):
    """script: asks. step: what a life becomes with each answer to a question; raises BrokenError.
    alike: of the lives from one state that come to a question with the same of these (not None),
    one goes on. runs: how often the library was run; walked: lives that came to an end."""

    def __init__(
        self,
        script: Callable[[Ask], None],
        step: Callable[[L, Question], list[tuple[Hashable, L]]],
        copied: Callable[[L], L],
        alike: Callable[[L, Question], Hashable] = lambda _life, _question: None,
    ) -> None:
        self._script, self._step, self._copied, self._alike = script, step, copied, alike
        self._root = _Node()
        self.runs = 0
        self.walked = 0

    def walk(self, life: L) -> None:
        """Through all answers. Raises BrokenError."""
        known: set[Hashable] = set()
        waiting: list[tuple[_Node, L, Answers]] = [(self._root, life, None)]
        while waiting:
            node, life, answers = waiting.pop()
            while True:
                question = node.question
                if question is None:
                    self._run(node, self._copied(life), answers)
                    question = node.question
                if not question:
                    self.walked += 1
                    break
                key = self._alike(life, question)
                if key is not None and key in known:
                    break
                known.add(key)
                options = self._step(life, question)
                for answer, other in reversed(options[1:]):
                    waiting.append((_after(node, answer), other, (answers, answer)))
                answer, life = options[0]
                node, answers = _after(node, answer), (answers, answer)

    def _run(self, node: _Node, life: L, answers: Answers) -> None:
        """From `node` on with the first answer to each question."""
        self.runs += 1
        given: list[Hashable] = []
        while answers is not None:
            answers, answer = answers
            given.append(answer)
        at, now = node, life

        def ask(question: Question) -> Hashable:
            nonlocal at, now
            if given:
                return given.pop()
            at.question = question
            answer, now = self._step(now, question)[0]
            at = _after(at, answer)
            return answer

        try:
            self._script(ask)
            at.question = ()
        except BrokenError:
            pass  # whoever walks there comes to it


def _after(node: _Node, answer: Hashable) -> _Node:
    after = node.after.get(answer)
    if after is None:
        after = node.after[answer] = _Node()
    return after
