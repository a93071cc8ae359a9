"""The inbox and home: views, paging, counts, live rows, and how many queries they take."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from flask_cairnloop import Customer, Operator, reply, resolve
from flask_cairnloop.actors import Actor
from flask_cairnloop.clock import now
from flask_cairnloop.conversations import queries as reading
from flask_cairnloop.conversations import triage
from flask_cairnloop.conversations.queries import View
from flask_cairnloop.drafting.types import DraftKind
from flask_cairnloop.paging import Cursor
from tests.console.conftest import Desk
from tests.support.host import OPERATORS


def rows(page: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb'data-row="(\d+)"', page)]


def act(app: Flask, what: Callable[..., Any], conversation_id: int, **values: Any) -> None:
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        what(session, conversation_id, actor=Actor.operator(OPERATORS["omar"]), **values)
        session.commit()


def test_a_row_says_who_what_how_long_and_what_is_ready(desk: Desk, operator_client: FlaskClient) -> None:
    conversation_id = desk.ask("My key does not turn.\nPlease help")
    desk.draft(conversation_id)
    page = operator_client.get("/support/inbox").get_data(as_text=True)
    row = re.search(rf'<li id="row-{conversation_id}".*?</li>', page, re.DOTALL)
    assert row is not None
    for words in ("Cleo Marsh", "Marsh Bakery", "My key does not turn.", "Cleo: My key", "Waiting", "Draft", "Unread"):
        assert words in row[0], words


def test_how_many_wait_stands_on_every_page_and_can_be_asked_for_alone(
    desk: Desk, operator_client: FlaskClient, fragment: Callable[..., Any]
) -> None:
    def shown(page: str) -> str:
        found = re.search(r'id="rail-count"[^>]*data-waiting="(\d+)"', page)
        assert found is not None
        return found[1]

    conversation_id = desk.ask()
    pages = ["", "inbox", "knowledge", f"conversations/{conversation_id}", "conversations/999999"]
    numbers = {shown(operator_client.get(f"/support/{path}").get_data(as_text=True)) for path in pages}
    alone = fragment("GET", "/support/inbox", "span#rail-count").get_data(as_text=True)
    assert numbers == {shown(alone)}
    assert int(shown(alone)) >= 1
    assert alone.count("<span") == 1


def test_the_number_on_a_page_that_counts_nothing_else_is_one_count(
    desk: Desk, operator_client: FlaskClient, queries: Callable[[], Any]
) -> None:
    desk.ask()
    with queries() as seen:
        operator_client.get("/support/knowledge")
    assert [statement.count("count(") for statement in seen if "waiting_since" in statement] == [1]


def test_each_view_shows_what_its_name_says(app: Flask, desk: Desk, operator_client: FlaskClient) -> None:
    waiting, answered, resolved = desk.ask(), desk.ask(), desk.ask()
    desk.draft(waiting)
    handed_over = desk.ask()
    desk.draft(handed_over, kind=DraftKind.ESCALATION, citations=[])
    act(app, reply, answered, body="Here is how.")
    act(app, reply, resolved, body="Here is how.")
    act(app, resolve, resolved)
    ours = {waiting, answered, resolved, handed_over}
    expected = {
        "waiting": {waiting, handed_over},
        "draft_ready": {waiting},
        "waiting_on_them": {answered},
        "open": {waiting, answered, handed_over},
        "resolved": {resolved},
        "all": ours,
        "no-such-view": ours,
        "<script>alert(1)</script>": ours,
    }
    for view, ids in expected.items():
        answer = operator_client.get("/support/inbox", query_string={"view": view})
        assert answer.status_code == 200
        assert ours & set(rows(answer.data)) == ids, view
        assert b"<script>alert" not in answer.data


def test_a_reply_of_ones_own_is_called_you(app: Flask, desk: Desk, operator_client: FlaskClient) -> None:
    conversation_id = desk.ask()
    act(app, reply, conversation_id, body="Look under Settings.")
    page = operator_client.get("/support/inbox?view=waiting_on_them").get_data(as_text=True)
    assert "Omar: Look under Settings." in page
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        reply(session, conversation_id, actor=Actor.operator(OPERATORS["mina"]), body="And then under Rooms.")
        session.commit()
    assert "You: And then under Rooms." in operator_client.get("/support/inbox?view=waiting_on_them").get_data(
        as_text=True
    )


def propose(app: Flask, conversation_id: int) -> None:
    """An action that waits for a decision; no tool is needed to look at it."""
    with app.app_context(), app.extensions["sqlalchemy"].engine.begin() as connection:
        connection.execute(text(PENDING), {"conversation_id": conversation_id})


PENDING = """
    INSERT INTO cairnloop.action_proposals (
        state, tool, title, risk, weight, kind, conversation_id, proposed_by_kind, proposed_by, proposed_by_name,
        scopes, reason, inputs, sealed, labels, revision, consequence, changes, evidence, tier, approvals_needed,
        policy, digest, run_key, attempt, expires_at, result, created_at
    ) VALUES (
        'pending', 'tag', 'Tag', 'low_write', 1, 'external', :conversation_id, 'operator', 'mina', 'Mina Keller',
        '[]', '', '{}', '{}', '{}', 0, '', '[]', '[]', 'one', 1, '{}',
        gen_random_uuid()::text, gen_random_uuid()::text, 0, now() + interval '1 day', '{}', now()
    )
"""


@pytest.mark.parametrize("view", list(View))
def test_pages_are_stable_while_conversations_arrive(app: Flask, desk: Desk, operator: Operator, view: View) -> None:
    made = [desk.ask(f"Question {n}") for n in range(7)]
    for conversation_id in made:
        if view is View.DRAFT_READY:
            desk.draft(conversation_id)
        if view in (View.WAITING_ON_THEM, View.RESOLVED):
            act(app, reply, conversation_id, body="Answered.")
        if view is View.RESOLVED:
            act(app, resolve, conversation_id)
        if view is View.SNOOZED:
            act(app, triage.snooze, conversation_id, until=now() + timedelta(days=1))
        if view is View.SPAM:
            act(app, triage.mark_spam, conversation_id)
        if view is View.APPROVAL:
            propose(app, conversation_id)
    seen: list[int] = []
    after = None
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        while True:
            page = reading.inbox_page(session, view, operator.id, after=after, limit=3)
            seen += [row.conversation.id for row in page.rows]
            session.rollback()
            if page.after is None:
                break
            after = Cursor.parse(str(page.after))
            assert after == page.after
            if len(seen) < 4:
                desk.ask("In between")
    assert len(seen) == len(set(seen)), "no row twice"
    assert set(made) <= set(seen), "no row missed"


@pytest.mark.parametrize(
    "after",
    ["", "x", "1", "1-", "-1", "1-2-3", "9" * 40, "1-99999999999999999999", "99999999999999999-1", "１-２", "0-0"],
)
def test_a_cursor_that_is_none_is_the_first_page_or_an_empty_one(operator_client: FlaskClient, after: str) -> None:
    for path in ("/support/inbox", "/support/knowledge"):
        assert operator_client.get(path, query_string={"after": after}).status_code == 200


def test_the_inbox_takes_few_queries_however_full_it_is(
    desk: Desk, operator_client: FlaskClient, queries: Callable[[], Any]
) -> None:
    def count(path: str) -> int:
        with queries() as seen:
            assert operator_client.get(path).status_code == 200
        return len(seen)

    first = desk.ask()
    paths = [f"/support/inbox?view={view.value}" for view in View] + ["/support/", f"/support/conversations/{first}"]
    before = {path: count(path) for path in paths}
    for n in range(12):
        desk.draft(desk.ask(f"Further question {n}"))
        desk.ask("And one more thing", customer=Customer("cleo-again", "Cleo"), into=None)
    assert {path: count(path) for path in paths} == before, "however much there is"
    whole = before.pop(f"/support/conversations/{first}")
    assert max(before.values()) <= 8
    assert before["/support/inbox?view=waiting"] <= 5
    assert whole <= 13, "the list with its counts, and the conversation beside it"


def test_drafts_to_check_and_resolutions_are_found_without_reading_the_rest(
    make_app: Callable[..., Flask], fresh_database_url: str, operator: Operator, steps: Callable[..., Any]
) -> None:
    """Where most drafts hand over to a person and most of the audit log is about something else."""
    app = make_app(database_url=fresh_database_url)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        session.execute(text(MANY))
        for table in ("conversations", "drafts", "audit_entries", "articles"):
            session.execute(text(f"ANALYZE cairnloop.{table}"))
        session.commit()
        since = now() - timedelta(days=365)
        first = reading.inbox_page(session, View.DRAFT_READY, operator.id, limit=2)
        assert len(first.rows) == 2
        assert reading.resolved_since(session, since) == 5
        for index, read in (
            ("ix_drafts_to_check", lambda: reading.view_counts(session)),
            ("ix_drafts_to_check", lambda: reading.inbox_page(session, View.DRAFT_READY, operator.id, limit=2)),
            (
                "ix_drafts_to_check",
                lambda: reading.inbox_page(session, View.DRAFT_READY, operator.id, after=first.after, limit=2),
            ),
            ("ix_audit_entries_resolved", lambda: reading.resolved_since(session, since)),
        ):
            (scan,) = [step for step in steps(app, read) if step.get("Index Name") == index]
            assert scan.get("Rows Removed by Filter", 0) == 0
            assert scan["Actual Rows"] <= 8
        session.remove()
    client = app.test_client()
    whole = steps(app, lambda: client.get("/support/knowledge", headers={"X-Operator": operator.id}))
    assert "ix_articles_updated_at" in [step.get("Index Name") for step in whole]


MANY = """
    WITH person AS (
        INSERT INTO cairnloop.customers (ref, created_at, last_seen_at) VALUES ('many', now(), now()) RETURNING id
    ), asked AS (
        INSERT INTO cairnloop.conversations (
            customer_id, channel, subject, status, last_sequence, last_message_at, preview, last_spoken_at,
            last_customer_sequence, customer_seen, created_at
        )
        SELECT person.id, 'widget', 'Question', 'open', 0, now(), '', now(), 0, 0, now()
        FROM person, generate_series(1, 4000)
        RETURNING id
    ), drafted AS (
        INSERT INTO cairnloop.drafts (
            conversation_id, state, kind, answers_sequence, question, body, summary, citations, evidence,
            grounding_numbers, created_at
        )
        SELECT id, 'ready', CASE WHEN id % 500 = 0 THEN 'reply' ELSE 'escalation' END, 0, '', 'Words', '', '[]', '[]',
            '{}', now()
        FROM asked
    ), written AS (
        INSERT INTO cairnloop.articles (slug, title, state, audience, tags, created_at, updated_at)
        SELECT 'many-' || n, 'Article', 'published', 'public', '{}', now(), now() - n * interval '1 minute'
        FROM generate_series(1, 2000) AS n
    )
    INSERT INTO cairnloop.audit_entries (occurred_at, actor_kind, actor_id, action, subject_type, subject_id, data)
    SELECT now(), 'operator', 'mina', CASE WHEN n % 1000 = 0 THEN 'conversation.resolve' ELSE 'message.reply' END,
        'conversation', n, '{}'
    FROM generate_series(1, 5000) AS n
"""


def test_a_live_row_says_whether_it_still_belongs(app: Flask, desk: Desk, operator_client: FlaskClient) -> None:
    conversation_id = desk.ask()
    path = f"/support/inbox/rows/{conversation_id}?view=waiting"
    assert operator_client.get(path).headers["Cairnloop-In-View"] == "yes"
    act(app, reply, conversation_id, body="Here you go.")
    answer = operator_client.get(path)
    assert answer.headers["Cairnloop-In-View"] == "no"
    assert rows(answer.data) == [conversation_id]


def test_counts_stop_at_their_limit(app: Flask, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(4):
        desk.ask()
    monkeypatch.setattr(reading, "COUNT_LIMIT", 2)
    with app.app_context():
        assert reading.view_counts(app.extensions["sqlalchemy"].session)[View.WAITING] == 3


def test_home_is_made_of_real_counts(app: Flask, desk: Desk, operator_client: FlaskClient) -> None:
    conversation_id = desk.ask()
    desk.draft(conversation_id)
    page = operator_client.get("/support/").get_data(as_text=True)
    assert "customers are waiting" in page or "One customer is waiting" in page
    with app.app_context():
        counts = reading.view_counts(app.extensions["sqlalchemy"].session)
    assert f"<b>{counts[View.WAITING]}</b><span>Waiting on us</span>" in page
    assert f"<b>{counts[View.DRAFT_READY]}</b><span>Drafts to check</span>" in page


def test_a_count_that_fails_is_a_dash_and_takes_nothing_with_it(
    app: Flask, desk: Desk, operator_client: FlaskClient
) -> None:
    desk.ask()
    # What this one figure is read from is gone; everything else is as it was.
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        session.connection().exec_driver_sql("ALTER TABLE cairnloop.audit_entries RENAME TO audit_away")
        session.commit()
    try:
        page = operator_client.get("/support/")
        assert page.status_code == 200
        assert "<b>–</b><span>Resolved today</span>" in page.get_data(as_text=True)
        assert b'class="line"' in page.data
    finally:
        with app.app_context():
            session = app.extensions["sqlalchemy"].session
            session.connection().exec_driver_sql("ALTER TABLE cairnloop.audit_away RENAME TO audit_entries")
            session.commit()


def test_fragments_are_parts_and_a_history_restore_is_whole(desk: Desk, operator_client: FlaskClient) -> None:
    desk.ask()
    partial = {"HX-Request": "true", "HX-Request-Type": "partial"}
    for target in ("section#list", "div#views", "li#more", "div#work"):
        answer = operator_client.get("/support/inbox", headers=partial | {"HX-Target": target})
        assert b"<html" not in answer.data, target
        assert "HX-Target" in answer.headers["Vary"]
    full = {"HX-Request": "true", "HX-Request-Type": "full", "HX-History-Restore-Request": "true", "HX-Target": "body"}
    assert b"<html" in operator_client.get("/support/inbox", headers=full).data
