"""The press counter: what a person sees, what survives, and what a press costs."""

BUDGET_UAH = 0.3  # for one press: the cell must last four years of ten presses a day


def test_every_press_counts_one(blank_card):
    for number in ("one", "two", "three"):
        blank_card.press()
        blank_card.assert_screen(number)
        blank_card.wait_dark()


def test_a_long_press_starts_anew(blank_card):
    blank_card.press()
    blank_card.wait_dark()
    blank_card.hold()
    blank_card.assert_screen("zero")


def test_the_count_is_lost_with_the_cell(blank_card):
    for _ in range(2):
        blank_card.press()
        blank_card.wait_dark()
    blank_card.pull_cell()
    blank_card.insert_cell()
    blank_card.press()
    blank_card.assert_screen("one")


def test_a_press_keeps_within_its_budget(blank_card):
    before = blank_card.device.cell.drawn_uah
    blank_card.press()
    blank_card.wait_dark()
    used = blank_card.device.cell.drawn_uah - before
    assert used < BUDGET_UAH, f"a press takes {used:.3f} µAh, its budget is {BUDGET_UAH} µAh"
