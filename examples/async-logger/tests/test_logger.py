"""The logger: what it says, what it keeps, and that its tasks do not hold one another up."""


def said(board):
    return board.part("desk").received.decode().split()


def test_it_reports_every_two_seconds(board):
    board.pass_time(5)
    assert said(board) == ["before=", "t=21.5", "t=21.5", "t=21.5"]
    board.do("air", "set", -4.5)
    board.pass_time(2)
    assert said(board)[-1] == "t=-4.5"


def test_the_lamp_blinks_meanwhile(board):
    before = board.part("alive").changes
    board.pass_time(10)
    assert board.part("alive").changes - before == 20


def test_the_last_one_is_there_after_a_power_cut(board):
    board.pass_time(1)
    board.pull_cell()
    board.insert_cell()
    board.pass_time(1)
    assert said(board)[-2:] == ["before=21.5", "t=21.5"]
