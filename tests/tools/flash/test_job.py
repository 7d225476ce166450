"""What is written to a board, and when it is refused, each for its own reason."""

from __future__ import annotations

from binascii import crc32
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.common.errors import BadInputError, RefusedError
from tallystick.emulator.boards import find
from tallystick.tools.flash import job as job_module
from tallystick.tools.flash.job import Job, check
from tallystick.tools.flash.kept_state import KeptState, newest_state
from tallystick.tools.image.header import Header, StateFormats
from tallystick.tools.image.verify import Verified

BOARD = "pico"


class Board:
    """A board that says what it is told to say."""

    name, read_back = "port", True
    journal = b""

    def __init__(self, says: str, *headers: Header) -> None:
        self.says, self.found = says, list(headers)

    def identify(self) -> str:
        return self.says

    def expected(self, board) -> str:
        return board.name

    def read(self, board, region) -> bytes:
        for slot, found in zip(board.slots, self.found, strict=False):
            if slot.address == region.address:
                return found.encode()
        return self.journal if region == board.journal else b""


@pytest.fixture
def image(tmp_path) -> Verified:
    """As `verify` gives it."""
    data = bytes(range(256)) * 8
    (tmp_path / "card.bin").write_bytes(data)
    outputs = {"card.bin": {"size": len(data), "sha256": sha256(data).hexdigest()}}
    said = {"device": "card", "board": BOARD, "version": "0.2.0", "security_version": 2}
    return Verified(tmp_path, {**said, "outputs": outputs})


@pytest.fixture
def job(image):
    return Job.of(image)


def header(security: int, board: str = BOARD, device: str = "card") -> Header:
    return Header(device, board, "9.9.9", security, 0, bytes(32))


def test_an_image_that_is_too_large(image, monkeypatch):
    room = find(BOARD).file_system.size
    monkeypatch.setattr(Verified, "read", lambda self, suffix: bytes(room))
    assert len(Job.of(image).data) == room
    monkeypatch.setattr(Verified, "read", lambda self, suffix: bytes(room + 1))
    with pytest.raises(BadInputError, match="larger than the board's area"):
        Job.of(image)


def test_what_a_job_is(job, image):
    board = find(BOARD)
    assert (job.board, job.device, job.version, job.security) == (board, "card", "0.2.0", 2)
    assert job.data == image.read(".bin") and job.erased == board.record
    assert job.address == board.storage_address
    assert board.record is not None and job.extra == ()
    record = board.chip.flash_base + board.record.address
    wiped = (record, b"\xff" * board.record.size)
    assert job.parts == [wiped, (job.address, job.data)]  # nothing of before is booted meanwhile
    assert replace(job, erased=None).parts == [(job.address, job.data)]
    more = (job.address + len(job.data), b"more")
    assert replace(job, extra=(more,)).parts == [wiped, (job.address, job.data), more]


def test_a_board_that_is_not_known_is_told_before_anything_is_read(tmp_path):
    with pytest.raises(BadInputError, match="nowhere"):
        Job.of(Verified(tmp_path, {"board": "nowhere", "outputs": {}}))


def record(sequence: int, payload: bytes) -> bytes:
    """As lib/journal.py writes it, in its slot."""
    head = sequence.to_bytes(4, "little") + (sequence ^ 0xFFFFFFFF).to_bytes(4, "little")
    body = head + bytes(4) + payload
    check = crc32(body).to_bytes(4, "little") + sha256(body).digest()[:4]
    return (body + check).ljust(256, b"\xff")


@pytest.mark.parametrize("size", [200, 201, 8, 236, 1])
def test_a_state_that_the_image_cannot_read(job, size):
    board = Board(f"a {BOARD}", header(2))
    board.journal = record(7, b"\x01" * 200) + b"\xff" * 256
    assert check(job, board, device=None, downgrade=False)
    board.journal = record(7, b"\x01" * 200) + record(9, b"\x02" * size) + record(8, b"\x01" * 200)
    for options in ({"downgrade": False}, {"downgrade": True, "other": True}):
        with pytest.raises(RefusedError, match="state has format 2; the image reads 1") as refused:
            check(job, board, device=None, **options)
        assert "Nothing was written" in refused.value.kept


def test_a_format_that_never_was_is_told_as_that(job):
    board = Board(f"a {BOARD}", header(2))
    board.journal = record(7, bytes(199))
    with pytest.raises(RefusedError, match="state has format 0; the image reads 1"):
        check(job, board, device=None, downgrade=False)


@pytest.mark.parametrize("size", [1, 199, 201, 236])
def test_a_state_of_a_known_format_with_a_length_that_it_has_not(job, size):
    """The firmware would show TOO OLD: the number alone says nothing."""
    board = Board(f"a {BOARD}", header(2))
    board.journal = record(7, b"\x01" * 200) + record(8, b"\x01" * size)
    assert newest_state(board.journal) == KeptState(1, size)
    for options in ({"downgrade": False}, {"downgrade": True, "other": True}):
        with pytest.raises(RefusedError, match=f"is {size} bytes long: that format has 200") as no:
            check(job, board, device=None, **options)
        assert "Nothing was written" in no.value.kept and "wrote it" in no.value.todo


def test_each_format_has_its_own_length(job, monkeypatch):
    monkeypatch.setattr(job_module, "card_sizes", lambda: (200, 120))
    job = replace(job, formats=StateFormats(1, 2))
    board = Board(f"a {BOARD}", header(2))
    for number, size, other in ((1, 200, 120), (2, 120, 200)):
        board.journal = record(8, bytes([number]) * size)
        assert check(job, board, device=None, downgrade=False)
        board.journal = record(8, bytes([number]) * other)
        with pytest.raises(RefusedError, match=f"is {other} bytes long: that format has {size}"):
            check(job, board, device=None, downgrade=False)


@pytest.mark.parametrize("reads", [(1, 2), (2, 1)])
def test_a_reader_whose_slots_differ_may_have_the_state_of_the_newer(job, reads):
    """Its state is sealed: whichever of the two ran last may have written it."""
    job = replace(job, device="reader")
    found = [
        replace(header(2, device="reader"), formats=StateFormats(1, newest)) for newest in reads
    ]
    with pytest.raises(RefusedError, match="state has format 2; the image reads 1"):
        check(job, Board(BOARD, *found), device=None, downgrade=True)
    assert check(job, Board(BOARD, found[reads.index(1)]), device=None, downgrade=True)


@given(st.binary(max_size=2048))
def test_whatever_a_journal_holds_is_read_or_is_none(data):
    found = newest_state(data)
    assert found is None or (0 <= found.format < 256 and 0 < found.size <= 236)


def test_a_header_says_which_states_it_reads():
    plain = header(2)
    assert plain.encode()[9] == 0x11
    later = replace(plain, formats=StateFormats(2, 5))
    assert later.encode()[9] == 0x25 and Header.decode(later.encode()) == later
    before = bytearray(plain.encode())
    before[9] = 0  # of before formats were numbered
    assert Header.decode(bytes(before)) == plain
    for wrong in ((0, 1), (2, 1), (1, 16)):
        with pytest.raises(BadInputError, match="Formats of a state"):
            replace(plain, formats=StateFormats(*wrong)).encode()


def test_a_right_board_is_taken(job):
    assert check(job, Board(f"a {BOARD}"), device=None, downgrade=False) == f"a {BOARD}"
    right = Board(f"a {BOARD}", header(2), header(1))
    assert check(job, right, device="card", downgrade=False) == f"a {BOARD}"


@pytest.mark.parametrize("device", ["card", "reader"])
def test_a_blank_board_takes_any_image(job, device):
    for security in (0, 1):
        first = replace(job, device=device, security=security)
        assert check(first, Board(BOARD), device=device, downgrade=False) == BOARD


def test_another_device_than_was_meant(job):
    with pytest.raises(RefusedError, match="for a card, not for a reader"):
        check(job, Board(BOARD), device="reader", downgrade=True, other=True)


def test_a_wrong_board_and_the_word_for_it(job):
    with pytest.raises(RefusedError, match="says it is another"):
        check(job, Board("another"), device=None, downgrade=True)
    assert check(job, Board("another"), device=None, downgrade=False, other=True) == "another"


def test_what_lies_in_a_wrong_board_is_not_looked_at(job):
    """It has its slots elsewhere: what is there may read as anything."""
    with pytest.raises(RefusedError, match="says it is another"):
        check(job, Board("another", header(9, device="reader")), device=None, downgrade=False)


@pytest.mark.parametrize(
    ("held", "has_been"),
    [
        (header(0, "pico2_card"), "a card on pico2_card"),
        (header(0, BOARD, "reader"), "a reader on"),
    ],
)
@pytest.mark.parametrize("other_slot", [(), (header(0),)])
def test_a_board_that_has_been_another_device(job, held, has_been, other_slot):
    for headers in ((held, *other_slot), (*other_slot, held)):
        with pytest.raises(RefusedError, match=f"has been {has_been}"):
            check(job, Board(BOARD, *headers), device=None, downgrade=True)
        assert check(job, Board(BOARD, *headers), device=None, downgrade=False, other=True)


@pytest.mark.parametrize("slots", [(3,), (3, 0), (0, 3), (2, 3)])
def test_a_downgrade_and_the_word_for_it(job, slots):
    board = Board(BOARD, *map(header, slots))
    with pytest.raises(RefusedError, match="security version 2; the board has had 3"):
        check(job, board, device=None, downgrade=False)
    assert check(job, board, device=None, downgrade=True) == BOARD


def test_of_an_older_image_that_cannot_read_the_state_the_age_is_told(job):
    board = Board(BOARD, header(3))
    board.journal = record(7, b"\x02" * 200)
    with pytest.raises(RefusedError, match="the board has had 3"):
        check(job, board, device=None, downgrade=False)
    with pytest.raises(RefusedError, match="state has format 2"):
        check(job, board, device=None, downgrade=True)


def test_another_board_that_is_allowed_is_no_downgrade(job):
    with pytest.raises(RefusedError, match="the board has had 3"):
        check(job, Board("another", header(3)), device=None, downgrade=False, other=True)
