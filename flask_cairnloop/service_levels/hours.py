"""Business time: how much of it lies between two moments, and when a given amount of it has passed.

Pure. A moment is business time where the clock on the wall shows a time of one of the weekday's intervals and the date
is no holiday. So an hour that comes twice when clocks go back counts twice, and one that is left out when they go
forward does not count: nobody could have worked in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from flask_cairnloop.service_levels.types import BusinessHours, Interval

NONE = timedelta(0)
_DAY = timedelta(days=1)
# No zone is further from UTC than this; some days around a date hold all of its moments.
_FURTHEST = timedelta(hours=16)
_STEP = timedelta(hours=4)  # closer to each other no zone has changed its clocks twice
# So far ahead business time is looked for: hours that do not come within it do not come.
LONGEST = timedelta(days=4 * 366)


def working(hours: BusinessHours | None, start: datetime, end: datetime) -> timedelta:
    """How much business time lies between two moments.

    Args:
        hours: ``None``: all time is.
    """
    if hours is None:
        return max(end - start, NONE)
    return sum((min(closes, end) - max(opens, start) for opens, closes in _open_between(hours, start, end)), NONE)


def after(hours: BusinessHours | None, start: datetime, amount: timedelta) -> datetime | None:
    """The first moment at which so much business time has passed since ``start``.

    Returns:
        ``None`` where so much does not come within :data:`LONGEST`.
    """
    if hours is None:
        return start + amount
    left = amount
    for opens, closes in _open_between(hours, start, start + LONGEST):
        begins = max(opens, start)
        if closes - begins >= left:
            return begins + left
        left -= closes - begins
    return None


def is_open(hours: BusinessHours | None, moment: datetime) -> bool:
    """Whether a moment is business time."""
    if hours is None:
        return True
    local = moment.astimezone(_zone(hours.zone))
    if local.date() in hours.holidays:
        return False
    return any(one.holds(local.time()) for one in hours.week[local.weekday()])


def _open_between(hours: BusinessHours, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The stretches of business time that end after ``start`` and begin before ``end``, in their order."""
    if start >= end:
        return
    day = start.astimezone(_zone(hours.zone)).date()
    last = end.astimezone(_zone(hours.zone)).date()
    while day <= last:
        if day not in hours.holidays:
            for opens, closes in _stretches(hours.zone, day, hours.week[day.weekday()]):
                if closes > start and opens < end:
                    yield opens, closes
        day += _DAY


@lru_cache(maxsize=4096)
def _stretches(zone: str, day: date, intervals: tuple[Interval, ...]) -> tuple[tuple[datetime, datetime], ...]:
    """A day's intervals as moments, those that touch as one."""
    if not intervals:
        return ()
    midnight = datetime.combine(day, time(), UTC)
    found: list[tuple[datetime, datetime]] = []
    for begins, ends, offset in _offsets(zone, midnight - _FURTHEST, midnight + _DAY + _FURTHEST):
        for one in intervals:
            opens, closes = midnight + one.opens_after - offset, midnight + one.closes_after - offset
            opens, closes = max(opens, begins), min(closes, ends)
            if opens < closes:
                found.append((opens, closes))
    return tuple(_joined(sorted(found)))


def _joined(stretches: list[tuple[datetime, datetime]]) -> Iterator[tuple[datetime, datetime]]:
    here: tuple[datetime, datetime] | None = None
    for opens, closes in stretches:
        if here is not None and opens <= here[1]:
            here = (here[0], max(here[1], closes))
            continue
        if here is not None:
            yield here
        here = (opens, closes)
    if here is not None:
        yield here


def _offsets(zone: str, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """How far a zone's clocks are from UTC between two moments: each stretch with one distance."""
    here = start
    while here < end:
        offset, change = _offset(zone, here), here
        while change < end and _offset(zone, change) == offset:
            change = min(change + _STEP, end)
        if _offset(zone, change) != offset:
            change = _first_other(zone, change - _STEP, change, offset)
        yield here, change, offset
        here = change


def _first_other(zone: str, same: datetime, other: datetime, offset: timedelta) -> datetime:
    """The moment at which a zone's clocks change, to the second."""
    while other - same > timedelta(seconds=1):
        middle = same + timedelta(seconds=(other - same) // timedelta(seconds=2))
        if _offset(zone, middle) == offset:
            same = middle
        else:
            other = middle
    return other


def _offset(zone: str, moment: datetime) -> timedelta:
    return moment.astimezone(_zone(zone)).utcoffset() or NONE


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
