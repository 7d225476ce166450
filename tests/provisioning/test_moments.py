"""Ends of loans as people write them, across changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.common.errors import BadInputError
from tallystick.common.moments import (
    SHORT_NAMES,
    LocalTime,
    how_long,
    in_words,
    parse_moment,
    parse_past,
)

OSLO = ZoneInfo("Europe/Oslo")


def here(now: str, zone: ZoneInfo = OSLO) -> LocalTime:
    moment = datetime.fromisoformat(now)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
    return LocalTime(moment.timestamp(), zone, time(18))


def end_of(text: str, now: str, zone: ZoneInfo = OSLO, language: str = "en") -> str:
    found = parse_moment(text, here(now, zone), language)
    assert found is not None
    return datetime.fromtimestamp(found, UTC).astimezone(zone).isoformat(timespec="minutes")


# The first of May 2026 is a Friday.
@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("17:30", "2026-05-01T17:30"),
        ("17.30", "2026-05-01T17:30"),
        ("5pm", "2026-05-01T17:00"),
        ("5 PM", "2026-05-01T17:00"),
        ("5.30 p.m.", "2026-05-01T17:30"),
        ("12am", "2026-05-02T00:00"),
        ("noon tomorrow", "2026-05-02T12:00"),
        ("9:00", "2026-05-02T09:00"),
        ("90m", "2026-05-01T13:30"),
        ("90 minutes", "2026-05-01T13:30"),
        ("1h30", "2026-05-01T13:30"),
        ("1 h 30 min", "2026-05-01T13:30"),
        ("3h", "2026-05-01T15:00"),
        ("in 2 days", "2026-05-03T12:00"),
        ("1w", "2026-05-08T12:00"),
        ("today", "2026-05-01T18:00"),
        ("Tomorrow", "2026-05-02T18:00"),
        ("tomorrow 9:15", "2026-05-02T09:15"),
        ("9.15 tomorrow", "2026-05-02T09:15"),
        ("until Monday", "2026-05-04T18:00"),
        ("mon at 8am", "2026-05-04T08:00"),
        ("17:30 on Monday", "2026-05-04T17:30"),
        ("Friday", "2026-05-08T18:00"),
        ("5.6.", "2026-06-05T18:00"),
        ("5 June 17:30", "2026-06-05T17:30"),
        ("June 5, 5pm", "2026-06-05T17:00"),
        ("1 Feb", "2027-02-01T18:00"),
        ("2026-06-01", "2026-06-01T18:00"),
        ("2026-06-01 8am", "2026-06-01T08:00"),
        ("2026-06-01T08:00", "2026-06-01T08:00"),
        ("2026-06-01T06:00Z", "2026-06-01T08:00"),
        ("Sun 3 May, 5pm", "2026-05-03T17:00"),
        ("Sunday, May 3", "2026-05-03T18:00"),
        ("17:30 Sun 3.5.", "2026-05-03T17:30"),
    ],
)
def test_as_people_write_them(text, end):
    assert end_of(text, "2026-05-01T12:00").startswith(end)


# The first of May 2026 is a Friday.
@pytest.mark.parametrize(
    ("language", "text", "end"),
    [
        ("de", "heute", "01T18:00"),
        ("de", "Morgen", "02T18:00"),
        ("de", "morgen um 9 Uhr", "02T09:00"),
        ("de", "übermorgen", "03T18:00"),
        ("de", "übermorgen, 8.30 Uhr", "03T08:30"),
        ("de", "17 Uhr", "01T17:00"),
        ("de", "17 Uhr 30", "01T17:30"),
        ("de", "bis Montag", "04T18:00"),
        ("de", "am Mo. um 8:15", "04T08:15"),
        ("de", "Di", "05T18:00"),
        ("de", "nächsten Mittwoch 17.30 Uhr", "06T17:30"),
        ("de", "So 3. Mai 17:30", "03T17:30"),
        ("de", "in 2 Tagen", "03T12:00"),
        ("de", "3 Std.", "01T15:00"),
        ("de", "3h", "01T15:00"),
        ("de", "90 Minuten", "01T13:30"),
        ("de", "1 Woche", "08T12:00"),
        ("de", "Mittag", "02T12:00"),
        ("de", "monday", "04T18:00"),
        ("de", "tomorrow 5pm", "02T17:00"),
        ("de", "2026-05-04T08:00", "04T08:00"),
        ("de", "2026-05-04 8 Uhr", "04T08:00"),
        ("fr", "aujourd’hui", "01T18:00"),
        ("fr", "demain", "02T18:00"),
        ("fr", "demain à 9 h", "02T09:00"),
        ("fr", "demain 17h", "02T17:00"),
        ("fr", "demain 17h30", "02T17:30"),
        ("fr", "après-demain", "03T18:00"),
        ("fr", "17h30", "01T17:30"),
        ("fr", "à 17h", "01T17:00"),
        ("fr", "3h", "01T15:00"),
        ("fr", "3h30", "01T15:30"),
        ("fr", "dans 17 h", "02T05:00"),
        ("fr", "jusqu’à lundi", "04T18:00"),
        ("fr", "mar. 17:30", "05T17:30"),
        ("fr", "lundi prochain à 8h", "04T08:00"),
        ("fr", "dim. 3 mai 17:30", "03T17:30"),
        ("fr", "dimanche 3 mai à 17 h", "03T17:00"),
        ("fr", "2 jours", "03T12:00"),
        ("fr", "2 j", "03T12:00"),
        ("fr", "une heure", None),
        ("es", "hoy", "01T18:00"),
        ("es", "mañana", "02T18:00"),
        ("es", "mañana a las 9", "02T09:00"),
        ("es", "pasado mañana", "03T18:00"),
        ("es", "a las 17:30", "01T17:30"),
        ("es", "a las 5 de la tarde", "01T17:00"),
        ("es", "hasta el lunes", "04T18:00"),
        ("es", "mar 17:30", "05T17:30"),
        ("es", "miércoles", "06T18:00"),
        ("es", "el lunes que viene", "04T18:00"),
        ("es", "domingo 3 de mayo de 2026", "03T18:00"),
        ("es", "dentro de 3 horas", "01T15:00"),
        ("es", "2 días", "03T12:00"),
        ("es", "17h", None),
        ("fr", "17h", None),
        ("fr", "mañana", None),
        ("de", "demain", None),
        ("en", "morgen", None),
        ("nb", "tomorrow", "02T18:00"),
        ("de", "Fr", "08T18:00"),
        ("de", "ma", None),
        ("de", "24 Uhr", None),
    ],
)
def test_in_the_words_of_other_languages(language, text, end):
    if end is None:
        with pytest.raises(BadInputError):
            end_of(text, "2026-05-01T12:00", language=language)
    else:
        found = end_of(text, "2026-05-01T12:00", language=language)
        assert found.startswith(f"2026-05-{end}"), found


@pytest.mark.parametrize("language", ["de", "fr", "es"])
@pytest.mark.parametrize("month", range(1, 13))
def test_months_and_days_of_other_languages(language, month):
    place = here("2026-01-01T00:00")
    for day in range(1, 8):
        moment = datetime(2026, month, day, 17, 30, tzinfo=OSLO)
        shown = in_words(moment.timestamp(), OSLO, language)
        assert parse_moment(shown, place, language) == moment.timestamp(), shown


@pytest.mark.parametrize(
    "text",
    ["17", "25:00", "13pm", "0pm", "5/6", "31.2.", "tomorrow-ish", "0m", "2x", "h", "mo nday",
     "t", "17:30 tomorrow tomorrow", "2026-13-01", "monday 9", "17:61", "17h30", "-3h", "5 pm pm"],
)  # fmt: skip
def test_what_could_mean_two_things_or_none_is_refused(text):
    with pytest.raises(BadInputError) as refused:
        parse_moment(text, here("2026-05-01T12:00"))
    assert "17:30" in refused.value.todo and refused.value.kept == "Nothing was changed."


@pytest.mark.parametrize("text", ["", " ", "day"])
def test_the_firms_day_is_the_servers_to_say(text):
    assert parse_moment(text, here("2026-05-01T12:00")) is None


@pytest.mark.parametrize(
    ("text", "now", "end"),
    [
        # The night to 25 October 2026 the clocks go back, to 28 March 2027 forward.
        ("17:30", "2026-10-25T01:00+02:00", "2026-10-25T17:30+01:00"),
        ("17:30", "2026-10-25T00:30+02:00", "2026-10-25T17:30+01:00"),
        ("tomorrow 17:30", "2026-10-24T12:00+02:00", "2026-10-25T17:30+01:00"),
        ("Sunday", "2026-10-23T12:00+02:00", "2026-10-25T18:00+01:00"),
        ("2d", "2026-10-24T12:00+02:00", "2026-10-26T12:00+01:00"),
        ("24h", "2026-10-24T12:00+02:00", "2026-10-25T11:00+01:00"),
        ("2026-07-01T17:30", "2026-03-01T12:00+01:00", "2026-07-01T17:30+02:00"),
        ("17:30", "2027-03-28T01:30+01:00", "2027-03-28T17:30+02:00"),
        ("2:30", "2026-10-24T22:00+02:00", "2026-10-25T02:30+02:00"),
        ("2:30 CET", "2026-10-24T22:00+02:00", "2026-10-25T02:30+01:00"),
        ("2:30", "2026-10-25T02:45+02:00", "2026-10-26T02:30+01:00"),
    ],
)
def test_over_a_change_of_the_clock(text, now, end):
    assert end_of(text, now) == end


def test_a_time_that_the_clock_skips():
    with pytest.raises(BadInputError, match="no 02:30 on Sun 28 Mar 2027"):
        parse_moment("2027-03-28 2:30", here("2027-03-27T12:00"))
    with pytest.raises(BadInputError, match="not CET"):
        parse_moment("17:30 CET", here("2026-05-01T12:00"))


def test_weekday_and_zone_are_shown():
    winter = datetime(2026, 10, 25, 17, 30, tzinfo=OSLO).timestamp()
    assert in_words(winter, OSLO) == "Sun 25 Oct 2026 17:30 CET"
    assert in_words(winter, ZoneInfo("America/Sao_Paulo")) == "Sun 25 Oct 2026 13:30 UTC-03"


@given(
    st.integers(1_577_880_000, 2_050_000_000),
    st.sampled_from(["Europe/Lisbon", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    st.sampled_from(["en", "de", "fr", "es"]),
)
def test_what_is_shown_can_be_typed_again(moment, zone, language):
    place = LocalTime(1_777_629_600, ZoneInfo(zone), time(18))
    minute = moment // 60 * 60
    shown = in_words(minute, place.zone, language)
    assert parse_moment(shown, place, language) == minute


def test_a_date_that_is_another_weekday_is_refused():
    with pytest.raises(BadInputError, match="is no end of a loan"):
        parse_moment("Mon 3 May 2026", here("2026-05-01T12:00"))  # a Sunday


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (20, "0 minutes"),
        (60, "1 minute"),
        (5400, "1 h 30 min"),
        (7200, "2 h"),
        (200_000, "2 days 7 h"),
    ],
)
def test_lengths_in_words(seconds, words):
    assert how_long(seconds) == words


@given(
    st.integers(1_577_880_000, 2_050_000_000),
    st.sampled_from(["Europe/Oslo", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu",
                     "Africa/Casablanca", "America/St_Johns", "UTC"]),
    st.integers(0, 23),
    st.integers(0, 59),
)  # fmt: skip
def test_a_time_of_day_is_that_time_of_day_there(moment, zone, hour, minute):
    """Whatever the zone does in between: the next one, within two days, or said to be skipped."""
    place = LocalTime(moment, ZoneInfo(zone), time(18))
    try:
        end = parse_moment(f"{hour}:{minute:02}", place)
    except BadInputError as error:
        assert "put forward" in error.what
        return
    assert end is not None
    local = datetime.fromtimestamp(end, ZoneInfo(zone))
    assert (local.hour, local.minute) == (hour, minute)
    assert timedelta(0) < timedelta(seconds=end - place.now) <= timedelta(hours=49)


@given(st.text(max_size=24))
def test_no_text_does_worse_than_to_be_refused(text):
    try:
        parse_moment(text, here("2026-05-01T12:00"))
    except BadInputError as error:
        assert error.todo


BEIRUT, APIA = ZoneInfo("Asia/Beirut"), ZoneInfo("Pacific/Apia")


@pytest.mark.parametrize(
    ("said", "end", "meant"),
    [
        ("now", False, "2026-10-25T12:00:00+01:00"),
        ("today", False, "2026-10-25T00:00:00+02:00"),
        ("today", True, "2026-10-26T00:00:00+01:00"),
        ("yesterday 22:00", False, "2026-10-24T22:00:00+02:00"),
        ("Saturday", False, "2026-10-24T00:00:00+02:00"),
        ("Sunday", False, "2026-10-25T00:00:00+02:00"),
        ("Monday 8:00", False, "2026-10-19T08:00:00+02:00"),
        ("2:30", False, "2026-10-25T02:30:00+02:00"),
        ("2:30 CET", False, "2026-10-25T02:30:00+01:00"),
        ("14:00", False, "2026-10-24T14:00:00+02:00"),
        ("12h", False, "2026-10-25T01:00:00+02:00"),
        ("1d", False, "2026-10-24T12:00:00+02:00"),
        ("1 day 2 hours ago", False, "2026-10-24T10:00:00+02:00"),
        ("2026-10-01", False, "2026-10-01T00:00:00+02:00"),
        ("2026-10-01 08:00", False, "2026-10-01T08:00:00+02:00"),
        ("2026-10-01", True, "2026-10-02T00:00:00+02:00"),
        ("24.12.", False, "2025-12-24T00:00:00+01:00"),
    ],
)
def test_moments_of_the_past(said, end, meant):
    oslo = ZoneInfo("Europe/Oslo")
    now = datetime(2026, 10, 25, 12, tzinfo=oslo).timestamp()  # the clocks went back at night
    found = parse_past(said, LocalTime(now, oslo, time(18)), end=end)
    assert datetime.fromtimestamp(found, oslo).isoformat() == meant


@pytest.mark.parametrize("said", ["", "soon", "tomorrow", "25:00", "2026-13-01", "31.2."])
def test_what_is_no_moment_of_the_past(said):
    here = LocalTime(1_800_000_000, ZoneInfo("Europe/Oslo"), time(18))
    with pytest.raises(BadInputError):
        parse_past(said, here)


def test_a_day_that_begins_at_one_and_a_day_that_was_left_out():
    """Beirut skips midnight in spring; Samoa left out 30 December 2011."""
    now = datetime(2026, 3, 29, 12, tzinfo=BEIRUT).timestamp()
    found = parse_past("today", LocalTime(now, BEIRUT, time(18)))
    assert datetime.fromtimestamp(found, BEIRUT).isoformat() == "2026-03-29T01:00:00+03:00"
    now = datetime(2011, 12, 31, 12, tzinfo=APIA).timestamp()
    with pytest.raises(BadInputError):
        parse_past("2011-12-30 12:00", LocalTime(now, APIA, time(18)))
    with pytest.raises(BadInputError):
        parse_moment("2011-12-30 12:00", LocalTime(now, APIA, time(18)))


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", "Sun 25 Oct 2026 17:30 CET"), ("de", "So 25. Okt 2026 17:30 CET"),
     ("fr", "dim. 25 oct. 2026 17:30 CET"), ("nb", "søn. 25. okt 2026 17:30 CET")],
)  # fmt: skip
def test_a_moment_in_each_language_whatever_the_locale(language, words):
    moment = datetime(2026, 10, 25, 17, 30, tzinfo=ZoneInfo("Europe/Oslo")).timestamp()
    assert in_words(moment, ZoneInfo("Europe/Oslo"), language) == words


def test_every_day_and_month_has_a_name_in_each_language():
    for language, (days, months) in SHORT_NAMES.items():
        assert (len(days.split()), len(months.split())) == (7, 12), language
