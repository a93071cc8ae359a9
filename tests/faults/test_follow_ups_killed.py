"""A worker is killed before, in the middle of and after the sending of a follow-up.

Each test ends with the rows that prove what happened: what left, the delivery, and the words in the chat.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, follow_up, receive
from flask_cairnloop.conversations.models import Message, MessageKind
from flask_cairnloop.outbound import service
from flask_cairnloop.outbound.models import OutboundDelivery
from flask_cairnloop.outbound.types import DeliveryState
from tests.faults.conftest import Desk
from tests.faults.host import Place
from tests.faults.tools import AFTER, BEFORE, DURING
from tests.support import processes
from tests.support.host import OPERATORS, HostNote
from tests.support.processes import Process, wait_until

MINA, OMAR = OPERATORS["mina"], OPERATORS["omar"]
S = DeliveryState


@contextmanager
def working(database_url: str, redis_url: str, config: dict[str, Any], hook: str) -> Iterator[Process]:
    environment = processes.environment(database_url, redis_url, **config, ON_OUTBOUND=f"tests.faults.tools:{hook}")
    with processes.worker(environment, "--default", "2", app="tests.faults.tools:create_app") as process:
        yield process


@pytest.fixture(scope="module")
def worker(database_url: str, redis_url: str, config: dict[str, Any]) -> Iterator[Process]:
    with working(database_url, redis_url, config, "deliver") as process:
        yield process


def sent(at_the_desk: Desk, customer: Customer) -> int:
    """A follow-up that is on its way."""

    def send(session: Session) -> int:
        conversation = receive(session, customer=customer, body="Hello", channel="widget").conversation_id
        session.commit()
        return follow_up(session, conversation, actor=MINA, body="Did it help?").id

    return int(at_the_desk(send))


def seen(session: Session, number: int, customer: Customer) -> tuple[DeliveryState, int, int]:
    """What a delivery is, how often it left, and how often it stands in the chat."""
    delivery = session.get_one(OutboundDelivery, number)
    left = select(func.count()).where(HostNote.body == f"{customer.ref}:{delivery.key}")
    follow_ups = (Message.conversation_id == delivery.conversation_id, Message.kind == MessageKind.FOLLOW_UP)
    return delivery.state, session.scalar(left) or 0, session.scalar(select(func.count()).where(*follow_ups)) or 0


def kill(pid: int, worker: Process, at_the_desk: Desk, number: int) -> None:
    """End the process that sends, and let its lease run out, as time would."""
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), worker)
    statement = text(
        "UPDATE cairnloop.jobs SET lease_until = clock_timestamp()"
        " WHERE name = 'outbound.deliver' AND state = 'running' AND (arguments->>'delivery_id')::bigint = :id"
    )
    at_the_desk(lambda session: session.execute(statement, {"id": number}))


def becomes(state: DeliveryState, at_the_desk: Desk, worker: Process, number: int) -> None:
    wait_until(lambda: at_the_desk(lambda s: s.get_one(OutboundDelivery, number).state) is state, worker)


@pytest.mark.parametrize(("where", "left"), [(BEFORE, 0), (DURING, 1)])
def test_one_that_was_cut_off_is_uncertain_and_sent_again_by_a_person_only(
    worker: Process, redis: Redis, at_the_desk: Desk, where: str, left: int
) -> None:
    place = Place(redis, where)
    number = sent(at_the_desk, place.customer)
    first = place.reached()
    assert at_the_desk(lambda s: seen(s, number, place.customer)) == (S.SENDING, left, 0)
    kill(first, worker, at_the_desk, number)
    becomes(S.UNCERTAIN, at_the_desk, worker, number)
    assert at_the_desk(lambda s: seen(s, number, place.customer)) == (S.UNCERTAIN, left, 0)
    if left:
        at_the_desk(lambda s: service.mark_delivered(s, number, actor=OMAR, reason="It is in their log."))
    else:
        at_the_desk(lambda s: service.send_again(s, number, actor=OMAR, reason="Their log has nothing."))
        place.reached()
        place.go_on()
    becomes(S.DELIVERED, at_the_desk, worker, number)
    assert at_the_desk(lambda s: seen(s, number, place.customer)) == (S.DELIVERED, 1, 1)


def test_one_whose_worker_is_killed_after_its_end_was_written_is_sent_once(
    worker: Process, redis: Redis, at_the_desk: Desk
) -> None:
    place = Place(redis, AFTER)
    number = sent(at_the_desk, place.customer)
    pid = place.reached()
    assert at_the_desk(lambda s: seen(s, number, place.customer)) == (S.DELIVERED, 1, 1)
    kill(pid, worker, at_the_desk, number)
    other = Customer(f"behind-it-{number}")
    becomes(S.DELIVERED, at_the_desk, worker, sent(at_the_desk, other))
    assert at_the_desk(lambda s: seen(s, number, place.customer)) == (S.DELIVERED, 1, 1)
