"""A desk with a policy, whose time goes on when a test says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop import Actor, BreachEvent, Customer, receive, reply, testing
from flask_cairnloop.conversations.models import Conversation, Priority
from flask_cairnloop.service_levels import service
from flask_cairnloop.service_levels.models import ServiceClock, ServicePolicy
from flask_cairnloop.service_levels.targets import Target
from flask_cairnloop.service_levels.types import Policy
from flask_cairnloop.testing import run_jobs
from tests.support.host import OPERATORS

MINA, OMAR = OPERATORS["mina"], OPERATORS["omar"]
ACTOR = Actor.operator(MINA)
DAY_ONE = datetime(2031, 3, 3, 8, tzinfo=UTC)  # a Monday
HOUR = timedelta(hours=1)
Work = Callable[[Session], Any]


def promise(
    first: float | None = 1, following: float | None = 2, resolution: float | None = None
) -> dict[Target, timedelta]:
    """Targets in hours."""
    hours = zip(Target, (first, following, resolution), strict=True)
    return {target: timedelta(hours=amount) for target, amount in hours if amount is not None}


def policy(**more: Any) -> Policy:
    """One that promises the same for every priority, but less time for what is urgent."""
    targets = more.pop("targets", None) or {one: promise() for one in Priority} | {Priority.URGENT: promise(0.25, 0.5)}
    return Policy(targets=targets, **more)


def put_in_force(session: Session, wanted: Policy, *, in_force: bool = True) -> ServicePolicy:
    newest = service.newest(session)
    return service.save(session, wanted, in_force=in_force, seen=newest.version if newest else 0, actor=ACTOR)


@dataclass
class Told:
    """A host that is told of breaches, and may be busy."""

    events: list[BreachEvent] = field(default_factory=list)
    busy: int = 0

    def __call__(self, event: BreachEvent) -> None:
        self.events.append(event)
        if self.busy:
            self.busy -= 1
            raise RuntimeError("the pager is away")


@dataclass
class Desk:
    """A desk at a moment of its own."""

    app: Flask
    customer: Customer
    moment: datetime = DAY_ONE

    def do(self, work: Work) -> Any:
        """Do something now, in a transaction of its own."""
        with testing.frozen(self.moment), self.app.app_context():
            session: Session = self.app.extensions["sqlalchemy"].session()
            session.expire_on_commit = False
            result = work(session)
            session.commit()
            return result

    def work(self) -> int:
        """Let the worker do all that is due now."""
        with testing.frozen(self.moment):
            return run_jobs(self.app, within=timedelta(0))

    def after(self, hours: float) -> Desk:
        """So much later, with all that came due on the way done in its time."""
        end = self.moment + timedelta(hours=hours)
        while self.moment < end:
            self.moment = min(self.moment + timedelta(minutes=5), end)
            self.work()
        return self

    def asks(self, body: str = "Anybody?", conversation_id: int | None = None) -> int:
        found = self.do(
            lambda s: receive(s, customer=self.customer, body=body, channel="widget", conversation_id=conversation_id)
        )
        self.work()
        return int(found.conversation_id)

    def answers(self, conversation_id: int, body: str = "Yes.") -> None:
        self.do(lambda s: reply(s, conversation_id, actor=ACTOR, body=body))
        self.work()

    def clocks(self, conversation_id: int) -> list[ServiceClock]:
        """Every clock of a conversation, oldest first."""
        wanted = select(ServiceClock).where(ServiceClock.conversation_id == conversation_id).order_by(ServiceClock.id)
        return list(self.do(lambda s: s.scalars(wanted).all()))

    def clock(self, conversation_id: int, target: Target = Target.FIRST_RESPONSE) -> ServiceClock:
        """The newest clock of a target."""
        return [one for one in self.clocks(conversation_id) if one.target is target][-1]

    def row(self, conversation_id: int) -> Conversation:
        return self.do(lambda s: s.get_one(Conversation, conversation_id, populate_existing=True))  # type: ignore[no-any-return]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def app(make_app: Callable[..., Flask], told: Told, fresh_database_url: str) -> Flask:
    return make_app(database_url=fresh_database_url, ON_SLA_BREACH=told)


@pytest.fixture
def desk(app: Flask, customer: Customer) -> Desk:
    """One whose policy gives an hour for the first answer, and two for the next ones."""
    desk = Desk(app, customer)
    desk.do(lambda s: put_in_force(s, policy()))
    desk.work()
    return desk
