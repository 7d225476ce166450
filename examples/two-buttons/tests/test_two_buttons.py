"""The counter: what its display shows, and its lamp."""


def test_up_and_down(board):
    board.assert_screen("zero")
    for _ in range(2):
        board.press_part("up")
    board.assert_screen("two")
    for _ in range(3):
        board.press_part("down")
    board.assert_screen("minus one")
    assert board.part("negative").lit


def test_both_at_once_change_nothing(board):
    before = board.screen().sha256()
    board.do("up", "down")
    board.do("down", "down")
    board.pass_time(1)
    assert board.screen().sha256() == before


def test_the_count_is_gone_without_power(board):
    board.press_part("up")
    board.pull_cell()
    board.insert_cell()
    board.pass_time(0.1)
    board.assert_screen("zero")
