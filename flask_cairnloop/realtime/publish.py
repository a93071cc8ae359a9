"""Sending live events. What must not be lost goes through the outbox; this is how it, and passing things, get out."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flask_cairnloop.context import current
from flask_cairnloop.realtime.events import (
    DISCONNECT,
    EVERYBODY,
    channel_name,
    customer_topic,
    encode,
    encode_all,
    operator_topic,
)
from flask_cairnloop.redis_command import command

if TYPE_CHECKING:
    from redis import Redis

    from flask_cairnloop.extension import Cairnloop

AGAIN_SECONDS = (1.0, 5.0)  # from one try to make up for what was lost to the next: at first, and at most
_READ_AGAIN = {"topic": EVERYBODY, "type": "refetch", "data": {}}


class Publisher:
    """Sends the live events of an app's process, and makes up for those that Redis did not take.

    After one time-out the breaker keeps a process from Redis for a moment, while every hub may have stayed connected:
    nobody but this process knows that something was not said. So it remembers, and says as soon as Redis can be reached
    that everybody shall read again. Should it end before, sockets read again every minute anyway.
    """

    def __init__(self, cairnloop: Cairnloop) -> None:
        self._cairnloop = cairnloop
        self._lock = threading.Lock()
        self._owed: dict[str, Mapping[str, Any]] = {}
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def send(self, *events: Mapping[str, Any]) -> bool:
        """Publish, or make up for it later. Never raises for an absent Redis.

        Args:
            events: mappings of ``topic``, ``type`` and ``data``.

        Returns:
            Whether Redis took them at once.
        """
        sent = self.offer(*events)
        if not sent:
            self._remember(events)
        return sent

    def offer(self, *events: Mapping[str, Any]) -> bool:
        """Publish what passes, such as typing. The same as :meth:`send`, but what Redis does not take now is gone."""
        sent = False
        with self._cairnloop.breaker.guard() as usable:
            if usable:
                publish_many(self._cairnloop.redis, channel_name(self._cairnloop.settings.redis_namespace), events)
                sent = True
        return sent

    def stop(self) -> None:
        """Forget what is owed, and end the thread that would pay it."""
        self._stop.set()

    def _remember(self, events: Iterable[Mapping[str, Any]]) -> None:
        with self._lock:
            for event in events:
                owed = event if event["type"] == DISCONNECT else _READ_AGAIN
                self._owed[encode(owed)] = owed
            # In the child of a fork the parent's thread is not alive.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._make_up, name="cairnloop-publisher", daemon=True)
                self._thread.start()

    def _make_up(self) -> None:
        wait, longest = AGAIN_SECONDS
        while not self._stop.wait(wait):
            with self._lock:
                owed, self._owed = self._owed, {}  # what is lost from here on is owed anew
            sent = self.offer(*owed.values())
            with self._lock:
                if not sent:
                    self._owed = owed | self._owed
                if not self._owed:
                    self._thread = None
                    return
            wait = min(wait * 2, longest)


def publish_many(redis: Redis, channel: str, events: Iterable[Mapping[str, Any]]) -> None:
    """Publish events, as one message.

    Args:
        events: mappings of ``topic``, ``type`` and ``data``.

    Raises:
        redis.RedisError: Redis cannot be reached; they may have gone out.
    """
    together = list(events)
    if together:
        command(redis, "PUBLISH", channel, encode_all(together))


def publish_now(cairnloop: Cairnloop, topic: str, type: str, **data: Any) -> bool:
    """Publish something that passes, such as typing. Nothing is kept, and Redis being away is no error.

    Returns:
        Whether Redis took it.
    """
    return cairnloop.publisher.offer({"topic": topic, "type": type, "data": data})


def disconnect(customer_ref: str) -> bool:
    """Cut every open chat of a customer of the current app, in all processes: when they sign out or lose access.

    They can come back with a token that ``CUSTOMER_VERIFIER`` accepts, so take the token's validity first.

    Returns:
        Whether the processes could be told at once. Else this one tells them as soon as Redis can be reached; and in
        any case the verifier is asked again within a minute.
    """
    return _cut(customer_topic(customer_ref))


def disconnect_operator(operator_id: str) -> bool:
    """Cut the live updates of every open console page of an operator of the current app: when they sign out.

    A socket knows only the cookie that it was opened with, which cannot tell that it was given back. End the session
    first, then call this.

    Returns:
        Whether the processes could be told at once. Else this one tells them as soon as Redis can be reached.
    """
    return _cut(operator_topic(operator_id))


def _cut(topic: str) -> bool:
    return current().publisher.send({"topic": topic, "type": DISCONNECT, "data": {}})
