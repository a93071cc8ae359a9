"""The one source of the current time, so that a test can hold it still.

What people see and what the house decides by is this host's time. Jobs go by the database's: a lease that one host
gives and another takes back must not depend on whose clock is right.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, func, literal

_frozen: datetime | None = None


def now() -> datetime:
    """The current time in UTC with microseconds, or the frozen one."""
    return _frozen or datetime.now(UTC)


def database_now() -> ColumnElement[datetime]:
    """The database's current time, for use inside a statement; or the frozen one."""
    return literal(_frozen) if _frozen else func.clock_timestamp()


def frozen() -> datetime | None:
    """The moment at which the clock is held, if it is."""
    return _frozen


def freeze(moment: datetime | None) -> None:
    """Hold the clock of this process at ``moment``; ``None`` lets it run again. For tests."""
    global _frozen
    _frozen = moment
