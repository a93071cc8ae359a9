"""A conversation through pauses, new priorities and new policies: its deadline is that of one who walks through it all.

Everything goes through the doors that people use, and the worker after each step; the model keeps nothing but when the
customer waited, and walks through that minute by minute by what is promised at the end.
"""

from __future__ import annotations

import uuid
from datetime import date, datetime, time, timedelta
from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_cairnloop import BusinessHours, Customer, Interval
from flask_cairnloop.conversations import triage
from flask_cairnloop.conversations.models import Priority
from flask_cairnloop.service_levels.clock import Wait
from flask_cairnloop.service_levels.types import Policy
from tests.service_levels.conftest import ACTOR, DAY_ONE, Desk, promise, put_in_force
from tests.service_levels.test_clock import MINUTE, walked_deadline

SHIFTS = (Interval(time(9), time(12, 30)), Interval(time(13, 15), time(18)))
# Clocks go forward on the ninth of this March, a Sunday, in New York; nothing is late within the hours of a life here.
NEW_YORK = BusinessHours("America/New_York", (SHIFTS,) * 7, frozenset({date(2031, 3, 8)}))
NIGHTS = BusinessHours("Asia/Kathmandu", ((Interval(time(0), time(6)), Interval(time(22), time(0))),) * 7)
ALWAYS = BusinessHours("UTC", ((Interval(time(0), time(0)),),) * 7)


def promised(hours: BusinessHours, normal: float, urgent: float) -> Policy:
    targets = {Priority.NORMAL: promise(None, None, normal), Priority.URGENT: promise(None, None, urgent)}
    return Policy(targets=targets, hours=hours)


POLICIES: Final = (promised(NEW_YORK, 30, 22), promised(NIGHTS, 26, 21.25), promised(ALWAYS, 50, 40.5))
DEEDS = ("ask", "ask", "answer", "snooze", "urgent", "normal", *range(len(POLICIES)))
LIVES = st.lists(st.tuples(st.sampled_from(DEEDS), st.integers(1, 150)), min_size=2, max_size=8)


class Life:
    """A conversation, and when its customer waited for us."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.waits: list[Wait] = []
        self.snoozed = False
        self.priority = Priority.NORMAL
        self.policy = POLICIES[0]
        desk.customer = Customer(f"life-{uuid.uuid4().hex[:10]}")
        self.save()
        self.number = desk.asks()
        self.waits.append((desk.moment, None))

    @property
    def waiting(self) -> bool:
        return bool(self.waits) and self.waits[-1][1] is None

    def save(self) -> None:
        self.desk.do(lambda s: put_in_force(s, self.policy))
        self.desk.work()

    def end_wait(self) -> None:
        if self.waiting:
            self.waits[-1] = (self.waits[-1][0], self.desk.moment)

    def do(self, deed: str | int) -> None:
        desk = self.desk
        match deed:
            case "ask":
                desk.asks("And?", self.number)
                if not self.waiting:
                    self.waits.append((desk.moment, None))
                self.snoozed = False
            case "answer" if not self.snoozed:
                desk.answers(self.number)
                self.end_wait()
            case "snooze" if not self.snoozed:
                until = desk.moment + timedelta(days=90)
                desk.do(lambda s: triage.snooze(s, self.number, actor=ACTOR, until=until))
                self.end_wait()
                self.snoozed = True
            case "urgent" | "normal":
                self.priority = Priority.URGENT if deed == "urgent" else Priority.NORMAL
                desk.do(lambda s: triage.set_priority(s, self.number, actor=ACTOR, priority=self.priority))
            case int():
                self.policy = POLICIES[deed]
                self.save()
        desk.work()

    def walked(self) -> datetime | None:
        """By when it is due: whoever does not wait has no deadline."""
        if not self.waiting:
            return None
        (amount,) = self.policy.targets[self.priority].values()
        assert self.policy.hours is not None
        horizon = self.desk.moment + timedelta(days=12)
        return walked_deadline(self.policy.hours, self.waits, amount // MINUTE, horizon)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(life=LIVES, start=st.integers(0, 600))
def test_whatever_happened_the_deadline_is_that_of_one_who_walks_through_it(
    desk: Desk, life: list[tuple[str | int, int]], start: int
) -> None:
    # Never back: policies are versions in time, and one that is saved later is the newer one.
    desk.moment = max(desk.moment, DAY_ONE + timedelta(days=3)) + start * MINUTE
    lived = Life(desk)
    for deed, minutes in life:
        desk.moment += minutes * MINUTE
        lived.do(deed)
    row = desk.row(lived.number)
    assert row.due_at == lived.walked()
    assert [one.breached_at for one in desk.clocks(lived.number)] == [None]
