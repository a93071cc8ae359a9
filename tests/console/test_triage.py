"""The forms that sort one conversation or several, and the lists that are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_cairnloop import Customer, receive, reply
from flask_cairnloop.conversations.models import Conversation, ConversationStatus, CustomerRecord
from tests.console.conftest import Desk
from tests.support.host import OPERATORS


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "OPERATORS": "tests.support.host:night_team"}


def said(answer: Any) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(answer.headers["HX-Trigger"])["cairnloop:toast"]
    return told


def test_a_claim_that_came_late_is_told_who_has_it_and_shows_how_it_is(
    desk: Desk, fragment: Callable[..., Any], sign_in: Callable[[str], FlaskClient]
) -> None:
    conversation_id = desk.ask()
    path = f"/support/conversations/{conversation_id}/assign"
    sign_in("omar").post(path, data={"to": "me", "had": ""})
    answer = fragment("POST", path, to="me", had="")
    assert answer.status_code == 409
    assert said(answer) == {"text": "Omar Reyes has it already.", "tone": "calm"}
    assert b'id="triage"' in answer.data
    assert desk.get(Conversation, conversation_id).assignee_id == "omar"
    answer = fragment("POST", path, to="mina", had="omar")
    assert (answer.status_code, desk.get(Conversation, conversation_id).assignee_id) == (200, "mina")


def test_people_and_teams_come_from_the_directory_and_no_other_is_taken(
    desk: Desk, operator_client: FlaskClient, fragment: Callable[..., Any]
) -> None:
    one = f"/support/conversations/{desk.ask()}"
    menu = fragment("GET", f"{one}/assignees", "div#assign-body").get_data(as_text=True)
    assert re.findall(r'name="to" value="([^"]*)"', menu) == ["mina", "omar"]
    assert 'name="team" value="Night"' in menu
    assert operator_client.get(f"{one}/assignees").status_code == 200
    assert operator_client.get(f"{one}/tags").status_code == 200
    assert fragment("POST", f"{one}/assign", to="outsider", had="").status_code == 422
    assert fragment("POST", f"{one}/team", team="Day").status_code == 422
    assert fragment("POST", f"{one}/team", team="Night").status_code == 200


def test_a_directory_that_fails_says_so_and_leaves_oneself(make_app: Callable[..., Flask]) -> None:
    def broken(_query: str) -> list[Any]:
        raise RuntimeError

    app = make_app(OPERATORS=broken)
    conversation_id = Desk(app).ask()
    page = (
        app.test_client()
        .get(f"/support/conversations/{conversation_id}/assignees", headers={"X-Operator": "mina"})
        .get_data(as_text=True)
    )
    assert "did not say who else works here" in page
    assert 'value="mina"' in page


def test_several_are_resolved_and_brought_back_from_the_list(
    desk: Desk, fragment: Callable[..., Any], sign_in: Callable[[str], FlaskClient]
) -> None:
    made = [desk.ask() for _ in range(2)]
    answer = fragment("POST", "/support/inbox/several", "section#list", id=made, step="resolve", list="view=open")
    told = said(answer)
    assert told["text"] == "2 conversations resolved"
    assert not any(f'id="row-{one}"' in answer.get_data(as_text=True) for one in made)
    assert sign_in("omar").post(told["undo"], data={}).status_code == 303  # and nothing happens: it was not his
    assert desk.get(Conversation, made[0]).status is ConversationStatus.RESOLVED
    back = fragment("POST", told["undo"], "section#list", list="view=open")
    assert said(back)["text"] == "2 conversations are as before"
    assert all(f'id="row-{one}"' in back.get_data(as_text=True) for one in made)


def test_a_reader_is_offered_no_sorting_and_may_not_do_it(desk: Desk, sign_in: Callable[[str], FlaskClient]) -> None:
    conversation_id = desk.ask()
    reader = sign_in("reader")
    page = reader.get(f"/support/conversations/{conversation_id}").get_data(as_text=True)
    assert "m-assign" not in page
    assert 'id="several"' not in page
    reader.post("/support/inbox/several", data={"id": conversation_id, "step": "resolve"})
    assert reader.post(f"/support/conversations/{conversation_id}/snooze", data={"until": "week"}).status_code == 403
    assert desk.get(Conversation, conversation_id).status is ConversationStatus.OPEN


def test_a_list_is_kept_shown_and_deleted(operator_client: FlaskClient, desk: Desk) -> None:
    desk.ask()
    query = "view=open&assignee=nobody&channel=widget"
    operator_client.post("/support/inbox/lists", data={"name": "From the web", "list": query, "shared": "yes"})
    page = operator_client.get(f"/support/inbox?{query}").get_data(as_text=True)
    assert page.count(">From the web<") >= 2  # the menu and the title
    assert "Nobody has it" in page
    assert "By widget" in page
    (delete,) = re.findall(r'action="(/support/inbox/lists/\d+/delete)"', page)
    operator_client.post(delete, data={})
    assert ">From the web<" not in operator_client.get("/support/inbox").get_data(as_text=True)


@pytest.mark.parametrize("step", ["resolve", "snooze:tomorrow"])
def test_several_are_done_as_they_were_when_they_were_ticked(
    desk: Desk, fragment: Callable[..., Any], sign_in: Callable[[str], FlaskClient], step: str
) -> None:
    as_shown, written, answered, unsaid = (desk.ask(f"Question {n}") for n in range(4))
    listed = fragment("GET", "/support/inbox?view=open", "div#list").get_data(as_text=True)
    ticks = dict(re.findall(r'name="id" value="((\d+):\d+)"', listed))
    chosen = [value for value, number in ticks.items() if int(number) in (as_shown, written, answered)]
    assert len(chosen) == 3
    with desk.app.app_context():
        session = desk.app.extensions["sqlalchemy"].session
        theirs = session.get_one(Conversation, written).customer_id
        customer = session.get_one(CustomerRecord, theirs)
        receive(
            session,
            customer=Customer(customer.ref, customer.name),
            body="One more thing",
            channel="widget",
            conversation_id=written,
        )
        reply(session, answered, actor=OPERATORS["omar"], body="I have it")
        session.commit()
    answer = fragment("POST", "/support/inbox/several", set=step, id=[*chosen, str(unsaid)])
    assert "In two somebody has written meanwhile: look first" in said(answer)["text"]
    done = {
        number: (found.resolved_at or found.snoozed_until) is not None
        for number in (as_shown, written, answered, unsaid)
        if (found := desk.get(Conversation, number))
    }
    assert done == {as_shown: True, written: False, answered: False, unsaid: True}
    mine = desk.ask("Another")
    with desk.app.app_context():
        session = desk.app.extensions["sqlalchemy"].session
        reply(session, mine, actor=OPERATORS["mina"], body="My own words move nothing for me")
        session.commit()
    assert "One conversation" in said(fragment("POST", "/support/inbox/several", set=step, id=f"{mine}:1"))["text"]
