"""A host with tools, people who hold what they ask for, and hooks that answer what a test wants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, receive
from tests.support.host import HostNote
from tests.support.tools import KEYS


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, **KEYS}


@pytest.fixture(autouse=True)
def _rules(house_rules: None) -> None:
    """Every test here may change them."""


@pytest.fixture
def conversation(at_the_desk: Callable[..., Any], customer: Customer) -> int:
    message = at_the_desk(lambda s: receive(s, customer=customer, body="My money, please.", channel="widget"))
    return int(message.conversation_id)


def effects(session: Session, mark: str) -> int:
    """How often a tool had its effect for a mark."""
    session.rollback()
    return session.scalar(select(func.count()).where(HostNote.body.like(f"%:{mark}:%"))) or 0
