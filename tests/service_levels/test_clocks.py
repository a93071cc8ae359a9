"""Clocks in the database: what starts, stops and ends them, and what happens when one runs out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from flask_cairnloop import (
    Actor,
    BusinessHours,
    Customer,
    Interval,
    ServiceLevel,
    open_conversation,
    receive,
    reply,
    resolve,
    signals,
    testing,
)
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.conversations import bulk, mentions, service, triage
from flask_cairnloop.conversations.models import EventName, Message, Priority
from flask_cairnloop.errors import Conflict, InvalidInput
from flask_cairnloop.hooks import ConversationInfo
from flask_cairnloop.jobs import Job, JobState, enqueue
from flask_cairnloop.privacy import service as privacy
from flask_cairnloop.service_levels import reckoning
from flask_cairnloop.service_levels import service as policies
from flask_cairnloop.service_levels.jobs import BATCH, overdue
from flask_cairnloop.service_levels.models import ServiceAnswer, ServiceClock
from flask_cairnloop.service_levels.targets import ClockState, DueState, Target
from flask_cairnloop.service_levels.types import Policy, Rule
from flask_cairnloop.testing import enqueued
from tests.service_levels.conftest import ACTOR, DAY_ONE, HOUR, MINA, Desk, Told, policy, promise, put_in_force

FIRST, NEXT, RESOLUTION = Target
RUNNING, PAUSED, MET, CANCELLED = ClockState


# --- what starts, stops and ends a clock ------------------------------------------------------------------------------


def test_a_first_answer_has_its_hour_and_the_list_knows_by_when(desk: Desk) -> None:
    number = desk.asks()
    clock, row = desk.clock(number), desk.row(number)
    assert (clock.state, clock.due_at, clock.promised) == (RUNNING, DAY_ONE + HOUR, 3600)
    assert (row.due_at, row.due_target, row.due_state) == (DAY_ONE + HOUR, FIRST, DueState.RUNNING)
    desk.after(0.5).answers(number)
    clock, row = desk.clock(number), desk.row(number)
    assert (clock.state, clock.ended_at, clock.breached_at) == (MET, DAY_ONE + HOUR / 2, None)
    assert (row.due_at, row.due_target, row.due_state) == (None, None, None)
    desk.after(3)
    assert [one.state for one in desk.clocks(number)] == [MET]


def test_an_answer_takes_the_deadline_off_the_list_at_once(desk: Desk) -> None:
    number = desk.asks()
    desk.do(lambda s: reply(s, number, actor=ACTOR, body="Yes."))  # and no worker runs yet
    assert desk.row(number).due_at is None


def test_further_words_move_nothing_and_those_after_an_answer_have_a_clock_of_their_own(desk: Desk) -> None:
    number = desk.asks()
    desk.after(0.5).asks("Hello?", number)
    assert desk.row(number).due_at == DAY_ONE + HOUR
    desk.answers(number)
    desk.after(1).asks("And now?", number)
    assert desk.row(number).due_target is NEXT
    assert desk.row(number).due_at == desk.moment + 2 * HOUR
    desk.after(1).answers(number)
    assert [(one.target, one.state) for one in desk.clocks(number)] == [(FIRST, MET), (NEXT, MET)]


def test_words_and_their_answer_before_any_worker_came_are_in_the_history(desk: Desk) -> None:
    found = desk.do(lambda s: receive(s, customer=desk.customer, body="Anybody?", channel="widget"))
    desk.do(lambda s: reply(s, found.conversation_id, actor=ACTOR, body="Yes."))
    desk.work()
    assert [(one.target, one.state) for one in desk.clocks(found.conversation_id)] == [(FIRST, MET)]


def test_a_first_word_of_ours_is_no_wait(desk: Desk) -> None:
    opened = desk.do(lambda s: open_conversation(s, customer=desk.customer, actor=MINA, subject="Your order"))
    desk.answers(opened.id, "On its way.")
    desk.after(3).asks("Thanks, where is it?", opened.id)
    assert [(one.target, one.state) for one in desk.clocks(opened.id)] == [(NEXT, RUNNING)]


def test_a_resolution_waits_with_its_customer_and_not_with_us(desk: Desk) -> None:
    desk.do(lambda s: put_in_force(s, policy(targets={Priority.NORMAL: promise(None, None, 4)})))
    number = desk.asks()
    desk.after(1).answers(number)  # an hour is used up
    clock = desk.clock(number, RESOLUTION)
    assert (clock.state, clock.due_at, clock.remaining) == (PAUSED, None, 3 * 3600)
    assert desk.row(number).due_at is None
    desk.after(50).asks("Still broken", number)
    assert desk.row(number).due_at == desk.moment + 3 * HOUR
    desk.after(2).do(lambda s: resolve(s, number, actor=ACTOR))
    desk.work()
    clock = desk.clock(number, RESOLUTION)
    assert (clock.state, clock.ended_at, clock.breached_at) == (MET, desk.moment, None)


def test_a_snooze_and_spam_stop_the_clock(desk: Desk) -> None:
    number = desk.asks()
    desk.after(0.5).do(lambda s: triage.snooze(s, number, actor=ACTOR, until=desk.moment + 5 * HOUR))
    desk.work()
    assert (desk.clock(number).state, desk.row(number).due_at) == (PAUSED, None)
    desk.after(5)  # it wakes by itself
    assert desk.row(number).due_at == desk.moment + HOUR / 2
    desk.do(lambda s: triage.mark_spam(s, number, actor=ACTOR))
    desk.after(9).do(lambda s: triage.unmark_spam(s, number, actor=ACTOR))
    desk.work()
    assert (desk.clock(number).state, desk.row(number).due_at) == (RUNNING, desk.moment + HOUR / 2)


def test_a_customers_words_end_a_snooze_and_the_clock_goes_on(desk: Desk) -> None:
    number = desk.asks()
    desk.do(lambda s: triage.snooze(s, number, actor=ACTOR, until=desk.moment + 90 * HOUR))
    desk.after(5).asks("I am still here", number)
    assert desk.row(number).due_at == desk.moment + HOUR


def test_what_is_resolved_without_an_answer_owes_none(desk: Desk) -> None:
    number = desk.asks()
    desk.do(lambda s: resolve(s, number, actor=ACTOR))
    desk.after(2)
    assert [(one.state, one.breached_at) for one in desk.clocks(number)] == [(CANCELLED, None)]
    desk.asks("One more thing", number)
    assert [one.state for one in desk.clocks(number)] == [CANCELLED, RUNNING]
    assert desk.row(number).due_at == desk.moment + HOUR


def test_a_resolution_that_is_taken_back_leaves_the_customer_waiting(desk: Desk) -> None:
    number = desk.asks()
    step = bulk.Step(bulk.Does.RESOLVE)
    done = desk.do(lambda s: bulk.do(s, [number], step, actor=ACTOR))
    desk.work()
    assert desk.row(number).due_at is None
    desk.do(lambda s: bulk.undo(s, done.step_id, actor=ACTOR))
    desk.work()
    assert desk.row(number).due_at == desk.moment + HOUR
    desk.answers(number)
    assert [one.state for one in desk.clocks(number)] == [CANCELLED, MET]


def test_a_snooze_that_is_taken_back_makes_nobody_wait(desk: Desk) -> None:
    number = desk.asks()
    desk.answers(number)
    step = bulk.Step(bulk.Does.SNOOZE, until=desk.moment + 5 * HOUR)
    done = desk.do(lambda s: bulk.do(s, [number], step, actor=ACTOR))
    desk.do(lambda s: bulk.undo(s, done.step_id, actor=ACTOR))
    desk.after(1).asks("Hm", number)
    assert desk.clock(number, NEXT).started_at == desk.moment


def test_business_hours_move_the_deadline_over_the_night(desk: Desk) -> None:
    office = BusinessHours(
        "Europe/Berlin", ((Interval(time(9), time(17)),),) * 5 + ((), ()), frozenset({date(2031, 3, 4)})
    )
    desk.do(lambda s: put_in_force(s, policy(hours=office)))
    desk.moment = datetime(2031, 3, 3, 15, 40, tzinfo=UTC)  # 16:40 on Monday, and Tuesday is a holiday
    number = desk.asks()
    assert desk.row(number).due_at == datetime(2031, 3, 5, 8, 40, tzinfo=UTC)


# --- what changes the deadline ----------------------------------------------------------------------------------------


def test_urgency_brings_the_deadline_nearer(desk: Desk) -> None:
    number = desk.asks()
    desk.do(lambda s: triage.set_priority(s, number, actor=ACTOR, priority=Priority.URGENT))
    desk.work()
    assert desk.row(number).due_at == DAY_ONE + HOUR / 4


def test_a_policy_that_changes_moves_every_open_deadline(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_cairnloop.service_levels.jobs.BATCH", 2)
    numbers = []
    for one in range(5):
        desk.customer = Customer(f"{desk.customer.ref}-{one}")
        numbers.append(desk.asks())
    desk.answers(numbers[0])
    desk.do(lambda s: put_in_force(s, policy(targets={Priority.NORMAL: promise(3)})))
    desk.work()
    assert [desk.row(number).due_at for number in numbers] == [None] + [DAY_ONE + 3 * HOUR] * 4
    desk.do(lambda s: put_in_force(s, policy(), in_force=False))
    desk.work()
    assert [desk.clock(number).state for number in numbers] == [MET] + [CANCELLED] * 4
    assert [desk.row(number).due_at for number in numbers] == [None] * 5
    assert BATCH > 2


def test_what_waited_before_there_was_a_policy_is_not_held_against_it(
    app: Flask, customer: Customer, told: Told
) -> None:
    desk = Desk(app, customer)
    number = desk.asks()
    desk.after(5).do(lambda s: put_in_force(s, policy()))
    desk.work()
    assert desk.row(number).due_at == desk.moment + HOUR
    assert told.events == []


def test_of_two_who_save_the_policy_one_is_told(desk: Desk) -> None:
    seen = desk.do(service_version)
    desk.do(lambda s: put_in_force(s, policy()))
    with pytest.raises(Conflict):
        desk.do(lambda s: policies.save(s, policy(), in_force=True, seen=seen, actor=ACTOR))
    with pytest.raises(InvalidInput):
        desk.do(lambda s: put_in_force(s, Policy()))


def service_version(session: Any) -> int:
    newest = policies.newest(session)
    return newest.version if newest else 0


# --- a deadline that passes -------------------------------------------------------------------------------------------


def test_a_breach_is_warned_of_and_then_told_of_once_everywhere(app: Flask, desk: Desk, told: Told) -> None:
    heard: list[dict[str, Any]] = []

    def hear(_app: Flask, **payload: Any) -> None:
        heard.append(payload)

    number = desk.asks()
    with signals.sla_breached.connected_to(hear, app):
        desk.after(0.5)
        assert desk.row(number).due_state is DueState.RUNNING
        desk.after(0.3)
        assert desk.row(number).due_state is DueState.SOON
        assert told.events == []
        desk.after(0.2)
        assert desk.row(number).due_state is DueState.BREACHED
        desk.after(30)
    clock = desk.clock(number)
    (event,) = told.events
    assert event.key == f"service_clock:{clock.id}:breached"
    assert (event.conversation_id, event.target, event.due_at) == (number, "first_response", DAY_ONE + HOUR)
    assert (event.actor_id, event.customer.ref) == ("system:service_levels", desk.customer.ref)
    assert event.metadata["promised_seconds"] == 3600
    assert heard == [{"conversation_id": number, "clock_id": clock.id, "target": "first_response"}]
    entries = desk.do(lambda s: s.scalars(select(AuditEntry).where(AuditEntry.action == "service_level.breach")).all())
    assert [(one.subject_id, one.data["target"]) for one in entries] == [(number, "first_response")]
    said = select(Message.data["target"].astext).where(Message.event == EventName.BREACHED)
    assert desk.do(lambda s: s.scalars(said).all()) == ["first_response"]
    assert (clock.state, clock.due_at) == (RUNNING, DAY_ONE + HOUR)
    desk.answers(number)
    clock = desk.clock(number)
    assert (clock.state, clock.due_at, clock.ended_at) == (MET, DAY_ONE + HOUR, desk.moment)
    assert desk.row(number).due_state is None


def test_a_host_that_is_busy_is_told_again_under_the_same_key(desk: Desk, told: Told) -> None:
    told.busy = 2
    desk.asks()
    desk.after(3)
    assert len(told.events) == 3
    assert len({event.key for event in told.events}) == 1


def test_an_answer_at_the_last_moment_counts_though_the_worker_comes_late(desk: Desk, told: Told) -> None:
    number = desk.asks()
    desk.moment = DAY_ONE + HOUR - timedelta(seconds=1)
    desk.do(lambda s: reply(s, number, actor=ACTOR, body="Just in time."))
    desk.moment = DAY_ONE + 2 * HOUR
    desk.work()
    assert (desk.clock(number).state, desk.clock(number).breached_at, told.events) == (MET, None, [])


def test_an_answer_that_came_late_while_no_worker_ran_is_a_breach_all_the_same(desk: Desk, told: Told) -> None:
    number = desk.asks()
    desk.moment = DAY_ONE + 2 * HOUR
    desk.do(lambda s: reply(s, number, actor=ACTOR, body="Sorry."))
    desk.work()
    clock = desk.clock(number)
    assert (clock.state, clock.due_at) == (MET, DAY_ONE + HOUR)
    assert [event.metadata["ended"] for event in told.events] == [True]


def test_a_policy_that_comes_later_takes_no_breach_back(desk: Desk, told: Told) -> None:
    number = desk.asks()
    desk.after(1)
    desk.do(lambda s: put_in_force(s, policy(targets={Priority.NORMAL: promise(9)})))
    desk.after(20)
    assert (desk.row(number).due_state, desk.row(number).due_at) == (DueState.BREACHED, DAY_ONE + HOUR)
    assert len(told.events) == 1


@pytest.mark.parametrize("rule", [Rule.RAISE, Rule.TEAM, Rule.NOTIFY])
def test_the_policys_rule_is_followed_once(desk: Desk, rule: Rule) -> None:
    desk.do(lambda s: put_in_force(s, policy(rule=rule, team="Night")))
    number = desk.asks()
    desk.do(lambda s: service.assign(s, number, actor=ACTOR, assignee=MINA))
    desk.after(30)
    row = desk.row(number)
    told = [one.note.event for one in desk.do(lambda s: mentions.latest(s, MINA.id))]
    assert row.priority == (Priority.HIGH if rule is Rule.RAISE else Priority.NORMAL)
    assert row.team == ("Night" if rule is Rule.TEAM else None)
    assert told == ([EventName.BREACHED] if rule is Rule.NOTIFY else [])


# --- the host's policy ------------------------------------------------------------------------------------------------


class Levels:
    """An ``SLA_POLICY`` that answers as it is told."""

    def __init__(self) -> None:
        self.answer: Any = ServiceLevel(first_response=3 * HOUR)
        self.asked: list[ConversationInfo] = []

    def __call__(self, conversation: ConversationInfo) -> Any:
        self.asked.append(conversation)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def levels() -> Levels:
    return Levels()


@pytest.fixture
def hooked(make_app: Callable[..., Flask], levels: Levels, fresh_database_url: str, customer: Customer) -> Desk:
    return Desk(make_app(database_url=fresh_database_url, SLA_POLICY=levels), customer)


def test_the_hosts_policy_wins_and_is_asked_when_something_happens(hooked: Desk, levels: Levels) -> None:
    hooked.do(lambda s: put_in_force(s, policy()))
    number = hooked.asks()
    assert hooked.row(number).due_at == DAY_ONE + 3 * HOUR
    info = levels.asked[0]
    assert (info.id, info.priority, info.customer and info.customer.ref) == (number, "normal", hooked.customer.ref)
    levels.answer = ServiceLevel(first_response=HOUR / 2)
    asked = len(levels.asked)
    hooked.after(0.1)
    assert (len(levels.asked), hooked.row(number).due_at) == (asked, DAY_ONE + 3 * HOUR)
    hooked.do(lambda s: triage.set_priority(s, number, actor=ACTOR, priority=Priority.HIGH))
    hooked.work()
    assert (levels.asked[-1].priority, hooked.row(number).due_at) == ("high", DAY_ONE + HOUR / 2)
    levels.answer = None
    hooked.do(lambda s: triage.set_priority(s, number, actor=ACTOR, priority=Priority.LOW))
    hooked.work()
    assert (hooked.clock(number).state, hooked.row(number).due_at) == (CANCELLED, None)


@pytest.mark.parametrize(
    ("answer", "reason"), [(RuntimeError("no"), "raised"), ("soon", "invalid"), (timedelta(hours=1), "invalid")]
)
def test_a_policy_of_the_host_that_fails_is_told_of_and_ours_stands_in(
    hooked: Desk, levels: Levels, answer: Any, reason: str
) -> None:
    hooked.do(lambda s: put_in_force(s, policy()))
    levels.answer = answer
    number = hooked.asks()
    assert hooked.row(number).due_at == DAY_ONE + HOUR
    assert hooked.do(lambda s: s.get_one(ServiceAnswer, number).failure) == reason


def test_a_policy_of_the_host_that_is_new_is_asked_about_what_is_open(
    app: Flask, hooked: Desk, levels: Levels, customer: Customer
) -> None:
    plain = Desk(app, customer)
    number = plain.asks()
    hooked.do(lambda s: ask(s, policies.APPLY))
    hooked.work()
    assert [one.id for one in levels.asked] == [number]
    assert hooked.row(number).due_at == DAY_ONE + 3 * HOUR


def ask(session: Any, name: str) -> None:
    enqueue(session, name, {}, unique_key=name)


# --- at once, and after trouble ---------------------------------------------------------------------------------------


def test_events_at_once_keep_one_active_clock(desk: Desk) -> None:
    number = desk.asks()

    def again() -> None:
        def work(session: Any) -> None:
            conversation = reckoning.lock(session, number)
            assert conversation is not None
            reckoning.bring_up_to_date(session, conversation)

        with desk.app.app_context():
            session = desk.app.extensions["sqlalchemy"].session()
            work(session)
            session.commit()

    desk.answers(number)
    desk.asks("And?", number)
    with testing.frozen(desk.moment):
        threads = [threading.Thread(target=again) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [(one.target, one.state) for one in desk.clocks(number)] == [(FIRST, MET), (NEXT, RUNNING)]


def test_the_database_refuses_a_second_active_clock(desk: Desk) -> None:
    number = desk.asks()

    def second(session: Any) -> None:
        session.add(
            ServiceClock(
                conversation_id=number, target=FIRST, state=PAUSED, began=9, started_at=DAY_ONE, promised=1, remaining=1
            )
        )
        session.flush()

    with pytest.raises(IntegrityError, match="uq_service_clocks_active"):
        desk.do(second)


def test_a_deadline_whose_job_was_lost_is_looked_at_by_the_relay(desk: Desk, told: Told) -> None:
    number = desk.asks()
    lost = select(Job).where(Job.name == "service_levels.reckon", Job.state == JobState.SCHEDULED)
    desk.do(lambda s: s.delete(s.scalars(lost).one()))
    desk.after(2)
    assert told.events == []
    desk.do(lambda s: overdue(desk.app.extensions["cairnloop"], s))
    desk.work()
    assert [event.conversation_id for event in told.events] == [number]


def test_without_a_policy_nothing_is_asked_for(app: Flask, customer: Customer) -> None:
    desk = Desk(app, customer)
    number = desk.asks()
    desk.answers(number)
    assert enqueued(app, "service_levels.reckon") == []
    assert desk.clocks(number) == []


def test_a_forgotten_customers_clocks_end_and_nobody_is_told(desk: Desk, told: Told) -> None:
    number = desk.asks()
    exported = desk.do(lambda s: privacy.export(s, desk.customer.ref))
    assert [one["target"] for one in exported["service_levels"]] == ["first_response"]
    desk.do(lambda s: privacy.forget(s, desk.customer.ref, actor=Actor.system("test")))
    desk.after(3)
    assert ([one.state for one in desk.clocks(number)], told.events) == ([CANCELLED], [])
    assert desk.row(number).due_at is None
