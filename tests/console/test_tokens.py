"""Tokens in Settings: made by who may, shown once, and revoked."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_cairnloop import Operator
from flask_cairnloop.tokens import service
from tests.console.conftest import Desk
from tests.support.tools import BILLING, KEYS

PAGE = "/support/settings/tokens"
FILLED = {"name": "Billing assistant", "scope": ["knowledge.read"], "days": "90", "rate": "60/minute"}


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, **KEYS}


def rows(at_the_desk: Callable[..., Any]) -> dict[str, Any]:
    return {row[0].name: row[0] for row in at_the_desk(service.tokens)}


def test_a_token_is_shown_once_and_works(
    app: Flask, operator_client: FlaskClient, at_the_desk: Callable[..., Any]
) -> None:
    assert "No tokens yet" in operator_client.get(PAGE).get_data(as_text=True)
    made = operator_client.post(PAGE, data={**FILLED, "scope": ["knowledge.read", "actions.propose"], "tool": "peek"})
    (raw,) = re.findall(r'value="(cairnloop_[^"]+)" readonly', made.get_data(as_text=True))
    later = operator_client.get(PAGE).get_data(as_text=True)
    assert raw not in later
    assert "Billing assistant" in later
    row = rows(at_the_desk)["Billing assistant"]
    assert (row.scopes, row.tools, row.created_by) == (["actions.propose", "knowledge.read"], ["peek"], "mina")
    token = at_the_desk(lambda session: service.authenticate(session, raw))
    assert (token.may_use("peek"), token.may_use("tag")) == (True, False)

    assert operator_client.post(f"{PAGE}/{row.id}/revoke").status_code == 303
    assert at_the_desk(lambda session: service.authenticate(session, raw)) is None
    assert operator_client.post(f"{PAGE}/{row.id}/revoke").status_code == 409
    assert "Revoked" in operator_client.get(PAGE).get_data(as_text=True)


@pytest.mark.parametrize(
    ("values", "status", "words"),
    [
        ({"name": " "}, 422, "Give it a name"),
        ({"name": "x" * 101}, 422, "Give it a name"),
        ({"scope": []}, 422, "Say what it may"),
        ({"scope": ["bad scope"]}, 422, "what you do not have"),
        ({"scope": [BILLING]}, 422, f"what you do not have: {BILLING}"),
        ({"tool": "nothing"}, 422, "There is no tool"),
        ({"days": "1e9"}, 422, "Choose how long"),
        ({"rate": "often"}, 422, "how often it may ask"),
        ({"conversation": "#"}, 422, "named by its number"),
        ({"customer": "  "}, 422, "named by your app"),
        ({"conversation": "seven"}, 422, "named by its number"),
        ({"conversation": "999999"}, 422, "no such conversation"),
        ({"customer": "nobody"}, 422, "No customer has this reference"),
    ],
)
def test_what_does_not_fit_is_said_beside_it_and_nothing_is_made(
    operator_client: FlaskClient, at_the_desk: Callable[..., Any], values: dict[str, Any], status: int, words: str
) -> None:
    before = rows(at_the_desk).keys()
    answer = operator_client.post(PAGE, data={**FILLED, "name": "Never made", **values})
    assert answer.status_code == status
    assert words in answer.get_data(as_text=True)
    assert rows(at_the_desk).keys() == before


def test_a_bound_is_a_conversation_or_a_customer(
    app: Flask, operator_client: FlaskClient, at_the_desk: Callable[..., Any]
) -> None:
    conversation = Desk(app).ask()
    both = operator_client.post(
        PAGE, data={**FILLED, "name": "Both", "conversation": f"#{conversation}", "customer": "x"}
    )
    assert both.status_code == 422
    made = operator_client.post(PAGE, data={**FILLED, "name": "One", "conversation": f"#{conversation}"})
    assert made.status_code == 200
    assert rows(at_the_desk)["One"].conversation_id == conversation
    assert f"Conversation {conversation} only" in operator_client.get(PAGE).get_data(as_text=True)


def test_two_that_work_never_have_one_name(operator_client: FlaskClient, at_the_desk: Callable[..., Any]) -> None:
    assert operator_client.post(PAGE, data={**FILLED, "name": "Twin"}).status_code == 200
    again = operator_client.post(PAGE, data={**FILLED, "name": "Twin"})
    assert again.status_code == 409
    assert "Another token is called" in again.get_data(as_text=True)
    operator_client.post(f"{PAGE}/{rows(at_the_desk)['Twin'].id}/revoke")
    assert operator_client.post(PAGE, data={**FILLED, "name": "Twin"}).status_code == 200


def test_what_the_host_does_not_let_somebody_do_they_do_not_hand_on(make_app: Callable[..., Flask]) -> None:
    """``AUTHORIZE`` decides alone where there is one: what stands in ``permissions`` hands nothing on."""
    app = make_app(
        AUTHORIZE=lambda operator, permission, subject: (
            permission in ("tokens.manage", "knowledge.read") or subject is not None
        ),
        OPERATOR_LOADER=lambda: Operator("bob", "Bob"),
    )
    client = app.test_client()
    client.environ_base["HTTP_ORIGIN"] = "http://localhost"
    assert 'value="actions.propose"' not in client.get(PAGE).get_data(as_text=True)
    refused = client.post(PAGE, data={**FILLED, "name": "Climber", "scope": ["actions.propose"]})
    assert refused.status_code == 422
    assert client.post(PAGE, data={**FILLED, "name": "Reader"}).status_code == 200


def test_only_who_may_sees_them(make_app: Callable[..., Flask]) -> None:
    app = make_app(OPERATOR_LOADER=lambda: Operator("lee", "Lee", permissions=frozenset({"operations.read"})))
    client = app.test_client()
    assert client.get(PAGE).status_code == 403
    assert PAGE not in client.get("/support/settings").get_data(as_text=True)
