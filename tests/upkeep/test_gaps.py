"""Questions that no article answers: kept once, redacted, and gone with the customer they were asked about."""

from __future__ import annotations

import threading
import unicodedata
import uuid
from datetime import timedelta
from typing import Any

from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, Operator, export_customer, forget_customer, receive, signals
from flask_cairnloop.clock import now
from flask_cairnloop.upkeep.marks import normalized
from flask_cairnloop.upkeep.models import GapEvent, GapReason, GapSource
from flask_cairnloop.upkeep.service import ONCE_WITHIN, record_gap

MINA, OMAR = Operator("mina", "Mina Keller"), Operator("omar", "Omar Reyes")


def gap(session: Session, question: str, by: Operator = MINA, **keys: Any) -> GapEvent | None:
    return record_gap(session, question, source=GapSource.PALETTE, reason=GapReason.NOT_COVERED, actor=by, **keys)


@given(st.text())
def test_a_question_is_the_same_however_it_is_written(text: str) -> None:
    plain = normalized(text)
    assert normalized(plain) == plain
    assert plain == " ".join(plain.split())
    written = (f"  {text} ?!", " ".join(text.split()), unicodedata.normalize("NFD", unicodedata.normalize("NFC", text)))
    for other in written:
        assert normalized(other) == normalized(text)


def test_it_is_kept_once_a_person_and_day_and_told_of(app: Flask, session: Session) -> None:
    heard: list[dict[str, Any]] = []

    def hear(_sender: object, **payload: Any) -> None:
        heard.append(payload)

    mark = uuid.uuid4().hex[:8]
    with signals.gap_recorded.connected_to(hear, sender=app):
        first = gap(session, f"Where does {mark} sleep?")
        assert first is not None
        assert gap(session, f"  where does {mark.upper()} SLEEP") is None
        assert gap(session, f"Where does {mark} sleep?", OMAR) is not None
        first.last_at = now() - ONCE_WITHIN - timedelta(seconds=1)
        session.flush()
        assert gap(session, f"Where does {mark} sleep?") is not None
        session.commit()
    assert {frozenset(told) for told in heard} == {frozenset({"gap_event_id", "source", "reason"})}
    assert len(heard) == 3
    assert gap(session, " ?! ") is None


def test_two_requests_at_once_keep_one(app: Flask) -> None:
    question, barrier, kept = f"Is {uuid.uuid4().hex[:8]} open?", threading.Barrier(2), []

    def ask() -> None:
        with app.app_context():
            own = app.extensions["sqlalchemy"].session
            barrier.wait()
            kept.append(gap(own, question) is not None)
            own.commit()

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(kept) == [False, True]


def test_it_is_redacted_and_goes_with_the_customer(session: Session) -> None:
    customer = Customer(f"ref-{uuid.uuid4().hex[:8]}", "Zelda Quill", "zelda@quill.example")
    message = receive(session, customer=customer, body="Hello", channel="widget")
    session.commit()
    theirs = gap(session, "Why did Zelda get no mail at zelda@quill.example?", conversation_id=message.conversation_id)
    assert theirs is not None
    assert theirs.question == "Why did [name] get no mail at [email]?"
    session.commit()
    held = export_customer(session, customer.ref)["gaps"]
    assert [entry["question"] for entry in held] == [theirs.question]
    assert "mina" not in str(held)
    number = theirs.id
    forget_customer(session, customer.ref, actor=OMAR)
    session.commit()
    assert session.scalar(select(GapEvent.id).where(GapEvent.id == number)) is None
    assert gap(session, "Who was that?", conversation_id=message.conversation_id) is None
