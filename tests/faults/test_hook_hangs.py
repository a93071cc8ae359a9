"""A hook of the host hangs for half a minute: whoever needs it is answered in time, and nobody else waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, receive
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.drafting.types import PolicyDecision
from flask_cairnloop.jobs import Job, JobState
from flask_cairnloop.realtime.sockets import CloseCode
from tests.faults.clients import Operator, Patient
from tests.faults.conftest import Desk, most
from tests.faults.host import HANG_SECONDS, HANGS
from tests.support.processes import Process, wait_until

HOOK_TIMEOUT = 1.0
IN_TIME = HOOK_TIMEOUT + 2.0
AT_ONCE = 1.0
HANGING = 6  # at the same time


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {
        **config,
        "HOOK_TIMEOUT": HOOK_TIMEOUT,
        "CUSTOMER_VERIFIER": "tests.faults.host:hanging_verifier",
        "CONTEXT_PROVIDER": "tests.faults.host:hanging_context",
        "AUTOMATION_POLICY": "tests.faults.host:hanging_policy",
    }


def unlucky() -> Customer:
    """A customer at whom every hook hangs."""
    return Customer(f"{HANGS}-{uuid4().hex[:8]}", "Cleo Marsh")


def timed(act: Callable[[], Any]) -> tuple[Any, float]:
    started = time.monotonic()
    return act(), time.monotonic() - started


def meanwhile(hanging: list[Future[Any]], act: Callable[[], Any]) -> list[float]:
    """How long something takes, again and again, until nobody hangs any more."""
    waits = []
    while not all(one.done() for one in hanging):
        waits.append(timed(act)[1])
    return waits


def ask(customer: Customer) -> Callable[[Session], int]:
    return lambda session: receive(session, customer=customer, body="Hello", channel="widget").conversation_id


def test_a_page_whose_context_hangs_says_so_in_time_and_holds_up_no_other(
    console: Operator, at_the_desk: Desk, customer: Customer
) -> None:
    hung, other = at_the_desk(ask(unlucky())), at_the_desk(ask(customer))

    def panel(conversation_id: int) -> str:
        answer = console.get(f"/conversations/{conversation_id}/context", "context-body")
        assert answer.status_code == 200
        return answer.text

    with ThreadPoolExecutor(HANGING) as pool:
        hanging = [pool.submit(timed, lambda: panel(hung)) for _ in range(HANGING)]
        waits = meanwhile(hanging, lambda: panel(other))
        answers = [one.result(HANG_SECONDS) for one in hanging]
    assert "Team" in panel(other)
    for shown, seconds in answers:
        assert "Your app did not answer." in shown
        assert seconds < IN_TIME
    assert most(waits) < AT_ONCE


def test_a_join_whose_verifier_hangs_is_put_off_in_time_and_holds_up_no_other(
    open_chat: Callable[[Customer], Patient], customer: Customer
) -> None:
    chat = open_chat(customer)
    chat.say("Hello")
    chat.settle()
    refused = [open_chat(unlucky()) for _ in range(HANGING)]
    with ThreadPoolExecutor(HANGING) as pool:
        hanging = [pool.submit(timed, lambda chat=chat: chat.until(lambda: not chat.here)) for chat in refused]  # type: ignore[misc]
        chat.waits.clear()

        def speak() -> None:
            chat.say("Is anybody there?")
            chat.settle()

        meanwhile(hanging, speak)
        assert all(one.result(HANG_SECONDS)[1] < IN_TIME for one in hanging)
    assert [one.ends for one in refused] == [[CloseCode.TRY_LATER]] * HANGING
    assert [one.errors for one in refused] == [[]] * HANGING
    assert most(chat.waits) < AT_ONCE


def test_a_draft_whose_policy_hangs_waits_for_a_person_in_time_and_holds_up_no_other(
    worker: Process, at_the_desk: Desk, customer: Customer
) -> None:
    def made(conversation_id: int) -> Draft:
        def ready(session: Session) -> Draft | None:
            statement = select(Draft).where(Draft.conversation_id == conversation_id, Draft.state == DraftState.READY)
            return session.scalars(statement).one_or_none()

        return wait_until(lambda: at_the_desk(ready), worker)

    made(at_the_desk(ask(customer)))  # the model is loaded
    hung = at_the_desk(ask(unlucky()))
    other = at_the_desk(ask(Customer(f"another-{uuid4().hex[:8]}")))
    draft = made(hung)
    assert (draft.policy, draft.policy_reason) == (
        PolicyDecision.REQUIRE_APPROVAL,
        "Your app’s policy did not answer in time, so a person decides.",
    )
    assert made(other).policy is PolicyDecision.DRAFT_ONLY

    def runs(session: Session) -> list[Job]:
        jobs = select(Job).where(Job.name == "drafting.draft").order_by(Job.id.desc()).limit(2)
        return list(session.scalars(jobs))

    next_one, hanging = at_the_desk(runs)
    assert (hanging.state, hanging.attempt) == (JobState.SUCCEEDED, 1)
    assert (hanging.finished_at - hanging.started_at).total_seconds() < IN_TIME
    assert (next_one.finished_at - hanging.finished_at).total_seconds() < AT_ONCE
