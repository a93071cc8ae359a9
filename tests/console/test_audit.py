"""The audit log's page: what is found in it, that the address is the truth, and what leaves it as a file."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from flask_cairnloop import Actor, Operator, resolve
from flask_cairnloop.console.audit_words import ACTIONS
from flask_cairnloop.drafting import service as drafting
from flask_cairnloop.drafting.models import DraftState
from flask_cairnloop.governance.types import EventKind
from tests.conftest import Client
from tests.console.conftest import Desk
from tests.support.processes import ROOT

Log = Callable[..., str]


@pytest.fixture
def log(operator_client: FlaskClient) -> Log:
    def read(**asked: str) -> str:
        answer = operator_client.get("/support/audit", query_string=asked)
        assert answer.status_code == 200
        return answer.get_data(as_text=True)

    return read


@pytest.fixture
def decided(app: Flask, desk: Desk, operator: Operator) -> int:
    """A conversation whose draft Mina discarded with a reason, and which she resolved."""
    conversation_id = desk.ask()
    draft_id = desk.draft(conversation_id)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        drafting.discard(
            session, draft_id, actor=Actor.operator(operator), reason="tone", note="Too stiff for a <b>baker</b>."
        )
        resolve(session, conversation_id, actor=operator)
        session.commit()
    return conversation_id


def entries(page: str) -> list[str]:
    """What each entry says, without its marks."""
    found = re.findall(r'<li id="entry-\d+">.*?<p>(.*?)</p>', page, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", "", one).split()) for one in found]


def test_a_thread_tells_who_did_what_and_why_newest_first(log: Log, decided: int) -> None:
    page = log(thread=f"conversation:{decided}")
    told = entries(page)
    assert told[:2] == ["Mina Keller resolved the conversation", "Mina Keller discarded a draft"]
    assert set(told[2:]) == {  # one moment
        "Cairnloop (drafting) began a draft",
        "The customer wrote a message",
        "The customer opened the conversation",
    }
    assert "Too stiff for a &lt;b&gt;baker&lt;/b&gt;." in page
    assert f'href="/support/conversations/{decided}"' in page


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"q": "stiff bak"}, "discarded a draft"),
        ({"q": "discarded a draft"}, "discarded a draft"),
        ({"q": "mina", "action": "conversation.resolve"}, "resolved the conversation"),
        ({"actor": "operator:mina", "action": "draft.discarded"}, "discarded a draft"),
    ],
)
def test_it_is_found_on_the_server_by_words_people_actions_and_filters(
    log: Log, decided: int, asked: dict[str, str], said: str
) -> None:
    page = log(**asked)
    assert f"/support/conversations/{decided}" in page
    assert {entry.removeprefix("Mina Keller ") for entry in entries(page)} == {said}


def test_a_number_finds_what_has_it(log: Log, decided: int) -> None:
    assert f"/support/conversations/{decided}" in log(q=f"#{decided}", action="conversation.resolve")


def test_a_filter_is_a_chip_that_leads_back_without_it(log: Log, decided: int) -> None:
    page = log(actor="operator:mina", action="conversation.resolve", since="2020-01-01", until="2120-01-01")
    chips = re.findall(r'class="achip" href="([^"]+)"', page)
    assert len(chips) == 4
    assert "/support/audit?actor=operator:mina&amp;since=2020-01-01&amp;until=2120-01-01" in chips
    assert entries(log(until="2020-01-01")) == []


def test_nothing_and_no_match_are_told_apart(make_app: Callable[..., Flask], fresh_database_url: str) -> None:
    app = make_app(database_url=fresh_database_url)
    app.test_client_class = Client
    client = app.test_client()
    headers = {"X-Operator": "mina"}
    assert b"Nothing was done yet" in client.get("/support/audit", headers=headers).data
    assert b"Nothing matches" in client.get("/support/audit?action=draft.approved", headers=headers).data


@pytest.mark.parametrize(
    "address",
    ["actor=nobody", "actor=:", "thread=conversation:x", "since=yesterday", "until=9999-12-31", "after=x", "q=%00"],
)
def test_nonsense_in_the_address_shows_the_whole_log(operator_client: FlaskClient, decided: int, address: str) -> None:
    answer = operator_client.get(f"/support/audit?{address}")
    assert answer.status_code == 200
    assert "resolved the conversation" in answer.get_data(as_text=True)


def test_pages_follow_each_other_and_what_is_new_is_counted(
    app: Flask, log: Log, desk: Desk, fragment: Callable[..., Any], decided: int
) -> None:
    for _ in range(20):
        desk.ask()
    page = log()
    first = set(re.findall(r'id="entry-(\d+)"', page))
    assert len(first) == 50
    (further,) = re.findall(r'class="more"><a href="([^"]+)"', page)
    (poll,) = re.findall(r'id="newer" role="status" hx-get="([^"]+)"', page)
    second = fragment("GET", further.replace("&amp;", "&"), "section#entries").get_data(as_text=True)
    assert first.isdisjoint(re.findall(r'id="entry-(\d+)"', second))
    assert 'id="entry-' in second
    assert fragment("GET", poll.replace("&amp;", "&"), "div#newer").data == b""
    desk.ask()
    assert "3 new entries" in fragment("GET", poll.replace("&amp;", "&"), "div#newer").get_data(as_text=True)


def test_it_leaves_as_a_file_with_its_filters_and_that_is_an_entry(
    app: Flask, operator_client: FlaskClient, log: Log, decided: int
) -> None:
    asked = {"thread": f"conversation:{decided}", "actor": "operator:mina"}
    answer = operator_client.post("/support/audit/export", data={"format": "jsonl", **asked})
    rows = [json.loads(line) for line in answer.get_data(as_text=True).splitlines()]
    assert [row["action"] for row in rows] == ["conversation.resolve", "draft.discarded"]
    assert rows[1]["reason"] == "Too stiff for a <b>baker</b>."
    answer = operator_client.post("/support/audit/export", data={"format": "csv", **asked})
    assert "attachment" in answer.headers["Content-Disposition"]
    (resolved, _) = csv.DictReader(io.StringIO(answer.get_data(as_text=True)))
    assert resolved["actor_id"] == "mina"
    assert entries(log(action="audit.export"))[0] == "Mina Keller exported the audit log"
    assert operator_client.post("/support/audit/export", data={"format": "exe"}).status_code == 422


def test_no_cell_is_a_formula(app: Flask, operator_client: FlaskClient, desk: Desk, operator: Operator) -> None:
    draft_id = desk.draft(desk.ask())
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        drafting.discard(session, draft_id, actor=Actor.operator(operator), reason="tone", note="=HYPERLINK(1)")
        session.commit()
    data = {"format": "csv", "q": "hyperlink"}
    (row,) = csv.DictReader(
        io.StringIO(operator_client.post("/support/audit/export", data=data).get_data(as_text=True))
    )
    assert row["reason"] == "'=HYPERLINK(1)"


def test_who_may_not_read_it_neither_sees_nor_takes_it(sign_in: Callable[[str], FlaskClient]) -> None:
    reader = sign_in("reader")
    assert reader.get("/support/audit").status_code == 403
    assert reader.post("/support/audit/export", data={"format": "csv"}).status_code == 403
    assert b"/support/audit" not in reader.get("/support/inbox").data


def test_every_action_of_ours_has_words() -> None:
    source = "".join(path.read_text() for path in (ROOT / "flask_cairnloop").rglob("*.py"))
    written = set(re.findall(r'record(?:ed)?\(\s*session,.{0,40}?actor, "([a-z_]+\.[a-z_]+)"', source, re.DOTALL))
    assert len(written) > 20
    states = {f"draft.{state.value}" for state in DraftState} | {f"action.{kind.value}" for kind in EventKind}
    assert (written | states) - set(ACTIONS) == set()


MANY = """
    INSERT INTO cairnloop.audit_entries
        (occurred_at, actor_kind, actor_id, actor_name, action, subject_type, subject_id, data)
    SELECT now() - n * interval '1 minute',
        CASE WHEN n % 3 = 0 THEN 'operator' ELSE 'customer' END,
        CASE WHEN n % 3 = 0 THEN 'operator-' || n % 20 ELSE 'pseudonym-' || n % 30000 END,
        CASE WHEN n % 3 = 0 THEN 'Operator ' || n % 20 END,
        CASE WHEN n % 3 = 0 THEN 'message.reply' WHEN n % 1000 = 1 THEN 'conversation.rate' ELSE 'message.receive' END,
        'conversation', n / 5, '{}'
    FROM generate_series(1, 100000) AS n
"""
SEARCHES = (
    "",
    "q=operator 7",
    "q=rated",
    "q=19000",
    "q=nothing at all like this",
    "actor=operator:operator-7&action=message.reply",
    "thread=conversation:19000",
    "since=2020-01-01&until=2099-01-01&action=conversation.rate",
)


def test_a_hundred_thousand_entries_are_never_read_through(
    make_app: Callable[..., Flask],
    fresh_database_url: str,
    steps: Callable[..., list[dict[str, Any]]],
) -> None:
    app = make_app(database_url=fresh_database_url)
    app.test_client_class = Client
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        session.execute(text(MANY))
        session.commit()
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"}).execute(text("ANALYZE"))
    client = app.test_client()
    for search in SEARCHES:

        def read(search: str = search) -> None:
            answer = client.get(f"/support/audit?{search}", headers={"X-Operator": "mina"})
            assert answer.status_code == 200

        found = [step for step in steps(app, read) if str(step.get("Relation Name")) == "audit_entries"]
        assert "Seq Scan" not in {step["Node Type"] for step in found}, search
        rows = sum(step["Actual Rows"] * step["Actual Loops"] for step in found)
        assert rows < 3_000, search
