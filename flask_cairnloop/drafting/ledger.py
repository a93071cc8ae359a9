"""What calls to models cost, and the day's budget for them.

A call is written down before it is made, with the most that it can cost, and settled after it with what it did cost.
Between the two no transaction is open. A process that is killed in between leaves the highest cost standing: a budget
may be spent on paper, never overspent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sqlalchemy import Engine, func, insert, select, text, update
from sqlalchemy.orm import Session

from flask_cairnloop.clock import now
from flask_cairnloop.database.base import schema_name
from flask_cairnloop.drafting.models import CallOutcome, Draft, ModelCall
from flask_cairnloop.errors import ConfigurationError

Amount = int | float | Decimal
MICROS = 1_000_000
VENDORS = ("anthropic", "openai")  # whose calls are counted


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in one currency, for a million tokens.

    Args:
        input: tokens that are sent.
        output: tokens that are written, those of its thinking included.
        cached: tokens that the vendor had at hand from an earlier call; ``None`` for the same as ``input``.

    Raises:
        ConfigurationError: one is no number, is negative or not finite.
    """

    input: Amount
    output: Amount
    cached: Amount | None = None

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached"):
            value = getattr(self, name)
            if value is None and name == "cached":
                continue
            check_amount(f"Price({name}=…)", value)

    def of(self, used: Usage) -> int:
        """The cost of a call in millionths, rounded up."""
        cached = self.input if self.cached is None else self.cached
        parts = ((used.input, self.input), (used.cached, cached), (used.output, self.output))
        return math.ceil(sum(tokens * Decimal(str(price)) for tokens, price in parts))


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. ``cached`` are besides ``input``, not part of it."""

    input: int = 0
    cached: int = 0
    output: int = 0


def check_amount(what: str, value: object, *, above: float | None = None) -> None:
    """Refuse what is no amount of money or time.

    Raises:
        ConfigurationError: it is no finite number, or too small.
    """
    fits = isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or value < 0 or (above is not None and value <= above):  # type: ignore[operator]
        least = "0 or more" if above is None else f"more than {above:g}"
        raise ConfigurationError(f"{what} is {value!r}; it must be a number, {least}.")


def reserve(
    engine: Engine,
    *,
    name: str,
    model: str,
    draft_id: int | None,
    highest: int,
    daily_budget: int | None,
) -> int | None:
    """Write down a call that is about to be made.

    Whoever reserves for the same engine at the same time waits, so that two never spend the same rest.

    Args:
        name: of the engine whose calls share the budget.
        highest: the most it can cost, in millionths.
        daily_budget: for a day in UTC, in millionths; ``None`` for no limit.

    Returns:
        The id of its row; ``None`` when the budget does not reach.
    """
    with Session(engine) as session, session.begin():
        if daily_budget is not None:
            session.execute(
                text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"),
                {"name": f"flask_cairnloop.model_calls.{schema_name(session)}.{name}"},
            )
            if spent_today(session, name) + highest > daily_budget:
                return None
        row = insert(ModelCall).values(
            # None where the draft went meanwhile, with its conversation: the call is counted all the same.
            draft_id=select(Draft.id).where(Draft.id == draft_id).scalar_subquery(),
            engine=name,
            model=model[:100],
            outcome=CallOutcome.STARTED,
            input_tokens=0,
            cached_tokens=0,
            output_tokens=0,
            cost_micros=highest,
            started_at=now(),
        )
        return session.execute(row.returning(ModelCall.id)).scalar_one()


def settle(engine: Engine, call_id: int, outcome: CallOutcome, used: Usage | None, cost: int | None) -> None:
    """Write down what became of a call.

    Args:
        used: ``None`` where nobody told.
        cost: in millionths; ``None`` lets the highest stand, because it may have been charged.
    """
    values: dict[str, object] = {"outcome": outcome, "ended_at": now()}
    if used is not None:
        values |= {"input_tokens": used.input, "cached_tokens": used.cached, "output_tokens": used.output}
    if cost is not None:
        values["cost_micros"] = cost
    with Session(engine) as session, session.begin():
        session.execute(update(ModelCall).where(ModelCall.id == call_id).values(**values))


def spent_today(session: Session, name: str) -> int:
    """What an engine's calls of this day in UTC cost, in millionths, those under way with the most they can cost."""
    begun = day_begun()
    spent = select(func.coalesce(func.sum(ModelCall.cost_micros), 0)).where(
        ModelCall.engine == name, ModelCall.started_at >= begun, ModelCall.started_at < begun + timedelta(days=1)
    )
    return int(session.scalars(spent).one())


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of one engine that came to the same."""

    calls: int
    used: Usage
    cost_micros: int


def calls_today(session: Session) -> dict[tuple[str, CallOutcome], Calls]:
    """The calls of this day in UTC, by engine and by what became of them."""
    rows = session.execute(
        select(
            ModelCall.engine,
            ModelCall.outcome,
            func.count(),
            func.sum(ModelCall.input_tokens),
            func.sum(ModelCall.cached_tokens),
            func.sum(ModelCall.output_tokens),
            func.sum(ModelCall.cost_micros),
        )
        .where(ModelCall.engine.in_(VENDORS), ModelCall.started_at >= day_begun())
        .group_by(ModelCall.engine, ModelCall.outcome)
    )
    return {
        (name, outcome): Calls(count, Usage(int(sent), int(cached), int(written)), int(cost))
        for name, outcome, count, sent, cached, written, cost in rows
    }


def day_begun() -> datetime:
    """When the day began, in UTC."""
    return now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
