"""Lists in pages that stay put while rows come and go: a page starts after a row, not after a number of rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BIGINT_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ends: the sort time and id of its last row.

    Args:
        rank: what the list is sorted by before that, in lists that are.
    """

    at: datetime
    id: int
    rank: int = 0

    def __str__(self) -> str:
        plain = f"{(self.at - _EPOCH) // timedelta(microseconds=1)}-{self.id}"
        return f"{self.rank}.{plain}" if self.rank else plain

    @classmethod
    def parse(cls, value: str | None) -> Cursor | None:
        """A cursor from a query value; ``None``, which means the first page, for anything that is not one."""
        match = re.fullmatch(r"(?:([1-9])\.)?(\d{1,17})-(\d{1,19})", value or "", re.ASCII)
        if match is None or int(match[3]) > _BIGINT_MAX:
            return None
        return cls(_EPOCH + timedelta(microseconds=int(match[2])), int(match[3]), int(match[1] or 0))
