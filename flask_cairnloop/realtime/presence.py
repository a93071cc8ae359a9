"""Who looks at a conversation just now: in Redis for less than a minute, and nowhere else.

Every page that is looked at says so again and again. One that goes without a word is gone when its time is up; without
Redis nobody is seen, and nothing else is missing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from flask_cairnloop.actors import NAME_LENGTH
from flask_cairnloop.hooks import Operator
from flask_cairnloop.realtime.events import conversation_topic
from flask_cairnloop.realtime.publish import publish_now

if TYPE_CHECKING:
    from flask_cairnloop.extension import Cairnloop

SECONDS: Final = 45  # a page speaks every twenty
MOST: Final = 20  # colleagues that a page is told of


def arrive(cairnloop: Cairnloop, conversation_id: int, operator: Operator, page: str) -> bool:
    """Note that an operator looks at a conversation, on one of their pages.

    Returns:
        Whether that is new.
    """
    new = False
    with cairnloop.breaker.guard() as usable:
        if usable:
            key = _key(cairnloop, conversation_id)
            words = f"{time.time() + SECONDS:.0f}|{operator.name[:NAME_LENGTH]}"
            new = bool(cairnloop.redis.hset(key, f"{page}|{operator.id}", words))
            cairnloop.redis.expire(key, SECONDS)
    if new:
        publish_now(cairnloop, conversation_topic(conversation_id), "presence", conversation_id=conversation_id)
    return new


def leave(cairnloop: Cairnloop, conversation_id: int, operator: Operator, page: str) -> None:
    """Note that a page looks elsewhere."""
    with cairnloop.breaker.guard() as usable:
        if usable:
            cairnloop.redis.hdel(_key(cairnloop, conversation_id), f"{page}|{operator.id}")
    publish_now(cairnloop, conversation_topic(conversation_id), "presence", conversation_id=conversation_id)


def others(cairnloop: Cairnloop, conversation_id: int, operator: Operator) -> list[str]:
    """The names of those beside an operator who look at a conversation."""
    found: dict[bytes, bytes] = {}
    with cairnloop.breaker.guard() as usable:
        if usable:
            found = cairnloop.redis.hgetall(_key(cairnloop, conversation_id))  # type: ignore[assignment]
    moment = time.time()
    people: dict[str, str] = {}
    for field, words in found.items():
        until, _, name = words.decode().partition("|")
        who = field.decode().partition("|")[2]
        if who != operator.id and float(until) > moment:
            people[who] = name
    return sorted(people.values())[:MOST]


def _key(cairnloop: Cairnloop, conversation_id: int) -> str:
    return f"{cairnloop.settings.redis_namespace}:presence:{conversation_id}"
