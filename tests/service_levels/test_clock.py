"""When a deadline comes: held against a model that walks through time minute by minute."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_cairnloop.errors import InvalidInput
from flask_cairnloop.service_levels.clock import Wait, reckon
from flask_cairnloop.service_levels.hours import after, is_open, working
from flask_cairnloop.service_levels.types import BusinessHours, Interval, Policy, ServiceLevel

MINUTE = timedelta(minutes=1)
# Around these moments: clocks forward and back in both hemispheres, by half an hour, at midnight, and a day that a zone
# left out altogether.
PLACES = [
    ("Europe/Berlin", datetime(2026, 3, 28, 12, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 24, 12, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 7, 20, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 10, 31, 20, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 6, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 4, 23, 12, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 10, 29, 12, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 29, 12, tzinfo=UTC)),
    ("Asia/Kathmandu", datetime(2026, 6, 1, tzinfo=UTC)),
    ("UTC", datetime(2026, 6, 1, tzinfo=UTC)),
]


def walks(hours: BusinessHours, moment: datetime) -> bool:
    """Whether the minute that begins at a moment is business time, by the clock on the wall alone."""
    wall = moment.astimezone(ZoneInfo(hours.zone))
    minute = wall.hour * 60 + wall.minute
    if wall.date() in hours.holidays:
        return False
    return any(
        one.opens.hour * 60 + one.opens.minute <= minute < (one.closes.hour * 60 + one.closes.minute or 24 * 60)
        for one in hours.week[wall.weekday()]
    )


def walked(hours: BusinessHours, start: datetime, end: datetime) -> int:
    minutes, here = 0, start
    while here < end:
        minutes += walks(hours, here)
        here += MINUTE
    return minutes


def walked_deadline(hours: BusinessHours, waits: Sequence[Wait], minutes: int, horizon: datetime) -> datetime | None:
    for begins, ends in waits:
        here = begins
        while here < (ends or horizon):
            minutes -= walks(hours, here)
            here += MINUTE
            if minutes == 0:
                return here
    return None


@st.composite
def days(draw: st.DrawFn) -> tuple[Interval, ...]:
    """Up to three shifts of a day, to the minute, and now and then none."""
    edges = sorted(draw(st.sets(st.integers(0, 1440), min_size=draw(st.sampled_from((0, 2, 4, 6))), max_size=6)))
    pairs = zip(edges[::2], edges[1::2], strict=False)
    return tuple(Interval(time(a // 60, a % 60), time(b // 60 % 24, b % 60)) for a, b in pairs)


@st.composite
def desks(draw: st.DrawFn) -> tuple[BusinessHours, datetime]:
    """Hours, and a moment near which something happens to the zone's clocks."""
    zone, around = draw(st.sampled_from(PLACES))
    week = tuple(draw(st.lists(days(), min_size=7, max_size=7)))
    if not any(week):
        week = ((Interval(time(9), time(17)),), *week[1:])
    start = around + draw(st.integers(0, 1200)) * MINUTE
    near = st.dates(start.date() - timedelta(days=1), start.date() + timedelta(days=2))
    holidays = draw(st.frozensets(near, max_size=2))
    return BusinessHours(zone, week, holidays), start


@settings(max_examples=80, deadline=None)
@given(desks(), st.integers(0, 3 * 1440))
def test_business_time_between_two_moments_is_what_one_counts_by_walking(
    desk: tuple[BusinessHours, datetime], minutes: int
) -> None:
    hours, start = desk
    end = start + minutes * MINUTE
    assert working(hours, start, end) == walked(hours, start, end) * MINUTE
    assert is_open(hours, start) == walks(hours, start)


@settings(max_examples=80, deadline=None)
@given(
    desks(), st.lists(st.tuples(st.integers(0, 400), st.integers(1, 600)), max_size=4), st.integers(1, 2000), st.data()
)
def test_a_deadline_comes_when_one_who_walks_through_the_waits_has_counted_the_target(
    desk: tuple[BusinessHours, datetime], gaps: list[tuple[int, int]], target: int, data: st.DataObject
) -> None:
    hours, here = desk
    waits: list[Wait] = []
    for rest, wait in gaps:
        begins = here + rest * MINUTE
        here = begins + wait * MINUTE
        waits.append((begins, here))
    if waits and data.draw(st.booleans()):
        waits[-1] = (waits[-1][0], None)
    held = [walked(hours, begins, ends) for begins, ends in waits if ends]
    if any(held) and data.draw(st.booleans()):  # used up exactly when a wait ends
        target = sum(held[: data.draw(st.integers(1, len(held)))]) or target
    horizon = here + timedelta(days=4)
    found = reckon(hours, waits, target * MINUTE)
    expected = walked_deadline(hours, waits, target, horizon)
    if expected is None:
        assert found.at is None or found.at > horizon
    else:
        assert found.at == expected
    assert found.remaining == max(target - sum(held), 0) * MINUTE


@settings(max_examples=60, deadline=None)
@given(desks(), desks(), st.integers(1, 900), st.integers(1, 1200))
def test_a_policy_that_changes_in_the_middle_gives_the_deadline_of_one_that_was_always_so(
    before: tuple[BusinessHours, datetime], behind: tuple[BusinessHours, datetime], first: int, second: int
) -> None:
    """What was reckoned by the one before leaves no trace: the waits are kept, and not what was left of a target."""
    hours, start = behind
    waits: list[Wait] = [(start, start + 90 * MINUTE), (start + 200 * MINUTE, None)]
    reckon(before[0], waits, first * MINUTE)
    expected = walked_deadline(hours, waits, second, start + timedelta(days=4))
    found = reckon(hours, waits, second * MINUTE)
    assert found.at == expected if expected else found.at is None or found.at > start + timedelta(days=4)


@settings(max_examples=60, deadline=None)
@given(desks(), st.integers(1, 5000))
def test_the_target_has_passed_at_the_deadline_and_not_a_moment_earlier(
    desk: tuple[BusinessHours, datetime], minutes: int
) -> None:
    hours, start = desk
    at = after(hours, start, minutes * MINUTE)
    assert at is not None
    assert working(hours, start, at) == minutes * MINUTE
    assert working(hours, start, at - timedelta(microseconds=1)) < minutes * MINUTE


def office(zone: str = "Europe/Berlin", *holidays: date) -> BusinessHours:
    return BusinessHours(
        zone,
        ((Interval(time(9), time(12)), Interval(time(13), time(17))),) * 5 + ((), ()),
        frozenset(holidays),
    )


def at(text: str, zone: str = "Europe/Berlin", fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("start", "minutes", "due"),
    [
        ("2026-11-27T16:30", 60, "2026-11-30T09:30"),  # Friday afternoon: half an hour today, half on Monday
        ("2026-11-27T11:30", 60, "2026-11-27T13:30"),  # over lunch
        ("2026-11-28T03:00", 60, "2026-11-30T10:00"),  # at the weekend
        ("2026-11-27T16:00", 60, "2026-11-27T17:00"),  # to the last minute
        ("2026-12-24T16:30", 60, "2026-12-28T09:30"),  # Christmas, then a weekend
    ],
)
def test_the_cases_that_people_complain_of(start: str, minutes: int, due: str) -> None:
    hours = office("Europe/Berlin", date(2026, 12, 25))
    assert after(hours, at(start), minutes * MINUTE) == at(due)


def test_an_hour_that_comes_twice_counts_twice_and_one_that_is_left_out_does_not_count() -> None:
    night = BusinessHours("Europe/Berlin", ((Interval(time(0), time(6)),),) * 7)
    autumn, spring = at("2026-10-25T00:00"), at("2026-03-29T00:00")
    assert working(night, autumn, autumn + timedelta(days=1)) == timedelta(hours=7)
    assert working(night, spring, spring + timedelta(hours=12)) == timedelta(hours=5)
    twice = BusinessHours("Europe/Berlin", ((Interval(time(2, 15), time(2, 45)),),) * 7)
    assert after(twice, autumn, timedelta(minutes=45)) == at("2026-10-25T02:30", fold=1)
    assert working(twice, spring, spring + timedelta(hours=12)) == timedelta(0)


def test_round_the_clock_a_deadline_is_the_sum() -> None:
    start = datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert after(None, start, timedelta(hours=8)) == start + timedelta(hours=8)
    assert reckon(None, [(start, start + timedelta(hours=3))], timedelta(hours=8)).remaining == timedelta(hours=5)


def test_hours_that_are_all_holidays_give_no_deadline() -> None:
    once = BusinessHours("UTC", ((Interval(time(9), time(10)),), (), (), (), (), (), ()))
    mondays = frozenset(date(2026, 11, 30) + timedelta(weeks=week) for week in range(260))
    closed = BusinessHours("UTC", once.week, mondays)
    assert after(closed, datetime(2026, 11, 28, tzinfo=UTC), timedelta(minutes=1)) is None


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: BusinessHours("Europe/Nowhere", office().week),
        lambda: BusinessHours("../../etc/passwd", office().week),
        lambda: BusinessHours("UTC", ((),) * 7),
        lambda: BusinessHours("UTC", office().week[:5]),
        lambda: BusinessHours("UTC", ((Interval(time(9), time(12)), Interval(time(11), time(13))),) * 7),
        lambda: Interval(time(12), time(9)),
        lambda: ServiceLevel(first_response=timedelta(0)),
        lambda: ServiceLevel(first_response=timedelta(days=366)),
        lambda: ServiceLevel(warn_at=1.0),
        lambda: Policy.read({"targets": {"normal": {"first_response": "soon"}}}),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidInput):
        wrong()  # type: ignore[operator]


def test_a_policy_is_kept_as_it_was_written() -> None:
    level = ServiceLevel(first_response=timedelta(hours=1), hours=office("Asia/Kathmandu", date(2026, 1, 1)))
    assert ServiceLevel.read(level.plain()) == level
