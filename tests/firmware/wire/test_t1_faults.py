"""T=1 under fire: the station's client and the card's firmware over a line that loses, changes,
doubles and delays. Every command is executed once and answered rightly, or fails clearly."""

from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import given, note, settings
from hypothesis import strategies as st

from tallystick.common.errors import NoDeviceError
from tallystick.provisioning.card.t1 import T1, AnswerLostError, encode

PROFILE = settings(max_examples=150, deadline=None)


class Line:
    """One direction of a bad line. Each fault is for the n-th write: (n, kind, where, value)."""

    def __init__(self, faults: list[tuple[int, str, int, int]]) -> None:
        self._faults = {number: (kind, where, value) for number, kind, where, value in faults}
        self._writes = 0

    def __call__(self, data: bytes) -> list[tuple[int, bytes]]:
        kind, where, value = self._faults.get(self._writes, ("", 0, 0))
        self._writes += 1
        at = where % len(data)
        changed = {
            "lose": b"",
            "cut": data[:at],
            "drop byte": data[:at] + data[at + 1 :],
            "change": data[:at] + bytes((data[at] ^ (value or 1),)) + data[at + 1 :],
            "double byte": data[: at + 1] + data[at:],
            "insert": data[:at] + bytes((value,)) + data[at:],
            "double": data + data,
            "garbage before": bytes((value, where & 0xFF)) + data,
            "garbage after": data + bytes((value,)),
        }.get(kind, data)
        if kind == "late":
            return [(value * 4, changed)]  # up to the block waiting time
        if kind == "pause":
            return [(0, data[:at]), (value, data[at:])]
        return [(0, changed)]


KINDS = (
    "lose",
    "cut",
    "drop byte",
    "change",
    "double byte",
    "insert",
    "double",
    "garbage before",
    "garbage after",
    "late",
    "pause",
)


def faults(most: int) -> st.SearchStrategy[list[tuple[int, str, int, int]]]:
    """Faults in the first writes after the line was opened."""
    return st.lists(
        st.tuples(
            st.integers(0, 24),
            st.sampled_from(KINDS),
            st.integers(0, 258),
            st.integers(0, 249),
        ),
        max_size=most,
        unique_by=lambda fault: fault[0],
    )


COMMANDS = st.lists(
    st.sampled_from([1, 2, 3, 5, 40, 253, 254, 255, 300, 508, 512]), min_size=1, max_size=5
)


@contextmanager
def traffic_noted(card) -> Iterator[None]:
    """A failure shows what was on the line."""
    try:
        yield
    except BaseException:
        note("\n".join(card.traffic))
        raise


def exchange_all(card, sizes, field):
    """Send commands of these sizes, each one of a kind. Returns how each of them ended."""
    t1 = T1(card)
    try:
        t1.resynchronise()
    except NoDeviceError:
        return []
    if field:  # answers in small blocks; lost when the line has to be synchronised again
        card.write(encode(0xC1, bytes((field,))))
        card.run(200)
    ended = []
    for number, size in enumerate(sizes):
        command = bytes((number,)) * size
        try:
            answer = t1.exchange(command)
        except AnswerLostError:
            ended.append((command, "lost"))
        except NoDeviceError:
            ended.append((command, "gone"))
            break  # the two sides may number blocks differently until a S(RESYNCH) succeeds
        else:
            assert answer == command
            ended.append((command, "answered"))
    return ended


def check(executed, ended):
    """executed, ended: digests of commands; ended with how each of them did."""
    assert len(set(executed)) == len(executed), "a command was executed twice"
    for command, how in ended:
        assert command in executed or how != "answered"
    assert [command for command, _ in ended if command in executed] == executed


@PROFILE
@given(sizes=COMMANDS, out=faults(8), back=faults(8), field=st.sampled_from([0, 1, 7, 100]))
def test_bad_line(card_process, digest, sizes, out, back, field):
    card = card_process
    card.reset(echo=True)
    card.to_card, card.to_station = Line(out), Line(back)
    with traffic_noted(card):
        ended = exchange_all(card, sizes, field)
        check(card.log, [(digest(command), how) for command, how in ended])
    # The line is good again: so is everything.
    card.to_card = card.to_station = lambda data: [(0, data)]
    card.run(2_000)
    t1 = T1(card)
    t1.resynchronise()
    assert t1.exchange(b"\xee" * 300) == b"\xee" * 300


@PROFILE
@given(sizes=COMMANDS, out=faults(1), back=faults(1))
def test_few_faults_cost_no_command(card_process, digest, sizes, out, back):
    """Two faults never lose a command: a lost block takes two of the three retries, one to learn
    that it was lost and one to send it again."""
    card = card_process
    card.reset(echo=True)
    t1 = T1(card)
    t1.resynchronise()
    card.to_card, card.to_station = Line(out), Line(back)
    with traffic_noted(card):
        for number, size in enumerate(sizes):
            command = bytes((number,)) * size
            assert t1.exchange(command) == command
    assert card.log == [digest(bytes((n,)) * size) for n, size in enumerate(sizes)]


@PROFILE
@given(noise=st.lists(st.binary(max_size=40), max_size=6), wait=st.integers(0, 150))
def test_the_card_is_found_after_any_noise(card_process, noise, wait):
    card = card_process
    card.reset(echo=True)
    for piece in noise:
        card.write(piece)
        card.run(wait)
    t1 = T1(card)
    t1.resynchronise()
    assert t1.exchange(b"found") == b"dnuof"


@PROFILE
@given(out=faults(6), back=faults(6), press=st.integers(0, 35_000))
def test_calculate_on_a_bad_line(card_process, out, back, press):
    """However bad: at most one code for the press, and one that arrives is the right one."""
    card = card_process
    card.reset(life_cycle=0x0F, kvn=1, name=b"TS00000001".hex(), seed=b"12345678901234567890".hex())
    t1 = T1(card)
    t1.resynchronise()
    assert t1.exchange(bytes.fromhex("00a4040007a0000005272101"))[-2:] == b"\x90\0"
    card.to_card, card.to_station = Line(out), Line(back)
    card.press(after_ms=press)
    moved = 1
    try:
        answer = t1.exchange(bytes.fromhex("00a200010e710a545330303030303030317400"))
    except NoDeviceError:
        moved = None
    else:
        if answer == b"\x69\x85":
            moved = 0
        else:
            assert answer == bytes.fromhex("760506000b86189000")
    factor = card.inspect()["moving_factor"]
    assert factor in ((0, 1) if moved is None else (moved,))
    assert len(card.log) <= 2
