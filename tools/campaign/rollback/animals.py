"""The zoo's readers that an old copy of their flash or sensor fools, each by a small patch."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.tools.campaign.engine.animal import Animal, Patch
from tallystick.tools.campaign.reader.animals import BOARD

_STORE, _PIN, _USER = "reader/store.py", "reader/pin.py", "reader/user.py"


@dataclass(frozen=True)
class RollbackAnimal(Animal):
    """Looked for by thieves."""


def _animal(name: str, sentence: str, *patches: Patch) -> RollbackAnimal:
    return RollbackAnimal(f"rollback-{name}", sentence, patches, (), BOARD)


ANIMALS = (
    _animal(
        "pins-unburnt", "A wrong PIN is counted in the flash only.",
        Patch(_PIN, "        store.burn()\n", ""),
        Patch(_PIN, "    store.pay(store.verified)\n",
              "    store.commit(pin_retries=store.pin_retries - 1)\n"),
    ),
    _animal(
        "fingers-unburnt", "A wrong finger is counted in the flash only.",
        Patch(_USER, "                store.burn()\n", ""),
        Patch(_USER, "        store.pay(",
              "        store.commit(uv_retries=store.uv_retries - 1, verified="),
    ),
    _animal(
        "unknown-tries-forgiven", "Tries that the flash knows nothing of are not taken off.",
        Patch(_STORE, "        if unknown > 0:\n", "        if False:\n"),
    ),
    _animal(
        "agreed-once", "Where tries could not be taken off at the start, nobody does so later.",
        Patch(_STORE, "            self._agree()  #",
              "            self._ready = True\n            self._agree()  #"),
    ),
    _animal(
        "old-copies-believed", "A copy from before a change of PIN is believed.",
        Patch(_STORE, "        if self.epoch < self._epochs.value:\n", "        if False:\n"),
    ),
    _animal(
        "removal-comes-back", "A finger's removal ends nothing.",
        Patch(_STORE, "        self.change(pages=", "        self.commit(pages="),
        Patch(_PIN, "    store.change(", "    store.commit("),
    ),
    _animal(
        "pages-used-again", "The sensor's page of a finger that was removed is used for the next.",
        Patch(_STORE, "start = 0 if self.newest_page == _NO_PAGE else self.newest_page + 1\n",
              "start = 0\n"),
    ),
)  # fmt: skip
