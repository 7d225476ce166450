"""`tally campaign update`: the power goes at every flash operation of an update in the field,
before, during and after it, also while the card that was cut is put in order again.

What must hold afterwards, however the flash reads from one start to the next: the card starts, runs
the old image or the new one and says so truthfully, shows the next code and none twice, keeps its
keys, and takes the same update once more, to the end.
"""

from __future__ import annotations

import base64
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click
import pyotp

from tallystick.common.console import err, json_option, out, print_json, progress
from tallystick.common.errors import ExitCode, TallyError
from tallystick.common.identity import DEVELOPMENT_MASTER, Identity
from tallystick.emulator.boards import BOARDS
from tallystick.emulator.card import Card
from tallystick.emulator.image import Image
from tallystick.emulator.parts.nor_flash import Cut, FlashOperation, Phase
from tallystick.provisioning.card.connection import CardConnection, Response
from tallystick.provisioning.card.issuer import IssuerSession
from tallystick.provisioning.card.scp03 import SecureChannel
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.custody.keyfile import KeyRing
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.tools.docked import DockedLink
from tallystick.tools.flash.field import SlotState, Update, install, running
from tallystick.tools.image.build import build, write
from tallystick.tools.personalise import RFC4226_SEED, personalise

_SERIAL = "TS00000001"
_STARTS = 3  # after a cut: weak bits may read differently each time
_SLEEP_MS = 40_000


@dataclass
class Result:
    """violations: what the oracle found, each with the case that `--only` replays."""

    board: str
    operations: int = 0
    cuts: int = 0
    new_image: int = 0
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Case:
    """Power goes at `operation` of the update, `phase`; `again`: once more, as many operations
    into what follows."""

    operation: int
    phase: Phase
    again: int = -1

    @property
    def name(self) -> str:
        return f"{self.operation}:{self.phase}:{self.again}"

    @classmethod
    def parse(cls, name: str) -> Case:
        operation, phase, again = name.split(":")
        return cls(int(operation), Phase(phase), int(again))


@click.command()
@click.option("--board", type=click.Choice(list(BOARDS)), default="pico", show_default=True)
@click.option("--every", type=click.IntRange(1), default=1, help="Cut at every n-th operation.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--only", help="One case, as a violation names it.")
@json_option
def update(board: str, every: int, seed: int, only: str | None, as_json: bool) -> None:
    """Power cuts at every flash operation of an update in the field."""
    with progress(disable=as_json) as bar:
        task = bar.add_task("cuts", total=None)
        result = run(
            board,
            every=every,
            seed=seed,
            only=only,
            advance=lambda total: bar.update(task, advance=1, total=total),
        )
    if as_json:
        print_json(asdict(result))
    else:
        out().print(
            f"{result.cuts} cuts in {result.operations} flash operations on {result.board}, "
            f"{len(result.violations)} violations; the new image ran after {result.new_image} of "
            f"them ({result.seconds:.1f} s, seed {result.seed})."
        )
        for violation in result.violations[:20]:
            err().print(f"[red]violation[/] {violation}")
    if result.violations:
        raise SystemExit(ExitCode.FAILED)


def run(
    board: str,
    *,
    every: int = 1,
    seed: int = 0,
    only: str | None = None,
    advance: object = None,
) -> Result:
    """The whole campaign, or every n-th operation of it, or one case."""
    begin = time.monotonic()
    result = Result(board, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        rig = _Rig(board, Path(folder))
        result.operations = rig.operations
        cases = [Case.parse(only)] if only else list(_cases(rig.operations, every, seed))
        for case in cases:
            for problem in rig.case(case, random.Random(f"{seed} {case.name}"), result):
                result.violations.append(f"{case.name} {problem}")
            result.cuts += 1
            if callable(advance):
                advance(len(cases))
    result.seconds = time.monotonic() - begin
    return result


def _cases(operations: int, every: int, seed: int) -> Iterator[Case]:
    rng = random.Random(seed)
    for operation in range(rng.randrange(every), operations, every):
        for phase in Phase:
            yield Case(operation, phase)
        yield Case(operation, Phase.DURING, rng.randrange(40))


class _Noting(CardConnection):
    """Notes how many flash operations the card had done when each command was sent."""

    def __init__(self, card: Card) -> None:
        self.at: list[int] = []
        self._card = card
        super().__init__(DockedLink(card))

    def send(self, apdu: bytes, waiting: Waiting | None = None) -> Response:
        self.at.append(self._card.flash.operations)
        return super().send(apdu, waiting)


class _Rig:
    """A card in service as it was before the update, to begin every case with."""

    def __init__(self, board: str, folder: Path) -> None:
        old = write(build("card", board, "0.1.0"), folder / "old")
        new = write(build("card", board, "0.2.0", security=1), folder / "new")
        self._image = Image.load(old["bin"])
        self._update = Update.parse(new["update"].read_bytes())
        self._custody = SoftwareCustody(KeyRing.create(DEVELOPMENT_MASTER))
        self._codes = self._reference()
        with self._card() as card:
            card.power_on()
            personalise(card)
            with CardConnection(DockedLink(card)) as connection:
                channel = SecureChannel.open(connection, self._custody.channel_keys)
                info = channel.update
                keys = self._custody.firm_keys(info.key_version, info.diversification_data)
                IssuerSession(channel).put_key(self._custody.firm_version, keys)
            card.run_for(_SLEEP_MS)
            card.power_off()
            self._begin = bytes(card.flash.memory)
            before = card.flash.operations
            card.power_on()
            sent = self._install(card)
            self.operations = card.flash.operations - before
            # The last command that made the card write was the confirmation.
            self._confirmed_at = max(at for at in sent if at < card.flash.operations) - before

    def _reference(self) -> list[str]:
        hotp = pyotp.HOTP(base64.b32encode(RFC4226_SEED.reveal()).decode())
        return [hotp.at(factor) for factor in range(100)]

    def _card(self) -> Card:
        return Card(self._image, identity=Identity.derive(_SERIAL, 20260101).encode(), seed=1)

    def _install(self, card: Card) -> list[int]:
        connection = _Noting(card)
        install(connection, self._custody.channel_keys, self._update)
        connection.close()
        return connection.at

    def case(self, case: Case, rng: random.Random, result: Result) -> list[str]:
        """What does not hold after one cut."""
        with self._card() as card:
            card.flash.load(0, self._begin)
            plan = _Plan(case, rng)
            card.flash.fault_plan = plan
            try:
                card.power_on()
                self._install(card)
            except TallyError:
                pass
            for _ in range(_STARTS):
                card.power_off()
                try:
                    card.power_on()
                except TallyError as error:
                    return [f"does not start: {error.what[-200:]}"]
            card.flash.fault_plan = None
            if not card.powered:
                card.power_on()
            try:
                return list(self._problems(card, case, result))
            except TallyError as error:
                return [f"fails: {error.what[-300:]}"]

    def _problems(self, card: Card, case: Case, result: Result) -> Iterator[str]:
        first = self._press(card)
        if first not in self._codes[:3]:
            yield f"shows {first}, not the next code"
        connection = CardConnection(DockedLink(card))
        now = running(connection)
        version = str(IssuerSession(connection).version())
        result.new_image += version == "0.2.0"
        if now.header is None or now.header.version != version:
            yield f"runs {version} and reports another image"
        if version == "0.2.0" and case.operation < self._confirmed_at:
            yield "runs the new image, which nobody confirmed"
        if now.state is not SlotState.CONFIRMED:
            yield f"is still on trial after {_STARTS} starts and a press"
        if version == "0.2.0" and now.floor != 1:
            yield f"has floor {now.floor} under the new image"
        if version == "0.1.0" and now.floor != 0:
            yield f"has floor {now.floor} under the old image"
        connection.close()
        self._install(card)
        connection = CardConnection(DockedLink(card))
        again = running(connection)
        connection.close()
        if again.header != self._update.header or again.state is not SlotState.CONFIRMED:
            yield "did not take the update again"
        card.run_for(_SLEEP_MS)
        second = self._press(card)
        if second not in self._codes or self._codes.index(second) <= self._codes.index(first or ""):
            yield f"shows {second} after {first}"

    def _press(self, card: Card) -> str | None:
        card.press()
        code = card.read_code()
        card.run_for(_SLEEP_MS)
        return code


class _Plan:
    """Cuts at one operation, and perhaps at one more of those that follow."""

    def __init__(self, case: Case, rng: random.Random) -> None:
        self._case = case
        self._rng = rng
        self._seen = -1
        self._left = 1 if case.again < 0 else 2

    def __call__(self, operation: FlashOperation) -> Cut | None:
        self._seen += 1
        if self._left == 0:
            return None
        if self._left == (1 if self._case.again < 0 else 2):
            if self._seen < self._case.operation:
                return None
            self._seen = -1
        elif self._seen < self._case.again:
            return None
        self._left -= 1
        return self._cut(operation)

    def _cut(self, operation: FlashOperation) -> Cut:
        if self._case.phase is not Phase.DURING:
            return Cut(self._case.phase)
        old, new = operation.old, operation.new
        mask = self._rng.randbytes(len(old))
        changed = [a ^ b for a, b in zip(old, new, strict=True)]
        content = bytes(a ^ (c & m) for a, c, m in zip(old, changed, mask, strict=True))
        weak = frozenset(
            8 * at + bit
            for at, change in enumerate(changed)
            for bit in range(8)
            if change >> bit & 1 and self._rng.random() < 0.3
        )
        return Cut(Phase.DURING, content, weak)
