"""Settings: health, queues, failed jobs; and the line that says on every page what stands still."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.jobs import GiveUp, Job, JobContext, JobState, enqueue, job
from flask_cairnloop.jobs.models import WorkerKind
from flask_cairnloop.testing import run_jobs
from tests.console.conftest import Desk
from tests.support.processes import free_port

NO_WORKER = "No worker is running"


@job("test.refuses")
def refuses(_context: JobContext, **_arguments: Any) -> None:
    raise GiveUp("the dog ate it")


def die(app: Flask, **arguments: Any) -> int:
    """A job that has failed for good."""
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        job_id = enqueue(session, "test.refuses", arguments)
        session.commit()
    run_jobs(app)
    return job_id


def state(app: Flask, job_id: int) -> JobState:
    with app.app_context():
        found = app.extensions["sqlalchemy"].session.get(Job, job_id)
        assert found is not None
        return JobState(found.state)


@pytest.fixture
def working(app: Flask) -> Iterator[None]:
    """Workers that beat."""
    with app.app_context(), app.extensions["sqlalchemy"].engine.begin() as connection:
        for kind in WorkerKind:
            connection.execute(
                text("INSERT INTO cairnloop.workers (name, kind, started_at, beat_at) VALUES (:k, :k, now(), now())"),
                {"k": kind.value},
            )
    yield
    with app.app_context(), app.extensions["sqlalchemy"].engine.begin() as connection:
        connection.execute(text("DELETE FROM cairnloop.workers"))


def test_it_says_what_is_wrong_first_and_what_to_do(app: Flask, operator_client: FlaskClient) -> None:
    page = operator_client.get("/support/settings").get_data(as_text=True)
    findings = re.findall(r'class="finding".*?</li>', page, re.DOTALL)
    assert NO_WORKER in findings[0]
    assert "flask cairnloop worker" in findings[0]
    assert len(findings) >= 8


def test_queues_show_who_works_and_what_waits(
    app: Flask, desk: Desk, operator_client: FlaskClient, working: None
) -> None:
    desk.ask()
    page = operator_client.get("/support/settings").get_data(as_text=True)
    row = re.search(r"<tr><th scope=\"row\">Interactive.*?</tr>", page, re.DOTALL)
    assert row is not None
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row[0])
    assert cells[0] == "1"
    assert int(cells[1]) >= 1


def test_a_failed_job_says_what_it_was_and_why_and_can_be_tried_again_or_discarded(
    app: Flask, operator_client: FlaskClient, fragment: Callable[..., Any]
) -> None:
    first, second = die(app, conversation_id=17), die(app)
    page = operator_client.get("/support/settings").get_data(as_text=True)
    assert "the dog ate it" in page
    assert 'href="/support/conversations/17"' in page
    assert page.index(f"job-{second}") < page.index(f"job-{first}")

    answer = fragment("POST", f"/support/settings/jobs/{first}/retry", "div#settings")
    assert answer.status_code == 200
    assert "It is tried again" in answer.headers["HX-Trigger"]
    assert f"job-{first}" not in answer.get_data(as_text=True)
    assert state(app, first) is JobState.QUEUED

    answer = operator_client.post(f"/support/settings/jobs/{second}/discard")
    assert answer.status_code == 303
    assert state(app, second) is JobState.DISCARDED
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        entries = session.query(AuditEntry).filter(AuditEntry.subject_type == "job").order_by(AuditEntry.id).all()
        assert [(entry.action, entry.actor_id, entry.subject_id) for entry in entries[-2:]] == [
            ("job.retry", "mina", first),
            ("job.discard", "mina", second),
        ]


def test_deciding_twice_changes_nothing_and_says_so(app: Flask, fragment: Callable[..., Any]) -> None:
    job_id = die(app)
    assert fragment("POST", f"/support/settings/jobs/{job_id}/discard", "div#settings").status_code == 200
    answer = fragment("POST", f"/support/settings/jobs/{job_id}/discard", "div#settings")
    assert answer.status_code == 409
    assert state(app, job_id) is JobState.DISCARDED
    assert fragment("POST", "/support/settings/jobs/999999999/retry", "div#settings").status_code == 404


def test_failed_jobs_come_a_page_at_a_time(app: Flask, operator_client: FlaskClient) -> None:
    ids = [die(app) for _ in range(26)]
    page = operator_client.get("/support/settings").get_data(as_text=True)
    assert page.count('class="deadjob"') == 25
    further = re.search(r'href="(/support/settings\?before=\d+)"', page)
    assert further is not None
    assert f'id="job-{ids[0]}"' in operator_client.get(further[1]).get_data(as_text=True)
    for value in ("", "x", "9" * 30, "-1"):
        assert operator_client.get("/support/settings", query_string={"before": value}).status_code == 200


def test_reading_alone_offers_no_decision(app: Flask, sign_in: Callable[[str], FlaskClient]) -> None:
    job_id = die(app)
    page = sign_in("oncall").get("/support/settings").get_data(as_text=True)
    assert f'id="job-{job_id}"' in page
    assert "Try again</button>" not in page
    assert sign_in("oncall").post(f"/support/settings/jobs/{job_id}/retry").status_code == 403
    assert sign_in("reader").get("/support/settings").status_code == 403


def test_every_page_says_when_nobody_works(
    app: Flask, operator_client: FlaskClient, working: None, fragment: Callable[..., Any]
) -> None:
    for path in ("", "inbox", "knowledge", "settings"):
        assert NO_WORKER not in operator_client.get(f"/support/{path}").get_data(as_text=True).split("</nav>")[-1]
    with app.app_context(), app.extensions["sqlalchemy"].engine.begin() as connection:
        connection.execute(text("UPDATE cairnloop.workers SET beat_at = now() - interval '1 minute'"))
    for path in ("", "inbox", "knowledge", "settings"):
        page = operator_client.get(f"/support/{path}").get_data(as_text=True)
        assert re.search(rf'id="outage".*?{NO_WORKER}', page, re.DOTALL), path
    assert NO_WORKER in fragment("GET", "/support/settings/outage", "div#outage").get_data(as_text=True)


def test_every_page_opens_and_says_so_when_redis_is_away(make_app: Callable[..., Flask], working: None) -> None:
    client = make_app(REDIS_URL=f"redis://127.0.0.1:{free_port()}/0").test_client()
    for path in ("", "inbox", "knowledge", "settings"):
        answer = client.get(f"/support/{path}", headers={"X-Operator": "mina"})
        assert answer.status_code == 200
        assert "Redis does not answer" in answer.get_data(as_text=True)
