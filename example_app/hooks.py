"""What the support desk asks its host, and what the host answers. Each is named by one ``CAIRNLOOP_*`` key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from example_app import signin
from example_app.models import Account, Activity, Charge, ChargeState, Letter, Role, Standing, Tracker, User, db
from flask_cairnloop import (
    ActionInfo,
    BreachEvent,
    ConversationInfo,
    Customer,
    Delivery,
    DraftInfo,
    DraftKind,
    Operator,
    PolicyAnswer,
    PolicyDecision,
    ReplyUnseenEvent,
    ResolvedEvent,
    SignedCustomerVerifier,
    Strength,
    idempotent,
)

RATE = ":rate"  # ends the key of a line that is a link to rate the help
REFUND = "money.refund"  # a permission of ours: the desk knows it as something that a tool asks for

verify_customer = SignedCustomerVerifier()
"""CAIRNLOOP_CUSTOMER_VERIFIER: the page that carries the widget asked us for a token, and this reads it again."""


def as_customer(user: User) -> Customer:
    """A shop's person as the desk knows them. The reference never changes, names and addresses may."""
    organization = user.account.name if user.account else None
    return Customer(ref=f"user-{user.id}", name=user.name, email=user.email, organization=organization)


def as_operator(user: User) -> Operator:
    """One of our team as the desk knows them."""
    permissions = frozenset({*Operator("", "").permissions, REFUND})
    return Operator(id=f"user-{user.id}", name=user.name, email=user.email, permissions=permissions)


def signed_in_operator() -> Operator | None:
    """CAIRNLOOP_OPERATOR_LOADER: who works the console on this request."""
    user = signin.current(Role.OPERATOR)
    return as_operator(user) if user else None


def our_team(query: str) -> list[Operator]:
    """CAIRNLOOP_OPERATORS: our team, by words of their names."""
    found = db.session.scalars(select(User).filter_by(role=Role.OPERATOR).order_by(User.name))
    return [as_operator(user) for user in found if query.lower() in user.name.lower()]


def operator_by_id(operator_id: str) -> Operator | None:
    """CAIRNLOOP_OPERATOR_RESOLVER: one of our team by their id, as they are now."""
    kind, _, number = operator_id.partition("-")
    if kind != "user" or not number.isdigit():
        return None
    user = db.session.scalar(select(User).filter_by(id=int(number), role=Role.OPERATOR))
    return as_operator(user) if user else None


def action_rules(action: ActionInfo) -> PolicyAnswer | None:
    """CAIRNLOOP_ACTION_POLICY: a shop that owes us money gets none back. All else goes by what the tools say."""
    if action.tool != "refund_charge" or action.customer is None:
        return None
    account = account_of(action.customer.ref)
    return PolicyAnswer.REFUSE if account is None or account.standing is Standing.PAST_DUE else None


def what_we_know(customer: Customer, conversation: ConversationInfo) -> Mapping[str, object]:  # noqa: ARG001
    """CAIRNLOOP_CONTEXT_PROVIDER: the shop behind a question, from our own tables."""
    account = account_of(customer.ref)
    if account is None:
        return {}
    return {
        "Shop": f"{account.name}, {account.town}",
        "Plan": f"{account.plan.name}, {money(account.plan.monthly)} a month",
        "Standing": account.standing.value.replace("_", " ").capitalize(),
        "Seats": f"{account.seats_used} of {account.plan.seats} in use",
        "Bikes": f"{account.bikes} of {account.plan.bikes}",
        "Joined": f"{account.joined_on:%B %Y}",
        "Next charge": f"{account.next_charge_on.day} {account.next_charge_on:%B %Y}",
        "Last charges": {
            f"{charge.charged_at.day} {charge.charged_at:%b}": (
                f"{money(charge.amount)} {charge.description}" + _unless_paid(charge)
            )
            for charge in db.session.scalars(
                select(Charge).filter_by(account_id=account.id).order_by(Charge.charged_at.desc()).limit(4)
            )
        },
        "Trackers": {
            tracker.serial: f"{tracker.bike}, {tracker_state(tracker)}, {tracker.battery}%"
            for tracker in db.session.scalars(
                select(Tracker).filter_by(account_id=account.id).order_by(Tracker.last_seen_at).limit(4)
            )
        },
    }


def house_rules(draft: DraftInfo) -> PolicyDecision:
    """CAIRNLOOP_AUTOMATION_POLICY: what may happen with a draft that the desk has written.

    A hurt rider is never answered from an article. A shop that owes us money is answered by a person in their own
    words. A shop on trial is helped at once where the articles cover the question well, unless it is about money.
    Everything else waits for an operator.
    """
    if _HURT.search(draft.question):
        return PolicyDecision.DENY
    account = account_of(draft.customer.ref)
    if account is None:
        return PolicyDecision.REQUIRE_APPROVAL
    if account.standing is Standing.PAST_DUE:
        return PolicyDecision.DRAFT_ONLY
    well_covered = draft.kind is DraftKind.REPLY and draft.grounding is Strength.STRONG
    if account.standing is Standing.TRIAL and well_covered and not _MONEY.search(draft.question):
        return PolicyDecision.ALLOW
    return PolicyDecision.REQUIRE_APPROVAL


def note_in_activity(event: ResolvedEvent) -> None:
    """CAIRNLOOP_ON_CONVERSATION_RESOLVED: tell the shop on its own activity page, and ask there how the help was.

    The job that calls this may run twice; the same key twice is one row. A shop with mail would mail the link.
    """
    account = account_of(event.customer.ref)
    if account is None:
        return
    lines = {event.key: f"Support answered “{event.subject}”"[:300]}
    if event.rating_url is not None:
        lines[event.key + RATE] = event.rating_url
    rows = [
        {"key": key, "account_id": account.id, "text": line, "happened_at": event.resolved_at}
        for key, line in lines.items()
    ]
    db.session.execute(insert(Activity).values(rows).on_conflict_do_nothing(index_elements=["key"]))
    db.session.commit()


def note_what_was_not_seen(event: ReplyUnseenEvent) -> None:
    """CAIRNLOOP_ON_REPLY_UNSEEN: a customer who left finds the answer on the shop's activity page.

    A shop with more to lose would send a mail here.
    """
    account = account_of(event.customer.ref)
    if account is None:
        return
    newest = event.replies[-1]
    db.session.execute(
        insert(Activity)
        .values(
            key=event.key,
            account_id=account.id,
            text=f"{newest.author} answered “{event.subject}”: open the chat to read it"[:300],
            happened_at=newest.sent_at,
        )
        .on_conflict_do_nothing(index_elements=["key"])
    )
    db.session.commit()


def note_that_we_are_late(event: BreachEvent) -> None:
    """CAIRNLOOP_ON_SLA_BREACH: the shop reads that nobody has forgotten it; a pager would be called here as well."""
    account = account_of(event.customer.ref)
    if account is None:
        return
    db.session.execute(
        insert(Activity)
        .values(
            key=event.key,
            account_id=account.id,
            text=f"We owe you an answer to “{event.subject}”, and are on it"[:300],
            happened_at=event.breached_at,
        )
        .on_conflict_do_nothing(index_elements=["key"])
    )
    db.session.commit()


@idempotent
def deliver_letter(delivery: Delivery) -> Delivery | None:
    """CAIRNLOOP_ON_OUTBOUND: a follow-up goes to the post box on the shop's own page.

    A real product would hand it to its mail service here. One that is cut off is called again: the same key twice is
    one letter, so the hook says that it is idempotent.
    """
    user = _customer(delivery.customer.ref)
    if user is None:
        return delivery.failed("Nobody of that number works at a shop any more.")
    db.session.execute(
        insert(Letter)
        .values(
            key=delivery.key,
            user_id=user.id,
            subject=delivery.subject,
            body=delivery.body,
            author=delivery.author,
            opt_out=delivery.opt_out,
            sent_at=datetime.now(UTC),
        )
        .on_conflict_do_nothing(index_elements=["key"])
    )
    db.session.commit()
    return None


def money(pence: int) -> str:
    return f"£{pence / 100:,.2f}"


def tracker_state(tracker: Tracker) -> str:
    """The word the fleet page and the desk use for a tracker."""
    silent = datetime.now(UTC) - tracker.last_seen_at
    return "offline" if silent > timedelta(hours=26) else "connected"


_HURT = re.compile(r"\b(hurt|injur\w*|accident|ambulance|hospital|crash(ed)?)\b", re.IGNORECASE)
_MONEY = re.compile(
    r"\b(refund\w*|payout\w*|charged?|invoice\w*|deposit\w*|price\w*|pay(ment)?s?|fees?|dispute\w*)\b",
    re.IGNORECASE,
)


def _unless_paid(charge: Charge) -> str:
    return "" if charge.state is ChargeState.PAID else f" ({charge.state.value})"


def account_of(ref: str) -> Account | None:
    """The shop of a customer, as the desk names them."""
    user = _customer(ref)
    return user.account if user else None


def _customer(ref: str) -> User | None:
    kind, _, number = ref.partition("-")
    if kind != "user" or not number.isdigit():
        return None
    return db.session.scalar(select(User).where(User.id == int(number), User.role == Role.CUSTOMER))
