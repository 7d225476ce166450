"""What a week at the desk brings: drifted, flat and broken cards, misspelt names, ends of loans,
what borrowers are told, and what is known afterwards."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest

from tallystick.server.accounts.policy import FirmPolicy
from tallystick.server.loans.holding import end_of_day
from tallystick.server.loans.reminders import remind
from tallystick.server.loans.undo import UNDO_S
from tallystick.server.serving.running import add_credential
from tallystick.server.store.opened import opened
from tests.server.portal_driver import Browser, Portal
from tests.server.test_desk import OTHER, OWN, SPARE, Desk, refused

OSLO = ZoneInfo("Europe/Oslo")


@pytest.fixture
def settings(settings, tmp_path):
    """Messages go to a file."""
    sink = f"file://{tmp_path / 'sent.jsonl'}"
    return replace(settings, sms=sink, smtp=sink)


@pytest.fixture
def desk(server) -> Desk:
    return Desk(server)


@pytest.fixture
def portal(server) -> Portal:
    url = str(server.client.base_url).rstrip("/")
    return Portal(url, server.settings, server.clock, server.folder)


def address(desk: Desk, login: str, email: str) -> None:
    with opened(desk.server.settings) as parts, parts.database.write() as connection:
        connection.exec_driver_sql("UPDATE person SET email = ? WHERE login = ?", (email, login))


def mails(desk: Desk, portal: Portal, count: int) -> list[dict[str, str]]:
    return [mail for mail in portal.messages(count) if mail["to"] == "bob@example.com"]


@pytest.mark.parametrize("presses", [15, 40, 200, 900])
def test_a_drifted_card_is_found_again_and_the_presses_are_told(desk, presses):
    error = refused(desk.lend(factor=presses), "card-drifted")
    assert f"pressed about {presses} times" in error["what"]
    codes = [desk.code(SPARE, presses), desk.code(SPARE, presses + 1)]
    answer = desk.post(SPARE, "resynchronisation", codes=codes).json()
    assert (answer["skipped"], answer["moving_factor"]) == (presses, presses + 2)
    (entry, *_) = desk.call("GET", f"/cards/{SPARE}/history").json()["entries"]
    assert (entry["act"], entry["detail"]) == ("card-resynchronised", {"skipped": presses})
    assert desk.lend(factor=presses + 2).status_code == 200


def test_two_codes_do_any_act_at_once(desk):
    codes = [desk.code(SPARE, 200), desk.code(SPARE, 201)]
    assert desk.post(SPARE, "loan", user="bob", codes=codes).json()["skipped"] == 200


def test_the_administrator_says_how_far(desk, portal):
    portal.policy(desk_resync_window=20, resync_window=20)
    refused(desk.lend(factor=40), "wrong-code")
    portal.policy(desk_resync_window=100)
    refused(desk.lend(factor=40), "card-drifted")
    assert desk.call("GET", "/desk").json()["resync_window"] == 100


def test_users_are_searched_for_no_further_than_before(desk, server):
    """The wide window is for a card in the hand of staff."""
    assert server.reason(desk.code(OWN, 200), user="bob") == "wrong"


def test_a_flat_card_comes_back_with_a_reason(desk, portal):
    address(desk, "bob", "bob@example.com")
    desk.lend()
    refused(desk.post(SPARE, "return"), "code-needed", 422)
    refused(desk.post(SPARE, "return", reason="  "), "invalid-request", 422)
    back = desk.post(SPARE, "return", reason="flat: its display stays dark")
    assert back.status_code == 200 and back.json()["user"] is None
    (entry, *_) = desk.call("GET", f"/cards/{SPARE}/history").json()["entries"]
    assert entry["act"] == "card-returned" and entry["actor"] == "ann at the desk"
    assert entry["detail"]["without_code"] == "flat: its display stays dark"
    assert entry["detail"]["of"] == "bob"
    desk.server.clock.advance(UNDO_S)
    assert any("without a code of it (flat" in mail["text"] for mail in mails(desk, portal, 2))


def test_a_broken_card_is_retired_with_a_reason(desk):
    gone = desk.post(OTHER, "retirement", reason="button broken")
    assert gone.json()["status"] == "retired"
    (entry, *_) = desk.call("GET", f"/cards/{OTHER}/history").json()["entries"]
    assert entry["detail"] == {"without_code": "button broken"}


def test_without_a_code_no_more_often_than_policy_says(desk, portal):
    portal.policy(desk_without_code_per_day=1)
    desk.lend()
    assert desk.post(SPARE, "return", reason="flat").status_code == 200
    refused(desk.post(OTHER, "retirement", reason="broken"), "too-many", 429)
    colleague = add_credential(desk.server.settings, "desk", "eve at the desk")
    desk.lend(OTHER)
    back = desk.call("POST", f"/cards/{OTHER}/return", {"reason": "flat"}, colleague)
    assert back.status_code == 200  # each for herself: one does not use up another's
    portal.policy(desk_without_code_per_day=0)
    refused(desk.post(OTHER, "retirement", reason="broken"), "code-needed", 403)
    admin = desk.server.admin
    assert desk.call("POST", f"/cards/{OTHER}/retirement", {"reason": "old"}, admin).is_success


def test_a_reason_lends_nothing(desk):
    body = {"user": "bob", "reason": "flat"}
    refused(desk.call("POST", f"/cards/{SPARE}/loan", body), "invalid-request", 422)
    refused(desk.call("POST", f"/cards/{SPARE}/assignment", body), "invalid-request", 422)


@pytest.mark.parametrize(
    ("typed", "near"),
    [("bpb", "bob"), ("bob.smiht", "bob.smith"), ("Bobb", "bob"), ("smith", "bob.smith"),
     ("ob", "bob"), ("Zoë.Öberg", "zoë.öberg2")],
)  # fmt: skip
def test_a_misspelt_name_is_refused_with_the_nearest(desk, typed, near):
    for login in ("bob.smith", "zoë.öberg2", "unlike"):
        desk.server.card(f"C{len(login)}", user=login)
    for answer in (
        desk.lend(user=typed),
        desk.post(SPARE, "assignment", user=typed, codes=[desk.code(SPARE, 0)]),
        desk.call("GET", f"/person?login={quote(typed)}"),
    ):
        error = refused(answer, "no-such-user", 404)
        assert typed in error["what"] and near in error["todo"], error
        assert "unlike" not in error["todo"]
    assert desk.shown(SPARE)["moving_factor"] == 0


@pytest.mark.parametrize("typed", ["%", "_", "\\", "qqqq", "x" * 255])
def test_a_name_like_no_other(desk, typed):
    assert refused(desk.lend(user=typed), "no-such-user", 404)["todo"] == "Check the login name."


def test_a_card_is_assigned_for_good_at_the_desk(desk):
    answer = desk.post(SPARE, "assignment", user="bob", codes=[desk.code(SPARE, 0)])
    assert (answer.json()["user"], answer.json()["loan_until"]) == ("bob", None)
    refused(desk.post(OTHER, "assignment", user="bob"), "code-needed", 422)


def test_people_are_found_by_name_and_address(desk):
    address(desk, "bob", "robert.q@example.com")
    for text in ("BO", "robert", "q@ex"):
        found = desk.call("GET", f"/people?q={text}").json()["people"]
        assert [one["login"] for one in found] == ["bob"]
    assert desk.where(q="robert") == [OWN]


def test_a_person_with_what_she_has_and_had(desk):
    desk.lend()
    desk.post(SPARE, "return", codes=[desk.code(SPARE, 1)])
    desk.post(OTHER, "loan", user="bob", codes=[desk.code(OTHER, 0)])
    bob = desk.call("GET", "/person?login=bob").json()
    assert [card["serial"] for card in bob["cards"]] == [OWN, OTHER]
    acts = [(entry["act"], entry["card"]) for entry in bob["entries"]]
    assert acts[:3] == [("card-lent", OTHER), ("card-returned", SPARE), ("card-lent", SPARE)]


def test_names_that_contain_one_another_have_histories_of_their_own(desk):
    desk.server.card("B2", user="bob2")
    desk.server.card("B3", user="b_b")
    assert [one["card"] for one in desk.call("GET", "/person?login=b_b").json()["entries"]] == [
        "B3"
    ]
    assert [one["card"] for one in desk.call("GET", "/person?login=bob").json()["entries"]] == [OWN]


def test_a_card_and_all_that_became_of_it(desk):
    desk.lend()
    desk.post(SPARE, "replacement", by=OTHER, codes=[desk.code(OTHER, 0)])
    acts = [one["act"] for one in desk.call("GET", f"/cards/{SPARE}/history").json()["entries"]]
    assert acts == ["card-replaced", "card-lost", "card-lent", "card-registered"]
    (newest, *_) = desk.call("GET", f"/cards/{OTHER}/history").json()["entries"]
    assert newest["act"] == "card-lent" and newest["detail"]["for"] == SPARE
    shown = desk.call("GET", f"/cards/{SPARE}/history")
    assert "from" not in shown.text and "browser" not in shown.text


def test_terms_and_counts(desk):
    desk.lend()
    terms = desk.call("GET", "/desk").json()
    assert terms["counts"] == {
        "pool": 1, "lent": 1, "overdue": 0, "assigned": 1, "lost": 0, "retired": 0
    }  # fmt: skip
    assert terms["time_zone"] == "UTC" and terms["day_end"] > terms["now"]


def test_just_before_the_days_end_the_next_is_meant():
    policy = FirmPolicy(time_zone="Europe/Oslo", day_ends="18:00")

    def end(text: str) -> str:
        now = datetime.fromisoformat(text).replace(tzinfo=OSLO).timestamp()
        return datetime.fromtimestamp(end_of_day(policy, now), OSLO).isoformat(timespec="minutes")

    assert end("2026-10-23T17:00") == "2026-10-23T18:00+02:00"
    assert end("2026-10-23T17:59") == "2026-10-24T18:00+02:00"
    assert end("2026-10-24T17:45") == "2026-10-25T18:00+01:00"  # the clocks go back that night


def test_a_loan_that_is_refused_says_what_is_allowed(desk, portal):
    error = refused(desk.lend(until=int(desk.server.clock.now) + 400 * 3600), "bad-loan", 422)
    assert "further off than a loan may last" in error["what"] and "UTC" in error["todo"]
    assert "7 days" in error["todo"]
    assert "over already" in refused(desk.lend(until=1), "bad-loan", 422)["what"]
    portal.policy(time_zone="Asia/Tokyo")
    error = refused(desk.lend(until=int(desk.server.clock.now) - 1), "bad-loan", 422)
    assert "JST is over already" in error["what"] and "JST (" in error["todo"]


def test_two_days_are_a_loan(desk):
    assert desk.lend(until=int(desk.server.clock.now) + 2 * 86400).status_code == 200


def test_what_the_borrower_is_told(desk, portal):
    """When lent: until when, how it is used, where it comes back. Then before its end, once; and
    when it is over, once."""
    portal.policy(time_zone="Europe/Oslo", desk_contact="Help desk, room 12")
    address(desk, "bob", "bob@example.com")
    clock, settings = desk.server.clock, desk.server.settings
    desk.lend(until=int(clock.now) + 3 * 3600)

    def look() -> int:
        with opened(settings) as parts:
            return remind(parts.database, parts.ring, clock.now)

    clock.advance(UNDO_S)  # it could be undone until now
    (lent,) = mails(desk, portal, 1)
    assert f"Card {SPARE} is lent to you until " in lent["subject"] and "CE" in lent["subject"]
    for words in ("press the button", "back before then: Help desk, room 12", "verifies nothing"):
        assert words in lent["text"]
    assert look() == 0
    clock.advance(2 * 3600 + 60 - UNDO_S)
    assert (look(), look()) == (1, 0)
    clock.advance(3600)
    assert (look(), look()) == (1, 0)
    _, soon, late = mails(desk, portal, 3)
    assert soon["subject"].startswith(f"Bring card {SPARE} back until ")
    assert "CE" in soon["text"] and "Help desk, room 12" in soon["text"]
    assert late["subject"] == f"Card {SPARE} is overdue"
    desk.post(SPARE, "return", codes=[desk.code(SPARE, 1)])
    assert look() == 0


def test_a_short_loan_is_not_reminded_of_at_once_and_a_returned_one_never(desk, portal):
    address(desk, "bob", "bob@example.com")
    clock = desk.server.clock
    desk.lend(until=int(clock.now) + 30 * 60)
    with opened(desk.server.settings) as parts:
        clock.advance(60)
        assert remind(parts.database, parts.ring, clock.now) == 0
        clock.advance(3600)
        desk.post(SPARE, "return", codes=[desk.code(SPARE, 1)])
        assert remind(parts.database, parts.ring, clock.now) == 0


def test_nobody_is_reminded_of_a_card_that_is_lost(desk, portal):
    """She has said so: that it is to come back is no news to her."""
    address(desk, "bob", "bob@example.com")
    clock = desk.server.clock
    desk.lend(until=int(clock.now) + 3 * 3600)
    desk.call("PUT", f"/cards/{SPARE}/status", {"status": "lost"})
    with opened(desk.server.settings) as parts:
        for hours in (2.5, 1):
            clock.advance(hours * 3600)
            assert remind(parts.database, parts.ring, clock.now) == 0
        desk.call("PUT", f"/cards/{SPARE}/status", {"status": "registered"})
        assert remind(parts.database, parts.ring, clock.now) == 1


def test_each_loan_of_the_same_card_is_reminded_of(desk, portal):
    address(desk, "bob", "bob@example.com")
    clock = desk.server.clock
    with opened(desk.server.settings) as parts:
        for loan in range(2):
            desk.lend(until=int(clock.now) + 3 * 3600, factor=2 * loan)
            for hours in (2.5, 1):  # before the end, and after it
                clock.advance(hours * 3600)
                assert remind(parts.database, parts.ring, clock.now) == 1, (loan, hours)
            desk.post(SPARE, "return", codes=[desk.code(SPARE, 2 * loan + 1)])


def test_a_server_that_was_down_tells_late_but_not_of_last_month(desk, portal):
    address(desk, "bob", "bob@example.com")
    clock = desk.server.clock
    desk.lend(until=int(clock.now) + 2 * 3600)
    clock.advance(3 * 3600)  # down for the reminder and the end
    with opened(desk.server.settings) as parts:
        assert remind(parts.database, parts.ring, clock.now) == 1
    _, late = mails(desk, portal, 2)
    assert "overdue" in late["subject"]


def test_who_has_only_a_telephone_gets_an_sms(desk, portal):
    from tallystick.server.accounts import factors
    from tallystick.server.accounts.policy import MethodKind

    with opened(desk.server.settings) as parts, parts.database.write() as connection:
        bob = connection.exec_driver_sql("SELECT id FROM person WHERE login = 'bob'").scalar()
        made = factors.create(
            connection, parts.ring, firm_id=1, person_id=bob, kind=MethodKind.SMS, label="",
            facts={}, secret=b"+4712345678", now=0,
        )  # fmt: skip
        factors.confirm(connection, bob, made, 0)
    desk.lend()
    desk.server.clock.advance(UNDO_S)
    (sms,) = portal.messages(1)
    assert sms["to"] == "+4712345678" and SPARE in sms["text"] and len(sms["text"]) < 160


@pytest.fixture
def boss(portal, desk):
    yield portal.staff("boss", "administrator")
    Browser.close_all()


def test_the_portal_retires_nothing_by_one_click(desk, boss):
    boss.get("/cards")
    for form, words in (
        ({}, "was not confirmed"),
        ({"confirm": OTHER, "code": desk.code(SPARE, 0)}, "was not confirmed"),
        ({"confirm": SPARE}, "needs a code"),
        ({"confirm": SPARE, "code": "000000"}, "is not one of card"),
    ):
        boss.post(f"/cards/{SPARE}/retire", **form)
        assert boss.page.status_code in (409, 422) and words in boss.page.text
        assert desk.shown(SPARE)["status"] == "registered"
    boss.post(f"/cards/{SPARE}/retire", confirm=SPARE, code=desk.code(SPARE, 0))
    assert desk.shown(SPARE)["status"] == "retired"
    boss.post(f"/cards/{OTHER}/retire", confirm=OTHER, reason="run over")
    (entry, *_) = desk.call("GET", f"/cards/{OTHER}/history").json()["entries"]
    assert entry["actor"] == "boss" and entry["detail"]["without_code"] == "run over"


def test_the_portal_takes_nothing_back_without_code_or_reason(desk, boss):
    desk.lend()
    boss.get("/cards").post(f"/cards/{SPARE}/take-back")
    assert "needs a code" in boss.page.text and desk.shown(SPARE)["user"] == "bob"
    boss.post(f"/cards/{SPARE}/take-back", code=desk.code(SPARE, 1))
    assert "free again" in boss.page.text and desk.shown(SPARE)["user"] is None
    boss.post(f"/cards/{OWN}/take-back", code=desk.code(OWN, 0))
    assert desk.shown(OWN)["user"] is None


def test_the_portal_lends_until_an_end_as_people_write_it(desk, boss, portal):
    portal.policy(time_zone="Europe/Oslo")
    boss.get("/cards")
    boss.post(f"/cards/{SPARE}/lend", user="bob", code=desk.code(SPARE, 0), until="17")
    assert "is no end of a loan" in boss.page.text and desk.shown(SPARE)["user"] is None
    boss.post(f"/cards/{SPARE}/lend", user="bob", code=desk.code(SPARE, 0), until="tomorrow 5pm")
    end = datetime.fromtimestamp(desk.shown(SPARE)["loan_until"], OSLO)
    assert (end.hour, end.minute) == (17, 0)
    assert f"is lent until {end:%a} {end.day} {end:%b %Y} 17:00" in boss.page.text


@pytest.mark.parametrize(
    ("language", "words", "wrong", "said"),
    [
        ("de", "morgen um 17 Uhr", "irgendwann", "ist kein Ende einer Leihe"),
        ("fr", "demain à 17h", "un jour", "pas la fin d’un prêt"),
        ("es", "mañana a las 17", "algún día", "no es el final de un préstamo"),
    ],
)
def test_an_end_in_the_words_of_the_page(desk, boss, portal, language, words, wrong, said):
    portal.policy(time_zone="Europe/Oslo")
    boss.get("/cards").post("/language", language=language, next="/p/default/cards")
    boss.post(f"/cards/{SPARE}/lend", user="bob", code=desk.code(SPARE, 0), until=wrong)
    assert boss.page.status_code == 422 and said in boss.page.text
    for odd in ("2027-03-28 2:30", "17:30 PST"):
        boss.post(f"/cards/{SPARE}/lend", user="bob", code=desk.code(SPARE, 0), until=odd)
        assert boss.page.status_code == 422 and odd in boss.problem
    boss.post(f"/cards/{SPARE}/lend", user="bob", code=desk.code(SPARE, 0), until=words)
    end = datetime.fromtimestamp(desk.shown(SPARE)["loan_until"], OSLO)
    assert (end.hour, end.minute) == (17, 0) and end.timestamp() > desk.server.clock() + 3600
    hint = {"de": "Montag", "fr": "lundi", "es": "lunes"}[language]
    assert hint in boss.post(f"/cards/{SPARE}/take-back", reason="x").page.text


def test_the_portal_names_the_nearest_too(desk, boss):
    boss.get("/cards").post(f"/cards/{SPARE}/lend", user="bbo", code=desk.code(SPARE, 0))
    assert "Did you mean bob?" in boss.page.text


def test_a_mail_is_in_the_firms_languages_with_its_name(desk, portal):
    portal.policy(
        display_name="Nord & Søn AG", languages=["de", "nb"], time_zone="Europe/Oslo",
        desk_contact="Raum 12",
    )  # fmt: skip
    address(desk, "bob", "bob@example.com")
    desk.lend()
    desk.server.clock.advance(UNDO_S)
    (mail,) = mails(desk, portal, 1)
    assert mail["subject"].startswith(f"Karte {SPARE} ist Ihnen bis ") and "CET" in mail["subject"]
    german, norwegian = mail["text"].split("– – –")
    assert "drücken Sie die Taste" in german and "trykker du på knappen" in norwegian
    assert german.strip().endswith("Nord & Søn AG") and "default" not in mail["text"]
    assert "None" not in mail["text"] and "{" not in mail["text"]


def test_whoever_has_cards_made_is_told_once_a_day_that_they_run_out(desk, portal):
    portal.policy(desk_pool_minimum=2, desk_pool_notice_to="stock@example.com")
    clock = desk.server.clock

    def look() -> int:
        with opened(desk.server.settings) as parts:
            return remind(parts.database, parts.ring, clock.now)

    assert look() == 0  # two are there
    desk.lend(until=int(clock.now) + 6 * 86400)
    assert (look(), look()) == (1, 0)
    clock.advance(86400)
    assert (look(), look()) == (1, 0)
    told = [one for one in portal.messages(2) if one["to"] == "stock@example.com"]
    assert len(told) == 2 and "1 card is left in the pool" in told[0]["subject"]
    portal.policy(desk_pool_minimum=1)
    clock.advance(86400)
    assert look() == 0
