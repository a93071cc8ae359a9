"""How much one person may do in a time: counted in Redis for all processes, or in memory for one line."""

from __future__ import annotations

import hashlib
import math
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Literal

from limits import RateLimitItem, parse
from redis.exceptions import NoScriptError

from flask_cairnloop.redis_command import command

if TYPE_CHECKING:
    from flask_cairnloop.extension import Cairnloop


def rate(text: str | None) -> RateLimitItem | None:
    """An entry of ``CAIRNLOOP_RATE_LIMITS``; ``None`` is no limit."""
    return None if text is None else parse(text)


# A window that moves, by Redis's clock, in one round trip. Only what is let through counts.
_TAKE = """
local amount, seconds = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local oldest = redis.call('LINDEX', KEYS[1], amount - 1)
if amount < 1 or oldest and tonumber(oldest) > now - seconds then
    return tostring((tonumber(oldest or now)) + seconds - now)
end
redis.call('LPUSH', KEYS[1], string.format('%.6f', now))
redis.call('LTRIM', KEYS[1], 0, amount - 1)
redis.call('EXPIRE', KEYS[1], seconds)
return '0'
"""
_TAKE_SHA = hashlib.sha1(_TAKE.encode(), usedforsecurity=False).hexdigest()


class RateLimits:
    """The limits of an app that hold over all its processes. While Redis is away nobody is held up."""

    def __init__(self, cairnloop: Cairnloop) -> None:
        settings = cairnloop.settings
        self._breaker = cairnloop.breaker
        self._prefix = f"{settings.redis_namespace}:limits"
        self._rates = {kind: rate(text) for kind, text in settings.rate_limits.items()}
        self._redis = cairnloop.redis

    def take(
        self,
        kind: Literal["messages", "conversations", "uploads", "attachments", "searches", "votes", "ratings"],
        who: str,
    ) -> int:
        """Count one more of a kind. Returns 0, or how many seconds to wait where it is one too many."""
        return self._take(self._rates[kind], kind, who)

    def take_at(self, rate_text: str | None, kind: Literal["tokens"], who: str) -> int:
        """The same, at a rate that is not of the configuration; ``None`` is no limit."""
        return self._take(rate(rate_text), kind, who)

    def _take(self, allowed: RateLimitItem | None, kind: str, who: str) -> int:
        if allowed is None:
            return 0
        # A reference may be somebody's address: it is not left lying about.
        key = f"{self._prefix}:{kind}:{hashlib.sha256(who.encode()).hexdigest()[:32]}"
        wait = 0.0
        with self._breaker.guard() as usable:
            if usable:
                wait = float(self._run(1, key, allowed.amount, allowed.get_expiry()))
        return _seconds(wait) if wait else 0

    def _run(self, *words: str | int) -> Any:
        try:
            return command(self._redis, "EVALSHA", _TAKE_SHA, *words)
        except NoScriptError:  # it is new to this Redis, which knows it from now on
            return command(self._redis, "EVAL", _TAKE, *words)


class Pace:
    """The same for one line of one process."""

    # Not by the storage in memory of `limits`: that starts a thread to forget.

    def __init__(self, allowed: RateLimitItem | None) -> None:
        self._allowed = allowed
        self._taken: deque[float] = deque()

    def take(self) -> int:
        """Count one more. Returns 0, or how many seconds to wait where it is one too many."""
        if self._allowed is None:
            return 0
        moment, window = time.monotonic(), self._allowed.get_expiry()
        while self._taken and self._taken[0] <= moment - window:
            self._taken.popleft()
        if len(self._taken) >= self._allowed.amount:
            return _seconds(self._taken[0] + window - moment)
        self._taken.append(moment)
        return 0


def _seconds(wait: float) -> int:
    return max(1, math.ceil(wait))
