"""The library against a model of it, with power cut at any time."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tallystick.emulator.clock import Clock
from tallystick.emulator.parts.r503 import R503
from tallystick.emulator.parts.r503_codes import Code, Confirm
from tests.emulator.fingerprints.host import Host

pages = st.integers(0, 205)


class Library(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        clock = Clock()
        self.module = R503(clock)
        self.host = Host(self.module, clock)
        self.host.power_up()
        self.model: dict[int, tuple[bytes, ...]] = {}

    def word(self, value: int) -> bytes:
        return value.to_bytes(2, "big")

    @rule(page=pages, mark=st.binary(min_size=1, max_size=3))
    def store(self, page, mark):
        self.module.commands.memory.buffers[1] = (mark,)
        answer = self.host.ask(Code.STORE, b"\x01" + self.word(page))
        assert answer.confirm == (Confirm.OK if page < 200 else Confirm.BAD_PAGE)
        if page < 200:
            self.model[page] = (mark,)

    @rule(page=pages, mark=st.binary(min_size=1, max_size=3), us=st.integers(0, 29_000))
    def cut_while_storing(self, page, mark, us):
        self.module.commands.memory.buffers[1] = (mark,)
        self.host.send(Code.STORE, b"\x01" + self.word(page))
        self.host.wait(us)
        self.restart()

    @rule(start=pages, count=st.integers(0, 6))
    def delete(self, start, count):
        answer = self.host.ask(Code.DELETE, self.word(start) + self.word(count))
        good = start + count <= 200
        assert answer.confirm == (Confirm.OK if good else Confirm.BAD_PAGE)
        if good:
            for page in range(start, start + count):
                self.model.pop(page, None)

    @rule()
    def empty(self):
        assert self.host.ask(Code.EMPTY).confirm == Confirm.OK
        self.model.clear()

    @rule(page=pages)
    def load(self, page):
        answer = self.host.ask(Code.LOAD, b"\x02" + self.word(page))
        assert (answer.confirm == Confirm.OK) == (page in self.model)
        if page in self.model:
            assert self.module.commands.memory.buffers[2] == self.model[page]

    @rule()
    def restart(self):
        self.module.power(False)
        self.host.power_up()
        assert not self.module.commands.memory.buffers

    @invariant()
    def counts_and_index_agree(self):
        count = self.host.ask(Code.TEMPLATE_NUM).extra
        table = int.from_bytes(self.host.ask(Code.READ_INDEX_TABLE, b"\0").extra, "little")
        assert int.from_bytes(count, "big") == len(self.model)
        assert table == sum(1 << page for page in self.model)
        assert self.module.flash.templates == self.model


TestLibrary = Library.TestCase
TestLibrary.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
