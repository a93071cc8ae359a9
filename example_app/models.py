"""The host's own tables. Nothing here knows about the support desk."""

from __future__ import annotations

from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import CheckConstraint, DateTime, Enum, ForeignKey, MetaData, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from werkzeug.security import check_password_hash, generate_password_hash


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


db = SQLAlchemy(model_class=Base)
Moment = Annotated[datetime, mapped_column(DateTime(timezone=True))]


def _choice(members: type[StrEnum], name: str) -> Enum:
    return Enum(
        members,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=20,
        values_callable=lambda cls: [member.value for member in cls],
    )


class Role(StrEnum):
    CUSTOMER = "customer"
    OPERATOR = "operator"


class Standing(StrEnum):
    TRIAL = "trial"
    ACTIVE = "active"
    PAUSED = "paused"
    PAST_DUE = "past_due"


class ChargeState(StrEnum):
    PAID = "paid"
    FAILED = "failed"
    REFUNDED = "refunded"


class BookingState(StrEnum):
    BOOKED = "booked"
    OUT = "out"
    BACK = "back"


class Plan(Base):
    """What a shop pays for, in pence a month."""

    __tablename__ = "plans"

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(20), unique=True)
    name: Mapped[str] = mapped_column(String(40))
    monthly: Mapped[int]
    bikes: Mapped[int]
    seats: Mapped[int]


class Account(Base):
    """One bike-hire shop."""

    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(40), unique=True)
    name: Mapped[str] = mapped_column(String(80))
    town: Mapped[str] = mapped_column(String(80))
    time_zone: Mapped[str] = mapped_column(String(40))
    plan_id: Mapped[int] = mapped_column(ForeignKey("plans.id"))
    standing: Mapped[Standing] = mapped_column(_choice(Standing, "standing"))
    seats_used: Mapped[int]
    bikes: Mapped[int]
    joined_on: Mapped[date]
    next_charge_on: Mapped[date]

    plan: Mapped[Plan] = relationship(lazy="joined")


class User(Base):
    """Somebody who can sign in: a person of a shop, or one of our own support team."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("(role = 'customer') = (account_id IS NOT NULL)", name="customers_have_an_account"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(320), unique=True)
    name: Mapped[str] = mapped_column(String(80))
    role: Mapped[Role] = mapped_column(_choice(Role, "role"))
    password_hash: Mapped[str] = mapped_column(String(255))
    account_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id"), index=True)

    account: Mapped[Account | None] = relationship(lazy="joined")

    def set_password(self, password: str) -> None:
        self.password_hash = generate_password_hash(password)

    def has_password(self, password: str) -> bool:
        return check_password_hash(self.password_hash, password)


class Charge(Base):
    """One attempt to collect money from a shop, in pence."""

    __tablename__ = "charges"

    id: Mapped[int] = mapped_column(primary_key=True)
    reference: Mapped[str] = mapped_column(String(30), unique=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), index=True)
    amount: Mapped[int]
    description: Mapped[str] = mapped_column(String(120))
    state: Mapped[ChargeState] = mapped_column(_choice(ChargeState, "state"))
    charged_at: Mapped[Moment]


class Refund(Base):
    """Money sent back of a charge, in pence. ``key`` names the desk's action that did it."""

    __tablename__ = "refunds"
    __table_args__ = (CheckConstraint("amount > 0", name="amount"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    charge_id: Mapped[int] = mapped_column(ForeignKey("charges.id"), index=True)
    amount: Mapped[int]
    key: Mapped[str] = mapped_column(String(64), unique=True)
    refunded_at: Mapped[Moment]


class Tracker(Base):
    """A locator on one of a shop's bikes."""

    __tablename__ = "trackers"

    id: Mapped[int] = mapped_column(primary_key=True)
    serial: Mapped[str] = mapped_column(String(20), unique=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), index=True)
    bike: Mapped[str] = mapped_column(String(40))
    battery: Mapped[int]
    last_seen_at: Mapped[Moment]


class Booking(Base):
    """A rider's bike for a time."""

    __tablename__ = "bookings"

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(20), unique=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), index=True)
    rider: Mapped[str] = mapped_column(String(80))
    bikes: Mapped[str] = mapped_column(String(80))
    starts_at: Mapped[Moment]
    ends_at: Mapped[Moment]
    state: Mapped[BookingState] = mapped_column(_choice(BookingState, "state"))


class Activity(Base):
    """What happened on an account, for the people of the shop. ``key`` makes telling it twice harmless."""

    __tablename__ = "activities"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(200), unique=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), index=True)
    text: Mapped[str] = mapped_column(String(300))
    happened_at: Mapped[Moment] = mapped_column(default=lambda: datetime.now(UTC))

    @property
    def asks_to_rate(self) -> bool:
        """Whether the text is the address at which the help can be rated."""
        return self.key.endswith(":rate")


class Letter(Base):
    """What we wrote to somebody of a shop, where a real product would send a mail. ``key`` makes sending twice one."""

    __tablename__ = "letters"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    subject: Mapped[str] = mapped_column(String(200))
    body: Mapped[str]
    author: Mapped[str] = mapped_column(String(200))
    opt_out: Mapped[str] = mapped_column(String(500))
    sent_at: Mapped[Moment] = mapped_column(default=lambda: datetime.now(UTC))


class SeedStep(Base):
    """A step of the demo's history that has been played, so that seeding again repeats nothing."""

    __tablename__ = "seed_steps"

    key: Mapped[str] = mapped_column(String(120), primary_key=True)
