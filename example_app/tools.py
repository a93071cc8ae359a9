"""What the support desk may do in our app, once its people have agreed: CAIRNLOOP_TOOLS.

One on our own tables, which the desk commits together with its own row; one that asks another service; and one that
cannot be undone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from example_app.hooks import REFUND, account_of, money
from example_app.models import Account, Activity, Booking, BookingState, Charge, ChargeState, Refund, Tracker, db
from flask_cairnloop import (
    Change,
    Consequence,
    Outcome,
    PermanentFailure,
    Risk,
    Tool,
    ToolContext,
    ToolKind,
)

FLAT = 10  # percent of a battery below which a restart cuts off the connection


class _Ours(Tool):
    """Every operator of ours may use these; what else is needed stands in ``scopes``."""

    def authorize(self, inputs: object, context: ToolContext) -> bool:  # noqa: ARG002
        return context.customer is not None and account_of(context.customer.ref) is not None


class RefundCharge(_Ours):
    """Send money back. Both rows, ours and the desk's, are committed together or not at all."""

    name = "refund_charge"
    title = "Refund a charge"
    description = "Sends all or a part of a charge back to the shop."
    risk = Risk.HIGH_WRITE
    kind = ToolKind.TRANSACTIONAL
    scopes = frozenset({REFUND})
    filled = {"ref": "customer.ref"}  # noqa: RUF012 - never changed

    class Input(BaseModel):
        charge: str = Field(
            title="Charge", min_length=3, max_length=30, description="As on the invoice, e.g. LOCKSIDE-202605"
        )
        amount: Decimal = Field(title="Amount in pounds", gt=0, le=1000, decimal_places=2)
        ref: str = Field(title="Customer")

    def preview(self, inputs: Input, context: ToolContext) -> Consequence:  # noqa: ARG002
        charge, before = _refundable(db.session(), inputs)
        shop = db.session.get_one(Account, charge.account_id)
        after = before + _pence(inputs.amount)
        return Consequence(
            f"Sends {money(_pence(inputs.amount))} back to {shop.name} for “{charge.description}”. "
            "It cannot be undone from here.",
            (
                Change("Refunded", money(before), money(after)),
                Change("Kept", money(charge.amount - before), money(charge.amount - after)),
            ),
        )

    def run(self, inputs: Input, context: ToolContext) -> Outcome:
        assert context.session is not None  # noqa: S101 - a transactional tool that runs always has one
        charge, before = _refundable(context.session, inputs, lock=True)
        amount = _pence(inputs.amount)
        now = datetime.now(UTC)
        context.session.add(Refund(charge_id=charge.id, amount=amount, key=context.key, refunded_at=now))
        if before + amount == charge.amount:
            charge.state = ChargeState.REFUNDED
        text = f"{money(amount)} of “{charge.description}” was refunded"
        context.session.add(
            Activity(key=f"refund:{context.key}", account_id=charge.account_id, text=text, happened_at=now)
        )
        return Outcome(f"{money(amount)} was sent back.", {"charge": charge.reference, "pence": amount})


class RestartTracker(_Ours):
    """Ask the trackers' network to restart one. In the demo there is no network: a row says that it was asked."""

    name = "restart_tracker"
    title = "Restart a tracker"
    description = "Asks the network to restart a tracker. It is silent for about two minutes."
    risk = Risk.LOW_WRITE
    filled = {"ref": "customer.ref"}  # noqa: RUF012 - never changed

    class Input(BaseModel):
        serial: str = Field(
            title="Serial number", pattern=r"SK-\d{4,6}", description="As on the tracker, e.g. SK-40137"
        )
        ref: str = Field(title="Customer")

    def preview(self, inputs: Input, context: ToolContext) -> str:  # noqa: ARG002
        tracker = _tracker(inputs)
        return f"Restarts the tracker of {tracker.bike}. It is silent for about two minutes; no ride is lost."

    def run(self, inputs: Input, context: ToolContext) -> str:
        tracker = _tracker(inputs)
        asked = insert(Activity).values(
            key=f"restart:{context.key}",
            account_id=tracker.account_id,
            text=f"Restart of {tracker.serial} was asked for",
        )
        db.session.execute(asked.on_conflict_do_nothing(index_elements=["key"]))
        db.session.commit()
        if tracker.battery < FLAT:
            raise ConnectionError("The network hung up before it answered.")
        return f"{tracker.serial} was restarted."


class CancelBookings(_Ours):
    """Take every coming booking of a shop out of the calendar."""

    name = "cancel_bookings"
    title = "Cancel all coming bookings"
    description = "Deletes every booking of the shop that has not begun. Riders are told by the shop, not by us."
    risk = Risk.DESTRUCTIVE
    kind = ToolKind.TRANSACTIONAL
    filled = {"ref": "customer.ref"}  # noqa: RUF012 - never changed

    class Input(BaseModel):
        ref: str = Field(title="Customer")

    def preview(self, inputs: Input, context: ToolContext) -> Consequence:  # noqa: ARG002
        shop = _shop(inputs.ref)
        count = db.session.scalar(select(func.count()).where(*_coming(shop.id))) or 0
        return Consequence(
            f"Deletes {count} coming bookings of {shop.name}. They cannot be brought back.",
            (Change("Coming bookings", str(count), "0"),),
        )

    def confirmation(self, inputs: Input, context: ToolContext) -> str:  # noqa: ARG002
        return _shop(inputs.ref).name

    def run(self, inputs: Input, context: ToolContext) -> Outcome:
        assert context.session is not None  # noqa: S101 - a transactional tool that runs always has one
        shop = _shop(inputs.ref)
        gone = context.session.execute(
            delete(Booking).where(*_coming(shop.id)).execution_options(synchronize_session=False)
        ).rowcount  # type: ignore[attr-defined]
        return Outcome(f"{gone} bookings were deleted.", {"bookings": gone})


def _pence(pounds: Decimal) -> int:
    return int(pounds * 100)


def _refundable(session: Session, inputs: RefundCharge.Input, *, lock: bool = False) -> tuple[Charge, int]:
    """A charge of the customer's shop, and what was sent back of it so far, in pence.

    Raises:
        PermanentFailure: it is not theirs, was never paid, or less than that is left of it.
    """
    wanted = select(Charge).filter_by(reference=inputs.charge.strip().upper(), account_id=_shop(inputs.ref).id)
    charge = session.scalar(wanted.with_for_update() if lock else wanted)
    if charge is None:
        raise PermanentFailure(f"This shop has no charge {inputs.charge}.")
    if charge.state is ChargeState.FAILED:
        raise PermanentFailure("This charge was never paid.")
    before = session.scalar(select(func.coalesce(func.sum(Refund.amount), 0)).filter_by(charge_id=charge.id)) or 0
    left = charge.amount - before
    if _pence(inputs.amount) > left:
        raise PermanentFailure(f"Only {money(left)} of this charge is left to refund.")
    return charge, int(before)


def _tracker(inputs: RestartTracker.Input) -> Tracker:
    tracker = db.session.scalar(select(Tracker).filter_by(serial=inputs.serial, account_id=_shop(inputs.ref).id))
    if tracker is None:
        raise PermanentFailure(f"This shop has no tracker {inputs.serial}.")
    return tracker


def _shop(ref: str) -> Account:
    shop = account_of(ref)
    if shop is None:
        raise PermanentFailure("This customer has no shop any more.")
    return shop


def _coming(account_id: int) -> tuple[ColumnElement[bool], ...]:
    return Booking.account_id == account_id, Booking.state == BookingState.BOOKED, Booking.starts_at > datetime.now(UTC)
