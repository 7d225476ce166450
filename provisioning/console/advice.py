"""What a person at the docks should do next, from the picture of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tallystick.provisioning.console.workshop import Mood, Picture, Tile

# For one card, and for several: the most urgent first.
_SENTENCES = {
    Mood.PRESS: (
        "Press the button of the card in {}.",
        "Press the buttons of the cards in {}.",
    ),
    Mood.TYPE: (
        "Press the button of the card in {} and type the code on its display.",
        "Press the buttons of the cards in {} and type the codes on their displays.",
    ),
    Mood.FAILED: (
        "Take the card out of {}: it failed, the reason is below.",
        "Take the cards out of {}: they failed, the reasons are below.",
    ),
    Mood.DONE: (
        "Take the finished card out of {} and put the next one in.",
        "Take the finished cards out of {} and put the next ones in.",
    ),
    Mood.EMPTY: ("Put a card into {}.", "Put cards into {}."),
}


@dataclass(frozen=True)
class Advice:
    """text: one sentence; more: others, less urgent. urgent: somebody has to act."""

    text: str
    urgent: bool = False
    more: tuple[str, ...] = ()


def advise(picture: Picture) -> Advice:
    """The next thing to do comes first."""
    if picture.fault:
        return Advice(f"The batch ended by a fault: {picture.fault}", urgent=True)
    if not picture.running:
        return _afterwards(picture)
    if picture.stopping and not picture.questions:
        return Advice("Stopping: leave the cards in until their tiles say that they are finished.")
    found = [_say(mood, picture) for mood in _SENTENCES]
    said = [text for text in found if text]
    if said:
        return Advice(said[0], urgent=True, more=tuple(said[1:]))
    if not picture.tiles:
        return Advice("Plug in a dock: no port is there yet.", urgent=True)
    return Advice("Nothing to do: leave the cards in.")


def _afterwards(picture: Picture) -> Advice:
    missing = picture.wanted - picture.done
    if picture.complete:
        return Advice("The batch is complete. Print its labels.")
    plural = "card is" if missing == 1 else "cards are"
    return Advice(f"Stopped: {missing} {plural} missing. Start it again to go on.", urgent=True)


def _say(mood: Mood, picture: Picture) -> str:
    tiles = [tile for tile in picture.tiles if tile.mood is mood]
    if mood is Mood.EMPTY:
        busy = sum(tile.mood in (Mood.WORKING, Mood.PRESS, Mood.TYPE) for tile in picture.tiles)
        tiles = tiles[: max(0, picture.wanted - picture.done - busy)]
    one, several = _SENTENCES[mood]
    return (one if len(tiles) == 1 else several).format(_names(tiles)) if tiles else ""


def _names(tiles: Sequence[Tile]) -> str:
    names = [tile.name for tile in tiles]
    if len(names) == 1:
        return names[0]
    if len(names) > 4:
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return f"{', '.join(names[:-1])} and {names[-1]}"
