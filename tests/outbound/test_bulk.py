"""Many deliveries under crashes, retries and people at once: nobody gets two, nobody is lost, no doubt is kept quiet.

Hypothesis draws what the host does with each, at which commit a worker is cut off, and what people do meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, select, text
from sqlalchemy.orm import Session

from flask_cairnloop import Customer
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.conversations.models import Message, MessageKind
from flask_cairnloop.errors import Conflict
from flask_cairnloop.jobs.relay import sweep
from flask_cairnloop.outbound import service
from flask_cairnloop.outbound.models import OutboundDelivery
from flask_cairnloop.outbound.types import DeliveryState, Reason
from flask_cairnloop.testing import run_jobs
from tests.outbound.conftest import MINA, OMAR, Desk, Post, SafePost

S = DeliveryState
MANY = 4
WAYS = ("take", "take", "take and say so", "later", "answer later", "refuse", "raise", "take and raise")
# Which commit of a job, and on which side of it: the first says that the host will be asked, the second how it ended.
CUTS = (None, None, None, ("before", 1), ("after", 1), ("before", 2), ("after", 2))
DEEDS = ("nothing", "nothing", "nothing", "send", "cancel", "retry", "say delivered", "send again", "reply")
PLAN = st.lists(st.lists(st.sampled_from(WAYS), max_size=3), min_size=MANY, max_size=MANY)


class Cut(BaseException):
    """The worker that runs a job is killed here: nothing of the job runs any more, and nothing more is written."""


class Saboteur:
    """Cuts a job off at one of its commits."""

    def __init__(self) -> None:
        self.armed: tuple[str, int] | None = None
        self.seen = {"before": 0, "after": 0}

    def arm(self, cut: tuple[str, int] | None) -> None:
        self.armed, self.seen = cut, {"before": 0, "after": 0}

    def strike(self, side: str, session: Session) -> None:
        if session.in_nested_transaction() or self.armed is None:
            return
        self.seen[side] += 1
        if self.armed == (side, self.seen[side]):
            self.armed = None
            raise Cut

    @contextmanager
    def listening(self) -> Iterator[None]:
        before = lambda session: self.strike("before", session)  # noqa: E731 - the same one is taken off again
        after = lambda session: self.strike("after", session)  # noqa: E731
        event.listen(Session, "before_commit", before)
        event.listen(Session, "after_commit", after)
        try:
            yield
        finally:
            event.remove(Session, "before_commit", before)
            event.remove(Session, "after_commit", after)


def work(desk: Desk, saboteur: Saboteur, cut: tuple[str, int] | None) -> bool:
    """A worker runs one job, or is cut off in it; then its lease runs out. Returns whether there was one."""
    saboteur.arm(cut)
    try:
        return run_jobs(desk.app, within=timedelta(hours=1), limit=1) > 0
    except Cut:
        saboteur.arm(None)
        desk.do(lambda s: s.execute(text("UPDATE cairnloop.jobs SET lease_until = now() WHERE state = 'running'")))
        with desk.app.app_context():
            sweep(desk.app.extensions["cairnloop"])
        return True
    finally:
        saboteur.arm(None)


def do(desk: Desk, deed: str, envelope: int, number: int, customer: Customer) -> bool:
    """A person does something, or finds that it does not fit. Returns whether they had it sent once more."""
    try:
        match deed:
            case "send":
                desk.submit(envelope, OMAR)
            case "cancel":
                desk.do(lambda s: service.cancel(s, number, actor=OMAR))
            case "retry":
                desk.do(lambda s: service.retry(s, number, actor=OMAR))
            case "say delivered":
                desk.do(lambda s: service.mark_delivered(s, number, actor=OMAR, reason="They said so."))
            case "send again":
                desk.do(lambda s: service.send_again(s, number, actor=OMAR, reason="Their log has nothing."))
                return True
            case "reply":
                desk.asked(customer, "I have written")
    except Conflict:
        pass
    return False


def facts(desk: Desk, envelope: int) -> list[tuple[OutboundDelivery, int, list[str]]]:
    """Each delivery, how often its words stand in the chat, and its audit entries."""

    def read(session: Session) -> list[tuple[OutboundDelivery, int, list[str]]]:
        found = session.scalars(
            select(OutboundDelivery).where(OutboundDelivery.envelope_id == envelope).order_by(OutboundDelivery.position)
        ).all()
        return [
            (
                one,
                session.scalar(
                    select(func.count()).where(
                        Message.conversation_id == one.conversation_id,
                        Message.kind == MessageKind.FOLLOW_UP,
                        Message.body == one.body,
                    )
                )
                or 0,
                list(
                    session.scalars(
                        select(AuditEntry.action)
                        .where(AuditEntry.subject_type == "follow_up", AuditEntry.subject_id == one.id)
                        .order_by(AuditEntry.id)
                    )
                ),
            )
            for one in found
        ]

    return desk.do(read)


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "BULK_LIMIT": MANY}


@pytest.mark.parametrize("kind", [Post, SafePost])
def test_nobody_gets_two_nobody_is_lost_and_doubt_is_told(make_app: Callable[..., Flask], kind: type[Post]) -> None:
    post, saboteur = kind(), Saboteur()
    desk = Desk(make_app(ON_OUTBOUND=post))
    template = desk.template("Dear {{customer.name}}")
    run_jobs(desk.app)

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
    @given(
        ways=PLAN,
        cuts=st.lists(st.sampled_from(CUTS), max_size=12),
        deeds=st.lists(st.tuples(st.sampled_from(DEEDS), st.integers(0, MANY - 1)), max_size=10),
    )
    def story(ways: list[list[str]], cuts: list[Any], deeds: list[tuple[str, int]]) -> None:
        customers = [desk.customer(f"Customer {number}") for number in range(MANY)]
        places = [desk.asked(one) for one in customers]
        run_jobs(desk.app)  # the drafts that were asked for by these words
        for customer, theirs in zip(customers, ways, strict=True):
            post.ways[customer.ref] = list(theirs)
        envelope = desk.preview(places, template).id
        texts = [row.body for row in desk.rows(envelope)]
        numbers = [row.id for row in desk.rows(envelope)]
        desk.submit(envelope)
        asked_again = dict.fromkeys(numbers, 0)
        plan, left = list(cuts), list(deeds)
        for _ in range(200):
            worked = work(desk, saboteur, plan.pop(0) if plan else None)
            if left:
                deed, which = left.pop(0)
                asked_again[numbers[which]] += do(desk, deed, envelope, numbers[which], customers[which])
            elif not worked:
                break
        else:
            raise AssertionError("It does not come to an end.")

        for place, (row, in_chat, told) in enumerate(facts(desk, envelope)):
            taken = post.to(customers[place].ref)
            assert row.body == texts[place]
            assert {(one.body, one.key) for one in taken} <= {(texts[place], row.key)}
            assert row.state not in (S.PREVIEWED, S.SCHEDULED, S.SENDING)  # nobody is lost
            assert in_chat == (row.state is S.DELIVERED)
            if kind is Post:
                assert len(taken) <= 1 + asked_again[row.id]  # a second one only where a person wanted it
            if taken and row.state is not S.DELIVERED:
                # It left, and nobody could write it down: that was told, and stands until a person decides.
                assert "outbound.uncertain" in told
            if row.state is S.UNCERTAIN:
                assert told[-1] == "outbound.uncertain"
            if row.state is S.DELIVERED and not taken:
                assert "outbound.uncertain" in told  # a person said so
            if row.state is S.CANCELLED:
                assert row.reason in (Reason.PERSON, Reason.REPLIED)

    with saboteur.listening():
        story()


def test_workers_and_people_at_one_moment_send_once(make_app: Callable[..., Flask]) -> None:
    post = Post()
    desk = Desk(make_app(ON_OUTBOUND=post))
    template = desk.template("Dear {{customer.name}}")

    @settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
    @given(deeds=st.lists(st.sampled_from((*DEEDS[3:], "work", "work")), min_size=2, max_size=4))
    def story(deeds: list[str]) -> None:
        customers = [desk.customer(f"Customer {number}") for number in range(MANY)]
        places = [desk.asked(one) for one in customers]
        run_jobs(desk.app)
        envelopes = [desk.preview(places, template).id for _ in range(2)]  # two people prepared the same
        number = desk.rows(envelopes[0])[0].id
        gate, faults = threading.Barrier(len(deeds) + 2), []

        def turn(deed: str, envelope: int) -> None:
            try:
                gate.wait(20)
                if deed == "work":
                    run_jobs(desk.app, limit=3)
                else:
                    do(desk, deed, envelope, number, customers[0])
            except BaseException as fault:
                faults.append(fault)

        turns = [(deed, envelopes[0]) for deed in deeds] + [("send", one) for one in envelopes]
        threads = [threading.Thread(target=turn, args=one) for one in turns]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not faults
        run_jobs(desk.app, within=timedelta(hours=1))
        for place, customer in enumerate(customers):
            states = [desk.rows(one)[place].state for one in envelopes]
            assert len(post.to(customer.ref)) == states.count(S.DELIVERED) <= 1
            assert all(state in (S.DELIVERED, S.SKIPPED, S.CANCELLED) for state in states)

    story()


def test_a_person_who_sends_what_was_refused_in_parts_reaches_each_once(make_app: Callable[..., Flask]) -> None:
    post = Post()
    desk = Desk(make_app(ON_OUTBOUND=post))
    customers = [desk.customer() for _ in range(2 * MANY + 1)]
    refused = desk.preview([desk.asked(one) for one in customers], desk.template())
    parts = desk.do(lambda s: service.split(s, refused.id, actor=MINA))
    for part in parts:
        desk.submit(part.id)
        with pytest.raises(Conflict):
            desk.submit(part.id, OMAR)
    run_jobs(desk.app)
    assert [len(post.to(one.ref)) for one in customers] == [1] * len(customers)
