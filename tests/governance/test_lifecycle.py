"""An action from proposal to outcome, through the public doors."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from flask_cairnloop import (
    ActionProposal,
    Actor,
    Customer,
    Operator,
    Outcome,
    Tier,
    ToolContext,
    forget_customer,
    propose_action,
    receive,
    signals,
)
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.conversations.models import Conversation, ConversationStatus, Message, MessageKind
from flask_cairnloop.errors import (
    Conflict,
    Forbidden,
    IllegalTransition,
    InvalidFields,
    InvalidInput,
    NotFound,
    StaleAction,
)
from flask_cairnloop.governance import service
from flask_cairnloop.governance.inputs import HIDDEN
from flask_cairnloop.governance.models import ActionApproval, ActionEvent
from flask_cairnloop.governance.types import ApprovalState, ProposalState
from flask_cairnloop.jobs import Job, JobState
from flask_cairnloop.jobs import service as jobs
from flask_cairnloop.privacy.service import export
from flask_cairnloop.testing import frozen, run_jobs
from tests.governance.conftest import effects
from tests.support.databases import admin
from tests.support.processes import wait_until
from tests.support.tools import BILLING, PEOPLE, POLICY, STANDING, TOOLS, person

ADA, BEN, CYD, POOR = PEOPLE["ada"], PEOPLE["ben"], PEOPLE["cyd"], PEOPLE["poor"]
S = ProposalState
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def propose(session: Session, tool: str, conversation: int | None, actor: Any = ADA, **more: Any) -> ActionProposal:
    inputs = {"mark": f"m{conversation}"} | more.pop("inputs", {})
    found = propose_action(session, tool, inputs, actor=actor, conversation_id=conversation, **more)
    session.commit()
    return found


def events(session: Session, proposal: ActionProposal) -> list[str]:
    wanted = select(ActionEvent.kind).where(ActionEvent.proposal_id == proposal.id).order_by(ActionEvent.id)
    return [kind.value for kind in session.scalars(wanted)]


def audited(session: Session, proposal: ActionProposal) -> list[str]:
    wanted = select(AuditEntry.action).where(AuditEntry.subject_type == "action", AuditEntry.subject_id == proposal.id)
    return [action.removeprefix("action.") for action in session.scalars(wanted.order_by(AuditEntry.id))]


def reached(session: Session, proposal: ActionProposal) -> ProposalState:
    session.rollback()
    assert events(session, proposal) == audited(session, proposal)
    return session.get_one(ActionProposal, proposal.id, populate_existing=True).state


def answers(session: Session, proposal: ActionProposal) -> list[tuple[str, str | None]]:
    rows = session.scalars(
        select(ActionApproval).where(ActionApproval.proposal_id == proposal.id).order_by(ActionApproval.id)
    )
    return [(row.state.value, row.decided_by) for row in rows]


def approve(session: Session, proposal: ActionProposal, actor: Operator = BEN, **more: Any) -> ActionProposal:
    found = service.approve(session, proposal.id, actor=actor, **more)
    session.commit()
    return found


# --- the way through --------------------------------------------------------------------------------


def test_a_refund_is_approved_by_another_and_runs_once_in_the_jobs_transaction(
    app: Flask, session: Session, conversation: int
) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    for signal in (signals.action_proposed, signals.action_decided, signals.action_executed):
        signal.connect(lambda _app, _of=signal, **what: told.append((_of.name, what)), app, weak=False)
    action = propose(session, "refund", conversation, inputs={"amount": 30}, reason="Charged twice")
    assert (action.state, action.tier, action.approvals_needed) == (S.PENDING, Tier.OTHER, 1)
    assert action.consequence == f"Leaves m{conversation} with 30."
    assert action.changes == [{"label": "Balance", "now": "0", "after": "30"}]
    with pytest.raises(Forbidden, match="You proposed it"):
        approve(session, action, ADA)
    session.rollback()
    approve(session, action, note="Looks right")
    assert effects(session, f"m{conversation}") == 0
    run_jobs(app)
    assert reached(session, action) is S.SUCCEEDED
    assert (action.outcome, action.result, action.attempt) == ("Refunded 30.", {"amount": 30}, 1)
    assert effects(session, f"m{conversation}") == 1
    assert events(session, action) == ["proposed", "approved", "succeeded"]
    assert answers(session, action) == [("approved", "ben")]
    assert [name for name, _ in told] == ["action_proposed", "action_decided", "action_executed"]
    assert told[-1][1] == {
        "proposal_id": action.id,
        "conversation_id": conversation,
        "tool": "refund",
        "outcome": "succeeded",
    }


def test_what_only_reads_runs_by_the_same_worker_with_nobodys_approval(
    app: Flask, session: Session, conversation: int
) -> None:
    action = propose(session, "peek", conversation)
    assert action.state is S.APPROVED
    run_jobs(app)
    assert reached(session, action) is S.SUCCEEDED
    assert events(session, action) == ["proposed", "auto_approved", "started", "succeeded"]
    assert answers(session, action) == []


def test_a_destructive_action_needs_two_others_and_a_typed_confirmation(
    app: Flask, session: Session, conversation: int
) -> None:
    action = propose(session, "erase", conversation)
    assert (action.tier, action.confirmation) == (Tier.TWO, f"erase m{conversation}")
    with pytest.raises(InvalidInput, match="Type “erase"):
        approve(session, action)
    session.rollback()
    with pytest.raises(Forbidden, match="You proposed it"):
        approve(session, action, ADA, confirmation=action.confirmation)
    session.rollback()
    approve(session, action, confirmation=f" Erase  m{conversation} ")
    assert reached(session, action) is S.PENDING
    with pytest.raises(Forbidden, match="one more person"):
        approve(session, action, confirmation=action.confirmation)
    session.rollback()
    approve(session, action, CYD, confirmation=action.confirmation)
    run_jobs(app)
    assert reached(session, action) is S.SUCCEEDED
    assert answers(session, action) == [("approved", "ben"), ("approved", "cyd")]


def test_the_database_itself_holds_people_to_the_rules(session: Session, conversation: int) -> None:
    action = propose(session, "erase", conversation)
    approve(session, action, confirmation=action.confirmation)
    number = action.id
    pending = "UPDATE cairnloop.action_approvals SET state = 'approved', confirmed = true, decided_at = now(),"
    for statement, fault in (
        (f"{pending} decided_by = 'ada' WHERE proposal_id = :id AND state = 'pending'", "approved_by_another"),
        (f"{pending} decided_by = 'ben' WHERE proposal_id = :id AND state = 'pending'", "approvals_person"),
        (
            f"{pending.replace('confirmed = true, ', '')} decided_by = 'cyd'"
            " WHERE proposal_id = :id AND state = 'pending'",
            "confirmed_when_asked",
        ),
        (
            "UPDATE cairnloop.action_approvals SET decided_by = 'x' WHERE proposal_id = :id AND state = 'approved'",
            "kept",
        ),
        ("UPDATE cairnloop.action_proposals SET proposed_by = 'x' WHERE id = :id", "who proposed it, is kept"),
        ("UPDATE cairnloop.action_proposals SET state = 'invented' WHERE id = :id", "check constraint"),
        ("DELETE FROM cairnloop.action_proposals WHERE id = :id", "actions are kept"),
        ("UPDATE cairnloop.action_events SET actor_id = 'x' WHERE proposal_id = :id", "append-only"),
        ("DELETE FROM cairnloop.action_events WHERE proposal_id = :id", "append-only"),
        ("TRUNCATE cairnloop.action_events", "append-only"),
    ):
        with pytest.raises(IntegrityError, match=fault):
            session.execute(text(statement), {"id": number} if ":id" in statement else {})
        session.rollback()
    service.withdraw(session, number, actor=ADA)
    session.commit()
    with pytest.raises(IntegrityError, match="stays withdrawn"):
        session.execute(
            text("UPDATE cairnloop.action_proposals SET state = 'pending', finished_at = NULL WHERE id = :id"),
            {"id": number},
        )
    session.rollback()


# --- who may ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "tool", "refusal", "says"),
    [
        (POOR, "refund", "scope", "Poor Person lacks billing.refund."),
        (PEOPLE["reader"], "tag", "permission", "Rita Reader lacks the permission actions.propose."),
        (Operator("ghost", "Gus Ghost"), "tag", "policy", "Your app’s policy refuses this action."),
        (Actor.system("night"), "refund", "scope", "Whoever proposed it lacks billing.refund."),
        (PEOPLE["editor"], "search_knowledge", "permission", "Eda Editor lacks the permission actions.propose."),
    ],
)
def test_a_refusal_is_a_row_with_its_reason_and_blocks_nothing(
    session: Session, conversation: int, who: Any, tool: str, refusal: str, says: str
) -> None:
    POLICY["tag"] = lambda action: "refuse" if action.proposed_by == "ghost" else None
    inputs = {"question": "How?"} if tool == "search_knowledge" else {"mark": "m"}
    refused = propose_action(session, tool, inputs, actor=who, conversation_id=conversation, key="one")
    session.commit()
    assert (refused.state, refused.refusal, refused.failure) == (S.REFUSED, refusal, says)
    assert events(session, refused) == audited(session, refused) == ["refused"]
    POLICY.clear()
    allowed = ADA if isinstance(who, Operator) else Actor.system("night")
    later = propose_action(
        session, tool, inputs, actor=allowed, conversation_id=conversation, key="one", scopes={BILLING}
    )
    assert later.id != refused.id
    assert later.state is not S.REFUSED


def test_nobody_but_who_may_decides(session: Session, conversation: int, customer: Customer) -> None:
    action = propose(session, "refund", conversation)
    for who, says in (
        (PEOPLE["reader"], "lacks the permission actions.approve"),
        (POOR, "lacks billing.refund"),
    ):
        with pytest.raises(Forbidden, match=says):
            approve(session, action, who)
        session.rollback()
    for act in (
        lambda: service.reject(session, action.id, actor=PEOPLE["reader"], reason="No"),
        lambda: service.withdraw(session, action.id, actor=PEOPLE["reader"]),
    ):
        with pytest.raises(Forbidden, match="You may not decide"):
            act()
        session.rollback()
    with pytest.raises(Forbidden, match="A customer proposes no actions"):
        propose(session, "tag", conversation, customer)
    assert events(session, action) == ["proposed"]


def test_inputs_are_checked_and_never_taken_from_who_may_not_choose_them(session: Session, conversation: int) -> None:
    for tool, inputs, where in (
        ("refund", {"mark": "", "amount": 2000}, {"mark", "amount"}),
        ("refund", {"mark": "m", "colour": "red"}, {"colour"}),
        ("refund", {"mark": "a\x00b"}, {"inputs"}),
        ("refund", {"mark": "\ud800"}, {"mark"}),
        ("refund", {"mark": "m", "how": "x" * 20_000}, {"inputs"}),
        ("refund", {"mark": "m", "how": "unknown"}, {"inputs"}),
        ("payout", {"mark": "m", "account": "DE99", "ref": "somebody-else"}, {"ref"}),
        ("add_note", {"body": "Hi", "conversation_id": conversation + 1}, {"conversation_id"}),
    ):
        with pytest.raises(InvalidFields) as caught:
            propose_action(session, tool, inputs, actor=ADA, conversation_id=conversation)
        session.rollback()
        assert set(caught.value.errors) == where
        assert "DE99" not in str(caught.value.errors)
    with pytest.raises(InvalidFields, match="from the conversation, which has none"):
        propose_action(session, "payout", {"mark": "m", "account": "DE99"}, actor=ADA)
    for tool, where_to in (("nothing_like_it", conversation), ("os.system", conversation), ("tag", 10**9)):
        with pytest.raises(NotFound):
            propose_action(session, tool, {"mark": "m"}, actor=ADA, conversation_id=where_to)
        session.rollback()


# --- the same again ---------------------------------------------------------------------------------


def test_the_same_action_is_one_while_open_and_a_new_one_after_that(
    app: Flask, session: Session, conversation: int
) -> None:
    first = propose(session, "refund", conversation)
    assert propose(session, "refund", conversation, BEN).id == first.id
    assert propose(session, "refund", conversation, inputs={"amount": 2}).id != first.id
    assert events(session, first) == ["proposed"]
    approve(session, first)
    run_jobs(app)
    again = propose(session, "refund", conversation)
    assert again.id != first.id
    assert again.state is S.PENDING


def test_a_callers_key_names_one_action_for_ever_and_replays_its_outcome(
    app: Flask, session: Session, conversation: int
) -> None:
    first = propose(session, "peek", conversation, key="call-1")
    other = propose(session, "peek", conversation, key="call-2")
    assert first.id != other.id
    run_jobs(app)
    replayed = propose(session, "peek", conversation, key="call-1")
    assert (replayed.id, replayed.state, replayed.outcome) == (first.id, S.SUCCEEDED, "Found it.")
    with pytest.raises(Conflict, match="used for another action"):
        propose(session, "peek", conversation, key="call-1", inputs={"amount": 7})
    session.rollback()
    assert propose(session, "peek", conversation, BEN, key="call-1").id not in (first.id, other.id)


def test_two_who_propose_the_same_at_once_get_one_action(app: Flask, conversation: int) -> None:
    found: list[int] = []
    gate = threading.Barrier(4)

    def go(who: Operator) -> None:
        with app.app_context():
            session = app.extensions["sqlalchemy"].session()
            gate.wait(10)
            action = propose_action(session, "tag", {"mark": "m"}, actor=who, conversation_id=conversation)
            session.commit()
            found.append(action.id)

    threads = [threading.Thread(target=go, args=(who,)) for who in (ADA, BEN, CYD, POOR)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


# --- decisions --------------------------------------------------------------------------------------


def test_an_approver_may_change_it_and_the_difference_is_kept(app: Flask, session: Session, conversation: int) -> None:
    action = propose(session, "erase", conversation, inputs={"amount": 9})
    words = action.confirmation
    approve(session, action, confirmation=words)
    with pytest.raises(InvalidFields):
        approve(session, action, CYD, confirmation=words, edits={"amount": 5000})
    session.rollback()
    approve(session, action, CYD, confirmation=words, edits={"amount": "3"})
    # What Ben agreed to is not what would run now.
    assert reached(session, action) is S.PENDING
    assert answers(session, action) == [("set_aside", "ben"), ("approved", "cyd"), ("pending", None)]
    assert (action.inputs["amount"], action.revision) == (3, 1)
    assert action.consequence == f"Leaves m{conversation} with 3."
    edits = session.scalars(select(ActionApproval.edits).where(ActionApproval.decided_by == "cyd")).all()[-1]
    assert edits == [{"field": "amount", "before": 9, "after": 3}]
    with pytest.raises(StaleAction):
        approve(session, action, confirmation=words, seen=0)
    session.rollback()
    approve(session, action, confirmation=words, seen=1)
    run_jobs(app)
    assert reached(session, action) is S.SUCCEEDED
    assert action.outcome == "Refunded 3."
    assert events(session, action) == [
        "proposed",
        "approval_given",
        "edited",
        "approval_set_aside",
        "approval_given",
        "approved",
        "succeeded",
    ]


def test_rejecting_and_deferring_need_a_reason_and_a_deferred_one_comes_back(
    app: Flask, session: Session, conversation: int
) -> None:
    with frozen(NOW):
        action = propose(session, "refund", conversation)
        for reason in ("", "  \n", "x" * 501):
            for act in (
                lambda reason=reason: service.reject(session, action.id, actor=BEN, reason=reason),
                lambda reason=reason: service.defer(
                    session, action.id, actor=BEN, reason=reason, until=NOW + timedelta(days=1)
                ),
            ):
                with pytest.raises(InvalidInput):
                    act()
                session.rollback()
        for until in (NOW, NOW + timedelta(days=91)):
            with pytest.raises(InvalidInput, match="90 days"):
                service.defer(session, action.id, actor=BEN, reason="Later", until=until)
            session.rollback()
        service.defer(session, action.id, actor=BEN, reason="Month end", until=NOW + timedelta(days=3))
        session.commit()
        run_jobs(app)
        assert reached(session, action) is S.DEFERRED
        with pytest.raises(IllegalTransition, match="is deferred"):
            approve(session, action, CYD)
        session.rollback()
    with frozen(NOW + timedelta(days=3, minutes=1)):
        run_jobs(app)
        assert reached(session, action) is S.PENDING
        assert action.expires_at > NOW + timedelta(days=5)
        approve(session, action, CYD)
        run_jobs(app)
    assert reached(session, action) is S.SUCCEEDED
    assert events(session, action) == ["proposed", "deferred", "came_back", "approved", "succeeded"]
    assert answers(session, action) == [("deferred", "ben"), ("approved", "cyd")]

    other = propose(session, "refund", conversation, inputs={"amount": 2})
    service.reject(session, other.id, actor=BEN, reason="Refunded in the shop")
    session.commit()
    assert reached(session, other) is S.REJECTED
    for act in (
        lambda: approve(session, other, CYD),
        lambda: service.reject(session, other.id, actor=CYD, reason="Twice"),
        lambda: service.withdraw(session, other.id, actor=ADA),
        lambda: service.settle(session, other.id, actor=CYD, happened=True, note="No"),
    ):
        with pytest.raises(IllegalTransition, match="that is rejected cannot"):
            act()
        session.rollback()
    run_jobs(app)
    assert effects(session, f"m{conversation}") == 1


def test_what_nobody_decides_on_expires_and_can_be_proposed_again(
    app: Flask, session: Session, conversation: int
) -> None:
    with frozen(NOW):
        action = propose(session, "refund", conversation)
    with frozen(NOW + timedelta(days=2, seconds=1)):
        with pytest.raises(Conflict, match="Nobody decided on this action in time"):
            approve(session, action)
        session.rollback()
        run_jobs(app)
        assert reached(session, action) is S.EXPIRED
        again = service.propose_again(session, action.id, actor=CYD)
        session.commit()
        assert (again.again_of, again.state, again.proposed_by) == (action.id, S.PENDING, "cyd")
        assert again.inputs == action.inputs
    with pytest.raises(IllegalTransition, match="that is pending cannot be proposed again"):
        service.propose_again(session, again.id, actor=CYD)


# --- runs that do not go well -----------------------------------------------------------------------


def runs(app: Flask, session: Session, tool: str, conversation: int, how: str) -> ActionProposal:
    action = propose(session, tool, conversation, inputs={"how": how})
    approve(session, action, BEN)
    for _ in range(4):
        run_jobs(app)
    return action


@pytest.mark.parametrize(
    ("tool", "how", "state", "attempts", "done", "says"),
    [
        # Undone, and tried again, as often as the tool says.
        ("refund", "retry", S.FAILED, 2, 0, "The bank is busy."),
        ("refund", "raise", S.FAILED, 2, 0, "The tool failed: ValueError."),
        ("refund", "never", S.FAILED, 1, 0, "It was refunded before."),
        # What the tool vouches for is believed; anything else may have happened.
        ("webhook", "retry", S.FAILED, 2, 2, "The bank is busy."),
        ("webhook", "never", S.FAILED, 1, 1, "It was refunded before."),
        ("webhook", "raise", S.UNCERTAIN, 1, 1, "The tool failed: ValueError."),
        ("safe_webhook", "raise", S.UNCERTAIN, 2, 2, "The tool failed: ValueError."),
    ],
)
def test_failures_are_told_apart(
    app: Flask,
    session: Session,
    conversation: int,
    tool: str,
    how: str,
    state: ProposalState,
    attempts: int,
    done: int,
    says: str,
) -> None:
    action = runs(app, session, tool, conversation, how)
    assert (reached(session, action), action.attempt, action.failure) == (state, attempts, says)
    assert effects(session, f"m{conversation}") == done
    keys = set(
        session.scalars(
            text(f"SELECT split_part(body, ':', 3) FROM host_notes WHERE body LIKE '{tool}:m{conversation}:%'")
        )
    )
    assert len(keys) <= 1
    dead = session.scalars(select(Job).where(Job.state == JobState.DEAD)).all()
    assert dead == []


def test_a_person_settles_what_nobody_knows(app: Flask, session: Session, conversation: int) -> None:
    action = runs(app, session, "webhook", conversation, "raise")
    assert reached(session, action) is S.UNCERTAIN
    assert propose(session, "webhook", conversation, inputs={"how": "raise"}).id == action.id
    with pytest.raises(IllegalTransition):
        service.propose_again(session, action.id, actor=ADA)
    session.rollback()
    with pytest.raises(InvalidInput, match="Say what you found"):
        service.settle(session, action.id, actor=BEN, happened=False, note="")
    session.rollback()
    service.settle(session, action.id, actor=BEN, happened=False, note="The workshop has no such call.")
    session.commit()
    assert reached(session, action) is S.FAILED
    assert events(session, action)[-2:] == ["became_uncertain", "settled"]
    again = service.propose_again(session, action.id, actor=ADA, inputs={"how": ""})
    session.commit()
    approve(session, again)
    run_jobs(app)
    assert reached(session, again) is S.SUCCEEDED


def test_a_tool_that_takes_too_long_is_stopped_and_nothing_of_it_stays(
    app: Flask, session: Session, conversation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    refund = app.extensions["cairnloop"].hooks.tools.find("refund")
    over = threading.Event()
    ended: list[str] = []
    plain = refund.run

    def slow(inputs: Any, context: ToolContext) -> Outcome:
        answer = plain(inputs, context)
        over.wait(20)
        try:
            assert context.session is not None
            context.session.execute(text("SELECT 1"))
        except Exception as error:
            ended.append(type(error).__name__)
            raise
        return answer

    monkeypatch.setattr(refund, "run", slow)
    monkeypatch.setattr(refund, "timeout", 0.3, raising=False)
    action = propose(session, "refund", conversation)
    approve(session, action)
    session.rollback()
    run_jobs(app)
    run_jobs(app)
    over.set()
    assert (reached(session, action), action.failure) == (S.FAILED, "The tool did not answer in time.")
    assert effects(session, f"m{conversation}") == 0
    deadline = time.monotonic() + 10
    while len(ended) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(ended) == 2  # its session is dead to it


def test_a_tool_ends_no_transaction_of_ours(
    app: Flask, session: Session, conversation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = app.extensions["cairnloop"].hooks.tools.find("tag")
    plain = tag.run

    def commits(inputs: Any, context: ToolContext) -> Outcome:
        answer = plain(inputs, context)
        assert context.session is not None
        context.session.commit()
        return answer

    monkeypatch.setattr(tag, "run", commits)
    action = runs(app, session, "tag", conversation, "")
    assert reached(session, action) is S.FAILED
    assert effects(session, f"m{conversation}") == 0


# --- asked again before it runs ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lost", "says"),
    [
        (lambda: STANDING.update(ada=None), "Ada Person, who proposed it, is not an operator any more."),
        (lambda: STANDING.update(ben=None), "Ben Person, who approved it, is not an operator any more."),
        (lambda: STANDING.update(ada=person("ada")), "Ada Person lacks billing.refund."),
        (lambda: STANDING.update(ben=person("ben")), "Ben Person lacks billing.refund."),
        (
            lambda: STANDING.update(ben=Operator("ben", "Ben", permissions=frozenset({BILLING}))),
            "Ben lacks the permission actions.approve.",
        ),
        (lambda: POLICY.update(refund="refuse"), "Your app’s policy refuses it now."),
    ],
)
def test_what_was_lost_between_approval_and_run_stops_it(
    app: Flask, session: Session, conversation: int, lost: Callable[[], None], says: str
) -> None:
    action = propose(session, "refund", conversation)
    approve(session, action)
    lost()
    run_jobs(app)
    assert (reached(session, action), action.failure) == (S.INVALIDATED, says)
    assert effects(session, f"m{conversation}") == 0
    STANDING.clear()
    POLICY.clear()
    again = service.propose_again(session, action.id, actor=ADA)
    assert again.again_of == action.id


def test_a_tool_that_became_riskier_or_is_gone_does_not_run_on_an_old_approval(
    app: Flask, make_app: Callable[..., Flask], session: Session, conversation: int
) -> None:
    first = propose(session, "tag", conversation)
    second = propose(session, "tag", conversation, inputs={"amount": 2})
    approve(session, first, ADA)
    run_jobs(make_app(TOOLS=[tool for tool in TOOLS if tool.name != "tag"]))
    assert (reached(session, first), first.failure) == (S.INVALIDATED, "There is no such tool any more.")
    approve(session, second, ADA)
    run_jobs(make_app(FOUR_EYES="low_write"))
    assert reached(session, second) is S.INVALIDATED
    assert second.failure == "The rules were made stricter since: it needs other approvals now."


def test_a_policy_that_cannot_be_asked_makes_a_person_decide_and_holds_up_a_run(
    app: Flask, session: Session, conversation: int
) -> None:
    POLICY["peek"] = RuntimeError("away")
    action = propose(session, "peek", conversation)
    assert (action.tier, action.policy["unsure"]) == (Tier.ONE, "Your app’s policy failed, so a person decides.")
    approve(session, action, ADA)
    run_jobs(app, limit=1)
    assert reached(session, action) is S.APPROVED
    POLICY.clear()
    run_jobs(app)
    assert reached(session, action) is S.SUCCEEDED


def test_rules_that_got_stricter_after_the_proposal_hold_for_the_approval(session: Session, conversation: int) -> None:
    action = propose(session, "peek", conversation, inputs={"amount": 3})
    assert action.state is S.APPROVED
    POLICY["tag"] = "approval"
    waiting = propose(session, "tag", conversation)
    POLICY["tag"] = "refuse"
    with pytest.raises(Conflict, match="policy refuses this action now"):
        approve(session, waiting)
    session.rollback()


def test_an_approval_that_did_not_come_to_run_expires(app: Flask, session: Session, conversation: int) -> None:
    with frozen(NOW):
        action = propose(session, "refund", conversation)
        approve(session, action)
    with frozen(NOW + timedelta(days=2, seconds=1)):
        run_jobs(app)
    assert reached(session, action) is S.EXPIRED
    assert effects(session, f"m{conversation}") == 0


def test_a_discarded_job_ends_its_action_and_a_dead_one_is_not_run_again(
    app: Flask, session: Session, conversation: int
) -> None:
    action = propose(session, "refund", conversation)
    approve(session, action)
    number = session.scalars(select(Job.id).where(Job.name == "governance.run").order_by(Job.id.desc())).first()
    assert number is not None
    jobs.discard(session, number, actor=Actor.operator(CYD))
    session.commit()
    assert (reached(session, action), action.failure) == (S.FAILED, "Its job was discarded before it ran.")
    with pytest.raises(Conflict, match="This action is over"):
        jobs.retry(session, number, actor=Actor.operator(CYD))
    session.rollback()
    assert effects(session, f"m{conversation}") == 0


# --- what is sensitive, and whose it is -------------------------------------------------------------


def test_sensitive_values_are_shown_nowhere_and_gone_when_it_is_over(
    app: Flask, session: Session, conversation: int, customer: Customer
) -> None:
    secret = "DE89370400440532013000"
    action = propose(session, "payout", conversation, inputs={"account": secret})
    assert (action.inputs["account"], action.sealed) == (HIDDEN, {"account": secret})
    assert action.inputs["ref"] == customer.ref
    assert action.consequence == f"Pays 1 to {HIDDEN}."
    approve(session, action, edits={"account": secret[::-1]})
    run_jobs(app)
    assert reached(session, action) is S.SUCCEEDED
    assert (action.outcome, action.sealed) == (f"Paid to {HIDDEN}.", {})
    assert action.result == {"account": HIDDEN, "ref": customer.ref}
    for table in ("action_proposals", "action_approvals", "action_events", "audit_entries", "jobs"):
        dump = session.scalars(text(f"SELECT t::text FROM cairnloop.{table} t")).all()
        assert [row for row in dump if secret in row or secret[::-1] in row] == []

    other = propose(session, "payout", conversation, inputs={"account": secret})
    service.withdraw(session, other.id, actor=ADA)
    session.commit()
    with pytest.raises(InvalidFields, match="Type this again"):
        service.propose_again(session, other.id, actor=ADA)
    again = service.propose_again(session, other.id, actor=ADA, inputs={"account": secret})
    POLICY["accounts"] = "closed"
    session.commit()
    with pytest.raises(InvalidFields, match="No accounts today"):
        approve(session, again)
    session.rollback()
    service.withdraw(session, again.id, actor=ADA)
    session.commit()


def test_forgetting_a_customer_withdraws_what_waits_and_erases_what_was_said(
    app: Flask, session: Session, conversation: int, customer: Customer
) -> None:
    done = propose(session, "refund", conversation, inputs={"amount": 4}, reason="zebra asked")
    approve(session, done, note="zebra was kind")
    run_jobs(app)
    waiting = propose(
        session, "payout", conversation, inputs={"account": "zebra"}, evidence=[{"title": "Mail", "text": "zebra"}]
    )
    handed = export(session, customer.ref)["actions"]
    assert [(one["action"], one["state"]) for one in handed] == [
        ("Refund a charge", "succeeded"),
        ("Pay out", "pending"),
    ]
    assert forget_customer(session, customer.ref, actor=BEN).counts["actions"] == 2
    session.commit()
    assert reached(session, waiting) is S.WITHDRAWN
    assert reached(session, done) is S.SUCCEEDED
    for table in ("action_proposals", "action_approvals", "action_events"):
        dump = " ".join(session.scalars(text(f"SELECT t::text FROM cairnloop.{table} t")))
        assert "zebra" not in dump
        assert customer.ref not in dump
    run_jobs(app)
    with pytest.raises(NotFound):
        propose(session, "tag", conversation)


# --- ours -------------------------------------------------------------------------------------------


def test_the_built_in_tools_do_what_they_say(
    app: Flask, make_app: Callable[..., Flask], session: Session, conversation: int
) -> None:
    host = make_app(CONTEXT_PROVIDER=lambda customer, about: {"Plan": "Team"})

    def did(tool: str, inputs: dict[str, Any]) -> ActionProposal:
        with host.app_context():
            there = host.extensions["sqlalchemy"].session()
            action = propose_action(there, tool, inputs, actor=ADA, conversation_id=conversation)
            there.commit()
            if action.state is S.PENDING:
                service.approve(there, action.id, actor=ADA)
                there.commit()
            number = action.id
        run_jobs(host)
        return session.get_one(ActionProposal, number, populate_existing=True)

    note = did("add_note", {"body": "Asked the workshop."})
    assert (note.state, note.outcome) == (S.SUCCEEDED, "The note was added.")
    message = session.get_one(Message, note.result["message_id"])
    assert (message.kind, message.body, message.author_id) == (MessageKind.NOTE, "Asked the workshop.", "ada")
    facts = did("customer_context", {})
    assert facts.result == {"facts": {"Plan": "Team"}, "sections": {}}
    found = did("search_knowledge", {"question": "Where is my money?"})
    assert (found.state, found.outcome) == (S.SUCCEEDED, "No article was found.")
    assert did("tag_conversation", {"tag": "Parcel"}).outcome == "The tag was put on."
    assert did("set_priority", {"priority": "urgent"}).outcome == "The priority is urgent now."
    given = did("assign_conversation", {"operator_id": "ben"})
    assert given.state is S.SUCCEEDED
    session.rollback()
    row = session.get_one(Conversation, conversation)
    assert (row.assignee_id, row.priority) == ("ben", 1)
    with pytest.raises(InvalidFields, match="Nobody with this id"):
        did("assign_conversation", {"operator_id": "nobody"})
    resolved = did("resolve_conversation", {})
    assert resolved.state is S.SUCCEEDED
    session.rollback()
    assert session.get_one(Conversation, conversation).status is ConversationStatus.RESOLVED
    with pytest.raises(InvalidFields, match="resolved already"):
        did("resolve_conversation", {})


def test_a_note_goes_into_the_conversation_it_was_proposed_for_only(
    session: Session, conversation: int, at_the_desk: Callable[..., Any]
) -> None:
    other = at_the_desk(lambda s: receive(s, customer=Customer("other"), body="Hi", channel="widget").conversation_id)
    with pytest.raises(InvalidFields, match="cannot be chosen"):
        propose_action(
            session, "add_note", {"body": "Hi", "conversation_id": other}, actor=ADA, conversation_id=conversation
        )


def test_answers_that_are_none_are_failures(
    app: Flask, session: Session, conversation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = app.extensions["cairnloop"].hooks.tools.find("tag")
    monkeypatch.setattr(tag, "run", lambda inputs, context: 42)
    action = runs(app, session, "tag", conversation, "")
    assert (reached(session, action), action.failure) == (S.FAILED, "The tool failed: TypeError.")
    monkeypatch.setattr(tag, "run", lambda inputs, context: Outcome("", {"big": "x" * 9000}))
    action = propose(session, "tag", conversation)
    approve(session, action)
    run_jobs(app)
    assert (reached(session, action), action.outcome) == (S.SUCCEEDED, "Done.")
    assert set(action.result) == {"left_out"}
    assert ApprovalState.APPROVED.value == answers(session, action)[0][0]


def test_two_approvers_at_once_are_one_approval_and_one_run(
    app: Flask, session: Session, conversation: int, database_url: str
) -> None:
    action = propose(session, "refund", conversation)
    number, ended = action.id, []
    session.execute(select(ActionProposal.id).where(ActionProposal.id == number).with_for_update())

    def go(who: Operator) -> None:
        with app.app_context():
            mine = app.extensions["sqlalchemy"].session()
            try:
                service.approve(mine, number, actor=who)
                mine.commit()
                ended.append("approved")
            except IllegalTransition as error:
                ended.append(error.state)

    threads = [threading.Thread(target=go, args=(who,)) for who in (BEN, CYD)]
    for thread in threads:
        thread.start()
    wait_until(lambda: waiting(database_url) == 2)  # both have read it, and wait for its row
    session.rollback()
    for thread in threads:
        thread.join()
    assert ended == ["approved", "approved"]
    assert [state for state, _ in answers(session, action)] == ["approved"]
    run_jobs(app)
    assert reached(session, action) is S.SUCCEEDED
    assert effects(session, f"m{conversation}") == 1
    mine = Job.arguments["proposal_id"].as_integer() == number
    ran = session.scalars(select(Job.state).where(Job.name == service.RUN, mine)).all()
    assert ran == [JobState.SUCCEEDED]


def waiting(database_url: str) -> int:
    """How many wait for what another transaction holds."""
    with admin(database_url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
    assert row is not None
    return int(row[0])
