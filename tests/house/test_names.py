"""One concept, one name: a class name stands once, but for the pairs listed here."""

import ast
from collections import defaultdict

from tests.house import sources

# Name → why it stands more than once.
TWICE = {
    "Board": "what the emulator knows of one; what each module of the firmware asks of one",
    "Button": "the firmware's button, and the emulated part under it",
    "Flash": "MicroPython's block device, which the port plays; what a journal writes to",
    "Identity": "the segment that the factory writes, and what card and reader read of it",
    "Journal": "the server's and the card's are none: kept for the firmware's own module",
    "MemoryLcd": "the firmware's driver, and the emulated part at its other end",
    "R503": "the firmware's driver, and the emulated part at its other end",
    "Reader": "the emulated reader, and the firmware that runs in it",
    "Scenario": "what a campaign's engine asks of one; a card's and a reader's are such",
    "Secret": "bytes that leave no trace, on the host; a PIN's shared secret (CTAP 2.1)",
    "Ssd1306": "the firmware's driver, and the emulated part at its other end",
    "T1": "the two ends of the protocol T=1 (ISO 7816-3)",
}


def _classes() -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for path in sources.files(
        "emulator", "tools", "provisioning", "server", "tallystick", "firmware"
    ):
        for node in ast.walk(sources.parsed(path)):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(f"{path.relative_to(sources.ROOT)}:{node.lineno}")
    return found


def test_a_class_name_stands_once() -> None:
    found = _classes()
    twice = {name: places for name, places in found.items() if len(places) > 1}
    assert {n: p for n, p in twice.items() if n not in TWICE} == {}, (
        "give each concept its own name"
    )
    assert set(TWICE) - set(twice) == set(), "these stand once: take them from the list"
