"""The host of the other tests, with places at which a test can stop it: there its process is killed, or waits.

A process stops only for customers whose reference begins with the place's name, so that all others show that nobody
else is held up.
"""

from __future__ import annotations

import os
import time
from typing import Any
from uuid import uuid4

from flask import Flask, current_app
from redis import Redis
from sqlalchemy import select

from flask_cairnloop import BreachEvent, ConversationInfo, Customer, DraftInfo, ResolvedEvent, signals
from flask_cairnloop.conversations.models import Conversation, CustomerRecord
from flask_cairnloop.jobs import JobContext, QueueName, job
from tests.support import host
from tests.support.host import HostNote

AT_THE_POLICY = "at-the-policy"
AFTER_COMMIT = "after-commit"
TOLD = "told"
PAGED = "paged"
HANGS = "hangs"
HANG_SECONDS = 30.0
LONGEST_STOP = 60


class Place:
    """A customer for whom processes of the host stop, seen from the test."""

    def __init__(self, redis: Redis, place: str) -> None:
        self._redis = redis
        self.customer = Customer(f"{place}-{uuid4().hex[:8]}", "Cleo Marsh")

    def reached(self, seconds: int = 40) -> int:
        """The process that stands there now."""
        found = self._redis.blpop([f"{self.customer.ref}:here"], timeout=seconds)
        assert found is not None, f"Nobody came there within {seconds} s."
        return int(found[1])

    def go_on(self) -> None:
        self._redis.rpush(f"{self.customer.ref}:on", 1)


def stop(place: str, ref: str) -> None:
    """Wait for :meth:`Place.go_on`, where this customer is one to stop for."""
    if not ref.startswith(place):
        return
    with Redis.from_url(current_app.extensions["cairnloop"].settings.redis_url) as redis:
        redis.rpush(f"{ref}:here", os.getpid())
        if redis.blpop([f"{ref}:on"], timeout=LONGEST_STOP) is None:
            raise TimeoutError


def create_app() -> Flask:
    """The host of the environment; it stops after commits, where a test wants that."""
    app = host.create_app()
    for signal in (signals.message_received, signals.reply_sent, signals.sla_breached):
        signal.connect(_committed, app, weak=False)
    return app


def _committed(app: Flask, *, conversation_id: int, **_: Any) -> None:
    stop(AFTER_COMMIT, ref_of(app, conversation_id))


def ref_of(app: Flask, conversation_id: int) -> str:
    """Whose conversation it is."""
    session = app.extensions["sqlalchemy"].session
    ref = session.scalars(
        select(CustomerRecord.ref)
        .join(Conversation, Conversation.customer_id == CustomerRecord.id)
        .where(Conversation.id == conversation_id)
    ).one()
    session.remove()
    return str(ref)


def allow(draft: DraftInfo) -> str:
    """An ``AUTOMATION_POLICY`` under which a grounded reply is sent by itself."""
    stop(AT_THE_POLICY, draft.customer.ref)
    return "allow"


def page(event: BreachEvent) -> None:
    """An ``ON_SLA_BREACH`` whose effect lies outside: every call leaves a note with its key, at once."""
    notes = current_app.extensions["sqlalchemy"].session
    notes.add(HostNote(body=event.key))
    notes.commit()
    stop(PAGED, event.customer.ref)


def tell(event: ResolvedEvent) -> None:
    """An ``ON_CONVERSATION_RESOLVED`` whose effect lies outside: every call leaves a note with its key, at once."""
    session = current_app.extensions["sqlalchemy"].session
    session.add(HostNote(body=f"told {event.key}"))
    session.commit()
    stop(TOLD, event.customer.ref)


@job("faults.note", queue=QueueName.INTERACTIVE, max_attempts=3)
def leave_note(context: JobContext, *, body: str) -> None:
    context.session.add(HostNote(body=body))


# Hooks that take longer than anybody waits.


def hanging_verifier(token: str) -> Customer | None:
    """A ``CUSTOMER_VERIFIER``."""
    customer = host.verifier(token)
    _hang(customer)
    return customer


def hanging_context(customer: Customer, _conversation: ConversationInfo) -> dict[str, str]:
    """A ``CONTEXT_PROVIDER``."""
    _hang(customer)
    return {"Plan": "Team"}


def hanging_policy(draft: DraftInfo) -> str:
    """An ``AUTOMATION_POLICY``."""
    _hang(draft.customer)
    return "draft_only"


def _hang(customer: Customer | None) -> None:
    """As where host code looks something up first, and then asks a service that does not answer."""
    if customer is not None and customer.ref.startswith(HANGS):
        current_app.extensions["sqlalchemy"].session.scalar(select(HostNote.id).limit(1))
        time.sleep(HANG_SECONDS)
