"""Sending live events. What must not be lost goes through the outbox; this is how it, and passing things, get out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flask_cairnloop.realtime.events import channel_name, customer_topic, encode

if TYPE_CHECKING:
    from redis import Redis

    from flask_cairnloop.extension import Cairnloop


def publish_many(redis: Redis, channel: str, events: Iterable[Mapping[str, Any]]) -> None:
    """Publish events in one round trip.

    Args:
        events: mappings of ``topic``, ``type`` and ``data``.

    Raises:
        redis.RedisError: Redis cannot be reached; some of them may have gone out.
    """
    payloads = [encode(event) for event in events]
    if not payloads:
        return
    with redis.pipeline(transaction=False) as pipe:
        for payload in payloads:
            pipe.publish(channel, payload)
        pipe.execute()


def publish_now(cairnloop: Cairnloop, topic: str, type: str, **data: Any) -> bool:
    """Publish something that passes, such as typing. Nothing is kept, and Redis being away is no error.

    Returns:
        Whether Redis took it.
    """
    sent = False
    with cairnloop.breaker.guard() as usable:
        if usable:
            publish_many(cairnloop.redis, _channel(cairnloop), [{"topic": topic, "type": type, "data": data}])
            sent = True
    return sent


def disconnect(cairnloop: Cairnloop, customer_ref: str) -> None:
    """Cut every open chat of a customer, in all processes, e.g. when they sign out or lose access.

    They can come back with a token that ``CUSTOMER_VERIFIER`` accepts, so take the token's validity first.

    Raises:
        redis.RedisError: the processes could not be told. They ask the verifier again within a minute in any case.
    """
    event = {"topic": customer_topic(customer_ref), "type": "disconnect", "data": {}}
    publish_many(cairnloop.redis, _channel(cairnloop), [event])


def _channel(cairnloop: Cairnloop) -> str:
    return channel_name(cairnloop.settings.redis_namespace)
