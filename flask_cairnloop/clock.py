"""The one source of the current time, so that a test can hold it still."""

from __future__ import annotations

from datetime import UTC, datetime

_frozen: datetime | None = None


def now() -> datetime:
    """The current time in UTC with microseconds, or the frozen one."""
    return _frozen or datetime.now(UTC)


def freeze(moment: datetime | None) -> None:
    """Hold the clock of this process at ``moment``; ``None`` lets it run again. For tests."""
    global _frozen
    _frozen = moment
