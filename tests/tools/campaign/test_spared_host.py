"""A run that spares the host is the same run: each answer, byte by byte. Instants are the same but
for what is loaded again where the heap is short, which it is not in the spared one."""

from __future__ import annotations

from typing import Any

import pytest

from tallystick.emulator.devices.image import Image
from tallystick.emulator.interpreter import resident
from tallystick.tools.campaign.ctap.alphabet import LETTERS, into_service, warm_up
from tallystick.tools.campaign.ctap.channels import Answer
from tallystick.tools.campaign.ctap.world import CtapWorld
from tallystick.tools.campaign.engine.subject import image_under_test

# Key agreement (shared_x), a key pair of each power-up and of a new credential (public_key),
# signatures; a wrong PIN and a reset make the agreement's key anew.
WAY = (
    "A pin-token", "A assert-token", "A assert", "A next", "A wrong-pin", "A short-pin",
    "A finger-token", "A make-finger", "B make-unproved", "A make-excluded", "restart",
    "A change-pin", "replug", "B finger-token-stranger", "A assert-finger", "A make-ed25519",
    "A make-extended", "replug", "A reset",
)  # fmt: skip


RELOADING_US = 100_000


class _Noting(CtapWorld):
    def __init__(self, image: Image, *, quick: bool) -> None:
        self.noted: list[tuple[int, int, str, bool, int]] = []
        super().__init__(image, quick=quick)

    def ask(
        self, channel: str, command: int, request: Any = None, touch: str = ""
    ) -> tuple[Answer, Any]:
        answer, said = super().ask(channel, command, request, touch)
        self.noted.append((command, answer.status, answer.body.hex(), answer.asked, self.now))
        return answer, said


def _run(image: Image, *, quick: bool) -> list[tuple[int, int, str, bool, int]]:
    world = _Noting(image, quick=quick)
    try:
        into_service(world)
        warm_up(world)
        for letter in WAY:
            LETTERS[letter](world)
        return world.noted
    finally:
        world.close()


@pytest.mark.slow
def test_it_is_the_same_run() -> None:
    image = image_under_test("reader", "pico2", None, readable=False)
    with resident.enabled():
        slow, quick = (_run(image, quick=quick) for quick in (False, True))
    assert len(slow) > 40
    for number, (one, other) in enumerate(zip(slow, quick, strict=True)):
        assert one[:-1] == other[:-1], f"command {number}"
        assert abs(one[-1] - other[-1]) < RELOADING_US, f"command {number}"
