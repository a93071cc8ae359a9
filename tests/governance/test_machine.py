"""Many people, workers and clocks at one time: no illegal state, no second effect, a trace of every change.

Hypothesis draws what happens; what it draws for one moment happens at once, in threads of their own, against the real
database.
"""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Flask
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop import ActionProposal, Customer, propose_action, receive
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.clock import freeze, now
from flask_cairnloop.errors import Conflict, Forbidden, InvalidInput
from flask_cairnloop.governance import service, tiers
from flask_cairnloop.governance.models import ActionApproval, ActionEvent
from flask_cairnloop.governance.transitions import TRANSITIONS
from flask_cairnloop.governance.types import OVER_STATES, ApprovalState, EventKind, ProposalState
from flask_cairnloop.testing import run_jobs
from tests.support.host import HostNote
from tests.support.tools import PEOPLE, STANDING, hosts_rules, person

PERSONS = ("ada", "ben", "cyd")
NAMES = ("refund", "tag", "erase", "webhook", "safe_webhook", "peek")
WAYS = ("", "", "", "", "retry", "never", "raise", "raise")
DEEDS = (
    "approve",
    "approve",
    "approve",
    "edit",
    "reject",
    "defer",
    "back",
    "withdraw",
    "settle",
    "again",
    "propose",
    "run",
)
LEGAL = {(kind, start, reached or start) for starts, reached, kind in TRANSITIONS.values() for start in starts} | {
    (EventKind.PROPOSED, None, ProposalState.PENDING),
    (EventKind.REFUSED, None, ProposalState.REFUSED),
}
MOMENT = st.lists(st.tuples(st.sampled_from(DEEDS), st.sampled_from(PERSONS)), min_size=1, max_size=4)


class Desk(RuleBasedStateMachine):
    """What can happen. ``app`` is set by the test."""

    app: Flask

    @initialize()
    def open(self) -> None:
        freeze(datetime(2026, 3, 2, 9, 0, tzinfo=UTC))
        STANDING.clear()
        self.number = 0
        self.mark = uuid.uuid4().hex[:10]
        self.conversation = self.do(
            lambda s: receive(s, customer=Customer(self.mark), body="Hello", channel="widget").conversation_id
        )
        self.proposals: list[int] = []
        self.wanted: dict[int, tuple[str, dict[str, Any]]] = {}

    def do(self, work: Callable[[Session], Any]) -> Any:
        with self.app.app_context():
            session: Session = self.app.extensions["sqlalchemy"].session()
            found = work(session)
            session.commit()
            return found

    def propose(self, tool: str, who: str, inputs: dict[str, Any], session: Session) -> int:
        asked = propose_action(session, tool, inputs, actor=PEOPLE[who], conversation_id=self.conversation)
        return asked.id

    @rule(tool=st.sampled_from(NAMES), who=st.sampled_from(PERSONS), how=st.sampled_from(WAYS))
    def somebody_proposes(self, tool: str, who: str, how: str) -> None:
        self.number += 1
        inputs = {"mark": f"{self.mark}{self.number}", "how": how}
        found = self.do(lambda s: self.propose(tool, who, inputs, s))
        self.proposals.append(found)
        self.wanted[found] = tool, inputs

    @rule(which=st.integers(0, 3), moment=MOMENT)
    def at_one_moment(self, which: int, moment: list[tuple[str, str]]) -> None:
        """Several people, or workers, turn to one of the newest actions at once."""
        if not self.proposals:
            return
        action = self.proposals[-1 - which % len(self.proposals)]
        gate = threading.Barrier(len(moment))
        faults: list[BaseException] = []

        def turn(deed: str, who: str) -> None:
            try:
                gate.wait(20)
                if deed == "run":
                    run_jobs(self.app, limit=3)
                else:
                    self.do(lambda s: self.deed(s, deed, action, who))
            except (Conflict, Forbidden, InvalidInput):
                pass  # a clear no, which changes nothing
            except BaseException as fault:
                faults.append(fault)

        threads = [threading.Thread(target=turn, args=one) for one in moment]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if faults:
            raise faults[0]

    @rule(which=st.integers(0, 1), edits=st.booleans(), works=st.booleans())
    def everybody_agrees(self, which: int, edits: bool, works: bool) -> None:
        """All approve at once, and one of them perhaps something else; then a worker comes along, or two."""
        first = "edit" if edits else "approve"
        self.at_one_moment(which, [(first, "ada"), ("approve", "ben"), ("approve", "cyd")])
        self.at_one_moment(which, [("approve", "ben"), ("approve", "cyd"), ("run", "ada")])
        if works:
            self.at_one_moment(which, [("run", "ada"), ("run", "ben"), ("withdraw", "cyd")])

    @rule(which=st.integers(0, 3))
    def somebody_looks_how_it_ended(self, which: int) -> None:
        self.at_one_moment(which, [("settle", "ada"), ("settle", "ben"), ("run", "cyd")])

    def deed(self, session: Session, deed: str, action: int, name: str) -> Any:
        who = PEOPLE[name]
        if deed == "approve":
            words = service.get(session, action).confirmation or ""
            session.rollback()
            return service.approve(session, action, actor=who, confirmation=words)
        if deed == "edit":
            found = service.get(session, action)
            words, amount = found.confirmation or "", found.inputs["amount"] + 1
            session.rollback()
            return service.approve(session, action, actor=who, confirmation=words, edits={"amount": amount})
        if deed == "reject":
            return service.reject(session, action, actor=who, reason="No")
        if deed == "defer":
            return service.defer(session, action, actor=who, reason="Later", until=now() + timedelta(days=1))
        if deed == "back":
            return service.bring_back(session, action, actor=who)
        if deed == "withdraw":
            return service.withdraw(session, action, actor=who)
        if deed == "settle":
            return service.settle(session, action, actor=who, happened=True, note="Seen")
        if deed == "again":
            return service.propose_again(session, action, actor=who)
        return self.propose(*self.wanted[action][:1], name, self.wanted[action][1], session)

    @rule(hours=st.sampled_from((1, 1, 30, 50)))
    def time_passes(self, hours: int) -> None:
        freeze(now() + timedelta(hours=hours))
        run_jobs(self.app)

    @rule(who=st.sampled_from(PERSONS), how=st.sampled_from(("gone", "poorer", "back", "back", "back")))
    def somebodys_standing_changes(self, who: str, how: str) -> None:
        if how == "back":
            STANDING.pop(who, None)
        else:
            STANDING[who] = None if how == "gone" else person(who)

    @invariant()
    def everything_is_as_it_should_be(self) -> None:
        with self.app.app_context():
            session: Session = self.app.extensions["sqlalchemy"].session()
            ours = session.scalars(
                select(ActionProposal).where(ActionProposal.conversation_id == self.conversation)
            ).all()
            numbers = [one.id for one in ours]
            events = session.scalars(
                select(ActionEvent).where(ActionEvent.proposal_id.in_(numbers)).order_by(ActionEvent.id)
            ).all()
            audit = session.execute(
                select(AuditEntry.subject_id, AuditEntry.action)
                .where(AuditEntry.subject_type == "action", AuditEntry.subject_id.in_(numbers))
                .order_by(AuditEntry.id)
            ).all()
            answers = session.scalars(select(ActionApproval).where(ActionApproval.proposal_id.in_(numbers))).all()
            effects = Counter(
                body.rsplit(":", 1)[1]
                for body in session.scalars(select(HostNote.body).where(HostNote.body.contains(self.mark)))
            )
            for one in ours:
                mine = [event for event in events if event.proposal_id == one.id]
                self.held_to_the_table(one, mine)
                assert [f"action.{event.kind.value}" for event in mine] == [
                    row.action for row in audit if row.subject_id == one.id
                ]
                self.held_to_its_approvals(one, [row for row in answers if row.proposal_id == one.id])
                self.held_to_one_effect(one, mine, effects[one.run_key])
            session.rollback()

    def held_to_the_table(self, one: ActionProposal, events: list[ActionEvent]) -> None:
        state: ProposalState | None = None
        for event in events:
            assert event.from_state is state
            assert (event.kind, event.from_state, event.to_state) in LEGAL
            assert state not in OVER_STATES
            state = event.to_state
        assert one.state is state

    def held_to_its_approvals(self, one: ActionProposal, answers: list[ActionApproval]) -> None:
        waiting = [row for row in answers if row.state is ApprovalState.PENDING]
        assert len(waiting) == (one.state is ProposalState.PENDING)
        given = [row for row in answers if row.state is ApprovalState.APPROVED]
        assert all(row.decided_by != one.proposed_by for row in given if row.other_person)
        if one.state in (ProposalState.APPROVED, ProposalState.RUNNING, ProposalState.SUCCEEDED):
            assert tiers.satisfied(one.tier, one.proposed_by, [row.decided_by or "" for row in given])
            assert all(row.revision == one.revision for row in given)

    def held_to_one_effect(self, one: ActionProposal, events: list[ActionEvent], effects: int) -> None:
        started = sum(event.kind is EventKind.STARTED for event in events)
        if one.tool in ("refund", "tag", "erase"):
            assert effects == (one.state is ProposalState.SUCCEEDED)
        elif one.tool != "peek":
            assert effects <= started <= 2
            assert effects == 0 or one.state not in (ProposalState.PENDING, ProposalState.REJECTED)
            if one.inputs["how"] == "" and one.state is ProposalState.SUCCEEDED:
                assert effects == 1

    def teardown(self) -> None:
        freeze(None)


def test_no_illegal_state_no_second_effect_and_a_trace_of_every_change(app: Flask) -> None:
    Desk.app = app
    with hosts_rules():
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            Desk,
            settings=settings(
                max_examples=20,
                stateful_step_count=15,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )
