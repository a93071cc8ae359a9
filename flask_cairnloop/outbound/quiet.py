"""Quiet hours: the part of every day in which no follow-up leaves. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo

_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From one time of day to another, which may be on the next day, in a time zone."""

    start: time
    end: time
    zone: tzinfo

    @classmethod
    def parse(cls, hours: str, zone: tzinfo) -> QuietHours | None:
        """What ``"21:00-08:00"`` says; ``None`` for no quiet hours.

        Raises:
            ValueError: it says something else.
        """
        if not hours:
            return None
        found = _HOURS.fullmatch(hours)
        if found is None:
            raise ValueError(hours)
        hour, minute, until_hour, until_minute = (int(number) for number in found.groups())
        start, end = time(hour, minute), time(until_hour, until_minute)
        if start == end:
            raise ValueError(hours)
        return cls(start, end, zone)

    def __str__(self) -> str:
        return f"{self.start:%H:%M} to {self.end:%H:%M}"

    def after(self, moment: datetime) -> datetime:
        """The moment itself, or the end of the quiet hours it falls into. In UTC."""
        local = moment.astimezone(self.zone)
        clock = local.time().replace(tzinfo=None)
        overnight = self.end < self.start
        quiet = (clock >= self.start or clock < self.end) if overnight else self.start <= clock < self.end
        if not quiet:
            return moment.astimezone(UTC)
        day = local.date()
        if overnight and clock >= self.start:
            day += timedelta(days=1)
        # A time that the clocks leave out, or show twice, is taken as the zone has it; never before the moment itself.
        end = datetime.combine(day, self.end, self.zone).astimezone(UTC)
        return max(end, moment.astimezone(UTC))
