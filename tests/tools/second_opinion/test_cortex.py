"""The core around Unicorn: exceptions, waiting, time. With small programs; no firmware."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import tallystick
from tallystick.tools.second_opinion.cortex import (
    FIRST_IRQ,
    PENDSV,
    SVC,
    SYSTICK,
    ChipError,
    Cortex,
)
from tests.tools.second_opinion.assembly import program, stores

ROM, RAM, PORT = 0x08000000, 0x20000000, 0x40000000
HZ = 10_000_000  # an instruction takes 100 ns
MS = 1_000_000.0
ICSR, SYST_CSR, SYST_RVR = 0xE000ED04, 0xE000E010, 0xE000E014
NVIC_ISER, NVIC_IPR = 0xE000E100, 0xE000E400
COUNT = "ldr r0, =0x20000000\nldr r1, [r0, #{at}]\nadds r1, #1\nstr r1, [r0, #{at}]\nbx lr"
FOREVER = "\nforever: b forever"


class Port:
    """Remembers what was read and written, and does what a test says."""

    def __init__(self, then=lambda: None):
        self.reads, self.writes, self.then, self.answer = [], [], then, 7

    def read(self, offset, size):
        self.reads.append((offset, size))
        self.then()
        return self.answer

    def write(self, offset, size, value):
        self.writes.append((offset, size, value))
        self.then()


@pytest.fixture(params=["cortex-m4", "cortex-m33"])
def make(request):
    def make(main, handlers=None, port=None):
        core = Cortex(request.param, HZ, 1.0)
        core.memory(ROM, 0x10000, writable=False)
        core.memory(RAM, 0x10000)
        core.load(ROM, program(ROM, main, handlers))
        core.attach(PORT, 0x100, port or Port())
        core.reset(ROM)
        return core

    return make


def word(core, number):
    return core.word(RAM + 4 * number)


def test_unicorn_is_imported_by_this_tool_alone_and_only_for_a_chip():
    root = Path(tallystick.__file__).resolve().parent.parent
    folders = ("tallystick", "tools", "emulator", "provisioning", "server", "firmware")
    importing = {
        path.parent.name
        for folder in folders
        for path in (root / folder).rglob("*.py")
        if re.search(r"import.*[\"' ]unicorn\b", path.read_text())
    }
    assert importing == {"second_opinion"}
    code = (
        "import sys, tallystick.cli, tallystick.tools.second_opinion.cli\nprint(sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "unicorn" not in done.stdout


def test_time_is_counted_in_instructions(make):
    core = make("nop\n" * 50 + FOREVER)
    core.run(1000)
    assert core.instructions == 10 and core.now_ns == 1000 and core.cpu_ns == 1000
    core.set_clock(HZ / 2)
    core.run(3000)
    assert core.instructions == 20 and core.now_ns == 3000


def test_the_time_is_right_in_the_middle_of_a_slice(make):
    times = []
    port = Port()
    core = make(
        "ldr r0, =0x40000000\n" + "nop\n" * 9 + "ldr r1, [r0]\nldr r1, [r0, #4]\n" + FOREVER,
        port=port,
    )
    port.then = lambda: times.append(core.now_ns)
    core.run(MS)
    assert times == [1000, 1100]


def test_a_store_that_is_looked_at_happens_once(make):
    port = Port()
    core = make(stores((PORT, 1), (PORT + 4, 2)) + FOREVER, port=port)
    port.then = core.look
    core.run(MS)
    assert port.writes == [(0, 4, 1), (4, 4, 2)]


def test_a_load_that_is_looked_at_arrives(make):
    port = Port()
    source = "ldr r0, =0x40000000\nldr r1, [r0]\nldr r2, =0x20000000\nstr r1, [r2]"
    core = make(source + FOREVER, port=port)
    port.then = core.look
    core.run(MS)
    assert word(core, 0) == 7 and len(port.reads) == 1


def test_the_clock_changes_within_a_slice(make):
    port = Port()
    core = make("nop\n" * 8 + stores((PORT, 1)) + FOREVER, port=port)
    port.then = lambda: core.set_clock(HZ / 10)
    core.run(2000)
    # Twelve instructions of 100 ns before the store, which takes 1 µs.
    assert (core.now_ns, core.instructions) == (2200, 13)


def test_waiting_takes_time_and_no_instructions(make):
    core = make("wfi" + FOREVER)
    core.run(5 * MS)
    assert core.asleep and core.instructions == 1
    assert (core.now_ns, core.cpu_ns) == (5 * MS, 100)


def test_systick_interrupts_and_ends_a_wait(make):
    main = stores((SYST_RVR, 9999), (SYST_CSR, 7)) + "\nagain: wfi\nb again"
    core = make(main, {SYSTICK: COUNT.format(at=0)})
    core.run(10.5 * MS)
    assert word(core, 0) == 10
    assert core.cpu_ns < 20_000


def test_systick_reads_what_is_left(make):
    main = stores((SYST_RVR, 9999), (SYST_CSR, 5)) + "\nnop" * 100
    read = "\nldr r0, =0xE000E018\nldr r1, [r0]\nldr r2, =0x20000000\nstr r1, [r2]"
    core = make(main + read + FOREVER)
    core.run(MS / 2)
    assert 9890 <= word(core, 0) <= 9900


def test_systick_keeps_its_time_at_a_clock_that_is_no_whole_number_of_nanoseconds(make):
    main = stores((SYST_RVR, 25_999), (SYST_CSR, 7)) + "\nagain: wfi\nb again"
    core = make(main, {SYSTICK: COUNT.format(at=0)})
    core.set_clock(26_000_000)
    core.run(3000 * MS)
    assert word(core, 0) in (2999, 3000)


def test_countflag_is_cleared_by_reading(make):
    main = stores((SYST_RVR, 99), (SYST_CSR, 5)) + "\nnop" * 200
    read = (
        "\nldr r0, =0xE000E010\nldr r1, [r0]\nldr r3, [r0]\nldr r2, =0x20000000\nstm r2!, {r1, r3}"
    )
    core = make(main + read + FOREVER)
    core.run(MS)
    assert (word(core, 0), word(core, 1)) == (5 | 1 << 16, 5)


def test_an_interrupt_waits_until_it_is_let_in(make):
    port = Port()
    main = "cpsid i\n" + stores((NVIC_ISER, 1), (PORT, 1)) + "\nnop" * 20
    main += "\nldr r0, =0x20000000\nmovs r1, #1\nstr r1, [r0, #8]"
    main += "\ncpsie i\nldr r2, [r0]\nstr r2, [r0, #4]"
    core = make(main + FOREVER, {FIRST_IRQ: COUNT.format(at=0)}, port)
    port.then = lambda: core.nvic.line(0, False) or core.nvic.pend(FIRST_IRQ)
    core.run(MS)
    assert word(core, 0) == 1
    assert word(core, 1) == 1  # it came before the very next instruction


def test_wfi_ends_with_what_primask_keeps_out(make):
    port = Port()
    main = "cpsid i\n" + stores((NVIC_ISER, 1), (PORT, 1)) + "\nwfi\n" + stores((RAM + 4, 5))
    core = make(main + FOREVER, {FIRST_IRQ: COUNT.format(at=0)}, port)
    port.then = lambda: core.after(MS, lambda: core.nvic.pend(FIRST_IRQ))
    core.run(2 * MS)
    assert (word(core, 0), word(core, 1)) == (0, 5)
    assert core.cpu_ns < 1.1 * MS


def test_basepri_keeps_out_what_is_not_more_urgent(make):
    main = "movs r0, #0x40\nmsr basepri, r0\n"
    main += stores((NVIC_IPR, 0x3040), (NVIC_ISER, 3), (NVIC_ISER + 0x100, 3)) + FOREVER
    core = make(main, {FIRST_IRQ: COUNT.format(at=0), FIRST_IRQ + 1: COUNT.format(at=4)})
    core.run(MS)
    assert (word(core, 0), word(core, 1)) == (0, 1)


def test_the_more_urgent_pre_empts_and_the_other_goes_on(make):
    outer = (
        stores((NVIC_ISER + 0x100, 2))
        + "\nldr r0, =0x20000000\nldr r1, [r0, #4]\nstr r1, [r0]\nbx lr"
    )
    main = (
        stores((NVIC_IPR, 0x1040), (NVIC_ISER, 3), (NVIC_ISER + 0x100, 1), (RAM + 8, 9)) + FOREVER
    )
    core = make(main, {FIRST_IRQ: outer, FIRST_IRQ + 1: COUNT.format(at=4)})
    core.run(MS)
    assert [word(core, n) for n in range(3)] == [1, 1, 9]
    assert core.nvic.active == []


def test_a_held_line_comes_again_until_it_is_let_go(make):
    port = Port()
    handler = COUNT.format(at=0).replace(
        "bx lr", "cmp r1, #3\nbne out\nldr r0, =0x40000000\nstr r1, [r0]\nout: bx lr"
    )
    core = make(stores((NVIC_ISER, 1)) + FOREVER, {FIRST_IRQ: handler}, port)
    port.then = lambda: core.nvic.line(0, False)
    core.nvic.line(0, True)
    core.run(MS)
    assert word(core, 0) == 3


def test_registers_and_flags_are_as_before(make):
    main = stores((SYST_RVR, 200), (SYST_CSR, 7))
    main += """
        ldr r7, =0x20000000
        movs r0, #0
    again:
        adds r0, #1
        mov r12, r0
        movs r1, #5
        movs r2, #6
        cmp r1, r2
        bge wrong
        cmp r12, r0
        bne wrong
        str r0, [r7, #4]
        b again
    wrong:
        str r0, [r7, #8]
    """
    handler = "movs r1, #9\nmovs r2, #1\nmov r12, r1\nadds r1, r1, r2\n" + COUNT.format(at=0)
    core = make(main + FOREVER, {SYSTICK: handler})
    core.run(MS)
    assert word(core, 0) > 40 and word(core, 1) > 500 and word(core, 2) == 0


def test_an_it_block_goes_on_where_it_was(make):
    main = stores((SYST_RVR, 100), (SYST_CSR, 7))
    main += """
        ldr r7, =0x20000000
        movs r4, #0
    again:
        cmp r4, r4
        itte eq
        addeq r5, #1
        addeq r6, #1
        addne r4, #1
        cmp r5, r6
        bne wrong
        str r5, [r7, #4]
        b again
    wrong:
        str r6, [r7, #8]
    """
    core = make(main + FOREVER, {SYSTICK: COUNT.format(at=0)})
    core.run(MS)
    assert word(core, 0) > 80 and word(core, 1) > 300 and word(core, 2) == 0


def test_floating_point_registers_are_kept(make):
    main = "vmov.f32 s0, #1.0\nvmov.f32 s15, #2.0\n" + stores((ICSR, 1 << 28))
    main += "\nnop\nldr r0, =0x20000000\nvstr s0, [r0]\nvstr s15, [r0, #4]"
    handler = "ldr r0, =0x20000000\nmov r1, sp\nstr r1, [r0, #8]\nstr lr, [r0, #12]"
    handler += "\nvmov.f32 s0, #3.0\nvmov.f32 s15, #3.0\nbx lr"
    core = make(main + FOREVER, {PENDSV: handler})
    core.run(MS)
    assert struct.unpack("<2f", core.peek(RAM, 8)) == (1.0, 2.0)
    assert word(core, 2) == 0x20008000 - 104  # the extended frame
    assert word(core, 3) & 0xFF == 0xE9
    assert core.reg(13) == 0x20008000


def test_the_frame_is_aligned_and_the_process_stack_comes_back(make):
    main = """
        ldr r0, =0x20004004
        msr psp, r0
        movs r0, #2
        msr control, r0
        isb
        svc #1
        mrs r0, psp
        ldr r1, =0x20000000
        str r0, [r1]
        str r4, [r1, #4]
    """
    handler = "mrs r0, psp\nldr r1, =0x20000000\nstr r0, [r1, #8]\nstr lr, [r1, #12]"
    handler += "\nmrs r0, ipsr\nstr r0, [r1, #16]\nbx lr"
    core = make(main + FOREVER, {SVC: handler})
    core.run(MS)
    assert word(core, 0) == 0x20004004
    assert word(core, 2) == 0x20004000 - 32
    assert word(core, 3) & 0xFF == 0xFD
    assert word(core, 4) == SVC


def test_a_wait_for_an_event_ends_when_something_happens(make):
    port = Port()
    core = make(stores((PORT, 1)) + "\nwfe\n" + stores((RAM, 1)) + FOREVER, port=port)
    port.then = lambda: core.after(MS, lambda: None)
    core.run(MS / 2)
    assert word(core, 0) == 0
    core.run(2 * MS)
    assert word(core, 0) == 1


def test_a_reset_that_is_asked_for_starts_again(make):
    main = COUNT.format(at=0).replace("bx lr", stores((0xE000ED0C, 0x05FA0004))) + FOREVER
    core = make(main)
    resets = []
    core.on_reset = lambda: resets.append(core.now_ns) or (len(resets) < 3 and core.reset(ROM))
    core.run(MS)
    assert word(core, 0) == 3 and len(resets) == 3


def test_writes_to_what_is_not_writable_are_heard_and_change_nothing(make):
    heard = []
    core = make(stores((ROM + 0x8000, 0x11223344)) + "\nstrh r1, [r0, #4]" + FOREVER)
    core.on_write_protected(ROM, 0x10000, lambda *what: heard.append(what))
    core.run(MS)
    assert heard == [(ROM + 0x8000, 4, 0x11223344), (ROM + 0x8004, 2, 0x3344)]
    assert core.word(ROM + 0x8000) == 0


def test_a_trap_is_called_before_its_instruction(make):
    core = make("nop\nnop\nnop" + FOREVER)
    seen = []
    core.trap(ROM + 0x204, lambda: seen.append(core.pc))
    core.run(MS)
    assert seen == [ROM + 0x204]


@pytest.mark.parametrize(
    ("main", "words"),
    [
        ("ldr r0, =0x40000200\nldr r1, [r0]", "read 0x40000200, which .*at 0x08000202"),
        ("ldr r0, =0x40000200\nstr r0, [r0]", "wrote 0x40000200, .*0x08000202"),
        ("ldr r0, =0x60000000\nldr r1, [r0]", "read 0x60000000, which .*at 0x08000202"),
        ("ldr r0, =0x60000000\nstr r1, [r0]", "wrote 0x60000000, which .*at 0x08000202"),
        ("ldr r0, =0x60000001\nbx r0", "jumped to 0x60000000"),
        ("udf #1", "0x08000200: Invalid instruction"),
        ("bkpt #1", "breakpoint"),
        ("ldr r0, =0xE000EF04\nstr r0, [r0]", "wrote 0xe000ef04"),
    ],
)  # fmt: skip
def test_what_the_chip_does_not_have_ends_the_run_and_says_where(make, main, words):
    core = make(main + FOREVER)
    with pytest.raises(ChipError, match=words):
        core.run(MS)
