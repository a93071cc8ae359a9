"""What the desk was asked to do in the last days, and what became of it: an action in each state, for the seeds.

``when`` is told as in ``story.py``. Each is proposed and decided on through the product's own services.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from example_app import hooks, story
from example_app.models import Account, Charge, ChargeState, Tracker, User
from flask_cairnloop import ActionProposal, Actor, propose_action
from flask_cairnloop.governance import service

RENEWALS = Actor.system("renewals")  # a nightly job of the shop's own
MINA, OMAR = story.MINA, story.OMAR


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody says of an action. ``does`` is one of approve, reject, defer, withdraw."""

    when: str
    by: str
    does: str
    words: str = ""
    days: int = 0
    edits: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Act:
    """An action. ``slug`` names it for good; ``by`` nobody is the job that looks after renewals."""

    slug: str
    talk: str
    when: str
    tool: str
    by: str | None
    why: str
    inputs: Callable[[Session, Account], dict[str, Any]]
    then: tuple[Decision, ...] = ()
    evidence: tuple[tuple[str, str], ...] = ()


def _charge(amount: str, newest: int = 0) -> Callable[[Session, Account], dict[str, Any]]:
    """A refund of one of the shop's payments; 0 is the newest."""

    def inputs(session: Session, shop: Account) -> dict[str, Any]:
        paid = select(Charge).filter_by(account_id=shop.id, state=ChargeState.PAID)
        found = session.scalars(paid.order_by(Charge.charged_at.desc(), Charge.id)).all()[newest]
        return {"charge": found.reference, "amount": amount}

    return inputs


def _tracker(place: int) -> Callable[[Session, Account], dict[str, Any]]:
    def inputs(session: Session, shop: Account) -> dict[str, Any]:
        trackers = session.scalars(select(Tracker).filter_by(account_id=shop.id).order_by(Tracker.id)).all()
        return {"serial": trackers[place].serial}

    return inputs


def _note(body: str) -> Callable[[Session, Account], dict[str, Any]]:
    return lambda _session, _shop: {"body": body}


def _nothing(_session: Session, _shop: Account) -> dict[str, Any]:
    return {}


ACTS: tuple[Act, ...] = (
    # --- over ------------------------------------------------------------------------------------------------------
    Act(
        "storm",
        "storm-refund",
        "9d 09:12",
        "refund_charge",
        MINA,
        "The storm closed the harbour for the whole weekend.",
        _charge("19.00", 1),
        (Decision("9d 09:40", OMAR, "approve", "One week of the plan is fair.", edits={"amount": "5.00"}),),
    ),
    Act(
        "storm-rest",
        "storm-refund",
        "8d 10:00",
        "refund_charge",
        MINA,
        "She asks for the rest of the month as well.",
        _charge("14.00", 1),
        (Decision("8d 15:30", OMAR, "reject", "The shop was open from the 12th on."),),
    ),
    Act(
        "maps-customer",
        "maps",
        "3h 0m",
        "customer_context",
        OMAR,
        "",
        _nothing,
    ),
    Act(
        "parcel",
        "lost-parcel",
        "12d 08:20",
        "refund_charge",
        OMAR,
        "The parcel never left the depot.",
        _charge("39.00", 0),
    ),
    Act(
        "insurer",
        "insurer-waivers",
        "6d 16:00",
        "add_note",
        OMAR,
        "So that the next one knows where they are.",
        _note("The waivers of May are in the insurer's folder, not in ours."),
        (Decision("6d 16:05", OMAR, "approve"),),
    ),
    Act(
        "owing",
        "read-only",
        "1h 44m",
        "refund_charge",
        MINA,
        "He asks for the fee of the failed payment.",
        _charge("2.00", 0),
    ),
    Act(
        "wrong-shop",
        "vague",
        "20m",
        "refund_charge",
        OMAR,
        "Double booking",
        _charge("6.00", 0),
        (Decision("18m", OMAR, "withdraw"),),
    ),
    # --- nobody knows ----------------------------------------------------------------------------------------------
    Act(
        "silent",
        "blocked-deposit",
        "2h 30m",
        "restart_tracker",
        MINA,
        "E-bike 12 has been silent since yesterday.",
        _tracker(3),
        (Decision("2h 20m", MINA, "approve"),),
    ),
    # --- waiting ---------------------------------------------------------------------------------------------------
    Act(
        "deposit",
        "blocked-deposit",
        "8m",
        "refund_charge",
        MINA,
        "The hold was released twice in our log, and once at the bank.",
        _charge("24.50", 0),
        evidence=(
            ("Deposits and holds", "A released hold is back on the rider’s card within ten days."),
            ("Bank’s log", "09:14 release refused: duplicate"),
        ),
    ),
    Act(
        "twice",
        "overlap",
        "1d 21:30",
        "refund_charge",
        OMAR,
        "The double booking was ours: the calendar showed the bike as free.",
        _charge("12.00", 0),
    ),
    Act(
        "container-restart",
        "container",
        "58m",
        "restart_tracker",
        OMAR,
        "One of the three is not in the container.",
        _tracker(0),
    ),
    Act(
        "closing",
        "winter",
        "44m",
        "cancel_bookings",
        None,
        "The shop closes next week; its calendar still takes bookings.",
        _nothing,
        (Decision("40m", OMAR, "approve"),),
    ),
    Act(
        "later",
        "failed-payout",
        "1d 11:00",
        "refund_charge",
        OMAR,
        "The fee of the payout that failed.",
        _charge("1.90", 0),
        (Decision("1d 12:00", MINA, "defer", "The bank says on Monday who pays it.", days=4),),
    ),
)


def proposed(session: Session, act: Act) -> ActionProposal:
    """Propose it."""
    number = story.conversation_id(session, act.talk)
    talk = next(talk for talk in story.TALKS if talk.slug == act.talk)
    shop = _user(session, talk.customer).account
    assert shop is not None  # noqa: S101 - customers have one
    return propose_action(
        session,
        act.tool,
        act.inputs(session, shop),
        actor=hooks.as_operator(_user(session, act.by)) if act.by else RENEWALS,
        conversation_id=number,
        reason=act.why,
        evidence=[{"title": title, "text": text} for title, text in act.evidence],
        scopes={hooks.REFUND},
        key=f"seed-{act.slug}",
    )


def decide(session: Session, action: ActionProposal, decision: Decision, now: datetime) -> None:
    """Say what a decision says."""
    who = hooks.as_operator(_user(session, decision.by))
    if decision.does == "approve":
        service.approve(
            session,
            action.id,
            actor=who,
            edits=decision.edits,
            confirmation=action.confirmation or "",
            note=decision.words,
        )
    elif decision.does == "reject":
        service.reject(session, action.id, actor=who, reason=decision.words)
    elif decision.does == "defer":
        until = now.astimezone(UTC) + timedelta(days=decision.days)
        service.defer(session, action.id, actor=who, until=until, reason=decision.words)
    else:
        service.withdraw(session, action.id, actor=who)


def _user(session: Session, email: str) -> User:
    return session.scalars(select(User).where(User.email == email)).one()
