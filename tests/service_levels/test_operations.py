"""What the one on call is told: a policy that cannot be used, a hook that fails, and how many deadlines passed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, time, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update
from sqlalchemy.orm import Session

from flask_cairnloop import BusinessHours, Customer, Interval, clock, receive, testing
from flask_cairnloop.operations.checks import Finding, Level, examine
from flask_cairnloop.service_levels.models import ServicePolicy
from flask_cairnloop.testing import run_jobs
from tests.service_levels.conftest import policy, put_in_force

AtTheDesk = Callable[[Callable[[Session], Any]], Any]


def finding(app: Flask) -> Finding:
    (found,) = [one for one in examine(app.extensions["cairnloop"], hooks=False) if one.check == "service_levels"]
    return found


def test_a_policy_that_cannot_be_used_is_an_error_and_gives_no_deadline(app: Flask, at_the_desk: AtTheDesk) -> None:
    assert finding(app).level is Level.OK
    at_the_desk(lambda s: put_in_force(s, policy()))
    assert finding(app).message == "Service levels are in force."
    at_the_desk(lambda s: s.execute(update(ServicePolicy).values(terms={"hours": {"zone": "Mars/Olympus"}})))
    assert finding(app).level is Level.ERROR
    at_the_desk(lambda s: receive(s, customer=Customer("c"), body="Anybody?", channel="widget"))
    run_jobs(app, within=timedelta(0))


def test_hours_in_which_nobody_ever_works_are_warned_of(app: Flask, at_the_desk: AtTheDesk) -> None:
    year, day = clock.now().year, timedelta(days=7)
    first = next(date(year, 1, one) for one in range(1, 8) if date(year, 1, one).weekday() == 0)
    mondays = frozenset(first + week * day for week in range(300))
    hours = BusinessHours("UTC", ((Interval(time(9), time(17)),), (), (), (), (), (), ()), mondays)
    at_the_desk(lambda s: put_in_force(s, policy(hours=hours)))
    assert (finding(app).level, "nobody works" in finding(app).message) == (Level.WARNING, True)


def test_a_hook_that_fails_is_warned_of_and_shown_beside_the_conversation(
    make_app: Callable[..., Flask], fresh_database_url: str
) -> None:
    app = make_app(database_url=fresh_database_url, SLA_POLICY=lambda _conversation: "soon")
    with app.app_context():
        session = app.extensions["cairnloop"].session()
        number = receive(session, customer=Customer("c"), body="Anybody?", channel="widget").conversation_id
        session.commit()
    run_jobs(app, within=timedelta(0))
    assert finding(app).level is Level.WARNING
    assert "for one conversation" in finding(app).message or "for 1 conversation" in finding(app).message
    client = app.test_client()
    rail = client.get(f"/support/conversations/{number}/context", headers={"X-Operator": "mina"})
    assert "Your app did not say by when this is due" in rail.get_data(as_text=True)


@pytest.mark.parametrize(
    "metric", ['cairnloop_breaches{target="first_response"} 1.0', 'cairnloop_due{state="breached"} 1.0']
)
def test_a_breach_is_counted(app: Flask, at_the_desk: AtTheDesk, client: FlaskClient, metric: str) -> None:
    with testing.frozen(clock.now() - timedelta(hours=2)):
        at_the_desk(lambda s: put_in_force(s, policy()))
        at_the_desk(lambda s: receive(s, customer=Customer("c"), body="Anybody?", channel="widget"))
    run_jobs(app, within=timedelta(0))
    assert metric in client.get("/support/metrics").get_data(as_text=True)
