"""The firm's weeks as one page: a line of time with log-ins, faults, loans, stock and cells, each
event opening its story. Nothing is loaded from elsewhere."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tallystick.tools.campaign.firm.script import DAY_S, SimulatedFirm
from tallystick.tools.campaign.firm.sites import FirmTally
from tallystick.tools.campaign.firm.story import FirmStory
from tallystick.tools.campaign.firm.world import FirmEvent, moment

_WIDTH = 960
_LANE = 56
_LEFT = 124
_MOST_OF_A_DAY = 200  # of one lane: a page is to be read
_LAST_OF_A_STORY = 30  # lines that are not folded


def _one(_words: str) -> float:
    return 1.0


@dataclass(frozen=True)
class Lane:
    """kind: in the style, and in the addresses of its lists. holds: whether an event is of it, by
    its words. value: how high it stands; together: what several of one instant are. gauge: it tells
    how much there is, and not how often something happened."""

    name: str
    kind: str
    holds: Callable[[str], bool]
    value: Callable[[str], float] = _one
    together: Callable[[list[float]], float] = sum
    gauge: bool = False


def _has(*words: str) -> Callable[[str], bool]:
    return lambda said: any(word in said for word in words)


def _number(words: str) -> float:
    """The one that a sentence tells."""
    found = re.search(r"\d+(?:\.\d+)?", words)
    return float(found.group()) if found else 0.0


LANES = (
    Lane("log-ins", "in", lambda said: " logs in with " in said or said.endswith(": in")),
    Lane("not let in", "out", _has(" is not let in", "is found again")),
    Lane("loans and losses", "loan", _has(" lends ", " gives card", " has lost ", "in a wallet")),
    Lane("cards made", "made", _has("the station makes", "the station stops", " joins", " leaves")),
    Lane("spares in stock", "stock", _has("spares are in the drawer"), _number, gauge=True),
    Lane("cells, most µAh", "used", _has("that has given most"), _number, max, gauge=True),
    Lane("cells in trouble", "cell", _has("the cell of", "is flat", "loses its power")),
    Lane(
        "strangers",
        "stranger",
        _has("a stranger", "whoever found", "a desk's credential", "a copy of", "a browser that"),
    ),
    Lane(
        "faults of the house",
        "fault",
        _has(
            "the server will",
            "the server's ",
            "the desk does not",
            "the server has ended",
            "the server is started",
            "way to the server",
            "an answer of the server",
        ),
    ),
    Lane("violations", "bad", _has("VIOLATION")),
)


def page(firm: SimulatedFirm, tally: FirmTally, stories: Iterable[FirmStory] = ()) -> str:
    """An HTML page of its own. stories: of violations, shortened."""
    told = sorted(
        (one for site in tally.told for one in site), key=lambda one: (one.at, one.number)
    )
    days = max(firm.days, 1 + max((one.at for one in told), default=0) // DAY_S)
    lanes = [(lane, [one for one in told if lane.holds(one.words)]) for lane in LANES]
    counts = tally.counts
    head = (
        f"{firm.cards:,} cards, {firm.days} days, faults {firm.level.value}, seed {firm.seed}: "
        f"{counts.get('presses', 0):,} presses, {counts.get('log_ins', 0):,} log-ins, "
        f"{tally.faults:,} faults, {tally.violations:,} violations"
    )
    body = "".join(
        (
            "<h1>A firm, day by day</h1>",
            f"<p>{html.escape(head)}</p>",
            "".join(_short_story(one) for one in stories),
            "<p class='past'><a href='#lists'>Past the picture, to the lists</a></p>",
            _chart(lanes, days),
            "<div id='lists' tabindex='-1'></div>",
            "".join(_stories(lane, events, days) for lane, events in lanes),
        )
    )
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>Tallystick: {firm.days} days of a firm</title><style>{_STYLE}</style>"
        f"<main>{body}</main></html>"
    )


def _short_story(story: FirmStory) -> str:
    lines = [f"<li>{html.escape(words)}</li>" for words in story.told]
    before, last = lines[:-_LAST_OF_A_STORY], lines[-_LAST_OF_A_STORY:]
    folded = (
        f"<details><summary>{len(before):,} lines before these</summary>"
        f"<ol>{''.join(before)}</ol></details>"
        if before
        else ""
    )
    again = html.escape(f"tally campaign replay '{story.line}'")
    return (
        f"<section class='short'><h2>{html.escape(story.what)} <small>{story.acts} acts</small>"
        f"</h2>{folded}<ol start='{len(before) + 1}'>{''.join(last)}</ol>"
        f"<p><code>{again}</code></p></section>"
    )


def _slots(days: int) -> int:
    """Into how many parts the line of time is divided: hours, where there is room for them."""
    return min(days * 24, 240)


def _slot(at: int, days: int) -> int:
    slots = _slots(days)
    return min(slots - 1, at * slots // (days * DAY_S))


def _chart(lanes: list[tuple[Lane, list[FirmEvent]]], days: int) -> str:
    height = _LANE * len(lanes) + 28
    wide = (_WIDTH - _LEFT) / _slots(days)
    parts = [
        # Not an image: what is in one, and its links, is nothing for a screen reader.
        f"<div class='wide'><svg viewBox='0 0 {_WIDTH} {height}' role='group' "
        "aria-label='What happened when; the lists below say the same in words'>"
    ]
    for day in range(days + 1):
        x = _LEFT + (_WIDTH - _LEFT) * day / days
        parts.append(f"<line class='day' x1='{x:.1f}' x2='{x:.1f}' y1='0' y2='{height - 24}'/>")
        if day < days and (days <= 16 or day % 5 == 0):
            name = day if day else "day 0"
            parts.append(f"<text class='tick' x='{x + 3:.1f}' y='{height - 8}'>{name}</text>")
    for number, (lane, events) in enumerate(lanes):
        base = _LANE * (number + 1) - 6
        parts.append(f"<text class='lane' x='0' y='{base - 14}'>{lane.name}</text>")
        parts.append(f"<text class='sum' x='0' y='{base}'>{_sum(lane, events)}</text>")
        parts.append(f"<line class='base' x1='{_LEFT}' x2='{_WIDTH}' y1='{base}' y2='{base}'/>")
        parts += _bars(events, lane, base, wide, days)
    parts.append("</svg></div>")
    return "".join(parts)


def _sum(lane: Lane, events: Sequence[FirmEvent]) -> str:
    if not lane.gauge or not events:
        return f"{len(events):,}"
    return f"{lane.value(events[-1].words):,.10g} at last"


def _bars(
    events: Iterable[FirmEvent], lane: Lane, base: int, wide: float, days: int
) -> Iterable[str]:
    values: dict[int, list[float]] = {}
    for one in events:
        values.setdefault(_slot(one.at, days), []).append(lane.value(one.words))
    counted = {slot: lane.together(those) for slot, those in values.items()}
    most = max(counted.values(), default=1.0) or 1.0
    for slot, count in sorted(counted.items()):
        tall = max(3.0, (_LANE - 16) * count / most)
        begin = slot * days * DAY_S // _slots(days)
        yield (
            f"<a href='#{lane.kind}-{slot}' aria-label='{lane.name}, {moment(begin)}: "
            f"{count:,.10g}'><rect class='{lane.kind}' "
            f"x='{_LEFT + slot * wide:.1f}' y='{base - tall:.1f}' "
            f"width='{max(1.5, wide - 0.6):.1f}' height='{tall:.1f}'>"
            f"<title>{moment(begin)}: {count:,.10g}</title></rect></a>"
        )


def _stories(lane: Lane, events: list[FirmEvent], days: int) -> str:
    """A list a day. The first of each bar is what the bar opens."""
    if not events:
        return ""
    parts = [f"<section><h2>{lane.name} <small>{len(events):,}</small></h2>"]
    by_day: dict[int, list[FirmEvent]] = {}
    for one in events:
        by_day.setdefault(one.at // DAY_S, []).append(one)
    marked: set[int] = set()
    for day, those in by_day.items():
        opened = " open" if lane.kind == "bad" else ""
        lines = "".join(
            f"<li{_mark(lane, _slot(one.at, days), marked)}>"
            f"<time>{moment(one.at).partition(', ')[2]}</time> {html.escape(one.words)}</li>"
            for one in those[:_MOST_OF_A_DAY]
        )
        rest = those[_MOST_OF_A_DAY:]
        if rest:
            ends = "".join(
                f"<a{_mark(lane, slot, marked)}></a>"
                for slot in sorted({_slot(one.at, days) for one in rest} - marked)
            )
            lines += f"<li>{ends}… and {len(rest):,} more.</li>"
        parts.append(
            f"<details{opened}><summary>day {day} "
            f"<small>{len(those):,}</small></summary><ol>{lines}</ol></details>"
        )
    parts.append("</section>")
    return "".join(parts)


def _mark(lane: Lane, slot: int, marked: set[int]) -> str:
    """The name that a bar opens, once."""
    if slot in marked:
        return ""
    marked.add(slot)
    return f" id='{lane.kind}-{slot}'"


_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --soft: #5b6875; --paper: #fff; --line: #d9dfe5 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6ebf0; --soft: #a3afbb; --paper: #14191f; --line: #313a44 } }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem; overflow-wrap: anywhere }
.past:not(:focus-within) { position: absolute; left: -99rem }
h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.1rem; margin: 1.5rem 0 .3rem }
small { color: var(--soft); font-weight: normal }
svg { width: 100%; min-width: 44rem; height: auto }
.wide { overflow-x: auto }
.day, .base { stroke: var(--line) } .lane { font-size: 12px; fill: var(--ink) }
.sum, .tick { font-size: 11px; fill: var(--soft) }
.in { fill: #2f7d4f } .out { fill: #b26a00 } .loan { fill: #3b6fb6 } .made { fill: #6b5bb0 }
.cell { fill: #8a6d3b } .used { fill: #8a6d3b } .stock { fill: #3b7f86 } .stranger { fill: #a03a6b }
.fault { fill: #55606c } .bad { fill: #c62828 }
@media (prefers-color-scheme: dark) { .in { fill: #58b37f } .out { fill: #e0a04a }
  .loan { fill: #7fa8e0 } .made { fill: #a397e0 } .cell { fill: #c5a56c }
  .used { fill: #c5a56c } .stock { fill: #7cc0c8 }
  .stranger { fill: #dd86b0 }
  .fault { fill: #9aa6b2 } .bad { fill: #ff6b60 } }
details { border-bottom: 1px solid var(--line) } summary { cursor: pointer; padding: .2rem 0 }
li:target { outline: 2px solid #3b6fb6; outline-offset: 2px }
a:focus rect { stroke: var(--ink); stroke-width: 2 }
ol { margin: .2rem 0 .8rem; padding-left: 2.6rem; font-size: .9rem; overflow-wrap: anywhere }
.short { border-left: 4px solid #c62828; padding-left: 1rem } code { overflow-wrap: anywhere }
time { color: var(--soft); font-variant-numeric: tabular-nums }
"""
