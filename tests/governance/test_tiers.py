"""Who has to agree, as a table; and a tool that cannot work is refused at start, by what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, ClassVar

import pytest
from flask import Flask
from pydantic import BaseModel

from flask_cairnloop import PolicyAnswer, Risk, Tier, Tool, ToolKind
from flask_cairnloop.errors import ConfigurationError, InvalidFields
from flask_cairnloop.governance import tiers
from flask_cairnloop.governance.inputs import checked
from tests.support.tools import Erase, Refund

R, P, T = Risk, PolicyAnswer, Tier


@pytest.mark.parametrize(
    ("risk", "four_eyes", "loosened", "policy", "tier"),
    [
        (R.READ_ONLY, R.HIGH_WRITE, None, None, T.AUTO),
        (R.LOW_WRITE, R.HIGH_WRITE, None, None, T.ONE),
        (R.HIGH_WRITE, R.HIGH_WRITE, None, None, T.OTHER),
        (R.DESTRUCTIVE, R.HIGH_WRITE, None, None, T.TWO),
        (R.READ_ONLY, R.LOW_WRITE, None, None, T.AUTO),
        (R.LOW_WRITE, R.LOW_WRITE, None, None, T.OTHER),
        (R.DESTRUCTIVE, R.LOW_WRITE, None, None, T.TWO),
        # A policy tightens, and lifts nothing.
        (R.READ_ONLY, R.HIGH_WRITE, None, P.APPROVAL, T.ONE),
        (R.READ_ONLY, R.HIGH_WRITE, None, P.REFUSE, T.REFUSE),
        (R.LOW_WRITE, R.HIGH_WRITE, None, P.AUTO, T.ONE),
        (R.HIGH_WRITE, R.HIGH_WRITE, None, P.APPROVAL, T.OTHER),
        (R.DESTRUCTIVE, R.HIGH_WRITE, None, P.AUTO, T.TWO),
        # Only the key that names the tool loosens, and a policy tightens that again.
        (R.HIGH_WRITE, R.HIGH_WRITE, T.AUTO, None, T.AUTO),
        (R.HIGH_WRITE, R.LOW_WRITE, T.ONE, None, T.ONE),
        (R.DESTRUCTIVE, R.HIGH_WRITE, T.OTHER, None, T.OTHER),
        (R.HIGH_WRITE, R.HIGH_WRITE, T.AUTO, P.APPROVAL, T.ONE),
        (R.LOW_WRITE, R.HIGH_WRITE, T.OTHER, None, T.ONE),
    ],
)
def test_who_has_to_agree(
    risk: Risk, four_eyes: Risk, loosened: Tier | None, policy: PolicyAnswer | None, tier: Tier
) -> None:
    assert tiers.tier_of(risk, four_eyes=four_eyes, loosened=loosened, policy=policy) is tier


def test_no_policy_and_no_four_eyes_makes_anything_milder() -> None:
    order = list(Tier)
    for risk, four_eyes, policy in product(Risk, tiers.FOUR_EYES, (None, *PolicyAnswer)):
        tier = tiers.tier_of(risk, four_eyes=four_eyes, loosened=None, policy=policy)
        assert order.index(tier) >= order.index(tiers.BASE[risk])


@pytest.mark.parametrize(
    ("tier", "approvers", "enough"),
    [
        (T.AUTO, [], True),
        (T.ONE, [], False),
        (T.ONE, ["ada"], True),
        (T.OTHER, ["ada"], False),
        (T.OTHER, ["ben"], True),
        (T.TWO, ["ben"], False),
        (T.TWO, ["ada", "ben"], False),
        (T.TWO, ["ben", "cyd"], True),
        (T.REFUSE, ["ben", "cyd"], False),
    ],
)
def test_which_approvals_are_enough(tier: Tier, approvers: list[str], enough: bool) -> None:
    assert tiers.satisfied(tier, "ada", approvers) is enough
    if tier is not T.REFUSE and not enough:
        assert tiers.why_not(tier, "ada", approvers, "dot") is None


def variant(**attributes: Any) -> type[Tool]:
    return type("Odd", (Refund,), {"__module__": "host.tools", **attributes})


class Unfit:
    """No schema says what this is."""


class Opaque(BaseModel):
    model_config: ClassVar[Any] = {"arbitrary_types_allowed": True}
    thing: Unfit


class Demanding(Refund):
    name = "demanding"

    def __init__(self, host: object) -> None:
        self.host = host


NO_RUN = type(
    "NoRun", (Tool,), {"name": "no_run", "title": "T", "description": "D", "risk": R.READ_ONLY, "Input": BaseModel}
)
NO_PREVIEW = type("NoPreview", (NO_RUN,), {"risk": R.LOW_WRITE, "run": lambda self, inputs, context: None})
NO_RISK = type("NoRisk", (Tool,), {"name": "no_risk", "title": "T", "description": "D"})


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"TOOLS": [variant(name="Refund!")]}, r"host.tools.Odd has the name 'Refund!'; use 2 to 50 small letters"),
        ({"TOOLS": [variant(name="")]}, "has the name ''"),
        ({"TOOLS": [Refund, variant()]}, 'is called "refund", and so is Refund; names must differ'),
        ({"TOOLS": [variant(name="add_note")]}, 'is called "add_note", and so is a built-in tool'),
        ({"TOOLS": [variant(title=" ")]}, "needs a `title` of 1 to 100 characters"),
        ({"TOOLS": [variant(description="")]}, "needs a `description`"),
        ({"TOOLS": [NO_RISK]}, "needs a `risk`, one of Risk.READ_ONLY"),
        ({"TOOLS": [variant(risk="high")]}, "needs a `risk`"),
        ({"TOOLS": [variant(kind="remote")]}, "neither ToolKind.TRANSACTIONAL nor ToolKind.EXTERNAL"),
        ({"TOOLS": [variant(scopes="billing")]}, "has `scopes` that are no set of texts"),
        ({"TOOLS": [variant(idempotent="yes")]}, "neither True nor False"),
        ({"TOOLS": [variant(timeout=61)]}, "has a `timeout` of 61"),
        ({"TOOLS": [variant(timeout=0)]}, "has a `timeout` of 0"),
        ({"TOOLS": [variant(attempts=0)]}, "has 0 `attempts`"),
        ({"TOOLS": [variant(Input=dict)]}, "needs an `Input` that is a Pydantic model"),
        ({"TOOLS": [variant(Input=Opaque)]}, "has an `Input` without a JSON schema"),
        ({"TOOLS": [variant(sensitive={"iban"})]}, 'says that "iban" is sensitive, which is no field'),
        ({"TOOLS": [variant(filled={"iban": "customer.ref"})]}, 'has "iban" filled, which is no field'),
        ({"TOOLS": [variant(filled={"mark": "customer.password"})]}, "filled from 'customer.password'; there are"),
        ({"TOOLS": [variant(filled={"mark": "customer.ref"}, sensitive={"mark"})]}, "both filled and sensitive"),
        ({"TOOLS": [NO_RUN]}, "has no `run`"),
        ({"TOOLS": [NO_PREVIEW]}, "has no `preview`"),
        ({"TOOLS": [Demanding]}, "cannot be made without arguments: TypeError"),
        ({"TOOLS": [42]}, "holds 42, which is no subclass of Tool"),
        ({"TOOLS": [dict]}, "which is no subclass of Tool"),
        ({"TOOLS": "tests.support.tools:Refund"}, "it must be a list of subclasses of Tool"),
        ({"TOOLS": ["tests.support.tools:Nothing"]}, "CAIRNLOOP_TOOLS .* cannot be imported"),
        ({"TOOLS": [Refund], "OPERATOR_RESOLVER": None}, "CAIRNLOOP_TOOLS needs CAIRNLOOP_OPERATOR_RESOLVER"),
        ({"LOOSEN_TOOLS": {"add_note": "auto"}, "OPERATOR_RESOLVER": None}, "LOOSEN_TOOLS needs CAIRNLOOP_OPERATOR"),
        ({"FOUR_EYES": "destructive"}, "must be one of high_write, low_write"),
        ({"LOOSEN_TOOLS": {"refunds": "one"}}, 'LOOSEN_TOOLS names "refunds", which is no tool'),
        ({"LOOSEN_TOOLS": {"add_note": "two"}}, 'says "two" of "add_note"; it must be one of auto, one, other'),
        ({"TOOLS": [Erase], "LOOSEN_TOOLS": {"erase": "auto"}}, 'says "auto" of "erase", which is destructive'),
        ({"APPROVAL_TTL": 5}, "between 60 and"),
    ],
)
def test_what_cannot_work_is_refused_at_start(make_app: Callable[..., Flask], keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        make_app(**{"TOOLS": [], **keys})


def test_without_a_resolver_there_are_no_tools(make_app: Callable[..., Flask]) -> None:
    app = make_app(TOOLS=[], OPERATOR_RESOLVER=None)
    assert not app.extensions["cairnloop"].hooks.tools
    with_one = make_app(TOOLS=[])
    assert [tool.name for tool in with_one.extensions["cairnloop"].hooks.tools.all()] == [
        "add_note",
        "assign_conversation",
        "customer_context",
        "resolve_conversation",
        "search_knowledge",
        "set_priority",
        "tag_conversation",
    ]


def test_a_tool_is_external_and_denies_unless_it_says_otherwise() -> None:
    class Bare(Tool):
        pass

    assert Bare.kind is ToolKind.EXTERNAL
    assert Bare().authorize(None, None) is not True  # type: ignore[arg-type]


def test_a_number_that_no_row_can_hold_is_refused() -> None:
    class Sent(Tool):
        class Input(BaseModel):
            amount: float

    for amount in (float("inf"), float("-inf"), float("nan"), 1e999):
        with pytest.raises(InvalidFields):
            checked(Sent(), {"amount": amount}, None, None)
    assert checked(Sent(), {"amount": 1.5}, None, None).model_dump() == {"amount": 1.5}
