"""Calls of tools: they propose, through the gate that everybody goes through, and are answered at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from flask_cairnloop import Actor, Customer, clock, receive
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.errors import Conflict, Forbidden
from flask_cairnloop.governance import service as governance
from flask_cairnloop.governance.models import ActionProposal
from flask_cairnloop.privacy import service as privacy
from flask_cairnloop.testing import frozen, run_jobs
from flask_cairnloop.tokens import service as tokens
from flask_cairnloop.tokens.models import AccessToken
from tests.governance.conftest import effects
from tests.mcp.conftest import Key, Machine
from tests.support.tools import BILLING, PEOPLE, POLICY

SOMEONE = Actor.system("test")


def told(result: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = result["structuredContent"]
    return found


def test_a_call_proposes_and_its_outcome_can_be_asked_for(
    app: Flask, machine: Callable[..., Machine], at_the_desk: Callable[..., Any], session: Any, conversation: int
) -> None:
    client = machine()
    first = client.call("refund", mark="m1", amount=5, conversation_id=conversation, reason="Charged twice.")
    assert told(first)["state"] == "pending"
    assert "waits for an operator" in first["content"][0]["text"]
    number = told(first)["action_id"]
    proposal = session.get(ActionProposal, number)
    assert (proposal.reason, proposal.conversation_id) == ("Charged twice.", conversation)
    assert proposal.proposed_by_name.startswith("Machine")

    at_the_desk(lambda s: governance.approve(s, number, actor=PEOPLE["ada"]))
    run_jobs(app)
    status = client.call("action_status", action_id=number)
    assert told(status)["state"] == "succeeded"
    assert told(status)["result"] == {"amount": 5}
    again = client.call("refund", mark="m1", amount=5, conversation_id=conversation, reason="Once more.")
    assert told(again) == told(status)
    assert effects(session, "m1") == 1
    anew = client.call("refund", mark="m1", amount=5, conversation_id=conversation, idempotency_key="today")
    assert told(anew)["action_id"] != number
    kinds = session.scalars(
        select(AuditEntry.actor_kind).where(AuditEntry.subject_type == "action", AuditEntry.subject_id == number)
    ).all()
    assert [kind.value for kind in kinds] == ["token", "operator", "system"]


def test_what_needs_nobody_runs_by_a_job(app: Flask, machine: Callable[..., Machine]) -> None:
    client = machine()
    number = told(client.call("peek", mark="p1"))["action_id"]
    assert told(client.call("action_status", action_id=number))["state"] == "approved"
    run_jobs(app)
    result = client.call("action_status", action_id=number)
    assert (told(result)["outcome"], told(result)["over"]) == ("Found it.", True)


def test_a_lookup_looks_again_and_what_a_conversation_fills_makes_no_other_call(
    app: Flask, machine: Callable[..., Machine], session: Any, conversation: int
) -> None:
    client = machine()
    first = told(client.call("peek", mark="p2"))["action_id"]
    run_jobs(app)
    assert told(client.call("peek", mark="p2"))["action_id"] != first
    paid = {"mark": "p3", "account": "DE89", "conversation_id": conversation}
    number = told(client.call("payout", **paid))["action_id"]
    session.execute(
        text(
            "UPDATE cairnloop.customers SET ref = ref || '-new' FROM cairnloop.conversations AS c"
            " WHERE c.id = :id AND customers.id = c.customer_id"
        ),
        {"id": conversation},
    )
    session.commit()
    assert told(client.call("payout", **paid))["action_id"] == number


def test_a_token_neither_sees_nor_runs_what_it_may_not(machine: Callable[..., Machine], session: Any) -> None:
    before = session.scalar(text("SELECT count(*) FROM cairnloop.action_proposals"))
    without = machine("actions.propose", "knowledge.read")
    assert "refund" not in without.tools()  # billing.refund
    assert "add_note" not in without.tools()  # conversations.note
    assert {"peek", "search_knowledge", "action_status"} <= set(without.tools())
    few = machine("actions.propose", tools=["peek"])
    assert few.tools() == ["peek", "action_status"]
    nothing = machine("knowledge.read")
    assert nothing.tools() == []
    for client, name in ((without, "refund"), (few, "tag"), (nothing, "peek"), (nothing, "action_status")):
        answer = client.ask("tools/call", name=name, arguments={"mark": "x"})
        unknown = client.ask("tools/call", name="no_such_tool", arguments={})
        assert answer.status_code == 400
        assert answer.json == unknown.json
    assert session.scalar(text("SELECT count(*) FROM cairnloop.action_proposals")) == before


def test_a_bound_token_stays_where_it_is_bound(
    machine: Callable[..., Machine],
    at_the_desk: Callable[..., Any],
    conversation: int,
    customer: Customer,
    session: Any,
) -> None:
    stranger = Customer("stranger-mcp", "Someone Else")
    elsewhere = at_the_desk(lambda s: receive(s, customer=stranger, body="Hi", channel="widget")).conversation_id
    one, theirs = machine(conversation_id=conversation), machine(customer_ref=customer.ref)
    note = next(tool for tool in one.result("tools/list")["tools"] if tool["name"] == "add_note")
    assert "conversation_id" not in note["inputSchema"]["properties"]
    note = next(tool for tool in theirs.result("tools/list")["tools"] if tool["name"] == "add_note")
    assert "conversation_id" in note["inputSchema"]["required"]

    assert session.get(ActionProposal, told(one.call("tag", mark="b1"))["action_id"]).conversation_id == conversation
    assert told(theirs.call("tag", mark="b2", conversation_id=conversation))["state"] == "pending"
    for arguments in ({"conversation_id": elsewhere}, {"conversation_id": 2**62}, {}):
        refused = theirs.call("tag", mark="b3", **arguments)
        assert refused["isError"]
    outside = [theirs.call("tag", mark="b3", conversation_id=number)["content"] for number in (elsewhere, 2**62)]
    assert outside[0] == outside[1]
    assert one.call("tag", mark="b4", conversation_id=elsewhere)["isError"]
    session.rollback()
    assert session.scalars(select(ActionProposal).where(ActionProposal.conversation_id == elsewhere)).all() == []


def test_a_token_sees_its_own_actions_only(machine: Callable[..., Machine]) -> None:
    mine, other = machine(), machine()
    number = told(mine.call("tag", mark="own"))["action_id"]
    for asked in (number, number + 100_000):
        assert (
            other.call("action_status", action_id=asked)["content"][0]["text"] == "You have asked for no such action."
        )
        assert other.ask("tasks/get", tasks=True, taskId=f"action-{asked}").status_code == 400


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "mark: Field required."),
        ({"mark": 7}, "mark: Input should be a valid string."),
        ({"mark": "x", "amount": -1}, "amount: Input should be greater than or equal to 0."),
        ({"mark": "x", "hidden": 1}, "hidden: This action has no such field."),
        ({"mark": "x", "conversation_id": "7"}, "conversation_id: This is the number of a conversation."),
        ({"mark": "x", "conversation_id": True}, "conversation_id: This is the number of a conversation."),
        ({"mark": "x", "conversation_id": 10**9}, "There is no such conversation."),
        ({"mark": "x", "reason": 7}, "reason: This is a text."),
        ({"mark": "x", "idempotency_key": "k" * 201}, "key: A key has 1 to 200 characters."),
        ({"mark": "\ud800"}, "mark: "),
        ({"mark": "x", "how": "unknown"}, "There is no such charge."),
    ],
)
def test_what_a_model_can_mend_is_told_as_a_result(
    machine: Callable[..., Machine], arguments: dict[str, Any], words: str
) -> None:
    result = machine().call("tag", **arguments)
    assert result["isError"]
    assert words in result["content"][0]["text"]


def test_a_sensitive_value_goes_in_and_never_comes_out(
    app: Flask, machine: Callable[..., Machine], at_the_desk: Callable[..., Any], conversation: int
) -> None:
    client = machine()
    payout = next(tool for tool in client.result("tools/list")["tools"] if tool["name"] == "payout")
    assert payout["inputSchema"]["properties"]["account"]["writeOnly"] is True
    assert "ref" not in payout["inputSchema"]["properties"]
    result = client.call("payout", mark="s1", account="DE89-SECRET", conversation_id=conversation)
    number = told(result)["action_id"]
    at_the_desk(lambda s: governance.approve(s, number, actor=PEOPLE["ada"]))
    run_jobs(app)
    done = client.call("action_status", action_id=number)
    assert told(done)["state"] == "succeeded"
    assert "DE89-SECRET" not in str((result, done))


def test_revoking_stops_what_is_approved_but_not_run(
    app: Flask, make_token: Callable[..., Key], at_the_desk: Callable[..., Any], session: Any
) -> None:
    key = make_token()
    client = Machine(app, key.raw)
    waits, approved = (told(client.call("tag", mark=mark))["action_id"] for mark in ("r1", "r2"))
    at_the_desk(lambda s: governance.approve(s, approved, actor=PEOPLE["ada"]))
    at_the_desk(lambda s: tokens.revoke(s, key.id, actor=SOMEONE))
    with pytest.raises(Conflict, match="was revoked"):
        at_the_desk(lambda s: governance.approve(s, waits, actor=PEOPLE["ada"]))
    run_jobs(app)
    session.rollback()
    states = {number: session.get(ActionProposal, number).state.value for number in (waits, approved)}
    assert states[waits] == "withdrawn"
    assert states[approved] in ("withdrawn", "invalidated")
    assert effects(session, "r2") == 0


def test_a_token_that_ends_while_the_app_is_asked_starts_nothing(
    app: Flask, make_token: Callable[..., Key], at_the_desk: Callable[..., Any], session: Any
) -> None:
    for tool, mark in (("tag", "late"), ("webhook", "later")):
        key = make_token()
        number = told(Machine(app, key.raw).call(tool, mark=mark))["action_id"]
        at_the_desk(lambda s, number=number: governance.approve(s, number, actor=PEOPLE["ada"]))

        def revoked_meanwhile(_action: Any, key: Key = key) -> None:
            with Session(app.extensions["cairnloop"].engine) as other:
                if tokens.state(other.get_one(AccessToken, key.id)) == "works":
                    tokens.revoke(other, key.id, actor=SOMEONE)
                    other.commit()

        POLICY[tool] = revoked_meanwhile
        run_jobs(app)
        session.rollback()
        proposal = session.get(ActionProposal, number)
        assert proposal.state.value == "invalidated"
        assert "was revoked" in proposal.failure
        assert effects(session, mark) == 0


def test_what_an_expired_token_asked_for_does_not_wait_for_ever(
    app: Flask, make_token: Callable[..., Key], session: Any
) -> None:
    key = make_token(expires_at=clock.now() + timedelta(hours=1))
    number = told(Machine(app, key.raw).call("tag", mark="ends"))["action_id"]
    with frozen(clock.now() + timedelta(hours=2)):
        run_jobs(app)
    session.rollback()
    assert session.get(ActionProposal, number).state.value == "withdrawn"


def test_a_token_that_lost_a_scope_by_a_tools_change_does_not_run(
    app: Flask, make_token: Callable[..., Key], at_the_desk: Callable[..., Any], session: Any
) -> None:
    key = make_token("actions.propose", BILLING)
    number = told(Machine(app, key.raw).call("refund", mark="lost"))["action_id"]
    at_the_desk(lambda s: governance.approve(s, number, actor=PEOPLE["ada"]))
    at_the_desk(
        lambda s: s.execute(
            text("UPDATE cairnloop.access_tokens SET scopes = '[\"actions.propose\"]' WHERE id = :id"), {"id": key.id}
        )
    )
    run_jobs(app)
    session.rollback()
    assert session.get(ActionProposal, number).state.value == "invalidated"
    assert effects(session, "lost") == 0


def test_a_token_is_the_hand_of_whoever_made_it(app: Flask, at_the_desk: Callable[..., Any], conversation: int) -> None:
    ada = Actor.operator(PEOPLE["ada"])
    _, raw = at_the_desk(lambda s: tokens.create(s, "Ada’s", actor=ada, scopes=["actions.propose", BILLING], rate=None))
    number = told(Machine(app, raw).call("refund", mark="hand", conversation_id=conversation))["action_id"]
    with pytest.raises(Forbidden, match="somebody else"):
        at_the_desk(lambda s: governance.approve(s, number, actor=PEOPLE["ada"]))
    at_the_desk(lambda s: governance.approve(s, number, actor=PEOPLE["ben"]))
    run_jobs(app)
    assert told(Machine(app, raw).call("action_status", action_id=number))["state"] == "succeeded"


def test_each_part_of_a_batch_counts_and_none_sees_the_transaction_of_another(
    app: Flask, make_token: Callable[..., Key], conversation: int
) -> None:
    def call(number: int, tool: str, **arguments: Any) -> dict[str, Any]:
        params = {"name": tool, "arguments": arguments}
        return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}

    client = Machine(app, make_token(rate="4/minute").raw)
    parts = [call(1, "tag", mark="x", conversation_id=10**9), call(2, "tag", mark="batch")]
    first, second = client.post(parts).json
    assert first["result"]["isError"]
    assert second["result"]["structuredContent"]["state"] == "pending"
    assert client.post(parts + parts).status_code == 429


def test_tasks_are_for_clients_that_know_them(
    app: Flask, machine: Callable[..., Machine], at_the_desk: Callable[..., Any]
) -> None:
    client = machine()
    made = client.call("tag", tasks=True, mark="t1")
    assert (made["resultType"], made["status"], made["ttlMs"]) == ("task", "working", None)
    assert "content" not in made
    task = made["taskId"]
    assert client.result("tasks/get", tasks=True, taskId=task)["status"] == "working"
    at_the_desk(lambda s: governance.approve(s, int(task.removeprefix("action-")), actor=PEOPLE["ada"]))
    run_jobs(app)
    done = client.result("tasks/get", tasks=True, taskId=task)
    assert (done["status"], done["resultType"], told(done["result"])["state"]) == ("completed", "complete", "succeeded")
    settled = client.call("tag", tasks=True, mark="t1")
    assert told(settled)["state"] == "succeeded"

    rejected = client.call("tag", tasks=True, mark="t2")["taskId"]
    number = int(rejected.removeprefix("action-"))
    at_the_desk(lambda s: governance.reject(s, number, actor=PEOPLE["ada"], reason="No."))
    ended = client.result("tasks/get", tasks=True, taskId=rejected)
    assert (ended["status"], ended["result"]["isError"]) == ("completed", True)

    cancelled = client.call("tag", tasks=True, mark="t3")["taskId"]
    for _ in range(2):  # the second finds nothing to do
        assert client.result("tasks/cancel", tasks=True, taskId=cancelled) == {"resultType": "complete"}
    assert client.result("tasks/get", tasks=True, taskId=cancelled)["status"] == "cancelled"

    answer = client.ask("tasks/get", taskId=task)
    assert (answer.status_code, answer.json["error"]["code"]) == (400, -32021)
    for unknown in ("action-0", "action-x", "7", "action-99999999999999999999", f"{task} "):
        assert client.ask("tasks/get", tasks=True, taskId=unknown).json["error"]["code"] in (-32602, -32020)


def test_forgetting_a_customer_ends_their_tokens(
    app: Flask, make_token: Callable[..., Key], at_the_desk: Callable[..., Any], customer: Customer, conversation: int
) -> None:
    keys = [make_token(customer_ref=customer.ref, name="For Cleo"), make_token(conversation_id=conversation)]
    gone = at_the_desk(lambda s: privacy.forget(s, customer.ref, actor=SOMEONE))
    assert gone.counts["tokens"] == 2
    for key in keys:
        assert Machine(app, key.raw).ask("tools/list").status_code == 401
    names = at_the_desk(lambda s: [row[0].name for row in tokens.tokens(s)])
    assert "For Cleo" not in names
