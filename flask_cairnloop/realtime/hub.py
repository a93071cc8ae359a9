"""One Redis subscription a process, fanned out to any number of subscribers by topic."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from flask_cairnloop.realtime.events import DISCONNECT, EVERYBODY, Event, Refetch, decode

log = logging.getLogger(__name__)

QUEUE_SIZE = 200
POLL_SECONDS = 0.5
PING_AFTER = 15.0  # seconds of silence after which Redis is asked whether it is still there
LOST_AFTER = 30.0
BACKOFF = (0.1, 5.0)


class Subscription:
    """One listener. A slow one loses its place, not other listeners' events: it gets one :class:`Refetch` instead.

    Made by :meth:`Hub.subscribe`; a context manager that closes itself.
    """

    def __init__(self, hub: Hub, wake: Callable[[], None] | None, size: int) -> None:
        self._hub = hub
        self._wake = wake
        self._size = size
        self._items: deque[Event | Refetch] = deque()
        self._ready = threading.Condition()
        self._topics: set[str] = set()

    def get(self, timeout: float | None = None) -> Event | Refetch | None:
        """The next event; ``None`` after ``timeout`` seconds without one. ``timeout=0`` does not wait."""
        with self._ready:
            if not self._items and timeout != 0:
                self._ready.wait(timeout)
            return self._items.popleft() if self._items else None

    def add(self, topic: str) -> None:
        """Listen to one more topic."""
        self._topics.add(topic)
        self._hub._listen(topic, self)

    def remove(self, topic: str) -> None:
        """Listen to one topic less. What has come of it already is still handed out."""
        self._topics.discard(topic)
        self._hub._mute(self, (topic,))

    def close(self) -> None:
        """Stop listening."""
        self._hub._drop(self, self._topics)
        self._topics = set()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _put(self, item: Event | Refetch) -> None:
        with self._ready:
            if isinstance(item, Refetch) or len(self._items) >= self._size:
                # One refetch stands for all of them, but for an end of the session, which reading does not tell.
                ends = [one for one in (*self._items, item) if isinstance(one, Event) and one.type == DISCONNECT]
                self._items.clear()
                self._items.extend([Refetch(), *ends[:1]])
            else:
                self._items.append(item)
            self._ready.notify()
        if self._wake is not None:
            self._wake()


class Hub:
    """Hears Redis once for a whole process.

    The thread starts with the first subscriber and, after a fork, again in the child. Under gevent's monkey patching
    it is a greenlet; nothing here knows the difference.

    Args:
        redis_url: where to listen.
        channel: what to listen to.
        queue_size: events a subscriber may leave unread before they become one ``Refetch``.
    """

    def __init__(self, redis_url: str, channel: str, queue_size: int = QUEUE_SIZE) -> None:
        self._redis_url = redis_url
        self._channel = channel
        self._queue_size = queue_size
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._listeners: dict[str, set[Subscription]] = {}
        self._all: set[Subscription] = set()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def subscribe(self, topics: Iterable[str] = (), *, wake: Callable[[], None] | None = None) -> Subscription:
        """Start listening.

        Args:
            topics: what to listen to; more with :meth:`Subscription.add`.
            wake: called after something was put into the subscription, from the hub's thread; it must not block.
        """
        if self._pid != os.getpid():  # our thread and whoever held the lock stayed in the parent
            self._reset()
        subscription = Subscription(self, wake, self._queue_size)
        with self._lock:
            self._all.add(subscription)
            if self._thread is None:
                self._stop = threading.Event()
                self._thread = threading.Thread(target=self._run, args=(self._stop,), name="cairnloop-hub", daemon=True)
                self._thread.start()
        for topic in topics:
            subscription.add(topic)
        return subscription

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread. A later subscriber starts a new one."""
        if self._pid != os.getpid():
            return
        with self._lock:
            thread, self._thread = self._thread, None
        self._stop.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _listen(self, topic: str, subscription: Subscription) -> None:
        with self._lock:
            self._listeners.setdefault(topic, set()).add(subscription)

    def _drop(self, subscription: Subscription, topics: Iterable[str]) -> None:
        with self._lock:
            self._all.discard(subscription)
        self._mute(subscription, topics)

    def _mute(self, subscription: Subscription, topics: Iterable[str]) -> None:
        with self._lock:
            for topic in topics:
                listeners = self._listeners.get(topic)
                if listeners is not None:
                    listeners.discard(subscription)
                    if not listeners:
                        del self._listeners[topic]

    def _run(self, stop: threading.Event) -> None:
        wait = BACKOFF[0]
        while not stop.is_set():
            started = time.monotonic()
            try:
                self._hear(stop)
            except (RedisError, OSError) as error:
                log.warning("Live updates wait for Redis (%s)", type(error).__name__)
            except Exception:
                log.exception("The live-update thread failed and starts again")
            wait = BACKOFF[0] if time.monotonic() - started > BACKOFF[1] else min(wait * 2, BACKOFF[1])
            stop.wait(wait * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret

    def _hear(self, stop: threading.Event) -> None:
        """Subscribe and hand on what comes, until told to stop or Redis is lost."""
        client = Redis.from_url(
            self._redis_url,
            socket_connect_timeout=2.0,
            socket_timeout=5.0,
            # Reconnecting is ours to do: one that redis-py did in silence would hide what we missed.
            retry=Retry(NoBackoff(), 0),
        )
        with client, client.pubsub() as pubsub:  # type: ignore[no-untyped-call]
            pubsub.subscribe(self._channel)
            heard = time.monotonic()
            asked = False
            while not stop.is_set():
                message: dict[str, Any] | None = pubsub.get_message(timeout=POLL_SECONDS)
                moment = time.monotonic()
                if message is not None:
                    heard, asked = moment, False
                    self._take(message)
                elif moment - heard > LOST_AFTER:
                    raise ConnectionError("Redis has been silent for too long")
                elif moment - heard > PING_AFTER and not asked:
                    pubsub.ping()
                    asked = True

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            # Whatever was published before this moment was not heard by us.
            self._all_read_again()
        elif message["type"] == "message":
            events = decode(message["data"])
            if events is None:
                log.warning("Something that is no event arrived on %s", self._channel)
                return
            for event in events:
                self._hand_on(event)

    def _hand_on(self, event: Event) -> None:
        if event.topic == EVERYBODY:  # somebody could not publish for a while
            self._all_read_again()
            return
        with self._lock:
            listeners = list(self._listeners.get(event.topic, ()))
        for subscription in listeners:
            subscription._put(event)

    def _all_read_again(self) -> None:
        with self._lock:
            everybody = list(self._all)
        for subscription in everybody:
            subscription._put(Refetch())
