"""Acts of the server's audit log as a person reads them."""

from __future__ import annotations

from tallystick.common.moments import how_long
from tallystick.provisioning.desk.client import DeskFigures, HistoryEvent
from tallystick.provisioning.desk.terms import Terms

_WORDS = {
    "card-registered": "registered",
    "card-assigned": "assigned to {to}",
    "card-claimed": "claimed by its user",
    "card-lent": "lent to {to} until {until}",
    "card-returned": "returned by {of}",
    "card-taken-back": "taken back from {of}",
    "card-replaced": "lost by {to}, who got {by}",
    "card-found": "found again",
    "card-lost": "reported lost",
    "card-retired": "retired for good",
    "card-resynchronised": "found again after drifting",
    "card-unlocked": "lock-out lifted",
    "card-code-refused": "a code for a {for} was refused: {reason}",
    "card-undone": "undone: {undone}",
    "card-deleted": "deleted",
}
_GIVEN = ("card-lent", "card-assigned")  # where `for` is the card that was lost
_WHY = {
    "wrong": "it is none of this card",
    "replayed": "it was used before",
    "resynchronise": "the card had drifted, which takes two",
    "throttled": "too many wrong ones came before",
}


def sentence(event: HistoryEvent, terms: Terms) -> str:
    """What happened, to whom, until when, and what was odd about it."""
    detail = {key: str(value) for key, value in event.detail.items()}
    if (until := event.detail.get("until")) is not None:
        detail["until"] = terms.words(int(until))
    if event.act == "card-code-refused":
        detail["reason"] = _WHY.get(detail.get("reason", ""), detail.get("reason", "?"))
    words = _WORDS.get(event.act, event.act.removeprefix("card-").replace("-", " "))
    said = words.format_map(_KnownWord(detail))
    odd = []
    if late := int(event.detail.get("overdue_s", 0)):
        odd.append(f"{how_long(late)} late")
    if (replaced := detail.get("for")) and event.act in _GIVEN:
        odd.append(f"in place of {replaced}")
    if (skipped := detail.get("skipped")) is not None:
        odd.append(presses(int(skipped)))
    if (reason := detail.get("without_code")) is not None:
        odd.append(f"without a code: {reason}")
    return "; ".join([said, *odd])


def presses(count: int) -> str:
    """Of a card that was found again."""
    return f"{count} press{'' if count == 1 else 'es'} had not come to the server"


def figures(made: DeskFigures) -> list[str]:
    """What the table of acts does not say."""
    said = [f"{made.late} came back late; {made.without_code} acts without a code"]
    if made.found_again:
        said.append(
            f"{made.found_again} drifted cards were found again, the furthest after "
            f"{made.presses} presses"
        )
    if made.loan_s is not None:
        said.append(f"half of the loans lasted no longer than {how_long(made.loan_s)}")
    return said


class _KnownWord(dict[str, str]):
    """A log of an older server says less."""

    def __missing__(self, key: str) -> str:
        return "?"
