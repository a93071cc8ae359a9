"""A short circuit breaker, so that an absent Redis costs one time-out every few seconds and not one a request."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from redis import RedisError

log = logging.getLogger(__name__)


class Breaker:
    """Remembers that Redis was away.

    Args:
        rest: seconds to leave it alone after a failure.
    """

    def __init__(self, rest: float = 2.0) -> None:
        self._rest = rest
        self._closed_until = 0.0

    @contextmanager
    def guard(self) -> Iterator[bool]:
        """Yields whether Redis may be tried. A ``RedisError`` inside is logged and opens the breaker."""
        if time.monotonic() < self._closed_until:
            yield False
            return
        try:
            yield True
        except RedisError as error:
            self._closed_until = time.monotonic() + self._rest
            log.warning("Redis cannot be reached (%s); jobs wait in the database", type(error).__name__)
