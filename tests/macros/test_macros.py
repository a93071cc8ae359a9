"""Macros as operators meet them: written, shared, chosen, counted, and never sent with a hole in them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from sqlalchemy import delete, select

from flask_cairnloop import Customer, Operator, Permission
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.conversations import triage
from flask_cairnloop.conversations.models import (
    Conversation,
    ConversationStatus,
    Message,
    MessageKind,
    Priority,
    Tag,
)
from flask_cairnloop.macros.models import Macro
from tests.console.conftest import Desk
from tests.front_door.test_routes import browser

FRAGMENT = {"HX-Request": "true", "HX-Request-Type": "partial"}


@pytest.fixture
def desk(app: Flask) -> Desk:
    return Desk(app)


def write(client: FlaskClient, name: str, body: str = "Hi {{customer.name}}", **form: Any) -> int:
    status: int = client.post("/support/settings/macros/new", data={"name": name, "body": body, **form}).status_code
    return status


def named(app: Flask, name: str) -> Macro:
    with app.app_context():
        found: Macro = app.extensions["sqlalchemy"].session.scalars(select(Macro).filter_by(name=name)).one()
        return found


def test_ones_own_macros_are_nobody_elses_and_shared_ones_are_everybodys(
    app: Flask, desk: Desk, sign_in: Callable[[str], FlaskClient]
) -> None:
    mina, omar = sign_in("mina"), sign_in("omar")
    own, shared = f"own {uuid.uuid4().hex[:6]}", f"shared {uuid.uuid4().hex[:6]}"
    assert (write(mina, own), write(mina, shared, shared="1"), write(mina, own)) == (303, 303, 422)
    page = omar.get("/support/settings/macros").get_data(as_text=True)
    assert shared in page
    assert own not in page
    path = f"/support/settings/macros/{named(app, own).id}"
    for answer in (omar.get(path), omar.post(f"{path}/save"), omar.post(f"{path}/delete")):
        assert answer.status_code == 404
    chosen = omar.post(f"/support/conversations/{desk.ask()}/macros/{named(app, own).id}/use")
    assert chosen.status_code == 404
    assert mina.post(f"{path}/delete").status_code == 303


def test_who_may_not_share_neither_shares_nor_changes_what_is_shared(make_app: Callable[..., Flask]) -> None:
    def loader() -> Operator:
        return Operator("lee", "Lee", permissions=frozenset(Permission) - {request.headers.get("X-Not", "")})

    app = make_app(OPERATOR_LOADER=loader)
    client = browser(app, HTTP_X_NOT="macros.share")
    path = f"/support/settings/macros/{Desk(app).macro()}"
    assert write(client, "For all", shared="1") == 403
    assert write(client, f"Mine {uuid.uuid4().hex[:6]}") == 303
    assert client.post(f"{path}/save", data={"name": "x", "body": "y"}).status_code == 403
    assert client.post(f"{path}/delete").status_code == 403
    assert 'name="shared"' not in client.get("/support/settings/macros").get_data(as_text=True)
    assert browser(app).post(f"{path}/delete").status_code == 303


def test_a_mistake_is_named_and_what_was_written_stays_in_the_form(operator_client: FlaskClient) -> None:
    answer = operator_client.post(
        "/support/settings/macros/new", data={"name": "Odd", "body": "Hi {{customer.phone}}", "does": "assign"}
    )
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422
    assert "Line 1: there is no variable {{customer.phone}}." in page
    assert "Hi {{customer.phone}}</textarea>" in page
    assert 'value="assign" checked' in page


def test_it_is_shown_and_inserted_with_the_conversations_own_values_and_counted(
    app: Flask, desk: Desk, operator_client: FlaskClient
) -> None:
    conversation_id = desk.ask(customer=Customer("c-macro", "Cleo {{operator.name}}"))
    macro_id = desk.macro(body="Hi {{customer.name}}, no. {{conversation.id}}. {{operator.first_name}}")
    text = f"Hi Cleo {{{{operator.name}}}}, no. {conversation_id}. Mina"
    here = f"/support/conversations/{conversation_id}/macros"
    offered = {one["id"]: one for one in operator_client.get(here, headers=FRAGMENT).json}
    assert (offered[macro_id]["text"], offered[macro_id]["missing"]) == (text, [])
    does = [["assign", "Assign to me"], ["resolve", "Resolve after sending"]]
    assert operator_client.post(f"{here}/{macro_id}/use", headers=FRAGMENT).json == {"text": text, "does": does}
    assert desk.get(Macro, macro_id).uses == 1
    with app.app_context():
        entry = (
            app.extensions["sqlalchemy"]
            .session.scalars(select(AuditEntry).filter_by(action="macro.use", subject_id=macro_id))
            .one()
        )
    assert (entry.actor_id, entry.data) == ("mina", {"conversation_id": conversation_id})


def test_a_variable_without_a_value_stops_the_insertion_and_is_named(desk: Desk, operator_client: FlaskClient) -> None:
    conversation_id = desk.ask(customer=Customer(f"c-{uuid.uuid4().hex[:6]}", "Cleo"))
    macro_id = desk.macro(body="Hi {{customer.name}}, we wrote to {{customer.email}}")
    here = f"/support/conversations/{conversation_id}/macros"
    offered = {one["id"]: one for one in operator_client.get(here, headers=FRAGMENT).json}
    assert offered[macro_id]["missing"] == ["customer.email"]
    refused = operator_client.post(f"{here}/{macro_id}/use", headers=FRAGMENT)
    assert refused.status_code == 422
    assert "{{customer.email}}" in refused.headers["HX-Trigger"]
    assert desk.get(Macro, macro_id).uses == 0
    assert "No value here for" in operator_client.get(here).get_data(as_text=True)


def test_a_variable_that_still_stands_in_a_reply_is_not_sent(desk: Desk, operator_client: FlaskClient) -> None:
    conversation_id = desk.ask()
    form = {"body": "Hi {{customer.name}}", "seen": "1", "client_id": str(uuid.uuid4())}
    answer = operator_client.post(f"/support/conversations/{conversation_id}/reply", data=form, headers=FRAGMENT)
    assert answer.status_code == 422
    assert "{{customer.name}}" in answer.headers["HX-Trigger"]


def test_without_scripts_it_goes_into_the_field_and_its_actions_into_the_form(
    app: Flask, desk: Desk, operator_client: FlaskClient
) -> None:
    conversation_id = desk.ask()
    macro_id = desk.macro(body="All done.")
    answer = operator_client.post(f"/support/conversations/{conversation_id}/macros/{macro_id}/use")
    page = operator_client.get(answer.location).get_data(as_text=True)
    assert ">All done.</textarea>" in page
    assert 'name="does" value="resolve" form="reply-form" checked' in page
    form = {"body": "All done.", "seen": "1", "client_id": str(uuid.uuid4()), "does": ["assign", "resolve"]}
    assert operator_client.post(f"/support/conversations/{conversation_id}/reply", data=form).status_code == 303
    conversation = desk.get(Conversation, conversation_id)
    assert (conversation.assignee_id, conversation.status) == ("mina", ConversationStatus.RESOLVED)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        sent = session.scalars(select(Message.body).filter_by(conversation_id=conversation_id, kind=MessageKind.REPLY))
        assert sent.all() == ["All done."]


def test_tags_and_a_priority_are_put_on_with_the_reply_and_what_has_gone_since_is_left_out(
    app: Flask, desk: Desk, operator_client: FlaskClient
) -> None:
    kept, gone = f"kept {uuid.uuid4().hex[:6]}", f"gone {uuid.uuid4().hex[:6]}"
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        kept_id, gone_id = triage.tag_named(session, kept).id, triage.tag_named(session, gone).id
        session.commit()
    does = ["priority:low", "priority:urgent", f"tag:{kept_id}", f"tag:{gone_id}", "tag:x", "dance", "resolve"]
    name = f"Sorted {uuid.uuid4().hex[:6]}"
    assert write(operator_client, name, "All done.", does=does) == 303
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        session.execute(delete(Tag).where(Tag.id == gone_id))
        session.commit()
    macro, conversation_id = named(app, name), desk.ask()
    here = f"/support/conversations/{conversation_id}"
    said = [["priority:urgent", "Urgent priority"], [f"tag:{kept_id}", f"Tag “{kept}”"]]
    said.append(["resolve", "Resolve after sending"])
    offered = {one["id"]: one for one in operator_client.get(f"{here}/macros", headers=FRAGMENT).json}
    assert offered[macro.id]["does"] == said
    used = operator_client.post(f"{here}/macros/{macro.id}/use", headers=FRAGMENT).json
    assert used["does"] == said
    page = operator_client.get(f"/support/settings/macros/{macro.id}").get_data(as_text=True)
    assert f'value="tag:{kept_id}" checked' in page
    assert '<option value="priority:urgent" selected>' in page
    form = {"body": used["text"], "seen": "1", "client_id": str(uuid.uuid4()), "does": [n for n, _ in used["does"]]}
    assert operator_client.post(f"{here}/reply", data=form).status_code == 303
    conversation = desk.get(Conversation, conversation_id)
    assert (conversation.priority, conversation.status) == (Priority.URGENT, ConversationStatus.RESOLVED)
    with app.app_context():
        tags = triage.tags_of(app.extensions["sqlalchemy"].session, [conversation_id])
    assert [tag.name for tag in tags[conversation_id]] == [kept]


@pytest.mark.parametrize(
    ("does", "kept"),
    [(["resolve"], "resolve"), (["resolve", "ask"], "ask"), (["ask_nothing", "ask", ""], "ask_nothing")],
)
def test_of_several_ways_to_resolve_one_is_kept_and_chosen_in_the_form(
    app: Flask, operator_client: FlaskClient, does: list[str], kept: str
) -> None:
    name = f"Done {uuid.uuid4().hex[:6]}"
    assert write(operator_client, name, "All done.", does=does) == 303
    macro = named(app, name)
    assert macro.actions == [kept]
    page = operator_client.get(f"/support/settings/macros/{macro.id}").get_data(as_text=True)
    assert re.findall(r'<option value="(\w+)" selected>', page) == [kept]
    assert not re.search(r'type="checkbox" name="does" value="(resolve|ask)', page)
