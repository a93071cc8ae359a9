"""A worker is killed in the middle of a follow-up whose host sends once however often it is called with one key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from flask_cairnloop.outbound.types import DeliveryState
from tests.faults.conftest import Desk
from tests.faults.host import Place
from tests.faults.test_follow_ups_killed import becomes, kill, seen, sent, working
from tests.faults.tools import DURING
from tests.support.processes import Process

S = DeliveryState


@pytest.fixture(scope="module")
def worker(database_url: str, redis_url: str, config: dict[str, Any]) -> Iterator[Process]:
    with working(database_url, redis_url, config, "deliver_safely") as process:
        yield process


def test_it_is_called_again_with_the_same_key(worker: Process, redis: Redis, at_the_desk: Desk) -> None:
    place = Place(redis, DURING)
    number = sent(at_the_desk, place.customer)
    first = place.reached()
    kill(first, worker, at_the_desk, number)
    assert place.reached() != first
    place.go_on()
    becomes(S.DELIVERED, at_the_desk, worker, number)
    assert at_the_desk(lambda s: seen(s, number, place.customer)) == (S.DELIVERED, 2, 1)
