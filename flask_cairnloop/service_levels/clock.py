"""When a deadline comes. Pure: it is given every moment it reckons with.

Target time passes only while the customer waits for us, and only in business hours. Who counts what a customer waits
for is :mod:`flask_cairnloop.service_levels.spans`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from flask_cairnloop.service_levels.hours import NONE, after, working
from flask_cairnloop.service_levels.types import BusinessHours

Wait = tuple[datetime, datetime | None]  # from, and until when; None while it lasts


@dataclass(frozen=True, slots=True)
class Reckoned:
    """Where a clock stands by what it was given.

    Args:
        at: when the amount is, or was, used up; ``None`` where it is not and nobody waits, or such a time never comes.
        remaining: business time that is left after the waits that are over; none where it was used up in them.
    """

    at: datetime | None
    remaining: timedelta


def reckon(hours: BusinessHours | None, waits: Iterable[Wait], amount: timedelta) -> Reckoned:
    """When an amount of business time is used up by waits, given in their order."""
    left = amount
    for begins, ends in waits:
        if ends is None:
            return Reckoned(after(hours, begins, left), left)
        passed = working(hours, begins, ends)
        if passed >= left:
            return Reckoned(after(hours, begins, left), NONE)
        left -= passed
    return Reckoned(None, left)
