"""Approvals: the list, the card in the conversation, every decision by its form, and what nobody may see or do."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from html import unescape
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from flask_cairnloop import ActionProposal, Subject, Tier
from flask_cairnloop.actors import ActorKind
from flask_cairnloop.console import action_words
from flask_cairnloop.console.presenters import Times
from flask_cairnloop.governance import queries as reading
from flask_cairnloop.governance.models import ActionApproval, ActionEvent
from flask_cairnloop.governance.queries import Found, Queue
from flask_cairnloop.governance.tools import Registry
from flask_cairnloop.governance.types import (
    OPEN_STATES,
    ApprovalState,
    EventKind,
    ProposalState,
    Risk,
    ToolKind,
)
from flask_cairnloop.testing import run_jobs
from tests.console.conftest import Desk
from tests.support.tools import KEYS, PEOPLE, POLICY

pytestmark = pytest.mark.usefixtures("house_rules")
S = ProposalState


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, **KEYS, "OPERATOR_LOADER": "tests.support.tools:load"}


def words(answer: Any) -> str:
    """What a page says, as a reader has it."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", answer.get_data(as_text=True))).split())


def state(app: Flask, action: int) -> ProposalState:
    with app.app_context():
        return app.extensions["sqlalchemy"].session.get_one(ActionProposal, action).state


def test_the_list_has_most_risk_first_and_what_runs_out_first_of_that(
    desk: Desk, sign_in: Callable[[str], FlaskClient]
) -> None:
    conversation = desk.ask()
    low, erase = desk.action(conversation), desk.action(conversation, "erase")
    first, second = desk.action(conversation, "refund"), desk.action(None, "refund")
    page = sign_in("ben").get("/support/approvals").get_data(as_text=True)
    order = [int(number) for number in re.findall(r'data-row="(\d+)"', page)]
    assert [number for number in order if number in (low, erase, first, second)] == [erase, first, second, low]
    assert "Without a conversation" in page
    assert re.search(r'id="approvals-count"[^>]*>\d', page)


def test_a_card_says_what_it_would_do_before_anything_else_and_why_somebody_cannot_approve(
    desk: Desk, sign_in: Callable[[str], FlaskClient]
) -> None:
    conversation = desk.ask()
    action = desk.action(conversation, "refund", mark="zinc", amount=30)
    for path in (f"approvals/{action}", f"conversations/{conversation}"):
        mine, theirs = (words(sign_in(who).get(f"/support/{path}")) for who in ("ada", "ben"))
        assert theirs.index("Leaves zinc with 30.") < theirs.index("Values")
        assert "You proposed it, so somebody else has to approve it." in mine
        assert "Take it back" in mine
        assert "Take it back" not in theirs
    page = sign_in("ada").get(f"/support/approvals/{action}").get_data(as_text=True)
    assert f"/approvals/{action}/approve" not in page
    assert f"/approvals/{action}/approve" in sign_in("ben").get(f"/support/approvals/{action}").get_data(as_text=True)


def test_a_refund_goes_its_way_by_forms(app: Flask, desk: Desk, sign_in: Callable[[str], FlaskClient]) -> None:
    ada, ben = sign_in("ada"), sign_in("ben")
    conversation = desk.ask()
    asked = ada.get(f"/support/conversations/{conversation}/actions/new?tool=refund").get_data(as_text=True)
    assert 'name="input.mark"' in asked
    form = {"tool": "refund", "input.mark": "zinc", "input.amount": "5000", "reason": "Charged twice"}
    wrong = ada.post(f"/support/conversations/{conversation}/actions", data=form)
    assert wrong.status_code == 422
    assert re.search(r'id="p-amount-error">.*less than or equal to 1000', wrong.get_data(as_text=True))
    assert 'value="zinc"' in wrong.get_data(as_text=True)
    assert (
        ada.post(f"/support/conversations/{conversation}/actions", data=form | {"input.amount": "9"}).status_code == 303
    )
    with app.app_context():
        found = select(ActionProposal.id).where(ActionProposal.conversation_id == conversation)
        action = app.extensions["sqlalchemy"].session.scalars(found).one()
    refused = ada.post(f"/support/approvals/{action}/approve", data={"revision": "0"})
    assert refused.status_code == 409
    assert "You proposed it" in words(refused)
    for missing in ("reject", "defer"):
        assert ben.post(f"/support/approvals/{action}/{missing}", data={"reason": " "}).status_code == 422
    changed = {"revision": "0", "change": "yes", "input.mark": "zinc", "input.amount": "7", "at": "conversation"}
    done = ben.post(f"/support/approvals/{action}/approve", data=changed)
    assert done.location == f"/support/conversations/{conversation}"
    run_jobs(app)
    assert state(app, action) is S.SUCCEEDED
    page = words(ada.get(f"/support/approvals/{action}"))
    assert "Done Refunded 7." in page or "Refunded 7." in page
    assert "Ben Person changed what it would do Amount: 9 7" in page
    late = ben.post(f"/support/approvals/{action}/approve", data={"revision": "1"})
    assert late.status_code == 409
    assert "that is succeeded cannot be approved" in words(late)


def test_a_typed_confirmation_is_asked_for_beside_its_field(
    app: Flask, desk: Desk, sign_in: Callable[[str], FlaskClient]
) -> None:
    action = desk.action(desk.ask(), "erase", mark="zinc")
    path = f"/support/approvals/{action}/approve"
    headers = {"HX-Request": "true", "HX-Request-Type": "partial", "HX-Target": "main#detail"}
    wrong = sign_in("ben").post(path, data={"revision": "0", "confirmation": "zinc"}, headers=headers)
    assert "Type “erase zinc” to approve it." in words(wrong)
    assert "aria-invalid" in wrong.get_data(as_text=True)
    for who in ("ben", "cyd"):
        answer = sign_in(who).post(path, data={"revision": "0", "confirmation": "erase zinc"}, headers=headers)
        assert answer.status_code == 200
    assert "It runs now" in answer.headers["HX-Trigger"]
    assert state(app, action) is S.APPROVED


def test_several_are_rejected_or_put_off_at_once(app: Flask, desk: Desk, sign_in: Callable[[str], FlaskClient]) -> None:
    ben = sign_in("ben")
    one, two, gone = (desk.action(desk.ask(), "refund") for _ in range(3))
    ben.post(f"/support/approvals/{gone}/reject", data={"reason": "No"})
    form = {"action": [str(one), str(two), str(gone)], "does": "defer", "reason": "Month end", "days": "3"}
    headers = {"HX-Request": "true", "HX-Request-Type": "partial", "HX-Target": "div#queue"}
    answer = ben.post("/support/approvals/several", data=form, headers=headers)
    assert "2 put off, 1 had moved on" in answer.headers["HX-Trigger"]
    assert [state(app, action) for action in (one, two, gone)] == [S.DEFERRED, S.DEFERRED, S.REJECTED]
    assert "Month end" in words(ben.get(f"/support/approvals/{one}"))
    assert ben.post(f"/support/approvals/{one}/back").status_code == 303
    assert state(app, one) is S.PENDING
    many = {"action": [str(n) for n in range(1, 27)], "does": "reject", "reason": "No"}
    assert ben.post("/support/approvals/several", data=many).status_code == 422


def test_an_uncertain_one_is_settled_and_proposed_again(
    app: Flask, desk: Desk, sign_in: Callable[[str], FlaskClient]
) -> None:
    conversation = desk.ask()
    action = desk.action(conversation, "webhook", how="raise")
    ben = sign_in("ben")
    ben.post(f"/support/approvals/{action}/approve", data={"revision": "0"})
    run_jobs(app)
    assert "Nobody knows" in words(ben.get(f"/support/conversations/{conversation}"))
    assert ben.post(f"/support/approvals/{action}/settle", data={"note": "Looked."}).status_code == 422
    ben.post(f"/support/approvals/{action}/settle", data={"note": "Nothing there.", "happened": "no"})
    assert state(app, action) is S.FAILED
    ben.post(f"/support/approvals/{action}/again")
    with app.app_context():
        again = select(ActionProposal.state).where(ActionProposal.again_of == action)
        assert app.extensions["sqlalchemy"].session.scalars(again).one() is S.PENDING


def test_who_may_not_see_a_conversation_sees_none_of_its_actions(make_app: Callable[..., Flask], desk: Desk) -> None:
    from tests.conftest import _client

    hidden = desk.ask()
    action = desk.action(hidden, "refund", mark="secret-zinc")
    app = make_app(AUTHORIZE=lambda operator, permission, subject: subject != Subject("conversation", hidden))
    client = _client(app, "ben")
    assert "secret-zinc" not in client.get("/support/approvals").get_data(as_text=True)
    assert f'data-row="{action}"' not in client.get("/support/approvals").get_data(as_text=True)
    for method, path in (("GET", ""), ("POST", "/approve"), ("POST", "/reject"), ("POST", "/withdraw")):
        answer = client.open(f"/support/approvals/{action}{path}", method=method, data={"reason": "x"})
        assert answer.status_code == 404
    assert state(app, action) is S.PENDING


def test_who_may_only_propose_decides_nothing(desk: Desk, sign_in: Callable[[str], FlaskClient]) -> None:
    action = desk.action(desk.ask(), "tag")
    reader = sign_in("reader")
    assert reader.get("/support/approvals").status_code == 403
    assert reader.post(f"/support/approvals/{action}/approve", data={"revision": "0"}).status_code == 403
    asked = reader.get(f"/support/conversations/{desk.ask()}/actions/new")
    assert asked.status_code == 403


def test_a_refused_proposal_says_why(desk: Desk, sign_in: Callable[[str], FlaskClient]) -> None:
    POLICY["tag"] = "refuse"
    conversation = desk.ask()
    headers = {"HX-Request": "true", "HX-Request-Type": "partial", "HX-Target": "div#propose-body"}
    form = {"tool": "tag", "input.mark": "m"}
    answer = sign_in("ada").post(f"/support/conversations/{conversation}/actions", data=form, headers=headers)
    assert answer.headers["HX-Retarget"] == "#timeline"
    assert "policy refuses this action" in answer.headers["HX-Trigger"]
    assert "Refused" in words(answer)


def test_pages_take_few_queries_and_lead_on(
    app: Flask, desk: Desk, sign_in: Callable[[str], FlaskClient], queries: Callable[[], Any], monkeypatch: Any
) -> None:
    monkeypatch.setattr(reading, "PAGE_SIZE", 3)
    conversation = desk.ask()
    for _ in range(8):
        desk.action(conversation, "refund")
    ben = sign_in("ben")
    path, seen, pages = "/support/approvals", [], 0
    while path:
        with queries() as asked:
            page = ben.get(path).get_data(as_text=True)
        assert len(asked) <= 8
        seen += re.findall(r'data-row="(\d+)"', page)
        more = re.search(r'<a href="([^"]+after=[^"]+)">Further', page)
        path, pages = unescape(more[1]) if more else "", pages + 1
    assert pages > 2
    assert len(seen) == len(set(seen))
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        waiting = session.scalars(select(ActionProposal.id).where(ActionProposal.state == S.PENDING)).all()
    assert {int(number) for number in seen} == set(waiting)
    with queries() as asked:
        ben.get(f"/support/approvals/{waiting[0]}")
    assert len(asked) <= 10
    for after in ("x", "9-1-1", "-", "3-99999999999999999-1", "%00"):
        for queue in (*Queue, "invented"):
            assert ben.get(f"/support/approvals?show={queue}&after={after}").status_code == 200


def test_the_presenter_is_total() -> None:
    """Every state, risk, tier and event in words, with everything in the row that may be missing."""
    moment = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    events = [
        ActionEvent(
            kind=kind, actor_kind=ActorKind.SYSTEM, actor_id="system:x", actor_name="X", attempt=1, occurred_at=moment
        )
        for kind in EventKind
    ]
    for state_ in ProposalState:
        for risk in Risk:
            for tier in Tier:
                one = ActionProposal(
                    id=1,
                    state=state_,
                    tool="gone",
                    title="Gone",
                    risk=risk,
                    kind=ToolKind.EXTERNAL,
                    tier=tier,
                    proposed_by_kind=ActorKind.SYSTEM,
                    proposed_by="system:",
                    proposed_by_name="",
                    inputs={"deep": {"er": [1]}, "none": None, "flag": True, "list": [1, 2]},
                    labels={},
                    changes=[{}],
                    evidence=[{}],
                    policy={},
                    consequence="",
                    reason="",
                    result={"x": [1], "y": {"z": None}},
                    revision=0,
                    expires_at=moment,
                    created_at=moment,
                )
                answers = [
                    ActionApproval(state=answer, decided_by="ben", decided_at=moment, edits=[{}], reason="")
                    for answer in ApprovalState
                ]
                found = Found(one, None, None, None, answers, events)
                times = Times(moment, UTC)
                card = action_words.card(found, PEOPLE["ada"], Registry(), times, may_approve=True, may_propose=True)
                assert "approve" not in card.offers  # nobody approves what no tool can do
                assert card.over is (state_ not in OPEN_STATES)
                said = repr((card, action_words.row(found, times)))
                assert "None" not in re.sub(r"=None\b", "", said)
                assert "{'er'" not in said
                assert "{'z'" not in said
    assert set(Queue) == set(action_words.QUEUES) == set(action_words.QUEUE_EMPTY)
