"""Processes of a host that can be stopped in the middle, and people who lose nothing and see nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from flask_cairnloop import Customer
from flask_cairnloop.conversations.models import Conversation, Message, MessageKind
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.jobs import Job, JobState
from tests.faults.clients import Operator, Page, Patient
from tests.support import processes

Desk = Callable[[Callable[[Session], Any]], Any]


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    """These customers write in seconds what others write in a day."""
    return {**config, "RATE_LIMITS": {"messages": None, "frames": None}}


@pytest.fixture(scope="module")
def live_server(database_url: str, redis_url: str, config: dict[str, Any]) -> Iterator[processes.Process]:
    environment = processes.environment(database_url, redis_url, **config)
    with processes.web_server(environment, app="tests.faults.host:create_app()") as process:
        yield process


@pytest.fixture(scope="module")
def worker(database_url: str, redis_url: str, config: dict[str, Any]) -> Iterator[processes.Process]:
    environment = processes.environment(database_url, redis_url, **config)
    with processes.worker(environment, app="tests.faults.host:create_app") as process:
        yield process


@pytest.fixture
def people() -> Iterator[ExitStack]:
    """Whoever is put here hangs up at the end of the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def open_chat(
    live_server: processes.Process, people: ExitStack, issue: Callable[[Customer], str]
) -> Callable[[Customer], Patient]:
    """``open_chat(customer)`` is their client, connected to the live server."""

    def connect(customer: Customer) -> Patient:
        patient = Patient(live_server.url, issue(customer))
        people.callback(patient.leave)
        patient.come_back()
        return patient

    return connect


@pytest.fixture
def console(live_server: processes.Process, people: ExitStack) -> Operator:
    operator = Operator(live_server.url)
    people.callback(operator.leave)
    return operator


@pytest.fixture
def open_page(live_server: processes.Process, people: ExitStack) -> Callable[[int], Page]:
    """``open_page(conversation_id)`` is an operator's page on it, with its socket."""

    def load(conversation_id: int) -> Page:
        page = Page(live_server.url, conversation_id)
        people.callback(page.leave)
        page.come_back()
        return page

    return load


@pytest.fixture
def spoken(at_the_desk: Desk) -> Callable[..., dict[int, str]]:
    """``spoken(conversation_id)``: what the database holds of it, by sequence; notes too with ``notes=True``."""

    def read(conversation_id: int | None, *, notes: bool = False) -> dict[int, str]:
        kinds = [MessageKind.CUSTOMER, MessageKind.REPLY, *([MessageKind.NOTE] if notes else [])]
        wanted = select(Message.sequence, Message.body).where(
            Message.conversation_id == conversation_id, Message.kind.in_(kinds)
        )
        found = at_the_desk(lambda session: session.execute(wanted.order_by(Message.sequence)).all())
        return {row.sequence: row.body for row in found}

    return read


def answered(session: Session, conversations: list[int]) -> bool:
    """Whether each of them has a draft for its customer's newest words."""
    fitting = (
        select(func.count())
        .select_from(Draft)
        .join(Conversation, Conversation.id == Draft.conversation_id)
        .where(
            Conversation.id.in_(conversations),
            Draft.state == DraftState.READY,
            Draft.answers_sequence == Conversation.last_customer_sequence,
        )
    )
    return session.scalar(fitting) == len(conversations)


def unfinished(session: Session) -> list[tuple[int, JobState]]:
    """Jobs that have not ended well, nor were replaced by a newer one."""
    ended = (JobState.SUCCEEDED, JobState.DISCARDED)
    return [(row.id, row.state) for row in session.execute(select(Job.id, Job.state).where(Job.state.not_in(ended)))]


def most(waits: list[float]) -> float:
    """What nine of ten waited at most."""
    return sorted(waits)[int(0.9 * len(waits))]
