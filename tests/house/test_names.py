"""One concept, one name: a class name stands once, but for those listed here."""

import ast
from collections import defaultdict

from tests.house import sources

# Name → why it stands more than once.
TWICE = {
    "Adc": "one of each chip of the second opinion, under its manual's name",
    "Button": "the firmware's, what it asks of a board for it, and the emulated part under it",
    "Card": "the emulated card, and what the firmware of one asks of its board",
    "Changes": "a card's and a reader's state, each as its own store commits it",
    "Chip": "as our emulator plays it, and the second opinion's own model of it",
    "Clocks": "one of each chip of the second opinion, under its manual's name",
    "DamagedError": "a card's journal and a reader's records, neither of which knows the other",
    "Task": "MicroPython's asyncio, which the port plays; a piece of a campaign's work",
    "Timer": "MicroPython's, which the port plays; the chip's, of the second opinion",
    "Flash": "MicroPython's block device, which the port plays; what a journal asks of a board",
    "Identity": "the segment that the factory writes, and what card and reader read of it",
    "InvalidError": "modules of the firmware's library stand alone, each with its own error",
    "MemoryLcd": "the firmware's driver, and the emulated part at its other end",
    "Pins": "as our emulator plays it, and the second opinion's own model of it",
    "Power": "a request to an emulated device; the second opinion's own model of a chip's part",
    "R503": "the firmware's driver, and the emulated part at its other end",
    "Reader": "the emulated reader, its firmware, and what that asks of its board",
    "Refused": "a status word of a card, a status byte of a reader: neither image has the other's",
    "Registers": "as our emulator plays it, and the second opinion's own model of it",
    "Rp2040": "as our emulator plays it, and the second opinion's own model of it",
    "Rp2350": "as our emulator plays it, and the second opinion's own model of it",
    "Scenario": "what a campaign's engine asks of one; a card's and a reader's are such",
    "Secret": "bytes that leave no trace, on the host; a PIN's shared secret (CTAP 2.1)",
    "Ssd1306": "the firmware's driver, and the emulated part at its other end",
    "Stm32L4": "as our emulator plays it, and the second opinion's own model of it",
    "Store": "what a card keeps, and what a reader keeps",
    "T1": "the two ends of the protocol T=1 (ISO 7816-3)",
    "Touch": "a request to the emulated reader, and what the firmware asks of its board",
    "Uart": "as our emulator plays it, and the second opinion's own model of it",
    "Watchdog": "one of each chip of the second opinion, under its manual's name",
}


def classes() -> dict[str, list[str]]:
    """Name → where it is defined."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sources.files(*sources.ROOMS, "firmware"):
        for node in ast.walk(sources.parsed(path)):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(f"{path.relative_to(sources.ROOT)}:{node.lineno}")
    return found


def test_a_class_name_stands_once() -> None:
    twice = {name: places for name, places in classes().items() if len(places) > 1}
    new = {name: places for name, places in twice.items() if name not in TWICE}
    assert new == {}, "give each concept a name of its own"
    assert set(TWICE) - set(twice) == set(), "these stand once: take them from the list"
