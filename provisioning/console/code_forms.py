"""The codes that a running batch asks people for: a row a card, on the page of the batch."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import ui

from tallystick.common.errors import BadInputError
from tallystick.provisioning.console.questions import Question, Questions
from tallystick.provisioning.console.shell import button, heading
from tallystick.provisioning.desk.client import check_code

# Whoever has just typed a code goes on with the next; whoever types elsewhere is left alone.
_FOCUS = """setTimeout(() => {
  if (document.activeElement === document.body) document.querySelector('.codes input')?.focus();
}, 50)"""


class CodeForms:
    """alive: whether this browser's session is still on; asked before anything is done."""

    def __init__(self, questions: Questions, alive: Callable[[], bool]) -> None:
        self._questions = questions
        self._alive = alive
        self._rows: dict[Question, ui.element] = {}

    def build(self) -> None:
        self._sheet = ui.element("section").classes("sheet codes no-print")
        self._sheet.props('aria-label="Codes to type"')
        with self._sheet:
            heading("Type the codes that the displays show")
            ui.label(
                "A card that shows none, or another, is not registered, and its seed is deleted."
            ).classes("soft small")
            self._list = ui.element("div").style("display:contents")
        self._sheet.set_visibility(False)

    def show(self, questions: tuple[Question, ...], port_of: Callable[[str], str]) -> None:
        """The rows of the questions that are asked now. Others stay as they are: somebody may be
        typing there. port_of: the dock of a serial number."""
        if set(questions) == set(self._rows):
            return
        for question in set(self._rows) - set(questions):
            self._rows.pop(question).delete()
        with self._list:
            for question in questions:
                if question not in self._rows:
                    self._rows[question] = self._row(question, port_of(question.serial))
        self._sheet.set_visibility(bool(questions))
        ui.run_javascript(_FOCUS)

    def _row(self, question: Question, dock: str) -> ui.element:
        with ui.element("div").classes("act") as row:
            problem = ui.label().classes("notice bad").props('role="alert"')
            problem.set_visibility(question.wrong > 0)
            if question.wrong:
                tries = "one try is" if question.tries_left == 1 else "two tries are"
                problem.set_text(
                    f"That is not the code of card {question.serial}: {tries} left. Type the first "
                    "code that it showed in this dock."
                )
            with ui.element("div").classes("line top-aligned"):
                field = ui.input(f"Code of {question.serial} in {dock}").classes("grow")
                field.props('outlined autocomplete="off" inputmode="numeric" maxlength=12')
                field.props(
                    'input-class="mono" hint="Press its button once, and type what it shows."'
                )

                def check() -> None:
                    if not self._alive():
                        return
                    try:
                        code = check_code(field.value or "")
                    except BadInputError as error:  # a label that was scanned is no guess
                        problem.set_text(f"{error.what} No try was counted.")
                        problem.set_visibility(True)
                        field.set_value("")
                        return
                    self._questions.answer(question, code)

                def give_up() -> None:
                    if self._alive():
                        self._questions.give_up(question)

                field.on("keydown.enter", check)
                button("Compare", check, "main-act").style("min-height:56px")
                button("It shows none", give_up, "bad-act").style("min-height:56px")
        return row
