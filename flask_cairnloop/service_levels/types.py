"""The values of this room. They know no database, no host and no clock."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from flask_cairnloop.conversations.models import TEAM_LENGTH, Priority
from flask_cairnloop.errors import InvalidInput
from flask_cairnloop.service_levels.targets import Target

MOST_INTERVALS = 4  # of one weekday
MOST_HOLIDAYS = 400
SHORTEST, LONGEST = timedelta(seconds=1), timedelta(days=365)
WARN_AT = 0.75
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_WHOLE_DAY = timedelta(days=1)


class Rule(StrEnum):
    """What the desk does when a deadline passes, beside telling of it."""

    NOTHING = "nothing"
    RAISE = "raise"  # the priority, by one step
    NOTIFY = "notify"  # whoever has it, by the bell
    TEAM = "team"  # give it to a team


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """Hours of a day, e.g. ``Interval(time(9), time(12, 30))``. Midnight as its end is the day's end."""

    opens: time
    closes: time

    def __post_init__(self) -> None:
        if not isinstance(self.opens, time) or not isinstance(self.closes, time):
            raise InvalidInput("hours", "An interval is made of two times of day.")
        if self.opens.tzinfo or self.closes.tzinfo or self.opens_after >= self.closes_after:
            raise InvalidInput("hours", "An interval ends after it begins, on the same day.")

    @property
    def opens_after(self) -> timedelta:
        """How long after midnight it begins."""
        return _since_midnight(self.opens)

    @property
    def closes_after(self) -> timedelta:
        """How long after midnight it ends."""
        return _since_midnight(self.closes) or _WHOLE_DAY

    def holds(self, moment: time) -> bool:
        return self.opens_after <= _since_midnight(moment) < self.closes_after


def _since_midnight(moment: time) -> timedelta:
    return timedelta(hours=moment.hour, minutes=moment.minute, seconds=moment.second, microseconds=moment.microsecond)


@dataclass(frozen=True, slots=True)
class BusinessHours:
    """When the desk works.

    Args:
        zone: IANA name of the time zone its clocks are in, e.g. ``"Europe/Berlin"``.
        week: the intervals of each weekday, Monday first: seven of them. Intervals of a day do not overlap.
        holidays: dates on which nobody works.

    Raises:
        InvalidInput: something of it does not fit, or there is no interval at all.
    """

    zone: str
    week: tuple[tuple[Interval, ...], ...]
    holidays: frozenset[date] = frozenset()

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.zone)
        except Exception:
            raise InvalidInput("zone", "There is no such time zone. Use a name such as Europe/Berlin.") from None
        week = tuple(tuple(sorted(day)) for day in self.week)
        object.__setattr__(self, "week", week)
        object.__setattr__(self, "holidays", frozenset(self.holidays))
        if len(week) != len(DAYS):
            raise InvalidInput("hours", "A week has seven days, Monday first.")
        for name, day in zip(DAYS, week, strict=True):
            if len(day) > MOST_INTERVALS:
                raise InvalidInput("hours", f"{name} has more than {MOST_INTERVALS} intervals.")
            if any(one.closes_after > other.opens_after for one, other in pairwise(day)):
                raise InvalidInput("hours", f"On {name} two intervals overlap.")
        if not any(week):
            raise InvalidInput("hours", "Nobody ever works by these hours: no deadline would come.")
        if len(self.holidays) > MOST_HOLIDAYS:
            raise InvalidInput("holidays", f"There are more than {MOST_HOLIDAYS} holidays.")
        if any(type(day) is not date for day in self.holidays):
            raise InvalidInput("holidays", "A holiday is a date.")


@dataclass(frozen=True, slots=True)
class ServiceLevel:
    """What the customer of one conversation may expect. ``SLA_POLICY`` answers with one.

    Args:
        first_response, next_response, resolution: business time until it is due; ``None`` for no such target.
        hours: when the desk works; ``None`` for round the clock.
        warn_at: the share of a target after which it is due soon, above 0 and below 1.

    Raises:
        InvalidInput: something of it does not fit.
    """

    first_response: timedelta | None = None
    next_response: timedelta | None = None
    resolution: timedelta | None = None
    hours: BusinessHours | None = None
    warn_at: float = WARN_AT

    def __post_init__(self) -> None:
        for target in Target:
            amount = self.target(target)
            if amount is not None and not (isinstance(amount, timedelta) and SHORTEST <= amount <= LONGEST):
                raise InvalidInput(target.value, "A target is more than nothing, and at most 365 days.")
        if self.hours is not None and not isinstance(self.hours, BusinessHours):
            raise InvalidInput("hours", "Hours are BusinessHours, or None for round the clock.")
        warn_at = self.warn_at
        if isinstance(warn_at, bool) or not isinstance(warn_at, int | float) or not 0 < warn_at < 1:
            raise InvalidInput("warn_at", "A share is above 0 and below 1.")

    def target(self, target: Target) -> timedelta | None:
        """How much business time a target gives."""
        found: timedelta | None = getattr(self, target.value)
        return found

    def plain(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            **{target.value: _seconds(self.target(target)) for target in Target},
            "hours": None if self.hours is None else plain_hours(self.hours),
            "warn_at": self.warn_at,
        }

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> ServiceLevel:
        """What :meth:`plain` has written.

        Raises:
            InvalidInput: it is something else.
        """
        try:
            hours = plain["hours"]
            return cls(
                **{target.value: _amount(plain[target.value]) for target in Target},
                hours=None if hours is None else read_hours(hours),
                warn_at=plain["warn_at"],
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InvalidInput("level", "This is no service level.") from None


@dataclass(frozen=True, slots=True)
class Policy:
    """The desk's own policy, as its editor has it.

    Args:
        targets: of each priority what its conversations get; a priority or target that is left out has none.
        warn_at: the share of a target after which it is due soon.
        rule: what is done at a breach.
        team: for ``Rule.TEAM``.
    """

    targets: Mapping[Priority, Mapping[Target, timedelta]] = field(default_factory=dict)
    hours: BusinessHours | None = None
    warn_at: float = WARN_AT
    rule: Rule = Rule.NOTHING
    team: str = ""

    def __post_init__(self) -> None:
        for priority in Priority:
            self.level(priority)
        if self.rule is Rule.TEAM and not 0 < len(self.team.strip()) <= TEAM_LENGTH:
            raise InvalidInput("team", f"A team's name has 1 to {TEAM_LENGTH} characters.")

    def level(self, priority: Priority) -> ServiceLevel:
        """What a conversation of this priority gets."""
        targets = {target.value: amount for target, amount in self.targets.get(priority, {}).items()}
        return ServiceLevel(**targets, hours=self.hours, warn_at=self.warn_at)

    def plain(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "targets": {
                priority.word: {target.value: _seconds(amount) for target, amount in found.items()}
                for priority, found in self.targets.items()
            },
            "hours": None if self.hours is None else plain_hours(self.hours),
            "warn_at": self.warn_at,
            "rule": self.rule.value,
            "team": self.team,
        }

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Policy:
        """What :meth:`plain` has written.

        Raises:
            InvalidInput: it is something else, such as hours in a zone that this host does not know.
        """
        try:
            targets = {
                Priority[word.upper()]: {Target(name): timedelta(seconds=given) for name, given in found.items()}
                for word, found in plain["targets"].items()
            }
            hours = plain["hours"]
            return cls(
                targets=targets,
                hours=None if hours is None else read_hours(hours),
                warn_at=plain["warn_at"],
                rule=Rule(plain["rule"]),
                team=plain["team"],
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InvalidInput("policy", "This is no policy.") from None


def plain_hours(hours: BusinessHours) -> dict[str, Any]:
    """Hours as JSON values."""
    return {
        "zone": hours.zone,
        "week": [[[one.opens.isoformat(), one.closes.isoformat()] for one in day] for day in hours.week],
        "holidays": sorted(day.isoformat() for day in hours.holidays),
    }


def read_hours(plain: Mapping[str, Any]) -> BusinessHours:
    """What :func:`plain_hours` has written."""
    week = tuple(
        tuple(Interval(time.fromisoformat(opens), time.fromisoformat(closes)) for opens, closes in day)
        for day in plain["week"]
    )
    return BusinessHours(plain["zone"], week, frozenset(date.fromisoformat(day) for day in plain["holidays"]))


def _seconds(amount: timedelta | None) -> int | None:
    return None if amount is None else math.ceil(amount.total_seconds())


def _amount(seconds: Any) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
