"""The card's store, on real MicroPython, against a model: what a cut may leave is the state before
or the state after, whole; no code comes twice; a seed that was replaced is nowhere in flash."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from tests.firmware.remote import Device, running

HERE = Path(__file__).parent
GEOMETRIES = [(16, 4096, 256), (24, 2048, 8), (3, 2048, 8)]
CUTS = st.one_of(st.just(-1), st.integers(0, 40))
MASKS = st.one_of(
    st.binary(min_size=1, max_size=64),
    st.sampled_from([b"\x00", b"\xff", b"\xff" * 8 + b"\x00" * 248, b"\xff" * 60 + b"\x00" * 196]),
)
LIFE_CYCLES = (0x01, 0x07, 0x0F)


def code_of(seed: bytes, factor: int) -> str:
    """RFC 4226, section 5.3."""
    digest = hmac.digest(seed, factor.to_bytes(8, "big"), hashlib.sha1)
    at = digest[19] & 15
    return f"{(int.from_bytes(digest[at : at + 4], 'big') & 0x7FFFFFFF) % 10**6:06}"


@pytest.fixture(scope="module")
def device(micropython: Any) -> Iterator[Device]:
    main, cut_flash = HERE / "device/main.py", HERE.parent / "journal/device"
    with running(micropython, main, path=(cut_flash,), heap="2m") as device:
        yield device


def machine_of(device: Device, geometry: tuple[int, int, int]) -> type[RuleBasedStateMachine]:
    class Machine(RuleBasedStateMachine):
        """`kept`: what is in flash but for the moving factor. `wanted`: what a commit that was cut
        wanted there. `next`: the first moving factor of this seed that was never shown."""

        @initialize()
        def fresh(self) -> None:
            device.new(*geometry)
            self.kept = device.start(True)
            self.next = 0
            self.cuts = 0
            self.seeds = 0

        def _start(self, wanted: dict[str, Any] | None = None, *, cold: bool = True) -> None:
            found = device.start(cold)
            assert found != "damaged"
            choices = [self.kept, *([{**self.kept, **wanted}] if wanted else [])]
            matching = [one for one in choices if self._same(found, one)]
            assert matching, (found, choices)
            if wanted and "seed" in wanted and matching[0] is not self.kept:
                self.next, self.cuts = 0, 1
            self.kept = {**matching[0], "moving_factor": found["moving_factor"]}
            assert self.next <= found["moving_factor"] <= self.next + self.cuts

        @staticmethod
        def _same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
            names = ("life_cycle", "kvn", "digits", "keys", "seed", "name")
            return all(found[name] == wanted[name] for name in names)

        def _commit(self, wanted: dict[str, Any], cut: int, mask: bytes) -> None:
            old_seed = self.kept["seed"]
            if device.commit(wanted, cut, mask.hex()) == "cut":
                self.cuts += 1
                self._start(wanted)
                return
            self.kept = {**self.kept, **wanted}
            if "seed" in wanted:
                self.next, self.cuts = 0, 0
                if old_seed and old_seed != wanted["seed"]:
                    assert not device.in_flash(old_seed)

        @rule(cut=CUTS, mask=MASKS)
        def put_seed(self, cut: int, mask: bytes) -> None:
            self.seeds += 1  # as a station makes them: none comes twice
            seed = hashlib.sha256(str(self.seeds).encode()).digest()[:20]
            wanted = {"seed": seed.hex(), "name": b"name".hex(), "moving_factor": 0, "digits": 6}
            self._commit(wanted, cut, mask)

        @precondition(lambda self: self.kept["seed"])
        @rule(cut=CUTS, mask=MASKS)
        def delete_seed(self, cut: int, mask: bytes) -> None:
            self._commit({"seed": "", "name": "", "moving_factor": 0}, cut, mask)

        @rule(keys=st.binary(min_size=48, max_size=48), kvn=st.integers(1, 3), cut=CUTS, mask=MASKS)
        def put_keys(self, keys: bytes, kvn: int, cut: int, mask: bytes) -> None:
            self._commit({"keys": keys.hex(), "kvn": kvn}, cut, mask)

        @rule(life_cycle=st.sampled_from(LIFE_CYCLES), cut=CUTS, mask=MASKS)
        def set_life_cycle(self, life_cycle: int, cut: int, mask: bytes) -> None:
            self._commit({"life_cycle": life_cycle}, cut, mask)

        @precondition(lambda self: self.kept["seed"])
        @rule(cut=CUTS, mask=MASKS)
        def press(self, cut: int, mask: bytes) -> None:
            code = device.take_code(cut, mask.hex())
            if code == "cut":
                self.cuts += 1
                self._start()
                return
            seed = bytes.fromhex(self.kept["seed"])
            allowed = range(self.next, self.next + self.cuts + 1)
            factor = next((one for one in allowed if code_of(seed, one) == code), None)
            assert factor is not None, f"a code that was shown, or too far on from {self.next}"
            self.next, self.cuts = factor + 1, 0

        @rule(cold=st.booleans())
        def power_cycle(self, cold: bool) -> None:
            self._start(cold=cold)

    return Machine


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_a_cut_leaves_the_state_before_or_after(
    device: Device, geometry: tuple[int, int, int]
) -> None:
    run_machine(
        machine_of(device, geometry),
        settings=settings(max_examples=60, stateful_step_count=30, deadline=None,
                          derandomize=True, suppress_health_check=list(HealthCheck)),
    )  # fmt: skip
