"""What the example host answers the desk."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from flask import Flask
from sqlalchemy import select

from example_app import hooks
from example_app.models import Account, Activity, User, db
from flask_cairnloop import ConversationInfo, Customer, resolve, testing
from flask_cairnloop.actors import Actor
from flask_cairnloop.conversations import service as conversations
from flask_cairnloop.drafting.types import DraftKind, PolicyDecision
from flask_cairnloop.hooks import ContextView, DraftInfo, ResolvedEvent
from flask_cairnloop.retrieval.types import Strength

ASKED = ConversationInfo(1, "A question", "open", "widget", datetime(2026, 3, 10, tzinfo=UTC))
DRAFT = DraftInfo(
    1, Customer("nobody"), DraftKind.REPLY, Strength.STRONG, 0.9, "How do I fit a tracker?", "Like so.", "test"
)


def customer(email: str) -> Customer:
    return hooks.as_customer(db.session.scalars(select(User).filter_by(email=email)).one())


def context_of(app: Flask, person: Customer) -> ContextView:
    view: ContextView = app.extensions["cairnloop"].hooks.load_context(person, ASKED)
    return view


def test_the_panel_shows_plan_seats_charges_and_trackers(example: Flask) -> None:
    with example.app_context():
        view = context_of(example, customer("tess@demo.example"))
    facts, sections = dict(view.facts), dict(view.sections)
    assert view.state == "loaded"
    assert facts["Plan"] == "Shop, £49.00 a month"
    assert facts["Seats"] == "5 of 6 in use"
    assert sections["Last charges"][0][1] == "£49.00 Shop plan"
    assert any("offline, 8%" in state for _, state in sections["Trackers"])


def test_a_failed_charge_is_called_so(example: Flask) -> None:
    with example.app_context():
        view = context_of(example, customer("owen@demo.example"))
    assert dict(view.facts)["Standing"] == "Past due"
    assert dict(view.sections)["Last charges"][0][1].endswith("(failed)")


@pytest.mark.parametrize("ref", ["user-999999", "somebody", "user-", "user-x"])
def test_nothing_is_known_about_a_stranger(example: Flask, ref: str) -> None:
    with example.app_context():
        assert context_of(example, Customer(ref)).state == "empty"


def test_an_operator_has_no_customer_panel(example: Flask) -> None:
    with example.app_context():
        assert context_of(example, customer("mina@demo.example")).state == "empty"


def test_the_house_rules(example: Flask) -> None:
    with example.app_context():
        trial = replace(DRAFT, customer=customer("graham@demo.example"))
        assert hooks.house_rules(trial) is PolicyDecision.ALLOW
        assert hooks.house_rules(replace(trial, grounding=Strength.PARTIAL)) is PolicyDecision.REQUIRE_APPROVAL
        assert hooks.house_rules(replace(trial, question="Refund a rider?")) is PolicyDecision.REQUIRE_APPROVAL
        assert hooks.house_rules(replace(trial, question="A rider is in hospital")) is PolicyDecision.DENY
        assert hooks.house_rules(replace(DRAFT, customer=customer("owen@demo.example"))) is PolicyDecision.DRAFT_ONLY
        assert (
            hooks.house_rules(replace(DRAFT, customer=customer("tess@demo.example"))) is PolicyDecision.REQUIRE_APPROVAL
        )
        assert hooks.house_rules(DRAFT) is PolicyDecision.REQUIRE_APPROVAL


def test_a_resolved_conversation_is_one_line_of_activity_however_often_it_is_told(example: Flask) -> None:
    with example.app_context():
        person = customer("giulia@demo.example")
        mina = Actor.operator(
            hooks.as_operator(db.session.scalars(select(User).filter_by(email="mina@demo.example")).one())
        )
        found = conversations.open_conversation(db.session(), customer=person, actor=mina, subject="Told twice")
        resolve(db.session(), found.id, actor=mina)
        db.session.commit()
        testing.run_jobs(example)

        lines = select(Activity).join(Account).where(Activity.text.contains("Told twice"))
        told = db.session.scalars(lines).one()
        event = ResolvedEvent(told.key, found.id, person, "Told twice", mina.id, told.happened_at)
        db.session.rollback()
        hooks.note_in_activity(event)
        assert len(db.session.scalars(lines).all()) == 1
