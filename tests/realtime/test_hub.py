"""The hub on a real Redis: topics, slow subscribers, a lost connection."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from flask_cairnloop.realtime.events import EVERYBODY, Event, Refetch, decode, encode
from flask_cairnloop.realtime.hub import Hub, Subscription
from flask_cairnloop.realtime.publish import publish_many


@pytest.fixture
def channel(worker_number: int) -> str:
    return f"hub-test-{worker_number}:events"


@pytest.fixture
def hub(redis_url: str, channel: str) -> Iterator[Hub]:
    hub = Hub(redis_url, channel, queue_size=5)
    yield hub
    hub.stop()


@pytest.fixture
def publish(redis: Redis, channel: str) -> Callable[..., None]:
    def send(topic: str, type_: str = "message", **data: object) -> None:
        publish_many(redis, channel, [{"topic": topic, "type": type_, "data": data}])

    return send


def listen(hub: Hub, *topics: str) -> Subscription:
    """A subscription that hears Redis already: the first thing said to it is that it may have missed something."""
    subscription = hub.subscribe(topics)
    assert subscription.get(5) == Refetch()
    return subscription


def heard(subscription: Subscription, count: int) -> list[Event | Refetch | None]:
    return [subscription.get(5) for _ in range(count)]


def test_an_event_reaches_the_subscribers_of_its_topic_only(hub: Hub, publish: Callable[..., None]) -> None:
    mine = listen(hub, "conversation:1")
    other = hub.subscribe(["conversation:2", "console"])
    publish("conversation:1", sequence=3)
    publish("console", "draft", draft_id=9)
    assert heard(mine, 1) == [Event("conversation:1", "message", {"sequence": 3})]
    assert heard(other, 1) == [Event("console", "draft", {"draft_id": 9})]
    assert mine.get(0) is None


def test_topics_can_be_added_and_a_closed_subscription_hears_nothing(hub: Hub, publish: Callable[..., None]) -> None:
    subscription = listen(hub)
    subscription.add("customer:a")
    publish("customer:a", "disconnect")
    assert heard(subscription, 1) == [Event("customer:a", "disconnect", {})]
    subscription.close()
    witness = hub.subscribe(["customer:a"])
    publish("customer:a", "disconnect")
    assert heard(witness, 1) == [Event("customer:a", "disconnect", {})]
    assert subscription.get(0) is None


def test_a_slow_subscriber_gets_one_refetch_and_holds_nobody_up(hub: Hub, publish: Callable[..., None]) -> None:
    slow, quick = listen(hub, "console"), hub.subscribe(["console"])
    for number in range(12):
        publish("console", number=number)
        assert quick.get(5) == Event("console", "message", {"number": number})
    rest = []
    while (item := slow.get(0)) is not None:
        rest.append(item)
    assert rest[0] == Refetch()
    assert len(rest) <= 5


def test_what_is_said_to_everybody_is_a_refetch_for_each(hub: Hub, publish: Callable[..., None]) -> None:
    first, second = listen(hub, "console"), hub.subscribe()
    publish(EVERYBODY, "refetch")
    assert heard(first, 1) == heard(second, 1) == [Refetch()]


@pytest.mark.parametrize("before", [0, 3, 12])
def test_an_end_is_heard_whatever_a_subscriber_was_too_slow_for(
    hub: Hub, publish: Callable[..., None], before: int
) -> None:
    slow, witness = listen(hub, "console"), hub.subscribe(["end"])
    for number in range(before):
        publish("console", number=number)
    publish("console", "disconnect")
    for number in range(3):
        publish("console", number=number)
    publish(EVERYBODY, "refetch")
    publish("end")
    assert heard(witness, 2) == [Refetch(), Event("end", "message", {})]
    assert heard(slow, 2) == [Refetch(), Event("console", "disconnect", {})]
    assert slow.get(0) is None


def test_after_redis_was_lost_everybody_refetches_and_hears_again(
    hub: Hub, publish: Callable[..., None], redis: Redis
) -> None:
    first, second = listen(hub, "console"), hub.subscribe(["conversation:7"])
    redis.client_kill_filter(_type="pubsub")
    assert first.get(10) == Refetch()
    assert second.get(10) == Refetch()
    publish("conversation:7", sequence=1)
    assert heard(second, 1) == [Event("conversation:7", "message", {"sequence": 1})]


def test_an_absent_redis_is_waited_for_without_a_word_to_subscribers(channel: str, tmp_path: object) -> None:
    hub = Hub(f"unix://{tmp_path}/nobody.sock", channel)
    with hub.subscribe(["console"]) as subscription:
        assert subscription.get(0.3) is None
    hub.stop()


def test_a_stopped_hub_starts_again_with_its_next_subscriber(hub: Hub, publish: Callable[..., None]) -> None:
    listen(hub).close()
    hub.stop()
    subscription = listen(hub, "console")
    publish("console")
    assert heard(subscription, 1) == [Event("console", "message", {})]


def test_the_child_of_a_fork_listens_on_its_own(hub: Hub, publish: Callable[..., None]) -> None:
    listen(hub, "console")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # no assertion may leave this branch
        answer = b"no"
        try:
            subscription = hub.subscribe(["console"])
            os.write(writing, b"1" if subscription.get(5) == Refetch() else b"0")
            item = subscription.get(10)
            answer = b"yes" if isinstance(item, Event) else b"no"
        finally:
            os.write(writing, answer)
            os._exit(0)
    assert os.read(reading, 1) == b"1"
    publish("console")
    assert os.read(reading, 3) == b"yes"
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)


def test_waking_is_called_for_each_event(hub: Hub, publish: Callable[..., None]) -> None:
    calls: list[float] = []
    subscription = hub.subscribe(["console"], wake=lambda: calls.append(time.monotonic()))
    assert subscription.get(5) == Refetch()
    publish("console")
    heard(subscription, 1)
    deadline = time.monotonic() + 5
    while len(calls) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(calls) == 2


@pytest.mark.parametrize("payload", ["", "null", "[]", '{"topic": 1, "type": "a", "data": {}}', "{{", '{"topic": "a"}'])
def test_what_is_no_event_is_dropped(payload: str, hub: Hub, redis: Redis, channel: str) -> None:
    assert decode(payload) is None
    subscription = listen(hub, "console")
    redis.publish(channel, payload)
    redis.publish(channel, encode({"topic": "console", "type": "message", "data": {}}))
    assert heard(subscription, 1) == [Event("console", "message", {})]


def test_an_event_comes_out_as_it_went_in() -> None:
    event = {"topic": "customer:ünï:1", "type": "typing", "data": {"name": "Zoë", "n": 1}}
    assert decode(encode(event)) == [Event(event["topic"], event["type"], event["data"])]  # type: ignore[arg-type]
    assert json.loads(encode({"topic": "a", "type": "b"}))["data"] == {}
