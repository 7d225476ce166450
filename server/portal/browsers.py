"""What a browser calls itself, in two words."""

from __future__ import annotations

from tallystick.server.wording.worded import worded

# The first that is found: each also claims to be those below it.
BROWSERS = (
    ("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chromium", "Chromium"),
    ("Chrome", "Chrome"), ("Safari", "Safari"), ("RADIUS", "RADIUS"),
)  # fmt: skip
SYSTEMS = (
    ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"),
    ("Mac OS", "macOS"), ("CrOS", "ChromeOS"), ("Linux", "Linux"),
)  # fmt: skip


def in_short(agent: str) -> str:
    """“Firefox on Linux”; what is not known, as it calls itself, shortened."""
    browser = next((name for mark, name in BROWSERS if mark in agent), "")
    system = next((name for mark, name in SYSTEMS if mark in agent), "")
    if browser and system:
        return worded("{browser} on {system}", browser=browser, system=system)
    return browser or agent[:40]
