"""The calendar: `time.localtime` and `mktime`, `machine.RTC`."""

import time

import link
import machine

_DAYS = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)
_DAY = 86400


def _leap(year):
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _days_before(year):
    year -= 1
    return year * 365 + year // 4 - year // 100 + year // 400


def gmtime(seconds=None):
    if seconds is None:
        seconds = time.time()
    if machine.closed_write and _whole(seconds) < 0:  # an RP2
        raise OverflowError("overflow converting long int to machine word")
    days, rest = divmod(_whole(seconds), _DAY)
    days += _days_before(time.epoch_year)
    year = days // 366 + 1
    while _days_before(year + 1) <= days:
        year += 1
    yearday = days - _days_before(year) + 1
    month = 12
    while yearday <= _before(year, month):
        month -= 1
    day = yearday - _before(year, month)
    clock = (rest // 3600, rest // 60 % 60, rest % 60)
    return (year, month, day) + clock + (days % 7, yearday)


def _before(year, month):
    return _DAYS[month - 1] + (1 if month > 2 and _leap(year) else 0)


localtime = gmtime


def _whole(value):
    if not isinstance(value, int):
        raise TypeError("can't convert %s to int" % type(value).__name__)
    return value


def _items(parts):
    if not isinstance(parts, (tuple, list)):
        raise TypeError("object '%s' isn't a tuple or list" % type(parts).__name__)
    return parts


def mktime(parts):
    if not 8 <= len(_items(parts)) <= 9:
        raise TypeError("mktime needs a tuple of length 8 or 9 (%d given)" % len(parts))
    return _seconds(*[_whole(part) for part in parts[:6]])


def _seconds(year, month, day, hour, minute, second):
    year += (month - 1) // 12
    month = (month - 1) % 12 + 1
    days = _days_before(year) - _days_before(time.epoch_year) + _before(year, month) + day - 1
    return ((days * 24 + hour) * 60 + minute) * 60 + second


class RTC:
    def __init__(self):
        pass  # takes nothing

    def __repr__(self):
        return "<RTC>"

    def datetime(self, parts=None):
        if parts is None:
            y, m, d, hour, minute, second, weekday, _ = gmtime()
            return (y, m, d, weekday + machine.first_weekday, hour, minute, second, 0)
        if len(_items(parts)) != 8:
            raise ValueError("requested length 8 but object has length %d" % len(parts))
        y, m, d, _, hour, minute, second = [_whole(part) for part in parts[:7]]
        now = _seconds(y, m, d, hour, minute, second)
        time.epoch_s = now - link.now_us() // 1000000
