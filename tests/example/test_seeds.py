"""The demo's history: made by the product, complete, and played once only."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta

from flask import Flask
from sqlalchemy import func, inspect, select, text

from example_app import story
from example_app.models import Refund, db
from flask_cairnloop import ActionProposal, ProposalState
from flask_cairnloop.conversations.models import Conversation, Message, MessageKind, Rating
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.drafting.types import DraftFailure, DraftKind, PolicyDecision
from flask_cairnloop.jobs.models import Job, JobState
from flask_cairnloop.knowledge.models import Article, Audience, Revision, RevisionState
from flask_cairnloop.retrieval.types import Strength
from flask_cairnloop.service_levels.targets import DueState
from flask_cairnloop.testing import run_jobs
from tests.example.conftest import seed


def rows(app: Flask) -> dict[str, int]:
    """How many rows each table of the database has."""
    with app.app_context():
        tables = [
            (schema, table)
            for schema in ("public", "cairnloop")
            for table in inspect(db.engine).get_table_names(schema)
        ]
        return {
            f"{schema}.{table}": db.session.execute(text(f'SELECT count(*) FROM "{schema}"."{table}"')).scalar_one()
            for schema, table in tables
        }


def only_draft(slug: str) -> Draft:
    """The newest draft of a conversation of the story."""
    number = story.conversation_id(db.session(), slug)
    return db.session.scalars(select(Draft).filter_by(conversation_id=number).order_by(Draft.id.desc()).limit(1)).one()


def test_a_second_run_changes_nothing(example: Flask) -> None:
    run_jobs(example)  # what the first run has left to learn
    before = rows(example)
    said = seed(example)
    assert "0 shops and colleagues, 0 articles, 0 steps of conversations and 0 actions" in said
    assert rows(example) == before


def test_the_conversations_cover_the_states_of_the_desk(example: Flask) -> None:
    with example.app_context():
        numbers = {story.conversation_id(db.session(), talk.slug) for talk in story.TALKS}
        conversations = db.session.scalars(select(Conversation).where(Conversation.id.in_(numbers))).all()
        drafts = db.session.scalars(select(Draft).where(Draft.conversation_id.in_(numbers))).all()
        scores = set(db.session.scalars(select(Rating.score).where(Rating.conversation_id.in_(numbers))))
        replies = db.session.scalars(select(Message).filter_by(kind=MessageKind.REPLY)).all()
    assert len(conversations) == len(story.TALKS)
    told = Counter(
        "resolved" if found.resolved_at else "our turn" if found.waiting_since else "their turn"
        for found in conversations
    )
    assert min(told["resolved"], told["our turn"], told["their turn"]) >= 4
    assert {None, 5} <= {found.rating for found in conversations if found.resolved_at}
    # A low one, after which somebody went on, and those of the others.
    assert {None, 2, 5} <= scores
    assert {found.assignee_id is None for found in conversations} == {True, False}
    assert {draft.state for draft in drafts} >= {
        DraftState.READY,
        DraftState.FAILED,
        DraftState.APPROVED,
        DraftState.EDITED,
        DraftState.DISCARDED,
        DraftState.SUPERSEDED,
        DraftState.WITHHELD,
    }
    assert {draft.kind for draft in drafts if draft.kind} == {*DraftKind}
    assert {draft.policy for draft in drafts if draft.policy} == {*PolicyDecision}
    assert any(reply.automatic for reply in replies)


def test_the_drafts_that_the_start_page_shows_are_what_it_says(example: Flask) -> None:
    with example.app_context():
        for slug in ("blocked-deposit", "winter", "container"):
            draft = only_draft(slug)
            assert (draft.state, draft.kind, draft.grounding) == (DraftState.READY, DraftKind.REPLY, Strength.STRONG), (
                slug
            )
            assert draft.citations, slug
        assert only_draft("vague").kind is DraftKind.CLARIFICATION
        assert only_draft("maps").kind is DraftKind.ESCALATION
        assert only_draft("read-only").policy is PolicyDecision.DRAFT_ONLY
        assert only_draft("crash").state is DraftState.WITHHELD
        assert only_draft("trial-turnaround").decided_by == "policy:house_rules"


def test_time_runs_forward_and_ends_today(example: Flask) -> None:
    with example.app_context():
        messages = db.session.scalars(select(Message).order_by(Message.conversation_id, Message.sequence)).all()
    for before, after in itertools.pairwise(messages):
        if before.conversation_id == after.conversation_id:
            assert before.created_at <= after.created_at
    times = [message.created_at for message in messages]
    assert max(times) < datetime.now(UTC)
    assert max(times) - min(times) > timedelta(days=100)


def test_no_work_is_left_and_one_draft_failed_on_purpose(example: Flask) -> None:
    with example.app_context():
        # What waits for its time has a job that looks at it then: actions, snoozed conversations, deadlines.
        timers = ("governance.wake", "conversations.wake", "service_levels.reckon")
        states = Counter(db.session.scalars(select(Job.state).where(Job.name.not_in(timers))))
        assert set(states) == {JobState.SUCCEEDED, JobState.DEAD}
        assert states[JobState.DEAD] == 1
        failed = only_draft("weekend-price")
        assert failed.state is DraftState.FAILED
        assert failed.failure == DraftFailure.HOOK_RAISED


def test_one_answer_is_late_and_others_are_due(example: Flask) -> None:
    with example.app_context():
        due = select(Conversation.due_state).where(Conversation.due_state.is_not(None))
        states = Counter(db.session.scalars(due))
    assert states[DueState.BREACHED] == 1
    assert states[DueState.SOON] >= 2
    assert states[DueState.RUNNING] >= 2


def test_articles_are_published_one_is_internal_and_some_have_a_past(example: Flask) -> None:
    with example.app_context():
        audiences = Counter(db.session.scalars(select(Article.audience)))
        superseded = db.session.scalar(
            select(func.count()).select_from(Revision).filter_by(state=RevisionState.SUPERSEDED)
        )
    assert audiences[Audience.PUBLIC] >= 12
    assert audiences[Audience.INTERNAL] == 1
    assert superseded == 2


def test_the_actions_cover_the_states_of_the_desk(example: Flask) -> None:
    with example.app_context():
        actions = db.session.scalars(select(ActionProposal)).all()
        refunded = db.session.scalars(select(Refund)).all()
    assert {action.state for action in actions} >= {
        ProposalState.PENDING,
        ProposalState.DEFERRED,
        ProposalState.UNCERTAIN,
        ProposalState.SUCCEEDED,
        ProposalState.REJECTED,
        ProposalState.EXPIRED,
        ProposalState.REFUSED,
        ProposalState.WITHDRAWN,
    }
    by_key = {action.run_key: action for action in actions}
    assert refunded
    assert all(by_key[refund.key].state is ProposalState.SUCCEEDED for refund in refunded)
    assert all(
        action.inputs["amount"] == f"{refund.amount / 100:.2f}" for refund in refunded if (action := by_key[refund.key])
    )
