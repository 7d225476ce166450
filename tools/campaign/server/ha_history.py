"""What clients asked and were told, and a judge of it that knows nothing of the server.

The clients' clocks may be apart: times are compared within one client only. What a client was not
told (a 503, a connection that broke) may have been done or not; both are right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

MOST_S = 6.0  # until every answer, also that there is none


class HaTold(StrEnum):
    """What a client knows after it has asked."""

    ACCEPTED = "accepted"
    REPLAYED = "replayed"
    UNKNOWN = "unknown"  # a 503, or no answer
    WRONG = "wrong"  # any other refusal


@dataclass(frozen=True)
class HaAsked:
    """One code that one client sent: that of `card` for `factor`. began, ended: seconds of the
    client's own clock. retry_after: whether a 503 said when to come back (true for all others)."""

    client: str
    card: str
    factor: int
    began: float
    ended: float
    told: HaTold
    retry_after: bool = True


@dataclass(frozen=True)
class HaWait:
    """seconds: until an answer came, or none. retry_after: as in HaAsked."""

    seconds: float
    retry_after: bool = True


def judge(
    history: Sequence[HaAsked],
    *,
    final: Mapping[str, int],
    entries: Mapping[str, int] | None = None,
    made: Iterable[str] = (),
    there: Iterable[str] = (),
    waits: Iterable[HaWait] = (),
) -> list[str]:
    """What is wrong, in words; nothing is wrong with an empty list.

    history: each client's in its order. final: card → the next factor that the database would take,
    at the end. entries: card → how many acceptances the audit log has: one that was acknowledged
    and lost shows there also when later codes of the card were accepted since. made: ids of other
    things whose making was acknowledged. there: those that the database has at the end. waits: of
    whoever made them.
    """
    cards: dict[str, list[HaAsked]] = defaultdict(list)
    for one in history:
        cards[one.card].append(one)
    found = [*_answers(history), *_missing(made, there), *_waited(waits)]
    for card, asked in sorted(cards.items()):
        found += _once(card, asked)
        found += _forwards(card, asked)
        found += _kept(card, asked, final.get(card))
        found += _refused_for_a_reason(card, asked)
        if entries is not None:
            found += _written_down(card, asked, entries.get(card, 0))
    return found


def _once(card: str, asked: Sequence[HaAsked]) -> Iterable[str]:
    times: dict[int, int] = defaultdict(int)
    for one in asked:
        times[one.factor] += one.told is HaTold.ACCEPTED
    for factor, count in sorted(times.items()):
        if count > 1:
            yield f"{card}: the code of factor {factor} was accepted {count} times"


def _forwards(card: str, asked: Sequence[HaAsked]) -> Iterable[str]:
    """Whoever asks one after the other sees factors rise."""
    highest: dict[str, int] = {}
    for one in asked:
        if one.told is not HaTold.ACCEPTED:
            continue
        before = highest.get(one.client, -1)
        if one.factor <= before:
            yield f"{card}: {one.client} had {one.factor} accepted after {before}"
        highest[one.client] = max(before, one.factor)


def _kept(card: str, asked: Sequence[HaAsked], final: int | None) -> Iterable[str]:
    accepted = [one.factor for one in asked if one.told is HaTold.ACCEPTED]
    sent = [one.factor for one in asked if one.told in (HaTold.ACCEPTED, HaTold.UNKNOWN)]
    if final is None:
        yield f"{card}: the database does not have it"
    elif accepted and final <= max(accepted):
        yield f"{card}: {max(accepted)} was accepted, and the database is at {final}"
    elif final > max(sent, default=-1) + 1:
        yield f"{card}: the database is at {final}, and nobody sent {final - 1}"


def _refused_for_a_reason(card: str, asked: Sequence[HaAsked]) -> Iterable[str]:
    """A code that nobody can have used before is not `replayed`, and a right one not `wrong`."""
    used = max((o.factor for o in asked if o.told in (HaTold.ACCEPTED, HaTold.UNKNOWN)), default=-1)
    for one in asked:
        if one.told is HaTold.REPLAYED and one.factor > used:
            yield f"{card}: {one.client} was told that {one.factor} was used: nobody used it"
        if one.told is HaTold.WRONG:
            yield f"{card}: {one.client} was told that the code of {one.factor} is wrong"


def _written_down(card: str, asked: Sequence[HaAsked], entries: int) -> Iterable[str]:
    accepted = sum(one.told is HaTold.ACCEPTED for one in asked)
    sent = len({o.factor for o in asked if o.told in (HaTold.ACCEPTED, HaTold.UNKNOWN)})
    if entries < accepted:
        yield f"{card}: {accepted} codes were accepted, and the audit log has {entries}"
    elif entries > sent:
        yield f"{card}: the audit log has {entries} acceptances of {sent} codes"


def _waited(waits: Iterable[HaWait]) -> Iterable[str]:
    for one in waits:
        if one.seconds > MOST_S:
            yield f"the registrar waited {one.seconds:.1f} s for an answer"
        if not one.retry_after:
            yield "the registrar was not told when to come back"


def _answers(history: Sequence[HaAsked]) -> Iterable[str]:
    for one in history:
        if one.ended < one.began:
            yield f"{one.client}: an answer came before its question"
        elif one.ended - one.began > MOST_S:
            yield (
                f"{one.client} waited {one.ended - one.began:.1f} s for the answer to "
                f"{one.card} {one.factor}"
            )
        if not one.retry_after:
            yield f"{one.client} was not told when to come back with {one.card} {one.factor}"


def _missing(made: Iterable[str], there: Iterable[str]) -> Iterable[str]:
    gone = sorted(set(made) - set(there))
    if gone:
        yield f"{len(gone)} acknowledged writes are missing: {', '.join(gone[:5])}"
