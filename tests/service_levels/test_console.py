"""Deadlines in the console: in every list by an index, beside the conversation, on home, and the policy's own page."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, testing
from flask_cairnloop.console.presenters import time_left
from flask_cairnloop.conversations import queries as reading
from flask_cairnloop.conversations import service as conversations
from flask_cairnloop.conversations.filters import Filter, Sort, View
from flask_cairnloop.conversations.models import Priority
from flask_cairnloop.errors import InvalidFields
from flask_cairnloop.paging import Cursor
from flask_cairnloop.service_levels import service, written
from flask_cairnloop.service_levels.targets import DueState, Target
from flask_cairnloop.service_levels.types import Policy, Rule
from tests.service_levels.conftest import ACTOR, DAY_ONE, HOUR, MINA, Desk, policy, put_in_force

PAGE = "/support/settings/service-levels"
Client = Callable[..., str]


@pytest.fixture
def look(desk: Desk, operator_client: FlaskClient) -> Client:
    """A page as it is at the desk's moment."""

    def get(path: str) -> str:
        with testing.frozen(desk.moment):
            answer = operator_client.get(path)
        assert answer.status_code == 200
        return answer.get_data(as_text=True)

    return get


@pytest.fixture
def three(desk: Desk) -> list[int]:
    """Conversations of which the first is late, the second due soon, and the third due in an hour."""
    found = []
    for one in range(3):
        desk.customer = Customer(f"{desk.customer.ref}-{one}", f"Customer {one}")
        found.append(desk.asks(f"Question {one}"))
        desk.after((0.5, 0.8, 0)[one])
    return found


def shown(page: str) -> list[int]:
    return [int(number) for number in re.findall(r'<li id="row-(\d+)"', page)]


def test_a_row_a_header_and_the_rail_say_how_much_time_is_left(desk: Desk, look: Client) -> None:
    number = desk.asks()
    desk.after(0.25)
    assert "45m left" in look("/support/inbox")
    page = look(f"/support/conversations/{number}")
    assert re.search(
        r'id="thread-head".*First answer, </span><time datetime="2031-03-03T09:00:00\+00:00" data-due>45m left',
        page,
        re.DOTALL,
    )
    rail = look(f"/support/conversations/{number}/context")
    assert "First answer" in rail
    assert "45m left" in rail
    desk.after(1)
    page = look(f"/support/conversations/{number}")
    assert "15m late" in page
    assert 'data-late="yes"' in page
    assert "First answer is late: its time has passed" in page
    desk.answers(number)
    assert "data-due" not in look("/support/inbox?view=open")
    assert "Late, 09:15" in look(f"/support/conversations/{number}/context")


def test_lists_are_narrowed_to_what_is_late_or_due_soon_and_sorted_by_it(three: list[int], look: Client) -> None:
    late, soon, fine = three
    assert shown(look("/support/inbox?view=waiting&sort=due")) == [late, soon, fine]
    assert shown(look("/support/inbox?view=open&due=breached")) == [late]
    assert shown(look("/support/inbox?view=open&due=soon")) == [soon]
    page = look("/support/inbox?view=open&due=soon&assignee=nobody")
    assert shown(page) == [soon]
    assert re.search(r'class="chip"[^>]*><span class="cut">Due soon</span>', page)
    assert shown(look("/support/inbox?view=open&due=tomorrow")) == shown(look("/support/inbox?view=open"))
    assert shown(look("/support/inbox?view=resolved&due=soon&sort=due")) == []


def test_home_counts_them_and_leads_to_the_lists_it_counts(three: list[int], look: Client) -> None:
    page = look("/support/")
    for words, state, ids in (("Late", "breached", three[:1]), ("Due soon", "soon", three[1:2])):
        link = re.search(rf'<a href="([^"]+)"><b>{len(ids)}</b><span>{words}</span>', page)
        assert link is not None
        assert f"due={state}" in link[1]
        assert shown(look(link[1].replace("&amp;", "&"))) == ids


LATE = r'<a href="([^"]+)"(?: aria-current="page")?><span class="cut">Late</span><span class="count">(\d*)</span></a>'


def test_the_rail_leads_to_what_is_late_and_counts_it(three: list[int], desk: Desk, look: Client) -> None:
    link = re.search(LATE, look("/support/inbox"))
    assert link is not None
    assert link[2] == "1"
    page = look(link[1].replace("&amp;", "&"))
    assert shown(page) == three[:1]
    assert re.search(r"<h1[^>]*>Late", page)
    assert 'aria-current="page"><span class="cut">Late' in page
    desk.answers(three[0])
    link = re.search(LATE, look("/support/inbox"))
    assert link is not None
    assert link[2] == "0"


def test_a_desk_without_service_levels_has_no_tiles_and_no_list_of_them(
    app: Flask, operator_client: FlaskClient
) -> None:
    for page in ("/support/", "/support/inbox"):
        assert ">Late<" not in operator_client.get(page).get_data(as_text=True)


def test_the_bell_tells_whoever_has_it(desk: Desk, look: Client) -> None:
    desk.do(lambda s: put_in_force(s, policy(rule=Rule.NOTIFY)))
    number = desk.asks()
    desk.do(lambda s: conversations.assign(s, number, actor=ACTOR, assignee=MINA))
    desk.after(2)
    assert "First answer is late" in look("/support/mentions")


# --- at a million -----------------------------------------------------------------------------------------------------

MANY = """
    INSERT INTO cairnloop.customers (ref, created_at, last_seen_at) VALUES ('many', now(), now());
    INSERT INTO cairnloop.conversations (
        customer_id, channel, subject, status, last_sequence, last_message_at, preview, last_spoken_at,
        last_customer_sequence, customer_seen, created_at, waiting_since, due_at, due_target, due_state
    )
    SELECT max(id) OVER (), 'widget', 'Question', 'open', 0, now(), '', now(), 0, 0, now(),
        CASE WHEN n % 2 = 0 THEN now() END,
        CASE WHEN n % 10 = 0 THEN timestamptz '2031-03-03' + n * interval '1 second' END,
        CASE WHEN n % 10 = 0 THEN 'resolution' END,
        CASE WHEN n % 1000 = 0 THEN 'breached' WHEN n % 400 = 0 THEN 'soon' WHEN n % 10 = 0 THEN 'running' END
    FROM cairnloop.customers, generate_series(1, 20000) AS n WHERE ref = 'many';
    ANALYZE cairnloop.conversations;
"""


def test_lists_by_deadline_read_an_index_and_no_more_than_they_show(app: Flask, operator_client: FlaskClient) -> None:
    with app.app_context():
        session: Session = app.extensions["sqlalchemy"].session()
        for statement in filter(str.strip, MANY.split(";\n")):
            session.execute(text(statement))
        session.commit()
        by_due = Filter(View.OPEN, sort=Sort.DUE)
        for asked in (by_due, Filter(View.WAITING, sort=Sort.DUE), Filter(View.OPEN, due=DueState.BREACHED)):
            found, after, pages = [], None, 0
            while pages == 0 or (after and pages < 3):
                before = read_so_far(session)
                page = reading.inbox_page(session, asked, "mina", after=after and Cursor.parse(str(after)), limit=10)
                assert read_so_far(session) - before < 250, asked
                found += [row.conversation.due_at for row in page.rows]
                after, pages = page.after, pages + 1
            assert found == sorted(found), asked
            assert len(found) == (20 if asked.due else 30)
        counts = reading.list_counts(
            session, [Filter(View.OPEN, due=one) for one in (DueState.BREACHED, DueState.SOON)], "mina"
        )
        assert counts == [20, 40]
        last = reading.inbox_page(session, by_due, "mina", after=Cursor(DAY_ONE + 999 * HOUR, 1), limit=10)
        assert [row.conversation.due_at for row in last.rows] == [None] * 10
        following = reading.inbox_page(session, by_due, "mina", after=last.after, limit=10)
        assert {row.conversation.id for row in following.rows}.isdisjoint({row.conversation.id for row in last.rows})


def read_so_far(session: Session) -> int:
    """Rows of conversations that this transaction's scans have fetched."""
    return int(
        session.scalar(
            text(
                "SELECT pg_stat_get_xact_tuples_returned(c) + pg_stat_get_xact_tuples_fetched(c) "
                "FROM CAST('cairnloop.conversations' AS regclass) AS c"
            )
        )
        or 0
    )


# --- the policy's page ------------------------------------------------------------------------------------------------

FILLED = {
    "in_force": "yes",
    "normal-first_response": "2h 30m",
    "urgent-first_response": "15m",
    "urgent-resolution": "8h",
    "clock": "hours",
    "zone": "Europe/Berlin",
    "day-0": "09:00-12:30, 13:30-17:00",
    "day-4": "9:00 – 24:00",
    "holidays": "2026-12-25\n2027-01-01",
    "warn_at": "80",
    "rule": "team",
    "team": "Night",
    "version": "0",
}


def newest(session: Session) -> Policy:
    row = service.newest(session)
    assert row is not None
    return Policy.read(row.terms)


def test_a_policy_is_written_read_and_written_again(
    app: Flask, operator_client: FlaskClient, at_the_desk: Callable[..., Any]
) -> None:
    assert "Not in force" not in operator_client.get(PAGE).get_data(as_text=True)
    assert operator_client.post(PAGE, data=FILLED).status_code == 303
    found = at_the_desk(newest)
    assert found.targets[Priority.NORMAL] == {Target.FIRST_RESPONSE: timedelta(hours=2, minutes=30)}
    assert found.targets[Priority.URGENT][Target.RESOLUTION] == timedelta(hours=8)
    assert [len(day) for day in found.hours.week] == [2, 0, 0, 0, 1, 0, 0]
    assert (found.warn_at, found.rule, found.team) == (0.8, Rule.TEAM, "Night")
    page = operator_client.get(PAGE).get_data(as_text=True)
    for value in ("2h 30m", "09:00-12:30, 13:30-17:00", "09:00-24:00", "Europe/Berlin", "Night"):
        assert f'value="{value}"' in page
    assert "Version 1" in page
    assert written.parse(written.fields(found)) == found


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"normal-first_response": "soon"}, "Write hours and minutes"),
        ({"normal-first_response": "0m"}, "A target is more than nothing"),
        ({"normal-first_response": "9999h"}, "A target is more than nothing"),
        ({"zone": "Mars/Olympus"}, "There is no such time zone"),
        ({"day-0": "9 to 5"}, "Write from when until when"),
        ({"day-0": "09:00-25:00"}, "A day has the times"),
        ({"day-0": "12:00-09:00"}, "An interval ends after it begins"),
        ({"day-0": "09:00-12:00, 11:00-13:00"}, "two intervals overlap"),
        ({"day-0": "", "day-4": ""}, "Nobody ever works by these hours"),
        ({"holidays": "Christmas"}, "is no date"),
        ({"warn_at": "100"}, "A share is 1 to 99"),
        ({"team": " "}, "A team’s name"),
        ({"normal-first_response": "", "urgent-first_response": "", "urgent-resolution": ""}, "Set a target"),
    ],
)
def test_what_does_not_fit_is_said_beside_it_and_nothing_is_lost(
    operator_client: FlaskClient, values: dict[str, str], words: str
) -> None:
    answer = operator_client.post(PAGE, data=FILLED | values)
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422
    assert words.replace("’", "'") in page.replace("&#39;", "'").replace("’", "'")
    assert "2026-12-25" in page or "holidays" in values


def test_a_policy_that_somebody_saved_meanwhile_is_not_lost(operator_client: FlaskClient, sign_in: Any) -> None:
    assert operator_client.post(PAGE, data=FILLED).status_code == 303
    answer = sign_in("omar").post(PAGE, data=FILLED | {"team": "Day"})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 409
    assert "Saving again replaces version 1 by Mina Keller" in page
    assert 'value="Day"' in page
    assert sign_in("omar").post(PAGE, data=FILLED | {"team": "Day", "version": "1"}).status_code == 303


def test_it_is_for_who_may(sign_in: Any) -> None:
    assert sign_in("reader").get(PAGE).status_code == 403
    assert sign_in("reader").post(PAGE, data=FILLED).status_code == 403


def test_every_error_of_a_form_is_told_at_once() -> None:
    with pytest.raises(InvalidFields) as wrong:
        written.parse(FILLED | {"zone": "Nowhere", "day-0": "x", "warn_at": "x"})
    assert set(wrong.value.errors) == {"zone", "day-0", "warn_at"}


@pytest.mark.parametrize(
    ("minutes", "words"),
    [
        (45, "45m left"),
        (130, "2h 10m left"),
        (120, "2h left"),
        (4500, "3d 3h left"),
        (0.5, "due now"),
        (-0.5, "late"),
        (-14, "14m late"),
        (-1440, "1d late"),
    ],
)
def test_time_in_words(minutes: float, words: str) -> None:
    assert time_left(DAY_ONE + timedelta(minutes=minutes), DAY_ONE) == words
